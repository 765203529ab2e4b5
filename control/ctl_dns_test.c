/* SPDX-License-Identifier: BSD-3-Clause */
/* The resolver on loopback: a client, the resolver, and the one that it asks, all on one loop and in one thread. */
#include "ctl_dns.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "coord_map.h"
#include "cr_noise.h"
#include "ctl_dns_ask.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PATIENCE_NS (20 * BASE_NS_PER_S)

static uv_loop_t loop;
static struct coord_netmap *map;
static struct ctl_dns *dns;
static uint16_t port;

/* The other resolver: sockets without a handle, looked at by hand. */
static struct {
	int udp, tcp;
	uint16_t port;
	unsigned n_asked;
	uint16_t number,
		from; /* of the last question: its number, and the port that it came from */
	bool is_silent;
} other;

static const struct coord_netmap *the_map(void *ctx)
{
	return map;
}

static int bound(int type, uint16_t at, uint16_t *ret_port, const char *addr)
{
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(at)};
	socklen_t len = sizeof(where);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	inet_pton(AF_INET, addr, &where.sin_addr);
	assert_int_equal(bind(fd, (const struct sockaddr *)&where, sizeof(where)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&where, &len), 0);
	*ret_port = ntohs(where.sin_port);
	return fd;
}

static void map_make(const char *resolvers)
{
	char text[2048];
	const struct coord_diff *diff;
	struct coord_map_update *update;
	int len = snprintf(text, sizeof(text),
		"{\"Node\":{\"ID\":1,\"Name\":\"gw1.mesh.lab.\",\"Key\":\"nodekey:"
		"0101010101010101010101010101010101010101010101010101010101010101\","
		"\"Addresses\":[\"100.64.0.1/32\"]},\"Peers\":[],"
		"\"DNSConfig\":{\"Proxied\":true,\"Domains\":[\"mesh.lab\"],\"Resolvers\":[%s]}}",
		resolvers);

	coord_netmap_free(map);
	map = coord_netmap_new();
	update = coord_map_parse_text(text, (size_t)len, NULL);
	assert_true(map && update);
	assert_int_equal(coord_netmap_apply(map, update, true, 0, &diff), 0);
}

static int set_up(void **state)
{
	char resolvers[64];
	struct base_addr addr;
	struct base_error error;

	if (cr_init() < 0)
		return -1;
	memset(&other, 0, sizeof(other));
	other.udp = bound(SOCK_DGRAM, 0, &other.port, "127.0.0.1");
	other.tcp = bound(SOCK_STREAM, other.port, &other.port, "127.0.0.1");
	assert_int_equal(listen(other.tcp, 4), 0);
	/* A port that is free for both, found by taking it for a moment. */
	close(bound(SOCK_STREAM, 0, &port, "127.0.0.1"));
	uv_loop_init(&loop);
	snprintf(resolvers, sizeof(resolvers), "{\"Addr\":\"127.0.0.1:%u\"}", other.port);
	map_make(resolvers);
	dns = ctl_dns_new(&loop, the_map, NULL);
	assert_non_null(dns);
	assert_int_equal(base_addr_parse(&addr, "127.0.0.1"), 0);
	assert_int_equal(ctl_dns_listen(dns, &addr, 1, port, &error), 0);
	return 0;
}

static int tear_down(void **state)
{
	ctl_dns_free(dns);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	coord_netmap_free(map);
	map = NULL;
	close(other.udp);
	close(other.tcp);
	return 0;
}

/* --- the other resolver --------------------------------------------------------------------------- */

/* The question itself, marked as an answer without records: what a client can tell it by. */
static void reflect(uint8_t *message, uint16_t from)
{
	other.n_asked++;
	other.number = base_load_be16(message);
	other.from = from;
	message[2] |= 0x80;
	message[3] |= 0x80;
}

static void serve_udp(void)
{
	struct sockaddr_in from = {0};
	socklen_t len = sizeof(from);
	uint8_t message[1024] = {0};
	ssize_t n =
		recvfrom(other.udp, message, sizeof(message), 0, (struct sockaddr *)&from, &len);

	if (n < 12 || other.is_silent)
		return;
	reflect(message, ntohs(from.sin_port));
	assert_int_equal(
		sendto(other.udp, message, (size_t)n, 0, (const struct sockaddr *)&from, len), n);
}

static void serve_tcp(void)
{
	static int fd = -1;
	uint8_t message[1024] = {0};
	ssize_t n;

	if (fd < 0)
		fd = accept4(other.tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	n = fd < 0 ? -1 : recv(fd, message, sizeof(message), 0);
	if (n == 0) {
		close(fd);
		fd = -1;
	}
	if (n < 14)
		return;
	reflect(message + 2, 0);
	assert_int_equal(send(fd, message, (size_t)n, 0), n);
}

/* --- a client ------------------------------------------------------------------------------------- */

static size_t query(uint8_t *out, uint16_t number, const char *name)
{
	size_t n = 12;

	memset(out, 0, 12);
	base_store_be16(out, number);
	base_store_be16(out + 2, 0x0100);
	base_store_be16(out + 4, 1);
	while (*name) {
		size_t label = strcspn(name, ".");

		out[n++] = (uint8_t)label;
		memcpy(out + n, name, label);
		n += label;
		name += label + (name[label] == '.');
	}
	out[n++] = 0;
	base_store_be16(out + n, 1);
	base_store_be16(out + n + 2, 1);
	return n + 4;
}

static struct sockaddr_in resolver_at(void)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int client(int type, const char *from)
{
	struct sockaddr_in to = resolver_at();
	uint16_t any;
	int fd = bound(type, 0, &any, from);

	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		assert_int_equal(errno, EINPROGRESS);
	return fd;
}

/* Let everybody work until something is there, or the other end has closed (0), or time is over (-1). */
static ssize_t wait_for_bytes(int fd, uint8_t *out, size_t size)
{
	uint64_t end_ns = base_clock_now_ns() + PATIENCE_NS;

	while (base_clock_now_ns() < end_ns) {
		ssize_t n;

		uv_run(&loop, UV_RUN_NOWAIT);
		serve_udp();
		serve_tcp();
		n = recv(fd, out, size, 0);
		if (n >= 0 || errno == ECONNRESET)
			return n < 0 ? 0 : n;
		usleep(1000);
	}
	return -1;
}

static void work_for(unsigned ms)
{
	uint64_t end_ns = base_clock_now_ns() + ms * BASE_NS_PER_MS;

	while (base_clock_now_ns() < end_ns) {
		uv_run(&loop, UV_RUN_NOWAIT);
		serve_udp();
		usleep(500);
	}
}

static ssize_t ask_udp(uint8_t *out, size_t size, uint16_t number, const char *name)
{
	int fd = client(SOCK_DGRAM, "127.0.0.1");
	uint8_t message[512];
	size_t len = query(message, number, name);
	ssize_t n;

	assert_int_equal(send(fd, message, len, 0), (ssize_t)len);
	n = wait_for_bytes(fd, out, size);
	close(fd);
	return n;
}

static void ask_tcp_on(int fd, uint16_t number, const char *name)
{
	uint8_t message[512];
	size_t len = query(message + 2, number, name);

	base_store_be16(message, (uint16_t)len);
	while (send(fd, message, len + 2, MSG_NOSIGNAL) < 0)
		uv_run(&loop, UV_RUN_NOWAIT);
}

static unsigned rcode(const uint8_t *message)
{
	return message[3] & 15u;
}

/* --- cases ---------------------------------------------------------------------------------------- */

static void names_of_the_mesh(void **state)
{
	uint8_t out[1024];
	int fd;
	ssize_t n = ask_udp(out, sizeof(out), 0x1234, "gw1.mesh.lab");

	assert_true(n > 16);
	assert_int_equal(base_load_be16(out), 0x1234);
	assert_int_equal(base_load_be16(out + 6), 1);
	assert_memory_equal(out + n - 4, "\x64\x40\0\1", 4);
	fd = client(SOCK_STREAM, "127.0.0.1");
	ask_tcp_on(fd, 0x4321, "gw1.mesh.lab");
	n = wait_for_bytes(fd, out, sizeof(out));
	assert_true(n > 18);
	assert_int_equal(base_load_be16(out), n - 2);
	assert_int_equal(base_load_be16(out + 2), 0x4321);
	/* And the next on the same connection. */
	ask_tcp_on(fd, 0x4322, "nobody.mesh.lab");
	n = wait_for_bytes(fd, out, sizeof(out));
	assert_true(n > 14);
	assert_int_equal(rcode(out + 2), 3);
	close(fd);
	assert_int_equal(ctl_dns_stats_of(dns).answered, 3);
	assert_int_equal(other.n_asked, 0);
}

static void the_rest_is_passed_on(void **state)
{
	uint16_t first_port, first_number;
	unsigned same = 0, kept = 0;
	uint8_t out[1024];
	int fd;

	assert_true(ask_udp(out, sizeof(out), 7, "example.org") > 12);
	assert_int_equal(base_load_be16(out), 7);
	assert_true(out[2] & 0x80);
	first_port = other.from;
	first_number = other.number;
	for (unsigned i = 0; i < 4; i++) {
		assert_true(ask_udp(out, sizeof(out), 7, "example.org") > 12);
		same += other.from == first_port && other.number == first_number;
		kept += other.number == 7;
	}
	assert_int_equal(same, 0);
	assert_true(kept < 4);
	fd = client(SOCK_STREAM, "127.0.0.1");
	ask_tcp_on(fd, 9, "example.org");
	assert_true(wait_for_bytes(fd, out, sizeof(out)) > 14);
	assert_int_equal(base_load_be16(out + 2), 9);
	assert_int_equal(other.from, 0);
	close(fd);
	assert_int_equal(ctl_dns_stats_of(dns).forwarded, 6);
}

static void the_next_is_asked(void **state)
{
	uint16_t silent_port;
	int silent = bound(SOCK_DGRAM, 0, &silent_port, "127.0.0.1");
	char resolvers[128];
	uint8_t out[1024];

	snprintf(resolvers, sizeof(resolvers),
		"{\"Addr\":\"127.0.0.1:%u\"},{\"Addr\":\"127.0.0.1:%u\"}", silent_port, other.port);
	map_make(resolvers);
	assert_true(ask_udp(out, sizeof(out), 7, "example.org") > 12);
	assert_int_equal(rcode(out), 0);
	close(silent);
}

static void nobody_answers(void **state)
{
	uint16_t closed;
	char resolvers[64];
	uint8_t out[1024];

	close(bound(SOCK_DGRAM, 0, &closed, "127.0.0.1"));
	snprintf(resolvers, sizeof(resolvers), "{\"Addr\":\"127.0.0.1:%u\"}", closed);
	map_make(resolvers);
	assert_true(ask_udp(out, sizeof(out), 8, "example.org") >= 12);
	assert_int_equal(base_load_be16(out), 8);
	assert_int_equal(rcode(out), 2);
	assert_int_equal(ctl_dns_stats_of(dns).failed, 1);
}

/* Whoever is not this machine, by its source address, hears nothing. */
static void strangers_hear_nothing(void **state)
{
	int udp = client(SOCK_DGRAM, "127.0.0.2"), tcp = client(SOCK_STREAM, "127.0.0.2");
	uint8_t message[512], out[512];
	size_t len = query(message, 1, "gw1.mesh.lab");

	assert_int_equal(send(udp, message, len, 0), (ssize_t)len);
	assert_int_equal(wait_for_bytes(tcp, out, sizeof(out)), 0);
	work_for(50);
	assert_int_equal(recv(udp, out, sizeof(out), 0), -1);
	assert_int_equal(ctl_dns_stats_of(dns).refused, 2);
	assert_int_equal(ctl_dns_stats_of(dns).answered, 0);
	close(udp);
	close(tcp);
}

static void what_is_no_question(void **state)
{
	static const uint8_t large[2] = {0xff, 0xff};
	uint8_t message[1200] = {0}, out[512];
	int fd = client(SOCK_DGRAM, "127.0.0.1");

	assert_int_equal(send(fd, message, 5, 0), 5);
	assert_int_equal(send(fd, message, sizeof(message), 0), sizeof(message));
	work_for(50);
	assert_int_equal(ctl_dns_stats_of(dns).dropped, 2);
	close(fd);
	/* Over TCP: a length beyond all questions; two questions at once. */
	fd = client(SOCK_STREAM, "127.0.0.1");
	while (send(fd, large, 2, MSG_NOSIGNAL) < 0)
		uv_run(&loop, UV_RUN_NOWAIT);
	assert_int_equal(wait_for_bytes(fd, out, sizeof(out)), 0);
	close(fd);
	other.is_silent = true;
	fd = client(SOCK_STREAM, "127.0.0.1");
	ask_tcp_on(fd, 1, "example.org");
	work_for(20);
	ask_tcp_on(fd, 2, "example.org");
	assert_int_equal(wait_for_bytes(fd, out, sizeof(out)), 0);
	close(fd);
}

/* So many wait, the rest is told at once that it failed; other addresses end all of it. */
static void too_many_at_once(void **state)
{
	int fd = client(SOCK_DGRAM, "127.0.0.1");
	uint8_t message[512], out[512];
	struct base_addr addr;
	struct base_error error;

	other.is_silent = true;
	for (uint16_t i = 0; i < CTL_DNS_WAITING_MAX + 10; i++) {
		size_t len = query(message, i, "example.org");

		assert_int_equal(send(fd, message, len, 0), (ssize_t)len);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	work_for(20);
	assert_int_equal(ctl_dns_stats_of(dns).failed, 10);
	assert_true(wait_for_bytes(fd, out, sizeof(out)) >= 12);
	assert_int_equal(rcode(out), 2);
	assert_int_equal(base_addr_parse(&addr, "127.0.0.3"), 0);
	assert_int_equal(ctl_dns_listen(dns, &addr, 1, port, &error), 0);
	assert_int_equal(base_addr_parse(&addr, "127.0.0.1"), 0);
	assert_int_equal(ctl_dns_listen(dns, &addr, 1, port, &error), 0);
	other.is_silent = false;
	assert_true(ask_udp(out, sizeof(out), 7, "example.org") > 12);
	close(fd);
}

static void somebody_else_listens(void **state)
{
	uint16_t taken;
	int fd = bound(SOCK_DGRAM, 0, &taken, "0.0.0.0");
	struct base_error error;
	struct base_addr addr;

	assert_int_equal(base_addr_parse(&addr, "127.0.0.1"), 0);
	assert_int_equal(ctl_dns_listen(dns, &addr, 1, taken, &error), -EADDRINUSE);
	assert_non_null(strstr(error.text, "another one listens"));
	close(fd);
}

#define with_resolver(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_resolver(names_of_the_mesh),
		with_resolver(the_rest_is_passed_on),
		with_resolver(the_next_is_asked),
		with_resolver(nobody_answers),
		with_resolver(strangers_hear_nothing),
		with_resolver(what_is_no_question),
		with_resolver(too_many_at_once),
		with_resolver(somebody_else_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
