/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random frames, one after the other, into a map; and into a twin that keeps the mesh as plain JSON, searches
 * from end to end, and is then sent whole to a map that is new. Both must print the same, and each difference must
 * name exactly the peers that print otherwise than before. The seed is printed; COORD_SEED=N repeats a run.
 */
#include "coord_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#define ROUNDS 10
#define FRAMES 50
#define IDS 24
#define KEYS 30
#define ADDRS 30
#define NOW 1790000000u

static uint64_t random_state;

static unsigned chance(unsigned sides)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned)((z ^ z >> 31) % sides);
}

/* --- the twin: what a server would hold, as the members of a whole frame ------------------------ */

struct twin {
	json_t *self, *peers; /* an object by id in decimal */
	json_t *filters, *users, *health, *messages, *dns, *derp;
};

static const char *id_text(int64_t id)
{
	static char text[32];

	snprintf(text, sizeof(text), "%lld", (long long)id);
	return text;
}

static bool texts_equal(const json_t *a, const char *name, const json_t *b)
{
	const char *x = json_string_value(json_object_get(a, name));
	const char *y = json_string_value(json_object_get(b, name));

	return x && y && strcmp(x, y) == 0;
}

static bool is_ours(const struct twin *twin, const json_t *prefix)
{
	const json_t *list = json_object_get(twin->self, "Addresses");

	for (size_t i = 0; i < json_array_size(list); i++)
		if (json_equal(json_array_get(list, i), prefix))
			return true;
	return false;
}

static void ours_strike(const struct twin *twin, json_t *peer)
{
	static const char *const names[] = {"Addresses", "AllowedIPs"};

	for (size_t i = 0; i < 2; i++) {
		json_t *list = json_object_get(peer, names[i]);

		for (size_t j = json_array_size(list); j-- > 0;)
			if (is_ours(twin, json_array_get(list, j)))
				json_array_remove(list, j);
	}
}

static bool can_be(const struct twin *twin, const json_t *peer)
{
	const char *key = json_string_value(json_object_get(peer, "Key"));

	return !texts_equal(peer, "Key", twin->self) && strspn(key + 8, "0") != 64 &&
		!json_equal(json_object_get(peer, "ID"), json_object_get(twin->self, "ID"));
}

/* The one other peer with this key goes. */
static void key_free(struct twin *twin, const json_t *peer)
{
	const char *id;
	json_t *other;
	void *next;

	json_object_foreach_safe (twin->peers, next, id, other)
		if (other != peer && texts_equal(other, "Key", peer))
			json_object_del(twin->peers, id);
}

static void twin_set(struct twin *twin, const json_t *sent)
{
	const char *id = id_text(json_integer_value(json_object_get(sent, "ID")));
	json_t *peer = json_deep_copy(sent);

	json_object_del(twin->peers, id);
	if (can_be(twin, peer)) {
		if (!json_object_get(peer, "AllowedIPs"))
			json_object_set_new(peer, "AllowedIPs",
				json_deep_copy(json_object_get(peer, "Addresses")));
		ours_strike(twin, peer);
		key_free(twin, peer);
		json_object_set(twin->peers, id, peer);
	}
	json_decref(peer);
}

static void twin_self(struct twin *twin, const json_t *sent)
{
	const char *id;
	json_t *peer;
	void *next;

	json_decref(twin->self);
	twin->self = json_deep_copy(sent);
	json_object_foreach_safe (twin->peers, next, id, peer) {
		if (!can_be(twin, peer))
			json_object_del(twin->peers, id);
		else
			ours_strike(twin, peer);
	}
}

static void twin_patch(struct twin *twin, json_t *patch)
{
	const char *id = id_text(json_integer_value(json_object_get(patch, "NodeID")));
	json_t *peer = json_object_get(twin->peers, id), *value;
	const char *name;

	if (!peer)
		return;
	json_object_foreach (patch, name, value) {
		if (strcmp(name, "DERPRegion") == 0)
			json_object_set(peer, "HomeDERP", value);
		else if (strcmp(name, "NodeID") != 0)
			json_object_set(peer, name, value);
	}
	if (can_be(twin, peer))
		key_free(twin, peer);
	else
		json_object_del(twin->peers, id);
}

/* In the order of ids: of two with one key the higher counts; of two with one id the last. */
static void twin_list(struct twin *twin, const json_t *list)
{
	for (int64_t id = 1; id <= IDS; id++) {
		const json_t *last = NULL;
		json_t *item;
		size_t i;

		json_array_foreach (list, i, item)
			if (json_integer_value(json_object_get(item, "ID")) == id)
				last = item;
		if (last)
			twin_set(twin, last);
	}
}

/* The whole list, or the changes of one, in the order of application. */
static void twin_peers(struct twin *twin, json_t *frame)
{
	json_t *item;
	const char *id;
	size_t i;

	if (json_array_size(json_object_get(frame, "Peers")) > 0) {
		json_object_clear(twin->peers);
		twin_list(twin, json_object_get(frame, "Peers"));
		return;
	}
	json_array_foreach (json_object_get(frame, "PeersRemoved"), i, item)
		json_object_del(twin->peers, id_text(json_integer_value(item)));
	twin_list(twin, json_object_get(frame, "PeersChanged"));
	json_object_foreach (json_object_get(frame, "OnlineChange"), id, item)
		if (json_object_get(twin->peers, id))
			json_object_set(json_object_get(twin->peers, id), "Online", item);
	json_array_foreach (json_object_get(frame, "PeersChangedPatch"), i, item)
		twin_patch(twin, item);
}

static void twin_filters(struct twin *twin, json_t *frame)
{
	json_t *filters = json_object_get(frame, "PacketFilters"), *rules;
	const char *name;

	if (json_is_null(json_object_get(filters, "*")))
		json_object_clear(twin->filters);
	json_object_foreach (filters, name, rules) {
		if (json_is_null(rules))
			json_object_del(twin->filters, name);
		else
			json_object_set(twin->filters, name, rules);
	}
}

static void twin_apply(struct twin *twin, json_t *frame, bool is_first)
{
	json_t *item;
	const char *id;
	size_t i;

	if (is_first) {
		json_object_clear(twin->peers);
		json_object_clear(twin->filters);
		json_object_clear(twin->users);
		json_object_clear(twin->messages);
		json_array_clear(twin->health);
	}
	if (json_object_get(frame, "Node"))
		twin_self(twin, json_object_get(frame, "Node"));
	twin_peers(twin, frame);
	twin_filters(twin, frame);
	json_array_foreach (json_object_get(frame, "UserProfiles"), i, item)
		json_object_set(twin->users,
			id_text(json_integer_value(json_object_get(item, "ID"))), item);
	if (json_is_array(json_object_get(frame, "Health"))) {
		json_array_clear(twin->health);
		json_array_extend(twin->health, json_object_get(frame, "Health"));
	}
	if (json_is_null(json_object_get(json_object_get(frame, "DisplayMessages"), "*")))
		json_object_clear(twin->messages);
	json_object_foreach (json_object_get(frame, "DisplayMessages"), id, item) {
		json_object_del(twin->messages, id);
		if (!json_is_null(item))
			json_object_set(twin->messages, id, item);
	}
}

static json_t *values_of(json_t *object)
{
	json_t *list = json_array(), *value;
	const char *name;

	json_object_foreach (object, name, value)
		json_array_append(list, value);
	return list;
}

static json_t *twin_whole(const struct twin *twin)
{
	return json_pack("{s:O, s:o, s:O, s:o, s:O, s:O}", "Node", twin->self, "Peers",
		values_of(twin->peers), "PacketFilters", twin->filters, "UserProfiles",
		values_of(twin->users), "Health", twin->health, "DisplayMessages", twin->messages);
}

static void twin_init(struct twin *twin)
{
	*twin = (struct twin){.peers = json_object(),
		.filters = json_object(),
		.users = json_object(),
		.messages = json_object(),
		.health = json_array()};
}

static void twin_fini(struct twin *twin)
{
	json_decref(twin->self);
	json_decref(twin->peers);
	json_decref(twin->filters);
	json_decref(twin->users);
	json_decref(twin->messages);
	json_decref(twin->health);
}

/* --- random frames ------------------------------------------------------------------------------ */

static json_t *random_key(const char *prefix)
{
	char text[96];
	int len = snprintf(text, sizeof(text), "%s:", prefix);
	unsigned byte = chance(KEYS);

	for (unsigned i = 0; i < 32; i++)
		len += snprintf(text + len, sizeof(text) - (size_t)len, "%02x", byte);
	return json_string(text);
}

static json_t *random_prefixes(unsigned n_max)
{
	json_t *list = json_array();

	for (unsigned i = chance(n_max + 1); i > 0; i--)
		json_array_append_new(list, json_sprintf("100.64.0.%u/32", chance(ADDRS)));
	if (chance(8) == 0)
		json_array_append_new(list, json_string("10.0.0.0/8"));
	return list;
}

static json_t *random_endpoints(void)
{
	json_t *list = json_array();

	for (unsigned i = chance(3); i > 0; i--)
		json_array_append_new(
			list, json_sprintf("192.0.2.%u:%u", chance(4), 1 + chance(4)));
	return list;
}

static json_t *random_caps(void)
{
	return chance(3) == 0 ? json_pack("{s:n}", "cap/a")
			      : json_pack("{s:[], s:n}", "cap/b", "x");
}

static json_t *random_node(void)
{
	json_t *node = json_pack("{s:i, s:o, s:o, s:o}", "ID", 1 + (int)chance(IDS), "Key",
		random_key("nodekey"), "Name", json_sprintf("n%u.lab.", chance(9)), "User",
		json_integer(chance(3)));
	json_t *addresses = json_array();

	for (unsigned i = chance(3); i > 0; i--)
		json_array_append_new(addresses, json_sprintf("100.64.0.%u/32", chance(ADDRS)));
	json_object_set_new(node, "Addresses", addresses);
	if (chance(2))
		json_object_set_new(node, "AllowedIPs", random_prefixes(4));
	if (chance(2))
		json_object_set_new(node, "DiscoKey", random_key("discokey"));
	if (chance(2))
		json_object_set_new(node, "Endpoints", random_endpoints());
	if (chance(2))
		json_object_set_new(node, "Online", json_boolean(chance(2)));
	if (chance(4) == 0)
		json_object_set_new(node, "CapMap", random_caps());
	if (chance(4) == 0)
		json_object_set_new(node, "Tags", json_pack("[s]", chance(2) ? "tag:a" : "tag:b"));
	return node;
}

static json_t *random_nodes(unsigned n_max)
{
	json_t *list = json_array();

	for (unsigned i = chance(n_max + 1); i > 0; i--)
		json_array_append_new(list, random_node());
	return list;
}

static json_t *random_patch(void)
{
	json_t *patch = json_pack("{s:i}", "NodeID", 1 + (int)chance(IDS));

	if (chance(3) == 0)
		json_object_set_new(patch, "Key", random_key("nodekey"));
	if (chance(3) == 0)
		json_object_set_new(patch, "DiscoKey", random_key("discokey"));
	if (chance(3) == 0)
		json_object_set_new(patch, "Endpoints", random_endpoints());
	if (chance(3) == 0)
		json_object_set_new(patch, "DERPRegion", json_integer(1 + chance(3)));
	if (chance(3) == 0)
		json_object_set_new(patch, "Online", json_boolean(chance(2)));
	if (chance(3) == 0)
		json_object_set_new(patch, "CapMap", random_caps());
	if (chance(4) == 0)
		json_object_set_new(patch, "KeyExpiry", json_string("2030-01-01T00:00:00Z"));
	/* the zero key changes nothing; another node's key is a matter of can_be() */
	if (strstr(json_string_value(json_object_get(patch, "Key"))
			    ? json_string_value(json_object_get(patch, "Key"))
			    : "",
		    ":0000"))
		json_object_del(patch, "Key");
	return patch;
}

static json_t *random_rules(void)
{
	static const char *const srcs[] = {"*", "100.64.0.3", "100.64.0.1-100.64.0.9", "cap:cap/a",
		"cap:cap/b", "bad", "fd7a::/16"};
	json_t *rules = json_array();

	for (unsigned i = chance(3); i > 0; i--)
		json_array_append_new(rules,
			json_pack("{s:[s, s], s:[{s:s, s:{s:i, s:i}}]}", "SrcIPs",
				srcs[chance(BASE_ARRAY_LEN(srcs))],
				srcs[chance(BASE_ARRAY_LEN(srcs))], "DstPorts", "IP",
				chance(2) ? "*" : "100.64.0.0/10", "Ports", "First", 0, "Last",
				(int)chance(9)));
	return rules;
}

static void random_peers(json_t *frame)
{
	json_t *list;

	if (chance(12) == 0)
		json_object_set_new(frame, "Peers", random_nodes(IDS));
	if (chance(3))
		json_object_set_new(frame, "PeersChanged", random_nodes(chance(3) ? 2 : 20));
	if (chance(4) == 0)
		json_object_set_new(frame, "PeersRemoved",
			json_pack("[i, i]", 1 + (int)chance(IDS), 1 + (int)chance(IDS)));
	if (chance(4) == 0)
		json_object_set_new(frame, "OnlineChange",
			json_pack("{s:b}", id_text(1 + chance(IDS)), (int)chance(2)));
	if (chance(3) == 0) {
		list = json_array();
		for (unsigned i = chance(4); i > 0; i--)
			json_array_append_new(list, random_patch());
		json_object_set_new(frame, "PeersChangedPatch", list);
	}
}

static json_t *random_frame(bool is_first)
{
	static const char *const chunks[] = {"base", "a", "b"};
	json_t *frame = json_object(), *node;

	if (is_first || chance(10) == 0) {
		do {
			node = random_node();
		} while (strstr(json_string_value(json_object_get(node, "Key")), ":0000") &&
			(json_decref(node), true));
		json_object_set_new(frame, "Node", node);
	}
	random_peers(frame);
	if (chance(6) == 0) {
		node = json_object();
		json_object_set_new(
			node, chunks[chance(3)], chance(4) ? random_rules() : json_null());
		if (chance(5) == 0)
			json_object_set_new(node, "*", json_null());
		json_object_set_new(frame, "PacketFilters", node);
	}
	if (chance(6) == 0)
		json_object_set_new(frame, "UserProfiles",
			json_pack("[{s:i, s:s}]", "ID", (int)chance(3), "LoginName",
				chance(2) ? "alice" : "bob"));
	if (chance(12) == 0)
		json_object_set_new(
			frame, "Health", chance(2) ? json_array() : json_pack("[s]", "ill"));
	if (chance(12) == 0)
		json_object_set_new(frame, "DisplayMessages",
			chance(3) ? json_pack("{s:{s:s}}", chance(2) ? "m" : "k", "Text", "t")
				  : json_pack("{s:n}", chance(2) ? "m" : "*"));
	return frame;
}

/* --- comparing ---------------------------------------------------------------------------------- */

/* Without what depends on how it came to be. */
static json_t *printed(const struct coord_netmap *map)
{
	char *text = coord_netmap_print(map, NOW);
	json_t *object = json_loads(text ? text : "", 0, NULL);

	assert_non_null(object);
	json_object_del(object, "counters");
	free(text);
	return object;
}

static const struct coord_diff *apply(struct coord_netmap *map, const json_t *frame, bool is_first)
{
	char *text = json_dumps(frame, JSON_COMPACT);
	const struct coord_diff *diff;
	struct coord_map_update *update;
	struct base_error why = {""};

	assert_non_null(text);
	update = coord_map_parse_text(text, strlen(text), &why);
	if (!update)
		fail_msg("%s: %s", why.text, text);
	free(text);
	assert_int_equal(coord_netmap_apply(map, update, is_first, NOW, &diff), 0);
	return diff;
}

static const json_t *peer_of(const json_t *map, int64_t id)
{
	json_t *peer;
	size_t i;

	json_array_foreach (json_object_get(map, "peers"), i, peer)
		if (json_integer_value(json_object_get(peer, "id")) == id)
			return peer;
	return NULL;
}

static const struct coord_diff_node *diff_of(const struct coord_diff *diff, int64_t id)
{
	const struct coord_diff_node *found = NULL;

	for (size_t i = 0; i < diff->n_nodes; i++) {
		if (diff->nodes[i].node->id != id)
			continue;
		assert_null(found); /* each once */
		found = &diff->nodes[i];
	}
	return found;
}

/* Owners' names are no part of a peer. */
static bool peer_same(const json_t *a, const json_t *b)
{
	json_t *x = json_copy((json_t *)(uintptr_t)a), *y = json_copy((json_t *)(uintptr_t)b);
	bool is_same;

	json_object_del(x, "owner");
	json_object_del(y, "owner");
	is_same = json_equal(x, y);
	json_decref(x);
	json_decref(y);
	return is_same;
}

static void diff_check(const struct coord_diff *diff, const json_t *before, const json_t *after)
{
	for (int64_t id = 1; id <= IDS; id++) {
		const json_t *was = peer_of(before, id), *is = peer_of(after, id);
		const struct coord_diff_node *node = diff_of(diff, id);

		if ((!was && !is) || (was && is && peer_same(was, is))) {
			assert_null(node);
			continue;
		}
		assert_non_null(node);
		assert_int_equal(node->change,
			!was                                       ? COORD_NODE_ADDED
				: !is                              ? COORD_NODE_REMOVED
				: texts_equal(was, "node_key", is) ? COORD_NODE_CHANGED
								   : COORD_NODE_REKEYED);
		if (!was || !is)
			continue;
		assert_int_equal(node->has_new_endpoints,
			!json_equal(json_object_get(was, "endpoints"),
				json_object_get(is, "endpoints")));
		assert_int_equal(node->has_new_addresses,
			!json_equal(json_object_get(was, "addresses"),
				json_object_get(is, "addresses")) ||
				!json_equal(json_object_get(was, "allowed_ips"),
					json_object_get(is, "allowed_ips")));
	}
	assert_int_equal(diff->has_self,
		!peer_same(json_object_get(before, "self"), json_object_get(after, "self")));
	assert_int_equal(diff->has_rules,
		!json_equal(json_object_get(before, "rules"), json_object_get(after, "rules")));
	assert_int_equal(diff->has_health,
		!json_equal(json_object_get(before, "health"), json_object_get(after, "health")));
}

/* All ways to look a peer up lead to it, as far as it is the only one. */
static void lookups_check(const struct coord_netmap *map)
{
	for (size_t i = 0; i < coord_netmap_n_peers(map); i++) {
		const struct coord_node *node = coord_netmap_peer(map, i), *found;

		assert_ptr_equal(coord_netmap_by_id(map, node->id), node);
		assert_ptr_equal(coord_netmap_by_key(map, &node->node_key), node);
		for (unsigned j = 0; j < node->n_addresses; j++) {
			found = coord_netmap_by_addr(map, &node->addresses[j]);
			assert_true(found && found->id <= node->id);
		}
		for (found = NULL; !cr_key_is_zero(&node->disco_key);) {
			found = coord_netmap_by_disco(map, &node->disco_key, found);
			assert_non_null(found);
			if (found == node)
				break;
		}
	}
}

static bool twin_compare(const struct coord_netmap *map, const struct twin *twin)
{
	struct coord_netmap *whole = coord_netmap_new();
	json_t *frame = twin_whole(twin), *a, *b;
	bool is_same;

	assert_true(whole && frame);
	(void)apply(whole, frame, true);
	a = printed(map);
	b = printed(whole);
	/* the twin's messages come in another order */
	json_object_del(a, "health");
	json_object_del(b, "health");
	is_same = json_equal(a, b);
	if (!is_same) {
		json_dumpf(a, stderr, JSON_INDENT(1));
		json_dumpf(b, stderr, JSON_INDENT(1));
	}
	json_decref(a);
	json_decref(b);
	json_decref(frame);
	coord_netmap_free(whole);
	return is_same;
}

static void round_run(void)
{
	struct coord_netmap *map = coord_netmap_new();
	struct twin twin;
	json_t *before, *after, *frame;

	assert_non_null(map);
	twin_init(&twin);
	before = printed(map);
	for (unsigned i = 0; i < FRAMES; i++) {
		bool is_first = i == 0 || chance(30) == 0;
		const struct coord_diff *diff;

		frame = random_frame(is_first);
		diff = apply(map, frame, is_first);
		twin_apply(&twin, frame, is_first);
		after = printed(map);
		diff_check(diff, before, after);
		lookups_check(map);
		if (chance(2))
			coord_netmap_settle(map);
		if (!twin_compare(map, &twin)) {
			json_dumpf(frame, stderr, JSON_INDENT(1));
			fail_msg("frame %u: not what the twin is", i);
		}
		json_decref(before);
		json_decref(frame);
		before = after;
	}
	json_decref(before);
	twin_fini(&twin);
	coord_netmap_free(map);
}

static void test_twin(void **state)
{
	const char *seed = getenv("COORD_SEED");

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
	print_message("COORD_SEED=%llu\n", (unsigned long long)random_state);
	for (unsigned i = 0; i < ROUNDS; i++)
		round_run();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
