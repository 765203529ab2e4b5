/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gateway's configuration: one YAML file (every key in sandd-gw.example.yaml), checked whole
 * before anything starts. An error is one line: file, line, key path, what is wrong, what to do.
 * Half a setting is an error; an unknown key is an error; secrets come from the files that it names.
 *
 * Two ways to run, which may be combined: a tunnel (`ports` and what belongs to it), and direct mode
 * (`controller.direct`), which needs no dataplane at all. A tunnel's peers stand in the file, or come from a server
 * (`mesh`), or both.
 *
 * Thread: the main one, at start.
 */
#ifndef CTL_CONFIG_H
#define CTL_CONFIG_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "base_addr.h"
#include "base_err.h"
#include "base_log.h"
#include "cr_secret.h"
#include "dp_api.h"
#include "coord.h"

/** A Unix socket's path as the kernel takes it, with the NUL. */
#define CTL_SOCKET_PATH_LEN 108
#define CTL_SOCKET_DEFAULT "/run/sandd-gw/api.sock"
#define CTL_NAME_BYTES_MAX 63
#define CTL_CONFIG_BYTES_MAX (8u << 20)

/** Who said that there is this peer. */
enum ctl_peer_source {
	CTL_PEER_OF_FILE, /* the configuration file: a reload replaces it */
	CTL_PEER_OF_API, /* an operator's call: it lives until removed, or until the gateway ends */
};

struct ctl_peer {
	enum ctl_peer_source source;
	char name[CTL_NAME_BYTES_MAX + 1];
	struct base_prefix *allowed_ips; /* dp.allowed_ips, owned here */
	char *preshared_key_file;        /* NULL: none */
	struct dp_peer_config dp;
	bool is_leaving; /* ctl_roster.c: not in the next one */
};

#define CTL_STATE_DIR_DEFAULT "/var/lib/sandd-gw"

/** The `mesh` section: a Headscale server says who the peers are. */
struct ctl_mesh_config {
	char *server;       /* http://HOST[:PORT] or https:// */
	char *authkey_file; /* NULL: from the environment, or none */
	char *authkey;      /* a secret; NULL: none */
	char *state_dir;
	char *hostname;
	char *ca_file;    /* NULL: the system's roots alone */
	char *server_key; /* "mkey:..."; NULL: believed at first sight */
	struct base_prefix advertise_routes[COORD_ROUTES_MAX];
	size_t n_advertise_routes;
	bool accept_routes;
	bool has_dns; /* a resolver on the mesh addresses */
	enum coord_on_removed on_removed;
	size_t map_bytes_max, map_decoded_max; /* 0: coord's own */
};

/** A rule of the file: one of each. */
struct ctl_rule {
	struct base_prefix src;   /* family NONE: any */
	struct dp_filter_dst dst; /* family NONE: any */
	uint8_t proto;            /* 0: TCP, UDP and ICMP */
};

struct ctl_config {
	char *file;
	cpu_set_t cpus; /* that the process might run on when it was loaded first */

	bool has_tunnel;
	struct dp_config dp; /* filled if has_tunnel; holds the private key */
	char *private_key_file;
	struct cr_key public_key;
	struct ctl_rule *rules;          /* dp.n_rules of them, owned here as well: */
	struct dp_filter_rule *dp_rules; /* dp.rules; their lists lie in @rules */
	bool has_default_filter;
	struct ctl_peer *peers; /* as in the file */
	size_t n_peers;

	bool has_mesh; /* then dp's key and addresses come with the identity, ctl_config_adopt() */
	struct ctl_mesh_config mesh;

	struct base_endpoint
		listen; /* the controller's, on the mesh; family NONE without a tunnel */
	struct base_endpoint direct; /* and outside of it; family NONE: not there */
	char socket[CTL_SOCKET_PATH_LEN];
	char file_socket[CTL_SOCKET_PATH_LEN]; /* as the file has it, whatever a flag said */
	char *socket_group;                    /* NULL: the process's own */
	gid_t socket_gid;                      /* its number; (gid_t)-1 without */
	enum base_log_level log_level;
};

/**
 * Read and check. @warn: told of what is risky but works, a line each; may be NULL.
 * NULL with errno and a line in @ret_error: EINVAL for what is written in the file, other codes for
 * files that cannot be read. Either way the exit code of a main is 2.
 */
struct ctl_config *ctl_config_load(
	const char *path, void (*warn)(const char *line), struct base_error *ret_error);
/**
 * Read the file of @running again, by the CPUs of its day: threads are pinned since. As above; any thread, while nobody
 * changes @running's file and CPUs.
 */
struct ctl_config *ctl_config_load_again(const struct ctl_config *running,
	void (*warn)(const char *line), struct base_error *ret_error);
/**
 * Fill in what a gateway of a mesh learns only from its state: the node key, which is the tunnel's, and the addresses that it
 * had last.
 */
void ctl_config_adopt(struct ctl_config *config, const struct coord_identity *identity);

/** Wipes keys. NULL is fine. */
void ctl_config_free(struct ctl_config *config);

/** Write the effective configuration as YAML that loads again: defaults filled in, no secret. */
void ctl_config_print(const struct ctl_config *config, FILE *out);

#endif
