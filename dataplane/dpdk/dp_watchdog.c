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

/* The first one: others may wait for it. */
BASE_PRINTF(2, 3)
static void found(struct dp_watchdog *watchdog, const char *fmt, ...)
{
	va_list ap;

	if (watchdog->has_found)
		return;
	va_start(ap, fmt);
	vsnprintf(watchdog->text, sizeof(watchdog->text), fmt, ap);
	va_end(ap);
	watchdog->has_found = true;
}

/* One that is not there stands not still, and begins anew when it comes. */
static bool host_stands_still(struct dp_watchdog *watchdog, const struct dp *dp)
{
	unsigned i = dp->n_workers + 1;
	uint64_t rounds;

	if (dp->host && dp_host_rounds(dp->host, &rounds))
		return stands_still(watchdog, i, rounds);
	watchdog->still[i] = 0;
	return false;
}

void dp_watchdog_look(struct dp_watchdog *watchdog, const struct dp *dp)
{
	uint64_t expirations;

	if (read(watchdog->fd, &expirations, sizeof(expirations)) != sizeof(expirations) ||
		watchdog->has_found || dp->is_stepped)
		return;
	for (unsigned i = 0; i < dp->n_workers; i++) {
		const struct dp_worker *worker = &dp->workers[i];

		if (stands_still(watchdog, i, dp_counter_get(&worker->counters.rounds)))
			found(watchdog, "worker %u (CPU %u) stands still", i, worker->cpu);
	}
	if (stands_still(watchdog, dp->n_workers,
		    dp_counter_get(&dp_handshake_counters(dp->handshake)->rounds)))
		found(watchdog, "the handshake thread stands still");
	if (host_stands_still(watchdog, dp))
		found(watchdog, "the host interface's thread stands still");
}

const char *dp_watchdog_tell(struct dp_watchdog *watchdog)
{
	if (!watchdog->has_found || watchdog->has_told)
		return NULL;
	watchdog->has_told = true;
	return watchdog->text;
}
