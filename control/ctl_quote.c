/* SPDX-License-Identifier: BSD-3-Clause */
/* Quoting for a POSIX shell (XCU 2.2.2: nothing is special between single quotes). See ctl_quote.h. */
#include "ctl_quote.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_word(FILE *out, const char *word)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+=";

	if (*word && word[strspn(word, plain)] == '\0') {
		fputs(word, out);
		return;
	}
	fputc('\'', out);
	for (; *word; word++) {
		if (*word == '\'')
			fputs("'\\''", out);
		else
			fputc(*word, out);
	}
	fputc('\'', out);
}

char *ctl_quote_argv(const json_t *argv)
{
	char *line = NULL;
	bool is_good = json_is_array(argv);
	size_t len, i;
	FILE *out;
	json_t *word;

	out = open_memstream(&line, &len);
	if (!out)
		return NULL;
	json_array_foreach (argv, i, word) {
		is_good = is_good && json_is_string(word);
		if (!is_good)
			break;
		if (i > 0)
			fputc(' ', out);
		/* The first word must stay a command: FOO=bar in that place would be an assignment. */
		if (i == 0 && strchr(json_string_value(word), '='))
			fputs("''", out);
		put_word(out, json_string_value(word));
	}
	is_good = fclose(out) == 0 && is_good;
	if (is_good)
		return line;
	free(line);
	return NULL;
}
