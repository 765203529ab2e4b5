/* SPDX-License-Identifier: BSD-3-Clause */
/* See dp_ports.h. */
#include "dp_ports.h"

#include "dp_dataplane.h"

#include <stdio.h>
#include <string.h>

#define RETRY_NS BASE_NS_PER_S

BASE_PRINTF(2, 3)
static void tell(struct dp *dp, const char *fmt, ...)
{
	char line[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	dp_caution(dp, line);
}

/* Past this no worker uses a port that was marked before. False: one of them stands still. */
static bool wait_for_workers(struct dp *dp)
{
	struct rte_rcu_qsbr *qsbr = dp_rcu_qsbr(dp->rcu);
	uint64_t token = rte_rcu_qsbr_start(qsbr);

	while (rte_rcu_qsbr_check(qsbr, token, false) != 1) {
		if (!dp_wait_a_little(dp))
			return false;
	}
	return true;
}

static void lose(struct dp *dp, struct dp_port *port)
{
	tell(dp,
		"port %s: its interface is gone; peers behind it are out of reach until one of "
		"that "
		"name is there again",
		port->device);
	atomic_store_explicit(&port->is_open, false, memory_order_relaxed);
	/* With a worker that stands still the process ends anyway. */
	if (wait_for_workers(dp))
		dp_port_close(port, dp->pool);
}

static void regain(struct dp *dp, unsigned i, uint64_t now_ns)
{
	struct dp_port *port = &dp->ports[i];
	struct base_error error = {.text = ""}, *last = &dp->port_trouble[i];
	int rc;

	dp->port_retry_ns[i] = now_ns + RETRY_NS;
	rc = dp_port_open(port, &dp->config, i, dp->pool, &error);
	for (unsigned w = 0; rc == 0 && w < dp->n_workers; w++)
		rc = dp_watch_sockets(&dp->workers[w]);
	if (rc == 0) {
		last->text[0] = '\0';
		tell(dp, "port %s: its interface is back, and so is the port", port->device);
		return;
	}
	if (strcmp(error.text, last->text) != 0)
		tell(dp, "%s; trying again", error.text);
	*last = error;
}

void dp_ports_follow(struct dp *dp, uint64_t now_ns)
{
	for (unsigned i = 0; dp->underlay && i < dp->n_ports; i++) {
		struct dp_port *port = &dp->ports[i];
		bool is_open = atomic_load_explicit(&port->is_open, memory_order_relaxed);
		uint32_t ifindex;

		if (port->kind != DP_PORT_AF_XDP && port->kind != DP_PORT_AF_PACKET)
			continue;
		ifindex = dp_underlay_ifindex(dp->underlay, i);
		/* Deleted and made again between two looks: the number tells. */
		if (is_open && ifindex != port->ifindex) {
			lose(dp, port);
			dp->port_retry_ns[i] = 0;
			is_open = false;
		}
		if (!is_open && ifindex != 0 && now_ns >= dp->port_retry_ns[i])
			regain(dp, i, now_ns);
	}
}

/* The host interface. */

static void remake_host(struct dp *dp, uint64_t now_ns)
{
	const char *device = dp->config.host_device;
	struct base_error error = {.text = ""};

	dp->host_retry_ns = now_ns + RETRY_NS;
	if (dp_host_reopen(dp->host, &error) == 0) {
		dp->host_is_wanted = false;
		dp->host_trouble.text[0] = '\0';
		dp_nets_restore(dp);
		tell(dp, "host interface %s: made again", device);
		return;
	}
	if (strcmp(error.text, dp->host_trouble.text) != 0)
		tell(dp, "%s; trying again", error.text);
	dp->host_trouble = error;
}

void dp_ports_follow_host(struct dp *dp, uint64_t now_ns)
{
	const char *device = dp->config.host_device;

	/* Sequentially consistent with the host thread's store: dp_events_rearm() came before. */
	if (atomic_exchange(&dp->host_is_gone, false)) {
		tell(dp, "host interface %s: somebody deleted it", device);
		dp->host_is_wanted = true;
		dp->host_retry_ns = 0;
	}
	if (dp->host_is_wanted) {
		if (now_ns >= dp->host_retry_ns)
			remake_host(dp, now_ns);
		return;
	}
	switch (dp_host_look(dp->host)) {
	case DP_HOST_SAME:
		break;
	case DP_HOST_WENT_DOWN:
		tell(dp, "host interface %s is down: packets for it are dropped", device);
		break;
	case DP_HOST_CAME_UP:
		dp_nets_restore(dp);
		tell(dp, "host interface %s is up", device);
		break;
	}
}
