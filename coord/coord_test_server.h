/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A coordination server for the suites, on the loop of the client that it serves, on 127.0.0.1: /key, the upgrade, the channel, HTTP/2,
 * and a script in the place of its mind. It can be told to misbehave at each floor.
 */
#ifndef COORD_TEST_SERVER_H
#define COORD_TEST_SERVER_H

#include <uv.h>

#include <sodium.h>

#include "coord_test_h2.h"

#define TEST_SERVER_PEERS 16

struct test_server;

struct test_peer {
	uv_tcp_t tcp; /* first: freed by its handle */
	struct test_server *server;
	char head[4096];
	size_t head_len;
	bool is_channel;
	struct test_responder responder;
	uint8_t frame[TEST_RECORD_BYTES_MAX];
	size_t frame_len;
	struct test_h2 h2;
	bool is_gone;
};

/** What it does wrong. */
enum test_fault {
	TEST_FAULT_NONE,
	TEST_FAULT_SILENT,      /* accepts, and that is all */
	TEST_FAULT_NO_RESPONSE, /* 101, and the end */
	TEST_FAULT_BAD_RESPONSE,
	TEST_FAULT_STATUS,   /* 500 to the upgrade */
	TEST_FAULT_EARLY,    /* an early payload without end */
	TEST_FAULT_NO_EARLY, /* none at all, which is fine */
	TEST_FAULT_RECORD,   /* a record that does not open */
};

struct test_server {
	uv_loop_t *loop;
	uv_tcp_t listener;
	uint16_t port;
	struct cr_key private_key, public_key;
	struct test_peer *peers[TEST_SERVER_PEERS];
	test_h2_handler handler;
	void *user;
	enum test_fault fault;
	struct cr_key shown_key; /* by /key */
	const char *key_answer;  /* instead of the answer to /key; NULL */
	unsigned n_keys, n_upgrades, n_heads;
};

static inline void test_peer_closed(uv_handle_t *handle)
{
	struct test_peer *peer = (struct test_peer *)handle;

	for (size_t i = 0; i < TEST_SERVER_PEERS; i++)
		if (peer->server->peers[i] == peer)
			peer->server->peers[i] = NULL;
	if (peer->h2.session)
		test_h2_fini(&peer->h2);
	free(peer);
}

static inline void test_peer_close(struct test_peer *peer)
{
	if (peer->is_gone)
		return;
	peer->is_gone = true;
	uv_close((uv_handle_t *)&peer->tcp, test_peer_closed);
}

static inline void test_written(uv_write_t *request, int rc)
{
	free(request->data);
	free(request);
}

static inline void test_peer_write(struct test_peer *peer, const void *data, size_t len)
{
	uv_write_t *request = calloc(1, sizeof(*request));
	uv_buf_t buf = uv_buf_init(malloc(len), (unsigned)len);

	assert_non_null(request);
	assert_non_null(buf.base);
	memcpy(buf.base, data, len);
	request->data = buf.base;
	if (peer->is_gone ||
		uv_write(request, (uv_stream_t *)&peer->tcp, &buf, 1, test_written) != 0)
		test_written(request, 0);
}

static inline void test_peer_seal(struct test_peer *peer, const uint8_t *data, size_t len)
{
	static uint8_t record[TEST_RECORD_BYTES_MAX];

	while (len > 0) {
		size_t n = len < 4077 ? len : 4077;

		test_peer_write(peer, record, test_seal(&peer->responder, record, data, n));
		data += n;
		len -= n;
	}
}

/** What HTTP/2 has to say. After each answer that is given from outside of a handler. */
static inline void test_peer_flush(struct test_peer *peer)
{
	const uint8_t *data;
	ssize_t n;

	while (!peer->is_gone && (n = nghttp2_session_mem_send(peer->h2.session, &data)) > 0)
		test_peer_seal(peer, data, (size_t)n);
}

static inline void test_peer_early(struct test_peer *peer)
{
	static const char json[] = "{\"nodeKeyChallenge\":\"chalpub:00\"}";
	uint8_t head[9] = {0xff, 0xff, 0xff, 'T', 'S'};

	base_store_be32(head + 5, sizeof(json) - 1);
	if (peer->server->fault == TEST_FAULT_EARLY)
		base_store_be32(head + 5, UINT32_MAX);
	/* Three records, as Headscale has it. */
	test_peer_seal(peer, head, 5);
	test_peer_seal(peer, head + 5, 4);
	test_peer_seal(peer, (const uint8_t *)json, sizeof(json) - 1);
}

static inline void test_peer_upgrade(struct test_peer *peer)
{
	static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
				     "Upgrade: tailscale-control-protocol\r\n\r\n";
	struct test_server *server = peer->server;
	const char *text = strstr(peer->head, "X-Tailscale-Handshake: ");
	uint8_t initiation[101], response[51];
	size_t len = 0;

	server->n_upgrades++;
	if (server->fault == TEST_FAULT_STATUS) {
		static const char no[] = "HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nsorry";

		test_peer_write(peer, no, sizeof(no) - 1);
		return;
	}
	assert_non_null(text);
	assert_int_equal(sodium_base642bin(initiation, sizeof(initiation), text + 23, 136, NULL,
				 &len, NULL, sodium_base64_VARIANT_ORIGINAL),
		0);
	assert_int_equal(len, sizeof(initiation));
	test_peer_write(peer, answer, sizeof(answer) - 1);
	if (server->fault == TEST_FAULT_NO_RESPONSE ||
		!test_respond(&peer->responder, &server->private_key, 138, initiation, response)) {
		test_peer_close(peer);
		return;
	}
	if (server->fault == TEST_FAULT_BAD_RESPONSE)
		response[50] ^= 1;
	test_peer_write(peer, response, sizeof(response));
	peer->is_channel = true;
	test_h2_init(&peer->h2, server->handler, server->user);
	if (server->fault != TEST_FAULT_NO_EARLY)
		test_peer_early(peer);
	if (server->fault == TEST_FAULT_RECORD) {
		static const uint8_t forged[] = {4, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
			13, 14, 15, 16, 17, 18, 19, 20};

		test_peer_write(peer, forged, sizeof(forged));
	}
	test_peer_flush(peer);
}

static inline void test_peer_key(struct test_peer *peer)
{
	char digits[65], body[128], answer[256];

	peer->server->n_keys++;
	base_hex_encode(digits, peer->server->shown_key.bytes, 32);
	snprintf(
		body, sizeof(body), "{\"legacyPublicKey\":\"\",\"publicKey\":\"mkey:%s\"}", digits);
	snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
		strlen(body), body);
	if (peer->server->key_answer)
		test_peer_write(peer, peer->server->key_answer, strlen(peer->server->key_answer));
	else
		test_peer_write(peer, answer, strlen(answer));
}

static inline void test_peer_head(struct test_peer *peer)
{
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

	if (strncmp(peer->head, "GET /key?v=138 HTTP/1.1\r\n", 25) == 0) {
		test_peer_key(peer);
	} else if (strncmp(peer->head, "POST /ts2021 HTTP/1.1\r\n", 23) == 0) {
		test_peer_upgrade(peer);
	} else {
		peer->server->n_heads += strncmp(peer->head, "HEAD ", 5) == 0;
		test_peer_write(peer, ok, sizeof(ok) - 1);
	}
}

static inline void test_peer_record(struct test_peer *peer)
{
	static uint8_t plain[TEST_RECORD_BYTES_MAX];
	int n = test_open(&peer->responder, peer->frame, peer->frame_len, plain);

	peer->frame_len = 0;
	assert_true(n >= 0);
	if (nghttp2_session_mem_recv(peer->h2.session, plain, (size_t)n) != n)
		test_peer_close(peer);
}

static inline void test_peer_input(struct test_peer *peer, const uint8_t *data, size_t len)
{
	for (; len > 0 && !peer->is_channel; data++, len--) {
		assert_true(peer->head_len + 1 < sizeof(peer->head));
		peer->head[peer->head_len++] = (char)*data;
		peer->head[peer->head_len] = '\0';
		if (strstr(peer->head, "\r\n\r\n")) {
			test_peer_head(peer);
			peer->head_len = 0;
		}
	}
	for (; len > 0 && !peer->is_gone; data++, len--) {
		assert_true(peer->frame_len < sizeof(peer->frame));
		peer->frame[peer->frame_len++] = *data;
		if (peer->frame_len >= 3 && peer->frame_len == 3u + base_load_be16(peer->frame + 1))
			test_peer_record(peer);
	}
	if (peer->is_channel)
		test_peer_flush(peer);
}

static inline void test_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	static char buf[65536];

	*ret_buf = uv_buf_init(buf, sizeof(buf));
}

static inline void test_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct test_peer *peer = (struct test_peer *)stream;

	if (n < 0)
		test_peer_close(peer);
	else if (peer->server->fault != TEST_FAULT_SILENT)
		test_peer_input(peer, (const uint8_t *)buf->base, (size_t)n);
}

static inline void test_accept(uv_stream_t *listener, int status)
{
	struct test_server *server = listener->data;
	struct test_peer *peer = calloc(1, sizeof(*peer));
	size_t i = 0;

	assert_non_null(peer);
	while (i < TEST_SERVER_PEERS && server->peers[i])
		i++;
	assert_true(i < TEST_SERVER_PEERS);
	server->peers[i] = peer;
	peer->server = server;
	uv_tcp_init(server->loop, &peer->tcp);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
	uv_read_start((uv_stream_t *)&peer->tcp, test_alloc, test_read);
}

static inline void test_server_start(
	struct test_server *server, uv_loop_t *loop, test_h2_handler handler, void *user)
{
	struct sockaddr_in addr;
	int len = sizeof(addr);

	memset(server, 0, sizeof(*server));
	server->loop = loop;
	server->handler = handler;
	server->user = user;
	cr_x25519_generate(&server->private_key);
	cr_x25519_public(&server->public_key, &server->private_key);
	server->shown_key = server->public_key;
	uv_tcp_init(loop, &server->listener);
	server->listener.data = server;
	uv_ip4_addr("127.0.0.1", 0, &addr);
	assert_int_equal(uv_tcp_bind(&server->listener, (struct sockaddr *)&addr, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&server->listener, 16, test_accept), 0);
	uv_tcp_getsockname(&server->listener, (struct sockaddr *)&addr, &len);
	server->port = base_load_be16(&addr.sin_port);
}

/** Cut all connections; the listener stays. */
static inline void test_server_cut(struct test_server *server)
{
	for (size_t i = 0; i < TEST_SERVER_PEERS; i++)
		if (server->peers[i])
			test_peer_close(server->peers[i]);
}

static inline void test_server_stop(struct test_server *server)
{
	test_server_cut(server);
	uv_close((uv_handle_t *)&server->listener, NULL);
}

/** The connection whose HTTP/2 this is. */
static inline struct test_peer *test_peer_of(struct test_server *server, const struct test_h2 *h2)
{
	for (size_t i = 0; i < TEST_SERVER_PEERS; i++)
		if (server->peers[i] && &server->peers[i]->h2 == h2)
			return server->peers[i];
	return NULL;
}

#endif
