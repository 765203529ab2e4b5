/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface, tunnel to kernel: a burst off the ring, sorted into runs of one flow each,
 * one system call per run. The host thread. See dp_host.h; in_coalesce.h has the rules.
 */
#include "dp_host_io.h"

#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sys/uio.h>

static_assert(DP_HOST_BURST <= IN_COALESCE_PKTS_MAX, "a burst is coalesced at once");

/* The header, the first packet, the payloads of the others: no byte is copied on our side. */
static bool write_run(struct dp_host *host, const struct in_run *run, uint64_t *ret_bytes)
{
	const struct in_bytes *pkts = host->tx.bytes;
	struct iovec iov[1 + DP_HOST_BURST];
	unsigned n = 0, number = run->first;
	size_t len = sizeof(run->vnet);

	iov[n++] = (struct iovec){(void *)&run->vnet, sizeof(run->vnet)};
	for (unsigned i = 0; i < run->n_pkts; i++, number = host->tx.runs.next[number]) {
		uint32_t skip = i == 0 ? 0 : run->headers_len;

		iov[n] = (struct iovec){pkts[number].data + skip, pkts[number].len - skip};
		len += iov[n++].iov_len;
	}
	*ret_bytes = len - sizeof(run->vnet);
	return writev(host->tun.fd, iov, (int)n) == (ssize_t)len;
}

/* What a worker put there against its word is left out. */
static unsigned drop_chained(struct dp_host *host, unsigned n)
{
	struct rte_mbuf **pkts = host->tx.pkts;
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (pkts[i]->nb_segs == 1)
			pkts[kept++] = pkts[i];
		else
			rte_pktmbuf_free(pkts[i]);
	}
	dp_host_count(&host->counters.drop_write_pkts, n - kept);
	return kept;
}

unsigned dp_host_tx_burst(struct dp_host *host)
{
	struct dp_host_tx *tx = &host->tx;
	unsigned left,
		taken = rte_ring_sc_dequeue_burst(
			host->ring, (void **)tx->pkts, DP_HOST_BURST, &left);
	unsigned n = drop_chained(host, taken), written = 0;
	uint64_t bytes = 0;

	if (taken == 0)
		return 0;
	if (taken + left > atomic_load_explicit(&host->counters.ring_high, memory_order_relaxed))
		atomic_store_explicit(
			&host->counters.ring_high, taken + left, memory_order_relaxed);
	for (unsigned i = 0; i < n; i++)
		tx->bytes[i] = (struct in_bytes){
			rte_pktmbuf_mtod(tx->pkts[i], uint8_t *), tx->pkts[i]->data_len};
	in_coalesce(&tx->runs, tx->bytes, n, host->tun.has_udp_segments);
	for (unsigned i = 0; i < tx->runs.n_runs; i++) {
		const struct in_run *run = &tx->runs.runs[i];
		uint64_t run_bytes;

		if (!write_run(host, run, &run_bytes))
			continue;
		written += run->n_pkts;
		bytes += run_bytes;
	}
	dp_host_count(&host->counters.tx_pkts, written);
	dp_host_count(&host->counters.tx_bytes, bytes);
	dp_host_count(&host->counters.tx_writes, tx->runs.n_runs);
	dp_host_count(&host->counters.drop_write_pkts, n - written);
	rte_pktmbuf_free_bulk(tx->pkts, n);
	return taken;
}
