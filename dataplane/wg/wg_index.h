/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Receiver indices: 32 bits, random so that outsiders cannot guess a live one, unique among all
 * handshakes and keypairs of a device. The low bits name the worker that owns the peer, so that
 * any worker knows from the header alone where a data message belongs.
 *
 * A table from index to pointer: open addressing, grows at set-up of sessions and shrinks never
 * below its first size. Used by the thread that runs the device for handshakes; each worker has
 * one of its own for its keypairs. Thread: one at a time.
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

struct wg_index_table;

/** NULL with errno. @expected: entries to make room for at once. */
struct wg_index_table *wg_index_table_new(uint32_t expected);
void wg_index_table_free(struct wg_index_table *table);

/** A fresh random index with @owner in its low bits, mapped to @value. 0 or -ENOMEM, -ENOSPC. */
BASE_MUST_CHECK int wg_index_take(
	struct wg_index_table *table, unsigned owner, void *value, uint32_t *ret_index);
/** Map a given index (a worker installs what the device took). 0, -EEXIST, -ENOMEM. */
BASE_MUST_CHECK int wg_index_put(struct wg_index_table *table, uint32_t index, void *value);
/** Change what an index maps to: a handshake's index becomes its keypair's. False if absent. */
bool wg_index_replace(struct wg_index_table *table, uint32_t index, void *value);
/** NULL if absent. */
void *wg_index_lookup(const struct wg_index_table *table, uint32_t index);
/** Bring the slot of an index into the cache; a burst calls it for all before looking any up. */
void wg_index_prefetch(const struct wg_index_table *table, uint32_t index);
void wg_index_release(struct wg_index_table *table, uint32_t index);
uint32_t wg_index_count(const struct wg_index_table *table);

#endif
