/* SPDX-License-Identifier: BSD-3-Clause */
/* The `mesh` section of the configuration. For ctl_config.c. Any thread: no state but the environment. */
#ifndef CTL_MESH_CONFIG_H
#define CTL_MESH_CONFIG_H

#include "base_err.h"
#include "ctl_config.h"
#include "ctl_schema.h"
#include "ctl_yaml.h"

/** An auth key, for those who start the gateway without a file; wiped there once it is read. */
#define CTL_AUTHKEY_ENV "SANDD_AUTHKEY"
#define CTL_AUTHKEY_BYTES_MAX 256

/** Fill @mesh; what was filled when it fails is the caller's to end. Returns 0 or -Exxx with a line. */
BASE_MUST_CHECK int ctl_mesh_config_load(struct ctl_mesh_config *mesh,
	const struct ctl_raw_mesh *raw, const struct ctl_yaml *yaml, void (*warn)(const char *line),
	struct base_error *ret_error);
/** Wipes the key. Zeroed is fine. */
void ctl_mesh_config_fini(struct ctl_mesh_config *mesh);

/**
 * Read an auth key: one line of a file that others may not read. Returns 0 or -Exxx with a line; @ret_key is the
 * caller's to wipe and free.
 */
BASE_MUST_CHECK int ctl_authkey_read(
	char **ret_key, const char *path, struct base_error *ret_error);

#endif
