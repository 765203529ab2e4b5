/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Third stage: data messages of our own peers, opened in bursts.
 *
 * First pass, before the cipher: index to keypair, the keypair's age. Nothing else, because nothing
 * an outsider wrote counts before the tag has verified.
 * Second pass, in this order (paper 5.4.6, 6; style 4.3): replay window, endpoint, key confirmation
 * (what waited for it leaves for the new endpoint), inner length, source among the allowed IPs, filter,
 * congestion mark.
 * A keepalive ends after the confirmation.
 * Worker. Next to read: dp_encap.c.
 */
#include "in_parse.h"
#include "dp_ecn.h"
#include "dp_worker.h"
#include "dp_dataplane.h"

/* A message lies at no alignment that its struct could count on: fields are loaded by offset. */
static uint8_t *message_of(struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod_offset(m, uint8_t *, dp_pkt(m)->payload_off);
}

/* The lines that the second pass will touch. */
static inline void prefetch_peer(const struct dp_peer *peer)
{
	rte_prefetch0(peer);
	rte_prefetch0(&peer->from);
	rte_prefetch0(&peer->pass_memo);
}

/* Its end: a short message has no other line that the cipher would wait for. */
static inline void prefetch_message(const uint8_t *message, uint32_t len)
{
	rte_prefetch0(message + RTE_CACHE_LINE_SIZE);
	rte_prefetch0(message + len - 1);
}

static void first_pass(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_batch *batch = &worker->open;
	struct wg_keypair *keypairs[DP_GROUP];
	uint8_t *messages[DP_GROUP];
	uint64_t now_ns = worker->now_ns;
	unsigned n_jobs = 0;

	for (unsigned i = 0; i < n; i++) {
		struct wg_keypair *keypair;

		messages[i] = message_of(pkts[i]);
		keypair = wg_index_lookup(worker->index,
			base_load_le32(
				messages[i] + offsetof(struct wg_data, receiver_index_le32)));
		keypairs[i] = keypair;
		if (likely(keypair != NULL)) {
			rte_prefetch0(keypair);
			rte_prefetch0(&keypair->recv_key);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		struct wg_keypair *keypair = keypairs[i];
		uint32_t len = dp_pkt(pkts[i])->payload_len;
		uint8_t *message = messages[i];
		uint64_t counter;

		if (unlikely(!keypair || !wg_keypair_may_receive(keypair, now_ns))) {
			dp_drop(&worker->counters,
				keypair ? DP_DROP_STALE_KEYPAIR : DP_DROP_UNKNOWN_INDEX, pkts[i]);
			continue;
		}
		counter = base_load_le64(message + offsetof(struct wg_data, counter_le64));
		/* Remembered here: the link of a keypair that dies within this burst changes. */
		batch->peers[n_jobs] = keypair->owner_data;
		prefetch_peer(keypair->owner_data);
		rte_prefetch0(&keypair->replay.words[counter / 64 % WG_REPLAY_WORDS]);
		prefetch_message(message, len);
		batch->pkts[n_jobs] = pkts[i];
		batch->keypairs[n_jobs] = keypair;
		batch->jobs[n_jobs++] = (struct cr_aead_job){
			.key = &keypair->recv_key,
			.counter = counter,
			.src = message + sizeof(struct wg_data),
			.dst = message + sizeof(struct wg_data),
			.len = len - (uint32_t)WG_DATA_OVERHEAD_BYTES,
		};
	}
	batch->n = n_jobs;
}

/* The peer proved that it holds the responder's keypair: the session is whole. */
static void confirm(struct dp_worker *worker, struct dp_peer *peer, struct wg_keypair *keypair)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	bool is_first = false;
	unsigned n = wg_keypairs_confirm(&peer->keypairs, keypair, dead, &is_first);

	dp_worker_bury(worker, dead, n);
	if (is_first) {
		dp_worker_note(worker, peer, DP_NOTE_CONFIRMED);
		dp_encap_staged(worker, peer);
	}
}

/* Where is the authenticated sender now? What could not be answered does not count. */
static void roam(struct dp_worker *worker, struct dp_peer *peer, struct rte_mbuf *m)
{
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	struct dp_from from;

	if (likely(dp_from_matches(&peer->from, frame, dp_pkt(m))))
		return;
	dp_from_read(&from, frame, dp_pkt(m));
	if (dp_from_is_answerable(&from))
		dp_worker_move(worker, peer, &from);
}

static inline bool is_source_allowed(
	const struct dp_worker *worker, struct dp_peer *peer, const uint8_t *ip, uint8_t version)
{
	const struct wg_allowedips *table = worker->tables->allowed_ips;

	if (version == 4)
		return wg_allowedips_holds4(table, &peer->source4, ip + 12, peer->number);
	return wg_allowedips_holds6(table, &peer->source6, ip + 8, peer->number);
}

/* A stranger's source is the graver fault, where the header goes so far. */
static enum dp_drop bad_inner(
	const struct dp_worker *worker, struct dp_peer *peer, const uint8_t *ip, uint32_t len)
{
	uint32_t total_len;
	uint8_t version;

	if (in_check_length(ip, len, &version, &total_len) == IN_ERROR_OK &&
		!is_source_allowed(worker, peer, ip, version))
		return DP_DROP_WRONG_SOURCE;
	return DP_DROP_BAD_INNER;
}

static enum dp_drop drop_of_verdict(enum in_verdict verdict)
{
	switch (verdict) {
	case IN_VERDICT_ACCEPT:
		return DP_DROP_COUNT;
	case IN_VERDICT_NO_HEADER:
		return DP_DROP_FILTER_NO_HEADER;
	case IN_VERDICT_DESTINATION:
		return DP_DROP_FILTER_DESTINATION;
	case IN_VERDICT_TSMP:
		return DP_DROP_TSMP;
	default:
		return DP_DROP_FILTER_NO_RULE;
	}
}

/* All that is asked of an inner packet. Returns DP_DROP_COUNT if it may be delivered; its length in @ret_total_len. */
static enum dp_drop check_any(struct dp_worker *worker, struct dp_peer *peer,
	const struct in_pass *pass, const uint8_t *ip, uint32_t len, uint32_t *ret_total_len)
{
	struct in_packet packet;
	enum in_verdict verdict;

	if (in_parse(&packet, ip, len) != IN_ERROR_OK)
		return bad_inner(worker, peer, ip, len);
	if (!is_source_allowed(worker, peer, ip, packet.version))
		return DP_DROP_WRONG_SOURCE;
	*ret_total_len = packet.total_len;
	verdict = in_filter_inbound(
		pass->filter, worker->flows, &peer->rule_memo, &packet, worker->now_ns);
	if (verdict == IN_VERDICT_ACCEPT && in_plain4_len(ip, len))
		in_pass_note4(&peer->pass_memo, pass, &peer->rule_memo, worker->flows, ip);
	return drop_of_verdict(verdict);
}

/* The same; a flow that has just passed is not asked again. */
static inline enum dp_drop check_inner(struct dp_worker *worker, struct dp_peer *peer,
	const struct in_pass *pass, const uint8_t *ip, uint32_t len, uint32_t *ret_total_len)
{
	uint32_t total_len = in_plain4_len(ip, len);

	if (unlikely(total_len == 0 || !in_pass_is_known4(&peer->pass_memo, pass, ip)))
		return check_any(worker, peer, pass, ip, len, ret_total_len);
	*ret_total_len = total_len;
	return DP_DROP_COUNT;
}

void dp_deliver_flush(struct dp_worker *worker)
{
	unsigned sent = 0;

	if (worker->n_to_host == 0)
		return;
	if (worker->host_ring && dp_tap_is_on(&worker->counters.tap))
		sent = dp_trace_deliver(worker, worker->to_host, worker->n_to_host);
	else if (worker->host_ring)
		sent = rte_ring_enqueue_burst(
			worker->host_ring, (void **)worker->to_host, worker->n_to_host, NULL);
	for (unsigned i = sent; i < worker->n_to_host; i++)
		dp_drop(&worker->counters, DP_DROP_HOST_FULL, worker->to_host[i]);
	dp_counter_add(&worker->counters.host_tx_pkts, sent);
	worker->host_got_pkts |= sent > 0;
	dp_worker_mark(worker, DP_STAGE_DELIVER, worker->n_to_host);
	worker->n_to_host = 0;
}

static inline void second_pass(struct dp_worker *worker, const struct in_pass *pass,
	struct rte_mbuf *m, struct dp_peer *peer, struct wg_keypair *keypair,
	const struct cr_aead_job *job)
{
	uint64_t now_ns = worker->now_ns;
	uint32_t total_len = 0;
	enum dp_drop reason;
	uint8_t outer_ecn;

	if (unlikely(!job->ok)) {
		dp_drop(&worker->counters, DP_DROP_FORGED, m);
		return;
	}
	if (unlikely(!wg_replay_accept(&keypair->replay, job->counter))) {
		dp_drop(&worker->counters, DP_DROP_REPLAY, m);
		return;
	}
	roam(worker, peer, m);
	if (unlikely(keypair == peer->keypairs.next))
		confirm(worker, peer, keypair);
	wg_activity_received(&peer->activity, now_ns, job->len > 0);
	/* A previous keypair may well be old: only the current one's age asks for a new one. */
	if (unlikely(wg_keypair_wants_rekey_on_receive(keypair, now_ns)) &&
		keypair == peer->keypairs.current)
		dp_worker_want_handshake(worker, peer);
	dp_counter_add(&worker->counters.opened_pkts, 1);
	dp_counter_add(&peer->rx_pkts, 1);
	dp_counter_add(&peer->rx_bytes, job->len + WG_DATA_OVERHEAD_BYTES);
	if (unlikely(job->len == 0)) {
		if (dp_tap_is_on(&worker->counters.tap))
			dp_trace_end(&worker->counters, DP_VERDICT_KEEPALIVE, DP_PLACE_DECAP, m);
		rte_pktmbuf_free(m);
		return;
	}
	reason = check_inner(worker, peer, pass, job->dst, job->len, &total_len);
	if (unlikely(reason != DP_DROP_COUNT)) {
		dp_drop(&worker->counters, reason, m);
		return;
	}
	outer_ecn = dp_ecn_of(rte_pktmbuf_mtod_offset(m, const uint8_t *, dp_pkt(m)->ip_off));
	if (unlikely(dp_ecn_matters(outer_ecn)) && !dp_ecn_decap(job->dst, outer_ecn)) {
		dp_drop(&worker->counters, DP_DROP_ECN, m);
		return;
	}
	dp_counter_add(&worker->counters.opened_bytes, total_len);
	m->data_off = (uint16_t)(m->data_off + dp_pkt(m)->payload_off + sizeof(struct wg_data));
	m->data_len = (uint16_t)total_len;
	m->pkt_len = total_len;
	worker->to_host[worker->n_to_host++] = m;
}

static void decap_group(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_batch *batch = &worker->open;
	struct in_pass pass;

	first_pass(worker, pkts, n);
	dp_worker_mark(worker, DP_STAGE_DECAP, n);
	if (batch->n == 0)
		return;
	worker->aead_ops->open(worker->aead, batch->jobs, batch->n);
	dp_worker_mark(worker, DP_STAGE_OPEN, batch->n);
	dp_burst_count(&worker->counters, DP_BURST_OPEN, batch->n);
	pass = in_pass_now(
		dp_tables_filter(worker->tables), wg_allowedips_epoch(worker->tables->allowed_ips));
	/* A keypair that dies in this pass stays readable: it goes back only with the round's notes. */
	for (unsigned i = 0; i < batch->n; i++)
		second_pass(worker, &pass, batch->pkts[i], batch->peers[i], batch->keypairs[i],
			&batch->jobs[i]);
	dp_deliver_flush(worker);
}

void dp_decap(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	for (unsigned at = 0; at < n; at += DP_GROUP)
		decap_group(worker, pkts + at, RTE_MIN(n - at, (unsigned)DP_GROUP));
}
