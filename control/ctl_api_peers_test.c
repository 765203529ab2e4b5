/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bodies that ask for peers: what is taken from them, and what is told of those that are wrong. Carrying a call out is
 * for the labs (tests/netns/reload_test.sh) and ctl_roster_test.c.
 */
#include "ctl_api_peers.c"

#include "ctl_test.h"

#define KEY_A "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
#define KEY_B "IB8eHRwbGhkYFxYVFBMSERAPDg0MCwoJCAcGBQQDAgE="
#define PEER_A "\"name\": \"a\", \"public_key\": \"" KEY_A "\", \"allowed_ips\": [\"10.9.0.2\"]"

static struct ctl_config config;
static const struct ctl_api_sources sources = {.config = &config};

static struct call read_body(const char *text, json_t **ret_body, int *ret_rc)
{
	struct call call = {.sources = &sources};
	json_error_t error;

	*ret_body = json_loads(text, 0, &error);
	if (!*ret_body)
		fail_msg("%s: %s", text, error.text);
	*ret_rc = take_body(&call, *ret_body);
	return call;
}

static void expect_wrong(const char *text, const char *told)
{
	json_t *body;
	int rc;
	struct call call = read_body(text, &body, &rc);

	assert_int_equal(rc, -EINVAL);
	if (!strstr(call.err.text, told))
		fail_msg("%s: not told of %s: %s", text, told, call.err.text);
	call_fini(&call);
	json_decref(body);
}

static void forms_are_taken(void **state)
{
	static const char *const forms[] = {"{" PEER_A "}", "[{" PEER_A "}]",
		"{\"set\": [{" PEER_A "}]}",
		"{\"set\": [{" PEER_A "}], \"remove\": [\"b\", \"c\"]}"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(forms); i++) {
		json_t *body;
		int rc;
		struct call call = read_body(forms[i], &body, &rc);

		if (rc < 0)
			fail_msg("%s", call.err.text);
		assert_int_equal(call.tunnel.n_set, 1);
		assert_string_equal(call.tunnel.set[0]->name, "a");
		assert_int_equal(call.tunnel.set[0]->dp.n_allowed_ips, 1);
		assert_int_equal(call.tunnel.set[0]->allowed_ips[0].bits, 32);
		assert_int_equal(call.tunnel.n_remove, i == 3 ? 2 : 0);
		if (i == 3)
			assert_string_equal(call.tunnel.remove[1], "c");
		call_fini(&call);
		json_decref(body);
	}
}

static void every_member_is_taken(void **state)
{
	json_t *body;
	int rc;
	struct call call =
		read_body("{" PEER_A ", \"endpoint\": \"192.0.2.7:51820\", \"keepalive\": 25, "
			  "\"fixed_endpoint\": true, \"preshared_key\": \"" KEY_B "\"}",
			&body, &rc);
	const struct dp_peer_config *peer;
	const char *text;

	if (rc < 0)
		fail_msg("%s", call.err.text);
	peer = &call.tunnel.set[0]->dp;
	assert_int_equal(peer->public_key.bytes[31], 32);
	assert_int_equal(peer->preshared_key.bytes[0], 32);
	assert_int_equal(peer->endpoint.port, 51820);
	assert_int_equal(peer->keepalive_s, 25);
	assert_true(peer->endpoint_is_fixed);
	/* Of the shared key nothing is left in the document. */
	text = json_string_value(json_object_get(body, "preshared_key"));
	for (size_t i = 0; i < BASE_KEY_TEXT_LEN; i++)
		assert_int_equal(text[i], 0);
	call_fini(&call);
	json_decref(body);
}

static void wrong_ones_are_named(void **state)
{
	expect_wrong("{\"name\": \"a\"}", "peers[0].public_key");
	expect_wrong("[{" PEER_A "}, {\"name\": \"no name\"}]", "peers[1].name");
	expect_wrong("[{" PEER_A "}, 7]", "peers[1]");
	expect_wrong("{" PEER_A ", \"colour\": 1}", "peers[0].colour: unknown key");
	expect_wrong("{" PEER_A ", \"endpoint\": \"here\"}", "peers[0].endpoint");
	expect_wrong("{" PEER_A ", \"endpoint\": 7}", "peers[0].endpoint: must be a text");
	expect_wrong("{" PEER_A ", \"keepalive\": 65536}", "peers[0].keepalive");
	expect_wrong("{" PEER_A ", \"keepalive\": -1}", "peers[0].keepalive");
	expect_wrong("{" PEER_A ", \"keepalive\": \"25\"}", "peers[0].keepalive");
	expect_wrong("{" PEER_A ", \"fixed_endpoint\": 1}", "peers[0].fixed_endpoint");
	expect_wrong("{" PEER_A ", \"fixed_endpoint\": true}", "peers[0].fixed_endpoint");
	expect_wrong("{" PEER_A ", \"preshared_key\": \"short\"}", "peers[0].preshared_key");
	expect_wrong("{" PEER_A ", \"preshared_key_file\": \"/nowhere/psk\"}",
		"peers[0].preshared_key_file");
	expect_wrong("{\"name\": \"a\", \"public_key\": \"" KEY_A "\", \"allowed_ips\": []}",
		"peers[0].allowed_ips");
	expect_wrong("{\"name\": \"a\", \"public_key\": \"" KEY_A
		     "\", \"allowed_ips\": [\"10.9.0.2\", \"10.9.0.3/8\"]}",
		"peers[0].allowed_ips[1]");
	expect_wrong("{\"name\": \"a\", \"public_key\": \"" KEY_A "\", \"allowed_ips\": [7]}",
		"peers[0].allowed_ips");
	expect_wrong("{\"set\": {" PEER_A "}}", "give a peer");
	expect_wrong("{\"set\": [], \"delete\": []}", "give a peer");
	expect_wrong("{\"remove\": \"a\"}", "remove");
	expect_wrong("{\"remove\": [\"a\", 7]}", "remove[1]");
}

static void paths_name_counts(void **state)
{
	struct call call = {.sources = &sources};
	json_t *body = json_loads("{" PEER_A "}", 0, NULL);

	assert_int_equal(take_set(&call, body, "other"), -EINVAL);
	assert_non_null(strstr(call.err.text, "peers[0].name"));
	call_fini(&call);
	json_object_del(body, "name");
	call = (struct call){.sources = &sources};
	assert_int_equal(take_set(&call, body, "other"), 0);
	assert_string_equal(call.tunnel.set[0]->name, "other");
	call_fini(&call);
	json_decref(body);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms_are_taken),
		cmocka_unit_test(every_member_is_taken),
		cmocka_unit_test(wrong_ones_are_named),
		cmocka_unit_test(paths_name_counts),
	};

	memset(config.dp.private_key.bytes, 0x44, CR_KEY_BYTES);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
