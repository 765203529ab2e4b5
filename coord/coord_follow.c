/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Following the map and telling what changed here: the stream's updates onto the map, lite updates (section 7), the server's pings, and
 * what is looked at from time to time. See coord_client.h.
 *
 * A lite update always tells everything, and only if it differs from what the server was told last: each one costs a message to every
 * peer. One is under way at a time; the newest state wins. Now and then one goes out all the same: a node that was deleted hears of it
 * in no other way (8.5).
 */
#include "base_clock.h"
#include "base_log.h"
#include "cr_noise.h"
#include "coord_client.h"

#include <stdlib.h>

BASE_LOG_CATEGORY("coord");

char *client_map_request(struct coord *coord, bool is_stream, size_t *ret_len)
{
	const struct coord_identity *identity = coord_state_identity(coord->state);
	struct cr_key node_public;
	const struct coord_map_request request = {
		.node_public = &node_public,
		.disco_public = &coord->disco_public,
		.hostname = coord->hostname,
		.version = coord->version,
		.os = "linux",
		.os_version = coord->os_version,
		.machine = coord->machine,
		.routes = coord->advertise_routes,
		.n_routes = coord->n_advertise_routes,
		.reachability = &coord->reachability,
		.is_stream = is_stream,
		.is_compressed = is_stream,
	};

	/* While a rotation is under way the server knows the old one. */
	cr_x25519_public(&node_public,
		cr_key_is_zero(&identity->old_node_private) ? &identity->node_private
							    : &identity->old_node_private);
	return coord_map_request(&request, ret_len);
}

static void plan_pulse(struct coord *coord)
{
	uint64_t s = CLIENT_PULSE_MIN_S + client_jitter(CLIENT_PULSE_SPREAD_S);

	coord->pulse_ns = base_clock_now_ns() + s * BASE_NS_PER_S;
}

static void told_is(struct coord *coord, char *body, size_t len)
{
	free(coord->told);
	coord->told = body;
	coord->told_len = len;
	coord->update_failures = 0;
	coord->update_retry_ns = 0;
	plan_pulse(coord);
}

static void on_told(void *ctx, const struct coord_ask_answer *answer, int rc)
{
	struct coord *coord = ctx;
	char *telling = coord->telling;

	coord->update = NULL;
	coord->telling = NULL;
	if (answer && answer->status == 200) {
		told_is(coord, telling, coord->telling_len);
		client_update(coord);
		return;
	}
	free(telling);
	if (answer && answer->status == 404) {
		client_gone(coord);
		return;
	}
	base_log_debug("lite update: %d", answer ? answer->status : rc);
	coord->update_retry_ns =
		base_clock_now_ns() + client_backoff_ms(++coord->update_failures) * BASE_NS_PER_MS;
}

void client_update(struct coord *coord)
{
	uint64_t now_ns = base_clock_now_ns();
	size_t len;
	char *body;

	if (!coord->poll || !coord->has_map || coord->update || now_ns < coord->update_retry_ns)
		return;
	body = client_map_request(coord, false, &len);
	if (!body ||
		(coord->told && len == coord->told_len && memcmp(body, coord->told, len) == 0 &&
			now_ns < coord->pulse_ns)) {
		free(body);
		return;
	}
	coord->update =
		coord_ask_start(coord->link, "POST", "/machine/map", body, len, on_told, coord);
	if (!coord->update) {
		free(body);
		return;
	}
	coord->telling = body;
	coord->telling_len = len;
}

/* What people and the next start want to know at once. A full disk does not matter: it is told again. */
static void note_self(struct coord *coord, const struct coord_node *self)
{
	struct coord_identity *identity = coord_state_identity(coord->state), old = *identity;

	coord->status.key_expiry_unix_s = self->key_expiry_unix_s;
	identity->node_id = self->id;
	snprintf(identity->name, sizeof(identity->name), "%s", self->name);
	identity->n_addresses = 0;
	for (unsigned i = 0; i < self->n_addresses && i < BASE_ARRAY_LEN(identity->addresses); i++)
		identity->addresses[identity->n_addresses++] = self->addresses[i];
	if (old.node_id != identity->node_id || strcmp(old.name, identity->name) != 0 ||
		old.n_addresses != identity->n_addresses ||
		memcmp(old.addresses, identity->addresses, sizeof(old.addresses)) != 0)
		client_save(coord);
	base_wipe(&old, sizeof(old));
}

static void on_pong(void *ctx, const struct coord_http_answer *answer, int rc, const char *line)
{
	struct coord *coord = ctx;

	coord->ping_fetch = NULL;
	base_log_debug("ping of the server: %d %s", answer ? answer->status : rc, line);
}

static void on_inner_pong(void *ctx, const struct coord_ask_answer *answer, int rc)
{
	struct coord *coord = ctx;

	coord->ping_ask = NULL;
	base_log_debug("ping of the server inside the channel: %d", answer ? answer->status : rc);
}

/* The server asks whether we live: HEAD of an address of its own, one at a time, each once (5.4, PingRequest). */
static void answer_ping(struct coord *coord, const char *text, bool is_inside)
{
	struct base_error line;
	struct coord_url url;

	if (strcmp(text, coord->ping_url) == 0 || strlen(text) >= sizeof(coord->ping_url) ||
		coord->ping_fetch || coord->ping_ask)
		return;
	snprintf(coord->ping_url, sizeof(coord->ping_url), "%s", text);
	if (coord_url_parse(&url, text, &line) != 0 ||
		(url.is_tls && !coord->roots && !is_inside)) {
		base_log_debug("ping of the server: an address that cannot be asked");
		return;
	}
	if (is_inside)
		coord->ping_ask = coord_ask_start(
			coord->link, "HEAD", url.path, NULL, 0, on_inner_pong, coord);
	else
		coord->ping_fetch = coord_fetch_start(
			coord->loop, &url, "HEAD", coord->roots, on_pong, coord, &line);
}

static bool is_empty(const struct coord_diff *diff)
{
	return diff->n_nodes == 0 && !diff->has_self && !diff->has_rules && !diff->has_dns &&
		!diff->has_regions && !diff->has_users && !diff->has_health && !diff->is_first;
}

/* False: the stream is over. The host may have ended the client from within its call. */
static bool apply(struct coord *coord, struct coord_map_update *update)
{
	struct coord_poll *poll = coord->poll;
	const struct coord_diff *diff;
	int rc = coord_netmap_apply(
		coord->map, update, !coord->has_map, base_clock_unix_ns() / BASE_NS_PER_S, &diff);

	if (rc != 0) {
		client_fail(coord,
			rc == -EPROTO ? "the first map of the stream does not name this node"
				      : "out of memory for the map");
		return false;
	}
	coord->has_map = true;
	coord->has_joined = coord->has_rotated = false;
	coord->status.failures = 0;
	if (diff->has_self || diff->is_first)
		note_self(coord, coord_netmap_self(coord->map));
	if (!is_empty(diff))
		coord->host->changed(coord->ctx, coord->map, diff);
	coord_netmap_settle(coord->map);
	return coord->poll == poll;
}

static void on_update(void *ctx, struct coord_map_update *update)
{
	struct coord *coord = ctx;
	char ping[sizeof(coord->ping_url)] = "";
	bool ping_is_inside = update->ping_is_noise;
	uint32_t sleep_s = update->sleep_s;

	if (update->ping_url && !update->ping_is_c2n && strlen(update->ping_url) < sizeof(ping))
		memcpy(ping, update->ping_url, strlen(update->ping_url) + 1);
	if (update->is_keep_alive)
		coord_map_update_free(update);
	else if (!apply(coord, update))
		return;
	if (ping[0])
		answer_ping(coord, ping, ping_is_inside);
	if (sleep_s > 0) {
		client_pause(coord, (uint64_t)sleep_s * 1000, "the server asks for a pause");
		return;
	}
	client_renew(coord);
	client_update(coord);
}

static void on_frame(void *ctx, size_t bytes)
{
	struct coord *coord = ctx;

	coord->status.frames++;
	coord->status.bytes += bytes;
	coord->status.last_frame_ns = base_clock_now_ns();
}

static void on_ended(void *ctx, int status, int rc, const char *line)
{
	if (status == 404)
		client_gone(ctx);
	else
		client_fail(ctx, line);
}

void client_stream(struct coord *coord)
{
	static const struct coord_poll_host host = {
		.frame = on_frame,
		.update = on_update,
		.ended = on_ended,
	};
	size_t len, told_len = 0;
	char *body = client_map_request(coord, true, &len);
	char *told = client_map_request(coord, false, &told_len);

	coord->has_map = false;
	if (body && told)
		coord->poll = coord_poll_new(
			coord->loop, coord->link, body, len, &coord->limits, &host, coord);
	free(body);
	if (!coord->poll) {
		free(told);
		client_fail(coord, "the connection takes no request");
		return;
	}
	/* The request itself tells what a lite update would. */
	told_is(coord, told, told_len);
}

void client_stream_stop(struct coord *coord)
{
	coord_poll_free(coord->poll);
	coord->poll = NULL;
	coord->has_map = false;
	coord_ask_cancel(coord->update);
	coord->update = NULL;
	free(coord->telling);
	coord->telling = NULL;
	coord_ask_cancel(coord->ping_ask);
	coord->ping_ask = NULL;
}

void client_tick(struct coord *coord)
{
	client_renew(coord);
	client_update(coord);
}
