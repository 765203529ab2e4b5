/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client against a scripted server on the same loop: what it asks, in which order, and what becomes of each answer. What a real
 * Headscale answers is in tests/interop/control_test.sh. Nothing here waits for a pause of the client: its next attempt is made by hand.
 */
#include "coord_client.h"

#include <signal.h>

/* A stand-in for two minutes. */
static uint64_t silence_ms = COORD_POLL_SILENCE_MS;
#undef COORD_POLL_SILENCE_MS
#define COORD_POLL_SILENCE_MS silence_ms
#include "coord_poll.c"

#include "coord_test_lab.h"

/* --- joining ------------------------------------------------------------------------------------- */

static void test_first_join(void **state)
{
	char wanted[256], text[256];

	join();
	assert_int_equal(lab.server.n_keys, 1);
	assert_int_equal(lab.n_joins, 1);
	assert_int_equal(lab.n_polls, 1);
	assert_int_equal(lab.n_changes, 1);
	assert_int_equal(lab.n_identities, 0);
	node_key_text(wanted, &coord_state_identity(lab.state)->node_private);
	assert_string_equal(text_of(lab.join, "NodeKey", text), wanted);
	assert_string_equal(text_of(lab.poll, "NodeKey", text), wanted);
	assert_string_equal(text_of(lab.poll, "Compress", text), "zstd");
	assert_non_null(strstr(lab.join, "hskey-auth-secret"));
	assert_null(strstr(lab.poll, "hskey-auth-secret"));
	assert_int_equal(coord_state_identity(lab.state)->node_id, 7);
	assert_true(
		cr_key_equal(&coord_state_identity(lab.state)->server_key, &lab.server.public_key));
	/* The stream told everything: no update follows. */
	go_on();
	assert_int_equal(lab.n_lites, 0);
}

static void test_known_node_streams_first(void **state)
{
	join();
	coord_down(lab.coord);
	assert_false(lab.has_self);
	coord_up(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
	assert_int_equal(lab.server.n_keys, 1);
	assert_int_equal(lab.n_joins, 1);
	assert_int_equal(lab.n_polls, 2);
}

static void test_no_early_payload(void **state)
{
	lab.server.fault = TEST_FAULT_NO_EARLY;
	join();
}

static void test_refused_key(void **state)
{
	lab.joins[0] = REFUSED("authkey already used");
	new_client();
	coord_up(lab.coord);
	UNTIL_STATE(COORD_NEEDS_LOGIN);
	assert_string_equal(lab.coord->status.detail, "authkey already used");
	/* No tight loop: it waits for a person. */
	go_on();
	assert_int_equal(lab.n_joins, 1);
	assert_int_equal(coord_login(lab.coord, "hskey-auth-other", NULL), 0);
	UNTIL_STATE(COORD_STREAMING);
	assert_non_null(strstr(lab.join, "hskey-auth-other"));
}

static void test_interactive(void **state)
{
	lab.config.authkey = NULL;
	lab.joins[0] = LOGIN("http://hs/register/a");
	lab.joins[1] = LOGIN("http://hs/register/b"); /* the first was forgotten */
	lab.joins[2] = NULL;                          /* a person takes time */
	new_client();
	coord_up(lab.coord);
	UNTIL(lab.n_joins == 3);
	assert_int_equal(lab.coord->status.state, COORD_NEEDS_LOGIN);
	assert_string_equal(lab.coord->status.login_url, "http://hs/register/b");
	assert_non_null(strstr(lab.join, "\"Followup\":\"http://hs/register/b\""));
	/* The connection is lost meanwhile: it asks again, for the same address. */
	test_server_cut(&lab.server);
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_string_equal(lab.coord->status.login_url, "http://hs/register/b");
	client_connect(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
	assert_string_equal(lab.coord->status.login_url, "");
	assert_non_null(strstr(lab.join, "\"Followup\":\"http://hs/register/b\""));
}

static void test_expired_at_registration(void **state)
{
	struct cr_key before;
	char text[256], old[256];

	lab.joins[0] = EXPIRED;
	new_client();
	before = coord_state_identity(lab.state)->node_private;
	coord_up(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
	node_key_text(old, &before);
	assert_string_equal(text_of(lab.join, "OldNodeKey", text), old);
	assert_string_not_equal(text_of(lab.join, "NodeKey", text), old);
	assert_int_equal(lab.n_identities, 1);
	assert_true(cr_key_equal(&lab.identity, &coord_state_identity(lab.state)->node_private));
}

/* A server that finds every key expired is not asked for ever. */
static void test_expired_again(void **state)
{
	for (size_t i = 0; i < BASE_ARRAY_LEN(lab.joins); i++)
		lab.joins[i] = EXPIRED;
	new_client();
	coord_up(lab.coord);
	UNTIL_STATE(COORD_EXPIRED);
	go_on();
	assert_int_equal(lab.n_joins, 2);
}

/* --- rotation ------------------------------------------------------------------------------------ */

static void expire(void)
{
	char key[256];

	send_self(text_of(lab.poll, "NodeKey", key), true, "");
	flush_server();
}

/* While the server has not answered, everything else goes on with the key that it knows. */
static void test_rotation(void **state)
{
	struct coord_reachability reachability = {.n_endpoints = 1};
	char old[256], text[256], new[256];

	join();
	node_key_text(old, &coord_state_identity(lab.state)->node_private);
	lab.joins[1] = NULL;
	expire();
	UNTIL(lab.n_joins == 2);
	node_key_text(new, &coord_state_identity(lab.state)->node_private);
	assert_string_not_equal(old, new);
	assert_string_equal(text_of(lab.join, "NodeKey", text), new);
	assert_string_equal(text_of(lab.join, "OldNodeKey", text), old);
	assert_int_equal(base_endpoint_parse(&reachability.endpoints[0], "192.0.2.1:1"), 0);
	coord_reachability_set(lab.coord, &reachability);
	UNTIL(lab.n_lites == 1);
	assert_string_equal(text_of(lab.lite, "NodeKey", text), old);
	assert_int_equal(lab.n_identities, 0);
	/* Killed here, the next start knows both keys. */
	assert_false(cr_key_is_zero(&coord_state_identity(lab.state)->old_node_private));
	test_server_cut(&lab.server);
	UNTIL_STATE(COORD_BACKING_OFF);
	client_connect(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
	assert_int_equal(lab.n_joins, 3);
	assert_string_equal(text_of(lab.join, "NodeKey", text), new);
	assert_string_equal(text_of(lab.poll, "NodeKey", text), new);
	assert_int_equal(lab.n_identities, 1);
	assert_true(cr_key_is_zero(&coord_state_identity(lab.state)->old_node_private));
}

static void test_rotation_refused(void **state)
{
	struct cr_key before;

	join();
	before = coord_state_identity(lab.state)->node_private;
	lab.joins[1] = REFUSED("authkey already used");
	expire();
	UNTIL_STATE(COORD_EXPIRED);
	assert_non_null(strstr(lab.coord->status.detail, "authkey already used"));
	assert_true(cr_key_equal(&before, &coord_state_identity(lab.state)->node_private));
	assert_int_equal(lab.n_identities, 0);
	assert_true(lab.has_self); /* what is there stays */
	/* Told again that it is expired, it does not try the same key again. */
	expire();
	go_on();
	assert_int_equal(lab.n_joins, 2);
}

/* Killed in the midst of a rotation that the server then refuses: the tunnel, which began with the new key, gets the old one back. */
static void test_rotation_refused_after_restart(void **state)
{
	struct cr_key before;

	join();
	before = coord_state_identity(lab.state)->node_private;
	lab.joins[1] = NULL;
	expire();
	UNTIL(lab.n_joins == 2);
	coord_free(lab.coord);
	lab.joins[2] = REFUSED("authkey already used");
	lab.is_expired = true;
	new_client();
	coord_up(lab.coord);
	UNTIL_STATE(COORD_EXPIRED);
	assert_int_equal(lab.n_joins, 3);
	assert_int_equal(lab.n_identities, 1);
	assert_true(cr_key_equal(&lab.identity, &before));
	assert_true(cr_key_equal(&before, &coord_state_identity(lab.state)->node_private));
}

static void test_expiry_is_told(void **state)
{
	unsigned before;
	char key[256];

	join();
	before = lab.n_states;
	send_self(text_of(lab.poll, "NodeKey", key), false, "");
	flush_server();
	UNTIL(lab.coord->status.frames == 2);
	go_on();
	assert_int_equal(lab.n_states, before);
	send_frame("{\"Node\":{\"ID\":7,\"Name\":\"gw.mesh.test.\",\"Key\":\"nodekey:"
		   "1111111111111111111111111111111111111111111111111111111111111111\","
		   "\"Addresses\":[\"100.64.0.7/32\"],\"MachineAuthorized\":true,"
		   "\"KeyExpiry\":\"2099-01-01T00:00:00Z\"}}",
		false);
	flush_server();
	UNTIL(lab.n_states == before + 1);
	assert_true(lab.coord->status.key_expiry_unix_s == 4070908800);
	assert_int_equal(lab.coord->status.state, COORD_STREAMING);
}

static void test_tunnel_refuses_the_key(void **state)
{
	join();
	lab.identity_rc = -EIO;
	expire();
	UNTIL_STATE(COORD_STOPPED);
	assert_non_null(strstr(lab.coord->status.detail, "node key"));
}

/* --- removal, logout ----------------------------------------------------------------------------- */

static void test_removed(void **state)
{
	join();
	test_server_cut(&lab.server);
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_true(lab.has_self); /* a server that is away empties nothing */
	lab.map_status = 404;
	client_connect(lab.coord);
	UNTIL_STATE(COORD_REMOVED);
	assert_false(lab.has_self);
	assert_int_equal(lab.n_joins, 1);
}

static void test_rejoins(void **state)
{
	lab.config.on_removed = COORD_REMOVED_REJOIN;
	join();
	lab.lite_status = 404;
	lab.coord->pulse_ns = 0; /* the pulse that finds it out */
	client_tick(lab.coord);
	UNTIL(lab.n_joins == 2);
	UNTIL_STATE(COORD_STREAMING);
}

/* Registered, and unknown all the same: no loop without a pause. */
static void test_rejoins_in_vain(void **state)
{
	lab.config.on_removed = COORD_REMOVED_REJOIN;
	lab.map_status = 404;
	new_client();
	coord_up(lab.coord);
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_int_equal(lab.n_joins, 1);
}

static void test_logout(void **state)
{
	struct cr_key machine;

	join();
	machine = coord_state_identity(lab.state)->machine_private;
	lab.joins[1] = EXPIRED;
	coord_logout(lab.coord, on_logged_out, NULL);
	UNTIL(lab.n_logouts == 1);
	assert_int_equal(lab.logout_rc, 0);
	assert_int_equal(lab.coord->status.state, COORD_LOGGED_OUT);
	assert_null(strstr(lab.join, "hskey-auth"));
	assert_non_null(strstr(lab.join, "\"Expiry\":\"1970"));
	assert_false(cr_key_equal(&machine, &coord_state_identity(lab.state)->machine_private));
	assert_false(lab.has_self);
	/* And in again, as somebody new: the tunnel hears of it. */
	assert_int_equal(coord_login(lab.coord, NULL, NULL), 0);
	UNTIL_STATE(COORD_STREAMING);
	assert_int_equal(lab.n_identities, 1);
}

static void test_logout_refused(void **state)
{
	struct cr_key machine;

	join();
	machine = coord_state_identity(lab.state)->machine_private;
	lab.joins[1] = REFUSED("no");
	coord_logout(lab.coord, on_logged_out, NULL);
	UNTIL(lab.n_logouts == 1);
	assert_int_equal(lab.logout_rc, -EPERM);
	assert_true(cr_key_equal(&machine, &coord_state_identity(lab.state)->machine_private));
	assert_int_equal(lab.coord->status.state, COORD_STREAMING);
}

static void test_logout_when_down(void **state)
{
	new_client();
	lab.joins[0] = LOGIN("http://hs/register/a"); /* not known there */
	coord_logout(lab.coord, on_logged_out, NULL);
	UNTIL(lab.n_logouts == 1);
	assert_int_equal(lab.logout_rc, 0);
	coord_logout(lab.coord, on_logged_out, NULL);
	coord_down(lab.coord);
	assert_int_equal(lab.n_logouts, 2);
	assert_int_equal(lab.logout_rc, -ECANCELED);
}

/* --- the server's key ---------------------------------------------------------------------------- */

static void test_another_key(void **state)
{
	join();
	cr_x25519_generate(&lab.server.private_key);
	cr_x25519_public(&lab.server.public_key, &lab.server.private_key);
	lab.server.shown_key = lab.server.public_key;
	test_server_cut(&lab.server);
	UNTIL_STATE(COORD_BACKING_OFF);
	client_connect(lab.coord); /* the handshake fails */
	UNTIL(lab.coord->must_check_key);
	client_connect(lab.coord); /* the key is another */
	UNTIL_STATE(COORD_REFUSED);
	assert_int_equal(lab.n_polls, 1);
	assert_true(lab.has_self);
	/* A network that lied, and does not any more. */
	lab.server.shown_key = coord_state_identity(lab.state)->server_key;
	client_connect(lab.coord);
	UNTIL(!lab.coord->must_check_key);
}

static void test_pinned_key(void **state)
{
	char pin[80] = "mkey:";

	base_hex_encode(pin + 5, lab.server.public_key.bytes, CR_KEY_BYTES);
	lab.config.server_key = pin;
	join();
	assert_int_equal(lab.server.n_keys, 0);
}

static void test_bad_key_answers(void **state)
{
	static const char *const answers[][2] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "answers 200"},
		{"HTTP/1.1 200 OK\r\nContent-Type: text/html; x\r\nContent-Length: 6\r\n\r\n<html>",
			"captive portal"},
		{"HTTP/1.1 302 Found\r\nLocation: http://e\x1bvil/\r\nContent-Length: 0\r\n\r\n",
			"redirects (302) to http://e\\x1bvil/"},
		{"HTTP/1.1 400 Bad\r\nContent-Length: 11\r\n\r\nbad version",
			"answers 400: bad version"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
			"two lengths"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding"},
		{"SSH-2.0-OpenSSH\r\n\r\n", "no status line"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 85\r\n\r\n{\"publicKey\":\"mkey:"
		 "0000000000000000000000000000000000000000000000000000000000000000\"}",
			"answers 200"},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(answers); i++) {
		lab.server.key_answer = answers[i][0];
		if (!lab.coord) {
			new_client();
			coord_up(lab.coord);
		} else {
			client_set_state(lab.coord, COORD_CONNECTING, "%s", "");
			client_connect(lab.coord);
		}
		UNTIL_STATE(COORD_BACKING_OFF);
		if (!strstr(lab.coord->status.detail, answers[i][1]))
			fail_msg("'%s' has no '%s'", lab.coord->status.detail, answers[i][1]);
	}
	lab.server.key_answer = NULL;
	client_connect(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
}

/* --- the stream ---------------------------------------------------------------------------------- */

static void test_deltas_and_keepalives(void **state)
{
	join();
	send_frame("{\"KeepAlive\":true}", false);
	flush_server();
	UNTIL(lab.coord->status.frames == 2);
	assert_int_equal(lab.n_changes, 1);
	/* Nothing in it: nobody is told. */
	send_frame("{\"ControlTime\":\"2026-07-01T12:00:01Z\"}", false);
	flush_server();
	UNTIL(lab.coord->status.frames == 3);
	assert_int_equal(lab.n_changes, 1);
	send_frame("{\"PeersChanged\":[{\"ID\":8,\"Name\":\"p.mesh.test.\",\"Key\":\"nodekey:"
		   "1111111111111111111111111111111111111111111111111111111111111111\","
		   "\"Addresses\":[\"100.64.0.8/32\"]}]}",
		false);
	flush_server();
	UNTIL(coord_netmap_n_peers(lab.coord->map) == 1);
	assert_int_equal(lab.n_changes, 2);
}

/* One that is parsed on the pool, with small ones behind it: in order. */
static void test_large_frame(void **state)
{
	size_t size = 4u << 20, at = 0;
	char *text = malloc(size);

	join();
	at += (size_t)snprintf(text, size, "{\"PeersChanged\":[");
	for (unsigned i = 0; i < 4000; i++)
		at += (size_t)snprintf(text + at, size - at,
			"%s{\"ID\":%u,\"Name\":\"p%u.mesh.test.\",\"Key\":\"nodekey:%064x\","
			"\"Addresses\":[\"100.65.%u.%u/32\"]}",
			i ? "," : "", i + 100, i, i * 2654435761u + 1, i >> 8, i & 255);
	snprintf(text + at, size - at, "]}");
	send_frame(text, false);
	send_frame("{\"PeersRemoved\":[100,101]}", false);
	flush_server();
	UNTIL(coord_netmap_n_peers(lab.coord->map) == 3998);
	assert_int_equal(lab.coord->status.state, COORD_STREAMING);
	/* And the end of everything while one is on the pool. */
	send_frame(text, false);
	flush_server();
	UNTIL(lab.coord->poll->is_parsing);
	coord_down(lab.coord);
	free(text);
}

/* A frame that is none ends the stream, and changes nothing of what is in force. */
static void test_garbage_frames(void **state)
{
	static const char *const frames[] = {"[]", "{\"PeersChanged\":5}",
		"{\"Node\":{\"ID\":\"x\"}}", "nonsense", "{\"Peers\":[{}"};

	join();
	for (size_t i = 0; i < BASE_ARRAY_LEN(frames); i++) {
		send_frame(frames[i], false);
		flush_server();
		UNTIL_STATE(COORD_BACKING_OFF);
		assert_true(lab.has_self);
		assert_int_equal(lab.n_changes, 1 + i);
		client_connect(lab.coord);
		UNTIL_STATE(COORD_STREAMING);
	}
}

static void test_first_frame_without_node(void **state)
{
	join();
	lab.has_no_first_frame = true;
	test_server_cut(&lab.server);
	UNTIL_STATE(COORD_BACKING_OFF);
	client_connect(lab.coord);
	UNTIL(lab.n_polls == 2);
	send_frame("{\"ControlTime\":\"2026-07-01T12:00:01Z\"}", false);
	flush_server();
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_true(lab.has_self);
}

static void test_frame_too_long(void **state)
{
	static const uint8_t head[] = {0xff, 0xff, 0xff, 0x7f, 1};

	join();
	test_h2_answer(lab.h2, test_h2_find(lab.h2, lab.poll_id), 200, head, sizeof(head), false);
	flush_server();
	UNTIL_STATE(COORD_BACKING_OFF);
}

static void test_stream_ends(void **state)
{
	join();
	test_h2_answer(lab.h2, test_h2_find(lab.h2, lab.poll_id), 200, "", 0, true);
	flush_server();
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_string_equal(lab.coord->status.detail, "the server ended the map stream");
	assert_int_equal(lab.coord->status.failures, 1);
}

static void test_silence(void **state)
{
	silence_ms = 100;
	join();
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_non_null(strstr(lab.coord->status.detail, "said nothing"));
	assert_true(lab.has_self);
	silence_ms = 120000;
}

static void test_server_in_trouble(void **state)
{
	lab.map_status = 500;
	new_client();
	coord_up(lab.coord);
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_non_null(strstr(lab.coord->status.detail, "HTTP 500: node not found"));
}

static void test_pause_asked_for(void **state)
{
	join();
	send_frame("{\"Debug\":{\"SleepSeconds\":100000}}", false);
	flush_server();
	UNTIL_STATE(COORD_BACKING_OFF);
	assert_true(lab.coord->status.retry_at_ns < base_clock_now_ns() + 301 * BASE_NS_PER_S);
}

static void test_pings(void **state)
{
	char frame[256];

	join();
	snprintf(frame, sizeof(frame),
		"{\"PingRequest\":{\"URL\":\"%s/machine/ping-response?id=1\"}}", lab.url);
	for (int i = 0; i < 3; i++)
		send_frame(frame, false);
	flush_server();
	UNTIL(lab.server.n_heads == 1);
	UNTIL(!lab.coord->ping_fetch);
	snprintf(frame, sizeof(frame),
		"{\"KeepAlive\":true,\"PingRequest\":{\"URL\":\"%s/machine/ping-response?id=2\"}}",
		lab.url);
	send_frame(frame, false);
	flush_server();
	UNTIL(lab.server.n_heads == 2);
	/* None of these is answered. */
	send_frame("{\"PingRequest\":{\"URL\":\"gopher://x\"}}", false);
	send_frame("{\"PingRequest\":{\"URL\":\"https://127.0.0.1:1/\"}}", false);
	flush_server();
	UNTIL(lab.coord->status.frames == 7);
	assert_null(lab.coord->ping_fetch);
	assert_int_equal(lab.coord->status.state, COORD_STREAMING);
}

/* --- lite updates -------------------------------------------------------------------------------- */

static void set_endpoint(const char *text)
{
	struct coord_reachability reachability = {.n_endpoints = 1};

	assert_int_equal(base_endpoint_parse(&reachability.endpoints[0], text), 0);
	coord_reachability_set(lab.coord, &reachability);
}

static void test_updates_are_merged(void **state)
{
	join();
	lab.lite_holds = true;
	set_endpoint("192.0.2.1:1");
	UNTIL(lab.n_lites == 1);
	set_endpoint("192.0.2.2:2");
	set_endpoint("192.0.2.3:3");
	go_on();
	assert_int_equal(lab.n_lites, 1); /* one at a time */
	lab.lite_holds = false;
	test_h2_answer(lab.h2, test_h2_find(lab.h2, lab.lite_id), 200, "", 0, true);
	flush_server();
	UNTIL(lab.n_lites == 2);
	assert_non_null(strstr(lab.lite, "192.0.2.3:3"));
	assert_null(strstr(lab.lite, "192.0.2.2:2"));
	assert_non_null(strstr(lab.lite, "\"OmitPeers\":true"));
	/* The same again is nothing to tell. */
	UNTIL(!lab.coord->update);
	set_endpoint("192.0.2.3:3");
	go_on();
	assert_int_equal(lab.n_lites, 2);
}

static void test_update_is_not_lost(void **state)
{
	join();
	lab.lite_status = 500;
	set_endpoint("192.0.2.1:1");
	UNTIL(lab.n_lites == 1);
	UNTIL(lab.coord->update_retry_ns != 0);
	assert_int_equal(lab.coord->status.state, COORD_STREAMING);
	go_on();
	assert_int_equal(lab.n_lites, 1); /* not at once */
	lab.lite_status = 200;
	lab.coord->update_retry_ns = 0;
	client_tick(lab.coord);
	UNTIL(lab.n_lites == 2);
	assert_non_null(strstr(lab.lite, "192.0.2.1:1"));
}

static void test_update_before_it_streams(void **state)
{
	new_client();
	set_endpoint("192.0.2.9:9");
	coord_up(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
	assert_non_null(strstr(lab.poll, "192.0.2.9:9"));
	go_on();
	assert_int_equal(lab.n_lites, 0);
}

/* --- connections --------------------------------------------------------------------------------- */

static void test_faults(void **state)
{
	static const struct {
		enum test_fault fault;
		const char *words;
	} cases[] = {
		{TEST_FAULT_NO_RESPONSE, "ended the handshake"},
		{TEST_FAULT_BAD_RESPONSE, "could not prove"},
		{TEST_FAULT_STATUS, "answers 500: sorry"},
		{TEST_FAULT_EARLY, "before HTTP/2"},
		{TEST_FAULT_RECORD, "does not open"},
	};

	new_client();
	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		lab.server.fault = cases[i].fault;
		if (i == 0) {
			coord_up(lab.coord);
		} else {
			client_set_state(lab.coord, COORD_CONNECTING, "%s", "");
			client_connect(lab.coord);
		}
		UNTIL_STATE(COORD_BACKING_OFF);
		if (!strstr(lab.coord->status.detail, cases[i].words))
			fail_msg("'%s' has no '%s'", lab.coord->status.detail, cases[i].words);
	}
	lab.server.fault = TEST_FAULT_NONE;
	client_connect(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
	assert_int_equal(lab.coord->status.failures, 0);
}

/* Down, and freed, wherever it is on its way. */
static void test_ended_anywhere(void **state)
{
	for (unsigned rounds = 0; rounds < 24; rounds++) {
		new_client();
		coord_up(lab.coord);
		for (unsigned i = 0; i < rounds; i++)
			uv_run(&lab.loop, UV_RUN_NOWAIT);
		if (rounds % 2)
			coord_down(lab.coord);
		coord_free(lab.coord);
		go_on();
		lab.coord = NULL;
	}
	join();
}

static void test_backoff_is_bounded(void **state)
{
	for (unsigned n = 1; n < 1000000; n = n * 2 + 1) {
		uint64_t ms = client_backoff_ms(n);

		assert_in_range(ms, 1000, 45000);
	}
	assert_in_range(client_backoff_ms(UINT32_MAX), 15000, 45000);
}

static void test_bad_configuration(void **state)
{
	static const struct {
		const char *url, *server_key, *ca_file, *authkey, *words;
	} cases[] = {
		{"hs.example", NULL, NULL, NULL, "neither http:// nor https://"},
		{"ftp://hs", NULL, NULL, NULL, "neither http:// nor https://"},
		{"http://hs/path", NULL, NULL, NULL, "a path"},
		{"http://user@hs", NULL, NULL, NULL, "does not belong"},
		{"http://", NULL, NULL, NULL, "no host"},
		{"http://hs:0", NULL, NULL, NULL, "port"},
		{"http://hs:65536", NULL, NULL, NULL, "port"},
		{"http://[::1", NULL, NULL, NULL, "without ']'"},
		{"http://[[::1]", NULL, NULL, NULL, "no host"},
		{"http://[hs]", NULL, NULL, NULL, "no host"},
		{"http://h[s", NULL, NULL, NULL, "no host"},
		{"http://hs", "mkey:12", NULL, NULL, "server_key"},
		{"http://hs",
			"mkey:0000000000000000000000000000000000000000000000000000000000000000",
			NULL, NULL, "server_key"},
		{"https://hs", NULL, "/nonexistent/ca.pem", NULL, "ca_file"},
		{"http://hs", NULL, NULL, "", "auth key"},
	};
	struct cr_key disco = {{5}};
	struct base_error line;

	lab.state = coord_state_open(lab.dir, &line);
	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		lab.config.server_url = cases[i].url;
		lab.config.server_key = cases[i].server_key;
		lab.config.ca_file = cases[i].ca_file;
		lab.config.authkey = cases[i].authkey;
		errno = 0;
		assert_null(
			coord_new(&lab.loop, lab.state, &lab.config, &disco, &host, NULL, &line));
		assert_int_equal(errno, EINVAL);
		if (!strstr(line.text, cases[i].words))
			fail_msg("'%s' has no '%s'", line.text, cases[i].words);
	}
}

#define IN_A_LAB(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LAB(test_first_join),
		IN_A_LAB(test_known_node_streams_first),
		IN_A_LAB(test_no_early_payload),
		IN_A_LAB(test_refused_key),
		IN_A_LAB(test_interactive),
		IN_A_LAB(test_expired_at_registration),
		IN_A_LAB(test_expired_again),
		IN_A_LAB(test_rotation),
		IN_A_LAB(test_rotation_refused),
		IN_A_LAB(test_rotation_refused_after_restart),
		IN_A_LAB(test_expiry_is_told),
		IN_A_LAB(test_tunnel_refuses_the_key),
		IN_A_LAB(test_removed),
		IN_A_LAB(test_rejoins),
		IN_A_LAB(test_rejoins_in_vain),
		IN_A_LAB(test_logout),
		IN_A_LAB(test_logout_refused),
		IN_A_LAB(test_logout_when_down),
		IN_A_LAB(test_another_key),
		IN_A_LAB(test_pinned_key),
		IN_A_LAB(test_bad_key_answers),
		IN_A_LAB(test_deltas_and_keepalives),
		IN_A_LAB(test_large_frame),
		IN_A_LAB(test_garbage_frames),
		IN_A_LAB(test_first_frame_without_node),
		IN_A_LAB(test_frame_too_long),
		IN_A_LAB(test_stream_ends),
		IN_A_LAB(test_silence),
		IN_A_LAB(test_server_in_trouble),
		IN_A_LAB(test_pause_asked_for),
		IN_A_LAB(test_pings),
		IN_A_LAB(test_updates_are_merged),
		IN_A_LAB(test_update_is_not_lost),
		IN_A_LAB(test_update_before_it_streams),
		IN_A_LAB(test_faults),
		IN_A_LAB(test_ended_anywhere),
		IN_A_LAB(test_backoff_is_bounded),
		IN_A_LAB(test_bad_configuration),
	};

	signal(SIGPIPE, SIG_IGN); /* as programs with a loop do */
	/* The machine's own proxies are none of the test's business. */
	setenv("no_proxy", "*", 1);
	if (cr_init() != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
