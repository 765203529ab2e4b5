/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections to a relay in the same process, on the same loop: login, packets between two clients, order and bounds of the queue,
 * the relay's pace, pings, and relays that misbehave. TLS with a real relay is in tests/relay.
 */
#include <signal.h>

#include "coord_derp.h"

/* Stand-ins for seconds. */
#undef COORD_DERP_PING_MS
#define COORD_DERP_PING_MS 100
#include "coord_derp.c"

#include "coord_test_relay.h"

struct client {
	struct coord_derp *derp;
	struct coord_derp_setup setup;
	struct cr_key key;
	unsigned n_opened, n_closed, n_packets, n_gone;
	bool frees_at_packet;
	int rc;
	char line[256];
	struct cr_key source;
	uint8_t last[70000];
	size_t last_len;
};

static struct lab {
	uv_loop_t loop;
	struct test_relay relay;
	struct client clients[2];
	struct coord_derp_node nodes[3];
	struct coord_derp_region region;
} lab;

static void hear_opened(void *ctx)
{
	((struct client *)ctx)->n_opened++;
}

static void hear_packet(void *ctx, const struct cr_key *source, const void *packet, size_t len)
{
	struct client *client = ctx;

	client->n_packets++;
	client->source = *source;
	memcpy(client->last, packet, len);
	client->last_len = len;
	if (client->frees_at_packet) {
		coord_derp_free(client->derp);
		client->derp = NULL;
	}
}

static void hear_gone(void *ctx, const struct cr_key *peer)
{
	struct client *client = ctx;

	client->n_gone++;
	client->source = *peer;
}

static void hear_closed(void *ctx, int rc, const char *line)
{
	struct client *client = ctx;

	client->n_closed++;
	client->rc = rc;
	snprintf(client->line, sizeof(client->line), "%s", line);
}

static int set_up(void **state)
{
	memset(&lab, 0, sizeof(lab));
	unsetenv("http_proxy");
	uv_loop_init(&lab.loop);
	test_relay_start(&lab.relay, &lab.loop);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(lab.nodes); i++)
		lab.nodes[i] = (struct coord_derp_node){.name = "1a",
			.host = "127.0.0.1",
			.cert_name = "",
			.derp_port = lab.relay.port};
	lab.region = (struct coord_derp_region){
		.id = 1, .code = "lab", .name = "Lab", .nodes = lab.nodes, .n_nodes = 1};
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < BASE_ARRAY_LEN(lab.clients); i++)
		coord_derp_free(lab.clients[i].derp);
	test_relay_stop(&lab.relay);
	uv_run(&lab.loop, UV_RUN_DEFAULT);
	return uv_loop_close(&lab.loop);
}

static struct client *dial_in(unsigned i)
{
	static const struct coord_derp_host host = {
		hear_opened, hear_packet, hear_gone, hear_closed};
	struct client *client = &lab.clients[i];
	struct base_error line;

	client->setup = (struct coord_derp_setup){.loop = &lab.loop, .is_plain = true};
	cr_x25519_generate(&client->setup.node_private);
	cr_x25519_public(&client->key, &client->setup.node_private);
	client->derp = coord_derp_new(&client->setup, &lab.region, &host, client, &line);
	assert_non_null(client->derp);
	return client;
}

#define UNTIL(condition)                                                                           \
	while (!(condition))                                                                       \
	uv_run(&lab.loop, UV_RUN_ONCE)

static void test_packets_both_ways(void **state)
{
	struct client *a = dial_in(0), *b = dial_in(1);
	static uint8_t big[COORD_DERP_PACKET_BYTES_MAX + 1];

	UNTIL(a->n_opened && b->n_opened);
	assert_true(coord_derp_is_open(a->derp));
	assert_int_equal(coord_derp_send(a->derp, &b->key, "hello", 5), 0);
	UNTIL(b->n_packets == 1);
	assert_memory_equal(b->last, "hello", 5);
	assert_memory_equal(&b->source, &a->key, 32);
	test_fill(big, sizeof(big), 3);
	assert_int_equal(coord_derp_send(b->derp, &a->key, big, sizeof(big) - 1), 0);
	UNTIL(a->n_packets == 1);
	assert_int_equal(a->last_len, sizeof(big) - 1);
	assert_memory_equal(a->last, big, a->last_len);
	assert_int_equal(coord_derp_send(b->derp, &a->key, big, sizeof(big)), -EMSGSIZE);
	assert_int_equal(coord_derp_send(b->derp, &a->key, big, 0), -EMSGSIZE);
	assert_int_equal(coord_derp_stats(a->derp).n_received, 1);
	assert_int_equal(coord_derp_stats(a->derp).n_sent, 1);
}

/* Before the login packets wait; then disco goes first, the oldest are gone, and all of it is one write. */
static void test_queue(void **state)
{
	struct client *a = dial_in(0);
	struct cr_key nobody = {{7}};
	uint8_t packet[100] = {0}, disco[124] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

	for (unsigned i = 0; i < COORD_DERP_QUEUE_PACKETS + 5; i++) {
		packet[0] = (uint8_t)i;
		assert_int_equal(coord_derp_send(a->derp, &nobody, packet, sizeof(packet)), 0);
	}
	assert_int_equal(coord_derp_stats(a->derp).n_dropped, 5);
	assert_int_equal(coord_derp_send(a->derp, &nobody, disco, sizeof(disco)), 0);
	assert_int_equal(coord_derp_stats(a->derp).n_dropped, 5);
	UNTIL(lab.relay.n_packets > 0);
	UNTIL(lab.relay.n_packets == COORD_DERP_QUEUE_PACKETS + 1);
	assert_int_equal(lab.relay.last[0], COORD_DERP_QUEUE_PACKETS + 4);
	/* The five oldest are those that are missing: 5 to 36, and the disco packet's 0x54. */
	assert_int_equal(lab.relay.sum, (5 + 36) * 32 / 2 + 0x54);
	assert_int_equal(coord_derp_stats(a->derp).n_writes, 1);
	/* A turn of the loop is one write. */
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(coord_derp_send(a->derp, &nobody, packet, sizeof(packet)), 0);
	UNTIL(lab.relay.n_packets == COORD_DERP_QUEUE_PACKETS + 11);
	assert_int_equal(coord_derp_stats(a->derp).n_writes, 2);
}

static void test_disco_first(void **state)
{
	struct client *a = dial_in(0);
	struct cr_key nobody = {{7}};
	uint8_t disco[124] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};

	assert_int_equal(coord_derp_send(a->derp, &nobody, "later", 5), 0);
	assert_int_equal(coord_derp_send(a->derp, &nobody, disco, sizeof(disco)), 0);
	UNTIL(lab.relay.n_packets == 2);
	assert_int_equal(lab.relay.last_len, 5);
}

static void test_slow_relay(void **state)
{
	static uint8_t big[60000];
	struct client *a;
	struct cr_key nobody = {{7}};

	lab.relay.fault = TEST_RELAY_NO_READ;
	a = dial_in(0);
	UNTIL(a->n_opened);
	/* Far more than sockets hold: the rest is dropped in here, and the connection lives. */
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(coord_derp_send(a->derp, &nobody, big, sizeof(big)), 0);
		uv_run(&lab.loop, UV_RUN_NOWAIT);
	}
	assert_int_equal(a->n_closed, 0);
	assert_true(coord_derp_stats(a->derp).n_dropped > 1000);
	assert_true(coord_stream_waiting(a->derp->stream) <= BATCH_BYTES);
}

static void test_pace(void **state)
{
	struct client *a;
	struct cr_key nobody = {{7}};
	uint8_t packet[1000 - COORD_DERP_OVERHEAD_BYTES] = {0};

	lab.relay.info = "{\"version\":2,\"TokenBucketBytesPerSecond\":1,"
			 "\"TokenBucketBytesBurst\":5500}";
	a = dial_in(0);
	UNTIL(a->n_opened);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(coord_derp_send(a->derp, &nobody, packet, sizeof(packet)), 0);
	UNTIL(lab.relay.n_packets >= 5);
	assert_int_equal(lab.relay.n_packets, 5);
	assert_int_equal(coord_derp_stats(a->derp).n_paced, 15);
	/* A thousand bytes are earned in a thousand seconds. */
	a->derp->tokens_at_ns -= 1000 * BASE_NS_PER_S;
	assert_int_equal(coord_derp_send(a->derp, &nobody, packet, sizeof(packet)), 0);
	UNTIL(lab.relay.n_packets == 6);
}

static void test_home(void **state)
{
	struct client *a = dial_in(0);

	coord_derp_prefer(a->derp, true);
	UNTIL(a->n_opened && test_relay_find(&lab.relay, &a->key)->is_home);
	coord_derp_prefer(a->derp, false);
	UNTIL(!test_relay_find(&lab.relay, &a->key)->is_home);
}

static void test_ping(void **state)
{
	struct client *a = dial_in(0);
	struct test_relay_client *at_relay;

	UNTIL(a->n_opened);
	coord_derp_ping(a->derp);
	UNTIL(coord_derp_stats(a->derp).rtt_us > 0);
	at_relay = test_relay_find(&lab.relay, &a->key);
	test_relay_frame(at_relay, 0x12, "12345678", 8);
	UNTIL(lab.relay.n_pongs == 1);
	lab.relay.fault = TEST_RELAY_NO_PONG;
	coord_derp_ping(a->derp);
	test_relay_frame(at_relay, 0x13, "12345678", 8); /* another's */
	UNTIL(a->n_closed);
	assert_int_equal(a->rc, -ETIMEDOUT);
	assert_string_equal(a->line, "the relay does not answer");
	assert_int_equal(coord_derp_send(a->derp, &a->key, "x", 1), -ENOTCONN);
}

static void test_what_relays_say(void **state)
{
	struct client *a = dial_in(0);
	struct test_relay_client *at_relay;
	struct cr_key nobody = {{9}};

	UNTIL(a->n_opened);
	at_relay = test_relay_find(&lab.relay, &a->key);
	coord_derp_send(a->derp, &nobody, "x", 1);
	UNTIL(a->n_gone == 1);
	assert_memory_equal(&a->source, &nobody, 32);
	test_relay_frame(at_relay, 0x08, nobody.bytes, 31); /* short */
	test_relay_frame(at_relay, 0x05, nobody.bytes, 32); /* empty */
	test_relay_frame(at_relay, 0x14, "bad\nnews", 8);
	test_relay_frame(at_relay, 0x15, "\0\0\x03\xe8\0\0\0\0", 8);
	UNTIL(coord_derp_stats(a->derp).restart_after_ms);
	assert_int_equal(coord_derp_stats(a->derp).restart_after_ms, 1000);
	assert_string_equal(coord_derp_stats(a->derp).health, "bad?news");
	test_relay_frame(at_relay, 0x14, "", 0);
	UNTIL(coord_derp_stats(a->derp).health[0] == '\0');
	assert_int_equal(a->n_gone, 1);
	assert_int_equal(a->n_packets, 0);
	assert_int_equal(a->n_closed, 0);
	test_relay_close(at_relay);
	UNTIL(a->n_closed);
	assert_int_equal(a->rc, -ECONNRESET);
}

static void test_bad_relays(void **state)
{
	static const struct {
		enum test_relay_fault fault;
		const char *line;
	} cases[] = {
		{TEST_RELAY_REFUSES, "answers 403: none"},
		{TEST_RELAY_NO_LOGIN, "does not admit"},
		{TEST_RELAY_WRONG_KEY, "does not open"},
		{TEST_RELAY_HUGE, "beyond all bounds"},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct client *a = dial_in(0);

		lab.relay.fault = cases[i].fault;
		a->n_closed = 0;
		UNTIL(a->n_closed);
		if (!strstr(a->line, cases[i].line))
			fail_msg("%s: %s", cases[i].line, a->line);
		coord_derp_free(a->derp);
		a->derp = NULL;
	}
}

/* The first only does STUN, the second refuses. */
static void test_next_node(void **state)
{
	static uv_tcp_t closed;
	struct sockaddr_in addr;
	int len = sizeof(addr);
	struct client *a;

	uv_tcp_init(&lab.loop, &closed);
	uv_ip4_addr("127.0.0.1", 0, &addr);
	uv_tcp_bind(&closed, (struct sockaddr *)&addr, 0);
	uv_tcp_getsockname(&closed, (struct sockaddr *)&addr, &len);
	lab.nodes[0].is_stun_only = true;
	lab.nodes[1].derp_port = base_load_be16(&addr.sin_port);
	lab.nodes[2].name = "1c";
	lab.nodes[2].host = "relay.invalid";
	assert_int_equal(base_addr_parse(&lab.nodes[2].v4, "127.0.0.1"), 0);
	lab.region.n_nodes = 3;
	a = dial_in(0);
	UNTIL(a->n_opened);
	assert_string_equal(coord_derp_stats(a->derp).node, "1c");
	assert_int_equal(a->n_closed, 0);
	uv_close((uv_handle_t *)&closed, NULL);
}

static void test_freed_within(void **state)
{
	struct client *a = dial_in(0), *b = dial_in(1);

	UNTIL(a->n_opened && b->n_opened);
	b->frees_at_packet = true;
	for (unsigned i = 0; i < 3; i++)
		coord_derp_send(a->derp, &b->key, "x", 1);
	UNTIL(b->n_packets);
	assert_int_equal(b->n_packets, 1);
	assert_int_equal(b->n_closed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_packets_both_ways, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_queue, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_disco_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_slow_relay, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_pace, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_home, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_ping, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_relays_say, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_bad_relays, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_next_node, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_freed_within, set_up, tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
