/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_url.h. No state, any thread. */
#include "ws_url.h"

#include "base_authority.h"

#include <string.h>

#define DEFAULT_PORT 80 /* RFC 6455, section 3 */
#define FORM "write it as ws://HOST:8765/ws"

int ws_url_parse(struct ws_url *ret_url, const char *text, struct base_error *ret_error)
{
	struct ws_url url = {.port = DEFAULT_PORT};
	struct base_authority authority;
	struct base_error why;
	const char *rest;
	ssize_t len;

	if (strncmp(text, "wss://", 6) == 0)
		return base_error_set(ret_error, -EINVAL,
			"server URL %s: wss is not spoken here; dial ws:// through the tunnel",
			text);
	if (strncmp(text, "ws://", 5) != 0)
		return base_error_set(ret_error, -EINVAL, "server URL %s: " FORM, text);
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c == 0x7f || *c == '@' || *c == '#')
			return base_error_set(ret_error, -EINVAL,
				"server URL %s: byte %zu does not belong in it; " FORM, text,
				(size_t)(c - text) + 1);
	rest = text + 5;
	len = base_authority_parse(&authority, rest, &why);
	if (len < 0)
		return base_error_set(
			ret_error, -EINVAL, "server URL %s: %s; " FORM, text, why.text);
	rest += len;
	memcpy(url.host, authority.host, sizeof(url.host));
	if (authority.port)
		url.port = authority.port;
	if (strlen(rest) >= sizeof(url.path) - 1)
		return base_error_set(ret_error, -EINVAL, "server URL %s: path too long", text);
	snprintf(url.path, sizeof(url.path), "%s%s", *rest == '/' ? "" : "/", rest);
	*ret_url = url;
	return 0;
}
