/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compiled rules against a naive twin that reads the lists as they are, on random rules and packets aimed at the
 * edges of their ranges (seed printed); what is refused; lists of ten thousand.
 */
#include "in_rules.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* --- random rules ------------------------------------------------------------------------------- */

#define LIST_MAX 6

struct lists {
	struct base_prefix srcs[LIST_MAX];
	struct in_rule_dst dsts[LIST_MAX];
	uint8_t protos[3];
};

static unsigned below(unsigned n)
{
	return (unsigned)rand() % n;
}

/* Few bits differ, so that ranges nest, meet and repeat. */
static struct base_prefix random_prefix(void)
{
	struct base_prefix prefix = {0};
	unsigned bits;

	if (below(8) == 0)
		return prefix;
	prefix.addr.family = below(2) ? BASE_FAMILY_V4 : BASE_FAMILY_V6;
	bits = 8 * base_family_bytes((enum base_family)prefix.addr.family);
	prefix.bits = (uint8_t)(below(6) == 0 ? 0 : below(2) ? bits : bits - below(5));
	prefix.addr.bytes[0] = below(4) == 0 ? 0xff : 100;
	prefix.addr.bytes[bits / 8 - 1] = (uint8_t)below(32);
	for (unsigned i = prefix.bits; i < bits; i++)
		prefix.addr.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	return prefix;
}

static void random_ports(struct in_rule_dst *dst)
{
	static const uint16_t edges[] = {0, 1, 22, 8765, 8766, 65534, 65535};
	uint16_t a = edges[below(BASE_ARRAY_LEN(edges))];
	uint16_t b = edges[below(BASE_ARRAY_LEN(edges))];

	dst->port_first = below(3) ? (a < b ? a : b) : 0;
	dst->port_last = below(3) ? (a < b ? b : a) : 65535;
}

static struct in_rule random_rule(struct lists *lists)
{
	static const uint8_t protos[] = {1, 6, 17, 47, 50, 58, 132};
	struct in_rule rule = {.srcs = lists->srcs,
		.dsts = lists->dsts,
		.protos = lists->protos,
		.n_srcs = below(LIST_MAX + 1),
		.n_dsts = below(LIST_MAX + 1),
		.n_protos = below(4)};

	for (size_t i = 0; i < LIST_MAX; i++) {
		lists->srcs[i] = random_prefix();
		lists->dsts[i].prefix = random_prefix();
		/* Often as the one before: those are taken together. */
		if (i && below(2)) {
			lists->dsts[i].port_first = lists->dsts[i - 1].port_first;
			lists->dsts[i].port_last = lists->dsts[i - 1].port_last;
		} else {
			random_ports(&lists->dsts[i]);
		}
	}
	for (size_t i = 0; i < 3; i++)
		lists->protos[i] = protos[below(BASE_ARRAY_LEN(protos))];
	return rule;
}

/* --- the twin ----------------------------------------------------------------------------------- */

struct asked {
	struct base_addr src, dst;
	struct in_packet packet;
};

static bool holds(const struct base_prefix *prefix, const struct base_addr *addr)
{
	return prefix->addr.family == BASE_FAMILY_NONE || base_prefix_contains(prefix, addr);
}

static bool naive_has_proto(const struct in_rule *rule, uint8_t proto)
{
	for (size_t i = 0; i < rule->n_protos; i++)
		if (rule->protos[i] == proto)
			return true;
	return rule->n_protos == 0 && (proto == 1 || proto == 6 || proto == 17 || proto == 58);
}

static bool naive_dst(const struct in_rule *rule, const struct asked *asked)
{
	uint8_t proto = asked->packet.proto;

	for (size_t i = 0; i < rule->n_dsts; i++) {
		const struct in_rule_dst *dst = &rule->dsts[i];

		if (!holds(&dst->prefix, &asked->dst))
			continue;
		if (proto == 1 || proto == 58)
			return true;
		if (!naive_has_proto(rule, proto))
			continue;
		if (proto == 6 || proto == 17 || proto == 132) {
			if (asked->packet.dst_port >= dst->port_first &&
				asked->packet.dst_port <= dst->port_last)
				return true;
		} else if (dst->port_first == 0 && dst->port_last == 65535) {
			return true;
		}
	}
	return false;
}

static uint32_t naive_match(const struct in_rule *rules, size_t n, const struct asked *asked)
{
	for (size_t i = 0; i < n; i++)
		for (size_t s = 0; s < rules[i].n_srcs; s++)
			if (holds(&rules[i].srcs[s], &asked->src) && naive_dst(&rules[i], asked))
				return (uint32_t)i;
	return IN_RULE_NONE;
}

static void random_addr(struct base_addr *addr, uint8_t family)
{
	unsigned last = base_family_bytes((enum base_family)family) - 1;

	*addr = (struct base_addr){.family = family};
	if (below(16) == 0) {
		memset(addr->bytes, below(2) ? 0xff : 0, last + 1);
		return;
	}
	addr->bytes[0] = below(4) == 0 ? 0xff : 100;
	addr->bytes[last] = (uint8_t)below(32);
	if (below(8) == 0)
		addr->bytes[1] = 1;
}

static void random_packet(struct asked *asked)
{
	static const uint8_t protos[] = {1, 6, 17, 47, 50, 51, 58, 132};
	static const uint16_t ports[] = {0, 1, 2, 21, 22, 23, 8764, 8765, 8766, 8767, 65534, 65535};
	uint8_t family = below(2) ? BASE_FAMILY_V4 : BASE_FAMILY_V6;
	uint8_t proto = protos[below(BASE_ARRAY_LEN(protos))];

	random_addr(&asked->src, family);
	random_addr(&asked->dst, family);
	asked->packet = (struct in_packet){.src = asked->src.bytes,
		.dst = asked->dst.bytes,
		.version = family,
		.proto = proto,
		.dst_port = ports[below(BASE_ARRAY_LEN(ports))],
		.has_l4 = proto != 47 && proto != 50 && proto != 51};
}

static void twin(void **state)
{
	static struct in_rule rules[200];
	static struct lists lists[200];
	unsigned hits = 0, misses = 0;

	for (unsigned round = 0; round < 1000; round++) {
		/* Often few; at times more than one word of bits. */
		size_t n = below(10) ? below(8) : below(201);
		struct in_rules *compiled;

		for (size_t i = 0; i < n; i++)
			rules[i] = random_rule(&lists[i]);
		compiled = in_rules_new(rules, n);
		assert_non_null(compiled);
		for (unsigned i = 0; i < 300; i++) {
			struct asked asked;
			uint32_t expected;

			random_packet(&asked);
			expected = naive_match(rules, n, &asked);
			assert_int_equal(
				in_rules_match(compiled, &asked.packet, asked.packet.proto),
				expected);
			*(expected == IN_RULE_NONE ? &misses : &hits) += 1;
		}
		in_rules_free(compiled);
	}
	assert_true(hits > 10000 && misses > 10000);
}

/* --- by hand ------------------------------------------------------------------------------------ */

static struct base_prefix prefix(const char *text)
{
	struct base_prefix p;

	assert_int_equal(base_prefix_parse(&p, text, true), 0);
	return p;
}

/* What was left out for being unreadable opens nothing. */
static void empty_lists_match_nothing(void **state)
{
	static const struct base_prefix any = {0};
	static const struct in_rule_dst all = {.port_last = 65535};
	const struct in_rule rules[] = {{NULL, &all, NULL, 0, 1, 0}, {&any, NULL, NULL, 1, 0, 0}};
	struct in_rules *compiled = in_rules_new(rules, 2);

	assert_non_null(compiled);
	for (unsigned i = 0; i < 1000; i++) {
		struct asked asked;

		random_packet(&asked);
		assert_int_equal(
			in_rules_match(compiled, &asked.packet, asked.packet.proto), IN_RULE_NONE);
	}
	in_rules_free(compiled);
}

#define MANY 10000

/* As a policy writes them in which every daemon reaches the gateway: one rule, ten thousand sources. */
static void ten_thousand_sources_are_one_set(void **state)
{
	static struct base_prefix srcs[MANY];
	const struct in_rule_dst dst = {prefix("100.64.0.1/32"), 8765, 8765};
	const struct in_rule rule = {srcs, &dst, NULL, MANY, 1, 0};
	struct in_rules *compiled;
	struct asked asked;

	for (unsigned i = 0; i < MANY; i++) {
		srcs[i] = (struct base_prefix){.addr.family = BASE_FAMILY_V4, .bits = 32};
		base_store_be32(srcs[i].addr.bytes, 0x64400002 + 2 * i);
	}
	compiled = in_rules_new(&rule, 1);
	assert_non_null(compiled);
	assert_int_equal(compiled->v4.src.n, 2 * MANY + 1);
	assert_int_equal(compiled->v4.sets.n_words, 1);
	assert_int_equal(compiled->v6.n_entries, 0);
	random_packet(&asked);
	asked.packet.version = asked.src.family = asked.dst.family = BASE_FAMILY_V4;
	asked.packet.dst_port = 8765;
	asked.packet.has_l4 = true;
	asked.dst = dst.prefix.addr;
	for (unsigned i = 0; i < 2 * MANY; i++) {
		base_store_be32(asked.src.bytes, 0x64400002 + i);
		assert_int_equal(in_rules_match(compiled, &asked.packet, IN_PROTO_TCP),
			i % 2 ? IN_RULE_NONE : 0);
	}
	in_rules_free(compiled);
}

static void assert_refused(const struct in_rule *rules, size_t n, int error)
{
	assert_null(in_rules_new(rules, n));
	assert_int_equal(errno, error);
}

static void what_cannot_be_is_refused(void **state)
{
	struct base_prefix src = {0};
	struct in_rule_dst dst = {.port_first = 2, .port_last = 1}, *dsts;
	struct in_rule rule = {&src, &dst, NULL, 1, 1, 0};

	assert_refused(&rule, 1, EINVAL);
	dst.port_last = 2;
	src = (struct base_prefix){.addr.family = BASE_FAMILY_V4, .bits = 33};
	assert_refused(&rule, 1, EINVAL);
	src = (struct base_prefix){.addr.family = 5};
	assert_refused(&rule, 1, EINVAL);
	src = (struct base_prefix){0};
	dst.prefix = (struct base_prefix){.addr.family = BASE_FAMILY_V6, .bits = 129};
	assert_refused(&rule, 1, EINVAL);

	dsts = calloc(IN_RULES_ENTRIES_MAX + 1, sizeof(*dsts));
	assert_non_null(dsts);
	for (uint32_t i = 0; i <= IN_RULES_ENTRIES_MAX; i++)
		dsts[i].port_first = dsts[i].port_last = (uint16_t)(i % 2);
	rule.dsts = dsts;
	rule.n_dsts = IN_RULES_ENTRIES_MAX + 1;
	assert_refused(&rule, 1, E2BIG);
	free(dsts);
	in_rules_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(twin),
		cmocka_unit_test(empty_lists_match_nothing),
		cmocka_unit_test(ten_thousand_sources_are_one_set),
		cmocka_unit_test(what_cannot_be_is_refused),
	};
	const char *seed = getenv("SANDD_TEST_SEED");
	unsigned value = seed ? (unsigned)strtoul(seed, NULL, 0) : 1;

	printf("seed %u (SANDD_TEST_SEED)\n", value);
	srand(value);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
