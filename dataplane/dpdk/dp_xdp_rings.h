/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The four rings between an AF_XDP socket and the kernel, mapped a second time. The af_xdp driver of DPDK 22.11
 * forgets the packets that lie there when it closes a device; with an interface that comes and goes
 * the pool would run dry. Here they are taken back. Control thread.
 */
#ifndef DP_XDP_RINGS_H
#define DP_XDP_RINGS_H

struct dp_xdp_rings;
struct rte_mempool;

/** While the socket is bound, for later the kernel refuses. NULL with errno. */
struct dp_xdp_rings *dp_xdp_rings_new(int socket_fd);
/**
 * After the socket was closed. Packets of @pool that lie in the rings go back to it; NULL: they go with the pool.
 * In zero-copy mode those that a device's own ring held are not seen, and stay lost.
 */
void dp_xdp_rings_free(struct dp_xdp_rings *rings, struct rte_mempool *pool);

#endif
