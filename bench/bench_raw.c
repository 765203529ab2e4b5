/* SPDX-License-Identifier: BSD-3-Clause */
/* Raw ipsec-mb, as fast as its interface allows. One thread. See bench_raw.h. */
#include "bench_raw.h"

#include "base_err.h"
#include "cr_secret.h"

#include <intel-ipsec-mb.h>
#include <stdlib.h>

#define BUFFER_BYTES 2048
#define TAG_BYTES 16
#define BURST_MAX 64
#define ROUNDS 15
#define ROUND_PKTS 2048

static const unsigned bursts[] = {1, 2, 4, 8, 16, 32, 64};

struct area {
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

static void jobs_fill(IMB_MGR *mgr, struct area *area, enum bench_op op, uint32_t len)
{
	for (unsigned i = 0; i < IMB_MAX_JOBS; i++) {
		uint8_t *buffer = area->buffers[i % BURST_MAX];

		mgr->jobs[i] = (IMB_JOB){
			.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305,
			.hash_alg = IMB_AUTH_CHACHA20_POLY1305,
			.cipher_direction = op == BENCH_SEAL ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT,
			.chain_order =
				op == BENCH_SEAL ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER,
			.enc_keys = area->key.bytes,
			.dec_keys = area->key.bytes,
			.key_len_in_bytes = CR_KEY_BYTES,
			.src = buffer,
			.dst = buffer,
			.msg_len_to_cipher_in_bytes = len,
			.msg_len_to_hash_in_bytes = len,
			.iv = area->nonces[i],
			.iv_len_in_bytes = 12,
			.auth_tag_output = area->tags[i],
			.auth_tag_output_len_in_bytes = TAG_BYTES,
		};
	}
}

/* Cycles per packet of one round, or a negative number. */
static double round_run(IMB_MGR *mgr, unsigned burst)
{
	IMB_JOB *jobs[BURST_MAX];
	uint64_t begin = bench_tsc();

	for (unsigned done = 0; done < ROUND_PKTS; done += burst)
		if (IMB_GET_NEXT_BURST(mgr, burst, jobs) != burst ||
			IMB_SUBMIT_BURST_NOCHECK(mgr, burst, jobs) != burst)
			return -1;
	return (double)(bench_tsc() - begin) / ROUND_PKTS;
}

static double best_of_bursts(IMB_MGR *mgr, unsigned *ret_burst)
{
	double cycles[BASE_ARRAY_LEN(bursts)][ROUNDS], best = -1;

	/* Rounds outside, sizes inside: a disturbance hits all sizes alike. */
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BASE_ARRAY_LEN(bursts); i++) {
			cycles[i][round] = round_run(mgr, bursts[i]);
			if (cycles[i][round] < 0)
				return -1;
		}
	}
	for (unsigned i = 0; i < BASE_ARRAY_LEN(bursts); i++) {
		double median = bench_median(cycles[i], ROUNDS);

		if (best < 0 || median < best) {
			best = median;
			if (ret_burst)
				*ret_burst = bursts[i];
		}
	}
	return best;
}

double bench_raw_cycles(enum bench_op op, uint32_t len, unsigned *ret_burst)
{
	struct area *area = calloc(1, sizeof(*area));
	IMB_MGR *mgr = alloc_mb_mgr(0);
	double cycles = -1;

	if (area && mgr && len <= BUFFER_BYTES) {
		init_mb_mgr_auto(mgr, NULL);
		jobs_fill(mgr, area, op, len);
		cycles = best_of_bursts(mgr, ret_burst);
	}
	if (mgr)
		free_mb_mgr(mgr);
	free(area);
	return cycles;
}
