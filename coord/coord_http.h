/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP/1.1 as much as a node needs of it: the answer to one request, cut anywhere (`/key`, the upgrade, pings), with bounds, and
 * the same question asked on a stream of its own. Redirects are not followed; an answer that comes from something else than a
 * Headscale server (a captive portal, a web server) is named as that.
 * Thread: the parser any; a fetch the loop's.
 */
#ifndef COORD_HTTP_H
#define COORD_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_err.h"
#include "coord_tls.h"
#include "coord_url.h"

#define COORD_HTTP_HEAD_BYTES_MAX 16384
#define COORD_HTTP_BODY_BYTES_MAX (64u << 10)

enum coord_http_phase {
	COORD_HTTP_HEAD,
	COORD_HTTP_BODY,
	COORD_HTTP_DONE,
};

/** One answer; zeroed at the start. */
struct coord_http_answer {
	bool has_no_body; /* set before: the request was a HEAD; an upgrade's 101 is seen by itself */
	enum coord_http_phase phase;
	int status;
	char upgrade[64], location[256], content_type[64]; /* headers; "" */
	char head[COORD_HTTP_HEAD_BYTES_MAX + 1];
	size_t head_len;
	char body[COORD_HTTP_BODY_BYTES_MAX + 1]; /* with a NUL */
	size_t body_len;
	/* How the body ends. */
	bool is_chunked, has_length;
	size_t to_come; /* of the body, or of the chunk */
	unsigned chunk_phase;
};

/**
 * Bytes of the answer. Returns how many of @data belonged to it (what follows a 101 does not), or -EPROTO, -EMSGSIZE and a line.
 * It is whole when phase is DONE.
 */
ssize_t coord_http_input(struct coord_http_answer *answer, const uint8_t *data, size_t len,
	struct base_error *ret_error);
/** The stream ended: 0 if the answer is whole by that, or -EPROTO. */
BASE_MUST_CHECK int coord_http_input_end(
	struct coord_http_answer *answer, struct base_error *ret_error);
/** Why this answer is not the one with @status that was asked for, in words for an operator. Returns -EPROTO. */
int coord_http_explain(const struct coord_http_answer *answer, const struct coord_url *url,
	struct base_error *ret_error);

struct coord_fetch;
/** Once: the answer, borrowed, or NULL with -Exxx and a line. The fetch is over, and freed by itself. */
typedef void (*coord_fetch_done)(
	void *ctx, const struct coord_http_answer *answer, int rc, const char *line);
/** GET or HEAD. NULL with errno and a line. */
struct coord_fetch *coord_fetch_start(uv_loop_t *loop, const struct coord_url *url,
	const char *method, struct coord_tls_roots *roots, coord_fetch_done done, void *ctx,
	struct base_error *ret_error);
/** Give it up before @done. NULL is fine. */
void coord_fetch_cancel(struct coord_fetch *fetch);

#endif
