/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storm of the handshake bench: every peer of a gateway reconnects at once, while an established tunnel
 * carries a counted stream each way. Real worker and handshake threads, a ring port; the caller's thread plays
 * the network, the peers and control. See bench_handshake.c.
 */
#ifndef BENCH_STORM_H
#define BENCH_STORM_H

#include <stdbool.h>
#include <stdint.h>

#include "dp_test.h"

#include "bench_fleet.h"

struct bench_storm_config {
	uint32_t n_peers;
	unsigned worker_cpu; /* the others share CPU 0 */
	bool as_json;
};

/** Run it and print a row. Ends the process with a line if something does not work. */
void bench_storm_run(const struct bench_storm_config *config);

/** Configure all members as peers, with one inner address each. */
void bench_storm_peers_add(struct dp *dp, const struct bench_fleet *fleet);
/** Put its initiation on the gateway's port. False: no room. */
bool bench_storm_inject(struct dp *dp, const struct bench_member *member);
/** A frame of the gateway's: store a response, take a cookie. Returns whose it is, or UINT32_MAX. */
uint32_t bench_storm_answer(struct bench_fleet *fleet, struct rte_mbuf *m, uint64_t now_ns);
/** Pin the calling thread. */
void bench_storm_pin(unsigned cpu);

#endif
