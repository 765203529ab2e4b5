/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames of the relay protocol DERP (protocols/nat-traversal.md 3.2) as bytes: cut out of a stream, built, and the three of the
 * login read and sealed. Pure; any thread.
 *
 * Bounded: a frame that says more than 1 MiB ends the connection; what is longer than the longest packet, and what no client
 * needs, is skipped without being kept. So a reader holds one frame at most, 64 KiB and a head.
 */
#ifndef COORD_DERP_FRAME_H
#define COORD_DERP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "cr_secret.h"

#define COORD_DERP_HEAD_BYTES 5
#define COORD_DERP_PACKET_BYTES_MAX 65536
/** What a whole SendPacket or RecvPacket has besides its packet. */
#define COORD_DERP_OVERHEAD_BYTES (COORD_DERP_HEAD_BYTES + CR_KEY_BYTES)
#define COORD_DERP_SERVER_KEY_BYTES_MAX 1024
#define COORD_DERP_FRAME_BYTES_MAX (1u << 20)
#define COORD_DERP_KEPT_BYTES_MAX (CR_KEY_BYTES + COORD_DERP_PACKET_BYTES_MAX)
#define COORD_DERP_PING_BYTES 8
#define COORD_DERP_NONCE_BYTES 24
/** A whole ClientInfo frame. */
#define COORD_DERP_CLIENT_INFO_BYTES 109

enum coord_derp_type {
	COORD_DERP_SERVER_KEY = 0x01,
	COORD_DERP_CLIENT_INFO = 0x02,
	COORD_DERP_SERVER_INFO = 0x03,
	COORD_DERP_SEND_PACKET = 0x04,
	COORD_DERP_RECV_PACKET = 0x05,
	COORD_DERP_KEEP_ALIVE = 0x06,
	COORD_DERP_NOTE_PREFERRED = 0x07,
	COORD_DERP_PEER_GONE = 0x08,
	COORD_DERP_PING = 0x12,
	COORD_DERP_PONG = 0x13,
	COORD_DERP_HEALTH = 0x14,
	COORD_DERP_RESTARTING = 0x15,
};

struct coord_derp_frame {
	uint8_t type;
	const uint8_t *payload; /* borrowed */
	size_t len;
};

/** Zeroed at the start. Whole frames are handed on where they lie; only one that is cut is kept here. */
struct coord_derp_reader {
	uint8_t *kept; /* head and payload so far */
	size_t n_kept, size;
	size_t to_skip; /* bytes of a frame that nobody wants */
	uint64_t n_skipped;
};
void coord_derp_reader_fini(struct coord_derp_reader *reader);

/**
 * The next frame of *@data, which moves on past it. 1: @ret_frame, borrowed until the next call and as long as the data; 0: all
 * is used up; -EMSGSIZE: a frame beyond all bounds; -ENOMEM. After an error the stream is of no use.
 */
BASE_MUST_CHECK int coord_derp_reader_next(struct coord_derp_reader *reader, const uint8_t **data,
	size_t *len, struct coord_derp_frame *ret_frame);

/** Head of a frame with @len bytes of payload. */
void coord_derp_head(uint8_t out[COORD_DERP_HEAD_BYTES], enum coord_derp_type type, size_t len);

/** 0, or -EPROTO: it is no ServerKey. */
BASE_MUST_CHECK int coord_derp_read_server_key(
	const struct coord_derp_frame *frame, struct cr_key *ret_server);
/** The whole frame. 0, or -EINVAL: the server's key is of no use. @nonce: never used before. */
BASE_MUST_CHECK int coord_derp_client_info(uint8_t out[COORD_DERP_CLIENT_INFO_BYTES],
	const struct cr_key *node_private, const struct cr_key *server,
	const uint8_t nonce[COORD_DERP_NONCE_BYTES]);

/** What the server says of itself; 0: it says nothing about that. */
struct coord_derp_server_info {
	int version;
	uint64_t bytes_per_s, burst_bytes; /* the client paces itself */
};
/** 0; -EACCES: it was not sealed for us by @server; -EPROTO: what is in it is no answer. */
BASE_MUST_CHECK int coord_derp_read_server_info(const struct coord_derp_frame *frame,
	const struct cr_key *node_private, const struct cr_key *server,
	struct coord_derp_server_info *ret_info);

#endif
