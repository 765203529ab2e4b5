/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of keys. Thread: one. See coord_keytable.h. */
#include "coord_keytable.h"

#include "cr_noise.h"

#include <sodium.h>
#include <stdlib.h>

#define BUCKETS_MIN 16

_Static_assert(
	sizeof(((struct coord_keytable *)0)->secret) == crypto_shorthash_KEYBYTES, "SipHash's key");

void coord_keytable_init(struct coord_keytable *table)
{
	*table = (struct coord_keytable){0};
	cr_random(table->secret, sizeof(table->secret));
}

void coord_keytable_fini(struct coord_keytable *table)
{
	free(table->buckets);
	*table = (struct coord_keytable){0};
}

static struct coord_keynode **bucket_of(
	const struct coord_keytable *table, const struct cr_key *key)
{
	uint64_t hash;

	crypto_shorthash((unsigned char *)&hash, key->bytes, CR_KEY_BYTES, table->secret);
	return &table->buckets[hash & (table->n_buckets - 1)];
}

/* Twice the buckets; each object to its new one. */
static int grow(struct coord_keytable *table)
{
	struct coord_keytable next = *table;

	next.n_buckets = table->n_buckets ? 2 * table->n_buckets : BUCKETS_MIN;
	next.buckets = calloc(next.n_buckets, sizeof(struct coord_keynode *));
	if (!next.buckets)
		return -ENOMEM;
	for (size_t i = 0; i < table->n_buckets; i++) {
		struct coord_keynode *node = table->buckets[i], *following;

		for (; node; node = following) {
			struct coord_keynode **bucket = bucket_of(&next, &node->key);

			following = node->next;
			node->next = *bucket;
			*bucket = node;
		}
	}
	free(table->buckets);
	*table = next;
	return 0;
}

int coord_keytable_add(struct coord_keytable *table, struct coord_keynode *node)
{
	struct coord_keynode **bucket;

	if (table->n >= table->n_buckets && grow(table) < 0)
		return -ENOMEM;
	bucket = bucket_of(table, &node->key);
	node->next = *bucket;
	*bucket = node;
	table->n++;
	return 0;
}

void coord_keytable_remove(struct coord_keytable *table, struct coord_keynode *node)
{
	struct coord_keynode **at = bucket_of(table, &node->key);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	node->next = NULL;
	table->n--;
}

struct coord_keynode *coord_keytable_find(
	const struct coord_keytable *table, const struct cr_key *key)
{
	struct coord_keynode *node;

	if (table->n == 0)
		return NULL;
	for (node = *bucket_of(table, key); node; node = node->next)
		if (memcmp(node->key.bytes, key->bytes, CR_KEY_BYTES) == 0) /* public */
			return node;
	return NULL;
}

struct coord_keynode *coord_keytable_next(
	const struct coord_keytable *table, struct coord_keyiter *iter)
{
	if (iter->at)
		iter->at = iter->at->next;
	while (!iter->at && iter->bucket < table->n_buckets)
		iter->at = table->buckets[iter->bucket++];
	return iter->at;
}

struct coord_keynode *coord_keytable_any(const struct coord_keytable *table)
{
	struct coord_keyiter iter = {0};

	return coord_keytable_next(table, &iter);
}
