/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Time. Inside the program time is a uint64_t of monotonic nanoseconds, in variables that end in
 * _ns; 0 means "never". Only mains and thread loops read the clock, once per round; everything
 * below takes `now_ns` as an argument, so that tests own time.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define BASE_NS_PER_US UINT64_C(1000)
#define BASE_NS_PER_MS UINT64_C(1000000)
#define BASE_NS_PER_S UINT64_C(1000000000)
/** No deadline. */
#define BASE_NEVER_NS UINT64_MAX

/** Monotonic nanoseconds (CLOCK_MONOTONIC); never 0. */
static inline uint64_t base_clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * BASE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/** Nanoseconds since 1970 (CLOCK_REALTIME): for people and for TAI64N, never for durations. */
static inline uint64_t base_clock_unix_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * BASE_NS_PER_S + (uint64_t)ts.tv_nsec;
}

#endif
