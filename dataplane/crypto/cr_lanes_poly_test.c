/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Poly1305 in lanes (cr_lanes_poly.h) with limbs at their edges: messages and keys that bring the
 * accumulator to 2^130 - 5 and its neighbours, and carries to every limb; against the plain twin.
 * The bounds that the header states are asserted after every step.
 */
#include "cr_lanes.h"
#include "cr_lanes_poly.h"
#include "cr_test.h"
#include "cr_twin_test.h"

#define ELEMENTS 8
#define BLOCKS_MAX 12
#define LIMB_BOUND ((UINT64_C(1) << 44) + (UINT64_C(1) << 15))

struct message {
	uint8_t key[32]; /* r, not yet clamped, and s */
	uint8_t blocks[BLOCKS_MAX][16];
};

static struct message messages[ELEMENTS];
static uint64_t seed = 1305;

static uint32_t random_below(uint32_t bound)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((seed >> 32) * bound >> 32);
}

/* 64 bits of each element. */
CR_LANES_TARGET static inline __m512i words_at(size_t offset)
{
	uint64_t word[ELEMENTS];

	for (unsigned e = 0; e < ELEMENTS; e++)
		word[e] = base_load_le64((const uint8_t *)&messages[e] + offset);
	return _mm512_loadu_si512(word);
}

CR_LANES_TARGET static inline void assert_bounds(const __m512i x[3])
{
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(_mm512_cmpge_epu64_mask(x[i], _mm512_set1_epi64(LIMB_BOUND)), 0);
}

/* Four at once as long as there are four, if @by_four. */
CR_LANES_TARGET static void lanes_tags(uint8_t tag[ELEMENTS][16], unsigned n, bool by_four)
{
	__m512i word[4], low[4], high[4], out[2], x[3];
	static struct poly_powers powers;
	static struct poly_half half;
	uint64_t part[2][ELEMENTS];
	unsigned b = 0;

	for (unsigned i = 0; i < 4; i++)
		word[i] = words_at(offsetof(struct message, key) + 8 * i);
	poly_begin(&half, word);
	poly_powers_set(&powers, &half.r);
	for (unsigned i = 0; i < 3; i++) {
		x[i] = half.x[i];
		assert_bounds(powers.power[i].r);
	}
	for (; by_four && b + 4 <= n; b += 4) {
		for (unsigned i = 0; i < 4; i++) {
			low[i] = words_at(offsetof(struct message, blocks[b + i]));
			high[i] = words_at(offsetof(struct message, blocks[b + i]) + 8);
		}
		poly_four_blocks(x, &half.r, &powers, low, high);
		assert_bounds(x);
	}
	for (; b < n; b++) {
		poly_block(x, &half.r, words_at(offsetof(struct message, blocks[b])),
			words_at(offsetof(struct message, blocks[b]) + 8));
		assert_bounds(x);
	}
	poly_finish(out, x, &half);
	_mm512_storeu_si512(part[0], out[0]);
	_mm512_storeu_si512(part[1], out[1]);
	for (unsigned e = 0; e < ELEMENTS; e++) {
		base_store_le64(tag[e], part[0][e]);
		base_store_le64(tag[e] + 8, part[1][e]);
	}
}

static void check(unsigned n)
{
	uint8_t expected[16], tag[ELEMENTS][16];

	for (unsigned by_four = 0; by_four < 2; by_four++) {
		lanes_tags(tag, n, by_four);
		for (unsigned e = 0; e < ELEMENTS; e++) {
			struct twin_poly twin;

			twin_poly_begin(&twin, messages[e].key);
			twin_poly_padded(&twin, messages[e].blocks[0], 16 * (size_t)n);
			twin_poly_finish(&twin, expected);
			assert_memory_equal(tag[e], expected, 16);
		}
	}
}

/* 2^@bit + @add as 16 bytes, modulo 2^128; @bit 128 is zero. */
static void edge_store(uint8_t out[16], unsigned bit, int add)
{
	twin_u128 value = bit < 128 ? (twin_u128)1 << bit : 0;

	value += (twin_u128)(__int128)add;
	base_store_le64(out, (uint64_t)value);
	base_store_le64(out + 8, (uint64_t)(value >> 64));
}

/* A value near a border of limbs or words, or anything. */
static void edge_pick(uint8_t out[16])
{
	static const uint8_t bits[] = {0, 1, 2, 24, 40, 42, 43, 44, 45, 63, 64, 86, 87, 88, 89, 108,
		126, 127, 128, 128, 128, 128};

	if (random_below(8) == 0)
		test_fill(out, 16, random_below(UINT32_MAX));
	else
		edge_store(out, bits[random_below(sizeof(bits))], (int)random_below(15) - 7);
}

/* r = 1 and three blocks that add up to 2^130 - 5 + d: the tag is that modulo 2^130 - 5. */
static void test_around_the_prime(void **state)
{
	for (int d = -8; d <= 8; d++) {
		uint8_t tag[ELEMENTS][16], expected[16];

		memset(messages, 0, sizeof(messages));
		edge_store(expected, 128, d < 0 ? d - 5 : d);
		for (unsigned e = 0; e < ELEMENTS; e++) {
			messages[e].key[0] = 1;
			/* Three times 2^128 for the bits above; the rest of it in one of them. */
			edge_store(messages[e].blocks[e % 3], 128, d < 5 ? d - 5 : -1);
			edge_store(messages[e].blocks[(e + 1) % 3], 128, d < 5 ? 0 : d - 4);
		}
		lanes_tags(tag, 3, false);
		for (unsigned e = 0; e < ELEMENTS; e++)
			assert_memory_equal(tag[e], expected, 16);
		check(3);
	}
}

/* The largest and smallest of everything. */
static void test_extremes(void **state)
{
	for (unsigned key = 0; key < 3; key++) {
		for (unsigned fill = 0; fill < 3; fill++) {
			static const uint8_t bytes[] = {0xff, 0x00, 0x80};

			for (unsigned n = 0; n <= BLOCKS_MAX; n++) {
				for (unsigned e = 0; e < ELEMENTS; e++) {
					memset(messages[e].key, bytes[(key + e) % 3], 32);
					memset(messages[e].blocks, bytes[(fill + e / 3) % 3],
						sizeof(messages[e].blocks));
				}
				check(n);
			}
		}
	}
}

static void test_edges_at_random(void **state)
{
	for (unsigned round = 0; round < 30000; round++) {
		for (unsigned e = 0; e < ELEMENTS; e++) {
			edge_pick(messages[e].key);
			edge_pick(messages[e].key + 16);
			for (unsigned b = 0; b < BLOCKS_MAX; b++)
				edge_pick(messages[e].blocks[b]);
		}
		check(random_below(BLOCKS_MAX + 1));
	}
}

/* RFC 8439, A.3, vectors 7 to 11: faults that others have made. */
static void test_rfc8439_a_3(void **state)
{
	static const struct {
		const char *r, *data, *tag;
	} vectors[] = {
		{"02000000000000000000000000000000", "ffffffffffffffffffffffffffffffff",
			"03000000000000000000000000000000"},
		{"01000000000000000000000000000000",
			"fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff"
			"11000000000000000000000000000000",
			"05000000000000000000000000000000"},
		{"01000000000000000000000000000000",
			"fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe"
			"01010101010101010101010101010101",
			"00000000000000000000000000000000"},
		{"02000000000000000000000000000000", "fdffffffffffffffffffffffffffffff",
			"faffffffffffffffffffffffffffffff"},
		{"01000000000000000400000000000000",
			"e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000"
			"0000000000000000000000000000000001000000000000000000000000000000",
			"14000000000000005500000000000000"},
	};

	for (unsigned v = 0; v < BASE_ARRAY_LEN(vectors); v++) {
		struct test_bytes r = test_hex(vectors[v].r), data = test_hex(vectors[v].data);
		uint8_t tag[ELEMENTS][16];

		memset(messages, 0, sizeof(messages));
		for (unsigned e = 0; e < ELEMENTS; e++) {
			memcpy(messages[e].key, r.data, r.len);
			memcpy(messages[e].blocks, data.data, data.len);
		}
		for (unsigned by_four = 0; by_four < 2; by_four++) {
			lanes_tags(tag, (unsigned)data.len / 16, by_four);
			for (unsigned e = 0; e < ELEMENTS; e++)
				test_assert_hex(tag[e], 16, vectors[v].tag);
		}
	}
}

#define LANES_TEST(NAME)                                                                           \
	static void with_##NAME(void **state)                                                      \
	{                                                                                          \
		if (!cr_lanes_are_supported())                                                     \
			skip();                                                                    \
		NAME(state);                                                                       \
	}
LANES_TEST(test_around_the_prime)
LANES_TEST(test_extremes)
LANES_TEST(test_edges_at_random)
LANES_TEST(test_rfc8439_a_3)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_test_around_the_prime),
		cmocka_unit_test(with_test_extremes),
		cmocka_unit_test(with_test_edges_at_random),
		cmocka_unit_test(with_test_rfc8439_a_3),
	};

	return cmocka_run_group_tests_name("cr_lanes_poly", tests, NULL, NULL);
}
