/* SPDX-License-Identifier: BSD-3-Clause */
/* ws_server.c, ws_service.c: a real server on loopback, and clients that send what no library would. */
#include "ws_server.c"

#include "ws_test_socket.h"

#define HEAD                                                                                       \
	"Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "                                  \
	"websocket\r\nSec-WebSocket-Version: 13\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define TEXT_FRAME 0x81
#define CLOSE_FRAME 0x88

struct fixture {
	uv_loop_t loop;
	struct ws_service *service;
	struct ws_server *server;
	struct test_io io;
	struct ws_conn *conn; /* the newest */
	unsigned opened, closed, messages;
	enum ws_type last_type;
	char last_id[WS_ID_BYTES_MAX + 1];
	size_t last_out_len;
	bool is_closed_on_message;
};

static void on_opened(void *ctx, struct ws_conn *conn)
{
	struct fixture *f = ctx;

	f->opened++;
	f->conn = conn;
	assert_null(ws_conn_user(conn));
	ws_conn_set_user(conn, f);
}

static void on_message(void *ctx, struct ws_conn *conn, const struct ws_msg *msg)
{
	struct fixture *f = ctx;

	assert_ptr_equal(ws_conn_user(conn), f);
	f->messages++;
	f->last_type = msg->type;
	if (msg->type == WS_REGISTER)
		snprintf(f->last_id, sizeof(f->last_id), "%s", msg->reg.daemon_id);
	if (msg->type == WS_COMMAND_OUTPUT)
		f->last_out_len = msg->output.out_len;
	if (f->is_closed_on_message)
		ws_conn_close(conn, "enough");
}

static void on_closed(void *ctx, struct ws_conn *conn)
{
	struct fixture *f = ctx;

	f->closed++;
	if (f->conn == conn)
		f->conn = NULL;
}

static char *stats_json(void *ctx)
{
	return strdup("{\"total_daemons\":0}");
}

static const struct ws_host host = {
	.opened = on_opened, .message = on_message, .closed = on_closed, .stats_json = stats_json};

static void turn(void *ctx)
{
	struct fixture *f = ctx;

	uv_run(&f->loop, UV_RUN_NOWAIT);
}

static const struct ws_server_config any_port = {
	.addr = {.bytes = {127, 0, 0, 1}, .family = BASE_FAMILY_V4}};

static void make(struct fixture *f, struct ws_server_config config)
{
	struct base_error error = {0};

	f->server = ws_server_new(f->service, &config, &host, f, &error);
	if (!f->server)
		fail_msg("%s", error.text);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	f->service = ws_service_new(&f->loop);
	assert_non_null(f->service);
	test_io_init(&f->io, turn, f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ws_server_free(f->server);
	assert_int_equal(f->opened, f->closed);
	ws_service_free(f->service);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	test_io_close(&f->io);
	free(f);
	return 0;
}

static int ask(struct fixture *f, const char *request, const char **ret_body)
{
	test_io_close(&f->io);
	test_dial_tcp(&f->io, ws_server_port(f->server));
	assert_true(test_send_text(&f->io, request));
	return test_http_response(&f->io, ret_body);
}

/* A connection that is upgraded. */
static void join(struct fixture *f)
{
	unsigned opened = f->opened;

	assert_int_equal(
		ask(f, "GET /ws HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Protocol: sandd.v1\r\n\r\n",
			NULL),
		101);
	assert_int_equal(f->opened, opened + 1);
}

static void turn_until_messages(struct fixture *f, unsigned n)
{
	for (int turns = 0; f->messages < n; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
}

static void turn_until_closed(struct fixture *f, unsigned n)
{
	for (int turns = 0; f->closed < n; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
}

static void send_text_frame(struct fixture *f, const char *text)
{
	assert_true(test_send_frame(&f->io, TEXT_FRAME, true, text, strlen(text)));
}

static void expect_close(struct fixture *f, unsigned status)
{
	char *text;
	size_t len;

	assert_int_equal(test_read_frame(&f->io, &text, &len), CLOSE_FRAME);
	assert_true(len >= 2);
	assert_int_equal((uint8_t)text[0] << 8 | (uint8_t)text[1], status);
	free(text);
}

/* ---- HTTP ---- */

static void test_health_and_stats(void **state)
{
	struct fixture *f = *state;
	const char *body;

	make(f, any_port);
	assert_int_equal(ask(f, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n", &body), 200);
	assert_string_equal(body, "OK");
	/* The connection may be used again. */
	assert_true(test_send_text(&f->io, "GET /stats HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_int_equal(test_http_response(&f->io, &body), 200);
	assert_string_equal(body, "{\"total_daemons\":0}");
	assert_int_equal(ask(f, "GET /health HTTP/1.0\r\n\r\n", &body), 200);
	test_wait_end(&f->io);
	assert_int_equal(ask(f, "GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", &body), 404);
	assert_int_equal(ask(f, "GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", &body), 400);
	assert_int_equal(
		ask(f, "POST /health HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", &body),
		405);
	assert_int_equal(f->opened, 0);
}

static void test_garbage_is_dropped(void **state)
{
	struct fixture *f = *state;
	static const char *const requests[] = {
		"\x16\x03\x01\x02\x01",
		"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /ws\r\n\r\n",
		"nonsense\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	};
	const char *body;

	make(f, any_port);
	for (size_t i = 0; i < BASE_ARRAY_LEN(requests); i++) {
		test_io_close(&f->io);
		test_dial_tcp(&f->io, ws_server_port(f->server));
		test_send_text(&f->io, requests[i]);
		for (int turns = 0; turns < 20; turns++)
			test_turn_once(&f->io);
	}
	assert_int_equal(f->opened, 0);
	assert_int_equal(ask(f, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n", &body), 200);
}

static void test_missing_subprotocol(void **state)
{
	struct fixture *f = *state;
	const char *body;

	make(f, any_port);
	assert_int_equal(ask(f, "GET /ws HTTP/1.1\r\n" HEAD KEY "\r\n", &body), 400);
	assert_string_equal(body, "Missing required Sec-WebSocket-Protocol: sandd.v1");
	assert_int_equal(ask(f,
				 "GET /ws HTTP/1.1\r\n" HEAD KEY
				 "Sec-WebSocket-Protocol: sandd.v2, sandd.v11\r\n\r\n",
				 &body),
		400);
	assert_string_equal(body, "Missing required Sec-WebSocket-Protocol: sandd.v1");
	test_wait_end(&f->io);
	assert_int_equal(f->server->stats.refused_subprotocol, 2);
	assert_int_equal(f->opened, 0);
}

static void test_subprotocol_lists(void **state)
{
	struct fixture *f = *state;
	static const char *const lists[] = {
		"sandd.v1",
		"foo, sandd.v1",
		"foo,bar.v2,sandd.v1,baz",
		"  foo ,  sandd.v1 ",
		"sandd.v1,sandd.v1",
	};
	char request[512];

	make(f, any_port);
	for (size_t i = 0; i < BASE_ARRAY_LEN(lists); i++) {
		snprintf(request, sizeof(request),
			"GET /ws HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Protocol: %s\r\n\r\n",
			lists[i]);
		test_io_close(&f->io);
		test_dial_tcp(&f->io, ws_server_port(f->server));
		assert_true(test_send_text(&f->io, request));
		assert_true(test_wait_bytes(&f->io, 20));
		if (!strstr(f->io.bytes, "101 ") ||
			!strcasestr(f->io.bytes, "sec-websocket-protocol: sandd.v1\r\n"))
			fail_msg("refused: %s: %s", lists[i], f->io.bytes);
	}
	assert_int_equal(f->server->stats.accepted, BASE_ARRAY_LEN(lists));
}

/* Answered, never hung up on: a list that libwebsockets would not read itself. */
static void test_odd_subprotocol_lists(void **state)
{
	struct fixture *f = *state;
	char request[1024], filler[201];
	const char *body;

	memset(filler, 'x', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	make(f, any_port);
	snprintf(request, sizeof(request),
		"GET /ws HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Protocol: %s, sandd.v1\r\n\r\n",
		filler);
	assert_int_equal(ask(f, request, &body), 400);
	assert_non_null(strstr(body, "offer sandd.v1 first"));
	snprintf(request, sizeof(request),
		"GET /ws HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Protocol: 13, sandd.v1\r\n\r\n");
	assert_int_equal(ask(f, request, &body), 400);
	snprintf(request, sizeof(request),
		"GET /ws HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Protocol: %s\r\n\r\n", filler);
	assert_int_equal(ask(f, request, &body), 400);
	assert_string_equal(body, "Missing required Sec-WebSocket-Protocol: sandd.v1");
}

static void test_other_upgrades(void **state)
{
	struct fixture *f = *state;

	make(f, any_port);
	assert_int_equal(ask(f,
				 "GET /health HTTP/1.1\r\n" HEAD KEY
				 "Sec-WebSocket-Protocol: sandd.v1\r\n\r\n",
				 NULL),
		404);
	assert_int_equal(
		ask(f, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
			NULL),
		400);
	assert_int_equal(
		ask(f, "GET /ws HTTP/1.1\r\n" HEAD "Sec-WebSocket-Protocol: sandd.v1\r\n\r\n",
			NULL),
		400);
	assert_int_equal(f->opened, 0);
}

static void test_connections_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct ws_server_config config = any_port;
	struct test_io first;
	const char *body;

	config.max_conns = 1;
	make(f, config);
	join(f);
	first = f->io;
	test_io_init(&f->io, turn, f);
	assert_int_equal(
		ask(f, "GET /ws HTTP/1.1\r\n" HEAD KEY "Sec-WebSocket-Protocol: sandd.v1\r\n\r\n",
			&body),
		503);
	assert_int_equal(f->server->stats.refused_limit, 1);
	test_io_close(&first);
	turn_until_closed(f, 1);
	join(f);
}

/* ---- messages ---- */

#define REGISTER(id)                                                                               \
	"{\"type\":\"register\",\"daemon_id\":\"" id "\",\"metadata\":{\"hostname\":\"h\","        \
	"\"platform\":\"linux\",\"arch\":\"x\"}}"

static void test_talk(void **state)
{
	struct fixture *f = *state;
	struct ws_msg msg = {.type = WS_REGISTER_ACK, .ack = {true, (char *)"hello"}};
	struct ws_server_stats stats;
	char *text;
	size_t len;

	make(f, any_port);
	join(f);
	assert_memory_equal(ws_conn_remote(f->conn), "127.0.0.1:", 10);
	send_text_frame(f, REGISTER("w1"));
	turn_until_messages(f, 1);
	assert_int_equal(f->last_type, WS_REGISTER);
	assert_string_equal(f->last_id, "w1");
	assert_int_equal(ws_conn_send(f->conn, &msg), 0);
	msg.ack.text = (char *)"again";
	assert_int_equal(ws_conn_send(f->conn, &msg), 0);
	assert_int_equal(test_read_frame(&f->io, &text, &len), TEXT_FRAME);
	assert_string_equal(
		text, "{\"type\":\"register_ack\",\"success\":true,\"message\":\"hello\"}");
	free(text);
	assert_int_equal(test_read_frame(&f->io, &text, &len), TEXT_FRAME);
	assert_non_null(strstr(text, "again"));
	free(text);
	ws_server_stats(f->server, &stats);
	assert_int_equal(stats.conns, 1);
	assert_int_equal(stats.rx_msgs, 1);
	assert_int_equal(stats.tx_msgs, 2);
}

static void test_bad_messages_are_skipped(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
		"",
		"nonsense",
		"[[[[[[[[[[[[[[[[[[[[[[[[[",
		"{\"type\":\"register\"}",
		"{\"type\":3}",
	};

	make(f, any_port);
	join(f);
	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++)
		send_text_frame(f, bad[i]);
	send_text_frame(f, "{\"type\":\"session_started\"}");
	/* A controller's message from a daemon. */
	send_text_frame(f, "{\"type\":\"register_ack\",\"success\":true,\"message\":\"\"}");
	/* A binary frame. */
	assert_true(test_send_frame(&f->io, 0x82, true, "{\"type\":\"heartbeat\"}", 20));
	send_text_frame(f, "{\"type\":\"heartbeat\"}");
	turn_until_messages(f, 1);
	assert_int_equal(f->last_type, WS_HEARTBEAT);
	assert_int_equal(f->closed, 0);
	assert_int_equal(f->server->stats.rx_unknown_msgs, 2);
	/* An empty frame is not worth a callback to libwebsockets: counted or not. */
	assert_in_range(
		f->server->stats.rx_malformed_msgs, BASE_ARRAY_LEN(bad), BASE_ARRAY_LEN(bad) + 1);
}

static void test_fragments(void **state)
{
	struct fixture *f = *state;
	static const char text[] = REGISTER("fragmented");

	make(f, any_port);
	join(f);
	/* First, a ping in between, continuations, last. */
	assert_true(test_send_frame(&f->io, 0x01, true, text, 10));
	assert_true(test_send_frame(&f->io, 0x89, true, "ping", 4));
	for (size_t i = 10; i < strlen(text) - 1; i++)
		assert_true(test_send_frame(&f->io, 0x00, true, text + i, 1));
	assert_true(test_send_frame(&f->io, 0x80, true, text + strlen(text) - 1, 1));
	turn_until_messages(f, 1);
	assert_string_equal(f->last_id, "fragmented");
}

static char *make_output(size_t len)
{
	static const char head[] =
		"{\"type\":\"command_output\",\"request_id\":\"r\",\"exit_code\":0,"
		"\"duration_ms\":1,\"stderr\":\"\",\"stdout\":\"";
	char *text = malloc(len + 1);

	assert_non_null(text);
	memset(text, 'o', len);
	memcpy(text, head, strlen(head));
	memcpy(text + len - 2, "\"}", 3);
	return text;
}

static void test_largest_frame(void **state)
{
	struct fixture *f = *state;
	char *text = make_output(WS_FRAME_BYTES_MAX);

	make(f, any_port);
	join(f);
	assert_true(test_send_frame(&f->io, TEXT_FRAME, true, text, WS_FRAME_BYTES_MAX));
	turn_until_messages(f, 1);
	assert_true(f->last_out_len > WS_FRAME_BYTES_MAX - 200);
	/* Its buffer is given back. */
	assert_int_equal(f->server->stats.buffered_bytes, 0);
	free(text);
}

static void test_frame_too_large(void **state)
{
	struct fixture *f = *state;
	char *text = make_output(10u << 20);

	make(f, any_port);
	join(f);
	test_send_frame(&f->io, TEXT_FRAME, true, text, 10u << 20);
	for (int turns = 0; f->server->stats.closed_too_large == 0; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
	/* One that stays is left half a minute to read why. */
	test_io_close(&f->io);
	turn_until_closed(f, 1);
	assert_int_equal(f->server->stats.closed_too_large, 1);
	assert_int_equal(f->server->stats.buffered_bytes, 0);
	assert_int_equal(f->messages, 0);
	free(text);
}

/* The same in fragments, none of which is large; and the reason arrives. */
static void test_fragments_too_large(void **state)
{
	struct fixture *f = *state;
	char *text = make_output(1u << 20);

	make(f, any_port);
	join(f);
	for (int i = 0; i < 8; i++)
		assert_true(test_send_frame(&f->io, i ? 0x00 : 0x01, true, text, 1u << 20));
	assert_true(test_send_frame(&f->io, 0x00, true, "x", 1));
	expect_close(f, 1009);
	assert_int_equal(f->server->stats.closed_too_large, 1);
	assert_int_equal(f->server->stats.buffered_bytes, 0);
	free(text);
	test_io_close(&f->io);
	turn_until_closed(f, 1);
}

static void test_bad_utf8_closes(void **state)
{
	struct fixture *f = *state;

	make(f, any_port);
	join(f);
	assert_true(test_send_frame(&f->io, TEXT_FRAME, true, "{\"type\":\"\xff\"}", 12));
	test_wait_end(&f->io);
	turn_until_closed(f, 1);
}

/* ---- ends ---- */

static void test_close_says_why(void **state)
{
	struct fixture *f = *state;
	struct ws_msg msg = {.type = WS_PONG};
	char *text;
	size_t len;

	make(f, any_port);
	join(f);
	assert_int_equal(ws_conn_send(f->conn, &msg), 0);
	ws_conn_close(f->conn, "replaced");
	assert_int_equal(f->closed, 0);
	assert_int_equal(ws_conn_send(f->conn, &msg), -EPIPE);
	/* What was queued goes out first. */
	assert_int_equal(test_read_frame(&f->io, &text, &len), TEXT_FRAME);
	free(text);
	assert_int_equal(test_read_frame(&f->io, &text, &len), CLOSE_FRAME);
	assert_string_equal(text + 2, "replaced");
	free(text);
	test_io_close(&f->io);
	turn_until_closed(f, 1);
}

static void test_close_from_message(void **state)
{
	struct fixture *f = *state;

	make(f, any_port);
	join(f);
	f->is_closed_on_message = true;
	send_text_frame(f, "{\"type\":\"heartbeat\"}");
	send_text_frame(f, "{\"type\":\"heartbeat\"}");
	expect_close(f, 1000);
	assert_int_equal(f->messages, 1);
	test_io_close(&f->io);
	turn_until_closed(f, 1);
}

static void test_peer_closes(void **state)
{
	struct fixture *f = *state;

	make(f, any_port);
	join(f);
	assert_true(test_send_frame(&f->io, CLOSE_FRAME, true, "\x03\xe8", 2));
	expect_close(f, 1000);
	turn_until_closed(f, 1);
	join(f);
	/* Without a word. */
	test_io_close(&f->io);
	turn_until_closed(f, 2);
}

static void test_server_ends_first(void **state)
{
	struct fixture *f = *state;

	make(f, any_port);
	join(f);
	ws_server_free(f->server);
	f->server = NULL;
	assert_int_equal(f->closed, 1);
	expect_close(f, 1001);
}

/* A queue is bounded, and who reads nothing loses the connection. */
static void test_laggard(void **state)
{
	struct fixture *f = *state;
	struct ws_server_config config = any_port;
	struct ws_msg msg = {
		.type = WS_EXECUTE_COMMAND, .exec = {.request_id = (char *)"r", .timeout_s = 1}};
	int ret = 0, sent = 0;

	msg.exec.command = malloc(WS_COMMAND_BYTES_MAX + 1);
	assert_non_null(msg.exec.command);
	memset(msg.exec.command, 'c', WS_COMMAND_BYTES_MAX);
	msg.exec.command[WS_COMMAND_BYTES_MAX] = '\0';
	config.stall_ms = 500;
	make(f, config);
	join(f);
	for (int i = 0; i < 1000 && ret == 0; i++) {
		ret = ws_conn_send(f->conn, &msg);
		sent += ret == 0;
		turn(f);
	}
	free(msg.exec.command);
	assert_int_equal(ret, -EAGAIN);
	assert_true(sent < 100);
	assert_true(f->server->stats.buffered_bytes <= QUEUE_BYTES_MAX);
	turn_until_closed(f, 1);
	assert_int_equal(f->server->stats.closed_slow, 1);
	assert_int_equal(f->server->stats.buffered_bytes, 0);
}

static void test_silent_connection(void **state)
{
	struct fixture *f = *state;
	struct ws_server_config config = any_port;

	config.stall_ms = 200;
	make(f, config);
	join(f);
	turn_until_closed(f, 1);
	assert_int_equal(f->server->stats.closed_silent, 1);
}

/* ---- listening ---- */

static void test_ipv6(void **state)
{
	struct fixture *f = *state;
	struct ws_server_config config = {0};
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	const char *body;
	int fd;

	assert_int_equal(base_addr_parse(&config.addr, "::1"), 0);
	make(f, config);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	addr.sin6_port = htons(ws_server_port(f->server));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	test_io_open(&f->io, fd);
	assert_true(test_send_text(&f->io, "GET /health HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_int_equal(test_http_response(&f->io, &body), 200);
}

static void test_bind_errors(void **state)
{
	struct fixture *f = *state;
	struct ws_server_config config = any_port;
	struct base_error error = {0};

	make(f, any_port);
	config.port = ws_server_port(f->server);
	assert_null(ws_server_new(f->service, &config, &host, f, &error));
	assert_int_equal(errno, EADDRINUSE);
	assert_non_null(strstr(error.text, "127.0.0.1:"));
	assert_non_null(strstr(error.text, "choose another port"));
	/* 192.0.2.0/24 is nobody's (RFC 5737). */
	assert_int_equal(base_addr_parse(&config.addr, "192.0.2.77"), 0);
	assert_null(ws_server_new(f->service, &config, &host, f, &error));
	assert_int_equal(errno, EADDRNOTAVAIL);
	assert_non_null(strstr(error.text, "192.0.2.77"));
	config.addr.family = BASE_FAMILY_NONE;
	assert_null(ws_server_new(f->service, &config, &host, f, &error));
	assert_int_equal(errno, EINVAL);
}

/* A restart finds its port free, though the old connections linger. */
static void test_restart_at_once(void **state)
{
	struct fixture *f = *state;
	struct ws_server_config config = any_port;

	make(f, any_port);
	config.port = ws_server_port(f->server);
	join(f);
	for (int i = 0; i < 3; i++) {
		ws_server_free(f->server);
		f->server = NULL;
		make(f, config);
		join(f);
	}
}

/* Two servers on one context: a socket is its listener's, whatever its Host header says. */
static void test_two_servers(void **state)
{
	struct fixture *f = *state;
	struct ws_server *other;
	char request[256];

	make(f, any_port);
	other = ws_server_new(f->service, &any_port, &host, f, NULL);
	assert_non_null(other);
	snprintf(request, sizeof(request),
		"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: Upgrade\r\nUpgrade: "
		"websocket\r\n" KEY
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sandd.v1\r\n\r\n",
		ws_server_port(other));
	assert_int_equal(ask(f, request, NULL), 101);
	assert_int_equal(f->server->stats.conns, 1);
	assert_int_equal(other->stats.conns, 0);
	ws_server_free(other);
	assert_int_equal(f->closed, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_health_and_stats),
		CASE(test_garbage_is_dropped),
		CASE(test_missing_subprotocol),
		CASE(test_subprotocol_lists),
		CASE(test_odd_subprotocol_lists),
		CASE(test_other_upgrades),
		CASE(test_connections_are_bounded),
		CASE(test_talk),
		CASE(test_bad_messages_are_skipped),
		CASE(test_fragments),
		CASE(test_largest_frame),
		CASE(test_frame_too_large),
		CASE(test_fragments_too_large),
		CASE(test_bad_utf8_closes),
		CASE(test_close_says_why),
		CASE(test_close_from_message),
		CASE(test_peer_closes),
		CASE(test_server_ends_first),
		CASE(test_laggard),
		CASE(test_silent_connection),
		CASE(test_ipv6),
		CASE(test_bind_errors),
		CASE(test_restart_at_once),
		CASE(test_two_servers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
