/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who this node is, on disk: one directory (0700) with one file, state.json (0600), and a lock. Written to a temporary
 * file, synced, renamed, the directory synced; a damaged or readable-by-others file is refused with a line that says what
 * to do, and never overwritten. When the disk is full the old file stays whole, the new state stays in memory, and
 * coord_state_save() is tried again by its caller.
 * Thread: one. Holds keys: wiped on free, never in a core file.
 */
#ifndef COORD_STATE_H
#define COORD_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "cr_secret.h"

#define COORD_URL_BYTES_MAX 255

struct coord_identity {
	struct cr_key machine_private;  /* the node, for the server */
	struct cr_key node_private;     /* the node, for its peers: the tunnel's key */
	struct cr_key old_node_private; /* zero; set while a rotation is under way */
	/*
	 * Of path probes. Upstream makes one at each start, and until the server has told it peers drop every probe. Kept, it
	 * lets a gateway that was restarted be reached at once, also while the server is away or a peer's own stream is.
	 */
	struct cr_key disco_private;
	struct cr_key server_key;                 /* zero: not seen yet */
	char server_url[COORD_URL_BYTES_MAX + 1]; /* that these keys are known to; "" at first */
	int64_t node_id;                          /* for people; 0 */
	char name[254];                           /* for people; "" */
	struct base_addr addresses
		[4]; /* the last ones; host interface at start, before the server is reached */
	unsigned n_addresses;
};

struct coord_state;

/**
 * Open the directory (made if missing), lock it, read the identity or make one: all keys are on disk before this returns. NULL with
 * errno and a line: EBUSY another process has it; EINVAL damaged, or open to others; EACCES, ENOSPC, ...
 */
struct coord_state *coord_state_open(const char *dir, struct base_error *ret_error);
/** Unlock, wipe. NULL is fine. */
void coord_state_close(struct coord_state *state);

/** To read and to change; changes count for others after coord_state_save(). */
struct coord_identity *coord_state_identity(struct coord_state *state);
/** 0 or -Exxx and a line. */
BASE_MUST_CHECK int coord_state_save(struct coord_state *state, struct base_error *ret_error);
/** After a logout: new keys, nothing known of the old node. Saved. */
BASE_MUST_CHECK int coord_state_wipe(struct coord_state *state, struct base_error *ret_error);

#endif
