/* SPDX-License-Identifier: BSD-3-Clause */
/* The heap of deadlines. Thread: its owner's. See base_deadlines.h. */
#include "base_deadlines.h"

#include <stdlib.h>

void base_deadlines_fini(struct base_deadlines *deadlines)
{
	free(deadlines->heap);
	*deadlines = (struct base_deadlines){0};
}

int base_deadlines_reserve(struct base_deadlines *deadlines, size_t n)
{
	size_t capacity = deadlines->capacity ? deadlines->capacity : 16;
	struct base_deadline **heap;

	if (n <= deadlines->capacity)
		return 0;
	while (capacity < n)
		capacity *= 2;
	heap = realloc(deadlines->heap, (capacity + 1) * sizeof(struct base_deadline *));
	if (!heap)
		return -ENOMEM;
	deadlines->heap = heap;
	deadlines->capacity = capacity;
	return 0;
}

static void put(struct base_deadlines *deadlines, size_t place, struct base_deadline *deadline)
{
	deadlines->heap[place] = deadline;
	deadline->place = place;
}

/* @place is free: bring @deadline there, or where the order wants it. */
static void settle(struct base_deadlines *deadlines, size_t place, struct base_deadline *deadline)
{
	struct base_deadline **heap = deadlines->heap;
	size_t child;

	while (place > 1 && heap[place / 2]->at_ns > deadline->at_ns) {
		put(deadlines, place, heap[place / 2]);
		place /= 2;
	}
	while ((child = 2 * place) <= deadlines->n) {
		if (child < deadlines->n && heap[child + 1]->at_ns < heap[child]->at_ns)
			child++;
		if (heap[child]->at_ns >= deadline->at_ns)
			break;
		put(deadlines, place, heap[child]);
		place = child;
	}
	put(deadlines, place, deadline);
}

void base_deadlines_set(
	struct base_deadlines *deadlines, struct base_deadline *deadline, uint64_t at_ns)
{
	size_t place = deadline->place;

	deadline->at_ns = at_ns;
	if (at_ns != BASE_NEVER_NS) {
		settle(deadlines, place ? place : ++deadlines->n, deadline);
	} else if (place) {
		struct base_deadline *last = deadlines->heap[deadlines->n--];

		deadline->place = 0;
		if (last != deadline)
			settle(deadlines, place, last);
	}
}
