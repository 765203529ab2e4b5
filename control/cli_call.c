/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One HTTP exchange over the gateway's Unix socket, and how errors are told. See cli_command.h. No HTTP library: the
 * one there is brings thirty shared objects, which take longer to load than most commands to run; and what the
 * gateway says on this socket is a status line, a Content-Length and a body (ws_http.c).
 */
#include "base_clock.h"
#include "ws_utf8.h"
#include "cli_command.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* What the gateway takes for anything but a command. */
#define CALL_TIMEOUT_S 15
#define REPLY_BYTES_MAX ((size_t)64 << 20)
#define READ_BYTES 65536

/* What was read so far; text[len] is NUL. */
struct reply {
	char *text;
	size_t len, size;
	int status;
	size_t head_len; /* of the status line and the header; 0: not whole yet */
	size_t body_len;
};

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	error = errno;
	close(fd);
	return -error;
}

/* Wait until the socket is ready for @events, at most until @deadline_ns. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd at = {.fd = fd, .events = events};
	uint64_t now_ns = base_clock_now_ns();
	int n;

	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	n = poll(&at, 1, (int)((deadline_ns - now_ns) / BASE_NS_PER_MS) + 1);
	return n > 0 ? 0 : n == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
}

static int send_all(int fd, const char *text, size_t len, uint64_t deadline_ns)
{
	while (len > 0) {
		ssize_t n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		int rc;

		if (n >= 0) {
			text += n;
			len -= (size_t)n;
			continue;
		}
		/* Refused before it was heard out: the reason waits to be read. */
		if (errno == EPIPE)
			return 0;
		rc = errno == EAGAIN || errno == EINTR ? wait_for(fd, POLLOUT, deadline_ns)
						       : -errno;
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The header, once it is whole. -EPROTO where no HTTP of the gateway's kind is spoken. */
static int read_head(struct reply *reply)
{
	const char *end = reply->text ? strstr(reply->text, "\r\n\r\n") : NULL, *length;
	unsigned long long body_len;

	if (!end)
		return reply->len < READ_BYTES ? 0 : -EPROTO;
	reply->head_len = (size_t)(end - reply->text) + 4;
	length = strcasestr(reply->text, "\r\nContent-Length:");
	if (sscanf(reply->text, "HTTP/1.1 %3d ", &reply->status) != 1 || !length || length > end ||
		sscanf(length + strlen("\r\nContent-Length:"), "%20llu", &body_len) != 1 ||
		body_len > REPLY_BYTES_MAX)
		return -EPROTO;
	reply->body_len = (size_t)body_len;
	return 0;
}

static int reply_reserve(struct reply *reply)
{
	size_t size = reply->size ? 2 * reply->size : 2 * READ_BYTES;
	char *text;

	if (reply->size - reply->len > READ_BYTES)
		return 0;
	text = realloc(reply->text, size);
	if (!text)
		return -ENOMEM;
	reply->text = text;
	reply->size = size;
	return 0;
}

static int receive(int fd, struct reply *reply, uint64_t deadline_ns)
{
	int rc = 0;

	while (rc == 0 && (!reply->head_len || reply->len < reply->head_len + reply->body_len)) {
		ssize_t n;

		rc = reply_reserve(reply);
		if (rc == 0)
			rc = wait_for(fd, POLLIN, deadline_ns);
		if (rc < 0)
			return rc;
		n = recv(fd, reply->text + reply->len, READ_BYTES, MSG_DONTWAIT);
		if (n == 0)
			return -ECONNRESET;
		if (n < 0) {
			rc = errno == EAGAIN || errno == EINTR ? 0 : -errno;
			continue;
		}
		reply->len += (size_t)n;
		reply->text[reply->len] = '\0';
		if (!reply->head_len)
			rc = read_head(reply);
	}
	return rc;
}

/* Ask and hear the answer out. */
static int exchange(const struct cli *cli, const char *request, size_t len, uint64_t deadline_ns,
	struct reply *reply)
{
	int fd = connect_to(cli->socket);
	int rc = fd < 0 ? fd : send_all(fd, request, len, deadline_ns);

	if (rc == 0)
		rc = receive(fd, reply, deadline_ns);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* The request did not get through: why, and what to do. */
static void explain(const struct cli *cli, int error, struct base_error *ret_reason)
{
	switch (error) {
	case ETIMEDOUT:
		base_error_set(ret_reason, 0,
			"%s: the gateway does not answer; its log tells more, a restart ends it",
			cli->socket);
		break;
	case ENOENT:
	case ENOTDIR:
		base_error_set(ret_reason, 0,
			"no socket %s: is sandd-gw running? Start it, or name its socket with "
			"--socket or SANDD_GW_SOCKET",
			cli->socket);
		break;
	case EACCES:
	case EPERM:
		base_error_set(ret_reason, 0,
			"%s: no permission: run as root, or join the group that owns it (ls -l %s; "
			"api.group in the gateway's configuration chooses it)",
			cli->socket, cli->socket);
		break;
	case ECONNREFUSED:
		base_error_set(ret_reason, 0,
			"%s: nobody listens there: sandd-gw has ended (start it again), or has its "
			"socket elsewhere (--socket)",
			cli->socket);
		break;
	case ECONNRESET:
		base_error_set(ret_reason, 0,
			"%s: the gateway closed the connection without an answer; it has ended, or "
			"serves too many at once",
			cli->socket);
		break;
	case EPROTO:
		base_error_set(ret_reason, 0,
			"%s: not an answer of sandd-gw; is it the right socket?", cli->socket);
		break;
	default:
		base_error_set(ret_reason, 0, "%s: %s", cli->socket, strerror(error));
		break;
	}
}

static json_t *read_reply(const struct cli *cli, const struct reply *reply,
	struct cli_error *ret_error, struct base_error *ret_reason)
{
	/* A command's output may hold NULs. */
	json_t *document =
		json_loadb(reply->text + reply->head_len, reply->body_len, JSON_ALLOW_NUL, NULL);
	json_t *error = json_object_get(document, "error");

	ret_error->code = json_string_value(json_object_get(error, "code"));
	ret_error->message = json_string_value(json_object_get(error, "message"));
	if (json_is_object(document) && (reply->status == 200) == !ret_error->code &&
		!ret_error->code == !ret_error->message)
		return document;
	explain(cli, EPROTO, ret_reason);
	json_decref(document);
	return NULL;
}

/* The whole request as one text; malloc'ed. */
static char *make_request(const char *path, const json_t *body)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *request = NULL;
	int n = -1;

	if (!body)
		n = asprintf(&request, "GET %s HTTP/1.1\r\nHost: sandd-gw\r\n\r\n", path);
	else if (text)
		n = asprintf(&request,
			"POST %s HTTP/1.1\r\nHost: sandd-gw\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n%s",
			path, strlen(text), text);
	free(text);
	return n < 0 ? NULL : request;
}

json_t *cli_call(const struct cli *cli, const char *path, json_t *body, long timeout_s,
	struct cli_error *ret_error, struct base_error *ret_reason)
{
	uint64_t deadline_ns = base_clock_now_ns() +
		(uint64_t)(timeout_s > 0 ? timeout_s : CALL_TIMEOUT_S) * BASE_NS_PER_S;
	char *request = make_request(path, body);
	struct reply reply = {0};
	json_t *document = NULL;
	int rc = request ? exchange(cli, request, strlen(request), deadline_ns, &reply) : -ENOMEM;

	if (rc == 0)
		document = read_reply(cli, &reply, ret_error, ret_reason);
	else
		explain(cli, -rc, ret_reason);
	json_decref(body);
	free(request);
	free(reply.text);
	return document;
}

int cli_fail(const struct cli *cli, int exit_code, const char *code, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (cli->is_json) {
		/* It may quote what was typed. */
		char *clean = ws_utf8_repair(text, strlen(text), &len);

		cli_print_json(json_pack("{s:{s:s, s:s}}", "error", "code", code, "message",
			clean ? clean : "out of memory"));
		free(clean);
	} else {
		fprintf(stderr, "sandctl: %s\n", text);
	}
	return exit_code;
}

json_t *cli_get(const struct cli *cli, const char *path)
{
	struct cli_error error = {0};
	struct base_error reason;
	json_t *document = cli_call(cli, path, NULL, 0, &error, &reason);

	if (!document) {
		cli_fail(cli, 0, "unreachable", "%s", reason.text);
		return NULL;
	}
	if (!error.code)
		return document;
	cli_fail(cli, 0, error.code, "%s", error.message);
	json_decref(document);
	return NULL;
}

int cli_print_json(json_t *document)
{
	int rc = json_dumpf(document, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));

	json_decref(document);
	putchar('\n');
	return cli_flush() == CLI_OK && rc == 0 ? CLI_OK : CLI_FAILED;
}

int cli_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CLI_OK;
	fprintf(stderr, "sandctl: standard output cannot be written: %s\n", strerror(errno));
	return CLI_FAILED;
}
