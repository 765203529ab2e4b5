/* SPDX-License-Identifier: BSD-3-Clause */
/* Positions in a YAML file by key path, on libyaml's document tree. See ctl_yaml.h. */
#include "ctl_yaml.h"

#include <stdlib.h>
#include <yaml.h>

struct ctl_yaml {
	char *file;
	yaml_document_t document;
	bool has_document;
};

/* One step of a path: where it leads and where that stands. */
struct step {
	yaml_node_t *node;
	unsigned line;
};

static unsigned mark_line(yaml_mark_t mark)
{
	return (unsigned)mark.line + 1;
}

static yaml_document_t *document_of(const struct ctl_yaml *yaml)
{
	/* libyaml takes a pointer to a changeable document even to look a node up. */
	return (yaml_document_t *)&yaml->document;
}

static bool key_is(const yaml_node_t *key, const char *name, size_t len)
{
	return key && key->type == YAML_SCALAR_NODE && key->data.scalar.length == len &&
		memcmp(key->data.scalar.value, name, len) == 0;
}

/* The last pair of a mapping with this key. */
static bool find_key(const struct ctl_yaml *yaml, const yaml_node_t *mapping, const char *name,
	size_t len, struct step *ret_step)
{
	yaml_node_pair_t *pair = mapping->data.mapping.pairs.top;

	while (pair > mapping->data.mapping.pairs.start) {
		yaml_node_t *key;

		pair--;
		key = yaml_document_get_node(document_of(yaml), pair->key);
		if (key_is(key, name, len)) {
			ret_step->node = yaml_document_get_node(document_of(yaml), pair->value);
			ret_step->line = mark_line(key->start_mark);
			return true;
		}
	}
	return false;
}

/* Take "[3]" from the path. */
static bool step_index(const struct ctl_yaml *yaml, const char **path, struct step *step)
{
	char *end;
	unsigned long index = strtoul(*path + 1, &end, 10);
	yaml_node_item_t *items;

	if (*end != ']' || !step->node || step->node->type != YAML_SEQUENCE_NODE)
		return false;
	items = step->node->data.sequence.items.start;
	if (index >= (unsigned long)(step->node->data.sequence.items.top - items))
		return false;
	step->node = yaml_document_get_node(document_of(yaml), items[index]);
	if (step->node)
		step->line = mark_line(step->node->start_mark);
	*path = end + 1;
	return true;
}

/* Take "key" from the path: a key of all that is left, odd characters and all, before a key of the text up to
 * the next separator. */
static bool step_key(const struct ctl_yaml *yaml, const char **path, struct step *step)
{
	size_t len = strlen(*path);

	if (!step->node || step->node->type != YAML_MAPPING_NODE)
		return false;
	if (!find_key(yaml, step->node, *path, len, step)) {
		len = strcspn(*path, ".[");
		if (!find_key(yaml, step->node, *path, len, step))
			return false;
	}
	*path += len;
	return true;
}

/* Follow a path as far as it goes; returns true if to its end. */
static bool follow(const struct ctl_yaml *yaml, const char *path, struct step *ret_step)
{
	ret_step->node = yaml_document_get_root_node(document_of(yaml));
	ret_step->line = ret_step->node ? mark_line(ret_step->node->start_mark) : 1;
	while (*path) {
		if (*path == '.')
			path++;
		if (!(*path == '[' ? step_index(yaml, &path, ret_step)
				   : step_key(yaml, &path, ret_step)))
			return false;
	}
	return true;
}

bool ctl_yaml_has(const struct ctl_yaml *yaml, const char *path)
{
	struct step step;

	return follow(yaml, path, &step);
}

unsigned ctl_yaml_line(const struct ctl_yaml *yaml, const char *path)
{
	struct step step;

	follow(yaml, path, &step);
	return step.line;
}

/* One walk over the document. */
struct walk {
	const struct ctl_yaml *yaml;
	int (*visit)(void *ctx, const char *path, const char *text);
	void *ctx;
	char path[256];
};

/* @at: length of the path of @node. Depth: the schema's, which bounds what gets here. */
static int walk_node(struct walk *walk, const yaml_node_t *node, size_t at)
{
	yaml_document_t *document = document_of(walk->yaml);
	size_t room = sizeof(walk->path) - at;
	int rc = 0, n;

	if (node->type == YAML_SCALAR_NODE)
		return walk->visit(walk->ctx, walk->path, (const char *)node->data.scalar.value);
	if (node->type == YAML_SEQUENCE_NODE) {
		size_t count =
			(size_t)(node->data.sequence.items.top - node->data.sequence.items.start);

		for (size_t i = 0; rc == 0 && i < count; i++) {
			n = snprintf(walk->path + at, room, "[%zu]", i);
			if ((size_t)n < room)
				rc = walk_node(walk,
					yaml_document_get_node(
						document, node->data.sequence.items.start[i]),
					at + (size_t)n);
		}
		return rc;
	}
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
		rc == 0 && pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = yaml_document_get_node(document, pair->key);

		n = snprintf(walk->path + at, room, "%s%s", at ? "." : "",
			(const char *)key->data.scalar.value);
		if ((size_t)n < room)
			rc = walk_node(walk, yaml_document_get_node(document, pair->value),
				at + (size_t)n);
	}
	return rc;
}

int ctl_yaml_each(const struct ctl_yaml *yaml,
	int (*visit)(void *ctx, const char *path, const char *text), void *ctx)
{
	struct walk walk = {.yaml = yaml, .visit = visit, .ctx = ctx};

	return walk_node(&walk, yaml_document_get_root_node(document_of(yaml)), 0);
}

int ctl_yaml_error(const struct ctl_yaml *yaml, struct base_error *ret_error, const char *path,
	const char *fmt, ...)
{
	char text[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return base_error_set(ret_error, -EINVAL, "%s:%u: %s%s%s", yaml->file,
		ctl_yaml_line(yaml, path), path, *path ? ": " : "", text);
}

static int syntax_error(const struct ctl_yaml *yaml, const yaml_parser_t *parser, const char *text,
	struct base_error *ret_error)
{
	unsigned line = mark_line(parser->problem_mark);

	/* What cannot even be read as text has an offset only. */
	if (parser->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < parser->problem_offset; i++)
			line += text[i] == '\n';
		return base_error_set(ret_error, -EINVAL,
			"%s:%u: not text: %s; write the file in UTF-8", yaml->file, line,
			parser->problem);
	}

	if (parser->error == YAML_MEMORY_ERROR)
		return base_error_set(ret_error, -ENOMEM, "%s: out of memory", yaml->file);
	return base_error_set(ret_error, -EINVAL,
		"%s:%u: not YAML: %s%s%s; indent with spaces, put \": \" between key and value",
		yaml->file, line, parser->context ? parser->context : "",
		parser->context ? ", " : "", parser->problem ? parser->problem : "unreadable");
}

/* The first document must be a mapping, and the only one. */
static int load(struct ctl_yaml *yaml, yaml_parser_t *parser, const char *text,
	struct base_error *ret_error)
{
	yaml_document_t second;
	yaml_node_t *root;
	unsigned line = 0;

	if (!yaml_parser_load(parser, &yaml->document))
		return syntax_error(yaml, parser, text, ret_error);
	yaml->has_document = true;
	root = yaml_document_get_root_node(&yaml->document);
	if (!root)
		return base_error_set(ret_error, -EINVAL,
			"%s:1: the file is empty; sandd-gw.example.yaml shows every key",
			yaml->file);
	if (root->type != YAML_MAPPING_NODE)
		return base_error_set(ret_error, -EINVAL,
			"%s:%u: not a list of \"key: value\" lines; sandd-gw.example.yaml shows "
			"every key",
			yaml->file, mark_line(root->start_mark));
	if (!yaml_parser_load(parser, &second))
		return syntax_error(yaml, parser, text, ret_error);
	if (yaml_document_get_root_node(&second))
		line = mark_line(second.start_mark);
	yaml_document_delete(&second);
	if (line > 0)
		return base_error_set(ret_error, -EINVAL,
			"%s:%u: a second document (\"---\"); put everything into one", yaml->file,
			line);
	return 0;
}

struct ctl_yaml *ctl_yaml_new(
	const char *file, const char *text, size_t len, struct base_error *ret_error)
{
	struct ctl_yaml *yaml = calloc(1, sizeof(*yaml));
	yaml_parser_t parser;
	int rc = -ENOMEM;

	if (!yaml)
		goto err;
	yaml->file = strdup(file);
	if (!yaml->file || !yaml_parser_initialize(&parser))
		goto err;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	rc = load(yaml, &parser, text, ret_error);
	yaml_parser_delete(&parser);
	if (rc == 0)
		return yaml;
err:
	if (rc == -ENOMEM)
		base_error_set(ret_error, rc, "%s: out of memory", file);
	ctl_yaml_free(yaml);
	errno = -rc;
	return NULL;
}

void ctl_yaml_free(struct ctl_yaml *yaml)
{
	if (!yaml)
		return;
	if (yaml->has_document)
		yaml_document_delete(&yaml->document);
	free(yaml->file);
	free(yaml);
}
