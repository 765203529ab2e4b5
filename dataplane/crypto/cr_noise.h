/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * X25519 and the symmetric state of a Noise handshake (Noise Protocol Framework, revision 34,
 * section 5.2) over ChaCha20-Poly1305 and BLAKE2s: what WireGuard's handshake and the
 * coordination channel share. No I/O. Thread: any, one state by one thread at a time.
 */
#ifndef CR_NOISE_H
#define CR_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_secret.h"

/** A fresh, clamped private key from the kernel's random numbers. */
void cr_x25519_generate(struct cr_key *ret_private);

/** The public half. */
void cr_x25519_public(struct cr_key *ret_public, const struct cr_key *private_key);

/**
 * The shared secret. Returns false for a result of all zeros, which a low-order point gives:
 * an error in both roles (wireguard-practice.md).
 */
BASE_MUST_CHECK bool cr_x25519(struct cr_key *ret_shared, const struct cr_key *private_key,
	const struct cr_key *public_key);

/**
 * Is it one of the points with which every private key gives zeros? Told by comparison, for public keys that are
 * configured long before the first multiplication.
 */
bool cr_x25519_is_low_order(const struct cr_key *public_key);

/** Random bytes of the kernel, for keys and cookie secrets. Cannot fail. */
void cr_random(void *buf, size_t len);
/**
 * The same for what others get to see, indices and nonces and jitter: taken from a block that the
 * calling thread fetched before, so that a storm of handshakes is not a storm of system calls.
 * @len at most 64.
 */
void cr_random_public(void *buf, size_t len);

/** Chaining key, handshake hash, and the key of the next encryption. Wipe with cr_noise_fini. */
struct cr_noise {
	uint8_t chaining_key[CR_HASH_BYTES];
	uint8_t hash[CR_HASH_BYTES];
	struct cr_key key;
	uint64_t nonce; /* counts encryptions under `key`; reset by each mix_key */
	bool has_key;   /* false: encrypt_and_hash passes plaintext through (Noise 5.2) */
};

/**
 * Start: chaining key = HASH(@name) (or @name padded, when it is 32 bytes or shorter, as Noise
 * says), hash = HASH(chaining key || prologue) by MixHash.
 */
void cr_noise_init(struct cr_noise *noise, const char *name, const void *prologue, size_t len);
void cr_noise_fini(struct cr_noise *noise);

void cr_noise_mix_hash(struct cr_noise *noise, const void *data, size_t len);
/** MixKey without taking a key for encryption (KDF1): so WireGuard mixes ephemeral publics, */
void cr_noise_mix_chain(struct cr_noise *noise, const void *data, size_t len);
/** and shared secrets before the preshared key. As cr_noise_mix_dh(). */
BASE_MUST_CHECK bool cr_noise_mix_dh_chain(
	struct cr_noise *noise, const struct cr_key *private_key, const struct cr_key *public_key);
/** MixKey: chaining key and encryption key from @data; nonce = 0. */
void cr_noise_mix_key(struct cr_noise *noise, const void *data, size_t len);
/** MixKeyAndHash: the preshared key (KDF3). */
void cr_noise_mix_key_and_hash(struct cr_noise *noise, const void *data, size_t len);
/** MixKey(DH). Returns false when the shared secret is zero; the state must then be dropped. */
BASE_MUST_CHECK bool cr_noise_mix_dh(
	struct cr_noise *noise, const struct cr_key *private_key, const struct cr_key *public_key);

/** Writes @len + 16 bytes (or @len without a key) to @out and mixes them into the hash. */
void cr_noise_encrypt_and_hash(struct cr_noise *noise, uint8_t *out, const void *in, size_t len);
/** Reads @len bytes with the tag. False if forged; the state is then unchanged. */
BASE_MUST_CHECK bool cr_noise_decrypt_and_hash(
	struct cr_noise *noise, uint8_t *out, const void *in, size_t len);

/** Split: the two transport keys, initiator's sending key first. The state is wiped. */
void cr_noise_split(struct cr_noise *noise, struct cr_key *ret_first, struct cr_key *ret_second);

#endif
