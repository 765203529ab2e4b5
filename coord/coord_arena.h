/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is given back all at once: the parts of a map that are replaced as a whole (rules, names, relays).
 * Thread: one at a time.
 */
#ifndef COORD_ARENA_H
#define COORD_ARENA_H

#include <stddef.h>

struct coord_arena;

/** NULL with errno. */
struct coord_arena *coord_arena_new(void);
/** And all that came from it; NULL is fine. */
void coord_arena_free(struct coord_arena *arena);
/** Zeroed, aligned for any type; never NULL for a size of 0. NULL with errno: no memory. */
void *coord_arena_get(struct coord_arena *arena, size_t size);
/** @n of @size each; NULL with errno, also when the product does not fit. */
void *coord_arena_array(struct coord_arena *arena, size_t n, size_t size);
/** A copy of @len bytes with a NUL behind them. */
char *coord_arena_text(struct coord_arena *arena, const char *text, size_t len);
/** What it took from the heap. */
size_t coord_arena_bytes(const struct coord_arena *arena);

#endif
