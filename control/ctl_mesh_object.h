/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of ctl_mesh share; nobody else includes it.
 *
 *	ctl_mesh.c        life, states, operators
 *	ctl_mesh_apply.c  the map's differences: peers, filter, host interface, controller
 *	ctl_mesh_path.c   probes and paths: between coord_path and the tunnel; our own endpoints
 *
 * Thread: the loop's.
 */
#ifndef CTL_MESH_OBJECT_H
#define CTL_MESH_OBJECT_H

#include <uv.h>

#include "ctl_mesh.h"

#define MESH_LISTENERS_MAX 4

/* What the tunnel has of a node; its user_data. */
struct mesh_peer {
	struct cr_key key;
	uint16_t n_prefixes;
	struct base_prefix prefixes[];
};

struct ctl_mesh {
	struct ctl_config *config;
	struct coord_state *state;
	struct ctl_tunnel *tunnel;
	struct ctl_controller *controller;
	uv_loop_t *loop;
	struct ctl_mesh_host host;
	void *host_ctx;

	struct coord *coord;
	struct coord_paths *paths;
	uv_timer_t *path_timer;   /* the next deadline of paths */
	uv_timer_t *expiry_timer; /* the next key that is over */

	struct base_endpoint listeners[MESH_LISTENERS_MAX];
	unsigned n_listeners;
	size_t n_conflicts;
	struct ctl_dns *dns; /* NULL: off */
	bool has_host;       /* the interface has what the map says */
	struct base_log_limit news, conflicts;
};

/* ctl_mesh_apply.c */
void mesh_apply(
	struct ctl_mesh *mesh, const struct coord_netmap *map, const struct coord_diff *diff);
/* Look at every node again: a key is over, or an address is free. */
void mesh_review(struct ctl_mesh *mesh);
void mesh_forget_peers(struct ctl_mesh *mesh);

/* ctl_mesh_path.c */
extern const struct coord_path_host mesh_path_host;
extern const struct ctl_tunnel_mesh mesh_tunnel_hooks;
void mesh_follow_paths(struct ctl_mesh *mesh, const struct coord_diff *diff);
void mesh_tell_endpoints(struct ctl_mesh *mesh);
void mesh_arm(struct ctl_mesh *mesh);
/* A timer on the heap, unreferenced: it keeps no loop alive. NULL with errno. */
uv_timer_t *mesh_timer_new(struct ctl_mesh *mesh);
void mesh_timer_free(uv_timer_t *timer);

#endif
