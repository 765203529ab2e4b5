/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects of one size (base_slab.h). Thread: one at a time. */
#include "base_slab.h"

#include "base_huge.h"

#include <stdint.h>
#include <stdlib.h>

/*
 * At the end of its huge page, so that objects begin where the page does and are aligned as it is; the chunk of
 * an object is a mask away. Objects that were never given out are told by a number, the others
 * are linked through themselves.
 */
struct base_slab_chunk {
	struct base_slab_chunk *next, **link; /* of its list; what points to this chunk */
	void *free;
	size_t n_used;
	size_t n_touched; /* given out at least once */
};

static uint8_t *chunk_begin(struct base_slab_chunk *chunk)
{
	return (uint8_t *)((uintptr_t)chunk & ~(uintptr_t)(BASE_HUGE_PAGE_BYTES - 1));
}

static struct base_slab_chunk *chunk_at(const void *anywhere)
{
	uintptr_t begin = (uintptr_t)anywhere & ~(uintptr_t)(BASE_HUGE_PAGE_BYTES - 1);

	return (struct base_slab_chunk *)(begin + BASE_HUGE_PAGE_BYTES -
		sizeof(struct base_slab_chunk));
}

static void chunk_link(struct base_slab_chunk **list, struct base_slab_chunk *chunk)
{
	chunk->next = *list;
	chunk->link = list;
	if (chunk->next)
		chunk->next->link = &chunk->next;
	*list = chunk;
}

static void chunk_unlink(struct base_slab_chunk *chunk)
{
	*chunk->link = chunk->next;
	if (chunk->next)
		chunk->next->link = chunk->link;
}

static struct base_slab_chunk *chunk_new(struct base_slab *slab)
{
	void *page = base_huge_new(BASE_HUGE_PAGE_BYTES);
	struct base_slab_chunk *chunk;

	if (!page)
		return NULL;
	chunk = chunk_at(page);
	chunk_link(&slab->open, chunk);
	slab->n_chunks++;
	slab->n_empty++;
	return chunk;
}

static void chunk_free(struct base_slab *slab, struct base_slab_chunk *chunk)
{
	chunk_unlink(chunk);
	base_huge_free(chunk_begin(chunk), BASE_HUGE_PAGE_BYTES);
	slab->n_chunks--;
}

void base_slab_init(struct base_slab *slab, size_t object_bytes)
{
	*slab = (struct base_slab){
		.object_bytes = object_bytes,
		.per_chunk = (BASE_HUGE_PAGE_BYTES - sizeof(struct base_slab_chunk)) / object_bytes,
	};
}

void base_slab_fini(struct base_slab *slab)
{
	while (slab->open)
		chunk_free(slab, slab->open);
	while (slab->full)
		chunk_free(slab, slab->full);
}

static void *chunk_take(struct base_slab *slab, struct base_slab_chunk *chunk)
{
	void *object = chunk->free;

	if (object)
		chunk->free = *(void **)object;
	else
		object = chunk_begin(chunk) + slab->object_bytes * chunk->n_touched++;
	if (++chunk->n_used == slab->per_chunk) {
		chunk_unlink(chunk);
		chunk_link(&slab->full, chunk);
	}
	return object;
}

void *base_slab_take(struct base_slab *slab)
{
	struct base_slab_chunk *chunk;

	if (BASE_HUGE_IS_OFF)
		return aligned_alloc(slab->object_bytes & -slab->object_bytes, slab->object_bytes);
	chunk = slab->open ? slab->open : chunk_new(slab);
	if (!chunk)
		return NULL;
	if (chunk->n_used == 0)
		slab->n_empty--;
	return chunk_take(slab, chunk);
}

void base_slab_give(struct base_slab *slab, void *object)
{
	struct base_slab_chunk *chunk = chunk_at(object);

	if (BASE_HUGE_IS_OFF) {
		free(object);
		return;
	}
	if (chunk->n_used == slab->per_chunk) {
		chunk_unlink(chunk);
		chunk_link(&slab->open, chunk);
	}
	*(void **)object = chunk->free;
	chunk->free = object;
	if (--chunk->n_used > 0)
		return;
	if (slab->n_empty == 0)
		slab->n_empty = 1;
	else
		chunk_free(slab, chunk);
}
