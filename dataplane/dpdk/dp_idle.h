/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping when there is nothing to do (`idle: adaptive`). af_xdp and af_packet have no receive
 * interrupts in DPDK 22.11, but their sockets are in the process: a worker waits in epoll on the sockets of
 * its queues and on an eventfd that other threads write when they put something on its rings.
 *
 * Protocol without a lost wake-up: the sleeper sets is_asleep, then looks at its rings once more, then
 * waits; a waker puts on the ring, then reads is_asleep and writes the eventfd only if it is set. Both sides
 * use sequentially consistent order between the two steps, so at least one sees the other.
 */
#ifndef DP_IDLE_H
#define DP_IDLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"

struct dp_idle;

/** NULL with errno. One per sleeping thread. */
struct dp_idle *dp_idle_new(void);
void dp_idle_free(struct dp_idle *idle);
/** Wake up also when this descriptor becomes readable (not closed here). */
BASE_MUST_CHECK int dp_idle_add_fd(struct dp_idle *idle, int fd);
/** No longer; one that is closed is forgotten by itself. */
void dp_idle_remove_fd(struct dp_idle *idle, int fd);

/** Sleeper, step 1: from now on wakers write. Then look at the rings again. */
void dp_idle_prepare(struct dp_idle *idle);
/** Sleeper, step 2a: there is something after all. */
void dp_idle_cancel(struct dp_idle *idle);
/**
 * Sleeper, step 2b: wait for a descriptor, a waker, or @timeout_ns; false: only the time has passed. One system call, or two
 * when woken.
 */
bool dp_idle_wait(struct dp_idle *idle, uint64_t timeout_ns);
/** Any thread, after putting work where the sleeper looks. A system call only if it sleeps. */
void dp_idle_wake(struct dp_idle *idle);

/**
 * The sockets of one address family (AF_XDP 44, AF_PACKET 17) that this process has open, in
 * ascending order. Take the list before and after a port starts: the difference is the port's, in
 * order of its queues. Returns how many, at most @max.
 */
unsigned dp_idle_find_sockets(int family, int *ret_fds, unsigned max);

#endif
