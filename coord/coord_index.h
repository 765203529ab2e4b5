/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects by a hash of something of theirs; several may have the same, up to COORD_SHARERS_MAX. Whoever looks up
 * compares the thing itself. Hashes are keyed: outsiders choose what is hashed. Adding never fails after reserving.
 * Thread: one at a time.
 */
#ifndef COORD_INDEX_H
#define COORD_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

struct coord_index_slot {
	void *item; /* NULL: empty */
	uint32_t hash;
};

/** Zeroed: empty. */
struct coord_index {
	struct coord_index_slot *slots; /* a power of two of them, a third at least empty */
	size_t n, mask;
};

void coord_index_fini(struct coord_index *index);
/** Room for @n items altogether. 0 or -ENOMEM. */
BASE_MUST_CHECK int coord_index_reserve(struct coord_index *index, size_t n);
/** False: too many have this hash, it cannot be found. Room must have been reserved. */
bool coord_index_add(struct coord_index *index, uint32_t hash, void *item);
/** Nothing if it is not there. */
void coord_index_remove(struct coord_index *index, uint32_t hash, const void *item);
/** The next item with this hash; *cursor is 0 at first. NULL: no more. */
void *coord_index_next(const struct coord_index *index, uint32_t hash, size_t *cursor);

#endif
