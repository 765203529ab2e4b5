/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Traces and captures that operators have open (struct dp_tap), by number. One that nobody reads for
 * CTL_TAP_IDLE_S ends by itself: its operator went away. Each leaves two lines in the audit log, for a capture
 * shows what is said inside the tunnel. Thread: the loop's.
 */
#ifndef CTL_TAP_H
#define CTL_TAP_H

#include <assert.h>
#include <jansson.h>
#include <uv.h>

#include "base_err.h"
#include "ctl_tunnel.h"

#define CTL_TAP_IDLE_S 10
/** Records of one answer. */
#define CTL_TAP_RECORDS_MAX 2048
#define CTL_TAP_RECORDS_DEFAULT 512

struct ctl_taps;

/** @tunnel: NULL in direct mode, which has nothing to look at. NULL with errno. */
struct ctl_taps *ctl_taps_new(uv_loop_t *loop, const struct ctl_tunnel *tunnel);
/** Ends all. NULL is fine. */
void ctl_taps_free(struct ctl_taps *taps);

/**
 * Open one as @body says ({"kind", "peer", "snaplen"}), for @client. The answer is {"id", "ports"}. NULL with errno
 * (EINVAL, ENOENT: no such peer, EBUSY, ENOTSUP: no tunnel, ENOMEM) and a line.
 */
json_t *ctl_taps_open(struct ctl_taps *taps, const json_t *body, const char *client,
	struct base_error *ret_error);
/** What has come since the last time; openapi.yaml has the form. NULL with errno (ENOENT, EINVAL). */
json_t *ctl_taps_read(struct ctl_taps *taps, const char *id, const json_t *body);
/** End one: {"lost"}. NULL with errno ENOENT. */
json_t *ctl_taps_close(struct ctl_taps *taps, const char *id);

#endif
