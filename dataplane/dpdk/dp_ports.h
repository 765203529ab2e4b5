/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports whose interfaces come and go. An interface that is deleted takes the driver's sockets with it; when one
 * of its name is there again, the port is opened on that one, without a restart and with all sessions.
 *
 * Close: the port is marked, a grace period passes until no worker is inside of it, then its devices go, and what
 * the kernel had of our packets comes back to the pool. Meanwhile frames for it are dropped as port_gone.
 * Open: as at the start; it is tried again once a second while it fails, and the reason is told once.
 *
 * The host interface likewise: one that was deleted is made again; one that was down gets back the addresses and
 * routes that the kernel took away.
 * Control thread.
 */
#ifndef DP_PORTS_H
#define DP_PORTS_H

#include <stdint.h>

struct dp;

/** Do the open ports still have their interfaces, and the closed ones theirs again? After the underlay's service. */
void dp_ports_follow(struct dp *dp, uint64_t now_ns);
/** The host interface, where there is one. */
void dp_ports_follow_host(struct dp *dp, uint64_t now_ns);

#endif
