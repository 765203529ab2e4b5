/* SPDX-License-Identifier: BSD-3-Clause */
/* Times as the server writes them. Pure; any thread. */
#ifndef COORD_TIME_H
#define COORD_TIME_H

#include <stdint.h>

#include "base_err.h"

/**
 * RFC 3339 as Go writes it: "2026-07-01T12:00:01.5+02:00"; a fraction of any length is cut off, Z or an offset
 * must follow, no leap second. Years 0 to 9999, so the result may be negative. 0 or -EINVAL.
 */
BASE_MUST_CHECK int coord_time_parse(const char *text, int64_t *ret_unix_s);

#endif
