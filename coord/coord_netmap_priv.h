/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of the network map; see coord_netmap.h. Peers are objects that stay where they are; an array keeps them
 * in the order of ids; four indices find them. What one frame touches is noted with what it was before, so that the
 * difference tells what became of each in the end. Thread: one at a time.
 */
#ifndef COORD_NETMAP_PRIV_H
#define COORD_NETMAP_PRIV_H

#include "coord_index.h"
#include "coord_netmap.h"
#include "coord_update.h"

#include <jansson.h>

#define COORD_CHUNKS_MAX 16

struct coord_peer {
	struct coord_node_body body; /* first: a node of the map is its peer */
	uint32_t touch;              /* place in touched, plus one; 0: as before the frame */
	bool is_gone;                /* from the map, but not yet from the last difference */
};

struct coord_place {
	int64_t id; /* the peer's: searching reads nothing else */
	struct coord_peer *peer;
};

/** A peer that a frame has touched, as it was before. What it owned then and lost is ended when the difference is settled. */
struct coord_touched {
	struct coord_peer *peer;
	struct coord_node_body before;
	bool was_there;
	bool is_data_kept, is_endpoints_kept, is_caps_kept; /* in before */
};

struct coord_netmap {
	uint8_t secret[16]; /* of the hashes */
	struct coord_node_body self;
	bool has_self;
	struct coord_place *places;
	size_t n_peers, places_room;
	struct coord_index by_key, by_disco, by_addr, by_label;

	struct coord_arena *users_arena;
	struct coord_user *users; /* sorted by id */
	size_t n_users;

	struct coord_chunk chunks[COORD_CHUNKS_MAX]; /* sorted by name */
	size_t n_chunks;
	struct coord_arena *rules_arena; /* NULL: no filter yet */
	struct coord_rule *rules;
	size_t n_rules;

	struct coord_arena *regions_arena, *dns_arena;
	const struct coord_derp_region *regions;
	size_t n_regions;
	const struct coord_dns *dns;

	struct coord_arena *health_arena;
	const char **health; /* warnings of both kinds */
	size_t n_health, n_plain;
	struct coord_message *messages; /* those with ids */
	size_t n_messages;

	char domain[COORD_NAME_BYTES_MAX + 1];
	int64_t clock_offset_s, control_time_unix_s;
	uint64_t counts[COORD_NETMAP_COUNTER_COUNT];

	struct coord_diff diff;
	struct coord_diff_node *diff_nodes;
	struct coord_touched *touched;
	size_t n_touched;
};

/** What an application will need, got before the first change. */
struct coord_plan {
	struct coord_touched *touched;
	struct coord_diff_node *diff_nodes;
	struct coord_place *places; /* NULL: there is room */
	size_t places_room;
	struct coord_peer **fresh; /* for ids that are new: used in the order of ids */
	size_t n_fresh, n_fresh_used;
	struct coord_arena *users_arena; /* NULL: users stay */
	struct coord_user *users;
	size_t n_users;
	struct coord_arena *health_arena; /* NULL: warnings stay */
	const char **health;
	struct coord_message *messages;
	size_t n_health, n_plain, n_messages;
};

/** One application. */
struct coord_merge {
	struct coord_netmap *map;
	struct coord_map_update *update;
	struct coord_plan *plan;
	bool is_first, has_peers_changed;
	size_t n_live; /* peers that are not gone */
	uint64_t now_unix_s;
};

/** Where a peer with this id is, or would be. */
size_t coord_place_of(const struct coord_netmap *map, int64_t id);
/** A peer by id, gone ones too; NULL: none. Peers that a frame adds are found once all of it is merged. */
struct coord_peer *coord_peer_find(const struct coord_netmap *map, int64_t id);
/** A peer that is there by its node key. */
struct coord_peer *coord_peer_by_key(const struct coord_netmap *map, const struct cr_key *key);
/** The next of the peers with this address. */
struct coord_peer *coord_peer_by_addr(
	const struct coord_netmap *map, const struct base_addr *addr, size_t *cursor);
/** Make it found by its key, disco key, addresses and label; room must have been reserved. */
void coord_peer_index(struct coord_netmap *map, struct coord_peer *peer);
void coord_peer_unindex(struct coord_netmap *map, struct coord_peer *peer);

/** This node is the update's: peers that clash with it go, or lose what is ours. Returns true if it is another. */
bool coord_merge_self(struct coord_merge *merge);
/** The update's peers and changes of peers. Needs the plan's memory, and cannot fail. */
void coord_merge_peers(struct coord_merge *merge);
/** What became of the peers that were touched: the map's difference, and its order. */
void coord_merge_finish(struct coord_merge *merge);

bool coord_node_equal(const struct coord_node *a, const struct coord_node *b);
bool coord_node_addresses_equal(const struct coord_node *a, const struct coord_node *b);
bool coord_node_endpoints_equal(const struct coord_node *a, const struct coord_node *b);

/**
 * The rules in force, from the chunks and, for `cap:` sources, from the peers. Without memory for them nothing passes.
 * Returns true if they are others than before.
 */
bool coord_netmap_rules_build(struct coord_netmap *map);
/** Do rules depend on peers' capabilities? */
bool coord_netmap_rules_need_peers(const struct coord_netmap *map);

/** As JSON, to print and to compare; NULL: no memory. */
json_t *coord_netmap_dns_json(const struct coord_dns *dns);
json_t *coord_netmap_regions_json(const struct coord_derp_region *regions, size_t n);

#endif
