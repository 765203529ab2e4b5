/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums against RFC 1071's example and a byte-wise twin on random input (seed printed). */
#include "in_offload.h"

#include "base_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* One 16-bit word after another, carries folded at once. */
static uint16_t naive_csum(const uint8_t *data, uint32_t len)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < len; i += 2) {
		sum += (uint32_t)data[i] << 8 | (i + 1 < len ? data[i + 1] : 0);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)~sum;
}

static uint16_t host_csum(uint64_t sum)
{
	uint16_t csum = in_csum_finish(sum);

	return base_load_be16(&csum);
}

/* RFC 1071, section 3: the bytes 00 01 f2 03 f4 f5 f6 f7 sum to ddf2. */
static void rfc1071_example(void **state)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	assert_int_equal(host_csum(in_csum_add(0, bytes, sizeof(bytes))), 0xffff & ~0xddf2);
}

static void twin_on_random_input(void **state)
{
	uint8_t data[2048];

	for (unsigned round = 0; round < 20000; round++) {
		uint32_t len = (uint32_t)rand() % sizeof(data), at = (uint32_t)rand() % 8;
		uint32_t split;
		uint64_t sum;

		if (at > len)
			at = len;
		/* Long runs of ones make the most carries. */
		for (uint32_t i = 0; i < len; i++)
			data[i] = round % 4 == 0 ? 0xff : (uint8_t)rand();
		split = at + (len - at) / 4 * 2; /* an even piece, then the rest */
		sum = in_csum_add(0, data + at, split - at);
		sum = in_csum_add(sum, data + split, len - split);
		assert_int_equal(host_csum(sum), naive_csum(data + at, len - at));
	}
}

static void largest_sum_folds(void **state)
{
	static uint8_t data[65536];

	memset(data, 0xff, sizeof(data));
	assert_int_equal(host_csum(in_csum_add(0, data, sizeof(data))), 0);
	assert_int_equal(host_csum(UINT64_MAX), 0);
	assert_int_equal(host_csum(UINT64_C(0xffffffff00000000)), 0);
}

static void complete_verifies(void **state)
{
	uint8_t packet[256];

	for (unsigned round = 0; round < 5000; round++) {
		uint32_t len = 40 + (uint32_t)rand() % 200, start = 20 + (uint32_t)rand() % 2 * 20;

		if (len < start + 8)
			continue;
		for (uint32_t i = 0; i < len; i++)
			packet[i] = (uint8_t)rand();
		/* Whatever the field held is the pseudo-header's part: then all sums to what is left. */
		uint16_t partial = base_load_be16(packet + start + 6);

		assert_true(in_csum_complete(packet, len, start, 6));
		uint32_t sum = (uint16_t)~naive_csum(packet + start, len - start) + partial;

		sum = (sum & 0xffff) + (sum >> 16);
		assert_int_equal(sum, 0xffff);
	}
}

static void zero_is_stored_as_ones(void **state)
{
	uint8_t packet[8] = {0xff, 0xff, 0, 0, 0, 0, 0, 0};

	assert_true(in_csum_complete(packet, sizeof(packet), 0, 6));
	assert_int_equal(base_load_be16(packet + 6), 0xffff);
}

static void offsets_outside_are_refused(void **state)
{
	static const uint32_t bad[][3] = {/* len, start, offset */
		{20, 21, 0}, {20, 20, 0}, {20, 19, 0}, {20, 10, 9}, {20, 10, 10},
		{20, 0, UINT32_MAX}, {20, UINT32_MAX, 4}, {20, UINT32_MAX, UINT32_MAX}, {0, 0, 0}};
	uint8_t packet[20], copy[20];

	memset(packet, 0x5a, sizeof(packet));
	memcpy(copy, packet, sizeof(packet));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(in_csum_complete(packet, bad[i][0], bad[i][1], bad[i][2]));
	assert_memory_equal(packet, copy, sizeof(packet));
	assert_true(in_csum_complete(packet, 20, 10, 8));
	assert_true(in_csum_complete(packet, 20, 18, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc1071_example),
		cmocka_unit_test(twin_on_random_input),
		cmocka_unit_test(largest_sum_folds),
		cmocka_unit_test(complete_verifies),
		cmocka_unit_test(zero_is_stored_as_ones),
		cmocka_unit_test(offsets_outside_are_refused),
	};
	const char *seed = getenv("SANDD_TEST_SEED");
	unsigned value = seed ? (unsigned)strtoul(seed, NULL, 0) : 1;

	printf("seed %u (SANDD_TEST_SEED)\n", value);
	srand(value);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
