/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL, packet memory and ports (dp_init.h). Control thread.
 */
#include "dp_init.h"

#include "dp_handshake.h"
#include "dp_idle.h"
#include "dp_packet.h"
#include "dp_pkt.h"
#include "dp_worker.h"
#include "dp_xdp.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#define FAMILY_AF_XDP 44
#define SOCKETS_MAX 256
/* What the kernel sends in one system call when it copies (its TX_BATCH). */
#define XDP_TX_BURST 32
/* Frames that a driver holds per queue: its receive and send rings and what it keeps in flight. */
#define PKTS_PER_QUEUE (4 * DP_PORT_DESCS)
/* One mbuf with what the pool puts around it, for sizing. */
#define PKT_MEMORY_BYTES 2560
/* Rings, per-port memory and DPDK's own. */
#define FIXED_MEMORY_MB 32
#define POOL_CACHE 256
#define HUGEPAGE_BYTES (UINT64_C(2) << 20)

static struct {
	bool is_up;
	bool has_hugepages;
	unsigned n_workers;
	unsigned memory_mb;
} eal;

/* Free 2 MB pages, in MB. */
static unsigned hugepages_free_mb(void)
{
	FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");
	unsigned pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%u", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (unsigned)(HUGEPAGE_BYTES >> 20);
}

/* Ask the driver of a kernel interface; @command starts with the number of what is asked. 0 or -Exxx. */
static int ethtool(const char *device, void *command)
{
	struct ifreq request = {.ifr_data = command};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = fd < 0 ? -errno : 0;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	if (!error && ioctl(fd, SIOCETHTOOL, &request) != 0)
		error = -errno;
	if (fd >= 0)
		close(fd);
	return error;
}

/*
 * Receive queues of a device. Where they are not joint with the send queues (veth) the af_xdp driver of
 * DPDK counts one: then each queue becomes a device of its own.
 */
static unsigned device_queues(const char *device, bool *ret_is_joint)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};

	*ret_is_joint = true;
	if (ethtool(device, &channels) != 0)
		return 1;
	if (channels.combined_count)
		return channels.combined_count;
	*ret_is_joint = RTE_MIN(channels.rx_count, channels.tx_count) <= 1;
	return *ret_is_joint ? 1 : RTE_MIN(channels.rx_count, channels.tx_count);
}

/* A device of the kernel's spreads its packets over all the queues that it has; the others have as many as they need. */
static unsigned port_queues(const struct dp_port_config *port, unsigned n_workers)
{
	unsigned n = n_workers;
	bool is_joint;

	if (port->kind == DP_PORT_AF_XDP)
		n = device_queues(port->device, &is_joint);
	else if (port->n_queues)
		n = port->n_queues;
	return RTE_MIN(n, (unsigned)DP_PORT_QUEUES_MAX);
}

static unsigned pkts_needed(const struct dp_config *config)
{
	unsigned per_worker = 2 * DP_RING_PKTS + DP_STAGED_PKTS_MAX + DP_NEIGHBOUR_PKTS_MAX +
		POOL_CACHE * 2 + DP_BURST * 4;
	unsigned shared = DP_HOST_RING_PKTS;
	unsigned queues = 0;

	for (unsigned i = 0; i < config->n_ports; i++)
		queues += port_queues(&config->ports[i], config->n_workers);
	return config->n_workers * per_worker + shared + queues * PKTS_PER_QUEUE;
}

unsigned dp_memory_mb(const struct dp_config *config)
{
	uint64_t bytes = (uint64_t)pkts_needed(config) * PKT_MEMORY_BYTES;

	if (config->memory_mb)
		return config->memory_mb;
	return RTE_ALIGN_CEIL((unsigned)(bytes >> 20) + FIXED_MEMORY_MB, 2u);
}

/* EAL wants arguments that it may write to. */
struct args {
	char *argv[16];
	int n;
	size_t used;
	char text[DP_WORKERS_MAX * 10 + 256];
};

BASE_PRINTF(2, 3)
static void args_add(struct args *args, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(args->text + args->used, sizeof(args->text) - args->used, fmt, ap);
	va_end(ap);
	args->argv[args->n++] = args->text + args->used;
	args->used += (size_t)len + 1;
}

/* "0@0,1@1,2@3": lcore 0 is control, worker n is lcore n + 1. */
static void lcores_print(char *buf, size_t size, const struct dp_config *config, unsigned n_workers)
{
	size_t len = (size_t)snprintf(buf, size, "0@%u", config->control_cpu);

	for (unsigned i = 0; i < n_workers && len < size; i++)
		len += (size_t)snprintf(
			buf + len, size - len, ",%u@%u", i + 1, config->worker_cpus[i]);
}

int dp_eal_init(const struct dp_config *config, unsigned n_workers, void (*warn)(const char *line),
	struct base_error *ret_error)
{
	unsigned memory_mb = dp_memory_mb(config);
	char lcores[DP_WORKERS_MAX * 10 + 16];
	bool has_hugepages = hugepages_free_mb() >= memory_mb;
	struct args args = {0};

	if (eal.is_up) {
		if (n_workers <= eal.n_workers)
			return 0;
		return base_error_set(ret_error, -EBUSY,
			"this process has started DPDK with %u workers already; start it anew for "
			"%u",
			eal.n_workers, n_workers);
	}
	lcores_print(lcores, sizeof(lcores), config, n_workers);
	args_add(&args, "sandd-gw");
	args_add(&args, "--no-pci");
	if (config->has_telemetry)
		args_add(&args, "--file-prefix=sandd-gw");
	else
		args_add(&args, "--no-telemetry");
	args_add(&args, "--iova-mode=va");
	args_add(&args, "--log-level=error");
	args_add(&args, "--main-lcore=0");
	args_add(&args, "--lcores=%s", lcores);
	args_add(&args, "-m%u", memory_mb);
	args_add(&args, "%s", has_hugepages ? "--in-memory" : "--no-huge");
	if (!has_hugepages)
		args_add(&args, "--no-shconf");
	if (rte_eal_init(args.n, args.argv) < 0)
		return base_error_set(ret_error, rte_errno ? -rte_errno : -EIO,
			"DPDK does not start with lcores %s and %u MB: %s; check workers and "
			"memory_mb",
			lcores, memory_mb, rte_strerror(rte_errno));
	eal.is_up = true;
	eal.has_hugepages = has_hugepages;
	eal.n_workers = n_workers;
	eal.memory_mb = memory_mb;
	if (!has_hugepages && warn)
		warn("no free hugepages, so packets lie in ordinary memory, which is slower; "
		     "reserve some with: scripts/setup.sh --hugepages 512");
	return 0;
}

bool dp_eal_has_hugepages(void)
{
	return eal.has_hugepages;
}

uint64_t dp_eal_memory_bytes(void)
{
	return (uint64_t)eal.memory_mb << 20;
}

/*
 * The af_xdp driver tells the kernel that the pool's memory ends after count times size. DPDK's usual
 * layout lets no object cross a page, which leaves gaps (on ordinary pages, a third of the memory),
 * and packets behind that end are lost without a word. So objects are packed.
 */
static struct rte_mempool *pool_packed(unsigned n)
{
	struct rte_pktmbuf_pool_private room = {.mbuf_data_room_size = RTE_MBUF_DEFAULT_BUF_SIZE};
	struct rte_mempool *pool = rte_mempool_create_empty("dp_pkts", n,
		sizeof(struct rte_mbuf) + RTE_MBUF_DEFAULT_BUF_SIZE, POOL_CACHE, sizeof(room),
		SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);

	if (!pool)
		return NULL;
	rte_pktmbuf_pool_init(pool, &room);
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) < 0 ||
		rte_mempool_populate_default(pool) < 0) {
		rte_mempool_free(pool);
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

/* A device that reads memory itself needs each packet within one page: the few that cross the border of
 * a hugepage are taken out and never come back. Ordinary pages are for copying alone (attach_xdp). */
static void retire_crossing(struct rte_mempool *pool)
{
	unsigned n = rte_mempool_avail_count(pool), kept = 0;
	struct rte_mbuf **pkts = calloc(n, sizeof(struct rte_mbuf *));

	if (!pkts || rte_pktmbuf_alloc_bulk(pool, pkts, n) != 0) {
		free(pkts);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		uintptr_t first = (uintptr_t)pkts[i]->buf_addr;
		uintptr_t last = first + pkts[i]->buf_len - 1;

		if (first / HUGEPAGE_BYTES == last / HUGEPAGE_BYTES)
			pkts[kept++] = pkts[i];
	}
	rte_pktmbuf_free_bulk(pkts, kept);
	free(pkts);
}

struct rte_mempool *dp_pool_new(const struct dp_config *config)
{
	struct rte_mempool *pool = pool_packed(pkts_needed(config));

	if (!pool) {
		errno = rte_errno;
		return NULL;
	}
	if (eal.has_hugepages)
		retire_crossing(pool);
	return pool;
}

/* Ports. */

/* Capabilities in effect, as bits; all when they cannot be read: the kernel will have its say. */
static uint64_t capabilities(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long caps = ~0ull;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "CapEff: %llx", &caps) == 1)
			break;
	}
	if (file)
		fclose(file);
	return caps;
}

#define CAP_BIT_NET_ADMIN (UINT64_C(1) << 12)
#define CAP_BIT_NET_RAW (UINT64_C(1) << 13)

static int check_device(const struct dp_port *port, struct base_error *ret_error)
{
	if (if_nametoindex(port->device) == 0)
		return base_error_set(ret_error, -ENODEV,
			"port %s: no such interface here; see: ip link", port->device);
	if (!(capabilities() & CAP_BIT_NET_RAW))
		return base_error_set(ret_error, -EPERM,
			"port %s: %s needs CAP_NET_RAW; run as root or grant it with setcap",
			port->device, dp_port_kind_name(port->kind));
	if (port->kind == DP_PORT_AF_XDP && !(capabilities() & CAP_BIT_NET_ADMIN))
		return base_error_set(ret_error, -EPERM,
			"port %s: af_xdp needs CAP_NET_ADMIN; run as root or grant it with setcap",
			port->device);
	return 0;
}

/* The name of a port's device @k: that of the port, and a number where there are several. */
static const char *vdev_name(const struct dp_port *port, unsigned k, char *buf, size_t size)
{
	if (k == 0)
		return port->vdev;
	snprintf(buf, size, "%s_%u", port->vdev, k);
	return buf;
}

/* Attach a virtual device for the next @n_queues queues and learn its port number. */
static int attach(
	struct dp_port *port, uint16_t n_queues, const char *args, struct base_error *ret_error)
{
	char buf[48];
	const char *name = vdev_name(port, port->n_devices, buf, sizeof(buf));
	uint16_t first = (uint16_t)(port->n_devices * n_queues), id;
	int error = rte_vdev_init(name, args);

	if (!error)
		error = rte_eth_dev_get_port_by_name(name, &id);
	if (error) {
		rte_vdev_uninit(name);
		return base_error_set(ret_error, error < 0 ? error : -EIO,
			"port %s: %s does not open it: %s; see ip link, and whether another "
			"program "
			"holds it",
			port->device, dp_port_kind_name(port->kind), strerror(abs(error)));
	}
	if (port->n_devices++ == 0)
		port->id = id;
	for (uint16_t q = 0; q < n_queues; q++)
		port->queues[first + q] = (struct dp_eth_queue){.id = id, .queue = q};
	return 0;
}

static int attach_xdp(struct dp_port *port, unsigned i, struct base_error *ret_error)
{
	bool is_joint;
	unsigned n_queues = device_queues(port->device, &is_joint);
	unsigned n_devices = is_joint ? 1 : n_queues;
	char args[192];
	int error = 0;

	/* What falls on a queue without a socket would be lost. */
	if (n_queues > DP_PORT_QUEUES_MAX)
		return base_error_set(ret_error, -E2BIG,
			"port %s: %u receive queues are more than the %d that are served; see: "
			"ethtool -L %s combined %d",
			port->device, n_queues, DP_PORT_QUEUES_MAX, port->device,
			DP_PORT_QUEUES_MAX);
	if (n_queues != port->n_queues)
		return base_error_set(ret_error, -EINVAL,
			"port %s: it came back with %u queues and had %u; give it as many again",
			port->device, n_queues, port->n_queues);
	snprintf(port->vdev, sizeof(port->vdev), "net_af_xdp%u", i);
	for (unsigned k = 0; !error && k < n_devices; k++) {
		/* Without busy_budget=0 the driver makes a system call for every poll that finds nothing,
		 * and the kernel polls the device inside each send. */
		snprintf(args, sizeof(args),
			"iface=%s,start_queue=%u,queue_count=%u,busy_budget=0,force_copy=%d,"
			"xdp_prog=%s",
			port->device, k, n_queues / n_devices, eal.has_hugepages ? 0 : 1,
			port->xdp_path);
		error = attach(port, (uint16_t)(n_queues / n_devices), args, ret_error);
	}
	return error;
}

static int attach_packet(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error)
{
	struct dp_packet_config packet = {.udp_port = config->listen_port,
		.n_queues = port->n_queues,
		.fanout = (uint16_t)((unsigned)getpid() * DP_PORTS_MAX + i),
		.pool = pool};

	memcpy(packet.device, port->device, sizeof(packet.device));
	port->filters_local = true;
	port->tx_burst = DP_BURST;
	for (unsigned q = 0; q < port->n_queues; q++) {
		port->packets[q] = dp_packet_new(&packet, ret_error);
		if (!port->packets[q])
			return -errno;
		port->fds[port->n_fds++] = dp_packet_fd(port->packets[q]);
	}
	return 0;
}

static int attach_ring(struct dp_port *port, unsigned i, struct base_error *ret_error)
{
	char name[20];
	int id;

	for (unsigned q = 0; q < port->n_queues; q++) {
		snprintf(name, sizeof(name), "dp_port%u_rx%u", i, q);
		port->rx_rings[q] = rte_ring_create(name, DP_PORT_DESCS, SOCKET_ID_ANY, 0);
		snprintf(name, sizeof(name), "dp_port%u_tx%u", i, q);
		port->tx_rings[q] = rte_ring_create(name, DP_PORT_DESCS, SOCKET_ID_ANY, 0);
		if (!port->rx_rings[q] || !port->tx_rings[q])
			return base_error_set(
				ret_error, -ENOMEM, "port %s: no memory for rings", port->device);
	}
	snprintf(name, sizeof(name), "dp%u", i);
	id = rte_eth_from_rings(
		name, port->rx_rings, port->n_queues, port->tx_rings, port->n_queues, 0);
	if (id < 0)
		return base_error_set(ret_error, rte_errno ? -rte_errno : -EIO,
			"port %s: ring port refused: %s", port->device, rte_strerror(rte_errno));
	port->id = (uint16_t)id;
	snprintf(port->vdev, sizeof(port->vdev), "net_ring_%s", name);
	port->n_devices = 1;
	for (uint16_t q = 0; q < port->n_queues; q++)
		port->queues[q] = (struct dp_eth_queue){.id = port->id, .queue = q};
	return 0;
}

static int attach_null(struct dp_port *port, unsigned i, struct base_error *ret_error)
{
	snprintf(port->vdev, sizeof(port->vdev), "net_null%u", i);
	return attach(port, port->n_queues, "size=64,copy=0", ret_error);
}

/* The sockets that this process has, to see later which are new. */
struct sockets {
	int family, fds[SOCKETS_MAX];
	unsigned n;
};

static void sockets_look(struct sockets *sockets)
{
	sockets->n = dp_idle_find_sockets(sockets->family, sockets->fds, SOCKETS_MAX);
}

/* Those that appeared since the last look are the port's. */
/* Not inline: its copy of the list would lie in every caller's frame. */
static __rte_noinline void note_sockets(struct dp_port *port, struct sockets *sockets)
{
	struct sockets before = *sockets;
	unsigned i = 0;

	sockets_look(sockets);
	for (unsigned j = 0; j < sockets->n && port->n_fds < DP_PORT_FDS_MAX; j++) {
		while (i < before.n && before.fds[i] < sockets->fds[j])
			i++;
		if (i == before.n || before.fds[i] != sockets->fds[j])
			port->fds[port->n_fds++] = sockets->fds[j];
	}
}

/*
 * A device that spreads what it receives is asked to do so by addresses and ports: those of a peer stay
 * the same, so that its packets keep to one queue and in order.
 */
static void spread_by_flow(uint16_t id, uint16_t n_queues, struct rte_eth_conf *conf)
{
	const uint64_t wanted = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
	struct rte_eth_dev_info info;

	if (n_queues == 1 || rte_eth_dev_info_get(id, &info) != 0 ||
		!(info.flow_type_rss_offloads & wanted))
		return;
	conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
	conf->rx_adv_conf.rss_conf.rss_hf = info.flow_type_rss_offloads & wanted;
}

/* Configure one device, give its queues their memory, start it. */
static int bring_up_one(struct dp_port *port, uint16_t id, uint16_t n_queues,
	struct rte_mempool *pool, struct sockets *sockets)
{
	struct rte_eth_conf conf = {0};
	int error;

	spread_by_flow(id, n_queues, &conf);
	error = rte_eth_dev_configure(id, n_queues, n_queues, &conf);
	for (uint16_t q = 0; !error && q < n_queues; q++) {
		error = rte_eth_rx_queue_setup(id, q, DP_PORT_DESCS, SOCKET_ID_ANY, NULL, pool);
		/* One by one: so each queue's socket is known. */
		if (!error && port->kind == DP_PORT_AF_XDP)
			note_sockets(port, sockets);
	}
	for (uint16_t q = 0; !error && q < n_queues; q++)
		error = rte_eth_tx_queue_setup(id, q, DP_PORT_DESCS, SOCKET_ID_ANY, NULL);
	return error ? error : rte_eth_dev_start(id);
}

static int bring_up(struct dp_port *port, struct rte_mempool *pool, struct sockets *sockets,
	struct base_error *ret_error)
{
	uint16_t each = (uint16_t)(port->n_queues / port->n_devices);
	int error = 0;

	for (unsigned k = 0; !error && k < port->n_devices; k++) {
		/* Each attaches the program anew, and refuses to where one is. */
		if (k > 0)
			dp_xdp_detach(port->device, dp_xdp_attached(port->device));
		error = bring_up_one(port, port->queues[k * each].id, each, pool, sockets);
		if (!error)
			port->n_started++;
	}
	if (error)
		return base_error_set(ret_error, error < 0 ? error : -EIO,
			"port %s: %s does not start: %s; if another program holds the interface, "
			"stop it",
			port->device, dp_port_kind_name(port->kind), strerror(abs(error)));
	return 0;
}

/* One program for all queues, where each device has put its own; and an eye on the kernel's rings. */
static int join_xdp(struct dp_port *port, struct base_error *ret_error)
{
	int error = 0;

	if (port->n_fds != port->n_queues)
		return base_error_set(ret_error, -EIO, "port %s: %u sockets for %u queues",
			port->device, port->n_fds, port->n_queues);
	if (port->n_devices > 1)
		error = dp_xdp_map_attach(port->device, port->xdp_path, port->fds, port->n_fds,
			&port->xdp_map, ret_error);
	for (unsigned q = 0; !error && q < port->n_queues; q++) {
		port->xdp_rings[q] = dp_xdp_rings_new(port->fds[q]);
		if (!port->xdp_rings[q])
			error = base_error_set(ret_error, -errno,
				"port %s: cannot map its rings: %s", port->device, strerror(errno));
	}
	return error;
}

static int attach_by_kind(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error)
{
	int error, fd = -1;

	switch (port->kind) {
	case DP_PORT_AF_XDP:
		error = check_device(port, ret_error);
		if (!error)
			error = dp_xdp_clear(port->device, ret_error);
		if (!error)
			error = dp_xdp_object_open(
				config->listen_port, port->xdp_path, &fd, ret_error);
		port->xdp_fd = fd;
		return error ? error : attach_xdp(port, i, ret_error);
	case DP_PORT_AF_PACKET:
		error = check_device(port, ret_error);
		return error ? error : attach_packet(port, config, i, pool, ret_error);
	case DP_PORT_RING:
		return attach_ring(port, i, ret_error);
	case DP_PORT_NULL:
		return attach_null(port, i, ret_error);
	}
	return base_error_set(ret_error, -EINVAL, "port %s: unknown kind", port->device);
}

static int open_port(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error)
{
	bool is_xdp = port->kind == DP_PORT_AF_XDP;
	struct sockets sockets = {.family = FAMILY_AF_XDP};
	struct rte_ether_addr mac;
	int error;

	sockets_look(&sockets);
	port->ifindex = if_nametoindex(port->device);
	error = attach_by_kind(port, config, i, pool, ret_error);
	if (!error && port->n_devices)
		error = bring_up(port, pool, &sockets, ret_error);
	if (!error && is_xdp)
		error = join_xdp(port, ret_error);
	if (is_xdp && port->n_devices)
		port->xdp_prog_id = dp_xdp_attached(port->device);
	if (port->xdp_fd >= 0)
		close(port->xdp_fd);
	port->xdp_fd = -1;
	if (error)
		return error;
	if (port->n_devices && rte_eth_macaddr_get(port->id, &mac) == 0)
		memcpy(port->mac, mac.addr_bytes, sizeof(port->mac));
	/* Release: who sees it open sees the rest. */
	atomic_store_explicit(&port->is_open, true, memory_order_release);
	return 0;
}

void dp_port_close(struct dp_port *port, struct rte_mempool *pool)
{
	char buf[48];

	atomic_store_explicit(&port->is_open, false, memory_order_relaxed);
	for (unsigned k = 0; k < port->n_devices; k++) {
		uint16_t id = port->queues[k * (port->n_queues / port->n_devices)].id;

		if (k < port->n_started)
			rte_eth_dev_stop(id);
		rte_eth_dev_close(id);
		rte_vdev_uninit(vdev_name(port, k, buf, sizeof(buf)));
	}
	/* Nothing moves there any more: what the kernel did not give back comes now. */
	for (unsigned q = 0; q < DP_PORT_QUEUES_MAX; q++) {
		dp_packet_free(port->packets[q]);
		port->packets[q] = NULL;
		dp_xdp_rings_free(port->xdp_rings[q], pool);
		port->xdp_rings[q] = NULL;
	}
	dp_xdp_map_free(port->xdp_map);
	port->xdp_map = NULL;
	if (port->kind == DP_PORT_AF_XDP)
		dp_xdp_detach(port->device, port->xdp_prog_id);
	port->xdp_prog_id = 0;
	port->n_devices = 0;
	port->n_started = 0;
	port->n_fds = 0;
}

int dp_port_open(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error)
{
	int error = open_port(port, config, i, pool, ret_error);

	if (error)
		dp_port_close(port, pool);
	return error;
}

int dp_port_start(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error)
{
	*port = (struct dp_port){
		.kind = config->ports[i].kind, .tx_burst = XDP_TX_BURST, .xdp_fd = -1};
	snprintf(port->device, sizeof(port->device), "%s", config->ports[i].device);
	port->n_queues = (uint16_t)port_queues(&config->ports[i], config->n_workers);
	return open_port(port, config, i, pool, ret_error);
}

void dp_port_stop(struct dp_port *port)
{
	dp_port_close(port, NULL);
	for (unsigned q = 0; q < DP_PORT_QUEUES_MAX; q++) {
		rte_ring_free(port->rx_rings[q]);
		rte_ring_free(port->tx_rings[q]);
	}
	memset(port, 0, sizeof(*port));
}

/* Does the kernel's driver tell flows of one address apart? It is asked, and not told: the interface is the
 * kernel's. Drivers that cannot say are left alone. */
static bool spreads_by_address_alone(const char *device)
{
	struct ethtool_rxnfc hash = {.cmd = ETHTOOL_GRXFH, .flow_type = UDP_V4_FLOW};

	return ethtool(device, &hash) == 0 && hash.data != 0 &&
		!(hash.data & (RXH_L4_B_0_1 | RXH_L4_B_2_3));
}

void dp_port_check(const struct dp_port *port, unsigned n_workers,
	void (*caution)(void *ctx, const char *line), void *ctx)
{
	char line[256];

	if (port->n_queues < n_workers) {
		snprintf(line, sizeof(line),
			"port %s: %u receive queue(s) for %u workers: the others get their packets "
			"by "
			"hand-over, which costs; if it can have more: ethtool -L %s combined %u",
			port->device, port->n_queues, n_workers, port->device, n_workers);
		caution(ctx, line);
	}
	if (port->kind == DP_PORT_AF_XDP && port->n_queues > 1 &&
		spreads_by_address_alone(port->device)) {
		snprintf(line, sizeof(line),
			"port %s: spreads UDP by address alone, so peers behind one NAT share a "
			"queue; better: ethtool -N %s rx-flow-hash udp4 sdfn",
			port->device, port->device);
		caution(ctx, line);
	}
}
