/* SPDX-License-Identifier: BSD-3-Clause */
/* Registry, requests and WebSocket servers joined. Loop's thread. See ctl_controller.h. */
#include "ctl_controller.h"

#include "base_log.h"
#include "ctl_request.h"

#include <jansson.h>
#include <stdlib.h>

BASE_LOG_CATEGORY("controller");

/* How often deadlines are looked at while a request is outstanding: an error of 5 % at one second. */
#define DEADLINE_TICK_MS 50
#define AUDIT_COMMAND_BYTES 200
/* Lines about daemons that come and go: this many at once, then one a second. */
#define NEWS_BURST 200
#define REFUSALS_BURST 10

struct ctl_controller {
	struct ws_service *service;
	struct listener {
		struct base_endpoint at;
		struct ws_server *server;
	} listeners[CTL_LISTENERS_MAX];
	unsigned n_listeners;
	struct ctl_registry *registry;
	struct ctl_requests *requests;
	bool (*node_of)(void *ctx, const struct base_addr *addr, struct ctl_node *ret_node);
	void *node_ctx;
	void (*news_of)(void *ctx, const struct ctl_daemon *daemon, const char *why);
	void *news_ctx;
	uv_timer_t *sweep, *deadlines; /* on the heap: closed later than this object */
	struct base_log_limit refusals,
		news; /* daemons come, go and misbehave as often as they like */
};

/* A command on its way: who gets the result, and what the audit log will say. */
struct job {
	struct ctl_controller *controller;
	ctl_exec_done done;
	void *user;
	uint64_t begun_ns;
	char *daemon_id;
	char client[64];
	char command[4 * AUDIT_COMMAND_BYTES + 8]; /* escaped */
};

static void audit(const char *client, const char *daemon_id, const char *command, const char *end)
{
	char id[4 * 64 + 8];

	/* The command is last: whatever it holds, it cannot pass for another part of the line. */
	base_log_info("audit: exec by %s on %s: %s: %s", client,
		base_log_text(id, sizeof(id), daemon_id, strnlen(daemon_id, 64)), end, command);
}

static void audit_command(char *buf, size_t size, const char *command)
{
	size_t len = strnlen(command, AUDIT_COMMAND_BYTES + 1);
	bool is_cut = len > AUDIT_COMMAND_BYTES;

	base_log_text(buf, size - 3, command, is_cut ? AUDIT_COMMAND_BYTES : len);
	if (is_cut)
		strcat(buf, "...");
}

static void job_free(struct job *job)
{
	if (!job)
		return;
	free(job->daemon_id);
	free(job);
}

static struct job *job_new(struct ctl_controller *controller, const struct ctl_exec *exec,
	ctl_exec_done done, void *user)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return NULL;
	job->controller = controller;
	job->done = done;
	job->user = user;
	job->begun_ns = base_clock_now_ns();
	job->daemon_id = strdup(exec->daemon_id);
	snprintf(job->client, sizeof(job->client), "%s", exec->client);
	audit_command(job->command, sizeof(job->command), exec->command);
	if (job->daemon_id)
		return job;
	job_free(job);
	return NULL;
}

/* What the daemon answered, as a result. */
static void read_answer(struct ctl_exec_result *result, const struct ws_msg *msg)
{
	if (msg->type == WS_COMMAND_OUTPUT) {
		result->end = CTL_EXEC_DONE;
		result->output = &msg->output;
	} else if (strcmp(msg->command_error.error, WS_TIMEOUT_TEXT) == 0) {
		result->end = CTL_EXEC_TIMEOUT;
	} else {
		result->end = CTL_EXEC_DAEMON_ERROR;
		result->error = msg->command_error.error;
	}
}

static void describe_end(char *buf, size_t size, const struct ctl_exec_result *result)
{
	char error[256];

	switch (result->end) {
	case CTL_EXEC_DONE:
		snprintf(buf, size, "exit code %d%s", result->output->exit_code,
			result->output->is_truncated ? ", output cut" : "");
		break;
	case CTL_EXEC_TIMEOUT:
		snprintf(buf, size, "timed out");
		break;
	case CTL_EXEC_LOST:
		snprintf(buf, size, "daemon lost");
		break;
	case CTL_EXEC_DAEMON_ERROR:
		snprintf(buf, size, "daemon error: %s",
			base_log_text(
				error, sizeof(error), result->error, strnlen(result->error, 200)));
		break;
	}
}

/* The one completion of a command (ctl_request.h). */
static void on_request_done(void *user, enum ctl_outcome outcome, const void *answer)
{
	struct ctl_exec_result result = {0};
	struct job *job = user;
	char end[320], line[352];

	if (outcome == CTL_OUTCOME_ANSWERED)
		read_answer(&result, answer);
	else
		result.end = outcome == CTL_OUTCOME_TIMEOUT ? CTL_EXEC_TIMEOUT : CTL_EXEC_LOST;
	describe_end(end, sizeof(end), &result);
	snprintf(line, sizeof(line), "%s, after %llu ms", end,
		(unsigned long long)((base_clock_now_ns() - job->begun_ns) / BASE_NS_PER_MS));
	audit(job->client, job->daemon_id, job->command, line);
	job->done(job->user, &result);
	job_free(job);
}

static void on_deadlines(uv_timer_t *timer)
{
	struct ctl_controller *controller = timer->data;

	ctl_requests_expire(controller->requests, base_clock_now_ns());
	if (ctl_requests_stats(controller->requests)->outstanding == 0)
		uv_timer_stop(timer);
}

static int send_command(struct ctl_controller *controller, struct ctl_daemon *daemon,
	const struct ctl_exec *exec, struct job *job)
{
	struct ws_conn *conn = ctl_session_conn(daemon->session);
	char id[CTL_REQUEST_ID_LEN];
	struct ws_msg msg = {
		.type = WS_EXECUTE_COMMAND,
		.exec = {.request_id = id,
			.command = (char *)exec->command,
			.timeout_s = exec->timeout_s,
			.env = exec->env,
			.n_env = exec->n_env,
			.cwd = (char *)exec->cwd},
	};
	int rc = ctl_request_begin(controller->requests, &daemon->requests,
		job->begun_ns + exec->timeout_s * BASE_NS_PER_S, on_request_done, job, id);

	if (rc < 0)
		return -EBUSY;
	rc = ws_conn_send(conn, &msg);
	if (rc < 0) {
		ctl_request_cancel(controller->requests, id);
		return rc == -EAGAIN ? -EBUSY : rc;
	}
	if (!uv_is_active((uv_handle_t *)controller->deadlines))
		uv_timer_start(
			controller->deadlines, on_deadlines, DEADLINE_TICK_MS, DEADLINE_TICK_MS);
	return 0;
}

int ctl_controller_exec(struct ctl_controller *controller, const struct ctl_exec *exec,
	ctl_exec_done done, void *user)
{
	struct ctl_daemon *daemon = ctl_registry_find(controller->registry, exec->daemon_id);
	struct job *job = job_new(controller, exec, done, user);
	int rc;

	if (!job)
		return -ENOMEM;
	rc = daemon ? send_command(controller, daemon, exec, job) : -ENOENT;
	if (rc < 0) {
		audit(job->client, job->daemon_id, job->command,
			rc == -ENOENT          ? "unknown daemon"
				: rc == -EBUSY ? "refused: too much outstanding"
					       : strerror(-rc));
		job_free(job);
	}
	return rc;
}

/* ---- what connections say ---- */

/* Whose connection is it? An address that is no node's is nobody's. */
static int take_node(
	struct ctl_controller *controller, struct ws_conn *conn, struct ctl_session *session)
{
	struct base_endpoint remote;
	struct ctl_node node = {0};

	if (!controller->node_of || base_endpoint_parse(&remote, ws_conn_remote(conn)) < 0 ||
		!controller->node_of(controller->node_ctx, &remote.addr, &node))
		return 0;
	return ctl_session_set_node(session, &node);
}

static void on_opened(void *ctx, struct ws_conn *conn)
{
	struct ctl_controller *controller = ctx;
	struct ctl_session *session =
		ctl_session_open(controller->registry, conn, base_clock_now_ns());

	if (session && take_node(controller, conn, session) == 0) {
		ws_conn_set_user(conn, session);
	} else {
		ctl_session_close(session);
		ws_conn_close(conn, "out of memory");
	}
}

static void on_closed(void *ctx, struct ws_conn *conn)
{
	ctl_session_close(ws_conn_user(conn));
}

/* A daemon came or left; bounded, because it is the daemons that decide how often. */
static void log_news(struct ctl_controller *controller, const char *daemon_id, const char *what,
	const char *detail)
{
	char id[4 * 64 + 8];
	uint32_t held_back;

	if (!base_log_allow(&controller->news, base_clock_now_ns(), NEWS_BURST, &held_back))
		return;
	base_log_text(id, sizeof(id), daemon_id, strnlen(daemon_id, 64));
	if (held_back > 0)
		base_log_info(
			"daemon \"%s\" %s %s (%u more not shown)", id, what, detail, held_back);
	else
		base_log_info("daemon \"%s\" %s %s", id, what, detail);
}

/* A full queue drops the ack: the daemon sees silence and dials again, as with a dead controller. */
static void send_ack(struct ws_conn *conn, enum ws_type type, bool success, const char *text)
{
	struct ws_msg msg = {.type = type, .ack = {.success = success, .text = (char *)text}};
	int rc = ws_conn_send(conn, &msg);

	if (rc < 0)
		base_log_debug("%s: %s not sent: %s", ws_conn_remote(conn),
			type == WS_REGISTER_ACK ? "register_ack" : "heartbeat_ack", strerror(-rc));
}

static void on_register(struct ctl_controller *controller, struct ws_conn *conn,
	struct ctl_session *session, const struct ws_register *message)
{
	const struct ctl_daemon *before = ctl_session_daemon(session), *daemon;
	uint64_t now_ns = base_clock_now_ns();
	const char *refusal = "";
	char id[4 * 64 + 8];
	uint32_t held_back;

	base_log_text(id, sizeof(id), message->daemon_id, strnlen(message->daemon_id, 64));
	if (ctl_session_register(session, message, now_ns, &refusal) < 0) {
		if (base_log_allow(&controller->refusals, now_ns, REFUSALS_BURST, &held_back))
			base_log_warn("%s: registration of \"%s\" refused: %s (%u more not shown)",
				ws_conn_remote(conn), id, refusal, held_back);
		send_ack(conn, WS_REGISTER_ACK, false, refusal);
		return;
	}
	daemon = ctl_session_daemon(session);
	if (daemon != before) {
		log_news(controller, daemon->id, "registered from", ws_conn_remote(conn));
		if (controller->news_of)
			controller->news_of(controller->news_ctx, daemon, NULL);
	}
	send_ack(conn, WS_REGISTER_ACK, true, "registered");
}

static void on_heartbeat(struct ws_conn *conn, struct ctl_session *session)
{
	switch (ctl_session_heartbeat(session, base_clock_now_ns())) {
	case CTL_BEAT_KNOWN:
		send_ack(conn, WS_HEARTBEAT_ACK, true, "");
		break;
	case CTL_BEAT_FORGOTTEN:
		send_ack(conn, WS_HEARTBEAT_ACK, false, "not registered");
		break;
	case CTL_BEAT_STRANGER:
		break;
	}
}

static void on_answer(struct ctl_controller *controller, struct ws_conn *conn,
	struct ctl_session *session, const struct ws_msg *msg)
{
	struct ctl_daemon *daemon = ctl_session_daemon(session);
	const char *id = msg->type == WS_COMMAND_OUTPUT ? msg->output.request_id
							: msg->command_error.request_id;

	if (!ctl_request_answer(controller->requests, daemon ? &daemon->requests : NULL, id, msg))
		base_log_debug(
			"%s: an answer to nothing that is outstanding", ws_conn_remote(conn));
}

static void on_message(void *ctx, struct ws_conn *conn, const struct ws_msg *msg)
{
	struct ctl_controller *controller = ctx;
	struct ctl_session *session = ws_conn_user(conn);
	char text[256];

	if (!session)
		return; /* no memory when it opened; it is closing */
	switch (msg->type) {
	case WS_REGISTER:
		on_register(controller, conn, session, &msg->reg);
		break;
	case WS_HEARTBEAT:
		on_heartbeat(conn, session);
		break;
	case WS_COMMAND_OUTPUT:
	case WS_COMMAND_ERROR:
		on_answer(controller, conn, session, msg);
		break;
	case WS_ERROR:
		base_log_debug("%s: error: %s", ws_conn_remote(conn),
			base_log_text(text, sizeof(text), msg->error.message,
				strnlen(msg->error.message, 60)));
		break;
	default:
		break; /* a message of the other direction */
	}
}

/* The body of /stats, as protocols/sandd.md, section 1 has it. */
static json_t *daemon_json(const struct ctl_daemon *daemon, uint64_t now_ns)
{
	json_t *labels = json_object();

	for (size_t i = 0; i < daemon->n_labels; i++)
		json_object_set_new(
			labels, daemon->labels[i].name, json_string(daemon->labels[i].value));
	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:I, s:I}", "hostname", daemon->hostname,
		"platform", daemon->platform, "arch", daemon->arch, "version", daemon->version,
		"labels", labels, "is_busy", daemon->requests.n_requests > 0, "connected_secs",
		(json_int_t)((now_ns - daemon->registered_ns) / BASE_NS_PER_S),
		"seconds_since_heartbeat",
		(json_int_t)((now_ns - daemon->heartbeat_ns) / BASE_NS_PER_S));
}

static char *stats_json(void *ctx)
{
	const struct ctl_controller *controller = ctx;
	size_t n = ctl_registry_count(controller->registry);
	json_t *daemons = json_object(), *platforms = json_object(), *stats;
	uint64_t now_ns = base_clock_now_ns(), oldest_s = 0;
	char *text;

	for (size_t i = 0; i < n; i++) {
		const struct ctl_daemon *daemon = ctl_registry_at(controller->registry, i);
		uint64_t age_s = (now_ns - daemon->registered_ns) / BASE_NS_PER_S;
		json_int_t count = json_integer_value(json_object_get(platforms, daemon->platform));

		json_object_set_new(daemons, daemon->id, daemon_json(daemon, now_ns));
		json_object_set_new(platforms, daemon->platform, json_integer(count + 1));
		oldest_s = age_s > oldest_s ? age_s : oldest_s;
	}
	stats = json_pack("{s:I, s:o, s:I, s:o}", "total_daemons", (json_int_t)n, "by_platform",
		platforms, "oldest_connection_secs", (json_int_t)oldest_s, "daemons", daemons);
	text = json_dumps(stats, JSON_COMPACT);
	json_decref(stats);
	return text;
}

static const struct ws_host ws_callbacks = {
	.opened = on_opened,
	.message = on_message,
	.closed = on_closed,
	.stats_json = stats_json,
};

/* ---- what the registry tells ---- */

static void on_left(void *ctx, struct ctl_daemon *daemon, const char *why)
{
	struct ctl_controller *controller = ctx;

	log_news(controller, daemon->id, "left:", why);
	if (controller->news_of)
		controller->news_of(controller->news_ctx, daemon, why);
	ctl_request_owner_end(controller->requests, &daemon->requests);
}

static void on_hang_up(void *ctx, void *conn, const char *why)
{
	ws_conn_close(conn, why);
}

static const struct ctl_registry_host registry_callbacks = {
	.left = on_left,
	.hang_up = on_hang_up,
};

static void on_sweep(uv_timer_t *timer)
{
	struct ctl_controller *controller = timer->data;

	ctl_registry_sweep(controller->registry, base_clock_now_ns());
}

/* ---- life ---- */

static uv_timer_t *timer_new(uv_loop_t *loop, void *data)
{
	uv_timer_t *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	uv_timer_init(loop, timer);
	timer->data = data;
	return timer;
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void timer_free(uv_timer_t *timer)
{
	if (timer)
		uv_close((uv_handle_t *)timer, on_timer_closed);
}

struct ctl_controller *ctl_controller_new(uv_loop_t *loop, struct ws_service *service)
{
	struct ctl_controller *controller = calloc(1, sizeof(*controller));

	if (!controller)
		return NULL;
	controller->service = service;
	controller->registry = ctl_registry_new(&registry_callbacks, controller);
	controller->requests = ctl_requests_new(CTL_REQUESTS_MAX);
	controller->sweep = timer_new(loop, controller);
	controller->deadlines = timer_new(loop, controller);
	if (!controller->registry || !controller->requests || !controller->sweep ||
		!controller->deadlines) {
		ctl_controller_free(controller);
		errno = ENOMEM;
		return NULL;
	}
	uv_timer_start(controller->sweep, on_sweep, CTL_SWEEP_NS / BASE_NS_PER_MS,
		CTL_SWEEP_NS / BASE_NS_PER_MS);
	return controller;
}

void ctl_controller_free(struct ctl_controller *controller)
{
	if (!controller)
		return;
	/* Each connection's closed() ends its daemon, and that the daemon's requests. */
	for (unsigned i = 0; i < controller->n_listeners; i++)
		ws_server_free(controller->listeners[i].server);
	timer_free(controller->sweep);
	timer_free(controller->deadlines);
	ctl_requests_free(controller->requests);
	ctl_registry_free(controller->registry);
	free(controller);
}

int ctl_controller_listen(struct ctl_controller *controller, const struct base_endpoint *endpoint,
	struct base_error *ret_error)
{
	struct ws_server_config config = {.addr = endpoint->addr, .port = endpoint->port};
	struct ws_server *server;

	if (controller->n_listeners == CTL_LISTENERS_MAX)
		return base_error_set(
			ret_error, -ENOSPC, "no more than %d listeners", CTL_LISTENERS_MAX);
	server = ws_server_new(controller->service, &config, &ws_callbacks, controller, ret_error);
	if (!server)
		return -errno;
	controller->listeners[controller->n_listeners++] = (struct listener){*endpoint, server};
	return 0;
}

void ctl_controller_listen_to_daemons(struct ctl_controller *controller,
	void (*news)(void *ctx, const struct ctl_daemon *daemon, const char *why), void *ctx)
{
	controller->news_of = news;
	controller->news_ctx = ctx;
}

void ctl_controller_set_nodes(struct ctl_controller *controller,
	bool (*node_of)(void *ctx, const struct base_addr *addr, struct ctl_node *ret_node),
	void *ctx)
{
	controller->node_of = node_of;
	controller->node_ctx = ctx;
}

void ctl_controller_release(struct ctl_controller *controller, int64_t node_id)
{
	ctl_registry_release(controller->registry, node_id);
}

void ctl_controller_unlisten(
	struct ctl_controller *controller, const struct base_endpoint *endpoint)
{
	for (unsigned i = 0; i < controller->n_listeners; i++) {
		struct listener listener = controller->listeners[i];

		if (!base_endpoint_equal(&listener.at, endpoint))
			continue;
		controller->listeners[i] = controller->listeners[--controller->n_listeners];
		ws_server_free(listener.server);
		return;
	}
}

const struct ctl_registry *ctl_controller_registry(const struct ctl_controller *controller)
{
	return controller->registry;
}

const struct ctl_requests_stats *ctl_controller_requests(const struct ctl_controller *controller)
{
	return ctl_requests_stats(controller->requests);
}

void ctl_controller_server_stats(
	const struct ctl_controller *controller, struct ws_server_stats *ret_stats)
{
	struct ws_server_stats sum = {0}, one;

	for (unsigned i = 0; i < controller->n_listeners; i++) {
		ws_server_stats(controller->listeners[i].server, &one);
		sum.accepted += one.accepted;
		sum.refused_subprotocol += one.refused_subprotocol;
		sum.refused_limit += one.refused_limit;
		sum.rx_msgs += one.rx_msgs;
		sum.rx_malformed_msgs += one.rx_malformed_msgs;
		sum.rx_unknown_msgs += one.rx_unknown_msgs;
		sum.tx_msgs += one.tx_msgs;
		sum.closed_too_large += one.closed_too_large;
		sum.closed_slow += one.closed_slow;
		sum.closed_silent += one.closed_silent;
		sum.closed_no_memory += one.closed_no_memory;
		sum.buffered_bytes += one.buffered_bytes;
		sum.conns += one.conns;
	}
	*ret_stats = sum;
}
