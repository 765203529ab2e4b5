/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The door of the client, its states and its connections; see coord.h, coord_client.h.
 *
 * Timers:
 *	retry       started by a failure, and while refused; ends in a connection
 *	join_timer  while a registration or a logout waits for its answer
 *	tick        all the time it is up: key expiry, pulse, what could not be saved or told
 * The stream has the deadline of connecting (coord_stream.h), the poll that of silence (coord_poll.h).
 *
 * Freed from the loop when its timers are closed, so that a callback up the stack still finds it.
 */
#include "coord_client.h"

#include "base_clock.h"
#include "base_log.h"
#include "cr_noise.h"

#include <stdlib.h>
#include <sys/utsname.h>

#include <sodium.h>

#define BACKOFF_FLOOR_MS 2000 /* half of it at the least */
#define BACKOFF_MAX_MS 30000

BASE_LOG_CATEGORY("coord");

static bool has_changed(const struct coord_status *a, const struct coord_status *b)
{
	return a->state != b->state || a->key_expiry_unix_s != b->key_expiry_unix_s ||
		strcmp(a->detail, b->detail) != 0 || strcmp(a->login_url, b->login_url) != 0;
}

/* Compared with what was told last: members are set one by one. */
static void tell(struct coord *coord)
{
	const struct coord_status *status = &coord->status;

	if (coord->is_freed || !has_changed(&coord->told_status, status))
		return;
	coord->told_status = *status;
	base_log_debug("%s%s%s", coord_state_name(status->state), status->detail[0] ? ": " : "",
		status->detail);
	if (coord->host->state)
		coord->host->state(coord->ctx, status);
}

void client_set_state(struct coord *coord, enum coord_state_kind kind, const char *fmt, ...)
{
	struct coord_status *status = &coord->status;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(status->detail, sizeof(status->detail), fmt, ap);
	va_end(ap);
	if (status->state != kind)
		status->since_ns = base_clock_now_ns();
	status->state = kind;
	if (kind != COORD_BACKING_OFF)
		status->retry_at_ns = 0;
	if (kind == COORD_STREAMING || kind == COORD_STOPPED || kind == COORD_LOGGED_OUT)
		status->login_url[0] = '\0';
	tell(coord);
}

int client_save(struct coord *coord)
{
	struct base_error line;
	int rc = coord_state_save(coord->state, &line);

	coord->is_state_dirty = rc != 0;
	if (rc != 0)
		base_log_debug("%s", line.text);
	return rc;
}

uint64_t client_jitter(uint64_t ms)
{
	uint32_t random;

	cr_random_public(&random, sizeof(random));
	return ms / 2 + (uint64_t)random * ms / UINT32_MAX;
}

/* Section 8.1: n squared times 10 ms, with a floor that is kind to a server that is down. */
uint64_t client_backoff_ms(unsigned failures)
{
	uint64_t n = failures < 100 ? failures : 100, ms = n * n * 10;

	if (ms < BACKOFF_FLOOR_MS)
		ms = BACKOFF_FLOOR_MS;
	return client_jitter(ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
}

void client_drop(struct coord *coord)
{
	uv_timer_stop(&coord->retry);
	coord_fetch_cancel(coord->key_fetch);
	coord->key_fetch = NULL;
	coord_fetch_cancel(coord->ping_fetch);
	coord->ping_fetch = NULL;
	client_join_cancel(coord);
	client_stream_stop(coord);
	coord_link_free(coord->link);
	coord->link = NULL;
	coord->is_link_ready = false;
	coord->has_joined = coord->has_rotated = false;
}

static void on_retry(uv_timer_t *timer)
{
	client_connect(timer->data);
}

void client_pause(struct coord *coord, uint64_t ms, const char *line)
{
	client_drop(coord);
	coord->status.retry_at_ns = base_clock_now_ns() + ms * BASE_NS_PER_MS;
	uv_timer_start(&coord->retry, on_retry, ms, 0);
	client_set_state(coord, COORD_BACKING_OFF, "%s", line);
}

void client_fail(struct coord *coord, const char *line)
{
	client_pause(coord, client_backoff_ms(++coord->status.failures), line);
}

void client_halt(struct coord *coord, enum coord_state_kind kind, const char *fmt, ...)
{
	char line[sizeof(coord->status.detail)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	client_drop(coord);
	/* A network that lies about the server's key for a while must not end the node for good. */
	if (kind == COORD_REFUSED)
		uv_timer_start(&coord->retry, on_retry, client_jitter(CLIENT_REFUSED_RETRY_MS), 0);
	client_set_state(coord, kind, "%s", line);
}

void client_empty_map(struct coord *coord)
{
	const struct coord_diff *diff;

	if (!coord_netmap_self(coord->map))
		return;
	if (coord_netmap_clear(coord->map, &diff) == 0) {
		coord->host->changed(coord->ctx, coord->map, diff);
		coord_netmap_settle(coord->map);
	}
}

static void on_ready(void *ctx)
{
	struct coord *coord = ctx;

	coord->is_link_ready = true;
	if (coord->logout_done)
		client_join_start(coord, CLIENT_JOIN_LOGOUT);
	else if (coord->status.login_url[0])
		client_join_start(coord, CLIENT_JOIN_FOLLOWUP);
	else if (coord->must_register)
		client_join_start(coord, CLIENT_JOIN_REGISTER);
	else
		client_stream(coord);
}

static void on_closed(void *ctx, int rc, const char *line)
{
	struct coord *coord = ctx;

	/* The server may have another key now; its word decides, not this (section 8.1). */
	if (rc == -EKEYREJECTED || coord->status.failures % 5 == 4)
		coord->must_check_key = true;
	client_fail(coord, line);
}

static void open_link(struct coord *coord)
{
	static const struct coord_link_host host = {.ready = on_ready, .closed = on_closed};
	const struct coord_identity *identity = coord_state_identity(coord->state);
	struct base_error line;

	coord->link = coord_link_new(coord->loop, &coord->url, coord->roots,
		&identity->machine_private, &identity->server_key, &host, coord, &line);
	if (!coord->link)
		client_fail(coord, line.text);
}

/* Another server than the one these keys are known to: it has to be met first. */
static void meet_server(struct coord *coord)
{
	struct coord_identity *identity = coord_state_identity(coord->state);

	if (strcmp(identity->server_url, coord->server_url) != 0) {
		snprintf(identity->server_url, sizeof(identity->server_url), "%s",
			coord->server_url);
		identity->server_key = (struct cr_key){{0}};
		identity->node_id = 0;
		coord->is_state_dirty = true;
	}
	if (coord->is_pinned && !cr_key_equal(&identity->server_key, &coord->pinned_key)) {
		identity->server_key = coord->pinned_key;
		coord->is_state_dirty = true;
	}
	if (identity->node_id == 0 || !cr_key_is_zero(&identity->old_node_private))
		coord->must_register = true;
	if (coord->is_state_dirty)
		client_save(coord);
}

void client_connect(struct coord *coord)
{
	const struct coord_identity *identity = coord_state_identity(coord->state);

	client_drop(coord);
	meet_server(coord);
	if (coord->status.state != COORD_NEEDS_LOGIN && coord->status.state != COORD_REFUSED)
		client_set_state(coord, COORD_CONNECTING, "%s", coord->status.detail);
	if (cr_key_is_zero(&identity->server_key) || coord->must_check_key)
		client_fetch_key(coord);
	else
		open_link(coord);
}

static void on_tick(uv_timer_t *timer)
{
	struct coord *coord = timer->data;

	if (coord->is_state_dirty)
		client_save(coord);
	client_tick(coord);
}

void coord_up(struct coord *coord)
{
	if (coord->is_up && coord->status.state != COORD_REMOVED &&
		coord->status.state != COORD_REFUSED)
		return;
	coord->is_up = true;
	coord->status.failures = 0;
	uv_timer_start(&coord->tick, on_tick, CLIENT_TICK_MS, CLIENT_TICK_MS);
	client_set_state(coord, COORD_CONNECTING, "%s", "");
	client_connect(coord);
}

void coord_down(struct coord *coord)
{
	coord->is_up = false;
	uv_timer_stop(&coord->tick);
	client_drop(coord);
	client_logout_answer(coord, -ECANCELED, "the node was taken down meanwhile");
	client_set_state(coord, COORD_STOPPED, "%s", "");
	client_empty_map(coord);
}

void coord_reachability_set(struct coord *coord, const struct coord_reachability *reachability)
{
	coord->reachability = *reachability;
	client_update(coord);
}

static int keep_authkey(struct coord *coord, const char *authkey)
{
	size_t len = strlen(authkey);
	char *copy = NULL;

	if (len > 0 && len <= COORD_AUTHKEY_BYTES_MAX)
		copy = sodium_malloc(len + 1);
	if (!copy)
		return len > 0 && len <= COORD_AUTHKEY_BYTES_MAX ? -ENOMEM : -EINVAL;
	memcpy(copy, authkey, len + 1);
	sodium_free(coord->authkey);
	coord->authkey = copy;
	coord->is_renewal_refused = false;
	return 0;
}

int coord_login(struct coord *coord, const char *authkey, struct base_error *ret_error)
{
	if (coord->logout_done)
		return base_error_set(ret_error, -EBUSY, "the node is being logged out");
	if (authkey) {
		int rc = keep_authkey(coord, authkey);

		if (rc != 0)
			return base_error_set(ret_error, rc,
				rc == -EINVAL ? "the key is empty or too long" : "out of memory");
	}
	if (coord->status.state == COORD_STREAMING && coord->is_up) {
		client_renew(coord);
		return 0;
	}
	coord->is_up = true;
	coord->status.failures = 0;
	if (authkey || coord->status.state == COORD_EXPIRED ||
		coord->status.state == COORD_REMOVED || coord->status.state == COORD_NEEDS_LOGIN)
		coord->must_register = true;
	if (authkey)
		coord->status.login_url[0] = '\0';
	uv_timer_start(&coord->tick, on_tick, CLIENT_TICK_MS, CLIENT_TICK_MS);
	client_set_state(coord, COORD_CONNECTING, "%s", "");
	client_connect(coord);
	return 0;
}

const struct coord_netmap *coord_netmap_of(const struct coord *coord)
{
	return coord->map;
}

const struct coord_status *coord_status_of(const struct coord *coord)
{
	return &coord->status;
}

static int read_pin(struct coord *coord, const char *text, struct base_error *ret_error)
{
	static const char prefix[] = "mkey:";

	if (!text)
		return 0;
	if (strncmp(text, prefix, sizeof(prefix) - 1) != 0 ||
		!base_hex_decode(
			coord->pinned_key.bytes, CR_KEY_BYTES, text + sizeof(prefix) - 1) ||
		cr_key_is_zero(&coord->pinned_key))
		return base_error_set(ret_error, -EINVAL,
			"server_key: write mkey: and 64 hexadecimal digits, as GET /key of the "
			"server has it");
	coord->is_pinned = true;
	return 0;
}

static int read_server(
	struct coord *coord, const struct coord_config *config, struct base_error *ret_error)
{
	struct base_error why;

	if (!config->server_url ||
		coord_url_parse_server(&coord->url, config->server_url, &why) != 0)
		return base_error_set(ret_error, -EINVAL, "server %s: %s",
			config->server_url ? config->server_url : "",
			config->server_url ? why.text : "none is named");
	if ((size_t)snprintf(coord->server_url, sizeof(coord->server_url), "%s://%s",
		    coord->url.is_tls ? "https" : "http",
		    coord->url.authority) >= sizeof(coord->server_url))
		return base_error_set(ret_error, -EINVAL, "server: its name is too long");
	if (coord->url.is_tls) {
		coord->roots = coord_tls_roots_new(config->ca_file, ret_error);
		if (!coord->roots)
			return -errno;
	}
	return read_pin(coord, config->server_key, ret_error);
}

static int configure(
	struct coord *coord, const struct coord_config *config, struct base_error *ret_error)
{
	struct utsname name;
	int rc = read_server(coord, config, ret_error);

	if (rc != 0)
		return rc;
	if (config->n_advertise_routes > COORD_ROUTES_MAX)
		return base_error_set(
			ret_error, -EINVAL, "advertise_routes: at most %d", COORD_ROUTES_MAX);
	for (size_t i = 0; i < config->n_advertise_routes; i++)
		coord->advertise_routes[i] = config->advertise_routes[i];
	coord->n_advertise_routes = config->n_advertise_routes;
	coord->on_removed = config->on_removed;
	coord->limits.bytes_max = config->map_bytes_max;
	coord->limits.decoded_max = config->map_decoded_max;
	coord->hostname = config->hostname ? config->hostname : "";
	coord->version = config->version ? config->version : "";
	if (uname(&name) == 0) {
		snprintf(coord->os_version, sizeof(coord->os_version), "%s", name.release);
		snprintf(coord->machine, sizeof(coord->machine), "%s", name.machine);
	}
	if (config->authkey && keep_authkey(coord, config->authkey) != 0)
		return base_error_set(ret_error, -EINVAL, "the auth key is empty or too long");
	return 0;
}

static void timers_init(struct coord *coord)
{
	uv_timer_t *const timers[] = {&coord->retry, &coord->tick, &coord->join_timer};

	for (size_t i = 0; i < BASE_ARRAY_LEN(timers); i++) {
		uv_timer_init(coord->loop, timers[i]); /* cannot fail */
		timers[i]->data = coord;
	}
	coord->n_handles = BASE_ARRAY_LEN(timers);
}

static void destroy(struct coord *coord)
{
	coord_netmap_free(coord->map);
	coord_tls_roots_free(coord->roots);
	sodium_free(coord->authkey);
	free(coord->told);
	free(coord);
}

struct coord *coord_new(uv_loop_t *loop, struct coord_state *state,
	const struct coord_config *config, const struct cr_key *disco_public,
	const struct coord_host *host, void *ctx, struct base_error *ret_error)
{
	struct coord *coord = calloc(1, sizeof(*coord));
	int rc;

	if (!coord || sodium_init() < 0 || !(coord->map = coord_netmap_new())) {
		free(coord);
		base_error_set(ret_error, -ENOMEM, "out of memory");
		errno = ENOMEM;
		return NULL;
	}
	coord->loop = loop;
	coord->state = state;
	coord->host = host;
	coord->ctx = ctx;
	coord->disco_public = *disco_public;
	cr_x25519_public(&coord->told_node_public, &coord_state_identity(state)->node_private);
	rc = configure(coord, config, ret_error);
	if (rc != 0) {
		destroy(coord);
		errno = -rc;
		return NULL;
	}
	timers_init(coord);
	return coord;
}

static void timer_closed(uv_handle_t *handle)
{
	struct coord *coord = handle->data;

	if (--coord->n_handles == 0)
		destroy(coord);
}

void coord_free(struct coord *coord)
{
	if (!coord || coord->is_freed)
		return;
	coord->is_freed = true;
	client_drop(coord);
	uv_close((uv_handle_t *)&coord->retry, timer_closed);
	uv_close((uv_handle_t *)&coord->tick, timer_closed);
	uv_close((uv_handle_t *)&coord->join_timer, timer_closed);
}
