/* SPDX-License-Identifier: BSD-3-Clause */
/* See dp_relay.h. */
#include "dp_relay.h"

#include "dp_dataplane.h"

#include <stdlib.h>

#include <rte_ring.h>

/* Given to control in one service. */
#define MESSAGES_PER_SERVICE 256
#define CLASS_E 0xf0000000u
/* Any but zero, which nobody can be answered at. */
#define RELAY_PORT 1
static_assert(DP_PEERS_MAX < 1u << 28, "each peer has an address of class E");

struct dp_relay *dp_relay_new(void)
{
	struct dp_relay *relay = calloc(1, sizeof(*relay));

	if (!relay)
		return NULL;
	relay->out = rte_ring_create("dp_relay", DP_RING_RELAY, SOCKET_ID_ANY, 0);
	if (!relay->out) {
		free(relay);
		return NULL;
	}
	dp_admit_init(&relay->admit);
	return relay;
}

void dp_relay_free(struct dp_relay *relay)
{
	void *m;

	if (!relay)
		return;
	while (rte_ring_dequeue(relay->out, &m) == 0)
		rte_pktmbuf_free(m);
	rte_ring_free(relay->out);
	free(relay);
}

void dp_relay_open(struct dp_relay *relay, struct dp_port *port, unsigned n_workers)
{
	*port = (struct dp_port){.kind = DP_PORT_NULL,
		.device = "relay",
		.relay = relay,
		.n_queues = (uint16_t)n_workers,
		.tx_burst = DP_BURST};
	atomic_store_explicit(&port->is_open, true, memory_order_release);
}

struct base_endpoint dp_relay_endpoint(uint32_t number)
{
	struct base_endpoint endpoint = {.addr.family = BASE_FAMILY_V4, .port = RELAY_PORT};

	base_store_be32(endpoint.addr.bytes, CLASS_E | number);
	return endpoint;
}

bool dp_relay_has(const struct base_addr *addr)
{
	return addr->family == BASE_FAMILY_V4 && addr->bytes[0] >= CLASS_E >> 24;
}

/* --- worker ------------------------------------------------------------------------------------ */

void dp_relay_nexthop(struct dp_nexthop *ret_nexthop, uint16_t port)
{
	*ret_nexthop = (struct dp_nexthop){
		.state = DP_NEXTHOP_OK,
		.port = port,
		.mtu_bytes = UINT16_MAX,
		.src_addr.family = BASE_FAMILY_V4,
	};
}

/* The newest is worth most: what it displaces was sent again by now, or is too late. */
static bool put(struct dp_relay *relay, struct rte_mbuf *m)
{
	void *oldest;

	if (likely(rte_ring_enqueue(relay->out, m) == 0))
		return true;
	if (rte_ring_dequeue(relay->out, &oldest) == 0) {
		rte_pktmbuf_free(oldest);
		atomic_fetch_add_explicit(&relay->dropped, 1, memory_order_relaxed);
	}
	return rte_ring_enqueue(relay->out, m) == 0;
}

void dp_relay_put(struct dp_relay *relay, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (put(relay, pkts[i]))
			continue;
		/* Others were quicker to take the place that was made. */
		rte_pktmbuf_free(pkts[i]);
		atomic_fetch_add_explicit(&relay->dropped, 1, memory_order_relaxed);
	}
}

/* --- control, to relays ------------------------------------------------------------------------ */

#define RELAY_HEADERS (DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES)

/* A peer that was removed meanwhile has no key to send to; a number that is another's now leads to one who cannot open it. */
static void deliver(struct dp *dp, const struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t number = base_load_be32(frame + DP_ETH_BYTES + 16) & ~CLASS_E;
	const struct dp_peer *peer =
		number < dp->peers.n_numbers ? dp->peers.by_number[number] : NULL;

	if (!peer || !dp->callbacks.relay) {
		dp_counter_add(&dp->control_counters.drop_pkts[DP_DROP_PEER_GONE], 1);
		return;
	}
	dp->callbacks.relay(dp->ctx, &peer->public_key, frame + RELAY_HEADERS,
		rte_pktmbuf_data_len(m) - RELAY_HEADERS);
}

void dp_relay_service(struct dp *dp)
{
	struct rte_mbuf *pkts[DP_BURST];
	unsigned n, left = 0;

	for (unsigned done = 0; done < MESSAGES_PER_SERVICE; done += DP_BURST) {
		n = rte_ring_dequeue_burst(dp->relay->out, (void **)pkts, DP_BURST, &left);
		if (done == 0)
			dp_queue_seen(&dp->control_counters, DP_QUEUE_RELAY, n + left);
		for (unsigned i = 0; i < n; i++) {
			deliver(dp, pkts[i]);
			rte_pktmbuf_free(pkts[i]);
		}
		if (left == 0)
			return;
	}
	dp_events_again(dp->events);
}

/* --- control, from relays ---------------------------------------------------------------------- */

/* As if it came by a port, from the peer's address behind the relay, to no address of ours. */
static void write_headers(uint8_t *frame, const struct dp_peer *peer, uint16_t listen_port)
{
	struct base_endpoint from = dp_relay_endpoint(peer->number);

	memset(frame, 0, RELAY_HEADERS);
	base_store_be16(frame + 12, 0x0800);
	frame[DP_ETH_BYTES] = 0x45;
	memcpy(frame + DP_ETH_BYTES + 12, from.addr.bytes, 4);
	base_store_be16(frame + DP_ETH_BYTES + DP_IP4_BYTES, from.port);
	base_store_be16(frame + DP_ETH_BYTES + DP_IP4_BYTES + 2, listen_port);
}

static struct dp_pkt place_of(size_t len)
{
	return (struct dp_pkt){
		.payload_off = RELAY_HEADERS,
		.payload_len = (uint16_t)len,
		.ip_off = DP_ETH_BYTES,
		.family = BASE_FAMILY_V4,
	};
}

static int drop(struct dp *dp, enum dp_drop reason)
{
	dp_counter_add(&dp->control_counters.drop_pkts[reason], 1);
	return -ENOBUFS;
}

static int handshake_input(
	struct dp *dp, const struct dp_peer *peer, const void *message, size_t len)
{
	struct base_endpoint from = dp_relay_endpoint(peer->number);
	struct dp_message copy = {.p = place_of(len), .len = (uint16_t)(RELAY_HEADERS + len)};

	if (!dp_admit_addr(&dp->relay->admit, &from.addr, dp_now_ns(dp)))
		return drop(dp, DP_DROP_HANDSHAKE_SOURCE);
	write_headers(copy.frame, peer, dp->config.listen_port);
	memcpy(copy.frame + RELAY_HEADERS, message, len);
	/* The relay has checked the sender's key, so it is nobody with an invented address. */
	if (rte_ring_enqueue_elem(dp_handshake_expected_ring(dp->handshake), &copy, sizeof(copy)))
		return drop(dp, DP_DROP_HANDSHAKE_FULL);
	dp_idle_wake(dp_handshake_idle(dp->handshake));
	return 0;
}

static int data_input(struct dp *dp, const struct dp_peer *peer, const void *message, size_t len)
{
	uint32_t index = base_load_le32(
		(const uint8_t *)message + offsetof(struct wg_data, receiver_index_le32));
	unsigned owner = wg_index_owner(index);
	struct rte_mbuf *m;
	uint8_t *frame;

	if (owner >= dp->n_workers)
		return drop(dp, DP_DROP_UNKNOWN_INDEX);
	m = rte_pktmbuf_alloc(dp->pool);
	if (!m)
		return drop(dp, DP_DROP_NO_MBUF);
	frame = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(RELAY_HEADERS + len));
	if (!frame) {
		rte_pktmbuf_free(m);
		return drop(dp, DP_DROP_BAD_UDP_LENGTH);
	}
	write_headers(frame, peer, dp->config.listen_port);
	memcpy(frame + RELAY_HEADERS, message, len);
	*dp_pkt(m) = place_of(len);
	if (rte_ring_enqueue(dp->workers[owner].handover_ring, m) != 0) {
		rte_pktmbuf_free(m);
		return drop(dp, DP_DROP_HANDOVER_FULL);
	}
	dp_idle_wake(dp->workers[owner].idle);
	return 0;
}

int dp_relay_input(struct dp *dp, const struct cr_key *source, const void *message, size_t len)
{
	const struct dp_peer *peer = dp_peers_find(&dp->peers, source);
	unsigned kind;

	if (!peer || !peer->has_probes)
		return -ENOENT;
	kind = len <= UINT16_MAX ? dp_rx_message(message, (uint32_t)len)
				 : (unsigned)DP_DROP_BAD_UDP_LENGTH;
	if (kind == DP_RX_HANDSHAKE)
		return handshake_input(dp, peer, message, len);
	if (kind == DP_RX_DATA)
		return data_input(dp, peer, message, len);
	/* Path probes by relay are control's, which looks at them first. */
	drop(dp, kind < DP_DROP_COUNT ? (enum dp_drop)kind : DP_DROP_UNKNOWN_TYPE);
	return -EINVAL;
}
