/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's own UDP sockets on the tunnel's port, IPv4 and IPv6, with a filter that drops everything:
 * the kernel sends no "port unreachable" for packets that AF_PACKET shows us too, and a port that is
 * taken is an error at start, in every port kind. Control thread only.
 */
#ifndef DP_GUARD_H
#define DP_GUARD_H

#include <stdint.h>

#include "base_err.h"

struct dp_guard {
	int fd4, fd6; /* -1: none */
};

/** Returns 0, or -EADDRINUSE and others with a line that names the port and the remedy. */
BASE_MUST_CHECK int dp_guard_open(
	struct dp_guard *ret_guard, uint16_t udp_port, struct base_error *ret_error);
void dp_guard_close(struct dp_guard *guard);

#endif
