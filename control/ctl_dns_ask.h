/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One question passed on to other resolvers as it is (c-ares): each of them in turn with a time limit, over UDP, or over TCP if it
 * came so; from a fresh port and under a fresh number, and only an answer to this very question counts.
 * Thread: the loop's.
 */
#ifndef CTL_DNS_ASK_H
#define CTL_DNS_ASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_addr.h"

#define CTL_DNS_QUERY_BYTES_MAX 1024
#define CTL_DNS_RESOLVERS_MAX 4
/** For one resolver; each is asked twice. */
#define CTL_DNS_ASK_MS 1500

struct ctl_dns_ask;

/** Once: the answer, under the query's own number; NULL: none of them answered. The question is over then. */
typedef void (*ctl_dns_asked)(void *user, const uint8_t *answer, size_t len);

/** NULL: no memory, or no resolvers. @asked comes later, never from within. */
struct ctl_dns_ask *ctl_dns_ask_start(uv_loop_t *loop, const struct base_endpoint *resolvers,
	size_t n_resolvers, const uint8_t *query, size_t len, bool is_stream, ctl_dns_asked asked,
	void *user);
/** The resolvers of this system, as its files have them now. Returns how many. */
size_t ctl_dns_system(struct base_endpoint ret_resolvers[CTL_DNS_RESOLVERS_MAX]);

/** Give it up before @asked. NULL is fine. */
void ctl_dns_ask_cancel(struct ctl_dns_ask *ask);

#endif
