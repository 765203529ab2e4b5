/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TUN device as a thing of the kernel: made, given addresses, MTU and routes by rtnetlink.
 * Internal to the host interface; others see dp_host.h. Control thread only.
 */
#ifndef DP_TUN_H
#define DP_TUN_H

#include <stdbool.h>
#include <stdint.h>

#include "dp_host.h"

struct mnl_socket;

struct dp_tun {
	int fd;                /* -1: none; the device disappears when it is closed */
	bool has_udp_segments; /* the kernel gives and takes large UDP as well (Linux 6.2) */
	uint32_t ifindex;
	uint32_t seq;
	struct mnl_socket *nl;
};

/** Make the device and bring it up, or nothing. Returns 0 or -Exxx with a line. */
BASE_MUST_CHECK int dp_tun_open(
	struct dp_tun *ret_tun, const struct dp_host_config *config, struct base_error *ret_error);
void dp_tun_close(struct dp_tun *tun);

/** Is the link up, as a person sets it? False also when it is gone. */
bool dp_tun_is_up(const struct dp_tun *tun);
/** Is there a device still? */
bool dp_tun_is_there(const struct dp_tun *tun);
/** 0 or -Exxx with a line. */
BASE_MUST_CHECK int dp_tun_addr_add(struct dp_tun *tun, const struct dp_host_config *config,
	const struct base_prefix *ifaddr, struct base_error *ret_error);
int dp_tun_addr_remove(struct dp_tun *tun, const struct base_prefix *ifaddr);
/** Addresses that went while the link was down; those that are there stay. */
void dp_tun_restore(struct dp_tun *tun, const struct dp_host_config *config);

/** RTM_NEWROUTE or RTM_DELROUTE of @prefix over the device. Returns 0 or -Exxx. */
int dp_tun_route(struct dp_tun *tun, uint16_t message_type, const struct base_prefix *prefix);

#endif
