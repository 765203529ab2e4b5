/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake's algebra: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (paper 5.4.2, 5.4.3).
 *
 *     initiator                                        responder
 *     -> e, es, s, ss, {timestamp}                     (knows s afterwards)
 *                              <- e, ee, se, psk, {}   (both have transport keys)
 *
 * Nothing in here looks at time, peers, MACs or sockets, and nothing is stored before it is
 * authenticated: each step works on a copy and gives it out only when its tag was right. A
 * shared secret of zeros is a failure in both roles. Thread: the device's.
 */
#ifndef WG_NOISE_H
#define WG_NOISE_H

#include <stdbool.h>
#include <stdint.h>

#include "cr_noise.h"
#include "cr_secret.h"
#include "wg_messages.h"

/** Who we are. Wipe with base_wipe(). */
struct wg_noise_identity {
	struct cr_key private_key;
	struct cr_key public_key;
	/* How every handshake begins: before the responder's public key, and with ours in its place. */
	struct cr_noise begun, begun_to_us;
};

void wg_noise_identity_init(struct wg_noise_identity *identity, const struct cr_key *private_key);

/** Who the peer is, and what only we two can compute. */
struct wg_noise_remote {
	struct cr_key public_key;
	struct cr_key preshared_key; /* zero: none */
	struct cr_key static_static; /* saves one X25519 per handshake; zero: not computed yet */
};

/** An initiation of ours that waits for its response. */
struct wg_noise_handshake {
	struct cr_noise noise;
	struct cr_key ephemeral_private;
	uint32_t local_index;
};

/** An initiation of somebody, as far as it has been opened. Wipe with wg_noise_request_fini(). */
struct wg_noise_request {
	struct cr_noise noise;
	struct cr_key ephemeral_public;
	struct cr_key static_public; /* who says it is; proved by the timestamp's tag */
	uint8_t timestamp[WG_TIMESTAMP_BYTES];
};

/** Transport keys. */
struct wg_noise_keys {
	struct cr_key send;
	struct cr_key recv;
};

/**
 * A remote without preshared key. Nothing is computed yet: of a million configured peers few call at any time, and who
 * adds them does not wait for as many multiplications. False: a public key that gives zeros with any private one. The
 * caller wipes the two secrets.
 */
BASE_MUST_CHECK bool wg_noise_remote_init(
	struct wg_noise_remote *remote, const struct cr_key *public_key);
/** Before any of the calls below that take both: compute what is not there yet. */
void wg_noise_remote_complete(
	struct wg_noise_remote *remote, const struct wg_noise_identity *identity);
static inline bool wg_noise_remote_is_complete(const struct wg_noise_remote *remote)
{
	return !cr_key_is_zero(&remote->static_static);
}

/**
 * TAI64N of @unix_ns, for ours. As in the kernel, seconds since 1970 count from 2^62 + 10 without
 * leap seconds, and the nanoseconds are cut to WG_TIMESTAMP_STEP_NS, so that they tell
 * outsiders little about our clock; that is less than the time between two initiations.
 * Compare two with memcmp().
 */
void wg_noise_timestamp(uint8_t ret_timestamp[WG_TIMESTAMP_BYTES], uint64_t unix_ns);
#define WG_TIMESTAMP_STEP_NS (UINT64_C(1) << 24)
static_assert(
	WG_TIMESTAMP_STEP_NS < WG_INITIATION_GAP_NS, "two initiations never share a timestamp");

/** Begin. @handshake->local_index is set; all of @ret_message but the MACs is written. */
BASE_MUST_CHECK bool wg_noise_initiation_create(struct wg_noise_handshake *handshake,
	const struct wg_noise_identity *identity, const struct wg_noise_remote *remote,
	const uint8_t timestamp[WG_TIMESTAMP_BYTES], struct wg_initiation *ret_message);

/** First half: who claims to be calling? Nothing is proved yet but knowledge of our public key. */
BASE_MUST_CHECK bool wg_noise_initiation_open(struct wg_noise_request *ret_request,
	const struct wg_noise_identity *identity, const struct wg_initiation *message);
/** Second half, with the peer found: authenticates it, and reads the timestamp. */
BASE_MUST_CHECK bool wg_noise_initiation_accept(struct wg_noise_request *request,
	const struct wg_noise_remote *remote, const struct wg_initiation *message);
void wg_noise_request_fini(struct wg_noise_request *request);

/** Answer. All of @ret_message but the MACs is written; @request is used up and wiped. */
BASE_MUST_CHECK bool wg_noise_response_create(struct wg_noise_request *request,
	const struct wg_noise_remote *remote, const struct wg_initiation *initiation,
	uint32_t local_index, struct wg_response *ret_message, struct wg_noise_keys *ret_keys);

/** The answer to ours. On failure @handshake goes on waiting, unchanged; on success wipe it. */
BASE_MUST_CHECK bool wg_noise_response_accept(const struct wg_noise_handshake *handshake,
	const struct wg_noise_identity *identity, const struct wg_noise_remote *remote,
	const struct wg_response *message, struct wg_noise_keys *ret_keys);

#endif
