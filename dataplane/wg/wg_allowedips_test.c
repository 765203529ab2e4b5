/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allowed IPs: cases by hand, a naive list as twin on random sets, removes and lookups, memory that
 * runs out at every step, a reader beside the writer, and what a prefix costs.
 */
#include <stddef.h>
#include <stdlib.h>

/* Allocation n from now fails, and all after it; negative: none does. */
static long test_allocations_left = -1;

static void *scarce_calloc(size_t n, size_t size);
static void *scarce_aligned_alloc(size_t alignment, size_t size);

#define calloc scarce_calloc
#define aligned_alloc scarce_aligned_alloc
#include "wg_allowedips.c"
#undef calloc
#undef aligned_alloc

#include "wg_test.h"

#include <pthread.h>

static bool may_allocate(void)
{
	return test_allocations_left < 0 || test_allocations_left-- > 0;
}

static void *scarce_calloc(size_t n, size_t size)
{
	if (may_allocate())
		return calloc(n, size);
	test_allocations_left = 0;
	return NULL;
}

static void *scarce_aligned_alloc(size_t alignment, size_t size)
{
	if (may_allocate())
		return aligned_alloc(alignment, size);
	test_allocations_left = 0;
	return NULL;
}

/* What the owners of peers remember from one look to the next, whatever changes in between. */
#define MEMO_PEERS 8
static struct {
	struct wg_allowedips_memo4 v4;
	struct wg_allowedips_memo6 v6;
} memos[MEMO_PEERS];

static struct wg_allowedips *table_new(wg_allowedips_retire retire, void *ctx)
{
	struct wg_allowedips *table = wg_allowedips_new(retire, ctx);

	assert(table);
	memset(memos, 0, sizeof(memos)); /* they were of another table */
	return table;
}

static struct base_prefix prefix_of(const char *text)
{
	struct base_prefix prefix;

	assert_int_equal(base_prefix_parse(&prefix, text, false), 0);
	return prefix;
}

static uint32_t lookup(const struct wg_allowedips *table, const char *text)
{
	struct base_addr addr;

	assert_int_equal(base_addr_parse(&addr, text), 0);
	return addr.family == BASE_FAMILY_V4 ? wg_allowedips_lookup4(table, addr.bytes)
					     : wg_allowedips_lookup6(table, addr.bytes);
}

static void set(struct wg_allowedips *table, const char *text, uint32_t peer)
{
	struct base_prefix prefix = prefix_of(text);

	assert_int_equal(wg_allowedips_set(table, &prefix, peer, NULL), 0);
}

static void test_by_hand(void **state)
{
	struct wg_allowedips *table = table_new(NULL, NULL);
	struct base_prefix prefix;
	uint32_t previous;

	assert_int_equal(lookup(table, "10.0.0.1"), WG_PEER_NONE);
	assert_int_equal(lookup(table, "::1"), WG_PEER_NONE);
	set(table, "0.0.0.0/0", 1);
	set(table, "10.0.0.0/8", 2);
	set(table, "10.1.0.0/16", 3);
	set(table, "10.1.2.0/24", 4);
	set(table, "10.1.2.3/32", 5);
	set(table, "10.1.2.128/25", 6);
	set(table, "::/0", 11);
	set(table, "fd00::/8", 12);
	set(table, "fd00:1::/32", 13);
	set(table, "fd00:1::1/128", 14);
	set(table, "fd00:1::2/127", 15);
	assert_int_equal(lookup(table, "9.255.255.255"), 1);
	assert_int_equal(lookup(table, "10.0.0.0"), 2);
	assert_int_equal(lookup(table, "10.1.255.255"), 3);
	assert_int_equal(lookup(table, "10.1.2.4"), 4);
	assert_int_equal(lookup(table, "10.1.2.3"), 5);
	assert_int_equal(lookup(table, "10.1.2.127"), 4);
	assert_int_equal(lookup(table, "10.1.2.128"), 6);
	assert_int_equal(lookup(table, "2001:db8::"), 11);
	assert_int_equal(lookup(table, "fd80::"), 12);
	assert_int_equal(lookup(table, "fd00:1::"), 13);
	assert_int_equal(lookup(table, "fd00:1::1"), 14);
	assert_int_equal(lookup(table, "fd00:1::3"), 15);
	assert_int_equal(lookup(table, "fd00:1::4"), 13);

	/* A prefix moves to the peer that claims it last. */
	prefix = prefix_of("10.1.2.3/32");
	assert_int_equal(wg_allowedips_set(table, &prefix, 9, &previous), 0);
	assert_int_equal(previous, 5);
	assert_int_equal(wg_allowedips_exact(table, &prefix), 9);
	assert_int_equal(wg_allowedips_remove(table, &prefix, 5), -ENOENT);
	assert_int_equal(wg_allowedips_remove(table, &prefix, 9), 0);
	assert_int_equal(lookup(table, "10.1.2.3"), 4); /* the next shorter one is back */
	assert_int_equal(wg_allowedips_remove(table, &prefix, 9), -ENOENT);
	prefix = prefix_of("10.1.0.0/16");
	assert_int_equal(wg_allowedips_remove(table, &prefix, 3), 0);
	assert_int_equal(lookup(table, "10.1.255.255"), 2);
	assert_int_equal(lookup(table, "10.1.2.4"), 4);
	wg_allowedips_free(table);
	wg_allowedips_free(NULL);
}

static void test_refusals(void **state)
{
	struct wg_allowedips *table = table_new(NULL, NULL);
	struct base_prefix prefix = prefix_of("10.0.0.0/8");

	assert_int_equal(wg_allowedips_set(table, &prefix, WG_PEER_NUMBER_MAX, NULL), -EINVAL);
	assert_int_equal(wg_allowedips_set(table, &prefix, WG_PEER_NONE, NULL), -EINVAL);
	prefix.addr.bytes[3] = 1;
	assert_int_equal(wg_allowedips_set(table, &prefix, 1, NULL), -EINVAL);
	assert_int_equal(wg_allowedips_exact(table, &prefix), WG_PEER_NONE);
	prefix.bits = 33;
	assert_int_equal(wg_allowedips_set(table, &prefix, 1, NULL), -EINVAL);
	prefix.addr.family = BASE_FAMILY_NONE;
	assert_int_equal(wg_allowedips_set(table, &prefix, 1, NULL), -EINVAL);
	assert_int_equal(wg_allowedips_remove(table, &prefix, 1), -ENOENT);
	wg_allowedips_free(table);
}

/* --- the naive twin ------------------------------------------------------------------------ */

#define TWIN_MAX 400

struct twin {
	struct base_prefix prefix[TWIN_MAX];
	uint32_t peer[TWIN_MAX];
	unsigned n;
};

static unsigned twin_find(const struct twin *twin, const struct base_prefix *prefix)
{
	unsigned i = 0;

	while (i < twin->n && !base_prefix_equal(&twin->prefix[i], prefix))
		i++;
	return i;
}

static uint32_t twin_lookup(const struct twin *twin, const struct base_addr *addr)
{
	uint32_t peer = WG_PEER_NONE;
	int best = -1;

	for (unsigned i = 0; i < twin->n; i++) {
		if (twin->prefix[i].bits > best && base_prefix_contains(&twin->prefix[i], addr)) {
			best = twin->prefix[i].bits;
			peer = twin->peer[i];
		}
	}
	return peer;
}

/* Addresses that share long beginnings, so that prefixes nest and paths fork late. */
static struct base_addr random_addr(void)
{
	struct base_addr addr = {.family = test_random() % 2 ? BASE_FAMILY_V4 : BASE_FAMILY_V6};
	unsigned len = base_family_bytes(addr.family), style = test_random() % 4;

	for (unsigned i = 0; i < len; i++)
		addr.bytes[i] = (uint8_t)(style == 0 ? test_random()
				: test_random() % 4  ? 7
						     : test_random() % 3 * 85);
	return addr;
}

static struct base_prefix random_prefix(void)
{
	struct base_prefix prefix = {.addr = random_addr()};
	unsigned max = 8 * base_family_bytes(prefix.addr.family);

	prefix.bits = (uint8_t)(test_random() % 3 == 0 ? max
			: test_random() % 8 == 0       ? test_random() % 9
						       : test_random() % (max + 1));
	for (unsigned i = prefix.bits; i < max; i++)
		prefix.addr.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return prefix;
}

/* Does it belong to @peer? Asked twice: the second time the first answer is remembered. */
static void compare_memo(const struct wg_allowedips *table, const struct base_addr *addr,
	uint32_t peer, bool expected)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(addr->family == BASE_FAMILY_V4
				? wg_allowedips_holds4(table, &memos[peer].v4, addr->bytes, peer)
				: wg_allowedips_holds6(table, &memos[peer].v6, addr->bytes, peer),
			expected);
}

static uint32_t lookup_one(const struct wg_allowedips *table, const struct base_addr *addr)
{
	return addr->family == BASE_FAMILY_V4 ? wg_allowedips_lookup4(table, addr->bytes)
					      : wg_allowedips_lookup6(table, addr->bytes);
}

/* A burst of any length has the answers that its addresses have one by one. */
#define BURST_MAX (2 * WG_ALLOWEDIPS_BULK_MAX + 5)

static void compare_bulk(const struct wg_allowedips *table, const struct twin *twin)
{
	unsigned len = test_random() % (BURST_MAX + 1), n[2] = {0};
	static const uint8_t *bytes[2][BURST_MAX];
	static struct base_addr addrs[BURST_MAX];
	static uint32_t peers[2][BURST_MAX];

	for (unsigned i = 0; i < len; i++) {
		addrs[i] = random_addr();
		if (twin->n > 0 && test_random() % 2)
			addrs[i] = twin->prefix[test_random() % twin->n].addr;
		bytes[addrs[i].family == BASE_FAMILY_V6][n[addrs[i].family == BASE_FAMILY_V6]++] =
			addrs[i].bytes;
	}
	memset(peers, 0x5a, sizeof(peers));
	wg_allowedips_lookup4_bulk(table, bytes[0], n[0], peers[0]);
	wg_allowedips_lookup6_bulk(table, bytes[1], n[1], peers[1]);
	n[0] = n[1] = 0;
	for (unsigned i = 0; i < len; i++) {
		bool is_v6 = addrs[i].family == BASE_FAMILY_V6;

		assert_int_equal(peers[is_v6][n[is_v6]++], lookup_one(table, &addrs[i]));
	}
	/* Nothing behind the end is written. */
	assert_true(len == BURST_MAX || peers[0][n[0]] == 0x5a5a5a5a);
}

static void compare(const struct wg_allowedips *table, const struct twin *twin, unsigned n)
{
	size_t prefixes, bytes;

	/* First what was remembered before the last changes. */
	for (uint32_t peer = 0; peer < MEMO_PEERS; peer++) {
		struct base_addr v4 = base_addr_from_bytes(BASE_FAMILY_V4, memos[peer].v4.addr);
		struct base_addr v6 = base_addr_from_bytes(BASE_FAMILY_V6, memos[peer].v6.addr);

		compare_memo(table, &v4, peer, twin_lookup(twin, &v4) == peer);
		compare_memo(table, &v6, peer, twin_lookup(twin, &v6) == peer);
	}
	for (unsigned i = 0; i < n; i++) {
		struct base_addr addr = random_addr();
		uint32_t expected;

		if (twin->n > 0 && test_random() % 2) /* at a prefix, or next to it */
			addr = twin->prefix[test_random() % twin->n].addr;
		if (test_random() % 4 == 0)
			addr.bytes[base_family_bytes(addr.family) - 1] ^= 1 << test_random() % 8;
		expected = twin_lookup(twin, &addr);
		assert_int_equal(lookup_one(table, &addr), expected);
		for (uint32_t peer = 0; peer < MEMO_PEERS; peer++)
			compare_memo(table, &addr, peer, expected == peer);
	}
	compare_bulk(table, twin);
	wg_allowedips_usage(table, &prefixes, &bytes);
	assert_int_equal(prefixes, twin->n);
}

static void change(struct wg_allowedips *table, struct twin *twin, bool adds)
{
	struct base_prefix prefix = random_prefix();
	uint32_t peer = test_random() % 50, previous = 0;
	unsigned at;
	int rc;

	if (!adds && twin->n > 0 && test_random() % 8)
		prefix = twin->prefix[test_random() % twin->n];
	at = twin_find(twin, &prefix);
	if (adds && at < TWIN_MAX) {
		rc = wg_allowedips_set(table, &prefix, peer, &previous);
		if (rc == -ENOMEM)
			return; /* unchanged, as the twin */
		assert_int_equal(rc, 0);
		assert_int_equal(previous, at < twin->n ? twin->peer[at] : WG_PEER_NONE);
		twin->prefix[at] = prefix;
		twin->peer[at] = peer;
		twin->n += at == twin->n;
	} else if (!adds) {
		if (at < twin->n)
			peer = twin->peer[at];
		assert_int_equal(
			wg_allowedips_remove(table, &prefix, peer), at < twin->n ? 0 : -ENOENT);
		if (at < twin->n) {
			twin->n--;
			twin->prefix[at] = twin->prefix[twin->n];
			twin->peer[at] = twin->peer[twin->n];
		}
	}
}

static void drain(struct wg_allowedips *table, struct twin *twin)
{
	size_t prefixes, bytes;

	while (twin->n > 0) {
		twin->n--;
		assert_int_equal(
			wg_allowedips_remove(table, &twin->prefix[twin->n], twin->peer[twin->n]),
			0);
		if (twin->n % 16 == 0)
			compare(table, twin, 10);
	}
	wg_allowedips_usage(table, &prefixes, &bytes);
	assert_int_equal(prefixes, 0);
	assert_int_equal(bytes, sizeof(struct wg_allowedips)); /* all shapes are gone as well */
	wg_allowedips_free(table);
}

static void test_twin(void **state)
{
	static struct twin twin;
	struct wg_allowedips *table = table_new(NULL, NULL);

	twin.n = 0;
	for (unsigned round = 0; round < 6000; round++) {
		change(table, &twin, test_random() % 8 < (round / 1000 % 2 ? 3u : 6u));
		if (round % 4 == 0)
			compare(table, &twin, 20);
	}
	drain(table, &twin);
}

/* Memory runs out at a random allocation: a set leaves the table as it was, a remove works. */
static void test_no_memory(void **state)
{
	static struct twin twin;
	struct wg_allowedips *table = table_new(NULL, NULL);
	unsigned n_failed = 0;

	twin.n = 0;
	for (unsigned round = 0; round < 4000; round++) {
		bool is_short = test_random() % 3 == 0;

		test_allocations_left = is_short ? (long)(test_random() % 3) : -1;
		change(table, &twin, test_random() % 8 < 5);
		n_failed += test_allocations_left == 0;
		test_allocations_left = -1;
		if (round % 4 == 0)
			compare(table, &twin, 20);
	}
	assert_true(n_failed > 100);
	drain(table, &twin);
}

/* --- retirement and a reader beside the writer ----------------------------------------------- */

struct retired {
	void *nodes[4096];
	size_t n, total;
};

static void retire(void *ctx, void *node)
{
	struct retired *retired = ctx;

	assert(retired->n < 4096);
	retired->nodes[retired->n++] = node;
	retired->total++;
}

static void grace(struct retired *retired)
{
	while (retired->n > 0)
		free(retired->nodes[--retired->n]);
}

/* Every node goes to the callback exactly once: a second time is a double free, none is a leak (ASan). */
static void test_retire(void **state)
{
	static struct retired retired;
	static struct twin twin;
	struct wg_allowedips *table = table_new(retire, &retired);

	twin.n = 0;
	for (unsigned round = 0; round < 3000; round++) {
		change(table, &twin, test_random() % 8 < (round / 1000 % 2 ? 2u : 6u));
		if (round % 8 == 0)
			grace(&retired);
	}
	assert_true(retired.total > 500);
	drain(table, &twin);
	grace(&retired);
}

struct race {
	struct wg_allowedips *table;
	_Atomic bool stop;
	_Atomic uint64_t rounds;
	uint64_t wrong;
};

/* 10.1.2.3 and fd00:1::1 belong to peer 1 or, under a longer prefix, 2; never to anybody else. */
static void *race_reader(void *arg)
{
	static const uint8_t addr4[4] = {10, 1, 2, 3};
	static const uint8_t addr6[16] = {0xfd, 0, 0, 1, [15] = 1};
	struct race *race = arg;

	while (!race->stop) {
		uint32_t peer4 = wg_allowedips_lookup4(race->table, addr4);
		uint32_t peer6 = wg_allowedips_lookup6(race->table, addr6);
		const uint8_t *burst4[] = {addr4, addr4}, *burst6[] = {addr6, addr6};
		uint32_t peers[4];

		race->wrong += peer4 < 1 || peer4 > 2 || peer6 < 1 || peer6 > 2;
		wg_allowedips_lookup4_bulk(race->table, burst4, 2, peers);
		wg_allowedips_lookup6_bulk(race->table, burst6, 2, peers + 2);
		for (unsigned i = 0; i < 4; i++)
			race->wrong += peers[i] < 1 || peers[i] > 2;
		race->rounds++;
	}
	return NULL;
}

static void test_reader_beside_writer(void **state)
{
	static struct retired retired;
	struct race race = {.table = table_new(retire, &retired)};
	pthread_t reader;

	set(race.table, "10.0.0.0/8", 1);
	set(race.table, "fd00::/16", 1);
	assert_int_equal(pthread_create(&reader, NULL, race_reader, &race), 0);
	for (unsigned round = 0; round < 60; round++) {
		char text[64];

		for (unsigned i = 0; i < 30; i++) {
			snprintf(text, sizeof(text), "10.%u.%u.%u/32", 1 + i % 2, i % 3, 10 + i);
			set(race.table, text, 3);
			snprintf(
				text, sizeof(text), "fd00:%u::%u:%u/128", 1 + i % 2, i % 3, 10 + i);
			set(race.table, text, 3);
		}
		set(race.table, "10.1.0.0/17", 2);
		set(race.table, "fd00:1::/64", 2);
		for (unsigned i = 0; i < 30; i++) {
			struct base_prefix prefix;

			snprintf(text, sizeof(text), "10.%u.%u.%u/32", 1 + i % 2, i % 3, 10 + i);
			prefix = prefix_of(text);
			assert_int_equal(wg_allowedips_remove(race.table, &prefix, 3), 0);
			snprintf(
				text, sizeof(text), "fd00:%u::%u:%u/128", 1 + i % 2, i % 3, 10 + i);
			prefix = prefix_of(text);
			assert_int_equal(wg_allowedips_remove(race.table, &prefix, 3), 0);
		}
		if (round % 2) {
			struct base_prefix prefix = prefix_of("10.1.0.0/17");

			assert_int_equal(wg_allowedips_remove(race.table, &prefix, 2), 0);
			prefix = prefix_of("fd00:1::/64");
			assert_int_equal(wg_allowedips_remove(race.table, &prefix, 2), 0);
		}
		/* A grace period: free what was retired once the reader has passed twice. */
		for (uint64_t seen = race.rounds; race.rounds < seen + 2;)
			sched_yield();
		grace(&retired);
	}
	race.stop = true;
	pthread_join(reader, NULL);
	assert_int_equal(race.wrong, 0);
	wg_allowedips_free(race.table);
}

static void test_large(void **state)
{
	struct wg_allowedips *table = table_new(NULL, NULL);
	struct base_prefix p = {.addr.family = BASE_FAMILY_V4, .bits = 32};

	for (uint32_t i = 0; i < WG_ALLOWEDIPS_LARGE; i++) {
		assert_false(wg_allowedips_is_large(table));
		base_store_be32(p.addr.bytes, 0x0a000000 + i);
		assert_int_equal(wg_allowedips_set(table, &p, i, NULL), 0);
	}
	assert_true(wg_allowedips_is_large(table));
	/* Changing hands makes no more of them. */
	assert_int_equal(wg_allowedips_set(table, &p, 7, NULL), 0);
	assert_int_equal(wg_allowedips_remove(table, &p, 7), 0);
	assert_false(wg_allowedips_is_large(table));
	wg_allowedips_free(table);
}

/* --- cost ------------------------------------------------------------------------------------ */

static void test_cost(void **state)
{
	static const char *const names[] = {
		"/32 anywhere", "/128 anywhere", "/32 in 100.64/10", "/128 in one /48"};

	for (unsigned kind = 0; kind < 4; kind++) {
		struct wg_allowedips *table = table_new(NULL, NULL);
		size_t prefixes, bytes;

		for (unsigned i = 0; i < 100000; i++) {
			struct base_prefix p = {0};
			unsigned len = kind % 2 ? 16 : 4;

			p.addr.family = kind % 2 ? BASE_FAMILY_V6 : BASE_FAMILY_V4;
			p.bits = (uint8_t)(8 * len);
			for (unsigned j = 0; j < len; j++)
				p.addr.bytes[j] = (uint8_t)test_random();
			if (kind == 2) {
				p.addr.bytes[0] = 100;
				p.addr.bytes[1] = 64 | (p.addr.bytes[1] & 63);
			}
			if (kind == 3)
				memcpy(p.addr.bytes, "\xfd\x7a\x11\x5c\xa1\xe0", 6);
			assert_int_equal(wg_allowedips_set(table, &p, i, NULL), 0);
		}
		wg_allowedips_usage(table, &prefixes, &bytes);
		printf("%s: %zu bytes per prefix at %zu\n", names[kind], bytes / prefixes,
			prefixes);
		assert_true(bytes / prefixes < 1024);
		wg_allowedips_free(table);
	}
}

static void test_ten_peers_are_small(void **state)
{
	struct wg_allowedips *table = table_new(NULL, NULL);
	size_t prefixes, bytes;
	char text[64];

	for (unsigned i = 0; i < 10; i++) {
		snprintf(text, sizeof(text), "100.64.0.%u", i);
		set(table, text, i);
		snprintf(text, sizeof(text), "fd7a:115c:a1e0::%x", i);
		set(table, text, i);
	}
	wg_allowedips_usage(table, &prefixes, &bytes);
	printf("ten peers: %zu bytes, of them %zu for the IPv4 root, zero pages mostly\n", bytes,
		node_bytes(ROOT4_STRIDE_BITS));
	assert_true(bytes - node_bytes(ROOT4_STRIDE_BITS) < 16384);
	wg_allowedips_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_twin),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_retire),
		cmocka_unit_test(test_reader_beside_writer),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_ten_peers_are_small),
	};

	test_seed();
	return cmocka_run_group_tests_name("wg_allowedips", tests, NULL, NULL);
}
