/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer's half of allowed IPs: a binary trie of prefixes with compressed paths (the truth), and
 * what is compiled from it for readers. Thread: the one writer. Read wg_allowedips.h first.
 *
 * A change goes first into the trie, then down the slots to the one where the prefix ends. There
 * the shape may change (rebuild: the only step that allocates). Below it only answers change
 * (refresh: in place, cannot fail). A removal that finds no memory to shrink a list refreshes
 * its answers instead, so removing never fails.
 */
#include "wg_allowedips.h"

#include <stdlib.h>

#define CACHE_LINE_BYTES 64
#define ROOT4_STRIDE_BITS 16
#define STRIDE_BITS 8
/* A node turns back into a list when so few are left: well below what made it a node. */
#define NODE_PREFIXES_MIN 2

struct key {
	uint64_t high, low;
	unsigned bits; /* 0-128 */
};

/* The trie: a prefix, or a fork (peer WG_PEER_NONE) that has two children. */
struct entry {
	struct key key;
	uint32_t peer;
	struct entry *child[2];
};

struct wg_allowedips {
	struct wg_allowedips_readers readers; /* first, see wg_allowedips_readers() */
	struct entry *tries[2];               /* IPv4, IPv6 */
	wg_allowedips_retire retire;
	void *ctx;
	size_t n_prefixes;
	size_t bytes;
};

/* One family of a table: what most steps below work on. */
struct side {
	struct wg_allowedips *table;
	struct entry **trie;
	_Atomic uint64_t *root;
	bool is_v6;
};

static struct side side_of(struct wg_allowedips *table, bool is_v6)
{
	return (struct side){
		.table = table,
		.trie = &table->tries[is_v6],
		.root = is_v6 ? &table->readers.root6 : &table->readers.root4,
		.is_v6 = is_v6,
	};
}

/* --- keys ---------------------------------------------------------------------------------- */

static uint64_t mask_high(unsigned bits)
{
	return bits == 0 ? 0 : bits >= 64 ? UINT64_MAX : UINT64_MAX << (64 - bits);
}

static uint64_t mask_low(unsigned bits)
{
	return bits <= 64 ? 0 : mask_high(bits - 64);
}

static struct key key_cut(struct key key, unsigned bits)
{
	return (struct key){key.high & mask_high(bits), key.low & mask_low(bits), bits};
}

static bool key_bit(struct key key, unsigned at)
{
	return at < 64 ? key.high >> (63 - at) & 1 : key.low >> (127 - at) & 1;
}

/* How many leading bits two keys share, no more than either has. */
static unsigned key_common(struct key a, struct key b)
{
	unsigned limit = a.bits < b.bits ? a.bits : b.bits, n;

	if (a.high != b.high)
		n = (unsigned)__builtin_clzll(a.high ^ b.high);
	else if (a.low != b.low)
		n = 64 + (unsigned)__builtin_clzll(a.low ^ b.low);
	else
		n = 128;
	return n < limit ? n : limit;
}

/* True if @outer holds @inner, or is the same. */
static bool key_holds(struct key outer, struct key inner)
{
	return outer.bits <= inner.bits && key_common(outer, inner) == outer.bits;
}

/* Sub-range number @i of the @stride bits behind @key. */
static struct key key_child(struct key key, unsigned stride, uint64_t i)
{
	unsigned bits = key.bits + stride;

	if (bits <= 64)
		key.high |= i << (64 - bits);
	else
		key.low |= i << (128 - bits); /* strides end at bytes: none crosses the words */
	key.bits = bits;
	return key;
}

static bool key_from_prefix(struct key *ret_key, const struct base_prefix *prefix)
{
	const uint8_t *bytes = prefix->addr.bytes;
	struct key key = {.bits = prefix->bits}, cut;

	if (prefix->addr.family == BASE_FAMILY_V4)
		key.high = (uint64_t)base_load_be32(bytes) << 32;
	else if (prefix->addr.family == BASE_FAMILY_V6)
		key = (struct key){base_load_be64(bytes), base_load_be64(bytes + 8), prefix->bits};
	else
		return false;
	if (key.bits > 8 * base_family_bytes(prefix->addr.family))
		return false;
	cut = key_cut(key, key.bits);
	if (cut.high != key.high || cut.low != key.low)
		return false;
	*ret_key = key;
	return true;
}

/* --- the trie ------------------------------------------------------------------------------ */

static struct entry *entry_new(struct side *side, struct key key, uint32_t peer)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->key = key;
	entry->peer = peer;
	side->table->bytes += sizeof(*entry);
	return entry;
}

static void entry_free(struct side *side, struct entry *entry)
{
	side->table->bytes -= sizeof(*entry);
	free(entry);
}

static struct entry *trie_find(struct entry *entry, struct key key)
{
	while (entry && entry->key.bits < key.bits && key_holds(entry->key, key))
		entry = entry->child[key_bit(key, entry->key.bits)];
	return entry && entry->key.bits == key.bits && key_holds(entry->key, key) ? entry : NULL;
}

/* The answer for all of @key's range that no longer prefix overrides. */
static uint32_t trie_resolve(const struct entry *entry, struct key key)
{
	uint32_t peer = WG_PEER_NONE;

	while (entry && key_holds(entry->key, key)) {
		if (entry->peer != WG_PEER_NONE)
			peer = entry->peer;
		if (entry->key.bits == key.bits)
			break;
		entry = entry->child[key_bit(key, entry->key.bits)];
	}
	return peer;
}

/* The topmost entry inside @key's range, the range itself included; NULL if there is none. */
static const struct entry *trie_within(const struct entry *entry, struct key key)
{
	while (entry && entry->key.bits < key.bits && key_holds(entry->key, key))
		entry = entry->child[key_bit(key, entry->key.bits)];
	return entry && key_holds(key, entry->key) ? entry : NULL;
}

/*
 * Gather prefixes below @entry that are longer than @bits, up to @max of them, shorter ones
 * before those they hold. Depth is at most 129, the levels of an IPv6 trie.
 */
static unsigned trie_gather(const struct entry *entry, unsigned bits,
	const struct entry **ret_found, unsigned n, unsigned max)
{
	if (!entry || n == max)
		return n;
	if (entry->peer != WG_PEER_NONE && entry->key.bits > bits)
		ret_found[n++] = entry;
	n = trie_gather(entry->child[0], bits, ret_found, n, max);
	return trie_gather(entry->child[1], bits, ret_found, n, max);
}

/* Find or make the entry of @key; a new one has no peer yet. NULL: no memory, trie unchanged. */
static struct entry *trie_insert(struct side *side, struct key key)
{
	struct entry **link = side->trie, *leaf, *fork, *old;
	unsigned common = 0;

	while (*link) {
		common = key_common((*link)->key, key);
		if (common < (*link)->key.bits)
			break;
		if (common == key.bits)
			return *link;
		link = &(*link)->child[key_bit(key, common)];
	}
	leaf = entry_new(side, key, WG_PEER_NONE);
	if (!leaf)
		return NULL;
	old = *link;
	if (!old) {
		*link = leaf;
	} else if (common == key.bits) {
		leaf->child[key_bit(old->key, common)] = old;
		*link = leaf;
	} else {
		fork = entry_new(side, key_cut(key, common), WG_PEER_NONE);
		if (!fork) {
			entry_free(side, leaf);
			return NULL;
		}
		fork->child[key_bit(key, common)] = leaf;
		fork->child[key_bit(old->key, common)] = old;
		*link = fork;
	}
	return leaf;
}

/* Replace an entry without a peer by its only child, or nothing. */
static void trie_splice(struct side *side, struct entry **link)
{
	struct entry *entry = *link;

	if (!entry || entry->peer != WG_PEER_NONE || (entry->child[0] && entry->child[1]))
		return;
	*link = entry->child[0] ? entry->child[0] : entry->child[1];
	entry_free(side, entry);
}

/* Drop the entry of @key, which is there and has lost its peer, and a fork that it leaves idle. */
static void trie_prune(struct side *side, struct key key)
{
	struct entry **link = side->trie, **parent = NULL;

	while (*link && (*link)->key.bits < key.bits) {
		parent = link;
		link = &(*link)->child[key_bit(key, (*link)->key.bits)];
	}
	trie_splice(side, link);
	if (parent)
		trie_splice(side, parent);
}

static void trie_free(struct side *side, struct entry *entry)
{
	if (!entry)
		return;
	trie_free(side, entry->child[0]);
	trie_free(side, entry->child[1]);
	entry_free(side, entry);
}

/* --- slots --------------------------------------------------------------------------------- */

/* Release: what the slot points to was filled before. Pairs with wg_allowedips_load(). */
static void slot_store(_Atomic uint64_t *slot, uint64_t value)
{
	atomic_store_explicit(slot, value, memory_order_release);
}

/* The writer reads its own stores. */
static uint64_t slot_peek(const _Atomic uint64_t *slot)
{
	return atomic_load_explicit(slot, memory_order_relaxed);
}

static uint64_t slot_peer(uint32_t peer)
{
	return (uint64_t)(uint32_t)(peer + 1) << 2;
}

static unsigned slot_tag(uint64_t slot)
{
	return slot & WG_ALLOWEDIPS_TAG_MASK;
}

static void *slot_pointer(uint64_t slot)
{
	return (void *)(uintptr_t)(slot & ~(uint64_t)WG_ALLOWEDIPS_TAG_MASK);
}

/* Store an answer only where it differs: untouched pages of the IPv4 root stay untouched. */
static void answer_store(_Atomic uint32_t *answer, uint32_t peer)
{
	if (atomic_load_explicit(answer, memory_order_relaxed) != peer)
		atomic_store_explicit(answer, peer, memory_order_relaxed);
}

static unsigned node_stride(const struct side *side, const struct wg_allowedips_node *node)
{
	return !side->is_v6 && node->at_byte == 0 ? ROOT4_STRIDE_BITS : STRIDE_BITS;
}

static size_t list_bytes(const struct side *side)
{
	return side->is_v6 ? 2 * CACHE_LINE_BYTES : CACHE_LINE_BYTES;
}

static_assert(sizeof(struct wg_allowedips_list) <= 2 * CACHE_LINE_BYTES, "as list_bytes() says");

static size_t node_bytes(unsigned stride)
{
	return sizeof(struct wg_allowedips_node) + (sizeof(uint64_t) << stride);
}

/* Give a slot's value and all below it to the retirer, or free it where no reader ever saw it. */
static void value_drop(struct side *side, uint64_t value, bool was_published)
{
	struct wg_allowedips *table = side->table;

	if (slot_tag(value) == WG_ALLOWEDIPS_PEER)
		return;
	if (slot_tag(value) == WG_ALLOWEDIPS_NODE) {
		struct wg_allowedips_node *node = slot_pointer(value);
		unsigned stride = node_stride(side, node);

		for (size_t i = 0; i < (size_t)1 << stride; i++)
			value_drop(side, slot_peek(&node->slots[i]), was_published);
		table->bytes -= node_bytes(stride);
	} else {
		table->bytes -= list_bytes(side);
	}
	if (was_published && table->retire)
		table->retire(table->ctx, slot_pointer(value));
	else
		free(slot_pointer(value));
}

static struct wg_allowedips_list *list_build(
	struct side *side, struct key range, const struct entry *const *found, unsigned n)
{
	struct wg_allowedips_list *list = aligned_alloc(CACHE_LINE_BYTES, list_bytes(side));

	if (!list)
		return NULL;
	memset(list, 0, list_bytes(side));
	side->table->bytes += list_bytes(side);
	atomic_init(&list->inherited, trie_resolve(*side->trie, range));
	list->n = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		unsigned at = 0;

		for (unsigned j = 0; j < n; j++) /* longest first; ties keep their order */
			at += found[j]->key.bits > found[i]->key.bits ||
				(j < i && found[j]->key.bits == found[i]->key.bits);
		list->bits[at] = (uint8_t)found[i]->key.bits;
		atomic_init(&list->peers[at], found[i]->peer);
		list->high[at] = found[i]->key.high;
		if (side->is_v6)
			list->low[at] = found[i]->key.low;
	}
	return list;
}

static bool value_build(struct side *side, struct key range, uint64_t *ret_value);

/* A node for @range, whose prefixes all lie within @path (IPv6) or start right behind it. */
static bool node_build(struct side *side, struct key range, struct key path, uint64_t *ret_value)
{
	unsigned stride = !side->is_v6 && path.bits == 0 ? ROOT4_STRIDE_BITS : STRIDE_BITS;
	/* calloc, because the IPv4 root then costs only the pages that hold a peer. */
	struct wg_allowedips_node *node = calloc(1, node_bytes(stride));

	if (!node)
		return false;
	side->table->bytes += node_bytes(stride);
	node->at_byte = path.bits / 8;
	node->high = path.high;
	node->low = path.low;
	node->high_mask = mask_high(path.bits);
	node->low_mask = mask_low(path.bits);
	atomic_init(&node->inherited, trie_resolve(*side->trie, range));
	*ret_value = (uint64_t)(uintptr_t)node | WG_ALLOWEDIPS_NODE;
	for (size_t i = 0; i < (size_t)1 << stride; i++) {
		uint64_t value;

		if (!value_build(side, key_child(path, stride, i), &value)) {
			value_drop(side, *ret_value, false);
			return false;
		}
		if (value)
			slot_store(&node->slots[i], value);
	}
	return true;
}

/* Compile what the trie says of @range. False: no memory, nothing kept. */
static bool value_build(struct side *side, struct key range, uint64_t *ret_value)
{
	const struct entry *found[WG_ALLOWEDIPS_LIST_MAX + 1],
		*top = trie_within(*side->trie, range);
	unsigned n = trie_gather(top, range.bits, found, 0, BASE_ARRAY_LEN(found));

	if (n == 0) {
		*ret_value = slot_peer(trie_resolve(*side->trie, range));
		return true;
	}
	if (n <= WG_ALLOWEDIPS_LIST_MAX) {
		struct wg_allowedips_list *list = list_build(side, range, found, n);

		*ret_value = (uint64_t)(uintptr_t)list | WG_ALLOWEDIPS_LIST;
		return list != NULL;
	}
	if (side->is_v6) {
		/* All prefixes of the range are at or below `top`; if that is the range itself, a
		 * prefix of its own length is no longer one and its only child may lie deeper. */
		while (top->key.bits <= range.bits && !(top->child[0] && top->child[1]))
			top = top->child[0] ? top->child[0] : top->child[1];
		if (top->key.bits / STRIDE_BITS * STRIDE_BITS > range.bits)
			return node_build(side, range,
				key_cut(top->key, top->key.bits / STRIDE_BITS * STRIDE_BITS),
				ret_value);
	}
	return node_build(side, range, range, ret_value);
}

static bool slot_rebuild(struct side *side, _Atomic uint64_t *slot, struct key range)
{
	uint64_t old = slot_peek(slot), value;

	if (!value_build(side, range, &value))
		return false;
	slot_store(slot, value);
	value_drop(side, old, true);
	return true;
}

/* Bring every answer below @slot up to date without changing its shape. */
static void slot_refresh(struct side *side, _Atomic uint64_t *slot, struct key range)
{
	const struct entry *trie = *side->trie;
	uint32_t inherited = trie_resolve(trie, range);
	uint64_t value = slot_peek(slot);

	if (slot_tag(value) == WG_ALLOWEDIPS_PEER) {
		if (value != slot_peer(inherited))
			slot_store(slot, slot_peer(inherited));
	} else if (slot_tag(value) == WG_ALLOWEDIPS_LIST) {
		struct wg_allowedips_list *list = slot_pointer(value);

		answer_store(&list->inherited, inherited);
		for (unsigned i = 0; i < list->n; i++) {
			struct key key = {
				list->high[i], side->is_v6 ? list->low[i] : 0, list->bits[i]};

			answer_store(&list->peers[i], trie_resolve(trie, key));
		}
	} else {
		struct wg_allowedips_node *node = slot_pointer(value);
		struct key path = {node->high, node->low, 8 * node->at_byte};
		unsigned stride = node_stride(side, node);

		answer_store(&node->inherited, inherited);
		for (size_t i = 0; i < (size_t)1 << stride; i++)
			slot_refresh(side, &node->slots[i], key_child(path, stride, i));
	}
}

/* Which child of @node the range of @key lies in; @key is longer than the path. */
static size_t node_child(unsigned stride, struct key path, struct key key)
{
	unsigned end = path.bits + stride;
	uint64_t word = end <= 64 ? key.high >> (64 - end) : key.low >> (128 - end);

	return word & (((size_t)1 << stride) - 1);
}

/*
 * Bring the slots up to date after the trie changed at @key. Walks to the slot where the prefix
 * ends; false if the shape there has to grow and there is no memory.
 */
static bool slot_update(struct side *side, _Atomic uint64_t *slot, struct key range, struct key key)
{
	while (key.bits > range.bits && slot_tag(slot_peek(slot)) == WG_ALLOWEDIPS_NODE) {
		struct wg_allowedips_node *node = slot_pointer(slot_peek(slot));
		struct key path = {node->high, node->low, 8 * node->at_byte};
		const struct entry *found[NODE_PREFIXES_MIN + 1];
		unsigned stride = node_stride(side, node);
		size_t first, n;

		if (trie_gather(trie_within(*side->trie, range), range.bits, found, 0,
			    BASE_ARRAY_LEN(found)) <= NODE_PREFIXES_MIN)
			break; /* few are left: try to become a list */
		if (!key_holds(path, key) && !key_holds(key, path))
			break; /* off the shared path */
		if (key.bits < path.bits)
			break; /* ends on the shared path: it has to begin earlier */
		if (key.bits > path.bits + stride) {
			range = key_child(path, stride, node_child(stride, path, key));
			slot = &node->slots[node_child(stride, path, key)];
			continue;
		}
		first = node_child(stride, path, key);
		n = (size_t)1 << (path.bits + stride - key.bits);
		for (size_t i = first; i < first + n; i++)
			slot_refresh(side, &node->slots[i], key_child(path, stride, i));
		return true;
	}
	if (key.bits <= range.bits) {
		slot_refresh(side, slot, range);
		return true;
	}
	if (slot_rebuild(side, slot, range))
		return true;
	slot_refresh(side, slot, range); /* right for all that the old shape can tell apart */
	return false;
}

/* --- the table ----------------------------------------------------------------------------- */

struct wg_allowedips *wg_allowedips_new(wg_allowedips_retire retire, void *ctx)
{
	struct wg_allowedips *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->retire = retire;
	table->ctx = ctx;
	table->bytes = sizeof(*table);
	atomic_store(&table->readers.epoch, 1);
	return table;
}

void wg_allowedips_free(struct wg_allowedips *table)
{
	if (!table)
		return;
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		struct side side = side_of(table, is_v6);

		value_drop(&side, slot_peek(side.root), false);
		trie_free(&side, *side.trie);
	}
	free(table);
}

/* The slots have changed: what readers remember is void. */
static void epoch_end(struct wg_allowedips *table)
{
	uint32_t epoch = atomic_load_explicit(&table->readers.epoch, memory_order_relaxed);

	/* Release: after the slots. One writer, so a load and a store will do. */
	atomic_store_explicit(
		&table->readers.epoch, epoch + 1 + (epoch == UINT32_MAX), memory_order_release);
}

/* Relaxed: a hint, by which nothing is looked up otherwise. */
static void count_prefixes(struct wg_allowedips *table, size_t n)
{
	table->n_prefixes = n;
	atomic_store_explicit(
		&table->readers.is_large, n >= WG_ALLOWEDIPS_LARGE, memory_order_relaxed);
}

int wg_allowedips_set(struct wg_allowedips *table, const struct base_prefix *prefix, uint32_t peer,
	uint32_t *ret_previous)
{
	struct key key, all = {0};
	struct entry *entry;
	struct side side;
	uint32_t previous;

	if (peer >= WG_PEER_NUMBER_MAX || !key_from_prefix(&key, prefix))
		return -EINVAL;
	side = side_of(table, prefix->addr.family == BASE_FAMILY_V6);
	entry = trie_insert(&side, key);
	if (!entry)
		return -ENOMEM;
	previous = entry->peer;
	entry->peer = peer;
	/* Of a prefix that only changes hands the slots know the shape: they were refreshed. */
	if (!slot_update(&side, side.root, all, key) && previous == WG_PEER_NONE) {
		entry->peer = WG_PEER_NONE;
		slot_update(&side, side.root, all, key);
		trie_prune(&side, key);
		epoch_end(table);
		return -ENOMEM;
	}
	epoch_end(table);
	count_prefixes(table, table->n_prefixes + (previous == WG_PEER_NONE));
	if (ret_previous)
		*ret_previous = previous;
	return 0;
}

int wg_allowedips_remove(
	struct wg_allowedips *table, const struct base_prefix *prefix, uint32_t peer)
{
	struct key key, all = {0};
	struct entry *entry;
	struct side side;

	if (!key_from_prefix(&key, prefix))
		return -ENOENT;
	side = side_of(table, prefix->addr.family == BASE_FAMILY_V6);
	entry = trie_find(*side.trie, key);
	if (!entry || entry->peer == WG_PEER_NONE || entry->peer != peer)
		return -ENOENT;
	entry->peer = WG_PEER_NONE;
	trie_prune(&side, key);
	count_prefixes(table, table->n_prefixes - 1);
	slot_update(&side, side.root, all, key); /* without memory it refreshed, which is enough */
	epoch_end(table);
	return 0;
}

uint32_t wg_allowedips_exact(const struct wg_allowedips *table, const struct base_prefix *prefix)
{
	struct key key;
	const struct entry *entry;

	if (!key_from_prefix(&key, prefix))
		return WG_PEER_NONE;
	entry = trie_find(table->tries[prefix->addr.family == BASE_FAMILY_V6], key);
	return entry ? entry->peer : WG_PEER_NONE;
}

void wg_allowedips_usage(const struct wg_allowedips *table, size_t *ret_prefixes, size_t *ret_bytes)
{
	*ret_prefixes = table->n_prefixes;
	*ret_bytes = table->bytes;
}
