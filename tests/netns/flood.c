/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stranger who sends as fast as one thread can: IPv4 packets of one kind, put on a device past the sender's own
 * routing, from one invented source or from 65,536 of them. Up to 64 packets of one source go to the kernel as one
 * large one with UDP segments (Linux 6.2), where it takes them: a million a second from one core, four hundred thousand
 * without. Ends after so many packets or so many seconds, or on SIGTERM, and prints "SENT PER_SECOND". Used by
 * storm_test.sh.
 *
 *	flood KIND DEVICE MAC ADDRESS PORT COUNT SECONDS [RECORDED|PUBLIC_KEY]
 *
 * Kinds: random, bad_mac1, unknown_index, cookie; stranger, an initiation of somebody who knows PUBLIC_KEY, the
 * gateway's, and whom it does not know; replay and forge, which send the message in the file RECORDED, as it is or
 * with later counters and a wrong tag.
 */
#include "base_bytes.h"
#include "base_clock.h"
#include "cr_noise.h"
#include "wg_cookie.h"
#include "wg_messages.h"
#include "wg_noise.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 16u
#define SEGMENTS_MAX 64u
#define LARGE_BYTES_MAX 65000u
#define ETH_BYTES 14u
#define GSO_UDP_L4 5 /* of virtio_net.h, since Linux 6.2 */
#define MESSAGE_MAX 1472u
#define RANDOM_BYTES 100u
#define IP_BYTES 20u
#define HEADERS_BYTES 28u
#define SOURCE_FIRST 0xc6120000u /* 198.18.0.0/15 is for tests like this one */
#define SOURCES 65536u
#define COUNTER_AHEAD 1000000u

struct flood;

struct kind {
	const char *name;
	/* Fill in a message; once for each of a batch. */
	void (*make)(struct flood *flood, uint8_t *message);
	/* What is different from one packet to the next, at sending speed; NULL: nothing. */
	void (*vary)(struct flood *flood, uint8_t *message);
	size_t len; /* 0: that of the recorded message */
	bool has_many_sources;
};

struct flood {
	const struct kind *kind;
	const char *last_word;
	struct sockaddr_ll to;
	uint32_t address_be32;
	uint16_t port;
	uint64_t count, seconds, random;
	size_t len;
	uint8_t recorded[MESSAGE_MAX];
	unsigned n_segments; /* messages in one packet to the kernel */
	struct packet {
		struct virtio_net_hdr vnet;
		uint8_t frame[ETH_BYTES + HEADERS_BYTES];
		uint8_t messages[LARGE_BYTES_MAX];
	} packets[BATCH];
	struct iovec parts[BATCH];
	struct mmsghdr headers[BATCH];
};

static volatile sig_atomic_t must_stop;

static void on_term(int signal)
{
	must_stop = 1;
}

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* xorshift64: different is enough. */
static uint64_t next_random(struct flood *flood)
{
	flood->random ^= flood->random << 13;
	flood->random ^= flood->random >> 7;
	flood->random ^= flood->random << 17;
	return flood->random;
}

/* --- kinds ------------------------------------------------------------------------------------ */

static void make_random(struct flood *flood, uint8_t *message)
{
	cr_random(message, flood->len);
}

static void vary_random(struct flood *flood, uint8_t *message)
{
	base_store_le64(message, next_random(flood));
}

static void make_bad_mac1(struct flood *flood, uint8_t *message)
{
	cr_random(message, offsetof(struct wg_initiation, mac2));
	base_store_le32(message, WG_MESSAGE_INITIATION);
}

static void vary_mac1(struct flood *flood, uint8_t *message)
{
	base_store_le64(message + offsetof(struct wg_initiation, mac1), next_random(flood));
}

static void make_stranger(struct flood *flood, uint8_t *message)
{
	const uint8_t timestamp[WG_TIMESTAMP_BYTES] = {0x40};
	struct wg_cookie_sender macs = {.cookie_ns = 0};
	struct wg_noise_handshake handshake = {.local_index = (uint32_t)next_random(flood)};
	struct wg_noise_identity identity;
	struct wg_noise_remote gateway;
	struct wg_initiation initiation;
	struct cr_key private_key, public_key;

	cr_x25519_generate(&private_key);
	wg_noise_identity_init(&identity, &private_key);
	if (!base_key_decode(public_key.bytes, flood->last_word) ||
		!wg_noise_remote_init(&gateway, &public_key))
		die("public key");
	wg_noise_remote_complete(&gateway, &identity);
	if (!wg_noise_initiation_create(&handshake, &identity, &gateway, timestamp, &initiation))
		die("initiation");
	wg_cookie_macs_add(
		&macs, &gateway.public_key, &initiation, sizeof(initiation), base_clock_now_ns());
	memcpy(message, &initiation, sizeof(initiation));
}

static void make_unknown_index(struct flood *flood, uint8_t *message)
{
	cr_random(message, flood->len);
	base_store_le32(message, WG_MESSAGE_DATA);
}

static void vary_index(struct flood *flood, uint8_t *message)
{
	base_store_le32(message + offsetof(struct wg_data, receiver_index_le32),
		(uint32_t)next_random(flood));
}

static void make_cookie(struct flood *flood, uint8_t *message)
{
	cr_random(message, flood->len);
	base_store_le32(message, WG_MESSAGE_COOKIE);
}

static void make_recorded(struct flood *flood, uint8_t *message)
{
	memcpy(message, flood->recorded, flood->len);
}

static void make_forged(struct flood *flood, uint8_t *message)
{
	memcpy(message, flood->recorded, flood->len);
	message[flood->len - 1] ^= 1;
}

/* Far ahead: none of them may take the window along. */
static void vary_counter(struct flood *flood, uint8_t *message)
{
	base_store_le64(message + offsetof(struct wg_data, counter_le64),
		COUNTER_AHEAD + (uint32_t)next_random(flood));
}

static const struct kind kinds[] = {
	{"random", make_random, vary_random, RANDOM_BYTES, false},
	{"bad_mac1", make_bad_mac1, vary_mac1, sizeof(struct wg_initiation), true},
	{"stranger", make_stranger, NULL, sizeof(struct wg_initiation), true},
	{"replay", make_recorded, NULL, 0, false},
	{"unknown_index", make_unknown_index, vary_index, RANDOM_BYTES, false},
	{"forge", make_forged, vary_counter, 0, false},
	{"cookie", make_cookie, vary_index, sizeof(struct wg_cookie_reply), true},
};

/* --- packets ---------------------------------------------------------------------------------- */

static uint32_t sum_words(const uint8_t *bytes, unsigned n, uint32_t sum)
{
	for (unsigned i = 0; i < n; i += 2)
		sum += base_load_be16(bytes + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The source, and the checksums: that of UDP only as far as the pseudo-header, the kernel does the rest. */
static void set_source(struct flood *flood, uint8_t *ip)
{
	uint8_t *udp = ip + IP_BYTES;

	if (flood->kind->has_many_sources)
		base_store_be32(
			ip + 12, SOURCE_FIRST + (uint32_t)(next_random(flood) >> 32) % SOURCES);
	base_store_be16(ip + 10, 0);
	base_store_be16(ip + 10, (uint16_t)~sum_words(ip, IP_BYTES, 0));
	base_store_be16(
		udp + 6, (uint16_t)sum_words(ip + 12, 8, IPPROTO_UDP + base_load_be16(udp + 4)));
}

static void make_packet(struct flood *flood, unsigned i)
{
	struct packet *packet = &flood->packets[i];
	uint8_t *ip = packet->frame + ETH_BYTES, *udp = ip + IP_BYTES;
	size_t len = flood->n_segments * flood->len;

	packet->vnet = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = flood->n_segments > 1 ? GSO_UDP_L4 : VIRTIO_NET_HDR_GSO_NONE,
		.hdr_len = ETH_BYTES + HEADERS_BYTES,
		.gso_size = flood->n_segments > 1 ? (uint16_t)flood->len : 0,
		.csum_start = ETH_BYTES + IP_BYTES,
		.csum_offset = 6};
	memcpy(packet->frame, flood->to.sll_addr, ETHER_ADDR_LEN);
	base_store_be16(packet->frame + 2 * ETHER_ADDR_LEN, ETHERTYPE_IP);
	packet->frame[ETHER_ADDR_LEN] = 2; /* one that nobody has */
	ip[0] = 0x45;
	base_store_be16(ip + 2, (uint16_t)(HEADERS_BYTES + len));
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	base_store_be32(ip + 12, SOURCE_FIRST + 1);
	memcpy(ip + 16, &flood->address_be32, 4);
	base_store_be16(udp, 4000);
	base_store_be16(udp + 2, flood->port);
	base_store_be16(udp + 4, (uint16_t)(HEADERS_BYTES - IP_BYTES + len));
	for (unsigned k = 0; k < flood->n_segments; k++)
		flood->kind->make(flood, packet->messages + k * flood->len);
	set_source(flood, ip);
	flood->parts[i] = (struct iovec){packet, offsetof(struct packet, messages) + len};
	flood->headers[i].msg_hdr = (struct msghdr){.msg_name = &flood->to,
		.msg_namelen = sizeof(flood->to),
		.msg_iov = &flood->parts[i],
		.msg_iovlen = 1};
}

static void make_packets(struct flood *flood, unsigned n_segments)
{
	flood->n_segments = n_segments;
	for (unsigned i = 0; i < BATCH; i++)
		make_packet(flood, i);
}

static void vary_packets(struct flood *flood)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct packet *packet = &flood->packets[i];

		for (unsigned k = 0; flood->kind->vary && k < flood->n_segments; k++)
			flood->kind->vary(flood, packet->messages + k * flood->len);
		if (flood->kind->has_many_sources)
			set_source(flood, packet->frame + ETH_BYTES);
	}
}

/* What the device has no room for is not sent, and not counted. */
static uint64_t send_all(struct flood *flood, int fd, uint64_t end_ns)
{
	uint64_t n_sent = 0;

	while (!must_stop && n_sent < flood->count && base_clock_now_ns() < end_ns) {
		int n = sendmmsg(fd, flood->headers, BATCH, 0);

		if (n < 0 && errno == EINVAL && flood->n_segments > 1)
			make_packets(flood, 1); /* a kernel that knows no UDP segments here */
		else if (n < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			die("sendmmsg");
		n_sent += n > 0 ? (uint64_t)n * flood->n_segments : 0;
		vary_packets(flood);
	}
	return n_sent;
}

static int socket_new(void)
{
	int fd = socket(AF_PACKET, SOCK_RAW, 0), on = 1; /* protocol 0: it receives nothing */

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0)
		die("socket");
	return fd;
}

/* --- words ------------------------------------------------------------------------------------ */

static void read_recorded(struct flood *flood)
{
	FILE *file = fopen(flood->last_word, "rb");

	if (!file)
		die(flood->last_word);
	flood->len = fread(flood->recorded, 1, sizeof(flood->recorded), file);
	fclose(file);
	errno = EINVAL;
	if (flood->len < WG_DATA_OVERHEAD_BYTES)
		die(flood->last_word);
}

static void read_words(struct flood *flood, char **words)
{
	uint8_t *mac = flood->to.sll_addr;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(kinds); i++) {
		if (strcmp(words[0], kinds[i].name) == 0)
			flood->kind = &kinds[i];
	}
	errno = EINVAL;
	if (!flood->kind)
		die(words[0]);
	flood->to.sll_family = AF_PACKET;
	flood->to.sll_protocol = htons(ETHERTYPE_IP);
	flood->to.sll_halen = ETHER_ADDR_LEN;
	flood->to.sll_ifindex = (int)if_nametoindex(words[1]);
	if (flood->to.sll_ifindex == 0)
		die(words[1]);
	if (sscanf(words[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		    &mac[4], &mac[5]) != ETHER_ADDR_LEN)
		die(words[2]);
	if (inet_pton(AF_INET, words[3], &flood->address_be32) != 1)
		die(words[3]);
	flood->port = (uint16_t)strtoul(words[4], NULL, 10);
	flood->count = strtoull(words[5], NULL, 10);
	flood->seconds = strtoull(words[6], NULL, 10);
	flood->last_word = words[7];
	flood->len = flood->kind->len;
}

int main(int argc, char **argv)
{
	static struct flood flood;
	uint64_t begin_ns, took_ns, n_sent;
	int fd;

	if (argc != 8 && argc != 9) {
		fprintf(stderr, "usage: flood KIND DEVICE MAC ADDRESS PORT COUNT SECONDS [WORD]\n");
		return 2;
	}
	read_words(&flood, argv + 1);
	if (cr_init() != 0 || (!flood.last_word && flood.kind->make == make_stranger))
		die(flood.kind->name);
	if (flood.len == 0)
		read_recorded(&flood);
	cr_random(&flood.random, sizeof(flood.random));
	make_packets(&flood,
		LARGE_BYTES_MAX / flood.len < SEGMENTS_MAX ? (unsigned)(LARGE_BYTES_MAX / flood.len)
							   : SEGMENTS_MAX);
	fd = socket_new();
	signal(SIGTERM, on_term);
	begin_ns = base_clock_now_ns();
	n_sent = send_all(&flood, fd, begin_ns + flood.seconds * BASE_NS_PER_S);
	took_ns = base_clock_now_ns() - begin_ns;
	printf("%llu %.0f\n", (unsigned long long)n_sent,
		(double)n_sent / ((double)took_ns / BASE_NS_PER_S));
	return 0;
}
