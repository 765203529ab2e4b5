/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers that come, change and go while packets flow (pipeline_lab.h): what a batch does to those in it, that
 * it does nothing to others, and nothing at all when any part of it is wrong. Stepped, and at the end with
 * real threads, which is what the sanitizers are for.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"
#include "cr_noise.h"
#include "pipeline_sanitizer.h"
#include "wg_noise.h"
#include "wg_peer.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include <rte_lcore.h>

#define GATEWAY "10.9.0.1"
#define MANY 10000

static struct lab lab;

static int teardown(void **state)
{
	lab_fini(&lab);
	return 0;
}

/* --- memory as it is given back -------------------------------------------------------------- */

void __real_free(void *p);
void __wrap_free(void *p);
void __real_base_slab_give(struct base_slab *slab, void *object);
void __wrap_base_slab_give(struct base_slab *slab, void *object);

static struct {
	const void *block;
	const uint8_t *secret;
	bool is_freed, is_wiped;
} watched[4];

static void watch(const void *p)
{
	static const uint8_t zeros[CR_KEY_BYTES];

	for (size_t i = 0; p && i < BASE_ARRAY_LEN(watched); i++) {
		if (watched[i].block != p)
			continue;
		watched[i].is_freed = true;
		watched[i].is_wiped = memcmp(watched[i].secret, zeros, sizeof(zeros)) == 0;
		watched[i].block = NULL;
	}
}

void __wrap_free(void *p)
{
	watch(p);
	__real_free(p);
}

void __wrap_base_slab_give(struct base_slab *slab, void *object)
{
	watch(object);
	__real_base_slab_give(slab, object);
}

/* --- packets -------------------------------------------------------------------------------- */

/* Both ways, and the session is the one that there was. */
static void expect_undisturbed(struct lab_peer *peer, const char *addr, uint8_t mark)
{
	unsigned n_handshakes = lab.n_handshakes;

	lab_host_sends(&lab, addr, mark);
	lab_peer_sends(peer, addr, mark);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, mark);
	lab_expect_at_host(&lab, mark);
	assert_int_equal(lab.n_handshakes, n_handshakes);
}

/* --- a crowd of configured peers ----------------------------------------------------------------- */

struct crowd {
	struct dp_peer_config *configs;
	struct base_prefix *prefixes;
	struct cr_key *keys;
};

/* Keys that are points, but nobody's: what a batch costs is not what this is about. */
static struct crowd crowd_new(unsigned n)
{
	struct crowd crowd = {calloc(n, sizeof(*crowd.configs)), calloc(n, sizeof(*crowd.prefixes)),
		calloc(n, sizeof(*crowd.keys))};

	assert_true(crowd.configs && crowd.prefixes && crowd.keys);
	for (unsigned i = 0; i < n; i++) {
		memset(crowd.keys[i].bytes, 0x55, CR_KEY_BYTES);
		base_store_le32(crowd.keys[i].bytes, i);
		crowd.prefixes[i] = (struct base_prefix){{.family = BASE_FAMILY_V4}, 32};
		base_store_be32(crowd.prefixes[i].addr.bytes, 0x0a0a0000 + i);
		crowd.configs[i] = (struct dp_peer_config){.public_key = crowd.keys[i],
			.allowed_ips = &crowd.prefixes[i],
			.n_allowed_ips = 1};
	}
	return crowd;
}

static void crowd_free(struct crowd *crowd)
{
	free(crowd->configs);
	free(crowd->prefixes);
	free(crowd->keys);
}

static void change(
	const struct dp_peer_config *set, size_t n_set, const struct cr_key *gone, size_t n_gone)
{
	struct base_error error = {.text = ""};

	if (dp_peers_change(lab.dp, &(struct dp_peers_change){set, n_set, gone, n_gone}, &error) !=
		0)
		fail_msg("%s", error.text);
}

/* Prefixes that the table has, and numbers that are in use. */
static size_t prefixes(void)
{
	size_t n, bytes;

	wg_allowedips_usage(lab.dp->tables.allowed_ips, &n, &bytes);
	return n;
}

static void test_many(void **state)
{
	struct crowd crowd = crowd_new(MANY);
	struct dp_peer_status status;
	struct lab_peer *peer;
	uint32_t capacity;

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	peer = lab_peer_add(&lab, true, true);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	for (unsigned round = 0; round < 3; round++) {
		change(crowd.configs, MANY, NULL, 0);
		assert_int_equal(lab.dp->peers.count, MANY + 1);
		assert_int_equal(prefixes(), MANY + 2);
		assert_in_range(lab.dp->peers.owned[0], MANY / 2, MANY / 2 + 1);
		expect_undisturbed(peer, "10.9.0.2", 2);
		for (unsigned i = 0; i < MANY; i++) {
			base_store_be32(crowd.prefixes[i].addr.bytes, 0x0a0b0000 + i);
			crowd.configs[i].keepalive_s = 5;
		}
		change(crowd.configs, MANY, NULL, 0);
		assert_int_equal(lab.dp->peers.count, MANY + 1);
		assert_int_equal(prefixes(), MANY + 2);
		expect_undisturbed(peer, "10.9.0.2", 3);
		capacity = lab.dp->peers.capacity;
		change(NULL, 0, crowd.keys, MANY);
		assert_int_equal(lab.dp->peers.count, 1);
		assert_int_equal(prefixes(), 2);
		assert_int_equal(dp_peer_status(lab.dp, &crowd.keys[MANY - 1], &status), -ENOENT);
		expect_undisturbed(peer, "10.9.0.2", 4);
	}
	/* Numbers are used again. */
	assert_int_equal(lab.dp->peers.capacity, capacity);
	assert_int_equal(lab.dp->peers.n_numbers - lab.dp->peers.n_free, 1);
	crowd_free(&crowd);
}

/* Among so many that a burst is fetched ahead: to a peer with a session, to idle ones, to nobody, and what is no packet. */
static void test_burst_among_many(void **state)
{
	static const uint8_t runt[5] = {0x60};
	struct crowd crowd = crowd_new(MANY);
	struct lab_peer *peer;
	struct in_addr to;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, true);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	change(crowd.configs, MANY, NULL, 0);
	assert_true(wg_allowedips_is_large(lab.dp->tables.allowed_ips));
	for (uint8_t i = 0; i < 12; i++) {
		to.s_addr = htonl(0x0a0a0000 + 800u * i);
		lab_host_sends(&lab, "10.9.0.2", 2 + i);
		lab_host_sends(&lab, inet_ntoa(to), 0);
		lab_host_sends(&lab, "10.20.0.1", 0);
		lab_host_put(&lab, runt, sizeof(runt));
	}
	lab_run(&lab, 0);
	for (uint8_t i = 0; i < 12; i++)
		lab_expect_at_peer(peer, 2 + i);
	assert_int_equal(peer->got.n, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_ENDPOINT), 12);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 12);
	assert_int_equal(lab_drops(&lab, DP_DROP_OUT_MALFORMED), 12);
	crowd_free(&crowd);
}

/* What is changed about a peer with a session: the session stays, and so do its counters and its place. */
static void test_changed_in_use(void **state)
{
	struct dp_peer_status before, after;
	struct base_prefix wider[2];
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &before), 0);
	assert_int_equal(base_prefix_parse(&wider[0], "10.9.0.2/32", true), 0);
	assert_int_equal(base_prefix_parse(&wider[1], "10.20.0.0/16", true), 0);
	change(&(struct dp_peer_config){.public_key = peer->public_key,
		       .keepalive_s = 25,
		       .allowed_ips = wider,
		       .n_allowed_ips = 2},
		1, NULL, 0);
	expect_undisturbed(peer, "10.9.0.2", 2);
	expect_undisturbed(peer, "10.20.3.4", 3);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &after), 0);
	assert_int_equal(after.handshakes, before.handshakes);
	assert_true(base_endpoint_equal(&after.endpoint, &before.endpoint));
	assert_true(after.tx_pkts >= before.tx_pkts + 2 && after.rx_pkts >= before.rx_pkts + 2);
	/* Of what it no longer has it gets nothing, */
	lab_host_sends(&lab, "fd00::2", 4);
	lab_run(&lab, 0);
	/* (which was an IPv4 packet to IPv6: nobody's) */
	assert_int_equal(peer->got.n, 0);
	/* and the new interval counts. */
	lab_run(&lab, 60 * BASE_NS_PER_S);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &before), 0);
	assert_true(before.tx_pkts > after.tx_pkts);
}

/* Prefixes pass from one to another within a batch: from one that changes, from one that goes, crosswise. */
static void test_prefixes_pass(void **state)
{
	struct lab_peer *a, *b;
	struct base_prefix two, three;

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	a = lab_peer_add(&lab, true, false);
	b = lab_peer_add(&lab, true, false);
	assert_int_equal(base_prefix_parse(&two, "10.9.0.2/32", true), 0);
	assert_int_equal(base_prefix_parse(&three, "10.9.0.3/32", true), 0);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_host_sends(&lab, "10.9.0.3", 2);
	lab_peer_sends(a, "10.9.0.2", 3);
	lab_run(&lab, 0);
	lab_expect_at_peer(a, 1);
	lab_expect_at_peer(b, 2);
	lab_expect_at_host(&lab, 3);
	change(
		(struct dp_peer_config[]){
			{.public_key = a->public_key, .allowed_ips = &three, .n_allowed_ips = 1},
			{.public_key = b->public_key, .allowed_ips = &two, .n_allowed_ips = 1}},
		2, NULL, 0);
	assert_int_equal(prefixes(), 2);
	/* Its flow that has just passed does not any more. */
	lab_peer_sends(a, "10.9.0.2", 3);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_WRONG_SOURCE), 1);
	expect_undisturbed(a, "10.9.0.3", 3);
	expect_undisturbed(b, "10.9.0.2", 4);
	change(&(struct dp_peer_config){.public_key = b->public_key,
		       .allowed_ips = (struct base_prefix[]){three, two},
		       .n_allowed_ips = 2},
		1, &a->public_key, 1);
	assert_int_equal(prefixes(), 2);
	expect_undisturbed(b, "10.9.0.3", 5);
	expect_undisturbed(b, "10.9.0.2", 6);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 0);
}

static void expect_refused(const struct dp_peers_change *asked, int expected, const char *text)
{
	struct base_error error = {.text = ""};
	uint32_t count = lab.dp->peers.count;
	size_t n_prefixes = prefixes();

	assert_int_equal(dp_peers_change(lab.dp, asked, &error), expected);
	if (!strstr(error.text, text))
		fail_msg("not told of %s: %s", text, error.text);
	assert_int_equal(lab.dp->peers.count, count);
	assert_int_equal(prefixes(), n_prefixes);
	lab_run(&lab, 0);
	assert_int_equal(lab.dp->peers.n_numbers - lab.dp->peers.n_free, count);
	for (unsigned i = 0; i < count; i++)
		assert_false(lab.dp->peers.by_number[i]->is_in_change);
}

/* One that is wrong, wherever it stands: nothing happens, and who is meant is told. */
static void test_all_or_nothing(void **state)
{
	struct crowd crowd = crowd_new(100);
	struct dp_peers_change all = {.set = crowd.configs, .n_set = 100};
	struct dp_peer_config *last = &crowd.configs[99];
	char name[BASE_FINGERPRINT_LEN + 1], other[BASE_FINGERPRINT_LEN + 1];
	struct cr_key key = last->public_key;
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	base_key_fingerprint(name, key.bytes);

	/* Of low order: found by the handshake thread, when it has the other 99. */
	memset(last->public_key.bytes, 0, CR_KEY_BYTES);
	expect_refused(&all, -EINVAL, "AAAAAAAA");
	last->public_key = *dp_handshake_public_key(lab.dp->handshake);
	expect_refused(&all, -EINVAL, "our own");
	last->public_key = crowd.configs[3].public_key;
	expect_refused(&all, -EINVAL, "twice");
	last->public_key = key;
	all.remove = &crowd.keys[5];
	all.n_remove = 1;
	expect_refused(&all, -EINVAL, "twice");
	memset(&key, 0x66, sizeof(key));
	all.remove = &key;
	expect_refused(&all, -ENOENT, "ZmZmZmZm");
	all.n_remove = 0;
	/* Prefixes: in the batch, with one that stays, and what is none. */
	crowd.prefixes[99] = crowd.prefixes[7];
	base_key_fingerprint(other, crowd.keys[7].bytes);
	expect_refused(&all, -EEXIST, name);
	expect_refused(&all, -EEXIST, other);
	assert_int_equal(base_prefix_parse(&crowd.prefixes[99], "10.9.0.2/32", true), 0);
	base_key_fingerprint(other, peer->public_key.bytes);
	expect_refused(&all, -EEXIST, name);
	expect_refused(&all, -EEXIST, other);
	crowd.prefixes[99].bits = 31;
	crowd.prefixes[99].addr.bytes[3] = 3;
	expect_refused(&all, -EINVAL, "10.9.0.3/31");
	/* Nothing of it was noticed. */
	expect_undisturbed(peer, "10.9.0.2", 2);
	lab_host_sends(&lab, "10.10.0.1", 1);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 1);
	crowd_free(&crowd);
}

/* What a peer's secrets were is gone from the memory that it had, once nobody can look there. */
static void test_wiped(void **state)
{
	static const uint8_t zeros[CR_KEY_BYTES];
	const struct wg_keypair *keypair;
	const struct dp_peer *object;
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	lab_peer_add(&lab, true, false); /* keeps the slab's chunk in use */
	peer = lab_peer_add(&lab, true, true);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_host_sends(&lab, "10.9.0.3", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	object = lab_dp_peer(peer);
	keypair = object->keypairs.current;
	assert_memory_not_equal(&keypair->send_key, zeros, CR_KEY_BYTES);
	assert_memory_not_equal(&object->wg->remote.preshared_key, zeros, CR_KEY_BYTES);
	watched[0].block = watched[1].block = object->wg;
	watched[0].secret = object->wg->remote.preshared_key.bytes;
	watched[1].secret = object->wg->remote.static_static.bytes;
	watched[2].block = object;
	watched[2].secret = object->public_key.bytes;
	/* A worker that is inside a burst: the grace period cannot end. */
	dp_rcu_online(dp_rcu_qsbr(lab.dp->rcu), lab.dp->n_workers);
	change(NULL, 0, &peer->public_key, 1);
	lab_run(&lab, BASE_NS_PER_S);
	assert_true(watched[0].is_freed && watched[1].is_freed); /* the handshake thread's alone */
	assert_false(watched[2].is_freed);
	dp_rcu_offline(dp_rcu_qsbr(lab.dp->rcu), lab.dp->n_workers);
	lab_run(&lab, BASE_NS_PER_S);
	assert_true(watched[2].is_freed);
	for (unsigned i = 0; i < 3; i++)
		assert_true(watched[i].is_wiped);
	assert_memory_equal(&keypair->send_key, zeros, CR_KEY_BYTES);
	assert_memory_equal(&keypair->recv_key, zeros, CR_KEY_BYTES);
}

/* Removed and added in one batch after another, in the middle of everything. */
static void test_in_flight(void **state)
{
	static struct lab_pkt pkt;
	struct crowd crowd = crowd_new(50);
	struct base_prefix own[3];

	lab_init(&lab, &(struct lab_options){.n_workers = 3});
	for (unsigned i = 0; i < 4; i++)
		lab_peer_add(&lab, true, false);
	for (unsigned round = 0; round < 60; round++) {
		struct dp_peer_config configs[3];
		struct cr_key keys[3];
		char text[32];

		for (unsigned i = 0; i < 4; i++) {
			snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
			lab_host_sends(&lab, text, (uint8_t)round);
			lab_peer_sends(&lab.peers[i], text, (uint8_t)round);
		}
		for (unsigned i = 0; i < round % 7; i++) {
			dp_handshake_round(lab.dp->handshake, lab.now_ns);
			for (unsigned w = 0; w < 3; w++)
				dp_worker_round(&lab.dp->workers[w], lab.now_ns);
		}
		/* Three of four, among fifty others, go and come; the fourth does not notice. */
		for (unsigned i = 0; i < 3; i++) {
			struct lab_peer *peer = &lab.peers[(round + i) % 4];

			keys[i] = peer->public_key;
			snprintf(text, sizeof(text), "10.9.0.%u/32", 2 + (round + i) % 4);
			assert_int_equal(base_prefix_parse(&own[i], text, true), 0);
			configs[i] = (struct dp_peer_config){.public_key = peer->public_key,
				.endpoint = peer->endpoint,
				.allowed_ips = &own[i],
				.n_allowed_ips = 1};
		}
		change(crowd.configs, 50, keys, 3);
		change(configs, 3, crowd.keys, 50);
		lab_run(&lab, 6 * BASE_NS_PER_S);
		assert_true(lab_got_take(&lab.peers[(round + 3) % 4], &pkt));
		for (unsigned i = 0; i < 4; i++)
			lab.peers[i].got.n = 0;
		while (lab_host_take(&lab, &pkt))
			;
	}
	assert_int_equal(lab.dp->peers.count, 4);
	lab_run(&lab, 200 * BASE_NS_PER_S);
	for (unsigned i = 0; i < 4; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
		lab_host_sends(&lab, text, (uint8_t)i);
		lab_run(&lab, 6 * BASE_NS_PER_S);
		lab_expect_at_peer(&lab.peers[i], (uint8_t)i);
	}
	crowd_free(&crowd);
}

/* Rules change while a peer sends: what was refused passes, and the other way round. */
static void test_filter(void **state)
{
	static const struct base_prefix anybody = {0};
	static const struct dp_filter_dst dsts[2] = {
		{.port_first = 9999, .port_last = 9999}, {.port_first = 7, .port_last = 6}};
	static const uint8_t udp = IN_PROTO_UDP;
	struct dp_filter_rule rules[2] = {
		{&anybody, 1, &dsts[0], 1, &udp, 1}, {&anybody, 1, &dsts[1], 1, &udp, 1}};
	struct base_error error;
	struct lab_peer *peer;
	uint8_t packet[100];

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab_peer_sends(peer, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 1);
	assert_int_equal(dp_filter_set(lab.dp, rules, 2, &error), -EINVAL);
	lab_peer_sends(peer, "10.9.0.2", 2);
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 2);
	assert_int_equal(dp_filter_set(lab.dp, rules, 1, &error), 0);
	lab_peer_sends(peer, "10.9.0.2", 3);
	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", GATEWAY, 9999, 100));
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_NO_RULE), 1);
	lab_expect_at_host(&lab, 0x5a);
}

/* --- real threads -------------------------------------------------------------------------------- */

/* Rounds of changes, each of all but the one whose tunnel is looked at. */
#define ROUNDS 30
#define SOME 200

static _Atomic bool traffic_is_over;
static _Atomic unsigned n_traffic; /* packets that came through, in and out */

static void *worker_thread(void *arg)
{
	if (rte_thread_register() != 0)
		abort();
	dp_worker_main(arg);
	rte_thread_unregister();
	return NULL;
}

/* Packets of a session that the test knows the keys of, opened by workers, and packets to all peers. */
struct traffic {
	uint8_t message[200];
	uint32_t len;
	struct wg_keypair keys; /* a copy: the original is its owner's */
	uint64_t counter;
};

static void inject_data(struct traffic *traffic, const struct lab_peer *peer)
{
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA, .counter_le64 = traffic->counter};
	uint8_t packet[100];

	header.receiver_index_le32 = traffic->keys.local_index;
	memcpy(traffic->message, &header, sizeof(header));
	lab_inner(packet, "10.9.0.2", GATEWAY, 8765, sizeof(packet));
	cr_aead_seal(traffic->message + sizeof(header), &traffic->keys.recv_key, traffic->counter++,
		packet, sizeof(packet), NULL, 0);
	lab_inject(&lab, &peer->endpoint, traffic->message,
		sizeof(packet) + (uint32_t)WG_DATA_OVERHEAD_BYTES);
}

static unsigned drain(struct rte_ring *ring)
{
	struct rte_mbuf *pkts[DP_BURST];
	unsigned n = rte_ring_dequeue_burst(ring, (void **)pkts, DP_BURST, NULL);

	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static void drain_port(void)
{
	struct rte_mbuf *m;

	for (unsigned q = 0; q < lab.dp->ports[0].n_queues; q++) {
		while (rte_ring_dequeue(dp_test_port_tx(lab.dp, 0, q), (void **)&m) == 0) {
			lab_sanitizer_take(m);
			rte_pktmbuf_free(m);
		}
	}
}

static void *traffic_thread(void *arg)
{
	struct traffic *traffic = arg;
	unsigned sent = 0, came = 0;

	if (rte_thread_register() != 0)
		abort();
	while (!atomic_load(&traffic_is_over)) {
		char text[32];

		/* To the one, and to those that come and go. */
		if (sent < came + 64) {
			uint8_t packet[100];

			inject_data(traffic, &lab.peers[0]);
			lab_host_put(&lab, packet,
				lab_inner(packet, GATEWAY, "10.9.0.2", 9, sizeof(packet)));
			snprintf(text, sizeof(text), "10.10.0.%u", sent % SOME);
			lab_host_put(
				&lab, packet, lab_inner(packet, GATEWAY, text, 9, sizeof(packet)));
			sent++;
		}
		came += drain(lab.host_ring);
		drain_port();
		atomic_store(&n_traffic, came);
	}
	/* What is under way arrives: nothing of the one peer was lost. */
	for (unsigned i = 0; i < 20000 && came < sent; i++) {
		came += drain(lab.host_ring);
		drain_port();
		usleep(100);
	}
	traffic->len = sent - came;
	rte_thread_unregister();
	return NULL;
}

static void start_threads(pthread_t *ret_threads)
{
	lab.dp->is_stepped = false;
	lab.now_ns = base_clock_now_ns();
	assert_int_equal(dp_handshake_start(lab.dp->handshake, 0), 0);
	for (unsigned i = 0; i < lab.dp->n_workers; i++)
		assert_int_equal(
			pthread_create(&ret_threads[i], NULL, worker_thread, &lab.dp->workers[i]),
			0);
}

static void stop_threads(pthread_t *threads)
{
	dp_peers_fini(lab.dp);
	dp_handshake_stop(lab.dp->handshake);
	atomic_store(&lab.dp->must_stop, true);
	for (unsigned i = 0; i < lab.dp->n_workers; i++)
		pthread_join(threads[i], NULL);
}

static void test_threads(void **state)
{
	struct crowd crowd = crowd_new(SOME);
	static const struct base_prefix anybody = {0};
	static const uint8_t udp = IN_PROTO_UDP;
	struct dp_filter_dst dst = {.port_first = 8765};
	struct dp_filter_rule rule = {&anybody, 1, &dst, 1, &udp, 1};
	static struct traffic traffic; /* a sanitizer's stack does not keep its alignment */
	pthread_t threads[2], pump;
	struct lab_peer *peer;
	uint8_t packet[100];

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	lab.now_ns = lab.dp->step_ns = base_clock_now_ns();
	peer = lab_peer_add(&lab, true, false);
	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", GATEWAY, 8765, 100));
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 0x5a);
	traffic.counter = 1000;
	traffic.keys = *lab_dp_peer(peer)->keypairs.current;
	for (unsigned i = 0; i < SOME; i++)
		crowd.configs[i].endpoint = peer->endpoint; /* handshakes that nobody answers */
	start_threads(threads);
	assert_int_equal(pthread_create(&pump, NULL, traffic_thread, &traffic), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned seen = atomic_load(&n_traffic);

		change(crowd.configs, SOME, NULL, 0);
		for (unsigned i = 0; i < SOME; i++)
			crowd.configs[i].keepalive_s = (uint16_t)(round % 3);
		while (atomic_load(&n_traffic) < seen + 200)
			dp_service(lab.dp);
		change(crowd.configs, SOME / 2, crowd.keys + SOME / 2, SOME / 2);
		dst.port_last = (uint16_t)(8765 + round);
		assert_int_equal(
			dp_filter_set(lab.dp, &rule, 1, &(struct base_error){.text = ""}), 0);
		change(NULL, 0, crowd.keys, SOME / 2);
		dp_service(lab.dp);
	}
	atomic_store(&traffic_is_over, true);
	pthread_join(pump, NULL);
	assert_int_equal(traffic.len, 0);
	assert_int_equal(lab.dp->peers.count, 1);
	stop_threads(threads);
	crowd_free(&crowd);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_many, teardown),
		cmocka_unit_test_teardown(test_burst_among_many, teardown),
		cmocka_unit_test_teardown(test_changed_in_use, teardown),
		cmocka_unit_test_teardown(test_prefixes_pass, teardown),
		cmocka_unit_test_teardown(test_all_or_nothing, teardown),
		cmocka_unit_test_teardown(test_wiped, teardown),
		cmocka_unit_test_teardown(test_in_flight, teardown),
		cmocka_unit_test_teardown(test_filter, teardown),
		cmocka_unit_test_teardown(test_threads, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
