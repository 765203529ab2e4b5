/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Outer headers against checksums taken the long way; flow labels; every pair of congestion marks, with
 * the table of RFC 6040, figure 4, written out.
 */
#include "dp_ecn.h"
#include "dp_outer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define SEED 0x0123456789abcdefull

static struct base_endpoint endpoint_of(const char *text)
{
	struct base_endpoint endpoint;

	assert_int_equal(base_endpoint_parse(&endpoint, text), 0);
	return endpoint;
}

static void make(struct dp_outer *outer, const char *to_text, const char *src_text, uint64_t seed)
{
	struct dp_nexthop nexthop = {.state = DP_NEXTHOP_OK, .mtu_bytes = 1500};
	struct base_endpoint to = endpoint_of(to_text);
	struct dp_from from = dp_from_make(&to);

	assert_int_equal(base_addr_parse(&nexthop.src_addr, src_text), 0);
	dp_outer_make(outer, &nexthop, &from, 51820, seed);
}

static void check4(const uint8_t *ip, uint32_t len, uint8_t ds)
{
	assert_int_equal(in_csum_finish(in_csum_add(0, ip, 20)), 0);
	assert_int_equal(ip[0], 0x45);
	assert_int_equal(ip[1], ds);
	assert_int_equal(base_load_be16(ip + 2), 28 + len);
	assert_int_equal(base_load_be16(ip + 4), 0);      /* identification */
	assert_int_equal(base_load_be16(ip + 6), 0x4000); /* DF, whole */
	assert_int_equal(base_load_be16(ip + 24), 8 + len);
	assert_int_equal(base_load_be16(ip + 26), 0); /* "no checksum" */
}

static void check6(const uint8_t *ip, uint32_t len, uint8_t ds)
{
	uint8_t pseudo[8] = {0, 0, 0, 0, 0, 0, 0, IN_PROTO_UDP};
	uint32_t first = base_load_be32(ip);
	uint64_t sum;

	assert_int_equal(first >> 28, 6);
	assert_int_equal(first >> 20 & 0xff, ds);
	assert_int_not_equal(first & 0xfffff, 0);
	base_store_be32(pseudo, 8 + len);
	sum = in_csum_add(0, pseudo, sizeof(pseudo));
	sum = in_csum_add(sum, ip + 8, 32 + 8 + len);
	assert_int_equal(in_csum_finish(sum), 0);
	assert_int_not_equal(base_load_be16(ip + 46), 0);
	assert_int_equal(base_load_be16(ip + 4), 8 + len);
	assert_int_equal(base_load_be16(ip + 44), 8 + len);
}

/* Headers for every length, checked as a receiver would. */
static void check_outer(const char *to, const char *src)
{
	static const uint8_t ds[] = {0, 1, 2, 3, DP_DS_HANDSHAKE, 0xff};
	static uint8_t frame[2048];
	struct dp_outer outer;

	make(&outer, to, src, SEED);
	assert_int_equal(outer.room_bytes, 1500u + DP_ETH_BYTES - outer.len);
	for (uint32_t len = 1; len < 1440; len++) {
		uint8_t field = ds[len % BASE_ARRAY_LEN(ds)];

		for (uint32_t i = 0; i < len; i++)
			frame[outer.len + i] = (uint8_t)rand();
		dp_outer_write(&outer, frame, len, field);
		dp_outer_sum(&outer, frame, len);
		if (outer.len == DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES)
			check4(frame + DP_ETH_BYTES, len, field);
		else
			check6(frame + DP_ETH_BYTES, len, field);
	}
}

static void headers_are_right_at_every_length(void **state)
{
	check_outer("192.0.2.1:1", "198.51.100.255");
	check_outer("255.255.255.254:65535", "255.255.255.253");
	check_outer("[2001:db8::ffff]:7", "2001:db8::1");
}

/* A sum that comes out as zero is sent as its other form: zero would say "none". */
static void ipv6_checksum_is_never_zero(void **state)
{
	uint8_t frame[128];
	const uint8_t *udp = frame + DP_ETH_BYTES + DP_IP6_BYTES;
	struct dp_outer outer;
	uint16_t check;

	make(&outer, "[2001:db8::2]:7", "2001:db8::1", SEED);
	memset(frame + outer.len, 0, 4);
	dp_outer_write(&outer, frame, 4, 0);
	dp_outer_sum(&outer, frame, 4);
	memcpy(&check, udp + 6, 2);
	/* These two bytes bring the rest to all ones. */
	memcpy(frame + outer.len, &check, 2);
	dp_outer_write(&outer, frame, 4, 0);
	dp_outer_sum(&outer, frame, 4);
	assert_int_equal(base_load_be16(udp + 6), 0xffff);
}

static uint32_t label_of(const char *to, const char *src, uint64_t seed)
{
	struct dp_outer outer;

	make(&outer, to, src, seed);
	return base_load_be32(outer.header + DP_ETH_BYTES) & 0xfffff;
}

static void flow_label_is_stable_and_keyed(void **state)
{
	uint32_t label = label_of("[2001:db8::2]:7", "2001:db8::1", SEED);

	assert_int_equal(label_of("[2001:db8::2]:7", "2001:db8::1", SEED), label);
	assert_int_not_equal(label_of("[2001:db8::2]:8", "2001:db8::1", SEED), label);
	assert_int_not_equal(label_of("[2001:db8::3]:7", "2001:db8::1", SEED), label);
	assert_int_not_equal(label_of("[2001:db8::2]:7", "2001:db8::4", SEED), label);
	assert_int_not_equal(label_of("[2001:db8::2]:7", "2001:db8::1", SEED + 1), label);
}

/* 20 bits, evenly: of 4,096 ends some 8 pairs share a label by chance. */
static void flow_labels_spread(void **state)
{
	static uint8_t seen[1 << 20];
	unsigned n_same = 0;

	memset(seen, 0, sizeof(seen));
	for (unsigned i = 0; i < 4096; i++) {
		char to[BASE_ENDPOINT_TEXT_LEN];
		uint32_t label;

		snprintf(to, sizeof(to), "[2001:db8::%x]:51820", 2 + i);
		label = label_of(to, "2001:db8::1", SEED);
		assert_int_not_equal(label, 0);
		n_same += seen[label];
		seen[label] = 1;
	}
	assert_true(n_same < 40);
}

/* Rows: inner; columns: outer Not-ECT, ECT(1), ECT(0), CE by their numbers. */
#define GONE 0xff
static const uint8_t figure4[4][4] = {
	[DP_ECN_NOT_ECT] = {DP_ECN_NOT_ECT, DP_ECN_NOT_ECT, DP_ECN_NOT_ECT, GONE},
	[DP_ECN_ECT0] = {DP_ECN_ECT0, DP_ECN_ECT1, DP_ECN_ECT0, DP_ECN_CE},
	[DP_ECN_ECT1] = {DP_ECN_ECT1, DP_ECN_ECT1, DP_ECN_ECT1, DP_ECN_CE},
	[DP_ECN_CE] = {DP_ECN_CE, DP_ECN_CE, DP_ECN_CE, DP_ECN_CE},
};

static void checksum4(uint8_t *ip)
{
	uint16_t check;

	memset(ip + 10, 0, 2);
	check = in_csum_finish(in_csum_add(0, ip, 20));
	memcpy(ip + 10, &check, 2);
}

static void ecn_of_ipv4(void **state)
{
	for (unsigned i = 0; i < 4 * 4 * 4096; i++) {
		uint8_t inner = i & 3, outer = i >> 2 & 3, ip[20], before[20];

		for (unsigned b = 0; b < sizeof(ip); b++)
			ip[b] = (uint8_t)rand();
		ip[0] = 0x45;
		ip[1] = (uint8_t)((ip[1] & 0xfc) | inner);
		checksum4(ip);
		memcpy(before, ip, sizeof(ip));
		assert_int_equal(dp_ecn_of(ip), inner);
		assert_int_equal(dp_ecn_decap(ip, outer), figure4[inner][outer] != GONE);
		if (figure4[inner][outer] == GONE)
			continue;
		/* The mark, the checksum, and nothing else. */
		assert_int_equal(ip[1], (before[1] & 0xfc) | figure4[inner][outer]);
		assert_int_equal(in_csum_finish(in_csum_add(0, ip, 20)), 0);
		before[1] = ip[1];
		memcpy(before + 10, ip + 10, 2);
		assert_memory_equal(ip, before, sizeof(ip));
	}
}

static void ecn_of_ipv6(void **state)
{
	for (unsigned i = 0; i < 4 * 4 * 4096; i++) {
		uint8_t inner = i & 3, outer = i >> 2 & 3, ip[40], before[40];

		for (unsigned b = 0; b < sizeof(ip); b++)
			ip[b] = (uint8_t)rand();
		ip[0] = (uint8_t)(0x60 | (ip[0] & 15));
		ip[1] = (uint8_t)((ip[1] & 0xcf) | inner << 4);
		memcpy(before, ip, sizeof(ip));
		assert_int_equal(dp_ecn_of(ip), inner);
		assert_int_equal(dp_ecn_decap(ip, outer), figure4[inner][outer] != GONE);
		if (figure4[inner][outer] == GONE)
			continue;
		before[1] = (uint8_t)((before[1] & 0xcf) | figure4[inner][outer] << 4);
		assert_memory_equal(ip, before, sizeof(ip));
	}
}

/* What the packet path leaves out must be what changes nothing. */
static void ecn_that_does_not_matter(void **state)
{
	for (uint8_t outer = 0; outer < 4; outer++)
		for (uint8_t inner = 0; inner < 4; inner++)
			if (!dp_ecn_matters(outer))
				assert_int_equal(figure4[inner][outer], inner);
}

static void paths_and_endpoints(void **state)
{
	struct base_endpoint endpoint = endpoint_of("[2001:db8::1]:4711"), back;
	struct dp_from from = dp_from_make(&endpoint);
	struct base_addr local = dp_from_local(&from);

	back = dp_from_endpoint(&from);
	assert_true(base_endpoint_equal(&endpoint, &back));
	assert_int_equal(local.family, BASE_FAMILY_NONE);
	from.addrs[31] = 9;
	local = dp_from_local(&from);
	assert_int_equal(local.family, BASE_FAMILY_V6);
	assert_int_equal(local.bytes[15], 9);
	from = (struct dp_from){.family = BASE_FAMILY_NONE};
	back = dp_from_endpoint(&from);
	assert_int_equal(back.addr.family, BASE_FAMILY_NONE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_right_at_every_length),
		cmocka_unit_test(ipv6_checksum_is_never_zero),
		cmocka_unit_test(flow_label_is_stable_and_keyed),
		cmocka_unit_test(flow_labels_spread),
		cmocka_unit_test(ecn_of_ipv4),
		cmocka_unit_test(ecn_of_ipv6),
		cmocka_unit_test(ecn_that_does_not_matter),
		cmocka_unit_test(paths_and_endpoints),
	};
	unsigned seed = (unsigned)time(NULL);

	print_message("# seed %u\n", seed);
	srand(seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
