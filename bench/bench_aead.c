/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cipher bench: raw ipsec-mb; the providers of cr_aead_ops over one hot key and over 1,000
 * keys; groups of 1 to 16 packets side by side, hot and over 1,024 packets with a key each. In
 * cycles per packet and as a ratio to raw. One thread; pin it (scripts/bench.sh).
 */
#include "base_err.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_lanes.h"
#include "cr_noise.h"
#include "dp_aead_lanes.h"
#include "dp_aead_mb.h"

#include "bench_raw.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS 1000
#define GROUP_KEYS 1024u /* and packets */
#define PKTS 1024u       /* of one round; a multiple of the burst */
#define ROUNDS 15
#define BUFFER_BYTES 1536

static const uint32_t sizes[] = {64, 128, 256, 512, 1024, 1420};

static struct cr_key keys[GROUP_KEYS];
/* One burst of buffers: hot, as for the raw cipher. */
static uint8_t packets[CR_AEAD_BURST_MAX][BUFFER_BYTES] __attribute__((aligned(64)));
/* More than the second-level cache holds, when they are long. */
static uint8_t many[GROUP_KEYS][BUFFER_BYTES] __attribute__((aligned(64)));
static bool as_json;

static void print_header(void)
{
	if (!as_json)
		printf("%-17s %5s %5s %6s %8s %6s\n", "who", "op", "size", "keys", "cycles",
			"ratio");
}

static void print_row(const char *who, enum bench_op op, uint32_t size, unsigned n_keys,
	double cycles, double ratio)
{
	if (as_json)
		printf("{\"bench\":\"cipher\",\"who\":\"%s\",\"op\":\"%s\",\"size\":%u,"
		       "\"keys\":%u,\"cycles\":%.1f,\"ratio\":%.3f}\n",
			who, bench_op_name(op), size, n_keys, cycles, ratio);
	else
		printf("%-17s %5s %5u %6u %8.1f %6.3f\n", who, bench_op_name(op), size, n_keys,
			cycles, ratio);
	fflush(stdout);
}

static void jobs_fill(struct cr_aead_job *jobs, uint64_t counter, uint32_t len, unsigned n_keys)
{
	for (unsigned i = 0; i < CR_AEAD_BURST_MAX; i++)
		jobs[i] = (struct cr_aead_job){
			.key = &keys[(counter + i) % n_keys],
			.counter = counter + i,
			.src = packets[i],
			.dst = packets[i],
			.len = len,
		};
}

/*
 * Sealed packets are opened in the same round, because they open once; only the wanted half is
 * timed. Filling the jobs is the caller's work in the product too, and is not.
 */
static double round_run(const struct cr_aead_ops *ops, struct cr_aead *aead, enum bench_op op,
	uint32_t len, unsigned n_keys)
{
	struct cr_aead_job jobs[CR_AEAD_BURST_MAX];
	uint64_t cycles = 0;
	unsigned opened = 0;

	for (unsigned done = 0; done < PKTS; done += CR_AEAD_BURST_MAX) {
		uint64_t t0, t1, t2;

		jobs_fill(jobs, done, len, n_keys);
		t0 = bench_tsc();
		ops->seal(aead, jobs, CR_AEAD_BURST_MAX);
		t1 = bench_tsc();
		opened += ops->open(aead, jobs, CR_AEAD_BURST_MAX);
		t2 = bench_tsc();
		cycles += op == BENCH_SEAL ? t1 - t0 : t2 - t1;
	}
	if (opened != PKTS) {
		fprintf(stderr, "bench_aead: %s opened %u of %u packets\n", ops->name, opened,
			PKTS);
		exit(1);
	}
	return (double)cycles / PKTS;
}

/*
 * The same for groups of @n through cr_lanes, and the wipe after every second one, as in a worker's
 * burst of 32. Over few packets, which stay hot, or over many.
 */
static double group_round_run(
	struct cr_lanes *lanes, enum bench_op op, uint32_t len, unsigned n, unsigned n_keys)
{
	unsigned rounds = PKTS / CR_LANES, opened = 0;
	uint64_t cycles = 0;

	for (unsigned round = 0; round < rounds; round++) {
		struct cr_aead_job jobs[CR_LANES], *group[CR_LANES];
		uint64_t t0, t1, t2;
		int error;

		for (unsigned i = 0; i < n; i++) {
			unsigned at = (round * CR_LANES + i) % n_keys;

			jobs[i] = (struct cr_aead_job){.key = &keys[at],
				.counter = round,
				.src = many[at],
				.dst = many[at],
				.len = len};
			group[i] = &jobs[i];
		}
		t0 = bench_tsc();
		error = cr_lanes_seal(lanes, group, n, NULL);
		if (round % 2)
			cr_lanes_wipe(lanes);
		t1 = bench_tsc();
		opened += error ? 0 : (unsigned)cr_lanes_open(lanes, group, n, NULL);
		if (round % 2)
			cr_lanes_wipe(lanes);
		t2 = bench_tsc();
		cycles += op == BENCH_SEAL ? t1 - t0 : t2 - t1;
	}
	if (opened != rounds * n) {
		fprintf(stderr, "bench_aead: lanes opened %u of %u packets\n", opened, rounds * n);
		exit(1);
	}
	return (double)cycles / (rounds * n);
}

/* The rows of one operation and size. */
struct contender {
	const char *who;
	const struct cr_aead_ops *ops; /* NULL: a group of cr_lanes */
	unsigned n_keys;
	unsigned n_group;
	struct cr_aead *aead;
};

static struct cr_lanes *lanes; /* NULL: not on this CPU */

static struct contender contenders[] = {
	{"ipsec-mb provider", &dp_aead_mb, 1, 0, NULL},
	{"ipsec-mb provider", &dp_aead_mb, KEYS, 0, NULL},
	{"lanes provider", &dp_aead_lanes, 1, 0, NULL},
	{"lanes provider", &dp_aead_lanes, KEYS, 0, NULL},
	{"lanes, 16", NULL, 64, 16, NULL},
	{"lanes, 16", NULL, GROUP_KEYS, 16, NULL},
	{"lanes, 12", NULL, GROUP_KEYS, 12, NULL},
	{"lanes, 8", NULL, GROUP_KEYS, 8, NULL},
	{"lanes, 6", NULL, GROUP_KEYS, 6, NULL},
	{"lanes, 4", NULL, GROUP_KEYS, 4, NULL},
	{"lanes, 2", NULL, GROUP_KEYS, 2, NULL},
	{"lanes, 1", NULL, GROUP_KEYS, 1, NULL},
	{"libsodium", &cr_aead_sodium, 1, 0, NULL},
	{"libsodium", &cr_aead_sodium, KEYS, 0, NULL},
};

static bool takes_part(const struct contender *one)
{
	return one->ops ? one->aead != NULL : lanes != NULL;
}

static double contender_run(const struct contender *one, enum bench_op op, uint32_t len)
{
	return one->ops ? round_run(one->ops, one->aead, op, len, one->n_keys)
			: group_round_run(lanes, op, len, one->n_group, one->n_keys);
}

/* All take turns, and each ratio is of neighbours in time. */
static int measure(enum bench_op op, uint32_t size)
{
	static double cycles[1 + BASE_ARRAY_LEN(contenders)][ROUNDS];
	static double ratios[BASE_ARRAY_LEN(contenders)][ROUNDS];
	uint32_t len = bench_padded_bytes(size);
	struct bench_raw *raw = bench_raw_new(op, len);

	if (!raw) {
		perror("bench_aead: raw ipsec-mb");
		return 1;
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BASE_ARRAY_LEN(contenders); i++) {
			if (!takes_part(&contenders[i]))
				continue;
			cycles[0][round] = bench_raw_round(raw);
			cycles[1 + i][round] = contender_run(&contenders[i], op, len);
			ratios[i][round] = cycles[0][round] / cycles[1 + i][round];
		}
	}
	bench_raw_free(raw);
	print_row("ipsec-mb", op, size, 1, bench_median(cycles[0], ROUNDS), 1);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(contenders); i++)
		if (takes_part(&contenders[i]))
			print_row(contenders[i].who, op, size, contenders[i].n_keys,
				bench_median(cycles[1 + i], ROUNDS),
				bench_median(ratios[i], ROUNDS));
	return 0;
}

static int run(void)
{
	print_header();
	for (unsigned i = 0; i < BASE_ARRAY_LEN(sizes); i++)
		for (enum bench_op op = BENCH_SEAL; op <= BENCH_OPEN; op++)
			if (measure(op, sizes[i]) != 0)
				return 1;
	return 0;
}

/* What this CPU cannot has no rows. */
static int contenders_init(void)
{
	lanes = cr_lanes_new();
	for (unsigned i = 0; i < BASE_ARRAY_LEN(contenders); i++) {
		struct contender *one = &contenders[i];

		if (!one->ops)
			continue;
		one->aead = one->ops->new ();
		if (!one->aead && !(one->ops == &dp_aead_lanes && errno == ENOTSUP))
			return -errno;
	}
	return 0;
}

static void contenders_free(void)
{
	cr_lanes_free(lanes);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(contenders); i++)
		if (contenders[i].ops)
			contenders[i].ops->free(contenders[i].aead);
}

int main(int argc, char **argv)
{
	bool is_help = argc == 2 && strcmp(argv[1], "--help") == 0;
	int status;

	if (is_help || argc > 2 || (argc == 2 && strcmp(argv[1], "--json") != 0)) {
		fprintf(is_help ? stdout : stderr,
			"usage: bench_aead [--json]\n"
			"Seal and open, ours and libsodium's, against raw ipsec-mb.\n");
		return is_help ? 0 : 2;
	}
	as_json = argc == 2;
	if (cr_init() < 0) {
		fprintf(stderr, "bench_aead: OpenSSL without BLAKE2s, or no random numbers\n");
		return 1;
	}
	cr_random(keys, sizeof(keys));
	if (contenders_init() != 0) {
		perror("bench_aead: AEAD provider");
		return 1;
	}
	status = run();
	contenders_free();
	return status;
}
