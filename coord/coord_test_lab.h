/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the client's suite stands on: a client, a scripted server, and a loop for both; what the server answers, and what was seen. Included
 * by coord_client_test.c alone.
 */
#ifndef COORD_TEST_LAB_H
#define COORD_TEST_LAB_H

#include "base_clock.h"
#include "coord_client.h"

#include "coord_test_server.h"

#include <jansson.h>
#include <zstd.h>

#define PATIENCE_S 30 /* of a test with a machine that has other things to do */
#define ACCEPTED                                                                                   \
	"{\"MachineAuthorized\":true,\"NodeKeyExpired\":false,\"AuthURL\":\"\",\"Error\":\"\"}"
#define EXPIRED                                                                                    \
	"{\"MachineAuthorized\":false,\"NodeKeyExpired\":true,\"AuthURL\":\"\",\"Error\":\"\"}"
#define REFUSED(words)                                                                             \
	"{\"MachineAuthorized\":false,\"NodeKeyExpired\":false,\"AuthURL\":\"\",\"Error\":"        \
	"\"" words "\"}"
#define LOGIN(url)                                                                                 \
	"{\"MachineAuthorized\":false,\"NodeKeyExpired\":false,\"AuthURL\":\"" url                 \
	"\",\"Error\":\"\"}"

static struct lab {
	uv_loop_t loop;
	uv_timer_t beat; /* so that a loop in which nothing happens goes round */
	struct test_server server;
	char dir[64], url[64];
	struct coord_state *state;
	struct coord *coord;
	struct coord_config config;
	/* The script. */
	const char *joins[4]; /* answers to registrations, in turn; NULL: none comes */
	int map_status, lite_status;
	bool lite_holds, is_expired, has_no_first_frame;
	/* What was seen. */
	unsigned n_joins, n_polls, n_lites;
	char join[4096], poll[4096], lite[4096]; /* the last body of each */
	struct test_h2 *h2;
	int32_t poll_id, lite_id; /* the last ones */
	unsigned n_states, n_changes, n_identities;
	bool has_self;
	struct cr_key identity;
	int identity_rc;
	unsigned n_logouts;
	int logout_rc;
} lab;

/* --- the server's mind --------------------------------------------------------------------------- */

static const char *text_of(const char *body, const char *name, char buf[256])
{
	json_t *root = json_loads(body, 0, NULL);
	const char *text = json_string_value(json_object_get(root, name));

	snprintf(buf, 256, "%s", text ? text : "");
	json_decref(root);
	return buf;
}

/* A frame: its length, and the text compressed. */
static void send_frame(const char *text, bool is_end)
{
	struct test_h2_stream *stream = test_h2_find(lab.h2, lab.poll_id);
	size_t bound = ZSTD_compressBound(strlen(text)), len;
	uint8_t *frame = malloc(bound + 4);

	assert_non_null(stream);
	len = ZSTD_compress(frame + 4, bound, text, strlen(text), 1);
	assert_false(ZSTD_isError(len));
	frame[0] = (uint8_t)len;
	frame[1] = (uint8_t)(len >> 8);
	frame[2] = (uint8_t)(len >> 16);
	frame[3] = 0;
	test_h2_answer(lab.h2, stream, 200, frame, len + 4, is_end);
	free(frame);
}

static void send_self(const char *node_key, bool is_expired, const char *more)
{
	char text[2048];

	snprintf(text, sizeof(text),
		"{\"Node\":{\"ID\":7,\"StableID\":\"7\",\"Name\":\"gw.mesh.test.\",\"User\":1,"
		"\"Key\":\"%s\","
		"\"Machine\":\"mkey:%064d\",\"Addresses\":[\"100.64.0.7/"
		"32\"],\"AllowedIPs\":[\"100.64.0.7/32\"],"
		"\"MachineAuthorized\":true,\"Expired\":%s}%s}",
		node_key, 1, is_expired ? "true" : "false", more);
	send_frame(text, false);
}

static void flush_server(void)
{
	struct test_peer *peer = test_peer_of(&lab.server, lab.h2);

	if (peer)
		test_peer_flush(peer);
}

static void serve_poll(struct test_h2 *h2, struct test_h2_stream *stream)
{
	char key[256];

	lab.n_polls++;
	lab.h2 = h2;
	lab.poll_id = stream->id;
	snprintf(lab.poll, sizeof(lab.poll), "%s", stream->body);
	if (lab.map_status != 200)
		test_h2_answer(h2, stream, lab.map_status, "node not found\n", 15, true);
	else if (!lab.has_no_first_frame)
		send_self(text_of(stream->body, "NodeKey", key), lab.is_expired, "");
}

static void serve_lite(struct test_h2 *h2, struct test_h2_stream *stream)
{
	lab.n_lites++;
	lab.lite_id = stream->id;
	snprintf(lab.lite, sizeof(lab.lite), "%s", stream->body);
	if (!lab.lite_holds)
		test_h2_answer(h2, stream, lab.lite_status, "", 0, true);
}

static void serve(struct test_h2 *h2, struct test_h2_stream *stream, void *user)
{
	assert_string_equal(stream->method, "POST");
	if (strcmp(stream->path, "/machine/register") == 0) {
		const char *answer = lab.joins[lab.n_joins % BASE_ARRAY_LEN(lab.joins)];

		lab.n_joins++;
		snprintf(lab.join, sizeof(lab.join), "%s", stream->body);
		if (answer)
			test_h2_answer(h2, stream, 200, answer, strlen(answer), true);
		return;
	}
	assert_string_equal(stream->path, "/machine/map");
	if (strstr(stream->body, "\"Stream\":true"))
		serve_poll(h2, stream);
	else
		serve_lite(h2, stream);
}

/* --- the client's owner -------------------------------------------------------------------------- */

static void on_state_told(void *ctx, const struct coord_status *status)
{
	lab.n_states++;
}

static void on_changed(void *ctx, const struct coord_netmap *map, const struct coord_diff *diff)
{
	lab.n_changes++;
	lab.has_self = coord_netmap_self(map) != NULL;
}

static int on_identity(void *ctx, const struct cr_key *node_private)
{
	lab.n_identities++;
	lab.identity = *node_private;
	return lab.identity_rc;
}

static void on_logged_out(void *user, int rc, const char *line)
{
	lab.n_logouts++;
	lab.logout_rc = rc;
}

static const struct coord_host host = {on_changed, on_state_told, on_identity};

static void on_beat(uv_timer_t *timer)
{
}

/* Go round until it is so; the test fails if it never is. */
#define UNTIL(condition)                                                                           \
	do {                                                                                       \
		uint64_t end = base_clock_now_ns() + PATIENCE_S * BASE_NS_PER_S;                   \
		while (!(condition)) {                                                             \
			if (base_clock_now_ns() > end)                                             \
				fail_msg("never: %s; state %s: %s", #condition,                    \
					coord_state_name(lab.coord->status.state),                 \
					lab.coord->status.detail);                                 \
			uv_run(&lab.loop, UV_RUN_ONCE);                                            \
		}                                                                                  \
	} while (0)
#define UNTIL_STATE(kind) UNTIL(lab.coord->status.state == (kind))

/* Time for what should not happen. */
static void go_on(void)
{
	for (int i = 0; i < 20; i++)
		uv_run(&lab.loop, UV_RUN_ONCE);
}

static void new_client(void)
{
	struct cr_key disco = {{5}};
	struct base_error line;

	if (!lab.state)
		lab.state = coord_state_open(lab.dir, &line);
	assert_non_null(lab.state);
	lab.coord = coord_new(&lab.loop, lab.state, &lab.config, &disco, &host, NULL, &line);
	if (!lab.coord)
		fail_msg("%s", line.text);
}

static int set_up(void **state)
{
	memset(&lab, 0, sizeof(lab));
	uv_loop_init(&lab.loop);
	uv_timer_init(&lab.loop, &lab.beat);
	uv_timer_start(&lab.beat, on_beat, 10, 10);
	test_server_start(&lab.server, &lab.loop, serve, NULL);
	snprintf(lab.dir, sizeof(lab.dir), "/tmp/coord-client-XXXXXX");
	snprintf(lab.url, sizeof(lab.url), "http://127.0.0.1:%u", (unsigned)lab.server.port);
	lab.config = (struct coord_config){.server_url = lab.url,
		.authkey = "hskey-auth-secret",
		.hostname = "gw",
		.version = "1"};
	for (size_t i = 0; i < BASE_ARRAY_LEN(lab.joins); i++)
		lab.joins[i] = ACCEPTED;
	lab.map_status = lab.lite_status = 200;
	return mkdtemp(lab.dir) ? 0 : -1;
}

static int tear_down(void **state)
{
	coord_free(lab.coord);
	test_server_stop(&lab.server);
	uv_close((uv_handle_t *)&lab.beat, NULL);
	uv_run(&lab.loop, UV_RUN_DEFAULT);
	coord_state_close(lab.state);
	test_remove_tree(lab.dir);
	/* Whatever the test did, nothing is left open. */
	return uv_loop_close(&lab.loop);
}

static void node_key_text(char text[256], const struct cr_key *private_key)
{
	struct cr_key public_key;

	cr_x25519_public(&public_key, private_key);
	memcpy(text, "nodekey:", 8);
	base_hex_encode(text + 8, public_key.bytes, CR_KEY_BYTES);
}

static void join(void)
{
	new_client();
	coord_up(lab.coord);
	UNTIL_STATE(COORD_STREAMING);
}

#endif
