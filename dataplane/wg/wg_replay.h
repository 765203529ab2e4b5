/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The replay window of one keypair: a ring of 64-bit words, one bit per counter (RFC 6479).
 * Moving forward clears whole words instead of shifting. Inline for the burst code; the test
 * compares it with a naive twin (wg_replay_test.c).
 */
#ifndef WG_REPLAY_H
#define WG_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "wg_messages.h"

#define WG_REPLAY_WORDS 128 /* a power of two */
/** How far behind the newest a counter may be: one word is always in the making. */
#define WG_REPLAY_WINDOW_MSGS ((WG_REPLAY_WORDS - 1) * 64)
static_assert(WG_REPLAY_WINDOW_MSGS >= 8000, "as wide as the peers' (8,128)");

/** Zeroed: nothing seen yet. */
struct wg_replay {
	uint64_t next; /* one past the newest counter accepted */
	uint64_t words[WG_REPLAY_WORDS];
};

/**
 * Accept a counter once, and remember it.
 * Call after the tag has verified: a forged counter must not move the window.
 *
 * Thread: the owner of the keypair; no lock. Memory: inside struct wg_keypair.
 * @counter: host order.
 * Returns false if it was seen before, lies WG_REPLAY_WINDOW_MSGS or more behind the newest,
 * or has reached WG_REJECT_AFTER_MSGS.
 */
static inline bool wg_replay_accept(struct wg_replay *replay, uint64_t counter)
{
	uint64_t word = counter / 64, bit = UINT64_C(1) << (counter % 64);

	if (counter >= WG_REJECT_AFTER_MSGS)
		return false;
	if (counter >= replay->next) {
		uint64_t newest_word = replay->next ? (replay->next - 1) / 64 : 0;
		uint64_t fresh = word - newest_word;

		if (fresh > WG_REPLAY_WORDS)
			fresh = WG_REPLAY_WORDS;
		for (uint64_t i = 1; i <= fresh; i++)
			replay->words[(newest_word + i) % WG_REPLAY_WORDS] = 0;
		replay->next = counter + 1;
	} else if (replay->next - 1 - counter >= WG_REPLAY_WINDOW_MSGS ||
		replay->words[word % WG_REPLAY_WORDS] & bit) {
		return false;
	}
	replay->words[word % WG_REPLAY_WORDS] |= bit;
	return true;
}

#endif
