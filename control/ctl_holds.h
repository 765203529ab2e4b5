/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which daemon id belongs to which node of the mesh: the first node that registers an id has it until it leaves the mesh,
 * connected or not, so that no other node can take its commands. Bounded; when it is full the id that was
 * seen longest ago, and is not connected, gives way. Thread: the loop's.
 */
#ifndef CTL_HOLDS_H
#define CTL_HOLDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

#define CTL_HOLDS_MAX 65536

struct ctl_holds;

/** NULL with errno. */
struct ctl_holds *ctl_holds_new(void);
/** NULL is fine. */
void ctl_holds_free(struct ctl_holds *holds);

/** The node that holds the id; 0: nobody. */
int64_t ctl_holds_find(const struct ctl_holds *holds, const char *daemon_id);
/** @node has the id from now on, and is connected; nobody else holds it. 0, -ENOMEM, -ENOSPC (all are connected). */
BASE_MUST_CHECK int ctl_holds_take(struct ctl_holds *holds, const char *daemon_id, int64_t node);
/** Its connection ended; the id stays the node's. */
void ctl_holds_rest(struct ctl_holds *holds, const char *daemon_id);
/** The node is gone from the mesh: its ids are free. */
void ctl_holds_release(struct ctl_holds *holds, int64_t node);
size_t ctl_holds_count(const struct ctl_holds *holds);

#endif
