/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ipsec-mb's bursts against libsodium's: every length, mixed keys and lengths, in place and not,
 * forgeries, and packets that end where the memory ends. The seed is printed.
 */
#include "dp_aead_mb.c"

#include "cr_blake2s.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LEN_MAX 2048
#define KEYS 1000

/* An area that ends at a page nobody may touch; jobs cut their packets from its end. */
struct fenced {
	uint8_t *map, *end;
	size_t map_bytes;
};

static uint64_t seed;
static struct cr_key keys[KEYS];
static struct cr_aead *mb, *sodium;

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

static struct fenced fenced_new(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct fenced fenced = {.map_bytes = 4096 + 2 * page};

	fenced.map = mmap(
		NULL, fenced.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(fenced.map, MAP_FAILED);
	fenced.end = fenced.map + fenced.map_bytes - page;
	assert_int_equal(mprotect(fenced.end, page, PROT_NONE), 0);
	return fenced;
}

static void fenced_free(struct fenced *fenced)
{
	munmap(fenced->map, fenced->map_bytes);
}

/* A burst of CR_AEAD_BURST_MAX packets in buffers of their own. */
struct burst {
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	uint8_t plain[CR_AEAD_BURST_MAX][LEN_MAX];
	uint8_t sealed[CR_AEAD_BURST_MAX][LEN_MAX + CR_TAG_BYTES];
	uint8_t out[CR_AEAD_BURST_MAX][LEN_MAX + CR_TAG_BYTES];
	unsigned n;
};

static struct burst burst;

/* Random keys, counters and bytes; lengths random, or all @len. Sealed by libsodium. */
static void burst_make(unsigned n, int len)
{
	burst.n = n;
	for (unsigned i = 0; i < n; i++) {
		struct cr_aead_job *job = &burst.jobs[i];

		*job = (struct cr_aead_job){
			.key = &keys[random_next() % KEYS],
			.counter = random_next(),
			.len = len >= 0 ? (uint32_t)len : (uint32_t)(random_next() % (LEN_MAX + 1)),
		};
		random_fill(burst.plain[i], job->len);
		cr_aead_seal(
			burst.sealed[i], job->key, job->counter, burst.plain[i], job->len, NULL, 0);
	}
}

static void burst_seal_and_compare(bool in_place)
{
	for (unsigned i = 0; i < burst.n; i++) {
		struct cr_aead_job *job = &burst.jobs[i];

		job->dst = burst.out[i];
		job->src = in_place ? burst.out[i] : burst.plain[i];
		memset(burst.out[i], 0xa5, sizeof(burst.out[i]));
		if (in_place)
			memcpy(burst.out[i], burst.plain[i], job->len);
	}
	dp_aead_mb.seal(mb, burst.jobs, burst.n);
	for (unsigned i = 0; i < burst.n; i++) {
		size_t len = burst.jobs[i].len + CR_TAG_BYTES;

		assert_memory_equal(burst.out[i], burst.sealed[i], len);
		if (len < sizeof(burst.out[i]))
			assert_int_equal(burst.out[i][len], 0xa5);
	}
}

static void burst_open_and_compare(bool in_place)
{
	for (unsigned i = 0; i < burst.n; i++) {
		struct cr_aead_job *job = &burst.jobs[i];

		job->dst = burst.out[i];
		job->src = in_place ? burst.out[i] : burst.sealed[i];
		memset(burst.out[i], 0xa5, sizeof(burst.out[i]));
		if (in_place)
			memcpy(burst.out[i], burst.sealed[i], job->len + CR_TAG_BYTES);
	}
	assert_int_equal(dp_aead_mb.open(mb, burst.jobs, burst.n), burst.n);
	for (unsigned i = 0; i < burst.n; i++) {
		size_t len = burst.jobs[i].len;

		assert_true(burst.jobs[i].ok);
		assert_memory_equal(burst.out[i], burst.plain[i], len);
		if (!in_place)
			assert_int_equal(burst.out[i][len], 0xa5);
		else
			assert_memory_equal(
				burst.out[i] + len, burst.sealed[i] + len, CR_TAG_BYTES);
	}
}

static void test_every_length(void **state)
{
	for (int len = 0; len <= LEN_MAX; len++) {
		burst_make(2, len);
		for (int in_place = 0; in_place < 2; in_place++) {
			burst_seal_and_compare(in_place);
			burst_open_and_compare(in_place);
		}
	}
}

/* Every burst size, so that every submission is once the short one and slots change owners. */
static void test_mixed_bursts(void **state)
{
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned n = 0; n <= CR_AEAD_BURST_MAX; n++) {
			burst_make(n, -1);
			burst_seal_and_compare(round & 1);
			burst_open_and_compare(round >> 1);
		}
	}
}

/* WireGuard's nonce at its edges (paper 5.4.6): all 64 bits of the counter, little-endian. */
static void test_counters(void **state)
{
	static const uint64_t counters[] = {0, 1, 255, 256, UINT32_MAX, UINT64_C(1) << 32,
		UINT64_C(0x0102030405060708), UINT64_MAX - 8192, UINT64_MAX};

	burst_make(BASE_ARRAY_LEN(counters), 100);
	for (unsigned i = 0; i < burst.n; i++) {
		burst.jobs[i].counter = counters[i];
		cr_aead_seal(burst.sealed[i], burst.jobs[i].key, counters[i], burst.plain[i],
			burst.jobs[i].len, NULL, 0);
	}
	burst_seal_and_compare(false);
	burst_open_and_compare(false);
}

/* One bit of one packet of a burst is wrong: that one fails, the others open. */
static void forge_and_open(unsigned victim, size_t bit)
{
	struct cr_aead_job *job = &burst.jobs[victim];

	for (unsigned i = 0; i < burst.n; i++) {
		burst.jobs[i].src = burst.sealed[i];
		burst.jobs[i].dst = burst.out[i];
		burst.jobs[i].ok = i == victim;
	}
	burst.sealed[victim][bit / 8] ^= (uint8_t)(1 << bit % 8);
	assert_int_equal(dp_aead_mb.open(mb, burst.jobs, burst.n), burst.n - 1);
	for (unsigned i = 0; i < burst.n; i++)
		assert_int_equal(burst.jobs[i].ok, i != victim);
	burst.sealed[victim][bit / 8] ^= (uint8_t)(1 << bit % 8);
	assert_false(job->ok);
}

static void test_every_bit_of_a_tag(void **state)
{
	static const int lengths[] = {0, 1, 64, 100, 1420};

	for (size_t k = 0; k < BASE_ARRAY_LEN(lengths); k++) {
		burst_make(20, lengths[k]);
		for (size_t bit = 0; bit < 8 * CR_TAG_BYTES; bit++)
			forge_and_open((unsigned)(bit % burst.n), 8 * (size_t)lengths[k] + bit);
	}
}

static void test_every_bit_of_a_packet(void **state)
{
	burst_make(3, 80);
	for (size_t bit = 0; bit < 8 * (80 + CR_TAG_BYTES); bit++)
		forge_and_open(1, bit);
}

/* The right packet under another counter or key, and one cut short, is a forgery too. */
static void test_wrong_context(void **state)
{
	burst_make(4, 64);
	for (unsigned i = 0; i < burst.n; i++) {
		burst.jobs[i].src = burst.sealed[i];
		burst.jobs[i].dst = burst.out[i];
	}
	burst.jobs[0].counter ^= UINT64_C(1) << 63;
	burst.jobs[1].key = burst.jobs[1].key == &keys[0] ? &keys[1] : &keys[0];
	burst.jobs[2].len--;
	assert_int_equal(dp_aead_mb.open(mb, burst.jobs, burst.n), 1);
	assert_false(burst.jobs[0].ok || burst.jobs[1].ok || burst.jobs[2].ok);
	assert_true(burst.jobs[3].ok);
}

static void test_good_and_bad_mixed(void **state)
{
	for (unsigned round = 0; round < 64; round++) {
		uint64_t bad = random_next();
		unsigned good = 0;

		burst_make(CR_AEAD_BURST_MAX, -1);
		for (unsigned i = 0; i < burst.n; i++) {
			struct cr_aead_job *job = &burst.jobs[i];

			if (bad >> i & 1)
				burst.sealed[i][random_next() % (job->len + CR_TAG_BYTES)] ^= 0x40;
			else
				good++;
			job->src = job->dst = burst.sealed[i];
		}
		assert_int_equal(dp_aead_mb.open(mb, burst.jobs, burst.n), good);
		for (unsigned i = 0; i < burst.n; i++)
			assert_int_equal(burst.jobs[i].ok, !(bad >> i & 1));
	}
}

/* Packets that end where the mapped memory ends: an overrun is a SIGSEGV. */
static void test_page_fence(void **state)
{
	struct fenced src = fenced_new(), dst = fenced_new();

	for (uint32_t len = 0; len <= LEN_MAX; len++) {
		struct cr_aead_job job = {.key = &keys[len % KEYS], .counter = len, .len = len};
		uint8_t expected[LEN_MAX + CR_TAG_BYTES];

		random_fill(src.end - len, len);
		cr_aead_seal(expected, job.key, job.counter, src.end - len, len, NULL, 0);
		job.src = src.end - len;
		job.dst = dst.end - len - CR_TAG_BYTES;
		dp_aead_mb.seal(mb, &job, 1);
		assert_memory_equal(job.dst, expected, len + CR_TAG_BYTES);
		job.src = dst.end - len - CR_TAG_BYTES;
		job.dst = src.end - len;
		memset(job.dst, 0, len);
		assert_int_equal(dp_aead_mb.open(mb, &job, 1), 1);
		/* In place, sealed again over the same bytes. */
		memmove(dst.end - len - CR_TAG_BYTES, src.end - len, len);
		job.src = job.dst = dst.end - len - CR_TAG_BYTES;
		dp_aead_mb.seal(mb, &job, 1);
		assert_memory_equal(job.dst, expected, len + CR_TAG_BYTES);
		assert_int_equal(dp_aead_mb.open(mb, &job, 1), 1);
		assert_memory_equal(job.dst, src.end - len, len);
	}
	fenced_free(&src);
	fenced_free(&dst);
}

/* What the file builds on: slots keep their constants, and no key bytes are left behind. */
static void test_slots_keep_their_constants(void **state)
{
	for (unsigned round = 0; round < 50; round++) {
		burst_make(1 + (unsigned)(random_next() % CR_AEAD_BURST_MAX), -1);
		burst_seal_and_compare(true);
		burst_open_and_compare(true);
	}
	for (unsigned i = 0; i < IMB_MAX_JOBS; i++) {
		const IMB_JOB *job = &mb->seal.mgr->jobs[i];

		assert_int_equal(job->cipher_direction, IMB_DIR_ENCRYPT);
		assert_int_equal(job->chain_order, IMB_ORDER_CIPHER_HASH);
		assert_ptr_equal(job->iv, mb->seal.slots[i].nonce);
		job = &mb->open.mgr->jobs[i];
		assert_int_equal(job->cipher_direction, IMB_DIR_DECRYPT);
		assert_int_equal(job->chain_order, IMB_ORDER_HASH_CIPHER);
		assert_ptr_equal(job->iv, mb->open.slots[i].nonce);
		assert_ptr_equal(job->auth_tag_output, mb->open.slots[i].tag);
	}
}

/* What new() asks itself notices wrong answers, of either half. */
static void test_self_test_notices(void **state)
{
	struct cr_aead *broken = dp_aead_mb.new();

	assert_non_null(broken);
	assert_true(cr_aead_self_test(&dp_aead_mb, broken));
	for (unsigned i = 0; i < IMB_MAX_JOBS; i++)
		broken->seal.mgr->jobs[i].cipher_direction = IMB_DIR_DECRYPT;
	assert_false(cr_aead_self_test(&dp_aead_mb, broken));
	dp_aead_mb.free(broken);
	broken = dp_aead_mb.new();
	assert_non_null(broken);
	for (unsigned i = 0; i < IMB_MAX_JOBS; i++)
		broken->open.mgr->jobs[i].cipher_direction = IMB_DIR_ENCRYPT;
	assert_false(cr_aead_self_test(&dp_aead_mb, broken));
	dp_aead_mb.free(broken);
}

/* The provider under the same interface opens what ours sealed, burst for burst. */
static void test_providers_agree(void **state)
{
	burst_make(CR_AEAD_BURST_MAX, -1);
	burst_seal_and_compare(false);
	for (unsigned i = 0; i < burst.n; i++)
		burst.jobs[i].src = burst.jobs[i].dst = burst.out[i];
	assert_int_equal(cr_aead_sodium.open(sodium, burst.jobs, burst.n), burst.n);
	for (unsigned i = 0; i < burst.n; i++)
		assert_memory_equal(burst.out[i], burst.plain[i], burst.jobs[i].len);
	cr_aead_sodium.seal(sodium, burst.jobs, burst.n);
	assert_int_equal(dp_aead_mb.open(mb, burst.jobs, burst.n), burst.n);
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
	mb = dp_aead_mb.new();
	sodium = cr_aead_sodium.new();
	return mb && sodium ? 0 : -1;
}

static int teardown(void **state)
{
	dp_aead_mb.free(mb);
	dp_aead_mb.free(NULL);
	cr_aead_sodium.free(sodium);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_mixed_bursts),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_every_bit_of_a_tag),
		cmocka_unit_test(test_every_bit_of_a_packet),
		cmocka_unit_test(test_wrong_context),
		cmocka_unit_test(test_good_and_bad_mixed),
		cmocka_unit_test(test_page_fence),
		cmocka_unit_test(test_slots_keep_their_constants),
		cmocka_unit_test(test_self_test_notices),
		cmocka_unit_test(test_providers_agree),
	};

	return cmocka_run_group_tests_name("dp_aead_mb", tests, setup, teardown);
}
