/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL, packet memory and ports (dp_init.h). Control thread.
 */
#include "dp_init.h"

#include "dp_handshake.h"
#include "dp_idle.h"
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

#define FAMILY_AF_PACKET 17
#define FAMILY_AF_XDP 44
#define SOCKETS_MAX 256
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

/* Receive queues of a device, counted as the af_xdp driver does. */
static unsigned device_queues(const char *device)
{
	struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq request = {.ifr_data = (char *)&channels};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int result;

	if (fd < 0)
		return 1;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
	result = ioctl(fd, SIOCETHTOOL, &request);
	close(fd);
	if (result != 0 || channels.combined_count == 0)
		return 1;
	return channels.combined_count;
}

/* A device of the kernel's spreads its packets over all the queues that it has; the others have as many as they need. */
static unsigned port_queues(const struct dp_port_config *port, unsigned n_workers)
{
	unsigned n = n_workers;

	if (port->kind == DP_PORT_AF_XDP)
		n = device_queues(port->device);
	else if (port->n_queues)
		n = port->n_queues;
	return RTE_MIN(n, (unsigned)DP_PORT_QUEUES_MAX);
}

static unsigned pkts_needed(const struct dp_config *config)
{
	unsigned per_worker = 2 * DP_RING_PKTS + DP_STAGED_PKTS_MAX + DP_NEIGHBOUR_PKTS_MAX +
		POOL_CACHE * 2 + DP_BURST * 4;
	unsigned shared = DP_HOST_RING_PKTS + DP_RING_HANDSHAKES;
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
			"port %s: af_xdp needs CAP_NET_ADMIN; run as root, or use kind af_packet, "
			"which needs CAP_NET_RAW alone",
			port->device);
	return 0;
}

/* Attach a virtual device and learn its port number. */
static int attach(struct dp_port *port, const char *args, struct base_error *ret_error)
{
	int error = rte_vdev_init(port->vdev, args);

	if (!error)
		error = rte_eth_dev_get_port_by_name(port->vdev, &port->id);
	if (error) {
		rte_vdev_uninit(port->vdev);
		return base_error_set(ret_error, error < 0 ? error : -EIO,
			"port %s: %s does not open it: %s; see ip link, and whether another "
			"program "
			"holds it",
			port->device, dp_port_kind_name(port->kind), strerror(abs(error)));
	}
	port->has_vdev = true;
	return 0;
}

static int attach_xdp(struct dp_port *port, unsigned i, struct base_error *ret_error)
{
	unsigned n_queues = device_queues(port->device);
	char args[160];

	/* What falls on a queue without a socket would be lost. */
	if (n_queues > DP_PORT_QUEUES_MAX)
		return base_error_set(ret_error, -E2BIG,
			"port %s: %u receive queues are more than the %d that are served; see: "
			"ethtool -L %s combined %d",
			port->device, n_queues, DP_PORT_QUEUES_MAX, port->device,
			DP_PORT_QUEUES_MAX);
	port->n_queues = (uint16_t)n_queues;
	snprintf(port->vdev, sizeof(port->vdev), "net_af_xdp%u", i);
	/* Without busy_budget=0 the driver makes a system call for every poll that finds nothing, and the
	 * kernel polls the device inside each send. */
	snprintf(args, sizeof(args),
		"iface=%s,start_queue=0,queue_count=%u,busy_budget=0,force_copy=%d,xdp_prog=%s",
		port->device, port->n_queues, eal.has_hugepages ? 0 : 1, port->xdp_path);
	return attach(port, args, ret_error);
}

static int attach_packet(struct dp_port *port, unsigned i, struct base_error *ret_error)
{
	char args[160];

	port->filters_local = true;
	snprintf(port->vdev, sizeof(port->vdev), "net_af_packet%u", i);
	/* A frame takes 2 KiB of a 64 KiB block; 1,024 of them per queue and direction. */
	snprintf(args, sizeof(args), "iface=%s,qpairs=%u,blocksz=65536,framesz=2048,framecnt=%u",
		port->device, port->n_queues, DP_PORT_DESCS);
	return attach(port, args, ret_error);
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
	port->has_vdev = true;
	return 0;
}

static int attach_null(struct dp_port *port, unsigned i, struct base_error *ret_error)
{
	snprintf(port->vdev, sizeof(port->vdev), "net_null%u", i);
	return attach(port, "size=64,copy=0", ret_error);
}

/* Configure, give queues their memory, start. */
static int bring_up(struct dp_port *port, struct rte_mempool *pool, struct base_error *ret_error)
{
	struct rte_eth_conf conf = {0};
	int error = rte_eth_dev_configure(port->id, port->n_queues, port->n_queues, &conf);

	for (uint16_t q = 0; !error && q < port->n_queues; q++)
		error = rte_eth_rx_queue_setup(
			port->id, q, DP_PORT_DESCS, SOCKET_ID_ANY, NULL, pool);
	for (uint16_t q = 0; !error && q < port->n_queues; q++)
		error = rte_eth_tx_queue_setup(port->id, q, DP_PORT_DESCS, SOCKET_ID_ANY, NULL);
	if (!error)
		error = rte_eth_dev_start(port->id);
	if (error)
		return base_error_set(ret_error, error < 0 ? error : -EIO,
			"port %s: %s does not start: %s; if another program holds the interface, "
			"stop it",
			port->device, dp_port_kind_name(port->kind), strerror(abs(error)));
	port->is_started = true;
	return 0;
}

/* The sockets that appeared between two looks. */
static void note_sockets(struct dp_port *port, int family, const int *before, unsigned n_before)
{
	int after[SOCKETS_MAX];
	unsigned n = dp_idle_find_sockets(family, after, SOCKETS_MAX), i = 0;

	for (unsigned j = 0; j < n && port->n_fds < DP_PORT_FDS_MAX; j++) {
		while (i < n_before && before[i] < after[j])
			i++;
		if (i == n_before || before[i] != after[j])
			port->fds[port->n_fds++] = after[j];
	}
}

static int attach_by_kind(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct base_error *ret_error)
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
		return error ? error : attach_packet(port, i, ret_error);
	case DP_PORT_RING:
		return attach_ring(port, i, ret_error);
	case DP_PORT_NULL:
		return attach_null(port, i, ret_error);
	}
	return base_error_set(ret_error, -EINVAL, "port %s: unknown kind", port->device);
}

int dp_port_start(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error)
{
	int before[SOCKETS_MAX], family, error;
	struct rte_ether_addr mac;
	unsigned n_before;

	*port = (struct dp_port){.kind = config->ports[i].kind, .xdp_fd = -1};
	snprintf(port->device, sizeof(port->device), "%s", config->ports[i].device);
	port->n_queues = (uint16_t)port_queues(&config->ports[i], config->n_workers);
	family = port->kind == DP_PORT_AF_XDP ? FAMILY_AF_XDP : FAMILY_AF_PACKET;
	n_before = dp_idle_find_sockets(family, before, SOCKETS_MAX);
	error = attach_by_kind(port, config, i, ret_error);
	if (!error)
		error = bring_up(port, pool, ret_error);
	if (port->kind == DP_PORT_AF_XDP && port->has_vdev)
		port->xdp_prog_id = dp_xdp_attached(port->device);
	if (port->xdp_fd >= 0)
		close(port->xdp_fd);
	port->xdp_fd = -1;
	if (error)
		return error;
	if (port->kind == DP_PORT_AF_XDP || port->kind == DP_PORT_AF_PACKET)
		note_sockets(port, family, before, n_before);
	if (rte_eth_macaddr_get(port->id, &mac) == 0)
		memcpy(port->mac, mac.addr_bytes, sizeof(port->mac));
	return 0;
}

void dp_port_stop(struct dp_port *port)
{
	if (port->is_started)
		rte_eth_dev_stop(port->id);
	if (port->has_vdev) {
		rte_eth_dev_close(port->id);
		rte_vdev_uninit(port->vdev);
	}
	if (port->kind == DP_PORT_AF_XDP)
		dp_xdp_detach(port->device, port->xdp_prog_id);
	for (unsigned q = 0; q < DP_PORT_QUEUES_MAX; q++) {
		rte_ring_free(port->rx_rings[q]);
		rte_ring_free(port->tx_rings[q]);
	}
	memset(port, 0, sizeof(*port));
}
