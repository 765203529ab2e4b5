/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer in the dataplane. One worker owns its data; the handshake thread runs its handshakes
 * (struct wg_peer); control holds it by name. Each field says who writes it. How a peer comes and goes
 * is told at the top of dp_change.c.
 */
#ifndef DP_PEER_H
#define DP_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_slab.h"
#include "cr_secret.h"
#include "dp_api.h"
#include "dp_outer.h"
#include "dp_stats.h"
#include "in_filter.h"
#include "wg.h"
#include "wg_allowedips.h"
#include "wg_index.h"
#include "wg_keypair.h"
#include "wg_timers.h"

struct dp;
struct dp_peer_config;
struct rte_mbuf;

/** What a worker has to tell the handshake thread about a peer; merged until it is told. */
enum dp_note_bits {
	DP_NOTE_WANT_HANDSHAKE = 1u << 0,
	DP_NOTE_CONFIRMED = 1u << 1, /* the first message under a responder's keypair */
	DP_NOTE_MOVED = 1u << 2,     /* the endpoint is another now */
	DP_NOTE_DETACHED = 1u << 3,  /* the last note of this peer: the owner has forgotten it */
	DP_NOTE_WANT_PATH = 1u << 4, /* packets wait, and only for that */
	/* Control's: of a peer that is probed. */
	DP_NOTE_PATH = 1u << 5,
	DP_NOTE_NO_PATH = 1u << 6,
	DP_NOTE_HEARD = 1u << 7, /* at `where`, authenticated; a note of its own, or none */
};

/** What moves a peer's end. */
enum dp_mover {
	DP_MOVER_PACKETS, /* authenticated ones: roaming */
	DP_MOVER_NOBODY,  /* it is fixed */
	DP_MOVER_PROBES,  /* control alone, by dp_peer_path() */
};

struct dp_peer {
	/* Cache line 0: read and written with every packet of either direction. Writer: owner. */
	struct wg_keypairs keypairs;
	struct wg_activity activity; /* readers: the handshake thread's timers */
	uint32_t number;             /* fixed; what allowed IPs map to */
	uint8_t owner;               /* fixed; a worker */
	uint8_t mover;               /* enum dp_mover */
	bool is_detached;            /* being removed: seals, opens and notes nothing any more */

	/* Lines 1 and 2: what else sealing touches, how sealed packets leave. Writer: owner. */
	struct dp_outer outer;
	dp_counter tx_bytes, tx_pkts;  /* readers: control */
	struct in_flow_memo flow_memo; /* for the filter */

	/* Line 3: what else opening touches. Writer: owner; reader: control. from and path_since_ns change
	 * inside from_seq, which is odd meanwhile. */
	struct dp_from from __rte_cache_aligned;
	_Atomic uint32_t from_seq;
	dp_counter rx_bytes, rx_pkts;
	struct wg_allowedips_memo4 source4; /* owner only */

	/* And this, owner only: what the last packet passed; then what other packets need. */
	struct in_pass_memo pass_memo;
	struct wg_allowedips_memo6 source6;
	_Atomic uint64_t path_since_ns;

	/* Owner only: what the filter's rules said of the last datagram from here. */
	struct in_rule_memo rule_memo;

	/* Owner only. */
	struct rte_mbuf *staged_first, *staged_last; /* linked by mbuf->next */
	uint32_t n_staged;
	uint8_t note_bits;
	bool is_noted; /* is in the worker's list of peers with notes */
	struct dp_peer *note_next;
	uint64_t wanted_ns; /* when a handshake was last asked for */
	uint64_t heard_ns;  /* when it was last told that it is heard from elsewhere */

	/* Handshake thread; readers of the atomic ones: control. */
	struct wg_peer *wg;
	uint64_t path_wanted_ns; /* when control was last told; 0: not since it had a path */
	uint64_t initiated_ns;   /* when our last initiation left; 0: answered */
	_Atomic uint64_t last_handshake_ns;
	_Atomic uint64_t handshakes;
	_Atomic uint32_t rtt_us;
	bool is_leaving; /* its owner was told to DETACH */
	bool is_probed;

	/* Control only. */
	struct cr_key public_key;
	struct base_prefix *prefixes;
	uint32_t n_prefixes;
	bool is_in_change; /* the change in work sets or removes it */
	bool has_probes;   /* is_probed */
	struct dp_peer *hash_next;
	struct dp_way way; /* what dp_peer_path() said last */
} __rte_cache_aligned;
static_assert(offsetof(struct dp_peer, outer) == 64, "sealing and opening share one line");
static_assert(offsetof(struct dp_peer, outer.generation) == 128, "and sealing two more");
static_assert(offsetof(struct dp_peer, from) == 192, "opening one more");
static_assert(offsetof(struct dp_peer, pass_memo) == 256, "and a part of the next");
/* Peers lie side by side: were their size an even number of lines, some sets of the cache would hold all lines 0. */
static_assert(
	sizeof(struct dp_peer) / RTE_CACHE_LINE_SIZE % 2 == 1, "spread over the cache's sets");

/** At most so many at once. */
#define DP_PEERS_MAX (1u << 27)

/** Control's peers: by public key, and by number. */
struct dp_peers {
	struct dp_peer **buckets;   /* linked by hash_next */
	uint32_t n_buckets;         /* a power of two; 0: none yet */
	struct dp_peer **by_number; /* NULL where a number is free */
	uint32_t *free_numbers;     /* a stack of those below n_numbers that are nobody's */
	uint32_t n_free;
	uint32_t n_numbers; /* given out at least once */
	uint32_t capacity;  /* of by_number and free_numbers */
	uint32_t count;
	struct base_slab slab;                        /* where they lie; made with the first ones */
	uint32_t owned[DP_WORKERS_MAX];               /* peers per worker */
	struct wg_index_table *index[DP_WORKERS_MAX]; /* its table, once it is a larger one */
};

/** Control: make room for @n peers more. 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_peers_reserve(struct dp_peers *peers, size_t n);
/** No peer may be left. */
void dp_peers_free(struct dp_peers *peers);
struct dp_peer *dp_peers_find(const struct dp_peers *peers, const struct cr_key *public_key);
/** Control: a number for one more peer; reserved before. */
uint32_t dp_peers_number_take(struct dp_peers *peers);
/** Control: once no worker can know the number any more. */
void dp_peers_number_give(struct dp_peers *peers, uint32_t number);
/** Control: into both tables, and out of them. The number stays taken. */
void dp_peers_link(struct dp_peers *peers, struct dp_peer *peer);
void dp_peers_unlink(struct dp_peers *peers, struct dp_peer *peer);

/** Any thread but the owner: where the peer is, which its owner may change meanwhile. */
struct dp_from dp_peer_from(const struct dp_peer *peer);
/** Of its configuration. */
enum dp_mover dp_mover_of(const struct dp_peer_config *config);

/** Control: remove all, for dp_free(). */
void dp_peers_fini(struct dp *dp);

/** Owner: change where the peer is; the prepared header is made anew with the next packet. */
void dp_peer_set_from(struct dp_peer *peer, const struct dp_from *from, uint64_t now_ns);

#endif
