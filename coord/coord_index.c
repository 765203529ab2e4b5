/* SPDX-License-Identifier: BSD-3-Clause */
/* Open addressing, one step at a time; what is removed is closed up. See coord_index.h. */
#include "coord_index.h"

#include "coord_netmap.h"

#include <stdlib.h>

#define SLOTS_MIN 16

void coord_index_fini(struct coord_index *index)
{
	free(index->slots);
	*index = (struct coord_index){0};
}

static void slot_fill(struct coord_index *index, uint32_t hash, void *item)
{
	size_t i = hash & index->mask;

	while (index->slots[i].item)
		i = (i + 1) & index->mask;
	index->slots[i] = (struct coord_index_slot){item, hash};
	index->n++;
}

int coord_index_reserve(struct coord_index *index, size_t n)
{
	struct coord_index old = *index;
	size_t n_slots = SLOTS_MIN;

	while (n_slots / 3 * 2 < n)
		n_slots *= 2;
	if (old.slots && n_slots <= old.mask + 1)
		return 0;
	index->slots = calloc(n_slots, sizeof(*index->slots));
	if (!index->slots) {
		*index = old;
		return -ENOMEM;
	}
	index->mask = n_slots - 1;
	index->n = 0;
	for (size_t i = 0; old.slots && i <= old.mask; i++)
		if (old.slots[i].item)
			slot_fill(index, old.slots[i].hash, old.slots[i].item);
	free(old.slots);
	return 0;
}

bool coord_index_add(struct coord_index *index, uint32_t hash, void *item)
{
	size_t cursor = 0;
	unsigned n = 0;

	while (coord_index_next(index, hash, &cursor))
		if (++n == COORD_SHARERS_MAX)
			return false;
	slot_fill(index, hash, item);
	return true;
}

void coord_index_remove(struct coord_index *index, uint32_t hash, const void *item)
{
	size_t i = hash & index->mask, hole;

	if (!index->slots)
		return;
	while (index->slots[i].item &&
		(index->slots[i].item != item || index->slots[i].hash != hash))
		i = (i + 1) & index->mask;
	if (!index->slots[i].item)
		return;
	index->n--;
	/* whoever stands behind the hole, and whose place is not between the hole and it, moves into it */
	for (hole = i; index->slots[i = (i + 1) & index->mask].item;) {
		size_t home = index->slots[i].hash & index->mask;

		if (((i - home) & index->mask) >= ((i - hole) & index->mask)) {
			index->slots[hole] = index->slots[i];
			hole = i;
		}
	}
	index->slots[hole] = (struct coord_index_slot){0};
}

void *coord_index_next(const struct coord_index *index, uint32_t hash, size_t *cursor)
{
	const struct coord_index_slot *slot;

	if (!index->slots)
		return NULL;
	for (;;) {
		slot = &index->slots[(hash + (*cursor)++) & index->mask];
		if (!slot->item || slot->hash == hash)
			return slot->item;
	}
}
