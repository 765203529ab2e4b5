/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is every thread still going round? Each counts its rounds; once a second control looks whether the counts
 * move. A sleeping thread wakes at least once a second of its own, so one that stands still for
 * DP_WATCHDOG_LOOKS of control's own looks is stuck or dead. Looks are counted, not seconds: when the whole
 * machine stood still, nobody is to blame. Control itself is looked after by the service manager, if there is one.
 * Control thread.
 */
#ifndef DP_WATCHDOG_H
#define DP_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"
#include "dp_api.h"

#define DP_WATCHDOG_LOOKS 10

struct dp;

struct dp_watchdog {
	int fd;         /* a timer: readable when it is time to look */
	bool has_found; /* one that stands still: @text says which */
	bool has_told;
	uint64_t seen[DP_WORKERS_MAX + 2]; /* workers, then handshake thread and host thread */
	unsigned still[DP_WORKERS_MAX + 2];
	char text[64];
};

BASE_MUST_CHECK int dp_watchdog_init(struct dp_watchdog *watchdog);
void dp_watchdog_fini(struct dp_watchdog *watchdog);
/** Look, if it is time; has_found says what came of it. */
void dp_watchdog_look(struct dp_watchdog *watchdog, const struct dp *dp);
/** NULL, or once the line that says which thread was found; borrowed. */
const char *dp_watchdog_tell(struct dp_watchdog *watchdog);

#endif
