/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taps inside the dataplane (dp_api.h tells what they are for). Each thread that moves packets has a tap point
 * in its counters; control publishes one set of taps at all points.
 *
 *	off       the point's set is NULL: a relaxed load and a predicted branch per burst
 *	looking   the thread says it is inside, loads the set again, writes, says it is out
 *	ending    control takes the set away, then waits until no thread is inside, then frees
 *
 * Both sides of "inside" and "set" are sequentially consistent: either the thread sees that the set is gone, or
 * control sees that the thread is inside. So a tap needs no grace period, and works for threads
 * that are no readers of dp_rcu.h.
 *
 * dp_tap.c is control's side and the rings; dp_trace.c turns packets into records.
 */
#ifndef DP_TAP_H
#define DP_TAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dp_api.h"

#include <rte_branch_prediction.h>

struct dp_counters;
struct dp_worker;
struct rte_mbuf;

/** What the open taps are; a new one for each change. */
struct dp_tap_set {
	unsigned n;
	struct dp_tap *taps[DP_TAPS_MAX];
};

/** What a sealed frame carries, remembered until it is sent; dp_trace.c. */
struct dp_trace_sealed;

struct dp_tap_point {
	_Atomic(struct dp_tap_set *) set; /* writer: control */
	_Atomic bool is_inside;           /* writer: the thread */
	uint16_t ring;                    /* fixed: the thread's number, workers first */
	struct dp_worker *worker;         /* fixed; NULL: another thread */
	struct dp_trace_sealed *sealed;   /* workers; control makes it before the first set */
};

/** Does anybody look? */
static inline bool dp_tap_is_on(const struct dp_tap_point *point)
{
	/* Relaxed: a tap that was just opened may miss a burst; dp_tap_enter() decides. */
	return unlikely(atomic_load_explicit(&point->set, memory_order_relaxed) != NULL);
}

/** Control's: all taps of a dataplane. */
struct dp_taps {
	struct dp_tap_set *set;
	unsigned n_points;
	struct dp_tap_point **points;
};

/** Make the threads' points known, before the threads run. Returns 0 or -ENOMEM. */
BASE_MUST_CHECK int dp_taps_init(struct dp *dp);
/** The threads have ended. Half-initialised is fine. */
void dp_taps_fini(struct dp *dp);
/** Control: the peer is being removed, its number may be another's soon. */
void dp_taps_peer_gone(struct dp *dp, uint32_t number);

/* For dp_trace.c, on the point's thread. */

/** NULL: nobody looks any more. Else dp_tap_leave() must follow. */
struct dp_tap_set *dp_tap_enter(struct dp_tap_point *point);
void dp_tap_leave(struct dp_tap_point *point);

/** What one packet looks like to all taps. */
struct dp_look {
	unsigned kinds;       /* bit per enum dp_tap_kind that takes it */
	uint32_t peer_number; /* WG_PEER_NONE: not known */
	struct dp_tap_record record;
	const uint8_t *data; /* for captures */
	uint32_t data_len;
};
/** Write to every tap that takes it; not seen by readers before dp_taps_publish(). */
void dp_taps_write(struct dp_tap_set *set, uint16_t ring, const struct dp_look *look);
/** Forget what was written and is not published. */
void dp_taps_take_back(struct dp_tap_set *set, uint16_t number);
void dp_taps_publish(struct dp_tap_set *set, uint16_t number);

/** For a worker's point; freed with free(). NULL with errno. */
struct dp_trace_sealed *dp_trace_sealed_new(void);

/* Hooks of the stages, to be called where dp_tap_is_on(). */

/** The packet's walk ends here, or at this thread, with a drop reason or an enum dp_verdict. */
void dp_trace_end(
	struct dp_counters *counters, unsigned verdict, enum dp_place place, struct rte_mbuf *m);
/** Frames as a port gave them. */
void dp_trace_received(struct dp_worker *worker, uint16_t port, struct rte_mbuf **pkts, unsigned n);
/** Before the seal batch is sealed: its packets are plain still. */
void dp_trace_seal(struct dp_worker *worker);
/** Instead of the burst onto the host's ring: returns how many it took. */
unsigned dp_trace_deliver(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n);
/** Instead of the burst to a port's queue: returns how many it took. */
unsigned dp_trace_send(struct dp_worker *worker, uint16_t port, struct rte_mbuf **pkts, unsigned n);

#endif
