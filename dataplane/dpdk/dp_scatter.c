/* SPDX-License-Identifier: BSD-3-Clause */
/* Large messages read into the packets that they become. See dp_scatter.h. */
#include "dp_scatter.h"

#include "in_offload.h"

#include <string.h>

void dp_scatter_init(
	struct dp_scatter *scatter, struct rte_mempool *pool, uint8_t *rest, uint32_t rest_len)
{
	scatter->pool = pool;
	scatter->rest = rest;
	scatter->rest_len = rest_len;
}

void dp_scatter_fini(struct dp_scatter *scatter)
{
	rte_pktmbuf_free_bulk(scatter->spare, scatter->n_spare);
	scatter->n_spare = 0;
}

void dp_scatter_expect(struct dp_scatter *scatter, uint32_t headers_len, uint32_t part_len)
{
	uint32_t room = rte_pktmbuf_data_room_size(scatter->pool) - RTE_PKTMBUF_HEADROOM;
	bool is_fine = headers_len + part_len <= room &&
		headers_len + part_len * DP_SCATTER_PARTS_MAX >= IN_LARGE_BYTES;

	scatter->headers_len = headers_len;
	scatter->part_len = is_fine ? part_len : 0;
}

/* Spare mbufs for the largest message, as far as there are. Returns how many. */
static unsigned count_parts(struct dp_scatter *scatter)
{
	unsigned n;

	if (scatter->part_len == 0)
		return 0;
	if (scatter->n_spare < DP_SCATTER_PARTS_MAX &&
		rte_pktmbuf_alloc_bulk(scatter->pool, scatter->spare + scatter->n_spare,
			DP_SCATTER_PARTS_MAX) == 0)
		scatter->n_spare += DP_SCATTER_PARTS_MAX;
	n = (IN_LARGE_BYTES - scatter->headers_len - 1) / scatter->part_len + 1;
	return RTE_MIN(n, scatter->n_spare);
}

unsigned dp_scatter_lay(struct dp_scatter *scatter, void *head, size_t head_len)
{
	uint32_t headers_len = scatter->headers_len, len = scatter->part_len, at = 0;
	struct iovec *iov = scatter->iov;
	unsigned n = 0;

	scatter->n_parts = count_parts(scatter);
	iov[n++] = (struct iovec){head, head_len};
	for (unsigned i = 0; i < scatter->n_parts; i++) {
		struct rte_mbuf *m = scatter->spare[scatter->n_spare - 1 - i];
		uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);

		iov[n++] = i == 0 ? (struct iovec){data, headers_len + len}
				  : (struct iovec){data + headers_len, len};
		at += (uint32_t)iov[n - 1].iov_len;
	}
	if (at < scatter->rest_len)
		iov[n++] = (struct iovec){scatter->rest + at, scatter->rest_len - at};
	return n;
}

bool dp_scatter_fits(
	const struct dp_scatter *scatter, uint32_t headers_len, uint32_t part_len, uint32_t len)
{
	return scatter->n_parts > 0 && headers_len == scatter->headers_len &&
		part_len == scatter->part_len && len > headers_len &&
		len - headers_len <= scatter->n_parts * part_len;
}

uint8_t *dp_scatter_gather(struct dp_scatter *scatter, uint32_t len)
{
	uint32_t at = 0;

	for (unsigned i = 0; i < scatter->n_parts && at < len; i++) {
		const struct iovec *piece = &scatter->iov[1 + i];
		uint32_t n = RTE_MIN((uint32_t)piece->iov_len, len - at);

		memcpy(scatter->rest + at, piece->iov_base, n);
		at += n;
	}
	return scatter->rest;
}

struct rte_mbuf *dp_scatter_take(struct dp_scatter *scatter)
{
	if (scatter->n_spare == 0) {
		if (rte_pktmbuf_alloc_bulk(scatter->pool, scatter->spare, DP_SCATTER_PARTS_MAX) !=
			0)
			return rte_pktmbuf_alloc(scatter->pool);
		scatter->n_spare = DP_SCATTER_PARTS_MAX;
	}
	return scatter->spare[--scatter->n_spare];
}
