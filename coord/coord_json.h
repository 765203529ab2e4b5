/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON of a server (protocols/headscale-control.md, section 5.7): large texts are walked without building anything, their
 * elements parsed one by one by jansson, members read with strict types. Absent and null are one thing for a value
 * (Go leaves it alone), and told apart from empty for a list.
 *
 * A reader keeps the first error: read all members, then look at reader->rc once.
 * Thread: whoever holds the reader.
 */
#ifndef COORD_JSON_H
#define COORD_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "cr_secret.h"

#include <jansson.h>

/** Brackets inside brackets; jansson recurses. */
#define COORD_JSON_DEPTH_MAX 64
/** The longest text that becomes a tree at once: some thirty times of it in memory at worst. */
#define COORD_JSON_TREE_BYTES_MAX (2u << 20)

struct coord_span {
	const char *text;
	size_t len;
};

/** A walk over the members of an object or the elements of an array. */
struct coord_walk {
	const char *at, *end;
	char close; /* what ends it */
	bool is_begun;
};

struct coord_json {
	struct base_error *error; /* NULL is fine */
	int rc;                   /* 0, -EBADMSG, -EMSGSIZE, -ENOMEM: the first */
	const char *where;        /* member of the frame that is being read */
	long index;               /* element of it; -1: none */
};

/** Keep an error, the first; @name: of a member, or "". Returns its code. */
int coord_json_fail(struct coord_json *json, int code, const char *name, const char *what);

/** @open: '{' or '['. 0 or -EBADMSG; nothing but blanks may follow the closing bracket (seen at the walk's end). */
BASE_MUST_CHECK int coord_walk_init(struct coord_walk *walk, struct coord_span text, char open);
/** 1: a member, 0: the end, -EBADMSG. Names with escapes are refused. */
BASE_MUST_CHECK int coord_walk_member(
	struct coord_walk *walk, struct coord_span *ret_name, struct coord_span *ret_value);
/** 1: an element, 0: the end, -EBADMSG. */
BASE_MUST_CHECK int coord_walk_element(struct coord_walk *walk, struct coord_span *ret_value);
bool coord_span_is(struct coord_span span, const char *text);
/** A text as a tree; NULL: the error is kept. */
json_t *coord_json_tree(struct coord_json *json, struct coord_span text);

/* Members of @object; another type is an error. What is absent or null reads as @absent, NULL, false. */
int64_t coord_json_int(
	struct coord_json *json, const json_t *object, const char *name, int64_t absent);
bool coord_json_flag(struct coord_json *json, const json_t *object, const char *name);
/** -1: absent. */
int coord_json_tri(struct coord_json *json, const json_t *object, const char *name);
const char *coord_json_text(struct coord_json *json, const json_t *object, const char *name);
const json_t *coord_json_list(struct coord_json *json, const json_t *object, const char *name);
const json_t *coord_json_object(struct coord_json *json, const json_t *object, const char *name);
/** "nodekey:" and 64 hexadecimal digits. False: absent. */
bool coord_json_key(struct coord_json *json, const json_t *object, const char *name,
	const char *prefix, struct cr_key *ret_key);
/** A time, in Unix seconds; false: absent. Before 1970: 1; the zero time of year 1: 0. */
bool coord_json_time(
	struct coord_json *json, const json_t *object, const char *name, uint64_t *ret_unix_s);

#endif
