/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to this library: what a device and a peer are made of, and the steps that its files lend
 * each other. wg_device.c holds the device, wg_peer.c the set of peers, wg_handshake.c messages of
 * types 1 to 3, wg_packet.c the whole-packet door. Thread: the device's, all of it.
 */
#ifndef WG_PEER_H
#define WG_PEER_H

#include "wg.h"

#include "base_deadlines.h"
#include "wg_cookie.h"
#include "wg_index.h"
#include "wg_noise.h"
#include "wg_ratelimit.h"

/* A packet that waits for a session: whole-packet door only. */
struct wg_staged {
	struct wg_staged *next;
	size_t len;
	uint8_t bytes[];
};

/** Bytes that may wait per peer, beside WG_STAGED_PKTS_MAX: full-size packets of a usual MTU fit. */
#define WG_STAGED_BYTES_MAX (256 * 1024)

struct wg_peer {
	struct wg_device *device;
	struct wg_peer *next, **link; /* of all peers of the device, the dead ones too */
	struct wg_peer *hash_next;
	void *user;
	unsigned owner;
	bool is_dead; /* removed, but its owner still has keypairs that name it */
	bool is_probed;

	struct wg_noise_remote remote;
	struct wg_noise_handshake *handshake; /* ours in flight; NULL: none */
	struct wg_cookie_sender cookies;
	uint8_t newest_timestamp[WG_TIMESTAMP_BYTES]; /* of the peer's initiations */
	uint64_t initiation_accepted_ns;              /* the peer's last */
	uint64_t stamp_unix_ns;                       /* what our last initiation said */

	struct wg_timers timers;
	struct base_deadline deadline;
	struct wg_activity *activity;
	size_t n_keypairs; /* out of the slab */

	uint64_t last_handshake_ns, handshakes, handshake_attempts;
	uint64_t rx_bytes, tx_bytes;

	/* What follows is not there in the dataplane, where an idle peer has to be small. */
	struct wg_activity own_activity;
	struct base_endpoint endpoint;
	bool endpoint_is_fixed;
	struct wg_keypairs keypairs;
	struct wg_staged *staged_first, **staged_end;
	unsigned n_staged;
	size_t staged_bytes;
	uint32_t number; /* in allowed IPs */
	struct base_prefix *allowed_ips;
	size_t n_allowed_ips;
};
#define WG_PEER_BYTES_DATAPLANE offsetof(struct wg_peer, own_activity)

struct wg_device {
	struct wg_host host;
	void *ctx;
	struct wg_noise_identity identity;
	struct wg_cookie_checker checker;
	struct wg_ratelimit ratelimit;
	uint64_t under_load_until_ns;
	struct wg_index_table *indices; /* to a tagged handshake or a keypair, see wg_handshake.c */
	struct wg_slab *slab;
	struct base_deadlines deadlines;
	struct wg_peer *peers, **peers_end; /* in the order in which they came */
	struct wg_peer *prepare_next;       /* those before it are prepared; NULL: all */
	struct wg_peer **buckets;           /* live peers by public key */
	size_t n_buckets, n_peers;          /* n_buckets is a power of two */
	uint64_t counts[WG_VERDICT_COUNT];

	/* Whole-packet door. */
	struct wg_allowedips *allowed_ips;
	struct wg_peer **numbers;        /* peers by number; NULL: free */
	uint32_t n_numbers, free_number; /* no number below free_number is free */
	size_t mtu_bytes;                /* padding stops here; 0: not told */
	uint8_t *seal_buf, *open_buf;
};

/** The longest datagram that carries a message. */
#define WG_MESSAGE_BYTES_MAX 65535

static inline bool wg_device_is_whole(const struct wg_device *device)
{
	return device->host.deliver != NULL;
}

/* wg_peer.c */
void wg_peer_schedule(struct wg_peer *peer, uint64_t now_ns);
/* The last keypair of a dead peer came back. */
void wg_peer_free(struct wg_peer *peer);
int wg_peers_init(struct wg_device *device);

/* wg_handshake.c */
void wg_handshake_tick(struct wg_peer *peer, uint64_t now_ns);
void wg_handshake_begin(struct wg_peer *peer, uint64_t now_ns);
void wg_handshake_drop(struct wg_peer *peer);
/* An attempt is on: its initiation goes now, whenever the last one went. */
void wg_handshake_repeat(struct wg_peer *peer, uint64_t now_ns);
/* End attempt and session, in whichever door; staged packets stay. */
void wg_handshake_reset(struct wg_peer *peer);
void wg_handshake_completed(struct wg_peer *peer, uint64_t now_ns);
struct wg_keypair *wg_keypair_by_index(const struct wg_device *device, uint32_t index);

/* wg_packet.c */
void wg_packet_session_begin(struct wg_peer *peer, struct wg_keypair *keypair, uint64_t now_ns);
void wg_packet_keypairs_clear(struct wg_peer *peer);
void wg_packet_staged_clear(struct wg_peer *peer);
void wg_packet_keepalive(struct wg_peer *peer, uint64_t now_ns);

/* Pass a verdict through and count it. */
enum wg_verdict wg_device_count(struct wg_device *device, enum wg_verdict verdict);
/* Learn where an authenticated message came from. */
void wg_peer_endpoint_seen(struct wg_peer *peer, const struct base_endpoint *from, uint64_t now_ns);

#endif
