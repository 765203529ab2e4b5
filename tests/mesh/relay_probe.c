/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two nodes at one relay, on one loop: what the first sends comes back from the second. Shows what coord_relays.h does with a real relay.
 *
 *	relay_probe HOST PORT CERTNAME [CA_FILE]      CERTNAME: "", a name, sha256-raw:HEX, or "insecure"
 *
 * Prints one line: {"up_ms":x,"echoed":n,"rtt_us":x,"ping_us":x,"gone":n,"back_ms":x}; or what went wrong, and exits 1. `back_ms`
 * is printed with RELAY_PROBE_WAIT=1: then it waits until the relay has died and come back, and tells how long each took.
 */
#include "base_clock.h"
#include "coord_relays.h"
#include "coord_tls.h"
#include "cr_noise.h"

#include <signal.h>
#include <stdlib.h>

#define ROUNDS 200

struct end {
	struct coord_relays *relays;
	struct cr_key key;
	bool is_up;
};

static uv_loop_t *loop;
static struct end ends[2];
static unsigned n_echoed, n_gone;
static uint64_t started_ns, sent_ns, rounds_ns[ROUNDS], up_ns, lost_ns;
static bool is_waiting;

static uint64_t ms_since(uint64_t ns)
{
	return (base_clock_now_ns() - ns) / BASE_NS_PER_MS;
}

static void say(void)
{
	uint8_t packet[148] = {1, 0, 0, 0};

	sent_ns = base_clock_now_ns();
	coord_relays_send(ends[0].relays, &ends[1].key, 1, packet, sizeof(packet));
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void tell(void)
{
	struct coord_relays_status status;

	qsort(rounds_ns, ROUNDS, sizeof(rounds_ns[0]), compare);
	coord_relays_status(ends[0].relays, &status, 1);
	printf("{\"up_ms\":%llu,\"echoed\":%u,\"rtt_us\":%llu,\"ping_us\":%u,\"gone\":%u}\n",
		(unsigned long long)((up_ns - started_ns) / BASE_NS_PER_MS), n_echoed,
		(unsigned long long)(rounds_ns[ROUNDS / 2] / BASE_NS_PER_US), status.rtt_us,
		n_gone);
	fflush(stdout);
	if (is_waiting)
		return;
	uv_stop(loop);
}

static void on_packet(
	void *ctx, uint32_t region, const struct cr_key *source, const void *packet, size_t len)
{
	static const struct cr_key nobody = {{5}};
	uint8_t disco[124] = {0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac};
	struct end *end = ctx;

	if (end == &ends[1]) {
		coord_relays_send(end->relays, source, 0, packet, len);
		return;
	}
	rounds_ns[n_echoed++] = base_clock_now_ns() - sent_ns;
	if (n_echoed < ROUNDS)
		say();
	else
		coord_relays_send(end->relays, &nobody, 1, disco, sizeof(disco));
}

static void on_state(void *ctx, uint32_t region, bool is_up, const char *line)
{
	struct end *end = ctx;

	end->is_up = is_up;
	if (!is_up && is_waiting && n_echoed == ROUNDS) {
		if (lost_ns == 0)
			printf("lost: %s\n", line);
		lost_ns = lost_ns ? lost_ns : base_clock_now_ns();
		fflush(stdout);
		return;
	}
	if (!is_up) {
		printf("%s\n", line);
		exit(1);
	}
	if (!ends[0].is_up || !ends[1].is_up)
		return;
	if (n_echoed == 0) {
		up_ns = base_clock_now_ns();
		say();
	} else if (lost_ns) {
		printf("back after %llu ms\n", (unsigned long long)ms_since(lost_ns));
		uv_stop(loop);
	}
}

static void on_gone(void *ctx, uint32_t region, const struct cr_key *peer)
{
	if (++n_gone == 1)
		tell();
}

static void start(
	struct end *end, struct coord_tls_roots *roots, const struct coord_derp_region *region)
{
	static const struct coord_relays_host host = {on_packet, on_state, on_gone};
	struct cr_key key;

	cr_x25519_generate(&key);
	cr_x25519_public(&end->key, &key);
	end->relays = coord_relays_new(loop, roots, &key, &host, end);
	if (!end->relays || coord_relays_map(end->relays, region, 1) != 0)
		exit(2);
	coord_relays_home(end->relays, 1);
}

int main(int argc, char **argv)
{
	struct coord_derp_node node = {.name = "1a"};
	struct coord_derp_region region = {
		.id = 1, .code = "lab", .name = "Lab", .nodes = &node, .n_nodes = 1};
	struct coord_tls_roots *roots;
	struct base_error line;

	if (argc < 4)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	loop = uv_default_loop();
	is_waiting = getenv("RELAY_PROBE_WAIT") != NULL;
	node.host = argv[1];
	node.derp_port = (uint16_t)atoi(argv[2]);
	node.is_insecure = strcmp(argv[3], "insecure") == 0;
	node.cert_name = node.is_insecure ? "" : argv[3];
	if (strchr(node.host, '.') && node.host[0] > '9')
		node.v4 = (struct base_addr){{127, 0, 0, 1}, BASE_FAMILY_V4};
	roots = coord_tls_roots_new(argv[4], &line);
	if (!roots)
		return 2;
	started_ns = base_clock_now_ns();
	start(&ends[0], roots, &region);
	start(&ends[1], roots, &region);
	uv_run(loop, UV_RUN_DEFAULT);
	coord_relays_free(ends[0].relays);
	coord_relays_free(ends[1].relays);
	uv_run(loop, UV_RUN_DEFAULT);
	coord_tls_roots_free(roots);
	uv_loop_close(loop);
	return 0;
}
