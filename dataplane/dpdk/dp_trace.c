/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the stages show to taps: a packet's outer and inner headers, its WireGuard message, its peer and how it
 * ended, read with every length checked once more, since a dropped packet may be anything. The thread that
 * holds the packet; only while somebody looks. See dp_tap.h; dp_walk.c draws where the hooks are.
 */
#include "base_clock.h"
#include "in_parse.h"
#include "dp_dataplane.h"
#include "dp_port_io.h"
#include "dp_tap.h"

#include <stdlib.h>

#define KIND_BIT(kind) (1u << DP_TAP_##kind)
#define ETHERTYPE_IP4 0x0800
#define ETHERTYPE_IP6 0x86dd

/* What lies at the mbuf's data. */
enum view {
	VIEW_FRAME,   /* Ethernet, sealed */
	VIEW_OPENED,  /* Ethernet, whose message has been opened in place */
	VIEW_INNER,   /* an inner packet */
	VIEW_MESSAGE, /* a WireGuard message without headers */
};

static enum view view_at(enum dp_place place)
{
	switch (place) {
	case DP_PLACE_INNER:
		return VIEW_OPENED;
	case DP_PLACE_DELIVER:
	case DP_PLACE_ENCAP:
	case DP_PLACE_HOST:
		return VIEW_INNER;
	case DP_PLACE_ANSWER:
		return VIEW_MESSAGE;
	default:
		return VIEW_FRAME;
	}
}

static bool is_out(enum dp_place place)
{
	return place >= DP_PLACE_HOST;
}
static_assert(DP_PLACE_HOST > DP_PLACE_DELIVER && DP_PLACE_TX > DP_PLACE_HOST &&
		DP_PLACE_ENCAP > DP_PLACE_HOST && DP_PLACE_ANSWER > DP_PLACE_HOST,
	"in first, then out");

/* Frames sealed by this worker and not sent yet: whose they are and what is in them. By mbuf, and proved by the
 * message's counter; a newer one takes an older one's place. */
#define SEALED_SLOTS 1024

struct sealed {
	const struct rte_mbuf *pkt;
	uint64_t counter;
	uint32_t peer_number;
	struct dp_tap_record inner; /* its inner_ fields */
};

struct dp_trace_sealed {
	struct sealed slots[SEALED_SLOTS];
};

struct dp_trace_sealed *dp_trace_sealed_new(void)
{
	return calloc(1, sizeof(struct dp_trace_sealed));
}

static struct sealed *sealed_slot(struct dp_trace_sealed *cache, const struct rte_mbuf *m)
{
	return &cache->slots[((uintptr_t)m / RTE_CACHE_LINE_SIZE * UINT64_C(0x9e3779b97f4a7c15) >>
				     32) %
		SEALED_SLOTS];
}

/* Reading a packet. */

static void read_inner(struct dp_tap_record *record, const uint8_t *data, uint32_t len)
{
	struct in_packet packet;

	record->inner_len = len;
	if (in_parse(&packet, data, len) != IN_ERROR_OK)
		return;
	record->inner_len = packet.total_len;
	record->inner_src = base_addr_from_bytes((enum base_family)packet.version, packet.src);
	record->inner_dst = base_addr_from_bytes((enum base_family)packet.version, packet.dst);
	record->inner_proto = packet.proto;
	record->inner_src_port = packet.src_port;
	record->inner_dst_port = packet.dst_port;
	record->inner_icmp_type = packet.icmp_type;
	record->inner_tcp_flags = packet.tcp_flags;
}

/* Type, index and counter. The first eight bytes are alike in all but the initiation, whose index is its sender's. */
static void read_message(struct dp_tap_record *record, const uint8_t *message, uint32_t len)
{
	uint32_t type;

	if (len < 8)
		return;
	type = base_load_le32(message);
	if (type < WG_MESSAGE_INITIATION || type > WG_MESSAGE_DATA)
		return;
	record->message_type = (uint8_t)type;
	record->message_index = base_load_le32(message + 4);
	if (type == WG_MESSAGE_RESPONSE && len >= 12)
		record->message_index = base_load_le32(message + 8);
	if (type == WG_MESSAGE_DATA && len >= sizeof(struct wg_data))
		record->message_counter =
			base_load_le64(message + offsetof(struct wg_data, counter_le64));
}

/* Ethernet, IP, UDP, as far as they are there. */
static void read_frame(struct dp_tap_record *record, const uint8_t *frame, uint32_t len)
{
	uint32_t ip_len, udp_off;
	enum base_family family;
	const uint8_t *ip = frame + DP_ETH_BYTES;

	if (len < DP_ETH_BYTES + DP_IP4_BYTES)
		return;
	ip_len = len - DP_ETH_BYTES;
	if (base_load_be16(frame + 12) == ETHERTYPE_IP4 && ip[0] >> 4 == 4) {
		family = BASE_FAMILY_V4;
		udp_off = (ip[0] & 15u) * 4u;
	} else if (base_load_be16(frame + 12) == ETHERTYPE_IP6 && ip[0] >> 4 == 6 &&
		ip_len >= DP_IP6_BYTES) {
		family = BASE_FAMILY_V6;
		udp_off = DP_IP6_BYTES;
	} else {
		return;
	}
	record->outer_src.addr =
		base_addr_from_bytes(family, ip + (family == BASE_FAMILY_V4 ? 12 : 8));
	record->outer_dst.addr =
		base_addr_from_bytes(family, ip + (family == BASE_FAMILY_V4 ? 16 : 24));
	/* A later fragment has no UDP header where one would be. */
	if ((family == BASE_FAMILY_V4 ? ip[9] : ip[6]) != IN_PROTO_UDP ||
		(family == BASE_FAMILY_V4 && (base_load_be16(ip + 6) & 0x1fff)) ||
		udp_off < DP_IP4_BYTES || ip_len < udp_off + DP_UDP_BYTES)
		return;
	record->outer_src.port = base_load_be16(ip + udp_off);
	record->outer_dst.port = base_load_be16(ip + udp_off + 2);
	read_message(record, ip + udp_off + DP_UDP_BYTES, ip_len - udp_off - DP_UDP_BYTES);
}

/* Whose session is this message of? Known to the owner of the index alone. */
static uint32_t peer_of_index(const struct dp_worker *worker, const struct dp_tap_record *record)
{
	const struct wg_keypair *keypair;

	if (!worker || record->message_type != WG_MESSAGE_DATA ||
		wg_index_owner(record->message_index) != worker->id)
		return WG_PEER_NONE;
	keypair = wg_index_lookup(worker->index, record->message_index);
	return keypair ? ((const struct dp_peer *)keypair->owner_data)->number : WG_PEER_NONE;
}

/* Whose inner address is the destination? */
static uint32_t peer_of_destination(
	const struct dp_worker *worker, const struct dp_tap_record *record)
{
	const struct base_addr *dst = &record->inner_dst;

	if (!worker || dst->family == BASE_FAMILY_NONE)
		return WG_PEER_NONE;
	return dst->family == BASE_FAMILY_V4
		? wg_allowedips_lookup4(worker->tables->allowed_ips, dst->bytes)
		: wg_allowedips_lookup6(worker->tables->allowed_ips, dst->bytes);
}

static void look_at_sealed(
	struct dp_look *look, struct dp_trace_sealed *cache, const struct rte_mbuf *m)
{
	const struct sealed *sealed = cache ? sealed_slot(cache, m) : NULL;
	struct dp_tap_record *record = &look->record;

	if (!sealed || sealed->pkt != m || record->message_type != WG_MESSAGE_DATA ||
		sealed->counter != record->message_counter)
		return;
	look->peer_number = sealed->peer_number;
	record->inner_len = sealed->inner.inner_len;
	record->inner_src = sealed->inner.inner_src;
	record->inner_dst = sealed->inner.inner_dst;
	record->inner_src_port = sealed->inner.inner_src_port;
	record->inner_dst_port = sealed->inner.inner_dst_port;
	record->inner_proto = sealed->inner.inner_proto;
	record->inner_icmp_type = sealed->inner.inner_icmp_type;
	record->inner_tcp_flags = sealed->inner.inner_tcp_flags;
}

/* In front of an opened inner packet its frame's headers still lie. */
static void look_at_headers(
	struct dp_look *look, const struct dp_worker *worker, const struct rte_mbuf *m)
{
	uint32_t headers = dp_pkt((struct rte_mbuf *)m)->payload_off + sizeof(struct wg_data);

	if (headers > rte_pktmbuf_headroom(m))
		return;
	read_frame(&look->record, rte_pktmbuf_mtod(m, const uint8_t *) - headers, headers);
	look->peer_number = peer_of_index(worker, &look->record);
}

static void look_at_opened(
	struct dp_look *look, const struct dp_worker *worker, const struct rte_mbuf *m)
{
	const struct dp_pkt *p = dp_pkt((struct rte_mbuf *)m);

	read_frame(&look->record, look->data, look->data_len);
	look->peer_number = peer_of_index(worker, &look->record);
	look->data += p->payload_off + sizeof(struct wg_data);
	look->data_len = p->payload_len - (uint32_t)WG_DATA_OVERHEAD_BYTES;
	read_inner(&look->record, look->data, look->data_len);
	look->data_len = look->record.inner_len;
}

static void look_at(
	struct dp_look *look, const struct dp_tap_point *point, const struct rte_mbuf *m)
{
	struct dp_tap_record *record = &look->record;
	enum dp_place place = (enum dp_place)record->place;

	switch (view_at(place)) {
	case VIEW_FRAME:
		read_frame(record, look->data, look->data_len);
		if (place == DP_PLACE_TX)
			look_at_sealed(look, point->sealed, m);
		else
			look->peer_number = peer_of_index(point->worker, record);
		break;
	case VIEW_OPENED:
		look_at_opened(look, point->worker, m);
		break;
	case VIEW_INNER:
		read_inner(record, look->data, look->data_len);
		if (place == DP_PLACE_DELIVER)
			look_at_headers(look, point->worker, m);
		else
			look->peer_number = peer_of_destination(point->worker, record);
		break;
	case VIEW_MESSAGE:
		read_message(record, look->data, look->data_len);
		break;
	}
}

static struct dp_look look_new(const struct dp_tap_point *point, unsigned kinds, unsigned verdict,
	enum dp_place place, const struct rte_mbuf *m)
{
	struct dp_look look = {.kinds = kinds,
		.peer_number = WG_PEER_NONE,
		.data = rte_pktmbuf_mtod(m, const uint8_t *),
		.data_len = rte_pktmbuf_data_len(m),
		.record = {
			.time_ns = base_clock_now_ns(),
			.place = (uint8_t)place,
			.verdict = (uint8_t)verdict,
			.is_out = is_out(place),
			.worker = point->worker ? (uint16_t)point->worker->id : DP_TAP_NO_WORKER,
			.len = rte_pktmbuf_data_len(m),
		}};

	look_at(&look, point, m);
	return look;
}

/* Hooks. */

void dp_trace_end(
	struct dp_counters *counters, unsigned verdict, enum dp_place place, struct rte_mbuf *m)
{
	struct dp_tap_set *set = dp_tap_enter(&counters->tap);
	unsigned kinds = KIND_BIT(TRACE);
	struct dp_look look;

	if (!set)
		return;
	if (place == DP_PLACE_COUNT)
		place = dp_drop_place(verdict);
	/* Captures of the inner side hold what was dropped there as well. */
	if (dp_verdict_is_drop(verdict) &&
		(view_at(place) == VIEW_INNER || view_at(place) == VIEW_OPENED))
		kinds |= KIND_BIT(INNER);
	look = look_new(&counters->tap, kinds, verdict, place, m);
	dp_taps_write(set, counters->tap.ring, &look);
	dp_taps_publish(set, counters->tap.ring);
	dp_tap_leave(&counters->tap);
}

void dp_trace_received(struct dp_worker *worker, uint16_t port, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_tap_point *point = &worker->counters.tap;
	struct dp_tap_set *set = dp_tap_enter(point);

	if (!set)
		return;
	for (unsigned i = 0; i < n; i++) {
		struct dp_look look =
			look_new(point, KIND_BIT(OUTER), DP_VERDICT_PASSED, DP_PLACE_RX, pkts[i]);

		look.record.port = port;
		dp_taps_write(set, point->ring, &look);
	}
	dp_taps_publish(set, point->ring);
	dp_tap_leave(point);
}

void dp_trace_seal(struct dp_worker *worker)
{
	struct dp_tap_point *point = &worker->counters.tap;
	struct dp_tap_set *set = dp_tap_enter(point);
	const struct dp_batch *batch = &worker->seal;

	if (!set)
		return;
	for (unsigned i = 0; i < batch->n; i++) {
		struct dp_look look = look_new(
			point, KIND_BIT(INNER), DP_VERDICT_PASSED, DP_PLACE_ENCAP, batch->pkts[i]);
		struct sealed *sealed = sealed_slot(point->sealed, batch->pkts[i]);

		look.peer_number = batch->peers[i]->number;
		*sealed = (struct sealed){.pkt = batch->pkts[i],
			.counter = batch->jobs[i].counter,
			.peer_number = look.peer_number,
			.inner = look.record};
		/* A keepalive is a message of the tunnel's own: nothing inner passes. */
		if (look.data_len > 0)
			dp_taps_write(set, point->ring, &look);
	}
	dp_taps_publish(set, point->ring);
	dp_tap_leave(point);
}

/* One by one: a packet must be looked at before the host's thread has it, and what it does not take is
 * not delivered. */
unsigned dp_trace_deliver(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_tap_point *point = &worker->counters.tap;
	struct dp_tap_set *set = dp_tap_enter(point);
	unsigned sent;

	if (!set)
		return rte_ring_enqueue_burst(worker->host_ring, (void **)pkts, n, NULL);
	for (sent = 0; sent < n; sent++) {
		struct dp_look look = look_new(point, KIND_BIT(TRACE) | KIND_BIT(INNER),
			DP_VERDICT_DELIVERED, DP_PLACE_DELIVER, pkts[sent]);

		dp_taps_write(set, point->ring, &look);
		if (rte_ring_enqueue(worker->host_ring, pkts[sent]) != 0) {
			dp_taps_take_back(set, point->ring);
			break;
		}
		dp_taps_publish(set, point->ring);
	}
	dp_tap_leave(point);
	return sent;
}

/* One by one, as above: the port may have given the packet's memory away when it returns. */
unsigned dp_trace_send(struct dp_worker *worker, uint16_t port, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_tap_point *point = &worker->counters.tap;
	struct dp_tap_set *set = dp_tap_enter(point);
	const struct dp_port *out = &worker->ports[port];
	unsigned sent;

	if (!set)
		return dp_port_send(out, worker->id, pkts, n);
	for (sent = 0; sent < n; sent++) {
		struct dp_look look = look_new(point, KIND_BIT(TRACE) | KIND_BIT(OUTER),
			DP_VERDICT_SENT, DP_PLACE_TX, pkts[sent]);

		look.record.port = port;
		dp_taps_write(set, point->ring, &look);
		if (dp_port_send(out, worker->id, &pkts[sent], 1) != 1) {
			dp_taps_take_back(set, point->ring);
			break;
		}
		dp_taps_publish(set, point->ring);
	}
	dp_tap_leave(point);
	return sent;
}
