/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bringing up what packets need: EAL, packet memory, ports. Control thread.
 */
#ifndef DP_INIT_H
#define DP_INIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base_err.h"
#include "dp_api.h"
#include "dp_xdp.h"
#include "dp_xdp_rings.h"

struct dp_packet;
struct dp_relay;
struct rte_mempool;
struct rte_ring;

/** Receive and send queues of one port at most: what an adaptive worker can watch. */
#define DP_PORT_QUEUES_MAX 16
#define DP_PORT_FDS_MAX (2 * DP_PORT_QUEUES_MAX)
#define DP_PORT_DESCS 1024
/** Packets that may wait for the kernel on the host interface. */
#define DP_HOST_RING_PKTS 2048

/** One of DPDK's queues. */
struct dp_eth_queue {
	uint16_t id; /* of the device */
	uint16_t queue;
};

struct dp_port {
	enum dp_port_kind kind;
	/* Writer: control, while it opens and closes the port; to workers a closed one is not there. */
	_Atomic bool is_open;
	uint16_t id;        /* DPDK's number, of the first device */
	uint16_t n_devices; /* one, or one per queue */
	uint16_t n_started;
	uint32_t ifindex;   /* of the kernel's interface that it was opened on */
	bool filters_local; /* sees frames to other hosts: check the destination */
	char device[DP_DEVICE_NAME_LEN];
	char vdev[32];
	uint16_t n_queues; /* fixed while the dataplane runs */
	uint16_t tx_burst; /* frames of one send */
	struct dp_eth_queue queues[DP_PORT_QUEUES_MAX];
	struct dp_packet *packets[DP_PORT_QUEUES_MAX]; /* DP_PORT_AF_PACKET: its queues, instead */
	struct dp_relay *relay; /* no port of any device: what is sent goes to control */
	uint8_t mac[6];
	int fds[DP_PORT_FDS_MAX]; /* sockets, for sleeping; borrowed from the driver */
	unsigned n_fds;
	struct dp_xdp_rings *xdp_rings[DP_PORT_QUEUES_MAX]; /* what the kernel has of our packets */
	struct dp_xdp_map *xdp_map;                         /* where a device has no joint queues */
	char xdp_path[DP_XDP_PATH_LEN];                     /* while it starts */
	int xdp_fd;
	uint32_t xdp_prog_id;                          /* what we attached; 0: nothing */
	struct rte_ring *rx_rings[DP_PORT_QUEUES_MAX]; /* DP_PORT_RING: what the port receives, */
	struct rte_ring *tx_rings[DP_PORT_QUEUES_MAX]; /* and what it sent */
};

/**
 * Start EAL with lcores for @n_workers, once per process: a second call with no more reuses it.
 * @warn: told when there are no hugepages. Returns 0 or -Exxx with a line.
 */
BASE_MUST_CHECK int dp_eal_init(const struct dp_config *config, unsigned n_workers,
	void (*warn)(const char *line), struct base_error *ret_error);
bool dp_eal_has_hugepages(void);
/** What EAL was given for packets and rings. */
uint64_t dp_eal_memory_bytes(void);
/** MB that @config needs, when it names none. */
unsigned dp_memory_mb(const struct dp_config *config);

/** Packets for everything; NULL with errno. */
struct rte_mempool *dp_pool_new(const struct dp_config *config);

/** Make and start a port with queues for every worker, or as many as the device has. */
BASE_MUST_CHECK int dp_port_start(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error);
void dp_port_stop(struct dp_port *port);

/** A port whose interface has gone: give up its devices, take back its packets. No worker may use it any more. */
void dp_port_close(struct dp_port *port, struct rte_mempool *pool);
/** A closed port whose interface is there again, with as many queues as before. 0 or -Exxx with a line; closed then. */
BASE_MUST_CHECK int dp_port_open(struct dp_port *port, const struct dp_config *config, unsigned i,
	struct rte_mempool *pool, struct base_error *ret_error);
/** What a person should know of a port that has started: lines for @caution. */
void dp_port_check(const struct dp_port *port, unsigned n_workers,
	void (*caution)(void *ctx, const char *line), void *ctx);

#endif
