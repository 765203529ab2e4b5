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

#endif
