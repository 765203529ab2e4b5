/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cipher bench: raw ipsec-mb, and both providers of cr_aead_ops over one hot key and over
 * 1,000 keys, in cycles per packet and as a ratio to raw. One thread; pin it (scripts/bench.sh).
 */
#include "base_err.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "dp_aead_mb.h"

#include "bench_raw.h"

#include <stdio.h>
#include <stdlib.h>

#define KEYS 1000
#define PKTS 1024u /* of one round; a multiple of the burst */
#define ROUNDS 15
#define BUFFER_BYTES 1536

static const uint32_t sizes[] = {64, 128, 256, 512, 1024, 1420};

static struct cr_key keys[KEYS];
/* One burst of buffers: hot, as for the raw cipher. */
static uint8_t packets[CR_AEAD_BURST_MAX][BUFFER_BYTES] __attribute__((aligned(64)));
static bool as_json;

static void print_header(void)
{
	if (!as_json)
		printf("%-17s %5s %5s %6s %8s %6s\n", "who", "op", "size", "keys", "cycles",
			"ratio");
}

static void print_row(const char *who, enum bench_op op, uint32_t size, unsigned n_keys,
	double cycles, double raw_cycles)
{
	if (as_json)
		printf("{\"bench\":\"cipher\",\"who\":\"%s\",\"op\":\"%s\",\"size\":%u,"
		       "\"keys\":%u,\"cycles\":%.1f,\"ratio\":%.3f}\n",
			who, bench_op_name(op), size, n_keys, cycles, raw_cycles / cycles);
	else
		printf("%-17s %5s %5u %6u %8.1f %6.3f\n", who, bench_op_name(op), size, n_keys,
			cycles, raw_cycles / cycles);
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

static void measure(const struct cr_aead_ops *ops, struct cr_aead *aead, enum bench_op op,
	uint32_t size, double raw_cycles)
{
	static const unsigned n_keys[] = {1, KEYS};

	for (unsigned k = 0; k < BASE_ARRAY_LEN(n_keys); k++) {
		double rounds[ROUNDS];

		for (unsigned i = 0; i < ROUNDS; i++)
			rounds[i] = round_run(ops, aead, op, bench_padded_bytes(size), n_keys[k]);
		print_row(ops == &dp_aead_mb ? "ipsec-mb provider" : ops->name, op, size, n_keys[k],
			bench_median(rounds, ROUNDS), raw_cycles);
	}
}

static int run(struct cr_aead *mb, struct cr_aead *sodium)
{
	print_header();
	for (unsigned i = 0; i < BASE_ARRAY_LEN(sizes); i++) {
		for (enum bench_op op = BENCH_SEAL; op <= BENCH_OPEN; op++) {
			double raw = bench_raw_cycles(op, bench_padded_bytes(sizes[i]), NULL);

			if (raw < 0) {
				fprintf(stderr, "bench_aead: ipsec-mb does not work here\n");
				return 1;
			}
			print_row("ipsec-mb", op, sizes[i], 1, raw, raw);
			measure(&dp_aead_mb, mb, op, sizes[i], raw);
			measure(&cr_aead_sodium, sodium, op, sizes[i], raw);
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct cr_aead *mb, *sodium;
	int status;

	if (argc > 2 || (argc == 2 && strcmp(argv[1], "--json") != 0)) {
		fprintf(stderr, "usage: %s [--json]\n", argv[0]);
		return 2;
	}
	as_json = argc == 2;
	if (cr_init() < 0) {
		fprintf(stderr, "bench_aead: OpenSSL without BLAKE2s, or no random numbers\n");
		return 1;
	}
	cr_random(keys, sizeof(keys));
	mb = dp_aead_mb.new();
	sodium = cr_aead_sodium.new();
	if (!mb || !sodium) {
		perror("bench_aead: AEAD provider");
		return 1;
	}
	status = run(mb, sodium);
	dp_aead_mb.free(mb);
	cr_aead_sodium.free(sodium);
	return status;
}
