/* SPDX-License-Identifier: BSD-3-Clause */
/* Addresses, prefixes, endpoints. Any thread. See base_addr.h. */
#include "base_addr.h"

#include "base_bytes.h"

#include <arpa/inet.h>
#include <stdlib.h>

static int family_to_af(uint8_t family)
{
	return family == BASE_FAMILY_V4 ? AF_INET : AF_INET6;
}

struct base_addr base_addr_from_bytes(enum base_family family, const void *bytes)
{
	struct base_addr addr = {.family = (uint8_t)family};

	memcpy(addr.bytes, bytes, base_family_bytes(family));
	return addr;
}

int base_addr_parse(struct base_addr *ret_addr, const char *text)
{
	struct base_addr addr = {0};

	addr.family = strchr(text, ':') ? BASE_FAMILY_V6 : BASE_FAMILY_V4;
	if (inet_pton(family_to_af(addr.family), text, addr.bytes) != 1)
		return -EINVAL;
	*ret_addr = addr;
	return 0;
}

/* A decimal number of at most five digits, no sign, no leading zero but "0" itself. */
static int parse_small(unsigned *ret_value, const char *text, unsigned max)
{
	unsigned value = 0;
	size_t len = strlen(text);

	if (len == 0 || len > 5 || (text[0] == '0' && len > 1))
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		value = value * 10 + (unsigned)(*text - '0');
	}
	if (value > max)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

int base_ifaddr_parse(struct base_prefix *ret_ifaddr, const char *text)
{
	char copy[BASE_PREFIX_TEXT_LEN];
	size_t len = strlen(text);
	struct base_prefix prefix = {0};
	unsigned bits;
	char *slash;

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len + 1);
	slash = strchr(copy, '/');
	if (slash)
		*slash = '\0';
	if (base_addr_parse(&prefix.addr, copy) < 0)
		return -EINVAL;
	bits = 8 * base_family_bytes(prefix.addr.family);
	if (slash && parse_small(&bits, slash + 1, bits) < 0)
		return -EINVAL;
	prefix.bits = (uint8_t)bits;
	*ret_ifaddr = prefix;
	return 0;
}

/* Clear the bits past the prefix; returns true if any was set. */
static bool clear_host_bits(struct base_prefix *prefix)
{
	unsigned bytes = base_family_bytes(prefix->addr.family);
	bool had_any = false;

	for (unsigned i = 0; i < bytes; i++) {
		int keep = (int)prefix->bits - (int)(8 * i);
		uint8_t mask = keep >= 8 ? 0xff : keep <= 0 ? 0 : (uint8_t)(0xff00 >> keep);

		had_any |= (prefix->addr.bytes[i] & ~mask) != 0;
		prefix->addr.bytes[i] &= mask;
	}
	return had_any;
}

int base_prefix_parse(struct base_prefix *ret_prefix, const char *text, bool strict)
{
	struct base_prefix prefix;

	if (base_ifaddr_parse(&prefix, text) < 0)
		return -EINVAL;
	if (clear_host_bits(&prefix) && strict)
		return -EINVAL;
	*ret_prefix = prefix;
	return 0;
}

/* An IPv4 address in IPv6's clothes (RFC 4291, 2.5.5.2) is reached as what it is. */
static void unmap(struct base_addr *addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (addr->family == BASE_FAMILY_V6 && memcmp(addr->bytes, mapped, sizeof(mapped)) == 0)
		*addr = base_addr_from_bytes(BASE_FAMILY_V4, addr->bytes + 12);
}

int base_endpoint_parse(struct base_endpoint *ret_endpoint, const char *text)
{
	char copy[BASE_ENDPOINT_TEXT_LEN] = "";
	size_t len = strlen(text);
	struct base_endpoint endpoint = {0};
	char *host = copy, *colon;
	unsigned port;
	bool bracketed;

	if (len >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, len + 1);
	colon = strrchr(copy, ':');
	if (!colon)
		return -EINVAL;
	*colon = '\0';
	bracketed = copy[0] == '[';
	if (bracketed) {
		if (colon == copy || colon[-1] != ']')
			return -EINVAL;
		colon[-1] = '\0';
		host++;
	}
	if (parse_small(&port, colon + 1, 65535) < 0 || port == 0)
		return -EINVAL;
	if (base_addr_parse(&endpoint.addr, host) < 0)
		return -EINVAL;
	if (bracketed != (endpoint.addr.family == BASE_FAMILY_V6))
		return -EINVAL;
	unmap(&endpoint.addr);
	endpoint.port = (uint16_t)port;
	*ret_endpoint = endpoint;
	return 0;
}

const char *base_addr_print(char buf[BASE_ADDR_TEXT_LEN], const struct base_addr *addr)
{
	if (addr->family == BASE_FAMILY_NONE ||
		!inet_ntop(family_to_af(addr->family), addr->bytes, buf, BASE_ADDR_TEXT_LEN))
		memcpy(buf, "none", sizeof("none"));
	return buf;
}

const char *base_prefix_print(char buf[BASE_PREFIX_TEXT_LEN], const struct base_prefix *prefix)
{
	char addr[BASE_ADDR_TEXT_LEN];

	snprintf(buf, BASE_PREFIX_TEXT_LEN, "%s/%u", base_addr_print(addr, &prefix->addr),
		prefix->bits);
	return buf;
}

const char *base_endpoint_print(
	char buf[BASE_ENDPOINT_TEXT_LEN], const struct base_endpoint *endpoint)
{
	char addr[BASE_ADDR_TEXT_LEN];

	base_addr_print(addr, &endpoint->addr);
	if (endpoint->addr.family == BASE_FAMILY_NONE)
		snprintf(buf, BASE_ENDPOINT_TEXT_LEN, "none");
	else if (endpoint->addr.family == BASE_FAMILY_V6)
		snprintf(buf, BASE_ENDPOINT_TEXT_LEN, "[%s]:%u", addr, endpoint->port);
	else
		snprintf(buf, BASE_ENDPOINT_TEXT_LEN, "%s:%u", addr, endpoint->port);
	return buf;
}

bool base_addr_equal(const struct base_addr *a, const struct base_addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool base_prefix_equal(const struct base_prefix *a, const struct base_prefix *b)
{
	return a->bits == b->bits && base_addr_equal(&a->addr, &b->addr);
}

bool base_endpoint_equal(const struct base_endpoint *a, const struct base_endpoint *b)
{
	return a->port == b->port && base_addr_equal(&a->addr, &b->addr);
}

bool base_prefix_contains(const struct base_prefix *prefix, const struct base_addr *addr)
{
	struct base_prefix host = {.addr = *addr, .bits = prefix->bits};

	if (prefix->addr.family != addr->family)
		return false;
	clear_host_bits(&host);
	return base_addr_equal(&host.addr, &prefix->addr);
}

static uint64_t rotate_left(uint64_t x, int n)
{
	return x << n | x >> (64 - n);
}

static void sip_rounds(uint64_t v[4], int n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate_left(v[1], 13) ^ v[0];
		v[3] = rotate_left(v[3], 16) ^ v[2];
		v[0] = rotate_left(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate_left(v[1], 17) ^ v[2];
		v[3] = rotate_left(v[3], 21) ^ v[0];
		v[2] = rotate_left(v[2], 32);
	}
}

/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): who sends the addresses does not know the key, and
 * so cannot fill one bucket of a table on purpose.
 */
static uint64_t siphash(uint64_t k0, uint64_t k1, const uint8_t *data, size_t len)
{
	uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
		k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
	uint8_t last[8] = {0};
	size_t whole = len / 8;

	memcpy(last, data + 8 * whole, len % 8);
	last[7] = (uint8_t)len;
	for (size_t i = 0; i <= whole; i++) {
		uint64_t word = base_load_le64(i < whole ? data + 8 * i : last);

		v[3] ^= word;
		sip_rounds(v, 2);
		v[0] ^= word;
	}
	v[2] ^= 0xff;
	sip_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t base_addr_hash(const struct base_addr *addr, uint64_t seed)
{
	uint8_t text[sizeof(addr->bytes) + 1];

	memcpy(text, addr->bytes, sizeof(addr->bytes));
	text[16] = addr->family;
	/* The second key word need not be secret: 64 unknown bits are out of reach. */
	return siphash(seed, 0, text, sizeof(text));
}

uint64_t base_endpoint_hash(const struct base_endpoint *endpoint, uint64_t seed)
{
	uint8_t text[sizeof(endpoint->addr.bytes) + 3];

	memcpy(text, endpoint->addr.bytes, sizeof(endpoint->addr.bytes));
	text[16] = endpoint->addr.family;
	base_store_be16(text + 17, endpoint->port);
	return siphash(seed, 0, text, sizeof(text));
}
