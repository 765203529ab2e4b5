/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames on their way out of one connection: a bounded FIFO of encoded messages. Full is told to the
 * sender, who decides; nothing is dropped in here. One owner, no lock.
 */
#ifndef WS_QUEUE_H
#define WS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

struct ws_queue_limits {
	size_t max_bytes;
	size_t max_frames;
};

struct ws_frame;

/** Zeroed is empty; set @limits before use. */
struct ws_queue {
	struct ws_frame *first, *last;
	size_t n_bytes, n_frames;
	struct ws_queue_limits limits;
};

/**
 * Append. @buffer is malloc'ed, @headroom free bytes and @len of text; taken over on success only.
 * An empty queue takes any frame, so that no limit below the largest frame can block for ever.
 * Returns 0, -EAGAIN when full, -ENOMEM.
 */
BASE_MUST_CHECK int ws_queue_push(
	struct ws_queue *queue, char *buffer, size_t headroom, size_t len);
/** The first frame's text (its headroom lies before it) and length; NULL when empty. */
char *ws_queue_peek(const struct ws_queue *queue, size_t *ret_len);
/** Drop the first frame; nothing happens when empty. */
void ws_queue_pop(struct ws_queue *queue);
bool ws_queue_is_empty(const struct ws_queue *queue);
/** Drop all. */
void ws_queue_fini(struct ws_queue *queue);

#endif
