/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The yardstick of every ratio: what ipsec-mb itself costs on this core, now, in this process.
 * One thread. Read bench_aead.c for a use, README.md for the method.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include <stdint.h>
#include <x86intrin.h>

enum bench_op { BENCH_SEAL, BENCH_OPEN };

static inline const char *bench_op_name(enum bench_op op)
{
	return op == BENCH_SEAL ? "seal" : "open";
}

/** Time stamp counter, not before earlier loads are done. */
static inline uint64_t bench_tsc(void)
{
	unsigned aux;

	return __rdtscp(&aux);
}

/** Bytes that WireGuard seals for an inner packet: padded to a multiple of 16 (paper 5.4.6). */
static inline uint32_t bench_padded_bytes(uint32_t size)
{
	return (size + 15) / 16 * 16;
}

/** The middle one of @n values, which are sorted in place. @n >= 1. */
double bench_median(double *values, unsigned n);

/** ipsec-mb set up for one operation and length, with the burst size that is best here. */
struct bench_raw;

/**
 * Raw ipsec-mb for @len bytes of plaintext: its burst call without parameter checks, one key,
 * job fields that never change, in place, buffers hot, no comparing of tags. Tries bursts of 1
 * to 64, which takes 0.1 to 0.3 s.
 * Returns NULL with errno: ENOMEM, or ENOTSUP when ipsec-mb cannot work here.
 */
struct bench_raw *bench_raw_new(enum bench_op op, uint32_t len);
void bench_raw_free(struct bench_raw *raw);

/**
 * Cycles (TSC) per packet of one round of 2,048. Take a round of each thing compared in turn, and
 * the median of the ratios: a core that changes its clock then changes it for both.
 */
double bench_raw_round(struct bench_raw *raw);

/** The median of 15 rounds, for a caller that has nothing to take turns with. Negative: failed. */
double bench_raw_cycles(enum bench_op op, uint32_t len);

#endif
