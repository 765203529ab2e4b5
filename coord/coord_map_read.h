/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside coord_map: the readers of a frame's members, JSON to the types of coord_update.h. Each returns 0 or the reader's
 * first error (coord_json.h), and counts what it leaves out (enum coord_netmap_counter).
 * Thread: the parser's.
 */
#ifndef COORD_MAP_READ_H
#define COORD_MAP_READ_H

#include "coord_json.h"
#include "coord_update.h"

/** A node; ret_body is to be ended by the caller, on success. */
BASE_MUST_CHECK int coord_read_node(struct coord_json *json, uint64_t *counts, const json_t *object,
	struct coord_node_body *ret_body);
/** ret_patch->endpoints and ->caps are the caller's, on success. */
BASE_MUST_CHECK int coord_read_patch(struct coord_json *json, uint64_t *counts,
	const json_t *object, struct coord_patch *ret_patch);

/** A chunk of the filter; @rules: a list, or null. ret_chunk->arena is the caller's, on success. */
BASE_MUST_CHECK int coord_read_chunk(struct coord_json *json, uint64_t *counts,
	struct coord_span name, struct coord_span rules, struct coord_chunk *ret_chunk);

/** DERPMap, DNSConfig: into an arena of their own in @update. A DERPMap without Regions changes nothing. */
int coord_read_regions(
	struct coord_json *json, const json_t *object, struct coord_map_update *update);
int coord_read_dns(struct coord_json *json, const json_t *object, struct coord_map_update *update);
/** Health, DisplayMessages. */
int coord_read_health(struct coord_json *json, const json_t *list, struct coord_map_update *update);
int coord_read_messages(
	struct coord_json *json, const json_t *object, struct coord_map_update *update);

/** How many of a list's entries are read; the rest is cut, and counted. NULL: 0. */
size_t coord_read_size(const json_t *list, size_t max, uint64_t *counts);
/** Copy what a person or a name server may see: blanks and control characters become '?', at most @max bytes. Returns its length. */
size_t coord_read_text(char *ret_text, const char *text, size_t max, bool is_name);
/** A prefix with its length and no host bits. 0 or -EINVAL. */
BASE_MUST_CHECK int coord_read_prefix(struct base_prefix *ret_prefix, const char *text);
/** The names of a CapMap as one block (struct coord_node_body); NULL without any, or when the reader failed. */
char *coord_read_caps(struct coord_json *json, uint64_t *counts, const json_t *object);

#endif
