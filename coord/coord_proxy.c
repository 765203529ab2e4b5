/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_proxy.h. */
#include "coord_proxy.h"

#include "base_addr.h"
#include "base_bytes.h"

#include <stdlib.h>
#include <strings.h>

#include <sodium.h>

#define DEFAULT_PORT 1080 /* curl's, where none is written */

/* The first of the names that is set and not empty. */
static const char *read_environment(const char *const *names, const char **ret_name)
{
	for (; *names; names++) {
		const char *value = getenv(*names);

		if (value && *value) {
			*ret_name = *names;
			return value;
		}
	}
	return NULL;
}

/* "example.com" and ".example.com" stand for the name and all below it. */
static bool is_below(const char *host, const char *domain, size_t len)
{
	size_t host_len = strlen(host);

	while (len > 0 && *domain == '.') {
		domain++;
		len--;
	}
	while (len > 0 && domain[len - 1] == '.')
		len--;
	if (len == 0 || len > host_len || strncasecmp(host + host_len - len, domain, len) != 0)
		return false;
	return len == host_len || host[host_len - len - 1] == '.';
}

static bool is_excepted_by(const char *host, const char *item, size_t len)
{
	struct base_addr addr;
	struct base_prefix prefix;
	char text[BASE_PREFIX_TEXT_LEN + 2];

	if (len == 1 && *item == '*')
		return true;
	if (base_addr_parse(&addr, host) != 0)
		return is_below(host, item, len);
	if (len > 2 && *item == '[' && item[len - 1] == ']') {
		item++;
		len -= 2;
	}
	if (len >= sizeof(text))
		return false;
	memcpy(text, item, len);
	text[len] = '\0';
	return base_prefix_parse(&prefix, text, false) == 0 && base_prefix_contains(&prefix, &addr);
}

static bool is_excepted(const char *host)
{
	static const char *const names[] = {"no_proxy", "NO_PROXY", NULL};
	const char *name, *list = read_environment(names, &name);

	while (list && *list) {
		size_t len = strcspn(list, ", ");

		if (len > 0 && is_excepted_by(host, list, len))
			return true;
		list += len;
		list += *list != '\0';
	}
	return false;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "us%40er:secret" to bytes; false: too long, not hex, or a control character, which would end a header. */
static bool decode_credentials(char *ret_text, size_t size, const char *text, size_t len)
{
	size_t at = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '%') {
			if (i + 2 >= len || hex_digit(text[i + 1]) < 0 ||
				hex_digit(text[i + 2]) < 0)
				return false;
			c = (unsigned char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
			i += 2;
		}
		if (c < 0x20 || c == 0x7f || at + 1 >= size)
			return false;
		ret_text[at++] = (char)c;
	}
	ret_text[at] = '\0';
	return true;
}

/* [http://][USER:PASSWORD@]HOST[:PORT][/]; the value is never shown: it may hold a password. */
static int parse(struct coord_proxy *ret_proxy, const char *name, const char *value,
	struct base_error *ret_error)
{
	const char *scheme_end = strstr(value, "://"), *at;
	char text[512];
	struct coord_url url;

	if (scheme_end && strncasecmp(value, "http://", 7) != 0)
		return base_error_set(ret_error, -EINVAL,
			"%s names a %.*s proxy; only http:// proxies are spoken to", name,
			(int)(scheme_end - value < 16 ? scheme_end - value : 16), value);
	if (scheme_end)
		value = scheme_end + 3;
	at = strrchr(value, '@');
	if (at) {
		if (!decode_credentials(ret_proxy->credentials, sizeof(ret_proxy->credentials),
			    value, (size_t)(at - value)))
			return base_error_set(ret_error, -EINVAL,
				"%s: its user and password cannot be read", name);
		value = at + 1;
	}
	if ((size_t)snprintf(text, sizeof(text), "http://%s", value) >= sizeof(text) ||
		coord_url_parse(&url, text, NULL) != 0)
		return base_error_set(ret_error, -EINVAL,
			"%s is no address of a proxy; write http://HOST:PORT", name);
	snprintf(ret_proxy->host, sizeof(ret_proxy->host), "%s", url.host);
	ret_proxy->port = url.has_port ? url.port : DEFAULT_PORT;
	ret_proxy->is_used = true;
	return 0;
}

int coord_proxy_find(
	struct coord_proxy *ret_proxy, const struct coord_url *to, struct base_error *ret_error)
{
	static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
	static const char *const secure[] = {
		"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL};
	const char *name = NULL, *value = read_environment(to->is_tls ? secure : plain, &name);
	struct coord_proxy proxy = {0};
	int rc = 0;

	if (value && !is_excepted(to->host))
		rc = parse(&proxy, name, value, ret_error);
	if (rc == 0)
		*ret_proxy = proxy;
	coord_proxy_wipe(&proxy);
	return rc;
}

void coord_proxy_wipe(struct coord_proxy *proxy)
{
	base_wipe(proxy, sizeof(*proxy));
}

size_t coord_proxy_connect(char out[COORD_PROXY_CONNECT_BYTES_MAX], const struct coord_proxy *proxy,
	const struct coord_url *to)
{
	bool is_v6 = strchr(to->host, ':') != NULL;
	char login[sodium_base64_ENCODED_LEN(
		sizeof(proxy->credentials), sodium_base64_VARIANT_ORIGINAL)];
	char target[280];
	int len;

	snprintf(target, sizeof(target), "%s%s%s:%u", is_v6 ? "[" : "", to->host, is_v6 ? "]" : "",
		(unsigned)to->port);
	login[0] = '\0';
	if (proxy->credentials[0])
		sodium_bin2base64(login, sizeof(login), (const uint8_t *)proxy->credentials,
			strlen(proxy->credentials), sodium_base64_VARIANT_ORIGINAL);
	len = snprintf(out, COORD_PROXY_CONNECT_BYTES_MAX,
		"CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n", target, target,
		login[0] ? "Proxy-Authorization: Basic " : "", login, login[0] ? "\r\n" : "");
	base_wipe(login, sizeof(login));
	return len > 0 && len < COORD_PROXY_CONNECT_BYTES_MAX ? (size_t)len : 0;
}
