/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha), one at a time
 * for handshakes and in bursts for packets.
 *
 * The nonce is WireGuard's: 32 zero bits, then the 64-bit counter, little-endian (paper 5.4.6).
 * Thread: one-shot calls any; a struct cr_aead belongs to the thread that uses it.
 */
#ifndef CR_AEAD_H
#define CR_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "cr_secret.h"

#define CR_TAG_BYTES 16
#define CR_XNONCE_BYTES 24

/** Seal: @out gets @len bytes and the tag (may be @in). */
void cr_aead_seal(uint8_t *out, const struct cr_key *key, uint64_t counter, const void *in,
	size_t len, const void *ad, size_t ad_len);

/**
 * Open @len bytes of ciphertext and tag (@len >= CR_TAG_BYTES, else false). On failure @out is
 * untouched or zeroed, never plaintext.
 */
BASE_MUST_CHECK bool cr_aead_open(uint8_t *out, const struct cr_key *key, uint64_t counter,
	const void *in, size_t len, const void *ad, size_t ad_len);

/** The same with a 24-byte nonce: cookie replies (paper 5.4.7). */
void cr_xaead_seal(uint8_t *out, const struct cr_key *key, const uint8_t nonce[CR_XNONCE_BYTES],
	const void *in, size_t len, const void *ad, size_t ad_len);
BASE_MUST_CHECK bool cr_xaead_open(uint8_t *out, const struct cr_key *key,
	const uint8_t nonce[CR_XNONCE_BYTES], const void *in, size_t len, const void *ad,
	size_t ad_len);

/** The most jobs of one burst. */
#define CR_AEAD_BURST_MAX 64

/**
 * One packet of a burst, without associated data. src and dst may be equal, else must not
 * overlap. Sealing reads len bytes at src and writes len + 16 at dst; opening reads len + 16 at
 * src (len is that of the plaintext) and writes len at dst.
 */
struct cr_aead_job {
	const struct cr_key *key; /* borrowed until the call returns */
	uint64_t counter;
	const uint8_t *src;
	uint8_t *dst;
	uint32_t len;
	bool ok; /* written by open: the tag was right */
};

/** A provider's state for one thread: opaque, holds no key after a call returns. */
struct cr_aead;

/**
 * A provider of bursts. Providers give the same bytes; choose by speed.
 *
 * open compares the tags in constant time itself and sets job->ok. dst of a job that is not ok
 * may hold bytes that were never authenticated: drop it before anything reads it.
 */
struct cr_aead_ops {
	const char
		*name; /* "libsodium", "ipsec-mb", "lanes", as configuration and status show it */

	/**
	 * State for one thread; NULL with errno: ENOMEM; ENOTSUP, this CPU cannot; EBADMSG, it
	 * failed cr_aead_self_test().
	 */
	struct cr_aead *(*new)(void);
	void (*free)(struct cr_aead *aead);

	/** Seal @n <= CR_AEAD_BURST_MAX jobs, in any order. Cannot fail. */
	void (*seal)(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n);
	/** Open @n <= CR_AEAD_BURST_MAX jobs; sets ok in each. Returns how many are ok. */
	unsigned (*open)(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n);
};

/** On libsodium: always there. */
extern const struct cr_aead_ops cr_aead_sodium;

/**
 * Does @aead of @ops give libsodium's bytes, and refuse what is forged? Lengths on both sides of
 * every block and vector boundary, alone and in bursts, alike and mixed. For new(), after cr_init().
 * False, too, without memory.
 */
BASE_MUST_CHECK bool cr_aead_self_test(const struct cr_aead_ops *ops, struct cr_aead *aead);

#endif
