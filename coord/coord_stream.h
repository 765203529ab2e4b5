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
#include "coord_dial.h"
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
	/** All that was written is with the kernel. NULL: nobody asks. */
	void (*drained)(void *ctx);
};

struct coord_stream;

/**
 * @roots: for https; kept for longer. The callbacks come later, never from within. NULL with errno and a line (EINVAL: the proxy
 * in the environment).
 */
struct coord_stream *coord_stream_new(uv_loop_t *loop, const struct coord_url *url,
	struct coord_tls_roots *roots, const struct coord_stream_host *host, void *ctx,
	struct base_error *ret_error);

/** What a relay's stream wants beyond an URL; zeroed: nothing. */
struct coord_stream_wish {
	const struct coord_dial_target
		*target; /* dialled in the place of the URL's host; read at once */
	const struct coord_tls_trust *trust; /* read at once */
	unsigned connect_ms; /* to be connected, within the deadline; 0: the deadline */
	bool is_watched; /* the other side's death is found within 5 s: TCP asks, and acknowledges in 4 s */
};
/** Like coord_stream_new(). */
struct coord_stream *coord_stream_new_as(uv_loop_t *loop, const struct coord_url *url,
	const struct coord_stream_wish *wish, struct coord_tls_roots *roots,
	const struct coord_stream_host *host, void *ctx);
/** Close at once, silently; from within a callback too. NULL is fine. */
void coord_stream_free(struct coord_stream *stream);

/** What was to be done in time is done. */
void coord_stream_settle(struct coord_stream *stream);
/** Copied. 0; or -ENOTCONN, -ENOBUFS, -ENOMEM: it is of no use any more, and `closed` is called from the loop. */
int coord_stream_write(struct coord_stream *stream, const void *data, size_t len);
/** Bytes that the kernel has not taken yet. */
size_t coord_stream_waiting(const struct coord_stream *stream);
/** Our address of the connection. False: there is none. */
bool coord_stream_local(const struct coord_stream *stream, struct base_addr *ret_addr);

#endif
