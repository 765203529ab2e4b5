/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A byte stream to a server: dialled (coord_dial.h), through a proxy where the environment says so (coord_proxy.h), with TLS where
 * the URL says so (coord_tls.h). One deadline covers all of that and whatever the owner adds to it, until coord_stream_settle().
 *
 *	dialling -> tunnelling (CONNECT) -> shaking (TLS) -> open -> closed
 *
 * Thread: the loop's. What the other side can make grow is bounded: the answer of a proxy, and what waits to be sent.
 */
#ifndef COORD_STREAM_H
#define COORD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_err.h"
#include "coord_tls.h"
#include "coord_url.h"

#define COORD_STREAM_DEADLINE_MS 10000
/** Bytes that wait to be sent; more ends the stream. */
#define COORD_STREAM_QUEUE_BYTES_MAX (4u << 20)

struct coord_stream_host {
	/** Bytes may be written. */
	void (*opened)(void *ctx);
	/** Bytes came, borrowed. */
	void (*data)(void *ctx, const uint8_t *data, size_t len);
	/** It is over; nothing comes after this. The owner frees it, here or later. */
	void (*closed)(void *ctx, int rc, const char *line);
};

struct coord_stream;

/**
 * @roots: for https; kept for longer. The callbacks come later, never from within. NULL with errno and a line (EINVAL: the proxy
 * in the environment).
 */
struct coord_stream *coord_stream_new(uv_loop_t *loop, const struct coord_url *url,
	struct coord_tls_roots *roots, const struct coord_stream_host *host, void *ctx,
	struct base_error *ret_error);
/** Close at once, silently; from within a callback too. NULL is fine. */
void coord_stream_free(struct coord_stream *stream);

/** What was to be done in time is done. */
void coord_stream_settle(struct coord_stream *stream);
/** Copied. 0; or -ENOTCONN, -ENOBUFS, -ENOMEM: it is of no use any more, and `closed` is called from the loop. */
int coord_stream_write(struct coord_stream *stream, const void *data, size_t len);

#endif
