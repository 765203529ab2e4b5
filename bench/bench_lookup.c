/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The lookup bench: cycles to find a peer by inner address (allowed IPs, IPv4 and IPv6; the same call routes
 * outwards and checks the source inwards) and a keypair by receiver index, in tables of 1 to 1,000,000
 * entries. Hot: the same few entries again and again. Random: all of them, in no order. Each lookup's key depends
 * on the one before, so that no two overlap: what is measured is how long one takes, not how many fit side by side.
 *
 * The yardstick is one load that depends on the one before, out of an array as large as the table (8 bytes an
 * entry), in the same order. `loads` is the quotient. One thread, pinned. README.md has the method.
 */
#include "base_err.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "wg_allowedips.h"
#include "wg_index.h"

#include "bench_raw.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 15
#define LOOKUPS 65536u
#define HOT 16u

enum kind { IP4, IP6, INDEX, KINDS };

static const char *const kind_names[KINDS] = {"ip4", "ip6", "index"};
static const uint32_t counts[] = {1, 1000, 100000, 1000000};

struct bed {
	uint32_t n;
	uint8_t (*addrs)[16]; /* of entry i */
	uint32_t *indices;
	uint32_t *order; /* LOOKUPS entries to ask for */
	uint64_t *cells; /* the yardstick's: zeros */
	struct wg_allowedips *table;
	struct wg_index_table *index;
};

static bool as_json;

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "bench_lookup: %s\n", what);
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("no memory");
	return p;
}

/* A mesh's host routes: 100.64.0.0/10 and one IPv6 /48, spread at random within. */
static void entry_add(struct bed *bed, enum kind kind, uint32_t i)
{
	struct base_prefix prefix = {.bits = kind == IP4 ? 32 : 128};
	uint32_t previous = WG_PEER_NONE, r;

	do {
		cr_random_public(&r, sizeof(r));
		if (kind == IP4) {
			prefix.addr.family = BASE_FAMILY_V4;
			base_store_be32(prefix.addr.bytes, 0x64400000 | (r & 0x3fffff));
		} else {
			prefix.addr.family = BASE_FAMILY_V6;
			memcpy(prefix.addr.bytes, "\xfd\x7a\x11\x5c\xa1\xe0", 6);
			cr_random_public(prefix.addr.bytes + 6, 10);
		}
	} while (wg_allowedips_exact(bed->table, &prefix) != WG_PEER_NONE);
	if (wg_allowedips_set(bed->table, &prefix, i, &previous) != 0)
		die("no memory");
	memcpy(bed->addrs[i], prefix.addr.bytes, 16);
}

static void bed_init(struct bed *bed, enum kind kind, uint32_t n)
{
	bed->n = n;
	bed->addrs = must(calloc(n, sizeof(*bed->addrs)));
	bed->indices = must(calloc(n, sizeof(*bed->indices)));
	bed->order = must(calloc(LOOKUPS, sizeof(*bed->order)));
	bed->cells = must(calloc(n, sizeof(*bed->cells)));
	/* Written, so that each page is memory of its own and not the kernel's one of zeros. */
	for (uint32_t i = 0; i < n; i++)
		((volatile uint64_t *)bed->cells)[i] = 0;
	bed->table = must(wg_allowedips_new(NULL, NULL));
	bed->index = must(wg_index_table_new(kind == INDEX ? n : 1));
	for (uint32_t i = 0; i < n; i++) {
		if (kind != INDEX)
			entry_add(bed, kind, i);
		else if (wg_index_take(bed->index, 0, &bed->cells[i], &bed->indices[i]) != 0)
			die("no index");
	}
}

static void bed_fini(struct bed *bed)
{
	wg_index_table_free(bed->index);
	wg_allowedips_free(bed->table);
	free(bed->addrs);
	free(bed->indices);
	free(bed->order);
	free(bed->cells);
}

static void order_make(struct bed *bed, bool is_hot)
{
	uint32_t among = is_hot && bed->n > HOT ? HOT : bed->n, r;

	for (uint32_t i = 0; i < LOOKUPS; i++) {
		cr_random_public(&r, sizeof(r));
		bed->order[i] = (uint32_t)((uint64_t)r * among >> 32);
	}
}

/*
 * The keys, in the order of asking, so that fetching them costs a stream and no miss. What a lookup found
 * is folded into the next key as a zero that the compiler does not know.
 */
static double lookups_run(const struct bed *bed, enum kind kind, const uint8_t (*keys)[16])
{
	volatile uint64_t sink;
	uint64_t begin, cycles, zero = 0;

	begin = bench_tsc();
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		const uint8_t *key = keys[i] + zero;

		if (kind == IP4)
			zero = wg_allowedips_lookup4(bed->table, key) >> 31;
		else if (kind == IP6)
			zero = wg_allowedips_lookup6(bed->table, key) >> 31;
		else
			zero = (uintptr_t)wg_index_lookup(bed->index, base_load_le32(key)) >> 63;
	}
	cycles = bench_tsc() - begin;
	sink = zero;
	(void)sink;
	return (double)cycles / LOOKUPS;
}

static double loads_run(const struct bed *bed)
{
	const volatile uint64_t *cells = bed->cells;
	uint64_t begin = bench_tsc(), zero = 0;

	for (uint32_t i = 0; i < LOOKUPS; i++)
		zero = cells[bed->order[i] + zero];
	return (double)(bench_tsc() - begin) / LOOKUPS + (double)zero;
}

static void measure(struct bed *bed, enum kind kind, bool is_hot)
{
	uint8_t(*keys)[16] = must(calloc(LOOKUPS + 1, sizeof(*keys)));
	double cycles[ROUNDS], loads[ROUNDS], ratios[ROUNDS];

	order_make(bed, is_hot);
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		if (kind == INDEX)
			base_store_le32(keys[i], bed->indices[bed->order[i]]);
		else
			memcpy(keys[i], bed->addrs[bed->order[i]], sizeof(keys[i]));
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		loads[i] = loads_run(bed);
		cycles[i] = lookups_run(bed, kind, (const uint8_t(*)[16])keys);
		ratios[i] = cycles[i] / loads[i];
	}
	free(keys);
	printf(as_json ? "{\"bench\":\"lookup\",\"table\":\"%s\",\"entries\":%u,\"order\":\"%s\","
			 "\"cycles\":%.1f,\"load_cycles\":%.1f,\"loads\":%.2f}\n"
		       : "%5s %8u %7s %8.1f cycles, a load %7.1f, %.2f loads\n",
		kind_names[kind], bed->n, is_hot ? "hot" : "random", bench_median(cycles, ROUNDS),
		bench_median(loads, ROUNDS), bench_median(ratios, ROUNDS));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j') {
			fprintf(c == 'h' ? stdout : stderr,
				"usage: bench_lookup [--json]\n"
				"Allowed IPs and receiver indices, against one dependent load.\n");
			return c == 'h' ? 0 : 2;
		}
		as_json = true;
	}
	if (cr_init() != 0)
		die("OpenSSL without BLAKE2s, or no random numbers");
	for (enum kind kind = IP4; kind < KINDS; kind++) {
		for (unsigned i = 0; i < BASE_ARRAY_LEN(counts); i++) {
			struct bed bed;

			bed_init(&bed, kind, counts[i]);
			measure(&bed, kind, true);
			measure(&bed, kind, false);
			bed_fini(&bed);
		}
	}
	return 0;
}
