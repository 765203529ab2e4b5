/* SPDX-License-Identifier: BSD-3-Clause */
/* ws_client.c, ws_loop.c: a daemon's client, and a controller of bare sockets that misbehaves on request. */
#include "ws_client.c"

#include <openssl/evp.h>
#include <poll.h>

#include "ws_test_socket.h"

#define TEXT_FRAME 0x81
#define CLOSE_FRAME 0x88

struct fixture {
	struct ws_loop *loop;
	struct ws_client *client;
	struct ws_client_config config;
	int listener;
	struct test_io io; /* the controller's end */
	unsigned registered, again, lost, stopped, executed;
	char why[300], command[64];
	uint64_t retry_ms;
};

static void on_registered(void *ctx, bool again)
{
	struct fixture *f = ctx;

	f->registered++;
	f->again += again;
}

static void on_lost_told(void *ctx, const char *why, uint64_t retry_ms)
{
	struct fixture *f = ctx;

	f->lost++;
	f->retry_ms = retry_ms;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

static void on_execute(void *ctx, const struct ws_execute_command *command)
{
	struct fixture *f = ctx;

	f->executed++;
	snprintf(f->command, sizeof(f->command), "%s", command->command);
}

static void on_stopped(void *ctx)
{
	struct fixture *f = ctx;

	f->stopped++;
}

static const struct ws_client_host host = {
	.registered = on_registered,
	.lost = on_lost_told,
	.execute = on_execute,
	.stopped = on_stopped,
};

/* The body of ws_loop_run(), once and without waiting for long. */
static void turn(void *ctx)
{
	struct fixture *f = ctx;

	uv_run(ws_loop_uv(f->loop), UV_RUN_NOWAIT);
	lws_service(ws_loop_lws(f->loop), -1);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);

	assert_non_null(f);
	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(f->listener, 8), 0);
	assert_int_equal(getsockname(f->listener, (struct sockaddr *)&addr, &len), 0);
	f->loop = ws_loop_new(ws_client_protocols);
	assert_non_null(f->loop);
	test_io_init(&f->io, turn, f);
	f->config = (struct ws_client_config){
		.url = {.host = "127.0.0.1", .port = ntohs(addr.sin_port), .path = "/ws"},
		.identity = {.daemon_id = (char *)"w1",
			.hostname = (char *)"h",
			.platform = (char *)"linux",
			.arch = (char *)"x",
			.version = (char *)"0"},
		.reconnect_ms = 80,
		.heartbeat_ms = 60000,
	};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ws_client_free(f->client);
	ws_loop_free(f->loop);
	test_io_close(&f->io);
	close(f->listener);
	free(f);
	return 0;
}

static void begin(struct fixture *f)
{
	f->client = ws_client_new(f->loop, &f->config, &host, f);
	assert_non_null(f->client);
}

/* The client's next connection, and its request. */
static void take_connection(struct fixture *f)
{
	int fd;

	test_io_close(&f->io);
	for (int turns = 0; (fd = accept(f->listener, NULL, NULL)) < 0; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
	test_io_open(&f->io, fd);
	do
		assert_true(test_wait_bytes(&f->io, f->io.len + 1));
	while (!strstr(f->io.bytes, "\r\n\r\n"));
}

/* RFC 6455, 4.2.2: the proof that the key was read. */
static void accept_upgrade(struct fixture *f)
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	const char *key = strcasestr(f->io.bytes, "sec-websocket-key: ");
	unsigned char hash[EVP_MAX_MD_SIZE], proof[64];
	char text[128], response[512];
	unsigned len;

	assert_non_null(key);
	snprintf(text, sizeof(text), "%.24s%s", key + 19, guid);
	assert_int_equal(EVP_Digest(text, strlen(text), hash, &len, EVP_sha1(), NULL), 1);
	EVP_EncodeBlock(proof, hash, (int)len);
	snprintf(response, sizeof(response),
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Protocol: sandd.v1\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		proof);
	f->io.len = 0;
	assert_true(test_send_text(&f->io, response));
}

static void send_message(struct fixture *f, const char *text)
{
	assert_true(test_send_frame(&f->io, TEXT_FRAME, false, text, strlen(text)));
}

static void expect_message(struct fixture *f, const char *part)
{
	char *text;
	size_t len;

	assert_int_equal(test_read_frame(&f->io, &text, &len), TEXT_FRAME);
	if (!strstr(text, part))
		fail_msg("%s, not %s", text, part);
	free(text);
}

static void turn_until(struct fixture *f, const unsigned *count, unsigned n)
{
	for (int turns = 0; *count < n; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
}

/* Up to a registered connection. */
static void join(struct fixture *f)
{
	unsigned registered = f->registered;

	take_connection(f);
	accept_upgrade(f);
	expect_message(f, "\"daemon_id\":\"w1\"");
	send_message(f, "{\"type\":\"register_ack\",\"success\":true,\"message\":\"ok\"}");
	turn_until(f, &f->registered, registered + 1);
	expect_message(f, "{\"type\":\"heartbeat\"}");
}

static void test_upgrade_request(void **state)
{
	struct fixture *f = *state;
	char host_field[64];

	begin(f);
	take_connection(f);
	snprintf(host_field, sizeof(host_field), "\r\nHost: 127.0.0.1:%u\r\n", f->config.url.port);
	assert_memory_equal(f->io.bytes, "GET /ws HTTP/1.1\r\n", 18);
	assert_non_null(strcasestr(f->io.bytes, host_field));
	assert_non_null(strcasestr(f->io.bytes, "\r\nSec-WebSocket-Protocol: sandd.v1\r\n"));
}

static void test_registers_and_executes(void **state)
{
	struct fixture *f = *state;
	struct ws_msg msg = {.type = WS_COMMAND_ERROR,
		.command_error = {.request_id = (char *)"r", .error = (char *)"no"}};

	begin(f);
	assert_int_equal(ws_client_session(f->client), 0);
	assert_int_equal(ws_client_send(f->client, &msg), -EPIPE);
	join(f);
	assert_int_equal(ws_client_session(f->client), 1);
	send_message(f, "{\"type\":\"execute_command\",\"request_id\":\"r\",\"command\":\"ls\"}");
	turn_until(f, &f->executed, 1);
	assert_string_equal(f->command, "ls");
	assert_int_equal(ws_client_send(f->client, &msg), 0);
	expect_message(f, "\"error\":\"no\"");
}

/* Whoever is not registered takes no orders. */
static void test_no_commands_before_registration(void **state)
{
	struct fixture *f = *state;

	begin(f);
	take_connection(f);
	accept_upgrade(f);
	expect_message(f, "register");
	send_message(f, "{\"type\":\"execute_command\",\"request_id\":\"r\",\"command\":\"ls\"}");
	send_message(f, "{\"type\":\"register_ack\",\"success\":true,\"message\":\"ok\"}");
	turn_until(f, &f->registered, 1);
	assert_int_equal(f->executed, 0);
}

static void test_odd_messages_are_skipped(void **state)
{
	struct fixture *f = *state;
	struct ws_client_stats stats;

	begin(f);
	join(f);
	send_message(f, "nonsense");
	send_message(f, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
	send_message(f, "{\"type\":\"new_session\",\"session_id\":\"s\"}");
	send_message(f,
		"{\"type\":\"register\",\"daemon_id\":\"x\",\"metadata\":{\"hostname\":\"h\","
		"\"platform\":\"p\",\"arch\":\"a\"}}");
	send_message(f, "{\"type\":\"pong\"}");
	send_message(f, "{\"type\":\"execute_command\",\"request_id\":\"r\",\"command\":\"ls\"}");
	turn_until(f, &f->executed, 1);
	ws_client_stats(f->client, &stats);
	assert_int_equal(stats.rx_malformed_msgs, 2);
	assert_int_equal(stats.rx_unknown_msgs, 2);
	assert_int_equal(f->lost, 0);
}

static void test_frame_too_large(void **state)
{
	struct fixture *f = *state;
	char *big = calloc(1, 10u << 20);

	assert_non_null(big);
	memset(big, ' ', 10u << 20);
	begin(f);
	join(f);
	test_send_frame(&f->io, TEXT_FRAME, false, big, 10u << 20);
	turn_until(f, &f->lost, 1);
	assert_non_null(strstr(f->why, "8 MiB"));
	free(big);
	join(f);
}

static void test_refused_registration(void **state)
{
	struct fixture *f = *state;

	begin(f);
	take_connection(f);
	accept_upgrade(f);
	expect_message(f, "register");
	send_message(f,
		"{\"type\":\"register_ack\",\"success\":false,\"message\":\"not you\\u001b[2J\"}");
	turn_until(f, &f->lost, 1);
	assert_non_null(strstr(f->why, "registration refused: not you"));
	assert_null(strchr(f->why, '\x1b'));
	/* No quick retries: at least half of the whole interval. */
	assert_true(f->retry_ms >= f->config.reconnect_ms / 2);
	join(f);
}

static void test_refused_upgrade(void **state)
{
	struct fixture *f = *state;

	begin(f);
	take_connection(f);
	assert_true(
		test_send_text(&f->io, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
	turn_until(f, &f->lost, 1);
	assert_non_null(strstr(f->why, "no controller"));
	join(f);
}

static void test_registers_again_when_forgotten(void **state)
{
	struct fixture *f = *state;

	begin(f);
	join(f);
	send_message(f, "{\"type\":\"heartbeat_ack\",\"success\":false,\"reason\":\"unknown\"}");
	expect_message(f, "\"type\":\"register\"");
	send_message(f, "{\"type\":\"register_ack\",\"success\":true,\"message\":\"ok\"}");
	turn_until(f, &f->again, 1);
	assert_int_equal(f->lost, 0);
	/* The connection is the same, and so is what was asked on it. */
	assert_int_equal(ws_client_session(f->client), 1);
}

static void test_reconnects(void **state)
{
	struct fixture *f = *state;

	begin(f);
	join(f);
	test_io_close(&f->io);
	turn_until(f, &f->lost, 1);
	assert_int_equal(ws_client_session(f->client), 0);
	join(f);
	assert_int_equal(ws_client_session(f->client), 2);
	/* A Close with a reason. */
	assert_true(test_send_frame(&f->io, CLOSE_FRAME, false,
		"\x03\xe9"
		"bye",
		5));
	turn_until(f, &f->lost, 2);
	assert_string_equal(f->why, "closed by the controller: bye");
}

/* Each pause is at least half of its window; windows double up to the interval and stay there. */
static void test_pauses_grow(void **state)
{
	struct fixture *f = *state;
	static const uint64_t windows[] = {1000, 2000, 4000, 8000, 8000, 8000};
	struct ws_client client = {.config = {.reconnect_ms = 8000}};

	begin(f);
	for (size_t i = 0; i < BASE_ARRAY_LEN(windows); i++)
		for (int n = 0; n < 200; n++) {
			uint64_t pause_ms;

			client.n_failures = (unsigned)i;
			pause_ms = pick_pause_ms(&client);
			assert_in_range(pause_ms, windows[i] / 2, windows[i]);
		}
}

static void test_heartbeats(void **state)
{
	struct fixture *f = *state;

	f->config.heartbeat_ms = 20;
	begin(f);
	join(f);
	for (int i = 0; i < 3; i++)
		expect_message(f, "{\"type\":\"heartbeat\"}");
	/* An old controller acknowledges none, and is not taken for dead. */
	assert_int_equal(f->lost, 0);
	assert_int_equal(f->client->acked_ms, 0);
}

/* One that did acknowledge and stops is. */
static void test_missing_acks(void **state)
{
	struct fixture *f = *state;

	f->config.heartbeat_ms = 20;
	begin(f);
	join(f);
	send_message(f, "{\"type\":\"heartbeat_ack\",\"success\":true,\"reason\":\"\"}");
	for (int turns = 0; !f->client->acked_ms; turns++) {
		assert_true(turns < TEST_TURNS_MAX);
		test_turn_once(&f->io);
	}
	expect_message(f, "heartbeat");
	assert_int_equal(f->lost, 0);
	/* As if the last one had come long ago. */
	f->client->acked_ms = 1;
	f->client->config.heartbeat_ms = 1;
	if (now_ms(f->client) <= ACK_PATIENCE_MS_MIN + 1)
		skip();
	turn_until(f, &f->lost, 1);
	assert_non_null(strstr(f->why, "acknowledges"));
}

static void test_stop_says_goodbye(void **state)
{
	struct fixture *f = *state;
	char *text;
	size_t len;

	begin(f);
	join(f);
	ws_client_stop(f->client);
	assert_int_equal(test_read_frame(&f->io, &text, &len), CLOSE_FRAME);
	assert_string_equal(text + 2, "the daemon stops");
	free(text);
	assert_true(test_send_frame(&f->io, CLOSE_FRAME, false, "\x03\xe9", 2));
	turn_until(f, &f->stopped, 1);
	assert_int_equal(f->lost, 0);
}

static void test_stop_while_waiting(void **state)
{
	struct fixture *f = *state;

	close(f->listener);
	f->listener = -1;
	begin(f);
	turn_until(f, &f->lost, 2);
	ws_client_stop(f->client);
	turn_until(f, &f->stopped, 1);
}

/* A name that is resolved on libuv's pool, and two that are given up: with the answer there, and on the way. */
static void test_names(void **state)
{
	struct fixture *f = *state;
	struct pollfd answer = {.fd = uv_backend_fd(ws_loop_uv(f->loop)), .events = POLLIN};
	struct ws_client_config nobody = f->config;
	struct ws_client *other;

	/* An answer that came at once is not given up: it leads nowhere. */
	strcpy(nobody.url.host, "localhost");
	nobody.url.port = 1;
	other = ws_client_new(f->loop, &nobody, &host, f);
	uv_run(ws_loop_uv(f->loop), UV_RUN_NOWAIT);
	if (other->is_resolving)
		assert_int_equal(poll(&answer, 1, -1), 1);
	ws_client_free(other);
	turn(f);
	strcpy(f->config.url.host, "localhost");
	begin(f);
	other = ws_client_new(f->loop, &nobody, &host, f);
	turn(f);
	ws_client_free(other);
	join(f);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_upgrade_request),
		CASE(test_registers_and_executes),
		CASE(test_no_commands_before_registration),
		CASE(test_odd_messages_are_skipped),
		CASE(test_frame_too_large),
		CASE(test_refused_registration),
		CASE(test_refused_upgrade),
		CASE(test_registers_again_when_forgotten),
		CASE(test_reconnects),
		CASE(test_pauses_grow),
		CASE(test_heartbeats),
		CASE(test_missing_acks),
		CASE(test_stop_says_goodbye),
		CASE(test_stop_while_waiting),
		CASE(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
