/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Project Wycheproof's vectors for the suites of this folder. The JSON files are not in the
 * tree: scripts/peers.sh puts them into the directory below. Without them a case is skipped.
 */
#ifndef CR_WYCHEPROOF_TEST_H
#define CR_WYCHEPROOF_TEST_H

#include <jansson.h>

#include "cr_test.h"

/**
 * The document of one file, from $SANDD_WYCHEPROOF or the peers' directory. NULL, and the reason
 * printed, when there is none. Caller: json_decref.
 */
static inline json_t *wycheproof_load(const char *name)
{
	const char *dir = getenv("SANDD_WYCHEPROOF"), *peers = getenv("SANDD_PEERS");
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char path[1024];
	json_error_t error;
	json_t *document;

	if (dir)
		snprintf(path, sizeof(path), "%s/%s", dir, name);
	else if (peers)
		snprintf(path, sizeof(path), "%s/wycheproof/%s", peers, name);
	else if (cache)
		snprintf(path, sizeof(path), "%s/sandd-peers/wycheproof/%s", cache, name);
	else
		snprintf(path, sizeof(path), "%s/.cache/sandd-peers/wycheproof/%s",
			home ? home : "", name);
	document = json_load_file(path, 0, &error);
	if (!document)
		print_message("skipped: no Wycheproof vectors at %s (%s); run scripts/peers.sh\n",
			path, error.text);
	return document;
}

/** A field in hex. */
static inline struct test_bytes wycheproof_bytes(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	assert_non_null(text);
	return test_hex(text);
}

static inline bool wycheproof_result_is(const json_t *test, const char *result)
{
	return strcmp(json_string_value(json_object_get(test, "result")), result) == 0;
}

static inline int wycheproof_int(const json_t *object, const char *key)
{
	return (int)json_integer_value(json_object_get(object, key));
}

#endif
