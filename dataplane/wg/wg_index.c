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
#define PAGE_BYTES 4096
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

static int resize(struct wg_index_table *table, uint32_t n)
{
	struct wg_index_slot *old = table->slots, *slots = slots_new(n);
	uint32_t old_mask = table->mask;

	assert(!table->from);
	if (!slots)
		return -ENOMEM;
	table->slots = slots;
	table->mask = n - 1;
	for (uint32_t i = 0; i <= old_mask; i++) {
		if (old[i].value)
			table->slots[find_slot(table, old[i].index)] = old[i];
	}
	slots_free(old, old_mask);
	return 0;
}

void wg_index_populate(struct wg_index_table *table)
{
	volatile uint8_t *bytes = (volatile uint8_t *)table->slots;

	for (size_t at = 0; at <= (size_t)table->mask * sizeof(struct wg_index_slot);
		at += PAGE_BYTES) {
		uint8_t same = bytes[at];

		bytes[at] = same;
	}
}

/* Has moved or was released while others moved: no entry, but those behind it are still found. */
static char gone;

void wg_index_move_begin(struct wg_index_table *to, struct wg_index_table *from)
{
	assert(to->count == 0 && wg_index_room(to) >= from->count && !from->from);
	to->count = to->from_left = from->count;
	to->from_at = 0;
	to->from = from->count > 0 ? from : NULL;
}

/* The slot of an entry that has not moved yet, or NULL. */
static struct wg_index_slot *find_from(const struct wg_index_table *table, uint32_t index)
{
	struct wg_index_slot *slot = &table->from->slots[find_slot(table->from, index)];

	return slot->value && slot->value != &gone ? slot : NULL;
}

void *wg_index_lookup_from(const struct wg_index_table *table, uint32_t index)
{
	const struct wg_index_slot *slot = find_from(table, index);

	return slot ? slot->value : NULL;
}

static void leave_from(struct wg_index_table *table, struct wg_index_slot *slot)
{
	slot->value = &gone;
	if (--table->from_left == 0)
		table->from = NULL;
}

bool wg_index_move_some(struct wg_index_table *to, uint32_t n)
{
	for (; to->from && n > 0; n--) {
		struct wg_index_slot *slot = &to->from->slots[to->from_at++];

		if (!slot->value || slot->value == &gone)
			continue;
		to->slots[find_slot(to, slot->index)] = *slot;
		leave_from(to, slot);
	}
	return to->from;
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
	if (!slot->value && table->from)
		slot = find_from(table, index);
	if (!slot || !slot->value)
		return false;
	slot->value = value;
	return true;
}

void wg_index_release(struct wg_index_table *table, uint32_t index)
{
	struct wg_index_slot *slots = table->slots;
	uint32_t mask = table->mask, hole = find_slot(table, index);

	if (!slots[hole].value) {
		struct wg_index_slot *slot = table->from ? find_from(table, index) : NULL;

		if (slot) {
			leave_from(table, slot);
			table->count--;
		}
		return;
	}
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
	if (mask > table->first_mask && table->count < (mask + 1) / 8 && !table->from)
		(void)resize(table, (mask + 1) / 2);
}
