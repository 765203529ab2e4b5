/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disco: the messages by which nodes of a mesh find the way to each other, and their envelope
 * (protocols/nat-traversal.md, section 1). Pure; what is malformed or unknown is a verdict, never an error to act on.
 * Thread: any.
 */
#ifndef COORD_DISCO_H
#define COORD_DISCO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"

#define COORD_DISCO_MAGIC_BYTES 6
#define COORD_DISCO_NONCE_BYTES 24
#define COORD_DISCO_TAG_BYTES 16
#define COORD_DISCO_HEAD_BYTES                                                                     \
	(COORD_DISCO_MAGIC_BYTES + 32 + COORD_DISCO_NONCE_BYTES + COORD_DISCO_TAG_BYTES)
#define COORD_DISCO_TX_BYTES 12
#define COORD_DISCO_BYTES_MAX 1280
/** Endpoints of a call-me-maybe that are looked at. */
#define COORD_DISCO_ENDPOINTS_MAX 64

enum coord_disco_type {
	COORD_DISCO_PING = 1,
	COORD_DISCO_PONG = 2,
	COORD_DISCO_CALL_ME_MAYBE = 3,
};

struct coord_disco_message {
	uint8_t type;                     /* enum coord_disco_type, or one that is unknown here */
	uint8_t tx[COORD_DISCO_TX_BYTES]; /* ping, pong */
	bool has_node_key;
	struct cr_key node_key;        /* ping */
	struct base_endpoint observed; /* pong: where the ping came from, in its sender's eyes */
	struct base_endpoint endpoints[COORD_DISCO_ENDPOINTS_MAX]; /* call-me-maybe */
	unsigned n_endpoints;
};

/** The key that two disco keys share (crypto_box_beforenm). False: a low-order point. */
BASE_MUST_CHECK bool coord_disco_shared(
	struct cr_key *ret_shared, const struct cr_key *ours, const struct cr_key *theirs);

/** Does it begin as disco does, and is it long enough? ret_sender: its sender's disco key, borrowed from the datagram's copy. */
bool coord_disco_looks(const void *datagram, size_t len, struct cr_key *ret_sender);
/** Seal @message; @padding zero bytes after a ping. Returns the datagram's length; 0: does not fit in @size. */
size_t coord_disco_seal(uint8_t *out, size_t size, const struct coord_disco_message *message,
	size_t padding, const struct cr_key *our_public, const struct cr_key *shared);
/** -EBADMSG forged, -EPROTO malformed; 0 with an unknown type as it is. */
BASE_MUST_CHECK int coord_disco_open(struct coord_disco_message *ret_message, const void *datagram,
	size_t len, const struct cr_key *shared);

#endif
