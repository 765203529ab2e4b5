/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * WireGuard on the wire: the four messages and every constant, with units. Source: Donenfeld,
 * "WireGuard: Next Generation Kernel Network Tunnel", sections 5.4 and 6.
 * Next to read: wg_replay.h and its test, then wg_noise.h.
 */
#ifndef WG_MESSAGES_H
#define WG_MESSAGES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base_clock.h"
#include "cr_aead.h"
#include "cr_blake2s.h"

/* Paper 5.4: the type is one byte and three reserved zero bytes; read as one word all four must match. */
enum wg_message_type {
	WG_MESSAGE_INITIATION = 1,
	WG_MESSAGE_RESPONSE = 2,
	WG_MESSAGE_COOKIE = 3,
	WG_MESSAGE_DATA = 4,
};

#define WG_TIMESTAMP_BYTES 12 /* TAI64N: seconds be64 + 2^62 + 10, nanoseconds be32 */

/** Paper 5.4.2. */
struct wg_initiation {
	uint32_t type_le32;
	uint32_t sender_index_le32;
	uint8_t ephemeral[CR_KEY_BYTES];
	uint8_t static_sealed[CR_KEY_BYTES + CR_TAG_BYTES];
	uint8_t timestamp_sealed[WG_TIMESTAMP_BYTES + CR_TAG_BYTES];
	uint8_t mac1[CR_MAC_BYTES];
	uint8_t mac2[CR_MAC_BYTES];
};
static_assert(sizeof(struct wg_initiation) == 148, "paper 5.4.2");
static_assert(offsetof(struct wg_initiation, mac1) == 116, "paper 5.4.2");

/** Paper 5.4.3. */
struct wg_response {
	uint32_t type_le32;
	uint32_t sender_index_le32;
	uint32_t receiver_index_le32;
	uint8_t ephemeral[CR_KEY_BYTES];
	uint8_t empty_sealed[CR_TAG_BYTES];
	uint8_t mac1[CR_MAC_BYTES];
	uint8_t mac2[CR_MAC_BYTES];
};
static_assert(sizeof(struct wg_response) == 92, "paper 5.4.3");
static_assert(offsetof(struct wg_response, mac1) == 60, "paper 5.4.3");

/** Paper 5.4.7. */
struct wg_cookie_reply {
	uint32_t type_le32;
	uint32_t receiver_index_le32;
	uint8_t nonce[CR_XNONCE_BYTES];
	uint8_t cookie_sealed[CR_MAC_BYTES + CR_TAG_BYTES];
};
static_assert(sizeof(struct wg_cookie_reply) == 64, "paper 5.4.7");

/** Paper 5.4.6; the sealed inner packet and its tag follow. */
struct wg_data {
	uint32_t type_le32;
	uint32_t receiver_index_le32;
	uint64_t counter_le64;
};
static_assert(sizeof(struct wg_data) == 16, "paper 5.4.6");

/** Header and tag around an inner packet, padding not counted. */
#define WG_DATA_OVERHEAD_BYTES (sizeof(struct wg_data) + CR_TAG_BYTES)
/** Inner packets are padded with zeros to a multiple of this, but not past the MTU (5.4.6). */
#define WG_PADDING_BYTES 16

/* Paper section 6.1, by message count. */
#define WG_REKEY_AFTER_MSGS (UINT64_C(1) << 60)
#define WG_REJECT_AFTER_MSGS (UINT64_MAX - (UINT64_C(1) << 13))

/* Paper section 6.1, by time. */
#define WG_REKEY_AFTER_NS (120 * BASE_NS_PER_S)
#define WG_REJECT_AFTER_NS (180 * BASE_NS_PER_S)
#define WG_REKEY_ATTEMPT_NS (90 * BASE_NS_PER_S)
#define WG_REKEY_TIMEOUT_NS (5 * BASE_NS_PER_S)
#define WG_KEEPALIVE_TIMEOUT_NS (10 * BASE_NS_PER_S)
/** Uniform jitter added to each wait for a response (paper 6.1: up to a third of a second). */
#define WG_REKEY_JITTER_MAX_NS (333 * BASE_NS_PER_MS)
/** Keys of a silent session are wiped after three times the reject time (paper 6.3). */
#define WG_WIPE_AFTER_NS (3 * WG_REJECT_AFTER_NS)
/** A cookie is good for two minutes, on both sides (paper 5.4.7). */
#define WG_COOKIE_LIFE_NS (120 * BASE_NS_PER_S)
/** A second initiation of a peer within this time is dropped (wireguard-practice.md). */
#define WG_INITIATION_GAP_NS (20 * BASE_NS_PER_MS)
/* Ours, of peers that are probed: an initiation that left so lately is not repeated by a better path. */
#define WG_REPEAT_GAP_NS (50 * BASE_NS_PER_MS)

/* Limits that outsiders meet. */
#define WG_STAGED_PKTS_MAX 128  /* packets that wait for a handshake, per peer; oldest dropped */
#define WG_SOURCE_RATE_PER_S 20 /* handshake messages per source and second under load, */
#define WG_SOURCE_BURST_MSGS 5  /* beyond a burst of so many */

#endif
