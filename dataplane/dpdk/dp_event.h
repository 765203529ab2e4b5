/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Events to control: two bounded rings with one eventfd. Producer: the handshake thread alone, which also
 * passes on what workers noted. Consumer: control. An event that does not fit is counted, never waited for;
 * wake-ups are merged, so a burst of events costs one system call.
 *
 * What became of peers has a ring of its own and goes first. Neighbours to resolve are many when strangers with
 * invented addresses of a network of ours ask for handshakes: they must neither delay nor displace it.
 */
#ifndef DP_EVENT_H
#define DP_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "dp_api.h"

/** More than dp_api.h shows: what the dataplane asks of its own control side. */
enum dp_event_kind {
	DP_EVENT_KIND_HANDSHAKE,
	DP_EVENT_KIND_MOVED,
	DP_EVENT_KIND_PATH_WANTED,
	DP_EVENT_KIND_HEARD,
	DP_EVENT_KIND_NEIGHBOUR, /* endpoint.addr is a gateway to resolve on @port */
};

struct dp_event_record {
	enum dp_event_kind kind;
	uint16_t port;
	struct cr_key public_key;
	struct base_endpoint endpoint;
};

struct dp_events;

/** NULL with errno. */
struct dp_events *dp_events_new(void);
void dp_events_free(struct dp_events *events);
int dp_events_fd(const struct dp_events *events);
/** Handshake thread. */
void dp_events_push(struct dp_events *events, const struct dp_event_record *record);
/** Control: before the first dp_events_pop() of a round, so that a later push writes again. */
void dp_events_rearm(struct dp_events *events);
/** Control: the next one, of peers before neighbours; false when there is none. */
bool dp_events_pop(struct dp_events *events, struct dp_event_record *ret_record);
/** Control: some are left for the next round; stay readable. */
void dp_events_again(struct dp_events *events);
uint64_t dp_events_lost(const struct dp_events *events);

#endif
