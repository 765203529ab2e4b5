/* SPDX-License-Identifier: BSD-3-Clause */
/* One question in HTTP/1.1 on a stream of its own; see coord_http.h. The loop's thread. */
#include "coord_http.h"
#include "coord_stream.h"

#include <stdlib.h>

struct coord_fetch {
	struct coord_stream *stream;
	struct coord_url url;
	const char *method;
	struct coord_http_answer answer;
	coord_fetch_done done;
	void *ctx;
};

void coord_fetch_cancel(struct coord_fetch *fetch)
{
	if (!fetch)
		return;
	coord_stream_free(fetch->stream);
	free(fetch);
}

static void finish(struct coord_fetch *fetch, int rc, const char *line)
{
	fetch->done(fetch->ctx, rc == 0 ? &fetch->answer : NULL, rc, line);
	coord_fetch_cancel(fetch);
}

static void on_opened(void *ctx)
{
	struct coord_fetch *fetch = ctx;
	char request[2048];
	int len = snprintf(request, sizeof(request),
		"%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: sandd-gw\r\nAccept: */*\r\n"
		"Connection: close\r\n\r\n",
		fetch->method, fetch->url.path, fetch->url.authority);

	/* The longest path and authority fit. */
	coord_stream_write(fetch->stream, request, (size_t)len);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct coord_fetch *fetch = ctx;
	struct base_error line;
	ssize_t n = coord_http_input(&fetch->answer, data, len, &line);

	if (n < 0)
		finish(fetch, (int)n, line.text);
	else if (fetch->answer.phase == COORD_HTTP_DONE)
		finish(fetch, 0, "");
}

static void on_closed(void *ctx, int rc, const char *text)
{
	struct coord_fetch *fetch = ctx;
	struct base_error line;

	if (rc != -ECONNRESET) {
		finish(fetch, rc, text);
		return;
	}
	rc = coord_http_input_end(&fetch->answer, &line);
	finish(fetch, rc, rc ? line.text : "");
}

struct coord_fetch *coord_fetch_start(uv_loop_t *loop, const struct coord_url *url,
	const char *method, struct coord_tls_roots *roots, coord_fetch_done done, void *ctx,
	struct base_error *ret_error)
{
	static const struct coord_stream_host host = {
		.opened = on_opened,
		.data = on_data,
		.closed = on_closed,
	};
	struct coord_fetch *fetch = calloc(1, sizeof(*fetch));

	if (!fetch) {
		base_error_set(ret_error, -ENOMEM, "out of memory");
		return NULL;
	}
	fetch->url = *url;
	fetch->method = method;
	fetch->done = done;
	fetch->ctx = ctx;
	fetch->answer.has_no_body = strcmp(method, "HEAD") == 0;
	fetch->stream = coord_stream_new(loop, url, roots, &host, fetch, ret_error);
	if (!fetch->stream) {
		free(fetch);
		return NULL;
	}
	return fetch;
}
