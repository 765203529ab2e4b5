/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the suites of this folder share: cmocka with its prerequisites, known answers in hex,
 * repeatable random bytes.
 */
#ifndef CR_TEST_H
#define CR_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base_bytes.h"

#define TEST_BYTES_MAX 544 /* Wycheproof: a message of 513 and a tag */

/** Bytes of a known answer. */
struct test_bytes {
	uint8_t data[TEST_BYTES_MAX];
	size_t len;
};

static inline struct test_bytes test_hex(const char *text)
{
	struct test_bytes bytes = {.len = strlen(text) / 2};

	assert_true(bytes.len <= sizeof(bytes.data));
	assert_true(base_hex_decode(bytes.data, bytes.len, text));
	return bytes;
}

static inline void test_assert_hex(const void *data, size_t len, const char *text)
{
	struct test_bytes expected = test_hex(text);

	assert_int_equal(len, expected.len);
	assert_memory_equal(data, expected.data, len);
}

/** Bytes that look random and are the same in each run. */
static inline void test_fill(void *buf, size_t len, uint64_t seed)
{
	uint8_t *out = buf;

	for (size_t i = 0; i < len; i++) {
		/* The generator of Knuth's MMIX; its high bits. */
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		out[i] = (uint8_t)(seed >> 56);
	}
}

#endif
