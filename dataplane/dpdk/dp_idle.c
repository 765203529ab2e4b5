/* SPDX-License-Identifier: BSD-3-Clause */
/* Sleeping and waking. One sleeper, any number of wakers. See dp_idle.h for why no wake-up is lost. */
#include "dp_idle.h"

#include "base_clock.h"

#include <dirent.h>
#include <rte_atomic.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS_MAX 8

struct dp_idle {
	int epoll_fd, event_fd;
	/*
	 * Written by the sleeper; a waker may take it back. On a line of its own: wakers read it for
	 * every burst.
	 */
	_Alignas(64) atomic_bool is_asleep;
	char line_end[63];
};

struct dp_idle *dp_idle_new(void)
{
	struct dp_idle *idle = aligned_alloc(_Alignof(struct dp_idle), sizeof(*idle));
	int rc;

	if (!idle)
		return NULL;
	memset(idle, 0, sizeof(*idle));
	idle->event_fd = -1;
	idle->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (idle->epoll_fd >= 0)
		idle->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = idle->event_fd >= 0 ? dp_idle_add_fd(idle, idle->event_fd) : -errno;
	if (rc < 0) {
		dp_idle_free(idle);
		errno = -rc;
		return NULL;
	}
	return idle;
}

void dp_idle_free(struct dp_idle *idle)
{
	if (!idle)
		return;
	if (idle->event_fd >= 0)
		close(idle->event_fd);
	if (idle->epoll_fd >= 0)
		close(idle->epoll_fd);
	free(idle);
}

int dp_idle_add_fd(struct dp_idle *idle, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(idle->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void dp_idle_remove_fd(struct dp_idle *idle, int fd)
{
	(void)epoll_ctl(idle->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void dp_idle_prepare(struct dp_idle *idle)
{
	atomic_store_explicit(&idle->is_asleep, true, memory_order_relaxed);
	/*
	 * Pairs with the fence in dp_idle_wake(): of "set is_asleep, look at the ring" here and "put on
	 * the ring, look at is_asleep" there, at least one sees what the other wrote. The rings are
	 * not ours, so it takes fences and not just ordered accesses of this flag.
	 */
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void dp_idle_cancel(struct dp_idle *idle)
{
	/* A waker that saw the flag may have written: the next wait returns at once then, which is harmless. */
	atomic_store_explicit(&idle->is_asleep, false, memory_order_relaxed);
}

bool dp_idle_wait(struct dp_idle *idle, uint64_t timeout_ns)
{
	struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / BASE_NS_PER_S),
		.tv_nsec = (long)(timeout_ns % BASE_NS_PER_S)};
	struct epoll_event events[EVENTS_MAX];
	uint64_t count;
	int n;

	n = epoll_pwait2(idle->epoll_fd, events, EVENTS_MAX,
		timeout_ns == BASE_NEVER_NS ? NULL : &timeout, NULL);
	dp_idle_cancel(idle);
	for (int i = 0; i < n; i++)
		if (events[i].data.fd == idle->event_fd && read(idle->event_fd, &count, 8) < 0)
			break; /* read by nobody else: cannot be empty, and would not matter */
	return n > 0;
}

void dp_idle_wake(struct dp_idle *idle)
{
	uint64_t one = 1;

	/* Pairs with the one in dp_idle_prepare(). */
	rte_atomic_thread_fence(__ATOMIC_SEQ_CST);
	/*
	 * The first of many wakers takes the flag and writes; the others see it taken. What they put on
	 * the ring before is seen by the sleeper, which looks after it has woken.
	 */
	if (atomic_load_explicit(&idle->is_asleep, memory_order_relaxed) &&
		atomic_exchange_explicit(&idle->is_asleep, false, memory_order_acq_rel) &&
		write(idle->event_fd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it wakes without us */
}

static bool is_socket_of(int fd, int family)
{
	int domain;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == family;
}

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

unsigned dp_idle_find_sockets(int family, int *ret_fds, unsigned max)
{
	const struct dirent *entry;
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		return 0;
	while (n < max && (entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && is_socket_of(fd, family))
			ret_fds[n++] = fd;
	}
	closedir(dir);
	qsort(ret_fds, n, sizeof(*ret_fds), compare_fds);
	return n;
}
