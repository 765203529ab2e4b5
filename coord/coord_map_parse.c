/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frame's JSON to an update. The text is walked once to find its members; the long ones are read element by element,
 * so that no tree of ten thousand peers ever stands in memory. Thread: the parser's. See coord_map.h.
 */
#include "coord_map.h"

#include "coord_map_read.h"
#include "coord_time.h"

#include <stdlib.h>

#define CHUNKS_MAX 16
#define SLEEP_S_MAX 300

struct frame_reader {
	struct coord_json json;
	struct coord_map_update *update;
};

static int no_memory(struct frame_reader *reader)
{
	return coord_json_fail(&reader->json, -ENOMEM, "", "out of memory");
}

/* Items with room for one more behind the @n that there are; NULL: no memory, kept as the error, and the items stay. */
static void *room_make(struct frame_reader *reader, void *items, size_t n, size_t size)
{
	if (n > 0 && (n & (n - 1)) != 0)
		return items;
	items = realloc(items, (n ? 2 * n : 1) * size);
	if (!items)
		no_memory(reader);
	return items;
}

/* What element readers share: each element's tree is built, read and freed. */
static void elements_read(struct frame_reader *reader, struct coord_span list,
	void (*read)(struct frame_reader *, const json_t *))
{
	struct coord_span element;
	struct coord_walk walk;
	int rc = coord_walk_init(&walk, list, '[');

	while (rc == 0 && reader->json.rc == 0) {
		json_t *tree;

		rc = coord_walk_element(&walk, &element);
		if (rc <= 0)
			break;
		reader->json.index++;
		tree = coord_json_tree(&reader->json, element);
		if (tree)
			read(reader, tree);
		json_decref(tree);
		rc = 0;
	}
	if (rc < 0)
		coord_json_fail(&reader->json, -EBADMSG, "", "not a list");
}

/* The member as one tree. */
static void whole_read(struct frame_reader *reader, struct coord_span text,
	void (*read)(struct frame_reader *, const json_t *))
{
	json_t *tree = coord_json_tree(&reader->json, text);

	if (tree)
		read(reader, tree);
	json_decref(tree);
}

static bool is_object(struct frame_reader *reader, const json_t *tree)
{
	if (!json_is_object(tree))
		coord_json_fail(&reader->json, -EBADMSG, "", "not an object");
	return json_is_object(tree);
}

static void self_tree(struct frame_reader *reader, const json_t *tree)
{
	struct coord_node_body *self = calloc(1, sizeof(*self));

	if (!self) {
		no_memory(reader);
		return;
	}
	reader->update->self = self;
	if (coord_read_node(&reader->json, reader->update->counts, tree, self) == 0 &&
		(self->node.id <= 0 || cr_key_is_zero(&self->node.node_key)))
		coord_json_fail(&reader->json, -EBADMSG, "", "without an id or a key");
}

static void self_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, self_tree);
}

static void peer_tree(struct frame_reader *reader, const json_t *tree)
{
	struct coord_map_update *update = reader->update;
	struct coord_node_body body, *peers;

	if (update->n_peers == COORD_PEERS_MAX) {
		update->counts[COORD_NETMAP_CUT]++;
		return;
	}
	peers = room_make(reader, update->peers, update->n_peers, sizeof(*peers));
	if (!peers)
		return;
	update->peers = peers;
	if (coord_read_node(&reader->json, update->counts, tree, &body) < 0)
		return;
	if (body.node.id > 0) {
		update->peers[update->n_peers++] = body;
	} else {
		update->counts[COORD_NETMAP_REFUSED_PEERS]++;
		coord_node_body_fini(&body);
	}
}

static void body_fini(void *item)
{
	coord_node_body_fini(item);
}

static void peers_sort(struct frame_reader *reader)
{
	struct coord_map_update *update = reader->update;
	ssize_t n =
		coord_ids_sort(update->peers, update->n_peers, sizeof(*update->peers), body_fini);

	if (n < 0) {
		no_memory(reader);
		return;
	}
	update->counts[COORD_NETMAP_DUPLICATE_IDS] += update->n_peers - (size_t)n;
	update->n_peers = (size_t)n;
}

static void peers_read(struct frame_reader *reader, struct coord_span text)
{
	elements_read(reader, text, peer_tree);
	reader->update->is_full = reader->json.index >= 0;
	if (reader->json.rc == 0)
		peers_sort(reader);
}

static void changed_read(struct frame_reader *reader, struct coord_span text)
{
	if (reader->update->is_full)
		return;
	elements_read(reader, text, peer_tree);
	if (reader->json.rc == 0)
		peers_sort(reader);
}

static void removed_tree(struct frame_reader *reader, const json_t *tree)
{
	struct coord_map_update *update = reader->update;
	size_t i;
	ssize_t n;
	json_t *item;

	if (!json_is_array(tree)) {
		coord_json_fail(&reader->json, -EBADMSG, "", "not a list");
		return;
	}
	update->removed = calloc(json_array_size(tree) + 1, sizeof(*update->removed));
	if (!update->removed) {
		no_memory(reader);
		return;
	}
	json_array_foreach (tree, i, item) {
		if (!json_is_integer(item))
			coord_json_fail(&reader->json, -EBADMSG, "", "an entry is no integer");
		update->removed[update->n_removed++] = json_integer_value(item);
	}
	n = coord_ids_sort(update->removed, update->n_removed, sizeof(*update->removed), NULL);
	if (n < 0)
		no_memory(reader);
	else
		update->n_removed = (size_t)n;
}

static void removed_read(struct frame_reader *reader, struct coord_span text)
{
	if (!reader->update->is_full)
		whole_read(reader, text, removed_tree);
}

/* A number of a map's key; false: it is none. */
static bool id_parse(const char *text, int64_t *ret_id)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_id = strtoll(text, &end, 10);
	return !*end && errno == 0;
}

static struct coord_id_flag *flags_of(
	struct frame_reader *reader, const json_t *tree, size_t *ret_n)
{
	struct coord_id_flag *flags;
	const char *name;
	json_t *value;
	ssize_t n;

	if (!is_object(reader, tree))
		return NULL;
	flags = calloc(json_object_size(tree) + 1, sizeof(*flags));
	if (!flags) {
		no_memory(reader);
		return NULL;
	}
	json_object_foreach ((json_t *)(uintptr_t)tree, name, value) {
		if (!json_is_boolean(value))
			coord_json_fail(&reader->json, -EBADMSG, name, "neither true nor false");
		if (!id_parse(name, &flags[*ret_n].id))
			reader->update->counts[COORD_NETMAP_BAD_ENTRIES]++;
		else
			flags[(*ret_n)++].value = json_is_true(value);
	}
	n = coord_ids_sort(flags, *ret_n, sizeof(*flags), NULL);
	if (n < 0)
		no_memory(reader);
	else
		*ret_n = (size_t)n;
	return flags;
}

static void seen_tree(struct frame_reader *reader, const json_t *tree)
{
	reader->update->seen = flags_of(reader, tree, &reader->update->n_seen);
}

static void seen_read(struct frame_reader *reader, struct coord_span text)
{
	if (!reader->update->is_full)
		whole_read(reader, text, seen_tree);
}

static void online_tree(struct frame_reader *reader, const json_t *tree)
{
	reader->update->online = flags_of(reader, tree, &reader->update->n_online);
}

static void online_read(struct frame_reader *reader, struct coord_span text)
{
	if (!reader->update->is_full)
		whole_read(reader, text, online_tree);
}

static void patch_tree(struct frame_reader *reader, const json_t *tree)
{
	struct coord_map_update *update = reader->update;
	struct coord_patch *patches;

	if (json_is_null(tree))
		return;
	if (update->n_patches == COORD_PEERS_MAX) {
		update->counts[COORD_NETMAP_CUT]++;
		return;
	}
	patches = room_make(reader, update->patches, update->n_patches, sizeof(*patches));
	if (!patches)
		return;
	update->patches = patches;
	if (coord_read_patch(
		    &reader->json, update->counts, tree, &update->patches[update->n_patches]) == 0)
		update->n_patches++;
}

static void patches_read(struct frame_reader *reader, struct coord_span text)
{
	if (!reader->update->is_full)
		elements_read(reader, text, patch_tree);
}

static const char *text_keep(struct frame_reader *reader, const char *text)
{
	struct coord_arena *arena = reader->update->users_arena;
	size_t len = text ? strlen(text) : 0;
	char *copy;

	if (len > COORD_TEXT_BYTES_MAX)
		len = COORD_TEXT_BYTES_MAX;
	copy = coord_arena_get(arena, len + 1);
	if (!copy)
		no_memory(reader);
	else
		(void)coord_read_text(copy, text ? text : "", len, false);
	return copy;
}

static void user_tree(struct frame_reader *reader, const json_t *tree)
{
	struct coord_map_update *update = reader->update;
	struct coord_json *json = &reader->json;
	struct coord_user *users;

	if (!is_object(reader, tree))
		return;
	if (update->n_users == COORD_USERS_MAX) {
		update->counts[COORD_NETMAP_CUT]++;
		return;
	}
	users = room_make(reader, update->users, update->n_users, sizeof(*users));
	if (!users)
		return;
	update->users = users;
	update->users[update->n_users++] = (struct coord_user){
		.id = coord_json_int(json, tree, "ID", 0),
		.login = text_keep(reader, coord_json_text(json, tree, "LoginName")),
		.display = text_keep(reader, coord_json_text(json, tree, "DisplayName")),
	};
}

static void users_read(struct frame_reader *reader, struct coord_span text)
{
	struct coord_map_update *update = reader->update;
	ssize_t n;

	update->users_arena = coord_arena_new();
	if (!update->users_arena) {
		no_memory(reader);
		return;
	}
	elements_read(reader, text, user_tree);
	n = coord_ids_sort(update->users, update->n_users, sizeof(*update->users), NULL);
	if (n < 0)
		no_memory(reader);
	else
		update->n_users = (size_t)n;
}

static void chunk_add(struct frame_reader *reader, struct coord_span name, struct coord_span rules)
{
	struct coord_map_update *update = reader->update;

	if (update->n_chunks == CHUNKS_MAX) {
		update->counts[COORD_NETMAP_CUT]++;
		return;
	}
	if (!update->chunks)
		update->chunks = calloc(CHUNKS_MAX, sizeof(*update->chunks));
	if (!update->chunks)
		no_memory(reader);
	else if (coord_read_chunk(&reader->json, update->counts, name, rules,
			 &update->chunks[update->n_chunks]) == 0)
		update->n_chunks++;
}

/* The older form: one chunk. */
static void filter_read(struct frame_reader *reader, struct coord_span text)
{
	chunk_add(reader, (struct coord_span){"base", 4}, text);
}

static void filters_read(struct frame_reader *reader, struct coord_span text)
{
	struct coord_span name, value;
	struct coord_walk walk;
	int rc = coord_walk_init(&walk, text, '{');

	while (rc == 0 && reader->json.rc == 0) {
		rc = coord_walk_member(&walk, &name, &value);
		if (rc <= 0)
			break;
		if (!coord_span_is(name, "*"))
			chunk_add(reader, name, value);
		else if (coord_span_is(value, "null"))
			reader->update->is_filter_reset = true;
		rc = 0;
	}
	if (rc < 0)
		coord_json_fail(&reader->json, -EBADMSG, "", "not an object");
}

static void derp_tree(struct frame_reader *reader, const json_t *tree)
{
	if (is_object(reader, tree))
		(void)coord_read_regions(&reader->json, tree, reader->update);
}

static void derp_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, derp_tree);
}

static void dns_tree(struct frame_reader *reader, const json_t *tree)
{
	if (is_object(reader, tree))
		(void)coord_read_dns(&reader->json, tree, reader->update);
}

static void dns_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, dns_tree);
}

static void health_tree(struct frame_reader *reader, const json_t *tree)
{
	if (!json_is_array(tree))
		coord_json_fail(&reader->json, -EBADMSG, "", "not a list");
	else
		(void)coord_read_health(&reader->json, tree, reader->update);
}

static void health_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, health_tree);
}

static void messages_tree(struct frame_reader *reader, const json_t *tree)
{
	if (is_object(reader, tree))
		(void)coord_read_messages(&reader->json, tree, reader->update);
}

static void messages_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, messages_tree);
}

/* A text for the client, whole or not at all: half a URL is another one. */
static const char *line_keep(struct frame_reader *reader, const char *text)
{
	char *copy;

	if (!text || !*text)
		return NULL;
	if (strlen(text) > COORD_TEXT_BYTES_MAX) {
		reader->update->counts[COORD_NETMAP_CUT]++;
		return NULL;
	}
	copy = coord_arena_text(reader->update->arena, text, strlen(text));
	if (!copy)
		no_memory(reader);
	return copy;
}

static void ping_tree(struct frame_reader *reader, const json_t *tree)
{
	struct coord_json *json = &reader->json;
	const char *types;

	if (!is_object(reader, tree))
		return;
	types = coord_json_text(json, tree, "Types");
	reader->update->ping_is_c2n = types && *types;
	reader->update->ping_is_noise = coord_json_flag(json, tree, "URLIsNoise");
	reader->update->ping_url = line_keep(reader, coord_json_text(json, tree, "URL"));
}

static void ping_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, ping_tree);
}

static const char *string_of(struct frame_reader *reader, const json_t *tree)
{
	if (!json_is_string(tree))
		coord_json_fail(&reader->json, -EBADMSG, "", "not a string");
	return json_string_value(tree);
}

static void browser_tree(struct frame_reader *reader, const json_t *tree)
{
	reader->update->browser_url = line_keep(reader, string_of(reader, tree));
}

static void browser_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, browser_tree);
}

static void domain_tree(struct frame_reader *reader, const json_t *tree)
{
	char name[COORD_NAME_BYTES_MAX + 1];
	const char *text = string_of(reader, tree);

	if (!text || !*text)
		return;
	(void)coord_read_text(name, text, COORD_NAME_BYTES_MAX, false);
	reader->update->domain = line_keep(reader, name);
}

static void domain_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, domain_tree);
}

static void time_tree(struct frame_reader *reader, const json_t *tree)
{
	const char *text = string_of(reader, tree);
	int64_t unix_s = 0;

	if (text && coord_time_parse(text, &unix_s) < 0)
		coord_json_fail(&reader->json, -EBADMSG, "", "not a time");
	reader->update->control_time_unix_s = unix_s > 0 ? unix_s : 0;
}

static void time_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, time_tree);
}

static void debug_tree(struct frame_reader *reader, const json_t *tree)
{
	const json_t *sleep = json_object_get(tree, "SleepSeconds");
	double sleep_s = json_number_value(sleep);

	if (!is_object(reader, tree))
		return;
	if (sleep && !json_is_number(sleep) && !json_is_null(sleep))
		coord_json_fail(&reader->json, -EBADMSG, "SleepSeconds", "not a number");
	reader->update->sleep_s = sleep_s <= 0 ? 0
		: sleep_s >= SLEEP_S_MAX       ? SLEEP_S_MAX
					       : (uint32_t)sleep_s;
}

static void debug_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, debug_tree);
}

static void keep_alive_tree(struct frame_reader *reader, const json_t *tree)
{
	if (!json_is_boolean(tree))
		coord_json_fail(&reader->json, -EBADMSG, "", "neither true nor false");
	reader->update->is_keep_alive = json_is_true(tree);
}

static void keep_alive_read(struct frame_reader *reader, struct coord_span text)
{
	whole_read(reader, text, keep_alive_tree);
}

/* In the order in which they are read; what comes with a keep-alive first. */
static const struct member {
	const char *name;
	void (*read)(struct frame_reader *, struct coord_span);
	bool is_of_keep_alive;
} members[] = {
	{"KeepAlive", keep_alive_read, true},
	{"ControlTime", time_read, true},
	{"PingRequest", ping_read, true},
	{"PopBrowserURL", browser_read, true},
	{"Node", self_read, false},
	{"Peers", peers_read, false},
	{"PeersRemoved", removed_read, false},
	{"PeersChanged", changed_read, false},
	{"PeerSeenChange", seen_read, false},
	{"OnlineChange", online_read, false},
	{"PeersChangedPatch", patches_read, false},
	{"UserProfiles", users_read, false},
	{"DERPMap", derp_read, false},
	{"PacketFilter", filter_read, false},
	{"PacketFilters", filters_read, false},
	{"DNSConfig", dns_read, false},
	{"Domain", domain_read, false},
	{"Health", health_read, false},
	{"DisplayMessages", messages_read, false},
	{"Debug", debug_read, false},
};

/* Where each member's value is; of one that comes twice the last. */
static void members_find(struct frame_reader *reader, struct coord_span text,
	struct coord_span ret_values[BASE_ARRAY_LEN(members)])
{
	struct coord_span name, value;
	struct coord_walk walk;
	int rc = coord_walk_init(&walk, text, '{');

	while (rc == 0) {
		rc = coord_walk_member(&walk, &name, &value);
		if (rc <= 0)
			break;
		for (size_t i = 0; i < BASE_ARRAY_LEN(members); i++)
			if (coord_span_is(name, members[i].name))
				ret_values[i] = value;
		rc = 0;
	}
	if (rc < 0)
		coord_json_fail(&reader->json, -EBADMSG, "", "no JSON object");
}

struct coord_map_update *coord_map_parse_text(
	const char *text, size_t len, struct base_error *ret_error)
{
	struct coord_span values[BASE_ARRAY_LEN(members)] = {0};
	struct frame_reader reader = {.json = {.error = ret_error, .index = -1}};

	reader.update = calloc(1, sizeof(*reader.update));
	if (reader.update)
		reader.update->arena = coord_arena_new();
	if (!reader.update || !reader.update->arena)
		no_memory(&reader);
	else
		members_find(&reader, (struct coord_span){text, len}, values);
	for (size_t i = 0; i < BASE_ARRAY_LEN(members) && reader.json.rc == 0; i++) {
		if (!values[i].text || coord_span_is(values[i], "null"))
			continue;
		if (reader.update->is_keep_alive && !members[i].is_of_keep_alive)
			break;
		reader.json.where = members[i].name;
		reader.json.index = -1;
		members[i].read(&reader, values[i]);
	}
	if (reader.json.rc == 0) {
		reader.update->decoded_bytes = len;
		return reader.update;
	}
	coord_map_update_free(reader.update);
	errno = -reader.json.rc;
	return NULL;
}
