/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allowed IPs: longest-prefix match from an inner address to a peer number. Outwards it routes
 * (destination to peer), inwards it is the source check (source must map to the sender).
 *
 * Two structures hold the same prefixes. The writer keeps a binary trie of them, the truth.
 * Readers see what is compiled from it, a tree of slots. A slot stands for a range of addresses
 * and holds one of
 * - a peer: all of the range has one answer;
 * - a list: at most WG_ALLOWEDIPS_LIST_MAX longer prefixes lie in the range. One cache line for IPv4;
 * - a node: an array of slots, one per value of the next 8 bits (16 at the root of IPv4).
 * Most prefixes of a mesh are host routes, and lists keep them at tens of bytes each, where a
 * plain multibit trie would spend a node of 2 KiB on nearly every one.
 *
 * IPv4 lookups take at most three dependent loads after the root: nodes at bits 0, 16 and 24, or
 * two nodes and a list. IPv6 nodes compress paths: each names the prefix that everything in
 * it shares. Both are compared with a naive list on random routes (wg_allowedips_test.c).
 *
 * One writer, many readers without locks. Every slot, and every answer within a list, is one
 * aligned word that changes by one release store; readers load slots with acquire, so that what a
 * slot points to is seen whole. While a prefix is being set or removed a reader sees for each
 * address the old answer or the new one, nothing else. Lists and nodes that are unlinked go to
 * @retire, whose owner frees them after a grace period (in the dataplane: QSBR), so a reader
 * never meets freed memory.
 */
#ifndef WG_ALLOWEDIPS_H
#define WG_ALLOWEDIPS_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_bytes.h"
#include "base_err.h"

/** No peer. */
#define WG_PEER_NONE UINT32_MAX
/** Peer numbers are below this; they are dense and given by the table's user. */
#define WG_PEER_NUMBER_MAX (UINT32_C(1) << 30)

struct wg_allowedips;

/** Free @node with free(3) once no reader can hold it; NULL as callback frees at once. */
typedef void (*wg_allowedips_retire)(void *ctx, void *node);

/** An empty table; NULL with errno. Writer's thread. */
struct wg_allowedips *wg_allowedips_new(wg_allowedips_retire retire, void *ctx);
/** No reader may be left. */
void wg_allowedips_free(struct wg_allowedips *table);

/**
 * Give @prefix to @peer; a prefix that another peer had moves (as `wg set` does). Writer.
 * @ret_previous: may be NULL; who had exactly this prefix, or WG_PEER_NONE.
 * Returns 0, -EINVAL (host bits set, peer number out of range), -ENOMEM (table unchanged; never
 * for a prefix that another peer has: that only changes hands).
 * Cost: that of the path, but a prefix as short as 0.0.0.0/0 touches every slot it covers.
 */
BASE_MUST_CHECK int wg_allowedips_set(struct wg_allowedips *table, const struct base_prefix *prefix,
	uint32_t peer, uint32_t *ret_previous);
/** Take exactly @prefix away from @peer. Returns 0 or -ENOENT; needs no memory. Writer. */
int wg_allowedips_remove(
	struct wg_allowedips *table, const struct base_prefix *prefix, uint32_t peer);
/** Who has exactly this prefix, or WG_PEER_NONE. Writer. */
uint32_t wg_allowedips_exact(const struct wg_allowedips *table, const struct base_prefix *prefix);
/** Prefixes in the table, and bytes held (retired ones not counted). Writer. */
void wg_allowedips_usage(
	const struct wg_allowedips *table, size_t *ret_prefixes, size_t *ret_bytes);

/*
 * Below: the readers' half, visible so that lookups are inline in the packet path. Only
 * wg_allowedips.c writes it. Addresses are two words in host order, IPv4 in the top of the first.
 */

/* Tags in the low bits of a slot. A peer is stored plus one, so that a zeroed slot is "none". */
#define WG_ALLOWEDIPS_PEER 0u
#define WG_ALLOWEDIPS_LIST 1u
#define WG_ALLOWEDIPS_NODE 2u
#define WG_ALLOWEDIPS_TAG_MASK 3u

#define WG_ALLOWEDIPS_LIST_MAX 4

struct wg_allowedips_list {
	_Atomic uint32_t inherited; /* answer for what no prefix of the list holds */
	uint8_t n;
	uint8_t bits[WG_ALLOWEDIPS_LIST_MAX]; /* longest first */
	_Atomic uint32_t peers[WG_ALLOWEDIPS_LIST_MAX];
	uint64_t high[WG_ALLOWEDIPS_LIST_MAX];
	uint64_t low[WG_ALLOWEDIPS_LIST_MAX]; /* IPv6; not allocated for IPv4 */
};
static_assert(offsetof(struct wg_allowedips_list, low) <= 64, "an IPv4 list is one cache line");

struct wg_allowedips_node {
	uint64_t high, low;           /* IPv6: the path that all in here share, */
	uint64_t high_mask, low_mask; /* as far as these say */
	_Atomic uint32_t inherited;   /* IPv6: answer for addresses off that path */
	uint32_t at_byte;             /* which byte of the address chooses the slot */
	_Atomic uint64_t slots[];
};

struct wg_allowedips_readers {
	_Atomic uint64_t root4;
	_Atomic uint64_t root6;
	_Atomic uint32_t epoch; /* another one after each change; never 0 */
	_Atomic bool is_large;  /* WG_ALLOWEDIPS_LARGE prefixes and more */
};

/** Tables of this many prefixes, and what the peers behind them take, are more than the first caches hold. */
#define WG_ALLOWEDIPS_LARGE 4096u

/** The first member of struct wg_allowedips. */
static inline const struct wg_allowedips_readers *wg_allowedips_readers(
	const struct wg_allowedips *table)
{
	return (const struct wg_allowedips_readers *)table;
}

/* Pairs with the release store of slot_store() in wg_allowedips.c. */
static inline uint64_t wg_allowedips_load(const _Atomic uint64_t *slot)
{
	return atomic_load_explicit(slot, memory_order_acquire);
}

static inline bool wg_allowedips_is_node(uint64_t slot)
{
	return (slot & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_NODE;
}

static inline const struct wg_allowedips_node *wg_allowedips_node(uint64_t slot)
{
	return (const struct wg_allowedips_node *)(uintptr_t)(slot - WG_ALLOWEDIPS_NODE);
}

static inline uint32_t wg_allowedips_peer(uint64_t slot)
{
	return (uint32_t)(slot >> 2) - 1;
}

/* True if the first @bits (1-128) of two addresses agree, given their exclusive or. */
static inline bool wg_allowedips_agree(uint64_t high_xor, uint64_t low_xor, unsigned bits)
{
	if (bits <= 64)
		return high_xor >> (64 - bits) == 0;
	return high_xor == 0 && low_xor >> (128 - bits) == 0;
}

/* The word is read once per answer, and each answer stands alone: relaxed. */
static inline uint32_t wg_allowedips_list4_lookup(
	const struct wg_allowedips_list *list, uint64_t high)
{
	for (unsigned i = 0; i < list->n; i++) {
		if ((high ^ list->high[i]) >> (64 - list->bits[i]) == 0)
			return atomic_load_explicit(&list->peers[i], memory_order_relaxed);
	}
	return atomic_load_explicit(&list->inherited, memory_order_relaxed);
}

static inline uint32_t wg_allowedips_list6_lookup(
	const struct wg_allowedips_list *list, uint64_t high, uint64_t low)
{
	for (unsigned i = 0; i < list->n; i++) {
		if (wg_allowedips_agree(high ^ list->high[i], low ^ list->low[i], list->bits[i]))
			return atomic_load_explicit(&list->peers[i], memory_order_relaxed);
	}
	return atomic_load_explicit(&list->inherited, memory_order_relaxed);
}

/** Reader: the peer with the longest prefix that holds the address, or WG_PEER_NONE. */
static inline uint32_t wg_allowedips_lookup4(
	const struct wg_allowedips *table, const uint8_t addr[4])
{
	uint64_t slot = wg_allowedips_load(&wg_allowedips_readers(table)->root4);
	uint32_t key = base_load_be32(addr);

	if (wg_allowedips_is_node(slot))
		slot = wg_allowedips_load(&wg_allowedips_node(slot)->slots[key >> 16]);
	if (wg_allowedips_is_node(slot))
		slot = wg_allowedips_load(&wg_allowedips_node(slot)->slots[key >> 8 & 255]);
	if (wg_allowedips_is_node(slot))
		slot = wg_allowedips_load(&wg_allowedips_node(slot)->slots[key & 255]);
	if ((slot & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_PEER)
		return wg_allowedips_peer(slot);
	return wg_allowedips_list4_lookup(
		(const struct wg_allowedips_list *)(uintptr_t)(slot - WG_ALLOWEDIPS_LIST),
		(uint64_t)key << 32);
}

/** The same for IPv6. Ends after at most 16 nodes: each decides a later byte. */
static inline uint32_t wg_allowedips_lookup6(
	const struct wg_allowedips *table, const uint8_t addr[16])
{
	uint64_t slot = wg_allowedips_load(&wg_allowedips_readers(table)->root6);
	uint64_t high = base_load_be64(addr), low = base_load_be64(addr + 8);

	while (wg_allowedips_is_node(slot)) {
		const struct wg_allowedips_node *node = wg_allowedips_node(slot);

		if (((high ^ node->high) & node->high_mask) | ((low ^ node->low) & node->low_mask))
			return atomic_load_explicit(&node->inherited, memory_order_relaxed);
		slot = wg_allowedips_load(&node->slots[addr[node->at_byte]]);
	}
	if ((slot & WG_ALLOWEDIPS_TAG_MASK) == WG_ALLOWEDIPS_PEER)
		return wg_allowedips_peer(slot);
	return wg_allowedips_list6_lookup(
		(const struct wg_allowedips_list *)(uintptr_t)(slot - WG_ALLOWEDIPS_LIST), high,
		low);
}

/** Addresses that go down side by side; of more, so many at a time. */
#define WG_ALLOWEDIPS_BULK_MAX 64u

/**
 * Reader: the same for @n addresses at once (wg_allowedips_bulk.c). Each answer is one that a look-up of its own could
 * have had meanwhile. A few cycles dearer than as many look-ups while the table is in the cache, several times
 * cheaper when it is not: see wg_allowedips_is_large().
 */
void wg_allowedips_lookup4_bulk(const struct wg_allowedips *table, const uint8_t *const *addrs,
	unsigned n, uint32_t *ret_peers);
void wg_allowedips_lookup6_bulk(const struct wg_allowedips *table, const uint8_t *const *addrs,
	unsigned n, uint32_t *ret_peers);

/** Reader: are there so many prefixes that what a walk reads is likely not in the cache? */
static inline bool wg_allowedips_is_large(const struct wg_allowedips *table)
{
	return atomic_load_explicit(&wg_allowedips_readers(table)->is_large, memory_order_relaxed);
}

/**
 * What the owner of a peer keeps of its last source that was allowed, so that the next packet from there needs no
 * walk. It holds for one epoch of the table. Zeroed: none.
 */
struct wg_allowedips_memo4 {
	uint32_t epoch;
	uint8_t addr[4];
};

struct wg_allowedips_memo6 {
	uint32_t epoch;
	uint8_t addr[16];
};

/*
 * Acquire pairs with the release in epoch_end() of wg_allowedips.c: who sees an epoch sees all changes
 * that came before it. It is loaded before the walk, so a memo never claims to be younger than what it
 * was made from.
 */
static inline uint32_t wg_allowedips_epoch(const struct wg_allowedips *table)
{
	return atomic_load_explicit(&wg_allowedips_readers(table)->epoch, memory_order_acquire);
}

/** Reader: does the address belong to @peer? */
static inline bool wg_allowedips_holds4(const struct wg_allowedips *table,
	struct wg_allowedips_memo4 *memo, const uint8_t addr[4], uint32_t peer)
{
	uint32_t epoch = wg_allowedips_epoch(table);

	if (memo->epoch == epoch && memcmp(memo->addr, addr, 4) == 0)
		return true;
	if (wg_allowedips_lookup4(table, addr) != peer)
		return false;
	memo->epoch = epoch;
	memcpy(memo->addr, addr, 4);
	return true;
}

/** The same for IPv6. */
static inline bool wg_allowedips_holds6(const struct wg_allowedips *table,
	struct wg_allowedips_memo6 *memo, const uint8_t addr[16], uint32_t peer)
{
	uint32_t epoch = wg_allowedips_epoch(table);

	if (memo->epoch == epoch && memcmp(memo->addr, addr, 16) == 0)
		return true;
	if (wg_allowedips_lookup6(table, addr) != peer)
		return false;
	memo->epoch = epoch;
	memcpy(memo->addr, addr, 16);
	return true;
}

#endif
