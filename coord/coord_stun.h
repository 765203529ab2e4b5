/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * STUN, as much as tells an address behind a NAT (RFC 8489; protocols/nat-traversal.md, section 2): a binding request that
 * relays of a mesh answer, and what their answer says. Pure. Thread: any.
 *
 * Whom an answer belongs to is told by its transaction alone: 96 random bits, new for each request, which nobody but the server that
 * was asked (and who is on the way) has seen. Everything else in an answer is a stranger's word.
 */
#ifndef COORD_STUN_H
#define COORD_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"

#define COORD_STUN_TX_BYTES 12
/** A request: header, SOFTWARE "tailnode", FINGERPRINT; servers drop what lacks either. */
#define COORD_STUN_REQUEST_BYTES 40
#define COORD_STUN_PORT 3478

/** Write a binding request. */
void coord_stun_request(
	uint8_t out[COORD_STUN_REQUEST_BYTES], const uint8_t tx[COORD_STUN_TX_BYTES]);

/** Does a datagram begin as STUN's do (nat-traversal.md, 1.3)? */
bool coord_stun_looks(const void *datagram, size_t len);

/**
 * Read a success response: its transaction, and where the server saw the request come from; an IPv4 address within an IPv6 one is
 * told as what it is. Returns 0; -EPROTO: it is no such response, or malformed; -ENODATA: it names no address.
 */
BASE_MUST_CHECK int coord_stun_response(uint8_t ret_tx[COORD_STUN_TX_BYTES],
	struct base_endpoint *ret_mapped, const void *datagram, size_t len);

#endif
