/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For the tests of the kernel-facing parts: a network namespace of the test process alone, which
 * the kernel removes when it ends, and `ip` run in it. Included once per test program.
 */
#ifndef DP_KERN_TEST_H
#define DP_KERN_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>
#include <cmocka.h>

static const char *kern_test_skip_reason;

/* Run a command of the test; it must succeed. */
__attribute__((format(printf, 1, 2))) static inline void run(const char *fmt, ...)
{
	char command[512];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	rc = system(command);
	if (rc != 0)
		fail_msg("%s: %d", command, rc);
}

/* A group's set-up: the whole process moves into a namespace of its own. */
static inline int enter_netns(void **state)
{
	if (geteuid() != 0)
		kern_test_skip_reason = "not root";
	else if (unshare(CLONE_NEWNET) < 0)
		kern_test_skip_reason = strerror(errno);
	if (!kern_test_skip_reason && system("ip link set lo up") != 0)
		kern_test_skip_reason = "no ip command";
	return 0;
}

/* First line of each test that needs the namespace. */
#define need_netns()                                                                               \
	do {                                                                                       \
		if (kern_test_skip_reason) {                                                       \
			print_message("skipped: %s\n", kern_test_skip_reason);                     \
			skip();                                                                    \
		}                                                                                  \
	} while (0)

#endif
