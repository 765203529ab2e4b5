/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map stream: frames out of pieces, limits both ways, bombs, what each member may be, requests. Frames as
 * Headscale sends them are in coord_netmap_record_test.c.
 */
#include "base_bytes.h"
#include "coord_json.h"
#include "coord_map.h"
#include "coord_range.h"
#include "coord_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <zstd.h>

#define KEY "0101010101010101010101010101010101010101010101010101010101010101"
#define ZERO_KEY "0000000000000000000000000000000000000000000000000000000000000000"

/* A frame's length and bytes, compressed or not; free() it. */
static uint8_t *wire_of(const char *text, size_t text_len, bool is_compressed, size_t *ret_len)
{
	size_t bound = ZSTD_compressBound(text_len), n = text_len;
	uint8_t *wire = malloc(4 + bound);

	assert_non_null(wire);
	if (is_compressed)
		n = ZSTD_compress(wire + 4, bound, text, text_len, 3);
	else
		memcpy(wire + 4, text, text_len);
	assert_false(ZSTD_isError(n));
	base_store_le32(wire, (uint32_t)n);
	*ret_len = 4 + n;
	return wire;
}

static void feed_text(struct coord_map_stream *stream, const char *text, bool is_compressed)
{
	size_t len;
	uint8_t *wire = wire_of(text, strlen(text), is_compressed, &len);

	assert_int_equal(coord_map_stream_feed(stream, wire, len, NULL), 0);
	free(wire);
}

/* --- the stream --------------------------------------------------------------------------------- */

static void test_frames_out_of_pieces(void **state)
{
	static const char text[] = "{\"ControlTime\":\"2026-07-01T12:00:01.5+02:00\"}";
	struct coord_map_parser *parser = coord_map_parser_new(NULL, true);
	size_t len;
	uint8_t *wire = wire_of(text, strlen(text), true, &len), *twice = malloc(2 * len);

	(void)state;
	assert_non_null(twice);
	memcpy(twice, wire, len);
	memcpy(twice + len, wire, len);
	for (size_t piece = 1; piece <= 2 * len; piece++) {
		struct coord_map_stream *stream = coord_map_stream_new(NULL, true);
		unsigned n = 0;

		assert_non_null(stream);
		for (size_t at = 0; at < 2 * len; at += piece) {
			size_t size = 2 * len - at < piece ? 2 * len - at : piece;
			struct coord_map_frame *frame;

			assert_int_equal(coord_map_stream_feed(stream, twice + at, size, NULL), 0);
			while ((frame = coord_map_stream_next(stream))) {
				struct coord_map_update *update =
					coord_map_parse(parser, frame, NULL);

				assert_false(frame->is_keep_alive || frame->is_large);
				assert_non_null(update);
				assert_int_equal(update->control_time_unix_s, 1782900001);
				coord_map_update_free(update);
				coord_map_frame_free(frame);
				n++;
			}
		}
		assert_int_equal(n, 2);
		assert_int_equal(coord_map_stream_waiting(stream), 0);
		coord_map_stream_free(stream);
	}
	free(twice);
	free(wire);
	coord_map_parser_free(parser);
}

static void keep_alives(bool is_compressed)
{
	struct coord_map_stream *stream = coord_map_stream_new(NULL, is_compressed);
	static const char *const texts[] = {"{\"KeepAlive\":true}", "{\"KeepAlive\":true}",
		"{\"KeepAlive\":true }", "{\"keepAlive\":true}", "{\"KeepAlive\":true}"};
	static const bool expected[] = {true, true, false, false, true};

	for (size_t i = 0; i < BASE_ARRAY_LEN(texts); i++)
		feed_text(stream, texts[i], is_compressed);
	for (size_t i = 0; i < BASE_ARRAY_LEN(texts); i++) {
		struct coord_map_frame *frame = coord_map_stream_next(stream);

		assert_non_null(frame);
		assert_int_equal(frame->is_keep_alive, expected[i]);
		coord_map_frame_free(frame);
	}
	coord_map_stream_free(stream);
}

static void test_keep_alives(void **state)
{
	(void)state;
	keep_alives(true);
	keep_alives(false);
}

static void test_keep_alive_with_more(void **state)
{
	struct coord_map_update *update;
	const char *text = "{\"Node\":7,\"Peers\":{},\"KeepAlive\":true,\"PingRequest\":{\"URL\":"
			   "\"http://h/p\","
			   "\"URLIsNoise\":true},\"PopBrowserURL\":\"http://b\"}";

	(void)state;
	/* only what belongs to a keep-alive is looked at */
	update = coord_map_parse_text(text, strlen(text), NULL);
	assert_non_null(update);
	assert_true(update->is_keep_alive && update->ping_is_noise && !update->ping_is_c2n);
	assert_string_equal(update->ping_url, "http://h/p");
	assert_string_equal(update->browser_url, "http://b");
	assert_null(update->self);
	coord_map_update_free(update);
}

static void test_announced_lengths(void **state)
{
	struct coord_map_limits limits = {.bytes_max = 1000};
	static const uint8_t none[4] = {0}, huge[4] = {0xff, 0xff, 0xff, 0xff};
	struct base_error why = {""};
	uint8_t head[4];
	struct {
		const uint8_t *head;
		int rc;
	} cases[] = {{none, -EPROTO}, {huge, -EMSGSIZE}, {head, -EMSGSIZE}};

	(void)state;
	base_store_le32(head, 1001);
	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct coord_map_stream *stream = coord_map_stream_new(&limits, false);

		assert_int_equal(
			coord_map_stream_feed(stream, cases[i].head, 4, &why), cases[i].rc);
		assert_string_not_equal(why.text, "");
		/* over is over */
		assert_int_equal(coord_map_stream_feed(stream, none, 1, NULL), -EPIPE);
		coord_map_stream_free(stream);
	}
}

static void test_waiting_is_bounded(void **state)
{
	struct coord_map_limits limits = {.bytes_max = 100};
	struct coord_map_stream *stream = coord_map_stream_new(&limits, false);
	uint8_t frame[104] = {100};
	int rc = 0, n = 0;

	(void)state;
	for (; rc == 0 && n < 10; n++)
		rc = coord_map_stream_feed(stream, frame, sizeof(frame), NULL);
	assert_int_equal(rc, -ENOBUFS);
	assert_int_equal(n, 4);
	assert_int_equal(coord_map_stream_waiting(stream), 300);
	coord_map_stream_free(stream);
}

/* --- zstd --------------------------------------------------------------------------------------- */

/* A frame of these bytes, as a stream would give it. */
static struct coord_map_frame *frame_of(const void *bytes, size_t len)
{
	struct coord_map_frame *frame = malloc(sizeof(*frame) + len);

	assert_non_null(frame);
	*frame = (struct coord_map_frame){.len = (uint32_t)len};
	memcpy(frame->bytes, bytes, len);
	return frame;
}

static int parse_bytes(const struct coord_map_limits *limits, const void *bytes, size_t len)
{
	struct coord_map_parser *parser = coord_map_parser_new(limits, true);
	struct coord_map_frame *frame = frame_of(bytes, len);
	struct base_error why = {""};
	struct coord_map_update *update = coord_map_parse(parser, frame, &why);
	int rc = update ? 0 : -errno;

	assert_true(update || why.text[0]);
	coord_map_update_free(update);
	coord_map_frame_free(frame);
	coord_map_parser_free(parser);
	return rc;
}

/* Blanks between braces: @len bytes that compress to nearly nothing. @tells: the frame says how long it is. */
static uint8_t *bomb_of(size_t len, bool tells, size_t *ret_len)
{
	size_t bound = ZSTD_compressBound(len);
	uint8_t *wire = malloc(bound);
	char *text = malloc(len);
	ZSTD_CCtx *zstd = ZSTD_createCCtx();
	ZSTD_inBuffer in = {text, len, 0};
	ZSTD_outBuffer out = {wire, bound, 0};

	assert_true(wire && text && zstd);
	memset(text, ' ', len);
	text[0] = '{';
	text[len - 1] = '}';
	ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, tells);
	if (tells)
		ZSTD_CCtx_setPledgedSrcSize(zstd, len);
	while (ZSTD_compressStream2(zstd, &out, &in, ZSTD_e_end) != 0)
		;
	ZSTD_freeCCtx(zstd);
	free(text);
	*ret_len = out.pos;
	return wire;
}

static void test_bombs(void **state)
{
	struct coord_map_limits limits = {.decoded_max = 1u << 20};

	(void)state;
	for (int tells = 0; tells < 2; tells++) {
		for (int over = 0; over < 2; over++) {
			size_t len;
			uint8_t *wire = bomb_of((1u << 20) + (size_t)over, tells, &len);

			assert_in_range(len, 1, 1000);
			assert_int_equal(parse_bytes(&limits, wire, len), over ? -EMSGSIZE : 0);
			/* cut, with something behind it, or altered: no whole frame */
			assert_int_not_equal(parse_bytes(&limits, wire, len - 1), 0);
			wire = realloc(wire, len + 1);
			assert_non_null(wire);
			wire[len] = 0;
			assert_int_not_equal(parse_bytes(&limits, wire, len + 1), 0);
			free(wire);
		}
	}
}

static void test_no_zstd(void **state)
{
	static const char plain[] = "{\"KeepAlive\":false}";
	static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0};
	size_t len;
	uint8_t *wire = wire_of("{}", 2, true, &len), *twice = malloc(2 * len);

	(void)state;
	assert_non_null(twice);
	assert_int_equal(parse_bytes(NULL, plain, strlen(plain)), -EBADMSG);
	assert_int_equal(parse_bytes(NULL, skippable, sizeof(skippable)), -EBADMSG);
	assert_int_equal(parse_bytes(NULL, wire + 4, len - 4), 0);
	memcpy(twice, wire + 4, len - 4);
	memcpy(twice + len - 4, wire + 4, len - 4);
	assert_int_equal(parse_bytes(NULL, twice, 2 * (len - 4)), -EBADMSG);
	free(twice);
	free(wire);
}

/* --- members ------------------------------------------------------------------------------------ */

static int parse_text(const char *text)
{
	struct base_error why = {""};
	struct coord_map_update *update = coord_map_parse_text(text, strlen(text), &why);
	int rc = update ? 0 : -errno;

	assert_true(update || why.text[0]);
	coord_map_update_free(update);
	return rc;
}

static void test_no_json(void **state)
{
	static const char *const texts[] = {"", " ", "[]", "null", "7", "{", "}", "{}}", "{} {}",
		"{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":1 \"b\":2}", "{\"a\":[}",
		"{\"a\":[}]}", "{\"a\":\"", "{\"a\":\"\\", "{\"a\\u0062\":1}", "{a:1}",
		"{\"Domain\":\"\\u0000\"}", "{\"Domain\":\"\xff\"}", "{\"Health\":[tru]}",
		"{\"Peers\":[1,]}", "{\"Peers\":[,]}", "{\"OnlineChange\":{\"1\":true,}}"};
	char deep[COORD_JSON_DEPTH_MAX * 2 + 32];

	(void)state;
	for (size_t i = 0; i < BASE_ARRAY_LEN(texts); i++)
		if (parse_text(texts[i]) != -EBADMSG)
			fail_msg("accepted: %s", texts[i]);
	assert_int_equal(parse_text(" { } "), 0);
	assert_int_equal(parse_text("{\"Unknown\":[{\"a\":[1,\"]}\\\"\"]}], \"x\" : -1.5E+3}"), 0);
	for (unsigned depth = COORD_JSON_DEPTH_MAX; depth <= COORD_JSON_DEPTH_MAX + 1; depth++) {
		snprintf(deep, sizeof(deep), "{\"a\":%.*s%.*s}", (int)depth,
			"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
			(int)depth,
			"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
		assert_int_equal(parse_text(deep), depth > COORD_JSON_DEPTH_MAX ? -EBADMSG : 0);
	}
}

/* Every member with each type of JSON: accepted are null and those named here. */
static const struct member_case {
	const char *format; /* of a frame: where the value stands is %s */
	const char *types;  /* letters of those that fit */
} member_cases[] = {
	{"{\"KeepAlive\":%s}", "b"},
	{"{\"ControlTime\":%s}", ""},
	{"{\"PingRequest\":%s}", "o"},
	{"{\"PingRequest\":{\"URL\":%s}}", "s"},
	{"{\"PingRequest\":{\"Types\":%s}}", "s"},
	{"{\"PingRequest\":{\"URLIsNoise\":%s}}", "b"},
	{"{\"PopBrowserURL\":%s}", "s"},
	{"{\"Peers\":%s}", "a"},
	{"{\"PeersChanged\":%s}", "a"},
	{"{\"PeersRemoved\":%s}", "a"},
	{"{\"PeersRemoved\":[%s]}", "i"},
	{"{\"PeerSeenChange\":%s}", "o"},
	{"{\"OnlineChange\":%s}", "o"},
	{"{\"OnlineChange\":{\"1\":%s}}", "b"},
	{"{\"PeersChangedPatch\":%s}", "a"},
	{"{\"PeersChangedPatch\":[%s]}", "o"},
	{"{\"PeersChangedPatch\":[{\"NodeID\":%s}]}", "i"},
	{"{\"PeersChangedPatch\":[{\"DERPRegion\":%s}]}", "i"},
	{"{\"PeersChangedPatch\":[{\"Key\":%s}]}", ""},
	{"{\"PeersChangedPatch\":[{\"DiscoKey\":%s}]}", ""},
	{"{\"PeersChangedPatch\":[{\"Endpoints\":%s}]}", "a"},
	{"{\"PeersChangedPatch\":[{\"Endpoints\":[%s]}]}", "s"},
	{"{\"PeersChangedPatch\":[{\"Online\":%s}]}", "b"},
	{"{\"PeersChangedPatch\":[{\"LastSeen\":%s}]}", ""},
	{"{\"PeersChangedPatch\":[{\"KeyExpiry\":%s}]}", ""},
	{"{\"PeersChangedPatch\":[{\"CapMap\":%s}]}", "o"},
	{"{\"PeersChangedPatch\":[{\"CapMap\":{\"c\":%s}}]}", "a"},
	{"{\"UserProfiles\":%s}", "a"},
	{"{\"UserProfiles\":[{\"ID\":%s}]}", "i"},
	{"{\"UserProfiles\":[{\"LoginName\":%s}]}", "s"},
	{"{\"UserProfiles\":[{\"DisplayName\":%s}]}", "s"},
	{"{\"DERPMap\":%s}", "o"},
	{"{\"DERPMap\":{\"Regions\":%s}}", "o"},
	{"{\"DERPMap\":{\"Regions\":{\"1\":%s}}}", "o"},
	{"{\"DERPMap\":{\"Regions\":{\"1\":{\"Nodes\":%s}}}}", "a"},
	{"{\"DERPMap\":{\"Regions\":{\"1\":{\"Nodes\":[%s]}}}}", "o"},
	{"{\"DERPMap\":{\"Regions\":{\"1\":{\"Nodes\":[{\"HostName\":%s}]}}}}", "s"},
	{"{\"DERPMap\":{\"Regions\":{\"1\":{\"Nodes\":[{\"DERPPort\":%s}]}}}}", "i"},
	{"{\"DERPMap\":{\"Regions\":{\"1\":{\"Nodes\":[{\"IPv4\":%s}]}}}}", "s"},
	{"{\"PacketFilter\":%s}", "a"},
	{"{\"PacketFilters\":%s}", "o"},
	{"{\"PacketFilters\":{\"base\":%s}}", "a"},
	{"{\"PacketFilters\":{\"base\":[{\"SrcIPs\":%s}]}}", "a"},
	{"{\"PacketFilters\":{\"base\":[{\"SrcIPs\":[%s]}]}}", "s"},
	{"{\"PacketFilters\":{\"base\":[{\"DstPorts\":%s}]}}", "a"},
	{"{\"PacketFilters\":{\"base\":[{\"DstPorts\":[%s]}]}}", "o"},
	{"{\"PacketFilters\":{\"base\":[{\"DstPorts\":[{\"IP\":%s}]}]}}", "s"},
	{"{\"PacketFilters\":{\"base\":[{\"DstPorts\":[{\"Ports\":%s}]}]}}", "o"},
	{"{\"PacketFilters\":{\"base\":[{\"DstPorts\":[{\"Ports\":{\"First\":%s}}]}]}}", "i"},
	{"{\"PacketFilters\":{\"base\":[{\"IPProto\":%s}]}}", "a"},
	{"{\"PacketFilters\":{\"base\":[{\"IPProto\":[%s]}]}}", "i"},
	{"{\"DNSConfig\":%s}", "o"},
	{"{\"DNSConfig\":{\"Proxied\":%s}}", "b"},
	{"{\"DNSConfig\":{\"Domains\":%s}}", "a"},
	{"{\"DNSConfig\":{\"Domains\":[%s]}}", "s"},
	{"{\"DNSConfig\":{\"Resolvers\":%s}}", "a"},
	{"{\"DNSConfig\":{\"Resolvers\":[%s]}}", "o"},
	{"{\"DNSConfig\":{\"Resolvers\":[{\"Addr\":%s}]}}", "s"},
	{"{\"DNSConfig\":{\"Routes\":%s}}", "o"},
	{"{\"DNSConfig\":{\"Routes\":{\"x\":%s}}}", "a"},
	{"{\"DNSConfig\":{\"ExtraRecords\":[%s]}}", "o"},
	{"{\"DNSConfig\":{\"ExtraRecords\":[{\"Name\":%s}]}}", "s"},
	{"{\"Domain\":%s}", "s"},
	{"{\"Health\":%s}", "a"},
	{"{\"Health\":[%s]}", "s"},
	{"{\"DisplayMessages\":%s}", "o"},
	{"{\"DisplayMessages\":{\"m\":%s}}", "o"},
	{"{\"DisplayMessages\":{\"m\":{\"Text\":%s}}}", "s"},
	{"{\"Debug\":%s}", "o"},
	{"{\"Debug\":{\"SleepSeconds\":%s}}", "ir"},
};

/* Members of a node; its format has the rest that a node must have. */
static const struct member_case node_cases[] = {
	{"\"ID\":%s,\"Key\":\"nodekey:" KEY "\"", "i"},
	{"\"ID\":1,\"Key\":%s", ""},
	{"\"ID\":1,\"Machine\":%s", ""},
	{"\"ID\":1,\"DiscoKey\":%s", ""},
	{"\"ID\":1,\"Name\":%s", "s"},
	{"\"ID\":1,\"User\":%s", "i"},
	{"\"ID\":1,\"KeyExpiry\":%s", ""},
	{"\"ID\":1,\"LastSeen\":%s", ""},
	{"\"ID\":1,\"Addresses\":%s", "a"},
	{"\"ID\":1,\"Addresses\":[%s]", "s"},
	{"\"ID\":1,\"AllowedIPs\":%s", "a"},
	{"\"ID\":1,\"AllowedIPs\":[%s]", "s"},
	{"\"ID\":1,\"Endpoints\":%s", "a"},
	{"\"ID\":1,\"Endpoints\":[%s]", "s"},
	{"\"ID\":1,\"Tags\":%s", "a"},
	{"\"ID\":1,\"Tags\":[%s]", "s"},
	{"\"ID\":1,\"HomeDERP\":%s", "i"},
	{"\"ID\":1,\"DERP\":%s", "s"},
	{"\"ID\":1,\"Hostinfo\":%s", "o"},
	{"\"ID\":1,\"Hostinfo\":{\"Hostname\":%s}", "s"},
	{"\"ID\":1,\"Hostinfo\":{\"OS\":%s}", "s"},
	{"\"ID\":1,\"Online\":%s", "b"},
	{"\"ID\":1,\"Expired\":%s", "b"},
	{"\"ID\":1,\"MachineAuthorized\":%s", "b"},
	{"\"ID\":1,\"IsJailed\":%s", "b"},
	{"\"ID\":1,\"IsWireGuardOnly\":%s", "b"},
	{"\"ID\":1,\"UnsignedPeerAPIOnly\":%s", "b"},
	{"\"ID\":1,\"CapMap\":%s", "o"},
};

static const struct {
	char type;
	const char *text;
} values[] = {{'b', "true"}, {'i', "7"}, {'r', "7.5"}, {'s', "\"x\""}, {'a', "[]"}, {'o', "{}"}};

static void types_try(const char *format, const char *types)
{
	char text[512];

	for (size_t i = 0; i < BASE_ARRAY_LEN(values); i++) {
		bool fits = strchr(types, values[i].type);
		const char *at = strstr(format, "%s");

		assert_non_null(at);
		snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - format), format, values[i].text,
			at + 2);
		if (parse_text(text) != (fits ? 0 : -EBADMSG))
			fail_msg("%s: %s", fits ? "refused" : "accepted", text);
	}
}

static void test_types(void **state)
{
	char format[256];

	(void)state;
	for (size_t i = 0; i < BASE_ARRAY_LEN(member_cases); i++)
		types_try(member_cases[i].format, member_cases[i].types);
	for (size_t i = 0; i < BASE_ARRAY_LEN(node_cases); i++) {
		snprintf(format, sizeof(format), "{\"PeersChanged\":[{%s}]}", node_cases[i].format);
		types_try(format, node_cases[i].types);
	}
}

static void test_this_node_is_whole(void **state)
{
	(void)state;
	assert_int_equal(parse_text("{\"Node\":{\"ID\":1,\"Key\":\"nodekey:" KEY "\"}}"), 0);
	assert_int_equal(parse_text("{\"Node\":null}"), 0);
	assert_int_equal(parse_text("{\"Node\":{\"ID\":1}}"), -EBADMSG);
	assert_int_equal(parse_text("{\"Node\":{\"ID\":0,\"Key\":\"nodekey:" KEY "\"}}"), -EBADMSG);
	assert_int_equal(
		parse_text("{\"Node\":{\"ID\":1,\"Key\":\"nodekey:" ZERO_KEY "\"}}"), -EBADMSG);
	assert_int_equal(parse_text("{\"Node\":{\"ID\":1,\"Key\":\"mkey:" KEY "\"}}"), -EBADMSG);
	assert_int_equal(parse_text("{\"Node\":{\"Key\":\"nodekey:" KEY "\"}}"), -EBADMSG);
}

static void test_node(void **state)
{
	const char *text =
		"{\"PeersChanged\":[{\"ID\":9223372036854775807,\"Name\":\"W-\\u00e4.Lab.\","
		"\"User\":2147455555,"
		"\"Key\":\"nodekey:" KEY
		"\",\"Addresses\":[\"100.64.0.2/32\",\"fd7a::2/128\",\"100.64.0.0/10\"],"
		"\"AllowedIPs\":[\"100.64.0.2/32\",\"10.0.0.0/8\",\"10.0.0.1/8\",\"0.0.0.0/"
		"0\",\"10.1.1.1\"],"
		"\"Endpoints\":[\"192.0.2.1:41641\",\"[2001:db8::1]:1\",\"192.0.2.1\",\"[fe80::1%"
		"eth0]:7\",\"h:1\"],"
		"\"DERP\":\"127.3.3.40:12\",\"KeyExpiry\":\"2030-01-01T00:00:00+01:00\","
		"\"Expired\":true,"
		"\"Hostinfo\":{\"OS\":\"li\\tnux\",\"Hostname\":\"W\"},\"Tags\":[\"tag:a\"],"
		"\"IsJailed\":true,"
		"\"LastSeen\":\"1950-01-01T00:00:00Z\",\"CapMap\":{\"a\":null,\"b\":[1]}}]}";
	struct coord_map_update *update = coord_map_parse_text(text, strlen(text), NULL);
	const struct coord_node *node;

	(void)state;
	assert_non_null(update);
	assert_int_equal(update->n_peers, 1);
	node = &update->peers[0].node;
	assert_int_equal(node->id, INT64_MAX);
	assert_string_equal(node->name, "w-\u00e4.lab");
	assert_string_equal(node->hostname, "W");
	assert_string_equal(node->os, "li?nux");
	assert_int_equal(node->n_addresses, 2);
	assert_int_equal(node->n_allowed_ips, 3);
	assert_int_equal(node->allowed_ips[2].bits, 0);
	assert_int_equal(node->n_endpoints, 2);
	assert_int_equal(node->endpoints[1].port, 1);
	assert_int_equal(node->home_derp, 12);
	assert_int_equal(node->key_expiry_unix_s, 1893452400);
	assert_int_equal(node->last_seen_unix_s, 1);
	assert_int_equal(node->online, COORD_ONLINE_UNKNOWN);
	assert_true(node->is_expired && node->is_jailed && !node->is_authorized);
	assert_string_equal(node->tags[0], "tag:a");
	assert_memory_equal(update->peers[0].caps, "a\0b\0", 5);
	assert_int_equal(update->counts[COORD_NETMAP_BAD_ENTRIES], 6);
	coord_map_update_free(update);
}

static void test_three_states(void **state)
{
	static const struct {
		const char *member;
		unsigned n_allowed_ips;
	} cases[] = {{"", 1}, {",\"AllowedIPs\":null", 1}, {",\"AllowedIPs\":[]", 0},
		{",\"AllowedIPs\":[\"10.0.0.0/8\",\"10.1.0.0/16\"]", 2},
		{",\"AllowedIPs\":[\"10.0.0.0/8\",\"10.1.0.0/16\"],\"UnsignedPeerAPIOnly\":true",
			1}};
	struct coord_map_update *update;
	char text[512];

	(void)state;
	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		snprintf(text, sizeof(text),
			"{\"PeersChanged\":[{\"ID\":1,\"Key\":\"nodekey:" KEY
			"\",\"Addresses\":[\"100.64.0.2/32\"]%s}]}",
			cases[i].member);
		update = coord_map_parse_text(text, strlen(text), NULL);
		assert_non_null(update);
		assert_int_equal(update->peers[0].node.n_allowed_ips, cases[i].n_allowed_ips);
		coord_map_update_free(update);
	}
	snprintf(text, sizeof(text),
		"{\"PeersChangedPatch\":[{\"NodeID\":1,\"Endpoints\":[]},"
		"{\"NodeID\":1,\"Endpoints\":null},{\"NodeID\":1}]}");
	update = coord_map_parse_text(text, strlen(text), NULL);
	assert_non_null(update);
	assert_int_equal(update->n_patches, 3);
	assert_true(update->patches[0].has_endpoints);
	assert_false(update->patches[1].has_endpoints || update->patches[2].has_endpoints);
	coord_map_update_free(update);
}

static void test_last_member_counts(void **state)
{
	const char *text =
		"{\"PeersRemoved\":[1],\"Domain\":\"a\",\"PeersRemoved\":[2,3,3],\"Domain\":null}";
	struct coord_map_update *update = coord_map_parse_text(text, strlen(text), NULL);

	(void)state;
	assert_non_null(update);
	assert_int_equal(update->n_removed, 2);
	assert_int_equal(update->removed[0], 2);
	assert_null(update->domain);
	coord_map_update_free(update);
}

static void test_too_long_for_a_tree(void **state)
{
	size_t len = COORD_JSON_TREE_BYTES_MAX + 64, n;
	char *text = malloc(len);

	(void)state;
	assert_non_null(text);
	n = (size_t)snprintf(text, len, "{\"Health\":[\"");
	memset(text + n, 'x', len - n);
	memcpy(text + len - 3, "\"]}", 3);
	assert_null(coord_map_parse_text(text, len, NULL));
	assert_int_equal(errno, EMSGSIZE);
	/* but as long as one likes where nobody reads it */
	memcpy(text + 2, "health", 6);
	coord_map_update_free(coord_map_parse_text(text, len, NULL));
	free(text);
}

/* --- times, ranges ------------------------------------------------------------------------------ */

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t unix_s;
	} good[] = {{"1970-01-01T00:00:00Z", 0}, {"0001-01-01T00:00:00Z", -62135596800},
		{"2026-07-01T12:00:01.5+02:00", 1782900001},
		{"2024-02-29T23:59:59.999999999Z", 1709251199},
		{"9999-12-31T23:59:59Z", 253402300799}, {"2000-03-01T00:00:00-23:59", 951955140},
		{"1969-12-31T23:59:59Z", -1}};
	static const char *const bad[] = {"", "2026-07-01", "2026-07-01T12:00:01",
		"2026-07-01 12:00:01Z", "2026-13-01T12:00:01Z", "2026-00-01T12:00:01Z",
		"2023-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-07-01T24:00:00Z",
		"2026-07-01T12:60:00Z", "2026-07-01T12:00:60Z", "2026-07-01T12:00:01.Z",
		"2026-07-01T12:00:01+2:00", "2026-07-01T12:00:01+24:00", "2026-07-01T12:00:01Zx",
		"2026-07-01T12:00:01+02:00x", "+026-07-01T12:00:01Z", "10000-01-01T00:00:00Z",
		"2026-07-01t12:00:01z"};
	int64_t unix_s = 0;

	(void)state;
	for (size_t i = 0; i < BASE_ARRAY_LEN(good); i++) {
		assert_int_equal(coord_time_parse(good[i].text, &unix_s), 0);
		assert_int_equal(unix_s, good[i].unix_s);
	}
	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++)
		assert_int_equal(coord_time_parse(bad[i], &unix_s), -EINVAL);
}

/* Every address near a range's ends is in exactly one of its prefixes, or in none. */
static void range_try(uint32_t first, uint32_t last)
{
	static struct base_prefix prefixes[COORD_RANGE_PREFIXES_MAX];
	char text[64];
	int n;

	snprintf(text, sizeof(text), "%u.%u.%u.%u-%u.%u.%u.%u", first >> 24, first >> 16 & 255,
		first >> 8 & 255, first & 255, last >> 24, last >> 16 & 255, last >> 8 & 255,
		last & 255);
	n = coord_range_parse(prefixes, text);
	assert_in_range(n, 1, 62);
	for (int64_t at = -3; at <= 3; at++) {
		uint32_t probes[] = {first + (uint32_t)at, last + (uint32_t)at,
			first + (last - first) / 2 + (uint32_t)at};

		for (size_t i = 0; i < BASE_ARRAY_LEN(probes); i++) {
			struct base_addr addr = {.family = BASE_FAMILY_V4};
			int held = 0;

			base_store_be32(addr.bytes, probes[i]);
			for (int j = 0; j < n; j++)
				held += base_prefix_contains(&prefixes[j], &addr);
			assert_int_equal(held, probes[i] >= first && probes[i] <= last);
		}
	}
}

static void test_ranges(void **state)
{
	static struct base_prefix prefixes[COORD_RANGE_PREFIXES_MAX];
	unsigned seed = (unsigned)time(NULL);

	(void)state;
	print_message("seed %u\n", seed);
	srandom(seed);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t a = (uint32_t)random() << (random() % 2),
			 b = (uint32_t)random() >> (random() % 31);

		range_try(a, a + b < a ? UINT32_MAX : a + b);
	}
	range_try(0, UINT32_MAX);
	range_try(1, UINT32_MAX - 1);
	assert_int_equal(
		coord_range_parse(prefixes, "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 1);
	assert_int_equal(coord_range_parse(prefixes, "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"),
		COORD_RANGE_PREFIXES_MAX);
	assert_int_equal(coord_range_parse(prefixes, "10.0.0.1"), 1);
	assert_int_equal(prefixes[0].bits, 32);
}

/* --- requests ----------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
	struct cr_key node = {{1}}, disco = {{2}};
	struct coord_reachability reachability = {
		.n_endpoints = 1, .types = {COORD_ENDPOINT_LOCAL}, .home_derp = 9, .has_udp = true};
	struct base_prefix route;
	struct coord_map_request request = {.node_public = &node,
		.disco_public = &disco,
		.hostname = "gw1",
		.version = "1.0",
		.os = "linux",
		.routes = &route,
		.reachability = &reachability,
		.is_stream = true,
		.is_compressed = true};
	json_t *object;
	char *text;
	size_t len;

	(void)state;
	assert_int_equal(base_prefix_parse(&route, "10.1.0.0/16", true), 0);
	assert_int_equal(base_endpoint_parse(&reachability.endpoints[0], "[2001:db8::1]:41641"), 0);
	request.n_routes = 1;
	text = coord_map_request(&request, &len);
	assert_non_null(text);
	assert_int_equal(len, strlen(text));
	object = json_loads(text, 0, NULL);
	assert_non_null(object);
	assert_int_equal(json_integer_value(json_object_get(object, "Version")), 138);
	assert_true(json_is_true(json_object_get(object, "Stream")));
	assert_string_equal(json_string_value(json_object_get(object, "Compress")), "zstd");
	assert_null(json_object_get(object, "OmitPeers"));
	assert_string_equal(
		json_string_value(json_array_get(
			json_object_get(json_object_get(object, "Hostinfo"), "RoutableIPs"), 0)),
		"10.1.0.0/16");
	json_decref(object);
	free(text);
	/* a lite update; no endpoints are an empty list: cleared, not kept */
	request.is_stream = false;
	reachability.n_endpoints = 0;
	text = coord_map_request(&request, &len);
	assert_non_null(text);
	assert_non_null(strstr(text, "\"OmitPeers\":true"));
	assert_non_null(strstr(text, "\"Endpoints\":[]"));
	assert_null(strstr(text, "Stream"));
	assert_null(strstr(text, "Compress"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_out_of_pieces),
		cmocka_unit_test(test_keep_alives),
		cmocka_unit_test(test_keep_alive_with_more),
		cmocka_unit_test(test_announced_lengths),
		cmocka_unit_test(test_waiting_is_bounded),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_no_zstd),
		cmocka_unit_test(test_no_json),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_this_node_is_whole),
		cmocka_unit_test(test_node),
		cmocka_unit_test(test_three_states),
		cmocka_unit_test(test_last_member_counts),
		cmocka_unit_test(test_too_long_for_a_tree),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
