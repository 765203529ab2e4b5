/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface's life and its thread. The device itself is dp_tun.c, the packets are
 * dp_host_rx.c and dp_host_tx.c. Read dp_host.h first.
 */
#include "dp_host.h"

#include "base_clock.h"
#include "dp_host_io.h"
#include "dp_idle.h"
#include "dp_tun.h"

#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <pthread.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

/* in_offload.h sees no header of the kernel: what it says of this one is held against it here. */
static_assert(sizeof(struct in_vnet) == sizeof(struct virtio_net_hdr), "the short form");
static_assert(offsetof(struct in_vnet, gso_size) == offsetof(struct virtio_net_hdr, gso_size) &&
		offsetof(struct in_vnet, csum_start) ==
			offsetof(struct virtio_net_hdr, csum_start) &&
		offsetof(struct in_vnet, csum_offset) ==
			offsetof(struct virtio_net_hdr, csum_offset),
	"field by field");
static_assert(IN_VNET_NEEDS_CSUM == VIRTIO_NET_HDR_F_NEEDS_CSUM &&
		IN_GSO_NONE == VIRTIO_NET_HDR_GSO_NONE && IN_GSO_TCP4 == VIRTIO_NET_HDR_GSO_TCPV4 &&
		IN_GSO_TCP6 == VIRTIO_NET_HDR_GSO_TCPV6 && IN_GSO_ECN == VIRTIO_NET_HDR_GSO_ECN,
	"its names");

/* A round at least so often, so that the watchdog sees one. */
#define SLEEP_MAX_NS BASE_NS_PER_S

/* --- the thread ------------------------------------------------------------------------------- */

/* May packets be taken from the kernel: is there room for them, or has there been none for too long? */
static bool may_read(struct dp_host *host)
{
	uint64_t now_ns;

	if (!host->config.room || host->config.room(host->config.ctx) >= DP_HOST_ROOM_PKTS) {
		host->no_room_since_ns = 0;
		return true;
	}
	now_ns = base_clock_now_ns();
	if (host->no_room_since_ns == 0)
		host->no_room_since_ns = now_ns;
	return now_ns - host->no_room_since_ns > DP_HOST_PATIENCE_NS;
}

/* The worker on whom we wait may share our CPU. */
static void wait_for_room(void)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000};

	nanosleep(&pause, NULL);
}

/* Sleep until the device is readable or a worker wakes us, or for so long. */
static void sleep_if_idle(struct dp_host *host)
{
	dp_idle_prepare(host->idle);
	if (!rte_ring_empty(host->ring) || atomic_load_explicit(&host->stop, memory_order_relaxed))
		dp_idle_cancel(host->idle);
	else
		dp_idle_wait(host->idle, SLEEP_MAX_NS);
}

/* What comes for a device that is gone: the descriptor is control's now. */
static unsigned drop_burst(struct dp_host *host)
{
	unsigned n =
		rte_ring_sc_dequeue_burst(host->ring, (void **)host->tx.pkts, DP_HOST_BURST, NULL);

	dp_host_count(&host->counters.drop_write_pkts, n);
	rte_pktmbuf_free_bulk(host->tx.pkts, n);
	return n;
}

static void tell_gone(struct dp_host *host)
{
	if (host->config.gone)
		host->config.gone(host->config.ctx);
}

/*
 * A device that somebody deleted does not come back by itself, and its descriptor is readable for ever: tell
 * it once, then only empty the ring until control makes another.
 */
static void outlive_device(struct dp_host *host)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};

	tell_gone(host);
	while (!atomic_load_explicit(&host->stop, memory_order_relaxed)) {
		dp_host_count(&host->counters.rounds, 1);
		while (drop_burst(host) > 0)
			;
		nanosleep(&pause, NULL);
	}
}

static void *run_thread(void *arg)
{
	struct dp_host *host = arg;
	int rc = rte_thread_register(); /* so that the pool's cache works here */

	host->start_rc = rc < 0 ? -rte_errno : 0;
	sem_post(&host->is_ready);
	if (rc < 0)
		return NULL;
	/* Relaxed: dp_host_free() wakes us after it has set the flag, with its own barriers. */
	while (!dp_host_is_gone(host) && !atomic_load_explicit(&host->stop, memory_order_relaxed)) {
		bool has_room = may_read(host);
		unsigned moved = has_room ? dp_host_rx_burst(host) : 0;

		dp_host_count(&host->counters.rounds, 1);
		moved += dp_host_tx_burst(host);
		if (moved == 0 && has_room)
			sleep_if_idle(host);
		else if (moved == 0)
			wait_for_room();
	}
	if (dp_host_is_gone(host))
		outlive_device(host);
	dp_host_rx_fini(host); /* here, for the pool's cache */
	rte_thread_unregister();
	return NULL;
}

static int create_thread(struct dp_host *host)
{
	sigset_t all, before;
	pthread_attr_t attr;
	cpu_set_t cpus;
	int rc;

	CPU_ZERO(&cpus);
	CPU_SET(host->config.cpu, &cpus);
	pthread_attr_init(&attr);
	rc = pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (rc == 0)
		rc = pthread_create(&host->thread, &attr, run_thread, host);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return -rc;
	pthread_setname_np(host->thread, "sandd-host");
	host->has_thread = true;
	while (sem_wait(&host->is_ready) < 0)
		; /* interrupted by a signal */
	return host->start_rc;
}

unsigned dp_host_serve(struct dp_host *host, bool may_read)
{
	unsigned moved;

	if (unlikely(dp_host_is_gone(host)))
		return drop_burst(host);
	moved = dp_host_tx_burst(host);
	if (!may_read)
		return moved;
	moved += dp_host_rx_burst(host);
	if (unlikely(dp_host_is_gone(host))) {
		/* Readable for ever, it would end every sleep; and control closes it once it is told. */
		dp_idle_remove_fd(host->idle, host->tun.fd);
		tell_gone(host);
	}
	return moved;
}

/* --- life ------------------------------------------------------------------------------------- */

static int check_config(const struct dp_host_config *config, struct base_error *ret_error)
{
	unsigned room = rte_pktmbuf_data_room_size(config->pool) - RTE_PKTMBUF_HEADROOM;

	if (config->mtu_bytes < room)
		return 0;
	return base_error_set(ret_error, -EINVAL,
		"host interface %s: an MTU of %u does not fit packet buffers of %u bytes",
		config->device, config->mtu_bytes, room);
}

/* The descriptor into the sleep of whoever serves it. */
static int begin_serving(struct dp_host *host)
{
	int rc = dp_idle_add_fd(host->idle, host->tun.fd);

	if (rc == 0 && !host->rx.large)
		rc = dp_host_rx_init(host);
	if (rc < 0)
		return rc;
	/* Pairs with dp_host_is_gone(). */
	atomic_store_explicit(&host->is_gone, false, memory_order_release);
	return host->config.server ? 0 : create_thread(host);
}

static int start(struct dp_host *host, struct base_error *ret_error)
{
	const struct dp_host_config *config = &host->config;
	char name[RTE_RING_NAMESIZE];
	int rc = check_config(config, ret_error);

	if (rc == 0)
		rc = dp_tun_open(&host->tun, config, ret_error);
	if (rc < 0)
		return rc;
	snprintf(name, sizeof(name), "host_%s", config->device);
	host->ring = rte_ring_create(name, config->ring_size, SOCKET_ID_ANY, RING_F_SC_DEQ);
	if (!host->ring)
		return base_error_set(ret_error, -rte_errno, "host interface %s: no ring of %u: %s",
			config->device, config->ring_size, rte_strerror(rte_errno));
	host->idle = config->server ? config->server : dp_idle_new();
	rc = host->idle ? begin_serving(host) : -errno;
	if (rc < 0)
		return base_error_set(ret_error, rc,
			"host interface %s: cannot start its thread on CPU %u: %s", config->device,
			config->cpu, strerror(-rc));
	return 0;
}

struct dp_host *dp_host_new(const struct dp_host_config *config, struct base_error *ret_error)
{
	struct dp_host *host = calloc(1, sizeof(*host));
	int rc;

	if (!host) {
		base_error_set(ret_error, -ENOMEM, "host interface %s: no memory", config->device);
		return NULL;
	}
	host->config = *config;
	host->tun.fd = -1;
	sem_init(&host->is_ready, 0, 0);
	rc = start(host, ret_error);
	if (rc < 0) {
		dp_host_free(host);
		errno = -rc;
		return NULL;
	}
	return host;
}

static void stop_thread(struct dp_host *host)
{
	if (!host->has_thread)
		return;
	atomic_store_explicit(&host->stop, true, memory_order_relaxed);
	dp_idle_wake(host->idle);
	pthread_join(host->thread, NULL);
	host->has_thread = false;
}

enum dp_host_change dp_host_look(struct dp_host *host)
{
	bool was_down = host->is_down;

	if (!host->tun.nl)
		return DP_HOST_SAME;
	host->is_down = !dp_tun_is_up(&host->tun);
	if (was_down == host->is_down)
		return DP_HOST_SAME;
	if (host->is_down)
		return DP_HOST_WENT_DOWN;
	dp_tun_restore(&host->tun, &host->config);
	return DP_HOST_CAME_UP;
}

int dp_host_reopen(struct dp_host *host, struct base_error *ret_error)
{
	int rc;

	stop_thread(host);
	dp_tun_close(&host->tun);
	rc = dp_tun_open(&host->tun, &host->config, ret_error);
	if (rc < 0)
		return rc;
	host->is_down = false;
	atomic_store_explicit(&host->stop, false, memory_order_relaxed);
	rc = begin_serving(host);
	if (rc < 0)
		dp_tun_close(&host->tun);
	return rc < 0 ? base_error_set(ret_error, rc,
				"host interface %s: cannot start its thread again: %s",
				host->config.device, strerror(-rc))
		      : 0;
}

void dp_host_free(struct dp_host *host)
{
	void *packet;

	if (!host)
		return;
	stop_thread(host);
	while (host->ring && rte_ring_dequeue(host->ring, &packet) == 0)
		rte_pktmbuf_free(packet);
	dp_host_rx_fini(host);
	rte_ring_free(host->ring);
	if (!host->config.server)
		dp_idle_free(host->idle);
	dp_tun_close(&host->tun);
	sem_destroy(&host->is_ready);
	free(host);
}

struct rte_ring *dp_host_ring(const struct dp_host *host)
{
	return host->ring;
}

void dp_host_wake(struct dp_host *host)
{
	dp_idle_wake(host->idle);
}

static bool has_addr(const struct base_prefix *addrs, unsigned n, const struct base_prefix *addr)
{
	for (unsigned i = 0; i < n; i++) {
		if (base_prefix_equal(&addrs[i], addr))
			return true;
	}
	return false;
}

/* Those of @now that @before has not. */
static int add_addrs(struct dp_host *host, const struct base_prefix *now, unsigned n_now,
	const struct base_prefix *before, unsigned n_before, struct base_error *ret_error)
{
	for (unsigned i = 0; i < n_now; i++) {
		int rc = has_addr(before, n_before, &now[i])
			? 0
			: dp_tun_addr_add(&host->tun, &host->config, &now[i], ret_error);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Those of @before that @now has not; refusals: somebody was faster. */
static void remove_addrs(struct dp_host *host, const struct base_prefix *now, unsigned n_now,
	const struct base_prefix *before, unsigned n_before)
{
	for (unsigned i = 0; i < n_before; i++) {
		if (!has_addr(now, n_now, &before[i]))
			(void)dp_tun_addr_remove(&host->tun, &before[i]);
	}
}

int dp_host_addrs_set(struct dp_host *host, const struct base_prefix *addrs, unsigned n_addrs,
	struct base_error *ret_error)
{
	struct dp_host_config *config = &host->config;
	int rc = 0;

	/* A device that is gone is made again with what the configuration says then. */
	if (host->tun.nl && dp_tun_is_there(&host->tun)) {
		rc = add_addrs(host, addrs, n_addrs, config->addrs, config->n_addrs, ret_error);
		if (rc < 0)
			remove_addrs(host, config->addrs, config->n_addrs, addrs, n_addrs);
		else
			remove_addrs(host, addrs, n_addrs, config->addrs, config->n_addrs);
	}
	if (rc < 0)
		return rc;
	if (n_addrs)
		memcpy(config->addrs, addrs, n_addrs * sizeof(*addrs));
	config->n_addrs = n_addrs;
	/* With the first IPv4 address of a network the kernel takes the others as well. */
	if (host->tun.nl)
		dp_tun_restore(&host->tun, config);
	return 0;
}

static void clear_host_bits(struct base_prefix *prefix)
{
	for (unsigned bit = prefix->bits; bit < 8 * sizeof(prefix->addr.bytes); bit++)
		prefix->addr.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

/* Do the routes that come with the device's addresses cover @prefix? */
static bool is_covered(const struct dp_host *host, const struct base_prefix *prefix)
{
	for (unsigned i = 0; i < host->config.n_addrs; i++) {
		struct base_prefix own = host->config.addrs[i];

		clear_host_bits(&own);
		if (own.bits <= prefix->bits && base_prefix_contains(&own, &prefix->addr))
			return true;
	}
	return false;
}

int dp_host_route_add(struct dp_host *host, const struct base_prefix *prefix)
{
	if (prefix->bits == 0)
		return -EOPNOTSUPP;
	return is_covered(host, prefix) ? 0 : dp_tun_route(&host->tun, RTM_NEWROUTE, prefix);
}

int dp_host_route_remove(struct dp_host *host, const struct base_prefix *prefix)
{
	if (prefix->bits == 0)
		return -EOPNOTSUPP;
	return is_covered(host, prefix) ? 0 : dp_tun_route(&host->tun, RTM_DELROUTE, prefix);
}

void dp_host_stats(const struct dp_host *host, struct dp_host_stats *ret_stats)
{
#define READ(name) .name = atomic_load_explicit(&host->counters.name, memory_order_relaxed)
	*ret_stats = (struct dp_host_stats){READ(rx_pkts), READ(rx_bytes), READ(rx_reads),
		READ(tx_pkts), READ(tx_bytes), READ(tx_writes), READ(drop_no_mbuf_pkts),
		READ(drop_too_large_pkts), READ(drop_bad_header_pkts), READ(drop_write_pkts),
		READ(ring_high)};
#undef READ
}

bool dp_host_rounds(const struct dp_host *host, uint64_t *ret_rounds)
{
	*ret_rounds = atomic_load_explicit(&host->counters.rounds, memory_order_relaxed);
	return host->has_thread;
}
