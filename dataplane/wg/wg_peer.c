/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The set of peers: found by public key through a chained hash table, so that ten thousand are set
 * as fast each as one. Thread: the device's. The structs are in wg_peer.h.
 */
#include "wg_peer.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 64

/* Public keys of configured peers are nothing that outsiders choose: any eight bytes will do. */
static size_t bucket_of(const struct wg_device *device, const struct cr_key *public_key)
{
	return base_load_le64(public_key->bytes) & (device->n_buckets - 1);
}

int wg_peers_init(struct wg_device *device)
{
	device->peers_end = &device->peers;
	device->n_buckets = BUCKETS_MIN;
	device->buckets = calloc(BUCKETS_MIN, sizeof(struct wg_peer *));
	return device->buckets ? 0 : -ENOMEM;
}

struct wg_peer *wg_peer_find(struct wg_device *device, const struct cr_key *public_key)
{
	struct wg_peer *peer = device->buckets[bucket_of(device, public_key)];

	while (peer && memcmp(&peer->remote.public_key, public_key, sizeof(*public_key)) != 0)
		peer = peer->hash_next;
	return peer;
}

static void hash_link(struct wg_peer *peer)
{
	struct wg_peer **bucket =
		&peer->device->buckets[bucket_of(peer->device, &peer->remote.public_key)];

	peer->hash_next = *bucket;
	*bucket = peer;
}

static void hash_unlink(struct wg_peer *peer)
{
	struct wg_peer **link =
		&peer->device->buckets[bucket_of(peer->device, &peer->remote.public_key)];

	while (*link != peer)
		link = &(*link)->hash_next;
	*link = peer->hash_next;
}

static int hash_reserve(struct wg_device *device, size_t n_peers)
{
	size_t n = 2 * device->n_buckets;
	struct wg_peer **buckets;

	if (n_peers <= device->n_buckets)
		return 0;
	buckets = calloc(n, sizeof(struct wg_peer *));
	if (!buckets)
		return -ENOMEM;
	free(device->buckets);
	device->buckets = buckets;
	device->n_buckets = n;
	for (struct wg_peer *peer = device->peers; peer; peer = peer->next) {
		if (!peer->is_dead)
			hash_link(peer);
	}
	return 0;
}

/* --- numbers, by which allowed IPs name peers ---------------------------------------------- */

static int number_take(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;
	uint32_t n = device->free_number;

	while (n < device->n_numbers && device->numbers[n])
		n++;
	if (n == device->n_numbers) {
		uint32_t n_numbers = n ? 2 * n : 16;
		struct wg_peer **numbers =
			realloc(device->numbers, n_numbers * sizeof(struct wg_peer *));

		if (!numbers)
			return -ENOMEM;
		memset(numbers + n, 0, (n_numbers - n) * sizeof(struct wg_peer *));
		device->numbers = numbers;
		device->n_numbers = n_numbers;
	}
	device->numbers[n] = peer;
	device->free_number = n + 1;
	peer->number = n;
	return 0;
}

static void number_give(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;

	device->numbers[peer->number] = NULL;
	if (peer->number < device->free_number)
		device->free_number = peer->number;
}

static void allowed_ips_clear(struct wg_peer *peer)
{
	/* -ENOENT: another peer has taken this prefix over. */
	for (size_t i = 0; i < peer->n_allowed_ips; i++)
		(void)wg_allowedips_remove(
			peer->device->allowed_ips, &peer->allowed_ips[i], peer->number);
	free(peer->allowed_ips);
	peer->allowed_ips = NULL;
	peer->n_allowed_ips = 0;
}

static int allowed_ips_set(struct wg_peer *peer, const struct wg_peer_config *config)
{
	allowed_ips_clear(peer);
	if (config->n_allowed_ips == 0)
		return 0;
	peer->allowed_ips = calloc(config->n_allowed_ips, sizeof(struct base_prefix));
	if (!peer->allowed_ips)
		return -ENOMEM;
	for (size_t i = 0; i < config->n_allowed_ips; i++) {
		int rc = wg_allowedips_set(
			peer->device->allowed_ips, &config->allowed_ips[i], peer->number, NULL);

		if (rc < 0)
			return rc;
		peer->allowed_ips[peer->n_allowed_ips++] = config->allowed_ips[i];
	}
	return 0;
}

/* --- life ---------------------------------------------------------------------------------- */

static size_t peer_bytes(const struct wg_device *device)
{
	return wg_device_is_whole(device) ? sizeof(struct wg_peer) : WG_PEER_BYTES_DATAPLANE;
}

static void peer_destroy(struct wg_peer *peer)
{
	base_wipe(peer, peer_bytes(peer->device));
	free(peer);
}

void wg_peer_free(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;

	*peer->link = peer->next;
	if (peer->next)
		peer->next->link = peer->link;
	else
		device->peers_end = peer->link;
	if (device->prepare_next == peer)
		device->prepare_next = peer->next;
	peer_destroy(peer);
}

static int peer_new(
	struct wg_device *device, const struct cr_key *public_key, struct wg_peer **ret_peer)
{
	struct wg_peer *peer;
	int rc;

	rc = hash_reserve(device, device->n_peers + 1);
	if (rc == 0)
		rc = base_deadlines_reserve(&device->deadlines, device->n_peers + 1);
	if (rc < 0)
		return rc;
	peer = calloc(1, peer_bytes(device));
	if (!peer)
		return -ENOMEM;
	peer->device = device;
	if (wg_device_is_whole(device))
		peer->staged_end = &peer->staged_first;
	if (!wg_noise_remote_init(&peer->remote, public_key))
		rc = -EINVAL;
	else if (wg_device_is_whole(device))
		rc = number_take(peer);
	if (rc < 0) {
		peer_destroy(peer);
		return rc;
	}
	peer->link = device->peers_end;
	*peer->link = peer;
	device->peers_end = &peer->next;
	if (!device->prepare_next)
		device->prepare_next = peer;
	device->n_peers++;
	hash_link(peer);
	*ret_peer = peer;
	return 0;
}

/* An endpoint became known: an attempt that only waited for one goes on at the next tick. */
static void endpoint_known(struct wg_peer *peer, uint64_t now_ns)
{
	peer->timers.has_endpoint = true;
	if (peer->timers.attempt_ns && !peer->handshake)
		peer->timers.retry_ns = wg_timers_earliest_ns(&peer->timers, now_ns);
}

static void peer_configure(
	struct wg_peer *peer, const struct wg_peer_config *config, uint64_t now_ns)
{
	struct wg_timers *timers = &peer->timers;

	peer->remote.preshared_key = config->preshared_key;
	peer->owner = config->owner;
	peer->is_probed = config->is_probed;
	peer->user = config->user;
	assert(config->activity || wg_device_is_whole(peer->device));
	peer->activity = config->activity ? config->activity : &peer->own_activity;
	if (wg_device_is_whole(peer->device)) {
		peer->endpoint_is_fixed = config->endpoint_is_fixed;
		if (config->endpoint.addr.family != BASE_FAMILY_NONE)
			peer->endpoint = config->endpoint;
	}
	if (config->endpoint.addr.family != BASE_FAMILY_NONE)
		endpoint_known(peer, now_ns);
	timers->interval_ns = config->keepalive_s * BASE_NS_PER_S;
	if (timers->interval_ns && timers->has_endpoint && !timers->attempt_ns &&
		!wg_timers_has_session(timers, now_ns)) {
		timers->attempt_ns = now_ns;
		timers->retry_ns = wg_timers_earliest_ns(timers, now_ns);
	}
	wg_peer_schedule(peer, now_ns);
}

int wg_peer_set(struct wg_device *device, const struct wg_peer_config *config, uint64_t now_ns,
	struct wg_peer **ret_peer)
{
	struct wg_peer *peer = wg_peer_find(device, &config->public_key);
	bool is_new = !peer;
	int rc = 0;

	if (config->owner >= WG_INDEX_OWNERS_MAX ||
		cr_key_equal(&config->public_key, &device->identity.public_key) ||
		(config->endpoint.addr.family != BASE_FAMILY_NONE && config->endpoint.port == 0))
		return -EINVAL;
	if (is_new)
		rc = peer_new(device, &config->public_key, &peer);
	if (rc < 0)
		return rc;
	peer_configure(peer, config, now_ns);
	if (wg_device_is_whole(device))
		rc = allowed_ips_set(peer, config);
	if (rc < 0) {
		if (is_new)
			wg_peer_remove(device, peer);
		return rc;
	}
	if (ret_peer)
		*ret_peer = peer;
	return 0;
}

/*
 * The end of a peer: unlink it from everything that finds it (hash, deadlines, allowed IPs, its
 * handshake's index), have its keypairs given back, wipe. What still names it are keypairs on
 * their way back from the data owner; the last of them frees it (wg_keypair_put).
 */
void wg_peer_remove(struct wg_device *device, struct wg_peer *peer)
{
	peer->is_dead = true;
	peer->n_keypairs++; /* so that it is not freed under our hands */
	hash_unlink(peer);
	device->n_peers--;
	wg_handshake_reset(peer);
	base_deadlines_set(&device->deadlines, &peer->deadline, BASE_NEVER_NS);
	if (wg_device_is_whole(device)) {
		wg_packet_staged_clear(peer);
		allowed_ips_clear(peer);
		number_give(peer);
	}
	cr_key_wipe(&peer->remote.preshared_key);
	cr_key_wipe(&peer->remote.static_static);
	base_wipe(&peer->cookies, sizeof(peer->cookies));
	if (--peer->n_keypairs == 0)
		wg_peer_free(peer);
}

void wg_peer_schedule(struct wg_peer *peer, uint64_t now_ns)
{
	if (!peer->is_dead)
		base_deadlines_set(&peer->device->deadlines, &peer->deadline,
			wg_timers_next_ns(&peer->timers, peer->activity, now_ns));
}

void wg_peer_set_has_endpoint(struct wg_peer *peer, bool has_endpoint)
{
	if (peer->is_dead || peer->timers.has_endpoint == has_endpoint)
		return;
	peer->timers.has_endpoint = has_endpoint;
	/* Time 0 is past: the next tick looks at what there is to do now. */
	if (has_endpoint)
		endpoint_known(peer, 0);
	wg_peer_schedule(peer, 0);
}

/*
 * Of two addresses that answer within a moment the better one is a new path, but the initiation by the first is on its way: a
 * second would be dropped by the peer as a flood, and with it we would have forgotten what the first one's answer needs.
 */
static bool may_repeat(const struct wg_peer *peer, bool had_path, uint64_t now_ns)
{
	return !had_path || now_ns - peer->timers.initiation_ns >= WG_REPEAT_GAP_NS;
}

void wg_peer_path(struct wg_peer *peer, bool has_path, uint64_t now_ns)
{
	bool had_path = peer->timers.has_endpoint;

	if (peer->is_dead)
		return;
	peer->timers.has_endpoint = has_path;
	if (has_path && peer->timers.attempt_ns && may_repeat(peer, had_path, now_ns))
		wg_handshake_repeat(peer, now_ns);
	else if (has_path && !had_path && !wg_timers_has_session(&peer->timers, now_ns))
		wg_peer_want_handshake(peer, now_ns);
	wg_peer_schedule(peer, now_ns);
}

bool wg_peer_has_endpoint(const struct wg_peer *peer)
{
	return peer->timers.has_endpoint;
}

void wg_peer_endpoint_seen(struct wg_peer *peer, const struct base_endpoint *from, uint64_t now_ns)
{
	struct wg_device *device = peer->device;
	bool is_known = peer->timers.has_endpoint;

	if (from->port == 0)
		return; /* could never be answered */
	peer->timers.has_endpoint = is_known || !peer->is_probed;
	if (!wg_device_is_whole(device))
		device->host.endpoint_seen(device->ctx, peer, from);
	else if (!(peer->endpoint_is_fixed && is_known))
		peer->endpoint = *from;
}

/* --- what others may know ------------------------------------------------------------------- */

void *wg_peer_user(const struct wg_peer *peer)
{
	return peer->user;
}

const struct cr_key *wg_peer_public_key(const struct wg_peer *peer)
{
	return &peer->remote.public_key;
}

struct wg_activity *wg_peer_activity(struct wg_peer *peer)
{
	return peer->activity;
}

void wg_peer_status(const struct wg_peer *peer, struct wg_peer_status *ret_status)
{
	*ret_status = (struct wg_peer_status){
		.last_handshake_ns = peer->last_handshake_ns,
		.handshakes = peer->handshakes,
		.handshake_attempts = peer->handshake_attempts,
		.rx_bytes = peer->rx_bytes,
		.tx_bytes = peer->tx_bytes,
		.has_session = peer->timers.confirmed_ns != 0,
	};
	if (wg_device_is_whole(peer->device)) {
		ret_status->endpoint = peer->endpoint;
		ret_status->staged_pkts = peer->n_staged;
	}
}
