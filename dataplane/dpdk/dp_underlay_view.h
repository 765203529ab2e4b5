/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dp_underlay.c knows, as a value that workers look things up in: sorted arrays, nothing in
 * it ever changes. Internal to the underlay; others see dp_underlay.h.
 *
 * The builder fills the arrays in any order, then calls dp_underlay_view_seal(). Elements have no
 * padding: two views that say the same are the same bytes.
 */
#ifndef DP_UNDERLAY_VIEW_H
#define DP_UNDERLAY_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dp_underlay.h"

/** A port's number where there is none. */
#define VIEW_PORT_OTHER (-1)    /* an interface that is no port of ours */
#define VIEW_PORT_NO_ROUTE (-2) /* blackhole, unreachable, prohibit, throw */

struct view_port {
	uint8_t mac[DP_MAC_BYTES];
	uint16_t mtu_bytes;
};

/** An address of this host, on whatever interface. */
struct view_addr {
	struct base_addr addr;
	uint8_t bits;
	bool is_usable; /* as a source that nobody asked for: not deprecated, tentative, secondary */
	bool is_global; /* scope; else link or host */
	int16_t port;
};

struct view_route {
	struct base_prefix dst;
	uint8_t zero[2];
	int16_t port;
	uint16_t mtu_bytes; /* 0: the port's */
	uint32_t metric;
	struct base_addr gateway; /* family NONE: on link */
	struct base_addr prefsrc; /* family NONE: none */
	uint8_t zero_end[2];
};

/** A neighbour whose MAC may be used. */
struct view_neigh {
	struct base_addr addr;
	uint8_t mac[DP_MAC_BYTES];
	uint8_t zero;
	uint16_t port;
};

_Static_assert(sizeof(struct view_addr) == 17 + 1 + 2 + 2, "no padding");
_Static_assert(sizeof(struct view_route) == 18 + 2 + 2 + 2 + 4 + 17 + 17 + 2, "no padding");
_Static_assert(sizeof(struct view_neigh) == 17 + 6 + 1 + 2, "no padding");

/** Routes of one family and prefix length: where they lie among the routes. */
struct view_group {
	uint8_t family, bits;
	uint32_t first, count;
};

/** 33 lengths of IPv4, 129 of IPv6. */
#define VIEW_GROUPS_MAX (33 + 129)

struct dp_underlay_view {
	uint64_t generation;
	struct view_port ports[DP_PORTS_MAX];
	struct view_addr *addrs;
	struct view_route *routes;
	struct view_neigh *neighs;
	uint32_t n_addrs, n_routes, n_neighs, n_groups;
	struct view_group groups[VIEW_GROUPS_MAX];
};

/** An empty view with room. NULL without memory. */
struct dp_underlay_view *dp_underlay_view_new(size_t addrs, size_t routes, size_t neighs);
/** Sort and index; afterwards it is read only. */
void dp_underlay_view_seal(struct dp_underlay_view *view);
/** Do two sealed views answer every lookup alike? */
bool dp_underlay_view_equal(const struct dp_underlay_view *a, const struct dp_underlay_view *b);

#endif
