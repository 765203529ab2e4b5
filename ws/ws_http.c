/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operators' HTTP: a request is made in on_http(), gathers its body, is given to its route's handler, and waits
 * for ws_http_reply(); on_writable() writes the reply. It ends in req_end(), once. See ws_http.h.
 * Thread: the loop's.
 */
#include "ws_http.h"

#include "base_bytes.h"
#include "ws_codec.h"
#include "ws_service.h"
#include "ws_utf8.h"

#include <assert.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_CLIENTS 256
#define MAX_PARAMS 4
#define MAX_QUERIES 16
#define SOCKET_UMASK 0117 /* leaves 0660 */
/* How soon a client that has gone is noticed. */
#define WATCH_MS 100

struct ws_http {
	struct ws_listener *listener;
	LIST_HEAD(, ws_http_req) reqs; /* that were given to their handlers */
	uv_timer_t watch;              /* runs while there are any */
	const struct ws_http_route *routes;
	size_t n_routes;
	void *ctx;
	char *path;
	/* The socket file we made: another one at the same path is not ours to remove. */
	dev_t dev;
	ino_t ino;
};

struct ws_http_req {
	struct ws_http *http;
	struct ws_socket *socket;
	LIST_ENTRY(ws_http_req) entry;
	bool is_dispatched; /* its body is whole, its handler was called */
	bool is_listed;
	const struct ws_http_route *route;
	char *path;
	struct {
		const char *name; /* in the route, up to its '}' */
		size_t name_len;
		char *value; /* in @path */
	} params[MAX_PARAMS];
	unsigned n_params;
	char *queries[MAX_QUERIES]; /* "name=value" */
	unsigned n_queries;
	char *text; /* the body as it comes */
	size_t text_len, content_len;
	json_t *body;
	void (*gone)(void *user);
	void *user;
	char *reply;
	const char *content_type;
	size_t reply_len; /* of a stream: what waits in `reply` */
	int status;       /* 0: not replied yet */
	bool is_stream, has_header, is_ending;
};

static const char application_json[] = "application/json";
/* For a client when there is no memory to say more. */
static const char no_memory_json[] =
	"{\"error\":{\"code\":\"no_memory\",\"message\":\"out of memory\"}}";

/* ---- errors before there is a request ---- */

/* The message may quote an outsider or be cut inside a character: it is made UTF-8 first. */
static char *error_json(const char *code, const char *message)
{
	size_t len;
	char *clean = ws_utf8_repair(message, strlen(message), &len), *text;
	json_t *json =
		clean ? json_pack("{s{ss ss}}", "error", "code", code, "message", clean) : NULL;

	free(clean);
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	return text;
}

/* The body, if there is one, is not read: the connection ends. */
static int refuse(struct ws_socket *socket, int status, const char *code, const char *message)
{
	char *text = error_json(code, message);
	const char *body = text ? text : no_memory_json;
	int ret = ws_socket_refuse(socket, status, application_json, body, strlen(body));

	free(text);
	return ret;
}

/* ---- routes ---- */

static const struct {
	const char *name;
	enum lws_token_indexes token;
} methods[] = {
	{"GET", WSI_TOKEN_GET_URI},
	{"POST", WSI_TOKEN_POST_URI},
	{"PUT", WSI_TOKEN_PUT_URI},
	{"DELETE", WSI_TOKEN_DELETE_URI},
};

static const char *request_method(struct lws *wsi)
{
	for (size_t i = 0; i < BASE_ARRAY_LEN(methods); i++)
		if (lws_hdr_total_length(wsi, methods[i].token) > 0)
			return methods[i].name;
	return "";
}

/* Compare segment by segment; a {name} takes any that is not empty. */
static bool match_path(const char *pattern, const char *path)
{
	size_t pattern_len, len;

	while (*pattern == '/' && *path == '/') {
		pattern_len = strcspn(++pattern, "/");
		len = strcspn(++path, "/");
		if (pattern[0] == '{' ? len == 0
				      : len != pattern_len || memcmp(pattern, path, len) != 0)
			return false;
		pattern += pattern_len;
		path += len;
	}
	return *pattern == '\0' && *path == '\0';
}

static const struct ws_http_route *find_route(
	const struct ws_http *http, const char *method, const char *path, bool *ret_is_path_known)
{
	*ret_is_path_known = false;
	for (size_t i = 0; i < http->n_routes; i++) {
		if (!match_path(http->routes[i].path, path))
			continue;
		*ret_is_path_known = true;
		if (strcmp(http->routes[i].method, method) == 0)
			return &http->routes[i];
	}
	return NULL;
}

/* Cut req->path into its segments and note those that a {name} took. */
static void take_params(struct ws_http_req *req)
{
	const char *pattern = req->route->path;
	char *path = req->path;

	while (*pattern == '/') {
		size_t pattern_len = strcspn(++pattern, "/");
		char *segment = ++path;

		path += strcspn(path, "/");
		if (pattern[0] == '{' && req->n_params < MAX_PARAMS) {
			req->params[req->n_params].name = pattern + 1;
			req->params[req->n_params].name_len = pattern_len - 2;
			req->params[req->n_params++].value = segment;
		}
		pattern += pattern_len;
		if (*pattern == '/')
			*path = '\0';
	}
}

static void take_queries(struct ws_http_req *req)
{
	char text[WS_HEADER_BYTES_MAX / 4];

	for (int i = 0; i < MAX_QUERIES; i++) {
		if (lws_hdr_copy_fragment(
			    req->socket->wsi, text, sizeof(text), WSI_TOKEN_HTTP_URI_ARGS, i) < 0)
			return;
		req->queries[req->n_queries] = strdup(text);
		if (!req->queries[req->n_queries])
			return;
		req->n_queries++;
	}
}

/* ---- the request ---- */

static struct ws_http_req *req_new(struct ws_http *http, struct ws_socket *socket,
	const struct ws_http_route *route, const char *path)
{
	struct ws_http_req *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	req->path = strdup(path);
	if (!req->path) {
		free(req);
		return NULL;
	}
	req->http = http;
	req->socket = socket;
	req->route = route;
	take_params(req);
	take_queries(req);
	return req;
}

static void req_end(struct ws_http_req *req)
{
	req->socket->state = NULL;
	if (req->is_listed) {
		LIST_REMOVE(req, entry);
		if (LIST_EMPTY(&req->http->reqs))
			uv_timer_stop(&req->http->watch);
	}
	if ((!req->status || (req->is_stream && !req->is_ending)) && req->gone)
		req->gone(req->user);
	for (unsigned i = 0; i < req->n_queries; i++)
		free(req->queries[i]);
	json_decref(req->body);
	free(req->reply);
	free(req->text);
	free(req->path);
	free(req);
}

/*
 * Length of the body that follows. Returns 0, or the status to refuse with. A body in chunks is not taken: clients of
 * this API know what they send.
 */
static int body_length(struct lws *wsi, const char *method, size_t *ret_len)
{
	bool must_have = strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0;
	unsigned long long len;
	char text[24], *end;

	*ret_len = 0;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_TRANSFER_ENCODING) > 0)
		return 411;
	if (lws_hdr_total_length(wsi, WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0)
		return must_have ? 411 : 0;
	if (lws_hdr_copy(wsi, text, sizeof(text), WSI_TOKEN_HTTP_CONTENT_LENGTH) <= 0)
		return 400;
	errno = 0;
	len = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno)
		return 400;
	if (len > WS_HTTP_BODY_BYTES_MAX)
		return 413;
	*ret_len = (size_t)len;
	return 0;
}

/*
 * A handler may take its time, and libwebsockets reads nothing meanwhile: it would not see a client go, and its
 * poll would spin on the bytes it does not want yet. So the clients that wait are looked at here; one that has
 * closed its end, or sends more before it has its reply, is done with.
 */
static void on_watch(uv_timer_t *timer)
{
	struct ws_http *http = timer->data;
	struct ws_http_req *req = LIST_FIRST(&http->reqs), *next;

	for (; req; req = next) {
		struct lws *wsi = req->socket->wsi;
		struct pollfd fd = {.fd = lws_get_socket_fd(wsi), .events = POLLIN};

		next = LIST_NEXT(req, entry);
		if ((req->status && !req->is_stream) || poll(&fd, 1, 0) <= 0)
			continue;
		req_end(req);
		lws_set_timeout(wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
		/* gone() may have ended others of the list. */
		next = LIST_FIRST(&http->reqs);
	}
}

static void watch_client(struct ws_http *http, struct ws_http_req *req)
{
	/* What is left of the HTTP timeouts must not end it. */
	lws_set_timeout(req->socket->wsi, NO_PENDING_TIMEOUT, 0);
	if (LIST_EMPTY(&http->reqs))
		uv_timer_start(&http->watch, on_watch, WATCH_MS, WATCH_MS);
	LIST_INSERT_HEAD(&http->reqs, req, entry);
	req->is_listed = true;
}

static int dispatch(struct ws_http *http, struct ws_http_req *req)
{
	struct base_error why;

	req->is_dispatched = true;
	watch_client(http, req);
	if (req->text_len) {
		req->body = ws_json_parse_up_to(req->text, req->text_len, WS_HTTP_VALUES_MAX, &why);
		base_wipe(req->text, req->text_len); /* it may hold a preshared key */
		free(req->text);
		req->text = NULL;
		if (!req->body) {
			ws_http_reply_error(req, 400, "bad_json", "%s", why.text);
			return 0;
		}
	}
	req->route->handle(http->ctx, req);
	return 0;
}

static int refuse_length(struct ws_socket *socket, int status)
{
	switch (status) {
	case 411:
		return refuse(socket, 411, "length_required", "send a Content-Length");
	case 413:
		return refuse(socket, 413, "too_large", "the body is larger than 4 MiB");
	default:
		return refuse(socket, status, "bad_request", "Content-Length is no number");
	}
}

static_assert(WS_HTTP_BODY_BYTES_MAX == 4u << 20, "refuse_length() names the limit");

static int on_http(struct ws_http *http, struct ws_socket *socket, const char *path)
{
	const char *method = request_method(socket->wsi);
	const struct ws_http_route *route;
	struct ws_http_req *req;
	bool is_path_known;
	size_t len;
	int status;

	route = find_route(http, method, path, &is_path_known);
	if (!route)
		return is_path_known
			? refuse(socket, 405, "bad_method", "this path has no such method")
			: refuse(socket, 404, "unknown_path", "no such path");
	status = body_length(socket->wsi, method, &len);
	if (status)
		return refuse_length(socket, status);
	req = req_new(http, socket, route, path);
	if (!req)
		return refuse(socket, 500, "no_memory", "out of memory");
	socket->state = req;
	req->content_len = len;
	/* libwebsockets tells the end of a body, and of a POST's empty one, in a callback of its own. */
	if (len > 0 || strcmp(method, "POST") == 0)
		return 0;
	return dispatch(http, req);
}

static int on_body(struct ws_http_req *req, const char *piece, size_t len)
{
	if (len == 0)
		return 0;
	if (len > req->content_len - req->text_len)
		return -1;
	if (!req->text) {
		req->text = malloc(req->content_len);
		if (!req->text)
			return -1;
	}
	memcpy(req->text + req->text_len, piece, len);
	req->text_len += len;
	return 0;
}

/* A piece in each turn: the header first, then all that waits. */
static int on_stream_writable(struct ws_http_req *req)
{
	int ret = 0;

	if (!req->has_header) {
		req->has_header = true;
		ret = ws_socket_stream_begin(req->socket, req->content_type);
	} else if (req->reply_len > 0) {
		ret = ws_socket_stream_write(req->socket, req->reply, req->reply_len);
		req->reply_len = 0;
	} else if (req->is_ending) {
		return -1;
	}
	if (ret == 0 && (req->reply_len > 0 || req->is_ending))
		lws_callback_on_writable(req->socket->wsi);
	return ret;
}

static int on_writable(struct ws_http_req *req)
{
	struct ws_socket *socket = req->socket;
	const char *body = req->reply ? req->reply : no_memory_json;
	size_t len = req->reply ? req->reply_len : strlen(no_memory_json);
	int status = req->reply ? req->status : 500;
	int ret;

	if (!req->status)
		return 0;
	if (req->is_stream)
		return on_stream_writable(req);
	/* The transaction ends in this call, so the request must not be found on the socket any more. */
	socket->state = NULL;
	ret = ws_socket_reply(socket, status,
		req->reply && req->content_type ? req->content_type : application_json, body, len);
	req_end(req);
	return ret;
}

/* A client that sends more than it announced has its body completed twice by libwebsockets. */
static bool may_go_on(const struct ws_http_req *req)
{
	return req && !req->is_dispatched;
}

/* ---- joining ---- */

static int on_event(
	struct ws_socket *socket, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct ws_http *http = ws_listener_ctx(socket->listener);
	struct ws_http_req *req = socket->state;

	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return refuse(socket, 400, "bad_request", "there is nothing to upgrade to");
	case LWS_CALLBACK_HTTP:
		return req ? -1 : on_http(http, socket, in);
	case LWS_CALLBACK_HTTP_BODY:
		return may_go_on(req) ? on_body(req, in, len) : -1;
	case LWS_CALLBACK_HTTP_BODY_COMPLETION:
		return may_go_on(req) ? dispatch(http, req) : -1;
	case LWS_CALLBACK_HTTP_WRITEABLE:
		return req ? on_writable(req) : 0;
	case LWS_CALLBACK_CLOSED_HTTP:
	case LWS_CALLBACK_WSI_DESTROY:
		if (req)
			req_end(req);
		return 0;
	default:
		return 0;
	}
}

static void on_dropped(struct ws_socket *socket)
{
	if (socket->state)
		req_end(socket->state);
}

static const struct ws_listener_ops listener_ops = {.event = on_event, .dropped = on_dropped};

/* ---- the socket file ---- */

/* Make way: a socket file that nobody serves is left over from a crash. */
static int clear_path(const struct sockaddr_un *addr, struct base_error *ret_error)
{
	const char *path = addr->sun_path;
	struct stat st;
	int fd, ret;

	if (lstat(path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return base_error_set(ret_error, -EEXIST,
			"%s exists and is no socket: remove it or choose another path", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return base_error_set(ret_error, -errno, "%s: %s", path, strerror(errno));
	ret = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	close(fd);
	if (ret != ECONNREFUSED && ret != ENOENT)
		return base_error_set(ret_error, -EADDRINUSE,
			"%s is served by another program: stop it or choose another path", path);
	if (unlink(path) && errno != ENOENT)
		return base_error_set(
			ret_error, -errno, "cannot remove the old %s: %s", path, strerror(errno));
	return 0;
}

static struct ws_listener *listen_on(struct ws_http *http, struct ws_service *service,
	const char *path, struct base_error *ret_error)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct ws_listener_config config = {
		.addr = (struct sockaddr *)&addr,
		.addr_len = sizeof(addr),
		.name = path,
		.umask = SOCKET_UMASK,
		.max_sockets = MAX_CLIENTS,
	};
	int ret;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = -base_error_set(ret_error, -ENAMETOOLONG,
			"%s: longer than the %zu bytes a Unix socket's path may have", path,
			sizeof(addr.sun_path) - 1);
		return NULL;
	}
	memcpy(addr.sun_path, path, strlen(path));
	ret = clear_path(&addr, ret_error);
	if (ret) {
		errno = -ret;
		return NULL;
	}
	return ws_listener_new(service, &config, &listener_ops, http, ret_error);
}

struct ws_http *ws_http_new(struct ws_service *service, const char *socket_path,
	const struct ws_http_route *routes, size_t n_routes, void *ctx,
	struct base_error *ret_error)
{
	struct ws_http *http = calloc(1, sizeof(*http));
	struct stat st;

	if (http)
		http->path = strdup(socket_path);
	if (!http || !http->path) {
		free(http);
		errno = -base_error_set(ret_error, -ENOMEM, "%s: no memory", socket_path);
		return NULL;
	}
	http->routes = routes;
	http->n_routes = n_routes;
	http->ctx = ctx;
	http->listener = listen_on(http, service, socket_path, ret_error);
	if (!http->listener) {
		free(http->path);
		free(http);
		return NULL;
	}
	uv_timer_init(ws_service_loop(service), &http->watch);
	http->watch.data = http;
	if (lstat(socket_path, &st) == 0) {
		http->dev = st.st_dev;
		http->ino = st.st_ino;
	}
	return http;
}

static void on_watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void ws_http_free(struct ws_http *http)
{
	struct stat st;

	if (!http)
		return;
	ws_listener_free(http->listener);
	if (lstat(http->path, &st) == 0 && st.st_dev == http->dev && st.st_ino == http->ino)
		(void)unlink(http->path);
	free(http->path);
	uv_close((uv_handle_t *)&http->watch, on_watch_closed);
}

/* ---- for handlers ---- */

const char *ws_http_param(const struct ws_http_req *req, const char *name)
{
	for (unsigned i = 0; i < req->n_params; i++)
		if (strlen(name) == req->params[i].name_len &&
			memcmp(name, req->params[i].name, req->params[i].name_len) == 0)
			return req->params[i].value;
	return "";
}

const char *ws_http_query(const struct ws_http_req *req, const char *name)
{
	size_t len = strlen(name);

	for (unsigned i = 0; i < req->n_queries; i++)
		if (strncmp(req->queries[i], name, len) == 0 && req->queries[i][len] == '=')
			return req->queries[i] + len + 1;
	return NULL;
}

json_t *ws_http_body(const struct ws_http_req *req)
{
	return req->body;
}

const char *ws_http_client(const struct ws_http_req *req)
{
	return req->socket->remote;
}

void ws_http_on_gone(struct ws_http_req *req, void (*gone)(void *user), void *user)
{
	req->gone = gone;
	req->user = user;
}

void ws_http_reply(struct ws_http_req *req, int status, json_t *body)
{
	if (!body)
		body = json_object();
	req->status = status;
	req->reply = body
		? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9))
		: NULL;
	req->reply_len = req->reply ? strlen(req->reply) : 0;
	json_decref(body);
	lws_callback_on_writable(req->socket->wsi);
}

void ws_http_reply_text(struct ws_http_req *req, const char *content_type, char *text)
{
	req->status = 200;
	req->content_type = content_type;
	req->reply = text;
	req->reply_len = strlen(text);
	lws_callback_on_writable(req->socket->wsi);
}

void ws_http_stream_begin(struct ws_http_req *req, const char *content_type)
{
	req->status = 200;
	req->content_type = content_type;
	req->is_stream = true;
	lws_callback_on_writable(req->socket->wsi);
}

int ws_http_stream_write(struct ws_http_req *req, const char *text, size_t len)
{
	char *reply;

	if (len == 0)
		return 0;
	if (len > WS_HTTP_STREAM_BYTES_MAX - req->reply_len)
		return -EAGAIN;
	reply = realloc(req->reply, req->reply_len + len);
	if (!reply)
		return -ENOMEM;
	memcpy(reply + req->reply_len, text, len);
	req->reply = reply;
	req->reply_len += len;
	lws_callback_on_writable(req->socket->wsi);
	return 0;
}

void ws_http_stream_end(struct ws_http_req *req)
{
	req->is_ending = true;
	lws_callback_on_writable(req->socket->wsi);
}

void ws_http_reply_error(
	struct ws_http_req *req, int status, const char *code, const char *fmt, ...)
{
	char message[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	req->status = status;
	req->reply = error_json(code, message);
	req->reply_len = req->reply ? strlen(req->reply) : 0;
	lws_callback_on_writable(req->socket->wsi);
}
