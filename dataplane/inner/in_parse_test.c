/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inner headers: the traps by name, then a naive reader on random and mutated packets (seed
 * printed). Every packet lies at the end of its own allocation, so that a sanitizer build sees a
 * byte read too many.
 */
#include "in_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint8_t *exact_copy(const uint8_t *data, uint32_t len)
{
	uint8_t *copy = malloc(len + !len);

	memcpy(copy, data, len);
	return copy;
}

static enum in_error parse(struct in_packet *packet, const uint8_t *data, uint32_t len)
{
	uint8_t *copy = exact_copy(data, len);
	enum in_error error = in_parse(packet, copy, len);

	/* Borrowed pointers as offsets, since the copy goes. */
	if (error == IN_ERROR_OK) {
		packet->src = data + (packet->src - copy);
		packet->dst = data + (packet->dst - copy);
	}
	free(copy);
	return error;
}

static uint32_t make4(uint8_t *data, uint8_t proto, uint32_t l4_len)
{
	memset(data, 0, 20 + l4_len);
	data[0] = 0x45;
	base_store_be16(data + 2, (uint16_t)(20 + l4_len));
	data[8] = 64;
	data[9] = proto;
	memcpy(data + 12, "\x0a\x09\x00\x02\x0a\x09\x00\x01", 8);
	return 20 + l4_len;
}

static uint32_t make6(uint8_t *data, uint8_t next, uint32_t payload_len)
{
	memset(data, 0, 40 + payload_len);
	data[0] = 0x60;
	base_store_be16(data + 4, (uint16_t)payload_len);
	data[6] = next;
	data[7] = 64;
	data[8] = data[24] = 0xfd;
	data[23] = 2;
	data[39] = 1;
	return 40 + payload_len;
}

static void plain_packets(void **state)
{
	uint8_t data[128];
	struct in_packet packet;
	uint32_t len = make4(data, IN_PROTO_TCP, 24);

	base_store_be16(data + 20, 40000);
	base_store_be16(data + 22, 8765);
	data[33] = IN_TCP_SYN;
	assert_int_equal(parse(&packet, data, len + 12), IN_ERROR_OK); /* padding behind */
	assert_int_equal(packet.total_len, len);
	assert_int_equal(packet.version, BASE_FAMILY_V4);
	assert_int_equal(packet.proto, IN_PROTO_TCP);
	assert_int_equal(packet.src_port, 40000);
	assert_int_equal(packet.dst_port, 8765);
	assert_int_equal(packet.tcp_flags, IN_TCP_SYN);
	assert_ptr_equal(packet.src, data + 12);
	assert_ptr_equal(packet.dst, data + 16);
	assert_true(packet.has_l4);

	len = make6(data, IN_PROTO_ICMP6, 8);
	data[40] = 128;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_int_equal(packet.icmp_type, 128);
	assert_int_equal(packet.l4_off, 40);
	assert_ptr_equal(packet.src, data + 8);
	assert_ptr_equal(packet.dst, data + 24);
	assert_true(packet.has_l4);
}

static void lengths_that_lie(void **state)
{
	uint8_t data[128];
	struct in_packet packet;
	uint32_t len = make4(data, IN_PROTO_UDP, 8);

	for (uint32_t n = 0; n < 20; n++)
		assert_int_equal(parse(&packet, data, n), IN_ERROR_SHORT);
	assert_int_equal(parse(&packet, data, len - 1), IN_ERROR_LENGTH);
	base_store_be16(data + 2, 19);
	assert_int_equal(parse(&packet, data, len), IN_ERROR_LENGTH);
	base_store_be16(data + 2, 0);
	assert_int_equal(parse(&packet, data, len), IN_ERROR_LENGTH);
	len = make4(data, IN_PROTO_UDP, 8);
	data[0] = 0x44;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_HEADER);
	data[0] = 0x4f; /* 60 bytes of header in a packet of 28 */
	assert_int_equal(parse(&packet, data, len), IN_ERROR_LENGTH);

	/* 40 + 65,496 is 0 in sixteen bits, 65,535 is 39. */
	len = make6(data, IN_PROTO_UDP, 8);
	for (uint32_t payload = 65496; payload <= 65535; payload++) {
		base_store_be16(data + 4, (uint16_t)payload);
		assert_int_equal(parse(&packet, data, len), IN_ERROR_LENGTH);
	}
	for (uint32_t n = 20; n < 40; n++)
		assert_int_equal(parse(&packet, data, n), IN_ERROR_SHORT);
}

static void largest_ipv6_packet(void **state)
{
	uint32_t len = 40 + 65535;
	uint8_t *data = calloc(1, len);
	struct in_packet packet;

	make6(data, IN_PROTO_UDP, 65535);
	assert_int_equal(in_parse(&packet, data, len), IN_ERROR_OK);
	assert_int_equal(packet.total_len, len);
	assert_int_equal(in_parse(&packet, data, len - 1), IN_ERROR_LENGTH);
	free(data);
}

static void only_versions_4_and_6(void **state)
{
	uint8_t data[60] = {0};
	struct in_packet packet;

	for (unsigned version = 0; version < 16; version++) {
		data[0] = (uint8_t)(version << 4 | 5);
		base_store_be16(data + 2, 60);
		base_store_be16(data + 4, 20);
		data[6] = 59; /* IPv6: nothing follows */
		assert_int_equal(parse(&packet, data, 60),
			version == 4 || version == 6 ? IN_ERROR_OK : IN_ERROR_VERSION);
	}
}

static void half_a_transport_header(void **state)
{
	static const struct {
		uint8_t proto;
		uint32_t whole;
	} cases[] = {{IN_PROTO_TCP, 20}, {IN_PROTO_UDP, 8}, {IN_PROTO_SCTP, 12},
		{IN_PROTO_ICMP4, 4}, {IN_PROTO_ICMP6, 4}};
	uint8_t data[128];
	struct in_packet packet;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		for (uint32_t n = 0; n <= cases[i].whole; n++) {
			uint32_t len = make4(data, cases[i].proto, n);

			assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
			assert_int_equal(packet.has_l4, n == cases[i].whole);
			/* Bytes of padding are not a header. */
			assert_int_equal(parse(&packet, data, len + 20), IN_ERROR_OK);
			assert_int_equal(packet.has_l4, n == cases[i].whole);
		}
	}
}

static void fragments(void **state)
{
	uint8_t data[128];
	struct in_packet packet;
	uint32_t len = make4(data, IN_PROTO_UDP, 24);

	base_store_be16(data + 6, 0x2000);
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_true(packet.is_first_fragment && !packet.is_later_fragment && packet.has_l4);
	base_store_be16(data + 6, 0x2000 | 185);
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_true(packet.is_later_fragment && !packet.is_first_fragment && !packet.has_l4);
	assert_int_equal(packet.fragment_off, 1480);
	base_store_be16(data + 6, 0x4000); /* don't fragment is none */
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_true(!packet.is_later_fragment && !packet.is_first_fragment && packet.has_l4);

	len = make6(data, 44, 32);
	data[40] = IN_PROTO_UDP;
	base_store_be16(data + 42, 1);
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_true(packet.is_first_fragment && packet.has_l4);
	assert_int_equal(packet.l4_off, 48);
	base_store_be16(data + 42, 80 | 1);
	data[40] = 60; /* the type of what was cut apart: payload here, not a header */
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_true(packet.is_later_fragment && !packet.has_l4);
	assert_int_equal(packet.fragment_off, 80);
}

static void extension_chains(void **state)
{
	uint8_t data[256];
	struct in_packet packet;
	uint32_t len = make6(data, 0, 8 + 8 * 8 + 8);

	/* Hop-by-hop, seven destination options, UDP: eight are followed. */
	for (unsigned i = 0; i < 8; i++)
		data[40 + 8 * i] = i == 7 ? IN_PROTO_UDP : 60;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_int_equal(packet.proto, IN_PROTO_UDP);
	assert_int_equal(packet.l4_off, 40 + 64);
	/* Nine are not. */
	data[40 + 8 * 7] = 60;
	data[40 + 8 * 8] = IN_PROTO_UDP;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_HEADER);
	/* A header longer than the packet. */
	len = make6(data, 60, 16);
	data[41] = 2;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_HEADER);
	/* Hop-by-hop in second place. */
	data[41] = 0;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_HEADER);
	/* A routing header with a stop left; one without. */
	len = make6(data, 43, 24);
	data[40] = IN_PROTO_UDP;
	data[43] = 1;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_HEADER);
	data[43] = 0;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_true(packet.has_l4);
	/* The chain fills the packet: no transport header, no read behind the end. */
	len = make6(data, 60, 8);
	data[40] = IN_PROTO_TCP;
	assert_int_equal(parse(&packet, data, len), IN_ERROR_OK);
	assert_false(packet.has_l4);
	len = make6(data, 60, 7);
	assert_int_equal(parse(&packet, data, len), IN_ERROR_HEADER);
}

/* The twin: reads through a function that refuses, follows the RFCs with no thought of speed. */
struct naive {
	const uint8_t *data;
	unsigned long long len;
	bool ran_out;
};

static unsigned naive_byte(struct naive *in, unsigned long long at)
{
	if (at < in->len)
		return in->data[at];
	in->ran_out = true;
	return 0;
}

static unsigned naive_word(struct naive *in, unsigned long long at)
{
	return naive_byte(in, at) * 256 + naive_byte(in, at + 1);
}

struct naive_result {
	enum in_error error;
	unsigned proto, l4_off, total, off_bytes, src_port, dst_port, has_l4, more;
};

static void naive_transport(struct naive *in, struct naive_result *r)
{
	static const unsigned char needs[256] = {[6] = 20, [17] = 8, [132] = 12, [1] = 4, [58] = 4};

	if (r->off_bytes != 0 || needs[r->proto] == 0 || r->l4_off + needs[r->proto] > r->total)
		return;
	r->has_l4 = 1;
	if (r->proto == 1 || r->proto == 58)
		return;
	r->src_port = naive_word(in, r->l4_off);
	r->dst_port = naive_word(in, r->l4_off + 2);
}

static enum in_error naive_chain(struct naive *in, struct naive_result *r)
{
	for (unsigned n = 0;; n++) {
		unsigned t = r->proto, at = r->l4_off, size;

		if ((t != 0 && t != 43 && t != 44 && t != 51 && t != 60) || r->off_bytes != 0)
			return IN_ERROR_OK;
		if (n == 8 || r->total - at < 8 || (t == 0 && n != 0))
			return IN_ERROR_HEADER;
		size = t == 44    ? 8
			: t == 51 ? 4 * naive_byte(in, at + 1) + 8
				  : 8 * naive_byte(in, at + 1) + 8;
		if (size > r->total - at || (t == 43 && naive_byte(in, at + 3) != 0))
			return IN_ERROR_HEADER;
		if (t == 44) {
			r->off_bytes = naive_word(in, at + 2) / 8 * 8;
			r->more = naive_word(in, at + 2) % 2;
		}
		r->proto = naive_byte(in, at);
		r->l4_off += size;
	}
}

static struct naive_result naive_parse(const uint8_t *data, uint32_t len)
{
	struct naive in = {.data = data, .len = len};
	struct naive_result r = {0};
	unsigned version;

	if (len < 20)
		return (struct naive_result){.error = IN_ERROR_SHORT};
	version = naive_byte(&in, 0) / 16;
	if (version == 4) {
		r.l4_off = naive_byte(&in, 0) % 16 * 4;
		r.total = naive_word(&in, 2);
		r.proto = naive_byte(&in, 9);
		r.off_bytes = naive_word(&in, 6) % 8192 * 8;
		r.more = naive_word(&in, 6) / 8192 % 2;
		if (r.l4_off < 20)
			return (struct naive_result){.error = IN_ERROR_HEADER};
		if (r.total < r.l4_off || r.total > len)
			return (struct naive_result){.error = IN_ERROR_LENGTH};
	} else if (version == 6) {
		if (len < 40)
			return (struct naive_result){.error = IN_ERROR_SHORT};
		r.l4_off = 40;
		r.total = 40 + naive_word(&in, 4);
		r.proto = naive_byte(&in, 6);
		if (r.total > len)
			return (struct naive_result){.error = IN_ERROR_LENGTH};
		r.error = naive_chain(&in, &r);
		if (r.error)
			return (struct naive_result){.error = r.error};
	} else {
		return (struct naive_result){.error = IN_ERROR_VERSION};
	}
	naive_transport(&in, &r);
	assert_false(in.ran_out);
	return r;
}

static uint32_t random_packet(uint8_t *data, uint32_t size)
{
	static const uint8_t types[] = {0, 1, 6, 17, 43, 44, 51, 58, 59, 60, 60, 60, 99, 132, 255};
	uint32_t len = (uint32_t)rand() % size;
	bool is_v6 = rand() % 2;

	for (uint32_t i = 0; i < size; i++)
		data[i] = rand() % 3 ? (uint8_t)(rand() % 3) : (uint8_t)rand();
	data[0] = is_v6 ? 0x60 : (uint8_t)(0x45 + rand() % 3);
	base_store_be16(data + (is_v6 ? 4 : 2),
		(uint16_t)((int)len - (is_v6 ? 40 : 0) - rand() % 4 + rand() % 2));
	/* Likely types where the next one may stand. */
	for (uint32_t at = 40; is_v6 && at < size; at += 8)
		data[at] = types[(size_t)rand() % sizeof(types)];
	data[is_v6 ? 6 : 9] = types[(size_t)rand() % sizeof(types)];
	if (!is_v6 && rand() % 4)
		base_store_be16(data + 6, 0);
	for (int n = rand() % 3; n > 0; n--)
		data[rand() % (int)size] = (uint8_t)rand();
	return len;
}

static void twin_on_random_input(void **state)
{
	unsigned seen[IN_ERROR_COUNT] = {0}, with_l4 = 0;
	uint8_t data[160];

	for (unsigned round = 0; round < 300000; round++) {
		uint32_t len = random_packet(data, sizeof(data));
		struct naive_result r = naive_parse(data, len);
		struct in_packet p = {0};

		assert_int_equal(parse(&p, data, len), r.error);
		seen[r.error]++;
		if (r.error != IN_ERROR_OK)
			continue;
		assert_int_equal(p.total_len, r.total);
		assert_int_equal(p.proto, r.proto);
		assert_int_equal(p.l4_off, r.l4_off);
		assert_int_equal(p.has_l4, r.has_l4);
		assert_int_equal(p.src_port, r.src_port);
		assert_int_equal(p.dst_port, r.dst_port);
		assert_int_equal(p.fragment_off, r.off_bytes);
		assert_int_equal(p.is_later_fragment, r.off_bytes != 0);
		assert_int_equal(p.is_first_fragment, r.off_bytes == 0 && r.more);
		with_l4 += p.has_l4;
	}
	/* The input reaches every outcome, or it proves nothing. */
	for (unsigned i = 0; i < IN_ERROR_COUNT; i++)
		assert_true(seen[i] > 100);
	assert_true(with_l4 > 1000);
}

/* What is read at a glance says the same as what is read step by step. */
static void plain_twin(void **state)
{
	unsigned n_plain = 0, n_odd = 0;
	uint8_t data[160];

	for (unsigned round = 0; round < 300000; round++) {
		uint32_t len = random_packet(data, sizeof(data));
		struct in_packet plain, any;

		if (rand() % 2)
			data[data[0] == 0x60 ? 6 : 9] = rand() % 2 ? IN_PROTO_TCP : IN_PROTO_UDP;
		if (len < 28 || !in_parse_plain(&plain, data, len)) {
			assert_int_equal(in_plain4_len(data, len), 0);
			n_odd++;
			continue;
		}
		n_plain++;
		assert_int_equal(in_plain4_len(data, len),
			plain.version == BASE_FAMILY_V4 ? plain.total_len : 0);
		assert_int_equal(in_parse_any(&any, data, len), IN_ERROR_OK);
		assert_ptr_equal(plain.src, any.src);
		assert_ptr_equal(plain.dst, any.dst);
		assert_int_equal(plain.total_len, any.total_len);
		assert_int_equal(plain.l4_off, any.l4_off);
		assert_int_equal(plain.src_port, any.src_port);
		assert_int_equal(plain.dst_port, any.dst_port);
		assert_int_equal(plain.version, any.version);
		assert_int_equal(plain.proto, any.proto);
		assert_int_equal(plain.tcp_flags, any.tcp_flags);
		assert_int_equal(plain.icmp_type, any.icmp_type);
		assert_int_equal(plain.fragment_off, any.fragment_off);
		assert_int_equal(plain.is_later_fragment, any.is_later_fragment);
		assert_int_equal(plain.is_first_fragment, any.is_first_fragment);
		assert_int_equal(plain.has_l4, any.has_l4);
	}
	assert_true(n_plain > 10000 && n_odd > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_packets),
		cmocka_unit_test(lengths_that_lie),
		cmocka_unit_test(largest_ipv6_packet),
		cmocka_unit_test(only_versions_4_and_6),
		cmocka_unit_test(half_a_transport_header),
		cmocka_unit_test(fragments),
		cmocka_unit_test(extension_chains),
		cmocka_unit_test(twin_on_random_input),
		cmocka_unit_test(plain_twin),
	};
	const char *seed = getenv("SANDD_TEST_SEED");
	unsigned value = seed ? (unsigned)strtoul(seed, NULL, 0) : 1;

	printf("seed %u (SANDD_TEST_SEED)\n", value);
	srand(value);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
