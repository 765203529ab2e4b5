/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_ask.h. */
#include "coord_ask.h"

#include <stdlib.h>

struct coord_ask {
	struct coord_link *link;
	int32_t request;
	int status;
	size_t len;
	coord_ask_done done;
	void *ctx;
	char body[COORD_ASK_ANSWER_BYTES_MAX + 1];
};

static void finish(struct coord_ask *ask, int rc)
{
	const struct coord_ask_answer answer = {ask->status, ask->body, ask->len};

	ask->body[ask->len] = '\0';
	ask->done(ask->ctx, rc == 0 ? &answer : NULL, rc);
	free(ask);
}

static void on_status(void *user, int status)
{
	struct coord_ask *ask = user;

	ask->status = status;
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
	struct coord_ask *ask = user;

	if (len > COORD_ASK_ANSWER_BYTES_MAX - ask->len) {
		coord_link_cancel(ask->link, ask->request);
		finish(ask, -EMSGSIZE);
		return;
	}
	memcpy(ask->body + ask->len, data, len);
	ask->len += len;
	coord_link_consumed(ask->link, ask->request, len);
}

static void on_ended(void *user, int rc)
{
	finish(user, rc);
}

struct coord_ask *coord_ask_start(struct coord_link *link, const char *method, const char *path,
	const void *body, size_t len, coord_ask_done done, void *ctx)
{
	static const struct coord_h2_answer answer = {
		.status = on_status,
		.data = on_data,
		.ended = on_ended,
	};
	struct coord_ask *ask = calloc(1, sizeof(*ask));

	if (!ask)
		return NULL;
	ask->link = link;
	ask->done = done;
	ask->ctx = ctx;
	ask->request = coord_link_request(link, method, path, body, len, &answer, ask);
	if (ask->request < 0) {
		errno = -ask->request;
		free(ask);
		return NULL;
	}
	return ask;
}

void coord_ask_cancel(struct coord_ask *ask)
{
	if (!ask)
		return;
	coord_link_cancel(ask->link, ask->request);
	free(ask);
}
