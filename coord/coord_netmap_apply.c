/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Merging a frame into the map, in the order of section 5.4: this node; peers (all of them, or removed, changed, seen,
 * online, patched); then what depends on nothing. First everything that needs memory is got (struct coord_plan), then
 * nothing can fail any more. Thread: the map's.
 */
#include "coord_netmap_priv.h"

#include <stdlib.h>

/* The offset of clocks that is none. */
#define CLOCK_OFFSET_MIN_S 60

void coord_netmap_settle(struct coord_netmap *map)
{
	for (size_t i = 0; i < map->n_touched; i++) {
		struct coord_touched *touched = &map->touched[i];

		coord_node_body_fini(&touched->before);
		if (touched->peer && touched->peer->is_gone) {
			coord_node_body_fini(&touched->peer->body);
			free(touched->peer);
		}
	}
	free(map->touched);
	free(map->diff_nodes);
	map->touched = NULL;
	map->diff_nodes = NULL;
	map->n_touched = 0;
	map->diff = (struct coord_diff){0};
}

/* --- the plan --- */

static void plan_fini(struct coord_plan *plan)
{
	for (size_t i = plan->n_fresh_used; i < plan->n_fresh; i++)
		free(plan->fresh[i]);
	free(plan->fresh);
	free(plan->places);
	free(plan->touched);
	free(plan->diff_nodes);
	coord_arena_free(plan->users_arena);
	coord_arena_free(plan->health_arena);
}

/* Peers of the update that are not in the map. */
static size_t fresh_count(const struct coord_merge *merge)
{
	size_t n = 0;

	for (size_t i = 0; i < merge->update->n_peers; i++)
		n += !coord_peer_find(merge->map, merge->update->peers[i].node.id);
	return n;
}

/* At most so many peers are touched: everyone if the frame is complete, or this node is another. */
static size_t touched_max(const struct coord_merge *merge, size_t n_all)
{
	const struct coord_map_update *update = merge->update;
	size_t n = update->n_removed + 2 * update->n_peers + update->n_seen + update->n_online +
		2 * update->n_patches;

	return merge->is_first || update->is_full || update->self || n > n_all ? n_all : n;
}

static int peers_plan(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;
	struct coord_plan *plan = merge->plan;
	size_t n_fresh = fresh_count(merge), n_all = map->n_peers + n_fresh;
	size_t n_touched = touched_max(merge, n_all), n_addrs = map->by_addr.n;

	plan->touched = calloc(n_touched + 1, sizeof(*plan->touched));
	plan->diff_nodes = calloc(n_touched + 1, sizeof(*plan->diff_nodes));
	plan->fresh = calloc(n_fresh + 1, sizeof(struct coord_peer *));
	if (!plan->touched || !plan->diff_nodes || !plan->fresh)
		return -ENOMEM;
	for (; plan->n_fresh < n_fresh; plan->n_fresh++) {
		plan->fresh[plan->n_fresh] = calloc(1, sizeof(struct coord_peer));
		if (!plan->fresh[plan->n_fresh])
			return -ENOMEM;
	}
	if (n_all > map->places_room) {
		plan->places_room = n_all + n_all / 8;
		plan->places = calloc(plan->places_room, sizeof(*plan->places));
		if (!plan->places)
			return -ENOMEM;
	}
	for (size_t i = 0; i < merge->update->n_peers; i++)
		n_addrs += merge->update->peers[i].node.n_addresses;
	return coord_index_reserve(&map->by_key, n_all) < 0 ||
			coord_index_reserve(&map->by_disco, n_all) < 0 ||
			coord_index_reserve(&map->by_label, n_all) < 0 ||
			coord_index_reserve(&map->by_addr, n_addrs) < 0
		? -ENOMEM
		: 0;
}

static bool user_equal(const struct coord_user *a, const struct coord_user *b)
{
	return a && a->id == b->id && strcmp(a->login, b->login) == 0 &&
		strcmp(a->display, b->display) == 0;
}

static bool users_are_known(const struct coord_merge *merge)
{
	const struct coord_map_update *update = merge->update;

	for (size_t i = 0; i < update->n_users; i++)
		if (!user_equal(
			    coord_netmap_user(merge->map, update->users[i].id), &update->users[i]))
			return false;
	return !merge->is_first || update->n_users == merge->map->n_users;
}

static int user_copy(struct coord_plan *plan, const struct coord_user *user)
{
	struct coord_user *copy = &plan->users[plan->n_users++];

	copy->id = user->id;
	copy->login = coord_arena_text(plan->users_arena, user->login, strlen(user->login));
	copy->display = coord_arena_text(plan->users_arena, user->display, strlen(user->display));
	return copy->login && copy->display ? 0 : -ENOMEM;
}

/* Users are few or stay the same: when one is new, all are copied. */
static int users_plan(struct coord_merge *merge)
{
	const struct coord_netmap *map = merge->map;
	const struct coord_map_update *update = merge->update;
	size_t n_old = merge->is_first ? 0 : map->n_users, i = 0, j = 0;
	struct coord_plan *plan = merge->plan;

	if (users_are_known(merge))
		return 0;
	plan->users_arena = coord_arena_new();
	if (!plan->users_arena)
		return -ENOMEM;
	plan->users =
		coord_arena_array(plan->users_arena, n_old + update->n_users, sizeof(*plan->users));
	if (!plan->users)
		return -ENOMEM;
	while (i < n_old || j < update->n_users) {
		bool is_old = j == update->n_users ||
			(i < n_old && map->users[i].id < update->users[j].id);
		const struct coord_user *user = is_old ? &map->users[i] : &update->users[j];

		i += i < n_old && map->users[i].id == user->id;
		j += !is_old;
		if (plan->n_users == COORD_USERS_MAX)
			merge->map->counts[COORD_NETMAP_CUT]++;
		else if (user_copy(plan, user) < 0)
			return -ENOMEM;
	}
	return 0;
}

static const struct coord_message *message_find(
	const struct coord_message *messages, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(messages[i].id, id) == 0)
			return &messages[i];
	return NULL;
}

static int message_copy(struct coord_plan *plan, const struct coord_message *message)
{
	struct coord_message *copy = &plan->messages[plan->n_messages++];

	copy->id = coord_arena_text(plan->health_arena, message->id, strlen(message->id));
	copy->text = coord_arena_text(plan->health_arena, message->text, strlen(message->text));
	plan->health[plan->n_health++] = copy->text;
	return copy->id && copy->text ? 0 : -ENOMEM;
}

/* Old messages that are neither over nor changed, then the frame's. */
static int messages_plan(struct coord_merge *merge)
{
	const struct coord_netmap *map = merge->map;
	const struct coord_map_update *update = merge->update;
	size_t n_old = merge->is_first || update->has_messages_reset ? 0 : map->n_messages;
	struct coord_plan *plan = merge->plan;

	for (size_t i = 0; i < n_old; i++)
		if (!message_find(update->messages, update->n_messages, map->messages[i].id) &&
			message_copy(plan, &map->messages[i]) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < update->n_messages; i++) {
		if (!update->messages[i].text)
			continue;
		if (plan->n_messages == COORD_WARNINGS_MAX)
			merge->map->counts[COORD_NETMAP_CUT]++;
		else if (message_copy(plan, &update->messages[i]) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* Warnings without an id are replaced together, those with one each. */
static int health_plan(struct coord_merge *merge)
{
	const struct coord_netmap *map = merge->map;
	const struct coord_map_update *update = merge->update;
	bool is_new = update->has_health || merge->is_first;
	const char *const *plain = is_new ? update->health : map->health;
	size_t n_plain = is_new ? update->n_health : map->n_plain;
	struct coord_plan *plan = merge->plan;

	if (!is_new && !update->has_messages_reset && update->n_messages == 0)
		return 0;
	plan->health_arena = coord_arena_new();
	if (!plan->health_arena)
		return -ENOMEM;
	plan->health = coord_arena_array(
		plan->health_arena, 2 * COORD_WARNINGS_MAX, sizeof(*plan->health));
	plan->messages =
		coord_arena_array(plan->health_arena, COORD_WARNINGS_MAX, sizeof(*plan->messages));
	if (!plan->health || !plan->messages)
		return -ENOMEM;
	for (; plan->n_plain < n_plain; plan->n_plain++) {
		const char *text = plain[plan->n_plain];

		plan->health[plan->n_plain] =
			coord_arena_text(plan->health_arena, text, strlen(text));
		if (!plan->health[plan->n_plain])
			return -ENOMEM;
	}
	plan->n_health = plan->n_plain;
	return messages_plan(merge);
}

/* --- from here on nothing fails --- */

static void users_commit(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;
	struct coord_plan *plan = merge->plan;

	if (!plan->users_arena)
		return;
	coord_arena_free(map->users_arena);
	map->users_arena = plan->users_arena;
	map->users = plan->users;
	map->n_users = plan->n_users;
	map->diff.has_users = true;
	plan->users_arena = NULL;
}

static void health_commit(struct coord_merge *merge)
{
	struct coord_netmap *map = merge->map;
	struct coord_plan *plan = merge->plan;

	if (!plan->health_arena)
		return;
	map->diff.has_health = map->n_health != plan->n_health;
	for (size_t i = 0; i < map->n_health && !map->diff.has_health; i++)
		map->diff.has_health = strcmp(map->health[i], plan->health[i]) != 0;
	coord_arena_free(map->health_arena);
	map->health_arena = plan->health_arena;
	map->health = plan->health;
	map->n_health = plan->n_health;
	map->n_plain = plan->n_plain;
	map->messages = plan->messages;
	map->n_messages = plan->n_messages;
	plan->health_arena = NULL;
}

static void chunk_remove(struct coord_netmap *map, size_t i)
{
	coord_arena_free(map->chunks[i].arena);
	map->n_chunks--;
	memmove(&map->chunks[i], &map->chunks[i + 1], (map->n_chunks - i) * sizeof(map->chunks[0]));
}

/* The chunk becomes the map's; null takes away the one of its name. */
static void chunk_set(struct coord_netmap *map, struct coord_chunk *chunk)
{
	size_t i = 0;

	while (i < map->n_chunks && strcmp(map->chunks[i].name, chunk->name) < 0)
		i++;
	if (i < map->n_chunks && strcmp(map->chunks[i].name, chunk->name) == 0)
		chunk_remove(map, i);
	if (chunk->is_deleted)
		return;
	if (map->n_chunks == COORD_CHUNKS_MAX) {
		map->counts[COORD_NETMAP_CUT]++;
		return;
	}
	memmove(&map->chunks[i + 1], &map->chunks[i], (map->n_chunks - i) * sizeof(map->chunks[0]));
	map->chunks[i] = *chunk;
	map->n_chunks++;
	chunk->arena = NULL;
}

static void filter_commit(struct coord_merge *merge)
{
	struct coord_map_update *update = merge->update;
	struct coord_netmap *map = merge->map;

	if (merge->is_first || update->is_filter_reset)
		while (map->n_chunks > 0)
			chunk_remove(map, map->n_chunks - 1);
	for (size_t i = 0; i < update->n_chunks; i++)
		chunk_set(map, &update->chunks[i]);
	if (merge->is_first || update->is_filter_reset || update->n_chunks > 0 ||
		(merge->has_peers_changed && coord_netmap_rules_need_peers(map)))
		map->diff.has_rules = coord_netmap_rules_build(map);
}

/* Are two parts the same? When memory for comparing lacks they are not. */
static bool json_same(json_t *a, json_t *b)
{
	bool is_same = a && b && json_equal(a, b);

	json_decref(a);
	json_decref(b);
	return is_same;
}

static void regions_commit(struct coord_merge *merge)
{
	struct coord_map_update *update = merge->update;
	struct coord_netmap *map = merge->map;

	if (!update->regions_arena && !merge->is_first)
		return;
	map->diff.has_regions = !json_same(coord_netmap_regions_json(map->regions, map->n_regions),
		coord_netmap_regions_json(update->regions, update->n_regions));
	coord_arena_free(map->regions_arena);
	map->regions_arena = update->regions_arena;
	map->regions = update->regions;
	map->n_regions = update->n_regions;
	update->regions_arena = NULL;
}

static void dns_commit(struct coord_merge *merge)
{
	static const struct coord_dns none;
	struct coord_map_update *update = merge->update;
	struct coord_netmap *map = merge->map;

	if (!update->dns_arena && !merge->is_first)
		return;
	map->diff.has_dns = !json_same(coord_netmap_dns_json(coord_netmap_dns(map)),
		coord_netmap_dns_json(update->dns ? update->dns : &none));
	coord_arena_free(map->dns_arena);
	map->dns_arena = update->dns_arena;
	map->dns = update->dns;
	update->dns_arena = NULL;
}

/* The newest word counts, also when the server's clock was set back: that is counted. */
static void clock_commit(struct coord_merge *merge)
{
	int64_t server = merge->update->control_time_unix_s, offset;
	struct coord_netmap *map = merge->map;

	if (server == 0)
		return;
	offset = server - (int64_t)merge->now_unix_s;
	map->counts[COORD_NETMAP_CLOCK_BACKWARDS] +=
		server + CLOCK_OFFSET_MIN_S < map->control_time_unix_s;
	map->control_time_unix_s = server;
	map->clock_offset_s =
		offset > CLOCK_OFFSET_MIN_S || offset < -CLOCK_OFFSET_MIN_S ? offset : 0;
}

static int plan_make(struct coord_merge *merge)
{
	int rc = peers_plan(merge);

	if (rc == 0)
		rc = users_plan(merge);
	return rc == 0 ? health_plan(merge) : rc;
}

static void commit(struct coord_merge *merge)
{
	struct coord_map_update *update = merge->update;
	struct coord_netmap *map = merge->map;
	struct coord_plan *plan = merge->plan;

	if (plan->places) {
		for (size_t i = 0; i < map->n_peers; i++)
			plan->places[i] = map->places[i];
		free(map->places);
		map->places = plan->places;
		map->places_room = plan->places_room;
		plan->places = NULL;
	}
	map->touched = plan->touched;
	map->diff_nodes = plan->diff_nodes;
	plan->touched = NULL;
	plan->diff_nodes = NULL;
	map->diff.is_first = merge->is_first;
	merge->n_live = map->n_peers;
	map->diff.has_self = coord_merge_self(merge);
	coord_merge_peers(merge);
	coord_merge_finish(merge);
	users_commit(merge);
	health_commit(merge);
	filter_commit(merge);
	regions_commit(merge);
	dns_commit(merge);
	if (update->domain)
		snprintf(map->domain, sizeof(map->domain), "%s", update->domain);
}

static int merge_run(struct coord_merge *merge)
{
	int rc;

	rc = plan_make(merge);
	if (rc == 0) {
		clock_commit(merge);
		for (unsigned i = 0; i < COORD_NETMAP_COUNTER_COUNT; i++)
			merge->map->counts[i] += merge->update->counts[i];
		commit(merge);
	}
	plan_fini(merge->plan);
	return rc;
}

int coord_netmap_apply(struct coord_netmap *map, struct coord_map_update *update, bool is_first,
	uint64_t now_unix_s, const struct coord_diff **ret_diff)
{
	struct coord_plan plan = {0};
	struct coord_merge merge = {.map = map,
		.update = update,
		.plan = &plan,
		.is_first = is_first,
		.now_unix_s = now_unix_s};
	int rc = 0;

	coord_netmap_settle(map);
	if (update->is_keep_alive)
		clock_commit(&merge);
	else
		rc = is_first && !update->self ? -EPROTO : merge_run(&merge);
	coord_map_update_free(update);
	if (rc == 0)
		*ret_diff = &map->diff;
	return rc;
}

int coord_netmap_clear(struct coord_netmap *map, const struct coord_diff **ret_diff)
{
	struct coord_map_update nothing = {0};
	struct coord_plan plan = {0};
	struct coord_merge merge = {
		.map = map, .update = &nothing, .plan = &plan, .is_first = true};
	int rc;

	coord_netmap_settle(map);
	rc = merge_run(&merge);
	if (rc == 0) {
		coord_arena_free(map->rules_arena);
		map->rules_arena = NULL;
		map->rules = NULL;
		map->n_rules = 0;
		map->diff.has_rules = true;
		map->clock_offset_s = 0;
		map->control_time_unix_s = 0;
		map->domain[0] = '\0';
		*ret_diff = &map->diff;
	}
	return rc;
}
