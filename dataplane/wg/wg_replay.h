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
		/* The first word that nothing has been remembered in; none is cleared twice. */
		uint64_t fresh = (replay->next + 63) / 64;

		if (__builtin_expect(word >= fresh + WG_REPLAY_WORDS, 0))
			fresh = word - WG_REPLAY_WORDS + 1;
		for (; fresh <= word; fresh++)
			replay->words[fresh % WG_REPLAY_WORDS] = 0;
		replay->next = counter + 1;
	} else if (replay->next - 1 - counter >= WG_REPLAY_WINDOW_MSGS ||
		replay->words[word % WG_REPLAY_WORDS] & bit) {
		return false;
	}
	replay->words[word % WG_REPLAY_WORDS] |= bit;
	return true;
}

#endif
