/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a packet carries between stages (struct dp_pkt, inside its mbuf) and how much room its mbuf
 * has. Any thread that owns the packet. Next to read: dp_drop.h, why it may end; dp_worker.h.
 */
#ifndef DP_PKT_H
#define DP_PKT_H

#include <assert.h>
#include <stdint.h>

#include "cr_aead.h"
#include "dp_api.h"
#include "dp_drop.h"
#include "wg_messages.h"

#include <rte_mbuf.h>

/** Packets of one burst, everywhere: what an AEAD provider takes at once. */
#define DP_BURST CR_AEAD_BURST_MAX

/**
 * Packets of a burst that walk through opening or sealing together. What a group touches (headers, peers, keys) stays
 * in the first-level cache from the pass that fetches it to the one that uses it; of 64 it would
 * not. Large enough to wait for main memory once for many.
 */
#define DP_GROUP 32

#define DP_ETH_BYTES 14
#define DP_IP4_BYTES 20
#define DP_IP4_BYTES_MAX 60 /* with options */
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

#endif
