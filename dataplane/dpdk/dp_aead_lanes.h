/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cr_aead_ops that seals and opens packets side by side where that is cheaper: the scheduler of a
 * worker's burst. The contract is in cr_aead.h, the cipher in cr_lanes.h.
 */
#ifndef DP_AEAD_LANES_H
#define DP_AEAD_LANES_H

#include "cr_aead.h"

/**
 * "lanes". Packets of similar length go in groups of up to sixteen, whoever's they are; what is
 * left over goes to ipsec-mb, or to libsodium where that cannot. Jobs stay where they are, so a
 * peer's packets keep their order. It never waits for more.
 *
 * new() checks itself against libsodium, so cr_init() comes first; NULL with errno as in cr_aead.h.
 * About 10 KiB for each new(), and what the other provider takes.
 */
extern const struct cr_aead_ops dp_aead_lanes;

/** What a seal or open of @n jobs decided: for tests and benches. */
struct dp_aead_lanes_plan {
	uint8_t order[CR_AEAD_BURST_MAX];    /* indices of jobs, longest first */
	uint8_t group_of[CR_AEAD_BURST_MAX]; /* packets that begin a group here; 0: goes alone */
};

/** The plan for @n jobs. Returns how many go side by side. */
unsigned dp_aead_lanes_plan(
	struct dp_aead_lanes_plan *ret_plan, const struct cr_aead_job *jobs, unsigned n);

#endif
