/* SPDX-License-Identifier: BSD-3-Clause */
/* Making the TUN device and telling the kernel about it. Control thread. See dp_tun.h. */
#include "dp_tun.h"

#include "in_offload.h"

#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than the kernel headers of Debian 12. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* Ethernet, IPv6 and UDP around a message; WireGuard's header and tag around each packet. */
#define OUTER_BYTES (14 + 40 + 8)
#define SEALED_BYTES (16 + 16)

unsigned if_nametoindex(const char *name); /* <net/if.h> and <linux/if.h> exclude each other */

/* --- rtnetlink -------------------------------------------------------------------------------- */

struct request {
	char buf[512] __attribute__((aligned(8)));
	struct nlmsghdr *msg;
};

static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t header_len)
{
	request->msg = mnl_nlmsg_put_header(request->buf);
	request->msg->nlmsg_type = type;
	request->msg->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return mnl_nlmsg_put_extra_header(request->msg, header_len);
}

static int transact(struct dp_tun *tun, struct request *request)
{
	unsigned portid = mnl_socket_get_portid(tun->nl);
	char answer[1024] __attribute__((aligned(8)));
	ssize_t n;

	request->msg->nlmsg_seq = ++tun->seq;
	if (mnl_socket_sendto(tun->nl, request->msg, request->msg->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(tun->nl, answer, sizeof(answer));
	if (n < 0 || mnl_cb_run(answer, (size_t)n, tun->seq, portid, NULL, NULL) < 0)
		return -errno;
	return 0;
}

static int af_of(const struct base_addr *addr)
{
	return addr->family == BASE_FAMILY_V4 ? AF_INET : AF_INET6;
}

/* No link-local address of the kernel's making: nobody on a tunnel asks for it. */
static void set_no_link_local(struct dp_tun *tun)
{
	struct request request;
	struct ifinfomsg *info = begin(&request, RTM_SETLINK, 0, sizeof(*info));
	struct nlattr *spec, *inet6;

	info->ifi_index = (int)tun->ifindex;
	spec = mnl_attr_nest_start(request.msg, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(request.msg, AF_INET6);
	mnl_attr_put_u8(request.msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
	mnl_attr_nest_end(request.msg, inet6);
	mnl_attr_nest_end(request.msg, spec);
	/* Fails where the kernel has no IPv6, and matters nowhere. */
	(void)transact(tun, &request);
}

static int set_mtu(struct dp_tun *tun, uint16_t mtu_bytes)
{
	struct request request;
	struct ifinfomsg *info = begin(&request, RTM_SETLINK, 0, sizeof(*info));

	info->ifi_index = (int)tun->ifindex;
	mnl_attr_put_u32(request.msg, IFLA_MTU, mtu_bytes);
	return transact(tun, &request);
}

/*
 * Large packets of as many segments as one large message of the underlay can carry when they are sealed: then what was
 * one read leaves as one message, and not as that and a remainder.
 */
static void set_segments(struct dp_tun *tun, uint16_t mtu_bytes)
{
	struct request request;
	struct ifinfomsg *info = begin(&request, RTM_SETLINK, 0, sizeof(*info));
	uint32_t n = (IN_LARGE_BYTES - OUTER_BYTES) / (mtu_bytes + SEALED_BYTES);

	info->ifi_index = (int)tun->ifindex;
	mnl_attr_put_u32(request.msg, IFLA_GSO_MAX_SEGS, n < DP_HOST_BURST ? n : DP_HOST_BURST);
	/* Refused, it is as it was before. */
	(void)transact(tun, &request);
}

static int set_up(struct dp_tun *tun)
{
	struct request request;
	struct ifinfomsg *info = begin(&request, RTM_SETLINK, 0, sizeof(*info));

	info->ifi_index = (int)tun->ifindex;
	info->ifi_flags = info->ifi_change = IFF_UP;
	return transact(tun, &request);
}

static int change_addr(
	struct dp_tun *tun, uint16_t message_type, uint16_t flags, const struct base_prefix *ifaddr)
{
	struct request request;
	struct ifaddrmsg *ifa = begin(&request, message_type, flags, sizeof(*ifa));
	size_t len = base_family_bytes(ifaddr->addr.family);

	ifa->ifa_family = (uint8_t)af_of(&ifaddr->addr);
	ifa->ifa_prefixlen = ifaddr->bits;
	ifa->ifa_index = tun->ifindex;
	ifa->ifa_scope = RT_SCOPE_UNIVERSE;
	mnl_attr_put(request.msg, IFA_LOCAL, len, ifaddr->addr.bytes);
	mnl_attr_put(request.msg, IFA_ADDRESS, len, ifaddr->addr.bytes);
	/* Nobody else could have it: no second of waiting for duplicates. */
	if (ifaddr->addr.family == BASE_FAMILY_V6)
		mnl_attr_put_u32(request.msg, IFA_FLAGS, IFA_F_NODAD);
	return transact(tun, &request);
}

static int add_addr(struct dp_tun *tun, const struct base_prefix *ifaddr)
{
	return change_addr(tun, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, ifaddr);
}

int dp_tun_addr_remove(struct dp_tun *tun, const struct base_prefix *ifaddr)
{
	return change_addr(tun, RTM_DELADDR, 0, ifaddr);
}

int dp_tun_addr_add(struct dp_tun *tun, const struct dp_host_config *config,
	const struct base_prefix *ifaddr, struct base_error *ret_error)
{
	char text[BASE_PREFIX_TEXT_LEN];
	int rc = add_addr(tun, ifaddr);

	if (rc == 0)
		return 0;
	return base_error_set(ret_error, rc, "host interface %s: address %s refused: %s%s",
		config->device, base_prefix_print(text, ifaddr), strerror(-rc),
		ifaddr->addr.family == BASE_FAMILY_V6
			? "; is IPv6 on (net.ipv6.conf.all.disable_ipv6=0) and the MTU at least "
			  "1280?"
			: "");
}

bool dp_tun_is_there(const struct dp_tun *tun)
{
	struct ifreq ifr = {.ifr_ifindex = (int)tun->ifindex};

	return ioctl(mnl_socket_get_fd(tun->nl), SIOCGIFNAME, &ifr) == 0;
}

bool dp_tun_is_up(const struct dp_tun *tun)
{
	struct ifreq ifr = {.ifr_ifindex = (int)tun->ifindex};
	int fd = mnl_socket_get_fd(tun->nl);

	return ioctl(fd, SIOCGIFNAME, &ifr) == 0 && ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 &&
		(ifr.ifr_flags & IFF_UP);
}

void dp_tun_restore(struct dp_tun *tun, const struct dp_host_config *config)
{
	/* The kernel keeps IPv4's, and takes IPv6's away. Refusals: it is there already. */
	for (unsigned i = 0; i < config->n_addrs; i++)
		(void)add_addr(tun, &config->addrs[i]);
}

int dp_tun_route(struct dp_tun *tun, uint16_t message_type, const struct base_prefix *prefix)
{
	bool is_new = message_type == RTM_NEWROUTE;
	struct request request;
	struct rtmsg *rtm =
		begin(&request, message_type, is_new ? NLM_F_CREATE | NLM_F_EXCL : 0, sizeof(*rtm));

	rtm->rtm_family = (uint8_t)af_of(&prefix->addr);
	rtm->rtm_dst_len = prefix->bits;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = RTPROT_STATIC;
	rtm->rtm_scope = RT_SCOPE_LINK;
	rtm->rtm_type = RTN_UNICAST;
	mnl_attr_put(
		request.msg, RTA_DST, base_family_bytes(prefix->addr.family), prefix->addr.bytes);
	mnl_attr_put_u32(request.msg, RTA_OIF, tun->ifindex);
	return transact(tun, &request);
}

/* --- the device ------------------------------------------------------------------------------- */

static int refuse_permission(const char *device, int code, struct base_error *ret_error)
{
	return base_error_set(ret_error, code,
		"host interface %s: not allowed to make a TUN device; run as root or with "
		"CAP_NET_ADMIN",
		device);
}

static int open_tun(struct base_error *ret_error, const char *device)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	if (errno == EACCES || errno == EPERM)
		return refuse_permission(device, -EPERM, ret_error);
	return base_error_set(ret_error, -errno,
		"host interface %s: cannot open /dev/net/tun: %s; try: modprobe tun, or give the "
		"container that device",
		device, strerror(errno));
}

/* IFF_TUN_EXCL: a device that is there already, even a TUN that waits for its program, is not taken over. */
static int make_device(int fd, const char *device, struct base_error *ret_error)
{
	struct ifreq ifr = {
		.ifr_flags = (short)(IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL)};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	if (if_nametoindex(device) != 0)
		return base_error_set(ret_error, -EEXIST,
			"host interface %s: the name is taken; choose another, or if nobody needs "
			"it: ip link del %s",
			device, device);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0) {
		if (errno == EPERM)
			return refuse_permission(device, -EPERM, ret_error);
		return base_error_set(ret_error, -errno,
			"host interface %s: cannot make the TUN device: %s", device,
			strerror(errno));
	}
	return 0;
}

/* Checksums and segments are left to us: large TCP always, large UDP where the kernel knows it. */
static int set_offloads(struct dp_tun *tun, const char *device, struct base_error *ret_error)
{
	unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	tun->has_udp_segments = ioctl(tun->fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0;
	if (!tun->has_udp_segments && ioctl(tun->fd, TUNSETOFFLOAD, tcp) < 0)
		return base_error_set(ret_error, -errno, "host interface %s: no offloads: %s",
			device, strerror(errno));
	return 0;
}

static int configure(
	struct dp_tun *tun, const struct dp_host_config *config, struct base_error *ret_error)
{
	int rc = set_mtu(tun, config->mtu_bytes);

	if (rc < 0)
		return base_error_set(ret_error, rc, "host interface %s: MTU %u refused: %s",
			config->device, config->mtu_bytes, strerror(-rc));
	set_no_link_local(tun);
	set_segments(tun, config->mtu_bytes);
	for (unsigned i = 0; i < config->n_addrs; i++) {
		rc = dp_tun_addr_add(tun, config, &config->addrs[i], ret_error);
		if (rc < 0)
			return rc;
	}
	rc = set_up(tun);
	if (rc < 0)
		return base_error_set(ret_error, rc, "host interface %s: cannot bring it up: %s",
			config->device, strerror(-rc));
	return 0;
}

int dp_tun_open(
	struct dp_tun *ret_tun, const struct dp_host_config *config, struct base_error *ret_error)
{
	struct dp_tun tun = {.fd = open_tun(ret_error, config->device)};
	int rc = tun.fd < 0 ? tun.fd : 0;

	if (rc == 0)
		rc = make_device(tun.fd, config->device, ret_error);
	if (rc == 0)
		rc = set_offloads(&tun, config->device, ret_error);
	if (rc == 0) {
		tun.ifindex = if_nametoindex(config->device);
		tun.nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
		if (!tun.nl || mnl_socket_bind(tun.nl, 0, MNL_SOCKET_AUTOPID) < 0)
			rc = base_error_set(ret_error, -errno, "host interface %s: no netlink: %s",
				config->device, strerror(errno));
	}
	if (rc == 0)
		rc = configure(&tun, config, ret_error);
	if (rc < 0) {
		dp_tun_close(&tun);
		return rc;
	}
	*ret_tun = tun;
	return 0;
}

void dp_tun_close(struct dp_tun *tun)
{
	if (tun->nl)
		mnl_socket_close(tun->nl);
	if (tun->fd >= 0)
		close(tun->fd);
	tun->nl = NULL;
	tun->fd = -1;
}
