/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Loads and stores at every alignment, hex, the base64 of keys in its canonical form only, and
 * constant-time compare. The branch-free digits are compared with a table, value by value.
 */
#include "base_bytes.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void test_loads_and_stores(void **state)
{
	static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8};

	for (size_t shift = 0; shift < 8; shift++) {
		uint8_t area[24] = {0};
		uint8_t *p = area + shift;

		memcpy(p, bytes, sizeof(bytes));
		assert_int_equal(base_load_be16(p), 0x0102);
		assert_int_equal(base_load_be32(p), 0x01020304);
		assert_true(base_load_be64(p) == UINT64_C(0x0102030405060708));
		assert_int_equal(base_load_le32(p), 0x04030201);
		assert_true(base_load_le64(p) == UINT64_C(0x0807060504030201));
		memset(area, 0, sizeof(area));
		base_store_be64(p, UINT64_C(0x0102030405060708));
		assert_memory_equal(p, bytes, 8);
		base_store_le64(p, UINT64_C(0x0807060504030201));
		assert_memory_equal(p, bytes, 8);
		memset(area, 0, sizeof(area));
		base_store_be16(p, 0x0102);
		base_store_be32(p + 2, 0x03040506);
		base_store_le32(p + 6, 0x0a090807);
		assert_memory_equal(p, bytes, 8);
		assert_int_equal(p[10], 0);
	}
}

static void test_ct_equal(void **state)
{
	uint8_t a[33], b[33];

	for (size_t i = 0; i < sizeof(a); i++)
		a[i] = b[i] = (uint8_t)(i * 37);
	assert_true(base_ct_equal(a, b, sizeof(a)));
	for (size_t bit = 0; bit < 8 * sizeof(a); bit++) {
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(base_ct_equal(a, b, sizeof(a)));
		/* What lies past the length does not count. */
		assert_true(base_ct_equal(a, b, bit / 8));
		b[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(base_ct_equal(a, b, 0));
}

static void test_wipe(void **state)
{
	uint8_t secret[5] = {1, 2, 3, 4, 5};
	static const uint8_t wiped[5] = {0, 0, 0, 0, 5};

	base_wipe(secret, 4);
	assert_memory_equal(secret, wiped, sizeof(wiped));
}

static void test_hex(void **state)
{
	static const char *const bad[] = {"", "0", "001", "00112", "0011223", "001122334",
		"00 12233", "0x112233", "0011223g", "001122\n3", "+0112233", "-0112233"};
	uint8_t bytes[4] = {9, 9, 9, 9};
	static const uint8_t untouched[4] = {9, 9, 9, 9}, expected[4] = {0x00, 0x7f, 0xaB, 0xff};
	char text[9];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_false(base_hex_decode(bytes, sizeof(bytes), bad[i]));
		assert_memory_equal(bytes, untouched, sizeof(bytes));
	}
	assert_true(base_hex_decode(bytes, sizeof(bytes), "007FaBff"));
	assert_memory_equal(bytes, expected, sizeof(bytes));
	base_hex_encode(text, bytes, sizeof(bytes));
	assert_string_equal(text, "007fabff");
	base_hex_encode(text, bytes, 0);
	assert_string_equal(text, "");
	assert_true(base_hex_decode(bytes, 0, ""));
	for (int c = 0; c < 256; c++) {
		char one[3] = {'0', (char)c, '\0'};
		bool is_hex = c != 0 && strchr("0123456789abcdefABCDEF", c);

		assert_int_equal(base_hex_decode(bytes, 1, one), is_hex);
	}
}

/* Against the table of RFC 4648, section 4. */
static void test_base64_digits(void **state)
{
	for (int v = 0; v < 64; v++)
		assert_int_equal(base64_digit(v), alphabet[v]);
	for (int c = 0; c < 256; c++) {
		const char *at = c ? strchr(alphabet, c) : NULL;

		assert_int_equal(base64_value(c), at ? at - alphabet : -1);
	}
}

/* RFC 7748, 6.1: keys as wg prints them; base64 by coreutils. */
static void test_key_known(void **state)
{
	static const char hex[] =
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
	static const char base64[] = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
	char text[BASE_KEY_TEXT_LEN + 1], fingerprint[BASE_FINGERPRINT_LEN + 1];
	uint8_t key[32], decoded[32];

	assert_true(base_hex_decode(key, sizeof(key), hex));
	base_key_encode(text, key);
	assert_string_equal(text, base64);
	assert_true(base_key_decode(decoded, base64));
	assert_memory_equal(decoded, key, sizeof(key));
	base_key_fingerprint(fingerprint, key);
	assert_string_equal(fingerprint, "hSDwCYkw");
}

static void test_key_round_trip(void **state)
{
	uint8_t key[32], decoded[32];
	char text[BASE_KEY_TEXT_LEN + 1];

	for (int bit = 0; bit < 256; bit++) {
		for (int invert = 0; invert < 2; invert++) {
			memset(key, invert ? 0xff : 0, sizeof(key));
			key[bit / 8] ^= (uint8_t)(1 << bit % 8);
			base_key_encode(text, key);
			assert_int_equal(strlen(text), BASE_KEY_TEXT_LEN);
			assert_true(base_key_decode(decoded, text));
			assert_memory_equal(decoded, key, sizeof(key));
		}
	}
}

static void assert_key_refused(const char *text)
{
	uint8_t key[32], untouched[32];

	memset(key, 0x77, sizeof(key));
	memset(untouched, 0x77, sizeof(untouched));
	if (base_key_decode(key, text))
		fail_msg("accepted: %s", text);
	assert_memory_equal(key, untouched, sizeof(key));
}

/* Anything that is not the one text of a key. */
static void test_key_refused(void **state)
{
	static const char good[] = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
	char text[BASE_KEY_TEXT_LEN + 2];
	int canonical = 0;

	for (size_t len = 0; len < BASE_KEY_TEXT_LEN; len++) {
		snprintf(text, sizeof(text), "%.*s", (int)len, good);
		assert_key_refused(text);
	}
	snprintf(text, sizeof(text), "%s=", good);
	assert_key_refused(text);
	snprintf(text, sizeof(text), "%s\n", good);
	assert_key_refused(text);
	/* A foreign character at each place, "=" and the URL-safe ones among them. */
	for (size_t at = 0; at < BASE_KEY_TEXT_LEN; at++) {
		for (const char *c = "=-_ \n.,@[`{:\x01\x7f\x80\xff"; *c; c++) {
			if (good[at] == *c)
				continue;
			memcpy(text, good, sizeof(good));
			text[at] = *c;
			assert_key_refused(text);
		}
	}
	/* The last digit carries four bits: of 64 digits only the 16 with two zeros are canonical. */
	for (int v = 0; v < 64; v++) {
		uint8_t key[32];

		memcpy(text, good, sizeof(good));
		text[42] = alphabet[v];
		if (v % 4 != 0)
			assert_key_refused(text);
		else
			canonical += base_key_decode(key, text);
	}
	assert_int_equal(canonical, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loads_and_stores),
		cmocka_unit_test(test_ct_equal),
		cmocka_unit_test(test_wipe),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_base64_digits),
		cmocka_unit_test(test_key_known),
		cmocka_unit_test(test_key_round_trip),
		cmocka_unit_test(test_key_refused),
	};

	return cmocka_run_group_tests_name("base_bytes", tests, NULL, NULL);
}
