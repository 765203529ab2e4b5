/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gateway as a node of a mesh: joins the coordination client (coord.h), the paths (coord_path.h), the tunnel and the
 * controller. What the map says becomes peers, filter rules, addresses and routes of the host interface; what
 * the tunnel sees becomes pings, endpoints and events. A server that is away changes nothing here.
 *
 * What of the map is accepted: peers whose key is not over; their own addresses, unless a peer of the file or the API, or an
 * older node, has them; routes of others only with accept_routes, and never one for the whole Internet.
 *
 * Thread: the loop's.
 */
#ifndef CTL_MESH_H
#define CTL_MESH_H

#include "base_err.h"
#include "coord.h"
#include "coord_path.h"
#include "ctl_config.h"
#include "ctl_controller.h"
#include "ctl_dns.h"
#include "ctl_loop.h"
#include "ctl_tunnel.h"

struct ctl_mesh;

/** What others want to hear; any may be NULL. From the loop. */
struct ctl_mesh_host {
	/** The state, or what a person has to do, is another. */
	void (*state)(void *ctx, const struct coord_status *status);
	/** A node came, went or changed. */
	void (*node)(void *ctx, enum coord_change change, const struct coord_node *node);
	/** The way to a node is another. */
	void (*path)(
		void *ctx, const struct coord_node *node, const struct coord_path_status *status);
};

/**
 * @config: its key and addresses are those of @state already (ctl_config_adopt()); they follow when the server gives others.
 * Starts to connect. NULL with errno and a line.
 */
struct ctl_mesh *ctl_mesh_new(struct ctl_config *config, struct coord_state *state,
	struct ctl_tunnel *tunnel, struct ctl_controller *controller, struct ctl_loop *loop,
	struct base_error *ret_error);
/** The node stays on the server, and goes offline there. The loop must run once more. NULL is fine. */
void ctl_mesh_free(struct ctl_mesh *mesh);
void ctl_mesh_listen(struct ctl_mesh *mesh, const struct ctl_mesh_host *host, void *ctx);

/** Borrowed, until the loop runs on. */
const struct coord_netmap *ctl_mesh_map(const struct ctl_mesh *mesh);
const struct coord_status *ctl_mesh_status(const struct ctl_mesh *mesh);
/** The path of a node of the map; zeroed: none. */
struct coord_path_status ctl_mesh_path(const struct ctl_mesh *mesh, const struct coord_node *node);
/** What the resolver did; NULL: it is off. Borrowed, until the loop runs on. */
const struct ctl_dns *ctl_mesh_dns(const struct ctl_mesh *mesh);
/** Nodes and prefixes that the map has and the tunnel does not, because they are somebody else's already. */
size_t ctl_mesh_conflicts(const struct ctl_mesh *mesh);

/* As in coord.h, for operators. */
void ctl_mesh_up(struct ctl_mesh *mesh);
void ctl_mesh_down(struct ctl_mesh *mesh);
BASE_MUST_CHECK int ctl_mesh_login(
	struct ctl_mesh *mesh, const char *authkey, struct base_error *ret_error);
void ctl_mesh_logout(
	struct ctl_mesh *mesh, void (*done)(void *user, int rc, const char *line), void *user);
/** coord_paths_ping(). */
BASE_MUST_CHECK int ctl_mesh_ping(struct ctl_mesh *mesh, const struct coord_node *node,
	void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us), void *user);

#endif
