/* SPDX-License-Identifier: BSD-3-Clause */
/* Disco's messages there and back, the vectors of nat-traversal.md 1.5, and what others may send instead. */
#include "coord_disco.h"

#include "cr_blake2s.h"
#include "cr_noise.h"

#include "base_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

/* nat-traversal.md 1.5: computed with libsodium 1.0.18 from the keys that counting() gives. */
static const char ping_hex[] =
	"5453f09f92ac07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c0001"
	"02030405060708090a0b0c0d0e0f101112131415161751c593f0f2f30ff6dcf80f245df85feb"
	"6e3519c6ef56619352fb831631005cf68145dc89acf55760f3ff69f64d4c9864b13e7758eabc58dcfe481b45"
	"f444";
static const char pong_hex[] =
	"5453f09f92ac79a631eede1bf9c98f12032cdeadd0e7a079398fc786b88cc846ec89af85a51a0001"
	"02030405060708090a0b0c0d0e0f1011121314151617f861b91569b3b64f912f3e5b5d356d37"
	"6d3519c6ef56619352fb83163100f65c2bef7623065ffdcaa6aa085c96e39067";
static const char shared_hex[] = "9e37e3406bf2f4e3027022945e0f1e159739ceae2cca4d45aa3592ea30e07183";

static struct cr_key counting(uint8_t first)
{
	struct cr_key key;

	for (unsigned i = 0; i < CR_KEY_BYTES; i++)
		key.bytes[i] = (uint8_t)(first + i);
	return key;
}

struct fixture {
	struct cr_key a, b, a_public, b_public, shared;
};

static void setup(struct fixture *f)
{
	struct cr_key other;

	assert_int_equal(cr_init(), 0);
	f->a = counting(0x01);
	f->b = counting(0x40);
	cr_x25519_public(&f->a_public, &f->a);
	cr_x25519_public(&f->b_public, &f->b);
	assert_true(coord_disco_shared(&f->shared, &f->a, &f->b_public));
	assert_true(coord_disco_shared(&other, &f->b, &f->a_public));
	assert_true(cr_key_equal(&f->shared, &other));
}

static size_t unhex(uint8_t *out, const char *text)
{
	size_t n = strlen(text) / 2;

	assert_true(base_hex_decode(out, n, text));
	return n;
}

static void test_vectors(void **state)
{
	struct fixture f;
	struct coord_disco_message message;
	struct cr_key sender, expected;
	uint8_t bytes[256];
	char text[BASE_ENDPOINT_TEXT_LEN];
	size_t len;

	setup(&f);
	unhex(expected.bytes, shared_hex);
	assert_true(cr_key_equal(&f.shared, &expected));

	len = unhex(bytes, ping_hex);
	assert_int_equal(len, 124);
	assert_true(coord_disco_looks(bytes, len, &sender));
	assert_true(cr_key_equal(&sender, &f.a_public));
	assert_int_equal(coord_disco_open(&message, bytes, len, &f.shared), 0);
	assert_int_equal(message.type, COORD_DISCO_PING);
	for (unsigned i = 0; i < COORD_DISCO_TX_BYTES; i++)
		assert_int_equal(message.tx[i], i);
	assert_true(message.has_node_key);
	for (unsigned i = 0; i < CR_KEY_BYTES; i++)
		assert_int_equal(message.node_key.bytes[i], 0xaa);

	len = unhex(bytes, pong_hex);
	assert_int_equal(len, 110);
	assert_true(coord_disco_looks(bytes, len, &sender));
	assert_true(cr_key_equal(&sender, &f.b_public));
	assert_int_equal(coord_disco_open(&message, bytes, len, &f.shared), 0);
	assert_int_equal(message.type, COORD_DISCO_PONG);
	assert_string_equal(base_endpoint_print(text, &message.observed), "203.0.113.5:41641");
}

static void test_there_and_back(void **state)
{
	static const char *const texts[] = {"192.0.2.1:1", "[2001:db8::7]:65535", "10.0.0.9:41641"};
	struct coord_disco_message message = {.type = COORD_DISCO_CALL_ME_MAYBE, .n_endpoints = 3},
				   got;
	struct fixture f;
	uint8_t out[512];
	size_t len;

	setup(&f);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(base_endpoint_parse(&message.endpoints[i], texts[i]), 0);
	len = coord_disco_seal(out, sizeof(out), &message, 0, &f.a_public, &f.shared);
	assert_int_equal(len, 80 + 3 * 18);
	assert_int_equal(coord_disco_open(&got, out, len, &f.shared), 0);
	assert_int_equal(got.n_endpoints, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_true(base_endpoint_equal(&got.endpoints[i], &message.endpoints[i]));

	message = (struct coord_disco_message){.type = COORD_DISCO_PING};
	cr_random(message.tx, sizeof(message.tx));
	assert_int_equal(
		coord_disco_seal(out, sizeof(out), &message, 100, &f.a_public, &f.shared), 192);
	assert_int_equal(coord_disco_open(&got, out, 192, &f.shared), 0);
	assert_memory_equal(got.tx, message.tx, sizeof(got.tx));
	/* Room for a key after the transaction is a key, padding though it was. */
	assert_true(got.has_node_key && cr_key_is_zero(&got.node_key));
	assert_int_equal(coord_disco_seal(out, 100, &message, 100, &f.a_public, &f.shared), 0);
}

/* One flipped bit anywhere is a forgery, or not disco at all; and no length is read past. */
static void test_forged_and_short(void **state)
{
	struct fixture f;
	struct coord_disco_message message;
	uint8_t bytes[128];
	struct cr_key sender;
	size_t len;

	setup(&f);
	len = unhex(bytes, ping_hex);
	for (size_t bit = 0; bit < len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (bit < 6 * 8)
			assert_false(coord_disco_looks(bytes, len, &sender));
		else if (bit >= 38 * 8) /* the sender's key is for the caller to know */
			assert_int_equal(
				coord_disco_open(&message, bytes, len, &f.shared), -EBADMSG);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t n = 0; n < len; n++) {
		uint8_t *exact = malloc(n ? n : 1);

		memcpy(exact, bytes, n);
		assert_int_equal(coord_disco_looks(exact, n, &sender), n >= 80);
		assert_int_not_equal(coord_disco_open(&message, exact, n, &f.shared), 0);
		free(exact);
	}
}

/* Sealed rightly, by a peer that speaks badly: each inner message by length and version. */
static void test_malformed(void **state)
{
	static const struct {
		uint8_t type, version;
		size_t len; /* after type and version */
		int rc;
		unsigned n_endpoints;
	} cases[] = {
		{COORD_DISCO_PING, 0, 11, -EPROTO, 0},
		{COORD_DISCO_PING, 0, 12, 0, 0},
		{COORD_DISCO_PING, 7, 43, 0, 0},
		{COORD_DISCO_PONG, 0, 29, -EPROTO, 0},
		{COORD_DISCO_PONG, 0, 300, 0, 0},
		{COORD_DISCO_CALL_ME_MAYBE, 0, 0, 0, 0},
		{COORD_DISCO_CALL_ME_MAYBE, 0, 17, 0, 0},
		{COORD_DISCO_CALL_ME_MAYBE, 0, 36, 0, 2},
		{COORD_DISCO_CALL_ME_MAYBE, 1, 36, 0, 0},
		{COORD_DISCO_CALL_ME_MAYBE, 0, 66 * 18, 0, COORD_DISCO_ENDPOINTS_MAX},
		{0, 0, 0, 0, 0},
		{4, 0, 72, 0, 0},
		{255, 255, 5, 0, 0},
	};
	struct fixture f;

	setup(&f);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		static uint8_t inner[2 + 66 * 18], out[1400];
		struct coord_disco_message message;
		size_t n = 2 + cases[i].len;

		inner[0] = cases[i].type;
		inner[1] = cases[i].version;
		memcpy(out, "TS\xf0\x9f\x92\xac", 6);
		memcpy(out + 6, f.a_public.bytes, 32);
		memset(out + 38, (int)i, 24);
		crypto_box_easy_afternm(out + 62, inner, n, out + 38, f.shared.bytes);
		assert_int_equal(coord_disco_open(&message, out, 78 + n, &f.shared), cases[i].rc);
		if (cases[i].rc == 0) {
			assert_int_equal(message.type, cases[i].type);
			assert_int_equal(message.n_endpoints, cases[i].n_endpoints);
		}
	}
}

static void test_low_order(void **state)
{
	struct cr_key zero = {{0}}, shared, ours = counting(1);

	assert_int_equal(cr_init(), 0);
	assert_false(coord_disco_shared(&shared, &ours, &zero));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_forged_and_short),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_low_order),
	};

	return cmocka_run_group_tests_name("coord_disco", tests, NULL, NULL);
}
