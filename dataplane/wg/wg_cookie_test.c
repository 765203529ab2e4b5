/* SPDX-License-Identifier: BSD-3-Clause */
/* MACs, cookies, and the rate limit of sources; all on a clock of the test. */
#include "wg_cookie.h"
#include "wg_ratelimit.h"
#include "wg_test.h"

#include "cr_noise.h"

#define T0 (1000 * BASE_NS_PER_S)

struct fixture {
	struct wg_cookie_checker checker;
	struct wg_cookie_sender sender;
	struct cr_key to;
	struct base_endpoint from;
	struct wg_initiation message;
};

static struct base_endpoint endpoint_of(const char *text)
{
	struct base_endpoint endpoint;

	assert_int_equal(base_endpoint_parse(&endpoint, text), 0);
	return endpoint;
}

static void init(struct fixture *f)
{
	struct cr_key private_key;

	cr_x25519_generate(&private_key);
	cr_x25519_public(&f->to, &private_key);
	wg_cookie_checker_init(&f->checker, &f->to);
	f->sender = (struct wg_cookie_sender){0};
	f->from = endpoint_of("192.0.2.1:51820");
	cr_random(&f->message, sizeof(f->message));
	wg_cookie_macs_add(&f->sender, &f->to, &f->message, sizeof(f->message), T0);
}

static bool mac2_passes(struct fixture *f, const char *from, uint64_t now_ns)
{
	struct base_endpoint endpoint = endpoint_of(from);

	return wg_cookie_mac2_is_valid(
		&f->checker, &f->message, sizeof(f->message), &endpoint, now_ns);
}

/* One round: the message is answered with a cookie, the sender takes it. */
static void give_cookie(struct fixture *f, const struct base_endpoint *from, uint64_t now_ns)
{
	struct wg_cookie_reply reply;

	wg_cookie_reply_create(&f->checker, &f->message, sizeof(f->message), from, now_ns, &reply);
	assert_true(wg_cookie_reply_consume(&f->sender, &f->to, &reply, now_ns));
	wg_cookie_macs_add(&f->sender, &f->to, &f->message, sizeof(f->message), now_ns);
}

static void test_mac1(void **state)
{
	static const uint8_t zero[CR_MAC_BYTES];
	struct fixture f;
	struct cr_key other = {{9}};

	init(&f);
	assert_true(wg_cookie_mac1_is_valid(&f.checker, &f.message, sizeof(f.message)));
	assert_memory_equal(f.message.mac2, zero, sizeof(zero)); /* no cookie yet */
	f.message.mac2[0] ^= 1;                                  /* not covered */
	assert_true(wg_cookie_mac1_is_valid(&f.checker, &f.message, sizeof(f.message)));
	for (size_t i = 0; i < offsetof(struct wg_initiation, mac2); i++) {
		((uint8_t *)&f.message)[i] ^= 1;
		assert_false(wg_cookie_mac1_is_valid(&f.checker, &f.message, sizeof(f.message)));
		((uint8_t *)&f.message)[i] ^= 1;
	}
	wg_cookie_checker_init(&f.checker, &other);
	assert_false(wg_cookie_mac1_is_valid(&f.checker, &f.message, sizeof(f.message)));
}

/* A cookie holds for one address and one port, of either family, and for 120 s. */
static void test_mac2_is_bound(void **state)
{
	struct fixture f;

	init(&f);
	assert_false(mac2_passes(&f, "192.0.2.1:51820", T0));
	give_cookie(&f, &f.from, T0);
	assert_true(f.sender.carried_mac2);
	assert_true(wg_cookie_mac1_is_valid(&f.checker, &f.message, sizeof(f.message)));
	assert_true(mac2_passes(&f, "192.0.2.1:51820", T0));
	assert_false(mac2_passes(&f, "192.0.2.1:51821", T0));
	assert_false(mac2_passes(&f, "192.0.2.2:51820", T0));
	assert_false(mac2_passes(&f, "[c000:201::]:51820", T0));
	assert_true(mac2_passes(&f, "192.0.2.1:51820", T0 + WG_COOKIE_LIFE_NS - 1));
	assert_false(mac2_passes(&f, "192.0.2.1:51820", T0 + WG_COOKIE_LIFE_NS));
	f.from = endpoint_of("[2001:db8::1]:7");
	wg_cookie_macs_add(&f.sender, &f.to, &f.message, sizeof(f.message), T0);
	give_cookie(&f, &f.from, T0 + WG_COOKIE_LIFE_NS);
	assert_true(mac2_passes(&f, "[2001:db8::1]:7", T0 + WG_COOKIE_LIFE_NS + 1));
	assert_false(mac2_passes(&f, "[2001:db8::2]:7", T0 + WG_COOKIE_LIFE_NS + 1));
}

static void test_sender_drops_old_cookies(void **state)
{
	struct fixture f;

	init(&f);
	give_cookie(&f, &f.from, T0);
	wg_cookie_macs_add(
		&f.sender, &f.to, &f.message, sizeof(f.message), T0 + WG_COOKIE_LIFE_NS - 1);
	assert_true(f.sender.carried_mac2);
	wg_cookie_macs_add(&f.sender, &f.to, &f.message, sizeof(f.message), T0 + WG_COOKIE_LIFE_NS);
	assert_false(f.sender.carried_mac2);
}

/* A reply counts for the message that it answers, once, and every bit of it counts. */
static void test_reply_is_bound(void **state)
{
	struct wg_cookie_reply reply, forged;
	struct fixture f;

	init(&f);
	wg_cookie_reply_create(&f.checker, &f.message, sizeof(f.message), &f.from, T0, &reply);
	assert_int_equal(reply.receiver_index_le32, f.message.sender_index_le32);
	for (size_t i = offsetof(struct wg_cookie_reply, nonce); i < sizeof(reply); i++) {
		forged = reply;
		((uint8_t *)&forged)[i] ^= 0x40;
		assert_false(wg_cookie_reply_consume(&f.sender, &f.to, &forged, T0));
	}
	assert_int_equal(f.sender.cookie_ns, 0);
	assert_true(wg_cookie_reply_consume(&f.sender, &f.to, &reply, T0));
	assert_false(wg_cookie_reply_consume(&f.sender, &f.to, &reply, T0)); /* a repeat */
	f.message.sender_index_le32++;
	wg_cookie_macs_add(&f.sender, &f.to, &f.message, sizeof(f.message), T0);
	assert_false(
		wg_cookie_reply_consume(&f.sender, &f.to, &reply, T0)); /* answers the one before */
}

/* --- the rate limit -------------------------------------------------------------------------- */

static struct base_addr addr_of(const char *text)
{
	struct base_addr addr;

	assert_int_equal(base_addr_parse(&addr, text), 0);
	return addr;
}

static unsigned allowed(
	struct wg_ratelimit *limit, const struct base_addr *source, uint64_t now_ns, unsigned n)
{
	unsigned n_allowed = 0;

	while (n-- > 0)
		n_allowed += wg_ratelimit_allow(limit, source, now_ns);
	return n_allowed;
}

static void test_rate(void **state)
{
	static struct wg_ratelimit limit;
	struct base_addr a = addr_of("192.0.2.1"), b = addr_of("192.0.2.2");
	unsigned n = 0;

	wg_ratelimit_init(&limit);
	assert_int_equal(allowed(&limit, &a, T0, 100), WG_SOURCE_BURST_MSGS);
	assert_int_equal(allowed(&limit, &b, T0, 3), 3); /* each source has its own */
	for (unsigned ms = 1; ms <= 10000; ms++)
		n += allowed(&limit, &a, T0 + ms * BASE_NS_PER_MS, 2);
	assert_int_equal(n, 10 * WG_SOURCE_RATE_PER_S);
	assert_int_equal(allowed(&limit, &a, T0 + 60 * BASE_NS_PER_S, 100), WG_SOURCE_BURST_MSGS);
}

static void test_one_v6_network_is_one_source(void **state)
{
	static struct wg_ratelimit limit;
	struct base_addr source = addr_of("2001:db8:1:2::"), other = addr_of("2001:db8:1:3::1");
	unsigned n = 0;

	wg_ratelimit_init(&limit);
	for (unsigned i = 0; i < 256; i++) {
		source.bytes[15] = (uint8_t)i;
		source.bytes[8] = (uint8_t)(i * 7);
		n += wg_ratelimit_allow(&limit, &source, T0);
	}
	assert_int_equal(n, WG_SOURCE_BURST_MSGS);
	assert_int_equal(allowed(&limit, &other, T0, 1), 1);
}

/* A hundred thousand sources: the table stays as it is, and each newcomer still gets its turn. */
static void test_many_sources(void **state)
{
	static struct wg_ratelimit limit;
	struct base_addr source = addr_of("10.0.0.0");
	unsigned n = 0;

	wg_ratelimit_init(&limit);
	for (uint32_t i = 0; i < 100000; i++) {
		base_store_be32(source.bytes, 0x0a000000 + i);
		n += allowed(&limit, &source, T0 + i * BASE_NS_PER_US, 2);
	}
	assert_int_equal(n, 200000);
	/* As many as there are places keep their buckets, nearly all. */
	n = 0;
	for (unsigned round = 0; round < 20; round++) {
		for (uint32_t i = 0; i < 500; i++) {
			base_store_be32(source.bytes, 0x0b000000 + i);
			n += wg_ratelimit_allow(&limit, &source, T0 + BASE_NS_PER_S);
		}
	}
	assert_in_range(n, 500 * WG_SOURCE_BURST_MSGS, 500 * WG_SOURCE_BURST_MSGS * 11 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mac1),
		cmocka_unit_test(test_mac2_is_bound),
		cmocka_unit_test(test_sender_drops_old_cookies),
		cmocka_unit_test(test_reply_is_bound),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_one_v6_network_is_one_source),
		cmocka_unit_test(test_many_sources),
	};

	test_seed();
	if (cr_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("wg_cookie", tests, NULL, NULL);
}
