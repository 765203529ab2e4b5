/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two packet sockets on the ends of a veth pair: frames that leave as one message arrive as the frames they were,
 * and what is not the tunnel's is not heard. Needs root.
 */
#include <stdbool.h>
#include <sys/socket.h>
#include <time.h>

/* A kernel before 6.2: it refuses what is more than a frame. */
static bool kernel_is_old;
static int sendmmsg_or_refuse(int fd, struct mmsghdr *messages, unsigned n, int flags);
static int recvmmsg_counted(
	int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout);
#define sendmmsg sendmmsg_or_refuse
static ssize_t recvmsg_counted(int fd, struct msghdr *msg, int flags);
#define recvmmsg recvmmsg_counted
#define recvmsg recvmsg_counted
#include "dp_packet.c"
#undef sendmmsg
#undef recvmmsg
#undef recvmsg

#include "dp_kern_test.h"

#include <arpa/inet.h>
#include <rte_eal.h>

#define PORT 51820
#define POOL_MBUFS 1023
#define PAYLOAD_MAX 1400

static struct bed {
	struct rte_mempool *pool;
	struct dp_packet *a, *b;
} bed;

static int sendmmsg_or_refuse(int fd, struct mmsghdr *messages, unsigned n, int flags)
{
	if (kernel_is_old && messages[0].msg_hdr.msg_iovlen > 2) {
		errno = EINVAL;
		return -1;
	}
	return sendmmsg(fd, messages, kernel_is_old ? 1 : n, flags);
}

static unsigned messages_received;

static int recvmmsg_counted(
	int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout)
{
	int got = recvmmsg(fd, messages, n, flags, timeout);

	messages_received += got > 0 ? (unsigned)got : 0;
	return got;
}

static unsigned laid_out; /* messages received one at a time, where they were expected */

static ssize_t recvmsg_counted(int fd, struct msghdr *msg, int flags)
{
	ssize_t got = recvmsg(fd, msg, flags);

	laid_out += got > 0;
	return got;
}

static struct dp_packet *open_end(const char *device)
{
	struct dp_packet_config config = {.udp_port = PORT, .n_queues = 1, .pool = bed.pool};
	struct base_error error;
	struct dp_packet *packet;

	snprintf(config.device, sizeof(config.device), "%s", device);
	packet = dp_packet_new(&config, &error);
	if (!packet)
		fail_msg("%s", error.text);
	return packet;
}

static int set_up(void **state)
{
	if (kern_test_skip_reason)
		return 0;
	run("ip link add pa type veth peer name pb");
	/* nothing of the kernel's own on the wire */
	run("sysctl -qw net.ipv6.conf.pa.disable_ipv6=1 net.ipv6.conf.pb.disable_ipv6=1");
	run("ip link set pa up; ip link set pb up");
	/* until then the kernel drops what is sent, and says nothing */
	run("timeout 20 sh -c 'until test $(ip link | grep -cE \"p[ab]@.*state UP\") = 2; do sleep "
	    "0.01; done'");
	bed.a = open_end("pa");
	bed.b = open_end("pb");
	kernel_is_old = false;
	return 0;
}

static int tear_down(void **state)
{
	if (kern_test_skip_reason)
		return 0;
	dp_packet_free(bed.a);
	dp_packet_free(bed.b);
	run("ip link del pa");
	assert_int_equal(rte_mempool_in_use_count(bed.pool), 0);
	return 0;
}

/* A frame whose payload is full of @mark. */
static struct rte_mbuf *frame_new(
	unsigned version, uint16_t port, unsigned payload_len, uint8_t mark)
{
	uint32_t headers_len = version == 4 ? 42 : 62;
	struct rte_mbuf *m = rte_pktmbuf_alloc(bed.pool);
	uint8_t *frame = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)(headers_len + payload_len));
	uint8_t *ip = frame + 14, *udp = frame + headers_len - 8;
	uint16_t check;

	if (!frame)
		exit(1);
	memset(frame, 0, headers_len);
	memset(frame + headers_len, mark, payload_len);
	memset(frame, 0xff, 6);
	base_store_be16(frame + 12, version == 4 ? 0x0800 : 0x86dd);
	ip[0] = version == 4 ? 0x45 : 0x60;
	ip[version == 4 ? 8 : 7] = 64;
	ip[version == 4 ? 9 : 6] = 17;
	memset(ip + (version == 4 ? 12 : 8), 0x20, version == 4 ? 8 : 32);
	base_store_be16(udp, 1234);
	base_store_be16(udp + 2, port);
	set_lengths(frame, headers_len, payload_len);
	if (version == 4) {
		check = in_csum_finish(in_csum_add(0, ip, 20));
		memcpy(ip + 10, &check, 2);
	} else {
		check = in_csum_finish(
			in_csum_add(in_csum_pseudo(ip, 17, payload_len + 8), udp, payload_len + 8));
		memcpy(udp + 6, &check, 2);
	}
	return m;
}

static void send_frames(struct rte_mbuf **frames, unsigned n)
{
	assert_int_equal(dp_packet_tx(bed.a, frames, n), n);
}

/* A frame that arrives must be the one that frame_new() makes. Checksums aside: see them below. */
static void assert_frame(
	const struct rte_mbuf *m, unsigned version, unsigned payload_len, uint8_t mark)
{
	uint32_t headers_len = version == 4 ? 42 : 62;
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);

	assert_int_equal(m->data_len, headers_len + payload_len);
	assert_int_equal(m->pkt_len, m->data_len);
	assert_int_equal(base_load_be16(frame + headers_len - 4), payload_len + 8);
	if (version == 4)
		assert_int_equal(base_load_be16(frame + 16), payload_len + 28);
	else
		assert_int_equal(base_load_be16(frame + 18), payload_len + 8);
	for (unsigned i = 0; i < payload_len; i++)
		assert_int_equal(frame[headers_len + i], mark);
}

/* Exactly @n frames; within seconds, for the kernel delivers on its own time. */
static void receive_frames(struct rte_mbuf **ret_frames, unsigned n)
{
	unsigned got = 0;

	for (unsigned tries = 0; got < n && tries < 10000; tries++) {
		got += dp_packet_rx(bed.b, ret_frames + got, n - got);
		if (got < n)
			usleep(1000);
	}
	assert_int_equal(got, n);
	usleep(5000);
	assert_int_equal(dp_packet_rx(bed.b, ret_frames + n, 1), 0);
}

static void assert_burst(unsigned version, const unsigned *lens, unsigned n)
{
	struct rte_mbuf *frames[DP_BURST + 1];

	for (unsigned i = 0; i < n; i++)
		frames[i] = frame_new(version, PORT, lens[i], (uint8_t)(i + 1));
	send_frames(frames, n);
	receive_frames(frames, n);
	for (unsigned i = 0; i < n; i++)
		assert_frame(frames[i], version, lens[i], (uint8_t)(i + 1));
	rte_pktmbuf_free_bulk(frames, n);
}

static void equal_frames_go_as_one(void **state)
{
	unsigned lens[40];

	need_netns();
	for (unsigned i = 0; i < 40; i++)
		lens[i] = PAYLOAD_MAX;
	for (unsigned version = 4; version <= 6; version += 2) {
		messages_received = 0;
		assert_burst(version, lens, 40);
		if (bed.a->has_segments)
			assert_int_equal(messages_received, 1);
	}
	/* as many as fit the length field, then the rest */
	for (unsigned i = 0; i < 40; i++)
		lens[i] = 1;
	assert_burst(4, lens, 40);
}

static void a_shorter_one_ends_a_run(void **state)
{
	static const unsigned lens[] = {900, 900, 300, 900, 1000, 1000, 1000, 32, 32, 0, 32};

	need_netns();
	assert_burst(4, lens, BASE_ARRAY_LEN(lens));
	assert_burst(6, lens, BASE_ARRAY_LEN(lens));
}

/* As a worker asks, for a burst each time: large messages are read to where the last one would have lain. */
static void large_messages_are_read_into_frames(void **state)
{
	static const struct {
		unsigned version, n, len, last_len;
	} messages[] = {{4, 40, 1400, 1400}, {4, 40, 1400, 1400}, {4, 45, 1400, 7}, {4, 2, 1400, 1},
		{4, 40, 1100, 1100}, {4, 40, 1100, 30}, {4, 1, 300, 300}, {4, 1, 1400, 1400},
		{6, 40, 1400, 1400}, {6, 40, 1400, 1399}, {4, 40, 1400, 1400}, {4, 60, 90, 90},
		{4, 60, 90, 3}, {6, 30, 1300, 1300}};
	struct rte_mbuf *frames[3 * DP_BURST];

	need_netns();
	laid_out = 0;
	for (unsigned k = 0; k < BASE_ARRAY_LEN(messages); k++) {
		unsigned version = messages[k].version, n = messages[k].n, got = 0;

		for (unsigned i = 0; i < n; i++)
			frames[i] = frame_new(version, PORT,
				i + 1 < n ? messages[k].len : messages[k].last_len,
				(uint8_t)(i + 1));
		send_frames(frames, n);
		for (unsigned tries = 0; got < n && tries < 10000; tries++) {
			got += dp_packet_rx(bed.b, frames + got, DP_BURST);
			if (got < n)
				usleep(1000);
		}
		assert_int_equal(got, n);
		for (unsigned i = 0; i < n; i++)
			assert_frame(frames[i], version,
				i + 1 < n ? messages[k].len : messages[k].last_len,
				(uint8_t)(i + 1));
		rte_pktmbuf_free_bulk(frames, n);
	}
	if (bed.a->has_segments)
		assert_in_range(laid_out, 9, BASE_ARRAY_LEN(messages));
}

static void other_headers_end_a_run(void **state)
{
	struct rte_mbuf *frames[4], *got[5];

	need_netns();
	for (unsigned i = 0; i < 4; i++)
		frames[i] = frame_new(4, PORT, 500, (uint8_t)(i + 1));
	rte_pktmbuf_mtod(frames[1], uint8_t *)[15] = 3;  /* a congestion mark */
	rte_pktmbuf_mtod(frames[2], uint8_t *)[33] = 99; /* another destination */
	send_frames(frames, 4);
	receive_frames(got, 4);
	for (unsigned i = 0; i < 4; i++) {
		const uint8_t *frame = rte_pktmbuf_mtod(got[i], const uint8_t *);

		assert_frame(got[i], 4, 500, (uint8_t)(i + 1));
		assert_int_equal(frame[15], i == 1 ? 3 : 0);
		assert_int_equal(frame[33], i == 2 ? 99 : 0x20);
	}
	rte_pktmbuf_free_bulk(got, 4);
}

/* Where the device does nothing for us the kernel cuts and sums: what it makes of our headers must be right. */
static void kernel_can_finish_them(void **state)
{
	struct rte_mbuf *frames[DP_BURST + 1];

	need_netns();
	run("ethtool -K pa tx off gso off tx-udp-segmentation off >/dev/null 2>&1");
	for (unsigned version = 4; version <= 6; version += 2) {
		uint32_t headers_len = version == 4 ? 42 : 62;

		for (unsigned i = 0; i < 9; i++)
			frames[i] = frame_new(version, PORT, i < 8 ? 1000 : 333, (uint8_t)(i + 1));
		send_frames(frames, 9);
		receive_frames(frames, 9);
		for (unsigned i = 0; i < 9; i++) {
			uint8_t *ip = rte_pktmbuf_mtod(frames[i], uint8_t *) + 14;
			uint32_t l4_len = frames[i]->data_len - headers_len + 8;

			assert_frame(frames[i], version, l4_len - 8, (uint8_t)(i + 1));
			assert_int_equal(in_csum_finish(in_csum_add(in_csum_pseudo(ip, 17, l4_len),
						 ip + headers_len - 22, l4_len)),
				0);
			if (version == 4)
				assert_int_equal(in_csum_finish(in_csum_add(0, ip, 20)), 0);
		}
		rte_pktmbuf_free_bulk(frames, 9);
	}
}

static void an_old_kernel_gets_them_one_by_one(void **state)
{
	static const unsigned lens[] = {100, 700, 700, 700, 700, 200};

	need_netns();
	kernel_is_old = true;
	assert_burst(4, lens, BASE_ARRAY_LEN(lens));
	assert_int_equal(bed.a->has_segments, false);
	assert_burst(6, lens, BASE_ARRAY_LEN(lens));
}

static void nothing_else_is_heard(void **state)
{
	struct rte_mbuf *frames[7], *got[3];

	need_netns();
	frames[0] = frame_new(4, PORT, 100, 1);
	frames[1] = frame_new(4, PORT + 1, 100, 2);
	frames[2] = frame_new(4, PORT, 100, 3);
	rte_pktmbuf_mtod(frames[2], uint8_t *)[23] = 6; /* TCP */
	frames[3] = frame_new(4, PORT, 100, 4);
	rte_pktmbuf_mtod(frames[3], uint8_t *)[20] = 0x20; /* a first fragment */
	frames[4] = frame_new(6, PORT + 1, 100, 5);
	frames[5] = frame_new(6, PORT, 100, 6);
	rte_pktmbuf_mtod(frames[5], uint8_t *)[20] = 44; /* a fragment */
	frames[6] = frame_new(6, PORT, 100, 7);
	send_frames(frames, 7);
	receive_frames(got, 2);
	assert_frame(got[0], 4, 100, 1);
	assert_frame(got[1], 6, 100, 7);
	rte_pktmbuf_free_bulk(got, 2);
}

/* Behind options too. */
static void options_are_no_hiding_place(void **state)
{
	struct rte_mbuf *frame, *got[2];
	uint8_t *ip;

	need_netns();
	frame = frame_new(4, PORT, 100, 1);
	ip = rte_pktmbuf_mtod(frame, uint8_t *) + 14;
	memmove(ip + 24, ip + 20, 80);
	memset(ip + 20, 1, 4);
	ip[0] = 0x46;
	send_frames(&frame, 1);
	receive_frames(got, 1);
	assert_int_equal(got[0]->data_len, 142);
	rte_pktmbuf_free(got[0]);
}

/* A jumbo frame is cut off: the stages behind see that its headers promise more. */
static void too_long_a_frame_is_cut_off(void **state)
{
	unsigned long_len = 3000;
	struct rte_mbuf *m, *got[2];
	struct sockaddr_ll where = {.sll_family = AF_PACKET};
	struct {
		struct in_vnet vnet;
		uint8_t frame[42 + 3000];
	} message = {0};

	need_netns();
	run("ip link set pa mtu 9000; ip link set pb mtu 9000");
	m = frame_new(4, PORT, 0, 0);
	memcpy(message.frame, rte_pktmbuf_mtod(m, void *), 42);
	rte_pktmbuf_free(m);
	set_lengths(message.frame, 42, long_len);
	where.sll_ifindex = (int)if_nametoindex("pa");
	assert_int_equal(sendto(dp_packet_fd(bed.a), &message, sizeof(message), 0,
				 (struct sockaddr *)&where, sizeof(where)),
		sizeof(message));
	receive_frames(got, 1);
	assert_true(got[0]->data_len < 42 + long_len);
	assert_int_equal(base_load_be16(rte_pktmbuf_mtod(got[0], uint8_t *) + 16), 28 + long_len);
	rte_pktmbuf_free(got[0]);
}

int main(void)
{
	static char words[][20] = {"dp_packet_test", "--no-huge", "--no-shconf", "-m", "64",
		"--no-pci", "--log-level=error"};
	char *args[BASE_ARRAY_LEN(words) + 1] = {NULL};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(equal_frames_go_as_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_shorter_one_ends_a_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			large_messages_are_read_into_frames, set_up, tear_down),
		cmocka_unit_test_setup_teardown(other_headers_end_a_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(kernel_can_finish_them, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			an_old_kernel_gets_them_one_by_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_else_is_heard, set_up, tear_down),
		cmocka_unit_test_setup_teardown(options_are_no_hiding_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(too_long_a_frame_is_cut_off, set_up, tear_down),
	};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(words); i++)
		args[i] = words[i];
	if (rte_eal_init((int)BASE_ARRAY_LEN(words), args) < 0)
		return 1;
	bed.pool = rte_pktmbuf_pool_create(
		"packet_test", POOL_MBUFS, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!bed.pool)
		return 1;
	return cmocka_run_group_tests(tests, enter_netns, NULL);
}
