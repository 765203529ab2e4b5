/* SPDX-License-Identifier: BSD-3-Clause */
/* HOST[:PORT] as it stands in a URL (RFC 3986, 3.2.2 and 3.2.3), without credentials. No state, any thread. */
#ifndef BASE_AUTHORITY_H
#define BASE_AUTHORITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base_err.h"

struct base_authority {
	char host
		[256]; /* a name, or an address without brackets; lower case, for names compare without regard to it */
	uint16_t port; /* 0: none is written */
};

/**
 * Read it from the start of @text up to '/', '?' or the end. Returns its length, or -EINVAL with a line that says what is
 * wrong: no host, brackets around anything but an IPv6 address, a port that is none.
 */
BASE_MUST_CHECK ssize_t base_authority_parse(
	struct base_authority *ret_authority, const char *text, struct base_error *ret_error);

#endif
