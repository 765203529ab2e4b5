/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets and peers that misbehave, on the whole walk (pipeline_lab.h): inner fragments, options, empty and huge
 * packets, lengths that lie, in both directions; allowed IPs that overlap or are nobody's while packets
 * flow; a peer that disappears, or is removed, in the middle of its handshake. Each has its name among the drops, and
 * the session carries packets afterwards.
 */
#include "pipeline_lab.h"

#include "base_bytes.h"
#include "in_offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define HOST4 "10.9.0.1"
#define HOST6 "fd00::1"
#define PEER4 "10.9.0.2"
#define PEER6 "fd00::2"
#define PORT_ALLOWED 8765
#define ROOM_BYTES 1800

static struct lab lab;
static uint64_t counter;

static int teardown(void **state)
{
	lab_fini(&lab);
	return 0;
}

/* A peer with a session. */
static struct lab_peer *lab_up(void)
{
	struct lab_peer *peer;
	uint8_t packet[64];
	static struct lab_pkt pkt;

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	counter = 1000;
	peer = lab_peer_add(&lab, true, false);
	lab_peer_send(peer, packet, lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 64));
	lab_run(&lab, 0);
	assert_true(lab_host_take(&lab, &pkt));
	return peer;
}

/* Sealed by the peer, as no kernel of its would have made it. */
static void peer_seals(struct lab_peer *peer, const uint8_t *packet, uint32_t len)
{
	static uint8_t message[LAB_PKT_MAX];

	lab_inject(&lab, &peer->endpoint, message, lab_seal(peer, message, counter++, packet, len));
	dp_test_round(lab.dp, lab.now_ns);
}

static void expect_at_host(const uint8_t *packet, uint32_t len)
{
	static struct lab_pkt pkt;

	assert_true(lab_host_take(&lab, &pkt));
	assert_int_equal(pkt.len, len);
	assert_memory_equal(pkt.data, packet, len);
}

static void expect_refused(
	struct lab_peer *peer, const uint8_t *packet, uint32_t len, enum dp_drop reason)
{
	uint64_t before = lab_drops(&lab, reason);

	peer_seals(peer, packet, len);
	assert_int_equal(lab_drops(&lab, reason), before + 1);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
}

/* After whatever happened: honest packets both ways. */
static void expect_alive(struct lab_peer *peer)
{
	static struct lab_pkt pkt;
	uint8_t packet[200];
	uint32_t len = lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 200);

	peer_seals(peer, packet, len);
	expect_at_host(packet, len);
	lab_inner(packet, HOST4, PEER4, 9, 200);
	lab_host_put(&lab, packet, len);
	lab_run(&lab, 0);
	assert_true(lab_got_take(peer, &pkt));
	assert_memory_equal(pkt.data, packet, len);
}

static void set_check4(uint8_t *ip)
{
	uint32_t header = (ip[0] & 15u) * 4u;
	uint16_t check;

	memset(ip + 10, 0, 2);
	check = in_csum_finish(in_csum_add(0, ip, header));
	memcpy(ip + 10, &check, 2);
}

/* Whole first fragments go by the rules; later ones follow, but never onto a header; half a header is none. */
static void test_fragments4(void **state)
{
	struct lab_peer *peer = lab_up();
	uint8_t packet[200];
	uint32_t len = lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 200);

	base_store_be16(packet + 6, 0x2000);
	set_check4(packet);
	peer_seals(peer, packet, len);
	expect_at_host(packet, len);
	base_store_be16(packet + 6, 0x2000 | 176 / 8);
	set_check4(packet);
	peer_seals(peer, packet, len);
	expect_at_host(packet, len);
	base_store_be16(packet + 6, 1); /* onto the second eight bytes: the classic */
	set_check4(packet);
	expect_refused(peer, packet, len, DP_DROP_FILTER_NO_HEADER);
	/* A first one of which the filter cannot see the ports. */
	len = lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 28);
	base_store_be16(packet + 2, 24);
	base_store_be16(packet + 6, 0x2000);
	set_check4(packet);
	expect_refused(peer, packet, 24, DP_DROP_FILTER_NO_HEADER);
	/* A port that is not allowed stays so. */
	len = lab_inner(packet, PEER4, HOST4, 22, 200);
	base_store_be16(packet + 6, 0x2000);
	set_check4(packet);
	expect_refused(peer, packet, len, DP_DROP_FILTER_NO_RULE);
	expect_alive(peer);
}

/* IPv6 with a fragment header; a first one, and a later one onto the header. */
static void test_fragments6(void **state)
{
	struct lab_peer *peer = lab_up();
	uint8_t packet[200], plain[192];
	uint32_t len = lab_inner(plain, PEER6, HOST6, PORT_ALLOWED, 192);

	memcpy(packet, plain, 40);
	memcpy(packet + 48, plain + 40, len - 40);
	len += 8;
	packet[6] = 44;
	memset(packet + 40, 0, 8);
	packet[40] = IN_PROTO_UDP;
	base_store_be16(packet + 42, 1); /* more follow */
	base_store_be16(packet + 4, (uint16_t)(len - 40));
	peer_seals(peer, packet, len);
	expect_at_host(packet, len);
	base_store_be16(packet + 42, 8);
	expect_refused(peer, packet, len, DP_DROP_FILTER_NO_HEADER);
	expect_alive(peer);
}

/* Options are the kernel's to judge, but their length is ours. */
static void test_options(void **state)
{
	struct lab_peer *peer = lab_up();
	uint8_t packet[240], plain[200];

	lab_inner(plain, PEER4, HOST4, PORT_ALLOWED, 200);
	memcpy(packet, plain, 20);
	memset(packet + 20, 1, 40); /* no-operations */
	memcpy(packet + 60, plain + 20, 180);
	packet[0] = 0x4f;
	base_store_be16(packet + 2, 240);
	set_check4(packet);
	peer_seals(peer, packet, 240);
	expect_at_host(packet, 240);
	/* A header of 60 bytes in a packet of 40. */
	base_store_be16(packet + 2, 40);
	set_check4(packet);
	expect_refused(peer, packet, 40, DP_DROP_BAD_INNER);
	/* IPv6: hop-by-hop headers without an end. */
	lab_inner(packet, PEER6, HOST6, PORT_ALLOWED, 200);
	packet[6] = 0;
	for (unsigned at = 40; at < 200; at += 8)
		memset(packet + at, 0, 8);
	peer_seals(peer, packet, 200);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
	assert_true(lab_drops(&lab, DP_DROP_BAD_INNER) + lab_drops(&lab, DP_DROP_FILTER_NO_HEADER) +
			lab_drops(&lab, DP_DROP_FILTER_NO_RULE) >
		1);
	expect_alive(peer);
}

/* Nothing inside is a keepalive; a header alone is a packet; IPv6's jumbo length 0 is none. */
static void test_empty_and_jumbo(void **state)
{
	struct lab_peer *peer = lab_up();
	struct dp_worker_stats before = lab_worker_stats(&lab), after;
	static uint8_t packet[ROOM_BYTES];
	uint32_t len;

	peer_seals(peer, packet, 0);
	after = lab_worker_stats(&lab);
	assert_int_equal(after.opened_pkts, before.opened_pkts + 1);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
	lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 28);
	base_store_be16(packet + 2, 20);
	set_check4(packet);
	expect_refused(peer, packet, 20, DP_DROP_FILTER_NO_HEADER);
	base_store_be16(packet + 2, 0);
	set_check4(packet);
	expect_refused(peer, packet, 28, DP_DROP_BAD_INNER);
	lab_inner(packet, PEER6, HOST6, PORT_ALLOWED, 100);
	base_store_be16(packet + 4, 0);
	packet[6] = 0; /* hop-by-hop, where the jumbo option would be */
	memset(packet + 40, 0, 8);
	peer_seals(peer, packet, 100);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
	/* Larger than our MTU, but whole: a peer's MTU is its own affair. */
	len = lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, ROOM_BYTES);
	peer_seals(peer, packet, len);
	expect_at_host(packet, len);
	expect_alive(peer);
}

static void host_puts(const uint8_t *packet, uint32_t len)
{
	lab_host_put(&lab, packet, len);
	lab_run(&lab, 0);
}

/* What the kernel would never send, and what fits nowhere. */
static void test_out(void **state)
{
	struct lab_peer *peer = lab_up();
	static uint8_t packet[ROOM_BYTES];
	uint32_t len;

	host_puts(packet, 0);
	packet[0] = 0x45;
	host_puts(packet, 19);
	lab_inner(packet, HOST4, PEER4, 9, 100);
	host_puts(packet, 99);
	lab_inner(packet, HOST4, PEER4, 9, 99);
	host_puts(packet, 100);
	packet[0] = 0x75;
	host_puts(packet, 99);
	assert_int_equal(lab_drops(&lab, DP_DROP_OUT_MALFORMED), 5);
	len = lab_inner(packet, HOST4, PEER4, 9, 1500); /* sealed it is 1560 */
	host_puts(packet, len);
	assert_int_equal(lab_drops(&lab, DP_DROP_TOO_LARGE), 1);
	len = lab_inner(packet, HOST4, "10.9.0.200", 9, 100);
	host_puts(packet, len);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 1);
	assert_int_equal(peer->got.n, 0);
	expect_alive(peer);
}

static struct dp_peer_config config_of(
	const struct lab_peer *peer, const struct base_prefix *all, size_t n)
{
	return (struct dp_peer_config){.public_key = peer->public_key,
		.endpoint = peer->endpoint,
		.allowed_ips = all,
		.n_allowed_ips = n};
}

/* A prefix that is another's: refused, both are named, and nothing has changed. Then given over in order. */
static void test_allowed_ips(void **state)
{
	struct lab_peer *peer = lab_up(), *other = lab_peer_add(&lab, true, false);
	char ours[BASE_FINGERPRINT_LEN + 1], theirs[BASE_FINGERPRINT_LEN + 1];
	struct base_prefix prefixes[2];
	struct dp_peer_config config;
	struct base_error error;
	uint8_t packet[100];

	base_key_fingerprint(ours, other->public_key.bytes);
	base_key_fingerprint(theirs, peer->public_key.bytes);
	assert_int_equal(base_prefix_parse(&prefixes[0], "10.9.0.77/32", true), 0);
	assert_int_equal(base_prefix_parse(&prefixes[1], PEER4 "/32", true), 0);
	config = config_of(other, prefixes, 2);
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), -EEXIST);
	assert_non_null(strstr(error.text, ours));
	assert_non_null(strstr(error.text, theirs));
	assert_non_null(strstr(error.text, PEER4));
	expect_alive(peer);
	/* Not even the part that nobody had. */
	lab_inner(packet, HOST4, "10.9.0.77", 9, 100);
	host_puts(packet, 100);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 1);
	/* Taken from one, its packets are of nobody's address; given to the other, they are that one's. */
	config = config_of(peer, prefixes, 1);
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), 0);
	lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 100);
	expect_refused(peer, packet, 100, DP_DROP_WRONG_SOURCE);
	lab_inner(packet, HOST4, PEER4, 9, 100);
	host_puts(packet, 100);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_PEER), 2);
	config = config_of(other, &prefixes[1], 1);
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), 0);
	lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 100);
	expect_refused(peer, packet, 100, DP_DROP_WRONG_SOURCE);
	lab_peer_send(other, packet, 100);
	lab_run(&lab, 0);
	expect_at_host(packet, 100);
}

/*
 * The peer sends an initiation and is gone before our response arrives; or it answers ours no more. What waited for it
 * is dropped by name, no keypair stays, and when it comes back it is served.
 */
static void test_gone_mid_handshake(void **state)
{
	static struct lab_pkt pkt;
	struct lab_peer *peer;
	uint8_t packet[100];
	uint32_t len;

	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	counter = 1000;
	peer = lab_peer_add(&lab, true, false);
	lab.is_deaf = true; /* whatever we send is lost */
	len = lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 100);
	lab_peer_send(peer, packet, len);
	lab_run(&lab, 0);
	peer->is_mute = true;
	lab_inner(packet, HOST4, PEER4, 9, 100);
	lab_host_put(&lab, packet, len);
	lab_run(&lab, 100 * BASE_NS_PER_S);
	assert_int_equal(lab_drops(&lab, DP_DROP_STAGED_GIVEN_UP), 1);
	lab_run(&lab, WG_WIPE_AFTER_NS);
	assert_int_equal(dp_handshake_keypairs(lab.dp->handshake), 0);
	assert_int_equal(lab.dp->workers[0].index->count + lab.dp->workers[1].index->count, 0);
	lab.is_deaf = false;
	peer->is_mute = false;
	while (lab_kept_take(peer, &pkt))
		;
	lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, len);
	lab_peer_send(peer, packet, len);
	lab_run(&lab, 6 * BASE_NS_PER_S);
	assert_true(lab_host_take(&lab, &pkt));
	while (lab_host_take(&lab, &pkt))
		;
	peer->got.n = 0;
	expect_alive(peer);
}

/* A peer without a session, of two workers' gateway; what it says is kept, or on its way. */
static struct lab_peer *lab_before_handshake(void)
{
	lab_init(&lab, &(struct lab_options){.n_workers = 2});
	counter = 1000;
	return lab_peer_add(&lab, true, false);
}

static void host_sends_many(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		lab_host_sends(&lab, PEER4, 0);
		lab_run(&lab, 0);
	}
}

/* Removed: what waited for it is dropped by name, and neither keypair nor index nor packet stays. */
static void remove_now(struct lab_peer *peer, unsigned n_staged)
{
	assert_int_equal(lab_dp_peer(peer)->n_staged, n_staged);
	assert_int_equal(dp_peer_remove(lab.dp, &peer->public_key), 0);
	lab_run(&lab, 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_PEER_GONE), n_staged);
	assert_int_equal(dp_handshake_keypairs(lab.dp->handshake), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(lab.dp->workers[i].index->count, 0);
		assert_int_equal(lab.dp->workers[i].n_staged, 0);
	}
	assert_int_equal(rte_mempool_avail_count(lab.dp->pool), lab.pkts_at_start);
	assert_int_equal(lab.dp->peers.count, 0);
}

/* The message that the peer kept for later comes too late: nobody is told, nothing is delivered. */
static void expect_too_late(struct lab_peer *peer)
{
	static struct lab_pkt message;
	uint64_t n_sent = lab.frames_out;

	assert_true(lab_kept_take(peer, &message));
	lab_inject(&lab, &peer->endpoint, message.data, message.len);
	lab_run(&lab, 0);
	assert_int_equal(lab.frames_out, n_sent);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
}

/* Added again, it is served: by its own next initiation, as it would be in life. */
static void expect_served_again(struct lab_peer *peer)
{
	static struct lab_pkt pkt;
	struct base_prefix prefix;
	struct base_error error;
	struct dp_peer_config config = config_of(peer, &prefix, 1);

	assert_int_equal(base_prefix_parse(&prefix, PEER4 "/32", true), 0);
	assert_int_equal(dp_peer_set(lab.dp, &config, &error), 0);
	peer->is_mute = false;
	while (lab_kept_take(peer, &pkt))
		;
	host_sends_many(1);
	lab_run(&lab, 6 * BASE_NS_PER_S);
	lab_peer_sends(peer, PEER4, 0);
	lab_run(&lab, 6 * BASE_NS_PER_S);
	while (lab_host_take(&lab, &pkt))
		;
	peer->got.n = 0;
	expect_alive(peer);
}

/* Our initiation is sent, packets wait for the session; the response comes when nobody knows of it any more. */
static void test_removed_initiation_sent(void **state)
{
	struct lab_peer *peer = lab_before_handshake();

	peer->is_mute = true;
	host_sends_many(3);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 1);
	remove_now(peer, 3);
	expect_too_late(peer);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_UNKNOWN_INDEX), 1);
	/* Nor is the initiation repeated for somebody who is gone. */
	lab_run(&lab, WG_REKEY_ATTEMPT_NS);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 1);
	expect_served_again(peer);
}

/* Our initiation was lost, and is sent again and again: removed between two of them. */
static void test_removed_between_attempts(void **state)
{
	struct lab_peer *peer = lab_before_handshake();
	unsigned n_sent;

	lab.is_deaf = true;
	host_sends_many(2);
	lab_run(&lab, 2 * WG_REKEY_TIMEOUT_NS + BASE_NS_PER_S);
	n_sent = lab.out[WG_MESSAGE_INITIATION].n;
	assert_true(n_sent > 1);
	remove_now(peer, 2);
	lab_run(&lab, WG_REKEY_ATTEMPT_NS);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, n_sent);
	lab.is_deaf = false;
	expect_served_again(peer);
}

/* Our response is sent and unconfirmed, packets of ours wait for that; then the confirming data comes. */
static void test_removed_unconfirmed(void **state)
{
	struct lab_peer *peer = lab_before_handshake();
	static struct lab_pkt initiation;

	peer->is_mute = true;
	lab_peer_sends(peer, PEER4, 0);
	assert_true(lab_kept_take(peer, &initiation));
	lab_inject(&lab, &peer->endpoint, initiation.data, initiation.len);
	lab_run(&lab, 0);
	assert_int_equal(lab.out[WG_MESSAGE_RESPONSE].n, 1);
	assert_non_null(lab_dp_peer(peer)->keypairs.next);
	assert_null(lab_dp_peer(peer)->keypairs.current);
	lab.is_deaf = true; /* what we begin ourselves now is lost */
	host_sends_many(2);
	remove_now(peer, 2);
	lab.is_deaf = false;
	expect_too_late(peer);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_INDEX), 1);
	expect_served_again(peer);
}

/* Its initiation waits in the handshake thread's ring, so that it is answered while its owner lets go of it. */
static void test_removed_initiation_waiting(void **state)
{
	struct lab_peer *peer = lab_before_handshake();
	static struct lab_pkt initiation;

	peer->is_mute = true;
	lab_peer_sends(peer, PEER4, 0);
	assert_true(lab_kept_take(peer, &initiation));
	lab_inject(&lab, &peer->endpoint, initiation.data, initiation.len);
	for (unsigned i = 0; i < 2; i++)
		dp_worker_round(&lab.dp->workers[i], lab.now_ns);
	assert_int_equal(rte_ring_count(dp_handshake_stranger_ring(lab.dp->handshake)), 1);
	remove_now(peer, 0);
	/* A second later, it is a stranger's. */
	lab_inject(&lab, &peer->endpoint, initiation.data, initiation.len);
	lab_run(&lab, BASE_NS_PER_S);
	assert_int_equal(lab_verdicts(&lab, WG_VERDICT_UNKNOWN_PEER), 1);
	expect_served_again(peer);
}

/* The response to ours waits in that ring. */
static void test_removed_response_waiting(void **state)
{
	struct lab_peer *peer = lab_before_handshake();
	static struct lab_pkt response;

	peer->is_mute = true;
	host_sends_many(1);
	assert_true(lab_kept_take(peer, &response));
	lab_inject(&lab, &peer->endpoint, response.data, response.len);
	for (unsigned i = 0; i < 2; i++)
		dp_worker_round(&lab.dp->workers[i], lab.now_ns);
	assert_int_equal(rte_ring_count(dp_handshake_expected_ring(lab.dp->handshake)), 1);
	remove_now(peer, 1);
	expect_served_again(peer);
}

/* A port that is closed is not there to workers: nothing comes in, what leaves is dropped by name; then it is back. */
static void test_port_gone(void **state)
{
	struct lab_peer *peer = lab_up();
	uint8_t packet[100];

	atomic_store(&lab.dp->ports[0].is_open, false);
	assert_int_equal(dp_port_state(lab.dp, 0), DP_PORT_GONE);
	lab_inner(packet, HOST4, PEER4, 9, 100);
	lab_host_put(&lab, packet, 100);
	lab_peer_send(peer, packet, lab_inner(packet, PEER4, HOST4, PORT_ALLOWED, 100));
	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(lab_drops(&lab, DP_DROP_PORT_GONE), 1);
	assert_int_equal(rte_ring_count(lab.host_ring), 0);
	atomic_store(&lab.dp->ports[0].is_open, true);
	assert_int_equal(dp_port_state(lab.dp, 0), DP_PORT_UP);
	dp_test_round(lab.dp, lab.now_ns);
	expect_at_host(packet, 100);
	expect_alive(peer);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_fragments4, teardown),
		cmocka_unit_test_teardown(test_fragments6, teardown),
		cmocka_unit_test_teardown(test_options, teardown),
		cmocka_unit_test_teardown(test_empty_and_jumbo, teardown),
		cmocka_unit_test_teardown(test_out, teardown),
		cmocka_unit_test_teardown(test_allowed_ips, teardown),
		cmocka_unit_test_teardown(test_gone_mid_handshake, teardown),
		cmocka_unit_test_teardown(test_removed_initiation_sent, teardown),
		cmocka_unit_test_teardown(test_removed_between_attempts, teardown),
		cmocka_unit_test_teardown(test_removed_unconfirmed, teardown),
		cmocka_unit_test_teardown(test_removed_initiation_waiting, teardown),
		cmocka_unit_test_teardown(test_removed_response_waiting, teardown),
		cmocka_unit_test_teardown(test_port_gone, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
