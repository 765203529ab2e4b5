/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_loop.h. Thread: the one that runs it. */
#include "ws_loop.h"

#include "base_err.h"
#include "base_log.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>
#include <libwebsockets.h>
#include <uv.h>

BASE_LOG_CATEGORY("ws");

/* Sockets a daemon has: its connection, an attempt beside it, libuv's descriptor, libwebsockets' own pipe. */
#define FDS_MAX 16
#define HEADER_BYTES_MAX 2048
#define CONNECT_TIMEOUT_S 10

struct ws_loop {
	uv_loop_t uv;
	struct lws_context *lws;
	/* Wakes the poll for libuv's next timer. */
	lws_sorted_usec_list_t uv_timer;
	bool is_stopped;
};

static void on_uv_timer(lws_sorted_usec_list_t *timer)
{
	/* Waking up is all: ws_loop_run() turns libuv's loop next. */
}

static void log_line(int level, const char *line)
{
	char text[256];

	base_log_debug("lws: %s", base_log_text(text, sizeof(text), line, strcspn(line, "\n")));
}

/*
 * A duplicate, because libwebsockets closes what it adopted; both names poll the same set. Nothing is read from it: that
 * it became readable ends the poll.
 */
static int adopt_uv(struct ws_loop *loop)
{
	lws_sock_file_fd_type fd = {.filefd = fcntl(uv_backend_fd(&loop->uv), F_DUPFD_CLOEXEC, 3)};
	struct lws_vhost *vhost = lws_get_vhost_by_name(loop->lws, "default");

	if (fd.filefd < 0)
		return -errno;
	return lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, fd, NULL, NULL) ? 0
											  : -ENOMEM;
}

struct ws_loop *ws_loop_new(const struct lws_protocols *protocols)
{
	struct ws_loop *loop = calloc(1, sizeof(*loop));
	/*
	 * Small tables, no OpenSSL (LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT is not set), and no proxy from the
	 * environment: http_proxy is for the web, not for the controller's address.
	 */
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.fd_limit_per_thread = FDS_MAX,
		.max_http_header_data = HEADER_BYTES_MAX,
		.timeout_secs = CONNECT_TIMEOUT_S,
		.connect_timeout_secs = CONNECT_TIMEOUT_S,
		.http_proxy_address = "",
	};
	int ret;

	if (!loop)
		return NULL;
	ret = uv_loop_init(&loop->uv);
	if (ret) {
		free(loop);
		errno = -ret;
		return NULL;
	}
	lws_set_log_level(LLL_ERR | LLL_WARN, log_line);
	loop->lws = lws_create_context(&info);
	ret = loop->lws ? adopt_uv(loop) : -ENOMEM;
	if (ret) {
		ws_loop_free(loop);
		errno = -ret;
		return NULL;
	}
	return loop;
}

void ws_loop_free(struct ws_loop *loop)
{
	if (!loop)
		return;
	if (loop->lws) {
		lws_sul_cancel(&loop->uv_timer);
		lws_context_destroy(loop->lws);
	}
	/* What is closing needs a turn or two; what nobody closed must not hang the exit. */
	for (int i = 0; i < 16 && uv_loop_close(&loop->uv) == UV_EBUSY; i++)
		uv_run(&loop->uv, UV_RUN_NOWAIT);
	free(loop);
}

void ws_loop_run(struct ws_loop *loop)
{
	int timeout_ms;

	while (!loop->is_stopped) {
		/* Timers, pipes, signals that are due; and new watchers join the backend's set. */
		uv_run(&loop->uv, UV_RUN_NOWAIT);
		if (loop->is_stopped)
			break;
		timeout_ms = uv_backend_timeout(&loop->uv);
		if (timeout_ms < 0)
			lws_sul_cancel(&loop->uv_timer);
		else
			lws_sul_schedule(loop->lws, 0, &loop->uv_timer, on_uv_timer,
				(lws_usec_t)timeout_ms * LWS_US_PER_MS + 1);
		if (lws_service(loop->lws, 0) < 0)
			break;
	}
}

void ws_loop_stop(struct ws_loop *loop)
{
	loop->is_stopped = true;
	/* Ends a poll that is about to begin. */
	lws_cancel_service(loop->lws);
}

uv_loop_t *ws_loop_uv(struct ws_loop *loop)
{
	return &loop->uv;
}

struct lws_context *ws_loop_lws(struct ws_loop *loop)
{
	return loop->lws;
}
