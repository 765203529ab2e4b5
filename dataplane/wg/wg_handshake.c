/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Handshake messages in and out, sessions, and what the timers ask for: the core that both doors
 * of wg.h share. Thread: the device's.
 *
 * The checks of a message, in order: length and type, mac1, under load mac2 and the source's rate,
 * then the algebra (wg_noise.h), the peer, its timestamp. State moves only after the last.
 *
 * An index in device->indices maps to a keypair, or to a peer whose initiation is in flight; the
 * latter has the lowest bit of its pointer set.
 *
 * When initiations cross, both are answered if there is no session yet: whichever completes
 * carries data at once. During a rekey the side with the smaller public key lets its own go,
 * because the old session carries data meanwhile and one new session is enough.
 */
#include "wg_peer.h"

#include <assert.h>
#include <stdlib.h>

#define HANDSHAKE_BIT 1u

static void *index_value(struct wg_peer *peer)
{
	return (void *)((uintptr_t)peer | HANDSHAKE_BIT);
}

/* The peer whose initiation of this index is in flight, or NULL. */
static struct wg_peer *peer_by_index(const struct wg_device *device, uint32_t index)
{
	uintptr_t value = (uintptr_t)wg_index_lookup(device->indices, index);

	return value & HANDSHAKE_BIT ? (struct wg_peer *)(value - HANDSHAKE_BIT) : NULL;
}

struct wg_keypair *wg_keypair_by_index(const struct wg_device *device, uint32_t index)
{
	uintptr_t value = (uintptr_t)wg_index_lookup(device->indices, index);

	return value & HANDSHAKE_BIT ? NULL : (struct wg_keypair *)value;
}

static uint64_t jitter_ns(void)
{
	uint32_t r;

	cr_random_public(&r, sizeof(r));
	return (uint64_t)r * WG_REKEY_JITTER_MAX_NS >> 32;
}

static void send_message(struct wg_peer *peer, const void *message, size_t len, uint64_t now_ns)
{
	struct wg_device *device = peer->device;

	peer->timers.handshake_traffic_ns = now_ns;
	peer->tx_bytes += len;
	device->host.send(device->ctx, peer, wg_device_is_whole(device) ? &peer->endpoint : NULL,
		message, len);
}

/* --- our initiations ----------------------------------------------------------------------- */

static void handshake_free(struct wg_peer *peer)
{
	base_wipe(peer->handshake, sizeof(*peer->handshake));
	free(peer->handshake);
	peer->handshake = NULL;
}

void wg_handshake_drop(struct wg_peer *peer)
{
	if (!peer->handshake)
		return;
	wg_index_release(peer->device->indices, peer->handshake->local_index);
	handshake_free(peer);
}

/* One with an index of its own. False: no memory. */
static bool handshake_new(struct wg_peer *peer)
{
	peer->handshake = calloc(1, sizeof(*peer->handshake));
	if (!peer->handshake)
		return false;
	if (wg_index_take(peer->device->indices, peer->owner, index_value(peer),
		    &peer->handshake->local_index) == 0)
		return true;
	handshake_free(peer);
	return false;
}

/*
 * What our next initiation says: now, but always later than the one before, so that a wall clock
 * that was set back does not make the peer refuse us as a replay.
 */
static void next_timestamp(struct wg_peer *peer, uint8_t ret_timestamp[WG_TIMESTAMP_BYTES])
{
	uint64_t unix_ns = peer->device->host.unix_ns(peer->device->ctx);

	if (unix_ns < peer->stamp_unix_ns + WG_TIMESTAMP_STEP_NS)
		unix_ns = peer->stamp_unix_ns + WG_TIMESTAMP_STEP_NS;
	peer->stamp_unix_ns = unix_ns;
	wg_noise_timestamp(ret_timestamp, unix_ns);
}

/* Send an initiation in place of one in flight. Without an endpoint the attempt only waits. */
static void initiate(struct wg_peer *peer, uint64_t now_ns)
{
	struct wg_device *device = peer->device;
	struct wg_timers *timers = &peer->timers;
	uint8_t timestamp[WG_TIMESTAMP_BYTES];
	struct wg_initiation message;

	timers->retry_ns = now_ns + WG_REKEY_TIMEOUT_NS + jitter_ns();
	wg_handshake_drop(peer);
	if (!timers->has_endpoint || !handshake_new(peer))
		return;
	next_timestamp(peer, timestamp);
	wg_noise_remote_complete(&peer->remote, &device->identity);
	if (!wg_noise_initiation_create(
		    peer->handshake, &device->identity, &peer->remote, timestamp, &message)) {
		wg_handshake_drop(peer);
		return;
	}
	wg_cookie_macs_add(
		&peer->cookies, &peer->remote.public_key, &message, sizeof(message), now_ns);
	timers->initiation_ns = now_ns;
	peer->handshake_attempts++;
	send_message(peer, &message, sizeof(message), now_ns);
}

void wg_handshake_begin(struct wg_peer *peer, uint64_t now_ns)
{
	struct wg_timers *timers = &peer->timers;

	timers->attempt_ns = now_ns;
	timers->retry_ns = wg_timers_earliest_ns(timers, now_ns);
	if (timers->retry_ns == now_ns)
		initiate(peer, now_ns);
}

void wg_handshake_repeat(struct wg_peer *peer, uint64_t now_ns)
{
	initiate(peer, now_ns);
}

void wg_peer_want_handshake(struct wg_peer *peer, uint64_t now_ns)
{
	struct wg_timers *timers = &peer->timers;

	if (peer->is_dead)
		return;
	if (timers->attempt_ns) {
		timers->attempt_ns = now_ns; /* paper 6.4: a new packet begins the 90 s anew */
	} else if ((timers->initiation_ns &&
			   now_ns < timers->initiation_ns + WG_REKEY_TIMEOUT_NS) ||
		(timers->confirmed_ns && now_ns < timers->confirmed_ns + WG_REKEY_TIMEOUT_NS)) {
		return; /* paper 6.2; the wish is older than the session that we have */
	} else {
		wg_handshake_begin(peer, now_ns);
	}
	wg_peer_schedule(peer, now_ns);
}

/* --- sessions ------------------------------------------------------------------------------ */

void wg_handshake_completed(struct wg_peer *peer, uint64_t now_ns)
{
	struct wg_timers *timers = &peer->timers;
	struct wg_device *device = peer->device;

	wg_handshake_drop(peer);
	timers->attempt_ns = 0;
	timers->confirmed_ns = timers->session_ns;
	timers->silence_jitter_ns = jitter_ns();
	peer->last_handshake_ns = now_ns;
	peer->handshakes++;
	if (device->host.handshake_done)
		device->host.handshake_done(device->ctx, peer, now_ns);
}

void wg_peer_confirmed(struct wg_peer *peer, uint64_t now_ns)
{
	if (peer->is_dead || peer->timers.session_ns == 0)
		return;
	wg_handshake_completed(peer, now_ns);
	wg_peer_schedule(peer, now_ns);
}

/* Give a keypair, whose index is mapped already, to whoever seals and opens. */
static void session_begin(struct wg_peer *peer, struct wg_keypair *keypair,
	const struct wg_noise_keys *keys, uint64_t now_ns)
{
	struct wg_device *device = peer->device;

	keypair->send_key = keys->send;
	keypair->recv_key = keys->recv;
	keypair->birth_ns = now_ns;
	keypair->peer = peer;
	peer->n_keypairs++;
	peer->timers.session_ns = now_ns;
	if (keypair->is_initiator)
		wg_handshake_completed(peer, now_ns);
	if (wg_device_is_whole(device))
		wg_packet_session_begin(peer, keypair, now_ns);
	else
		device->host.keypair_begin(device->ctx, peer, keypair);
}

void wg_keypair_put(struct wg_device *device, struct wg_keypair *keypair)
{
	struct wg_peer *peer = keypair->peer;

	wg_index_release(device->indices, keypair->local_index);
	wg_slab_give(device->slab, keypair);
	peer->n_keypairs--;
	if (peer->is_dead && peer->n_keypairs == 0)
		wg_peer_free(peer);
}

/* End the session, in whichever door. */
static void session_end(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;

	peer->timers.session_ns = peer->timers.confirmed_ns = 0;
	if (wg_device_is_whole(device))
		wg_packet_keypairs_clear(peer);
	else
		device->host.keypairs_clear(device->ctx, peer);
}

void wg_handshake_reset(struct wg_peer *peer)
{
	wg_handshake_drop(peer);
	peer->timers.attempt_ns = peer->timers.initiation_ns = 0;
	session_end(peer);
}

/* --- messages of others -------------------------------------------------------------------- */

struct input {
	struct wg_device *device;
	const struct base_endpoint *from;
	uint64_t now_ns;
	bool is_charged; /* to its source's rate */
};

/* mac1, then under load mac2 and the rate of the source. OK: go on. */
static enum wg_verdict check_macs(struct input *in, const void *message, size_t len)
{
	struct wg_device *device = in->device;
	struct wg_cookie_reply reply;

	if (!wg_cookie_mac1_is_valid(&device->checker, message, len))
		return WG_VERDICT_MAC1;
	if (in->now_ns >= device->under_load_until_ns)
		return WG_VERDICT_OK;
	if (!wg_cookie_mac2_is_valid(&device->checker, message, len, in->from, in->now_ns)) {
		wg_cookie_reply_create(
			&device->checker, message, len, in->from, in->now_ns, &reply);
		device->host.send(device->ctx, NULL, in->from, &reply, sizeof(reply));
		return WG_VERDICT_COOKIE_SENT;
	}
	if (!wg_ratelimit_allow(&device->ratelimit, &in->from->addr, in->now_ns))
		return WG_VERDICT_RATE_LIMIT;
	in->is_charged = true;
	return WG_VERDICT_OK;
}

/* The peer proved itself with a handshake message. */
static void heard(const struct input *in, struct wg_peer *peer, size_t len)
{
	if (in->is_charged)
		wg_ratelimit_give_back(&in->device->ratelimit, &in->from->addr);
	peer->timers.heard_ns = peer->timers.handshake_traffic_ns = in->now_ns;
	peer->rx_bytes += len;
	wg_peer_endpoint_seen(peer, in->from, in->now_ns);
}

/* Is the authenticated initiation one to answer? */
static enum wg_verdict check_freshness(
	const struct input *in, const struct wg_peer *peer, const uint8_t timestamp[])
{
	if (memcmp(timestamp, peer->newest_timestamp, WG_TIMESTAMP_BYTES) <= 0)
		return WG_VERDICT_REPLAY;
	if (peer->initiation_accepted_ns &&
		in->now_ns < peer->initiation_accepted_ns + WG_INITIATION_GAP_NS)
		return WG_VERDICT_FLOOD;
	return WG_VERDICT_OK;
}

static enum wg_verdict answer(const struct input *in, struct wg_peer *peer,
	struct wg_noise_request *request, const struct wg_initiation *message)
{
	struct wg_device *device = in->device;
	struct wg_keypair *keypair = wg_slab_take(device->slab);
	uint8_t timestamp[WG_TIMESTAMP_BYTES];
	struct wg_noise_keys keys;
	struct wg_response response;

	if (!keypair)
		return WG_VERDICT_NO_MEMORY;
	if (wg_index_take(device->indices, peer->owner, keypair, &keypair->local_index) < 0) {
		wg_slab_give(device->slab, keypair);
		return WG_VERDICT_NO_MEMORY;
	}
	memcpy(timestamp, request->timestamp, sizeof(timestamp)); /* the next step wipes it */
	if (!wg_noise_response_create(
		    request, &peer->remote, message, keypair->local_index, &response, &keys)) {
		wg_index_release(device->indices, keypair->local_index);
		wg_slab_give(device->slab, keypair);
		return WG_VERDICT_FORGED;
	}
	memcpy(peer->newest_timestamp, timestamp, sizeof(timestamp));
	peer->initiation_accepted_ns = in->now_ns;
	heard(in, peer, sizeof(*message));
	keypair->remote_index_le32 = message->sender_index_le32;
	/* Before the answer leaves: what it provokes must find the keypair. */
	session_begin(peer, keypair, &keys, in->now_ns);
	base_wipe(&keys, sizeof(keys));
	wg_cookie_macs_add(
		&peer->cookies, &peer->remote.public_key, &response, sizeof(response), in->now_ns);
	send_message(peer, &response, sizeof(response), in->now_ns);
	return WG_VERDICT_OK;
}

/* Initiations crossed during a rekey: one session is enough, see the top. */
static void yield_if_crossed(const struct input *in, struct wg_peer *peer)
{
	if (peer->handshake && wg_timers_has_session(&peer->timers, in->now_ns) &&
		memcmp(in->device->identity.public_key.bytes, peer->remote.public_key.bytes,
			CR_KEY_BYTES) < 0)
		wg_handshake_drop(peer); /* its retry stays, in case theirs does not complete */
}

static enum wg_verdict consume_initiation(struct input *in, const struct wg_initiation *message)
{
	enum wg_verdict verdict = check_macs(in, message, sizeof(*message));
	struct wg_noise_request request;
	struct wg_peer *peer;

	if (verdict != WG_VERDICT_OK)
		return verdict;
	if (!wg_noise_initiation_open(&request, &in->device->identity, message))
		return WG_VERDICT_FORGED;
	peer = wg_peer_find(in->device, &request.static_public);
	if (peer)
		wg_noise_remote_complete(&peer->remote, &in->device->identity);
	if (!peer)
		verdict = WG_VERDICT_UNKNOWN_PEER;
	else if (!wg_noise_initiation_accept(&request, &peer->remote, message))
		verdict = WG_VERDICT_FORGED;
	else
		verdict = check_freshness(in, peer, request.timestamp);
	if (verdict == WG_VERDICT_OK) {
		yield_if_crossed(in, peer);
		verdict = answer(in, peer, &request, message);
		wg_peer_schedule(peer, in->now_ns);
	}
	wg_noise_request_fini(&request);
	return verdict;
}

static enum wg_verdict consume_response(struct input *in, const struct wg_response *message)
{
	enum wg_verdict verdict = check_macs(in, message, sizeof(*message));
	struct wg_device *device = in->device;
	struct wg_keypair *keypair;
	struct wg_noise_keys keys;
	struct wg_peer *peer;
	bool is_mapped;

	if (verdict != WG_VERDICT_OK)
		return verdict;
	peer = peer_by_index(device, message->receiver_index_le32);
	if (!peer)
		return WG_VERDICT_UNKNOWN_INDEX;
	if (!wg_noise_response_accept(
		    peer->handshake, &device->identity, &peer->remote, message, &keys))
		return WG_VERDICT_FORGED;
	keypair = wg_slab_take(device->slab);
	if (!keypair) {
		base_wipe(&keys, sizeof(keys));
		return WG_VERDICT_NO_MEMORY;
	}
	/* The handshake's index becomes the keypair's. */
	keypair->local_index = peer->handshake->local_index;
	keypair->remote_index_le32 = message->sender_index_le32;
	keypair->is_initiator = true;
	is_mapped = wg_index_replace(device->indices, keypair->local_index, keypair);
	assert(is_mapped);
	(void)is_mapped;
	handshake_free(peer);
	heard(in, peer, sizeof(*message));
	session_begin(peer, keypair, &keys, in->now_ns);
	base_wipe(&keys, sizeof(keys));
	wg_peer_schedule(peer, in->now_ns);
	return WG_VERDICT_OK;
}

/*
 * A cookie answers our last message to the peer, an initiation or a response. An initiation
 * goes out again at once, with the cookie, if it had none: one extra message per REKEY_TIMEOUT
 * instead of five seconds of waiting. Within the paper's 6.2 that is one attempt, not a new
 * one: the first message was refused unread, and a cookie that does not help waits.
 */
static enum wg_verdict consume_cookie(const struct input *in, const struct wg_cookie_reply *message)
{
	struct wg_peer *peer = peer_by_index(in->device, message->receiver_index_le32);
	struct wg_keypair *keypair = wg_keypair_by_index(in->device, message->receiver_index_le32);
	bool is_initiation = peer != NULL;

	if (keypair)
		peer = keypair->peer;
	if (!peer || peer->is_dead)
		return WG_VERDICT_UNKNOWN_INDEX;
	if (!wg_cookie_reply_consume(&peer->cookies, &peer->remote.public_key, message, in->now_ns))
		return WG_VERDICT_COOKIE_BAD;
	if (is_initiation && peer->timers.attempt_ns && !peer->cookies.carried_mac2) {
		initiate(peer, in->now_ns);
		wg_peer_schedule(peer, in->now_ns);
	}
	return WG_VERDICT_OK;
}

enum wg_verdict wg_handshake_input(struct wg_device *device, const struct base_endpoint *from,
	const void *message, size_t len, uint64_t now_ns)
{
	struct input in = {device, from, now_ns, false};
	enum wg_verdict verdict = WG_VERDICT_MALFORMED;
	union {
		uint32_t type_le32;
		struct wg_initiation initiation;
		struct wg_response response;
		struct wg_cookie_reply cookie;
	} copy;

	/* Source port 0 can be neither answered nor remembered. */
	if (from->port == 0 || len < sizeof(copy.type_le32) || len > sizeof(copy))
		return wg_device_count(device, verdict);
	memcpy(&copy, message, len);
	/* The whole word: the reserved bytes are part of the type. */
	if (copy.type_le32 == WG_MESSAGE_INITIATION && len == sizeof(copy.initiation))
		verdict = consume_initiation(&in, &copy.initiation);
	else if (copy.type_le32 == WG_MESSAGE_RESPONSE && len == sizeof(copy.response))
		verdict = consume_response(&in, &copy.response);
	else if (copy.type_le32 == WG_MESSAGE_COOKIE && len == sizeof(copy.cookie))
		verdict = consume_cookie(&in, &copy.cookie);
	return wg_device_count(device, verdict);
}

/* --- timers -------------------------------------------------------------------------------- */

static void give_up(struct wg_peer *peer)
{
	struct wg_device *device = peer->device;

	peer->timers.attempt_ns = 0;
	wg_handshake_drop(peer);
	if (wg_device_is_whole(device))
		wg_packet_staged_clear(peer);
	else
		device->host.staged_clear(device->ctx, peer);
}

static void keepalive(struct wg_peer *peer, uint64_t now_ns)
{
	struct wg_device *device = peer->device;

	peer->timers.keepalive_ns = now_ns;
	if (wg_device_is_whole(device))
		wg_packet_keepalive(peer, now_ns);
	else
		device->host.keepalive(device->ctx, peer);
}

static void persistent(struct wg_peer *peer, uint64_t now_ns)
{
	peer->timers.keepalive_ns = now_ns;
	if (wg_timers_has_session(&peer->timers, now_ns))
		keepalive(peer, now_ns);
	else if (!peer->timers.attempt_ns)
		wg_handshake_begin(peer, now_ns);
}

void wg_handshake_tick(struct wg_peer *peer, uint64_t now_ns)
{
	unsigned due = wg_timers_due(&peer->timers, peer->activity, now_ns);

	if (due & WG_TIMERS_WIPE)
		session_end(peer); /* an attempt that is on goes on */
	if (due & WG_TIMERS_GIVE_UP)
		give_up(peer);
	else if (due & WG_TIMERS_INITIATE)
		initiate(peer, now_ns);
	if (due & WG_TIMERS_BEGIN) {
		peer->timers.silence_handled_ns = now_ns;
		wg_handshake_begin(peer, now_ns);
	}
	if (due & WG_TIMERS_PERSISTENT)
		persistent(peer, now_ns);
	else if (due & WG_TIMERS_KEEPALIVE)
		keepalive(peer, now_ns);
	wg_peer_schedule(peer, now_ns);
}
