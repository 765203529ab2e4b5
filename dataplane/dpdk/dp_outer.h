/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The outer side of a path: who is at the other end and which of our addresses it asked (struct
 * dp_from), and the headers that lead there, prepared once (struct dp_outer) and copied in front
 * of every packet. Worker threads.
 */
#ifndef DP_OUTER_H
#define DP_OUTER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base_addr.h"
#include "base_bytes.h"
#include "dp_pkt.h"
#include "dp_underlay.h"
#include "in_offload.h"
#include "in_parse.h"

/**
 * Where a message came from and which address it was sent to. The two addresses lie as in the IP
 * header, so that "has it moved?" is one comparison with the packet.
 */
struct dp_from {
	uint8_t addrs[32];  /* v4: 4 + 4 bytes; v6: 16 + 16; ours is zero while it is not known */
	uint16_t port_be16; /* theirs */
	uint8_t family;     /* enum base_family; NONE: unknown */
	/* By the relay as well: a path that may be dead (control's). No padding: compared as bytes. */
	bool is_doubled;
};

/** Offset of the source address in the IP header, and bytes of both addresses. */
static inline unsigned dp_from_off(uint8_t family)
{
	return family == BASE_FAMILY_V4 ? 12 : 8;
}

static inline unsigned dp_from_len(uint8_t family)
{
	return family == BASE_FAMILY_V4 ? 8 : 32;
}

/** Read from a frame that dp_rx.c has checked. */
static inline void dp_from_read(
	struct dp_from *ret_from, const uint8_t *frame, const struct dp_pkt *p)
{
	memset(ret_from, 0, sizeof(*ret_from));
	ret_from->family = p->family;
	memcpy(ret_from->addrs, frame + p->ip_off + dp_from_off(p->family), dp_from_len(p->family));
	memcpy(&ret_from->port_be16, frame + p->payload_off - DP_UDP_BYTES, 2);
}

/** Does this frame come from there, to the same address of ours? */
static inline bool dp_from_matches(
	const struct dp_from *from, const uint8_t *frame, const struct dp_pkt *p)
{
	const uint8_t *addrs = frame + p->ip_off;
	uint16_t port_be16;

	memcpy(&port_be16, frame + p->payload_off - DP_UDP_BYTES, 2);
	if (from->family != p->family || from->port_be16 != port_be16)
		return false;
	if (p->family == BASE_FAMILY_V4)
		return memcmp(from->addrs, addrs + 12, 8) == 0;
	return memcmp(from->addrs, addrs + 8, 32) == 0;
}

/** Is it the same other end, whatever address of ours it asked? */
static inline bool dp_from_same_end(const struct dp_from *a, const struct dp_from *b)
{
	return a->family == b->family && a->port_be16 == b->port_be16 &&
		memcmp(a->addrs, b->addrs, dp_from_len(a->family) / 2) == 0;
}

/**
 * Why nothing can be sent there, or NULL. Addresses of this host are found out by the underlay, for they
 * come and go. @n_ports: more than one make an address of the link ambiguous, unless a frame
 * came from it: 1 then, for the address that it asked tells the port.
 */
const char *dp_endpoint_fault(const struct base_endpoint *endpoint, unsigned n_ports);
/** Can this sender be answered? Else it is no place to move to, and no handshake is begun with it. */
bool dp_from_is_answerable(const struct dp_from *from);
/** Their address and port. */
struct base_endpoint dp_from_endpoint(const struct dp_from *from);
/** Our address; family NONE if not known. */
struct base_addr dp_from_local(const struct dp_from *from);
/** Leave from this address of ours, of the same family. */
void dp_from_set_local(struct dp_from *from, const struct base_addr *local);
/** A path to an endpoint that has not spoken yet. */
struct dp_from dp_from_make(const struct base_endpoint *endpoint);

/** Headers up to UDP, with the lengths and checksums of an empty datagram left out. */
struct dp_outer {
	uint8_t header[DP_ETH_BYTES + DP_IP6_BYTES + DP_UDP_BYTES];
	uint8_t len;   /* bytes of it: 42 or 62; 0: not prepared */
	uint8_t state; /* enum dp_nexthop_state */
	uint64_t
		generation; /* of the underlay view it was made from; 0: of none, or the end moved */
	uint16_t sum;       /* IPv4: of the header's words that are the same in each packet */
	uint16_t room_bytes; /* the largest UDP payload that fits the path; 0: not prepared */
	uint16_t port;
	bool is_plain;   /* whole as dp_outer_write() makes it, and its neighbour is known */
	bool is_doubled; /* see struct dp_from */
	uint64_t
		made_round; /* its worker's, while generation is 0 for want of room to ask for a gateway */
};
static_assert(offsetof(struct dp_outer, generation) == 64, "the header is one cache line");

/**
 * Prepare. With a next hop that is not OK the MAC addresses are zero. @flow_seed: random and secret, for
 * the flow label of IPv6: one per pair of ends, the same for as long as the seed is (RFC 6437, 6438).
 */
void dp_outer_make(struct dp_outer *outer, const struct dp_nexthop *nexthop,
	const struct dp_from *from, uint16_t listen_port, uint64_t flow_seed);

/** The end has moved: make the headers anew before the next packet. */
static inline void dp_outer_forget(struct dp_outer *outer)
{
	outer->generation = 0;
	outer->made_round = 0;
}

static inline bool dp_outer_is4(const struct dp_outer *outer)
{
	return outer->len == DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES;
}

/** dp_outer_write() for IPv6. */
void dp_outer_write6(
	const struct dp_outer *outer, uint8_t *frame, uint32_t payload_len, uint8_t ds);

/**
 * Write the headers for @payload_len bytes that lie, or will lie, at frame + outer->len; @ds: their DS
 * field. Once the payload is there dp_outer_sum() makes them whole.
 */
static inline void dp_outer_write(
	const struct dp_outer *outer, uint8_t *frame, uint32_t payload_len, uint8_t ds)
{
	uint32_t sum;

	if (!dp_outer_is4(outer)) {
		dp_outer_write6(outer, frame, payload_len, ds);
		return;
	}
	memcpy(frame, outer->header, DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES);
	frame[DP_ETH_BYTES + 1] = ds;
	base_store_be16(
		frame + DP_ETH_BYTES + 2, (uint16_t)(DP_IP4_BYTES + DP_UDP_BYTES + payload_len));
	base_store_be16(
		frame + DP_ETH_BYTES + DP_IP4_BYTES + 4, (uint16_t)(DP_UDP_BYTES + payload_len));
	/* The header's sum but for DS field and total length, in host order (RFC 1071). UDP's own
	 * checksum stays zero, which IPv4 allows (RFC 768; RFC 8085, 3.4.1 on tunnels): the tag proves more,
	 * and summing would read every packet once again. */
	sum = outer->sum + DP_IP4_BYTES + DP_UDP_BYTES + payload_len + ds;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	base_store_be16(frame + DP_ETH_BYTES + 10, (uint16_t)~sum);
}

/** IPv6 demands a checksum over everything (RFC 8200, 8.1); in software, for no port here does it. */
void dp_outer_sum6(uint8_t *frame, uint32_t payload_len);

/** What has to know the payload's bytes: UDP's checksum over IPv6. */
static inline void dp_outer_sum(const struct dp_outer *outer, uint8_t *frame, uint32_t payload_len)
{
	if (!dp_outer_is4(outer))
		dp_outer_sum6(frame, payload_len);
}

/** Put the MAC addresses in, once the neighbour is known. */
static inline void dp_outer_set_macs(uint8_t *frame, const struct dp_nexthop *nexthop)
{
	memcpy(frame, nexthop->dst_mac, DP_MAC_BYTES);
	memcpy(frame + DP_MAC_BYTES, nexthop->src_mac, DP_MAC_BYTES);
}

#endif
