/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device: identity, memory, load, and the clock's turn. Joins the parts for both doors of
 * wg.h. Thread: one. Next to read: wg_handshake.c, then wg_packet.c.
 */
#include "wg_peer.h"

#include <assert.h>
#include <stdlib.h>

/* Under load from an eighth of the queue on, and for one second after (kernel practice). */
#define LOAD_FRACTION 8
#define LOAD_HOLD_NS BASE_NS_PER_S

#define FIRST_INDICES 64
/* Peers that one call of wg_device_prepare() looks at. */
#define PREPARED_SKIPPED_MAX 256

const char *wg_verdict_name(enum wg_verdict verdict)
{
	static const char *const names[] = {
#define WG_VERDICT_NAME(name, text) text,
		WG_VERDICTS(WG_VERDICT_NAME)
#undef WG_VERDICT_NAME
	};

	return (unsigned)verdict < WG_VERDICT_COUNT ? names[verdict] : "?";
}

static void identity_set(struct wg_device *device, const struct cr_key *private_key)
{
	wg_noise_identity_init(&device->identity, private_key);
	base_wipe(&device->checker, sizeof(device->checker));
	wg_cookie_checker_init(&device->checker, &device->identity.public_key);
}

static int device_alloc(struct wg_device *device)
{
	device->indices = wg_index_table_new(FIRST_INDICES);
	device->slab = wg_slab_new();
	if (!device->indices || !device->slab || wg_peers_init(device) < 0)
		return -ENOMEM;
	if (!wg_device_is_whole(device))
		return 0;
	device->allowed_ips = wg_allowedips_new(NULL, NULL);
	device->seal_buf = malloc(WG_MESSAGE_BYTES_MAX);
	device->open_buf = malloc(WG_MESSAGE_BYTES_MAX);
	return device->allowed_ips && device->seal_buf && device->open_buf ? 0 : -ENOMEM;
}

struct wg_device *wg_device_new(
	const struct cr_key *private_key, const struct wg_host *host, void *ctx)
{
	struct wg_device *device = calloc(1, sizeof(*device));

	if (!device)
		return NULL;
	assert(host->deliver ||
		(host->keypair_begin && host->keypairs_clear && host->staged_clear &&
			host->keepalive && host->endpoint_seen));
	device->host = *host;
	device->ctx = ctx;
	if (device_alloc(device) < 0) {
		wg_device_free(device);
		errno = ENOMEM;
		return NULL;
	}
	identity_set(device, private_key);
	wg_ratelimit_init(&device->ratelimit);
	return device;
}

static void buf_free(uint8_t *buf)
{
	if (buf)
		base_wipe(buf, WG_MESSAGE_BYTES_MAX); /* inner packets */
	free(buf);
}

void wg_device_free(struct wg_device *device)
{
	if (!device)
		return;
	for (struct wg_peer *peer = device->peers, *next; peer; peer = next) {
		next = peer->next;
		if (!peer->is_dead)
			wg_peer_remove(device, peer);
	}
	while (device->peers) /* those whose keypairs are still out */
		wg_peer_free(device->peers);
	free(device->buckets);
	free(device->numbers);
	wg_allowedips_free(device->allowed_ips);
	base_deadlines_fini(&device->deadlines);
	wg_slab_free(device->slab);
	wg_index_table_free(device->indices);
	buf_free(device->seal_buf);
	buf_free(device->open_buf);
	base_wipe(device, sizeof(*device));
	free(device);
}

int wg_device_set_private_key(struct wg_device *device, const struct cr_key *private_key)
{
	struct cr_key public_key;

	cr_x25519_public(&public_key, private_key);
	if (wg_peer_find(device, &public_key))
		return -EINVAL;
	identity_set(device, private_key);
	for (struct wg_peer *peer = device->peers; peer; peer = peer->next) {
		struct cr_key preshared_key CR_KEY_CLEANUP = peer->remote.preshared_key;
		struct cr_key peer_public = peer->remote.public_key;
		bool is_good;

		if (peer->is_dead)
			continue;
		/* Cannot fail: low order is a property of the peer's key, refused when it was set. */
		is_good = wg_noise_remote_init(&peer->remote, &peer_public);
		assert(is_good);
		(void)is_good;
		peer->remote.preshared_key = preshared_key;
		wg_handshake_reset(peer);
		/* Due at once: persistent keepalive finds no session and begins a handshake. */
		peer->timers.handshake_traffic_ns = peer->timers.keepalive_ns = 0;
		wg_peer_schedule(peer, 0);
	}
	device->prepare_next = device->peers;
	return 0;
}

bool wg_device_prepare(struct wg_device *device)
{
	for (unsigned n = 0; device->prepare_next && n < PREPARED_SKIPPED_MAX; n++) {
		struct wg_peer *peer = device->prepare_next;

		device->prepare_next = peer->next;
		if (peer->is_dead || wg_noise_remote_is_complete(&peer->remote))
			continue;
		wg_noise_remote_complete(&peer->remote, &device->identity);
		return true;
	}
	return device->prepare_next;
}

void wg_device_set_mtu(struct wg_device *device, size_t mtu_bytes)
{
	device->mtu_bytes = mtu_bytes;
}

void wg_device_public_key(const struct wg_device *device, struct cr_key *ret_public)
{
	*ret_public = device->identity.public_key;
}

void wg_device_note_queue(
	struct wg_device *device, uint32_t queued, uint32_t capacity, uint64_t now_ns)
{
	if (queued > 0 && (uint64_t)queued * LOAD_FRACTION >= capacity)
		device->under_load_until_ns = now_ns + LOAD_HOLD_NS;
}

enum wg_verdict wg_device_count(struct wg_device *device, enum wg_verdict verdict)
{
	device->counts[verdict]++;
	return verdict;
}

void wg_device_counts(const struct wg_device *device, uint64_t ret_counts[WG_VERDICT_COUNT])
{
	memcpy(ret_counts, device->counts, sizeof(device->counts));
}

void wg_device_usage(const struct wg_device *device, size_t *ret_keypairs, size_t *ret_bytes)
{
	wg_slab_usage(device->slab, ret_keypairs, ret_bytes);
}

void wg_tick(struct wg_device *device, uint64_t now_ns)
{
	struct base_deadline *first;

	while ((first = base_deadlines_first(&device->deadlines)) && first->at_ns <= now_ns) {
		struct wg_peer *peer =
			(struct wg_peer *)((char *)first - offsetof(struct wg_peer, deadline));

		wg_handshake_tick(peer, now_ns);
		/* Each action moves its time on; if activity noted meanwhile is due already, it
		 * waits for the next tick, so that this loop ends. */
		if (first->at_ns <= now_ns)
			base_deadlines_set(&device->deadlines, first, now_ns + 1);
	}
}

uint64_t wg_next_deadline_ns(const struct wg_device *device)
{
	const struct base_deadline *first = base_deadlines_first(&device->deadlines);

	return first ? first->at_ns : BASE_NEVER_NS;
}
