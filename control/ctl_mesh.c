/* SPDX-License-Identifier: BSD-3-Clause */
/* The node's life and states, and what operators do with it. Loop's thread. See ctl_mesh.h. */
#include "ctl_mesh.h"
#include "ctl_mesh_object.h"

#include "base_clock.h"
#include "base_log.h"
#include "cr_noise.h"

#include <stdlib.h>
#include <time.h>

BASE_LOG_CATEGORY("mesh");

/* A key that ends within this is told of. */
#define EXPIRY_AHEAD_S (7 * 24 * 3600)

/* --- states ------------------------------------------------------------------------------------ */

static void log_state(const struct ctl_mesh *mesh, const struct coord_status *status)
{
	const char *server = mesh->config->mesh.server, *name = coord_state_name(status->state);

	switch (status->state) {
	case COORD_STOPPED:
	case COORD_CONNECTING:
	case COORD_REGISTERING:
		base_log_debug("%s: %s", server, name);
		break;
	case COORD_STREAMING:
		base_log_info("%s: the map is live", server);
		break;
	case COORD_BACKING_OFF:
		base_log_warn(
			"%s: %s; tries again; tunnels stay as they are", server, status->detail);
		break;
	case COORD_NEEDS_LOGIN:
		if (status->login_url[0])
			base_log_warn("%s: needs a login: open %s", server, status->login_url);
		else
			base_log_error(
				"%s: needs a login: %s; make a key on the server, then sandctl "
				"login --authkey-file FILE",
				server, status->detail);
		break;
	default:
		base_log_error("%s: %s: %s", server, name, status->detail);
		break;
	}
}

static void log_expiry(const struct coord_status *status)
{
	uint64_t now_s = base_clock_unix_ns() / BASE_NS_PER_S;
	time_t expiry = (time_t)status->key_expiry_unix_s;
	char text[32];
	struct tm tm;

	if (status->state != COORD_STREAMING || status->key_expiry_unix_s == 0 ||
		status->key_expiry_unix_s > now_s + EXPIRY_AHEAD_S)
		return;
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", gmtime_r(&expiry, &tm));
	base_log_warn("the node key ends %s; sandctl login renews it", text);
}

static void on_state(void *ctx, const struct coord_status *status)
{
	struct ctl_mesh *mesh = ctx;

	log_state(mesh, status);
	log_expiry(status);
	if (mesh->host.state)
		mesh->host.state(mesh->host_ctx, status);
}

static void on_changed(void *ctx, const struct coord_netmap *map, const struct coord_diff *diff)
{
	struct ctl_mesh *mesh = ctx;

	mesh_apply(mesh, map, diff);
	mesh_follow_paths(mesh, diff);
}

static int on_identity(void *ctx, const struct cr_key *node_private)
{
	struct ctl_mesh *mesh = ctx;
	struct base_error err;
	int rc = dp_identity_set(ctl_tunnel_dp_to_change(mesh->tunnel), node_private, &err);

	if (rc < 0) {
		base_log_error("the new node key: %s", err.text);
		return rc;
	}
	ctl_config_adopt(mesh->config, coord_state_identity(mesh->state));
	coord_paths_node_key(mesh->paths, &mesh->config->public_key);
	base_log_info("the node key was renewed: sessions begin anew");
	return 0;
}

static const struct coord_host coord_hooks = {
	.changed = on_changed, .state = on_state, .identity = on_identity};

/* Whose address is it? For the controller: daemon ids belong to nodes. */
static bool node_of(void *ctx, const struct base_addr *addr, struct ctl_node *ret_node)
{
	const struct ctl_mesh *mesh = ctx;
	const struct coord_node *node = coord_netmap_by_addr(coord_netmap_of(mesh->coord), addr);
	size_t at = 0;

	if (!node)
		return false;
	*ret_node = (struct ctl_node){.id = node->id, .key = node->node_key};
	snprintf(ret_node->name, sizeof(ret_node->name), "%s", node->name);
	for (unsigned i = 0; i < node->n_tags && at < sizeof(ret_node->tags); i++)
		at += (size_t)snprintf(ret_node->tags + at, sizeof(ret_node->tags) - at, "%s%s",
			i ? ", " : "", node->tags[i]);
	return true;
}

/* --- life -------------------------------------------------------------------------------------- */

static int start_paths(struct ctl_mesh *mesh, struct cr_key *ret_disco_public)
{
	const struct cr_key *disco_private = &coord_state_identity(mesh->state)->disco_private;

	cr_x25519_public(ret_disco_public, disco_private);
	mesh->paths =
		coord_paths_new(disco_private, &mesh->config->public_key, &mesh_path_host, mesh);
	mesh->path_timer = mesh_timer_new(mesh);
	mesh->expiry_timer = mesh_timer_new(mesh);
	return mesh->paths && mesh->path_timer && mesh->expiry_timer ? 0 : -ENOMEM;
}

static const struct coord_netmap *map_for_names(void *ctx)
{
	struct ctl_mesh *mesh = ctx;

	return coord_netmap_of(mesh->coord);
}

static int start(struct ctl_mesh *mesh, struct base_error *ret_error)
{
	const struct ctl_mesh_config *config = &mesh->config->mesh;
	const struct coord_config coord_config = {
		.server_url = config->server,
		.ca_file = config->ca_file,
		.server_key = config->server_key,
		.authkey = config->authkey,
		.hostname = config->hostname,
		.version = SANDD_VERSION,
		.advertise_routes = config->advertise_routes,
		.n_advertise_routes = config->n_advertise_routes,
		.on_removed = config->on_removed,
		.map_bytes_max = config->map_bytes_max,
		.map_decoded_max = config->map_decoded_max,
	};
	struct cr_key disco_public;

	if (config->has_dns)
		mesh->dns = ctl_dns_new(mesh->loop, map_for_names, mesh);
	if (start_paths(mesh, &disco_public) < 0 || (config->has_dns && !mesh->dns))
		return base_error_set(ret_error, -ENOMEM, "mesh: out of memory");
	mesh->coord = coord_new(mesh->loop, mesh->state, &coord_config, &disco_public, &coord_hooks,
		mesh, ret_error);
	if (!mesh->coord)
		return -errno;
	ctl_tunnel_join_mesh(mesh->tunnel, &mesh_tunnel_hooks, mesh);
	ctl_controller_set_nodes(mesh->controller, node_of, mesh);
	mesh_tell_endpoints(mesh);
	coord_up(mesh->coord);
	return 0;
}

struct ctl_mesh *ctl_mesh_new(struct ctl_config *config, struct coord_state *state,
	struct ctl_tunnel *tunnel, struct ctl_controller *controller, struct ctl_loop *loop,
	struct base_error *ret_error)
{
	struct ctl_mesh *mesh = calloc(1, sizeof(*mesh));
	int rc;

	if (!mesh) {
		base_error_set(ret_error, -ENOMEM, "mesh: out of memory");
		errno = ENOMEM;
		return NULL;
	}
	mesh->config = config;
	mesh->state = state;
	mesh->tunnel = tunnel;
	mesh->controller = controller;
	mesh->loop = ctl_loop_uv(loop);
	rc = start(mesh, ret_error);
	if (rc == 0)
		return mesh;
	ctl_mesh_free(mesh);
	errno = -rc;
	return NULL;
}

void ctl_mesh_free(struct ctl_mesh *mesh)
{
	if (!mesh)
		return;
	mesh->host = (struct ctl_mesh_host){0};
	ctl_tunnel_join_mesh(mesh->tunnel, NULL, NULL);
	ctl_controller_set_nodes(mesh->controller, NULL, NULL);
	if (mesh->coord)
		mesh_forget_peers(mesh);
	coord_free(mesh->coord);
	coord_paths_free(mesh->paths);
	ctl_dns_free(mesh->dns);
	mesh_timer_free(mesh->path_timer);
	mesh_timer_free(mesh->expiry_timer);
	free(mesh);
}

void ctl_mesh_listen(struct ctl_mesh *mesh, const struct ctl_mesh_host *host, void *ctx)
{
	mesh->host = *host;
	mesh->host_ctx = ctx;
}

/* --- operators ---------------------------------------------------------------------------------- */

const struct coord_netmap *ctl_mesh_map(const struct ctl_mesh *mesh)
{
	return coord_netmap_of(mesh->coord);
}

const struct coord_status *ctl_mesh_status(const struct ctl_mesh *mesh)
{
	return coord_status_of(mesh->coord);
}

struct coord_path_status ctl_mesh_path(const struct ctl_mesh *mesh, const struct coord_node *node)
{
	struct coord_path_status status = {0};

	if (coord_paths_status(mesh->paths, &node->node_key, &status) < 0)
		status = (struct coord_path_status){0};
	return status;
}

const struct ctl_dns *ctl_mesh_dns(const struct ctl_mesh *mesh)
{
	return mesh->dns;
}

size_t ctl_mesh_conflicts(const struct ctl_mesh *mesh)
{
	return mesh->n_conflicts;
}

void ctl_mesh_up(struct ctl_mesh *mesh)
{
	coord_up(mesh->coord);
}

void ctl_mesh_down(struct ctl_mesh *mesh)
{
	coord_down(mesh->coord);
}

int ctl_mesh_login(struct ctl_mesh *mesh, const char *authkey, struct base_error *ret_error)
{
	return coord_login(mesh->coord, authkey, ret_error);
}

void ctl_mesh_logout(
	struct ctl_mesh *mesh, void (*done)(void *user, int rc, const char *line), void *user)
{
	coord_logout(mesh->coord, done, user);
}

int ctl_mesh_ping(struct ctl_mesh *mesh, const struct coord_node *node,
	void (*done)(void *user, const struct base_endpoint *from, uint32_t rtt_us), void *user)
{
	int rc = coord_paths_ping(mesh->paths, &node->node_key, base_clock_now_ns(), done, user);

	mesh_arm(mesh);
	return rc;
}
