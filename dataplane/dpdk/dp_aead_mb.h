/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cr_aead_ops on Intel's ipsec-mb: what packet workers seal and open with. The contract is in
 * cr_aead.h; the test compares every length with libsodium.
 */
#ifndef DP_AEAD_MB_H
#define DP_AEAD_MB_H

#include "cr_aead.h"

/**
 * "ipsec-mb", with the widest vectors of this CPU. new() checks itself against libsodium, so
 * cr_init() comes first; NULL with errno ENOMEM, ENOTSUP, or EBADMSG when an answer is wrong.
 * About 400 KiB for each new(); a call touches eight jobs of it, some 2 KiB.
 */
extern const struct cr_aead_ops dp_aead_mb;

#endif
