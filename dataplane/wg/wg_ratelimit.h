/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many handshake messages per second one source may have us work on for nothing while under load:
 * WG_SOURCE_RATE_PER_S beyond a burst of WG_SOURCE_BURST_MSGS, per IPv4 address or IPv6 /64. A message that
 * turns out to be a peer's is given back, so that a thousand peers behind one NAT are not one too busy source.
 *
 * The table has a fixed size: outsiders cannot grow it. Sources share sets of a few places by a
 * keyed hash; a new source takes the place of the one in its set that has been quiet longest. Only
 * sources that proved their address (mac2) get here, so pushing others out takes as many real
 * addresses as places, and what it wins is a fresh burst for each. Refusing new sources
 * instead would let the same attacker shut everybody else out. Thread: the device's.
 */
#ifndef WG_RATELIMIT_H
#define WG_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "wg_messages.h"

#define WG_RATELIMIT_SETS 512 /* a power of two */
#define WG_RATELIMIT_WAYS 8

/**
 * A token bucket as one time: when it will be full again. A message moves it on by the time a token
 * takes; more than a burst ahead of now means empty.
 */
struct wg_ratelimit_bucket {
	uint64_t source; /* hash; 0 with full_ns 0: free */
	uint64_t full_ns;
};

struct wg_ratelimit {
	uint64_t seed;
	struct wg_ratelimit_bucket sets[WG_RATELIMIT_SETS][WG_RATELIMIT_WAYS];
};

/** Zero the table and draw a seed that outsiders do not know. */
void wg_ratelimit_init(struct wg_ratelimit *limit);
/** True: this source may have one more message now, and it was counted. */
bool wg_ratelimit_allow(
	struct wg_ratelimit *limit, const struct base_addr *source, uint64_t now_ns);
/** The message that was counted last for @source does not count. */
void wg_ratelimit_give_back(struct wg_ratelimit *limit, const struct base_addr *source);

#endif
