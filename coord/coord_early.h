/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The early payload: what a server may say on the channel before HTTP/2 begins (protocols/headscale-control.md, 3.5):
 * five magic bytes, a length, JSON with a challenge that nobody answers. It is taken out of the stream here; whatever does
 * not begin with the magic is HTTP/2 already, and passes untouched. Pure. Thread: one at a time.
 */
#ifndef COORD_EARLY_H
#define COORD_EARLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

#define COORD_EARLY_HEAD_BYTES 9
#define COORD_EARLY_BYTES_MAX (64u << 10)

/** Zeroed at the start of a channel. */
struct coord_early {
	uint8_t head[COORD_EARLY_HEAD_BYTES];
	size_t head_len;
	size_t to_skip; /* of the JSON */
	bool is_over;   /* all that follows is HTTP/2 */
};

/** What HTTP/2 is to get, borrowed. Not 0: stop, and coord_early_input() returns that. */
typedef int (*coord_early_pass)(void *ctx, const uint8_t *data, size_t len);

/** Bytes of the channel, cut anywhere. Returns 0, -EPROTO (too long a payload), or what @pass said. */
BASE_MUST_CHECK int coord_early_input(struct coord_early *early, const uint8_t *data, size_t len,
	coord_early_pass pass, void *ctx, struct base_error *ret_error);

#endif
