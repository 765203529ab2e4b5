/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A Headscale policy for a fleet: daemons see the gateways, reach their controller, and nothing else; they do not see
 * each other, so that the server's work grows with the fleet and not with its square. Any thread.
 */
#ifndef CTL_POLICY_H
#define CTL_POLICY_H

#include <stdio.h>

#include "base_err.h"

/**
 * Write it as HuJSON, with the commands that load it and make the keys as comments. @user: of the server, owner of the
 * tags; "ops" and "ops@example.org" are both names. Returns 0 or -EINVAL with a line.
 */
BASE_MUST_CHECK int ctl_policy_print(FILE *out, const char *user, struct base_error *ret_error);

#endif
