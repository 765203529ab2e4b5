/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Objects by a public key of theirs: a chained hash table whose links live in the objects. Outsiders choose keys, so places
 * follow from a secret of the table's own. Thread: one.
 */
#ifndef COORD_KEYTABLE_H
#define COORD_KEYTABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base_err.h"
#include "cr_secret.h"

/** First member of what is in a table. */
struct coord_keynode {
	struct cr_key key;
	struct coord_keynode *next;
};

struct coord_keytable {
	struct coord_keynode **buckets;
	size_t n, n_buckets; /* a power of two, or 0 */
	uint8_t secret[16];
};

void coord_keytable_init(struct coord_keytable *table);
/** What is in it is not touched. */
void coord_keytable_fini(struct coord_keytable *table);
/** 0 or -ENOMEM. The key must not be there yet. */
BASE_MUST_CHECK int coord_keytable_add(struct coord_keytable *table, struct coord_keynode *node);
/** Takes out what is in it. */
void coord_keytable_remove(struct coord_keytable *table, struct coord_keynode *node);
/** NULL: not there. */
struct coord_keynode *coord_keytable_find(
	const struct coord_keytable *table, const struct cr_key *key);

static inline size_t coord_keytable_n(const struct coord_keytable *table)
{
	return table->n;
}

/** Zeroed: at the start. The table must not change on the way. */
struct coord_keyiter {
	size_t bucket;
	struct coord_keynode *at;
};
/** NULL: the end. */
struct coord_keynode *coord_keytable_next(
	const struct coord_keytable *table, struct coord_keyiter *iter);
/** Some object; NULL: empty. */
struct coord_keynode *coord_keytable_any(const struct coord_keytable *table);

#endif
