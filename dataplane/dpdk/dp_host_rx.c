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
#include <sys/uio.h>

/* One byte more than the largest: a longer one is seen to be cut off. */
#define LARGE_BYTES (IN_LARGE_BYTES + 1)
#define TCP4_HEADERS_BYTES 52
/* Of TCP over IPv6, the longest without options of IP. */
#define HEADERS_BYTES_MAX 100

int dp_host_rx_init(struct dp_host *host)
{
	struct dp_host_rx *rx = &host->rx;

	rx->large = malloc(LARGE_BYTES);
	if (!rx->large)
		return -ENOMEM;
	dp_scatter_init(&rx->scatter, host->config.pool, rx->large, LARGE_BYTES);
	/* Most of what comes is TCP over IPv4 with time stamps. */
	dp_scatter_expect(&rx->scatter, TCP4_HEADERS_BYTES,
		(uint32_t)host->config.mtu_bytes - TCP4_HEADERS_BYTES);
	return 0;
}

void dp_host_rx_fini(struct dp_host *host)
{
	dp_scatter_fini(&host->rx.scatter);
	free(host->rx.large);
	host->rx.large = NULL;
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
static unsigned take_packet(struct dp_host *host, const struct in_vnet *vnet, uint32_t len)
{
	struct dp_scatter *scatter = &host->rx.scatter;
	bool is_in_place = len <= dp_scatter_row(scatter);
	uint8_t *packet;
	struct rte_mbuf *m;

	if (len > host->config.mtu_bytes) {
		dp_host_count(&host->counters.drop_too_large_pkts, 1);
		return 1;
	}
	packet = is_in_place ? dp_scatter_first(scatter) : dp_scatter_gather(scatter, len);
	if ((vnet->flags & IN_VNET_NEEDS_CSUM) &&
		!in_csum_complete(packet, len, vnet->csum_start, vnet->csum_offset)) {
		dp_host_count(&host->counters.drop_bad_header_pkts, 1);
		return 1;
	}
	m = dp_scatter_take(scatter);
	if (!m) {
		dp_host_count(&host->counters.drop_no_mbuf_pkts, 1);
		return 1;
	}
	if (!is_in_place)
		memcpy(rte_pktmbuf_mtod(m, void *), packet, len);
	put(host, m, len);
	return 1;
}

/* Are they segments that a peer can be sent? Counts what is not. */
static bool may_cut(struct dp_host *host, struct in_segments *segments, const struct in_vnet *vnet,
	const uint8_t *packet, uint32_t len)
{
	if (!in_segments_plan(segments, vnet, packet, len)) {
		segments->n = 1;
		dp_host_count(&host->counters.drop_bad_header_pkts, 1);
		return false;
	}
	/* The MTU fits an mbuf: dp_host_new() has made sure. */
	if (in_segments_max_len(segments) <= host->config.mtu_bytes)
		return true;
	dp_host_count(&host->counters.drop_too_large_pkts, segments->n);
	return false;
}

/* One whose payload lies in the mbufs of its segments. Returns how many they are, dropped ones too. */
static unsigned take_scattered(
	struct dp_host *host, const struct in_vnet *vnet, uint32_t headers_len, uint32_t len)
{
	struct dp_scatter *scatter = &host->rx.scatter;
	uint8_t headers[HEADERS_BYTES_MAX];
	struct in_segments segments;

	memcpy(headers, dp_scatter_first(scatter), headers_len);
	if (!may_cut(host, &segments, vnet, headers, len))
		return segments.n;
	for (uint32_t i = 0; i < segments.n; i++) {
		struct rte_mbuf *m = dp_scatter_take(scatter);

		put(host, m, in_segments_finish(&segments, i, rte_pktmbuf_mtod(m, uint8_t *)));
	}
	return segments.n;
}

/* A large packet in segments. Returns how many they are, dropped ones too. */
static unsigned take_large(struct dp_host *host, const struct in_vnet *vnet, uint32_t len)
{
	struct dp_scatter *scatter = &host->rx.scatter;
	uint32_t row = RTE_MIN(len, dp_scatter_row(scatter));
	uint32_t headers_len = row ? in_plain_headers_len(dp_scatter_first(scatter), row) : 0;
	struct in_segments segments;

	if (headers_len && dp_scatter_fits(scatter, headers_len, vnet->gso_size, len))
		return take_scattered(host, vnet, headers_len, len);
	if (!may_cut(host, &segments, vnet, dp_scatter_gather(scatter, len), len))
		return segments.n;
	dp_scatter_expect(scatter, segments.headers_len, segments.segment_payload_len);
	for (uint32_t i = 0; i < segments.n; i++) {
		struct rte_mbuf *m = dp_scatter_take(scatter);

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
	struct dp_scatter *scatter = &host->rx.scatter;
	unsigned taken = 0;

	/* The rest is for the next one: a large packet may bring a whole burst. */
	while (taken < DP_HOST_BURST / 2) {
		struct in_vnet vnet;
		unsigned n_iov = dp_scatter_lay(scatter, &vnet, sizeof(vnet));
		ssize_t n = readv(host->tun.fd, scatter->iov, (int)n_iov);
		uint32_t len;

		if (n <= (ssize_t)sizeof(vnet)) {
			/* Release: whoever sees it finds the thread's hands off the descriptor. */
			if (n < 0 && errno == EBADFD)
				atomic_store_explicit(&host->is_gone, true, memory_order_release);
			break;
		}
		dp_host_count(&host->counters.rx_reads, 1);
		len = (uint32_t)((size_t)n - sizeof(vnet));
		if (vnet.gso_type == IN_GSO_NONE)
			taken += take_packet(host, &vnet, len);
		else
			taken += take_large(host, &vnet, len);
	}
	flush(host);
	return taken;
}
