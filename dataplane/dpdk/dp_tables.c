/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Published tables (dp_tables.h): made and published by control.
 */
#include "dp_tables.h"

#include <stdlib.h>

#define PEERS_FIRST 64

static void retire_node(void *ctx, void *node)
{
	dp_rcu_retire(ctx, free, node);
}

static void destroy_view(void *view)
{
	dp_underlay_view_free(view);
}

static void destroy_filter(void *filter)
{
	in_filter_free(filter);
}

static struct dp_peer_array *array_new(uint32_t capacity)
{
	struct dp_peer_array *array =
		calloc(1, sizeof(*array) + capacity * sizeof(array->slots[0]));

	if (array)
		array->capacity = capacity;
	return array;
}

int dp_tables_init(struct dp_tables *tables, struct dp_rcu *rcu)
{
	memset(tables, 0, sizeof(*tables));
	atomic_store(&tables->generation, 1);
	atomic_store(&tables->peers, array_new(PEERS_FIRST));
	tables->allowed_ips = wg_allowedips_new(retire_node, rcu);
	return atomic_load(&tables->peers) && tables->allowed_ips ? 0 : -ENOMEM;
}

void dp_tables_fini(struct dp_tables *tables)
{
	wg_allowedips_free(tables->allowed_ips);
	free(atomic_load(&tables->peers));
	in_filter_free(atomic_load(&tables->filter));
	dp_underlay_view_free(atomic_load(&tables->view));
	memset(tables, 0, sizeof(*tables));
}

int dp_tables_reserve(struct dp_tables *tables, struct dp_rcu *rcu, uint32_t capacity)
{
	struct dp_peer_array *old = atomic_load_explicit(&tables->peers, memory_order_relaxed);
	struct dp_peer_array *new;

	if (capacity <= old->capacity)
		return 0;
	new = array_new(capacity);
	if (!new)
		return -ENOMEM;
	for (uint32_t i = 0; i < old->capacity; i++)
		atomic_store_explicit(&new->slots[i],
			atomic_load_explicit(&old->slots[i], memory_order_relaxed),
			memory_order_relaxed);
	/* Release: a reader that finds the larger array finds it whole. */
	atomic_store_explicit(&tables->peers, new, memory_order_release);
	dp_rcu_retire(rcu, free, old);
	return 0;
}

void dp_tables_set_peer(struct dp_tables *tables, uint32_t number, struct dp_peer *peer)
{
	struct dp_peer_array *array = atomic_load_explicit(&tables->peers, memory_order_relaxed);

	/* Release: a reader that finds the peer finds it whole. */
	atomic_store_explicit(&array->slots[number], peer, memory_order_release);
}

void dp_tables_publish_filter(
	struct dp_tables *tables, struct dp_rcu *rcu, struct in_filter *filter)
{
	struct in_filter *old = atomic_load_explicit(&tables->filter, memory_order_relaxed);

	/* Release: a reader that finds the new one finds it whole. */
	atomic_store_explicit(&tables->filter, filter, memory_order_release);
	if (old)
		dp_rcu_retire(rcu, destroy_filter, old);
}

void dp_tables_publish_view(
	struct dp_tables *tables, struct dp_rcu *rcu, struct dp_underlay_view *view)
{
	struct dp_underlay_view *old = atomic_load_explicit(&tables->view, memory_order_relaxed);

	/* The view first: a worker that sees the new generation (acquire) sees a view at least as new. One
	 * that sees the new view with the old generation looks once more in its next round. */
	atomic_store_explicit(&tables->view, view, memory_order_release);
	atomic_store_explicit(
		&tables->generation, dp_underlay_generation(view), memory_order_release);
	if (old)
		dp_rcu_retire(rcu, destroy_view, old);
}
