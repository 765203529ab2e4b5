/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sixteen packets side by side: the steps of cr_lanes_chacha.h and cr_lanes_poly.h put together
 * (RFC 8439, 2.8). Runs on the worker that made the state; cr_lanes.h has the contract.
 *
 * A group goes like this:
 *
 *   1. begin    keys and nonces of all lanes into registers; block 0 of each gives r and s
 *   2. full     as long as every packet has 64 bytes left: a block of ChaCha20 for all, turned
 *               into one row of 64 bytes per packet; xor; the ciphertext rows, turned into words
 *               for eight packets each, go through Poly1305
 *   3. parts    the same under masks of bytes, while any packet has something left
 *   4. end      the block of lengths, the tags
 *
 * Lanes that no packet fills work on packet 0 once more, and write what it wrote: no test for
 * them in 2 and 3 (a row is read for all lanes before any is written).
 *
 * Each phase is a function that is not inlined: what a compiler may have put on the stack lies in
 * one frame, not in the sum of all, and cr_lanes_wipe() has less to wipe.
 */
#include "cr_lanes.h"

#include "cr_lanes_chacha.h"
#include "cr_lanes_poly.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BLOCK_BYTES 64 /* of ChaCha20 */
#define PART_BYTES 16  /* of Poly1305 */
/* Full blocks from which poly_powers_set() pays. */
#define POWERS_FROM_BLOCKS 3
#define PREFETCH_BYTES (3 * BLOCK_BYTES)
/* More than the deepest frames of this file (the test looks for what is left). */
#define STACK_BYTES 2048

/* A phase of a group. */
#define PHASE static __attribute__((noinline)) CR_LANES_TARGET

/* What is public of a group, for all sixteen lanes. */
struct group {
	const uint8_t *src[CR_LANES];
	uint8_t *dst[CR_LANES];
	uint64_t len[CR_LANES];
	uint64_t ad_len[CR_LANES];
	const uint8_t *ad[CR_LANES];
	uint64_t full_bytes; /* every packet has so many, a multiple of 64 */
	uint64_t most_bytes;
};

struct cr_lanes {
	struct chacha_lanes chacha;
	struct poly_half half[2];
	struct poly_powers powers[2]; /* as they were, unless were_powers_set */
	struct group group;
	bool were_powers_set;
};

bool cr_lanes_are_supported(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
		__builtin_cpu_supports("avx512ifma") && __builtin_cpu_supports("bmi2");
}

struct cr_lanes *cr_lanes_new(void)
{
	struct cr_lanes *lanes;

	if (!cr_lanes_are_supported()) {
		errno = ENOTSUP;
		return NULL;
	}
	lanes = aligned_alloc(BLOCK_BYTES, sizeof(*lanes));
	if (lanes)
		memset(lanes, 0, sizeof(*lanes));
	return lanes;
}

void cr_lanes_free(struct cr_lanes *lanes)
{
	if (lanes)
		base_wipe(lanes, sizeof(*lanes));
	free(lanes);
}

/* --- 1. begin ----------------------------------------------------------------------------- */

static void group_set(struct group *group, struct cr_aead_job *const jobs[], unsigned n,
	const struct cr_lanes_extra *extra)
{
	uint64_t least = UINT64_MAX, most = 0;

	for (unsigned l = 0; l < CR_LANES; l++) {
		unsigned i = l < n ? l : 0;
		const struct cr_aead_job *job = jobs[i];

		group->src[l] = job->src;
		group->dst[l] = job->dst;
		group->len[l] = job->len;
		group->ad[l] = extra ? extra[i].ad : NULL;
		group->ad_len[l] = extra ? extra[i].ad_len : 0;
		least = job->len < least ? job->len : least;
		most = job->len > most ? job->len : most;
	}
	group->full_bytes = least / BLOCK_BYTES * BLOCK_BYTES;
	group->most_bytes = most;
}

/* 16 bytes of each lane, those of lane 4q + k in quarter q of @ret[k]. 12 operations. */
CR_LANES_STEP void gather_16(__m512i ret[4], const uint8_t *const from[CR_LANES], size_t at)
{
	CR_LANES_UNROLL
	for (unsigned k = 0; k < 4; k++) {
		ret[k] = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)(from[k] + at)));
		CR_LANES_UNROLL
		for (unsigned q = 1; q < 4; q++)
			ret[k] = _mm512_mask_broadcast_i32x4(ret[k], (__mmask16)(0xf << 4 * q),
				_mm_loadu_si128((const void *)(from[4 * q + k] + at)));
	}
}

/* The words of RFC 8439, 2.3: four constants, the key, block number (here 0), the nonce. */
CR_LANES_STEP void start_set(struct chacha_lanes *chacha, struct cr_aead_job *const jobs[],
	unsigned n, const struct cr_lanes_extra *extra)
{
	static const uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
	const uint8_t *keys[CR_LANES];
	uint32_t nonce[3][CR_LANES] __attribute__((aligned(64)));
	__m512i words[4];

	for (unsigned l = 0; l < CR_LANES; l++) {
		unsigned i = l < n ? l : 0;

		keys[l] = jobs[i]->key->bytes;
		nonce[0][l] = extra ? extra[i].nonce_le32 : 0;
		nonce[1][l] = (uint32_t)jobs[i]->counter;
		nonce[2][l] = (uint32_t)(jobs[i]->counter >> 32);
	}
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 4; i++)
		chacha->start[i] = _mm512_set1_epi32((int)constants[i]);
	gather_16(words, keys, 0);
	chacha_transpose_words(&chacha->start[4], words);
	gather_16(words, keys, 16);
	chacha_transpose_words(&chacha->start[8], words);
	chacha->start[12] = _mm512_setzero_si512();
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 3; i++)
		chacha->start[13 + i] = _mm512_load_si512(nonce[i]);
}

/* Keys, nonces, and from block 0 the Poly1305 keys (RFC 8439, 2.6). */
PHASE void begin(struct cr_lanes *lanes, struct cr_aead_job *const jobs[], unsigned n,
	const struct cr_lanes_extra *extra)
{
	__m512i x[16];

	start_set(&lanes->chacha, jobs, n, extra);
	chacha_begin(&lanes->chacha);
	chacha_block(x, &lanes->chacha, 0);
	CR_LANES_UNROLL
	for (unsigned half = 0; half < 2; half++) {
		__m512i word[4];

		poly_pair_words(word, x, half);
		poly_begin(&lanes->half[half], word);
	}
}

/* --- 2. full blocks ----------------------------------------------------------------------- */

/* Poly1305's x comes into registers for a phase, and goes back after it. */
CR_LANES_STEP void x_load(__m512i x[2][3], const struct cr_lanes *lanes)
{
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 3; i++) {
		x[0][i] = lanes->half[0].x[i];
		x[1][i] = lanes->half[1].x[i];
	}
}

CR_LANES_STEP void x_store(struct cr_lanes *lanes, __m512i x[2][3])
{
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 3; i++) {
		lanes->half[0].x[i] = x[0][i];
		lanes->half[1].x[i] = x[1][i];
	}
}

/*
 * The ciphertext rows of 64 bytes through both halves: 48 operations and those of Poly1305. With
 * powers one half keeps the multipliers busy; without, the halves take turns.
 */
CR_LANES_STEP void absorb(
	__m512i x[2][3], const struct cr_lanes *lanes, const __m512i row[16], bool has_powers)
{
	__m512i low[2][4], high[2][4];

	CR_LANES_UNROLL
	for (unsigned half = 0; half < 2; half++) {
		poly_words(low[half], high[half], row, half);
		if (has_powers)
			poly_four_blocks(x[half], &lanes->half[half].r, &lanes->powers[half],
				low[half], high[half]);
	}
	if (has_powers)
		return;
	CR_LANES_UNROLL
	for (unsigned b = 0; b < 4; b++) {
		poly_block(x[0], &lanes->half[0].r, low[0][b], high[0][b]);
		poly_block(x[1], &lanes->half[1].r, low[1][b], high[1][b]);
	}
}

/* What some later block reads, if every packet goes on so far. */
CR_LANES_STEP void prefetch(const struct group *group, uint64_t at)
{
	uint64_t ahead = at + PREFETCH_BYTES;

	if (ahead > group->full_bytes)
		return;
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		__builtin_prefetch(group->src[l] + ahead);
}

/* The key stream of bytes @at to @at + 63 of each packet, as rows. */
CR_LANES_STEP void stream_rows(__m512i row[16], const struct cr_lanes *lanes, uint64_t at)
{
	__m512i x[16];

	chacha_block(x, &lanes->chacha, (uint32_t)(1 + at / BLOCK_BYTES));
	chacha_rows(row, x);
}

CR_LANES_STEP void full_seal(
	__m512i x[2][3], const struct cr_lanes *lanes, uint64_t at, bool has_powers)
{
	const struct group *group = &lanes->group;
	__m512i row[16];

	stream_rows(row, lanes, at);
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		row[l] = _mm512_xor_si512(row[l], _mm512_loadu_si512(group->src[l] + at));
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		_mm512_storeu_si512(group->dst[l] + at, row[l]);
	absorb(x, lanes, row, has_powers);
}

CR_LANES_STEP void full_open(
	__m512i x[2][3], const struct cr_lanes *lanes, uint64_t at, bool has_powers)
{
	const struct group *group = &lanes->group;
	__m512i row[16];

	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		row[l] = _mm512_loadu_si512(group->src[l] + at);
	absorb(x, lanes, row, has_powers);
	/* To the compiler: read src again below; sixteen registers are worth more than loads. */
	atomic_signal_fence(memory_order_seq_cst);
	stream_rows(row, lanes, at);
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		row[l] = _mm512_xor_si512(row[l], _mm512_loadu_si512(group->src[l] + at));
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		_mm512_storeu_si512(group->dst[l] + at, row[l]);
}

/* All full blocks of the group. */
CR_LANES_STEP void full(struct cr_lanes *lanes, bool is_seal, bool has_powers)
{
	__m512i x[2][3];

	x_load(x, lanes);
	for (uint64_t at = 0; at < lanes->group.full_bytes; at += BLOCK_BYTES) {
		prefetch(&lanes->group, at);
		if (is_seal)
			full_seal(x, lanes, at, has_powers);
		else
			full_open(x, lanes, at, has_powers);
	}
	x_store(lanes, x);
}

PHASE void seal_few(struct cr_lanes *lanes)
{
	full(lanes, true, false);
}

PHASE void seal_many(struct cr_lanes *lanes)
{
	full(lanes, true, true);
}

PHASE void open_few(struct cr_lanes *lanes)
{
	full(lanes, false, false);
}

PHASE void open_many(struct cr_lanes *lanes)
{
	full(lanes, false, true);
}

/* Before seal_many() and open_many(). */
PHASE void set_powers(struct cr_lanes *lanes)
{
	poly_powers_set(&lanes->powers[0], &lanes->half[0].r);
	poly_powers_set(&lanes->powers[1], &lanes->half[1].r);
	lanes->were_powers_set = true;
}

/* --- 3. parts ----------------------------------------------------------------------------- */

/* How many of the 64 bytes from @at each packet of @len bytes has: 0-7 in left[0], 8-15 in [1]. */
CR_LANES_STEP void bytes_left(__m512i left[2], const uint64_t len[CR_LANES], uint64_t at)
{
	CR_LANES_UNROLL
	for (unsigned i = 0; i < 2; i++) {
		left[i] = _mm512_sub_epi64(
			_mm512_loadu_si512(&len[8 * i]), _mm512_set1_epi64((int64_t)at));
		left[i] = _mm512_max_epi64(left[i], _mm512_setzero_si512());
		left[i] = _mm512_min_epi64(left[i], _mm512_set1_epi64(BLOCK_BYTES));
	}
}

/* A bit for each of @n bytes, 0 to 64. */
CR_LANES_STEP __mmask64 mask_of(uint64_t n)
{
	return _bzhi_u64(UINT64_MAX, (unsigned)n);
}

/* What is there for packets 0-7 and 8-15, for the elements of @half (poly_lane_of()). */
CR_LANES_STEP __m512i of_half(const __m512i all[2], unsigned half)
{
	__m512i lane = _mm512_add_epi64(
		_mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13), _mm512_set1_epi64(2 * half));

	return _mm512_permutex2var_epi64(all[0], lane, all[1]);
}

/* Rows with zeros behind the end of a packet, which takes part as long as it has bytes. */
CR_LANES_STEP void absorb_part(
	__m512i x[2][3], const struct cr_lanes *lanes, const __m512i row[16], const __m512i left[2])
{
	__m512i low[2][4], high[2][4], count[2];

	CR_LANES_UNROLL
	for (unsigned half = 0; half < 2; half++) {
		poly_words(low[half], high[half], row, half);
		count[half] = of_half(left, half);
	}
	CR_LANES_UNROLL
	for (unsigned b = 0; b < 4; b++) {
		CR_LANES_UNROLL
		for (unsigned half = 0; half < 2; half++) {
			__mmask8 mask = _mm512_cmpgt_epi64_mask(
				count[half], _mm512_set1_epi64(PART_BYTES * b));

			poly_block_masked(
				x[half], &lanes->half[half].r, mask, low[half][b], high[half][b]);
		}
	}
}

CR_LANES_STEP void part(__m512i x[2][3], const struct cr_lanes *lanes, uint64_t at, bool is_seal)
{
	uint64_t bytes[CR_LANES] __attribute__((aligned(64)));
	const struct group *group = &lanes->group;
	__m512i row[16], cipher[16], left[2];

	bytes_left(left, group->len, at);
	_mm512_store_si512(&bytes[0], left[0]);
	_mm512_store_si512(&bytes[8], left[1]);
	stream_rows(row, lanes, at);
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++) {
		__mmask64 mask = mask_of(bytes[l]);
		__m512i in = _mm512_maskz_loadu_epi8(mask, group->src[l] + at);

		row[l] = _mm512_xor_si512(row[l], in);
		cipher[l] = is_seal ? _mm512_maskz_mov_epi8(mask, row[l]) : in;
	}
	CR_LANES_UNROLL
	for (unsigned l = 0; l < CR_LANES; l++)
		_mm512_mask_storeu_epi8(group->dst[l] + at, mask_of(bytes[l]), row[l]);
	absorb_part(x, lanes, cipher, left);
}

/* What is behind the full blocks. */
CR_LANES_STEP void parts(struct cr_lanes *lanes, bool is_seal)
{
	const struct group *group = &lanes->group;
	__m512i x[2][3];

	x_load(x, lanes);
	for (uint64_t at = group->full_bytes; at < group->most_bytes; at += BLOCK_BYTES)
		part(x, lanes, at, is_seal);
	x_store(lanes, x);
}

PHASE void seal_parts(struct cr_lanes *lanes)
{
	parts(lanes, true);
}

PHASE void open_parts(struct cr_lanes *lanes)
{
	parts(lanes, false);
}

/* Associated data comes before the ciphertext, and is padded by itself (RFC 8439, 2.8). */
PHASE void absorb_ad(struct cr_lanes *lanes)
{
	uint64_t bytes[CR_LANES] __attribute__((aligned(64))), most = 0;
	const struct group *group = &lanes->group;
	__m512i x[2][3], row[16], left[2];

	for (unsigned l = 0; l < CR_LANES; l++)
		most = group->ad_len[l] > most ? group->ad_len[l] : most;
	x_load(x, lanes);
	for (uint64_t at = 0; at < most; at += BLOCK_BYTES) {
		bytes_left(left, group->ad_len, at);
		_mm512_store_si512(&bytes[0], left[0]);
		_mm512_store_si512(&bytes[8], left[1]);
		CR_LANES_UNROLL
		for (unsigned l = 0; l < CR_LANES; l++)
			row[l] = _mm512_maskz_loadu_epi8(mask_of(bytes[l]), group->ad[l] + at);
		absorb_part(x, lanes, row, left);
	}
	x_store(lanes, x);
}

/* --- 4. end ------------------------------------------------------------------------------- */

/* The block of lengths, then the tags: of lane 4q + k in quarter q of @tag[k]. */
CR_LANES_STEP void end(__m512i tag[4], const struct cr_lanes *lanes)
{
	const struct group *group = &lanes->group;
	__m512i len[2] = {_mm512_loadu_si512(&group->len[0]), _mm512_loadu_si512(&group->len[8])};
	__m512i ad_len[2] = {
		_mm512_loadu_si512(&group->ad_len[0]), _mm512_loadu_si512(&group->ad_len[8])};
	__m512i x[2][3];

	x_load(x, lanes);
	CR_LANES_UNROLL
	for (unsigned half = 0; half < 2; half++) {
		__m512i word[2];

		poly_block(
			x[half], &lanes->half[half].r, of_half(ad_len, half), of_half(len, half));
		poly_finish(word, x[half], &lanes->half[half]);
		tag[2 * half] = _mm512_unpacklo_epi64(word[0], word[1]);
		tag[2 * half + 1] = _mm512_unpackhi_epi64(word[0], word[1]);
	}
}

/* A tag that is sent is public. */
PHASE void seal_end(struct cr_lanes *lanes, struct cr_aead_job *const jobs[], unsigned n)
{
	__m512i tag[4];

	end(tag, lanes);
	for (unsigned l = 0; l < n; l++)
		memcpy(jobs[l]->dst + jobs[l]->len, (const uint8_t *)&tag[l % 4] + l / 4 * 16,
			CR_TAG_BYTES);
}

/* Bit l: the 16 bytes of lane l are the same in both. No branch on any of them. */
CR_LANES_STEP uint32_t tags_equal(const __m512i tag[4], const __m512i other[4])
{
	uint32_t equal = 0;

	CR_LANES_UNROLL
	for (unsigned k = 0; k < 4; k++) {
		__m512i diff = _mm512_xor_si512(tag[k], other[k]);

		/* Each word of a quarter: what any of its four has. */
		diff = _mm512_or_si512(diff, _mm512_shuffle_epi32(diff, _MM_PERM_BADC));
		diff = _mm512_or_si512(diff, _mm512_shuffle_epi32(diff, _MM_PERM_CDAB));
		equal |= _mm512_testn_epi32_mask(diff, diff) & (UINT32_C(0x1111) << k);
	}
	return equal;
}

/* Bit l: the tag of lane l was right. What it should have been is nobody's to know. */
PHASE uint32_t open_end(struct cr_lanes *lanes)
{
	const struct group *group = &lanes->group;
	const uint8_t *sent[CR_LANES];
	__m512i tag[4], tag_sent[4];

	for (unsigned l = 0; l < CR_LANES; l++)
		sent[l] = group->src[l] + group->len[l];
	end(tag, lanes);
	gather_16(tag_sent, sent, 0);
	return tags_equal(tag, tag_sent);
}

/* --- groups ------------------------------------------------------------------------------- */

/* 1 to 3. */
static void run_phases(struct cr_lanes *lanes, struct cr_aead_job *const jobs[], unsigned n,
	const struct cr_lanes_extra *extra, bool is_seal)
{
	struct group *group = &lanes->group;

	group_set(group, jobs, n, extra);
	begin(lanes, jobs, n, extra);
	if (extra)
		absorb_ad(lanes);
	if (group->full_bytes >= POWERS_FROM_BLOCKS * BLOCK_BYTES) {
		set_powers(lanes);
		(is_seal ? seal_many : open_many)(lanes);
	} else if (group->full_bytes > 0) {
		(is_seal ? seal_few : open_few)(lanes);
	}
	if (group->most_bytes > group->full_bytes)
		(is_seal ? seal_parts : open_parts)(lanes);
}

static bool is_valid(struct cr_aead_job *const jobs[], unsigned n)
{
	if (n > CR_LANES)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (!jobs[i]->key)
			return false;
	return true;
}

int cr_lanes_seal(struct cr_lanes *lanes, struct cr_aead_job *const jobs[], unsigned n,
	const struct cr_lanes_extra *extra)
{
	if (!is_valid(jobs, n))
		return -EINVAL;
	if (n == 0)
		return 0;
	run_phases(lanes, jobs, n, extra, true);
	seal_end(lanes, jobs, n);
	return 0;
}

int cr_lanes_open(struct cr_lanes *lanes, struct cr_aead_job *const jobs[], unsigned n,
	const struct cr_lanes_extra *extra)
{
	uint32_t equal;

	if (!is_valid(jobs, n))
		return -EINVAL;
	if (n == 0)
		return 0;
	run_phases(lanes, jobs, n, extra, false);
	equal = open_end(lanes) & ((UINT32_C(1) << n) - 1);
	for (unsigned l = 0; l < n; l++) {
		jobs[l]->ok = equal >> l & 1;
		if (__builtin_expect(!jobs[l]->ok, 0))
			memset(jobs[l]->dst, 0, jobs[l]->len);
	}
	return __builtin_popcount(equal);
}

/* Its frame lies where those of the calls before were. */
static __attribute__((noinline)) void stack_wipe(void)
{
	uint8_t frame[STACK_BYTES];

	base_wipe(frame, sizeof(frame));
}

void cr_lanes_wipe(struct cr_lanes *lanes)
{
	base_wipe(lanes,
		lanes->were_powers_set ? offsetof(struct cr_lanes, group)
				       : offsetof(struct cr_lanes, powers));
	lanes->were_powers_set = false;
	stack_wipe();
}
