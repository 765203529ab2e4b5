/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet path over time (pipeline_lab.h): sessions that come, are renewed and end, packets that wait, peers
 * that are added and removed, workers that hand over, floods.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"
#include "dp_host_io.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define GATEWAY "10.9.0.1"

static struct lab lab;

static int teardown(void **state)
{
	lab.dp->host = NULL; /* a test that failed may have left one that is none */
	lab_fini(&lab);
	return 0;
}

/* Packets wait for the handshake in order, as many as are allowed, oldest out. */
static void test_staged(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab.is_deaf = true;
	for (unsigned i = 0; i < WG_STAGED_PKTS_MAX + 10; i++)
		lab_host_sends(&lab, "10.9.0.2", (uint8_t)i);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_STAGED_FULL), 10);
	assert_int_equal(lab_dp_peer(peer)->n_staged, WG_STAGED_PKTS_MAX);
	lab.is_deaf = false;
	lab_run(&lab, 10 * BASE_NS_PER_S); /* the retry gets through */
	for (unsigned i = 10; i < WG_STAGED_PKTS_MAX + 10; i++)
		lab_expect_at_peer(peer, (uint8_t)i);
	assert_int_equal(lab.dp->workers[0].n_staged, 0);
}

static void test_staged_given_up(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab.is_deaf = true;
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_host_sends(&lab, "10.9.0.2", 2);
	lab_run(&lab, WG_REKEY_ATTEMPT_NS + 10 * BASE_NS_PER_S);
	assert_int_equal(lab_drops(&lab, DP_DROP_STAGED_GIVEN_UP), 2);
	assert_int_equal(lab_dp_peer(peer)->n_staged, 0);
	assert_int_equal(lab.dp->workers[0].n_staged, 0);
}

static void test_no_way(void **state)
{
	uint8_t packet[100];

	lab_init(&lab, &(struct lab_options){0});
	lab_peer_add(&lab, false, false);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_host_sends(&lab, "10.9.0.200", 1);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_ENDPOINT), 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 1);
	lab_inner(packet, GATEWAY, "10.9.0.2", 9, sizeof(packet));
	lab_host_put(&lab, packet, 99);
	packet[0] = 0x75;
	lab_host_put(&lab, packet, 100);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_OUT_MALFORMED), 2);
}

/* Ten minutes of traffic both ways: keys are renewed, nothing is lost, nothing piles up. */
static void rekey(bool gateway_speaks, bool peer_speaks)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	for (unsigned i = 0; i < 600; i++) {
		if (gateway_speaks)
			lab_host_sends(&lab, "10.9.0.2", (uint8_t)i);
		if (peer_speaks)
			lab_peer_sends(peer, "10.9.0.2", (uint8_t)i);
		lab_run(&lab, BASE_NS_PER_S);
		if (gateway_speaks)
			lab_expect_at_peer(peer, (uint8_t)i);
		if (peer_speaks)
			lab_expect_at_host(&lab, (uint8_t)i);
	}
	assert_in_range(lab.n_handshakes, 5, 8);
	assert_in_range(dp_handshake_keypairs(lab.dp->handshake), 1, 3);
	assert_in_range(lab.dp->workers[0].index->count, 1, 3);
}

static void test_rekey_as_initiator(void **state)
{
	rekey(true, false);
}

static void test_rekey_as_responder(void **state)
{
	rekey(false, true);
}

static void test_rekey_both(void **state)
{
	rekey(true, true);
}

/* Who received data and has nothing to say answers with an empty message after ten seconds. */
static void test_keepalive(void **state)
{
	struct lab_peer *peer;
	uint64_t sealed;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	lab_peer_sends(peer, "10.9.0.2", 1);
	lab_run(&lab, BASE_NS_PER_S);
	lab_expect_at_host(&lab, 1);
	sealed = lab_worker_stats(&lab).sealed_pkts;
	lab_run(&lab, WG_KEEPALIVE_TIMEOUT_NS);
	assert_int_equal(lab_worker_stats(&lab).sealed_pkts, sealed + 1);
	assert_int_equal(peer->got.n, 0);
	/* And the other way: the peer's keepalive is nobody's packet. */
	lab_host_sends(&lab, "10.9.0.2", 2);
	lab_run(&lab, WG_KEEPALIVE_TIMEOUT_NS + BASE_NS_PER_S);
	lab_expect_at_peer(peer, 2);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
	assert_int_equal(lab_worker_stats(&lab).opened_pkts, 2);
}

/* The peer forgets everything and begins anew. */
static void test_peer_restarts(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	for (unsigned i = 0; i < 10; i++) {
		struct cr_key key;

		lab_peer_sends(peer, "10.9.0.2", (uint8_t)i);
		lab_run(&lab, BASE_NS_PER_S);
		lab_expect_at_host(&lab, (uint8_t)i);
		lab_host_sends(&lab, "10.9.0.2", (uint8_t)i);
		lab_run(&lab, BASE_NS_PER_S);
		lab_expect_at_peer(peer, (uint8_t)i);
		memset(key.bytes, 0x21, sizeof(key.bytes));
		key.bytes[0] &= 248;
		key.bytes[31] = (0x21 & 63) | 64;
		assert_int_equal(wg_device_set_private_key(peer->device, &key), 0);
	}
	assert_in_range(lab.dp->workers[0].index->count, 1, 3);
}

static void test_remove(void **state)
{
	struct lab_peer *peer, *other;
	struct dp_peer_status status;
	uint8_t packet[100], message[200];
	uint32_t len;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	other = lab_peer_add(&lab, true, false);
	lab_peer_sends(peer, "10.9.0.2", 1);
	lab_peer_sends(other, "10.9.0.3", 2);
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 1);
	lab_expect_at_host(&lab, 2);
	len = lab_seal(
		peer, message, 1000, packet, lab_inner(packet, "10.9.0.2", GATEWAY, 8765, 100));
	assert_int_equal(dp_peer_remove(lab.dp, &peer->public_key), 0);
	assert_int_equal(dp_peer_remove(lab.dp, &peer->public_key), -ENOENT);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), -ENOENT);
	lab_inject(&lab, &peer->endpoint, message, len);
	lab_host_sends(&lab, "10.9.0.2", 3);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_INDEX), 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 1);
	assert_int_equal(dp_handshake_keypairs(lab.dp->handshake), 1);
	/* The other one did not notice. */
	lab_peer_sends(other, "10.9.0.3", 4);
	lab_host_sends(&lab, "10.9.0.3", 5);
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 4);
	lab_expect_at_peer(other, 5);
}

/* Removed while packets wait, a handshake is on its way, and messages of both are in rings. */
static void test_remove_in_flight(void **state)
{
	static struct lab_pkt pkt;
	struct base_prefix prefix;
	struct base_error error;

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	for (unsigned i = 0; i < 3; i++)
		lab_peer_add(&lab, true, false);
	for (unsigned round = 0; round < 50; round++) {
		struct lab_peer *peer = &lab.peers[round % 3];
		char text[32];

		for (unsigned i = 0; i < 3; i++) {
			snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
			lab_host_sends(&lab, text, (uint8_t)i);
			lab_peer_sends(&lab.peers[i], text, (uint8_t)i);
		}
		/* Some way into the exchange, never at rest. */
		for (unsigned i = 0; i < round % 5; i++) {
			dp_handshake_round(lab.dp->handshake, lab.now_ns);
			for (unsigned w = 0; w < 2; w++)
				dp_worker_round(&lab.dp->workers[w], lab.now_ns);
		}
		assert_int_equal(dp_peer_remove(lab.dp, &peer->public_key), 0);
		snprintf(text, sizeof(text), "10.9.0.%u/32", 2 + round % 3);
		assert_int_equal(base_prefix_parse(&prefix, text, true), 0);
		assert_int_equal(dp_peer_set(lab.dp,
					 &(struct dp_peer_config){.public_key = peer->public_key,
						 .endpoint = peer->endpoint,
						 .allowed_ips = &prefix,
						 .n_allowed_ips = 1},
					 &error),
			0);
		lab_run(&lab, 6 * BASE_NS_PER_S);
		for (unsigned i = 0; i < 3; i++)
			lab.peers[i].got.n = 0;
		while (lab_host_take(&lab, &pkt))
			;
	}
	/* All is well with all of them in the end. */
	lab_run(&lab, 200 * BASE_NS_PER_S);
	for (unsigned i = 0; i < 3; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
		lab_host_sends(&lab, text, (uint8_t)i);
		lab_run(&lab, 6 * BASE_NS_PER_S);
		lab_expect_at_peer(&lab.peers[i], (uint8_t)i);
	}
	assert_in_range(dp_handshake_keypairs(lab.dp->handshake), 3, 9);
}

static void test_set_refuses(void **state)
{
	struct lab_peer *peer;
	struct base_prefix prefix;
	struct base_error error = {.text = ""};
	struct dp_peer_config config = {.allowed_ips = &prefix, .n_allowed_ips = 1};

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	assert_int_equal(base_prefix_parse(&prefix, "10.9.0.2/32", true), 0);
	memset(&config.public_key, 9, sizeof(config.public_key));
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), -EEXIST);
	assert_non_null(strstr(error.text, "10.9.0.2/32"));
	/* Our own key, and one of low order. */
	assert_int_equal(base_prefix_parse(&prefix, "10.9.0.9/32", true), 0);
	config.public_key = *dp_handshake_public_key(lab.dp->handshake);
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), -EINVAL);
	memset(&config.public_key, 0, sizeof(config.public_key));
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), -EINVAL);
	assert_int_equal(lab.dp->peers.count, 1);
	/* Nothing has changed. */
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_host_sends(&lab, "10.9.0.9", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 1);
}

/* Frames of every peer arrive at the first worker's queue; half of them belong to the other. */
static void test_hand_over(void **state)
{
	lab_init(&lab, &(struct lab_options){.n_workers = 3});
	for (unsigned i = 0; i < 4; i++)
		lab_peer_add(&lab, i % 2, false);
	for (unsigned round = 0; round < 20; round++) {
		lab.rx_queue = round % 3;
		for (unsigned i = 0; i < lab.n_peers; i++) {
			char text[32];

			snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
			lab_peer_sends(&lab.peers[i], text, (uint8_t)round);
			lab_run(&lab, 0);
			lab_expect_at_host(&lab, (uint8_t)round);
			lab_host_sends(&lab, text, (uint8_t)round);
			lab_run(&lab, 0);
			lab_expect_at_peer(&lab.peers[i], (uint8_t)round);
		}
	}
	assert_true(lab_worker_stats(&lab).handed_over_pkts > 20);
	for (unsigned i = 0; i < 3; i++)
		assert_true(lab.dp->peers.owned[i] >= 1);
}

/* Peers beyond the first table: it grows under a live session. */
static void test_many_peers(void **state)
{
	struct lab_peer *peer;
	struct base_error error;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	for (unsigned i = 0; i < 1000; i++) {
		struct base_prefix prefix = {.addr.family = BASE_FAMILY_V4, .bits = 32};
		struct dp_peer_config config = {.allowed_ips = &prefix, .n_allowed_ips = 1};

		base_store_be32(prefix.addr.bytes, 0x0a0a0000 + i);
		memset(&config.public_key, 0x55, sizeof(config.public_key));
		base_store_be32(config.public_key.bytes, i);
		assert_int_equal(dp_peer_set(lab.dp, &config, &error), 0);
	}
	lab_run(&lab, 0);
	assert_true(wg_index_room(lab.dp->workers[0].index) >= 4000);
	lab_host_sends(&lab, "10.9.0.2", 2);
	lab_peer_sends(peer, "10.9.0.2", 3);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 2);
	lab_expect_at_host(&lab, 3);
}

/* The underlay, as the test wants it. */

static enum dp_nexthop_state nexthop_state;
static uint16_t nexthop_mtu_bytes;

static void nexthop(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop)
{
	static const uint8_t ours[4] = DP_TEST_OUR_ADDR4;

	*ret_nexthop = (struct dp_nexthop){.state = nexthop_state,
		.mtu_bytes = nexthop_mtu_bytes,
		.src_addr = base_addr_from_bytes(BASE_FAMILY_V4, ours),
		.src_mac = {2, 0, 0, 0, 0, 1},
		.dst_mac = {2, 0, 0, 0, 0, 2}};
	ret_nexthop->gateway = *dst;
}

static void underlay_is(enum dp_nexthop_state state_now)
{
	nexthop_state = state_now;
	nexthop_mtu_bytes = 1500;
	dp_test_set_nexthop(lab.dp, nexthop);
}

static void test_neighbour(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	underlay_is(DP_NEXTHOP_UNRESOLVED);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, BASE_NS_PER_S / 2);
	assert_int_equal(lab.frames_out, 0);
	assert_int_equal(lab.dp->workers[0].n_waiting, 1);
	/* The initiation that waited leaves, and everything after it. */
	underlay_is(DP_NEXTHOP_OK);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	/* Data waits too, up to a limit in number, */
	underlay_is(DP_NEXTHOP_UNRESOLVED);
	for (unsigned i = 0; i < DP_NEIGHBOUR_PKTS_MAX + 5; i++)
		lab_host_sends(&lab, "10.9.0.2", (uint8_t)i);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_NEIGHBOUR_FULL), 5);
	underlay_is(DP_NEXTHOP_OK);
	lab_run(&lab, 0);
	for (unsigned i = 0; i < DP_NEIGHBOUR_PKTS_MAX; i++)
		lab_expect_at_peer(peer, (uint8_t)i);
	/* and in time. */
	underlay_is(DP_NEXTHOP_UNRESOLVED);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 2 * DP_NEIGHBOUR_WAIT_NS);
	assert_int_equal(lab_drops(&lab, DP_DROP_NEIGHBOUR_TIMEOUT), 1);
	assert_int_equal(lab.dp->workers[0].n_waiting, 0);
}

static void test_no_route(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	underlay_is(DP_NEXTHOP_NO_ROUTE);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_ROUTE), 1);
	underlay_is(DP_NEXTHOP_OTHER_DEVICE);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_OTHER_DEVICE), 1);
	/* Too large for the way: 20 + 8 + 32 bytes around 100, padded to 112. */
	underlay_is(DP_NEXTHOP_OK);
	nexthop_mtu_bytes = 171;
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_TOO_LARGE), 1);
	nexthop_mtu_bytes = 172;
	dp_test_set_nexthop(lab.dp, nexthop);
	lab_host_sends(&lab, "10.9.0.2", 2);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 2);
}

/* Gateways that the worker asks for in one round, by the notes that it leaves. */
static unsigned gateways_asked(void)
{
	struct dp_note note;
	unsigned n = 0;

	while (rte_ring_dequeue_elem(
		       dp_handshake_note_ring(lab.dp->handshake), &note, sizeof(note)) == 0)
		n += note.where.addr.family == BASE_FAMILY_V4;
	return n;
}

static void initiations_leave(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.9.0.%u", 2 + i);
		lab_host_sends(&lab, text, (uint8_t)i);
	}
	dp_worker_round(&lab.dp->workers[0], lab.now_ns);
	dp_handshake_round(lab.dp->handshake, lab.now_ns);
	dp_worker_round(&lab.dp->workers[0], lab.now_ns);
}

/* Several neighbours that are not known, asked for in the same round: none has to wait for a retry. */
static void test_neighbours_at_once(void **state)
{
	lab_init(&lab, &(struct lab_options){0});
	for (unsigned i = 0; i < 3; i++)
		lab_peer_add(&lab, true, false);
	underlay_is(DP_NEXTHOP_UNRESOLVED);
	initiations_leave(3);
	assert_int_equal(lab.dp->workers[0].n_waiting, 3);
	assert_int_equal(gateways_asked(), 3);
	/* When the view changes, those that still wait are asked for again. */
	underlay_is(DP_NEXTHOP_UNRESOLVED);
	dp_worker_round(&lab.dp->workers[0], lab.now_ns);
	assert_int_equal(gateways_asked(), 3);
	underlay_is(DP_NEXTHOP_OK);
	lab_run(&lab, 0);
}

/* A neighbour on link that is known is wanted all the same, once for each view: or it would go stale. */
static void test_neighbours_kept(void **state)
{
	lab_init(&lab, &(struct lab_options){0});
	for (unsigned i = 0; i < 3; i++)
		lab_peer_add(&lab, true, false);
	underlay_is(DP_NEXTHOP_OK);
	initiations_leave(3);
	assert_int_equal(gateways_asked(), 3);
	initiations_leave(3);
	assert_int_equal(gateways_asked(), 0);
	underlay_is(DP_NEXTHOP_OK);
	lab.now_ns += 10 * BASE_NS_PER_S;
	initiations_leave(3);
	assert_int_equal(gateways_asked(), 3);
}

/* As many as a burst can have: all are asked for in its round, and none has its header made again for want of room. */
static void test_many_neighbours_kept(void **state)
{
	enum { N = 60 };

	lab_init(&lab, &(struct lab_options){0});
	for (unsigned i = 0; i < N; i++)
		lab_peer_add(&lab, true, false);
	underlay_is(DP_NEXTHOP_OK);
	initiations_leave(N);
	assert_int_equal(gateways_asked(), N);
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(lab_dp_peer(&lab.peers[i])->outer.generation,
			lab.dp->workers[0].generation);
	lab_run(&lab, 0);
}

static void nexthop_of_one(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop)
{
	nexthop(view, dst, src, ret_nexthop);
	if (dst->bytes[0] != 192)
		ret_nexthop->state = DP_NEXTHOP_NO_ROUTE;
}

/* A peer that moves between two packets of one burst: the first leaves as it was made. */
static void test_move_within_burst(void **state)
{
	struct lab_peer *peer;
	struct dp_command cmd = {.type = DP_COMMAND_KEEPALIVE};
	struct base_endpoint elsewhere;
	uint64_t frames;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	underlay_is(DP_NEXTHOP_OK);
	dp_test_set_nexthop(lab.dp, nexthop_of_one);
	lab_host_sends(&lab, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_peer(peer, 1);
	assert_int_equal(base_endpoint_parse(&elsewhere, "203.0.113.7:1000"), 0);
	frames = lab.frames_out;
	cmd.peer = lab_dp_peer(peer);
	assert_true(dp_worker_command(&lab.dp->workers[0], &cmd));
	cmd.type = DP_COMMAND_ENDPOINT_SET;
	cmd.from = dp_from_make(&elsewhere);
	assert_true(dp_worker_command(&lab.dp->workers[0], &cmd));
	cmd.type = DP_COMMAND_KEEPALIVE;
	assert_true(dp_worker_command(&lab.dp->workers[0], &cmd));
	lab_run(&lab, 0);
	assert_int_equal(lab.frames_out, frames + 1); /* checked by the lab, byte for byte */
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_ROUTE), 1);
	assert_int_equal(lab.dp->workers[0].n_waiting, 0);
}

/* What waits for a session leaves for where its first message came from. */
static void test_staged_follows(void **state)
{
	static struct lab_pkt pkt;
	struct base_endpoint first, elsewhere;
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	first = peer->endpoint;
	assert_int_equal(base_endpoint_parse(&elsewhere, "198.51.100.9:7777"), 0);
	lab.is_deaf = true;
	lab_host_sends(&lab, "10.9.0.2", 7);
	lab_run(&lab, 0);
	lab.is_deaf = false;
	peer->is_mute = true;
	lab_peer_sends(peer, "10.9.0.2", 1);
	assert_true(lab_kept_take(peer, &pkt));
	lab_inject(&lab, &first, pkt.data, pkt.len);
	lab_run(&lab, 0);
	assert_int_equal(peer->got.n, 0);
	/* Its network changes between the handshake and the first packet. */
	peer->endpoint = elsewhere;
	assert_true(lab_kept_take(peer, &pkt));
	lab_inject(&lab, &elsewhere, pkt.data, pkt.len);
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 1);
	lab_expect_at_peer(peer, 7);
}

/* Of a thread that goes round no more the watchdog tells, once, and which. */
static const char *look(void)
{
	struct itimerspec now = {.it_value = {.tv_nsec = 1}};
	struct pollfd timer = {.fd = lab.dp->watchdog.fd, .events = POLLIN};

	assert_int_equal(timerfd_settime(timer.fd, 0, &now, NULL), 0);
	assert_int_equal(poll(&timer, 1, -1), 1);
	dp_watchdog_look(&lab.dp->watchdog, lab.dp);
	return dp_watchdog_tell(&lab.dp->watchdog);
}

/* Stands for the host interface, of which the watchdog sees no more. */
static struct dp_host fake_host;

static void expect_watchdog(
	bool has_worker0, bool has_worker1, bool has_handshake, bool has_host, const char *text)
{
	struct dp_watchdog *watchdog = &lab.dp->watchdog;
	const char *told = NULL;

	memset(watchdog->still, 0, sizeof(watchdog->still));
	for (unsigned i = 0; i < 3 * DP_WATCHDOG_LOOKS && !told; i++) {
		told = look();
		if (has_worker0)
			dp_worker_round(&lab.dp->workers[0], lab.now_ns);
		if (has_worker1)
			dp_worker_round(&lab.dp->workers[1], lab.now_ns);
		if (has_handshake)
			dp_handshake_round(lab.dp->handshake, lab.now_ns);
		if (has_host)
			dp_host_count(&fake_host.counters.rounds, 1);
		assert_true(!told || i + 1 >= DP_WATCHDOG_LOOKS);
	}
	if (!text) {
		assert_null(told);
		return;
	}
	assert_non_null(told);
	assert_non_null(strstr(told, text));
	assert_null(look());
	watchdog->has_told = watchdog->has_found = false;
}

static void test_watchdog(void **state)
{
	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	lab.dp->is_stepped = false;                     /* as if its threads were real */
	expect_watchdog(true, true, true, false, NULL); /* none is configured */
	lab.dp->host = &fake_host;
	expect_watchdog(true, true, true, false, NULL); /* its device is not back yet */
	fake_host.has_thread = true;
	expect_watchdog(true, true, true, true, NULL);
	expect_watchdog(false, true, true, true, "worker 0");
	expect_watchdog(true, false, true, true, "worker 1");
	expect_watchdog(true, true, false, true, "handshake");
	expect_watchdog(true, true, true, false, "host");
	expect_watchdog(true, false, false, true, "worker 1"); /* whom the other waits for */
	lab.dp->host = NULL;
	lab.dp->is_stepped = true;
}

/* With a thread that answers nobody the end still comes. */
static void test_end_without_answer(void **state)
{
	int status;
	pid_t pid;

	lab_init(&lab, &(struct lab_options){0});
	lab_peer_add(&lab, true, false);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		alarm(20);
		lab.dp->is_stepped = false; /* nobody runs the rounds any more */
		lab.dp->watchdog.has_found = true;
		dp_free(lab.dp);
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* Handshake messages of one source beyond its share, and of many beyond the room that there is: dropped by
 * name, and the session lives. */
static void flood(struct lab_peer *peer, uint32_t n_sources, unsigned n)
{
	struct base_endpoint from;
	uint8_t message[148] = {WG_MESSAGE_INITIATION};

	assert_int_equal(base_endpoint_parse(&from, "203.0.0.0:1000"), 0);
	for (unsigned i = 0; i < n; i++) {
		base_store_be32(from.addr.bytes, 0xcb000000 + i % n_sources);
		lab_inject(&lab, &from, message, sizeof(message));
		/* The worker runs, the handshake thread has not got there yet. */
		dp_worker_round(&lab.dp->workers[0], lab.now_ns);
	}
	lab_peer_sends(peer, "10.9.0.2", 2);
	dp_worker_round(&lab.dp->workers[0], lab.now_ns);
	lab_expect_at_host(&lab, 2);
	while (!rte_ring_empty(dp_handshake_stranger_ring(lab.dp->handshake)))
		dp_test_round(lab.dp, lab.now_ns);
	lab_run(&lab, 0);
}

static void test_flood(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	lab_peer_sends(peer, "10.9.0.2", 1);
	lab_run(&lab, 0);
	lab_expect_at_host(&lab, 1);
	flood(peer, 1, 3000);
	assert_int_equal(lab_drops(&lab, DP_DROP_HANDSHAKE_SOURCE), 3000 - DP_ADMIT_BURST_MSGS);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_MAC1), DP_ADMIT_BURST_MSGS);
	/* A few share the bucket of the one before. */
	flood(peer, 50000, DP_RING_STRANGERS + 1000);
	assert_int_equal(
		lab_drops(&lab, DP_DROP_HANDSHAKE_FULL) + lab_drops(&lab, DP_DROP_HANDSHAKE_SOURCE),
		3000 - DP_ADMIT_BURST_MSGS + 1000 + 1);
	assert_in_range(lab_drops(&lab, DP_DROP_HANDSHAKE_FULL), 900, 1001);
	assert_int_equal(
		lab_verdicts(&lab, WG_VERDICT_MAC1), DP_ADMIT_BURST_MSGS + DP_RING_STRANGERS - 1);
}

/* The port that needs nothing: it receives at once, for ever, what is no packet of anybody's. */
static void test_null_port(void **state)
{
	struct dp_config config = {
		.ports = {{.kind = DP_PORT_NULL, .device = "null"}},
		.n_ports = 1,
		.listen_port = LAB_PORT,
		.n_workers = 2,
		.memory_mb = 128,
		.host_mtu = 1280,
	};
	struct dp_stats *stats = malloc(sizeof(*stats));
	struct base_error error;
	struct dp *dp;

	assert_non_null(stats);
	memset(config.private_key.bytes, 0x44, sizeof(config.private_key.bytes));
	dp = dp_test_new(&config, NULL, NULL, &error);
	if (!dp)
		fail_msg("%s", error.text);
	dp_worker_round(&dp->workers[0], BASE_NS_PER_S);
	dp_worker_round(&dp->workers[1], BASE_NS_PER_S);
	dp_stats_get(dp, stats);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(stats->workers[i].rx_pkts, DP_BURST);
		assert_int_equal(stats->workers[i].drop_pkts[DP_DROP_NOT_IP], DP_BURST);
	}
	dp_free(dp);
	free(stats);
}

/* Started and stopped over and over, nothing is left that a second start would trip over. */
static void test_starts_again(void **state)
{
	for (unsigned i = 0; i < 5; i++) {
		unsigned available;

		lab_init(&lab, &(struct lab_options){.n_workers = 1 + i % 2});
		lab_peer_add(&lab, true, false);
		lab_host_sends(&lab, "10.9.0.2", 1);
		lab_run(&lab, 0);
		/* Every packet is back: nothing leaks one. */
		available = rte_mempool_avail_count(lab.dp->pool);
		assert_int_equal(available, lab.pkts_at_start);
		if (i < 4)
			lab_fini(&lab);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_staged, teardown),
		cmocka_unit_test_teardown(test_staged_given_up, teardown),
		cmocka_unit_test_teardown(test_no_way, teardown),
		cmocka_unit_test_teardown(test_rekey_as_initiator, teardown),
		cmocka_unit_test_teardown(test_rekey_as_responder, teardown),
		cmocka_unit_test_teardown(test_rekey_both, teardown),
		cmocka_unit_test_teardown(test_keepalive, teardown),
		cmocka_unit_test_teardown(test_peer_restarts, teardown),
		cmocka_unit_test_teardown(test_remove, teardown),
		cmocka_unit_test_teardown(test_remove_in_flight, teardown),
		cmocka_unit_test_teardown(test_set_refuses, teardown),
		cmocka_unit_test_teardown(test_hand_over, teardown),
		cmocka_unit_test_teardown(test_many_peers, teardown),
		cmocka_unit_test_teardown(test_neighbour, teardown),
		cmocka_unit_test_teardown(test_no_route, teardown),
		cmocka_unit_test_teardown(test_neighbours_at_once, teardown),
		cmocka_unit_test_teardown(test_neighbours_kept, teardown),
		cmocka_unit_test_teardown(test_many_neighbours_kept, teardown),
		cmocka_unit_test_teardown(test_move_within_burst, teardown),
		cmocka_unit_test_teardown(test_staged_follows, teardown),
		cmocka_unit_test_teardown(test_watchdog, teardown),
		cmocka_unit_test_teardown(test_end_without_answer, teardown),
		cmocka_unit_test(test_null_port),
		cmocka_unit_test_teardown(test_flood, teardown),
		cmocka_unit_test_teardown(test_starts_again, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
