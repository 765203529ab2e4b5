/* SPDX-License-Identifier: BSD-3-Clause */
/* News of the mesh and of daemons, put into words for GET /v1/events. Loop's thread. See ctl_events.h. */
#include "base_clock.h"
#include "ctl_api.h"
#include "ctl_api_json.h"

/* A key that ends within this is told of. */
#define EXPIRY_AHEAD_S (7 * 24 * 3600)

static void on_state(void *ctx, const struct coord_status *status)
{
	struct ctl_events *events = ctx;
	uint64_t expiry_s = status->key_expiry_unix_s;

	if (!ctl_events_is_heard(events))
		return;
	ctl_events_tell(events, "mesh_state",
		json_pack("{s:s, s:s, s:o}", "state", coord_state_name(status->state), "detail",
			status->detail, "login_url", json_text_or_null(status->login_url)));
	if (expiry_s && expiry_s < base_clock_unix_ns() / BASE_NS_PER_S + EXPIRY_AHEAD_S)
		ctl_events_tell(events, "key_expiry",
			json_pack("{s:I}", "key_expiry", (json_int_t)expiry_s));
}

static void on_node(void *ctx, enum coord_change change, const struct coord_node *node)
{
	static const char *const words[] = {
		[COORD_NODE_ADDED] = "added",
		[COORD_NODE_CHANGED] = "changed",
		[COORD_NODE_REKEYED] = "rekeyed",
		[COORD_NODE_REMOVED] = "removed",
	};
	struct ctl_events *events = ctx;

	if (!ctl_events_is_heard(events))
		return;
	ctl_events_tell(events, "peer",
		json_pack("{s:s, s:s, s:I, s:o}", "change", words[change], "name", node->name,
			"node_id", (json_int_t)node->id, "online",
			node->online == COORD_ONLINE_UNKNOWN
				? json_null()
				: json_boolean(node->online == COORD_ONLINE_YES)));
}

static void on_path(void *ctx, const struct coord_node *node, const struct coord_path_status *path)
{
	struct ctl_events *events = ctx;

	if (!ctl_events_is_heard(events))
		return;
	ctl_events_tell(events, "path",
		json_pack("{s:s, s:s, s:o, s:o}", "name", node->name, "path",
			ctl_api_path_name(path), "endpoint", json_endpoint(&path->endpoint),
			"rtt_ms", path->rtt_us ? json_real(path->rtt_us / 1000.0) : json_null()));
}

static void on_daemon(void *ctx, const struct ctl_daemon *daemon, const char *why)
{
	struct ctl_events *events = ctx;

	if (!ctl_events_is_heard(events))
		return;
	ctl_events_tell(events, "daemon",
		json_pack("{s:s, s:s, s:o}", "change", why ? "left" : "registered", "id",
			daemon->id, "why", why ? json_string(why) : json_null()));
}

void ctl_api_tell_events(const struct ctl_api_sources *sources)
{
	static const struct ctl_mesh_host hooks = {
		.state = on_state, .node = on_node, .path = on_path};

	if (!sources->events)
		return;
	ctl_controller_listen_to_daemons(sources->controller, on_daemon, sources->events);
	if (sources->mesh)
		ctl_mesh_listen(sources->mesh, &hooks, sources->events);
}
