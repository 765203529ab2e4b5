/* SPDX-License-Identifier: BSD-3-Clause */
/* See dp_filter.h. */
#include "dp_filter.h"

#include "dp_dataplane.h"

#include <stdlib.h>

/* Where the lists of copied rules lie: behind the rules, in one allocation. */
struct lists {
	struct in_rule_dst *dsts;
	struct base_prefix *srcs;
	uint8_t *protos;
};

static void copy_rule(
	struct in_rule *ret_rule, const struct dp_filter_rule *rule, struct lists *lists)
{
	*ret_rule = (struct in_rule){.srcs = lists->srcs,
		.dsts = lists->dsts,
		.protos = lists->protos,
		.n_srcs = rule->n_srcs,
		.n_dsts = rule->n_dsts,
		.n_protos = rule->n_protos};
	for (size_t i = 0; i < rule->n_dsts; i++)
		*lists->dsts++ = (struct in_rule_dst){.prefix = rule->dsts[i].prefix,
			.port_first = rule->dsts[i].port_first,
			.port_last = rule->dsts[i].port_last};
	for (size_t i = 0; i < rule->n_srcs; i++)
		*lists->srcs++ = rule->srcs[i];
	for (size_t i = 0; i < rule->n_protos; i++)
		*lists->protos++ = rule->protos[i];
}

static int copy(struct dp_filter *ret_filter, const struct dp_filter_rule *rules, size_t n_rules)
{
	size_t n_srcs = 0, n_dsts = 0, n_protos = 0;
	struct in_rule *copies;
	struct lists lists;

	for (size_t i = 0; i < n_rules; i++) {
		n_srcs += rules[i].n_srcs;
		n_dsts += rules[i].n_dsts;
		n_protos += rules[i].n_protos;
	}
	copies = malloc((n_rules + 1) * sizeof(*copies) + n_dsts * sizeof(*lists.dsts) +
		n_srcs * sizeof(*lists.srcs) + n_protos);
	if (!copies)
		return -ENOMEM;
	lists.dsts = (struct in_rule_dst *)(copies + n_rules + 1);
	lists.srcs = (struct base_prefix *)(lists.dsts + n_dsts);
	lists.protos = (uint8_t *)(lists.srcs + n_srcs);
	for (size_t i = 0; i < n_rules; i++)
		copy_rule(&copies[i], &rules[i], &lists);
	*ret_filter = (struct dp_filter){.rules = copies, .n_rules = n_rules};
	return 0;
}

static int refuse(int error, struct base_error *ret_error)
{
	const char *why = strerror(-error);

	if (error == -EINVAL)
		why = "a rule's prefix is none, or its ports are empty";
	else if (error == -E2BIG)
		why = "its rules are too many, or differ in too many sources";
	return base_error_set(ret_error, error, "filter: %s", why);
}

struct in_filter *dp_filter_compile(
	const struct dp *dp, const struct dp_filter *filter, struct base_error *ret_error)
{
	struct in_filter *compiled = in_filter_new(filter->rules, filter->n_rules, dp->nets.locals,
		dp->nets.n_locals, dp->config.n_workers);

	if (!compiled)
		errno = -refuse(-errno, ret_error);
	return compiled;
}

int dp_filter_set(struct dp *dp, const struct dp_filter_rule *rules, size_t n_rules,
	struct base_error *ret_error)
{
	struct in_filter *compiled;
	struct dp_filter fresh;
	int error = copy(&fresh, rules, n_rules);

	if (error)
		return refuse(error, ret_error);
	compiled = dp_filter_compile(dp, &fresh, ret_error);
	if (!compiled) {
		error = -errno;
		dp_filter_fini(&fresh);
		return error;
	}
	dp_tables_publish_filter(&dp->tables, dp->rcu, compiled);
	dp_filter_fini(&dp->filter);
	dp->filter = fresh;
	return 0;
}

void dp_filter_fini(struct dp_filter *filter)
{
	free(filter->rules);
	*filter = (struct dp_filter){0};
}

static const struct in_filter *in_force(const struct dp *dp)
{
	/* Relaxed: control itself writes it. */
	return atomic_load_explicit(&dp->tables.filter, memory_order_relaxed);
}

size_t dp_filter_hits(const struct dp *dp, uint64_t *ret_pkts, size_t max)
{
	size_t n = in_filter_n_rules(in_force(dp));

	for (size_t i = 0; i < n && i < max; i++)
		ret_pkts[i] = in_filter_hits(in_force(dp), (uint32_t)i);
	return n;
}

uint64_t dp_filter_misses(const struct dp *dp)
{
	return in_filter_hits(in_force(dp), IN_RULE_NONE);
}
