/* SPDX-License-Identifier: BSD-3-Clause */
/* Checksums (RFC 1071). No state, any thread. See in_offload.h. */
#include "in_offload.h"

#include <string.h>

/*
 * The ones' complement sum does not care for the byte order as long as the result is stored in
 * the order it was read (RFC 1071, 2B), nor for the word size as long as carries are folded back:
 * so 32-bit native words are summed into 64 bits, which compilers turn into vectors.
 */
uint64_t in_csum_add(uint64_t sum, const void *data, uint32_t len)
{
	const uint8_t *p = data;
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

uint16_t in_csum_finish(uint64_t sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (uint16_t)~sum;
}

bool in_csum_complete(uint8_t *packet, uint32_t len, uint32_t start, uint32_t offset)
{
	uint16_t csum;

	if (start > len || len - start < 2 || offset > len - start - 2)
		return false;
	csum = in_csum_finish(in_csum_add(0, packet + start, len - start));
	if (csum == 0)
		csum = 0xffff;
	memcpy(packet + start + offset, &csum, sizeof(csum));
	return true;
}
