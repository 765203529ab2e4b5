/* SPDX-License-Identifier: BSD-3-Clause */
/* ws_exec.c: real commands on a libuv loop. What has to be true is asserted, never how long it took. */
#include "ws_exec.c"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>

#include <cmocka.h>

struct answer {
	char id[64];
	uint64_t tag;
	bool is_timed_out, is_truncated;
	char *out, *err;
	size_t out_len, err_len;
	int exit_code;
	uint64_t duration_ms;
};

struct fixture {
	uv_loop_t loop;
	struct ws_exec *exec;
	struct answer answers[128];
	unsigned n_answers;
};

static char *keep(const char *text, size_t len)
{
	char *copy = calloc(1, len + 1);

	assert_non_null(copy);
	if (len)
		memcpy(copy, text, len);
	return copy;
}

static void on_finished(void *ctx, uint64_t tag, const struct ws_exec_result *result)
{
	struct fixture *f = ctx;
	struct answer *a = &f->answers[f->n_answers++];

	assert_true(f->n_answers < BASE_ARRAY_LEN(f->answers));
	snprintf(a->id, sizeof(a->id), "%s", result->request_id);
	a->tag = tag;
	a->is_timed_out = result->is_timed_out;
	a->is_truncated = result->output.is_truncated;
	a->out = keep(result->output.out, result->output.out_len);
	a->err = keep(result->output.err, result->output.err_len);
	a->out_len = result->output.out_len;
	a->err_len = result->output.err_len;
	a->exit_code = result->output.exit_code;
	a->duration_ms = result->output.duration_ms;
}

static void make(struct fixture *f, struct ws_exec_config config)
{
	if (!config.late_ms)
		config.late_ms = 1;
	f->exec = ws_exec_new(&f->loop, &config, on_finished, f);
	assert_non_null(f->exec);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ws_exec_free(f->exec);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	for (unsigned i = 0; i < f->n_answers; i++) {
		free(f->answers[i].out);
		free(f->answers[i].err);
	}
	free(f);
	return 0;
}

static int start(struct fixture *f, const char *command, uint64_t timeout_s)
{
	struct ws_execute_command wanted = {
		.request_id = (char *)"r", .command = (char *)command, .timeout_s = timeout_s};
	struct base_error error;

	return ws_exec_start(f->exec, &wanted, 7, &error);
}

static void turn_until(struct fixture *f, unsigned n_answers)
{
	while (f->n_answers < n_answers)
		uv_run(&f->loop, UV_RUN_ONCE);
}

/* Until everything is reaped as well. */
static void turn_until_idle(struct fixture *f)
{
	while (!LIST_EMPTY(&f->exec->commands))
		uv_run(&f->loop, UV_RUN_ONCE);
}

static struct answer *run(struct fixture *f, const char *command, uint64_t timeout_s)
{
	unsigned n = f->n_answers;

	assert_int_equal(start(f, command, timeout_s), 0);
	turn_until(f, n + 1);
	return &f->answers[n];
}

static void test_output_and_code(void **state)
{
	struct fixture *f = *state;
	struct answer *a;

	make(f, (struct ws_exec_config){0});
	a = run(f, "echo out; echo err >&2; exit 3", 60);
	assert_string_equal(a->id, "r");
	assert_int_equal(a->tag, 7);
	assert_string_equal(a->out, "out\n");
	assert_string_equal(a->err, "err\n");
	assert_int_equal(a->exit_code, 3);
	assert_false(a->is_timed_out);
	assert_false(a->is_truncated);
	assert_true(a->duration_ms >= 1);
	turn_until_idle(f);
	assert_int_equal(f->exec->stats.running, 0);
}

static void test_signal_is_minus_one(void **state)
{
	struct fixture *f = *state;

	make(f, (struct ws_exec_config){0});
	assert_int_equal(run(f, "kill -9 $$", 60)->exit_code, -1);
}

/*
 * A shell inherits nothing: no descriptor, no input, no mask, and it leads its own session. It looks at itself with
 * builtins alone: while it starts a process it holds pipes and blocks signals.
 */
static void test_clean_child(void **state)
{
	struct fixture *f = *state;
	int leak = fcntl(2, F_DUPFD, 50);
	unsigned long long ignored = ~0ull;
	struct answer *a;
	sigset_t set, old;

	assert_true(leak >= 50);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &old);
	signal(SIGPIPE, SIG_IGN);
	make(f, (struct ws_exec_config){0});
	a = run(f,
		"for fd in /proc/$$/fd/*; do printf '%s ' ${fd##*/}; done; read -r x; echo $?;"
		" read -r pid comm state ppid pgrp session rest < /proc/$$/stat;"
		" [ $pid = $pgrp ] && [ $pid = $session ] && echo leader;"
		" while read -r key value; do case $key in Sig*) echo $key $value;; esac; done"
		" < /proc/$$/status",
		60);
	sigprocmask(SIG_SETMASK, &old, NULL);
	close(leak);
	/* 0 to 2, and the folder that the shell reads. */
	assert_memory_equal(a->out, "0 1 2 ", 6);
	assert_true(strcspn(a->out, "\n") <= strlen("0 1 2 3 1"));
	assert_non_null(strstr(a->out, " 1\nleader\n"));
	assert_non_null(strstr(a->out, "SigBlk: 0000000000000000"));
	/* glibc ignores 32 and 33, its own, in what it spawns. */
	assert_non_null(strstr(a->out, "SigIgn:"));
	assert_int_equal(sscanf(strstr(a->out, "SigIgn:"), "SigIgn: %llx", &ignored), 1);
	assert_int_equal(ignored & 0x7fffffff, 0);
}

static void test_environment_and_cwd(void **state)
{
	struct fixture *f = *state;
	struct ws_pair env[] = {
		{(char *)"WS_NEW", (char *)"a b=c"}, {(char *)"WS_OLD", (char *)"replaced"}};
	struct ws_execute_command wanted = {.request_id = (char *)"r",
		.command = (char *)"echo \"$WS_NEW|$WS_OLD|$WS_KEPT\"; pwd; env | grep -c ^WS_OLD=",
		.timeout_s = 60,
		.env = env,
		.n_env = 2,
		.cwd = (char *)"/usr"};

	setenv("WS_OLD", "old", 1);
	setenv("WS_KEPT", "kept", 1);
	make(f, (struct ws_exec_config){0});
	assert_int_equal(ws_exec_start(f->exec, &wanted, 0, NULL), 0);
	turn_until(f, 1);
	assert_string_equal(f->answers[0].out, "a b=c|replaced|kept\n/usr\n1\n");
}

static void test_cannot_start(void **state)
{
	struct fixture *f = *state;
	struct ws_pair bad = {(char *)"A=B", (char *)""};
	struct ws_execute_command wanted = {.request_id = (char *)"r",
		.command = (char *)"true",
		.timeout_s = 60,
		.cwd = (char *)"/nonexistent"};
	struct base_error error;

	make(f, (struct ws_exec_config){0});
	assert_int_equal(ws_exec_start(f->exec, &wanted, 0, &error), -ENOENT);
	assert_string_equal(error.text, "cannot run in /nonexistent: No such file or directory");
	wanted.cwd = (char *)"/etc/passwd";
	assert_int_equal(ws_exec_start(f->exec, &wanted, 0, &error), -ENOTDIR);
	wanted.cwd = NULL;
	wanted.env = &bad;
	wanted.n_env = 1;
	assert_int_equal(ws_exec_start(f->exec, &wanted, 0, &error), -EINVAL);
	wanted.n_env = 0;
	/* Longer than the kernel takes as one argument. */
	wanted.command = malloc(200001);
	assert_non_null(wanted.command);
	memset(wanted.command, ' ', 200000);
	wanted.command[200000] = '\0';
	assert_int_equal(ws_exec_start(f->exec, &wanted, 0, &error), -E2BIG);
	free(wanted.command);
	assert_int_equal(f->exec->stats.failed_to_start, 4);
	assert_int_equal(f->exec->stats.running, 0);
	assert_int_equal(f->n_answers, 0);
}

static void test_waits_for_the_pipes(void **state)
{
	struct fixture *f = *state;
	struct answer *a;

	make(f, (struct ws_exec_config){0});
	a = run(f, "(sleep 0.3; echo late) & echo hi", 60);
	assert_string_equal(a->out, "hi\nlate\n");
	assert_int_equal(a->exit_code, 0);
}

static bool is_alive(pid_t pid)
{
	char path[64], line[256] = "";
	FILE *file;
	bool is_zombie;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (!file)
		return false;
	if (!fgets(line, sizeof(line), file))
		line[0] = '\0';
	fclose(file);
	is_zombie = strstr(line, ") Z ") || strstr(line, ") X ");
	return line[0] && !is_zombie;
}

/* Numbers of the processes that a command wrote to its file, one a line. */
static unsigned read_pids(const char *path, pid_t *pids, unsigned max)
{
	FILE *file = fopen(path, "r");
	unsigned n = 0;
	int pid;

	assert_non_null(file);
	while (n < max && fscanf(file, "%d", &pid) == 1)
		pids[n++] = pid;
	fclose(file);
	return n;
}

/* The time limit kills children and grandchildren, those too that are deaf to SIGTERM. */
static void test_timeout_kills_the_group(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/ws_exec_test.XXXXXX", command[512];
	int fd = mkstemp(path);
	pid_t pids[3];

	assert_true(fd >= 0);
	close(fd);
	snprintf(command, sizeof(command),
		"echo $$ >> %s; sh -c 'trap \"\" TERM; echo $$ >> %s; sh -c \"echo \\$\\$ >> %s; "
		"sleep "
		"600\" & while :; do sleep 600; done' & wait",
		path, path, path);
	make(f, (struct ws_exec_config){0});
	assert_true(run(f, command, 1)->is_timed_out);
	turn_until_idle(f);
	assert_int_equal(read_pids(path, pids, 3), 3);
	for (int i = 0; i < 3; i++)
		for (int n = 0; is_alive(pids[i]); n++) {
			/* Killed, but perhaps not gone yet. */
			assert_true(n < 1000);
			usleep(10000);
		}
	unlink(path);
	assert_int_equal(f->exec->stats.timed_out, 1);
}

/*
 * Nor does anybody get away by leaving: a session of its own, a daemon's double fork, a job's group, and one that
 * is deaf to SIGTERM and holds no pipe.
 */
static void test_timeout_finds_who_left(void **state)
{
	enum { N = 4 };
	struct fixture *f = *state;
	char path[] = "/tmp/ws_exec_test.XXXXXX", command[1024];
	int fd = mkstemp(path);
	pid_t pids[N] = {0};

	assert_true(fd >= 0);
	close(fd);
	snprintf(command, sizeof(command),
		"p=%s; export p; q='exec </dev/null >/dev/null 2>&1'\n"
		"setsid sh -c \"$q; echo \\$\\$ >> $p; exec sleep 600\" &\n"
		"sh -c \"$q; setsid sh -c 'echo \\$\\$ >> $p; exec sleep 600' & exit\"\n"
		"sh -mc \"$q; sh -c 'echo \\$\\$ >> $p; exec sleep 600' & wait\" &\n"
		"sh -c \"$q; trap '' TERM; echo \\$\\$ >> $p; exec sleep 600\" &\n"
		"sleep 600",
		path);
	make(f, (struct ws_exec_config){0});
	assert_true(run(f, command, 1)->is_timed_out);
	turn_until_idle(f);
	assert_int_equal(read_pids(path, pids, N), N);
	for (int i = 0; i < N; i++)
		for (int n = 0; is_alive(pids[i]); n++) {
			assert_true(n < 1000);
			usleep(10000);
		}
	unlink(path);
}

/* Who starts a service and ends in time leaves it running, marked or not. */
static void test_end_in_time_leaves_services(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/ws_exec_test.XXXXXX", command[256];
	int fd = mkstemp(path);
	pid_t pid = 0;

	assert_true(fd >= 0);
	close(fd);
	snprintf(command, sizeof(command),
		"setsid sh -c 'echo $$ > %s; exec sleep 600' </dev/null >/dev/null 2>&1 & "
		"until [ -s %s ]; do sleep 0.05; done",
		path, path);
	make(f, (struct ws_exec_config){0});
	assert_int_equal(run(f, command, 60)->exit_code, 0);
	turn_until_idle(f);
	assert_int_equal(read_pids(path, &pid, 1), 1);
	assert_true(is_alive(pid));
	kill(pid, SIGKILL);
	unlink(path);
}

static void test_timeout_after_exit(void **state)
{
	struct fixture *f = *state;

	make(f, (struct ws_exec_config){0});
	assert_true(run(f, "sleep 600 & exit 0", 1)->is_timed_out);
	turn_until_idle(f);
}

static void test_zero_seconds(void **state)
{
	struct fixture *f = *state;

	make(f, (struct ws_exec_config){0});
	assert_int_equal(start(f, "true", 0), 0);
	assert_int_equal(f->n_answers, 1);
	assert_true(f->answers[0].is_timed_out);
}

static void test_endless_limit(void **state)
{
	struct fixture *f = *state;

	make(f, (struct ws_exec_config){0});
	assert_int_equal(run(f, "exit 4", UINT64_MAX)->exit_code, 4);
}

static void test_side_by_side(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/ws_exec_test.XXXXXX", command[256];

	assert_non_null(mkdtemp(dir));
	make(f, (struct ws_exec_config){.max_running = 50});
	/* Each waits for the last one's file, so they end only if all fifty run at once. */
	for (int i = 0; i < 50; i++) {
		snprintf(command, sizeof(command),
			"touch %s/%d; while [ ! -e %s/49 ]; do sleep 0.1; done; echo %d", dir, i,
			dir, i);
		assert_int_equal(start(f, command, 120), 0);
	}
	assert_int_equal(start(f, "true", 60), -EAGAIN);
	assert_int_equal(f->exec->stats.refused_full, 1);
	turn_until(f, 50);
	for (int i = 0; i < 50; i++)
		assert_int_equal(f->answers[i].exit_code, 0);
	turn_until_idle(f);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(run(f, command, 60)->exit_code, 0);
}

static void test_output_is_cut(void **state)
{
	struct fixture *f = *state;
	struct answer *a;
	char want[256];

	make(f, (struct ws_exec_config){.output_bytes_max = 100});
	a = run(f, "head -c 1000000 /dev/zero | tr '\\0' x; echo done >&2; exit 5", 60);
	assert_int_equal(a->exit_code, 5);
	assert_true(a->is_truncated);
	memset(want, 'x', 100);
	strcpy(want + 100, "\n[sandd: output truncated after 100 bytes]\n");
	assert_string_equal(a->out, want);
	assert_string_equal(a->err, "done\n");
	/* Exactly the limit is whole. */
	a = run(f, "head -c 100 /dev/zero", 60);
	assert_false(a->is_truncated);
	assert_int_equal(a->out_len, 100);
}

static void test_cut_keeps_characters(void **state)
{
	struct fixture *f = *state;
	struct answer *a;

	make(f, (struct ws_exec_config){.output_bytes_max = 5});
	a = run(f, "printf 'abcd\\303\\244fgh'", 60);
	assert_string_equal(a->out, "abcd\n[sandd: output truncated after 4 bytes]\n");
}

static void test_outputs_share_a_budget(void **state)
{
	struct fixture *f = *state;
	struct answer *a;

	make(f, (struct ws_exec_config){.output_bytes_sum_max = 100000});
	a = run(f, "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2", 60);
	assert_true(a->is_truncated);
	assert_true(a->out_len + a->err_len <= 100000);
	turn_until_idle(f);
	assert_int_equal(f->exec->output_bytes, 0);
}

static void test_free_kills(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	make(f, (struct ws_exec_config){0});
	assert_int_equal(start(f, "sleep 600", 600), 0);
	pid = LIST_FIRST(&f->exec->commands)->pid;
	assert_true(is_alive(pid));
	ws_exec_free(f->exec);
	f->exec = NULL;
	for (int n = 0; is_alive(pid); n++) {
		assert_true(n < 1000);
		usleep(10000);
	}
	assert_int_equal(f->n_answers, 0);
}

static void test_terminate(void **state)
{
	struct fixture *f = *state;

	make(f, (struct ws_exec_config){0});
	assert_int_equal(start(f, "sleep 600", 600), 0);
	ws_exec_terminate(f->exec);
	turn_until(f, 1);
	assert_int_equal(f->answers[0].exit_code, -1);
	assert_false(f->answers[0].is_timed_out);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_output_and_code),
		CASE(test_signal_is_minus_one),
		CASE(test_clean_child),
		CASE(test_environment_and_cwd),
		CASE(test_cannot_start),
		CASE(test_waits_for_the_pipes),
		CASE(test_timeout_kills_the_group),
		CASE(test_timeout_finds_who_left),
		CASE(test_end_in_time_leaves_services),
		CASE(test_timeout_after_exit),
		CASE(test_zero_seconds),
		CASE(test_endless_limit),
		CASE(test_side_by_side),
		CASE(test_output_is_cut),
		CASE(test_cut_keeps_characters),
		CASE(test_outputs_share_a_budget),
		CASE(test_free_kills),
		CASE(test_terminate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
