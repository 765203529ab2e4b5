/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A relay for the suites, on the loop of the clients that it serves, on 127.0.0.1, plain HTTP: upgrade, login, packets from client to
 * client, pings. It can be told to misbehave. Written from the description of the protocol, not from coord_derp_frame.c.
 */
#ifndef COORD_TEST_RELAY_H
#define COORD_TEST_RELAY_H

#include <uv.h>

#include <sodium.h>

#include "coord_test.h"

#define TEST_RELAY_CLIENTS 16

enum test_relay_fault {
	TEST_RELAY_FINE,
	TEST_RELAY_SILENT,    /* accepts, and that is all */
	TEST_RELAY_REFUSES,   /* 403 to the upgrade */
	TEST_RELAY_NO_LOGIN,  /* closes after ClientInfo */
	TEST_RELAY_WRONG_KEY, /* a ServerInfo sealed by another */
	TEST_RELAY_HUGE,      /* a frame beyond all bounds after the login */
	TEST_RELAY_NO_PONG,
	TEST_RELAY_NO_READ, /* after the login */
};

struct test_relay;

struct test_relay_client {
	uv_tcp_t tcp; /* first: freed by its handle */
	struct test_relay *relay;
	uint8_t in[1 << 18];
	size_t in_len;
	bool is_derp, is_in, is_home, is_gone;
	struct cr_key key;
};

struct test_relay {
	uv_loop_t *loop;
	uv_tcp_t listener;
	bool is_listening;
	uint16_t port;
	struct cr_key private_key, public_key;
	struct test_relay_client *clients[TEST_RELAY_CLIENTS];
	enum test_relay_fault fault;
	const char *info; /* JSON of ServerInfo */
	unsigned n_accepted, n_logins, n_packets, n_pings, n_pongs, n_reads;
	uint8_t last[70000]; /* packet that came */
	size_t last_len;
	uint64_t sum; /* of the first bytes of packets */
};

static inline void test_relay_closed(uv_handle_t *handle)
{
	free(handle);
}

static inline void test_relay_close(struct test_relay_client *client)
{
	if (client->is_gone)
		return;
	client->is_gone = true;
	for (size_t i = 0; i < TEST_RELAY_CLIENTS; i++)
		if (client->relay->clients[i] == client)
			client->relay->clients[i] = NULL;
	uv_close((uv_handle_t *)&client->tcp, test_relay_closed);
}

static inline void test_relay_written(uv_write_t *request, int rc)
{
	free(request);
}

static inline void test_relay_write(struct test_relay_client *client, const void *data, size_t len)
{
	uv_write_t *request = malloc(sizeof(*request) + len);
	uv_buf_t buf = uv_buf_init((char *)(request + 1), (unsigned)len);

	assert_non_null(request);
	memcpy(request + 1, data, len);
	assert_int_equal(
		uv_write(request, (uv_stream_t *)&client->tcp, &buf, 1, test_relay_written), 0);
}

static inline void test_relay_frame(
	struct test_relay_client *client, uint8_t type, const void *payload, size_t len)
{
	uint8_t *frame = malloc(5 + len);

	assert_non_null(frame);
	frame[0] = type;
	base_store_be32(frame + 1, (uint32_t)len);
	memcpy(frame + 5, payload, len);
	test_relay_write(client, frame, 5 + len);
	free(frame);
}

static inline struct test_relay_client *test_relay_find(
	struct test_relay *relay, const struct cr_key *key)
{
	for (size_t i = 0; i < TEST_RELAY_CLIENTS; i++)
		if (relay->clients[i] && relay->clients[i]->is_in &&
			memcmp(&relay->clients[i]->key, key, sizeof(*key)) == 0)
			return relay->clients[i];
	return NULL;
}

static inline void test_relay_login(
	struct test_relay_client *client, const uint8_t *payload, size_t len)
{
	struct test_relay *relay = client->relay;
	uint8_t text[256] = {0}, info[512];
	struct cr_key other;

	assert_in_range(len, 72, 300);
	memcpy(client->key.bytes, payload, 32);
	assert_int_equal(crypto_box_open_easy(text, payload + 56, len - 56, payload + 32,
				 client->key.bytes, relay->private_key.bytes),
		0);
	assert_string_equal((char *)text, "{\"version\":2,\"CanAckPings\":true}");
	if (relay->fault == TEST_RELAY_NO_LOGIN) {
		test_relay_close(client);
		return;
	}
	cr_x25519_generate(&other);
	randombytes_buf(info, 24);
	assert_int_equal(crypto_box_easy(info + 24, (const uint8_t *)relay->info,
				 strlen(relay->info), info, client->key.bytes,
				 relay->fault == TEST_RELAY_WRONG_KEY ? other.bytes
								      : relay->private_key.bytes),
		0);
	test_relay_frame(client, 0x03, info, 24 + 16 + strlen(relay->info));
	client->is_in = true;
	relay->n_logins++;
	if (relay->fault == TEST_RELAY_HUGE)
		test_relay_write(client, "\x05\x7f\xff\xff\xff", 5);
	if (relay->fault == TEST_RELAY_NO_READ)
		uv_read_stop((uv_stream_t *)&client->tcp);
}

static inline void test_relay_forward(
	struct test_relay_client *client, const uint8_t *payload, size_t len)
{
	struct test_relay *relay = client->relay;
	struct test_relay_client *to;
	uint8_t gone[33] = {0}, *packet;
	struct cr_key key;

	assert_true(len > 32);
	relay->n_packets++;
	relay->last_len = len - 32;
	relay->sum += payload[32];
	memcpy(relay->last, payload + 32, len - 32);
	memcpy(key.bytes, payload, 32);
	to = test_relay_find(relay, &key);
	if (!to) {
		memcpy(gone, payload, 32);
		gone[32] = 1;
		test_relay_frame(client, 0x08, gone, sizeof(gone));
		return;
	}
	packet = malloc(len);
	memcpy(packet, client->key.bytes, 32);
	memcpy(packet + 32, payload + 32, len - 32);
	test_relay_frame(to, 0x05, packet, len);
	free(packet);
}

static inline void test_relay_take(
	struct test_relay_client *client, uint8_t type, const uint8_t *payload, size_t len)
{
	if (type == 0x02) {
		test_relay_login(client, payload, len);
	} else if (type == 0x04) {
		test_relay_forward(client, payload, len);
	} else if (type == 0x07) {
		assert_int_equal(len, 1);
		client->is_home = payload[0];
	} else if (type == 0x12) {
		client->relay->n_pings++;
		if (client->relay->fault != TEST_RELAY_NO_PONG)
			test_relay_frame(client, 0x13, payload, 8);
	} else {
		assert_int_equal(type, 0x13);
		client->relay->n_pongs++;
	}
}

static inline void test_relay_upgrade(struct test_relay_client *client)
{
	static const char no[] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnone";
	uint8_t hello[200];
	static const char yes[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n"
				  "\x01\x00\x00\x00\x28\x44\x45\x52\x50\xf0\x9f\x94\x91";
	size_t len = sizeof(yes) - 1;

	assert_int_equal(strncmp((char *)client->in, "GET /derp HTTP/1.1\r\n", 20), 0);
	assert_non_null(strstr((char *)client->in, "\r\nConnection: Upgrade\r\n"));
	assert_non_null(strstr((char *)client->in, "\r\nUpgrade: DERP\r\n"));
	client->is_derp = true;
	client->in_len = 0;
	if (client->relay->fault == TEST_RELAY_REFUSES) {
		test_relay_write(client, no, sizeof(no) - 1);
		return;
	}
	/* The first frame right behind the answer. */
	memcpy(hello, yes, len);
	memcpy(hello + len, client->relay->public_key.bytes, 32);
	test_relay_write(client, hello, len + 32);
}

static inline void test_relay_input(struct test_relay_client *client)
{
	size_t at = 0;

	if (!client->is_derp) {
		client->in[client->in_len] = 0;
		if (strstr((char *)client->in, "\r\n\r\n"))
			test_relay_upgrade(client);
		return;
	}
	while (!client->is_gone && client->in_len - at >= 5) {
		size_t len = base_load_be32(client->in + at + 1);

		if (client->in_len - at < 5 + len)
			break;
		test_relay_take(client, client->in[at], client->in + at + 5, len);
		at += 5 + len;
	}
	memmove(client->in, client->in + at, client->in_len - at);
	client->in_len -= at;
}

static inline void test_relay_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	struct test_relay_client *client = (struct test_relay_client *)handle;

	*ret_buf = uv_buf_init((char *)client->in + client->in_len,
		(unsigned)(sizeof(client->in) - 1 - client->in_len));
}

static inline void test_relay_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct test_relay_client *client = (struct test_relay_client *)stream;

	if (n < 0) {
		test_relay_close(client);
		return;
	}
	if (client->relay->fault == TEST_RELAY_SILENT)
		return;
	client->relay->n_reads++;
	client->in_len += (size_t)n;
	test_relay_input(client);
}

static inline void test_relay_accept(uv_stream_t *listener, int status)
{
	struct test_relay *relay = listener->data;
	struct test_relay_client *client = calloc(1, sizeof(*client));
	size_t i = 0;

	assert_non_null(client);
	while (i < TEST_RELAY_CLIENTS && relay->clients[i])
		i++;
	assert_true(i < TEST_RELAY_CLIENTS);
	relay->clients[i] = client;
	relay->n_accepted++;
	client->relay = relay;
	uv_tcp_init(relay->loop, &client->tcp);
	assert_int_equal(uv_accept(listener, (uv_stream_t *)&client->tcp), 0);
	uv_read_start((uv_stream_t *)&client->tcp, test_relay_alloc, test_relay_read);
}

/** @port: 0 at first; then the same again. */
static inline void test_relay_start(struct test_relay *relay, uv_loop_t *loop)
{
	struct sockaddr_in addr;
	int len = sizeof(addr);

	if (!relay->info) {
		relay->loop = loop;
		relay->info = "{\"version\":2}";
		cr_x25519_generate(&relay->private_key);
		cr_x25519_public(&relay->public_key, &relay->private_key);
	}
	uv_tcp_init(loop, &relay->listener);
	relay->listener.data = relay;
	uv_ip4_addr("127.0.0.1", relay->port, &addr);
	assert_int_equal(uv_tcp_bind(&relay->listener, (struct sockaddr *)&addr, 0), 0);
	assert_int_equal(uv_listen((uv_stream_t *)&relay->listener, 16, test_relay_accept), 0);
	uv_tcp_getsockname(&relay->listener, (struct sockaddr *)&addr, &len);
	relay->port = base_load_be16(&addr.sin_port);
	relay->is_listening = true;
}

static inline void test_relay_stop(struct test_relay *relay)
{
	for (size_t i = 0; i < TEST_RELAY_CLIENTS; i++)
		if (relay->clients[i])
			test_relay_close(relay->clients[i]);
	if (relay->is_listening)
		uv_close((uv_handle_t *)&relay->listener, NULL);
	relay->is_listening = false;
}

#endif
