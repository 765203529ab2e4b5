/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_utf8.h. The table of well-formed sequences is Unicode 15, table 3-7. No state, any thread. */
#include "ws_utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/*
 * Bytes of the character at @p, of which @left remain; 0 if it is ill-formed, and then *ret_bad is the length
 * of the piece to replace (its maximal subpart).
 */
static size_t char_bytes(const uint8_t *p, size_t left, size_t *ret_bad)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t n;

	*ret_bad = 1;
	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return 0;
	/* The second byte's range rules out overlong forms, surrogates and what lies past U+10FFFF. */
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++) {
		if (i >= left || p[i] < low || p[i] > high) {
			*ret_bad = i;
			return 0;
		}
		low = 0x80;
		high = 0xbf;
	}
	return n;
}

bool ws_utf8_is_valid(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t bad, n;

	for (size_t i = 0; i < len; i += n) {
		n = char_bytes(p + i, len - i, &bad);
		if (n == 0)
			return false;
	}
	return true;
}

char *ws_utf8_repair(const char *text, size_t len, size_t *ret_len)
{
	const uint8_t *p = (const uint8_t *)text;
	char *out = malloc(len * 3 + 1);
	size_t at = 0, bad, n;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i += n) {
		n = char_bytes(p + i, len - i, &bad);
		if (n) {
			memcpy(out + at, p + i, n);
			at += n;
		} else {
			memcpy(out + at, "\xef\xbf\xbd", 3);
			at += 3;
			n = bad;
		}
	}
	out[at] = '\0';
	*ret_len = at;
	return out;
}

size_t ws_utf8_trim(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t back = 1, bad;

	/* A cut character has at most three bytes. */
	while (back <= 3 && back < len && (p[len - back] & 0xc0) == 0x80)
		back++;
	if (back > 3 || back > len || p[len - back] < 0xc2 || p[len - back] > 0xf4)
		return len;
	/* Ill-formed as a whole, but every byte there is belongs: the rest is missing. */
	return char_bytes(p + len - back, back, &bad) == 0 && bad == back ? len - back : len;
}
