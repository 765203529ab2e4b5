/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See coord_relays.h. Each region has a connection or none; one timer wakes for the next thing that is due with any of them. Freed
 * when that timer is closed.
 */
#include "coord_relays.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "coord_derp.h"

#include <stdlib.h>

#include <sodium.h>

#define HEARD_PLACES 8192 /* a power of two */
#define BACKOFF_STEP_MS 10
#define RESTART_AFTER_MAX_MS 30000

/* Who was heard over which region's connection. */
struct heard {
	struct cr_key key;
	uint32_t region;     /* 0: an empty place */
	uint32_t connection; /* of that region: another one makes it void */
};

struct relay {
	struct coord_relays *relays;
	struct coord_derp_region region; /* its parts are its own */
	struct coord_derp *derp;
	enum coord_relays_phase phase;
	uint64_t since_ns, due_ns; /* due: of the next try; WAITING */
	uint64_t last_send_ns;     /* 0: never */
	uint64_t last_frame_ns;    /* of connections that are gone */
	unsigned n_failed;         /* tries since a login */
	struct base_error line;
	uint32_t n_connections;
	uint32_t rtt_us;
	uint64_t n_sent, n_received, n_dropped; /* of connections that are gone */
	uint64_t n_unsent;                      /* between connections */
};

struct coord_relays {
	struct coord_derp_setup setup;
	const struct coord_relays_host *host;
	void *ctx;
	struct relay **relays; /* their addresses stay */
	size_t n;
	uint32_t home;
	uv_timer_t timer;
	uint8_t secret[crypto_shorthash_KEYBYTES];
	struct heard *heard;
};

/* --- who was heard where --------------------------------------------------------------------- */

static struct heard *heard_place(const struct coord_relays *relays, const struct cr_key *key)
{
	uint64_t hash;

	crypto_shorthash((uint8_t *)&hash, key->bytes, CR_KEY_BYTES, relays->secret);
	return &relays->heard[hash % HEARD_PLACES];
}

static struct relay *relay_find(const struct coord_relays *relays, uint32_t region)
{
	for (size_t i = 0; region != 0 && i < relays->n; i++)
		if (relays->relays[i]->region.id == region)
			return relays->relays[i];
	return NULL;
}

static void heard_set(struct relay *relay, const struct cr_key *key)
{
	struct heard *place = heard_place(relay->relays, key);

	if (place->region == relay->region.id && place->connection == relay->n_connections &&
		memcmp(&place->key, key, sizeof(*key)) == 0)
		return;
	*place = (struct heard){*key, relay->region.id, relay->n_connections};
}

static void heard_drop(struct relay *relay, const struct cr_key *key)
{
	struct heard *place = heard_place(relay->relays, key);

	if (place->region == relay->region.id && memcmp(&place->key, key, sizeof(*key)) == 0)
		place->region = 0;
}

/* The open connection that @key was heard over. */
static struct relay *heard_find(const struct coord_relays *relays, const struct cr_key *key)
{
	const struct heard *place = heard_place(relays, key);
	struct relay *relay;

	if (place->region == 0 || memcmp(&place->key, key, sizeof(*key)) != 0)
		return NULL;
	relay = relay_find(relays, place->region);
	return relay && relay->phase == COORD_RELAYS_UP && place->connection == relay->n_connections
		? relay
		: NULL;
}

/* --- one region ------------------------------------------------------------------------------ */

static void schedule(struct coord_relays *relays);

static void relay_enter(struct relay *relay, enum coord_relays_phase phase)
{
	relay->phase = phase;
	relay->since_ns = base_clock_now_ns();
}

static bool is_wanted(const struct relay *relay, uint64_t now_ns)
{
	return relay->region.id == relay->relays->home ||
		(relay->last_send_ns &&
			now_ns - relay->last_send_ns < COORD_RELAYS_IDLE_MS * BASE_NS_PER_MS);
}

/* Its connection, and what of it outlives it. */
static void relay_drop(struct relay *relay)
{
	struct coord_derp_stats stats;

	if (!relay->derp)
		return;
	stats = coord_derp_stats(relay->derp);
	relay->n_sent += stats.n_sent;
	relay->n_received += stats.n_received;
	relay->n_dropped += stats.n_dropped + stats.n_paced;
	relay->last_frame_ns = stats.last_frame_ns ? stats.last_frame_ns : relay->last_frame_ns;
	relay->rtt_us = stats.rtt_us;
	coord_derp_free(relay->derp);
	relay->derp = NULL;
}

/* Silently: nobody wants it any more. */
static void relay_rest(struct relay *relay)
{
	relay_drop(relay);
	relay_enter(relay, COORD_RELAYS_IDLE);
	relay->n_failed = 0;
	relay->due_ns = 0;
}

/* min(n * n * 10 ms, 5 s), times 0.5 to 1.5. */
static uint64_t backoff_ms(unsigned n_failed)
{
	uint64_t ms = n_failed < 100 ? (uint64_t)n_failed * n_failed * BACKOFF_STEP_MS
				     : COORD_RELAYS_BACKOFF_MAX_MS;

	if (ms > COORD_RELAYS_BACKOFF_MAX_MS)
		ms = COORD_RELAYS_BACKOFF_MAX_MS;
	return ms / 2 + randombytes_uniform((uint32_t)ms + 1);
}

/* Down, until the next try. The host is told last: it may change the map. */
static void relay_wait(struct relay *relay, uint64_t wait_ms, const char *text)
{
	struct base_error line;

	base_error_set(&line, 0, "%s", text);
	relay_drop(relay);
	relay->line = line;
	relay->due_ns = base_clock_now_ns() + wait_ms * BASE_NS_PER_MS;
	relay_enter(relay, COORD_RELAYS_WAITING);
	schedule(relay->relays);
	relay->relays->host->state(relay->relays->ctx, relay->region.id, false, line.text);
}

/* The connection ended, or never was. */
static void relay_fail(struct relay *relay, const char *line)
{
	uint64_t wait_ms, restart_ms = 0;

	if (relay->derp)
		restart_ms = coord_derp_stats(relay->derp).restart_after_ms;
	relay->n_failed++;
	wait_ms = backoff_ms(relay->n_failed);
	if (restart_ms > RESTART_AFTER_MAX_MS)
		restart_ms = RESTART_AFTER_MAX_MS;
	relay_wait(relay, wait_ms > restart_ms ? wait_ms : restart_ms, line);
}

static void on_opened(void *ctx)
{
	struct relay *relay = ctx;

	relay->n_failed = 0;
	relay->line.text[0] = '\0';
	relay_enter(relay, COORD_RELAYS_UP);
	schedule(relay->relays);
	coord_derp_ping(relay->derp); /* how far it is */
	relay->relays->host->state(relay->relays->ctx, relay->region.id, true, "");
}

static void on_packet(void *ctx, const struct cr_key *source, const void *packet, size_t len)
{
	struct relay *relay = ctx;

	heard_set(relay, source);
	relay->relays->host->packet(relay->relays->ctx, relay->region.id, source, packet, len);
}

static void on_gone(void *ctx, const struct cr_key *peer)
{
	struct relay *relay = ctx;

	heard_drop(relay, peer);
	relay->relays->host->gone(relay->relays->ctx, relay->region.id, peer);
}

static void on_closed(void *ctx, int rc, const char *line)
{
	relay_fail(ctx, line);
}

static int relay_dial(struct relay *relay)
{
	static const struct coord_derp_host host = {
		.opened = on_opened,
		.packet = on_packet,
		.gone = on_gone,
		.closed = on_closed,
	};
	struct coord_relays *relays = relay->relays;

	relay->n_connections++;
	relay->derp = coord_derp_new(&relays->setup, &relay->region, &host, relay, &relay->line);
	if (!relay->derp)
		return -errno;
	coord_derp_prefer(relay->derp, relay->region.id == relays->home);
	relay_enter(relay, COORD_RELAYS_DIALLING);
	schedule(relays);
	return 0;
}

/* --- time ------------------------------------------------------------------------------------ */

/* What is due with a region, if it is; when it is next. */
static uint64_t relay_due_ns(const struct relay *relay, uint64_t now_ns)
{
	bool is_home = relay->region.id == relay->relays->home;

	switch (relay->phase) {
	case COORD_RELAYS_IDLE:
		return is_home ? now_ns : BASE_NEVER_NS;
	case COORD_RELAYS_WAITING:
		return relay->due_ns;
	default:
		if (is_home)
			return BASE_NEVER_NS;
		/* A home that is none any more may never have sent. */
		return (relay->last_send_ns > relay->since_ns ? relay->last_send_ns
							      : relay->since_ns) +
			COORD_RELAYS_IDLE_MS * BASE_NS_PER_MS;
	}
}

static void relay_do(struct relay *relay, uint64_t now_ns)
{
	if (relay->phase == COORD_RELAYS_DIALLING || relay->phase == COORD_RELAYS_UP ||
		!is_wanted(relay, now_ns)) {
		relay_rest(relay);
		return;
	}
	if (relay_dial(relay) != 0)
		relay_fail(relay, relay->line.text);
}

static void on_timer(uv_timer_t *timer)
{
	struct coord_relays *relays = timer->data;
	uint64_t now_ns = base_clock_now_ns();

	/* A callback of the host may change the map: so the end is asked for each time. */
	for (size_t i = 0; i < relays->n; i++)
		if (relay_due_ns(relays->relays[i], now_ns) <= now_ns)
			relay_do(relays->relays[i], now_ns);
	schedule(relays);
}

static void schedule(struct coord_relays *relays)
{
	uint64_t now_ns = base_clock_now_ns(), due_ns = BASE_NEVER_NS;

	if (uv_is_closing((uv_handle_t *)&relays->timer))
		return;
	for (size_t i = 0; i < relays->n; i++) {
		uint64_t at_ns = relay_due_ns(relays->relays[i], now_ns);

		due_ns = at_ns < due_ns ? at_ns : due_ns;
	}
	if (due_ns == BASE_NEVER_NS)
		uv_timer_stop(&relays->timer);
	else
		uv_timer_start(&relays->timer, on_timer,
			due_ns > now_ns ? (due_ns - now_ns) / BASE_NS_PER_MS + 1 : 0, 0);
}

/* --- the map --------------------------------------------------------------------------------- */

static void relay_free(struct relay *relay)
{
	relay_drop(relay);
	for (size_t i = 0; i < relay->region.n_nodes; i++) {
		const struct coord_derp_node *node = &relay->region.nodes[i];

		free((char *)(uintptr_t)node->name);
		free((char *)(uintptr_t)node->host);
		free((char *)(uintptr_t)node->cert_name);
	}
	free((struct coord_derp_node *)(uintptr_t)relay->region.nodes);
	free((char *)(uintptr_t)relay->region.code);
	free((char *)(uintptr_t)relay->region.name);
	free(relay);
}

static char *copy_text(const char *text, bool *has_failed)
{
	char *copy = strdup(text ? text : "");

	*has_failed |= !copy;
	return copy;
}

static struct relay *relay_new(struct coord_relays *relays, const struct coord_derp_region *region)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	struct coord_derp_node *nodes;
	bool has_failed = false;

	if (!relay)
		return NULL;
	relay->relays = relays;
	relay->since_ns = base_clock_now_ns();
	relay->region = *region;
	relay->region.n_nodes = 0;
	relay->region.nodes = nodes = calloc(region->n_nodes + 1, sizeof(*nodes));
	relay->region.code = copy_text(region->code, &has_failed);
	relay->region.name = copy_text(region->name, &has_failed);
	for (size_t i = 0; nodes && i < region->n_nodes; i++) {
		nodes[i] = region->nodes[i];
		nodes[i].name = copy_text(region->nodes[i].name, &has_failed);
		nodes[i].host = copy_text(region->nodes[i].host, &has_failed);
		nodes[i].cert_name = copy_text(region->nodes[i].cert_name, &has_failed);
		relay->region.n_nodes++;
	}
	if (!nodes || has_failed) {
		relay_free(relay);
		return NULL;
	}
	return relay;
}

static bool is_same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool is_same_node(const struct coord_derp_node *a, const struct coord_derp_node *b)
{
	return is_same_text(a->name, b->name) && is_same_text(a->host, b->host) &&
		is_same_text(a->cert_name, b->cert_name) && base_addr_equal(&a->v4, &b->v4) &&
		base_addr_equal(&a->v6, &b->v6) && a->has_no_v4 == b->has_no_v4 &&
		a->has_no_v6 == b->has_no_v6 && a->is_stun_only == b->is_stun_only &&
		a->is_insecure == b->is_insecure && a->derp_port == b->derp_port;
}

/* As far as a connection is concerned. */
static bool is_same_region(const struct coord_derp_region *a, const struct coord_derp_region *b)
{
	if (a->n_nodes != b->n_nodes || !is_same_text(a->code, b->code) ||
		!is_same_text(a->name, b->name))
		return false;
	for (size_t i = 0; i < a->n_nodes; i++)
		if (!is_same_node(&a->nodes[i], &b->nodes[i]))
			return false;
	return true;
}

int coord_relays_map(struct coord_relays *relays, const struct coord_derp_region *regions, size_t n)
{
	struct relay **next, *relay;
	bool has_failed = false;

	n = n < COORD_RELAYS_MAX ? n : COORD_RELAYS_MAX;
	next = calloc(n + 1, sizeof(struct relay *));
	if (!next)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		relay = relay_find(relays, regions[i].id);
		next[i] = relay && is_same_region(&relay->region, &regions[i])
			? relay
			: relay_new(relays, &regions[i]);
		has_failed |= !next[i];
	}
	/* Of two lists: what only one of them has goes, the new one if it could not be made whole. */
	for (size_t i = 0; i < n && has_failed; i++)
		if (next[i] && relay_find(relays, next[i]->region.id) != next[i])
			relay_free(next[i]);
	if (has_failed) {
		free(next);
		return -ENOMEM;
	}
	for (size_t i = 0; i < relays->n; i++) {
		bool is_kept = false;

		for (size_t j = 0; j < n; j++)
			is_kept |= next[j] == relays->relays[i];
		if (!is_kept)
			relay_free(relays->relays[i]);
	}
	free(relays->relays);
	relays->relays = next;
	relays->n = n;
	schedule(relays);
	return 0;
}

/* --- the door -------------------------------------------------------------------------------- */

struct coord_relays *coord_relays_new(uv_loop_t *loop, struct coord_tls_roots *roots,
	const struct cr_key *node_private, const struct coord_relays_host *host, void *ctx)
{
	struct coord_relays *relays = calloc(1, sizeof(*relays));

	if (relays)
		relays->heard = calloc(HEARD_PLACES, sizeof(struct heard));
	if (!relays || !relays->heard) {
		free(relays);
		errno = ENOMEM;
		return NULL;
	}
	relays->setup = (struct coord_derp_setup){
		.loop = loop, .roots = roots, .node_private = *node_private};
	relays->host = host;
	relays->ctx = ctx;
	randombytes_buf(relays->secret, sizeof(relays->secret));
	uv_timer_init(loop, &relays->timer); /* cannot fail: it only fills in the handle */
	relays->timer.data = relays;
	return relays;
}

static void timer_closed(uv_handle_t *handle)
{
	struct coord_relays *relays = handle->data;

	free(relays->relays);
	free(relays->heard);
	cr_key_wipe(&relays->setup.node_private);
	free(relays);
}

void coord_relays_free(struct coord_relays *relays)
{
	if (!relays || uv_is_closing((uv_handle_t *)&relays->timer))
		return;
	for (size_t i = 0; i < relays->n; i++)
		relay_free(relays->relays[i]);
	relays->n = 0;
	uv_close((uv_handle_t *)&relays->timer, timer_closed);
}

void coord_relays_plain(struct coord_relays *relays)
{
	relays->setup.is_plain = true;
}

void coord_relays_identity(struct coord_relays *relays, const struct cr_key *node_private)
{
	for (size_t i = 0; i < relays->n; i++)
		relay_rest(relays->relays[i]);
	relays->setup.node_private = *node_private;
	schedule(relays);
}

void coord_relays_home(struct coord_relays *relays, uint32_t region)
{
	if (relays->home == region)
		return;
	relays->home = region;
	for (size_t i = 0; i < relays->n; i++) {
		struct relay *relay = relays->relays[i];

		if (relay->derp)
			coord_derp_prefer(relay->derp, relay->region.id == region);
	}
	schedule(relays);
}

int coord_relays_send(struct coord_relays *relays, const struct cr_key *peer, uint32_t region,
	const void *packet, size_t len)
{
	struct relay *home = relay_find(relays, region), *relay = home;

	if (!relay || relay->phase != COORD_RELAYS_UP)
		relay = heard_find(relays, peer);
	if (!relay)
		relay = home;
	if (!relay)
		return -ENOENT;
	relay->last_send_ns = base_clock_now_ns();
	if (relay->phase == COORD_RELAYS_IDLE && relay_dial(relay) != 0) {
		/* Told from the loop, which tries once more. */
		relay_enter(relay, COORD_RELAYS_WAITING);
		relay->due_ns = relay->last_send_ns;
		schedule(relays);
	}
	if (!relay->derp) {
		relay->n_unsent++;
		return -ENOTCONN;
	}
	return coord_derp_send(relay->derp, peer, packet, len);
}

void coord_relays_network_changed(struct coord_relays *relays)
{
	for (size_t i = 0; i < relays->n; i++) {
		struct relay *relay = relays->relays[i];

		relay->n_failed = 0;
		if (relay->phase == COORD_RELAYS_UP && !coord_derp_is_stranded(relay->derp)) {
			coord_derp_ping(relay->derp);
		} else if (relay->phase == COORD_RELAYS_UP) {
			relay_wait(relay, 0, "our address of the connection is gone");
		} else if (relay->phase == COORD_RELAYS_DIALLING) {
			/* Its first try may hang in the old network. */
			relay_drop(relay);
			relay_enter(relay, COORD_RELAYS_WAITING);
			relay->due_ns = base_clock_now_ns();
		} else if (relay->phase == COORD_RELAYS_WAITING) {
			relay->due_ns = base_clock_now_ns();
		}
	}
	schedule(relays);
}

static struct coord_relays_status status_of(const struct relay *relay)
{
	struct coord_derp_stats stats = {.node = "", .health = ""};

	if (relay->derp)
		stats = coord_derp_stats(relay->derp);
	return (struct coord_relays_status){
		.region = relay->region.id,
		.code = relay->region.code,
		.name = relay->region.name,
		.node = stats.node,
		.line = relay->line.text,
		.health = stats.health,
		.phase = relay->phase,
		.is_home = relay->region.id == relay->relays->home,
		.since_ns = relay->since_ns,
		.rtt_us = stats.rtt_us ? stats.rtt_us : relay->rtt_us,
		.n_connections = relay->n_connections,
		.n_sent = relay->n_sent + stats.n_sent,
		.n_received = relay->n_received + stats.n_received,
		.n_dropped = relay->n_dropped + relay->n_unsent + stats.n_dropped + stats.n_paced,
	};
}

size_t coord_relays_status(
	const struct coord_relays *relays, struct coord_relays_status *ret_status, size_t n_max)
{
	size_t n = relays->n < n_max ? relays->n : n_max;

	for (size_t i = 0; i < n; i++)
		ret_status[i] = status_of(relays->relays[i]);
	return n;
}

uint64_t coord_relays_last_frame_ns(const struct coord_relays *relays, uint32_t region)
{
	const struct relay *relay = relay_find(relays, region);
	uint64_t last_ns;

	if (!relay)
		return 0;
	last_ns = relay->derp ? coord_derp_stats(relay->derp).last_frame_ns : 0;
	return last_ns ? last_ns : relay->last_frame_ns;
}
