/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paths by relay: what leaves goes to control instead of a port, what control brings is a message like any other, and a
 * path that may be dead is taken twice.
 */
#include "pipeline_lab.h"

#include "base_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define GATEWAY "10.9.0.1"

static struct lab lab;

static int tear_down(void **state)
{
	if (lab.dp)
		lab_fini(&lab);
	memset(&lab, 0, sizeof(lab));
	return 0;
}

static struct lab_peer *probed_up(unsigned n_workers)
{
	struct base_prefix prefixes[2];
	struct base_error error;
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){.n_workers = n_workers});
	peer = lab_peer_add(&lab, false, false);
	assert_int_equal(base_prefix_parse(&prefixes[0], "10.9.0.2/32", true), 0);
	assert_int_equal(base_prefix_parse(&prefixes[1], "fd00::2/128", true), 0);
	assert_int_equal(dp_peer_set(lab.dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .is_probed = true,
					 .allowed_ips = prefixes,
					 .n_allowed_ips = 2},
				 &error),
		0);
	return peer;
}

/* What the relay brings within a service moves on in the next round. */
static void run(uint64_t later_ns)
{
	lab_run(&lab, later_ns);
	for (unsigned i = 0; i < 6; i++)
		lab_run(&lab, 0);
}

static void way(const struct lab_peer *peer, bool is_direct, bool is_relayed)
{
	struct dp_way way = {.is_relayed = is_relayed};

	if (is_direct)
		way.direct = peer->endpoint;
	assert_int_equal(dp_peer_path(lab.dp, &peer->public_key, &way), 0);
	run(0);
}

static unsigned take_at_peer(struct lab_peer *peer)
{
	struct lab_pkt pkt;
	unsigned n = 0;

	while (lab_got_take(peer, &pkt))
		n++;
	return n;
}

static enum dp_path path_of(const struct lab_peer *peer)
{
	struct dp_peer_status status;

	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	if (status.path == DP_PATH_RELAY)
		assert_int_equal(status.endpoint.addr.family, BASE_FAMILY_NONE);
	return status.path;
}

/* Handshake and data both ways, and no frame on the port. */
static void all_goes_by_relay(void **state)
{
	struct lab_peer *peer = probed_up(1);

	peer->is_relayed = true;
	lab_host_sends(&lab, "10.9.0.2", 1);
	run(0);
	assert_int_equal(lab.n_relayed, 0);
	way(peer, false, true);
	lab_expect_at_peer(peer, 1);
	assert_int_equal(path_of(peer), DP_PATH_RELAY);
	lab_peer_sends(peer, "10.9.0.2", 2);
	run(0);
	lab_expect_at_host(&lab, 2);
	assert_int_equal(lab.frames_out, 0);
	assert_int_equal(lab.frames_in, 0);
	assert_true(lab.n_relayed >= 2);
}

/* Who is called by relay answers by relay, without a path of its own; control hears that one is wanted. */
static void who_knocks_by_relay_is_answered(void **state)
{
	struct lab_peer *peer = probed_up(3);

	peer->is_relayed = true;
	lab_peer_sends(peer, "10.9.0.2", 3);
	run(0);
	assert_int_equal(lab.n_handshakes, 1);
	assert_int_equal(lab.frames_out, 0);
	lab_expect_at_host(&lab, 3);
	assert_int_equal(lab.n_paths_wanted, 1);
	assert_int_equal(lab.wanted_by.addr.family, BASE_FAMILY_NONE);
	assert_int_equal(path_of(peer), DP_PATH_NONE);
}

/* Both: each packet goes twice and arrives once; then the direct one alone. */
static void a_doubtful_path_is_doubled(void **state)
{
	struct lab_peer *peer = probed_up(1);
	struct base_endpoint there;
	uint64_t frames;

	way(peer, false, true);
	lab_host_sends(&lab, "10.9.0.2", 1);
	run(0);
	lab_expect_at_peer(peer, 1);
	way(peer, true, true);
	assert_int_equal(path_of(peer), DP_PATH_DIRECT4);
	lab.n_relayed = 0;
	frames = lab.frames_out;
	for (uint8_t mark = 2; mark < 12; mark++) {
		lab_host_sends(&lab, "10.9.0.2", mark);
		run(0);
		lab_expect_at_peer(peer, mark);
	}
	assert_int_equal(take_at_peer(peer), 0);
	assert_int_equal(lab.n_relayed, 10);
	assert_int_equal(lab.frames_out - frames, 10);

	/* The direct one is dead: nothing is lost. */
	there = peer->endpoint;
	peer->endpoint.port++;
	lab_host_sends(&lab, "10.9.0.2", 50);
	run(0);
	lab_expect_at_peer(peer, 50);
	peer->endpoint = there;

	way(peer, true, false);
	lab.n_relayed = 0;
	lab_host_sends(&lab, "10.9.0.2", 51);
	run(0);
	lab_expect_at_peer(peer, 51);
	assert_int_equal(lab.n_relayed, 0);
}

/* Of packets in flight at each switch none is lost. */
static void nothing_is_lost_at_a_switch(void **state)
{
	static const struct {
		bool is_direct, is_relayed;
	} ways[] = {{false, true}, {true, true}, {true, false}, {false, true}, {true, false}};
	struct lab_peer *peer = probed_up(1);
	unsigned n_got = 0, n_sent = 0;

	way(peer, false, true);
	for (unsigned i = 0; i < 200; i++) {
		struct dp_way next = {.is_relayed = ways[i % 5].is_relayed};

		if (ways[i % 5].is_direct)
			next.direct = peer->endpoint;
		lab_host_sends(&lab, "10.9.0.2", 1);
		assert_int_equal(dp_peer_path(lab.dp, &peer->public_key, &next), 0);
		lab_host_sends(&lab, "10.9.0.2", 1);
		n_sent += 2;
		run(0);
		n_got += take_at_peer(peer);
	}
	assert_int_equal(n_got, n_sent);
}

/* Control does not come round: the oldest go, are counted, and nothing else suffers. */
static void the_oldest_goes(void **state)
{
	struct lab_peer *peer = probed_up(1);
	struct dp_stats *stats = calloc(1, sizeof(*stats));
	uint64_t before;

	assert_non_null(stats);
	way(peer, false, true);
	lab_host_sends(&lab, "10.9.0.2", 1);
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	before = lab.relayed_counter;
	for (unsigned i = 0; i < DP_RING_RELAY + 500; i++) {
		lab_host_sends(&lab, "10.9.0.2", (uint8_t)(i >> 6));
		dp_test_round(lab.dp, lab.now_ns);
	}
	dp_stats_get(lab.dp, stats);
	assert_int_equal(stats->queues[DP_QUEUE_RELAY].now, DP_RING_RELAY - 1);
	assert_int_equal(stats->host_drop_pkts[DP_DROP_RELAY_FULL], 501);
	lab.n_relayed = 0;
	lab.is_deaf = true;
	for (unsigned i = 0; i < 10; i++)
		run(0);
	assert_int_equal(lab.n_relayed, DP_RING_RELAY - 1);
	assert_true(lab.relayed_counter >= before + DP_RING_RELAY + 500);
	free(stats);
}

/* What a relay may bring: for whom, and what. */
static void strange_messages_are_refused(void **state)
{
	static const uint8_t disco[64] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};
	static const struct cr_key nobody = {.bytes = {9}};
	uint8_t data[2100] = {WG_MESSAGE_DATA};
	struct lab_peer *peer = probed_up(1), *plain = lab_peer_add(&lab, true, false);

	assert_int_equal(dp_relay_input(lab.dp, &nobody, data, 32), -ENOENT);
	assert_int_equal(dp_relay_input(lab.dp, &plain->public_key, data, 32), -ENOENT);
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, data, 0), -EINVAL);
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, data, 31), -EINVAL);
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, disco, 64), -EINVAL);
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, data, 70000), -EINVAL);
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, data, sizeof(data)), -ENOBUFS);
	/* An index of nobody's, of this worker and of one that there is not. */
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, data, 32), 0);
	memset(data + 4, 0xff, 4);
	assert_int_equal(dp_relay_input(lab.dp, &peer->public_key, data, 32), -ENOBUFS);
	run(0);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_INDEX), 2);
}

/* Frames of a real port may not say that they come from behind the relay. */
static void nobody_plays_the_relay(void **state)
{
	struct lab_peer *peer = probed_up(1);
	struct base_endpoint behind = dp_relay_endpoint(0);

	peer->endpoint = behind;
	lab_peer_sends(peer, "10.9.0.2", 1);
	run(0);
	assert_true(lab_drops(&lab, DP_DROP_SOURCE_ADDRESS) > 0);
	assert_int_equal(lab.n_relayed, 0);
	assert_int_equal(
		dp_peer_path(lab.dp, &peer->public_key, &(struct dp_way){.direct = behind}),
		-EINVAL);
}

/* Its NAT gave it another address: control is told, the path stays until it says so. */
static void a_peer_is_heard_elsewhere(void **state)
{
	struct lab_peer *peer = probed_up(1);
	struct base_endpoint before = peer->endpoint;

	way(peer, true, false);
	lab_host_sends(&lab, "10.9.0.2", 1);
	run(0);
	lab_expect_at_peer(peer, 1);
	run(BASE_NS_PER_S);
	assert_int_equal(lab.n_heard, 0);
	peer->endpoint.port++;
	for (unsigned i = 0; i < 20; i++)
		lab_peer_sends(peer, "10.9.0.2", 2);
	run(0);
	assert_int_equal(lab.n_heard, 1);
	assert_true(base_endpoint_equal(&lab.heard_at, &peer->endpoint));
	run(BASE_NS_PER_S);
	lab_peer_sends(peer, "10.9.0.2", 2);
	run(0);
	assert_int_equal(lab.n_heard, 2);
	assert_int_equal(lab.n_moved, 0);

	/* By relay it is not heard from anywhere. */
	run(BASE_NS_PER_S);
	peer->endpoint = before;
	peer->is_relayed = true;
	lab_peer_sends(peer, "10.9.0.2", 2);
	run(0);
	assert_int_equal(lab.n_heard, 2);
}

/* A relay's peer that becomes a plain one is reached nowhere until it speaks. */
static void no_longer_probed(void **state)
{
	struct lab_peer *peer = probed_up(1);
	struct base_prefix prefix;
	struct base_error error;

	way(peer, false, true);
	lab_host_sends(&lab, "10.9.0.2", 1);
	run(0);
	lab_expect_at_peer(peer, 1);
	assert_int_equal(base_prefix_parse(&prefix, "10.9.0.2/32", true), 0);
	assert_int_equal(dp_peer_set(lab.dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .allowed_ips = &prefix,
					 .n_allowed_ips = 1},
				 &error),
		0);
	run(0);
	assert_int_equal(path_of(peer), DP_PATH_NONE);
	lab.n_relayed = 0;
	lab_host_sends(&lab, "10.9.0.2", 1);
	run(0);
	assert_int_equal(lab.n_relayed, 0);
}

#define with_lab(test) cmocka_unit_test_teardown(test, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_lab(all_goes_by_relay),
		with_lab(who_knocks_by_relay_is_answered),
		with_lab(a_doubtful_path_is_doubled),
		with_lab(nothing_is_lost_at_a_switch),
		with_lab(the_oldest_goes),
		with_lab(strange_messages_are_refused),
		with_lab(nobody_plays_the_relay),
		with_lab(a_peer_is_heard_elsewhere),
		with_lab(no_longer_probed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
