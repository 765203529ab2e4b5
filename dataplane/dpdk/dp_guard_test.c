/* SPDX-License-Identifier: BSD-3-Clause */
/* The guard holds the port in both families, hears nothing, and leaves nothing. On loopback. */
#include "dp_guard.h"

#include "dp_kern_test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* A port that is free in both families now: the kernel picks it, the guard takes it over. */
static uint16_t open_on_free_port(struct dp_guard *guard)
{
	for (unsigned i = 0; i < 50; i++) {
		struct sockaddr_in addr = {.sin_family = AF_INET};
		socklen_t len = sizeof(addr);
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
		close(fd);
		if (dp_guard_open(guard, ntohs(addr.sin_port), NULL) == 0)
			return ntohs(addr.sin_port);
	}
	fail_msg("no free port");
	return 0;
}

static int connect_udp(int family, uint16_t port)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_DGRAM, 0);
	int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in4, sizeof(in4))
				   : connect(fd, (struct sockaddr *)&in6, sizeof(in6));

	assert_int_equal(rc, 0);
	return fd;
}

/* Loopback answers at once: the error of the first send is there at the second. */
static bool is_unreachable(int fd)
{
	return send(fd, "x", 1, 0) < 0 || send(fd, "x", 1, 0) < 0;
}

static void no_unreachable_and_nothing_queued(void **state)
{
	struct dp_guard guard;
	uint16_t port = open_on_free_port(&guard);
	int fd4 = connect_udp(AF_INET, port);
	char byte;

	assert_false(is_unreachable(fd4));
	assert_int_equal(recv(guard.fd4, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	if (guard.fd6 >= 0) {
		int fd6 = connect_udp(AF_INET6, port);

		assert_false(is_unreachable(fd6));
		assert_int_equal(recv(guard.fd6, &byte, 1, MSG_DONTWAIT), -1);
		close(fd6);
	}
	dp_guard_close(&guard);
	/* The other half of the proof: without it there is an error. */
	assert_true(is_unreachable(fd4));
	close(fd4);
}

static void taken_port_is_named(void **state)
{
	struct dp_guard guard, second;
	struct base_error error;
	char number[8];
	uint16_t port = open_on_free_port(&guard);

	assert_int_equal(dp_guard_open(&second, port, &error), -EADDRINUSE);
	snprintf(number, sizeof(number), "%u", port);
	assert_non_null(strstr(error.text, number));
	assert_non_null(strstr(error.text, "ss -lunp"));
	dp_guard_close(&guard);
	assert_int_equal(dp_guard_open(&second, port, &error), 0);
	dp_guard_close(&second);
	dp_guard_close(&second);
	dp_guard_close(NULL);
}

static void port_taken_in_ipv6_alone(void **state)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct dp_guard guard;
	struct base_error error;
	int one = 1, fd;

	addr.sin6_port = htons(open_on_free_port(&guard));
	if (guard.fd6 < 0) {
		dp_guard_close(&guard);
		print_message("skipped: no IPv6\n");
		skip();
	}
	dp_guard_close(&guard);
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(dp_guard_open(&guard, ntohs(addr.sin6_port), &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, "IPv6"));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_unreachable_and_nothing_queued),
		cmocka_unit_test(taken_port_is_named),
		cmocka_unit_test(port_taken_in_ipv6_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
