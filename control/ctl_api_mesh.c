/* SPDX-License-Identifier: BSD-3-Clause */
/* What the API tells of the mesh, and lets operators do with it. Loop's thread. See ctl_api.h, openapi.yaml. */
#include "base_clock.h"
#include "ctl_api.h"
#include "ctl_api_json.h"

#include <stdlib.h>

/* A key that ends within this is a warning. */
#define EXPIRY_AHEAD_S (7 * 24 * 3600)
#define FILTER_PREFIXES_SHOWN 64

/* ---- status ---- */

static json_t *addresses_json(const struct coord_node *node)
{
	json_t *list = json_array();
	char text[BASE_ADDR_TEXT_LEN];

	for (unsigned i = 0; i < node->n_addresses; i++)
		json_array_append_new(
			list, json_string(base_addr_print(text, &node->addresses[i])));
	return list;
}

static void add_warning(json_t *list, const char *fmt, ...) BASE_PRINTF(2, 3);
static void add_warning(json_t *list, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	json_array_append_new(list, json_string(line));
}

/* What an operator should know, in plain words; empty is healthy. */
static json_t *health_json(const struct ctl_mesh *mesh)
{
	const struct coord_status *status = ctl_mesh_status(mesh);
	const struct coord_netmap *map = ctl_mesh_map(mesh);
	uint64_t now_s = base_clock_unix_ns() / BASE_NS_PER_S;
	json_t *list = json_array();
	size_t n, conflicts = ctl_mesh_conflicts(mesh);
	const char *const *words = coord_netmap_health(map, &n);

	if (status->state == COORD_NEEDS_LOGIN && status->login_url[0])
		add_warning(list, "this node needs a login: open %s", status->login_url);
	else if (status->state != COORD_STREAMING)
		add_warning(list, "no live map: %s%s%s", coord_state_name(status->state),
			status->detail[0] ? ": " : "", status->detail);
	if (status->key_expiry_unix_s && status->key_expiry_unix_s <= now_s)
		add_warning(list, "the node key is over; sandctl login renews it");
	else if (status->key_expiry_unix_s && status->key_expiry_unix_s < now_s + EXPIRY_AHEAD_S)
		add_warning(list, "the node key ends in %llu hour(s); sandctl login renews it",
			(unsigned long long)(status->key_expiry_unix_s - now_s) / 3600);
	if (conflicts > 0)
		add_warning(list,
			"%zu prefix(es) of the map are left out, because others have them; the log "
			"names them",
			conflicts);
	for (size_t i = 0; i < n; i++)
		add_warning(list, "the server says: %s", words[i]);
	return list;
}

static json_t *dns_json(const struct ctl_mesh *mesh)
{
	const struct ctl_dns *dns = ctl_mesh_dns(mesh);
	struct ctl_dns_stats stats;

	if (!dns)
		return json_null();
	stats = ctl_dns_stats_of(dns);
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "answered", (json_int_t)stats.answered,
		"forwarded", (json_int_t)stats.forwarded, "failed", (json_int_t)stats.failed,
		"refused", (json_int_t)stats.refused, "dropped", (json_int_t)stats.dropped);
}

json_t *ctl_api_mesh_status(const struct ctl_api_sources *sources, uint64_t now_ns)
{
	const struct coord_status *status;
	const struct coord_node *self;

	if (!sources->mesh)
		return json_null();
	status = ctl_mesh_status(sources->mesh);
	self = coord_netmap_self(ctl_mesh_map(sources->mesh));
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"state", coord_state_name(status->state), "server", sources->config->mesh.server,
		"detail", status->detail, "login_url", json_text_or_null(status->login_url),
		"since", json_unix_time(status->since_ns, now_ns), "retry_at",
		json_unix_time(status->retry_at_ns, now_ns), "last_map",
		json_unix_time(status->last_frame_ns, now_ns), "key_expiry",
		status->key_expiry_unix_s ? json_integer((json_int_t)status->key_expiry_unix_s)
					  : json_null(),
		"name", self ? json_string(self->name) : json_null(), "addresses",
		self ? addresses_json(self) : json_array(), "node_id",
		self ? json_integer((json_int_t)self->id) : json_null(), "nodes",
		json_integer((json_int_t)coord_netmap_n_peers(ctl_mesh_map(sources->mesh))),
		"frames", json_integer((json_int_t)status->frames), "health",
		health_json(sources->mesh), "dns", dns_json(sources->mesh));
}

/* ---- nodes ---- */

static json_t *owner_json(const struct coord_netmap *map, const struct coord_node *node)
{
	const struct coord_user *user = coord_netmap_user(map, node->user);

	return node->n_tags > 0 || !user ? json_null() : json_string(user->login);
}

static json_t *tags_json(const struct coord_node *node)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < node->n_tags; i++)
		json_array_append_new(list, json_string(node->tags[i]));
	return list;
}

static json_t *online_json(const struct coord_node *node)
{
	return node->online == COORD_ONLINE_UNKNOWN
		? json_null()
		: json_boolean(node->online == COORD_ONLINE_YES);
}

static json_t *prefixes_json(const struct base_prefix *prefixes, size_t n)
{
	json_t *list = json_array();
	char text[BASE_PREFIX_TEXT_LEN];

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(base_prefix_print(text, &prefixes[i])));
	return list;
}

const char *ctl_api_path_name(const struct coord_path_status *path)
{
	switch (path->kind) {
	case COORD_PATH_DIRECT:
		return path->endpoint.addr.family == BASE_FAMILY_V6 ? "direct6" : "direct4";
	case COORD_PATH_RELAY:
		return "relay";
	default:
		return "none";
	}
}

/* The members of a peer of the file, and what a node has besides. */
json_t *ctl_api_node(
	const struct ctl_api_sources *sources, const struct coord_node *node, uint64_t now_ns)
{
	const struct coord_netmap *map = ctl_mesh_map(sources->mesh);
	struct coord_path_status path = ctl_mesh_path(sources->mesh, node);
	struct dp_peer_status status;
	char label[64];

	if (dp_peer_status(ctl_tunnel_dp(sources->tunnel), &node->node_key, &status) < 0)
		status = (struct dp_peer_status){0};
	return json_pack(
		"{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:s, s:n, "
		"s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"name", coord_node_label(label, node), "source", "mesh", "fqdn", node->name,
		"node_id", json_integer((json_int_t)node->id), "public_key",
		json_key(&node->node_key), "addresses", addresses_json(node), "owner",
		owner_json(map, node), "tags", tags_json(node), "online", online_json(node),
		"key_expiry",
		node->key_expiry_unix_s ? json_integer((json_int_t)node->key_expiry_unix_s)
					: json_null(),
		"expired", coord_node_is_expired(map, node, base_clock_unix_ns() / BASE_NS_PER_S),
		"allowed_ips", prefixes_json(node->allowed_ips, node->n_allowed_ips), "endpoint",
		json_endpoint(&path.endpoint), "path", ctl_api_path_name(&path), "relay", "rtt_ms",
		path.rtt_us ? json_real(path.rtt_us / 1000.0) : json_null(), "since",
		json_unix_time(path.since_ns, now_ns), "last_handshake",
		json_unix_time(status.last_handshake_ns, now_ns), "handshakes",
		json_integer((json_int_t)status.handshakes), "rx_bytes",
		json_integer((json_int_t)status.rx_bytes), "tx_bytes",
		json_integer((json_int_t)status.tx_bytes), "rx_pkts",
		json_integer((json_int_t)status.rx_pkts), "tx_pkts",
		json_integer((json_int_t)status.tx_pkts), "lcore",
		json_integer((json_int_t)status.lcore));
}

void ctl_api_add_nodes(const struct ctl_api_sources *sources, json_t *list, uint64_t now_ns)
{
	const struct coord_netmap *map;

	if (!sources->mesh)
		return;
	map = ctl_mesh_map(sources->mesh);
	for (size_t i = 0; i < coord_netmap_n_peers(map); i++)
		json_array_append_new(
			list, ctl_api_node(sources, coord_netmap_peer(map, i), now_ns));
}

/* A node by name, or by address. */
static const struct coord_node *find_node(const struct ctl_api_sources *sources, const char *text)
{
	const struct coord_netmap *map = ctl_mesh_map(sources->mesh);
	struct base_addr addr;

	return base_addr_parse(&addr, text) == 0 ? coord_netmap_by_addr(map, &addr)
						 : coord_netmap_by_name(map, text);
}

static bool needs_mesh(const struct ctl_api_sources *sources, struct ws_http_req *req)
{
	if (!sources->mesh)
		ws_http_reply_error(req, 409, "no_mesh",
			"this gateway is no node of a mesh; its configuration has no mesh section");
	return sources->mesh != NULL;
}

void ctl_api_on_whois(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	const char *text = ws_http_query(req, "addr");
	const struct coord_node *node, *self;

	if (!needs_mesh(sources, req))
		return;
	if (!text) {
		ws_http_reply_error(
			req, 400, "bad_request", "whois needs ?addr=, an address or a name");
		return;
	}
	node = find_node(sources, text);
	self = coord_netmap_self(ctl_mesh_map(sources->mesh));
	if (node && node == self)
		ws_http_reply(req, 200,
			json_pack("{s:s, s:b, s:o}", "fqdn", self->name, "is_self", true,
				"addresses", addresses_json(self)));
	else if (node)
		ws_http_reply(req, 200, ctl_api_node(sources, node, base_clock_now_ns()));
	else
		ws_http_reply_error(req, 404, "unknown_node", "no node of the mesh is %s", text);
}

/* ---- ping ---- */

/* A caller that waits for a pong. */
struct waiter {
	struct ws_http_req *req; /* NULL once it went away */
};

static void on_gone(void *user)
{
	((struct waiter *)user)->req = NULL;
}

static void on_pong(void *user, const struct base_endpoint *from, uint32_t rtt_us)
{
	struct waiter *waiter = user;

	if (waiter->req && from)
		ws_http_reply(waiter->req, 200,
			json_pack("{s:o, s:s, s:f}", "endpoint", json_endpoint(from), "path",
				from->addr.family == BASE_FAMILY_V6 ? "direct6" : "direct4",
				"rtt_ms", rtt_us / 1000.0));
	else if (waiter->req)
		ws_http_reply_error(waiter->req, 504, "timeout",
			"no answer within 5 s from any of its endpoints");
	free(waiter);
}

void ctl_api_on_ping(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	const char *name = ws_http_param(req, "name");
	const struct coord_node *node;
	struct waiter *waiter;
	int rc;

	if (!needs_mesh(sources, req))
		return;
	node = find_node(sources, name);
	if (!node || node == coord_netmap_self(ctl_mesh_map(sources->mesh))) {
		ws_http_reply_error(
			req, 404, "unknown_node", "no other node of the mesh is %s", name);
		return;
	}
	waiter = calloc(1, sizeof(*waiter));
	rc = waiter ? ctl_mesh_ping(sources->mesh, node, on_pong, waiter) : -ENOMEM;
	if (rc == 0) {
		waiter->req = req;
		ws_http_on_gone(req, on_gone, waiter);
		return;
	}
	free(waiter);
	if (rc == -EHOSTUNREACH)
		ws_http_reply_error(req, 502, "no_endpoint",
			"%s has told no endpoint and no disco key yet: is it online?", name);
	else if (rc == -EBUSY)
		ws_http_reply_error(req, 429, "busy", "too many wait for a pong of %s", name);
	else
		ws_http_reply_error(req, 500, "internal", "%s", strerror(-rc));
}

/* ---- up, down, login, logout ---- */

void ctl_api_on_mesh_up(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;

	if (!needs_mesh(sources, req))
		return;
	ctl_mesh_up(sources->mesh);
	ws_http_reply(req, 200, ctl_api_mesh_status(sources, base_clock_now_ns()));
}

void ctl_api_on_mesh_down(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;

	if (!needs_mesh(sources, req))
		return;
	ctl_mesh_down(sources->mesh);
	ws_http_reply(req, 200, ctl_api_mesh_status(sources, base_clock_now_ns()));
}

void ctl_api_on_mesh_login(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	json_t *body = ws_http_body(req), *key = json_object_get(body, "authkey");
	struct base_error err = {.text = ""};

	if (!needs_mesh(sources, req))
		return;
	if (key && !json_is_string(key)) {
		ws_http_reply_error(req, 400, "bad_request", "authkey must be a text");
		return;
	}
	if (ctl_mesh_login(sources->mesh, json_string_value(key), &err) < 0)
		ws_http_reply_error(req, 409, "cannot_login", "%s", err.text);
	else
		ws_http_reply(req, 200, ctl_api_mesh_status(sources, base_clock_now_ns()));
	if (key) /* jansson frees it as it is */
		base_wipe((char *)json_string_value(key), json_string_length(key));
}

static void on_logged_out(void *user, int rc, const char *line)
{
	struct waiter *waiter = user;

	if (waiter->req && rc == 0)
		ws_http_reply(waiter->req, 200, json_pack("{s:s}", "message", line));
	else if (waiter->req)
		ws_http_reply_error(waiter->req, 502, "refused", "%s", line);
	free(waiter);
}

void ctl_api_on_mesh_logout(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	struct waiter *waiter;

	if (!needs_mesh(sources, req))
		return;
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter) {
		ws_http_reply_error(req, 500, "no_memory", "the gateway is out of memory");
		return;
	}
	waiter->req = req;
	ws_http_on_gone(req, on_gone, waiter);
	ctl_mesh_logout(sources->mesh, on_logged_out, waiter);
}

/* ---- the filter ---- */

static json_t *dsts_json(const struct dp_filter_rule *rule)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rule->n_dsts && i < FILTER_PREFIXES_SHOWN; i++) {
		char prefix[BASE_PREFIX_TEXT_LEN] = "*", text[BASE_PREFIX_TEXT_LEN + 16];
		const struct dp_filter_dst *dst = &rule->dsts[i];

		if (dst->prefix.addr.family)
			base_prefix_print(prefix, &dst->prefix);
		if (dst->port_first == 0 && dst->port_last == UINT16_MAX)
			snprintf(text, sizeof(text), "%s:*", prefix);
		else if (dst->port_first == dst->port_last)
			snprintf(text, sizeof(text), "%s:%u", prefix, dst->port_first);
		else
			snprintf(text, sizeof(text), "%s:%u-%u", prefix, dst->port_first,
				dst->port_last);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *srcs_json(const struct dp_filter_rule *rule)
{
	json_t *list = json_array();

	for (size_t i = 0; i < rule->n_srcs && i < FILTER_PREFIXES_SHOWN; i++) {
		char text[BASE_PREFIX_TEXT_LEN] = "*";

		if (rule->srcs[i].addr.family)
			base_prefix_print(text, &rule->srcs[i]);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *rule_json(const struct dp_filter_rule *rule, const char *source, uint64_t hits)
{
	json_t *protos = json_array();

	for (size_t i = 0; i < rule->n_protos; i++)
		json_array_append_new(protos, json_integer(rule->protos[i]));
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "source", source, "from",
		srcs_json(rule), "n_from", json_integer((json_int_t)rule->n_srcs), "to",
		dsts_json(rule), "n_to", json_integer((json_int_t)rule->n_dsts), "protocols",
		protos, "accepted_pkts", json_integer((json_int_t)hits));
}

/* The rules in force, those of the file first, with what each has let in; lists are cut, their true length beside them. */
void ctl_api_on_filter(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	const struct dp *dp;
	json_t *list = json_array();
	uint64_t *hits;
	size_t n, n_file;

	if (!sources->tunnel) {
		ws_http_reply_error(req, 409, "no_tunnel", "this gateway has no tunnel");
		json_decref(list);
		return;
	}
	dp = ctl_tunnel_dp(sources->tunnel);
	n = dp_filter_hits(dp, NULL, 0);
	hits = calloc(n + 1, sizeof(*hits));
	if (!hits) {
		ws_http_reply_error(req, 500, "no_memory", "the gateway is out of memory");
		json_decref(list);
		return;
	}
	dp_filter_hits(dp, hits, n);
	n_file = ctl_tunnel_n_rules(sources->tunnel, false);
	for (size_t i = 0; i < n; i++) {
		const struct dp_filter_rule *rule = ctl_tunnel_rule(sources->tunnel, i);

		if (rule)
			json_array_append_new(
				list, rule_json(rule, i < n_file ? "file" : "mesh", hits[i]));
	}
	free(hits);
	ws_http_reply(req, 200,
		json_pack("{s:o, s:s, s:o}", "rules", list, "default", "deny", "refused_pkts",
			json_integer((json_int_t)dp_filter_misses(dp))));
}
