/* SPDX-License-Identifier: BSD-3-Clause */
/* The network map: its life, look-ups, clock. Merging is in coord_netmap_apply.c. Thread: one at a time. */
#include "coord_netmap_priv.h"

#include <malloc.h>
#include <stdlib.h>

#include <sodium.h>

#define LABEL_BYTES_MAX 63
/* Before this our clock is wrong, and no key is over by it (2023-01-10). */
#define CLOCK_SANE_UNIX_S 1673308800

struct coord_netmap *coord_netmap_new(void)
{
	struct coord_netmap *map = calloc(1, sizeof(*map));

	if (map)
		randombytes_buf(map->secret, sizeof(map->secret));
	return map;
}

void coord_netmap_free(struct coord_netmap *map)
{
	if (!map)
		return;
	coord_netmap_settle(map);
	coord_node_body_fini(&map->self);
	for (size_t i = 0; i < map->n_peers; i++) {
		coord_node_body_fini(&map->places[i].peer->body);
		free(map->places[i].peer);
	}
	free(map->places);
	coord_index_fini(&map->by_key);
	coord_index_fini(&map->by_disco);
	coord_index_fini(&map->by_addr);
	coord_index_fini(&map->by_label);
	for (size_t i = 0; i < map->n_chunks; i++)
		coord_arena_free(map->chunks[i].arena);
	coord_arena_free(map->users_arena);
	coord_arena_free(map->rules_arena);
	coord_arena_free(map->regions_arena);
	coord_arena_free(map->dns_arena);
	coord_arena_free(map->health_arena);
	free(map);
}

static uint32_t hash_of(const struct coord_netmap *map, const void *bytes, size_t len)
{
	uint32_t hash[crypto_shorthash_BYTES / sizeof(uint32_t)];

	crypto_shorthash((unsigned char *)hash, bytes, len, map->secret);
	return hash[0];
}

static uint32_t hash_of_addr(const struct coord_netmap *map, const struct base_addr *addr)
{
	return hash_of(map, addr, sizeof(*addr));
}

/* The first label of a name: names are lower case in the map. */
static uint32_t hash_of_label(const struct coord_netmap *map, const char *name)
{
	return hash_of(map, name, strcspn(name, "."));
}

void coord_peer_index(struct coord_netmap *map, struct coord_peer *peer)
{
	const struct coord_node *node = &peer->body.node;
	unsigned n_cut = 0;

	n_cut += !coord_index_add(&map->by_key,
		hash_of(map, node->node_key.bytes, sizeof(node->node_key.bytes)), peer);
	if (!cr_key_is_zero(&node->disco_key))
		n_cut += !coord_index_add(&map->by_disco,
			hash_of(map, node->disco_key.bytes, sizeof(node->disco_key.bytes)), peer);
	for (unsigned i = 0; i < node->n_addresses; i++)
		n_cut += !coord_index_add(
			&map->by_addr, hash_of_addr(map, &node->addresses[i]), peer);
	if (*node->name)
		n_cut += !coord_index_add(&map->by_label, hash_of_label(map, node->name), peer);
	map->counts[COORD_NETMAP_CUT] += n_cut;
}

void coord_peer_unindex(struct coord_netmap *map, struct coord_peer *peer)
{
	const struct coord_node *node = &peer->body.node;

	coord_index_remove(&map->by_key,
		hash_of(map, node->node_key.bytes, sizeof(node->node_key.bytes)), peer);
	coord_index_remove(&map->by_disco,
		hash_of(map, node->disco_key.bytes, sizeof(node->disco_key.bytes)), peer);
	for (unsigned i = 0; i < node->n_addresses; i++)
		coord_index_remove(&map->by_addr, hash_of_addr(map, &node->addresses[i]), peer);
	coord_index_remove(&map->by_label, hash_of_label(map, node->name), peer);
}

size_t coord_place_of(const struct coord_netmap *map, int64_t id)
{
	size_t low = 0, high = map->n_peers;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->places[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct coord_peer *coord_peer_find(const struct coord_netmap *map, int64_t id)
{
	size_t i = coord_place_of(map, id);

	return i < map->n_peers && map->places[i].id == id ? map->places[i].peer : NULL;
}

struct coord_peer *coord_peer_by_key(const struct coord_netmap *map, const struct cr_key *key)
{
	uint32_t hash = hash_of(map, key->bytes, sizeof(key->bytes));
	struct coord_peer *peer;
	size_t cursor = 0;

	while ((peer = coord_index_next(&map->by_key, hash, &cursor)))
		if (cr_key_equal(&peer->body.node.node_key, key))
			return peer;
	return NULL;
}

static bool node_has_address(const struct coord_node *node, const struct base_addr *addr)
{
	for (unsigned i = 0; i < node->n_addresses; i++)
		if (base_addr_equal(&node->addresses[i], addr))
			return true;
	return false;
}

struct coord_peer *coord_peer_by_addr(
	const struct coord_netmap *map, const struct base_addr *addr, size_t *cursor)
{
	uint32_t hash = hash_of_addr(map, addr);
	struct coord_peer *peer;

	while ((peer = coord_index_next(&map->by_addr, hash, cursor)))
		if (node_has_address(&peer->body.node, addr))
			return peer;
	return NULL;
}

const struct coord_node *coord_netmap_self(const struct coord_netmap *map)
{
	return map->has_self ? &map->self.node : NULL;
}

size_t coord_netmap_n_peers(const struct coord_netmap *map)
{
	return map->n_peers;
}

const struct coord_node *coord_netmap_peer(const struct coord_netmap *map, size_t i)
{
	return i < map->n_peers ? &map->places[i].peer->body.node : NULL;
}

const struct coord_node *coord_netmap_by_id(const struct coord_netmap *map, int64_t id)
{
	const struct coord_peer *peer = coord_peer_find(map, id);

	return peer ? &peer->body.node : NULL;
}

const struct coord_node *coord_netmap_by_key(
	const struct coord_netmap *map, const struct cr_key *node_key)
{
	const struct coord_peer *peer = coord_peer_by_key(map, node_key);

	return peer ? &peer->body.node : NULL;
}

/* The lower of two ids; @best may be NULL. */
static const struct coord_node *lower_of(
	const struct coord_node *best, const struct coord_node *node)
{
	return !best || node->id < best->id ? node : best;
}

const struct coord_node *coord_netmap_by_disco(const struct coord_netmap *map,
	const struct cr_key *disco_key, const struct coord_node *after)
{
	uint32_t hash = hash_of(map, disco_key->bytes, sizeof(disco_key->bytes));
	const struct coord_node *best = NULL;
	const struct coord_peer *peer;
	size_t cursor = 0;

	while ((peer = coord_index_next(&map->by_disco, hash, &cursor)))
		if (cr_key_equal(&peer->body.node.disco_key, disco_key) &&
			(!after || peer->body.node.id > after->id))
			best = lower_of(best, &peer->body.node);
	return best;
}

const struct coord_node *coord_netmap_by_addr(
	const struct coord_netmap *map, const struct base_addr *addr)
{
	const struct coord_node *best = NULL;
	const struct coord_peer *peer;
	size_t cursor = 0;

	if (map->has_self && node_has_address(&map->self.node, addr))
		return &map->self.node;
	while ((peer = coord_peer_by_addr(map, addr, &cursor)))
		best = lower_of(best, &peer->body.node);
	return best;
}

/* @name is in lower case, without a final dot; with a dot in it it is a full one. */
static bool is_named(const struct coord_node *node, const char *name)
{
	size_t len = strlen(name);

	if (strchr(name, '.'))
		return strcmp(node->name, name) == 0;
	return strncmp(node->name, name, len) == 0 &&
		(node->name[len] == '.' || node->name[len] == '\0');
}

const struct coord_node *coord_netmap_by_name(const struct coord_netmap *map, const char *name)
{
	char lower[COORD_NAME_BYTES_MAX + 1];
	size_t len = strlen(name);
	const struct coord_node *best = NULL;
	const struct coord_peer *peer;
	size_t cursor = 0;
	uint32_t hash;

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(lower))
		return NULL;
	for (size_t i = 0; i < len; i++)
		lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	lower[len] = '\0';
	if (map->has_self && is_named(&map->self.node, lower))
		return &map->self.node;
	hash = hash_of_label(map, lower);
	while ((peer = coord_index_next(&map->by_label, hash, &cursor)))
		if (is_named(&peer->body.node, lower))
			best = lower_of(best, &peer->body.node);
	return best;
}

const struct coord_user *coord_netmap_user(const struct coord_netmap *map, int64_t id)
{
	size_t low = 0, high = map->n_users;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (map->users[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < map->n_users && map->users[low].id == id ? &map->users[low] : NULL;
}

const struct coord_rule *coord_netmap_rules(const struct coord_netmap *map, size_t *ret_n)
{
	*ret_n = map->n_rules;
	return map->rules;
}

const struct coord_derp_region *coord_netmap_regions(const struct coord_netmap *map, size_t *ret_n)
{
	*ret_n = map->n_regions;
	return map->regions;
}

const struct coord_dns *coord_netmap_dns(const struct coord_netmap *map)
{
	static const struct coord_dns none;

	return map->dns ? map->dns : &none;
}

const char *const *coord_netmap_health(const struct coord_netmap *map, size_t *ret_n)
{
	*ret_n = map->n_health;
	return map->health;
}

int64_t coord_netmap_clock_offset_s(const struct coord_netmap *map)
{
	return map->clock_offset_s;
}

/* The server's time; never below 0. */
static uint64_t server_time(const struct coord_netmap *map, uint64_t unix_s)
{
	int64_t now = (int64_t)unix_s + map->clock_offset_s;

	return now > 0 ? (uint64_t)now : 0;
}

bool coord_node_is_expired(
	const struct coord_netmap *map, const struct coord_node *node, uint64_t unix_s)
{
	uint64_t now = server_time(map, unix_s);

	if (node->is_expired)
		return true;
	return node->key_expiry_unix_s != 0 && now >= CLOCK_SANE_UNIX_S &&
		node->key_expiry_unix_s <= now;
}

uint64_t coord_netmap_next_expiry_s(const struct coord_netmap *map, uint64_t unix_s)
{
	uint64_t now = server_time(map, unix_s), next = UINT64_MAX;

	if (map->has_self && map->self.node.key_expiry_unix_s > now)
		next = map->self.node.key_expiry_unix_s;
	for (size_t i = 0; i < map->n_peers; i++) {
		const struct coord_node *node = &map->places[i].peer->body.node;

		if (node->key_expiry_unix_s > now && node->key_expiry_unix_s < next)
			next = node->key_expiry_unix_s;
	}
	return next == UINT64_MAX ? next : unix_s + (next - now);
}

uint64_t coord_netmap_counter(const struct coord_netmap *map, enum coord_netmap_counter counter)
{
	return counter < COORD_NETMAP_COUNTER_COUNT ? map->counts[counter] : 0;
}

const char *coord_netmap_domain(const struct coord_netmap *map)
{
	return map->domain;
}

const char *coord_node_label(char buf[LABEL_BYTES_MAX + 1], const struct coord_node *node)
{
	snprintf(buf, LABEL_BYTES_MAX + 1, "%.*s", (int)strcspn(node->name, "."), node->name);
	return buf;
}

void coord_node_user_data_set(const struct coord_node *node, void *user_data)
{
	((struct coord_node *)(uintptr_t)node)->user_data = user_data;
}

static size_t heap_bytes(const void *memory)
{
	return memory ? malloc_usable_size((void *)(uintptr_t)memory) + sizeof(size_t) : 0;
}

size_t coord_netmap_bytes(const struct coord_netmap *map)
{
	size_t bytes = heap_bytes(map) + heap_bytes(map->places) + heap_bytes(map->by_key.slots) +
		heap_bytes(map->by_disco.slots) + heap_bytes(map->by_addr.slots) +
		heap_bytes(map->by_label.slots) + coord_arena_bytes(map->users_arena) +
		coord_arena_bytes(map->rules_arena) + coord_arena_bytes(map->regions_arena) +
		coord_arena_bytes(map->dns_arena) + coord_arena_bytes(map->health_arena);

	for (size_t i = 0; i < map->n_chunks; i++)
		bytes += coord_arena_bytes(map->chunks[i].arena);
	for (size_t i = 0; i < map->n_peers; i++) {
		const struct coord_peer *peer = map->places[i].peer;

		bytes += heap_bytes(peer) + heap_bytes(peer->body.data) +
			heap_bytes(peer->body.endpoints) + heap_bytes(peer->body.caps);
	}
	return bytes;
}
