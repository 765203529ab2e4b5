/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TUN device as a thing of the kernel: made, given addresses, MTU and routes by rtnetlink.
 * Internal to the host interface; others see dp_host.h. Control thread only.
 */
#ifndef DP_HOST_LINK_H
#define DP_HOST_LINK_H

#include <stdint.h>

#include "dp_host.h"

struct mnl_socket;

struct dp_host_link {
	int tun_fd; /* -1: none; the device disappears when it is closed */
	uint32_t ifindex;
	uint32_t seq;
	struct mnl_socket *nl;
};

/** Make the device and bring it up, or nothing. Returns 0 or -Exxx with a line. */
BASE_MUST_CHECK int dp_host_link_open(struct dp_host_link *ret_link,
	const struct dp_host_config *config, struct base_error *ret_error);
void dp_host_link_close(struct dp_host_link *link);

/** RTM_NEWROUTE or RTM_DELROUTE of @prefix over the device. Returns 0 or -Exxx. */
int dp_host_link_route(
	struct dp_host_link *link, uint16_t message_type, const struct base_prefix *prefix);

#endif
