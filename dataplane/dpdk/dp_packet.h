/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue of an af_packet port: a packet socket whose messages may be many frames. The kernel takes and gives
 * up to 64 KiB of UDP in one piece, told by a virtio_net_hdr (UDP segmentation, Linux 6.2): where it
 * stays on the machine, or meets a NIC that segments or gathers, the network stack is walked once per
 * piece and not once per packet. Towards the worker there are frames alone.
 *
 * Sending: frames in a row that differ in nothing but their lengths and payloads, all as long as the
 * first but for the last, leave as one message. Receiving: large messages are cut again; the kernel
 * gathers them if a socket of the port has UDP_GRO on (dp_guard.c). A filter in the kernel leaves out
 * whatever is not UDP to the tunnel's port, and tagged frames, which belong to another interface.
 * On older kernels every message is one frame.
 *
 * Thread: the worker that owns the queue; creation and end: control. No call waits.
 */
#ifndef DP_PACKET_H
#define DP_PACKET_H

#include <stdint.h>

#include "base_err.h"

struct rte_mbuf;
struct rte_mempool;
struct dp_packet;

struct dp_packet_config {
	char device[16];
	uint16_t udp_port;
	uint16_t n_queues; /* with more than one the kernel spreads flows over them */
	uint16_t fanout;   /* what they share: a number of this port's own in this namespace */
	struct rte_mempool *pool;
};

/** One queue. NULL with errno and a line. */
struct dp_packet *dp_packet_new(
	const struct dp_packet_config *config, struct base_error *ret_error);
void dp_packet_free(struct dp_packet *packet);

/** Readable when there may be something to receive. */
int dp_packet_fd(const struct dp_packet *packet);
/** Up to @n frames; the caller's. A frame that does not fit an mbuf is cut off, as its headers tell. */
unsigned dp_packet_rx(struct dp_packet *packet, struct rte_mbuf **ret_pkts, unsigned n);
/**
 * Send @n <= DP_BURST frames of one segment with the headers of dp_outer.h. Returns how many the kernel took, from
 * the first on: these are freed, the rest stay the caller's.
 */
unsigned dp_packet_tx(struct dp_packet *packet, struct rte_mbuf **pkts, unsigned n);

#endif
