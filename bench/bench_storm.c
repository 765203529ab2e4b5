/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storm (bench_storm.h). The network is a ring of 1,024 frames each way, as a NIC's queue: what does not fit
 * is lost. Initiations leave it half free, as a link of limited speed does; the tunnel's packets get no such
 * care, so a worker that stalls for longer than the queue holds loses some. The rest of a member's life is
 * that of a real peer: a cookie has it send again at once, silence after five seconds and a bit.
 */
#include "bench_storm.h"

#include "base_clock.h"
#include "base_err.h"
#include "cr_noise.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LISTEN_PORT 51820
#define QUEUE_FREE_MIN 512u /* of the port's ring, while initiations are put on it */
#define SCAN_PER_TURN 8192u
#define TURN_US 100
#define STREAM_PPS 20000u /* each way */
#define STREAM_BURST_MAX 128u
#define INNER_BYTES 512u
#define QUIET_NS (BASE_NS_PER_S)
#define STORM_MAX_NS (80 * BASE_NS_PER_S)
#define CHECKED_ANSWERS 1000u
#define TUNNEL 0u /* the member whose tunnel is established */

struct stream {
	uint64_t sent_in, got_in;   /* peer to host */
	uint64_t sent_out, got_out; /* host to peer */
	uint64_t out_counter;       /* next expected on the wire */
	uint64_t out_of_order;
};

/* Who did not get to run, and for how long: a machine that is not ours alone loses packets for us. */
struct watch {
	uint64_t rounds, rounds_ns; /* the worker's, and when they last went on */
	uint64_t turn_ns;
	uint64_t worker_stall_ns, network_stall_ns; /* the longest */
};

struct storm {
	struct dp *dp;
	struct rte_ring *host_ring;
	struct bench_fleet fleet;
	struct wg_noise_keys keys; /* of the tunnel, the peer's side */
	uint32_t remote_index_le32;
	struct stream stream;
	uint64_t stream_from_ns;
	uint64_t random;
	uint32_t cursor, n_answered;
	uint64_t initiations, cookies;
	struct watch watch;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "bench_storm: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

void bench_storm_pin(unsigned cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	pthread_setaffinity_np(pthread_self(), sizeof(cpus), &cpus);
}

/* The network waits for no scheduler: it runs when it has something to do, where we may say so. */
static void never_wait(void)
{
	struct sched_param first = {.sched_priority = 1};

	(void)pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
}

static void wait_again(void)
{
	struct sched_param normal = {.sched_priority = 0};

	(void)pthread_setschedparam(pthread_self(), SCHED_OTHER, &normal);
}

static uint32_t inner_addr(uint32_t i)
{
	return 0x0a400000 + i; /* 10.64.0.0 and on */
}

void bench_storm_peers_add(struct dp *dp, const struct bench_fleet *fleet)
{
	struct dp_peer_config *configs = calloc(fleet->n, sizeof(*configs));
	struct base_prefix *prefixes = calloc(fleet->n, sizeof(*prefixes));
	struct dp_peers_change change = {.set = configs, .n_set = fleet->n};
	struct base_error error;

	if (!configs || !prefixes)
		die("no memory");
	for (uint32_t i = 0; i < fleet->n; i++) {
		prefixes[i] = (struct base_prefix){.addr.family = BASE_FAMILY_V4, .bits = 32};
		base_store_be32(prefixes[i].addr.bytes, inner_addr(i));
		configs[i].public_key = fleet->members[i].identity.public_key;
		configs[i].allowed_ips = &prefixes[i];
		configs[i].n_allowed_ips = 1;
	}
	if (dp_peers_change(dp, &change, &error) != 0)
		die("%s", error.text);
	free(configs);
	free(prefixes);
}

static bool inject(struct dp *dp, const struct base_endpoint *from, const void *message, size_t len)
{
	static const uint8_t our_addr[4] = DP_TEST_OUR_ADDR4;
	struct rte_mbuf *m = rte_pktmbuf_alloc(dp->pool);
	uint8_t *frame, *ip, *udp;

	if (!m)
		return false;
	frame = (uint8_t *)rte_pktmbuf_append(
		m, (uint16_t)(DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES + len));
	ip = frame + DP_ETH_BYTES;
	udp = ip + DP_IP4_BYTES;
	memset(frame, 0, DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES);
	base_store_be16(frame + 12, 0x0800);
	ip[0] = 0x45;
	base_store_be16(ip + 2, (uint16_t)(DP_IP4_BYTES + DP_UDP_BYTES + len));
	ip[8] = 64;
	ip[9] = IN_PROTO_UDP;
	memcpy(ip + 12, from->addr.bytes, 4);
	memcpy(ip + 16, our_addr, 4);
	base_store_be16(udp, from->port);
	base_store_be16(udp + 2, LISTEN_PORT);
	base_store_be16(udp + 4, (uint16_t)(DP_UDP_BYTES + len));
	memcpy(udp + DP_UDP_BYTES, message, len);
	if (rte_ring_enqueue(dp_test_port_rx(dp, 0, 0), m) == 0)
		return true;
	rte_pktmbuf_free(m);
	return false;
}

bool bench_storm_inject(struct dp *dp, const struct bench_member *member)
{
	return inject(dp, &member->endpoint, &member->initiation, sizeof(member->initiation));
}

uint32_t bench_storm_answer(struct bench_fleet *fleet, struct rte_mbuf *m, uint64_t now_ns)
{
	const uint32_t header = DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES;
	const uint8_t *message = rte_pktmbuf_mtod_offset(m, uint8_t *, header);
	uint32_t i = bench_fleet_addressee(fleet, message, rte_pktmbuf_data_len(m) - header);
	struct bench_member *member;
	struct wg_cookie_reply reply;

	if (i == UINT32_MAX)
		return i;
	member = &fleet->members[i];
	if (base_load_le32(message) == WG_MESSAGE_RESPONSE) {
		memcpy(&member->response, message, sizeof(member->response));
		member->is_answered = true;
		return i;
	}
	memcpy(&reply, message, sizeof(reply));
	if (!member->cookies.carried_mac2 && bench_fleet_cookie(fleet, i, &reply, now_ns))
		member->retry_ns = now_ns;
	return i;
}

/* --- the stream ------------------------------------------------------------------------------- */

static void inner_write(uint8_t *ip, bool is_to_peer)
{
	memset(ip, 0, INNER_BYTES);
	ip[0] = 0x45;
	base_store_be16(ip + 2, INNER_BYTES);
	ip[8] = 64;
	ip[9] = IN_PROTO_UDP;
	base_store_be32(ip + (is_to_peer ? 16 : 12), inner_addr(TUNNEL));
	base_store_be32(ip + (is_to_peer ? 12 : 16), 0x0a090001);
	base_store_be16(ip + 20, is_to_peer ? 8765 : 40000);
	base_store_be16(ip + 22, is_to_peer ? 40000 : 8765);
	base_store_be16(ip + 24, (uint16_t)(INNER_BYTES - 20));
}

static void stream_in(struct storm *storm)
{
	struct wg_data header = {.type_le32 = WG_MESSAGE_DATA,
		.receiver_index_le32 = storm->remote_index_le32,
		.counter_le64 = storm->stream.sent_in++};
	uint8_t message[INNER_BYTES + WG_DATA_OVERHEAD_BYTES], inner[INNER_BYTES];

	memcpy(message, &header, sizeof(header));
	inner_write(inner, false);
	cr_aead_seal(message + sizeof(header), &storm->keys.send, header.counter_le64, inner,
		sizeof(inner), NULL, 0);
	/* No room: lost, and counted as such, for it is sent all the same. */
	(void)inject(storm->dp, &storm->fleet.members[TUNNEL].endpoint, message, sizeof(message));
}

static void stream_out(struct storm *storm)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(storm->dp->pool);

	storm->stream.sent_out++;
	if (!m)
		return;
	inner_write((uint8_t *)rte_pktmbuf_append(m, INNER_BYTES), true);
	dp_from_host(storm->dp, &m, 1);
}

/* What is due by now, each way. */
static void stream_turn(struct storm *storm, uint64_t now_ns)
{
	uint64_t due = (now_ns - storm->stream_from_ns) * STREAM_PPS / BASE_NS_PER_S;

	for (unsigned i = 0; i < STREAM_BURST_MAX && storm->stream.sent_in < due; i++) {
		stream_in(storm);
		stream_out(storm);
	}
}

static void got_out(struct storm *storm, const uint8_t *message, size_t len)
{
	uint8_t inner[INNER_BYTES];
	struct wg_data header;

	memcpy(&header, message, sizeof(header));
	if (len != sizeof(inner) + WG_DATA_OVERHEAD_BYTES ||
		!cr_aead_open(inner, &storm->keys.recv, header.counter_le64,
			message + sizeof(header), len - sizeof(header), NULL, 0))
		return; /* a keepalive */
	if (header.counter_le64 < storm->stream.out_counter)
		storm->stream.out_of_order++;
	storm->stream.out_counter = header.counter_le64 + 1;
	storm->stream.got_out++;
}

/* --- the members ------------------------------------------------------------------------------ */

static void got_frame(struct storm *storm, struct rte_mbuf *m, uint64_t now_ns)
{
	const uint32_t header = DP_ETH_BYTES + DP_IP4_BYTES + DP_UDP_BYTES;
	const uint8_t *message = rte_pktmbuf_mtod_offset(m, uint8_t *, header);
	uint32_t type = base_load_le32(message), i;
	bool was_answered;

	if (type == WG_MESSAGE_DATA) {
		got_out(storm, message, rte_pktmbuf_data_len(m) - header);
		return;
	}
	i = bench_fleet_addressee(&storm->fleet, message, rte_pktmbuf_data_len(m) - header);
	if (i == UINT32_MAX)
		return;
	was_answered = storm->fleet.members[i].is_answered;
	bench_storm_answer(&storm->fleet, m, now_ns);
	storm->cookies += type == WG_MESSAGE_COOKIE;
	storm->n_answered += !was_answered && storm->fleet.members[i].is_answered;
}

static void watch(struct storm *storm, uint64_t now_ns)
{
	uint64_t rounds = dp_counter_get(&storm->dp->workers[0].counters.rounds);
	struct watch *watch = &storm->watch;

	if (rounds != watch->rounds)
		watch->rounds_ns = now_ns;
	watch->rounds = rounds;
	watch->worker_stall_ns = RTE_MAX(watch->worker_stall_ns, now_ns - watch->rounds_ns);
	if (watch->turn_ns)
		watch->network_stall_ns = RTE_MAX(watch->network_stall_ns, now_ns - watch->turn_ns);
	watch->turn_ns = now_ns;
}

static void take_all(struct storm *storm, uint64_t now_ns)
{
	struct rte_mbuf *m;

	watch(storm, now_ns);
	while (rte_ring_dequeue(dp_test_port_tx(storm->dp, 0, 0), (void **)&m) == 0) {
		got_frame(storm, m, now_ns);
		rte_pktmbuf_free(m);
	}
	while (rte_ring_dequeue(storm->host_ring, (void **)&m) == 0) {
		storm->stream.got_in += rte_pktmbuf_data_len(m) == INNER_BYTES;
		rte_pktmbuf_free(m);
	}
	dp_service(storm->dp);
}

static uint64_t jitter_ns(struct storm *storm)
{
	/* xorshift64: only the spread matters. */
	storm->random ^= storm->random << 13;
	storm->random ^= storm->random >> 7;
	storm->random ^= storm->random << 17;
	return storm->random % WG_REKEY_JITTER_MAX_NS;
}

/* Send what is due, as far as the link takes it. */
static void storm_turn(struct storm *storm, uint64_t now_ns)
{
	struct rte_ring *rx = dp_test_port_rx(storm->dp, 0, 0);

	for (unsigned i = 0; i < SCAN_PER_TURN; i++) {
		struct bench_member *member = &storm->fleet.members[storm->cursor];

		if (!member->is_answered && member->retry_ns <= now_ns) {
			if (rte_ring_free_count(rx) < QUEUE_FREE_MIN ||
				!bench_storm_inject(storm->dp, member))
				return;
			storm->initiations++;
			member->retry_ns = now_ns + WG_REKEY_TIMEOUT_NS + jitter_ns(storm);
		}
		storm->cursor = (storm->cursor + 1) % storm->fleet.n;
	}
}

/* --- the ladder ------------------------------------------------------------------------------- */

static void up(struct storm *storm, const struct bench_storm_config *config)
{
	static const struct base_prefix anybody = {0};
	static const struct dp_filter_dst port = {.port_first = 8765, .port_last = 8765};
	static const uint8_t udp = IN_PROTO_UDP;
	static const struct dp_filter_rule rule = {&anybody, 1, &port, 1, &udp, 1};
	struct dp_config dp = {
		.ports = {{.kind = DP_PORT_RING, .device = "storm"}},
		.n_ports = 1,
		.listen_port = LISTEN_PORT,
		.n_workers = 1,
		.worker_cpus = {config->worker_cpu},
		.memory_mb = 128,
		.host_mtu = 1420,
		.n_host_addrs = 1,
		.rules = &rule,
		.n_rules = 1,
	};
	struct base_error error;

	cr_x25519_generate(&dp.private_key);
	cr_random(&storm->random, sizeof(storm->random));
	if (base_ifaddr_parse(&dp.host_addrs[0], "10.9.0.1/8") != 0)
		die("host address");
	storm->dp = dp_new(&dp, NULL, NULL, NULL, &error);
	if (!storm->dp)
		die("%s", error.text);
	storm->host_ring = rte_ring_create("storm_host", 2048, SOCKET_ID_ANY, 0);
	if (!storm->host_ring ||
		!bench_fleet_init(&storm->fleet, config->n_peers,
			dp_handshake_public_key(storm->dp->handshake)))
		die("no memory");
	dp_test_set_host_ring(storm->dp, storm->host_ring);
	bench_storm_peers_add(storm->dp, &storm->fleet);
	for (uint32_t i = 0; i < storm->fleet.n; i++) {
		bench_fleet_initiate(&storm->fleet, i, base_clock_now_ns());
		storm->fleet.members[i].retry_ns = BASE_NEVER_NS;
	}
}

/* Member TUNNEL's session, and its stream from now on. */
static void establish(struct storm *storm)
{
	struct bench_member *member = &storm->fleet.members[TUNNEL];
	uint64_t give_up_ns = base_clock_now_ns() + BASE_NS_PER_S;

	bench_fleet_initiate(&storm->fleet, TUNNEL, base_clock_now_ns());
	if (!bench_storm_inject(storm->dp, member))
		die("no room on an idle port");
	while (!member->is_answered) {
		if (base_clock_now_ns() > give_up_ns)
			die("no answer from an idle gateway");
		take_all(storm, base_clock_now_ns());
		usleep(TURN_US);
	}
	if (!bench_fleet_accept(&storm->fleet, TUNNEL, &storm->keys))
		die("a wrong answer");
	storm->remote_index_le32 = member->response.sender_index_le32;
	storm->n_answered = 0;
	/* The first message in confirms the session; nothing is sent out before. */
	stream_in(storm);
	while (storm->stream.got_in == 0) {
		if (base_clock_now_ns() > give_up_ns)
			die("the tunnel carries nothing");
		take_all(storm, base_clock_now_ns());
		usleep(TURN_US);
	}
	storm->stream = (struct stream){.sent_in = 1, .got_in = 1, .sent_out = 1, .got_out = 1};
	storm->stream_from_ns = base_clock_now_ns();
}

static void quiet(struct storm *storm)
{
	uint64_t until_ns = base_clock_now_ns() + QUIET_NS, now_ns;

	while ((now_ns = base_clock_now_ns()) < until_ns) {
		stream_turn(storm, now_ns);
		take_all(storm, now_ns);
		usleep(TURN_US);
	}
}

/* Returns how long it took until the last was answered, or until patience ended. */
static uint64_t rage(struct storm *storm)
{
	uint64_t begin_ns = base_clock_now_ns(), now_ns = begin_ns;

	for (uint32_t i = 0; i < storm->fleet.n; i++)
		storm->fleet.members[i].retry_ns = begin_ns;
	while (storm->n_answered < storm->fleet.n - 1 && now_ns < begin_ns + STORM_MAX_NS) {
		stream_turn(storm, now_ns);
		storm_turn(storm, now_ns);
		take_all(storm, now_ns);
		usleep(TURN_US);
		now_ns = base_clock_now_ns();
	}
	return now_ns - begin_ns;
}

/* Some of the answers are looked into: the sessions must be real ones. */
static void check_answers(const struct storm *storm)
{
	uint32_t step = storm->fleet.n / CHECKED_ANSWERS + 1;
	struct wg_noise_keys keys;

	for (uint32_t i = 0; i < storm->fleet.n; i += step) {
		if (storm->fleet.members[i].is_answered &&
			!bench_fleet_accept(&storm->fleet, i, &keys))
			die("a wrong answer to member %u", i);
	}
}

static void print_drops(const struct dp_stats *stats)
{
	printf("        dropped meanwhile:");
	for (unsigned i = 0; i < dp_drop_count(); i++) {
		uint64_t n = stats->workers[0].drop_pkts[i] + stats->host_drop_pkts[i];

		if (n)
			printf(" %s %llu", dp_drop_name(i), (unsigned long long)n);
	}
	printf("\n");
}

static void print_row(const struct storm *storm, uint64_t took_ns, bool as_json)
{
	const struct stream *stream = &storm->stream;
	double seconds = (double)took_ns / BASE_NS_PER_S;
	uint64_t sent = stream->sent_in + stream->sent_out;
	struct dp_stats *stats = malloc(sizeof(*stats));

	printf(as_json ? "{\"bench\":\"handshake\",\"row\":\"storm\",\"peers\":%u,\"answered\":%u,"
			 "\"seconds\":%.2f,\"answers_per_s\":%.0f,\"initiations\":%llu,"
			 "\"cookies\":%llu,\"tunnel_sent_pkts\":%llu,\"tunnel_lost_pkts\":%lld,"
			 "\"tunnel_out_of_order_pkts\":%llu,\"worker_stall_ms\":%.1f,"
			 "\"network_stall_ms\":%.1f}\n"
		       : "storm   %u peers at once: %u answered in %.2f s, %.0f a second; %llu "
			 "initiations, %llu cookies\n        tunnel beside it: %llu packets sent, "
			 "%lld lost, %llu out of order\n        longest that the worker did not "
			 "run: %.1f ms; that the network did not: %.1f ms\n",
		storm->fleet.n - 1, storm->n_answered, seconds, storm->n_answered / seconds,
		(unsigned long long)storm->initiations, (unsigned long long)storm->cookies,
		(unsigned long long)sent, (long long)(sent - stream->got_in - stream->got_out),
		(unsigned long long)stream->out_of_order,
		(double)storm->watch.worker_stall_ns / 1e6,
		(double)storm->watch.network_stall_ns / 1e6);
	if (stats && !as_json) {
		dp_stats_get(storm->dp, stats);
		print_drops(stats);
	}
	free(stats);
	fflush(stdout);
}

void bench_storm_run(const struct bench_storm_config *config)
{
	static struct storm storm;
	uint64_t took_ns;

	up(&storm, config);
	bench_storm_pin(0);
	never_wait();
	establish(&storm);
	quiet(&storm);
	took_ns = rage(&storm);
	quiet(&storm);
	/* What is on its way arrives. */
	for (unsigned i = 0; i < 100; i++) {
		usleep(1000);
		take_all(&storm, base_clock_now_ns());
	}
	wait_again();
	check_answers(&storm);
	print_row(&storm, took_ns, config->as_json);
	dp_test_set_host_ring(storm.dp, NULL);
	dp_free(storm.dp);
	rte_ring_free(storm.host_ring);
	bench_fleet_fini(&storm.fleet);
}
