/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deferred free under QSBR (dp_rcu.h). Control thread; the readers' side is inline.
 */
#include "dp_rcu.h"

#include "base_err.h"

#include <stdlib.h>

#include <rte_malloc.h>

/* Retired, oldest first: tokens only rise, so a list in order is enough. */
struct retired {
	struct retired *next;
	uint64_t token;
	void (*destroy)(void *object);
	void *object;
};

struct dp_rcu {
	struct rte_rcu_qsbr *qsbr;
	struct retired *first, **end;
};

struct dp_rcu *dp_rcu_new(unsigned readers)
{
	struct dp_rcu *rcu = calloc(1, sizeof(*rcu));

	if (!rcu)
		return NULL;
	rcu->end = &rcu->first;
	rcu->qsbr = rte_zmalloc("dp_rcu", rte_rcu_qsbr_get_memsize(readers), RTE_CACHE_LINE_SIZE);
	if (!rcu->qsbr || rte_rcu_qsbr_init(rcu->qsbr, readers) != 0) {
		dp_rcu_free(rcu);
		errno = ENOMEM;
		return NULL;
	}
	for (unsigned i = 0; i < readers; i++)
		rte_rcu_qsbr_thread_register(rcu->qsbr, i);
	return rcu;
}

void dp_rcu_free(struct dp_rcu *rcu)
{
	if (!rcu)
		return;
	while (rcu->first) {
		struct retired *node = rcu->first;

		rcu->first = node->next;
		node->destroy(node->object);
		free(node);
	}
	rte_free(rcu->qsbr);
	free(rcu);
}

struct rte_rcu_qsbr *dp_rcu_qsbr(struct dp_rcu *rcu)
{
	return rcu->qsbr;
}

void dp_rcu_retire(struct dp_rcu *rcu, void (*destroy)(void *object), void *object)
{
	struct retired *node = malloc(sizeof(*node));

	if (!node) {
		rte_rcu_qsbr_synchronize(rcu->qsbr, RTE_QSBR_THRID_INVALID);
		destroy(object);
		return;
	}
	*node = (struct retired){
		.token = rte_rcu_qsbr_start(rcu->qsbr), .destroy = destroy, .object = object};
	*rcu->end = node;
	rcu->end = &node->next;
}

void dp_rcu_poll(struct dp_rcu *rcu)
{
	while (rcu->first && rte_rcu_qsbr_check(rcu->qsbr, rcu->first->token, false) == 1) {
		struct retired *node = rcu->first;

		rcu->first = node->next;
		if (!rcu->first)
			rcu->end = &rcu->first;
		node->destroy(node->object);
		free(node);
	}
}
