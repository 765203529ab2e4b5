/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BLAKE2s (RFC 7693) and what is built on it: keyed hash, HMAC (RFC 2104), HKDF (RFC 5869) as
 * the WireGuard paper (5.4) writes them. On OpenSSL 3, because libsodium has only BLAKE2b.
 *
 * Thread: any; each thread keeps its own OpenSSL contexts, made on first use, so that a call on
 * the handshake thread allocates nothing after the first. An OpenSSL without BLAKE2s is found
 * by cr_init(), after which these calls cannot fail.
 */
#ifndef CR_BLAKE2S_H
#define CR_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "cr_secret.h"

#define CR_HASH_BYTES 32
#define CR_MAC_BYTES 16

/** A piece of input; hashing several saves copying them together. */
struct cr_span {
	const void *data;
	size_t len;
};

/**
 * Prepare libsodium and OpenSSL. Call once, before any other cr_ call, from one thread.
 * Returns 0, or -ENOTSUP (OpenSSL has no BLAKE2s) or -EIO.
 */
BASE_MUST_CHECK int cr_init(void);

/** BLAKE2s-256 of the concatenated spans: HASH of the paper. */
void cr_hash(uint8_t ret_hash[CR_HASH_BYTES], const struct cr_span *spans, size_t n);

/** Keyed BLAKE2s with 16 bytes of output: MAC of the paper (mac1, mac2). @key_len 1-32. */
void cr_mac(uint8_t ret_mac[CR_MAC_BYTES], const void *key, size_t key_len, const void *data,
	size_t len);

/** HMAC-BLAKE2s: HMAC of the paper. */
void cr_hmac(uint8_t ret_mac[CR_HASH_BYTES], const void *key, size_t key_len,
	const struct cr_span *spans, size_t n);

/**
 * KDF1..KDF3 of the paper. Outputs after the first may be NULL from the right (KDF1: both NULL).
 * @ret_t1 may alias @key.
 */
void cr_kdf(uint8_t ret_t1[CR_HASH_BYTES], uint8_t *ret_t2, uint8_t *ret_t3,
	const uint8_t key[CR_HASH_BYTES], const void *input, size_t len);

#endif
