/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a packet carries between stages (struct dp_pkt, inside its mbuf), how much room its mbuf
 * has, and the one list of reasons to drop it. Any thread that owns the packet.
 * Next to read: dp_worker.h.
 */
#ifndef DP_PKT_H
#define DP_PKT_H

#include <assert.h>
#include <stdint.h>

#include "dp_api.h"
#include "wg.h"
#include "wg_messages.h"

#include <rte_mbuf.h>

/** Packets of one burst, everywhere: what an AEAD provider takes at once. */
#define DP_BURST CR_AEAD_BURST_MAX

#define DP_ETH_BYTES 14
#define DP_IP4_BYTES 20
#define DP_IP6_BYTES 40
#define DP_UDP_BYTES 8

/** In front of an inner packet: Ethernet, IPv6, UDP, WireGuard's data header. */
#define DP_HEADROOM_BYTES (DP_ETH_BYTES + DP_IP6_BYTES + DP_UDP_BYTES + sizeof(struct wg_data))
/** Behind it: padding and tag. */
#define DP_TAILROOM_BYTES (WG_PADDING_BYTES - 1 + CR_TAG_BYTES)
static_assert(DP_HEADROOM_BYTES <= RTE_PKTMBUF_HEADROOM, "outer headers fit every mbuf");

/**
 * Where the parts of a received frame lie. Written by dp_rx.c, read by whoever takes the frame
 * over; bytes, from the frame's start. It lies in the mbuf's hash field, in the cache line that
 * every stage touches anyway; no port kind here fills that field.
 */
struct dp_pkt {
	uint16_t payload_off; /* of the UDP payload */
	uint16_t payload_len;
	uint8_t ip_off;
	uint8_t family; /* enum base_family of the outer header */
	uint8_t queue;
	uint8_t ds; /* on the way out: DS field of the outer header (dp_ecn.h); set before sealing */
};
static_assert(sizeof(struct dp_pkt) <= sizeof(((struct rte_mbuf *)0)->hash), "lies in there");

static inline struct dp_pkt *dp_pkt(struct rte_mbuf *m)
{
	return (struct dp_pkt *)&m->hash;
}

/**
 * Why a packet ended. One list for enum, counter and text; what wg says of a handshake message
 * (enum wg_verdict) follows it under wg's own names.
 */
#define DP_DROPS(X)                                                                                \
	/* dp_rx.c: frames as they come */                                                         \
	X(SHORT_FRAME, "short_frame")     /* ends inside a header */                               \
	X(NOT_IP, "not_ip")               /* another EtherType */                                  \
	X(BAD_IP_HEADER, "bad_ip_header") /* version, header or total length that cannot be */     \
	X(FRAGMENT, "fragment")           /* of an outer packet: never a whole datagram */         \
	X(NOT_TUNNEL, "not_tunnel")       /* not UDP to the tunnel's port */                       \
	X(NOT_LOCAL, "not_local")         /* to an address that is not ours */                     \
	X(BAD_UDP_LENGTH, "bad_udp_length")                                                        \
	X(UNKNOWN_TYPE, "unknown_type")    /* no message of WireGuard */                           \
	X(RESERVED_BITS, "reserved_bits")  /* a known type, but its three zero bytes are not */    \
	X(SHORT_DATA, "short_data")        /* a data message without room for header and tag */    \
	X(SOURCE_PORT, "source_port_zero") /* a handshake message that nobody could answer */      \
	X(HANDSHAKE_FULL, "handshake_queue_full")                                                  \
	/* dp_steer.c */                                                                           \
	X(UNKNOWN_INDEX, "unknown_index")                                                          \
	X(HANDOVER_FULL, "handover_queue_full")                                                    \
	/* dp_decap.c */                                                                           \
	X(STALE_KEYPAIR, "stale_keypair")                                                          \
	X(FORGED, "forged")                                                                        \
	X(REPLAY, "replay")                                                                        \
	X(BAD_INNER, "bad_inner")       /* not IP, or a lying length */                            \
	X(ECN, "ecn_ce_not_capable")    /* congestion, and a sender that only hears a loss */      \
	X(WRONG_SOURCE, "wrong_source") /* not among the peer's allowed IPs */                     \
	X(FILTER_NO_RULE, "filter_no_rule")                                                        \
	X(FILTER_NO_HEADER, "filter_no_header")                                                    \
	X(FILTER_DESTINATION, "filter_destination") /* to an address that is not ours */           \
	X(HOST_FULL, "host_queue_full")                                                            \
	/* dp_encap.c */                                                                           \
	X(OUT_MALFORMED, "out_malformed")                                                          \
	X(NO_PEER, "no_peer")                 /* no allowed IP holds the destination */            \
	X(NO_ENDPOINT, "no_endpoint")         /* the peer has to speak first */                    \
	X(STAGED_FULL, "staged_full")         /* oldest out, while a handshake is on its way */    \
	X(STAGED_GIVEN_UP, "staged_given_up") /* the handshake never came */                       \
	X(TOO_LARGE, "too_large")             /* for the path's MTU, or for the mbuf */            \
	/* dp_tx.c */                                                                              \
	X(NO_ROUTE, "no_route")                                                                    \
	X(OTHER_DEVICE, "route_by_other_device")                                                   \
	X(NEIGHBOUR_FULL, "neighbour_queue_full")                                                  \
	X(NEIGHBOUR_TIMEOUT, "neighbour_timeout")                                                  \
	X(TX_FULL, "tx_queue_full")                                                                \
	X(NO_MBUF, "no_mbuf")                                                                      \
	X(PEER_GONE, "peer_gone")                                                                  \
	/* the host thread */                                                                      \
	X(HOST_TOO_LARGE, "host_too_large")                                                        \
	X(HOST_BAD_HEADER, "host_bad_header")                                                      \
	X(HOST_WRITE, "host_write")

enum dp_drop {
#define DP_DROP_ENUM(name, text) DP_DROP_##name,
	DP_DROPS(DP_DROP_ENUM)
#undef DP_DROP_ENUM
		DP_DROP_HANDSHAKE_FIRST,
	DP_DROP_COUNT = DP_DROP_HANDSHAKE_FIRST + (WG_VERDICT_NO_MEMORY - WG_VERDICT_OK),
};
static_assert((int)DP_DROP_COUNT <= DP_DROPS_MAX, "dp_stats has room for them");

/** The reason for a handshake message that ended with @verdict (not OK). */
static inline enum dp_drop dp_drop_of_verdict(enum wg_verdict verdict)
{
	return (enum dp_drop)(DP_DROP_HANDSHAKE_FIRST + (verdict - WG_VERDICT_MALFORMED));
}

#endif
