/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers as control knows them: found by public key or by number, and what is to be told of one (control
 * thread; dp_peer_set_from() is the owner's). How they come and go: dp_change.c.
 */
#include "dp_peer.h"

#include "dp_dataplane.h"

#include <stdlib.h>

#define PEERS_FIRST 64

void dp_peer_set_from(struct dp_peer *peer, const struct dp_from *from, uint64_t now_ns)
{
	uint32_t seq = atomic_load_explicit(&peer->from_seq, memory_order_relaxed);

	/* A sequence lock with one writer. The fence orders the odd number before the bytes; the release
	 * store orders the bytes before the even one. */
	atomic_store_explicit(&peer->from_seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	if (!dp_from_same_end(&peer->from, from))
		atomic_store_explicit(&peer->path_since_ns, now_ns, memory_order_relaxed);
	peer->from = *from;
	atomic_store_explicit(&peer->from_seq, seq + 2, memory_order_release);
	dp_outer_forget(&peer->outer);
}

enum dp_mover dp_mover_of(const struct dp_peer_config *config)
{
	if (config->is_probed)
		return DP_MOVER_PROBES;
	return config->endpoint_is_fixed ? DP_MOVER_NOBODY : DP_MOVER_PACKETS;
}

struct dp_from dp_peer_from(const struct dp_peer *peer)
{
	struct dp_from from;
	uint32_t before, after;

	do {
		/* Acquire pairs with the release of an even number; the fence keeps the copy before the
		 * second look. */
		before = atomic_load_explicit(&peer->from_seq, memory_order_acquire);
		from = peer->from;
		atomic_thread_fence(memory_order_acquire);
		after = atomic_load_explicit(&peer->from_seq, memory_order_relaxed);
	} while (before != after || (before & 1));
	return from;
}

/* By public key. */

static struct dp_peer **bucket_of(const struct dp_peers *peers, const struct cr_key *public_key)
{
	/* Public keys are points of a curve: any bits of them spread well. */
	return &peers->buckets[base_load_le32(public_key->bytes) & (peers->n_buckets - 1)];
}

static void hash(struct dp_peers *peers, struct dp_peer *peer)
{
	struct dp_peer **bucket = bucket_of(peers, &peer->public_key);

	peer->hash_next = *bucket;
	*bucket = peer;
}

static int buckets_reserve(struct dp_peers *peers, uint32_t n)
{
	struct dp_peers larger = {.n_buckets = n};

	if (n <= peers->n_buckets)
		return 0;
	larger.buckets = calloc(n, sizeof(*larger.buckets));
	if (!larger.buckets)
		return -ENOMEM;
	for (uint32_t i = 0; i < peers->n_buckets; i++) {
		for (struct dp_peer *peer = peers->buckets[i], *next; peer; peer = next) {
			next = peer->hash_next;
			hash(&larger, peer);
		}
	}
	free(peers->buckets);
	peers->buckets = larger.buckets;
	peers->n_buckets = n;
	return 0;
}

struct dp_peer *dp_peers_find(const struct dp_peers *peers, const struct cr_key *public_key)
{
	struct dp_peer *peer = peers->n_buckets ? *bucket_of(peers, public_key) : NULL;

	while (peer && memcmp(&peer->public_key, public_key, sizeof(*public_key)) != 0)
		peer = peer->hash_next;
	return peer;
}

/* By number. */

static int numbers_reserve(struct dp_peers *peers, uint32_t capacity)
{
	struct dp_peer **by_number;
	uint32_t *free_numbers;

	if (capacity <= peers->capacity)
		return 0;
	by_number = realloc(peers->by_number, capacity * sizeof(*by_number));
	if (!by_number)
		return -ENOMEM;
	memset(by_number + peers->capacity, 0, (capacity - peers->capacity) * sizeof(*by_number));
	peers->by_number = by_number;
	/* As many places as numbers: giving one back needs no memory. */
	free_numbers = realloc(peers->free_numbers, capacity * sizeof(*free_numbers));
	if (!free_numbers)
		return -ENOMEM;
	peers->free_numbers = free_numbers;
	peers->capacity = capacity;
	return 0;
}

int dp_peers_reserve(struct dp_peers *peers, size_t n)
{
	size_t need = peers->n_numbers - peers->n_free + n;
	uint32_t capacity = peers->capacity ? peers->capacity : PEERS_FIRST;

	if (need >= DP_PEERS_MAX)
		return -ENOMEM;
	if (peers->slab.object_bytes == 0)
		base_slab_init(&peers->slab, sizeof(struct dp_peer));
	while (capacity < need)
		capacity *= 2;
	return numbers_reserve(peers, capacity) == 0 ? buckets_reserve(peers, capacity) : -ENOMEM;
}

uint32_t dp_peers_number_take(struct dp_peers *peers)
{
	return peers->n_free ? peers->free_numbers[--peers->n_free] : peers->n_numbers++;
}

void dp_peers_number_give(struct dp_peers *peers, uint32_t number)
{
	peers->free_numbers[peers->n_free++] = number;
}

void dp_peers_link(struct dp_peers *peers, struct dp_peer *peer)
{
	peers->by_number[peer->number] = peer;
	peers->count++;
	hash(peers, peer);
}

void dp_peers_unlink(struct dp_peers *peers, struct dp_peer *peer)
{
	struct dp_peer **link = bucket_of(peers, &peer->public_key);

	while (*link != peer)
		link = &(*link)->hash_next;
	*link = peer->hash_next;
	peers->by_number[peer->number] = NULL;
	peers->count--;
}

void dp_peers_free(struct dp_peers *peers)
{
	free(peers->buckets);
	free(peers->by_number);
	free(peers->free_numbers);
	base_slab_fini(&peers->slab);
	*peers = (struct dp_peers){0};
}

static enum dp_path path_to(const struct base_addr *addr)
{
	if (dp_relay_has(addr))
		return DP_PATH_RELAY;
	if (addr->family == BASE_FAMILY_NONE)
		return DP_PATH_NONE;
	return addr->family == BASE_FAMILY_V4 ? DP_PATH_DIRECT4 : DP_PATH_DIRECT6;
}

int dp_peer_status(
	const struct dp *dp, const struct cr_key *public_key, struct dp_peer_status *ret_status)
{
	const struct dp_peer *peer = dp_peers_find(&dp->peers, public_key);
	struct base_endpoint where;
	struct dp_from from;

	if (!peer)
		return -ENOENT;
	from = dp_peer_from(peer);
	where = dp_from_endpoint(&from);
	*ret_status = (struct dp_peer_status){
		.endpoint = where,
		.path = path_to(&where.addr),
		.path_since_ns = dp_counter_get(&peer->path_since_ns),
		.last_handshake_ns = dp_counter_get(&peer->last_handshake_ns),
		.handshakes = dp_counter_get(&peer->handshakes),
		.rx_bytes = dp_counter_get(&peer->rx_bytes),
		.tx_bytes = dp_counter_get(&peer->tx_bytes),
		.rx_pkts = dp_counter_get(&peer->rx_pkts),
		.tx_pkts = dp_counter_get(&peer->tx_pkts),
		.last_rx_ns = wg_activity_load(&peer->activity.rx_ns),
		.last_tx_ns = wg_activity_load(&peer->activity.tx_ns),
		.rtt_us = atomic_load_explicit(&peer->rtt_us, memory_order_relaxed),
		.lcore = dp->workers[peer->owner].lcore,
	};
	if (ret_status->path == DP_PATH_RELAY)
		ret_status->endpoint = (struct base_endpoint){0};
	return 0;
}
