/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a mesh asks of the packet path: peers whose paths are probed, another node key, addresses and offers that
 * change while it runs, rules with lists and their counts.
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

/* --- paths --------------------------------------------------------------------------------------- */

static void be_probed(struct lab_peer *peer)
{
	struct base_prefix prefixes[2];
	struct base_error error;

	assert_int_equal(base_prefix_parse(&prefixes[0], "10.9.0.2/32", true), 0);
	assert_int_equal(base_prefix_parse(&prefixes[1], "fd00::2/128", true), 0);
	assert_int_equal(dp_peer_set(lab.dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .is_probed = true,
					 .allowed_ips = prefixes,
					 .n_allowed_ips = 2},
				 &error),
		0);
}

static struct lab_peer *probed_up(void)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, false, false);
	be_probed(peer);
	return peer;
}

static void host_sends(void)
{
	uint8_t packet[100];

	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY, "10.9.0.2", 4242, sizeof(packet)));
}

static void peer_sends(struct lab_peer *peer)
{
	uint8_t packet[100];

	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", GATEWAY, 8765, sizeof(packet)));
}

static unsigned take_at_host(void)
{
	struct lab_pkt pkt;
	unsigned n = 0;

	while (lab_host_take(&lab, &pkt))
		n++;
	return n;
}

static unsigned take_at_peer(struct lab_peer *peer)
{
	struct lab_pkt pkt;
	unsigned n = 0;

	while (lab_got_take(peer, &pkt))
		n++;
	return n;
}

static void run(uint64_t later_ns)
{
	lab_run(&lab, later_ns);
	dp_service(lab.dp);
}

static int path(const struct lab_peer *peer, const struct base_endpoint *to)
{
	struct dp_way way = {0};

	if (to)
		way.direct = *to;
	return dp_peer_path(lab.dp, &peer->public_key, &way);
}

/* Packets wait for a path, control is asked once a second, and the path starts a handshake at once. */
static void packets_wait_for_a_path(void **state)
{
	struct lab_peer *peer = probed_up();
	struct base_error error;

	host_sends();
	run(0);
	assert_int_equal(lab.frames_out, 0);
	assert_int_equal(lab.n_paths_wanted, 1);
	assert_int_equal(lab.wanted_by.addr.family, BASE_FAMILY_NONE);
	for (unsigned i = 0; i < 4; i++) {
		host_sends();
		run(400 * BASE_NS_PER_MS);
	}
	assert_in_range(lab.n_paths_wanted, 2, 3);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 0);
	assert_int_equal(path(peer, &peer->endpoint), 0);
	run(0);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 1);
	assert_int_equal(take_at_peer(peer), 5);
	assert_int_equal(lab_drops(&lab, DP_DROP_NO_ENDPOINT), 0);

	/* Lost: what comes waits again; back: it goes, and under the session that is there. */
	assert_int_equal(path(peer, NULL), 0);
	run(BASE_NS_PER_S);
	lab.n_paths_wanted = 0;
	host_sends();
	run(0);
	assert_int_equal(take_at_peer(peer), 0);
	assert_int_equal(lab.n_paths_wanted, 1);
	assert_int_equal(path(peer, &peer->endpoint), 0);
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 1);

	assert_int_equal(dp_peer_path(lab.dp, &(struct cr_key){.bytes = {1}},
				 &(struct dp_way){.direct = peer->endpoint}),
		-ENOENT);
	assert_int_equal(dp_peer_set(lab.dp,
				 &(struct dp_peer_config){.public_key = peer->public_key,
					 .is_probed = true,
					 .endpoint = peer->endpoint},
				 &error),
		-EINVAL);
}

/* Nobody takes them: they go as those of a handshake that never came. */
static void packets_wait_for_ninety_seconds(void **state)
{
	(void)probed_up();
	for (unsigned i = 0; i < 300; i++)
		host_sends();
	run(0);
	assert_int_equal(lab_drops(&lab, DP_DROP_STAGED_FULL), 300 - WG_STAGED_PKTS_MAX);
	for (unsigned i = 0; i < 100; i++)
		run(BASE_NS_PER_S);
	assert_int_equal(lab_drops(&lab, DP_DROP_STAGED_GIVEN_UP), WG_STAGED_PKTS_MAX);
	assert_int_equal(lab.frames_out, 0);
}

/* An initiation went out just before, into nowhere: the first pong by another way sends one at once. */
static void a_new_path_repeats_the_initiation(void **state)
{
	struct lab_peer *peer = probed_up();
	struct base_endpoint nobody;

	assert_int_equal(base_endpoint_parse(&nobody, "198.51.100.9:7777"), 0);
	assert_int_equal(path(peer, &nobody), 0);
	lab.is_deaf = true; /* what goes there is lost */
	host_sends();
	run(0);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 1);
	run(100 * BASE_NS_PER_MS);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 1);
	lab.is_deaf = false;
	assert_int_equal(path(peer, &peer->endpoint), 0);
	run(0);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 2);
	assert_int_equal(take_at_peer(peer), 1);
	/* Told again, it is no news. */
	host_sends();
	assert_int_equal(path(peer, &peer->endpoint), 0);
	run(0);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 2);
	/* A better one a moment later: the answer to what is on its way must find us waiting for it. */
	assert_int_equal(path(peer, &nobody), 0);
	run(0);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 2);
}

/* Its handshake is answered where it came from; data of ours still waits for a path. */
static void who_knocks_is_answered(void **state)
{
	struct lab_peer *peer = probed_up();
	struct dp_peer_status status;

	peer_sends(peer);
	run(0);
	assert_int_equal(take_at_host(), 1);
	assert_int_equal(lab.n_paths_wanted, 1);
	assert_true(base_endpoint_equal(&lab.wanted_by, &peer->endpoint));
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_int_equal(status.path, DP_PATH_NONE);
	assert_int_equal(status.last_rx_ns, lab.now_ns);
	assert_int_equal(status.last_tx_ns, 0);
	host_sends();
	run(BASE_NS_PER_S);
	assert_int_equal(lab.out[WG_MESSAGE_DATA].n, 0);
	assert_int_equal(path(peer, &peer->endpoint), 0);
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_int_equal(status.path, DP_PATH_DIRECT4);
	assert_int_equal(status.last_tx_ns, lab.now_ns);
	assert_int_equal(lab.out[WG_MESSAGE_INITIATION].n, 0);
}

/* Authenticated data from elsewhere is taken, and moves nothing. */
static void data_moves_no_probed_peer(void **state)
{
	struct lab_peer *peer = probed_up();
	struct base_endpoint elsewhere, home = peer->endpoint;
	struct dp_peer_status status;

	assert_int_equal(path(peer, &home), 0);
	host_sends();
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	assert_int_equal(base_endpoint_parse(&elsewhere, "198.51.100.9:7777"), 0);
	peer->endpoint = elsewhere;
	peer_sends(peer);
	run(0);
	assert_int_equal(take_at_host(), 1);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &home));
	assert_int_equal(lab.n_moved, 0);
	assert_int_equal(path(peer, &elsewhere), 0);
	run(0);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_true(base_endpoint_equal(&status.endpoint, &elsewhere));
}

/* One that was configured with an endpoint, and is probed from now on, stays where it is until a path says so. */
static void a_static_peer_becomes_a_probed_one(void **state)
{
	struct lab_peer *peer;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	host_sends();
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	assert_int_equal(path(peer, NULL), -EINVAL);
	be_probed(peer);
	host_sends();
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	assert_int_equal(path(peer, NULL), 0);
	host_sends();
	run(0);
	assert_int_equal(take_at_peer(peer), 0);
}

/* --- probes ---------------------------------------------------------------------------------------- */

/* A ping as long as real ones are, and a STUN answer without attributes. */
static uint32_t make_disco(uint8_t *datagram)
{
	static const uint8_t magic[] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

	memset(datagram, 0x33, 124);
	memcpy(datagram, magic, sizeof(magic));
	return 124;
}

static uint32_t make_stun(uint8_t *datagram)
{
	static const uint8_t head[] = {1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};

	memset(datagram, 0x44, 20);
	memcpy(datagram, head, sizeof(head));
	return 20;
}

static void probes_go_up(void **state)
{
	struct base_endpoint from, to;
	uint8_t datagram[2048];
	uint32_t len = make_disco(datagram);

	(void)probed_up();
	assert_int_equal(base_endpoint_parse(&from, "198.51.100.9:7777"), 0);
	assert_int_equal(base_endpoint_parse(&to, "192.0.2.1:51820"), 0);
	lab_inject(&lab, &from, datagram, len);
	run(0);
	assert_int_equal(lab.n_probes, 1);
	assert_true(base_endpoint_equal(&lab.probe.from, &from));
	assert_true(base_endpoint_equal(&lab.probe.to, &to));
	assert_int_equal(lab.probe.pkt.len, len);
	assert_memory_equal(lab.probe.pkt.data, datagram, len);
	lab_inject(&lab, &from, datagram, make_stun(datagram));
	run(0);
	assert_int_equal(lab.n_probes, 2);
	assert_int_equal(lab.probe.pkt.len, 20);

	/* Too short, too long, or nothing of the kind; nobody to be answered. */
	lab_inject(&lab, &from, datagram, 19);
	(void)make_disco(datagram);
	lab_inject(&lab, &from, datagram, 37);
	lab_inject(&lab, &from, datagram, DP_PROBE_BYTES_MAX + 1);
	datagram[5] = 0xad;
	lab_inject(&lab, &from, datagram, 124);
	run(0);
	assert_int_equal(
		lab_drops(&lab, DP_DROP_UNKNOWN_TYPE) + lab_drops(&lab, DP_DROP_RESERVED_BITS), 4);
	(void)make_disco(datagram);
	from.port = 0;
	lab_inject(&lab, &from, datagram, 124);
	run(0);
	assert_int_equal(lab_drops(&lab, DP_DROP_PROBE_SOURCE), 1);
	assert_int_equal(lab.n_probes, 2);
}

/* The frame that the port sent; its payload is at @ret_payload. */
static struct rte_mbuf *take_frame(const uint8_t **ret_payload, uint32_t *ret_len)
{
	struct rte_mbuf *m = NULL;

	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(rte_ring_dequeue(dp_test_port_tx(lab.dp, 0, 0), (void **)&m), 0);
	*ret_payload = rte_pktmbuf_mtod_offset(m, const uint8_t *, 42);
	*ret_len = rte_pktmbuf_data_len(m) - 42;
	return m;
}

static void probes_go_out(void **state)
{
	struct base_endpoint to;
	struct base_addr asked;
	uint8_t datagram[DP_PROBE_BYTES_MAX + 1];
	const uint8_t *payload, *ip;
	uint32_t len = make_disco(datagram), got;
	struct rte_mbuf *m = NULL;

	(void)probed_up();
	assert_int_equal(base_endpoint_parse(&to, "198.51.100.9:7777"), 0);
	assert_int_equal(base_addr_parse(&asked, "192.0.2.77"), 0);
	assert_int_equal(dp_probe_send(lab.dp, &to, &asked, datagram, len), 0);
	m = take_frame(&payload, &got);
	assert_int_equal(got, len);
	assert_memory_equal(payload, datagram, len);
	ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, 14);
	assert_memory_equal(ip + 12, asked.bytes, 4);
	assert_memory_equal(ip + 16, to.addr.bytes, 4);
	assert_int_equal(base_load_be16(ip + 20), LAB_PORT);
	assert_int_equal(base_load_be16(ip + 22), to.port);
	rte_pktmbuf_free(m);
	assert_int_equal(dp_probe_send(lab.dp, &to, NULL, datagram, DP_PROBE_BYTES_MAX), 0);
	m = take_frame(&payload, &got);
	assert_int_equal(got, DP_PROBE_BYTES_MAX);
	rte_pktmbuf_free(m);
	assert_int_equal(
		dp_probe_send(lab.dp, &to, NULL, datagram, DP_PROBE_BYTES_MAX + 1), -EMSGSIZE);
	to.port = 0;
	assert_int_equal(dp_probe_send(lab.dp, &to, NULL, datagram, len), -EINVAL);
	assert_int_equal(base_endpoint_parse(&to, "[2001:db8::9]:7777"), 0);
	assert_int_equal(dp_probe_send(lab.dp, &to, &asked, datagram, len), -EINVAL);
	/* A worker that obeys nobody: no more than leaves handshakes their room. */
	for (len = 0; dp_probe_send(lab.dp, &to, NULL, datagram, 100) == 0; len++)
		assert_true(len < DP_RING_COMMANDS);
	assert_in_range(len, DP_RING_COMMANDS / 4, DP_RING_COMMANDS / 2);
	while (rte_ring_count(lab.dp->workers[0].command_ring)) {
		dp_test_round(lab.dp, lab.now_ns);
		while (rte_ring_dequeue(dp_test_port_tx(lab.dp, 0, 0), (void **)&m) == 0)
			rte_pktmbuf_free(m);
	}
	assert_int_equal(dp_local_addrs(lab.dp, &asked, 1), 1);
	assert_int_equal(asked.family, BASE_FAMILY_V4);
}

/* Invented addresses by the thousand cost those who answer us nothing, and one address no more than its share. */
static void a_flood_of_probes(void **state)
{
	struct base_endpoint friend, stranger;
	uint8_t datagram[256];
	uint32_t len = make_disco(datagram);
	uint64_t dropped;
	struct rte_mbuf *m = NULL;

	(void)probed_up();
	assert_int_equal(base_endpoint_parse(&friend, "203.0.113.5:41641"), 0);
	assert_int_equal(base_endpoint_parse(&stranger, "198.51.0.0:7777"), 0);
	assert_int_equal(dp_probe_send(lab.dp, &friend, NULL, datagram, len), 0);
	dp_test_round(lab.dp, lab.now_ns);
	assert_int_equal(rte_ring_dequeue(dp_test_port_tx(lab.dp, 0, 0), (void **)&m), 0);
	rte_pktmbuf_free(m);
	for (unsigned i = 0; i < 4000; i++) {
		base_store_be32(stranger.addr.bytes, 0xc6330000 + i);
		lab_inject(&lab, &stranger, datagram, len);
		dp_test_round(lab.dp, lab.now_ns);
	}
	dropped = lab_drops(&lab, DP_DROP_PROBE_FULL);
	/* A few share the friend's place. */
	assert_in_range(
		dropped, 4000 - DP_PROBE_STRANGERS_BURST - 32, 4000 - DP_PROBE_STRANGERS_BURST);
	lab_inject(&lab, &friend, datagram, len);
	dp_test_round(lab.dp, lab.now_ns);
	dp_service(lab.dp);
	/* Two rings take turns: it is not behind the others. */
	assert_in_range(lab.n_probes, 2, DP_PROBE_STRANGERS_BURST);
	while (rte_ring_count(lab.dp->probes.strangers))
		dp_service(lab.dp);
	assert_int_equal(lab.n_probes, 4000 - dropped + 1);
	assert_int_equal(lab_drops(&lab, DP_DROP_PROBE_LIMIT), 0);
	/* A friend's own flood ends at its share; a few of the others fell into the same bucket. */
	for (unsigned i = 0; i < 2 * DP_ADMIT_BURST_MSGS; i++) {
		lab_inject(&lab, &friend, datagram, len);
		dp_test_round(lab.dp, lab.now_ns);
		dp_service(lab.dp);
	}
	assert_in_range(lab_drops(&lab, DP_DROP_PROBE_LIMIT), DP_ADMIT_BURST_MSGS,
		DP_ADMIT_BURST_MSGS + 64);
	/* Not asked for long, it is a stranger like others. */
	lab.n_probes = 0;
	run(DP_PROBE_ASKED_NS);
	for (unsigned i = 0; i < DP_PROBE_STRANGERS_BURST + 10; i++) {
		lab_inject(&lab, &friend, datagram, len);
		dp_test_round(lab.dp, lab.now_ns);
		dp_service(lab.dp);
	}
	assert_int_equal(lab.n_probes, DP_PROBE_STRANGERS_BURST);
}

/* --- another key ----------------------------------------------------------------------------------- */

static void another_key(void **state)
{
	struct cr_key fresh = {.bytes = {0x40, 7, [31] = 0x47}}, before;
	struct dp_peer_status status;
	struct lab_peer *peer;
	struct base_error error;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, true);
	host_sends();
	peer_sends(peer);
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	assert_int_equal(take_at_host(), 1);
	before = *dp_handshake_public_key(lab.dp->handshake);
	assert_int_equal(dp_identity_set(lab.dp, &fresh, &error), 0);
	run(0);
	assert_memory_not_equal(
		&before, dp_handshake_public_key(lab.dp->handshake), sizeof(before));
	assert_null(lab_dp_peer(peer)->keypairs.current);
	assert_int_equal(dp_handshake_keypairs(lab.dp->handshake), 0);
	/* The old session is nobody's; the peer, which knows only the old key, gets nothing through. */
	peer_sends(peer);
	run(0);
	assert_int_equal(take_at_host(), 0);
	assert_int_equal(lab_drops(&lab, DP_DROP_UNKNOWN_INDEX), 1);
	assert_int_equal(dp_peer_status(lab.dp, &peer->public_key, &status), 0);
	assert_int_equal(status.handshakes, 1);
	assert_true(status.rx_pkts > 0 && status.tx_pkts > 0);

	/* Told of the new one, it is back, preshared key and all. */
	lab_peer_meet_again(peer, true);
	host_sends();
	run(0);
	assert_int_equal(take_at_peer(peer), 1);
	peer_sends(peer);
	run(0);
	assert_int_equal(take_at_host(), 1);
	/* A peer's own key cannot be ours. */
	lab_private_key(0, &fresh);
	assert_int_equal(dp_identity_set(lab.dp, &fresh, &error), -EINVAL);
}

/* --- filter ---------------------------------------------------------------------------------------- */

static struct base_prefix prefix(const char *text)
{
	struct base_prefix p;

	assert_int_equal(base_prefix_parse(&p, text, true), 0);
	return p;
}

static void send_to(struct lab_peer *peer, const char *dst, uint16_t port)
{
	uint8_t packet[100];

	lab_peer_send(peer, packet, lab_inner(packet, "10.9.0.2", dst, port, sizeof(packet)));
	run(0);
}

/* Offered prefixes are local for the filter, and addresses that went are no more. */
static void offers_and_addresses(void **state)
{
	const struct base_prefix addr = prefix("10.9.0.9/32"), offer = prefix("192.168.7.0/24");
	const struct base_prefix everywhere = prefix("0.0.0.0/0");
	struct lab_peer *peer;
	struct base_error error;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	send_to(peer, GATEWAY, 8765);
	assert_int_equal(take_at_host(), 1);
	send_to(peer, "192.168.7.1", 8765);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_DESTINATION), 1);
	assert_int_equal(
		dp_host_set(lab.dp,
			&(struct dp_host_set){
				.addrs = &addr, .n_addrs = 1, .offers = &offer, .n_offers = 1},
			&error),
		0);
	send_to(peer, "192.168.7.1", 8765);
	send_to(peer, "10.9.0.9", 8765);
	assert_int_equal(take_at_host(), 2);
	send_to(peer, "192.168.7.1", 8766);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_NO_RULE), 1);
	send_to(peer, GATEWAY, 8765);
	assert_int_equal(lab_drops(&lab, DP_DROP_FILTER_DESTINATION), 2);
	assert_int_equal(
		dp_host_set(lab.dp, &(struct dp_host_set){.offers = &everywhere, .n_offers = 1},
			&error),
		-EINVAL);
	send_to(peer, "10.9.0.9", 8765);
	assert_int_equal(take_at_host(), 1);
	/* Nothing at all: logged out. */
	assert_int_equal(dp_host_set(lab.dp, &(struct dp_host_set){0}, &error), 0);
	send_to(peer, "10.9.0.9", 8765);
	assert_int_equal(take_at_host(), 0);
}

static void rules_are_counted(void **state)
{
	const struct base_prefix srcs[] = {prefix("10.9.0.9/32"), prefix("10.9.0.2/32")};
	const struct dp_filter_dst dsts[] = {{prefix("10.9.0.1/32"), 1000, 1999},
		{prefix("10.9.0.1/32"), 3000, 3999}, {{.bits = 0}, 0, 65535}};
	const uint8_t udp = IN_PROTO_UDP;
	const struct dp_filter_rule rules[] = {{srcs, 1, dsts, 2, NULL, 0},
		{srcs, 2, dsts, 2, &udp, 1}, {srcs, 2, &dsts[2], 1, (uint8_t[]){6}, 1}};
	uint64_t hits[3] = {9, 9, 9};
	struct lab_peer *peer;
	struct base_error error;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	assert_int_equal(dp_filter_set(lab.dp, rules, 3, &error), 0);
	for (uint16_t port = 1999; port <= 2001; port++)
		send_to(peer, GATEWAY, port);
	send_to(peer, GATEWAY, 3500);
	send_to(peer, GATEWAY, 3500);
	assert_int_equal(take_at_host(), 3);
	assert_int_equal(dp_filter_hits(lab.dp, hits, 2), 3);
	assert_int_equal(hits[0], 0);
	assert_int_equal(hits[1], 3);
	assert_int_equal(hits[2], 9);
	assert_int_equal(dp_filter_misses(lab.dp), 2);
	/* A flow that was open is judged by what is in force now, from its next packet on. */
	assert_int_equal(dp_filter_set(lab.dp, rules, 1, &error), 0);
	send_to(peer, GATEWAY, 3500);
	assert_int_equal(take_at_host(), 0);
	assert_int_equal(dp_filter_misses(lab.dp), 1);
}

/* The mesh's own protocol never comes out of the tunnel, nor goes into it; nor does multicast. */
static void what_stays_where_it_is(void **state)
{
	const struct base_prefix anybody = {0};
	const struct dp_filter_dst anywhere = {.port_last = 65535};
	const uint8_t tsmp = IN_PROTO_TSMP;
	const struct dp_filter_rule rule = {&anybody, 1, &anywhere, 1, &tsmp, 1};
	struct lab_peer *peer;
	struct base_error error;
	uint8_t packet[100];
	uint32_t len;

	lab_init(&lab, &(struct lab_options){0});
	peer = lab_peer_add(&lab, true, false);
	assert_int_equal(dp_filter_set(lab.dp, &rule, 1, &error), 0);
	len = lab_inner(packet, "10.9.0.2", GATEWAY, 1, sizeof(packet));
	packet[9] = IN_PROTO_TSMP;
	lab_peer_send(peer, packet, len);
	run(0);
	assert_int_equal(lab_drops(&lab, DP_DROP_TSMP), 1);
	assert_int_equal(take_at_host(), 0);
	len = lab_inner(packet, GATEWAY, "10.9.0.2", 1, sizeof(packet));
	packet[9] = IN_PROTO_TSMP;
	lab_host_put(&lab, packet, len);
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY, "224.0.0.251", 5353, 100));
	lab_host_put(&lab, packet, lab_inner(packet, GATEWAY, "169.254.1.1", 1, 100));
	lab_host_put(&lab, packet, lab_inner(packet, "fd00::1", "ff02::1", 1, 100));
	run(0);
	assert_int_equal(lab_drops(&lab, DP_DROP_OUT_KEPT), 4);
	assert_int_equal(take_at_peer(peer), 0);
}

#define with_lab(test) cmocka_unit_test_teardown(test, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_lab(packets_wait_for_a_path),
		with_lab(packets_wait_for_ninety_seconds),
		with_lab(a_new_path_repeats_the_initiation),
		with_lab(who_knocks_is_answered),
		with_lab(data_moves_no_probed_peer),
		with_lab(a_static_peer_becomes_a_probed_one),
		with_lab(probes_go_up),
		with_lab(probes_go_out),
		with_lab(a_flood_of_probes),
		with_lab(another_key),
		with_lab(offers_and_addresses),
		with_lab(rules_are_counted),
		with_lab(what_stays_where_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
