/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of the mesh (protocols/headscale-control.md, section 9; RFC 1035, 2308, 6891): one DNS query against the
 * network map gives an answer, or the resolvers that it is to be passed on to. Pure: sockets, time-outs and whoever may ask are
 * the caller's.
 *
 * Answered here: names of nodes (full, or the label alone) and ExtraRecords, A and AAAA; PTR of mesh addresses; and
 * whatever lies in the mesh's own domain or in a suffix that the map keeps local does not exist elsewhere either
 * (NXDOMAIN; another type of a name that exists: no data). Everything else is passed on: to the resolvers of the
 * longest suffix that fits, else to the map's, else to its fallbacks.
 *
 * A query is an outsider's bytes: names have no compression pointers, lengths are checked, nothing loops. A
 * response is never answered. Thread: the map's.
 */
#ifndef COORD_DNS_H
#define COORD_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "coord_netmap.h"

/** Room for any answer of ours; over UDP it is cut (TC) at 512 bytes, or what EDNS permits up to this. */
#define COORD_DNS_ANSWER_BYTES_MAX 1232
/** What answers may be kept for; and that a name does not exist. */
#define COORD_DNS_TTL_S 60
#define COORD_DNS_NEGATIVE_TTL_S 5

enum coord_dns_verdict {
	COORD_DNS_DROP,    /* not a query */
	COORD_DNS_ANSWER,  /* is in @out */
	COORD_DNS_FORWARD, /* pass the query on as it is */
};

struct coord_dns_result {
	enum coord_dns_verdict verdict;
	size_t len; /* ANSWER */
	const struct base_endpoint
		*resolvers; /* FORWARD: in the order to try; borrowed from the map */
	size_t n_resolvers; /* 0: the map knows none; coord_dns_fail(), or the caller's own */
};

/** @is_stream: it came over TCP (without the two bytes of length): 512 bytes are no limit then. */
struct coord_dns_result coord_dns_ask(const struct coord_netmap *map, const void *bytes, size_t len,
	bool is_stream, uint8_t out[COORD_DNS_ANSWER_BYTES_MAX]);
/** SERVFAIL: nobody answered what was passed on. Returns its length; 0: not a query. */
size_t coord_dns_fail(const void *bytes, size_t len, uint8_t out[COORD_DNS_ANSWER_BYTES_MAX]);

#endif
