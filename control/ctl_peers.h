/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `peers` section of the configuration: each peer by itself, then all together (names, keys
 * and prefixes are unique). For ctl_config.c; and a peer of the API by
 * the same rules. Any thread: no state.
 */
#ifndef CTL_PEERS_H
#define CTL_PEERS_H

#include "base_err.h"
#include "ctl_config.h"
#include "ctl_schema.h"
#include "ctl_yaml.h"

/** Fill config->peers. Returns 0 or -Exxx with a line; what was filled then is the config's to free. */
BASE_MUST_CHECK int ctl_peers_load(struct ctl_config *config, const struct ctl_raw *raw,
	const struct ctl_yaml *yaml, void (*warn)(const char *line), struct base_error *ret_error);

/**
 * A peer that is not of the file, checked by itself: number @index of those that came together. NULL with
 * errno and a line that names the member. ctl_peers_free(peer, 1) ends it.
 */
struct ctl_peer *ctl_peer_new(const struct ctl_config *config, const struct ctl_raw_peer *raw,
	unsigned index, struct base_error *ret_error);

/** Wipes keys. NULL is fine. */
void ctl_peers_free(struct ctl_peer *peers, size_t n);

#endif
