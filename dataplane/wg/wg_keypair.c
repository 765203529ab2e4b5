/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rotation of a peer's three keypairs, and the slab that holds them. Rotation runs on the data
 * owner's thread, the slab on the device's. The life of a keypair is told in wg_keypair.h.
 */
#include "wg_keypair.h"

#include "base_slab.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

static void bury(struct wg_keypair *keypair, struct wg_keypair *ret_dead[], unsigned *n)
{
	if (keypair)
		ret_dead[(*n)++] = keypair;
}

unsigned wg_keypairs_begin(struct wg_keypairs *keypairs, struct wg_keypair *keypair,
	struct wg_keypair *ret_dead[WG_KEYPAIRS_DEAD_MAX])
{
	unsigned n_dead = 0;

	if (!keypair->is_initiator) {
		/* Nothing else moves: a flood of initiations without confirmation only ever
		 * replaces `next`, and current goes on working. */
		bury(keypairs->next, ret_dead, &n_dead);
		keypairs->next = keypair;
		return n_dead;
	}
	bury(keypairs->previous, ret_dead, &n_dead);
	keypairs->previous = keypairs->current;
	if (!keypairs->previous) {
		/* Initiations crossed at the very beginning: the peer may send under either, and
		 * which one is current must not depend on whose data comes first. */
		keypairs->previous = keypairs->next;
		keypairs->next = NULL;
	}
	keypairs->current = keypair;
	keypair->is_confirmed = true;
	return n_dead;
}

unsigned wg_keypairs_confirm(struct wg_keypairs *keypairs, struct wg_keypair *keypair,
	struct wg_keypair *ret_dead[WG_KEYPAIRS_DEAD_MAX], bool *ret_is_first)
{
	unsigned n_dead = 0;

	keypair->is_confirmed = true;
	*ret_is_first = keypair == keypairs->next;
	if (*ret_is_first) {
		bury(keypairs->previous, ret_dead, &n_dead);
		keypairs->previous = keypairs->current;
		keypairs->current = keypair;
		keypairs->next = NULL;
	}
	return n_dead;
}

unsigned wg_keypairs_clear(
	struct wg_keypairs *keypairs, struct wg_keypair *ret_dead[WG_KEYPAIRS_DEAD_MAX])
{
	unsigned n_dead = 0;

	bury(keypairs->current, ret_dead, &n_dead);
	bury(keypairs->previous, ret_dead, &n_dead);
	bury(keypairs->next, ret_dead, &n_dead);
	*keypairs = (struct wg_keypairs){0};
	return n_dead;
}

/*
 * Chunks are as large as they are aligned, so that the chunk of a keypair is a mask away. A chunk is
 * on one of two lists: `open` (has room) or `full`. Chunks themselves lie on huge pages, for which keypair is read next
 * is up to who sends.
 */
#define CHUNK_BYTES 32768
#define CHUNK_HEADER_BYTES 64
#define CHUNK_KEYPAIRS ((CHUNK_BYTES - CHUNK_HEADER_BYTES) / sizeof(struct wg_keypair))
#define CHUNK_FULL ((UINT32_C(1) << CHUNK_KEYPAIRS) - 1)
static_assert(CHUNK_KEYPAIRS >= 16 && CHUNK_KEYPAIRS < 32, "used fits a word");

struct chunk {
	struct chunk *next;
	struct chunk **link; /* what points to this chunk */
	uint32_t used;       /* one bit per keypair */
	struct wg_keypair keypairs[] __attribute__((aligned(CHUNK_HEADER_BYTES)));
};
static_assert(offsetof(struct chunk, keypairs) == CHUNK_HEADER_BYTES, "as CHUNK_KEYPAIRS counts");

struct wg_slab {
	struct base_slab pages; /* of chunks */
	struct chunk *open;
	struct chunk *full;
	size_t n_chunks;
	size_t n_empty; /* of the open ones; at most one is kept */
	size_t n_out;
};

static void chunk_link(struct chunk **list, struct chunk *chunk)
{
	chunk->next = *list;
	chunk->link = list;
	if (chunk->next)
		chunk->next->link = &chunk->next;
	*list = chunk;
}

static void chunk_unlink(struct chunk *chunk)
{
	*chunk->link = chunk->next;
	if (chunk->next)
		chunk->next->link = chunk->link;
}

static struct chunk *chunk_new(struct wg_slab *slab)
{
	struct chunk *chunk = base_slab_take(&slab->pages);

	if (!chunk)
		return NULL;
	memset(chunk, 0, CHUNK_BYTES);
	chunk_link(&slab->open, chunk);
	slab->n_chunks++;
	slab->n_empty++;
	return chunk;
}

static void chunk_free(struct wg_slab *slab, struct chunk *chunk)
{
	base_wipe(chunk, CHUNK_BYTES);
	base_slab_give(&slab->pages, chunk);
}

static void chunks_free(struct wg_slab *slab, struct chunk *chunk)
{
	while (chunk) {
		struct chunk *next = chunk->next;

		chunk_free(slab, chunk);
		chunk = next;
	}
}

struct wg_slab *wg_slab_new(void)
{
	struct wg_slab *slab = calloc(1, sizeof(*slab));

	if (slab)
		base_slab_init(&slab->pages, CHUNK_BYTES);
	return slab;
}

void wg_slab_free(struct wg_slab *slab)
{
	if (!slab)
		return;
	chunks_free(slab, slab->open);
	chunks_free(slab, slab->full);
	base_slab_fini(&slab->pages);
	free(slab);
}

struct wg_keypair *wg_slab_take(struct wg_slab *slab)
{
	struct chunk *chunk = slab->open ? slab->open : chunk_new(slab);
	unsigned i;

	if (!chunk)
		return NULL;
	if (!chunk->used)
		slab->n_empty--;
	i = (unsigned)__builtin_ctz(~chunk->used);
	chunk->used |= UINT32_C(1) << i;
	if (chunk->used == CHUNK_FULL) {
		chunk_unlink(chunk);
		chunk_link(&slab->full, chunk);
	}
	slab->n_out++;
	return &chunk->keypairs[i];
}

void wg_slab_give(struct wg_slab *slab, struct wg_keypair *keypair)
{
	struct chunk *chunk = (struct chunk *)((uintptr_t)keypair & ~(uintptr_t)(CHUNK_BYTES - 1));
	uint32_t bit = UINT32_C(1) << (keypair - chunk->keypairs);

	assert(chunk->used & bit);
	base_wipe(keypair, sizeof(*keypair));
	if (chunk->used == CHUNK_FULL) {
		chunk_unlink(chunk);
		chunk_link(&slab->open, chunk);
	}
	chunk->used &= ~bit;
	slab->n_out--;
	if (chunk->used)
		return;
	if (slab->n_empty == 0) {
		slab->n_empty = 1;
		return;
	}
	chunk_unlink(chunk);
	chunk_free(slab, chunk);
	slab->n_chunks--;
}

void wg_slab_usage(const struct wg_slab *slab, size_t *ret_keypairs, size_t *ret_bytes)
{
	*ret_keypairs = slab->n_out;
	*ret_bytes = sizeof(*slab) + slab->n_chunks * CHUNK_BYTES;
}
