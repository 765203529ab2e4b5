/* SPDX-License-Identifier: BSD-3-Clause */
/* Token buckets per source in a table of fixed size. Thread: the device's. See wg_ratelimit.h. */
#include "wg_ratelimit.h"

#include "cr_noise.h"

#include <string.h>

#define TOKEN_NS (BASE_NS_PER_S / WG_SOURCE_RATE_PER_S)

void wg_ratelimit_init(struct wg_ratelimit *limit)
{
	memset(limit, 0, sizeof(*limit));
	cr_random(&limit->seed, sizeof(limit->seed));
}

/* Who holds one IPv6 address holds the /64. */
static uint64_t source_hash(const struct wg_ratelimit *limit, const struct base_addr *source)
{
	struct base_addr addr = *source;

	if (addr.family == BASE_FAMILY_V6)
		memset(addr.bytes + 8, 0, 8);
	return base_addr_hash(&addr, limit->seed);
}

bool wg_ratelimit_allow(struct wg_ratelimit *limit, const struct base_addr *source, uint64_t now_ns)
{
	uint64_t hash = source_hash(limit, source), full_ns;
	struct wg_ratelimit_bucket *set = limit->sets[hash % WG_RATELIMIT_SETS], *bucket = set;

	for (unsigned i = 0; i < WG_RATELIMIT_WAYS; i++) {
		if (set[i].source == hash) {
			bucket = &set[i];
			break;
		}
		if (set[i].full_ns < bucket->full_ns)
			bucket = &set[i];
	}
	if (bucket->source != hash)
		*bucket = (struct wg_ratelimit_bucket){.source = hash};
	full_ns = (bucket->full_ns > now_ns ? bucket->full_ns : now_ns) + TOKEN_NS;
	if (full_ns > now_ns + WG_SOURCE_BURST_MSGS * TOKEN_NS)
		return false;
	bucket->full_ns = full_ns;
	return true;
}

void wg_ratelimit_give_back(struct wg_ratelimit *limit, const struct base_addr *source)
{
	uint64_t hash = source_hash(limit, source);
	struct wg_ratelimit_bucket *set = limit->sets[hash % WG_RATELIMIT_SETS];

	for (unsigned i = 0; i < WG_RATELIMIT_WAYS; i++) {
		if (set[i].source == hash && set[i].full_ns >= TOKEN_NS)
			set[i].full_ns -= TOKEN_NS;
	}
}
