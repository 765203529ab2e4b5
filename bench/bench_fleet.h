/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Many initiators for the handshake benches, played by the algebra alone (wg_noise.h, wg_cookie.h): what a
 * peer's own program computes, without its timers and sockets. One thread. See bench_handshake.c.
 */
#ifndef BENCH_FLEET_H
#define BENCH_FLEET_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "wg_cookie.h"
#include "wg_noise.h"

struct bench_member {
	struct wg_noise_identity identity;
	struct wg_noise_remote gateway;
	struct wg_noise_handshake handshake;
	struct wg_cookie_sender cookies;
	struct wg_initiation initiation; /* ready to be sent */
	struct wg_response response;     /* if is_answered */
	struct base_endpoint endpoint;
	uint64_t unix_ns;  /* of the last initiation */
	uint64_t retry_ns; /* when it sends again */
	bool is_answered;
};

struct bench_fleet {
	struct bench_member *members;
	uint32_t n;
};

/** @n initiators of @gateway at addresses of their own, one IPv4 address each. False: no memory. */
bool bench_fleet_init(struct bench_fleet *fleet, uint32_t n, const struct cr_key *gateway);
void bench_fleet_fini(struct bench_fleet *fleet);

/** A fresh initiation of member @i, later than its last; its index on the wire is @i. */
void bench_fleet_initiate(struct bench_fleet *fleet, uint32_t i, uint64_t now_ns);
/** Whom does this answer? UINT32_MAX: nobody here. */
uint32_t bench_fleet_addressee(const struct bench_fleet *fleet, const void *message, size_t len);
/** A cookie reply: the initiation goes again, with it. False: not for the last one. */
bool bench_fleet_cookie(struct bench_fleet *fleet, uint32_t i, const struct wg_cookie_reply *reply,
	uint64_t now_ns);
/** Is member @i's stored response a right answer? Its keys then. */
bool bench_fleet_accept(
	const struct bench_fleet *fleet, uint32_t i, struct wg_noise_keys *ret_keys);

#endif
