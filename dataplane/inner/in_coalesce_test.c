/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs cut again give the packets that went in, byte for byte and in order, over random bursts of many flows
 * with whatever can be wrong in them; and a table of what ends a run. Seed printed.
 */
#include "in_coalesce.h"

#include "in_offload_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define BURST IN_COALESCE_PKTS_MAX
#define PACKET_BYTES 4096
#define ANY_FLOW 255

static uint8_t payload[65536];

/* A burst, each packet in a buffer of its own length: sanitizers see what is read behind it. */
struct burst {
	unsigned n;
	struct in_bytes pkts[BURST];
	struct in_bytes originals[BURST];
	uint8_t flows[BURST]; /* of which flow each packet was made, or ANY_FLOW */
	struct in_coalesce result;
};

static void add_bytes(struct burst *burst, const uint8_t *data, uint32_t len, uint8_t flow)
{
	unsigned i = burst->n++;

	burst->flows[i] = flow;
	burst->pkts[i] = (struct in_bytes){malloc(len ? len : 1), len};
	burst->originals[i] = (struct in_bytes){malloc(len ? len : 1), len};
	assert_true(burst->pkts[i].data && burst->originals[i].data);
	memcpy(burst->pkts[i].data, data, len);
	memcpy(burst->originals[i].data, data, len);
}

static uint8_t flow_of(const struct test_packet *p)
{
	return (uint8_t)(p->src_port % 60 * 4 + (p->version == 6) * 2 + (p->proto == IN_PROTO_UDP));
}

static void add(struct burst *burst, const struct test_packet *p)
{
	static uint8_t data[PACKET_BYTES];

	add_bytes(burst, data, test_make(p, data), flow_of(p));
}

static void empty(struct burst *burst)
{
	for (unsigned i = 0; i < burst->n; i++) {
		free(burst->pkts[i].data);
		free(burst->originals[i].data);
	}
	burst->n = 0;
}

/* Identification under Don't Fragment means nothing: take it, and with it the checksum, from the original. */
static void forgive_id(uint8_t *segment, const struct in_bytes *original)
{
	if (segment[0] >> 4 != 4 || !(segment[6] & 0x40))
		return;
	memcpy(segment + 4, original->data + 4, 2);
	memcpy(segment + 10, original->data + 10, 2);
}

/* One run against its packets: what the kernel would get, cut by the other half of this library. */
static void check_run(const struct burst *burst, const struct in_run *run)
{
	static uint8_t large[IN_LARGE_BYTES + 1], segment[PACKET_BYTES * 20];
	const struct in_bytes *first = &burst->pkts[run->first];
	struct in_segments segments;
	uint32_t len = first->len;
	uint8_t number = run->first;

	if (run->n_pkts == 1) {
		assert_memory_equal(&run->vnet, &(struct in_vnet){0}, sizeof(run->vnet));
		assert_memory_equal(first->data, burst->originals[number].data, len);
		return;
	}
	memcpy(large, first->data, len);
	for (unsigned i = 1; i < run->n_pkts; i++) {
		const struct in_bytes *piece;

		number = burst->result.next[number];
		piece = &burst->pkts[number];
		assert_true(len + piece->len - run->headers_len <= IN_LARGE_BYTES);
		memcpy(large + len, piece->data + run->headers_len, piece->len - run->headers_len);
		len += piece->len - run->headers_len;
	}
	assert_true(in_segments_plan(&segments, &run->vnet, large, len));
	assert_int_equal(segments.n, run->n_pkts);
	/* The field holds the pseudo-header's sum, so that the kernel's completing it makes it right. */
	assert_int_equal(base_load_be16(large + run->vnet.csum_start + run->vnet.csum_offset),
		test_pseudo_sum(large, segments.proto, len - segments.l4_off));
	number = run->first;
	for (unsigned i = 0; i < run->n_pkts; i++) {
		const struct in_bytes *original = &burst->originals[number];

		assert_int_equal(in_segments_write(&segments, i, segment), original->len);
		forgive_id(segment, original);
		assert_memory_equal(segment, original->data, original->len);
		number = burst->result.next[number];
	}
}

/* Every packet once, each flow in order. Returns the number of runs. */
static unsigned check(struct burst *burst, bool has_udp)
{
	unsigned seen[BURST] = {0}, n = 0;
	int newest[256];

	memset(newest, -1, sizeof(newest));
	in_coalesce(&burst->result, burst->pkts, burst->n, has_udp);
	for (unsigned r = 0; r < burst->result.n_runs; r++) {
		const struct in_run *run = &burst->result.runs[r];
		uint8_t number = run->first;

		for (unsigned i = 0; i < run->n_pkts; i++, number = burst->result.next[number]) {
			assert_true(number < burst->n);
			if (burst->flows[number] != ANY_FLOW) {
				assert_true((int)number > newest[burst->flows[number]]);
				newest[burst->flows[number]] = number;
			}
			seen[number]++;
			n++;
		}
		check_run(burst, run);
	}
	assert_int_equal(n, burst->n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(seen[i], 1);
	return burst->result.n_runs;
}

/* --- what joins, and what does not ------------------------------------------------------------ */

static struct test_packet plain(uint8_t version, uint8_t proto)
{
	return (struct test_packet){.version = version,
		.proto = proto,
		.ttl = 64,
		.flags = IN_TCP_ACK,
		.id = 0xfffe,
		.src_port = 4000,
		.window = 500,
		.seq = 0xfffffff0,
		.ack = 77,
		.tcp_options_len = 12,
		.timestamp = 1234,
		.payload = payload,
		.payload_len = 1000};
}

static void advance(struct test_packet *p)
{
	p->seq += p->payload_len;
	p->id++;
}

static void a_stream_is_one_run(void **state)
{
	static struct burst burst;

	for (unsigned kind = 0; kind < 4; kind++) {
		uint8_t proto = kind & 1 ? IN_PROTO_UDP : IN_PROTO_TCP;
		struct test_packet p = plain(kind & 2 ? 6 : 4, proto);

		for (unsigned i = 0; i < 20; i++, advance(&p))
			add(&burst, &p);
		p.payload_len = 3; /* a shorter last, pushed */
		p.flags |= IN_TCP_PSH;
		add(&burst, &p);
		assert_int_equal(check(&burst, true), 1);
		empty(&burst);
	}
}

/* No sum reaches past 64 KiB, and all that fits is used. */
static void a_run_ends_at_64_kib(void **state)
{
	static struct burst burst;

	for (unsigned version = 4; version <= 6; version += 2) {
		struct test_packet p = plain((uint8_t)version, IN_PROTO_TCP);

		p.payload_len = 1400;
		for (unsigned i = 0; i < 64; i++, advance(&p))
			add(&burst, &p);
		assert_int_equal(check(&burst, true), 2);
		assert_int_equal(
			burst.result.runs[0].n_pkts, (65535 - test_headers_len(&p)) / 1400);
		empty(&burst);
	}
}

typedef void change_fn(struct test_packet *p);

static void change_nothing(struct test_packet *p)
{
}
static void change_tos(struct test_packet *p)
{
	p->tos ^= 1;
}
static void change_ttl(struct test_packet *p)
{
	p->ttl--;
}
static void change_id(struct test_packet *p)
{
	p->id++;
}
static void change_df(struct test_packet *p)
{
	p->is_df = !p->is_df;
}
static void change_ip_options(struct test_packet *p)
{
	p->ip_options_len = 8;
}
static void change_port(struct test_packet *p)
{
	p->src_port++;
}
static void change_seq(struct test_packet *p)
{
	p->seq++;
}
static void change_seq_back(struct test_packet *p)
{
	p->seq -= p->payload_len;
}
static void change_ack(struct test_packet *p)
{
	p->ack++;
}
static void change_window(struct test_packet *p)
{
	p->window++;
}
static void change_timestamp(struct test_packet *p)
{
	p->timestamp++;
}
static void change_options_len(struct test_packet *p)
{
	p->tcp_options_len += 4;
}
static void change_to_larger(struct test_packet *p)
{
	p->payload_len++;
}
static void change_to_smaller(struct test_packet *p)
{
	p->payload_len--;
}
static void change_to_empty(struct test_packet *p)
{
	p->payload_len = 0;
}
static void change_to_push(struct test_packet *p)
{
	p->flags |= IN_TCP_PSH;
}
static void change_to_fin(struct test_packet *p)
{
	p->flags |= IN_TCP_FIN;
}
static void change_to_syn(struct test_packet *p)
{
	p->flags |= IN_TCP_SYN;
}
static void change_to_rst(struct test_packet *p)
{
	p->flags |= IN_TCP_RST;
}
static void change_to_urg(struct test_packet *p)
{
	p->flags |= 0x20;
}
static void change_to_cwr(struct test_packet *p)
{
	p->flags |= IN_TCP_CWR;
}
static void change_to_ece(struct test_packet *p)
{
	p->flags |= IN_TCP_ECE;
}
static void change_to_no_ack(struct test_packet *p)
{
	p->flags &= (uint8_t)~IN_TCP_ACK;
}

/* Of five packets in a row the third is changed. Runs that come of it, over IPv4 and IPv6. */
static const struct {
	const char *name;
	change_fn *change;
	unsigned tcp4, tcp6, udp4, udp6;
} changes[] = {
	{"nothing", change_nothing, 1, 1, 1, 1},
	{"tos", change_tos, 3, 3, 3, 3},
	{"ttl", change_ttl, 3, 3, 3, 3},
	{"id", change_id, 3, 1, 3, 1},
	{"df", change_df, 3, 1, 3, 1},
	{"ip options", change_ip_options, 3, 3, 3, 3},
	{"port", change_port, 2, 1 + 1, 2, 2},
	{"seq ahead", change_seq, 3, 3, 1, 1},
	{"seq again", change_seq_back, 3, 3, 1, 1},
	{"ack", change_ack, 3, 3, 1, 1},
	{"window", change_window, 3, 3, 1, 1},
	{"timestamp", change_timestamp, 3, 3, 1, 1},
	{"options length", change_options_len, 3, 3, 1, 1},
	{"larger", change_to_larger, 3, 3, 3, 3},
	{"smaller", change_to_smaller, 2, 2, 2, 2},
	{"empty", change_to_empty, 3, 3, 3, 3},
	{"push", change_to_push, 2, 2, 1, 1},
	{"fin", change_to_fin, 3, 3, 1, 1},
	{"syn", change_to_syn, 3, 3, 1, 1},
	{"rst", change_to_rst, 3, 3, 1, 1},
	{"urg", change_to_urg, 3, 3, 1, 1},
	{"cwr", change_to_cwr, 3, 3, 1, 1},
	{"ece", change_to_ece, 3, 3, 1, 1},
	{"no ack", change_to_no_ack, 3, 3, 1, 1},
};

static void what_ends_a_run(void **state)
{
	static struct burst burst;

	for (unsigned c = 0; c < sizeof(changes) / sizeof(changes[0]); c++) {
		const unsigned expected[] = {
			changes[c].tcp4, changes[c].tcp6, changes[c].udp4, changes[c].udp6};

		for (unsigned kind = 0; kind < 4; kind++) {
			uint8_t proto = kind & 2 ? IN_PROTO_UDP : IN_PROTO_TCP;
			struct test_packet p = plain(kind & 1 ? 6 : 4, proto);
			unsigned n;

			for (unsigned i = 0; i < 5; i++, advance(&p)) {
				struct test_packet sent = p;

				if (i == 2)
					changes[c].change(&sent);
				add(&burst, &sent);
				/* The others go on where this one ends, but for another flow's. */
				if (i == 2 && changes[c].change == change_port)
					p.seq -= p.payload_len, p.id--;
				else if (i == 2)
					p.seq += sent.payload_len - p.payload_len;
			}
			n = check(&burst, true);
			if (n != expected[kind])
				fail_msg("%s, IPv%u, protocol %u: %u runs", changes[c].name,
					p.version, proto, n);
			empty(&burst);
		}
	}
}

static void wrong_checksum_stays_alone(void **state)
{
	static struct burst burst;

	for (unsigned kind = 0; kind < 4; kind++) {
		for (unsigned bad = 0; bad < 3; bad++) {
			uint8_t proto = kind & 1 ? IN_PROTO_UDP : IN_PROTO_TCP;
			struct test_packet p = plain(kind & 2 ? 6 : 4, proto);

			for (unsigned i = 0; i < 3; i++, advance(&p))
				add(&burst, &p);
			burst.pkts[bad].data[burst.pkts[bad].len - 1] ^= 1;
			burst.originals[bad].data[burst.pkts[bad].len - 1] ^= 1;
			/* In the middle it parts the others; a wrong first is left by both. */
			assert_int_equal(check(&burst, true), bad == 1 ? 3 : 2);
			empty(&burst);
		}
	}
	struct test_packet p = plain(4, IN_PROTO_TCP);

	for (unsigned i = 0; i < 3; i++, advance(&p))
		add(&burst, &p);
	burst.pkts[1].data[10] ^= 1; /* of the IP header */
	burst.originals[1].data[10] ^= 1;
	assert_int_equal(check(&burst, true), 3);
	empty(&burst);
}

static void udp_without_checksum_or_support(void **state)
{
	static struct burst burst;
	struct test_packet p = plain(4, IN_PROTO_UDP);

	for (unsigned i = 0; i < 4; i++, advance(&p))
		add(&burst, &p);
	assert_int_equal(check(&burst, false), 4);
	empty(&burst);
	for (unsigned i = 0; i < 4; i++, advance(&p)) {
		add(&burst, &p);
		memset(burst.pkts[i].data + 26, 0, 2);
		memset(burst.originals[i].data + 26, 0, 2);
	}
	assert_int_equal(check(&burst, true), 4);
	empty(&burst);
}

static void flows_do_not_mind_each_other(void **state)
{
	static struct burst burst;
	struct test_packet p[4] = {plain(4, IN_PROTO_TCP), plain(6, IN_PROTO_TCP),
		plain(4, IN_PROTO_UDP), plain(6, IN_PROTO_UDP)};

	for (unsigned i = 0; i < BURST; i++) {
		add(&burst, &p[i % 4]);
		advance(&p[i % 4]);
	}
	assert_int_equal(check(&burst, true), 4);
	empty(&burst);
	/* A fragment could be of any flow: nothing passes it. */
	for (unsigned i = 0; i < 9; i++) {
		struct test_packet *q = &p[i % 2];

		add(&burst, q);
		advance(q);
		if (i == 4) {
			burst.pkts[i].data[6] = 0x20;
			test_set_csums(burst.pkts[i].data, burst.pkts[i].len, 20, IN_PROTO_TCP);
			memcpy(burst.originals[i].data, burst.pkts[i].data, burst.pkts[i].len);
		}
	}
	assert_int_equal(check(&burst, true), 5);
	empty(&burst);
}

/* --- anything --------------------------------------------------------------------------------- */

static void disturb(struct test_packet *p)
{
	unsigned n = sizeof(changes) / sizeof(changes[0]);

	if (test_random(6) == 0)
		changes[test_random(n)].change(p);
	if (test_random(12) == 0)
		p->payload_len = test_random(1300);
}

static void add_random(struct burst *burst, struct test_packet *flow)
{
	static uint8_t data[PACKET_BYTES];
	struct test_packet p = *flow;
	uint8_t number;
	uint32_t len;

	if (test_random(10) == 0) /* lost */
		advance(flow);
	else if (test_random(10) == 0) /* out of order, or again */
		p.seq -= (test_random(3)) * p.payload_len;
	disturb(&p);
	number = flow_of(&p);
	len = test_make(&p, data);
	p.payload_len = len - test_headers_len(&p);
	flow->seq = p.seq + p.payload_len;
	flow->id = (uint16_t)(p.id + 1);
	if (test_random(15) == 0) {
		uint32_t at = test_random(len);

		data[at] ^= (uint8_t)(1 << test_random(8));
		if (at < 44) /* may be another flow's now */
			number = ANY_FLOW;
	}
	if (test_random(40) == 0)
		len -= test_random(len + 1);
	else if (test_random(40) == 0)
		data[len++] = (uint8_t)rand();
	add_bytes(burst, data, len, number);
}

static void random_bursts_come_back_as_they_were(void **state)
{
	static struct burst burst;
	unsigned pkts = 0, runs = 0;

	for (unsigned round = 0; round < 20000; round++) {
		unsigned n_flows = 1 + test_random(8), n = 1 + test_random(BURST);
		struct test_packet flows[8];

		for (unsigned i = 0; i < 8; i++) {
			flows[i] = plain(test_random(2) ? 4 : 6,
				test_random(3) ? IN_PROTO_TCP : IN_PROTO_UDP);
			flows[i].src_port = (uint16_t)(1000 + 7 * i);
			flows[i].is_df = test_random(2);
			flows[i].payload_len = 1 + test_random(test_random(2) ? 1400 : 20);
			flows[i].payload = payload + test_random(1000);
			flows[i].tcp_options_len = (uint8_t)(4 * test_random(11));
		}
		while (burst.n < n) {
			unsigned flow = test_random(n_flows);

			for (unsigned i = 1 + test_random(6); i > 0 && burst.n < n; i--)
				add_random(&burst, &flows[flow]);
		}
		pkts += burst.n;
		runs += check(&burst, test_random(4) != 0);
		empty(&burst);
	}
	/* It would also pass if nothing was ever put together. */
	print_message("%u packets in %u runs\n", pkts, runs);
	assert_true(runs < pkts / 4 * 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_is_one_run),
		cmocka_unit_test(a_run_ends_at_64_kib),
		cmocka_unit_test(what_ends_a_run),
		cmocka_unit_test(wrong_checksum_stays_alone),
		cmocka_unit_test(udp_without_checksum_or_support),
		cmocka_unit_test(flows_do_not_mind_each_other),
		cmocka_unit_test(random_bursts_come_back_as_they_were),
	};

	test_seed(payload, sizeof(payload));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
