/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Outstanding requests to daemons. Each is completed exactly once: by its answer, by its deadline,
 * or because its owner (one registration of one daemon) went away; then nothing of it is left.
 * An answer that comes later, twice, or from another connection finds nothing and is counted.
 *
 * Requests live in a pool of fixed size. The id on the wire is a UUID whose first part is the slot
 * and whose rest is random, so a look-up is an index and a comparison, and an id is never reused.
 *
 * Time is an argument. Thread: the loop's.
 */
#ifndef CTL_REQUEST_H
#define CTL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base_err.h"

/** Characters of an id, with the NUL. */
#define CTL_REQUEST_ID_LEN 37
/** Limits: all requests, and those of one daemon. */
#define CTL_REQUESTS_MAX 16384
#define CTL_REQUESTS_PER_OWNER_MAX 256

struct ctl_request;

/** What requests belong to and end with; zero it with ctl_request_owner_init(). */
struct ctl_request_owner {
	LIST_HEAD(, ctl_request) requests;
	unsigned n_requests;
};
void ctl_request_owner_init(struct ctl_request_owner *owner);

enum ctl_outcome {
	CTL_OUTCOME_ANSWERED,
	CTL_OUTCOME_TIMEOUT, /* the deadline passed without an answer */
	CTL_OUTCOME_LOST,    /* the daemon's registration ended */
};

/**
 * The one completion. The request is gone already: its id may not be used any more, new requests
 * may be begun. @answer: the caller's of ctl_request_answer(), NULL for other outcomes.
 */
typedef void (*ctl_request_done)(void *user, enum ctl_outcome outcome, const void *answer);

struct ctl_requests;

/** A pool of @max. NULL with errno. */
struct ctl_requests *ctl_requests_new(unsigned max);
/** There must be no request left: end the owners first. NULL is fine. */
void ctl_requests_free(struct ctl_requests *requests);

/**
 * Begin: @ret_id goes on the wire. Returns 0, -EBUSY (the owner has its share outstanding) or
 * -ENOSPC (the pool is used up).
 */
BASE_MUST_CHECK int ctl_request_begin(struct ctl_requests *requests,
	struct ctl_request_owner *owner, uint64_t deadline_ns, ctl_request_done done, void *user,
	char ret_id[CTL_REQUEST_ID_LEN]);

/** Take one back that could not be sent: no completion. */
void ctl_request_cancel(struct ctl_requests *requests, const char *id);

/**
 * An answer came on a connection of @owner (NULL: of nobody registered). Returns true if it
 * completed a request; otherwise it was counted as late.
 */
bool ctl_request_answer(struct ctl_requests *requests, const struct ctl_request_owner *owner,
	const char *id, const void *answer);

/** Complete what is past its deadline. */
void ctl_requests_expire(struct ctl_requests *requests, uint64_t now_ns);

/** The owner goes away: complete all of its requests as lost. */
void ctl_request_owner_end(struct ctl_requests *requests, struct ctl_request_owner *owner);

struct ctl_requests_stats {
	uint32_t outstanding;
	uint64_t begun, answered, timed_out, lost;
	uint64_t late; /* answers to nothing: late, repeated, or another's */
	uint64_t refused;
};
const struct ctl_requests_stats *ctl_requests_stats(const struct ctl_requests *requests);

#endif
