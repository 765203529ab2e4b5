/* SPDX-License-Identifier: BSD-3-Clause */
/* The libuv loop, its signals and the dataplane's descriptor. See ctl_loop.h. */
#include "ctl_loop.h"

#include "base_log.h"

#include <signal.h>
#include <stdlib.h>

BASE_LOG_CATEGORY("loop");

struct ctl_loop {
	uv_loop_t uv;
	uv_signal_t terminate, interrupt;
	uv_poll_t poll;
	bool has_poll;
	void (*ready)(void *ctx);
	void *ctx;
	bool is_stopped;
	int exit_code;
};

static void on_signal(uv_signal_t *handle, int signum)
{
	base_log_info("%s: ending", signum == SIGTERM ? "SIGTERM" : "SIGINT");
	ctl_loop_stop(handle->data, 0);
}

static void watch_signal(struct ctl_loop *loop, uv_signal_t *handle, int signum)
{
	/* Neither call can fail on a loop that was just made and a signal that exists. */
	uv_signal_init(&loop->uv, handle);
	handle->data = loop;
	uv_signal_start(handle, on_signal, signum);
}

struct ctl_loop *ctl_loop_new(void)
{
	struct ctl_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return NULL;
	rc = uv_loop_init(&loop->uv);
	if (rc < 0) {
		free(loop);
		errno = -rc;
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN);
	watch_signal(loop, &loop->terminate, SIGTERM);
	watch_signal(loop, &loop->interrupt, SIGINT);
	return loop;
}

void ctl_loop_free(struct ctl_loop *loop)
{
	if (!loop)
		return;
	uv_close((uv_handle_t *)&loop->terminate, NULL);
	uv_close((uv_handle_t *)&loop->interrupt, NULL);
	ctl_loop_unwatch(loop);
	uv_run(&loop->uv, UV_RUN_NOWAIT);
	if (uv_loop_close(&loop->uv) == UV_EBUSY)
		base_log_debug("a handle was left open");
	free(loop);
}

uv_loop_t *ctl_loop_uv(struct ctl_loop *loop)
{
	return &loop->uv;
}

static void on_ready(uv_poll_t *handle, int status, int events)
{
	struct ctl_loop *loop = handle->data;

	loop->ready(loop->ctx);
}

int ctl_loop_watch(struct ctl_loop *loop, int fd, void (*ready)(void *ctx), void *ctx)
{
	int rc = uv_poll_init(&loop->uv, &loop->poll, fd);

	if (rc < 0)
		return rc; /* libuv's codes are negative errno */
	loop->has_poll = true;
	loop->poll.data = loop;
	loop->ready = ready;
	loop->ctx = ctx;
	return uv_poll_start(&loop->poll, UV_READABLE, on_ready);
}

void ctl_loop_unwatch(struct ctl_loop *loop)
{
	if (loop->has_poll)
		uv_close((uv_handle_t *)&loop->poll, NULL);
	loop->has_poll = false;
}

int ctl_loop_run(struct ctl_loop *loop)
{
	while (!loop->is_stopped)
		uv_run(&loop->uv, UV_RUN_DEFAULT);
	return loop->exit_code;
}

void ctl_loop_stop(struct ctl_loop *loop, int exit_code)
{
	if (!loop->is_stopped)
		loop->exit_code = exit_code;
	loop->is_stopped = true;
	uv_stop(&loop->uv);
}
