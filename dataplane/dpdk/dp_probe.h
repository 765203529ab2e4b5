/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Path probes: datagrams on the tunnel's port that are not WireGuard's (disco and STUN, protocols/nat-traversal.md, 1.3). Workers
 * tell them by their first bytes and put copies on two bounded rings to control; dp_probe_send() sends control's through
 * a worker, by the same routes and with the same headers as data.
 *
 * Whoever floods us with them pays alone. Each source has its share, as at the handshake thread's door (dp_admit.h). Sources that
 * we have sent a probe to lately have a ring of their own and equal turns, so that answers, and the pings of those
 * whom we answer, come through a flood from invented addresses; and strangers' go up at a bounded rate.
 *
 * Nothing here is authenticated: that is control's business.
 */
#ifndef DP_PROBE_H
#define DP_PROBE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"
#include "dp_api.h"
#include "dp_outer.h"

/** Probes that wait for control, of either ring. */
#define DP_RING_PROBES 512
/** Of sources that we sent nothing to, per worker. */
#define DP_PROBE_STRANGERS_PER_S 4000
#define DP_PROBE_STRANGERS_BURST 256
/** So long after a probe of ours its destination is no stranger. */
#define DP_PROBE_ASKED_NS (15 * BASE_NS_PER_S)
#define DP_PROBE_PLACES 4096 /* a power of two */

struct dp;
struct dp_worker;
struct rte_mbuf;
struct rte_ring;

/** A probe on its way to control. */
struct dp_probe {
	struct dp_from from;
	uint16_t len, zero;
	uint8_t data[DP_PROBE_BYTES_MAX];
};
static_assert(sizeof(struct dp_probe) % 4 == 0, "rte_ring_elem's rule");

struct dp_probes {
	struct rte_ring *strangers, *expected;
	uint64_t secret; /* of the places; drawn once */
	/* When we last sent to an address of this place. Writer: control; readers: workers, relaxed. Addresses may share one: then a
	 * stranger is taken for a friend, no more. */
	_Atomic uint64_t asked_ns[DP_PROBE_PLACES];
};

/** 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_probes_init(struct dp_probes *probes);
void dp_probes_fini(struct dp_probes *probes);

/** Is this payload, which is no WireGuard message, one of disco or STUN? */
bool dp_probe_is(const uint8_t *payload, uint32_t len);
/** Worker: frames with probes, checked by dp_rx.c; all are taken over. */
void dp_probe_take(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);
/** Control: give what waits to the callback, a bounded number. */
void dp_probe_service(struct dp *dp);

#endif
