/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inner packets on their way out: destination to peer, nonce, padding, seal, outer headers. A packet
 * without a usable keypair waits at its peer (bounded, oldest out) while a handshake is asked for.
 *
 * The owner alone takes counters from a keypair, so none is ever used twice and no atomic is
 * needed. Worker. Next to read: dp_tx.c.
 */
#include "in_parse.h"
#include "dp_ecn.h"
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

/* For padding, tag and headers, in the packet and on the path. */
static bool has_room(const struct dp_peer *peer, const struct rte_mbuf *m, uint32_t sealed_len)
{
	return sealed_len + WG_DATA_OVERHEAD_BYTES <= peer->outer.room_bytes &&
		rte_pktmbuf_tailroom(m) >= DP_TAILROOM_BYTES &&
		rte_pktmbuf_headroom(m) >= DP_HEADROOM_BYTES;
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

/*
 * Can this packet leave at once? The order of reasons: nowhere to send to, no keypair (then it waits here), no
 * way there, no room. A header that was made for this round, and not since emptied by a move, says that there is
 * an endpoint and a way.
 */
static bool may_leave(
	struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m, uint32_t sealed_len)
{
	const struct wg_keypair *keypair = peer->keypairs.current;
	bool has_key = keypair && wg_keypair_may_send(keypair, worker->now_ns);
	bool has_path = peer->from.family != BASE_FAMILY_NONE;
	enum dp_drop reason;

	if (!has_path && peer->mover != DP_MOVER_PROBES) {
		reason = DP_DROP_NO_ENDPOINT;
	} else if (!has_key || !has_path) {
		if (has_key)
			dp_worker_want_path(worker, peer);
		else
			dp_worker_want_handshake(worker, peer);
		stage(worker, peer, m);
		return false;
	} else if (!dp_tx_prepare(worker, &peer->outer, &peer->from)) {
		reason = peer->outer.state == DP_NEXTHOP_OTHER_DEVICE ? DP_DROP_OTHER_DEVICE
								      : DP_DROP_NO_ROUTE;
	} else if (!has_room(peer, m, sealed_len)) {
		reason = DP_DROP_TOO_LARGE;
	} else {
		return true;
	}
	dp_drop(&worker->counters, reason, m);
	return false;
}

/*
 * The data header in front, then the outer ones. Neither depends on what sealing will write, but for a
 * checksum (dp_outer_sum()).
 */
static inline void write_headers(const struct dp_peer *peer, const struct wg_keypair *keypair,
	uint8_t *data, uint64_t counter, uint32_t payload_len, uint8_t ds)
{
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA,
		.receiver_index_le32 = keypair->remote_index_le32,
		.counter_le64 = counter};
	uint8_t *message = data - sizeof(header);

	memcpy(message, &header, sizeof(header));
	dp_outer_write(&peer->outer, message - peer->outer.len, payload_len, ds);
}

/* Into the batch: headers, padding, and a job under the next counter. */
static inline void batch_add(struct dp_batch *batch, struct dp_peer *peer,
	struct wg_keypair *keypair, struct rte_mbuf *m, uint32_t sealed_len)
{
	uint32_t len = rte_pktmbuf_data_len(m), payload_len = sealed_len + WG_DATA_OVERHEAD_BYTES;
	uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);
	uint64_t counter = keypair->send_counter;
	unsigned n = batch->n;

	keypair->send_counter = counter + 1;
	/* The mark is read while it can be; a keepalive has none. */
	write_headers(peer, keypair, data, counter, payload_len,
		len > 0 ? dp_ecn_of(data) : DP_ECN_NOT_ECT);
	/* All that padding can be; the tag will lie over the rest. */
	memset(data + len, 0, WG_PADDING_BYTES);
	batch->jobs[n] = (struct cr_aead_job){
		.key = &keypair->send_key,
		.counter = counter,
		.src = data,
		.dst = data,
		.len = sealed_len,
	};
	batch->leaves[n] = (struct dp_leave){
		.data_off = (uint16_t)(m->data_off - sizeof(struct wg_data) - peer->outer.len),
		.len = (uint16_t)(payload_len + peer->outer.len),
		.port = peer->outer.port,
		.is_plain = peer->outer.is_plain,
	};
	batch->pkts[n] = m;
	batch->peers[n] = peer;
	batch->n = n + 1;
}

static __rte_always_inline void encap(
	struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m)
{
	uint32_t len = rte_pktmbuf_data_len(m), sealed_len = len + padding_of(worker, len);
	struct wg_keypair *keypair = peer->keypairs.current;
	uint64_t now_ns = worker->now_ns;
	bool is_fresh = keypair && wg_keypair_is_fresh(keypair, now_ns);

	if (unlikely(!is_fresh || peer->outer.generation != worker->generation ||
		    !has_room(peer, m, sealed_len)) &&
		!may_leave(worker, peer, m, sealed_len))
		return;
	batch_add(&worker->seal, peer, keypair, m, sealed_len);
	dp_counter_add(&peer->tx_pkts, 1);
	dp_counter_add(&peer->tx_bytes, sealed_len + WG_DATA_OVERHEAD_BYTES);
	dp_counter_add(&worker->counters.sealed_bytes, len);
	wg_activity_sent(&peer->activity, now_ns, sealed_len > 0);
	if (unlikely(!is_fresh) && wg_keypair_wants_rekey_on_send(keypair, now_ns))
		dp_worker_want_handshake(worker, peer);
	if (unlikely(worker->seal.n == DP_BURST))
		dp_encap_flush(worker);
}

void dp_encap_one(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m)
{
	encap(worker, peer, m);
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
	dp_tx_sealed(worker, batch);
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
static inline enum dp_drop route(
	struct dp_worker *worker, struct rte_mbuf *m, struct dp_route *to, struct in_packet *odd)
{
	const struct wg_allowedips *table = worker->tables->allowed_ips;
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t len = rte_pktmbuf_data_len(m);

	if (likely(in_plain4_len(ip, len) == len && len > 0)) {
		if (unlikely(in_dst_is_refused(ip + 16, BASE_FAMILY_V4)))
			return DP_DROP_OUT_KEPT;
		to->number = wg_allowedips_lookup4(table, ip + 16);
		to->flow = ip[9] == IN_PROTO_UDP ? DP_FLOW_UDP4 : DP_FLOW_NONE;
	} else {
		if (in_parse(odd, ip, len) != IN_ERROR_OK || odd->total_len != len)
			return DP_DROP_OUT_MALFORMED;
		if (in_filter_keeps_home(odd))
			return DP_DROP_OUT_KEPT;
		to->number = odd->version == 4 ? wg_allowedips_lookup4(table, odd->dst)
					       : wg_allowedips_lookup6(table, odd->dst);
		to->flow = DP_FLOW_ODD;
	}
	return to->number == WG_PEER_NONE ? DP_DROP_NO_PEER : DP_DROP_COUNT;
}

static unsigned route_all(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_route *routes = worker->routes;
	unsigned n_routed = 0;

	for (unsigned i = 0; i < n; i++) {
		struct dp_route *to = &routes[n_routed];
		enum dp_drop reason = route(worker, pkts[i], to, &worker->odd[n_routed]);

		if (unlikely(reason != DP_DROP_COUNT)) {
			dp_drop(&worker->counters, reason, pkts[i]);
			continue;
		}
		dp_tables_peer_prefetch(worker->tables, to->number);
		pkts[n_routed++] = pkts[i];
	}
	/* Pass 2: the peers. */
	for (unsigned i = 0; i < n_routed; i++) {
		struct dp_peer *peer = dp_tables_peer(worker->tables, routes[i].number);

		/* None, or another owner's, if the prefix has moved since the packet was put on our ring. */
		routes[i].peer = peer;
		if (!peer)
			continue;
		rte_prefetch0(peer);
		rte_prefetch0(&peer->outer);
		rte_prefetch0(&peer->outer.generation);
	}
	return n_routed;
}

/* Must this flow be noted, so that its replies are known? Then its place is fetched. */
static inline uint8_t look_at_flow(struct dp_worker *worker, const struct dp_peer *peer,
	const struct in_flows_now *flows, struct rte_mbuf *m, struct dp_route *to,
	struct in_packet *odd)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);

	if (likely(to->flow == DP_FLOW_NONE ||
		    (to->flow == DP_FLOW_UDP4 &&
			    in_flow_is_noted_udp4(flows, &peer->flow_memo, ip))))
		return DP_FLOW_NONE;
	if (to->flow == DP_FLOW_UDP4 && in_parse(odd, ip, rte_pktmbuf_data_len(m)) != IN_ERROR_OK)
		return DP_FLOW_NONE;
	if (!in_flow_is_new(worker->flows, &peer->flow_memo, odd, worker->now_ns))
		return DP_FLOW_NONE;
	in_flows_prefetch(worker->flows, odd);
	return DP_FLOW_NEW;
}

/* Pass 3: keypairs, and where new flows will be noted. Another owner's peer is not looked into. */
static void fetch_all(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct in_flows_now flows = in_flows_now(worker->flows, worker->now_ns);
	unsigned id = worker->id;

	for (unsigned i = 0; i < n; i++) {
		struct dp_route *to = &worker->routes[i];

		if (unlikely(!to->peer || to->peer->owner != id)) {
			to->peer = NULL;
			continue;
		}
		rte_prefetch0(to->peer->keypairs.current);
		to->flow = look_at_flow(worker, to->peer, &flows, pkts[i], to, &worker->odd[i]);
	}
}

/* A packet's first bytes, and where its headers will be. */
static void fetch_pkts(struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *ip = rte_pktmbuf_mtod(pkts[i], const uint8_t *);

		rte_prefetch0(ip);
		rte_prefetch0(ip - RTE_CACHE_LINE_SIZE);
	}
}

static void encap_group(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_route *routes = worker->routes;
	unsigned n_routed;

	fetch_pkts(pkts, n);
	n_routed = route_all(worker, pkts, n);
	fetch_all(worker, pkts, n_routed);
	for (unsigned i = 0; i < n_routed; i++) {
		struct dp_peer *peer = routes[i].peer;

		if (unlikely(!peer)) {
			dp_drop(&worker->counters, DP_DROP_NO_PEER, pkts[i]);
			continue;
		}
		if (unlikely(routes[i].flow == DP_FLOW_NEW))
			in_flows_note(
				worker->flows, &peer->flow_memo, &worker->odd[i], worker->now_ns);
		encap(worker, peer, pkts[i]);
	}
	dp_encap_flush(worker);
}

void dp_encap(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned at = 0; at < n; at += DP_GROUP)
		encap_group(worker, pkts + at, RTE_MIN(n - at, (unsigned)DP_GROUP));
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
	dp_counter_add(&worker->counters.host_rx_pkts, n);
	if (unlikely(wg_allowedips_is_large(worker->tables->allowed_ips)))
		dp_ahead(worker, pkts, n);
	dp_encap(worker, pkts, n);
	return n;
}
