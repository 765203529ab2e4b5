/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Last stage: the way to an outer address, headers in front, bursts out. A frame whose neighbour is not known
 * waits here (bounded in number and time) while control has the kernel ask for it. Worker.
 */
#include "dp_worker.h"

#include "dp_dataplane.h"
#include "dp_port_io.h"

static void lookup(const struct dp_worker *worker, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop)
{
	if (dp_relay_has(dst))
		dp_relay_nexthop(ret_nexthop, (uint16_t)(worker->n_ports - 1));
	else
		worker->dp->nexthop_lookup(worker->view, dst, src, ret_nexthop);
}

/*
 * Ask for a gateway once a round at most, and for few in one; the handshake thread passes it to control,
 * which merges further. False: no room, ask again.
 */
static bool want_gateway(struct dp_worker *worker, const struct dp_nexthop *nexthop)
{
	for (unsigned i = 0; i < worker->n_wanted_gateways; i++) {
		const struct dp_note *wanted = &worker->wanted_gateways[i];

		if (wanted->port == nexthop->port &&
			base_addr_equal(&wanted->where.addr, &nexthop->gateway))
			return true;
	}
	if (worker->n_wanted_gateways == DP_WANTED_GATEWAYS_MAX)
		return false;
	worker->wanted_gateways[worker->n_wanted_gateways++] = (struct dp_note){
		.port = nexthop->port,
		.where = {.addr = nexthop->gateway},
	};
	return true;
}

bool dp_tx_prepare(struct dp_worker *worker, struct dp_outer *outer, const struct dp_from *from)
{
	struct base_endpoint to;
	struct base_addr local;
	struct dp_nexthop nexthop;

	if (likely(outer->generation == worker->generation || outer->made_round == worker->round))
		return outer->len != 0;
	to = dp_from_endpoint(from);
	local = dp_from_local(from);
	lookup(worker, &to.addr, local.family == BASE_FAMILY_NONE ? NULL : &local, &nexthop);
	dp_outer_make(outer, &nexthop, from, worker->listen_port, worker->dp->flow_seed);
	outer->generation = worker->generation;
	/* A neighbour on link is kept alive only if somebody wants it, even one that is known already;
	 * without room to say so, the next round comes by here again. Routers are wanted as it is. */
	if (nexthop.state == DP_NEXTHOP_OK && base_addr_equal(&nexthop.gateway, &to.addr) &&
		!want_gateway(worker, &nexthop)) {
		outer->generation = 0;
		outer->made_round = worker->round;
	}
	return outer->len != 0;
}

static void send_burst(struct dp_worker *worker, uint16_t port, struct dp_tx_buffer *buffer)
{
	struct dp_port *out = &worker->ports[port];
	uint64_t bytes = buffer->bytes;
	unsigned sent;

	if (dp_tap_is_on(&worker->counters.tap))
		sent = dp_trace_send(worker, port, buffer->pkts, buffer->n);
	else
		sent = dp_port_send(out, worker->id, buffer->pkts, buffer->n);
	for (unsigned i = sent; i < buffer->n; i++) {
		bytes -= rte_pktmbuf_pkt_len(buffer->pkts[i]);
		dp_drop(&worker->counters,
			dp_port_is_open(out) ? DP_DROP_TX_FULL : DP_DROP_PORT_GONE,
			buffer->pkts[i]);
	}
	worker->control_got_work |= out->relay != NULL;
	dp_counter_add(&worker->counters.tx_pkts, sent);
	dp_counter_add(&worker->counters.tx_bytes, bytes);
	dp_counter_add(&worker->counters.tx_bursts, 1);
	dp_burst_count(&worker->counters, DP_BURST_TX, buffer->n);
}

/* The port has fewer queues than there are workers: a neighbour of ours sends for us. */
static void lend_burst(struct dp_worker *worker, uint16_t port, struct dp_tx_buffer *buffer)
{
	unsigned sender = worker->id % worker->ports[port].n_queues, sent;

	for (unsigned i = 0; i < buffer->n; i++)
		buffer->pkts[i]->port = port;
	if (dp_tap_is_on(&worker->counters.tap)) {
		for (unsigned i = 0; i < buffer->n; i++)
			dp_trace_end(&worker->counters, DP_VERDICT_HANDED_OVER, DP_PLACE_TX,
				buffer->pkts[i]);
	}
	sent = rte_ring_enqueue_burst(
		worker->workers[sender].outer_ring, (void **)buffer->pkts, buffer->n, NULL);
	for (unsigned i = sent; i < buffer->n; i++)
		dp_drop(&worker->counters, DP_DROP_TX_FULL, buffer->pkts[i]);
	worker->woken_workers |= UINT64_C(1) << sender;
}

static void send_buffer(struct dp_worker *worker, uint16_t port)
{
	struct dp_tx_buffer *buffer = &worker->tx[port];

	if (worker->id < worker->ports[port].n_queues)
		send_burst(worker, port, buffer);
	else
		lend_burst(worker, port, buffer);
	buffer->n = 0;
	buffer->bytes = 0;
}

static inline void push(struct dp_worker *worker, uint16_t port, struct rte_mbuf *m)
{
	struct dp_tx_buffer *buffer = &worker->tx[port];

	buffer->pkts[buffer->n++] = m;
	buffer->bytes += rte_pktmbuf_pkt_len(m);
	if (buffer->n == worker->ports[port].tx_burst)
		send_buffer(worker, port);
}

/* The outer destination of a frame of ours, which always has the plain headers of dp_outer.c. */
static struct base_addr destination(const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, DP_ETH_BYTES);

	if (ip[0] >> 4 == 4)
		return base_addr_from_bytes(BASE_FAMILY_V4, ip + 16);
	return base_addr_from_bytes(BASE_FAMILY_V6, ip + 24);
}

static struct base_addr source(const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, DP_ETH_BYTES);

	if (ip[0] >> 4 == 4)
		return base_addr_from_bytes(BASE_FAMILY_V4, ip + 12);
	return base_addr_from_bytes(BASE_FAMILY_V6, ip + 8);
}

/* Send a waiting frame if its way is known by now. False: keep waiting. */
static bool try_waiting(struct dp_worker *worker, const struct dp_waiting *waiting)
{
	struct base_addr dst = destination(waiting->pkt), src = source(waiting->pkt);
	struct dp_nexthop nexthop;

	lookup(worker, &dst, &src, &nexthop);
	if (nexthop.state == DP_NEXTHOP_UNRESOLVED)
		want_gateway(worker, &nexthop);
	if (nexthop.state == DP_NEXTHOP_OK) {
		dp_outer_set_macs(rte_pktmbuf_mtod(waiting->pkt, uint8_t *), &nexthop);
		push(worker, nexthop.port, waiting->pkt);
		return true;
	}
	if (nexthop.state != DP_NEXTHOP_UNRESOLVED) {
		dp_drop_at(&worker->counters, DP_DROP_NO_ROUTE, DP_PLACE_TX, waiting->pkt);
		return true;
	}
	if (worker->now_ns - waiting->since_ns >= DP_NEIGHBOUR_WAIT_NS) {
		dp_drop(&worker->counters, DP_DROP_NEIGHBOUR_TIMEOUT, waiting->pkt);
		return true;
	}
	return false;
}

/* Frames that wait: looked at when the underlay has changed or the oldest is too old. */
static void work_waiting(struct dp_worker *worker)
{
	unsigned kept = 0;

	if (worker->waiting_generation == worker->generation &&
		worker->now_ns - worker->waiting[0].since_ns < DP_NEIGHBOUR_WAIT_NS)
		return;
	worker->waiting_generation = worker->generation;
	for (unsigned i = 0; i < worker->n_waiting; i++) {
		if (!try_waiting(worker, &worker->waiting[i]))
			worker->waiting[kept++] = worker->waiting[i];
	}
	worker->n_waiting = kept;
}

static void wait_for_neighbour(struct dp_worker *worker, struct rte_mbuf *m)
{
	struct base_addr dst = destination(m), src = source(m);
	struct dp_nexthop nexthop;

	lookup(worker, &dst, &src, &nexthop);
	if (nexthop.state == DP_NEXTHOP_UNRESOLVED)
		want_gateway(worker, &nexthop);
	if (worker->n_waiting == DP_NEIGHBOUR_PKTS_MAX) {
		dp_drop(&worker->counters, DP_DROP_NEIGHBOUR_FULL, m);
		return;
	}
	if (dp_tap_is_on(&worker->counters.tap))
		dp_trace_end(&worker->counters, DP_VERDICT_WAITING, DP_PLACE_TX, m);
	if (worker->n_waiting == 0)
		worker->waiting_generation = worker->generation;
	worker->waiting[worker->n_waiting++] =
		(struct dp_waiting){.pkt = m, .since_ns = worker->now_ns};
}

/* A whole frame. */
static inline void send_frame(
	struct dp_worker *worker, const struct dp_outer *outer, struct rte_mbuf *m)
{
	dp_outer_sum(outer, rte_pktmbuf_mtod(m, uint8_t *), rte_pktmbuf_data_len(m) - outer->len);
	if (likely(outer->state == DP_NEXTHOP_OK))
		push(worker, outer->port, m);
	else
		wait_for_neighbour(worker, m);
}

static void write_headers(const struct dp_outer *outer, struct rte_mbuf *m)
{
	uint32_t len = rte_pktmbuf_data_len(m);

	dp_outer_write(outer, rte_pktmbuf_mtod(m, uint8_t *) - outer->len, len, dp_pkt(m)->ds);
	m->data_off = (uint16_t)(m->data_off - outer->len);
	m->data_len = (uint16_t)(len + outer->len);
	m->pkt_len = len + outer->len;
}

void dp_tx_payload(struct dp_worker *worker, const struct dp_outer *outer, struct rte_mbuf *m)
{
	write_headers(outer, m);
	send_frame(worker, outer, m);
}

/* The same message by the relay: the path that it takes first may be dead, and WireGuard drops what it has seen. */
static void send_double(
	struct dp_worker *worker, const struct dp_peer *peer, const struct rte_mbuf *frame)
{
	const uint32_t skip = peer->outer.len, len = rte_pktmbuf_data_len(frame) - skip;
	struct base_endpoint to = dp_relay_endpoint(peer->number);
	struct dp_from from = dp_from_make(&to);
	struct rte_mbuf *m = rte_pktmbuf_alloc(worker->pool);
	struct dp_outer outer = {0};

	if (!m) {
		dp_counter_add(&worker->counters.drop_pkts[DP_DROP_RELAY_FULL], 1);
		return;
	}
	memcpy(rte_pktmbuf_append(m, (uint16_t)len),
		rte_pktmbuf_mtod_offset(frame, const uint8_t *, skip), len);
	dp_pkt(m)->ds = 0;
	dp_tx_prepare(worker, &outer, &from);
	dp_tx_payload(worker, &outer, m);
}

void dp_tx_to_peer(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m)
{
	write_headers(&peer->outer, m);
	if (peer->outer.is_doubled)
		send_double(worker, peer, m);
	send_frame(worker, &peer->outer, m);
}

void dp_tx_sealed(struct dp_worker *worker, const struct dp_batch *batch)
{
	for (unsigned i = 0; i < batch->n; i++) {
		const struct dp_leave *leave = &batch->leaves[i];
		struct rte_mbuf *m = batch->pkts[i];

		m->data_off = leave->data_off;
		m->data_len = leave->len;
		m->pkt_len = leave->len;
		if (likely(leave->is_plain)) {
			push(worker, leave->port, m);
			continue;
		}
		if (batch->peers[i]->outer.is_doubled)
			send_double(worker, batch->peers[i], m);
		send_frame(worker, &batch->peers[i]->outer, m);
	}
}

void dp_tx_flush(struct dp_worker *worker)
{
	bool is_sent = false;

	for (unsigned port = 0; port < worker->n_ports; port++) {
		if (worker->tx[port].n) {
			send_buffer(worker, (uint16_t)port);
			is_sent = true;
		}
	}
	/* The packets themselves were counted when they were finished. */
	if (is_sent)
		dp_worker_mark(worker, DP_STAGE_TX, 0);
}

unsigned dp_tx_poll(struct dp_worker *worker)
{
	struct rte_mbuf *pkts[DP_BURST];
	unsigned left,
		n = rte_ring_dequeue_burst(worker->outer_ring, (void **)pkts, DP_BURST, &left);

	dp_queue_seen(&worker->counters, DP_QUEUE_OUTER, n + left);
	for (unsigned i = 0; i < n; i++)
		push(worker, pkts[i]->port, pkts[i]);
	if (worker->n_waiting)
		work_waiting(worker);
	return n;
}
