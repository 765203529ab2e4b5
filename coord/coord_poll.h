/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The long poll: one POST /machine/map whose answer does not end (protocols/headscale-control.md, 5.2-5.3, 8.1). Frames become updates
 * (coord_map.h), large ones on libuv's pool; 120 s without a frame end it. Thread: the loop's.
 *
 * While a large frame is parsed the server gets no more window than what was given before: a server that sends faster than
 * we read waits, in bounded memory.
 */
#ifndef COORD_POLL_H
#define COORD_POLL_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "coord_link.h"
#include "coord_map.h"

#define COORD_POLL_SILENCE_MS 120000

struct coord_poll_host {
	/** A whole frame came, of this many bytes; a keep-alive too. */
	void (*frame)(void *ctx, size_t bytes);
	/** What it says; the callee's from now on. */
	void (*update)(void *ctx, struct coord_map_update *update);
	/** It is over. @status: the server's, if it was not 200; else 0. The owner frees it, here or later. */
	void (*ended)(void *ctx, int status, int rc, const char *line);
};

struct coord_poll;

/** @body: of coord_map_request(), asking for zstd. NULL with errno. */
struct coord_poll *coord_poll_new(uv_loop_t *loop, struct coord_link *link, const void *body,
	size_t len, const struct coord_map_limits *limits, const struct coord_poll_host *host,
	void *ctx);
/** Give it up, silently, before the link is freed; from within a callback too. NULL is fine. */
void coord_poll_free(struct coord_poll *poll);

#endif
