/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Relays of two regions in the same process, on the same loop: home, routes, what was learned, idle ones, patience, another map,
 * another key, another network.
 */
#include <signal.h>

#include "coord_relays.h"

/* A stand-in for a minute. */
static unsigned idle_ms;
#undef COORD_RELAYS_IDLE_MS
#define COORD_RELAYS_IDLE_MS idle_ms
#include "coord_relays.c"

#include "coord_test_relay.h"

struct node {
	struct coord_relays *relays;
	struct cr_key key;
	unsigned n_packets, n_gone, n_up[3], n_down[3];
	uint32_t region;
	struct cr_key source;
	char line[256];
};

static struct lab {
	uv_loop_t loop;
	struct test_relay at[3]; /* by region */
	struct coord_derp_node nodes[3];
	struct coord_derp_region regions[2];
	struct node a, b;
} lab;

static void hear_packet(
	void *ctx, uint32_t region, const struct cr_key *source, const void *packet, size_t len)
{
	struct node *node = ctx;

	node->n_packets++;
	node->region = region;
	node->source = *source;
}

static void hear_state(void *ctx, uint32_t region, bool is_up, const char *line)
{
	struct node *node = ctx;

	node->n_up[region] += is_up;
	node->n_down[region] += !is_up;
	snprintf(node->line, sizeof(node->line), "%s", line);
}

static void hear_gone(void *ctx, uint32_t region, const struct cr_key *peer)
{
	((struct node *)ctx)->n_gone++;
}

static void node_start(struct node *node)
{
	static const struct coord_relays_host host = {hear_packet, hear_state, hear_gone};
	struct cr_key private_key;

	cr_x25519_generate(&private_key);
	cr_x25519_public(&node->key, &private_key);
	node->relays = coord_relays_new(&lab.loop, NULL, &private_key, &host, node);
	assert_non_null(node->relays);
	coord_relays_plain(node->relays);
	assert_int_equal(coord_relays_map(node->relays, lab.regions, 2), 0);
}

static int set_up(void **state)
{
	memset(&lab, 0, sizeof(lab));
	idle_ms = 60000;
	unsetenv("http_proxy");
	uv_loop_init(&lab.loop);
	for (unsigned i = 1; i <= 2; i++) {
		test_relay_start(&lab.at[i], &lab.loop);
		lab.nodes[i] = (struct coord_derp_node){.name = "n",
			.host = "127.0.0.1",
			.cert_name = "",
			.derp_port = lab.at[i].port};
		lab.regions[i - 1] = (struct coord_derp_region){
			.id = i, .code = "c", .name = "C", .nodes = &lab.nodes[i], .n_nodes = 1};
	}
	node_start(&lab.a);
	node_start(&lab.b);
	return 0;
}

static int tear_down(void **state)
{
	coord_relays_free(lab.a.relays);
	coord_relays_free(lab.b.relays);
	test_relay_stop(&lab.at[1]);
	test_relay_stop(&lab.at[2]);
	uv_run(&lab.loop, UV_RUN_DEFAULT);
	return uv_loop_close(&lab.loop);
}

#define UNTIL(condition)                                                                           \
	while (!(condition))                                                                       \
	uv_run(&lab.loop, UV_RUN_ONCE)

static struct coord_relays_status status(const struct node *node, uint32_t region)
{
	struct coord_relays_status all[2];

	assert_int_equal(coord_relays_status(node->relays, all, 2), 2);
	return all[region - 1];
}

static void test_home_and_routes(void **state)
{
	struct node *a = &lab.a, *b = &lab.b;

	assert_int_equal(coord_relays_send(a->relays, &b->key, 3, "x", 1), -ENOENT);
	assert_int_equal(coord_relays_send(a->relays, &b->key, 0, "x", 1), -ENOENT);
	coord_relays_home(a->relays, 1);
	coord_relays_home(b->relays, 2);
	UNTIL(a->n_up[1] && b->n_up[2]);
	assert_true(test_relay_find(&lab.at[1], &a->key)->is_home);
	/* Dialled by the packet, which waits for it. */
	assert_int_equal(coord_relays_send(a->relays, &b->key, 2, "x", 1), 0);
	UNTIL(b->n_packets == 1);
	assert_int_equal(b->region, 2);
	assert_memory_equal(&b->source, &a->key, 32);
	assert_false(test_relay_find(&lab.at[2], &a->key)->is_home);
	/* Back over the connection it was heard on: the home of A is not dialled for that. */
	assert_int_equal(coord_relays_send(b->relays, &a->key, 1, "y", 1), 0);
	UNTIL(a->n_packets == 1);
	assert_int_equal(a->region, 2);
	assert_int_equal(status(b, 1).phase, COORD_RELAYS_IDLE);
	assert_int_equal(coord_relays_send(b->relays, &a->key, 0, "y", 1), 0);
	UNTIL(a->n_packets == 2);
	assert_int_equal(status(a, 2).n_sent, 1);
	assert_int_equal(status(a, 2).n_received, 2);
	UNTIL(status(a, 1).rtt_us > 0);
	assert_true(coord_relays_last_frame_ns(a->relays, 1) > 0);
	assert_int_equal(coord_relays_last_frame_ns(b->relays, 1), 0);
}

static void test_learned_route_ends(void **state)
{
	struct node *a = &lab.a, *b = &lab.b;

	coord_relays_home(b->relays, 2);
	UNTIL(b->n_up[2]);
	coord_relays_send(a->relays, &b->key, 2, "x", 1);
	UNTIL(b->n_packets == 1);
	/* The relay says that A left. */
	test_relay_frame(test_relay_find(&lab.at[2], &b->key), 0x08, a->key.bytes, 32);
	UNTIL(b->n_gone == 1);
	assert_int_equal(coord_relays_send(b->relays, &a->key, 0, "y", 1), -ENOENT);
	/* Learned again, then the connection breaks; what was learned on the old one counts no more. */
	coord_relays_send(a->relays, &b->key, 2, "x", 1);
	UNTIL(b->n_packets == 2);
	test_relay_close(test_relay_find(&lab.at[2], &b->key));
	UNTIL(b->n_up[2] == 2);
	assert_int_equal(b->n_down[2], 1);
	assert_int_equal(coord_relays_send(b->relays, &a->key, 0, "y", 1), -ENOENT);
}

static void test_idle(void **state)
{
	struct node *a = &lab.a;

	coord_relays_home(a->relays, 1);
	UNTIL(a->n_up[1]);
	idle_ms = 50;
	coord_relays_send(a->relays, &lab.b.key, 2, "x", 1);
	UNTIL(a->n_up[2]);
	UNTIL(status(a, 2).phase == COORD_RELAYS_IDLE);
	assert_int_equal(a->n_down[2], 0);
	assert_int_equal(status(a, 1).phase, COORD_RELAYS_UP);
	assert_int_equal(a->n_up[1], 1); /* all the time */
	assert_int_equal(status(a, 1).n_connections, 1);
	assert_int_equal(status(a, 2).n_sent, 1);
	/* The old home is one like all others. */
	coord_relays_home(a->relays, 2);
	UNTIL(a->n_up[2] == 2 && status(a, 1).phase == COORD_RELAYS_IDLE);
}

static void test_patience(void **state)
{
	struct node *a = &lab.a;

	test_relay_stop(&lab.at[1]);
	coord_relays_home(a->relays, 1);
	UNTIL(a->n_down[1] == 3);
	assert_non_null(strstr(a->line, "refused"));
	assert_int_equal(status(a, 1).phase, COORD_RELAYS_WAITING);
	assert_int_equal(coord_relays_send(a->relays, &lab.b.key, 1, "x", 1), -ENOTCONN);
	assert_int_equal(status(a, 1).n_dropped, 1);
	test_relay_start(&lab.at[1], &lab.loop);
	UNTIL(a->n_up[1]);
	assert_string_equal(status(a, 1).line, "");
	assert_int_equal(a->relays->relays[0]->n_failed, 0);
	for (unsigned n = 1; n < 1000; n++) {
		uint64_t most = n * n * 10 < 5000 ? n * n * 10 : 5000, ms = backoff_ms(n);

		assert_in_range(ms, most / 2, most + most / 2);
	}
}

static void test_restarting(void **state)
{
	struct node *a = &lab.a;
	struct test_relay_client *at_relay;

	coord_relays_home(a->relays, 1);
	UNTIL(a->n_up[1]);
	at_relay = test_relay_find(&lab.at[1], &a->key);
	test_relay_frame(at_relay, 0x15, "\xff\xff\xff\xff\0\0\0\0", 8);
	UNTIL(coord_derp_stats(a->relays->relays[0]->derp).restart_after_ms);
	test_relay_close(at_relay);
	UNTIL(a->n_down[1]);
	/* As it asked, but not for ever. */
	assert_in_range(a->relays->relays[0]->due_ns - base_clock_now_ns(), 20 * BASE_NS_PER_S,
		30 * BASE_NS_PER_S);
}

static void test_another_map(void **state)
{
	struct node *a = &lab.a;
	const struct relay *first;

	coord_relays_home(a->relays, 1);
	coord_relays_send(a->relays, &lab.b.key, 2, "x", 1);
	UNTIL(a->n_up[1] && a->n_up[2]);
	first = a->relays->relays[0];
	lab.nodes[2].is_insecure = true; /* another one now */
	assert_int_equal(coord_relays_map(a->relays, lab.regions, 2), 0);
	assert_ptr_equal(a->relays->relays[0], first);
	assert_int_equal(status(a, 1).phase, COORD_RELAYS_UP);
	assert_int_equal(status(a, 2).phase, COORD_RELAYS_IDLE);
	assert_int_equal(a->n_down[2], 0);
	assert_int_equal(coord_relays_map(a->relays, lab.regions + 1, 1), 0);
	assert_int_equal(coord_relays_send(a->relays, &lab.b.key, 1, "x", 1), -ENOENT);
	assert_int_equal(coord_relays_map(a->relays, NULL, 0), 0);
	/* The home comes back with the map. */
	assert_int_equal(coord_relays_map(a->relays, lab.regions, 2), 0);
	UNTIL(a->n_up[1] == 2);
}

static void test_another_key(void **state)
{
	struct node *a = &lab.a;
	struct cr_key key, public_key;

	coord_relays_home(a->relays, 1);
	UNTIL(a->n_up[1]);
	cr_x25519_generate(&key);
	cr_x25519_public(&public_key, &key);
	coord_relays_identity(a->relays, &key);
	UNTIL(a->n_up[1] == 2);
	assert_non_null(test_relay_find(&lab.at[1], &public_key));
}

static void test_another_network(void **state)
{
	struct node *a = &lab.a;
	unsigned n;

	coord_relays_home(a->relays, 1);
	UNTIL(a->n_up[1] && lab.at[1].n_pings == 1 && status(a, 1).rtt_us > 0);
	coord_relays_network_changed(a->relays);
	UNTIL(lab.at[1].n_pings == 2);
	assert_int_equal(a->n_up[1], 1);
	/* One that does not answer is built anew: by the ping, which has 3 s. */
	UNTIL(a->relays->relays[0]->derp);
	n = lab.at[1].n_logins;
	lab.at[1].fault = TEST_RELAY_NO_PONG;
	for (int i = 0; i < 20; i++)
		uv_run(&lab.loop, UV_RUN_NOWAIT);
	coord_relays_network_changed(a->relays);
	UNTIL(a->n_down[1]);
	assert_string_equal(a->line, "the relay does not answer");
	lab.at[1].fault = TEST_RELAY_FINE;
	UNTIL(lab.at[1].n_logins == n + 1);
}

/* In the midst of dialling. */
static void test_freed_early(void **state)
{
	coord_relays_home(lab.a.relays, 1);
	coord_relays_send(lab.a.relays, &lab.b.key, 2, "x", 1);
	coord_relays_free(lab.a.relays);
	lab.a.relays = NULL;
	coord_relays_home(lab.b.relays, 1);
	UNTIL(lab.b.n_up[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_home_and_routes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_learned_route_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_idle, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_patience, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_restarting, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_map, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_key, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_network, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_freed_early, set_up, tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
