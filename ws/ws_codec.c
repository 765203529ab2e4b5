/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandd.v1 in JSON. Decoding goes in two steps: ws_json_parse() bounds what the parser may build, then one
 * function per type picks its fields. Fields and their meaning: ws_messages.h. No state, any thread.
 */
#include "ws_codec.h"

#include "ws_utf8.h"

#include <stdlib.h>

static const char *const type_names[] = {
#define TYPE_NAME(name, text, direction) [WS_##name] = text,
	WS_TYPES(TYPE_NAME)
#undef TYPE_NAME
};

const char *ws_type_name(enum ws_type type)
{
	return (unsigned)type < WS_TYPE_COUNT ? type_names[type] : NULL;
}

enum direction { D = 1, C = 2, B = D | C };

static const enum direction directions[] = {
#define TYPE_DIRECTION(name, text, direction) [WS_##name] = direction,
	WS_TYPES(TYPE_DIRECTION)
#undef TYPE_DIRECTION
};

bool ws_type_is_from_daemon(enum ws_type type)
{
	return (unsigned)type < WS_TYPE_COUNT && (directions[type] & D);
}

bool ws_type_is_from_controller(enum ws_type type)
{
	return (unsigned)type < WS_TYPE_COUNT && (directions[type] & C);
}

/* ---- parsing ---- */

/* Depth and number of values, from the brackets, commas and colons outside strings. */
static int check_shape(const char *text, size_t len, size_t values_max, struct base_error *why)
{
	size_t n_values = 1;
	int depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			n_values++;
			if (++depth > WS_JSON_DEPTH_MAX)
				return base_error_set(why, -EBADMSG, "nested deeper than %d levels",
					WS_JSON_DEPTH_MAX);
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (c == ',' || c == ':') {
			n_values++;
		}
		if (n_values > values_max)
			return base_error_set(why, -EBADMSG, "more than %zu values", values_max);
	}
	return 0;
}

json_t *ws_json_parse(const char *text, size_t len, struct base_error *ret_why)
{
	return ws_json_parse_up_to(text, len, WS_JSON_VALUES_MAX, ret_why);
}

json_t *ws_json_parse_up_to(
	const char *text, size_t len, size_t values_max, struct base_error *ret_why)
{
	json_error_t error;
	json_t *root;

	if (check_shape(text, len, values_max, ret_why))
		return NULL;
	/* NUL is legal in a command's output (`head -c 4 /dev/zero`); other fields refuse it themselves. */
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (!root)
		base_error_set(
			ret_why, -EBADMSG, "not JSON: %s at byte %d", error.text, error.position);
	return root;
}

/* ---- fields ---- */

enum need { MAY_MISS, MUST_HAVE };

/* The value of a key, or NULL for one that is absent or null. */
static json_t *field(json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

static int copy_bytes(char **ret_text, const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	copy[len] = '\0';
	*ret_text = copy;
	return 0;
}

/* A string of at most @max bytes without NUL. */
static int take_text(
	json_t *value, const char *what, size_t max, char **ret_text, struct base_error *why)
{
	const char *text = json_string_value(value);
	size_t len = json_string_length(value);

	if (!text)
		return base_error_set(why, -EBADMSG, "%s: not a string", what);
	if (len > max)
		return base_error_set(why, -EBADMSG, "%s: longer than %zu bytes", what, max);
	if (memchr(text, '\0', len))
		return base_error_set(why, -EBADMSG, "%s: holds a NUL", what);
	return copy_bytes(ret_text, text, len);
}

/* An optional one that is absent stays as it is. */
static int get_text(json_t *object, const char *key, size_t max, enum need need, char **ret_text,
	struct base_error *why)
{
	json_t *value = field(object, key);

	if (value)
		return take_text(value, key, max, ret_text, why);
	if (need == MUST_HAVE)
		return base_error_set(why, -EBADMSG, "%s: missing", key);
	return 0;
}

/* An optional string that reads as "" when absent. */
static int get_text_or_empty(
	json_t *object, const char *key, size_t max, char **ret_text, struct base_error *why)
{
	if (!field(object, key))
		return copy_bytes(ret_text, "", 0);
	return get_text(object, key, max, MUST_HAVE, ret_text, why);
}

/* What a command wrote: any size that fits a frame, NULs included. */
static int get_output(
	json_t *object, const char *key, char **ret_text, size_t *ret_len, struct base_error *why)
{
	json_t *value = field(object, key);

	if (!json_is_string(value))
		return base_error_set(why, -EBADMSG, "%s: missing or not a string", key);
	*ret_len = json_string_length(value);
	return copy_bytes(ret_text, json_string_value(value), *ret_len);
}

static int get_integer(json_t *object, const char *key, int64_t min, int64_t max,
	int64_t *ret_value, struct base_error *why)
{
	json_t *value = field(object, key);

	if (!json_is_integer(value))
		return base_error_set(why, -EBADMSG, "%s: missing or not an integer", key);
	if (json_integer_value(value) < min || json_integer_value(value) > max)
		return base_error_set(why, -EBADMSG, "%s: out of range", key);
	*ret_value = json_integer_value(value);
	return 0;
}

static int get_bool(
	json_t *object, const char *key, enum need need, bool *ret_value, struct base_error *why)
{
	json_t *value = field(object, key);

	if (!value && need == MAY_MISS)
		return 0;
	if (!json_is_boolean(value))
		return base_error_set(why, -EBADMSG, "%s: missing or not a boolean", key);
	*ret_value = json_boolean_value(value);
	return 0;
}

/* An object of strings: labels, environment. */
static int get_pairs(json_t *object, const char *key, size_t max, struct ws_pair **ret_pairs,
	size_t *ret_n, struct base_error *why)
{
	json_t *value = field(object, key), *item;
	struct ws_pair *pairs;
	const char *name;
	int ret;

	if (!value)
		return 0;
	if (!json_is_object(value))
		return base_error_set(why, -EBADMSG, "%s: not an object", key);
	if (json_object_size(value) > max)
		return base_error_set(why, -EBADMSG, "%s: more than %zu entries", key, max);
	pairs = calloc(json_object_size(value) + 1, sizeof(*pairs));
	if (!pairs)
		return -ENOMEM;
	/* Published before it is filled, so that ws_msg_fini() frees what an error leaves. */
	*ret_pairs = pairs;
	json_object_foreach (value, name, item) {
		struct ws_pair *pair = &pairs[(*ret_n)++];

		ret = copy_bytes(&pair->name, name, strlen(name));
		if (!ret)
			ret = take_text(item, key, WS_COMMAND_BYTES_MAX, &pair->value, why);
		if (ret)
			return ret;
	}
	return 0;
}

/* ---- one function per type ---- */

static int decode_register(json_t *root, struct ws_register *reg, struct base_error *why)
{
	json_t *metadata = field(root, "metadata");
	int ret;

	if (!json_is_object(metadata))
		return base_error_set(why, -EBADMSG, "metadata: missing or not an object");
	ret = get_text(root, "daemon_id", WS_ID_BYTES_MAX, MUST_HAVE, &reg->daemon_id, why);
	if (!ret)
		ret = get_text(
			metadata, "hostname", WS_NAME_BYTES_MAX, MUST_HAVE, &reg->hostname, why);
	if (!ret)
		ret = get_text(
			metadata, "platform", WS_NAME_BYTES_MAX, MUST_HAVE, &reg->platform, why);
	if (!ret)
		ret = get_text(metadata, "arch", WS_NAME_BYTES_MAX, MUST_HAVE, &reg->arch, why);
	if (!ret)
		ret = get_text_or_empty(metadata, "version", WS_NAME_BYTES_MAX, &reg->version, why);
	if (!ret)
		ret = get_pairs(
			metadata, "labels", WS_LABELS_MAX, &reg->labels, &reg->n_labels, why);
	return ret;
}

static int decode_ack(
	json_t *root, const char *text_key, struct ws_ack *ack, struct base_error *why)
{
	int ret = get_bool(root, "success", MUST_HAVE, &ack->success, why);

	return ret ? ret : get_text_or_empty(root, text_key, WS_COMMAND_BYTES_MAX, &ack->text, why);
}

static int decode_execute(json_t *root, struct ws_execute_command *exec, struct base_error *why)
{
	int64_t timeout_s = WS_TIMEOUT_S_DEFAULT;
	int ret;

	ret = get_text(root, "request_id", WS_ID_BYTES_MAX, MUST_HAVE, &exec->request_id, why);
	if (!ret)
		ret = get_text(
			root, "command", WS_COMMAND_BYTES_MAX, MUST_HAVE, &exec->command, why);
	if (!ret && field(root, "timeout_secs"))
		ret = get_integer(root, "timeout_secs", 0, INT64_MAX, &timeout_s, why);
	if (!ret)
		ret = get_pairs(root, "env", WS_ENV_MAX, &exec->env, &exec->n_env, why);
	if (!ret)
		ret = get_text(root, "cwd", WS_COMMAND_BYTES_MAX, MAY_MISS, &exec->cwd, why);
	exec->timeout_s = (uint64_t)timeout_s;
	return ret;
}

static int decode_output(json_t *root, struct ws_command_output *output, struct base_error *why)
{
	int64_t exit_code = 0, duration_ms = 0;
	int ret;

	ret = get_text(root, "request_id", WS_ID_BYTES_MAX, MUST_HAVE, &output->request_id, why);
	if (!ret)
		ret = get_output(root, "stdout", &output->out, &output->out_len, why);
	if (!ret)
		ret = get_output(root, "stderr", &output->err, &output->err_len, why);
	if (!ret)
		ret = get_integer(root, "exit_code", INT32_MIN, INT32_MAX, &exit_code, why);
	if (!ret)
		ret = get_integer(root, "duration_ms", 0, INT64_MAX, &duration_ms, why);
	if (!ret)
		ret = get_bool(root, "truncated", MAY_MISS, &output->is_truncated, why);
	output->exit_code = (int32_t)exit_code;
	output->duration_ms = (uint64_t)duration_ms;
	return ret;
}

static int decode_command_error(
	json_t *root, struct ws_command_error *error, struct base_error *why)
{
	int ret = get_text(root, "request_id", WS_ID_BYTES_MAX, MUST_HAVE, &error->request_id, why);

	return ret ? ret
		   : get_text(root, "error", WS_COMMAND_BYTES_MAX, MUST_HAVE, &error->error, why);
}

static int decode_error(json_t *root, struct ws_error *error, struct base_error *why)
{
	int ret = get_text(root, "message", WS_COMMAND_BYTES_MAX, MUST_HAVE, &error->message, why);

	return ret ? ret : get_bool(root, "recoverable", MAY_MISS, &error->is_recoverable, why);
}

static int decode_body(json_t *root, struct ws_msg *msg, struct base_error *why)
{
	switch (msg->type) {
	case WS_REGISTER:
		return decode_register(root, &msg->reg, why);
	case WS_REGISTER_ACK:
		return decode_ack(root, "message", &msg->ack, why);
	case WS_HEARTBEAT_ACK:
		return decode_ack(root, "reason", &msg->ack, why);
	case WS_EXECUTE_COMMAND:
		return decode_execute(root, &msg->exec, why);
	case WS_COMMAND_OUTPUT:
		return decode_output(root, &msg->output, why);
	case WS_COMMAND_ERROR:
		return decode_command_error(root, &msg->command_error, why);
	case WS_ERROR:
		return decode_error(root, &msg->error, why);
	case WS_HEARTBEAT:
	case WS_PONG:
	case WS_TYPE_COUNT:
		break;
	}
	return 0;
}

static int find_type(json_t *root, enum ws_type *ret_type, struct base_error *why)
{
	json_t *value = json_object_get(root, "type");
	const char *name = json_string_value(value);

	if (!name)
		return base_error_set(why, -EBADMSG, "no object with a string \"type\"");
	for (unsigned i = 0; i < WS_TYPE_COUNT; i++)
		if (strcmp(name, type_names[i]) == 0 && strlen(name) == json_string_length(value)) {
			*ret_type = (enum ws_type)i;
			return 0;
		}
	return base_error_set(why, -ENOTSUP, "unknown type");
}

int ws_msg_decode(struct ws_msg *ret_msg, const char *text, size_t len, struct base_error *ret_why)
{
	struct ws_msg msg = {.type = WS_TYPE_COUNT};
	json_t *root;
	int ret;

	if (len > WS_FRAME_BYTES_MAX)
		return base_error_set(
			ret_why, -EBADMSG, "longer than %u bytes", WS_FRAME_BYTES_MAX);
	root = ws_json_parse(text, len, ret_why);
	if (!root)
		return -EBADMSG;
	ret = find_type(root, &msg.type, ret_why);
	if (!ret)
		ret = decode_body(root, &msg, ret_why);
	json_decref(root);
	if (ret)
		ws_msg_fini(&msg);
	else
		*ret_msg = msg;
	return ret;
}

static void free_pairs(struct ws_pair *pairs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(pairs[i].name);
		free(pairs[i].value);
	}
	free(pairs);
}

void ws_msg_fini(struct ws_msg *msg)
{
	switch (msg->type) {
	case WS_REGISTER:
		free(msg->reg.daemon_id);
		free(msg->reg.hostname);
		free(msg->reg.platform);
		free(msg->reg.arch);
		free(msg->reg.version);
		free_pairs(msg->reg.labels, msg->reg.n_labels);
		break;
	case WS_REGISTER_ACK:
	case WS_HEARTBEAT_ACK:
		free(msg->ack.text);
		break;
	case WS_EXECUTE_COMMAND:
		free(msg->exec.request_id);
		free(msg->exec.command);
		free(msg->exec.cwd);
		free_pairs(msg->exec.env, msg->exec.n_env);
		break;
	case WS_COMMAND_OUTPUT:
		free(msg->output.request_id);
		free(msg->output.out);
		free(msg->output.err);
		break;
	case WS_COMMAND_ERROR:
		free(msg->command_error.request_id);
		free(msg->command_error.error);
		break;
	case WS_ERROR:
		free(msg->error.message);
		break;
	case WS_HEARTBEAT:
	case WS_PONG:
	case WS_TYPE_COUNT:
		break;
	}
	memset(msg, 0, sizeof(*msg));
	msg->type = WS_TYPE_COUNT;
}

/* ---- encoding ---- */

/* A string of ours: NULL reads as "", anything but UTF-8 fails the packing. */
static json_t *text_json(const char *text)
{
	return json_string(text ? text : "");
}

/* A command's output, with U+FFFD for what is no UTF-8. */
static json_t *output_json(const char *text, size_t len)
{
	size_t clean_len;
	char *clean;
	json_t *json;

	if (ws_utf8_is_valid(text, len))
		return json_stringn_nocheck(len ? text : "", len);
	clean = ws_utf8_repair(text, len, &clean_len);
	if (!clean)
		return NULL;
	json = json_stringn_nocheck(clean, clean_len);
	free(clean);
	return json;
}

static json_t *pairs_json(const struct ws_pair *pairs, size_t n)
{
	json_t *object = json_object();

	for (size_t i = 0; object && i < n; i++)
		if (json_object_set_new(object, pairs[i].name, text_json(pairs[i].value))) {
			json_decref(object);
			return NULL;
		}
	return object;
}

static json_t *build_body(const struct ws_msg *msg)
{
	const char *type = type_names[msg->type];

	switch (msg->type) {
	case WS_REGISTER:
		return json_pack("{ss so s{so so so so so}}", "type", type, "daemon_id",
			text_json(msg->reg.daemon_id), "metadata", "hostname",
			text_json(msg->reg.hostname), "platform", text_json(msg->reg.platform),
			"arch", text_json(msg->reg.arch), "version", text_json(msg->reg.version),
			"labels", pairs_json(msg->reg.labels, msg->reg.n_labels));
	case WS_REGISTER_ACK:
		return json_pack("{ss sb so}", "type", type, "success", msg->ack.success, "message",
			text_json(msg->ack.text));
	case WS_HEARTBEAT_ACK:
		return json_pack("{ss sb so}", "type", type, "success", msg->ack.success, "reason",
			text_json(msg->ack.text));
	case WS_EXECUTE_COMMAND:
		return json_pack("{ss so so sI so so*}", "type", type, "request_id",
			text_json(msg->exec.request_id), "command", text_json(msg->exec.command),
			"timeout_secs", (json_int_t)msg->exec.timeout_s, "env",
			pairs_json(msg->exec.env, msg->exec.n_env), "cwd",
			msg->exec.cwd ? text_json(msg->exec.cwd) : json_null());
	case WS_COMMAND_OUTPUT:
		return json_pack("{ss so so so si sI so*}", "type", type, "request_id",
			text_json(msg->output.request_id), "stdout",
			output_json(msg->output.out, msg->output.out_len), "stderr",
			output_json(msg->output.err, msg->output.err_len), "exit_code",
			(int)msg->output.exit_code, "duration_ms",
			(json_int_t)msg->output.duration_ms, "truncated",
			msg->output.is_truncated ? json_true() : NULL);
	case WS_COMMAND_ERROR:
		return json_pack("{ss so so}", "type", type, "request_id",
			text_json(msg->command_error.request_id), "error",
			text_json(msg->command_error.error));
	case WS_ERROR:
		return json_pack("{ss so sb}", "type", type, "message",
			text_json(msg->error.message), "recoverable", msg->error.is_recoverable);
	case WS_HEARTBEAT:
	case WS_PONG:
	case WS_TYPE_COUNT:
		break;
	}
	return json_pack("{ss}", "type", type);
}

/* Where json_dump_callback() writes: a buffer that doubles, up to headroom and the largest frame. */
struct sink {
	char *bytes;
	size_t len, size, max;
	int error;
};

static int sink_write(const char *piece, size_t len, void *user)
{
	struct sink *sink = user;
	size_t size = sink->size;
	char *bytes;

	if (len > sink->max - sink->len) {
		sink->error = EMSGSIZE;
		return -1;
	}
	while (size < sink->len + len)
		size *= 2;
	if (size != sink->size) {
		bytes = realloc(sink->bytes, size);
		if (!bytes) {
			sink->error = ENOMEM;
			return -1;
		}
		sink->bytes = bytes;
		sink->size = size;
	}
	memcpy(sink->bytes + sink->len, piece, len);
	sink->len += len;
	return 0;
}

char *ws_msg_encode_at(const struct ws_msg *msg, size_t headroom, size_t *ret_len)
{
	struct sink sink = {
		.len = headroom, .size = headroom + 256, .max = headroom + WS_FRAME_BYTES_MAX};
	json_t *root;

	if ((unsigned)msg->type >= WS_TYPE_COUNT) {
		errno = EINVAL;
		return NULL;
	}
	root = build_body(msg);
	if (!root) {
		/* jansson does not tell a bad string from a lack of memory; the strings are in our hands. */
		errno = EINVAL;
		return NULL;
	}
	sink.bytes = malloc(sink.size);
	if (!sink.bytes)
		sink.error = ENOMEM;
	else if (json_dump_callback(root, sink_write, &sink, JSON_COMPACT) && !sink.error)
		sink.error = ENOMEM;
	json_decref(root);
	if (!sink.error && sink_write("", 1, &sink) == 0) {
		*ret_len = sink.len - 1 - headroom;
		return sink.bytes;
	}
	free(sink.bytes);
	errno = sink.error;
	return NULL;
}

char *ws_msg_encode(const struct ws_msg *msg, size_t *ret_len)
{
	return ws_msg_encode_at(msg, 0, ret_len);
}
