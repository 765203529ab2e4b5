/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rules of a frame's packet filter (section 6.1), read without a tree of the whole: tens of thousands of sources are
 * usual. What cannot be read is left out; since rules only permit, that closes. Thread: the parser's.
 */
#include "coord_map_read.h"

#include "coord_range.h"

#include <stdlib.h>

#define CAPS_MAX 64
#define PROTOS_MAX 64
#define TEXT_BYTES_MAX 255

/* Grows on the heap; ends in the chunk's arena. */
struct list {
	char *items;
	size_t n, room, size;
};

/* A rule while it is read. */
struct draft {
	struct list srcs, dsts, caps;
	uint8_t protos[PROTOS_MAX];
	size_t n_protos;
	bool is_for_no_proto, is_refused;
	uint64_t n_bad; /* entries that could not be read, of the whole frame, when it began */
};

struct filter_reader {
	struct coord_json *json;
	uint64_t *counts;
	struct coord_arena *arena;
	size_t n_entries;             /* of all rules so far */
	struct base_prefix *prefixes; /* room for those of one entry */
};

static int list_add(struct filter_reader *reader, struct list *list, const void *item, size_t size)
{
	if (list->n == list->room) {
		size_t room = list->room ? 2 * list->room : 8;
		char *items = realloc(list->items, room * size);

		if (!items)
			return coord_json_fail(reader->json, -ENOMEM, "", "out of memory");
		list->items = items;
		list->room = room;
		list->size = size;
	}
	memcpy(list->items + list->n++ * size, item, size);
	return 0;
}

static void *list_keep(struct filter_reader *reader, const struct list *list)
{
	void *items = coord_arena_array(reader->arena, list->n, list->size);

	if (!items)
		coord_json_fail(reader->json, -ENOMEM, "", "out of memory");
	else if (list->n > 0)
		memcpy(items, list->items, list->n * list->size);
	return items;
}

static void draft_fini(struct draft *draft)
{
	free(draft->srcs.items);
	free(draft->dsts.items);
	free(draft->caps.items);
}

/* A plain string's text. False: it is counted as one that cannot be read, or is no string at all. */
static bool plain_text(struct filter_reader *reader, struct coord_span value, const char *name,
	char ret_text[TEXT_BYTES_MAX + 1])
{
	if (value.text[0] != '"') {
		coord_json_fail(reader->json, -EBADMSG, name, "an entry is no string");
		return false;
	}
	if (value.len - 2 > TEXT_BYTES_MAX || memchr(value.text, '\\', value.len) ||
		memchr(value.text, '\0', value.len)) {
		reader->counts[COORD_NETMAP_BAD_ENTRIES]++;
		return false;
	}
	memcpy(ret_text, value.text + 1, value.len - 2);
	ret_text[value.len - 2] = '\0';
	return true;
}

/* Its prefixes, or none: counted. */
static size_t prefixes_read(struct filter_reader *reader, const char *text)
{
	int n = coord_range_parse(reader->prefixes, text);

	if (n < 0) {
		reader->counts[COORD_NETMAP_BAD_ENTRIES]++;
		return 0;
	}
	if (reader->n_entries + (size_t)n > COORD_RULE_ENTRIES_MAX) {
		reader->counts[COORD_NETMAP_CUT] += (size_t)n;
		return 0;
	}
	reader->n_entries += (size_t)n;
	return (size_t)n;
}

static void cap_read(struct filter_reader *reader, const char *name, struct draft *draft)
{
	const char *copy;

	if (draft->caps.n == CAPS_MAX) {
		reader->counts[COORD_NETMAP_CUT]++;
		return;
	}
	copy = coord_arena_text(reader->arena, name, strlen(name));
	if (!copy)
		coord_json_fail(reader->json, -ENOMEM, "", "out of memory");
	else
		(void)list_add(reader, &draft->caps, &copy, sizeof(copy));
}

static void src_read(struct filter_reader *reader, struct coord_span value, struct draft *draft)
{
	char text[TEXT_BYTES_MAX + 1];
	size_t n;

	if (!plain_text(reader, value, "SrcIPs", text))
		return;
	if (strncmp(text, "cap:", 4) == 0) {
		cap_read(reader, text + 4, draft);
		return;
	}
	n = prefixes_read(reader, text);
	for (size_t i = 0; i < n && reader->json->rc == 0; i++)
		(void)list_add(
			reader, &draft->srcs, &reader->prefixes[i], sizeof(reader->prefixes[i]));
}

static bool ports_read(
	struct coord_json *json, const json_t *object, struct coord_rule_dst *ret_dst)
{
	const json_t *ports = coord_json_object(json, object, "Ports");
	int64_t first = coord_json_int(json, ports, "First", 0);
	int64_t last = coord_json_int(json, ports, "Last", 0);

	if (!ports || first < 0 || first > last || last > UINT16_MAX)
		return false;
	ret_dst->port_first = (uint16_t)first;
	ret_dst->port_last = (uint16_t)last;
	return true;
}

static void dst_read(struct filter_reader *reader, struct coord_span value, struct draft *draft)
{
	struct coord_rule_dst dst = {0};
	json_t *object = coord_json_tree(reader->json, value);
	const char *text;
	bool has_ports;
	size_t n = 0;

	if (!object)
		return;
	if (!json_is_object(object))
		coord_json_fail(reader->json, -EBADMSG, "DstPorts", "an entry is no object");
	has_ports = ports_read(reader->json, object, &dst);
	text = coord_json_text(reader->json, object, "IP");
	if (coord_json_int(reader->json, object, "Bits", INT64_MIN) != INT64_MIN)
		draft->is_refused = true;
	if (!text || !has_ports)
		reader->counts[COORD_NETMAP_BAD_ENTRIES]++;
	else if (reader->json->rc == 0)
		n = prefixes_read(reader, text);
	for (size_t i = 0; i < n && reader->json->rc == 0; i++) {
		dst.prefix = reader->prefixes[i];
		(void)list_add(reader, &draft->dsts, &dst, sizeof(dst));
	}
	json_decref(object);
}

static void protos_read(struct filter_reader *reader, struct coord_span value, struct draft *draft)
{
	json_t *list = coord_json_tree(reader->json, value);
	size_t i;
	json_t *item;

	if (!list)
		return;
	if (!json_is_array(list) && !json_is_null(list))
		coord_json_fail(reader->json, -EBADMSG, "IPProto", "not a list");
	draft->n_protos = 0;
	json_array_foreach (list, i, item) {
		json_int_t proto = json_integer_value(item);

		if (!json_is_integer(item))
			coord_json_fail(reader->json, -EBADMSG, "IPProto", "not an integer");
		if (proto < 0 || proto > UINT8_MAX)
			reader->counts[COORD_NETMAP_BAD_ENTRIES]++;
		else if (draft->n_protos == PROTOS_MAX)
			reader->counts[COORD_NETMAP_CUT]++;
		else
			draft->protos[draft->n_protos++] = (uint8_t)proto;
	}
	draft->is_for_no_proto = json_array_size(list) > 0 && draft->n_protos == 0;
	json_decref(list);
}

/* Every element of a list, or null; again from the start when a member comes twice. */
static void list_read(struct filter_reader *reader, struct coord_span value, struct draft *draft,
	void (*read)(struct filter_reader *, struct coord_span, struct draft *))
{
	struct coord_span element;
	struct coord_walk walk;
	int rc;

	if (coord_span_is(value, "null"))
		return;
	rc = coord_walk_init(&walk, value, '[');
	while (rc == 0 && reader->json->rc == 0) {
		rc = coord_walk_element(&walk, &element);
		if (rc <= 0)
			break;
		read(reader, element, draft);
		rc = 0;
	}
	if (rc < 0)
		coord_json_fail(reader->json, -EBADMSG, "", "no list where one belongs");
}

static void src_bits_read(
	struct filter_reader *reader, struct coord_span value, struct draft *draft)
{
	(void)reader;
	(void)value;
	draft->is_refused = true;
}

static void member_read(struct filter_reader *reader, struct coord_span name,
	struct coord_span value, struct draft *draft)
{
	if (coord_span_is(name, "SrcIPs")) {
		draft->srcs.n = draft->caps.n = 0;
		list_read(reader, value, draft, src_read);
	} else if (coord_span_is(name, "DstPorts")) {
		draft->dsts.n = 0;
		list_read(reader, value, draft, dst_read);
	} else if (coord_span_is(name, "SrcBits")) {
		list_read(reader, value, draft, src_bits_read);
	} else if (coord_span_is(name, "IPProto")) {
		protos_read(reader, value, draft);
	}
}

/* What became of a rule: nothing, if nobody is let in by it or nowhere. */
static void draft_keep(
	struct filter_reader *reader, const struct draft *draft, struct coord_chunk *chunk)
{
	struct coord_raw_rule *rule = &chunk->rules[chunk->n_rules];
	uint8_t *protos;

	if (draft->is_refused)
		chunk->is_refused = true;
	if ((draft->srcs.n == 0 && draft->caps.n == 0) || draft->dsts.n == 0) {
		reader->counts[COORD_NETMAP_BAD_RULES] +=
			reader->counts[COORD_NETMAP_BAD_ENTRIES] > draft->n_bad;
		return;
	}
	protos = coord_arena_get(reader->arena, draft->n_protos);
	*rule = (struct coord_raw_rule){
		.rule.srcs = list_keep(reader, &draft->srcs),
		.rule.n_srcs = draft->srcs.n,
		.rule.dsts = list_keep(reader, &draft->dsts),
		.rule.n_dsts = draft->dsts.n,
		.rule.protos = protos,
		.rule.n_protos = draft->n_protos,
		.rule.is_for_no_proto = draft->is_for_no_proto,
		.caps = list_keep(reader, &draft->caps),
		.n_caps = draft->caps.n,
	};
	if (!protos)
		coord_json_fail(reader->json, -ENOMEM, "", "out of memory");
	else
		memcpy(protos, draft->protos, draft->n_protos);
	chunk->n_rules++;
}

static void rule_read(
	struct filter_reader *reader, struct coord_span text, struct coord_chunk *chunk)
{
	struct draft draft = {.n_bad = reader->counts[COORD_NETMAP_BAD_ENTRIES]};
	struct coord_span name, value;
	struct coord_walk walk;
	int rc = coord_walk_init(&walk, text, '{');

	while (rc == 0 && reader->json->rc == 0) {
		rc = coord_walk_member(&walk, &name, &value);
		if (rc <= 0)
			break;
		member_read(reader, name, value, &draft);
		rc = 0;
	}
	if (rc < 0)
		coord_json_fail(reader->json, -EBADMSG, "", "a rule is no object");
	if (reader->json->rc == 0)
		draft_keep(reader, &draft, chunk);
	draft_fini(&draft);
}

/* How many rules there are room for; those behind are not looked at. */
static size_t rules_count(struct filter_reader *reader, struct coord_span rules)
{
	struct coord_span element;
	struct coord_walk walk;
	size_t n = 0;
	int rc = coord_walk_init(&walk, rules, '[');

	while (rc == 0) {
		rc = coord_walk_element(&walk, &element);
		if (rc <= 0)
			break;
		n++;
		rc = 0;
	}
	if (rc < 0)
		coord_json_fail(reader->json, -EBADMSG, "", "not a list of rules");
	if (n <= COORD_RULES_MAX)
		return n;
	reader->counts[COORD_NETMAP_CUT] += n - COORD_RULES_MAX;
	return COORD_RULES_MAX;
}

static void rules_read(
	struct filter_reader *reader, struct coord_span rules, struct coord_chunk *chunk)
{
	size_t n = rules_count(reader, rules);
	struct coord_span element;
	struct coord_walk walk;

	if (reader->json->rc != 0 || coord_walk_init(&walk, rules, '[') < 0)
		return;
	chunk->rules = coord_arena_array(reader->arena, n, sizeof(*chunk->rules));
	if (!chunk->rules) {
		coord_json_fail(reader->json, -ENOMEM, "", "out of memory");
		return;
	}
	for (size_t i = 0; i < n && reader->json->rc == 0; i++)
		if (coord_walk_element(&walk, &element) > 0)
			rule_read(reader, element, chunk);
}

int coord_read_chunk(struct coord_json *json, uint64_t *counts, struct coord_span name,
	struct coord_span rules, struct coord_chunk *ret_chunk)
{
	struct coord_chunk chunk = {.arena = coord_arena_new()};
	struct filter_reader reader = {.json = json, .counts = counts, .arena = chunk.arena};

	reader.prefixes = malloc(COORD_RANGE_PREFIXES_MAX * sizeof(*reader.prefixes));
	if (chunk.arena && reader.prefixes)
		chunk.name = coord_arena_text(chunk.arena, name.text, name.len);
	if (!chunk.name)
		coord_json_fail(json, -ENOMEM, "", "out of memory");
	else if (coord_span_is(rules, "null"))
		chunk.is_deleted = true;
	else
		rules_read(&reader, rules, &chunk);
	free(reader.prefixes);
	if (json->rc == 0) {
		counts[COORD_NETMAP_REFUSED_FILTERS] += chunk.is_refused;
		*ret_chunk = chunk;
		return 0;
	}
	coord_arena_free(chunk.arena);
	return json->rc;
}
