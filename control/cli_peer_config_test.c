/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer-config without a gateway: which addresses a new peer gets, what stands in its file, and that
 * the line for the gateway's configuration is one that loads.
 */
#include "cli_peer_config.c"

#include "ctl_test.h"

/* The options are sandctl_main.c's; no case here has any. */
int cli_next_option(struct cli *cli, int argc, char **argv)
{
	return -1;
}

static struct peer_config config;
static json_t *tunnel, *peers;

static int setup(void **state)
{
	if (cr_init() < 0)
		return -1;
	memset(&config, 0, sizeof(config));
	tunnel = json_pack("{s:s, s:i, s:[{s:s, s:s}], s:{s:[s, s], s:i}}", "public_key", "GATEWAY",
		"listen_port", 51820, "ports", "kind", "af_xdp", "device", "nonexistent0", "host",
		"addresses", "10.9.0.1/29", "fd00::1/64", "mtu", 1280);
	peers = json_pack("[{s:s, s:s, s:[s, s], s:b}]", "name", "known", "public_key", "K",
		"allowed_ips", "10.9.0.2/32", "10.20.0.0/16", "has_preshared_key", 0);
	config.name = "new";
	config.endpoint = "gw.example:51820";
	config.tunnel = tunnel;
	config.peers = peers;
	return 0;
}

static int teardown(void **state)
{
	json_decref(tunnel);
	json_decref(peers);
	return 0;
}

static const struct cli json_cli = {.is_json = true};

/* What a call prints as its one JSON document; the caller's. */
static json_t *document_of(int (*call)(const struct cli *, struct peer_config *), int wanted)
{
	FILE *saved = stdout;
	char *text = NULL;
	json_t *document;
	size_t len;

	stdout = open_memstream(&text, &len);
	assert_non_null(stdout);
	assert_int_equal(call(&json_cli, &config), wanted);
	fclose(stdout);
	stdout = saved;
	document = json_loads(text, 0, NULL);
	free(text);
	return document;
}

static void new_peer_gets_the_first_free_addresses(void **state)
{
	assert_int_equal(take_addresses(&json_cli, &config), CLI_OK);
	assert_string_equal(config.addresses, "10.9.0.3/32, fd00::2/128");
	assert_string_equal(config.gateway_addresses, "10.9.0.1/32, fd00::1/128");
}

/* 10.9.0.1/29 has six: .1 is the gateway's, .2 the known peer's, .7 is the broadcast. */
static void full_prefix_is_skipped(void **state)
{
	json_t *ips = json_object_get(json_array_get(peers, 0), "allowed_ips");

	json_array_append_new(ips, json_string("10.9.0.3/32"));
	json_array_append_new(ips, json_string("10.9.0.4/30"));
	assert_int_equal(take_addresses(&json_cli, &config), CLI_OK);
	assert_string_equal(config.addresses, "fd00::2/128");
}

static void known_peer_keeps_its_addresses(void **state)
{
	config.name = "known";
	config.peer = find_peer(peers, "known");
	assert_non_null(config.peer);
	assert_int_equal(take_addresses(&json_cli, &config), CLI_OK);
	assert_string_equal(config.addresses, "10.9.0.2/32");
}

static int call_endpoint(const struct cli *to, struct peer_config *of)
{
	return take_endpoint(to, of);
}

static void unknown_endpoint_is_asked_for(void **state)
{
	json_t *document;

	config.endpoint = NULL;
	document = document_of(call_endpoint, CLI_USAGE);
	assert_string_equal(cli_text(json_object_get(document, "error"), "message"),
		"where does new reach this gateway? Give --endpoint HOST:51820");
	json_decref(document);
}

static int call_print(const struct cli *to, struct peer_config *of)
{
	return print_config(to, of);
}

static void file_and_line_belong_together(void **state)
{
	char public_key[BASE_KEY_TEXT_LEN + 1], private_key[BASE_KEY_TEXT_LEN + 1], wanted[512];
	json_t *document;

	assert_int_equal(take_addresses(&json_cli, &config), CLI_OK);
	assert_int_equal(take_keys(&json_cli, &config), CLI_OK);
	base_key_encode(public_key, config.public_key.bytes);
	base_key_encode(private_key, config.private_key.bytes);
	document = document_of(call_print, CLI_OK);
	snprintf(wanted, sizeof(wanted),
		"  - {name: new, public_key: %s, allowed_ips: [\"10.9.0.3/32\", \"fd00::2/128\"]}",
		public_key);
	assert_string_equal(cli_text(document, "yaml"), wanted);
	snprintf(wanted, sizeof(wanted),
		"# new: the end of a tunnel to sandd-gw. Start it: wg-quick up THIS_FILE\n"
		"[Interface]\nPrivateKey = %s\nAddress = 10.9.0.3/32, fd00::2/128\nMTU = 1280\n\n"
		"[Peer]\nPublicKey = GATEWAY\nAllowedIPs = 10.9.0.1/32, fd00::1/128\n"
		"Endpoint = gw.example:51820\nPersistentKeepalive = 25\n",
		private_key);
	assert_string_equal(cli_text(document, "config"), wanted);
	json_decref(document);
}

/* What is printed to be pasted is taken by the gateway. */
static void pasted_line_loads(void **state)
{
	char path[128], key_path[128], text[2048], yaml[LIST_LEN + 256];
	struct ctl_config *loaded;
	struct base_error err;
	struct cr_key unused;

	assert_int_equal(take_addresses(&json_cli, &config), CLI_OK);
	assert_int_equal(take_keys(&json_cli, &config), CLI_OK);
	render_yaml(&config, yaml, sizeof(yaml));
	assert_int_equal(ctl_key_generate(&unused, test_path(key_path, "gw.key"), true, &err), 0);
	snprintf(text, sizeof(text),
		"private_key_file: %s\nports: [{kind: af_xdp, device: e0}]\n"
		"host: {addresses: [10.9.0.1/29, \"fd00::1/64\"]}\npeers:\n%s\n",
		key_path, yaml);
	test_write("gw.yaml", text, strlen(text), 0600);
	loaded = ctl_config_load(test_path(path, "gw.yaml"), NULL, &err);
	if (!loaded) {
		fail_msg("%s", err.text);
		return;
	}
	assert_int_equal(loaded->n_peers, 1);
	assert_int_equal(loaded->peers[0].dp.n_allowed_ips, 2);
	assert_memory_equal(
		loaded->peers[0].dp.public_key.bytes, config.public_key.bytes, CR_KEY_BYTES);
	ctl_config_free(loaded);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(new_peer_gets_the_first_free_addresses),
		CASE(full_prefix_is_skipped),
		CASE(known_peer_keeps_its_addresses),
		CASE(unknown_endpoint_is_asked_for),
		CASE(file_and_line_belong_together),
		CASE(pasted_line_loads),
	};

	return cmocka_run_group_tests(tests, test_dir_make, test_dir_remove);
}
