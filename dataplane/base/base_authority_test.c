/* SPDX-License-Identifier: BSD-3-Clause */
/* HOST[:PORT], good and bad (base_authority.h). */
#include "base_authority.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void good_ones(void **state)
{
	static const struct {
		const char *text, *host;
		uint16_t port;
		ssize_t len;
	} cases[] = {
		{"gw.example", "gw.example", 0, 10},
		{"GW.Example:1/Path", "gw.example", 1, 12},
		{"192.0.2.1:65535?q", "192.0.2.1", 65535, 15},
		{"[2001:DB8::1]", "2001:db8::1", 0, 13},
		{"[::1]:8080/", "::1", 8080, 10},
		{"a", "a", 0, 1},
	};
	struct base_authority authority;
	struct base_error error;

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		assert_int_equal(
			base_authority_parse(&authority, cases[i].text, &error), cases[i].len);
		assert_string_equal(authority.host, cases[i].host);
		assert_int_equal(authority.port, cases[i].port);
	}
}

static void bad_ones(void **state)
{
	static const struct {
		const char *text, *line;
	} cases[] = {
		{"", "no host"},
		{"/path", "no host"},
		{":80", "no host"},
		{"[]:80", "no host"},
		{"[::1", "without ']'"},
		{"[::1/]", "without ']'"},
		{"[name]", "is no host"},
		{"[192.0.2.1]", "is no host"},
		{"[[::1]]", "is no host"},
		{"a]b", "is no host"},
		{"[::1]80", "the port"},
		{"a:", "the port"},
		{"a:0", "the port"},
		{"a:65536", "the port"},
		{"a:000080", "the port"},
		{"a:8x", "the port"},
		{"a:-1", "the port"},
		{"a:1:2", "the port"},
	};
	struct base_authority authority;
	char name[300];
	struct base_error error;

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		assert_int_equal(base_authority_parse(&authority, cases[i].text, &error), -EINVAL);
		assert_non_null(strstr(error.text, cases[i].line));
	}
	memset(name, 'a', sizeof(name) - 1);
	name[255] = '\0';
	assert_int_equal(base_authority_parse(&authority, name, &error), 255);
	name[255] = 'a';
	name[256] = '\0';
	assert_int_equal(base_authority_parse(&authority, name, &error), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones),
		cmocka_unit_test(bad_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
