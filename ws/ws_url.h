/* SPDX-License-Identifier: BSD-3-Clause */
/* The controller's address as people write it: ws://HOST[:PORT]/PATH. No state, any thread. */
#ifndef WS_URL_H
#define WS_URL_H

#include <stdint.h>

#include "base_err.h"

struct ws_url {
	char host[256]; /* a name, or an address without brackets */
	uint16_t port;
	char path[256]; /* starts with '/' */
};

/** Returns 0, or -EINVAL with a line that says what is wrong and what is right. */
BASE_MUST_CHECK int ws_url_parse(
	struct ws_url *ret_url, const char *text, struct base_error *ret_error);

#endif
