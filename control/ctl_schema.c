/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The schema table, and libcyaml's complaints in our words: it reports through its log callback, a
 * message first and then where it was, innermost first. See ctl_schema.h.
 */
#include "ctl_schema.h"

#include "base_log.h"
#include "dp_api.h"
#include "coord.h"

#include <cyaml/cyaml.h>
#include <stdlib.h>

#define TEXT_BYTES_MAX 4096

static const cyaml_strval_t port_kinds[] = {
	{"af_xdp", DP_PORT_AF_XDP},
	{"af_packet", DP_PORT_AF_PACKET},
};
static const cyaml_strval_t idle_modes[] = {
	{"poll", DP_IDLE_POLL},
	{"adaptive", DP_IDLE_ADAPTIVE},
};
static const cyaml_strval_t cryptos[] = {
	{"auto", CTL_CRYPTO_AUTO},
	{"lanes", CTL_CRYPTO_LANES},
	{"ipsec-mb", CTL_CRYPTO_IPSEC_MB},
	{"libsodium", CTL_CRYPTO_LIBSODIUM},
};
static const cyaml_strval_t log_levels[] = {
	{"error", BASE_LOG_ERROR},
	{"warn", BASE_LOG_WARN},
	{"info", BASE_LOG_INFO},
	{"debug", BASE_LOG_DEBUG},
};
static const cyaml_strval_t on_removed[] = {
	{"stop", COORD_REMOVED_STOP},
	{"rejoin", COORD_REMOVED_REJOIN},
};
/* An enum, because CYAML_BOOL takes any word that is not "false" for true. */
static const cyaml_strval_t switches[] = {{"off", false}, {"on", true}};
static const cyaml_strval_t booleans[] = {{"false", false}, {"true", true}};

/* clang-format off */
#define TEXT(key, type, member) \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, 0, \
		TEXT_BYTES_MAX)
#define NUMBER(key, type, member) CYAML_FIELD_UINT(key, CYAML_FLAG_OPTIONAL, type, member)
#define CHOICE(key, type, member, names) \
	CYAML_FIELD_ENUM(key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, type, member, names, \
		BASE_ARRAY_LEN(names))
#define LIST(key, type, member, entry) \
	CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, entry, 0, \
		CYAML_UNLIMITED)
#define GROUP(key, type, member, fields) \
	CYAML_FIELD_MAPPING(key, CYAML_FLAG_OPTIONAL, type, member, fields)
/* clang-format on */

static const cyaml_schema_value_t text_entry = {
	CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, TEXT_BYTES_MAX)};
static const cyaml_schema_value_t number_entry = {CYAML_VALUE_UINT(CYAML_FLAG_DEFAULT, uint32_t)};

static const cyaml_schema_field_t port_fields[] = {
	CHOICE("kind", struct ctl_raw_port, kind, port_kinds),
	TEXT("device", struct ctl_raw_port, device),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t port_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct ctl_raw_port, port_fields)};

static const cyaml_schema_field_t workers_fields[] = {
	LIST("cpus", struct ctl_raw_workers, cpus, &number_entry),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t host_fields[] = {
	TEXT("device", struct ctl_raw_host, device),
	LIST("addresses", struct ctl_raw_host, addresses, &text_entry),
	NUMBER("mtu", struct ctl_raw_host, mtu),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t mesh_fields[] = {
	TEXT("server", struct ctl_raw_mesh, server),
	TEXT("authkey_file", struct ctl_raw_mesh, authkey_file),
	TEXT("authkey", struct ctl_raw_mesh, authkey),
	TEXT("state_dir", struct ctl_raw_mesh, state_dir),
	TEXT("hostname", struct ctl_raw_mesh, hostname),
	TEXT("ca_file", struct ctl_raw_mesh, ca_file),
	TEXT("server_key", struct ctl_raw_mesh, server_key),
	LIST("advertise_routes", struct ctl_raw_mesh, advertise_routes, &text_entry),
	CHOICE("accept_routes", struct ctl_raw_mesh, accept_routes, booleans),
	CHOICE("dns", struct ctl_raw_mesh, dns, switches),
	CHOICE("on_removed", struct ctl_raw_mesh, on_removed, on_removed),
	NUMBER("map_limit_mb", struct ctl_raw_mesh, map_limit_mb),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t controller_fields[] = {
	TEXT("listen", struct ctl_raw_controller, listen),
	TEXT("direct", struct ctl_raw_controller, direct),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t api_fields[] = {
	TEXT("socket", struct ctl_raw_api, socket),
	TEXT("group", struct ctl_raw_api, group),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t rule_fields[] = {
	TEXT("from", struct ctl_raw_rule, from),
	TEXT("to", struct ctl_raw_rule, to),
	TEXT("proto", struct ctl_raw_rule, proto),
	TEXT("ports", struct ctl_raw_rule, ports),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t rule_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct ctl_raw_rule, rule_fields)};

static const cyaml_schema_field_t peer_fields[] = {
	TEXT("name", struct ctl_raw_peer, name),
	TEXT("public_key", struct ctl_raw_peer, public_key),
	TEXT("preshared_key_file", struct ctl_raw_peer, preshared_key_file),
	TEXT("endpoint", struct ctl_raw_peer, endpoint),
	LIST("allowed_ips", struct ctl_raw_peer, allowed_ips, &text_entry),
	NUMBER("keepalive", struct ctl_raw_peer, keepalive),
	CHOICE("fixed_endpoint", struct ctl_raw_peer, fixed_endpoint, booleans),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t peer_entry = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct ctl_raw_peer, peer_fields)};

static const cyaml_schema_field_t top_fields[] = {
	NUMBER("listen_port", struct ctl_raw, listen_port),
	TEXT("private_key_file", struct ctl_raw, private_key_file),
	LIST("ports", struct ctl_raw, ports, &port_entry),
	GROUP("workers", struct ctl_raw, workers, workers_fields),
	NUMBER("control_cpu", struct ctl_raw, control_cpu),
	CHOICE("idle", struct ctl_raw, idle, idle_modes),
	CHOICE("crypto", struct ctl_raw, crypto, cryptos),
	NUMBER("memory_mb", struct ctl_raw, memory_mb),
	CHOICE("telemetry", struct ctl_raw, telemetry, booleans),
	GROUP("host", struct ctl_raw, host, host_fields),
	GROUP("mesh", struct ctl_raw, mesh, mesh_fields),
	GROUP("controller", struct ctl_raw, controller, controller_fields),
	GROUP("api", struct ctl_raw, api, api_fields),
	LIST("filter", struct ctl_raw, filter, &rule_entry),
	LIST("peers", struct ctl_raw, peers, &peer_entry),
	CHOICE("log_level", struct ctl_raw, log_level, log_levels),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t top = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct ctl_raw, top_fields)};

/* What libcyaml told: the message, and the path that its backtrace spells from the inside out. */
struct complaint {
	char message[256];
	char path[256];
};

/* Put a step in front of the path. */
static void prepend(struct complaint *complaint, const char *step)
{
	char path[sizeof(complaint->path)];
	bool needs_dot = complaint->path[0] && complaint->path[0] != '[';

	if ((size_t)snprintf(path, sizeof(path), "%s%s%s", step, needs_dot ? "." : "",
		    complaint->path) < sizeof(path))
		memcpy(complaint->path, path, sizeof(path));
}

__attribute__((format(printf, 3, 0))) static void on_log(
	cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	static const char load[] = "Load: ";
	struct complaint *complaint = ctx;
	char line[256], name[128], step[128];
	const char *text = line;
	unsigned number;

	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(text, load, strlen(load)) == 0)
		text += strlen(load);
	if (sscanf(text, " in mapping field '%127[^']'", name) == 1) {
		prepend(complaint, name);
	} else if (sscanf(text, " in sequence entry '%u'", &number) == 1) {
		snprintf(step, sizeof(step), "[%u]", number - 1);
		prepend(complaint, step);
	} else if (complaint->message[0] == '\0' && strcmp(text, "Backtrace:") != 0) {
		snprintf(complaint->message, sizeof(complaint->message), "%s", text);
	}
}

static const cyaml_schema_field_t *field_find(
	const cyaml_schema_field_t *fields, const char *name, size_t len)
{
	for (; fields->key; fields++)
		if (strlen(fields->key) == len && memcmp(fields->key, name, len) == 0)
			return fields;
	return NULL;
}

/* The schema's entry of a path; NULL for one that it does not know. */
static const cyaml_schema_value_t *schema_at(const char *path)
{
	const cyaml_schema_value_t *value = &top;

	while (value && *path) {
		size_t len = strcspn(path, ".[");

		if (*path == '.') {
			path++;
		} else if (*path == '[') {
			value = value->type == CYAML_SEQUENCE ? value->sequence.entry : NULL;
			path += strcspn(path, "]") + 1;
		} else {
			const cyaml_schema_field_t *field = value->type == CYAML_MAPPING
				? field_find(value->mapping.fields, path, len)
				: NULL;

			value = field ? &field->value : NULL;
			path += len;
		}
	}
	return value;
}

/* "a, b, c": the words that would have been right. */
static void list_words(char *buf, size_t size, const cyaml_schema_value_t *value)
{
	size_t at = 0;

	buf[0] = '\0';
	if (value->type == CYAML_MAPPING) {
		for (const cyaml_schema_field_t *f = value->mapping.fields; f->key && at < size;
			f++)
			at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "", f->key);
	} else if (value->type == CYAML_ENUM) {
		for (uint32_t i = 0; i < value->enumeration.count && at < size; i++)
			at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "",
				value->enumeration.strings[i].str);
	}
}

/* "a number from 0 to 65535": what the schema wants here. */
static void describe(char *buf, size_t size, const cyaml_schema_value_t *value)
{
	char words[160];

	switch (value ? value->type : CYAML_IGNORE) {
	case CYAML_UINT:
		snprintf(buf, size, "a whole number from 0 to %llu",
			(1ULL << (8 * value->data_size)) - 1);
		break;
	case CYAML_ENUM:
		list_words(words, sizeof(words), value);
		snprintf(buf, size, "one of: %s", words);
		break;
	case CYAML_STRING:
		snprintf(buf, size, "a text of at most %d bytes", TEXT_BYTES_MAX);
		break;
	case CYAML_SEQUENCE:
		snprintf(buf, size, "a list (\"- entry\" lines or [a, b])");
		break;
	case CYAML_MAPPING:
		snprintf(buf, size, "a group of \"key: value\" lines");
		break;
	default:
		snprintf(buf, size, "something else");
		break;
	}
}

/* One line for people from what libcyaml told. */
static int explain(
	const struct ctl_yaml *yaml, struct complaint *complaint, struct base_error *ret_error)
{
	const cyaml_schema_value_t *value = schema_at(complaint->path);
	const char *message = complaint->message;
	char words[256], path[sizeof(complaint->path) + 130], got[128] = "";

	if (sscanf(message, "Unexpected key: %127[^\n]", got) == 1) {
		list_words(words, sizeof(words), value ? value : &top);
		snprintf(path, sizeof(path), "%s%s%s", complaint->path,
			complaint->path[0] ? "." : "", got);
		return ctl_yaml_error(yaml, ret_error, path, "unknown key; known here: %s", words);
	}
	if (strncmp(message, "Mapping field already seen", 26) == 0)
		return ctl_yaml_error(
			yaml, ret_error, complaint->path, "given twice in one group; remove one");
	describe(words, sizeof(words), value);
	if (sscanf(message, "Invalid %*s value: %127[^\n]", got) == 1)
		return ctl_yaml_error(yaml, ret_error, complaint->path, "%s is not %s", got, words);
	if (strncmp(message, "Expecting ", 10) == 0)
		return ctl_yaml_error(
			yaml, ret_error, complaint->path, "wrong type; it must be %s", words);
	if (strncmp(message, "STRING length", 13) == 0)
		return ctl_yaml_error(
			yaml, ret_error, complaint->path, "too long; it must be %s", words);
	return ctl_yaml_error(yaml, ret_error, complaint->path, "%s", message);
}

/* For the walk over all values. */
struct check {
	const struct ctl_yaml *yaml;
	struct base_error *err;
};

/* libcyaml takes "5x" for 5 and "010" for 8: a number here is its digits. */
static int check_number(void *ctx, const char *path, const char *text)
{
	const struct check *check = ctx;
	const cyaml_schema_value_t *value = schema_at(path);
	size_t n_digits = strspn(text, "0123456789");
	char words[160];

	if (!value || value->type != CYAML_UINT ||
		(text[n_digits] == '\0' && (text[0] != '0' || n_digits == 1)))
		return 0;
	describe(words, sizeof(words), value);
	return ctl_yaml_error(check->yaml, check->err, path, "'%s' is not %s", text, words);
}

static cyaml_config_t cyaml_config(struct complaint *complaint)
{
	return (cyaml_config_t){
		.log_fn = on_log,
		.log_ctx = complaint,
		.log_level = CYAML_LOG_ERROR,
		.mem_fn = cyaml_mem,
		.flags = CYAML_CFG_NO_ALIAS,
	};
}

struct ctl_raw *ctl_raw_load(
	const struct ctl_yaml *yaml, const char *text, size_t len, struct base_error *ret_error)
{
	struct complaint complaint = {0};
	cyaml_config_t config = cyaml_config(&complaint);
	cyaml_data_t *data = NULL;
	cyaml_err_t rc = cyaml_load_data((const uint8_t *)text, len, &config, &top, &data, NULL);

	if (rc == CYAML_OK && data) {
		struct check check = {yaml, ret_error};

		if (ctl_yaml_each(yaml, check_number, &check) == 0)
			return (struct ctl_raw *)data;
		ctl_raw_free((struct ctl_raw *)data);
		errno = EINVAL;
		return NULL;
	}
	if (rc == CYAML_ERR_OOM) {
		base_error_set(ret_error, -ENOMEM, "configuration: out of memory");
		errno = ENOMEM;
		return NULL;
	}
	if (complaint.message[0] == '\0')
		snprintf(complaint.message, sizeof(complaint.message), "%s",
			rc == CYAML_ERR_ALIAS
				? "aliases (*name) are not supported; write the value out"
				: cyaml_strerror(rc));
	errno = -explain(yaml, &complaint, ret_error);
	return NULL;
}

void ctl_raw_free(struct ctl_raw *raw)
{
	struct complaint complaint = {0};
	cyaml_config_t config = cyaml_config(&complaint);

	cyaml_free(&config, &top, raw, 0);
}
