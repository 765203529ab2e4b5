/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control plane's one libuv loop: signals that end it, and descriptors of others to watch.
 * Thread: the one that made it, throughout.
 */
#ifndef CTL_LOOP_H
#define CTL_LOOP_H

#include <uv.h>

#include "base_err.h"

struct ctl_loop;

/** NULL with errno. SIGTERM and SIGINT stop it from now on; SIGPIPE is ignored in the process. */
struct ctl_loop *ctl_loop_new(void);
/** Closes its handles; everybody else must have closed theirs. NULL is fine. */
void ctl_loop_free(struct ctl_loop *loop);

/** For handles of others on the same loop. */
uv_loop_t *ctl_loop_uv(struct ctl_loop *loop);

/** Call @ready whenever @fd is readable, until ctl_loop_unwatch(). One descriptor. 0 or -Exxx. */
BASE_MUST_CHECK int ctl_loop_watch(
	struct ctl_loop *loop, int fd, void (*ready)(void *ctx), void *ctx);

/** Before the descriptor is closed. Without a watch nothing happens. */
void ctl_loop_unwatch(struct ctl_loop *loop);

/** Run until stopped. Returns the exit code that ctl_loop_stop() was given, 0 after a signal. */
int ctl_loop_run(struct ctl_loop *loop);
/** From inside a callback. The first stop decides. */
void ctl_loop_stop(struct ctl_loop *loop, int exit_code);

#endif
