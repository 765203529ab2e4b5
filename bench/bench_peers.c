/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The peers bench: a million configured peers, of which 100,000 have sessions and are addressed at random, one
 * after the other, against one peer in the same minute: the worker's whole path, seal and open. And what a
 * configured peer that does nothing costs: bytes, as the process grew while they were added (from the
 * allocator and, beside it, resident), and microseconds. One thread, pinned. README.md has the method.
 */
#include "base_clock.h"
#include "base_err.h"
#include "base_huge.h"
#include "cr_blake2s.h"

#include "bench_raw.h"
#include "bench_walk.h"

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS 51
#define PEERS_PER_CHANGE 50000u

static const uint32_t sizes[] = {64, 1420};

static bool as_json;

static uint64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long total, resident = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Given out and not given back, whether touched or not. */
static uint64_t allocated_bytes(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd + base_huge_usage();
}

static void configure(struct bench_walk *walk, uint32_t n)
{
	uint64_t allocated = allocated_bytes(), resident = resident_bytes();
	uint64_t begin_ns = base_clock_now_ns(), took_ns;

	for (uint32_t first = 0; first < n; first += PEERS_PER_CHANGE)
		bench_walk_peers_add(walk, first, RTE_MIN(PEERS_PER_CHANGE, n - first));
	took_ns = base_clock_now_ns() - begin_ns;
	malloc_trim(0);
	allocated = allocated_bytes() - allocated;
	resident = resident_bytes() - resident;
	printf(as_json ? "{\"bench\":\"peers\",\"row\":\"idle\",\"peers\":%u,\"bytes_per_peer\":%."
			 "0f,"
			 "\"resident_bytes_per_peer\":%.0f,\"us_per_peer\":%.1f}\n"
		       : "%u configured peers: %.0f bytes each, %.0f resident; %.1f us each to "
			 "add\n",
		n, (double)allocated / n, (double)resident / n, (double)took_ns / 1e3 / n);
	fflush(stdout);
}

/* One peer and many take turns; each ratio is of neighbours in time. */
static void measure(struct bench_walk *walk, enum bench_op op, uint32_t size, uint32_t n)
{
	double one[ROUNDS], many[ROUNDS], ratios[ROUNDS];
	uint32_t next = 0;

	/* Once to all of them without looking: active peers have been met. */
	walk->n_peers = n;
	walk->next = 0;
	for (uint32_t met = 0; met < n; met += BENCH_WALK_ROUND_PKTS)
		bench_walk_round(walk, op, size);
	for (unsigned i = 0; i < ROUNDS; i++) {
		walk->n_peers = 1;
		walk->next = 0;
		one[i] = bench_walk_round(walk, op, size);
		walk->n_peers = n;
		walk->next = next;
		many[i] = bench_walk_round(walk, op, size);
		next = walk->next;
		ratios[i] = one[i] / many[i];
	}
	printf(as_json ? "{\"bench\":\"peers\",\"row\":\"active\",\"op\":\"%s\",\"size\":%u,"
			 "\"peers\":%u,"
			 "\"cycles\":%.1f,\"one_peer_cycles\":%.1f,\"ratio\":%.3f}\n"
		       : "%5s %5u bytes, %u peers: %8.1f cycles, one peer %8.1f, ratio %.3f\n",
		bench_op_name(op), size, n, bench_median(many, ROUNDS), bench_median(one, ROUNDS),
		bench_median(ratios, ROUNDS));
	fflush(stdout);
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: bench_peers [--json] [--cpu N] [--configured N] [--active N]\n"
		"Many peers against one on the worker's path; what an idle peer costs.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"cpu", required_argument, NULL, 'c'}, {"configured", required_argument, NULL, 'n'},
		{"active", required_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'}, {0}};
	unsigned cpu = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1;
	uint32_t n_configured = 1000000, n_active = 100000;
	static struct bench_walk walk;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			as_json = true;
		else if (c == 'c')
			cpu = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'n')
			n_configured = (uint32_t)strtoul(optarg, NULL, 10);
		else if (c == 'a')
			n_active = (uint32_t)strtoul(optarg, NULL, 10);
		else
			return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
	}
	if (n_active == 0 || n_active > n_configured)
		return usage(stderr), 2;
	if (cr_init() != 0)
		bench_walk_die("OpenSSL without BLAKE2s, or no random numbers");
	bench_walk_up(&walk, cpu);
	configure(&walk, n_configured);
	bench_walk_sessions_add(&walk, n_active);
	bench_walk_use(&walk, n_active);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(sizes); i++) {
		measure(&walk, BENCH_SEAL, sizes[i], n_active);
		measure(&walk, BENCH_OPEN, sizes[i], n_active);
	}
	/* A million peers down takes as long as up, and shows nothing. */
	_exit(0);
}
