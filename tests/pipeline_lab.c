/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The laboratory of pipeline_lab.h.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"
#include "cr_noise.h"
#include "in_offload.h"
#include "pipeline_sanitizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <rte_launch.h>

#define START_NS (1000 * BASE_NS_PER_S)
#define RUNS_MAX 200
#define GATEWAY4 "10.9.0.1"
#define MARKED_BYTES 100

/* Of the gateway: where frames go, and answers come from. The last bytes are lab_ask()'s. */
static uint8_t gateway4[4] = DP_TEST_OUR_ADDR4;
static uint8_t gateway6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};

void lab_ask(uint8_t last)
{
	gateway4[3] = last;
	gateway6[15] = last;
}

static void queue_push(struct lab_queue *queue, const void *data, size_t len)
{
	assert_true(queue->n < LAB_QUEUE_MAX && len <= LAB_PKT_MAX);
	queue->pkts[queue->n].len = (uint32_t)len;
	memcpy(queue->pkts[queue->n++].data, data, len);
}

static bool queue_take(struct lab_queue *queue, struct lab_pkt *ret_pkt)
{
	if (queue->n == 0)
		return false;
	*ret_pkt = queue->pkts[0];
	memmove(queue->pkts, queue->pkts + 1, --queue->n * sizeof(queue->pkts[0]));
	return true;
}

bool lab_kept_take(struct lab_peer *peer, struct lab_pkt *ret_pkt)
{
	return queue_take(&peer->kept, ret_pkt);
}

bool lab_got_take(struct lab_peer *peer, struct lab_pkt *ret_pkt)
{
	return queue_take(&peer->got, ret_pkt);
}

/* Frames in. */

static uint16_t udp_check6(const uint8_t *ip, const uint8_t *udp, uint32_t udp_len)
{
	uint8_t pseudo[8] = {0, 0, 0, 0, 0, 0, 0, IN_PROTO_UDP};
	uint64_t sum;

	base_store_be32(pseudo, udp_len);
	sum = in_csum_add(0, pseudo, sizeof(pseudo));
	sum = in_csum_add(sum, ip + 8, 32);
	sum = in_csum_add(sum, udp, udp_len);
	return in_csum_finish(sum);
}

uint32_t lab_frame(
	uint8_t *ret_frame, const struct base_endpoint *from, const void *message, uint32_t len)
{
	bool is_v6 = from->addr.family == BASE_FAMILY_V6;
	uint32_t ip_len = is_v6 ? DP_IP6_BYTES : DP_IP4_BYTES;
	uint8_t *ip = ret_frame + DP_ETH_BYTES, *udp = ip + ip_len;
	uint16_t check;

	memset(ret_frame, 0, DP_ETH_BYTES + ip_len + DP_UDP_BYTES);
	memset(ret_frame, 2, 12);
	base_store_be16(ret_frame + 12, is_v6 ? 0x86dd : 0x0800);
	if (is_v6) {
		ip[0] = 0x60;
		base_store_be16(ip + 4, (uint16_t)(DP_UDP_BYTES + len));
		ip[6] = IN_PROTO_UDP;
		ip[7] = 64;
		memcpy(ip + 8, from->addr.bytes, 16);
		memcpy(ip + 24, gateway6, 16);
	} else {
		ip[0] = 0x45;
		base_store_be16(ip + 2, (uint16_t)(ip_len + DP_UDP_BYTES + len));
		ip[8] = 64;
		ip[9] = IN_PROTO_UDP;
		memcpy(ip + 12, from->addr.bytes, 4);
		memcpy(ip + 16, gateway4, 4);
		check = in_csum_finish(in_csum_add(0, ip, ip_len));
		memcpy(ip + 10, &check, 2);
	}
	base_store_be16(udp, from->port);
	base_store_be16(udp + 2, LAB_PORT);
	base_store_be16(udp + 4, (uint16_t)(DP_UDP_BYTES + len));
	memcpy(udp + DP_UDP_BYTES, message, len);
	return DP_ETH_BYTES + ip_len + DP_UDP_BYTES + len;
}

void lab_inject_frame(struct lab *lab, const void *frame, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(lab->dp->pool);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), frame, len);
	lab_sanitizer_give(m);
	assert_int_equal(rte_ring_enqueue(dp_test_port_rx(lab->dp, 0, lab->rx_queue), m), 0);
	lab->frames_in++;
}

void lab_inject(
	struct lab *lab, const struct base_endpoint *from, const void *message, uint32_t len)
{
	uint8_t frame[LAB_PKT_MAX];

	lab_inject_frame(lab, frame, lab_frame(frame, from, message, len));
}

/* Frames out: what a kernel would check, and what this house promises. */

static void unwrap4(const uint8_t *ip, uint32_t len, struct base_endpoint *ret_to)
{
	assert_int_equal(ip[0], 0x45);
	assert_int_equal(base_load_be16(ip + 2), len);
	assert_int_equal(in_csum_finish(in_csum_add(0, ip, DP_IP4_BYTES)), 0);
	assert_int_equal(base_load_be16(ip + 6), 0x4000);
	assert_int_equal(ip[9], IN_PROTO_UDP);
	assert_memory_equal(ip + 12, gateway4, 4);
	ret_to->addr = base_addr_from_bytes(BASE_FAMILY_V4, ip + 16);
}

static void unwrap6(const uint8_t *ip, uint32_t len, struct base_endpoint *ret_to)
{
	assert_int_equal(ip[0] >> 4, 6);
	assert_int_not_equal(base_load_be32(ip) & 0xfffff, 0);
	assert_int_equal(base_load_be16(ip + 4), len - DP_IP6_BYTES);
	assert_int_equal(ip[6], IN_PROTO_UDP);
	assert_memory_equal(ip + 8, gateway6, 16);
	assert_int_equal(udp_check6(ip, ip + DP_IP6_BYTES, len - DP_IP6_BYTES), 0);
	ret_to->addr = base_addr_from_bytes(BASE_FAMILY_V6, ip + 24);
}

static void unwrap(struct lab *lab, struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *), *ip = frame + DP_ETH_BYTES,
		      *udp;
	uint32_t len = rte_pktmbuf_data_len(m);
	struct base_endpoint to = {0}, from = {.port = LAB_PORT};
	bool is_v6 = base_load_be16(frame + 12) == 0x86dd;

	assert_memory_equal(frame, "\2\0\0\0\0\2\2\0\0\0\0\1", 12);
	if (is_v6)
		unwrap6(ip, len - DP_ETH_BYTES, &to);
	else
		unwrap4(ip, len - DP_ETH_BYTES, &to);
	lab->ds_out = is_v6 ? (uint8_t)(base_load_be16(ip) >> 4) : ip[1];
	udp = ip + (is_v6 ? DP_IP6_BYTES : DP_IP4_BYTES);
	assert_int_equal(base_load_be16(udp), LAB_PORT);
	to.port = base_load_be16(udp + 2);
	assert_int_equal(base_load_be16(udp + 4), len - (uint32_t)(udp - frame));
	assert_true(udp[DP_UDP_BYTES] < BASE_ARRAY_LEN(lab->out));
	lab->out[udp[DP_UDP_BYTES]].n++;
	lab->out[udp[DP_UDP_BYTES]].ds = lab->ds_out;
	from.addr = is_v6 ? base_addr_from_bytes(BASE_FAMILY_V6, gateway6)
			  : base_addr_from_bytes(BASE_FAMILY_V4, gateway4);
	for (unsigned i = 0; i < lab->n_peers; i++) {
		struct lab_peer *peer = &lab->peers[i];

		if (!lab->is_deaf && base_endpoint_equal(&to, &peer->endpoint))
			wg_input(peer->device, &from, udp + DP_UDP_BYTES,
				len - (uint32_t)(udp + DP_UDP_BYTES - frame), lab->now_ns);
	}
	rte_pktmbuf_free(m);
	lab->frames_out++;
}

bool lab_take_frames(struct lab *lab)
{
	struct rte_mbuf *m;
	bool any = false;

	for (unsigned q = 0; q < lab->dp->ports[0].n_queues; q++) {
		while (rte_ring_dequeue(dp_test_port_tx(lab->dp, 0, q), (void **)&m) == 0) {
			lab_sanitizer_take(m);
			unwrap(lab, m);
			any = true;
		}
	}
	return any;
}

static bool has_frames(const struct lab *lab)
{
	for (unsigned q = 0; q < lab->dp->ports[0].n_queues; q++) {
		if (rte_ring_count(dp_test_port_rx(lab->dp, 0, q)) > 0)
			return true;
	}
	return false;
}

void lab_run(struct lab *lab, uint64_t later_ns)
{
	uint64_t end_ns = lab->now_ns + later_ns;

	for (unsigned i = 0; i < RUNS_MAX * 1000; i++) {
		uint64_t next_ns = wg_next_deadline_ns(dp_handshake_device(lab->dp->handshake));
		bool moved;

		do {
			dp_test_round(lab->dp, lab->now_ns);
			moved = lab_take_frames(lab);
			moved |= has_frames(lab);
		} while (moved);
		dp_service(lab->dp);
		for (unsigned p = 0; p < lab->n_peers; p++) {
			uint64_t peer_ns = wg_next_deadline_ns(lab->peers[p].device);

			next_ns = RTE_MIN(next_ns, peer_ns);
		}
		if (lab->now_ns >= end_ns && next_ns > lab->now_ns)
			return;
		/* Small steps, so that the workers' own waits pass too. */
		next_ns = RTE_MAX(next_ns, lab->now_ns);
		next_ns = RTE_MIN(next_ns, lab->now_ns + 100 * BASE_NS_PER_MS);
		lab->now_ns = RTE_MIN(next_ns, end_ns);
		for (unsigned p = 0; p < lab->n_peers; p++)
			wg_tick(lab->peers[p].device, lab->now_ns);
	}
	fail_msg("the laboratory does not come to rest");
}

void lab_poll(struct lab *lab)
{
	lab->now_ns = base_clock_now_ns();
	lab_take_frames(lab);
	dp_service(lab->dp);
	for (unsigned p = 0; p < lab->n_peers; p++)
		wg_tick(lab->peers[p].device, lab->now_ns);
}

struct dp_peer *lab_dp_peer(const struct lab_peer *peer)
{
	const struct dp_peers *peers = &peer->lab->dp->peers;

	for (uint32_t i = 0; i < peers->capacity; i++) {
		if (peers->by_number[i] &&
			cr_key_equal(&peers->by_number[i]->public_key, &peer->public_key))
			return peers->by_number[i];
	}
	return NULL;
}

uint32_t lab_seal(struct lab_peer *peer, uint8_t *ret_message, uint64_t counter, const void *inner,
	uint32_t len)
{
	const struct wg_keypair *keypair = lab_dp_peer(peer)->keypairs.current;
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA, .counter_le64 = counter};

	assert_non_null(keypair);
	header.receiver_index_le32 = keypair->local_index;
	memcpy(ret_message, &header, sizeof(header));
	cr_aead_seal(
		ret_message + sizeof(header), &keypair->recv_key, counter, inner, len, NULL, 0);
	return len + (uint32_t)WG_DATA_OVERHEAD_BYTES;
}

/* Inner packets. */

uint32_t lab_inner(
	uint8_t *ret_packet, const char *src, const char *dst, uint16_t dst_port, uint32_t len)
{
	struct base_addr from, to;
	uint32_t header;

	assert_int_equal(base_addr_parse(&from, src), 0);
	assert_int_equal(base_addr_parse(&to, dst), 0);
	memset(ret_packet, 0x5a, len);
	if (from.family == BASE_FAMILY_V4) {
		uint16_t check;

		header = 20;
		memset(ret_packet, 0, header);
		ret_packet[0] = 0x45;
		base_store_be16(ret_packet + 2, (uint16_t)len);
		ret_packet[8] = 64;
		ret_packet[9] = IN_PROTO_UDP;
		memcpy(ret_packet + 12, from.bytes, 4);
		memcpy(ret_packet + 16, to.bytes, 4);
		check = in_csum_finish(in_csum_add(0, ret_packet, header));
		memcpy(ret_packet + 10, &check, 2);
	} else {
		header = 40;
		memset(ret_packet, 0, header);
		ret_packet[0] = 0x60;
		base_store_be16(ret_packet + 4, (uint16_t)(len - header));
		ret_packet[6] = IN_PROTO_UDP;
		ret_packet[7] = 64;
		memcpy(ret_packet + 8, from.bytes, 16);
		memcpy(ret_packet + 24, to.bytes, 16);
	}
	base_store_be16(ret_packet + header, 40000);
	base_store_be16(ret_packet + header + 2, dst_port);
	base_store_be16(ret_packet + header + 4, (uint16_t)(len - header));
	base_store_be16(ret_packet + header + 6, 0);
	return len;
}

void lab_host_put(struct lab *lab, const uint8_t *packet, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(lab->dp->pool);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, (uint16_t)len), packet, len);
	dp_from_host(lab->dp, &m, 1);
}

bool lab_host_take(struct lab *lab, struct lab_pkt *ret_pkt)
{
	struct rte_mbuf *m;

	if (rte_ring_dequeue(lab->host_ring, (void **)&m) != 0)
		return false;
	ret_pkt->len = rte_pktmbuf_data_len(m);
	memcpy(ret_pkt->data, rte_pktmbuf_mtod(m, void *), ret_pkt->len);
	rte_pktmbuf_free(m);
	return true;
}

/* Peers. */

static void peer_send(void *ctx, struct wg_peer *gateway, const struct base_endpoint *to,
	const void *message, size_t len)
{
	struct lab_peer *peer = ctx;

	peer->n_sent++;
	if (peer->is_mute)
		queue_push(&peer->kept, message, len);
	else if (peer->is_relayed)
		assert_int_equal(dp_relay_input(peer->lab->dp, &peer->public_key, message, len), 0);
	else
		lab_inject(peer->lab, &peer->endpoint, message, (uint32_t)len);
}

static uint64_t peer_unix_ns(void *ctx)
{
	struct lab_peer *peer = ctx;

	return peer->lab->now_ns;
}

static void peer_deliver(void *ctx, struct wg_peer *gateway, const void *packet, size_t len)
{
	struct lab_peer *peer = ctx;

	queue_push(&peer->got, packet, len);
}

void lab_peer_send(struct lab_peer *peer, const uint8_t *packet, uint32_t len)
{
	enum wg_verdict verdict = wg_output(peer->device, packet, len, peer->lab->now_ns);

	assert_true(verdict == WG_VERDICT_OK || verdict == WG_VERDICT_OUT_STAGED);
}

static void key_make(struct cr_key *ret_key, uint8_t seed)
{
	memset(ret_key->bytes, seed, sizeof(ret_key->bytes));
	ret_key->bytes[0] &= 248;
	ret_key->bytes[31] = (uint8_t)((seed & 63) | 64);
}

static struct base_endpoint lab_endpoint(bool is_v6, unsigned n)
{
	struct base_endpoint endpoint;
	char text[BASE_ENDPOINT_TEXT_LEN];

	if (is_v6)
		snprintf(text, sizeof(text), "[2001:db8::%u]:%u", 100 + n, 40000 + n);
	else
		snprintf(text, sizeof(text), "192.0.2.%u:%u", 100 + n, 40000 + n);
	assert_int_equal(base_endpoint_parse(&endpoint, text), 0);
	return endpoint;
}

static const struct cr_key the_psk = {.bytes = {0x77, 0x78, 0x79}};

void lab_private_key(unsigned n, struct cr_key *ret_key)
{
	key_make(ret_key, (uint8_t)(0x21 + n));
}

static void peer_meet_gateway(struct lab_peer *peer, const struct cr_key *psk)
{
	struct lab *lab = peer->lab;
	struct base_prefix all[2];
	bool is_v6 = peer->endpoint.addr.family == BASE_FAMILY_V6;

	assert_int_equal(base_prefix_parse(&all[0], "0.0.0.0/0", true), 0);
	assert_int_equal(base_prefix_parse(&all[1], "::/0", true), 0);
	assert_int_equal(
		wg_peer_set(peer->device,
			&(struct wg_peer_config){
				.public_key = *dp_handshake_public_key(lab->dp->handshake),
				.preshared_key = *psk,
				.endpoint = {.addr = is_v6
						? base_addr_from_bytes(BASE_FAMILY_V6, gateway6)
						: base_addr_from_bytes(BASE_FAMILY_V4, gateway4),
					.port = LAB_PORT},
				.allowed_ips = all,
				.n_allowed_ips = 2},
			lab->now_ns, &peer->gateway),
		0);
}

void lab_peer_meet_again(struct lab_peer *peer, bool has_psk)
{
	static const struct cr_key none = {.bytes = {0}};

	wg_peer_remove(peer->device, peer->gateway);
	peer_meet_gateway(peer, has_psk ? &the_psk : &none);
}

struct lab_peer *lab_peer_add(struct lab *lab, bool knows_endpoint, bool has_psk)
{
	static const struct wg_host calls = {
		.send = peer_send, .unix_ns = peer_unix_ns, .deliver = peer_deliver};
	struct lab_peer *peer = &lab->peers[lab->n_peers];
	struct cr_key private_key, psk = {.bytes = {0}};
	struct base_prefix ours[2];
	struct base_endpoint known = {.port = 0};
	struct base_error error;
	char text[64];
	bool is_v6 = lab->peers[0].endpoint.addr.family == BASE_FAMILY_V6;

	lab_private_key(lab->n_peers, &private_key);
	if (has_psk)
		psk = the_psk;
	peer->lab = lab;
	peer->endpoint = lab_endpoint(is_v6, lab->n_peers);
	peer->got.pkts = calloc(LAB_QUEUE_MAX, sizeof(struct lab_pkt));
	peer->kept.pkts = calloc(LAB_QUEUE_MAX, sizeof(struct lab_pkt));
	peer->device = wg_device_new(&private_key, &calls, peer);
	assert_non_null(peer->device);
	wg_device_public_key(peer->device, &peer->public_key);

	peer_meet_gateway(peer, &psk);
	snprintf(text, sizeof(text), "10.9.0.%u/32", 2 + lab->n_peers);
	assert_int_equal(base_prefix_parse(&ours[0], text, true), 0);
	snprintf(text, sizeof(text), "fd00::%u/128", 2 + lab->n_peers);
	assert_int_equal(base_prefix_parse(&ours[1], text, true), 0);
	lab->n_peers++;
	if (knows_endpoint)
		known = peer->endpoint;
	assert_int_equal(dp_peer_set(lab->dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .preshared_key = psk,
					 .endpoint = known,
					 .allowed_ips = ours,
					 .n_allowed_ips = 2},
				 &error),
		0);
	return peer;
}

static void on_event(void *ctx, const struct dp_event *event)
{
	struct lab *lab = ctx;

	lab->n_moved += event->type == DP_EVENT_ENDPOINT_MOVED;
	lab->n_handshakes += event->type == DP_EVENT_HANDSHAKE;
	if (event->type == DP_EVENT_PATH_WANTED) {
		lab->n_paths_wanted++;
		lab->wanted_by = event->endpoint;
	}
	if (event->type == DP_EVENT_HEARD) {
		lab->n_heard++;
		lab->heard_at = event->endpoint;
	}
}

/* The relay: whoever it is for gets it. */
static void on_relay(void *ctx, const struct cr_key *key, const void *message, size_t len)
{
	struct base_endpoint from = {.port = LAB_PORT};
	struct lab *lab = ctx;

	lab->n_relayed++;
	if (base_load_le32(message) == WG_MESSAGE_DATA)
		lab->relayed_counter = base_load_le64((const uint8_t *)message + 8);
	from.addr = base_addr_from_bytes(BASE_FAMILY_V4, gateway4);
	for (unsigned i = 0; i < lab->n_peers; i++) {
		struct lab_peer *peer = &lab->peers[i];

		if (!lab->is_deaf && cr_key_equal(key, &peer->public_key))
			wg_input(peer->device, &from, message, len, lab->now_ns);
	}
}

static void on_probe(void *ctx, const struct base_endpoint *from, const struct base_endpoint *to,
	const void *datagram, size_t len)
{
	struct lab *lab = ctx;

	lab->n_probes++;
	lab->probe.from = *from;
	lab->probe.to = *to;
	lab->probe.pkt.len = (uint32_t)len;
	memcpy(lab->probe.pkt.data, datagram, len);
}

static int worker_main(void *arg)
{
	int result = dp_worker_main(arg);

	lab_sanitizer_give(arg);
	return result;
}

/* As dp_new() starts them, but once the test's ring is in the host interface's place. */
static void start_threads(struct lab *lab)
{
	struct dp *dp = lab->dp;

	dp->is_stepped = false;
	lab->now_ns = base_clock_now_ns();
	assert_int_equal(dp_handshake_start(dp->handshake, 0), 0);
	for (unsigned i = 0; i < dp->n_workers; i++) {
		assert_int_equal(
			rte_eal_remote_launch(worker_main, &dp->workers[i], dp->workers[i].lcore),
			0);
		dp->n_running = i + 1;
	}
}

/* As dp_free() stops them. */
static void stop_threads(struct lab *lab)
{
	struct dp *dp = lab->dp;

	dp_peers_fini(dp);
	dp_handshake_stop(dp->handshake);
	atomic_store(&dp->must_stop, true);
	for (unsigned i = 0; i < dp->n_running; i++)
		dp_idle_wake(dp->workers[i].idle);
	for (unsigned i = 0; i < dp->n_running; i++) {
		rte_eal_wait_lcore(dp->workers[i].lcore);
		lab_sanitizer_take(&dp->workers[i]);
	}
	dp->n_running = 0;
}

static void config_make(struct dp_config *ret_config, const struct lab_options *options)
{
	/* UDP to port 8765 of this host, from anybody; everything else is denied. */
	static const struct base_prefix anybody = {0};
	static const struct dp_filter_dst port = {.port_first = 8765, .port_last = 8765};
	static const uint8_t udp = IN_PROTO_UDP;
	static const struct dp_filter_rule rule = {&anybody, 1, &port, 1, &udp, 1};

	*ret_config = (struct dp_config){
		.ports = {{.kind = DP_PORT_RING,
			.device = "lab",
			.n_queues = (uint16_t)options->n_queues}},
		.n_ports = 1,
		.listen_port = LAB_PORT,
		.n_workers = options->n_workers ? options->n_workers : 1,
		.crypto = options->crypto,
		.memory_mb = 128,
		.host_mtu = 1420,
		.n_host_addrs = 2,
		.rules = &rule,
		.n_rules = 1,
	};
	key_make(&ret_config->private_key, 0x11);
	assert_int_equal(base_ifaddr_parse(&ret_config->host_addrs[0], "10.9.0.1/24"), 0);
	assert_int_equal(base_ifaddr_parse(&ret_config->host_addrs[1], "fd00::1/64"), 0);
}

void lab_eal(unsigned n_workers, unsigned memory_mb)
{
	struct dp_config config = {.memory_mb = memory_mb};
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct base_error error;

	for (unsigned i = 0; i < n_workers; i++)
		config.worker_cpus[i] = i % (unsigned)cpus;
	if (dp_eal_init(&config, n_workers, NULL, &error) != 0)
		fail_msg("%s", error.text);
	lab_sanitizer_init();
}

void lab_init(struct lab *lab, const struct lab_options *options)
{
	struct dp_config config;
	struct base_error error;

	assert_int_equal(cr_init(), 0);
	memset(lab, 0, sizeof(*lab));
	lab->now_ns = START_NS;
	config_make(&config, options);
	lab_eal(0, config.memory_mb);
	lab->dp = dp_test_new(&config,
		&(struct dp_callbacks){.event = on_event, .probe = on_probe, .relay = on_relay},
		lab, &error);
	if (!lab->dp)
		fail_msg("%s", error.text);
	lab->dp->step_ns = lab->now_ns;
	lab_sanitizer_watch(lab->dp);
	lab->pkts_at_start = rte_mempool_avail_count(lab->dp->pool);
	lab->host_ring = rte_ring_create("lab_host", 1024, SOCKET_ID_ANY, 0);
	assert_non_null(lab->host_ring);
	dp_test_set_host_ring(lab->dp, lab->host_ring);
	lab->peers[0].endpoint = lab_endpoint(options->is_v6, 0);
	if (options->has_threads)
		start_threads(lab);
}

void lab_fini(struct lab *lab)
{
	struct lab_pkt pkt;

	if (lab->dp->n_running)
		stop_threads(lab);
	while (lab_host_take(lab, &pkt))
		;
	for (unsigned i = 0; i < lab->n_peers; i++) {
		wg_device_free(lab->peers[i].device);
		free(lab->peers[i].got.pkts);
		free(lab->peers[i].kept.pkts);
	}
	lab->n_peers = 0;
	dp_test_set_host_ring(lab->dp, NULL);
	rte_ring_free(lab->host_ring);
	dp_free(lab->dp);
}

/* Counters. */

static struct dp_stats *stats_of(const struct lab *lab)
{
	struct dp_stats *stats = malloc(sizeof(*stats));

	assert_non_null(stats);
	dp_stats_get(lab->dp, stats);
	return stats;
}

static uint64_t drops_at(const struct lab *lab, unsigned reason)
{
	struct dp_stats *stats = stats_of(lab);
	uint64_t n = stats->host_drop_pkts[reason];

	for (unsigned i = 0; i < stats->n_workers; i++)
		n += stats->workers[i].drop_pkts[reason];
	free(stats);
	return n;
}

void lab_host_sends(struct lab *lab, const char *to, uint8_t mark)
{
	uint8_t packet[MARKED_BYTES];
	uint32_t len = lab_inner(packet, GATEWAY4, to, 9, sizeof(packet));

	packet[MARKED_BYTES - 1] = mark;
	lab_host_put(lab, packet, len);
}

void lab_peer_sends(struct lab_peer *peer, const char *from, uint8_t mark)
{
	uint8_t packet[MARKED_BYTES];
	uint32_t len = lab_inner(packet, from, GATEWAY4, 8765, sizeof(packet));

	packet[MARKED_BYTES - 1] = mark;
	lab_peer_send(peer, packet, len);
}

static void expect_marked(const struct lab_pkt *pkt, uint8_t mark)
{
	assert_int_equal(pkt->len, MARKED_BYTES);
	assert_int_equal(pkt->data[MARKED_BYTES - 1], mark);
}

void lab_expect_at_peer(struct lab_peer *peer, uint8_t mark)
{
	static struct lab_pkt pkt;

	assert_true(lab_got_take(peer, &pkt));
	expect_marked(&pkt, mark);
}

void lab_expect_at_host(struct lab *lab, uint8_t mark)
{
	static struct lab_pkt pkt;

	assert_true(lab_host_take(lab, &pkt));
	expect_marked(&pkt, mark);
}

uint64_t lab_drops(const struct lab *lab, enum dp_drop reason)
{
	return drops_at(lab, reason);
}

uint64_t lab_verdicts(const struct lab *lab, enum wg_verdict verdict)
{
	return drops_at(lab, dp_drop_of_verdict(verdict));
}

struct dp_worker_stats lab_worker_stats(const struct lab *lab)
{
	struct dp_stats *stats = stats_of(lab);
	struct dp_worker_stats sum = stats->workers[0];

	for (unsigned i = 1; i < stats->n_workers; i++) {
		const struct dp_worker_stats *worker = &stats->workers[i];

		sum.rx_pkts += worker->rx_pkts;
		sum.tx_pkts += worker->tx_pkts;
		sum.sealed_pkts += worker->sealed_pkts;
		sum.opened_pkts += worker->opened_pkts;
		sum.handed_over_pkts += worker->handed_over_pkts;
		sum.host_rx_pkts += worker->host_rx_pkts;
		sum.host_tx_pkts += worker->host_tx_pkts;
		for (unsigned d = 0; d < DP_DROPS_MAX; d++)
			sum.drop_pkts[d] += worker->drop_pkts[d];
	}
	free(stats);
	return sum;
}
