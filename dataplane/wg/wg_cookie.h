/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The two MACs at the end of an initiation or response, and the cookie reply (paper 5.4.4, 5.4.7).
 *
 * mac1 says "whoever sent this knows our public key"; every message carries it. mac2 says "and
 * receives mail at the address it comes from"; a device under load asks for it by answering
 * with a cookie, which costs it two hashes and one sealing instead of a handshake.
 *
 * struct wg_cookie_checker is the receiving half (one per device), struct wg_cookie_sender the
 * sending half (one per peer). Thread: the device's.
 */
#ifndef WG_COOKIE_H
#define WG_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "cr_secret.h"
#include "wg_messages.h"

/** Derived from the public key of whoever receives the message. */
struct wg_cookie_keys {
	uint8_t mac1_key[CR_HASH_BYTES];
	struct cr_key cookie_key;
};

struct wg_cookie_checker {
	struct wg_cookie_keys keys;
	uint8_t secret[CR_HASH_BYTES]; /* of cookies; new every WG_COOKIE_LIFE_NS */
	uint64_t secret_ns;            /* when it was drawn; 0: not yet */
};

/** Wipe with base_wipe(). */
void wg_cookie_checker_init(struct wg_cookie_checker *checker, const struct cr_key *own_public);

/** @message of @len bytes ends in mac1 and mac2. */
bool wg_cookie_mac1_is_valid(
	const struct wg_cookie_checker *checker, const void *message, size_t len);
/** Only a cookie given to exactly this address and port passes, and only until the secret changes. */
bool wg_cookie_mac2_is_valid(struct wg_cookie_checker *checker, const void *message, size_t len,
	const struct base_endpoint *from, uint64_t now_ns);
/** The answer to @message, sealed so that only who sent its mac1 can take it. */
void wg_cookie_reply_create(struct wg_cookie_checker *checker, const void *message, size_t len,
	const struct base_endpoint *from, uint64_t now_ns, struct wg_cookie_reply *ret_reply);

/**
 * Zeroed: nothing sent, no cookie. What the peer's public key @to gives is computed when it is needed: one
 * short hash per message against 64 bytes for every idle peer.
 */
struct wg_cookie_sender {
	uint8_t cookie[CR_MAC_BYTES];
	uint64_t cookie_ns;         /* when it came; 0: none */
	uint8_t mac1[CR_MAC_BYTES]; /* of the last message sent */
	bool expects_reply;         /* that message has not been answered with a cookie yet */
	bool carried_mac2;          /* that message had one */
};

/** Fill in mac1, and mac2 if we hold a fresh cookie (zeros if not), and remember mac1. */
void wg_cookie_macs_add(struct wg_cookie_sender *sender, const struct cr_key *to, void *message,
	size_t len, uint64_t now_ns);
/**
 * Take a cookie that answers our last message. False: it does not decrypt, or that message was
 * answered before (one reply per message, so a recorded one cannot come again).
 */
bool wg_cookie_reply_consume(struct wg_cookie_sender *sender, const struct cr_key *to,
	const struct wg_cookie_reply *reply, uint64_t now_ns);

#endif
