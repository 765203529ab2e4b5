/* SPDX-License-Identifier: BSD-3-Clause */
/* ws_http.c: operators' HTTP over a real Unix socket. */
#include "ws_http.c"

#include "ws_test_socket.h"

struct fixture {
	uv_loop_t loop;
	struct ws_service *service;
	struct ws_http *http;
	char dir[64], path[96];
	struct test_io io;
	struct ws_http_req *waiting;
	unsigned gone, handled;
};

static void turn(void *ctx)
{
	struct fixture *f = ctx;

	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void handle_echo(void *ctx, struct ws_http_req *req)
{
	struct fixture *f = ctx;
	const char *query = ws_http_query(req, "q");
	json_t *body = ws_http_body(req);

	f->handled++;
	ws_http_reply(req, 200,
		json_pack("{ss ss ss so ss}", "id", ws_http_param(req, "id"), "other",
			ws_http_param(req, "other"), "q", query ? query : "(none)", "body",
			body ? json_incref(body) : json_null(), "client", ws_http_client(req)));
}

static void handle_wait(void *ctx, struct ws_http_req *req)
{
	struct fixture *f = ctx;

	f->handled++;
	f->waiting = req;
}

static void on_gone(void *user)
{
	struct fixture *f = user;

	f->gone++;
	f->waiting = NULL;
}

static void handle_wait_gone(void *ctx, struct ws_http_req *req)
{
	handle_wait(ctx, req);
	ws_http_on_gone(req, on_gone, ctx);
}

static void handle_stream(void *ctx, struct ws_http_req *req)
{
	handle_wait_gone(ctx, req);
	ws_http_stream_begin(req, "text/event-stream");
}

static void handle_error(void *ctx, struct ws_http_req *req)
{
	ws_http_reply_error(
		req, 404, "unknown_daemon", "daemon \"%s\" \xff", ws_http_param(req, "id"));
}

static void handle_large(void *ctx, struct ws_http_req *req)
{
	char *text = malloc(900001);

	assert_non_null(text);
	memset(text, 'x', 900000);
	text[900000] = '\0';
	ws_http_reply(req, 200, json_pack("{ss}", "x", text));
	free(text);
}

static const struct ws_http_route routes[] = {
	{"GET", "/v1/echo", handle_echo},
	{"GET", "/v1/echo/{id}", handle_echo},
	{"POST", "/v1/echo/{id}/sub/{other}", handle_echo},
	{"PUT", "/v1/echo/{id}", handle_echo},
	{"DELETE", "/v1/echo/{id}", handle_echo},
	{"POST", "/v1/wait", handle_wait},
	{"GET", "/v1/gone", handle_wait_gone},
	{"POST", "/v1/gone", handle_wait_gone},
	{"GET", "/v1/stream", handle_stream},
	{"GET", "/v1/error/{id}", handle_error},
	{"GET", "/v1/large", handle_large},
};

static int make(struct fixture *f, struct base_error *error)
{
	f->http = ws_http_new(f->service, f->path, routes, BASE_ARRAY_LEN(routes), f, error);
	return f->http ? 0 : -errno;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	f->service = ws_service_new(&f->loop);
	assert_non_null(f->service);
	strcpy(f->dir, "/tmp/ws_http_test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/api.sock", f->dir);
	test_io_init(&f->io, turn, f);
	*state = f;
	return make(f, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ws_http_free(f->http);
	ws_service_free(f->service);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	test_io_close(&f->io);
	(void)unlink(f->path);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* On the open connection, if there is one. */
static json_t *ask(struct fixture *f, const char *request, int want_status)
{
	const char *body;
	json_t *json;
	int status;

	if (f->io.fd < 0)
		test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io, request));
	status = test_http_response(&f->io, &body);
	if (status != want_status)
		fail_msg("%d, not %d: %s", status, want_status, status ? body : "");
	json = json_loads(body, 0, NULL);
	assert_non_null(json);
	return json;
}

static void expect(json_t *json, const char *key, const char *want)
{
	assert_non_null(json_object_get(json, key));
	assert_string_equal(json_string_value(json_object_get(json, key)), want);
}

static void expect_error(struct fixture *f, const char *request, int status, const char *code)
{
	json_t *json = ask(f, request, status);

	expect(json_object_get(json, "error"), "code", code);
	assert_non_null(json_object_get(json_object_get(json, "error"), "message"));
	json_decref(json);
	test_io_close(&f->io);
}

static void turn_until_waiting(struct fixture *f)
{
	for (int turns = 0; !f->waiting; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
}

static void test_params_and_queries(void **state)
{
	struct fixture *f = *state;
	char client[64];
	json_t *json = ask(f, "GET /v1/echo/a%20b?x=1&q=c%26d HTTP/1.1\r\nHost: h\r\n\r\n", 200);

	expect(json, "id", "a b");
	expect(json, "other", "");
	expect(json, "q", "c&d");
	snprintf(client, sizeof(client), "pid %d (uid %u)", (int)getpid(), (unsigned)getuid());
	expect(json, "client", client);
	assert_true(json_is_null(json_object_get(json, "body")));
	json_decref(json);
	/* The same connection again. */
	json = ask(f, "GET /v1/echo HTTP/1.1\r\nHost: h\r\n\r\n", 200);
	expect(json, "id", "");
	expect(json, "q", "(none)");
	json_decref(json);
}

static void test_bodies(void **state)
{
	struct fixture *f = *state;
	json_t *json = ask(f,
		"POST /v1/echo/one/sub/two HTTP/1.1\r\nHost: h\r\nContent-Length: "
		"9\r\n\r\n{\"a\":[1]}",
		200);

	expect(json, "id", "one");
	expect(json, "other", "two");
	assert_int_equal(json_array_size(json_object_get(json_object_get(json, "body"), "a")), 1);
	json_decref(json);
	json = ask(f, "POST /v1/echo/one/sub/two HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
		200);
	assert_true(json_is_null(json_object_get(json, "body")));
	json_decref(json);
	json = ask(f, "PUT /v1/echo/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 200);
	json_decref(json);
	json = ask(f, "PUT /v1/echo/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 200);
	json_decref(json);
	json = ask(f, "DELETE /v1/echo/x HTTP/1.1\r\nHost: h\r\n\r\n", 200);
	json_decref(json);
	assert_int_equal(f->handled, 5);
}

static void test_body_in_pieces(void **state)
{
	struct fixture *f = *state;
	const char *body;
	char filler[1000];
	int status;

	memset(filler, ' ', sizeof(filler));
	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io,
		"POST /v1/echo/a/sub/b HTTP/1.1\r\nHost: h\r\n"
		"Content-Length: 1000002\r\n\r\n{"));
	for (int i = 0; i < 1000; i++)
		assert_true(test_send(&f->io, filler, sizeof(filler)));
	assert_int_equal(f->handled, 0);
	assert_true(test_send_text(&f->io, "}"));
	status = test_http_response(&f->io, &body);
	assert_int_equal(status, 200);
	assert_non_null(strstr(body, "\"body\":{}"));
}

static void test_refusals(void **state)
{
	struct fixture *f = *state;

	expect_error(f, "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", 404, "unknown_path");
	expect_error(f, "GET /v1/echo/ HTTP/1.1\r\nHost: h\r\n\r\n", 404, "unknown_path");
	expect_error(f, "GET /v1/echo/a/b HTTP/1.1\r\nHost: h\r\n\r\n", 404, "unknown_path");
	expect_error(f, "DELETE /v1/echo HTTP/1.1\r\nHost: h\r\n\r\n", 405, "bad_method");
	expect_error(f, "POST /v1/wait HTTP/1.1\r\nHost: h\r\n\r\n", 411, "length_required");
	expect_error(f,
		"POST /v1/wait HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		411, "length_required");
	expect_error(f, "POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: 4194305\r\n\r\n", 413,
		"too_large");
	expect_error(f, "POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400,
		"bad_request");
	expect_error(f, "POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: 4x\r\n\r\nnull", 400,
		"bad_request");
	expect_error(f, "POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n{bad", 400,
		"bad_json");
	expect_error(f,
		"POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\n\r\n[[[[[[[[[[[[[[[[[",
		400, "bad_json");
	expect_error(f,
		"GET /v1/echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		"Sec-WebSocket-Protocol: sandd.v1\r\nSec-WebSocket-Version: 13\r\n"
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		400, "bad_request");
	assert_null(f->waiting);
}

static void test_error_reply(void **state)
{
	struct fixture *f = *state;
	json_t *json = ask(f, "GET /v1/error/w%22 HTTP/1.1\r\nHost: h\r\n\r\n", 404);

	expect(json_object_get(json, "error"), "message", "daemon \"w\"\" \xef\xbf\xbd");
	json_decref(json);
}

static void test_late_reply(void **state)
{
	struct fixture *f = *state;
	const char *body;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(
		&f->io, "POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"));
	turn_until_waiting(f);
	for (int i = 0; i < 50; i++)
		test_turn_once(&f->io);
	ws_http_reply(f->waiting, 504, json_pack("{sb}", "late", 1));
	assert_int_equal(test_http_response(&f->io, &body), 504);
	assert_string_equal(body, "{\"late\":true}");
	f->waiting = NULL;
}

/* libwebsockets tells of the end of such a body twice. */
static void test_more_than_announced(void **state)
{
	struct fixture *f = *state;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io,
		"POST /v1/gone HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}{\"w\":[1,2]}"));
	for (int i = 0; i < 50; i++)
		test_turn_once(&f->io);
	assert_int_equal(f->handled, 1);
	assert_null(f->waiting);
	assert_int_equal(f->gone, 1);
}

static void test_null_reply_is_an_object(void **state)
{
	struct fixture *f = *state;
	const char *body;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(
		&f->io, "POST /v1/wait HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"));
	turn_until_waiting(f);
	ws_http_reply(f->waiting, 202, NULL);
	assert_int_equal(test_http_response(&f->io, &body), 202);
	assert_string_equal(body, "{}");
}

static void test_client_gone(void **state)
{
	struct fixture *f = *state;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io, "GET /v1/gone HTTP/1.1\r\nHost: h\r\n\r\n"));
	turn_until_waiting(f);
	test_io_close(&f->io);
	for (int turns = 0; f->gone == 0; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
	for (int i = 0; i < 20; i++)
		test_turn_once(&f->io);
	assert_int_equal(f->gone, 1);
}

/* After the reply nobody is told any more. */
static void test_gone_after_reply(void **state)
{
	struct fixture *f = *state;
	const char *body;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io, "GET /v1/gone HTTP/1.1\r\nHost: h\r\n\r\n"));
	turn_until_waiting(f);
	ws_http_reply(f->waiting, 200, NULL);
	assert_int_equal(test_http_response(&f->io, &body), 200);
	test_io_close(&f->io);
	for (int i = 0; i < 20; i++)
		test_turn_once(&f->io);
	assert_int_equal(f->gone, 0);
}

static void test_free_tells_the_waiting(void **state)
{
	struct fixture *f = *state;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io, "GET /v1/gone HTTP/1.1\r\nHost: h\r\n\r\n"));
	turn_until_waiting(f);
	ws_http_free(f->http);
	f->http = NULL;
	assert_int_equal(f->gone, 1);
	assert_int_not_equal(access(f->path, F_OK), 0);
}

static void test_large_reply(void **state)
{
	struct fixture *f = *state;
	json_t *json = ask(f, "GET /v1/large HTTP/1.1\r\nHost: h\r\n\r\n", 200);

	assert_int_equal(json_string_length(json_object_get(json, "x")), 900000);
	json_decref(json);
	json = ask(f, "GET /v1/echo/after HTTP/1.1\r\nHost: h\r\n\r\n", 200);
	expect(json, "id", "after");
	json_decref(json);
	test_io_close(&f->io);
	json = ask(f, "GET /v1/large HTTP/1.0\r\n\r\n", 200);
	json_decref(json);
	test_wait_end(&f->io);
}

/* ---- the socket file ---- */

static void test_mode(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0660);
}

static void test_in_use(void **state)
{
	struct fixture *f = *state;
	struct base_error error = {0};
	json_t *json;

	assert_null(ws_http_new(f->service, f->path, routes, 1, f, &error));
	assert_int_equal(errno, EADDRINUSE);
	assert_non_null(strstr(error.text, f->path));
	/* The first one is none the worse. */
	json = ask(f, "GET /v1/echo HTTP/1.1\r\nHost: h\r\n\r\n", 200);
	json_decref(json);
}

static void test_stale_file_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	json_t *json;

	ws_http_free(f->http);
	f->http = NULL;
	memcpy(addr.sun_path, f->path, strlen(f->path));
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(make(f, NULL), 0);
	json = ask(f, "GET /v1/echo HTTP/1.1\r\nHost: h\r\n\r\n", 200);
	json_decref(json);
}

static void test_other_files_stay(void **state)
{
	struct fixture *f = *state;
	struct base_error error = {0};
	int fd;

	ws_http_free(f->http);
	f->http = NULL;
	fd = open(f->path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(make(f, &error), -EEXIST);
	assert_int_equal(access(f->path, F_OK), 0);
	unlink(f->path);
	strcat(f->path, "/deeper");
	assert_int_equal(make(f, &error), -ENOENT);
	assert_non_null(strstr(error.text, "folder"));
}

static void test_path_too_long(void **state)
{
	struct fixture *f = *state;
	struct base_error error = {0};
	char path[200];

	memset(path, 'p', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_null(ws_http_new(f->service, path, routes, 1, f, &error));
	assert_int_equal(errno, ENAMETOOLONG);
}

/* A successor's file is not ours to remove. */
static void test_successor_stays(void **state)
{
	struct fixture *f = *state;
	struct ws_http *old = f->http;

	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(make(f, NULL), 0);
	ws_http_free(old);
	assert_int_equal(access(f->path, F_OK), 0);
}

static void test_match_path(void **state)
{
	assert_true(match_path("/v1/x", "/v1/x"));
	assert_true(match_path("/v1/{id}/y", "/v1/a.b~c/y"));
	assert_false(match_path("/v1/x", "/v1/x/"));
	assert_false(match_path("/v1/x", "/v1/xx"));
	assert_false(match_path("/v1/x", "/v1"));
	assert_false(match_path("/v1/{id}", "/v1/"));
	assert_false(match_path("/v1/{id}", "/v1"));
	assert_false(match_path("/v1/{id}/y", "/v1//y"));
	assert_false(match_path("/v1/x", ""));
}

static void begin_stream(struct fixture *f)
{
	const char *body;

	test_dial_unix(&f->io, f->path);
	assert_true(test_send_text(&f->io, "GET /v1/stream HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_int_equal(test_http_response(&f->io, &body), 200);
	assert_non_null(f->waiting);
}

/* Pieces come as they are written, and after the last the connection ends. */
static void test_stream(void **state)
{
	struct fixture *f = *state;

	begin_stream(f);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ws_http_stream_write(f->waiting, "data: x\n\n", 9), 0);
		assert_true(test_wait_bytes(&f->io, 9));
		assert_string_equal(f->io.bytes, "data: x\n\n");
		test_take(&f->io, 9);
	}
	assert_int_equal(ws_http_stream_write(f->waiting, "last", 4), 0);
	ws_http_stream_end(f->waiting);
	test_wait_end(&f->io);
	assert_string_equal(f->io.bytes, "last");
	assert_int_equal(f->gone, 0);
}

/* A client that does not read is told of by -EAGAIN, within bounded memory; one that goes, by gone(). */
static void test_stream_slow_and_gone(void **state)
{
	static char piece[4096];
	struct fixture *f = *state;
	unsigned n = 0;

	begin_stream(f);
	while (ws_http_stream_write(f->waiting, piece, sizeof(piece)) == 0 && n < 100000) {
		test_turn_once(&f->io);
		n++;
	}
	assert_in_range(n, WS_HTTP_STREAM_BYTES_MAX / sizeof(piece), 4000);
	test_io_close(&f->io);
	for (int turns = 0; f->gone == 0; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
	assert_int_equal(f->gone, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_params_and_queries),
		CASE(test_bodies),
		CASE(test_body_in_pieces),
		CASE(test_refusals),
		CASE(test_error_reply),
		CASE(test_late_reply),
		CASE(test_more_than_announced),
		CASE(test_null_reply_is_an_object),
		CASE(test_client_gone),
		CASE(test_gone_after_reply),
		CASE(test_free_tells_the_waiting),
		CASE(test_large_reply),
		CASE(test_stream),
		CASE(test_stream_slow_and_gone),
		CASE(test_mode),
		CASE(test_in_use),
		CASE(test_stale_file_is_replaced),
		CASE(test_other_files_stay),
		CASE(test_path_too_long),
		CASE(test_successor_stays),
		cmocka_unit_test(test_match_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
