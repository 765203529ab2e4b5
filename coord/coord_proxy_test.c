/* SPDX-License-Identifier: BSD-3-Clause */
/* Proxies by the environment: which variable counts for which address, exceptions, what is refused, and what is asked of one. */
#include "coord_proxy.c"

#include "coord_test.h"

static const char *const variables[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
	"all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"};

static int clear(void **state)
{
	for (size_t i = 0; i < BASE_ARRAY_LEN(variables); i++)
		unsetenv(variables[i]);
	return 0;
}

static int find(struct coord_proxy *ret_proxy, const char *url_text, struct base_error *ret_error)
{
	struct coord_url url;

	assert_int_equal(coord_url_parse(&url, url_text, NULL), 0);
	return coord_proxy_find(ret_proxy, &url, ret_error);
}

/* The proxy's name for this address; "" if it is dialled as it is. */
static const char *proxy_for(const char *url)
{
	static struct coord_proxy proxy;
	struct base_error line;

	if (find(&proxy, url, &line) != 0)
		fail_msg("%s", line.text);
	return proxy.is_used ? proxy.host : "";
}

static void test_variables(void **state)
{
	assert_string_equal(proxy_for("http://hs"), "");
	setenv("http_proxy", "http://plain:1", 1);
	setenv("HTTPS_PROXY", "http://secure:2", 1);
	setenv("ALL_PROXY", "http://all:3", 1);
	assert_string_equal(proxy_for("http://hs"), "plain");
	assert_string_equal(proxy_for("https://hs"), "secure");
	setenv("https_proxy", "http://lower:4", 1);
	assert_string_equal(proxy_for("https://hs"), "lower");
	/* Empty is as good as not there. */
	setenv("http_proxy", "", 1);
	assert_string_equal(proxy_for("http://hs"), "all");
	/* What a CGI client may set does not count. */
	setenv("HTTP_PROXY", "http://evil:1", 1);
	assert_string_equal(proxy_for("http://hs"), "all");
}

static void test_exceptions(void **state)
{
	static const struct {
		const char *no_proxy, *url;
		bool is_direct;
	} cases[] = {
		{"*", "http://hs", true},
		{"hs.example", "http://hs.example", true},
		{"HS.Example", "http://hs.example:8080", true},
		{"example", "http://hs.example", true},
		{".example", "http://hs.example", true},
		{".example", "http://example", true},
		{"example.", "http://hs.example", true},
		{"ample", "http://hs.example", false},
		{"hs.example.org", "http://hs.example", false},
		{"a,hs.example", "http://hs.example", true},
		{"a hs.example, b", "http://hs.example", true},
		{"a,,b", "http://hs.example", false},
		{"192.0.2.1", "http://192.0.2.1", true},
		{"192.0.2.0/24", "http://192.0.2.77", true},
		{"192.0.2.0/24", "http://192.0.3.77", false},
		{"2", "http://192.0.2.2", false},
		{"2001:db8::/32", "http://[2001:db8::1]", true},
		{"[2001:db8::1]", "http://[2001:db8::1]:80", true},
		{"::/0", "http://192.0.2.1", false},
		{"0.0.0.0/0", "http://hs.example", false},
		{"192.0.2.1/99", "http://192.0.2.1", false},
	};

	setenv("http_proxy", "http://proxy:1", 1);
	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		bool is_direct;

		setenv("no_proxy", cases[i].no_proxy, 1);
		is_direct = !*proxy_for(cases[i].url);
		if (is_direct != cases[i].is_direct)
			fail_msg("no_proxy=%s, %s", cases[i].no_proxy, cases[i].url);
	}
}

static void test_forms(void **state)
{
	struct coord_proxy proxy;

	setenv("http_proxy", "proxy.example", 1);
	assert_int_equal(find(&proxy, "http://hs", NULL), 0);
	assert_string_equal(proxy.host, "proxy.example");
	assert_int_equal(proxy.port, 1080);
	setenv("http_proxy", "http://us%40er:p%3aw@[::1]:3128/", 1);
	assert_int_equal(find(&proxy, "http://hs", NULL), 0);
	assert_string_equal(proxy.host, "::1");
	assert_int_equal(proxy.port, 3128);
	assert_string_equal(proxy.credentials, "us@er:p:w");
}

static void test_refused(void **state)
{
	static const char *const values[] = {"socks5h://p:1", "https://p:1", "http://",
		"http://p:0", "http://a%zz:b@p", "http://a%0d%0ab:c@p", "http://secret%:x@p",
		"http://p:1:2"};
	struct coord_proxy proxy;
	struct base_error line;

	for (size_t i = 0; i < BASE_ARRAY_LEN(values); i++) {
		setenv("http_proxy", values[i], 1);
		assert_int_equal(find(&proxy, "http://hs", &line), -EINVAL);
		assert_non_null(strstr(line.text, "http_proxy"));
		assert_null(strstr(line.text, "secret"));
	}
}

static void test_connect(void **state)
{
	static const char plain[] = "CONNECT hs.example:80 HTTP/1.1\r\nHost: hs.example:80\r\n\r\n";
	static const char with_login[] = "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n"
					 "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n";
	struct coord_proxy proxy = {.host = "p", .port = 1, .is_used = true};
	static char out[COORD_PROXY_CONNECT_BYTES_MAX];
	struct coord_url url;

	assert_int_equal(coord_url_parse(&url, "http://hs.example", NULL), 0);
	assert_int_equal(coord_proxy_connect(out, &proxy, &url), sizeof(plain) - 1);
	assert_string_equal(out, plain);
	assert_int_equal(coord_url_parse(&url, "https://[::1]", NULL), 0);
	strcpy(proxy.credentials, "me:secret");
	assert_int_equal(coord_proxy_connect(out, &proxy, &url), sizeof(with_login) - 1);
	assert_string_equal(out, with_login);
	/* The longest of everything fits. */
	memset(proxy.credentials, 'c', sizeof(proxy.credentials) - 1);
	memset(url.host, 'h', sizeof(url.host) - 1);
	assert_true(coord_proxy_connect(out, &proxy, &url) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_variables, clear),
		cmocka_unit_test_setup(test_exceptions, clear),
		cmocka_unit_test_setup(test_forms, clear),
		cmocka_unit_test_setup(test_refused, clear),
		cmocka_unit_test_setup(test_connect, clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
