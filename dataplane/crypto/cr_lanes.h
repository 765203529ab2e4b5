/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ChaCha20-Poly1305 (RFC 8439) of up to sixteen packets side by side, one in each 32-bit lane of
 * AVX-512. Each has its own key, counter and length; the group costs what its longest packet
 * costs, however full it is. Whoever fills groups is dp_aead_lanes.c.
 *
 * Time and addresses depend on lengths, on pointers and on whether a tag was right, on no key, no
 * payload, no tag. Nothing is read or written past a packet's bytes.
 * Thread: a struct cr_lanes belongs to the thread that uses it.
 */
#ifndef CR_LANES_H
#define CR_LANES_H

#include "cr_aead.h"

/** Packets of one group, at most. */
#define CR_LANES 16

/** Can this CPU (AVX-512 F, BW, DQ, VL, IFMA), and does the system save its registers? */
bool cr_lanes_are_supported(void);

/** Keys at work, some 6 KiB, aligned to 64 bytes. */
struct cr_lanes;

/** NULL with errno: ENOMEM, or ENOTSUP if !cr_lanes_are_supported(). */
struct cr_lanes *cr_lanes_new(void);
/** Wipes it. NULL is fine. */
void cr_lanes_free(struct cr_lanes *lanes);

/** What WireGuard's data messages do not have; zeros are theirs. */
struct cr_lanes_extra {
	uint32_t nonce_le32; /* the first 32 bits of the nonce */
	const uint8_t *ad;   /* associated data; NULL if ad_len is 0 */
	size_t ad_len;
};

/**
 * Seal @n jobs (cr_aead.h), as cr_aead_ops.seal does; any lengths, best of a kind.
 * @extra: one for each job, or NULL.
 * Returns 0; -EINVAL, and nothing is done, if @n is over CR_LANES or a key is NULL. No job is fine.
 *
 * What is left of keys, in @lanes and on the stack below, stays until cr_lanes_wipe(): call that
 * after the last group of a burst.
 */
BASE_MUST_CHECK int cr_lanes_seal(struct cr_lanes *lanes, struct cr_aead_job *const jobs[],
	unsigned n, const struct cr_lanes_extra *extra);

/**
 * Open @n jobs, as cr_aead_ops.open does. dst of a job that is not ok is zeroed: the plaintext of
 * a forged packet goes nowhere, and its neighbours are as if it were alone.
 * Returns how many are ok, or -EINVAL as above, and then ok is untouched.
 */
BASE_MUST_CHECK int cr_lanes_open(struct cr_lanes *lanes, struct cr_aead_job *const jobs[],
	unsigned n, const struct cr_lanes_extra *extra);

/** Wipe @lanes, and the stack below the caller as deep as sealing and opening went. */
void cr_lanes_wipe(struct cr_lanes *lanes);

#endif
