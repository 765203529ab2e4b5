/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * struct dp: all of the dataplane, as its own files see it. Control's thread makes and frees it;
 * what other threads may touch is fixed while they run, or guards itself.
 */
#ifndef DP_DATAPLANE_H
#define DP_DATAPLANE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "dp_api.h"
#include "dp_event.h"
#include "dp_filter.h"
#include "dp_guard.h"
#include "dp_handshake.h"
#include "dp_host.h"
#include "dp_init.h"
#include "dp_nets.h"
#include "dp_peer.h"
#include "dp_probe.h"
#include "dp_rcu.h"
#include "dp_relay.h"
#include "dp_tables.h"
#include "dp_tap.h"
#include "dp_underlay.h"
#include "dp_watchdog.h"
#include "dp_worker.h"

typedef void (*dp_nexthop_lookup)(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop);

struct dp {
	struct dp_config config; /* without private key and rules */
	struct dp_callbacks callbacks;
	void *ctx;
	void (*warn)(const char *line); /* while dp_new() runs */

	struct rte_mempool *pool;
	struct dp_rcu *rcu; /* readers: worker n is n, the host thread is n_workers */
	struct dp_tables tables;
	struct dp_filter filter;
	struct dp_nets nets;
	struct dp_events *events;
	struct dp_port ports[DP_PORTS_MAX + 1];       /* behind the last one: the relay */
	uint64_t port_retry_ns[DP_PORTS_MAX];         /* a closed one is tried again from then on */
	struct base_error port_trouble[DP_PORTS_MAX]; /* why the last try failed: told once */
	unsigned n_ports;
	struct dp_worker *workers;
	unsigned n_workers;
	unsigned n_running; /* workers launched on their lcores */
	struct dp_handshake *handshake;
	struct dp_underlay *underlay; /* NULL: no port has a kernel device */
	dp_nexthop_lookup nexthop_lookup;
	uint64_t flow_seed; /* of the outer IPv6 flow labels */
	struct dp_guard guard;
	bool has_guard;
	struct dp_host *host; /* NULL: none configured */
	struct dp_peers peers;
	struct dp_probes probes;
	struct dp_relay *relay;
	struct dp_counters control_counters; /* writer: control */
	struct base_addr *local_addrs; /* as control was told last; NULL before the first view */
	size_t n_local_addrs;
	bool has_new_addrs;
	struct dp_counters host_counters; /* writer: the host thread, and control before it runs */
	struct dp_watchdog watchdog;
	struct dp_taps taps;
	int epoll_fd;
	_Atomic bool host_is_gone; /* the host thread says so, control takes it back */
	bool host_is_wanted;       /* to be made again: not before host_retry_ns */
	uint64_t host_retry_ns;
	struct base_error host_trouble; /* why the last try failed: told once */
	_Atomic bool must_stop;         /* workers look at it once a round */
	bool is_stepped;                /* no threads: a test runs the rounds (dp_test.h), */
	uint64_t step_ns;               /* the last at this time */
};

/**
 * Let other threads get on while control waits for one of them; in a stepped dataplane, run them. False: one
 * stands still, so that there is nothing to wait for.
 */
BASE_MUST_CHECK bool dp_wait_a_little(struct dp *dp);
/** Control's clock; a stepped dataplane has its own. */
uint64_t dp_now_ns(const struct dp *dp);
/** The ladder behind dp_new(); @is_stepped: start no threads. */
struct dp *dp_start(const struct dp_config *config, const struct dp_callbacks *callbacks, void *ctx,
	bool is_stepped, void (*warn)(const char *line), struct base_error *ret_error);
/** Control: why nothing can be sent there, or NULL. */
const char *dp_change_endpoint_fault(const struct dp *dp, const struct base_endpoint *endpoint);
/** Control: what a person should know, as a warning of dp_new() or an event. */
void dp_caution(void *ctx, const char *line);
/** Control: a worker's sleep ends when the sockets of its queues have something; after a port was opened. 0 or -Exxx. */
int dp_watch_sockets(struct dp_worker *worker);
/** The host thread's bursts: to the owners' rings. */
void dp_from_host(void *ctx, struct rte_mbuf **pkts, unsigned n);

#endif
