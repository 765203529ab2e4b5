/* SPDX-License-Identifier: BSD-3-Clause */
/* Walks over large JSON texts, typed members of small ones. Any thread. See coord_json.h. */
#include "coord_json.h"

#include "base_bytes.h"
#include "coord_time.h"

int coord_json_fail(struct coord_json *json, int code, const char *name, const char *what)
{
	char index[32] = "";

	if (json->rc != 0)
		return json->rc;
	if (json->index >= 0)
		snprintf(index, sizeof(index), "[%ld]", json->index);
	json->rc = base_error_set(json->error, code, "map frame: %s%s%s%s: %s",
		json->where ? json->where : "text", index, *name ? "." : "", name, what);
	return json->rc;
}

static void blanks_skip(struct coord_walk *walk)
{
	while (walk->at < walk->end &&
		(*walk->at == ' ' || *walk->at == '\n' || *walk->at == '\t' || *walk->at == '\r'))
		walk->at++;
}

/* Behind the closing quote of a string that starts at @at; NULL: there is none. */
static const char *string_end(const char *at, const char *end)
{
	for (at++; at < end; at++) {
		if (*at == '"')
			return at + 1;
		if (*at == '\\' && ++at == end)
			return NULL;
	}
	return NULL;
}

/* Behind the bracket that closes the one at @at; kinds must match, a bit of @kinds for each level. */
static const char *brackets_end(const char *at, const char *end)
{
	uint64_t kinds = 0;
	unsigned depth = 0;

	while (at < end) {
		switch (*at) {
		case '"':
			at = string_end(at, end);
			if (!at)
				return NULL;
			continue;
		case '{':
		case '[':
			if (depth++ == COORD_JSON_DEPTH_MAX)
				return NULL;
			kinds = kinds << 1 | (*at == '{');
			break;
		case '}':
		case ']':
			if ((kinds & 1) != (*at == '}'))
				return NULL;
			kinds >>= 1;
			if (--depth == 0)
				return at + 1;
			break;
		}
		at++;
	}
	return NULL;
}

static const char *scalar_end(const char *at, const char *end)
{
	const char *start = at;

	while (at < end &&
		((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') || *at == '-' ||
			*at == '+' || *at == '.' || *at == 'E'))
		at++;
	return at > start ? at : NULL;
}

static int value_take(struct coord_walk *walk, struct coord_span *ret_value)
{
	const char *end;

	if (walk->at == walk->end)
		return -EBADMSG;
	if (*walk->at == '"')
		end = string_end(walk->at, walk->end);
	else if (*walk->at == '{' || *walk->at == '[')
		end = brackets_end(walk->at, walk->end);
	else
		end = scalar_end(walk->at, walk->end);
	if (!end)
		return -EBADMSG;
	*ret_value = (struct coord_span){walk->at, (size_t)(end - walk->at)};
	walk->at = end;
	return 0;
}

int coord_walk_init(struct coord_walk *walk, struct coord_span text, char open)
{
	*walk = (struct coord_walk){
		.at = text.text, .end = text.text + text.len, .close = open == '{' ? '}' : ']'};
	blanks_skip(walk);
	if (walk->at == walk->end || *walk->at != open)
		return -EBADMSG;
	walk->at++;
	return 0;
}

/* To the next value or name, over the comma before it. 1: there is one, 0: the end of the whole text. */
static int walk_next(struct coord_walk *walk)
{
	blanks_skip(walk);
	if (walk->at < walk->end && *walk->at == walk->close) {
		walk->at++;
		blanks_skip(walk);
		return walk->at == walk->end ? 0 : -EBADMSG;
	}
	if (walk->is_begun) {
		if (walk->at == walk->end || *walk->at != ',')
			return -EBADMSG;
		walk->at++;
		blanks_skip(walk);
	}
	walk->is_begun = true;
	return 1;
}

int coord_walk_member(
	struct coord_walk *walk, struct coord_span *ret_name, struct coord_span *ret_value)
{
	struct coord_span name;
	int rc = walk_next(walk);

	if (rc <= 0)
		return rc;
	if (walk->at == walk->end || *walk->at != '"' || value_take(walk, &name) < 0 ||
		memchr(name.text, '\\', name.len))
		return -EBADMSG;
	blanks_skip(walk);
	if (walk->at == walk->end || *walk->at != ':')
		return -EBADMSG;
	walk->at++;
	blanks_skip(walk);
	if (value_take(walk, ret_value) < 0)
		return -EBADMSG;
	*ret_name = (struct coord_span){name.text + 1, name.len - 2};
	return 1;
}

int coord_walk_element(struct coord_walk *walk, struct coord_span *ret_value)
{
	int rc = walk_next(walk);

	return rc <= 0 ? rc : value_take(walk, ret_value) < 0 ? -EBADMSG : 1;
}

bool coord_span_is(struct coord_span span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.text, text, span.len) == 0;
}

json_t *coord_json_tree(struct coord_json *json, struct coord_span text)
{
	json_error_t error;
	json_t *tree;

	if (text.len > COORD_JSON_TREE_BYTES_MAX) {
		coord_json_fail(json, -EMSGSIZE, "", "too long");
		return NULL;
	}
	tree = json_loadb(text.text, text.len, JSON_DECODE_ANY, &error);
	if (!tree) {
		enum json_error_code code = json_error_code(&error);
		/* it has a code for whatever is wrong with a text, but not always one for this */
		bool is_memory = code == json_error_unknown || code == json_error_out_of_memory;

		coord_json_fail(json, is_memory ? -ENOMEM : -EBADMSG, "",
			is_memory ? "out of memory" : "no JSON");
	}
	return tree;
}

/* NULL: absent or null. */
static const json_t *member_of(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_null(value) ? NULL : value;
}

int64_t coord_json_int(
	struct coord_json *json, const json_t *object, const char *name, int64_t absent)
{
	const json_t *value = member_of(object, name);

	if (!value)
		return absent;
	if (!json_is_integer(value)) {
		coord_json_fail(json, -EBADMSG, name, "not an integer");
		return absent;
	}
	return json_integer_value(value);
}

int coord_json_tri(struct coord_json *json, const json_t *object, const char *name)
{
	const json_t *value = member_of(object, name);

	if (!value)
		return -1;
	if (!json_is_boolean(value)) {
		coord_json_fail(json, -EBADMSG, name, "neither true nor false");
		return -1;
	}
	return json_is_true(value);
}

bool coord_json_flag(struct coord_json *json, const json_t *object, const char *name)
{
	return coord_json_tri(json, object, name) == 1;
}

const char *coord_json_text(struct coord_json *json, const json_t *object, const char *name)
{
	const json_t *value = member_of(object, name);

	if (value && !json_is_string(value))
		coord_json_fail(json, -EBADMSG, name, "not a string");
	return json_string_value(value);
}

const json_t *coord_json_list(struct coord_json *json, const json_t *object, const char *name)
{
	const json_t *value = member_of(object, name);

	if (value && !json_is_array(value)) {
		coord_json_fail(json, -EBADMSG, name, "not a list");
		return NULL;
	}
	return value;
}

const json_t *coord_json_object(struct coord_json *json, const json_t *object, const char *name)
{
	const json_t *value = member_of(object, name);

	if (value && !json_is_object(value)) {
		coord_json_fail(json, -EBADMSG, name, "not an object");
		return NULL;
	}
	return value;
}

bool coord_json_key(struct coord_json *json, const json_t *object, const char *name,
	const char *prefix, struct cr_key *ret_key)
{
	const char *text = coord_json_text(json, object, name);
	size_t len = strlen(prefix);

	if (!text)
		return false;
	if (strncmp(text, prefix, len) != 0 ||
		!base_hex_decode(ret_key->bytes, sizeof(ret_key->bytes), text + len)) {
		coord_json_fail(json, -EBADMSG, name, "not a key of its kind");
		return false;
	}
	return true;
}

bool coord_json_time(
	struct coord_json *json, const json_t *object, const char *name, uint64_t *ret_unix_s)
{
	static const int64_t zero_time = -62135596800; /* 0001-01-01T00:00:00Z */
	const char *text = coord_json_text(json, object, name);
	int64_t unix_s;

	if (!text)
		return false;
	if (coord_time_parse(text, &unix_s) < 0) {
		coord_json_fail(json, -EBADMSG, name, "not a time");
		return false;
	}
	*ret_unix_s = unix_s == zero_time ? 0 : unix_s < 1 ? 1 : (uint64_t)unix_s;
	return true;
}
