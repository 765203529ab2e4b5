/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules in force: all chunks in the order of their names, `cap:` sources resolved by the peers' capabilities
 * (section 6.1). They are built anew and compared; whatever goes wrong on the way leaves fewer of them.
 * Thread: the map's.
 */
#include "coord_netmap_priv.h"

#include <stdlib.h>

_Static_assert(sizeof(struct base_prefix) == 18 && sizeof(struct coord_rule_dst) == 22,
	"compared as bytes: no padding");

struct builder {
	const struct coord_netmap *map;
	struct coord_arena *arena;
	struct coord_rule *rules;
	size_t n_rules, n_entries, n_cut;
};

bool coord_netmap_rules_need_peers(const struct coord_netmap *map)
{
	for (size_t i = 0; i < map->n_chunks; i++)
		for (size_t j = 0; j < map->chunks[i].n_rules; j++)
			if (map->chunks[i].rules[j].n_caps > 0)
				return true;
	return false;
}

static bool has_cap(const struct coord_peer *peer, const char *name)
{
	for (const char *cap = peer->body.caps; cap && *cap; cap += strlen(cap) + 1)
		if (strcmp(cap, name) == 0)
			return true;
	return false;
}

static bool has_any_cap(const struct coord_peer *peer, const struct coord_raw_rule *raw)
{
	for (size_t i = 0; i < raw->n_caps; i++)
		if (has_cap(peer, raw->caps[i]))
			return true;
	return false;
}

static size_t srcs_count(const struct builder *builder, const struct coord_raw_rule *raw)
{
	size_t n = raw->rule.n_srcs;

	for (size_t i = 0; raw->n_caps > 0 && i < builder->map->n_peers; i++)
		if (has_any_cap(builder->map->places[i].peer, raw))
			n += builder->map->places[i].peer->body.node.n_addresses;
	return n;
}

static bool has_family(const struct coord_rule *rule, uint8_t family)
{
	for (size_t i = 0; i < rule->n_dsts; i++)
		if (rule->dsts[i].prefix.addr.family == family)
			return true;
	return false;
}

/* Sources of a family that has destinations; @srcs has room for all. Returns how many. */
static size_t srcs_fill(
	const struct builder *builder, const struct coord_raw_rule *raw, struct base_prefix *srcs)
{
	bool has_v4 = has_family(&raw->rule, BASE_FAMILY_V4);
	bool has_v6 = has_family(&raw->rule, BASE_FAMILY_V6);
	size_t n = 0;

	for (size_t i = 0; i < raw->rule.n_srcs; i++)
		if (raw->rule.srcs[i].addr.family == BASE_FAMILY_V4 ? has_v4 : has_v6)
			srcs[n++] = raw->rule.srcs[i];
	for (size_t i = 0; raw->n_caps > 0 && i < builder->map->n_peers; i++) {
		const struct coord_node *node = &builder->map->places[i].peer->body.node;

		if (!has_any_cap(builder->map->places[i].peer, raw))
			continue;
		for (unsigned j = 0; j < node->n_addresses; j++) {
			struct base_addr addr = node->addresses[j];

			if (addr.family == BASE_FAMILY_V4 ? has_v4 : has_v6)
				srcs[n++] = (struct base_prefix){
					addr, (uint8_t)(8 * base_family_bytes(addr.family))};
		}
	}
	return n;
}

/* Copies of lists of the chunk, which may be gone before the rules are. */
static const void *list_copy(struct builder *builder, const void *items, size_t n, size_t size)
{
	void *copy = coord_arena_array(builder->arena, n, size);

	return copy && n > 0 ? memcpy(copy, items, n * size) : copy;
}

static int rule_build(struct builder *builder, const struct coord_raw_rule *raw)
{
	size_t n_srcs = srcs_count(builder, raw);
	struct coord_rule rule = raw->rule;
	struct base_prefix *srcs;

	if (builder->n_rules == COORD_RULES_MAX ||
		builder->n_entries + n_srcs + rule.n_dsts > COORD_RULE_ENTRIES_MAX) {
		builder->n_cut++;
		return 0;
	}
	srcs = coord_arena_array(builder->arena, n_srcs, sizeof(*srcs));
	rule.dsts = list_copy(builder, rule.dsts, rule.n_dsts, sizeof(*rule.dsts));
	rule.protos = list_copy(builder, rule.protos, rule.n_protos, sizeof(*rule.protos));
	if (!srcs || !rule.dsts || !rule.protos)
		return -ENOMEM;
	rule.srcs = srcs;
	rule.n_srcs = srcs_fill(builder, raw, srcs);
	/* no sources would read as "any": such a rule is none */
	if (rule.n_srcs > 0) {
		builder->rules[builder->n_rules++] = rule;
		builder->n_entries += rule.n_srcs + rule.n_dsts;
	}
	return 0;
}

/* How many rules to build at most; none if a chunk refuses the whole filter. */
static size_t rules_wanted(const struct coord_netmap *map)
{
	size_t n = 0;

	for (size_t i = 0; i < map->n_chunks; i++) {
		if (map->chunks[i].is_refused)
			return 0;
		n += map->chunks[i].n_rules;
	}
	return n;
}

static int chunks_build(struct builder *builder)
{
	const struct coord_netmap *map = builder->map;
	size_t n = rules_wanted(map);

	builder->rules = coord_arena_array(
		builder->arena, n < COORD_RULES_MAX ? n : COORD_RULES_MAX, sizeof(*builder->rules));
	if (!builder->rules)
		return -ENOMEM;
	for (size_t i = 0; n > 0 && i < map->n_chunks; i++)
		for (size_t j = 0; j < map->chunks[i].n_rules; j++)
			if (rule_build(builder, &map->chunks[i].rules[j]) < 0)
				return -ENOMEM;
	return 0;
}

static bool rule_equal(const struct coord_rule *a, const struct coord_rule *b)
{
	return a->n_srcs == b->n_srcs && a->n_dsts == b->n_dsts && a->n_protos == b->n_protos &&
		a->is_for_no_proto == b->is_for_no_proto &&
		memcmp(a->srcs, b->srcs, a->n_srcs * sizeof(*a->srcs)) == 0 &&
		memcmp(a->dsts, b->dsts, a->n_dsts * sizeof(*a->dsts)) == 0 &&
		memcmp(a->protos, b->protos, a->n_protos) == 0;
}

static bool rules_equal(const struct coord_netmap *map, const struct builder *builder)
{
	if (!map->rules || map->n_rules != builder->n_rules)
		return false;
	for (size_t i = 0; i < map->n_rules; i++)
		if (!rule_equal(&map->rules[i], &builder->rules[i]))
			return false;
	return true;
}

bool coord_netmap_rules_build(struct coord_netmap *map)
{
	static struct coord_rule nothing[1];
	struct builder builder = {.map = map, .arena = coord_arena_new()};
	bool is_new;

	if (!builder.arena || chunks_build(&builder) < 0) {
		coord_arena_free(builder.arena);
		builder = (struct builder){.map = map, .rules = nothing};
	}
	map->counts[COORD_NETMAP_CUT] += builder.n_cut;
	is_new = !rules_equal(map, &builder);
	if (is_new) {
		coord_arena_free(map->rules_arena);
		map->rules_arena = builder.arena;
		map->rules = builder.rules;
		map->n_rules = builder.n_rules;
	} else {
		coord_arena_free(builder.arena);
	}
	return is_new;
}
