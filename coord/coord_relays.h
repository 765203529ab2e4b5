/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The relays of the map: one connection for each region that is in use (coord_derp.h), the home region's always. Others are dialled
 * when a packet wants to go there, and closed 60 s after the last one. A connection that ended is dialled again, with patience:
 * min(n * n * 10 ms, 5 s), times 0.5 to 1.5, from the first after a login that worked.
 *
 * Which connection carries a packet (protocols/nat-traversal.md 3.4): the open one of the peer's home region; else the open one that
 * the peer was heard over; else the home region's, which is dialled, and takes some packets until it is open.
 *
 * Memory: what coord_derp.h says for each connection, a copy of the map's regions, and 8,192 places for who was heard where (384
 * KiB): a newcomer takes the place of another with the same hash, so that strangers cannot make it grow. Thread: the loop's.
 */
#ifndef COORD_RELAYS_H
#define COORD_RELAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_err.h"
#include "coord_netmap.h"
#include "coord_tls.h"
#include "cr_secret.h"

#define COORD_RELAYS_IDLE_MS 60000
#define COORD_RELAYS_BACKOFF_MAX_MS 5000
/** Regions of one map; more are left out. */
#define COORD_RELAYS_MAX 1024

struct coord_relays_host {
	/** A packet (disco or WireGuard) of @source, which is the relay's claim. Borrowed. */
	void (*packet)(void *ctx, uint32_t region, const struct cr_key *source, const void *packet,
		size_t len);
	/** The region is up, or is not any more (or could not be reached): @line says why. Not told when we closed an idle one. */
	void (*state)(void *ctx, uint32_t region, bool is_up, const char *line);
	/** @peer is not at that region, or not any more. */
	void (*gone)(void *ctx, uint32_t region, const struct cr_key *peer);
};

enum coord_relays_phase {
	COORD_RELAYS_IDLE, /* no connection, and none wanted */
	COORD_RELAYS_DIALLING,
	COORD_RELAYS_UP,
	COORD_RELAYS_WAITING, /* until the next try */
};

struct coord_relays_status {
	uint32_t region;
	const char *code,
		*name; /* of the map; these and those below are borrowed until the next call of any kind */
	const char *node;   /* connected to it, or dialled; "" */
	const char *line;   /* why the last connection ended; "" */
	const char *health; /* the relay's complaint; "" */
	enum coord_relays_phase phase;
	bool is_home;
	uint64_t since_ns; /* in this phase */
	uint32_t rtt_us;   /* of its last ping; 0: none */
	/* Of all its connections. */
	uint64_t n_connections, n_sent, n_received, n_dropped;
};

struct coord_relays;
/** @roots: kept for longer. NULL with errno. */
struct coord_relays *coord_relays_new(uv_loop_t *loop, struct coord_tls_roots *roots,
	const struct cr_key *node_private, const struct coord_relays_host *host, void *ctx);
/** Closes all, silently. NULL is fine. */
void coord_relays_free(struct coord_relays *relays);
/** HTTP without TLS: for tests, before the map. */
void coord_relays_plain(struct coord_relays *relays);

/** Copied. A region that is another now, or gone, is closed. 0, or -ENOMEM: nothing changed. */
BASE_MUST_CHECK int coord_relays_map(
	struct coord_relays *relays, const struct coord_derp_region *regions, size_t n);
/** The node has another key: all are closed, and come back as they are wanted. */
void coord_relays_identity(struct coord_relays *relays, const struct cr_key *node_private);
/** 0: none. Connected always; told to the relays. The old home stays until it is idle. */
void coord_relays_home(struct coord_relays *relays, uint32_t region);
/**
 * Copied. @region: the peer's home; 0: unknown. 0; -ENOENT: no region to send to; -ENOTCONN: it waits for its next try;
 * -EMSGSIZE; -ENOMEM. From within callbacks too.
 */
int coord_relays_send(struct coord_relays *relays, const struct cr_key *peer, uint32_t region,
	const void *packet, size_t len);
/** Ours changed: connections from an address that is gone are closed at once, the others asked and closed after 3 s of silence. */
void coord_relays_network_changed(struct coord_relays *relays);

/** Returns how many were written of those that there are, in the order of the map. */
size_t coord_relays_status(
	const struct coord_relays *relays, struct coord_relays_status *ret_status, size_t n_max);
/** When a frame of the region came last; 0: never. */
uint64_t coord_relays_last_frame_ns(const struct coord_relays *relays, uint32_t region);

#endif
