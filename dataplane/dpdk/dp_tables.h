/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What workers look things up in: shared, published by control, read under QSBR (dp_rcu.h). Allowed IPs to
 * peer number, peer number to peer, the underlay's view, the packet filter. A worker's own map from
 * receiver index to keypair is not shared: wg_index.h, in struct dp_worker.
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
	_Atomic(struct in_filter *) filter; /* writer: control */
};

/** Fill @tables: no peers, and no filter yet. Returns 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_tables_init(struct dp_tables *tables, struct dp_rcu *rcu);
/** No reader may be left. Half-initialised is fine. */
void dp_tables_fini(struct dp_tables *tables);
/** Control: slots for peer numbers below @capacity. Returns 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_tables_reserve(
	struct dp_tables *tables, struct dp_rcu *rcu, uint32_t capacity);
/** Control: make slot @number, reserved before, point to @peer (NULL: to nothing). */
void dp_tables_set_peer(struct dp_tables *tables, uint32_t number, struct dp_peer *peer);
/** Control: this filter from now on; the old one is retired. Once at least before workers run. */
void dp_tables_publish_filter(
	struct dp_tables *tables, struct dp_rcu *rcu, struct in_filter *filter);
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

/** Bring the slot of a number into the cache; a burst does it for all before looking any up. */
static inline void dp_tables_peer_prefetch(const struct dp_tables *tables, uint32_t number)
{
	const struct dp_peer_array *peers =
		atomic_load_explicit(&tables->peers, memory_order_acquire);

	/* No more than a hint: a number beyond the end faults nowhere. */
	__builtin_prefetch(&peers->slots[number]);
}

/** Reader: the filter, until its next quiescent state. */
static inline const struct in_filter *dp_tables_filter(const struct dp_tables *tables)
{
	/* Acquire pairs with the release in dp_tables_publish_filter(). */
	return atomic_load_explicit(&tables->filter, memory_order_acquire);
}

#endif
