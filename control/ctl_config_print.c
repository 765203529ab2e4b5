/* SPDX-License-Identifier: BSD-3-Clause */
/* The effective configuration as YAML that loads again, for --check-config. See ctl_config.h. */
#include "ctl_config.h"

#include <netinet/in.h>

static const char *const level_names[] = {
	[BASE_LOG_ERROR] = "error",
	[BASE_LOG_WARN] = "warn",
	[BASE_LOG_INFO] = "info",
	[BASE_LOG_DEBUG] = "debug",
};

static void print_engine(const struct dp_config *dp, FILE *out)
{
	fprintf(out, "ports:\n");
	for (unsigned i = 0; i < dp->n_ports; i++)
		fprintf(out, "  - {kind: %s, device: \"%s\"}\n",
			dp->ports[i].kind == DP_PORT_AF_XDP ? "af_xdp" : "af_packet",
			dp->ports[i].device);
	fprintf(out, "workers:\n  cpus: [");
	for (unsigned i = 0; i < dp->n_workers; i++)
		fprintf(out, "%s%u", i ? ", " : "", dp->worker_cpus[i]);
	fprintf(out, "]\ncontrol_cpu: %u\nidle: %s\ncrypto: %s\n", dp->control_cpu,
		dp->idle == DP_IDLE_POLL ? "poll" : "adaptive", dp->crypto);
	fprintf(out, "memory_mb: %u%s\n", dp->memory_mb,
		dp->memory_mb ? "" : " # what ports and workers need");
	fprintf(out, "telemetry: %s\n", dp->has_telemetry ? "true" : "false");
}

static void print_host(const struct dp_config *dp, FILE *out)
{
	char text[BASE_PREFIX_TEXT_LEN];

	fprintf(out, "host:\n  device: \"%s\"\n", dp->host_device);
	if (dp->n_host_addrs)
		fprintf(out, "  addresses:\n");
	for (unsigned i = 0; i < dp->n_host_addrs; i++)
		fprintf(out, "    - \"%s\"\n", base_prefix_print(text, &dp->host_addrs[i]));
	fprintf(out, "  mtu: %u\n", dp->host_mtu);
}

static void print_rule(const struct ctl_rule *rule, FILE *out)
{
	char text[BASE_PREFIX_TEXT_LEN];
	const char *name = rule->proto == IPPROTO_TCP ? "tcp"
		: rule->proto == IPPROTO_UDP          ? "udp"
						      : NULL;

	fprintf(out, "  - {");
	if (rule->src.addr.family)
		fprintf(out, "from: \"%s\", ", base_prefix_print(text, &rule->src));
	if (rule->dst.prefix.addr.family)
		fprintf(out, "to: \"%s\", ", base_prefix_print(text, &rule->dst.prefix));
	if (rule->proto == 0)
		fprintf(out, "proto: any");
	else if (name)
		fprintf(out, "proto: %s", name);
	else
		fprintf(out, "proto: %u", rule->proto);
	if (name)
		fprintf(out, ", ports: %u-%u", rule->dst.port_first, rule->dst.port_last);
	fprintf(out, "}\n");
}

static void print_filter(const struct ctl_config *config, FILE *out)
{
	fprintf(out, "filter:%s%s\n", config->dp.n_rules ? "" : " []",
		config->has_default_filter ? " # the default" : "");
	for (size_t i = 0; i < config->dp.n_rules; i++)
		print_rule(&config->rules[i], out);
}

static void print_peer(const struct ctl_peer *peer, FILE *out)
{
	char key[BASE_KEY_TEXT_LEN + 1], endpoint[BASE_ENDPOINT_TEXT_LEN];
	char prefix[BASE_PREFIX_TEXT_LEN];

	base_key_encode(key, peer->dp.public_key.bytes);
	fprintf(out, "  - name: \"%s\"\n    public_key: %s\n", peer->name, key);
	if (peer->preshared_key_file)
		fprintf(out, "    preshared_key_file: \"%s\"\n", peer->preshared_key_file);
	if (peer->dp.endpoint.addr.family)
		fprintf(out, "    endpoint: \"%s\"\n",
			base_endpoint_print(endpoint, &peer->dp.endpoint));
	fprintf(out, "    allowed_ips:\n");
	for (size_t i = 0; i < peer->dp.n_allowed_ips; i++)
		fprintf(out, "      - \"%s\"\n",
			base_prefix_print(prefix, &peer->dp.allowed_ips[i]));
	fprintf(out, "    keepalive: %u\n    fixed_endpoint: %s\n", peer->dp.keepalive_s,
		peer->dp.endpoint_is_fixed ? "true" : "false");
}

static void print_controller(const struct ctl_config *config, FILE *out)
{
	char text[BASE_ENDPOINT_TEXT_LEN];

	if (config->listen.addr.family || config->direct.addr.family)
		fprintf(out, "controller:\n");
	if (config->listen.addr.family)
		fprintf(out, "  listen: \"%s\"\n", base_endpoint_print(text, &config->listen));
	if (config->direct.addr.family)
		fprintf(out, "  direct: \"%s\"\n", base_endpoint_print(text, &config->direct));
	fprintf(out, "api:\n  socket: \"%s\"\n", config->socket);
	if (config->socket_group)
		fprintf(out, "  group: \"%s\"\n", config->socket_group);
	fprintf(out, "log_level: %s\n", level_names[config->log_level]);
}

static void print_mesh(const struct ctl_mesh_config *mesh, FILE *out)
{
	char text[BASE_PREFIX_TEXT_LEN];

	fprintf(out, "mesh:\n  server: \"%s\"\n  state_dir: \"%s\"\n  hostname: \"%s\"\n",
		mesh->server, mesh->state_dir, mesh->hostname);
	if (mesh->authkey_file)
		fprintf(out, "  authkey_file: \"%s\"\n", mesh->authkey_file);
	if (mesh->ca_file)
		fprintf(out, "  ca_file: \"%s\"\n", mesh->ca_file);
	if (mesh->server_key)
		fprintf(out, "  server_key: \"%s\"\n", mesh->server_key);
	fprintf(out, "  advertise_routes:%s\n", mesh->n_advertise_routes ? "" : " []");
	for (size_t i = 0; i < mesh->n_advertise_routes; i++)
		fprintf(out, "    - \"%s\"\n", base_prefix_print(text, &mesh->advertise_routes[i]));
	fprintf(out, "  accept_routes: %s\n  on_removed: %s\n",
		mesh->accept_routes ? "true" : "false",
		mesh->on_removed == COORD_REMOVED_REJOIN ? "rejoin" : "stop");
	if (mesh->map_bytes_max)
		fprintf(out, "  map_limit_mb: %zu\n", mesh->map_bytes_max >> 20);
}

void ctl_config_print(const struct ctl_config *config, FILE *out)
{
	char key[BASE_KEY_TEXT_LEN + 1];

	if (config->has_tunnel) {
		fprintf(out, "listen_port: %u\n", config->dp.listen_port);
		base_key_encode(key, config->public_key.bytes);
		if (config->has_mesh)
			print_mesh(&config->mesh, out);
		else
			fprintf(out, "private_key_file: \"%s\" # public key %s\n",
				config->private_key_file, key);
		print_engine(&config->dp, out);
		print_host(&config->dp, out);
	}
	print_controller(config, out);
	if (!config->has_tunnel)
		return;
	print_filter(config, out);
	fprintf(out, "peers:%s\n", config->n_peers ? "" : " []");
	for (size_t i = 0; i < config->n_peers; i++)
		print_peer(&config->peers[i], out);
}
