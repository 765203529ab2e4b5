/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Second stage: the low bits of the receiver index name the owner. Ours stay, others go to their
 * worker's hand-over ring; nothing is looked up. Worker.
 */
#include "dp_worker.h"

/* One stranger at a time: with a port queue per worker and few peers per flow they come mixed anyway,
 * and the ring's price is small against opening the packet. */
static void hand_over(struct dp_worker *worker, unsigned owner, struct rte_mbuf *m)
{
	if (owner >= worker->n_workers) {
		dp_drop(&worker->counters, DP_DROP_UNKNOWN_INDEX, m);
		return;
	}
	if (dp_tap_is_on(&worker->counters.tap))
		dp_trace_end(&worker->counters, DP_VERDICT_HANDED_OVER, DP_PLACE_STEER, m);
	if (rte_ring_enqueue(worker->workers[owner].handover_ring, m) != 0) {
		dp_drop(&worker->counters, DP_DROP_HANDOVER_FULL, m);
		return;
	}
	dp_counter_add(&worker->counters.handed_over_pkts, 1);
	worker->woken_workers |= UINT64_C(1) << owner;
}

void dp_steer(struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	unsigned n_ours = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *payload =
			rte_pktmbuf_mtod_offset(pkts[i], uint8_t *, dp_pkt(pkts[i])->payload_off);
		uint32_t index =
			base_load_le32(payload + offsetof(struct wg_data, receiver_index_le32));

		if (wg_index_owner(index) == worker->id) {
			wg_index_prefetch(worker->index, index);
			pkts[n_ours++] = pkts[i];
		} else {
			hand_over(worker, wg_index_owner(index), pkts[i]);
		}
	}
	if (n_ours)
		dp_decap(worker, pkts, n_ours);
}

unsigned dp_steer_poll(struct dp_worker *worker)
{
	struct rte_mbuf *pkts[DP_BURST];
	unsigned left,
		n = rte_ring_dequeue_burst(worker->handover_ring, (void **)pkts, DP_BURST, &left);

	dp_queue_seen(&worker->counters, DP_QUEUE_HANDOVER, n + left);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(
			rte_pktmbuf_mtod_offset(pkts[i], void *, dp_pkt(pkts[i])->payload_off));
	if (n)
		dp_decap(worker, pkts, n);
	else
		dp_worker_mark_idle(worker);
	return n;
}
