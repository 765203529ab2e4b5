/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For the suites of ws only: bare sockets beside a libuv loop in the same thread, and WebSocket frames made by hand,
 * so that a test can send what no library would. Everything turns the loop while it waits, and
 * gives up after a number of turns only a hang can reach.
 */
#ifndef WS_TEST_SOCKET_H
#define WS_TEST_SOCKET_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#define TEST_TURNS_MAX 30000
#define TEST_TURN_US 1000

/** One turn of whatever loops the test has; then a breath. */
typedef void (*test_turn)(void *ctx);

struct test_io {
	test_turn turn;
	void *ctx;
	char *bytes; /* read and not yet taken */
	size_t len, size;
	int fd;
	bool is_at_end; /* closed or reset by the other end */
};

static inline void test_io_init(struct test_io *io, test_turn turn, void *ctx)
{
	*io = (struct test_io){.turn = turn, .ctx = ctx, .fd = -1};
}

static inline void test_io_close(struct test_io *io)
{
	if (io->fd >= 0)
		close(io->fd);
	free(io->bytes);
	test_io_init(io, io->turn, io->ctx);
}

static inline void test_turn_once(struct test_io *io)
{
	io->turn(io->ctx);
	usleep(TEST_TURN_US);
}

/** Take over a connected socket. */
static inline void test_io_open(struct test_io *io, int fd)
{
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	io->fd = fd;
}

static inline void test_dial_tcp(struct test_io *io, uint16_t port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	test_io_open(io, fd);
}

static inline void test_dial_unix(struct test_io *io, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	test_io_open(io, fd);
}

/** Send it all; false if the other end hung up on the way. */
static inline bool test_send(struct test_io *io, const void *bytes, size_t len)
{
	const char *at = bytes;

	for (int turns = 0; len > 0;) {
		ssize_t n = send(io->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
			io->turn(io->ctx);
			continue;
		}
		if (errno != EAGAIN)
			return false;
		assert_true(turns++ < TEST_TURNS_MAX);
		test_turn_once(io);
	}
	return true;
}

static inline bool test_send_text(struct test_io *io, const char *text)
{
	return test_send(io, text, strlen(text));
}

/** Read what is there. */
static inline void test_fill(struct test_io *io)
{
	ssize_t n;

	if (io->size - io->len < 65536) {
		io->size = io->size ? io->size * 2 : 131072;
		io->bytes = realloc(io->bytes, io->size);
		assert_non_null(io->bytes);
	}
	n = recv(io->fd, io->bytes + io->len, io->size - io->len - 1, MSG_DONTWAIT);
	if (n > 0)
		io->len += (size_t)n;
	else if (n == 0 || errno != EAGAIN)
		io->is_at_end = true;
	io->bytes[io->len] = '\0';
}

static inline void test_take(struct test_io *io, size_t n)
{
	memmove(io->bytes, io->bytes + n, io->len - n + 1);
	io->len -= n;
}

/** Until @n bytes are there, or the end. Returns whether they are. */
static inline bool test_wait_bytes(struct test_io *io, size_t n)
{
	for (int turns = 0;; turns++) {
		test_fill(io);
		if (io->len >= n)
			return true;
		if (io->is_at_end)
			return false;
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(io);
	}
}

/** Until the other end closes. */
static inline void test_wait_end(struct test_io *io)
{
	for (int turns = 0; !io->is_at_end; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(io);
		test_fill(io);
	}
}

/**
 * One HTTP response with a Content-Length, or a 101. Returns its status and body (borrowed until the next call); 0 at the
 * end of the connection.
 */
static inline int test_http_response(struct test_io *io, const char **ret_body)
{
	static char body[1 << 20];
	size_t need = 1, header_len, body_len = 0;
	const char *end, *field;
	int status;

	do {
		if (!test_wait_bytes(io, need))
			return 0;
		end = strstr(io->bytes, "\r\n\r\n");
		need = io->len + 1;
	} while (!end);
	header_len = (size_t)(end - io->bytes) + 4;
	status = atoi(io->bytes + 9);
	field = strcasestr(io->bytes, "\r\ncontent-length:");
	if (field && field < end)
		body_len = strtoul(field + 17, NULL, 10);
	assert_true(body_len < sizeof(body));
	if (!test_wait_bytes(io, header_len + body_len))
		return 0;
	memcpy(body, io->bytes + header_len, body_len);
	body[body_len] = '\0';
	test_take(io, header_len + body_len);
	if (ret_body)
		*ret_body = body;
	return status;
}

/** Send a frame; clients mask (with zeros: the wire then shows the text), servers do not. */
static inline bool test_send_frame(
	struct test_io *io, uint8_t first_byte, bool is_masked, const void *text, size_t len)
{
	uint8_t header[14 + 1024] = {first_byte};
	size_t n = 2;

	if (len < 126) {
		header[1] = (uint8_t)len;
	} else if (len < 65536) {
		header[1] = 126;
		header[2] = (uint8_t)(len >> 8);
		header[3] = (uint8_t)len;
		n = 4;
	} else {
		header[1] = 127;
		for (int i = 0; i < 8; i++)
			header[2 + i] = (uint8_t)((uint64_t)len >> (56 - 8 * i));
		n = 10;
	}
	if (is_masked) {
		header[1] |= 0x80;
		n += 4;
	}
	/* A short one leaves in one piece, as from any library. */
	if (len <= 1024) {
		memcpy(header + n, text, len);
		return test_send(io, header, n + len);
	}
	return test_send(io, header, n) && test_send(io, text, len);
}

/**
 * The next frame that is no ping or pong. Returns its first byte and text (malloc'ed, NUL-terminated), or -1 at the end.
 * It may be masked.
 */
static inline int test_read_frame(struct test_io *io, char **ret_text, size_t *ret_len)
{
	for (;;) {
		const uint8_t *h;
		uint8_t mask[4] = {0};
		size_t header = 2, len;
		int first;

		if (!test_wait_bytes(io, 2))
			return -1;
		h = (const uint8_t *)io->bytes;
		header += (h[1] & 0x7f) == 126 ? 2 : (h[1] & 0x7f) == 127 ? 8 : 0;
		header += h[1] & 0x80 ? 4 : 0;
		if (!test_wait_bytes(io, header))
			return -1;
		h = (const uint8_t *)io->bytes;
		first = h[0];
		len = h[1] & 0x7f;
		if (len == 126)
			len = (size_t)h[2] << 8 | h[3];
		else if (len == 127) {
			len = 0;
			for (int i = 0; i < 8; i++)
				len = len << 8 | h[2 + i];
		}
		if (h[1] & 0x80)
			memcpy(mask, h + header - 4, 4);
		if (!test_wait_bytes(io, header + len))
			return -1;
		*ret_text = malloc(len + 1);
		assert_non_null(*ret_text);
		for (size_t i = 0; i < len; i++)
			(*ret_text)[i] = (char)(io->bytes[header + i] ^ mask[i % 4]);
		(*ret_text)[len] = '\0';
		*ret_len = len;
		test_take(io, header + len);
		if ((first & 0x0f) != 9 && (first & 0x0f) != 10)
			return first;
		free(*ret_text);
	}
}

#endif
