/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control channel: Noise_IK_25519_ChaChaPoly_BLAKE2s towards a server whose key we know, then a byte stream in
 * records of at most 4,096 bytes (protocols/headscale-control.md, 3.3-3.4). Pure: bytes in, bytes out.
 *
 *	us                                      server
 *	initiation (101 bytes)    ------------>                  in the upgrade request
 *	                          <------------ response (51)    behind its 101
 *	records                   <-----------> records          nonces count from 0, big-endian, in each direction
 *
 * A record that does not open ends the channel; so does a frame that is out of turn or too long. No rekeying exists.
 *
 * Thread: one at a time. Memory: the struct alone; wiped by coord_channel_fini().
 */
#ifndef COORD_CHANNEL_H
#define COORD_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "cr_noise.h"
#include "cr_secret.h"

#define COORD_CHANNEL_INITIATION_BYTES 101
#define COORD_CHANNEL_RESPONSE_BYTES 51
#define COORD_CHANNEL_RECORD_BYTES_MAX 4096
#define COORD_CHANNEL_PLAIN_BYTES_MAX 4077

enum coord_channel_phase {
	COORD_CHANNEL_WAITS,  /* for the response */
	COORD_CHANNEL_OPEN,   /* records both ways */
	COORD_CHANNEL_BROKEN, /* nothing passes any more */
};

struct coord_channel {
	enum coord_channel_phase phase;
	struct cr_noise noise; /* until it is open */
	struct cr_key ephemeral_private, machine_private;
	struct cr_key send_key, receive_key;
	uint64_t send_counter, receive_counter;
	uint8_t frame[COORD_CHANNEL_RECORD_BYTES_MAX]; /* as much of the next one as has come */
	size_t frame_len;
};

/** Plaintext of the stream, borrowed. Not 0: stop, and coord_channel_input() returns that. */
typedef int (*coord_channel_plain)(void *ctx, const uint8_t *data, size_t len);

/**
 * Begin, with a fresh ephemeral key. @version: our capability version, part of what both sides hash.
 * Returns 0, or -EINVAL: @server_public is no key to talk to.
 */
BASE_MUST_CHECK int coord_channel_init(struct coord_channel *channel,
	const struct cr_key *machine_private, const struct cr_key *server_public, uint16_t version,
	uint8_t ret_initiation[COORD_CHANNEL_INITIATION_BYTES]);
void coord_channel_fini(struct coord_channel *channel);

/**
 * Bytes from the server, cut anywhere. Returns 0; -EPROTO: out of turn, or too long a frame; -EBADMSG: forged, or not of the
 * server whose key we know; -EPERM: the server's error frame, in its words (nobody vouches for them); or what @plain said.
 */
BASE_MUST_CHECK int coord_channel_input(struct coord_channel *channel, const uint8_t *data,
	size_t len, coord_channel_plain plain, void *ctx, struct base_error *ret_error);

/** Seal one record: @len at most COORD_CHANNEL_PLAIN_BYTES_MAX. Returns its bytes, or 0: not open, or used up. */
size_t coord_channel_seal(struct coord_channel *channel,
	uint8_t out[COORD_CHANNEL_RECORD_BYTES_MAX], const void *data, size_t len);

#endif
