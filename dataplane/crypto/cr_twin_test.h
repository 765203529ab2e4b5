/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The plain twin of cr_lanes.c: ChaCha20-Poly1305 of one packet in portable C, as RFC 8439 says
 * it, word by word. For tests and fuzzing; slow, and not constant in anything.
 */
#ifndef CR_TWIN_TEST_H
#define CR_TWIN_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base_bytes.h"

typedef unsigned __int128 twin_u128;

/** A number modulo 2^130 - 5 that may be a little larger; limbs of 44, 44 and 42 bits. */
struct twin_poly {
	uint64_t h[3], r[3];
	uint8_t s[16];
};

static inline uint32_t twin_rotate(uint32_t v, unsigned bits)
{
	return v << bits | v >> (32 - bits);
}

/* 2.1 */
static inline void twin_quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b;
	*d = twin_rotate(*d ^ *a, 16);
	*c += *d;
	*b = twin_rotate(*b ^ *c, 12);
	*a += *b;
	*d = twin_rotate(*d ^ *a, 8);
	*c += *d;
	*b = twin_rotate(*b ^ *c, 7);
}

/* 2.3 */
static inline void twin_block(
	uint8_t out[64], const uint8_t key[32], uint32_t number, const uint8_t nonce[12])
{
	uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, x[16];

	for (unsigned i = 0; i < 8; i++)
		start[4 + i] = base_load_le32(key + 4 * i);
	start[12] = number;
	for (unsigned i = 0; i < 3; i++)
		start[13 + i] = base_load_le32(nonce + 4 * i);
	memcpy(x, start, sizeof(x));
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 4; i++)
			twin_quarter_round(&x[i], &x[4 + i], &x[8 + i], &x[12 + i]);
		for (unsigned i = 0; i < 4; i++)
			twin_quarter_round(&x[i], &x[4 + (i + 1) % 4], &x[8 + (i + 2) % 4],
				&x[12 + (i + 3) % 4]);
	}
	for (unsigned i = 0; i < 16; i++)
		base_store_le32(out + 4 * i, x[i] + start[i]);
}

/* 2.4; the first block has number 1 (2.8). */
static inline void twin_xor(
	uint8_t *out, const uint8_t *in, size_t len, const uint8_t key[32], const uint8_t nonce[12])
{
	uint8_t block[64];

	for (size_t i = 0; i < len; i++) {
		if (i % 64 == 0)
			twin_block(block, key, (uint32_t)(1 + i / 64), nonce);
		out[i] = in[i] ^ block[i % 64];
	}
}

/* 16 bytes as limbs. */
static inline void twin_limbs(uint64_t limb[3], const uint8_t bytes[16])
{
	uint64_t low = base_load_le64(bytes), high = base_load_le64(bytes + 8);

	limb[0] = low & 0xfffffffffff;
	limb[1] = (low >> 44 | high << 20) & 0xfffffffffff;
	limb[2] = high >> 24;
}

/* 2.5 */
static inline void twin_poly_begin(struct twin_poly *poly, const uint8_t key[32])
{
	uint8_t r[16];

	memcpy(r, key, 16);
	for (unsigned i = 3; i < 16; i += 4)
		r[i] &= 15;
	for (unsigned i = 4; i < 16; i += 4)
		r[i] &= 252;
	twin_limbs(poly->r, r);
	memcpy(poly->s, key + 16, 16);
	memset(poly->h, 0, sizeof(poly->h));
}

/* h = (h + block) * r; limbs of the result are normal but for h[1], which may be 2^44. */
static inline void twin_poly_block(struct twin_poly *poly, const uint8_t block[16])
{
	const uint64_t *r = poly->r;
	uint64_t m[3], *h = poly->h;
	twin_u128 d[3];

	twin_limbs(m, block);
	for (unsigned i = 0; i < 3; i++)
		h[i] += m[i];
	h[2] += UINT64_C(1) << 40;
	d[0] = (twin_u128)h[0] * r[0] + (twin_u128)h[1] * (20 * r[2]) +
		(twin_u128)h[2] * (20 * r[1]);
	d[1] = (twin_u128)h[0] * r[1] + (twin_u128)h[1] * r[0] + (twin_u128)h[2] * (20 * r[2]);
	d[2] = (twin_u128)h[0] * r[2] + (twin_u128)h[1] * r[1] + (twin_u128)h[2] * r[0];
	d[1] += d[0] >> 44;
	d[2] += d[1] >> 44;
	h[0] = (uint64_t)d[0] & 0xfffffffffff;
	h[1] = (uint64_t)d[1] & 0xfffffffffff;
	h[2] = (uint64_t)d[2] & 0x3ffffffffff;
	h[0] += (uint64_t)(d[2] >> 42) * 5;
	h[1] += h[0] >> 44;
	h[0] &= 0xfffffffffff;
}

/* Data, zeros up to a multiple of 16. */
static inline void twin_poly_padded(struct twin_poly *poly, const uint8_t *data, size_t len)
{
	for (size_t at = 0; at < len; at += 16) {
		uint8_t block[16] = {0};

		memcpy(block, data + at, len - at < 16 ? len - at : 16);
		twin_poly_block(poly, block);
	}
}

static inline void twin_poly_finish(struct twin_poly *poly, uint8_t tag[16])
{
	uint64_t *h = poly->h, g[3];
	twin_u128 value;

	for (unsigned i = 0; i < 2; i++) {
		h[2] += h[1] >> 44;
		h[1] &= 0xfffffffffff;
		h[0] += (h[2] >> 42) * 5;
		h[2] &= 0x3ffffffffff;
		h[1] += h[0] >> 44;
		h[0] &= 0xfffffffffff;
	}
	g[0] = h[0] + 5;
	g[1] = h[1] + (g[0] >> 44);
	g[2] = h[2] + (g[1] >> 44);
	if (g[2] >> 42)
		for (unsigned i = 0; i < 3; i++)
			h[i] = g[i] & (i < 2 ? 0xfffffffffff : 0x3ffffffffff);
	value = (twin_u128)h[0] + ((twin_u128)h[1] << 44) + ((twin_u128)h[2] << 88);
	value += base_load_le64(poly->s) + ((twin_u128)base_load_le64(poly->s + 8) << 64);
	base_store_le64(tag, (uint64_t)value);
	base_store_le64(tag + 8, (uint64_t)(value >> 64));
}

/** 2.6, 2.8: the tag of @len bytes of ciphertext. */
static inline void twin_tag(uint8_t tag[16], const uint8_t key[32], const uint8_t nonce[12],
	const uint8_t *cipher, size_t len, const uint8_t *ad, size_t ad_len)
{
	uint8_t block[64], lengths[16];
	struct twin_poly poly;

	twin_block(block, key, 0, nonce);
	twin_poly_begin(&poly, block);
	twin_poly_padded(&poly, ad, ad_len);
	twin_poly_padded(&poly, cipher, len);
	base_store_le64(lengths, ad_len);
	base_store_le64(lengths + 8, len);
	twin_poly_block(&poly, lengths);
	twin_poly_finish(&poly, tag);
}

/** @out gets @len bytes and the tag; may be @in. */
static inline void twin_seal(uint8_t *out, const uint8_t key[32], const uint8_t nonce[12],
	const uint8_t *in, size_t len, const uint8_t *ad, size_t ad_len)
{
	twin_xor(out, in, len, key, nonce);
	twin_tag(out + len, key, nonce, out, len, ad, ad_len);
}

/** @in has @len bytes and the tag. False, and zeros at @out, when that is wrong. */
static inline bool twin_open(uint8_t *out, const uint8_t key[32], const uint8_t nonce[12],
	const uint8_t *in, size_t len, const uint8_t *ad, size_t ad_len)
{
	uint8_t tag[16];

	twin_tag(tag, key, nonce, in, len, ad, ad_len);
	if (memcmp(tag, in + len, 16) != 0) {
		memset(out, 0, len);
		return false;
	}
	twin_xor(out, in, len, key, nonce);
	return true;
}

#endif
