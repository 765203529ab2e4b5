/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl peer-config: a configuration for the other end of the tunnel, as wg-quick and every
 * WireGuard program read it, and the lines that make it known to the gateway. What the gateway
 * knows comes over the API; a key pair is made here when none is given. See cli_command.h.
 */
#include "base_addr.h"
#include "cr_noise.h"
#include "ctl_config.h"
#include "ctl_file.h"
#include "ctl_key.h"
#include "cli_command.h"
#include "cli_table.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>

/* How many addresses of a prefix are tried for a free one. */
#define CANDIDATES_MAX 65536
#define KEEPALIVE_S 25
#define LIST_LEN 512

struct peer_config {
	const char *name;
	const char *endpoint, *out, *key_file, *preshared_key_file,
		*address;     /* flags; NULL: absent */
	json_t *tunnel;       /* of /v1/status */
	json_t *peers, *peer; /* of /v1/peers; NULL: the name is new there */
	struct cr_key private_key, public_key;
	char preshared_key[BASE_KEY_TEXT_LEN + 1];
	char addresses[LIST_LEN]; /* of the other end: "10.9.0.3/32, fd00::3/128" */
	char gateway_addresses[LIST_LEN];
	char found_endpoint[BASE_ENDPOINT_TEXT_LEN];
};

/* ---- addresses ---- */

static void append(char *list, const char *text)
{
	size_t at = strlen(list);

	snprintf(list + at, LIST_LEN - at, "%s%s", at ? ", " : "", text);
}

static bool is_taken(const struct peer_config *config, const struct base_addr *addr)
{
	struct base_prefix prefix;
	json_t *item, *peer;
	size_t i, k;

	json_array_foreach (
		json_object_get(json_object_get(config->tunnel, "host"), "addresses"), i, item) {
		if (base_ifaddr_parse(&prefix, json_string_value(item)) == 0 &&
			base_addr_equal(&prefix.addr, addr))
			return true;
	}
	json_array_foreach (config->peers, i, peer) {
		json_array_foreach (json_object_get(peer, "allowed_ips"), k, item) {
			if (base_prefix_parse(&prefix, json_string_value(item), false) == 0 &&
				base_prefix_contains(&prefix, addr))
				return true;
		}
	}
	return false;
}

/* The next address; false when it leaves the prefix. */
static bool next_address(const struct base_prefix *prefix, struct base_addr *addr)
{
	for (unsigned i = base_family_bytes(addr->family); i-- > 0;)
		if (++addr->bytes[i] != 0)
			break;
	return base_prefix_contains(prefix, addr);
}

/* IPv4's last address of a prefix is its broadcast. */
static bool is_broadcast(const struct base_prefix *prefix, struct base_addr addr)
{
	return addr.family == BASE_FAMILY_V4 && prefix->bits < 31 && !next_address(prefix, &addr);
}

/* The first free address behind one of the gateway's. */
static bool find_free(const struct peer_config *config, const char *ifaddr_text)
{
	struct base_prefix ifaddr, prefix;
	struct base_addr addr;
	char text[BASE_ADDR_TEXT_LEN], *list = (char *)config->addresses;
	char with_bits[BASE_PREFIX_TEXT_LEN];

	if (base_ifaddr_parse(&ifaddr, ifaddr_text) < 0 ||
		base_prefix_parse(&prefix, ifaddr_text, false) < 0)
		return false;
	addr = prefix.addr;
	for (unsigned tries = 0; tries < CANDIDATES_MAX; tries++) {
		if (!next_address(&prefix, &addr) || is_broadcast(&prefix, addr))
			return false;
		if (is_taken(config, &addr))
			continue;
		snprintf(with_bits, sizeof(with_bits), "%s/%u", base_addr_print(text, &addr),
			8 * base_family_bytes(addr.family));
		append(list, with_bits);
		return true;
	}
	return false;
}

/* Those of a peer that the gateway knows: the single addresses among its allowed IPs. */
static void take_known_addresses(struct peer_config *config)
{
	struct base_prefix prefix;
	json_t *item;
	size_t i;

	json_array_foreach (json_object_get(config->peer, "allowed_ips"), i, item) {
		const char *text = json_string_value(item);

		if (base_prefix_parse(&prefix, text, false) == 0 &&
			prefix.bits == 8 * base_family_bytes(prefix.addr.family))
			append(config->addresses, text);
	}
}

static int take_addresses(const struct cli *cli, struct peer_config *config)
{
	json_t *hosts = json_object_get(json_object_get(config->tunnel, "host"), "addresses");
	struct base_prefix prefix;
	char text[BASE_PREFIX_TEXT_LEN];
	json_t *item;
	size_t i;

	json_array_foreach (hosts, i, item) {
		if (base_ifaddr_parse(&prefix, json_string_value(item)) < 0)
			continue;
		prefix.bits = (uint8_t)(8 * base_family_bytes(prefix.addr.family));
		append(config->gateway_addresses, base_prefix_print(text, &prefix));
		if (!config->address && !config->peer)
			find_free(config, json_string_value(item));
	}
	if (config->address) {
		if (base_ifaddr_parse(&prefix, config->address) < 0)
			return cli_fail(cli, CLI_USAGE, "usage",
				"--address %s: an address, such as 10.9.0.3", config->address);
		prefix.bits = (uint8_t)(8 * base_family_bytes(prefix.addr.family));
		append(config->addresses, base_prefix_print(text, &prefix));
	} else if (config->peer) {
		take_known_addresses(config);
	}
	if (config->addresses[0])
		return CLI_OK;
	return cli_fail(cli, CLI_USAGE, "no_address",
		"no address for %s is left in the gateway's prefixes; give one with --address",
		config->name);
}

/* ---- endpoint ---- */

/* The first global address of the gateway's first port, if that is an interface of ours. */
static void guess_endpoint(struct peer_config *config)
{
	const char *device =
		cli_text(json_array_get(json_object_get(config->tunnel, "ports"), 0), "device");
	struct base_endpoint endpoint = {
		.port = (uint16_t)cli_number(config->tunnel, "listen_port")};
	struct ifaddrs *list, *entry;

	if (getifaddrs(&list) < 0)
		return;
	for (entry = list; entry && !config->endpoint; entry = entry->ifa_next) {
		const struct sockaddr *sa = entry->ifa_addr;

		if (!sa || strcmp(entry->ifa_name, device) != 0)
			continue;
		if (sa->sa_family == AF_INET)
			endpoint.addr = base_addr_from_bytes(BASE_FAMILY_V4,
				&((const struct sockaddr_in *)(const void *)sa)->sin_addr);
		else if (sa->sa_family == AF_INET6 &&
			!IN6_IS_ADDR_LINKLOCAL(
				&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr))
			endpoint.addr = base_addr_from_bytes(BASE_FAMILY_V6,
				&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
		else
			continue;
		config->endpoint = base_endpoint_print(config->found_endpoint, &endpoint);
	}
	freeifaddrs(list);
}

static int take_endpoint(const struct cli *cli, struct peer_config *config)
{
	if (!config->endpoint)
		guess_endpoint(config);
	if (!config->endpoint)
		return cli_fail(cli, CLI_USAGE, "no_endpoint",
			"where does %s reach this gateway? Give --endpoint HOST:%llu", config->name,
			(unsigned long long)cli_number(config->tunnel, "listen_port"));
	if (!strrchr(config->endpoint, ':') || strpbrk(config->endpoint, " \t\r\n"))
		return cli_fail(cli, CLI_USAGE, "usage",
			"--endpoint %s: HOST:PORT, such as "
			"gw.example.net:51820",
			config->endpoint);
	return CLI_OK;
}

/* ---- keys ---- */

static int take_keys(const struct cli *cli, struct peer_config *config)
{
	struct cr_key preshared CR_KEY_CLEANUP;
	struct base_error err;

	if (config->preshared_key_file) {
		if (ctl_key_read(&preshared, config->preshared_key_file, NULL, &err) < 0)
			return cli_fail(cli, CLI_FAILED, "key_file", "%s", err.text);
		base_key_encode(config->preshared_key, preshared.bytes);
	} else if (json_is_true(json_object_get(config->peer, "has_preshared_key"))) {
		return cli_fail(cli, CLI_USAGE, "usage",
			"the gateway has a preshared key for %s; give its file with "
			"--preshared-key",
			config->name);
	}
	if (!config->key_file)
		cr_x25519_generate(&config->private_key);
	else if (ctl_key_read(&config->private_key, config->key_file, NULL, &err) < 0)
		return cli_fail(cli, CLI_FAILED, "key_file", "%s", err.text);
	cr_x25519_public(&config->public_key, &config->private_key);
	return CLI_OK;
}

/* ---- output ---- */

/* The file for the other end. It holds a secret: the caller wipes and frees it. NULL without memory. */
static char *render(const struct peer_config *config, size_t *ret_len)
{
	char private_key[BASE_KEY_TEXT_LEN + 1], *text = NULL;
	FILE *out = open_memstream(&text, ret_len);

	if (!out)
		return NULL;
	base_key_encode(private_key, config->private_key.bytes);
	fprintf(out, "# %s: the end of a tunnel to sandd-gw. Start it: wg-quick up THIS_FILE\n",
		config->name);
	fprintf(out, "[Interface]\nPrivateKey = %s\nAddress = %s\nMTU = %llu\n", private_key,
		config->addresses,
		(unsigned long long)cli_number(json_object_get(config->tunnel, "host"), "mtu"));
	fprintf(out, "\n[Peer]\nPublicKey = %s\n", cli_text(config->tunnel, "public_key"));
	if (config->preshared_key[0])
		fprintf(out, "PresharedKey = %s\n", config->preshared_key);
	fprintf(out, "AllowedIPs = %s\nEndpoint = %s\nPersistentKeepalive = %d\n",
		config->gateway_addresses, config->endpoint, KEEPALIVE_S);
	base_wipe(private_key, sizeof(private_key));
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* The line of the gateway's configuration. */
static void render_yaml(const struct peer_config *config, char *buf, size_t size)
{
	char key[BASE_KEY_TEXT_LEN + 1];

	base_key_encode(key, config->public_key.bytes);
	snprintf(buf, size, "  - {name: %s, public_key: %s, allowed_ips: [\"%s\"]}", config->name,
		key, config->addresses);
	/* "a, b" as two texts of a list. */
	for (char *comma = strstr(buf, "[\""); comma && (comma = strstr(comma, ", "));) {
		memmove(comma + 4, comma + 2, strlen(comma + 2) + 1);
		memcpy(comma, "\", \"", 4);
		comma += 4;
	}
}

static void say_next(const struct peer_config *config, const char *yaml)
{
	char key[BASE_KEY_TEXT_LEN + 1];

	base_key_encode(key, config->public_key.bytes);
	if (config->out)
		fprintf(stderr,
			"%s written; bring it to %s by a safe way: it holds its private key\n",
			config->out, config->name);
	if (config->peer && strcmp(cli_text(config->peer, "public_key"), key) == 0)
		fprintf(stderr, "the gateway knows %s under this key\n", config->name);
	else if (config->peer)
		fprintf(stderr,
			"put the new key into the gateway's configuration, at the peer %s, and "
			"start "
			"it again:\n    public_key: %s\n",
			config->name, key);
	else
		fprintf(stderr,
			"paste below \"peers:\" in the gateway's configuration, and start it "
			"again:\n%s\n",
			yaml);
}

static int write_out(
	const struct cli *cli, const struct peer_config *config, const char *text, size_t len)
{
	int rc;

	if (!config->out)
		return CLI_OK;
	rc = ctl_file_write_secret(config->out, text, len, false);
	if (rc == -EEXIST)
		return cli_fail(cli, CLI_FAILED, "exists",
			"%s exists; choose another name, or remove it first", config->out);
	if (rc < 0)
		return cli_fail(cli, CLI_FAILED, "output", "%s: %s", config->out, strerror(-rc));
	return CLI_OK;
}

static int print_config(const struct cli *cli, const struct peer_config *config)
{
	char key[BASE_KEY_TEXT_LEN + 1], yaml[LIST_LEN + 256];
	size_t len;
	char *text = render(config, &len);
	int exit_code;

	if (!text)
		return cli_fail(cli, CLI_FAILED, "no_memory", "out of memory");
	render_yaml(config, yaml, sizeof(yaml));
	base_key_encode(key, config->public_key.bytes);
	exit_code = write_out(cli, config, text, len);
	if (exit_code == CLI_OK && cli->is_json) {
		exit_code = cli_print_json(json_pack("{s:s, s:s, s:s, s:s?, s:s?}", "name",
			config->name, "public_key", key, "yaml", yaml, "file", config->out,
			"config", config->out ? NULL : text));
	} else if (exit_code == CLI_OK) {
		if (!config->out)
			fputs(text, stdout);
		say_next(config, yaml);
		exit_code = fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
	}
	base_wipe(text, len);
	free(text);
	return exit_code;
}

/* ---- the command ---- */

/* Returns -1 to go on, else an exit code. */
static int take_options(struct cli *cli, struct peer_config *config, int argc, char **argv)
{
	int option;

	while ((option = cli_next_option(cli, argc, argv)) != -1) {
		switch (option) {
		case 'E':
			config->endpoint = optarg;
			break;
		case 'o':
			config->out = optarg;
			break;
		case 'k':
			config->key_file = optarg;
			break;
		case 'p':
			config->preshared_key_file = optarg;
			break;
		case 'a':
			config->address = optarg;
			break;
		case CLI_OPTION_HELP:
			return CLI_OK;
		default:
			return CLI_USAGE;
		}
	}
	config->name = argv[optind];
	if (!config->name || argv[optind + 1])
		return cli_fail(cli, CLI_USAGE, "usage", "name one peer, such as worker-2");
	if (strlen(config->name) > CTL_NAME_BYTES_MAX || !config->name[0] ||
		config->name[strspn(config->name,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")])
		return cli_fail(cli, CLI_USAGE, "usage",
			"'%s' is no name: letters, digits, '.', '_' and '-', at most %d",
			config->name, CTL_NAME_BYTES_MAX);
	return -1;
}

static json_t *find_peer(json_t *peers, const char *name)
{
	json_t *peer;
	size_t i;

	json_array_foreach (peers, i, peer) {
		if (strcmp(cli_text(peer, "name"), name) == 0)
			return peer;
	}
	return NULL;
}

static int make_config(
	const struct cli *cli, struct peer_config *config, json_t *status, json_t *peers)
{
	int exit_code;

	config->tunnel = json_object_get(status, "tunnel");
	config->peers = json_object_get(peers, "peers");
	config->peer = find_peer(config->peers, config->name);
	if (!json_is_object(config->tunnel))
		return cli_fail(cli, CLI_FAILED, "no_tunnel",
			"this gateway runs without a tunnel (direct mode): there is nothing to "
			"configure");
	exit_code = take_endpoint(cli, config);
	if (exit_code == CLI_OK)
		exit_code = take_addresses(cli, config);
	if (exit_code == CLI_OK)
		exit_code = take_keys(cli, config);
	if (exit_code == CLI_OK)
		exit_code = print_config(cli, config);
	return exit_code;
}

int cli_peer_config(struct cli *cli, int argc, char **argv)
{
	struct peer_config config = {0};
	int exit_code = take_options(cli, &config, argc, argv);
	json_t *status, *peers = NULL;

	if (exit_code >= 0)
		return exit_code;
	if (cr_init() < 0)
		return cli_fail(cli, CLI_FAILED, "crypto",
			"OpenSSL here lacks BLAKE2s, or libsodium does not start");
	exit_code = CLI_FAILED;
	status = cli_get(cli, "/v1/status");
	if (status)
		peers = cli_get(cli, "/v1/peers");
	if (peers)
		exit_code = make_config(cli, &config, status, peers);
	json_decref(status);
	json_decref(peers);
	base_wipe(&config, sizeof(config));
	return exit_code;
}
