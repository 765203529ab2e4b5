/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters: one struct per thread that counts, written by that thread alone, read by control with
 * relaxed loads. A drop is counted and freed by one function, dp_drop().
 */
#ifndef DP_STATS_H
#define DP_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "dp_api.h"
#include "dp_pkt.h"

#include <rte_cycles.h>

/** One writer: a plain add, spelled so that a reader on another thread sees no torn value. */
typedef _Atomic uint64_t dp_counter;

static inline void dp_counter_add(dp_counter *counter, uint64_t n)
{
	/* Relaxed: each number stands alone, and only this thread stores. */
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

static inline uint64_t dp_counter_get(const dp_counter *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

struct dp_counters {
	dp_counter rx_pkts, rx_bytes;
	dp_counter tx_pkts, tx_bytes;
	dp_counter rx_bursts, tx_bursts;
	dp_counter sealed_pkts, sealed_bytes;
	dp_counter opened_pkts, opened_bytes;
	dp_counter handed_over_pkts;
	dp_counter host_rx_pkts, host_tx_pkts;
	dp_counter sleeps;
	dp_counter rounds; /* of the thread's loop; dp_watchdog.h */
	dp_counter busy_cycles, idle_cycles;
	dp_counter stage_pkts[DP_STAGE_COUNT], stage_cycles[DP_STAGE_COUNT];
	dp_counter drop_pkts[DP_DROPS_MAX];
} __rte_cache_aligned;

/** The end of a packet that goes nowhere. Its mbuf is freed. */
static inline void dp_drop(struct dp_counters *counters, enum dp_drop reason, struct rte_mbuf *m)
{
	dp_counter_add(&counters->drop_pkts[reason], 1);
	rte_pktmbuf_free(m);
}

/** Copy a thread's counters; those of control's struct that are not counters stay. */
void dp_counters_read(const struct dp_counters *counters, struct dp_worker_stats *ret_stats);

#endif
