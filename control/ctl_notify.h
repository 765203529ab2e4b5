/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the service manager is told: sd_notify(3)'s protocol, lines in a datagram to $NOTIFY_SOCKET. Without
 * the variable nothing happens. Under a watchdog (WATCHDOG_USEC) the loop says that it lives, twice in
 * each period; workers that stand still end the process by another way (DP_EVENT_DEAD).
 * Thread: the loop's.
 */
#ifndef CTL_NOTIFY_H
#define CTL_NOTIFY_H

#include <uv.h>

struct ctl_notify;

/** NULL with errno, ENOENT where no service manager listens: all calls below take NULL. */
struct ctl_notify *ctl_notify_new(uv_loop_t *loop);
/** Says STOPPING; its timer ends. */
void ctl_notify_free(struct ctl_notify *notify);

/** READY=1, with a line for `systemctl status`. */
void ctl_notify_ready(struct ctl_notify *notify, const char *status);

#endif
