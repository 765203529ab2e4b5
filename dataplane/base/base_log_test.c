/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log records: levels, the sink, the line on standard error, escaping of what outsiders wrote,
 * and the token bucket on a clock of the test's own.
 */
#include "base_log.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

BASE_LOG_CATEGORY("test");

static unsigned records;
static enum base_log_level last_level;
static char last_category[32], last_line[2048];

static void recording_sink(enum base_log_level level, const char *category, const char *line)
{
	records++;
	last_level = level;
	snprintf(last_category, sizeof(last_category), "%s", category);
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static void test_levels(void **state)
{
	for (int level = BASE_LOG_ERROR; level <= BASE_LOG_DEBUG; level++) {
		base_log_setup(recording_sink, (enum base_log_level)level);
		records = 0;
		base_log_error("e");
		base_log_warn("w");
		base_log_info("i");
		base_log_debug("d %d", 7);
		assert_int_equal(records, level + 1);
		assert_int_equal(last_level, level);
	}
	assert_string_equal(last_category, "test");
	assert_string_equal(last_line, "d 7");
}

static void test_level_parse(void **state)
{
	static const char *const bad[] = {"", "Error", "errors", "err", "info ", "4"};
	enum base_log_level level = BASE_LOG_WARN;

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++) {
		assert_int_equal(base_log_level_parse(&level, bad[i]), -EINVAL);
		assert_int_equal(level, BASE_LOG_WARN);
	}
	for (size_t i = 0; i < BASE_ARRAY_LEN(level_names); i++) {
		assert_int_equal(base_log_level_parse(&level, level_names[i]), 0);
		assert_int_equal(level, i);
	}
}

static void failing_sink(enum base_log_level level, const char *category, const char *line)
{
	errno = EIO;
}

/* Logging between a failed call and the look at its errno is harmless. */
static void test_errno_survives(void **state)
{
	base_log_setup(failing_sink, BASE_LOG_INFO);
	errno = ENOENT;
	base_log_error("%s", "text");
	assert_int_equal(errno, ENOENT);
}

/* Run the default sink with standard error in a pipe. */
static ssize_t stderr_of_record(char *buf, size_t size, const char *text)
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t len;

	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	base_log_setup(NULL, BASE_LOG_INFO);
	base_log_warn("%s", text);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fds[1]);
	len = read(fds[0], buf, size - 1);
	close(fds[0]);
	assert_true(len > 0);
	buf[len] = '\0';
	return len;
}

static void test_standard_error(void **state)
{
	char record[2048], stamp[] = "dddd-dd-ddTdd:dd:dd.dddZ warn test: ";
	size_t stamp_len = strlen(stamp);

	stderr_of_record(record, sizeof(record), "a thing happened");
	for (size_t i = 0; i < strlen("dddd-dd-ddTdd:dd:dd.dddZ"); i++)
		if (stamp[i] == 'd')
			assert_in_range(record[i], '0', '9');
		else
			assert_int_equal(record[i], stamp[i]);
	assert_memory_equal(record + 24, stamp + 24, stamp_len - 24);
	assert_string_equal(record + stamp_len, "a thing happened\n");
}

/* Too long a record is cut and still ends in a newline: one record, one line. */
static void test_long_record(void **state)
{
	char text[1500], record[2048];
	ssize_t len;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	len = stderr_of_record(record, sizeof(record), text);
	assert_in_range(len, 1000, 1200);
	assert_int_equal(record[len - 1], '\n');
	assert_ptr_equal(strchr(record, '\n'), record + len - 1);
}

#define START_NS (1000 * BASE_NS_PER_S)

static unsigned allowed_of(
	struct base_log_limit *limit, uint64_t now_ns, unsigned tries, uint32_t *ret_suppressed)
{
	unsigned allowed = 0;

	for (unsigned i = 0; i < tries; i++)
		allowed += base_log_allow(limit, now_ns, 3, ret_suppressed);
	return allowed;
}

/* A burst at once, then one a second; what was held back is told with the next one. */
static void test_allow(void **state)
{
	struct base_log_limit limit = {0};
	uint32_t suppressed = 99;

	assert_int_equal(allowed_of(&limit, START_NS, 1, &suppressed), 1);
	assert_int_equal(suppressed, 0);
	assert_int_equal(allowed_of(&limit, START_NS, 12, &suppressed), 2);
	assert_int_equal(allowed_of(&limit, START_NS + BASE_NS_PER_S - 1, 5, &suppressed), 0);
	assert_int_equal(suppressed, 0);
	assert_int_equal(allowed_of(&limit, START_NS + BASE_NS_PER_S, 1, &suppressed), 1);
	assert_int_equal(suppressed, 15);
	assert_int_equal(allowed_of(&limit, START_NS + BASE_NS_PER_S, 4, &suppressed), 0);
	/* Two and a half seconds later: two, and the half is not lost. */
	assert_int_equal(allowed_of(&limit, START_NS + 7 * BASE_NS_PER_S / 2, 9, &suppressed), 2);
	assert_int_equal(allowed_of(&limit, START_NS + 4 * BASE_NS_PER_S, 9, &suppressed), 1);
	/* Three seconds add three to an empty bucket, and one to one that holds two. */
	assert_int_equal(allowed_of(&limit, START_NS + 7 * BASE_NS_PER_S, 1, &suppressed), 1);
	assert_int_equal(allowed_of(&limit, START_NS + 10 * BASE_NS_PER_S, 9, &suppressed), 3);
	/* After a long silence the bucket is full, not fuller. */
	assert_int_equal(allowed_of(&limit, START_NS + 999 * BASE_NS_PER_S, 50, &suppressed), 3);
}

/* Ten calls a second for an hour: never more than the burst and one a second. */
static void test_allow_over_an_hour(void **state)
{
	struct base_log_limit limit = {0};
	uint32_t suppressed, total_suppressed = 0;
	unsigned allowed = 0;

	for (unsigned i = 0; i < 36000; i++) {
		if (base_log_allow(&limit, START_NS + i * BASE_NS_PER_S / 10, 5, &suppressed)) {
			allowed++;
			total_suppressed += suppressed;
		}
	}
	assert_int_equal(allowed, 5 + 3599);
	assert_int_equal(allowed + total_suppressed + limit.suppressed, 36000);
}

static void test_text(void **state)
{
	static const struct {
		const char *text;
		size_t len, size;
		const char *escaped;
	} cases[] = {
		{"plain text ~", 12, 64, "plain text ~"},
		{"a\nb\r\t\x1b[31m", 10, 64, "a\\x0ab\\x0d\\x09\\x1b[31m"},
		{"nul\0in", 6, 64, "nul\\x00in"},
		{"\x7f\x80\xff", 3, 64, "\\x7f\\x80\\xff"},
		{"\\x41", 4, 64, "\\x5cx41"},
		{"", 0, 64, ""},
		{"abc", 3, 1, ""},
		{"abc", 3, 4, ""},
		{"abc", 3, 5, "a"},
		{"\n", 1, 5, "\\x0a"},
		{"a\n", 2, 5, "a"},
		{"aaaa\n\n", 6, 12, "aaaa\\x0a"},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		char buf[65];

		memset(buf, '#', sizeof(buf));
		assert_ptr_equal(
			base_log_text(buf, cases[i].size, cases[i].text, cases[i].len), buf);
		assert_string_equal(buf, cases[i].escaped);
		assert_int_equal(buf[cases[i].size], '#');
	}
	assert_ptr_equal(base_log_text(NULL, 0, "abc", 3), NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_level_parse),
		cmocka_unit_test(test_errno_survives),
		cmocka_unit_test(test_standard_error),
		cmocka_unit_test(test_long_record),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_allow_over_an_hour),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests_name("base_log", tests, NULL, NULL);
}
