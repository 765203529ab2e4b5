/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Abuse, on ring ports and in steps: garbage of every kind beside an established tunnel that carries a counted
 * stream. Each kind is dropped under its reason, the tunnel loses nothing and stays where it is, and a new peer
 * gets its session in the middle of a flood, by cookie. How fast is bench_storm.c's question.
 */
#include "pipeline_lab.h"

#include "cr_noise.h"
#include "wg_cookie.h"
#include "wg_noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define GARBAGE 3000u
#define GARBAGE_PER_PACKET 30u
#define INNER_BYTES 200u

static struct lab lab;

static struct base_endpoint source(uint32_t n)
{
	struct base_endpoint from = {.addr.family = BASE_FAMILY_V4, .port = 4000};

	base_store_be32(from.addr.bytes, 0xcb007100 + n); /* 203.0.113.0 and on */
	return from;
}

/* One packet each way, counted; both must come through. */
static void tunnel_turn(struct lab_peer *peer)
{
	char inner[16];
	uint8_t packet[INNER_BYTES];
	struct lab_pkt got;

	snprintf(inner, sizeof(inner), "10.9.0.%u", 2 + (unsigned)(peer - lab.peers));
	lab_peer_send(peer, packet, lab_inner(packet, inner, "10.9.0.1", 8765, INNER_BYTES));
	lab_run(&lab, 0);
	assert_true(lab_host_take(&lab, &got));
	assert_int_equal(got.len, INNER_BYTES);
	lab_host_put(&lab, packet, lab_inner(packet, "10.9.0.1", inner, 7, INNER_BYTES));
	lab_run(&lab, 0);
	assert_true(lab_got_take(peer, &got));
	assert_int_equal(got.len, INNER_BYTES);
}

static struct lab_peer *established(void)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	tunnel_turn(peer);
	lab.n_moved = 0; /* it was nowhere before */
	return peer;
}

/* The worker runs for each message, the handshake thread not before the next packet of the tunnel. */
static void flood(struct lab_peer *peer, const void *message, uint32_t len, uint32_t n_sources)
{
	for (unsigned i = 0; i < GARBAGE; i++) {
		struct base_endpoint from = source(i % n_sources);

		lab_inject(&lab, &from, message, len);
		dp_worker_round(&lab.dp->workers[0], lab.now_ns);
		if (peer && i % GARBAGE_PER_PACKET == 0)
			tunnel_turn(peer);
	}
	while (peer && !rte_ring_empty(dp_handshake_stranger_ring(lab.dp->handshake)))
		lab_run(&lab, 0);
}

/* An initiation of somebody who knows our public key and whom we do not know. */
static struct wg_initiation strangers_initiation(void)
{
	uint8_t timestamp[WG_TIMESTAMP_BYTES] = {0x40};
	struct wg_cookie_sender macs = {.cookie_ns = 0};
	struct wg_noise_handshake handshake = {.local_index = 7};
	struct wg_noise_identity identity;
	struct wg_noise_remote gateway;
	struct wg_initiation message;
	struct cr_key private_key;

	cr_x25519_generate(&private_key);
	wg_noise_identity_init(&identity, &private_key);
	assert_true(wg_noise_remote_init(&gateway, dp_handshake_public_key(lab.dp->handshake)));
	wg_noise_remote_complete(&gateway, &identity);
	assert_true(
		wg_noise_initiation_create(&handshake, &identity, &gateway, timestamp, &message));
	wg_cookie_macs_add(&macs, &gateway.public_key, &message, sizeof(message), lab.now_ns);
	return message;
}

static void assert_unmoved(const struct lab_peer *peer)
{
	struct dp_peer_status status;

	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &peer->endpoint));
	assert_int_equal(lab.n_moved, 0);
}

static void test_no_message(void **state)
{
	struct lab_peer *peer = established();
	uint8_t garbage[100];

	memset(garbage, 0x77, sizeof(garbage));
	flood(peer, garbage, sizeof(garbage), 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_TYPE), GARBAGE);
}

/* One source is cut off at the door, and gets another share as time passes. */
static void test_wrong_mac(void **state)
{
	struct lab_peer *peer = established();
	struct wg_initiation message = {.type_le32 = WG_MESSAGE_INITIATION};

	flood(peer, &message, sizeof(message), 1);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_MAC1), DP_ADMIT_BURST_MSGS);
	assert_int_equal(lab_drops(&lab, DP_DROP_HANDSHAKE_SOURCE), GARBAGE - DP_ADMIT_BURST_MSGS);
	lab_run(&lab, BASE_NS_PER_S);
	flood(peer, &message, sizeof(message), 1);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_MAC1), 2 * DP_ADMIT_BURST_MSGS);
	assert_unmoved(peer);
}

/* Right mac1, unknown static key: looked into while there is little to do, asked for a cookie under load. */
static void test_stranger(void **state)
{
	struct lab_peer *peer = established();
	struct wg_initiation message = strangers_initiation();
	struct base_endpoint from = source(1);

	lab_inject(&lab, &from, &message, sizeof(message));
	lab_run(&lab, 0);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_UNKNOWN_PEER), 1);
	flood(NULL, &message, sizeof(message), 500);
	tunnel_turn(peer);
	while (!rte_ring_empty(dp_handshake_stranger_ring(lab.dp->handshake)))
		tunnel_turn(peer);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_COOKIE_SENT), GARBAGE);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_UNKNOWN_PEER), 1);
	assert_unmoved(peer);
}

/* The peer's own initiation again, from elsewhere: no answer, no move, no new session. */
static void test_replayed_initiation(void **state)
{
	struct lab_peer *peer;
	struct lab_pkt initiation;
	unsigned n_handshakes;
	uint64_t n_sent;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	peer->is_mute = true;
	wg_peer_want_handshake(peer->gateway, lab.now_ns);
	assert_true(lab_kept_take(peer, &initiation));
	peer->is_mute = false;
	lab_inject(&lab, &peer->endpoint, initiation.data, initiation.len);
	tunnel_turn(peer);
	lab.n_moved = 0;
	n_handshakes = lab.n_handshakes;
	n_sent = lab.frames_out;
	for (unsigned i = 0; i < 100; i++) {
		struct base_endpoint from = source(i);

		lab_inject(&lab, &from, initiation.data, initiation.len);
		lab_run(&lab, WG_INITIATION_GAP_NS);
	}
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_REPLAY), 100);
	assert_int_equal(lab.frames_out, n_sent);
	assert_int_equal(lab.n_handshakes, n_handshakes);
	assert_unmoved(peer);
	tunnel_turn(peer);
}

static void test_data(void **state)
{
	struct lab_peer *peer = established();
	uint8_t inner[INNER_BYTES], message[INNER_BYTES + WG_DATA_OVERHEAD_BYTES];
	uint32_t len;

	lab_inner(inner, "10.9.0.2", "10.9.0.1", 8765, INNER_BYTES);
	/* Far ahead: it must not take the window along. */
	len = lab_seal(peer, message, 1000000, inner, INNER_BYTES);
	message[len - 1] ^= 1;
	flood(peer, message, len, 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_FORGED), GARBAGE);
	base_store_le32(message + 4, base_load_le32(message + 4) ^ 1u << WG_INDEX_OWNER_BITS);
	flood(peer, message, len, 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_INDEX), GARBAGE);
	assert_unmoved(peer);
}

/* While invented sources fill the strangers' queue, a new peer's first message gets it a cookie, and the
 * second passes all of them. */
static void test_new_peer_in_a_flood(void **state)
{
	struct lab_peer *old = established(), *new = lab_peer_add(&lab, false, false);
	struct wg_initiation message = strangers_initiation();
	struct rte_ring *strangers = dp_handshake_stranger_ring(lab.dp->handshake);
	uint8_t packet[INNER_BYTES];
	struct lab_pkt cookie_bearing;
	struct dp_peer_status status;
	unsigned n_handshakes = lab.n_handshakes;

	flood(NULL, &message, sizeof(message), 1000000);
	lab_inner(packet, "10.9.0.3", "10.9.0.1", 8765, INNER_BYTES);
	lab_peer_send(new, packet, INNER_BYTES);
	/* Its second message is kept back until the queue is long again. */
	new->is_mute = true;
	while (!lab_kept_take(new, &cookie_bearing))
		lab_run(&lab, 0);
	assert_int_equal(dp_peer_status(lab.dp, &new->public_key, &status), 0);
	assert_int_equal(status.handshakes, 0);
	flood(NULL, &message, sizeof(message), 1000000);
	new->is_mute = false;
	lab_inject(&lab, &new->endpoint, cookie_bearing.data, cookie_bearing.len);
	dp_worker_round(&lab.dp->workers[0], lab.now_ns);
	dp_handshake_round(lab.dp->handshake, lab.now_ns);
	dp_worker_round(&lab.dp->workers[0], lab.now_ns);
	assert_non_null(lab_dp_peer(new)->keypairs.next);
	assert_true(rte_ring_count(strangers) > GARBAGE / 2);
	lab_run(&lab, 0);
	assert_int_equal(dp_peer_status(lab.dp, &new->public_key, &status), 0);
	assert_int_equal(status.handshakes, 1);
	/* Told at once, though control has heard of thousands of neighbours to resolve. */
	assert_int_equal(lab.n_handshakes, n_handshakes + 1);
	assert_int_equal(lab.n_moved, 1);
	assert_true(lab_host_take(&lab, &cookie_bearing)); /* what waited for the session */
	tunnel_turn(old);
	tunnel_turn(new);
}

static int down(void **state)
{
	lab_fini(&lab);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_no_message, down),
		cmocka_unit_test_teardown(test_wrong_mac, down),
		cmocka_unit_test_teardown(test_stranger, down),
		cmocka_unit_test_teardown(test_replayed_initiation, down),
		cmocka_unit_test_teardown(test_data, down),
		cmocka_unit_test_teardown(test_new_peer_in_a_flood, down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
