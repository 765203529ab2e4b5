/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deadlines of many objects, peers for one: a binary heap by time, so that an event costs O(log n) and the
 * earliest is at hand. A deadline lives inside its object and knows its place. One that never comes is not in
 * the heap: what is idle costs nothing. Thread: its owner's.
 */
#ifndef BASE_DEADLINES_H
#define BASE_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#include "base_clock.h"
#include "base_err.h"

/** Zeroed: not waiting. */
struct base_deadline {
	uint64_t at_ns;
	size_t place; /* in the heap, from 1; 0: not in it */
};

/** Zeroed: empty. */
struct base_deadlines {
	struct base_deadline **heap; /* heap[0] is unused */
	size_t n;
	size_t capacity;
};

void base_deadlines_fini(struct base_deadlines *deadlines);
/** Make room for @n in all, so that setting cannot fail. 0 or -ENOMEM. */
BASE_MUST_CHECK int base_deadlines_reserve(struct base_deadlines *deadlines, size_t n);
/** Set, move, or with BASE_NEVER_NS take out. */
void base_deadlines_set(
	struct base_deadlines *deadlines, struct base_deadline *deadline, uint64_t at_ns);

/** The earliest; NULL if nothing waits. */
static inline struct base_deadline *base_deadlines_first(const struct base_deadlines *deadlines)
{
	return deadlines->n > 0 ? deadlines->heap[1] : NULL;
}

#endif
