/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pipeline bench: the whole walk of a worker against the cipher alone. Seal: from inner packets on the
 * worker's ring to outer packets handed to a ring port. Open: from frames on a ring port, sealed beforehand
 * with rising counters, to packets on the host interface's ring; index, replay window, allowed IPs and
 * filter on. What is timed is dp_worker_round() and the clock it is given, nothing else: a batch is made
 * before, and what came out is checked and freed after. One thread, pinned. README.md has the method.
 */
#include "base_clock.h"
#include "base_err.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "dp_test.h"

#include "bench_raw.h"
#include "bench_walk.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PEERS_MAX 1000u
#define ROUNDS_USUAL 51

static const uint32_t sizes[] = {64, 128, 256, 512, 1024, 1420};
static const uint32_t peer_counts[] = {1, PEERS_MAX};

static bool as_json;
static unsigned n_rounds = ROUNDS_USUAL;

static void print_row(
	enum bench_op op, uint32_t size, uint32_t peers, double cycles, double raw, double ratio)
{
	if (as_json)
		printf("{\"bench\":\"pipeline\",\"op\":\"%s\",\"size\":%u,\"peers\":%u,"
		       "\"cycles\":%.1f,\"raw_cycles\":%.1f,\"ratio\":%.3f}\n",
			bench_op_name(op), size, peers, cycles, raw, ratio);
	else
		printf("%5s %5u %6u %8.1f %8.1f %6.3f\n", bench_op_name(op), size, peers, cycles,
			raw, ratio);
	fflush(stdout);
}

/* Raw and product take turns; each ratio is of neighbours in time. */
static void measure(struct bench_walk *walk, enum bench_op op, uint32_t size)
{
	double *cycles = calloc(3 * n_rounds, sizeof(*cycles)), *raw_cycles, *ratios;

	if (!cycles)
		bench_walk_die("no memory");
	raw_cycles = cycles + n_rounds;
	ratios = raw_cycles + n_rounds;
	for (unsigned p = 0; p < BASE_ARRAY_LEN(peer_counts); p++) {
		struct bench_raw *raw = bench_raw_new(op, bench_padded_bytes(size));

		if (!raw)
			bench_walk_die("raw ipsec-mb: %s", strerror(errno));
		bench_walk_use(walk, peer_counts[p]);
		/* Once without looking, so that every peer has been met. */
		bench_walk_round(walk, op, size);
		for (unsigned i = 0; i < n_rounds; i++) {
			raw_cycles[i] = bench_raw_round(raw);
			cycles[i] = bench_walk_round(walk, op, size);
			ratios[i] = raw_cycles[i] / cycles[i];
		}
		bench_raw_free(raw);
		print_row(op, size, peer_counts[p], bench_median(cycles, n_rounds),
			bench_median(raw_cycles, n_rounds), bench_median(ratios, n_rounds));
	}
	free(cycles);
}

/* Where the worker's cycles went in this run, as `sandctl stats` shows it. */
static void print_stages(const struct bench_walk *walk)
{
	struct dp_stats *stats = malloc(sizeof(*stats));

	if (!stats)
		return;
	dp_stats_get(walk->dp, stats);
	printf("\ncycles per packet and stage, all sizes together:");
	for (unsigned i = 0; i < DP_STAGE_COUNT; i++) {
		uint64_t pkts = stats->workers[0].stage_pkts[i];

		if (pkts)
			printf(" %s %.0f", dp_stage_name(i),
				(double)stats->workers[0].stage_cycles[i] / (double)pkts);
	}
	printf("\n");
	free(stats);
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: bench_pipeline [--json] [--cpu N] [--size BYTES] [--op seal|open] "
		"[--rounds N]\n"
		"The worker's whole path against raw ipsec-mb; ratio = raw cycles / cycles.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"cpu", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 's'},
		{"op", required_argument, NULL, 'o'}, {"rounds", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'}, {0}};
	unsigned cpu = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1, only_size = 0;
	const char *only_op = NULL;
	static struct bench_walk walk;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			as_json = true;
		else if (c == 'c')
			cpu = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			only_size = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'o')
			only_op = optarg;
		else if (c == 'r' && strtoul(optarg, NULL, 10) > 0)
			n_rounds = (unsigned)strtoul(optarg, NULL, 10);
		else
			return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
	}
	if (cr_init() != 0)
		bench_walk_die("OpenSSL without BLAKE2s, or no random numbers");
	bench_walk_up(&walk, cpu);
	bench_walk_peers_add(&walk, 0, PEERS_MAX);
	bench_walk_sessions_add(&walk, PEERS_MAX);
	if (!as_json)
		printf("%5s %5s %6s %8s %8s %6s\n", "op", "size", "peers", "cycles", "raw",
			"ratio");
	for (unsigned i = 0; i < BASE_ARRAY_LEN(sizes); i++) {
		for (enum bench_op op = BENCH_SEAL; op <= BENCH_OPEN; op++) {
			if ((!only_size || only_size == sizes[i]) &&
				(!only_op || strcmp(only_op, bench_op_name(op)) == 0))
				measure(&walk, op, sizes[i]);
		}
	}
	if (!as_json)
		print_stages(&walk);
	bench_walk_down(&walk);
	return 0;
}
