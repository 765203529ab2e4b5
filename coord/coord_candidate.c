/* SPDX-License-Identifier: BSD-3-Clause */
/* One peer's candidates. Pure. See coord_candidate.h. */
#include "coord_candidate.h"

#include "base_clock.h"

#include <stdlib.h>

/* nat-traversal.md 5.2, 5.3. */
#define LEARNED_NS (45 * BASE_NS_PER_S)
#define PING_TIMEOUT_NS (5 * BASE_NS_PER_S)

/* --- the list --------------------------------------------------------------------------------- */

/* May a stranger make us send there? Multicast and our own host: no. Link-local says nothing without its link. */
static bool is_askable(const struct base_endpoint *endpoint)
{
	const uint8_t *a = endpoint->addr.bytes;

	if (endpoint->port == 0)
		return false;
	if (endpoint->addr.family == BASE_FAMILY_V4)
		return a[0] != 0 && a[0] != 127 && a[0] < 224 && !(a[0] == 169 && a[1] == 254);
	if (endpoint->addr.family == BASE_FAMILY_V6) {
		static const uint8_t zeros[15];

		if (memcmp(a, zeros, 15) == 0) /* :: and ::1 */
			return false;
		return a[0] != 0xff && !(a[0] == 0xfe && (a[1] & 0xc0) == 0x80);
	}
	return false;
}

static struct coord_candidate *find(
	const struct coord_candidates *candidates, const struct base_endpoint *endpoint)
{
	for (unsigned i = 0; i < candidates->n; i++)
		if (base_endpoint_equal(&candidates->list[i].endpoint, endpoint))
			return &candidates->list[i];
	return NULL;
}

static void drop(struct coord_candidates *candidates, unsigned i)
{
	if (candidates->best == i + 1)
		candidates->best = 0;
	else if (candidates->best == candidates->n)
		candidates->best = (uint16_t)(i + 1);
	candidates->list[i] = candidates->list[--candidates->n];
}

/* The one to do without: not the map's, not the best, and heard from longest ago. -1: none. */
static int least_wanted(const struct coord_candidates *candidates)
{
	int least = -1;

	for (unsigned i = 0; i < candidates->n; i++)
		if (!candidates->list[i].is_of_map && candidates->best != i + 1 &&
			(least < 0 ||
				candidates->list[i].last_heard_ns <
					candidates->list[least].last_heard_ns))
			least = (int)i;
	return least;
}

/* A place for one more; NULL without memory. The map's limit leaves places for others, so that one of them can go. */
static struct coord_candidate *append(
	struct coord_candidates *candidates, const struct base_endpoint *endpoint)
{
	struct coord_candidate *list;
	unsigned capacity;
	int least;

	if (candidates->n == COORD_CANDIDATES_MAX) {
		least = least_wanted(candidates);
		if (least < 0)
			return NULL;
		drop(candidates, (unsigned)least);
	}
	if (candidates->n == candidates->capacity) {
		capacity = candidates->capacity ? 2u * candidates->capacity : 2;
		list = realloc(candidates->list, capacity * sizeof(*list));
		if (!list)
			return NULL;
		candidates->list = list;
		candidates->capacity = (uint16_t)capacity;
	}
	list = &candidates->list[candidates->n++];
	*list = (struct coord_candidate){.endpoint = *endpoint};
	return list;
}

/* Mark what the map still lists, drop what it does not. */
static void keep_listed(
	struct coord_candidates *candidates, const struct base_endpoint *endpoints, size_t n)
{
	for (unsigned i = 0; i < candidates->n; i++)
		candidates->list[i].is_of_map = false;
	for (size_t i = 0; i < n; i++) {
		struct coord_candidate *candidate = find(candidates, &endpoints[i]);

		if (candidate)
			candidate->is_of_map = true;
	}
	for (unsigned i = candidates->n; i-- > 0;)
		if (!candidates->list[i].is_of_map && candidates->list[i].last_heard_ns == 0)
			drop(candidates, i);
}

int coord_candidates_follow_map(
	struct coord_candidates *candidates, const struct base_endpoint *endpoints, size_t n)
{
	if (n > COORD_CANDIDATES_OF_MAP_MAX)
		n = COORD_CANDIDATES_OF_MAP_MAX;
	keep_listed(candidates, endpoints, n);
	for (size_t i = 0; i < n; i++) {
		struct coord_candidate *candidate;

		if (!is_askable(&endpoints[i]) || find(candidates, &endpoints[i]))
			continue;
		candidate = append(candidates, &endpoints[i]);
		if (!candidate)
			return -ENOMEM;
		candidate->is_of_map = true;
	}
	return 0;
}

struct coord_candidate *coord_candidates_learn(
	struct coord_candidates *candidates, const struct base_endpoint *from, uint64_t now_ns)
{
	struct coord_candidate *candidate = find(candidates, from);

	if (!candidate && is_askable(from))
		candidate = append(candidates, from);
	if (candidate)
		candidate->last_heard_ns = now_ns;
	return candidate;
}

static bool is_over(const struct coord_candidate *candidate, uint64_t now_ns)
{
	uint64_t last_ns = candidate->last_heard_ns > candidate->last_answer_ns
		? candidate->last_heard_ns
		: candidate->last_answer_ns;

	return !candidate->is_of_map && now_ns - last_ns >= LEARNED_NS;
}

void coord_candidates_expire(struct coord_candidates *candidates, uint64_t now_ns)
{
	struct coord_candidate_waiter **at = &candidates->waiters, *waiter;

	for (unsigned i = candidates->n; i-- > 0;)
		if (candidates->best != i + 1 && is_over(&candidates->list[i], now_ns))
			drop(candidates, i);
	while ((waiter = *at)) {
		if (now_ns < waiter->until_ns) {
			at = &waiter->next;
			continue;
		}
		*at = waiter->next;
		waiter->done(waiter->user, NULL, 0);
		free(waiter);
	}
}

uint64_t coord_candidates_next_ns(const struct coord_candidates *candidates)
{
	uint64_t next_ns = BASE_NEVER_NS;

	for (unsigned i = 0; i < candidates->n; i++) {
		const struct coord_candidate *candidate = &candidates->list[i];
		uint64_t last_ns = candidate->last_heard_ns > candidate->last_answer_ns
			? candidate->last_heard_ns
			: candidate->last_answer_ns;

		if (!candidate->is_of_map && candidates->best != i + 1 &&
			last_ns + LEARNED_NS < next_ns)
			next_ns = last_ns + LEARNED_NS;
	}
	for (const struct coord_candidate_waiter *waiter = candidates->waiters; waiter;
		waiter = waiter->next)
		if (waiter->until_ns < next_ns)
			next_ns = waiter->until_ns;
	return next_ns;
}

/* --- pings and pongs -------------------------------------------------------------------------- */

void coord_candidate_pinged(
	struct coord_candidate *candidate, const uint8_t tx[COORD_DISCO_TX_BYTES], uint64_t now_ns)
{
	struct coord_candidate_ping *ping =
		&candidate->pings[candidate->next_ping++ % COORD_CANDIDATE_PINGS];

	memcpy(ping->tx, tx, sizeof(ping->tx));
	ping->sent_ns = now_ns;
	candidate->last_ping_ns = now_ns;
}

static void tell_waiters(
	struct coord_candidates *candidates, const struct base_endpoint *from, uint32_t rtt_us)
{
	struct coord_candidate_waiter *waiter;

	while ((waiter = candidates->waiters)) {
		candidates->waiters = waiter->next;
		waiter->done(waiter->user, from, rtt_us);
		free(waiter);
	}
}

/* Never 0, which is "has not answered". */
static uint32_t round_trip_us(uint64_t sent_ns, uint64_t now_ns)
{
	uint64_t us = (now_ns - sent_ns) / BASE_NS_PER_US;

	return us > 0 ? (uint32_t)us : 1;
}

struct coord_candidate *coord_candidates_answered(struct coord_candidates *candidates,
	const uint8_t tx[COORD_DISCO_TX_BYTES], uint64_t now_ns)
{
	for (unsigned i = 0; i < candidates->n; i++) {
		struct coord_candidate *candidate = &candidates->list[i];

		for (unsigned j = 0; j < COORD_CANDIDATE_PINGS; j++) {
			struct coord_candidate_ping *ping = &candidate->pings[j];

			if (ping->sent_ns == 0 || memcmp(ping->tx, tx, sizeof(ping->tx)) != 0)
				continue;
			if (now_ns - ping->sent_ns > PING_TIMEOUT_NS)
				return NULL;
			candidate->rtt_us = round_trip_us(ping->sent_ns, now_ns);
			candidate->last_answer_ns = now_ns;
			ping->sent_ns = 0;
			tell_waiters(candidates, &candidate->endpoint, candidate->rtt_us);
			return candidate;
		}
	}
	return NULL;
}

/* 20 for a private network, which is short and costs nothing; 10 for IPv6 (5.6). */
static int points_of_kind(const struct base_addr *addr)
{
	const uint8_t *a = addr->bytes;

	if (addr->family == BASE_FAMILY_V6)
		return 10 + ((a[0] & 0xfe) == 0xfc ? 20 : 0);
	return a[0] == 10 || (a[0] == 172 && (a[1] & 0xf0) == 16) || (a[0] == 192 && a[1] == 168)
		? 20
		: 0;
}

/* The faster of the two gets its lead in hundredths. */
static int points_of_speed(uint32_t rtt_us, uint32_t other_us)
{
	return rtt_us < other_us ? 100 - (int)(UINT64_C(100) * rtt_us / other_us) : 0;
}

bool coord_candidate_is_better(const struct coord_candidate *a, const struct coord_candidate *b)
{
	int for_a = points_of_speed(a->rtt_us, b->rtt_us) + points_of_kind(&a->endpoint.addr);
	int for_b = points_of_speed(b->rtt_us, a->rtt_us) + points_of_kind(&b->endpoint.addr);

	/* one point is no reason to move */
	return for_a > for_b && !(for_a <= 1 && for_b == 0);
}

/* --- the best --------------------------------------------------------------------------------- */

struct coord_candidate *coord_candidates_best(const struct coord_candidates *candidates)
{
	return candidates->best ? &candidates->list[candidates->best - 1] : NULL;
}

void coord_candidates_choose(
	struct coord_candidates *candidates, const struct coord_candidate *candidate)
{
	candidates->best = (uint16_t)(candidate - candidates->list + 1);
}

void coord_candidates_forget_best(struct coord_candidates *candidates)
{
	candidates->best = 0;
}

/* --- operators -------------------------------------------------------------------------------- */

int coord_candidates_wait(struct coord_candidates *candidates,
	void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us), void *user,
	uint64_t until_ns)
{
	struct coord_candidate_waiter *waiter;
	unsigned n = 0;

	for (waiter = candidates->waiters; waiter; waiter = waiter->next)
		n++;
	if (n == COORD_CANDIDATE_WAITERS_MAX)
		return -EBUSY;
	waiter = malloc(sizeof(*waiter));
	if (!waiter)
		return -ENOMEM;
	*waiter = (struct coord_candidate_waiter){candidates->waiters, done, user, until_ns};
	candidates->waiters = waiter;
	return 0;
}

void coord_candidates_fini(struct coord_candidates *candidates)
{
	tell_waiters(candidates, NULL, 0);
	free(candidates->list);
	*candidates = (struct coord_candidates){0};
}
