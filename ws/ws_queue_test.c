/* SPDX-License-Identifier: BSD-3-Clause */
/* ws_queue.c, ws_rx.c, ws_url.c: bounds and order of what waits, and addresses as people write them. */
#include "ws_queue.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "ws_messages.h"
#include "ws_rx.h"
#include "ws_url.h"

static int push(struct ws_queue *queue, const char *text)
{
	char *buffer = malloc(strlen(text) + 3);
	int ret;

	assert_non_null(buffer);
	memcpy(buffer + 2, text, strlen(text) + 1);
	ret = ws_queue_push(queue, buffer, 2, strlen(text));
	if (ret)
		free(buffer);
	return ret;
}

static void expect_first(const struct ws_queue *queue, const char *text)
{
	size_t len;
	char *first = ws_queue_peek(queue, &len);

	assert_non_null(first);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(first, text, len);
}

static void test_fifo(void **state)
{
	struct ws_queue queue = {.limits = {100, 10}};
	size_t len;

	assert_null(ws_queue_peek(&queue, &len));
	ws_queue_pop(&queue);
	assert_int_equal(push(&queue, "one"), 0);
	assert_int_equal(push(&queue, "two"), 0);
	expect_first(&queue, "one");
	ws_queue_pop(&queue);
	assert_int_equal(push(&queue, "three"), 0);
	expect_first(&queue, "two");
	ws_queue_pop(&queue);
	expect_first(&queue, "three");
	assert_int_equal(queue.n_bytes, 5);
	ws_queue_pop(&queue);
	assert_true(ws_queue_is_empty(&queue));
	assert_int_equal(queue.n_bytes, 0);
	assert_int_equal(push(&queue, "four"), 0);
	expect_first(&queue, "four");
	ws_queue_fini(&queue);
	assert_true(ws_queue_is_empty(&queue));
}

static void test_bytes_are_bounded(void **state)
{
	struct ws_queue queue = {.limits = {10, 10}};

	assert_int_equal(push(&queue, "12345"), 0);
	assert_int_equal(push(&queue, "123456"), -EAGAIN);
	assert_int_equal(push(&queue, "67890"), 0);
	assert_int_equal(push(&queue, "x"), -EAGAIN);
	ws_queue_pop(&queue);
	assert_int_equal(push(&queue, "x"), 0);
	ws_queue_fini(&queue);
	/* One frame above the limit passes when nothing waits, or it never would. */
	assert_int_equal(push(&queue, "12345678901234567890"), 0);
	assert_int_equal(push(&queue, "x"), -EAGAIN);
	ws_queue_fini(&queue);
}

static void test_frames_are_bounded(void **state)
{
	struct ws_queue queue = {.limits = {1000, 3}};

	for (int i = 0; i < 3; i++)
		assert_int_equal(push(&queue, ""), 0);
	assert_int_equal(push(&queue, ""), -EAGAIN);
	ws_queue_pop(&queue);
	assert_int_equal(push(&queue, ""), 0);
	ws_queue_fini(&queue);
}

static void test_rx_joins(void **state)
{
	struct ws_rx rx = {0};

	assert_int_equal(ws_rx_add(&rx, "ab", 2, 3), 0);
	assert_int_equal(ws_rx_add(&rx, "cde", 3, 0), 0);
	assert_int_equal(rx.len, 5);
	assert_memory_equal(rx.bytes, "abcde", 5);
	ws_rx_reset(&rx);
	assert_int_equal(rx.len, 0);
	ws_rx_fini(&rx);
}

/* A header that promises much takes no memory; past the limit nothing is kept. */
static void test_rx_is_bounded(void **state)
{
	static char piece[65536];
	struct ws_rx rx = {0};
	int ret = 0;

	assert_int_equal(ws_rx_add(&rx, "a", 1, WS_FRAME_BYTES_MAX - 1), 0);
	assert_true(rx.size <= 4096);
	ws_rx_fini(&rx);
	assert_int_equal(ws_rx_add(&rx, "a", 1, WS_FRAME_BYTES_MAX), -EMSGSIZE);
	assert_int_equal(ws_rx_add(&rx, "a", 1, SIZE_MAX - 1), -EMSGSIZE);
	assert_null(rx.bytes);
	for (size_t n = 0; n < WS_FRAME_BYTES_MAX / sizeof(piece); n++)
		assert_int_equal(ws_rx_add(&rx, piece, sizeof(piece), 0), 0);
	assert_int_equal(rx.len, WS_FRAME_BYTES_MAX);
	ret = ws_rx_add(&rx, piece, 1, 0);
	assert_int_equal(ret, -EMSGSIZE);
	assert_null(rx.bytes);
}

static void test_rx_gives_back(void **state)
{
	static char piece[100000];
	struct ws_rx rx = {0};

	assert_int_equal(ws_rx_add(&rx, piece, sizeof(piece), 0), 0);
	ws_rx_reset(&rx);
	assert_null(rx.bytes);
	assert_int_equal(rx.size, 0);
}

static void test_url(void **state)
{
	static const struct {
		const char *text, *host, *path;
		unsigned port; /* 0: refused */
	} cases[] = {
		{"ws://10.0.0.1:8765/ws", "10.0.0.1", "/ws", 8765},
		{"ws://gw.mesh.lab/ws", "gw.mesh.lab", "/ws", 80},
		{"ws://[fd7a::1]:65535/a/b?c=d", "fd7a::1", "/a/b?c=d", 65535},
		{"ws://[::1]", "::1", "/", 80},
		{"ws://h?x", "h", "/?x", 80},
		{"", "", "", 0},
		{"h:8765", "", "", 0},
		{"http://h/ws", "", "", 0},
		{"wss://h/ws", "", "", 0},
		{"ws://", "", "", 0},
		{"ws:///ws", "", "", 0},
		{"ws://:8765/ws", "", "", 0},
		{"ws://h:/ws", "", "", 0},
		{"ws://h:0/ws", "", "", 0},
		{"ws://h:65536/ws", "", "", 0},
		{"ws://h:99999999999/ws", "", "", 0},
		{"ws://h:8x/ws", "", "", 0},
		{"ws://[::1/ws", "", "", 0},
		{"ws://[::1]x/ws", "", "", 0},
		{"ws://::1/ws", "", "", 0},
		{"ws://u@h/ws", "", "", 0},
		{"ws://h/w s", "", "", 0},
		{"ws://h/ws\r\nX: y", "", "", 0},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct base_error error = {0};
		struct ws_url url = {0};
		int ret = ws_url_parse(&url, cases[i].text, &error);

		if (ret != (cases[i].port ? 0 : -EINVAL))
			fail_msg("%s: %d", cases[i].text, ret);
		if (ret) {
			assert_true(error.text[0] != '\0');
			continue;
		}
		assert_string_equal(url.host, cases[i].host);
		assert_string_equal(url.path, cases[i].path);
		assert_int_equal(url.port, cases[i].port);
	}
}

static void test_url_too_long(void **state)
{
	char text[2048] = "ws://";
	struct ws_url url;

	memset(text + 5, 'h', 300);
	assert_int_equal(ws_url_parse(&url, text, NULL), -EINVAL);
	strcpy(text, "ws://h/");
	memset(text + 7, 'p', 300);
	assert_int_equal(ws_url_parse(&url, text, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fifo),
		cmocka_unit_test(test_bytes_are_bounded),
		cmocka_unit_test(test_frames_are_bounded),
		cmocka_unit_test(test_rx_joins),
		cmocka_unit_test(test_rx_is_bounded),
		cmocka_unit_test(test_rx_gives_back),
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_url_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
