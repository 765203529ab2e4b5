/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface: a TUN device with virtio_net_hdr that holds the gateway's mesh addresses,
 * and what moves packets between it and the workers: a thread of its own, or, where there is but one
 * worker and that may sleep, this worker between its stages (dp_host_serve()): one thread then carries
 * 64 KiB from a read to the port while they are in its cache, and nobody has to wake another.
 *
 * Kernel to tunnel: the thread reads packets, or up to 64 KiB of TCP or UDP at once, cuts them into
 * mbufs of @pool with right checksums (in_offload.h) and hands bursts to @from_host, which routes
 * them to their owners' rings.
 * Tunnel to kernel: workers put bursts on the ring that dp_host_ring() names (many producers) and
 * call dp_host_wake(), which costs a system call only if the thread sleeps. The thread puts what
 * belongs together into large packets (in_coalesce.h) and writes each at once.
 */
#ifndef DP_HOST_H
#define DP_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_clock.h"
#include "base_err.h"
#include "dp_api.h"

struct dp_idle;
struct rte_mbuf;
struct rte_mempool;
struct rte_ring;
struct dp_host;

/** Packets that one call of from_host carries at most. */
#define DP_HOST_BURST 64
/** Two bursts: one, and what a large packet may bring on top of it. */
#define DP_HOST_ROOM_PKTS (2 * DP_HOST_BURST)
/** A stalled worker must not stop the others for good: then its packets are dropped and counted. */
#define DP_HOST_PATIENCE_NS (20 * BASE_NS_PER_MS)

struct dp_host_config {
	char device[DP_DEVICE_NAME_LEN];
	struct base_prefix addrs[DP_HOST_ADDRS_MAX];
	unsigned n_addrs;
	uint16_t mtu_bytes;
	unsigned cpu; /* the thread is pinned here */
	/* Where the worker that calls dp_host_serve() sleeps; NULL: a thread of the interface's own serves it. */
	struct dp_idle *server;
	struct rte_mempool
		*pool;      /* for packets from the kernel; headroom for outer headers is kept */
	uint32_t ring_size; /* packets towards the kernel that may wait; a power of two */
	/** Inner packets from the kernel, data at its IP header; the callee owns them. On the host thread. */
	void (*from_host)(void *ctx, struct rte_mbuf **pkts, unsigned n);
	/**
	 * Packets that from_host can surely take now; NULL: any number. Below DP_HOST_ROOM_PKTS the thread
	 * leaves packets with the kernel, which then slows down its senders instead of losing
	 * what they sent; but for no longer than DP_HOST_PATIENCE_NS in a row.
	 */
	unsigned (*room)(void *ctx);
	/** Somebody deleted the device: nothing moves until dp_host_reopen(). Once, on the host thread; may be NULL. */
	void (*gone)(void *ctx);
	void *ctx;
};

/**
 * Make the device (refuses one that exists and is not a TUN of a dead process), set addresses, MTU and link
 * by netlink, start the thread. NULL with errno and a line that names device and remedy: no /dev/net/tun, no
 * CAP_NET_ADMIN, name taken, address in use.
 */
struct dp_host *dp_host_new(const struct dp_host_config *config, struct base_error *ret_error);
/** Stops the thread; the device disappears with its descriptor. */
void dp_host_free(struct dp_host *host);

/** What happened to the link since the last look. */
enum dp_host_change { DP_HOST_SAME, DP_HOST_WENT_DOWN, DP_HOST_CAME_UP };
/** Control: has somebody taken the link down, or up again? Then its addresses are restored; routes are the caller's. */
enum dp_host_change dp_host_look(struct dp_host *host);
/**
 * Control, after gone(): make the device once more, with its addresses and its thread; routes are the caller's.
 * Returns 0 or -Exxx with a line; try again later then. Workers find their ring full meanwhile.
 */
BASE_MUST_CHECK int dp_host_reopen(struct dp_host *host, struct base_error *ret_error);

/**
 * Workers: bursts for the kernel, packets of one segment with data at the IP header; what does
 * not fit is the caller's to drop and count.
 */
struct rte_ring *dp_host_ring(const struct dp_host *host);
/** Workers, after putting on the ring. */
void dp_host_wake(struct dp_host *host);
/**
 * The worker whose sleep config.server is, once a round: what is on the ring into the kernel, and, if it @may_read,
 * about a burst out of it. Returns how many packets moved. "Thread" in this header is then this worker's.
 */
unsigned dp_host_serve(struct dp_host *host, bool may_read);

/**
 * Control: a route to @prefix over the device. A prefix inside those of the device's own addresses
 * needs none. Returns 0 or -Exxx: -EEXIST if the host has a route of its own to that prefix, which
 * stays; -EOPNOTSUPP for a default route, which would carry off the outer packets as well.
 */
int dp_host_route_add(struct dp_host *host, const struct base_prefix *prefix);
int dp_host_route_remove(struct dp_host *host, const struct base_prefix *prefix);

/**
 * Control: these addresses from now on; those that stay are not touched. Routes may go with those that leave: they are the
 * caller's to restore. Returns 0 or -Exxx with a line; then it has those from before. While there is no
 * device, for the next one.
 */
BASE_MUST_CHECK int dp_host_addrs_set(struct dp_host *host, const struct base_prefix *addrs,
	unsigned n_addrs, struct base_error *ret_error);

/** Relaxed counters of the thread. */
struct dp_host_stats {
	uint64_t rx_pkts, rx_bytes, rx_reads;  /* from the kernel; a read brings many packets */
	uint64_t tx_pkts, tx_bytes, tx_writes; /* to the kernel; the bytes of large packets */
	uint64_t drop_no_mbuf_pkts, drop_too_large_pkts, drop_bad_header_pkts, drop_write_pkts;
	uint64_t ring_high; /* the most packets that ever waited for the kernel */
};
void dp_host_stats(const struct dp_host *host, struct dp_host_stats *ret_stats);
/**
 * Control: how often the thread has gone round, asleep at least once a second. False: there is no thread, for a worker
 * serves, or just now, for its device could not be made again yet.
 */
bool dp_host_rounds(const struct dp_host *host, uint64_t *ret_rounds);

#endif
