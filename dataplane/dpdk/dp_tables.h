/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What workers look things up in.
 *
 * - struct dp_tables: shared, published by control, read under QSBR (dp_rcu.h): allowed IPs to peer
 *   number, peer number to peer, the underlay's view, the packet filter.
 * - struct dp_index: a worker's own map from receiver index to keypair. Nobody else touches it, so an
 *   index that was pushed out is gone with the next packet. The worker never allocates: control makes a
 *   larger table when the number of peers asks for it, and the worker moves over by command.
 */
#ifndef DP_TABLES_H
#define DP_TABLES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"
#include "dp_rcu.h"
#include "dp_underlay.h"
#include "in_filter.h"
#include "wg_allowedips.h"
#include "wg_index.h"
#include "wg_keypair.h"

#include <rte_common.h>
#include <rte_prefetch.h>

struct dp_peer;

/** Peers by number. A slot holds NULL or a peer that is not freed before a grace period. */
struct dp_peer_array {
	uint32_t capacity;
	_Atomic(struct dp_peer *) slots[];
};

struct dp_tables {
	struct wg_allowedips *allowed_ips;     /* writer: control */
	_Atomic(struct dp_peer_array *) peers; /* writer: control */
	_Atomic(struct dp_underlay_view *)
		view;                /* writer: control; NULL: ports without a kernel device */
	_Atomic uint64_t generation; /* of the view; never 0 */
	struct in_filter *filter;    /* fixed at start */
};

/**
 * Fill @tables: no peers, and the filter of @config's rules for the host's own addresses.
 * Returns 0, -ENOMEM, -EINVAL (a rule that cannot be).
 */
BASE_MUST_CHECK int dp_tables_init(
	struct dp_tables *tables, struct dp_rcu *rcu, const struct dp_config *config);
/** No reader may be left. Half-initialised is fine. */
void dp_tables_fini(struct dp_tables *tables);
/** Control: make slot @number point to @peer (NULL: to nothing). Returns 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_tables_set_peer(
	struct dp_tables *tables, struct dp_rcu *rcu, uint32_t number, struct dp_peer *peer);
/** Control: take over a new view; the old one is retired. */
void dp_tables_publish_view(
	struct dp_tables *tables, struct dp_rcu *rcu, struct dp_underlay_view *view);

/** Reader: the peer of a number that the allowed IPs gave, or NULL. */
static inline struct dp_peer *dp_tables_peer(const struct dp_tables *tables, uint32_t number)
{
	/* Acquire pairs with the release in dp_tables_set_peer(): what a reader finds is whole. */
	struct dp_peer_array *peers = atomic_load_explicit(&tables->peers, memory_order_acquire);

	if (number >= peers->capacity)
		return NULL;
	return atomic_load_explicit(&peers->slots[number], memory_order_acquire);
}

/* Open addressing with linear probing, never more than half full. */
struct dp_index_slot {
	struct wg_keypair *keypair; /* NULL: free */
	uint32_t index;
};

struct dp_index {
	uint32_t mask;
	uint32_t count;
	struct dp_index *next_old; /* link while it waits, replaced, to be freed */
	struct dp_index_slot slots[] __rte_cache_aligned;
};

/** Room for @entries; NULL with errno. Control. */
struct dp_index *dp_index_new(uint32_t entries);
void dp_index_free(struct dp_index *table);
/** How many entries it takes. */
uint32_t dp_index_room(const struct dp_index *table);

/* Indices are random but for the owner's bits, which are the same in the whole table. */
static inline uint32_t dp_index_home(const struct dp_index *table, uint32_t index)
{
	return (index >> WG_INDEX_OWNER_BITS) & table->mask;
}

static inline void dp_index_prefetch(const struct dp_index *table, uint32_t index)
{
	rte_prefetch0(&table->slots[dp_index_home(table, index)]);
}

static inline struct wg_keypair *dp_index_lookup(const struct dp_index *table, uint32_t index)
{
	for (uint32_t i = dp_index_home(table, index);; i = (i + 1) & table->mask) {
		const struct dp_index_slot *slot = &table->slots[i];

		if (!slot->keypair || slot->index == index)
			return slot->keypair;
	}
}

/** Worker. False: no room, which dp_peer.c rules out by growing the table before it adds a peer. */
BASE_MUST_CHECK bool dp_index_add(struct dp_index *table, struct wg_keypair *keypair);
void dp_index_remove(struct dp_index *table, uint32_t index);
/** Worker: copy all of @from into @to, which has more room. */
void dp_index_move(struct dp_index *to, const struct dp_index *from);

#endif
