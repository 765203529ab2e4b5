/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A TCP connection to a name or an address, by RFC 8305: the addresses as the resolver sorts them, families in turns, the next one
 * tried 250 ms after the last or as soon as that failed, the first that answers wins. Resolving runs on libuv's pool.
 * Thread: the loop's.
 */
#ifndef COORD_DIAL_H
#define COORD_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base_addr.h"
#include "base_err.h"

#define COORD_DIAL_STAGGER_MS 250
/** Addresses of one name that are tried. */
#define COORD_DIAL_ADDRS_MAX 16

struct coord_dial;

/**
 * Once: @tcp is connected and the caller's from now on (uv_close() it, then free() it), or NULL with -Exxx and a line. The dial is
 * over then, and freed by itself.
 */
typedef void (*coord_dial_done)(void *ctx, uv_tcp_t *tcp, int rc, const char *line);

/** 0 or -Exxx; @done comes later, never from within. Nothing here has a deadline: the caller has one. */
BASE_MUST_CHECK int coord_dial_start(struct coord_dial **ret_dial, uv_loop_t *loop,
	const char *host, uint16_t port, coord_dial_done done, void *ctx);
/** Where to, if there is more to say than a name: a relay's entry in the map. */
struct coord_dial_target {
	const char *host; /* read at once */
	uint16_t port;
	/* Tried in this order, instead of asking for the name; none: ask. */
	struct base_addr addrs[2];
	unsigned n_addrs;
	bool has_no_v4, has_no_v6; /* addresses of the name that are left out */
};
BASE_MUST_CHECK int coord_dial_start_to(struct coord_dial **ret_dial, uv_loop_t *loop,
	const struct coord_dial_target *target, coord_dial_done done, void *ctx);
/** Give it up before @done. */
void coord_dial_cancel(struct coord_dial *dial);

#endif
