/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandd-gw. gateway_run() is the ladder: every part of the gateway, started top to bottom and ended
 * in reverse. Exit codes: 0 clean stop, 1 run-time failure, 2 usage or configuration, 3 refused by the mesh's server.
 * Read on in ctl_tunnel.c (packets), ctl_controller.c (daemons), ctl_api.c (operators).
 */
#include "base_clock.h"
#include "base_log.h"
#include "cr_noise.h"
#include "ws_server.h"
#include "ctl_api.h"
#include "ctl_config.h"
#include "ctl_controller.h"
#include "ctl_key.h"
#include "ctl_loop.h"
#include "ctl_mesh.h"
#include "ctl_mesh_config.h"
#include "ctl_notify.h"
#include "ctl_policy.h"
#include "ctl_privilege.h"
#include "ctl_reload.h"
#include "ctl_tunnel.h"

#include <getopt.h>
#include <stdlib.h>

BASE_LOG_CATEGORY("gateway");

#define EXIT_CONFIG 2
#define EXIT_REFUSED 3
#define CONFIG_DEFAULT "/etc/sandd-gw/sandd-gw.yaml"

static const char help[] =
	"sandd-gw: tunnel gateway and controller of sandbox daemons\n"
	"\n"
	"usage: sandd-gw [--config FILE] [--log-level LEVEL] [--socket PATH]\n"
	"       sandd-gw --check-config [--config FILE]\n"
	"       sandd-gw clean [--config FILE]\n"
	"       sandd-gw keygen FILE [--force]\n"
	"       sandd-gw pubkey FILE\n"
	"       sandd-gw policy --user USER\n"
	"       sandd-gw logout [--config FILE]\n"
	"\n"
	"  -c, --config FILE      configuration (default " CONFIG_DEFAULT ")\n"
	"      --check-config     check it, print what it comes to (no secrets), and end\n"
	"      --log-level LEVEL  error, warn, info or debug; before the configuration's\n"
	"      --socket PATH      operators' API; before SANDD_GW_SOCKET and the configuration's\n"
	"      --authkey-file F   auth key for the mesh, mode 0600; before the configuration's\n"
	"  -h, --help             this\n"
	"      --version          version\n"
	"\n"
	"  clean                  take away what a gateway that was killed left on its ports\n"
	"  keygen FILE            make a private key in FILE (mode 0600), print its public key\n"
	"  pubkey FILE            print the public key of the private key in FILE\n"
	"  policy --user USER     print a Headscale policy for gateways and daemons, and how to "
	"make keys\n"
	"  logout                 end this node on its server, and wipe its keys; while the "
	"gateway runs\n"
	"                         it is sandctl logout\n"
	"\n"
	"SIGHUP, or sandctl reload, has it read the configuration again.\n"
	"Every key of the configuration: sandd-gw.example.yaml. Exit codes: 0 clean stop,\n"
	"1 run-time failure, 2 usage or configuration, 3 refused by the mesh's server.\n";

struct flags {
	const char *config, *log_level, *socket, *authkey_file, *user;
	bool is_check, is_force;
};

static int complain(int exit_code, const char *line)
{
	fprintf(stderr, "sandd-gw: %s\n", line);
	return exit_code;
}

static void print_warning(const char *line)
{
	fprintf(stderr, "sandd-gw: warning: %s\n", line);
}

/* ---- keys ---- */

static int print_public_key(const struct cr_key *public_key)
{
	char text[BASE_KEY_TEXT_LEN + 1];

	base_key_encode(text, public_key->bytes);
	puts(text);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int command_keygen(const struct flags *flags, const char *path)
{
	struct cr_key public_key;
	struct base_error err;

	if (ctl_key_generate(&public_key, path, flags->is_force, &err) < 0)
		return complain(EXIT_FAILURE, err.text);
	return print_public_key(&public_key);
}

static int command_pubkey(const struct flags *flags, const char *path)
{
	struct cr_key private_key CR_KEY_CLEANUP, public_key;
	struct base_error err, warning;

	if (ctl_key_read(&private_key, path, &warning, &err) < 0)
		return complain(EXIT_FAILURE, err.text);
	if (warning.text[0])
		print_warning(warning.text);
	cr_x25519_public(&public_key, &private_key);
	return print_public_key(&public_key);
}

/* ---- configuration ---- */

/* A key from a flag's file goes before what the configuration says. */
static int apply_authkey(struct ctl_config *config, const char *path)
{
	char *key = NULL;
	struct base_error err;

	if (!config->has_mesh)
		return -complain(EXIT_CONFIG, "--authkey-file: the configuration has no mesh");
	if (ctl_authkey_read(&key, path, &err) < 0)
		return -complain(EXIT_CONFIG, err.text);
	if (config->mesh.authkey)
		base_wipe(config->mesh.authkey, strlen(config->mesh.authkey));
	free(config->mesh.authkey);
	config->mesh.authkey = key;
	return 0;
}

/* Flags go before the environment, and that before the file. Returns 0 or an exit code. */
static int apply_flags(struct ctl_config *config, const struct flags *flags)
{
	const char *socket = flags->socket ? flags->socket : getenv("SANDD_GW_SOCKET");

	if (flags->log_level && base_log_level_parse(&config->log_level, flags->log_level) < 0)
		return complain(EXIT_CONFIG, "--log-level: one of error, warn, info, debug");
	if (flags->authkey_file && apply_authkey(config, flags->authkey_file) < 0)
		return EXIT_CONFIG;
	if (!socket)
		return 0;
	if (socket[0] != '/' || strlen(socket) >= sizeof(config->socket))
		return complain(EXIT_CONFIG,
			"--socket and SANDD_GW_SOCKET: an absolute path of at "
			"most 107 characters");
	strcpy(config->socket, socket);
	return 0;
}

/* ---- the ladder ---- */

/* What runs; NULL is what does not, or not yet. */
struct gateway {
	struct ctl_config *config;
	const struct flags *flags;
	struct ctl_loop *loop;
	struct ctl_notify *notify;
	struct coord_state *state; /* with a mesh: who we are there */
	struct ctl_tunnel *tunnel;
	struct ctl_mesh *mesh;
	struct ctl_reload *reload;
	struct ws_service *service;
	struct ctl_controller *controller;
	struct ctl_taps *taps;
	struct ctl_events *events;
	struct ctl_api *api;
};

static int failed(int error, const char *line)
{
	base_log_error("%s", line);
	return error == EINVAL ? EXIT_CONFIG : EXIT_FAILURE;
}

static int start_tunnel(struct gateway *gw)
{
	struct base_error err;

	if (!gw->config->has_tunnel)
		return 0;
	if (gw->config->has_mesh) {
		gw->state = coord_state_open(gw->config->mesh.state_dir, &err);
		if (!gw->state)
			return failed(errno, err.text);
		ctl_config_adopt(gw->config, coord_state_identity(gw->state));
	}
	gw->tunnel = ctl_tunnel_new(gw->config, gw->loop, &err);
	return gw->tunnel ? 0 : failed(errno, err.text);
}

static int listen_on(struct gateway *gw, const struct base_endpoint *endpoint)
{
	struct base_error err;
	int rc;

	if (endpoint->addr.family == BASE_FAMILY_NONE)
		return 0;
	rc = ctl_controller_listen(gw->controller, endpoint, &err);
	return rc < 0 ? failed(0, err.text) : 0;
}

static int start_controller(struct gateway *gw)
{
	int code;

	gw->controller = ctl_controller_new(ctl_loop_uv(gw->loop), gw->service);
	if (!gw->controller)
		return failed(errno, "controller: out of memory");
	code = listen_on(gw, &gw->config->listen);
	return code ? code : listen_on(gw, &gw->config->direct);
}

static int start_mesh(struct gateway *gw)
{
	struct base_error err;

	if (!gw->config->has_mesh)
		return 0;
	gw->mesh = ctl_mesh_new(gw->config, gw->state, gw->tunnel, gw->controller, gw->loop, &err);
	return gw->mesh ? 0 : failed(errno, err.text);
}

static int start_reload(struct gateway *gw)
{
	gw->reload = ctl_reload_new(gw->config, gw->tunnel, gw->loop, gw->flags->log_level != NULL);
	return gw->reload ? 0 : failed(errno, "reload: out of memory");
}

static int start_api(struct gateway *gw)
{
	struct ctl_api_sources sources = {gw->config, gw->tunnel, gw->reload, gw->controller,
		base_clock_now_ns(), NULL, gw->mesh, NULL};
	struct base_error err;

	gw->taps = ctl_taps_new(ctl_loop_uv(gw->loop), gw->tunnel);
	if (!gw->taps)
		return failed(errno, "traces: out of memory");
	gw->events = ctl_events_new(ctl_loop_uv(gw->loop));
	if (!gw->events)
		return failed(errno, "events: out of memory");
	sources.taps = gw->taps;
	sources.events = gw->events;
	gw->api = ctl_api_new(gw->service, &sources, &err);
	return gw->api ? 0 : failed(0, err.text);
}

/* "af_xdp eth0, af_xdp eth1" and "1, 2, 3" */
static void list_ports(char *buf, size_t size, const struct dp_config *dp)
{
	for (unsigned i = 0; i < dp->n_ports; i++) {
		size_t at = strlen(buf);

		snprintf(buf + at, size - at, "%s%s %s", i ? ", " : "",
			dp_port_kind_name(dp->ports[i].kind), dp->ports[i].device);
	}
}

static void list_cpus(char *buf, size_t size, const struct dp_config *dp)
{
	for (unsigned i = 0; i < dp->n_workers; i++) {
		size_t at = strlen(buf);

		snprintf(buf + at, size - at, "%s%u", i ? ", " : "", dp->worker_cpus[i]);
	}
}

static void log_tunnel(const struct ctl_config *config, const struct dp *dp)
{
	char key[BASE_FINGERPRINT_LEN + 1], ports[128] = "", cpus[512] = "";
	struct dp_stats *stats = calloc(1, sizeof(*stats));

	if (!stats)
		return;
	dp_stats_get(dp, stats);
	base_key_fingerprint(key, config->public_key.bytes);
	list_ports(ports, sizeof(ports), &config->dp);
	list_cpus(cpus, sizeof(cpus), &config->dp);
	base_log_info("tunnel: key %s, UDP port %u on %s; interface %s; %zu peer(s)", key,
		config->dp.listen_port, ports, config->dp.host_device, config->n_peers);
	base_log_info("workers: CPU %s, idle %s, %s, %s; control on CPU %u", cpus,
		config->dp.idle == DP_IDLE_POLL ? "poll" : "adaptive", stats->crypto,
		stats->has_hugepages ? "hugepages" : "ordinary pages", config->dp.control_cpu);
	free(stats);
}

static void log_ready(const struct gateway *gw)
{
	const struct ctl_config *config = gw->config;
	char text[BASE_ENDPOINT_TEXT_LEN];

	if (gw->tunnel)
		log_tunnel(config, ctl_tunnel_dp(gw->tunnel));
	if (config->listen.addr.family)
		base_log_info("controller: ws://%s/ws, on the mesh",
			base_endpoint_print(text, &config->listen));
	if (config->direct.addr.family)
		base_log_info("controller: ws://%s/ws, direct: no tunnel, no encryption",
			base_endpoint_print(text, &config->direct));
	base_log_info("ready: sandd-gw %s, API on %s", SANDD_VERSION, config->socket);
}

static int start_all(struct gateway *gw)
{
	int code;

	gw->loop = ctl_loop_new();
	if (!gw->loop)
		return failed(errno, "event loop: no memory or descriptors");
	gw->notify = ctl_notify_new(ctl_loop_uv(gw->loop));
	code = start_tunnel(gw);
	if (code)
		return code;
	gw->service = ws_service_new(ctl_loop_uv(gw->loop));
	if (!gw->service)
		return failed(errno,
			"WebSocket service: no memory, or libwebsockets' libuv plug-in "
			"is missing (Debian: libwebsockets-evlib-uv)");
	code = start_controller(gw);
	if (code == 0)
		code = start_mesh(gw);
	if (code == 0)
		code = start_reload(gw);
	return code ? code : start_api(gw);
}

static void stop_all(struct gateway *gw)
{
	ctl_notify_free(gw->notify);
	if (gw->mesh)
		ctl_mesh_listen(gw->mesh, &(struct ctl_mesh_host){0}, NULL);
	ctl_events_free(gw->events);
	ctl_api_free(gw->api);
	ctl_taps_free(gw->taps);
	ctl_reload_free(gw->reload);
	ctl_mesh_free(gw->mesh);
	ctl_controller_free(gw->controller);
	ws_service_free(gw->service);
	ctl_tunnel_free(gw->tunnel);
	coord_state_close(gw->state);
	ctl_loop_free(gw->loop);
}

/* What needs more rights than the gateway keeps; before there is another thread. */
static int settle_rights(struct ctl_config *config)
{
	struct base_error err;
	int rc = config->has_tunnel ? dp_clean(&config->dp, &err) : 0;

	if (rc == 0)
		rc = ctl_privilege_drop(config, &err);
	return rc < 0 ? failed(-rc, err.text) : 0;
}

static int gateway_run(struct ctl_config *config, const struct flags *flags)
{
	struct gateway gw = {.config = config, .flags = flags};
	int code = settle_rights(config);

	if (code == 0)
		code = start_all(&gw);
	if (code == 0) {
		ctl_privilege_forbid_tracing();
		log_ready(&gw);
		ctl_notify_ready(gw.notify, "carries tunnels; sandctl status tells more");
		code = ctl_loop_run(gw.loop);
	}
	stop_all(&gw);
	if (code == 0)
		base_log_info("stopped");
	return code;
}

static int command_clean(const struct flags *flags)
{
	struct base_error err = {0};
	struct ctl_config *config = ctl_config_load(flags->config, NULL, &err);
	int rc;

	if (!config)
		return complain(EXIT_CONFIG, err.text);
	rc = config->has_tunnel ? dp_clean(&config->dp, &err) : 0;
	ctl_config_free(config);
	return rc < 0 ? complain(EXIT_FAILURE, err.text) : EXIT_SUCCESS;
}

static int command_policy(const struct flags *flags)
{
	struct base_error err;

	if (!flags->user)
		return complain(EXIT_CONFIG, "policy needs --user USER: who may make tagged keys");
	if (ctl_policy_print(stdout, flags->user, &err) < 0)
		return complain(EXIT_CONFIG, err.text);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- logout without a gateway that runs --- */

struct logout {
	struct ctl_loop *loop;
};

static void logout_changed(void *ctx, const struct coord_netmap *map, const struct coord_diff *diff)
{
}

static int logout_identity(void *ctx, const struct cr_key *node_private)
{
	return 0;
}

static void on_logged_out(void *user, int rc, const char *line)
{
	struct logout *logout = user;

	complain(0, line);
	ctl_loop_stop(logout->loop, rc == 0 ? EXIT_SUCCESS : EXIT_REFUSED);
}

/* The client alone, for one request. */
static int logout_run(struct ctl_config *config, struct coord_state *state)
{
	static const struct coord_host hooks = {
		.changed = logout_changed, .identity = logout_identity};
	const struct coord_config coord_config = {
		.server_url = config->mesh.server,
		.ca_file = config->mesh.ca_file,
		.server_key = config->mesh.server_key,
		.hostname = config->mesh.hostname,
		.version = SANDD_VERSION,
	};
	struct logout logout = {ctl_loop_new()};
	struct cr_key disco = {{0}};
	struct base_error err;
	struct coord *coord;
	int code;

	if (!logout.loop)
		return complain(EXIT_FAILURE, "event loop: no memory or descriptors");
	coord = coord_new(
		ctl_loop_uv(logout.loop), state, &coord_config, &disco, &hooks, &logout, &err);
	if (coord) {
		coord_logout(coord, on_logged_out, &logout);
		code = ctl_loop_run(logout.loop);
	} else {
		code = complain(EXIT_FAILURE, err.text);
	}
	coord_free(coord);
	ctl_loop_free(logout.loop);
	return code;
}

static int command_logout(const struct flags *flags)
{
	struct base_error err = {0};
	struct ctl_config *config = ctl_config_load(flags->config, NULL, &err);
	struct coord_state *state;
	int code;

	if (!config)
		return complain(EXIT_CONFIG, err.text);
	if (!config->has_mesh) {
		code = complain(EXIT_CONFIG, "logout: the configuration has no mesh");
	} else if (!(state = coord_state_open(config->mesh.state_dir, &err))) {
		code = complain(EXIT_FAILURE, err.text);
	} else {
		base_log_setup(NULL, config->log_level);
		code = logout_run(config, state);
		coord_state_close(state);
	}
	ctl_config_free(config);
	return code;
}

static int command_run(const struct flags *flags)
{
	struct base_error err;
	struct ctl_config *config;
	int code;

	ctl_privilege_forbid_core_files();
	config = ctl_config_load(flags->config, print_warning, &err);
	if (!config)
		return complain(EXIT_CONFIG, err.text);
	code = apply_flags(config, flags);
	if (code == 0 && flags->is_check) {
		ctl_config_print(config, stdout);
		code = fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	} else if (code == 0) {
		base_log_setup(NULL, config->log_level);
		code = gateway_run(config, flags);
	}
	ctl_config_free(config);
	return code;
}

/* A command word, some with one argument; without a word the gateway runs. */
static int dispatch(const struct flags *flags, int argc, char *const argv[])
{
	static const struct {
		const char *name;
		int (*run)(const struct flags *flags, const char *path);
	} commands[] = {{"keygen", command_keygen}, {"pubkey", command_pubkey}};
	static const struct {
		const char *name;
		int (*run)(const struct flags *flags);
	} words[] = {
		{"clean", command_clean}, {"policy", command_policy}, {"logout", command_logout}};

	if (argc == 0)
		return command_run(flags);
	for (size_t i = 0; argc == 1 && i < BASE_ARRAY_LEN(words); i++) {
		if (strcmp(argv[0], words[i].name) == 0)
			return words[i].run(flags);
	}
	for (size_t i = 0; i < BASE_ARRAY_LEN(commands); i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		if (argc != 2)
			return complain(EXIT_CONFIG, "name one key file; --help shows how");
		return commands[i].run(flags, argv[1]);
	}
	fprintf(stderr, "sandd-gw: no command '%s'; --help lists them\n", argv[0]);
	return EXIT_CONFIG;
}

int main(int argc, char *argv[])
{
	enum { CHECK = 256, LOG_LEVEL, SOCKET, VERSION, FORCE, AUTHKEY, AUTHKEY_FILE, USER };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check-config", no_argument, NULL, CHECK},
		{"log-level", required_argument, NULL, LOG_LEVEL},
		{"socket", required_argument, NULL, SOCKET},
		{"force", no_argument, NULL, FORCE},
		{"authkey", required_argument, NULL, AUTHKEY},
		{"authkey-file", required_argument, NULL, AUTHKEY_FILE},
		{"user", required_argument, NULL, USER},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, VERSION},
		{0},
	};
	struct flags flags = {.config = CONFIG_DEFAULT};
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			flags.config = optarg;
			break;
		case CHECK:
			flags.is_check = true;
			break;
		case LOG_LEVEL:
			flags.log_level = optarg;
			break;
		case SOCKET:
			flags.socket = optarg;
			break;
		case FORCE:
			flags.is_force = true;
			break;
		case AUTHKEY:
			base_wipe(optarg, strlen(optarg));
			return complain(EXIT_CONFIG,
				"--authkey: a secret in argv is everybody's: ps shows it; put it "
				"into a "
				"file of mode 0600 and give --authkey-file FILE, or set "
				"SANDD_AUTHKEY");
		case AUTHKEY_FILE:
			flags.authkey_file = optarg;
			break;
		case USER:
			flags.user = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return EXIT_SUCCESS;
		case VERSION:
			puts("sandd-gw " SANDD_VERSION);
			return EXIT_SUCCESS;
		default:
			fputs("sandd-gw: --help lists the options\n", stderr);
			return EXIT_CONFIG;
		}
	}
	if (cr_init() < 0)
		return complain(EXIT_FAILURE,
			"OpenSSL here lacks BLAKE2s (the default provider of "
			"OpenSSL 3 has it), or libsodium does not start");
	return dispatch(&flags, argc - optind, argv + optind);
}
