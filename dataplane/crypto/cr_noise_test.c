/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * X25519 against RFC 7748 and Wycheproof, low-order points; Noise's symmetric state against
 * published whole-handshake vectors and its rules on failure.
 */
#include "cr_noise.c"

#include "cr_test.h"
#include "cr_wycheproof_test.h"

static struct cr_key key_hex(const char *text)
{
	struct test_bytes bytes = test_hex(text);
	struct cr_key key;

	assert_int_equal(bytes.len, CR_KEY_BYTES);
	memcpy(key.bytes, bytes.data, CR_KEY_BYTES);
	return key;
}

static void assert_x25519(const char *scalar, const char *point, const char *expected)
{
	struct cr_key private_key = key_hex(scalar), public_key = key_hex(point), shared;

	assert_true(cr_x25519(&shared, &private_key, &public_key));
	test_assert_hex(shared.bytes, CR_KEY_BYTES, expected);
}

/* RFC 7748, 5.2, the two single vectors. */
static void test_rfc7748_single(void **state)
{
	assert_x25519("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
		"e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
		"c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
	assert_x25519("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
		"e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
		"95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
}

/* RFC 7748, 5.2, iterated: k, u = X25519(k, u), k. */
static void test_rfc7748_iterated(void **state)
{
	struct cr_key k = {{9}}, u = {{9}}, next;

	for (int i = 1; i <= 1000; i++) {
		assert_true(cr_x25519(&next, &k, &u));
		u = k;
		k = next;
		if (i == 1)
			test_assert_hex(k.bytes, CR_KEY_BYTES,
				"422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
	}
	test_assert_hex(k.bytes, CR_KEY_BYTES,
		"684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

/* RFC 7748, 6.1: both sides of Diffie-Hellman. */
static void test_rfc7748_diffie_hellman(void **state)
{
	static const char secret[] =
		"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
	struct cr_key a, b, a_public, b_public, shared;

	a = key_hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
	b = key_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
	cr_x25519_public(&a_public, &a);
	cr_x25519_public(&b_public, &b);
	test_assert_hex(a_public.bytes, CR_KEY_BYTES,
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
	test_assert_hex(b_public.bytes, CR_KEY_BYTES,
		"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
	assert_true(cr_x25519(&shared, &a, &b_public));
	test_assert_hex(shared.bytes, CR_KEY_BYTES, secret);
	assert_true(cr_x25519(&shared, &b, &a_public));
	test_assert_hex(shared.bytes, CR_KEY_BYTES, secret);
}

/*
 * Every encoding of a point of order 1, 2, 4 or 8 on the curve and its twist, canonical or not
 * (RFC 7748, section 7; list of "Curve25519", D. J. Bernstein, "How do I validate public keys?"),
 * with and without the ignored top bit: false, and the output untouched.
 */
static void test_low_order_points(void **state)
{
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct cr_key private_key;

	cr_x25519_generate(&private_key);
	for (size_t i = 0; i < 2 * BASE_ARRAY_LEN(points); i++) {
		struct cr_key point = key_hex(points[i / 2]), shared = {{0x5a}}, before = shared;
		struct cr_noise noise, noise_before;

		point.bytes[31] |= i % 2 ? 0x80 : 0;
		assert_false(cr_x25519(&shared, &private_key, &point));
		assert_memory_equal(&shared, &before, sizeof(shared));
		cr_noise_init(&noise, "low order", NULL, 0);
		noise_before = noise;
		assert_false(cr_noise_mix_dh(&noise, &private_key, &point));
		assert_memory_equal(&noise, &noise_before, sizeof(noise));
	}
}

static void test_generated_keys(void **state)
{
	struct cr_key a, b;

	cr_x25519_generate(&a);
	cr_x25519_generate(&b);
	assert_false(cr_key_equal(&a, &b));
	assert_int_equal(a.bytes[0] & 7, 0);
	assert_int_equal(a.bytes[31] & 0xc0, 0x40);
}

static void test_wycheproof_x25519(void **state)
{
	json_t *document = wycheproof_load("x25519_test.json"), *group, *test;
	size_t i, j;
	int checked = 0, zeros = 0;

	if (!document)
		skip();
	json_array_foreach (json_object_get(document, "testGroups"), i, group) {
		json_array_foreach (json_object_get(group, "tests"), j, test) {
			struct test_bytes shared = wycheproof_bytes(test, "shared");
			const char *scalar = json_string_value(json_object_get(test, "private"));
			const char *point = json_string_value(json_object_get(test, "public"));
			struct cr_key expected, private_key = key_hex(scalar);
			struct cr_key public_key = key_hex(point), got;

			/* "acceptable" leaves room for refusal; ours refuses zeros alone. */
			memcpy(expected.bytes, shared.data, CR_KEY_BYTES);
			if (cr_key_is_zero(&expected)) {
				assert_false(cr_x25519(&got, &private_key, &public_key));
				zeros++;
			} else {
				assert_true(cr_x25519(&got, &private_key, &public_key));
				assert_memory_equal(&got, &expected, sizeof(got));
			}
			checked++;
		}
	}
	json_decref(document);
	print_message("%d vectors of x25519_test.json, %d with a zero secret\n", checked, zeros);
	assert_true(checked >= 500 && zeros > 0);
}

/* --- Noise: whole handshakes of the published vectors --- */

/*
 * From the vectors of the Haskell library "cacophony" (the set that the Noise wiki links to).
 * All of them use the same prologue and key pairs.
 */
struct noise_vector {
	const char *name, *psk, *hash;
	struct {
		const char *payload, *sealed;
	} messages[6];
};

#define VECTOR_PROLOGUE "John Galt"

/* clang-format off */
static const struct noise_vector vector_ik = {
	.name = "Noise_IK_25519_ChaChaPoly_BLAKE2s",
	.psk = NULL,
	.hash = "48f3cb8bc9319da4ba1e9933991b1c4ed4034f1f126a76d3a1fbcfd7f94248d4",
	.messages = {
		{"4c756477696720766f6e204d69736573",
		"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d"
		"06a1b23b71670e32e76c28239a7ca4ac8f784de7e44c1adbfc6e83fef7352a58d9d56157400c0a73"
		"7b1d171ce368229c7b752ac25b8faf4eca690f6d896f543be02c996ab2b86b76"},
		{"4d757272617920526f746862617264",
		"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac965"
		"5ef76833bc7e5561f42e691ac8404efd6fbd6308b6a27c"},
		{"462e20412e20486179656b",
		"2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b"},
		{"4361726c204d656e676572",
		"d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3"},
		{"4a65616e2d426170746973746520536179",
		"a9c068ca5d8babf72560652d8e851adbfac35c8a66e810d560863173e96adf4cfe"},
		{"457567656e2042f6686d20766f6e2042617765726b",
		"2a09d8f459e5927e40fdd2eddc99bdafb04e13a26f145cb5cfe9e6ba34c94331ebc17d5156"},
	},
};

static const struct noise_vector vector_ikpsk2 = {
	.name = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
	.psk = "54686973206973206d7920417573747269616e20706572737065637469766521",
	.hash = "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5",
	.messages = {
		{"4c756477696720766f6e204d69736573",
		"ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8"
		"e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab50009"
		"80c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f"},
		{"4d757272617920526f746862617264",
		"95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b"
		"8f007572dab0322217755c0632f365717edbf34d33e87a"},
		{"462e20412e20486179656b",
		"8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"},
		{"4361726c204d656e676572",
		"07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"},
		{"4a65616e2d426170746973746520536179",
		"6ab1467c0448cc78394494abaaf23afce0e234315d6e2624dcbfa8a21c1c4d073d"},
		{"457567656e2042f6686d20766f6e2042617765726b",
		"dfc346c0d2296ae6cf1acf6f12b8456a1dba228cf8d8b774aacf1c47fc53aa80ebc7a4c292"},
	},
};
/* clang-format on */

/* One side of a handshake. */
struct side {
	struct cr_noise noise;
	struct cr_key own_static, own_ephemeral, remote_static, remote_ephemeral;
	struct cr_key psk;
	bool has_psk;
};

static void side_begin(
	struct side *side, const struct noise_vector *vector, const struct cr_key *responder_static)
{
	cr_noise_init(&side->noise, vector->name, VECTOR_PROLOGUE, strlen(VECTOR_PROLOGUE));
	cr_noise_mix_hash(&side->noise, responder_static->bytes, CR_KEY_BYTES);
	side->has_psk = vector->psk != NULL;
	if (side->has_psk)
		side->psk = key_hex(vector->psk);
}

/* Token e: with a PSK in the pattern it is mixed into the key as well (Noise 9.2). */
static void token_e(struct side *side, const struct cr_key *ephemeral)
{
	cr_noise_mix_hash(&side->noise, ephemeral->bytes, CR_KEY_BYTES);
	if (side->has_psk)
		cr_noise_mix_key(&side->noise, ephemeral->bytes, CR_KEY_BYTES);
}

static void token_dh(
	struct side *side, const struct cr_key *private_key, const struct cr_key *public_key)
{
	assert_true(cr_noise_mix_dh(&side->noise, private_key, public_key));
}

static void token_psk(struct side *side)
{
	if (side->has_psk)
		cr_noise_mix_key_and_hash(&side->noise, side->psk.bytes, CR_KEY_BYTES);
}

/* -> e, es, s, ss */
static void first_message(struct side *initiator, struct side *responder,
	const struct test_bytes *payload, const struct test_bytes *sealed)
{
	uint8_t message[256], opened[256];
	struct cr_key own_public;

	cr_x25519_public(&own_public, &initiator->own_ephemeral);
	memcpy(message, own_public.bytes, CR_KEY_BYTES);
	token_e(initiator, &own_public);
	token_dh(initiator, &initiator->own_ephemeral, &initiator->remote_static);
	cr_x25519_public(&own_public, &initiator->own_static);
	cr_noise_encrypt_and_hash(&initiator->noise, message + 32, own_public.bytes, CR_KEY_BYTES);
	token_dh(initiator, &initiator->own_static, &initiator->remote_static);
	cr_noise_encrypt_and_hash(&initiator->noise, message + 80, payload->data, payload->len);
	assert_int_equal(sealed->len, 80 + payload->len + CR_TAG_BYTES);
	assert_memory_equal(message, sealed->data, sealed->len);

	memcpy(responder->remote_ephemeral.bytes, message, CR_KEY_BYTES);
	token_e(responder, &responder->remote_ephemeral);
	token_dh(responder, &responder->own_static, &responder->remote_ephemeral);
	assert_true(cr_noise_decrypt_and_hash(
		&responder->noise, responder->remote_static.bytes, message + 32, 48));
	assert_true(cr_key_equal(&responder->remote_static, &own_public));
	token_dh(responder, &responder->own_static, &responder->remote_static);
	assert_true(cr_noise_decrypt_and_hash(
		&responder->noise, opened, message + 80, payload->len + CR_TAG_BYTES));
	assert_memory_equal(opened, payload->data, payload->len);
}

/* <- e, ee, se, psk */
static void second_message(struct side *initiator, struct side *responder,
	const struct test_bytes *payload, const struct test_bytes *sealed)
{
	uint8_t message[256];
	struct cr_key own_public;

	cr_x25519_public(&own_public, &responder->own_ephemeral);
	memcpy(message, own_public.bytes, CR_KEY_BYTES);
	token_e(responder, &own_public);
	token_dh(responder, &responder->own_ephemeral, &responder->remote_ephemeral);
	token_dh(responder, &responder->own_ephemeral, &responder->remote_static);
	token_psk(responder);
	cr_noise_encrypt_and_hash(&responder->noise, message + 32, payload->data, payload->len);
	assert_int_equal(sealed->len, 32 + payload->len + CR_TAG_BYTES);
	assert_memory_equal(message, sealed->data, sealed->len);

	memcpy(initiator->remote_ephemeral.bytes, message, CR_KEY_BYTES);
	token_e(initiator, &initiator->remote_ephemeral);
	token_dh(initiator, &initiator->own_ephemeral, &initiator->remote_ephemeral);
	token_dh(initiator, &initiator->own_static, &initiator->remote_ephemeral);
	token_psk(initiator);
	/* In place. */
	assert_true(cr_noise_decrypt_and_hash(
		&initiator->noise, message + 32, message + 32, payload->len + CR_TAG_BYTES));
	assert_memory_equal(message + 32, payload->data, payload->len);
}

/* The four transport messages alternate, initiator first, each direction counting from 0. */
static void transport_messages(const struct noise_vector *vector, const struct cr_key keys[2])
{
	for (unsigned i = 2; i < BASE_ARRAY_LEN(vector->messages); i++) {
		struct test_bytes payload = test_hex(vector->messages[i].payload);
		struct test_bytes sealed = test_hex(vector->messages[i].sealed);
		uint8_t out[256];

		cr_aead_seal(out, &keys[i % 2], i / 2 - 1, payload.data, payload.len, NULL, 0);
		assert_int_equal(sealed.len, payload.len + CR_TAG_BYTES);
		assert_memory_equal(out, sealed.data, sealed.len);
	}
}

static void check_handshake(const struct noise_vector *vector)
{
	struct side initiator = {
		.own_static =
			key_hex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"),
		.own_ephemeral =
			key_hex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"),
		.remote_static =
			key_hex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62"),
	};
	struct side responder = {
		.own_static =
			key_hex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"),
		.own_ephemeral =
			key_hex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"),
	};
	struct cr_noise wiped = {0};
	struct cr_key keys[2], twins[2];

	side_begin(&initiator, vector, &initiator.remote_static);
	side_begin(&responder, vector, &initiator.remote_static);
	for (unsigned i = 0; i < 2; i++) {
		struct test_bytes payload = test_hex(vector->messages[i].payload);
		struct test_bytes sealed = test_hex(vector->messages[i].sealed);

		(i == 0 ? first_message : second_message)(
			&initiator, &responder, &payload, &sealed);
	}
	test_assert_hex(initiator.noise.hash, CR_HASH_BYTES, vector->hash);
	test_assert_hex(responder.noise.hash, CR_HASH_BYTES, vector->hash);
	cr_noise_split(&initiator.noise, &keys[0], &keys[1]);
	cr_noise_split(&responder.noise, &twins[0], &twins[1]);
	assert_memory_equal(keys, twins, sizeof(keys));
	assert_memory_equal(&initiator.noise, &wiped, sizeof(wiped));
	transport_messages(vector, keys);
}

static void test_vector_ik(void **state)
{
	check_handshake(&vector_ik);
}

static void test_vector_ikpsk2(void **state)
{
	check_handshake(&vector_ikpsk2);
}

/* A forged message changes nothing, so the same state still opens the true one. */
static void test_forged_message_changes_nothing(void **state)
{
	struct cr_noise sender, receiver, before;
	uint8_t sealed[20 + CR_TAG_BYTES], out[20 + CR_TAG_BYTES];

	cr_noise_init(&sender, "a protocol name of more than 32 bytes", "p", 1);
	cr_noise_mix_key(&sender, "shared", 6);
	receiver = sender;
	before = sender;
	cr_noise_encrypt_and_hash(&sender, sealed, "twenty bytes of text", 20);
	for (size_t i = 0; i < sizeof(sealed); i++) {
		sealed[i] ^= 1;
		assert_false(cr_noise_decrypt_and_hash(&receiver, out, sealed, sizeof(sealed)));
		assert_memory_equal(&receiver, &before, sizeof(receiver));
		sealed[i] ^= 1;
	}
	for (size_t len = 0; len < sizeof(sealed); len++)
		assert_false(cr_noise_decrypt_and_hash(&receiver, out, sealed, len));
	assert_memory_equal(&receiver, &before, sizeof(receiver));
	assert_true(cr_noise_decrypt_and_hash(&receiver, out, sealed, sizeof(sealed)));
	assert_memory_equal(out, "twenty bytes of text", 20);
	assert_memory_equal(&receiver, &sender, sizeof(receiver));
	assert_int_equal(receiver.nonce, 1);
}

/* Noise 5.2: without a key, text passes through and is hashed; a short name is padded. */
static void test_without_key(void **state)
{
	struct cr_noise sender, receiver;
	uint8_t name[CR_HASH_BYTES] = "Noise_short", out[5], hash[CR_HASH_BYTES];

	cr_noise_init(&sender, "Noise_short", NULL, 0);
	assert_memory_equal(sender.chaining_key, name, sizeof(name));
	cr_hash(hash, &(struct cr_span){name, sizeof(name)}, 1);
	assert_memory_equal(sender.hash, hash, sizeof(hash));
	receiver = sender;
	cr_noise_encrypt_and_hash(&sender, out, "hello", 5);
	assert_memory_equal(out, "hello", 5);
	assert_true(cr_noise_decrypt_and_hash(&receiver, out, out, 5));
	cr_noise_encrypt_and_hash(&sender, out, NULL, 0);
	assert_true(cr_noise_decrypt_and_hash(&receiver, out, NULL, 0));
	assert_memory_equal(sender.hash, receiver.hash, CR_HASH_BYTES);
}

static int setup(void **state)
{
	return cr_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc7748_single),
		cmocka_unit_test(test_rfc7748_iterated),
		cmocka_unit_test(test_rfc7748_diffie_hellman),
		cmocka_unit_test(test_low_order_points),
		cmocka_unit_test(test_generated_keys),
		cmocka_unit_test(test_wycheproof_x25519),
		cmocka_unit_test(test_vector_ik),
		cmocka_unit_test(test_vector_ikpsk2),
		cmocka_unit_test(test_forged_message_changes_nothing),
		cmocka_unit_test(test_without_key),
	};

	return cmocka_run_group_tests_name("cr_noise", tests, setup, NULL);
}
