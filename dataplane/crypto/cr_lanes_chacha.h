/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ChaCha20 (RFC 8439, 2.3) for sixteen packets side by side: register w holds word w of the state
 * of every packet, packet l in the 32 bits number l ("lane" l).
 *
 *            lane 15       ...        lane 1            lane 0
 *   x[0]   | packet 15, word 0  | ... | packet 1, word 0  | packet 0, word 0  |
 *   x[1]   | packet 15, word 1  | ... | packet 1, word 1  | packet 0, word 1  |
 *    :
 *   x[15]  | packet 15, word 15 | ... | packet 1, word 15 | packet 0, word 15 |
 *
 * A quarter round is then twelve instructions for sixteen packets and moves no word between
 * lanes. Steps of cr_lanes.c, inline, with the count of their vector operations; no state.
 * Next to read: cr_lanes_poly.h.
 */
#ifndef CR_LANES_CHACHA_H
#define CR_LANES_CHACHA_H

#include <immintrin.h>
#include <stdint.h>

/** What the steps need of a CPU; the rest of the program stays plain x86-64. */
#define CR_LANES_TARGET                                                                            \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512ifma,bmi2")))
/** One step: always part of its caller, so that its operands stay in registers. */
#define CR_LANES_STEP static inline __attribute__((always_inline)) CR_LANES_TARGET
/** A loop of a known small count, written out, so that an array can live in registers. */
#define CR_LANES_UNROLL _Pragma("GCC unroll 16")

/** Sixteen states without their block number (word 12, here zero). Secret: to be wiped. */
struct chacha_lanes {
	__m512i start[16];
	/*
	 * The state as far as it does not depend on the block number: of the first round, columns
	 * 1 to 3 whole, and of column 0 the first addition. Saves 37 of 960 operations a block.
	 */
	__m512i begun[16];
};

/**
 * Four quarter rounds next to each other (RFC 8439, 2.1): columns with @shift 0, diagonals with
 * @shift 1; @from is the first of the four. 48 operations for four.
 */
CR_LANES_STEP void chacha_quarter_rounds(__m512i x[16], unsigned shift, unsigned from)
{
#define A(i) x[(i)]
#define B(i) x[4 + ((i) + shift) % 4]
#define C(i) x[8 + ((i) + 2 * shift) % 4]
#define D(i) x[12 + ((i) + 3 * shift) % 4]
#define ADD_XOR_ROTATE(TO, WITH, OTHER, BITS)                                                      \
	CR_LANES_UNROLL                                                                            \
	for (unsigned i = from; i < 4; i++) {                                                      \
		TO(i) = _mm512_add_epi32(TO(i), WITH(i));                                          \
		OTHER(i) = _mm512_rol_epi32(_mm512_xor_si512(OTHER(i), TO(i)), BITS);              \
	}
	ADD_XOR_ROTATE(A, B, D, 16)
	ADD_XOR_ROTATE(C, D, B, 12)
	ADD_XOR_ROTATE(A, B, D, 8)
	ADD_XOR_ROTATE(C, D, B, 7)
#undef ADD_XOR_ROTATE
#undef A
#undef B
#undef C
#undef D
}

/** Column 0 of the first round, whose first addition is done already. 11 operations. */
CR_LANES_STEP void chacha_column_0(__m512i x[16])
{
	x[12] = _mm512_rol_epi32(_mm512_xor_si512(x[12], x[0]), 16);
	x[8] = _mm512_add_epi32(x[8], x[12]);
	x[4] = _mm512_rol_epi32(_mm512_xor_si512(x[4], x[8]), 12);
	x[0] = _mm512_add_epi32(x[0], x[4]);
	x[12] = _mm512_rol_epi32(_mm512_xor_si512(x[12], x[0]), 8);
	x[8] = _mm512_add_epi32(x[8], x[12]);
	x[4] = _mm512_rol_epi32(_mm512_xor_si512(x[4], x[8]), 7);
}

/**
 * Block @number of every lane (RFC 8439, 2.3.1) into @x, word w of all lanes in x[w].
 * 11 + 48 + 9 * 96 operations for the twenty rounds, 17 for what is added at the end.
 */
CR_LANES_STEP void chacha_block(__m512i x[16], const struct chacha_lanes *lanes, uint32_t number)
{
	const __m512i block = _mm512_set1_epi32((int)number);

	CR_LANES_UNROLL
	for (unsigned i = 0; i < 16; i++)
		x[i] = lanes->begun[i];
	x[12] = block;
	chacha_column_0(x);
	chacha_quarter_rounds(x, 1, 0);
	/* Not unrolled: its sixteen registers change and nothing else is touched. */
	_Pragma("GCC unroll 1") for (unsigned i = 0; i < 9; i++)
	{
		chacha_quarter_rounds(x, 0, 0);
		chacha_quarter_rounds(x, 1, 0);
	}
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 16; i++)
		x[i] = _mm512_add_epi32(x[i], lanes->start[i]);
	x[12] = _mm512_add_epi32(x[12], block);
}

/** lanes->start is set: do what no block number changes. 37 operations, once for a group. */
CR_LANES_STEP void chacha_begin(struct chacha_lanes *lanes)
{
	__m512i x[16];

	CR_LANES_UNROLL
	for (unsigned i = 0; i < 16; i++)
		x[i] = lanes->start[i];
	x[0] = _mm512_add_epi32(x[0], x[4]);
	chacha_quarter_rounds(x, 0, 1);
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 16; i++)
		lanes->begun[i] = x[i];
}

/**
 * Transpose 32-bit words within each quarter of four registers: @x[i] has word i of the lanes,
 * @ret[k] gets, in quarter q, the four words of lane 4q + k. 8 operations. Its own inverse.
 */
CR_LANES_STEP void chacha_transpose_words(__m512i ret[4], const __m512i x[4])
{
	__m512i low01 = _mm512_unpacklo_epi32(x[0], x[1]);
	__m512i high01 = _mm512_unpackhi_epi32(x[0], x[1]);
	__m512i low23 = _mm512_unpacklo_epi32(x[2], x[3]);
	__m512i high23 = _mm512_unpackhi_epi32(x[2], x[3]);

	ret[0] = _mm512_unpacklo_epi64(low01, low23);
	ret[1] = _mm512_unpackhi_epi64(low01, low23);
	ret[2] = _mm512_unpacklo_epi64(high01, high23);
	ret[3] = _mm512_unpackhi_epi64(high01, high23);
}

/**
 * Transpose the quarters (16 bytes) of four registers: quarter q of @x[b] goes to quarter b of
 * @ret[q]. 8 operations. Its own inverse.
 */
CR_LANES_STEP void chacha_transpose_quarters(__m512i ret[4], const __m512i x[4])
{
	__m512i even01 = _mm512_shuffle_i32x4(x[0], x[1], 0x88);
	__m512i odd01 = _mm512_shuffle_i32x4(x[0], x[1], 0xdd);
	__m512i even23 = _mm512_shuffle_i32x4(x[2], x[3], 0x88);
	__m512i odd23 = _mm512_shuffle_i32x4(x[2], x[3], 0xdd);

	ret[0] = _mm512_shuffle_i32x4(even01, even23, 0x88);
	ret[1] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
	ret[2] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
	ret[3] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
}

/** A block as bytes: @row[l] gets the 64 bytes of lane l. 64 operations. */
CR_LANES_STEP void chacha_rows(__m512i row[16], const __m512i x[16])
{
	__m512i words[4][4]; /* [b][k], quarter q: bytes 16b to 16b + 15 of lane 4q + k */

	CR_LANES_UNROLL
	for (unsigned b = 0; b < 4; b++)
		chacha_transpose_words(words[b], &x[4 * b]);
	CR_LANES_UNROLL
	for (unsigned k = 0; k < 4; k++) {
		__m512i bytes[4] = {words[0][k], words[1][k], words[2][k], words[3][k]};
		__m512i rows[4];

		chacha_transpose_quarters(rows, bytes);
		CR_LANES_UNROLL
		for (unsigned q = 0; q < 4; q++)
			row[4 * q + k] = rows[q];
	}
}

#endif
