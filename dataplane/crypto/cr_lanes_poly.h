/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poly1305 (RFC 8439, 2.5) for eight packets side by side, in the 64-bit lanes of a register; two
 * such halves make the sixteen packets of cr_lanes_chacha.h. Half 0 has packets 0, 1, 4, 5, 8, 9,
 * 12, 13, half 1 has 2, 3, 6, 7, 10, 11, 14, 15: that is how the words of a ChaCha20 block pair up
 * without being moved (poly_lane_of()).
 *
 * A number below 2^132 or so is three limbs of 44 bits, each in a register of its own:
 *
 *   value = limb[0] + 2^44 limb[1] + 2^88 limb[2]         (2^130 = 5, thus 2^132 = 20)
 *
 * IFMA multiplies 52 by 52 bits and adds the low or the high 52 bits of the product. A low half
 * counts for limb i + j; a high half for limb i + j + 1, eight bits up (44 + 8 = 52).
 *
 * The accumulator of the RFC, (acc + block) * r for each block, is kept one step earlier, as
 * x = acc + block, still to be multiplied: a step is x = x * r + next block, and the block comes
 * in as what the products are added to, for nothing. The last step adds no block.
 *
 * Bounds, for every input: r[0], r[1] < 2^44, r[2] < 2^36 (clamped; powers of r: each limb below
 * 2^44 + 2^15, like x); x[i] < 2^44 + 2^15 after poly_carry(); blocks < 2^44 each. With up to
 * twelve products in a sum (poly_four_blocks()): low sums < 2^55.6, high sums < 2^45, sums of high
 * halves that wrap around < 12 * 2^36.001, so times 5120 below 2^52; carries < 2^12.
 *
 * Steps of cr_lanes.c, inline, with the count of their vector operations; no state.
 */
#ifndef CR_LANES_POLY_H
#define CR_LANES_POLY_H

#include "cr_lanes_chacha.h"

#include <stdbool.h>
#include <stdint.h>

#define POLY_LIMB_BITS 44
#define POLY_LIMB_MASK ((INT64_C(1) << POLY_LIMB_BITS) - 1)
/** Above the 16 bytes of a block lies a bit (RFC 8439, 2.5.1, step 2): 2^128, in limb 2. */
#define POLY_HIGH_BIT (INT64_C(1) << (128 - 2 * POLY_LIMB_BITS))
/** A multiplier: r, or a power of it. */
struct poly_key {
	__m512i r[3];
	__m512i r20[3]; /* times 20, for products that wrap around; [0] is not used */
};

/** Eight packets. Secret: to be wiped. */
struct poly_half {
	struct poly_key r;
	__m512i s[2]; /* low and high 64 bits */
	__m512i x[3]; /* between two phases of cr_lanes.c; within one it is in registers */
};

/** For poly_four_blocks(): r^2, r^3, r^4. Secret: to be wiped. */
struct poly_powers {
	struct poly_key power[3];
};

/** What products add up to. */
struct poly_sum {
	__m512i low[3], high[3];
};

/** Which packet is element @e (0-7) of half @half. */
static inline unsigned poly_lane_of(unsigned half, unsigned e)
{
	return e / 2 * 4 + 2 * half + e % 2;
}

/** One block of 16 bytes (two words of 64 bits) as limbs, without the bit above. 5 operations. */
CR_LANES_STEP void poly_limbs(__m512i ret[3], __m512i low, __m512i high)
{
	const __m512i mask = _mm512_set1_epi64(POLY_LIMB_MASK);

	ret[0] = _mm512_and_si512(low, mask);
	/* 0xa8: (a | b) & mask */
	ret[1] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(low, POLY_LIMB_BITS),
		_mm512_slli_epi64(high, 64 - POLY_LIMB_BITS), mask, 0xa8);
	ret[2] = _mm512_srli_epi64(high, 2 * POLY_LIMB_BITS - 64);
}

/** Add x * key to @sum: 18 operations. */
CR_LANES_STEP void poly_multiply(
	struct poly_sum *sum, const __m512i x[3], const struct poly_key *key)
{
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 3; i++) {
		CR_LANES_UNROLL
		for (unsigned j = 0; j < 3; j++) {
			const __m512i *by = i + j < 3 ? &key->r[j] : &key->r20[j];
			unsigned to = (i + j) % 3;

			sum->low[to] = _mm512_madd52lo_epu64(sum->low[to], x[i], *by);
			sum->high[to] = _mm512_madd52hi_epu64(sum->high[to], x[i], *by);
		}
	}
}

/** What a sum begins with: the limbs of the next block, and its bit above if @with_bit. */
CR_LANES_STEP struct poly_sum poly_sum_from(const __m512i block[3], bool with_bit)
{
	const __m512i zero = _mm512_setzero_si512();

	return (struct poly_sum){
		.low = {block[0], block[1], block[2]},
		/* High sums count eight bits up: 2^32 here is 2^40 in limb 2. */
		.high = {zero, with_bit ? _mm512_set1_epi64(POLY_HIGH_BIT >> 8) : zero, zero},
	};
}

/**
 * A sum as three limbs again: high halves to their places, then one carry of all three limbs at
 * once, of which limb 2's wraps around. 14 operations.
 */
CR_LANES_STEP void poly_carry(__m512i ret[3], const struct poly_sum *sum)
{
	const __m512i mask = _mm512_set1_epi64(POLY_LIMB_MASK);
	const __m512i twenty = _mm512_set1_epi64(20), wrap = _mm512_set1_epi64(20 << 8);
	__m512i limb0 = _mm512_madd52lo_epu64(sum->low[0], sum->high[2], wrap);
	__m512i limb1 = _mm512_add_epi64(sum->low[1], _mm512_slli_epi64(sum->high[0], 8));
	__m512i limb2 = _mm512_add_epi64(sum->low[2], _mm512_slli_epi64(sum->high[1], 8));

	ret[0] = _mm512_madd52lo_epu64(
		_mm512_and_si512(limb0, mask), _mm512_srli_epi64(limb2, POLY_LIMB_BITS), twenty);
	ret[1] = _mm512_add_epi64(
		_mm512_and_si512(limb1, mask), _mm512_srli_epi64(limb0, POLY_LIMB_BITS));
	ret[2] = _mm512_add_epi64(
		_mm512_and_si512(limb2, mask), _mm512_srli_epi64(limb1, POLY_LIMB_BITS));
}

/** @key from limbs below 2^44 + 2^15. 2 operations. */
CR_LANES_STEP void poly_key_set(struct poly_key *key, const __m512i r[3])
{
	const __m512i zero = _mm512_setzero_si512(), twenty = _mm512_set1_epi64(20);

	key->r[0] = r[0];
	key->r[1] = r[1];
	key->r[2] = r[2];
	key->r20[1] = _mm512_madd52lo_epu64(zero, r[1], twenty);
	key->r20[2] = _mm512_madd52lo_epu64(zero, r[2], twenty);
}

/** r and s (RFC 8439, 2.5.1, 2.6) from 32 bytes as four words of 64 bits. 9 operations. */
CR_LANES_STEP void poly_begin(struct poly_half *half, const __m512i word[4])
{
	const __m512i clamp_low = _mm512_set1_epi64(INT64_C(0x0ffffffc0fffffff));
	const __m512i clamp_high = _mm512_set1_epi64(INT64_C(0x0ffffffc0ffffffc));
	__m512i r[3];

	poly_limbs(r, _mm512_and_si512(word[0], clamp_low), _mm512_and_si512(word[1], clamp_high));
	poly_key_set(&half->r, r);
	half->s[0] = word[2];
	half->s[1] = word[3];
	half->x[0] = half->x[1] = half->x[2] = _mm512_setzero_si512();
}

/** 102 operations: pays from the third full block of 64 bytes on. */
CR_LANES_STEP void poly_powers_set(struct poly_powers *powers, const struct poly_key *r)
{
	const __m512i zero[3] = {
		_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};

	for (unsigned i = 0; i < 3; i++) {
		struct poly_sum sum = poly_sum_from(zero, false);
		__m512i next[3];

		poly_multiply(&sum, i == 0 ? r->r : powers->power[i - 1].r, r);
		poly_carry(next, &sum);
		poly_key_set(&powers->power[i], next);
	}
}

/** One block in every lane: x = x * r + block. 37 operations. */
CR_LANES_STEP void poly_block(__m512i x[3], const struct poly_key *r, __m512i low, __m512i high)
{
	struct poly_sum sum;
	__m512i block[3];

	poly_limbs(block, low, high);
	sum = poly_sum_from(block, true);
	poly_multiply(&sum, x, r);
	poly_carry(x, &sum);
}

/** The same in the lanes of @mask; the others stay as they are. 40 operations. */
CR_LANES_STEP void poly_block_masked(
	__m512i x[3], const struct poly_key *r, __mmask8 mask, __m512i low, __m512i high)
{
	__m512i next[3] = {x[0], x[1], x[2]};

	poly_block(next, r, low, high);
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 3; i++)
		x[i] = _mm512_mask_mov_epi64(x[i], mask, next[i]);
}

/**
 * Four blocks at once: x * r^4 + b0 * r^3 + b1 * r^2 + b2 * r + b3, with one carry for all.
 * 109 operations; four of poly_block() are 148.
 */
CR_LANES_STEP void poly_four_blocks(__m512i x[3], const struct poly_key *r,
	const struct poly_powers *powers, const __m512i low[4], const __m512i high[4])
{
	struct poly_sum sum;
	__m512i block[3];

	poly_limbs(block, low[3], high[3]);
	sum = poly_sum_from(block, true);
	poly_multiply(&sum, x, &powers->power[2]);
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 3; i++) {
		poly_limbs(block, low[i], high[i]);
		block[2] = _mm512_or_si512(block[2], _mm512_set1_epi64(POLY_HIGH_BIT));
		poly_multiply(&sum, block, i < 2 ? &powers->power[1 - i] : r);
	}
	poly_carry(x, &sum);
}

/** Carry from limb @from to the next, exactly; limb 2 keeps 42 bits, and its carry counts 5. */
CR_LANES_STEP void poly_carry_one(__m512i h[3], unsigned from)
{
	const unsigned bits = from == 2 ? 130 - 2 * POLY_LIMB_BITS : POLY_LIMB_BITS;
	__m512i carry = _mm512_srli_epi64(h[from], bits);

	h[from] = _mm512_and_si512(h[from], _mm512_set1_epi64((INT64_C(1) << bits) - 1));
	if (from == 2)
		h[0] = _mm512_madd52lo_epu64(h[0], carry, _mm512_set1_epi64(5));
	else
		h[from + 1] = _mm512_add_epi64(h[from + 1], carry);
}

/** h in limbs of 44, 44, 42 bits becomes h mod 2^130 - 5: h, or h + 5 - 2^130. 12 operations. */
CR_LANES_STEP void poly_reduce(__m512i h[3])
{
	const __m512i mask = _mm512_set1_epi64(POLY_LIMB_MASK);
	const __m512i two42 = _mm512_set1_epi64(INT64_C(1) << 42);
	__m512i g0 = _mm512_add_epi64(h[0], _mm512_set1_epi64(5));
	__m512i g1 = _mm512_add_epi64(h[1], _mm512_srli_epi64(g0, POLY_LIMB_BITS));
	__m512i g2 = _mm512_add_epi64(h[2], _mm512_srli_epi64(g1, POLY_LIMB_BITS));
	__mmask8 is_over = _mm512_cmpge_epu64_mask(g2, two42);

	h[0] = _mm512_mask_and_epi64(h[0], is_over, g0, mask);
	h[1] = _mm512_mask_and_epi64(h[1], is_over, g1, mask);
	h[2] = _mm512_mask_sub_epi64(h[2], is_over, g2, two42);
}

/**
 * The tags: the last multiplication, the value below 2^130 - 5, plus s modulo 2^128 (RFC 8439,
 * 2.5.1). Low and high 64 bits of each in @ret. 87 operations.
 */
CR_LANES_STEP void poly_finish(__m512i ret[2], const __m512i x[3], const struct poly_half *half)
{
	const __m512i zero[3] = {
		_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
	struct poly_sum sum = poly_sum_from(zero, false);
	__m512i h[3];
	__mmask8 has_carry;

	poly_multiply(&sum, x, &half->r);
	poly_carry(h, &sum);
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 8; i++)
		poly_carry_one(h, i % 3);
	poly_reduce(h);
	ret[0] = _mm512_or_si512(h[0], _mm512_slli_epi64(h[1], POLY_LIMB_BITS));
	ret[1] = _mm512_or_si512(_mm512_srli_epi64(h[1], 64 - POLY_LIMB_BITS),
		_mm512_slli_epi64(h[2], 2 * POLY_LIMB_BITS - 64));
	ret[0] = _mm512_add_epi64(ret[0], half->s[0]);
	has_carry = _mm512_cmplt_epu64_mask(ret[0], half->s[0]);
	ret[1] = _mm512_add_epi64(ret[1], half->s[1]);
	ret[1] = _mm512_mask_add_epi64(ret[1], has_carry, ret[1], _mm512_set1_epi64(1));
}

/** The first 32 bytes of a ChaCha20 block as four words of 64 bits for @half. 4 operations. */
CR_LANES_STEP void poly_pair_words(__m512i ret[4], const __m512i x[8], unsigned half)
{
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 4; i++)
		ret[i] = half == 0 ? _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1])
				   : _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
}

/**
 * 64 bytes of each packet (row[l]: packet l) as four blocks for the packets of @half: words of 64
 * bits, low and high, of block b in low[b] and high[b]. 24 operations.
 */
CR_LANES_STEP void poly_words(__m512i low[4], __m512i high[4], const __m512i row[16], unsigned half)
{
	const unsigned k = 2 * half;
	__m512i even[4] = {row[k], row[4 + k], row[8 + k], row[12 + k]};
	__m512i odd[4] = {row[k + 1], row[5 + k], row[9 + k], row[13 + k]};
	__m512i a[4], b[4];

	chacha_transpose_quarters(a, even);
	chacha_transpose_quarters(b, odd);
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 4; i++) {
		low[i] = _mm512_unpacklo_epi64(a[i], b[i]);
		high[i] = _mm512_unpackhi_epi64(a[i], b[i]);
	}
}

#endif
