/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BLAKE2s against RFC 7693 and against a plain implementation written from its text, which
 * passes the self-test of the RFC's Appendix E first. HMAC and KDF against constructions from
 * that twin and against answers of another implementation.
 */
#include "cr_blake2s.c"

#include "cr_test.h"

#include <openssl/crypto.h>

/* --- the naive twin: RFC 7693, section 3, with no care for speed --- */

#define TWIN_BYTES_MAX 1280

static const uint32_t twin_iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
	0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint8_t twin_sigma[10][16] = {
	{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
	{14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
	{11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
	{7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
	{9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
	{2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
	{12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
	{13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
	{6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
	{10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

static uint32_t rotate_right(uint32_t x, int n)
{
	return x >> n | x << (32 - n);
}

static void twin_mix(uint32_t v[16], const int at[4], uint32_t x, uint32_t y)
{
	int a = at[0], b = at[1], c = at[2], d = at[3];

	v[a] += v[b] + x;
	v[d] = rotate_right(v[d] ^ v[a], 16);
	v[c] += v[d];
	v[b] = rotate_right(v[b] ^ v[c], 12);
	v[a] += v[b] + y;
	v[d] = rotate_right(v[d] ^ v[a], 8);
	v[c] += v[d];
	v[b] = rotate_right(v[b] ^ v[c], 7);
}

static void twin_compress(uint32_t h[8], const uint8_t block[64], uint64_t total, bool is_last)
{
	static const int columns[8][4] = {{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14},
		{3, 7, 11, 15}, {0, 5, 10, 15}, {1, 6, 11, 12}, {2, 7, 8, 13}, {3, 4, 9, 14}};
	uint32_t v[16], m[16];

	for (int i = 0; i < 16; i++)
		m[i] = base_load_le32(block + 4 * i);
	memcpy(v, h, 32);
	memcpy(v + 8, twin_iv, 32);
	v[12] ^= (uint32_t)total;
	v[13] ^= (uint32_t)(total >> 32);
	if (is_last)
		v[14] = ~v[14];
	for (int round = 0; round < 10; round++)
		for (int i = 0; i < 8; i++)
			twin_mix(v, columns[i], m[twin_sigma[round][2 * i]],
				m[twin_sigma[round][2 * i + 1]]);
	for (int i = 0; i < 8; i++)
		h[i] ^= v[i] ^ v[i + 8];
}

/* The whole message in one piece: the key's block, then the data, zero-padded. */
static void twin_blake2s(
	uint8_t *out, size_t out_len, const void *key, size_t key_len, const void *data, size_t len)
{
	static uint8_t message[64 + TWIN_BYTES_MAX];
	size_t data_at = key_len > 0 ? 64 : 0, total = data_at + len, at = 0;
	uint32_t h[8];

	assert_true(len <= TWIN_BYTES_MAX - 64);
	memset(message, 0, sizeof(message));
	if (key_len > 0)
		memcpy(message, key, key_len);
	if (len > 0)
		memcpy(message + data_at, data, len);
	memcpy(h, twin_iv, sizeof(h));
	h[0] ^= 0x01010000 ^ (uint32_t)key_len << 8 ^ (uint32_t)out_len;
	for (; total > at + 64; at += 64)
		twin_compress(h, message + at, at + 64, false);
	twin_compress(h, message + at, total, true);
	memcpy(out, h, out_len);
}

/* RFC 7693, Appendix E: the deterministic sequence and the grand hash over all results. */
static void selftest_sequence(uint8_t *out, size_t len, uint32_t sequence_seed)
{
	uint32_t a = 0xdead4bad * sequence_seed, b = 1;

	for (size_t i = 0; i < len; i++) {
		uint32_t t = a + b;

		a = b;
		b = t;
		out[i] = (uint8_t)(t >> 24);
	}
}

static void test_rfc7693_appendix_e(void **state)
{
	static const size_t out_lens[] = {16, 20, 28, 32}, in_lens[] = {0, 3, 64, 65, 255, 1024};
	uint8_t in[1024], md[32], key[32], results[2 * 6 * (16 + 20 + 28 + 32)], grand[32];
	size_t at = 0;

	for (size_t i = 0; i < BASE_ARRAY_LEN(out_lens); i++) {
		for (size_t j = 0; j < BASE_ARRAY_LEN(in_lens); j++) {
			size_t out_len = out_lens[i], len = in_lens[j];

			selftest_sequence(in, len, (uint32_t)len);
			twin_blake2s(md, out_len, NULL, 0, in, len);
			if (out_len == CR_HASH_BYTES) {
				uint8_t ours[CR_HASH_BYTES];

				cr_hash(ours, &(struct cr_span){in, len}, 1);
				assert_memory_equal(ours, md, sizeof(ours));
			}
			memcpy(results + at, md, out_len);
			at += out_len;
			selftest_sequence(key, out_len, (uint32_t)out_len);
			twin_blake2s(md, out_len, key, out_len, in, len);
			if (out_len == CR_MAC_BYTES) {
				uint8_t ours[CR_MAC_BYTES];

				cr_mac(ours, key, out_len, in, len);
				assert_memory_equal(ours, md, sizeof(ours));
			}
			memcpy(results + at, md, out_len);
			at += out_len;
		}
	}
	assert_int_equal(at, sizeof(results));
	twin_blake2s(grand, sizeof(grand), NULL, 0, results, sizeof(results));
	test_assert_hex(grand, sizeof(grand),
		"6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
	cr_hash(grand, &(struct cr_span){results, sizeof(results)}, 1);
	test_assert_hex(grand, sizeof(grand),
		"6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe");
}

/* RFC 7693, Appendix B. */
static void test_rfc7693_abc(void **state)
{
	uint8_t hash[CR_HASH_BYTES];

	cr_hash(hash, &(struct cr_span){"abc", 3}, 1);
	test_assert_hex(hash, sizeof(hash),
		"508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
}

/* The two constants of WireGuard's handshake: HASH(CONSTRUCTION), HASH(that || IDENTIFIER). */
static void test_wireguard_constants(void **state)
{
	static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
	static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";
	uint8_t chain[CR_HASH_BYTES], hash[CR_HASH_BYTES];

	cr_hash(chain, &(struct cr_span){construction, strlen(construction)}, 1);
	test_assert_hex(chain, sizeof(chain),
		"60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
	cr_hash(hash, (struct cr_span[]){{chain, sizeof(chain)}, {identifier, strlen(identifier)}},
		2);
	test_assert_hex(hash, sizeof(hash),
		"2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3");
}

static void test_hash_against_twin(void **state)
{
	uint8_t data[600], expected[CR_HASH_BYTES], hash[CR_HASH_BYTES];

	test_fill(data, sizeof(data), 1);
	for (size_t len = 0; len <= 300; len++) {
		twin_blake2s(expected, sizeof(expected), NULL, 0, data, len);
		/* One span, and three that cut anywhere, empty ones included. */
		for (size_t cut = 0; cut <= len; cut += 1 + len / 7) {
			struct cr_span spans[] = {{data, cut}, {NULL, 0}, {data + cut, len - cut}};

			cr_hash(hash, spans, BASE_ARRAY_LEN(spans));
			assert_memory_equal(hash, expected, sizeof(hash));
		}
	}
	cr_hash(hash, NULL, 0);
	twin_blake2s(expected, sizeof(expected), NULL, 0, NULL, 0);
	assert_memory_equal(hash, expected, sizeof(hash));
}

static void test_mac_against_twin(void **state)
{
	uint8_t key[32], data[200], expected[CR_MAC_BYTES], mac[CR_MAC_BYTES];

	for (size_t key_len = 1; key_len <= sizeof(key); key_len++) {
		test_fill(key, key_len, key_len);
		for (size_t len = 0; len <= sizeof(data); len += 1 + len / 3) {
			test_fill(data, len, len);
			twin_blake2s(expected, sizeof(expected), key, key_len, data, len);
			cr_mac(mac, key, key_len, data, len);
			assert_memory_equal(mac, expected, sizeof(mac));
		}
	}
}

/* Answers of CPython 3.11, hashlib.blake2s and hmac: an implementation that shares no code. */
static void test_other_implementation(void **state)
{
	uint8_t counting[256], out[CR_HASH_BYTES];

	for (unsigned i = 0; i < sizeof(counting); i++)
		counting[i] = (uint8_t)i;
	cr_hmac(out, counting, 32, &(struct cr_span){"abc", 3}, 1);
	test_assert_hex(
		out, 32, "82623be5bc0a391b24dce53e67d028eff92d586de0485ac37822e597d049c74f");
	cr_hmac(out, counting, 100, &(struct cr_span){counting, 200}, 1);
	test_assert_hex(
		out, 32, "c4c95271905c6f69c1dd7c6fbc0cb3735457a660ccc2c4370f28825e7abef5af");
	cr_mac(out, counting, 32, counting, 116);
	test_assert_hex(out, CR_MAC_BYTES, "072e94ffbfc684bd8ab2a1b9dade2fd5");
}

/* HMAC spelled out as RFC 2104 has it: H(K xor opad, H(K xor ipad, text)). */
static void twin_hmac(
	uint8_t out[32], const uint8_t *key, size_t key_len, const uint8_t *data, size_t len)
{
	uint8_t padded[64] = {0}, text[64 + 512];

	if (key_len > 64)
		twin_blake2s(padded, 32, NULL, 0, key, key_len);
	else
		memcpy(padded, key, key_len);
	for (int i = 0; i < 64; i++)
		text[i] = padded[i] ^ 0x36;
	memcpy(text + 64, data, len);
	twin_blake2s(out, 32, NULL, 0, text, 64 + len);
	memcpy(text + 64, out, 32);
	for (int i = 0; i < 64; i++)
		text[i] = padded[i] ^ 0x5c;
	twin_blake2s(out, 32, NULL, 0, text, 64 + 32);
}

static void test_hmac_against_twin(void **state)
{
	uint8_t key[130], data[300], expected[32], mac[32];

	test_fill(key, sizeof(key), 2);
	test_fill(data, sizeof(data), 3);
	for (size_t key_len = 1; key_len <= sizeof(key); key_len++) {
		size_t len = key_len * 2, cut = key_len;

		twin_hmac(expected, key, key_len, data, len);
		cr_hmac(mac, key, key_len, (struct cr_span[]){{data, cut}, {data + cut, len - cut}},
			2);
		assert_memory_equal(mac, expected, sizeof(mac));
	}
}

/* HKDF as RFC 5869 writes it: extract, then expand with a counter byte and no info. */
static void test_kdf_against_twin(void **state)
{
	for (size_t len = 0; len <= 64; len += 16) {
		uint8_t key[32], input[64], prk[32], text[33], expected[3][32], out[3][32];

		test_fill(key, sizeof(key), len);
		test_fill(input, sizeof(input), len + 1);
		twin_hmac(prk, key, 32, input, len);
		text[0] = 1;
		twin_hmac(expected[0], prk, 32, text, 1);
		for (uint8_t i = 1; i < 3; i++) {
			memcpy(text, expected[i - 1], 32);
			text[32] = (uint8_t)(i + 1);
			twin_hmac(expected[i], prk, 32, text, 33);
		}
		cr_kdf(out[0], out[1], out[2], key, len > 0 ? input : NULL, len);
		assert_memory_equal(out, expected, sizeof(out));
		cr_kdf(out[0], out[1], NULL, key, input, len);
		assert_memory_equal(out[1], expected[1], 32);
		/* KDF1 in place, as a chaining key moves on. */
		cr_kdf(key, NULL, NULL, key, input, len);
		assert_memory_equal(key, expected[0], 32);
	}
}

/* --- memory: OpenSSL's allocations, counted --- */

static _Atomic long allocations, live;

static void *counting_malloc(size_t size, const char *file, int line)
{
	allocations++;
	live++;
	return malloc(size);
}

static void *counting_realloc(void *p, size_t size, const char *file, int line)
{
	allocations++;
	if (!p)
		live++;
	return realloc(p, size);
}

static void counting_free(void *p, const char *file, int line)
{
	if (p)
		live--;
	free(p);
}

static void use_everything(void)
{
	uint8_t a[32] = {1}, b[32], c[32];

	cr_kdf(a, b, c, a, "input", 5);
	cr_mac(b, a, 32, c, 32);
}

static void test_no_allocation_after_the_first_call(void **state)
{
	long before;

	use_everything();
	before = allocations;
	for (int i = 0; i < 100; i++)
		use_everything();
	assert_int_equal(allocations, before);
}

static void *thread_main(void *arg)
{
	uint8_t hash[CR_HASH_BYTES];

	use_everything();
	for (int i = 0; i < 1000; i++)
		cr_hash(hash, &(struct cr_span){"abc", 3}, 1);
	*(bool *)arg = hash[0] == 0x50 && hash[31] == 0x82;
	return NULL;
}

static void test_threads_have_their_own_and_free_it(void **state)
{
	pthread_t threads[4];
	bool is_right[4] = {false};
	long before = live;

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &is_right[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_true(is_right[i]);
	}
	assert_int_equal(live, before);
}

static int setup(void **state)
{
	if (cr_init() < 0)
		return -1;
	/* The second time finds everything done. */
	return cr_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc7693_abc),
		cmocka_unit_test(test_rfc7693_appendix_e),
		cmocka_unit_test(test_wireguard_constants),
		cmocka_unit_test(test_other_implementation),
		cmocka_unit_test(test_hash_against_twin),
		cmocka_unit_test(test_mac_against_twin),
		cmocka_unit_test(test_hmac_against_twin),
		cmocka_unit_test(test_kdf_against_twin),
		cmocka_unit_test(test_no_allocation_after_the_first_call),
		cmocka_unit_test(test_threads_have_their_own_and_free_it),
	};

	if (!CRYPTO_set_mem_functions(counting_malloc, counting_realloc, counting_free))
		return 1;
	return cmocka_run_group_tests_name("cr_blake2s", tests, setup, NULL);
}
