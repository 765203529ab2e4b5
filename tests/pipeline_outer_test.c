/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The outer header on the whole walk of a packet (pipeline_lab.h): congestion marks in both directions, the class of
 * each kind of message. The tables themselves are checked in dp_outer_test.c.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"
#include "dp_ecn.h"
#include "in_offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define GATEWAY4 "10.9.0.1"
#define PEER4 "10.9.0.2"
#define GATEWAY6 "fd00::1"
#define PEER6 "fd00::2"
/* Far above what the peer itself has used. */
#define FAR_COUNTER 1000

static struct lab lab;

static int teardown(void **state)
{
	lab_ask(1);
	lab_fini(&lab);
	return 0;
}

/* A session without anything under way. */
static struct lab_peer *session(bool is_v6)
{
	struct lab_peer *peer;
	uint8_t packet[100];
	static struct lab_pkt pkt;

	lab_init(&lab, &(struct lab_options){.is_v6 = is_v6});
	peer = lab_peer_add(&lab, false, false);
	lab_peer_send(peer, packet, lab_inner(packet, PEER4, GATEWAY4, 8765, 100));
	lab_run(&lab, 0);
	assert_true(lab_host_take(&lab, &pkt));
	return peer;
}

static uint32_t marked(uint8_t *packet, const char *src, const char *dst, uint8_t ecn)
{
	uint32_t len = lab_inner(packet, src, dst, 8765, 200);

	dp_ecn_set(packet, ecn);
	return len;
}

static void marks_go_out(bool is_v6)
{
	struct lab_peer *peer = session(is_v6);
	static struct lab_pkt pkt;
	uint8_t packet[200];

	for (uint8_t ecn = 0; ecn < 4; ecn++) {
		lab_host_put(&lab, packet, marked(packet, GATEWAY4, PEER4, ecn));
		lab_run(&lab, 0);
		assert_true(lab_got_take(peer, &pkt));
		assert_memory_equal(pkt.data, packet, sizeof(packet));
		assert_int_equal(lab.ds_out, ecn);
		lab_host_put(&lab, packet, marked(packet, GATEWAY6, PEER6, ecn));
		lab_run(&lab, 0);
		assert_true(lab_got_take(peer, &pkt));
		assert_int_equal(lab.ds_out, ecn);
	}
	/* The service class stays inside. */
	(void)marked(packet, GATEWAY6, PEER6, DP_ECN_ECT0);
	packet[0] |= 0x0b;
	packet[1] |= 0x80;
	lab_host_put(&lab, packet, sizeof(packet));
	lab_run(&lab, 0);
	assert_true(lab_got_take(peer, &pkt));
	assert_memory_equal(pkt.data, packet, sizeof(packet));
	assert_int_equal(lab.ds_out, DP_ECN_ECT0);
}

static void inner_marks_show_outside_on_ipv4(void **state)
{
	marks_go_out(false);
}

static void inner_marks_show_outside_on_ipv6(void **state)
{
	marks_go_out(true);
}

/* One packet under an outer mark; what the host is given, or false. */
static bool opened(struct lab_peer *peer, uint64_t counter, const uint8_t *inner, uint32_t len,
	uint8_t outer, struct lab_pkt *ret_pkt)
{
	uint8_t message[400], frame[500];
	uint32_t frame_len = lab_frame(
		frame, &peer->endpoint, message, lab_seal(peer, message, counter, inner, len));

	dp_ecn_set(frame + DP_ETH_BYTES, outer);
	lab_inject_frame(&lab, frame, frame_len);
	lab_run(&lab, 0);
	return lab_host_take(&lab, ret_pkt);
}

/* All sixteen pairs, for an inner packet of each family. */
static void marks_come_in(bool is_v6)
{
	struct lab_peer *peer = session(is_v6);
	uint64_t counter = FAR_COUNTER;
	static struct lab_pkt pkt;
	uint8_t packet[200], expected[200];

	for (unsigned i = 0; i < 32; i++) {
		uint8_t inner = i & 3, outer = i >> 2 & 3;
		const char *src = i & 16 ? PEER6 : PEER4, *dst = i & 16 ? GATEWAY6 : GATEWAY4;
		uint32_t len = marked(packet, src, dst, inner);
		uint64_t drops = lab_drops(&lab, DP_DROP_ECN);

		memcpy(expected, packet, len);
		if (inner == DP_ECN_NOT_ECT && outer == DP_ECN_CE) {
			assert_false(opened(peer, counter++, packet, len, outer, &pkt));
			assert_int_equal(lab_drops(&lab, DP_DROP_ECN), drops + 1);
			continue;
		}
		assert_true(dp_ecn_decap(expected, outer));
		assert_true(opened(peer, counter++, packet, len, outer, &pkt));
		assert_int_equal(pkt.len, len);
		assert_memory_equal(pkt.data, expected, len);
		if (!(i & 16))
			assert_int_equal(in_csum_finish(in_csum_add(0, pkt.data, 20)), 0);
		assert_int_equal(lab_drops(&lab, DP_DROP_ECN), drops);
	}
}

static void outer_marks_come_in_on_ipv4(void **state)
{
	marks_come_in(false);
}

static void outer_marks_come_in_on_ipv6(void **state)
{
	marks_come_in(true);
}

/* A keepalive has no header that could take a mark, and is none to lose. */
static void marked_keepalive_is_a_keepalive(void **state)
{
	struct lab_peer *peer = session(false);
	uint64_t opened_pkts = lab_worker_stats(&lab).opened_pkts;
	static struct lab_pkt pkt;

	assert_false(opened(peer, FAR_COUNTER, NULL, 0, DP_ECN_CE, &pkt));
	assert_int_equal(lab_worker_stats(&lab).opened_pkts, opened_pkts + 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_ECN), 0);
}

static void handshakes_have_their_class(bool is_v6)
{
	struct lab_peer *peer;
	uint8_t packet[100];

	lab_init(&lab, &(struct lab_options){.is_v6 = is_v6});
	peer = lab_peer_add(&lab, true, false);
	/* An initiation that is lost, */
	lab.is_deaf = true;
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY4, PEER4, 9, 100));
	lab_run(&lab, 0);
	assert_int_equal(lab.frames_out, 1);
	assert_int_equal(lab.ds_out, DP_DS_HANDSHAKE);
	/* and a response. */
	lab.ds_out = 0;
	lab_peer_send(peer, packet, lab_inner(packet, PEER4, GATEWAY4, 8765, 100));
	lab_run(&lab, 0);
	assert_true(lab.frames_out >= 2);
	assert_int_equal(lab.ds_out, DP_DS_HANDSHAKE);
	/* What the session then carries has none. */
	lab.is_deaf = false;
	lab_run(&lab, 10 * BASE_NS_PER_S);
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY4, PEER4, 9, 100));
	lab_run(&lab, 0);
	assert_int_equal(lab.ds_out, 0);
}

static void handshakes_have_their_class_on_ipv4(void **state)
{
	handshakes_have_their_class(false);
}

static void handshakes_have_their_class_on_ipv6(void **state)
{
	handshakes_have_their_class(true);
}

/* Every kind of message that answers: the lab looks at the address that it came from. */
static void answers_leave_from_the_address_asked(bool is_v6)
{
	struct lab_peer *peer;
	static struct lab_pkt initiation, pkt;
	uint8_t packet[100];
	uint32_t len = lab_inner(packet, PEER4, GATEWAY4, 8765, 100);

	lab_ask(7);
	lab_init(&lab, &(struct lab_options){.is_v6 = is_v6});
	peer = lab_peer_add(&lab, false, false);
	/* A response, and data. */
	lab_peer_send(peer, packet, len);
	lab_run(&lab, 0);
	assert_int_equal(lab.out[WG_MESSAGE_RESPONSE].n, 1);
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY4, PEER4, 9, 100));
	lab_run(&lab, 0);
	assert_true(lab_got_take(peer, &pkt));
	/* Another address asked, the same session: data follows at once. */
	lab_ask(9);
	lab_peer_send(peer, packet, lab_inner(packet, PEER4, GATEWAY4, 8765, 100));
	lab_run(&lab, 0);
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY4, PEER4, 9, 100));
	lab_run(&lab, 0);
	assert_true(lab_got_take(peer, &pkt));
	/* Our own initiation goes out from there, too. */
	peer->is_mute = true;
	lab_run(&lab, 130 * BASE_NS_PER_S);
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY4, PEER4, 9, 100));
	lab_run(&lab, 10 * BASE_NS_PER_S);
	assert_true(lab.out[WG_MESSAGE_INITIATION].n > 0);
	/* Cookie replies, of a queue that is full of initiations. */
	while (lab_kept_take(peer, &pkt))
		if (pkt.data[0] == WG_MESSAGE_INITIATION)
			initiation = pkt;
	if (initiation.len == 0) {
		lab_peer_send(peer, packet, lab_inner(packet, PEER4, GATEWAY4, 8765, 100));
		assert_true(lab_kept_take(peer, &initiation));
	}
	assert_int_equal(initiation.data[0], WG_MESSAGE_INITIATION);
	lab_ask(11);
	for (unsigned i = 0; i < 1000; i++)
		lab_inject(&lab, &peer->endpoint, initiation.data, initiation.len);
	lab_run(&lab, 0);
	assert_true(lab.out[WG_MESSAGE_COOKIE].n > 0);
	assert_int_equal(lab.out[WG_MESSAGE_COOKIE].ds, 0);
}

static void answers_leave_from_the_ipv4_address_asked(void **state)
{
	answers_leave_from_the_address_asked(false);
}

static void answers_leave_from_the_ipv6_address_asked(void **state)
{
	answers_leave_from_the_address_asked(true);
}

/* Senders that nobody is, or many: nothing is begun with them, and nobody moves there. */
static void senders_that_cannot_be_answered(void **state)
{
	static const char *const from[] = {"0.0.0.0:7", "224.0.0.1:7", "255.255.255.255:7",
		"0.1.2.3:7", "[::]:7", "[ff02::1]:7"};
	struct lab_peer *peer = session(false);
	struct base_endpoint first = peer->endpoint, mapped = {.port = 7};
	uint64_t counter = FAR_COUNTER, drops = 0;
	uint8_t packet[100], message[200] = {WG_MESSAGE_INITIATION};
	uint32_t len = lab_inner(packet, PEER4, GATEWAY4, 8765, 100);
	static struct lab_pkt pkt;
	struct dp_peer_status status;

	mapped.addr.family = BASE_FAMILY_V6;
	memset(mapped.addr.bytes + 10, 0xff, 2);
	mapped.addr.bytes[12] = 192;
	for (unsigned i = 0; i <= BASE_ARRAY_LEN(from); i++) {
		struct base_endpoint bad = mapped;

		if (i < BASE_ARRAY_LEN(from))
			assert_int_equal(base_endpoint_parse(&bad, from[i]), 0);
		memset(message, 0, sizeof(message));
		message[0] = WG_MESSAGE_INITIATION;
		lab_inject(&lab, &bad, message, sizeof(struct wg_initiation));
		lab_run(&lab, 0);
		assert_int_equal(lab_drops(&lab, DP_DROP_SOURCE_ADDRESS), ++drops);
		/* The tag is right, so the packet is: it may well have been changed on its way. */
		lab_inject(&lab, &bad, message, lab_seal(peer, message, counter++, packet, len));
		lab_run(&lab, 0);
		assert_true(lab_host_take(&lab, &pkt));
		assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
		assert_true(base_endpoint_equal(&status.endpoint, &first));
	}
}

static void endpoints_that_cannot_be(void **state)
{
	static const char *const bad[] = {"0.0.0.0:7", "239.1.2.3:7", "[::]:7", "[ff05::1]:7"};
	struct lab_peer *peer = session(false);
	struct dp_peer_config config = {.public_key = peer->public_key};
	struct base_error error;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(bad); i++) {
		assert_int_equal(base_endpoint_parse(&config.endpoint, bad[i]), 0);
		assert_int_equal(dp_peer_set(lab.dp, &config, &error), -EINVAL);
		assert_non_null(strstr(error.text, bad[i]));
	}
	/* With one port there is one link. */
	assert_int_equal(base_endpoint_parse(&config.endpoint, "[fe80::1]:7"), 0);
	assert_null(dp_endpoint_fault(&config.endpoint, 1));
	assert_non_null(dp_endpoint_fault(&config.endpoint, 2));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(inner_marks_show_outside_on_ipv4, teardown),
		cmocka_unit_test_teardown(inner_marks_show_outside_on_ipv6, teardown),
		cmocka_unit_test_teardown(outer_marks_come_in_on_ipv4, teardown),
		cmocka_unit_test_teardown(outer_marks_come_in_on_ipv6, teardown),
		cmocka_unit_test_teardown(marked_keepalive_is_a_keepalive, teardown),
		cmocka_unit_test_teardown(handshakes_have_their_class_on_ipv4, teardown),
		cmocka_unit_test_teardown(handshakes_have_their_class_on_ipv6, teardown),
		cmocka_unit_test_teardown(answers_leave_from_the_ipv4_address_asked, teardown),
		cmocka_unit_test_teardown(answers_leave_from_the_ipv6_address_asked, teardown),
		cmocka_unit_test_teardown(senders_that_cannot_be_answered, teardown),
		cmocka_unit_test_teardown(endpoints_that_cannot_be, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
