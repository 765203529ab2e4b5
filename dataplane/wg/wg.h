/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The WireGuard protocol, both roles, without I/O, clock or packets' memory: time comes in as an
 * argument, messages go out through callbacks. Source: the WireGuard paper, sections 5 and 6.
 *
 * Two doors, one core:
 *
 * - Whole packets (tests, the small endpoint). The device keeps keypairs, allowed IPs, staged
 *   packets and endpoints itself: wg_input() takes datagrams, wg_output() inner packets,
 *   host->deliver gets what was opened. Chosen by host->deliver != NULL.
 * - Handshakes only (the dataplane). A worker lcore owns a peer's data: keypairs, endpoint, staged
 *   packets. The device runs handshakes, cookies and timers on a thread of its own; it hands new
 *   keypairs over (host->keypair_begin) and gets told what the worker saw (wg_peer_*() below and
 *   struct wg_activity, which both share). Chosen by host->deliver == NULL.
 *
 * Thread: a device and everything in it belongs to one thread, but struct wg_activity (one writer,
 * relaxed) and keypairs handed over. Memory: peers are allocated when set, keypairs from a slab
 * when a handshake ends, places for indices as both grow, and copies of staged packets (whole
 * packets only, WG_STAGED_PKTS_MAX and 256 KiB per peer); nothing else after wg_device_new().
 */
#ifndef WG_H
#define WG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"
#include "wg_allowedips.h"
#include "wg_keypair.h"
#include "wg_messages.h"
#include "wg_timers.h"

/**
 * What became of a message: one list for enum, counter and text. WG_VERDICT_OK first; the rest
 * are drops, each of which left no trace in any state but its counter (and, after the MACs,
 * what the paper asks for).
 */
#define WG_VERDICTS(X)                                                                             \
	X(OK, "ok")                                                                                \
	X(MALFORMED, "handshake_malformed")         /* length or reserved bytes */                 \
	X(MAC1, "handshake_bad_mac1")               /* not for us, or noise */                     \
	X(COOKIE_SENT, "handshake_cookie_sent")     /* under load, no valid mac2: answered so */   \
	X(RATE_LIMIT, "handshake_rate_limit")       /* under load, this source is too fast */      \
	X(UNKNOWN_PEER, "handshake_unknown_peer")   /* static key of nobody we know */             \
	X(FORGED, "handshake_forged")               /* a tag did not verify, or a zero secret */   \
	X(REPLAY, "handshake_replay")               /* timestamp not newer */                      \
	X(FLOOD, "handshake_too_soon")              /* within WG_INITIATION_GAP_NS of the last */  \
	X(UNKNOWN_INDEX, "handshake_unknown_index") /* answers nothing that we asked */            \
	X(COOKIE_BAD, "handshake_bad_cookie")       /* cookie reply that does not decrypt */       \
	X(NO_MEMORY, "handshake_no_memory")                                                        \
	/* whole-packet door only: */                                                              \
	X(DATA_MALFORMED, "data_malformed")                                                        \
	X(DATA_UNKNOWN_INDEX, "data_unknown_index")                                                \
	X(DATA_STALE, "data_stale_keypair")                                                        \
	X(DATA_FORGED, "data_forged")                                                              \
	X(DATA_REPLAY, "data_replay")                                                              \
	X(DATA_INNER, "data_bad_inner")     /* not IPv4/IPv6, or a lying length */                 \
	X(DATA_SOURCE, "data_wrong_source") /* source is not among the allowed IPs */              \
	X(OUT_NO_PEER, "out_no_peer")       /* no allowed IP holds the destination */              \
	X(OUT_STAGED, "out_staged")         /* waits for a handshake */                            \
	X(OUT_MALFORMED, "out_malformed")

enum wg_verdict {
#define WG_VERDICT_ENUM(name, text) WG_VERDICT_##name,
	WG_VERDICTS(WG_VERDICT_ENUM)
#undef WG_VERDICT_ENUM
		WG_VERDICT_COUNT,
};

/** "handshake_bad_mac1". */
const char *wg_verdict_name(enum wg_verdict verdict);

struct wg_device;
struct wg_peer;

/**
 * What the device asks of its host. Called on the device's thread, from inside wg_ calls. A
 * callback may call wg_output(), but must not remove peers or feed messages in.
 */
struct wg_host {
	/**
	 * Send a message (borrowed until return). @peer NULL: a cookie reply, to @to. Else to the
	 * peer's endpoint; @to is that endpoint as the device knows it, or NULL in the dataplane.
	 */
	void (*send)(void *ctx, struct wg_peer *peer, const struct base_endpoint *to,
		const void *message, size_t len);

	/** Nanoseconds since 1970, for TAI64N; asked once per initiation. */
	uint64_t (*unix_ns)(void *ctx);

	/** Whole packets: an inner packet from @peer, checked; borrowed until return. NULL: dataplane. */
	void (*deliver)(void *ctx, struct wg_peer *peer, const void *packet, size_t len);

	/* The dataplane only (deliver == NULL); none may be NULL then. */

	/**
	 * Hand a keypair to the owner of @peer's data, who calls wg_keypairs_begin() and
	 * wg_activity_session(), and gives back what died with wg_keypair_put() (by way of a
	 * ring). After an initiator's keypair the owner sends what is staged, or a keepalive, which
	 * confirms the session to the responder.
	 */
	void (*keypair_begin)(void *ctx, struct wg_peer *peer, struct wg_keypair *keypair);
	/**
	 * The session is over: drop keypairs. After WG_WIPE_AFTER_NS what is staged stays, for an
	 * attempt may be on; when the peer is removed it goes too.
	 */
	void (*keypairs_clear)(void *ctx, struct wg_peer *peer);
	/** Attempts ended after WG_REKEY_ATTEMPT_NS: drop what is staged. */
	void (*staged_clear)(void *ctx, struct wg_peer *peer);
	/** Send an empty data message. */
	void (*keepalive)(void *ctx, struct wg_peer *peer);
	/** An authenticated handshake message came from here; move the endpoint unless it is fixed. */
	void (*endpoint_seen)(void *ctx, struct wg_peer *peer, const struct base_endpoint *from);
	/** May be NULL, both doors: the session of @peer is confirmed, at @now_ns. */
	void (*handshake_done)(void *ctx, struct wg_peer *peer, uint64_t now_ns);
};

/** Make a device. @private_key is copied. NULL with errno. cr_init() must have run. */
struct wg_device *wg_device_new(
	const struct cr_key *private_key, const struct wg_host *host, void *ctx);
/** Removes all peers (with keypairs_clear), wipes, frees. NULL is fine. */
void wg_device_free(struct wg_device *device);

/**
 * Change the identity: all sessions end, handshakes begin anew (as `wg set private-key`).
 * Returns 0, or -EINVAL if a peer has this key's public half; nothing changed then.
 */
BASE_MUST_CHECK int wg_device_set_private_key(
	struct wg_device *device, const struct cr_key *private_key);
/** Whole packets: inner packets are padded to 16 bytes but not past this; 0 (at first): not told. */
void wg_device_set_mtu(struct wg_device *device, size_t mtu_bytes);
void wg_device_public_key(const struct wg_device *device, struct cr_key *ret_public);

struct wg_peer_config {
	struct cr_key public_key;
	struct cr_key preshared_key;   /* zero: none */
	struct base_endpoint endpoint; /* family NONE: the peer has to speak first */
	uint16_t keepalive_s;          /* persistent keepalive; 0: off */
	bool endpoint_is_fixed;        /* no roaming: authenticated packets from elsewhere are
					   * accepted, but the endpoint stays */
	bool is_probed; /* dataplane: authenticated messages tell nothing of where it is
					* reached; wg_peer_path() alone does */
	unsigned owner; /* low bits of its receiver indices: the worker, or 0 */
	void *user;     /* host's link; wg_peer_user() */
	struct wg_activity *activity;          /* shared with the data owner; whole packets: NULL */
	const struct base_prefix *allowed_ips; /* whole packets only; copied */
	size_t n_allowed_ips;
};

/**
 * Add a peer, or change the one with this public key; a session survives what does not
 * concern it (endpoint, keepalive, allowed IPs), a new preshared key counts from the next handshake.
 * Without an endpoint in @config a changed peer keeps the one that it has.
 * A peer with keepalive and endpoint starts a handshake at once (at the next wg_tick()).
 * Returns 0, -EINVAL (our own public key; a low-order key: its shared secret is zero; port 0;
 * owner out of range), -ENOMEM (a new peer was not added; of a known one all but some allowed
 * IPs was changed).
 */
BASE_MUST_CHECK int wg_peer_set(struct wg_device *device, const struct wg_peer_config *config,
	uint64_t now_ns, struct wg_peer **ret_peer);
/**
 * Unlink from handshakes and indices, tell the host (keypairs_clear), wipe the peer's secrets.
 * The caller does not use @peer again; its memory goes once the data owner has given back its last
 * keypair, which names it. In the dataplane the caller makes sure first that no other message
 * of the owner names it any more.
 */
void wg_peer_remove(struct wg_device *device, struct wg_peer *peer);
struct wg_peer *wg_peer_find(struct wg_device *device, const struct cr_key *public_key);
void *wg_peer_user(const struct wg_peer *peer);
const struct cr_key *wg_peer_public_key(const struct wg_peer *peer);
struct wg_activity *wg_peer_activity(struct wg_peer *peer);

/** Counts a person asks for; copied. */
struct wg_peer_status {
	struct base_endpoint endpoint; /* whole packets: where data goes */
	uint64_t last_handshake_ns;    /* monotonic, when the last session was confirmed; 0 never */
	uint64_t handshakes;           /* sessions confirmed */
	uint64_t handshake_attempts;   /* initiations sent */
	uint64_t rx_bytes, tx_bytes;   /* whole packets only: messages, with headers */
	unsigned staged_pkts;
	bool has_session;
};
void wg_peer_status(const struct wg_peer *peer, struct wg_peer_status *ret_status);

/**
 * A handshake message (types 1-3) from @from. @message is borrowed and may be unaligned.
 * May call send, keypair_begin, endpoint_seen.
 */
enum wg_verdict wg_handshake_input(struct wg_device *device, const struct base_endpoint *from,
	const void *message, size_t len, uint64_t now_ns);

/**
 * Tell how many handshake messages wait, of how many places: from an eighth of @capacity on the
 * device counts itself under load, and for one second after (kernel practice), which turns on cookies
 * and per-source limits. Whole-packet users need not call it.
 */
void wg_device_note_queue(
	struct wg_device *device, uint32_t queued, uint32_t capacity, uint64_t now_ns);

/** The data owner has a packet but no usable keypair, or wants a fresh one. Rate-limited inside. */
void wg_peer_want_handshake(struct wg_peer *peer, uint64_t now_ns);
/** The data owner opened the first message under the responder's keypair. */
void wg_peer_confirmed(struct wg_peer *peer, uint64_t now_ns);
/** The data owner learned or lost an endpoint: initiations are sent only with one. */
void wg_peer_set_has_endpoint(struct wg_peer *peer, bool has_endpoint);
/**
 * Of a peer that is probed: it is reached by a path that is new, or by none any more. With one an attempt that is on sends its
 * initiation at once, also within WG_REKEY_TIMEOUT_NS of the last: that one went by another way, or nowhere. Without a
 * session one begins: the peer may wait for it, having lost its own initiation before it knew the way.
 */
void wg_peer_path(struct wg_peer *peer, bool has_path, uint64_t now_ns);
/** Is there a way to reach it, as far as the device knows? */
bool wg_peer_has_endpoint(const struct wg_peer *peer);
/** A keypair that the data owner no longer uses: release its index, wipe, give to the slab. */
void wg_keypair_put(struct wg_device *device, struct wg_keypair *keypair);

/** Whole packets: a datagram as it came. */
enum wg_verdict wg_input(struct wg_device *device, const struct base_endpoint *from,
	const void *message, size_t len, uint64_t now_ns);
/** Whole packets: seal and send an inner packet, or stage it and begin a handshake. */
enum wg_verdict wg_output(
	struct wg_device *device, const void *packet, size_t len, uint64_t now_ns);

/**
 * Nothing else to do: compute what the first handshake of one more configured peer will need (an X25519). Handshakes
 * do not wait for it. False: all is there.
 */
bool wg_device_prepare(struct wg_device *device);

/** Run what is due: retries, keepalives, expiry. */
void wg_tick(struct wg_device *device, uint64_t now_ns);
/** When to call wg_tick() next; BASE_NEVER_NS if nothing waits. Cheap. */
uint64_t wg_next_deadline_ns(const struct wg_device *device);

/** How often each verdict fell, on this device. */
void wg_device_counts(const struct wg_device *device, uint64_t ret_counts[WG_VERDICT_COUNT]);
/** Memory of keypairs: out now, bytes held. */
void wg_device_usage(const struct wg_device *device, size_t *ret_keypairs, size_t *ret_bytes);

#endif
