/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counters: one struct per thread that counts, written by that thread alone, read by control with
 * relaxed loads. A drop is counted and freed by one function, dp_drop(), which is also where a trace
 * learns of it (dp_tap.h).
 */
#ifndef DP_STATS_H
#define DP_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "dp_api.h"
#include "dp_pkt.h"
#include "dp_tap.h"

#include <rte_branch_prediction.h>
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

struct rte_ring;

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
	dp_counter burst_pkts[DP_BURST_KINDS];
	dp_counter bursts[DP_BURST_KINDS][DP_BURST_BUCKETS];
	dp_counter queue_high[DP_QUEUE_COUNT]; /* set, not added to */
	struct dp_tap_point tap;               /* not counters, but of the same thread */
} __rte_cache_aligned;

/** A burst of @n > 0 packets. */
static inline void dp_burst_count(struct dp_counters *counters, enum dp_burst_kind kind, unsigned n)
{
	unsigned bucket = 31u - (unsigned)__builtin_clz(n);

	if (unlikely(bucket >= DP_BURST_BUCKETS))
		bucket = DP_BURST_BUCKETS - 1;
	dp_counter_add(&counters->burst_pkts[kind], n);
	dp_counter_add(&counters->bursts[kind][bucket], 1);
}

/** A queue's reader has found @depth entries in it. */
static inline void dp_queue_seen(struct dp_counters *counters, enum dp_queue queue, unsigned depth)
{
	if (unlikely(depth > dp_counter_get(&counters->queue_high[queue])))
		atomic_store_explicit(&counters->queue_high[queue], depth, memory_order_relaxed);
}

/**
 * The end of a packet that goes nowhere, at this place of its walk (DP_PLACE_COUNT: where the
 * reason usually falls). Its mbuf is freed.
 */
static inline void dp_drop_at(
	struct dp_counters *counters, enum dp_drop reason, enum dp_place place, struct rte_mbuf *m)
{
	dp_counter_add(&counters->drop_pkts[reason], 1);
	if (dp_tap_is_on(&counters->tap))
		dp_trace_end(counters, reason, place, m);
	rte_pktmbuf_free(m);
}

static inline void dp_drop(struct dp_counters *counters, enum dp_drop reason, struct rte_mbuf *m)
{
	dp_drop_at(counters, reason, DP_PLACE_COUNT, m);
}

/** Copy a thread's counters; those of control's struct that are not counters stay. */
void dp_counters_read(const struct dp_counters *counters, struct dp_worker_stats *ret_stats);
/** A queue as it is now, and the mark that its reader keeps in @counters. */
void dp_queue_read(struct dp_queue_stats *ret_stats, const struct rte_ring *ring,
	const struct dp_counters *counters, enum dp_queue queue);

#endif
