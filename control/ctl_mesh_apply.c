/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map's differences applied: to the tunnel's peers, the filter, the host interface, the controller's listeners.
 * A delta touches what it names; when something is refused because it is another's, everything is looked at
 * again as soon as that may have changed. Loop's thread. See ctl_mesh_object.h.
 */
#include "base_clock.h"
#include "base_log.h"
#include "ws_messages.h"
#include "ctl_mesh_object.h"

#include <stdlib.h>

BASE_LOG_CATEGORY("mesh");

#define CONFLICTS_BURST 20
#define ROUTES_MAX 1024
/* How far ahead the timer of keys looks at most. */
#define EXPIRY_LOOK_S 3600

static uint64_t unix_s(void)
{
	return base_clock_unix_ns() / BASE_NS_PER_S;
}

static struct base_prefix host_prefix(const struct base_addr *addr)
{
	return (struct base_prefix){*addr, (uint8_t)(8 * base_family_bytes(addr->family))};
}

/* --- what of a node is accepted ----------------------------------------------------------------- */

static void refuse(struct ctl_mesh *mesh, const struct coord_node *node,
	const struct base_prefix *prefix, const char *why)
{
	char text[BASE_PREFIX_TEXT_LEN];
	uint32_t held_back;

	mesh->n_conflicts++;
	if (base_log_allow(&mesh->conflicts, base_clock_now_ns(), CONFLICTS_BURST, &held_back))
		base_log_warn("%s of %s is left out: %s (%u more not shown)",
			base_prefix_print(text, prefix), node->name, why, held_back);
}

static bool is_own(const struct coord_node *node, const struct base_prefix *prefix)
{
	for (unsigned i = 0; i < node->n_addresses; i++)
		if (base_addr_equal(&node->addresses[i], &prefix->addr))
			return prefix->bits == 8 * base_family_bytes(prefix->addr.family);
	return false;
}

/* Does another node of the map, with a smaller id, offer the same route? */
static bool is_route_of_older(const struct coord_netmap *map, const struct coord_node *node,
	const struct base_prefix *route)
{
	const struct coord_node *other;

	for (size_t i = 0; (other = coord_netmap_peer(map, i)) && other->id < node->id; i++)
		for (unsigned j = 0; j < other->n_allowed_ips; j++)
			if (base_prefix_equal(&other->allowed_ips[j], route))
				return true;
	return false;
}

/* Is the prefix accepted for this node? */
static bool accepts(struct ctl_mesh *mesh, const struct coord_netmap *map,
	const struct coord_node *node, const struct base_prefix *prefix)
{
	if (ctl_tunnel_prefix_is_taken(mesh->tunnel, prefix)) {
		refuse(mesh, node, prefix, "a peer of the file or the API has it");
		return false;
	}
	if (is_own(node, prefix)) {
		if (coord_netmap_by_addr(map, &prefix->addr) == node)
			return true;
		refuse(mesh, node, prefix, "another node has it");
		return false;
	}
	if (!mesh->config->mesh.accept_routes || prefix->bits == 0)
		return false;
	if (!is_route_of_older(map, node, prefix))
		return true;
	refuse(mesh, node, prefix, "another node offers it too");
	return false;
}

static bool is_listed(const struct mesh_peer *peer, const struct base_prefix *prefix)
{
	for (unsigned i = 0; i < peer->n_prefixes; i++)
		if (base_prefix_equal(&peer->prefixes[i], prefix))
			return true;
	return false;
}

/* What the tunnel shall have of the node; NULL: nothing. */
static struct mesh_peer *peer_of_node(
	struct ctl_mesh *mesh, const struct coord_netmap *map, const struct coord_node *node)
{
	struct mesh_peer *peer;

	if (coord_node_is_expired(map, node, unix_s()) || node->is_jailed)
		return NULL;
	peer = malloc(sizeof(*peer) + node->n_allowed_ips * sizeof(struct base_prefix));
	if (!peer) {
		base_log_error("%s: out of memory", node->name);
		return NULL;
	}
	peer->key = node->node_key;
	peer->n_prefixes = 0;
	for (unsigned i = 0; i < node->n_allowed_ips; i++)
		if (!is_listed(peer, &node->allowed_ips[i]) &&
			accepts(mesh, map, node, &node->allowed_ips[i]))
			peer->prefixes[peer->n_prefixes++] = node->allowed_ips[i];
	return peer;
}

static bool peers_equal(const struct mesh_peer *a, const struct mesh_peer *b)
{
	if (!a || !b)
		return a == b;
	if (!cr_key_equal(&a->key, &b->key) || a->n_prefixes != b->n_prefixes)
		return false;
	for (unsigned i = 0; i < a->n_prefixes; i++)
		if (!base_prefix_equal(&a->prefixes[i], &b->prefixes[i]))
			return false;
	return true;
}

/* --- peers -------------------------------------------------------------------------------------- */

/* Nodes that change, and what the tunnel shall have of each then. */
struct batch {
	struct batch_entry {
		struct coord_node *node;
		struct mesh_peer *next; /* owned; NULL: nothing */
	} * entries;
	size_t n;
};

static void batch_fini(struct batch *batch)
{
	for (size_t i = 0; i < batch->n; i++)
		free(batch->entries[i].next);
	free(batch->entries);
}

static int batch_init(struct batch *batch, size_t n)
{
	*batch = (struct batch){.entries = calloc(n + 1, sizeof(*batch->entries))};
	return batch->entries ? 0 : -ENOMEM;
}

/* From what the tunnel has of the node to @next, which the batch owns from now on. */
static void batch_add(struct batch *batch, const struct coord_node *node, struct mesh_peer *next)
{
	if (peers_equal(node->user_data, next))
		free(next);
	else
		batch->entries[batch->n++] = (struct batch_entry){(struct coord_node *)node, next};
}

static struct dp_peer_config config_of(const struct coord_node *node, const struct mesh_peer *peer)
{
	struct dp_peer_config config = {
		.public_key = peer->key,
		.allowed_ips = peer->prefixes,
		.n_allowed_ips = peer->n_prefixes,
		.is_probed = !node->is_wireguard_only,
	};

	if (node->is_wireguard_only && node->n_endpoints > 0)
		config.endpoint = node->endpoints[0];
	return config;
}

/* What the tunnel has to do for these; arrays of @n, sets and removals apart. */
static struct dp_peers_change change_of(const struct batch_entry *entries, size_t n,
	struct dp_peer_config *set, struct cr_key *remove)
{
	struct dp_peers_change change = {.set = set, .remove = remove};

	for (size_t i = 0; i < n; i++) {
		const struct mesh_peer *now = entries[i].node->user_data, *next = entries[i].next;

		if (now && (!next || !cr_key_equal(&now->key, &next->key)))
			remove[change.n_remove++] = now->key;
		if (next)
			set[change.n_set++] = config_of(entries[i].node, next);
	}
	return change;
}

/* The tunnel follows for these, or nothing of them changes. */
static int commit(
	struct ctl_mesh *mesh, struct batch_entry *entries, size_t n, struct base_error *ret_error)
{
	struct dp_peer_config *set = calloc(n + 1, sizeof(*set));
	struct cr_key *remove = calloc(n + 1, sizeof(*remove));
	int rc = base_error_set(ret_error, -ENOMEM, "out of memory");

	if (set && remove) {
		struct dp_peers_change change = change_of(entries, n, set, remove);

		rc = dp_peers_change(ctl_tunnel_dp_to_change(mesh->tunnel), &change, ret_error);
	}
	for (size_t i = 0; rc == 0 && i < n; i++) {
		free(entries[i].node->user_data);
		entries[i].node->user_data = entries[i].next;
		entries[i].next = NULL;
	}
	free(set);
	free(remove);
	return rc;
}

/* One peer that the tunnel refuses must not keep ten thousand out: then each goes by itself. */
static void batch_commit(struct ctl_mesh *mesh, struct batch *batch)
{
	struct base_error err = {.text = ""};

	if (batch->n == 0 || commit(mesh, batch->entries, batch->n, &err) == 0)
		return;
	for (size_t i = 0; i < batch->n; i++)
		if (commit(mesh, &batch->entries[i], 1, &err) < 0)
			base_log_error(
				"%s is left out: %s", batch->entries[i].node->name, err.text);
}

/* Only where or whether it is online changed: the tunnel need not know. */
static bool is_news_for_others(const struct coord_netmap *map, const struct coord_diff_node *entry)
{
	return entry->change == COORD_NODE_CHANGED && !entry->has_new_addresses &&
		entry->node->user_data && !coord_node_is_expired(map, entry->node, unix_s());
}

static void follow_nodes(
	struct ctl_mesh *mesh, const struct coord_netmap *map, const struct coord_diff *diff)
{
	struct batch batch;

	if (batch_init(&batch, diff->n_nodes) < 0) {
		base_log_error("out of memory for %zu peers", diff->n_nodes);
		return;
	}
	for (size_t i = 0; i < diff->n_nodes; i++) {
		const struct coord_diff_node *entry = &diff->nodes[i];

		if (entry->change == COORD_NODE_REMOVED)
			batch_add(&batch, entry->node, NULL);
		else if (!is_news_for_others(map, entry))
			batch_add(&batch, entry->node, peer_of_node(mesh, map, entry->node));
	}
	batch_commit(mesh, &batch);
	batch_fini(&batch);
}

void mesh_review(struct ctl_mesh *mesh)
{
	const struct coord_netmap *map = coord_netmap_of(mesh->coord);
	size_t n = coord_netmap_n_peers(map);
	struct batch batch;

	if (batch_init(&batch, n) < 0)
		return;
	mesh->n_conflicts = 0;
	for (size_t i = 0; i < n; i++) {
		const struct coord_node *node = coord_netmap_peer(map, i);

		batch_add(&batch, node, peer_of_node(mesh, map, node));
	}
	batch_commit(mesh, &batch);
	batch_fini(&batch);
}

void mesh_forget_peers(struct ctl_mesh *mesh)
{
	const struct coord_netmap *map = coord_netmap_of(mesh->coord);

	for (size_t i = 0; i < coord_netmap_n_peers(map); i++) {
		struct coord_node *node = (struct coord_node *)coord_netmap_peer(map, i);

		free(node->user_data);
		node->user_data = NULL;
	}
}

/* --- the filter --------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct coord_rule_dst) == sizeof(struct dp_filter_dst) &&
		offsetof(struct coord_rule_dst, port_first) ==
			offsetof(struct dp_filter_dst, port_first),
	"destinations of both are laid out alike");

/* The map's rules behind those of the file. Before there are any the file's stand alone: default deny. */
static void follow_rules(struct ctl_mesh *mesh, const struct coord_netmap *map)
{
	size_t n;
	const struct coord_rule *rules = coord_netmap_rules(map, &n);
	struct dp_filter_rule *list = calloc(n + 1, sizeof(*list));
	struct base_error err;
	size_t n_list = 0;

	if (!list) {
		base_log_error("out of memory for the filter: the one before stays");
		return;
	}
	for (size_t i = 0; rules && i < n; i++) {
		const struct coord_rule *rule = &rules[i];

		if (rule->is_for_no_proto)
			continue;
		list[n_list++] = (struct dp_filter_rule){rule->srcs, rule->n_srcs,
			(const struct dp_filter_dst *)rule->dsts, rule->n_dsts, rule->protos,
			rule->n_protos};
	}
	if (ctl_tunnel_set_mesh_rules(mesh->tunnel, list, n_list, &err) < 0)
		base_log_error("filter: %s; the one before stays", err.text);
	else
		base_log_info("filter: %zu rule(s) of the mesh", n_list);
	free(list);
}

/* --- the host interface -------------------------------------------------------------------------- */

struct host {
	struct base_prefix addrs[DP_HOST_ADDRS_MAX], offers[COORD_ROUTES_MAX], routes[ROUTES_MAX];
	size_t n_addrs, n_offers, n_routes;
};

static void add_route(struct host *host, const struct base_prefix *route)
{
	for (size_t i = 0; i < host->n_routes; i++)
		if (base_prefix_equal(&host->routes[i], route))
			return;
	if (host->n_routes < ROUTES_MAX)
		host->routes[host->n_routes++] = *route;
}

/* The mesh's own range of the address's family; an address outside of it has no range. */
static void add_range(struct host *host, const struct base_addr *addr)
{
	static const char *const ranges[] = {"100.64.0.0/10", "fd7a:115c:a1e0::/48"};
	struct base_prefix range;

	for (size_t i = 0; i < BASE_ARRAY_LEN(ranges); i++)
		if (base_prefix_parse(&range, ranges[i], true) == 0 &&
			base_prefix_contains(&range, addr))
			add_route(host, &range);
}

static void fill_host(
	struct host *host, const struct ctl_mesh *mesh, const struct coord_netmap *map)
{
	const struct coord_node *self = coord_netmap_self(map);

	for (unsigned i = 0; i < self->n_addresses && host->n_addrs < DP_HOST_ADDRS_MAX; i++) {
		host->addrs[host->n_addrs++] = host_prefix(&self->addresses[i]);
		add_range(host, &self->addresses[i]);
	}
	/* What we offer, approved or not: who may use it is the server's to say, by routes to others and by the filter. */
	for (size_t i = 0; i < mesh->config->mesh.n_advertise_routes; i++)
		host->offers[host->n_offers++] = mesh->config->mesh.advertise_routes[i];
	if (!mesh->config->mesh.accept_routes)
		return;
	for (size_t i = 0; i < coord_netmap_n_peers(map); i++) {
		const struct coord_node *node = coord_netmap_peer(map, i);
		const struct mesh_peer *peer = node->user_data;

		for (unsigned j = 0; peer && j < peer->n_prefixes; j++)
			if (!is_own(node, &peer->prefixes[j]))
				add_route(host, &peer->prefixes[j]);
	}
}

static void log_self(const struct coord_node *self)
{
	char text[4 * BASE_ADDR_TEXT_LEN] = "", addr[BASE_ADDR_TEXT_LEN];

	for (unsigned i = 0; i < self->n_addresses && i < 4; i++) {
		strcat(text, i ? ", " : "");
		strcat(text, base_addr_print(addr, &self->addresses[i]));
	}
	base_log_info("this node is %s, %s", self->name, text);
}

/* The controller listens where the node's addresses are, and nowhere else. */
static void follow_listeners(struct ctl_mesh *mesh, const struct host *host)
{
	struct base_error err;

	for (unsigned i = 0; i < mesh->n_listeners; i++)
		ctl_controller_unlisten(mesh->controller, &mesh->listeners[i]);
	mesh->n_listeners = 0;
	for (size_t i = 0; i < host->n_addrs && mesh->n_listeners < MESH_LISTENERS_MAX; i++) {
		struct base_endpoint *listener = &mesh->listeners[mesh->n_listeners];
		char text[BASE_ENDPOINT_TEXT_LEN];

		*listener = (struct base_endpoint){host->addrs[i].addr, WS_DEFAULT_PORT};
		if (ctl_controller_listen(mesh->controller, listener, &err) < 0) {
			base_log_error("%s", err.text);
			continue;
		}
		mesh->n_listeners++;
		base_log_info(
			"controller: ws://%s/ws, on the mesh", base_endpoint_print(text, listener));
	}
}

static void follow_resolver(struct ctl_mesh *mesh, const struct host *host)
{
	struct base_addr addrs[CTL_DNS_ADDRS_MAX];
	struct base_error err;
	size_t n = 0;

	if (!mesh->dns)
		return;
	while (n < host->n_addrs && n < CTL_DNS_ADDRS_MAX) {
		addrs[n] = host->addrs[n].addr;
		n++;
	}
	if (ctl_dns_listen(mesh->dns, addrs, n, CTL_DNS_PORT, &err) < 0)
		base_log_error("%s", err.text);
	else
		base_log_info("resolver: port 53 of this node's addresses, for its own programs");
}

static bool addresses_are_same(const struct ctl_mesh *mesh, const struct host *host)
{
	const struct dp_config *dp = &mesh->config->dp;

	if (!mesh->has_host || dp->n_host_addrs != host->n_addrs)
		return false;
	for (size_t i = 0; i < host->n_addrs; i++)
		if (!base_prefix_equal(&dp->host_addrs[i], &host->addrs[i]))
			return false;
	return true;
}

static void follow_host(struct ctl_mesh *mesh, const struct coord_netmap *map)
{
	struct host *host = calloc(1, sizeof(*host));
	const struct coord_node *self = coord_netmap_self(map);
	struct dp_config *dp = &mesh->config->dp;
	struct base_error err;

	if (!host || !self) {
		free(host);
		return;
	}
	fill_host(host, mesh, map);
	if (dp_host_set(ctl_tunnel_dp_to_change(mesh->tunnel),
		    &(struct dp_host_set){host->addrs, host->n_addrs, host->routes, host->n_routes,
			    host->offers, host->n_offers},
		    &err) < 0) {
		base_log_error("interface %s: %s", dp->host_device, err.text);
	} else if (!addresses_are_same(mesh, host)) {
		dp->n_host_addrs = (unsigned)host->n_addrs;
		memcpy(dp->host_addrs, host->addrs, sizeof(dp->host_addrs));
		mesh->has_host = true;
		log_self(self);
		follow_listeners(mesh, host);
		follow_resolver(mesh, host);
	}
	free(host);
}

/* --- all of it ----------------------------------------------------------------------------------- */

static void on_expiry(uv_timer_t *timer);

/* A key that is over by itself, ours or a peer's: nobody tells. */
static void arm_expiry(struct ctl_mesh *mesh)
{
	uint64_t now_s = unix_s();
	uint64_t next_s = coord_netmap_next_expiry_s(coord_netmap_of(mesh->coord), now_s);
	uint64_t wait_s = EXPIRY_LOOK_S;

	if (next_s == UINT64_MAX)
		return;
	if (next_s < now_s + wait_s)
		wait_s = next_s > now_s ? next_s - now_s : 1;
	uv_timer_start(mesh->expiry_timer, on_expiry, 1000 * wait_s, 0);
}

static void on_expiry(uv_timer_t *timer)
{
	struct ctl_mesh *mesh = timer->data;

	mesh_review(mesh);
	arm_expiry(mesh);
}

static void tell_nodes(struct ctl_mesh *mesh, const struct coord_diff *diff)
{
	for (size_t i = 0; i < diff->n_nodes; i++)
		if (diff->nodes[i].change == COORD_NODE_REMOVED)
			ctl_controller_release(mesh->controller, diff->nodes[i].node->id);
	for (size_t i = 0; mesh->host.node && i < diff->n_nodes; i++)
		mesh->host.node(mesh->host_ctx, diff->nodes[i].change, diff->nodes[i].node);
}

/* Does the difference touch anything but who is online and where? */
static bool changes_routes(const struct coord_diff *diff)
{
	for (size_t i = 0; i < diff->n_nodes; i++)
		if (diff->nodes[i].change != COORD_NODE_CHANGED || diff->nodes[i].has_new_addresses)
			return true;
	return diff->has_self;
}

void mesh_apply(
	struct ctl_mesh *mesh, const struct coord_netmap *map, const struct coord_diff *diff)
{
	size_t n_conflicts = mesh->n_conflicts;

	follow_nodes(mesh, map, diff);
	/* Whoever was in the way may have gone. */
	if (n_conflicts > 0 && changes_routes(diff))
		mesh_review(mesh);
	if (diff->has_rules || diff->is_first)
		follow_rules(mesh, map);
	if (diff->has_self || (mesh->config->mesh.accept_routes && changes_routes(diff)))
		follow_host(mesh, map);
	if (diff->n_nodes > 0)
		arm_expiry(mesh);
	tell_nodes(mesh, diff);
}
