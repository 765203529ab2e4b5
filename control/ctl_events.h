/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Changes of state as they happen, for operators: GET /v1/events, server-sent events (WHATWG HTML, 9.2). Each client has
 * its own bounded queue; one that does not read is closed, and the others do not notice.
 *
 *	event: mesh_state    the node's state on its server: {"state", "detail", "login_url"}
 *	event: key_expiry    the node key ends soon: {"key_expiry"}
 *	event: peer          a node of the mesh: {"change": added|changed|rekeyed|removed, "name", "node_id", "online"}
 *	event: path          the way to a node: {"name", "path", "endpoint", "rtt_ms"}
 *	event: daemon        {"change": registered|left, "id", "why"}
 *
 * A comment line each 15 s shows that the connection lives. Thread: the loop's.
 */
#ifndef CTL_EVENTS_H
#define CTL_EVENTS_H

#include <jansson.h>
#include <uv.h>

#include "base_err.h"
#include "ws_http.h"

/** Who listens at the same time. */
#define CTL_EVENTS_CLIENTS_MAX 32

struct ctl_events;

/** NULL with errno. */
struct ctl_events *ctl_events_new(uv_loop_t *loop);
/** Before the API: its clients are let go. NULL is fine. */
void ctl_events_free(struct ctl_events *events);

/** Anybody there? What costs something to put together need not be, if nobody is. */
bool ctl_events_is_heard(const struct ctl_events *events);
/** Tell everybody; takes over the reference to @data, which may be NULL. @type: one of the above. */
void ctl_events_tell(struct ctl_events *events, const char *type, json_t *data);
/** The handler's work for GET /v1/events. */
void ctl_events_serve(struct ctl_events *events, struct ws_http_req *req);

#endif
