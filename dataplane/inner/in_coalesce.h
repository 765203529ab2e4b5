/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many packets into few large ones for the kernel, the reverse of in_segments_write(): packets of a
 * burst that follow each other in one TCP or UDP flow become a run, which one writev() carries as a
 * virtio_net_hdr, the first packet, and the payloads of the others. No state, any thread.
 *
 * Nothing is lost by it: cutting a run gives back the packets, byte for byte, in the order they had within
 * their flow (but for the IPv4 identification under Don't Fragment, which means nothing: RFC
 * 6864, 4.1; and a TCP checksum of zero may come back as 0xffff, its other form). Hence the rules, a little stricter than the kernel's own:
 *
 *   headers   equal in length and bytes, options and window too, but for lengths, checksums,
 *             identification and sequence number
 *   IPv4      no options, no fragment, right header checksum, identification counting up or DF
 *   IPv6      no extension headers
 *   TCP       sequence numbers without a gap, ACK set, PSH only on the last, no other flag but ECE
 *   payload   as long as the first one's, the last may be shorter; none is a packet on its own
 *   checksum  right in every packet: the kernel is told to trust the run. One that is wrong, or
 *             absent (UDP), leaves its packet alone and as it came.
 */
#ifndef IN_COALESCE_H
#define IN_COALESCE_H

#include <stdbool.h>
#include <stdint.h>

#include "in_offload.h"

/** Packets of a burst at most. */
#define IN_COALESCE_PKTS_MAX 64

/** An inner packet, data at its IP header, not trusted for anything. */
struct in_bytes {
	uint8_t *data;
	uint32_t len;
};

struct in_run {
	struct in_vnet vnet;  /* all zero if the run is one packet, which then is untouched */
	uint16_t headers_len; /* bytes to leave out of every packet but the first */
	uint8_t n_pkts;
	uint8_t first; /* number of its first packet; in_coalesce.next leads on */

	/* While it grows. */
	uint8_t last;
	bool is_open;        /* may take more packets */
	bool is_first_right; /* its checksum was looked at, when a second packet came */
	uint8_t l4_off;
	uint32_t flow_hash;
	uint32_t len;      /* of the large packet */
	uint32_t next_seq; /* TCP */
	uint16_t next_id;  /* IPv4 */
	uint16_t segment_payload_len;
};

struct in_coalesce {
	unsigned n_runs;
	unsigned first_open; /* runs before this one take nothing more */
	struct in_run runs[IN_COALESCE_PKTS_MAX];
	uint8_t next[IN_COALESCE_PKTS_MAX]; /* of each packet in its run */
};

/**
 * Sort @n packets (at most IN_COALESCE_PKTS_MAX) into runs, in the order of their first packets.
 * The headers of a run's first packet are changed in place to those of the large packet. @has_udp:
 * the kernel takes IN_GSO_UDP (Linux 6.2).
 */
void in_coalesce(
	struct in_coalesce *ret_coalesce, const struct in_bytes *pkts, unsigned n, bool has_udp);

#endif
