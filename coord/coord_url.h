/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a server or a proxy is, as people write it: http[s]://[USER:PASSWORD@]HOST[:PORT][/PATH]. No state, any thread. */
#ifndef COORD_URL_H
#define COORD_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"

struct coord_url {
	bool is_tls;
	char host[256]; /* a name, or an address without brackets; lower case */
	uint16_t port;  /* the scheme's own if none is written */
	bool has_port;
	char authority[272]; /* of a Host header: with brackets, without the scheme's own port */
	char path[1024];     /* with the query; starts with '/' */
};

/** Refuses credentials, fragments, blanks. Returns 0, or -EINVAL with a line that says what is wrong. */
BASE_MUST_CHECK int coord_url_parse(
	struct coord_url *ret_url, const char *text, struct base_error *ret_error);
/** The address of a server: the same, and without a path or a query. */
BASE_MUST_CHECK int coord_url_parse_server(
	struct coord_url *ret_url, const char *text, struct base_error *ret_error);

#endif
