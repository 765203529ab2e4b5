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

#include "base_clock.h"
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

/**
 * A new keypair was taken in (wg_keypairs_begin), before anything is sent under it. The handshake
 * message behind it came from the peer, so no data of ours is unanswered any more.
 */
static inline void wg_activity_session(struct wg_activity *activity)
{
	wg_activity_store(&activity->data_tx_unanswered_ns, 0);
}

/** What the device knows of one peer's times. Zeroed: nothing happened, nothing wanted. */
struct wg_timers {
	uint64_t attempt_ns;    /* since when we want a handshake; 0: we do not */
	uint64_t retry_ns;      /* when the attempt sends its next initiation */
	uint64_t initiation_ns; /* when we sent the last one */
	uint64_t session_ns;    /* birth of the newest keypair; 0: no key material */
	uint64_t confirmed_ns;  /* birth of the newest one that both ends are known to hold */
	uint64_t heard_ns;      /* last authenticated handshake message of the peer */
	uint64_t handshake_traffic_ns; /* last handshake message, either way */
	uint64_t keepalive_ns;         /* when we last asked the data owner for a keepalive */
	uint64_t silence_handled_ns;   /* when silence last made us begin a handshake */
	uint64_t silence_jitter_ns;
	uint64_t interval_ns; /* persistent keepalive; 0: off */
	bool has_endpoint;
};

/** Actions that may be due, as bits. */
enum wg_timers_action {
	WG_TIMERS_GIVE_UP = 1 << 0,   /* end the attempt, drop what is staged */
	WG_TIMERS_INITIATE = 1 << 1,  /* send an initiation of the attempt */
	WG_TIMERS_BEGIN = 1 << 2,     /* begin an attempt: the peer fell silent */
	WG_TIMERS_KEEPALIVE = 1 << 3, /* answer data with an empty message */
	WG_TIMERS_PERSISTENT =
		1 << 4,          /* keep the path open; begin an attempt if there is no session */
	WG_TIMERS_WIPE = 1 << 5, /* end the session, wipe its keys */
};

/**
 * Which actions are due. The caller carries them out, which moves the times: wg_timers_next_ns()
 * is then later than @now_ns.
 */
unsigned wg_timers_due(
	const struct wg_timers *timers, const struct wg_activity *activity, uint64_t now_ns);

/** When to look next; BASE_NEVER_NS for a peer without session, attempt and keepalive. */
uint64_t wg_timers_next_ns(
	const struct wg_timers *timers, const struct wg_activity *activity, uint64_t now_ns);

/** When an initiation may be sent at the earliest: never two within REKEY_TIMEOUT (paper 6.2). */
static inline uint64_t wg_timers_earliest_ns(const struct wg_timers *timers, uint64_t now_ns)
{
	uint64_t free_ns = timers->initiation_ns ? timers->initiation_ns + WG_REKEY_TIMEOUT_NS : 0;

	return free_ns > now_ns ? free_ns : now_ns;
}

/** A confirmed session that may still seal. */
static inline bool wg_timers_has_session(const struct wg_timers *timers, uint64_t now_ns)
{
	return timers->confirmed_ns != 0 && now_ns < timers->confirmed_ns + WG_REJECT_AFTER_NS;
}

#endif
