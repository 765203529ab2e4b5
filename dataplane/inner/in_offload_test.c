/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums against RFC 1071's example and a byte-wise twin; segments against packets that were made one by
 * one; headers that lie. Random input, seed printed.
 */
#include "in_offload.h"

#include "in_offload_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

static uint16_t naive_csum(const uint8_t *data, uint32_t len)
{
	return (uint16_t)~test_sum(0, data, len);
}

static uint16_t host_csum(uint64_t sum)
{
	uint16_t csum = in_csum_finish(sum);

	return base_load_be16(&csum);
}

/* RFC 1071, section 3: the bytes 00 01 f2 03 f4 f5 f6 f7 sum to ddf2. */
static void rfc1071_example(void **state)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	assert_int_equal(host_csum(in_csum_add(0, bytes, sizeof(bytes))), 0xffff & ~0xddf2);
}

static void twin_on_random_input(void **state)
{
	uint8_t data[2048];

	for (unsigned round = 0; round < 20000; round++) {
		uint32_t len = (uint32_t)rand() % sizeof(data), at = (uint32_t)rand() % 8;
		uint32_t split;
		uint64_t sum;

		if (at > len)
			at = len;
		/* Long runs of ones make the most carries. */
		for (uint32_t i = 0; i < len; i++)
			data[i] = round % 4 == 0 ? 0xff : (uint8_t)rand();
		split = at + (len - at) / 4 * 2; /* an even piece, then the rest */
		sum = in_csum_add(0, data + at, split - at);
		sum = in_csum_add(sum, data + split, len - split);
		assert_int_equal(host_csum(sum), naive_csum(data + at, len - at));
	}
}

static void largest_sum_folds(void **state)
{
	static uint8_t data[65536];

	memset(data, 0xff, sizeof(data));
	assert_int_equal(host_csum(in_csum_add(0, data, sizeof(data))), 0);
	assert_int_equal(host_csum(UINT64_MAX), 0);
	assert_int_equal(host_csum(UINT64_C(0xffffffff00000000)), 0);
}

static void complete_verifies(void **state)
{
	uint8_t packet[256];

	for (unsigned round = 0; round < 5000; round++) {
		uint32_t len = 40 + (uint32_t)rand() % 200, start = 20 + (uint32_t)rand() % 2 * 20;

		if (len < start + 8)
			continue;
		for (uint32_t i = 0; i < len; i++)
			packet[i] = (uint8_t)rand();
		/* Whatever the field held is the pseudo-header's part: then all sums to what is left. */
		uint16_t partial = base_load_be16(packet + start + 6);

		assert_true(in_csum_complete(packet, len, start, 6));
		uint32_t sum = (uint16_t)~naive_csum(packet + start, len - start) + partial;

		sum = (sum & 0xffff) + (sum >> 16);
		assert_int_equal(sum, 0xffff);
	}
}

static void zero_is_stored_as_ones(void **state)
{
	uint8_t packet[8] = {0xff, 0xff, 0, 0, 0, 0, 0, 0};

	assert_true(in_csum_complete(packet, sizeof(packet), 0, 6));
	assert_int_equal(base_load_be16(packet + 6), 0xffff);
}

static void offsets_outside_are_refused(void **state)
{
	static const uint32_t bad[][3] = {/* len, start, offset */
		{20, 21, 0}, {20, 20, 0}, {20, 19, 0}, {20, 10, 9}, {20, 10, 10},
		{20, 0, UINT32_MAX}, {20, UINT32_MAX, 4}, {20, UINT32_MAX, UINT32_MAX}, {0, 0, 0}};
	uint8_t packet[20], copy[20];

	memset(packet, 0x5a, sizeof(packet));
	memcpy(copy, packet, sizeof(packet));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(in_csum_complete(packet, bad[i][0], bad[i][1], bad[i][2]));
	assert_memory_equal(packet, copy, sizeof(packet));
	assert_true(in_csum_complete(packet, 20, 10, 8));
	assert_true(in_csum_complete(packet, 20, 18, 0));
}

/* --- segments --------------------------------------------------------------------------------- */

static uint8_t payload[IN_LARGE_BYTES];

static struct test_packet random_large(void)
{
	struct test_packet p = {
		.version = test_random(2) ? 4 : 6,
		.proto = test_random(4) ? IN_PROTO_TCP : IN_PROTO_UDP,
		.tos = (uint8_t)rand(),
		.ttl = (uint8_t)(1 + test_random(255)),
		.flags =
			IN_TCP_ACK | (rand() & (IN_TCP_FIN | IN_TCP_PSH | IN_TCP_ECE | IN_TCP_CWR)),
		.is_df = test_random(2),
		.id = (uint16_t)(0xffe0 + test_random(64)), /* often wraps */
		.src_port = (uint16_t)rand(),
		.window = (uint16_t)rand(),
		.seq = 0xffff0000u + test_random(0x10000),
		.ack = (uint32_t)rand(),
		.tcp_options_len = (uint8_t)(4 * test_random(11)),
		.timestamp = (uint32_t)rand(),
		.payload = payload,
	};

	if (test_random(4) == 0)
		p.ip_options_len = (uint8_t)(p.version == 4 ? 4 * test_random(11) : 8);
	p.payload_len =
		test_random(test_random(2) ? 3000 : IN_LARGE_BYTES - test_headers_len(&p) + 1);
	return p;
}

/* What the kernel would hand over: the pseudo-header's sum in place of the checksum. */
static uint32_t make_large(
	const struct test_packet *p, uint32_t gso_size, struct in_vnet *ret_vnet, uint8_t *out)
{
	uint32_t len = test_make(p, out),
		 l4_off = (p->version == 4 ? 20u : 40u) + p->ip_options_len;
	bool is_tcp = p->proto == IN_PROTO_TCP;

	*ret_vnet = (struct in_vnet){.flags = IN_VNET_NEEDS_CSUM,
		.gso_type = is_tcp ? p->version == 4 ? IN_GSO_TCP4 : IN_GSO_TCP6 : IN_GSO_UDP,
		.hdr_len = (uint16_t)rand(), /* a hint, and not used */
		.gso_size = (uint16_t)gso_size,
		.csum_start = (uint16_t)l4_off,
		.csum_offset = is_tcp ? 16 : 6};
	base_store_be16(
		out + l4_off + ret_vnet->csum_offset, test_pseudo_sum(out, p->proto, len - l4_off));
	if (is_tcp && (p->flags & IN_TCP_CWR))
		ret_vnet->gso_type |= IN_GSO_ECN;
	return len;
}

/* Segment @i as a sender without offloads would have made it. */
static uint32_t make_segment(
	struct test_packet p, uint32_t gso_size, uint32_t i, bool is_last, uint8_t *out)
{
	uint32_t off = i * gso_size, left = p.payload_len - off;

	p.payload += off;
	p.payload_len = left < gso_size ? left : gso_size;
	p.seq += off;
	p.id = (uint16_t)(p.id + i);
	if (!is_last)
		p.flags &= (uint8_t) ~(IN_TCP_FIN | IN_TCP_PSH);
	if (i > 0)
		p.flags &= (uint8_t)~IN_TCP_CWR;
	return test_make(&p, out);
}

static void segments_equal_packets_made_alone(void **state)
{
	static uint8_t large[IN_LARGE_BYTES], expected[IN_LARGE_BYTES], segment[IN_LARGE_BYTES];

	for (unsigned round = 0; round < 2000; round++) {
		struct test_packet p = random_large();
		uint32_t gso_size = 1 + test_random(test_random(3) ? 1460 : IN_LARGE_BYTES - 1);
		uint32_t len, done = 0, i = 0;
		struct in_segments segments;
		struct in_vnet vnet;

		/* Thousands of tiny ones take time and show nothing new. */
		if (p.payload_len / gso_size > 200)
			gso_size = p.payload_len / 200;
		len = make_large(&p, gso_size, &vnet, large);
		assert_true(in_segments_plan(&segments, &vnet, large, len));
		do {
			uint32_t n = make_segment(
				p, gso_size, i, p.payload_len - done <= gso_size, expected);

			assert_true(i < segments.n);
			assert_true(n <= in_segments_max_len(&segments));
			assert_int_equal(in_segments_write(&segments, i, segment), n);
			assert_memory_equal(segment, expected, n);
			done += n - test_headers_len(&p);
			i++;
		} while (done < p.payload_len);
		assert_int_equal(segments.n, i);
	}
}

/* A plan for @len bytes in a buffer of exactly that size: sanitizers see what is read behind it. */
static bool plan_exactly(const struct in_vnet *vnet, const uint8_t *packet, uint32_t len)
{
	struct in_segments segments;
	uint8_t *copy = malloc(len ? len : 1), *out;
	bool is_good;

	assert_non_null(copy);
	memcpy(copy, packet, len);
	is_good = in_segments_plan(&segments, vnet, copy, len);
	if (is_good) {
		out = malloc(in_segments_max_len(&segments));
		assert_non_null(out);
		for (uint32_t i = 0; i < segments.n; i++)
			in_segments_write(&segments, i, out);
		free(out);
	}
	free(copy);
	return is_good;
}

static void every_truncated_length_is_refused(void **state)
{
	static uint8_t large[IN_LARGE_BYTES];

	for (unsigned round = 0; round < 200; round++) {
		struct test_packet p = random_large();
		struct in_vnet vnet;
		uint32_t len;

		p.payload_len %= 300;
		len = make_large(&p, 100, &vnet, large);
		for (uint32_t cut = 0; cut < len; cut++)
			assert_false(plan_exactly(&vnet, large, cut));
		assert_true(plan_exactly(&vnet, large, len));
		assert_false(plan_exactly(&vnet, large, len + 1)); /* more than it claims */
	}
}

static void headers_that_lie_are_refused(void **state)
{
	static uint8_t large[IN_LARGE_BYTES];
	struct test_packet p = {.version = 4,
		.proto = IN_PROTO_TCP,
		.flags = IN_TCP_ACK,
		.payload = payload,
		.payload_len = 1000};
	struct in_vnet good, bad;
	uint32_t len = make_large(&p, 100, &good, large);

	assert_true(plan_exactly(&good, large, len));
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		assert_false(plan_exactly(&bad, large, len));                                      \
	} while (0)
	REFUSED(bad.flags = 0);
	REFUSED(bad.gso_size = 0);
	REFUSED(bad.csum_start = 0);
	REFUSED(bad.csum_start--);
	REFUSED(bad.csum_start++);
	REFUSED(bad.csum_start = (uint16_t)len);
	REFUSED(bad.csum_start = UINT16_MAX);
	REFUSED(bad.csum_offset = 6);
	REFUSED(bad.csum_offset = UINT16_MAX);
	REFUSED(bad.gso_type = IN_GSO_NONE);
	REFUSED(bad.gso_type = IN_GSO_TCP6);
	REFUSED(bad.gso_type = IN_GSO_UDP);
	REFUSED(bad.gso_type = 3); /* UFO, never asked for */
	REFUSED(bad.gso_type = IN_GSO_UDP | IN_GSO_ECN);
	for (unsigned type = 0; type < 256; type++)
		if (type != IN_GSO_TCP4 && type != (IN_GSO_TCP4 | IN_GSO_ECN))
			REFUSED(bad.gso_type = (uint8_t)type);
	/* The packet lies instead. */
	REFUSED(large[20 + 12] = 0x40); /* shorter than a TCP header */
	large[20 + 12] = 0x50;
	REFUSED(large[20 + 13] |= IN_TCP_SYN);
	REFUSED(large[20 + 13] = IN_TCP_ACK | IN_TCP_RST);
	large[20 + 13] = IN_TCP_ACK;
	REFUSED(large[6] = 0x20); /* more fragments */
	REFUSED(large[6] = 0x00; large[7] = 1);
	large[7] = 0;
	REFUSED(large[9] = IN_PROTO_UDP);
	large[9] = IN_PROTO_TCP;
	assert_true(plan_exactly(&good, large, len));
#undef REFUSED
	p.payload_len = 5; /* options to the end of the packet and past it */
	len = make_large(&p, 100, &good, large);
	large[20 + 12] = 0x60;
	assert_true(plan_exactly(&good, large, len));
	large[20 + 12] = 0x70;
	assert_false(plan_exactly(&good, large, len));
	p.proto = IN_PROTO_UDP;
	len = make_large(&p, 100, &good, large);
	large[20 + 5]++;
	assert_false(plan_exactly(&good, large, len));
}

/* Anything at all: no crash, no byte outside. */
static void random_bytes_do_no_harm(void **state)
{
	static uint8_t large[IN_LARGE_BYTES];

	for (unsigned round = 0; round < 100000; round++) {
		struct test_packet p = random_large();
		struct in_vnet vnet;
		uint32_t len;

		p.payload_len %= 64;
		len = make_large(&p, 1 + test_random(40), &vnet, large);
		for (unsigned i = test_random(4); i > 0; i--)
			large[test_random(test_random(2) ? len : 48)] = (uint8_t)rand();
		if (test_random(2))
			((uint8_t *)&vnet)[test_random(sizeof(vnet))] = (uint8_t)rand();
		plan_exactly(&vnet, large, len - test_random(2) * test_random(len));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc1071_example),
		cmocka_unit_test(twin_on_random_input),
		cmocka_unit_test(largest_sum_folds),
		cmocka_unit_test(complete_verifies),
		cmocka_unit_test(zero_is_stored_as_ones),
		cmocka_unit_test(offsets_outside_are_refused),
		cmocka_unit_test(segments_equal_packets_made_alone),
		cmocka_unit_test(every_truncated_length_is_refused),
		cmocka_unit_test(headers_that_lie_are_refused),
		cmocka_unit_test(random_bytes_do_no_harm),
	};

	test_seed(payload, sizeof(payload));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
