/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BLAKE2s on OpenSSL's provider, HMAC and HKDF above it. Any thread: algorithms are looked up
 * once by cr_init(), contexts belong to the thread. See cr_blake2s.h.
 *
 * The plain hash calls the provider's own functions (provider-digest(7)): EVP_DigestInit frees
 * and allocates the state for every message in OpenSSL 3.0, a fifth of the time of a short one.
 * HMAC is built from two plain hashes, because EVP_MAC's HMAC copies three contexts for each new
 * key and a handshake uses every key only a few times. BLAKE2SMAC goes through EVP_MAC, which
 * keeps its state (and the last key, until the thread's next call or end).
 */
#include "cr_blake2s.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define BLOCK_BYTES 64

/* The hash as its provider offers it. */
struct digest {
	OSSL_FUNC_digest_newctx_fn *newctx;
	OSSL_FUNC_digest_freectx_fn *freectx;
	OSSL_FUNC_digest_init_fn *init;
	OSSL_FUNC_digest_update_fn *update;
	OSSL_FUNC_digest_final_fn *final;
	void *provider_ctx;
	EVP_MD *md; /* holds the provider for as long as the process lives */
};

/* Written by cr_init() before other threads exist, read-only from then on. */
static struct digest blake2s;
static EVP_MAC *blake2s_mac;
static pthread_key_t contexts_key;

struct contexts {
	void *hash;
	EVP_MAC_CTX *mac;
};

static __thread struct contexts contexts;

/* Out of memory for the first call of a thread, or cr_init() was forgotten: no way to go on. */
static _Noreturn void die(const char *what)
{
	fprintf(stderr, "crypto: %s failed\n", what);
	abort();
}

static void contexts_free(void *arg)
{
	struct contexts *of_thread = arg;

	if (of_thread->hash)
		blake2s.freectx(of_thread->hash);
	EVP_MAC_CTX_free(of_thread->mac);
	*of_thread = (struct contexts){0};
}

static bool contexts_new(struct contexts *ret_contexts)
{
	size_t mac_bytes = CR_MAC_BYTES;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &mac_bytes),
		OSSL_PARAM_construct_end(),
	};
	struct contexts made = {
		.hash = blake2s.newctx(blake2s.provider_ctx),
		.mac = EVP_MAC_CTX_new(blake2s_mac),
	};

	/* The output length stays with the context; later calls bring only a key. */
	if (!made.hash || !made.mac || !EVP_MAC_CTX_set_params(made.mac, params)) {
		contexts_free(&made);
		return false;
	}
	*ret_contexts = made;
	return true;
}

static struct contexts *contexts_get(void)
{
	if (__builtin_expect(!contexts.hash, 0)) {
		if (!blake2s_mac || !contexts_new(&contexts) ||
			pthread_setspecific(contexts_key, &contexts) != 0)
			die("BLAKE2s for a new thread");
	}
	return &contexts;
}

static bool digest_fill(struct digest *ret_digest, const OSSL_DISPATCH *functions)
{
	struct digest digest = {0};

	for (; functions->function_id != 0; functions++) {
		switch (functions->function_id) {
		case OSSL_FUNC_DIGEST_NEWCTX:
			digest.newctx = OSSL_FUNC_digest_newctx(functions);
			break;
		case OSSL_FUNC_DIGEST_FREECTX:
			digest.freectx = OSSL_FUNC_digest_freectx(functions);
			break;
		case OSSL_FUNC_DIGEST_INIT:
			digest.init = OSSL_FUNC_digest_init(functions);
			break;
		case OSSL_FUNC_DIGEST_UPDATE:
			digest.update = OSSL_FUNC_digest_update(functions);
			break;
		case OSSL_FUNC_DIGEST_FINAL:
			digest.final = OSSL_FUNC_digest_final(functions);
			break;
		}
	}
	*ret_digest = digest;
	return digest.newctx && digest.freectx && digest.init && digest.update && digest.final;
}

/* EVP chooses the provider; its table of digests has the functions behind the same name. */
static bool digest_find(struct digest *ret_digest)
{
	EVP_MD *md = EVP_MD_fetch(NULL, "BLAKE2S-256", NULL);
	const OSSL_PROVIDER *provider = md ? EVP_MD_get0_provider(md) : NULL;
	const OSSL_ALGORITHM *table, *at;
	bool found = false;
	int no_cache;

	if (!provider)
		return false;
	table = OSSL_PROVIDER_query_operation(provider, OSSL_OP_DIGEST, &no_cache);
	for (at = table; at && at->algorithm_names && !found; at++) {
		/* "BLAKE2S-256:BLAKE2s256:...": the canonical name comes first. */
		if (strncasecmp(at->algorithm_names, "BLAKE2S-256:", 12) == 0)
			found = digest_fill(ret_digest, at->implementation);
	}
	OSSL_PROVIDER_unquery_operation(provider, OSSL_OP_DIGEST, table);
	if (found) {
		ret_digest->provider_ctx = OSSL_PROVIDER_get0_provider_ctx(provider);
		ret_digest->md = md;
	} else {
		EVP_MD_free(md);
	}
	return found;
}

int cr_init(void)
{
	if (sodium_init() < 0)
		return -EIO;
	if (blake2s_mac)
		return 0;
	if (!digest_find(&blake2s))
		return -ENOTSUP;
	if (pthread_key_create(&contexts_key, contexts_free) != 0)
		return -EIO;
	blake2s_mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
	return blake2s_mac ? 0 : -ENOTSUP;
}

/* One hash over an optional first block (HMAC's padded key) and spans. */
static void hash_after(
	uint8_t *ret_hash, const uint8_t *block, const struct cr_span *spans, size_t n)
{
	void *ctx = contexts_get()->hash;
	size_t out_len;
	bool ok = blake2s.init(ctx, NULL);

	if (block)
		ok = ok && blake2s.update(ctx, block, BLOCK_BYTES);
	for (size_t i = 0; i < n; i++)
		ok = ok && blake2s.update(ctx, spans[i].data, spans[i].len);
	/* The last call wipes the provider's state. */
	if (!ok || !blake2s.final(ctx, ret_hash, &out_len, CR_HASH_BYTES))
		die("BLAKE2s");
}

void cr_hash(uint8_t ret_hash[CR_HASH_BYTES], const struct cr_span *spans, size_t n)
{
	hash_after(ret_hash, NULL, spans, n);
}

void cr_mac(uint8_t ret_mac[CR_MAC_BYTES], const void *key, size_t key_len, const void *data,
	size_t len)
{
	EVP_MAC_CTX *ctx = contexts_get()->mac;

	if (!EVP_MAC_init(ctx, key, key_len, NULL) || !EVP_MAC_update(ctx, data, len) ||
		!EVP_MAC_final(ctx, ret_mac, NULL, CR_MAC_BYTES))
		die("BLAKE2SMAC");
}

void cr_hmac(uint8_t ret_mac[CR_HASH_BYTES], const void *key, size_t key_len,
	const struct cr_span *spans, size_t n)
{
	uint8_t block[BLOCK_BYTES] = {0};
	uint8_t inner[CR_HASH_BYTES];
	struct cr_span inner_span = {inner, sizeof(inner)};

	if (key_len > BLOCK_BYTES)
		cr_hash(block, &(struct cr_span){key, key_len}, 1);
	else
		memcpy(block, key, key_len);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		block[i] ^= 0x36; /* ipad, RFC 2104 */
	hash_after(inner, block, spans, n);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		block[i] ^= 0x36 ^ 0x5c; /* opad */
	hash_after(ret_mac, block, &inner_span, 1);
	base_wipe(block, sizeof(block));
	base_wipe(inner, sizeof(inner));
}

void cr_kdf(uint8_t ret_t1[CR_HASH_BYTES], uint8_t *ret_t2, uint8_t *ret_t3,
	const uint8_t key[CR_HASH_BYTES], const void *input, size_t len)
{
	static const uint8_t step[] = {1, 2, 3};
	uint8_t prk[CR_HASH_BYTES];

	cr_hmac(prk, key, CR_HASH_BYTES, &(struct cr_span){input, len}, 1);
	cr_hmac(ret_t1, prk, sizeof(prk), &(struct cr_span){&step[0], 1}, 1);
	if (ret_t2)
		cr_hmac(ret_t2, prk, sizeof(prk),
			(struct cr_span[]){{ret_t1, CR_HASH_BYTES}, {&step[1], 1}}, 2);
	if (ret_t3)
		cr_hmac(ret_t3, prk, sizeof(prk),
			(struct cr_span[]){{ret_t2, CR_HASH_BYTES}, {&step[2], 1}}, 2);
	base_wipe(prk, sizeof(prk));
}
