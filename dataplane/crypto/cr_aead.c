/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The AEADs on libsodium: single messages for handshakes, and the burst provider that every
 * machine has. Any thread. See cr_aead.h; dp_aead_mb.c is the provider for packet workers.
 */
#include "cr_aead.h"

#include "cr_blake2s.h"

#include <sodium.h>

_Static_assert(CR_TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(CR_TAG_BYTES == crypto_aead_xchacha20poly1305_ietf_ABYTES, "tag");
_Static_assert(CR_KEY_BYTES == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "key");
_Static_assert(CR_XNONCE_BYTES == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonce");

#define NONCE_BYTES crypto_aead_chacha20poly1305_ietf_NPUBBYTES

static void nonce_from_counter(uint8_t nonce[NONCE_BYTES], uint64_t counter)
{
	base_store_le32(nonce, 0);
	base_store_le64(nonce + 4, counter);
}

/* The primitives of RFC 8439 with any nonce, apart so that published vectors reach them. */
static void seal_nonce(uint8_t *out, const struct cr_key *key, const uint8_t nonce[NONCE_BYTES],
	struct cr_span in, struct cr_span ad)
{
	crypto_aead_chacha20poly1305_ietf_encrypt(
		out, NULL, in.data, in.len, ad.data, ad.len, NULL, nonce, key->bytes);
}

/* libsodium compares the tag in constant time before it decrypts, and zeroes out otherwise. */
static bool open_nonce(uint8_t *out, const struct cr_key *key, const uint8_t nonce[NONCE_BYTES],
	struct cr_span in, struct cr_span ad)
{
	return in.len >= CR_TAG_BYTES &&
		crypto_aead_chacha20poly1305_ietf_decrypt(
			out, NULL, NULL, in.data, in.len, ad.data, ad.len, nonce, key->bytes) == 0;
}

void cr_aead_seal(uint8_t *out, const struct cr_key *key, uint64_t counter, const void *in,
	size_t len, const void *ad, size_t ad_len)
{
	uint8_t nonce[NONCE_BYTES];

	nonce_from_counter(nonce, counter);
	seal_nonce(out, key, nonce, (struct cr_span){in, len}, (struct cr_span){ad, ad_len});
}

bool cr_aead_open(uint8_t *out, const struct cr_key *key, uint64_t counter, const void *in,
	size_t len, const void *ad, size_t ad_len)
{
	uint8_t nonce[NONCE_BYTES];

	nonce_from_counter(nonce, counter);
	return open_nonce(out, key, nonce, (struct cr_span){in, len}, (struct cr_span){ad, ad_len});
}

void cr_xaead_seal(uint8_t *out, const struct cr_key *key, const uint8_t nonce[CR_XNONCE_BYTES],
	const void *in, size_t len, const void *ad, size_t ad_len)
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(
		out, NULL, in, len, ad, ad_len, NULL, nonce, key->bytes);
}

bool cr_xaead_open(uint8_t *out, const struct cr_key *key, const uint8_t nonce[CR_XNONCE_BYTES],
	const void *in, size_t len, const void *ad, size_t ad_len)
{
	return len >= CR_TAG_BYTES &&
		crypto_aead_xchacha20poly1305_ietf_decrypt(
			out, NULL, NULL, in, len, ad, ad_len, nonce, key->bytes) == 0;
}

/* libsodium needs no state; new() has to give something that is not NULL. */
struct cr_aead {
	uint8_t unused;
};

static struct cr_aead stateless;

static struct cr_aead *burst_new(void)
{
	return &stateless;
}

static void burst_free(struct cr_aead *aead)
{
}

static void burst_seal(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		cr_aead_seal(jobs[i].dst, jobs[i].key, jobs[i].counter, jobs[i].src, jobs[i].len,
			NULL, 0);
}

static unsigned burst_open(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n)
{
	unsigned good = 0;

	for (unsigned i = 0; i < n; i++) {
		jobs[i].ok = cr_aead_open(jobs[i].dst, jobs[i].key, jobs[i].counter, jobs[i].src,
			(size_t)jobs[i].len + CR_TAG_BYTES, NULL, 0);
		good += jobs[i].ok;
	}
	return good;
}

const struct cr_aead_ops cr_aead_sodium = {
	.name = "libsodium",
	.new = burst_new,
	.free = burst_free,
	.seal = burst_seal,
	.open = burst_open,
};
