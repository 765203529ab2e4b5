/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory on huge pages (base_huge.h). Any thread. */
#include "base_huge.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE_BYTES 64

/* For whoever counts: relaxed. */
static _Atomic size_t mapped_bytes;

static size_t round_up(size_t bytes, size_t unit)
{
	return (bytes + unit - 1) / unit * unit;
}

/* Less than a huge page is left to malloc(). */
static bool is_mapped(size_t bytes)
{
	return !BASE_HUGE_IS_OFF && bytes >= BASE_HUGE_PAGE_BYTES;
}

static void *small_new(size_t bytes)
{
	size_t rounded = round_up(bytes, CACHE_LINE_BYTES);
	void *memory = aligned_alloc(CACHE_LINE_BYTES, rounded);

	if (memory)
		memset(memory, 0, rounded);
	return memory;
}

/* One page more than needed is mapped, and what is not aligned is cut off at both ends. */
static void *mapped_new(size_t bytes)
{
	size_t more = bytes + BASE_HUGE_PAGE_BYTES, before;
	uint8_t *memory =
		mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		errno = ENOMEM;
		return NULL;
	}
	before = round_up((uintptr_t)memory, BASE_HUGE_PAGE_BYTES) - (uintptr_t)memory;
	if (before)
		munmap(memory, before);
	memory += before;
	if (more - before > bytes)
		munmap(memory + bytes, more - before - bytes);
	/* A kernel without them says no, and ordinary pages do. */
	(void)madvise(memory, bytes, MADV_HUGEPAGE);
	atomic_fetch_add_explicit(&mapped_bytes, bytes, memory_order_relaxed);
	return memory;
}

void *base_huge_new(size_t bytes)
{
	if (bytes > SIZE_MAX / 2) {
		errno = ENOMEM;
		return NULL;
	}
	if (!is_mapped(bytes))
		return small_new(bytes);
	return mapped_new(round_up(bytes, BASE_HUGE_PAGE_BYTES));
}

void base_huge_free(void *memory, size_t bytes)
{
	if (!memory || !is_mapped(bytes)) {
		free(memory);
		return;
	}
	bytes = round_up(bytes, BASE_HUGE_PAGE_BYTES);
	munmap(memory, bytes);
	atomic_fetch_sub_explicit(&mapped_bytes, bytes, memory_order_relaxed);
}

size_t base_huge_usage(void)
{
	return atomic_load_explicit(&mapped_bytes, memory_order_relaxed);
}
