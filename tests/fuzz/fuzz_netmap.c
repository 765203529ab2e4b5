/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames of a map stream, a line each ("!" before it: the first of a new stream), merged one after the other. Whatever they say, the
 * map keeps its word: peers in order, found by what they have, none with what is ours; no rule that would read as
 * "any"; and the difference tells of each peer once.
 */
#include "coord_map.h"

#include "fuzz.h"

#define NOW 1790000000u

static void peer_check(const struct coord_netmap *map, const struct coord_node *node)
{
	const struct coord_node *self = coord_netmap_self(map), *found;

	FUZZ_CHECK(coord_netmap_by_id(map, node->id) == node);
	FUZZ_CHECK(coord_netmap_by_key(map, &node->node_key) == node);
	FUZZ_CHECK(!cr_key_is_zero(&node->node_key));
	if (self) {
		FUZZ_CHECK(self->id != node->id);
		FUZZ_CHECK(!cr_key_equal(&self->node_key, &node->node_key));
	}
	for (unsigned i = 0; i < node->n_addresses; i++) {
		found = coord_netmap_by_addr(map, &node->addresses[i]);
		FUZZ_CHECK(found != self || !self);
		for (unsigned j = 0; self && j < self->n_addresses; j++)
			FUZZ_CHECK(!base_addr_equal(&self->addresses[j], &node->addresses[i]));
	}
	if (*node->name)
		FUZZ_CHECK(coord_netmap_by_name(map, "peer") || strcmp(node->name, "peer") != 0);
}

static void map_check(const struct coord_netmap *map)
{
	const struct coord_rule *rules;
	const struct coord_node *node;
	int64_t last = 0;
	size_t n;

	for (size_t i = 0; (node = coord_netmap_peer(map, i)); i++) {
		FUZZ_CHECK(node->id > last);
		last = node->id;
		peer_check(map, node);
	}
	rules = coord_netmap_rules(map, &n);
	FUZZ_CHECK(rules || n == 0);
	for (size_t i = 0; i < n; i++) {
		FUZZ_CHECK(rules[i].n_srcs > 0 && rules[i].n_dsts > 0);
		for (size_t j = 0; j < rules[i].n_dsts; j++)
			FUZZ_CHECK(rules[i].dsts[j].port_first <= rules[i].dsts[j].port_last);
	}
}

static void diff_check(const struct coord_netmap *map, const struct coord_diff *diff)
{
	for (size_t i = 0; i < diff->n_nodes; i++) {
		const struct coord_diff_node *node = &diff->nodes[i];
		const struct coord_node *now = coord_netmap_by_id(map, node->node->id);

		FUZZ_CHECK((node->change == COORD_NODE_REMOVED) == !now);
		FUZZ_CHECK(!now || now == node->node);
		for (size_t j = 0; j < i; j++)
			FUZZ_CHECK(diff->nodes[j].node->id != node->node->id);
	}
}

static void frame_apply(struct coord_netmap *map, const char *text, size_t len)
{
	bool is_first = len > 0 && text[0] == '!';
	size_t n_before = coord_netmap_n_peers(map);
	const struct coord_diff *diff;
	struct coord_map_update *update;
	long n = 0;

	update = coord_map_parse_text(text + is_first, len - is_first, NULL);
	if (!update || coord_netmap_apply(map, update, is_first, NOW, &diff) < 0)
		return;
	diff_check(map, diff);
	for (size_t i = 0; i < diff->n_nodes; i++)
		n += (diff->nodes[i].change == COORD_NODE_ADDED) -
			(diff->nodes[i].change == COORD_NODE_REMOVED);
	FUZZ_CHECK((long)coord_netmap_n_peers(map) == (long)n_before + n);
	map_check(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct coord_netmap *map = coord_netmap_new();
	struct fuzz_input input = {data, size};
	const struct coord_diff *diff;
	size_t len;
	char *text;

	FUZZ_CHECK(map);
	while (input.len > 0) {
		const uint8_t *end = memchr(input.data, '\n', input.len);

		text = (char *)fuzz_take(
			&input, end ? (size_t)(end - input.data) : input.len, &len);
		frame_apply(map, text, len);
		free(text);
		(void)fuzz_byte(&input);
	}
	text = coord_netmap_print(map, NOW);
	FUZZ_CHECK(text);
	free(text);
	FUZZ_CHECK(coord_netmap_clear(map, &diff) == 0 && coord_netmap_n_peers(map) == 0);
	coord_netmap_free(map);
	return 0;
}
