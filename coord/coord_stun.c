/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_stun.h. */
#include "coord_stun.h"

#include "base_bytes.h"

#include <string.h>

#define HEADER_BYTES 20
#define ATTRIBUTE_BYTES 4 /* type and length */
#define COOKIE 0x2112a442u
#define FINGERPRINT_XOR 0x5354554eu /* RFC 8489, 14.7 */

enum {
	BINDING_REQUEST = 0x0001,
	BINDING_SUCCESS = 0x0101,
	MAPPED_ADDRESS = 0x0001,
	XOR_MAPPED_ADDRESS = 0x0020,
	XOR_MAPPED_ADDRESS_OLD = 0x8020, /* of drafts, still sent by some */
	SOFTWARE = 0x8022,
	FINGERPRINT = 0x8028,
};

/* CRC-32 of IEEE 802.3, reflected, bit by bit: 32 bytes a few times a minute. */
static uint32_t crc32(const uint8_t *data, size_t len)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < len; i++) {
		crc ^= data[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return ~crc;
}

void coord_stun_request(
	uint8_t out[COORD_STUN_REQUEST_BYTES], const uint8_t tx[COORD_STUN_TX_BYTES])
{
	uint8_t *software = out + HEADER_BYTES, *fingerprint = software + ATTRIBUTE_BYTES + 8;

	base_store_be16(out, BINDING_REQUEST);
	base_store_be16(out + 2, COORD_STUN_REQUEST_BYTES - HEADER_BYTES);
	base_store_be32(out + 4, COOKIE);
	memcpy(out + 8, tx, COORD_STUN_TX_BYTES);
	base_store_be16(software, SOFTWARE);
	base_store_be16(software + 2, 8);
	memcpy(software + ATTRIBUTE_BYTES, "tailnode", 8);
	base_store_be16(fingerprint, FINGERPRINT);
	base_store_be16(fingerprint + 2, 4);
	base_store_be32(fingerprint + ATTRIBUTE_BYTES,
		crc32(out, (size_t)(fingerprint - out)) ^ FINGERPRINT_XOR);
}

bool coord_stun_looks(const void *datagram, size_t len)
{
	const uint8_t *bytes = datagram;

	return len >= HEADER_BYTES && (bytes[0] & 0xc0) == 0 && bytes[1] == 0x01 &&
		base_load_be32(bytes + 4) == COOKIE;
}

/* What a dual-stack socket of a server makes of an IPv4 source (RFC 4291, 2.5.5.2). */
static void unmap(struct base_addr *addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (addr->family == BASE_FAMILY_V6 && memcmp(addr->bytes, mapped, sizeof(mapped)) == 0)
		*addr = base_addr_from_bytes(BASE_FAMILY_V4, addr->bytes + sizeof(mapped));
}

/* @value: zero, family, port, address; @mask: what the last two are XORed with, from the cookie on. */
static bool read_address(
	struct base_endpoint *ret, const uint8_t *value, size_t len, const uint8_t mask[16])
{
	size_t n = len >= 4 && value[1] == 1 ? 4 : len >= 4 && value[1] == 2 ? 16 : 0;
	uint8_t addr[16];

	if (n == 0 || len < 4 + n)
		return false;
	for (size_t i = 0; i < n; i++)
		addr[i] = value[4 + i] ^ mask[i];
	ret->port = base_load_be16(value + 2) ^ base_load_be16(mask);
	ret->addr = base_addr_from_bytes(n == 4 ? BASE_FAMILY_V4 : BASE_FAMILY_V6, addr);
	unmap(&ret->addr);
	return true;
}

/* Attributes from @at up to @end; the masked address counts before the plain one, which some NATs "correct". */
static int find_address(struct base_endpoint *ret_mapped, const uint8_t *at, const uint8_t *end,
	const uint8_t mask[16])
{
	static const uint8_t plain[16];
	bool has_plain = false;

	while (end - at >= ATTRIBUTE_BYTES) {
		unsigned type = base_load_be16(at);
		size_t len = base_load_be16(at + 2), padded = (len + 3) & ~(size_t)3;
		const uint8_t *value = at + ATTRIBUTE_BYTES;

		if ((size_t)(end - value) < len)
			return -EPROTO;
		if ((type == XOR_MAPPED_ADDRESS || type == XOR_MAPPED_ADDRESS_OLD) &&
			read_address(ret_mapped, value, len, mask))
			return 0;
		if (type == MAPPED_ADDRESS && !has_plain)
			has_plain = read_address(ret_mapped, value, len, plain);
		/* the last one may lack its padding */
		at = (size_t)(end - value) < padded ? end : value + padded;
	}
	return has_plain ? 0 : -ENODATA;
}

int coord_stun_response(uint8_t ret_tx[COORD_STUN_TX_BYTES], struct base_endpoint *ret_mapped,
	const void *datagram, size_t len)
{
	const uint8_t *bytes = datagram;
	struct base_endpoint mapped;
	size_t body;
	int rc;

	if (!coord_stun_looks(bytes, len) || base_load_be16(bytes) != BINDING_SUCCESS)
		return -EPROTO;
	body = base_load_be16(bytes + 2);
	if (body > len - HEADER_BYTES)
		return -EPROTO;
	/* The mask of an address is what follows the length: cookie and transaction. */
	rc = find_address(&mapped, bytes + HEADER_BYTES, bytes + HEADER_BYTES + body, bytes + 4);
	if (rc == 0 && mapped.port == 0)
		rc = -ENODATA;
	if (rc < 0)
		return rc;
	memcpy(ret_tx, bytes + 8, COORD_STUN_TX_BYTES);
	*ret_mapped = mapped;
	return 0;
}
