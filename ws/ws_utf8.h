/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. What a
 * command prints is bytes; what a frame carries is UTF-8. No state, any thread.
 */
#ifndef WS_UTF8_H
#define WS_UTF8_H

#include <stdbool.h>
#include <stddef.h>

bool ws_utf8_is_valid(const char *text, size_t len);

/**
 * A copy in which each maximal ill-formed piece is one U+FFFD (the practice of Unicode 15, section 3.9, which Rust's and
 * Python's lossy decoders follow). Malloc'ed, NUL-terminated; NULL without memory.
 */
char *ws_utf8_repair(const char *text, size_t len, size_t *ret_len);

/** @len without the bytes of a last character that begins well and is cut short. */
size_t ws_utf8_trim(const char *text, size_t len);

#endif
