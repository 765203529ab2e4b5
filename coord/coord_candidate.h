/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The addresses at which one peer may be reached: where each is known from, the pings on their way to it, how it
 * answered, and which is the best (protocols/nat-traversal.md, 5.2, 5.6). A value of coord_path.c; zeroed: none. Pure.
 */
#ifndef COORD_CANDIDATE_H
#define COORD_CANDIDATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "coord_disco.h"

/** Of one peer; of those that it was heard from, and the map does not list, the latest stay. */
#define COORD_CANDIDATES_MAX 32
#define COORD_CANDIDATES_OF_MAP_MAX 24
/** Pings to one address whose answers still count. */
#define COORD_CANDIDATE_PINGS 4
/** Operators that wait for one peer's pong. */
#define COORD_CANDIDATE_WAITERS_MAX 8

struct coord_candidate {
	struct base_endpoint endpoint;
	bool is_of_map;          /* the map lists it */
	uint32_t rtt_us;         /* 0: has not answered */
	uint64_t last_ping_ns;   /* to it; 0: never */
	uint64_t last_heard_ns;  /* a ping or a handshake came from it; 0: never */
	uint64_t last_answer_ns; /* 0: never */
	struct coord_candidate_ping {
		uint64_t sent_ns; /* 0: none, or answered */
		uint8_t tx[COORD_DISCO_TX_BYTES];
	} pings[COORD_CANDIDATE_PINGS];
	unsigned next_ping;
};

struct coord_candidates {
	struct coord_candidate *list;
	uint16_t n, capacity;
	uint16_t best; /* place in the list, from 1; 0: none */
	struct coord_candidate_waiter {
		struct coord_candidate_waiter *next;
		void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us);
		void *user;
		uint64_t until_ns;
	} * waiters;
};

/** Who waits is told that nobody answered. */
void coord_candidates_fini(struct coord_candidates *candidates);

/**
 * The map lists these; what cannot be asked (unspecified, multicast, loopback, link-local, port 0) is left out. Those it
 * does not list any more go, unless the peer was heard from there. Returns 0 or -ENOMEM.
 */
BASE_MUST_CHECK int coord_candidates_follow_map(
	struct coord_candidates *candidates, const struct base_endpoint *endpoints, size_t n);
/** The peer was heard from @from. NULL: not a place to ask, or no memory. */
struct coord_candidate *coord_candidates_learn(
	struct coord_candidates *candidates, const struct base_endpoint *from, uint64_t now_ns);
/** Drop what the map does not list and nobody was heard from for 45 s; end who waited in vain. */
void coord_candidates_expire(struct coord_candidates *candidates, uint64_t now_ns);
/** When that is due next; UINT64_MAX: never. */
uint64_t coord_candidates_next_ns(const struct coord_candidates *candidates);

/** A ping with this transaction is on its way. */
void coord_candidate_pinged(
	struct coord_candidate *candidate, const uint8_t tx[COORD_DISCO_TX_BYTES], uint64_t now_ns);
/** Who was asked with this transaction, its round trip noted, who waits told; NULL: nobody, or too long ago. */
struct coord_candidate *coord_candidates_answered(struct coord_candidates *candidates,
	const uint8_t tx[COORD_DISCO_TX_BYTES], uint64_t now_ns);
/** Is @a worth leaving @b for? Both have answered. */
bool coord_candidate_is_better(const struct coord_candidate *a, const struct coord_candidate *b);

/** NULL: none. */
struct coord_candidate *coord_candidates_best(const struct coord_candidates *candidates);
void coord_candidates_choose(
	struct coord_candidates *candidates, const struct coord_candidate *candidate);
void coord_candidates_forget_best(struct coord_candidates *candidates);

/** Call @done once: at the next pong, or when @until_ns has passed. 0, -EBUSY, -ENOMEM. */
BASE_MUST_CHECK int coord_candidates_wait(struct coord_candidates *candidates,
	void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us), void *user,
	uint64_t until_ns);

#endif
