/* SPDX-License-Identifier: BSD-3-Clause */
/* Hex and base64 of keys, without tables indexed by secret bytes. Any thread. See base_bytes.h. */
#include "base_bytes.h"

void base_hex_encode(char *ret_text, const void *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *in = bytes;

	for (size_t i = 0; i < len; i++) {
		*ret_text++ = digits[in[i] >> 4];
		*ret_text++ = digits[in[i] & 15];
	}
	*ret_text = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool base_hex_decode(void *ret_bytes, size_t len, const char *text)
{
	uint8_t *out = ret_bytes;

	if (strnlen(text, 2 * len + 1) != 2 * len)
		return false;
	for (size_t i = 0; i < 2 * len; i++)
		if (hex_value(text[i]) < 0)
			return false;
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)((unsigned)hex_value(text[2 * i]) << 4 |
			(unsigned)hex_value(text[2 * i + 1]));
	return true;
}

/* All ones if lo <= c <= hi, else 0: arithmetic on the sign bit instead of a branch. */
static int in_range(int c, int lo, int hi)
{
	return ((lo - 1 - c) & (c - hi - 1)) >> 8;
}

static char base64_digit(int v)
{
	return (char)((in_range(v, 0, 25) & (v + 'A')) | (in_range(v, 26, 51) & (v - 26 + 'a')) |
		(in_range(v, 52, 61) & (v - 52 + '0')) | (in_range(v, 62, 62) & '+') |
		(in_range(v, 63, 63) & '/'));
}

/* The value of a digit, or -1. */
static int base64_value(int c)
{
	return -1 +
		((in_range(c, 'A', 'Z') & (c - 'A' + 1)) |
			(in_range(c, 'a', 'z') & (c - 'a' + 27)) |
			(in_range(c, '0', '9') & (c - '0' + 53)) | (in_range(c, '+', '+') & 63) |
			(in_range(c, '/', '/') & 64));
}

static void base64_group(char out[4], uint32_t bits)
{
	for (int i = 0; i < 4; i++)
		out[i] = base64_digit((int)(bits >> (18 - 6 * i)) & 63);
}

void base_key_encode(char ret_text[BASE_KEY_TEXT_LEN + 1], const uint8_t key[32])
{
	for (int i = 0; i < 10; i++)
		base64_group(ret_text + 4 * i,
			(uint32_t)key[3 * i] << 16 | (uint32_t)key[3 * i + 1] << 8 |
				key[3 * i + 2]);
	base64_group(ret_text + 40, (uint32_t)key[30] << 16 | (uint32_t)key[31] << 8);
	ret_text[43] = '=';
	ret_text[44] = '\0';
}

bool base_key_decode(uint8_t ret_key[32], const char *text)
{
	uint8_t bytes[33];
	int bad = 0;

	if (strnlen(text, BASE_KEY_TEXT_LEN + 1) != BASE_KEY_TEXT_LEN || text[43] != '=')
		return false;
	for (int i = 0; i < 11; i++) {
		uint32_t bits = 0;

		for (int j = 0; j < 4; j++) {
			int v = 4 * i + j == 43 ? 0 : base64_value((unsigned char)text[4 * i + j]);

			bad |= v;
			bits = bits << 6 | (uint32_t)(v & 63);
		}
		bytes[3 * i] = (uint8_t)(bits >> 16);
		bytes[3 * i + 1] = (uint8_t)(bits >> 8);
		bytes[3 * i + 2] = (uint8_t)bits;
	}
	/* A negative value marks a foreign character; bits left over past byte 32 are not canonical. */
	if (bad < 0 || bytes[32] != 0) {
		base_wipe(bytes, sizeof(bytes));
		return false;
	}
	memcpy(ret_key, bytes, 32);
	base_wipe(bytes, sizeof(bytes));
	return true;
}

void base_key_fingerprint(char ret_text[BASE_FINGERPRINT_LEN + 1], const uint8_t key[32])
{
	char text[BASE_KEY_TEXT_LEN + 1];

	base_key_encode(text, key);
	memcpy(ret_text, text, BASE_FINGERPRINT_LEN);
	ret_text[BASE_FINGERPRINT_LEN] = '\0';
}
