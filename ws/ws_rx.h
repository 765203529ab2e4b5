/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A message on its way in, piece by piece. What is held grows with what has arrived, never with what a header
 * promises, and never past WS_FRAME_BYTES_MAX. One owner, no lock.
 */
#ifndef WS_RX_H
#define WS_RX_H

#include <stddef.h>

#include "base_err.h"

/** Zeroed is empty. */
struct ws_rx {
	char *bytes;
	size_t len, size;
};

/**
 * Add a piece of which @left bytes are still to come.
 * Returns 0, -EMSGSIZE (nothing is kept), -ENOMEM.
 */
BASE_MUST_CHECK int ws_rx_add(struct ws_rx *rx, const char *piece, size_t len, size_t left);
/** The message was used: forget it, and give a large buffer back. */
void ws_rx_reset(struct ws_rx *rx);
void ws_rx_fini(struct ws_rx *rx);

#endif
