/* SPDX-License-Identifier: BSD-3-Clause */
/* Dataplane started, fed with peers, and listened to. Main thread. See ctl_tunnel.h. */
#include "ctl_tunnel.h"

#include "base_clock.h"
#include "base_log.h"

#include <stdlib.h>

BASE_LOG_CATEGORY("tunnel");

/* Peers' news in the log: this many at once, then one a second; the counters have them all. */
#define EVENT_BURST 20

struct ctl_tunnel {
	const struct ctl_config *config;
	struct ctl_loop *loop;
	struct dp *dp;
	const struct ctl_peer **by_key; /* ordered by public key */
	struct base_log_limit limit;
};

static int compare_peers(const void *a, const void *b)
{
	const struct ctl_peer *const *x = a, *const *y = b;

	return memcmp((*x)->dp.public_key.bytes, (*y)->dp.public_key.bytes, CR_KEY_BYTES);
}

static int index_peers(struct ctl_tunnel *tunnel)
{
	const struct ctl_config *config = tunnel->config;

	tunnel->by_key = calloc(config->n_peers + 1, sizeof(const struct ctl_peer *));
	if (!tunnel->by_key)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_peers; i++)
		tunnel->by_key[i] = &config->peers[i];
	qsort(tunnel->by_key, config->n_peers, sizeof(const struct ctl_peer *), compare_peers);
	return 0;
}

const char *ctl_tunnel_peer_name(const struct ctl_tunnel *tunnel, const struct cr_key *public_key)
{
	struct ctl_peer wanted = {.dp.public_key = *public_key};
	const struct ctl_peer *key = &wanted, *const * found;

	found = bsearch(&key, tunnel->by_key, tunnel->config->n_peers, sizeof(key), compare_peers);
	return found ? (*found)->name : "unknown";
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

static const struct dp_callbacks callbacks = {.event = on_event};

static void on_readable(void *ctx)
{
	struct ctl_tunnel *tunnel = ctx;

	dp_service(tunnel->dp);
}

static void on_warning(const char *line)
{
	base_log_warn("%s", line);
}

static int add_peers(struct ctl_tunnel *tunnel, struct base_error *ret_error)
{
	const struct ctl_config *config = tunnel->config;
	struct base_error reason;

	for (size_t i = 0; i < config->n_peers; i++) {
		int rc = dp_peer_set(tunnel->dp, &config->peers[i].dp, &reason);

		if (rc < 0)
			return base_error_set(ret_error, rc == -EEXIST ? -EINVAL : rc,
				"peers[%zu] (%s): %.400s", i, config->peers[i].name, reason.text);
	}
	return 0;
}

static int start(struct ctl_tunnel *tunnel, struct base_error *ret_error)
{
	int rc = index_peers(tunnel);

	if (rc < 0)
		return base_error_set(ret_error, rc, "tunnel: out of memory");
	tunnel->dp = dp_new(&tunnel->config->dp, &callbacks, tunnel, on_warning, ret_error);
	if (!tunnel->dp)
		return -errno;
	rc = add_peers(tunnel, ret_error);
	if (rc < 0)
		return rc;
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
	free(tunnel->by_key);
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
	for (size_t i = 0; i < tunnel->config->n_peers; i++) {
		if (strcmp(tunnel->config->peers[i].name, name) != 0)
			continue;
		*ret_public_key = tunnel->config->peers[i].dp.public_key;
		return true;
	}
	return false;
}

struct dp_tap *ctl_tunnel_tap(const struct ctl_tunnel *tunnel, const struct dp_tap_config *config,
	struct base_error *ret_error)
{
	return dp_tap_start(tunnel->dp, config, ret_error);
}
