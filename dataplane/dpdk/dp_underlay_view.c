/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Building and asking an underlay view. Built on the control thread, asked by workers: no
 * allocation, no system call, cost of a lookup: one binary search per prefix length in use.
 */
#include "dp_underlay_view.h"

#include <stdlib.h>
#include <string.h>

struct dp_underlay_view *dp_underlay_view_new(size_t addrs, size_t routes, size_t neighs)
{
	struct dp_underlay_view *view = calloc(1, sizeof(*view));

	if (!view)
		return NULL;
	/* One more, so that zero is no special case of calloc(). */
	view->addrs = calloc(addrs + 1, sizeof(*view->addrs));
	view->routes = calloc(routes + 1, sizeof(*view->routes));
	view->neighs = calloc(neighs + 1, sizeof(*view->neighs));
	if (!view->addrs || !view->routes || !view->neighs) {
		dp_underlay_view_free(view);
		return NULL;
	}
	return view;
}

void dp_underlay_view_free(struct dp_underlay_view *view)
{
	if (!view)
		return;
	free(view->addrs);
	free(view->routes);
	free(view->neighs);
	free(view);
}

static int compare_base_addr(const struct base_addr *a, const struct base_addr *b)
{
	int family = (int)a->family - (int)b->family;

	return family != 0 ? family : memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static int compare_addrs(const void *a, const void *b)
{
	const struct view_addr *x = a, *y = b;
	int addr = compare_base_addr(&x->addr, &y->addr);

	return addr != 0 ? addr : memcmp(x, y, sizeof(*x));
}

static int compare_neighs(const void *a, const void *b)
{
	const struct view_neigh *x = a, *y = b;

	if (x->port != y->port)
		return (int)x->port - (int)y->port;
	return compare_base_addr(&x->addr, &y->addr);
}

/* Family, longest prefix first, destination, lowest metric, and then anything that is always the same. */
static int compare_routes(const void *a, const void *b)
{
	const struct view_route *x = a, *y = b;
	int order;

	if (x->dst.addr.family != y->dst.addr.family)
		return (int)x->dst.addr.family - (int)y->dst.addr.family;
	if (x->dst.bits != y->dst.bits)
		return (int)y->dst.bits - (int)x->dst.bits;
	order = compare_base_addr(&x->dst.addr, &y->dst.addr);
	if (order != 0)
		return order;
	if (x->metric != y->metric)
		return x->metric < y->metric ? -1 : 1;
	return memcmp(x, y, sizeof(*x));
}

static void index_groups(struct dp_underlay_view *view)
{
	struct view_group *group = NULL;

	for (uint32_t i = 0; i < view->n_routes; i++) {
		const struct base_prefix *dst = &view->routes[i].dst;

		if (!group || group->family != dst->addr.family || group->bits != dst->bits) {
			group = &view->groups[view->n_groups++];
			group->family = dst->addr.family;
			group->bits = dst->bits;
			group->first = i;
		}
		group->count++;
	}
}

void dp_underlay_view_seal(struct dp_underlay_view *view)
{
	qsort(view->addrs, view->n_addrs, sizeof(*view->addrs), compare_addrs);
	qsort(view->routes, view->n_routes, sizeof(*view->routes), compare_routes);
	qsort(view->neighs, view->n_neighs, sizeof(*view->neighs), compare_neighs);
	index_groups(view);
}

bool dp_underlay_view_equal(const struct dp_underlay_view *a, const struct dp_underlay_view *b)
{
	return a->n_addrs == b->n_addrs && a->n_routes == b->n_routes &&
		a->n_neighs == b->n_neighs && memcmp(a->ports, b->ports, sizeof(a->ports)) == 0 &&
		memcmp(a->addrs, b->addrs, a->n_addrs * sizeof(*a->addrs)) == 0 &&
		memcmp(a->routes, b->routes, a->n_routes * sizeof(*a->routes)) == 0 &&
		memcmp(a->neighs, b->neighs, a->n_neighs * sizeof(*a->neighs)) == 0;
}

uint64_t dp_underlay_generation(const struct dp_underlay_view *view)
{
	return view->generation;
}

static const struct view_addr *find_addr(
	const struct dp_underlay_view *view, const struct base_addr *addr)
{
	uint32_t low = 0, high = view->n_addrs;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = compare_base_addr(&view->addrs[middle].addr, addr);

		if (order == 0)
			return &view->addrs[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

bool dp_underlay_is_local(
	const struct dp_underlay_view *view, uint16_t port, const struct base_addr *addr)
{
	/* Every port: a host owns its addresses as a whole, as Linux sees it (RFC 1122's weak model). */
	(void)port;
	return find_addr(view, addr) != NULL;
}

size_t dp_underlay_addrs(
	const struct dp_underlay_view *view, struct base_addr *ret_addrs, size_t max)
{
	size_t n = 0;

	for (uint32_t i = 0; i < view->n_addrs; i++) {
		const struct view_addr *addr = &view->addrs[i];

		if (addr->port < 0 || !addr->is_global)
			continue;
		if (n < max)
			ret_addrs[n] = addr->addr;
		n++;
	}
	return n;
}

static const uint8_t *find_mac(
	const struct dp_underlay_view *view, uint16_t port, const struct base_addr *addr)
{
	struct view_neigh key = {.addr = *addr, .port = port};
	const struct view_neigh *neigh =
		bsearch(&key, view->neighs, view->n_neighs, sizeof(*view->neighs), compare_neighs);

	return neigh ? neigh->mac : NULL;
}

static struct base_addr masked(const struct base_addr *addr, unsigned bits)
{
	struct base_addr out = *addr;

	for (unsigned i = 0; i < sizeof(out.bytes); i++) {
		unsigned first = 8 * i;

		if (first >= bits)
			out.bytes[i] = 0;
		else if (bits - first < 8)
			out.bytes[i] &= (uint8_t)(0xff00 >> (bits - first));
	}
	return out;
}

/* The first route of a group to exactly this destination, or NULL. */
static const struct view_route *find_route(const struct dp_underlay_view *view,
	const struct view_group *group, const struct base_addr *dst)
{
	uint32_t low = group->first, high = group->first + group->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (compare_base_addr(&view->routes[middle].dst.addr, dst) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < group->first + group->count &&
		compare_base_addr(&view->routes[low].dst.addr, dst) == 0)
		return &view->routes[low];
	return NULL;
}

static bool is_same_prefix(const struct view_route *a, const struct view_route *b)
{
	return base_prefix_equal(&a->dst, &b->dst);
}

/* What a way is worth to these two ends: any if its neighbour answers, and then by lot, the same every time. */
static uint64_t lot(const struct dp_underlay_view *view, const struct view_route *route,
	const struct base_addr *dst, const struct view_addr *src)
{
	const struct base_addr *next = route->gateway.family ? &route->gateway : dst;
	uint64_t hash = base_addr_hash(next, (uint64_t)route->port);

	if (src)
		hash = base_addr_hash(&src->addr, hash);
	hash = base_addr_hash(dst, hash) >> 1;
	return find_mac(view, (uint16_t)route->port, next) ? hash | UINT64_C(1) << 63 : hash;
}

/*
 * Several next hops of one route, or routes that are equal: the highest lot, so that a way which
 * comes or goes moves nobody but those whom it takes or leaves.
 */
static const struct view_route *pick_equal(const struct dp_underlay_view *view,
	const struct view_route *first, const struct base_addr *dst, const struct view_addr *src,
	bool by_src_port)
{
	const struct view_route *end = view->routes + view->n_routes, *best = first;
	uint64_t best_lot = 0;

	for (const struct view_route *r = first;
		r < end && is_same_prefix(r, first) && r->metric == first->metric; r++) {
		uint64_t this_lot;

		if (r->port < 0 || (by_src_port && r->port != src->port))
			continue;
		this_lot = lot(view, r, dst, src);
		if (this_lot > best_lot) {
			best = r;
			best_lot = this_lot;
		}
	}
	return best;
}

/*
 * Among routes to one prefix: those by the port that the source belongs to, since an answer that
 * leaves elsewhere is filtered by many networks; else those of the lowest metric by a port of ours.
 */
static const struct view_route *pick_route(const struct dp_underlay_view *view,
	const struct view_route *first, const struct base_addr *dst, const struct view_addr *src)
{
	const struct view_route *end = view->routes + view->n_routes, *next = first + 1;

	/* Nearly always. */
	if (next == end || !is_same_prefix(next, first))
		return first;
	for (const struct view_route *r = first; r < end && is_same_prefix(r, first); r++)
		if (src && src->port >= 0 && r->port == src->port)
			return pick_equal(view, r, dst, src, true);
	return pick_equal(view, first, dst, src, false);
}

static const struct view_route *route_to(const struct dp_underlay_view *view,
	const struct base_addr *dst, const struct view_addr *src)
{
	for (uint32_t i = 0; i < view->n_groups; i++) {
		const struct view_group *group = &view->groups[i];
		const struct view_route *route;
		struct base_addr net;

		if (group->family != dst->family)
			continue;
		net = masked(dst, group->bits);
		route = find_route(view, group, &net);
		if (route)
			return pick_route(view, route, dst, src);
	}
	return NULL;
}

static bool is_link_local(const struct base_addr *addr)
{
	if (addr->family == BASE_FAMILY_V6)
		return addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
	return addr->bytes[0] == 169 && addr->bytes[1] == 254;
}

static unsigned common_bits(const struct base_addr *a, const struct base_addr *b)
{
	for (unsigned i = 0; i < sizeof(a->bytes); i++)
		if (a->bytes[i] != b->bytes[i])
			return 8 * i + (unsigned)__builtin_clz(a->bytes[i] ^ b->bytes[i]) - 24;
	return 128;
}

/*
 * How well an address suits as source (RFC 6724, section 5, as far as the view knows): usable
 * before not, of the destination's scope, on the outgoing interface, then the longest common
 * prefix with the next hop, which for IPv4 means "of the same subnet".
 */
static unsigned source_score(
	const struct view_addr *a, const struct base_addr *next, const struct view_route *route)
{
	unsigned score = common_bits(&a->addr, next);

	score += a->port == route->port ? 256 : 0;
	score += a->is_global ? 512 : 0;
	score += a->is_usable ? 1024 : 0;
	return score;
}

static struct base_addr pick_source(const struct dp_underlay_view *view,
	const struct base_addr *dst, const struct base_addr *next, const struct view_route *route)
{
	struct base_addr best = {0};
	unsigned best_score = 0;

	for (uint32_t i = 0; i < view->n_addrs; i++) {
		const struct view_addr *a = &view->addrs[i];
		unsigned score;

		if (a->addr.family != dst->family)
			continue;
		/* An address of the link means nothing past it, nor on another. */
		if (!a->is_global && (a->port != route->port || !is_link_local(dst)))
			continue;
		score = 1 + source_score(a, next, route);
		if (score > best_score) {
			best = a->addr;
			best_score = score;
		}
	}
	return best;
}

static bool is_unicast(const struct base_addr *addr)
{
	if (addr->family == BASE_FAMILY_V6)
		return addr->bytes[0] != 0xff;
	return addr->family == BASE_FAMILY_V4 && addr->bytes[0] < 224;
}

static void fill_nexthop(const struct dp_underlay_view *view, const struct view_route *route,
	const struct base_addr *dst, const struct view_addr *src, struct dp_nexthop *nexthop)
{
	const struct view_port *port = &view->ports[route->port];
	const uint8_t *mac;

	nexthop->port = (uint16_t)route->port;
	nexthop->mtu_bytes = port->mtu_bytes;
	if (route->mtu_bytes != 0 && route->mtu_bytes < port->mtu_bytes)
		nexthop->mtu_bytes = route->mtu_bytes;
	memcpy(nexthop->src_mac, port->mac, DP_MAC_BYTES);
	nexthop->gateway = route->gateway.family ? route->gateway : *dst;
	if (src)
		nexthop->src_addr = src->addr;
	else if (route->prefsrc.family && find_addr(view, &route->prefsrc))
		nexthop->src_addr = route->prefsrc;
	else
		nexthop->src_addr = pick_source(view, dst, &nexthop->gateway, route);
	if (nexthop->src_addr.family == BASE_FAMILY_NONE)
		return; /* no address to speak from: as the kernel says, no route */
	mac = find_mac(view, nexthop->port, &nexthop->gateway);
	nexthop->state = mac ? DP_NEXTHOP_OK : DP_NEXTHOP_UNRESOLVED;
	if (mac)
		memcpy(nexthop->dst_mac, mac, DP_MAC_BYTES);
}

void dp_underlay_lookup(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop)
{
	const struct view_addr *local = NULL;
	const struct view_route *route;

	memset(ret_nexthop, 0, sizeof(*ret_nexthop));
	ret_nexthop->state = DP_NEXTHOP_NO_ROUTE;
	if (!is_unicast(dst))
		return;
	if (find_addr(view, dst)) {
		ret_nexthop->state = DP_NEXTHOP_OTHER_DEVICE; /* our own: loopback */
		return;
	}
	/* An address that has gone cannot be asked for any more. */
	if (src && src->family == dst->family)
		local = find_addr(view, src);
	route = route_to(view, dst, local);
	if (!route || route->port == VIEW_PORT_NO_ROUTE)
		return;
	if (route->port == VIEW_PORT_OTHER) {
		ret_nexthop->state = DP_NEXTHOP_OTHER_DEVICE;
		return;
	}
	fill_nexthop(view, route, dst, local, ret_nexthop);
}
