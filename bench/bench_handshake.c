/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake bench: what answering an initiation costs one core, against the scalar multiplications
 * that it cannot do without: three with the initiator's points (es, ee, se) and one with the base point (the
 * ephemeral key). The yardstick is those four in a loop in libsodium, the faster of the two libraries that we have.
 *
 *	wg      wg_handshake_input() alone: initiation in, response and keypair out
 *	thread  dp_handshake_round(): the same through the handshake thread's rings, commands to the worker
 *	storm   bench_storm.c: all of it with real threads, 100,000 peers at once beside a busy tunnel
 *
 * One thread, pinned, but for the storm. README.md has the method.
 */
#include "base_clock.h"
#include "base_err.h"
#include "cr_blake2s.h"
#include "cr_noise.h"
#include "dp_test.h"

#include "bench_fleet.h"
#include "bench_raw.h"
#include "bench_storm.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PEERS 1024u
#define ROUNDS 31
#define ANSWERS_PER_ROUND 64u
#define LISTEN_PORT 51820

static bool as_json;

/* What answers: a device alone, or a dataplane whose rounds we run. */
struct answerer {
	struct bench_fleet fleet;
	uint32_t next;
	uint64_t now_ns;

	struct wg_device *device;
	struct wg_keypair *keypairs[PEERS]; /* by peer: its newest */
	uint32_t current;                   /* whose message is in work */
	struct wg_activity activity;        /* nobody looks */

	struct dp *dp;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "bench_handshake: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	exit(1);
}

/* --- the yardstick --------------------------------------------------------------------------- */

static double bare_round(void)
{
	struct cr_key private_key, point, shared;
	uint64_t begin;

	cr_x25519_generate(&private_key);
	cr_x25519_public(&point, &private_key);
	begin = bench_tsc();
	for (unsigned i = 0; i < ANSWERS_PER_ROUND; i++) {
		cr_x25519_public(&shared, &private_key);
		for (unsigned m = 0; m < 3; m++) {
			if (!cr_x25519(&shared, &private_key, &point))
				die("a point of low order");
		}
	}
	return (double)(bench_tsc() - begin) / ANSWERS_PER_ROUND;
}

/* --- a device alone -------------------------------------------------------------------------- */

static void on_send(void *ctx, struct wg_peer *peer, const struct base_endpoint *to,
	const void *message, size_t len)
{
	struct answerer *a = ctx;
	struct bench_member *member = &a->fleet.members[a->current];

	if (len != sizeof(member->response))
		die("not a response");
	memcpy(&member->response, message, len);
	member->is_answered = true;
}

static uint64_t on_unix_ns(void *ctx)
{
	return base_clock_unix_ns();
}

/* As a worker does whose peer never confirms: the new one takes the older one's place. */
static void on_keypair(void *ctx, struct wg_peer *peer, struct wg_keypair *keypair)
{
	struct answerer *a = ctx;

	if (a->keypairs[a->current])
		wg_keypair_put(a->device, a->keypairs[a->current]);
	a->keypairs[a->current] = keypair;
}

static void on_peer(void *ctx, struct wg_peer *peer)
{
}

static void on_endpoint(void *ctx, struct wg_peer *peer, const struct base_endpoint *from)
{
}

static const struct wg_host host = {
	.send = on_send,
	.unix_ns = on_unix_ns,
	.keypair_begin = on_keypair,
	.keypairs_clear = on_peer,
	.staged_clear = on_peer,
	.keepalive = on_peer,
	.endpoint_seen = on_endpoint,
};

static void device_up(struct answerer *a)
{
	struct cr_key private_key, public_key;

	cr_x25519_generate(&private_key);
	cr_x25519_public(&public_key, &private_key);
	a->now_ns = base_clock_now_ns();
	a->device = wg_device_new(&private_key, &host, a);
	if (!a->device || !bench_fleet_init(&a->fleet, PEERS, &public_key))
		die("no memory");
	for (uint32_t i = 0; i < PEERS; i++) {
		struct wg_peer_config config = {
			.public_key = a->fleet.members[i].identity.public_key,
			.activity = &a->activity};

		if (wg_peer_set(a->device, &config, a->now_ns, NULL) != 0)
			die("peer");
	}
}

static void device_down(struct answerer *a)
{
	for (uint32_t i = 0; i < PEERS; i++) {
		if (a->keypairs[i])
			wg_keypair_put(a->device, a->keypairs[i]);
	}
	wg_device_free(a->device);
	bench_fleet_fini(&a->fleet);
}

static uint32_t first_of_round(struct answerer *a)
{
	uint32_t first = a->next;

	a->next = (a->next + ANSWERS_PER_ROUND) % PEERS;
	a->now_ns += BASE_NS_PER_S;
	for (unsigned i = 0; i < ANSWERS_PER_ROUND; i++)
		bench_fleet_initiate(&a->fleet, first + i, a->now_ns);
	return first;
}

/* A bench of refusals would be fast: every answer must have come, and one is looked into. */
static void check_answers(struct answerer *a, uint32_t first)
{
	struct wg_noise_keys keys;

	for (unsigned i = 0; i < ANSWERS_PER_ROUND; i++) {
		if (!a->fleet.members[first + i].is_answered)
			die("member %u was not answered", first + i);
	}
	if (!bench_fleet_accept(&a->fleet, first, &keys))
		die("a wrong answer");
}

static double device_round(struct answerer *a)
{
	uint32_t first = first_of_round(a);
	uint64_t begin = bench_tsc(), cycles;

	for (unsigned i = 0; i < ANSWERS_PER_ROUND; i++) {
		struct bench_member *member = &a->fleet.members[first + i];

		a->current = first + i;
		if (wg_handshake_input(a->device, &member->endpoint, &member->initiation,
			    sizeof(member->initiation), a->now_ns) != WG_VERDICT_OK)
			die("refused");
	}
	cycles = bench_tsc() - begin;
	check_answers(a, first);
	return (double)cycles / ANSWERS_PER_ROUND;
}

/* --- the handshake thread's round ------------------------------------------------------------ */

static void dataplane_up(struct answerer *a)
{
	struct base_error error;

	a->dp = dp_test_new(
		&(struct dp_config){.ports = {{.kind = DP_PORT_RING, .device = "bench"}},
			.n_ports = 1,
			.listen_port = LISTEN_PORT,
			.n_workers = 1,
			.memory_mb = 128,
			.host_mtu = 1420,
			.private_key = {.bytes = {[0] = 8, [31] = 64}}},
		NULL, NULL, &error);
	if (!a->dp)
		die("%s", error.text);
	a->now_ns = a->dp->step_ns = base_clock_now_ns();
	if (!bench_fleet_init(&a->fleet, PEERS, dp_handshake_public_key(a->dp->handshake)))
		die("no memory");
	bench_storm_peers_add(a->dp, &a->fleet);
}

static void dataplane_down(struct answerer *a)
{
	dp_free(a->dp);
	bench_fleet_fini(&a->fleet);
}

static void take_answers(struct answerer *a)
{
	struct rte_mbuf *m;

	while (rte_ring_dequeue(dp_test_port_tx(a->dp, 0, 0), (void **)&m) == 0) {
		bench_storm_answer(&a->fleet, m, a->now_ns);
		rte_pktmbuf_free(m);
	}
}

/* Only the handshake thread's rounds are timed; what the worker does before and after is not its work. */
static double dataplane_round(struct answerer *a)
{
	uint32_t first = first_of_round(a);
	uint64_t cycles = 0;

	for (unsigned i = 0; i < ANSWERS_PER_ROUND; i++) {
		if (!bench_storm_inject(a->dp, &a->fleet.members[first + i]))
			die("no packets left");
	}
	dp_worker_round(&a->dp->workers[0], a->now_ns);
	for (bool has_more = true; has_more;) {
		uint64_t begin = bench_tsc();

		has_more = dp_handshake_round(a->dp->handshake, a->now_ns);
		cycles += bench_tsc() - begin;
		dp_worker_round(&a->dp->workers[0], a->now_ns);
	}
	take_answers(a);
	check_answers(a, first);
	return (double)cycles / ANSWERS_PER_ROUND;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* EAL, which would know, is up only with a dataplane. */
static double tsc_hz(void)
{
	uint64_t begin_ns = base_clock_now_ns(), begin = bench_tsc(), took_ns;

	usleep(20000);
	took_ns = base_clock_now_ns() - begin_ns;
	return (double)(bench_tsc() - begin) * 1e9 / (double)took_ns;
}

static void measure(struct answerer *a, const char *row, double (*round_run)(struct answerer *a))
{
	double cycles[ROUNDS], bare[ROUNDS], ratios[ROUNDS], hz = tsc_hz();

	/* All once: reconnecting peers have been here. */
	for (unsigned i = 0; i < PEERS / ANSWERS_PER_ROUND; i++)
		round_run(a);
	for (unsigned i = 0; i < ROUNDS; i++) {
		bare[i] = bare_round();
		cycles[i] = round_run(a);
		ratios[i] = bare[i] / cycles[i];
	}
	if (as_json)
		printf("{\"bench\":\"handshake\",\"row\":\"%s\",\"answers_per_s\":%.0f,"
		       "\"cycles\":%.0f,\"x25519_cycles\":%.0f,\"ratio\":%.3f}\n",
			row, hz / bench_median(cycles, ROUNDS), bench_median(cycles, ROUNDS),
			bench_median(bare, ROUNDS), bench_median(ratios, ROUNDS));
	else
		printf("%-7s %8.0f answers/s  %8.0f cycles  of which X25519 alone %8.0f  ratio "
		       "%.3f\n",
			row, hz / bench_median(cycles, ROUNDS), bench_median(cycles, ROUNDS),
			bench_median(bare, ROUNDS), bench_median(ratios, ROUNDS));
	fflush(stdout);
}

static void usage(FILE *to)
{
	fprintf(to,
		"usage: bench_handshake [--json] [--cpu N] [--row wg|thread|storm] [--peers N]\n"
		"Handshakes answered, against bare X25519; --peers is the storm's size.\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"cpu", required_argument, NULL, 'c'}, {"row", required_argument, NULL, 'r'},
		{"peers", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct bench_storm_config storm = {
		.n_peers = 100000, .worker_cpu = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) - 1};
	static struct answerer answerer;
	const char *only = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			as_json = true;
		else if (c == 'c')
			storm.worker_cpu = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 'r')
			only = optarg;
		else if (c == 'p')
			storm.n_peers = (uint32_t)strtoul(optarg, NULL, 10);
		else
			return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
	}
	if (cr_init() != 0)
		die("OpenSSL without BLAKE2s, or no random numbers");
	storm.as_json = as_json;
	bench_storm_pin(storm.worker_cpu);
	/* The storm first: EAL starts once in a process, and only for it with a worker thread. */
	if (!only || strcmp(only, "storm") == 0)
		bench_storm_run(&storm);
	bench_storm_pin(storm.worker_cpu);
	if (!only || strcmp(only, "thread") == 0) {
		dataplane_up(&answerer);
		measure(&answerer, "thread", dataplane_round);
		dataplane_down(&answerer);
		memset(&answerer, 0, sizeof(answerer));
	}
	if (!only || strcmp(only, "wg") == 0) {
		device_up(&answerer);
		measure(&answerer, "wg", device_round);
		device_down(&answerer);
	}
	return 0;
}
