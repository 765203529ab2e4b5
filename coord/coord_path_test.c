/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Paths in virtual time: two or more nodes on a network that delays, loses and repeats datagrams, each with its own
 * machine; and one machine against a hand that forges.
 */
#include "coord_path.h"

#include "base_clock.h"
#include "cr_blake2s.h"
#include "cr_noise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define S BASE_NS_PER_S
#define MS BASE_NS_PER_MS
#define NODES 2
#define ADDRS 3
#define FLIGHT_MAX 4096

/* --- the lab ---------------------------------------------------------------------------------- */

struct lab;

struct node {
	struct lab *lab;
	unsigned number;
	struct coord_paths *paths;
	struct cr_key disco_private, disco_public, node_public;
	struct base_endpoint addrs[ADDRS];
	uint64_t last_sent_ns; /* data, to the other */
	/* what the machine said last of the other */
	enum coord_path_kind kind;
	struct base_endpoint to;
	unsigned n_paths, n_sent;
};

struct flight {
	uint64_t at_ns;
	struct base_endpoint from, to;
	uint8_t bytes[256];
	size_t len;
};

struct lab {
	uint64_t now_ns, seed;
	struct node nodes[NODES];
	struct flight flights[FLIGHT_MAX];
	unsigned n_flights;
	unsigned lost_percent, repeated_percent;
	uint64_t delay_ns[ADDRS]; /* by the number of the address that is sent to */
	bool is_dead[NODES][ADDRS];
};

static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned dice(struct lab *lab, unsigned sides)
{
	return (unsigned)(next_random(&lab->seed) % sides);
}

/* Whose address is it? */
static struct node *owner(struct lab *lab, const struct base_endpoint *addr, unsigned *ret_number)
{
	for (unsigned i = 0; i < NODES; i++)
		for (unsigned j = 0; j < ADDRS; j++)
			if (base_endpoint_equal(&lab->nodes[i].addrs[j], addr)) {
				*ret_number = j;
				return lab->is_dead[i][j] ? NULL : &lab->nodes[i];
			}
	return NULL;
}

static void put_in_flight(struct lab *lab, const struct base_endpoint *from,
	const struct base_endpoint *to, const void *bytes, size_t len, uint64_t delay_ns)
{
	struct flight *flight = &lab->flights[lab->n_flights++];

	assert_true(lab->n_flights <= FLIGHT_MAX && len <= sizeof(flight->bytes));
	*flight = (struct flight){lab->now_ns + delay_ns, *from, *to, {0}, len};
	memcpy(flight->bytes, bytes, len);
}

/* A datagram leaves by the sender's address of the same number as the receiver's: each is a network of its own. */
static void on_send(void *ctx, const struct base_endpoint *to, const void *bytes, size_t len)
{
	struct node *node = ctx;
	struct lab *lab = node->lab;
	unsigned number;

	node->n_sent++;
	if (!owner(lab, to, &number) || dice(lab, 100) < lab->lost_percent)
		return;
	for (unsigned n = dice(lab, 100) < lab->repeated_percent ? 2 : 1; n > 0; n--)
		put_in_flight(lab, &node->addrs[number], to, bytes, len,
			lab->delay_ns[number] / 2 + 1000);
}

static void on_path(void *ctx, const struct cr_key *node_key, enum coord_path_kind kind,
	const struct base_endpoint *to, uint32_t rtt_us)
{
	struct node *node = ctx;

	assert_true(cr_key_equal(node_key, &node->lab->nodes[1 - node->number].node_public));
	node->kind = kind;
	node->to = to ? *to : (struct base_endpoint){0};
	node->n_paths++;
	assert_int_equal(kind == COORD_PATH_DIRECT, to != NULL);
	assert_int_equal(kind == COORD_PATH_DIRECT, rtt_us > 0);
}

static uint64_t on_last_sent(void *ctx, const struct cr_key *node_key)
{
	return ((struct node *)ctx)->last_sent_ns;
}

static const struct coord_path_host host = {on_send, on_path, on_last_sent};

static void start_node(struct lab *lab, unsigned i)
{
	struct node *node = &lab->nodes[i];
	struct cr_key key;

	*node = (struct node){.lab = lab, .number = i};
	cr_x25519_generate(&node->disco_private);
	cr_x25519_public(&node->disco_public, &node->disco_private);
	cr_x25519_generate(&key);
	cr_x25519_public(&node->node_public, &key);
	for (unsigned j = 0; j < ADDRS; j++) {
		char text[32];

		snprintf(text, sizeof(text), "198.51.%u.%u:41641", 100 + j, i + 1);
		assert_int_equal(base_endpoint_parse(&node->addrs[j], text), 0);
	}
	node->paths = coord_paths_new(&node->disco_private, &node->node_public, &host, node);
	assert_non_null(node->paths);
}

static void introduce(struct lab *lab, unsigned i, unsigned n_addrs)
{
	struct node *other = &lab->nodes[1 - i];

	assert_int_equal(coord_paths_peer_set(lab->nodes[i].paths, &other->node_public,
				 &other->disco_public, other->addrs, n_addrs, lab->now_ns),
		0);
}

static struct lab *lab_new(unsigned n_addrs)
{
	struct lab *lab = calloc(1, sizeof(*lab));

	assert_int_equal(cr_init(), 0);
	lab->seed = (uint64_t)time(NULL);
	print_message("seed %llu\n", (unsigned long long)lab->seed);
	lab->now_ns = 1000 * S;
	for (unsigned j = 0; j < ADDRS; j++)
		lab->delay_ns[j] = (10 + 20 * j) * MS;
	for (unsigned i = 0; i < NODES; i++)
		start_node(lab, i);
	for (unsigned i = 0; i < NODES; i++)
		introduce(lab, i, n_addrs);
	return lab;
}

static void lab_free(struct lab *lab)
{
	for (unsigned i = 0; i < NODES; i++)
		coord_paths_free(lab->nodes[i].paths);
	free(lab);
}

static void land(struct lab *lab, unsigned i)
{
	struct flight flight = lab->flights[i];
	unsigned number;
	struct node *node = owner(lab, &flight.to, &number);

	lab->flights[i] = lab->flights[--lab->n_flights];
	if (node)
		coord_paths_input(node->paths, &flight.from, flight.bytes, flight.len, lab->now_ns);
}

/* The next thing that happens before @until_ns. False: nothing does. */
static bool step(struct lab *lab, uint64_t until_ns)
{
	uint64_t at_ns = until_ns;
	int flight = -1, node = -1;

	for (unsigned i = 0; i < lab->n_flights; i++)
		if (lab->flights[i].at_ns < at_ns) {
			at_ns = lab->flights[i].at_ns;
			flight = (int)i;
		}
	for (int i = 0; i < NODES; i++)
		if (coord_paths_next_ns(lab->nodes[i].paths) < at_ns) {
			at_ns = coord_paths_next_ns(lab->nodes[i].paths);
			node = i;
		}
	lab->now_ns = at_ns > lab->now_ns ? at_ns : lab->now_ns;
	if (node >= 0)
		coord_paths_tick(lab->nodes[node].paths, lab->now_ns);
	else if (flight >= 0)
		land(lab, (unsigned)flight);
	return node >= 0 || flight >= 0;
}

static void run(struct lab *lab, uint64_t ns)
{
	uint64_t until_ns = lab->now_ns + ns;

	while (step(lab, until_ns))
		;
	lab->now_ns = until_ns;
}

/* The node sends data all the time. */
static void run_busy(struct lab *lab, uint64_t ns)
{
	for (; ns >= S; ns -= S) {
		lab->nodes[0].last_sent_ns = lab->nodes[1].last_sent_ns = lab->now_ns;
		run(lab, S);
	}
}

static void want(struct lab *lab, unsigned i)
{
	coord_paths_wanted(lab->nodes[i].paths, &lab->nodes[1 - i].node_public, NULL, lab->now_ns);
}

static void assert_direct(struct lab *lab, unsigned i, unsigned number)
{
	assert_int_equal(lab->nodes[i].kind, COORD_PATH_DIRECT);
	assert_true(base_endpoint_equal(&lab->nodes[i].to, &lab->nodes[1 - i].addrs[number]));
}

static uint64_t counter(struct lab *lab, unsigned i, enum coord_path_counter which)
{
	return coord_paths_counter(lab->nodes[i].paths, which);
}

/* --- two nodes -------------------------------------------------------------------------------- */

/* Nobody asks until somebody is wanted; then both are direct within a round trip each. */
static void test_first_ping(void **state)
{
	struct lab *lab = lab_new(1);

	run(lab, 3600 * S);
	assert_int_equal(lab->nodes[0].n_sent + lab->nodes[1].n_sent, 0);
	want(lab, 0);
	run(lab, 11 * MS);
	assert_direct(lab, 0, 0);
	assert_int_equal(lab->nodes[0].n_paths, 1);
	run(lab, 6 * MS); /* node 1 was pinged and asked back */
	assert_direct(lab, 1, 0);
	lab_free(lab);
}

/* The nearest of three answers last to be asked, first to be taken; each better one is a move. */
static void test_best_of_three(void **state)
{
	struct lab *lab = lab_new(3);
	struct coord_path_status status;

	lab->delay_ns[0] = 200 * MS;
	lab->delay_ns[1] = 5 * MS;
	want(lab, 0);
	run(lab, 300 * MS);
	assert_direct(lab, 0, 1);
	assert_int_equal(
		coord_paths_status(lab->nodes[0].paths, &lab->nodes[1].node_public, &status), 0);
	assert_int_equal(status.n_candidates, 3);
	assert_in_range(status.rtt_us, 5000, 6000);
	/* a path that is far better than the one in use is found again within a minute, another is not taken */
	lab->delay_ns[1] = 90 * MS;
	lab->delay_ns[2] = 4 * MS;
	run_busy(lab, 70 * S);
	assert_direct(lab, 0, 2);
	lab_free(lab);
}

/* In use: a ping each 3 s. At rest: none, and the path stays; awake again: within 5 s. */
static void test_heartbeat_and_rest(void **state)
{
	struct lab *lab = lab_new(1);
	unsigned sent;

	want(lab, 0);
	run_busy(lab, 10 * S);
	sent = lab->nodes[0].n_sent;
	run_busy(lab, 60 * S);
	/* pings of its own, and pongs for the other's */
	assert_in_range(lab->nodes[0].n_sent - sent, 38, 42);
	run(lab, 50 * S);
	sent = lab->nodes[0].n_sent + lab->nodes[1].n_sent;
	run(lab, 3600 * S);
	assert_int_equal(lab->nodes[0].n_sent + lab->nodes[1].n_sent, sent);
	assert_direct(lab, 0, 0);
	run_busy(lab, 10 * S);
	assert_true(lab->nodes[0].n_sent + lab->nodes[1].n_sent > sent);
	assert_int_equal(lab->nodes[0].n_paths, 1);
	lab_free(lab);
}

/* The address goes silent: another that answers takes over; when none does the path is given up, and comes back. */
static void test_silence(void **state)
{
	struct lab *lab = lab_new(2);

	want(lab, 0);
	run_busy(lab, 5 * S);
	assert_direct(lab, 0, 0);
	lab->is_dead[1][0] = true;
	run_busy(lab, 9 * S);
	assert_direct(lab, 0, 1);
	lab->is_dead[1][1] = true;
	run_busy(lab, 20 * S);
	assert_direct(lab, 0, 1); /* silent, but the only one */
	run_busy(lab, 30 * S);
	assert_int_equal(lab->nodes[0].kind, COORD_PATH_NONE);
	lab->is_dead[1][0] = false;
	run_busy(lab, 6 * S);
	assert_direct(lab, 0, 0);
	lab_free(lab);
}

/* The map names another address; the old one is gone from it and from the machine. */
static void test_map_moves(void **state)
{
	struct lab *lab = lab_new(1);
	struct node *other = &lab->nodes[1];

	want(lab, 0);
	run_busy(lab, 5 * S);
	lab->is_dead[1][0] = true;
	assert_int_equal(coord_paths_peer_set(lab->nodes[0].paths, &other->node_public,
				 &other->disco_public, &other->addrs[2], 1, lab->now_ns),
		0);
	run_busy(lab, 8 * S);
	assert_direct(lab, 0, 2);
	lab_free(lab);
}

/* It restarts: another disco key, told by the map. Until then its pings are a stranger's. */
static void test_restart(void **state)
{
	struct lab *lab = lab_new(1);
	struct cr_key node_key;

	want(lab, 0);
	run_busy(lab, 5 * S);
	node_key = lab->nodes[1].node_public;
	coord_paths_free(lab->nodes[1].paths);
	start_node(lab, 1);
	lab->nodes[1].node_public = node_key;
	coord_paths_node_key(lab->nodes[1].paths, &node_key);
	introduce(lab, 1, 1);
	want(lab, 1);
	run_busy(lab, 3 * S);
	assert_true(counter(lab, 0, COORD_PATH_UNKNOWN_SENDER) > 0);
	assert_int_equal(lab->nodes[1].kind, COORD_PATH_NONE);
	introduce(lab, 0, 1);
	run_busy(lab, 2 * S);
	assert_direct(lab, 0, 0);
	assert_direct(lab, 1, 0);
	lab_free(lab);
}

static void test_removed(void **state)
{
	struct lab *lab = lab_new(1);
	unsigned sent;

	want(lab, 0);
	run_busy(lab, 5 * S);
	coord_paths_peer_remove(lab->nodes[0].paths, &lab->nodes[1].node_public);
	coord_paths_peer_remove(lab->nodes[0].paths, &lab->nodes[1].node_public);
	sent = lab->nodes[0].n_sent;
	run_busy(lab, 30 * S);
	assert_int_equal(lab->nodes[0].n_sent, sent);
	assert_true(counter(lab, 0, COORD_PATH_UNKNOWN_SENDER) > 0);
	lab_free(lab);
}

/* A third of everything is lost, some comes twice, addresses die and live: in the end both agree on one that lives. */
static void test_random(void **state)
{
	for (unsigned round = 0; round < 40; round++) {
		struct lab *lab = lab_new(3);
		unsigned number;

		lab->seed += round;
		lab->lost_percent = 33;
		lab->repeated_percent = 20;
		want(lab, dice(lab, 2));
		for (unsigned i = 0; i < 30; i++) {
			lab->is_dead[dice(lab, 2)][dice(lab, 3)] = dice(lab, 2);
			if (dice(lab, 5) == 0)
				introduce(lab, dice(lab, 2), 1 + dice(lab, 3));
			run_busy(lab, (1 + dice(lab, 20)) * S);
		}
		memset(lab->is_dead, 0, sizeof(lab->is_dead));
		introduce(lab, 0, 3);
		introduce(lab, 1, 3);
		want(lab, 0);
		want(lab, 1);
		run_busy(lab, 60 * S);
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(lab->nodes[i].kind, COORD_PATH_DIRECT);
			assert_ptr_equal(
				owner(lab, &lab->nodes[i].to, &number), &lab->nodes[1 - i]);
		}
		lab_free(lab);
	}
}

/* --- strangers and liars ---------------------------------------------------------------------- */

/* The pong that is in flight. */
static struct flight *caught(struct lab *lab)
{
	for (unsigned i = 0; i < lab->n_flights; i++)
		if (lab->flights[i].len == 110)
			return &lab->flights[i];
	fail_msg("no pong in flight");
	return NULL;
}

/* Repeated pongs, pongs of pings that were never sent, pings by the wrong hand: counted, and nothing moves. */
static void test_forged(void **state)
{
	struct lab *lab = lab_new(1);
	struct coord_paths *paths = lab->nodes[0].paths;
	struct cr_key stranger, public_key, shared;
	struct coord_disco_message message = {.type = COORD_DISCO_PONG};
	struct flight pong;
	uint8_t out[256];
	size_t len;

	want(lab, 0);
	run(lab, 8 * MS); /* the ping has landed, the pong is on its way */
	pong = *caught(lab);
	run(lab, 20 * MS);
	assert_direct(lab, 0, 0);
	coord_paths_input(paths, &pong.from, pong.bytes, pong.len, lab->now_ns);
	coord_paths_input(paths, &lab->nodes[1].addrs[2], pong.bytes, pong.len, lab->now_ns);
	assert_int_equal(counter(lab, 0, COORD_PATH_UNASKED_PONG), 2);
	pong.bytes[90] ^= 1;
	coord_paths_input(paths, &pong.from, pong.bytes, pong.len, lab->now_ns);
	assert_int_equal(counter(lab, 0, COORD_PATH_FORGED), 1);
	coord_paths_input(paths, &pong.from, pong.bytes, 79, lab->now_ns);
	assert_int_equal(counter(lab, 0, COORD_PATH_MALFORMED), 1);

	cr_x25519_generate(&stranger);
	cr_x25519_public(&public_key, &stranger);
	assert_true(coord_disco_shared(&shared, &stranger, &lab->nodes[0].disco_public));
	len = coord_disco_seal(out, sizeof(out), &message, 0, &public_key, &shared);
	coord_paths_input(paths, &pong.from, out, len, lab->now_ns);
	assert_int_equal(counter(lab, 0, COORD_PATH_UNKNOWN_SENDER), 1);
	assert_int_equal(lab->nodes[0].n_paths, 1);
	assert_direct(lab, 0, 0);
	lab_free(lab);
}

/* A peer that pings from everywhere gets answers at a bounded rate, and moves no traffic by it. */
static void test_flood_of_pings(void **state)
{
	struct lab *lab = lab_new(1);
	struct node *liar = &lab->nodes[1];
	struct coord_path_status status;
	struct cr_key shared;
	uint8_t out[256];

	assert_true(coord_disco_shared(&shared, &liar->disco_private, &lab->nodes[0].disco_public));
	for (unsigned i = 0; i < 10000; i++) {
		struct coord_disco_message ping = {.type = COORD_DISCO_PING,
			.has_node_key = true,
			.node_key = liar->node_public};
		struct base_endpoint from = {
			base_addr_from_bytes(BASE_FAMILY_V4, "\xcb\x00\x71\x09"),
			(uint16_t)(1000 + i)};
		size_t len;

		cr_random(ping.tx, sizeof(ping.tx));
		len = coord_disco_seal(out, sizeof(out), &ping, 0, &liar->disco_public, &shared);
		coord_paths_input(lab->nodes[0].paths, &from, out, len, lab->now_ns);
	}
	assert_int_equal(counter(lab, 0, COORD_PATH_PONGS_SENT), 64);
	assert_int_equal(counter(lab, 0, COORD_PATH_RATE_LIMITED), 10000 - 64);
	assert_int_equal(coord_paths_status(lab->nodes[0].paths, &liar->node_public, &status), 0);
	assert_int_equal(status.n_candidates, 32);
	assert_int_equal(status.kind, COORD_PATH_NONE);
	run(lab, 60 * S);
	assert_direct(lab, 0, 0); /* the map's address answered; none of the others did */
	run(lab, 60 * S);
	assert_int_equal(coord_paths_status(lab->nodes[0].paths, &liar->node_public, &status), 0);
	assert_int_equal(status.n_candidates, 1); /* the rest was forgotten */
	lab_free(lab);
}

/* Endpoints that nobody may make us send to. */
static void test_endpoints_refused(void **state)
{
	static const char *const texts[] = {"127.0.0.1:1", "0.0.0.0:5", "224.0.0.1:9",
		"255.255.255.255:7", "169.254.1.1:8", "[::1]:5", "[::]:5", "[ff02::1]:5",
		"[fe80::1]:5", "10.1.2.3:4"};
	struct lab *lab = lab_new(1);
	struct node *other = &lab->nodes[1];
	struct base_endpoint list[BASE_ARRAY_LEN(texts) + 1] = {0};
	struct coord_path_status status;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(texts); i++)
		assert_int_equal(base_endpoint_parse(&list[i], texts[i]), 0);
	assert_int_equal(coord_paths_peer_set(lab->nodes[0].paths, &other->node_public,
				 &other->disco_public, list, BASE_ARRAY_LEN(list), lab->now_ns),
		0);
	assert_int_equal(coord_paths_status(lab->nodes[0].paths, &other->node_public, &status), 0);
	assert_int_equal(status.n_candidates, 1);
	lab_free(lab);
}

/* A peer without a disco key cannot be asked; nothing is sent, nothing waits. */
static void test_without_disco(void **state)
{
	struct lab *lab = lab_new(1);
	struct node *other = &lab->nodes[1];
	struct cr_key none = {{0}};

	assert_int_equal(coord_paths_peer_set(lab->nodes[0].paths, &other->node_public, &none,
				 other->addrs, 3, lab->now_ns),
		0);
	want(lab, 0);
	run(lab, 60 * S);
	assert_int_equal(lab->nodes[0].n_sent, 0);
	introduce(lab, 0, 1);
	want(lab, 0);
	run(lab, S);
	assert_direct(lab, 0, 0);
	lab_free(lab);
}

/* --- operators -------------------------------------------------------------------------------- */

struct answer {
	unsigned n;
	bool has_from;
	uint32_t rtt_us;
};

static void on_answer(void *user, const struct base_endpoint *from, uint32_t rtt_us)
{
	struct answer *answer = user;

	answer->n++;
	answer->has_from = from != NULL;
	answer->rtt_us = rtt_us;
}

static void test_operators_ping(void **state)
{
	struct lab *lab = lab_new(1);
	struct coord_paths *paths = lab->nodes[0].paths;
	const struct cr_key *key = &lab->nodes[1].node_public;
	struct answer answer = {0};

	assert_int_equal(coord_paths_ping(paths, &lab->nodes[0].node_public, lab->now_ns, on_answer,
				 &answer),
		-ENOENT);
	assert_int_equal(coord_paths_ping(paths, key, lab->now_ns, on_answer, &answer), 0);
	run(lab, S);
	assert_true(answer.n == 1 && answer.has_from);
	assert_in_range(answer.rtt_us, 10000, 10100);
	lab->is_dead[1][0] = true;
	assert_int_equal(coord_paths_ping(paths, key, lab->now_ns, on_answer, &answer), 0);
	run(lab, 4 * S);
	assert_int_equal(answer.n, 1);
	run(lab, 2 * S);
	assert_true(answer.n == 2 && !answer.has_from);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(coord_paths_ping(paths, key, lab->now_ns, on_answer, &answer), 0);
	assert_int_equal(coord_paths_ping(paths, key, lab->now_ns, on_answer, &answer), -EBUSY);
	coord_paths_peer_remove(paths, key);
	assert_int_equal(answer.n, 10);
	lab_free(lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_ping),
		cmocka_unit_test(test_best_of_three),
		cmocka_unit_test(test_heartbeat_and_rest),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_map_moves),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_flood_of_pings),
		cmocka_unit_test(test_endpoints_refused),
		cmocka_unit_test(test_without_disco),
		cmocka_unit_test(test_operators_ping),
	};

	return cmocka_run_group_tests_name("coord_path", tests, NULL, NULL);
}
