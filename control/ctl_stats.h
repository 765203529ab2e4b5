/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's counters for operators: as JSON (openapi.yaml, Stats) and as OpenMetrics text, which Prometheus
 * and its like collect. Thread: the loop's.
 */
#ifndef CTL_STATS_H
#define CTL_STATS_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "dp_api.h"

/** Add the tunnel's counters to a document. */
void ctl_stats_add(json_t *object, const struct dp *dp);
/** Every drop reason with its place and meaning. NULL without memory. */
json_t *ctl_stats_reasons(void);
/** All as OpenMetrics; @dp: NULL in direct mode. The caller frees it. NULL without memory. */
char *ctl_stats_metrics(const struct dp *dp, size_t n_daemons, uint64_t uptime_s);

#endif
