/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tunnel as control runs it: starts the dataplane from the configuration, gives it the peers, lets it follow
 * when they change, turns its events into log lines and, when one of its threads dies, into the end of
 * the process.
 *
 * There are two sets of peers. Those of the configuration file are replaced by a reload, and by nothing else. Those
 * of the API live until a call removes them or the gateway ends; a reload leaves them alone, but for one that
 * the file now has under the same name and key: that is the file's from then on.
 *
 * A mesh (ctl_mesh.h) keeps a third set by itself, straight in the dataplane: it is told what the tunnel sees of it, and
 * asked for names.
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
/** For the mesh. */
struct dp *ctl_tunnel_dp_to_change(struct ctl_tunnel *tunnel);

/** What a mesh hears from the tunnel; from the loop. Pointers are borrowed until return. */
struct ctl_tunnel_mesh {
	/** A datagram for coord_path came to the tunnel's port. */
	void (*probe)(void *ctx, const struct base_endpoint *from, const struct base_endpoint *to,
		const void *datagram, size_t len);
	/** Packets wait for this peer, or a handshake came from @from (family NONE: not so). */
	void (*path_wanted)(
		void *ctx, const struct cr_key *public_key, const struct base_endpoint *from);
	/** The ports' addresses are others. */
	void (*addresses)(void *ctx);
	/** Its name for a key; NULL: not one of the mesh. */
	const char *(*name_of)(void *ctx, const struct cr_key *public_key);
	/** The key of a name; false: not one of the mesh. */
	bool (*key_of)(void *ctx, const char *name, struct cr_key *ret_public_key);
};
/** @hooks: borrowed until the next call; NULL: there is no mesh any more. */
void ctl_tunnel_join_mesh(
	struct ctl_tunnel *tunnel, const struct ctl_tunnel_mesh *hooks, void *ctx);
/** Does a peer of the file or the API have this prefix? */
bool ctl_tunnel_prefix_is_taken(const struct ctl_tunnel *tunnel, const struct base_prefix *prefix);

/**
 * The filter has two parts: first the file's rules, then the mesh's. Each call replaces one of them, and the arrays
 * (borrowed, with all that they point to) must stay until the next. Returns 0; or -Exxx with a line, and the
 * filter before stays in force.
 */
BASE_MUST_CHECK int ctl_tunnel_set_file_rules(struct ctl_tunnel *tunnel,
	const struct dp_filter_rule *rules, size_t n, struct base_error *ret_error);
/** As above; of @rules only what it points to must stay. */
BASE_MUST_CHECK int ctl_tunnel_set_mesh_rules(struct ctl_tunnel *tunnel,
	const struct dp_filter_rule *rules, size_t n, struct base_error *ret_error);

/** Rule @i of the filter in force, those of the file first; NULL: there are not so many. */
const struct dp_filter_rule *ctl_tunnel_rule(const struct ctl_tunnel *tunnel, size_t i);
size_t ctl_tunnel_n_rules(const struct ctl_tunnel *tunnel, bool with_mesh);

/** All peers of the file and the API, in three orders; until the next change. */
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
