/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration: answers as Headscale 0.29.2 sends them, each row of the table in protocols/headscale-control.md, 4.3, and what a body holds. */
#include "coord_register.c"

#include "coord_test.h"

/* Members that every answer has. */
#define REST                                                                                       \
	"\"User\":{\"ID\":1,\"DisplayName\":\"u\"},\"Login\":{\"ID\":1,\"Provider\":\"\","         \
	"\"LoginName\":\"u\"},"                                                                    \
	"\"NodeKeySignature\":null"
#define ANSWER(authorized, expired, url, error)                                                    \
	"{" REST ",\"MachineAuthorized\":" authorized ",\"NodeKeyExpired\":" expired               \
	",\"AuthURL\":\"" url "\",\"Error\":\"" error "\"}"

static struct coord_register_answer read_answer(int status, const char *body)
{
	struct coord_register_answer answer;

	coord_register_read(&answer, status, body, strlen(body));
	return answer;
}

static void test_answers(void **state)
{
	static const struct {
		const char *body;
		enum coord_register_verdict verdict;
		const char *words;
	} cases[] = {
		{ANSWER("true", "false", "", ""), COORD_REGISTER_ACCEPTED, ""},
		{ANSWER("false", "false", "", "invalid pre auth key"), COORD_REGISTER_FAILED,
			"invalid pre auth key"},
		{ANSWER("false", "false", "", "authkey expired"), COORD_REGISTER_FAILED,
			"authkey expired"},
		{ANSWER("false", "false", "", "authkey already used"), COORD_REGISTER_FAILED,
			"authkey already used"},
		{ANSWER("false", "false", "", "node exists with a different machine key"),
			COORD_REGISTER_FAILED, "node exists with a different machine key"},
		{ANSWER("false", "true", "", ""), COORD_REGISTER_EXPIRED, ""},
		{ANSWER("false", "false", "http://h:8080/register/hskey-authreq-abc", ""),
			COORD_REGISTER_LOGIN, ""},
		/* The order: an error outweighs everything, an expired key a login address. */
		{ANSWER("true", "true", "http://h/x", "no"), COORD_REGISTER_FAILED, "no"},
		{ANSWER("true", "true", "http://h/x", ""), COORD_REGISTER_EXPIRED, ""},
		{ANSWER("true", "false", "http://h/x", ""), COORD_REGISTER_LOGIN, ""},
		{ANSWER("false", "false", "", ""), COORD_REGISTER_FAILED,
			"the server has not authorized this machine"},
		/* No answer at all. */
		{"null", COORD_REGISTER_FAILED, NULL},
		{"", COORD_REGISTER_FAILED, NULL},
		{"[]", COORD_REGISTER_FAILED, NULL},
		{"\"yes\"", COORD_REGISTER_FAILED, NULL},
		{"{\"MachineAuthorized\":1}", COORD_REGISTER_FAILED, NULL},
		{"{\"MachineAuthorized\":true,\"Error\":0}", COORD_REGISTER_FAILED, NULL},
		{"{\"MachineAuthorized\":true,\"NodeKeyExpired\":\"no\"}", COORD_REGISTER_FAILED,
			NULL},
		{"{\"MachineAuthorized\":true,\"AuthURL\":{}}", COORD_REGISTER_FAILED, NULL},
		{"<html>", COORD_REGISTER_FAILED, NULL},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct coord_register_answer answer = read_answer(200, cases[i].body);

		assert_int_equal(answer.verdict, cases[i].verdict);
		if (cases[i].words)
			assert_string_equal(answer.words, cases[i].words);
	}
}

static void test_login_addresses(void **state)
{
	static const char *const refused[] = {
		"javascript:alert(1)",
		"file:///etc/passwd",
		"http://h/a b",
		"http://h/\\u001b[2J",
		"http://h/<script>",
		"http://h/'",
		"//h/x",
	};
	char body[1024], url[512];

	for (size_t i = 0; i < BASE_ARRAY_LEN(refused); i++) {
		snprintf(body, sizeof(body), "{\"MachineAuthorized\":false,\"AuthURL\":\"%s\"}",
			refused[i]);
		assert_int_equal(read_answer(200, body).verdict, COORD_REGISTER_FAILED);
	}
	memset(url, 'a', sizeof(url));
	memcpy(url, "http://", 7);
	url[COORD_LOGIN_URL_BYTES - 1] = '\0'; /* fits */
	snprintf(body, sizeof(body), "{\"AuthURL\":\"%s\"}", url);
	assert_int_equal(read_answer(200, body).verdict, COORD_REGISTER_LOGIN);
	assert_string_equal(read_answer(200, body).login_url, url);
	url[COORD_LOGIN_URL_BYTES - 1] = 'a';
	url[COORD_LOGIN_URL_BYTES] = '\0';
	snprintf(body, sizeof(body), "{\"AuthURL\":\"%s\"}", url);
	assert_int_equal(read_answer(200, body).verdict, COORD_REGISTER_FAILED);
}

static void test_statuses(void **state)
{
	struct coord_register_answer answer =
		read_answer(400, "unsupported client version: too old (12)\nmore");

	assert_int_equal(answer.verdict, COORD_REGISTER_FAILED);
	assert_string_equal(answer.words, "HTTP 400: unsupported client version: too old (12)");
	assert_int_equal(read_answer(500, "internal").verdict, COORD_REGISTER_TRY_LATER);
	assert_int_equal(read_answer(503, "").verdict, COORD_REGISTER_TRY_LATER);
	assert_int_equal(read_answer(429, "").verdict, COORD_REGISTER_TRY_LATER);
	/* Whatever the status says, an error is not success. */
	assert_int_equal(
		read_answer(201, ANSWER("true", "false", "", "")).verdict, COORD_REGISTER_FAILED);
}

/* The server's words end up on terminals. */
static void test_words_are_printable(void **state)
{
	struct coord_register_answer answer =
		read_answer(200, "{\"Error\":\"a\\u001b[31m\\nb\\u00e4\"}");

	assert_int_equal(answer.verdict, COORD_REGISTER_FAILED);
	assert_string_equal(answer.words, "a\\x1b[31m\\x0ab\\xc3\\xa4");
}

static const char map_request[] = "{\"Version\":138,\"NodeKey\":\"nodekey:00\",\"Hostinfo\":{"
				  "\"Hostname\":\"gw\",\"RoutableIPs\":[\"10.1.0.0/16\"]}}";

static json_t *body_json(const struct coord_register_request *request)
{
	size_t len;
	char *body = coord_register_body(request, &len);
	json_t *root;

	assert_non_null(body);
	assert_int_equal(strlen(body), len);
	root = json_loads(body, 0, NULL);
	assert_non_null(root);
	coord_register_body_free(body);
	return root;
}

static const char *text_at(const json_t *root, const char *name)
{
	return json_string_value(json_object_get(root, name));
}

static void test_bodies(void **state)
{
	struct cr_key node = {{0xab}}, old = {{0xcd}};
	struct coord_register_request request = {
		.node_public = &node, .authkey = "hskey-auth-abc_-x", .map_request = map_request};
	json_t *root = body_json(&request);

	assert_int_equal(json_integer_value(json_object_get(root, "Version")), 138);
	assert_string_equal(text_at(root, "NodeKey"),
		"nodekey:ab00000000000000000000000000000000000000000000000000000000000000");
	assert_string_equal(text_at(json_object_get(root, "Auth"), "AuthKey"), "hskey-auth-abc_-x");
	assert_string_equal(text_at(json_object_get(root, "Hostinfo"), "Hostname"), "gw");
	assert_int_equal(
		json_array_size(json_object_get(json_object_get(root, "Hostinfo"), "RoutableIPs")),
		1);
	assert_null(json_object_get(root, "OldNodeKey"));
	assert_null(json_object_get(root, "Expiry"));
	assert_null(json_object_get(root, "Followup"));
	json_decref(root);

	request.old_node_public = &old;
	request.authkey = NULL;
	request.followup = "http://h/register/hskey-authreq-a";
	root = body_json(&request);
	assert_non_null(json_object_get(root, "OldNodeKey"));
	assert_null(json_object_get(root, "Auth"));
	assert_string_equal(text_at(root, "Followup"), "http://h/register/hskey-authreq-a");
	json_decref(root);
}

/* A key in a logout would make a new, expired node of an unknown one (4.6). */
static void test_logout_sends_no_key(void **state)
{
	struct cr_key node = {{1}};
	const struct coord_register_request request = {.node_public = &node,
		.authkey = "hskey-auth-abc",
		.is_logout = true,
		.map_request = map_request};
	json_t *root = body_json(&request);

	assert_null(json_object_get(root, "Auth"));
	assert_string_equal(text_at(root, "Expiry"), "1970-01-01T00:02:03Z");
	json_decref(root);
}

static void test_keys_that_are_none(void **state)
{
	static const char *const keys[] = {"", "a b", "a\"b", "a\\b", "a\nb", "\xc3\xa4"};
	char longest[COORD_AUTHKEY_BYTES_MAX + 2];
	struct cr_key node = {{1}};
	struct coord_register_request request = {.node_public = &node, .map_request = map_request};
	size_t len;

	for (size_t i = 0; i < BASE_ARRAY_LEN(keys); i++) {
		request.authkey = keys[i];
		errno = 0;
		assert_null(coord_register_body(&request, &len));
		assert_int_equal(errno, EINVAL);
	}
	memset(longest, 'a', sizeof(longest));
	longest[COORD_AUTHKEY_BYTES_MAX] = '\0';
	request.authkey = longest;
	json_decref(body_json(&request));
	longest[COORD_AUTHKEY_BYTES_MAX] = 'a';
	longest[COORD_AUTHKEY_BYTES_MAX + 1] = '\0';
	assert_null(coord_register_body(&request, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_login_addresses),
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_words_are_printable),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_logout_sends_no_key),
		cmocka_unit_test(test_keys_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
