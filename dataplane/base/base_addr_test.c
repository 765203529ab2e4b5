/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses, prefixes and endpoints: tables of what is read and what is refused, printing as the
 * inverse of reading, prefix arithmetic against bit-by-bit comparison.
 */
#include "base_addr.c"

#include "base_err.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct base_addr addr_of(const char *text)
{
	struct base_addr addr = {0};

	assert_int_equal(base_addr_parse(&addr, text), 0);
	return addr;
}

static void test_addr_good(void **state)
{
	static const struct {
		const char *text, *printed;
		uint8_t family;
	} cases[] = {
		{"0.0.0.0", "0.0.0.0", BASE_FAMILY_V4},
		{"192.0.2.1", "192.0.2.1", BASE_FAMILY_V4},
		{"255.255.255.255", "255.255.255.255", BASE_FAMILY_V4},
		{"::", "::", BASE_FAMILY_V6},
		{"::1", "::1", BASE_FAMILY_V6},
		{"2001:DB8:0:0:0:0:0:1", "2001:db8::1", BASE_FAMILY_V6},
		{"fe80::1:2:3:4", "fe80::1:2:3:4", BASE_FAMILY_V6},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.1", BASE_FAMILY_V6},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", BASE_FAMILY_V6},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct base_addr addr = addr_of(cases[i].text), again;
		char buf[BASE_ADDR_TEXT_LEN];

		assert_int_equal(addr.family, cases[i].family);
		assert_string_equal(base_addr_print(buf, &addr), cases[i].printed);
		again = base_addr_from_bytes(addr.family, addr.bytes);
		assert_true(base_addr_equal(&addr, &again));
	}
}

static void test_addr_bad(void **state)
{
	static const char *const bad[] = {"", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256",
		"1.2.3.-4", "01.2.3.4", "0x1.2.3.4", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4/8",
		"1.2.3.4:5", ":", ":::", "1::2::3", "12345::", "fe80::1%eth0", "fe80::1%1", "[::1]",
		"::1 ", "localhost", "g::"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++) {
		struct base_addr addr = {.family = 99};

		if (base_addr_parse(&addr, bad[i]) != -EINVAL)
			fail_msg("accepted: \"%s\"", bad[i]);
		assert_int_equal(addr.family, 99);
	}
}

static void test_prefix_good(void **state)
{
	static const struct {
		const char *text, *printed;
		bool is_strict;
	} cases[] = {
		{"10.0.0.0/8", "10.0.0.0/8", true},
		{"0.0.0.0/0", "0.0.0.0/0", true},
		{"192.0.2.1", "192.0.2.1/32", true},
		{"192.0.2.1/32", "192.0.2.1/32", true},
		{"::/0", "::/0", true},
		{"2001:db8::/32", "2001:db8::/32", true},
		{"2001:db8::1", "2001:db8::1/128", true},
		{"10.1.2.3/8", "10.0.0.0/8", false},
		{"10.1.2.255/25", "10.1.2.128/25", false},
		{"255.255.255.255/0", "0.0.0.0/0", false},
		{"2001:db8::ffff/127", "2001:db8::fffe/127", false},
		{"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128",
			"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", true},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct base_prefix prefix = {0}, strict;
		char buf[BASE_PREFIX_TEXT_LEN];

		assert_int_equal(base_prefix_parse(&prefix, cases[i].text, false), 0);
		assert_string_equal(base_prefix_print(buf, &prefix), cases[i].printed);
		assert_int_equal(base_prefix_parse(&strict, cases[i].text, true),
			cases[i].is_strict ? 0 : -EINVAL);
	}
}

static void test_prefix_bad(void **state)
{
	static const char *const bad[] = {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1",
		"10.0.0.0/+8", "10.0.0.0/08", "10.0.0.0/8 ", "10.0.0.0/ 8", "10.0.0.0/8/8",
		"10.0.0.0/256", "10.0.0.0/4294967304", "10/8", "::/129", "::/", "2001:db8::/0x20",
		"10.0.0.0/255.0.0.0",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++) {
		struct base_prefix prefix = {.bits = 99};

		if (base_prefix_parse(&prefix, bad[i], false) != -EINVAL)
			fail_msg("accepted: \"%s\"", bad[i]);
		assert_int_equal(base_ifaddr_parse(&prefix, bad[i]), -EINVAL);
		assert_int_equal(prefix.bits, 99);
	}
}

static void test_ifaddr_keeps_host_bits(void **state)
{
	struct base_prefix ifaddr = {0};
	char buf[BASE_PREFIX_TEXT_LEN];

	assert_int_equal(base_ifaddr_parse(&ifaddr, "10.9.0.1/24"), 0);
	assert_string_equal(base_prefix_print(buf, &ifaddr), "10.9.0.1/24");
	assert_int_equal(base_ifaddr_parse(&ifaddr, "fd00::1/64"), 0);
	assert_string_equal(base_prefix_print(buf, &ifaddr), "fd00::1/64");
	assert_int_equal(base_ifaddr_parse(&ifaddr, "fd00::1"), 0);
	assert_int_equal(ifaddr.bits, 128);
}

static void test_endpoint_good(void **state)
{
	static const char *const cases[] = {"192.0.2.1:1", "192.0.2.1:65535", "[2001:db8::1]:51820",
		"[::]:9", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct base_endpoint endpoint = {0};
		char buf[BASE_ENDPOINT_TEXT_LEN];

		assert_int_equal(base_endpoint_parse(&endpoint, cases[i]), 0);
		assert_string_equal(base_endpoint_print(buf, &endpoint), cases[i]);
	}
}

static void test_endpoint_mapped(void **state)
{
	struct base_endpoint endpoint;
	char buf[BASE_ENDPOINT_TEXT_LEN];

	assert_int_equal(base_endpoint_parse(&endpoint, "[::ffff:192.0.2.1]:7"), 0);
	assert_string_equal(base_endpoint_print(buf, &endpoint), "192.0.2.1:7");
	assert_int_equal(base_endpoint_parse(&endpoint, "[::fffe:c000:201]:7"), 0);
	assert_int_equal(endpoint.addr.family, BASE_FAMILY_V6);
}

static void test_endpoint_bad(void **state)
{
	static const char *const bad[] = {"", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:0",
		"192.0.2.1:65536", "192.0.2.1:99999", "192.0.2.1:100000", "192.0.2.1:051820",
		"192.0.2.1:+1", "192.0.2.1: 1", "192.0.2.1:1 ", "192.0.2.1:http", "[192.0.2.1]:1",
		"2001:db8::1:51820", "::1", "[::1]", "[::1]:", "[::1:1", "::1]:1", "[::1]x:1",
		"[]:1", "[:1", "]:1", ":1", "host:1", "[fe80::1%eth0]:1",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++) {
		struct base_endpoint endpoint = {.port = 99};

		if (base_endpoint_parse(&endpoint, bad[i]) != -EINVAL)
			fail_msg("accepted: \"%s\"", bad[i]);
		assert_int_equal(endpoint.port, 99);
	}
}

static void test_none(void **state)
{
	const struct base_endpoint none = {0};
	char buf[BASE_ENDPOINT_TEXT_LEN], addr[BASE_ADDR_TEXT_LEN];

	assert_string_equal(base_endpoint_print(buf, &none), "none");
	assert_string_equal(base_addr_print(addr, &none.addr), "none");
	assert_int_equal(base_family_bytes(BASE_FAMILY_NONE), 0);
}

static bool bit_of(const struct base_addr *addr, unsigned bit)
{
	return addr->bytes[bit / 8] >> (7 - bit % 8) & 1;
}

/* For every length, an address that differs in one bit lies in the prefix iff that bit is past it. */
static void test_contains_against_bits(void **state)
{
	static const char *const bases[] = {"172.29.213.90", "2001:db8:5a5a:1234:ff00:ff:a5a5:1"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(bases); i++) {
		struct base_addr base = addr_of(bases[i]);
		unsigned bits = 8 * base_family_bytes(base.family);

		for (unsigned len = 0; len <= bits; len++) {
			struct base_prefix prefix = {.addr = base, .bits = (uint8_t)len};

			clear_host_bits(&prefix);
			for (unsigned bit = 0; bit < bits; bit++) {
				struct base_addr other = base;

				assert_int_equal(
					bit_of(&prefix.addr, bit), bit < len && bit_of(&base, bit));
				other.bytes[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
				assert_int_equal(base_prefix_contains(&prefix, &other), bit >= len);
			}
			assert_true(base_prefix_contains(&prefix, &base));
		}
	}
}

static void test_families_never_mix(void **state)
{
	struct base_prefix all4 = {0}, all6 = {0};
	struct base_addr v4 = addr_of("0.0.0.0"), v6 = addr_of("::");

	assert_int_equal(base_prefix_parse(&all4, "0.0.0.0/0", true), 0);
	assert_int_equal(base_prefix_parse(&all6, "::/0", true), 0);
	assert_false(base_prefix_contains(&all4, &v6));
	assert_false(base_prefix_contains(&all6, &v4));
	assert_false(base_prefix_equal(&all4, &all6));
	assert_false(base_addr_equal(&v4, &v6));
	assert_true(base_addr_hash(&v4, 1) != base_addr_hash(&v6, 1));
}

static void test_equal_and_hash(void **state)
{
	struct base_endpoint a = {0}, b = {0};
	struct base_prefix p = {0}, q = {0};

	assert_int_equal(base_endpoint_parse(&a, "[2001:db8::1]:51820"), 0);
	assert_int_equal(base_endpoint_parse(&b, "[2001:0db8:0::1]:51820"), 0);
	assert_true(base_endpoint_equal(&a, &b));
	assert_true(base_endpoint_hash(&a, 7) == base_endpoint_hash(&b, 7));
	assert_true(base_endpoint_hash(&a, 7) != base_endpoint_hash(&a, 8));
	for (unsigned bit = 0; bit < 128; bit++) {
		b = a;
		b.addr.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(base_endpoint_equal(&a, &b));
		assert_true(base_addr_hash(&a.addr, 7) != base_addr_hash(&b.addr, 7));
		assert_true(base_endpoint_hash(&a, 7) != base_endpoint_hash(&b, 7));
	}
	b = a;
	b.port++;
	assert_false(base_endpoint_equal(&a, &b));
	assert_true(base_endpoint_hash(&a, 7) != base_endpoint_hash(&b, 7));
	assert_int_equal(base_prefix_parse(&p, "10.0.0.0/8", true), 0);
	assert_int_equal(base_prefix_parse(&q, "10.0.0.0/9", true), 0);
	assert_false(base_prefix_equal(&p, &q));
	q.bits = 8;
	assert_true(base_prefix_equal(&p, &q));
}

/* SipHash's own vectors: key 00..0f, message 00, 01, 02...; 15 bytes are the paper's example. */
static void test_siphash_vectors(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} cases[] = {
		{0, UINT64_C(0x726fdb47dd0e0e31)},
		{1, UINT64_C(0x74f839c593dc67fd)},
		{15, UINT64_C(0xa129ca6149be45e5)},
		{63, UINT64_C(0x958a324ceb064572)},
	};
	uint8_t message[64];

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++)
		assert_true(siphash(UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908),
				    message, cases[i].len) == cases[i].hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addr_good),
		cmocka_unit_test(test_addr_bad),
		cmocka_unit_test(test_prefix_good),
		cmocka_unit_test(test_prefix_bad),
		cmocka_unit_test(test_ifaddr_keeps_host_bits),
		cmocka_unit_test(test_endpoint_good),
		cmocka_unit_test(test_endpoint_mapped),
		cmocka_unit_test(test_endpoint_bad),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_contains_against_bits),
		cmocka_unit_test(test_families_never_mix),
		cmocka_unit_test(test_equal_and_hash),
		cmocka_unit_test(test_siphash_vectors),
	};

	return cmocka_run_group_tests_name("base_addr", tests, NULL, NULL);
}
