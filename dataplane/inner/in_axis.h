/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One question of the packet filter, answered for all rules at once: whose ranges hold this address, or this port? A number line is
 * cut wherever a range begins or ends; each piece knows the set of those that hold there, and equal sets are
 * kept once. The answer costs a binary search, whatever the number of rules.
 *
 * Built by control, read by workers; immutable then. Next to read: in_rules.h, which asks three axes.
 */
#ifndef IN_AXIS_H
#define IN_AXIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_bytes.h"
#include "base_err.h"

/** A point: an address of either family, or a port. */
__extension__ typedef unsigned __int128 in_point;

/** Both ends belong to it. */
struct in_range {
	in_point first, last;
	uint32_t member; /* whose it is: a bit of the sets */
};

/** The last point of a family's line. */
static inline in_point in_point_max(uint8_t family)
{
	return family == BASE_FAMILY_V4 ? UINT32_MAX : ~(in_point)0;
}

/** Of an address in network order, V4 or V6. */
static inline in_point in_point_of(const uint8_t *bytes, uint8_t family)
{
	if (family == BASE_FAMILY_V4)
		return base_load_be32(bytes);
	return (in_point)base_load_be64(bytes) << 64 | base_load_be64(bytes + 8);
}

/** A length that its family has; family NONE is fine. */
bool in_prefix_is_valid(const struct base_prefix *prefix);
/** What a valid prefix holds of @family's line; family NONE holds all. */
struct in_range in_range_of(const struct base_prefix *prefix, uint8_t family, uint32_t member);

/** Words of a bit set from its first that is not zero to its last. */
struct in_set {
	uint32_t first, end;
	size_t offset; /* in in_sets.words */
};

/** Sets, each once; number 0 is the empty one. */
struct in_sets {
	struct in_set *sets;
	uint64_t *words;
	uint32_t *slots; /* hash table of numbers; 0: free */
	uint32_t n_sets, max_sets, n_slots;
	size_t n_words, max_words;
};

/** More words than this in all are refused (-E2BIG): 128 MiB. */
#define IN_SETS_WORDS_MAX (UINT32_C(1) << 24)

/** 0 or -ENOMEM. */
BASE_MUST_CHECK int in_sets_init(struct in_sets *sets);
void in_sets_fini(struct in_sets *sets);
/** The number of the set with these bits. 0, -ENOMEM, -E2BIG. */
BASE_MUST_CHECK int in_sets_add(
	struct in_sets *sets, const uint64_t *bits, uint32_t n_words, uint32_t *ret_set);

static inline const uint64_t *in_set_words(const struct in_sets *sets, const struct in_set *set)
{
	return sets->words + set->offset;
}

struct in_axis {
	uint32_t n;        /* pieces, at least one */
	uint32_t *narrow;  /* where they begin, up to 2^32 - 1; or */
	in_point *wide;    /* beyond that */
	uint32_t *numbers; /* their sets */
};

/**
 * @max: the last point of the line; no range reaches further. @bits:
 * @n_words of zeroes, for use meanwhile. 0, -ENOMEM, -E2BIG.
 */
BASE_MUST_CHECK int in_axis_init(struct in_axis *axis, struct in_sets *sets, in_point max,
	const struct in_range *ranges, size_t n, uint64_t *bits, uint32_t n_words);
void in_axis_fini(struct in_axis *axis);

/* The last piece that begins at or before the point; no branch depends on what is found. */

static inline uint32_t in_axis_find32(const struct in_axis *axis, uint32_t point)
{
	const uint32_t *at = axis->narrow;

	for (uint32_t n = axis->n; n > 1;) {
		uint32_t half = n / 2;

		at += at[half] <= point ? half : 0;
		n -= half;
	}
	return axis->numbers[at - axis->narrow];
}

static inline uint32_t in_axis_find128(const struct in_axis *axis, in_point point)
{
	const in_point *at = axis->wide;

	for (uint32_t n = axis->n; n > 1;) {
		uint32_t half = n / 2;

		at += at[half] <= point ? half : 0;
		n -= half;
	}
	return axis->numbers[at - axis->wide];
}

#endif
