/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tunnel as control runs it: starts the dataplane from the configuration, gives it the peers, lets it follow
 * when they change, turns its events into log lines and, when one of its threads dies, into the end of
 * the process.
 *
 * There are two sets of peers. Those of the configuration file are replaced by a reload, and by nothing else. Those
 * of the API live until a call removes them or the gateway ends; a reload leaves them alone, but for one that
 * the file now has under the same name and key: that is the file's from then on.
 * Thread: the main one.
 */
#ifndef CTL_TUNNEL_H
#define CTL_TUNNEL_H

#include "base_err.h"
#include "dp_api.h"
#include "ctl_config.h"
#include "ctl_loop.h"
#include "ctl_roster.h"

struct ctl_tunnel;

/**
 * Start. @config is borrowed for the life. NULL with errno (EINVAL: configuration, exit code 2; else
 * run time, 1) and a line.
 */
struct ctl_tunnel *ctl_tunnel_new(
	const struct ctl_config *config, struct ctl_loop *loop, struct base_error *ret_error);
/** Stop and clean up; NULL is fine. */
void ctl_tunnel_free(struct ctl_tunnel *tunnel);

/** For status, peers and counters. */
const struct dp *ctl_tunnel_dp(const struct ctl_tunnel *tunnel);
const struct dp_config *ctl_tunnel_config(const struct ctl_tunnel *tunnel);

/** A peer's name; "unknown" for a key that is nobody's. Borrowed. */
const char *ctl_tunnel_peer_name(const struct ctl_tunnel *tunnel, const struct cr_key *public_key);
/** A peer's key by its name; false: no such peer. */
bool ctl_tunnel_peer_key(
	const struct ctl_tunnel *tunnel, const char *name, struct cr_key *ret_public_key);
/** dp_tap_start(); to be ended before the tunnel. */
struct dp_tap *ctl_tunnel_tap(const struct ctl_tunnel *tunnel, const struct dp_tap_config *config,
	struct base_error *ret_error);
/** For the filter. */
struct dp *ctl_tunnel_dp_to_change(struct ctl_tunnel *tunnel);

/** All peers, in three orders; until the next change. */
const struct ctl_roster *ctl_tunnel_roster(const struct ctl_tunnel *tunnel);

/** How many peers a change was about. */
struct ctl_peers_changed {
	size_t added, changed, unchanged, removed;
};

/**
 * Follow the file: its peers are the @n of @peers from now on (borrowed; those before are not looked at any more).
 * All or nothing. Returns 0 or -Exxx with a line: -EEXIST, a peer of the API is in the way.
 */
BASE_MUST_CHECK int ctl_tunnel_follow_file(struct ctl_tunnel *tunnel, struct ctl_peer *peers,
	size_t n, struct ctl_peers_changed *ret_changed, struct base_error *ret_error);

/** What an operator asks for. */
struct ctl_tunnel_call {
	struct ctl_peer **set; /* by ctl_peer_new(); a name that is known already is changed */
	size_t n_set;
	const char *const *remove; /* names */
	size_t n_remove;
	bool is_new;        /* a name that is known already is an error */
	const char *client; /* who asks, for the log */
};

/**
 * Add, change and remove peers of the API. All or nothing: if it returns 0 the peers of @call->set are the tunnel's.
 * -EEXIST: one cannot be there beside another; -EPERM: one is of the file; -ENOENT: no such name; -ENOMEM, -EIO.
 */
BASE_MUST_CHECK int ctl_tunnel_call(struct ctl_tunnel *tunnel, const struct ctl_tunnel_call *call,
	struct ctl_peers_changed *ret_changed, struct base_error *ret_error);

#endif
