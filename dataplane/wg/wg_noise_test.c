/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handshake's algebra: a whole transcript with fixed keys against one that another
 * implementation computed (tests/vectors/wg_transcript.py), then everything that must be refused.
 */
#include "cr_noise.h"

/* Ephemeral keys in order, instead of random ones. */
static void fixed_generate(struct cr_key *ret_private);

#define cr_x25519_generate fixed_generate
#include "wg_noise.c"
#undef cr_x25519_generate

#include "wg_test.h"

static const char kat_initiation[] =
	"0100000044332211392d174a38b3b1beafaf1fe824870841c5fa531bc6eafdb6"
	"402c124664488c1c0c866baac29f4bf4df0c9d4462d272eeb09d6a1212e24785"
	"1f727b562292c28be0c55562545967524af7c3bc7aafee5c227b76cf3271e894"
	"b24470a17274a9ceac2f843a113fd12c06665eff4f33e6d3116b1bf8b81b85fb"
	"dbef832000000000000000000000000000000000";
static const char kat_response[] =
	"02000000887766554433221123b7bb8c91ae008711fb12846780bcdf1e065f82"
	"1bdfec49f57e7c7dcd4c4823291a35d9b88f08009b5030a24178fe46ebed5269"
	"bb1ea702af23f322fa680ebf00000000000000000000000000000000";
static const char kat_key_i2r[] =
	"45eb39bca38dc232fbca95a631ce0dbdfbd9eb529199a7ff546747d42935c4b7";
static const char kat_key_r2i[] =
	"36161ffea40e74c7db414206ae6e6a48e6f0bc5a634fd8186b757281ff720883";

#define INITIATOR_INDEX 0x11223344
#define RESPONDER_INDEX 0x55667788

/* Where the paper's 5.4.2 and 5.4.3 authenticate: behind type and indices, before the MACs. */
#define INITIATION_SEALED_FROM offsetof(struct wg_initiation, ephemeral)
#define INITIATION_SEALED_TO offsetof(struct wg_initiation, mac1)
#define RESPONSE_SEALED_FROM offsetof(struct wg_response, ephemeral)
#define RESPONSE_SEALED_TO offsetof(struct wg_response, mac1)

static struct cr_key next_ephemeral;

static struct cr_key counting_key(uint8_t from)
{
	struct cr_key key;

	for (unsigned i = 0; i < CR_KEY_BYTES; i++)
		key.bytes[i] = (uint8_t)(from + i);
	return key;
}

static void fixed_generate(struct cr_key *ret_private)
{
	*ret_private = next_ephemeral;
}

struct side {
	struct wg_noise_identity identity;
	struct wg_noise_remote remote;
};

struct fixture {
	struct side initiator, responder;
	struct wg_noise_handshake handshake;
	struct wg_initiation initiation;
	struct wg_noise_request request;
	struct wg_response response;
	struct wg_noise_keys responder_keys;
	uint8_t timestamp[WG_TIMESTAMP_BYTES];
};

static void side_init(struct side *side, uint8_t own, uint8_t other)
{
	struct cr_key own_private = counting_key(own), other_private = counting_key(other),
		      other_public;

	wg_noise_identity_init(&side->identity, &own_private);
	cr_x25519_public(&other_public, &other_private);
	assert_true(wg_noise_remote_init(&side->remote, &other_public));
	wg_noise_remote_complete(&side->remote, &side->identity);
	side->remote.preshared_key = counting_key(0x90);
}

/* Up to and including the response, which has not been accepted yet. */
static struct fixture *fixture(void **state)
{
	struct fixture *f = *state;

	memset(f, 0, sizeof(*f));
	side_init(&f->initiator, 0x10, 0x30);
	side_init(&f->responder, 0x30, 0x10);
	wg_noise_timestamp(f->timestamp, UINT64_C(1750000000) * BASE_NS_PER_S + 0x17ffffff);
	f->handshake.local_index = INITIATOR_INDEX;
	next_ephemeral = counting_key(0x50);
	assert_true(wg_noise_initiation_create(&f->handshake, &f->initiator.identity,
		&f->initiator.remote, f->timestamp, &f->initiation));
	assert_true(wg_noise_initiation_open(&f->request, &f->responder.identity, &f->initiation));
	assert_true(wg_noise_initiation_accept(&f->request, &f->responder.remote, &f->initiation));
	next_ephemeral = counting_key(0x70);
	return f;
}

static void respond(struct fixture *f)
{
	assert_true(wg_noise_response_create(&f->request, &f->responder.remote, &f->initiation,
		RESPONDER_INDEX, &f->response, &f->responder_keys));
}

static int setup(void **state)
{
	*state = malloc(sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void assert_hex(const void *bytes, size_t len, const char *hex)
{
	char text[2 * 148 + 1];

	base_hex_encode(text, bytes, len);
	assert_memory_equal(text, hex, 2 * len);
}

static void test_transcript(void **state)
{
	struct fixture *f = fixture(state);
	struct wg_noise_keys keys;

	assert_hex(&f->initiation, INITIATION_SEALED_TO, kat_initiation);
	assert_memory_equal(&f->request.static_public, &f->initiator.identity.public_key, 32);
	assert_memory_equal(f->request.timestamp, f->timestamp, WG_TIMESTAMP_BYTES);
	respond(f);
	assert_hex(&f->response, RESPONSE_SEALED_TO, kat_response);
	assert_true(wg_noise_response_accept(
		&f->handshake, &f->initiator.identity, &f->initiator.remote, &f->response, &keys));
	assert_hex(keys.send.bytes, 32, kat_key_i2r);
	assert_hex(keys.recv.bytes, 32, kat_key_r2i);
	assert_hex(f->responder_keys.recv.bytes, 32, kat_key_i2r);
	assert_hex(f->responder_keys.send.bytes, 32, kat_key_r2i);
}

/* Every sealed byte counts, in both messages; a forged response leaves the handshake waiting. */
static void test_forged(void **state)
{
	struct fixture *f = fixture(state);
	struct wg_noise_handshake before = f->handshake;
	struct wg_noise_keys keys;

	for (size_t i = INITIATION_SEALED_FROM; i < INITIATION_SEALED_TO; i++) {
		struct wg_initiation forged = f->initiation;
		struct wg_noise_request request;

		((uint8_t *)&forged)[i] ^= 1;
		assert_false(wg_noise_initiation_open(&request, &f->responder.identity, &forged) &&
			wg_noise_initiation_accept(&request, &f->responder.remote, &forged));
	}
	respond(f);
	for (size_t i = RESPONSE_SEALED_FROM; i < RESPONSE_SEALED_TO; i++) {
		struct wg_response forged = f->response;

		((uint8_t *)&forged)[i] ^= 1;
		assert_false(wg_noise_response_accept(&f->handshake, &f->initiator.identity,
			&f->initiator.remote, &forged, &keys));
	}
	assert_memory_equal(&before, &f->handshake, sizeof(before));
	assert_true(wg_noise_response_accept(
		&f->handshake, &f->initiator.identity, &f->initiator.remote, &f->response, &keys));
}

static void test_wrong_keys(void **state)
{
	struct fixture *f = fixture(state);
	struct wg_noise_request request;
	struct wg_noise_keys keys;
	struct side stranger;

	side_init(&stranger, 0x77, 0x30);
	/* Not addressed to the stranger. */
	assert_false(wg_noise_initiation_open(&request, &stranger.identity, &f->initiation));
	/* The peer that we take it for did not send it. */
	assert_true(wg_noise_initiation_open(&request, &f->responder.identity, &f->initiation));
	assert_false(wg_noise_initiation_accept(&request, &stranger.remote, &f->initiation));
	/* Another preshared key. */
	f->responder.remote.preshared_key.bytes[31] ^= 0x80;
	respond(f);
	assert_false(wg_noise_response_accept(
		&f->handshake, &f->initiator.identity, &f->initiator.remote, &f->response, &keys));
}

/* wireguard-practice.md: a shared secret of zeros is an error in both roles. */
static void test_trap_low_order(void **state)
{
	/* Points of order 1, 2, 4 and 8 (RFC 7748, section 6.1 and 7). */
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct fixture *f = fixture(state);
	struct wg_noise_keys keys;

	respond(f);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(points); i++) {
		struct wg_initiation initiation = f->initiation;
		struct wg_response response = f->response;
		struct wg_noise_request request;
		struct wg_noise_remote remote;
		struct cr_key point = {{0}};

		assert_true(base_hex_decode(point.bytes, 32, points[i]));
		memcpy(initiation.ephemeral, point.bytes, 32);
		memcpy(response.ephemeral, point.bytes, 32);
		assert_false(wg_noise_remote_init(&remote, &point));
		assert_false(
			wg_noise_initiation_open(&request, &f->responder.identity, &initiation));
		assert_false(wg_noise_response_accept(&f->handshake, &f->initiator.identity,
			&f->initiator.remote, &response, &keys));
		/* Sealed for such a key nothing leaves us either. */
		remote = f->initiator.remote;
		remote.public_key = point;
		assert_false(wg_noise_initiation_create(
			&f->handshake, &f->initiator.identity, &remote, f->timestamp, &initiation));
		f = fixture(state);
		respond(f);
	}
}

/* Told by comparison what the multiplication says: around the points, with and without the top bit, and at random. */
static void test_low_order_is_what_multiplying_says(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	const struct cr_key private_key = counting_key(0x10);
	struct cr_key point = {{0}}, shared;
	unsigned n_low = 0;

	for (unsigned i = 0; i < BASE_ARRAY_LEN(points); i++) {
		assert_true(base_hex_decode(point.bytes, 32, points[i]));
		for (unsigned round = 0; round < 4 * 20; round++) {
			struct cr_key near = point;

			near.bytes[0] = (uint8_t)(near.bytes[0] + round / 4);
			near.bytes[31] ^= round & 1 ? 0x80 : 0;
			near.bytes[17] ^= round & 2 ? 0x10 : 0;
			assert_int_equal(cr_x25519_is_low_order(&near),
				!cr_x25519(&shared, &private_key, &near));
			n_low += cr_x25519_is_low_order(&near);
		}
	}
	assert_int_equal(n_low, 2 * 7);
	for (unsigned i = 0; i < 200; i++) {
		cr_random(&point, sizeof(point));
		assert_false(cr_x25519_is_low_order(&point));
	}
}

static void test_timestamps(void **state)
{
	uint8_t a[WG_TIMESTAMP_BYTES], b[WG_TIMESTAMP_BYTES];
	uint64_t at = UINT64_C(1750000000) * BASE_NS_PER_S;

	wg_noise_timestamp(a, at);
	assert_hex(a, sizeof(a), "40000000684ee18a00000000");
	/* Rising with time, in steps shorter than the gap that a responder asks for. */
	for (unsigned i = 0; i < 200; i++) {
		wg_noise_timestamp(a, at);
		at += WG_INITIATION_GAP_NS;
		wg_noise_timestamp(b, at);
		assert_true(memcmp(a, b, sizeof(a)) < 0);
		assert_int_equal(base_load_be32(b + 8) % WG_TIMESTAMP_STEP_NS, 0);
		assert_true(base_load_be32(b + 8) < BASE_NS_PER_S);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_transcript, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trap_low_order, setup, teardown),
		cmocka_unit_test(test_low_order_is_what_multiplying_says),
		cmocka_unit_test(test_timestamps),
	};

	if (cr_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("wg_noise", tests, NULL, NULL);
}
