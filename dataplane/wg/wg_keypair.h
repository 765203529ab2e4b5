/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keypairs: what a finished handshake leaves, and which of a peer's three is in use.
 *
 * Life (paper 6, kernel practice). The initiator's new keypair becomes current at once: the
 * response proved that the other end has it. The responder's becomes next, and current only
 * when the first data message under it has been opened (confirmation), because until then the
 * initiator may never have received the response. The one before stays as previous for packets
 * still on their way.
 *
 * Memory: a slab that grows by chunks when a handshake ends and gives keypairs back wiped; a
 * peer without a session has none. Thread: the slab belongs to the thread that runs the device.
 * A keypair that was handed to a data owner (a worker lcore, see wg.h) is touched by that owner
 * alone until it comes back: no atomics, no locks.
 */
#ifndef WG_KEYPAIR_H
#define WG_KEYPAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "cr_secret.h"
#include "wg_messages.h"
#include "wg_replay.h"

struct wg_peer;

struct wg_keypair {
	/* What sealing reads: one cache line. */
	struct cr_key send_key;
	uint64_t send_counter;      /* of the next message; only the data owner writes it */
	uint64_t birth_ns;          /* when the handshake ended */
	uint32_t remote_index_le32; /* goes into the header of what we send */
	uint32_t local_index;       /* host order; what the peer puts into its headers */
	bool is_initiator;          /* we began this handshake */
	bool is_confirmed;          /* the peer is known to hold it: written by the data owner */
	/* What opening reads besides; of the window one more line. */
	struct wg_peer *peer; /* borrowed; valid while the keypair lives */
	void *owner_data;     /* the data owner's own link, NULL at birth */
	struct cr_key recv_key;
	struct wg_replay replay;
} __attribute__((aligned(64)));
static_assert(offsetof(struct wg_keypair, peer) == 64, "sealing reads one cache line");
static_assert(offsetof(struct wg_keypair, replay.words) <= 128, "all else is in two");

/** The three of a peer. NULL where there is none. Zeroed: none. */
struct wg_keypairs {
	struct wg_keypair *current;  /* seals; opens */
	struct wg_keypair *previous; /* opens only */
	struct wg_keypair *next;     /* responder's, not confirmed yet; opens only */
};

/** At most so many keypairs die in one change. */
#define WG_KEYPAIRS_DEAD_MAX 3

/**
 * Take a new keypair in. Initiator: new becomes current and current becomes previous; an
 * unconfirmed next stays, unless there was no current, then it becomes previous. (Were it always
 * to become previous, a rekey in which initiations cross would lose what is on its way under the
 * old session.) Responder: new becomes next in place of an older next. Call wg_activity_session() too.
 * Returns how many keypairs were pushed out into ret_dead; the caller unlinks their indices and
 * gives them back (wg_keypair_put).
 */
unsigned wg_keypairs_begin(struct wg_keypairs *keypairs, struct wg_keypair *keypair,
	struct wg_keypair *ret_dead[WG_KEYPAIRS_DEAD_MAX]);

/**
 * A data message under @keypair was authenticated. If it was next, it becomes current; the
 * current one becomes previous and the previous one dies. Marks it confirmed.
 * @ret_is_first: true if this confirmed the session (the handshake is complete, staged packets
 * may go).
 * Returns the number of dead, as above.
 */
unsigned wg_keypairs_confirm(struct wg_keypairs *keypairs, struct wg_keypair *keypair,
	struct wg_keypair *ret_dead[WG_KEYPAIRS_DEAD_MAX], bool *ret_is_first);

/** Drop all three. Returns the number of dead. */
unsigned wg_keypairs_clear(
	struct wg_keypairs *keypairs, struct wg_keypair *ret_dead[WG_KEYPAIRS_DEAD_MAX]);

/**
 * Nanoseconds since the handshake ended. A worker reads its clock once per round, so a keypair
 * that came in this round may have been born "after" now: that is age 0, not 2^64.
 */
static inline uint64_t wg_keypair_age_ns(const struct wg_keypair *keypair, uint64_t now_ns)
{
	return now_ns > keypair->birth_ns ? now_ns - keypair->birth_ns : 0;
}

/** May seal: younger than WG_REJECT_AFTER_NS, below WG_REJECT_AFTER_MSGS (paper 6.1). */
static inline bool wg_keypair_may_send(const struct wg_keypair *keypair, uint64_t now_ns)
{
	return wg_keypair_age_ns(keypair, now_ns) < WG_REJECT_AFTER_NS &&
		keypair->send_counter < WG_REJECT_AFTER_MSGS;
}

/**
 * Neither old nor worn: it may send and wants no rekey, whoever began, also after one message more. What nearly
 * all are, told by two comparisons; of another the calls around have to be asked.
 */
static inline bool wg_keypair_is_fresh(const struct wg_keypair *keypair, uint64_t now_ns)
{
	/* Signed: one may be born "after" now, see above. */
	return (int64_t)(now_ns - keypair->birth_ns) < (int64_t)WG_REKEY_AFTER_NS &&
		keypair->send_counter < WG_REKEY_AFTER_MSGS;
}

/** May open: younger than WG_REJECT_AFTER_NS. The counter's limit is the replay window's. */
static inline bool wg_keypair_may_receive(const struct wg_keypair *keypair, uint64_t now_ns)
{
	return wg_keypair_age_ns(keypair, now_ns) < WG_REJECT_AFTER_NS;
}

/**
 * After sealing: begin a new handshake? After WG_REKEY_AFTER_MSGS messages, or, for the
 * initiator, WG_REKEY_AFTER_NS (paper 6.2).
 */
static inline bool wg_keypair_wants_rekey_on_send(const struct wg_keypair *keypair, uint64_t now_ns)
{
	return keypair->send_counter > WG_REKEY_AFTER_MSGS ||
		(keypair->is_initiator && wg_keypair_age_ns(keypair, now_ns) >= WG_REKEY_AFTER_NS);
}

/**
 * After opening: begin a new handshake? Only the initiator, when what is left would not outlast
 * a passive keepalive and a retry: WG_REJECT_AFTER - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT (6.2).
 */
static inline bool wg_keypair_wants_rekey_on_receive(
	const struct wg_keypair *keypair, uint64_t now_ns)
{
	return keypair->is_initiator &&
		wg_keypair_age_ns(keypair, now_ns) >=
		WG_REJECT_AFTER_NS - WG_KEEPALIVE_TIMEOUT_NS - WG_REKEY_TIMEOUT_NS;
}

struct wg_slab;

/** An empty slab; it allocates its first chunk with the first keypair. NULL with errno. */
struct wg_slab *wg_slab_new(void);
/** Wipes and frees everything, also keypairs still out. NULL is fine. */
void wg_slab_free(struct wg_slab *slab);
/** A zeroed keypair, or NULL with errno ENOMEM. */
struct wg_keypair *wg_slab_take(struct wg_slab *slab);
/** Wipe and give back; chunks that are wholly free return to the system, but for one. */
void wg_slab_give(struct wg_slab *slab, struct wg_keypair *keypair);
/** Keypairs out, and bytes held. */
void wg_slab_usage(const struct wg_slab *slab, size_t *ret_keypairs, size_t *ret_bytes);

#endif
