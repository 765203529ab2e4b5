/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The AEADs against RFC 8439, the XChaCha20 draft and Wycheproof; WireGuard's nonce; forgeries;
 * the burst provider. Vectors with any nonce reach the primitives inside cr_aead.c.
 */
#include "cr_aead.c"

#include "cr_test.h"
#include "cr_wycheproof_test.h"

static struct cr_key key_from(const struct test_bytes *bytes)
{
	struct cr_key key;

	assert_int_equal(bytes->len, CR_KEY_BYTES);
	memcpy(key.bytes, bytes->data, CR_KEY_BYTES);
	return key;
}

struct vector {
	const char *origin, *key, *nonce, *ad, *plain, *sealed;
};

/* clang-format off */
#define SUNSCREEN "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a" \
	"204966204920636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f722074686520667574" \
	"7572652c2073756e73637265656e20776f756c642062652069742e"

static const struct vector vector_rfc8439_2_8_2 = {
	"RFC 8439, 2.8.2",
	"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
	"070000004041424344454647", "50515253c0c1c2c3c4c5c6c7", SUNSCREEN,
	"d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92"
	"728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad6759455858"
	"08b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691",
};

/* Its nonce is WireGuard's: 32 zero bits, then the counter 0x0807060504030201. */
static const struct vector vector_rfc8439_a_5 = {
	"RFC 8439, A.5",
	"1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
	"000000000102030405060708", "f33388860000000000004e91",
	"496e7465726e65742d4472616674732061726520647261667420646f63756d656e74732076616c696420666f7220"
	"61206d6178696d756d206f6620736978206d6f6e74687320616e64206d617920626520757064617465642c20"
	"7265706c616365642c206f72206f62736f6c65746564206279206f7468657220646f63756d656e7473206174"
	"20616e792074696d652e20497420697320696e617070726f70726961746520746f2075736520496e7465726e"
	"65742d447261667473206173207265666572656e6365206d6174657269616c206f7220746f20636974652074"
	"68656d206f74686572207468616e206173202fe2809c776f726b20696e2070726f67726573732e2fe2809d",
	"64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d"
	"26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f9"
	"82b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4b9166c767b80"
	"4d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d07"
	"2b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a672762709"
	"7a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b02709bee"
	"ad9d67890cbb22392336fea1851f38",
};

static const struct vector vector_xchacha_a_3_1 = {
	"draft-irtf-cfrg-xchacha-03, A.3.1",
	"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
	"404142434445464748494a4b4c4d4e4f5051525354555657", "50515253c0c1c2c3c4c5c6c7", SUNSCREEN,
	"bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda"
	"7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2"
	"383565d3fff921f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49",
};
/* clang-format on */

/* One primitive with any nonce, both directions. */
struct primitive {
	size_t nonce_bytes;
	void (*seal)(uint8_t *out, const struct cr_key *key, const uint8_t *nonce,
		struct cr_span in, struct cr_span ad);
	bool (*open)(uint8_t *out, const struct cr_key *key, const uint8_t *nonce,
		struct cr_span in, struct cr_span ad);
};

static void seal_xnonce(uint8_t *out, const struct cr_key *key, const uint8_t *nonce,
	struct cr_span in, struct cr_span ad)
{
	cr_xaead_seal(out, key, nonce, in.data, in.len, ad.data, ad.len);
}

static bool open_xnonce(uint8_t *out, const struct cr_key *key, const uint8_t *nonce,
	struct cr_span in, struct cr_span ad)
{
	return cr_xaead_open(out, key, nonce, in.data, in.len, ad.data, ad.len);
}

static const struct primitive chacha = {NONCE_BYTES, seal_nonce, open_nonce};
static const struct primitive xchacha = {CR_XNONCE_BYTES, seal_xnonce, open_xnonce};

static void check_vector(const struct primitive *primitive, const struct vector *vector)
{
	struct test_bytes key_bytes = test_hex(vector->key), nonce = test_hex(vector->nonce);
	struct test_bytes ad = test_hex(vector->ad), plain = test_hex(vector->plain);
	struct test_bytes sealed = test_hex(vector->sealed);
	struct cr_key key = key_from(&key_bytes);
	struct cr_span ad_span = {ad.data, ad.len};
	uint8_t out[TEST_BYTES_MAX];

	print_message("%s\n", vector->origin);
	assert_int_equal(nonce.len, primitive->nonce_bytes);
	assert_int_equal(sealed.len, plain.len + CR_TAG_BYTES);
	primitive->seal(out, &key, nonce.data, (struct cr_span){plain.data, plain.len}, ad_span);
	assert_memory_equal(out, sealed.data, sealed.len);
	memset(out, 0, sizeof(out));
	assert_true(primitive->open(
		out, &key, nonce.data, (struct cr_span){sealed.data, sealed.len}, ad_span));
	assert_memory_equal(out, plain.data, plain.len);
}

static void test_rfc8439(void **state)
{
	check_vector(&chacha, &vector_rfc8439_2_8_2);
	check_vector(&chacha, &vector_rfc8439_a_5);
}

static void test_xchacha_draft(void **state)
{
	check_vector(&xchacha, &vector_xchacha_a_3_1);
}

/* RFC 8439, A.5, through the public call: the counter is little-endian after four zero bytes. */
static void test_counter_nonce(void **state)
{
	const struct vector *vector = &vector_rfc8439_a_5;
	struct test_bytes key_bytes = test_hex(vector->key), ad = test_hex(vector->ad);
	struct test_bytes plain = test_hex(vector->plain), sealed = test_hex(vector->sealed);
	struct cr_key key = key_from(&key_bytes);
	uint64_t counter = UINT64_C(0x0807060504030201);
	uint8_t out[TEST_BYTES_MAX];

	cr_aead_seal(out, &key, counter, plain.data, plain.len, ad.data, ad.len);
	assert_memory_equal(out, sealed.data, sealed.len);
	/* In place. */
	assert_true(cr_aead_open(out, &key, counter, out, sealed.len, ad.data, ad.len));
	assert_memory_equal(out, plain.data, plain.len);
	assert_false(
		cr_aead_open(out, &key, counter + 1, sealed.data, sealed.len, ad.data, ad.len));
}

/* Every single-bit change of ciphertext, tag or associated data is refused, and gives nothing. */
static void test_forgeries(void **state)
{
	struct cr_key key = {{1, 2, 3}};
	uint8_t nonce[CR_XNONCE_BYTES] = {9};
	uint8_t plain[40], sealed[sizeof(plain) + CR_TAG_BYTES], out[sizeof(plain)], ad[8] = {7};
	uint8_t nothing[sizeof(plain)] = {0};

	test_fill(plain, sizeof(plain), 5);
	cr_aead_seal(sealed, &key, 77, plain, sizeof(plain), ad, sizeof(ad));
	for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		memset(out, 0, sizeof(out));
		assert_false(cr_aead_open(out, &key, 77, sealed, sizeof(sealed), ad, sizeof(ad)));
		assert_memory_equal(out, nothing, sizeof(out));
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t bit = 0; bit < 8 * sizeof(ad); bit++) {
		ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(cr_aead_open(out, &key, 77, sealed, sizeof(sealed), ad, sizeof(ad)));
		ad[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(cr_aead_open(out, &key, 77, sealed, sizeof(sealed), ad, sizeof(ad)));
	cr_xaead_seal(sealed, &key, nonce, plain, sizeof(plain), ad, sizeof(ad));
	for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(
			cr_xaead_open(out, &key, nonce, sealed, sizeof(sealed), ad, sizeof(ad)));
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(cr_xaead_open(out, &key, nonce, sealed, sizeof(sealed), ad, sizeof(ad)));
}

/* Shorter than a tag: refused before a byte is read. */
static void test_truncated(void **state)
{
	struct cr_key key = {{1}};
	uint8_t nonce[CR_XNONCE_BYTES] = {0}, out[1];

	for (size_t len = 0; len < CR_TAG_BYTES; len++) {
		uint8_t *exact = malloc(len > 0 ? len : 1);

		memset(exact, 0, len > 0 ? len : 1);
		assert_false(cr_aead_open(out, &key, 0, exact, len, NULL, 0));
		assert_false(cr_xaead_open(out, &key, nonce, exact, len, NULL, 0));
		free(exact);
	}
}

static void test_burst_provider(void **state)
{
	struct cr_aead *aead = cr_aead_sodium.new();
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	static uint8_t packets[CR_AEAD_BURST_MAX][256 + CR_TAG_BYTES];
	struct cr_key keys[3];

	assert_non_null(aead);
	test_fill(keys, sizeof(keys), 11);
	for (unsigned i = 0; i < CR_AEAD_BURST_MAX; i++) {
		test_fill(packets[i], 4 * i, i);
		jobs[i] = (struct cr_aead_job){.key = &keys[i % 3],
			.counter = UINT64_MAX - i,
			.src = packets[i],
			.dst = packets[i],
			.len = 4 * i};
	}
	cr_aead_sodium.seal(aead, jobs, CR_AEAD_BURST_MAX);
	for (unsigned i = 0; i < CR_AEAD_BURST_MAX; i++) {
		uint8_t expected[256 + CR_TAG_BYTES], plain[256];

		test_fill(plain, 4 * i, i);
		cr_aead_seal(expected, jobs[i].key, jobs[i].counter, plain, 4 * i, NULL, 0);
		assert_memory_equal(packets[i], expected, 4 * i + CR_TAG_BYTES);
		packets[i][0] ^= i % 2;
	}
	assert_int_equal(cr_aead_sodium.open(aead, jobs, CR_AEAD_BURST_MAX), CR_AEAD_BURST_MAX / 2);
	for (unsigned i = 0; i < CR_AEAD_BURST_MAX; i++) {
		uint8_t plain[256];

		test_fill(plain, 4 * i, i);
		assert_int_equal(jobs[i].ok, i % 2 == 0);
		if (jobs[i].ok)
			assert_memory_equal(packets[i], plain, 4 * i);
	}
	assert_int_equal(cr_aead_sodium.open(aead, jobs, 0), 0);
	cr_aead_sodium.free(aead);
	cr_aead_sodium.free(NULL);
}

static void wycheproof_check(const struct primitive *primitive, const json_t *test)
{
	struct test_bytes key_bytes = wycheproof_bytes(test, "key");
	struct test_bytes nonce = wycheproof_bytes(test, "iv"), ad = wycheproof_bytes(test, "aad");
	struct test_bytes plain = wycheproof_bytes(test, "msg");
	struct test_bytes sealed = wycheproof_bytes(test, "ct"),
			  tag = wycheproof_bytes(test, "tag");
	struct cr_key key = key_from(&key_bytes);
	struct cr_span ad_span = {ad.data, ad.len};
	static uint8_t out[TEST_BYTES_MAX];
	bool is_valid = wycheproof_result_is(test, "valid");

	memcpy(sealed.data + sealed.len, tag.data, tag.len);
	sealed.len += tag.len;
	primitive->seal(out, &key, nonce.data, (struct cr_span){plain.data, plain.len}, ad_span);
	assert_int_equal(memcmp(out, sealed.data, sealed.len) == 0, is_valid);
	assert_int_equal(primitive->open(out, &key, nonce.data,
				 (struct cr_span){sealed.data, sealed.len}, ad_span),
		is_valid);
	if (is_valid)
		assert_memory_equal(out, plain.data, plain.len);
}

/* Groups with other nonce lengths test interfaces that take any; ours has one length. */
static void wycheproof_run(const struct primitive *primitive, const char *file, int expected)
{
	json_t *document = wycheproof_load(file), *group, *test;
	size_t i, j;
	int checked = 0;

	if (!document)
		skip();
	json_array_foreach (json_object_get(document, "testGroups"), i, group) {
		if (wycheproof_int(group, "ivSize") != (int)(8 * primitive->nonce_bytes))
			continue;
		json_array_foreach (json_object_get(group, "tests"), j, test) {
			wycheproof_check(primitive, test);
			checked++;
		}
	}
	json_decref(document);
	print_message("%d vectors of %s\n", checked, file);
	assert_true(checked >= expected);
}

static void test_wycheproof_chacha(void **state)
{
	wycheproof_run(&chacha, "chacha20_poly1305_test.json", 300);
}

static void test_wycheproof_xchacha(void **state)
{
	wycheproof_run(&xchacha, "xchacha20_poly1305_test.json", 280);
}

static int setup(void **state)
{
	return cr_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc8439),
		cmocka_unit_test(test_xchacha_draft),
		cmocka_unit_test(test_counter_nonce),
		cmocka_unit_test(test_forgeries),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_burst_provider),
		cmocka_unit_test(test_wycheproof_chacha),
		cmocka_unit_test(test_wycheproof_xchacha),
	};

	return cmocka_run_group_tests_name("cr_aead", tests, setup, NULL);
}
