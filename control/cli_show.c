/* SPDX-License-Identifier: BSD-3-Clause */
/* sandctl status, peers, daemons: ask, then print for people. See cli_command.h. */
#include "base_bytes.h"
#include "cli_command.h"
#include "cli_peers.h"
#include "cli_table.h"

#include <stdlib.h>
#include <time.h>

/* Read the options, ask, and print where --json asks for it. NULL: done, with *ret_exit. */
static json_t *begin(struct cli *cli, int argc, char **argv, const char *path, int *ret_exit)
{
	json_t *document;

	if (!cli_no_options(cli, argc, argv, ret_exit))
		return NULL;
	document = cli_get(cli, path);
	*ret_exit = document ? CLI_OK : CLI_FAILED;
	return document;
}

static int end(json_t *document)
{
	json_decref(document);
	return cli_flush();
}

/* Append the texts of a list, with ", " between. */
static void join(char *buf, size_t size, const json_t *list)
{
	json_t *item;
	size_t i;

	buf[0] = '\0';
	json_array_foreach (list, i, item) {
		size_t at = strlen(buf);

		snprintf(buf + at, size - at, "%s%s", i ? ", " : "", json_string_value(item));
	}
}

/* ---- status ---- */

static void print_pair(const char *name, const char *text)
{
	printf("%-12s %s\n", name, *text ? text : "-");
}

static void print_tunnel(const json_t *tunnel)
{
	const json_t *host = json_object_get(tunnel, "host");
	char text[512], bytes[CLI_TEXT_LEN];
	size_t at = 0, i;
	json_t *item;

	print_pair("public key", cli_text(tunnel, "public_key"));
	json_array_foreach (json_object_get(tunnel, "ports"), i, item) {
		snprintf(text, sizeof(text), "%s, %s, UDP port %llu, %s", cli_text(item, "device"),
			cli_text(item, "kind"),
			(unsigned long long)cli_number(tunnel, "listen_port"),
			cli_text(item, "state"));
		print_pair("port", text);
	}
	join(text, sizeof(text), json_object_get(host, "addresses"));
	at = strlen(text);
	snprintf(text + at, sizeof(text) - at, " on %s, MTU %llu", cli_text(host, "device"),
		(unsigned long long)cli_number(host, "mtu"));
	print_pair("mesh", text);
	at = (size_t)snprintf(text, sizeof(text), "CPU");
	json_array_foreach (json_object_get(tunnel, "workers"), i, item) {
		if (at < sizeof(text))
			at += (size_t)snprintf(text + at, sizeof(text) - at, " %lld",
				(long long)json_integer_value(item));
	}
	if (at < sizeof(text))
		snprintf(text + at, sizeof(text) - at, ", idle %s; control on CPU %llu",
			cli_text(tunnel, "idle"),
			(unsigned long long)cli_number(tunnel, "control_cpu"));
	print_pair("workers", text);
	print_pair("crypto", cli_text(tunnel, "crypto"));
	snprintf(text, sizeof(text), "%s of %s",
		cli_bytes(bytes, cli_number(tunnel, "memory_bytes")),
		json_is_true(json_object_get(tunnel, "hugepages")) ? "hugepages"
								   : "ordinary pages");
	print_pair("memory", text);
}

/* What a person wants to know of the mesh: who we are there, how long, what is wrong. */
static void print_mesh(const json_t *mesh)
{
	char text[700], ago[CLI_TEXT_LEN];
	const json_t *warning;
	size_t i;

	snprintf(text, sizeof(text), "%s, %s, map %s", cli_text(mesh, "server"),
		cli_text(mesh, "state"), cli_ago(ago, json_object_get(mesh, "last_map")));
	print_pair("mesh server", text);
	snprintf(text, sizeof(text), "%s, %llu node(s) in sight",
		*cli_text(mesh, "name") ? cli_text(mesh, "name") : "no name yet",
		(unsigned long long)cli_number(mesh, "nodes"));
	print_pair("mesh name", text);
	if (json_is_integer(json_object_get(mesh, "key_expiry"))) {
		double left = (double)cli_number(mesh, "key_expiry") - (double)time(NULL);

		if (left > 0)
			snprintf(text, sizeof(text), "for %s more", cli_duration(ago, left));
		else
			snprintf(text, sizeof(text), "over; sandctl login renews it");
		print_pair("node key", text);
	}
	json_array_foreach (json_object_get(mesh, "health"), i, warning)
		print_pair("health", json_string_value(warning));
}

static void print_configuration(const json_t *configuration)
{
	const json_t *last = json_object_get(configuration, "last_reload"), *key;
	char text[700], ago[CLI_TEXT_LEN];
	size_t i;

	if (!json_is_object(configuration))
		return;
	snprintf(text, sizeof(text), "%s, read %s", cli_text(configuration, "file"),
		cli_ago(ago, json_object_get(configuration, "loaded")));
	print_pair("config", text);
	if (json_is_false(json_object_get(last, "ok"))) {
		snprintf(text, sizeof(text), "failed %s: %s",
			cli_ago(ago, json_object_get(last, "at")), cli_text(last, "error"));
		print_pair("reload", text);
	}
	json_array_foreach (json_object_get(last, "needs_restart"), i, key) {
		snprintf(text, sizeof(text), "changed %s needs a restart", json_string_value(key));
		print_pair("reload", text);
	}
}

int cli_status(struct cli *cli, int argc, char **argv)
{
	char text[256], uptime[CLI_TEXT_LEN];
	int exit_code;
	json_t *status = begin(cli, argc, argv, "/v1/status", &exit_code), *tunnel;

	if (!status)
		return exit_code;
	if (cli->is_json)
		return cli_print_json(status);
	snprintf(text, sizeof(text), "%s, mode %s, version %s, pid %llu, for %s",
		cli_text(status, "state"), cli_text(status, "mode"), cli_text(status, "version"),
		(unsigned long long)cli_number(status, "pid"),
		cli_duration(uptime, cli_real(status, "uptime_s")));
	print_pair("sandd-gw", text);
	tunnel = json_object_get(status, "tunnel");
	if (json_is_object(tunnel))
		print_tunnel(tunnel);
	if (json_is_object(json_object_get(status, "mesh")))
		print_mesh(json_object_get(status, "mesh"));
	if (*cli_text(status, "controller")) {
		snprintf(text, sizeof(text), "ws://%s/ws on the mesh",
			cli_text(status, "controller"));
		print_pair("controller", text);
	}
	if (*cli_text(status, "controller_direct")) {
		snprintf(text, sizeof(text), "ws://%s/ws direct, without a tunnel",
			cli_text(status, "controller_direct"));
		print_pair("controller", text);
	}
	print_configuration(json_object_get(status, "configuration"));
	snprintf(text, sizeof(text), "%llu daemon(s), %llu peer(s), %llu command(s) running",
		(unsigned long long)cli_number(status, "daemons"),
		(unsigned long long)cli_number(status, "peers"),
		(unsigned long long)cli_number(status, "requests"));
	print_pair("now", text);
	return end(status);
}

/* ---- peers ---- */

/* Whose it is, and whether the server sees it; the file's and the API's are ours. */
static void add_owner(struct cli_table *table, const json_t *peer)
{
	const json_t *online = json_object_get(peer, "online");
	char tags[200];

	join(tags, sizeof(tags), json_object_get(peer, "tags"));
	if (strcmp(cli_text(peer, "source"), "mesh") != 0)
		cli_table_add(table, cli_text(peer, "source"));
	else
		cli_table_add(table, tags[0] ? tags : cli_text(peer, "owner"));
	cli_table_add(table, json_is_boolean(online) ? json_is_true(online) ? "yes" : "no" : NULL);
}

static void add_peer(struct cli_table *table, const json_t *peer)
{
	char text[CLI_TEXT_LEN], prefixes[400];
	const json_t *rtt = json_object_get(peer, "rtt_ms");

	cli_table_add(table, cli_text(peer, "name"));
	add_owner(table, peer);
	cli_table_addf(table, "%.*s", BASE_FINGERPRINT_LEN, cli_text(peer, "public_key"));
	cli_table_add(table, cli_text(peer, "endpoint"));
	cli_table_add(table, cli_text(peer, "path"));
	if (json_is_number(rtt))
		cli_table_addf(table, "%.2f ms", json_number_value(rtt));
	else
		cli_table_add(table, NULL);
	cli_table_add(table, cli_ago(text, json_object_get(peer, "last_handshake")));
	cli_table_add(table, cli_bytes(text, cli_number(peer, "rx_bytes")));
	cli_table_add(table, cli_bytes(text, cli_number(peer, "tx_bytes")));
	cli_table_addf(table, "%llu", (unsigned long long)cli_number(peer, "lcore"));
	join(prefixes, sizeof(prefixes), json_object_get(peer, "allowed_ips"));
	cli_table_add(table, prefixes);
}

/* Everything about one, as wg show has it. */
static void print_peer(const json_t *peer)
{
	char text[400], rx[CLI_TEXT_LEN], tx[CLI_TEXT_LEN];
	uint64_t keepalive_s = cli_number(peer, "keepalive_s");

	const char *source = cli_text(peer, "source");

	printf("peer: %s (%s)\n", cli_text(peer, "name"),
		strcmp(source, "api") == 0            ? "made by the API"
			: strcmp(source, "mesh") == 0 ? cli_text(peer, "fqdn")
						      : "of the configuration file");
	printf("  public key: %s\n", cli_text(peer, "public_key"));
	if (json_is_true(json_object_get(peer, "has_preshared_key")))
		printf("  preshared key: (hidden)\n");
	printf("  endpoint: %s\n", *cli_text(peer, "endpoint") ? cli_text(peer, "endpoint") : "-");
	join(text, sizeof(text), json_object_get(peer, "allowed_ips"));
	printf("  allowed ips: %s\n", text);
	printf("  path: %s", cli_text(peer, "path"));
	if (json_is_number(json_object_get(peer, "since")))
		printf(", since %s", cli_ago(text, json_object_get(peer, "since")));
	if (json_is_number(json_object_get(peer, "last_handshake")))
		printf("\n  latest handshake: %s; %llu in all\n",
			cli_ago(text, json_object_get(peer, "last_handshake")),
			(unsigned long long)cli_number(peer, "handshakes"));
	else
		puts("\n  latest handshake: none yet");
	if (json_is_number(json_object_get(peer, "rtt_ms")))
		printf("  round trip: %.2f ms\n", cli_real(peer, "rtt_ms"));
	printf("  transfer: %s received, %s sent\n", cli_bytes(rx, cli_number(peer, "rx_bytes")),
		cli_bytes(tx, cli_number(peer, "tx_bytes")));
	if (keepalive_s > 0)
		printf("  persistent keepalive: every %llu seconds\n",
			(unsigned long long)keepalive_s);
	printf("  owner: lcore %llu\n", (unsigned long long)cli_number(peer, "lcore"));
}

static json_t *find_peer(const json_t *peers, const char *name)
{
	json_t *peer;
	size_t i;

	json_array_foreach (peers, i, peer) {
		if (strcmp(cli_text(peer, "name"), name) == 0)
			return peer;
	}
	return NULL;
}

static void print_peers(const json_t *peers)
{
	static const char *const headings[] = {"NAME", "OWNER", "ONLINE", "KEY", "ENDPOINT", "PATH",
		">RTT", ">HANDSHAKE", ">RECEIVED", ">SENT", ">LCORE", "ALLOWED IPS"};
	struct cli_table *table;
	json_t *peer;
	size_t i;

	if (json_array_size(peers) == 0) {
		puts("no peers; sandctl peer-config NAME makes one");
		return;
	}
	table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	json_array_foreach (peers, i, peer) {
		add_peer(table, peer);
	}
	cli_table_print(table, 0);
}

/* A peer that has such a name is shown by `sandctl peers --json` only. */
static bool is_verb(const char *word)
{
	return strcmp(word, "add") == 0 || strcmp(word, "set") == 0 || strcmp(word, "remove") == 0;
}

int cli_peers(struct cli *cli, int argc, char **argv)
{
	json_t *document, *peers, *peer = NULL;
	struct cli_peers_options options;
	const char *name;
	int rc = cli_peers_options(cli, argc, argv, &options);

	if (rc != -1)
		return rc;
	name = argv[optind];
	if (name && is_verb(name)) {
		rc = cli_peers_change(cli, name, &options, &argv[optind + 1]);
		json_decref(options.peer);
		return rc;
	}
	rc = options.file || json_object_size(options.peer) ? CLI_USAGE : CLI_OK;
	json_decref(options.peer);
	if (rc != CLI_OK || (name && argv[optind + 1]))
		return cli_fail(cli, CLI_USAGE, "usage",
			"one name, or none for all peers; options belong to add and set");
	document = cli_get(cli, "/v1/peers");
	if (!document)
		return CLI_FAILED;
	peers = json_object_get(document, "peers");
	if (name && !(peer = find_peer(peers, name))) {
		json_decref(document);
		return cli_fail(cli, CLI_FAILED, "unknown_peer",
			"no peer %s; sandctl peers lists them", name);
	}
	if (cli->is_json) {
		if (!peer)
			return cli_print_json(document);
		json_incref(peer);
		json_decref(document);
		return cli_print_json(peer);
	}
	if (peer)
		print_peer(peer);
	else
		print_peers(peers);
	return end(document);
}

/* ---- daemons ---- */

static void add_daemon(struct cli_table *table, const json_t *daemon)
{
	char text[CLI_TEXT_LEN], labels[400] = "";
	const char *name;
	size_t at = 0;
	json_t *value;

	cli_table_add(table, cli_text(daemon, "id"));
	cli_table_add(table, cli_text(daemon, "hostname"));
	cli_table_addf(table, "%s/%s", cli_text(daemon, "platform"), cli_text(daemon, "arch"));
	cli_table_add(table, cli_text(daemon, "version"));
	cli_table_add(table, cli_text(daemon, "address"));
	cli_table_addf(table, "%llu", (unsigned long long)cli_number(daemon, "requests"));
	cli_table_add(table, cli_ago(text, json_object_get(daemon, "since")));
	cli_table_add(table, cli_ago(text, json_object_get(daemon, "last_heartbeat")));
	json_object_foreach (json_object_get(daemon, "labels"), name, value) {
		if (at < sizeof(labels))
			at += (size_t)snprintf(labels + at, sizeof(labels) - at, "%s%s=%s",
				at ? " " : "", name, json_string_value(value));
	}
	cli_table_add(table, labels);
}

int cli_daemons(struct cli *cli, int argc, char **argv)
{
	static const char *const headings[] = {"ID", "HOST NAME", "PLATFORM", "VERSION", "ADDRESS",
		">RUNNING", ">CONNECTED", ">HEARTBEAT", "LABELS"};
	int exit_code;
	json_t *document = begin(cli, argc, argv, "/v1/daemons", &exit_code), *daemons, *daemon;
	struct cli_table *table;
	size_t i;

	if (!document)
		return exit_code;
	if (cli->is_json)
		return cli_print_json(document);
	daemons = json_object_get(document, "daemons");
	if (json_array_size(daemons) == 0) {
		puts("no daemon is connected; start one: sandd --server-url ws://ADDRESS:PORT/ws "
		     "(sandctl status shows where the controller listens)");
		return end(document);
	}
	table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	json_array_foreach (daemons, i, daemon) {
		add_daemon(table, daemon);
	}
	cli_table_print(table, 0);
	return end(document);
}
