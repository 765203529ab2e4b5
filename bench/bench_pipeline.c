/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pipeline bench: the whole walk of a worker against the cipher alone. Seal: from inner packets on the
 * worker's ring to outer packets handed to a ring port. Open: from frames on a ring port, sealed beforehand
 * with rising counters, to packets on the host interface's ring; index, replay window, allowed IPs and
 * filter on. What is timed is dp_worker_round() and the clock it is given, nothing else: a batch is made
 * before, and what came out is checked and freed after. One thread, pinned. README.md has the method.
 */
#include "base_clock.h"
#include "base_err.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "dp_test.h"

#include "bench_raw.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PEERS_MAX 1000u
#define BATCH DP_BURST
#define BATCHES_PER_ROUND 32u
#define ROUNDS_USUAL 51
#define LISTEN_PORT 51820

static const uint32_t sizes[] = {64, 128, 256, 512, 1024, 1420};
static const uint32_t peer_counts[] = {1, PEERS_MAX};

struct bench {
	struct dp *dp;
	struct dp_worker *worker;
	struct rte_ring *host_ring;
	struct wg_slab *slab;
	struct dp_peer *peers[PEERS_MAX];
	struct wg_keypair *keypairs[PEERS_MAX];
	uint64_t open_counters[PEERS_MAX];
	uint32_t order[PEERS_MAX]; /* peers in no order that a prefetcher could learn */
	uint32_t n_peers;
	uint32_t next; /* in order[] */
	struct cr_aead *aead;
	const struct cr_aead_ops *aead_ops;
};

static bool as_json;
static unsigned n_rounds = ROUNDS_USUAL;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "bench_pipeline: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

static uint32_t peer_addr(uint32_t peer)
{
	return 0x0a090002 + peer; /* 10.9.0.2 and on */
}

static uint32_t take_peer(struct bench *bench)
{
	bench->next = (bench->next + 1) % bench->n_peers;
	return bench->order[bench->next];
}

/* A session as the handshake thread would hand it over, with keys that the bench knows. */
static void add_session(struct bench *bench, uint32_t i)
{
	struct wg_keypair *keypair = wg_slab_take(bench->slab);
	struct dp_command cmd = {.type = DP_COMMAND_KEYPAIR_BEGIN, .object = keypair};

	if (!keypair)
		die("no memory");
	cr_random(&keypair->send_key, sizeof(keypair->send_key));
	keypair->recv_key = keypair->send_key;
	keypair->birth_ns = base_clock_now_ns();
	cr_random(&keypair->local_index, sizeof(keypair->local_index));
	/* Worker 0 owns it; the number keeps indices apart. */
	keypair->local_index = (keypair->local_index & 0xffff0000u) | (i << WG_INDEX_OWNER_BITS);
	keypair->remote_index_le32 = i;
	keypair->is_confirmed = true;
	/* As a responder's, confirmed at once below: an initiator's would send a keepalive. */
	cmd.peer = bench->peers[i];
	if (!dp_worker_command(bench->worker, &cmd))
		die("command ring is full");
	dp_worker_round(bench->worker, base_clock_now_ns());
	cmd.peer->keypairs.current = keypair;
	cmd.peer->keypairs.next = NULL;
	bench->keypairs[i] = keypair;
}

static void add_peer(struct bench *bench, uint32_t i)
{
	struct cr_key private_key;
	struct base_prefix prefix = {.addr.family = BASE_FAMILY_V4, .bits = 32};
	struct dp_peer_config config = {
		.endpoint.addr.family = BASE_FAMILY_V4, .allowed_ips = &prefix, .n_allowed_ips = 1};
	struct base_error error;

	cr_random(&private_key, sizeof(private_key));
	cr_x25519_public(&config.public_key, &private_key);
	base_store_be32(prefix.addr.bytes, peer_addr(i));
	base_store_be32(config.endpoint.addr.bytes, 0xc6336400 + i); /* 198.51.100.0 and on */
	config.endpoint.port = LISTEN_PORT;
	if (dp_peer_set(bench->dp, &config, &error) != 0)
		die("%s", error.text);
	bench->peers[i] = bench->dp->peers.by_number[i];
	add_session(bench, i);
}

static void bench_up(struct bench *bench, unsigned cpu)
{
	static const struct dp_filter_rule rule = {
		.port_first = 8765, .port_last = 8765, .proto = IN_PROTO_UDP};
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
	if (base_ifaddr_parse(&config.host_addrs[0], "10.9.0.1/16") != 0)
		die("host address");
	bench->dp = dp_test_new(&config, NULL, NULL, &error);
	if (!bench->dp)
		die("%s", error.text);
	bench->worker = &bench->dp->workers[0];
	bench->dp->step_ns = base_clock_now_ns();
	bench->aead_ops = bench->worker->aead_ops;
	bench->aead = bench->aead_ops->new ();
	bench->slab = wg_slab_new();
	bench->host_ring = rte_ring_create("bench_host", 1024, SOCKET_ID_ANY, 0);
	if (!bench->aead || !bench->slab || !bench->host_ring)
		die("no memory");
	dp_test_set_host_ring(bench->dp, bench->host_ring);
	for (uint32_t i = 0; i < PEERS_MAX; i++) {
		add_peer(bench, i);
		bench->order[i] = i;
	}
}

/* The sessions are the bench's: take them back before the dataplane gives them to wg. */
static void bench_down(struct bench *bench)
{
	for (uint32_t i = 0; i < PEERS_MAX; i++) {
		wg_index_release(bench->worker->index, bench->keypairs[i]->local_index);
		bench->peers[i]->keypairs.current = NULL;
	}
	dp_test_set_host_ring(bench->dp, NULL);
	dp_free(bench->dp);
	rte_ring_free(bench->host_ring);
	wg_slab_free(bench->slab);
	bench->aead_ops->free(bench->aead);
}

static void set_peers(struct bench *bench, uint32_t n)
{
	uint32_t r;

	bench->n_peers = n;
	bench->next = 0;
	for (uint32_t i = 0; i < PEERS_MAX; i++)
		bench->order[i] = i;
	for (uint32_t i = n; i-- > 1;) {
		uint32_t j, tmp = bench->order[i];

		cr_random(&r, sizeof(r));
		j = r % (i + 1);
		bench->order[i] = bench->order[j];
		bench->order[j] = tmp;
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

static void make_inner(struct bench *bench, struct rte_mbuf *m, uint32_t size)
{
	m->data_len = (uint16_t)size;
	m->pkt_len = size;
	inner_write(rte_pktmbuf_mtod(m, uint8_t *), size, take_peer(bench), true);
}

/* A frame with a data message; its payload is sealed by the caller's job. */
static void make_frame(
	struct bench *bench, struct rte_mbuf *m, uint32_t size, struct cr_aead_job *job)
{
	uint32_t peer = take_peer(bench), len = bench_padded_bytes(size);
	uint32_t message_len = len + (uint32_t)WG_DATA_OVERHEAD_BYTES;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint8_t *ip = frame + DP_ETH_BYTES, *udp = ip + DP_IP4_BYTES,
		*inner = udp + DP_UDP_BYTES + 16;
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA,
		.receiver_index_le32 = bench->keypairs[peer]->local_index,
		.counter_le64 = bench->open_counters[peer]++};

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
	*job = (struct cr_aead_job){.key = &bench->keypairs[peer]->recv_key,
		.counter = header.counter_le64,
		.src = inner,
		.dst = inner,
		.len = len};
}

static void make_batch(struct bench *bench, enum bench_op op, uint32_t size)
{
	struct rte_mbuf *pkts[BATCH];
	struct cr_aead_job jobs[BATCH];
	struct rte_ring *to =
		op == BENCH_SEAL ? bench->worker->inner_ring : dp_test_port_rx(bench->dp, 0, 0);

	if (rte_pktmbuf_alloc_bulk(bench->dp->pool, pkts, BATCH) != 0)
		die("no packets left");
	for (unsigned i = 0; i < BATCH; i++) {
		if (op == BENCH_SEAL)
			make_inner(bench, pkts[i], size);
		else
			make_frame(bench, pkts[i], size, &jobs[i]);
	}
	if (op == BENCH_OPEN)
		bench->aead_ops->seal(bench->aead, jobs, BATCH);
	if (rte_ring_enqueue_bulk(to, (void **)pkts, BATCH, NULL) != BATCH)
		die("ring is full");
}

/* Everything must have come through: a bench of drops would be fast. */
static void take_batch(struct bench *bench, enum bench_op op, uint32_t size)
{
	struct rte_mbuf *pkts[BATCH];
	struct rte_ring *from =
		op == BENCH_SEAL ? dp_test_port_tx(bench->dp, 0, 0) : bench->host_ring;
	uint32_t len = op == BENCH_SEAL ? bench_padded_bytes(size) : size;

	/* The MTU of 1420 is where padding ends (paper 5.4.6). */
	if (op == BENCH_SEAL)
		len = RTE_MIN(len, 1420u) + (uint32_t)WG_DATA_OVERHEAD_BYTES + DP_ETH_BYTES +
			DP_IP4_BYTES + DP_UDP_BYTES;
	if (rte_ring_dequeue_bulk(from, (void **)pkts, BATCH, NULL) != BATCH)
		die("packets were lost");
	for (unsigned i = 0; i < BATCH; i++) {
		if (rte_pktmbuf_pkt_len(pkts[i]) != len)
			die("a packet of %u bytes instead of %u", rte_pktmbuf_pkt_len(pkts[i]),
				len);
	}
	rte_pktmbuf_free_bulk(pkts, BATCH);
}

static double round_run(struct bench *bench, enum bench_op op, uint32_t size)
{
	uint64_t cycles = 0;

	for (unsigned i = 0; i < BATCHES_PER_ROUND; i++) {
		uint64_t start;

		make_batch(bench, op, size);
		start = bench_tsc();
		dp_worker_round(bench->worker, base_clock_now_ns());
		cycles += bench_tsc() - start;
		take_batch(bench, op, size);
		/* What the worker has to say is heard, as when the handshake thread runs. */
		dp_handshake_round(bench->dp->handshake, base_clock_now_ns());
	}
	return (double)cycles / (BATCHES_PER_ROUND * BATCH);
}

static void print_row(
	enum bench_op op, uint32_t size, uint32_t peers, double cycles, double raw, double ratio)
{
	if (as_json)
		printf("{\"bench\":\"pipeline\",\"op\":\"%s\",\"size\":%u,\"peers\":%u,"
		       "\"cycles\":%.1f,\"raw_cycles\":%.1f,\"ratio\":%.3f}\n",
			bench_op_name(op), size, peers, cycles, raw, ratio);
	else
		printf("%5s %5u %6u %8.1f %8.1f %6.3f\n", bench_op_name(op), size, peers, cycles,
			raw, ratio);
	fflush(stdout);
}

/* Raw and product take turns; each ratio is of neighbours in time. */
static void measure(struct bench *bench, enum bench_op op, uint32_t size)
{
	double *cycles = calloc(3 * n_rounds, sizeof(*cycles));
	double *raw_cycles = cycles + n_rounds, *ratios = raw_cycles + n_rounds;

	if (!cycles)
		die("no memory");
	for (unsigned p = 0; p < BASE_ARRAY_LEN(peer_counts); p++) {
		struct bench_raw *raw = bench_raw_new(op, bench_padded_bytes(size));

		if (!raw)
			die("raw ipsec-mb: %s", strerror(errno));
		set_peers(bench, peer_counts[p]);
		/* Once without looking, so that every peer has been met. */
		round_run(bench, op, size);
		for (unsigned i = 0; i < n_rounds; i++) {
			raw_cycles[i] = bench_raw_round(raw);
			cycles[i] = round_run(bench, op, size);
			ratios[i] = raw_cycles[i] / cycles[i];
		}
		bench_raw_free(raw);
		print_row(op, size, peer_counts[p], bench_median(cycles, n_rounds),
			bench_median(raw_cycles, n_rounds), bench_median(ratios, n_rounds));
	}
	free(cycles);
}

/* Where the worker's cycles went in this run, as `sandctl stats` shows it. */
static void print_stages(const struct bench *bench)
{
	struct dp_stats *stats = malloc(sizeof(*stats));

	if (!stats)
		return;
	dp_stats_get(bench->dp, stats);
	printf("\ncycles per packet and stage, all sizes together:");
	for (unsigned i = 0; i < DP_STAGE_COUNT; i++) {
		uint64_t pkts = stats->workers[0].stage_pkts[i];

		if (pkts)
			printf(" %s %.0f", dp_stage_name(i),
				(double)stats->workers[0].stage_cycles[i] / (double)pkts);
	}
	printf("\n");
	free(stats);
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: bench_pipeline [--json] [--cpu N] [--size BYTES] [--op seal|open] [--rounds N]\n"
		"The worker's whole path against raw ipsec-mb; ratio = raw cycles / cycles.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"cpu", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
		{"op", required_argument, NULL, 'o'}, {"rounds", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'}, {0}};
	unsigned cpu = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1, only_size = 0;
	const char *only_op = NULL;
	static struct bench bench;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			as_json = true;
		else if (c == 'c')
			cpu = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			only_size = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'o')
			only_op = optarg;
		else if (c == 'r' && strtoul(optarg, NULL, 10) > 0)
			n_rounds = (unsigned)strtoul(optarg, NULL, 10);
		else
			return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
	}
	if (cr_init() != 0)
		die("OpenSSL without BLAKE2s, or no random numbers");
	bench_up(&bench, cpu);
	if (!as_json)
		printf("%5s %5s %6s %8s %8s %6s\n", "op", "size", "peers", "cycles", "raw",
			"ratio");
	for (unsigned i = 0; i < BASE_ARRAY_LEN(sizes); i++) {
		for (enum bench_op op = BENCH_SEAL; op <= BENCH_OPEN; op++) {
			if ((!only_size || only_size == sizes[i]) &&
				(!only_op || strcmp(only_op, bench_op_name(op)) == 0))
				measure(&bench, op, sizes[i]);
		}
	}
	if (!as_json)
		print_stages(&bench);
	bench_down(&bench);
	return 0;
}
