/* SPDX-License-Identifier: BSD-3-Clause */
/* What the API's GET routes answer, as JSON documents. Loop's thread. See ctl_api.h, openapi.yaml. */
#include "base_clock.h"
#include "ctl_api.h"
#include "ctl_api_json.h"
#include "ctl_stats.h"

#include <stdlib.h>
#include <unistd.h>

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* ---- status ---- */

static json_t *ports_json(const struct dp_config *config, const struct dp *dp)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < config->n_ports; i++)
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s}", "kind",
				dp_port_kind_name(config->ports[i].kind), "device",
				config->ports[i].device, "state",
				dp_port_state_name(dp_port_state(dp, i))));
	return list;
}

static json_t *cpus_json(const struct dp_config *dp)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < dp->n_workers; i++)
		json_array_append_new(list, number(dp->worker_cpus[i]));
	return list;
}

static json_t *host_json(const struct dp_config *dp)
{
	json_t *addresses = json_array();
	char text[BASE_PREFIX_TEXT_LEN];

	for (unsigned i = 0; i < dp->n_host_addrs; i++)
		json_array_append_new(
			addresses, json_string(base_prefix_print(text, &dp->host_addrs[i])));
	return json_pack("{s:s, s:o, s:o}", "device", dp->host_device, "addresses", addresses,
		"mtu", number(dp->host_mtu));
}

/* The part of status that a tunnel adds. */
static json_t *tunnel_json(const struct ctl_api_sources *sources)
{
	const struct dp_config *dp = &sources->config->dp;
	struct dp_stats *stats;
	json_t *tunnel;

	if (!sources->tunnel)
		return json_null();
	stats = calloc(1, sizeof(*stats));
	if (!stats)
		return NULL;
	dp_stats_get(ctl_tunnel_dp(sources->tunnel), stats);
	tunnel = json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:o, s:o, s:o, s:o}",
		"public_key", json_key(&sources->config->public_key), "listen_port",
		number(dp->listen_port), "ports", ports_json(dp, ctl_tunnel_dp(sources->tunnel)),
		"workers", cpus_json(dp), "control_cpu", number(dp->control_cpu), "idle",
		dp->idle == DP_IDLE_POLL ? "poll" : "adaptive", "crypto", stats->crypto,
		"hugepages", stats->has_hugepages, "memory_bytes", number(stats->memory_bytes),
		"buffers", number(stats->mbufs), "buffers_free", number(stats->mbufs_free), "host",
		host_json(dp));
	free(stats);
	return tunnel;
}

static size_t n_peers(const struct ctl_api_sources *sources)
{
	size_t n = sources->tunnel ? ctl_tunnel_roster(sources->tunnel)->by_name.n : 0;

	return sources->mesh ? n + coord_netmap_n_peers(ctl_mesh_map(sources->mesh)) : n;
}

/* What came of a reload: for status, and for who asked. */
json_t *ctl_api_reload_result(const struct ctl_reload_result *result)
{
	json_t *needs_restart = json_array();

	for (unsigned i = 0; i < result->n_needs_restart; i++)
		json_array_append_new(needs_restart, json_string(result->needs_restart[i]));
	return json_pack("{s:o, s:b, s:o, s:{s:o, s:o, s:o, s:o}, s:b, s:b, s:o}", "at",
		number(result->unix_ns / BASE_NS_PER_S), "ok", result->is_ok, "error",
		result->is_ok ? json_null() : json_string(result->error.text), "peers", "added",
		number(result->peers.added), "changed", number(result->peers.changed), "unchanged",
		number(result->peers.unchanged), "removed", number(result->peers.removed),
		"filter_changed", result->has_new_filter, "log_level_changed",
		result->has_new_log_level, "needs_restart", needs_restart);
}

static json_t *configuration_json(const struct ctl_api_sources *sources)
{
	const struct ctl_reload_result *last;

	if (!sources->reload)
		return json_null();
	last = ctl_reload_last(sources->reload);
	return json_pack("{s:s, s:o, s:o}", "file", sources->config->file, "loaded",
		number(ctl_reload_loaded_unix_ns(sources->reload) / BASE_NS_PER_S), "last_reload",
		last ? ctl_api_reload_result(last) : json_null());
}

json_t *ctl_api_status(const struct ctl_api_sources *sources, uint64_t now_ns)
{
	const struct ctl_config *config = sources->config;

	return json_pack("{s:s, s:s, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"state", "running", "version", SANDD_VERSION, "pid", (int)getpid(), "mode",
		!config->has_tunnel                                      ? "direct"
			: config->direct.addr.family == BASE_FAMILY_NONE ? "tunnel"
									 : "tunnel+direct",
		"started", json_unix_time(sources->started_ns, now_ns), "uptime_s",
		number((now_ns - sources->started_ns) / BASE_NS_PER_S), "controller",
		json_endpoint(&config->listen), "controller_direct", json_endpoint(&config->direct),
		"daemons", number(ctl_registry_count(ctl_controller_registry(sources->controller))),
		"peers", number(n_peers(sources)), "requests",
		number(ctl_controller_requests(sources->controller)->outstanding), "tunnel",
		tunnel_json(sources), "mesh", ctl_api_mesh_status(sources, now_ns), "configuration",
		configuration_json(sources));
}

/* ---- peers ---- */

static json_t *prefixes_json(const struct dp_peer_config *peer)
{
	json_t *list = json_array();
	char text[BASE_PREFIX_TEXT_LEN];

	for (size_t i = 0; i < peer->n_allowed_ips; i++)
		json_array_append_new(
			list, json_string(base_prefix_print(text, &peer->allowed_ips[i])));
	return list;
}

static json_t *peer_json(
	const struct ctl_peer *peer, const struct dp_peer_status *status, uint64_t now_ns)
{
	json_t *rtt = status->rtt_us ? json_real(status->rtt_us / 1000.0) : json_null();

	return json_pack("{s:s, s:s, s:o, s:o, s:s, s:n, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
			 "s:o, s:o, s:o, s:b}",
		"name", peer->name, "source", peer->source == CTL_PEER_OF_FILE ? "file" : "api",
		"public_key", json_key(&peer->dp.public_key), "endpoint",
		json_endpoint(&status->endpoint), "path", dp_path_name(status->path), "relay",
		"rtt_ms", rtt, "since", json_unix_time(status->path_since_ns, now_ns),
		"last_handshake", json_unix_time(status->last_handshake_ns, now_ns), "rx_bytes",
		number(status->rx_bytes), "tx_bytes", number(status->tx_bytes), "rx_pkts",
		number(status->rx_pkts), "tx_pkts", number(status->tx_pkts), "lcore",
		number(status->lcore), "handshakes", number(status->handshakes), "allowed_ips",
		prefixes_json(&peer->dp), "keepalive_s", number(peer->dp.keepalive_s),
		"has_preshared_key", !cr_key_is_zero(&peer->dp.preshared_key));
}

json_t *ctl_api_peer(
	const struct ctl_api_sources *sources, const struct ctl_peer *peer, uint64_t now_ns)
{
	struct dp_peer_status status;

	if (dp_peer_status(ctl_tunnel_dp(sources->tunnel), &peer->dp.public_key, &status) < 0)
		return NULL;
	return peer_json(peer, &status, now_ns);
}

json_t *ctl_api_peers(const struct ctl_api_sources *sources, uint64_t now_ns)
{
	json_t *list = json_array();

	for (size_t i = 0; sources->tunnel && i < ctl_tunnel_roster(sources->tunnel)->by_name.n;
		i++) {
		const struct ctl_peer *peer =
			ctl_tunnel_roster(sources->tunnel)->by_name.refs[i].peer;

		json_array_append_new(list, ctl_api_peer(sources, peer, now_ns));
	}
	ctl_api_add_nodes(sources, list, now_ns);
	return json_pack("{s:o}", "peers", list);
}

/* ---- stats ---- */

static json_t *controller_stats(const struct ctl_controller *controller)
{
	const struct ctl_requests_stats *requests = ctl_controller_requests(controller);
	struct ws_server_stats ws;

	ctl_controller_server_stats(controller, &ws);
	return json_pack("{s:{s:o, s:o, s:o, s:o, s:o, s:o, s:o}, s:{s:o, s:o, s:o, s:o, s:o, s:o, "
			 "s:o, s:o, s:o, s:o, s:o, s:o, s:o}}",
		"requests", "outstanding", number(requests->outstanding), "begun",
		number(requests->begun), "answered", number(requests->answered), "timed_out",
		number(requests->timed_out), "lost", number(requests->lost), "late",
		number(requests->late), "refused", number(requests->refused), "connections", "open",
		number(ws.conns), "accepted", number(ws.accepted), "refused_subprotocol",
		number(ws.refused_subprotocol), "refused_limit", number(ws.refused_limit),
		"rx_msgs", number(ws.rx_msgs), "rx_malformed_msgs", number(ws.rx_malformed_msgs),
		"rx_unknown_msgs", number(ws.rx_unknown_msgs), "tx_msgs", number(ws.tx_msgs),
		"closed_too_large", number(ws.closed_too_large), "closed_slow",
		number(ws.closed_slow), "closed_silent", number(ws.closed_silent),
		"closed_no_memory", number(ws.closed_no_memory), "buffered_bytes",
		number(ws.buffered_bytes));
}

json_t *ctl_api_stats(const struct ctl_api_sources *sources)
{
	json_t *object = json_pack("{s:o}", "controller", controller_stats(sources->controller));

	if (object && sources->tunnel)
		ctl_stats_add(object, ctl_tunnel_dp(sources->tunnel));
	return object;
}

/* ---- daemons ---- */

static json_t *node_json(const struct ctl_node *node)
{
	return json_pack("{s:I, s:s, s:s, s:o}", "id", (json_int_t)node->id, "name", node->name,
		"tags", node->tags, "key", json_key(&node->key));
}

static json_t *daemon_json(const struct ctl_daemon *daemon, uint64_t now_ns)
{
	const struct ws_conn *conn = ctl_session_conn(daemon->session);
	const struct ctl_node *node = ctl_session_node(daemon->session);
	json_t *labels = json_object();

	for (size_t i = 0; i < daemon->n_labels; i++)
		json_object_set_new(
			labels, daemon->labels[i].name, json_string(daemon->labels[i].value));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:b, s:o, s:o, s:o}", "id",
		daemon->id, "hostname", daemon->hostname, "platform", daemon->platform, "arch",
		daemon->arch, "version", daemon->version, "labels", labels, "address",
		ws_conn_remote(conn), "node", node ? node_json(node) : json_null(), "is_busy",
		daemon->requests.n_requests > 0, "requests", number(daemon->requests.n_requests),
		"since", json_unix_time(daemon->registered_ns, now_ns), "last_heartbeat",
		json_unix_time(daemon->heartbeat_ns, now_ns));
}

json_t *ctl_api_daemons(const struct ctl_api_sources *sources, uint64_t now_ns)
{
	const struct ctl_registry *registry = ctl_controller_registry(sources->controller);
	json_t *list = json_array();

	for (size_t i = 0; i < ctl_registry_count(registry); i++)
		json_array_append_new(list, daemon_json(ctl_registry_at(registry, i), now_ns));
	return json_pack("{s:o}", "daemons", list);
}
