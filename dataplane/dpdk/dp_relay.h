/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The path by relay: sealed messages that travel through control, which talks to relays, instead of through a port.
 *
 * To a worker the relay is one more port, and each peer has an address behind it: 240.0.0.0 plus the peer's number,
 * of the class E that no host on the Internet has (RFC 1112, 4) and that frames of real ports are refused from.
 * So headers, batches, handshakes, cookies and limits per source are those of every other path. What is sent
 * there lands on a ring to control (bounded; the oldest goes, as on the relay's own queues); what comes from there
 * control hands to the thread that would have got it from a port.
 *
 *	worker -> ring -> dp_relay_service() -> callbacks.relay()
 *	dp_relay_input() -> owner's hand-over ring, or the handshake thread's
 */
#ifndef DP_RELAY_H
#define DP_RELAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "dp_admit.h"

/** Messages that wait for control. */
#define DP_RING_RELAY 2048

struct dp;
struct dp_nexthop;
struct dp_port;
struct rte_mbuf;
struct rte_ring;

struct dp_relay {
	struct rte_ring
		*out; /* producers: workers; consumers: control, and workers that make room */
	_Atomic uint64_t dropped; /* the oldest, for want of room */
	struct dp_admit admit;    /* control: handshake messages per peer */
};

/** NULL with no memory. */
struct dp_relay *dp_relay_new(void);
/** Frees what still waits. NULL is fine. */
void dp_relay_free(struct dp_relay *relay);

/** Control, before the workers run: what they send by @port comes here. */
void dp_relay_open(struct dp_relay *relay, struct dp_port *port, unsigned n_workers);

/** Where the peer of this number is, behind the relay. */
struct base_endpoint dp_relay_endpoint(uint32_t number);
/** Is this an address behind the relay? */
bool dp_relay_has(const struct base_addr *addr);
/** The way to such an address; @port: the relay's number. Worker. */
void dp_relay_nexthop(struct dp_nexthop *ret_nexthop, uint16_t port);
/** Worker: frames to such addresses; all are taken over. */
void dp_relay_put(struct dp_relay *relay, struct rte_mbuf **pkts, unsigned n);
/** Control: give what waits to the callback, a bounded number. */
void dp_relay_service(struct dp *dp);

#endif
