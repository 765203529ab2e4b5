/* SPDX-License-Identifier: BSD-3-Clause */
/* Outstanding requests: a pool of slots, a list per owner. Loop's thread. See ctl_request.h. */
#include "ctl_request.h"

#include "base_bytes.h"
#include "cr_noise.h"

#include <stdlib.h>

struct ctl_request {
	char id[CTL_REQUEST_ID_LEN]; /* "" while the slot is free */
	struct ctl_request_owner *owner;
	uint64_t deadline_ns;
	ctl_request_done done;
	void *user;
	LIST_ENTRY(ctl_request) of_owner;
	/* In the list of the free, or of the outstanding. */
	LIST_ENTRY(ctl_request) of_pool;
};

struct ctl_requests {
	struct ctl_request *slots;
	unsigned max;
	LIST_HEAD(, ctl_request) free;
	LIST_HEAD(, ctl_request) outstanding;
	struct ctl_requests_stats stats;
};

void ctl_request_owner_init(struct ctl_request_owner *owner)
{
	LIST_INIT(&owner->requests);
	owner->n_requests = 0;
}

struct ctl_requests *ctl_requests_new(unsigned max)
{
	struct ctl_requests *requests = calloc(1, sizeof(*requests));

	if (!requests)
		return NULL;
	requests->slots = calloc(max, sizeof(*requests->slots));
	if (!requests->slots) {
		free(requests);
		errno = ENOMEM;
		return NULL;
	}
	requests->max = max;
	for (unsigned i = max; i-- > 0;)
		LIST_INSERT_HEAD(&requests->free, &requests->slots[i], of_pool);
	return requests;
}

void ctl_requests_free(struct ctl_requests *requests)
{
	if (!requests)
		return;
	free(requests->slots);
	free(requests);
}

/* A UUID of version 4 (RFC 9562, section 5.4), but for the first 32 bits, which are the slot. */
static void make_id(char ret_id[CTL_REQUEST_ID_LEN], unsigned slot)
{
	uint8_t random[12];
	char hex[2 * sizeof(random) + 1];

	cr_random(random, sizeof(random));
	random[2] = (uint8_t)((random[2] & 0x0f) | 0x40);
	random[4] = (uint8_t)((random[4] & 0x3f) | 0x80);
	base_hex_encode(hex, random, sizeof(random));
	snprintf(ret_id, CTL_REQUEST_ID_LEN, "%08x-%.4s-%.4s-%.4s-%.12s", slot, hex, hex + 4,
		hex + 8, hex + 12);
}

static struct ctl_request *find(const struct ctl_requests *requests, const char *id)
{
	uint8_t bytes[4];
	char slot_hex[9];
	uint32_t slot;

	if (strlen(id) != CTL_REQUEST_ID_LEN - 1)
		return NULL;
	memcpy(slot_hex, id, 8);
	slot_hex[8] = '\0';
	if (!base_hex_decode(bytes, sizeof(bytes), slot_hex))
		return NULL;
	slot = base_load_be32(bytes);
	if (slot >= requests->max || strcmp(requests->slots[slot].id, id) != 0)
		return NULL;
	return &requests->slots[slot];
}

int ctl_request_begin(struct ctl_requests *requests, struct ctl_request_owner *owner,
	uint64_t deadline_ns, ctl_request_done done, void *user, char ret_id[CTL_REQUEST_ID_LEN])
{
	struct ctl_request *request = LIST_FIRST(&requests->free);

	if (!request || owner->n_requests >= CTL_REQUESTS_PER_OWNER_MAX) {
		requests->stats.refused++;
		return request ? -EBUSY : -ENOSPC;
	}
	LIST_REMOVE(request, of_pool);
	LIST_INSERT_HEAD(&requests->outstanding, request, of_pool);
	LIST_INSERT_HEAD(&owner->requests, request, of_owner);
	owner->n_requests++;
	make_id(request->id, (unsigned)(request - requests->slots));
	request->owner = owner;
	request->deadline_ns = deadline_ns;
	request->done = done;
	request->user = user;
	requests->stats.begun++;
	requests->stats.outstanding++;
	memcpy(ret_id, request->id, CTL_REQUEST_ID_LEN);
	return 0;
}

/* Out of both lists, and its id is nobody's. */
static void release(struct ctl_requests *requests, struct ctl_request *request)
{
	LIST_REMOVE(request, of_owner);
	request->owner->n_requests--;
	LIST_REMOVE(request, of_pool);
	LIST_INSERT_HEAD(&requests->free, request, of_pool);
	request->id[0] = '\0';
	requests->stats.outstanding--;
}

/* The one place from which done() is called: after the release, so that it can happen only once. */
static void complete(struct ctl_requests *requests, struct ctl_request *request,
	enum ctl_outcome outcome, const void *answer)
{
	ctl_request_done done = request->done;
	void *user = request->user;

	release(requests, request);
	done(user, outcome, answer);
}

void ctl_request_cancel(struct ctl_requests *requests, const char *id)
{
	struct ctl_request *request = find(requests, id);

	if (request)
		release(requests, request);
}

bool ctl_request_answer(struct ctl_requests *requests, const struct ctl_request_owner *owner,
	const char *id, const void *answer)
{
	struct ctl_request *request = find(requests, id);

	if (!request || request->owner != owner) {
		requests->stats.late++;
		return false;
	}
	requests->stats.answered++;
	complete(requests, request, CTL_OUTCOME_ANSWERED, answer);
	return true;
}

void ctl_requests_expire(struct ctl_requests *requests, uint64_t now_ns)
{
	struct ctl_request *request = LIST_FIRST(&requests->outstanding);

	while (request) {
		struct ctl_request *next = LIST_NEXT(request, of_pool);

		if (request->deadline_ns <= now_ns) {
			requests->stats.timed_out++;
			complete(requests, request, CTL_OUTCOME_TIMEOUT, NULL);
			/* done() may have ended others, `next` among them: begin again. Each round
			 * completes one, so this ends. */
			next = LIST_FIRST(&requests->outstanding);
		}
		request = next;
	}
}

void ctl_request_owner_end(struct ctl_requests *requests, struct ctl_request_owner *owner)
{
	struct ctl_request *request;

	while ((request = LIST_FIRST(&owner->requests))) {
		requests->stats.lost++;
		complete(requests, request, CTL_OUTCOME_LOST, NULL);
	}
}

const struct ctl_requests_stats *ctl_requests_stats(const struct ctl_requests *requests)
{
	return &requests->stats;
}
