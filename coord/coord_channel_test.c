/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control channel against the vector of protocols/headscale-control.md, 3.7 (its keys are bytes repeated 32 times), both halves
 * against each other, and what a server may send wrong.
 */
#include "coord_channel.c"

#include "coord_test.h"

#define VERSION 138

static struct cr_key repeated(uint8_t byte)
{
	struct cr_key key;

	memset(key.bytes, byte, sizeof(key.bytes));
	return key;
}

/* What came out of a channel. */
struct heard {
	uint8_t data[16384];
	size_t len;
	unsigned calls;
	int rc; /* what to answer */
};

static int hear(void *ctx, const uint8_t *data, size_t len)
{
	struct heard *into = ctx;

	assert_true(into->len + len <= sizeof(into->data));
	memcpy(into->data + into->len, data, len);
	into->len += len;
	into->calls++;
	return into->rc;
}

/* Too large for a test's stack; fresh for each test. */
static struct coord_channel channel, client;
static struct heard heard;
static uint8_t record[COORD_CHANNEL_RECORD_BYTES_MAX], plain[COORD_CHANNEL_PLAIN_BYTES_MAX];

static int set_up(void **state)
{
	memset(&heard, 0, sizeof(heard));
	return 0;
}

/* The client of the vector, its initiation sent. */
static void start_vector(struct coord_channel *fresh, uint8_t initiation[101])
{
	struct cr_key server = repeated(0x33), server_public;

	memset(fresh, 0, sizeof(*fresh));
	fresh->machine_private = repeated(0x11);
	fresh->ephemeral_private = repeated(0x22);
	cr_x25519_public(&server_public, &server);
	assert_int_equal(start(fresh, &server_public, VERSION, initiation), 0);
}

static int feed_hex(struct coord_channel *to, const char *hex)
{
	struct test_bytes bytes = test_hex(hex);
	struct base_error line;

	return coord_channel_input(to, bytes.data, bytes.len, hear, &heard, &line);
}

static const char response_hex[] = "020030ff2ee45601ec1b67310c7790404585ae697331eee1c1f8cf2419731c1"
				   "fff3e6b9c7b25cf491ffd889d58278f6011fb5d";

static void test_vector_hashes(void **state)
{
	struct cr_key server = repeated(0x33), server_public;
	struct cr_noise noise;

	cr_x25519_public(&server_public, &server);
	test_assert_hex(server_public.bytes, 32,
		"7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14");
	cr_noise_init(&noise, NOISE_NAME, "Tailscale Control Protocol v138", 31);
	test_assert_hex(noise.chaining_key, 32,
		"bbea022b948cf3bc5857d70804229179e1116bc40cb8cc074835349c464bca36");
	test_assert_hex(
		noise.hash, 32, "b9a710a0b0003fd5a729e1eda13d8b509234488f6630468669b4f0375bf24576");
}

static void test_vector_initiation(void **state)
{
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];

	start_vector(&channel, initiation);
	test_assert_hex(initiation, sizeof(initiation),
		"008a0100600faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f2061d29492"
		"13e755"
		"bc180b5d5dbbd8c50a2a1beb69f8940d24cab4606a34cd5d41c95b4df28b167f81da3e32e06da4539b"
		"ec5a66"
		"aaaeffd3e95083c378dd2d7f90");
	coord_channel_fini(&channel);
}

static void test_vector_transport(void **state)
{
	static const uint8_t zeros[9];
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	size_t len;

	start_vector(&channel, initiation);
	assert_int_equal(feed_hex(&channel, response_hex), 0);
	assert_int_equal(channel.phase, COORD_CHANNEL_OPEN);
	test_assert_hex(channel.send_key.bytes, 32,
		"d9811dd6a320dc8484bb37ea989640c99f99a8582f50b829e347bd75da510717");
	test_assert_hex(channel.receive_key.bytes, 32,
		"8561e3fd4551ed82ee22220925e41e923d64b1c04b856f8ec1eaa544a511a427");
	/* What made the keys is gone. */
	assert_true(cr_key_is_zero(&channel.ephemeral_private));
	assert_true(cr_key_is_zero(&channel.machine_private));

	len = coord_channel_seal(&channel, record, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	test_assert_hex(record, len,
		"0400280680e2431415e6cb8713377a233d6e4ef69c7f9514028e920e7e2ee664b81d8b0c9cd3a77fe7"
		"9020");
	/* The second one tells big-endian counters from little-endian ones. */
	len = coord_channel_seal(&channel, record, zeros, sizeof(zeros));
	test_assert_hex(record, len, "0400196e4116f3f40d3c8460f3e6e9648226e3ab24c7ec219ead466e");

	assert_int_equal(feed_hex(&channel, "04001506f1bcb53469718bba16e3d284695183692f9d231c"), 0);
	test_assert_hex(heard.data, heard.len, "ffffff5453");
	coord_channel_fini(&channel);
}

/* Whole messages, cut into single bytes. */
static void test_cut_anywhere(void **state)
{
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	struct test_bytes response = test_hex(response_hex),
			  first = test_hex("04001506f1bcb53469718bba16e3d284695183692f9d231c");

	start_vector(&channel, initiation);
	for (size_t i = 0; i < response.len; i++)
		assert_int_equal(
			coord_channel_input(&channel, response.data + i, 1, hear, &heard, NULL), 0);
	for (size_t i = 0; i < first.len; i++)
		assert_int_equal(
			coord_channel_input(&channel, first.data + i, 1, hear, &heard, NULL), 0);
	test_assert_hex(heard.data, heard.len, "ffffff5453");
	coord_channel_fini(&channel);
}

/* A client and a server of ours, connected. */
static void connect_pair(struct test_responder *server)
{
	struct cr_key machine, server_private, server_public;
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	uint8_t response[COORD_CHANNEL_RESPONSE_BYTES];

	cr_x25519_generate(&machine);
	cr_x25519_generate(&server_private);
	cr_x25519_public(&server_public, &server_private);
	assert_int_equal(
		coord_channel_init(&client, &machine, &server_public, VERSION, initiation), 0);
	assert_true(test_respond(server, &server_private, VERSION, initiation, response));
	assert_int_equal(
		coord_channel_input(&client, response, sizeof(response), hear, &heard, NULL), 0);
	assert_int_equal(heard.calls, 0);
}

static void test_both_ways(void **state)
{
	struct test_responder server;
	size_t len;

	connect_pair(&server);
	/* Past the counter's first byte, and the longest one. */
	for (unsigned i = 0; i < 600; i++) {
		test_fill(plain, sizeof(plain), i);
		len = coord_channel_seal(&client, record, plain, i % 40);
		assert_int_equal(test_open(&server, record, len, plain), i % 40);
		len = test_seal(&server, record, plain, i % 40);
		heard.len = 0;
		assert_int_equal(coord_channel_input(&client, record, len, hear, &heard, NULL), 0);
		assert_int_equal(heard.len, i % 40);
		assert_memory_equal(heard.data, plain, i % 40);
	}
	assert_int_equal(coord_channel_seal(&client, record, plain, sizeof(plain)), sizeof(record));
	assert_int_equal(test_open(&server, record, sizeof(record), plain), sizeof(plain));
	assert_int_equal(coord_channel_seal(&client, record, plain, sizeof(plain) + 1), 0);
	coord_channel_fini(&client);
}

static void test_empty_record_says_nothing(void **state)
{
	struct test_responder server;

	connect_pair(&server);
	assert_int_equal(coord_channel_input(&client, record, test_seal(&server, record, "", 0),
				 hear, &heard, NULL),
		0);
	assert_int_equal(heard.calls, 0);
	coord_channel_fini(&client);
}

static void test_altered_record_ends_it(void **state)
{
	struct test_responder server;
	size_t len;

	connect_pair(&server);
	len = test_seal(&server, record, "hello", 5);
	record[len - 1] ^= 1;
	assert_int_equal(coord_channel_input(&client, record, len, hear, &heard, NULL), -EBADMSG);
	assert_int_equal(client.phase, COORD_CHANNEL_BROKEN);
	assert_int_equal(coord_channel_seal(&client, record, "x", 1), 0);
	len = test_seal(&server, record, "hello", 5);
	assert_int_equal(coord_channel_input(&client, record, len, hear, &heard, NULL), -EPROTO);
	assert_int_equal(heard.calls, 0);
	coord_channel_fini(&client);
}

static void test_replayed_record_ends_it(void **state)
{
	struct test_responder server;
	size_t len;

	connect_pair(&server);
	len = test_seal(&server, record, "hello", 5);
	assert_int_equal(coord_channel_input(&client, record, len, hear, &heard, NULL), 0);
	assert_int_equal(coord_channel_input(&client, record, len, hear, &heard, NULL), -EBADMSG);
	assert_int_equal(heard.calls, 1);
	coord_channel_fini(&client);
}

static void test_frames_out_of_turn(void **state)
{
	static const struct {
		const char *hex;
		bool is_open; /* after the handshake */
	} cases[] = {
		{"0100600000", false}, /* an initiation */
		{"0400150000", false}, /* a record before the handshake */
		{"0200310000", false}, /* a response of another length */
		{"02002f0000", false},
		{"0301010000", false}, /* an error text longer than one is read */
		{"0500100000", false}, /* no such type */
		{"020030ff2e", true},  /* a second response */
		{"0300046261", true},  /* an error within the session: anybody's */
		{"040ffe0000", true},  /* a record of more than 4096 bytes with its head */
		{"04000f0000", true},  /* too short for a tag */
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct test_responder server;
		uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];

		if (cases[i].is_open)
			connect_pair(&server);
		else
			start_vector(&client, initiation);
		assert_int_equal(feed_hex(&client, cases[i].hex), -EPROTO);
		assert_int_equal(client.phase, COORD_CHANNEL_BROKEN);
		coord_channel_fini(&client);
	}
}

static void test_error_frame_is_quoted(void **state)
{
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	struct test_bytes frame = test_hex("030007746f6f0a6f6c64");
	struct base_error line;

	start_vector(&client, initiation);
	assert_int_equal(
		coord_channel_input(&client, frame.data, frame.len, hear, NULL, &line), -EPERM);
	assert_non_null(strstr(line.text, "too\\x0aold"));
	coord_channel_fini(&client);
}

static void test_another_server_is_refused(void **state)
{
	struct cr_key machine, known, known_public, other;
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	uint8_t response[COORD_CHANNEL_RESPONSE_BYTES];
	struct test_responder server;

	cr_x25519_generate(&machine);
	cr_x25519_generate(&known);
	cr_x25519_generate(&other);
	cr_x25519_public(&known_public, &known);
	assert_int_equal(
		coord_channel_init(&client, &machine, &known_public, VERSION, initiation), 0);
	/* Who lacks the key cannot even read who we are; an answer made up does not pass. */
	assert_false(test_respond(&server, &other, VERSION, initiation, response));
	memset(response, 7, sizeof(response));
	memcpy(response, "\x02\x00\x30", 3);
	assert_int_equal(
		coord_channel_input(&client, response, sizeof(response), hear, &heard, NULL),
		-EBADMSG);
	coord_channel_fini(&client);
}

/* Both sides hash the version: an answer of a server that heard another one does not pass. */
static void test_version_is_hashed(void **state)
{
	struct cr_key machine, server_private, server_public;
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	uint8_t response[COORD_CHANNEL_RESPONSE_BYTES];
	struct test_responder server;

	cr_x25519_generate(&machine);
	cr_x25519_generate(&server_private);
	cr_x25519_public(&server_public, &server_private);
	assert_int_equal(
		coord_channel_init(&client, &machine, &server_public, VERSION, initiation), 0);
	assert_false(test_respond(&server, &server_private, VERSION + 1, initiation, response));
	coord_channel_fini(&client);
}

static void test_low_order_server_key(void **state)
{
	struct cr_key machine, zero = {{0}};
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];

	cr_x25519_generate(&machine);
	assert_int_equal(
		coord_channel_init(&client, &machine, &zero, VERSION, initiation), -EINVAL);
	assert_true(cr_key_is_zero(&client.machine_private));
}

static void test_owner_may_stop(void **state)
{
	struct test_responder server;
	uint8_t records[128];
	size_t len;

	connect_pair(&server);
	heard.rc = -ECANCELED;
	len = test_seal(&server, records, "one", 3);
	len += test_seal(&server, records + len, "two", 3);
	assert_int_equal(
		coord_channel_input(&client, records, len, hear, &heard, NULL), -ECANCELED);
	assert_int_equal(heard.calls, 1);
	coord_channel_fini(&client);
}

static void test_last_counter_is_not_used(void **state)
{
	struct test_responder server;
	size_t len;

	connect_pair(&server);
	client.send_counter = UINT64_MAX;
	assert_int_equal(coord_channel_seal(&client, record, "x", 1), 0);
	client.receive_counter = server.send_counter = UINT64_MAX;
	len = test_seal(&server, record, "x", 1);
	assert_int_equal(coord_channel_input(&client, record, len, hear, &heard, NULL), -EBADMSG);
	coord_channel_fini(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_vector_hashes, set_up),
		cmocka_unit_test_setup(test_vector_initiation, set_up),
		cmocka_unit_test_setup(test_vector_transport, set_up),
		cmocka_unit_test_setup(test_cut_anywhere, set_up),
		cmocka_unit_test_setup(test_both_ways, set_up),
		cmocka_unit_test_setup(test_empty_record_says_nothing, set_up),
		cmocka_unit_test_setup(test_altered_record_ends_it, set_up),
		cmocka_unit_test_setup(test_replayed_record_ends_it, set_up),
		cmocka_unit_test_setup(test_frames_out_of_turn, set_up),
		cmocka_unit_test_setup(test_error_frame_is_quoted, set_up),
		cmocka_unit_test_setup(test_another_server_is_refused, set_up),
		cmocka_unit_test_setup(test_version_is_hashed, set_up),
		cmocka_unit_test_setup(test_low_order_server_key, set_up),
		cmocka_unit_test_setup(test_owner_may_stop, set_up),
		cmocka_unit_test_setup(test_last_counter_is_not_used, set_up),
	};

	if (cr_init() != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
