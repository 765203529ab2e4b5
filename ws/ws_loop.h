/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's event loop: libwebsockets' own poll loop, which watches a libuv loop's backend descriptor as one
 * more file. So timers, signals and pipes are libuv's, sockets are libwebsockets', and no plug-in is
 * loaded (a static build has none). Thread: the one that calls ws_loop_run().
 *
 * A libuv timer that is started from a libwebsockets callback counts from a stale "now" unless
 * uv_update_time() comes first; ws_client.c does that on entry.
 */
#ifndef WS_LOOP_H
#define WS_LOOP_H

typedef struct uv_loop_s uv_loop_t;
struct lws_context;
struct lws_protocols;

struct ws_loop;

/** @protocols: libwebsockets' table, borrowed for the life, ending in a NULL name. NULL with errno. */
struct ws_loop *ws_loop_new(const struct lws_protocols *protocols);
/** Turns libuv's loop until handles that are being closed are gone. NULL is fine. */
void ws_loop_free(struct ws_loop *loop);
/** Until ws_loop_stop(). */
void ws_loop_run(struct ws_loop *loop);
/** From inside a callback. */
void ws_loop_stop(struct ws_loop *loop);

uv_loop_t *ws_loop_uv(struct ws_loop *loop);
struct lws_context *ws_loop_lws(struct ws_loop *loop);

#endif
