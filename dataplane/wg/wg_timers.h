/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The timers of a peer (paper section 6), computed from when things last happened rather than
 * armed and cancelled per packet: the packet path only stores times, and the timer thread looks
 * at a peer when its next deadline has come.
 *
 * Why looking every WG_KEEPALIVE_TIMEOUT_NS is enough: every delay that a data packet can start
 * is at least that long, so a look that finds a packet noted since the last look is early enough
 * to schedule its deadline exactly.
 *
 * The list of timers, what starts each and what ends it, opens wg_timers.c.
 */
#ifndef WG_TIMERS_H
#define WG_TIMERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "wg_messages.h"

/**
 * What the packet path notes of a peer. One writer (the owner of the peer's data); the timer
 * thread reads. Relaxed loads and stores throughout: each time stands alone, and a value that
 * arrives one look late delays a keepalive by nothing, because the look after it sees it.
 * Zero: never.
 */
struct wg_activity {
	_Atomic uint64_t tx_ns; /* last authenticated message sent, keepalives too */
	_Atomic uint64_t rx_ns; /* last authenticated message received */
	_Atomic uint64_t data_tx_unanswered_ns; /* first data sent since rx_ns; 0 none */
	_Atomic uint64_t data_rx_unanswered_ns; /* first data received since tx_ns; 0 none */
};

static inline uint64_t wg_activity_load(const _Atomic uint64_t *field)
{
	return atomic_load_explicit(field, memory_order_relaxed);
}

static inline void wg_activity_store(_Atomic uint64_t *field, uint64_t value)
{
	atomic_store_explicit(field, value, memory_order_relaxed);
}

/** A message of ours left under a keypair. @is_data: it was not an empty keepalive. */
static inline void wg_activity_sent(struct wg_activity *activity, uint64_t now_ns, bool is_data)
{
	wg_activity_store(&activity->tx_ns, now_ns);
	wg_activity_store(&activity->data_rx_unanswered_ns, 0);
	if (is_data && wg_activity_load(&activity->data_tx_unanswered_ns) == 0)
		wg_activity_store(&activity->data_tx_unanswered_ns, now_ns);
}

/** A message of the peer was authenticated. @is_data: it was not an empty keepalive. */
static inline void wg_activity_received(struct wg_activity *activity, uint64_t now_ns, bool is_data)
{
	wg_activity_store(&activity->rx_ns, now_ns);
	wg_activity_store(&activity->data_tx_unanswered_ns, 0);
	if (is_data && wg_activity_load(&activity->data_rx_unanswered_ns) == 0)
		wg_activity_store(&activity->data_rx_unanswered_ns, now_ns);
}

#endif
