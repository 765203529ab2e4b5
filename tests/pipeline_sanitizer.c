/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See pipeline_sanitizer.h.
 */
#include "pipeline_sanitizer.h"

#include "dp_dataplane.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREAD_SANITIZER 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define HAS_THREAD_SANITIZER 1
#endif

#ifdef HAS_THREAD_SANITIZER

#include <sanitizer/tsan_interface.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#define OPS_NAME "lab_ring"

/* DPDK's default, once more: what is inline in its header is instrumented here. */

static int pool_alloc(struct rte_mempool *pool)
{
	char name[RTE_RING_NAMESIZE];

	snprintf(name, sizeof(name), "lab_%s", pool->name);
	pool->pool_data =
		rte_ring_create(name, rte_align32pow2(pool->size + 1), pool->socket_id, 0);
	return pool->pool_data ? 0 : -rte_errno;
}

static void pool_free(struct rte_mempool *pool)
{
	rte_ring_free(pool->pool_data);
}

static int pool_enqueue(struct rte_mempool *pool, void *const *objects, unsigned n)
{
	return rte_ring_mp_enqueue_bulk(pool->pool_data, objects, n, NULL) == 0 ? -ENOBUFS : 0;
}

static int pool_dequeue(struct rte_mempool *pool, void **objects, unsigned n)
{
	return rte_ring_mc_dequeue_bulk(pool->pool_data, objects, n, NULL) == 0 ? -ENOBUFS : 0;
}

static unsigned pool_count(const struct rte_mempool *pool)
{
	return rte_ring_count(pool->pool_data);
}

static const struct rte_mempool_ops ops = {
	.name = OPS_NAME,
	.alloc = pool_alloc,
	.free = pool_free,
	.enqueue = pool_enqueue,
	.dequeue = pool_dequeue,
	.get_count = pool_count,
};
RTE_MEMPOOL_REGISTER_OPS(ops);

static uint16_t on_receive(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, uint16_t max, void *ctx)
{
	for (uint16_t i = 0; i < n; i++)
		lab_sanitizer_take(pkts[i]);
	return n;
}

static uint16_t on_send(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, void *ctx)
{
	for (uint16_t i = 0; i < n; i++)
		lab_sanitizer_give(pkts[i]);
	return n;
}

void lab_sanitizer_init(void)
{
	rte_mbuf_set_user_mempool_ops(OPS_NAME);
}

void lab_sanitizer_watch(struct dp *dp)
{
	for (unsigned i = 0; i < dp->n_ports; i++) {
		for (uint16_t q = 0; q < dp->ports[i].n_queues; q++) {
			rte_eth_add_rx_callback(dp->ports[i].id, q, on_receive, NULL);
			rte_eth_add_tx_callback(dp->ports[i].id, q, on_send, NULL);
		}
	}
}

void lab_sanitizer_give(void *object)
{
	__tsan_release(object);
}

void lab_sanitizer_take(void *object)
{
	__tsan_acquire(object);
}

#else

void lab_sanitizer_init(void)
{
}

void lab_sanitizer_watch(struct dp *dp)
{
}

void lab_sanitizer_give(void *object)
{
}

void lab_sanitizer_take(void *object)
{
}

#endif
