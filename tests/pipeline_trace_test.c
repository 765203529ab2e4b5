/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What operators see of packets (dp_tap.h): each end of a walk makes one record that says where, why and whose,
 * captures hold the bytes, what the reader is too slow for is counted, and a tap of one peer shows no other's.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define TO_GATEWAY "10.9.0.1"

static struct lab lab;
static struct dp_tap *tap;
static struct dp_tap_record record;
static uint8_t data[DP_TAP_SNAPLEN_MAX];

static int teardown(void **state)
{
	dp_tap_stop(tap);
	tap = NULL;
	lab_fini(&lab);
	return 0;
}

static void look(enum dp_tap_kind kind, const struct lab_peer *peer)
{
	struct dp_tap_config config = {.kind = kind, .has_peer = peer};
	struct base_error error;

	if (peer)
		config.peer = peer->public_key;
	tap = dp_tap_start(lab.dp, &config, &error);
	if (!tap)
		fail_msg("%s", error.text);
}

/* The next record, which must be this one. */
static void expect(unsigned verdict, enum dp_place place)
{
	if (!dp_tap_read(tap, &record, data))
		fail_msg("no record, wanted %s", dp_verdict_name(verdict));
	assert_string_equal(dp_verdict_name(record.verdict), dp_verdict_name(verdict));
	assert_string_equal(dp_place_name(record.place), dp_place_name(place));
	assert_int_equal(record.is_out, place >= DP_PLACE_HOST);
	assert_int_equal(lab.dp->taps.set != NULL, true);
}

static void expect_no_more(void)
{
	if (dp_tap_read(tap, &record, data))
		fail_msg("one too many: %s at %s", dp_verdict_name(record.verdict),
			dp_place_name(record.place));
	assert_int_equal(dp_tap_lost(tap), 0);
}

static void expect_peer(const struct lab_peer *peer)
{
	assert_true(record.has_peer);
	assert_true(cr_key_equal(&record.peer, &peer->public_key));
}

static void expect_inner(const char *src, const char *dst, uint16_t dst_port, uint32_t len)
{
	char text[BASE_ADDR_TEXT_LEN];

	assert_string_equal(base_addr_print(text, &record.inner_src), src);
	assert_string_equal(base_addr_print(text, &record.inner_dst), dst);
	assert_int_equal(record.inner_proto, IN_PROTO_UDP);
	assert_int_equal(record.inner_src_port, 40000);
	assert_int_equal(record.inner_dst_port, dst_port);
	assert_int_equal(record.inner_len, len);
}

static void send_in(struct lab_peer *peer, const char *src, uint16_t port)
{
	uint8_t packet[100];

	lab_peer_send(peer, packet, lab_inner(packet, src, TO_GATEWAY, port, 100));
	lab_run(&lab, 0);
}

static void send_out(const char *dst)
{
	uint8_t packet[120];

	lab_host_put(&lab, packet, lab_inner(packet, TO_GATEWAY, dst, 9, 120));
	lab_run(&lab, 0);
}

static struct lab_peer *session(void)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	send_in(peer, "10.9.0.2", 8765);
	return peer;
}

/* ---- traces ---- */

static void test_whole_session(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	look(DP_TAP_TRACE, NULL);
	send_in(peer, "10.9.0.2", 8765);
	expect(DP_VERDICT_ACCEPTED, DP_PLACE_HANDSHAKE);
	assert_int_equal(record.message_type, WG_MESSAGE_INITIATION);
	assert_true(base_endpoint_equal(&record.outer_src, &peer->endpoint));
	assert_int_equal(record.worker, DP_TAP_NO_WORKER);
	expect(DP_VERDICT_SENT, DP_PLACE_TX);
	assert_int_equal(record.message_type, WG_MESSAGE_RESPONSE);
	assert_true(base_endpoint_equal(&record.outer_dst, &peer->endpoint));
	expect(DP_VERDICT_DELIVERED, DP_PLACE_DELIVER);
	expect_peer(peer);
	expect_inner("10.9.0.2", TO_GATEWAY, 8765, 100);
	assert_int_equal(record.message_type, WG_MESSAGE_DATA);
	assert_int_equal(record.message_counter, 0);
	assert_true(base_endpoint_equal(&record.outer_src, &peer->endpoint));
	assert_int_equal(record.outer_dst.port, LAB_PORT);
	assert_int_equal(record.worker, 0);
	expect_no_more();
	send_out("10.9.0.2");
	expect(DP_VERDICT_SENT, DP_PLACE_TX);
	expect_peer(peer);
	expect_inner(TO_GATEWAY, "10.9.0.2", 9, 120);
	assert_int_equal(record.message_type, WG_MESSAGE_DATA);
	assert_true(base_endpoint_equal(&record.outer_dst, &peer->endpoint));
	assert_int_equal(record.len, 14 + 20 + 8 + 16 + 128 + 16);
	expect_no_more();
}

static void test_v6(void **state)
{
	struct lab_peer *peer;
	uint8_t packet[120];

	lab_init(&lab, &(struct lab_options){.is_v6 = true});
	peer = lab_peer_add(&lab, false, false);
	send_in(peer, "10.9.0.2", 8765);
	look(DP_TAP_TRACE, NULL);
	lab_peer_send(peer, packet, lab_inner(packet, "fd00::2", "fd00::1", 8765, 120));
	lab_run(&lab, 0);
	expect(DP_VERDICT_DELIVERED, DP_PLACE_DELIVER);
	expect_inner("fd00::2", "fd00::1", 8765, 120);
	assert_true(base_endpoint_equal(&record.outer_src, &peer->endpoint));
	expect_peer(peer);
}

static void test_waits_for_handshake(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	look(DP_TAP_TRACE, NULL);
	send_out("10.9.0.2");
	expect(DP_VERDICT_STAGED, DP_PLACE_ENCAP);
	expect_peer(peer);
	expect_inner(TO_GATEWAY, "10.9.0.2", 9, 120);
	expect(DP_VERDICT_SENT, DP_PLACE_TX);
	assert_int_equal(record.message_type, WG_MESSAGE_INITIATION);
	expect(DP_VERDICT_ACCEPTED, DP_PLACE_HANDSHAKE);
	assert_int_equal(record.message_type, WG_MESSAGE_RESPONSE);
	expect(DP_VERDICT_SENT, DP_PLACE_TX);
	expect_peer(peer);
	expect_inner(TO_GATEWAY, "10.9.0.2", 9, 120);
	expect_no_more();
}

static void inject_sealed(struct lab_peer *peer, uint64_t counter, bool is_forged)
{
	uint8_t inner[96], message[LAB_PKT_MAX];
	uint32_t len = lab_seal(peer, message, counter, inner,
		lab_inner(inner, "10.9.0.2", TO_GATEWAY, 8765, sizeof(inner)));

	message[len - 1] ^= is_forged;
	lab_inject(&lab, &peer->endpoint, message, len);
	lab_run(&lab, 0);
}

static void test_drops_tell_why(void **state)
{
	struct lab_peer *peer = session();
	uint8_t garbage[60] = {7};

	look(DP_TAP_TRACE, NULL);
	inject_sealed(peer, 1000, true);
	expect(DP_DROP_FORGED, DP_PLACE_DECAP);
	expect_peer(peer);
	assert_int_equal(record.message_counter, 1000);
	/* What did not verify is not shown as if it were something. */
	assert_int_equal(record.inner_src.family, BASE_FAMILY_NONE);
	inject_sealed(peer, 0, false);
	expect(DP_DROP_REPLAY, DP_PLACE_DECAP);
	lab_inject(&lab, &peer->endpoint, garbage, sizeof(garbage));
	lab_run(&lab, 0);
	expect(DP_DROP_UNKNOWN_TYPE, DP_PLACE_RX);
	assert_false(record.has_peer);
	assert_true(base_endpoint_equal(&record.outer_src, &peer->endpoint));
	lab_inject_frame(&lab, garbage, 20);
	lab_run(&lab, 0);
	expect(DP_DROP_SHORT_FRAME, DP_PLACE_RX);
	assert_int_equal(record.outer_src.addr.family, BASE_FAMILY_NONE);
	assert_int_equal(record.len, 20);
	send_in(peer, "10.9.0.2", 22);
	expect(DP_DROP_FILTER_NO_RULE, DP_PLACE_INNER);
	expect_peer(peer);
	expect_inner("10.9.0.2", TO_GATEWAY, 22, 100);
	send_in(peer, "10.9.0.99", 8765);
	expect(DP_DROP_WRONG_SOURCE, DP_PLACE_INNER);
	expect_inner("10.9.0.99", TO_GATEWAY, 8765, 100);
	send_out("10.9.0.77");
	expect(DP_DROP_NO_PEER, DP_PLACE_ENCAP);
	expect_inner(TO_GATEWAY, "10.9.0.77", 9, 120);
	assert_false(record.has_peer);
	expect_no_more();
}

static void test_undelivered_is_not_delivered(void **state)
{
	struct lab_peer *peer = session();

	look(DP_TAP_TRACE, NULL);
	while (rte_ring_enqueue(lab.host_ring, rte_pktmbuf_alloc(lab.dp->pool)) == 0)
		;
	send_in(peer, "10.9.0.2", 8765);
	expect(DP_DROP_HOST_FULL, DP_PLACE_DELIVER);
	expect_inner("10.9.0.2", TO_GATEWAY, 8765, 100);
	expect_no_more();
}

static void test_handed_over(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	lab_peer_add(&lab, false, false);
	peer = lab_peer_add(&lab, false, false);
	assert_int_equal(lab_dp_peer(peer)->owner, 1);
	send_in(peer, "10.9.0.3", 8765);
	look(DP_TAP_TRACE, NULL);
	send_in(peer, "10.9.0.3", 8765);
	expect(DP_VERDICT_HANDED_OVER, DP_PLACE_STEER);
	assert_int_equal(record.worker, 0);
	expect(DP_VERDICT_DELIVERED, DP_PLACE_DELIVER);
	assert_int_equal(record.worker, 1);
	expect_peer(peer);
	expect_no_more();
}

/* ---- captures ---- */

static void expect_bytes(const char *src, const char *dst, uint16_t port, uint32_t len)
{
	uint8_t packet[200];

	lab_inner(packet, src, dst, port, len);
	assert_int_equal(record.data_len, len);
	assert_memory_equal(data, packet, len);
}

static void test_capture_inner(void **state)
{
	struct lab_peer *peer = session();

	look(DP_TAP_INNER, NULL);
	send_in(peer, "10.9.0.2", 8765);
	expect(DP_VERDICT_DELIVERED, DP_PLACE_DELIVER);
	expect_bytes("10.9.0.2", TO_GATEWAY, 8765, 100);
	send_out("10.9.0.2");
	expect(DP_VERDICT_PASSED, DP_PLACE_ENCAP);
	expect_bytes(TO_GATEWAY, "10.9.0.2", 9, 120);
	expect_peer(peer);
	send_in(peer, "10.9.0.2", 22);
	expect(DP_DROP_FILTER_NO_RULE, DP_PLACE_INNER);
	expect_bytes("10.9.0.2", TO_GATEWAY, 22, 100);
	inject_sealed(peer, 1000, true);
	expect_no_more();
}

static void test_capture_outer(void **state)
{
	struct lab_peer *peer = session();

	look(DP_TAP_OUTER, NULL);
	send_in(peer, "10.9.0.2", 8765);
	expect(DP_VERDICT_PASSED, DP_PLACE_RX);
	assert_int_equal(record.data_len, 14 + 20 + 8 + 32 + 112);
	assert_int_equal(base_load_be16(data + 12), 0x0800);
	send_out("10.9.0.2");
	expect(DP_VERDICT_SENT, DP_PLACE_TX);
	assert_int_equal(record.data_len, 14 + 20 + 8 + 32 + 128);
	assert_int_equal(base_load_be16(data + 34), LAB_PORT);
	expect_no_more();
}

static void test_snaplen(void **state)
{
	struct lab_peer *peer = session();
	struct base_error error;

	tap = dp_tap_start(
		lab.dp, &(struct dp_tap_config){.kind = DP_TAP_INNER, .snaplen = 28}, &error);
	assert_non_null(tap);
	send_in(peer, "10.9.0.2", 8765);
	expect(DP_VERDICT_DELIVERED, DP_PLACE_DELIVER);
	assert_int_equal(record.data_len, 28);
	assert_int_equal(record.inner_len, 100);
}

/* ---- one peer, bounds ---- */

static void test_one_peer_alone(void **state)
{
	struct lab_peer *peers[2];

	lab_init(&lab, &(struct lab_options){0});
	peers[0] = lab_peer_add(&lab, false, false);
	peers[1] = lab_peer_add(&lab, false, false);
	send_in(peers[1], "10.9.0.3", 8765);
	look(DP_TAP_OUTER, peers[1]);
	send_in(peers[0], "10.9.0.2", 8765);
	send_out("10.9.0.2");
	expect_no_more();
	send_in(peers[1], "10.9.0.3", 8765);
	expect(DP_VERDICT_PASSED, DP_PLACE_RX);
	send_out("10.9.0.3");
	expect(DP_VERDICT_SENT, DP_PLACE_TX);
	expect_peer(peers[1]);
	expect_no_more();
	assert_false(dp_tap_is_over(tap));
	assert_int_equal(dp_peer_remove(lab.dp, &peers[1]->public_key), 0);
	assert_true(dp_tap_is_over(tap));
}

static void test_slow_reader_loses_by_number(void **state)
{
	uint64_t n_read = 0, n_sent = 0, lost;
	uint8_t packet[120];

	session();
	look(DP_TAP_TRACE, NULL);
	for (unsigned i = 0; i < 20000; i++, n_sent++) {
		lab_host_put(&lab, packet, lab_inner(packet, TO_GATEWAY, "10.9.0.77", 9, 120));
		dp_test_round(lab.dp, lab.now_ns);
	}
	lost = dp_tap_lost(tap);
	while (dp_tap_read(tap, &record, NULL))
		n_read++;
	assert_true(lost > 0 && n_read >= 64);
	assert_int_equal(lost + n_read, n_sent);
}

static void test_bounds(void **state)
{
	struct dp_tap_config config = {.kind = DP_TAP_TRACE};
	struct dp_tap *taps[DP_TAPS_MAX];
	struct base_error error;

	session();
	for (unsigned i = 0; i < DP_TAPS_MAX; i++)
		assert_non_null(taps[i] = dp_tap_start(lab.dp, &config, &error));
	assert_null(dp_tap_start(lab.dp, &config, &error));
	assert_int_equal(errno, EBUSY);
	send_out("10.9.0.77");
	for (unsigned i = 0; i < DP_TAPS_MAX; i++) {
		assert_true(dp_tap_read(taps[i], &record, data));
		dp_tap_stop(taps[i]);
	}
	assert_null(lab.dp->taps.set);
	config.has_peer = true;
	assert_null(dp_tap_start(lab.dp, &config, &error));
	assert_int_equal(errno, ENOENT);
}

/* ---- statistics that belong to looking inside ---- */

static void test_bursts_and_queues(void **state)
{
	struct lab_peer *peer = session();
	struct dp_worker_stats before = lab_worker_stats(&lab), after;
	struct dp_stats *stats = calloc(1, sizeof(*stats));
	uint8_t packet[120];

	assert_non_null(stats);
	for (unsigned i = 0; i < 20; i++)
		lab_host_put(&lab, packet, lab_inner(packet, TO_GATEWAY, "10.9.0.2", 9, 120));
	dp_stats_get(lab.dp, stats);
	assert_int_equal(stats->workers[0].queues[DP_QUEUE_INNER].now, 20);
	assert_int_equal(stats->workers[0].queues[DP_QUEUE_INNER].size, 1023);
	lab_run(&lab, 0);
	dp_stats_get(lab.dp, stats);
	after = stats->workers[0];
	assert_int_equal(after.queues[DP_QUEUE_INNER].now, 0);
	assert_int_equal(after.queues[DP_QUEUE_INNER].high, 20);
	assert_int_equal(after.bursts[DP_BURST_SEAL].pkts, before.sealed_pkts + 20);
	assert_int_equal(after.bursts[DP_BURST_SEAL].bursts[4], 1);
	assert_int_equal(after.bursts[DP_BURST_TX].bursts[4], 1);
	assert_int_equal(stats->queues[DP_QUEUE_HANDSHAKES].high, 1);
	assert_true(stats->mbufs_free > 0 && stats->mbufs_free <= stats->mbufs);
	assert_non_null(peer);
	free(stats);
}

static void test_every_name_is_there(void **state)
{
	for (unsigned i = 0; i < dp_drop_count(); i++) {
		assert_non_null(dp_drop_name(i));
		assert_true(strlen(dp_drop_meaning(i)) > 10);
		assert_true(dp_drop_place(i) < DP_PLACE_COUNT);
	}
	assert_null(dp_drop_name(dp_drop_count()));
	assert_null(dp_drop_meaning(dp_drop_count()));
	for (unsigned i = DP_VERDICT_SENT; i < DP_VERDICT_COUNT; i++)
		assert_non_null(dp_verdict_name(i));
	assert_null(dp_verdict_name(DP_VERDICT_COUNT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_whole_session, teardown),
		cmocka_unit_test_teardown(test_v6, teardown),
		cmocka_unit_test_teardown(test_waits_for_handshake, teardown),
		cmocka_unit_test_teardown(test_drops_tell_why, teardown),
		cmocka_unit_test_teardown(test_undelivered_is_not_delivered, teardown),
		cmocka_unit_test_teardown(test_handed_over, teardown),
		cmocka_unit_test_teardown(test_capture_inner, teardown),
		cmocka_unit_test_teardown(test_capture_outer, teardown),
		cmocka_unit_test_teardown(test_snaplen, teardown),
		cmocka_unit_test_teardown(test_one_peer_alone, teardown),
		cmocka_unit_test_teardown(test_slow_reader_loses_by_number, teardown),
		cmocka_unit_test_teardown(test_bounds, teardown),
		cmocka_unit_test_teardown(test_bursts_and_queues, teardown),
		cmocka_unit_test(test_every_name_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
