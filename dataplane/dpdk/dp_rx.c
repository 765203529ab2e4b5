/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * First stage: a burst from a port's queue, checked from outside in. Every length is compared with
 * what came before the bytes behind it are read. What is left is a WireGuard message: data goes
 * on to dp_steer.c, handshakes to their thread's ring; or a path probe, for control (dp_probe.c). Worker.
 */
#include "dp_worker.h"

#include "dp_dataplane.h"
#include "dp_port_io.h"
#include "dp_probe.h"

#define ETHERTYPE_IP4 0x0800
#define ETHERTYPE_IP6 0x86dd
#define IP4_FRAGMENT_MASK 0x3fff /* "more fragments", and the offset */

/*
 * The IP header. Returns DP_RX_DATA for UDP, and the offset of the UDP header and the number of
 * bytes from there to the end of the IP packet.
 */
static inline unsigned check_ip4(
	const uint8_t *ip, uint32_t len, uint32_t *ret_header, uint32_t *ret_rest)
{
	uint32_t header, total;

	if (len < DP_IP4_BYTES)
		return DP_DROP_SHORT_FRAME;
	header = (ip[0] & 15u) * 4u;
	total = base_load_be16(ip + 2);
	if (ip[0] >> 4 != 4 || header < DP_IP4_BYTES || total < header || total > len)
		return DP_DROP_BAD_IP_HEADER;
	if (base_load_be16(ip + 6) & IP4_FRAGMENT_MASK)
		return DP_DROP_FRAGMENT;
	if (ip[9] != IN_PROTO_UDP)
		return DP_DROP_NOT_TUNNEL;
	*ret_header = header;
	*ret_rest = total - header;
	return DP_RX_DATA;
}

/* No extension headers: the tunnel's peers send none, and a fragment header is one. */
static unsigned check_ip6(const uint8_t *ip, uint32_t len, uint32_t *ret_header, uint32_t *ret_rest)
{
	uint32_t rest;

	if (len < DP_IP6_BYTES)
		return DP_DROP_SHORT_FRAME;
	rest = base_load_be16(ip + 4);
	if (ip[0] >> 4 != 6 || rest > len - DP_IP6_BYTES)
		return DP_DROP_BAD_IP_HEADER;
	if (ip[6] != IN_PROTO_UDP)
		return DP_DROP_NOT_TUNNEL;
	*ret_header = DP_IP6_BYTES;
	*ret_rest = rest;
	return DP_RX_DATA;
}

/* The first word is type and three zero bytes (paper 5.4). */
unsigned dp_rx_message(const uint8_t *payload, uint32_t len)
{
	static const uint32_t handshake_bytes[] = {
		[WG_MESSAGE_INITIATION] = sizeof(struct wg_initiation),
		[WG_MESSAGE_RESPONSE] = sizeof(struct wg_response),
		[WG_MESSAGE_COOKIE] = sizeof(struct wg_cookie_reply),
	};
	uint32_t type;

	if (len < sizeof(type))
		return DP_DROP_UNKNOWN_TYPE;
	type = base_load_le32(payload);
	switch (type) {
	case WG_MESSAGE_DATA:
		return len < WG_DATA_OVERHEAD_BYTES ? (unsigned)DP_DROP_SHORT_DATA : DP_RX_DATA;
	case WG_MESSAGE_INITIATION:
	case WG_MESSAGE_RESPONSE:
	case WG_MESSAGE_COOKIE:
		return len == handshake_bytes[type] ? DP_RX_HANDSHAKE
						    : dp_drop_of_verdict(WG_VERDICT_MALFORMED);
	default:
		break;
	}
	if (dp_probe_is(payload, len))
		return DP_RX_PROBE;
	if ((type & 0xff) >= WG_MESSAGE_INITIATION && (type & 0xff) <= WG_MESSAGE_DATA)
		return DP_DROP_RESERVED_BITS;
	return DP_DROP_UNKNOWN_TYPE;
}

/* From frame to message. Fills struct dp_pkt when it is one. */
static unsigned check_frame(
	const struct dp_worker *worker, const struct dp_rx_queue *queue, struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *), *ip, *udp;
	uint32_t len = rte_pktmbuf_data_len(m), header, rest, udp_len;
	struct dp_pkt *p = dp_pkt(m);
	bool is_ip4;
	unsigned kind;

	if (len < DP_ETH_BYTES + DP_IP4_BYTES || m->nb_segs != 1)
		return DP_DROP_SHORT_FRAME;
	is_ip4 = base_load_be16(frame + 12) == ETHERTYPE_IP4;
	if (!is_ip4 && base_load_be16(frame + 12) != ETHERTYPE_IP6)
		return DP_DROP_NOT_IP;
	ip = frame + DP_ETH_BYTES;
	kind = is_ip4 ? check_ip4(ip, len - DP_ETH_BYTES, &header, &rest)
		      : check_ip6(ip, len - DP_ETH_BYTES, &header, &rest);
	if (kind != DP_RX_DATA)
		return kind;
	udp = ip + header;
	if (rest < DP_UDP_BYTES)
		return DP_DROP_BAD_UDP_LENGTH;
	if (memcmp(udp + 2, &worker->listen_port_be16, 2) != 0)
		return DP_DROP_NOT_TUNNEL;
	/* The payload ends where UDP says, not where the frame does: short frames are padded. */
	udp_len = base_load_be16(udp + 4);
	if (udp_len < DP_UDP_BYTES || udp_len > rest)
		return DP_DROP_BAD_UDP_LENGTH;
	if (worker->ports[queue->port].filters_local && worker->view) {
		struct base_addr dst = base_addr_from_bytes(
			is_ip4 ? BASE_FAMILY_V4 : BASE_FAMILY_V6, ip + (is_ip4 ? 16 : 24));

		if (!dp_underlay_is_local(worker->view, queue->port, &dst))
			return DP_DROP_NOT_LOCAL;
	}
	*p = (struct dp_pkt){
		.payload_off = (uint16_t)(DP_ETH_BYTES + header + DP_UDP_BYTES),
		.payload_len = (uint16_t)(udp_len - DP_UDP_BYTES),
		.ip_off = DP_ETH_BYTES,
		.family = is_ip4 ? BASE_FAMILY_V4 : BASE_FAMILY_V6,
	};
	kind = dp_rx_message(udp + DP_UDP_BYTES, p->payload_len);
	/* Nobody can be answered at port 0 (wireguard-practice.md). */
	return kind == DP_RX_HANDSHAKE && base_load_be16(udp) == 0 ? DP_DROP_SOURCE_PORT : kind;
}

/* Where things lie in a data message over IPv4 without options. */
#define PLAIN_UDP (DP_ETH_BYTES + DP_IP4_BYTES)
#define PLAIN_PAYLOAD (PLAIN_UDP + DP_UDP_BYTES)

/*
 * What nearly all frames are: a data message over IPv4 without options, told by a few comparisons of whole words.
 * What this refuses check_frame() may well take, and it knows the reason; what this takes that takes
 * too, with the same struct dp_pkt.
 */
static inline bool is_plain_data(const struct dp_worker *worker, struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t len = rte_pktmbuf_data_len(m), total, udp_len;

	if (len < PLAIN_PAYLOAD + WG_DATA_OVERHEAD_BYTES || m->nb_segs != 1)
		return false;
	total = base_load_be16(frame + DP_ETH_BYTES + 2);
	udp_len = base_load_be16(frame + PLAIN_UDP + 4);
	/* EtherType, version and header length; fragment, (lifetime,) protocol: in the order of the wire. */
	if ((base_load_le32(frame + 12) & 0xffffff) != 0x450008 ||
		(base_load_le32(frame + DP_ETH_BYTES + 6) & 0xff00ff3f) != IN_PROTO_UDP << 24 ||
		memcmp(frame + PLAIN_UDP + 2, &worker->listen_port_be16, 2) != 0 ||
		base_load_le32(frame + PLAIN_PAYLOAD) != WG_MESSAGE_DATA)
		return false;
	if (total > len - DP_ETH_BYTES || udp_len > total - DP_IP4_BYTES ||
		udp_len < DP_UDP_BYTES + WG_DATA_OVERHEAD_BYTES || total < DP_IP4_BYTES)
		return false;
	*dp_pkt(m) = (struct dp_pkt){
		.payload_off = PLAIN_PAYLOAD,
		.payload_len = (uint16_t)(udp_len - DP_UDP_BYTES),
		.ip_off = DP_ETH_BYTES,
		.family = BASE_FAMILY_V4,
	};
	return true;
}

/* Whom a handshake's answer would go to. */
static bool is_answerable(struct rte_mbuf *m)
{
	struct dp_from from;

	dp_from_read(&from, rte_pktmbuf_mtod(m, const uint8_t *), dp_pkt(m));
	return dp_from_is_answerable(&from);
}

unsigned dp_rx_poll(struct dp_worker *worker, const struct dp_rx_queue *queue)
{
	struct rte_mbuf *pkts[DP_BURST], *handshakes[DP_BURST];
	bool has_filter = worker->ports[queue->port].filters_local && worker->view;
	unsigned n, n_data = 0, n_handshakes = 0;
	uint64_t bytes = 0;

	n = dp_port_receive(&worker->ports[queue->port], queue->queue, pkts, DP_BURST);
	if (n == 0) {
		dp_worker_mark_idle(worker);
		return 0;
	}
	if (dp_tap_is_on(&worker->counters.tap))
		dp_trace_received(worker, queue->port, pkts, n);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	for (unsigned i = 0; i < n; i++) {
		unsigned kind;

		bytes += rte_pktmbuf_pkt_len(pkts[i]);
		if (likely(!has_filter && is_plain_data(worker, pkts[i]))) {
			pkts[n_data++] = pkts[i];
			continue;
		}
		kind = check_frame(worker, queue, pkts[i]);
		if (kind == DP_RX_DATA)
			pkts[n_data++] = pkts[i];
		else if (kind == DP_RX_HANDSHAKE && is_answerable(pkts[i]))
			handshakes[n_handshakes++] = pkts[i];
		else if (kind == DP_RX_PROBE)
			dp_probe_take(worker, &pkts[i], 1);
		else if (kind == DP_RX_HANDSHAKE)
			dp_drop(&worker->counters, DP_DROP_SOURCE_ADDRESS, pkts[i]);
		else
			dp_drop(&worker->counters, (enum dp_drop)kind, pkts[i]);
	}
	dp_counter_add(&worker->counters.rx_pkts, n);
	dp_counter_add(&worker->counters.rx_bytes, bytes);
	dp_counter_add(&worker->counters.rx_bursts, 1);
	dp_burst_count(&worker->counters, DP_BURST_RX, n);
	dp_worker_mark(worker, DP_STAGE_RX, n);
	if (n_handshakes)
		dp_admit(worker, handshakes, n_handshakes);
	if (n_data)
		dp_steer(worker, pkts, n_data);
	return n;
}
