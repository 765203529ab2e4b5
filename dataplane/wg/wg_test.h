/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the suites of this folder share: cmocka's headers in their order, and random numbers
 * from a seed that is printed. WG_TEST_SEED=n repeats a run.
 */
#ifndef WG_TEST_H
#define WG_TEST_H

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static uint64_t test_random_state;

/* Print the seed of this run. */
static inline void test_seed(void)
{
	const char *text = getenv("WG_TEST_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

	printf("WG_TEST_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	test_random_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* SplitMix64 (Steele, Lea, Flood 2014), upper half. */
static inline uint32_t test_random(void)
{
	uint64_t x = test_random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint32_t)((x ^ x >> 31) >> 32);
}

#endif
