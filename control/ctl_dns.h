/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The resolver on the mesh addresses of this machine, for its own programs (`dns: on`; coord_dns.h says what is answered and
 * what is passed on). Nobody else is answered: a question must come from one of the very addresses that are listened
 * on, which only this machine has. UDP and TCP.
 *
 * Thread: the loop's. Bounded: questions that were passed on, connections, and the time of each.
 */
#ifndef CTL_DNS_H
#define CTL_DNS_H

#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_addr.h"
#include "base_err.h"
#include "coord_netmap.h"

#define CTL_DNS_PORT 53
#define CTL_DNS_ADDRS_MAX 4
/** Questions that wait for other resolvers; more are dropped, and asked again by who wants to know. */
#define CTL_DNS_WAITING_MAX 256
#define CTL_DNS_CONNECTIONS_MAX 32
#define CTL_DNS_CONNECTION_IDLE_S 10

struct ctl_dns;

/** @map: what is answered from, asked for at each question; NULL: everything fails. NULL with errno. */
struct ctl_dns *ctl_dns_new(
	uv_loop_t *loop, const struct coord_netmap *(*map)(void *ctx), void *ctx);
/** The loop must run once more. NULL is fine. */
void ctl_dns_free(struct ctl_dns *dns);

/**
 * Listen at exactly these addresses from now on; what waits is given up if they change. 0; or what went wrong with one of them,
 * and a line: the others are served.
 */
BASE_MUST_CHECK int ctl_dns_listen(struct ctl_dns *dns, const struct base_addr *addrs, size_t n,
	uint16_t port, struct base_error *ret_error);

struct ctl_dns_stats {
	uint64_t answered;  /* from the map */
	uint64_t forwarded; /* passed on, and an answer came */
	uint64_t failed;    /* passed on, and none came; or nobody to ask */
	uint64_t refused;   /* not from this machine */
	uint64_t dropped;   /* no question, or too many at once */
};
struct ctl_dns_stats ctl_dns_stats_of(const struct ctl_dns *dns);

#endif
