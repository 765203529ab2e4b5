/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The picture of the walk is true: walk.dot is what the lists draw, each step is a call that its file makes, each
 * drop falls in a file of its place, and no reason is left that nobody gives. After a change of the lists:
 * dp_walk_test --draw >walk.dot.
 */
#include "dp_walk.h"

#include "dp_drop.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define BIT(place) (1u << DP_PLACE_##place)

/* Whose drops a file may give without naming the place itself. */
static const struct {
	const char *file;
	unsigned places;
} files[] = {
	{"dp_rx.c", BIT(RX)},
	{"dp_admit.c", BIT(RX)},
	{"dp_probe.c", BIT(RX)},
	{"dp_steer.c", BIT(STEER) | BIT(DECAP)},
	{"dp_decap.c", BIT(DECAP) | BIT(INNER) | BIT(DELIVER)},
	{"dp_encap.c", BIT(ENCAP) | BIT(HOST)},
	{"dp_tx.c", BIT(TX)},
};

static const char *const drop_words[] = {
#define DP_DROP_WORD(name, text, place, meaning) [DP_DROP_##name] = #name,
	DP_DROPS(DP_DROP_WORD)
#undef DP_DROP_WORD
};

static char *read_text(const char *name)
{
	char path[512], *text = calloc(1, 1 << 20);
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", SOURCE_DIR, name);
	file = fopen(path, "r");
	if (!file || !text)
		fail_msg("%s cannot be read", path);
	assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
	fclose(file);
	return text;
}

static void picture_is_current(void **state)
{
	char *text, *expected = read_text("walk.dot");
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	dp_walk_draw(out);
	fclose(out);
	if (strcmp(text, expected) != 0)
		fail_msg("walk.dot is old: dp_walk_test --draw >dataplane/dpdk/walk.dot");
	free(text);
	free(expected);
}

static void every_step_is_taken(void **state)
{
	for (unsigned i = 0; i < dp_n_steps; i++) {
		char *text = read_text(dp_steps[i].file);

		if (!strstr(text, dp_steps[i].call))
			fail_msg("%s has no \"%s\": the step from %s to %s", dp_steps[i].file,
				dp_steps[i].call, dp_place_name(dp_steps[i].from),
				dp_place_name(dp_steps[i].to));
		free(text);
	}
}

/* The reason whose word stands at @at, or -1. */
static int reason_at(const char *at)
{
	size_t len = 0;

	while (isupper((unsigned char)at[len]) || isdigit((unsigned char)at[len]) || at[len] == '_')
		len++;
	for (size_t i = 0; i < BASE_ARRAY_LEN(drop_words); i++) {
		if (strlen(drop_words[i]) == len && memcmp(drop_words[i], at, len) == 0)
			return (int)i;
	}
	return -1;
}

/* Is it an argument of dp_drop_at(), which names the place? */
static bool names_its_place(const char *text, const char *at)
{
	const char *from = at;

	while (from > text && from[-1] != ';' && from[-1] != '{' && from[-1] != '}')
		from--;
	for (; from < at; from++)
		if (strncmp(from, "dp_drop_at(", 11) == 0)
			return true;
	return false;
}

static void drops_fall_where_they_are_said_to(void **state)
{
	for (size_t f = 0; f < BASE_ARRAY_LEN(files); f++) {
		char *text = read_text(files[f].file);

		for (const char *at = text; (at = strstr(at, "DP_DROP_")); at++) {
			int reason = reason_at(at + strlen("DP_DROP_"));

			if (reason < 0 || names_its_place(text, at))
				continue;
			if (!(files[f].places & 1u << dp_drop_place((unsigned)reason)))
				fail_msg("%s gives %s, which falls at %s by dp_drop.h",
					files[f].file, drop_words[reason],
					dp_place_name(dp_drop_place((unsigned)reason)));
		}
		free(text);
	}
}

static void no_reason_is_left_over(void **state)
{
	static const char *const sources[] = {"dp_rx.c", "dp_admit.c", "dp_probe.c", "dp_steer.c",
		"dp_decap.c", "dp_encap.c", "dp_tx.c", "dp_worker.c", "dp_dataplane.c",
		"dp_handshake.c"};
	bool is_given[BASE_ARRAY_LEN(drop_words)] = {false};

	for (size_t i = 0; i < BASE_ARRAY_LEN(sources); i++) {
		char *text = read_text(sources[i]);

		for (const char *at = text; (at = strstr(at, "DP_DROP_")); at++) {
			int reason = reason_at(at + strlen("DP_DROP_"));

			if (reason >= 0)
				is_given[reason] = true;
		}
		free(text);
	}
	for (size_t i = 0; i < BASE_ARRAY_LEN(drop_words); i++)
		if (!is_given[i])
			fail_msg("nobody gives DP_DROP_%s", drop_words[i]);
}

int main(int argc, char *argv[])
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(picture_is_current),
		cmocka_unit_test(every_step_is_taken),
		cmocka_unit_test(drops_fall_where_they_are_said_to),
		cmocka_unit_test(no_reason_is_left_over),
	};

	if (argc == 2 && strcmp(argv[1], "--draw") == 0) {
		dp_walk_draw(stdout);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
