/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Address sets of the packet filter's texts (section 6.1): "*", an address, a prefix, "a-b"; as prefixes.
 * Pure; any thread.
 */
#ifndef COORD_RANGE_H
#define COORD_RANGE_H

#include <stddef.h>

#include "base_addr.h"
#include "base_err.h"

/** Prefixes that the widest range of a family needs. */
#define COORD_RANGE_PREFIXES_MAX 254

/**
 * The fewest prefixes that hold exactly what @text names, in ascending order. Returns how many, or -EINVAL: not such a
 * text, host bits set, a range backwards or across families.
 */
BASE_MUST_CHECK int coord_range_parse(
	struct base_prefix ret_prefixes[COORD_RANGE_PREFIXES_MAX], const char *text);

#endif
