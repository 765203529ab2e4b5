/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counts what a thread does that a packet path must not: system calls and allocations. The thread that is to
 * be watched calls watch_thread_begin() itself; counting is switched on and off by anybody.
 *
 * System calls: a seccomp filter of this thread alone traps every one but those made from our own gadget; the
 * handler counts and makes the call there, so the program goes on undisturbed. Allocations: malloc and its
 * siblings are ours in every program that links this file. No privileges needed.
 */
#ifndef WATCH_THREAD_H
#define WATCH_THREAD_H

#include <stdbool.h>
#include <stdint.h>

/** False where sanitizers bring their own malloc, or seccomp is not to be had. */
bool watch_thread_begin(void);
/** Count from now on, from zero; or stop counting. */
void watch_thread_count(bool is_on);

uint64_t watch_thread_syscalls(void);
uint64_t watch_thread_allocations(void);
/** Number of the last system call counted; for messages. */
long watch_thread_last_syscall(void);

#endif
