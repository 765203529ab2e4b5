/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checksums that a virtio_net_hdr leaves to us, and those we vouch for (RFC 1071). The kernel hands over locally
 * sent TCP and UDP with only the pseudo-header summed (VIRTIO_NET_HDR_F_NEEDS_CSUM). Segmenting and
 * coalescing of large TCP will live here too. No state, any thread.
 */
#ifndef IN_OFFLOAD_H
#define IN_OFFLOAD_H

#include <stdbool.h>
#include <stdint.h>

/**
 * Add 16-bit words to @sum, not folded yet. An odd length is padded with zero, so only the last
 * piece of what is summed may have one. Up to 4 GiB in all.
 */
uint64_t in_csum_add(uint64_t sum, const void *data, uint32_t len);
/** Fold to 16 bits and complement; in network order, to be copied into the packet as it is. */
uint16_t in_csum_finish(uint64_t sum);

/**
 * Finish a checksum that the sender left partial: sums [@start, @len) and stores at start+offset.
 * Zero is stored as 0xffff, which means the same to TCP and is what UDP asks for (RFC 768).
 * False, and nothing written, if the offsets do not lie in the packet.
 */
bool in_csum_complete(uint8_t *packet, uint32_t len, uint32_t start, uint32_t offset);

#endif
