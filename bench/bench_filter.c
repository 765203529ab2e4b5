/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter bench: a worker's walk of opening, packets of 64 bytes of 1,000 peers, with one rule and then with many: a
 * thousand rules of different sources and ports, of which the last accepts, and a policy's rule with ten thousand
 * sources. The row's ratio is cycles with one rule over cycles with these, rounds taking turns. `flow` is one flow per
 * peer, `new` a flow that was not seen before with each packet. One thread, pinned. README.md has the method.
 */
#include "base_bytes.h"
#include "base_err.h"
#include "cr_noise.h"

#include "bench_raw.h"
#include "bench_walk.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PEERS 1000u
#define SIZE 64u
#define RULES 1000u
#define SOURCES 10000u

static bool as_json;
static unsigned n_rounds = 51;
static struct bench_walk walk;

static const uint8_t udp = IN_PROTO_UDP;
static const struct base_prefix anybody;
static const struct dp_filter_dst port = {.port_first = 8765, .port_last = 8765};
static const struct dp_filter_rule one = {&anybody, 1, &port, 1, &udp, 1};

static struct base_prefix srcs[RULES];
static struct dp_filter_dst dsts[RULES];
static struct dp_filter_rule thousand[RULES];
static struct base_prefix star_srcs[SOURCES];
static const struct dp_filter_rule star = {star_srcs, SOURCES, &port, 1, &udp, 1};

static void make_rules(void)
{
	for (uint32_t i = 0; i < RULES; i++) {
		srcs[i] = (struct base_prefix){
			.addr.family = BASE_FAMILY_V4, .bits = (uint8_t)(24 + i % 9)};
		base_store_be32(srcs[i].addr.bytes,
			(0x0a090000 + i * 37) & ~(uint32_t)(UINT32_MAX >> srcs[i].bits));
		if (srcs[i].bits == 32)
			base_store_be32(srcs[i].addr.bytes, 0x0a090000 + i * 37);
		dsts[i].port_first = (uint16_t)(9000 + i);
		dsts[i].port_last = (uint16_t)(9000 + i + i % 50);
		thousand[i] = (struct dp_filter_rule){&srcs[i], 1, &dsts[i], 1, &udp, 1};
	}
	thousand[RULES - 1] = one;
	for (uint32_t i = 0; i < SOURCES; i++) {
		star_srcs[i] = (struct base_prefix){.addr.family = BASE_FAMILY_V4, .bits = 32};
		base_store_be32(star_srcs[i].addr.bytes, 0x0a090002 + i);
	}
}

static void use(const struct dp_filter_rule *rules, size_t n)
{
	struct base_error error;

	if (dp_filter_set(walk.dp, rules, n, &error) != 0)
		bench_walk_die("%s", error.text);
}

static double one_round(const struct dp_filter_rule *rules, size_t n)
{
	use(rules, n);
	/* Once without looking: whoever was met stays so. */
	bench_walk_round(&walk, BENCH_OPEN, SIZE);
	return bench_walk_round(&walk, BENCH_OPEN, SIZE);
}

static void print_row(const char *name, const char *flows, double cycles, double base, double ratio)
{
	if (as_json)
		printf("{\"bench\":\"filter\",\"rules\":\"%s\",\"flows\":\"%s\",\"size\":%u,"
		       "\"peers\":%u,\"cycles\":%.1f,\"one_rule_cycles\":%.1f,\"ratio\":%.3f}\n",
			name, flows, SIZE, PEERS, cycles, base, ratio);
	else
		printf("%8s %6s %8.1f %8.1f %6.3f\n", name, flows, cycles, base, ratio);
	fflush(stdout);
}

static void measure(const char *name, const struct dp_filter_rule *rules, size_t n, bool are_new)
{
	double *cycles = calloc(3 * n_rounds, sizeof(*cycles)), *base, *ratios;

	if (!cycles)
		bench_walk_die("no memory");
	base = cycles + n_rounds;
	ratios = base + n_rounds;
	walk.has_new_flows = are_new;
	for (unsigned i = 0; i < n_rounds; i++) {
		base[i] = one_round(&one, 1);
		cycles[i] = one_round(rules, n);
		ratios[i] = base[i] / cycles[i];
	}
	print_row(name, are_new ? "new" : "flow", bench_median(cycles, n_rounds),
		bench_median(base, n_rounds), bench_median(ratios, n_rounds));
	free(cycles);
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: bench_filter [--json] [--cpu N] [--rounds N]\n"
		"Opening 64 bytes with many rules against opening with one.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"cpu", required_argument, NULL, 'c'}, {"rounds", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'}, {0}};
	unsigned cpu = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			as_json = true;
		else if (c == 'c')
			cpu = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'r' && strtoul(optarg, NULL, 10) > 0)
			n_rounds = (unsigned)strtoul(optarg, NULL, 10);
		else
			return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
	}
	if (cr_init() != 0)
		bench_walk_die("OpenSSL without BLAKE2s, or no random numbers");
	make_rules();
	bench_walk_up(&walk, cpu);
	bench_walk_peers_add(&walk, 0, PEERS);
	bench_walk_sessions_add(&walk, PEERS);
	bench_walk_use(&walk, PEERS);
	if (!as_json)
		printf("%8s %6s %8s %8s %6s\n", "rules", "flows", "cycles", "one", "ratio");
	measure("one", &one, 1, false);
	measure("1000", thousand, RULES, false);
	measure("1000", thousand, RULES, true);
	measure("star", &star, 1, false);
	measure("star", &star, 1, true);
	bench_walk_down(&walk);
	return 0;
}
