/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a TUN device with virtio_net_hdr leaves to its user: checksums (RFC 1071), and cutting the
 * large TCP and UDP of the kernel into packets. The way back, many packets into a large one, is
 * in_coalesce.h. No state, any thread.
 */
#ifndef IN_OFFLOAD_H
#define IN_OFFLOAD_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

/**
 * In front of each packet of the device: struct virtio_net_hdr in its short form, in the machine's
 * order (VIRTIO 1.2, 5.1.6). csum_start counts from the IP header, csum_offset from csum_start.
 */
struct in_vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t hdr_len;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};
static_assert(sizeof(struct in_vnet) == 10, "lies before every packet");

/** in_vnet.flags: the checksum field holds only the pseudo-header's sum. */
#define IN_VNET_NEEDS_CSUM 0x01

/** in_vnet.gso_type; with IN_GSO_ECN, the first segment alone says CWR. */
#define IN_GSO_NONE 0
#define IN_GSO_TCP4 1
#define IN_GSO_TCP6 4
#define IN_GSO_UDP 5
#define IN_GSO_ECN 0x80

/** Bytes of the largest packet: what the length field of IPv4 and of UDP can say. */
#define IN_LARGE_BYTES 65535u

#define IN_TCP_CSUM_OFF 16
#define IN_UDP_CSUM_OFF 6

/* --- checksums -------------------------------------------------------------------------------- */

/**
 * Add 16-bit words to @sum, not folded yet. An odd length is padded with zero, so only the last
 * piece of what is summed may have one. Up to 4 GiB in all.
 */
uint64_t in_csum_add(uint64_t sum, const void *data, uint32_t len);
/** Fold to 16 bits and complement; in network order, to be copied into the packet as it is. */
uint16_t in_csum_finish(uint64_t sum);

/**
 * The sum of the pseudo-header (RFC 9293, 3.1; RFC 8200, 8.1) of the packet whose IP header is at @ip, for
 * @l4_len bytes of transport header and payload, at most IN_LARGE_BYTES.
 */
uint64_t in_csum_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len);

/**
 * Finish a checksum that the sender left partial: sums [@start, @len) and stores at start+offset.
 * Zero is stored as 0xffff, which means the same to TCP and is what UDP asks for (RFC 768).
 * False, and nothing written, if the offsets do not lie in the packet.
 */
bool in_csum_complete(uint8_t *packet, uint32_t len, uint32_t start, uint32_t offset);

/* --- one large packet into segments ----------------------------------------------------------- */

/** How a large packet is cut. Borrows the packet. */
struct in_segments {
	const uint8_t *packet;
	uint32_t n;           /* at least one */
	uint32_t headers_len; /* of IP with options and extensions, and of the transport */
	uint32_t payload_len;
	uint32_t segment_payload_len; /* of all but the last, which may have less */
	uint16_t l4_off;
	uint8_t version; /* 4 or 6 */
	uint8_t proto;   /* IN_PROTO_TCP or IN_PROTO_UDP */
};

/**
 * Plan the segments of a packet that came with a gso_type. Everything that @vnet says is held
 * against the @len bytes of the packet; its hdr_len is a hint of the kernel about its own memory
 * and is not used. False for a type that we did not ask for, and for a packet that is not what the
 * type says.
 */
bool in_segments_plan(struct in_segments *ret_segments, const struct in_vnet *vnet,
	const uint8_t *packet, uint32_t len);

/** Bytes of the largest segment, headers included. */
static inline uint32_t in_segments_max_len(const struct in_segments *segments)
{
	uint32_t payload = segments->segment_payload_len;

	return segments->headers_len +
		(payload < segments->payload_len ? payload : segments->payload_len);
}

/**
 * Write segment @i (below n) to @ret_packet, in_segments_max_len() bytes at most, and return its
 * length: own lengths, IPv4 identification, sequence number and checksums; FIN and PSH on the last
 * only, CWR on the first only (RFC 3168, 6.1.2); everything else as in the large packet.
 */
uint32_t in_segments_write(const struct in_segments *segments, uint32_t i, uint8_t *ret_packet);
/**
 * The same where the segment's payload is in its place already, headers_len bytes into @packet: only the headers of
 * segments->packet are read, which must not lie in @packet.
 */
uint32_t in_segments_finish(const struct in_segments *segments, uint32_t i, uint8_t *packet);

/**
 * Bytes of the headers of a large packet of TCP or UDP without options of IPv4 or extensions of IPv6, of which @len bytes lie
 * in a row: within them, or 0 for any other. in_segments_plan() reads no further than that in such a packet.
 */
uint32_t in_plain_headers_len(const uint8_t *packet, uint32_t len);

#endif
