/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything that came from one command: its process group, its session, and whoever left both (setsid, a
 * daemon's double fork) but kept the mark that the command has in its environment.
 *
 * No privilege is needed and nothing is remembered, so there is nothing to bound. What gives up the session *and*
 * clears its environment is not found, nor is what runs as another user when we are not root.
 */
#ifndef WS_FAMILY_H
#define WS_FAMILY_H

#include <sys/types.h>

/**
 * Send a signal to all of them. @leader: of the group and the session; it must not have been reaped, lest its number
 * be a stranger's. @mark: NAME=VALUE as the command's environment has it, unique on this machine.
 *
 * Without /proc the group alone gets it. Walks all processes: for the end of a command that does not end, not for
 * every command. Any thread.
 */
void ws_family_signal(pid_t leader, const char *mark, int number);

#endif
