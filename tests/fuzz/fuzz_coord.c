/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a coordination server, or who stands in its place, may send before the map (which has a target of its own): by the first byte
 * records of the channel, plaintext of it (early payload, HTTP/2), answers in HTTP/1.1, answers to a registration, the state file's
 * neighbours in form (URLs). Cut into pieces by the input; whole or in pieces must come to the same.
 */
#include "fuzz.h"

#include "base_bytes.h"
#include "cr_aead.h"
#include "cr_blake2s.h"
#include "coord_channel.h"
#include "coord_early.h"
#include "coord_h2.h"
#include "coord_http.h"
#include "coord_register.h"
#include "coord_url.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	FUZZ_CHECK(cr_init() == 0);
	return 0;
}

static size_t passed;

static int count(void *ctx, const uint8_t *data, size_t len)
{
	FUZZ_CHECK(len > 0);
	passed += len;
	return 0;
}

/* A channel that is open, with keys that the input can seal for: pieces of it become good records, others stay what they are. */
static void fuzz_channel(struct fuzz_input *input, bool is_open)
{
	struct coord_channel channel = {
		.phase = is_open ? COORD_CHANNEL_OPEN : COORD_CHANNEL_WAITS};
	const struct cr_key key = {{1}};
	uint64_t counter = 0;
	size_t sealed = 0;
	int rc = 0;

	channel.receive_key = key;
	cr_noise_init(&channel.noise, "Noise_IK_25519_ChaChaPoly_BLAKE2s", "", 0);
	passed = 0;
	while (rc == 0 && input->len > 0) {
		bool is_good = is_open && fuzz_byte(input) & 1;
		size_t len;
		uint8_t *piece = fuzz_take(input, fuzz_byte(input) * 17u, &len), *record;

		if (is_good && len <= COORD_CHANNEL_PLAIN_BYTES_MAX) {
			record = malloc(len + 19);
			FUZZ_CHECK(record);
			record[0] = 4;
			base_store_be16(record + 1, (uint16_t)(len + 16));
			cr_aead_seal(record + 3, &key, __builtin_bswap64(counter++), piece, len,
				NULL, 0);
			sealed += len;
			rc = coord_channel_input(&channel, record, len + 19, count, NULL, NULL);
			free(record);
		} else {
			rc = coord_channel_input(&channel, piece, len, count, NULL, NULL);
		}
		free(piece);
	}
	/* Only what was sealed comes out. */
	FUZZ_CHECK(passed <= sealed);
	FUZZ_CHECK(rc == 0 || channel.phase == COORD_CHANNEL_BROKEN);
	coord_channel_fini(&channel);
}

static void on_status(void *user, int status)
{
	FUZZ_CHECK(status >= 200 && status <= 999);
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
	coord_h2_consumed(*(struct coord_h2 **)user, 1, len);
}

static void on_ended(void *user, int rc)
{
}

static int pass_to_h2(void *ctx, const uint8_t *data, size_t len)
{
	return coord_h2_input(ctx, data, len, NULL);
}

static void fuzz_plain(struct fuzz_input *input)
{
	static const struct coord_h2_answer answer = {on_status, on_data, on_ended};
	struct coord_h2 *h2 = coord_h2_new("h");
	struct coord_early early = {0};
	const uint8_t *out;
	size_t out_len;
	int rc = 0;

	FUZZ_CHECK(h2);
	FUZZ_CHECK(coord_h2_request(h2, "POST", "/machine/map", "{}", 2, &answer, &h2) == 1);
	while (rc == 0 && input->len > 0) {
		size_t len;
		uint8_t *piece = fuzz_take(input, 1 + fuzz_byte(input), &len);

		rc = coord_early_input(&early, piece, len, pass_to_h2, h2, NULL);
		free(piece);
		while (rc == 0 && coord_h2_output(h2, &out, &out_len) == 0 && out_len > 0)
			;
	}
	coord_h2_free(h2);
}

static void fuzz_http(struct fuzz_input *input)
{
	static struct coord_http_answer whole, pieces;
	bool is_head = fuzz_byte(input) & 1;
	ssize_t n, m = 0;
	size_t at = 0, len;
	uint8_t *data = fuzz_take(input, SIZE_MAX, &len);
	struct base_error line = {""};
	struct coord_url url = {.authority = "h"};

	memset(&whole, 0, sizeof(whole));
	memset(&pieces, 0, sizeof(pieces));
	whole.has_no_body = pieces.has_no_body = is_head;
	n = coord_http_input(&whole, data, len, &line);
	while (m >= 0 && at < len && pieces.phase != COORD_HTTP_DONE) {
		m = coord_http_input(&pieces, data + at, 1, NULL);
		at += m > 0 ? (size_t)m : 0;
	}
	FUZZ_CHECK((n < 0) == (m < 0));
	if (n >= 0) {
		FUZZ_CHECK((size_t)n == at && (size_t)n <= len);
		FUZZ_CHECK(whole.phase == pieces.phase && whole.status == pieces.status);
		FUZZ_CHECK(whole.body_len == pieces.body_len);
		FUZZ_CHECK(memcmp(whole.body, pieces.body, whole.body_len) == 0);
		if (coord_http_input_end(&whole, &line) == 0)
			FUZZ_CHECK(coord_http_explain(&whole, &url, &line) < 0);
	}
	free(data);
}

static void fuzz_register(struct fuzz_input *input)
{
	struct coord_register_answer answer;
	int status = fuzz_byte(input) & 3 ? 200 : 500;
	size_t len;
	uint8_t *data = fuzz_take(input, SIZE_MAX, &len);
	char *text = malloc(len + 1); /* with a NUL, as coord_ask.h has it */

	FUZZ_CHECK(text);
	memcpy(text, data, len);
	text[len] = '\0';
	coord_register_read(&answer, status, text, len);
	for (const char *c = answer.words; *c; c++)
		FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
	for (const char *c = answer.login_url; *c; c++)
		FUZZ_CHECK(*c > 0x20 && *c < 0x7f);
	FUZZ_CHECK(answer.verdict != COORD_REGISTER_LOGIN || answer.login_url[0]);
	FUZZ_CHECK(status == 200 || answer.verdict != COORD_REGISTER_ACCEPTED);
	free(text);
	free(data);
}

/* What was understood is written, and understood again, the same. */
static void fuzz_url(struct fuzz_input *input)
{
	struct coord_url url, again;
	char text[2048];
	size_t len;
	uint8_t *data = fuzz_take(input, sizeof(text) - 1, &len);

	memcpy(text, data, len);
	text[len] = '\0';
	free(data);
	if (coord_url_parse(&url, text, NULL) != 0)
		return;
	snprintf(text, sizeof(text), "http%s://%s%s", url.is_tls ? "s" : "", url.authority,
		url.path);
	FUZZ_CHECK(coord_url_parse(&again, text, NULL) == 0);
	FUZZ_CHECK(strcmp(url.host, again.host) == 0 && url.port == again.port);
	FUZZ_CHECK(strcmp(url.path, again.path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	switch (fuzz_byte(&input) % 6) {
	case 0:
		fuzz_channel(&input, false);
		break;
	case 1:
		fuzz_channel(&input, true);
		break;
	case 2:
		fuzz_plain(&input);
		break;
	case 3:
		fuzz_http(&input);
		break;
	case 4:
		fuzz_register(&input);
		break;
	default:
		fuzz_url(&input);
		break;
	}
	return 0;
}
