/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests and benchmarks of this library: a dataplane without threads, whose rounds the test runs at times
 * of its choice, and the ends of its ring ports and of its host interface. Not for control.
 */
#ifndef DP_TEST_H
#define DP_TEST_H

#include "dp_dataplane.h"

/** As dp_new(), but no thread is started: see dp_test_round(). */
struct dp *dp_test_new(const struct dp_config *config, const struct dp_callbacks *callbacks,
	void *ctx, struct base_error *ret_error);
/** Handshake thread's and workers' rounds at @now_ns until there is nothing left to do. */
void dp_test_round(struct dp *dp, uint64_t now_ns);

/** What the port receives: put frames here. */
struct rte_ring *dp_test_port_rx(struct dp *dp, unsigned port, unsigned queue);
/** What the port sent. */
struct rte_ring *dp_test_port_tx(struct dp *dp, unsigned port, unsigned queue);
/** Opened packets go to this ring from now on (the test's; NULL: dropped as host_queue_full). */
void dp_test_set_host_ring(struct dp *dp, struct rte_ring *ring);
/** Answer next-hop questions with this from now on. */
void dp_test_set_nexthop(struct dp *dp, dp_nexthop_lookup lookup);

/* Where a ring port's peer lives, unless dp_test_set_nexthop() says otherwise: everything is one
 * hop away. */
#define DP_TEST_OUR_ADDR4                                                                          \
	{                                                                                          \
		192, 0, 2, 1                                                                       \
	}
#define DP_TEST_MTU_BYTES 1500

#endif
