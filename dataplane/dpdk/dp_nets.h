/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inner side's networks (dp_host_set()): addresses of the host interface, the kernel's routes to it, and prefixes
 * behind this gateway. Control thread.
 *
 * A route leads to the host interface for each prefix of a peer, unless the networks here hold it already: the
 * mesh's range is one route instead of ten thousand. A route of somebody else's to the same prefix stays, and a
 * caution says so; then peers' own are made after all.
 *
 * Packets for prefixes behind the gateway are delivered to the host interface like those for its addresses; the kernel
 * forwards them if it is set to. What it lacks for that is named in a caution.
 */
#ifndef DP_NETS_H
#define DP_NETS_H

#include <stdbool.h>
#include <stddef.h>

#include "base_addr.h"
#include "base_err.h"

struct dp;
struct dp_config;

struct dp_net_route {
	struct base_prefix prefix;
	bool is_ours; /* else the kernel has one of somebody else's */
};

struct dp_nets {
	struct base_prefix
		*locals; /* where packets may go: addresses first, without their networks */
	size_t n_locals;
	struct base_prefix *addrs; /* with host bits */
	size_t n_addrs;
	struct dp_net_route *routes;
	size_t n_routes;
	struct base_prefix *offers;
	size_t n_offers;
	unsigned lacks_told; /* what the kernel lacked for forwarding when a person was told last */
};

/** Those that @config names, before the host interface is made with them. 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_nets_init(struct dp_nets *nets, const struct dp_config *config);
void dp_nets_fini(struct dp_nets *nets);

/** A prefix has become, or is no more, a peer's. Failures are the kernel's business: packets do not come then. */
void dp_nets_peer_add(struct dp *dp, const struct base_prefix *prefix);
void dp_nets_peer_remove(struct dp *dp, const struct base_prefix *prefix);
/** The kernel forgot them with the link or the device. */
void dp_nets_restore(struct dp *dp);

#endif
