/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operators' API: HTTP+JSON on a Unix socket, described in openapi.yaml. sandctl and the Python
 * package use nothing else. Thread: the loop's.
 *
 *	GET  /v1/status               what runs, since when, on what
 *	POST /v1/reload               read the configuration file again
 *	GET  /v1/peers                the tunnel's peers, of the file and of the API
 *	POST /v1/peers                add, change and remove peers of the API: one, or many at once
 *	GET, PUT, DELETE /v1/peers/{name}    one of them
 *	POST /v1/peers/{name}/ping    ask a node of the mesh which way it is reached, and how fast
 *	GET  /v1/whois?addr=          whose address, or name
 *	GET  /v1/filter               the rules in force, and what each has let in
 *	POST /v1/mesh/up, down, login, logout    the node's connection to its server
 *	GET  /v1/events               changes as they happen (ctl_events.h)
 *	GET  /v1/stats                counters: workers, drops by reason, stages, controller
 *	GET  /v1/reasons              why packets are dropped, explained
 *	GET  /metrics                 the counters as OpenMetrics
 *	GET  /v1/daemons              connected daemons, ordered by id
 *	POST /v1/daemons/{id}/exec    run a command there
 *	POST /v1/taps                 begin a trace or a capture of packets
 *	POST /v1/taps/{id}/read       what it has seen since the last time
 *	DELETE /v1/taps/{id}          end it
 *
 * Errors are {"error": {"code", "message"}}. Times are whole seconds since 1970; what is not known
 * is null.
 */
#ifndef CTL_API_H
#define CTL_API_H

#include <jansson.h>

#include "base_err.h"
#include "ws_http.h"
#include "ctl_config.h"
#include "ctl_controller.h"
#include "ctl_events.h"
#include "ctl_mesh.h"
#include "ctl_reload.h"
#include "ctl_tap.h"
#include "ctl_tunnel.h"

/** What the API tells about; all borrowed for its life. */
struct ctl_api_sources {
	const struct ctl_config *config;
	struct ctl_tunnel *tunnel; /* NULL in direct mode */
	struct ctl_reload *reload;
	struct ctl_controller *controller;
	uint64_t started_ns;
	struct ctl_taps *taps;
	struct ctl_mesh *mesh; /* NULL without one */
	struct ctl_events *events;
};

struct ctl_api;

/** Listen on the configured socket, whose folder is made if it is missing. NULL with errno and a line. */
struct ctl_api *ctl_api_new(struct ws_service *service, const struct ctl_api_sources *sources,
	struct base_error *ret_error);
/** Stop; the socket file is gone. NULL is fine. */
void ctl_api_free(struct ctl_api *api);

/* The handlers of ctl_api_peers.c; @ctx is a struct ctl_api_sources. */
void ctl_api_on_peer_get(void *ctx, struct ws_http_req *req);
void ctl_api_on_peers_post(void *ctx, struct ws_http_req *req);
void ctl_api_on_peer_put(void *ctx, struct ws_http_req *req);
void ctl_api_on_peer_delete(void *ctx, struct ws_http_req *req);
void ctl_api_on_reload(void *ctx, struct ws_http_req *req);

/* The handlers of ctl_api_mesh.c, likewise. */
void ctl_api_on_whois(void *ctx, struct ws_http_req *req);
void ctl_api_on_ping(void *ctx, struct ws_http_req *req);
void ctl_api_on_filter(void *ctx, struct ws_http_req *req);
void ctl_api_on_mesh_up(void *ctx, struct ws_http_req *req);
void ctl_api_on_mesh_down(void *ctx, struct ws_http_req *req);
void ctl_api_on_mesh_login(void *ctx, struct ws_http_req *req);
void ctl_api_on_mesh_logout(void *ctx, struct ws_http_req *req);
/* And its documents: null without a mesh; one node; all, after the other peers. */
json_t *ctl_api_mesh_status(const struct ctl_api_sources *sources, uint64_t now_ns);
json_t *ctl_api_node(
	const struct ctl_api_sources *sources, const struct coord_node *node, uint64_t now_ns);
/** "direct4", "direct6", "relay", "none". */
const char *ctl_api_path_name(const struct coord_path_status *path);
/** The events of the mesh and the daemons begin to be told. */
void ctl_api_tell_events(const struct ctl_api_sources *sources);
void ctl_api_add_nodes(const struct ctl_api_sources *sources, json_t *list, uint64_t now_ns);

/* The documents of ctl_api_docs.c; the caller owns them. NULL without memory. */
json_t *ctl_api_status(const struct ctl_api_sources *sources, uint64_t now_ns);
json_t *ctl_api_peers(const struct ctl_api_sources *sources, uint64_t now_ns);
/** One peer, which the tunnel has. */
json_t *ctl_api_peer(
	const struct ctl_api_sources *sources, const struct ctl_peer *peer, uint64_t now_ns);
json_t *ctl_api_reload_result(const struct ctl_reload_result *result);
json_t *ctl_api_stats(const struct ctl_api_sources *sources);
json_t *ctl_api_daemons(const struct ctl_api_sources *sources, uint64_t now_ns);

#endif
