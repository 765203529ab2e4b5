/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The AEADs on libsodium: single messages for handshakes, and the burst provider that every
 * machine has. Any thread. See cr_aead.h; dp_aead_mb.c is the provider for packet workers.
 */
#include "cr_aead.h"

#include "cr_blake2s.h"

#include <sodium.h>
#include <stdlib.h>

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

/* --- known answers ------------------------------------------------------------------------ */

#define TRIAL_BYTES_MAX 1281

static const uint16_t trial_lengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 192, 255, 256,
	257, 511, 512, 513, 1023, 1024, 1025, 1279, 1280, 1281};

/* A burst with the answers that libsodium gives. */
struct trial {
	const struct cr_aead_ops *ops;
	struct cr_aead *aead;
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	struct cr_key keys[CR_AEAD_BURST_MAX];
	uint8_t plain[TRIAL_BYTES_MAX + CR_AEAD_BURST_MAX];
	uint8_t places[CR_AEAD_BURST_MAX][TRIAL_BYTES_MAX + CR_TAG_BYTES];
	uint8_t expected[TRIAL_BYTES_MAX + CR_TAG_BYTES];
};

static bool trial_is_forged(unsigned i)
{
	return i % 3 == 1;
}

/* Every third packet gets a wrong bit: in its tag, or in its first byte if it has one. */
static unsigned trial_forge(struct trial *trial, unsigned n)
{
	unsigned n_good = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t at = i % 2 ? trial->jobs[i].len + i % CR_TAG_BYTES : 0;

		if (trial_is_forged(i))
			trial->places[i][at] ^= (uint8_t)(1 << i % 8);
		else
			n_good++;
	}
	return n_good;
}

/* @n packets, of the @first of the lengths above and each @step further. */
static bool trial_run(struct trial *trial, unsigned n, unsigned first, unsigned step)
{
	unsigned n_good;

	for (unsigned i = 0; i < n; i++) {
		uint32_t len = trial_lengths[(first + i * step) % BASE_ARRAY_LEN(trial_lengths)];

		trial->jobs[i] = (struct cr_aead_job){.key = &trial->keys[i],
			.counter = UINT64_C(0x0102030405060708) * (len + 1 + i),
			.src = trial->places[i],
			.dst = trial->places[i],
			.len = len};
		memcpy(trial->places[i], &trial->plain[i], len);
	}
	trial->ops->seal(trial->aead, trial->jobs, n);
	for (unsigned i = 0; i < n; i++) {
		const struct cr_aead_job *job = &trial->jobs[i];

		cr_aead_seal(trial->expected, job->key, job->counter, &trial->plain[i], job->len,
			NULL, 0);
		if (memcmp(job->dst, trial->expected, job->len + CR_TAG_BYTES) != 0)
			return false;
	}
	n_good = trial_forge(trial, n);
	if (trial->ops->open(trial->aead, trial->jobs, n) != n_good)
		return false;
	for (unsigned i = 0; i < n; i++) {
		const struct cr_aead_job *job = &trial->jobs[i];

		if (job->ok == trial_is_forged(i) ||
			(job->ok && memcmp(job->dst, &trial->plain[i], job->len) != 0))
			return false;
	}
	return true;
}

static bool trial_run_all(struct trial *trial)
{
	for (unsigned i = 0; i < sizeof(trial->plain); i++)
		trial->plain[i] = (uint8_t)(i * 7 + i / 256);
	for (unsigned i = 0; i < CR_AEAD_BURST_MAX; i++)
		for (unsigned at = 0; at < CR_KEY_BYTES; at++)
			trial->keys[i].bytes[at] = (uint8_t)(0x80 + at * (i + 1) + i);
	for (unsigned first = 0; first < BASE_ARRAY_LEN(trial_lengths); first++)
		if (!trial_run(trial, 1, first, 0) || !trial_run(trial, 17, first, 0))
			return false;
	return trial_run(trial, CR_AEAD_BURST_MAX, 0, 1) && trial_run(trial, 31, 3, 5);
}

bool cr_aead_self_test(const struct cr_aead_ops *ops, struct cr_aead *aead)
{
	struct trial *trial = malloc(sizeof(*trial));
	bool is_right;

	if (!trial)
		return false;
	trial->ops = ops;
	trial->aead = aead;
	is_right = trial_run_all(trial);
	free(trial);
	return is_right;
}
