/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller's side of sandd.v1 on libwebsockets: `GET /ws` for daemons, `/health`, `/stats`
 * (protocols/sandd.md, sections 1 and 3). It moves messages and keeps connections' bounds; who is registered and what
 * is outstanding is the host's business (ctl_registry, ctl_request).
 *
 * One struct ws_service is one libwebsockets context on the caller's libuv loop; listeners of
 * both kinds (daemons here, operators in ws_http.h) hang on it. Thread: the loop's, throughout.
 */
#ifndef WS_SERVER_H
#define WS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "ws_messages.h"

typedef struct uv_loop_s uv_loop_t;

/** The libwebsockets context on @loop. NULL with errno. */
struct ws_service *ws_service_new(uv_loop_t *loop);
/**
 * Closes all listeners and connections. Runs the loop without waiting until libwebsockets has let go of its handles: call it
 * last, when nothing else on the loop expects a callback any more. NULL is fine.
 */
void ws_service_free(struct ws_service *service);

/** One daemon's connection. Valid from opened() to closed(). */
struct ws_conn;

struct ws_host {
	/** A daemon connected. Nothing is known of it but the address. */
	void (*opened)(void *ctx, struct ws_conn *conn);
	/** A well-formed message (borrowed until return). The callee may send on and close @conn. */
	void (*message)(void *ctx, struct ws_conn *conn, const struct ws_msg *msg);
	/** The connection is gone, for whatever reason; called once, after which @conn is invalid. */
	void (*closed)(void *ctx, struct ws_conn *conn);
	/** The body of /stats: malloc'ed JSON text, freed by the caller. */
	char *(*stats_json)(void *ctx);
};

struct ws_server;

struct ws_server_config {
	struct base_addr
		addr; /* where to listen: the mesh address, or the one configured for direct mode */
	uint16_t port;      /* 0: any free one; ws_server_port() tells */
	unsigned max_conns; /* further ones are refused with 503; 0: 10,000 */
	/*
	 * A laggard: messages wait for it and none has left for this long; it is dropped. Also the time a new
	 * connection has for its first message. 0: 30,000.
	 */
	unsigned stall_ms;
};

struct ws_server_stats {
	uint64_t accepted, refused_subprotocol, refused_limit;
	uint64_t rx_msgs, rx_malformed_msgs, rx_unknown_msgs, tx_msgs;
	uint64_t closed_too_large, closed_slow, closed_silent, closed_no_memory;
	uint64_t buffered_bytes; /* in all queues and half-received messages; bounded */
	uint32_t conns;
};

/** NULL with errno and a line that names address, port and remedy (EADDRINUSE, EADDRNOTAVAIL). */
struct ws_server *ws_server_new(struct ws_service *service, const struct ws_server_config *config,
	const struct ws_host *host, void *ctx, struct base_error *ret_error);
/** Stop listening, close the connections (closed() is called for each). */
void ws_server_free(struct ws_server *server);
uint16_t ws_server_port(const struct ws_server *server);
void ws_server_stats(const struct ws_server *server, struct ws_server_stats *ret_stats);

/**
 * Queue a message. Returns 0; -EAGAIN when the bounded queue is full (a laggard; the message was not taken);
 * -EMSGSIZE; -ENOMEM; -EPIPE when it is closing.
 */
BASE_MUST_CHECK int ws_conn_send(struct ws_conn *conn, const struct ws_msg *msg);
/** Close after what is queued has gone out; closed() follows from the loop, never from inside this call. */
void ws_conn_close(struct ws_conn *conn, const char *reason);
/** The host's link. NULL until set. */
void ws_conn_set_user(struct ws_conn *conn, void *user);
void *ws_conn_user(const struct ws_conn *conn);
/** The address of the other end, as text; borrowed. */
const char *ws_conn_remote(const struct ws_conn *conn);

#endif
