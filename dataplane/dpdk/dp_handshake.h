/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake thread: the one owner of struct wg_device. It takes handshake messages and notes from
 * workers and requests from control, runs wg's handshakes, cookies and timers, and tells workers by command
 * what became of it. It never spins: it sleeps until a message, a note, a request or wg's next deadline.
 *
 * Messages come in two bounded rings, of strangers and of those whom we expect (dp_admit.h), which get equal
 * turns. They are copied: a storm holds no packet buffers, and workers drop what does not fit and go on.
 */
#ifndef DP_HANDSHAKE_H
#define DP_HANDSHAKE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base_err.h"
#include "cr_secret.h"
#include "dp_idle.h"
#include "dp_pkt.h"
#include "dp_stats.h"
#include "wg.h"

/** A few seconds' work of those who have a cookie: who waits longer has tried again by then. Memory is
 * touched by a storm alone. */
#define DP_RING_EXPECTED 32768
#define DP_RING_STRANGERS 32768
/** Messages waiting, of either, from which on first ones are answered with cookies: 50 ms of work. */
#define DP_HANDSHAKES_LOAD 512
#define DP_RING_NOTES 1024

struct dp;
struct dp_peer;
struct dp_peer_config;
struct rte_ring;

/** A peer of a change, and what is to become of it. */
struct dp_peer_order {
	struct dp_peer *peer;
	const struct dp_peer_config *config; /* PEERS_SET */
	struct base_prefix *prefixes;        /* control's own */
};

enum dp_request_type { DP_REQUEST_PEERS_SET, DP_REQUEST_PEERS_REMOVE, DP_REQUEST_IDENTITY };

/** Control asks for a batch and waits; the thread works it off in slices. */
struct dp_request {
	enum dp_request_type type;
	struct dp_peer_order *orders;
	size_t n;
	struct cr_key private_key; /* IDENTITY */
	/* The handshake thread's, until it is done. */
	size_t n_done;        /* set, or their owners told to DETACH */
	size_t n_waiting;     /* PEERS_REMOVE: not gone yet */
	int result;           /* PEERS_SET: why it ended at n_done; IDENTITY */
	_Atomic bool is_done; /* release by the handshake thread, acquire by control */
};

/** A handshake message on its way: its frame as it came, up to the message's end. */
struct dp_message {
	struct dp_pkt p;
	uint16_t len;
	uint8_t frame[DP_ETH_BYTES + DP_IP4_BYTES_MAX + DP_UDP_BYTES +
		sizeof(struct wg_initiation)];
};
static_assert(sizeof(struct dp_message) % 4 == 0, "rte_ring_elem's rule");

struct dp_handshake;

/**
 * A ring in ordinary memory, not in the packets': its pages exist once a storm has filled them. Free with free(). NULL: no
 * memory.
 */
struct rte_ring *dp_memory_ring_new(
	const char *name, unsigned element_bytes, unsigned count, unsigned flags);

/** Rings and device; NULL with errno. */
struct dp_handshake *dp_handshake_new(struct dp *dp, const struct cr_key *private_key);
/** Start the thread on @cpu. */
BASE_MUST_CHECK int dp_handshake_start(struct dp_handshake *handshake, unsigned cpu);
/** Stop and join the thread, if it runs. */
void dp_handshake_stop(struct dp_handshake *handshake);
void dp_handshake_free(struct dp_handshake *handshake);

/** What workers put in: rings with many producers, and whom to wake. */
struct rte_ring *dp_handshake_stranger_ring(struct dp_handshake *handshake);
struct rte_ring *dp_handshake_expected_ring(struct dp_handshake *handshake);
struct rte_ring *dp_handshake_note_ring(struct dp_handshake *handshake);
struct dp_idle *dp_handshake_idle(struct dp_handshake *handshake);

/**
 * Control: hand a request over and wait until it is done. False: a thread stands still, and the request is its own for
 * ever.
 */
BASE_MUST_CHECK bool dp_handshake_request(
	struct dp_handshake *handshake, struct dp_request *request);
/** Control: DP_NOTE_PATH or DP_NOTE_NO_PATH of a peer that is probed. False: a thread stands still. */
BASE_MUST_CHECK bool dp_handshake_path(
	struct dp_handshake *handshake, struct dp_peer *peer, bool has_path);
/** One round at this time; true if there was anything to do. The thread's own, or a stepping test's. */
bool dp_handshake_round(struct dp_handshake *handshake, uint64_t now_ns);

/** For tests that step: whose deadlines come next. */
const struct wg_device *dp_handshake_device(const struct dp_handshake *handshake);

/** Our public key; control's: it changes with a request of control's alone. */
const struct cr_key *dp_handshake_public_key(const struct dp_handshake *handshake);
/** Any thread: counters; live keypairs; sessions confirmed. */
const struct dp_counters *dp_handshake_counters(const struct dp_handshake *handshake);
/** Where operators may look at what this thread does. */
struct dp_tap_point *dp_handshake_tap(struct dp_handshake *handshake);
uint64_t dp_handshake_keypairs(const struct dp_handshake *handshake);
uint64_t dp_handshake_sessions(const struct dp_handshake *handshake);

#endif
