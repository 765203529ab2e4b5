/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writing half of the index table. Thread: one at a time (the device's, or a worker's for
 * its own table). The lookup is inline in wg_index.h.
 */
#include "wg_index.h"

#include "base_huge.h"
#include "cr_noise.h"

#include <assert.h>
#include <stdlib.h>

#define SLOTS_MIN 16
/* An owner has 2^26 indices; a quarter of them in use still lets a random draw hit a free one. */
#define ENTRIES_MAX (UINT32_C(1) << 24)

static_assert(sizeof(struct wg_index_slot) == 16, "four to a cache line");

static struct wg_index_slot *slots_new(uint32_t n)
{
	return base_huge_new((size_t)n * sizeof(struct wg_index_slot));
}

static void slots_free(struct wg_index_slot *slots, uint32_t mask)
{
	base_huge_free(slots, ((size_t)mask + 1) * sizeof(struct wg_index_slot));
}

struct wg_index_table *wg_index_table_new(uint32_t expected)
{
	struct wg_index_table *table;
	uint32_t n = SLOTS_MIN;

	if (expected > ENTRIES_MAX) {
		errno = EINVAL;
		return NULL;
	}
	while (n < 2 * expected)
		n *= 2;
	table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->slots = slots_new(n);
	if (!table->slots) {
		free(table);
		return NULL;
	}
	table->mask = table->first_mask = n - 1;
	return table;
}

void wg_index_table_free(struct wg_index_table *table)
{
	if (!table)
		return;
	slots_free(table->slots, table->mask);
	free(table);
}

static uint32_t home_slot(const struct wg_index_table *table, uint32_t index)
{
	return (index >> WG_INDEX_OWNER_BITS) & table->mask;
}

/* The slot that holds @index, or the empty one where it would go. */
static uint32_t find_slot(const struct wg_index_table *table, uint32_t index)
{
	uint32_t at = home_slot(table, index);

	while (table->slots[at].value && table->slots[at].index != index)
		at = (at + 1) & table->mask;
	return at;
}

static void put_all(struct wg_index_table *table, const struct wg_index_slot *from, uint32_t mask)
{
	for (uint32_t i = 0; i <= mask; i++) {
		if (from[i].value)
			table->slots[find_slot(table, from[i].index)] = from[i];
	}
}

static int resize(struct wg_index_table *table, uint32_t n)
{
	struct wg_index_slot *old = table->slots, *slots = slots_new(n);
	uint32_t old_mask = table->mask;

	if (!slots)
		return -ENOMEM;
	table->slots = slots;
	table->mask = n - 1;
	put_all(table, old, old_mask);
	slots_free(old, old_mask);
	return 0;
}

void wg_index_move(struct wg_index_table *to, const struct wg_index_table *from)
{
	assert(to->count == 0 && wg_index_room(to) >= from->count);
	put_all(to, from->slots, from->mask);
	to->count = from->count;
}

int wg_index_put(struct wg_index_table *table, uint32_t index, void *value)
{
	assert(value);
	if (wg_index_lookup(table, index))
		return -EEXIST;
	if (table->count >= ENTRIES_MAX)
		return -ENOSPC;
	if (table->count >= wg_index_room(table)) {
		int rc = resize(table, 2 * (table->mask + 1));

		if (rc < 0)
			return rc;
	}
	table->slots[find_slot(table, index)] =
		(struct wg_index_slot){.value = value, .index = index};
	table->count++;
	return 0;
}

int wg_index_take(struct wg_index_table *table, unsigned owner, void *value, uint32_t *ret_index)
{
	uint32_t index;
	int rc;

	if (owner >= WG_INDEX_OWNERS_MAX)
		return -EINVAL;
	/* Ends: ENTRIES_MAX leaves at least three of four draws free, so 2^-64 after 32 of them. */
	do {
		cr_random_public(&index, sizeof(index));
		index = (index & ~(WG_INDEX_OWNERS_MAX - 1)) | owner;
		rc = wg_index_put(table, index, value);
	} while (rc == -EEXIST);
	if (rc == 0)
		*ret_index = index;
	return rc;
}

bool wg_index_replace(struct wg_index_table *table, uint32_t index, void *value)
{
	struct wg_index_slot *slot = &table->slots[find_slot(table, index)];

	assert(value);
	if (!slot->value)
		return false;
	slot->value = value;
	return true;
}

void wg_index_release(struct wg_index_table *table, uint32_t index)
{
	struct wg_index_slot *slots = table->slots;
	uint32_t mask = table->mask, hole = find_slot(table, index);

	if (!slots[hole].value)
		return;
	/* Backward shift: an entry behind the hole moves into it unless its home lies after the hole. */
	for (uint32_t at = (hole + 1) & mask; slots[at].value; at = (at + 1) & mask) {
		uint32_t from_home = (at - home_slot(table, slots[at].index)) & mask;

		if (from_home >= ((at - hole) & mask)) {
			slots[hole] = slots[at];
			hole = at;
		}
	}
	slots[hole] = (struct wg_index_slot){0};
	table->count--;
	/* Shrinking may fail for want of memory: then the table stays as it is, which is correct too. */
	if (mask > table->first_mask && table->count < (mask + 1) / 8)
		(void)resize(table, (mask + 1) / 2);
}
