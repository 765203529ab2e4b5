/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two host interfaces in two namespaces, and between them this process instead of a tunnel: what
 * the kernel of one side sends in large packets is cut, carried over with losses and swaps,
 * put together, and must reach the kernel of the other side byte for byte. Needs root.
 *
 *     left: htest0 10.88.0.1, fd00:88::1 === carry() === htest1 10.88.0.2, fd00:88::2 :right
 */
#include "base_bytes.h"
#include "in_offload.h"
#include "in_parse.h"
#include "dp_host.h"

#include "dp_kern_test.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define MTU 1400
#define POOL_MBUFS 8191
#define PORT 5201
#define PATTERN_BYTES 65521 /* prime: a piece in the wrong place is seen */
#define STREAM_BYTES (24u << 20)

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

/* A kernel before 6.2, which knows no segments of UDP: it refuses what dp_tun.c asks for first. */
static bool kernel_is_old;
#define TUN_F_USO_BOTH 0x60u

int ioctl(int fd, unsigned long request, ...)
{
	unsigned long argument;
	va_list ap;

	va_start(ap, request);
	argument = va_arg(ap, unsigned long);
	va_end(ap);
	if (kernel_is_old && request == TUNSETOFFLOAD && (argument & TUN_F_USO_BOTH)) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_ioctl, fd, request, argument);
}

struct side {
	struct dp_host *host;
	struct side *other;
	struct rte_mbuf *kept; /* carry(): to go after the next one */
	unsigned n;            /* packets carried */
};

static struct rte_mempool *pool;
static struct side left, right;
static atomic_bool is_cut;        /* nothing is carried */
static _Atomic unsigned in_carry; /* threads in carry() */
static atomic_bool is_rough;      /* lose, swap and repeat packets */
static _Atomic unsigned bad_pkts; /* that no network would carry */
static uint8_t pattern[2 * PATTERN_BYTES];

static bool is_right(struct rte_mbuf *m)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);
	struct in_packet p;
	uint32_t l4_len;

	if (m->nb_segs != 1 || m->pkt_len > MTU || rte_pktmbuf_headroom(m) < RTE_PKTMBUF_HEADROOM ||
		in_parse(&p, data, m->data_len) != IN_ERROR_OK || p.total_len != m->data_len)
		return false;
	l4_len = p.total_len - p.l4_off;
	if (p.version == 4 && in_csum_finish(in_csum_add(0, data, p.l4_off)) != 0)
		return false;
	if (p.proto != IN_PROTO_TCP && p.proto != IN_PROTO_UDP)
		return true;
	return in_csum_finish(in_csum_add(
		       in_csum_pseudo(data, p.proto, l4_len), data + p.l4_off, l4_len)) == 0;
}

static void give(struct side *to, struct rte_mbuf *m)
{
	if (rte_ring_enqueue(dp_host_ring(to->host), m) != 0)
		rte_pktmbuf_free(m);
}

/* from_host of both sides, each on its host's thread. Is one side missing, packets are lost. */
static void carry(void *ctx, struct rte_mbuf **pkts, unsigned n)
{
	struct side *from = ctx, *to = from->other;

	in_carry++;
	for (unsigned i = 0; i < n; i++) {
		unsigned number = from->n++;

		if (!is_right(pkts[i]))
			bad_pkts++;
		if (is_cut || (is_rough && number % 1009 == 0)) {
			rte_pktmbuf_free(pkts[i]);
		} else if (is_rough && number % 251 == 0 && !from->kept) {
			from->kept = pkts[i];
		} else if (is_rough && number % 509 == 0) {
			struct rte_mbuf *again = rte_pktmbuf_copy(pkts[i], pool, 0, UINT32_MAX);

			give(to, pkts[i]);
			if (again)
				give(to, again);
		} else {
			give(to, pkts[i]);
			if (from->kept)
				give(to, from->kept);
			from->kept = NULL;
		}
	}
	if (!is_cut)
		dp_host_wake(to->host);
	in_carry--;
}

static struct dp_host *make_host(struct side *side, unsigned number)
{
	struct dp_host_config config = {
		.mtu_bytes = MTU, .pool = pool, .ring_size = 1024, .from_host = carry, .ctx = side};
	struct base_error error;
	struct dp_host *host;
	char text[64];

	snprintf(config.device, sizeof(config.device), "htest%u", number);
	snprintf(text, sizeof(text), "10.88.0.%u/24", number + 1);
	assert_int_equal(base_ifaddr_parse(&config.addrs[config.n_addrs++], text), 0);
	snprintf(text, sizeof(text), "fd00:88::%u/64", number + 1);
	assert_int_equal(base_ifaddr_parse(&config.addrs[config.n_addrs++], text), 0);
	host = dp_host_new(&config, &error);
	if (!host)
		fail_msg("%s", error.text);
	return host;
}

/* Sockets of the left side, made before this process goes over to the right one. */
static int listener4, listener6, receiver;

static int bound(int family, int type)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd = socket(family, type | SOCK_NONBLOCK, 0), one = 1, size = 1 << 22;

	assert_true(fd >= 0);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (family == AF_INET)
		assert_int_equal(bind(fd, (struct sockaddr *)&in4, sizeof(in4)), 0);
	else
		assert_int_equal(bind(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static int set_up(void **state)
{
	left = (struct side){.other = &right};
	right = (struct side){.other = &left};
	bad_pkts = 0;
	is_rough = false;
	is_cut = true;
	if (kern_test_skip_reason)
		return 0;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	left.host = make_host(&left, 0);
	listener4 = bound(AF_INET, SOCK_STREAM);
	listener6 = bound(AF_INET6, SOCK_STREAM);
	receiver = bound(AF_INET, SOCK_DGRAM);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	right.host = make_host(&right, 1);
	is_cut = false;
	return 0;
}

static int set_up_old(void **state)
{
	int rc;

	kernel_is_old = true;
	rc = set_up(state);
	kernel_is_old = false;
	return rc;
}

static int tear_down(void **state)
{
	if (kern_test_skip_reason)
		return 0;
	close(listener4);
	close(listener6);
	close(receiver);
	/* Each thread gives to the other's ring: from here on nothing is carried. */
	is_cut = true;
	while (in_carry > 0)
		usleep(1000);
	dp_host_free(left.host);
	dp_host_free(right.host);
	rte_pktmbuf_free(left.kept);
	rte_pktmbuf_free(right.kept);
	assert_int_equal(rte_mempool_avail_count(pool), POOL_MBUFS);
	return 0;
}

static int dial(int family, int type)
{
	struct sockaddr_in in4 = {.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(0x0a580001)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd = socket(family, type | SOCK_NONBLOCK, 0), rc;

	memcpy(&in6.sin6_addr, "\xfd\x00\x00\x88\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
	rc = family == AF_INET ? connect(fd, (struct sockaddr *)&in4, sizeof(in4))
			       : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
	assert_true(rc == 0 || errno == EINPROGRESS);
	return fd;
}

static int wait_for(int fd, short events)
{
	struct pollfd poll_fd = {.fd = fd, .events = events};

	assert_int_equal(poll(&poll_fd, 1, 20000), 1);
	return fd;
}

/* STREAM_BYTES from one socket to the other, compared on arrival. */
static void stream(int from, int to)
{
	static uint8_t data[1 << 18];
	uint64_t sent = 0, got = 0;

	while (got < STREAM_BYTES) {
		struct pollfd fds[2] = {{.fd = to, .events = POLLIN},
			{.fd = sent < STREAM_BYTES ? from : -1, .events = POLLOUT}};
		ssize_t n;

		if (poll(fds, 2, 20000) <= 0)
			fail_msg("stands still at %lu of %u bytes", got, STREAM_BYTES);
		if (fds[1].revents) {
			size_t len = RTE_MIN((uint64_t)PATTERN_BYTES, STREAM_BYTES - sent);

			n = send(from, pattern + sent % PATTERN_BYTES, len, MSG_NOSIGNAL);
			assert_true(n > 0 || errno == EAGAIN);
			sent += n > 0 ? (uint64_t)n : 0;
		}
		if (!fds[0].revents)
			continue;
		n = recv(to, data, PATTERN_BYTES, 0);
		assert_true(n > 0);
		assert_memory_equal(data, pattern + got % PATTERN_BYTES, (size_t)n);
		got += (uint64_t)n;
	}
}

static void check_stats(struct dp_host *sender, struct dp_host *taker)
{
	struct dp_host_stats from, to;

	dp_host_stats(sender, &from);
	dp_host_stats(taker, &to);
	print_message("%lu packets cut out of %lu reads, %lu written in %lu\n", from.rx_pkts,
		from.rx_reads, to.tx_pkts, to.tx_writes);
	/* Large packets both ways, or this has tested nothing. */
	assert_true(from.rx_reads < from.rx_pkts / 2);
	assert_true(to.tx_writes < to.tx_pkts / 2);
	assert_int_equal(from.drop_bad_header_pkts + from.drop_too_large_pkts, 0);
	assert_int_equal(to.drop_write_pkts, 0);
	assert_int_equal(bad_pkts, 0);
}

static void streams_of(int family, int listener)
{
	int client = dial(family, SOCK_STREAM), server;

	server = accept4(wait_for(listener, POLLIN), NULL, NULL, SOCK_NONBLOCK);
	assert_true(server >= 0);
	wait_for(client, POLLOUT);
	stream(client, server);
	check_stats(right.host, left.host);
	stream(server, client);
	check_stats(left.host, right.host);
	is_rough = true;
	stream(client, server);
	is_rough = false;
	close(client);
	close(server);
	assert_int_equal(bad_pkts, 0);
}

static void tcp_over_ipv4_arrives_whole(void **state)
{
	need_netns();
	streams_of(AF_INET, listener4);
}

static void tcp_over_ipv6_arrives_whole(void **state)
{
	need_netns();
	streams_of(AF_INET6, listener6);
}

/* One send, twenty datagrams: whole or in segments as the kernel likes, they arrive one by one. */
static void large_udp_arrives_in_datagrams(void **state)
{
	const int segment = 1201, n = 20, last = 7;
	uint8_t data[2048];
	int fd;

	need_netns();
	fd = dial(AF_INET, SOCK_DGRAM);
	assert_int_equal(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)), 0);
	for (unsigned round = 0; round < 50; round++) {
		assert_int_equal(
			send(fd, pattern, (size_t)(n * segment + last), 0), n * segment + last);
		for (int i = 0; i <= n; i++) {
			ssize_t len = recv(wait_for(receiver, POLLIN), data, sizeof(data), 0);

			assert_int_equal(len, i < n ? segment : last);
			assert_memory_equal(data, pattern + i * segment, (size_t)len);
		}
	}
	close(fd);
	assert_int_equal(bad_pkts, 0);
}

/* The same where nothing large of UDP may cross the device, either way. */
static void an_old_kernel_takes_single_datagrams(void **state)
{
	struct dp_host_stats from, to;

	need_netns();
	large_udp_arrives_in_datagrams(state);
	dp_host_stats(right.host, &from);
	dp_host_stats(left.host, &to);
	assert_int_equal(from.rx_reads, from.rx_pkts);
	assert_int_equal(to.tx_writes, to.tx_pkts);
	assert_int_equal(from.drop_bad_header_pkts + to.drop_write_pkts, 0);
}

#define with_hosts(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_hosts(tcp_over_ipv4_arrives_whole),
		with_hosts(tcp_over_ipv6_arrives_whole),
		with_hosts(large_udp_arrives_in_datagrams),
		cmocka_unit_test_setup_teardown(
			an_old_kernel_takes_single_datagrams, set_up_old, tear_down),
	};
	static char words[][24] = {"dp_host_stream_test", "--no-huge", "--no-shconf", "-m", "64",
		"--no-pci", "--log-level=error"};
	char *args[BASE_ARRAY_LEN(words) + 1] = {NULL};
	int rc;

	for (size_t i = 0; i < BASE_ARRAY_LEN(words); i++)
		args[i] = words[i];
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)((i % PATTERN_BYTES) * 2654435761u >> 13);
	if (rte_eal_init((int)BASE_ARRAY_LEN(words), args) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create(
		"stream_test", POOL_MBUFS, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		return 1;
	rc = cmocka_run_group_tests(tests, enter_netns, NULL);
	rte_mempool_free(pool);
	rte_eal_cleanup();
	return rc;
}
