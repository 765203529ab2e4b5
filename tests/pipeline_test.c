/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole walk of a packet, on a ring port (pipeline_lab.h): handshakes in both roles, data both ways, and
 * everything that must not get through, each under its own counter.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define TO_GATEWAY "10.9.0.1"

/* One lab at a time; EAL is one per process anyway. */
static struct lab lab;

static int teardown(void **state)
{
	lab_fini(&lab);
	return 0;
}

static void lab_up(const struct lab_options *options)
{
	lab_init(&lab, options);
}

/* A session, begun by the peer. */
static struct lab_peer *session(void)
{
	struct lab_peer *peer = lab_peer_add(&lab, false, false);
	uint8_t packet[100];

	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100));
	lab_run(&lab, 0);
	return peer;
}

static void expect_at_host(const uint8_t *packet, uint32_t len)
{
	static struct lab_pkt pkt;

	assert_true(lab_host_take(&lab, &pkt));
	assert_int_equal(pkt.len, len);
	assert_memory_equal(pkt.data, packet, len);
}

static void expect_at_peer(struct lab_peer *peer, const uint8_t *packet, uint32_t len)
{
	static struct lab_pkt pkt;

	assert_true(lab_got_take(peer, &pkt));
	assert_int_equal(pkt.len, len);
	assert_memory_equal(pkt.data, packet, len);
}

static void data_both_ways(const struct lab_options *options, bool has_psk)
{
	struct lab_peer *peer;
	static uint8_t packet[1420], back[1420];

	lab_up(options);
	peer = lab_peer_add(&lab, false, has_psk);
	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 333));
	lab_run(&lab, 0);
	expect_at_host(packet, 333);
	assert_int_equal(lab.n_handshakes, 1);
	for (uint32_t len = 28; len <= 1420; len += 29) {
		lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, len));
		lab_host_put(&lab, back, lab_inner(back, TO_GATEWAY, "10.9.0.2", 40000, len));
		lab_run(&lab, 0);
		expect_at_host(packet, len);
		expect_at_peer(peer, back, len);
	}
	for (uint32_t len = 48; len <= 1420; len += 29) {
		lab_peer_send(peer, packet, lab_inner(packet, "fd00::2", "fd00::1", 8765, len));
		lab_host_put(&lab, back, lab_inner(back, "fd00::1", "fd00::2", 40000, len));
		lab_run(&lab, 0);
		expect_at_host(packet, len);
		expect_at_peer(peer, back, len);
	}
}

static void test_responder(void **state)
{
	data_both_ways(&(struct lab_options){0}, true);
}

static void test_sodium(void **state)
{
	data_both_ways(&(struct lab_options){.crypto = "libsodium"}, false);
}

static void test_outer_v6(void **state)
{
	data_both_ways(&(struct lab_options){.is_v6 = true}, false);
}

static void test_initiator(void **state)
{
	struct lab_peer *peer;
	uint8_t packet[200], back[200];

	lab_up(&(struct lab_options){0});
	peer = lab_peer_add(&lab, true, true);
	lab_host_put(&lab, back, lab_inner(back, TO_GATEWAY, "10.9.0.2", 9, 200));
	lab_run(&lab, 0);
	expect_at_peer(peer, back, 200);
	assert_int_equal(lab.n_handshakes, 1);
	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 200));
	lab_run(&lab, 0);
	expect_at_host(packet, 200);
}

/* What must not get through. */

#define FAR_COUNTER 1000

static void inject_sealed(struct lab_peer *peer, uint64_t counter, const void *inner, uint32_t len)
{
	static uint8_t message[LAB_PKT_MAX];

	lab_inject(&lab, &peer->endpoint, message, lab_seal(peer, message, counter, inner, len));
	dp_test_round(lab.dp, lab.now_ns);
}

static void expect_nothing_at_host(void)
{
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
}

/* A session whose first packet is taken off already. */
static struct lab_peer *quiet_session(const struct lab_options *options)
{
	struct lab_peer *peer;
	static struct lab_pkt pkt;

	lab_up(options);
	peer = session();
	assert_true(lab_host_take(&lab, &pkt));
	return peer;
}

static void test_replay(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100];
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);

	inject_sealed(peer, FAR_COUNTER, packet, len);
	expect_at_host(packet, len);
	inject_sealed(peer, FAR_COUNTER, packet, len);
	expect_nothing_at_host();
	assert_int_equal(lab_drops(&lab, DP_DROP_REPLAY), 1);
	/* An older one inside the window, once; what lies behind it, never. */
	inject_sealed(peer, FAR_COUNTER - 1, packet, len);
	expect_at_host(packet, len);
	inject_sealed(peer, FAR_COUNTER + 10 * WG_REPLAY_WINDOW_MSGS, packet, len);
	expect_at_host(packet, len);
	inject_sealed(peer, FAR_COUNTER + 1, packet, len);
	inject_sealed(peer, WG_REJECT_AFTER_MSGS, packet, len);
	expect_nothing_at_host();
	assert_int_equal(lab_drops(&lab, DP_DROP_REPLAY), 3);
}

static void test_forged(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100], message[200];
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);
	uint32_t message_len = lab_seal(peer, message, FAR_COUNTER, packet, len);

	/* Every byte after the index is under the tag, the counter through the nonce. */
	for (uint32_t i = 8; i < message_len; i += 5) {
		message[i] ^= 0x10;
		lab_inject(&lab, &peer->endpoint, message, message_len);
		message[i] ^= 0x10;
	}
	dp_test_round(lab.dp, lab.now_ns);
	expect_nothing_at_host();
	assert_int_equal(lab_drops(&lab, DP_DROP_FORGED), (message_len - 8 + 4) / 5);
	/* None of them moved the window. */
	lab_inject(&lab, &peer->endpoint, message, message_len);
	dp_test_round(lab.dp, lab.now_ns);
	expect_at_host(packet, len);
}

static void test_unknown_index(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100], message[200];
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);
	uint32_t message_len = lab_seal(peer, message, FAR_COUNTER, packet, len);

	message[7] ^= 0x80; /* nobody's */
	lab_inject(&lab, &peer->endpoint, message, message_len);
	message[7] ^= 0x80;
	message[4] ^= 0x21; /* a worker that there is not */
	lab_inject(&lab, &peer->endpoint, message, message_len);
	dp_test_round(lab.dp, lab.now_ns);
	expect_nothing_at_host();
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_INDEX), 2);
}

static void test_messages_malformed(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t message[200] = {WG_MESSAGE_DATA};

	for (uint32_t len = 0; len < 32; len++)
		lab_inject(&lab, &peer->endpoint, message, len);
	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_TYPE), 4);
	assert_int_equal(lab_drops(&lab, DP_DROP_SHORT_DATA), 28);
	for (uint8_t type = 1; type <= 4; type++) {
		message[0] = type;
		message[3] = 1;
		lab_inject(&lab, &peer->endpoint, message, 148);
		message[3] = 0;
	}
	message[0] = 5;
	lab_inject(&lab, &peer->endpoint, message, 148);
	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(lab_drops(&lab, DP_DROP_RESERVED_BITS), 4);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_TYPE), 5);
	for (uint8_t type = 1; type <= 3; type++) {
		message[0] = type;
		lab_inject(&lab, &peer->endpoint, message, 63);
	}
	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_MALFORMED), 3);
}

static void test_inner(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100];
	uint32_t len = lab_inner(packet, "10.9.0.3", TO_GATEWAY, 8765, 100);
	uint64_t counter = FAR_COUNTER;

	lab_peer_add(&lab, false, false); /* 10.9.0.3 and fd00::3 are another's, .9 is nobody's */
	inject_sealed(peer, counter++, packet, len);
	lab_inner(packet, "10.9.0.9", TO_GATEWAY, 8765, len);
	inject_sealed(peer, counter++, packet, len);
	lab_inner(packet, "fd00::3", "fd00::1", 8765, len);
	inject_sealed(peer, counter++, packet, len);
	assert_int_equal(lab_drops(&lab, DP_DROP_WRONG_SOURCE), 3);
	lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, len);
	inject_sealed(peer, counter++, packet, len - 1); /* lies */
	inject_sealed(peer, counter++, packet, 19);
	packet[0] = 0x05;
	inject_sealed(peer, counter++, packet, len);
	packet[0] = 0xf5;
	inject_sealed(peer, counter++, packet, len);
	packet[0] = 0x44; /* a header of 16 bytes */
	inject_sealed(peer, counter++, packet, len);
	lab_inner(packet, "fd00::2", "fd00::1", 8765, len);
	base_store_be16(packet + 4, 65535); /* wraps in 16 bits */
	inject_sealed(peer, counter++, packet, len);
	base_store_be16(packet + 4, 65496);
	inject_sealed(peer, counter++, packet, len);
	inject_sealed(peer, counter++, packet, 39);
	assert_int_equal(lab_drops(&lab, DP_DROP_BAD_INNER), 8);
	/* Longer than it says is padding, and ends there. */
	lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 90);
	inject_sealed(peer, counter++, packet, 100);
	expect_at_host(packet, 90);
	expect_nothing_at_host();
}

static void test_filter(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100], query[100];
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 40000, 100);
	uint64_t counter = FAR_COUNTER;

	inject_sealed(peer, counter++, packet, len);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_NO_RULE), 1);
	/* Asked from port 40000 to 53 by this host, the answer comes in without a rule. */
	lab_host_put(&lab, query, lab_inner(query, TO_GATEWAY, "10.9.0.2", 53, 100));
	lab_run(&lab, 0);
	expect_at_peer(peer, query, 100);
	base_store_be16(packet + 20, 53);
	inject_sealed(peer, counter++, packet, len);
	expect_at_host(packet, len);
	/* Not to an address that is not ours. */
	lab_inner(packet, "10.9.0.2", "10.9.0.77", 8765, len);
	inject_sealed(peer, counter++, packet, len);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_DESTINATION), 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_NO_RULE), 1);
	expect_nothing_at_host();
}

static void test_stale(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100];
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);

	peer->is_mute = true;
	lab_run(&lab, 179 * BASE_NS_PER_S);
	inject_sealed(peer, FAR_COUNTER, packet, len);
	expect_at_host(packet, len);
	lab_run(&lab, 2 * BASE_NS_PER_S);
	inject_sealed(peer, FAR_COUNTER + 1, packet, len);
	assert_int_equal(lab_drops(&lab, DP_DROP_STALE_KEYPAIR), 1);
	expect_nothing_at_host();
	/* And nothing leaves under it either. */
	lab_host_put(&lab, packet, lab_inner(packet, TO_GATEWAY, "10.9.0.2", 9, 100));
	lab_run(&lab, 0);
	assert_int_equal(peer->got.n, 0);
	assert_int_equal(lab_dp_peer(peer)->n_staged, 1);
	/* Wiped in the end: the index is gone, the memory is back. */
	lab_run(&lab, WG_WIPE_AFTER_NS);
	assert_int_equal(dp_handshake_keypairs(lab.dp->handshake), 0);
	assert_int_equal(lab.dp->workers[0].index->count, 0);
}

/* Frames that are no messages at all, each under its own reason. */
static void expect_frame_drop(uint8_t *frame, uint32_t len, enum dp_drop reason)
{
	uint64_t before = lab_drops(&lab, reason);

	lab_inject_frame(&lab, frame, len);
	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(lab_drops(&lab, reason), before + 1);
}

static void test_frames4(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	uint8_t packet[100], message[200], good[300], frame[300];
	uint32_t inner_len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);
	uint32_t len = lab_frame(good, &peer->endpoint, message,
		lab_seal(peer, message, FAR_COUNTER, packet, inner_len));
	uint8_t *ip = frame + DP_ETH_BYTES, *udp = ip + DP_IP4_BYTES;

#define FRESH() memcpy(frame, good, sizeof(frame))
	FRESH();
	expect_frame_drop(frame, 13, DP_DROP_SHORT_FRAME);
	expect_frame_drop(frame, 33, DP_DROP_SHORT_FRAME);
	expect_frame_drop(frame, len - 1, DP_DROP_BAD_IP_HEADER);
	base_store_be16(frame + 12, 0x0806);
	expect_frame_drop(frame, len, DP_DROP_NOT_IP);
	FRESH();
	ip[0] = 0x44;
	expect_frame_drop(frame, len, DP_DROP_BAD_IP_HEADER);
	ip[0] = 0x65;
	expect_frame_drop(frame, len, DP_DROP_BAD_IP_HEADER);
	ip[0] = 0x4f; /* options longer than what is announced */
	base_store_be16(ip + 2, 40);
	expect_frame_drop(frame, len, DP_DROP_BAD_IP_HEADER);
	FRESH();
	base_store_be16(ip + 6, 0x2000); /* a first fragment is no datagram */
	expect_frame_drop(frame, len, DP_DROP_FRAGMENT);
	base_store_be16(ip + 6, 0x0001);
	expect_frame_drop(frame, len, DP_DROP_FRAGMENT);
	FRESH();
	ip[9] = 6;
	expect_frame_drop(frame, len, DP_DROP_NOT_TUNNEL);
	FRESH();
	base_store_be16(udp + 2, LAB_PORT + 1);
	expect_frame_drop(frame, len, DP_DROP_NOT_TUNNEL);
	FRESH();
	base_store_be16(ip + 2, DP_IP4_BYTES + 7);
	expect_frame_drop(frame, len, DP_DROP_BAD_UDP_LENGTH);
	FRESH();
	base_store_be16(udp + 4, 7);
	expect_frame_drop(frame, len, DP_DROP_BAD_UDP_LENGTH);
	base_store_be16(udp + 4, (uint16_t)(len - 34 + 1));
	expect_frame_drop(frame, len, DP_DROP_BAD_UDP_LENGTH);
	expect_nothing_at_host();
	/* Bytes behind the datagram are not part of it. */
	FRESH();
	lab_inject_frame(&lab, frame, len + 40);
	dp_test_round(lab.dp, lab.now_ns);
	expect_at_host(packet, inner_len);
#undef FRESH
}

static void test_frames6(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){.is_v6 = true});
	uint8_t packet[100], message[200], frame[300];
	uint32_t inner_len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);
	uint32_t len = lab_frame(frame, &peer->endpoint, message,
		lab_seal(peer, message, FAR_COUNTER, packet, inner_len));
	uint8_t *ip = frame + DP_ETH_BYTES;

	expect_frame_drop(frame, 53, DP_DROP_SHORT_FRAME);
	expect_frame_drop(frame, len - 1, DP_DROP_BAD_IP_HEADER);
	ip[6] = 44; /* a fragment header */
	expect_frame_drop(frame, len, DP_DROP_NOT_TUNNEL);
	ip[6] = IN_PROTO_UDP;
	ip[0] = 0x45;
	expect_frame_drop(frame, len, DP_DROP_BAD_IP_HEADER);
	ip[0] = 0x60;
	base_store_be16(ip + 4, 7);
	expect_frame_drop(frame, len, DP_DROP_BAD_UDP_LENGTH);
	expect_nothing_at_host();
}

/* Random damage to good frames: every frame is counted once, and nothing else happens. */
static void test_counters_add_up(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	unsigned seed = (unsigned)time(NULL);
	uint8_t packet[100], message[200], frame[300];
	uint32_t inner_len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);
	struct dp_worker_stats before = lab_worker_stats(&lab), after;
	uint64_t accounted = 0;
	static struct lab_pkt pkt;
	unsigned delivered = 0;

	print_message("seed %u\n", seed);
	srand(seed);
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t len = lab_frame(frame, &peer->endpoint, message,
			lab_seal(peer, message, FAR_COUNTER + i, packet, inner_len));

		if (i % 4)
			frame[(unsigned)rand() % len] ^= (uint8_t)(1 + rand() % 255);
		lab_inject_frame(&lab, frame, i % 7 ? len : (unsigned)rand() % len);
		dp_test_round(lab.dp, lab.now_ns);
		while (lab_host_take(&lab, &pkt))
			delivered++;
	}
	after = lab_worker_stats(&lab);
	for (unsigned i = 0; i < DP_DROP_HANDSHAKE_FIRST; i++)
		accounted += lab_drops(&lab, (enum dp_drop)i);
	for (unsigned v = WG_VERDICT_MALFORMED; v <= WG_VERDICT_NO_MEMORY; v++)
		accounted += lab_verdicts(&lab, (enum wg_verdict)v);
	assert_int_equal(after.rx_pkts - before.rx_pkts, 20000);
	assert_int_equal(accounted + delivered, 20000);
	assert_int_equal(after.host_tx_pkts - before.host_tx_pkts, delivered);
	assert_true(delivered > 4000);
}

/* Where the peer is. */

static void test_roaming(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	struct base_endpoint first = peer->endpoint, elsewhere, port0;
	uint8_t packet[100], message[200];
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100), message_len;
	struct dp_peer_status status;
	unsigned moved = lab.n_moved;

	assert_int_equal(base_endpoint_parse(&elsewhere, "198.51.100.9:7777"), 0);
	port0 = elsewhere;
	port0.port = 0;
	message_len = lab_seal(peer, message, FAR_COUNTER, packet, len);
	/* Forged from elsewhere: no move. */
	message[30] ^= 1;
	lab_inject(&lab, &elsewhere, message, message_len);
	message[30] ^= 1;
	lab_run(&lab, 0);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &first));
	/* From port 0: good, but nobody to answer. */
	lab_inject(&lab, &port0, message, message_len);
	lab_run(&lab, 0);
	expect_at_host(packet, len);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &first));
	/* A replay from elsewhere: no move. */
	lab_inject(&lab, &elsewhere, message, message_len);
	lab_run(&lab, 0);
	assert_int_equal(lab.n_moved, moved);
	/* A good one: the answer follows. */
	peer->endpoint = elsewhere;
	lab_inject(
		&lab, &elsewhere, message, lab_seal(peer, message, FAR_COUNTER + 1, packet, len));
	lab_host_put(&lab, packet, lab_inner(packet, TO_GATEWAY, "10.9.0.2", 9, 100));
	lab_run(&lab, 0);
	expect_at_peer(peer, packet, 100);
	assert_int_equal(lab.n_moved, moved + 1);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &elsewhere));
	assert_int_equal(status.path, DP_PATH_DIRECT4);
	/* From IPv4 to IPv6 and back. */
	assert_int_equal(base_endpoint_parse(&peer->endpoint, "[2001:db8:7::1]:7777"), 0);
	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100));
	lab_host_put(&lab, packet, lab_inner(packet, TO_GATEWAY, "10.9.0.2", 9, 100));
	lab_run(&lab, 0);
	expect_at_peer(peer, packet, 100);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_int_equal(status.path, DP_PATH_DIRECT6);
}

static void test_fixed_endpoint(void **state)
{
	struct lab_peer *peer = quiet_session(&(struct lab_options){0});
	struct base_endpoint first = peer->endpoint, elsewhere;
	struct base_prefix prefix;
	struct base_error error;
	uint8_t packet[100], message[200];
	struct dp_peer_status status;
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);

	assert_int_equal(base_prefix_parse(&prefix, "10.9.0.2/32", true), 0);
	assert_int_equal(base_endpoint_parse(&elsewhere, "198.51.100.9:7777"), 0);
	assert_int_equal(dp_peer_set(lab.dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .endpoint = first,
					 .endpoint_is_fixed = true,
					 .allowed_ips = &prefix,
					 .n_allowed_ips = 1},
				 &error),
		0);
	lab_run(&lab, 0);
	lab_inject(&lab, &elsewhere, message, lab_seal(peer, message, FAR_COUNTER, packet, len));
	lab_run(&lab, 0);
	expect_at_host(packet, len);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &first));
	/* The prefix that the change left out is nobody's now. */
	inject_sealed(
		peer, FAR_COUNTER + 1, packet, lab_inner(packet, "fd00::2", "fd00::1", 8765, 100));
	assert_int_equal(lab_drops(&lab, DP_DROP_WRONG_SOURCE), 1);
}

/* Fixed, but not known: its first word fixes it. */
static void test_fixed_by_first_word(void **state)
{
	struct lab_peer *peer;
	struct base_endpoint elsewhere;
	struct base_prefix prefix;
	struct base_error error;
	uint8_t packet[100], message[200];
	struct dp_peer_status status;
	uint32_t len = lab_inner(packet, "10.9.0.2", TO_GATEWAY, 8765, 100);

	lab_up(&(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	assert_int_equal(base_prefix_parse(&prefix, "10.9.0.2/32", true), 0);
	assert_int_equal(dp_peer_set(lab.dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .endpoint_is_fixed = true,
					 .allowed_ips = &prefix,
					 .n_allowed_ips = 1},
				 &error),
		0);
	lab_peer_send(peer, packet, len);
	lab_run(&lab, 0);
	expect_at_host(packet, len);
	assert_int_equal(base_endpoint_parse(&elsewhere, "198.51.100.9:7777"), 0);
	lab_inject(&lab, &elsewhere, message, lab_seal(peer, message, FAR_COUNTER, packet, len));
	lab_run(&lab, 0);
	expect_at_host(packet, len);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &peer->endpoint));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_responder, teardown),
		cmocka_unit_test_teardown(test_initiator, teardown),
		cmocka_unit_test_teardown(test_outer_v6, teardown),
		cmocka_unit_test_teardown(test_sodium, teardown),
		cmocka_unit_test_teardown(test_replay, teardown),
		cmocka_unit_test_teardown(test_forged, teardown),
		cmocka_unit_test_teardown(test_unknown_index, teardown),
		cmocka_unit_test_teardown(test_messages_malformed, teardown),
		cmocka_unit_test_teardown(test_inner, teardown),
		cmocka_unit_test_teardown(test_filter, teardown),
		cmocka_unit_test_teardown(test_stale, teardown),
		cmocka_unit_test_teardown(test_frames4, teardown),
		cmocka_unit_test_teardown(test_frames6, teardown),
		cmocka_unit_test_teardown(test_counters_add_up, teardown),
		cmocka_unit_test_teardown(test_roaming, teardown),
		cmocka_unit_test_teardown(test_fixed_endpoint, teardown),
		cmocka_unit_test_teardown(test_fixed_by_first_word, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
