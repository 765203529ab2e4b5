/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ahead of sealing, where there are more peers than fit the caches: a burst's way to its peers is walked once only to
 * bring what it will touch into the cache, a level at a time, each fetched for all packets before any is looked
 * at. The stages of dp_encap.c then find it there. With few peers nothing of this runs. Worker.
 */
#include "dp_worker.h"

/* Destinations by family; what is no packet is for dp_encap.c to refuse. */
static unsigned find_peers(
	const struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n, uint32_t *ret_numbers)
{
	const struct wg_allowedips *table = worker->tables->allowed_ips;
	const uint8_t *addrs4[DP_BURST] = {NULL}, *addrs6[DP_BURST] = {NULL};
	unsigned n4 = 0, n6 = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *ip = rte_pktmbuf_mtod(pkts[i], const uint8_t *);
		uint32_t len = rte_pktmbuf_data_len(pkts[i]);

		if (len >= DP_IP4_BYTES && ip[0] >> 4 == 4)
			addrs4[n4++] = ip + 16;
		else if (len >= DP_IP6_BYTES && ip[0] >> 4 == 6)
			addrs6[n6++] = ip + 24;
	}
	wg_allowedips_lookup4_bulk(table, addrs4, n4, ret_numbers);
	wg_allowedips_lookup6_bulk(table, addrs6, n6, ret_numbers + n4);
	return n4 + n6;
}

/* The last four bytes of the destination; of what is no packet any others. */
static uint32_t destination(struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);

	return base_load_le32(ip + (ip[0] >> 4 == 6 ? 36 : 16));
}

/* A burst to one peer, or to few, finds them in the cache: three of its packets tell. */
static bool is_spread(struct rte_mbuf **pkts, unsigned n)
{
	uint32_t first = destination(pkts[0]);

	return first != destination(pkts[n / 2]) || first != destination(pkts[n - 1]);
}

void dp_ahead(const struct dp_worker *worker, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_peer *peers[DP_BURST];
	uint32_t numbers[DP_BURST];

	if (!is_spread(pkts, n))
		return;
	n = find_peers(worker, pkts, n, numbers);
	for (unsigned i = 0; i < n; i++) {
		if (numbers[i] != WG_PEER_NONE)
			dp_tables_peer_prefetch(worker->tables, numbers[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		peers[i] = numbers[i] != WG_PEER_NONE ? dp_tables_peer(worker->tables, numbers[i])
						      : NULL;
		if (!peers[i])
			continue;
		rte_prefetch0(peers[i]);
		rte_prefetch0(&peers[i]->outer);
		rte_prefetch0(&peers[i]->outer.generation);
	}
	for (unsigned i = 0; i < n; i++) {
		/* Of another owner's peer only what is fixed may be read. */
		if (peers[i] && peers[i]->owner == worker->id)
			rte_prefetch0(peers[i]->keypairs.current);
	}
}
