/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The network map: what each frame makes of it, told as a difference; and long random sequences of frames against a
 * twin that keeps the mesh as plain JSON and would send all of it each time.
 */
#include "coord_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#define NOW 1790000000u

/* --- frames and maps ---------------------------------------------------------------------------- */

static const struct coord_diff *apply_at(
	struct coord_netmap *map, const char *text, bool is_first, uint64_t now_unix_s)
{
	const struct coord_diff *diff;
	struct coord_map_update *update;
	struct base_error why = {""};

	update = coord_map_parse_text(text, strlen(text), &why);
	if (!update)
		fail_msg("%s: %s", why.text, text);
	assert_int_equal(coord_netmap_apply(map, update, is_first, now_unix_s, &diff), 0);
	assert_int_equal(diff->is_first, is_first);
	return diff;
}

static const struct coord_diff *apply(struct coord_netmap *map, const char *text)
{
	return apply_at(map, text, false, NOW);
}

static const struct coord_diff *begin(struct coord_netmap *map, const char *text)
{
	return apply_at(map, text, true, NOW);
}

/* "nodekey:" and this byte 32 times. */
static const char *key_text(const char *prefix, unsigned byte)
{
	static char texts[8][96];
	static unsigned next;
	char *text = texts[next++ % 8];
	int len = snprintf(text, sizeof(texts[0]), "%s:", prefix);

	for (unsigned i = 0; i < 32; i++)
		len += snprintf(text + len, sizeof(texts[0]) - (size_t)len, "%02x", byte & 0xff);
	return text;
}

static struct cr_key key_of(unsigned byte)
{
	struct cr_key key;

	memset(&key, (int)byte, sizeof(key));
	return key;
}

/* A node with this number, its key and its addresses. */
static const char *node_text(unsigned id, unsigned key)
{
	static char texts[4][512];
	static unsigned next;
	char *text = texts[next++ % 4];

	snprintf(text, sizeof(texts[0]),
		"{\"ID\":%u,\"Name\":\"N%u.mesh.lab.\",\"User\":7,\"Key\":\"%s\","
		"\"DiscoKey\":\"%s\",\"Addresses\":[\"100.64.0.%u/32\"],"
		"\"Endpoints\":[\"192.0.2.%u:41641\"],\"Online\":true}",
		id, id, key_text("nodekey", key), key_text("discokey", key), id, id);
	return text;
}

static const char *frame(const char *format, ...) __attribute__((format(printf, 1, 2)));

static const char *frame(const char *format, ...)
{
	static char text[8192];
	va_list ap;

	va_start(ap, format);
	assert_in_range(vsnprintf(text, sizeof(text), format, ap), 1, sizeof(text) - 1);
	va_end(ap);
	return text;
}

static struct coord_netmap *map_of_three(void)
{
	struct coord_netmap *map = coord_netmap_new();
	const struct coord_diff *diff;

	assert_non_null(map);
	diff = begin(map,
		frame("{\"Node\":%s,\"Peers\":[%s,%s,%s]}", node_text(1, 1), node_text(2, 2),
			node_text(3, 3), node_text(4, 4)));
	assert_int_equal(diff->n_nodes, 3);
	assert_int_equal(coord_netmap_n_peers(map), 3);
	return map;
}

static void assert_diff(
	const struct coord_diff *diff, size_t i, enum coord_change change, int64_t id)
{
	assert_in_range(i, 0, diff->n_nodes - 1);
	assert_int_equal(diff->nodes[i].change, change);
	assert_int_equal(diff->nodes[i].node->id, id);
}

/* --- cases -------------------------------------------------------------------------------------- */

static void test_first_frame(void **state)
{
	struct coord_netmap *map = coord_netmap_new();
	const struct coord_rule *rules;
	const struct coord_diff *diff;
	const struct coord_node *node;
	struct base_addr addr;
	struct cr_key key = key_of(2);
	size_t n;

	(void)state;
	assert_null(coord_netmap_self(map));
	assert_null(coord_netmap_rules(map, &n));
	diff = begin(map,
		frame("{\"Node\":%s,\"Peers\":[%s],\"UserProfiles\":[{\"ID\":7,\"LoginName\":"
		      "\"alice\"}],"
		      "\"Domain\":\"lab\",\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\"],"
		      "\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":65535}}]}]}}",
			node_text(1, 1), node_text(2, 2)));
	assert_true(diff->has_self && diff->has_rules && diff->has_users);
	assert_int_equal(diff->n_nodes, 1);
	assert_diff(diff, 0, COORD_NODE_ADDED, 2);
	node = coord_netmap_by_key(map, &key);
	assert_non_null(node);
	assert_string_equal(node->name, "n2.mesh.lab");
	assert_ptr_equal(coord_netmap_by_id(map, 2), node);
	assert_ptr_equal(coord_netmap_by_disco(map, &key, NULL), node);
	assert_null(coord_netmap_by_disco(map, &key, node));
	assert_int_equal(base_addr_parse(&addr, "100.64.0.2"), 0);
	assert_ptr_equal(coord_netmap_by_addr(map, &addr), node);
	assert_ptr_equal(coord_netmap_by_name(map, "N2"), node);
	assert_ptr_equal(coord_netmap_by_name(map, "n2.MESH.lab."), node);
	assert_null(coord_netmap_by_name(map, "n2.mesh"));
	assert_null(coord_netmap_by_name(map, ""));
	assert_ptr_equal(coord_netmap_by_name(map, "n1"), coord_netmap_self(map));
	assert_string_equal(coord_netmap_user(map, 7)->login, "alice");
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 1);
	assert_int_equal(rules[0].n_srcs, 2);
	assert_int_equal(rules[0].n_dsts, 2);
	assert_string_equal(coord_netmap_domain(map), "lab");
	coord_netmap_free(map);
}

static void test_first_frame_needs_this_node(void **state)
{
	struct coord_netmap *map = map_of_three();
	struct coord_map_update *update = coord_map_parse_text("{\"Peers\":[]}", 12, NULL);
	const struct coord_diff *diff = NULL;

	(void)state;
	assert_int_equal(coord_netmap_apply(map, update, true, NOW, &diff), -EPROTO);
	assert_null(diff);
	assert_int_equal(coord_netmap_n_peers(map), 3);
	coord_netmap_free(map);
}

static void test_no_filter_is_closed(void **state)
{
	struct coord_netmap *map = map_of_three();
	size_t n = 7;

	(void)state;
	assert_non_null(coord_netmap_rules(map, &n));
	assert_int_equal(n, 0);
	coord_netmap_free(map);
}

static void test_deltas(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_node *kept = coord_netmap_by_id(map, 3);
	const struct coord_diff *diff;
	struct cr_key key = key_of(9);

	(void)state;
	coord_node_user_data_set(kept, &key);
	assert_int_equal(apply(map, "{\"ControlTime\":\"2026-09-21T14:13:20Z\"}")->n_nodes, 0);
	diff = apply(map, "{\"PeersRemoved\":[2,77]}");
	assert_int_equal(diff->n_nodes, 1);
	assert_diff(diff, 0, COORD_NODE_REMOVED, 2);
	assert_string_equal(diff->nodes[0].node->name, "n2.mesh.lab");
	assert_null(coord_netmap_by_id(map, 2));
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_UNKNOWN_PEERS), 1);

	diff = apply(map, frame("{\"PeersChanged\":[%s,%s]}", node_text(3, 9), node_text(5, 5)));
	assert_int_equal(diff->n_nodes, 2);
	assert_diff(diff, 0, COORD_NODE_REKEYED, 3);
	assert_memory_equal(diff->nodes[0].old_node_key.bytes, key_of(3).bytes, 32);
	assert_true(diff->nodes[0].has_new_disco);
	assert_false(diff->nodes[0].has_new_addresses || diff->nodes[0].has_new_endpoints);
	assert_diff(diff, 1, COORD_NODE_ADDED, 5);
	assert_ptr_equal(coord_netmap_by_key(map, &key), kept);
	assert_ptr_equal(kept->user_data, &key);

	diff = apply(map,
		"{\"OnlineChange\":{\"3\":false,\"88\":true},\"PeerSeenChange\":{\"3\":true},"
		"\"PeersChangedPatch\":[{\"NodeID\":3,\"DERPRegion\":9,\"Endpoints\":[]},"
		"{\"NodeID\":99,\"Online\":true}]}");
	assert_int_equal(diff->n_nodes, 1);
	assert_diff(diff, 0, COORD_NODE_CHANGED, 3);
	assert_true(diff->nodes[0].has_new_online && diff->nodes[0].has_new_endpoints);
	assert_int_equal(kept->online, COORD_ONLINE_NO);
	assert_int_equal(kept->last_seen_unix_s, NOW);
	assert_int_equal(kept->home_derp, 9);
	assert_int_equal(kept->n_endpoints, 0);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_UNKNOWN_PEERS), 3);

	diff = apply(map, frame("{\"PeersRemoved\":[3],\"PeersChanged\":[%s]}", node_text(3, 3)));
	assert_int_equal(diff->n_nodes, 1);
	assert_diff(diff, 0, COORD_NODE_REKEYED, 3);
	assert_ptr_equal(diff->nodes[0].node->user_data, &key);
	coord_netmap_free(map);
}

static void test_new_stream_is_compared(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_diff *diff;

	(void)state;
	diff = begin(map,
		frame("{\"Node\":%s,\"Peers\":[%s,%s,%s]}", node_text(1, 1), node_text(2, 2),
			node_text(3, 3), node_text(4, 4)));
	assert_int_equal(diff->n_nodes, 0);
	assert_false(diff->has_self || diff->has_rules || diff->has_dns || diff->has_regions);
	diff = begin(map,
		frame("{\"Node\":%s,\"Peers\":[%s,%s]}", node_text(1, 1), node_text(3, 8),
			node_text(6, 6)));
	assert_int_equal(diff->n_nodes, 4);
	assert_diff(diff, 0, COORD_NODE_REMOVED, 2);
	assert_diff(diff, 1, COORD_NODE_REMOVED, 4);
	assert_diff(diff, 2, COORD_NODE_REKEYED, 3);
	assert_diff(diff, 3, COORD_NODE_ADDED, 6);
	/* without Peers there are none */
	diff = begin(map, frame("{\"Node\":%s}", node_text(1, 1)));
	assert_int_equal(diff->n_nodes, 2);
	assert_int_equal(coord_netmap_n_peers(map), 0);
	coord_netmap_free(map);
}

static void test_empty_lists_change_nothing(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_diff *diff;

	(void)state;
	diff = apply(map,
		"{\"Peers\":[],\"PeersChanged\":null,\"PeersRemoved\":[],\"Health\":null,"
		"\"PacketFilters\":{},\"Domain\":\"\",\"DERPMap\":{\"Regions\":null}}");
	assert_int_equal(diff->n_nodes, 0);
	assert_int_equal(coord_netmap_n_peers(map), 3);
	assert_false(diff->has_rules || diff->has_health || diff->has_regions);
	coord_netmap_free(map);
}

static void test_full_list_within_a_stream(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_diff *diff;

	(void)state;
	/* the other members are not looked at */
	diff = apply(map,
		frame("{\"Peers\":[%s,%s],\"PeersRemoved\":[4],\"OnlineChange\":{\"4\":false}}",
			node_text(4, 4), node_text(3, 3)));
	assert_int_equal(diff->n_nodes, 1);
	assert_diff(diff, 0, COORD_NODE_REMOVED, 2);
	assert_int_equal(coord_netmap_by_id(map, 4)->online, COORD_ONLINE_YES);
	coord_netmap_free(map);
}

static void test_who_cannot_be_a_peer(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_diff *diff;
	struct base_addr ours;

	(void)state;
	/* our id, our key, no key; a peer that becomes such a thing goes */
	diff = apply(map,
		frame("{\"PeersChanged\":[%s,%s,%s,%s]}", node_text(1, 8), node_text(8, 1),
			node_text(2, 1), node_text(9, 0)));
	assert_int_equal(diff->n_nodes, 1);
	assert_diff(diff, 0, COORD_NODE_REMOVED, 2);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_REFUSED_PEERS), 4);
	assert_int_equal(coord_netmap_n_peers(map), 2);
	/* our addresses stay ours, also in allowed IPs, and when they become ours later */
	diff = apply(map,
		frame("{\"PeersChanged\":[{\"ID\":3,\"Key\":\"%s\",\"Addresses\":"
		      "[\"100.64.0.1/32\",\"100.64.0.3/32\"],\"AllowedIPs\":[\"100.64.0.1/32\","
		      "\"100.64.0.0/24\",\"100.64.0.9/32\"]}]}",
			key_text("nodekey", 3)));
	assert_int_equal(diff->n_nodes, 1);
	assert_int_equal(diff->nodes[0].node->n_addresses, 1);
	assert_int_equal(diff->nodes[0].node->n_allowed_ips, 2);
	assert_int_equal(base_addr_parse(&ours, "100.64.0.1"), 0);
	assert_int_equal(coord_netmap_by_addr(map, &ours)->id, 1);
	diff = apply(map, frame("{\"Node\":%s}", node_text(9, 4)));
	assert_true(diff->has_self);
	assert_int_equal(diff->n_nodes, 2);
	assert_diff(diff, 0, COORD_NODE_REMOVED, 4);
	assert_diff(diff, 1, COORD_NODE_CHANGED, 3);
	assert_int_equal(coord_netmap_by_id(map, 3)->n_allowed_ips, 1);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_OUR_ADDRESSES), 1);
	coord_netmap_free(map);
}

static void test_keys_are_one_peers(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_diff *diff;
	struct cr_key key = key_of(3);

	(void)state;
	diff = apply(map, frame("{\"PeersChanged\":[%s]}", node_text(5, 3)));
	assert_int_equal(diff->n_nodes, 2);
	assert_diff(diff, 0, COORD_NODE_REMOVED, 3);
	assert_diff(diff, 1, COORD_NODE_ADDED, 5);
	assert_int_equal(coord_netmap_by_key(map, &key)->id, 5);
	/* two that exchange their keys both stay */
	diff = apply(map, frame("{\"PeersChanged\":[%s,%s]}", node_text(2, 4), node_text(4, 2)));
	assert_int_equal(diff->n_nodes, 2);
	assert_diff(diff, 0, COORD_NODE_REKEYED, 2);
	assert_diff(diff, 1, COORD_NODE_REKEYED, 4);
	/* one id twice: the last counts */
	diff = apply(map, frame("{\"PeersChanged\":[%s,%s]}", node_text(6, 7), node_text(6, 6)));
	assert_int_equal(diff->n_nodes, 1);
	assert_memory_equal(coord_netmap_by_id(map, 6)->node_key.bytes, key_of(6).bytes, 32);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_DUPLICATE_IDS), 1);
	/* a patch takes a key, and may not take ours */
	diff = apply(map,
		frame("{\"PeersChangedPatch\":[{\"NodeID\":6,\"Key\":\"%s\"}]}",
			key_text("nodekey", 4)));
	assert_diff(diff, 0, COORD_NODE_REMOVED, 2);
	assert_diff(diff, 1, COORD_NODE_REKEYED, 6);
	diff = apply(map,
		frame("{\"PeersChangedPatch\":[{\"NodeID\":6,\"Key\":\"%s\"}]}",
			key_text("nodekey", 1)));
	assert_diff(diff, 0, COORD_NODE_REMOVED, 6);
	coord_netmap_free(map);
}

static void test_many_share(void **state)
{
	struct coord_netmap *map = coord_netmap_new();
	const struct coord_node *node = NULL;
	struct cr_key disco = key_of(200);
	struct base_addr addr;
	int64_t last = 0;
	unsigned n = 0;

	(void)state;
	begin(map, frame("{\"Node\":%s}", node_text(100, 100)));
	for (unsigned i = 20; i > 0; i--)
		apply(map,
			frame("{\"PeersChanged\":[{\"ID\":%u,\"Name\":\"same.lab.\",\"Key\":\"%s\","
			      "\"DiscoKey\":\"%s\",\"Addresses\":[\"100.64.9.9/32\"]}]}",
				i, key_text("nodekey", i), key_text("discokey", 200)));
	while ((node = coord_netmap_by_disco(map, &disco, node))) {
		assert_true(node->id > last);
		last = node->id;
		n++;
	}
	assert_int_equal(n, COORD_SHARERS_MAX);
	assert_int_equal(base_addr_parse(&addr, "100.64.9.9"), 0);
	assert_non_null(coord_netmap_by_addr(map, &addr));
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_CUT), 3 * (20 - COORD_SHARERS_MAX));
	/* they stay in the map, and leave it */
	assert_int_equal(coord_netmap_n_peers(map), 20);
	begin(map, frame("{\"Node\":%s}", node_text(100, 100)));
	assert_null(coord_netmap_by_addr(map, &addr));
	assert_null(coord_netmap_by_disco(map, &disco, NULL));
	coord_netmap_free(map);
}

static size_t rules_n(const struct coord_netmap *map)
{
	size_t n;

	assert_non_null(coord_netmap_rules(map, &n));
	return n;
}

#define RULE(src, dst)                                                                             \
	"{\"SrcIPs\":[" src "],\"DstPorts\":[{\"IP\":\"" dst                                       \
	"\",\"Ports\":{\"First\":80,\"Last\":81}}]}"

static void test_filter_chunks(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_rule *rules;
	const struct coord_diff *diff;
	size_t n;

	(void)state;
	diff = apply(map,
		"{\"PacketFilters\":{\"z\":[" RULE("\"100.64.0.2\"", "*") "],\"a\":[" RULE(
			"\"100.64.0.3\"", "*") "]}}");
	assert_true(diff->has_rules);
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 2);
	/* sorted by name; IPv4 sources only: the rule's IPv6 destinations remain */
	assert_int_equal(rules[0].srcs[0].addr.bytes[3], 3);
	assert_int_equal(rules[0].n_dsts, 2);
	assert_int_equal(rules[0].dsts[0].port_first, 80);
	assert_int_equal(rules[0].dsts[0].port_last, 81);
	diff = apply(map, "{\"PacketFilters\":{\"a\":[" RULE("\"100.64.0.3\"", "*") "]}}");
	assert_false(diff->has_rules);
	diff = apply(map, "{\"PacketFilters\":{\"a\":null}}");
	assert_true(diff->has_rules);
	assert_int_equal(rules_n(map), 1);
	/* the older form is the chunk "base"; "*" clears first, wherever it stands */
	apply(map, "{\"PacketFilter\":[" RULE("\"*\"", "*") "]}");
	assert_int_equal(rules_n(map), 2);
	diff = apply(map, "{\"PacketFilters\":{\"b\":[" RULE("\"*\"", "*") "],\"*\":null}}");
	assert_true(diff->has_rules);
	assert_int_equal(rules_n(map), 1);
	diff = apply(map, "{\"PacketFilters\":{\"b\":[]}}");
	assert_true(diff->has_rules);
	assert_int_equal(rules_n(map), 0);
	coord_netmap_free(map);
}

static void test_broken_filters_close(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_rule *rules;
	size_t n;

	(void)state;
	/* what cannot be read is left out, the rest of its rule stays */
	apply(map,
		"{\"PacketFilters\":{\"base\":[" RULE(
			"\"100.64.0.300\",\"10.0.0.1/8\",\"::1-10.0.0.1\","
			"\"100.64.0.9-100.64.0.3\",\"\",\"100.64.0.7\"",
			"10.0.0.0/8") "]}}");
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 1);
	assert_int_equal(rules[0].n_srcs, 1);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_BAD_ENTRIES), 5);
	/* a rule without sources or destinations would read as any: it is none */
	apply(map,
		"{\"PacketFilters\":{\"base\":[" RULE("\"nobody\"", "*") "," RULE("\"*\"",
			"x") "," RULE("", "*") "," RULE("\"fd7a::/16\"", "10.0.0.0/8") "]}}");
	assert_int_equal(rules_n(map), 0);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_BAD_RULES), 2);
	/* ports that are none, and a protocol list of nothing known */
	apply(map,
		"{\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\"},"
		"{\"IP\":\"*\",\"Ports\":{\"First\":9,\"Last\":8}},{\"IP\":\"*\",\"Ports\":{"
		"\"First\":1,"
		"\"Last\":70000}}]},{\"SrcIPs\":[\"*\"],\"IPProto\":[300,-1],\"DstPorts\":[{\"IP\":"
		"\"*\","
		"\"Ports\":{\"First\":0,\"Last\":9}}]}]}}");
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 1);
	assert_true(rules[0].is_for_no_proto);
	assert_int_equal(rules[0].n_protos, 0);
	/* obsolete members: nothing of the whole filter passes, until that chunk is another */
	apply(map,
		"{\"PacketFilters\":{\"a\":[" RULE(
			"\"*\"", "*") "],\"base\":[{\"SrcIPs\":[\"*\"],"
				      "\"SrcBits\":[8],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{"
				      "\"First\":0,\"Last\":9}}]}]}}");
	assert_int_equal(rules_n(map), 0);
	apply(map,
		"{\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\","
		"\"Bits\":0,"
		"\"Ports\":{\"First\":0,\"Last\":9}}]}]}}");
	assert_int_equal(rules_n(map), 0);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_REFUSED_FILTERS), 2);
	apply(map, "{\"PacketFilters\":{\"base\":null}}");
	assert_int_equal(rules_n(map), 1);
	coord_netmap_free(map);
}

static void test_ranges_are_split(void **state)
{
	static const char *const texts[] = {"100.64.0.0/11", "100.96.0.0/12", "100.112.0.0/15",
		"100.114.0.0/16", "100.115.0.0/18", "100.115.64.0/20", "100.115.80.0/21",
		"100.115.88.0/22"};
	struct coord_netmap *map = map_of_three();
	const struct coord_rule *rules;
	char text[BASE_PREFIX_TEXT_LEN];
	size_t n;

	(void)state;
	apply(map,
		"{\"PacketFilters\":{\"base\":[" RULE("\"100.64.0.0-100.115.91.255\"", "*") "]}}");
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 1);
	assert_int_equal(rules[0].n_srcs, BASE_ARRAY_LEN(texts));
	for (size_t i = 0; i < BASE_ARRAY_LEN(texts); i++)
		assert_string_equal(base_prefix_print(text, &rules[0].srcs[i]), texts[i]);
	coord_netmap_free(map);
}

static void test_capability_sources(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_rule *rules;
	const struct coord_diff *diff;
	size_t n;

	(void)state;
	apply(map, "{\"PacketFilters\":{\"base\":[" RULE("\"cap:x/y\"", "*") "]}}");
	assert_int_equal(rules_n(map), 0);
	diff = apply(map, "{\"PeersChangedPatch\":[{\"NodeID\":3,\"CapMap\":{\"x/y\":null}}]}");
	assert_true(diff->has_rules);
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 1);
	assert_int_equal(rules[0].n_srcs, 1);
	assert_int_equal(rules[0].srcs[0].addr.bytes[3], 3);
	assert_int_equal(rules[0].srcs[0].bits, 32);
	diff = apply(map, "{\"PeersRemoved\":[3]}");
	assert_true(diff->has_rules);
	assert_int_equal(rules_n(map), 0);
	coord_netmap_free(map);
}

static void test_health(void **state)
{
	struct coord_netmap *map = map_of_three();
	const char *const *health;
	size_t n;

	(void)state;
	assert_true(apply(map,
		"{\"Health\":[\"disk\"],\"DisplayMessages\":{\"m\":{\"Title\":\"T\",\"Text\":\"t\"}"
		","
		"\"k\":{\"Text\":\"only\\u0007\"}}}")
			    ->has_health);
	health = coord_netmap_health(map, &n);
	assert_int_equal(n, 3);
	assert_string_equal(health[0], "disk");
	assert_string_equal(health[1], "T: t");
	assert_string_equal(health[2], "only?");
	assert_false(apply(map, "{\"Health\":[\"disk\"]}")->has_health);
	assert_true(apply(map, "{\"DisplayMessages\":{\"m\":null}}")->has_health);
	(void)coord_netmap_health(map, &n);
	assert_int_equal(n, 2);
	assert_true(apply(
		map, "{\"Health\":[],\"DisplayMessages\":{\"*\":null,\"z\":{\"Title\":\"Z\"}}}")
			    ->has_health);
	health = coord_netmap_health(map, &n);
	assert_int_equal(n, 1);
	assert_string_equal(health[0], "Z");
	coord_netmap_free(map);
}

static void test_clocks_and_expiry(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_node *node = coord_netmap_by_id(map, 2);

	(void)state;
	/* 2026-09-21T14:13:20Z is NOW */
	apply(map, "{\"ControlTime\":\"2026-09-21T14:14:10Z\"}");
	assert_int_equal(coord_netmap_clock_offset_s(map), 0);
	apply(map, "{\"ControlTime\":\"2026-09-21T15:13:20+00:00\"}");
	assert_int_equal(coord_netmap_clock_offset_s(map), 3600);
	apply(map,
		"{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"2026-09-21T15:20:00Z\"}]}");
	assert_false(coord_node_is_expired(map, node, NOW));
	assert_true(coord_node_is_expired(map, node, NOW + 400));
	assert_int_equal(coord_netmap_next_expiry_s(map, NOW), NOW + 400);
	/* a clock that was never set expires nobody */
	assert_false(coord_node_is_expired(map, node, 0));
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_CLOCK_BACKWARDS), 0);
	apply(map, "{\"ControlTime\":\"2026-09-21T14:13:21Z\",\"KeepAlive\":true}");
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_CLOCK_BACKWARDS), 1);
	assert_int_equal(coord_netmap_clock_offset_s(map), 0);
	apply(map,
		"{\"PeersChangedPatch\":[{\"NodeID\":2,\"KeyExpiry\":\"0001-01-01T00:00:00Z\"}]}");
	assert_int_equal(node->key_expiry_unix_s, 0);
	assert_int_equal(coord_netmap_next_expiry_s(map, NOW), UINT64_MAX);
	coord_netmap_free(map);
}

static void test_clear(void **state)
{
	struct coord_netmap *map = map_of_three();
	const struct coord_diff *diff;
	size_t n;

	(void)state;
	assert_int_equal(coord_netmap_clear(map, &diff), 0);
	assert_int_equal(diff->n_nodes, 3);
	assert_true(diff->has_self && diff->has_rules);
	assert_null(coord_netmap_self(map));
	assert_null(coord_netmap_rules(map, &n));
	assert_int_equal(
		begin(map, frame("{\"Node\":%s,\"Peers\":[%s]}", node_text(1, 1), node_text(2, 2)))
			->n_nodes,
		1);
	coord_netmap_settle(map);
	assert_int_equal(coord_netmap_n_peers(map), 1);
	coord_netmap_free(map);
}

static void test_too_many_peers(void **state)
{
	struct coord_netmap *map = coord_netmap_new();
	size_t room = (COORD_PEERS_MAX + 2) * 160, len;
	char *text = malloc(room);

	(void)state;
	assert_non_null(text);
	len = (size_t)snprintf(text, room, "{\"Node\":%s,\"Peers\":[", node_text(70000, 1));
	for (unsigned i = 1; i <= COORD_PEERS_MAX + 1; i++)
		len += (size_t)snprintf(text + len, room - len,
			"%s{\"ID\":%u,\"Key\":\"nodekey:%064x\"}", i > 1 ? "," : "", i, i);
	snprintf(text + len, room - len, "]}");
	assert_int_equal(begin(map, text)->n_nodes, COORD_PEERS_MAX);
	assert_int_equal(coord_netmap_counter(map, COORD_NETMAP_CUT), 1);
	free(text);
	coord_netmap_free(map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_frame),
		cmocka_unit_test(test_first_frame_needs_this_node),
		cmocka_unit_test(test_no_filter_is_closed),
		cmocka_unit_test(test_deltas),
		cmocka_unit_test(test_new_stream_is_compared),
		cmocka_unit_test(test_empty_lists_change_nothing),
		cmocka_unit_test(test_full_list_within_a_stream),
		cmocka_unit_test(test_who_cannot_be_a_peer),
		cmocka_unit_test(test_keys_are_one_peers),
		cmocka_unit_test(test_many_share),
		cmocka_unit_test(test_filter_chunks),
		cmocka_unit_test(test_broken_filters_close),
		cmocka_unit_test(test_ranges_are_split),
		cmocka_unit_test(test_capability_sources),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_clocks_and_expiry),
		cmocka_unit_test(test_clear),
		cmocka_unit_test(test_too_many_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
