/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Streams to servers and proxies of one line each, on the same loop: the deadline, a proxy's answers cut anywhere, ends of all kinds,
 * and a server that takes nothing in. TLS with a real server is in tests/interop/control_test.sh.
 */
#include "coord_stream.h"

#include <signal.h>

/* A stand-in for ten seconds. */
static unsigned deadline_ms = COORD_STREAM_DEADLINE_MS;
#undef COORD_STREAM_DEADLINE_MS
#define COORD_STREAM_DEADLINE_MS deadline_ms
#include "coord_stream.c"

#include "coord_test.h"

static struct lab {
	uv_loop_t loop;
	uv_tcp_t listener, peer;
	bool has_peer;
	uint16_t port;
	const char *answer; /* to the first bytes; NULL: none */
	size_t step;        /* of it, in bytes; 0: whole */
	char heard[512];
	size_t heard_len;
	struct coord_stream *stream;
	unsigned n_opened, n_closed;
	int rc;
	char line[256], data[256];
	size_t data_len;
} lab;

static void on_written_out(uv_write_t *request, int rc)
{
	free(request);
}

static void answer(const char *text, size_t len)
{
	size_t step = lab.step ? lab.step : len;

	for (size_t at = 0; at < len; at += step) {
		uv_buf_t buf = uv_buf_init((char *)(uintptr_t)text + at,
			(unsigned)(len - at < step ? len - at : step));
		uv_write_t *request = calloc(1, sizeof(*request));

		assert_int_equal(
			uv_write(request, (uv_stream_t *)&lab.peer, &buf, 1, on_written_out), 0);
	}
}

static void server_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	static char buf[4096];

	*ret_buf = uv_buf_init(buf, sizeof(buf));
}

static void server_read(uv_stream_t *peer, ssize_t n, const uv_buf_t *buf)
{
	bool is_first = lab.heard_len == 0;

	if (n < 0) {
		uv_read_stop(peer);
		return;
	}
	for (ssize_t i = 0; i < n && lab.heard_len + 1 < sizeof(lab.heard); i++)
		lab.heard[lab.heard_len++] = buf->base[i];
	if (is_first && lab.answer)
		answer(lab.answer, strlen(lab.answer));
}

static void server_accept(uv_stream_t *listener, int status)
{
	uv_tcp_init(&lab.loop, &lab.peer);
	lab.has_peer = true;
	uv_accept(listener, (uv_stream_t *)&lab.peer);
	uv_read_start((uv_stream_t *)&lab.peer, server_alloc, server_read);
}

static void hear_opened(void *ctx)
{
	lab.n_opened++;
}

static void hear_data(void *ctx, const uint8_t *data, size_t len)
{
	assert_true(lab.data_len + len < sizeof(lab.data));
	memcpy(lab.data + lab.data_len, data, len);
	lab.data_len += len;
}

static void hear_closed(void *ctx, int rc, const char *line)
{
	lab.n_closed++;
	lab.rc = rc;
	snprintf(lab.line, sizeof(lab.line), "%s", line);
}

static int set_up(void **state)
{
	struct sockaddr_in addr;
	int len = sizeof(addr);

	memset(&lab, 0, sizeof(lab));
	deadline_ms = 20000;
	unsetenv("http_proxy");
	unsetenv("no_proxy");
	uv_loop_init(&lab.loop);
	uv_tcp_init(&lab.loop, &lab.listener);
	uv_ip4_addr("127.0.0.1", 0, &addr);
	uv_tcp_bind(&lab.listener, (struct sockaddr *)&addr, 0);
	uv_tcp_getsockname(&lab.listener, (struct sockaddr *)&addr, &len);
	lab.port = base_load_be16(&addr.sin_port);
	return uv_listen((uv_stream_t *)&lab.listener, 4, server_accept);
}

static int tear_down(void **state)
{
	coord_stream_free(lab.stream);
	if (lab.has_peer && !uv_is_closing((uv_handle_t *)&lab.peer))
		uv_close((uv_handle_t *)&lab.peer, NULL);
	uv_close((uv_handle_t *)&lab.listener, NULL);
	uv_run(&lab.loop, UV_RUN_DEFAULT);
	return uv_loop_close(&lab.loop);
}

static void dial(void)
{
	static const struct coord_stream_host host = {hear_opened, hear_data, hear_closed};
	struct coord_url url;
	struct base_error line;
	char text[64];

	snprintf(text, sizeof(text), "http://127.0.0.1:%u", (unsigned)lab.port);
	assert_int_equal(coord_url_parse(&url, text, NULL), 0);
	lab.stream = coord_stream_new(&lab.loop, &url, NULL, &host, NULL, &line);
	assert_non_null(lab.stream);
}

#define UNTIL(condition)                                                                           \
	while (!(condition))                                                                       \
	uv_run(&lab.loop, UV_RUN_ONCE)

static void use_proxy(const char *proxy_answer)
{
	char proxy[64];

	snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", (unsigned)lab.port);
	setenv("http_proxy", proxy, 1);
	lab.answer = proxy_answer;
}

static void test_both_ways(void **state)
{
	lab.answer = "pong";
	dial();
	UNTIL(lab.n_opened == 1);
	coord_stream_settle(lab.stream);
	assert_int_equal(coord_stream_write(lab.stream, "ping", 4), 0);
	UNTIL(lab.data_len == 4);
	assert_memory_equal(lab.data, "pong", 4);
	assert_memory_equal(lab.heard, "ping", 4);
	uv_close((uv_handle_t *)&lab.peer, NULL);
	UNTIL(lab.n_closed == 1);
	assert_int_equal(lab.rc, -ECONNRESET);
	assert_int_equal(coord_stream_write(lab.stream, "x", 1), -ENOTCONN);
}

static void test_deadline(void **state)
{
	deadline_ms = 50;
	dial();
	UNTIL(lab.n_closed == 1);
	assert_int_equal(lab.rc, -ETIMEDOUT);
	assert_non_null(strstr(lab.line, "waiting for an answer"));
}

static void test_settled_has_no_deadline(void **state)
{
	deadline_ms = 50;
	dial();
	UNTIL(lab.n_opened == 1);
	coord_stream_settle(lab.stream);
	assert_false(uv_is_active((uv_handle_t *)&lab.stream->deadline));
}

static void test_silent_proxy(void **state)
{
	deadline_ms = 50;
	use_proxy(NULL);
	dial();
	UNTIL(lab.n_closed == 1);
	assert_int_equal(lab.n_opened, 0);
	assert_non_null(strstr(lab.line, "waiting for the proxy"));
}

/* What comes behind the proxy's head is the server's already. */
static void test_proxy(void **state)
{
	for (size_t step = 0; step < 3; step++) {
		if (step > 0)
			set_up(NULL);
		lab.step = step;
		use_proxy("HTTP/1.1 200 Fine\r\nVia: x\r\n\r\nhello");
		dial();
		UNTIL(lab.data_len == 5);
		assert_int_equal(lab.n_opened, 1);
		assert_memory_equal(lab.data, "hello", 5);
		assert_memory_equal(lab.heard, "CONNECT 127.0.0.1:", 18);
		if (step < 2)
			tear_down(NULL);
	}
}

static void test_bad_proxies(void **state)
{
	static char endless[9000];
	const char *const answers[] = {"HTTP/1.1 403 No\r\n\r\n", "HTTP/1.1 407 Who\r\n\r\n",
		"SSH-2.0-x\r\n\r\n", "\r\n\r\n", "HTTP/1.1 302 Over there\r\nLocation: /\r\n\r\n",
		endless};

	memset(endless, 'x', sizeof(endless) - 1);
	memcpy(endless, "HTTP/1.1 200 ", 13);
	for (size_t i = 0; i < BASE_ARRAY_LEN(answers); i++) {
		if (i > 0)
			set_up(NULL);
		use_proxy(answers[i]);
		dial();
		UNTIL(lab.n_closed == 1);
		assert_int_equal(lab.rc, -ECONNREFUSED);
		assert_int_equal(lab.n_opened, 0);
		if (i + 1 < BASE_ARRAY_LEN(answers))
			tear_down(NULL);
	}
}

/* Whoever writes on and on to a server that reads nothing is told, from the loop, once. */
static void test_queue_is_bounded(void **state)
{
	static uint8_t piece[1u << 20];
	int rc = 0;

	dial();
	UNTIL(lab.n_opened == 1 && lab.has_peer);
	uv_read_stop((uv_stream_t *)&lab.peer);
	for (unsigned i = 0; i < 64 && rc == 0; i++)
		rc = coord_stream_write(lab.stream, piece, sizeof(piece));
	assert_int_equal(rc, -ENOBUFS);
	assert_int_equal(lab.n_closed, 0);
	assert_true(uv_stream_get_write_queue_size((uv_stream_t *)lab.stream->tcp) <=
		COORD_STREAM_QUEUE_BYTES_MAX);
	UNTIL(lab.n_closed == 1);
	assert_int_equal(lab.rc, -ENOBUFS);
}

static void test_freed_anywhere(void **state)
{
	for (unsigned rounds = 0; rounds < 8; rounds++) {
		dial();
		for (unsigned i = 0; i < rounds; i++)
			uv_run(&lab.loop, UV_RUN_NOWAIT);
		coord_stream_free(lab.stream);
		lab.stream = NULL;
		UNTIL(!lab.has_peer || uv_is_active((uv_handle_t *)&lab.listener));
		if (lab.has_peer) {
			uv_close((uv_handle_t *)&lab.peer, NULL);
			lab.has_peer = false;
			uv_run(&lab.loop, UV_RUN_NOWAIT);
		}
	}
	assert_int_equal(lab.n_closed, 0);
}

#define IN_A_LAB(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_LAB(test_both_ways),
		IN_A_LAB(test_deadline),
		IN_A_LAB(test_settled_has_no_deadline),
		IN_A_LAB(test_silent_proxy),
		IN_A_LAB(test_proxy),
		IN_A_LAB(test_bad_proxies),
		IN_A_LAB(test_queue_is_bounded),
		IN_A_LAB(test_freed_anywhere),
	};

	signal(SIGPIPE, SIG_IGN); /* as programs with a loop do */
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
