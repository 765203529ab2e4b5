/* SPDX-License-Identifier: BSD-3-Clause */
/* One HTTP exchange over the gateway's Unix socket (libcurl), and how errors are told. See cli_command.h. */
#include "ws_utf8.h"
#include "cli_command.h"

#include <curl/curl.h>
#include <stdlib.h>

/* What the gateway takes for anything but a command. */
#define CALL_TIMEOUT_S 15
#define REPLY_BYTES_MAX (64u << 20)

struct reply {
	char *text;
	size_t len;
};

static size_t on_data(char *data, size_t size, size_t n, void *user)
{
	struct reply *reply = user;
	char *text;

	if (reply->len + size * n > REPLY_BYTES_MAX)
		return 0;
	text = realloc(reply->text, reply->len + size * n + 1);
	if (!text)
		return 0;
	memcpy(text + reply->len, data, size * n);
	reply->text = text;
	reply->len += size * n;
	text[reply->len] = '\0';
	return size * n;
}

/* Connected, but no HTTP came back, or not to its end. */
static void explain_reply(const struct cli *cli, CURLcode rc, struct base_error *ret_reason)
{
	switch (rc) {
	case CURLE_OPERATION_TIMEDOUT:
		base_error_set(ret_reason, 0,
			"%s: the gateway does not answer; its log tells more, a restart ends it",
			cli->socket);
		break;
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		base_error_set(ret_reason, 0,
			"%s: the gateway closed the connection without an answer; it has ended, or "
			"serves too many at once",
			cli->socket);
		break;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_WRITE_ERROR:
	case CURLE_OUT_OF_MEMORY:
		base_error_set(ret_reason, 0,
			"%s: not an answer of sandd-gw (%s); is it the right socket?", cli->socket,
			curl_easy_strerror(rc));
		break;
	default:
		base_error_set(ret_reason, 0, "%s: %s", cli->socket, curl_easy_strerror(rc));
		break;
	}
}

/* The request did not get through: why, and what to do. */
static void explain(const struct cli *cli, CURL *curl, CURLcode rc, struct base_error *ret_reason)
{
	long error = 0;

	if (rc != CURLE_COULDNT_CONNECT) {
		explain_reply(cli, rc, ret_reason);
		return;
	}
	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
	switch (error) {
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
	default:
		base_error_set(ret_reason, 0, "%s: %s", cli->socket,
			error ? strerror((int)error) : curl_easy_strerror(rc));
		break;
	}
}

static json_t *read_reply(const struct cli *cli, CURL *curl, const struct reply *reply,
	struct cli_error *ret_error, struct base_error *ret_reason)
{
	/* A command's output may hold NULs. */
	json_t *document =
		reply->text ? json_loadb(reply->text, reply->len, JSON_ALLOW_NUL, NULL) : NULL;
	json_t *error = json_object_get(document, "error");
	long status = 0;

	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	ret_error->code = json_string_value(json_object_get(error, "code"));
	ret_error->message = json_string_value(json_object_get(error, "message"));
	if (json_is_object(document) && (status == 200) == !ret_error->code &&
		!ret_error->code == !ret_error->message)
		return document;
	base_error_set(ret_reason, 0,
		"%s: not an answer of sandd-gw (HTTP status %ld); is it the right socket?",
		cli->socket, status);
	json_decref(document);
	return NULL;
}

/* What is asked: @method NULL is GET, or POST where there is a body. */
struct question {
	const char *method, *path;
	json_t *body;
	long timeout_s;
};

static json_t *exchange(const struct cli *cli, const struct question *question,
	struct cli_error *ret_error, struct base_error *ret_reason)
{
	json_t *body = question->body;
	long timeout_s = question->timeout_s;
	CURL *curl = curl_easy_init();
	char url[2048], *text = NULL;
	struct reply reply = {0};
	json_t *document = NULL;
	CURLcode rc = CURLE_OUT_OF_MEMORY;

	snprintf(url, sizeof(url), "http://sandd-gw%s", question->path);
	if (body)
		text = json_dumps(body, JSON_COMPACT);
	if (!curl || (body && !text)) {
		base_error_set(ret_reason, -ENOMEM, "out of memory");
		goto out;
	}
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, timeout_s > 0 ? timeout_s : CALL_TIMEOUT_S);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
	if (question->method)
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, question->method);
	if (text) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)strlen(text));
	}
	rc = curl_easy_perform(curl);
	if (rc == CURLE_OK)
		document = read_reply(cli, curl, &reply, ret_error, ret_reason);
	else
		explain(cli, curl, rc, ret_reason);
out:
	curl_easy_cleanup(curl);
	json_decref(body);
	free(text);
	free(reply.text);
	return document;
}

/* ---- streams ---- */

/* What has come of a line; longer ones are cut. */
struct stream {
	void (*on_line)(void *user, const char *line);
	void *user;
	char line[16384];
	size_t len;
};

static size_t on_stream_data(char *data, size_t size, size_t n, void *user)
{
	struct stream *stream = user;

	for (size_t i = 0; i < size * n; i++) {
		if (data[i] != '\n') {
			if (stream->len < sizeof(stream->line) - 1)
				stream->line[stream->len++] = data[i];
			continue;
		}
		stream->line[stream->len] = '\0';
		stream->on_line(stream->user, stream->line);
		stream->len = 0;
	}
	return size * n;
}

int cli_stream(const struct cli *cli, const char *path,
	void (*on_line)(void *user, const char *line), void *user)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	CURL *curl = curl_easy_init();
	struct base_error reason;
	char url[2048];
	CURLcode rc = CURLE_OUT_OF_MEMORY;

	snprintf(url, sizeof(url), "http://sandd-gw%s", path);
	if (stream && curl) {
		stream->on_line = on_line;
		stream->user = user;
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->socket);
		curl_easy_setopt(curl, CURLOPT_URL, url);
		curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
		curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
		curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
		curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_stream_data);
		curl_easy_setopt(curl, CURLOPT_WRITEDATA, stream);
		rc = curl_easy_perform(curl);
	}
	if (rc == CURLE_OK)
		base_error_set(&reason, 0, "%s: the gateway ended the stream", cli->socket);
	else if (rc == CURLE_OUT_OF_MEMORY)
		base_error_set(&reason, 0, "out of memory");
	else
		explain(cli, curl, rc, &reason);
	curl_easy_cleanup(curl);
	free(stream);
	return cli_fail(cli, CLI_FAILED, "stream_ended", "%s", reason.text);
}

json_t *cli_call(const struct cli *cli, const char *path, json_t *body, long timeout_s,
	struct cli_error *ret_error, struct base_error *ret_reason)
{
	return exchange(cli, &(struct question){.path = path, .body = body, .timeout_s = timeout_s},
		ret_error, ret_reason);
}

static json_t *told(const struct cli *cli, json_t *document, const struct cli_error *error,
	const struct base_error *reason)
{
	if (!document) {
		cli_fail(cli, 0, "unreachable", "%s", reason->text);
		return NULL;
	}
	if (!error->code)
		return document;
	cli_fail(cli, 0, error->code, "%s", error->message);
	json_decref(document);
	return NULL;
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

	return told(cli, document, &error, &reason);
}

json_t *cli_post(const struct cli *cli, const char *path, json_t *body)
{
	struct cli_error error = {0};
	struct base_error reason;
	json_t *document = cli_call(cli, path, body, 0, &error, &reason);

	return told(cli, document, &error, &reason);
}

json_t *cli_delete(const struct cli *cli, const char *path)
{
	struct cli_error error = {0};
	struct base_error reason;
	json_t *document = exchange(
		cli, &(struct question){.method = "DELETE", .path = path}, &error, &reason);

	return told(cli, document, &error, &reason);
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
