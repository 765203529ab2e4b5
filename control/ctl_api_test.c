/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The API without a network: the routes are those of openapi.yaml, the documents of a gateway in
 * direct mode have the members that it lists, bodies of exec are read strictly.
 */
#include "ctl_api.c"

#include "ctl_file.h"
#include "ctl_test.h"
#include "ctl_yaml.h"

#include <uv.h>

static char *openapi;
static size_t openapi_len;
static struct ctl_yaml *yaml;

static int setup(void **state)
{
	struct base_error err;

	openapi = calloc(1, 65536);
	if (!openapi || ctl_file_read(OPENAPI_FILE, 65535, openapi, &openapi_len, NULL) < 0)
		return -1;
	yaml = ctl_yaml_new(OPENAPI_FILE, openapi, openapi_len, &err);
	if (!yaml)
		print_error("%s\n", err.text);
	return yaml ? 0 : -1;
}

static int teardown(void **state)
{
	ctl_yaml_free(yaml);
	free(openapi);
	return 0;
}

static void every_route_is_described(void **state)
{
	for (size_t i = 0; i < BASE_ARRAY_LEN(routes); i++) {
		char path[128], method[16] = "";

		for (size_t k = 0; routes[i].method[k]; k++)
			method[k] = (char)(routes[i].method[k] | 0x20);
		snprintf(path, sizeof(path), "paths.%s.%s", routes[i].path, method);
		if (!ctl_yaml_has(yaml, path))
			fail_msg("openapi.yaml lacks %s", path);
	}
}

static void every_described_path_is_a_route(void **state)
{
	size_t n_methods = 0;

	for (const char *at = openapi; (at = strstr(at, "\n  /v1/")); at += 3) {
		char path[128];

		assert_int_equal(sscanf(at, " %127[^:]:", path), 1);
		for (size_t i = 0; i <= BASE_ARRAY_LEN(routes); i++) {
			if (i == BASE_ARRAY_LEN(routes))
				fail_msg("openapi.yaml describes %s, which is not served", path);
			if (strcmp(routes[i].path, path) == 0)
				break;
		}
	}
	for (const char *at = openapi; (at = strstr(at, "\n    ")); at++)
		n_methods += strncmp(at + 5, "get:", 4) == 0 || strncmp(at + 5, "post:", 5) == 0 ||
			strncmp(at + 5, "put:", 4) == 0 || strncmp(at + 5, "delete:", 7) == 0;
	assert_int_equal(n_methods, BASE_ARRAY_LEN(routes));
}

/* Each member of the document is in the schema of this name. */
static void assert_described(json_t *document, const char *schema)
{
	const char *key;
	json_t *value;

	assert_non_null(document);
	json_object_foreach (document, key, value) {
		char path[128];

		snprintf(path, sizeof(path), "components.schemas.%s.properties.%s", schema, key);
		if (!ctl_yaml_has(yaml, path))
			fail_msg("openapi.yaml lacks %s", path);
	}
	json_decref(document);
}

static void documents_have_described_members(void **state)
{
	struct ctl_config config = {.n_peers = 0};
	struct ctl_api_sources sources = {.config = &config, .started_ns = 1};
	struct ws_service *service;
	uv_loop_t loop;
	json_t *peers;

	assert_int_equal(uv_loop_init(&loop), 0);
	service = ws_service_new(&loop);
	assert_non_null(service);
	sources.controller = ctl_controller_new(&loop, service);
	assert_non_null(sources.controller);
	assert_described(ctl_api_status(&sources, 5 * BASE_NS_PER_S), "Status");
	assert_described(ctl_api_stats(&sources), "Stats");
	peers = ctl_api_peers(&sources, 5 * BASE_NS_PER_S);
	assert_int_equal(json_array_size(json_object_get(peers, "peers")), 0);
	json_decref(peers);
	ctl_controller_free(sources.controller);
	ws_service_free(service);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static const char *read_body(const char *text, struct call *call, json_t **ret_body)
{
	*ret_body = json_loads(text, 0, NULL);
	assert_non_null(*ret_body);
	memset(call, 0, sizeof(*call));
	return call_init(call, *ret_body);
}

static void bad_bodies_are_refused(void **state)
{
	static const char *const bodies[] = {
		"{}",
		"{\"command\": \"\"}",
		"{\"command\": 5}",
		"{\"command\": \"a\", \"argv\": [\"b\"]}",
		"{\"argv\": []}",
		"{\"argv\": [\"a\", 5]}",
		"{\"argv\": {\"a\": \"b\"}}",
		"{\"command\": \"a\", \"timeout\": 5}",
		"{\"command\": \"a\", \"timeout_s\": -1}",
		"{\"command\": \"a\", \"timeout_s\": 604801}",
		"{\"command\": \"a\", \"timeout_s\": 1.5}",
		"{\"command\": \"a\", \"timeout_s\": \"5\"}",
		"{\"command\": \"a\", \"env\": [\"A=b\"]}",
		"{\"command\": \"a\", \"env\": {\"A\": 5}}",
		"{\"command\": \"a\", \"env\": {\"A=\": \"b\"}}",
		"{\"command\": \"a\", \"env\": {\"\": \"b\"}}",
		"{\"command\": \"a\", \"cwd\": 5}",
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(bodies); i++) {
		struct call call;
		json_t *body;

		if (!read_body(bodies[i], &call, &body))
			fail_msg("accepted: %s", bodies[i]);
		call_fini(&call);
		json_decref(body);
	}
}

static void good_body_is_read(void **state)
{
	struct call call;
	json_t *body;

	assert_null(read_body("{\"argv\": [\"ls\", \"a b\"], \"timeout_s\": 0, \"cwd\": \"/tmp\", "
			      "\"env\": {\"A\": \"b=c\", \"B\": \"\"}}",
		&call, &body));
	assert_string_equal(call.exec.command, "ls 'a b'");
	assert_int_equal(call.exec.timeout_s, 0);
	assert_string_equal(call.exec.cwd, "/tmp");
	assert_non_null(call.exec.env);
	assert_int_equal(call.exec.n_env, 2);
	assert_string_equal(call.exec.env[0].value, "b=c");
	call_fini(&call);
	json_decref(body);

	assert_null(read_body("{\"command\": \"ls; pwd\"}", &call, &body));
	assert_string_equal(call.exec.command, "ls; pwd");
	assert_int_equal(call.exec.timeout_s, 300);
	assert_null(call.exec.cwd);
	call_fini(&call);
	json_decref(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_route_is_described),
		cmocka_unit_test(every_described_path_is_a_route),
		cmocka_unit_test(documents_have_described_members),
		cmocka_unit_test(bad_bodies_are_refused),
		cmocka_unit_test(good_body_is_read),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
