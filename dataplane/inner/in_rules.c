/* SPDX-License-Identifier: BSD-3-Clause */
/* The filter's rules: compiled by control, asked by workers. See in_rules.h. */
#include "in_rules.h"

#include "in_axis.h"

#include <assert.h>
#include <stdlib.h>

#define PORT_MAX 65535u

/* The protocols that have ports, and an axis of them each. */
static const uint8_t with_ports[] = {IN_PROTO_TCP, IN_PROTO_UDP, IN_PROTO_SCTP};
#define N_WITH_PORTS 3u
static_assert(sizeof(with_ports) == N_WITH_PORTS, "an axis each");

/* What is asked of one family. */
struct family {
	struct in_sets sets;
	struct in_axis src, dst, ports[N_WITH_PORTS];
	uint32_t by_proto[256]; /* sets: entries for the whole of a protocol; ICMP: all of them */
	uint32_t *rules;        /* of each entry */
	uint32_t n_entries, n_words;
};

struct in_rules {
	struct family v4, v6;
};

/* --- compiling -------------------------------------------------------------------------------- */

/* The entries of one family, while their axes are made. */
struct entry {
	const struct in_rule *rule;
	size_t first_dst, n_dsts; /* of the rule's, all with these ports: */
	uint16_t port_first, port_last;
};

struct build {
	struct family *family;
	uint8_t version; /* enum base_family */
	struct entry *entries;
	uint32_t n_entries, max_entries;
	uint64_t *bits; /* zeroes */
	struct in_range *ranges;
	size_t n_ranges, max_ranges;
};

static bool is_common(uint8_t proto)
{
	return proto == IN_PROTO_TCP || proto == IN_PROTO_UDP || proto == IN_PROTO_ICMP4 ||
		proto == IN_PROTO_ICMP6;
}

static bool is_for_proto(const struct in_rule *rule, uint8_t proto)
{
	if (rule->n_protos == 0)
		return is_common(proto);
	return memchr(rule->protos, proto, rule->n_protos) != NULL;
}

static bool is_rule_valid(const struct in_rule *rule)
{
	for (size_t i = 0; i < rule->n_srcs; i++) {
		if (!in_prefix_is_valid(&rule->srcs[i]))
			return false;
	}
	for (size_t i = 0; i < rule->n_dsts; i++) {
		if (!in_prefix_is_valid(&rule->dsts[i].prefix) ||
			rule->dsts[i].port_first > rule->dsts[i].port_last)
			return false;
	}
	return true;
}

static bool is_of(const struct base_prefix *prefix, uint8_t version)
{
	return prefix->addr.family == BASE_FAMILY_NONE || prefix->addr.family == version;
}

/* Room for one more of @size bytes. */
static int grow(void **array, size_t n, size_t *max, size_t size)
{
	size_t more = *max ? 2 * *max : 64;
	void *grown;

	if (n < *max)
		return 0;
	grown = realloc(*array, more * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*max = more;
	return 0;
}

static int add_range(struct build *build, struct in_range range)
{
	int rc = grow((void **)&build->ranges, build->n_ranges, &build->max_ranges,
		sizeof(*build->ranges));

	if (rc == 0)
		build->ranges[build->n_ranges++] = range;
	return rc;
}

static bool has_family(const struct in_rule *rule, const struct entry *entry, uint8_t version)
{
	bool has_src = false, has_dst = false;

	for (size_t i = 0; i < rule->n_srcs && !has_src; i++)
		has_src = is_of(&rule->srcs[i], version);
	for (size_t i = 0; i < entry->n_dsts && !has_dst; i++)
		has_dst = is_of(&rule->dsts[entry->first_dst + i].prefix, version);
	return has_src && has_dst;
}

static int add_entry(struct build *build, const struct entry *entry)
{
	size_t max = build->max_entries;
	int rc;

	if (!has_family(entry->rule, entry, build->version))
		return 0;
	if (build->n_entries == IN_RULES_ENTRIES_MAX)
		return -E2BIG;
	rc = grow((void **)&build->entries, build->n_entries, &max, sizeof(*build->entries));
	build->max_entries = (uint32_t)max;
	if (rc == 0)
		build->entries[build->n_entries++] = *entry;
	return rc;
}

/* Destinations in a row with the same ports are one entry. */
static int list_entries(struct build *build, const struct in_rule *rule)
{
	int rc = 0;

	for (size_t i = 0, n; i < rule->n_dsts && rc == 0; i += n) {
		const struct in_rule_dst *dst = &rule->dsts[i];
		struct entry entry = {rule, i, 1, dst->port_first, dst->port_last};

		for (n = 1; i + n < rule->n_dsts && dst[n].port_first == dst->port_first &&
			dst[n].port_last == dst->port_last;
			n++)
			;
		entry.n_dsts = n;
		rc = add_entry(build, &entry);
	}
	return rc;
}

static int make_axis(struct build *build, struct in_axis *axis, in_point max)
{
	int rc = in_axis_init(axis, &build->family->sets, max, build->ranges, build->n_ranges,
		build->bits, build->family->n_words);

	build->n_ranges = 0;
	return rc;
}

static int make_addresses(struct build *build)
{
	int rc = 0;

	for (uint32_t e = 0; e < build->n_entries; e++) {
		const struct in_rule *rule = build->entries[e].rule;

		for (size_t i = 0; i < rule->n_srcs && rc == 0; i++) {
			if (is_of(&rule->srcs[i], build->version))
				rc = add_range(
					build, in_range_of(&rule->srcs[i], build->version, e));
		}
	}
	if (rc == 0)
		rc = make_axis(build, &build->family->src, in_point_max(build->version));
	for (uint32_t e = 0; e < build->n_entries; e++) {
		const struct entry *entry = &build->entries[e];

		for (size_t i = 0; i < entry->n_dsts && rc == 0; i++) {
			const struct base_prefix *dst =
				&entry->rule->dsts[entry->first_dst + i].prefix;

			if (is_of(dst, build->version))
				rc = add_range(build, in_range_of(dst, build->version, e));
		}
	}
	return rc ? rc : make_axis(build, &build->family->dst, in_point_max(build->version));
}

static int make_ports(struct build *build)
{
	int rc = 0;

	for (unsigned p = 0; p < N_WITH_PORTS && rc == 0; p++) {
		for (uint32_t e = 0; e < build->n_entries && rc == 0; e++) {
			const struct entry *entry = &build->entries[e];

			if (is_for_proto(entry->rule, with_ports[p]))
				rc = add_range(build,
					(struct in_range){entry->port_first, entry->port_last, e});
		}
		if (rc == 0)
			rc = make_axis(build, &build->family->ports[p], PORT_MAX);
	}
	return rc;
}

static bool is_icmp(uint8_t proto)
{
	return proto == IN_PROTO_ICMP4 || proto == IN_PROTO_ICMP6;
}

/* (4): for ICMP addresses are enough. (8): without ports only who allows all of them. */
static int make_protos(struct build *build)
{
	struct family *family = build->family;
	int rc = 0;

	for (unsigned proto = 0; proto < 256 && rc == 0; proto++) {
		for (uint32_t e = 0; e < build->n_entries; e++) {
			const struct entry *entry = &build->entries[e];

			if (is_icmp((uint8_t)proto) ||
				(entry->port_first == 0 && entry->port_last == PORT_MAX &&
					is_for_proto(entry->rule, (uint8_t)proto)))
				build->bits[e / 64] |= UINT64_C(1) << e % 64;
		}
		rc = in_sets_add(
			&family->sets, build->bits, family->n_words, &family->by_proto[proto]);
		memset(build->bits, 0, family->n_words * sizeof(*build->bits));
	}
	return rc;
}

static int make_family(struct build *build, const struct in_rule *rules, size_t n_rules)
{
	struct family *family = build->family;
	int rc = in_sets_init(&family->sets);

	for (size_t i = 0; i < n_rules && rc == 0; i++)
		rc = list_entries(build, &rules[i]);
	if (rc < 0)
		return rc;
	family->n_entries = build->n_entries;
	family->n_words = (build->n_entries + 63) / 64;
	family->rules = calloc(build->n_entries + 1, sizeof(*family->rules));
	build->bits = calloc(family->n_words + 1, sizeof(*build->bits));
	if (!family->rules || !build->bits)
		return -ENOMEM;
	for (uint32_t e = 0; e < build->n_entries; e++)
		family->rules[e] = (uint32_t)(build->entries[e].rule - rules);
	rc = make_addresses(build);
	if (rc == 0)
		rc = make_ports(build);
	return rc ? rc : make_protos(build);
}

static int compile(
	struct family *family, uint8_t version, const struct in_rule *rules, size_t n_rules)
{
	struct build build = {.family = family, .version = version};
	int rc = make_family(&build, rules, n_rules);

	free(build.entries);
	free(build.bits);
	free(build.ranges);
	return rc;
}

struct in_rules *in_rules_new(const struct in_rule *rules, size_t n_rules)
{
	struct in_rules *compiled = calloc(1, sizeof(*compiled));
	int rc = compiled ? 0 : -ENOMEM;

	for (size_t i = 0; i < n_rules && rc == 0; i++)
		rc = is_rule_valid(&rules[i]) ? 0 : -EINVAL;
	if (rc == 0)
		rc = compile(&compiled->v4, BASE_FAMILY_V4, rules, n_rules);
	if (rc == 0)
		rc = compile(&compiled->v6, BASE_FAMILY_V6, rules, n_rules);
	if (rc == 0)
		return compiled;
	in_rules_free(compiled);
	errno = -rc;
	return NULL;
}

static void family_free(struct family *family)
{
	in_sets_fini(&family->sets);
	in_axis_fini(&family->src);
	in_axis_fini(&family->dst);
	for (unsigned p = 0; p < N_WITH_PORTS; p++)
		in_axis_fini(&family->ports[p]);
	free(family->rules);
}

void in_rules_free(struct in_rules *rules)
{
	if (!rules)
		return;
	family_free(&rules->v4);
	family_free(&rules->v6);
	free(rules);
}

/* --- asking ----------------------------------------------------------------------------------- */

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The first bit that all three have. */
static uint32_t first_common(const struct in_sets *sets, uint32_t a, uint32_t b, uint32_t c)
{
	const struct in_set *x = &sets->sets[a], *y = &sets->sets[b], *z = &sets->sets[c];
	const uint64_t *xs = in_set_words(sets, x), *ys = in_set_words(sets, y),
		       *zs = in_set_words(sets, z);
	uint32_t i = larger(x->first, larger(y->first, z->first));
	uint32_t end = smaller(x->end, smaller(y->end, z->end));

	for (; i < end; i++) {
		uint64_t word = xs[i - x->first] & ys[i - y->first] & zs[i - z->first];

		if (word)
			return i * 64 + (uint32_t)__builtin_ctzll(word);
	}
	return IN_RULE_NONE;
}

static uint32_t ask_protocol(
	const struct family *family, const struct in_packet *packet, uint8_t proto)
{
	for (unsigned p = 0; packet->has_l4 && p < N_WITH_PORTS; p++) {
		if (proto == with_ports[p])
			return in_axis_find32(&family->ports[p], packet->dst_port);
	}
	return family->by_proto[proto];
}

uint32_t in_rules_match(const struct in_rules *rules, const struct in_packet *packet, uint8_t proto)
{
	bool is_v4 = packet->version == BASE_FAMILY_V4;
	const struct family *family = is_v4 ? &rules->v4 : &rules->v6;
	uint32_t src, dst, entry;

	if (is_v4) {
		src = in_axis_find32(&family->src, base_load_be32(packet->src));
		dst = in_axis_find32(&family->dst, base_load_be32(packet->dst));
	} else {
		src = in_axis_find128(&family->src, in_point_of(packet->src, BASE_FAMILY_V6));
		dst = in_axis_find128(&family->dst, in_point_of(packet->dst, BASE_FAMILY_V6));
	}
	entry = first_common(&family->sets, src, dst, ask_protocol(family, packet, proto));
	return entry == IN_RULE_NONE ? IN_RULE_NONE : family->rules[entry];
}
