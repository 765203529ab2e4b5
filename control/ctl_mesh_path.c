/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between coord_path, which decides, and the tunnel, which sends: probes both ways, paths into the dataplane, the timer of
 * deadlines; and which endpoints we tell the server. Loop's thread. See ctl_mesh_object.h.
 */
#include "base_clock.h"
#include "base_log.h"
#include "ctl_mesh_object.h"

#include <stdlib.h>

BASE_LOG_CATEGORY("mesh");

#define PATH_NEWS_BURST 50

/* --- timers ------------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

uv_timer_t *mesh_timer_new(struct ctl_mesh *mesh)
{
	uv_timer_t *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	uv_timer_init(mesh->loop, timer);
	timer->data = mesh;
	return timer;
}

void mesh_timer_free(uv_timer_t *timer)
{
	if (!timer)
		return;
	timer->data = NULL;
	uv_close((uv_handle_t *)timer, on_closed);
}

static void on_due(uv_timer_t *timer)
{
	struct ctl_mesh *mesh = timer->data;

	coord_paths_tick(mesh->paths, base_clock_now_ns());
	mesh_arm(mesh);
}

void mesh_arm(struct ctl_mesh *mesh)
{
	uint64_t next_ns = coord_paths_next_ns(mesh->paths), now_ns = base_clock_now_ns();
	uint64_t wait_ms =
		next_ns > now_ns ? (next_ns - now_ns + BASE_NS_PER_MS - 1) / BASE_NS_PER_MS : 0;

	if (next_ns == BASE_NEVER_NS)
		uv_timer_stop(mesh->path_timer);
	else
		uv_timer_start(mesh->path_timer, on_due, wait_ms, 0);
}

/* --- what paths want ---------------------------------------------------------------------------- */

static void path_send(void *ctx, const struct base_endpoint *to, const void *datagram, size_t len)
{
	struct ctl_mesh *mesh = ctx;

	int rc = dp_probe_send(ctl_tunnel_dp_to_change(mesh->tunnel), to, NULL, datagram, len);

	/* Lost is lost: a ping is repeated. */
	if (rc < 0)
		base_log_debug("a probe was not sent: %s", strerror(-rc));
}

static void log_path(struct ctl_mesh *mesh, const struct coord_node *node,
	enum coord_path_kind kind, const struct base_endpoint *to, uint32_t rtt_us)
{
	char text[BASE_ENDPOINT_TEXT_LEN], label[64];
	uint32_t held_back;

	if (!base_log_allow(&mesh->news, base_clock_now_ns(), PATH_NEWS_BURST, &held_back))
		return;
	if (kind == COORD_PATH_DIRECT)
		base_log_info("%s: direct, %s, %u.%03u ms", coord_node_label(label, node),
			base_endpoint_print(text, to), rtt_us / 1000, rtt_us % 1000);
	else
		base_log_info("%s: no path", coord_node_label(label, node));
}

static void path_decided(void *ctx, const struct cr_key *node_key, enum coord_path_kind kind,
	const struct base_endpoint *to, uint32_t rtt_us)
{
	struct ctl_mesh *mesh = ctx;
	const struct coord_node *node = coord_netmap_by_key(coord_netmap_of(mesh->coord), node_key);
	struct dp_way way = {0};
	struct coord_path_status status;

	if (kind == COORD_PATH_DIRECT)
		way.direct = *to;
	if (dp_peer_path(ctl_tunnel_dp_to_change(mesh->tunnel), node_key, &way) < 0)
		base_log_debug("a path for a peer that the tunnel does not have");
	if (!node)
		return;
	log_path(mesh, node, kind, to, rtt_us);
	status = ctl_mesh_path(mesh, node);
	if (mesh->host.path)
		mesh->host.path(mesh->host_ctx, node, &status);
}

static uint64_t path_last_sent_ns(void *ctx, const struct cr_key *node_key)
{
	struct ctl_mesh *mesh = ctx;
	struct dp_peer_status status;

	if (dp_peer_status(ctl_tunnel_dp(mesh->tunnel), node_key, &status) < 0)
		return 0;
	return status.last_tx_ns;
}

const struct coord_path_host mesh_path_host = {
	.send = path_send, .path = path_decided, .last_sent_ns = path_last_sent_ns};

void mesh_follow_paths(struct ctl_mesh *mesh, const struct coord_diff *diff)
{
	uint64_t now_ns = base_clock_now_ns();

	for (size_t i = 0; i < diff->n_nodes; i++) {
		const struct coord_diff_node *entry = &diff->nodes[i];
		const struct coord_node *node = entry->node;

		if (entry->change == COORD_NODE_REMOVED || entry->change == COORD_NODE_REKEYED)
			coord_paths_peer_remove(mesh->paths, &entry->old_node_key);
		if (entry->change == COORD_NODE_REMOVED)
			continue;
		if (coord_paths_peer_set(mesh->paths, &node->node_key, &node->disco_key,
			    node->endpoints, node->n_endpoints, now_ns) < 0)
			base_log_error("%s: out of memory for its endpoints", node->name);
	}
	mesh_arm(mesh);
}

/* --- what the tunnel sees ----------------------------------------------------------------------- */

static void on_probe(void *ctx, const struct base_endpoint *from, const struct base_endpoint *to,
	const void *datagram, size_t len)
{
	struct ctl_mesh *mesh = ctx;

	coord_paths_input(mesh->paths, from, datagram, len, base_clock_now_ns());
	mesh_arm(mesh);
}

static void on_wanted(void *ctx, const struct cr_key *public_key, const struct base_endpoint *from)
{
	struct ctl_mesh *mesh = ctx;

	coord_paths_wanted(
		mesh->paths, public_key, from->addr.family ? from : NULL, base_clock_now_ns());
	mesh_arm(mesh);
}

static void on_addresses(void *ctx)
{
	struct ctl_mesh *mesh = ctx;

	mesh_tell_endpoints(mesh);
	coord_paths_network_changed(mesh->paths, base_clock_now_ns());
	mesh_arm(mesh);
}

static const char *name_of(void *ctx, const struct cr_key *public_key)
{
	struct ctl_mesh *mesh = ctx;
	const struct coord_node *node =
		coord_netmap_by_key(coord_netmap_of(mesh->coord), public_key);

	return node ? node->name : NULL;
}

static bool key_of(void *ctx, const char *name, struct cr_key *ret_public_key)
{
	struct ctl_mesh *mesh = ctx;
	const struct coord_node *node = coord_netmap_by_name(coord_netmap_of(mesh->coord), name);

	if (!node || !node->user_data)
		return false;
	*ret_public_key = node->node_key;
	return true;
}

const struct ctl_tunnel_mesh mesh_tunnel_hooks = {
	.probe = on_probe,
	.path_wanted = on_wanted,
	.addresses = on_addresses,
	.name_of = name_of,
	.key_of = key_of,
};

/* --- our own endpoints -------------------------------------------------------------------------- */

/* An address at which a peer might reach us (nat-traversal.md 5.1): not the mesh's own, not one that needs its link. */
static bool is_reachable(const struct base_addr *addr)
{
	static const char *const skipped[] = {"100.64.0.0/10", "fd7a:115c:a1e0::/48", "fe80::/10",
		"169.254.0.0/16", "127.0.0.0/8", "::1/128"};
	struct base_prefix prefix;

	for (size_t i = 0; i < BASE_ARRAY_LEN(skipped); i++)
		if (base_prefix_parse(&prefix, skipped[i], true) == 0 &&
			base_prefix_contains(&prefix, addr))
			return false;
	return true;
}

void mesh_tell_endpoints(struct ctl_mesh *mesh)
{
	struct coord_reachability told = {.has_udp = true};
	struct base_addr addrs[COORD_ENDPOINTS_MAX];
	size_t n = dp_local_addrs(ctl_tunnel_dp(mesh->tunnel), addrs, COORD_ENDPOINTS_MAX);

	n = n < COORD_ENDPOINTS_MAX ? n : COORD_ENDPOINTS_MAX;
	for (size_t i = 0; i < n; i++) {
		if (!is_reachable(&addrs[i]))
			continue;
		told.endpoints[told.n_endpoints] =
			(struct base_endpoint){addrs[i], mesh->config->dp.listen_port};
		told.types[told.n_endpoints++] = COORD_ENDPOINT_LOCAL;
		told.has_ipv6 |= addrs[i].family == BASE_FAMILY_V6;
	}
	coord_reachability_set(mesh->coord, &told);
}
