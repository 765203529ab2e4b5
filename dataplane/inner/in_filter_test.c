/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet filter: each step of protocols/headscale-control.md, 6.2 by name, then a naive twin
 * for rules and a list as twin for flows, on random input (seed printed).
 */
#include "in_filter.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define NOW (1000 * SECOND)

static struct base_prefix prefix(const char *text)
{
	struct base_prefix p = {0};

	if (text)
		assert_int_equal(base_prefix_parse(&p, text, true), 0);
	return p;
}

static const char *const local_texts[] = {"10.9.0.1", "fd00::1", "192.168.0.0/16", "224.0.0.0/4"};

/* A rule with one of each. */
struct one_rule {
	struct base_prefix src, dst; /* family NONE: any */
	uint16_t port_first, port_last;
	uint8_t proto; /* 0: none given */
};

static struct in_filter *filter_of(
	const struct one_rule *ones, size_t n, const struct base_prefix *locals, size_t n_locals)
{
	struct in_rule rules[8];
	struct in_rule_dst dsts[8];

	assert_true(n <= BASE_ARRAY_LEN(rules));
	for (size_t i = 0; i < n; i++) {
		dsts[i] = (struct in_rule_dst){ones[i].dst, ones[i].port_first, ones[i].port_last};
		rules[i] = (struct in_rule){
			&ones[i].src, &dsts[i], &ones[i].proto, 1, 1, ones[i].proto != 0};
	}
	return in_filter_new(rules, n, locals, n_locals, 1);
}

static struct in_filter *make_filter(const struct one_rule *rules, size_t n)
{
	struct base_prefix locals[BASE_ARRAY_LEN(local_texts)];
	struct in_filter *filter;

	for (size_t i = 0; i < BASE_ARRAY_LEN(local_texts); i++)
		locals[i] = prefix(local_texts[i]);
	filter = filter_of(rules, n, locals, BASE_ARRAY_LEN(local_texts));
	assert_non_null(filter);
	return filter;
}

/* A packet with its addresses inside. */
struct made {
	struct base_addr src, dst;
	struct in_packet packet;
};

static struct in_packet *make(struct made *made, const char *src, const char *dst, uint8_t proto,
	uint16_t src_port, uint16_t dst_port)
{
	assert_int_equal(base_addr_parse(&made->src, src), 0);
	assert_int_equal(base_addr_parse(&made->dst, dst), 0);
	made->packet = (struct in_packet){
		.src = made->src.bytes,
		.dst = made->dst.bytes,
		.version = made->src.family,
		.proto = proto,
		.src_port = src_port,
		.dst_port = dst_port,
		.tcp_flags = IN_TCP_SYN,
		.has_l4 = true,
	};
	return &made->packet;
}

struct bed {
	struct in_filter *none, *ports;
	struct in_flows *flows;
	struct in_flow_memo memo;
	struct in_rule_memo rules;
};

static int set_up(void **state)
{
	static struct bed bed;
	struct one_rule rule = {.src = prefix("10.9.0.0/24"),
		.port_first = 8765,
		.port_last = 8766,
		.proto = IN_PROTO_TCP};

	bed.none = make_filter(NULL, 0);
	bed.ports = make_filter(&rule, 1);
	bed.flows = in_flows_new(64, 0);
	bed.memo = (struct in_flow_memo){0};
	bed.rules = (struct in_rule_memo){0};
	*state = &bed;
	return bed.none && bed.ports && bed.flows ? 0 : -1;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	in_filter_free(bed->none);
	in_filter_free(bed->ports);
	in_flows_free(bed->flows);
	return 0;
}

#define inbound(filter, packet) in_filter_inbound((filter), bed->flows, &bed->rules, (packet), NOW)

static void default_is_deny(void **state)
{
	struct bed *bed = *state;
	struct made m;
	static const uint8_t protos[] = {IN_PROTO_TCP, IN_PROTO_UDP, IN_PROTO_SCTP, 47};

	for (size_t i = 0; i < sizeof(protos); i++) {
		make(&m, "10.9.0.2", "10.9.0.1", protos[i], 1, 2);
		assert_int_equal(inbound(bed->none, &m.packet), IN_VERDICT_NO_RULE);
		make(&m, "fd00::2", "fd00::1", protos[i], 1, 2);
		assert_int_equal(inbound(bed->none, &m.packet), IN_VERDICT_NO_RULE);
	}
	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_ICMP4, 0, 0)->icmp_type = 8;
	assert_int_equal(inbound(bed->none, &m.packet), IN_VERDICT_NO_RULE);
	make(&m, "fd00::2", "fd00::1", IN_PROTO_ICMP6, 0, 0)->icmp_type = 128;
	assert_int_equal(inbound(bed->none, &m.packet), IN_VERDICT_NO_RULE);
}

static void destination_must_be_ours(void **state)
{
	static const struct {
		const char *src, *dst;
		bool is_ours;
	} cases[] = {
		{"10.9.0.2", "10.9.0.1", true},
		{"10.9.0.2", "10.9.0.3", false},
		{"10.9.0.2", "192.168.77.1", true},
		{"10.9.0.2", "192.169.77.1", false},
		{"10.9.0.2", "224.0.0.1", false},
		{"10.9.0.2", "169.254.0.1", false},
		{"fd00::2", "fd00::1", true},
		{"fd00::2", "fd00::3", false},
		{"fd00::2", "ff02::1", false},
		{"fd00::2", "fe80::1", false},
		{"fd00::2", "febf::1", false},
	};
	struct bed *bed = *state;
	struct one_rule any = {.port_last = 65535};
	struct in_filter *filter = make_filter(&any, 1);
	struct made m;

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		make(&m, cases[i].src, cases[i].dst, IN_PROTO_TCP, 1, 2);
		assert_int_equal(inbound(filter, &m.packet),
			cases[i].is_ours ? IN_VERDICT_ACCEPT : IN_VERDICT_DESTINATION);
		/* What needs no rule needs a destination all the same. */
		m.packet.tcp_flags = IN_TCP_ACK;
		assert_int_equal(inbound(filter, &m.packet),
			cases[i].is_ours ? IN_VERDICT_ACCEPT : IN_VERDICT_DESTINATION);
	}
	in_filter_free(filter);
}

static void tcp_openings_need_a_rule(void **state)
{
	struct bed *bed = *state;
	struct made m;

	for (unsigned port = 8764; port <= 8767; port++) {
		make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_TCP, 9, (uint16_t)port);
		assert_int_equal(inbound(bed->ports, &m.packet),
			port == 8765 || port == 8766 ? IN_VERDICT_ACCEPT : IN_VERDICT_NO_RULE);
	}
	make(&m, "10.9.1.2", "10.9.0.1", IN_PROTO_TCP, 9, 8765);
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_RULE);
	make(&m, "fd00::2", "fd00::1", IN_PROTO_TCP, 9, 8765); /* the rule speaks of IPv4 */
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_RULE);
	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_UDP, 9, 8765);
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_RULE);
	for (unsigned flags = 0; flags < 64; flags++) {
		bool is_opening = (flags & IN_TCP_SYN) && !(flags & IN_TCP_ACK);

		make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_TCP, 9, 22)->tcp_flags = (uint8_t)flags;
		assert_int_equal(inbound(bed->ports, &m.packet),
			is_opening ? IN_VERDICT_NO_RULE : IN_VERDICT_ACCEPT);
	}
}

static void icmp_replies_pass_requests_need_any_rule(void **state)
{
	struct bed *bed = *state;
	struct made m;

	for (unsigned type = 0; type < 256; type++) {
		bool is_reply4 = type == 0 || type == 3 || type == 11 || type == 12;
		bool is_reply6 = type == 129 || (type >= 1 && type <= 4);

		make(&m, "10.9.1.2", "10.9.0.1", IN_PROTO_ICMP4, 0, 0)->icmp_type = (uint8_t)type;
		assert_int_equal(inbound(bed->ports, &m.packet),
			is_reply4 ? IN_VERDICT_ACCEPT : IN_VERDICT_NO_RULE);
		make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_ICMP4, 0, 0)->icmp_type = (uint8_t)type;
		assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_ACCEPT);
		make(&m, "fd00::2", "fd00::1", IN_PROTO_ICMP6, 0, 0)->icmp_type = (uint8_t)type;
		assert_int_equal(inbound(bed->ports, &m.packet),
			is_reply6 ? IN_VERDICT_ACCEPT : IN_VERDICT_NO_RULE);
	}
}

static void fragments_and_hidden_headers(void **state)
{
	struct bed *bed = *state;
	struct made m;

	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_TCP, 0, 0);
	m.packet.has_l4 = false;
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_HEADER);
	m.packet.is_later_fragment = true;
	for (unsigned off = 8; off < 200; off += 8) {
		m.packet.fragment_off = (uint16_t)off;
		assert_int_equal(inbound(bed->ports, &m.packet),
			off < 80 ? IN_VERDICT_NO_HEADER : IN_VERDICT_ACCEPT);
	}
	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_TCP, 1, 22);
	m.packet.is_first_fragment = true;
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_RULE);
	m.packet.dst_port = 8765;
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_ACCEPT);
	make(&m, "10.9.0.2", "10.9.0.1", 0, 0, 0);
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_HEADER);
	make(&m, "10.9.0.2", "10.9.0.1", 255, 0, 0);
	assert_int_equal(inbound(bed->ports, &m.packet), IN_VERDICT_NO_HEADER);
}

static void other_protocols_need_all_ports(void **state)
{
	struct one_rule rules[] = {{.port_last = 65535}, {.port_last = 65534, .proto = 47},
		{.port_last = 65535, .proto = 50}, {.port_last = 65535, .proto = IN_PROTO_TSMP}};
	struct in_filter *filter = make_filter(rules, BASE_ARRAY_LEN(rules));
	struct bed *bed = *state;
	struct made m;

	make(&m, "10.9.0.2", "10.9.0.1", 47, 0, 0)->has_l4 = false;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_NO_RULE);
	make(&m, "10.9.0.2", "10.9.0.1", 50, 0, 0)->has_l4 = false;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_ACCEPT);
	/* The mesh's own, whatever a rule says. */
	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_TSMP, 0, 0)->has_l4 = false;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_TSMP);
	assert_true(in_filter_keeps_home(&m.packet));
	/* Behind an extension header nobody looks: that header's number is the protocol. */
	make(&m, "fd00::2", "fd00::1", IN_PROTO_TCP, 1, 2)->has_extension = true;
	m.packet.extension = 60;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_NO_RULE);
	m.packet.tcp_flags = IN_TCP_ACK;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_NO_RULE);
	m.packet.extension = 50;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_ACCEPT);
	m.packet.extension = 0;
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_NO_HEADER);
	/* No protocol means TCP, UDP and ICMP: not SCTP. */
	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_SCTP, 1, 2);
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_NO_RULE);
	make(&m, "10.9.0.2", "10.9.0.1", IN_PROTO_UDP, 1, 2);
	assert_int_equal(inbound(filter, &m.packet), IN_VERDICT_ACCEPT);
	in_filter_free(filter);
}

static enum in_verdict reply_verdict(struct bed *bed, const char *src, const char *dst,
	uint8_t proto, const uint16_t ports[2], uint64_t now_ns)
{
	struct made m;

	make(&m, src, dst, proto, ports[0], ports[1]);
	return in_filter_inbound(bed->none, bed->flows, &bed->rules, &m.packet, now_ns);
}

static void replies_of_our_flows_pass(void **state)
{
	struct bed *bed = *state;
	static const uint16_t back[] = {53, 4000}, other[] = {53, 4001}, from[] = {54, 4000};
	struct made m;

	for (unsigned i = 0; i < 2; i++) {
		uint8_t proto = i ? IN_PROTO_SCTP : IN_PROTO_UDP;

		assert_int_equal(reply_verdict(bed, "10.9.0.2", "10.9.0.1", proto, back, NOW),
			IN_VERDICT_NO_RULE);
		make(&m, "10.9.0.1", "10.9.0.2", proto, 4000, 53);
		in_filter_outbound(bed->flows, &bed->memo, &m.packet, NOW);
		assert_int_equal(reply_verdict(bed, "10.9.0.2", "10.9.0.1", proto, back, NOW),
			IN_VERDICT_ACCEPT);
		assert_int_equal(reply_verdict(bed, "10.9.0.2", "10.9.0.1", proto, other, NOW),
			IN_VERDICT_NO_RULE);
		assert_int_equal(reply_verdict(bed, "10.9.0.2", "10.9.0.1", proto, from, NOW),
			IN_VERDICT_NO_RULE);
		assert_int_equal(reply_verdict(bed, "10.9.0.3", "10.9.0.1", proto, back, NOW),
			IN_VERDICT_NO_RULE);
		make(&m, "fd00::1", "fd00::2", proto, 4000, 53);
		in_filter_outbound(bed->flows, &bed->memo, &m.packet, NOW);
		assert_int_equal(reply_verdict(bed, "fd00::2", "fd00::1", proto, back, NOW),
			IN_VERDICT_ACCEPT);
		assert_int_equal(reply_verdict(bed, "fd00::3", "fd00::1", proto, back, NOW),
			IN_VERDICT_NO_RULE);
	}
}

static void flows_age_and_either_side_keeps_them_young(void **state)
{
	struct bed *bed = *state;
	static const uint16_t back[] = {53, 4000};
	uint64_t now = NOW;
	struct made m;

	make(&m, "10.9.0.1", "10.9.0.2", IN_PROTO_UDP, 4000, 53);
	in_filter_outbound(bed->flows, &bed->memo, &m.packet, now);
	for (unsigned i = 0; i < 10; i++) {
		now += (IN_FLOW_IDLE_S - 2) * SECOND;
		assert_int_equal(
			reply_verdict(bed, "10.9.0.2", "10.9.0.1", IN_PROTO_UDP, back, now),
			IN_VERDICT_ACCEPT);
	}
	now += (IN_FLOW_IDLE_S + 5) * SECOND;
	assert_int_equal(reply_verdict(bed, "10.9.0.2", "10.9.0.1", IN_PROTO_UDP, back, now),
		IN_VERDICT_NO_RULE);
	/* The room of an aged flow is taken without counting an eviction. */
	uint32_t live;
	uint64_t evicted;

	in_flows_usage(bed->flows, &live, &evicted);
	assert_int_equal(live, 1);
	assert_int_equal(evicted, 0);
}

static void table_is_bounded_and_counts_evictions(void **state)
{
	struct bed *bed = *state;
	uint32_t live;
	uint64_t evicted;
	struct made m;

	make(&m, "10.9.0.1", "10.9.0.2", IN_PROTO_UDP, 0, 53);
	for (unsigned port = 1; port <= 10000; port++) {
		m.packet.src_port = (uint16_t)port;
		in_filter_outbound(bed->flows, &bed->memo, &m.packet, NOW + port);
	}
	in_flows_usage(bed->flows, &live, &evicted);
	assert_int_equal(live, 64);
	assert_int_equal(evicted, 10000 - 64);
	/* The newest is there. */
	static const uint16_t newest[] = {53, 10000};

	assert_int_equal(reply_verdict(bed, "10.9.0.2", "10.9.0.1", IN_PROTO_UDP, newest, NOW),
		IN_VERDICT_ACCEPT);
	/* TCP and ICMP take no room. */
	make(&m, "10.9.0.1", "10.9.0.2", IN_PROTO_TCP, 1, 2);
	in_filter_outbound(bed->flows, &bed->memo, &m.packet, NOW);
	make(&m, "10.9.0.1", "10.9.0.2", IN_PROTO_ICMP4, 0, 0);
	in_filter_outbound(bed->flows, &bed->memo, &m.packet, NOW);
	in_flows_usage(bed->flows, &live, &evicted);
	assert_int_equal(evicted, 10000 - 64);
}

static void oldest_of_a_bucket_goes_first(void **state)
{
	struct in_flows *flows = in_flows_new(BUCKET_FLOWS, 0); /* one bucket */
	struct bed bed = {.none = ((struct bed *)*state)->none, .flows = flows};
	struct made m;

	assert_non_null(flows);
	make(&m, "10.9.0.1", "10.9.0.2", IN_PROTO_UDP, 0, 53);
	for (unsigned i = 0; i < BUCKET_FLOWS; i++) {
		m.packet.src_port = (uint16_t)(100 + i);
		in_filter_outbound(flows, &bed.memo, &m.packet, NOW + 4 * i * SECOND);
	}
	/* The first is used again, so the second is the oldest now. */
	m.packet.src_port = 100;
	in_filter_outbound(flows, &bed.memo, &m.packet, NOW + 100 * SECOND);
	m.packet.src_port = 200;
	in_filter_outbound(flows, &bed.memo, &m.packet, NOW + 100 * SECOND);
	for (unsigned i = 0; i < BUCKET_FLOWS; i++) {
		uint16_t back[] = {53, (uint16_t)(100 + i)};

		assert_int_equal(reply_verdict(&bed, "10.9.0.2", "10.9.0.1", IN_PROTO_UDP, back,
					 NOW + 100 * SECOND),
			i == 1 ? IN_VERDICT_NO_RULE : IN_VERDICT_ACCEPT);
	}
	in_flows_free(flows);
}

static void tables_differ_in_their_secret(void **state)
{
	struct in_flows *a = in_flows_new(1, 0), *b = in_flows_new(1, 0);

	assert_memory_not_equal(a->secret, b->secret, sizeof(a->secret));
	in_flows_free(a);
	in_flows_free(b);
}

static void assert_refused(const struct one_rule *rule, const struct base_prefix *local)
{
	struct in_filter *filter = filter_of(rule, rule ? 1 : 0, local, local ? 1 : 0);
	int error = errno;

	in_filter_free(filter);
	assert_null(filter);
	assert_int_equal(error, EINVAL);
}

static void bad_rules_are_refused(void **state)
{
	struct one_rule empty = {.port_first = 2, .port_last = 1};
	struct one_rule too_long = {.src = prefix("10.0.0.0/8"), .port_last = 1};
	struct base_prefix nowhere = {0};
	struct in_flows *flows = in_flows_new(UINT32_MAX, 0);

	too_long.src.bits = 33;
	assert_refused(&empty, NULL);
	assert_refused(&too_long, NULL);
	assert_refused(NULL, &nowhere);
	in_flows_free(flows);
	assert_null(flows);
	in_filter_free(NULL);
}

/* Every bit of a flow counts for its place, and for whether it is the same flow. */
static void each_bit_of_a_key_counts(void **state)
{
	struct in_flows *flows = in_flows_new(1024, 0);
	struct flow_key key = {.version = BASE_FAMILY_V6, .proto = IN_PROTO_UDP};
	unsigned same = 0, bits = 8 * offsetof(struct flow_key, version);

	assert_non_null(flows);
	for (unsigned bit = 0; bit < bits; bit++) {
		struct flow_key other = key;

		((uint8_t *)&other)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		same += hash_key(flows, &key) == hash_key(flows, &other);
		assert_false(is_key_equal(&key, &other));
	}
	/* By chance one in 2^32, for each. */
	assert_true(same <= 1);
	in_flows_free(flows);
}

/* --- twins ------------------------------------------------------------------------------------ */

static struct base_prefix random_prefix(bool is_v6)
{
	static const char *const v4[] = {"10.9.0.2", "10.9.0.0/24", "10.0.0.0/8", "0.0.0.0/0",
		"10.9.0.1", "192.168.0.0/17", "10.9.0.0/31"};
	static const char *const v6[] = {"fd00::2", "fd00::/64", "::/0", "fd00::1", "fd00::/127",
		"fd00:0:0:0:8000::/65", "fc00::/7"};

	if (rand() % 4 == 0)
		return prefix(NULL);
	return prefix(is_v6 ? v6[(size_t)rand() % 7] : v4[(size_t)rand() % 7]);
}

static bool naive_contains(const struct base_prefix *p, const struct base_addr *addr)
{
	return p->addr.family == BASE_FAMILY_NONE || base_prefix_contains(p, addr);
}

static bool naive_rules(const struct one_rule *rules, size_t n, const struct made *m)
{
	for (size_t i = 0; i < n; i++) {
		const struct one_rule *r = &rules[i];
		uint8_t proto = m->packet.proto;

		if (!naive_contains(&r->src, &m->src) || !naive_contains(&r->dst, &m->dst))
			continue;
		if (proto == 1 || proto == 58)
			return true;
		if (r->proto == proto || (r->proto == 0 && (proto == 6 || proto == 17)))
			if (m->packet.dst_port >= r->port_first &&
				m->packet.dst_port <= r->port_last)
				return true;
	}
	return false;
}

static void rules_twin(void **state)
{
	static const char *const src4[] = {"10.9.0.2", "10.9.0.3", "10.1.2.3", "192.168.1.1"};
	static const char *const src6[] = {"fd00::2", "fd00::3", "fd00::8000:0:0:1", "2001:db8::1"};
	static const char *const dst4[] = {"10.9.0.1", "192.168.127.255", "192.168.128.0"};
	static const uint8_t protos[] = {0, 6, 17, 132};
	struct bed *bed = *state;
	unsigned accepted = 0, refused = 0;

	for (unsigned round = 0; round < 2000; round++) {
		struct one_rule rules[6];
		size_t n = (size_t)rand() % 7;
		struct in_filter *filter;

		for (size_t i = 0; i < n; i++) {
			bool is_v6 = rand() % 2;
			uint16_t first = (uint16_t)(rand() % 8);

			rules[i] = (struct one_rule){random_prefix(is_v6), random_prefix(is_v6),
				first, (uint16_t)(first + rand() % 4), protos[(size_t)rand() % 4]};
		}
		filter = make_filter(rules, n);
		for (unsigned i = 0; i < 100; i++) {
			static const uint8_t asked[] = {6, 17, 132, 1, 58};
			bool is_v6 = rand() % 2, expected;
			struct made m;

			make(&m, is_v6 ? src6[rand() % 4] : src4[rand() % 4],
				is_v6 ? "fd00::1" : dst4[rand() % 3], asked[rand() % 5], 7,
				(uint16_t)(rand() % 12));
			m.packet.icmp_type = m.packet.proto == 1 ? 8 : 128;
			if (m.packet.proto == 1 || m.packet.proto == 58)
				m.packet.dst_port = 0;
			expected = naive_rules(rules, n, &m);
			assert_int_equal(inbound(filter, &m.packet),
				expected ? IN_VERDICT_ACCEPT : IN_VERDICT_NO_RULE);
			*(expected ? &accepted : &refused) += 1;
		}
		in_filter_free(filter);
	}
	assert_true(accepted > 10000 && refused > 10000);
}

#define TWIN_FLOWS 4096

/* Time of the last packet of each of 4,096 flows, which never evicts: 300 s decide. */
static void flows_twin(void **state)
{
	static uint64_t last_ns[TWIN_FLOWS];
	struct in_flow_memo memos[8] = {{0}};
	struct in_flows *flows = in_flows_new(32 * TWIN_FLOWS, 0);
	struct bed *bed = *state;
	uint64_t now = NOW;
	unsigned hits = 0, misses = 0;
	uint64_t evicted;
	uint32_t live;

	assert_non_null(flows);
	for (unsigned round = 0; round < 400000; round++) {
		unsigned i = (unsigned)rand() % TWIN_FLOWS;
		uint8_t proto = i % 2 ? IN_PROTO_UDP : IN_PROTO_SCTP;
		const char *there = i / 2 % 2 ? "10.9.0.2" : "fd00::2";
		const char *here = i / 2 % 2 ? "10.9.0.1" : "fd00::1";
		struct made m;

		now += (uint64_t)rand() % (200 * SECOND / 1000);
		if (rand() % 3 == 0) {
			make(&m, here, there, proto, (uint16_t)i, 53);
			in_filter_outbound(flows, &memos[i % 8], &m.packet, now);
			last_ns[i] = now;
			continue;
		}
		make(&m, there, here, proto, 53, (uint16_t)i);
		enum in_verdict verdict =
			in_filter_inbound(bed->none, flows, &bed->rules, &m.packet, now);
		uint64_t quiet_ns = now - last_ns[i];

		/* Ticks are coarse: for five seconds behind the limit either answer is right. */
		if (last_ns[i] == 0 || quiet_ns > (IN_FLOW_IDLE_S + 5) * SECOND)
			assert_int_equal(verdict, IN_VERDICT_NO_RULE);
		else if (quiet_ns < IN_FLOW_IDLE_S * SECOND)
			assert_int_equal(verdict, IN_VERDICT_ACCEPT);
		if (verdict == IN_VERDICT_ACCEPT)
			last_ns[i] = now;
		*(verdict == IN_VERDICT_ACCEPT ? &hits : &misses) += 1;
	}
	in_flows_usage(flows, &live, &evicted);
	assert_int_equal(evicted, 0);
	assert_int_equal(live, TWIN_FLOWS);
	assert_true(hits > 10000 && misses > 10000);
	in_flows_free(flows);
}

/*
 * A table that is noted into with memos, and one without (a fresh memo each time) under the same secret: byte for
 * byte the same after every packet, also while flows push each other out.
 */
static void memo_twin(void **state)
{
	struct in_flows *flows = in_flows_new(64, 0), *plain = in_flows_new(64, 0);
	size_t bytes = (flows->bucket_mask + 1) * sizeof(struct bucket);
	struct in_flow_memo memos[4] = {{0}};
	struct bed *bed = *state;
	uint64_t now = NOW, evicted;
	uint32_t live;

	memcpy(plain->secret, flows->secret, sizeof(plain->secret));
	for (unsigned round = 0; round < 200000; round++) {
		struct in_flow_memo none = {0};
		unsigned peer = (unsigned)rand() % 4, flow = (unsigned)rand() % 2;
		bool is_v6 = peer % 2, is_crowded = round / 1000 % 2;
		struct made m;

		/* Crowds of flows at one time push out even those that are in use. */
		if (is_crowded && rand() % 4)
			flow = (unsigned)rand() % 400;
		if (!is_crowded)
			now += (uint64_t)rand() % (50 * SECOND / 1000);
		if (rand() % 4) {
			make(&m, is_v6 ? "fd00::1" : "10.9.0.1", is_v6 ? "fd00::2" : "10.9.0.2",
				IN_PROTO_UDP, (uint16_t)flow, (uint16_t)peer);
			in_filter_outbound(flows, &memos[peer], &m.packet, now);
			in_filter_outbound(plain, &none, &m.packet, now);
		} else {
			make(&m, is_v6 ? "fd00::2" : "10.9.0.2", is_v6 ? "fd00::1" : "10.9.0.1",
				IN_PROTO_UDP, (uint16_t)peer, (uint16_t)flow);
			assert_int_equal(
				in_filter_inbound(bed->none, flows, &bed->rules, &m.packet, now),
				in_filter_inbound(bed->none, plain, &bed->rules, &m.packet, now));
		}
		assert_memory_equal(flows->buckets, plain->buckets, bytes);
	}
	in_flows_usage(flows, &live, &evicted);
	assert_true(evicted > 1000);
	in_flows_free(flows);
	in_flows_free(plain);
}

/* One peer's datagrams with a memo, and each without one: the same verdicts, also while filters are changed. */
static void rule_memo_twin(void **state)
{
	const struct one_rule odd = {.port_first = 1, .port_last = 1, .proto = IN_PROTO_UDP};
	const struct one_rule even = {.src = prefix("10.9.0.2/31"), .port_last = 2};
	struct in_filter *filters[] = {make_filter(&odd, 1), make_filter(&even, 1)};
	struct bed *bed = *state;
	struct in_rule_memo memo = {0};
	uint64_t hits = 0, misses = 0;

	for (unsigned round = 0; round < 200000; round++) {
		struct in_filter *filter = filters[round / 50 % 2];
		bool is_v6 = rand() % 4 == 0;
		struct in_rule_memo none = {0};
		enum in_verdict verdict;
		struct made m;

		make(&m,
			is_v6                ? "fd00::2"
				: rand() % 4 ? "10.9.0.2"
					     : "10.9.0.4",
			is_v6                ? "fd00::1"
				: rand() % 8 ? "10.9.0.1"
					     : "10.9.0.9",
			rand() % 4 ? IN_PROTO_UDP : IN_PROTO_SCTP, 7, (uint16_t)(rand() % 4));
		verdict = in_filter_inbound(filter, bed->flows, &memo, &m.packet, NOW);
		assert_int_equal(
			verdict, in_filter_inbound(filter, bed->flows, &none, &m.packet, NOW));
		hits += 2 * (verdict == IN_VERDICT_ACCEPT);
		misses += 2 * (verdict == IN_VERDICT_NO_RULE);
	}
	assert_true(hits > 10000 && misses > 10000);
	assert_int_equal(in_filter_hits(filters[0], 0) + in_filter_hits(filters[1], 0), hits);
	assert_int_equal(
		in_filter_hits(filters[0], IN_RULE_NONE) + in_filter_hits(filters[1], IN_RULE_NONE),
		misses);
	for (unsigned i = 0; i < 2; i++)
		in_filter_free(filters[i]);
}

#define with_bed(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* What has passed is known again by all that made it pass, and an opening of a connection never. */
static void passed_flow_is_known(void **state)
{
	static const unsigned parts[] = {9, 12, 15, 16, 19, 20, 21, 22, 23};
	uint8_t ip[40] = {0x45, 0, 0, 40, 1, 2, 0x40, 0, 64, IN_PROTO_UDP, 9, 9, 10, 9, 0, 2, 10, 9,
		0, 1, 1, 2, 3, 4};
	struct bed *bed = *state;
	struct in_rule_memo rule = {.rule = 0};
	struct in_pass_memo memo = {0};
	struct in_pass pass = in_pass_now(bed->ports, 7), other = pass;
	uint64_t hits = in_filter_hits(bed->ports, 0);

	assert_int_equal(in_plain4_len(ip, sizeof(ip)), sizeof(ip));
	assert_false(in_pass_is_known4(&memo, &pass, ip));
	in_pass_note4(&memo, &pass, &rule, bed->flows, ip);
	assert_true(in_pass_is_known4(&memo, &pass, ip));
	assert_int_equal(in_filter_hits(bed->ports, 0), hits + 1);
	other.epoch++;
	assert_false(in_pass_is_known4(&memo, &other, ip));
	other = in_pass_now(bed->none, 7);
	assert_false(in_pass_is_known4(&memo, &other, ip));
	for (size_t i = 0; i < BASE_ARRAY_LEN(parts); i++) {
		ip[parts[i]] ^= 1;
		if (in_pass_is_known4(&memo, &pass, ip))
			fail_msg("another byte %u is not seen", parts[i]);
		ip[parts[i]] ^= 1;
	}
	assert_int_equal(in_filter_hits(bed->ports, 0), hits + 1);
	/* A reply's flow has to see it. */
	memo = (struct in_pass_memo){0};
	rule.rule = IN_RULE_NONE;
	in_pass_note4(&memo, &pass, &rule, bed->flows, ip);
	assert_false(in_pass_is_known4(&memo, &pass, ip));
}

static void passed_connection_is_known(void **state)
{
	uint8_t ip[40] = {0x45, 0, 0, 40, 1, 2, 0x40, 0, 64, IN_PROTO_TCP, 9, 9, 10, 9, 0, 2, 10, 9,
		0, 1, 1, 2, 3, 4};
	struct bed *bed = *state;
	struct in_rule_memo rule = {.rule = 0};
	struct in_pass_memo memo = {0};
	struct in_pass pass = in_pass_now(bed->ports, 7);
	uint64_t hits = in_filter_hits(bed->ports, 0);

	ip[33] = IN_TCP_ACK;
	in_pass_note4(&memo, &pass, &rule, bed->flows, ip);
	assert_true(in_pass_is_known4(&memo, &pass, ip));
	ip[33] = IN_TCP_SYN;
	assert_false(in_pass_is_known4(&memo, &pass, ip));
	ip[33] = IN_TCP_SYN | IN_TCP_ACK;
	assert_true(in_pass_is_known4(&memo, &pass, ip));
	/* Nor is one that a rule let in remembered for all that follow. */
	memo = (struct in_pass_memo){0};
	ip[33] = IN_TCP_SYN;
	in_pass_note4(&memo, &pass, &rule, bed->flows, ip);
	ip[33] = IN_TCP_ACK;
	assert_false(in_pass_is_known4(&memo, &pass, ip));
	assert_int_equal(in_filter_hits(bed->ports, 0), hits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bed(default_is_deny),
		with_bed(destination_must_be_ours),
		with_bed(tcp_openings_need_a_rule),
		with_bed(icmp_replies_pass_requests_need_any_rule),
		with_bed(fragments_and_hidden_headers),
		with_bed(other_protocols_need_all_ports),
		with_bed(replies_of_our_flows_pass),
		with_bed(flows_age_and_either_side_keeps_them_young),
		with_bed(table_is_bounded_and_counts_evictions),
		with_bed(oldest_of_a_bucket_goes_first),
		cmocka_unit_test(tables_differ_in_their_secret),
		cmocka_unit_test(bad_rules_are_refused),
		cmocka_unit_test(each_bit_of_a_key_counts),
		with_bed(passed_flow_is_known),
		with_bed(passed_connection_is_known),
		with_bed(rules_twin),
		with_bed(flows_twin),
		with_bed(memo_twin),
		with_bed(rule_memo_twin),
	};
	const char *seed = getenv("SANDD_TEST_SEED");
	unsigned value = seed ? (unsigned)strtoul(seed, NULL, 0) : 1;

	printf("seed %u (SANDD_TEST_SEED)\n", value);
	srand(value);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
