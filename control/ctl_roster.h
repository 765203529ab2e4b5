/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The peers that the gateway has, those of the file and those of the API, as a value: make the next one from the
 * current one, compare the two, let the dataplane follow, then go over to it. Names, keys and prefixes
 * are unique in it. It borrows its peers. Thread: the loop's.
 */
#ifndef CTL_ROSTER_H
#define CTL_ROSTER_H

#include <stddef.h>

#include "base_err.h"
#include "dp_api.h"
#include "ctl_config.h"

/** A peer by one of its values; a prefix's value is among allowed_ips. */
struct ctl_roster_ref {
	const void *value;
	struct ctl_peer *peer;
};

struct ctl_roster_order {
	struct ctl_roster_ref *refs;
	size_t n;
};

/** Zeroed: nobody. */
struct ctl_roster {
	struct ctl_roster_order by_name, by_key, by_prefix; /* sorted */
};

/**
 * @ret_next: @now without those whose is_leaving is set, with the @n peers of @coming. Returns 0, -ENOMEM, or -EEXIST
 * with a line that names both peers that cannot be there together; nothing is left of @ret_next then.
 * Cost: what is sorted already is copied, not sorted again.
 */
BASE_MUST_CHECK int ctl_roster_next(struct ctl_roster *ret_next, const struct ctl_roster *now,
	struct ctl_peer *const *coming, size_t n, struct base_error *ret_error);
/** Its memory, not its peers. */
void ctl_roster_fini(struct ctl_roster *roster);

/** NULL: nobody. */
struct ctl_peer *ctl_roster_by_name(const struct ctl_roster *roster, const char *name);
struct ctl_peer *ctl_roster_by_key(
	const struct ctl_roster *roster, const struct cr_key *public_key);

/** Who has exactly this prefix, or one around it or inside of it. */
struct ctl_peer *ctl_roster_by_prefix(
	const struct ctl_roster *roster, const struct base_prefix *prefix);

/** What it takes to get from one roster to another. */
struct ctl_roster_diff {
	struct dp_peers_change
		change; /* arrays owned here; the prefixes they name are the next one's */
	struct dp_peer_config *set;
	struct cr_key *remove;
	size_t n_added, n_changed, n_unchanged, n_removed;
};

/**
 * An unchanged peer is not in it; of a changed one the endpoint only if that is what changed, so that a peer which moved
 * stays where it is. Returns 0 or -ENOMEM.
 */
BASE_MUST_CHECK int ctl_roster_compare(struct ctl_roster_diff *ret_diff,
	const struct ctl_roster *now, const struct ctl_roster *next);
/** Wipes keys. */
void ctl_roster_diff_fini(struct ctl_roster_diff *diff);

#endif
