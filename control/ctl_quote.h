/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words quoted into one line for a shell: what sh -c reads back as exactly these words. Any thread.
 */
#ifndef CTL_QUOTE_H
#define CTL_QUOTE_H

#include <jansson.h>

/** Quote a list of texts. Returns a malloc'ed line, or NULL: no list, not all texts, no memory. */
char *ctl_quote_argv(const json_t *argv);

#endif
