/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file as libcyaml loads it: names and types of all keys, in one C table
 * (ctl_schema.c), and the plain structs that it fills. What the values mean, what belongs together
 * and what the defaults are is ctl_config.c's business. An absent key is NULL or 0 here;
 * ctl_yaml_has() tells it from a given 0.
 */
#ifndef CTL_SCHEMA_H
#define CTL_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "ctl_yaml.h"

struct ctl_raw_port {
	int kind; /* enum dp_port_kind */
	char *device;
};

struct ctl_raw_workers {
	uint32_t *cpus;
	uint32_t cpus_count;
};

struct ctl_raw_host {
	char *device;
	char **addresses;
	uint32_t addresses_count;
	uint16_t mtu;
};

struct ctl_raw_controller {
	char *listen;
	char *direct;
};

struct ctl_raw_api {
	char *socket, *group;
};

struct ctl_raw_mesh {
	char *server;
	char *authkey, *authkey_file;
	char *state_dir;
	char *hostname;
	char *ca_file;
	char *server_key;
	char **advertise_routes;
	uint32_t advertise_routes_count;
	bool accept_routes;
	bool dns;
	int on_removed; /* enum coord_on_removed */
	uint32_t map_limit_mb;
};

struct ctl_raw_rule {
	char *from, *to, *proto, *ports;
};

struct ctl_raw_peer {
	char *name;
	char *public_key;
	char *preshared_key_file;
	char *endpoint;
	char **allowed_ips;
	uint32_t allowed_ips_count;
	uint16_t keepalive;
	bool fixed_endpoint;
};

enum ctl_crypto { CTL_CRYPTO_AUTO, CTL_CRYPTO_LANES, CTL_CRYPTO_IPSEC_MB, CTL_CRYPTO_LIBSODIUM };

struct ctl_raw {
	uint16_t listen_port;
	char *private_key_file;
	struct ctl_raw_port *ports;
	uint32_t ports_count;
	struct ctl_raw_workers workers;
	uint32_t control_cpu;
	int idle;   /* enum dp_idle_mode */
	int crypto; /* enum ctl_crypto */
	uint32_t memory_mb;
	bool telemetry;
	struct ctl_raw_host host;
	struct ctl_raw_mesh mesh;
	struct ctl_raw_controller controller;
	struct ctl_raw_api api;
	struct ctl_raw_rule *filter;
	uint32_t filter_count;
	struct ctl_raw_peer *peers;
	uint32_t peers_count;
	int log_level; /* enum base_log_level */
};

/**
 * Load the text that @yaml was made from. NULL with errno, and a line in @ret_error: an unknown key,
 * a wrong type, a number out of range, a key given twice.
 */
struct ctl_raw *ctl_raw_load(
	const struct ctl_yaml *yaml, const char *text, size_t len, struct base_error *ret_error);
void ctl_raw_free(struct ctl_raw *raw);

#endif
