/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables and numbers for people. See cli_table.h. */
#include "cli_table.h"

#include "base_clock.h"

#include <stdbool.h>
#include <stdlib.h>

struct cli_table {
	size_t n_columns;
	bool is_right[CLI_COLUMNS_MAX];
	size_t widths[CLI_COLUMNS_MAX];
	char **cells; /* row by row, headings first */
	size_t n_cells, room;
	bool is_broken; /* out of memory */
};

/* Columns that a text takes: UTF-8 characters, which all count as one wide. */
static size_t width_of(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* A copy with control characters as \xNN; malloc'ed. */
static char *copy_clean(const char *text)
{
	char *copy = malloc(4 * strlen(text) + 1), *at = copy;

	if (!copy)
		return NULL;
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		/* C1 controls are two bytes in UTF-8, the first of them 0xc2. */
		bool is_c1 = c == 0xc2 && (unsigned char)text[1] < 0xa0;

		if (c < 0x20 || c == 0x7f || is_c1)
			at += sprintf(at, "\\x%02x", c);
		else
			*at++ = (char)c;
	}
	*at = '\0';
	return copy;
}

struct cli_table *cli_table_new(const char *const *headings, size_t n_columns)
{
	struct cli_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->n_columns = n_columns;
	for (size_t i = 0; i < n_columns; i++) {
		table->is_right[i] = headings[i][0] == '>';
		cli_table_add(table, headings[i] + table->is_right[i]);
	}
	return table;
}

void cli_table_add(struct cli_table *table, const char *text)
{
	size_t column, width;
	char *copy;

	if (!table || table->is_broken)
		return;
	if (table->n_cells == table->room) {
		size_t room = table->room ? 2 * table->room : 64;
		char **cells = realloc(table->cells, room * sizeof(*cells));

		table->is_broken = !cells;
		if (!cells)
			return;
		table->cells = cells;
		table->room = room;
	}
	copy = copy_clean(text && *text ? text : "-");
	table->is_broken = !copy;
	if (!copy)
		return;
	column = table->n_cells % table->n_columns;
	width = width_of(copy);
	if (width > table->widths[column])
		table->widths[column] = width;
	table->cells[table->n_cells++] = copy;
}

void cli_table_addf(struct cli_table *table, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cli_table_add(table, text);
}

static void print_cell(const struct cli_table *table, size_t i)
{
	size_t column = i % table->n_columns;
	size_t gap = table->widths[column] - width_of(table->cells[i]);
	bool is_last = column == table->n_columns - 1;

	if (table->is_right[column])
		printf("%*s", (int)gap, "");
	fputs(table->cells[i], stdout);
	if (is_last)
		putchar('\n');
	else
		printf("%*s", (int)(table->is_right[column] ? 0 : gap) + 2, "");
}

void cli_table_print(struct cli_table *table, unsigned indent)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->n_cells; i++) {
		if (i % table->n_columns == 0)
			printf("%*s", (int)indent, "");
		print_cell(table, i);
	}
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

const char *cli_bytes(char buf[CLI_TEXT_LEN], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < BASE_ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, CLI_TEXT_LEN, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
	return buf;
}

const char *cli_duration(char buf[CLI_TEXT_LEN], double seconds)
{
	if (seconds < 120)
		snprintf(buf, CLI_TEXT_LEN, "%.0f s", seconds);
	else if (seconds < 120 * 60)
		snprintf(buf, CLI_TEXT_LEN, "%.0f min", seconds / 60);
	else if (seconds < 48 * 3600)
		snprintf(buf, CLI_TEXT_LEN, "%.1f h", seconds / 3600);
	else
		snprintf(buf, CLI_TEXT_LEN, "%.0f d", seconds / 86400);
	return buf;
}

const char *cli_ago(char buf[CLI_TEXT_LEN], const json_t *unix_s)
{
	double age_s =
		(double)base_clock_unix_ns() / (double)BASE_NS_PER_S - json_number_value(unix_s);

	if (!json_is_number(unix_s))
		return strcpy(buf, "-");
	cli_duration(buf, age_s > 0 ? age_s : 0);
	return strcat(buf, " ago");
}

const char *cli_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

uint64_t cli_number(const json_t *object, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(object, key));
}

double cli_real(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}
