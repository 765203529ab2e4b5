/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's walk, for the benches. One thread. See bench_walk.h. */
#include "bench_walk.h"

#include "base_clock.h"
#include "base_err.h"
#include "cr_aead.h"
#include "cr_noise.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH DP_BURST
#define BATCHES_PER_ROUND (BENCH_WALK_ROUND_PKTS / BATCH)
#define LISTEN_PORT 51820

void bench_walk_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static uint32_t peer_addr(uint32_t peer)
{
	return 0x0a090002 + peer; /* 10.9.0.2 and on */
}

static uint32_t take_peer(struct bench_walk *walk)
{
	walk->next = (walk->next + 1) % walk->n_peers;
	return walk->order[walk->next];
}

/* A session as the handshake thread would hand it over, with keys that the bench knows. */
static void add_session(struct bench_walk *walk, uint32_t i)
{
	struct wg_keypair *keypair = wg_slab_take(walk->slab);
	struct dp_command cmd = {.type = DP_COMMAND_KEYPAIR_BEGIN, .object = keypair};

	if (!keypair)
		bench_walk_die("no memory");
	cr_random(&keypair->send_key, sizeof(keypair->send_key));
	keypair->recv_key = keypair->send_key;
	keypair->birth_ns = base_clock_now_ns();
	cr_random(&keypair->local_index, sizeof(keypair->local_index));
	/* Worker 0 owns it; the number keeps indices apart. */
	keypair->local_index = (keypair->local_index & 0xfc000000u) | (i << WG_INDEX_OWNER_BITS);
	keypair->remote_index_le32 = i;
	keypair->is_confirmed = true;
	/* As a responder's, confirmed at once below: an initiator's would send a keepalive. */
	cmd.peer = walk->peers[i];
	if (!dp_worker_command(walk->worker, &cmd))
		bench_walk_die("command ring is full");
	dp_worker_round(walk->worker, base_clock_now_ns());
	cmd.peer->keypairs.current = keypair;
	cmd.peer->keypairs.next = NULL;
	walk->sessions[i] =
		(struct bench_session){.key = keypair->recv_key, .index = keypair->local_index};
}

void bench_walk_sessions_add(struct bench_walk *walk, uint32_t n)
{
	walk->n_sessions = n;
	walk->peers = calloc(n, sizeof(*walk->peers));
	walk->sessions = calloc(n, sizeof(*walk->sessions));
	walk->order = calloc(n, sizeof(*walk->order));
	if (!walk->peers || !walk->sessions || !walk->order)
		bench_walk_die("no memory");
	for (uint32_t i = 0; i < n; i++) {
		walk->peers[i] = walk->dp->peers.by_number[i];
		add_session(walk, i);
	}
}

void bench_walk_peers_add(struct bench_walk *walk, uint32_t first, uint32_t n)
{
	struct dp_peer_config *configs = calloc(n, sizeof(*configs));
	struct base_prefix *prefixes = calloc(n, sizeof(*prefixes));
	struct dp_peers_change change = {.set = configs, .n_set = n};
	struct base_error error;

	if (!configs || !prefixes)
		bench_walk_die("no memory");
	for (uint32_t i = 0; i < n; i++) {
		/* Any 32 bytes are a point that a peer could have. */
		cr_random(&configs[i].public_key, sizeof(configs[i].public_key));
		prefixes[i] = (struct base_prefix){.addr.family = BASE_FAMILY_V4, .bits = 32};
		base_store_be32(prefixes[i].addr.bytes, peer_addr(first + i));
		configs[i].endpoint.addr.family = BASE_FAMILY_V4;
		base_store_be32(configs[i].endpoint.addr.bytes,
			0xc6336400 + first + i); /* 198.51.100.0 and on */
		configs[i].endpoint.port = LISTEN_PORT;
		configs[i].allowed_ips = &prefixes[i];
		configs[i].n_allowed_ips = 1;
	}
	if (dp_peers_change(walk->dp, &change, &error) != 0)
		bench_walk_die("%s", error.text);
	free(configs);
	free(prefixes);
}

/* All peers are behind one router: neighbours on link, which a worker asks for one by one, would not be so many. */
static void nexthop_routed(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop)
{
	static const uint8_t router[] = {192, 0, 2, 254}, ours[] = DP_TEST_OUR_ADDR4;

	(void)view;
	(void)dst;
	*ret_nexthop = (struct dp_nexthop){
		.state = DP_NEXTHOP_OK,
		.mtu_bytes = DP_TEST_MTU_BYTES,
		.src_mac = {2, 0, 0, 0, 0, 1},
		.dst_mac = {2, 0, 0, 0, 0, 2},
		.gateway = base_addr_from_bytes(BASE_FAMILY_V4, router),
		.src_addr = src ? *src : base_addr_from_bytes(BASE_FAMILY_V4, ours),
	};
}

void bench_walk_up(struct bench_walk *walk, unsigned cpu)
{
	static const struct base_prefix anybody = {0};
	static const struct dp_filter_dst port = {.port_first = 8765, .port_last = 8765};
	static const uint8_t udp = IN_PROTO_UDP;
	static const struct dp_filter_rule rule = {&anybody, 1, &port, 1, &udp, 1};
	struct dp_config config = {
		.ports = {{.kind = DP_PORT_RING, .device = "bench"}},
		.n_ports = 1,
		.listen_port = LISTEN_PORT,
		.n_workers = 1,
		.control_cpu = cpu,
		.worker_cpus = {cpu},
		.host_mtu = 1420,
		.n_host_addrs = 1,
		.rules = &rule,
		.n_rules = 1,
	};
	struct base_error error;

	cr_random(&config.private_key, sizeof(config.private_key));
	if (base_ifaddr_parse(&config.host_addrs[0], "10.9.0.1/8") != 0)
		bench_walk_die("host address");
	walk->dp = dp_test_new(&config, NULL, NULL, &error);
	if (!walk->dp)
		bench_walk_die("%s", error.text);
	dp_test_set_nexthop(walk->dp, nexthop_routed);
	walk->worker = &walk->dp->workers[0];
	walk->dp->step_ns = base_clock_now_ns();
	walk->aead_ops = walk->worker->aead_ops;
	walk->aead = walk->aead_ops->new ();
	walk->slab = wg_slab_new();
	walk->host_ring = rte_ring_create("bench_host", 1024, SOCKET_ID_ANY, 0);
	if (!walk->aead || !walk->slab || !walk->host_ring)
		bench_walk_die("no memory");
	dp_test_set_host_ring(walk->dp, walk->host_ring);
}

/* The sessions are the bench's: take them back before the dataplane gives them to wg. */
void bench_walk_down(struct bench_walk *walk)
{
	for (uint32_t i = 0; i < walk->n_sessions; i++) {
		wg_index_release(walk->worker->index, walk->sessions[i].index);
		walk->peers[i]->keypairs.current = NULL;
	}
	dp_test_set_host_ring(walk->dp, NULL);
	dp_free(walk->dp);
	rte_ring_free(walk->host_ring);
	wg_slab_free(walk->slab);
	walk->aead_ops->free(walk->aead);
	free(walk->peers);
	free(walk->sessions);
	free(walk->order);
	*walk = (struct bench_walk){0};
}

void bench_walk_use(struct bench_walk *walk, uint32_t n)
{
	uint32_t r;

	walk->n_peers = n;
	walk->next = 0;
	for (uint32_t i = 0; i < n; i++)
		walk->order[i] = i;
	for (uint32_t i = n; i-- > 1;) {
		uint32_t j, tmp = walk->order[i];

		cr_random(&r, sizeof(r));
		j = r % (i + 1);
		walk->order[i] = walk->order[j];
		walk->order[j] = tmp;
	}
}

/* An inner UDP packet between the peer and this host. */
static void inner_write(uint8_t *ip, uint32_t size, uint32_t peer, bool is_to_peer)
{
	memset(ip, 0, 28);
	ip[0] = 0x45;
	base_store_be16(ip + 2, (uint16_t)size);
	ip[8] = 64;
	ip[9] = IN_PROTO_UDP;
	base_store_be32(ip + (is_to_peer ? 16 : 12), peer_addr(peer));
	base_store_be32(ip + (is_to_peer ? 12 : 16), 0x0a090001);
	base_store_be16(ip + 20, is_to_peer ? 8765 : 40000);
	base_store_be16(ip + 22, is_to_peer ? 40000 : 8765);
	base_store_be16(ip + 24, (uint16_t)(size - 20));
}

static void make_inner(struct bench_walk *walk, struct rte_mbuf *m, uint32_t size)
{
	m->data_len = (uint16_t)size;
	m->pkt_len = size;
	inner_write(rte_pktmbuf_mtod(m, uint8_t *), size, take_peer(walk), true);
}

/* A frame with a data message; its payload is sealed by the caller's job. */
static void make_frame(
	struct bench_walk *walk, struct rte_mbuf *m, uint32_t size, struct cr_aead_job *job)
{
	uint32_t peer = take_peer(walk), len = bench_padded_bytes(size);
	uint32_t message_len = len + (uint32_t)WG_DATA_OVERHEAD_BYTES;
	struct bench_session *session = &walk->sessions[peer];
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t *ip = frame + DP_ETH_BYTES, *udp = ip + DP_IP4_BYTES,
		*inner = udp + DP_UDP_BYTES + 16;
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA,
		.receiver_index_le32 = session->index,
		.counter_le64 = session->open_counter++};

	m->data_len = (uint16_t)(DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES + message_len);
	m->pkt_len = m->data_len;
	memset(frame, 0, DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES);
	base_store_be16(frame + 12, 0x0800);
	ip[0] = 0x45;
	base_store_be16(ip + 2, (uint16_t)(DP_IP4_BYTES + DP_UDP_BYTES + message_len));
	ip[8] = 64;
	ip[9] = IN_PROTO_UDP;
	base_store_be32(ip + 12, 0xc6336400 + peer);
	base_store_be32(ip + 16, 0xc0000201);
	base_store_be16(udp, LISTEN_PORT);
	base_store_be16(udp + 2, LISTEN_PORT);
	base_store_be16(udp + 4, (uint16_t)(DP_UDP_BYTES + message_len));
	memcpy(udp + DP_UDP_BYTES, &header, sizeof(header));
	memset(inner, 0, len);
	inner_write(inner, size, peer, false);
	if (walk->has_new_flows)
		base_store_be16(inner + 20, ++walk->flow);
	*job = (struct cr_aead_job){.key = &session->key,
		.counter = header.counter_le64,
		.src = inner,
		.dst = inner,
		.len = len};
}

static void make_batch(struct bench_walk *walk, enum bench_op op, uint32_t size)
{
	struct rte_mbuf *pkts[BATCH];
	struct cr_aead_job jobs[BATCH];
	struct rte_ring *to =
		op == BENCH_SEAL ? walk->worker->inner_ring : dp_test_port_rx(walk->dp, 0, 0);

	if (rte_pktmbuf_alloc_bulk(walk->dp->pool, pkts, BATCH) != 0)
		bench_walk_die("no packets left");
	for (unsigned i = 0; i < BATCH; i++) {
		if (op == BENCH_SEAL)
			make_inner(walk, pkts[i], size);
		else
			make_frame(walk, pkts[i], size, &jobs[i]);
	}
	if (op == BENCH_OPEN)
		walk->aead_ops->seal(walk->aead, jobs, BATCH);
	if (rte_ring_enqueue_bulk(to, (void **)pkts, BATCH, NULL) != BATCH)
		bench_walk_die("ring is full");
}

/* Everything must have come through: a bench of drops would be fast. */
static void take_batch(struct bench_walk *walk, enum bench_op op, uint32_t size)
{
	struct rte_mbuf *pkts[BATCH];
	struct rte_ring *from =
		op == BENCH_SEAL ? dp_test_port_tx(walk->dp, 0, 0) : walk->host_ring;
	uint32_t len = op == BENCH_SEAL ? bench_padded_bytes(size) : size;

	/* The MTU of 1420 is where padding ends (paper 5.4.6). */
	if (op == BENCH_SEAL)
		len = RTE_MIN(len, 1420u) + (uint32_t)WG_DATA_OVERHEAD_BYTES + DP_ETH_BYTES +
			DP_IP4_BYTES + DP_UDP_BYTES;
	if (rte_ring_dequeue_bulk(from, (void **)pkts, BATCH, NULL) != BATCH)
		bench_walk_die("packets were lost");
	for (unsigned i = 0; i < BATCH; i++) {
		if (rte_pktmbuf_pkt_len(pkts[i]) != len)
			bench_walk_die("a packet of %u bytes instead of %u",
				rte_pktmbuf_pkt_len(pkts[i]), len);
	}
	rte_pktmbuf_free_bulk(pkts, BATCH);
}

double bench_walk_round(struct bench_walk *walk, enum bench_op op, uint32_t size)
{
	const unsigned n_pkts = BATCHES_PER_ROUND * BATCH;
	uint64_t cycles = 0;

	for (unsigned i = 0; i < BATCHES_PER_ROUND; i++) {
		uint64_t start;

		make_batch(walk, op, size);
		start = bench_tsc();
		dp_worker_round(walk->worker, base_clock_now_ns());
		cycles += bench_tsc() - start;
		take_batch(walk, op, size);
		/* What the worker has to say is heard, as when the handshake thread runs. */
		dp_handshake_round(walk->dp->handshake, base_clock_now_ns());
	}
	return (double)cycles / n_pkts;
}
