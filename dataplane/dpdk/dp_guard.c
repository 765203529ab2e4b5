/* SPDX-License-Identifier: BSD-3-Clause */
/* UDP sockets of the kernel that hold the tunnel's port and hear nothing. Control thread. See dp_guard.h. */
#include "dp_guard.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket that accepts no packet; the filter comes before the port, so that none is ever queued. */
static int open_deaf_socket(int family)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = {.len = 1, .filter = &drop_all};
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
	int one = 1;

	if (fd < 0)
		return -errno;
	/* What it would have heard reaches dp_packet.c gathered. Unknown to kernels before 5.0. */
	(void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ||
		(family == AF_INET6 &&
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)) {
		int rc = -errno;

		close(fd);
		return rc;
	}
	return fd;
}

static int bind_port(int fd, int family, uint16_t udp_port)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(udp_port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(udp_port)};
	int rc = family == AF_INET ? bind(fd, (struct sockaddr *)&in4, sizeof(in4))
				   : bind(fd, (struct sockaddr *)&in6, sizeof(in6));

	return rc < 0 ? -errno : 0;
}

/* Returns a descriptor or a negative errno with a line. */
static int open_guard(int family, uint16_t udp_port, struct base_error *ret_error)
{
	const char *name = family == AF_INET ? "IPv4" : "IPv6";
	int fd = open_deaf_socket(family);
	int rc;

	if (fd < 0)
		return base_error_set(ret_error, fd, "UDP port %u (%s): no guard socket: %s",
			udp_port, name, strerror(-fd));
	rc = bind_port(fd, family, udp_port);
	if (rc == 0)
		return fd;
	close(fd);
	if (rc == -EADDRINUSE)
		return base_error_set(ret_error, rc,
			"UDP port %u (%s) is taken by another program; find it with: ss -lunp "
			"'sport = :%u', or choose another listen_port",
			udp_port, name, udp_port);
	if (rc == -EACCES)
		return base_error_set(ret_error, rc,
			"UDP port %u (%s) needs CAP_NET_BIND_SERVICE; or choose a listen_port "
			"above "
			"1023",
			udp_port, name);
	return base_error_set(ret_error, rc, "UDP port %u (%s): %s", udp_port, name, strerror(-rc));
}

int dp_guard_open(struct dp_guard *ret_guard, uint16_t udp_port, struct base_error *ret_error)
{
	struct dp_guard guard = {.fd4 = -1, .fd6 = -1};

	guard.fd4 = open_guard(AF_INET, udp_port, ret_error);
	if (guard.fd4 < 0)
		return guard.fd4;
	guard.fd6 = open_guard(AF_INET6, udp_port, ret_error);
	if (guard.fd6 == -EAFNOSUPPORT) {
		guard.fd6 = -1; /* a kernel without IPv6 sends no ICMPv6 either */
	} else if (guard.fd6 < 0) {
		close(guard.fd4);
		return guard.fd6;
	}
	*ret_guard = guard;
	return 0;
}

void dp_guard_close(struct dp_guard *guard)
{
	if (!guard)
		return;
	if (guard->fd4 >= 0)
		close(guard->fd4);
	if (guard->fd6 >= 0)
		close(guard->fd6);
	guard->fd4 = guard->fd6 = -1;
}
