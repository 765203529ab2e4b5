/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bounded rings to control (dp_event.h).
 */
#include "dp_event.h"

#include "dp_stats.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <rte_ring_elem.h>

/* Enough for every peer of a large gateway to confirm in one round of control's loop. */
#define EVENTS_MAX 4096
/* One that is lost is asked for again by the next packet that needs it. */
#define WISHES_MAX 1024

struct dp_events {
	struct rte_ring *ring;   /* what became of peers */
	struct rte_ring *wishes; /* neighbours to resolve */
	int fd;
	_Atomic bool is_signalled;
	dp_counter lost;
};

static_assert(sizeof(struct dp_event_record) % 4 == 0, "rte_ring_elem's rule");

static struct rte_ring *record_ring_new(const char *name, unsigned count)
{
	return rte_ring_create_elem(name, sizeof(struct dp_event_record), count, SOCKET_ID_ANY,
		RING_F_SP_ENQ | RING_F_SC_DEQ);
}

struct dp_events *dp_events_new(void)
{
	struct dp_events *events = calloc(1, sizeof(*events));

	if (!events)
		return NULL;
	events->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	events->ring = record_ring_new("dp_events", EVENTS_MAX);
	events->wishes = record_ring_new("dp_wishes", WISHES_MAX);
	if (events->fd < 0 || !events->ring || !events->wishes) {
		int error = events->fd < 0 ? errno : ENOMEM;

		dp_events_free(events);
		errno = error;
		return NULL;
	}
	return events;
}

void dp_events_free(struct dp_events *events)
{
	if (!events)
		return;
	if (events->fd >= 0)
		close(events->fd);
	rte_ring_free(events->ring);
	rte_ring_free(events->wishes);
	free(events);
}

int dp_events_fd(const struct dp_events *events)
{
	return events->fd;
}

void dp_events_push(struct dp_events *events, const struct dp_event_record *record)
{
	struct dp_event_record element = *record;
	struct rte_ring *ring =
		record->kind == DP_EVENT_KIND_NEIGHBOUR ? events->wishes : events->ring;

	if (rte_ring_enqueue_elem(ring, &element, sizeof(element)) != 0) {
		dp_counter_add(&events->lost, 1);
		return;
	}
	/* Sequentially consistent with the store in dp_events_rearm(): either this push sees the
	 * flag down and writes, or control's pops, which come after the store, see the record. */
	dp_events_again(events);
}

void dp_events_again(struct dp_events *events)
{
	uint64_t one = 1;
	ssize_t written;

	if (atomic_exchange(&events->is_signalled, true))
		return;
	written = write(events->fd, &one, sizeof(one));
	(void)written; /* EAGAIN: the counter is not zero, so it is readable */
}

void dp_events_rearm(struct dp_events *events)
{
	uint64_t count;
	ssize_t got = read(events->fd, &count, sizeof(count));

	(void)got; /* EAGAIN: nothing was signalled */
	atomic_exchange(&events->is_signalled, false);
}

bool dp_events_pop(struct dp_events *events, struct dp_event_record *ret_record)
{
	return rte_ring_dequeue_elem(events->ring, ret_record, sizeof(*ret_record)) == 0 ||
		rte_ring_dequeue_elem(events->wishes, ret_record, sizeof(*ret_record)) == 0;
}

uint64_t dp_events_lost(const struct dp_events *events)
{
	return dp_counter_get(&events->lost);
}
