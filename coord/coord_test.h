/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the suites of this folder share: cmocka with its prerequisites, known answers in hex, repeatable bytes, and the server's half of
 * the control channel, written from its description and not from coord_channel.c.
 */
#ifndef COORD_TEST_H
#define COORD_TEST_H

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base_bytes.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "cr_noise.h"

#define TEST_BYTES_MAX 512
#define TEST_RECORD_BYTES_MAX 4096

struct test_bytes {
	uint8_t data[TEST_BYTES_MAX];
	size_t len;
};

static inline struct test_bytes test_hex(const char *text)
{
	struct test_bytes bytes = {.len = strlen(text) / 2};

	assert_true(bytes.len <= sizeof(bytes.data));
	assert_true(base_hex_decode(bytes.data, bytes.len, text));
	return bytes;
}

static inline void test_assert_hex(const void *data, size_t len, const char *text)
{
	struct test_bytes expected = test_hex(text);

	assert_int_equal(len, expected.len);
	assert_memory_equal(data, expected.data, len);
}

/** Bytes that look random and are the same in each run. */
static inline void test_fill(void *buf, size_t len, uint64_t seed)
{
	uint8_t *out = buf;

	for (size_t i = 0; i < len; i++) {
		/* The generator of Knuth's MMIX; its high bits. */
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		out[i] = (uint8_t)(seed >> 56);
	}
}

/** A folder that a test made, with all in it. */
static inline int test_remove_tree(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[512];

	while (dir && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if ((size_t)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name) <
				sizeof(name) &&
			unlink(name) != 0)
			test_remove_tree(name);
	}
	if (dir)
		closedir(dir);
	return rmdir(path);
}

/** The server's half of a channel. */
struct test_responder {
	struct cr_key send_key, receive_key, machine_public;
	uint64_t send_counter, receive_counter;
};

/** Answer an initiation. False: it does not open, or is of another version. */
static inline bool test_respond(struct test_responder *ret_responder,
	const struct cr_key *server_private, unsigned version, const uint8_t initiation[101],
	uint8_t ret_response[51])
{
	struct cr_key server_public, client_ephemeral, ephemeral, ephemeral_public;
	char prologue[64];
	struct cr_noise noise;
	uint8_t nothing[16];

	*ret_responder = (struct test_responder){0};
	snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%u", version);
	cr_noise_init(&noise, "Noise_IK_25519_ChaChaPoly_BLAKE2s", prologue, strlen(prologue));
	cr_x25519_public(&server_public, server_private);
	cr_noise_mix_hash(&noise, server_public.bytes, 32);
	memcpy(client_ephemeral.bytes, initiation + 5, 32);
	cr_noise_mix_hash(&noise, initiation + 5, 32);
	if (base_load_be16(initiation + 3) != 96 ||
		!cr_noise_mix_dh(&noise, server_private, &client_ephemeral) ||
		!cr_noise_decrypt_and_hash(
			&noise, ret_responder->machine_public.bytes, initiation + 37, 48) ||
		!cr_noise_mix_dh(&noise, server_private, &ret_responder->machine_public) ||
		!cr_noise_decrypt_and_hash(&noise, nothing, initiation + 85, 16))
		return false;
	cr_x25519_generate(&ephemeral);
	cr_x25519_public(&ephemeral_public, &ephemeral);
	memcpy(ret_response, "\x02\x00\x30", 3);
	memcpy(ret_response + 3, ephemeral_public.bytes, 32);
	cr_noise_mix_hash(&noise, ephemeral_public.bytes, 32);
	if (!cr_noise_mix_dh(&noise, &ephemeral, &client_ephemeral) ||
		!cr_noise_mix_dh(&noise, &ephemeral, &ret_responder->machine_public))
		return false;
	cr_noise_encrypt_and_hash(&noise, ret_response + 35, NULL, 0);
	cr_noise_split(&noise, &ret_responder->receive_key, &ret_responder->send_key);
	return true;
}

/** One record. Returns its length. */
static inline size_t test_seal(
	struct test_responder *responder, uint8_t *out, const void *data, size_t len)
{
	out[0] = 4;
	base_store_be16(out + 1, (uint16_t)(len + 16));
	cr_aead_seal(out + 3, &responder->send_key, __builtin_bswap64(responder->send_counter++),
		data, len, NULL, 0);
	return len + 19;
}

/** Open a whole record. Returns the length of what was in it, or -1. */
static inline int test_open(
	struct test_responder *responder, const uint8_t *record, size_t len, uint8_t *ret_data)
{
	if (len < 19 || record[0] != 4 || base_load_be16(record + 1) != len - 3 ||
		!cr_aead_open(ret_data, &responder->receive_key,
			__builtin_bswap64(responder->receive_counter++), record + 3, len - 3, NULL,
			0))
		return -1;
	return (int)len - 19;
}

#endif
