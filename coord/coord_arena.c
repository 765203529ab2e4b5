/* SPDX-License-Identifier: BSD-3-Clause */
/* Chunks that grow with what is asked for; see coord_arena.h. */
#include "coord_arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES 512
#define CHUNK_BYTES_MAX (64u << 10)

struct chunk {
	struct chunk *next;
	size_t size, used;
	alignas(max_align_t) unsigned char bytes[];
};

struct coord_arena {
	struct chunk *chunks; /* the newest first */
	size_t bytes;
};

struct coord_arena *coord_arena_new(void)
{
	return calloc(1, sizeof(struct coord_arena));
}

void coord_arena_free(struct coord_arena *arena)
{
	struct chunk *chunk, *next;

	if (!arena)
		return;
	for (chunk = arena->chunks; chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(arena);
}

/* A chunk that has room for @size; what is left of the one before is given up. */
static struct chunk *chunk_with_room(struct coord_arena *arena, size_t size)
{
	struct chunk *chunk = arena->chunks;
	size_t chunk_size;

	if (chunk && size <= chunk->size - chunk->used)
		return chunk;
	chunk_size = chunk ? 2 * chunk->size : FIRST_BYTES;
	if (chunk_size > CHUNK_BYTES_MAX)
		chunk_size = CHUNK_BYTES_MAX;
	if (chunk_size < size)
		chunk_size = size;
	if (chunk_size > SIZE_MAX - sizeof(*chunk)) {
		errno = ENOMEM;
		return NULL;
	}
	chunk = malloc(sizeof(*chunk) + chunk_size);
	if (!chunk)
		return NULL;
	*chunk = (struct chunk){.next = arena->chunks, .size = chunk_size};
	arena->chunks = chunk;
	arena->bytes += sizeof(*chunk) + chunk_size;
	return chunk;
}

void *coord_arena_get(struct coord_arena *arena, size_t size)
{
	struct chunk *chunk;
	void *memory;

	if (size > SIZE_MAX - alignof(max_align_t)) {
		errno = ENOMEM;
		return NULL;
	}
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (size == 0)
		size = alignof(max_align_t);
	chunk = chunk_with_room(arena, size);
	if (!chunk)
		return NULL;
	memory = chunk->bytes + chunk->used;
	chunk->used += size;
	return memset(memory, 0, size);
}

void *coord_arena_array(struct coord_arena *arena, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return coord_arena_get(arena, bytes);
}

char *coord_arena_text(struct coord_arena *arena, const char *text, size_t len)
{
	char *copy = len < SIZE_MAX ? coord_arena_get(arena, len + 1) : NULL;

	return copy ? memcpy(copy, text, len) : NULL;
}

size_t coord_arena_bytes(const struct coord_arena *arena)
{
	return arena ? sizeof(*arena) + arena->bytes : 0;
}
