/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The walk of a worker as the benches run it: a stepped dataplane on a ring port, peers with sessions whose keys
 * the bench knows, and rounds of batches of which only dp_worker_round() and the clock it is given are
 * timed; a batch is made before, and what came out is checked and freed after. One thread, pinned by the caller.
 */
#ifndef BENCH_WALK_H
#define BENCH_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "dp_test.h"

#include "bench_raw.h"

/**
 * What the bench has to know of a session, apart from it: making packets must not bring into the cache what the worker
 * is to fetch.
 */
struct bench_session {
	struct cr_key key;
	uint64_t open_counter;
	uint32_t index;
};

struct bench_walk {
	struct dp *dp;
	struct dp_worker *worker;
	struct rte_ring *host_ring;
	struct wg_slab *slab;
	uint32_t n_sessions;
	struct dp_peer **peers;         /* those with sessions */
	struct bench_session *sessions; /* theirs */
	uint32_t *order;                /* peers in no order that a prefetcher could learn */
	uint32_t n_peers;               /* of order[] in use */
	uint32_t next;                  /* in order[] */
	bool has_new_flows;             /* opening: each packet is of a flow not seen before */
	uint16_t flow;                  /* source port of the last of them */
	struct cr_aead *aead;
	const struct cr_aead_ops *aead_ops;
};

/** Ends the process with a line. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_walk_die(const char *fmt, ...);

/** A dataplane without peers. */
void bench_walk_up(struct bench_walk *walk, unsigned cpu);
/** Configure peers @first to @first + @n - 1, idle ones; each has an inner IPv4 address and an endpoint. */
void bench_walk_peers_add(struct bench_walk *walk, uint32_t first, uint32_t n);
/** Give the first @n peers sessions. Once. */
void bench_walk_sessions_add(struct bench_walk *walk, uint32_t n);
void bench_walk_down(struct bench_walk *walk);

/** From now on packets are of the first @n peers, in random order. */
void bench_walk_use(struct bench_walk *walk, uint32_t n);
#define BENCH_WALK_ROUND_PKTS (32u * DP_BURST)
/** Cycles per packet of one round, BENCH_WALK_ROUND_PKTS packets of this inner size. */
double bench_walk_round(struct bench_walk *walk, enum bench_op op, uint32_t size);

#endif
