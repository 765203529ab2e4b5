/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The underlay as the kernel has it: addresses, routes and neighbours of the ports' interfaces,
 * read by rtnetlink and followed as they change. The gateway never speaks ARP or ND itself.
 *
 * Control thread: dp_underlay_new(), _service() on a readable _fd(), which builds an immutable
 * struct dp_underlay_view whenever something that matters has changed and gives it to @publish.
 * Workers: dp_underlay_lookup() in the view that is published now; they cache the answer in the
 * peer's header template until view->generation changes. Nothing there allocates or calls the kernel.
 *
 * What is followed is table main, by destination. Rules that choose other tables (ip rule) are not, and a
 * caution says so. Of several next hops of one route, or equal routes, a hash of destination and
 * source picks one whose neighbour is not known to be dead; weights do not count.
 *
 * Addresses of the link (fe80::/10): a peer that spoke from one is answered on the port whose address it asked. As a
 * configured endpoint they are refused where there is more than one port.
 *
 * Path MTUs that routers tell by ICMP are not learned: nobody signs them, and outer packets are small enough by
 * the host interface's MTU. What a route or a port allows (`mtu`) is respected.
 *
 * A next hop without a usable neighbour is asked for by dp_underlay_want() (control thread, from a worker's
 * event), which makes the kernel resolve it (RTM_NEWNEIGH with NTF_USE); neighbours that were wanted
 * are kept alive the same way when the kernel calls them stale.
 */
#ifndef DP_UNDERLAY_H
#define DP_UNDERLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "dp_api.h"

#define DP_MAC_BYTES 6

enum dp_nexthop_state {
	DP_NEXTHOP_OK,         /* every field is valid */
	DP_NEXTHOP_UNRESOLVED, /* port, gateway, src_addr valid; the neighbour is not known (yet) */
	DP_NEXTHOP_NO_ROUTE,   /* the kernel would not know either */
	DP_NEXTHOP_OTHER_DEVICE, /* the route leaves by an interface that is no port of ours */
};

/** How a packet to an outer address leaves. */
struct dp_nexthop {
	enum dp_nexthop_state state;
	uint16_t port;      /* index into dp_config.ports */
	uint16_t mtu_bytes; /* of the route or the interface */
	uint8_t src_mac[DP_MAC_BYTES];
	uint8_t dst_mac[DP_MAC_BYTES];
	struct base_addr
		src_addr; /* what the kernel would choose (RTA_PREFSRC, or the interface's) */
	struct base_addr gateway; /* whose MAC it is: the destination itself when on link */
};

/** Opaque and immutable; free with dp_underlay_view_free() after a grace period. */
struct dp_underlay_view;

/** Rises with every view; there is a new one only if a lookup can answer differently. Never 0. */
uint64_t dp_underlay_generation(const struct dp_underlay_view *view);
/**
 * Workers: longest prefix, lowest metric, then neighbour.
 * @src: an address that the packet must leave from (the one that the peer asked), or NULL.
 */
void dp_underlay_lookup(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop);
/**
 * Workers: is this an address of ours, for a frame that came by @port? For frames that AF_PACKET
 * shows but are not to us. An address of any interface will do, as for the kernel itself.
 */
bool dp_underlay_is_local(
	const struct dp_underlay_view *view, uint16_t port, const struct base_addr *addr);
/**
 * Addresses by which others may reach the ports: those of their own interfaces, without the link's. In the view's order; at most @max are written. Returns how many there are.
 */
size_t dp_underlay_addrs(
	const struct dp_underlay_view *view, struct base_addr *ret_addrs, size_t max);
void dp_underlay_view_free(struct dp_underlay_view *view);

struct dp_underlay;

struct dp_underlay_config {
	char devices[DP_PORTS_MAX][DP_DEVICE_NAME_LEN];
	unsigned n_devices;
	/** Take over a new view (owned by the callee); from dp_underlay_new() and _service(). */
	void (*publish)(void *ctx, struct dp_underlay_view *view);
	/** Link of a device went up or down, or it disappeared. May be NULL. */
	void (*link)(void *ctx, unsigned device, bool is_up);
	/** The host interface's MTU: what the ports' own must leave room for. 0: do not look. */
	uint16_t inner_mtu_bytes;
	/**
	 * What a person should know: a port's MTU that is too small for the inner one, policy rules that are not
	 * followed. One line, when it begins to be so. May be NULL.
	 */
	void (*caution)(void *ctx, const char *line);
	void *ctx;
};

/** Reads the kernel's state (blocking, short) and publishes the first view. NULL with errno and a line. */
struct dp_underlay *dp_underlay_new(
	const struct dp_underlay_config *config, struct base_error *ret_error);
void dp_underlay_free(struct dp_underlay *underlay);
int dp_underlay_fd(const struct dp_underlay *underlay);
/** The kernel's number of a device as of the last service; 0: it is not there. */
uint32_t dp_underlay_ifindex(const struct dp_underlay *underlay, unsigned device);
bool dp_underlay_is_up(const struct dp_underlay *underlay, unsigned device);
/** Drain netlink, publish if needed. Lost messages (ENOBUFS) lead to a full re-read. */
void dp_underlay_service(struct dp_underlay *underlay, uint64_t now_ns);
/**
 * Ask the kernel to resolve @gateway on @port, and keep it alive from then on. Repeated wants
 * within a second are merged. The gateways of routes by our ports need no asking.
 */
void dp_underlay_want(struct dp_underlay *underlay, uint16_t port, const struct base_addr *gateway,
	uint64_t now_ns);

#endif
