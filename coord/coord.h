/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The coordination client: makes this process a node of the mesh that a Headscale server coordinates
 * (protocols/headscale-control.md), and keeps it one.
 *
 * It dials the server, proves who it is (Noise IK with the machine key), registers the node key, keeps one long
 * poll open whose frames it merges into the network map (coord_netmap.h), and tells the server what changes here:
 * endpoints, home relay, host information. Control applies the map to the dataplane; nothing in here knows
 * packets. A server that is away changes nothing but the state: the last map stays in force.
 *
 *	stopped --up--> connecting --channel--> registering --accepted--> streaming
 *	   ^                |  ^                     |                       | lost, silent for 120 s
 *	   |                v  | time, with jitter   v                       v
 *	 down           backing_off <------- (server away, 5xx) <------- backing_off
 *	                                            |
 *	   needs_login (no or refused key; the URL, or the server's words)   expired (node key)   refused (server key changed)
 *
 * Thread: the loop's. Decoding of large maps runs on libuv's pool; its result is applied on the loop. The process ignores SIGPIPE.
 */
#ifndef COORD_H
#define COORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"
#include "coord_netmap.h"
#include "coord_state.h"

/** What servers and their operators read of us; the capability version of protocols/headscale-control.md, section 2. */
#define COORD_CAPABILITY_VERSION 138

#define COORD_STATES(X)                                                                            \
	X(STOPPED, "stopped")                                                                      \
	X(CONNECTING, "connecting") /* key, dial, upgrade, Noise */                                \
	X(REGISTERING, "registering")                                                              \
	X(STREAMING, "streaming")     /* the map is live */                                        \
	X(BACKING_OFF, "backing_off") /* will try again by itself */                               \
	X(NEEDS_LOGIN, "needs_login") /* a person has to act: URL or a new key */                  \
	X(EXPIRED, "expired")         /* the node key is, and there is nothing to renew it with */ \
	X(REFUSED, "refused")         /* the server's key is not the one we know */                \
	X(REMOVED, "removed")         /* the server deleted the node, and on_removed says stop */  \
	X(LOGGED_OUT, "logged_out")

enum coord_state_kind {
#define COORD_STATE_ENUM(name, text) COORD_##name,
	COORD_STATES(COORD_STATE_ENUM)
#undef COORD_STATE_ENUM
		COORD_STATE_COUNT,
};
const char *coord_state_name(enum coord_state_kind state);

enum coord_on_removed { COORD_REMOVED_STOP, COORD_REMOVED_REJOIN };

#define COORD_ROUTES_MAX 64
#define COORD_ENDPOINTS_MAX 32
/** Limits on what a server may send; coord_config may lower or raise them. */
#define COORD_MAP_BYTES_MAX (16u << 20)   /* one frame as it travels */
#define COORD_MAP_DECODED_MAX (64u << 20) /* and decompressed */

/** All borrowed for the life of the client; secrets are read once and not kept longer than needed. */
struct coord_config {
	const char *server_url; /* http://HOST[:PORT] or https://HOST[:PORT] */
	const char *ca_file;    /* more roots than the system's; NULL */
	const char *
		server_key; /* "mkey:..."; NULL: believed at first sight, then remembered in the state */
	const char *authkey;  /* NULL: known node or interactive login */
	const char *hostname; /* the name asked for */
	const char *version;  /* of this program */
	const struct base_prefix *advertise_routes;
	size_t n_advertise_routes;
	enum coord_on_removed on_removed;
	size_t map_bytes_max, map_decoded_max; /* 0: the defaults */
};

/** Types of an endpoint as servers name them (section 5.1). */
enum coord_endpoint_type {
	COORD_ENDPOINT_UNKNOWN,
	COORD_ENDPOINT_LOCAL,
	COORD_ENDPOINT_STUN,
	COORD_ENDPOINT_PORTMAP,
	COORD_ENDPOINT_STUN_LOCAL_PORT,
	COORD_ENDPOINT_EXPLICIT,
};

/** What this node tells of its network; sent whole whenever any of it changes. */
struct coord_reachability {
	struct base_endpoint endpoints[COORD_ENDPOINTS_MAX];
	uint8_t types[COORD_ENDPOINTS_MAX]; /* enum coord_endpoint_type */
	unsigned n_endpoints;
	uint32_t home_derp; /* region; 0: none */
	bool has_udp, has_ipv6;
};

struct coord_status {
	enum coord_state_kind state;
	char detail
		[256]; /* the server's words, or why it backs off; "" if there is nothing to say */
	char login_url[256];                           /* needs_login: what a person opens; "" */
	uint64_t since_ns, last_frame_ns, retry_at_ns; /* monotonic; 0: none */
	uint64_t key_expiry_unix_s;                    /* 0: never */
	unsigned failures;                             /* in a row */
	bool is_tls;
	uint64_t frames, bytes; /* of map streams */
};

struct coord_host {
	/** The map differs from what it was: exactly in what @diff says. Both borrowed until return. */
	void (*changed)(void *ctx, const struct coord_netmap *map, const struct coord_diff *diff);
	/** The state, or what a person has to do, is another. */
	void (*state)(void *ctx, const struct coord_status *status);
	/**
	 * The node key is another: rotated, new after a logout, or the old one again after a rotation that began before this
	 * process did and was refused. The tunnel needs it before peers can talk to us again. Saved already. Returns 0, or
	 * -Exxx: the client stops.
	 */
	int (*identity)(void *ctx, const struct cr_key *node_private);
};

struct coord;

/**
 * @state: open, and kept by the caller for longer than the client. @disco_public: as the state has it. Starts stopped. NULL
 * with errno and a line (EINVAL: what is configured cannot be).
 */
struct coord *coord_new(uv_loop_t *loop, struct coord_state *state,
	const struct coord_config *config, const struct cr_key *disco_public,
	const struct coord_host *host, void *ctx, struct base_error *ret_error);
/** Nothing is told to the server: the node stays, and goes offline there. The loop must run once more. NULL is fine. */
void coord_free(struct coord *coord);

/** Connect and stay connected; nothing if it is up already. */
void coord_up(struct coord *coord);
/** Disconnect; the map is emptied by a last host->changed. */
void coord_down(struct coord *coord);
/** What changed here; sent at once if it differs from what was sent last, one update in flight at a time. */
void coord_reachability_set(struct coord *coord, const struct coord_reachability *reachability);
/** Try again now: after a new key, and when a person asks. @authkey: NULL: the one of before; copied, wiped after use. */
int coord_login(struct coord *coord, const char *authkey, struct base_error *ret_error);
/**
 * End the node on the server (an ephemeral one is deleted, others expire), then wipe the keys in the state. @done once, with 0 or -Exxx and a line:
 * the keys are wiped only if the server agreed, or does not know us.
 */
void coord_logout(
	struct coord *coord, void (*done)(void *user, int rc, const char *line), void *user);

/** Borrowed, until the loop runs on. */
const struct coord_netmap *coord_netmap_of(const struct coord *coord);
const struct coord_status *coord_status_of(const struct coord *coord);

#endif
