/* SPDX-License-Identifier: BSD-3-Clause */
/* Routes of the operators' API, and exec. Loop's thread. See ctl_api.h. */
#include "ctl_api.h"

#include "base_clock.h"
#include "ctl_quote.h"
#include "ctl_stats.h"

#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct ctl_api {
	struct ctl_api_sources sources; /* first: handlers of ctl_api_peers.c are given this */
	struct ws_http *http;
};

/* ---- GET ---- */

static void reply_document(struct ws_http_req *req, json_t *document)
{
	if (document)
		ws_http_reply(req, 200, document);
	else
		ws_http_reply_error(req, 500, "no_memory", "the gateway is out of memory");
}

static void on_status(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;

	reply_document(req, ctl_api_status(&api->sources, base_clock_now_ns()));
}

static void on_peers(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;

	reply_document(req, ctl_api_peers(&api->sources, base_clock_now_ns()));
}

static void on_stats(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;

	reply_document(req, ctl_api_stats(&api->sources));
}

static void on_reasons(void *ctx, struct ws_http_req *req)
{
	reply_document(req, ctl_stats_reasons());
}

static void on_metrics(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = &((const struct ctl_api *)ctx)->sources;
	char *text = ctl_stats_metrics(sources->tunnel ? ctl_tunnel_dp(sources->tunnel) : NULL,
		ctl_registry_count(ctl_controller_registry(sources->controller)),
		(base_clock_now_ns() - sources->started_ns) / BASE_NS_PER_S);

	if (text)
		ws_http_reply_text(
			req, "application/openmetrics-text; version=1.0.0; charset=utf-8", text);
	else
		reply_document(req, NULL);
}

static void on_daemons(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;

	reply_document(req, ctl_api_daemons(&api->sources, base_clock_now_ns()));
}

/* ---- POST exec ---- */

/* A caller that waits for a command. */
struct waiter {
	struct ws_http_req
		*req; /* NULL once it went away: the command goes on, nobody hears of it */
	char daemon_id[WS_ID_BYTES_MAX + 1];
	uint64_t timeout_s;
};

static void on_gone(void *user)
{
	struct waiter *waiter = user;

	waiter->req = NULL;
}

static void reply_output(struct ws_http_req *req, const struct ws_command_output *output)
{
	json_t *document = json_pack("{s:s%, s:s%, s:i, s:I, s:b}", "stdout", output->out,
		output->out_len, "stderr", output->err, output->err_len, "exit_code",
		output->exit_code, "duration_ms", (json_int_t)output->duration_ms, "truncated",
		output->is_truncated);

	reply_document(req, document);
}

static void on_exec_done(void *user, const struct ctl_exec_result *result)
{
	struct waiter *waiter = user;
	struct ws_http_req *req = waiter->req;

	if (req) {
		switch (result->end) {
		case CTL_EXEC_DONE:
			reply_output(req, result->output);
			break;
		case CTL_EXEC_TIMEOUT:
			ws_http_reply_error(req, 504, "timeout",
				"the command did not end within %llu s",
				(unsigned long long)waiter->timeout_s);
			break;
		case CTL_EXEC_LOST:
			ws_http_reply_error(req, 502, "daemon_lost",
				"the connection of daemon \"%s\" ended before the command did",
				waiter->daemon_id);
			break;
		case CTL_EXEC_DAEMON_ERROR:
			ws_http_reply_error(req, 502, "daemon_error", "%s", result->error);
			break;
		}
	}
	free(waiter);
}

/* What a call asks for; freed with call_fini(). */
struct call {
	struct ctl_exec exec;
	char *quoted; /* exec.command, where it was made from argv */
};

static void call_fini(struct call *call)
{
	free(call->exec.env);
	free(call->quoted);
}

/* One text, or the words of argv quoted into one for the daemon's shell. */
static const char *take_command(struct call *call, const json_t *command, const json_t *argv)
{
	if (!command == !argv)
		return "give either command (a line for sh -c) or argv (a list of words)";
	if (argv) {
		call->quoted = ctl_quote_argv(argv);
		call->exec.command = call->quoted;
	} else {
		call->exec.command = json_string_value(command);
	}
	if (!call->exec.command || !call->exec.command[0])
		return "command must be a text, argv a list of texts; neither may be empty";
	if (strlen(call->exec.command) > WS_COMMAND_BYTES_MAX)
		return "the command is longer than 1 MiB; put it into a file there";
	return NULL;
}

static bool env_name_is_valid(const char *name)
{
	return name[0] != '\0' && !strchr(name, '=');
}

static const char *take_env(struct call *call, json_t *env)
{
	const char *name;
	json_t *value;

	if (!env)
		return NULL;
	if (!json_is_object(env) || json_object_size(env) > WS_ENV_MAX)
		return "env must be an object of at most 1024 texts";
	call->exec.env = calloc(json_object_size(env) + 1, sizeof(*call->exec.env));
	if (!call->exec.env)
		return "the gateway is out of memory";
	json_object_foreach (env, name, value) {
		if (!json_is_string(value) || !env_name_is_valid(name))
			return "env must hold texts, under names without \"=\"";
		call->exec.env[call->exec.n_env].name = (char *)name;
		call->exec.env[call->exec.n_env++].value = (char *)json_string_value(value);
	}
	return NULL;
}

/* Read the body. Returns NULL, or what is wrong with it. */
static const char *call_init(struct call *call, json_t *body)
{
	static const char *const known[] = {"command", "argv", "timeout_s", "env", "cwd"};
	const json_t *timeout = json_object_get(body, "timeout_s");
	const json_t *cwd = json_object_get(body, "cwd");
	const char *wrong, *key;
	json_t *value;

	json_object_foreach (body, key, value) {
		bool is_known = false;

		for (size_t i = 0; i < BASE_ARRAY_LEN(known); i++)
			is_known |= strcmp(key, known[i]) == 0;
		if (!is_known)
			return "unknown key; known are command, argv, timeout_s, env, cwd";
	}
	wrong = take_command(call, json_object_get(body, "command"), json_object_get(body, "argv"));
	if (wrong)
		return wrong;
	call->exec.timeout_s = WS_TIMEOUT_S_DEFAULT;
	if (timeout) {
		if (!json_is_integer(timeout) || json_integer_value(timeout) < 0 ||
			json_integer_value(timeout) > CTL_TIMEOUT_S_MAX)
			return "timeout_s must be a whole number of seconds, at most 604800 (a "
			       "week)";
		call->exec.timeout_s = (uint64_t)json_integer_value(timeout);
	}
	if (cwd && !json_is_string(cwd))
		return "cwd must be a text";
	call->exec.cwd = json_string_value(cwd);
	return take_env(call, json_object_get(body, "env"));
}

static void reply_not_sent(struct ws_http_req *req, const char *id, int rc)
{
	switch (rc) {
	case -ENOENT:
		ws_http_reply_error(
			req, 404, "unknown_daemon", "no daemon \"%s\" is connected", id);
		break;
	case -EBUSY:
		ws_http_reply_error(req, 429, "busy",
			"too many commands are outstanding on \"%s\", or on all daemons", id);
		break;
	case -EPIPE:
		ws_http_reply_error(
			req, 502, "daemon_lost", "the connection of daemon \"%s\" is ending", id);
		break;
	case -EMSGSIZE:
		ws_http_reply_error(req, 413, "too_large",
			"the command and its environment are larger than a message may be");
		break;
	default:
		ws_http_reply_error(req, 500, "internal", "%s", strerror(-rc));
		break;
	}
}

static void on_exec(void *ctx, struct ws_http_req *req)
{
	struct ctl_api *api = ctx;
	const char *id = ws_http_param(req, "id"), *wrong;
	struct call call = {.exec = {.daemon_id = id, .client = ws_http_client(req)}};
	struct waiter *waiter = NULL;
	int rc;

	wrong = call_init(&call, ws_http_body(req));
	if (wrong) {
		ws_http_reply_error(req, 400, "bad_request", "%s", wrong);
		goto out;
	}
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		reply_document(req, NULL);
		goto out;
	}
	waiter->req = req;
	waiter->timeout_s = call.exec.timeout_s;
	snprintf(waiter->daemon_id, sizeof(waiter->daemon_id), "%s", id);
	rc = ctl_controller_exec(api->sources.controller, &call.exec, on_exec_done, waiter);
	if (rc < 0) {
		reply_not_sent(req, id, rc);
		free(waiter);
	} else {
		ws_http_on_gone(req, on_gone, waiter);
	}
out:
	call_fini(&call);
}

static void on_events(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;

	ctl_events_serve(api->sources.events, req);
}

/* ---- taps ---- */

/* The document, or the error that errno names. */
static void reply_tap(struct ws_http_req *req, json_t *document, const char *line)
{
	if (document) {
		ws_http_reply(req, 200, document);
		return;
	}
	switch (errno) {
	case EINVAL:
		ws_http_reply_error(req, 400, "bad_request", "%s", line);
		break;
	case ENOENT:
		ws_http_reply_error(req, 404, "unknown_tap", "%s", line);
		break;
	case EBUSY:
		ws_http_reply_error(req, 429, "busy", "%s", line);
		break;
	case ENOTSUP:
		ws_http_reply_error(req, 409, "no_tunnel", "%s", line);
		break;
	default:
		reply_document(req, NULL);
		break;
	}
}

static void on_tap_open(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;
	struct base_error error = {0};
	json_t *document =
		ctl_taps_open(api->sources.taps, ws_http_body(req), ws_http_client(req), &error);

	reply_tap(req, document, error.text);
}

static void on_tap_read(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;
	json_t *document =
		ctl_taps_read(api->sources.taps, ws_http_param(req, "id"), ws_http_body(req));

	reply_tap(req, document,
		errno == EINVAL ? "max must be a number of records, at most 2048"
				: "no such trace or capture; what nobody reads ends by itself");
}
static_assert(CTL_TAP_RECORDS_MAX == 2048, "on_tap_read() names the limit");

static void on_tap_close(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api *api = ctx;

	reply_tap(req, ctl_taps_close(api->sources.taps, ws_http_param(req, "id")),
		"no such trace or capture");
}

static const struct ws_http_route routes[] = {
	{"GET", "/v1/status", on_status},
	{"POST", "/v1/reload", ctl_api_on_reload},
	{"GET", "/v1/peers", on_peers},
	{"POST", "/v1/peers", ctl_api_on_peers_post},
	{"GET", "/v1/peers/{name}", ctl_api_on_peer_get},
	{"PUT", "/v1/peers/{name}", ctl_api_on_peer_put},
	{"DELETE", "/v1/peers/{name}", ctl_api_on_peer_delete},
	{"POST", "/v1/peers/{name}/ping", ctl_api_on_ping},
	{"GET", "/v1/whois", ctl_api_on_whois},
	{"GET", "/v1/filter", ctl_api_on_filter},
	{"POST", "/v1/mesh/up", ctl_api_on_mesh_up},
	{"POST", "/v1/mesh/down", ctl_api_on_mesh_down},
	{"POST", "/v1/mesh/login", ctl_api_on_mesh_login},
	{"POST", "/v1/mesh/logout", ctl_api_on_mesh_logout},
	{"GET", "/v1/events", on_events},
	{"GET", "/v1/stats", on_stats},
	{"GET", "/v1/reasons", on_reasons},
	{"GET", "/metrics", on_metrics},
	{"GET", "/v1/daemons", on_daemons},
	{"POST", "/v1/daemons/{id}/exec", on_exec},
	{"POST", "/v1/taps", on_tap_open},
	{"POST", "/v1/taps/{id}/read", on_tap_read},
	{"DELETE", "/v1/taps/{id}", on_tap_close},
};

/* ---- life ---- */

/* /run is empty after a boot: make our folder in it, and only that one. */
static void make_folder(const char *socket_path)
{
	char copy[CTL_SOCKET_PATH_LEN];

	snprintf(copy, sizeof(copy), "%s", socket_path);
	/* A failure shows when the socket is bound. */
	(void)mkdir(dirname(copy), 0755);
}

struct ctl_api *ctl_api_new(struct ws_service *service, const struct ctl_api_sources *sources,
	struct base_error *ret_error)
{
	const struct ctl_config *config = sources->config;
	struct ctl_api *api = calloc(1, sizeof(*api));
	int error;

	if (!api) {
		base_error_set(ret_error, -ENOMEM, "API: out of memory");
		errno = ENOMEM;
		return NULL;
	}
	api->sources = *sources;
	make_folder(config->socket);
	api->http = ws_http_new(
		service, config->socket, routes, BASE_ARRAY_LEN(routes), api, ret_error);
	if (!api->http) {
		free(api);
		return NULL;
	}
	ctl_api_tell_events(&api->sources);
	/* Until here it was open to root, or to the user that we run as, alone. */
	if (config->socket_gid == (gid_t)-1 ||
		chown(config->socket, (uid_t)-1, config->socket_gid) == 0)
		return api;
	error = errno;
	base_error_set(ret_error, -error,
		"%s cannot be given to group %s: %s; run as root, or as a member", config->socket,
		config->socket_group, strerror(error));
	ctl_api_free(api);
	errno = error;
	return NULL;
}

void ctl_api_free(struct ctl_api *api)
{
	if (!api)
		return;
	ctl_controller_listen_to_daemons(api->sources.controller, NULL, NULL);
	ws_http_free(api->http);
	free(api);
}
