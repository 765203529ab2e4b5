/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * X25519 on libsodium, and Noise's symmetric state. Any thread. See cr_noise.h; the handshakes
 * that use it are wg_noise.c and the coordination channel.
 */
#include "cr_noise.h"

#include <sodium.h>

_Static_assert(CR_KEY_BYTES == crypto_scalarmult_curve25519_BYTES, "point");
_Static_assert(CR_KEY_BYTES == crypto_scalarmult_curve25519_SCALARBYTES, "scalar");

void cr_random(void *buf, size_t len)
{
	randombytes_buf(buf, len);
}

/* Each byte is given out once, and then gone. */
struct random_block {
	uint8_t bytes[1024];
	size_t left;
};

static __thread struct random_block public_block;

void cr_random_public(void *buf, size_t len)
{
	struct random_block *block = &public_block;

	if (block->left < len) {
		cr_random(block->bytes, sizeof(block->bytes));
		block->left = sizeof(block->bytes);
	}
	block->left -= len;
	memcpy(buf, block->bytes + block->left, len);
	base_wipe(block->bytes + block->left, len);
}

void cr_x25519_generate(struct cr_key *ret_private)
{
	cr_random(ret_private->bytes, CR_KEY_BYTES);
	ret_private->bytes[0] &= 248; /* RFC 7748, section 5 */
	ret_private->bytes[31] = (ret_private->bytes[31] & 127) | 64;
}

void cr_x25519_public(struct cr_key *ret_public, const struct cr_key *private_key)
{
	/* Cannot fail: the base point has a large order. */
	crypto_scalarmult_curve25519_base(ret_public->bytes, private_key->bytes);
}

/*
 * In 255 bits, low byte first: 0, 1, the two points of order eight, p - 1, and p and p + 1, which mean 0 and 1
 * (D. J. Bernstein, cr.yp.to/ecdh.html, "validate"). The top bit means nothing (RFC 7748, section 5). The curve and
 * its twist have no others, and no other number below 2^255 is congruent to one of them.
 */
bool cr_x25519_is_low_order(const struct cr_key *public_key)
{
	static const uint8_t eighth[2][CR_KEY_BYTES] = {
		{0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f,
			0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62,
			0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
		{0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83,
			0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22,
			0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
	};
	struct cr_key key = *public_key;
	uint8_t first = key.bytes[0], zeros[CR_KEY_BYTES] = {0}, ones[CR_KEY_BYTES];

	memset(ones, 0xff, sizeof(ones));
	key.bytes[31] &= 127;
	if (memcmp(key.bytes, eighth[0], CR_KEY_BYTES) == 0 ||
		memcmp(key.bytes, eighth[1], CR_KEY_BYTES) == 0)
		return true;
	if (first <= 1)
		return memcmp(key.bytes + 1, zeros, CR_KEY_BYTES - 1) == 0;
	return first >= 0xec && first <= 0xee && key.bytes[31] == 127 &&
		memcmp(key.bytes + 1, ones, CR_KEY_BYTES - 2) == 0;
}

bool cr_x25519(struct cr_key *ret_shared, const struct cr_key *private_key,
	const struct cr_key *public_key)
{
	struct cr_key shared CR_KEY_CLEANUP = {{0}};

	/*
	 * libsodium refuses the known low-order encodings, which are public, and a result of
	 * zeros, whose bytes it folds without branches. Nothing here relies on the first list
	 * being complete.
	 */
	if (crypto_scalarmult_curve25519(shared.bytes, private_key->bytes, public_key->bytes) != 0)
		return false;
	if (cr_key_is_zero(&shared))
		return false;
	*ret_shared = shared;
	return true;
}

void cr_noise_init(struct cr_noise *noise, const char *name, const void *prologue, size_t len)
{
	size_t name_len = strlen(name);

	*noise = (struct cr_noise){0};
	if (name_len <= CR_HASH_BYTES)
		memcpy(noise->hash, name, name_len);
	else
		cr_hash(noise->hash, &(struct cr_span){name, name_len}, 1);
	memcpy(noise->chaining_key, noise->hash, CR_HASH_BYTES);
	cr_noise_mix_hash(noise, prologue, len);
}

void cr_noise_fini(struct cr_noise *noise)
{
	base_wipe(noise, sizeof(*noise));
}

static void hash_after(
	uint8_t ret_hash[CR_HASH_BYTES], const struct cr_noise *noise, const void *data, size_t len)
{
	const struct cr_span spans[] = {{noise->hash, CR_HASH_BYTES}, {data, len}};

	cr_hash(ret_hash, spans, BASE_ARRAY_LEN(spans));
}

void cr_noise_mix_hash(struct cr_noise *noise, const void *data, size_t len)
{
	hash_after(noise->hash, noise, data, len);
}

void cr_noise_mix_chain(struct cr_noise *noise, const void *data, size_t len)
{
	cr_kdf(noise->chaining_key, NULL, NULL, noise->chaining_key, data, len);
}

static void key_is_new(struct cr_noise *noise)
{
	noise->nonce = 0;
	noise->has_key = true;
}

void cr_noise_mix_key(struct cr_noise *noise, const void *data, size_t len)
{
	cr_kdf(noise->chaining_key, noise->key.bytes, NULL, noise->chaining_key, data, len);
	key_is_new(noise);
}

void cr_noise_mix_key_and_hash(struct cr_noise *noise, const void *data, size_t len)
{
	struct cr_key for_hash CR_KEY_CLEANUP;

	cr_kdf(noise->chaining_key, for_hash.bytes, noise->key.bytes, noise->chaining_key, data,
		len);
	cr_noise_mix_hash(noise, for_hash.bytes, CR_KEY_BYTES);
	key_is_new(noise);
}

bool cr_noise_mix_dh_chain(
	struct cr_noise *noise, const struct cr_key *private_key, const struct cr_key *public_key)
{
	struct cr_key shared CR_KEY_CLEANUP;

	if (!cr_x25519(&shared, private_key, public_key))
		return false;
	cr_noise_mix_chain(noise, shared.bytes, CR_KEY_BYTES);
	return true;
}

bool cr_noise_mix_dh(
	struct cr_noise *noise, const struct cr_key *private_key, const struct cr_key *public_key)
{
	struct cr_key shared CR_KEY_CLEANUP;

	if (!cr_x25519(&shared, private_key, public_key))
		return false;
	cr_noise_mix_key(noise, shared.bytes, CR_KEY_BYTES);
	return true;
}

void cr_noise_encrypt_and_hash(struct cr_noise *noise, uint8_t *out, const void *in, size_t len)
{
	if (noise->has_key) {
		cr_aead_seal(out, &noise->key, noise->nonce, in, len, noise->hash, CR_HASH_BYTES);
		noise->nonce++;
		len += CR_TAG_BYTES;
	} else if (len > 0) {
		memmove(out, in, len);
	}
	cr_noise_mix_hash(noise, out, len);
}

bool cr_noise_decrypt_and_hash(struct cr_noise *noise, uint8_t *out, const void *in, size_t len)
{
	uint8_t next_hash[CR_HASH_BYTES];

	/* Before opening, which may overwrite the ciphertext (out == in). */
	hash_after(next_hash, noise, in, len);
	if (noise->has_key) {
		if (!cr_aead_open(
			    out, &noise->key, noise->nonce, in, len, noise->hash, CR_HASH_BYTES))
			return false;
		noise->nonce++;
	} else if (len > 0) {
		memmove(out, in, len);
	}
	memcpy(noise->hash, next_hash, CR_HASH_BYTES);
	return true;
}

void cr_noise_split(struct cr_noise *noise, struct cr_key *ret_first, struct cr_key *ret_second)
{
	cr_kdf(ret_first->bytes, ret_second->bytes, NULL, noise->chaining_key, NULL, 0);
	cr_noise_fini(noise);
}
