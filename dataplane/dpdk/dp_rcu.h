/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grace periods. Control publishes a new version of a table with one release store, then retires
 * the old one here; it is freed once every reader has passed a quiescent state (QSBR). Readers are
 * the workers, which pass one per round, and the host thread, which is online only inside a burst.
 *
 * Reader n: dp_rcu_online(), then dp_rcu_quiescent() whenever it holds nothing, dp_rcu_offline()
 * before it sleeps. Writer (control): everything else; one thread.
 */
#ifndef DP_RCU_H
#define DP_RCU_H

#include <rte_rcu_qsbr.h>

struct dp_rcu;

/** NULL with errno. @readers: their numbers are 0 to @readers - 1, all offline. */
struct dp_rcu *dp_rcu_new(unsigned readers);
/** No reader may be left; frees what was retired. NULL is fine. */
void dp_rcu_free(struct dp_rcu *rcu);

/** The QSBR variable, for the inline calls below. */
struct rte_rcu_qsbr *dp_rcu_qsbr(struct dp_rcu *rcu);

static inline void dp_rcu_online(struct rte_rcu_qsbr *qsbr, unsigned reader)
{
	rte_rcu_qsbr_thread_online(qsbr, reader);
}

static inline void dp_rcu_quiescent(struct rte_rcu_qsbr *qsbr, unsigned reader)
{
	rte_rcu_qsbr_quiescent(qsbr, reader);
}

static inline void dp_rcu_offline(struct rte_rcu_qsbr *qsbr, unsigned reader)
{
	rte_rcu_qsbr_thread_offline(qsbr, reader);
}

/**
 * Writer: call @destroy(@object) after a grace period, from dp_rcu_poll() or dp_rcu_free(). The
 * object must be unpublished already. Does not wait, unless memory is short: then it does.
 */
void dp_rcu_retire(struct dp_rcu *rcu, void (*destroy)(void *object), void *object);
/** Writer: destroy what nobody can hold any more. Does not wait. */
void dp_rcu_poll(struct dp_rcu *rcu);

#endif
