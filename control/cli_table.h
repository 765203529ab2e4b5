/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Aligned text for people: tables whose columns are as wide as their widest cell, and numbers in words.
 * Cells hold what daemons say of themselves: control characters are escaped, so that none of them can
 * play with the terminal.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base_err.h"

#define CLI_COLUMNS_MAX 14
/** Room for the texts below. */
#define CLI_TEXT_LEN 32

struct cli_table;

/**
 * @headings: n_columns words; one that begins with '>' is of a column that is aligned to the right. NULL
 * without memory; the calls below accept that and print nothing.
 */
struct cli_table *cli_table_new(const char *const *headings, size_t n_columns);
/** Put a text into the next cell, row by row; NULL is "-". */
void cli_table_add(struct cli_table *table, const char *text);
BASE_PRINTF(2, 3)
void cli_table_addf(struct cli_table *table, const char *fmt, ...);
/** Print with @indent spaces in front of each line, and free. */
void cli_table_print(struct cli_table *table, unsigned indent);

/* Each returns @buf, for use as a printf argument. */

/** "1.21 MiB" */
const char *cli_bytes(char buf[CLI_TEXT_LEN], uint64_t bytes);
/** "5 s", "3 min", "2.5 h", "12 d" */
const char *cli_duration(char buf[CLI_TEXT_LEN], double seconds);
/** Time since a Unix time, "3 min ago"; "-" for null. */
const char *cli_ago(char buf[CLI_TEXT_LEN], const json_t *unix_s);

/** Members of a document; "" or 0 where they are missing or null. */
const char *cli_text(const json_t *object, const char *key);
uint64_t cli_number(const json_t *object, const char *key);
double cli_real(const json_t *object, const char *key);

#endif
