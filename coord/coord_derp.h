/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to one relay region (protocols/nat-traversal.md 3.1 to 3.4): the nodes of the region in their order, 1.5 s for
 * each to answer, TLS as the node's entry says (coord_tls.h), a proxy of the environment, the upgrade, the login; then packets
 * both ways. No second try in here: coord_relays.h has the patience.
 *
 *	dialling -> upgrading -> greeting (ServerKey) -> logging in (ServerInfo) -> open -> closed
 *
 * A relay that is dead is found within 5 s: TCP asks every second after two of silence, what is not acknowledged within 4 s ends it,
 * and coord_derp_ping() asks the relay itself, with 3 s to answer.
 *
 * Memory of a connection, at most: the streams' 80 KiB and TLS; one cut frame, 64 KiB; two queues (disco, and the rest) of 32
 * packets of 64 KiB at most, whose places are kept for the next packets, so some 100 KiB when packets are of 1.5 KB; one batch of 66
 * KiB; and a batch in the stream, which takes the next one only when the last is with the kernel. A full queue drops its oldest.
 * Thread: the loop's.
 */
#ifndef COORD_DERP_H
#define COORD_DERP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_err.h"
#include "coord_netmap.h"
#include "coord_tls.h"
#include "cr_secret.h"

#define COORD_DERP_QUEUE_PACKETS 32
#define COORD_DERP_CONNECT_MS 1500
#define COORD_DERP_PING_MS 3000
/** Without any frame for so long the relay is gone: it says something every minute. */
#define COORD_DERP_SILENCE_MS 120000

struct coord_derp_host {
	/** Logged in. Packets may be given before; they wait. */
	void (*opened)(void *ctx);
	/** @source is the relay's claim. Borrowed. */
	void (*packet)(void *ctx, const struct cr_key *source, const void *packet, size_t len);
	/** @peer is not at this relay, or not any more. */
	void (*gone)(void *ctx, const struct cr_key *peer);
	/** It is over; nothing comes after this. The owner frees it, here or later. */
	void (*closed)(void *ctx, int rc, const char *line);
};

/** What all connections of a node share; kept for longer than they live. */
struct coord_derp_setup {
	uv_loop_t *loop;
	struct coord_tls_roots *roots;
	struct cr_key node_private; /* the owner wipes it */
	bool is_plain;              /* HTTP without TLS: for tests */
};

struct coord_derp_stats {
	const char *node;   /* its name in the map; borrowed of the region */
	const char *health; /* the relay's own complaint; "": none. Borrowed */
	uint32_t rtt_us;    /* of the last answered ping; 0: none yet */
	uint64_t last_frame_ns;
	uint64_t n_sent, n_received; /* packets */
	uint64_t n_dropped;          /* the queue was full */
	uint64_t n_paced;            /* more than the relay allows */
	uint64_t n_writes;           /* batches */
	uint32_t restart_after_ms;   /* the relay said that it restarts: come back after this; 0 */
};

struct coord_derp;
/** @setup, @region: kept for longer. The callbacks come later, never from within. NULL with errno and a line. */
struct coord_derp *coord_derp_new(const struct coord_derp_setup *setup,
	const struct coord_derp_region *region, const struct coord_derp_host *host, void *ctx,
	struct base_error *ret_error);
/** Close at once, silently; from within a callback too. NULL is fine. */
void coord_derp_free(struct coord_derp *derp);

/**
 * Copied; all of one turn of the loop leave in one write, disco first. 0 (a full queue dropped its oldest); -EMSGSIZE: longer than any
 * relay takes, or shorter than any packet; -ENOMEM.
 */
int coord_derp_send(
	struct coord_derp *derp, const struct cr_key *peer, const void *packet, size_t len);
/** This relay is the node's home, or not; told to it now, and at the login. */
void coord_derp_prefer(struct coord_derp *derp, bool is_home);
/** Ask the relay; no answer within 3 s closes. One at a time: a second is part of the first. */
void coord_derp_ping(struct coord_derp *derp);
bool coord_derp_is_open(const struct coord_derp *derp);
/** Our end of it is an address that this machine does not have any more. */
bool coord_derp_is_stranded(const struct coord_derp *derp);
struct coord_derp_stats coord_derp_stats(const struct coord_derp *derp);

#endif
