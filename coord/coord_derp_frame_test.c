/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames of the relay protocol: the login's known answer (protocols/nat-traversal.md 3.2), streams cut at every place, bounds.
 */
#include "coord_derp_frame.c"

#include "coord_test.h"

static void keys(struct cr_key *ret_a, struct cr_key *ret_b, uint8_t ret_nonce[24])
{
	for (unsigned i = 0; i < 32; i++) {
		ret_a->bytes[i] = (uint8_t)(i + 1);
		ret_b->bytes[i] = (uint8_t)(0x40 + i);
	}
	for (unsigned i = 0; i < 24; i++)
		ret_nonce[i] = (uint8_t)i;
}

static void test_client_info(void **state)
{
	uint8_t frame[COORD_DERP_CLIENT_INFO_BYTES], nonce[24];
	struct cr_key a, b, b_public, zero = {0};

	keys(&a, &b, nonce);
	cr_x25519_public(&b_public, &b);
	assert_int_equal(coord_derp_client_info(frame, &a, &b_public, nonce), 0);
	test_assert_hex(frame, sizeof(frame),
		"020000006807a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c00010203"
		"0405"
		"060708090a0b0c0d0e0f1011121314151617c1dfdab00620bbd473ab23bf853b2eb614176fa29f260c"
		"f93a"
		"deb12d1729b53d45ae1548563693ad2a77f928959357b3");
	assert_int_equal(coord_derp_client_info(frame, &a, &zero, nonce), -EINVAL);
}

/* The frame of a server that says @text; returns the verdict of the client. */
static int hear_info(const char *text, bool is_forged, struct coord_derp_server_info *ret_info)
{
	static uint8_t payload[4000];
	uint8_t nonce[24];
	struct cr_key a, b, a_public, b_public;
	size_t len = 24 + 16 + strlen(text);

	keys(&a, &b, nonce);
	cr_x25519_public(&a_public, &a);
	cr_x25519_public(&b_public, &b);
	memcpy(payload, nonce, 24);
	assert_true(len <= sizeof(payload));
	assert_int_equal(crypto_box_easy(payload + 24, (const uint8_t *)text, strlen(text), nonce,
				 a_public.bytes, b.bytes),
		0);
	payload[len - 1] ^= is_forged;
	return coord_derp_read_server_info(
		&(struct coord_derp_frame){COORD_DERP_SERVER_INFO, payload, len}, &a, &b_public,
		ret_info);
}

static void test_server_info(void **state)
{
	struct coord_derp_server_info info = {0};
	static char longest[3000];

	assert_int_equal(hear_info("{\"version\":2}", false, &info), 0);
	assert_int_equal(info.version, 2);
	assert_int_equal(info.bytes_per_s, 0);
	assert_int_equal(hear_info("{\"version\":2,\"TokenBucketBytesPerSecond\":1000,"
				   "\"TokenBucketBytesBurst\":5000,\"new\":[]}",
				 false, &info),
		0);
	assert_int_equal(info.bytes_per_s, 1000);
	assert_int_equal(info.burst_bytes, 5000);
	assert_int_equal(hear_info("{\"TokenBucketBytesPerSecond\":-1}", false, &info), 0);
	assert_int_equal(info.bytes_per_s, 0);
	assert_int_equal(hear_info("{\"version\":2}", true, &info), -EACCES);
	assert_int_equal(hear_info("[]", false, &info), -EPROTO);
	assert_int_equal(hear_info("", false, &info), -EPROTO);
	memset(longest, ' ', sizeof(longest) - 1);
	assert_int_equal(hear_info(longest, false, &info), -EPROTO);
}

static void test_server_key(void **state)
{
	struct test_bytes good = test_hex("44455250f09f9491"
					  "000102030405060708090a0b0c0d0e0f"
					  "101112131415161718191a1b1c1d1e1fffff");
	struct coord_derp_frame frame = {COORD_DERP_SERVER_KEY, good.data, good.len};
	struct cr_key key;

	assert_int_equal(coord_derp_read_server_key(&frame, &key), 0);
	assert_memory_equal(key.bytes, good.data + 8, 32);
	frame.len = 39;
	assert_int_equal(coord_derp_read_server_key(&frame, &key), -EPROTO);
	frame.len = 40;
	frame.type = COORD_DERP_KEEP_ALIVE;
	assert_int_equal(coord_derp_read_server_key(&frame, &key), -EPROTO);
	frame.type = COORD_DERP_SERVER_KEY;
	good.data[0] ^= 1;
	assert_int_equal(coord_derp_read_server_key(&frame, &key), -EPROTO);
}

/* Frames of @data in pieces of @step bytes, told as "type:len,". */
static int tell(char *ret_text, const uint8_t *data, size_t len, size_t step)
{
	struct coord_derp_reader reader = {0};
	int rc = 0;

	*ret_text = '\0';
	for (size_t at = 0; at < len && rc >= 0; at += step) {
		const uint8_t *piece = data + at;
		size_t n = len - at < step ? len - at : step;
		struct coord_derp_frame frame;

		while ((rc = coord_derp_reader_next(&reader, &piece, &n, &frame)) > 0) {
			ret_text += sprintf(ret_text, "%x:%zu,", frame.type, frame.len);
			for (size_t i = 0; i < frame.len; i++)
				assert_int_equal(frame.payload[i], 0xab);
		}
		assert_true(reader.size <= COORD_DERP_HEAD_BYTES + COORD_DERP_KEPT_BYTES_MAX);
	}
	coord_derp_reader_fini(&reader);
	return rc;
}

static void test_cut_anywhere(void **state)
{
	static const struct {
		uint8_t type;
		size_t len;
	} frames[] = {{0x06, 0}, {0x05, 1500}, {0x77, 40}, {0x12, 8}, {0x05, 32 + 65536},
		{0x05, 32 + 65537}, {0x14, 0}, {0x09, 51}, {0x08, 33}};
	static uint8_t stream[200000];
	char told[256];
	size_t len = 0;

	for (size_t i = 0; i < BASE_ARRAY_LEN(frames); i++) {
		coord_derp_head(stream + len, frames[i].type, frames[i].len);
		memset(stream + len + 5, 0xab, frames[i].len);
		len += 5 + frames[i].len;
	}
	for (size_t step = 1; step < len; step += step < 3000 ? 1 : 9973) {
		assert_int_equal(tell(told, stream, len, step), 0);
		assert_string_equal(told, "6:0,5:1500,12:8,5:65568,14:0,8:33,");
	}
}

static void test_bounds(void **state)
{
	char told[64];

	assert_int_equal(tell(told, (const uint8_t *)"\x05\x00\x10\x00\x01", 5, 5), -EMSGSIZE);
	assert_int_equal(tell(told, (const uint8_t *)"\x05\x00\x10\x00\x01", 5, 1), -EMSGSIZE);
	assert_int_equal(tell(told, (const uint8_t *)"\x05\x00\x10\x00\x00", 5, 5), 0);
	assert_int_equal(tell(told, (const uint8_t *)"\x01\x00\x00\x04\x01", 5, 2), -EMSGSIZE);
	assert_int_equal(tell(told, (const uint8_t *)"\x01\x00\x00\x04\x00", 5, 2), 0);
	assert_int_equal(tell(told, (const uint8_t *)"\xff\xff\xff\xff\xff", 5, 5), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_info),
		cmocka_unit_test(test_server_info),
		cmocka_unit_test(test_server_key),
		cmocka_unit_test(test_cut_anywhere),
		cmocka_unit_test(test_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
