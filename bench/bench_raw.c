/* SPDX-License-Identifier: BSD-3-Clause */
/* Raw ipsec-mb, as fast as its interface allows. One thread. See bench_raw.h. */
#include "bench_raw.h"

#include "base_err.h"
#include "cr_secret.h"

#include <intel-ipsec-mb.h>
#include <stdbool.h>
#include <stdlib.h>

#define BUFFER_BYTES 2048
#define TAG_BYTES 16
#define BURST_MAX 64
#define ROUNDS 15
#define ROUND_PKTS 2048

static const unsigned bursts[] = {1, 2, 4, 8, 16, 32, 64};

struct bench_raw {
	IMB_MGR *mgr;
	unsigned burst;
	uint8_t buffers[BURST_MAX][BUFFER_BYTES];
	uint8_t tags[IMB_MAX_JOBS][TAG_BYTES];
	uint8_t nonces[IMB_MAX_JOBS][16];
	struct cr_key key;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

static void jobs_fill(struct bench_raw *raw, enum bench_op op, uint32_t len)
{
	for (unsigned i = 0; i < IMB_MAX_JOBS; i++) {
		uint8_t *buffer = raw->buffers[i % BURST_MAX];

		raw->mgr->jobs[i] = (IMB_JOB){
			.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305,
			.hash_alg = IMB_AUTH_CHACHA20_POLY1305,
			.cipher_direction = op == BENCH_SEAL ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT,
			.chain_order =
				op == BENCH_SEAL ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER,
			.enc_keys = raw->key.bytes,
			.dec_keys = raw->key.bytes,
			.key_len_in_bytes = CR_KEY_BYTES,
			.src = buffer,
			.dst = buffer,
			.msg_len_to_cipher_in_bytes = len,
			.msg_len_to_hash_in_bytes = len,
			.iv = raw->nonces[i],
			.iv_len_in_bytes = 12,
			.auth_tag_output = raw->tags[i],
			.auth_tag_output_len_in_bytes = TAG_BYTES,
		};
	}
}

double bench_raw_round(struct bench_raw *raw)
{
	IMB_JOB *jobs[BURST_MAX];
	IMB_MGR *mgr = raw->mgr;
	uint64_t begin = bench_tsc();

	for (unsigned done = 0; done < ROUND_PKTS; done += raw->burst)
		if (IMB_GET_NEXT_BURST(mgr, raw->burst, jobs) != raw->burst ||
			IMB_SUBMIT_BURST_NOCHECK(mgr, raw->burst, jobs) != raw->burst)
			return -1;
	return (double)(bench_tsc() - begin) / ROUND_PKTS;
}

static bool choose_burst(struct bench_raw *raw)
{
	double cycles[BASE_ARRAY_LEN(bursts)][ROUNDS], best = -1;
	unsigned best_burst = 1;

	/* Rounds outside, sizes inside: a disturbance hits all sizes alike. */
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BASE_ARRAY_LEN(bursts); i++) {
			raw->burst = bursts[i];
			cycles[i][round] = bench_raw_round(raw);
			if (cycles[i][round] < 0)
				return false;
		}
	}
	for (unsigned i = 0; i < BASE_ARRAY_LEN(bursts); i++) {
		double median = bench_median(cycles[i], ROUNDS);

		if (best < 0 || median < best) {
			best = median;
			best_burst = bursts[i];
		}
	}
	raw->burst = best_burst;
	return true;
}

struct bench_raw *bench_raw_new(enum bench_op op, uint32_t len)
{
	struct bench_raw *raw = calloc(1, sizeof(*raw));
	int code = 0;

	if (!raw)
		return NULL;
	raw->mgr = alloc_mb_mgr(0);
	if (!raw->mgr) {
		code = ENOMEM;
	} else {
		init_mb_mgr_auto(raw->mgr, NULL);
		jobs_fill(raw, op, len);
		if (len > BUFFER_BYTES || !choose_burst(raw))
			code = ENOTSUP;
	}
	if (code) {
		bench_raw_free(raw);
		errno = code;
		return NULL;
	}
	return raw;
}

void bench_raw_free(struct bench_raw *raw)
{
	if (!raw)
		return;
	if (raw->mgr)
		free_mb_mgr(raw->mgr);
	free(raw);
}

double bench_raw_cycles(enum bench_op op, uint32_t len)
{
	struct bench_raw *raw = bench_raw_new(op, len);
	double rounds[ROUNDS];

	if (!raw)
		return -1;
	for (unsigned i = 0; i < ROUNDS; i++)
		rounds[i] = bench_raw_round(raw);
	bench_raw_free(raw);
	return bench_median(rounds, ROUNDS);
}
