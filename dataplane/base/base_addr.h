/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses, prefixes and endpoints as values: parse, print, compare, hash. No sockets in here:
 * a struct sockaddr is built by whoever talks to the kernel. No state, any thread.
 */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

/** Address families as the wire names them: the IP version, 0 for "none". */
enum base_family { BASE_FAMILY_NONE = 0, BASE_FAMILY_V4 = 4, BASE_FAMILY_V6 = 6 };

/** An IPv4 or IPv6 address; bytes in network order, IPv4 in the first four, the rest zero. */
struct base_addr {
	uint8_t bytes[16];
	uint8_t family; /* enum base_family */
};

/** A prefix; bits past @bits are zero. */
struct base_prefix {
	struct base_addr addr;
	uint8_t bits;
};

/** An outer address and port. */
struct base_endpoint {
	struct base_addr addr;
	uint16_t port; /* host order */
};

/** Longest text of each, with the NUL: "[v6]:65535" and "v6/128". */
#define BASE_ADDR_TEXT_LEN 46
#define BASE_PREFIX_TEXT_LEN 50
#define BASE_ENDPOINT_TEXT_LEN 56

/** Bytes of an address of this family: 4, 16 or 0. */
static inline unsigned base_family_bytes(enum base_family family)
{
	return family == BASE_FAMILY_V4 ? 4 : family == BASE_FAMILY_V6 ? 16 : 0;
}

/** Make an address from wire bytes; @family is V4 or V6. */
struct base_addr base_addr_from_bytes(enum base_family family, const void *bytes);

/** "192.0.2.1" or "2001:db8::1" (no zone). Returns 0 or -EINVAL. */
BASE_MUST_CHECK int base_addr_parse(struct base_addr *ret_addr, const char *text);

/**
 * "10.0.0.0/8", "2001:db8::/32"; an address alone is a host prefix. Host bits that are set are
 * an error when @strict, else cleared. Returns 0 or -EINVAL.
 */
BASE_MUST_CHECK int base_prefix_parse(
	struct base_prefix *ret_prefix, const char *text, bool strict);

/**
 * An address of an interface with its prefix length: "10.9.0.1/24" keeps the host bits in
 * ret_prefix->addr. Returns 0 or -EINVAL.
 */
BASE_MUST_CHECK int base_ifaddr_parse(struct base_prefix *ret_ifaddr, const char *text);

/**
 * "192.0.2.1:51820" or "[2001:db8::1]:51820"; port 1-65535, numeric only, no zone. A mapped address
 * ("[::ffff:192.0.2.1]:51820") becomes the IPv4 address that it is. Returns 0 or -EINVAL.
 */
BASE_MUST_CHECK int base_endpoint_parse(struct base_endpoint *ret_endpoint, const char *text);

/* Printers return @buf, for use as printf arguments; family NONE prints as "none". */
const char *base_addr_print(char buf[BASE_ADDR_TEXT_LEN], const struct base_addr *addr);
const char *base_prefix_print(char buf[BASE_PREFIX_TEXT_LEN], const struct base_prefix *prefix);
const char *base_endpoint_print(
	char buf[BASE_ENDPOINT_TEXT_LEN], const struct base_endpoint *endpoint);

bool base_addr_equal(const struct base_addr *a, const struct base_addr *b);
bool base_prefix_equal(const struct base_prefix *a, const struct base_prefix *b);
bool base_endpoint_equal(const struct base_endpoint *a, const struct base_endpoint *b);

/** True if @addr lies in @prefix (never across families). */
bool base_prefix_contains(const struct base_prefix *prefix, const struct base_addr *addr);

/**
 * A keyed hash (SipHash) of the value, for tables that outsiders fill: @seed comes from the
 * kernel's random numbers and is told to nobody. Some 100 cycles.
 */
uint64_t base_addr_hash(const struct base_addr *addr, uint64_t seed);
uint64_t base_endpoint_hash(const struct base_endpoint *endpoint, uint64_t seed);

#endif
