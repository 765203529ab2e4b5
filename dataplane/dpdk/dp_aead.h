/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which provider of cr_aead_ops the workers use. Control thread, at start, after cr_init().
 */
#ifndef DP_AEAD_H
#define DP_AEAD_H

#include "base_err.h"
#include "cr_aead.h"

/**
 * The provider of that @name; for NULL and "auto" the fastest that works here: lanes, ipsec-mb,
 * libsodium. Each is tried with its self-test. What fails that is refused: named, with an error; by
 * auto, with a line to @warn (may be NULL), and the next one is taken.
 * Returns NULL with @ret_error and errno: EINVAL, no such name; or what new() says.
 */
const struct cr_aead_ops *dp_aead_choose(
	const char *name, void (*warn)(const char *line), struct base_error *ret_error);

#endif
