/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The underlay by rtnetlink. Control thread.
 *
 * One socket hears of changes, another asks. Links, addresses and routes are few and change
 * rarely: a change of one leads to reading that table again, once for all changes that wait.
 * Neighbours change often and are followed one by one. What is lost (ENOBUFS) is read again.
 * Views are built and compared in dp_underlay_view.c.
 */
#include "dp_underlay.h"

#include "base_clock.h"
#include "dp_underlay_view.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A kernel with more neighbours than this on our ports keeps the rest to itself: they stay unresolved. */
#define NEIGHS_MAX 16384
/* Changes that may wait to be heard, in bytes. */
#define EVENTS_RCVBUF_BYTES (1 << 20)
/* A want that the kernel has not spoken of yet: it gives up after three seconds, by default. */
#define WANT_KEPT_NS (10 * BASE_NS_PER_S)
/* A router of ours that did not answer is tried again after so long: others may carry its packets meanwhile. */
#define DEAD_ROUTER_NS (10 * BASE_NS_PER_S)
#define DUMP_RETRIES 5
#define BUF_BYTES 32768

/* States in which the kernel itself would send to the neighbour's MAC. */
#define NUD_USABLE (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)

/* Which tables have to be read again. */
enum dirty {
	DIRTY_LINKS = 1,
	DIRTY_ADDRS = 2,
	DIRTY_ROUTES = 4,
	DIRTY_NEIGHS = 8,
	DIRTY_RULES = 16,
	DIRTY_ALL = 31,
};

struct device {
	uint32_t ifindex; /* 0: gone */
	bool is_up;
	struct view_port port;
	uint32_t told_room; /* bytes for inner packets that somebody was cautioned of; 0: nobody */
};

/* One neighbour as the kernel tells it, and what we want of it. */
struct neigh {
	uint16_t port;
	uint16_t nud; /* 0: not in the kernel */
	struct base_addr addr;
	uint8_t mac[DP_MAC_BYTES];
	bool is_wanted;
	uint64_t asked_ns;
};

struct dp_underlay {
	struct dp_underlay_config config;
	struct mnl_socket *events, *requests;
	uint32_t seq;
	unsigned dirty;
	uint64_t generation;
	unsigned n_rules; /* that choose another table than main */
	bool is_told_of_rules;

	struct device devices[DP_PORTS_MAX];
	struct view_addr *addrs;
	struct view_route *routes;
	struct neigh *neighs; /* sorted by port and address */
	size_t n_addrs, max_addrs, n_routes, max_routes, n_neighs, max_neighs;

	struct dp_underlay_view *last; /* a copy of what is published, to compare with */
	char buf[BUF_BYTES] __attribute__((aligned(8)));
};

/* --- arrays ----------------------------------------------------------------------------------- */

/* Room for one more of @size bytes. */
static int reserve(void **array, size_t n, size_t *max, size_t size)
{
	size_t bigger = *max ? 2 * *max : 16;
	void *grown;

	if (n < *max)
		return 0;
	grown = realloc(*array, bigger * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*max = bigger;
	return 0;
}

static int port_of(const struct dp_underlay *u, uint32_t ifindex)
{
	for (unsigned i = 0; i < u->config.n_devices; i++)
		if (ifindex != 0 && u->devices[i].ifindex == ifindex)
			return (int)i;
	return VIEW_PORT_OTHER;
}

/* The address in an attribute, family NONE if it is of another length than its family's. */
static struct base_addr attr_addr(const struct nlattr *attr, int af)
{
	enum base_family family = af == AF_INET ? BASE_FAMILY_V4 : BASE_FAMILY_V6;

	if (!attr || (af != AF_INET && af != AF_INET6) ||
		mnl_attr_get_payload_len(attr) != base_family_bytes(family))
		return (struct base_addr){0};
	return base_addr_from_bytes(family, mnl_attr_get_payload(attr));
}

static uint32_t attr_u32(const struct nlattr *attr, uint32_t otherwise)
{
	return attr && mnl_attr_get_payload_len(attr) >= 4 ? mnl_attr_get_u32(attr) : otherwise;
}

/* Attributes by type, those up to @max; later ones of a type win, unknown ones are passed over. */
static void index_attrs(
	const struct nlmsghdr *msg, size_t header_len, const struct nlattr **attrs, uint16_t max)
{
	const struct nlattr *attr;

	memset(attrs, 0, (max + 1u) * sizeof(*attrs));
	mnl_attr_for_each(attr, msg, header_len) if (mnl_attr_get_type(attr) <= max)
		attrs[mnl_attr_get_type(attr)] = attr;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* Is the last of an answer in here? */
static bool has_end(const void *buf, int len)
{
	for (const struct nlmsghdr *msg = buf; mnl_nlmsg_ok(msg, len);
		msg = mnl_nlmsg_next(msg, &len))
		if (msg->nlmsg_type == NLMSG_DONE || msg->nlmsg_type == NLMSG_ERROR)
			return true;
	return false;
}

/*
 * Send what is in u->buf and run @cb on every answer. -EINTR: what was read had changed meanwhile; the rest of the answer is read all
 * the same, for it would be taken for the next one's.
 */
static int transact(struct dp_underlay *u, struct nlmsghdr *msg, mnl_cb_t cb)
{
	unsigned portid = mnl_socket_get_portid(u->requests);
	bool is_interrupted = false;
	int rc;

	msg->nlmsg_seq = ++u->seq;
	if (mnl_socket_sendto(u->requests, msg, msg->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(u->requests, u->buf, sizeof(u->buf));

		if (n < 0)
			return -errno;
		rc = mnl_cb_run(u->buf, (size_t)n, u->seq, portid, cb, u);
		if (rc < 0 && errno == EINTR) {
			is_interrupted = true;
			rc = has_end(u->buf, (int)n) ? MNL_CB_STOP : MNL_CB_OK;
		}
	} while (rc > MNL_CB_STOP);
	if (rc < 0)
		return -errno;
	return is_interrupted ? -EINTR : 0;
}

static int on_link(const struct nlmsghdr *msg, void *ctx);
static int on_addr(const struct nlmsghdr *msg, void *ctx);
static int on_route(const struct nlmsghdr *msg, void *ctx);
static int on_neigh(const struct nlmsghdr *msg, void *ctx);

static int dump_once(struct dp_underlay *u, uint16_t type, mnl_cb_t cb)
{
	struct nlmsghdr *msg = mnl_nlmsg_put_header(u->buf);

	msg->nlmsg_type = type;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	/* Zero: every family, every interface. */
	mnl_nlmsg_put_extra_header(msg, sizeof(struct rtgenmsg));
	return transact(u, msg, cb);
}

static void forget(struct dp_underlay *u, enum dirty what)
{
	if (what == DIRTY_LINKS)
		for (unsigned i = 0; i < u->config.n_devices; i++)
			u->devices[i].ifindex = 0;
	else if (what == DIRTY_ADDRS)
		u->n_addrs = 0;
	else if (what == DIRTY_ROUTES)
		u->n_routes = 0;
	else if (what == DIRTY_RULES)
		u->n_rules = 0;
	else
		for (size_t i = 0; i < u->n_neighs; i++)
			u->neighs[i].nud = 0;
}

/* The kernel says EINTR when the table changed under the dump: once more, then. */
static int dump(struct dp_underlay *u, enum dirty what, uint16_t type, mnl_cb_t cb)
{
	int rc = -EINTR;

	if (!(u->dirty & what))
		return 0;
	for (unsigned i = 0; i < DUMP_RETRIES && rc == -EINTR; i++) {
		forget(u, what);
		rc = dump_once(u, type, cb);
	}
	/* What still changes will be heard of, and read again then. */
	if (rc == 0 || rc == -EINTR) {
		u->dirty &= ~(unsigned)what;
		return 0;
	}
	return rc;
}

/* --- links ------------------------------------------------------------------------------------ */

static int on_link(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *attrs[IFLA_LINK + 1];
	const struct ifinfomsg *link = mnl_nlmsg_get_payload(msg);
	struct dp_underlay *u = ctx;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*link))
		return MNL_CB_OK;
	index_attrs(msg, sizeof(*link), attrs, IFLA_LINK);
	for (unsigned i = 0; attrs[IFLA_IFNAME] && i < u->config.n_devices; i++) {
		struct device *device = &u->devices[i];
		const struct nlattr *mac = attrs[IFLA_ADDRESS];
		uint32_t mtu = attr_u32(attrs[IFLA_MTU], 1500);

		if (strcmp(mnl_attr_get_str(attrs[IFLA_IFNAME]), u->config.devices[i]) != 0)
			continue;
		/* Not Ethernet: as good as not there. */
		if (link->ifi_type != ARPHRD_ETHER || !mac ||
			mnl_attr_get_payload_len(mac) != DP_MAC_BYTES)
			continue;
		device->ifindex = (uint32_t)link->ifi_index;
		device->is_up = (link->ifi_flags & IFF_UP) && (link->ifi_flags & IFF_RUNNING);
		device->port.mtu_bytes = (uint16_t)(mtu < UINT16_MAX ? mtu : UINT16_MAX);
		memcpy(device->port.mac, mnl_attr_get_payload(mac), DP_MAC_BYTES);
	}
	return MNL_CB_OK;
}

/* Read the links, tell of ports that went up or down, and mark what hangs on an index that changed. */
static int refresh_links(struct dp_underlay *u)
{
	struct device before[DP_PORTS_MAX];
	int rc;

	memcpy(before, u->devices, sizeof(before));
	rc = dump(u, DIRTY_LINKS, RTM_GETLINK, on_link);
	for (unsigned i = 0; i < u->config.n_devices; i++) {
		struct device *device = &u->devices[i];

		if (device->ifindex == 0)
			*device = (struct device){.told_room = device->told_room};
		if (device->ifindex != before[i].ifindex)
			u->dirty |= DIRTY_ADDRS | DIRTY_ROUTES | DIRTY_NEIGHS;
		if (device->is_up != before[i].is_up && u->config.link)
			u->config.link(u->config.ctx, i, device->is_up);
	}
	return rc;
}

/* --- addresses -------------------------------------------------------------------------------- */

static int on_addr(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *attrs[IFA_FLAGS + 1];
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(msg);
	struct dp_underlay *u = ctx;
	struct view_addr *out;
	struct base_addr addr;
	uint32_t flags;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*ifa))
		return MNL_CB_OK;
	index_attrs(msg, sizeof(*ifa), attrs, IFA_FLAGS);
	flags = attr_u32(attrs[IFA_FLAGS], ifa->ifa_flags);
	/* IFA_LOCAL is ours where there is a peer's address as well. */
	addr = attr_addr(attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS], ifa->ifa_family);
	if (addr.family == BASE_FAMILY_NONE ||
		(flags & (IFA_F_TENTATIVE | IFA_F_OPTIMISTIC)) == IFA_F_TENTATIVE ||
		(flags & IFA_F_DADFAILED))
		return MNL_CB_OK;
	if (reserve((void **)&u->addrs, u->n_addrs, &u->max_addrs, sizeof(*u->addrs)) < 0) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	out = &u->addrs[u->n_addrs++];
	memset(out, 0, sizeof(*out));
	out->addr = addr;
	out->bits = ifa->ifa_prefixlen;
	/* IFA_F_TEMPORARY is the same bit as IFA_F_SECONDARY: neither is what a peer should learn. */
	out->is_usable = !(flags & (IFA_F_DEPRECATED | IFA_F_SECONDARY));
	out->is_global = ifa->ifa_scope < RT_SCOPE_LINK;
	out->port = (int16_t)port_of(u, ifa->ifa_index);
	return MNL_CB_OK;
}

/* --- routes ----------------------------------------------------------------------------------- */

/* One way to a destination. */
struct hop {
	uint32_t ifindex;
	struct base_addr gateway;
	bool is_dead;
};

static struct base_addr via_addr(const struct nlattr *attr)
{
	const struct rtvia *via = mnl_attr_get_payload(attr);
	size_t len = mnl_attr_get_payload_len(attr);

	if (len == sizeof(*via) + 4 && via->rtvia_family == AF_INET)
		return base_addr_from_bytes(BASE_FAMILY_V4, via->rtvia_addr);
	if (len == sizeof(*via) + 16 && via->rtvia_family == AF_INET6)
		return base_addr_from_bytes(BASE_FAMILY_V6, via->rtvia_addr);
	return (struct base_addr){0};
}

static uint16_t metrics_mtu(const struct nlattr *metrics)
{
	const struct nlattr *attr;
	uint32_t mtu = 0;

	if (!metrics)
		return 0;
	mnl_attr_for_each_nested(attr, metrics) if (mnl_attr_get_type(attr) == RTAX_MTU) mtu =
		attr_u32(attr, 0);
	return mtu <= UINT16_MAX ? (uint16_t)mtu : 0;
}

static int add_route(struct dp_underlay *u, const struct rtmsg *rtm, const struct nlattr **attrs,
	const struct hop *hop)
{
	struct view_route *out;

	if (hop->is_dead)
		return 0;
	if (reserve((void **)&u->routes, u->n_routes, &u->max_routes, sizeof(*u->routes)) < 0)
		return -ENOMEM;
	out = &u->routes[u->n_routes++];
	memset(out, 0, sizeof(*out));
	out->dst.addr = attr_addr(attrs[RTA_DST], rtm->rtm_family);
	out->dst.addr.family = rtm->rtm_family == AF_INET ? BASE_FAMILY_V4 : BASE_FAMILY_V6;
	out->dst.bits = rtm->rtm_dst_len;
	out->metric = attr_u32(attrs[RTA_PRIORITY], 0);
	out->mtu_bytes = metrics_mtu(attrs[RTA_METRICS]);
	out->prefsrc = attr_addr(attrs[RTA_PREFSRC], rtm->rtm_family);
	out->gateway = hop->gateway;
	out->port = rtm->rtm_type == RTN_UNICAST ? (int16_t)port_of(u, hop->ifindex)
						 : VIEW_PORT_NO_ROUTE;
	return 0;
}

static int add_multipath(
	struct dp_underlay *u, const struct rtmsg *rtm, const struct nlattr **attrs)
{
	const struct rtnexthop *nh = mnl_attr_get_payload(attrs[RTA_MULTIPATH]);
	size_t left = mnl_attr_get_payload_len(attrs[RTA_MULTIPATH]);
	int rc = 0;

	while (rc == 0 && left >= sizeof(*nh) && nh->rtnh_len >= sizeof(*nh) &&
		nh->rtnh_len <= left) {
		struct hop hop = {.ifindex = (uint32_t)nh->rtnh_ifindex,
			.is_dead = (nh->rtnh_flags & RTNH_F_DEAD) != 0};
		const struct nlattr *attr;
		size_t step = RTNH_ALIGN(nh->rtnh_len);

		mnl_attr_for_each_payload((const void *)(nh + 1), nh->rtnh_len - sizeof(*nh))
		{
			if (mnl_attr_get_type(attr) == RTA_GATEWAY)
				hop.gateway = attr_addr(attr, rtm->rtm_family);
			else if (mnl_attr_get_type(attr) == RTA_VIA)
				hop.gateway = via_addr(attr);
		}
		rc = add_route(u, rtm, attrs, &hop);
		if (step > left)
			break;
		left -= step;
		nh = (const struct rtnexthop *)((const char *)nh + step);
	}
	return rc;
}

/* Table main, and nothing that other things than the destination choose (TOS, source). */
static bool is_route_of_main(const struct rtmsg *rtm, const struct nlattr **attrs)
{
	return (rtm->rtm_family == AF_INET || rtm->rtm_family == AF_INET6) &&
		attr_u32(attrs[RTA_TABLE], rtm->rtm_table) == RT_TABLE_MAIN &&
		rtm->rtm_src_len == 0 && rtm->rtm_tos == 0 && !(rtm->rtm_flags & RTM_F_CLONED) &&
		rtm->rtm_type != RTN_MULTICAST && rtm->rtm_type != RTN_BROADCAST;
}

static int on_route(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *attrs[RTA_VIA + 1];
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(msg);
	struct dp_underlay *u = ctx;
	struct hop hop = {0};
	int rc;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*rtm))
		return MNL_CB_OK;
	index_attrs(msg, sizeof(*rtm), attrs, RTA_VIA);
	if (!is_route_of_main(rtm, attrs))
		return MNL_CB_OK;
	if (attrs[RTA_MULTIPATH]) {
		rc = add_multipath(u, rtm, attrs);
	} else {
		hop.ifindex = attr_u32(attrs[RTA_OIF], 0);
		hop.is_dead = (rtm->rtm_flags & RTNH_F_DEAD) != 0;
		hop.gateway = attrs[RTA_VIA] ? via_addr(attrs[RTA_VIA])
					     : attr_addr(attrs[RTA_GATEWAY], rtm->rtm_family);
		rc = add_route(u, rtm, attrs, &hop);
	}
	if (rc == 0)
		return MNL_CB_OK;
	errno = -rc;
	return MNL_CB_ERROR;
}

/* --- rules ------------------------------------------------------------------------------------ */

/* Every host has rules for the tables local, main and default, of which the last is empty by custom. */
static int on_rule(const struct nlmsghdr *msg, void *ctx)
{
	const struct nlattr *attrs[FRA_TABLE + 1];
	const struct fib_rule_hdr *rule = mnl_nlmsg_get_payload(msg);
	struct dp_underlay *u = ctx;
	uint32_t table;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*rule) ||
		(rule->family != AF_INET && rule->family != AF_INET6))
		return MNL_CB_OK;
	index_attrs(msg, sizeof(*rule), attrs, FRA_TABLE);
	table = attr_u32(attrs[FRA_TABLE], rule->table);
	u->n_rules += rule->action != FR_ACT_TO_TBL ||
		(table != RT_TABLE_LOCAL && table != RT_TABLE_MAIN && table != RT_TABLE_DEFAULT);
	return MNL_CB_OK;
}

/* --- neighbours ------------------------------------------------------------------------------- */

static int compare_neigh(const struct neigh *a, uint16_t port, const struct base_addr *addr)
{
	if (a->port != port)
		return (int)a->port - (int)port;
	if (a->addr.family != addr->family)
		return (int)a->addr.family - (int)addr->family;
	return memcmp(a->addr.bytes, addr->bytes, sizeof(addr->bytes));
}

/* The entry of a neighbour, made if it is not there; NULL when there is no more room. */
static struct neigh *get_neigh(struct dp_underlay *u, uint16_t port, const struct base_addr *addr)
{
	size_t low = 0, high = u->n_neighs;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_neigh(&u->neighs[middle], port, addr);

		if (order == 0)
			return &u->neighs[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (u->n_neighs == NEIGHS_MAX ||
		reserve((void **)&u->neighs, u->n_neighs, &u->max_neighs, sizeof(*u->neighs)) < 0)
		return NULL;
	memmove(&u->neighs[low + 1], &u->neighs[low], (u->n_neighs - low) * sizeof(*u->neighs));
	u->n_neighs++;
	u->neighs[low] = (struct neigh){.port = port, .addr = *addr};
	return &u->neighs[low];
}

static int ignore_answer(const struct nlmsghdr *msg, void *ctx)
{
	return MNL_CB_OK;
}

static bool is_asked_lately(const struct neigh *neigh, uint64_t now_ns, uint64_t within_ns)
{
	return neigh->asked_ns != 0 && now_ns - neigh->asked_ns < within_ns;
}

/* As if the kernel had a packet for it: makes the entry, probes one that is stale. */
static void ask_kernel(struct dp_underlay *u, struct neigh *neigh, uint64_t now_ns)
{
	const struct base_addr *addr = &neigh->addr;
	struct nlmsghdr *msg;
	struct ndmsg *ndm;

	if (u->devices[neigh->port].ifindex == 0)
		return;
	neigh->asked_ns = now_ns;
	neigh->is_wanted = true;
	msg = mnl_nlmsg_put_header(u->buf);
	msg->nlmsg_type = RTM_NEWNEIGH;
	msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE;
	ndm = mnl_nlmsg_put_extra_header(msg, sizeof(*ndm));
	ndm->ndm_family = addr->family == BASE_FAMILY_V4 ? AF_INET : AF_INET6;
	ndm->ndm_ifindex = (int)u->devices[neigh->port].ifindex;
	ndm->ndm_flags = NTF_USE;
	mnl_attr_put(msg, NDA_DST, base_family_bytes(addr->family), addr->bytes);
	/* A refusal shows as a neighbour that stays unresolved; it is asked for again. */
	(void)transact(u, msg, ignore_answer);
}

static void apply_neigh(struct dp_underlay *u, const struct nlmsghdr *msg)
{
	const struct nlattr *attrs[NDA_LLADDR + 1];
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(msg);
	struct base_addr addr;
	struct neigh *neigh;
	int port;

	if (mnl_nlmsg_get_payload_len(msg) < sizeof(*ndm))
		return;
	index_attrs(msg, sizeof(*ndm), attrs, NDA_LLADDR);
	addr = attr_addr(attrs[NDA_DST], ndm->ndm_family);
	port = port_of(u, (uint32_t)ndm->ndm_ifindex);
	if (addr.family == BASE_FAMILY_NONE || port < 0 || (ndm->ndm_flags & NTF_PROXY))
		return;
	neigh = get_neigh(u, (uint16_t)port, &addr);
	if (!neigh)
		return;
	neigh->nud = msg->nlmsg_type == RTM_DELNEIGH ? 0 : ndm->ndm_state;
	if (attrs[NDA_LLADDR] && mnl_attr_get_payload_len(attrs[NDA_LLADDR]) == DP_MAC_BYTES)
		memcpy(neigh->mac, mnl_attr_get_payload(attrs[NDA_LLADDR]), DP_MAC_BYTES);
	else
		neigh->nud &= ~(unsigned)NUD_USABLE; /* a MAC that is none */
	/* Nobody answers: it is wanted again when there is a packet for it again. */
	if (neigh->nud == 0 || (neigh->nud & NUD_FAILED))
		neigh->is_wanted = false;
}

static int on_neigh(const struct nlmsghdr *msg, void *ctx)
{
	apply_neigh(ctx, msg);
	return MNL_CB_OK;
}

/* Entries that neither the kernel nor a recent want speaks for. */
static void drop_dead_neighs(struct dp_underlay *u, uint64_t now_ns)
{
	size_t kept = 0;

	for (size_t i = 0; i < u->n_neighs; i++) {
		const struct neigh *neigh = &u->neighs[i];

		if (neigh->nud != 0 ||
			(neigh->asked_ns != 0 && now_ns - neigh->asked_ns < WANT_KEPT_NS))
			u->neighs[kept++] = *neigh;
	}
	u->n_neighs = kept;
}

/*
 * Gateways of our routes are wanted from the start, so that the first packet finds them; what is
 * wanted and stale is probed, or a machine that was replaced would stay in the table for ever.
 */
static void keep_neighs_alive(struct dp_underlay *u, uint64_t now_ns)
{
	for (size_t i = 0; i < u->n_routes; i++) {
		const struct view_route *route = &u->routes[i];
		struct neigh *neigh;

		if (route->port < 0 || route->gateway.family == BASE_FAMILY_NONE)
			continue;
		neigh = get_neigh(u, (uint16_t)route->port, &route->gateway);
		if (neigh && !neigh->is_wanted &&
			!is_asked_lately(neigh, now_ns,
				(neigh->nud & NUD_FAILED) ? DEAD_ROUTER_NS : BASE_NS_PER_S))
			ask_kernel(u, neigh, now_ns);
	}
	/* It is stale no more once it is asked for, so this ends. */
	for (size_t i = 0; i < u->n_neighs; i++)
		if (u->neighs[i].is_wanted && u->neighs[i].nud == NUD_STALE)
			ask_kernel(u, &u->neighs[i], now_ns);
}

/* --- views ------------------------------------------------------------------------------------ */

static struct dp_underlay_view *build_view(const struct dp_underlay *u)
{
	struct dp_underlay_view *view = dp_underlay_view_new(u->n_addrs, u->n_routes, u->n_neighs);

	if (!view)
		return NULL;
	for (unsigned i = 0; i < u->config.n_devices; i++)
		view->ports[i] = u->devices[i].port;
	if (u->n_addrs > 0)
		memcpy(view->addrs, u->addrs, u->n_addrs * sizeof(*u->addrs));
	if (u->n_routes > 0)
		memcpy(view->routes, u->routes, u->n_routes * sizeof(*u->routes));
	view->n_addrs = (uint32_t)u->n_addrs;
	view->n_routes = (uint32_t)u->n_routes;
	for (size_t i = 0; i < u->n_neighs; i++) {
		struct view_neigh *out = &view->neighs[view->n_neighs];

		if (!(u->neighs[i].nud & NUD_USABLE))
			continue;
		view->n_neighs++;
		out->addr = u->neighs[i].addr;
		out->port = u->neighs[i].port;
		memcpy(out->mac, u->neighs[i].mac, DP_MAC_BYTES);
	}
	dp_underlay_view_seal(view);
	return view;
}

/* Publish what differs from the last view. Without memory the old one stays. */
static int publish(struct dp_underlay *u)
{
	struct dp_underlay_view *view = build_view(u), *copy;

	if (!view)
		return -ENOMEM;
	if (u->last && dp_underlay_view_equal(view, u->last)) {
		dp_underlay_view_free(view);
		return 0;
	}
	copy = build_view(u);
	if (!copy) {
		dp_underlay_view_free(view);
		return -ENOMEM;
	}
	dp_underlay_view_free(u->last);
	u->last = copy;
	view->generation = ++u->generation;
	u->config.publish(u->config.ctx, view);
	return 0;
}

/* Read what is marked, in an order in which each knows the ports' indices. */
static int read_marked(struct dp_underlay *u)
{
	int rc = refresh_links(u);

	if (rc == 0)
		rc = dump(u, DIRTY_ADDRS, RTM_GETADDR, on_addr);
	if (rc == 0)
		rc = dump(u, DIRTY_ROUTES, RTM_GETROUTE, on_route);
	if (rc == 0)
		rc = dump(u, DIRTY_NEIGHS, RTM_GETNEIGH, on_neigh);
	/* A kernel built without policy routing refuses to speak of it. */
	if (rc == 0 && dump(u, DIRTY_RULES, RTM_GETRULE, on_rule) < 0)
		u->dirty &= ~(unsigned)DIRTY_RULES;
	return rc;
}

/* --- cautions --------------------------------------------------------------------------------- */

/* What encloses an inner packet: IP, UDP, header and tag of a data message. */
#define AROUND_INNER_V4 (20u + 8 + 32)
#define AROUND_INNER_V6 (40u + 8 + 32)

static void caution_mtu(struct dp_underlay *u, unsigned i)
{
	struct device *device = &u->devices[i];
	uint32_t around = AROUND_INNER_V4, mtu = device->port.mtu_bytes, room;
	char line[256];

	for (size_t a = 0; a < u->n_addrs; a++)
		if (u->addrs[a].port == (int)i && u->addrs[a].is_global &&
			u->addrs[a].addr.family == BASE_FAMILY_V6)
			around = AROUND_INNER_V6;
	room = mtu > around ? mtu - around : 0;
	if (room >= u->config.inner_mtu_bytes || room == device->told_room) {
		device->told_room = room < u->config.inner_mtu_bytes ? room : 0;
		return;
	}
	device->told_room = room;
	snprintf(line, sizeof(line),
		"port %s: its MTU of %u leaves %u bytes for inner packets over %s, and host.mtu is "
		"%u: larger ones that leave this way are dropped (too_large); set host.mtu: %u, or "
		"raise the port's",
		u->config.devices[i], mtu, room, around == AROUND_INNER_V6 ? "IPv6" : "IPv4",
		u->config.inner_mtu_bytes, room);
	u->config.caution(u->config.ctx, line);
}

static void tell_cautions(struct dp_underlay *u)
{
	if (!u->config.caution)
		return;
	for (unsigned i = 0; i < u->config.n_devices; i++)
		if (u->devices[i].ifindex != 0)
			caution_mtu(u, i);
	if (u->n_rules > 0 && !u->is_told_of_rules)
		u->config.caution(u->config.ctx,
			"policy routing rules (ip rule) are not followed: the tunnel's packets "
			"leave by "
			"table main");
	u->is_told_of_rules = u->n_rules > 0;
}

static int settle(struct dp_underlay *u, uint64_t now_ns)
{
	drop_dead_neighs(u, now_ns);
	keep_neighs_alive(u, now_ns);
	tell_cautions(u);
	return publish(u);
}

/* --- events ----------------------------------------------------------------------------------- */

static int on_event(const struct nlmsghdr *msg, void *ctx)
{
	struct dp_underlay *u = ctx;

	switch (msg->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		u->dirty |= DIRTY_LINKS;
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		u->dirty |= DIRTY_ADDRS;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		u->dirty |= DIRTY_ROUTES;
		break;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		u->dirty |= DIRTY_RULES;
		break;
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		apply_neigh(u, msg);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

/* How many messages one call takes; what is left keeps the descriptor readable. */
#define EVENTS_PER_SERVICE 256

void dp_underlay_service(struct dp_underlay *u, uint64_t now_ns)
{
	for (unsigned i = 0; i < EVENTS_PER_SERVICE; i++) {
		ssize_t n = mnl_socket_recvfrom(u->events, u->buf, sizeof(u->buf));

		if (n > 0) {
			mnl_cb_run(u->buf, (size_t)n, 0, 0, on_event, u);
			continue;
		}
		if (n == 0 || errno == EAGAIN)
			break;
		if (errno == ENOBUFS)
			u->dirty = DIRTY_ALL;
	}
	/* What cannot be read (no memory) stays marked for the next call; the last view stays true. */
	if (read_marked(u) == 0)
		(void)settle(u, now_ns);
}

void dp_underlay_want(
	struct dp_underlay *u, uint16_t port, const struct base_addr *gateway, uint64_t now_ns)
{
	struct neigh *neigh;

	if (port >= u->config.n_devices || base_family_bytes(gateway->family) == 0)
		return;
	neigh = get_neigh(u, port, gateway);
	if (neigh && !is_asked_lately(neigh, now_ns, BASE_NS_PER_S))
		ask_kernel(u, neigh, now_ns);
}

uint32_t dp_underlay_ifindex(const struct dp_underlay *u, unsigned device)
{
	return u->devices[device].ifindex;
}

bool dp_underlay_is_up(const struct dp_underlay *u, unsigned device)
{
	return u->devices[device].is_up;
}

int dp_underlay_fd(const struct dp_underlay *u)
{
	return mnl_socket_get_fd(u->events);
}

/* --- life ------------------------------------------------------------------------------------- */

static int open_sockets(struct dp_underlay *u)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
		RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NEIGH, RTNLGRP_IPV4_RULE,
		RTNLGRP_IPV6_RULE};
	int size = EVENTS_RCVBUF_BYTES;

	u->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	u->requests = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!u->events || !u->requests)
		return -errno;
	if (mnl_socket_bind(u->events, 0, MNL_SOCKET_AUTOPID) < 0 ||
		mnl_socket_bind(u->requests, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	/* Needs CAP_NET_ADMIN; without it losses are likelier, and read again. */
	(void)setsockopt(
		mnl_socket_get_fd(u->events), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	for (size_t i = 0; i < BASE_ARRAY_LEN(groups); i++) {
		int group = groups[i];

		if (mnl_socket_setsockopt(
			    u->events, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
			return -errno;
	}
	return 0;
}

static int start(struct dp_underlay *u, struct base_error *ret_error)
{
	int rc = open_sockets(u);

	/* So that a port which is down is told of, and not every one that is up. */
	for (unsigned i = 0; i < u->config.n_devices; i++)
		u->devices[i].is_up = true;
	if (rc == 0)
		rc = read_marked(u);
	for (unsigned i = 0; rc == 0 && i < u->config.n_devices; i++)
		if (u->devices[i].ifindex == 0)
			return base_error_set(ret_error, -ENODEV,
				"port %s: no such Ethernet interface; see: ip -br link",
				u->config.devices[i]);
	if (rc == 0)
		rc = settle(u, base_clock_now_ns());
	if (rc < 0)
		return base_error_set(
			ret_error, rc, "cannot read routes from the kernel: %s", strerror(-rc));
	return 0;
}

struct dp_underlay *dp_underlay_new(
	const struct dp_underlay_config *config, struct base_error *ret_error)
{
	struct dp_underlay *u = calloc(1, sizeof(*u));
	int rc;

	if (!u) {
		base_error_set(ret_error, -ENOMEM, "underlay: no memory");
		return NULL;
	}
	u->config = *config;
	u->dirty = DIRTY_ALL;
	rc = start(u, ret_error);
	if (rc < 0) {
		dp_underlay_free(u);
		errno = -rc;
		return NULL;
	}
	return u;
}

void dp_underlay_free(struct dp_underlay *u)
{
	if (!u)
		return;
	if (u->events)
		mnl_socket_close(u->events);
	if (u->requests)
		mnl_socket_close(u->requests);
	dp_underlay_view_free(u->last);
	free(u->addrs);
	free(u->routes);
	free(u->neighs);
	free(u);
}
