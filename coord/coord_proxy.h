/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which proxy stands between us and a host, by the environment as curl reads it: http_proxy (lower case only: its upper-case
 * twin is what a CGI client may set), https_proxy and HTTPS_PROXY, all_proxy and ALL_PROXY, no_proxy and NO_PROXY with names,
 * their domains, addresses and prefixes. Everything goes through it by CONNECT, since the upgrade of plain http needs the
 * stream for itself too. Proxies that want TLS or SOCKS are refused with a line. Thread: one; reads the environment.
 */
#ifndef COORD_PROXY_H
#define COORD_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"
#include "coord_url.h"

#define COORD_PROXY_CONNECT_BYTES_MAX 2048

struct coord_proxy {
	bool is_used;
	char host[256];
	uint16_t port;
	char credentials[512]; /* "USER:PASSWORD", decoded; a secret; "" */
};

/** Returns 0, or -EINVAL with a line that names the variable. Wipe after use. */
BASE_MUST_CHECK int coord_proxy_find(
	struct coord_proxy *ret_proxy, const struct coord_url *to, struct base_error *ret_error);
void coord_proxy_wipe(struct coord_proxy *proxy);

/** The CONNECT request to send; wipe it after. Returns its length; 0: too long. */
size_t coord_proxy_connect(char out[COORD_PROXY_CONNECT_BYTES_MAX], const struct coord_proxy *proxy,
	const struct coord_url *to);

#endif
