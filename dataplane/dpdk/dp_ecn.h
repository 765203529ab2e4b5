/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Congestion marks across the tunnel, as RFC 6040 says: the outer header starts with the inner one's
 * mark ("normal mode", 4.1), and what the network made of it comes back into the inner header when
 * the packet is opened (4.2, figure 4). Worker threads, packets in hand. Next to read: dp_outer.h.
 *
 * The code point of services does not cross (RFC 2983's pipe model): outer data goes out as best effort, so
 * that nobody reads the kind of traffic from outside, and handshakes with the class that the kernel's
 * WireGuard gives them. Cookie replies go to strangers, who get no class.
 */
#ifndef DP_ECN_H
#define DP_ECN_H

#include <stdbool.h>
#include <stdint.h>

#include "base_bytes.h"

/** The two low bits of the DS field (RFC 3168). */
enum dp_ecn {
	DP_ECN_NOT_ECT = 0,
	DP_ECN_ECT1 = 1,
	DP_ECN_ECT0 = 2,
	DP_ECN_CE = 3,
};

/** The whole DS field of handshakes: AF41, not ECN-capable. */
#define DP_DS_HANDSHAKE 0x88

/** Of an IPv4 or IPv6 header; only its first two bytes are read. */
static inline uint8_t dp_ecn_of(const uint8_t *ip)
{
	/* IPv6's traffic class lies four bits off: its low half is the high half of byte 1. */
	return (uint8_t)((ip[0] >> 4 == 4 ? ip[1] : ip[1] >> 4) & 3);
}

/** Put @ecn into the IP header at @ip; IPv4's checksum, right before, is right after (RFC 1624). */
static inline void dp_ecn_set(uint8_t *ip, uint8_t ecn)
{
	uint8_t before = dp_ecn_of(ip);
	uint32_t sum;

	if (ip[0] >> 4 == 6) {
		ip[1] = (uint8_t)((ip[1] & ~0x30) | ecn << 4);
		return;
	}
	ip[1] = (uint8_t)((ip[1] & ~3) | ecn);
	/* HC' = ~(~HC + ~m + m'), where the word changes by the mark alone. */
	sum = (uint32_t)(uint16_t)~base_load_be16(ip + 10) + 0xffff + ecn - before;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	base_store_be16(ip + 10, (uint16_t)~sum);
}

/** Can this mark of an outer header change anything? Else dp_ecn_decap() need not be called. */
static inline bool dp_ecn_matters(uint8_t outer)
{
	return (outer & 1) != 0; /* ECT(1), CE */
}

/**
 * What the inner header becomes when its packet came under @outer. False: the packet has to be
 * dropped, because the network says "congested" and its sender understands nothing but a loss.
 */
static inline bool dp_ecn_decap(uint8_t *ip, uint8_t outer)
{
	uint8_t inner = dp_ecn_of(ip);

	if (!dp_ecn_matters(outer))
		return true;
	if (inner == DP_ECN_NOT_ECT)
		return outer != DP_ECN_CE;
	/* The graver of the two, in the order ECT(0), ECT(1), CE. */
	if ((outer == DP_ECN_CE && inner != DP_ECN_CE) || inner == DP_ECN_ECT0)
		dp_ecn_set(ip, outer);
	return true;
}

#endif
