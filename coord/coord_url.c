/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_url.h. */
#include "coord_url.h"

#include "base_addr.h"

#include <stddef.h>

static int parse_port(uint16_t *ret_port, const char *text, size_t len)
{
	unsigned port = 0;

	if (len == 0 || len > 5)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	if (port == 0 || port > UINT16_MAX)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

static const char *skip_scheme(bool *ret_is_tls, const char *text)
{
	if (strncmp(text, "https://", 8) == 0) {
		*ret_is_tls = true;
		return text + 8;
	}
	if (strncmp(text, "http://", 7) == 0) {
		*ret_is_tls = false;
		return text + 7;
	}
	return NULL;
}

/* Between brackets stands an IPv6 address (RFC 3986, 3.2.2), and nowhere else does a bracket. */
static bool is_host(const char *host, bool is_bracketed)
{
	struct base_addr addr;

	if (is_bracketed)
		return base_addr_parse(&addr, host) == 0 && addr.family == BASE_FAMILY_V6;
	return strpbrk(host, "[]") == NULL;
}

/* Names compare without regard to case; so they are kept in one. */
static bool copy_host(char *ret_host, size_t size, const char *host, size_t len)
{
	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i < len; i++)
		ret_host[i] = (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] + 32 : host[i]);
	ret_host[len] = '\0';
	return true;
}

static void print_authority(struct coord_url *url)
{
	bool is_v6 = strchr(url->host, ':') != NULL;
	bool is_default = url->port == (url->is_tls ? 443 : 80);
	char port[8] = "";

	if (!is_default)
		snprintf(port, sizeof(port), ":%u", (unsigned)url->port);
	snprintf(url->authority, sizeof(url->authority), "%s%s%s%s", is_v6 ? "[" : "", url->host,
		is_v6 ? "]" : "", port);
}

int coord_url_parse(struct coord_url *ret_url, const char *text, struct base_error *ret_error)
{
	struct coord_url url = {0};
	const char *host = skip_scheme(&url.is_tls, text), *end, *authority_end;
	size_t authority_len;
	bool is_bracketed;

	if (!host)
		return base_error_set(ret_error, -EINVAL,
			"it begins with neither http:// nor https://; write http://HOST:8080");
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c == 0x7f || *c == '@' || *c == '#' || *c == '\\')
			return base_error_set(ret_error, -EINVAL,
				"byte %zu does not belong in it; write http://HOST:8080",
				(size_t)(c - text) + 1);
	authority_end = host + strcspn(host, "/?");
	authority_len = (size_t)(authority_end - host);
	is_bracketed = *host == '[';
	if (is_bracketed) {
		end = memchr(host, ']', authority_len);
		if (!end)
			return base_error_set(ret_error, -EINVAL, "'[' without ']'");
		host++;
	} else {
		end = host + strcspn(host, ":/?");
	}
	if (!copy_host(url.host, sizeof(url.host), host, (size_t)(end - host)))
		return base_error_set(ret_error, -EINVAL, "no host in it, or too long a one");
	if (!is_host(url.host, is_bracketed))
		return base_error_set(ret_error, -EINVAL,
			"'%s' is no host: a name, an IPv4 address, or an IPv6 address in '[]'",
			url.host);
	end += *end == ']';
	url.port = url.is_tls ? 443 : 80;
	url.has_port = end != authority_end;
	if (url.has_port &&
		(*end != ':' ||
			parse_port(&url.port, end + 1, (size_t)(authority_end - end) - 1) != 0))
		return base_error_set(ret_error, -EINVAL, "the port is a number from 1 to 65535");
	if (strlen(authority_end) >= sizeof(url.path) - 1)
		return base_error_set(ret_error, -EINVAL, "its path is too long");
	snprintf(url.path, sizeof(url.path), "%s%s", *authority_end == '/' ? "" : "/",
		authority_end);
	print_authority(&url);
	*ret_url = url;
	return 0;
}

int coord_url_parse_server(
	struct coord_url *ret_url, const char *text, struct base_error *ret_error)
{
	struct coord_url url;
	int rc = coord_url_parse(&url, text, ret_error);

	if (rc != 0)
		return rc;
	if (strcmp(url.path, "/") != 0)
		return base_error_set(
			ret_error, -EINVAL, "a path ('%s') does not belong in it", url.path);
	*ret_url = url;
	return 0;
}
