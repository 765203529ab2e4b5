/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The scheduler of bursts (dp_aead_lanes.c): what goes side by side, that nothing is lost or taken
 * twice, that the bytes are libsodium's; and the choice of a provider (dp_aead.c) on CPUs that
 * cannot and with ciphers that are wrong. The seed is printed.
 */
#include "cr_blake2s.h"
#include "cr_lanes.h"
#include "dp_aead.h"
#include "dp_aead_lanes.h"
#include "dp_aead_mb.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN_MAX 2048
#define KEYS 100

static uint64_t seed;
static struct cr_key keys[KEYS];
static struct cr_aead *aead;

/* What new() finds: a CPU without the instructions, a provider with wrong answers. */
static bool is_cpu_without;
static const char *wrong_name;

struct cr_lanes *__real_cr_lanes_new(void);
struct cr_lanes *__wrap_cr_lanes_new(void);
bool __real_cr_aead_self_test(const struct cr_aead_ops *ops, struct cr_aead *state);
bool __wrap_cr_aead_self_test(const struct cr_aead_ops *ops, struct cr_aead *state);

struct cr_lanes *__wrap_cr_lanes_new(void)
{
	if (!is_cpu_without)
		return __real_cr_lanes_new();
	errno = ENOTSUP;
	return NULL;
}

bool __wrap_cr_aead_self_test(const struct cr_aead_ops *ops, struct cr_aead *state)
{
	bool is_right = __real_cr_aead_self_test(ops, state);

	return is_right && !(wrong_name && strcmp(ops->name, wrong_name) == 0);
}

static uint64_t random_next(void)
{
	/* xorshift64* (Vigna 2014). */
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(0x2545f4914f6cdd1d);
}

static void random_fill(void *buf, size_t len)
{
	uint8_t *out = buf;

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(random_next() >> 56);
}

/* --- the plan ------------------------------------------------------------------------------- */

static unsigned plan_of(
	struct dp_aead_lanes_plan *plan, struct cr_aead_job *jobs, const uint32_t len[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		jobs[i] = (struct cr_aead_job){.len = len[i]};
	memset(plan, 0xee, sizeof(*plan));
	return dp_aead_lanes_plan(plan, jobs, n);
}

/* Every job once; longest first; jobs of as many blocks in the order in which they came. */
static void check_plan(const struct dp_aead_lanes_plan *plan, const uint32_t len[], unsigned n,
	unsigned expected_together)
{
	unsigned together = 0, at = 0;
	uint64_t seen = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned job = plan->order[i];

		assert_in_range(job, 0, n - 1);
		assert_false(seen >> job & 1);
		seen |= UINT64_C(1) << job;
		if (i == 0)
			continue;
		assert_true((len[plan->order[i - 1]] + 63) / 64 >= (len[job] + 63) / 64);
		if ((len[plan->order[i - 1]] + 63) / 64 == (len[job] + 63) / 64)
			assert_true(plan->order[i - 1] < job);
	}
	while (at < n) {
		assert_in_range(plan->group_of[at], 0, CR_LANES);
		together += plan->group_of[at];
		at += plan->group_of[at] > 0 ? plan->group_of[at] : 1;
	}
	assert_int_equal(at, n);
	assert_int_equal(together, expected_together);
}

struct plan_case {
	unsigned n_long, n_short;
	uint32_t len_long, len_short;
	unsigned together;
};

/* Long ones first in the burst, and last. */
static void test_plan_of_two_kinds(void **state)
{
	static const struct plan_case cases[] = {
		{0, 16, 0, 64, 16},
		{0, 32, 0, 64, 32},
		{0, 1, 0, 64, 0},
		{0, 3, 0, 64, 0},
		{0, 6, 0, 64, 6},
		/* The rest of a burst goes alone if it is too small to pay. */
		{0, 34, 0, 64, 32},
		{16, 0, 1424, 0, 16},
		{8, 0, 1424, 0, 0},
		{12, 0, 512, 0, 12},
		/* Two long ones would make a group of them slow: they go alone. */
		{2, 14, 1424, 64, 14},
		/* Fifteen long ones take a short one along. */
		{15, 1, 1424, 64, 16},
		{64, 0, 64, 0, 64},
		{0, 64, 0, 0, 64},
	};
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	struct dp_aead_lanes_plan plan;
	uint32_t len[CR_AEAD_BURST_MAX];

	for (unsigned c = 0; c < BASE_ARRAY_LEN(cases); c++) {
		const struct plan_case *one = &cases[c];
		unsigned n = one->n_long + one->n_short;

		for (unsigned turn = 0; turn < 2; turn++) {
			for (unsigned i = 0; i < n; i++)
				len[i] = (turn == 0 ? i < one->n_long : i >= one->n_short)
					? one->len_long
					: one->len_short;
			assert_int_equal(plan_of(&plan, jobs, len, n), one->together);
			check_plan(&plan, len, n, one->together);
		}
	}
}

static void test_plan_of_anything(void **state)
{
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	struct dp_aead_lanes_plan plan;
	uint32_t len[CR_AEAD_BURST_MAX];

	for (unsigned round = 0; round < 20000; round++) {
		unsigned n = (unsigned)(random_next() % (CR_AEAD_BURST_MAX + 1));
		uint32_t most = 1 + (uint32_t)(random_next() % 4000);

		for (unsigned i = 0; i < n; i++)
			len[i] = (uint32_t)(random_next() % most);
		check_plan(&plan, len, n, plan_of(&plan, jobs, len, n));
	}
	/* Lengths that no packet has are counted as the longest that it counts. */
	len[0] = UINT32_MAX;
	len[1] = 4097;
	for (unsigned i = 2; i < 32; i++)
		len[i] = 5000;
	assert_int_equal(plan_of(&plan, jobs, len, 32), 32);
}

/* --- bursts --------------------------------------------------------------------------------- */

struct burst {
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	uint8_t plain[CR_AEAD_BURST_MAX][LEN_MAX];
	uint8_t sealed[CR_AEAD_BURST_MAX][LEN_MAX + CR_TAG_BYTES];
	uint8_t out[CR_AEAD_BURST_MAX][LEN_MAX + CR_TAG_BYTES];
	unsigned n;
};

static struct burst burst;

static void burst_make(unsigned n, uint32_t most)
{
	burst.n = n;
	for (unsigned i = 0; i < n; i++) {
		struct cr_aead_job *job = &burst.jobs[i];

		*job = (struct cr_aead_job){
			.key = &keys[random_next() % KEYS],
			.counter = random_next(),
			.src = burst.plain[i],
			.dst = burst.out[i],
			.len = (uint32_t)(random_next() % (most + 1)),
		};
		random_fill(burst.plain[i], job->len);
		memset(burst.out[i], 0xa5, sizeof(burst.out[i]));
		cr_aead_seal(
			burst.sealed[i], job->key, job->counter, burst.plain[i], job->len, NULL, 0);
	}
}

/* Seals to other places, opens in place; packets of @forged (a bit each) have a wrong bit. */
static void burst_check(uint64_t forged)
{
	unsigned good = 0;

	dp_aead_lanes.seal(aead, burst.jobs, burst.n);
	for (unsigned i = 0; i < burst.n; i++) {
		size_t len = burst.jobs[i].len + CR_TAG_BYTES;

		assert_memory_equal(burst.out[i], burst.sealed[i], len);
		if (len < sizeof(burst.out[i]))
			assert_int_equal(burst.out[i][len], 0xa5);
		burst.jobs[i].src = burst.out[i];
		burst.jobs[i].ok = forged >> i & 1;
		if (forged >> i & 1)
			burst.out[i][random_next() % len] ^= (uint8_t)(1 << random_next() % 8);
		else
			good++;
	}
	assert_int_equal(dp_aead_lanes.open(aead, burst.jobs, burst.n), good);
	for (unsigned i = 0; i < burst.n; i++) {
		assert_int_equal(burst.jobs[i].ok, !(forged >> i & 1));
		if (burst.jobs[i].ok)
			assert_memory_equal(burst.out[i], burst.plain[i], burst.jobs[i].len);
	}
}

/* Every size of burst, from short packets alone to all lengths. */
static void test_bursts(void **state)
{
	static const uint32_t most[] = {0, 64, 100, 300, 1424, LEN_MAX};

	if (!aead)
		skip();
	for (unsigned m = 0; m < BASE_ARRAY_LEN(most); m++) {
		for (unsigned n = 0; n <= CR_AEAD_BURST_MAX; n++) {
			burst_make(n, most[m]);
			burst_check(0);
			burst_make(n, most[m]);
			burst_check(random_next() & random_next());
		}
	}
}

/* IMIX: 7 of 64, 4 of 576, 1 of 1420 bytes; a worker's bursts. */
static void test_imix(void **state)
{
	static const uint32_t sizes[12] = {64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1420};

	if (!aead)
		skip();
	for (unsigned round = 0; round < 50; round++) {
		burst_make(32, 0);
		for (unsigned i = 0; i < burst.n; i++) {
			struct cr_aead_job *job = &burst.jobs[i];

			job->len = sizes[random_next() % 12];
			cr_aead_seal(burst.sealed[i], job->key, job->counter, burst.plain[i],
				job->len, NULL, 0);
		}
		burst_check(UINT64_C(1) << random_next() % 64);
	}
}

/* --- the choice ----------------------------------------------------------------------------- */

static char warned[256];

static void warn_keep(const char *line)
{
	snprintf(warned, sizeof(warned), "%s", line);
}

/* @name gives @expected (NULL: none, and the error begins with @text); else @text is the warning. */
static void check_choice(const char *name, const struct cr_aead_ops *expected, const char *text)
{
	struct base_error error = {0};
	const struct cr_aead_ops *ops;

	warned[0] = '\0';
	errno = 0;
	ops = dp_aead_choose(name, warn_keep, &error);
	assert_ptr_equal(ops, expected);
	assert_string_equal(ops ? warned : error.text, text);
	assert_true(ops || errno != 0);
}

static void test_choice_as_it_is(void **state)
{
	const struct cr_aead_ops *best = cr_lanes_are_supported() ? &dp_aead_lanes : &dp_aead_mb;

	check_choice(NULL, best, "");
	check_choice("auto", best, "");
	check_choice("ipsec-mb", &dp_aead_mb, "");
	check_choice("libsodium", &cr_aead_sodium, "");
	if (cr_lanes_are_supported())
		check_choice("lanes", &dp_aead_lanes, "");
	check_choice("rot13", NULL, "crypto: auto, lanes, ipsec-mb or libsodium, not rot13");
}

/* A CPU without AVX-512: nothing to warn of, but a clear line to who asks for lanes. */
static void test_choice_without_cpu(void **state)
{
	is_cpu_without = true;
	check_choice("auto", &dp_aead_mb, "");
	check_choice("lanes", NULL, "crypto: lanes cannot be used: this CPU lacks what it needs");
	check_choice("ipsec-mb", &dp_aead_mb, "");
	wrong_name = "ipsec-mb";
	check_choice("auto", &cr_aead_sodium,
		"crypto: ipsec-mb is not used: wrong answers in its self-test");
}

/* A cipher that computes wrong is refused, and lanes lives without ipsec-mb. */
static void test_choice_with_wrong_answers(void **state)
{
	if (!cr_lanes_are_supported())
		skip();
	wrong_name = "lanes";
	check_choice(
		"auto", &dp_aead_mb, "crypto: lanes is not used: wrong answers in its self-test");
	check_choice("lanes", NULL, "crypto: lanes cannot be used: wrong answers in its self-test");
	wrong_name = "ipsec-mb";
	check_choice("auto", &dp_aead_lanes, "");
	check_choice("ipsec-mb", NULL,
		"crypto: ipsec-mb cannot be used: wrong answers in its self-test");
}

static int restore(void **state)
{
	is_cpu_without = false;
	wrong_name = NULL;
	return 0;
}

static int setup(void **state)
{
	const char *given = getenv("SANDD_TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) << 20 | (uint64_t)getpid();
	seed |= 1;
	printf("SANDD_TEST_SEED=0x%llx\n", (unsigned long long)seed);
	random_fill(keys, sizeof(keys));
	if (cr_init() < 0)
		return -1;
	aead = dp_aead_lanes.new();
	if (!aead)
		print_message("no lanes: %s\n", strerror(errno));
	return aead || !cr_lanes_are_supported() ? 0 : -1;
}

static int teardown(void **state)
{
	dp_aead_lanes.free(aead);
	dp_aead_lanes.free(NULL);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plan_of_two_kinds),
		cmocka_unit_test(test_plan_of_anything),
		cmocka_unit_test(test_bursts),
		cmocka_unit_test(test_imix),
		cmocka_unit_test(test_choice_as_it_is),
		cmocka_unit_test_teardown(test_choice_without_cpu, restore),
		cmocka_unit_test_teardown(test_choice_with_wrong_answers, restore),
	};

	return cmocka_run_group_tests_name("dp_aead_lanes", tests, setup, teardown);
}
