/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP+JSON for operators on a Unix socket: parses requests, bounds bodies, calls the handler of
 * the route, writes the reply, now or later. Handlers come from control. On the libwebsockets
 * context and loop of ws_server.h. Thread: the loop's.
 */
#ifndef WS_HTTP_H
#define WS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base_err.h"
#include "ws_server.h"

#define WS_HTTP_BODY_BYTES_MAX (4u << 20)
/** Values in a body: ten thousand peers fit. */
#define WS_HTTP_VALUES_MAX (1u << 18)

/** A request, valid until it is replied to or its client is gone. */
struct ws_http_req;

struct ws_http_route {
	const char *method; /* "GET", "POST", "DELETE", "PUT" */
	const char *path; /* "/v1/daemons/{id}/exec": one {name} matches one segment, URL-decoded */
	/**
	 * Answer with ws_http_reply(), here or later from the loop. A malformed body was refused (400)
	 * before this; wrong method gives 405, unknown path 404, both as JSON errors.
	 */
	void (*handle)(void *ctx, struct ws_http_req *req);
};

struct ws_http;

/**
 * Listen on a Unix socket (an old socket file that nobody serves is removed; one in use is EADDRINUSE), mode 0660.
 * @routes: borrowed for the life. NULL with errno and a line.
 */
struct ws_http *ws_http_new(struct ws_service *service, const char *socket_path,
	const struct ws_http_route *routes, size_t n_routes, void *ctx,
	struct base_error *ret_error);
/** Stop; removes the socket file. */
void ws_http_free(struct ws_http *http);

/** The segment that {name} matched ("" if there is none), the query's value (NULL), the body (NULL). Borrowed. */
const char *ws_http_param(const struct ws_http_req *req, const char *name);
const char *ws_http_query(const struct ws_http_req *req, const char *name);
json_t *ws_http_body(const struct ws_http_req *req);
/** "pid 4711 (uid 0)": the client as SO_PEERCRED tells, for the audit log; borrowed. */
const char *ws_http_client(const struct ws_http_req *req);

/** Told once if the client goes away before the reply: drop what was begun for it. @req is invalid after. */
void ws_http_on_gone(struct ws_http_req *req, void (*gone)(void *user), void *user);

/** Reply once; takes over the reference to @body (NULL: empty object). */
void ws_http_reply(struct ws_http_req *req, int status, json_t *body);
/** Reply 200 with a text of this type (borrowed for good); takes over @text, malloc'ed. */
void ws_http_reply_text(struct ws_http_req *req, const char *content_type, char *text);
/** What waits for a client of a stream, at most. */
#define WS_HTTP_STREAM_BYTES_MAX (256u << 10)
/**
 * Begin a reply, 200 of this type, that goes on until the client goes (ws_http_on_gone() tells), or
 * ws_http_stream_end().
 */
void ws_http_stream_begin(struct ws_http_req *req, const char *content_type);
/** Add to it; copied. 0; -EAGAIN: the client does not read, and nothing of @text was taken; -ENOMEM. */
BASE_MUST_CHECK int ws_http_stream_write(struct ws_http_req *req, const char *text, size_t len);
/** Close after what waits has gone out; @req is not the caller's any more, and gone() is not called. */
void ws_http_stream_end(struct ws_http_req *req);
/** {"error": {"code": "unknown_daemon", "message": "..."}} with @status. */
BASE_PRINTF(4, 5)
void ws_http_reply_error(
	struct ws_http_req *req, int status, const char *code, const char *fmt, ...);

#endif
