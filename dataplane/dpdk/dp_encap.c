/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inner packets on their way out: destination to peer, nonce, padding, seal, outer headers. A packet
 * without a usable keypair waits at its peer (bounded, oldest out) while a handshake is asked for.
 *
 * The owner alone takes counters from a keypair, so none is ever used twice and no atomic is
 * needed. Worker. Next to read: dp_tx.c.
 */
#include "dp_ecn.h"
#include "in_parse.h"
#include "dp_worker.h"
#include "dp_dataplane.h"

/* Zero bytes up to a multiple of 16, but not past the MTU (paper 5.4.6). */
static uint32_t padding_of(const struct dp_worker *worker, uint32_t len)
{
	uint32_t padded = RTE_ALIGN_CEIL(len, (uint32_t)WG_PADDING_BYTES);

	if (len <= worker->host_mtu_bytes && padded > worker->host_mtu_bytes)
		padded = worker->host_mtu_bytes;
	return padded - len;
}

static void stage(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m)
{
	if (worker->n_staged >= DP_STAGED_PKTS_MAX && peer->n_staged == 0) {
		dp_drop(&worker->counters, DP_DROP_STAGED_FULL, m);
		return;
	}
	if (worker->n_staged >= DP_STAGED_PKTS_MAX || peer->n_staged >= WG_STAGED_PKTS_MAX) {
		struct rte_mbuf *oldest = peer->staged_first;

		peer->staged_first = oldest->next;
		oldest->next = NULL;
		peer->n_staged--;
		worker->n_staged--;
		dp_drop(&worker->counters, DP_DROP_STAGED_FULL, oldest);
	}
	m->next = NULL;
	if (peer->n_staged)
		peer->staged_last->next = m;
	else
		peer->staged_first = m;
	peer->staged_last = m;
	peer->n_staged++;
	worker->n_staged++;
	if (dp_tap_is_on(&worker->counters.tap))
		dp_trace_end(&worker->counters, DP_VERDICT_STAGED, DP_PLACE_ENCAP, m);
}

static struct rte_mbuf *unstage(struct dp_worker *worker, struct dp_peer *peer)
{
	struct rte_mbuf *m = peer->staged_first;

	peer->staged_first = m->next;
	m->next = NULL;
	peer->n_staged--;
	worker->n_staged--;
	return m;
}

void dp_encap_staged(struct dp_worker *worker, struct dp_peer *peer)
{
	/* As many as there are now: what cannot be sealed after all is staged again, at the end. */
	for (uint32_t n = peer->n_staged; n > 0; n--)
		dp_encap_one(worker, peer, unstage(worker, peer));
}

void dp_encap_staged_drop(struct dp_worker *worker, struct dp_peer *peer, enum dp_drop reason)
{
	while (peer->n_staged)
		dp_drop(&worker->counters, reason, unstage(worker, peer));
}

/* Can this packet leave under the peer's current keypair? Returns DP_DROP_COUNT if so. */
static enum dp_drop prepare(struct dp_worker *worker, struct dp_peer *peer, uint32_t len,
	uint32_t pad, const struct rte_mbuf *m)
{
	if (!dp_tx_prepare(worker, &peer->outer, &peer->from))
		return peer->outer.state == DP_NEXTHOP_OTHER_DEVICE ? DP_DROP_OTHER_DEVICE
								    : DP_DROP_NO_ROUTE;
	if (len + pad + WG_DATA_OVERHEAD_BYTES > dp_outer_room(&peer->outer) ||
		pad + CR_TAG_BYTES > rte_pktmbuf_tailroom(m) ||
		rte_pktmbuf_headroom(m) < DP_HEADROOM_BYTES)
		return DP_DROP_TOO_LARGE;
	return DP_DROP_COUNT;
}

void dp_encap_one(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m)
{
	struct wg_keypair *keypair = peer->keypairs.current;
	struct dp_batch *batch = &worker->seal;
	uint32_t len = rte_pktmbuf_data_len(m), pad = padding_of(worker, len);
	enum dp_drop reason;
	uint8_t *data;

	if (unlikely(peer->from.family == BASE_FAMILY_NONE)) {
		dp_drop(&worker->counters, DP_DROP_NO_ENDPOINT, m);
		return;
	}
	if (unlikely(!keypair || !wg_keypair_may_send(keypair, worker->now_ns))) {
		dp_worker_want_handshake(worker, peer);
		stage(worker, peer, m);
		return;
	}
	reason = prepare(worker, peer, len, pad, m);
	if (unlikely(reason != DP_DROP_COUNT)) {
		dp_drop(&worker->counters, reason, m);
		return;
	}
	data = rte_pktmbuf_mtod(m, uint8_t *);
	/* Now, while it can be read; a keepalive has none. */
	dp_pkt(m)->ds = len > 0 ? dp_ecn_of(data) : DP_ECN_NOT_ECT;
	memset(data + len, 0, pad);
	batch->pkts[batch->n] = m;
	batch->peers[batch->n] = peer;
	batch->keypairs[batch->n] = keypair;
	batch->jobs[batch->n++] = (struct cr_aead_job){
		.key = &keypair->send_key,
		.counter = keypair->send_counter++,
		.src = data,
		.dst = data,
		.len = len + pad,
	};
	dp_counter_add(&worker->counters.sealed_bytes, len);
	if (batch->n == DP_BURST)
		dp_encap_flush(worker);
}

/* Sealed: the data header in front, then the outer ones. */
static void finish(struct dp_worker *worker, struct rte_mbuf *m, struct dp_peer *peer,
	struct wg_keypair *keypair, const struct cr_aead_job *job)
{
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA,
		.receiver_index_le32 = keypair->remote_index_le32,
		.counter_le64 = job->counter};
	uint32_t len = job->len + (uint32_t)WG_DATA_OVERHEAD_BYTES;

	memcpy(job->dst - sizeof(header), &header, sizeof(header));
	m->data_off = (uint16_t)(m->data_off - sizeof(header));
	m->data_len = (uint16_t)len;
	m->pkt_len = len;
	dp_counter_add(&peer->tx_pkts, 1);
	dp_counter_add(&peer->tx_bytes, len);
	wg_activity_sent(&peer->activity, worker->now_ns, job->len > 0);
	if (wg_keypair_wants_rekey_on_send(keypair, worker->now_ns))
		dp_worker_want_handshake(worker, peer);
	dp_tx_payload(worker, &peer->outer, m);
}

void dp_encap_flush(struct dp_worker *worker)
{
	struct dp_batch *batch = &worker->seal;
	unsigned n = batch->n;

	if (n == 0)
		return;
	if (dp_tap_is_on(&worker->counters.tap))
		dp_trace_seal(worker);
	dp_worker_mark(worker, DP_STAGE_ENCAP, n);
	worker->aead_ops->seal(worker->aead, batch->jobs, n);
	dp_worker_mark(worker, DP_STAGE_SEAL, n);
	dp_burst_count(&worker->counters, DP_BURST_SEAL, n);
	for (unsigned i = 0; i < n; i++)
		finish(worker, batch->pkts[i], batch->peers[i], batch->keypairs[i],
			&batch->jobs[i]);
	batch->n = 0;
	dp_counter_add(&worker->counters.sealed_pkts, n);
	dp_worker_mark(worker, DP_STAGE_TX, n);
}

void dp_encap_keepalive(struct dp_worker *worker, struct dp_peer *peer)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(worker->pool);

	if (m)
		dp_encap_one(worker, peer, m);
	else
		dp_counter_add(&worker->counters.drop_pkts[DP_DROP_NO_MBUF], 1);
}

/*
 * The way of a burst, in passes, so that the misses of one packet hide behind the work on others: a thousand
 * peers do not fit the first cache.
 */

/* Pass 1: what it is, and the number of the peer it goes to. Returns DP_DROP_COUNT, or why not. */
static enum dp_drop route(struct dp_worker *worker, struct rte_mbuf *m, struct in_packet *packet,
	uint32_t *ret_number)
{
	const struct wg_allowedips *table = worker->tables->allowed_ips;
	uint32_t len = rte_pktmbuf_data_len(m);

	if (in_parse(packet, rte_pktmbuf_mtod(m, const uint8_t *), len) != IN_ERROR_OK ||
		packet->total_len != len)
		return DP_DROP_OUT_MALFORMED;
	*ret_number = packet->version == 4 ? wg_allowedips_lookup4(table, packet->dst)
					   : wg_allowedips_lookup6(table, packet->dst);
	return *ret_number == WG_PEER_NONE ? DP_DROP_NO_PEER : DP_DROP_COUNT;
}

static unsigned route_all(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_route *routes = worker->routes;
	unsigned n_routed = 0;

	for (unsigned i = 0; i < n; i++) {
		struct dp_route *to = &routes[n_routed];
		enum dp_drop reason = route(worker, pkts[i], &to->packet, &to->number);

		if (reason != DP_DROP_COUNT)
			dp_drop(&worker->counters, reason, pkts[i]);
		else
			pkts[n_routed++] = pkts[i];
	}
	for (unsigned i = 0; i < n_routed; i++) {
		routes[i].peer = dp_tables_peer(worker->tables, routes[i].number);
		if (!routes[i].peer)
			continue;
		rte_prefetch0(routes[i].peer);
		rte_prefetch0(&routes[i].peer->outer);
		rte_prefetch0(&routes[i].peer->outer.generation);
		rte_prefetch0(&routes[i].peer->from);
	}
	return n_routed;
}

void dp_encap(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_route *routes = worker->routes;
	unsigned n_routed = route_all(worker, pkts, n);

	for (unsigned i = 0; i < n_routed; i++) {
		struct dp_peer *peer = routes[i].peer;

		/* The prefix may have moved to another owner's peer since it was put on our ring. */
		if (!peer || peer->owner != worker->id) {
			routes[i].peer = NULL;
			continue;
		}
		if (peer->keypairs.current) {
			rte_prefetch0(peer->keypairs.current);
			rte_prefetch0((const char *)peer->keypairs.current + RTE_CACHE_LINE_SIZE);
		}
		in_filter_outbound(
			worker->flows, &peer->flow_memo, &routes[i].packet, worker->now_ns);
	}
	for (unsigned i = 0; i < n_routed; i++) {
		if (routes[i].peer)
			dp_encap_one(worker, routes[i].peer, pkts[i]);
		else
			dp_drop(&worker->counters, DP_DROP_NO_PEER, pkts[i]);
	}
	dp_encap_flush(worker);
}

unsigned dp_encap_poll(struct dp_worker *worker)
{
	struct rte_mbuf *pkts[DP_BURST];
	unsigned left,
		n = rte_ring_dequeue_burst(worker->inner_ring, (void **)pkts, DP_BURST, &left);

	dp_queue_seen(&worker->counters, DP_QUEUE_INNER, n + left);
	if (n == 0) {
		dp_worker_mark_idle(worker);
		return 0;
	}
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(rte_pktmbuf_mtod(pkts[i], void *));
	dp_counter_add(&worker->counters.host_rx_pkts, n);
	dp_encap(worker, pkts, n);
	return n;
}
