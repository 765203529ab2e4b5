/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Capture files that tcpdump, tshark and everything on libpcap reads: pcapng (draft-ietf-opsawg-pcapng) with what a
 * capture of a tunnel needs: a section, interfaces, packets with direction and comment, and at the end how
 * many were lost. In the machine's byte order, as the format allows; nothing is ever read back or sought,
 * so it goes into a pipe as well.
 */
#ifndef CLI_PCAPNG_H
#define CLI_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Of tcpdump.org's list. */
enum cli_linktype { CLI_LINKTYPE_ETHERNET = 1, CLI_LINKTYPE_RAW = 101 };

#define CLI_PCAPNG_BYTES_MAX 2048
#define CLI_PCAPNG_TEXT_MAX 256

struct cli_pcapng_packet {
	unsigned interface;
	uint64_t unix_ns;
	bool is_out;
	const void *data;
	uint32_t data_len;   /* at most CLI_PCAPNG_BYTES_MAX */
	uint32_t packet_len; /* on the wire */
	const char *comment; /* cut at CLI_PCAPNG_TEXT_MAX; NULL: none */
};

/* Each is false when the file cannot be written; errno says why. */

/** Section and interfaces, numbered from 0 in the order of @names. */
bool cli_pcapng_begin(FILE *file, enum cli_linktype linktype, uint32_t snaplen,
	const char *const *names, unsigned n_names);
bool cli_pcapng_packet(FILE *file, const struct cli_pcapng_packet *packet);
/** Statistics of interface 0: @n_lost packets were not captured. */
bool cli_pcapng_end(FILE *file, uint64_t unix_ns, uint64_t n_lost);

#endif
