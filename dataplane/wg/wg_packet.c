/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole-packet door: datagrams in, inner packets out, and back; what the dataplane's workers do
 * in bursts. Thread: the device's.
 *
 * The order of checks on a data message: length and type, index, age of the keypair, tag, replay
 * window; then it is authentic, and moves confirmation, endpoint and times; then the inner packet's
 * own length, and its source among the allowed IPs.
 */
#include "wg_peer.h"

#include <stdlib.h>

/* What the inner headers say, in words wide enough for what they may lie. */
struct inner {
	uint8_t family;
	const uint8_t *source, *destination;
	size_t len; /* header and payload */
};

/* IPv4 or IPv6 whose stated length lies within @len, or false. */
static bool inner_parse(struct inner *ret_inner, const uint8_t *packet, size_t len)
{
	if (len >= 20 && packet[0] >> 4 == 4) {
		*ret_inner = (struct inner){
			BASE_FAMILY_V4, packet + 12, packet + 16, base_load_be16(packet + 2)};
		return ret_inner->len >= 20 && ret_inner->len <= len;
	}
	if (len >= 40 && packet[0] >> 4 == 6) {
		*ret_inner = (struct inner){BASE_FAMILY_V6, packet + 8, packet + 24,
			(size_t)40 + base_load_be16(packet + 4)};
		return ret_inner->len <= len;
	}
	return false;
}

static uint32_t lookup(const struct wg_device *device, uint8_t family, const uint8_t *addr)
{
	return family == BASE_FAMILY_V4 ? wg_allowedips_lookup4(device->allowed_ips, addr)
					: wg_allowedips_lookup6(device->allowed_ips, addr);
}

/* --- out ----------------------------------------------------------------------------------- */

static bool may_send(const struct wg_peer *peer, uint64_t now_ns)
{
	return peer->keypairs.current && wg_keypair_may_send(peer->keypairs.current, now_ns) &&
		peer->timers.has_endpoint;
}

/* Paper 5.4.6: to a multiple of 16, but not past the MTU. */
static size_t padded_len(const struct wg_device *device, size_t len)
{
	size_t padded = (len + WG_PADDING_BYTES - 1) / WG_PADDING_BYTES * WG_PADDING_BYTES;

	if (device->mtu_bytes && padded > device->mtu_bytes)
		padded = len > device->mtu_bytes ? len : device->mtu_bytes;
	return padded;
}

/* Seal under the current keypair, which may_send() has passed, and send. Empty: a keepalive. */
static void seal(struct wg_peer *peer, const void *packet, size_t len, uint64_t now_ns)
{
	struct wg_device *device = peer->device;
	struct wg_keypair *keypair = peer->keypairs.current;
	size_t padded = padded_len(device, len);
	struct wg_data header = {
		.type_le32 = WG_MESSAGE_DATA,
		.receiver_index_le32 = keypair->remote_index_le32,
		.counter_le64 = keypair->send_counter++,
	};
	uint8_t *payload = device->seal_buf + sizeof(header);

	memcpy(device->seal_buf, &header, sizeof(header));
	if (len > 0)
		memcpy(payload, packet, len);
	memset(payload + len, 0, padded - len);
	cr_aead_seal(payload, &keypair->send_key, header.counter_le64, payload, padded, NULL, 0);
	peer->tx_bytes += WG_DATA_OVERHEAD_BYTES + padded;
	wg_activity_sent(peer->activity, now_ns, len > 0);
	device->host.send(device->ctx, peer, &peer->endpoint, device->seal_buf,
		WG_DATA_OVERHEAD_BYTES + padded);
	if (wg_keypair_wants_rekey_on_send(keypair, now_ns))
		wg_peer_want_handshake(peer, now_ns);
}

void wg_packet_keepalive(struct wg_peer *peer, uint64_t now_ns)
{
	if (may_send(peer, now_ns))
		seal(peer, NULL, 0, now_ns);
	else
		wg_peer_want_handshake(peer, now_ns);
}

static void staged_drop_first(struct wg_peer *peer)
{
	struct wg_staged *first = peer->staged_first;

	peer->staged_first = first->next;
	if (!first->next)
		peer->staged_end = &peer->staged_first;
	peer->n_staged--;
	peer->staged_bytes -= first->len;
	base_wipe(first->bytes, first->len);
	free(first);
}

void wg_packet_staged_clear(struct wg_peer *peer)
{
	while (peer->staged_first)
		staged_drop_first(peer);
}

/* Keep a copy until there is a session; the oldest make room. Without memory it is lost. */
static void stage(struct wg_peer *peer, const void *packet, size_t len)
{
	struct wg_staged *staged = malloc(sizeof(*staged) + len);

	if (!staged)
		return;
	staged->next = NULL;
	staged->len = len;
	memcpy(staged->bytes, packet, len);
	*peer->staged_end = staged;
	peer->staged_end = &staged->next;
	peer->n_staged++;
	peer->staged_bytes += len;
	while (peer->n_staged > WG_STAGED_PKTS_MAX || peer->staged_bytes > WG_STAGED_BYTES_MAX)
		staged_drop_first(peer);
}

static void staged_send(struct wg_peer *peer, uint64_t now_ns)
{
	while (peer->staged_first && may_send(peer, now_ns)) {
		seal(peer, peer->staged_first->bytes, peer->staged_first->len, now_ns);
		staged_drop_first(peer);
	}
}

static enum wg_verdict output(
	struct wg_device *device, const void *packet, size_t len, uint64_t now_ns)
{
	struct wg_peer *peer;
	struct inner inner;
	uint32_t number;

	if (!inner_parse(&inner, packet, len) ||
		inner.len > WG_MESSAGE_BYTES_MAX - WG_DATA_OVERHEAD_BYTES - WG_PADDING_BYTES)
		return WG_VERDICT_OUT_MALFORMED;
	number = lookup(device, inner.family, inner.destination);
	if (number == WG_PEER_NONE)
		return WG_VERDICT_OUT_NO_PEER;
	peer = device->numbers[number];
	if (may_send(peer, now_ns)) {
		seal(peer, packet, inner.len, now_ns);
		return WG_VERDICT_OK;
	}
	stage(peer, packet, inner.len);
	wg_peer_want_handshake(peer, now_ns);
	return WG_VERDICT_OUT_STAGED;
}

enum wg_verdict wg_output(struct wg_device *device, const void *packet, size_t len, uint64_t now_ns)
{
	return wg_device_count(device, output(device, packet, len, now_ns));
}

/* --- keypairs ------------------------------------------------------------------------------- */

static void put_dead(struct wg_device *device, struct wg_keypair *const dead[], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		wg_keypair_put(device, dead[i]);
}

void wg_packet_session_begin(struct wg_peer *peer, struct wg_keypair *keypair, uint64_t now_ns)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	unsigned n_dead = wg_keypairs_begin(&peer->keypairs, keypair, dead);

	put_dead(peer->device, dead, n_dead);
	wg_activity_session(peer->activity);
	if (!keypair->is_initiator)
		return;
	/* The first message confirms the session to the responder. */
	if (peer->staged_first)
		staged_send(peer, now_ns);
	else
		wg_packet_keepalive(peer, now_ns);
}

void wg_packet_keypairs_clear(struct wg_peer *peer)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	unsigned n_dead = wg_keypairs_clear(&peer->keypairs, dead);

	put_dead(peer->device, dead, n_dead);
}

/* --- in ------------------------------------------------------------------------------------ */

/* A message of the peer was authenticated under @keypair. */
static void authenticated(struct wg_peer *peer, struct wg_keypair *keypair,
	const struct base_endpoint *from, bool is_data, uint64_t now_ns)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	bool is_first;
	unsigned n_dead = wg_keypairs_confirm(&peer->keypairs, keypair, dead, &is_first);

	put_dead(peer->device, dead, n_dead);
	wg_peer_endpoint_seen(peer, from, now_ns);
	wg_activity_received(peer->activity, now_ns, is_data);
	if (is_first) {
		wg_peer_confirmed(peer, now_ns);
		staged_send(peer, now_ns);
	}
	/* A previous keypair may well be old: only the current one's age asks for a new one. */
	if (keypair == peer->keypairs.current && wg_keypair_wants_rekey_on_receive(keypair, now_ns))
		wg_peer_want_handshake(peer, now_ns);
}

static enum wg_verdict data_input(struct wg_device *device, const struct base_endpoint *from,
	const uint8_t *message, size_t len, uint64_t now_ns)
{
	struct wg_keypair *keypair;
	struct wg_peer *peer;
	struct wg_data header;
	struct inner inner;

	if (len < WG_DATA_OVERHEAD_BYTES || len > WG_MESSAGE_BYTES_MAX)
		return WG_VERDICT_DATA_MALFORMED;
	memcpy(&header, message, sizeof(header));
	len -= sizeof(header);
	keypair = wg_keypair_by_index(device, header.receiver_index_le32);
	if (!keypair)
		return WG_VERDICT_DATA_UNKNOWN_INDEX;
	if (!wg_keypair_may_receive(keypair, now_ns))
		return WG_VERDICT_DATA_STALE;
	if (!cr_aead_open(device->open_buf, &keypair->recv_key, header.counter_le64,
		    message + sizeof(header), len, NULL, 0))
		return WG_VERDICT_DATA_FORGED;
	len -= CR_TAG_BYTES;
	if (!wg_replay_accept(&keypair->replay, header.counter_le64))
		return WG_VERDICT_DATA_REPLAY;
	peer = keypair->peer;
	peer->rx_bytes += WG_DATA_OVERHEAD_BYTES + len;
	authenticated(peer, keypair, from, len > 0, now_ns);
	if (len == 0)
		return WG_VERDICT_OK; /* a keepalive */
	if (!inner_parse(&inner, device->open_buf, len))
		return WG_VERDICT_DATA_INNER;
	if (lookup(device, inner.family, inner.source) != peer->number)
		return WG_VERDICT_DATA_SOURCE;
	device->host.deliver(device->ctx, peer, device->open_buf, inner.len);
	return WG_VERDICT_OK;
}

enum wg_verdict wg_input(struct wg_device *device, const struct base_endpoint *from,
	const void *message, size_t len, uint64_t now_ns)
{
	if (len < sizeof(uint32_t) || base_load_le32(message) != WG_MESSAGE_DATA)
		return wg_handshake_input(device, from, message, len, now_ns);
	return wg_device_count(device, data_input(device, from, message, len, now_ns));
}
