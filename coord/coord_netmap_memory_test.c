/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory runs out, at each allocation in turn: of parsing, then nothing is there; of merging, then the map is as it
 * was, or (its filter alone) closed. The linker puts malloc() and its kin into this file's hands.
 */
#include "coord_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#define NOW 1790000000u
#define KEY(byte)                                                                                  \
	byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte byte  \
		byte byte byte byte byte byte byte byte byte byte byte byte byte byte

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);

/* How many allocations succeed from now on; negative: all. Then one fails, or all do. */
static long left = -1;
static bool is_for_good, has_failed;

static bool is_out(void)
{
	if (left < 0)
		return false;
	if (left > 0) {
		left--;
		return false;
	}
	if (!is_for_good)
		left = -1;
	has_failed = true;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return is_out() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_out() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *memory, size_t size)
{
	return is_out() ? NULL : __real_realloc(memory, size);
}

static const char first_text[] = "{\"Node\":{\"ID\":1,\"Name\":\"gw.lab.\",\"Key\":\"nodekey:" KEY(
	"01") "\",\"Addresses\":[\"100.64.0.1/32\"]},"
	      "\"Peers\":[{\"ID\":2,\"Name\":\"a.lab.\",\"Key\":\"nodekey:" KEY(
		      "02") "\",\"Addresses\":[\"100.64.0.2/32\"]},"
			    "{\"ID\":3,\"Name\":\"b.lab.\",\"Key\":\"nodekey:" KEY(
				    "03") "\",\"Addresses\":[\"100.64.0.3/32\"]}],"
					  "\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"100.64.0."
					  "2\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":"
					  "{\"First\":0,\"Last\":9}}]}]},\"UserProfiles\":[{\"ID\":"
					  "1,\"LoginName\":\"alice\"}],\"Health\":[\"x\"]}";

static const char delta_text[] = "{\"Node\":{\"ID\":1,\"Name\":\"gx.lab.\",\"Key\":\"nodekey:" KEY(
	"01") "\",\"Addresses\":[\"100.64.0.3/32\"]},"
	      "\"PeersRemoved\":[2],\"PeersChanged\":[{\"ID\":3,\"Name\":\"c.lab.\",\"Key\":"
	      "\"nodekey:" KEY(
		      "05") "\","
			    "\"Addresses\":[\"100.64.0.3/32\",\"100.64.0.9/"
			    "32\"],\"CapMap\":{\"c\":null},\"Tags\":[\"tag:x\"]},"
			    "{\"ID\":4,\"Name\":\"d.lab.\",\"Key\":\"nodekey:" KEY(
				    "04") "\",\"Endpoints\":[\"192.0.2.1:1\"]}],"
					  "\"PeersChangedPatch\":[{\"NodeID\":4,\"Endpoints\":["
					  "\"192.0.2.2:2\"],\"CapMap\":{\"c\":null}}],"
					  "\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"cap:c\","
					  "\"10.0.0.1-10.0.0.9\"],\"IPProto\":[6],\"DstPorts\":"
					  "[{\"IP\":\"*\",\"Ports\":{\"First\":0,\"Last\":9}}]}]},"
					  "\"UserProfiles\":[{\"ID\":2,\"LoginName\":\"bob\"}],"
					  "\"DERPMap\":{\"Regions\":{\"9\":{\"Nodes\":[{\"Name\":"
					  "\"n\"}]}}},\"Health\":[\"y\"],"
					  "\"DisplayMessages\":{\"m\":{\"Text\":\"t\"}},"
					  "\"DNSConfig\":{\"Domains\":[\"lab\"],\"Routes\":"
					  "{\"x\":[{\"Addr\":\"10.0.0.1\"}]}},\"Domain\":\"h\","
					  "\"OnlineChange\":{\"3\":true}}";

static struct coord_map_update *update_of(const char *text)
{
	struct coord_map_update *update = coord_map_parse_text(text, strlen(text), NULL);

	assert_non_null(update);
	return update;
}

static struct coord_netmap *map_of(const char *text)
{
	struct coord_netmap *map = coord_netmap_new();
	const struct coord_diff *diff;

	assert_non_null(map);
	assert_int_equal(coord_netmap_apply(map, update_of(text), true, NOW, &diff), 0);
	return map;
}

/* Counters aside: what was read of an update that came to nothing is counted nowhere. */
static json_t *printed(const struct coord_netmap *map)
{
	char *text = coord_netmap_print(map, NOW);
	json_t *object = json_loads(text ? text : "", 0, NULL);

	assert_non_null(object);
	json_object_del(object, "counters");
	free(text);
	return object;
}

static void test_parsing(void **state)
{
	struct base_error why = {""};
	struct coord_map_update *update = NULL;
	long n;

	(void)state;
	for (int good = 0; good < 2; good++) {
		is_for_good = good;
		for (n = 0, update = NULL; !update; n++) {
			left = n;
			has_failed = false;
			update = coord_map_parse_text(delta_text, strlen(delta_text), &why);
			left = -1;
			/* when it is jansson that lacks memory, it may say that the text is no JSON */
			assert_true(update || errno == ENOMEM || errno == EBADMSG);
			assert_int_equal(!update, has_failed);
		}
		print_message("%ld allocations\n", n - 1);
		assert_in_range(n, 30, 10000);
		coord_map_update_free(update);
	}
}

/* One attempt; true when there was memory enough. */
static bool merge_try(long n, const json_t *before, const json_t *after)
{
	struct coord_netmap *map = map_of(first_text);
	struct coord_map_update *update = update_of(delta_text);
	const struct coord_diff *diff = NULL;
	bool is_enough;
	json_t *now;
	int rc;

	left = n;
	has_failed = false;
	rc = coord_netmap_apply(map, update, false, NOW, &diff);
	is_enough = !has_failed;
	left = -1;
	assert_true(rc == 0 || rc == -ENOMEM);
	now = printed(map);
	/* the filter alone may be without rules; never with others */
	if (rc == 0 && json_array_size(json_object_get(now, "rules")) == 0)
		json_object_set(now, "rules", json_object_get(after, "rules"));
	assert_true(json_equal(now, rc == 0 ? after : before));
	assert_int_equal(diff != NULL, rc == 0);
	/* it goes on from there */
	assert_int_equal(coord_netmap_apply(map, update_of(delta_text), false, NOW, &diff), 0);
	json_decref(now);
	now = printed(map);
	assert_true(json_equal(now, after));
	json_decref(now);
	coord_netmap_free(map);
	return is_enough;
}

static void test_merging(void **state)
{
	struct coord_netmap *map = map_of(first_text);
	const struct coord_diff *diff;
	json_t *before = printed(map), *after;
	long n;

	(void)state;
	assert_int_equal(coord_netmap_apply(map, update_of(delta_text), false, NOW, &diff), 0);
	after = printed(map);
	assert_false(json_equal(before, after));
	for (int good = 0; good < 2; good++) {
		is_for_good = good;
		for (n = 0; !merge_try(n, before, after);)
			n++;
		print_message("%ld allocations\n", n);
		assert_in_range(n, 10, 10000);
	}
	json_decref(before);
	json_decref(after);
	coord_netmap_free(map);
}

static void test_streams(void **state)
{
	struct coord_map_stream *stream;
	struct coord_map_parser *parser;

	(void)state;
	is_for_good = true;
	left = 0;
	stream = coord_map_stream_new(NULL, false);
	parser = coord_map_parser_new(NULL, false);
	assert_null(coord_netmap_new());
	left = -1;
	assert_true(!stream && !parser);
	stream = coord_map_stream_new(NULL, false);
	assert_non_null(stream);
	left = 0;
	assert_int_equal(coord_map_stream_feed(stream, "\x02\0\0\0{}", 6, NULL), -ENOMEM);
	left = -1;
	coord_map_stream_free(stream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parsing),
		cmocka_unit_test(test_merging),
		cmocka_unit_test(test_streams),
	};

	json_set_alloc_funcs(__wrap_malloc, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
