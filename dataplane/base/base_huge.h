/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Zeroed memory for large tables that are read at random: on pages of 2 MiB where the kernel has them for those
 * who ask (transparent_hugepage: madvise or always), else on ordinary ones. On pages of 4 KiB each
 * random access to a table of many megabytes misses the TLB as well as the cache. Any thread.
 */
#ifndef BASE_HUGE_H
#define BASE_HUGE_H

#include <stddef.h>

#define BASE_HUGE_PAGE_BYTES ((size_t)2 << 20)

/*
 * The address sanitizer knows what malloc() gave and what free() took, nothing of parts of a mapping: with
 * it everything comes from there, so that a use after the end is found.
 */
#if defined(__SANITIZE_ADDRESS__)
#define BASE_HUGE_IS_OFF 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BASE_HUGE_IS_OFF 1
#endif
#endif
#ifndef BASE_HUGE_IS_OFF
#define BASE_HUGE_IS_OFF 0
#endif

/**
 * @bytes of zeroes, aligned to a cache line, and to a huge page if there are as many as one holds. NULL with errno ENOMEM.
 */
void *base_huge_new(size_t bytes);
/** As many as were asked for. NULL is fine. */
void base_huge_free(void *memory, size_t bytes);
/** Bytes that this process has mapped this way. */
size_t base_huge_usage(void);

#endif
