/* SPDX-License-Identifier: BSD-3-Clause */
/* See dp_nets.h. */
#include "dp_nets.h"

#include "dp_dataplane.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static unsigned family_bits(const struct base_prefix *prefix)
{
	return 8 * base_family_bytes((enum base_family)prefix->addr.family);
}

static bool is_within(const struct base_prefix *prefix, const struct base_prefix *larger)
{
	return larger->bits <= prefix->bits && base_prefix_contains(larger, &prefix->addr);
}

static struct base_prefix without_host_bits(struct base_prefix prefix)
{
	for (unsigned bit = prefix.bits; bit < 8 * sizeof(prefix.addr.bytes); bit++)
		prefix.addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return prefix;
}

/* --- a value ----------------------------------------------------------------------------------- */

static int copy(struct base_prefix **ret_copy, const struct base_prefix *prefixes, size_t n)
{
	*ret_copy = calloc(n + 1, sizeof(**ret_copy));
	if (!*ret_copy)
		return -ENOMEM;
	if (n)
		memcpy(*ret_copy, prefixes, n * sizeof(**ret_copy));
	return 0;
}

void dp_nets_fini(struct dp_nets *nets)
{
	free(nets->locals);
	free(nets->addrs);
	free(nets->routes);
	free(nets->offers);
	*nets = (struct dp_nets){0};
}

static int nets_new(struct dp_nets *nets, const struct dp_host_set *set)
{
	*nets = (struct dp_nets){.n_addrs = set->n_addrs,
		.n_routes = set->n_routes,
		.n_offers = set->n_offers,
		.routes = calloc(set->n_routes + 1, sizeof(*nets->routes)),
		.locals = calloc(set->n_addrs + set->n_offers + 1, sizeof(*nets->locals))};
	if (!nets->routes || !nets->locals || copy(&nets->addrs, set->addrs, set->n_addrs) < 0 ||
		copy(&nets->offers, set->offers, set->n_offers) < 0) {
		dp_nets_fini(nets);
		return -ENOMEM;
	}
	for (size_t i = 0; i < set->n_routes; i++)
		nets->routes[i].prefix = set->routes[i];
	/* Our addresses themselves, not the networks that they are in. */
	for (size_t i = 0; i < set->n_addrs; i++) {
		nets->locals[nets->n_locals] = set->addrs[i];
		nets->locals[nets->n_locals++].bits = (uint8_t)family_bits(&set->addrs[i]);
	}
	for (size_t i = 0; i < set->n_offers; i++)
		nets->locals[nets->n_locals++] = set->offers[i];
	return 0;
}

int dp_nets_init(struct dp_nets *nets, const struct dp_config *config)
{
	return nets_new(nets,
		&(struct dp_host_set){
			.addrs = config->host_addrs, .n_addrs = config->n_host_addrs});
}

/* --- checks ------------------------------------------------------------------------------------ */

static int check_addrs(const struct dp_host_set *set, struct base_error *ret_error)
{
	char text[BASE_PREFIX_TEXT_LEN];

	if (set->n_addrs > DP_HOST_ADDRS_MAX)
		return base_error_set(ret_error, -EINVAL, "host addresses: at most %d, not %zu",
			DP_HOST_ADDRS_MAX, set->n_addrs);
	for (size_t i = 0; i < set->n_addrs; i++) {
		const struct base_prefix *addr = &set->addrs[i];

		if (family_bits(addr) == 0 || addr->bits > family_bits(addr))
			return base_error_set(ret_error, -EINVAL, "host address %zu is none", i);
		for (size_t j = 0; j < i; j++) {
			if (base_addr_equal(&addr->addr, &set->addrs[j].addr))
				return base_error_set(ret_error, -EINVAL,
					"host address %s stands there twice",
					base_prefix_print(text, addr));
		}
	}
	return 0;
}

/* A default route would carry off the outer packets as well; behind a default prefix is everybody. */
static int check_prefixes(const char *what, const struct base_prefix *prefixes, size_t n,
	struct base_error *ret_error)
{
	char text[BASE_PREFIX_TEXT_LEN];

	for (size_t i = 0; i < n; i++) {
		struct base_prefix bare = without_host_bits(prefixes[i]);

		if (family_bits(&bare) == 0 || bare.bits > family_bits(&bare) ||
			!base_prefix_equal(&bare, &prefixes[i]))
			return base_error_set(ret_error, -EINVAL,
				"%s %s is no prefix, or has host bits", what,
				base_prefix_print(text, &prefixes[i]));
		if (bare.bits == 0)
			return base_error_set(ret_error, -EINVAL, "%s %s: the whole Internet", what,
				base_prefix_print(text, &prefixes[i]));
	}
	return 0;
}

/* --- the kernel's routes ----------------------------------------------------------------------- */

/* Does one of these routes, or that of an address, lead there as well? */
static bool is_covered(const struct dp_nets *nets, const struct base_prefix *prefix)
{
	for (size_t i = 0; i < nets->n_addrs; i++) {
		struct base_prefix net = without_host_bits(nets->addrs[i]);

		if (is_within(prefix, &net))
			return true;
	}
	for (size_t i = 0; i < nets->n_routes; i++) {
		if (nets->routes[i].is_ours && is_within(prefix, &nets->routes[i].prefix))
			return true;
	}
	return false;
}

static bool is_peers(const struct dp *dp, const struct base_prefix *prefix)
{
	return wg_allowedips_exact(dp->tables.allowed_ips, prefix) != WG_PEER_NONE;
}

void dp_nets_peer_add(struct dp *dp, const struct base_prefix *prefix)
{
	if (dp->host && !is_covered(&dp->nets, prefix))
		(void)dp_host_route_add(dp->host, prefix);
}

void dp_nets_peer_remove(struct dp *dp, const struct base_prefix *prefix)
{
	if (dp->host && !is_covered(&dp->nets, prefix))
		(void)dp_host_route_remove(dp->host, prefix);
}

static void tell_taken(struct dp *dp, const struct base_prefix *prefix, int error)
{
	char line[192], text[BASE_PREFIX_TEXT_LEN];

	snprintf(line, sizeof(line), "host interface %s: no route to %s over it: %s",
		dp->config.host_device, base_prefix_print(text, prefix),
		error == -EEXIST ? "the host has one of its own, which stays" : strerror(-error));
	dp_caution(dp, line);
}

static const struct dp_net_route *find_route(
	const struct dp_nets *nets, const struct base_prefix *prefix)
{
	for (size_t i = 0; i < nets->n_routes; i++) {
		if (base_prefix_equal(&nets->routes[i].prefix, prefix))
			return &nets->routes[i];
	}
	return NULL;
}

/* @old: what was there so far; a route of it, or of a peer, is ours already. */
static void add_routes(struct dp *dp, const struct dp_nets *old)
{
	for (size_t i = 0; i < dp->nets.n_routes; i++) {
		struct dp_net_route *route = &dp->nets.routes[i];
		const struct dp_net_route *before = find_route(old, &route->prefix);
		bool is_known = before
			? before->is_ours
			: is_peers(dp, &route->prefix) && !is_covered(old, &route->prefix);
		int error = dp_host_route_add(dp->host, &route->prefix);

		route->is_ours = error == 0 || (is_known && error == -EEXIST);
		if (error && !route->is_ours && !before)
			tell_taken(dp, &route->prefix, error);
	}
}

static void remove_routes(struct dp *dp, const struct dp_nets *old)
{
	for (size_t i = 0; i < old->n_routes; i++) {
		const struct base_prefix *prefix = &old->routes[i].prefix;

		if (old->routes[i].is_ours && !find_route(&dp->nets, prefix) &&
			(!is_peers(dp, prefix) || is_covered(&dp->nets, prefix)))
			(void)dp_host_route_remove(dp->host, prefix);
	}
}

/* Peers' own routes, where whether they are needed has changed. */
static void adapt_peers(struct dp *dp, const struct dp_nets *old)
{
	for (uint32_t n = 0; n < dp->peers.n_numbers; n++) {
		const struct dp_peer *peer = dp->peers.by_number[n];

		for (size_t i = 0; peer && i < peer->n_prefixes; i++) {
			const struct base_prefix *prefix = &peer->prefixes[i];
			bool was = is_covered(old, prefix), is = is_covered(&dp->nets, prefix);

			if (was && !is)
				(void)dp_host_route_add(dp->host, prefix);
			else if (is && !was && !find_route(&dp->nets, prefix))
				(void)dp_host_route_remove(dp->host, prefix);
		}
	}
}

void dp_nets_restore(struct dp *dp)
{
	add_routes(dp, &dp->nets);
	for (uint32_t n = 0; n < dp->peers.n_numbers; n++) {
		const struct dp_peer *peer = dp->peers.by_number[n];

		for (size_t i = 0; peer && i < peer->n_prefixes; i++)
			dp_nets_peer_add(dp, &peer->prefixes[i]);
	}
}

/* --- forwarding -------------------------------------------------------------------------------- */

enum lack {
	LACK_FORWARD4 = 1,
	LACK_FORWARD6 = 2,
	LACK_LOOSE_RETURN = 4, /* strict reverse path filter */
};

/* A number of /proc/sys/net; -1 where the kernel has none such. */
static int setting(const char *family, const char *device, const char *name)
{
	char path[128], value[16];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", family, device, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, value, sizeof(value) - 1);
		close(fd);
	}
	if (n <= 0)
		return -1;
	value[n] = '\0';
	return (int)strtol(value, NULL, 10);
}

static unsigned find_lacks(const struct dp *dp)
{
	const char *device = dp->config.host_device;
	bool has4 = false, has6 = false;
	unsigned lacks = 0;

	for (size_t i = 0; i < dp->nets.n_offers; i++) {
		has4 |= dp->nets.offers[i].addr.family == BASE_FAMILY_V4;
		has6 |= dp->nets.offers[i].addr.family == BASE_FAMILY_V6;
	}
	if (has4 && setting("ipv4", device, "forwarding") == 0)
		lacks |= LACK_FORWARD4;
	if (has6 && setting("ipv6", "all", "forwarding") == 0)
		lacks |= LACK_FORWARD6;
	/* The stricter of the two counts (ip-sysctl), but 2 is the looser. */
	if (has4 &&
		RTE_MAX(setting("ipv4", "all", "rp_filter"),
			setting("ipv4", device, "rp_filter")) == 1)
		lacks |= LACK_LOOSE_RETURN;
	return lacks;
}

static void tell_lacks(struct dp *dp)
{
	unsigned lacks = find_lacks(dp), news = lacks & ~dp->nets.lacks_told;
	char line[256];

	dp->nets.lacks_told = lacks;
	if (news & LACK_FORWARD4)
		dp_caution(dp,
			"IPv4 prefixes behind this gateway are offered, but the kernel does not "
			"forward: sysctl -w net.ipv4.ip_forward=1");
	if (news & LACK_FORWARD6)
		dp_caution(dp,
			"IPv6 prefixes behind this gateway are offered, but the kernel does not "
			"forward: sysctl -w net.ipv6.conf.all.forwarding=1 (and accept_ra=2 on an "
			"interface that learns its routes from routers)");
	if (!(news & LACK_LOOSE_RETURN))
		return;
	snprintf(line, sizeof(line),
		"the kernel's reverse path filter is strict (net.ipv4.conf.%s.rp_filter=1): of "
		"peers whose way back is not by %s it forwards nothing; sysctl -w "
		"net.ipv4.conf.%s.rp_filter=2",
		dp->config.host_device, dp->config.host_device, dp->config.host_device);
	dp_caution(dp, line);
}

/* --- changing ---------------------------------------------------------------------------------- */

static int apply(struct dp *dp, const struct dp_nets *old, struct base_error *ret_error)
{
	struct in_filter *filter = dp_filter_compile(dp, &dp->filter, ret_error);
	int error = filter ? 0 : -errno;

	if (filter && dp->host)
		error = dp_host_addrs_set(
			dp->host, dp->nets.addrs, (unsigned)dp->nets.n_addrs, ret_error);
	if (error) {
		in_filter_free(filter);
		return error;
	}
	dp_tables_publish_filter(&dp->tables, dp->rcu, filter);
	if (!dp->host)
		return 0;
	add_routes(dp, old);
	adapt_peers(dp, old);
	remove_routes(dp, old);
	/* With the last address of a family the kernel forgets its routes; those that are there are refused. */
	dp_nets_restore(dp);
	tell_lacks(dp);
	return 0;
}

int dp_host_set(struct dp *dp, const struct dp_host_set *set, struct base_error *ret_error)
{
	struct dp_nets fresh, old = dp->nets;
	int error = check_addrs(set, ret_error);

	if (!error)
		error = check_prefixes("route", set->routes, set->n_routes, ret_error);
	if (!error)
		error = check_prefixes("offer", set->offers, set->n_offers, ret_error);
	if (error)
		return error;
	if (nets_new(&fresh, set) < 0)
		return base_error_set(ret_error, -ENOMEM, "no memory for the host's networks");
	fresh.lacks_told = old.lacks_told;
	dp->nets = fresh;
	error = apply(dp, &old, ret_error);
	if (error)
		dp->nets = old;
	dp_nets_fini(error ? &fresh : &old);
	return error;
}
