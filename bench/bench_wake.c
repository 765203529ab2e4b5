/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wake bench: how long a packet waits for an adaptive worker that sleeps, and what the worker costs
 * while there is nothing to do. A real worker thread on a ring port; from before the packet is put on its
 * ring until its round has counted it. README.md has the method.
 */
#include "base_clock.h"
#include "base_err.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "dp_test.h"

#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_lcore.h>

#define WAKES 2000u
#define IDLE_S 5

static void *run_worker(void *arg)
{
	if (rte_thread_register() == 0)
		dp_worker_main(arg);
	rte_thread_unregister();
	return NULL;
}

static void pin(pthread_t thread, unsigned cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	pthread_setaffinity_np(thread, sizeof(cpus), &cpus);
}

static struct dp *dataplane_new(void)
{
	struct dp_config config = {
		.ports = {{.kind = DP_PORT_RING, .device = "bench"}},
		.n_ports = 1,
		.listen_port = 51820,
		.n_workers = 1,
		.idle = DP_IDLE_ADAPTIVE,
		.memory_mb = 128,
		.host_mtu = 1420,
	};
	struct base_error error;
	struct dp *dp;

	cr_random(&config.private_key, sizeof(config.private_key));
	dp = dp_test_new(&config, NULL, NULL, &error);
	if (!dp) {
		fprintf(stderr, "bench_wake: %s\n", error.text);
		exit(1);
	}
	/* A ring has no socket to sleep on; the rings of the worker wake it all the same. */
	dp->ports[0].n_fds = 1;
	return dp;
}

static uint64_t dropped(const struct dp *dp)
{
	return dp_counter_get(&dp->workers[0].counters.drop_pkts[DP_DROP_OUT_MALFORMED]);
}

/* One packet, which is none, to a worker that has slept for a while. */
static uint64_t wake_once(struct dp *dp)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(dp->pool);
	uint64_t before = dropped(dp), sleeps, start_ns;

	if (!m || !rte_pktmbuf_append(m, 20))
		exit(1);
	memset(rte_pktmbuf_mtod(m, void *), 0, 20);
	sleeps = dp_counter_get(&dp->workers[0].counters.sleeps);
	while (dp_counter_get(&dp->workers[0].counters.sleeps) == sleeps)
		dp_idle_wake(dp->workers[0].idle);
	usleep(2000);
	start_ns = base_clock_now_ns();
	dp_from_host(dp, &m, 1);
	while (dropped(dp) == before)
		;
	return base_clock_now_ns() - start_ns;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double idle_percent(pthread_t thread)
{
	struct timespec before, after;
	clockid_t clock;

	pthread_getcpuclockid(thread, &clock);
	clock_gettime(clock, &before);
	sleep(IDLE_S);
	clock_gettime(clock, &after);
	return 100.0 *
		((double)(after.tv_sec - before.tv_sec) +
			(double)(after.tv_nsec - before.tv_nsec) / 1e9) /
		IDLE_S;
}

static void print(const uint64_t *ns, double percent, bool as_json)
{
	uint64_t p50_ns = ns[WAKES / 2], p99_ns = ns[WAKES * 99 / 100];

	printf(as_json ? "{\"bench\":\"wake\",\"wakes\":%u,\"p50_us\":%.1f,\"p99_us\":%.1f,"
			 "\"idle_percent\":%.3f}\n"
		       : "%u wakes: median %.1f us, 99 of 100 within %.1f us; idle %.3f %% of a "
			 "core\n",
		WAKES, (double)p50_ns / 1e3, (double)p99_ns / 1e3, percent);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	static uint64_t ns[WAKES];
	bool as_json = false;
	pthread_t thread;
	struct dp *dp;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j') {
			fprintf(c == 'h' ? stdout : stderr,
				"usage: bench_wake [--json]\n"
				"A packet's wait for a sleeping worker, and what it costs to "
				"sleep.\n");
			return c == 'h' ? 0 : 2;
		}
		as_json = true;
	}
	if (cr_init() != 0)
		return 1;
	dp = dataplane_new();
	if (pthread_create(&thread, NULL, run_worker, &dp->workers[0]) != 0)
		return 1;
	pin(thread, (unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1);
	pin(pthread_self(), 0);
	for (unsigned i = 0; i < WAKES; i++)
		ns[i] = wake_once(dp);
	qsort(ns, WAKES, sizeof(ns[0]), compare);
	print(ns, idle_percent(thread), as_json);
	atomic_store(&dp->must_stop, true);
	dp_idle_wake(dp->workers[0].idle);
	pthread_join(thread, NULL);
	dp_free(dp);
	return 0;
}
