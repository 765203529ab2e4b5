/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Logging: a level, a category per file, one line per record. Libraries log at debug level at
 * most; mains report. Packet paths never log: they count (dp_pkt.h).
 *
 *	BASE_LOG_CATEGORY("config");
 *	base_log_warn("key file %s is readable by others; run: chmod 600 %s", path, path);
 *
 * What comes from outsiders is printed through base_log_text(), which escapes it.
 * Thread: any; a record is one write(2).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

enum base_log_level { BASE_LOG_ERROR, BASE_LOG_WARN, BASE_LOG_INFO, BASE_LOG_DEBUG };

/** Where records go. @line has no newline and no secrets. Called from any thread. */
typedef void (*base_log_sink)(enum base_log_level level, const char *category, const char *line);

/** Choose the sink (NULL: "time level category: text" lines on standard error) and the level. */
void base_log_setup(base_log_sink sink, enum base_log_level level);

/** Read "error", "warn", "info" or "debug". Returns 0 or -EINVAL. */
BASE_MUST_CHECK int base_log_level_parse(enum base_log_level *ret_level, const char *text);

/** Write one record, or nothing below the level. Leaves errno as it was. */
BASE_PRINTF(3, 4)
void base_log_write(enum base_log_level level, const char *category, const char *fmt, ...);

/** A token bucket for one call site; zeroed by its owner. */
struct base_log_limit {
	uint64_t last_ns;
	uint32_t tokens;
	uint32_t suppressed;
};

/**
 * Ask a bucket whether to log now. Not for use by two threads at once on one bucket.
 * At most @burst records at once, then one a second.
 * @ret_suppressed: how many records were held back since the last one allowed; written only
 * when the answer is true.
 */
bool base_log_allow(
	struct base_log_limit *limit, uint64_t now_ns, uint32_t burst, uint32_t *ret_suppressed);

/**
 * Copy text of an outsider with control characters and non-ASCII bytes as \xNN, cut to fit.
 * Returns @buf, for use as a printf argument.
 */
const char *base_log_text(char *buf, size_t size, const char *text, size_t len);

#define BASE_LOG_CATEGORY(name) static const char base_log_category[] = name

#define base_log_error(...) base_log_write(BASE_LOG_ERROR, base_log_category, __VA_ARGS__)
#define base_log_warn(...) base_log_write(BASE_LOG_WARN, base_log_category, __VA_ARGS__)
#define base_log_info(...) base_log_write(BASE_LOG_INFO, base_log_category, __VA_ARGS__)
#define base_log_debug(...) base_log_write(BASE_LOG_DEBUG, base_log_category, __VA_ARGS__)

#endif
