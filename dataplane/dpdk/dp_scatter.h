/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a large message of the kernel is read to: straight into the packets that it will be cut into. A flow's large messages are
 * alike, headers of some length and then equal parts, so the next one is expected to be as the last: its headers and first part
 * go to one mbuf, each other part to an mbuf of its own, behind room for a copy of the headers. What comes otherwise is put
 * together in one piece of memory and cut from there, at the price of a copy.
 *
 * A message that ends within the first mbuf lies there whole, whatever it is. Thread: the one that reads. See dp_host_rx.c and
 * dp_packet.c.
 */
#ifndef DP_SCATTER_H
#define DP_SCATTER_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_mbuf.h>
#include <sys/uio.h>

/** The most parts of one message: a burst. */
#define DP_SCATTER_PARTS_MAX 64

struct dp_scatter {
	struct rte_mempool *pool;
	uint8_t *
		rest; /* room for the largest message; what is beyond the parts is read to its place there */
	uint32_t rest_len;
	uint32_t headers_len, part_len; /* as expected; part_len 0: nothing is */
	unsigned n_parts;               /* of the layout */
	unsigned n_spare;
	struct rte_mbuf
		*spare[2 * DP_SCATTER_PARTS_MAX]; /* taken ahead; the next one is the last */
	struct iovec iov[2 + DP_SCATTER_PARTS_MAX];
};

/** @rest, of @rest_len bytes, is borrowed. */
void dp_scatter_init(
	struct dp_scatter *scatter, struct rte_mempool *pool, uint8_t *rest, uint32_t rest_len);
/** Give back the spare mbufs; more may be taken afterwards. */
void dp_scatter_fini(struct dp_scatter *scatter);

/** The next messages will likely be so. Parts so small that a message may have too many, or too large, are not expected. */
void dp_scatter_expect(struct dp_scatter *scatter, uint32_t headers_len, uint32_t part_len);
/**
 * Lay out scatter->iov for one message, with @head_len bytes to @head in front of it. Returns the number of pieces. Valid
 * until dp_scatter_take() or the next layout.
 */
unsigned dp_scatter_lay(struct dp_scatter *scatter, void *head, size_t head_len);
/** How many bytes of the message lie in a row in the first mbuf, which is there if that is not 0. */
static inline uint32_t dp_scatter_row(const struct dp_scatter *scatter)
{
	return scatter->n_parts ? scatter->headers_len + scatter->part_len : 0;
}
static inline uint8_t *dp_scatter_first(const struct dp_scatter *scatter)
{
	return rte_pktmbuf_mtod(scatter->spare[scatter->n_spare - 1], uint8_t *);
}
/** Does a message of @len bytes with these headers and parts lie as it will be cut? */
bool dp_scatter_fits(
	const struct dp_scatter *scatter, uint32_t headers_len, uint32_t part_len, uint32_t len);
/** The message in a row, at scatter->rest. The spare mbufs are free for other use then. */
uint8_t *dp_scatter_gather(struct dp_scatter *scatter, uint32_t len);
/** The next mbuf: the one of the first part, the second, and so on; or any. NULL: the pool is empty. */
struct rte_mbuf *dp_scatter_take(struct dp_scatter *scatter);

#endif
