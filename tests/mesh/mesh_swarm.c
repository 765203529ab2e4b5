/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many nodes without tunnels in one process: each a coordination client (coord.h) with a state of its own, which joins the
 * server, follows its map, and leaves. What a server and its other nodes make of a fleet that comes and goes. Thread: one,
 * and libuv's pool.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "base_clock.h"
#include "base_log.h"
#include "cr_noise.h"
#include "coord.h"

#define NODES_MAX 10000
/* Of one node: connection, lock, directory, and room for a second connection while it changes. */
#define FDS_PER_NODE 6

struct options {
	const char *server, *authkey_file, *dir, *prefix;
	unsigned n, rate, within_s, hold_s;
	bool leaves, is_json;
};

struct swarm;

struct node {
	struct swarm *swarm;
	struct coord_state *state;
	struct coord *coord;
	char name[64];
	enum coord_state_kind kind;
	uint64_t frames, bytes;
	bool was_live, has_left;
};

enum phase { JOINING, HOLDING, LEAVING, DONE };

struct swarm {
	struct options options;
	uv_loop_t loop;
	uv_timer_t timer;
	struct coord_config config;
	struct node *nodes;
	enum phase phase;
	unsigned n_made, n_live, n_left;
	uint64_t start_ns, live_ns,
		phase_ns; /* when it began; when all were live; when the phase did */
	char words[600];  /* the last that went wrong */
};

static double seconds_since(uint64_t ns)
{
	return (double)(base_clock_now_ns() - ns) / 1e9;
}

/* --- one node ----------------------------------------------------------------------------------- */

static void on_state(void *ctx, const struct coord_status *status)
{
	struct node *node = ctx;
	struct swarm *swarm = node->swarm;
	bool was_live = node->kind == COORD_STREAMING, is_live = status->state == COORD_STREAMING;

	node->kind = status->state;
	swarm->n_live += is_live - was_live;
	node->was_live |= is_live;
	node->frames = status->frames;
	node->bytes = status->bytes;
	if (status->detail[0] && !is_live)
		snprintf(swarm->words, sizeof(swarm->words), "%s: %s",
			coord_state_name(status->state), status->detail);
}

static void on_changed(void *ctx, const struct coord_netmap *map, const struct coord_diff *diff)
{
}

static int on_identity(void *ctx, const struct cr_key *node_private)
{
	return 0;
}

/* An endpoint that is nobody's (RFC 5737, RFC 2544), so that peers have something to try in vain. */
static void tell_endpoint(struct node *node, unsigned number)
{
	struct coord_reachability reachability = {
		.n_endpoints = 1, .types = {COORD_ENDPOINT_LOCAL}, .has_udp = true};
	struct base_endpoint *endpoint = &reachability.endpoints[0];

	endpoint->addr = base_addr_from_bytes(
		BASE_FAMILY_V4, (uint8_t[]){198, 18, (uint8_t)(number >> 8), (uint8_t)number});
	endpoint->port = 41641;
	coord_reachability_set(node->coord, &reachability);
}

static int node_make(struct swarm *swarm, unsigned number)
{
	static const struct coord_host host = {on_changed, on_state, on_identity};
	struct node *node = &swarm->nodes[number];
	struct coord_config config = swarm->config;
	struct base_error error = {""};
	struct cr_key disco_public;
	char dir[512];

	if ((size_t)snprintf(dir, sizeof(dir), "%s/%u", swarm->options.dir, number) >=
		sizeof(dir)) {
		fprintf(stderr, "mesh_swarm: --dir: its path is too long\n");
		return -1;
	}
	snprintf(node->name, sizeof(node->name), "%s-%u", swarm->options.prefix, number);
	config.hostname = node->name;
	node->swarm = swarm;
	node->state = coord_state_open(dir, &error);
	if (node->state) {
		cr_x25519_public(&disco_public, &coord_state_identity(node->state)->disco_private);
		node->coord = coord_new(
			&swarm->loop, node->state, &config, &disco_public, &host, node, &error);
	}
	if (!node->coord) {
		fprintf(stderr, "mesh_swarm: %s\n", error.text);
		return -1;
	}
	tell_endpoint(node, number);
	coord_up(node->coord);
	return 0;
}

static void on_logout(void *user, int rc, const char *line)
{
	struct node *node = user;

	node->has_left = true;
	node->swarm->n_left += rc == 0;
	if (rc != 0)
		snprintf(node->swarm->words, sizeof(node->swarm->words), "logout: %s", line);
}

/* --- all of them -------------------------------------------------------------------------------- */

static void enter(struct swarm *swarm, enum phase phase)
{
	swarm->phase = phase;
	swarm->phase_ns = base_clock_now_ns();
}

static void report(const struct swarm *swarm)
{
	unsigned long long frames = 0, bytes = 0;
	unsigned n_ever = 0, least = 0;
	struct rusage usage;

	for (unsigned i = 0; i < swarm->n_made; i++) {
		const struct coord_status *status = coord_status_of(swarm->nodes[i].coord);

		frames += status->frames;
		bytes += status->bytes;
		n_ever += swarm->nodes[i].was_live;
	}
	for (unsigned i = 0; i < swarm->n_made; i++) {
		unsigned n = (unsigned)coord_netmap_n_peers(coord_netmap_of(swarm->nodes[i].coord));

		least = i == 0 || n < least ? n : least;
	}
	getrusage(RUSAGE_SELF, &usage);
	printf(swarm->options.is_json ? "{\"nodes\":%u,\"live\":%u,\"live_s\":%.1f,\"peers_least\":"
					"%u,\"frames\":%llu,"
					"\"bytes\":%llu,\"cpu_s\":%.1f,\"rss_mb\":%ld}\n"
				      : "%u nodes, %u live after %.1f s, each sees at least %u "
					"peers; %llu frames, "
					"%llu bytes; %.1f s of CPU, %ld MB\n",
		swarm->options.n, n_ever,
		(double)((swarm->live_ns ? swarm->live_ns : base_clock_now_ns()) -
			swarm->start_ns) /
			1e9,
		least, frames, bytes,
		(double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
			(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
		usage.ru_maxrss >> 10);
	fflush(stdout);
}

static void join_more(struct swarm *swarm)
{
	unsigned due = (unsigned)(seconds_since(swarm->start_ns) * swarm->options.rate) + 1;

	while (swarm->n_made < swarm->options.n && swarm->n_made < due) {
		if (node_make(swarm, swarm->n_made) < 0) {
			enter(swarm, DONE);
			return;
		}
		swarm->n_made++;
	}
	if (swarm->n_live == swarm->options.n) {
		swarm->live_ns = base_clock_now_ns();
		enter(swarm, HOLDING);
	} else if (seconds_since(swarm->start_ns) > swarm->options.within_s) {
		fprintf(stderr, "mesh_swarm: %u of %u are live after %u s; the last word was: %s\n",
			swarm->n_live, swarm->options.n, swarm->options.within_s,
			swarm->words[0] ? swarm->words : "none");
		report(swarm);
		enter(swarm, DONE);
	}
}

static void leave(struct swarm *swarm)
{
	if (!swarm->options.leaves) {
		enter(swarm, DONE);
		return;
	}
	enter(swarm, LEAVING);
	for (unsigned i = 0; i < swarm->n_made; i++)
		coord_logout(swarm->nodes[i].coord, on_logout, &swarm->nodes[i]);
}

static void end(struct swarm *swarm)
{
	uv_close((uv_handle_t *)&swarm->timer, NULL);
	for (unsigned i = 0; i < swarm->options.n; i++) {
		coord_free(swarm->nodes[i].coord);
		swarm->nodes[i].coord = NULL;
	}
}

static bool all_left(const struct swarm *swarm)
{
	for (unsigned i = 0; i < swarm->n_made; i++) {
		if (!swarm->nodes[i].has_left)
			return false;
	}
	return true;
}

static void on_tick(uv_timer_t *timer)
{
	struct swarm *swarm = timer->data;

	switch (swarm->phase) {
	case JOINING:
		join_more(swarm);
		break;
	case HOLDING:
		if (seconds_since(swarm->phase_ns) >= swarm->options.hold_s) {
			report(swarm);
			leave(swarm);
		}
		break;
	case LEAVING:
		if (all_left(swarm) || seconds_since(swarm->phase_ns) > swarm->options.within_s)
			enter(swarm, DONE);
		break;
	case DONE:
		end(swarm);
		break;
	}
}

/* --- options ------------------------------------------------------------------------------------ */

static void help(FILE *out)
{
	fputs("usage: mesh_swarm --server URL --authkey-file FILE --dir DIR [options]\n"
	      "Joins many nodes without tunnels to a coordination server, and reports.\n\n"
	      "  --server URL         http://HOST:PORT\n"
	      "  --authkey-file FILE  a reusable pre-auth key\n"
	      "  --dir DIR            where their states are kept; the same again: the same nodes\n"
	      "  --nodes N            how many (30)\n"
	      "  --rate N             that begin a second (10)\n"
	      "  --prefix NAME        their names are NAME-0, NAME-1, ... (node)\n"
	      "  --within S           give up if not all are live after S seconds (120)\n"
	      "  --hold S             stay so long once all are live (0)\n"
	      "  --leave              log out at the end; else they go offline\n"
	      "  --json               the report as one JSON object\n",
		out);
}

static unsigned number(const char *name, const char *text, unsigned min, unsigned max)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value < min || value > max) {
		fprintf(stderr, "mesh_swarm: --%s: %u to %u, not %s\n", name, min, max, text);
		exit(2);
	}
	return (unsigned)value;
}

static void read_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {{"server", 1, NULL, 's'},
		{"authkey-file", 1, NULL, 'k'}, {"dir", 1, NULL, 'd'}, {"nodes", 1, NULL, 'n'},
		{"rate", 1, NULL, 'r'}, {"prefix", 1, NULL, 'p'}, {"within", 1, NULL, 'w'},
		{"hold", 1, NULL, 'o'}, {"leave", 0, NULL, 'l'}, {"json", 0, NULL, 'j'},
		{"help", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's':
			options->server = optarg;
			break;
		case 'k':
			options->authkey_file = optarg;
			break;
		case 'd':
			options->dir = optarg;
			break;
		case 'n':
			options->n = number("nodes", optarg, 1, NODES_MAX);
			break;
		case 'r':
			options->rate = number("rate", optarg, 1, NODES_MAX);
			break;
		case 'p':
			options->prefix = optarg;
			break;
		case 'w':
			options->within_s = number("within", optarg, 1, 86400);
			break;
		case 'o':
			options->hold_s = number("hold", optarg, 0, 86400);
			break;
		case 'l':
			options->leaves = true;
			break;
		case 'j':
			options->is_json = true;
			break;
		default:
			help(option == 'h' ? stdout : stderr);
			exit(option == 'h' ? 0 : 2);
		}
	}
	if (!options->server || !options->authkey_file || !options->dir || optind < argc) {
		help(stderr);
		exit(2);
	}
}

/* The first line of a file, as key files have it. */
static const char *read_key(const char *path)
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

/* As many files as all of them need, if the system lets us. */
static void raise_limit(unsigned n_nodes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur >= n_nodes * FDS_PER_NODE)
		return;
	limit.rlim_cur = n_nodes * FDS_PER_NODE;
	if (limit.rlim_max < limit.rlim_cur)
		limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		perror("mesh_swarm: raising the limit of open files; try: ulimit -n");
}

int main(int argc, char **argv)
{
	static struct swarm swarm = {
		.options = {.prefix = "node", .n = 30, .rate = 10, .within_s = 120}};
	const struct options *options = &swarm.options;
	bool is_good;

	read_options(&swarm.options, argc, argv);
	raise_limit(options->n);
	signal(SIGPIPE, SIG_IGN);
	base_log_setup(NULL, BASE_LOG_WARN);
	swarm.config = (struct coord_config){.server_url = options->server,
		.authkey = read_key(options->authkey_file),
		.version = SANDD_VERSION};
	swarm.nodes = calloc(options->n, sizeof(*swarm.nodes));
	if (!swarm.nodes || cr_init() != 0) {
		fputs("mesh_swarm: out of memory, or crypto does not start\n", stderr);
		return 1;
	}
	if (mkdir(options->dir, 0700) != 0 && errno != EEXIST) {
		perror(options->dir);
		return 2;
	}
	uv_loop_init(&swarm.loop);
	uv_timer_init(&swarm.loop, &swarm.timer);
	swarm.timer.data = &swarm;
	swarm.start_ns = base_clock_now_ns();
	enter(&swarm, JOINING);
	uv_timer_start(&swarm.timer, on_tick, 0, 20);
	uv_run(&swarm.loop, UV_RUN_DEFAULT);
	for (unsigned i = 0; i < options->n; i++)
		coord_state_close(swarm.nodes[i].state);
	is_good = swarm.live_ns != 0 && (!options->leaves || swarm.n_left == options->n);
	if (swarm.live_ns != 0 && !is_good)
		fprintf(stderr, "mesh_swarm: %u of %u left; %s\n", swarm.n_left, options->n,
			swarm.words);
	free(swarm.nodes);
	return uv_loop_close(&swarm.loop) == 0 && is_good ? 0 : 1;
}
