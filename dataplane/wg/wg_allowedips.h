/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allowed IPs: longest-prefix match from an inner address to a peer number. Outwards it routes
 * (destination to peer), inwards it is the source check (source must map to the sender).
 *
 * One writer, many readers without locks: slots are 32-bit words that change by one release
 * store; readers load them with acquire. Nodes that are unlinked go to @retire, whose owner frees
 * them after a grace period (in the dataplane: QSBR), so a reader never meets freed memory.
 * While a prefix is being set or removed a reader sees for each address the old answer or the
 * new one, nothing else.
 *
 * IPv4 lookups take at most three dependent loads; IPv6 compresses paths. Both are compared with a
 * naive list on random routes (wg_allowedips_test.c).
 */
#ifndef WG_ALLOWEDIPS_H
#define WG_ALLOWEDIPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"

/** No peer. */
#define WG_PEER_NONE UINT32_MAX
/** Peer numbers are below this; they are dense and given by the table's user. */
#define WG_PEER_NUMBER_MAX (UINT32_C(1) << 30)

struct wg_allowedips;

/** Free @node with free(3) once no reader can hold it; NULL as callback frees at once. */
typedef void (*wg_allowedips_retire)(void *ctx, void *node);

/** An empty table; NULL with errno. Writer's thread. */
struct wg_allowedips *wg_allowedips_new(wg_allowedips_retire retire, void *ctx);
/** No reader may be left. */
void wg_allowedips_free(struct wg_allowedips *table);

/**
 * Give @prefix to @peer; a prefix that another peer had moves (as `wg set` does). Writer.
 * @ret_previous: may be NULL; who had exactly this prefix, or WG_PEER_NONE.
 * Returns 0, -EINVAL (host bits set, peer number out of range), -ENOMEM (table unchanged).
 */
BASE_MUST_CHECK int wg_allowedips_set(struct wg_allowedips *table, const struct base_prefix *prefix,
	uint32_t peer, uint32_t *ret_previous);
/** Take exactly @prefix away from @peer. Returns 0 or -ENOENT. Writer. */
int wg_allowedips_remove(
	struct wg_allowedips *table, const struct base_prefix *prefix, uint32_t peer);
/** Who has exactly this prefix, or WG_PEER_NONE. Writer. */
uint32_t wg_allowedips_exact(const struct wg_allowedips *table, const struct base_prefix *prefix);
/** Prefixes in the table, and bytes held. Writer. */
void wg_allowedips_usage(const struct wg_allowedips *table, size_t *ret_prefixes, size_t *ret_bytes);

/** Reader: the peer with the longest prefix that holds the address, or WG_PEER_NONE. */
uint32_t wg_allowedips_lookup4(const struct wg_allowedips *table, const uint8_t addr[4]);
uint32_t wg_allowedips_lookup6(const struct wg_allowedips *table, const uint8_t addr[16]);

#endif
