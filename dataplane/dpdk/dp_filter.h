/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet filter as control keeps it: a copy of the rules in force, and where packets may go at all; compiled anew when
 * either changes (in_filter.h) and published to the workers. Control thread. Next to read: dp_decap.c, which asks.
 */
#ifndef DP_FILTER_H
#define DP_FILTER_H

#include <stddef.h>

#include "base_addr.h"
#include "base_err.h"
#include "in_rules.h"

struct dp;

/** Zeroed: no rules, and nowhere to go: everything is dropped. */
struct dp_filter {
	struct in_rule *rules; /* with their lists, one allocation */
	size_t n_rules;
};

/** These rules for where packets may go now (dp_nets.h). NULL with errno and a line. */
struct in_filter *dp_filter_compile(
	const struct dp *dp, const struct dp_filter *filter, struct base_error *ret_error);
void dp_filter_fini(struct dp_filter *filter);

#endif
