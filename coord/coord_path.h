/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How to reach each peer: candidate endpoints, disco pings to them, the best that answered
 * (protocols/nat-traversal.md, sections 1 and 5). A pure machine: time and datagrams come in as arguments, datagrams
 * and decisions go out through callbacks, so that tests own the clock and the network.
 *
 *	unknown --wanted, or a ping from it--> probing --pong--> direct --6.5 s without a pong--> probing
 *	                                          |                 |
 *	                                          v nobody answers  v 45 s without traffic
 *	                                        unknown           direct, no heartbeats
 *
 * Probing is on demand: ten thousand idle peers cost nothing. A pong counts for the address that was pinged, and only with
 * the transaction that went there; nothing a peer claims moves traffic to an address that has not answered.
 * Relays and call-me-maybe join here as one more kind of path.
 *
 * Thread: one, the loop's. Memory: per peer with candidates some hundred bytes; candidates and pings in flight are bounded.
 */
#ifndef COORD_PATH_H
#define COORD_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"
#include "coord_disco.h"

enum coord_path_kind { COORD_PATH_NONE, COORD_PATH_DIRECT, COORD_PATH_RELAY };

/** None of these may call back into the paths. */
struct coord_path_host {
	/** Send a disco datagram from the tunnel's own port. */
	void (*send)(void *ctx, const struct base_endpoint *to, const void *datagram, size_t len);
	/**
	 * The peer's path is this from now on. DIRECT: to @to; at a first pong, and at each change, the tunnel starts or
	 * repeats a handshake that waits. NONE: hold its packets.
	 */
	void (*path)(void *ctx, const struct cr_key *node_key, enum coord_path_kind kind,
		const struct base_endpoint *to, uint32_t rtt_us);
	/** When were packets last sent to this peer? Monotonic ns; 0: never. Asked at most once per heartbeat and peer. */
	uint64_t (*last_sent_ns)(void *ctx, const struct cr_key *node_key);
};

struct coord_paths;

struct coord_paths *coord_paths_new(const struct cr_key *disco_private,
	const struct cr_key *node_public, const struct coord_path_host *host, void *ctx);
void coord_paths_free(struct coord_paths *paths);
/** Our node key is another. */
void coord_paths_node_key(struct coord_paths *paths, const struct cr_key *node_public);

/** A peer of the map, new or changed; endpoints that are none (ours, multicast, unspecified, port 0) are left out. 0 or -ENOMEM. */
BASE_MUST_CHECK int coord_paths_peer_set(struct coord_paths *paths, const struct cr_key *node_key,
	const struct cr_key *disco_key, const struct base_endpoint *endpoints, size_t n_endpoints,
	uint64_t now_ns);
void coord_paths_peer_remove(struct coord_paths *paths, const struct cr_key *node_key);

/** The tunnel has packets for a peer and no path, or a handshake of it came from @from (NULL: not so). */
void coord_paths_wanted(struct coord_paths *paths, const struct cr_key *node_key,
	const struct base_endpoint *from, uint64_t now_ns);
/** A datagram that looked like disco came to the tunnel's port. */
void coord_paths_input(struct coord_paths *paths, const struct base_endpoint *from,
	const void *datagram, size_t len, uint64_t now_ns);
/** Our addresses changed: nothing measured counts any more. */
void coord_paths_network_changed(struct coord_paths *paths, uint64_t now_ns);
/** What is due by now. */
void coord_paths_tick(struct coord_paths *paths, uint64_t now_ns);
/** When the next thing is due; UINT64_MAX: nothing. */
uint64_t coord_paths_next_ns(const struct coord_paths *paths);

/** An operator's ping: one disco ping to the best address, or to all candidates; @done once, at the first pong or after 5 s (rtt_us 0). */
BASE_MUST_CHECK int coord_paths_ping(struct coord_paths *paths, const struct cr_key *node_key,
	uint64_t now_ns,
	void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us), void *user);

struct coord_path_status {
	enum coord_path_kind kind;
	struct base_endpoint endpoint;
	uint32_t rtt_us;
	uint64_t since_ns;
	unsigned n_candidates;
};
/** 0 or -ENOENT. */
BASE_MUST_CHECK int coord_paths_status(const struct coord_paths *paths,
	const struct cr_key *node_key, struct coord_path_status *ret_status);

/** Drops by reason, sent and answered. */
#define COORD_PATH_COUNTERS(X)                                                                     \
	X(PINGS_SENT, "pings_sent")                                                                \
	X(PONGS_SENT, "pongs_sent")                                                                \
	X(PONGS_RECEIVED, "pongs_received")                                                        \
	X(UNKNOWN_SENDER, "unknown_sender")                                                        \
	X(FORGED, "forged")                                                                        \
	X(MALFORMED, "malformed")                                                                  \
	X(UNKNOWN_TYPE, "unknown_type")                                                            \
	X(UNASKED_PONG, "unasked_pong")                                                            \
	X(RATE_LIMITED, "rate_limited")
enum coord_path_counter {
#define COORD_PATH_COUNTER_ENUM(name, text) COORD_PATH_##name,
	COORD_PATH_COUNTERS(COORD_PATH_COUNTER_ENUM)
#undef COORD_PATH_COUNTER_ENUM
		COORD_PATH_COUNTER_COUNT,
};
const char *coord_path_counter_name(enum coord_path_counter counter);
uint64_t coord_paths_counter(const struct coord_paths *paths, enum coord_path_counter counter);

#endif
