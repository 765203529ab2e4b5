/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port as a worker uses it: a burst in, a burst out, by the port's own number of the queue. A port whose
 * interface has gone (dp_ports.h) receives nothing and takes nothing. Worker lcores.
 */
#ifndef DP_PORT_IO_H
#define DP_PORT_IO_H

#include "dp_init.h"
#include "dp_packet.h"
#include "dp_relay.h"

#include <rte_ethdev.h>

/* Acquire pairs with dp_init.c's release: the queues of a port that was opened again are seen with it. */
static inline bool dp_port_is_open(const struct dp_port *port)
{
	return likely(atomic_load_explicit(&port->is_open, memory_order_acquire));
}

static inline unsigned dp_port_receive(
	const struct dp_port *port, unsigned queue, struct rte_mbuf **pkts, unsigned n)
{
	const struct dp_eth_queue *in = &port->queues[queue];

	if (!dp_port_is_open(port))
		return 0;
	if (port->packets[queue])
		return dp_packet_rx(port->packets[queue], pkts, n);
	return rte_eth_rx_burst(in->id, in->queue, pkts, (uint16_t)n);
}

/** Returns how many were taken; the others stay the caller's. */
static inline unsigned dp_port_send(
	const struct dp_port *port, unsigned queue, struct rte_mbuf **pkts, unsigned n)
{
	const struct dp_eth_queue *out;

	if (!dp_port_is_open(port))
		return 0;
	if (unlikely(port->relay)) {
		dp_relay_put(port->relay, pkts, n);
		return n;
	}
	if (port->packets[queue])
		return dp_packet_tx(port->packets[queue], pkts, n);
	out = &port->queues[queue];
	return rte_eth_tx_burst(out->id, out->queue, pkts, (uint16_t)n);
}

#endif
