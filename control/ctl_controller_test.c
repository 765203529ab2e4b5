/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller on connections of the test's own: what it answers to registrations and heartbeats, and
 * how commands end. The ws_ calls are the test's: what is sent is kept, what comes is handed in.
 */
#include "ctl_controller.c"

#include "cr_noise.h"
#include "ctl_test.h"

struct ws_conn {
	void *user;
	int send_rc; /* what ws_conn_send() returns */
	unsigned n_sent;
	enum ws_type type; /* of the last message */
	bool success;      /* of the last ack */
	char id[64];       /* of the last command */
	bool is_closed;
};

int ws_conn_send(struct ws_conn *conn, const struct ws_msg *msg)
{
	if (conn->send_rc < 0)
		return conn->send_rc;
	conn->n_sent++;
	conn->type = msg->type;
	if (msg->type == WS_EXECUTE_COMMAND)
		snprintf(conn->id, sizeof(conn->id), "%s", msg->exec.request_id);
	else
		conn->success = msg->ack.success;
	return 0;
}

void ws_conn_close(struct ws_conn *conn, const char *reason)
{
	conn->is_closed = true;
}

void ws_conn_set_user(struct ws_conn *conn, void *user)
{
	conn->user = user;
}

void *ws_conn_user(const struct ws_conn *conn)
{
	return conn->user;
}

const char *ws_conn_remote(const struct ws_conn *conn)
{
	return "192.0.2.2:4711";
}

struct ws_server *ws_server_new(struct ws_service *service, const struct ws_server_config *config,
	const struct ws_host *host, void *ctx, struct base_error *ret_error)
{
	errno = ENOTSUP;
	return NULL;
}

void ws_server_free(struct ws_server *server)
{
}

void ws_server_stats(const struct ws_server *server, struct ws_server_stats *ret_stats)
{
	*ret_stats = (struct ws_server_stats){0};
}

static uv_loop_t loop;
static struct ctl_controller *controller;
static struct ws_conn one, two;

static int setup(void **state)
{
	if (cr_init() < 0 || uv_loop_init(&loop) < 0)
		return -1;
	base_log_setup(NULL, BASE_LOG_ERROR);
	controller = ctl_controller_new(&loop, NULL);
	one = two = (struct ws_conn){0};
	on_opened(controller, &one);
	on_opened(controller, &two);
	return controller ? 0 : -1;
}

static int teardown(void **state)
{
	on_closed(controller, &one);
	on_closed(controller, &two);
	ctl_controller_free(controller);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop);
}

static void say_register(struct ws_conn *conn, const char *id)
{
	struct ws_msg msg = {.type = WS_REGISTER,
		.reg = {.daemon_id = (char *)id,
			.hostname = (char *)"h",
			.platform = (char *)"linux",
			.arch = (char *)"x86_64",
			.version = (char *)""}};

	on_message(controller, conn, &msg);
}

static void say_heartbeat(struct ws_conn *conn)
{
	struct ws_msg msg = {.type = WS_HEARTBEAT};

	on_message(controller, conn, &msg);
}

static void say_error(struct ws_conn *conn, const char *id, const char *error)
{
	struct ws_msg msg = {.type = WS_COMMAND_ERROR,
		.command_error = {.request_id = (char *)id, .error = (char *)error}};

	on_message(controller, conn, &msg);
}

static void say_output(struct ws_conn *conn, const char *id)
{
	struct ws_msg msg = {.type = WS_COMMAND_OUTPUT,
		.output = {.request_id = (char *)id,
			.out = (char *)"o",
			.out_len = 1,
			.err = (char *)"",
			.exit_code = 3}};

	on_message(controller, conn, &msg);
}

struct ending {
	unsigned n;
	enum ctl_exec_end end;
	int exit_code;
};

static void on_end(void *user, const struct ctl_exec_result *result)
{
	struct ending *ending = user;

	ending->n++;
	ending->end = result->end;
	ending->exit_code = result->output ? result->output->exit_code : 0;
}

static int run(const char *id, uint64_t timeout_s, struct ending *ending)
{
	struct ctl_exec exec = {
		.daemon_id = id, .command = "true", .timeout_s = timeout_s, .client = "test"};

	memset(ending, 0, sizeof(*ending));
	return ctl_controller_exec(controller, &exec, on_end, ending);
}

static void registration_is_acknowledged(void **state)
{
	say_register(&one, "a");
	assert_int_equal(one.type, WS_REGISTER_ACK);
	assert_true(one.success);
	say_register(&two, "");
	assert_int_equal(two.type, WS_REGISTER_ACK);
	assert_false(two.success);
}

/* protocols/sandd.md, section 2: a stranger's heartbeat gets no answer. */
static void heartbeats_are_answered_by_standing(void **state)
{
	say_heartbeat(&one);
	assert_int_equal(one.n_sent, 0);
	say_register(&one, "a");
	say_heartbeat(&one);
	assert_int_equal(one.type, WS_HEARTBEAT_ACK);
	assert_true(one.success);
	ctl_registry_sweep(controller->registry, base_clock_now_ns() + 31 * BASE_NS_PER_S);
	say_heartbeat(&one);
	assert_int_equal(one.type, WS_HEARTBEAT_ACK);
	assert_false(one.success);
}

static void output_ends_a_command_once(void **state)
{
	struct ending ending;

	say_register(&one, "a");
	assert_int_equal(run("a", 5, &ending), 0);
	say_output(&one, one.id);
	say_output(&one, one.id);
	say_error(&one, one.id, "late");
	assert_int_equal(ending.n, 1);
	assert_int_equal(ending.end, CTL_EXEC_DONE);
	assert_int_equal(ending.exit_code, 3);
	assert_int_equal(ctl_controller_requests(controller)->late, 2);
}

static void timeout_over_there_is_a_timeout(void **state)
{
	struct ending ending;

	say_register(&one, "a");
	assert_int_equal(run("a", 5, &ending), 0);
	say_error(&one, one.id, "Command timed out");
	assert_int_equal(ending.end, CTL_EXEC_TIMEOUT);
	assert_int_equal(run("a", 5, &ending), 0);
	say_error(&one, one.id, "no such directory");
	assert_int_equal(ending.end, CTL_EXEC_DAEMON_ERROR);
}

static void time_limit_passes_on_the_loop(void **state)
{
	struct ending ending;

	say_register(&one, "a");
	assert_int_equal(run("a", 0, &ending), 0);
	while (ending.n == 0)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(ending.end, CTL_EXEC_TIMEOUT);
	/* Nothing is outstanding: the timer rests. */
	assert_false(uv_is_active((uv_handle_t *)controller->deadlines));
}

static void replaced_connection_loses_its_commands(void **state)
{
	struct ending ending, newer;

	say_register(&one, "a");
	assert_int_equal(run("a", 5, &ending), 0);
	say_register(&two, "a");
	assert_true(one.is_closed);
	assert_int_equal(ending.n, 1);
	assert_int_equal(ending.end, CTL_EXEC_LOST);
	assert_int_equal(run("a", 5, &newer), 0);
	assert_int_equal(two.type, WS_EXECUTE_COMMAND);
	/* The old one, still open, answers for the new one: no. */
	say_output(&one, two.id);
	assert_int_equal(newer.n, 0);
	say_output(&two, two.id);
	assert_int_equal(newer.n, 1);
}

static void laggard_is_busy_and_nothing_is_left(void **state)
{
	struct ending ending;

	say_register(&one, "a");
	one.send_rc = -EAGAIN;
	assert_int_equal(run("a", 5, &ending), -EBUSY);
	one.send_rc = -EPIPE;
	assert_int_equal(run("a", 5, &ending), -EPIPE);
	assert_int_equal(run("b", 5, &ending), -ENOENT);
	assert_int_equal(ending.n, 0);
	assert_int_equal(ctl_controller_requests(controller)->outstanding, 0);
	assert_int_equal(ctl_registry_find(controller->registry, "a")->requests.n_requests, 0);
}

static void statistics_are_upstreams(void **state)
{
	char *text;

	say_register(&one, "a");
	say_register(&two, "b");
	text = stats_json(controller);
	assert_non_null(strstr(text, "\"total_daemons\":2,\"by_platform\":{\"linux\":2}"));
	assert_non_null(strstr(text, "\"a\":{\"hostname\":\"h\",\"platform\":\"linux\""));
	free(text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(registration_is_acknowledged),
		CASE(heartbeats_are_answered_by_standing),
		CASE(output_ends_a_command_once),
		CASE(timeout_over_there_is_a_timeout),
		CASE(time_limit_passes_on_the_loop),
		CASE(replaced_connection_loses_its_commands),
		CASE(laggard_is_busy_and_nothing_is_left),
		CASE(statistics_are_upstreams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
