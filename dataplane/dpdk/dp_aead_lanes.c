/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which packets of a burst go side by side. Runs on the worker lcore that made the state; see
 * cr_aead.h for the contract, bench/PERFORMANCE.md for the measurements.
 *
 * A group of cr_lanes costs what its longest packet costs, full or not; a packet alone costs what
 * it is long. So the burst is sorted by blocks of 64 bytes, longest first. Then, from the front:
 * would the next sixteen cost less together than one by one? They are a group. Else the longest
 * of them goes alone, and the next sixteen begin one later. Short packets thus fill the lanes that
 * long ones leave, where a group pays at all, and no group waits for a burst to come.
 */
#include "dp_aead_lanes.h"

#include "cr_lanes.h"
#include "dp_aead_mb.h"

#include <stdlib.h>

#define CACHE_LINE_BYTES 64
#define BLOCK_BYTES 64
/* A packet of more blocks counts as one of so many: 4 KiB. */
#define BLOCKS_MAX 64

/*
 * Cycles, from `bench.sh cipher` (EPYC, Zen 4): a group of any fill, and a packet through ipsec-mb.
 * Only their ratio matters: a group pays from 4 packets of 64 bytes, 5 of 128, 7 of 256, 9 of
 * 512, 11 of 1024, 13 of 1420.
 */
#define GROUP_CYCLES 900
#define GROUP_BLOCK_CYCLES 640
#define SINGLE_CYCLES 350
#define SINGLE_BLOCK_CYCLES 48
/* Fewer packets than that never pay. */
#define GROUP_PKTS_MIN 4

struct cr_aead {
	struct cr_lanes *lanes;
	const struct cr_aead_ops *single_ops;
	struct cr_aead *single;
};

static inline unsigned blocks_of(const struct cr_aead_job *job)
{
	uint32_t blocks = job->len / BLOCK_BYTES + (job->len % BLOCK_BYTES > 0);

	return blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX;
}

/* Indices of the jobs, those with most blocks first, else as they came: a counting sort. */
static void order_set(uint8_t order[], const struct cr_aead_job *jobs, unsigned n)
{
	uint8_t count[BLOCKS_MAX + 1] = {0}, blocks[CR_AEAD_BURST_MAX];
	unsigned most = 0, least = BLOCKS_MAX, at = 0;

	for (unsigned i = 0; i < n; i++) {
		blocks[i] = (uint8_t)blocks_of(&jobs[i]);
		count[blocks[i]]++;
		most = blocks[i] > most ? blocks[i] : most;
		least = blocks[i] < least ? blocks[i] : least;
	}
	/* count[] becomes where the jobs of so many blocks begin. */
	for (unsigned b = most + 1; b-- > least;) {
		unsigned n_of = count[b];

		count[b] = (uint8_t)at;
		at += n_of;
	}
	for (unsigned i = 0; i < n; i++)
		order[count[blocks[i]]++] = (uint8_t)i;
}

unsigned dp_aead_lanes_plan(
	struct dp_aead_lanes_plan *plan, const struct cr_aead_job *jobs, unsigned n)
{
	/* The first i in order, one by one. */
	uint32_t alone[CR_AEAD_BURST_MAX + 1];
	unsigned together = 0;

	order_set(plan->order, jobs, n);
	alone[0] = 0;
	for (unsigned i = 0; i < n; i++)
		alone[i + 1] = alone[i] + SINGLE_CYCLES +
			SINGLE_BLOCK_CYCLES * blocks_of(&jobs[plan->order[i]]);
	for (unsigned at = 0; at < n;) {
		unsigned some = n - at < CR_LANES ? n - at : CR_LANES;
		uint32_t group =
			GROUP_CYCLES + GROUP_BLOCK_CYCLES * blocks_of(&jobs[plan->order[at]]);

		if (alone[at + some] - alone[at] > group) {
			plan->group_of[at] = (uint8_t)some;
			together += some;
			at += some;
		} else {
			plan->group_of[at++] = 0;
		}
	}
	return together;
}

/* While one group is worked on, the first lines of the next come; cr_lanes.c fetches on. */
static inline void prefetch(const struct cr_aead_job *jobs, const struct dp_aead_lanes_plan *plan,
	unsigned at, unsigned n)
{
	for (unsigned end = at + CR_LANES < n ? at + CR_LANES : n; at < end; at++) {
		const struct cr_aead_job *job = &jobs[plan->order[at]];

		__builtin_prefetch(job->key);
		for (unsigned line = 0; line < 3 * CACHE_LINE_BYTES && line < job->len;
			line += CACHE_LINE_BYTES)
			__builtin_prefetch(job->src + line);
	}
}

/* A job without a key, or sixteen of them at once, is our own fault: see is_valid() there. */
static inline unsigned must_be_right(int result)
{
	if (__builtin_expect(result < 0, 0))
		abort();
	return (unsigned)result;
}

/* The groups of a plan. Those that go alone are copied to @rest, their indices to @rest_of. */
static unsigned groups_run(struct cr_aead *aead, struct cr_aead_job *jobs,
	const struct dp_aead_lanes_plan *plan, unsigned n, bool is_seal, uint8_t rest_of[],
	unsigned *ret_rest)
{
	unsigned good = 0, n_rest = 0;

	for (unsigned at = 0; at < n;) {
		struct cr_aead_job *group[CR_LANES];
		unsigned some = plan->group_of[at];

		if (some == 0) {
			rest_of[n_rest++] = plan->order[at++];
			continue;
		}
		for (unsigned i = 0; i < some; i++)
			group[i] = &jobs[plan->order[at + i]];
		prefetch(jobs, plan, at + some, n);
		good += must_be_right(is_seal ? cr_lanes_seal(aead->lanes, group, some, NULL)
					      : cr_lanes_open(aead->lanes, group, some, NULL));
		at += some;
	}
	*ret_rest = n_rest;
	return good;
}

/* What no group took, as a burst of its own, for the provider that takes packets one by one. */
static unsigned rest_run(struct cr_aead *aead, struct cr_aead_job *jobs, const uint8_t rest_of[],
	unsigned n_rest, bool is_seal)
{
	struct cr_aead_job rest[CR_AEAD_BURST_MAX];
	unsigned good;

	for (unsigned i = 0; i < n_rest; i++)
		rest[i] = jobs[rest_of[i]];
	if (is_seal) {
		aead->single_ops->seal(aead->single, rest, n_rest);
		return 0;
	}
	good = aead->single_ops->open(aead->single, rest, n_rest);
	for (unsigned i = 0; i < n_rest; i++)
		jobs[rest_of[i]].ok = rest[i].ok;
	return good;
}

/* A burst of which some go side by side. */
static unsigned run(struct cr_aead *aead, struct cr_aead_job *jobs,
	const struct dp_aead_lanes_plan *plan, unsigned n, bool is_seal)
{
	uint8_t rest_of[CR_AEAD_BURST_MAX];
	unsigned n_rest, good;

	good = groups_run(aead, jobs, plan, n, is_seal, rest_of, &n_rest);
	cr_lanes_wipe(aead->lanes);
	if (n_rest > 0)
		good += rest_run(aead, jobs, rest_of, n_rest, is_seal);
	return good;
}

static void lanes_seal(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n)
{
	struct dp_aead_lanes_plan plan;

	if (n < GROUP_PKTS_MIN || dp_aead_lanes_plan(&plan, jobs, n) == 0)
		aead->single_ops->seal(aead->single, jobs, n);
	else
		run(aead, jobs, &plan, n, true);
}

static unsigned lanes_open(struct cr_aead *aead, struct cr_aead_job *jobs, unsigned n)
{
	struct dp_aead_lanes_plan plan;

	if (n < GROUP_PKTS_MIN || dp_aead_lanes_plan(&plan, jobs, n) == 0)
		return aead->single_ops->open(aead->single, jobs, n);
	return run(aead, jobs, &plan, n, false);
}

static void lanes_free(struct cr_aead *aead)
{
	if (!aead)
		return;
	cr_lanes_free(aead->lanes);
	if (aead->single)
		aead->single_ops->free(aead->single);
	free(aead);
}

static struct cr_aead *lanes_new(void)
{
	struct cr_aead *aead = calloc(1, sizeof(*aead));
	int code;

	if (!aead)
		return NULL;
	aead->lanes = cr_lanes_new();
	if (!aead->lanes)
		goto err;
	aead->single_ops = &dp_aead_mb;
	aead->single = dp_aead_mb.new();
	if (!aead->single) {
		aead->single_ops = &cr_aead_sodium;
		aead->single = cr_aead_sodium.new();
	}
	errno = EBADMSG;
	if (aead->single && cr_aead_self_test(&dp_aead_lanes, aead))
		return aead;
err:
	code = errno;
	lanes_free(aead);
	errno = code;
	return NULL;
}

const struct cr_aead_ops dp_aead_lanes = {
	.name = "lanes",
	.new = lanes_new,
	.free = lanes_free,
	.seal = lanes_seal,
	.open = lanes_open,
};
