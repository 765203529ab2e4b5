/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_url.h. */
#include "coord_url.h"

#include "base_authority.h"

#include <string.h>

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
	const char *rest = skip_scheme(&url.is_tls, text);
	struct base_authority authority;
	ssize_t len;

	if (!rest)
		return base_error_set(ret_error, -EINVAL,
			"it begins with neither http:// nor https://; write http://HOST:8080");
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c == 0x7f || *c == '@' || *c == '#' || *c == '\\')
			return base_error_set(ret_error, -EINVAL,
				"byte %zu does not belong in it; write http://HOST:8080",
				(size_t)(c - text) + 1);
	len = base_authority_parse(&authority, rest, ret_error);
	if (len < 0)
		return (int)len;
	rest += len;
	memcpy(url.host, authority.host, sizeof(url.host));
	url.has_port = authority.port != 0;
	url.port = url.has_port ? authority.port : url.is_tls ? 443 : 80;
	if (strlen(rest) >= sizeof(url.path) - 1)
		return base_error_set(ret_error, -EINVAL, "its path is too long");
	snprintf(url.path, sizeof(url.path), "%s%s", *rest == '/' ? "" : "/", rest);
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
