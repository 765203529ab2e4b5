/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a Headscale 0.29.2 sent to two tailscaled 1.98.10, a frame a line (tests/vectors/headscale-map-*.jsonl): gw1 joins with a
 * route, worker-1 joins, the route is approved, a policy is set, worker-1 becomes worker-9, expires, goes offline, is
 * deleted. Played as it travels: length, zstd, in pieces. The vectors' paths are the program's arguments.
 */
#include "base_bytes.h"
#include "coord_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zstd.h>

#define FRAMES_MAX 32
#define LINE_BYTES_MAX 8192
#define PIECE_BYTES 97
/* 2026-11-23T09:10:00Z: the middle of the recording */
#define NOW 1795425000u

static const char *const *paths;

struct player {
	struct coord_map_stream *stream;
	struct coord_map_parser *parser;
	struct coord_netmap *map;
	char lines[FRAMES_MAX][LINE_BYTES_MAX];
	unsigned n_lines, next;
	const struct coord_diff *diff; /* of the last frame */
};

static struct player *player_new(unsigned recording)
{
	struct player *player = calloc(1, sizeof(*player));
	FILE *file = fopen(paths[recording], "r");

	assert_non_null(file);
	assert_non_null(player);
	while (player->n_lines < FRAMES_MAX &&
		fgets(player->lines[player->n_lines], LINE_BYTES_MAX, file))
		player->n_lines++;
	fclose(file);
	player->stream = coord_map_stream_new(NULL, true);
	player->parser = coord_map_parser_new(NULL, true);
	player->map = coord_netmap_new();
	assert_true(player->stream && player->parser && player->map);
	return player;
}

static void player_free(struct player *player)
{
	coord_netmap_free(player->map);
	coord_map_parser_free(player->parser);
	coord_map_stream_free(player->stream);
	free(player);
}

static void line_feed(struct player *player, const char *line)
{
	static uint8_t wire[4 + LINE_BYTES_MAX];
	size_t n = ZSTD_compress(wire + 4, LINE_BYTES_MAX, line, strlen(line), 1);

	assert_false(ZSTD_isError(n));
	base_store_le32(wire, (uint32_t)n);
	for (size_t at = 0; at < 4 + n; at += PIECE_BYTES)
		assert_int_equal(coord_map_stream_feed(player->stream, wire + at,
					 4 + n - at < PIECE_BYTES ? 4 + n - at : PIECE_BYTES, NULL),
			0);
}

/* The next frame of the recording. */
static const struct coord_diff *step(struct player *player)
{
	struct base_error why = {""};
	struct coord_map_update *update;
	struct coord_map_frame *frame;

	assert_in_range(player->next, 0, player->n_lines - 1);
	line_feed(player, player->lines[player->next]);
	frame = coord_map_stream_next(player->stream);
	assert_non_null(frame);
	assert_false(frame->is_keep_alive);
	update = coord_map_parse(player->parser, frame, &why);
	if (!update)
		fail_msg("frame %u: %s", player->next, why.text);
	coord_map_frame_free(frame);
	assert_int_equal(
		coord_netmap_apply(player->map, update, player->next == 0, NOW, &player->diff), 0);
	player->next++;
	return player->diff;
}

static void steps_to(struct player *player, unsigned n)
{
	while (player->next < n)
		(void)step(player);
}

static void assert_nothing_odd(const struct coord_netmap *map)
{
	for (unsigned i = 0; i < COORD_NETMAP_COUNTER_COUNT; i++)
		if (coord_netmap_counter(map, i) != 0)
			fail_msg("%s counted", coord_netmap_counter_name(i));
}

static void test_gateway(void **state)
{
	struct player *player = player_new(0);
	struct coord_netmap *map = player->map;
	const struct coord_derp_region *regions;
	const struct coord_rule *rules;
	const struct coord_node *node;
	size_t n;

	(void)state;
	assert_int_equal(player->n_lines, 21);
	assert_true(step(player)->has_self);
	assert_string_equal(coord_netmap_self(map)->name, "gw1.mesh.lab");
	assert_int_equal(coord_netmap_self(map)->n_addresses, 2);
	assert_int_equal(coord_netmap_n_peers(map), 0);
	regions = coord_netmap_regions(map, &n);
	assert_int_equal(n, 1);
	assert_int_equal(regions[0].id, 900);
	assert_int_equal(regions[0].nodes[0].derp_port, 8443);
	assert_true(coord_netmap_dns(map)->is_magic);
	assert_string_equal(coord_netmap_dns(map)->domains[0], "mesh.lab");
	assert_int_equal(coord_netmap_dns(map)->n_records, 1);
	assert_string_equal(coord_netmap_user(map, 1)->login, "alice");
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 1);
	assert_int_equal(rules[0].n_srcs, 2);
	steps_to(player, 6);
	step(player);
	assert_int_equal(player->diff->n_nodes, 1);
	assert_int_equal(player->diff->nodes[0].change, COORD_NODE_ADDED);
	assert_false(player->diff->has_rules || player->diff->has_dns);
	node = coord_netmap_by_name(map, "worker-1");
	assert_non_null(node);
	assert_int_equal(node->online, COORD_ONLINE_NO);
	assert_string_equal(node->hostname, "Worker-1");
	steps_to(player, 9);
	assert_int_equal(node->online, COORD_ONLINE_YES);
	step(player); /* the same as a patch */
	assert_int_equal(player->diff->n_nodes, 0);
	steps_to(player, 14);
	assert_true(step(player)->has_rules);
	rules = coord_netmap_rules(map, &n);
	assert_int_equal(n, 3);
	assert_true(rules[0].n_srcs > 4); /* ranges */
	steps_to(player, 15);
	step(player);
	assert_ptr_equal(coord_netmap_by_name(map, "worker-9.mesh.lab."), node);
	assert_null(coord_netmap_by_name(map, "worker-1"));
	assert_false(coord_node_is_expired(map, node, NOW));
	step(player);
	assert_true(coord_node_is_expired(map, node, NOW));
	steps_to(player, 19);
	assert_int_equal(node->online, COORD_ONLINE_NO);
	steps_to(player, 21);
	assert_int_equal(player->diff->nodes[0].change, COORD_NODE_REMOVED);
	assert_int_equal(coord_netmap_n_peers(map), 0);
	assert_nothing_odd(map);
	player_free(player);
}

static void test_worker(void **state)
{
	struct player *player = player_new(1);
	struct coord_netmap *map = player->map;
	const struct coord_node *gateway;
	struct base_addr addr;

	(void)state;
	assert_int_equal(player->n_lines, 13);
	step(player);
	gateway = coord_netmap_by_name(map, "gw1");
	assert_non_null(gateway);
	assert_int_equal(gateway->n_allowed_ips, 2);
	assert_int_equal(base_addr_parse(&addr, "fd7a:115c:a1e0::1"), 0);
	assert_ptr_equal(coord_netmap_by_addr(map, &addr), gateway);
	/* the approved route */
	steps_to(player, 7);
	assert_true(player->diff->nodes[0].has_new_addresses);
	assert_int_equal(gateway->n_allowed_ips, 3);
	assert_int_equal(gateway->n_addresses, 2);
	steps_to(player, 13);
	assert_string_equal(coord_netmap_self(map)->name, "worker-9.mesh.lab");
	assert_true(coord_node_is_expired(map, coord_netmap_self(map), NOW));
	assert_nothing_odd(map);
	player_free(player);
}

/* A new stream in the middle: nothing but what differs. */
static void test_again(void **state)
{
	struct player *player = player_new(1);

	(void)state;
	steps_to(player, 1);
	player->next = 0;
	step(player);
	assert_true(player->diff->is_first);
	assert_int_equal(player->diff->n_nodes, 0);
	assert_false(player->diff->has_self || player->diff->has_rules || player->diff->has_dns ||
		player->diff->has_regions || player->diff->has_users || player->diff->has_health);
	player_free(player);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gateway),
		cmocka_unit_test(test_worker),
		cmocka_unit_test(test_again),
	};

	if (argc != 3) {
		fprintf(stderr, "usage: coord_netmap_record_test GATEWAY.jsonl WORKER.jsonl\n");
		return 2;
	}
	paths = (const char *const *)argv + 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
