/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one dialect of errors.
 *
 * - A call that can fail returns 0 or a negative errno (-EINVAL). It does not log.
 * - A creator returns its object, or NULL with errno set.
 * - A predicate returns bool; a burst returns how many it handled.
 * - Outputs are named ret_x and are written only on success.
 * - Destructors accept NULL and half-built objects.
 * - Mains report: a call whose failure a person has to mend fills a struct base_error with one
 *   line that names the thing and the remedy.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BASE_MUST_CHECK __attribute__((warn_unused_result))
#define BASE_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define BASE_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/**
 * One line for a person: what failed, on what, and what to do next. No trailing newline; a control character of a quoted
 * text (a line break in a configured name) stands as '?'.
 */
struct base_error {
	char text[512];
};

/**
 * Fill an error and pass a code through, so that a caller can write
 * `return base_error_set(err, -ENODEV, "port %s: no such interface; see ip link", name);`
 * @err: may be NULL.
 * Returns @code.
 */
BASE_PRINTF(3, 4)
static inline int base_error_set(struct base_error *err, int code, const char *fmt, ...)
{
	if (err) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
		for (char *c = err->text; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
	}
	return code;
}

#endif
