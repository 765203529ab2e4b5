/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ws_exec.h. The life of a struct command:
 *
 *	RUNNING   started; its pipes are read, its limit ticks
 *	ENDING    limit reached: SIGTERM is out, SIGKILL follows; an end in between counts as the time-out it is
 *	ANSWERED  finished() was called; waits to be reaped (a killed process may take its time)
 *
 * The leader stays a zombie until the command is over: its number, which is the group's, cannot be
 * given to a stranger while we may still signal it. Thread: the loop's.
 */
#include "ws_exec.h"

#include "ws_family.h"
#include "ws_utf8.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define MAX_RUNNING_DEFAULT 64
#define OUTPUT_SUM_DEFAULT ((size_t)64 << 20)
#define LATE_MS_DEFAULT 250
/* From SIGTERM to SIGKILL. */
#define GRACE_MS 500
/* No limit is longer than this: a year. */
#define TIMEOUT_S_MAX UINT64_C(31536000)
#define READ_BYTES 65536
#define MARK_BYTES_MAX 80
#define FAMILY_MARK_NAME "SANDD_COMMAND"
/* The name, "=", 16 digits, a dot, a number. */
#define FAMILY_MARK_LEN 56

enum phase { RUNNING, ENDING, ANSWERED };

/* One of the two pipes. */
struct stream {
	struct command *command;
	int fd; /* -1: closed */
	uv_poll_t poll;
	char *bytes;
	size_t len, size;
	bool is_truncated;
};

struct command {
	struct ws_exec *exec;
	enum phase phase;
	char *request_id;
	uint64_t tag;
	pid_t pid; /* and process group and session; 0 once reaped */
	char family_mark[FAMILY_MARK_LEN];
	bool is_exited;
	int32_t exit_code;
	uint64_t started_ns;
	uv_timer_t timer;
	struct stream out, err;
	unsigned n_handles; /* that libuv still holds */
	LIST_ENTRY(command) entry;
};

struct ws_exec {
	uv_loop_t *loop;
	struct ws_exec_config config;
	void (*finished)(void *ctx, uint64_t tag, const struct ws_exec_result *result);
	void *ctx;
	uv_signal_t child;
	size_t output_bytes; /* of all streams */
	char *buffer;        /* one read */
	uint64_t n_marks,
		instance; /* instance is random: other daemons of this machine mark their commands too */
	struct ws_exec_stats stats;
	LIST_HEAD(, command) commands;
};

/* ---- the end of a command ---- */

static void stream_free(struct stream *stream)
{
	stream->command->exec->output_bytes -= stream->size;
	free(stream->bytes);
	stream->bytes = NULL;
	stream->len = stream->size = 0;
}

static void on_command_closed(uv_handle_t *handle)
{
	struct command *command = handle->data;

	if (--command->n_handles > 0)
		return;
	free(command->request_id);
	free(command);
}

static void on_stream_closed(uv_handle_t *handle)
{
	struct stream *stream = handle->data;

	handle->data = stream->command;
	on_command_closed(handle);
}

static void stream_close(struct stream *stream)
{
	if (stream->fd < 0)
		return;
	uv_close((uv_handle_t *)&stream->poll, on_stream_closed);
	close(stream->fd);
	stream->fd = -1;
}

/* Answered and reaped: nothing is left to wait for. */
static void command_end(struct command *command)
{
	struct ws_exec *exec = command->exec;

	stream_free(&command->out);
	stream_free(&command->err);
	LIST_REMOVE(command, entry);
	exec->stats.running--;
	uv_close((uv_handle_t *)&command->timer, on_command_closed);
}

static void command_reap(struct command *command)
{
	if (command->pid && command->is_exited) {
		(void)waitpid(command->pid, NULL, 0);
		command->pid = 0;
	}
}

static uint64_t duration_ms(const struct command *command)
{
	uint64_t ns = uv_hrtime() - command->started_ns;
	uint64_t ms = (ns + 999999) / 1000000;

	return ms ? ms : 1;
}

/* The mark goes behind the last whole character that was kept; room for it was reserved. */
static void mark_truncation(struct stream *stream)
{
	size_t keep;

	if (!stream->is_truncated || !stream->bytes)
		return;
	keep = ws_utf8_trim(stream->bytes, stream->len);
	stream->len = keep +
		(size_t)snprintf(stream->bytes + keep, MARK_BYTES_MAX,
			"\n[sandd: output truncated after %zu bytes]\n", keep);
}

static void answer(struct command *command, bool is_timed_out)
{
	struct ws_exec *exec = command->exec;
	struct ws_exec_result result = {
		.request_id = command->request_id,
		.is_timed_out = is_timed_out,
	};

	mark_truncation(&command->out);
	mark_truncation(&command->err);
	result.output = (struct ws_command_output){
		.request_id = command->request_id,
		.out = command->out.bytes,
		.out_len = command->out.len,
		.err = command->err.bytes,
		.err_len = command->err.len,
		.exit_code = command->exit_code,
		.duration_ms = duration_ms(command),
		.is_truncated = command->out.is_truncated || command->err.is_truncated,
	};
	exec->stats.timed_out += is_timed_out;
	exec->stats.truncated += result.output.is_truncated;
	command->phase = ANSWERED;
	stream_close(&command->out);
	stream_close(&command->err);
	exec->finished(exec->ctx, command->tag, &result);
	stream_free(&command->out);
	stream_free(&command->err);
}

static void command_signal(const struct command *command, int number)
{
	if (command->pid)
		ws_family_signal(command->pid, command->family_mark, number);
}

/* Something ended: the leader, a pipe, the patience. */
static void command_advance(struct command *command)
{
	bool is_over = command->is_exited && command->out.fd < 0 && command->err.fd < 0;

	if (command->phase != ANSWERED && is_over) {
		uv_timer_stop(&command->timer);
		/* Who was deaf to SIGTERM need not have held a pipe. */
		if (command->phase == ENDING)
			command_signal(command, SIGKILL);
		answer(command, command->phase == ENDING);
	}
	if (command->phase == ANSWERED && command->is_exited) {
		command_reap(command);
		command_end(command);
	}
}

static void on_deadline(uv_timer_t *timer)
{
	struct command *command = timer->data;

	if (command->phase == RUNNING) {
		command->phase = ENDING;
		command_signal(command, SIGTERM);
		uv_timer_start(timer, on_deadline, GRACE_MS, 0);
		return;
	}
	command_signal(command, SIGKILL);
	answer(command, true);
	command_advance(command);
}

/* ---- output ---- */

/* Room for @len bytes more, the mark and a NUL; false where the common budget or the memory ends. */
static bool stream_reserve(struct stream *stream, size_t len)
{
	struct ws_exec *exec = stream->command->exec;
	size_t size = stream->size ? stream->size : 4096;
	char *bytes;

	while (size < stream->len + len + MARK_BYTES_MAX)
		size *= 2;
	if (size == stream->size)
		return true;
	if (exec->output_bytes + (size - stream->size) > exec->config.output_bytes_sum_max)
		return false;
	bytes = realloc(stream->bytes, size);
	if (!bytes)
		return false;
	exec->output_bytes += size - stream->size;
	stream->bytes = bytes;
	stream->size = size;
	return true;
}

/* What does not fit is read all the same, so that the command is not stopped by a full pipe. */
static void stream_add(struct stream *stream, const char *piece, size_t len)
{
	size_t room = stream->command->exec->config.output_bytes_max - stream->len;

	if (stream->is_truncated)
		return;
	if (len > room) {
		len = room;
		stream->is_truncated = true;
	}
	if (!stream_reserve(stream, len)) {
		len = 0;
		stream->is_truncated = true;
		/* The first reservation failed: not even the mark has a place. */
		if (!stream->bytes)
			return;
	}
	memcpy(stream->bytes + stream->len, piece, len);
	stream->len += len;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct stream *stream = poll->data;
	struct command *command = stream->command;
	ssize_t n = read(stream->fd, command->exec->buffer, READ_BYTES);

	if (n > 0) {
		stream_add(stream, command->exec->buffer, (size_t)n);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	stream_close(stream);
	command_advance(command);
}

/* ---- exits ---- */

/* Each of ours is asked for by number: other children of the process are nobody's business here. */
static void on_child(uv_signal_t *signal, int signum)
{
	struct ws_exec *exec = signal->data;
	struct command *command = LIST_FIRST(&exec->commands), *next;

	for (; command; command = next) {
		siginfo_t info = {0};

		next = LIST_NEXT(command, entry);
		if (command->is_exited ||
			waitid(P_PID, (id_t)command->pid, &info, WEXITED | WNOHANG | WNOWAIT) ||
			info.si_pid == 0)
			continue;
		command->is_exited = true;
		command->exit_code = info.si_code == CLD_EXITED ? info.si_status : -1;
		command_advance(command);
	}
}

/* ---- starting ---- */

static bool is_overridden(const char *variable, const struct ws_execute_command *command)
{
	size_t len = strcspn(variable, "=");

	/* The daemon may be another one's command. */
	if (len == strlen(FAMILY_MARK_NAME) && memcmp(variable, FAMILY_MARK_NAME, len) == 0)
		return true;
	for (size_t i = 0; i < command->n_env; i++)
		if (strncmp(command->env[i].name, variable, len) == 0 &&
			command->env[i].name[len] == '\0')
			return true;
	return false;
}

static void free_env(char **env, size_t n_own)
{
	if (!env)
		return;
	for (size_t i = 0; i < n_own; i++)
		free(env[i]);
	free(env);
}

/* The mark, the command's variables (ours to free), then those of the daemon that it does not replace. */
static char **build_env(const struct ws_execute_command *command, const char *mark)
{
	size_t n = 1 + command->n_env;
	char **env;

	for (char **at = environ; *at; at++)
		n++;
	env = calloc(n + 1, sizeof(*env));
	if (!env)
		return NULL;
	for (n = 0; n <= command->n_env; n++) {
		const struct ws_pair *own = n ? &command->env[n - 1] : NULL;

		if (asprintf(&env[n], "%s%s%s", own ? own->name : mark, own ? "=" : "",
			    own ? own->value : "") < 0) {
			free_env(env, n);
			return NULL;
		}
	}
	for (char **at = environ; *at; at++)
		if (!is_overridden(*at, command))
			env[n++] = *at;
	return env;
}

static int check_env(const struct ws_execute_command *command, struct base_error *ret_error)
{
	for (size_t i = 0; i < command->n_env; i++)
		if (command->env[i].name[0] == '\0' || strchr(command->env[i].name, '='))
			return base_error_set(ret_error, -EINVAL,
				"environment: a variable's name is empty or holds '='");
	return 0;
}

/*
 * posix_spawn, because it neither copies the daemon's page tables nor hides errors: what fails in the child before
 * its exec comes back as a code.
 */
static int spawn(const struct ws_execute_command *command, int cwd_fd, const int pipes[2],
	char **env, pid_t *ret_pid)
{
	char *argv[] = {(char *)"sh", (char *)"-c", command->command, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t set;
	int ret;

	if (posix_spawn_file_actions_init(&actions))
		return -ENOMEM;
	if (posix_spawnattr_init(&attr)) {
		posix_spawn_file_actions_destroy(&actions);
		return -ENOMEM;
	}
	sigfillset(&set);
	ret = posix_spawnattr_setsigdefault(&attr, &set);
	sigemptyset(&set);
	if (!ret)
		ret = posix_spawnattr_setsigmask(&attr, &set);
	if (!ret)
		ret = posix_spawnattr_setflags(
			&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	if (!ret)
		ret = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(&actions, pipes[0], 1);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(&actions, pipes[1], 2);
	if (!ret && cwd_fd >= 0)
		ret = posix_spawn_file_actions_addfchdir_np(&actions, cwd_fd);
	if (!ret)
		ret = posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	if (!ret)
		ret = posix_spawn(ret_pid, "/bin/sh", &actions, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return -ret;
}

static void close_pair(int fds[2])
{
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* Pipes, folder, environment, process. On success the reading ends are in @reads. */
static int start_process(const struct ws_execute_command *command, const char *mark, int reads[2],
	pid_t *ret_pid, struct base_error *ret_error)
{
	int out[2] = {-1, -1}, err[2] = {-1, -1}, cwd_fd = -1, ret;
	char **env = NULL;

	ret = check_env(command, ret_error);
	if (ret)
		return ret;
	if (command->cwd) {
		cwd_fd = open(command->cwd, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (cwd_fd < 0)
			return base_error_set(ret_error, -errno, "cannot run in %s: %s",
				command->cwd, strerror(errno));
	}
	if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		ret = -errno;
	env = ret ? NULL : build_env(command, mark);
	if (!ret && !env)
		ret = -ENOMEM;
	if (!ret)
		ret = spawn(command, cwd_fd, (int[]){out[1], err[1]}, env, ret_pid);
	free_env(env, 1 + command->n_env);
	if (cwd_fd >= 0)
		close(cwd_fd);
	if (ret) {
		close_pair(out);
		close_pair(err);
		return base_error_set(
			ret_error, ret, "cannot start the command: %s", strerror(-ret));
	}
	close(out[1]);
	close(err[1]);
	reads[0] = out[0];
	reads[1] = err[0];
	return 0;
}

/* A pipe's reading end never blocks us: it is watched, and a full read of it is one turn's share. */
static void stream_init(struct stream *stream, struct command *command, int fd)
{
	stream->command = command;
	stream->fd = fd;
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	if (uv_poll_init(command->exec->loop, &stream->poll, fd)) {
		close(fd);
		stream->fd = -1;
		return;
	}
	stream->poll.data = stream;
	command->n_handles++;
	uv_poll_start(&stream->poll, UV_READABLE, on_readable);
}

static void command_begin(
	struct command *command, const struct ws_execute_command *wanted, const int reads[2])
{
	struct ws_exec *exec = command->exec;
	uint64_t timeout_s = wanted->timeout_s < TIMEOUT_S_MAX ? wanted->timeout_s : TIMEOUT_S_MAX;

	stream_init(&command->out, command, reads[0]);
	stream_init(&command->err, command, reads[1]);
	uv_timer_init(exec->loop, &command->timer);
	command->timer.data = command;
	command->n_handles++;
	/* The loop's clock may be of before the last sleep. */
	uv_update_time(exec->loop);
	uv_timer_start(&command->timer, on_deadline, timeout_s * 1000 + exec->config.late_ms, 0);
	LIST_INSERT_HEAD(&exec->commands, command, entry);
	exec->stats.started++;
	exec->stats.running++;
}

static void time_out_at_once(
	struct ws_exec *exec, const struct ws_execute_command *command, uint64_t tag)
{
	struct ws_exec_result result = {.request_id = command->request_id, .is_timed_out = true};

	exec->stats.timed_out++;
	exec->finished(exec->ctx, tag, &result);
}

int ws_exec_start(struct ws_exec *exec, const struct ws_execute_command *wanted, uint64_t tag,
	struct base_error *ret_error)
{
	struct command *command;
	int reads[2] = {-1, -1}, ret;

	if (wanted->timeout_s == 0) {
		time_out_at_once(exec, wanted, tag);
		return 0;
	}
	if (exec->stats.running >= exec->config.max_running) {
		exec->stats.refused_full++;
		return base_error_set(ret_error, -EAGAIN,
			"%u commands run here already, which is the limit: try again later",
			exec->stats.running);
	}
	command = calloc(1, sizeof(*command));
	if (command)
		command->request_id = strdup(wanted->request_id);
	if (!command || !command->request_id) {
		free(command);
		return base_error_set(ret_error, -ENOMEM, "cannot start the command: no memory");
	}
	command->exec = exec;
	command->tag = tag;
	command->started_ns = uv_hrtime();
	snprintf(command->family_mark, sizeof(command->family_mark),
		FAMILY_MARK_NAME "=%016" PRIx64 ".%" PRIu64, exec->instance, exec->n_marks++);
	ret = start_process(wanted, command->family_mark, reads, &command->pid, ret_error);
	if (ret) {
		exec->stats.failed_to_start++;
		free(command->request_id);
		free(command);
		return ret;
	}
	command_begin(command, wanted, reads);
	return 0;
}

/* ---- the whole ---- */

struct ws_exec *ws_exec_new(uv_loop_t *loop, const struct ws_exec_config *config,
	void (*finished)(void *ctx, uint64_t tag, const struct ws_exec_result *result), void *ctx)
{
	struct ws_exec *exec = calloc(1, sizeof(*exec));
	int ret;

	if (exec)
		exec->buffer = malloc(READ_BYTES);
	if (!exec || !exec->buffer) {
		free(exec);
		return NULL;
	}
	exec->loop = loop;
	exec->config = *config;
	if (!exec->config.max_running)
		exec->config.max_running = MAX_RUNNING_DEFAULT;
	if (!exec->config.output_bytes_max)
		exec->config.output_bytes_max = WS_OUTPUT_BYTES_MAX;
	if (!exec->config.output_bytes_sum_max)
		exec->config.output_bytes_sum_max = OUTPUT_SUM_DEFAULT;
	if (!exec->config.late_ms)
		exec->config.late_ms = LATE_MS_DEFAULT;
	exec->finished = finished;
	exec->ctx = ctx;
	if (getrandom(&exec->instance, sizeof(exec->instance), 0) !=
		(ssize_t)sizeof(exec->instance))
		exec->instance = uv_hrtime();
	ret = uv_signal_init(loop, &exec->child);
	if (!ret)
		ret = uv_signal_start(&exec->child, on_child, SIGCHLD);
	if (ret) {
		free(exec->buffer);
		free(exec);
		errno = -ret;
		return NULL;
	}
	exec->child.data = exec;
	return exec;
}

void ws_exec_terminate(struct ws_exec *exec)
{
	struct command *command;

	LIST_FOREACH(command, &exec->commands, entry)
	{
		command_signal(command, SIGTERM);
	}
}

static void on_exec_closed(uv_handle_t *handle)
{
	struct ws_exec *exec = handle->data;

	free(exec->buffer);
	free(exec);
}

void ws_exec_free(struct ws_exec *exec)
{
	struct command *command;

	if (!exec)
		return;
	while ((command = LIST_FIRST(&exec->commands))) {
		if (command->pid) {
			command_signal(command, SIGKILL);
			(void)waitpid(command->pid, NULL, WNOHANG);
		}
		stream_close(&command->out);
		stream_close(&command->err);
		command_end(command);
	}
	uv_close((uv_handle_t *)&exec->child, on_exec_closed);
}

void ws_exec_stats(const struct ws_exec *exec, struct ws_exec_stats *ret_stats)
{
	*ret_stats = exec->stats;
}
