/* SPDX-License-Identifier: BSD-3-Clause */
/* See base_authority.h. */
#include "base_authority.h"

#include "base_addr.h"

#include <stddef.h>
#include <string.h>

static bool parse_port(uint16_t *ret_port, const char *text, size_t len)
{
	unsigned port = 0;

	if (len == 0 || len > 5)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	*ret_port = (uint16_t)port;
	return port > 0 && port <= UINT16_MAX;
}

/* Between brackets stands an IPv6 address, and nowhere else does a bracket. */
static bool is_host(const char *host, bool is_bracketed)
{
	struct base_addr addr;

	if (is_bracketed)
		return base_addr_parse(&addr, host) == 0 && addr.family == BASE_FAMILY_V6;
	return strpbrk(host, "[]") == NULL;
}

static bool copy_host(char *ret_host, size_t size, const char *host, size_t len)
{
	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i < len; i++)
		ret_host[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] + 32 : host[i]);
	ret_host[len] = '\0';
	return true;
}

ssize_t base_authority_parse(
	struct base_authority *ret_authority, const char *text, struct base_error *ret_error)
{
	struct base_authority authority = {.port = 0};
	size_t len = strcspn(text, "/?");
	bool is_bracketed = *text == '[';
	const char *host = text + is_bracketed, *end = text + len, *host_end;

	host_end = memchr(host, is_bracketed ? ']' : ':', (size_t)(end - host));
	if (is_bracketed && !host_end)
		return base_error_set(ret_error, -EINVAL, "'[' without ']'");
	if (!host_end)
		host_end = end;
	if (!copy_host(authority.host, sizeof(authority.host), host, (size_t)(host_end - host)))
		return base_error_set(ret_error, -EINVAL, "no host in it, or too long a one");
	if (!is_host(authority.host, is_bracketed))
		return base_error_set(ret_error, -EINVAL,
			"'%s' is no host: a name, an IPv4 address, or an IPv6 address in '[]'",
			authority.host);
	host_end += is_bracketed;
	if (host_end != end &&
		(*host_end != ':' ||
			!parse_port(&authority.port, host_end + 1, (size_t)(end - host_end) - 1)))
		return base_error_set(ret_error, -EINVAL, "the port is a number from 1 to 65535");
	*ret_authority = authority;
	return (ssize_t)len;
}
