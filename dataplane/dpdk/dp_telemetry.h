/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counters over DPDK's telemetry socket, next to those of its libraries (dpdk-telemetry.py -f sandd-gw):
 *
 *	/sandd/stats              sums over the workers, and what is shared
 *	/sandd/stats,WORKER       one worker's
 *	/sandd/drops[,WORKER]     packets by reason
 *	/sandd/peers              fingerprints of the public keys, at most 512
 *	/sandd/peer,FINGERPRINT   one peer
 *
 * DPDK answers on a thread of its own, which may not read what is control's. So that thread asks: it leaves a
 * question, wakes control, and waits for a bounded time for dp_telemetry_service() to answer.
 */
#ifndef DP_TELEMETRY_H
#define DP_TELEMETRY_H

#include "base_err.h"

struct dp;

/** Control: register the commands, once per process, and answer for @dp. 0 or -Exxx with a line. */
BASE_MUST_CHECK int dp_telemetry_open(struct dp *dp, struct base_error *ret_error);
/** Control: no questions any more. Never opened is fine. */
void dp_telemetry_close(const struct dp *dp);
/** Control, from dp_service(): answer what was asked. */
void dp_telemetry_service(struct dp *dp);

#endif
