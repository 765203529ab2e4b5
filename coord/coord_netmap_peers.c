/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers of a frame merged into the map: which of them can be peers, what they keep of what they claim, what became of each.
 * All memory was got before (coord_netmap_apply.c): nothing in here fails. Thread: the map's.
 */
#include "coord_netmap_priv.h"

#include <stdlib.h>

static struct coord_touched *touch(
	struct coord_merge *merge, struct coord_peer *peer, bool was_there)
{
	struct coord_netmap *map = merge->map;
	struct coord_touched *touched;

	if (peer->touch)
		return &map->touched[peer->touch - 1];
	touched = &map->touched[map->n_touched++];
	*touched = (struct coord_touched){.peer = peer,
		.before.node = peer->body.node,
		.was_there = was_there,
		.is_data_kept = !was_there,
		.is_endpoints_kept = !was_there,
		.is_caps_kept = !was_there};
	peer->touch = (uint32_t)map->n_touched;
	return touched;
}

/* What a peer owned before the frame is kept for the difference; what this frame itself gave it is not. Returns what is kept. */
static void *retired(void *owned, void *before, bool *is_kept)
{
	if (*is_kept) {
		free(owned);
		return before;
	}
	*is_kept = true;
	return owned;
}

static void peer_remove(struct coord_merge *merge, struct coord_peer *peer)
{
	if (peer->is_gone)
		return;
	(void)touch(merge, peer, true);
	coord_peer_unindex(merge->map, peer);
	peer->is_gone = true;
	merge->n_live--;
	merge->has_peers_changed = true;
}

/* The peer's key is its own from now on. */
static void key_claim(struct coord_merge *merge, struct coord_peer *peer)
{
	struct coord_peer *other = coord_peer_by_key(merge->map, &peer->body.node.node_key);

	if (!other || other == peer)
		return;
	merge->map->counts[COORD_NETMAP_DUPLICATE_KEYS]++;
	peer_remove(merge, other);
}

static bool is_our_address(const struct coord_netmap *map, const struct base_addr *addr)
{
	for (unsigned i = 0; i < map->self.node.n_addresses; i++)
		if (base_addr_equal(&map->self.node.addresses[i], addr))
			return true;
	return false;
}

static bool is_our_prefix(const struct coord_netmap *map, const struct base_prefix *prefix)
{
	return prefix->bits == 8 * base_family_bytes(prefix->addr.family) &&
		is_our_address(map, &prefix->addr);
}

/*
 * A node's claim to our own addresses is moved behind the end of its lists: nothing is lost to whoever still holds the
 * longer ones.
 */
static void our_addresses_take(struct coord_netmap *map, struct coord_node *node)
{
	struct base_addr *addrs = (struct base_addr *)(uintptr_t)node->addresses, addr;
	struct base_prefix *prefixes = (struct base_prefix *)(uintptr_t)node->allowed_ips, prefix;
	uint16_t n = node->n_addresses;

	for (uint16_t i = node->n_addresses; i-- > 0;) {
		if (!is_our_address(map, &addrs[i]))
			continue;
		addr = addrs[i];
		memmove(&addrs[i], &addrs[i + 1], (--node->n_addresses - i) * sizeof(addr));
		addrs[node->n_addresses] = addr;
	}
	for (uint16_t i = node->n_allowed_ips; i-- > 0;) {
		if (!is_our_prefix(map, &prefixes[i]))
			continue;
		prefix = prefixes[i];
		memmove(&prefixes[i], &prefixes[i + 1],
			(--node->n_allowed_ips - i) * sizeof(prefix));
		prefixes[node->n_allowed_ips] = prefix;
	}
	map->counts[COORD_NETMAP_OUR_ADDRESSES] += n - node->n_addresses;
}

static bool can_be_peer(const struct coord_netmap *map, const struct coord_node *node)
{
	const struct coord_node *self = &map->self.node;

	return node->id != self->id && !cr_key_is_zero(&node->node_key) &&
		!cr_key_equal(&node->node_key, &self->node_key);
}

static void body_replace(
	struct coord_merge *merge, struct coord_peer *peer, struct coord_node_body *body)
{
	struct coord_touched *touched = touch(merge, peer, true);
	void *user_data = peer->body.node.user_data;

	if (!peer->is_gone)
		coord_peer_unindex(merge->map, peer);
	touched->before.data =
		retired(peer->body.data, touched->before.data, &touched->is_data_kept);
	touched->before.endpoints = retired(
		peer->body.endpoints, touched->before.endpoints, &touched->is_endpoints_kept);
	touched->before.caps =
		retired(peer->body.caps, touched->before.caps, &touched->is_caps_kept);
	peer->body = *body;
	peer->body.node.user_data = user_data;
	merge->n_live += peer->is_gone;
	peer->is_gone = false;
	*body = (struct coord_node_body){0};
	key_claim(merge, peer);
	coord_peer_index(merge->map, peer);
	merge->has_peers_changed = true;
}

static bool caps_equal(const char *a, const char *b)
{
	while (a && b && *a && strcmp(a, b) == 0) {
		a += strlen(a) + 1;
		b += strlen(b) + 1;
	}
	return (!a && !b) || (a && b && !*a && !*b);
}

/* A whole node, as the frame has it; @peer: of this id, NULL: none yet. */
static void peer_set(
	struct coord_merge *merge, struct coord_peer *peer, struct coord_node_body *body)
{
	struct coord_netmap *map = merge->map;

	if (!can_be_peer(map, &body->node)) {
		map->counts[COORD_NETMAP_REFUSED_PEERS]++;
		if (peer)
			peer_remove(merge, peer);
		return;
	}
	if ((!peer || peer->is_gone) && merge->n_live == COORD_PEERS_MAX) {
		map->counts[COORD_NETMAP_CUT]++;
		return;
	}
	our_addresses_take(map, &body->node);
	if (peer && !peer->is_gone && coord_node_equal(&peer->body.node, &body->node) &&
		caps_equal(peer->body.caps, body->caps))
		return;
	if (!peer) {
		peer = merge->plan->fresh[merge->plan->n_fresh_used++];
		peer->is_gone = true;
		(void)touch(merge, peer, false);
	}
	body_replace(merge, peer, body);
}

/* Those that the frame has added, in the order of ids themselves, find their places among the others: from behind. */
static void places_merge(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;
	size_t n_old = map->n_peers, n_new = merge->plan->n_fresh_used, at = n_old + n_new;

	map->n_peers = at;
	while (n_new > 0) {
		struct coord_peer *peer = merge->plan->fresh[n_new - 1];

		if (n_old > 0 && map->places[n_old - 1].id > peer->body.node.id) {
			map->places[--at] = map->places[--n_old];
		} else {
			map->places[--at] = (struct coord_place){peer->body.node.id, peer};
			n_new--;
		}
	}
}

/* Whom a complete frame does not name is gone. */
static void unnamed_remove(struct coord_merge *merge)
{
	const struct coord_map_update *update = merge->update;
	struct coord_netmap *map = merge->map;

	for (size_t i = 0, j = 0; i < map->n_peers; i++) {
		int64_t id = map->places[i].id;

		while (j < update->n_peers && update->peers[j].node.id < id)
			j++;
		if (j == update->n_peers || update->peers[j].node.id != id)
			peer_remove(merge, map->places[i].peer);
	}
}

static struct coord_peer *peer_named(struct coord_merge *merge, int64_t id)
{
	struct coord_peer *peer = coord_peer_find(merge->map, id);

	if (peer && !peer->is_gone)
		return peer;
	merge->map->counts[COORD_NETMAP_UNKNOWN_PEERS]++;
	return NULL;
}

static void removed_merge(struct coord_merge *merge)
{
	for (size_t i = 0; i < merge->update->n_removed; i++) {
		struct coord_peer *peer = peer_named(merge, merge->update->removed[i]);

		if (peer)
			peer_remove(merge, peer);
	}
}

static void flags_merge(struct coord_merge *merge)
{
	const struct coord_map_update *update = merge->update;
	struct coord_peer *peer;

	for (size_t i = 0; i < update->n_seen; i++) {
		peer = peer_named(merge, update->seen[i].id);
		if (!peer)
			continue;
		(void)touch(merge, peer, true);
		peer->body.node.last_seen_unix_s = update->seen[i].value ? merge->now_unix_s : 0;
	}
	for (size_t i = 0; i < update->n_online; i++) {
		peer = peer_named(merge, update->online[i].id);
		if (!peer)
			continue;
		(void)touch(merge, peer, true);
		peer->body.node.online =
			update->online[i].value ? COORD_ONLINE_YES : COORD_ONLINE_NO;
	}
}

static void patch_values(struct coord_node *node, const struct coord_patch *patch)
{
	if (patch->has_derp)
		node->home_derp = patch->home_derp;
	if (patch->has_online)
		node->online = patch->is_online ? COORD_ONLINE_YES : COORD_ONLINE_NO;
	if (patch->has_last_seen)
		node->last_seen_unix_s = patch->last_seen_unix_s;
	if (patch->has_expiry)
		node->key_expiry_unix_s = patch->key_expiry_unix_s;
}

static void patch_lists(
	struct coord_merge *merge, struct coord_peer *peer, struct coord_patch *patch)
{
	struct coord_touched *touched = touch(merge, peer, true);

	if (patch->has_endpoints) {
		touched->before.endpoints = retired(peer->body.endpoints, touched->before.endpoints,
			&touched->is_endpoints_kept);
		peer->body.endpoints = patch->endpoints;
		peer->body.node.endpoints = patch->endpoints;
		peer->body.node.n_endpoints = patch->n_endpoints;
		patch->endpoints = NULL;
	}
	if (patch->has_caps) {
		touched->before.caps =
			retired(peer->body.caps, touched->before.caps, &touched->is_caps_kept);
		peer->body.caps = patch->caps;
		patch->caps = NULL;
		merge->has_peers_changed = true;
	}
}

static void patch_keys(
	struct coord_merge *merge, struct coord_peer *peer, const struct coord_patch *patch)
{
	struct coord_netmap *map = merge->map;

	if (!patch->has_key && !patch->has_disco)
		return;
	coord_peer_unindex(map, peer);
	if (patch->has_key)
		peer->body.node.node_key = patch->key;
	if (patch->has_disco)
		peer->body.node.disco_key = patch->disco_key;
	if (!can_be_peer(map, &peer->body.node)) {
		map->counts[COORD_NETMAP_REFUSED_PEERS]++;
		peer_remove(merge, peer);
		return;
	}
	key_claim(merge, peer);
	coord_peer_index(map, peer);
}

static void patches_merge(struct coord_merge *merge)
{
	for (size_t i = 0; i < merge->update->n_patches; i++) {
		struct coord_patch *patch = &merge->update->patches[i];
		struct coord_peer *peer = peer_named(merge, patch->id);

		if (!peer)
			continue;
		patch_lists(merge, peer, patch);
		patch_values(&peer->body.node, patch);
		patch_keys(merge, peer, patch);
	}
}

void coord_merge_peers(struct coord_merge *merge)
{
	struct coord_map_update *update = merge->update;

	if (merge->is_first || update->is_full)
		unnamed_remove(merge);
	if (!update->is_full)
		removed_merge(merge);
	for (size_t i = 0; i < update->n_peers; i++)
		peer_set(merge, coord_peer_find(merge->map, update->peers[i].node.id),
			&update->peers[i]);
	places_merge(merge);
	if (update->is_full)
		return;
	flags_merge(merge);
	patches_merge(merge);
}

static void our_addresses_retake(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;

	for (size_t i = 0; i < map->n_peers; i++) {
		struct coord_peer *peer = map->places[i].peer;
		struct coord_node node = peer->body.node;
		bool has_ours = false;

		for (unsigned j = 0; j < node.n_addresses && !has_ours; j++)
			has_ours = is_our_address(map, &node.addresses[j]);
		for (unsigned j = 0; j < node.n_allowed_ips && !has_ours; j++)
			has_ours = is_our_prefix(map, &node.allowed_ips[j]);
		if (!has_ours || peer->is_gone)
			continue;
		(void)touch(merge, peer, true);
		coord_peer_unindex(map, peer);
		our_addresses_take(map, &peer->body.node);
		coord_peer_index(map, peer);
		merge->has_peers_changed = true;
	}
}

bool coord_merge_self(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;
	struct coord_node_body *self = merge->update->self;
	bool has_changed, has_new_addresses;
	struct coord_peer *peer;

	if (!self) {
		has_changed = map->has_self && merge->is_first;
		if (has_changed)
			coord_node_body_fini(&map->self);
		map->has_self &= !has_changed;
		return has_changed;
	}
	has_changed = !map->has_self || !coord_node_equal(&map->self.node, &self->node) ||
		!caps_equal(map->self.caps, self->caps);
	if (!has_changed)
		return false;
	has_new_addresses = !coord_node_addresses_equal(&map->self.node, &self->node);
	self->node.user_data = map->self.node.user_data;
	coord_node_body_fini(&map->self);
	map->self = *self;
	map->has_self = true;
	*self = (struct coord_node_body){0};
	peer = coord_peer_find(map, map->self.node.id);
	if (peer)
		peer_remove(merge, peer);
	peer = coord_peer_by_key(map, &map->self.node.node_key);
	if (peer)
		peer_remove(merge, peer);
	if (has_new_addresses)
		our_addresses_retake(merge);
	return true;
}

/* What became of a peer; false: nothing that anybody needs to know. */
static bool diff_of(const struct coord_touched *touched, struct coord_diff_node *ret_node)
{
	const struct coord_node *before = &touched->before.node;
	const struct coord_node *now = &touched->peer->body.node;
	struct coord_diff_node node = {.node = now};

	if (!touched->was_there) {
		node.change = COORD_NODE_ADDED;
		node.has_new_addresses = node.has_new_endpoints = node.has_new_disco =
			node.has_new_online = true;
		*ret_node = node;
		return !touched->peer->is_gone;
	}
	node.old_node_key = before->node_key;
	if (touched->peer->is_gone) {
		node.change = COORD_NODE_REMOVED;
	} else if (coord_node_equal(before, now)) {
		return false;
	} else {
		node.change = cr_key_equal(&before->node_key, &now->node_key) ? COORD_NODE_CHANGED
									      : COORD_NODE_REKEYED;
		node.has_new_addresses = !coord_node_addresses_equal(before, now);
		node.has_new_endpoints = !coord_node_endpoints_equal(before, now);
		node.has_new_disco = !cr_key_equal(&before->disco_key, &now->disco_key);
		node.has_new_online = before->online != now->online;
	}
	*ret_node = node;
	return true;
}

/* Places of those that are gone are closed up. */
static void places_close(struct coord_netmap *map)
{
	size_t n = 0, n_gone = 0;

	for (size_t i = 0; i < map->n_touched; i++) {
		struct coord_peer *peer = map->touched[i].peer;

		if (!peer->is_gone)
			continue;
		map->places[coord_place_of(map, peer->body.node.id)].peer = NULL;
		n_gone++;
	}
	if (n_gone == 0)
		return;
	for (size_t i = 0; i < map->n_peers; i++)
		if (map->places[i].peer)
			map->places[n++] = map->places[i];
	map->n_peers = n;
}

/* In which of three rounds a change is told: who leaves first, who comes last. */
static unsigned round_of(enum coord_change change)
{
	return change == COORD_NODE_REMOVED ? 0 : change == COORD_NODE_ADDED ? 2 : 1;
}

void coord_merge_finish(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;
	struct coord_diff_node node;

	places_close(map);
	for (unsigned round = 0; round < 3; round++)
		for (size_t i = 0; i < map->n_touched; i++)
			if (diff_of(&map->touched[i], &node) && round_of(node.change) == round)
				map->diff_nodes[map->diff.n_nodes++] = node;
	for (size_t i = 0; i < map->n_touched; i++) {
		struct coord_touched *touched = &map->touched[i];

		touched->peer->touch = 0;
		/* who is gone is told as it was */
		if (touched->peer->is_gone && touched->was_there)
			touched->peer->body.node = touched->before.node;
		else if (!touched->peer->is_gone)
			touched->peer = NULL;
	}
	map->diff.nodes = map->diff_nodes;
}

static bool tags_equal(const struct coord_node *a, const struct coord_node *b)
{
	if (a->n_tags != b->n_tags)
		return false;
	for (unsigned i = 0; i < a->n_tags; i++)
		if (strcmp(a->tags[i], b->tags[i]) != 0)
			return false;
	return true;
}

bool coord_node_addresses_equal(const struct coord_node *a, const struct coord_node *b)
{
	return a->n_addresses == b->n_addresses && a->n_allowed_ips == b->n_allowed_ips &&
		(a->n_addresses == 0 ||
			memcmp(a->addresses, b->addresses,
				a->n_addresses * sizeof(*a->addresses)) == 0) &&
		(a->n_allowed_ips == 0 ||
			memcmp(a->allowed_ips, b->allowed_ips,
				a->n_allowed_ips * sizeof(*a->allowed_ips)) == 0);
}

bool coord_node_endpoints_equal(const struct coord_node *a, const struct coord_node *b)
{
	if (a->n_endpoints != b->n_endpoints)
		return false;
	for (unsigned i = 0; i < a->n_endpoints; i++)
		if (!base_endpoint_equal(&a->endpoints[i], &b->endpoints[i]))
			return false;
	return true;
}

bool coord_node_equal(const struct coord_node *a, const struct coord_node *b)
{
	return a->id == b->id && a->user == b->user && a->home_derp == b->home_derp &&
		a->key_expiry_unix_s == b->key_expiry_unix_s &&
		a->last_seen_unix_s == b->last_seen_unix_s && a->online == b->online &&
		a->is_expired == b->is_expired && a->is_authorized == b->is_authorized &&
		a->is_wireguard_only == b->is_wireguard_only && a->is_jailed == b->is_jailed &&
		memcmp(&a->node_key, &b->node_key, sizeof(a->node_key)) == 0 &&
		memcmp(&a->machine_key, &b->machine_key, sizeof(a->machine_key)) == 0 &&
		memcmp(&a->disco_key, &b->disco_key, sizeof(a->disco_key)) == 0 &&
		strcmp(a->name, b->name) == 0 && strcmp(a->hostname, b->hostname) == 0 &&
		strcmp(a->os, b->os) == 0 && coord_node_addresses_equal(a, b) &&
		coord_node_endpoints_equal(a, b) && tags_equal(a, b);
}
