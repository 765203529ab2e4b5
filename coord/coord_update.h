/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One frame of the map stream as types: what coord_map.c decodes and coord_netmap.c merges. Absent, null and empty are
 * told apart wherever the protocol does (section 5.4). The client reads the first members; the rest is the map's,
 * which takes the memory over.
 * Thread: whoever holds it; it shares nothing.
 */
#ifndef COORD_UPDATE_H
#define COORD_UPDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "coord_arena.h"
#include "coord_netmap.h"

/** A node with the memory that its pointers lead to. */
struct coord_node_body {
	struct coord_node node;
	char *data; /* strings, addresses, allowed IPs, tags, endpoints: one block */
	struct base_endpoint *endpoints; /* NULL: in data; else what a patch brought */
	char *caps; /* names of its CapMap, each with its NUL, one more at the end; NULL: none */
};

void coord_node_body_fini(struct coord_node_body *body);

/**
 * Sort items that begin with an int64_t id, keeping the order of equal ones, and of those with one id keep the last: @fini (may
 * be NULL) ends the others. Returns how many are left, or -ENOMEM with the items as they were.
 */
BASE_MUST_CHECK ssize_t coord_ids_sort(
	void *items, size_t n, size_t size, void (*fini)(void *item));

/** PeersChangedPatch: only what it has. */
struct coord_patch {
	int64_t id;
	bool has_key, has_disco, has_derp, has_online, has_last_seen, has_expiry, has_endpoints,
		has_caps;
	bool is_online;
	uint16_t n_endpoints;
	uint32_t home_derp;
	uint64_t last_seen_unix_s, key_expiry_unix_s;
	struct cr_key key, disco_key;
	struct base_endpoint *endpoints;
	char *caps;
};

/** PeerSeenChange, OnlineChange. */
struct coord_id_flag {
	int64_t id;
	bool value;
};

/** A rule as sent: `cap:` sources still wait for the peers that have them. */
struct coord_raw_rule {
	struct coord_rule rule;
	const char *const *caps;
	size_t n_caps;
};

/** One named chunk of the packet filter. */
struct coord_chunk {
	const char *name;          /* in the arena, like all of it */
	struct coord_arena *arena; /* the chunk's own */
	struct coord_raw_rule *rules;
	size_t n_rules;
	bool is_deleted; /* null came */
	bool is_refused; /* as long as it is there, nothing of the whole filter passes */
};

/** A warning by its id (DisplayMessages); text NULL: over. */
struct coord_message {
	const char *id, *text;
};

struct coord_map_update {
	/* For the client. */
	bool is_keep_alive;
	const char *ping_url;    /* NULL; else answer with HEAD, once per URL */
	bool ping_is_noise;      /* over the channel */
	bool ping_is_c2n;        /* not a HEAD ping: left alone */
	const char *browser_url; /* NULL */
	uint32_t sleep_s;        /* the server asks for a pause; at most 300 */
	size_t decoded_bytes;

	/* For the map. */
	int64_t control_time_unix_s; /* 0: absent */
	struct coord_node_body *self;
	struct coord_node_body
		*peers; /* sorted by id, no id twice; complete if is_full, else changed ones */
	size_t n_peers;
	bool is_full; /* Peers, not empty: the other peer members are not looked at */
	int64_t *removed;
	size_t n_removed;
	struct coord_id_flag *seen, *online;
	size_t n_seen, n_online;
	struct coord_patch *patches; /* in the order sent */
	size_t n_patches;

	struct coord_chunk *chunks;
	size_t n_chunks;
	bool is_filter_reset; /* "*": null came; before the chunks */

	struct coord_arena *users_arena;
	struct coord_user *users; /* sorted by id, none twice */
	size_t n_users;

	struct coord_arena *regions_arena; /* NULL: absent */
	struct coord_derp_region *regions;
	size_t n_regions;

	struct coord_arena *dns_arena; /* NULL: absent */
	struct coord_dns *dns;

	struct coord_arena *arena; /* strings above and below */
	const char *domain;        /* NULL: unchanged */
	bool has_health, has_messages_reset;
	const char *const *health;
	size_t n_health;
	const struct coord_message *messages;
	size_t n_messages;

	uint64_t counts[COORD_NETMAP_COUNTER_COUNT]; /* what was left out while it was read */
};

/** All of it; NULL is fine. */
void coord_map_update_free(struct coord_map_update *update);

#endif
