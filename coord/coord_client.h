/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the client share; nobody else includes it. The door is coord.h.
 *
 *	coord_client.c   the door; states, connections, trying again
 *	coord_join.c     the server's key, registration, rotation of the node key, logout
 *	coord_follow.c   the map stream, lite updates, pings of the server, key expiry
 *
 * One connection (link) at a time; on it at most: one poll, one question about registration (join), one lite update, one ping. Whatever
 * fails the connection ends here: client_fail(), and the next one is made after a pause.
 *
 * Thread: the loop's.
 */
#ifndef COORD_CLIENT_H
#define COORD_CLIENT_H

#include "coord.h"
#include "coord_ask.h"
#include "coord_http.h"
#include "coord_link.h"
#include "coord_map.h"
#include "coord_poll.h"
#include "coord_register.h"
#include "coord_tls.h"
#include "coord_url.h"

#define CLIENT_JOIN_MS 30000   /* for an answer to a registration that waits for nobody */
#define CLIENT_LOGOUT_MS 20000 /* for a whole logout, with its connection */
#define CLIENT_TICK_MS 15000   /* how often slow things are looked at */
#define CLIENT_RENEW_AHEAD_S                                                                       \
	86400 /* before a node key expires, or a tenth of the time it has when first seen */
#define CLIENT_RENEW_PAUSE_S 60
#define CLIENT_PULSE_MIN_S 600 /* is the node still known? (8.5) */
#define CLIENT_PULSE_SPREAD_S 300
#define CLIENT_REFUSED_RETRY_MS 60000

enum client_join {
	CLIENT_JOIN_NONE,
	CLIENT_JOIN_REGISTER, /* with the node key that we have */
	CLIENT_JOIN_ROTATE,   /* with a new one */
	CLIENT_JOIN_FOLLOWUP, /* waiting for a person */
	CLIENT_JOIN_LOGOUT,
};

struct coord {
	uv_loop_t *loop;
	struct coord_state *state;
	const struct coord_host *host;
	void *ctx;

	/* As configured. */
	const char *hostname, *version;
	struct base_prefix advertise_routes[COORD_ROUTES_MAX];
	size_t n_advertise_routes;
	enum coord_on_removed on_removed;
	struct coord_map_limits limits;
	struct coord_url url;
	char server_url[COORD_URL_BYTES_MAX + 1];
	struct coord_tls_roots *roots; /* NULL: plain http */
	bool is_pinned;
	struct cr_key pinned_key;
	char *authkey; /* in locked memory; NULL */
	struct cr_key disco_public;
	char os_version[66], machine[66];

	/* Where we are. */
	struct coord_status status, told_status;
	bool is_up, is_freed;
	bool must_register;  /* before the stream */
	bool must_check_key; /* the server's: ask for it again before the next connection */
	bool is_state_dirty; /* not on disk yet */
	struct cr_key told_node_public; /* what host->identity, or coord_new(), was about */
	uv_timer_t retry, tick, join_timer;
	unsigned n_handles; /* still to be closed after coord_free() */

	/* The connection and what runs on it. */
	struct coord_fetch *key_fetch;
	struct coord_link *link;
	bool is_link_ready;
	struct coord_ask *join;
	enum client_join join_kind;
	bool has_joined, has_rotated; /* and no map since: not twice in a row */
	uint64_t expiry_unix_s,
		renew_at_unix_s; /* of the node key, and when to do something about it; 0: never */
	uint64_t renewed_ns;     /* the last time it was tried */
	bool is_renewal_refused; /* by the server, with the key we have; in these words */
	char renewal_words[COORD_WORDS_BYTES];
	void (*logout_done)(void *user, int rc, const char *line);
	void *logout_user;

	struct coord_poll *poll;
	bool has_map; /* of this stream */
	struct coord_netmap *map;

	struct coord_reachability reachability;
	char *told; /* the lite update that the server has; NULL: none yet on this connection */
	size_t told_len;
	char *telling; /* that is under way */
	size_t telling_len;
	struct coord_ask *update;
	unsigned update_failures;
	uint64_t update_retry_ns, pulse_ns;

	struct coord_fetch *ping_fetch;
	struct coord_ask *ping_ask;
	char ping_url[512]; /* the last one */
};

/* coord_client.c */
BASE_PRINTF(3, 4)
void client_set_state(struct coord *coord, enum coord_state_kind kind, const char *fmt, ...);
/** Make a connection, now. */
void client_connect(struct coord *coord);
/** End the connection and everything on it, silently. */
void client_drop(struct coord *coord);
/** Drop the connection, say why, make another after @ms. */
void client_pause(struct coord *coord, uint64_t ms, const char *line);
/** The connection is of no use: client_pause() for as long as failures in a row make it. */
void client_fail(struct coord *coord, const char *line);
/** Drop it and stay in a state that only a person changes. */
BASE_PRINTF(3, 4)
void client_halt(struct coord *coord, enum coord_state_kind kind, const char *fmt, ...);
/** The map is over for this node: told as a difference. */
void client_empty_map(struct coord *coord);
/** Onto the disk; if that fails, again from the tick. Returns 0 or -Exxx. */
int client_save(struct coord *coord);
/** In 1/2 to 3/2 of @ms. */
uint64_t client_jitter(uint64_t ms);
uint64_t client_backoff_ms(unsigned failures);

/* coord_join.c */
/** Ask the server for its key, then go on. */
void client_fetch_key(struct coord *coord);
void client_join_start(struct coord *coord, enum client_join kind);
void client_join_cancel(struct coord *coord);
/** Whoever asked for a logout hears of it, once. */
void client_logout_answer(struct coord *coord, int rc, const char *line);
/** The server does not know the node (404). */
void client_gone(struct coord *coord);
/** Renew the node key if it is time to and there is something to do it with. */
void client_renew(struct coord *coord);

/* coord_follow.c */
/** The body of a map request; free() it. */
char *client_map_request(struct coord *coord, bool is_stream, size_t *ret_len);
void client_stream(struct coord *coord);
void client_stream_stop(struct coord *coord);
/** Send a lite update if there is something new to tell. */
void client_update(struct coord *coord);
void client_tick(struct coord *coord);

#endif
