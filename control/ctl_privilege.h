/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the gateway may do, cut down to what it does. Once, in the main thread, before any other thread is
 * made, so that all of them inherit it: capabilities(7), PR_SET_NO_NEW_PRIVS, mlockall(2).
 *
 * What is kept in tunnel mode:
 *	CAP_NET_ADMIN	the host interface, XDP programs, neighbours
 *	CAP_NET_RAW	AF_XDP and AF_PACKET sockets
 *	CAP_BPF		the XDP program's map
 * and where the configuration or the machine wants it
 *	CAP_NET_BIND_SERVICE	a port below 1024 is configured, or the resolver (53)
 *	CAP_IPC_LOCK	the limit of locked memory is finite and could not be lifted (LimitMEMLOCK=infinity does)
 * Direct mode keeps at most these two.
 */
#ifndef CTL_PRIVILEGE_H
#define CTL_PRIVILEGE_H

#include "base_err.h"
#include "ctl_config.h"

/** Before anything secret is in memory: no core files of this process, whatever the limit was. */
void ctl_privilege_forbid_core_files(void);

/**
 * Lift the limit of locked memory, keep memory from being swapped, join the group that the API's socket gets, and
 * give up every capability but those above, for good: also what a program that is executed could have. 0, or
 * -Exxx with a line; nothing may be started then. What only weakens a defence is logged.
 */
BASE_MUST_CHECK int ctl_privilege_drop(
	const struct ctl_config *config, struct base_error *ret_error);

/**
 * Once everything runs: other processes of the same user can neither read the memory nor trace. Not before,
 * because the start opens its own descriptors through /proc.
 */
void ctl_privilege_forbid_tracing(void);

#endif
