/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_url.h. No state, any thread. */
#include "ws_url.h"

#include <stdlib.h>

#define DEFAULT_PORT 80 /* RFC 6455, section 3 */
#define FORM "write it as ws://HOST:8765/ws"

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

int ws_url_parse(struct ws_url *ret_url, const char *text, struct base_error *ret_error)
{
	struct ws_url url = {.port = DEFAULT_PORT};
	const char *host, *end, *authority_end;

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
	host = text + 5;
	authority_end = host + strcspn(host, "/?");
	if (*host == '[') {
		host++;
		end = memchr(host, ']', (size_t)(authority_end - host));
		if (!end)
			return base_error_set(ret_error, -EINVAL, "server URL %s: no ']'", text);
	} else {
		end = host + strcspn(host, ":/?");
	}
	if (end == host || (size_t)(end - host) >= sizeof(url.host))
		return base_error_set(ret_error, -EINVAL, "server URL %s: bad host; " FORM, text);
	memcpy(url.host, host, (size_t)(end - host));
	end += *end == ']';
	if (end != authority_end &&
		(*end != ':' || parse_port(&url.port, end + 1, (size_t)(authority_end - end) - 1)))
		return base_error_set(ret_error, -EINVAL,
			"server URL %s: the port is a number from 1 to 65535", text);
	if (strlen(authority_end) >= sizeof(url.path) - 1)
		return base_error_set(ret_error, -EINVAL, "server URL %s: path too long", text);
	snprintf(url.path, sizeof(url.path), "%s%s", *authority_end == '/' ? "" : "/",
		authority_end);
	*ret_url = url;
	return 0;
}
