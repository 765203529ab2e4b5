/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where things stand in a YAML file: libyaml's marks by key path, for errors that name a line.
 * libcyaml loads the values (ctl_schema.h) but keeps no positions, so the file is parsed twice.
 *
 * A path is what people read in an error: "peers[3].public_key"; "" is the document.
 * No state outside the object, any thread.
 */
#ifndef CTL_YAML_H
#define CTL_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base_err.h"

struct ctl_yaml;

/**
 * Parse. @file: the name that errors show (copied). NULL with errno EINVAL (bad syntax, empty, not
 * a mapping, several documents: the line tells) or ENOMEM.
 */
struct ctl_yaml *ctl_yaml_new(
	const char *file, const char *text, size_t len, struct base_error *ret_error);
void ctl_yaml_free(struct ctl_yaml *yaml);

/** True if the file gives a value at this path. */
bool ctl_yaml_has(const struct ctl_yaml *yaml, const char *path);

/**
 * The line of a path, from 1: of the key where the last step is a key, of the entry where it is an
 * index. A path that is not there gives the line of the nearest part that is. Of a key that
 * stands twice in a mapping, the later one.
 */
unsigned ctl_yaml_line(const struct ctl_yaml *yaml, const char *path);

/**
 * Call @visit for every scalar, in the order of the file, with its path and its text. It ends at the first call
 * that does not return 0, and returns what that did.
 */
int ctl_yaml_each(const struct ctl_yaml *yaml,
	int (*visit)(void *ctx, const char *path, const char *text), void *ctx);

/** "FILE:LINE: PATH: text" into @ret_error; returns -EINVAL. */
BASE_PRINTF(4, 5)
int ctl_yaml_error(const struct ctl_yaml *yaml, struct base_error *ret_error, const char *path,
	const char *fmt, ...);

#endif
