/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file read again while the gateway runs: on SIGHUP, and on POST /v1/reload. What can follow does
 * (peers, filter, log level); of what cannot each key is named that needs a restart. A file that is
 * wrong, or that does not go with the peers of the API, leaves everything as it is.
 *
 * The file is read and checked on a thread of libuv's pool, so that the loop goes on meanwhile; what is asked for
 * while that happens is one more reading after it. Thread: the loop's.
 */
#ifndef CTL_RELOAD_H
#define CTL_RELOAD_H

#include <stdbool.h>

#include "base_err.h"
#include "ctl_config.h"
#include "ctl_loop.h"
#include "ctl_tunnel.h"

#define CTL_RELOAD_KEYS_MAX 24

struct ctl_reload_result {
	bool is_ok;
	struct base_error error; /* if not: why, and the file's line */
	struct ctl_peers_changed peers;
	bool has_new_filter, has_new_log_level;
	const char *needs_restart[CTL_RELOAD_KEYS_MAX]; /* keys whose change did not follow */
	unsigned n_needs_restart;
	uint64_t unix_ns; /* when it was applied or refused */
};

struct ctl_reload;

/**
 * @config: the running one; its peers, rules and log level follow. @tunnel: NULL without one. @log_level_is_given: by a
 * flag, which goes before the file. Listens for SIGHUP from now on. NULL with errno.
 */
struct ctl_reload *ctl_reload_new(struct ctl_config *config, struct ctl_tunnel *tunnel,
	struct ctl_loop *loop, bool log_level_is_given);
/** The loop must run once more; waits for a reading that is under way. NULL is fine. */
void ctl_reload_free(struct ctl_reload *reload);

/**
 * Read the file again. @done(@user, result) later, once, from the loop; the result is borrowed. NULL: nobody
 * wants to know. Returns 0 or -EBUSY: more wait for it than may.
 */
BASE_MUST_CHECK int ctl_reload_begin(struct ctl_reload *reload,
	void (*done)(void *user, const struct ctl_reload_result *result), void *user);
/** @user is gone: its @done is not called any more. */
void ctl_reload_forget(struct ctl_reload *reload, void *user);

/** When the running configuration was read (nanoseconds since 1970), and what came of the last reload; NULL: none yet. */
uint64_t ctl_reload_loaded_unix_ns(const struct ctl_reload *reload);
const struct ctl_reload_result *ctl_reload_last(const struct ctl_reload *reload);

/** For tests: which keys differ and cannot follow; the number of them. */
unsigned ctl_reload_compare(const struct ctl_config *running, const struct ctl_config *read,
	const char *ret_keys[CTL_RELOAD_KEYS_MAX]);

#endif
