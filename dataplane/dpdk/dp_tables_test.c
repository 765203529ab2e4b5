/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The worker's index table against a naive twin on random input, and outer headers against
 * checksums taken the long way.
 */
#include "dp_outer.h"
#include "dp_tables.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

/* Headers for every length, checked as a receiver would. */
static void check_outer(const char *to_text, const char *src_text)
{
	struct base_endpoint to;
	struct dp_nexthop nexthop = {.state = DP_NEXTHOP_OK, .mtu_bytes = 1500};
	struct dp_outer outer;
	struct dp_from from;
	static uint8_t frame[2048];

	assert_int_equal(base_endpoint_parse(&to, to_text), 0);
	assert_int_equal(base_addr_parse(&nexthop.src_addr, src_text), 0);
	from = dp_from_make(&to);
	dp_outer_make(&outer, &nexthop, &from, 51820);
	assert_int_equal(dp_outer_room(&outer), 1500u + DP_ETH_BYTES - outer.len);
	for (uint32_t len = 1; len < 1440; len += 13) {
		const uint8_t *ip = frame + DP_ETH_BYTES;

		for (uint32_t i = 0; i < len; i++)
			frame[outer.len + i] = (uint8_t)rand();
		dp_outer_write(&outer, frame, len);
		if (to.addr.family == BASE_FAMILY_V4) {
			assert_int_equal(in_csum_finish(in_csum_add(0, ip, 20)), 0);
			assert_int_equal(base_load_be16(ip + 2), 28 + len);
		} else {
			uint8_t pseudo[8] = {0, 0, 0, 0, 0, 0, 0, IN_PROTO_UDP};
			uint64_t sum;

			base_store_be32(pseudo, 8 + len);
			sum = in_csum_add(0, pseudo, sizeof(pseudo));
			sum = in_csum_add(sum, ip + 8, 32 + 8 + len);
			assert_int_equal(in_csum_finish(sum), 0);
			assert_int_equal(base_load_be16(ip + 4), 8 + len);
		}
	}
}

static void test_outer(void **state)
{
	check_outer("192.0.2.1:1", "198.51.100.255");
	check_outer("255.255.255.254:65535", "255.255.255.253");
	check_outer("[2001:db8::ffff]:7", "2001:db8::1");
}

static void test_from(void **state)
{
	struct base_endpoint endpoint, back;
	struct dp_from from;
	struct base_addr local;

	assert_int_equal(base_endpoint_parse(&endpoint, "[2001:db8::1]:4711"), 0);
	from = dp_from_make(&endpoint);
	back = dp_from_endpoint(&from);
	assert_true(base_endpoint_equal(&endpoint, &back));
	local = dp_from_local(&from);
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
		cmocka_unit_test(test_outer),
		cmocka_unit_test(test_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
