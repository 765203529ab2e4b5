/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface's thread: packets between the TUN device and the workers. The device itself
 * is dp_tun.c. Read dp_host.h first.
 */
#include "dp_host.h"

#include "base_clock.h"
#include "in_offload.h"
#include "dp_tun.h"
#include "dp_idle.h"

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
#include <sys/uio.h>
#include <unistd.h>

/* The device's virtio_net_hdr in its old, short form, which a TUN has unless told otherwise. */
#define HDR_BYTES sizeof(struct virtio_net_hdr)

struct dp_host {
	struct dp_host_config config;
	struct dp_tun tun;
	struct dp_idle *idle;
	struct rte_ring *ring;

	pthread_t thread;
	bool has_thread;
	int start_rc; /* of the thread, valid once it has posted is_ready */
	sem_t is_ready;
	atomic_bool stop; /* control writes, the thread reads */

	/* The thread's: mbufs taken ahead of the packets they are for. */
	struct rte_mbuf *spare[DP_HOST_BURST];
	unsigned n_spare;
	bool is_gone; /* somebody deleted the device */

	/* Written by the thread, read by anybody: relaxed, each stands for itself. */
	_Atomic uint64_t rx_pkts, rx_bytes, tx_pkts, tx_bytes;
	_Atomic uint64_t drop_no_mbuf_pkts, drop_too_large_pkts, drop_bad_header_pkts,
		drop_write_pkts;
};

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

/* --- kernel to tunnel ------------------------------------------------------------------------- */

/* The next mbuf to read into, or NULL when the pool is empty. */
static struct rte_mbuf *take_spare(struct dp_host *host)
{
	if (host->n_spare == 0) {
		if (rte_pktmbuf_alloc_bulk(host->config.pool, host->spare, DP_HOST_BURST) != 0)
			return rte_pktmbuf_alloc(host->config.pool);
		host->n_spare = DP_HOST_BURST;
	}
	return host->spare[--host->n_spare];
}

/* Without an mbuf the packet is taken all the same, or the device would stay readable for ever. */
static bool discard_one(struct dp_host *host)
{
	char head[64]; /* the rest of the packet goes with it */

	if (read(host->tun.fd, head, sizeof(head)) <= 0)
		return false;
	count(&host->drop_no_mbuf_pkts, 1);
	return true;
}

/* What the header asks of us; false for a packet that cannot be right. */
static bool finish_packet(
	struct dp_host *host, struct rte_mbuf *m, const struct virtio_net_hdr *hdr)
{
	if (m->pkt_len > host->config.mtu_bytes) {
		count(&host->drop_too_large_pkts, 1);
		return false;
	}
	if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE ||
		((hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) &&
			!in_csum_complete(rte_pktmbuf_mtod(m, uint8_t *), m->pkt_len,
				hdr->csum_start, hdr->csum_offset))) {
		count(&host->drop_bad_header_pkts, 1);
		return false;
	}
	return true;
}

enum read_result { READ_PACKET, READ_DROPPED, READ_NOTHING };

static enum read_result read_one(struct dp_host *host, struct rte_mbuf **ret_packet)
{
	struct virtio_net_hdr hdr;
	struct rte_mbuf *m = take_spare(host);
	struct iovec iov[2];
	ssize_t n;

	if (!m)
		return discard_one(host) ? READ_DROPPED : READ_NOTHING;
	iov[0] = (struct iovec){&hdr, HDR_BYTES};
	iov[1] = (struct iovec){rte_pktmbuf_mtod(m, void *), rte_pktmbuf_tailroom(m)};
	n = readv(host->tun.fd, iov, 2);
	if (n <= (ssize_t)HDR_BYTES) {
		host->is_gone |= n < 0 && errno == EBADFD;
		/* Back to the spares: there is room, it came from there or the array is empty. */
		host->spare[host->n_spare++] = m;
		return READ_NOTHING;
	}
	m->data_len = (uint16_t)((size_t)n - HDR_BYTES);
	m->pkt_len = m->data_len;
	if (!finish_packet(host, m, &hdr)) {
		rte_pktmbuf_free(m);
		return READ_DROPPED;
	}
	*ret_packet = m;
	return READ_PACKET;
}

/* Up to a burst from the device to the workers. Returns how many packets were taken off the device. */
static unsigned read_burst(struct dp_host *host)
{
	struct rte_mbuf *pkts[DP_HOST_BURST];
	unsigned n = 0, taken = 0;
	uint64_t bytes = 0;

	for (; taken < DP_HOST_BURST; taken++) {
		enum read_result result = read_one(host, &pkts[n]);

		if (result == READ_NOTHING)
			break;
		if (result == READ_PACKET)
			bytes += pkts[n++]->pkt_len;
	}
	if (n > 0) {
		count(&host->rx_pkts, n);
		count(&host->rx_bytes, bytes);
		host->config.from_host(host->config.ctx, pkts, n);
	}
	return taken;
}

/* --- tunnel to kernel ------------------------------------------------------------------------- */

/*
 * The header is all zero: nothing is left to do, and the kernel checks what it wants to check (a
 * TUN device ignores VIRTIO_NET_HDR_F_DATA_VALID).
 */
static bool write_one(struct dp_host *host, const struct rte_mbuf *m)
{
	struct virtio_net_hdr hdr = {0};
	struct iovec iov[2] = {{&hdr, HDR_BYTES}, {rte_pktmbuf_mtod(m, void *), m->data_len}};

	return m->nb_segs == 1 &&
		writev(host->tun.fd, iov, 2) == (ssize_t)(HDR_BYTES + m->data_len);
}

static unsigned write_burst(struct dp_host *host)
{
	struct rte_mbuf *pkts[DP_HOST_BURST];
	unsigned n = rte_ring_sc_dequeue_burst(host->ring, (void **)pkts, DP_HOST_BURST, NULL);
	uint64_t written = 0, bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		if (!write_one(host, pkts[i]))
			continue;
		written++;
		bytes += pkts[i]->data_len;
	}
	if (n > 0) {
		count(&host->tx_pkts, written);
		count(&host->tx_bytes, bytes);
		count(&host->drop_write_pkts, n - written);
		rte_pktmbuf_free_bulk(pkts, n);
	}
	return n;
}

/* --- the thread ------------------------------------------------------------------------------- */

/* Sleep until the device is readable or a worker wakes us. */
static void sleep_if_idle(struct dp_host *host)
{
	dp_idle_prepare(host->idle);
	if (!rte_ring_empty(host->ring) || atomic_load_explicit(&host->stop, memory_order_relaxed))
		dp_idle_cancel(host->idle);
	else
		dp_idle_wait(host->idle, BASE_NEVER_NS);
}

/*
 * A device that somebody deleted does not come back, and its descriptor is readable for ever: tell it
 * once, then only empty the ring until the end.
 */
static void outlive_device(struct dp_host *host)
{
	const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};

	if (host->config.gone)
		host->config.gone(host->config.ctx);
	while (!atomic_load_explicit(&host->stop, memory_order_relaxed)) {
		while (write_burst(host) > 0)
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
	while (!host->is_gone && !atomic_load_explicit(&host->stop, memory_order_relaxed)) {
		unsigned moved = read_burst(host);

		moved += write_burst(host);
		if (moved == 0)
			sleep_if_idle(host);
	}
	if (host->is_gone)
		outlive_device(host);
	rte_pktmbuf_free_bulk(host->spare, host->n_spare);
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
	host->idle = dp_idle_new();
	rc = host->idle ? dp_idle_add_fd(host->idle, host->tun.fd) : -errno;
	if (rc == 0)
		rc = create_thread(host);
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

void dp_host_free(struct dp_host *host)
{
	void *packet;

	if (!host)
		return;
	if (host->has_thread) {
		atomic_store_explicit(&host->stop, true, memory_order_relaxed);
		dp_idle_wake(host->idle);
		pthread_join(host->thread, NULL);
	}
	while (host->ring && rte_ring_dequeue(host->ring, &packet) == 0)
		rte_pktmbuf_free(packet);
	rte_ring_free(host->ring);
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
#define READ(name) .name = atomic_load_explicit(&host->name, memory_order_relaxed)
	*ret_stats = (struct dp_host_stats){READ(rx_pkts), READ(rx_bytes), READ(tx_pkts),
		READ(tx_bytes), READ(drop_no_mbuf_pkts), READ(drop_too_large_pkts),
		READ(drop_bad_header_pkts), READ(drop_write_pkts)};
#undef READ
}
