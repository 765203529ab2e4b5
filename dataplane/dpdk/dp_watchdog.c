/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking after the threads (dp_watchdog.h).
 */
#include "dp_watchdog.h"

#include "dp_dataplane.h"

#include <sys/timerfd.h>
#include <unistd.h>

int dp_watchdog_init(struct dp_watchdog *watchdog)
{
	struct itimerspec every = {.it_interval = {.tv_sec = 1}, .it_value = {.tv_sec = 1}};

	watchdog->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (watchdog->fd < 0 || timerfd_settime(watchdog->fd, 0, &every, NULL) != 0)
		return -errno;
	return 0;
}

void dp_watchdog_fini(struct dp_watchdog *watchdog)
{
	if (watchdog->fd >= 0)
		close(watchdog->fd);
}

static bool stands_still(struct dp_watchdog *watchdog, unsigned i, uint64_t rounds)
{
	if (watchdog->seen[i] != rounds)
		watchdog->still[i] = 0;
	else
		watchdog->still[i]++;
	watchdog->seen[i] = rounds;
	return watchdog->still[i] >= DP_WATCHDOG_LOOKS;
}

void dp_watchdog_look(struct dp_watchdog *watchdog, const struct dp *dp)
{
	uint64_t expirations;

	if (read(watchdog->fd, &expirations, sizeof(expirations)) != sizeof(expirations) ||
		watchdog->has_found || dp->is_stepped)
		return;
	for (unsigned i = 0; i < dp->n_workers && !watchdog->has_found; i++) {
		watchdog->has_found =
			stands_still(watchdog, i, dp_counter_get(&dp->workers[i].counters.rounds));
		if (watchdog->has_found)
			snprintf(watchdog->text, sizeof(watchdog->text),
				"worker %u (CPU %u) stands still", i, dp->workers[i].cpu);
	}
	if (!watchdog->has_found &&
		stands_still(watchdog, dp->n_workers,
			dp_counter_get(&dp_handshake_counters(dp->handshake)->rounds))) {
		watchdog->has_found = true;
		snprintf(watchdog->text, sizeof(watchdog->text),
			"the handshake thread stands still");
	}
}

const char *dp_watchdog_tell(struct dp_watchdog *watchdog)
{
	if (!watchdog->has_found || watchdog->has_told)
		return NULL;
	watchdog->has_told = true;
	return watchdog->text;
}
