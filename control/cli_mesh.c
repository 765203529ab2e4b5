/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl ping, ip, whois, login, logout, up, down, filter, events: the gateway as a node of a mesh, its login,
 * its neighbours. See cli_command.h.
 */
#include "base_bytes.h"
#include "base_clock.h"
#include "cli_command.h"
#include "cli_table.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <unistd.h>

#define AUTHKEY_BYTES_MAX 256
#define LOGIN_WAIT_S 20
#define PING_COUNT_MAX 10000
#define PING_GAP_MS 1000

/* A path with a name in it, whatever the name holds. free() it; NULL without memory. */
static char *path_of(const char *before, const char *name, const char *after)
{
	char *part = curl_easy_escape(NULL, name, 0), *path = NULL;

	if (part && asprintf(&path, "%s%s%s", before, part, after) < 0)
		path = NULL;
	curl_free(part);
	return path;
}

/* ---- ping ---- */

struct ping {
	const char *name;
	unsigned count, answered;
};

static void print_pong(const struct ping *ping, const json_t *answer)
{
	const char *path = cli_text(answer, "path");

	if (strcmp(path, "relay") == 0)
		printf("pong from %s via DERP(%s) in %.2f ms\n", ping->name,
			cli_text(answer, "relay"), cli_real(answer, "rtt_ms"));
	else
		printf("pong from %s via %s in %.2f ms\n", ping->name, cli_text(answer, "endpoint"),
			cli_real(answer, "rtt_ms"));
}

static int ping_once(struct cli *cli, const char *path, struct ping *ping)
{
	json_t *answer = cli_post(cli, path, json_object());

	if (!answer)
		return CLI_FAILED;
	ping->answered++;
	if (cli->is_json)
		return cli_print_json(answer);
	print_pong(ping, answer);
	json_decref(answer);
	return cli_flush();
}

int cli_ping(struct cli *cli, int argc, char **argv)
{
	struct ping ping = {.count = 1};
	char *path, *end;
	int option;

	while ((option = cli_next_option(cli, argc, argv)) != -1) {
		if (option == CLI_OPTION_HELP)
			return CLI_OK;
		if (option == CLI_OPTION_WRONG)
			return CLI_USAGE;
		ping.count = (unsigned)strtoul(optarg, &end, 10);
		if (*end || ping.count == 0 || ping.count > PING_COUNT_MAX)
			return cli_fail(
				cli, CLI_USAGE, "usage", "--count: 1 to %d", PING_COUNT_MAX);
	}
	ping.name = argv[optind];
	if (!ping.name || argv[optind + 1])
		return cli_fail(cli, CLI_USAGE, "usage",
			"one name or address of the mesh; sandctl peers lists them");
	path = path_of("/v1/peers/", ping.name, "/ping");
	if (!path)
		return cli_fail(cli, CLI_FAILED, "no_memory", "out of memory");
	for (unsigned i = 0; i < ping.count; i++) {
		if (i > 0)
			usleep(PING_GAP_MS * 1000);
		ping_once(cli, path, &ping);
	}
	free(path);
	return ping.answered > 0 ? CLI_OK : CLI_FAILED;
}

/* ---- ip, whois ---- */

static int print_addresses(struct cli *cli, json_t *document, const json_t *addresses)
{
	const json_t *address;
	size_t i;
	int rc;

	if (json_array_size(addresses) == 0) {
		json_decref(document);
		return cli_fail(cli, CLI_FAILED, "no_address",
			"no address in a mesh yet; sandctl status tells why");
	}
	if (cli->is_json) {
		rc = cli_print_json(json_pack("{s:O}", "addresses", addresses));
	} else {
		json_array_foreach (addresses, i, address)
			puts(json_string_value(address));
		rc = cli_flush();
	}
	json_decref(document);
	return rc;
}

int cli_ip(struct cli *cli, int argc, char **argv)
{
	int exit_code = CLI_OK;
	json_t *document;
	const char *name;
	char *path;

	if (!cli_arguments(cli, argc, argv, 0, 1, &exit_code))
		return exit_code;
	name = argv[optind];
	if (!name) {
		document = cli_get(cli, "/v1/status");
		return document
			? print_addresses(cli, document,
				  json_object_get(json_object_get(document, "mesh"), "addresses"))
			: CLI_FAILED;
	}
	path = path_of("/v1/whois?addr=", name, "");
	document = path ? cli_get(cli, path) : NULL;
	free(path);
	return document ? print_addresses(cli, document, json_object_get(document, "addresses"))
			: CLI_FAILED;
}

static void join(char *buf, size_t size, const json_t *list)
{
	const json_t *item;
	size_t i;

	buf[0] = '\0';
	json_array_foreach (list, i, item) {
		size_t at = strlen(buf);

		snprintf(buf + at, size - at, "%s%s", i ? ", " : "", json_string_value(item));
	}
}

static void print_node(const json_t *node)
{
	char text[400];

	printf("name:      %s%s\n", cli_text(node, "fqdn"),
		json_is_true(json_object_get(node, "is_self")) ? " (this gateway)" : "");
	join(text, sizeof(text), json_object_get(node, "addresses"));
	printf("addresses: %s\n", text);
	if (json_is_true(json_object_get(node, "is_self")))
		return;
	join(text, sizeof(text), json_object_get(node, "tags"));
	printf("owner:     %s\n", text[0] ? text : cli_text(node, "owner"));
	printf("node:      %llu, key %s\n", (unsigned long long)cli_number(node, "node_id"),
		cli_text(node, "public_key"));
}

int cli_whois(struct cli *cli, int argc, char **argv)
{
	int exit_code = CLI_OK;
	json_t *document;
	char *path;

	if (!cli_arguments(cli, argc, argv, 1, 1, &exit_code))
		return exit_code;
	path = path_of("/v1/whois?addr=", argv[optind], "");
	document = path ? cli_get(cli, path) : NULL;
	free(path);
	if (!document)
		return CLI_FAILED;
	if (cli->is_json)
		return cli_print_json(document);
	print_node(document);
	json_decref(document);
	return cli_flush();
}

/* ---- login, logout, up, down ---- */

static int print_state(struct cli *cli, json_t *mesh)
{
	const char *detail = cli_text(mesh, "detail"), *url = cli_text(mesh, "login_url");

	if (cli->is_json)
		return cli_print_json(mesh);
	if (*url)
		printf("to log in, open:\n\n    %s\n\n", url);
	else
		printf("%s%s%s\n", cli_text(mesh, "state"), *detail ? ": " : "", detail);
	json_decref(mesh);
	return cli_flush();
}

static int call_and_print(struct cli *cli, int argc, char **argv, const char *path)
{
	int exit_code;
	json_t *mesh;

	if (!cli_no_options(cli, argc, argv, &exit_code))
		return exit_code;
	mesh = cli_post(cli, path, json_object());
	return mesh ? print_state(cli, mesh) : CLI_FAILED;
}

int cli_up(struct cli *cli, int argc, char **argv)
{
	return call_and_print(cli, argc, argv, "/v1/mesh/up");
}

int cli_down(struct cli *cli, int argc, char **argv)
{
	return call_and_print(cli, argc, argv, "/v1/mesh/down");
}

int cli_logout(struct cli *cli, int argc, char **argv)
{
	int exit_code;
	json_t *answer;

	if (!cli_no_options(cli, argc, argv, &exit_code))
		return exit_code;
	answer = cli_post(cli, "/v1/mesh/logout", json_object());
	if (!answer)
		return CLI_FAILED;
	if (cli->is_json)
		return cli_print_json(answer);
	puts(cli_text(answer, "message"));
	json_decref(answer);
	return cli_flush();
}

/* A key out of a file, or with "-" from standard input; never from the command line, which everybody sees. */
static json_t *read_authkey(struct cli *cli, const char *file)
{
	bool is_stdin = strcmp(file, "-") == 0;
	FILE *in = is_stdin ? stdin : fopen(file, "re");
	char line[AUTHKEY_BYTES_MAX + 2] = "";
	json_t *body = NULL;

	if (!in) {
		cli_fail(cli, 0, "authkey", "%s: %s", file, strerror(errno));
		return NULL;
	}
	if (fgets(line, sizeof(line), in))
		line[strcspn(line, "\r\n")] = '\0';
	if (line[0] == '\0' || strlen(line) > AUTHKEY_BYTES_MAX)
		cli_fail(cli, 0, "authkey", "%s does not begin with an auth key in one line", file);
	else
		body = json_pack("{s:s}", "authkey", line);
	base_wipe(line, sizeof(line));
	if (!is_stdin)
		fclose(in);
	return body;
}

/* Is there something to say: in the mesh, or a person has to act? */
static bool is_settled(const json_t *mesh)
{
	static const char *const underway[] = {"connecting", "registering", "stopped"};
	const char *state = cli_text(mesh, "state");

	if (strcmp(state, "needs_login") == 0)
		return *cli_text(mesh, "login_url") || *cli_text(mesh, "detail");
	for (size_t i = 0; i < BASE_ARRAY_LEN(underway); i++)
		if (strcmp(state, underway[i]) == 0)
			return false;
	return true;
}

/* The answer comes from the server: look until there is one. The document is the caller's; NULL after telling why. */
static json_t *wait_for_answer(struct cli *cli, json_t *mesh)
{
	for (unsigned i = 0; mesh && !is_settled(mesh) && i < 10 * LOGIN_WAIT_S; i++) {
		json_t *status;

		usleep(100000);
		json_decref(mesh);
		status = cli_get(cli, "/v1/status");
		mesh = status ? json_incref(json_object_get(status, "mesh")) : NULL;
		json_decref(status);
	}
	return mesh;
}

int cli_login(struct cli *cli, int argc, char **argv)
{
	json_t *body = NULL, *mesh;
	int option;

	while ((option = cli_next_option(cli, argc, argv)) != -1) {
		if (option == CLI_OPTION_HELP || option == CLI_OPTION_WRONG) {
			json_decref(body);
			return option == CLI_OPTION_HELP ? CLI_OK : CLI_USAGE;
		}
		json_decref(body);
		body = read_authkey(cli, optarg);
		if (!body)
			return CLI_FAILED;
	}
	mesh = cli_post(cli, "/v1/mesh/login", body ? body : json_object());
	mesh = wait_for_answer(cli, mesh);
	return mesh ? print_state(cli, mesh) : CLI_FAILED;
}

/* ---- filter ---- */

static const char *proto_name(json_int_t proto, char buf[8])
{
	switch (proto) {
	case 1:
		return "icmp";
	case 6:
		return "tcp";
	case 17:
		return "udp";
	case 58:
		return "icmpv6";
	default:
		snprintf(buf, 8, "%d", (int)proto);
		return buf;
	}
}

static void print_protos(char *buf, size_t size, const json_t *protos)
{
	const json_t *proto;
	char number[8];
	size_t i, at = 0;

	snprintf(buf, size, "tcp, udp, icmp");
	json_array_foreach (protos, i, proto) {
		at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? ", " : "",
			proto_name(json_integer_value(proto), number));
		if (at >= size)
			return;
	}
}

/* The first few of a list, and how many more there are. */
static void print_some(char *buf, size_t size, const json_t *list, uint64_t n)
{
	const json_t *item;
	size_t i, at = 0, shown = 0;

	buf[0] = '\0';
	json_array_foreach (list, i, item) {
		if (at + strlen(json_string_value(item)) + 24 > size)
			break;
		at += (size_t)snprintf(
			buf + at, size - at, "%s%s", i ? ", " : "", json_string_value(item));
		shown++;
	}
	if (shown < n)
		snprintf(buf + at, size - at, " and %llu more", (unsigned long long)(n - shown));
}

static void add_rule(struct cli_table *table, size_t number, const json_t *rule)
{
	char text[120];

	cli_table_addf(table, "%zu", number);
	cli_table_add(table, cli_text(rule, "source"));
	print_some(text, sizeof(text), json_object_get(rule, "from"), cli_number(rule, "n_from"));
	cli_table_add(table, text);
	print_some(text, sizeof(text), json_object_get(rule, "to"), cli_number(rule, "n_to"));
	cli_table_add(table, text);
	print_protos(text, sizeof(text), json_object_get(rule, "protocols"));
	cli_table_add(table, text);
	cli_table_addf(table, "%llu", (unsigned long long)cli_number(rule, "accepted_pkts"));
}

int cli_filter(struct cli *cli, int argc, char **argv)
{
	static const char *const headings[] = {
		">RULE", "SOURCE", "FROM", "TO", "PROTOCOLS", ">ACCEPTED"};
	struct cli_table *table;
	int exit_code;
	json_t *document, *rule;
	size_t i;

	if (!cli_no_options(cli, argc, argv, &exit_code))
		return exit_code;
	document = cli_get(cli, "/v1/filter");
	if (!document)
		return CLI_FAILED;
	if (cli->is_json)
		return cli_print_json(document);
	table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	json_array_foreach (json_object_get(document, "rules"), i, rule)
		add_rule(table, i, rule);
	cli_table_print(table, 0);
	printf("what no rule accepts is dropped: %llu packet(s) so far\n",
		(unsigned long long)cli_number(document, "refused_pkts"));
	json_decref(document);
	return cli_flush();
}

/* ---- events ---- */

/* A line of the stream; the type of an event comes before its data. */
struct events {
	struct cli *cli;
	char type[32];
};

static void on_line(void *user, const char *line)
{
	struct events *events = user;

	if (strncmp(line, "event: ", 7) == 0) {
		snprintf(events->type, sizeof(events->type), "%s", line + 7);
	} else if (strncmp(line, "data: ", 6) == 0) {
		if (events->cli->is_json)
			printf("{\"event\":\"%s\",\"data\":%s}\n", events->type, line + 6);
		else
			printf("%-12s %s\n", events->type, line + 6);
		fflush(stdout);
	}
}

int cli_events(struct cli *cli, int argc, char **argv)
{
	struct events events = {.cli = cli};
	int exit_code;

	if (!cli_no_options(cli, argc, argv, &exit_code))
		return exit_code;
	return cli_stream(cli, "/v1/events", on_line, &events);
}
