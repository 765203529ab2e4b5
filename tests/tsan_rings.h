/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Included before everything else where the thread sanitizer is on (meson.build). Of several who put on a ring of
 * DPDK 22.11 one waits for the tail of the one before with a relaxed load, and publishes both: a reader then
 * follows the last one alone. Where this runs (x86) every load is an acquire, but the sanitizer goes by the
 * language. Here it is said in so many words, so that nothing about rings has to be suppressed.
 */
#ifndef TSAN_RINGS_H
#define TSAN_RINGS_H

#if __has_include(<rte_pause.h>)
#include <rte_pause.h>

#define rte_wait_until_equal_32(addr, expected, order)                                             \
	rte_wait_until_equal_32(addr, expected, __ATOMIC_ACQUIRE)
#endif

#endif
