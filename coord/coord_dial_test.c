/* SPDX-License-Identifier: BSD-3-Clause */
/* Dialling: the order of addresses, the first that answers, all that do not, and giving up in between. On loopback. */
#include "coord_dial.c"

#include "coord_test.h"

static uv_loop_t loop;

static struct addrinfo v4[4], v6[4];
static struct sockaddr_in v4_addrs[4];
static struct sockaddr_in6 v6_addrs[4];

static int set_up(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		char text[16];

		snprintf(text, sizeof(text), "127.0.0.%u", i + 1);
		uv_ip4_addr(text, 80, &v4_addrs[i]);
		snprintf(text, sizeof(text), "::%u", i + 1);
		uv_ip6_addr(text, 80, &v6_addrs[i]);
		v4[i] = (struct addrinfo){.ai_family = AF_INET,
			.ai_addr = (struct sockaddr *)&v4_addrs[i],
			.ai_addrlen = sizeof(v4_addrs[i])};
		v6[i] = (struct addrinfo){.ai_family = AF_INET6,
			.ai_addr = (struct sockaddr *)&v6_addrs[i],
			.ai_addrlen = sizeof(v6_addrs[i])};
	}
	return uv_loop_init(&loop);
}

static int tear_down(void **state)
{
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

/* "4a6a4b": families and the order within each, as they will be tried. */
static const char *order(const struct addrinfo *list)
{
	static char text[64];
	static struct coord_dial dial;
	unsigned at = 0;

	memset(&dial, 0, sizeof(dial));
	interleave(&dial, list);
	for (unsigned i = 0; i < dial.n_addrs; i++) {
		const struct sockaddr *addr = (struct sockaddr *)&dial.addrs[i];
		unsigned number = addr->sa_family == AF_INET
			? ((const uint8_t *)&((const struct sockaddr_in *)addr)->sin_addr)[3]
			: ((const struct sockaddr_in6 *)addr)->sin6_addr.s6_addr[15];

		text[at++] = addr->sa_family == AF_INET ? '4' : '6';
		text[at++] = (char)('a' + number - 1);
	}
	text[at] = '\0';
	return text;
}

static void test_families_in_turns(void **state)
{
	/* 6 6 6 4 4 */
	v6[0].ai_next = &v6[1];
	v6[1].ai_next = &v6[2];
	v6[2].ai_next = &v4[0];
	v4[0].ai_next = &v4[1];
	assert_string_equal(order(&v6[0]), "6a4a6b4b6c");
	/* The resolver prefers IPv4 here: 4 6 4 */
	v4[0].ai_next = &v6[0];
	v6[0].ai_next = &v4[1];
	assert_string_equal(order(&v4[0]), "4a6a4b");
	/* One family */
	v4[1].ai_next = &v4[2];
	assert_string_equal(order(&v4[1]), "4b4c");
	assert_string_equal(order(NULL), "");
}

static void test_no_more_than_the_limit(void **state)
{
	static struct addrinfo many[40];

	for (unsigned i = 0; i < 40; i++) {
		many[i] = v4[0];
		many[i].ai_next = i < 39 ? &many[i + 1] : NULL;
	}
	assert_int_equal(strlen(order(many)), 2 * COORD_DIAL_ADDRS_MAX);
}

struct result {
	unsigned n_done;
	int rc;
	char line[256];
	bool is_v6;
};

static void on_done(void *ctx, uv_tcp_t *tcp, int rc, const char *line)
{
	struct result *result = ctx;
	struct sockaddr_storage addr;
	int len = sizeof(addr);

	result->n_done++;
	result->rc = rc;
	snprintf(result->line, sizeof(result->line), "%s", line);
	if (!tcp)
		return;
	assert_int_equal(uv_tcp_getpeername(tcp, (struct sockaddr *)&addr, &len), 0);
	result->is_v6 = addr.ss_family == AF_INET6;
	uv_close((uv_handle_t *)tcp, attempt_closed);
}

/* A listener on one address of loopback; its port. */
static uint16_t listen_on(const char *text, int *ret_fd)
{
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);
	int fd;

	if (uv_ip4_addr(text, 0, (struct sockaddr_in *)&addr) != 0)
		assert_int_equal(uv_ip6_addr(text, 0, (struct sockaddr_in6 *)&addr), 0);
	fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	assert_int_equal(listen(fd, 4), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_fd = fd;
	return base_load_be16(&((struct sockaddr_in *)&addr)->sin_port);
}

static void test_addresses(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};

	for (unsigned i = 0; i < 2; i++) {
		struct result result = {0};
		struct coord_dial *dial;
		int fd;
		uint16_t port = listen_on(addresses[i], &fd);

		if (port == 0)
			continue; /* a machine without IPv6 */
		assert_int_equal(
			coord_dial_start(&dial, &loop, addresses[i], port, on_done, &result), 0);
		assert_int_equal(result.n_done, 0);
		uv_run(&loop, UV_RUN_DEFAULT);
		assert_int_equal(result.n_done, 1);
		assert_int_equal(result.rc, 0);
		assert_int_equal(result.is_v6, i == 1);
		close(fd);
	}
}

static void test_refused(void **state)
{
	struct result result = {0};
	struct coord_dial *dial;
	int fd;
	uint16_t port = listen_on("127.0.0.1", &fd);

	close(fd);
	assert_int_equal(coord_dial_start(&dial, &loop, "127.0.0.1", port, on_done, &result), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(result.n_done, 1);
	assert_int_equal(result.rc, -ECONNREFUSED);
	assert_non_null(strstr(result.line, "connection refused"));
}

/* The first address refuses, the second answers: no 250 ms in between are needed, only the second. */
static void test_next_one(void **state)
{
	struct result result = {0};
	struct coord_dial *dial;
	int fd;
	uint16_t port = listen_on("127.0.0.2", &fd);

	assert_int_equal(coord_dial_start(&dial, &loop, "127.0.0.1", port, on_done, &result), 0);
	uv_ip4_addr("127.0.0.2", port, (struct sockaddr_in *)&dial->addrs[1]);
	dial->n_addrs = 2;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(result.n_done, 1);
	assert_int_equal(result.rc, 0);
	close(fd);
}

/* A first address that says nothing does not hold up the second one; what hangs is closed with the rest. */
static void test_silent_first(void **state)
{
	struct result result = {0};
	struct coord_dial *dial;
	int fd;
	uint16_t port = listen_on("127.0.0.1", &fd);

	assert_int_equal(coord_dial_start(&dial, &loop, "127.0.0.1", port, on_done, &result), 0);
	dial->addrs[1] = dial->addrs[0];
	/* Documentation's addresses: nobody has them, and most machines just wait. */
	uv_ip4_addr("192.0.2.1", port, (struct sockaddr_in *)&dial->addrs[0]);
	dial->n_addrs = 2;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(result.n_done, 1);
	assert_int_equal(result.rc, 0);
	close(fd);
}

static void test_cancelled(void **state)
{
	struct result result = {0};
	struct coord_dial *dial;
	int fd;
	uint16_t port = listen_on("127.0.0.1", &fd);

	assert_int_equal(coord_dial_start(&dial, &loop, "127.0.0.1", port, on_done, &result), 0);
	coord_dial_cancel(dial);
	assert_int_equal(coord_dial_start(&dial, &loop, "127.0.0.1", port, on_done, &result), 0);
	uv_run(&loop, UV_RUN_NOWAIT);
	if (result.n_done == 0)
		coord_dial_cancel(dial);
	result.n_done = 0;
	/* While the resolver works. */
	assert_int_equal(coord_dial_start(&dial, &loop, "localhost", port, on_done, &result), 0);
	coord_dial_cancel(dial);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(result.n_done, 0);
	close(fd);
}

static void test_name(void **state)
{
	struct result result = {0};
	struct coord_dial *dial;
	int fd;
	uint16_t port = listen_on("127.0.0.1", &fd);

	assert_int_equal(coord_dial_start(&dial, &loop, "localhost", port, on_done, &result), 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(result.n_done, 1);
	assert_int_equal(result.rc, 0);
	close(fd);
}

#define ON_A_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_A_LOOP(test_families_in_turns),
		ON_A_LOOP(test_no_more_than_the_limit),
		ON_A_LOOP(test_addresses),
		ON_A_LOOP(test_refused),
		ON_A_LOOP(test_next_one),
		ON_A_LOOP(test_silent_first),
		ON_A_LOOP(test_cancelled),
		ON_A_LOOP(test_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
