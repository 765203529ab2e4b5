/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A dataplane whose time and rounds belong to a test (dp_test.h).
 */
#include "dp_test.h"

/* More rounds than a packet's whole walk takes; a null port never runs dry. */
#define ROUNDS_MAX 64

struct dp *dp_test_new(const struct dp_config *config, const struct dp_callbacks *callbacks,
	void *ctx, struct base_error *ret_error)
{
	return dp_start(config, callbacks, ctx, true, NULL, ret_error);
}

void dp_test_round(struct dp *dp, uint64_t now_ns)
{
	bool has_more = true;

	dp->step_ns = now_ns;
	for (unsigned i = 0; has_more && i < ROUNDS_MAX; i++) {
		has_more = dp_handshake_round(dp->handshake, now_ns);
		for (unsigned w = 0; w < dp->n_workers; w++)
			has_more |= dp_worker_round(&dp->workers[w], now_ns);
	}
}

struct rte_ring *dp_test_port_rx(struct dp *dp, unsigned port, unsigned queue)
{
	return dp->ports[port].rx_rings[queue];
}

struct rte_ring *dp_test_port_tx(struct dp *dp, unsigned port, unsigned queue)
{
	return dp->ports[port].tx_rings[queue];
}

void dp_test_set_host_ring(struct dp *dp, struct rte_ring *ring)
{
	for (unsigned i = 0; i < dp->n_workers; i++)
		dp->workers[i].host_ring = ring;
}

void dp_test_set_nexthop(struct dp *dp, dp_nexthop_lookup lookup)
{
	dp->nexthop_lookup = lookup;
	atomic_fetch_add(&dp->tables.generation, 1);
}
