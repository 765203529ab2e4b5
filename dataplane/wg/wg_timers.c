/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The timers of a peer. Thread: the device's. None is armed or cancelled: each is a time computed
 * from what happened last (struct wg_timers, struct wg_activity).
 *
 * | timer      | starts                                   | after               | ends                    |
 * |------------|------------------------------------------|---------------------|-------------------------|
 * | retry      | an initiation was sent (paper 6.4)       | 5 s + jitter        | session, or giving up   |
 * | give up    | a handshake was first wanted, or wanted  | 90 s                | session                 |
 * |            | again by a packet (6.4)                  |                     |                         |
 * | silence    | data was sent and nothing came since     | 10 s + 5 s + jitter | anything authenticated  |
 * |            | (6.2; begins a handshake)                |                     |                         |
 * | keepalive  | data came and nothing was sent since     | 10 s                | anything sent           |
 * |            | (6.5; sends an empty message)            |                     |                         |
 * | persistent | any message, either way; if configured   | the interval        | begins anew             |
 * | wipe       | the newest keypair was born (6.3)        | 540 s               | a newer keypair         |
 * | look       | a session that may carry data            | 10 s                | the session's 180 s     |
 *
 * `look` does nothing but look at the activity again; wg_timers.h tells why that is often enough.
 * Rekeying by age is no timer: the data owner finds it when it seals or opens (wg_keypair.h).
 */
#include "wg_timers.h"

#include "base_err.h"

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t give_up_ns(const struct wg_timers *timers, const struct wg_activity *activity)
{
	return timers->attempt_ns ? timers->attempt_ns + WG_REKEY_ATTEMPT_NS : BASE_NEVER_NS;
}

static uint64_t retry_ns(const struct wg_timers *timers, const struct wg_activity *activity)
{
	return timers->attempt_ns ? timers->retry_ns : BASE_NEVER_NS;
}

/*
 * The unanswered time is that of the first data since the peer was heard, which the packet path
 * does not move on. So once silence has been acted on, it counts again only if something more was
 * sent: an application that stopped does not keep a dead peer's handshakes alive.
 */
static uint64_t silence_ns(const struct wg_timers *timers, const struct wg_activity *activity)
{
	uint64_t since_ns = wg_activity_load(&activity->data_tx_unanswered_ns);

	if (since_ns == 0 || timers->attempt_ns || timers->session_ns == 0 ||
		wg_activity_load(&activity->tx_ns) <= timers->silence_handled_ns)
		return BASE_NEVER_NS;
	since_ns = later(since_ns, later(timers->heard_ns, timers->silence_handled_ns));
	return since_ns + WG_KEEPALIVE_TIMEOUT_NS + WG_REKEY_TIMEOUT_NS + timers->silence_jitter_ns;
}

/* Counts from the last request too: the data owner acts on it in its own time. */
static uint64_t keepalive_ns(const struct wg_timers *timers, const struct wg_activity *activity)
{
	uint64_t since_ns = wg_activity_load(&activity->data_rx_unanswered_ns);

	if (since_ns == 0 || timers->confirmed_ns == 0)
		return BASE_NEVER_NS;
	since_ns = later(since_ns, timers->keepalive_ns) + WG_KEEPALIVE_TIMEOUT_NS;
	return since_ns < timers->confirmed_ns + WG_REJECT_AFTER_NS ? since_ns : BASE_NEVER_NS;
}

/* Without a session what was sent under an older one does not count: the path needs a handshake. */
static uint64_t persistent_ns(const struct wg_timers *timers, const struct wg_activity *activity)
{
	uint64_t since_ns = later(timers->handshake_traffic_ns, timers->keepalive_ns);

	if (timers->interval_ns == 0 || timers->attempt_ns || !timers->has_endpoint)
		return BASE_NEVER_NS;
	if (timers->session_ns != 0)
		since_ns = later(since_ns,
			later(wg_activity_load(&activity->tx_ns),
				wg_activity_load(&activity->rx_ns)));
	return since_ns + timers->interval_ns;
}

static uint64_t wipe_ns(const struct wg_timers *timers, const struct wg_activity *activity)
{
	return timers->session_ns ? timers->session_ns + WG_WIPE_AFTER_NS : BASE_NEVER_NS;
}

static const struct {
	unsigned action;
	uint64_t (*at_ns)(const struct wg_timers *timers, const struct wg_activity *activity);
} table[] = {
	{WG_TIMERS_GIVE_UP, give_up_ns},
	{WG_TIMERS_INITIATE, retry_ns},
	{WG_TIMERS_BEGIN, silence_ns},
	{WG_TIMERS_KEEPALIVE, keepalive_ns},
	{WG_TIMERS_PERSISTENT, persistent_ns},
	{WG_TIMERS_WIPE, wipe_ns},
};

unsigned wg_timers_due(
	const struct wg_timers *timers, const struct wg_activity *activity, uint64_t now_ns)
{
	unsigned due = 0;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(table); i++) {
		if (table[i].at_ns(timers, activity) <= now_ns)
			due |= table[i].action;
	}
	return due;
}

uint64_t wg_timers_next_ns(
	const struct wg_timers *timers, const struct wg_activity *activity, uint64_t now_ns)
{
	uint64_t next_ns = BASE_NEVER_NS;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(table); i++) {
		uint64_t at_ns = table[i].at_ns(timers, activity);

		if (at_ns < next_ns)
			next_ns = at_ns;
	}
	if (timers->session_ns != 0 && now_ns < timers->session_ns + WG_REJECT_AFTER_NS &&
		now_ns + WG_KEEPALIVE_TIMEOUT_NS < next_ns)
		next_ns = now_ns + WG_KEEPALIVE_TIMEOUT_NS;
	return next_ns;
}
