/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node without a tunnel: the coordination client alone, for the suites. It joins a server, prints what it hears as one JSON object a line,
 * and obeys lines on standard input: up, down, login [KEY], logout, endpoint ADDR:PORT..., map, quit. Thread: one.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <uv.h>

#include "base_clock.h"
#include "base_log.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "coord.h"

#define LINE_BYTES_MAX 1024

struct probe {
	uv_loop_t loop;
	uv_poll_t input;
	struct coord_state *state;
	struct coord *coord;
	struct coord_reachability reachability;
	char line[LINE_BYTES_MAX];
	size_t line_len;
};

static void print(json_t *object)
{
	char *text = json_dumps(object, JSON_COMPACT);

	if (text)
		puts(text);
	fflush(stdout);
	free(text);
	json_decref(object);
}

static void on_state(void *ctx, const struct coord_status *status)
{
	print(json_pack("{s:s, s:s, s:s, s:I, s:i}", "state", coord_state_name(status->state),
		"detail", status->detail, "login_url", status->login_url, "key_expiry",
		(json_int_t)status->key_expiry_unix_s, "failures", (int)status->failures));
}

static json_t *node_json(const struct coord_node *node)
{
	json_t *addresses = json_array(), *endpoints = json_array();
	char text[BASE_ENDPOINT_TEXT_LEN], key[BASE_KEY_TEXT_LEN + 1];

	for (unsigned i = 0; i < node->n_addresses; i++)
		json_array_append_new(
			addresses, json_string(base_addr_print(text, &node->addresses[i])));
	for (unsigned i = 0; i < node->n_endpoints; i++)
		json_array_append_new(
			endpoints, json_string(base_endpoint_print(text, &node->endpoints[i])));
	base_key_encode(key, node->node_key.bytes);
	return json_pack("{s:I, s:s, s:s, s:o, s:o, s:b}", "id", (json_int_t)node->id, "name",
		node->name, "key", key, "addresses", addresses, "endpoints", endpoints, "expired",
		node->is_expired);
}

static void on_changed(void *ctx, const struct coord_netmap *map, const struct coord_diff *diff)
{
	static const char *const changes[] = {"added", "changed", "rekeyed", "removed"};
	const struct coord_node *self = coord_netmap_self(map);
	json_t *nodes = json_array();
	size_t n_rules = 0;

	coord_netmap_rules(map, &n_rules);
	for (size_t i = 0; i < diff->n_nodes; i++)
		json_array_append_new(nodes,
			json_pack("{s:s, s:s}", "change", changes[diff->nodes[i].change], "name",
				diff->nodes[i].node->name));
	print(json_pack("{s:o, s:o, s:I, s:I, s:b}", "self", self ? node_json(self) : json_null(),
		"nodes", nodes, "peers", (json_int_t)coord_netmap_n_peers(map), "rules",
		(json_int_t)n_rules, "first", diff->is_first));
}

static int on_identity(void *ctx, const struct cr_key *node_private)
{
	struct cr_key node_public;
	char key[BASE_KEY_TEXT_LEN + 1];

	cr_x25519_public(&node_public, node_private);
	base_key_encode(key, node_public.bytes);
	print(json_pack("{s:s}", "identity", key));
	return 0;
}

static void quit(struct probe *probe)
{
	uv_poll_stop(&probe->input);
	if (!uv_is_closing((uv_handle_t *)&probe->input))
		uv_close((uv_handle_t *)&probe->input, NULL);
	coord_free(probe->coord);
	probe->coord = NULL;
}

static void on_logout(void *user, int rc, const char *line)
{
	print(json_pack("{s:i, s:s}", "logout", rc, "line", line));
}

static void set_endpoints(struct probe *probe, char *list)
{
	struct coord_reachability *reachability = &probe->reachability;

	reachability->n_endpoints = 0;
	for (char *word = strtok(list, " ");
		word && reachability->n_endpoints < COORD_ENDPOINTS_MAX; word = strtok(NULL, " ")) {
		struct base_endpoint *endpoint =
			&reachability->endpoints[reachability->n_endpoints];

		if (base_endpoint_parse(endpoint, word) == 0)
			reachability->types[reachability->n_endpoints++] = COORD_ENDPOINT_LOCAL;
	}
	coord_reachability_set(probe->coord, reachability);
}

static void obey(struct probe *probe, char *line)
{
	struct base_error error;
	char *rest = line + strcspn(line, " ");

	if (*rest)
		*rest++ = '\0';
	if (strcmp(line, "up") == 0) {
		coord_up(probe->coord);
	} else if (strcmp(line, "down") == 0) {
		coord_down(probe->coord);
	} else if (strcmp(line, "login") == 0) {
		if (coord_login(probe->coord, *rest ? rest : NULL, &error) != 0)
			print(json_pack("{s:s}", "error", error.text));
	} else if (strcmp(line, "logout") == 0) {
		coord_logout(probe->coord, on_logout, NULL);
	} else if (strcmp(line, "endpoint") == 0) {
		set_endpoints(probe, rest);
	} else if (strcmp(line, "map") == 0) {
		char *text = coord_netmap_print(
			coord_netmap_of(probe->coord), base_clock_unix_ns() / BASE_NS_PER_S);

		puts(text ? text : "null");
		fflush(stdout);
		free(text);
	} else if (strcmp(line, "quit") == 0) {
		quit(probe);
	} else {
		print(json_pack("{s:s}", "error", "no such command"));
	}
}

static void on_input(uv_poll_t *input, int rc, int events)
{
	struct probe *probe = input->data;
	ssize_t n = read(STDIN_FILENO, probe->line + probe->line_len,
		sizeof(probe->line) - 1 - probe->line_len);
	char *end;

	if (n <= 0) {
		quit(probe);
		return;
	}
	probe->line_len += (size_t)n;
	probe->line[probe->line_len] = '\0';
	while (probe->coord && (end = strchr(probe->line, '\n'))) {
		*end = '\0';
		obey(probe, probe->line);
		probe->line_len -= (size_t)(end + 1 - probe->line);
		memmove(probe->line, end + 1, probe->line_len + 1);
	}
	if (probe->line_len == sizeof(probe->line) - 1)
		probe->line_len = 0;
}

/* The first line of a file, as key files have it. */
static char *read_key(const char *path)
{
	static char line[600];
	FILE *file = fopen(path, "re");

	if (!file || !fgets(line, sizeof(line), file)) {
		perror(path);
		exit(2);
	}
	fclose(file);
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

static void read_options(struct coord_config *config, const char **ret_state, int argc, char **argv)
{
	static struct base_prefix routes[COORD_ROUTES_MAX];
	int option;

	while ((option = getopt(argc, argv, "s:d:k:n:c:p:r:j")) != -1) {
		switch (option) {
		case 's':
			config->server_url = optarg;
			break;
		case 'd':
			*ret_state = optarg;
			break;
		case 'k':
			config->authkey = read_key(optarg);
			break;
		case 'n':
			config->hostname = optarg;
			break;
		case 'c':
			config->ca_file = optarg;
			break;
		case 'p':
			config->server_key = optarg;
			break;
		case 'r':
			if (config->n_advertise_routes == COORD_ROUTES_MAX ||
				base_prefix_parse(
					&routes[config->n_advertise_routes++], optarg, true) != 0)
				exit(2);
			config->advertise_routes = routes;
			break;
		case 'j':
			config->on_removed = COORD_REMOVED_REJOIN;
			break;
		default:
			fprintf(stderr,
				"coord_probe -s URL -d STATE_DIR [-k KEY_FILE] [-n NAME] [-c "
				"CA_FILE] "
				"[-p SERVER_KEY] [-r ROUTE]... [-j]\n");
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct coord_host host = {on_changed, on_state, on_identity};
	struct coord_config config = {.hostname = "probe", .version = SANDD_VERSION};
	struct cr_key disco_private CR_KEY_CLEANUP, disco_public;
	static struct probe probe;
	const char *dir = NULL;
	struct base_error error;

	read_options(&config, &dir, argc, argv);
	if (!config.server_url || !dir || cr_init() != 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	base_log_setup(NULL, BASE_LOG_DEBUG);
	cr_x25519_generate(&disco_private);
	cr_x25519_public(&disco_public, &disco_private);
	uv_loop_init(&probe.loop);
	probe.state = coord_state_open(dir, &error);
	if (probe.state)
		probe.coord = coord_new(
			&probe.loop, probe.state, &config, &disco_public, &host, &probe, &error);
	if (!probe.coord) {
		fprintf(stderr, "coord_probe: %s\n", error.text);
		coord_state_close(probe.state);
		return 1;
	}
	uv_poll_init(&probe.loop, &probe.input, STDIN_FILENO);
	probe.input.data = &probe;
	uv_poll_start(&probe.input, UV_READABLE, on_input);
	coord_up(probe.coord);
	uv_run(&probe.loop, UV_RUN_DEFAULT);
	coord_state_close(probe.state);
	return uv_loop_close(&probe.loop) == 0 ? 0 : 1;
}
