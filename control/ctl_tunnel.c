/* SPDX-License-Identifier: BSD-3-Clause */
/* Dataplane started, fed with peers as they change, and listened to. Main thread. See ctl_tunnel.h. */
#include "ctl_tunnel.h"

#include "base_clock.h"
#include "base_log.h"
#include "ctl_peers.h"

#include <malloc.h>
#include <stdlib.h>

BASE_LOG_CATEGORY("tunnel");

/* Peers' news in the log: this many at once, then one a second; the counters have them all. */
#define EVENT_BURST 20

/* After so many have gone their memory is given back to the system. */
#define TRIM_PEERS 1000

struct ctl_tunnel {
	const struct ctl_config *config;
	struct ctl_loop *loop;
	struct dp *dp;
	struct ctl_roster roster;
	struct base_log_limit limit;
	const struct ctl_tunnel_mesh *mesh; /* NULL: none */
	void *mesh_ctx;
	const struct dp_filter_rule *file_rules;
	size_t n_file_rules;
	struct dp_filter_rule *mesh_rules; /* the array is owned, not what it points to */
	size_t n_mesh_rules;
};

const char *ctl_tunnel_peer_name(const struct ctl_tunnel *tunnel, const struct cr_key *public_key)
{
	const struct ctl_peer *peer = ctl_roster_by_key(&tunnel->roster, public_key);
	const char *name = NULL;

	if (!peer && tunnel->mesh)
		name = tunnel->mesh->name_of(tunnel->mesh_ctx, public_key);
	return peer ? peer->name : name ? name : "unknown";
}

/* A line about a peer, unless there were many. */
BASE_PRINTF(2, 3)
static void log_event(struct ctl_tunnel *tunnel, const char *fmt, ...)
{
	uint32_t held_back;
	char line[256];
	va_list ap;

	if (!base_log_allow(&tunnel->limit, base_clock_now_ns(), EVENT_BURST, &held_back))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (held_back > 0)
		base_log_info("%s (%u more not shown)", line, held_back);
	else
		base_log_info("%s", line);
}

static void on_event(void *ctx, const struct dp_event *event)
{
	struct ctl_tunnel *tunnel = ctx;
	char endpoint[BASE_ENDPOINT_TEXT_LEN];

	switch (event->type) {
	case DP_EVENT_HANDSHAKE:
		log_event(tunnel, "peer %s: session confirmed",
			ctl_tunnel_peer_name(tunnel, &event->public_key));
		break;
	case DP_EVENT_ENDPOINT_MOVED:
		log_event(tunnel, "peer %s: now at %s",
			ctl_tunnel_peer_name(tunnel, &event->public_key),
			base_endpoint_print(endpoint, &event->endpoint));
		break;
	case DP_EVENT_PATH_WANTED:
		if (tunnel->mesh)
			tunnel->mesh->path_wanted(
				tunnel->mesh_ctx, &event->public_key, &event->endpoint);
		break;
	case DP_EVENT_HEARD:
		/* A handshake of the peer's from there would say no more. */
		if (tunnel->mesh)
			tunnel->mesh->path_wanted(
				tunnel->mesh_ctx, &event->public_key, &event->endpoint);
		break;
	case DP_EVENT_ADDRESSES:
		if (tunnel->mesh)
			tunnel->mesh->addresses(tunnel->mesh_ctx);
		break;
	case DP_EVENT_PORT:
		base_log_warn("%s", event->text ? event->text : "a port's link changed");
		break;
	case DP_EVENT_DEAD:
		base_log_error("%s; the supervisor must start sandd-gw again",
			event->text ? event->text : "a thread of the dataplane died");
		ctl_loop_stop(tunnel->loop, 1);
		break;
	}
}

static void on_probe(void *ctx, const struct base_endpoint *from, const struct base_endpoint *to,
	const void *datagram, size_t len)
{
	struct ctl_tunnel *tunnel = ctx;

	if (tunnel->mesh)
		tunnel->mesh->probe(tunnel->mesh_ctx, from, to, datagram, len);
}

static const struct dp_callbacks callbacks = {.event = on_event, .probe = on_probe};

static void on_readable(void *ctx)
{
	struct ctl_tunnel *tunnel = ctx;

	dp_service(tunnel->dp);
}

static void on_warning(const char *line)
{
	base_log_warn("%s", line);
}

/* --- peers --------------------------------------------------------------------------------------- */

/* The dataplane names peers by their keys' beginning; a person knows their names. */
static int explain(const struct ctl_roster *next, const struct dp_peers_change *change, int rc,
	const struct base_error *reason, struct base_error *ret_error)
{
	for (size_t i = 0; i < change->n_set; i++) {
		char fingerprint[BASE_FINGERPRINT_LEN + 1];

		base_key_fingerprint(fingerprint, change->set[i].public_key.bytes);
		if (strstr(reason->text, fingerprint))
			return base_error_set(ret_error, rc, "peer %s: %.400s",
				ctl_roster_by_key(next, &change->set[i].public_key)->name,
				reason->text);
	}
	return base_error_set(ret_error, rc, "peers: %.400s", reason->text);
}

/* Let the dataplane follow, then go over to @next, which is the tunnel's or nobody's after this. */
static int go_over(struct ctl_tunnel *tunnel, struct ctl_roster *next,
	struct ctl_peers_changed *ret_changed, struct base_error *ret_error)
{
	struct ctl_roster_diff diff = {0};
	struct base_error reason = {.text = ""};
	uint64_t start_ns = base_clock_now_ns();
	int rc = ctl_roster_compare(&diff, &tunnel->roster, next);

	if (rc < 0)
		base_error_set(ret_error, rc, "peers: out of memory");
	else if (diff.change.n_set || diff.change.n_remove)
		rc = dp_peers_change(tunnel->dp, &diff.change, &reason);
	base_log_debug("%zu peers to set, %zu to remove: the dataplane took %llu us",
		diff.change.n_set, diff.change.n_remove,
		(unsigned long long)((base_clock_now_ns() - start_ns) / BASE_NS_PER_US));
	if (rc < 0 && reason.text[0])
		explain(next, &diff.change, rc, &reason, ret_error);
	if (rc == 0) {
		ctl_roster_fini(&tunnel->roster);
		tunnel->roster = *next;
		*ret_changed = (struct ctl_peers_changed){
			diff.n_added, diff.n_changed, diff.n_unchanged, diff.n_removed};
		if (diff.n_removed >= TRIM_PEERS)
			malloc_trim(0);
	} else {
		ctl_roster_fini(next);
	}
	ctl_roster_diff_fini(&diff);
	return rc;
}

/* Of @peers, or of those that leave, the API's are ours to end. */
static void free_leaving(const struct ctl_roster_order *order)
{
	for (size_t i = 0; i < order->n; i++) {
		struct ctl_peer *peer = order->refs[i].peer;

		if (peer->is_leaving && peer->source == CTL_PEER_OF_API)
			ctl_peers_free(peer, 1);
	}
}

static void stay(const struct ctl_roster_order *order)
{
	for (size_t i = 0; i < order->n; i++)
		order->refs[i].peer->is_leaving = false;
}

/*
 * From the roster now, without those that are marked, to one with @coming. The marks are gone after this, and
 * peers of the API that left as well.
 */
static int change(struct ctl_tunnel *tunnel, struct ctl_peer *const *coming, size_t n,
	struct ctl_peers_changed *ret_changed, struct base_error *ret_error)
{
	struct ctl_roster_ref *refs = calloc(tunnel->roster.by_name.n + 1, sizeof(*refs));
	struct ctl_roster_order before = {refs, tunnel->roster.by_name.n};
	struct ctl_roster next;
	int rc;

	if (!refs) {
		stay(&tunnel->roster.by_name);
		return base_error_set(ret_error, -ENOMEM, "peers: out of memory");
	}
	if (before.n)
		memcpy(refs, tunnel->roster.by_name.refs, before.n * sizeof(*refs));
	rc = ctl_roster_next(&next, &tunnel->roster, coming, n, ret_error);
	if (rc == 0)
		rc = go_over(tunnel, &next, ret_changed, ret_error);
	if (rc == 0)
		free_leaving(&before);
	else
		stay(&before);
	free(refs);
	return rc;
}

/* Is this peer of the API what the file says under its name and key? */
static bool is_adopted(const struct ctl_peer *peer, const struct ctl_roster *file)
{
	const struct ctl_peer *same = ctl_roster_by_name(file, peer->name);

	return same && cr_key_equal(&same->dp.public_key, &peer->dp.public_key);
}

int ctl_tunnel_follow_file(struct ctl_tunnel *tunnel, struct ctl_peer *peers, size_t n,
	struct ctl_peers_changed *ret_changed, struct base_error *ret_error)
{
	struct ctl_peer **coming = calloc(n + 1, sizeof(*coming));
	struct ctl_roster nobody = {0}, file;
	int rc;

	if (!coming)
		return base_error_set(ret_error, -ENOMEM, "peers: out of memory");
	for (size_t i = 0; i < n; i++)
		coming[i] = &peers[i];
	rc = ctl_roster_next(&file, &nobody, coming, n, ret_error);
	if (rc == 0) {
		for (size_t i = 0; i < tunnel->roster.by_name.n; i++) {
			struct ctl_peer *peer = tunnel->roster.by_name.refs[i].peer;

			peer->is_leaving =
				peer->source == CTL_PEER_OF_FILE || is_adopted(peer, &file);
		}
		ctl_roster_fini(&file);
		rc = change(tunnel, coming, n, ret_changed, ret_error);
	}
	free(coming);
	return rc;
}

static int not_ours(const struct ctl_peer *peer, struct base_error *ret_error)
{
	return base_error_set(ret_error, -EPERM,
		"peer %s is of the configuration file; change it there, then sandctl reload",
		peer->name);
}

/* Mark those that go, and those in whose place others come. */
static int mark(
	struct ctl_tunnel *tunnel, const struct ctl_tunnel_call *call, struct base_error *ret_error)
{
	for (size_t i = 0; i < call->n_set + call->n_remove; i++) {
		const char *name =
			i < call->n_set ? call->set[i]->name : call->remove[i - call->n_set];
		struct ctl_peer *peer = ctl_roster_by_name(&tunnel->roster, name);

		if (i >= call->n_set && (!peer || peer->is_leaving))
			return base_error_set(ret_error, -ENOENT, "%s %.100s%s",
				peer ? "peer" : "no peer is called", name,
				peer ? " stands in the call twice" : "");
		if (peer && i < call->n_set && call->is_new)
			return base_error_set(ret_error, -EEXIST,
				"name: peer %s is there already; set changes it", name);
		if (peer && peer->source == CTL_PEER_OF_FILE)
			return not_ours(peer, ret_error);
		if (peer)
			peer->is_leaving = true;
	}
	return 0;
}

static void log_call(
	const struct ctl_tunnel_call *call, const struct ctl_peers_changed *changed, size_t n_peers)
{
	if (call->n_set + call->n_remove == 1)
		base_log_info("peer %s: %s by %s; %zu peer(s) now",
			call->n_set ? call->set[0]->name : call->remove[0],
			changed->added             ? "added"
				: changed->removed ? "removed"
				: changed->changed ? "changed"
						   : "unchanged",
			call->client, n_peers);
	else
		base_log_info("peers: %zu added, %zu changed, %zu removed by %s; %zu now",
			changed->added, changed->changed, changed->removed, call->client, n_peers);
}

int ctl_tunnel_call(struct ctl_tunnel *tunnel, const struct ctl_tunnel_call *call,
	struct ctl_peers_changed *ret_changed, struct base_error *ret_error)
{
	int rc = mark(tunnel, call, ret_error);

	if (rc < 0) {
		stay(&tunnel->roster.by_name);
		return rc;
	}
	for (size_t i = 0; i < call->n_set; i++)
		call->set[i]->source = CTL_PEER_OF_API;
	rc = change(tunnel, call->set, call->n_set, ret_changed, ret_error);
	if (rc == 0)
		log_call(call, ret_changed, tunnel->roster.by_name.n);
	return rc;
}

const struct ctl_roster *ctl_tunnel_roster(const struct ctl_tunnel *tunnel)
{
	return &tunnel->roster;
}

/* --- the mesh, and the filter that it shares with the file ------------------------------------------ */

void ctl_tunnel_join_mesh(struct ctl_tunnel *tunnel, const struct ctl_tunnel_mesh *hooks, void *ctx)
{
	tunnel->mesh = hooks;
	tunnel->mesh_ctx = ctx;
}

static int set_rules(struct ctl_tunnel *tunnel, const struct dp_filter_rule *file, size_t n_file,
	const struct dp_filter_rule *mesh, size_t n_mesh, struct base_error *ret_error)
{
	struct dp_filter_rule *rules = calloc(n_file + n_mesh + 1, sizeof(*rules));
	int rc;

	if (!rules)
		return base_error_set(ret_error, -ENOMEM, "filter: out of memory");
	if (file && n_file)
		memcpy(rules, file, n_file * sizeof(*rules));
	if (mesh && n_mesh)
		memcpy(rules + n_file, mesh, n_mesh * sizeof(*rules));
	rc = dp_filter_set(tunnel->dp, rules, n_file + n_mesh, ret_error);
	free(rules);
	return rc;
}

int ctl_tunnel_set_file_rules(struct ctl_tunnel *tunnel, const struct dp_filter_rule *rules,
	size_t n, struct base_error *ret_error)
{
	int rc = set_rules(tunnel, rules, n, tunnel->mesh_rules, tunnel->n_mesh_rules, ret_error);

	if (rc == 0) {
		tunnel->file_rules = rules;
		tunnel->n_file_rules = n;
	}
	return rc;
}

int ctl_tunnel_set_mesh_rules(struct ctl_tunnel *tunnel, const struct dp_filter_rule *rules,
	size_t n, struct base_error *ret_error)
{
	struct dp_filter_rule *copy = calloc(n + 1, sizeof(*copy));
	int rc;

	if (!copy)
		return base_error_set(ret_error, -ENOMEM, "filter: out of memory");
	rc = set_rules(tunnel, tunnel->file_rules, tunnel->n_file_rules, rules, n, ret_error);
	if (rc < 0) {
		free(copy);
		return rc;
	}
	if (rules && n)
		memcpy(copy, rules, n * sizeof(*copy));
	free(tunnel->mesh_rules);
	tunnel->mesh_rules = copy;
	tunnel->n_mesh_rules = n;
	return 0;
}

size_t ctl_tunnel_n_rules(const struct ctl_tunnel *tunnel, bool with_mesh)
{
	return tunnel->n_file_rules + (with_mesh ? tunnel->n_mesh_rules : 0);
}

const struct dp_filter_rule *ctl_tunnel_rule(const struct ctl_tunnel *tunnel, size_t i)
{
	if (i < tunnel->n_file_rules)
		return &tunnel->file_rules[i];
	i -= tunnel->n_file_rules;
	return i < tunnel->n_mesh_rules ? &tunnel->mesh_rules[i] : NULL;
}

bool ctl_tunnel_prefix_is_taken(const struct ctl_tunnel *tunnel, const struct base_prefix *prefix)
{
	return ctl_roster_by_prefix(&tunnel->roster, prefix) != NULL;
}

/* --- life ---------------------------------------------------------------------------------------- */

static int start(struct ctl_tunnel *tunnel, struct base_error *ret_error)
{
	const struct ctl_config *config = tunnel->config;
	struct ctl_peers_changed changed;
	int rc;

	tunnel->dp = dp_new(&config->dp, &callbacks, tunnel, on_warning, ret_error);
	if (!tunnel->dp)
		return -errno;
	rc = ctl_tunnel_follow_file(tunnel, config->peers, config->n_peers, &changed, ret_error);
	if (rc < 0)
		return rc == -EEXIST ? -EINVAL : rc;
	rc = ctl_loop_watch(tunnel->loop, dp_fd(tunnel->dp), on_readable, tunnel);
	if (rc < 0)
		return base_error_set(ret_error, rc, "tunnel: event descriptor: %s", strerror(-rc));
	return 0;
}

struct ctl_tunnel *ctl_tunnel_new(
	const struct ctl_config *config, struct ctl_loop *loop, struct base_error *ret_error)
{
	struct ctl_tunnel *tunnel = calloc(1, sizeof(*tunnel));
	int rc;

	if (!tunnel) {
		base_error_set(ret_error, -ENOMEM, "tunnel: out of memory");
		errno = ENOMEM;
		return NULL;
	}
	tunnel->config = config;
	tunnel->loop = loop;
	tunnel->file_rules = config->dp.rules;
	tunnel->n_file_rules = config->dp.n_rules;
	rc = start(tunnel, ret_error);
	if (rc == 0)
		return tunnel;
	ctl_tunnel_free(tunnel);
	errno = -rc;
	return NULL;
}

void ctl_tunnel_free(struct ctl_tunnel *tunnel)
{
	if (!tunnel)
		return;
	ctl_loop_unwatch(tunnel->loop);
	dp_free(tunnel->dp);
	for (size_t i = 0; i < tunnel->roster.by_name.n; i++)
		tunnel->roster.by_name.refs[i].peer->is_leaving = true;
	free_leaving(&tunnel->roster.by_name);
	ctl_roster_fini(&tunnel->roster);
	free(tunnel->mesh_rules);
	free(tunnel);
}

const struct dp *ctl_tunnel_dp(const struct ctl_tunnel *tunnel)
{
	return tunnel->dp;
}

const struct dp_config *ctl_tunnel_config(const struct ctl_tunnel *tunnel)
{
	return &tunnel->config->dp;
}

bool ctl_tunnel_peer_key(
	const struct ctl_tunnel *tunnel, const char *name, struct cr_key *ret_public_key)
{
	const struct ctl_peer *peer = ctl_roster_by_name(&tunnel->roster, name);

	if (peer)
		*ret_public_key = peer->dp.public_key;
	else if (tunnel->mesh)
		return tunnel->mesh->key_of(tunnel->mesh_ctx, name, ret_public_key);
	return peer != NULL;
}

struct dp_tap *ctl_tunnel_tap(const struct ctl_tunnel *tunnel, const struct dp_tap_config *config,
	struct base_error *ret_error)
{
	return dp_tap_start(tunnel->dp, config, ret_error);
}

struct dp *ctl_tunnel_dp_to_change(struct ctl_tunnel *tunnel)
{
	return tunnel->dp;
}
