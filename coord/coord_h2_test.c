/* SPDX-License-Identifier: BSD-3-Clause */
/* HTTP/2 of the client against a server of nghttp2 in the same process: bytes go back and forth by hand. */
#include "coord_h2.c"

#include "coord_test_h2.h"

struct heard {
	int status, rc;
	unsigned n_ended;
	size_t len;
	char data[64];
	bool holds_window;
	struct coord_h2 *h2;
	int32_t id;
};

static struct test_h2 server;
static struct coord_h2 *client;

static void hear_status(void *user, int status)
{
	struct heard *heard = user;

	heard->status = status;
}

static void hear_data(void *user, const uint8_t *data, size_t len)
{
	struct heard *heard = user;

	if (heard->len + len < sizeof(heard->data))
		memcpy(heard->data + heard->len, data, len);
	heard->len += len;
	if (!heard->holds_window)
		coord_h2_consumed(client, heard->id, len);
}

static void hear_end(void *user, int rc)
{
	struct heard *heard = user;

	heard->n_ended++;
	heard->rc = rc;
}

static const struct coord_h2_answer answer = {hear_status, hear_data, hear_end};

static void ask(struct heard *heard, const char *path, const void *body, size_t len)
{
	heard->rc = 1;
	heard->id = coord_h2_request(client, len ? "POST" : "GET", path, body, len, &answer, heard);
	assert_true(heard->id > 0);
}

/* Until nobody has anything to say. */
static void pump(void)
{
	bool is_quiet = false;

	while (!is_quiet) {
		const uint8_t *data;
		size_t len;
		ssize_t n;

		assert_int_equal(coord_h2_output(client, &data, &len), 0);
		is_quiet = len == 0;
		if (len > 0)
			assert_int_equal(
				nghttp2_session_mem_recv(server.session, data, len), (ssize_t)len);
		n = nghttp2_session_mem_send(server.session, &data);
		assert_true(n >= 0);
		if (n > 0)
			assert_int_equal(coord_h2_input(client, data, (size_t)n, NULL), 0);
		is_quiet = is_quiet && n == 0;
	}
}

/* "/echo" answers with its body, "/hold" not yet, others by 404. */
static void serve(struct test_h2 *h2, struct test_h2_stream *stream, void *user)
{
	if (strcmp(stream->path, "/echo") == 0)
		test_h2_answer(h2, stream, 200, stream->body, stream->body_len, true);
	else if (strcmp(stream->path, "/hold") != 0)
		test_h2_answer(h2, stream, 404, "no", 2, true);
}

static int set_up(void **state)
{
	test_h2_init(&server, serve, NULL);
	client = coord_h2_new("hs.example:8080");
	return client ? 0 : -1;
}

static int tear_down(void **state)
{
	coord_h2_free(client);
	test_h2_fini(&server);
	return 0;
}

static void test_one_request(void **state)
{
	struct heard heard = {0};

	ask(&heard, "/echo", "{\"a\":1}", 7);
	pump();
	assert_int_equal(heard.status, 200);
	assert_int_equal(heard.n_ended, 1);
	assert_int_equal(heard.rc, 0);
	assert_string_equal(heard.data, "{\"a\":1}");
}

static void test_several_at_once(void **state)
{
	struct heard poll = {0}, heard[3] = {{0}};
	struct test_h2_stream *stream;

	ask(&poll, "/hold", "poll", 4);
	for (size_t i = 0; i < 3; i++)
		ask(&heard[i], i == 2 ? "/nowhere" : "/echo", "x", 1);
	pump();
	assert_int_equal(server.n_requests, 4);
	assert_int_equal(heard[0].status, 200);
	assert_int_equal(heard[1].status, 200);
	assert_int_equal(heard[2].status, 404);
	assert_int_equal(poll.n_ended, 0);
	stream = test_h2_find(&server, poll.id);
	test_h2_answer(&server, stream, 200, "one", 3, false);
	pump();
	assert_int_equal(poll.status, 200);
	test_h2_answer(&server, stream, 200, "two", 3, true);
	pump();
	assert_string_equal(poll.data, "onetwo");
	assert_int_equal(poll.n_ended, 1);
}

static void test_get_without_a_body(void **state)
{
	struct heard heard = {0};

	ask(&heard, "/echo", NULL, 0);
	pump();
	assert_int_equal(heard.status, 200);
	assert_int_equal(heard.len, 0);
	assert_int_equal(heard.rc, 0);
}

/* A reader that does not keep up: the server may send one window and no more, until it does. */
static void test_window(void **state)
{
	struct heard heard = {.holds_window = true}, other = {0};
	size_t len = 3 * COORD_H2_WINDOW_BYTES;
	uint8_t *data = calloc(1, len);

	ask(&heard, "/hold", "x", 1);
	pump();
	test_h2_answer(&server, test_h2_find(&server, heard.id), 200, data, len, true);
	pump();
	assert_int_equal(heard.len, COORD_H2_WINDOW_BYTES);
	/* Others are not held up by it. */
	ask(&other, "/echo", "x", 1);
	pump();
	assert_int_equal(other.n_ended, 1);
	coord_h2_consumed(client, heard.id, heard.len);
	heard.holds_window = false;
	pump();
	assert_int_equal(heard.len, len);
	assert_int_equal(heard.n_ended, 1);
	free(data);
}

/* Larger than the window that a server gives at first. */
static void test_large_body(void **state)
{
	size_t len = 300000;
	uint8_t *body = malloc(len);
	struct heard heard = {0};

	test_fill(body, len, 1);
	ask(&heard, "/echo", body, len);
	pump();
	assert_int_equal(heard.len, len);
	assert_int_equal(coord_h2_request(client, "POST", "/echo", body,
				 COORD_H2_BODY_BYTES_MAX + 1, &answer, &heard),
		-EMSGSIZE);
	free(body);
}

static void test_too_many(void **state)
{
	struct heard heard[COORD_H2_REQUESTS_MAX] = {{0}}, more = {0};

	for (size_t i = 0; i < COORD_H2_REQUESTS_MAX; i++)
		ask(&heard[i], "/hold", "x", 1);
	assert_int_equal(coord_h2_request(client, "GET", "/echo", NULL, 0, &answer, &more), -EBUSY);
	pump();
	coord_h2_cancel(client, heard[3].id);
	pump();
	assert_int_equal(server.n_resets, 1);
	assert_int_equal(heard[3].n_ended, 0);
	ask(&more, "/echo", "x", 1);
	pump();
	assert_int_equal(more.n_ended, 1);
}

/* Before anything of it was sent; and while its answer is on the way. */
static void test_cancel(void **state)
{
	struct heard early = {0}, late = {0}, next = {0};

	ask(&early, "/echo", "x", 1);
	coord_h2_cancel(client, early.id);
	ask(&late, "/hold", "x", 1);
	pump();
	assert_int_equal(server.n_requests, 1);
	test_h2_answer(&server, test_h2_find(&server, late.id), 200, "lost", 4, false);
	coord_h2_cancel(client, late.id);
	coord_h2_cancel(client, late.id);
	coord_h2_cancel(client, 12345);
	pump();
	assert_int_equal(early.n_ended + late.n_ended, 0);
	assert_int_equal(late.len, 0);
	ask(&next, "/echo", "x", 1);
	pump();
	assert_int_equal(next.n_ended, 1);
}

static void test_reset_by_the_server(void **state)
{
	struct heard heard = {0};

	ask(&heard, "/hold", "x", 1);
	pump();
	nghttp2_submit_rst_stream(server.session, 0, heard.id, NGHTTP2_INTERNAL_ERROR);
	pump();
	assert_int_equal(heard.n_ended, 1);
	assert_int_equal(heard.rc, -ECONNRESET);
}

static void test_goaway(void **state)
{
	struct heard heard = {0}, more = {0};

	ask(&heard, "/hold", "x", 1);
	pump();
	nghttp2_submit_goaway(server.session, 0, heard.id, NGHTTP2_NO_ERROR, NULL, 0);
	pump();
	assert_false(coord_h2_is_usable(client));
	assert_int_equal(
		coord_h2_request(client, "GET", "/echo", NULL, 0, &answer, &more), -ENOTCONN);
	test_h2_answer(&server, test_h2_find(&server, heard.id), 200, "yes", 3, true);
	/* The last answer still comes; the session ends with it. */
	for (int i = 0; i < 3; i++) {
		const uint8_t *data;
		ssize_t n = nghttp2_session_mem_send(server.session, &data);

		if (n > 0 && coord_h2_input(client, data, (size_t)n, NULL) != 0)
			break;
	}
	assert_int_equal(heard.n_ended, 1);
	assert_string_equal(heard.data, "yes");
}

static void test_not_http2(void **state)
{
	static const uint8_t bytes[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	const uint8_t *data;
	struct base_error line = {""};
	size_t len;
	int rc;

	assert_int_equal(coord_h2_output(client, &data, &len), 0);
	rc = coord_h2_input(client, bytes, sizeof(bytes) - 1, &line);
	/* What is wrong with it is told to the server first, in nghttp2's own time. */
	while (coord_h2_output(client, &data, &len) == 0 && len > 0)
		;
	if (rc == 0)
		rc = coord_h2_input(client, bytes, sizeof(bytes) - 1, &line);
	assert_int_equal(rc, -EPROTO);
	assert_non_null(strstr(line.text, "HTTP/2"));
}

/* After a stop nobody is called any more, whatever comes. */
static void test_stop(void **state)
{
	struct heard heard = {0};
	const uint8_t *data;
	ssize_t n;

	ask(&heard, "/hold", "x", 1);
	pump();
	test_h2_answer(&server, test_h2_find(&server, heard.id), 200, "late", 4, true);
	coord_h2_stop(client);
	n = nghttp2_session_mem_send(server.session, &data);
	assert_true(n > 0);
	assert_int_equal(coord_h2_input(client, data, (size_t)n, NULL), -EPROTO);
	assert_int_equal(heard.status, 0);
	assert_int_equal(heard.n_ended, 0);
}

#define WITH_A_SERVER(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_A_SERVER(test_one_request),
		WITH_A_SERVER(test_several_at_once),
		WITH_A_SERVER(test_get_without_a_body),
		WITH_A_SERVER(test_window),
		WITH_A_SERVER(test_large_body),
		WITH_A_SERVER(test_too_many),
		WITH_A_SERVER(test_cancel),
		WITH_A_SERVER(test_reset_by_the_server),
		WITH_A_SERVER(test_goaway),
		WITH_A_SERVER(test_not_http2),
		WITH_A_SERVER(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
