/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door to the handshake thread: which handshake messages a worker lets in, and into which of the two
 * queues. Nothing here is cryptography, so garbage costs a worker no more than any packet that it drops.
 *
 * A bucket of tokens per source (IPv4 address, or IPv6 /64) bounds what one of them has the handshake thread
 * look at, so that it can neither keep that thread busy nor the queue full. Sources share buckets by a keyed
 * hash, and nobody can push another out: the memory is fixed, and a flood from invented sources
 * spreads over all buckets evenly. Who has the bad luck to share one with an attacker gets another with
 * the next key.
 *
 * Two queues, because under a flood of first messages from invented sources those who have a cookie, or answer
 * what we asked, must still get through: they have a queue of their own and equal turns. The rest of the defence,
 * cookies and the rate of proved sources, is wg's (wg_cookie.h, wg_ratelimit.h).
 *
 * Worker; each has its own buckets, and control those of peers behind the relay.
 */
#ifndef DP_ADMIT_H
#define DP_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_clock.h"

/** Per source and worker: two thousand peers behind one NAT are back within a second. */
#define DP_ADMIT_RATE_PER_S 2000
#define DP_ADMIT_BURST_MSGS 1024
#define DP_ADMIT_BUCKETS 4096 /* a power of two */
#define DP_ADMIT_KEY_LIFE_NS (10 * BASE_NS_PER_S)

struct dp_pkt;
struct dp_worker;
struct rte_mbuf;

struct dp_admit {
	uint64_t secret; /* of the keys; drawn once */
	uint64_t key, key_ns;
	uint64_t full_ns[DP_ADMIT_BUCKETS]; /* when the bucket will be full again */
};

/** Control, before the worker runs. */
void dp_admit_init(struct dp_admit *admit);
/** One message more of this frame's source? */
bool dp_admit_source(
	struct dp_admit *admit, const uint8_t *frame, const struct dp_pkt *p, uint64_t now_ns);
/** The same, of this address. */
bool dp_admit_addr(struct dp_admit *admit, const struct base_addr *source, uint64_t now_ns);
/** Worker: frames with handshake messages, checked by dp_rx.c; all are taken over. */
void dp_admit(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);

#endif
