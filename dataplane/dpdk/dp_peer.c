/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers, as control adds and removes them (control thread; dp_peer_set_from() is the owner's).
 *
 * Coming. Control allocates the peer, gives it a number and the worker with the fewest peers, and
 * makes sure that worker's index table has room for three keypairs more. Nobody else knows it yet, so its
 * endpoint is simply written. Then it exists for the handshake thread (a request: wg_peer_set(), which may
 * refuse its key), then by number, last by its prefixes: whoever finds a prefix finds a peer.
 *
 * Leaving, the same ladder down. Who may still hold the peer after each step:
 *
 *	1. control unpublishes prefixes    readers of allowed IPs inside a burst; packets on the way
 *	   and the number                  to the owner hold no pointer: the owner looks again
 *	2. control asks the handshake      handshake thread, owner
 *	   thread; that commands DETACH
 *	3. the owner drops what is staged, handshake thread; from here on the owner notes and installs
 *	   gives the keypairs back, says   nothing for it, and sends nothing (it has no endpoint)
 *	   DETACHED as its last note
 *	4. the handshake thread, past all  nobody by wg's tables. The owner's ring may hold commands
 *	   earlier notes, runs             for it from before DETACH was answered, at most a keypair
 *	   wg_peer_remove(), answers       or a message; none can follow
 *	5. control sends nothing more, waits until the owner's command ring has been drained past those,
 *	   then retires the peer: readers inside a burst finish, and only then is it wiped and freed
 *
 * Control waits from 2 to 5, which costs two wake-ups; thus a peer of the same key may be added at once.
 */
#include "dp_peer.h"

#include "dp_dataplane.h"

#include <stdlib.h>

/* Each peer's current, previous and next, and one more while a command is on its way. */
#define INDICES_PER_PEER 4

void dp_peer_set_from(struct dp_peer *peer, const struct dp_from *from, uint64_t now_ns)
{
	uint32_t seq = atomic_load_explicit(&peer->from_seq, memory_order_relaxed);

	/* A sequence lock with one writer. The fence orders the odd number before the bytes; the release
	 * store orders the bytes before the even one. */
	atomic_store_explicit(&peer->from_seq, seq + 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
	if (peer->from.family != from->family)
		atomic_store_explicit(&peer->path_since_ns, now_ns, memory_order_relaxed);
	peer->from = *from;
	atomic_store_explicit(&peer->from_seq, seq + 2, memory_order_release);
	peer->outer.generation = 0;
}

/* Control reads where the peer is while its owner may move it. */
static struct dp_from read_from(const struct dp_peer *peer)
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

static struct dp_peer **bucket_of(struct dp_peers *peers, const struct cr_key *public_key)
{
	/* Public keys are points of a curve: any 12 bits of them spread well. */
	return &peers->buckets[base_load_le32(public_key->bytes) % DP_PEER_BUCKETS];
}

static struct dp_peer *find(const struct dp *dp, const struct cr_key *public_key)
{
	struct dp_peer *peer = *bucket_of((struct dp_peers *)&dp->peers, public_key);

	while (peer && !cr_key_equal(&peer->public_key, public_key))
		peer = peer->hash_next;
	return peer;
}

static void unhash(struct dp_peers *peers, struct dp_peer *peer)
{
	struct dp_peer **link = bucket_of(peers, &peer->public_key);

	while (*link != peer)
		link = &(*link)->hash_next;
	*link = peer->hash_next;
}

static void destroy_peer(void *object)
{
	struct dp_peer *peer = object;

	free(peer->prefixes);
	base_wipe(peer, sizeof(*peer));
	free(peer);
}

/* A free number, and room for it. WG_PEER_NONE without memory. */
static uint32_t number_take(struct dp_peers *peers)
{
	uint32_t capacity = peers->capacity ? 2 * peers->capacity : 64;
	struct dp_peer **larger;

	for (uint32_t i = 0; peers->count < peers->capacity && i < peers->capacity; i++) {
		if (!peers->by_number[i])
			return i;
	}
	larger = realloc(peers->by_number, capacity * sizeof(*larger));
	if (!larger)
		return WG_PEER_NONE;
	memset(larger + peers->capacity, 0, (capacity - peers->capacity) * sizeof(*larger));
	peers->by_number = larger;
	peers->capacity = capacity;
	return peers->count;
}

static unsigned owner_choose(const struct dp *dp)
{
	unsigned best = 0;

	for (unsigned i = 1; i < dp->n_workers; i++) {
		if (dp->peers.owned[i] < dp->peers.owned[best])
			best = i;
	}
	return best;
}

static void send_command(struct dp *dp, unsigned owner, const struct dp_command *cmd)
{
	while (!dp_worker_command(&dp->workers[owner], cmd))
		dp_wait_a_little(dp);
}

/* Past this the owner has obeyed all that it was sent so far, or does so in the round that it is in. */
static void wait_for_commands(struct dp *dp, unsigned owner)
{
	while (!rte_ring_empty(dp->workers[owner].command_ring))
		dp_wait_a_little(dp);
}

static void destroy_index(void *table)
{
	wg_index_table_free(table);
}

/* The owner's index table must take one peer more. */
static int index_reserve(struct dp *dp, unsigned owner)
{
	uint32_t need = (dp->peers.owned[owner] + 1) * INDICES_PER_PEER;
	struct wg_index_table *larger, *now = dp->peers.index[owner];

	/* The first table is still the one that the worker was born with: nobody else changes it. */
	if (!now)
		now = dp->workers[owner].index;
	if (need <= wg_index_room(now))
		return 0;
	larger = wg_index_table_new(2 * need);
	if (!larger)
		return -ENOMEM;
	send_command(
		dp, owner, &(struct dp_command){.type = DP_COMMAND_INDEX_GROW, .object = larger});
	wait_for_commands(dp, owner);
	dp->peers.index[owner] = larger;
	dp_rcu_retire(dp->rcu, destroy_index, now);
	return 0;
}

static int wg_set(struct dp *dp, struct dp_peer *peer, const struct dp_peer_config *config)
{
	struct wg_peer_config wg = {
		.public_key = config->public_key,
		.preshared_key = config->preshared_key,
		.endpoint = config->endpoint,
		.keepalive_s = config->keepalive_s,
		.endpoint_is_fixed = config->endpoint_is_fixed,
		.owner = peer->owner,
		.user = peer,
		.activity = &peer->activity,
	};
	struct dp_request request = {.type = DP_REQUEST_PEER_SET, .peer = peer, .config = &wg};
	int error = dp_handshake_request(dp->handshake, &request);

	cr_key_wipe(&wg.preshared_key);
	return error;
}

static struct dp_peer *peer_add(struct dp *dp, const struct dp_peer_config *config, int *ret_error)
{
	struct dp_peer *peer = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*peer));
	struct dp_from from = dp_from_make(&config->endpoint);
	struct dp_peer **bucket = bucket_of(&dp->peers, &config->public_key);

	*ret_error = -ENOMEM;
	if (!peer)
		return NULL;
	memset(peer, 0, sizeof(*peer));
	peer->public_key = config->public_key;
	peer->number = number_take(&dp->peers);
	peer->owner = (uint8_t)owner_choose(dp);
	peer->endpoint_is_fixed = config->endpoint_is_fixed;
	if (from.family != BASE_FAMILY_NONE)
		dp_peer_set_from(peer, &from, dp_now_ns(dp));
	if (peer->number == WG_PEER_NONE || index_reserve(dp, peer->owner) != 0 ||
		dp_tables_set_peer(&dp->tables, dp->rcu, peer->number, NULL) != 0) {
		free(peer);
		return NULL;
	}
	*ret_error = wg_set(dp, peer, config);
	if (*ret_error) {
		free(peer);
		return NULL;
	}
	dp->peers.by_number[peer->number] = peer;
	dp->peers.count++;
	dp->peers.owned[peer->owner]++;
	peer->hash_next = *bucket;
	*bucket = peer;
	/* Cannot fail: the slot was made above. */
	*ret_error = dp_tables_set_peer(&dp->tables, dp->rcu, peer->number, peer);
	return peer;
}

/* Steps 1 to 5. */
static void peer_remove(struct dp *dp, struct dp_peer *peer)
{
	struct dp_request request = {.type = DP_REQUEST_PEER_REMOVE, .peer = peer};

	for (size_t i = 0; i < peer->n_prefixes; i++) {
		wg_allowedips_remove(dp->tables.allowed_ips, &peer->prefixes[i], peer->number);
		if (dp->host)
			dp_host_route_remove(dp->host, &peer->prefixes[i]);
	}
	/* Cannot fail: the slot exists. */
	if (dp_tables_set_peer(&dp->tables, dp->rcu, peer->number, NULL) != 0)
		return;
	dp_taps_peer_gone(dp, peer->number);
	dp_handshake_request(dp->handshake, &request);
	wait_for_commands(dp, peer->owner);
	unhash(&dp->peers, peer);
	dp->peers.by_number[peer->number] = NULL;
	dp->peers.count--;
	dp->peers.owned[peer->owner]--;
	dp_rcu_retire(dp->rcu, destroy_peer, peer);
	dp_rcu_poll(dp->rcu);
}

/* Prefixes. */

static int prefixes_check(const struct dp *dp, const struct dp_peer_config *config,
	const struct dp_peer *peer, struct base_error *ret_error)
{
	for (size_t i = 0; i < config->n_allowed_ips; i++) {
		const struct base_prefix *prefix = &config->allowed_ips[i];
		uint32_t holder = wg_allowedips_exact(dp->tables.allowed_ips, prefix);
		char text[BASE_PREFIX_TEXT_LEN], ours[BASE_FINGERPRINT_LEN + 1],
			theirs[BASE_FINGERPRINT_LEN + 1];

		if (holder == WG_PEER_NONE || (peer && holder == peer->number))
			continue;
		base_key_fingerprint(ours, config->public_key.bytes);
		base_key_fingerprint(theirs, dp->peers.by_number[holder]->public_key.bytes);
		return base_error_set(ret_error, -EEXIST,
			"allowed IP %s of peer %s is peer %s's already; give it to one of them",
			base_prefix_print(text, prefix), ours, theirs);
	}
	return 0;
}

static bool is_among(const struct base_prefix *prefix, const struct base_prefix *set, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (base_prefix_equal(prefix, &set[i]))
			return true;
	}
	return false;
}

/* New ones first, then the old ones go: an address in both is never without its peer. */
static int prefixes_set(struct dp *dp, struct dp_peer *peer, const struct dp_peer_config *config)
{
	size_t n = config->n_allowed_ips, i;
	struct base_prefix *copy = calloc(n + 1, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		copy[i] = config->allowed_ips[i];
		if (wg_allowedips_set(dp->tables.allowed_ips, &copy[i], peer->number, NULL) != 0)
			break;
	}
	if (i < n) {
		while (i-- > 0) {
			if (!is_among(&copy[i], peer->prefixes, peer->n_prefixes))
				wg_allowedips_remove(
					dp->tables.allowed_ips, &copy[i], peer->number);
		}
		free(copy);
		return -ENOMEM;
	}
	for (i = 0; i < peer->n_prefixes; i++) {
		if (is_among(&peer->prefixes[i], copy, n))
			continue;
		wg_allowedips_remove(dp->tables.allowed_ips, &peer->prefixes[i], peer->number);
		if (dp->host)
			dp_host_route_remove(dp->host, &peer->prefixes[i]);
	}
	for (i = 0; dp->host && i < n; i++)
		dp_host_route_add(dp->host, &copy[i]);
	free(peer->prefixes);
	peer->prefixes = copy;
	peer->n_prefixes = n;
	return 0;
}

/* dp_api.h */

int dp_peer_set(struct dp *dp, const struct dp_peer_config *config, struct base_error *ret_error)
{
	struct dp_peer *peer = find(dp, &config->public_key);
	bool is_new = !peer;
	char name[BASE_FINGERPRINT_LEN + 1];
	int error = prefixes_check(dp, config, peer, ret_error);

	if (error)
		return error;
	if (is_new)
		peer = peer_add(dp, config, &error);
	else
		error = wg_set(dp, peer, config);
	if (!error) {
		error = prefixes_set(dp, peer, config);
		if (error && is_new)
			peer_remove(dp, peer);
	}
	base_key_fingerprint(name, config->public_key.bytes);
	if (error == -EINVAL)
		return base_error_set(ret_error, error,
			"peer %s: its public key is our own, or one that no peer can have", name);
	if (error)
		return base_error_set(ret_error, error, "peer %s: %s", name, strerror(-error));
	if (!is_new) {
		struct dp_command cmd = {.type = DP_COMMAND_ENDPOINT_SET,
			.peer = peer,
			.object = config->endpoint_is_fixed ? peer : NULL,
			.from = dp_from_make(&config->endpoint)};

		send_command(dp, peer->owner, &cmd);
	}
	return 0;
}

int dp_peer_remove(struct dp *dp, const struct cr_key *public_key)
{
	struct dp_peer *peer = find(dp, public_key);

	if (!peer)
		return -ENOENT;
	peer_remove(dp, peer);
	return 0;
}

void dp_peers_fini(struct dp *dp)
{
	for (uint32_t i = 0; i < dp->peers.capacity; i++) {
		if (dp->peers.by_number[i])
			peer_remove(dp, dp->peers.by_number[i]);
	}
}

int dp_peer_status(
	const struct dp *dp, const struct cr_key *public_key, struct dp_peer_status *ret_status)
{
	const struct dp_peer *peer = find(dp, public_key);
	struct dp_from from;

	if (!peer)
		return -ENOENT;
	from = read_from(peer);
	*ret_status = (struct dp_peer_status){
		.endpoint = dp_from_endpoint(&from),
		.path = from.family == BASE_FAMILY_V4   ? DP_PATH_DIRECT4
			: from.family == BASE_FAMILY_V6 ? DP_PATH_DIRECT6
							: DP_PATH_NONE,
		.path_since_ns = dp_counter_get(&peer->path_since_ns),
		.last_handshake_ns = dp_counter_get(&peer->last_handshake_ns),
		.handshakes = dp_counter_get(&peer->handshakes),
		.rx_bytes = dp_counter_get(&peer->rx_bytes),
		.tx_bytes = dp_counter_get(&peer->tx_bytes),
		.rx_pkts = dp_counter_get(&peer->rx_pkts),
		.tx_pkts = dp_counter_get(&peer->tx_pkts),
		.rtt_us = atomic_load_explicit(&peer->rtt_us, memory_order_relaxed),
		.lcore = dp->workers[peer->owner].lcore,
	};
	return 0;
}
