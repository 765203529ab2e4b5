/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN's few bytes: the request of protocols/nat-traversal.md, RFC 5769's answers, and what is malformed. */
#include "coord_stun.h"

#include "coord_test.h"

static const uint8_t tx[COORD_STUN_TX_BYTES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void test_request(void **state)
{
	uint8_t out[COORD_STUN_REQUEST_BYTES];

	coord_stun_request(out, tx);
	test_assert_hex(out, sizeof(out),
		"000100142112a442000102030405060708090a0b"
		"802200087461696c6e6f646580280004"
		"8aabad90");
	assert_true(coord_stun_looks(out, sizeof(out)));
	assert_false(coord_stun_looks(out, 19));
	out[0] = 0x40;
	assert_false(coord_stun_looks(out, sizeof(out)));
}

struct answer {
	uint8_t bytes[200];
	size_t len;
};

/* A success response with these attributes, given in hex. */
static struct answer answer_of(const char *attributes)
{
	struct answer answer = {.len = 20 + strlen(attributes) / 2};

	base_store_be16(answer.bytes, 0x0101);
	base_store_be16(answer.bytes + 2, (uint16_t)(answer.len - 20));
	base_store_be32(answer.bytes + 4, 0x2112a442);
	memcpy(answer.bytes + 8, tx, sizeof(tx));
	assert_true(base_hex_decode(answer.bytes + 20, answer.len - 20, attributes));
	return answer;
}

static void assert_mapped(const char *attributes, const char *expected)
{
	struct answer answer = answer_of(attributes);
	char text[BASE_ENDPOINT_TEXT_LEN];
	uint8_t got[COORD_STUN_TX_BYTES];
	struct base_endpoint mapped;

	assert_int_equal(coord_stun_response(got, &mapped, answer.bytes, answer.len), 0);
	assert_memory_equal(got, tx, sizeof(tx));
	assert_string_equal(base_endpoint_print(text, &mapped), expected);
}

static void assert_refused(const char *attributes, int rc)
{
	struct answer answer = answer_of(attributes);
	uint8_t got[COORD_STUN_TX_BYTES];
	struct base_endpoint mapped;

	assert_int_equal(coord_stun_response(got, &mapped, answer.bytes, answer.len), rc);
}

/* RFC 5769, 2.2 and 2.3: the address attributes and transaction of its samples. */
static void test_samples(void **state)
{
	static const uint8_t sample_tx[] = {
		0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae};
	static const char *const attributes[] = {"00200008"
						 "0001a147e112a643",
		"00200014"
		"0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"};
	static const char *const expected[] = {
		"192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(attributes); i++) {
		struct answer answer = answer_of(attributes[i]);
		char text[BASE_ENDPOINT_TEXT_LEN];
		uint8_t got[COORD_STUN_TX_BYTES];
		struct base_endpoint mapped;

		memcpy(answer.bytes + 8, sample_tx, sizeof(sample_tx));
		assert_int_equal(coord_stun_response(got, &mapped, answer.bytes, answer.len), 0);
		assert_memory_equal(got, sample_tx, sizeof(sample_tx));
		assert_string_equal(base_endpoint_print(text, &mapped), expected[i]);
	}
}

static void test_answers(void **state)
{
	/* Others before it, with padding; the old number; the plain one, which the masked one displaces. */
	assert_mapped("80220003616263000020000800011234e112a643", "192.0.2.1:13094");
	assert_mapped("802000080001a147e112a643", "192.0.2.1:32853");
	assert_mapped("000100080001005001020304", "1.2.3.4:80");
	assert_mapped("000100080001005001020304"
		      "002000080001a147e112a643",
		"192.0.2.1:32853");
	/* IPv4 within IPv6, as a dual-stack server sees it. */
	assert_mapped("000100140002005000000000000000000000ffffc0000201", "192.0.2.1:80");
	/* A last attribute without its padding. */
	assert_mapped("000100080001005001020304"
		      "8022000161",
		"1.2.3.4:80");
}

static void test_malformed(void **state)
{
	static const char good[] = "002000080001a147e112a643";
	struct answer answer = answer_of(good);
	uint8_t got[COORD_STUN_TX_BYTES];
	struct base_endpoint mapped;

	for (size_t len = 0; len < answer.len; len++)
		assert_int_equal(coord_stun_response(got, &mapped, answer.bytes, len), -EPROTO);
	answer.bytes[0] = 0; /* a request */
	assert_int_equal(coord_stun_response(got, &mapped, answer.bytes, answer.len), -EPROTO);
	assert_refused("", -ENODATA);
	assert_refused("80220003616263", -ENODATA);
	assert_refused("0020ffff0001a147e112a643", -EPROTO);
	assert_refused("002000040001a147", -ENODATA);         /* no address */
	assert_refused("002000080002a147e112a643", -ENODATA); /* too short for IPv6 */
	assert_refused("002000080003a147e112a643", -ENODATA); /* no such family */
	assert_refused("0020000800012112e112a643", -ENODATA); /* port 0 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
