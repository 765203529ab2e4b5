/* SPDX-License-Identifier: BSD-3-Clause */
/* The heap of deadlines. Thread: the device's. See wg_deadlines.h. */
#include "wg_deadlines.h"

#include <stdlib.h>

void wg_deadlines_fini(struct wg_deadlines *deadlines)
{
	free(deadlines->heap);
	*deadlines = (struct wg_deadlines){0};
}

int wg_deadlines_reserve(struct wg_deadlines *deadlines, size_t n)
{
	size_t capacity = deadlines->capacity ? deadlines->capacity : 16;
	struct wg_deadline **heap;

	if (n <= deadlines->capacity)
		return 0;
	while (capacity < n)
		capacity *= 2;
	heap = realloc(deadlines->heap, (capacity + 1) * sizeof(struct wg_deadline *));
	if (!heap)
		return -ENOMEM;
	deadlines->heap = heap;
	deadlines->capacity = capacity;
	return 0;
}

static void put(struct wg_deadlines *deadlines, size_t place, struct wg_deadline *deadline)
{
	deadlines->heap[place] = deadline;
	deadline->place = place;
}

/* @place is free: bring @deadline there, or where the order wants it. */
static void settle(struct wg_deadlines *deadlines, size_t place, struct wg_deadline *deadline)
{
	struct wg_deadline **heap = deadlines->heap;
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

void wg_deadlines_set(struct wg_deadlines *deadlines, struct wg_deadline *deadline, uint64_t at_ns)
{
	size_t place = deadline->place;

	deadline->at_ns = at_ns;
	if (at_ns != BASE_NEVER_NS) {
		settle(deadlines, place ? place : ++deadlines->n, deadline);
	} else if (place) {
		struct wg_deadline *last = deadlines->heap[deadlines->n--];

		deadline->place = 0;
		if (last != deadline)
			settle(deadlines, place, last);
	}
}
