/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exchange of sandctl with the gateway, against a process that answers as a case wants: whole, in single
 * bytes, cut off, or what is no answer of a gateway. And what a person is told when there is none.
 */
#include "cli_call.c"

#include "ctl_test.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#define HEAD(len)                                                                                  \
	"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " len "\r\n\r\n"

static char socket_path[128];

static int listen_here(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(strlen(socket_path) < sizeof(addr.sun_path));
	strcpy(addr.sun_path, socket_path);
	unlink(socket_path);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* One client: hear its request's head, say @text in pieces, hang up. */
static _Noreturn void serve(int listener, const char *text, size_t len, size_t piece)
{
	int fd = accept(listener, NULL, NULL);
	char request[1024];

	if (fd < 0 || read(fd, request, sizeof(request)) <= 0)
		_exit(1);
	for (size_t at = 0; at < len; at += piece)
		if (send(fd, text + at, len - at < piece ? len - at : piece, MSG_NOSIGNAL) < 0)
			break;
	_exit(0);
}

static json_t *ask(const char *text, size_t len, size_t piece, struct cli_error *ret_error,
	struct base_error *ret_reason)
{
	struct cli cli = {.socket = socket_path};
	int listener = listen_here();
	json_t *document;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		serve(listener, text, len, piece);
	close(listener);
	*ret_reason = (struct base_error){0};
	document = cli_call(&cli, "/v1/status", NULL, 0, ret_error, ret_reason);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return document;
}

static void answers_come_in_any_pieces(void **state)
{
	static const char text[] = HEAD("15") "{\"a\":\"\\u0000b\"}";
	struct cli_error error;
	struct base_error reason;

	for (size_t piece = 1; piece < sizeof(text); piece++) {
		json_t *document = ask(text, sizeof(text) - 1, piece, &error, &reason);

		if (!document)
			fail_msg("pieces of %zu: %s", piece, reason.text);
		assert_null(error.code);
		assert_int_equal(json_string_length(json_object_get(document, "a")), 2);
		json_decref(document);
	}
}

static void large_answer(void **state)
{
	const size_t len = 3 << 20;
	char *text = malloc(len + 256), *at = text;
	struct cli_error error;
	struct base_error reason;
	json_t *document;

	assert_non_null(text);
	at += sprintf(at, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n\r\n{\"a\":\"", len + 8);
	memset(at, 'x', len);
	memcpy(at + len, "\"}", 2);
	document = ask(text, (size_t)(at - text) + len + 2, 1 << 20, &error, &reason);
	if (!document)
		fail_msg("%s", reason.text);
	assert_int_equal(json_string_length(json_object_get(document, "a")), len);
	json_decref(document);
	free(text);
}

static void error_is_handed_on(void **state)
{
	static const char text[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 40\r\n\r\n"
				   "{\"error\":{\"code\":\"no\",\"message\":\"none\"}}";
	struct cli_error error;
	struct base_error reason;
	json_t *document = ask(text, sizeof(text) - 1, 7, &error, &reason);

	assert_non_null(document);
	assert_string_equal(error.code, "no");
	assert_string_equal(error.message, "none");
	json_decref(document);
}

static void no_answer_of_a_gateway(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{"", "closed the connection"},
		{"HTTP/1.1 200 OK\r\nContent-Le", "is it the right socket"},
		{HEAD("20") "{\"a\":1}", "closed the connection"},
		{"SSH-2.0-OpenSSH\r\n\r\n", "is it the right socket"},
		{"HTTP/1.1 200 OK\r\n\r\nContent-Length: 2\r\n\r\n{}", "is it the right socket"},
		{HEAD("67108865") "{}", "closed the connection"},
		{HEAD("0"), "is it the right socket"},
		{HEAD("2") "[]", "is it the right socket"},
		{HEAD("7") "{\"a\":1]", "is it the right socket"},
		/* An error with the status of a success. */
		{HEAD("40") "{\"error\":{\"code\":\"no\",\"message\":\"none\"}}",
			"is it the right socket"},
	};
	struct base_error reason;
	struct cli_error error;

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		assert_null(ask(cases[i].text, strlen(cases[i].text), 5, &error, &reason));
		if (!strstr(reason.text, cases[i].reason))
			fail_msg("%s: %s", cases[i].text, reason.text);
	}
}

static void endless_header_ends(void **state)
{
	const size_t len = (size_t)4 << 16;
	char *text = malloc(len);
	struct base_error reason;
	struct cli_error error;

	assert_non_null(text);
	memset(text, 'x', len);
	assert_null(ask(text, len, len, &error, &reason));
	assert_non_null(strstr(reason.text, "is it the right socket"));
	free(text);
}

static void no_gateway(void **state)
{
	struct cli cli = {.socket = socket_path};
	struct base_error reason;
	struct cli_error error;

	unlink(socket_path);
	assert_null(cli_call(&cli, "/v1/status", json_object(), 0, &error, &reason));
	assert_non_null(strstr(reason.text, "is sandd-gw running"));
	close(listen_here());
	assert_null(cli_call(&cli, "/v1/status", NULL, 0, &error, &reason));
	assert_non_null(strstr(reason.text, "nobody listens there"));
	unlink(socket_path);
}

static int setup(void **state)
{
	if (test_dir_make(state))
		return -1;
	test_path(socket_path, "api.sock");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_come_in_any_pieces),
		cmocka_unit_test(large_answer),
		cmocka_unit_test(error_is_handed_on),
		cmocka_unit_test(no_answer_of_a_gateway),
		cmocka_unit_test(endless_header_ends),
		cmocka_unit_test(no_gateway),
	};

	return cmocka_run_group_tests(tests, setup, test_dir_remove);
}
