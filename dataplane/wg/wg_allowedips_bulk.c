/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allowed IPs for a burst: all its addresses go down the slots side by side, a level at a time, and what a level will
 * read is fetched for all of them before any reads it. One look-up alone would wait for main memory at each level
 * (a hundred thousand peers are more than the second-level cache holds); a burst waits once per level.
 * Thread: readers. Read wg_allowedips.h first; wg_allowedips_test.c compares with one look-up at a time.
 */
#include "wg_allowedips.h"

/* What a value points to: the slot that the next byte chooses, or the list. */
static inline void fetch4(uint64_t value, unsigned next)
{
	if (wg_allowedips_is_node(value))
		__builtin_prefetch((const void *)&wg_allowedips_node(value)->slots[next]);
	else if (value & WG_ALLOWEDIPS_TAG_MASK)
		__builtin_prefetch((const void *)(uintptr_t)(value - WG_ALLOWEDIPS_LIST));
}

static inline uint64_t step4(uint64_t value, unsigned at)
{
	return wg_allowedips_is_node(value)
		? wg_allowedips_load(&wg_allowedips_node(value)->slots[at])
		: value;
}

static inline uint32_t answer4(uint64_t value, uint32_t key)
{
	if ((value & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_PEER)
		return wg_allowedips_peer(value);
	return wg_allowedips_list4_lookup(
		(const struct wg_allowedips_list *)(uintptr_t)(value - WG_ALLOWEDIPS_LIST),
		(uint64_t)key << 32);
}

static void lookup4_some(const struct wg_allowedips *table, const uint8_t *const *addrs, unsigned n,
	uint32_t *ret_peers)
{
	uint64_t root = wg_allowedips_load(&wg_allowedips_readers(table)->root4);
	uint64_t values[WG_ALLOWEDIPS_BULK_MAX];
	uint32_t keys[WG_ALLOWEDIPS_BULK_MAX];

	for (unsigned i = 0; i < n; i++) {
		keys[i] = base_load_be32(addrs[i]);
		fetch4(root, keys[i] >> 16);
	}
	for (unsigned i = 0; i < n; i++) {
		values[i] = step4(root, keys[i] >> 16);
		fetch4(values[i], keys[i] >> 8 & 255);
	}
	for (unsigned i = 0; i < n; i++) {
		values[i] = step4(values[i], keys[i] >> 8 & 255);
		fetch4(values[i], keys[i] & 255);
	}
	for (unsigned i = 0; i < n; i++) {
		values[i] = step4(values[i], keys[i] & 255);
		fetch4(values[i], 0); /* no node any more */
	}
	for (unsigned i = 0; i < n; i++)
		ret_peers[i] = answer4(values[i], keys[i]);
}

void wg_allowedips_lookup4_bulk(const struct wg_allowedips *table, const uint8_t *const *addrs,
	unsigned n, uint32_t *ret_peers)
{
	for (unsigned at = 0; at < n; at += WG_ALLOWEDIPS_BULK_MAX)
		lookup4_some(table, addrs + at,
			n - at < WG_ALLOWEDIPS_BULK_MAX ? n - at : WG_ALLOWEDIPS_BULK_MAX,
			ret_peers + at);
}

/* One address on its way down. */
struct walk6 {
	uint64_t value;               /* of the slot it has come to */
	const _Atomic uint64_t *slot; /* fetched; NULL: the node at @value is what was fetched */
	uint64_t high, low;
	unsigned i; /* which of the burst */
};

static inline void fetch6(uint64_t value)
{
	const uint8_t *memory =
		(const uint8_t *)(uintptr_t)(value & ~(uint64_t)WG_ALLOWEDIPS_TAG_MASK);

	if ((value & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_PEER)
		return;
	__builtin_prefetch(memory);
	/* A list of IPv6 has a second line. */
	if ((value & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_LIST)
		__builtin_prefetch(memory + 64);
}

static inline uint32_t answer6(const struct walk6 *walk)
{
	if ((walk->value & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_PEER)
		return wg_allowedips_peer(walk->value);
	return wg_allowedips_list6_lookup(
		(const struct wg_allowedips_list *)(uintptr_t)(walk->value - WG_ALLOWEDIPS_LIST),
		walk->high, walk->low);
}

/* One step of one walk: true at its end. Slots and nodes take turns, each fetched by the step before. */
static inline bool step6(struct walk6 *walk, const uint8_t *addr, uint32_t *ret_peer)
{
	const struct wg_allowedips_node *node;

	if (walk->slot) {
		walk->value = wg_allowedips_load(walk->slot);
		walk->slot = NULL;
		fetch6(walk->value);
		return false;
	}
	if (!wg_allowedips_is_node(walk->value)) {
		*ret_peer = answer6(walk);
		return true;
	}
	node = wg_allowedips_node(walk->value);
	if (((walk->high ^ node->high) & node->high_mask) |
		((walk->low ^ node->low) & node->low_mask)) {
		*ret_peer = atomic_load_explicit(&node->inherited, memory_order_relaxed);
		return true;
	}
	walk->slot = &node->slots[addr[node->at_byte]];
	__builtin_prefetch((const void *)walk->slot);
	return false;
}

/* All that have not come to their end go one step on, again and again: at most 16 nodes lie on a way. */
static void lookup6_some(const struct wg_allowedips *table, const uint8_t *const *addrs, unsigned n,
	uint32_t *ret_peers)
{
	uint64_t root = wg_allowedips_load(&wg_allowedips_readers(table)->root6);
	struct walk6 walks[WG_ALLOWEDIPS_BULK_MAX];

	for (unsigned i = 0; i < n; i++)
		walks[i] = (struct walk6){.value = root,
			.high = base_load_be64(addrs[i]),
			.low = base_load_be64(addrs[i] + 8),
			.i = i};
	while (n > 0) {
		unsigned kept = 0;

		for (unsigned k = 0; k < n; k++) {
			if (step6(&walks[k], addrs[walks[k].i], &ret_peers[walks[k].i]))
				continue;
			if (kept != k)
				walks[kept] = walks[k];
			kept++;
		}
		n = kept;
	}
}

void wg_allowedips_lookup6_bulk(const struct wg_allowedips *table, const uint8_t *const *addrs,
	unsigned n, uint32_t *ret_peers)
{
	for (unsigned at = 0; at < n; at += WG_ALLOWEDIPS_BULK_MAX)
		lookup6_some(table, addrs + at,
			n - at < WG_ALLOWEDIPS_BULK_MAX ? n - at : WG_ALLOWEDIPS_BULK_MAX,
			ret_peers + at);
}
