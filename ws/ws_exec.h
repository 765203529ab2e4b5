/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Commands of a daemon, side by side: `sh -c` in a session of its own, standard input from /dev/null, no
 * descriptor of ours, output gathered up to a bound.
 *
 * A command ends when it has exited *and* both of its pipes are closed, so `sleep 3 & echo hi` takes 3 s. Its time limit ends
 * it all: the process group and whoever left it (ws_family.h) get SIGTERM, half a second later SIGKILL, and the answer
 * does not wait for whoever else may hold the pipes. A background process that has let go of the pipes is left alone when its command
 * ends in time: that is how people start services.
 *
 * Everything is bounded: commands at once, bytes of each output, bytes of all outputs together. Thread: the loop's.
 */
#ifndef WS_EXEC_H
#define WS_EXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "ws_messages.h"

typedef struct uv_loop_s uv_loop_t;

struct ws_exec_result {
	const char *request_id;
	bool is_timed_out; /* then only the id counts */
	struct ws_command_output output;
};

struct ws_exec_config {
	unsigned max_running;        /* 0: 64 */
	size_t output_bytes_max;     /* of each stream; 0: WS_OUTPUT_BYTES_MAX */
	size_t output_bytes_sum_max; /* of all commands; beyond it outputs are cut short; 0: 64 MiB */
	unsigned late_ms; /* the limit is enforced this much later than asked, so that the
					controller's own timer is first; 0: 250 */
};

struct ws_exec_stats {
	uint64_t started, refused_full, failed_to_start, timed_out, truncated;
	unsigned running;
};

struct ws_exec;

/** @finished: called once per started command (borrowed until return), with the tag it was started with. */
struct ws_exec *ws_exec_new(uv_loop_t *loop, const struct ws_exec_config *config,
	void (*finished)(void *ctx, uint64_t tag, const struct ws_exec_result *result), void *ctx);
/** SIGKILL to whatever still runs; no more results. Its memory goes when the loop has closed its handles. NULL is fine. */
void ws_exec_free(struct ws_exec *exec);

/**
 * Start a command. finished() may come before this returns (a limit of 0 s times out at once).
 * Returns 0, or -EAGAIN (too many), or another -Exxx (bad cwd, bad environment, too long), with a line
 * for the one who asked.
 */
BASE_MUST_CHECK int ws_exec_start(struct ws_exec *exec, const struct ws_execute_command *command,
	uint64_t tag, struct base_error *ret_error);
/** Ask everything that runs to end: SIGTERM to each and its family. */
void ws_exec_terminate(struct ws_exec *exec);
void ws_exec_stats(const struct ws_exec *exec, struct ws_exec_stats *ret_stats);

#endif
