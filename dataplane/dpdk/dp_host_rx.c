/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface, kernel to tunnel: one read brings a packet or up to 64 KiB of TCP or UDP
 * that the kernel left whole. What comes out are mbufs of at most the MTU, with right checksums and
 * their headroom. The host thread. See dp_host.h; in_offload.h cuts.
 */
#include "dp_host_io.h"

#include <errno.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <unistd.h>

/* One byte more than the largest: a longer one is seen to be cut off. */
#define READ_BYTES (sizeof(struct in_vnet) + IN_LARGE_BYTES + 1)

int dp_host_rx_init(struct dp_host *host)
{
	host->rx.large = malloc(READ_BYTES);
	return host->rx.large ? 0 : -ENOMEM;
}

void dp_host_rx_fini(struct dp_host *host)
{
	rte_pktmbuf_free_bulk(host->rx.spare, host->rx.n_spare);
	host->rx.n_spare = 0;
	free(host->rx.large);
	host->rx.large = NULL;
}

/* The next mbuf, or NULL when the pool is empty. */
static struct rte_mbuf *take_spare(struct dp_host *host)
{
	struct dp_host_rx *rx = &host->rx;

	if (rx->n_spare == 0) {
		if (rte_pktmbuf_alloc_bulk(host->config.pool, rx->spare, DP_HOST_BURST) != 0)
			return rte_pktmbuf_alloc(host->config.pool);
		rx->n_spare = DP_HOST_BURST;
	}
	return rx->spare[--rx->n_spare];
}

static void flush(struct dp_host *host)
{
	struct dp_host_rx *rx = &host->rx;
	uint64_t bytes = 0;

	if (rx->n_burst == 0)
		return;
	for (unsigned i = 0; i < rx->n_burst; i++)
		bytes += rx->burst[i]->pkt_len;
	dp_host_count(&host->counters.rx_pkts, rx->n_burst);
	dp_host_count(&host->counters.rx_bytes, bytes);
	host->config.from_host(host->config.ctx, rx->burst, rx->n_burst);
	rx->n_burst = 0;
}

static void put(struct dp_host *host, struct rte_mbuf *m, uint32_t len)
{
	m->data_len = (uint16_t)len;
	m->pkt_len = len;
	host->rx.burst[host->rx.n_burst++] = m;
	if (host->rx.n_burst == DP_HOST_BURST)
		flush(host);
}

/* A packet as it is, but for its checksum. Returns 1. */
static unsigned take_packet(
	struct dp_host *host, const struct in_vnet *vnet, uint8_t *packet, uint32_t len)
{
	struct rte_mbuf *m;

	if (len > host->config.mtu_bytes) {
		dp_host_count(&host->counters.drop_too_large_pkts, 1);
	} else if ((vnet->flags & IN_VNET_NEEDS_CSUM) &&
		!in_csum_complete(packet, len, vnet->csum_start, vnet->csum_offset)) {
		dp_host_count(&host->counters.drop_bad_header_pkts, 1);
	} else if (!(m = take_spare(host))) {
		dp_host_count(&host->counters.drop_no_mbuf_pkts, 1);
	} else {
		memcpy(rte_pktmbuf_mtod(m, void *), packet, len);
		put(host, m, len);
	}
	return 1;
}

/* A large packet in segments. Returns how many they are, dropped ones too. */
static unsigned take_large(
	struct dp_host *host, const struct in_vnet *vnet, const uint8_t *packet, uint32_t len)
{
	struct in_segments segments;

	if (!in_segments_plan(&segments, vnet, packet, len)) {
		dp_host_count(&host->counters.drop_bad_header_pkts, 1);
		return 1;
	}
	/* The MTU fits an mbuf: dp_host_new() has made sure. */
	if (in_segments_max_len(&segments) > host->config.mtu_bytes) {
		dp_host_count(&host->counters.drop_too_large_pkts, segments.n);
		return segments.n;
	}
	for (uint32_t i = 0; i < segments.n; i++) {
		struct rte_mbuf *m = take_spare(host);

		if (!m) {
			dp_host_count(&host->counters.drop_no_mbuf_pkts, segments.n - i);
			break;
		}
		put(host, m, in_segments_write(&segments, i, rte_pktmbuf_mtod(m, uint8_t *)));
	}
	return segments.n;
}

unsigned dp_host_rx_burst(struct dp_host *host)
{
	uint8_t *packet = host->rx.large + sizeof(struct in_vnet);
	unsigned taken = 0;

	/* The rest is for the next one: a large packet may bring a whole burst. */
	while (taken < DP_HOST_BURST / 2) {
		ssize_t n = read(host->tun.fd, host->rx.large, READ_BYTES);
		struct in_vnet vnet;
		uint32_t len;

		if (n <= (ssize_t)sizeof(vnet)) {
			/* Release: whoever sees it finds the thread's hands off the descriptor. */
			if (n < 0 && errno == EBADFD)
				atomic_store_explicit(&host->is_gone, true, memory_order_release);
			break;
		}
		dp_host_count(&host->counters.rx_reads, 1);
		memcpy(&vnet, host->rx.large, sizeof(vnet));
		len = (uint32_t)((size_t)n - sizeof(vnet));
		if (vnet.gso_type == IN_GSO_NONE)
			taken += take_packet(host, &vnet, packet, len);
		else
			taken += take_large(host, &vnet, packet, len);
	}
	flush(host);
	return taken;
}
