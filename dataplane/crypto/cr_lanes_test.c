/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sixteen packets side by side against libsodium and against the plain twin (cr_twin_test.h):
 * lengths, counts, mixes, alignment, guard pages, forgeries, Wycheproof, and what is left behind.
 * Limbs at their edges: cr_lanes_poly_test.c. Skipped on a CPU that cannot.
 */
#include "cr_lanes.c"

#include "cr_blake2s.h"
#include "cr_test.h"
#include "cr_twin_test.h"
#include "cr_wycheproof_test.h"

#include <pthread.h>
#include <sodium.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEN_MAX 2048
#define MARGIN 64
#define AD_MAX 600
#define NONE CR_LANES /* as a lane: no lane */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_PLAIN_STACK 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_PLAIN_STACK 0
#endif
#endif
#ifndef HAS_PLAIN_STACK
#define HAS_PLAIN_STACK 1
#endif

static struct cr_lanes *lanes;
static uint64_t seed;

/* One packet, its plaintext, and a place for it with margins that nobody may write. */
struct packet {
	struct cr_key key;
	uint8_t ad[AD_MAX];
	uint8_t plain[LEN_MAX];
	uint8_t expected[LEN_MAX + CR_TAG_BYTES];
	uint8_t place[MARGIN + 64 + LEN_MAX + CR_TAG_BYTES + MARGIN];
	uint8_t other[MARGIN + 64 + LEN_MAX + CR_TAG_BYTES + MARGIN];
};

static struct packet packets[CR_LANES];
static struct cr_aead_job jobs[CR_LANES];
static struct cr_aead_job *group[CR_LANES];
static struct cr_lanes_extra extras[CR_LANES];

static uint32_t random_below(uint32_t bound)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((seed >> 32) * bound >> 32);
}

static void nonce_of(uint8_t nonce[12], unsigned i, bool has_extra)
{
	base_store_le32(nonce, has_extra ? extras[i].nonce_le32 : 0);
	base_store_le64(nonce + 4, jobs[i].counter);
}

/* Fill packet @i; @shift moves it off its alignment. */
static void packet_make(unsigned i, uint32_t len, unsigned shift, bool is_in_place)
{
	struct packet *packet = &packets[i];

	memset(packet->place, 0xa5, sizeof(packet->place));
	memset(packet->other, 0xa5, sizeof(packet->other));
	test_fill(&packet->key, sizeof(packet->key), random_below(UINT32_MAX));
	test_fill(packet->plain, len, random_below(UINT32_MAX));
	test_fill(packet->ad, sizeof(packet->ad), random_below(UINT32_MAX));
	jobs[i] = (struct cr_aead_job){
		.key = &packet->key,
		.counter = (uint64_t)random_below(UINT32_MAX) << 32 | random_below(UINT32_MAX),
		.src = packet->place + MARGIN + shift,
		.dst = (is_in_place ? packet->place : packet->other) + MARGIN + shift,
		.len = len,
	};
	group[i] = &jobs[i];
	memcpy(packet->place + MARGIN + shift, packet->plain, len);
}

/* What libsodium makes of packet @i. */
static void packet_expect(unsigned i, bool has_extra)
{
	uint8_t nonce[12];

	nonce_of(nonce, i, has_extra);
	crypto_aead_chacha20poly1305_ietf_encrypt(packets[i].expected, NULL, packets[i].plain,
		jobs[i].len, has_extra ? extras[i].ad : NULL, has_extra ? extras[i].ad_len : 0,
		NULL, nonce, packets[i].key.bytes);
}

/* Only @len bytes at @at were written. */
static void assert_margins(const uint8_t *place, size_t size, size_t at, size_t len)
{
	for (size_t i = 0; i < size; i++)
		if ((i < at || i >= at + len) && place[i] != 0xa5)
			fail_msg("byte %zd of a packet of %zu was written",
				(ssize_t)i - (ssize_t)at, len);
}

static void check_sealed(unsigned n, bool has_extra)
{
	for (unsigned i = 0; i < n; i++) {
		struct packet *packet = &packets[i];
		const uint8_t *start = jobs[i].dst == jobs[i].src ? packet->place : packet->other;

		packet_expect(i, has_extra);
		if (memcmp(jobs[i].dst, packet->expected, jobs[i].len + CR_TAG_BYTES) != 0)
			fail_msg(
				"packet %u of %u, %u bytes, is not libsodium's", i, n, jobs[i].len);
		assert_margins(start, sizeof(packet->place), (size_t)(jobs[i].dst - start),
			jobs[i].len + CR_TAG_BYTES);
	}
}

/* Open what was sealed, with one bit of packet @forged changed. */
static void check_opened(unsigned n, unsigned forged, bool has_extra)
{
	static const uint8_t zeros[LEN_MAX];
	unsigned expected = n - (forged < n);

	for (unsigned i = 0; i < n; i++) {
		/* Back to where it came from. */
		const uint8_t *from = jobs[i].src;

		jobs[i].src = jobs[i].dst;
		jobs[i].dst = (uint8_t *)from;
		jobs[i].ok = i == forged;
	}
	if (forged < n) {
		uint32_t bit = random_below(8 * (jobs[forged].len + CR_TAG_BYTES));

		((uint8_t *)jobs[forged].src)[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	assert_int_equal(cr_lanes_open(lanes, group, n, has_extra ? extras : NULL), expected);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(jobs[i].ok, i != forged);
		assert_memory_equal(
			jobs[i].dst, i == forged ? zeros : packets[i].plain, jobs[i].len);
	}
}

static void check_group(unsigned n, unsigned forged, bool has_extra)
{
	assert_int_equal(cr_lanes_seal(lanes, group, n, has_extra ? extras : NULL), 0);
	check_sealed(n, has_extra);
	check_opened(n, forged, has_extra);
}

/* Every length, in every count of lanes from 1 to 16 by turns, and every count at some. */
static void test_lengths(void **state)
{
	for (uint32_t len = 0; len <= LEN_MAX; len++) {
		unsigned n = 1 + len % CR_LANES;

		for (unsigned i = 0; i < n; i++)
			packet_make(i, len, 0, true);
		check_group(n, random_below(2) ? random_below(n) : NONE, false);
	}
	for (unsigned n = 1; n <= CR_LANES; n++) {
		for (uint32_t len = 0; len <= 300; len += 1 + len % 5) {
			for (unsigned i = 0; i < n; i++)
				packet_make(i, len, i, i % 2);
			check_group(n, NONE, false);
		}
	}
}

/* Every length in every lane, beside neighbours of other lengths. */
static void test_each_lane(void **state)
{
	for (uint32_t len = 0; len <= LEN_MAX; len++) {
		for (unsigned i = 0; i < CR_LANES; i++)
			packet_make(i, (len + 131 * i) % (LEN_MAX + 1), i, true);
		check_group(CR_LANES, len % (2 * CR_LANES), false);
	}
}

/* Lengths, counts, places and forgeries at random; with and without associated data. */
static void test_mixes(void **state)
{
	for (unsigned round = 0; round < 4000; round++) {
		unsigned n = 1 + random_below(CR_LANES), most = 1 + random_below(LEN_MAX + 1);
		bool has_extra = random_below(3) == 0;

		for (unsigned i = 0; i < n; i++) {
			packet_make(i, random_below(most), random_below(64), random_below(2));
			extras[i] = (struct cr_lanes_extra){
				.nonce_le32 = random_below(UINT32_MAX),
				.ad = packets[i].ad,
				.ad_len = random_below(AD_MAX + 1),
			};
		}
		check_group(n, random_below(2 * CR_LANES), has_extra);
	}
}

/* Packets with one key and counters in a row, as a single peer's burst is. */
static void test_one_key(void **state)
{
	for (uint64_t first = 0; first < 3; first++) {
		for (unsigned i = 0; i < CR_LANES; i++) {
			packet_make(i, 1420, 0, true);
			jobs[i].key = &packets[0].key;
			packets[i].key = packets[0].key;
			jobs[i].counter = (first == 0 ? 0 : UINT64_C(1) << (16 * first + 16)) -
				(first == 0 ? 0 : CR_LANES / 2) + i;
		}
		check_group(CR_LANES, NONE, false);
	}
}

/* The twin is held to libsodium here, so that fuzzing may use it. */
static void test_twin(void **state)
{
	static uint8_t sealed[LEN_MAX + CR_TAG_BYTES], opened[LEN_MAX];
	uint8_t nonce[12];

	for (uint32_t len = 0; len <= LEN_MAX; len++) {
		packet_make(0, len, 0, true);
		extras[0] = (struct cr_lanes_extra){
			.nonce_le32 = len * 3, .ad = packets[0].ad, .ad_len = len % AD_MAX};
		packet_expect(0, true);
		nonce_of(nonce, 0, true);
		twin_seal(sealed, packets[0].key.bytes, nonce, packets[0].plain, len, packets[0].ad,
			len % AD_MAX);
		assert_memory_equal(sealed, packets[0].expected, len + CR_TAG_BYTES);
		assert_true(twin_open(opened, packets[0].key.bytes, nonce, sealed, len,
			packets[0].ad, len % AD_MAX));
		assert_memory_equal(opened, packets[0].plain, len);
		sealed[len] ^= 1;
		assert_false(twin_open(opened, packets[0].key.bytes, nonce, sealed, len,
			packets[0].ad, len % AD_MAX));
	}
}

/* --- guard pages ---------------------------------------------------------------------------- */

/* A page between two that cannot be touched. */
static uint8_t *guarded_page(size_t page)
{
	uint8_t *three = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(three, MAP_FAILED);
	assert_int_equal(mprotect(three + page, page, PROT_READ | PROT_WRITE), 0);
	return three + page;
}

static void guarded_free(uint8_t *page_start, size_t page)
{
	assert_int_equal(munmap(page_start - page, 3 * page), 0);
}

/* Source, destination, key and associated data end, or begin, where memory does. */
static void check_guarded(uint8_t *const pages[4], size_t page, uint32_t len, bool is_at_end)
{
	size_t out_len = len + CR_TAG_BYTES, ad_len = len % AD_MAX;
	uint8_t *src = pages[0] + (is_at_end ? page - len : 0);
	uint8_t *dst = pages[1] + (is_at_end ? page - out_len : 0);
	uint8_t *key = pages[2] + (is_at_end ? page - CR_KEY_BYTES : 0);
	uint8_t *ad = pages[3] + (is_at_end ? page - ad_len : 0);
	unsigned lane = len % CR_LANES;

	for (unsigned i = 0; i < CR_LANES; i++) {
		packet_make(i, (len + i - lane) % LEN_MAX, 0, true);
		extras[i] = (struct cr_lanes_extra){
			.ad = i == lane ? ad : packets[i].ad, .ad_len = ad_len};
	}
	jobs[lane].len = len;
	memcpy(src, packets[lane].plain, len);
	memcpy(key, packets[lane].key.bytes, CR_KEY_BYTES);
	memcpy(ad, packets[lane].ad, ad_len);
	jobs[lane].src = src;
	jobs[lane].dst = dst;
	jobs[lane].key = (const struct cr_key *)key;
	assert_int_equal(cr_lanes_seal(lanes, group, CR_LANES, len % 2 ? extras : NULL), 0);
	packet_expect(lane, len % 2);
	assert_memory_equal(dst, packets[lane].expected, out_len);
	/* Opened from the end of one page into another, and alone. */
	jobs[lane].src = dst;
	jobs[lane].dst = src;
	memset(src, 0, len);
	assert_int_equal(cr_lanes_open(lanes, &group[lane], 1, len % 2 ? &extras[lane] : NULL), 1);
	assert_memory_equal(src, packets[lane].plain, len);
}

static void test_guard_pages(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *pages[4];

	for (unsigned i = 0; i < 4; i++)
		pages[i] = guarded_page(page);
	for (uint32_t len = 0; len < LEN_MAX - CR_LANES; len++) {
		check_guarded(pages, page, len, true);
		check_guarded(pages, page, len, false);
	}
	for (unsigned i = 0; i < 4; i++)
		guarded_free(pages[i], page);
}

/* --- forgeries ------------------------------------------------------------------------------ */

/* Open all sixteen, of which those in @forged are not right. */
static void check_forged(uint32_t forged)
{
	static const uint8_t zeros[LEN_MAX];

	for (unsigned i = 0; i < CR_LANES; i++)
		memset(packets[i].other, 0xa5, sizeof(packets[i].other));
	assert_int_equal(
		cr_lanes_open(lanes, group, CR_LANES, NULL), CR_LANES - __builtin_popcount(forged));
	for (unsigned i = 0; i < CR_LANES; i++) {
		bool is_forged = forged >> i & 1;

		assert_int_equal(jobs[i].ok, !is_forged);
		assert_memory_equal(jobs[i].dst, is_forged ? zeros : packets[i].plain, jobs[i].len);
		assert_margins(packets[i].other, sizeof(packets[i].other), MARGIN, jobs[i].len);
	}
}

/* Sixteen sealed packets of about @len bytes; opening goes to other places. */
static void make_sealed(uint32_t len)
{
	for (unsigned i = 0; i < CR_LANES; i++)
		packet_make(i, len + i, 0, true);
	assert_int_equal(cr_lanes_seal(lanes, group, CR_LANES, NULL), 0);
	for (unsigned i = 0; i < CR_LANES; i++)
		jobs[i].dst = packets[i].other + MARGIN;
}

/* Every bit of every tag, and every bit of every ciphertext, alone. */
static void test_every_bit(void **state)
{
	static const uint32_t lengths[] = {0, 24, 150};

	for (unsigned l = 0; l < BASE_ARRAY_LEN(lengths); l++) {
		make_sealed(lengths[l]);
		for (unsigned lane = 0; lane < CR_LANES; lane++) {
			for (uint32_t bit = 0; bit < 8 * (jobs[lane].len + CR_TAG_BYTES); bit++) {
				uint8_t *byte = (uint8_t *)jobs[lane].src + bit / 8;

				*byte ^= (uint8_t)(1 << bit % 8);
				check_forged(UINT32_C(1) << lane);
				*byte ^= (uint8_t)(1 << bit % 8);
			}
		}
	}
}

/* Every set of good and bad lanes; the bit of the tag that is wrong goes round. */
static void test_every_mix(void **state)
{
	make_sealed(33);
	for (uint32_t forged = 0; forged < UINT32_C(1) << CR_LANES; forged++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			for (unsigned i = 0; i < CR_LANES; i++)
				if (forged >> i & 1)
					((uint8_t *)jobs[i].src)[jobs[i].len +
						(forged + i) / 8 % 16] ^=
						(uint8_t)(1 << (forged + i) % 8);
			if (turn == 0)
				check_forged(forged);
		}
	}
}

/* --- published vectors ---------------------------------------------------------------------- */

/* A vector becomes the packet of one lane; the lanes before it keep theirs. */
static bool vector_set(unsigned i, const json_t *test)
{
	struct test_bytes key = wycheproof_bytes(test, "key"), iv = wycheproof_bytes(test, "iv");
	struct test_bytes ad = wycheproof_bytes(test, "aad"), plain = wycheproof_bytes(test, "msg");
	struct test_bytes sealed = wycheproof_bytes(test, "ct");
	struct test_bytes tag = wycheproof_bytes(test, "tag");

	assert_int_equal(tag.len, CR_TAG_BYTES);
	assert_true(ad.len <= AD_MAX);
	packet_make(i, (uint32_t)plain.len, i, true);
	memcpy(packets[i].key.bytes, key.data, key.len);
	memcpy(packets[i].ad, ad.data, ad.len);
	memcpy(packets[i].plain, plain.data, plain.len);
	memcpy((uint8_t *)jobs[i].src, plain.data, plain.len);
	memcpy(packets[i].expected, sealed.data, sealed.len);
	memcpy(packets[i].expected + sealed.len, tag.data, tag.len);
	jobs[i].counter = base_load_le64(iv.data + 4);
	extras[i] = (struct cr_lanes_extra){
		.nonce_le32 = base_load_le32(iv.data), .ad = packets[i].ad, .ad_len = ad.len};
	return wycheproof_result_is(test, "valid");
}

static void vectors_check(const bool is_valid[CR_LANES], unsigned n)
{
	unsigned n_valid = 0;

	assert_int_equal(cr_lanes_seal(lanes, group, n, extras), 0);
	for (unsigned i = 0; i < n; i++) {
		size_t len = jobs[i].len + CR_TAG_BYTES;

		assert_int_equal(memcmp(jobs[i].dst, packets[i].expected, len) == 0, is_valid[i]);
		memcpy(jobs[i].dst, packets[i].expected, len);
		n_valid += is_valid[i];
	}
	assert_int_equal(cr_lanes_open(lanes, group, n, extras), n_valid);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(jobs[i].ok, is_valid[i]);
		if (is_valid[i])
			assert_memory_equal(jobs[i].dst, packets[i].plain, jobs[i].len);
	}
}

/* Valid and invalid vectors side by side, in groups of 1 to 16. */
static void test_wycheproof(void **state)
{
	json_t *document = wycheproof_load("chacha20_poly1305_test.json"), *tests, *test;
	unsigned n = 0, size = 1, checked = 0;
	bool is_valid[CR_LANES];
	size_t i, j;

	if (!document)
		skip();
	json_array_foreach (json_object_get(document, "testGroups"), i, tests) {
		if (wycheproof_int(tests, "ivSize") != 96)
			continue;
		json_array_foreach (json_object_get(tests, "tests"), j, test) {
			is_valid[n] = vector_set(n, test);
			n++;
			checked++;
			if (n < size)
				continue;
			vectors_check(is_valid, n);
			n = 0;
			size = 1 + size % CR_LANES;
		}
	}
	vectors_check(is_valid, n);
	json_decref(document);
	print_message("%u vectors\n", checked);
	assert_true(checked >= 300);
}

/* RFC 8439, 2.8.2, in each lane. */
static void test_rfc8439(void **state)
{
	static const char plain[] = "Ladies and Gentlemen of the class of '99: If I could offer "
				    "you only one tip for the future, sunscreen would be it.";
	struct test_bytes key =
		test_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
	struct test_bytes ad = test_hex("50515253c0c1c2c3c4c5c6c7");

	for (unsigned i = 0; i < CR_LANES; i++) {
		packet_make(i, sizeof(plain) - 1, i, true);
		memcpy((uint8_t *)jobs[i].src, plain, sizeof(plain) - 1);
		memcpy(packets[i].key.bytes, key.data, key.len);
		jobs[i].counter = UINT64_C(0x4746454443424140);
		extras[i] =
			(struct cr_lanes_extra){.nonce_le32 = 7, .ad = ad.data, .ad_len = ad.len};
	}
	assert_int_equal(cr_lanes_seal(lanes, group, CR_LANES, extras), 0);
	for (unsigned i = 0; i < CR_LANES; i++) {
		test_assert_hex(jobs[i].dst, 16, "d31a8d34648e60db7b86afbc53ef7ec2");
		test_assert_hex(
			jobs[i].dst + sizeof(plain) - 1, 16, "1ae10b594f09e26a7e902ecbd0600691");
	}
}

/* --- bad input, and what is left behind ----------------------------------------------------- */

static void test_refused(void **state)
{
	struct cr_aead_job *seventeen[CR_LANES + 1];

	for (unsigned i = 0; i < CR_LANES; i++)
		packet_make(i, 100, 0, true);
	for (unsigned i = 0; i <= CR_LANES; i++)
		seventeen[i] = &jobs[i % CR_LANES];
	assert_int_equal(cr_lanes_seal(lanes, seventeen, CR_LANES + 1, NULL), -EINVAL);
	assert_int_equal(cr_lanes_open(lanes, seventeen, CR_LANES + 1, NULL), -EINVAL);
	jobs[3].key = NULL;
	assert_int_equal(cr_lanes_seal(lanes, group, CR_LANES, NULL), -EINVAL);
	assert_int_equal(cr_lanes_open(lanes, group, CR_LANES, NULL), -EINVAL);
	/* No job: no packet is looked at. */
	assert_int_equal(cr_lanes_seal(lanes, NULL, 0, NULL), 0);
	assert_int_equal(cr_lanes_open(lanes, NULL, 0, NULL), 0);
	for (unsigned i = 0; i < CR_LANES; i++) {
		assert_memory_equal(jobs[i].dst, packets[i].plain, 100);
		assert_false(jobs[i].ok);
	}
	cr_lanes_free(NULL);
}

/* Words of 32 bits that nobody may find afterwards: keys, Poly1305 keys, the key stream. */
#define SECRETS_OF_ONE (8 + 8 + 16)
static uint32_t secrets[CR_LANES * SECRETS_OF_ONE];

static void secrets_set(void)
{
	for (unsigned i = 0; i < CR_LANES; i++) {
		uint32_t *of = &secrets[i * SECRETS_OF_ONE];
		uint8_t block[64], nonce[12];

		nonce_of(nonce, i, false);
		memcpy(of, jobs[i].key->bytes, CR_KEY_BYTES);
		twin_block(block, jobs[i].key->bytes, 0, nonce);
		memcpy(of + 8, block, 32);
		twin_block(block, jobs[i].key->bytes, 2, nonce);
		memcpy(of + 16, block, 64);
	}
}

/* A stack of our own, on which a thread does one thing; afterwards it is there to be read. */
static uint8_t stack[256 * 1024] __attribute__((aligned(4096)));
static const uint8_t *stack_caller;

struct deed {
	bool is_open, has_wipe;
	int result;
};

static void *deed_do(void *arg)
{
	struct deed *deed = arg;

	stack_caller = __builtin_frame_address(0);
	deed->result = deed->is_open ? cr_lanes_open(lanes, group, CR_LANES, NULL)
				     : cr_lanes_seal(lanes, group, CR_LANES, NULL);
	if (deed->has_wipe)
		cr_lanes_wipe(lanes);
	return NULL;
}

static void deed_run(struct deed *deed)
{
	pthread_attr_t attributes;
	pthread_t thread;

	memset(stack, 0x5a, sizeof(stack));
	assert_int_equal(pthread_attr_init(&attributes), 0);
	assert_int_equal(pthread_attr_setstack(&attributes, stack, sizeof(stack)), 0);
	assert_int_equal(pthread_create(&thread, &attributes, deed_do, deed), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attributes);
	assert_int_equal(deed->result, deed->is_open ? CR_LANES : 0);
}

static unsigned secrets_count(const uint8_t *from, size_t size)
{
	unsigned found = 0;

	for (size_t at = 0; at + 4 <= size; at += 4)
		for (unsigned i = 0; i < BASE_ARRAY_LEN(secrets); i++)
			found += base_load_le32(from + at) == secrets[i];
	return found;
}

/* How deep the frames below deed_do() went. */
static size_t stack_depth(void)
{
	const uint8_t *lowest = stack;

	while (*lowest == 0x5a)
		lowest++;
	return (size_t)(stack_caller - lowest);
}

/* Words in the frames below deed_do() that are neither as filled nor wiped. */
static unsigned stack_words(void)
{
	unsigned words = 0;

	for (const uint8_t *at = stack_caller - STACK_BYTES; at < stack_caller; at += 4)
		words += base_load_le32(at) != 0x5a5a5a5a && base_load_le32(at) != 0;
	return words;
}

static const uint32_t left_lengths[] = {64, 100, 700, 1420};

/* Nothing of a key is left on the stack, or in the state, after a wipe. A sanitizer has stacks of its own. */
__attribute__((unused)) static void test_nothing_left(void **state)
{
	for (unsigned l = 0; l < BASE_ARRAY_LEN(left_lengths); l++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			struct deed deed = {.is_open = turn == 1, .has_wipe = true};

			for (unsigned i = 0; turn == 0 && i < CR_LANES; i++)
				packet_make(i, left_lengths[l] - 3 * i, 0, true);
			secrets_set();
			deed_run(&deed);
			assert_int_equal(secrets_count(stack, sizeof(stack)), 0);
			/* A few addresses to return to, and what the caller keeps. */
			assert_in_range(stack_words(), 0, 64);
			for (size_t i = 0; i < offsetof(struct cr_lanes, group); i++)
				assert_int_equal(((const uint8_t *)lanes)[i], 0);
		}
	}
}

/* The wipe reaches deeper than all frames; and the test above would see what is not wiped. */
__attribute__((unused)) static void test_wipe_reaches(void **state)
{
	for (unsigned l = 0; l < BASE_ARRAY_LEN(left_lengths); l++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			struct deed deed = {.is_open = turn == 1, .has_wipe = false};

			for (unsigned i = 0; turn == 0 && i < CR_LANES; i++)
				packet_make(i, left_lengths[l] - 3 * i, 0, true);
			secrets_set();
			deed_run(&deed);
			print_message("%u bytes, %s: frames of %zu bytes with %u words, "
				      "%u of known secrets; %u in the state\n",
				left_lengths[l], turn ? "open" : "seal", stack_depth(),
				stack_words(), secrets_count(stack, sizeof(stack)),
				secrets_count((const uint8_t *)lanes, sizeof(*lanes)));
			assert_in_range(stack_depth(), 256, STACK_BYTES);
			assert_in_range(stack_words(), 100, STACK_BYTES);
			assert_true(secrets_count((const uint8_t *)lanes, sizeof(*lanes)) >= 128);
		}
	}
}

static int setup(void **state)
{
	const char *text = getenv("SANDD_SEED");

	if (cr_init() < 0)
		return -1;
	seed = text ? strtoull(text, NULL, 0) : 20250807;
	print_message("SANDD_SEED=%llu\n", (unsigned long long)seed);
	return 0;
}

static int need_lanes(void **state)
{
	lanes = cr_lanes_new();
	if (lanes)
		return 0;
	assert_int_equal(errno, ENOTSUP);
	assert_false(cr_lanes_are_supported());
	print_message("skipped: no AVX-512 with IFMA here\n");
	return 0;
}

static int drop_lanes(void **state)
{
	cr_lanes_free(lanes);
	lanes = NULL;
	return 0;
}

/* A case that needs a CPU that can. */
#define LANES_TEST(NAME)                                                                           \
	static void with_##NAME(void **state)                                                      \
	{                                                                                          \
		if (!lanes)                                                                        \
			skip();                                                                    \
		NAME(state);                                                                       \
	}
LANES_TEST(test_lengths)
LANES_TEST(test_each_lane)
LANES_TEST(test_mixes)
LANES_TEST(test_one_key)
LANES_TEST(test_guard_pages)
LANES_TEST(test_every_bit)
LANES_TEST(test_every_mix)
LANES_TEST(test_wycheproof)
LANES_TEST(test_rfc8439)
LANES_TEST(test_refused)
#if HAS_PLAIN_STACK
LANES_TEST(test_nothing_left)
LANES_TEST(test_wipe_reaches)
#endif

#define CASE(NAME)                                                                                 \
	{                                                                                          \
#NAME, with_##NAME, need_lanes, drop_lanes, NULL                                   \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twin),
		CASE(test_lengths),
		CASE(test_each_lane),
		CASE(test_mixes),
		CASE(test_one_key),
		CASE(test_guard_pages),
		CASE(test_every_bit),
		CASE(test_every_mix),
		CASE(test_wycheproof),
		CASE(test_rfc8439),
		CASE(test_refused),
#if HAS_PLAIN_STACK
		CASE(test_nothing_left),
		CASE(test_wipe_reaches),
#endif
	};

	return cmocka_run_group_tests_name("cr_lanes", tests, setup, NULL);
}
