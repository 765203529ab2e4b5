/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames in and out of a packet socket, many per message. Worker threads. See dp_packet.h. */
#include "dp_packet.h"

#include "base_bytes.h"
#include "in_offload.h"
#include "in_parse.h"
#include "dp_pkt.h"
#include "dp_scatter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Messages of one call. Large ones are worked off while they are in the cache. */
#define MESSAGES_MAX 32
#define MESSAGES_LARGE 4
/* One more than the largest: a header, a frame whose IP packet is as long as its length field can say. */
#define MESSAGE_BYTES (sizeof(struct in_vnet) + DP_ETH_BYTES + IN_LARGE_BYTES + 1)
#define SOCKET_BUFFER_BYTES (8 << 20)
#define HEADERS_MAX (DP_ETH_BYTES + DP_IP6_BYTES + DP_UDP_BYTES)

struct message {
	struct in_vnet vnet;
	uint8_t frame[MESSAGE_BYTES - sizeof(struct in_vnet)];
};
static_assert(sizeof(struct message) == MESSAGE_BYTES + MESSAGE_BYTES % 2, "nothing between");

static_assert(DP_SCATTER_PARTS_MAX <= DP_BURST, "a message laid out is a burst");

/* The message that is being cut. */
struct cut {
	uint8_t *frame;
	uint32_t headers_len;         /* 0: one frame as it is */
	uint32_t payload_len;         /* what is left of it */
	uint32_t segment_payload_len; /* of each frame but the last */
};

/* The head of a message to be sent, and how many frames it carries. */
struct run {
	struct in_vnet vnet;
	uint8_t headers[HEADERS_MAX];
	unsigned n_pkts;
};

struct dp_packet {
	int fd;
	bool has_segments; /* the kernel takes many frames at once; until it refuses */
	struct dp_scatter scatter;

	struct message *messages;
	struct iovec message_iov[MESSAGES_MAX];
	struct mmsghdr received[MESSAGES_MAX];
	unsigned n_received, next; /* the next one to look at */
	bool was_large;            /* the last one that was looked at */
	struct cut cut;

	struct run runs[DP_BURST];
	struct iovec run_iov[2 * DP_BURST];
	struct mmsghdr sent[DP_BURST];
};

/* --- life ------------------------------------------------------------------------------------- */

/* Offsets from the start of the frame. */
static int set_filter(int fd, uint16_t udp_port)
{
	struct sock_filter code[] = {
		BPF_STMT(
			BPF_LD | BPF_B | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_VLAN_TAG_PRESENT)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 15),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, 7),
		/* IPv4: UDP, no fragment; the header's length into X, then the destination port. */
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 11),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 20),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x3fff, 9, 0),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 14),
		BPF_STMT(BPF_LD | BPF_H | BPF_IND, 16),
		BPF_JUMP(BPF_JMP | BPF_JA, 4, 0, 0),
		/* IPv6 without extension headers. */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, 5),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_UDP, 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 56),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, udp_port, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {.len = BASE_ARRAY_LEN(code), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno
											   : 0;
}

static int set_on(int fd, int option)
{
	int one = 1;

	return setsockopt(fd, SOL_PACKET, option, &one, sizeof(one)) < 0 ? -errno : 0;
}

static int set_fanout(int fd, const struct dp_packet_config *config)
{
	int value = config->fanout | PACKET_FANOUT_HASH << 16;

	if (config->n_queues == 1)
		return 0;
	return setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Everything is set before the socket hears its first frame. */
static int open_socket(const struct dp_packet_config *config)
{
	struct sockaddr_ll where = {.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(config->device)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), bytes, rc;

	if (fd < 0)
		return -errno;
	bytes = SOCKET_BUFFER_BYTES;
	/* Beyond the limit of the system with CAP_NET_ADMIN, up to it without. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	rc = set_filter(fd, config->udp_port);
	if (rc == 0)
		rc = set_on(fd, PACKET_VNET_HDR);
	if (rc == 0)
		rc = set_on(fd, PACKET_IGNORE_OUTGOING);
	if (rc == 0 && bind(fd, (struct sockaddr *)&where, sizeof(where)) < 0)
		rc = -errno;
	if (rc == 0)
		rc = set_fanout(fd, config);
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

static void prepare_messages(struct dp_packet *packet)
{
	for (unsigned i = 0; i < MESSAGES_MAX; i++) {
		packet->message_iov[i] =
			(struct iovec){&packet->messages[i], sizeof(packet->messages[i])};
		packet->received[i].msg_hdr =
			(struct msghdr){.msg_iov = &packet->message_iov[i], .msg_iovlen = 1};
	}
}

struct dp_packet *dp_packet_new(const struct dp_packet_config *config, struct base_error *ret_error)
{
	struct dp_packet *packet = calloc(1, sizeof(*packet));
	int rc = -ENOMEM;

	if (packet) {
		packet->fd = -1;
		packet->has_segments = true;
		packet->messages = calloc(MESSAGES_MAX, sizeof(*packet->messages));
	}
	if (packet && packet->messages) {
		dp_scatter_init(&packet->scatter, config->pool, packet->messages[0].frame,
			sizeof(packet->messages[0].frame));
		prepare_messages(packet);
		rc = packet->fd = open_socket(config);
	}
	if (rc >= 0)
		return packet;
	base_error_set(ret_error, rc, "port %s: af_packet does not open it: %s", config->device,
		strerror(-rc));
	dp_packet_free(packet);
	errno = -rc;
	return NULL;
}

void dp_packet_free(struct dp_packet *packet)
{
	if (!packet)
		return;
	if (packet->fd >= 0)
		close(packet->fd);
	dp_scatter_fini(&packet->scatter);
	free(packet->messages);
	free(packet);
}

int dp_packet_fd(const struct dp_packet *packet)
{
	return packet->fd;
}

/* --- receive ---------------------------------------------------------------------------------- */

/* Bytes up to the payload of a large message of UDP, or 0 if that is not what it is. */
static uint32_t headers_len_of(const struct in_vnet *vnet, const uint8_t *frame, uint32_t len)
{
	const uint8_t *ip = frame + DP_ETH_BYTES;
	uint32_t headers_len;

	if (vnet->gso_type != IN_GSO_UDP || vnet->gso_size == 0 ||
		len < DP_ETH_BYTES + DP_IP4_BYTES)
		return 0;
	headers_len = DP_ETH_BYTES + DP_UDP_BYTES +
		(ip[0] >> 4 == 4 ? (ip[0] & 15u) * 4u : (uint32_t)DP_IP6_BYTES);
	return headers_len < len ? headers_len : 0;
}

static void begin_cut(struct dp_packet *packet, struct message *message, uint32_t len)
{
	uint32_t headers_len = headers_len_of(&message->vnet, message->frame, len);

	packet->cut = (struct cut){.frame = message->frame,
		.headers_len = headers_len,
		.payload_len = len - headers_len,
		.segment_payload_len = headers_len ? message->vnet.gso_size : len};
	packet->was_large = headers_len != 0;
	if (packet->was_large)
		dp_scatter_expect(&packet->scatter, headers_len, message->vnet.gso_size);
}

/* The lengths of a frame of its own; its checksums are nobody's: the packet authenticates itself. */
static void set_lengths(uint8_t *frame, uint32_t headers_len, uint32_t payload_len)
{
	uint8_t *ip = frame + DP_ETH_BYTES, *udp = frame + headers_len - DP_UDP_BYTES;
	uint32_t udp_len = DP_UDP_BYTES + payload_len;

	if (ip[0] >> 4 == 4)
		base_store_be16(ip + 2, (uint16_t)(headers_len - DP_ETH_BYTES + payload_len));
	else
		base_store_be16(ip + 4, (uint16_t)udp_len);
	base_store_be16(udp + 4, (uint16_t)udp_len);
}

static void take_frame(struct cut *cut, struct rte_mbuf *m)
{
	uint32_t payload_len = RTE_MIN(cut->payload_len, cut->segment_payload_len);
	uint32_t room = rte_pktmbuf_tailroom(m), headers_len = cut->headers_len;
	uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);
	uint32_t copied = RTE_MIN(payload_len, room - headers_len);

	memcpy(frame, cut->frame, headers_len);
	memcpy(frame + headers_len, cut->frame + headers_len, copied);
	if (headers_len)
		set_lengths(frame, headers_len, payload_len);
	m->data_len = (uint16_t)(headers_len + copied);
	m->pkt_len = headers_len + copied;
	cut->payload_len -= payload_len;
	if (headers_len == 0 || cut->payload_len == 0) {
		cut->frame = NULL;
		return;
	}
	/* The headers move up to what follows: read before, and not needed below. */
	memmove(cut->frame + payload_len, cut->frame, headers_len);
	cut->frame += payload_len;
}

/* Is there a message to be cut now? */
static bool next_message(struct dp_packet *packet)
{
	while (!packet->cut.frame) {
		const struct mmsghdr *received;
		int n;

		if (packet->next == packet->n_received) {
			n = recvmmsg(packet->fd, packet->received,
				packet->was_large ? MESSAGES_LARGE : MESSAGES_MAX, 0, NULL);
			packet->next = 0;
			packet->n_received = n > 0 ? (unsigned)n : 0;
			if (n <= 0)
				return false;
		}
		received = &packet->received[packet->next];
		if (received->msg_len > sizeof(struct in_vnet))
			begin_cut(packet, &packet->messages[packet->next],
				received->msg_len - (uint32_t)sizeof(struct in_vnet));
		packet->next++;
	}
	return true;
}

/* The frames of a message whose payload lies in their mbufs. */
static unsigned take_scattered(
	struct dp_packet *packet, struct rte_mbuf **ret_pkts, uint32_t headers_len, uint32_t len)
{
	struct dp_scatter *scatter = &packet->scatter;
	uint32_t left = len - headers_len;
	uint8_t headers[DP_ETH_BYTES + DP_IP4_BYTES_MAX + DP_UDP_BYTES];
	unsigned n = 0;

	memcpy(headers, dp_scatter_first(scatter), headers_len);
	while (left > 0) {
		struct rte_mbuf *m = dp_scatter_take(scatter);
		uint32_t payload_len = RTE_MIN(left, scatter->part_len);
		uint8_t *frame = rte_pktmbuf_mtod(m, uint8_t *);

		memcpy(frame, headers, headers_len);
		set_lengths(frame, headers_len, payload_len);
		m->data_len = (uint16_t)(headers_len + payload_len);
		m->pkt_len = headers_len + payload_len;
		left -= payload_len;
		ret_pkts[n++] = m;
	}
	return n;
}

/*
 * One message, which is likely to be as large as the last. What is laid out otherwise is put together and waits to
 * be cut; then, and when there is none, nothing is returned.
 */
static unsigned receive_scattered(struct dp_packet *packet, struct rte_mbuf **ret_pkts)
{
	struct dp_scatter *scatter = &packet->scatter;
	struct message *message = packet->messages;
	struct msghdr msg = {.msg_iov = scatter->iov};
	uint32_t len, headers_len = 0;
	ssize_t n;

	msg.msg_iovlen = dp_scatter_lay(scatter, &message->vnet, sizeof(message->vnet));
	n = recvmsg(packet->fd, &msg, 0);
	if (n <= (ssize_t)sizeof(message->vnet))
		return 0;
	len = (uint32_t)n - (uint32_t)sizeof(message->vnet);
	if (dp_scatter_row(scatter) > 0)
		headers_len = headers_len_of(&message->vnet, dp_scatter_first(scatter),
			RTE_MIN(len, dp_scatter_row(scatter)));
	if (headers_len && dp_scatter_fits(scatter, headers_len, message->vnet.gso_size, len))
		return take_scattered(packet, ret_pkts, headers_len, len);
	dp_scatter_gather(scatter, len);
	begin_cut(packet, message, len);
	return 0;
}

unsigned dp_packet_rx(struct dp_packet *packet, struct rte_mbuf **ret_pkts, unsigned n)
{
	bool is_between = !packet->cut.frame && packet->next == packet->n_received;
	unsigned taken = 0;

	/* One large message is a burst. */
	if (packet->was_large && is_between && n >= DP_SCATTER_PARTS_MAX) {
		taken = receive_scattered(packet, ret_pkts);
		if (taken > 0 || !packet->cut.frame)
			return taken;
	}
	while (taken < n && next_message(packet)) {
		struct rte_mbuf *m = dp_scatter_take(&packet->scatter);

		if (!m)
			break;
		take_frame(&packet->cut, m);
		ret_pkts[taken++] = m;
	}
	return taken;
}

/* --- send ------------------------------------------------------------------------------------- */

static uint32_t headers_of(const uint8_t *frame)
{
	return frame[DP_ETH_BYTES] >> 4 == 4 ? DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES
					     : HEADERS_MAX;
}

/* Equal but for lengths and checksums. */
static bool is_same_way(const uint8_t *a, const uint8_t *b)
{
	const uint8_t *ip_a = a + DP_ETH_BYTES, *ip_b = b + DP_ETH_BYTES;

	if (memcmp(a, b, DP_ETH_BYTES + 2) != 0)
		return false;
	if (ip_a[0] >> 4 == 4) /* identification to protocol; addresses and ports */
		return memcmp(ip_a + 4, ip_b + 4, 6) == 0 && memcmp(ip_a + 12, ip_b + 12, 12) == 0;
	/* flow label; next header to ports */
	return memcmp(ip_a + 2, ip_b + 2, 2) == 0 && memcmp(ip_a + 6, ip_b + 6, 38) == 0;
}

/* How many of the first frames make one message. */
static unsigned run_length(const struct dp_packet *packet, struct rte_mbuf **pkts, unsigned n)
{
	const uint8_t *first = rte_pktmbuf_mtod(pkts[0], const uint8_t *);
	uint32_t len = pkts[0]->data_len, headers_len = headers_of(first), total = len;
	unsigned run = 1;

	while (packet->has_segments && run < n && pkts[run - 1]->data_len == len &&
		pkts[run]->data_len <= len && pkts[run]->data_len > headers_len &&
		total + pkts[run]->data_len - headers_len <= IN_LARGE_BYTES &&
		is_same_way(first, rte_pktmbuf_mtod(pkts[run], const uint8_t *)))
		total += pkts[run++]->data_len - headers_len;
	return run;
}

/* The headers of a large message, in front of which the kernel is told how to cut it. */
static void make_head(struct run *run, const struct rte_mbuf *first, uint32_t total)
{
	const uint8_t *frame = rte_pktmbuf_mtod(first, const uint8_t *);
	uint32_t headers_len = headers_of(frame), udp_len = total - headers_len + DP_UDP_BYTES;
	uint8_t *ip = run->headers + DP_ETH_BYTES, *udp = run->headers + headers_len - DP_UDP_BYTES;
	uint16_t check;

	memcpy(run->headers, frame, headers_len);
	set_lengths(run->headers, headers_len, total - headers_len);
	if (ip[0] >> 4 == 4) {
		memset(ip + 10, 0, 2);
		check = in_csum_finish(in_csum_add(0, ip, DP_IP4_BYTES));
		memcpy(ip + 10, &check, sizeof(check));
	}
	/* As a partial checksum starts: with the pseudo-header's sum, not complemented. */
	check = (uint16_t)~in_csum_finish(in_csum_pseudo(ip, IN_PROTO_UDP, udp_len));
	memcpy(udp + IN_UDP_CSUM_OFF, &check, sizeof(check));
	run->vnet = (struct in_vnet){.flags = IN_VNET_NEEDS_CSUM,
		.gso_type = IN_GSO_UDP,
		.hdr_len = (uint16_t)headers_len,
		.gso_size = (uint16_t)(first->data_len - headers_len),
		.csum_start = (uint16_t)(headers_len - DP_UDP_BYTES),
		.csum_offset = IN_UDP_CSUM_OFF};
}

/* One message of the first frames; returns how many pieces of memory it is made of. */
static unsigned make_message(
	struct run *run, struct iovec *iov, struct rte_mbuf **pkts, unsigned n_pkts)
{
	uint32_t headers_len = 0, total = pkts[0]->data_len;

	run->n_pkts = n_pkts;
	run->vnet = (struct in_vnet){.gso_type = IN_GSO_NONE};
	if (n_pkts > 1) {
		headers_len = headers_of(rte_pktmbuf_mtod(pkts[0], const uint8_t *));
		for (unsigned i = 1; i < n_pkts; i++)
			total += pkts[i]->data_len - headers_len;
		make_head(run, pkts[0], total);
	}
	/* vnet and headers lie in a row */
	iov[0] = (struct iovec){run, sizeof(run->vnet) + headers_len};
	for (unsigned i = 0; i < n_pkts; i++)
		iov[1 + i] = (struct iovec){rte_pktmbuf_mtod(pkts[i], uint8_t *) + headers_len,
			pkts[i]->data_len - headers_len};
	return 1 + n_pkts;
}
static_assert(offsetof(struct run, headers) == sizeof(struct in_vnet), "one piece");

/* All of them, or up to the first that the kernel refuses. */
static unsigned send_all(struct dp_packet *packet, unsigned n)
{
	unsigned done = 0;

	while (done < n) {
		int sent = sendmmsg(packet->fd, packet->sent + done, n - done, MSG_DONTWAIT);

		if (sent <= 0)
			break;
		done += (unsigned)sent;
	}
	return done;
}

unsigned dp_packet_tx(struct dp_packet *packet, struct rte_mbuf **pkts, unsigned n)
{
	struct iovec *iov = packet->run_iov;
	unsigned n_runs = 0, done = 0, sent = 0;

	while (done < n) {
		unsigned n_pkts = run_length(packet, pkts + done, n - done);
		unsigned n_iov = make_message(&packet->runs[n_runs], iov, pkts + done, n_pkts);

		packet->sent[n_runs++].msg_hdr =
			(struct msghdr){.msg_iov = iov, .msg_iovlen = n_iov};
		iov += n_iov;
		done += n_pkts;
	}
	done = send_all(packet, n_runs);
	for (unsigned i = 0; i < done; i++)
		sent += packet->runs[i].n_pkts;
	rte_pktmbuf_free_bulk(pkts, sent);
	/* Linux before 6.2: never again, and these once more, each on its own. */
	if (done < n_runs && errno == EINVAL && packet->runs[done].n_pkts > 1) {
		packet->has_segments = false;
		sent += dp_packet_tx(packet, pkts + sent, n - sent);
	}
	return sent;
}
