/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller's side of sandd.v1: upgrade, messages in, messages out, and every bound on them. See ws_server.h.
 * A connection is born in on_established() and ends in conn_end(), each once. Thread: the loop's.
 * Read next: ws_service.h (what a connection hangs on), ws_codec.h.
 */
#include "ws_server.h"

#include "base_log.h"
#include "ws_codec.h"
#include "ws_queue.h"
#include "ws_rx.h"
#include "ws_service.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>

BASE_LOG_CATEGORY("ws");

#define MAX_CONNS_DEFAULT 10000
#define STALL_MS_DEFAULT 30000
#define SWEEP_MS 1000
/* What a connection may have waiting: two of the largest messages, or many small ones. */
#define QUEUE_BYTES_MAX (2 * (size_t)WS_FRAME_BYTES_MAX)
#define QUEUE_FRAMES_MAX 1024
/* What all connections of a server may hold together, in queues and half-received messages. */
#define BUFFERED_BYTES_MAX ((uint64_t)512 << 20)
/* From ws_conn_close() to the end, however little the other end reads. */
#define CLOSE_GRACE_MS 5000
/* Sockets that are no connection yet: requests under way, /health, /stats. */
#define PENDING_SOCKETS_MAX 512
/* A Close frame's payload less its status (RFC 6455, section 5.5). */
#define CLOSE_REASON_BYTES_MAX 123

static const char missing_subprotocol[] =
	"Missing required Sec-WebSocket-Protocol: " WS_SUBPROTOCOL;
static const char text_plain[] = "text/plain; charset=utf-8";

struct ws_conn {
	struct ws_server *server;
	struct ws_socket *socket;
	void *user;
	struct ws_queue tx;
	struct ws_rx rx;
	bool is_rx_skipped;
	bool has_spoken; /* a message has come */
	bool is_pending; /* something waits to be written */
	bool is_close_sent;
	bool is_closing; /* ws_conn_close() or an offence; nothing is taken or delivered any more */
	uint64_t progress_ms; /* when it opened, or something last left */
	uint64_t close_by_ms;
	unsigned close_status;
	char reason[CLOSE_REASON_BYTES_MAX + 1];
	LIST_ENTRY(ws_conn) entry;
};

struct ws_server {
	struct ws_service *service;
	struct ws_listener *listener;
	const struct ws_host *host;
	void *ctx;
	unsigned max_conns;
	unsigned stall_ms;
	struct ws_server_stats stats;
	uv_timer_t sweep;
	LIST_HEAD(, ws_conn) conns;
};

static uint64_t now_ms(const struct ws_server *server)
{
	return uv_now(ws_service_loop(server->service));
}

/* ---- the connection ---- */

static void conn_end(struct ws_conn *conn)
{
	struct ws_server *server = conn->server;

	server->host->closed(server->ctx, conn);
	LIST_REMOVE(conn, entry);
	server->stats.conns--;
	server->stats.buffered_bytes -= conn->tx.n_bytes + conn->rx.size;
	conn->socket->state = NULL;
	ws_queue_fini(&conn->tx);
	ws_rx_fini(&conn->rx);
	free(conn);
}

static int on_established(struct ws_server *server, struct ws_socket *socket)
{
	struct ws_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return -1;
	conn->server = server;
	conn->socket = socket;
	conn->tx.limits = (struct ws_queue_limits){QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX};
	conn->progress_ms = now_ms(server);
	socket->state = conn;
	LIST_INSERT_HEAD(&server->conns, conn, entry);
	server->stats.accepted++;
	server->stats.conns++;
	server->host->opened(server->ctx, conn);
	return 0;
}

/*
 * A whole Close frame (RFC 6455, 5.5.1: status in network order, then the reason) straight into the socket, for places
 * where libwebsockets cannot be asked: as Debian builds it, a callback on libuv that asks to close because
 * it may write, or a context that ends, takes the connection away without one. Only where nothing is half-written.
 */
static void write_close(struct ws_conn *conn, unsigned status, const char *reason)
{
	size_t len = strnlen(reason, CLOSE_REASON_BYTES_MAX);
	unsigned char frame[4 + CLOSE_REASON_BYTES_MAX] = {0x88, (unsigned char)(2 + len),
		(unsigned char)(status >> 8), (unsigned char)status};

	memcpy(frame + 4, reason, len);
	(void)send(
		lws_get_socket_fd(conn->socket->wsi), frame, 4 + len, MSG_DONTWAIT | MSG_NOSIGNAL);
	conn->is_close_sent = true;
}

/* From now on nothing is taken or delivered; on_writable() says why, the other end's Close or on_sweep() ends it. */
static void conn_begin_close(struct ws_conn *conn, unsigned status, const char *reason)
{
	conn->is_closing = true;
	conn->close_status = status;
	conn->close_by_ms = now_ms(conn->server) + CLOSE_GRACE_MS;
	snprintf(conn->reason, sizeof(conn->reason), "%s", reason);
	lws_callback_on_writable(conn->socket->wsi);
}

/* An offender: what waits for it is dropped. What it still sends is read and forgotten, so that it gets to our Close. */
static void conn_abort(struct ws_conn *conn, unsigned status, const char *reason)
{
	conn->server->stats.buffered_bytes -= conn->tx.n_bytes;
	ws_queue_fini(&conn->tx);
	conn_begin_close(conn, status, reason);
}

/* ---- messages in ---- */

static void deliver(struct ws_conn *conn, const char *text, size_t len)
{
	struct ws_server *server = conn->server;
	struct base_error why;
	struct ws_msg msg;
	char shown[128];
	int ret = ws_msg_decode(&msg, text, len, &why);

	conn->has_spoken = true;
	if (ret == 0 && !ws_type_is_from_daemon(msg.type)) {
		ws_msg_fini(&msg);
		base_error_set(&why, 0, "not a daemon's to send");
		ret = -ENOTSUP;
	}
	if (ret == 0) {
		server->stats.rx_msgs++;
		server->host->message(server->ctx, conn, &msg);
		ws_msg_fini(&msg);
		return;
	}
	if (ret == -ENOTSUP)
		server->stats.rx_unknown_msgs++;
	else
		server->stats.rx_malformed_msgs++;
	base_log_debug("%s: message skipped: %s", conn->socket->remote,
		base_log_text(shown, sizeof(shown), why.text, strlen(why.text)));
}

/* A whole message in one piece, the usual case, is not copied. */
static void take_piece(
	struct ws_conn *conn, const char *piece, size_t len, size_t left, bool is_last)
{
	struct ws_server *server = conn->server;
	size_t old_size = conn->rx.size;
	int ret;

	if (is_last && conn->rx.len == 0 && len <= WS_FRAME_BYTES_MAX) {
		deliver(conn, piece, len);
		return;
	}
	/* Its buffer may double. */
	if (server->stats.buffered_bytes + old_size + len > BUFFERED_BYTES_MAX)
		ret = -ENOMEM;
	else
		ret = ws_rx_add(&conn->rx, piece, len, left);
	if (ret == 0 && is_last) {
		deliver(conn, conn->rx.bytes, conn->rx.len);
		ws_rx_reset(&conn->rx);
	}
	server->stats.buffered_bytes += conn->rx.size;
	server->stats.buffered_bytes -= old_size;
	if (ret == -EMSGSIZE) {
		server->stats.closed_too_large++;
		conn_abort(conn, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "message larger than 8 MiB");
	} else if (ret) {
		server->stats.closed_no_memory++;
		conn_abort(conn, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "out of buffers");
	}
}

static int on_receive(struct ws_conn *conn, const char *piece, size_t len)
{
	struct lws *wsi = conn->socket->wsi;
	struct ws_server *server = conn->server;
	size_t left = lws_remaining_packet_payload(wsi);

	if (conn->is_closing)
		return 0;
	/* Any byte proves the peer alive; an old daemon that runs a command answers no ping meanwhile. */
	lws_validity_confirmed(wsi);
	if (lws_is_first_fragment(wsi)) {
		conn->is_rx_skipped = lws_frame_is_binary(wsi);
		if (conn->is_rx_skipped)
			server->stats.rx_malformed_msgs++;
	}
	if (conn->is_rx_skipped)
		return 0;
	take_piece(conn, piece, len, left, left == 0 && lws_is_final_fragment(wsi));
	return 0;
}

/* ---- messages out ---- */

int ws_conn_send(struct ws_conn *conn, const struct ws_msg *msg)
{
	struct ws_server *server = conn->server;
	size_t len;
	char *buffer;
	int ret;

	if (conn->is_closing)
		return -EPIPE;
	buffer = ws_msg_encode_at(msg, LWS_PRE, &len);
	if (!buffer)
		return -errno;
	if (server->stats.buffered_bytes + len > BUFFERED_BYTES_MAX)
		ret = -EAGAIN;
	else
		ret = ws_queue_push(&conn->tx, buffer, LWS_PRE, len);
	if (ret) {
		free(buffer);
		return ret;
	}
	server->stats.buffered_bytes += len;
	if (!conn->is_pending) {
		conn->is_pending = true;
		conn->progress_ms = now_ms(server);
	}
	lws_callback_on_writable(conn->socket->wsi);
	return 0;
}

void ws_conn_close(struct ws_conn *conn, const char *reason)
{
	if (!conn->is_closing)
		conn_begin_close(conn, LWS_CLOSE_STATUS_NORMAL, reason ? reason : "");
}

/* libwebsockets calls this only when what it took before has left whole. */
static int on_writable(struct ws_conn *conn)
{
	struct ws_server *server = conn->server;
	size_t len;
	char *text = ws_queue_peek(&conn->tx, &len);
	int n;

	conn->progress_ms = now_ms(server);
	if (!text) {
		conn->is_pending = false;
		/* The other end's Close ends it, or on_sweep(). */
		if (conn->is_closing && !conn->is_close_sent)
			write_close(conn, conn->close_status, conn->reason);
		return 0;
	}
	n = lws_write(conn->socket->wsi, (unsigned char *)text, len, LWS_WRITE_TEXT);
	ws_queue_pop(&conn->tx);
	server->stats.buffered_bytes -= len;
	if (n < 0)
		return -1;
	server->stats.tx_msgs++;
	/* Once more even if the queue is empty: that call tells that the last byte is out. */
	lws_callback_on_writable(conn->socket->wsi);
	return 0;
}

/* ---- laggards ---- */

static void on_sweep(uv_timer_t *timer)
{
	struct ws_server *server = timer->data;
	uint64_t now = now_ms(server);
	struct ws_conn *conn;

	LIST_FOREACH(conn, &server->conns, entry)
	{
		uint64_t idle_ms = now - conn->progress_ms;

		if (conn->is_closing) {
			if (now < conn->close_by_ms)
				continue;
		} else if (conn->is_pending && idle_ms >= server->stall_ms) {
			server->stats.closed_slow++;
		} else if (!conn->has_spoken && idle_ms >= server->stall_ms) {
			server->stats.closed_silent++;
		} else {
			continue;
		}
		conn->is_closing = true;
		conn->close_by_ms = UINT64_MAX;
		/* Not LWS_TO_KILL_SYNC: that would change the list under us. */
		lws_set_timeout(conn->socket->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
		/* It looks at its timeouts when something happens, which may be half a minute from now. */
		lws_cancel_service(lws_get_context(conn->socket->wsi));
	}
}

/* ---- HTTP: the upgrade, /health, /stats ---- */

static int refuse_text(struct ws_socket *socket, int status, const char *text)
{
	return ws_socket_refuse(socket, status, text_plain, text, strlen(text));
}

enum offer { OFFER_MISSING, OFFER_FINE, OFFER_UNREADABLE };

/*
 * Is our subprotocol among those offered? libwebsockets picks it itself later, from the first 127
 * bytes and in its own reading of tokens; where that will fail, we answer instead of letting it hang up.
 */
static enum offer check_offer(struct lws *wsi)
{
	static const size_t lws_list_bytes_max = 127;
	char list[2048];
	struct lws_tokenize ts;
	lws_tokenize_elem element;
	int len = lws_hdr_copy(wsi, list, sizeof(list), WSI_TOKEN_PROTOCOL);
	char *save = NULL;

	if (len <= 0)
		return OFFER_MISSING;
	if ((size_t)len < lws_list_bytes_max) {
		lws_tokenize_init(&ts, list,
			LWS_TOKENIZE_F_COMMA_SEP_LIST | LWS_TOKENIZE_F_MINUS_NONTERM |
				LWS_TOKENIZE_F_DOT_NONTERM | LWS_TOKENIZE_F_RFC7230_DELIMS);
		ts.len = (size_t)len;
		do {
			element = lws_tokenize(&ts);
			if (element == LWS_TOKZE_TOKEN && ts.token_len == strlen(WS_SUBPROTOCOL) &&
				memcmp(ts.token, WS_SUBPROTOCOL, ts.token_len) == 0)
				return OFFER_FINE;
		} while (element == LWS_TOKZE_TOKEN || element == LWS_TOKZE_DELIMITER);
	}
	for (char *at = strtok_r(list, ", \t", &save); at; at = strtok_r(NULL, ", \t", &save))
		if (strcmp(at, WS_SUBPROTOCOL) == 0)
			return OFFER_UNREADABLE;
	return OFFER_MISSING;
}

static int on_upgrade(struct ws_server *server, struct ws_socket *socket, const char *wanted)
{
	char path[64];
	enum offer offer;

	/* A path that does not fit is not ours either. */
	if (lws_hdr_copy(socket->wsi, path, sizeof(path), WSI_TOKEN_GET_URI) <= 0 ||
		strcmp(path, "/ws") != 0)
		return refuse_text(socket, 404, "no such path; daemons dial /ws");
	if (strcasecmp(wanted, "websocket") != 0)
		return refuse_text(socket, 400, "upgrade to websocket expected");
	offer = check_offer(socket->wsi);
	if (offer != OFFER_FINE) {
		server->stats.refused_subprotocol++;
		return refuse_text(socket, 400,
			offer == OFFER_MISSING ? missing_subprotocol
					       : "Sec-WebSocket-Protocol: offer " WS_SUBPROTOCOL
						 " first, in a list below 128 bytes");
	}
	if (lws_hdr_total_length(socket->wsi, WSI_TOKEN_KEY) <= 0)
		return refuse_text(socket, 400, "Missing required Sec-WebSocket-Key");
	if (server->stats.conns >= server->max_conns) {
		server->stats.refused_limit++;
		return refuse_text(socket, 503, "too many connections");
	}
	return 0;
}

static int reply_stats(struct ws_server *server, struct ws_socket *socket)
{
	char *json = server->host->stats_json(server->ctx);
	int ret;

	if (!json)
		return refuse_text(socket, 500, "out of memory");
	ret = ws_socket_reply(socket, 200, "application/json", json, strlen(json));
	free(json);
	return ret;
}

static int on_http(struct ws_server *server, struct ws_socket *socket, const char *path)
{
	if (lws_hdr_total_length(socket->wsi, WSI_TOKEN_GET_URI) <= 0)
		return refuse_text(socket, 405, "only GET is served here");
	if (strcmp(path, "/health") == 0)
		return ws_socket_reply(socket, 200, text_plain, "OK", 2);
	if (strcmp(path, "/stats") == 0)
		return reply_stats(server, socket);
	if (strcmp(path, "/ws") == 0)
		return refuse_text(socket, 400, "upgrade to websocket expected");
	return refuse_text(socket, 404, "no such path");
}

/* ---- joining ---- */

static int on_event(
	struct ws_socket *socket, enum lws_callback_reasons reason, void *in, size_t len)
{
	struct ws_server *server = ws_listener_ctx(socket->listener);
	struct ws_conn *conn = socket->state;

	switch (reason) {
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return on_upgrade(server, socket, in);
	case LWS_CALLBACK_HTTP:
		return on_http(server, socket, in);
	case LWS_CALLBACK_ESTABLISHED:
		return on_established(server, socket);
	case LWS_CALLBACK_RECEIVE:
		return conn ? on_receive(conn, in, len) : -1;
	case LWS_CALLBACK_SERVER_WRITEABLE:
		return conn ? on_writable(conn) : -1;
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		/* The answer to ours: hang up. Else libwebsockets answers. */
		return conn && conn->is_close_sent ? -1 : 0;
	case LWS_CALLBACK_CLOSED:
	case LWS_CALLBACK_WSI_DESTROY:
		if (conn)
			conn_end(conn);
		return 0;
	default:
		return 0;
	}
}

static void on_dropped(struct ws_socket *socket)
{
	struct ws_conn *conn = socket->state;

	if (!conn)
		return;
	if (!conn->is_close_sent && !lws_partial_buffered(socket->wsi))
		write_close(conn, LWS_CLOSE_STATUS_GOINGAWAY, "the controller stops");
	conn_end(conn);
}

static const struct ws_listener_ops listener_ops = {.event = on_event, .dropped = on_dropped};

static struct ws_listener *listen_on(struct ws_server *server,
	const struct ws_server_config *config, struct base_error *ret_error)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr = {0};
	char name[BASE_ENDPOINT_TEXT_LEN];
	struct base_endpoint endpoint = {.addr = config->addr, .port = config->port};
	struct ws_listener_config listen = {
		.addr = &addr.any,
		.name = base_endpoint_print(name, &endpoint),
		.max_sockets = server->max_conns + PENDING_SOCKETS_MAX,
	};

	if (config->addr.family == BASE_FAMILY_V4) {
		addr.in.sin_family = AF_INET;
		addr.in.sin_port = htons(config->port);
		memcpy(&addr.in.sin_addr, config->addr.bytes, sizeof(addr.in.sin_addr));
		listen.addr_len = sizeof(addr.in);
	} else if (config->addr.family == BASE_FAMILY_V6) {
		addr.in6.sin6_family = AF_INET6;
		addr.in6.sin6_port = htons(config->port);
		memcpy(&addr.in6.sin6_addr, config->addr.bytes, sizeof(addr.in6.sin6_addr));
		listen.addr_len = sizeof(addr.in6);
	} else {
		errno = -base_error_set(ret_error, -EINVAL, "no address to listen on was given");
		return NULL;
	}
	return ws_listener_new(server->service, &listen, &listener_ops, server, ret_error);
}

struct ws_server *ws_server_new(struct ws_service *service, const struct ws_server_config *config,
	const struct ws_host *host, void *ctx, struct base_error *ret_error)
{
	struct ws_server *server = calloc(1, sizeof(*server));

	if (!server) {
		errno = -base_error_set(ret_error, -ENOMEM, "no memory for a listener");
		return NULL;
	}
	server->service = service;
	server->host = host;
	server->ctx = ctx;
	server->max_conns = config->max_conns ? config->max_conns : MAX_CONNS_DEFAULT;
	server->stall_ms = config->stall_ms ? config->stall_ms : STALL_MS_DEFAULT;
	server->listener = listen_on(server, config, ret_error);
	if (!server->listener) {
		free(server);
		return NULL;
	}
	uv_timer_init(ws_service_loop(service), &server->sweep);
	server->sweep.data = server;
	uv_timer_start(&server->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
	return server;
}

static void on_sweep_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void ws_server_free(struct ws_server *server)
{
	if (!server)
		return;
	ws_listener_free(server->listener);
	uv_close((uv_handle_t *)&server->sweep, on_sweep_closed);
}

uint16_t ws_server_port(const struct ws_server *server)
{
	return ws_listener_port(server->listener);
}

void ws_server_stats(const struct ws_server *server, struct ws_server_stats *ret_stats)
{
	*ret_stats = server->stats;
}

void ws_conn_set_user(struct ws_conn *conn, void *user)
{
	conn->user = user;
}

void *ws_conn_user(const struct ws_conn *conn)
{
	return conn->user;
}

const char *ws_conn_remote(const struct ws_conn *conn)
{
	return conn->socket->remote;
}

static_assert(WS_FRAME_BYTES_MAX == 8u << 20, "the reason in on_receive() names the limit");
