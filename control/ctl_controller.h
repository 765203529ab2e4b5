/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller of sandd.v1: joins the WebSocket server, the registry and the outstanding requests,
 * owns their timers, and writes the audit log. Thread: the loop's.
 */
#ifndef CTL_CONTROLLER_H
#define CTL_CONTROLLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uv.h>

#include "base_addr.h"
#include "base_err.h"
#include "ws_server.h"
#include "ctl_registry.h"

/** Where it may listen at once: on the mesh's addresses, and in direct mode. */
#define CTL_LISTENERS_MAX 5

/** The longest time limit of a command, in seconds: a week. */
#define CTL_TIMEOUT_S_MAX (7 * 24 * 3600)

struct ctl_controller;

/** NULL with errno. */
struct ctl_controller *ctl_controller_new(uv_loop_t *loop, struct ws_service *service);
/** Told when a daemon registers (@why NULL) and when it leaves. */
void ctl_controller_listen_to_daemons(struct ctl_controller *controller,
	void (*news)(void *ctx, const struct ctl_daemon *daemon, const char *why), void *ctx);
/** Closes all connections, completes all requests as lost. NULL is fine. */
void ctl_controller_free(struct ctl_controller *controller);

/**
 * Ask this whose a connection is: true and the node, if the address is one of the mesh. For connections that come from now on.
 */
void ctl_controller_set_nodes(struct ctl_controller *controller,
	bool (*node_of)(void *ctx, const struct base_addr *addr, struct ctl_node *ret_node),
	void *ctx);
/** The node left the mesh: ctl_registry_release(). */
void ctl_controller_release(struct ctl_controller *controller, int64_t node_id);

/** Listen on one more address. Returns 0 or -Exxx with a line that names address and remedy. */
BASE_MUST_CHECK int ctl_controller_listen(struct ctl_controller *controller,
	const struct base_endpoint *endpoint, struct base_error *ret_error);

/** No longer there; its connections end. Nothing if it does not listen there. */
void ctl_controller_unlisten(
	struct ctl_controller *controller, const struct base_endpoint *endpoint);

/** A command for a daemon; all borrowed for the call. */
struct ctl_exec {
	const char *daemon_id;
	const char *command; /* for sh -c */
	uint64_t timeout_s;
	struct ws_pair *env;
	size_t n_env;
	const char *cwd;    /* NULL: the daemon's own */
	const char *client; /* for the audit log: who asks */
};

enum ctl_exec_end {
	CTL_EXEC_DONE,         /* the command ran; see output */
	CTL_EXEC_TIMEOUT,      /* the time limit passed, here or there */
	CTL_EXEC_LOST,         /* the daemon's connection ended first */
	CTL_EXEC_DAEMON_ERROR, /* the daemon could not run it; see error */
};

struct ctl_exec_result {
	enum ctl_exec_end end;
	const struct ws_command_output *output; /* DONE; borrowed until return */
	const char *error;                      /* DAEMON_ERROR; borrowed until return */
};
typedef void (*ctl_exec_done)(void *user, const struct ctl_exec_result *result);

/**
 * Send a command. Returns 0, and @done follows exactly once, from the loop; or -ENOENT (no such daemon),
 * -EBUSY (it or the controller has too much outstanding, or the daemon does not read), -EMSGSIZE,
 * -ENOMEM, -EPIPE (its connection is closing), and @done is not called.
 */
BASE_MUST_CHECK int ctl_controller_exec(struct ctl_controller *controller,
	const struct ctl_exec *exec, ctl_exec_done done, void *user);

const struct ctl_registry *ctl_controller_registry(const struct ctl_controller *controller);
const struct ctl_requests_stats *ctl_controller_requests(const struct ctl_controller *controller);
/** The sum over all listeners. */
void ctl_controller_server_stats(
	const struct ctl_controller *controller, struct ws_server_stats *ret_stats);

#endif
