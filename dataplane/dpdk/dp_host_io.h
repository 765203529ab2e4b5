/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the host interface, shared by its three files: dp_host.c (life and thread),
 * dp_host_rx.c (kernel to tunnel) and dp_host_tx.c (tunnel to kernel). Others see dp_host.h.
 */
#ifndef DP_HOST_IO_H
#define DP_HOST_IO_H

#include "in_coalesce.h"
#include "in_offload.h"
#include "dp_host.h"
#include "dp_scatter.h"
#include "dp_tun.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct dp_idle;

/* What is written by the thread and read by anybody: relaxed, each number stands for itself. */
struct dp_host_counters {
	_Atomic uint64_t rx_pkts, rx_bytes, rx_reads;
	_Atomic uint64_t tx_pkts, tx_bytes, tx_writes;
	_Atomic uint64_t drop_no_mbuf_pkts, drop_too_large_pkts, drop_bad_header_pkts;
	_Atomic uint64_t drop_write_pkts;
	_Atomic uint64_t ring_high;
	_Atomic uint64_t rounds;
};

/* Kernel to tunnel: the thread's alone. */
struct dp_host_rx {
	uint8_t *large; /* of the scatter: room for the largest packet */
	struct dp_scatter scatter;
	struct rte_mbuf *burst[DP_HOST_BURST]; /* for from_host */
	unsigned n_burst;
};

/* Tunnel to kernel: the thread's alone. */
struct dp_host_tx {
	struct rte_mbuf *pkts[DP_HOST_BURST];
	struct in_bytes bytes[DP_HOST_BURST];
	struct in_coalesce runs;
};

struct dp_host {
	struct dp_host_config config;
	struct dp_tun tun;
	struct dp_idle *idle;
	struct rte_ring *ring;

	pthread_t thread;
	bool has_thread;
	int start_rc; /* of the thread, valid once it has posted is_ready */
	sem_t is_ready;
	atomic_bool stop; /* control writes, the thread reads */

	bool is_down; /* control's: at the last look */
	/* Somebody deleted the device. The thread sets it, and lets go of the device with that; control, that has
	 * made another, takes it back. */
	atomic_bool is_gone;
	uint64_t no_room_since_ns; /* the thread's: 0 while there is room */
	struct dp_host_rx rx;
	struct dp_host_tx tx;
	struct dp_host_counters counters;
};

static inline void dp_host_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

/** Room for dp_host_rx_burst(). Returns 0 or -ENOMEM. */
int dp_host_rx_init(struct dp_host *host);
void dp_host_rx_fini(struct dp_host *host);

/** The thread: nothing but emptying the ring is to be done until control has made another device. */
static inline bool dp_host_is_gone(const struct dp_host *host)
{
	/* Acquire pairs with the release in dp_host_reopen(): the new descriptor is seen with it. */
	return atomic_load_explicit(&host->is_gone, memory_order_acquire);
}

/** Read packets for about a burst and hand them on. Returns how many were taken off the device. */
unsigned dp_host_rx_burst(struct dp_host *host);

/** A burst off the ring into the kernel. Returns how many were taken off the ring. */
unsigned dp_host_tx_burst(struct dp_host *host);

#endif
