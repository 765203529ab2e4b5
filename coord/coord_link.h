/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection to the server, all floors of it: stream (TCP, proxy, TLS), the upgrade of /ts2021, the Noise channel, HTTP/2 above
 * it. Up within COORD_STREAM_DEADLINE_MS, or over. Thread: the loop's.
 */
#ifndef COORD_LINK_H
#define COORD_LINK_H

#include <stdint.h>

#include <uv.h>

#include "base_err.h"
#include "cr_secret.h"
#include "coord_h2.h"
#include "coord_tls.h"
#include "coord_url.h"

struct coord_link_host {
	/** Requests may be made. */
	void (*ready)(void *ctx);
	/**
	 * It is over; requests in flight get no call. @rc -EKEYREJECTED: it ended where it does when the server has another key than the
	 * one we know, or takes our version for too old. The owner frees it, here or later.
	 */
	void (*closed)(void *ctx, int rc, const char *line);
};

struct coord_link;

/** @machine_private, @server_key: copied, wiped when the channel is open. NULL with errno and a line. */
struct coord_link *coord_link_new(uv_loop_t *loop, const struct coord_url *url,
	struct coord_tls_roots *roots, const struct cr_key *machine_private,
	const struct cr_key *server_key, const struct coord_link_host *host, void *ctx,
	struct base_error *ret_error);
/** Close at once, silently; from within a callback too. NULL is fine. */
void coord_link_free(struct coord_link *link);

/* Requests, as coord_h2.h has them. */
int32_t coord_link_request(struct coord_link *link, const char *method, const char *path,
	const void *body, size_t len, const struct coord_h2_answer *answer, void *user);
void coord_link_consumed(struct coord_link *link, int32_t request, size_t len);
void coord_link_cancel(struct coord_link *link, int32_t request);

#endif
