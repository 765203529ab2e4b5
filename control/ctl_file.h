/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small files of the operator: configuration and keys. Read whole, bounded, regular files only.
 * Any thread; blocks on the disk, so at start-up only.
 */
#ifndef CTL_FILE_H
#define CTL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base_err.h"

/**
 * Read a file of at most @max bytes into a buffer of the caller: @max + 1 bytes, NUL-terminated.
 * @ret_mode: permission bits, may be NULL.
 * Returns 0, or -Exxx with errno's own meaning: -ENOENT, -EACCES, -EISDIR, -EFBIG (above @max),
 * -EINVAL (not a regular file).
 */
BASE_MUST_CHECK int ctl_file_read(
	const char *path, size_t max, char *ret_text, size_t *ret_len, mode_t *ret_mode);

/**
 * Write a new file of mode 0600, synced. Never writes through an existing name: without @replace that
 * is -EEXIST, with it the old file is renamed over. Returns 0 or -Exxx; nothing is left behind then.
 */
BASE_MUST_CHECK int ctl_file_write_secret(
	const char *path, const void *text, size_t len, bool replace);

#endif
