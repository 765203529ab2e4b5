/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The walk of a packet as a picture: places (dp_api.h), the steps between them, and where packets end (dp_drop.h),
 * drawn for graphviz from the lists that the code is made of. walk.dot is the picture as it is now;
 * dp_walk_test.c holds it, the steps and the places of drops against the sources.
 */
#ifndef DP_WALK_H
#define DP_WALK_H

#include <stdio.h>

#include "dp_api.h"

/** X(from, to, file, call): this call in this file is the step. */
#define DP_STEPS(X)                                                                                \
	X(RX, STEER, "dp_rx.c", "dp_steer(worker")                                                 \
	X(RX, PROBE, "dp_rx.c", "dp_probe_take(worker")                                            \
	X(RX, HANDSHAKE, "dp_handshake.c", "take_message(handshake")                               \
	X(STEER, DECAP, "dp_steer.c", "dp_decap(worker")                                           \
	X(DECAP, INNER, "dp_decap.c", "check_inner(worker")                                        \
	X(INNER, DELIVER, "dp_decap.c", "dp_deliver_flush(worker)")                                \
	X(HOST, ENCAP, "dp_encap.c", "dp_encap(worker")                                            \
	X(ENCAP, TX, "dp_encap.c", "dp_tx_sealed(worker")                                          \
	X(HANDSHAKE, ANSWER, "dp_handshake.c", "DP_COMMAND_SEND")                                  \
	X(ANSWER, TX, "dp_worker.c", "dp_tx_payload(worker")

struct dp_step {
	enum dp_place from, to;
	const char *file, *call;
};
extern const struct dp_step dp_steps[];
extern const unsigned dp_n_steps;

/** The picture in graphviz' language. */
void dp_walk_draw(FILE *out);

#endif
