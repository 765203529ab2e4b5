/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets and axes, as control builds them. See in_axis.h. */
#include "in_axis.h"

#include <stdlib.h>
#include <string.h>

/* --- points ----------------------------------------------------------------------------------- */

bool in_prefix_is_valid(const struct base_prefix *prefix)
{
	switch (prefix->addr.family) {
	case BASE_FAMILY_NONE:
		return true;
	case BASE_FAMILY_V4:
		return prefix->bits <= 32;
	case BASE_FAMILY_V6:
		return prefix->bits <= 128;
	default:
		return false;
	}
}

struct in_range in_range_of(const struct base_prefix *prefix, uint8_t family, uint32_t member)
{
	in_point max = in_point_max(family);
	in_point host = prefix->bits == 8 * base_family_bytes(family) ? 0 : max >> prefix->bits;
	struct in_range range = {.first = 0, .last = max, .member = member};

	if (prefix->addr.family == BASE_FAMILY_NONE)
		return range;
	range.first = in_point_of(prefix->addr.bytes, family) & ~host;
	range.last = range.first | host;
	return range;
}

/* --- sets ------------------------------------------------------------------------------------- */

#define SLOTS_FIRST 64u

int in_sets_init(struct in_sets *sets)
{
	*sets = (struct in_sets){
		.slots = calloc(SLOTS_FIRST, sizeof(*sets->slots)),
		.n_slots = SLOTS_FIRST,
		.sets = calloc(SLOTS_FIRST, sizeof(*sets->sets)),
		.max_sets = SLOTS_FIRST,
		.n_sets = 1, /* the empty one */
	};
	return sets->slots && sets->sets ? 0 : -ENOMEM;
}

void in_sets_fini(struct in_sets *sets)
{
	free(sets->sets);
	free(sets->words);
	free(sets->slots);
	*sets = (struct in_sets){0};
}

static uint32_t hash_words(const uint64_t *words, uint32_t first, uint32_t end)
{
	uint64_t hash = UINT64_C(0x9e3779b97f4a7c15) * (first + 1);

	for (uint32_t i = first; i < end; i++) {
		hash = (hash ^ words[i - first]) * UINT64_C(0xff51afd7ed558ccd);
		hash ^= hash >> 32;
	}
	return (uint32_t)hash;
}

static bool is_same(const struct in_sets *sets, const struct in_set *set, const uint64_t *words,
	uint32_t first, uint32_t end)
{
	return set->first == first && set->end == end &&
		memcmp(in_set_words(sets, set), words, (end - first) * sizeof(*words)) == 0;
}

/* The slot where a set is, or where it would be put. */
static uint32_t *find_slot(
	const struct in_sets *sets, const uint64_t *words, uint32_t first, uint32_t end)
{
	uint32_t at = hash_words(words, first, end);

	for (;; at++) {
		uint32_t *slot = &sets->slots[at & (sets->n_slots - 1)];

		if (*slot == 0 || is_same(sets, &sets->sets[*slot], words, first, end))
			return slot;
	}
}

static int slots_grow(struct in_sets *sets)
{
	uint32_t n = 2 * sets->n_slots;
	uint32_t *slots = calloc(n, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	free(sets->slots);
	sets->slots = slots;
	sets->n_slots = n;
	for (uint32_t i = 1; i < sets->n_sets; i++) {
		const struct in_set *set = &sets->sets[i];

		*find_slot(sets, in_set_words(sets, set), set->first, set->end) = i;
	}
	return 0;
}

static int reserve(struct in_sets *sets, uint32_t n_words)
{
	if (sets->n_words + n_words > IN_SETS_WORDS_MAX)
		return -E2BIG;
	if (sets->n_sets == sets->max_sets) {
		struct in_set *more =
			realloc(sets->sets, 2 * (size_t)sets->max_sets * sizeof(*more));

		if (!more)
			return -ENOMEM;
		sets->sets = more;
		sets->max_sets *= 2;
	}
	if (sets->n_words + n_words > sets->max_words) {
		size_t max = 2 * (sets->n_words + n_words);
		uint64_t *more = realloc(sets->words, max * sizeof(*more));

		if (!more)
			return -ENOMEM;
		sets->words = more;
		sets->max_words = max;
	}
	/* Half empty at least, so that looking for a set ends soon. */
	return 2 * sets->n_sets >= sets->n_slots ? slots_grow(sets) : 0;
}

int in_sets_add(struct in_sets *sets, const uint64_t *bits, uint32_t n_words, uint32_t *ret_set)
{
	uint32_t first = 0, end = n_words, *slot;
	int rc;

	while (first < end && bits[first] == 0)
		first++;
	while (end > first && bits[end - 1] == 0)
		end--;
	*ret_set = 0;
	if (first == end)
		return 0;
	rc = reserve(sets, end - first);
	if (rc < 0)
		return rc;
	slot = find_slot(sets, bits + first, first, end);
	if (*slot == 0) {
		memcpy(sets->words + sets->n_words, bits + first, (end - first) * sizeof(*bits));
		sets->sets[sets->n_sets] =
			(struct in_set){.first = first, .end = end, .offset = sets->n_words};
		sets->n_words += end - first;
		*slot = sets->n_sets++;
	}
	*ret_set = *slot;
	return 0;
}

/* --- axes ------------------------------------------------------------------------------------- */

/* Where a range begins to hold, or ceases to. */
struct turn {
	in_point at;
	uint32_t member;
	bool is_end;
};

static int compare_turns(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static size_t list_turns(
	struct turn *turns, in_point max, const struct in_range *ranges, size_t n_ranges)
{
	size_t n = 0;

	for (size_t i = 0; i < n_ranges; i++) {
		turns[n++] = (struct turn){.at = ranges[i].first, .member = ranges[i].member};
		if (ranges[i].last < max)
			turns[n++] = (struct turn){.at = ranges[i].last + 1,
				.member = ranges[i].member,
				.is_end = true};
	}
	qsort(turns, n, sizeof(*turns), compare_turns);
	return n;
}

/* Ranges of one member may overlap: it leaves the set with the last of them. */
static void take_turn(const struct turn *turn, uint32_t *depths, uint64_t *bits)
{
	uint64_t bit = UINT64_C(1) << turn->member % 64;

	depths[turn->member] += turn->is_end ? UINT32_MAX : 1;
	if (depths[turn->member])
		bits[turn->member / 64] |= bit;
	else
		bits[turn->member / 64] &= ~bit;
}

static int add_piece(struct in_axis *axis, struct in_sets *sets, in_point at, const uint64_t *bits,
	uint32_t n_words)
{
	uint32_t number;
	int rc = in_sets_add(sets, bits, n_words, &number);

	if (rc < 0 || (axis->n > 0 && axis->numbers[axis->n - 1] == number))
		return rc;
	if (axis->narrow)
		axis->narrow[axis->n] = (uint32_t)at;
	else
		axis->wide[axis->n] = at;
	axis->numbers[axis->n++] = number;
	return 0;
}

static int sweep(struct in_axis *axis, struct in_sets *sets, const struct turn *turns, size_t n,
	uint64_t *bits, uint32_t n_words, uint32_t *depths)
{
	int rc = 0;

	/* From the beginning of the line, whatever begins there. */
	if (n == 0 || turns[0].at != 0)
		rc = add_piece(axis, sets, 0, bits, n_words);
	for (size_t i = 0; i < n && rc == 0;) {
		in_point at = turns[i].at;

		for (; i < n && turns[i].at == at; i++)
			take_turn(&turns[i], depths, bits);
		rc = add_piece(axis, sets, at, bits, n_words);
	}
	return rc;
}

int in_axis_init(struct in_axis *axis, struct in_sets *sets, in_point max,
	const struct in_range *ranges, size_t n, uint64_t *bits, uint32_t n_words)
{
	struct turn *turns = calloc(2 * n + 1, sizeof(*turns));
	uint32_t *depths = calloc(64 * (size_t)n_words + 1, sizeof(*depths));
	bool is_narrow = max <= UINT32_MAX;
	int rc = -ENOMEM;

	*axis = (struct in_axis){.numbers = calloc(2 * n + 1, sizeof(*axis->numbers))};
	if (is_narrow)
		axis->narrow = calloc(2 * n + 1, sizeof(*axis->narrow));
	else
		axis->wide = calloc(2 * n + 1, sizeof(*axis->wide));
	if (turns && depths && axis->numbers && (axis->narrow || axis->wide))
		rc = sweep(axis, sets, turns, list_turns(turns, max, ranges, n), bits, n_words,
			depths);
	memset(bits, 0, n_words * sizeof(*bits));
	free(turns);
	free(depths);
	return rc;
}

void in_axis_fini(struct in_axis *axis)
{
	free(axis->narrow);
	free(axis->wide);
	free(axis->numbers);
	*axis = (struct in_axis){0};
}
