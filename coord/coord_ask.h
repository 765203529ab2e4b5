/* SPDX-License-Identifier: BSD-3-Clause */
/* One question over the channel with a short answer: registration, lite updates, pings inside it. Thread: the loop's. */
#ifndef COORD_ASK_H
#define COORD_ASK_H

#include <stddef.h>
#include <stdint.h>

#include "coord_link.h"

#define COORD_ASK_ANSWER_BYTES_MAX (64u << 10)

struct coord_ask;

/** The answer, borrowed, with a NUL behind it. */
struct coord_ask_answer {
	int status;
	const char *body;
	size_t len;
};

/** Once: NULL with -Exxx: none came, or too long a one. The ask is over, and freed by itself. */
typedef void (*coord_ask_done)(void *ctx, const struct coord_ask_answer *answer, int rc);

/** @body: copied. NULL with errno. */
struct coord_ask *coord_ask_start(struct coord_link *link, const char *method, const char *path,
	const void *body, size_t len, coord_ask_done done, void *ctx);
/** Give it up before @done, and before the link is freed. NULL is fine. */
void coord_ask_cancel(struct coord_ask *ask);

#endif
