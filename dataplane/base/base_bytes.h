/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes: loads and stores in a stated order from any alignment, hex, base64, constant-time
 * compare, wiping. Inline, no state, any thread.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t base_load_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t base_load_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t base_load_be64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static inline uint32_t base_load_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t base_load_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline void base_store_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void base_store_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void base_store_be64(void *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

static inline void base_store_le32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static inline void base_store_le64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof(v));
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	"the loads above and the wire structs of wg_messages.h assume a little-endian machine");

/** Compare in time that depends on @len alone. Returns true if equal. */
static inline bool base_ct_equal(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t diff = 0;

	for (size_t i = 0; i < len; i++)
		diff |= x[i] ^ y[i];
	return diff == 0;
}

/** Overwrite secrets; the compiler may not remove it. */
static inline void base_wipe(void *p, size_t len)
{
	explicit_bzero(p, len);
}

/** Write 2 * @len lower-case hex digits and a NUL to @ret_text (2 * @len + 1 bytes). */
void base_hex_encode(char *ret_text, const void *bytes, size_t len);

/** Read exactly 2 * @len hex digits followed by NUL. False, and nothing written, otherwise. */
bool base_hex_decode(void *ret_bytes, size_t len, const char *text);

/** Characters of a 32-byte key in base64 with padding, without the NUL. */
#define BASE_KEY_TEXT_LEN 44
/** Characters of a key's fingerprint, as logs, traces and gdb show public keys. */
#define BASE_FINGERPRINT_LEN 8

/** Write a 32-byte key as 44 base64 characters and a NUL (constant time in the key). */
void base_key_encode(char ret_text[BASE_KEY_TEXT_LEN + 1], const uint8_t key[32]);

/**
 * Read exactly 44 base64 characters (RFC 4648 with padding, canonical) followed by NUL, in time
 * independent of the key. False, and nothing written, otherwise.
 */
bool base_key_decode(uint8_t ret_key[32], const char *text);

/** Write the first eight base64 characters of a public key, and a NUL. */
void base_key_fingerprint(char ret_text[BASE_FINGERPRINT_LEN + 1], const uint8_t key[32]);

#endif
