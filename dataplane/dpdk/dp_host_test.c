/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface between this process's namespace and a ring that plays the workers: what the
 * kernel sends arrives with right checksums, what is put in is answered by the kernel. Once with the interface's
 * own thread, once with this one in the part of a worker that serves it. Needs root.
 */
#include "dp_host.h"

#include "base_bytes.h"
#include "in_offload.h"
#include "in_parse.h"

#include "dp_idle.h"
#include "dp_kern_test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <sys/socket.h>

#define DEVICE "htest0"
#define MTU 1400
#define POOL_MBUFS 1023

struct bed {
	struct rte_mempool *pool;
	struct rte_ring *from_kernel;
	struct dp_host *host;
	struct dp_host_config config;
	struct dp_idle *server; /* NULL: the interface has a thread */
};

static struct bed bed;
static _Atomic unsigned gone;

static void take_packets(void *ctx, struct rte_mbuf **pkts, unsigned n)
{
	struct bed *b = ctx;
	unsigned put = rte_ring_enqueue_burst(b->from_kernel, (void **)pkts, n, NULL);

	rte_pktmbuf_free_bulk(pkts + put, n - put);
}

static void take_gone(void *ctx)
{
	gone++;
}

static _Atomic unsigned room_pkts = UINT32_MAX, room_asked;

static unsigned tell_room(void *ctx)
{
	room_asked++;
	return room_pkts;
}

static void add_addr(struct dp_host_config *config, const char *text)
{
	assert_int_equal(base_ifaddr_parse(&config->addrs[config->n_addrs++], text), 0);
}

static void fill_config(struct dp_host_config *config)
{
	*config = (struct dp_host_config){.device = DEVICE,
		.mtu_bytes = MTU,
		.pool = bed.pool,
		.ring_size = 1024,
		.from_host = take_packets,
		.room = tell_room,
		.gone = take_gone,
		.ctx = &bed};
	add_addr(config, "10.88.0.1/24");
	add_addr(config, "fd00:88::1/64");
}

static int set_up(void **state)
{
	struct base_error error;

	gone = 0;
	fill_config(&bed.config);
	bed.config.server = bed.server;
	if (kern_test_skip_reason)
		return 0;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	run("ip link set lo up");
	bed.host = dp_host_new(&bed.config, &error);
	if (!bed.host)
		fail_msg("%s", error.text);
	return 0;
}

static int tear_down(void **state)
{
	void *m;

	dp_host_free(bed.host);
	bed.host = NULL;
	dp_idle_free(bed.server);
	bed.server = NULL;
	while (rte_ring_dequeue(bed.from_kernel, &m) == 0)
		rte_pktmbuf_free(m);
	if (!kern_test_skip_reason)
		assert_int_equal(if_nametoindex(DEVICE), 0); /* left nothing behind */
	assert_int_equal(rte_mempool_avail_count(bed.pool), POOL_MBUFS);
	return 0;
}

static int set_up_served(void **state)
{
	bed.server = dp_idle_new();
	assert_non_null(bed.server);
	return set_up(state);
}

/* Some time for the interface's thread, or a round of its server. */
static void let_run(unsigned us)
{
	if (bed.server)
		dp_host_serve(bed.host, true);
	usleep(us);
}

/* The next packet of the kernel of this protocol, others passed over; NULL when none came for a while. */
static struct rte_mbuf *try_receive(
	struct in_packet *packet, uint8_t proto, uint8_t version, unsigned wait_ms)
{
	for (unsigned i = 0; i < wait_ms; i++) {
		void *item;

		if (rte_ring_dequeue(bed.from_kernel, &item) != 0) {
			let_run(1000);
			continue;
		}
		struct rte_mbuf *m = item;

		assert_int_equal(
			in_parse(packet, rte_pktmbuf_mtod(m, uint8_t *), m->data_len), IN_ERROR_OK);
		if (packet->proto == proto && packet->version == version)
			return m;
		rte_pktmbuf_free(m);
	}
	return NULL;
}

static struct rte_mbuf *receive(struct in_packet *packet, uint8_t proto, uint8_t version)
{
	struct rte_mbuf *m = try_receive(packet, proto, version, 5000);

	if (!m)
		fail_msg("no packet of protocol %u", proto);
	return m;
}

/* The checksum of the pseudo-header and all that follows: zero if it is right. */
static uint16_t verify(const struct in_packet *p, const uint8_t *data)
{
	uint32_t len = p->total_len - p->l4_off, addr_len = p->version == 4 ? 4 : 16;
	uint8_t pseudo[40] = {0};
	uint64_t sum;

	memcpy(pseudo, p->src, addr_len);
	memcpy(pseudo + addr_len, p->dst, addr_len);
	base_store_be32(pseudo + 2 * addr_len, len);
	base_store_be32(pseudo + 2 * addr_len + 4, p->proto);
	sum = p->proto == IN_PROTO_ICMP4 ? 0 : in_csum_add(0, pseudo, 2 * addr_len + 8);
	return in_csum_finish(in_csum_add(sum, data + p->l4_off, len));
}

static int connect_to(int type, const char *text, uint16_t port)
{
	struct base_addr addr;
	struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd, rc;

	assert_int_equal(base_addr_parse(&addr, text), 0);
	memcpy(&in4.sin_addr, addr.bytes, 4);
	memcpy(&in6.sin6_addr, addr.bytes, 16);
	fd = socket(addr.family == 4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK, 0);
	rc = addr.family == 4 ? connect(fd, (struct sockaddr *)&in4, sizeof(in4))
			      : connect(fd, (struct sockaddr *)&in6, sizeof(in6));
	assert_true(rc == 0 || errno == EINPROGRESS);
	return fd;
}

static void packets_of_the_kernel_arrive_whole(void **state)
{
	static const char *const peers[] = {"10.88.0.2", "fd00:88::2"};
	uint8_t payload[1300];
	struct dp_host_stats stats;

	need_netns();
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < 2; i++) {
		for (uint32_t len = 1; len <= sizeof(payload); len += 433) {
			int fd = connect_to(SOCK_DGRAM, peers[i], 4000);
			struct in_packet p;
			struct rte_mbuf *m;
			const uint8_t *data;

			assert_int_equal(send(fd, payload, len, 0), len);
			m = receive(&p, IN_PROTO_UDP, i ? 6 : 4);
			data = rte_pktmbuf_mtod(m, const uint8_t *);
			assert_int_equal(verify(&p, data), 0);
			assert_int_equal(p.dst_port, 4000);
			assert_int_equal(p.total_len, p.l4_off + 8 + len);
			assert_memory_equal(data + p.l4_off + 8, payload, len);
			assert_int_equal(rte_pktmbuf_headroom(m), RTE_PKTMBUF_HEADROOM);
			rte_pktmbuf_free(m);
			close(fd);
		}
		int fd = connect_to(SOCK_STREAM, peers[i], 80);
		struct in_packet p;
		struct rte_mbuf *m = receive(&p, IN_PROTO_TCP, i ? 6 : 4);

		assert_int_equal(p.tcp_flags, IN_TCP_SYN);
		assert_int_equal(verify(&p, rte_pktmbuf_mtod(m, uint8_t *)), 0);
		rte_pktmbuf_free(m);
		close(fd);
	}
	dp_host_stats(bed.host, &stats);
	assert_true(stats.rx_pkts >= 10);
	assert_int_equal(stats.drop_no_mbuf_pkts + stats.drop_too_large_pkts +
			stats.drop_bad_header_pkts + stats.drop_write_pkts,
		0);
}

static void put(const void *data, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(bed.pool);

	assert_non_null(m);
	memcpy(rte_pktmbuf_append(m, len), data, len);
	assert_int_equal(rte_ring_enqueue(dp_host_ring(bed.host), m), 0);
	dp_host_wake(bed.host);
}

static void store_csum(uint8_t *at, uint64_t sum)
{
	uint16_t csum = in_csum_finish(sum);

	memcpy(at, &csum, sizeof(csum));
}

static uint16_t make4(uint8_t *data, uint8_t proto, uint16_t l4_len)
{
	memset(data, 0, 20);
	data[0] = 0x45;
	base_store_be16(data + 2, (uint16_t)(20 + l4_len));
	data[8] = 64;
	data[9] = proto;
	memcpy(data + 12, "\x0a\x58\x00\x02\x0a\x58\x00\x01", 8);
	store_csum(data + 10, in_csum_add(0, data, 20));
	return (uint16_t)(20 + l4_len);
}

/* With nothing to do it goes round all the same, or the watchdog would take it for dead. */
static void goes_round_in_its_sleep(void **state)
{
	uint64_t first, now;

	need_netns();
	assert_true(dp_host_rounds(bed.host, &first));
	now = first;
	for (unsigned i = 0; i < 200 && now < first + 3; i++) {
		usleep(50 * 1000);
		assert_true(dp_host_rounds(bed.host, &now));
	}
	assert_true(now >= first + 3);
}

static void kernel_answers_a_ping(void **state)
{
	uint8_t data[128] = {0};
	struct in_packet p;
	struct rte_mbuf *m;
	uint16_t len;

	need_netns();
	data[20] = 8;
	memcpy(data + 24, "\x12\x34\x00\x01payload.", 12);
	store_csum(data + 22, in_csum_add(0, data + 20, 16));
	len = make4(data, IN_PROTO_ICMP4, 16);
	put(data, len);
	m = receive(&p, IN_PROTO_ICMP4, 4);
	assert_int_equal(p.icmp_type, 0);
	assert_int_equal(verify(&p, rte_pktmbuf_mtod(m, uint8_t *)), 0);
	assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *) + 24, data + 24, 12);
	rte_pktmbuf_free(m);

	memset(data, 0, sizeof(data));
	data[0] = 0x60;
	base_store_be16(data + 4, 16);
	data[6] = IN_PROTO_ICMP6;
	data[7] = 64;
	assert_int_equal(inet_pton(AF_INET6, "fd00:88::2", data + 8), 1);
	assert_int_equal(inet_pton(AF_INET6, "fd00:88::1", data + 24), 1);
	data[40] = 128;
	memcpy(data + 44, "\x12\x34\x00\x01payload.", 12);
	assert_int_equal(in_parse(&p, data, 56), IN_ERROR_OK);
	uint16_t csum = verify(&p, data);

	memcpy(data + 42, &csum, 2);
	/*
	 * The kernel puts a new address to work in its own time, though without the second of looking
	 * for duplicates; and it speaks to all routers in between. So: ask until it answers.
	 */
	for (unsigned i = 0; i < 500; i++) {
		put(data, 56);
		m = try_receive(&p, IN_PROTO_ICMP6, 6, 20);
		if (!m)
			continue;
		assert_int_equal(verify(&p, rte_pktmbuf_mtod(m, uint8_t *)), 0);
		rte_pktmbuf_free(m);
		if (p.icmp_type == 129)
			return;
	}
	fail_msg("no answer to the ping over IPv6");
}

/* Bursts of many sizes, so that the thread sleeps and wakes in between: every one gets there. */
static void every_packet_of_a_worker_gets_there(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(4000)};
	int size = 1 << 22, fd;
	struct timeval limit = {.tv_sec = 5};
	uint8_t data[64];

	need_netns();
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	for (uint32_t sent = 0, burst = 1; sent < 2000; burst = burst % 97 + 1) {
		uint32_t first = sent, got;

		for (; sent < first + burst; sent++) {
			memset(data + 20, 0, 12);
			base_store_be16(data + 20, 53);
			base_store_be16(data + 22, 4000);
			base_store_be16(data + 24, 12); /* checksum zero: none */
			base_store_be32(data + 28, sent);
			put(data, make4(data, IN_PROTO_UDP, 12));
		}
		let_run(0);
		let_run(0);
		for (uint32_t i = first; i < sent; i++) {
			assert_int_equal(recv(fd, data, sizeof(data), 0), 4);
			got = base_load_be32(data);
			assert_int_equal(got, i);
		}
	}
	close(fd);
}

static void device_has_what_was_asked_for(void **state)
{
	need_netns();
	run("ip link show " DEVICE " | grep -q 'mtu %u'", MTU);
	run("ip link show up | grep -q " DEVICE);
	run("ip -4 addr show " DEVICE " | grep -q 'inet 10.88.0.1/24'");
	run("ip -6 addr show " DEVICE " | grep -q 'inet6 fd00:88::1/64'");
	run("! ip -6 addr show " DEVICE " | grep -q tentative");
	run("! ip -6 addr show " DEVICE " | grep -q fe80");
}

static void routes_beside_its_own(void **state)
{
	struct base_prefix prefix;

	need_netns();
	assert_int_equal(base_prefix_parse(&prefix, "172.20.0.0/16", true), 0);
	assert_int_equal(dp_host_route_add(bed.host, &prefix), 0);
	run("ip route show 172.20.0.0/16 | grep -q 'dev " DEVICE "'");
	assert_int_equal(dp_host_route_add(bed.host, &prefix), -EEXIST);
	assert_int_equal(dp_host_route_remove(bed.host, &prefix), 0);
	run("! ip route show 172.20.0.0/16 | grep -q .");
	assert_int_equal(dp_host_route_remove(bed.host, &prefix), -ESRCH);
	assert_int_equal(base_prefix_parse(&prefix, "fd00:99::/64", true), 0);
	assert_int_equal(dp_host_route_add(bed.host, &prefix), 0);
	run("ip -6 route show fd00:99::/64 | grep -q 'dev " DEVICE "'");
	assert_int_equal(dp_host_route_remove(bed.host, &prefix), 0);
	/* Inside 10.88.0.0/24: there is one already. */
	assert_int_equal(base_prefix_parse(&prefix, "10.88.0.7/32", true), 0);
	assert_int_equal(dp_host_route_add(bed.host, &prefix), 0);
	run("! ip route show 10.88.0.7 | grep -q .");
	assert_int_equal(dp_host_route_remove(bed.host, &prefix), 0);
	assert_int_equal(base_prefix_parse(&prefix, "10.88.0.0/16", true), 0);
	assert_int_equal(dp_host_route_add(bed.host, &prefix), 0);
	run("ip route show 10.88.0.0/16 | grep -q 'dev " DEVICE "'");
	assert_int_equal(base_prefix_parse(&prefix, "0.0.0.0/0", true), 0);
	assert_int_equal(dp_host_route_add(bed.host, &prefix), -EOPNOTSUPP);
}

static void taken_name_is_named(void **state)
{
	struct dp_host_config config = bed.config;
	struct base_error error;

	need_netns();
	/* By a device of this program, by a TUN without a program, by something else. */
	assert_null(dp_host_new(&config, &error));
	assert_int_equal(errno, EEXIST);
	assert_non_null(strstr(error.text, DEVICE));
	strcpy(config.device, "htest1");
	run("ip tuntap add htest1 mode tun");
	assert_null(dp_host_new(&config, &error));
	assert_int_equal(errno, EEXIST);
	assert_non_null(strstr(error.text, "ip link del htest1"));
	run("ip tuntap del htest1 mode tun");
	run("ip link add htest1 type veth peer name htest2");
	assert_null(dp_host_new(&config, &error));
	assert_int_equal(errno, EEXIST);
	run("ip link del htest1");
}

static void refusals_leave_nothing(void **state)
{
	struct dp_host_config config = bed.config;
	struct base_error error;

	need_netns();
	strcpy(config.device, "htest1");
	config.mtu_bytes = 9000;
	assert_null(dp_host_new(&config, &error));
	assert_int_equal(errno, EINVAL);
	assert_non_null(strstr(error.text, "9000"));
	config.mtu_bytes = 1000; /* below what IPv6 asks for */
	assert_null(dp_host_new(&config, &error));
	assert_non_null(strstr(error.text, "fd00:88::1/64"));
	config.mtu_bytes = MTU;
	config.cpu = 1000;
	assert_null(dp_host_new(&config, &error));
	assert_non_null(strstr(error.text, "CPU 1000"));
	config.cpu = 0;
	config.ring_size = 1000; /* no power of two */
	assert_null(dp_host_new(&config, &error));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(if_nametoindex("htest1"), 0);
}

static void empty_pool_is_counted_and_passes(void **state)
{
	static struct rte_mbuf *held[POOL_MBUFS];
	struct dp_host_stats stats = {0};
	unsigned n = 0;
	struct in_packet p;
	int fd;

	need_netns();
	fd = connect_to(SOCK_DGRAM, "10.88.0.2", 4000);
	/* More than the thread keeps in reserve. */
	while (n < POOL_MBUFS && (held[n] = rte_pktmbuf_alloc(bed.pool)))
		n++;
	for (unsigned i = 0; i < 5000 && stats.drop_no_mbuf_pkts < 10; i++) {
		send(fd, "x", 1, 0);
		let_run(100);
		dp_host_stats(bed.host, &stats);
	}
	assert_true(stats.drop_no_mbuf_pkts >= 10);
	rte_pktmbuf_free_bulk(held, n);
	void *m;

	while (rte_ring_dequeue(bed.from_kernel, &m) == 0)
		rte_pktmbuf_free(m);
	assert_int_equal(send(fd, "last", 4, 0), 4);
	do {
		m = receive(&p, IN_PROTO_UDP, 4);
		rte_pktmbuf_free(m);
	} while (p.total_len != 32);
	close(fd);
}

/* A full worker is waited for, a stalled one is not; packets the other way pass at once. */
static void no_room_is_not_for_ever(void **state)
{
	struct in_packet p;
	int fd;

	need_netns();
	fd = connect_to(SOCK_DGRAM, "10.88.0.2", 4000);
	room_pkts = DP_HOST_ROOM_PKTS - 1;
	room_asked = 0;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(send(fd, "x", 1, 0), 1);
		rte_pktmbuf_free(receive(&p, IN_PROTO_UDP, 4));
	}
	assert_true(room_asked > 3);
	room_pkts = UINT32_MAX;
	close(fd);
}

static void deleted_device_is_told_once(void **state)
{
	uint8_t data[64] = {0};

	need_netns();
	run("ip link del " DEVICE);
	for (unsigned i = 0; i < 5000 && gone == 0; i++)
		let_run(1000);
	assert_int_equal(gone, 1);
	/* What workers still send is dropped, and counted. */
	struct dp_host_stats stats = {0};

	put(data, make4(data, IN_PROTO_UDP, 8));
	for (unsigned i = 0; i < 5000 && stats.drop_write_pkts == 0; i++) {
		let_run(1000);
		dp_host_stats(bed.host, &stats);
	}
	assert_int_equal(stats.drop_write_pkts, 1);
	assert_int_equal(gone, 1);
	/* It ends no sleep of the server. */
	if (bed.server) {
		dp_idle_prepare(bed.server);
		assert_false(dp_idle_wait(bed.server, BASE_NS_PER_MS));
	}
}

/* Control makes the device again while the server goes its rounds; then packets pass as before. */
static void made_again_it_serves_again(void **state)
{
	struct base_error error;
	uint64_t rounds;

	need_netns();
	assert_false(dp_host_rounds(bed.host, &rounds));
	for (unsigned again = 1; again <= 3; again++) {
		run("ip link del " DEVICE);
		for (unsigned i = 0; i < 5000 && gone < again; i++)
			let_run(1000);
		assert_int_equal(gone, again);
		run("ip link add " DEVICE " type veth peer name htest2");
		assert_int_equal(dp_host_reopen(bed.host, &error), -EEXIST);
		let_run(0);
		run("ip link del " DEVICE);
		assert_int_equal(dp_host_reopen(bed.host, &error), 0);
		device_has_what_was_asked_for(state);
		packets_of_the_kernel_arrive_whole(state);
	}
	assert_int_equal(gone, 3);
}

/* A sleep that ends at once when the kernel has a packet, also on a device that was made again. */
static void server_wakes_for_the_kernel(void **state)
{
	struct base_error error;
	struct in_packet p;
	int fd;

	need_netns();
	for (unsigned i = 0; i < 2; i++) {
		while (dp_host_serve(bed.host, true) > 0)
			;
		fd = connect_to(SOCK_DGRAM, "10.88.0.2", 4000);
		assert_int_equal(send(fd, "x", 1, 0), 1);
		dp_idle_prepare(bed.server);
		dp_idle_wait(bed.server, BASE_NEVER_NS);
		rte_pktmbuf_free(receive(&p, IN_PROTO_UDP, 4));
		close(fd);
		run("ip link del " DEVICE);
		while (gone <= i)
			let_run(1000);
		assert_int_equal(dp_host_reopen(bed.host, &error), 0);
	}
}

/* What was left with the kernel is still there when it may be read. */
static void kernel_keeps_what_may_not_be_read(void **state)
{
	struct dp_host_stats stats;
	struct in_packet p;
	int fd;

	need_netns();
	fd = connect_to(SOCK_DGRAM, "10.88.0.2", 4000);
	while (dp_host_serve(bed.host, true) > 0)
		;
	dp_host_stats(bed.host, &stats);
	uint64_t before = stats.rx_reads;

	assert_int_equal(send(fd, "x", 1, 0), 1);
	assert_int_equal(dp_host_serve(bed.host, false), 0);
	dp_host_stats(bed.host, &stats);
	assert_int_equal(stats.rx_reads, before);
	rte_pktmbuf_free(receive(&p, IN_PROTO_UDP, 4));
	close(fd);
}

#define with_bed(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define with_server(test)                                                                          \
	{                                                                                          \
		"served: " #test, test, set_up_served, tear_down, NULL                             \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bed(packets_of_the_kernel_arrive_whole),
		with_bed(kernel_answers_a_ping),
		with_bed(goes_round_in_its_sleep),
		with_bed(every_packet_of_a_worker_gets_there),
		with_bed(device_has_what_was_asked_for),
		with_bed(routes_beside_its_own),
		with_bed(taken_name_is_named),
		with_bed(refusals_leave_nothing),
		with_bed(empty_pool_is_counted_and_passes),
		with_bed(no_room_is_not_for_ever),
		with_bed(deleted_device_is_told_once),
		with_server(packets_of_the_kernel_arrive_whole),
		with_server(kernel_answers_a_ping),
		with_server(every_packet_of_a_worker_gets_there),
		with_server(empty_pool_is_counted_and_passes),
		with_server(deleted_device_is_told_once),
		with_server(made_again_it_serves_again),
		with_server(server_wakes_for_the_kernel),
		with_server(kernel_keeps_what_may_not_be_read),
	};
	static char words[][20] = {"dp_host_test", "--no-huge", "--no-shconf", "-m", "64",
		"--no-pci", "--log-level=error"};
	char *args[BASE_ARRAY_LEN(words) + 1] = {NULL};
	int rc;

	for (size_t i = 0; i < BASE_ARRAY_LEN(words); i++)
		args[i] = words[i];
	if (rte_eal_init((int)BASE_ARRAY_LEN(words), args) < 0)
		return 1;
	bed.pool = rte_pktmbuf_pool_create(
		"host_test", POOL_MBUFS, 32, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	bed.from_kernel = rte_ring_create("from_kernel", 1024, SOCKET_ID_ANY, 0);
	if (!bed.pool || !bed.from_kernel)
		return 1;
	rc = cmocka_run_group_tests(tests, enter_netns, NULL);
	rte_ring_free(bed.from_kernel);
	rte_mempool_free(bed.pool);
	rte_eal_cleanup();
	return rc;
}
