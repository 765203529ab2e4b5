/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON to typed message and back (jansson). Unknown types and malformed messages are told apart, so that the
 * caller can count and skip them (the connection stays up); unknown fields are ignored; a
 * number out of range, a wrong type, a missing field or too deep a nesting makes the whole message malformed.
 * No state, any thread.
 */
#ifndef WS_CODEC_H
#define WS_CODEC_H

#include "base_err.h"
#include "ws_messages.h"

/**
 * Decode one frame. Returns 0 (free with ws_msg_fini), -EBADMSG (malformed; @ret_why says what), -ENOTSUP (a type
 * we do not know), -ENOMEM.
 */
BASE_MUST_CHECK int ws_msg_decode(
	struct ws_msg *ret_msg, const char *text, size_t len, struct base_error *ret_why);
/** Free what a decoded message owns; twice is fine. */
void ws_msg_fini(struct ws_msg *msg);

/**
 * Encode. Invalid UTF-8 in stdout and stderr becomes U+FFFD. Returns a malloc'ed text and its length, or NULL with
 * errno (ENOMEM, EMSGSIZE above WS_FRAME_BYTES_MAX).
 */
char *ws_msg_encode(const struct ws_msg *msg, size_t *ret_len);

/** "register"; NULL for a number that is none. */
const char *ws_type_name(enum ws_type type);

#endif
