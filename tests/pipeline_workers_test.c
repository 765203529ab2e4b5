/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many workers on one ring port (pipeline_lab.h): packets enter at any queue, and all of them come through their
 * owner, in order for each peer; what a full ring refuses is counted, so that the counters add up to what was
 * sent. First in steps, where every case is exact; then with threads, more of them than CPUs.
 *
 * In order means: a flow stays on one queue while packets of it are under way, as a NIC's hash keeps it. Between,
 * it moves to another queue at will.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"
#include "in_offload.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define TO_GATEWAY "10.9.0.1"
#define WORKERS_MAX 8
#define MEMORY_MB 256
#define SEED 20260711u
#define PKT_BYTES 96
#define NUMBER_OFF 28 /* behind IPv4 and UDP */

static struct lab lab;

/* Numbers of packets per peer, up (to the host) and down (to the peer). */
static struct flow {
	uint32_t up_sent, up_got, down_sent, down_got;
	unsigned queue;
} flows[LAB_PEERS_MAX];

static uint32_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)random_state * limit >> 32);
}

static void lab_up(const struct lab_options *options, unsigned n_peers)
{
	random_state = SEED;
	memset(flows, 0, sizeof(flows));
	lab_init(&lab, options);
	for (unsigned i = 0; i < n_peers; i++)
		lab_peer_add(&lab, true, i % 3 == 0);
}

static void lab_down(void)
{
	lab_fini(&lab);
	lab.dp = NULL;
}

static int teardown(void **state)
{
	if (lab.dp)
		lab_down();
	return 0;
}

static void numbered(uint8_t *packet, const char *src, const char *dst, uint32_t number)
{
	lab_inner(packet, src, dst, 8765, PKT_BYTES);
	base_store_le32(packet + NUMBER_OFF, number);
}

static void send_up(unsigned i)
{
	uint8_t packet[PKT_BYTES];
	char text[32];

	snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
	numbered(packet, text, TO_GATEWAY, flows[i].up_sent++);
	lab.rx_queue = flows[i].queue;
	lab_peer_send(&lab.peers[i], packet, PKT_BYTES);
}

static void send_down(unsigned i)
{
	uint8_t packet[PKT_BYTES];
	char text[32];

	snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
	numbered(packet, TO_GATEWAY, text, flows[i].down_sent++);
	lab_host_put(&lab, packet, PKT_BYTES);
}

/* What has come through: each peer's packets in the order in which they were sent. */
static void take_all(void)
{
	static struct lab_pkt pkt;

	while (lab_host_take(&lab, &pkt)) {
		unsigned i = pkt.data[15] - 2u;

		assert_true(i < lab.n_peers);
		assert_int_equal(base_load_le32(pkt.data + NUMBER_OFF), flows[i].up_got);
		flows[i].up_got++;
	}
	for (unsigned i = 0; i < lab.n_peers; i++) {
		while (lab_got_take(&lab.peers[i], &pkt)) {
			assert_int_equal(base_load_le32(pkt.data + NUMBER_OFF), flows[i].down_got);
			flows[i].down_got++;
		}
	}
}

static unsigned under_way(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < lab.n_peers; i++)
		n += flows[i].up_sent - flows[i].up_got + flows[i].down_sent - flows[i].down_got;
	return n;
}

static uint64_t sum_of_drops(const struct dp_stats *stats)
{
	uint64_t n = 0;

	for (unsigned d = 0; d < DP_DROP_COUNT; d++) {
		n += stats->host_drop_pkts[d];
		for (unsigned i = 0; i < stats->n_workers; i++)
			n += stats->workers[i].drop_pkts[d];
	}
	return n;
}

static uint64_t total_drops(void)
{
	struct dp_stats *stats = malloc(sizeof(*stats));
	uint64_t n;

	assert_non_null(stats);
	dp_stats_get(lab.dp, stats);
	n = sum_of_drops(stats);
	free(stats);
	return n;
}

static void queues_at_random(void)
{
	for (unsigned i = 0; i < lab.n_peers; i++)
		flows[i].queue = random_below(lab.dp->ports[0].n_queues);
}

/* Steps: every entry, every direction, exact. */

/* A session with every peer, begun by it. */
static void begin_sessions(void)
{
	for (unsigned i = 0; i < lab.n_peers; i++)
		send_up(i);
	lab_run(&lab, 0);
	take_all();
	assert_int_equal(under_way(), 0);
}

static void expect_all_came(void)
{
	struct dp_worker_stats sum;

	take_all();
	assert_int_equal(under_way(), 0);
	sum = lab_worker_stats(&lab);
	assert_int_equal(total_drops(), 0);
	assert_int_equal(sum.rx_pkts, lab.frames_in);
	assert_int_equal(sum.tx_pkts, lab.frames_out);
	if (lab.dp->n_workers > 1)
		assert_true(sum.handed_over_pkts > lab.frames_in / 4);
	else
		assert_int_equal(sum.handed_over_pkts, 0);
}

static void walk(unsigned n_workers, unsigned n_queues)
{
	lab_up(&(struct lab_options){.n_workers = n_workers, .n_queues = n_queues}, 24);
	assert_int_equal(lab.dp->ports[0].n_queues, n_queues ? n_queues : n_workers);
	begin_sessions();
	for (unsigned step = 0; step < 6000; step++) {
		unsigned i = random_below(lab.n_peers);

		if (random_below(2))
			send_up(i);
		else
			send_down(i);
		/* A burst of many peers' packets, or a single one. */
		if (under_way() < 200 && random_below(40))
			continue;
		lab_run(&lab, 0);
		take_all();
		assert_int_equal(under_way(), 0);
		queues_at_random();
	}
	lab_run(&lab, 0);
	expect_all_came();
}

static void test_queue_each(void **state)
{
	static const unsigned workers[] = {1, 2, 3, 4, 8};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(workers); i++) {
		walk(workers[i], 0);
		lab_down();
	}
}

/* Workers without a send queue have a neighbour send for them; without a receive queue they live by hand-over. */
static void test_fewer_queues(void **state)
{
	static const unsigned queues[][2] = {{2, 1}, {3, 1}, {4, 3}, {8, 1}, {8, 3}};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(queues); i++) {
		walk(queues[i][0], queues[i][1]);
		lab_down();
	}
}

static void test_more_queues(void **state)
{
	static const unsigned queues[][2] = {{1, 2}, {2, 5}, {3, 8}, {8, 16}};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(queues); i++) {
		walk(queues[i][0], queues[i][1]);
		lab_down();
	}
}

/* Each queue belongs to exactly one worker, and none has two more than another. */
static void test_queues_assigned(void **state)
{
	for (unsigned n_queues = 1; n_queues <= 16; n_queues++) {
		unsigned least = 16, most = 0, seen = 0;

		lab_up(&(struct lab_options){.n_workers = 5, .n_queues = n_queues}, 0);
		for (unsigned w = 0; w < 5; w++) {
			const struct dp_worker *worker = &lab.dp->workers[w];

			least = RTE_MIN(least, worker->n_rx_queues);
			most = RTE_MAX(most, worker->n_rx_queues);
			for (unsigned q = 0; q < worker->n_rx_queues; q++)
				seen |= 1u << worker->rx_queues[q].queue;
		}
		assert_int_equal(seen, (1u << n_queues) - 1);
		assert_true(most - least <= 1);
		lab_down();
	}
}

/* Who owns whom. */

static void expect_owned(const unsigned *owned)
{
	unsigned counted[WORKERS_MAX] = {0};

	for (uint32_t n = 0; n < lab.dp->peers.capacity; n++) {
		if (lab.dp->peers.by_number[n])
			counted[lab.dp->peers.by_number[n]->owner]++;
	}
	for (unsigned w = 0; w < lab.dp->n_workers; w++) {
		assert_int_equal(counted[w], owned[w]);
		assert_int_equal(lab.dp->peers.owned[w], owned[w]);
	}
}

static struct cr_key stranger_key(unsigned i)
{
	struct cr_key key;

	memset(key.bytes, 0x55, sizeof(key.bytes));
	base_store_le32(key.bytes, i);
	return key;
}

static void stranger_add(unsigned i)
{
	struct base_prefix prefix = {.addr.family = BASE_FAMILY_V4, .bits = 32};
	struct dp_peer_config config = {
		.public_key = stranger_key(i), .allowed_ips = &prefix, .n_allowed_ips = 1};
	struct base_error error;

	base_store_be32(prefix.addr.bytes, 0x0a0a0000 + i);
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), 0);
}

static void stranger_remove(unsigned i)
{
	struct cr_key key = stranger_key(i);

	assert_int_equal(dp_peer_remove(lab.dp, &key), 0);
}

/* Evenly as they come; those that leave make room where they were, and the next ones fill it. */
static void test_spread(void **state)
{
	lab_up(&(struct lab_options){.n_workers = 8}, 0);
	for (unsigned i = 0; i < 83; i++)
		stranger_add(i);
	expect_owned((const unsigned[]){11, 11, 11, 10, 10, 10, 10, 10});
	for (unsigned i = 0; i < 83; i++) {
		/* All of worker 3, half of worker 5. */
		if (i % 8 == 3 || i % 16 == 5)
			stranger_remove(i);
	}
	expect_owned((const unsigned[]){11, 11, 11, 0, 10, 5, 10, 10});
	for (unsigned i = 100; i < 105; i++)
		stranger_add(i);
	expect_owned((const unsigned[]){11, 11, 11, 5, 10, 5, 10, 10});
	for (unsigned i = 105; i < 115; i++)
		stranger_add(i);
	expect_owned((const unsigned[]){11, 11, 11, 10, 10, 10, 10, 10});
	for (unsigned i = 115; i < 120; i++)
		stranger_add(i);
	expect_owned((const unsigned[]){11, 11, 11, 11, 11, 11, 11, 11});
}

/* The host thread's bursts: each packet to the ring of its peer's owner, nobody's packets to any. */
static void test_host_by_owner(void **state)
{
	unsigned expected[WORKERS_MAX] = {0}, n = 0;
	struct rte_mbuf *pkts[64];
	uint8_t packet[PKT_BYTES];

	lab_up(&(struct lab_options){.n_workers = 8}, 21);
	for (unsigned i = 0; n < BASE_ARRAY_LEN(pkts); i = (i + 5) % 22) {
		bool is_v6 = n % 3 == 0;
		char text[32];

		snprintf(text, sizeof(text), is_v6 ? "fd00::%u" : "10.9.0.%u", 2 + i);
		lab_inner(packet, is_v6 ? "fd00::1" : TO_GATEWAY, text, 9, PKT_BYTES);
		pkts[n] = rte_pktmbuf_alloc(lab.dp->pool);
		assert_non_null(pkts[n]);
		memcpy(rte_pktmbuf_append(pkts[n++], PKT_BYTES), packet, PKT_BYTES);
		expected[i < 21 ? lab_dp_peer(&lab.peers[i])->owner : 0]++;
	}
	dp_from_host(lab.dp, pkts, n);
	for (unsigned w = 0; w < 8; w++)
		assert_int_equal(rte_ring_count(lab.dp->workers[w].inner_ring), expected[w]);
}

/* Full rings: each refusal has its name, and what was let in comes through. */

/* As many peers as workers, so that each owns one. */
static void one_each(const struct lab_options *options)
{
	lab_up(options, options->n_workers);
	begin_sessions();
}

static void expect_sum(uint64_t n_sent, enum dp_drop reason, uint64_t dropped)
{
	static struct lab_pkt pkt;
	uint64_t came = 0, last = 0;

	while (lab_host_take(&lab, &pkt)) {
		uint64_t number = base_load_le32(pkt.data + NUMBER_OFF);

		assert_true(number > last || came == 0);
		last = number;
		came++;
	}
	assert_int_equal(lab_drops(&lab, reason), dropped);
	assert_int_equal(total_drops(), dropped);
	assert_int_equal(came + dropped, n_sent);
}

#define TOO_MANY (DP_RING_PKTS + 200)

static void test_handover_full(void **state)
{
	unsigned owner;

	one_each(&(struct lab_options){.n_workers = 3});
	owner = lab_dp_peer(&lab.peers[2])->owner;
	flows[2].queue = (owner + 1) % 3;
	for (unsigned i = 0; i < TOO_MANY; i++) {
		send_up(2);
		dp_worker_round(&lab.dp->workers[flows[2].queue], lab.now_ns);
	}
	/* A ring of n holds n - 1. */
	assert_int_equal(lab_drops(&lab, DP_DROP_HANDOVER_FULL), TOO_MANY - (DP_RING_PKTS - 1));
	/* The host's ring is as long: worked off in two parts. */
	dp_worker_round(&lab.dp->workers[owner], lab.now_ns);
	lab_run(&lab, 0);
	expect_sum(TOO_MANY, DP_DROP_HANDOVER_FULL, TOO_MANY - (DP_RING_PKTS - 1));
}

static void test_host_full(void **state)
{
	one_each(&(struct lab_options){.n_workers = 2});
	for (unsigned i = 0; i < TOO_MANY; i++) {
		send_up(0);
		if (i % 64 == 63)
			lab_run(&lab, 0);
	}
	lab_run(&lab, 0);
	expect_sum(TOO_MANY, DP_DROP_HOST_FULL, TOO_MANY - (DP_RING_PKTS - 1));
}

static void expect_sum_down(unsigned peer, enum dp_drop reason, uint64_t dropped)
{
	static struct lab_pkt pkt;
	uint64_t came = 0, last = 0;

	while (lab_got_take(&lab.peers[peer], &pkt)) {
		uint64_t number = base_load_le32(pkt.data + NUMBER_OFF);

		assert_true(number >= last);
		last = number;
		came++;
	}
	flows[peer].down_got += (uint32_t)came;
	assert_int_equal(lab_drops(&lab, reason), dropped);
	assert_int_equal(total_drops(), dropped);
}

/* The rounds of one worker, and what they sent to the peers taken off the port. */
static void rounds_of(unsigned worker, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		dp_worker_round(&lab.dp->workers[worker], lab.now_ns);
		lab_take_frames(&lab);
	}
}

static void test_inner_full(void **state)
{
	unsigned dropped = TOO_MANY - (DP_RING_PKTS - 1), owner;

	one_each(&(struct lab_options){.n_workers = 2});
	owner = lab_dp_peer(&lab.peers[1])->owner;
	for (unsigned i = 0; i < TOO_MANY; i++)
		send_down(1);
	for (unsigned i = 0; i < TOO_MANY / DP_BURST + 1; i++) {
		rounds_of(owner, 1);
		expect_sum_down(1, DP_DROP_HANDOVER_FULL, dropped);
	}
	assert_int_equal(flows[1].down_got + dropped, TOO_MANY);
}

/* A worker without a send queue fills its neighbour's ring while that one stands still. */
static void test_outer_full(void **state)
{
	unsigned dropped = TOO_MANY - (DP_RING_PKTS - 1), peer = 0;

	one_each(&(struct lab_options){.n_workers = 2, .n_queues = 1});
	if (lab_dp_peer(&lab.peers[peer])->owner == 0)
		peer = 1;
	for (unsigned i = 0; i < TOO_MANY; i++) {
		send_down(peer);
		dp_worker_round(&lab.dp->workers[1], lab.now_ns);
	}
	for (unsigned i = 0; i < TOO_MANY / DP_BURST + 1; i++) {
		rounds_of(0, 1);
		expect_sum_down(peer, DP_DROP_TX_FULL, dropped);
	}
	assert_int_equal(flows[peer].down_got + dropped, TOO_MANY);
}

/* Threads: as many workers as there are cases for, on whatever CPUs there are. */

#define THREADED_PKTS 700
#define WINDOW_PKTS 128

static void poll_once(void)
{
	lab_poll(&lab);
	take_all();
	sched_yield();
}

static void threads(unsigned n_workers, unsigned n_queues)
{
	unsigned sent = 0;

	lab_up(
		&(struct lab_options){
			.n_workers = n_workers, .n_queues = n_queues, .has_threads = true},
		12);
	/* Sessions first: of what waits for one little is kept. */
	for (unsigned i = 0; i < lab.n_peers; i++)
		send_up(i);
	while (under_way())
		poll_once();
	while (sent < THREADED_PKTS) {
		/* All has come: the flows may enter elsewhere. */
		queues_at_random();
		for (unsigned n = 0; n < WINDOW_PKTS; n++, sent++) {
			unsigned i = random_below(lab.n_peers);

			if (n % 2)
				send_up(i);
			else
				send_down(i);
			if (n % 16 == 0)
				poll_once();
		}
		while (under_way())
			poll_once();
	}
	assert_int_equal(total_drops(), 0);
	if (n_workers > 1)
		assert_true(lab_worker_stats(&lab).handed_over_pkts > 0);
}

static void test_threads(void **state)
{
	static const unsigned workers[][2] = {
		{1, 1}, {2, 2}, {3, 1}, {4, 4}, {8, 8}, {8, 3}, {4, 16}};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(workers); i++) {
		threads(workers[i][0], workers[i][1]);
		lab_down();
	}
}

static int setup_all(void **state)
{
	lab_eal(WORKERS_MAX, MEMORY_MB);
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_queue_each, teardown),
		cmocka_unit_test_teardown(test_fewer_queues, teardown),
		cmocka_unit_test_teardown(test_more_queues, teardown),
		cmocka_unit_test_teardown(test_queues_assigned, teardown),
		cmocka_unit_test_teardown(test_spread, teardown),
		cmocka_unit_test_teardown(test_host_by_owner, teardown),
		cmocka_unit_test_teardown(test_handover_full, teardown),
		cmocka_unit_test_teardown(test_host_full, teardown),
		cmocka_unit_test_teardown(test_inner_full, teardown),
		cmocka_unit_test_teardown(test_outer_full, teardown),
		cmocka_unit_test_teardown(test_threads, teardown),
	};

	return cmocka_run_group_tests(tests, setup_all, NULL);
}
