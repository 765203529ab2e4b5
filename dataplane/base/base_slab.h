/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many objects of one size, out of chunks of one huge page (base_huge.h): two objects of a hundred thousand seldom
 * share a small page, but all of them fit few huge ones. A chunk that is wholly free goes back to
 * the system, but for one. Thread: one at a time.
 */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>

struct base_slab_chunk;

struct base_slab {
	size_t object_bytes;
	size_t per_chunk;
	struct base_slab_chunk *open; /* with room */
	struct base_slab_chunk *full;
	size_t n_chunks;
	size_t n_empty; /* of the open ones; at most one is kept */
};

/**
 * @object_bytes: a multiple of 8, at most a quarter of a huge page; the largest power of two that divides it is what objects
 * are aligned to. Allocates nothing.
 */
void base_slab_init(struct base_slab *slab, size_t object_bytes);
/** Frees all chunks, also of objects still out; not initialised but zeroed is fine. */
void base_slab_fini(struct base_slab *slab);
/** An object with whatever is in it, or NULL with errno ENOMEM. */
void *base_slab_take(struct base_slab *slab);
/** Give back; what it holds is overwritten in part only: wipe it before. */
void base_slab_give(struct base_slab *slab, void *object);

#endif
