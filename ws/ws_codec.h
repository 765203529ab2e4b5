/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON to typed message and back (jansson). Unknown types and malformed messages are told apart, so that the
 * caller can count and skip them (the connection stays up); unknown fields are ignored; a
 * number out of range, a wrong type, a missing field or too deep a nesting makes the whole message malformed.
 * No state, any thread.
 */
#ifndef WS_CODEC_H
#define WS_CODEC_H

#include <jansson.h>

#include "base_err.h"
#include "ws_messages.h"

/**
 * Values, keys and containers in one document. Each costs the parser some 100 bytes of memory, so the text's size
 * alone is no bound; the largest legal message (an execute_command with its environment) has 2,070.
 */
#define WS_JSON_VALUES_MAX 8192

/**
 * Parse JSON of an outsider: depth (WS_JSON_DEPTH_MAX) and number of values (WS_JSON_VALUES_MAX) are checked
 * before anything is allocated, duplicate keys and invalid UTF-8 are refused. NULL with a line in @ret_why.
 */
json_t *ws_json_parse(const char *text, size_t len, struct base_error *ret_why);
/** The same with another bound of values, for those whom we trust with our memory (operators). */
json_t *ws_json_parse_up_to(
	const char *text, size_t len, size_t values_max, struct base_error *ret_why);

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
 * errno (ENOMEM, EMSGSIZE above WS_FRAME_BYTES_MAX, EINVAL for another string that is no UTF-8).
 */
char *ws_msg_encode(const struct ws_msg *msg, size_t *ret_len);
/** The same with @headroom free bytes before the text, for a transport that writes its header there. */
char *ws_msg_encode_at(const struct ws_msg *msg, size_t headroom, size_t *ret_len);

/** "register"; NULL for a number that is none. */
const char *ws_type_name(enum ws_type type);
/** Who may send it. */
bool ws_type_is_from_daemon(enum ws_type type);
bool ws_type_is_from_controller(enum ws_type type);

#endif
