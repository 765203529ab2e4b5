/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The XDP program that takes only UDP to the tunnel's port (IPv4 without fragments or with any header length,
 * IPv6 without extension headers) into AF_XDP sockets and returns XDP_PASS for everything else, so the kernel
 * keeps ARP, SSH and the rest. The BPF object is embedded in the program; the port is a constant that is
 * patched before it is loaded by the af_xdp driver from a memfd. Control thread only.
 */
#ifndef DP_XDP_H
#define DP_XDP_H

#include <stdint.h>

#include "base_err.h"

/** The program's name in the kernel, by which a left-over of ours is known. */
#define DP_XDP_PROG_NAME "sandd_xdp"
#define DP_XDP_PATH_LEN 32

/**
 * Make the object for @udp_port in a memfd.
 * @ret_path: "/proc/self/fd/N", for the driver's xdp_prog= argument; @ret_fd: close it after the port started.
 * Returns 0 or a negative errno with a line.
 */
BASE_MUST_CHECK int dp_xdp_object_open(uint16_t udp_port, char ret_path[DP_XDP_PATH_LEN],
	int *ret_fd, struct base_error *ret_error);

/**
 * Before a port starts: detach a program of ours that a killed process left on @device. A
 * foreign one is -EBUSY, and the line names it (name, id) and the command that removes it; so is ours while
 * a living process holds it, which is named; a missing device -ENODEV, no permission -EPERM naming the capability.
 * Needs CAP_SYS_ADMIN only where a program is attached.
 */
BASE_MUST_CHECK int dp_xdp_clear(const char *device, struct base_error *ret_error);

/** After a port started: the number of the program that hangs on @device; 0: none. Needs no capability. */
uint32_t dp_xdp_attached(const char *device);

/**
 * After a port stopped: program @prog_id of ours does not stay attached. Safe to call when nothing is. Goes by the
 * number, for the name cannot be read without CAP_SYS_ADMIN, which is given up by then.
 */
void dp_xdp_detach(const char *device, uint32_t prog_id);

struct dp_xdp_map;

/**
 * For a device whose queues were opened one by one: load the object at @path once more, put socket q of @fds into its
 * map for queue q, and attach it in place of whatever the last of them has left there. Returns 0 or -Exxx with
 * a line.
 */
BASE_MUST_CHECK int dp_xdp_map_attach(const char *device, const char *path, const int *fds,
	unsigned n, struct dp_xdp_map **ret_map, struct base_error *ret_error);
/** Does not detach the program. NULL is fine. */
void dp_xdp_map_free(struct dp_xdp_map *map);

#endif
