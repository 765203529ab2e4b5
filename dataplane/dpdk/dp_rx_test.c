/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames at a glance: what is_plain_data() takes, check_frame() takes too and describes in the same words, and what
 * is plain is taken. On frames with a few bytes changed (seed printed).
 */
#include "dp_rx.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define LISTEN_PORT 51820
#define ROUNDS 400000
#define FRAME_BYTES (PLAIN_PAYLOAD + WG_DATA_OVERHEAD_BYTES + 40)

struct frame {
	struct rte_mbuf m;
	uint8_t bytes[FRAME_BYTES + 20];
};

static struct dp_worker worker;
static struct dp_port port;
static const struct dp_rx_queue queue;

static void make_plain(struct frame *frame, uint32_t inner_len)
{
	uint32_t udp_len = DP_UDP_BYTES + (uint32_t)WG_DATA_OVERHEAD_BYTES + inner_len;
	uint8_t *ip = frame->bytes + DP_ETH_BYTES, *udp = frame->bytes + PLAIN_UDP;

	memset(frame, 0, sizeof(*frame));
	frame->m.buf_addr = frame->bytes;
	frame->m.nb_segs = 1;
	frame->m.data_len = (uint16_t)(PLAIN_UDP + udp_len);
	base_store_be16(frame->bytes + 12, ETHERTYPE_IP4);
	ip[0] = 0x45;
	base_store_be16(ip + 2, (uint16_t)(DP_IP4_BYTES + udp_len));
	base_store_be16(ip + 6, 0x4000);
	ip[8] = 64;
	ip[9] = IN_PROTO_UDP;
	base_store_be16(udp + 2, LISTEN_PORT);
	base_store_be16(udp + 4, (uint16_t)udp_len);
	frame->bytes[PLAIN_PAYLOAD] = WG_MESSAGE_DATA;
}

/* Bytes that matter, more often than not; and frames that are shorter or longer than they say. */
static void spoil(struct frame *frame)
{
	for (int n = rand() % 3; n > 0; n--) {
		unsigned at = 12 + (unsigned)rand() % 36;

		frame->bytes[at] =
			(uint8_t)(rand() % 4 ? frame->bytes[at] ^ 1 << rand() % 8 : rand());
	}
	if (rand() % 4 == 0)
		frame->m.data_len = (uint16_t)(rand() % (int)sizeof(frame->bytes));
	if (rand() % 16 == 0)
		frame->m.nb_segs = 2;
}

static void plain_is_what_it_seems(void **state)
{
	static struct frame frame;
	unsigned n_plain = 0, n_odd = 0, n_taken = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct dp_pkt at_a_glance;
		bool is_plain;
		unsigned kind;

		make_plain(&frame, (uint32_t)rand() % 40);
		spoil(&frame);
		is_plain = is_plain_data(&worker, &frame.m);
		at_a_glance = *dp_pkt(&frame.m);
		*dp_pkt(&frame.m) = (struct dp_pkt){0};
		kind = check_frame(&worker, &queue, &frame.m);
		n_plain += is_plain;
		n_odd += kind != DP_RX_DATA;
		n_taken += kind == DP_RX_DATA && !is_plain;
		if (!is_plain)
			continue;
		assert_int_equal(kind, DP_RX_DATA);
		assert_memory_equal(dp_pkt(&frame.m), &at_a_glance, sizeof(at_a_glance));
	}
	/* Header options are all that only the other takes here, and hardly ever whole. */
	assert_true(n_plain > ROUNDS / 10 && n_odd > ROUNDS / 10 && n_taken < ROUNDS / 100);
}

static void plain_is_taken(void **state)
{
	static struct frame frame;

	for (uint32_t len = 0; len < 40; len++) {
		make_plain(&frame, len);
		assert_true(is_plain_data(&worker, &frame.m));
		assert_int_equal(dp_pkt(&frame.m)->payload_len, len + WG_DATA_OVERHEAD_BYTES);
		/* Short frames are padded on the wire. */
		frame.m.data_len = (uint16_t)(frame.m.data_len + 18);
		assert_true(is_plain_data(&worker, &frame.m));
		assert_int_equal(dp_pkt(&frame.m)->payload_len, len + WG_DATA_OVERHEAD_BYTES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_is_what_it_seems),
		cmocka_unit_test(plain_is_taken),
	};
	const char *given = getenv("SANDD_TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL);

	printf("SANDD_TEST_SEED=%u\n", seed);
	srand(seed);
	worker.ports = &port;
	base_store_be16(&worker.listen_port_be16, LISTEN_PORT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
