/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tunnel as control runs it: starts the dataplane from the configuration, gives it the peers,
 * turns its events into log lines and, when one of its threads dies, into the end of the process.
 * Thread: the main one.
 */
#ifndef CTL_TUNNEL_H
#define CTL_TUNNEL_H

#include "base_err.h"
#include "dp_api.h"
#include "ctl_config.h"
#include "ctl_loop.h"

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

#endif
