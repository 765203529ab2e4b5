/* SPDX-License-Identifier: BSD-3-Clause */
/* Log records to the sink that main chose. Any thread. See base_log.h. */
#include "base_log.h"

#include "base_clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static _Atomic(base_log_sink) log_sink;
/* Relaxed: a level that changes a record early or late harms nobody. */
static _Atomic int log_level = BASE_LOG_INFO;

void base_log_setup(base_log_sink sink, enum base_log_level level)
{
	atomic_store(&log_sink, sink);
	atomic_store(&log_level, (int)level);
}

int base_log_level_parse(enum base_log_level *ret_level, const char *text)
{
	for (unsigned i = 0; i < BASE_ARRAY_LEN(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = (enum base_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void stderr_sink(enum base_log_level level, const char *category, const char *line)
{
	char record[1200], stamp[32];
	uint64_t unix_ns = base_clock_unix_ns();
	time_t seconds = (time_t)(unix_ns / BASE_NS_PER_S);
	struct tm tm;
	int len;

	gmtime_r(&seconds, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	len = snprintf(record, sizeof(record), "%s.%03uZ %s %s: %s\n", stamp,
		(unsigned)(unix_ns / BASE_NS_PER_MS % 1000), level_names[level], category, line);
	if (len >= (int)sizeof(record)) {
		len = sizeof(record) - 1;
		record[len - 1] = '\n';
	}
	if (write(STDERR_FILENO, record, (size_t)len) < 0)
		return; /* nobody left to tell */
}

void base_log_write(enum base_log_level level, const char *category, const char *fmt, ...)
{
	base_log_sink sink = atomic_load(&log_sink);
	int saved_errno = errno;
	char line[1024];
	va_list ap;

	if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	(sink ? sink : stderr_sink)(level, category, line);
	errno = saved_errno;
}

bool base_log_allow(
	struct base_log_limit *limit, uint64_t now_ns, uint32_t burst, uint32_t *ret_suppressed)
{
	if (limit->last_ns == 0 || now_ns - limit->last_ns > burst * BASE_NS_PER_S) {
		limit->tokens = burst;
		limit->last_ns = now_ns;
	} else {
		uint64_t earned = (now_ns - limit->last_ns) / BASE_NS_PER_S;

		limit->last_ns += earned * BASE_NS_PER_S;
		limit->tokens += (uint32_t)earned;
		if (limit->tokens > burst)
			limit->tokens = burst;
	}
	if (limit->tokens == 0) {
		limit->suppressed++;
		return false;
	}
	limit->tokens--;
	*ret_suppressed = limit->suppressed;
	limit->suppressed = 0;
	return true;
}

const char *base_log_text(char *buf, size_t size, const char *text, size_t len)
{
	size_t at = 0;

	/* Room for the longest escape and the NUL, whatever comes next. */
	for (size_t i = 0; i < len && at + 5 <= size; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x20 && c < 0x7f && c != '\\')
			buf[at++] = (char)c;
		else
			at += (size_t)snprintf(buf + at, size - at, "\\x%02x", c);
	}
	if (size > 0)
		buf[at] = '\0';
	return buf;
}
