/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiver indices: 32 bits, random so that outsiders cannot guess a live one, unique among all
 * handshakes and keypairs of a device. The low bits name the worker that owns the peer, so that
 * any worker knows from the header alone where a data message belongs.
 *
 * A table from index to pointer: open addressing with linear probing, at most half full. The
 * bits above the owner's are random already and serve as the hash. Deletion shifts followers
 * back, so there are no tombstones and a miss ends at the first empty slot. It grows at set-up
 * of sessions and shrinks never below its first size. Used by the thread that runs the device
 * for handshakes; each worker has one of its own for its keypairs. Thread: one at a time.
 *
 * A worker must not allocate, so its table does not grow by itself: as long as it holds fewer than
 * wg_index_room() entries a put only writes, and a larger table, made elsewhere, takes over by wg_index_move_begin().
 * Nor may it stand still for a million entries: they move a few at a time, and meanwhile each is in one of the two.
 */
#ifndef WG_INDEX_H
#define WG_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"

/** Low bits of an index that name the owner: up to 64 workers. */
#define WG_INDEX_OWNER_BITS 6
#define WG_INDEX_OWNERS_MAX (1u << WG_INDEX_OWNER_BITS)

static inline unsigned wg_index_owner(uint32_t index)
{
	return index & (WG_INDEX_OWNERS_MAX - 1);
}

/** Four to a cache line, and the array starts on one. */
struct wg_index_slot {
	void *value; /* NULL: empty */
	uint32_t index;
};

/** Visible for the inline lookup alone; only wg_index.c writes it. */
struct wg_index_table {
	struct wg_index_slot *slots;
	uint32_t mask;  /* slots - 1, a power of two less one */
	uint32_t count; /* those that have not moved here yet, too */
	uint32_t first_mask;
	/* While a smaller table's entries move here, else NULL: the table, how many are left, the next slot. */
	struct wg_index_table *from;
	uint32_t from_left, from_at;
};

/** NULL with errno. @expected: entries to make room for at once. */
struct wg_index_table *wg_index_table_new(uint32_t expected);
void wg_index_table_free(struct wg_index_table *table);

/**
 * A fresh random index with @owner in its low bits, mapped to @value (not NULL).
 * Returns 0, -EINVAL (owner out of range), -ENOMEM, -ENOSPC.
 */
BASE_MUST_CHECK int wg_index_take(
	struct wg_index_table *table, unsigned owner, void *value, uint32_t *ret_index);
/** Map a given index (a worker installs what the device took). 0, -EEXIST, -ENOMEM, -ENOSPC. */
BASE_MUST_CHECK int wg_index_put(struct wg_index_table *table, uint32_t index, void *value);
/** Change what an index maps to: a handshake's index becomes its keypair's. False if absent. */
bool wg_index_replace(struct wg_index_table *table, uint32_t index, void *value);
/** Nothing happens if it is absent. Frees no memory of a table that never grew. */
void wg_index_release(struct wg_index_table *table, uint32_t index);
/** Touch all memory that @table has or will have, so that no put waits for the kernel. Before others use it. */
void wg_index_populate(struct wg_index_table *table);
/**
 * @to, which is empty and has room for them, takes over all of @from's entries: at once to look at, in memory by
 * wg_index_move_some(). @from stays as it is until the move has ended, and is used through @to alone.
 */
void wg_index_move_begin(struct wg_index_table *to, struct wg_index_table *from);
/** Move what is in @n slots more; allocates nothing. False: it has ended, @from is nobody's. */
bool wg_index_move_some(struct wg_index_table *to, uint32_t n);
static inline bool wg_index_is_moving(const struct wg_index_table *table)
{
	return table->from != NULL;
}

/** How many entries it takes before it grows. Fixed while it does not: any thread. */
static inline uint32_t wg_index_room(const struct wg_index_table *table)
{
	return (table->mask + 1) / 2;
}

static inline uint32_t wg_index_count(const struct wg_index_table *table)
{
	return table->count;
}

/** Bring the slot of an index into the cache; a burst calls it for all before looking any up. */
static inline void wg_index_prefetch(const struct wg_index_table *table, uint32_t index)
{
	__builtin_prefetch(&table->slots[(index >> WG_INDEX_OWNER_BITS) & table->mask]);
}

/** The slow half of wg_index_lookup(). */
void *wg_index_lookup_from(const struct wg_index_table *table, uint32_t index);

/** NULL if absent. Ends, because at least half of the slots are empty. */
static inline void *wg_index_lookup(const struct wg_index_table *table, uint32_t index)
{
	uint32_t at = (index >> WG_INDEX_OWNER_BITS) & table->mask;

	while (table->slots[at].value && table->slots[at].index != index)
		at = (at + 1) & table->mask;
	if (!table->slots[at].value && table->from)
		return wg_index_lookup_from(table, index);
	return table->slots[at].value;
}

#endif
