/* SPDX-License-Identifier: BSD-3-Clause */
/* The service manager's socket and the watchdog's timer. See ctl_notify.h. */
#include "ctl_notify.h"

#include "base_log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

BASE_LOG_CATEGORY("notify");

struct ctl_notify {
	int fd;
	uv_timer_t *watchdog; /* on the heap: closed later than this object; NULL: none */
};

static void say(struct ctl_notify *notify, const char *text)
{
	if (send(notify->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		base_log_debug("service manager: %s", strerror(errno));
}

/* A path, or a name in the abstract space that begins with '@'. */
static int connect_to(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd;

	if ((name[0] != '/' && name[0] != '@') || len >= sizeof(addr.sun_path))
		return -EINVAL;
	memcpy(addr.sun_path, name, len);
	if (name[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

static void on_watchdog(uv_timer_t *timer)
{
	say(timer->data, "WATCHDOG=1");
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

/* The period is meant for this process only if WATCHDOG_PID names it, or is absent. */
static uint64_t watchdog_period_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!usec || (pid && atol(pid) != (long)getpid()))
		return 0;
	return strtoull(usec, NULL, 10) / 1000;
}

static void start_watchdog(struct ctl_notify *notify, uv_loop_t *loop)
{
	uint64_t period_ms = watchdog_period_ms();

	if (period_ms < 2)
		return;
	notify->watchdog = calloc(1, sizeof(*notify->watchdog));
	if (!notify->watchdog)
		return;
	uv_timer_init(loop, notify->watchdog);
	notify->watchdog->data = notify;
	uv_timer_start(notify->watchdog, on_watchdog, 0, period_ms / 2);
}

struct ctl_notify *ctl_notify_new(uv_loop_t *loop)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct ctl_notify *notify;
	int fd;

	if (!name) {
		errno = ENOENT;
		return NULL;
	}
	fd = connect_to(name);
	if (fd < 0) {
		base_log_warn("NOTIFY_SOCKET %s: %s", name, strerror(-fd));
		errno = -fd;
		return NULL;
	}
	notify = calloc(1, sizeof(*notify));
	if (!notify) {
		close(fd);
		return NULL;
	}
	notify->fd = fd;
	start_watchdog(notify, loop);
	return notify;
}

void ctl_notify_ready(struct ctl_notify *notify, const char *status)
{
	char text[256];

	if (!notify)
		return;
	snprintf(text, sizeof(text), "READY=1\nSTATUS=%s", status);
	say(notify, text);
}

void ctl_notify_free(struct ctl_notify *notify)
{
	if (!notify)
		return;
	say(notify, "STOPPING=1");
	if (notify->watchdog)
		uv_close((uv_handle_t *)notify->watchdog, on_closed);
	close(notify->fd);
	free(notify);
}
