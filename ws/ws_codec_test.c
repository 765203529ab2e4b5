/* SPDX-License-Identifier: BSD-3-Clause */
/* ws_codec.c, ws_utf8.c: every message there and back, and what an outsider may send instead. */
#include "ws_codec.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int decode(struct ws_msg *msg, const char *text)
{
	struct base_error why = {0};
	int ret = ws_msg_decode(msg, text, strlen(text), &why);

	if (ret)
		assert_true(why.text[0] != '\0');
	return ret;
}

static void recode(struct ws_msg *ret_msg, const struct ws_msg *msg)
{
	size_t len;
	char *text = ws_msg_encode(msg, &len);

	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	assert_int_equal(ws_msg_decode(ret_msg, text, len, NULL), 0);
	assert_int_equal(ret_msg->type, msg->type);
	free(text);
}

static void test_register_round_trip(void **state)
{
	struct ws_pair labels[] = {
		{(char *)"zone", (char *)"eu \"1\"\n"}, {(char *)"\xc3\xa4", (char *)""}};
	struct ws_msg back,
		msg = {
			.type = WS_REGISTER,
			.reg = {.daemon_id = (char *)"w1",
				.hostname = (char *)"h",
				.platform = (char *)"linux",
				.arch = (char *)"x86_64",
				.version = (char *)"0.1",
				.labels = labels,
				.n_labels = 2},
		};

	recode(&back, &msg);
	assert_string_equal(back.reg.daemon_id, "w1");
	assert_string_equal(back.reg.hostname, "h");
	assert_string_equal(back.reg.platform, "linux");
	assert_string_equal(back.reg.arch, "x86_64");
	assert_string_equal(back.reg.version, "0.1");
	assert_int_equal(back.reg.n_labels, 2);
	assert_string_equal(back.reg.labels[0].name, "zone");
	assert_string_equal(back.reg.labels[0].value, "eu \"1\"\n");
	assert_string_equal(back.reg.labels[1].name, "\xc3\xa4");
	ws_msg_fini(&back);
	ws_msg_fini(&back);
}

static void test_acks_round_trip(void **state)
{
	static const enum ws_type types[] = {WS_REGISTER_ACK, WS_HEARTBEAT_ACK};

	for (size_t i = 0; i < BASE_ARRAY_LEN(types); i++) {
		struct ws_msg back, msg = {.type = types[i], .ack = {true, (char *)"why"}};

		recode(&back, &msg);
		assert_true(back.ack.success);
		assert_string_equal(back.ack.text, "why");
		ws_msg_fini(&back);
	}
}

static void test_empty_messages_round_trip(void **state)
{
	static const enum ws_type types[] = {WS_HEARTBEAT, WS_PONG};

	for (size_t i = 0; i < BASE_ARRAY_LEN(types); i++) {
		struct ws_msg back, msg = {.type = types[i]};

		recode(&back, &msg);
		ws_msg_fini(&back);
	}
}

static void test_execute_round_trip(void **state)
{
	struct ws_pair env[] = {{(char *)"A", (char *)"1=2"}};
	struct ws_msg back,
		msg = {
			.type = WS_EXECUTE_COMMAND,
			.exec = {.request_id = (char *)"r",
				.command = (char *)"echo 'x'",
				.timeout_s = 7,
				.env = env,
				.n_env = 1,
				.cwd = (char *)"/tmp"},
		};

	recode(&back, &msg);
	assert_string_equal(back.exec.request_id, "r");
	assert_string_equal(back.exec.command, "echo 'x'");
	assert_int_equal(back.exec.timeout_s, 7);
	assert_string_equal(back.exec.cwd, "/tmp");
	assert_int_equal(back.exec.n_env, 1);
	assert_string_equal(back.exec.env[0].value, "1=2");
	ws_msg_fini(&back);
	msg.exec.cwd = NULL;
	recode(&back, &msg);
	assert_null(back.exec.cwd);
	ws_msg_fini(&back);
}

static void test_output_round_trip(void **state)
{
	struct ws_msg back,
		msg = {
			.type = WS_COMMAND_OUTPUT,
			.output = {.request_id = (char *)"r",
				.out = (char *)"a\0b\xff\xe2\x82!",
				.out_len = 7,
				.err = NULL,
				.err_len = 0,
				.exit_code = -1,
				.duration_ms = 5,
				.is_truncated = true},
		};

	recode(&back, &msg);
	/* One replacement for the byte that starts nothing, one for the character that is cut. */
	assert_int_equal(back.output.out_len, 10);
	assert_memory_equal(back.output.out, "a\0b\xef\xbf\xbd\xef\xbf\xbd!", 10);
	assert_int_equal(back.output.err_len, 0);
	assert_int_equal(back.output.exit_code, -1);
	assert_int_equal(back.output.duration_ms, 5);
	assert_true(back.output.is_truncated);
	ws_msg_fini(&back);
}

static void test_errors_round_trip(void **state)
{
	struct ws_msg back,
		msg = {.type = WS_COMMAND_ERROR,
			.command_error = {.request_id = (char *)"r", .error = (char *)"no"}};

	recode(&back, &msg);
	assert_string_equal(back.command_error.error, "no");
	ws_msg_fini(&back);
	msg = (struct ws_msg){.type = WS_ERROR, .error = {(char *)"m", true}};
	recode(&back, &msg);
	assert_true(back.error.is_recoverable);
	ws_msg_fini(&back);
}

/* Texts as upstream's ends write them, with what they leave out. */
static void test_foreign_texts(void **state)
{
	struct ws_msg msg;

	assert_int_equal(
		decode(&msg,
			"{\"type\":\"register\",\"daemon_id\":\"\",\"metadata\":{\"hostname\":"
			"\"h\",\"platform\":\"p\",\"arch\":\"a\"},\"extra\":[1.5,{}]}"),
		0);
	assert_string_equal(msg.reg.daemon_id, "");
	assert_string_equal(msg.reg.version, "");
	assert_int_equal(msg.reg.n_labels, 0);
	ws_msg_fini(&msg);
	assert_int_equal(decode(&msg,
				 "{\"request_id\":\"r\",\"command\":\"c\",\"cwd\":null,"
				 "\"timeout_secs\":null,\"type\":\"execute_command\"}"),
		0);
	assert_int_equal(msg.exec.timeout_s, WS_TIMEOUT_S_DEFAULT);
	assert_null(msg.exec.cwd);
	ws_msg_fini(&msg);
	assert_int_equal(decode(&msg, "{\"type\":\"error\",\"message\":\"m\"}"), 0);
	assert_false(msg.error.is_recoverable);
	ws_msg_fini(&msg);
	assert_int_equal(
		decode(&msg, "{\"type\":\"session_output\",\"session_id\":\"s\"}"), -ENOTSUP);
	assert_int_equal(decode(&msg, "{\"type\":\"heartbeat\\u0000\"}"), -ENOTSUP);
}

#define OUTPUT(rest) "{\"type\":\"command_output\",\"request_id\":\"r\"," rest "}"
#define EXECUTE(rest)                                                                              \
	"{\"type\":\"execute_command\",\"request_id\":\"r\",\"command\":\"c\"," rest "}"

static void test_malformed(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		"nonsense",
		"null",
		"1",
		"\"heartbeat\"",
		"[]",
		"{}",
		"{\"type\":1}",
		"{\"type\":null}",
		"{\"type\":\"heartbeat\"",
		"{\"type\":\"heartbeat\"} {}",
		"{\"type\":\"heartbeat\",\"type\":\"pong\"}",
		"{\"type\":\"heartbeat\",\"x\":\"\xff\"}",
		"{\"type\":\"heartbeat\",\"x\":\"\xed\xa0\x80\"}",
		"{\"type\":\"heartbeat\",\"x\":\"\\ud800\"}",
		"{\"type\":\"heartbeat\",\"x\":99999999999999999999}",
		"{\"type\":\"heartbeat\",\"x\":1e999}",
		"{\"type\":\"register\"}",
		"{\"type\":\"register\",\"daemon_id\":7,\"metadata\":{}}",
		"{\"type\":\"register\",\"daemon_id\":\"a\\u0000b\",\"metadata\":{\"hostname\":"
		"\"h\","
		"\"platform\":\"p\",\"arch\":\"a\"}}",
		"{\"type\":\"register\",\"daemon_id\":\"a\",\"metadata\":[]}",
		"{\"type\":\"register\",\"daemon_id\":\"a\",\"metadata\":{\"hostname\":\"h\","
		"\"platform\":\"p\",\"arch\":\"a\",\"labels\":{\"k\":1}}}",
		"{\"type\":\"register\",\"daemon_id\":\"a\",\"metadata\":{\"hostname\":\"h\","
		"\"platform\":\"p\",\"arch\":\"a\",\"labels\":[]}}",
		"{\"type\":\"register_ack\",\"success\":1,\"message\":\"\"}",
		"{\"type\":\"register_ack\",\"message\":\"\"}",
		OUTPUT("\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0"),
		OUTPUT("\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0.0,\"duration_ms\":1"),
		OUTPUT("\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":2147483648,\"duration_ms\":"
		       "1"),
		OUTPUT("\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":-2147483649,\"duration_ms\":"
		       "1"),
		OUTPUT("\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0,\"duration_ms\":-1"),
		OUTPUT("\"stdout\":[],\"stderr\":\"\",\"exit_code\":0,\"duration_ms\":1"),
		OUTPUT("\"stdout\":\"\",\"stderr\":\"\",\"exit_code\":0,\"duration_ms\":1,"
		       "\"truncated\":\"yes\""),
		EXECUTE("\"timeout_secs\":-1"),
		EXECUTE("\"timeout_secs\":1.5"),
		EXECUTE("\"timeout_secs\":\"1\""),
		EXECUTE("\"env\":{\"A\":null}"),
		EXECUTE("\"cwd\":{}"),
	};
	struct ws_msg msg;

	for (size_t i = 0; i < BASE_ARRAY_LEN(texts); i++)
		if (decode(&msg, texts[i]) != -EBADMSG)
			fail_msg("taken: %s", texts[i]);
}

static char *repeat(const char *head, const char *piece, size_t n, const char *tail)
{
	size_t piece_len = strlen(piece), at = strlen(head);
	char *text = malloc(at + n * piece_len + strlen(tail) + 1);

	assert_non_null(text);
	memcpy(text, head, at + 1);
	for (size_t i = 0; i < n; i++, at += piece_len)
		memcpy(text + at, piece, piece_len);
	strcpy(text + at, tail);
	return text;
}

static void expect_bad(char *text)
{
	struct ws_msg msg;

	assert_int_equal(decode(&msg, text), -EBADMSG);
	free(text);
}

static void test_bombs(void **state)
{
	struct ws_msg msg;
	char *text;

	expect_bad(repeat("{\"type\":\"heartbeat\",\"x\":", "[", 4000000, ""));
	expect_bad(repeat("{\"type\":\"heartbeat\",\"x\":", "{\"a\":", WS_JSON_DEPTH_MAX, "1"));
	expect_bad(repeat("{\"type\":\"heartbeat\",\"x\":[", "1,", 3000000, "1]}"));
	expect_bad(repeat("{\"type\":\"heartbeat\",\"x\":\"", "y", WS_FRAME_BYTES_MAX, "\"}"));
	/* Well-formed, and one level too deep. */
	expect_bad(repeat(
		"{\"type\":\"heartbeat\",\"x\":", "[", WS_JSON_DEPTH_MAX, "]]]]]]]]]]]]]]]]}"));
	/* Brackets and commas in strings are text. */
	text = repeat("{\"type\":\"heartbeat\",\"x\":\"", "[,{\\\"", 100000, "\"}");
	assert_int_equal(decode(&msg, text), 0);
	free(text);
	text = repeat(
		"{\"type\":\"heartbeat\",\"x\":", "[", WS_JSON_DEPTH_MAX - 1, "]]]]]]]]]]]]]]]}");
	assert_int_equal(decode(&msg, text), 0);
	free(text);
}

static void test_limits(void **state)
{
	char id[WS_ID_BYTES_MAX + 2], text[1024];
	struct ws_msg msg;
	char *big;

	memset(id, 'i', sizeof(id));
	for (size_t len = WS_ID_BYTES_MAX; len <= WS_ID_BYTES_MAX + 1; len++) {
		snprintf(text, sizeof(text),
			"{\"type\":\"command_error\",\"request_id\":\"%.*s\",\"error\":\"e\"}",
			(int)len, id);
		assert_int_equal(decode(&msg, text), len > WS_ID_BYTES_MAX ? -EBADMSG : 0);
		if (len <= WS_ID_BYTES_MAX)
			ws_msg_fini(&msg);
	}
	expect_bad(repeat("{\"type\":\"execute_command\",\"request_id\":\"r\",\"command\":\"", "c",
		WS_COMMAND_BYTES_MAX + 1, "\"}"));
	big = repeat("{\"type\":\"execute_command\",\"request_id\":\"r\",\"command\":\"", "c",
		WS_COMMAND_BYTES_MAX, "\"}");
	assert_int_equal(decode(&msg, big), 0);
	assert_int_equal(strlen(msg.exec.command), WS_COMMAND_BYTES_MAX);
	ws_msg_fini(&msg);
	free(big);
}

static void test_too_many_labels(void **state)
{
	char text[2048];
	struct ws_msg msg;

	for (int n = WS_LABELS_MAX; n <= WS_LABELS_MAX + 1; n++) {
		int at = snprintf(text, sizeof(text),
			"{\"type\":\"register\",\"daemon_id\":\"a\",\"metadata\":{\"hostname\":"
			"\"h\","
			"\"platform\":\"p\",\"arch\":\"a\",\"labels\":{");

		for (int i = 0; i < n; i++)
			at += snprintf(text + at, sizeof(text) - (size_t)at, "%s\"k%d\":\"v\"",
				i ? "," : "", i);
		snprintf(text + at, sizeof(text) - (size_t)at, "}}}");
		assert_int_equal(decode(&msg, text), n > WS_LABELS_MAX ? -EBADMSG : 0);
		if (n <= WS_LABELS_MAX)
			ws_msg_fini(&msg);
	}
}

static void test_encode_refuses(void **state)
{
	struct ws_msg msg = {.type = WS_COMMAND_OUTPUT, .output = {.request_id = (char *)"r"}};
	size_t len;

	/* Control characters take six bytes each. */
	msg.output.out_len = WS_FRAME_BYTES_MAX / 6 + 1;
	msg.output.out = malloc(msg.output.out_len);
	assert_non_null(msg.output.out);
	memset(msg.output.out, 1, msg.output.out_len);
	assert_null(ws_msg_encode(&msg, &len));
	assert_int_equal(errno, EMSGSIZE);
	free(msg.output.out);
	msg.output.out = NULL;
	msg.output.out_len = 0;
	msg.output.request_id = (char *)"\xff";
	assert_null(ws_msg_encode(&msg, &len));
	assert_int_equal(errno, EINVAL);
	msg.type = WS_TYPE_COUNT;
	assert_null(ws_msg_encode(&msg, &len));
	assert_int_equal(errno, EINVAL);
}

static void test_encode_headroom(void **state)
{
	struct ws_msg msg = {.type = WS_HEARTBEAT};
	size_t len;
	char *buffer = ws_msg_encode_at(&msg, 300, &len);

	assert_non_null(buffer);
	memset(buffer, 0, 300);
	assert_string_equal(buffer + 300, "{\"type\":\"heartbeat\"}");
	assert_int_equal(len, strlen(buffer + 300));
	free(buffer);
}

/* Any cut and any flipped byte of a good message is taken or refused, never worse (run this under ASan). */
static void test_mutations(void **state)
{
	static const char good[] =
		EXECUTE("\"timeout_secs\":3,\"env\":{\"A\":\"b\"},\"cwd\":\"/\"");
	char text[sizeof(good)];
	struct ws_msg msg;

	for (size_t len = 0; len < sizeof(good); len++)
		for (unsigned byte = 0; byte < 256; byte++) {
			memcpy(text, good, sizeof(good));
			text[len] = (char)byte;
			if (ws_msg_decode(&msg, text, sizeof(good) - 1, NULL) == 0)
				ws_msg_fini(&msg);
			if (byte == 0 && ws_msg_decode(&msg, text, len, NULL) == 0)
				ws_msg_fini(&msg);
		}
}

static void test_names_and_directions(void **state)
{
	assert_string_equal(ws_type_name(WS_REGISTER), "register");
	assert_null(ws_type_name(WS_TYPE_COUNT));
	assert_true(ws_type_is_from_daemon(WS_REGISTER));
	assert_false(ws_type_is_from_controller(WS_REGISTER));
	assert_true(ws_type_is_from_controller(WS_EXECUTE_COMMAND));
	assert_false(ws_type_is_from_daemon(WS_EXECUTE_COMMAND));
	assert_true(ws_type_is_from_daemon(WS_ERROR));
	assert_true(ws_type_is_from_controller(WS_ERROR));
	assert_false(ws_type_is_from_daemon(WS_TYPE_COUNT));
}

/* Unicode 15, tables 3-8 and 3-11: how many U+FFFD each ill-formed sequence becomes. */
static void test_utf8_repair(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"", ""},
		{"abc\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
			"abc\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"\x80", "?"},
		{"\xc0\xaf", "??"},
		{"\xe0\x80\xbf", "???"},
		{"\xed\xa0\x80", "???"},
		{"\xf4\x91\x92\x93\xff"
		 "A",
			"?????A"},
		{"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf"
		 "A",
			"????A"},
		{"\xf0\x9f\x98", "?"},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		char want[64] = {0};
		size_t len;
		char *got = ws_utf8_repair(cases[i].in, strlen(cases[i].in), &len);

		for (const char *c = cases[i].out; *c; c++) {
			size_t at = strlen(want);

			if (*c == '?')
				memcpy(want + at, "\xef\xbf\xbd", 4);
			else
				want[at] = *c;
		}
		assert_string_equal(got, want);
		assert_int_equal(len, strlen(want));
		assert_int_equal(ws_utf8_is_valid(cases[i].in, strlen(cases[i].in)),
			strcmp(cases[i].in, want) == 0);
		free(got);
	}
}

static void test_utf8_trim(void **state)
{
	assert_int_equal(ws_utf8_trim("", 0), 0);
	assert_int_equal(ws_utf8_trim("ab", 2), 2);
	assert_int_equal(ws_utf8_trim("a\xe2\x82\xac", 4), 4);
	assert_int_equal(ws_utf8_trim("a\xe2\x82\xac", 3), 1);
	assert_int_equal(ws_utf8_trim("a\xe2\x82\xac", 2), 1);
	assert_int_equal(ws_utf8_trim("\xf0\x9f\x98", 3), 0);
	/* What is no beginning is left to the repair. */
	assert_int_equal(ws_utf8_trim("a\x80", 2), 2);
	assert_int_equal(ws_utf8_trim("\x80\x80\x80\x80\x80", 5), 5);
	assert_int_equal(ws_utf8_trim("a\xff", 2), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register_round_trip),
		cmocka_unit_test(test_acks_round_trip),
		cmocka_unit_test(test_empty_messages_round_trip),
		cmocka_unit_test(test_execute_round_trip),
		cmocka_unit_test(test_output_round_trip),
		cmocka_unit_test(test_errors_round_trip),
		cmocka_unit_test(test_foreign_texts),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_too_many_labels),
		cmocka_unit_test(test_encode_refuses),
		cmocka_unit_test(test_encode_headroom),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_names_and_directions),
		cmocka_unit_test(test_utf8_repair),
		cmocka_unit_test(test_utf8_trim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
