/* SPDX-License-Identifier: BSD-3-Clause */
/* What the `mesh` section means: each key by itself, then what goes together. See ctl_mesh_config.h. */
#include "ctl_mesh_config.h"

#include "base_authority.h"
#include "ctl_file.h"

#include <ctype.h>
#include <stdlib.h>
#include <unistd.h>

#define HOSTNAME_BYTES_MAX 63
#define MAP_LIMIT_MB_MAX 1024
/* What travels is smaller than what it is unpacked to; by the proportion of coord's own limits. */
#define MAP_UNPACKED (COORD_MAP_DECODED_MAX / COORD_MAP_BYTES_MAX)

struct load {
	struct ctl_mesh_config *mesh;
	const struct ctl_raw_mesh *raw;
	const struct ctl_yaml *yaml;
	void (*warn)(const char *line);
	struct base_error *err;
};

static int no_memory(const struct load *load)
{
	return base_error_set(load->err, -ENOMEM, "configuration: out of memory");
}

/* Copy a text; an absent one is NULL. */
static int take_text(const struct load *load, char **ret_text, const char *text)
{
	if (!text)
		return 0;
	*ret_text = strdup(text);
	return *ret_text ? 0 : no_memory(load);
}

/* --- the server ------------------------------------------------------------------------------ */

/* HOST[:PORT], and no path but "/". */
static bool is_server(struct base_authority *ret_server, const char *text)
{
	struct base_error why;
	ssize_t len = strpbrk(text, " ?#@\\") ? -1 : base_authority_parse(ret_server, text, &why);

	return len >= 0 && (text[len] == '\0' || strcmp(text + len, "/") == 0);
}

/* Does the way to this host stay where we are? Private and local addresses, names without a dot or of a private zone. */
static bool is_near(const char *host)
{
	static const char *const networks[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
		"127.0.0.0/8", "169.254.0.0/16", "192.0.2.0/24", "198.51.100.0/24",
		"203.0.113.0/24", "::1/128", "fc00::/7", "fe80::/10", "2001:db8::/32"};
	static const char *const zones[] = {".local", ".internal", ".lan", ".test", ".home.arpa"};
	struct base_prefix network;
	struct base_addr addr;
	size_t len = strlen(host);

	if (base_addr_parse(&addr, host) == 0) {
		for (size_t i = 0; i < BASE_ARRAY_LEN(networks); i++)
			if (base_prefix_parse(&network, networks[i], true) == 0 &&
				base_prefix_contains(&network, &addr))
				return true;
		return false;
	}
	for (size_t i = 0; i < BASE_ARRAY_LEN(zones); i++)
		if (len > strlen(zones[i]) &&
			strcasecmp(host + len - strlen(zones[i]), zones[i]) == 0)
			return true;
	return strchr(host, '.') == NULL;
}

static int take_server(const struct load *load)
{
	const char *text = load->raw->server, *rest = NULL;
	struct base_authority server;
	char line[512];
	bool is_plain;

	if (!text)
		return ctl_yaml_error(load->yaml, load->err, "mesh.server",
			"missing; the Headscale server, such as https://headscale.example.org");
	is_plain = strncmp(text, "http://", 7) == 0;
	if (is_plain)
		rest = text + 7;
	else if (strncmp(text, "https://", 8) == 0)
		rest = text + 8;
	if (!rest || strlen(text) > COORD_URL_BYTES_MAX || !is_server(&server, rest))
		return ctl_yaml_error(load->yaml, load->err, "mesh.server",
			"'%.100s' is not http://HOST[:PORT] or https://HOST[:PORT]", text);
	if (is_plain && !is_near(server.host) && load->warn) {
		snprintf(line, sizeof(line),
			"mesh.server: %s is not encrypted: whoever is on the way can pretend to be "
			"it "
			"the first time; use https, or give mesh.server_key",
			text);
		load->warn(line);
	}
	return take_text(load, &load->mesh->server, text);
}

static int take_server_key(const struct load *load)
{
	const char *text = load->raw->server_key;
	uint8_t key[CR_KEY_BYTES];

	if (text &&
		(strncmp(text, "mkey:", 5) != 0 || !base_hex_decode(key, sizeof(key), text + 5)))
		return ctl_yaml_error(load->yaml, load->err, "mesh.server_key",
			"not mkey: and 64 hex digits; curl SERVER/key?v=138 shows it as publicKey");
	return take_text(load, &load->mesh->server_key, text);
}

/* --- the auth key ---------------------------------------------------------------------------- */

static int check_authkey(const char *text, size_t len)
{
	if (len == 0 || strlen(text) != len)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)text[i]))
			return -EINVAL;
	return 0;
}

int ctl_authkey_read(char **ret_key, const char *path, struct base_error *ret_error)
{
	char text[CTL_AUTHKEY_BYTES_MAX + 1];
	mode_t mode;
	size_t len;
	int rc = ctl_file_read(path, CTL_AUTHKEY_BYTES_MAX, text, &len, &mode);

	if (rc < 0)
		return base_error_set(ret_error, rc, "auth key file %s: %s", path, strerror(-rc));
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
	if (mode & 077) {
		rc = base_error_set(ret_error, -EPERM,
			"auth key file %s may be read by others (mode %04o); chmod 600 it, and "
			"have "
			"the server expire the key if others did",
			path, (unsigned)mode & 07777);
	} else if (check_authkey(text, len) < 0) {
		rc = base_error_set(ret_error, -EINVAL,
			"auth key file %s does not hold one line with a key; make one: headscale "
			"preauthkeys create",
			path);
	} else {
		*ret_key = strdup(text);
		if (!*ret_key)
			rc = base_error_set(ret_error, -ENOMEM, "%s: out of memory", path);
	}
	base_wipe(text, sizeof(text));
	return rc;
}

/* From the environment, where it is wiped: /proc/PID/environ and children do not see it any more. */
static int take_environment(const struct load *load, char *text)
{
	int rc = 0;

	if (check_authkey(text, strlen(text)) < 0)
		rc = base_error_set(load->err, -EINVAL,
			CTL_AUTHKEY_ENV " in the environment is not an auth key");
	else
		rc = take_text(load, &load->mesh->authkey, text);
	base_wipe(text, strlen(text));
	unsetenv(CTL_AUTHKEY_ENV);
	return rc;
}

static int take_authkey(const struct load *load)
{
	const char *path = load->raw->authkey_file;
	char *environment = getenv(CTL_AUTHKEY_ENV);
	struct base_error reason;
	int rc;

	if (load->raw->authkey)
		return ctl_yaml_error(load->yaml, load->err, "mesh.authkey",
			"a secret does not belong in here%s; put it into a file of mode 0600 and "
			"name "
			"that in mesh.authkey_file",
			path ? ", and there is an authkey_file already" : "");
	if (path && environment)
		return ctl_yaml_error(load->yaml, load->err, "mesh.authkey_file",
			CTL_AUTHKEY_ENV " is in the environment too; leave out one of them");
	if (environment)
		return take_environment(load, environment);
	rc = take_text(load, &load->mesh->authkey_file, path);
	if (rc < 0 || !path)
		return rc;
	rc = ctl_authkey_read(&load->mesh->authkey, path, &reason);
	/* A key that was used once may be gone: the identity in the state is what counts then. */
	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return ctl_yaml_error(
			load->yaml, load->err, "mesh.authkey_file", "%s", reason.text);
	return 0;
}

/* --- the rest -------------------------------------------------------------------------------- */

/* A label of a name (RFC 1123), which the server would otherwise change into one. */
static bool is_label(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && (text[i] != '-' || i == 0 || i == len - 1))
			return false;
	return len > 0 && len <= HOSTNAME_BYTES_MAX;
}

static int take_hostname(const struct load *load)
{
	char name[HOSTNAME_BYTES_MAX + 2] = "";

	if (load->raw->hostname && !is_label(load->raw->hostname))
		return ctl_yaml_error(load->yaml, load->err, "mesh.hostname",
			"'%.100s' is no host name: letters, digits and hyphens, at most %d",
			load->raw->hostname, HOSTNAME_BYTES_MAX);
	if (load->raw->hostname)
		return take_text(load, &load->mesh->hostname, load->raw->hostname);
	if (gethostname(name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	name[strcspn(name, ".")] = '\0';
	return take_text(load, &load->mesh->hostname, is_label(name) ? name : "sandd-gw");
}

static int take_routes(const struct load *load)
{
	struct ctl_mesh_config *mesh = load->mesh;
	char path[64];

	if (load->raw->advertise_routes_count > COORD_ROUTES_MAX)
		return ctl_yaml_error(load->yaml, load->err, "mesh.advertise_routes",
			"more than %d routes", COORD_ROUTES_MAX);
	for (unsigned i = 0; i < load->raw->advertise_routes_count; i++) {
		const char *text = load->raw->advertise_routes[i];
		struct base_prefix *route = &mesh->advertise_routes[i];

		snprintf(path, sizeof(path), "mesh.advertise_routes[%u]", i);
		if (base_prefix_parse(route, text, true) < 0)
			return ctl_yaml_error(load->yaml, load->err, path,
				"'%.100s' is not a prefix without host bits, such as 10.1.0.0/16",
				text);
		for (unsigned j = 0; j < i; j++)
			if (base_prefix_equal(&mesh->advertise_routes[j], route))
				return ctl_yaml_error(
					load->yaml, load->err, path, "given twice; remove one");
	}
	mesh->n_advertise_routes = load->raw->advertise_routes_count;
	return 0;
}

static int take_paths(const struct load *load)
{
	const char *dir = load->raw->state_dir ? load->raw->state_dir : CTL_STATE_DIR_DEFAULT;
	int rc;

	if (dir[0] != '/')
		return ctl_yaml_error(load->yaml, load->err, "mesh.state_dir",
			"'%.100s' is not an absolute path", dir);
	rc = take_text(load, &load->mesh->state_dir, dir);
	if (rc == 0)
		rc = take_text(load, &load->mesh->ca_file, load->raw->ca_file);
	return rc;
}

static int take_limit(const struct load *load)
{
	uint32_t mb = load->raw->map_limit_mb;

	if (ctl_yaml_has(load->yaml, "mesh.map_limit_mb") && (mb == 0 || mb > MAP_LIMIT_MB_MAX))
		return ctl_yaml_error(load->yaml, load->err, "mesh.map_limit_mb",
			"%u is out of range: 1 to %d, for a map as it travels", mb,
			MAP_LIMIT_MB_MAX);
	load->mesh->map_bytes_max = (size_t)mb << 20;
	load->mesh->map_decoded_max = MAP_UNPACKED * load->mesh->map_bytes_max;
	return 0;
}

int ctl_mesh_config_load(struct ctl_mesh_config *mesh, const struct ctl_raw_mesh *raw,
	const struct ctl_yaml *yaml, void (*warn)(const char *line), struct base_error *ret_error)
{
	static int (*const parts[])(const struct load *) = {take_server, take_server_key,
		take_authkey, take_hostname, take_routes, take_paths, take_limit};
	const struct load load = {mesh, raw, yaml, warn, ret_error};
	int rc = 0;

	for (size_t i = 0; i < BASE_ARRAY_LEN(parts) && rc == 0; i++)
		rc = parts[i](&load);
	mesh->accept_routes = raw->accept_routes;
	mesh->has_dns = raw->dns;
	mesh->on_removed = (enum coord_on_removed)raw->on_removed;
	return rc;
}

void ctl_mesh_config_fini(struct ctl_mesh_config *mesh)
{
	if (mesh->authkey)
		base_wipe(mesh->authkey, strlen(mesh->authkey));
	free(mesh->authkey);
	free(mesh->authkey_file);
	free(mesh->server);
	free(mesh->state_dir);
	free(mesh->hostname);
	free(mesh->ca_file);
	free(mesh->server_key);
	*mesh = (struct ctl_mesh_config){0};
}
