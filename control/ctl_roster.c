/* SPDX-License-Identifier: BSD-3-Clause */
/* The set of peers as a value, in three orders. Loop's thread. See ctl_roster.h. */
#include "ctl_roster.h"

#include <stdlib.h>

/* So few are put in where they belong; more are sorted with all. */
#define INSERTED_MAX 64

typedef int (*compare_fn)(const void *a, const void *b);

static int compare_names(const void *a, const void *b)
{
	const struct ctl_roster_ref *x = a, *y = b;

	return strcmp(x->value, y->value);
}

/* Public keys are no secret. */
static int compare_keys(const void *a, const void *b)
{
	const struct ctl_roster_ref *x = a, *y = b;

	return memcmp(x->value, y->value, CR_KEY_BYTES);
}

/* A prefix stands before all that lie in it. */
static int compare_prefixes(const void *a, const void *b)
{
	const struct base_prefix *p = ((const struct ctl_roster_ref *)a)->value,
				 *q = ((const struct ctl_roster_ref *)b)->value;
	int order = (int)p->addr.family - (int)q->addr.family;

	if (order == 0)
		order = memcmp(p->addr.bytes, q->addr.bytes, sizeof(p->addr.bytes));
	return order ? order : (int)p->bits - (int)q->bits;
}

/* --- making ------------------------------------------------------------------------------------- */

static void insert(struct ctl_roster_order *order, struct ctl_roster_ref ref, compare_fn compare)
{
	size_t first = 0, end = order->n;

	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (compare(&order->refs[middle], &ref) <= 0)
			first = middle + 1;
		else
			end = middle;
	}
	memmove(&order->refs[first + 1], &order->refs[first],
		(order->n - first) * sizeof(*order->refs));
	order->refs[first] = ref;
	order->n++;
}

static int order_next(struct ctl_roster_order *ret_next, const struct ctl_roster_order *now,
	const struct ctl_roster_ref *coming, size_t n, compare_fn compare)
{
	struct ctl_roster_order next = {calloc(now->n + n + 1, sizeof(*next.refs)), 0};

	if (!next.refs)
		return -ENOMEM;
	for (size_t i = 0; i < now->n; i++) {
		if (!now->refs[i].peer->is_leaving)
			next.refs[next.n++] = now->refs[i];
	}
	for (size_t i = 0; i < n && n <= INSERTED_MAX; i++)
		insert(&next, coming[i], compare);
	if (n > INSERTED_MAX) {
		memcpy(&next.refs[next.n], coming, n * sizeof(*coming));
		next.n += n;
		qsort(next.refs, next.n, sizeof(*next.refs), compare);
	}
	*ret_next = next;
	return 0;
}

static int orders_next(struct ctl_roster *ret_next, const struct ctl_roster *now,
	struct ctl_peer *const *coming, size_t n)
{
	size_t n_refs = n, n_prefixes = 0;
	struct ctl_roster_ref *refs;
	int rc;

	for (size_t i = 0; i < n; i++)
		n_refs += coming[i]->dp.n_allowed_ips;
	refs = calloc(n_refs + 1, sizeof(*refs));
	if (!refs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		refs[i] = (struct ctl_roster_ref){coming[i]->name, coming[i]};
	rc = order_next(&ret_next->by_name, &now->by_name, refs, n, compare_names);
	for (size_t i = 0; i < n; i++)
		refs[i].value = &coming[i]->dp.public_key;
	if (rc == 0)
		rc = order_next(&ret_next->by_key, &now->by_key, refs, n, compare_keys);
	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < coming[i]->dp.n_allowed_ips; j++)
			refs[n_prefixes++] =
				(struct ctl_roster_ref){&coming[i]->allowed_ips[j], coming[i]};
	}
	if (rc == 0)
		rc = order_next(
			&ret_next->by_prefix, &now->by_prefix, refs, n_prefixes, compare_prefixes);
	free(refs);
	return rc;
}

/* --- what cannot be together --------------------------------------------------------------------- */

static const char *source_of(const struct ctl_peer *peer)
{
	return peer->source == CTL_PEER_OF_FILE ? "of the configuration file" : "made by the API";
}

static int check_names(const struct ctl_roster_order *order, struct base_error *ret_error)
{
	for (size_t i = 1; i < order->n; i++) {
		const struct ctl_roster_ref *ref = &order->refs[i];

		if (compare_names(ref - 1, ref) == 0)
			return base_error_set(ret_error, -EEXIST,
				"name: two peers are called %s, one %s, one %s; rename one",
				ref->peer->name, source_of(ref[-1].peer), source_of(ref->peer));
	}
	return 0;
}

static int check_keys(const struct ctl_roster_order *order, struct base_error *ret_error)
{
	for (size_t i = 1; i < order->n; i++) {
		const struct ctl_roster_ref *ref = &order->refs[i];

		if (compare_keys(ref - 1, ref) == 0)
			return base_error_set(ret_error, -EEXIST,
				"public_key: peers %s (%s) and %s (%s) have the same; each has one "
				"of its own",
				ref[-1].peer->name, source_of(ref[-1].peer), ref->peer->name,
				source_of(ref->peer));
	}
	return 0;
}

/* What lies in the last prefix that lay in none is its peer's, or an overlap. */
static int check_prefixes(const struct ctl_roster_order *order, struct base_error *ret_error)
{
	const struct ctl_roster_ref *outer = NULL;
	char text[BASE_PREFIX_TEXT_LEN], other[BASE_PREFIX_TEXT_LEN];

	for (size_t i = 0; i < order->n; i++) {
		const struct ctl_roster_ref *ref = &order->refs[i];
		const struct base_prefix *prefix = ref->value;

		if (!outer || !base_prefix_contains(outer->value, &prefix->addr))
			outer = ref;
		else if (outer->peer != ref->peer)
			return base_error_set(ret_error, -EEXIST,
				"allowed_ips: %s of %s (%s) and %s of %s (%s) overlap; an address "
				"leads to one peer: narrow or remove one",
				base_prefix_print(text, prefix), ref->peer->name,
				source_of(ref->peer), base_prefix_print(other, outer->value),
				outer->peer->name, source_of(outer->peer));
	}
	return 0;
}

int ctl_roster_next(struct ctl_roster *ret_next, const struct ctl_roster *now,
	struct ctl_peer *const *coming, size_t n, struct base_error *ret_error)
{
	struct ctl_roster next = {0};
	int rc = orders_next(&next, now, coming, n);

	if (rc < 0)
		base_error_set(ret_error, rc, "peers: out of memory");
	if (rc == 0)
		rc = check_names(&next.by_name, ret_error);
	if (rc == 0)
		rc = check_keys(&next.by_key, ret_error);
	if (rc == 0)
		rc = check_prefixes(&next.by_prefix, ret_error);
	if (rc < 0)
		ctl_roster_fini(&next);
	else
		*ret_next = next;
	return rc;
}

void ctl_roster_fini(struct ctl_roster *roster)
{
	free(roster->by_name.refs);
	free(roster->by_key.refs);
	free(roster->by_prefix.refs);
	*roster = (struct ctl_roster){0};
}

/* --- finding ------------------------------------------------------------------------------------- */

static struct ctl_peer *find(
	const struct ctl_roster_order *order, const void *value, compare_fn compare)
{
	struct ctl_roster_ref wanted = {.value = value}, *found = NULL;

	if (order->n)
		found = bsearch(&wanted, order->refs, order->n, sizeof(wanted), compare);
	return found ? found->peer : NULL;
}

struct ctl_peer *ctl_roster_by_name(const struct ctl_roster *roster, const char *name)
{
	return find(&roster->by_name, name, compare_names);
}

struct ctl_peer *ctl_roster_by_key(const struct ctl_roster *roster, const struct cr_key *public_key)
{
	return find(&roster->by_key, public_key, compare_keys);
}

/* The same prefix with so many bits. */
static struct base_prefix shorten(const struct base_prefix *prefix, unsigned bits)
{
	struct base_prefix shorter = {.addr.family = prefix->addr.family, .bits = (uint8_t)bits};

	memcpy(shorter.addr.bytes, prefix->addr.bytes, bits / 8);
	if (bits % 8)
		shorter.addr.bytes[bits / 8] =
			(uint8_t)(prefix->addr.bytes[bits / 8] & (0xff00 >> bits % 8));
	return shorter;
}

struct ctl_peer *ctl_roster_by_prefix(
	const struct ctl_roster *roster, const struct base_prefix *prefix)
{
	const struct ctl_roster_order *order = &roster->by_prefix;
	struct ctl_roster_ref wanted = {.value = prefix};
	size_t first = 0, end = order->n;

	for (unsigned bits = 0; order->n && bits <= prefix->bits; bits++) {
		struct base_prefix around = shorten(prefix, bits);
		struct ctl_peer *peer = find(order, &around, compare_prefixes);

		if (peer)
			return peer;
	}
	/* What lies inside comes right after it. */
	while (first < end) {
		size_t middle = first + (end - first) / 2;

		if (compare_prefixes(&order->refs[middle], &wanted) <= 0)
			first = middle + 1;
		else
			end = middle;
	}
	if (first < order->n &&
		base_prefix_contains(
			prefix, &((const struct base_prefix *)order->refs[first].value)->addr))
		return order->refs[first].peer;
	return NULL;
}

/* --- comparing ----------------------------------------------------------------------------------- */

static bool prefixes_equal(const struct dp_peer_config *a, const struct dp_peer_config *b)
{
	if (a->n_allowed_ips != b->n_allowed_ips)
		return false;
	for (size_t i = 0; i < a->n_allowed_ips; i++) {
		if (!base_prefix_equal(&a->allowed_ips[i], &b->allowed_ips[i]))
			return false;
	}
	return true;
}

static bool configs_equal(const struct dp_peer_config *a, const struct dp_peer_config *b)
{
	return cr_key_equal(&a->preshared_key, &b->preshared_key) &&
		base_endpoint_equal(&a->endpoint, &b->endpoint) &&
		a->keepalive_s == b->keepalive_s && a->endpoint_is_fixed == b->endpoint_is_fixed &&
		prefixes_equal(a, b);
}

static void set(
	struct ctl_roster_diff *diff, const struct ctl_peer *before, const struct ctl_peer *after)
{
	struct dp_peer_config *config = &diff->set[diff->change.n_set];

	if (before && configs_equal(&before->dp, &after->dp)) {
		diff->n_unchanged++;
		return;
	}
	*config = after->dp;
	if (before && base_endpoint_equal(&before->dp.endpoint, &after->dp.endpoint))
		config->endpoint = (struct base_endpoint){0};
	diff->change.n_set++;
	diff->n_changed += before != NULL;
	diff->n_added += before == NULL;
}

int ctl_roster_compare(struct ctl_roster_diff *ret_diff, const struct ctl_roster *now,
	const struct ctl_roster *next)
{
	const struct ctl_roster_order *old = &now->by_key, *new = &next->by_key;
	struct ctl_roster_diff diff = {.set = calloc(new->n + 1, sizeof(*diff.set)),
		.remove = calloc(old->n + 1, sizeof(*diff.remove))};
	size_t i = 0, j = 0;

	if (!diff.set || !diff.remove) {
		free(diff.set);
		free(diff.remove);
		return -ENOMEM;
	}
	while (i < old->n || j < new->n) {
		int order = i == old->n ? 1
			: j == new->n   ? -1
					: compare_keys(&old->refs[i], &new->refs[j]);

		if (order < 0)
			diff.remove[diff.change.n_remove++] = old->refs[i].peer->dp.public_key;
		else
			set(&diff, order == 0 ? old->refs[i].peer : NULL, new->refs[j].peer);
		i += order <= 0;
		j += order >= 0;
	}
	diff.change.set = diff.set;
	diff.change.remove = diff.remove;
	diff.n_removed = diff.change.n_remove;
	*ret_diff = diff;
	return 0;
}

void ctl_roster_diff_fini(struct ctl_roster_diff *diff)
{
	if (diff->set)
		base_wipe(diff->set, diff->change.n_set * sizeof(*diff->set));
	free(diff->set);
	free(diff->remove);
	*diff = (struct ctl_roster_diff){0};
}
