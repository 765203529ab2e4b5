/* SPDX-License-Identifier: BSD-3-Clause */
/* What the suites of this folder share: a directory of their own, and files in it. */
#ifndef CTL_TEST_H
#define CTL_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char test_dir[] = "/tmp/sandd-gw-test-XXXXXX";

static inline const char *test_path(char buf[128], const char *name)
{
	snprintf(buf, 128, "%s/%s", test_dir, name);
	return buf;
}

static inline void test_write(const char *name, const char *text, size_t len, mode_t mode)
{
	char path[128];
	FILE *file = fopen(test_path(path, name), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static inline int test_dir_make(void **state)
{
	return mkdtemp(test_dir) ? 0 : -1;
}

static inline int test_dir_remove(void **state)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", test_dir);
	return system(command);
}

#endif
