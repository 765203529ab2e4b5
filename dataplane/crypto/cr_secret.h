/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Keys as types. A struct cr_key that holds a secret is wiped by its owner (cr_key_wipe, or
 * CR_KEY_CLEANUP on a local), is never printed, and is compared with base_ct_equal only.
 * No state, any thread.
 */
#ifndef CR_SECRET_H
#define CR_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "base_bytes.h"

#define CR_KEY_BYTES 32

/** 32 bytes: an X25519 key of either half, a preshared key, or an AEAD key. */
struct cr_key {
	uint8_t bytes[CR_KEY_BYTES];
};

static inline void cr_key_wipe(struct cr_key *key)
{
	base_wipe(key, sizeof(*key));
}

static inline bool cr_key_equal(const struct cr_key *a, const struct cr_key *b)
{
	return base_ct_equal(a->bytes, b->bytes, CR_KEY_BYTES);
}

/** True for the all-zero key ("none" in configuration and preshared keys). Constant time. */
static inline bool cr_key_is_zero(const struct cr_key *key)
{
	static const struct cr_key zero;

	return cr_key_equal(key, &zero);
}

/** A local that wipes itself when it leaves scope. */
#define CR_KEY_CLEANUP __attribute__((cleanup(cr_key_wipe)))

#endif
