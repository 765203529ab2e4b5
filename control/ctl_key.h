/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Key files: one line of 44 base64 characters, as every WireGuard tool writes them. A private or
 * preshared key lives in a file of mode 0600 and nowhere else: not in the configuration, not on a
 * command line. Any thread; blocks on the disk, so at start-up only.
 */
#ifndef CTL_KEY_H
#define CTL_KEY_H

#include <stdbool.h>

#include "base_err.h"
#include "cr_secret.h"

/**
 * Read a key file. Returns 0, or -Exxx with a line that names file and remedy in @ret_error.
 * @ret_warning: told when others may read the file (text is "" otherwise); may be NULL.
 */
BASE_MUST_CHECK int ctl_key_read(struct cr_key *ret_key, const char *path,
	struct base_error *ret_warning, struct base_error *ret_error);

/**
 * Make a private key and write it to a new file of mode 0600; an existing file is replaced only
 * with @replace. Returns 0 and the public half, or -Exxx with a line in @ret_error.
 */
BASE_MUST_CHECK int ctl_key_generate(
	struct cr_key *ret_public, const char *path, bool replace, struct base_error *ret_error);

#endif
