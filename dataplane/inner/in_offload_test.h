/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For the tests of in_offload.c and in_coalesce.c: packets made from a description, and checksums
 * the slow way, so that nothing under test judges itself.
 */
#ifndef IN_OFFLOAD_TEST_H
#define IN_OFFLOAD_TEST_H

#include "base_bytes.h"
#include "in_parse.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_packet {
	uint8_t version, proto, tos, ttl, flags;
	bool is_df;
	uint16_t id, src_port, window;
	uint32_t seq, ack;
	uint8_t ip_options_len; /* IPv4: bytes of no-operation; IPv6: of a destination option */
	uint8_t tcp_options_len;
	uint32_t timestamp; /* fills the TCP options */
	const uint8_t *payload;
	uint32_t payload_len;
};

/* One 16-bit word after another, carries folded at once. Continues from @sum. */
static inline uint16_t test_sum(uint32_t sum, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i += 2) {
		sum += (uint32_t)data[i] << 8 | (i + 1 < len ? data[i + 1] : 0);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* Of the pseudo-header, host order. */
static inline uint16_t test_pseudo_sum(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	bool is_ip4 = ip[0] >> 4 == 4;
	uint32_t start = l4_len + proto;

	start = (start & 0xffff) + (start >> 16);
	return test_sum(start, ip + (is_ip4 ? 12 : 8), is_ip4 ? 8 : 32);
}

static inline uint32_t test_headers_len(const struct test_packet *p)
{
	return (p->version == 4 ? 20u : 40u) + p->ip_options_len +
		(p->proto == IN_PROTO_UDP ? 8u : 20u + p->tcp_options_len);
}

static inline void test_set_csums(uint8_t *out, uint32_t len, uint32_t l4_off, uint8_t proto)
{
	uint8_t *field = out + l4_off + (proto == IN_PROTO_UDP ? 6 : 16);
	uint16_t sum;

	if (out[0] >> 4 == 4) {
		base_store_be16(out + 10, 0);
		base_store_be16(out + 10, (uint16_t)~test_sum(0, out, (out[0] & 15u) * 4u));
	}
	base_store_be16(field, 0);
	sum = (uint16_t)~test_sum(
		test_pseudo_sum(out, proto, len - l4_off), out + l4_off, len - l4_off);
	base_store_be16(field, sum == 0 ? 0xffff : sum);
}

static inline void test_ip(const struct test_packet *p, uint8_t *out, uint32_t len)
{
	if (p->version == 4) {
		out[0] = (uint8_t)(0x45 + p->ip_options_len / 4);
		out[1] = p->tos;
		base_store_be16(out + 2, (uint16_t)len);
		base_store_be16(out + 4, p->id);
		out[6] = p->is_df ? 0x40 : 0;
		out[8] = p->ttl;
		out[9] = p->proto;
		memcpy(out + 12, "\x0a\x01\x02\x03\x0a\x01\x02\x04", 8);
		memset(out + 20, 1, p->ip_options_len);
		return;
	}
	base_store_be32(out, 0x60000000u | (uint32_t)p->tos << 20 | 0xabcde);
	base_store_be16(out + 4, (uint16_t)(len - 40));
	out[6] = p->ip_options_len ? 60 : p->proto;
	out[7] = p->ttl;
	for (unsigned i = 0; i < 32; i++)
		out[8 + i] = (uint8_t)(0xfd + 3 * i);
	if (p->ip_options_len) { /* padding options (RFC 8200, 4.2) */
		out[40] = p->proto;
		out[41] = (uint8_t)(p->ip_options_len / 8 - 1);
		out[42] = 1;
		out[43] = (uint8_t)(p->ip_options_len - 4);
	}
}

/* Write the packet, right in everything, and return its length. */
static inline uint32_t test_make(const struct test_packet *p, uint8_t *out)
{
	uint32_t headers_len = test_headers_len(p), len = headers_len + p->payload_len;
	uint32_t l4_off = (p->version == 4 ? 20u : 40u) + p->ip_options_len;
	uint8_t *l4 = out + l4_off;

	memset(out, 0, headers_len);
	test_ip(p, out, len);
	base_store_be16(l4, p->src_port);
	base_store_be16(l4 + 2, 5201);
	if (p->proto == IN_PROTO_UDP) {
		base_store_be16(l4 + 4, (uint16_t)(len - l4_off));
	} else {
		base_store_be32(l4 + 4, p->seq);
		base_store_be32(l4 + 8, p->ack);
		l4[12] = (uint8_t)((5 + p->tcp_options_len / 4) << 4);
		l4[13] = p->flags;
		base_store_be16(l4 + 14, p->window);
		for (unsigned i = 0; i < p->tcp_options_len; i += 4)
			base_store_be32(l4 + 20 + i, p->timestamp + i);
	}
	memcpy(out + headers_len, p->payload, p->payload_len);
	test_set_csums(out, len, l4_off, p->proto);
	return len;
}

/* Before the first test: random numbers from a seed that is told, and a payload of them. */
static inline void test_seed(uint8_t *ret_payload, size_t len)
{
	const char *text = getenv("SANDD_TEST_SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : 1;

	printf("seed %u (SANDD_TEST_SEED)\n", seed);
	srand(seed);
	for (size_t i = 0; i < len; i++)
		ret_payload[i] = (uint8_t)rand();
}

/* Below @below; 0 for 0. */
static inline uint32_t test_random(uint32_t below)
{
	return below == 0 ? 0 : (uint32_t)rand() % below;
}

#endif
