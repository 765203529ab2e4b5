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

/* The character at @text, which is not its end, and its length; a byte that is no UTF-8 stands for itself. */
static uint32_t take_char(const char *text, size_t *ret_len)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t more = at[0] >= 0xf0 ? 3 : at[0] >= 0xe0 ? 2 : at[0] >= 0xc0 ? 1 : 0;
	uint32_t c = more ? at[0] & (0x3fU >> more) : at[0];

	*ret_len = 1;
	for (size_t i = 1; i <= more; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return at[0];
		c = c << 6 | (at[i] & 0x3f);
	}
	*ret_len = 1 + more;
	return c;
}

/* What YAML does not take as it is between double quotes: its own signs, controls, line breaks, marks of byte order. */
static bool is_escaped(uint32_t c, size_t len)
{
	return c == '"' || c == '\\' || c < 0x20 || (c >= 0x7f && c <= 0xa0) ||
		(len == 1 && c > 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff ||
		c == 0xfffe || c == 0xffff;
}

/* A line `KEY: "TEXT"`, with @key's indentation. */
static void print_text(FILE *out, const char *key, const char *text)
{
	size_t len;

	fprintf(out, "%s: \"", key);
	for (; *text; text += len) {
		uint32_t c = take_char(text, &len);

		if (!is_escaped(c, len))
			fwrite(text, 1, len, out);
		else if (c == '"' || c == '\\')
			fprintf(out, "\\%c", (int)c);
		else
			fprintf(out, c > 0xff ? "\\u%04x" : "\\x%02x", c);
	}
	fprintf(out, "\"\n");
}

static void print_engine(const struct dp_config *dp, FILE *out)
{
	fprintf(out, "ports:\n");
	for (unsigned i = 0; i < dp->n_ports; i++) {
		fprintf(out, "  - kind: %s\n",
			dp->ports[i].kind == DP_PORT_AF_XDP ? "af_xdp" : "af_packet");
		print_text(out, "    device", dp->ports[i].device);
	}
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

	fprintf(out, "host:\n");
	print_text(out, "  device", dp->host_device);
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
	print_text(out, "  - name", peer->name);
	fprintf(out, "    public_key: %s\n", key);
	if (peer->preshared_key_file)
		print_text(out, "    preshared_key_file", peer->preshared_key_file);
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
	fprintf(out, "api:\n");
	print_text(out, "  socket", config->socket);
	if (config->socket_group)
		print_text(out, "  group", config->socket_group);
	fprintf(out, "log_level: %s\n", level_names[config->log_level]);
}

static void print_mesh(const struct ctl_mesh_config *mesh, FILE *out)
{
	char text[BASE_PREFIX_TEXT_LEN];

	fprintf(out, "mesh:\n");
	print_text(out, "  server", mesh->server);
	print_text(out, "  state_dir", mesh->state_dir);
	print_text(out, "  hostname", mesh->hostname);
	if (mesh->authkey_file)
		print_text(out, "  authkey_file", mesh->authkey_file);
	if (mesh->ca_file)
		print_text(out, "  ca_file", mesh->ca_file);
	if (mesh->server_key)
		fprintf(out, "  server_key: \"%s\"\n", mesh->server_key);
	fprintf(out, "  advertise_routes:%s\n", mesh->n_advertise_routes ? "" : " []");
	for (size_t i = 0; i < mesh->n_advertise_routes; i++)
		fprintf(out, "    - \"%s\"\n", base_prefix_print(text, &mesh->advertise_routes[i]));
	fprintf(out, "  accept_routes: %s\n  dns: %s\n  on_removed: %s\n",
		mesh->accept_routes ? "true" : "false", mesh->has_dns ? "on" : "off",
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
		if (config->has_mesh) {
			print_mesh(&config->mesh, out);
		} else {
			fprintf(out, "# public key %s\n", key);
			print_text(out, "private_key_file", config->private_key_file);
		}
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
