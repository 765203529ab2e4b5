/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside ws only: the libwebsockets context, listening sockets, and what each accepted socket hangs on. We accept
 * ourselves and hand the sockets to libwebsockets, because its own listeners tell no errno, unlink any file that is in a
 * Unix socket's way, and pick the virtual host by the Host header, which is the client's to choose.
 * Here a socket belongs to the listener that accepted it. Thread: the loop's.
 */
#ifndef WS_SERVICE_H
#define WS_SERVICE_H

#include <sys/queue.h>
#include <sys/socket.h>

#include <libwebsockets.h>
#include <uv.h>

#include "ws_server.h"

/* An HTTP reply's header, at most; and what we read of a request's. */
#define WS_HEADER_BYTES_MAX 8192

struct ws_listener;

/** One accepted socket, from accept to the end of its struct lws. */
struct ws_socket {
	struct lws *wsi;
	struct ws_listener *listener; /* NULL once that is gone */
	void *state;                  /* the owner's: struct ws_conn, struct ws_http_req */
	char remote[64];              /* "192.0.2.1:4711", "pid 4711 (uid 0)" */
	LIST_ENTRY(ws_socket) entry;
};

/** What an owner of a listener does with its sockets' events. */
struct ws_listener_ops {
	/** As a libwebsockets callback: 0, or non-zero to close. */
	int (*event)(
		struct ws_socket *socket, enum lws_callback_reasons reason, void *in, size_t len);
	/** The socket is being dropped because its listener goes: release @state, call nothing on it. */
	void (*dropped)(struct ws_socket *socket);
};

struct ws_listener_config {
	const struct sockaddr *addr;
	socklen_t addr_len;
	const char *name; /* for errors: "[::1]:8765", a path */
	mode_t umask;     /* while binding: the mode of a Unix socket's file */
	unsigned max_sockets;
};

/** Bind and listen. NULL with errno and a line. */
struct ws_listener *ws_listener_new(struct ws_service *service,
	const struct ws_listener_config *config, const struct ws_listener_ops *ops, void *ctx,
	struct base_error *ret_error);
/** Close it and drop its sockets. */
void ws_listener_free(struct ws_listener *listener);

void *ws_listener_ctx(const struct ws_listener *listener);
/** The port the kernel chose or was given; 0 for a Unix socket. */
uint16_t ws_listener_port(const struct ws_listener *listener);
uv_loop_t *ws_service_loop(const struct ws_service *service);

/**
 * Write a whole reply, header and body, and finish the HTTP transaction. From inside the socket's own callback
 * only; return what this returns from it.
 */
BASE_MUST_CHECK int ws_socket_reply(
	struct ws_socket *socket, int status, const char *type, const char *body, size_t len);
/**
 * The same without an end: write the header of a reply that goes on until the connection closes, and then pieces of
 * it. From inside the socket's own callback only, one piece in each call. 0, or non-zero to close.
 */
BASE_MUST_CHECK int ws_socket_stream_begin(struct ws_socket *socket, const char *type);
BASE_MUST_CHECK int ws_socket_stream_write(struct ws_socket *socket, const char *piece, size_t len);
/** The same, and the connection ends after it: where the rest of the request is not wanted. */
BASE_MUST_CHECK int ws_socket_refuse(
	struct ws_socket *socket, int status, const char *type, const char *body, size_t len);

#endif
