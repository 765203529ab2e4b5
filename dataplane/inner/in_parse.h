/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What an inner packet says of itself: IPv4 (RFC 791), IPv6 (RFC 8200), TCP, UDP, ICMP. Every
 * length is checked before the bytes behind it are read, and computed in 32 bits: an IPv6
 * payload length of 65,496 and above wraps in 16 (wireguard-practice.md). No state, any thread.
 */
#ifndef IN_PARSE_H
#define IN_PARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_bytes.h"

/* Protocol numbers (IANA). */
enum in_proto {
	IN_PROTO_ICMP4 = 1,
	IN_PROTO_TCP = 6,
	IN_PROTO_UDP = 17,
	IN_PROTO_ICMP6 = 58,
	IN_PROTO_TSMP = 99, /* the mesh's own messages; never for the host */
	IN_PROTO_SCTP = 132,
};

#define IN_TCP_FIN 0x01
#define IN_TCP_SYN 0x02
#define IN_TCP_RST 0x04
#define IN_TCP_PSH 0x08
#define IN_TCP_ACK 0x10
#define IN_TCP_ECE 0x40
#define IN_TCP_CWR 0x80

/** Why a packet was refused: one list for enum and text. */
#define IN_ERRORS(X)                                                                               \
	X(OK, "ok")                                                                                \
	X(SHORT, "short")     /* ends inside its IP header */                                      \
	X(VERSION, "version") /* neither 4 nor 6 */                                                \
	X(LENGTH, "length")   /* claims more bytes than came, or fewer than its header */          \
	X(HEADER, "header")   /* header length or extension chain that cannot be */

enum in_error {
#define IN_ERROR_ENUM(name, text) IN_ERROR_##name,
	IN_ERRORS(IN_ERROR_ENUM)
#undef IN_ERROR_ENUM
		IN_ERROR_COUNT,
};

const char *in_error_name(enum in_error error);

/** Pointers are borrowed from the packet. */
struct in_packet {
	const uint8_t *src; /* 4 or 16 bytes, network order */
	const uint8_t *dst;
	uint32_t total_len; /* bytes of the IP packet; what follows is padding */
	uint16_t l4_off;    /* offset of the transport header */
	uint16_t src_port;  /* host order; 0 where there is none */
	uint16_t dst_port;
	uint8_t version; /* enum base_family */
	uint8_t proto;   /* transport protocol, past IPv6 extension headers */
	uint8_t tcp_flags;
	uint8_t icmp_type;
	uint16_t fragment_off;  /* bytes; of a later fragment */
	bool is_later_fragment; /* has no transport header */
	bool is_first_fragment; /* has one, and more follow */
	bool has_l4;            /* ports, flags or type above were read */
	bool has_extension;     /* IPv6 headers other than a fragment's in front of proto: */
	uint8_t extension; /* the first of them, as the IPv6 header or the fragment's names it */
};

/** IPv6 extension headers that are followed before a packet is refused (IN_ERROR_HEADER). */
#define IN_EXTENSIONS_MAX 8

/**
 * The part that the packet path needs before anything else: version, total length against @len,
 * header length. Inline and cheap; @ret_total_len on IN_ERROR_OK only.
 */
static inline enum in_error in_check_length(
	const uint8_t *data, uint32_t len, uint8_t *ret_version, uint32_t *ret_total_len)
{
	uint32_t total;

	if (len < 20)
		return IN_ERROR_SHORT;
	if (data[0] >> 4 == 4) {
		uint32_t header = (data[0] & 15u) * 4u;

		total = base_load_be16(data + 2);
		if (header < 20)
			return IN_ERROR_HEADER;
		if (total < header || total > len)
			return IN_ERROR_LENGTH;
		*ret_version = 4;
	} else if (data[0] >> 4 == 6) {
		if (len < 40)
			return IN_ERROR_SHORT;
		total = 40u + base_load_be16(data + 4);
		if (total > len)
			return IN_ERROR_LENGTH;
		*ret_version = 6;
	} else {
		return IN_ERROR_VERSION;
	}
	*ret_total_len = total;
	return IN_ERROR_OK;
}

/** in_parse() for every packet, the odd ones too; plain to read, and what tests compare the other with. */
enum in_error in_parse_any(struct in_packet *ret_packet, const uint8_t *data, uint32_t len);

/**
 * The total length of an IPv4 packet that is as plain as can be: no options, no fragment, TCP or UDP with its whole
 * header, all within @len. 0: something else, in_parse() knows.
 */
static inline uint32_t in_plain4_len(const uint8_t *data, uint32_t len)
{
	uint32_t total;
	uint64_t first;

	if (len < 28)
		return 0;
	first = base_load_le64(data);
	/* Version and header length are 0x45; neither "more fragments" nor an offset in bytes 6 and 7. */
	if ((first & UINT64_C(0xff3f0000000000ff)) != 0x45)
		return 0;
	total = base_load_be16(data + 2);
	if (total > len || total < (data[9] == IN_PROTO_TCP ? 40u : 28u) ||
		(data[9] != IN_PROTO_TCP && data[9] != IN_PROTO_UDP))
		return 0;
	return total;
}

/**
 * What nearly all packets are: TCP or UDP right behind an IPv4 header without options or an IPv6
 * header, no fragment, all lengths as they should be. False: in_parse_any() has to look.
 */
static inline bool in_parse_plain(struct in_packet *ret_packet, const uint8_t *data, uint32_t len)
{
	bool is_v4 = data[0] == 0x45, is_tcp;
	uint32_t header = is_v4 ? 20 : 40, total;
	const uint8_t *l4 = data + header;

	if (is_v4) {
		if (base_load_be16(data + 6) & 0x3fff)
			return false;
		total = base_load_be16(data + 2);
	} else {
		total = 40u + base_load_be16(data + 4);
	}
	is_tcp = data[is_v4 ? 9 : 6] == IN_PROTO_TCP;
	if ((!is_v4 && data[0] >> 4 != 6) || (!is_tcp && data[is_v4 ? 9 : 6] != IN_PROTO_UDP) ||
		total > len || total < header + (is_tcp ? 20u : 8u))
		return false;
	*ret_packet = (struct in_packet){
		.src = data + (is_v4 ? 12 : 8),
		.dst = data + (is_v4 ? 16 : 24),
		.total_len = total,
		.l4_off = (uint16_t)header,
		.src_port = base_load_be16(l4),
		.dst_port = base_load_be16(l4 + 2),
		.version = is_v4 ? BASE_FAMILY_V4 : BASE_FAMILY_V6,
		.proto = is_tcp ? IN_PROTO_TCP : IN_PROTO_UDP,
		.tcp_flags = is_tcp ? l4[13] : 0,
		.has_l4 = true,
	};
	return true;
}

/**
 * Read @len bytes. Fills @ret_packet on IN_ERROR_OK only. A truncated transport header is no
 * error: has_l4 is false then, and the filter refuses what it cannot see. A routing header that
 * names further stops is one: packets end here.
 */
static inline enum in_error in_parse(
	struct in_packet *ret_packet, const uint8_t *data, uint32_t len)
{
	/* The shortest plain packet: IPv4 and UDP headers. */
	if (__builtin_expect(len >= 28 && in_parse_plain(ret_packet, data, len), 1))
		return IN_ERROR_OK;
	return in_parse_any(ret_packet, data, len);
}

#endif
