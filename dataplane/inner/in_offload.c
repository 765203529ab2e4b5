/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums (RFC 1071) and segments. No state, any thread. See in_offload.h. */
#include "in_offload.h"

#include "base_bytes.h"
#include "in_parse.h"

#include <string.h>

#define IP4_BYTES 20
#define IP6_BYTES 40
#define TCP_BYTES 20
#define UDP_BYTES 8

/* --- checksums -------------------------------------------------------------------------------- */

/*
 * The ones' complement sum does not care for the byte order as long as the result is stored in
 * the order it was read (RFC 1071, 2B), nor for the word size as long as carries are folded back:
 * so 32-bit native words are summed into 64 bits, which compilers turn into vectors.
 */
static inline __attribute__((always_inline)) uint64_t add_words(
	uint64_t sum, const uint8_t *p, uint32_t len)
{
	uint32_t words = len / 4;

	for (uint32_t i = 0; i < words; i++) {
		uint32_t word;

		memcpy(&word, p + 4 * (size_t)i, sizeof(word));
		sum += word;
	}
	if (len % 4 != 0) {
		uint32_t word = 0;

		memcpy(&word, p + 4 * (size_t)words, len % 4);
		sum += word;
	}
	return sum;
}

#if defined(__x86_64__)
/* The same with vectors of twice the size: every byte of TCP is summed once at each end. */
__attribute__((target("avx2"))) static uint64_t add_words_avx2(
	uint64_t sum, const uint8_t *p, uint32_t len)
{
	return add_words(sum, p, len);
}

/* From here on they are worth it. */
#define AVX2_BYTES_MIN 128

uint64_t in_csum_add(uint64_t sum, const void *data, uint32_t len)
{
	if (len >= AVX2_BYTES_MIN && __builtin_cpu_supports("avx2"))
		return add_words_avx2(sum, data, len);
	return add_words(sum, data, len);
}
#else
uint64_t in_csum_add(uint64_t sum, const void *data, uint32_t len)
{
	return add_words(sum, data, len);
}
#endif

uint16_t in_csum_finish(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~sum;
}

uint64_t in_csum_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	/* Length and protocol are whole 16-bit words of the pseudo-header, in network order. */
	uint64_t sum =
		(uint64_t)__builtin_bswap16((uint16_t)l4_len) + __builtin_bswap16((uint16_t)proto);

	return ip[0] >> 4 == 4 ? in_csum_add(sum, ip + 12, 8) : in_csum_add(sum, ip + 8, 32);
}

/* As TCP and UDP store it: never zero, which would say "none" in UDP. */
static void store_csum(uint8_t *field, uint64_t sum)
{
	uint16_t csum = in_csum_finish(sum);

	if (csum == 0)
		csum = 0xffff;
	memcpy(field, &csum, sizeof(csum));
}

bool in_csum_complete(uint8_t *packet, uint32_t len, uint32_t start, uint32_t offset)
{
	if (start > len || len - start < 2 || offset > len - start - 2)
		return false;
	store_csum(packet + start + offset, in_csum_add(0, packet + start, len - start));
	return true;
}

/* --- segments --------------------------------------------------------------------------------- */

static bool is_type_of(uint8_t gso_type, const struct in_packet *packet)
{
	switch (gso_type) {
	case IN_GSO_TCP4:
	case IN_GSO_TCP4 | IN_GSO_ECN:
		return packet->version == 4 && packet->proto == IN_PROTO_TCP;
	case IN_GSO_TCP6:
	case IN_GSO_TCP6 | IN_GSO_ECN:
		return packet->version == 6 && packet->proto == IN_PROTO_TCP;
	case IN_GSO_UDP:
		return packet->proto == IN_PROTO_UDP;
	default:
		return false;
	}
}

/* Bytes of the transport header, or 0 if it cannot be one of a large packet. */
static uint32_t l4_header_len(const struct in_packet *packet, const uint8_t *data)
{
	const uint8_t *l4 = data + packet->l4_off;
	uint32_t left = packet->total_len - packet->l4_off, len;

	if (packet->proto == IN_PROTO_UDP)
		return base_load_be16(l4 + 4) == left ? UDP_BYTES : 0;
	len = (l4[12] >> 4) * 4u;
	/* A SYN or RST is one packet: cut in two it would mean something else. */
	if (len < 20 || len > left || (packet->tcp_flags & (IN_TCP_SYN | IN_TCP_RST)))
		return 0;
	return len;
}

bool in_segments_plan(struct in_segments *ret_segments, const struct in_vnet *vnet,
	const uint8_t *packet, uint32_t len)
{
	struct in_packet parsed;
	uint32_t header_len, payload_len;
	uint16_t csum_off;

	if (vnet->gso_size == 0 || !(vnet->flags & IN_VNET_NEEDS_CSUM))
		return false;
	if (in_parse(&parsed, packet, len) != IN_ERROR_OK || parsed.total_len != len)
		return false;
	if (parsed.is_first_fragment || !parsed.has_l4 || !is_type_of(vnet->gso_type, &parsed))
		return false;
	csum_off = parsed.proto == IN_PROTO_TCP ? IN_TCP_CSUM_OFF : IN_UDP_CSUM_OFF;
	if (vnet->csum_start != parsed.l4_off || vnet->csum_offset != csum_off)
		return false;
	header_len = l4_header_len(&parsed, packet);
	if (header_len == 0)
		return false;
	payload_len = len - parsed.l4_off - header_len;
	*ret_segments = (struct in_segments){
		.packet = packet,
		.n = payload_len == 0 ? 1 : (payload_len - 1) / vnet->gso_size + 1,
		.headers_len = parsed.l4_off + header_len,
		.payload_len = payload_len,
		.segment_payload_len = vnet->gso_size,
		.l4_off = parsed.l4_off,
		.version = parsed.version,
		.proto = parsed.proto,
	};
	return true;
}

uint32_t in_plain_headers_len(const uint8_t *packet, uint32_t len)
{
	uint32_t l4_off, headers_len;
	uint8_t proto;

	if (len < IP6_BYTES + TCP_BYTES) /* enough to look at either */
		return 0;
	if (packet[0] != 0x45 && packet[0] >> 4 != 6)
		return 0;
	l4_off = packet[0] == 0x45 ? IP4_BYTES : IP6_BYTES;
	proto = packet[0] == 0x45 ? packet[9] : packet[6];
	if (proto == IN_PROTO_UDP)
		return l4_off + UDP_BYTES;
	headers_len = l4_off + (packet[l4_off + 12] >> 4) * 4u;
	return proto == IN_PROTO_TCP && headers_len >= l4_off + TCP_BYTES && headers_len <= len
		? headers_len
		: 0;
}

static void patch_ip(const struct in_segments *segments, uint32_t i, uint8_t *ip, uint32_t len)
{
	uint32_t header_len = (ip[0] & 15u) * 4u;
	uint16_t csum;

	if (segments->version == 6) {
		base_store_be16(ip + 4, (uint16_t)(len - 40));
		return;
	}
	base_store_be16(ip + 2, (uint16_t)len);
	base_store_be16(ip + 4, (uint16_t)(base_load_be16(ip + 4) + i));
	memset(ip + 10, 0, 2);
	csum = in_csum_finish(in_csum_add(0, ip, header_len));
	memcpy(ip + 10, &csum, sizeof(csum));
}

static void patch_tcp(const struct in_segments *segments, uint32_t i, uint8_t *tcp)
{
	uint32_t payload_off = i * segments->segment_payload_len;

	base_store_be32(tcp + 4, base_load_be32(tcp + 4) + payload_off);
	if (i > 0)
		tcp[13] &= (uint8_t)~IN_TCP_CWR;
	if (i + 1 < segments->n)
		tcp[13] &= (uint8_t) ~(IN_TCP_FIN | IN_TCP_PSH);
}

static uint32_t payload_len_of(const struct in_segments *segments, uint32_t i)
{
	uint32_t left = segments->payload_len - i * segments->segment_payload_len;

	return left < segments->segment_payload_len ? left : segments->segment_payload_len;
}

uint32_t in_segments_write(const struct in_segments *segments, uint32_t i, uint8_t *ret_packet)
{
	uint32_t payload_off = segments->headers_len + i * segments->segment_payload_len;

	memcpy(ret_packet + segments->headers_len, segments->packet + payload_off,
		payload_len_of(segments, i));
	return in_segments_finish(segments, i, ret_packet);
}

uint32_t in_segments_finish(const struct in_segments *segments, uint32_t i, uint8_t *ret_packet)
{
	uint32_t l4_off = segments->l4_off;
	uint32_t len = segments->headers_len + payload_len_of(segments, i);
	uint8_t *l4 = ret_packet + l4_off, *csum;

	memcpy(ret_packet, segments->packet, segments->headers_len);
	patch_ip(segments, i, ret_packet, len);
	if (segments->proto == IN_PROTO_TCP) {
		patch_tcp(segments, i, l4);
		csum = l4 + IN_TCP_CSUM_OFF;
	} else {
		base_store_be16(l4 + 4, (uint16_t)(len - l4_off));
		csum = l4 + IN_UDP_CSUM_OFF;
	}
	memset(csum, 0, 2);
	store_csum(csum,
		in_csum_add(in_csum_pseudo(ret_packet, segments->proto, len - l4_off), l4,
			len - l4_off));
	return len;
}
