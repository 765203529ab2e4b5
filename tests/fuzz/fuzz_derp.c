/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The relay protocol's stream: the same frames come out however it is cut, nothing is kept beyond the bounds; and the login's
 * answers, whatever is in their box.
 */
#include "base_bytes.h"
#include "coord_derp_frame.h"

#include <sodium.h>

#include "fuzz.h"

struct story {
	uint64_t hash;
	unsigned n;
	int rc;
};

static void note(struct story *story, const struct coord_derp_frame *frame)
{
	story->n++;
	story->hash = (story->hash ^ frame->type ^ frame->len) * UINT64_C(0x100000001b3);
	for (size_t i = 0; i < frame->len; i++)
		story->hash = (story->hash ^ frame->payload[i]) * UINT64_C(0x100000001b3);
}

static struct story tell(const uint8_t *data, size_t len, size_t step)
{
	struct coord_derp_reader reader = {0};
	struct story story = {0};

	for (size_t at = 0; at < len && story.rc >= 0; at += step) {
		const uint8_t *piece = data + at;
		size_t n = len - at < step ? len - at : step;
		struct coord_derp_frame frame;

		while ((story.rc = coord_derp_reader_next(&reader, &piece, &n, &frame)) > 0) {
			FUZZ_CHECK(frame.len <= COORD_DERP_KEPT_BYTES_MAX);
			note(&story, &frame);
		}
		FUZZ_CHECK(story.rc < 0 || n == 0);
		FUZZ_CHECK(reader.size <= COORD_DERP_HEAD_BYTES + COORD_DERP_KEPT_BYTES_MAX);
	}
	coord_derp_reader_fini(&reader);
	return story;
}

/* Payloads of a login, as they come and, so that what is behind the box is reached, sealed well. */
static void login(const uint8_t *data, size_t len)
{
	static const struct cr_key ours = {{1, 2, 3}}, theirs = {{4, 5, 6}};
	struct coord_derp_frame frame = {COORD_DERP_SERVER_KEY, data, len};
	struct coord_derp_server_info info;
	uint8_t our_public[32], *sealed = malloc(24 + 16 + len);
	struct cr_key server, key;

	FUZZ_CHECK(sealed);
	crypto_scalarmult_base(server.bytes, theirs.bytes);
	crypto_scalarmult_base(our_public, ours.bytes);
	(void)!coord_derp_read_server_key(&frame, &key);
	frame.type = COORD_DERP_SERVER_INFO;
	FUZZ_CHECK(coord_derp_read_server_info(&frame, &ours, &server, &info) != 0);
	memset(sealed, 7, 24);
	FUZZ_CHECK(crypto_box_easy(sealed + 24, data, len, sealed, our_public, theirs.bytes) == 0);
	frame.payload = sealed;
	frame.len = 24 + 16 + len;
	FUZZ_CHECK(coord_derp_read_server_info(&frame, &ours, &server, &info) != -EACCES);
	free(sealed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	bool is_login = fuzz_byte(&input) & 1;
	size_t step = (size_t)fuzz_byte(&input) + 1, len;
	uint8_t *bytes = fuzz_take(&input, input.len, &len);

	if (is_login) {
		login(bytes, len);
	} else {
		struct story whole = tell(bytes, len, len + 1), cut = tell(bytes, len, step);

		FUZZ_CHECK(whole.rc == cut.rc && whole.n == cut.n && whole.hash == cut.hash);
	}
	free(bytes);
	return 0;
}
