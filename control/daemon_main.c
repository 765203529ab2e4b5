/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandd, the daemon: dials the controller and runs what it is told. The ladder: flags, loop, runner, client, signals;
 * down in reverse. One thread, one loop (ws_loop.h).
 *
 * A command outlives the connection that asked for it, up to its own time limit: killing it would cut short
 * exactly the commands that mend a link. Nobody waits for its result then (the controller failed the request at
 * once), so that is dropped and counted, not sent to whoever answers the next call.
 */
#include "base_clock.h"
#include "base_log.h"
#include "ws_client.h"
#include "ws_exec.h"
#include "ws_utf8.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <uv.h>

BASE_LOG_CATEGORY("sandd");

#define INTERVAL_S_DEFAULT 5
#define INTERVAL_S_MAX 86400
/* No new commands while this much waits for a controller that reads slowly. */
#define BACKLOG_BYTES_MAX ((size_t)16 << 20)
/* What survives any JSON escaping (six bytes for one) of both streams within a frame. */
#define OUTPUT_BYTES_SAFE ((size_t)512 << 10)
/* For the Close frame on the way out. */
#define STOP_MS 1000
/* The same loss is logged once, then again after this long. */
#define REPEAT_LOG_NS (60 * BASE_NS_PER_S)

struct options {
	const char *server_url;
	char daemon_id[WS_ID_BYTES_MAX + 1];
	struct ws_pair labels[WS_LABELS_MAX];
	size_t n_labels;
	uint64_t reconnect_s, heartbeat_s;
};

struct daemon {
	struct ws_loop *loop;
	struct ws_exec *exec;
	struct ws_client *client;
	uv_signal_t term, interrupt;
	uv_timer_t stop_timer;
	const char *server_url;
	bool is_stopping;
	uint64_t dropped_results;
	char last_loss[160];
	uint64_t last_loss_ns;
};

/* ---- command line ---- */

static const char usage[] =
	"sandd: sandbox daemon: dials a controller and runs the commands it sends\n"
	"\n"
	"usage: sandd --server-url ws://HOST:8765/ws [OPTION...]\n"
	"\n"
	"  -s, --server-url URL          the controller (or SERVER_URL in the environment)\n"
	"  -d, --daemon-id ID            name to register (or DAEMON_ID; default: a fresh UUID)\n"
	"  -l, --label KEY=VALUE         describe this daemon; repeat for more\n"
	"  -r, --reconnect-interval S    longest pause between attempts to connect (5)\n"
	"      --heartbeat-interval S    pause between signs of life (5)\n"
	"  -h, --help                    this text\n"
	"  -V, --version                 version\n"
	"\n"
	"Exit codes: 0 clean stop, 1 run-time failure, 2 usage.\n";

enum { OPT_HEARTBEAT = 256, OPT_TUNNEL };

static const struct option long_options[] = {
	{"server-url", required_argument, NULL, 's'},
	{"daemon-id", required_argument, NULL, 'd'},
	{"label", required_argument, NULL, 'l'},
	{"reconnect-interval", required_argument, NULL, 'r'},
	{"heartbeat-interval", required_argument, NULL, OPT_HEARTBEAT},
	{"tunnel", no_argument, NULL, OPT_TUNNEL},
	{"tunnel-authkey", required_argument, NULL, OPT_TUNNEL},
	{"tunnel-server", required_argument, NULL, OPT_TUNNEL},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static int usage_error(const char *line)
{
	fprintf(stderr, "sandd: %s\nTry: sandd --help\n", line);
	return 2;
}

/* "" in the environment is as good as nothing. */
static const char *env_or_null(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static int parse_interval(
	uint64_t *ret_s, const char *name, const char *text, struct base_error *err)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value == 0 || value > INTERVAL_S_MAX)
		return base_error_set(err, -EINVAL, "--%s %s: whole seconds from 1 to %d", name,
			text, INTERVAL_S_MAX);
	*ret_s = value;
	return 0;
}

static int parse_id(struct options *options, const char *text, struct base_error *err)
{
	if (!*text || strlen(text) > WS_ID_BYTES_MAX || !ws_utf8_is_valid(text, strlen(text)))
		return base_error_set(
			err, -EINVAL, "--daemon-id: 1 to %d bytes of UTF-8", WS_ID_BYTES_MAX);
	snprintf(options->daemon_id, sizeof(options->daemon_id), "%s", text);
	return 0;
}

/* Splits @text in place. */
static int parse_label(struct options *options, char *text, struct base_error *err)
{
	char *equals = strchr(text, '=');

	if (!equals || equals == text || !ws_utf8_is_valid(text, strlen(text)))
		return base_error_set(err, -EINVAL, "--label %s: write it as KEY=VALUE", text);
	if (options->n_labels == WS_LABELS_MAX)
		return base_error_set(err, -EINVAL, "--label: more than %d", WS_LABELS_MAX);
	*equals = '\0';
	for (size_t i = 0; i < options->n_labels; i++)
		if (strcmp(options->labels[i].name, text) == 0)
			return base_error_set(err, -EINVAL, "--label %s: given twice", text);
	options->labels[options->n_labels++] = (struct ws_pair){.name = text, .value = equals + 1};
	return 0;
}

/* RFC 4122, section 4.4: random, but for version and variant. */
static int make_id(char *id, size_t size)
{
	uint8_t b[16];

	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return -EIO;
	b[6] = (b[6] & 0x0f) | 0x40;
	b[8] = (b[8] & 0x3f) | 0x80;
	snprintf(id, size, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
		b[13], b[14], b[15]);
	return 0;
}

static int parse_option(struct options *options, int option, char *value, struct base_error *err)
{
	switch (option) {
	case 's':
		options->server_url = value;
		return 0;
	case 'd':
		return parse_id(options, value, err);
	case 'l':
		return parse_label(options, value, err);
	case 'r':
		return parse_interval(&options->reconnect_s, "reconnect-interval", value, err);
	case OPT_HEARTBEAT:
		return parse_interval(&options->heartbeat_s, "heartbeat-interval", value, err);
	case OPT_TUNNEL:
		return base_error_set(err, -ENOTSUP,
			"this release of sandd has no tunnel of its own: bring the tunnel up "
			"beside it "
			"(wireguard-go, tailscaled) and give the controller's address in it to "
			"--server-url");
	default:
		return base_error_set(err, -EINVAL, "unknown or incomplete option");
	}
}

/* Returns -1 to go on, or the exit code. */
static int parse_options(struct options *options, int argc, char **argv)
{
	struct base_error err;
	const char *id;
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, "s:d:l:r:hV", long_options, NULL)) != -1) {
		if (option == 'h')
			return fputs(usage, stdout) < 0;
		if (option == 'V')
			return printf("sandd %s\n", SANDD_VERSION) < 0;
		if (option == '?')
			base_error_set(&err, 0, "%s: unknown option, or its value is missing",
				argv[optind - 1]);
		if (option == '?' || parse_option(options, option, optarg, &err))
			return usage_error(err.text);
	}
	if (optind < argc) {
		base_error_set(&err, 0, "%s: not an option", argv[optind]);
		return usage_error(err.text);
	}
	if (!options->server_url)
		options->server_url = env_or_null("SERVER_URL");
	if (!options->server_url)
		return usage_error("no controller given: --server-url ws://HOST:8765/ws");
	id = env_or_null("DAEMON_ID");
	if (!options->daemon_id[0] && id && parse_id(options, id, &err))
		return usage_error(err.text);
	if (!options->daemon_id[0] && make_id(options->daemon_id, sizeof(options->daemon_id)))
		return usage_error("no random numbers for a daemon id: give one with --daemon-id");
	return -1;
}

/* ---- commands and their results ---- */

static void send_or_drop(struct daemon *daemon, const struct ws_msg *msg, const char *request_id)
{
	int ret = ws_client_send(daemon->client, msg);

	if (ret == 0)
		return;
	daemon->dropped_results++;
	base_log_warn("request %s: its answer cannot be sent: %s", request_id, strerror(-ret));
}

static void send_error(struct daemon *daemon, const char *request_id, const char *text)
{
	struct ws_msg msg = {
		.type = WS_COMMAND_ERROR,
		.command_error = {.request_id = (char *)request_id, .error = (char *)text},
	};

	send_or_drop(daemon, &msg, request_id);
}

/* Output of control characters grows sixfold in JSON: what does not fit then is cut once more. */
static void send_output(struct daemon *daemon, const struct ws_command_output *output)
{
	struct ws_msg msg = {.type = WS_COMMAND_OUTPUT, .output = *output};
	int ret = ws_client_send(daemon->client, &msg);
	char *streams[2] = {output->out, output->err};
	size_t *lens[2] = {&msg.output.out_len, &msg.output.err_len};

	if (ret == 0)
		return;
	for (int i = 0; ret == -EMSGSIZE && i < 2; i++) {
		if (*lens[i] <= OUTPUT_BYTES_SAFE)
			continue;
		/* In place: the text is longer than what is kept of it and the mark. */
		*lens[i] = ws_utf8_trim(streams[i], OUTPUT_BYTES_SAFE);
		*lens[i] += (size_t)sprintf(streams[i] + *lens[i],
			"\n[sandd: output truncated after %zu bytes]\n", *lens[i]);
		msg.output.is_truncated = true;
	}
	send_or_drop(daemon, &msg, output->request_id);
}

static void on_finished(void *ctx, uint64_t session, const struct ws_exec_result *result)
{
	struct daemon *daemon = ctx;

	if (session != ws_client_session(daemon->client)) {
		daemon->dropped_results++;
		base_log_info("request %s: its connection is gone, the result is dropped (%" PRIu64
			      " so far)",
			result->request_id, daemon->dropped_results);
	} else if (result->is_timed_out) {
		send_error(daemon, result->request_id, WS_TIMEOUT_TEXT);
	} else {
		send_output(daemon, &result->output);
	}
}

static void on_execute(void *ctx, const struct ws_execute_command *command)
{
	struct daemon *daemon = ctx;
	struct base_error err;

	if (ws_client_queued_bytes(daemon->client) > BACKLOG_BYTES_MAX) {
		send_error(daemon, command->request_id,
			"earlier results still wait to be sent: try again later");
		return;
	}
	if (ws_exec_start(daemon->exec, command, ws_client_session(daemon->client), &err))
		send_error(daemon, command->request_id, err.text);
}

/* ---- connection ---- */

static void on_registered(void *ctx, bool again)
{
	struct daemon *daemon = ctx;

	daemon->last_loss[0] = '\0';
	base_log_info("registered%s with %s", again ? " again" : "", daemon->server_url);
}

/* A controller that is away for hours is not worth a line every five seconds. */
static void on_lost(void *ctx, const char *why, uint64_t retry_ms)
{
	struct daemon *daemon = ctx;
	uint64_t now_ns = base_clock_now_ns();
	char text[sizeof(daemon->last_loss)];

	base_log_text(text, sizeof(text), why, strlen(why));
	if (strcmp(text, daemon->last_loss) == 0 && now_ns - daemon->last_loss_ns < REPEAT_LOG_NS)
		return;
	memcpy(daemon->last_loss, text, sizeof(text));
	daemon->last_loss_ns = now_ns;
	base_log_warn("no connection to %s: %s; next attempt in %" PRIu64 " ms", daemon->server_url,
		text, retry_ms);
}

/* ---- the end ---- */

static void on_stopped(void *ctx)
{
	struct daemon *daemon = ctx;

	ws_loop_stop(daemon->loop);
}

static void on_stop_timer(uv_timer_t *timer)
{
	on_stopped(timer->data);
}

static void on_signal(uv_signal_t *signal, int signum)
{
	struct daemon *daemon = signal->data;

	if (daemon->is_stopping) {
		on_stopped(daemon);
		return;
	}
	daemon->is_stopping = true;
	base_log_info("%s: closing", signum == SIGTERM ? "SIGTERM" : "SIGINT");
	uv_timer_start(&daemon->stop_timer, on_stop_timer, STOP_MS, 0);
	ws_exec_terminate(daemon->exec);
	ws_client_stop(daemon->client);
}

static const struct ws_client_host client_host = {
	.registered = on_registered,
	.lost = on_lost,
	.execute = on_execute,
	.stopped = on_stopped,
};

/* ---- ladder ---- */

static int watch_signals(struct daemon *daemon)
{
	uv_loop_t *uv = ws_loop_uv(daemon->loop);
	int ret;

	/* A dead connection is an error of write(), not the end of the program. */
	signal(SIGPIPE, SIG_IGN);
	daemon->term.data = daemon->interrupt.data = daemon->stop_timer.data = daemon;
	uv_timer_init(uv, &daemon->stop_timer);
	uv_signal_init(uv, &daemon->term);
	uv_signal_init(uv, &daemon->interrupt);
	ret = uv_signal_start(&daemon->term, on_signal, SIGTERM);
	return ret ? ret : uv_signal_start(&daemon->interrupt, on_signal, SIGINT);
}

static struct ws_client *start_client(
	struct daemon *daemon, const struct options *options, const struct ws_url *url)
{
	static struct utsname names;
	struct ws_client_config config = {
		.url = *url,
		.reconnect_ms = options->reconnect_s * 1000,
		.heartbeat_ms = options->heartbeat_s * 1000,
	};

	uname(&names);
	config.identity = (struct ws_register){
		.daemon_id = (char *)options->daemon_id,
		.hostname = names.nodename,
		.platform = (char *)"linux",
		.arch = names.machine,
		.version = (char *)SANDD_VERSION,
		.labels = (struct ws_pair *)options->labels,
		.n_labels = options->n_labels,
	};
	return ws_client_new(daemon->loop, &config, &client_host, daemon);
}

static int run(struct daemon *daemon, const struct options *options, const struct ws_url *url)
{
	const struct ws_exec_config exec_config = {0};
	const char *failed = NULL;
	uv_loop_t *uv;

	daemon->server_url = options->server_url;
	daemon->loop = ws_loop_new(ws_client_protocols);
	if (!daemon->loop) {
		base_log_error("cannot make an event loop: %s", strerror(errno));
		return 1;
	}
	uv = ws_loop_uv(daemon->loop);
	if (watch_signals(daemon))
		failed = "watch signals";
	if (!failed) {
		daemon->exec = ws_exec_new(uv, &exec_config, on_finished, daemon);
		failed = daemon->exec ? NULL : "run commands";
	}
	if (!failed) {
		daemon->client = start_client(daemon, options, url);
		failed = daemon->client ? NULL : "make a client";
	}
	if (failed)
		base_log_error("cannot %s: %s", failed, strerror(errno));
	else
		ws_loop_run(daemon->loop);
	ws_client_free(daemon->client);
	ws_exec_free(daemon->exec);
	uv_close((uv_handle_t *)&daemon->term, NULL);
	uv_close((uv_handle_t *)&daemon->interrupt, NULL);
	uv_close((uv_handle_t *)&daemon->stop_timer, NULL);
	ws_loop_free(daemon->loop);
	return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct options options = {
		.reconnect_s = INTERVAL_S_DEFAULT, .heartbeat_s = INTERVAL_S_DEFAULT};
	static struct daemon daemon;
	struct base_error err;
	struct ws_url url;
	int code = parse_options(&options, argc, argv);

	if (code >= 0)
		return code;
	if (ws_url_parse(&url, options.server_url, &err))
		return usage_error(err.text);
	/* Small: one arena for all threads, and large buffers go back to the kernel at once. */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 64 << 10);
	mallopt(M_TRIM_THRESHOLD, 64 << 10);
	base_log_setup(NULL, BASE_LOG_INFO);
	base_log_info("sandd %s: daemon %s", SANDD_VERSION, options.daemon_id);
	return run(&daemon, &options, &url);
}
