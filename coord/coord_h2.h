/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP/2 of a client over the control channel (protocols/headscale-control.md, 4.1): several requests at once, among them one
 * whose answer never ends. nghttp2 does the protocol; bytes come in and go out here. Pure.
 *
 * Bounds: requests in flight, the body of a request, the headers of an answer; the flow control windows. Bodies of answers are
 * the asker's to bound. Memory that held frames is wiped when it is given back: bodies carry keys.
 *
 * Thread: one at a time. From within a callback of a request everything may be called but coord_h2_free() and coord_h2_input().
 */
#ifndef COORD_H2_H
#define COORD_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"

#define COORD_H2_REQUESTS_MAX 8
#define COORD_H2_BODY_BYTES_MAX (1u << 20) /* what Headscale reads of one */
/** What may be on its way to us: of one answer, and of all. */
#define COORD_H2_WINDOW_BYTES (1u << 20)
#define COORD_H2_WINDOW_ALL_BYTES (4u << 20)

/** Of one request. After `ended` nothing comes. */
struct coord_h2_answer {
	/** The status line. */
	void (*status)(void *user, int status);
	/** Bytes of the body. The window opens again by coord_h2_consumed(). */
	void (*data)(void *user, const uint8_t *data, size_t len);
	/** 0: the answer is whole; -ECONNRESET: the server gave it up; -ECANCELED: the session ended. */
	void (*ended)(void *user, int rc);
};

struct coord_h2;

/** @authority: of all requests; copied. NULL with errno. */
struct coord_h2 *coord_h2_new(const char *authority);
/** Forget the requests in flight: no call any more, not even for what coord_h2_input() is about to read. From anywhere. */
void coord_h2_stop(struct coord_h2 *h2);
/** As coord_h2_stop(), and free it. NULL is fine. */
void coord_h2_free(struct coord_h2 *h2);

/** Bytes of the server. 0, or -EPROTO and a line: the session is over. */
BASE_MUST_CHECK int coord_h2_input(
	struct coord_h2 *h2, const uint8_t *data, size_t len, struct base_error *ret_error);
/**
 * The next bytes for the server, borrowed until the next call; *ret_len 0: none now. To be asked after each call here. 0 or -Exxx.
 */
BASE_MUST_CHECK int coord_h2_output(struct coord_h2 *h2, const uint8_t **ret_data, size_t *ret_len);

/**
 * POST @body (copied; NULL with a length of 0: GET) to @path. Returns the request's number, or -EBUSY: too many in flight; -EMSGSIZE,
 * -ENOMEM; -ENOTCONN: the server takes no more.
 */
int32_t coord_h2_request(struct coord_h2 *h2, const char *method, const char *path,
	const void *body, size_t len, const struct coord_h2_answer *answer, void *user);
/** So much of an answer's body is worked off. */
void coord_h2_consumed(struct coord_h2 *h2, int32_t request, size_t len);
/** Give it up: RST_STREAM, and no call any more. */
void coord_h2_cancel(struct coord_h2 *h2, int32_t request);
/** Will the session take another request? False after GOAWAY. */
bool coord_h2_is_usable(const struct coord_h2 *h2);

#endif
