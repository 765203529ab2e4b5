/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network map as a value: this node, its peers, relays, names, the packet filter; merged from the frames of
 * coord_map.h, compared, looked up, printed. It holds what the server said after bounds and types were checked; what
 * of it this gateway accepts (routes, overlaps, expired peers) is control's to decide.
 *
 * Ten thousand peers: looked up by id, key, address and name in hash tables; a delta touches only what it names.
 * No I/O, no clock. Thread: one at a time; the client's is the loop's.
 */
#ifndef COORD_NETMAP_H
#define COORD_NETMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"

/* Limits; what is beyond them is cut and counted (coord_netmap_counter()). Cutting never opens anything: rules only permit. */
#define COORD_PEERS_MAX 65536
#define COORD_NODE_PREFIXES_MAX 1024
#define COORD_NODE_ENDPOINTS_MAX 64
#define COORD_NODE_TAGS_MAX 64
#define COORD_NAME_BYTES_MAX 253
#define COORD_RULES_MAX 16384
#define COORD_RULE_ENTRIES_MAX 262144 /* sources and destinations of all rules together */
#define COORD_USERS_MAX 65536
#define COORD_TEXT_BYTES_MAX 1024 /* of a warning, a login, a resolver's suffix */
#define COORD_WARNINGS_MAX 64
#define COORD_SHARERS_MAX 8 /* peers found by one disco key, address or label */

/** What was left out or looked odd, since the map began; the client tells each once. */
#define COORD_NETMAP_COUNTERS(X)                                                                   \
	X(CUT, "cut")                         /* beyond a limit */                                 \
	X(BAD_ENTRIES, "bad_entries")         /* of lists: not an address, prefix, endpoint */     \
	X(BAD_RULES, "bad_rules")             /* rules of which nothing is left */                 \
	X(REFUSED_FILTERS, "refused_filters") /* SrcBits, Bits: nothing of it passes */            \
	X(REFUSED_PEERS, "refused_peers")     /* no key, no id, our id or our key */               \
	X(DUPLICATE_IDS, "duplicate_ids")     /* in one list; the last counts */                   \
	X(DUPLICATE_KEYS, "duplicate_keys")   /* the newer peer counts, the other goes */          \
	X(OUR_ADDRESSES, "our_addresses")     /* taken from peers that claim them */               \
	X(UNKNOWN_PEERS, "unknown_peers")     /* named by deltas */                                \
	X(CLOCK_BACKWARDS, "clock_backwards") /* the server's went back by over a minute */

enum coord_netmap_counter {
#define COORD_NETMAP_COUNTER_ENUM(name, text) COORD_NETMAP_##name,
	COORD_NETMAP_COUNTERS(COORD_NETMAP_COUNTER_ENUM)
#undef COORD_NETMAP_COUNTER_ENUM
		COORD_NETMAP_COUNTER_COUNT,
};
const char *coord_netmap_counter_name(enum coord_netmap_counter counter);

enum coord_online { COORD_ONLINE_UNKNOWN, COORD_ONLINE_NO, COORD_ONLINE_YES };

/**
 * A node, this one or a peer (section 5.5). Strings are owned by the map, never NULL. A peer's struct stays where it is
 * for as long as its id is in the map; what it points to may move with each frame.
 *
 * The map sees to it that a peer has a key that is not zero, ours, or another peer's, an id that is not ours, and none
 * of our own addresses. It may have no addresses at all, no disco key, endpoints or relay yet, and allowed IPs that
 * overlap those of others: as sent.
 */
struct coord_node {
	int64_t id;       /* never reused by a server */
	const char *name; /* "worker-1.mesh.lab": lower case, no final dot */
	const char *hostname, *os;
	struct cr_key node_key, machine_key;
	struct cr_key disco_key;               /* zero: none yet */
	int64_t user;                          /* coord_netmap_user() */
	const struct base_addr *addresses;     /* its own */
	const struct base_prefix *allowed_ips; /* with its own; routes and exit routes as sent */
	const struct base_endpoint *endpoints;
	const char *const *tags;
	uint16_t n_addresses, n_allowed_ips, n_endpoints, n_tags;
	uint32_t home_derp;         /* 0: unknown */
	uint64_t key_expiry_unix_s; /* 0: never */
	uint64_t last_seen_unix_s;  /* 0: unknown */
	enum coord_online online;
	bool is_expired, is_authorized, is_wireguard_only, is_jailed;
	void *user_data; /* the owner's of the map; kept when a peer is changed, NULL at first */
};

struct coord_user {
	int64_t id;
	const char *login, *display;
};

/** One rule of the filter (section 6.1), unions of families apart: sources and destinations that cannot match are left out. */
struct coord_rule {
	const struct base_prefix *srcs; /* ranges are split into prefixes */
	size_t n_srcs;
	const struct coord_rule_dst {
		struct base_prefix prefix;
		uint16_t port_first, port_last;
	} * dsts;
	size_t n_dsts;
	const uint8_t *protos; /* none: TCP, UDP, ICMP, ICMPv6 */
	size_t n_protos;
	bool is_for_no_proto; /* the list held only what is none: matches nothing */
};

struct coord_derp_node {
	const char *name, *host, *cert_name;
	struct base_addr v4, v6; /* family NONE: resolve the name */
	bool has_no_v4, has_no_v6, is_stun_only, is_insecure;
	uint16_t derp_port;
	int32_t stun_port; /* -1: none */
};

struct coord_derp_region {
	uint32_t id;
	const char *code, *name;
	bool is_avoided, is_no_home;
	const struct coord_derp_node *nodes;
	size_t n_nodes;
};

struct coord_dns {
	bool is_magic;              /* names are answered for */
	const char *const *domains; /* search list; the mesh's base domain first */
	size_t n_domains;
	const struct coord_dns_route {
		const char *suffix;
		const struct base_endpoint *resolvers; /* none: answered locally */
		size_t n_resolvers;
	} * routes;
	size_t n_routes;
	const struct base_endpoint *resolvers, *fallbacks;
	size_t n_resolvers, n_fallbacks;
	const struct coord_dns_record {
		const char *name;
		struct base_addr addr;
	} * records;
	size_t n_records;
};

struct coord_netmap;

struct coord_map_update;
struct coord_diff;

struct coord_netmap *coord_netmap_new(void);
void coord_netmap_free(struct coord_netmap *map);

/**
 * Merge an update (coord_map.h) and tell what it changed; in the order of section 5.4. The update is used up,
 * whatever happens. All or nothing.
 * @is_first: the first frame of a stream that is no keep-alive: complete, so that what it does not name is gone; what it names
 * is compared with what was there.
 * @now_unix_s: our clock.
 * @ret_diff: borrowed until the next call, or coord_netmap_settle().
 * Returns 0; -EPROTO a first frame without this node; -ENOMEM.
 */
BASE_MUST_CHECK int coord_netmap_apply(struct coord_netmap *map, struct coord_map_update *update,
	bool is_first, uint64_t now_unix_s, const struct coord_diff **ret_diff);
/** As if a first frame had come with nothing in it, not even this node: after a logout, at the end. */
BASE_MUST_CHECK int coord_netmap_clear(
	struct coord_netmap *map, const struct coord_diff **ret_diff);
/** Nobody reads the last difference any more: free what only it needed. */
void coord_netmap_settle(struct coord_netmap *map);

/** NULL before the first frame. */
const struct coord_node *coord_netmap_self(const struct coord_netmap *map);
size_t coord_netmap_n_peers(const struct coord_netmap *map);
/** In the order of ids; NULL past the end. */
const struct coord_node *coord_netmap_peer(const struct coord_netmap *map, size_t i);
const struct coord_node *coord_netmap_by_id(const struct coord_netmap *map, int64_t id);
const struct coord_node *coord_netmap_by_key(
	const struct coord_netmap *map, const struct cr_key *node_key);
/** The peers that use this disco key, in the order of ids: start with NULL, then the one before. */
const struct coord_node *coord_netmap_by_disco(const struct coord_netmap *map,
	const struct cr_key *disco_key, const struct coord_node *after);
/** By one of its own addresses; this node too. Among several peers the lowest id. */
const struct coord_node *coord_netmap_by_addr(
	const struct coord_netmap *map, const struct base_addr *addr);
/** By full name or first label, any case, with or without the final dot; this node too, and first. Among several the lowest id. */
const struct coord_node *coord_netmap_by_name(const struct coord_netmap *map, const char *name);
const struct coord_user *coord_netmap_user(const struct coord_netmap *map, int64_t id);
/** The filter in force: NULL before the first; then perhaps 0 rules, which is "nothing passes". */
const struct coord_rule *coord_netmap_rules(const struct coord_netmap *map, size_t *ret_n);
const struct coord_derp_region *coord_netmap_regions(const struct coord_netmap *map, size_t *ret_n);
const struct coord_dns *coord_netmap_dns(const struct coord_netmap *map);
/** The server's warnings in its words. */
const char *const *coord_netmap_health(const struct coord_netmap *map, size_t *ret_n);
/** Seconds to add to our clock for the server's; 0 below a minute's difference. */
int64_t coord_netmap_clock_offset_s(const struct coord_netmap *map);
/** Is @node's key over at this time (of our clock)? Always right for wrong clocks before 2023 (section 8.4). */
bool coord_node_is_expired(
	const struct coord_netmap *map, const struct coord_node *node, uint64_t unix_s);
/** When the next peer's or our own key is over by itself; UINT64_MAX: never. Looks at every peer. */
uint64_t coord_netmap_next_expiry_s(const struct coord_netmap *map, uint64_t unix_s);
uint64_t coord_netmap_counter(const struct coord_netmap *map, enum coord_netmap_counter counter);
/** What the server calls its domain ("" at first); not the suffix of names. */
const char *coord_netmap_domain(const struct coord_netmap *map);
/** All of it as JSON, for operators: keys are public, and whole. free() it; NULL with errno. */
char *coord_netmap_print(const struct coord_netmap *map, uint64_t unix_s);
/** Bytes that it holds on the heap, about. */
size_t coord_netmap_bytes(const struct coord_netmap *map);
/** Keep something with a node: it stays when the node changes, and is told once more when it is removed. */
void coord_node_user_data_set(const struct coord_node *node, void *user_data);
/** "worker-1" of "worker-1.mesh.lab"; into @buf. */
const char *coord_node_label(char buf[64], const struct coord_node *node);

/** What became of a node in one application. */
enum coord_change { COORD_NODE_ADDED, COORD_NODE_CHANGED, COORD_NODE_REKEYED, COORD_NODE_REMOVED };

/** What one frame changed; borrowed until the next one is applied. */
struct coord_diff {
	const struct
		coord_diff_node { /* removed ones first, then changed, then added; each node once */
		enum coord_change change;
		const struct coord_node *node; /* now; of a removed one: as it was */
		struct cr_key old_node_key;    /* rekeyed, removed */
		bool has_new_addresses, has_new_endpoints, has_new_disco, has_new_online;
	} * nodes;
	size_t n_nodes;
	bool has_self, has_rules, has_dns, has_regions, has_users, has_health;
	bool is_first; /* of a stream: compared with what was there before it */
};

#endif
