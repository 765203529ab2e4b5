/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deadlines of many peers: a binary heap by time, so that an event costs O(log n) and the earliest
 * is at hand. A deadline lives inside its peer and knows its place. One that never comes is not in
 * the heap: an idle peer costs nothing. Thread: the device's.
 */
#ifndef WG_DEADLINES_H
#define WG_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#include "base_clock.h"
#include "base_err.h"

/** Zeroed: not waiting. */
struct wg_deadline {
	uint64_t at_ns;
	size_t place; /* in the heap, from 1; 0: not in it */
};

/** Zeroed: empty. */
struct wg_deadlines {
	struct wg_deadline **heap; /* heap[0] is unused */
	size_t n;
	size_t capacity;
};

void wg_deadlines_fini(struct wg_deadlines *deadlines);
/** Make room for @n in all, so that setting cannot fail. 0 or -ENOMEM. */
BASE_MUST_CHECK int wg_deadlines_reserve(struct wg_deadlines *deadlines, size_t n);
/** Set, move, or with BASE_NEVER_NS take out. */
void wg_deadlines_set(struct wg_deadlines *deadlines, struct wg_deadline *deadline, uint64_t at_ns);

/** The earliest; NULL if nothing waits. */
static inline struct wg_deadline *wg_deadlines_first(const struct wg_deadlines *deadlines)
{
	return deadlines->n > 0 ? deadlines->heap[1] : NULL;
}

#endif
