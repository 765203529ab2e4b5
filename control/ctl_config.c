/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the configuration means: sections checked one after another, each its own function, the
 * list is config_fill(). Names and types were checked before, by ctl_schema.c; the peers come
 * after, in ctl_peers.c. See ctl_config.h.
 */
#include "ctl_config.h"

#include "cr_noise.h"
#include "ws_messages.h"
#include "ctl_file.h"
#include "ctl_key.h"
#include "ctl_mesh_config.h"
#include "ctl_peers.h"
#include "ctl_schema.h"
#include "ctl_yaml.h"

#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>

#define DEFAULT_LISTEN_PORT 51820
#define DEFAULT_HOST_DEVICE "sandd0"
/* The mesh's own MTU: what every path and every daemon carries. */
#define DEFAULT_HOST_MTU 1280
#define HOST_MTU_MIN_V6 1280 /* RFC 8200, section 5 */
#define MEMORY_MB_MAX (1u << 20)
#define KEY_PATH_LEN 64

/* Everything a section needs. */
struct load {
	const struct ctl_yaml *yaml;
	const struct ctl_raw *raw;
	struct ctl_config *config;
	void (*warn)(const char *line);
	struct base_error *err;
};

/* Copy an interface's name. */
static int take_device(const struct load *load, char ret_device[DP_DEVICE_NAME_LEN],
	const char *text, const char *path)
{
	if (!text || !*text)
		return ctl_yaml_error(load->yaml, load->err, path,
			"missing; name a network interface (ip link lists them)");
	if (strlen(text) >= DP_DEVICE_NAME_LEN || strpbrk(text, "/ \t") || strcmp(text, ".") == 0 ||
		strcmp(text, "..") == 0)
		return ctl_yaml_error(load->yaml, load->err, path,
			"'%s' is no interface name: at most %d characters, no spaces or slashes",
			text, DP_DEVICE_NAME_LEN - 1);
	strcpy(ret_device, text);
	return 0;
}

static int take_endpoint(const struct load *load, struct base_endpoint *ret_endpoint,
	const char *text, const char *path)
{
	if (base_endpoint_parse(ret_endpoint, text) < 0)
		return ctl_yaml_error(load->yaml, load->err, path,
			"'%s' is not ADDRESS:PORT, such as 10.9.0.1:8765 or [fd00::1]:8765", text);
	return 0;
}

static int fill_ports(const struct load *load)
{
	const struct ctl_raw *raw = load->raw;
	struct dp_config *dp = &load->config->dp;
	char path[KEY_PATH_LEN];

	if (raw->ports_count == 0)
		return ctl_yaml_error(load->yaml, load->err, "ports",
			"empty; a tunnel needs one, such as - {kind: af_xdp, device: eth0}");
	if (raw->ports_count > DP_PORTS_MAX)
		return ctl_yaml_error(
			load->yaml, load->err, "ports", "more than %d ports", DP_PORTS_MAX);
	for (unsigned i = 0; i < raw->ports_count; i++) {
		int rc;

		snprintf(path, sizeof(path), "ports[%u].kind", i);
		if (!ctl_yaml_has(load->yaml, path))
			return ctl_yaml_error(load->yaml, load->err, path,
				"missing; af_xdp, or af_packet where the kernel lacks it");
		dp->ports[i].kind = (enum dp_port_kind)raw->ports[i].kind;
		snprintf(path, sizeof(path), "ports[%u].device", i);
		rc = take_device(load, dp->ports[i].device, raw->ports[i].device, path);
		if (rc < 0)
			return rc;
		for (unsigned j = 0; j < i; j++)
			if (strcmp(dp->ports[j].device, dp->ports[i].device) == 0)
				return ctl_yaml_error(load->yaml, load->err, path,
					"%s is the device of ports[%u] already",
					dp->ports[i].device, j);
	}
	dp->n_ports = raw->ports_count;
	return 0;
}

static int fill_listen_port(const struct load *load)
{
	load->config->dp.listen_port = load->raw->listen_port;
	if (!ctl_yaml_has(load->yaml, "listen_port"))
		load->config->dp.listen_port = DEFAULT_LISTEN_PORT;
	if (load->config->dp.listen_port == 0)
		return ctl_yaml_error(load->yaml, load->err, "listen_port",
			"0 is no port; peers must know it: 1 to 65535, %d by custom",
			DEFAULT_LISTEN_PORT);
	return 0;
}

static int fill_private_key(const struct load *load)
{
	struct ctl_config *config = load->config;
	const char *path = load->raw->private_key_file;
	struct base_error warning, reason;

	if (config->has_mesh && path)
		return ctl_yaml_error(load->yaml, load->err, "private_key_file",
			"a node of a mesh makes its key itself, in mesh.state_dir; remove this "
			"line");
	if (config->has_mesh)
		return 0;
	if (!path || !*path)
		return ctl_yaml_error(load->yaml, load->err, "private_key_file",
			"missing; ports need a key: sandd-gw keygen /etc/sandd-gw/private.key");
	config->private_key_file = strdup(path);
	if (!config->private_key_file)
		return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
	if (ctl_key_read(&config->dp.private_key, path, &warning, &reason) < 0)
		return ctl_yaml_error(load->yaml, load->err, "private_key_file", "%s", reason.text);
	if (warning.text[0] && load->warn)
		load->warn(warning.text);
	cr_x25519_public(&config->public_key, &config->dp.private_key);
	return 0;
}

/* One CPU that this process may run on. */
static int check_cpu(
	const struct load *load, const cpu_set_t *allowed, uint32_t cpu, const char *path)
{
	if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, allowed))
		return 0;
	return ctl_yaml_error(load->yaml, load->err, path,
		"CPU %u is not there, or not for this process; see: taskset -cp $$", cpu);
}

static int take_worker_cpus(const struct load *load, const cpu_set_t *allowed)
{
	const struct ctl_raw_workers *workers = &load->raw->workers;
	struct dp_config *dp = &load->config->dp;
	char path[KEY_PATH_LEN];

	if (workers->cpus_count == 0 || workers->cpus_count > DP_WORKERS_MAX)
		return ctl_yaml_error(load->yaml, load->err, "workers.cpus",
			"give 1 to %d CPU numbers, or leave workers out", DP_WORKERS_MAX);
	for (unsigned i = 0; i < workers->cpus_count; i++) {
		int rc;

		snprintf(path, sizeof(path), "workers.cpus[%u]", i);
		rc = check_cpu(load, allowed, workers->cpus[i], path);
		if (rc < 0)
			return rc;
		for (unsigned j = 0; j < i; j++)
			if (workers->cpus[j] == workers->cpus[i])
				return ctl_yaml_error(load->yaml, load->err, path,
					"CPU %u has a worker already; one worker a CPU",
					workers->cpus[i]);
		dp->worker_cpus[i] = workers->cpus[i];
	}
	dp->n_workers = workers->cpus_count;
	return 0;
}

static bool cpu_has_worker(const struct dp_config *dp, unsigned cpu)
{
	for (unsigned i = 0; i < dp->n_workers; i++)
		if (dp->worker_cpus[i] == cpu)
			return true;
	return false;
}

/* The first allowed CPU other than @taken and, if it can be had, without a worker. */
static unsigned pick_cpu(const struct dp_config *dp, const cpu_set_t *allowed, unsigned taken)
{
	unsigned fallback = taken;

	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, allowed) || cpu == taken)
			continue;
		if (!cpu_has_worker(dp, cpu))
			return cpu;
		if (fallback == CPU_SETSIZE)
			fallback = cpu;
	}
	return fallback;
}

/* Defaults: control on the first CPU, one worker on the next; both on the only one. */
static int fill_cpus(const struct load *load)
{
	struct dp_config *dp = &load->config->dp;
	bool has_control = ctl_yaml_has(load->yaml, "control_cpu");
	const cpu_set_t *allowed = &load->config->cpus;
	int rc = 0;

	if (ctl_yaml_has(load->yaml, "workers"))
		rc = take_worker_cpus(load, allowed);
	if (rc == 0 && has_control)
		rc = check_cpu(load, allowed, load->raw->control_cpu, "control_cpu");
	if (rc < 0)
		return rc;
	dp->control_cpu = has_control ? load->raw->control_cpu : pick_cpu(dp, allowed, CPU_SETSIZE);
	if (dp->n_workers == 0) {
		dp->worker_cpus[0] = pick_cpu(dp, allowed, dp->control_cpu);
		dp->n_workers = 1;
	}
	if (cpu_has_worker(dp, dp->control_cpu) && CPU_COUNT(allowed) > 1 && load->warn)
		load->warn("control_cpu is a worker's CPU too: handshakes and the API share it");
	return 0;
}

static int fill_engine(const struct load *load)
{
	static const char *const cryptos[] = {
		[CTL_CRYPTO_AUTO] = "auto",
		[CTL_CRYPTO_LANES] = "lanes",
		[CTL_CRYPTO_IPSEC_MB] = "ipsec-mb",
		[CTL_CRYPTO_LIBSODIUM] = "libsodium",
	};
	struct dp_config *dp = &load->config->dp;

	dp->idle = ctl_yaml_has(load->yaml, "idle") ? (enum dp_idle_mode)load->raw->idle
						    : DP_IDLE_ADAPTIVE;
	dp->crypto = cryptos[load->raw->crypto];
	dp->memory_mb = load->raw->memory_mb;
	dp->has_telemetry = load->raw->telemetry;
	if (dp->memory_mb > MEMORY_MB_MAX)
		return ctl_yaml_error(load->yaml, load->err, "memory_mb",
			"%u MB is more than %u; leave it out to reserve what the ports need",
			dp->memory_mb, MEMORY_MB_MAX);
	return 0;
}

static int take_host_addresses(const struct load *load)
{
	const struct ctl_raw_host *host = &load->raw->host;
	struct dp_config *dp = &load->config->dp;
	char path[KEY_PATH_LEN];

	if (load->config->has_mesh && host->addresses_count)
		return ctl_yaml_error(load->yaml, load->err, "host.addresses",
			"the mesh's server gives the addresses; remove this line");
	if (load->config->has_mesh)
		return 0;
	if (host->addresses_count == 0)
		return ctl_yaml_error(load->yaml, load->err, "host.addresses",
			"missing; ports need an address of this gateway in the mesh: "
			"[10.9.0.1/24]");
	if (host->addresses_count > DP_HOST_ADDRS_MAX)
		return ctl_yaml_error(load->yaml, load->err, "host.addresses",
			"more than %d addresses", DP_HOST_ADDRS_MAX);
	for (unsigned i = 0; i < host->addresses_count; i++) {
		snprintf(path, sizeof(path), "host.addresses[%u]", i);
		if (base_ifaddr_parse(&dp->host_addrs[i], host->addresses[i]) < 0)
			return ctl_yaml_error(load->yaml, load->err, path,
				"'%s' is not ADDRESS/BITS, such as 10.9.0.1/24 or fd00:9::1/64",
				host->addresses[i]);
		for (unsigned j = 0; j < i; j++)
			if (base_addr_equal(&dp->host_addrs[j].addr, &dp->host_addrs[i].addr))
				return ctl_yaml_error(
					load->yaml, load->err, path, "given twice; remove one");
	}
	dp->n_host_addrs = host->addresses_count;
	return 0;
}

static int take_host_mtu(const struct load *load)
{
	struct dp_config *dp = &load->config->dp;
	unsigned min = load->config->has_mesh ? HOST_MTU_MIN_V6 : DP_HOST_MTU_MIN;

	for (unsigned i = 0; i < dp->n_host_addrs; i++)
		if (dp->host_addrs[i].addr.family == BASE_FAMILY_V6)
			min = HOST_MTU_MIN_V6;
	dp->host_mtu = load->raw->host.mtu;
	if (!ctl_yaml_has(load->yaml, "host.mtu"))
		dp->host_mtu = DEFAULT_HOST_MTU;
	if (dp->host_mtu < min || dp->host_mtu > DP_HOST_MTU_MAX)
		return ctl_yaml_error(load->yaml, load->err, "host.mtu",
			"%u is out of range: %u%s to %d", dp->host_mtu, min,
			min == HOST_MTU_MIN_V6 ? " (the least that IPv6 takes)" : "",
			DP_HOST_MTU_MAX);
	return 0;
}

static int fill_host(const struct load *load)
{
	const char *device = load->raw->host.device;
	int rc;

	rc = take_device(load, load->config->dp.host_device, device ? device : DEFAULT_HOST_DEVICE,
		"host.device");
	if (rc == 0)
		rc = take_host_addresses(load);
	if (rc == 0)
		rc = take_host_mtu(load);
	return rc;
}

/* Where the controller listens on the mesh: on an address of the host interface only. */
static int fill_listen(const struct load *load)
{
	struct ctl_config *config = load->config;
	const char *text = load->raw->controller.listen;
	int rc;

	if (config->has_mesh && text)
		return ctl_yaml_error(load->yaml, load->err, "controller.listen",
			"in a mesh the controller listens on the addresses that the server gives, "
			"port %d; "
			"remove this line",
			WS_DEFAULT_PORT);
	if (config->has_mesh)
		return 0;
	config->listen.addr = config->dp.host_addrs[0].addr;
	config->listen.port = WS_DEFAULT_PORT;
	if (!text)
		return 0;
	rc = take_endpoint(load, &config->listen, text, "controller.listen");
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < config->dp.n_host_addrs; i++)
		if (base_addr_equal(&config->dp.host_addrs[i].addr, &config->listen.addr))
			return 0;
	return ctl_yaml_error(load->yaml, load->err, "controller.listen",
		"'%s' is none of host.addresses; to listen outside of the mesh use "
		"controller.direct",
		text);
}

/* A prefix of a rule; absent is any. */
static int take_rule_prefix(
	const struct load *load, struct base_prefix *ret_prefix, const char *text, const char *path)
{
	*ret_prefix = (struct base_prefix){0};
	if (text && base_prefix_parse(ret_prefix, text, true) < 0)
		return ctl_yaml_error(load->yaml, load->err, path,
			"'%s' is not an address or a prefix without host bits, such as 10.9.0.0/24",
			text);
	return 0;
}

/* "any", "tcp", "udp", "icmp" (both kinds, told by *ret_is_icmp) or a number. */
static int take_proto(const struct load *load, uint8_t *ret_proto, bool *ret_is_icmp,
	const char *text, unsigned i)
{
	char path[KEY_PATH_LEN], rest;
	unsigned number = 0;

	*ret_is_icmp = text && strcmp(text, "icmp") == 0;
	if (!text || strcmp(text, "any") == 0 || *ret_is_icmp) {
		number = 0;
	} else if (strcmp(text, "tcp") == 0) {
		number = IPPROTO_TCP;
	} else if (strcmp(text, "udp") == 0) {
		number = IPPROTO_UDP;
	} else if (sscanf(text, "%3u%c", &number, &rest) != 1 || number == 0 || number > 255) {
		snprintf(path, sizeof(path), "filter[%u].proto", i);
		return ctl_yaml_error(load->yaml, load->err, path,
			"'%s' is none of: any, tcp, udp, icmp, or a protocol number from 1 to 255",
			text);
	}
	*ret_proto = (uint8_t)number;
	return 0;
}

/* "8765" or "8000-8999"; absent is any. */
static int take_rule_ports(
	const struct load *load, struct ctl_rule *rule, const char *text, unsigned i)
{
	char path[KEY_PATH_LEN], rest;
	unsigned first = 0, last = 65535;

	snprintf(path, sizeof(path), "filter[%u].ports", i);
	if (text) {
		if (rule->proto != IPPROTO_TCP && rule->proto != IPPROTO_UDP)
			return ctl_yaml_error(load->yaml, load->err, path,
				"ports are of tcp or udp; add proto: tcp to this rule");
		if (sscanf(text, "%5u-%5u%c", &first, &last, &rest) != 2) {
			if (sscanf(text, "%5u%c", &first, &rest) != 1)
				first = UINT32_MAX;
			last = first;
		}
		if (first > last || last > 65535)
			return ctl_yaml_error(load->yaml, load->err, path,
				"'%s' is not a port or a range, such as 8765 or 8000-8999", text);
	}
	rule->dst.port_first = (uint16_t)first;
	rule->dst.port_last = (uint16_t)last;
	return 0;
}

/* ICMP has a number in each family: the rule's family decides, without one both are meant. */
static void add_icmp(struct dp_config *dp, struct ctl_rule *rules, struct ctl_rule rule)
{
	uint8_t family = rule.src.addr.family ? rule.src.addr.family : rule.dst.prefix.addr.family;

	if (family != BASE_FAMILY_V6) {
		rule.proto = IPPROTO_ICMP;
		rules[dp->n_rules++] = rule;
	}
	if (family != BASE_FAMILY_V4) {
		rule.proto = IPPROTO_ICMPV6;
		rules[dp->n_rules++] = rule;
	}
}

static int add_rule(const struct load *load, unsigned i)
{
	const struct ctl_raw_rule *raw = &load->raw->filter[i];
	struct dp_config *dp = &load->config->dp;
	struct ctl_rule rule = {0};
	char path[KEY_PATH_LEN];
	bool is_icmp = false;
	int rc;

	snprintf(path, sizeof(path), "filter[%u].from", i);
	rc = take_rule_prefix(load, &rule.src, raw->from, path);
	snprintf(path, sizeof(path), "filter[%u].to", i);
	if (rc == 0)
		rc = take_rule_prefix(load, &rule.dst.prefix, raw->to, path);
	if (rc == 0 && raw->from && raw->to && rule.src.addr.family != rule.dst.prefix.addr.family)
		rc = ctl_yaml_error(load->yaml, load->err, path,
			"from and to are of different families; write one rule for each");
	if (rc == 0)
		rc = take_proto(load, &rule.proto, &is_icmp, raw->proto, i);
	if (rc == 0)
		rc = take_rule_ports(load, &rule, raw->ports, i);
	if (rc < 0)
		return rc;
	if (is_icmp)
		add_icmp(dp, load->config->rules, rule);
	else
		load->config->rules[dp->n_rules++] = rule;
	return 0;
}

/* Without a filter in the file: the controller's port, and ping, to each of the gateway's addresses. */
static void add_default_rules(struct ctl_config *config)
{
	struct dp_config *dp = &config->dp;

	config->has_default_filter = true;
	for (unsigned i = 0; i < dp->n_host_addrs; i++) {
		struct ctl_rule rule = {.dst = {.prefix = dp->host_addrs[i], .port_last = 65535}};
		struct base_prefix *own = &rule.dst.prefix;

		own->bits = (uint8_t)(8 * base_family_bytes(own->addr.family));
		add_icmp(dp, config->rules, rule);
		if (!base_addr_equal(&own->addr, &config->listen.addr))
			continue;
		rule.proto = IPPROTO_TCP;
		rule.dst.port_first = rule.dst.port_last = config->listen.port;
		config->rules[dp->n_rules++] = rule;
	}
}

static int fill_filter(const struct load *load)
{
	struct ctl_config *config = load->config;
	size_t room = 2 * (size_t)load->raw->filter_count + 2 * DP_HOST_ADDRS_MAX;

	config->rules = calloc(room, sizeof(*config->rules));
	config->dp_rules = calloc(room, sizeof(*config->dp_rules));
	if (!config->rules || !config->dp_rules)
		return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
	if (!ctl_yaml_has(load->yaml, "filter") && !config->has_mesh)
		add_default_rules(config);
	for (unsigned i = 0; i < load->raw->filter_count; i++) {
		int rc = add_rule(load, i);

		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < config->dp.n_rules; i++) {
		const struct ctl_rule *rule = &config->rules[i];

		config->dp_rules[i] = (struct dp_filter_rule){&rule->src, 1, &rule->dst, 1,
			rule->proto ? &rule->proto : NULL, rule->proto ? 1 : 0};
	}
	config->dp.rules = config->dp_rules;
	return 0;
}

/* Without ports there is no tunnel, and nothing that belongs to one. */
static int check_no_tunnel(const struct load *load)
{
	static const char *const tunnel_keys[] = {"listen_port", "private_key_file", "workers",
		"control_cpu", "idle", "crypto", "memory_mb", "telemetry", "host", "mesh", "filter",
		"peers", "controller.listen"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(tunnel_keys); i++)
		if (ctl_yaml_has(load->yaml, tunnel_keys[i]))
			return ctl_yaml_error(load->yaml, load->err, tunnel_keys[i],
				"is of a tunnel, but there are no ports; add ports: [{kind: "
				"af_xdp, device: eth0}]");
	if (!load->raw->controller.direct)
		return ctl_yaml_error(load->yaml, load->err, "",
			"neither ports (a tunnel) nor controller.direct (without one): nothing to "
			"do; sandd-gw.example.yaml shows both");
	return 0;
}

/* Who may use the API besides root; the group must be there already. */
static int fill_socket_group(const struct load *load)
{
	struct ctl_config *config = load->config;
	const char *name = load->raw->api.group;
	const struct group *group;

	config->socket_gid = (gid_t)-1;
	if (!name)
		return 0;
	group = getgrnam(name);
	if (!group)
		return ctl_yaml_error(load->yaml, load->err, "api.group",
			"no group '%s' on this machine; make it: groupadd --system %s", name, name);
	config->socket_gid = group->gr_gid;
	config->socket_group = strdup(name);
	if (!config->socket_group)
		return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
	return 0;
}

static int fill_common(const struct load *load)
{
	struct ctl_config *config = load->config;
	const char *socket = load->raw->api.socket ? load->raw->api.socket : CTL_SOCKET_DEFAULT;
	int rc;

	if (strlen(socket) >= sizeof(config->socket) || socket[0] != '/')
		return ctl_yaml_error(load->yaml, load->err, "api.socket",
			"'%s' is not an absolute path of at most %d characters", socket,
			CTL_SOCKET_PATH_LEN - 1);
	strcpy(config->socket, socket);
	strcpy(config->file_socket, socket);
	config->log_level = ctl_yaml_has(load->yaml, "log_level")
		? (enum base_log_level)load->raw->log_level
		: BASE_LOG_INFO;
	rc = fill_socket_group(load);
	if (rc < 0 || !load->raw->controller.direct)
		return rc;
	return take_endpoint(
		load, &config->direct, load->raw->controller.direct, "controller.direct");
}

static int fill_mesh(const struct load *load)
{
	load->config->has_mesh = ctl_yaml_has(load->yaml, "mesh");
	if (!load->config->has_mesh)
		return 0;
	return ctl_mesh_config_load(
		&load->config->mesh, &load->raw->mesh, load->yaml, load->warn, load->err);
}

/* All sections, in the order in which they need each other. */
static int config_fill(const struct load *load)
{
	static int (*const tunnel_sections[])(const struct load *) = {fill_mesh, fill_ports,
		fill_listen_port, fill_private_key, fill_cpus, fill_engine, fill_host, fill_listen,
		fill_filter};
	int rc = fill_common(load);

	if (rc < 0)
		return rc;
	if (!ctl_yaml_has(load->yaml, "ports"))
		return check_no_tunnel(load);
	load->config->has_tunnel = true;
	for (size_t i = 0; i < BASE_ARRAY_LEN(tunnel_sections); i++) {
		rc = tunnel_sections[i](load);
		if (rc < 0)
			return rc;
	}
	return ctl_peers_load(load->config, load->raw, load->yaml, load->warn, load->err);
}

static int config_load_text(struct ctl_config *config, const char *text, size_t len,
	void (*warn)(const char *line), struct base_error *ret_error)
{
	struct ctl_yaml *yaml = ctl_yaml_new(config->file, text, len, ret_error);
	struct ctl_raw *raw = NULL;
	int rc;

	if (!yaml)
		return -errno;
	raw = ctl_raw_load(yaml, text, len, ret_error);
	if (raw) {
		struct load load = {yaml, raw, config, warn, ret_error};

		rc = config_fill(&load);
	} else {
		rc = -errno;
	}
	ctl_raw_free(raw);
	ctl_yaml_free(yaml);
	return rc;
}

static int config_read(struct ctl_config *config, const char *path, void (*warn)(const char *line),
	struct base_error *ret_error)
{
	char *text = malloc(CTL_CONFIG_BYTES_MAX + 1);
	size_t len;
	int rc;

	config->file = strdup(path);
	if (!text || !config->file)
		rc = base_error_set(ret_error, -ENOMEM, "%s: out of memory", path);
	else if ((rc = ctl_file_read(path, CTL_CONFIG_BYTES_MAX, text, &len, NULL)) == -ENOENT)
		base_error_set(ret_error, rc,
			"%s: no such file; copy sandd-gw.example.yaml there, or name another with "
			"--config FILE",
			path);
	else if (rc == -EFBIG)
		base_error_set(ret_error, rc, "%s: larger than %u bytes, which no configuration is",
			path, CTL_CONFIG_BYTES_MAX);
	else if (rc < 0)
		base_error_set(ret_error, rc,
			"%s: %s; --config needs a file that this user may read", path,
			rc == -EINVAL ? "No regular file" : strerror(-rc));
	else
		rc = config_load_text(config, text, len, warn, ret_error);
	free(text);
	return rc;
}

static struct ctl_config *load_from(const char *path, const cpu_set_t *cpus,
	void (*warn)(const char *line), struct base_error *ret_error)
{
	struct ctl_config *config = calloc(1, sizeof(*config));
	int rc;

	if (!config) {
		base_error_set(ret_error, -ENOMEM, "%s: out of memory", path);
		errno = ENOMEM;
		return NULL;
	}
	config->cpus = *cpus;
	rc = config_read(config, path, warn, ret_error);
	if (rc == 0)
		return config;
	ctl_config_free(config);
	errno = -rc;
	return NULL;
}

struct ctl_config *ctl_config_load(
	const char *path, void (*warn)(const char *line), struct base_error *ret_error)
{
	cpu_set_t cpus;

	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0) {
		int rc = base_error_set(ret_error, -errno, "CPU affinity: %s", strerror(errno));

		errno = -rc;
		return NULL;
	}
	return load_from(path, &cpus, warn, ret_error);
}

struct ctl_config *ctl_config_load_again(const struct ctl_config *running,
	void (*warn)(const char *line), struct base_error *ret_error)
{
	return load_from(running->file, &running->cpus, warn, ret_error);
}

void ctl_config_adopt(struct ctl_config *config, const struct coord_identity *identity)
{
	struct dp_config *dp = &config->dp;

	dp->private_key = identity->node_private;
	cr_x25519_public(&config->public_key, &dp->private_key);
	dp->n_host_addrs = 0;
	for (unsigned i = 0; i < identity->n_addresses; i++) {
		const struct base_addr *addr = &identity->addresses[i];

		dp->host_addrs[dp->n_host_addrs++] =
			(struct base_prefix){*addr, (uint8_t)(8 * base_family_bytes(addr->family))};
	}
}

void ctl_config_free(struct ctl_config *config)
{
	if (!config)
		return;
	ctl_mesh_config_fini(&config->mesh);
	ctl_peers_free(config->peers, config->n_peers);
	free(config->rules);
	free(config->dp_rules);
	free(config->private_key_file);
	free(config->socket_group);
	free(config->file);
	base_wipe(config, sizeof(*config));
	free(config);
}
