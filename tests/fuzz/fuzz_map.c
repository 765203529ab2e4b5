/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map stream: bytes in pieces of any size become frames, plain or zstd; each is parsed. Pieces make no difference, and what
 * was parsed keeps its limits.
 */
#include "coord_map.h"

#include "fuzz.h"

#define BYTES_MAX 8192
#define DECODED_MAX (256u << 10)

struct tally {
	unsigned n_frames, n_updates;
	size_t n_peers;
	int rc;
};

static void update_check(const struct coord_map_update *update)
{
	FUZZ_CHECK(update->decoded_bytes <= DECODED_MAX);
	FUZZ_CHECK(!update->is_keep_alive || (!update->self && update->n_peers == 0));
	for (size_t i = 0; i < update->n_peers; i++) {
		const struct coord_node *node = &update->peers[i].node;

		FUZZ_CHECK(node->id > 0 && node->name && node->hostname && node->os);
		FUZZ_CHECK(i == 0 || update->peers[i - 1].node.id < node->id);
		FUZZ_CHECK(strlen(node->name) <= COORD_NAME_BYTES_MAX);
	}
	for (size_t i = 0; i < update->n_chunks; i++)
		for (size_t j = 0; j < update->chunks[i].n_rules; j++) {
			const struct coord_raw_rule *rule = &update->chunks[i].rules[j];

			FUZZ_CHECK(rule->rule.n_srcs + rule->n_caps > 0);
			FUZZ_CHECK(rule->rule.n_dsts > 0);
		}
}

static void frames_read(
	struct coord_map_stream *stream, struct coord_map_parser *parser, struct tally *tally)
{
	struct coord_map_update *update;
	struct coord_map_frame *frame;

	while ((frame = coord_map_stream_next(stream))) {
		FUZZ_CHECK(frame->len > 0 && frame->len <= BYTES_MAX);
		tally->n_frames++;
		update = coord_map_parse(parser, frame, NULL);
		FUZZ_CHECK(update || errno == EBADMSG || errno == EMSGSIZE);
		FUZZ_CHECK(!frame->is_keep_alive || (update && update->is_keep_alive));
		if (update) {
			update_check(update);
			tally->n_updates++;
			tally->n_peers += update->n_peers;
		}
		coord_map_update_free(update);
		coord_map_frame_free(frame);
	}
}

static struct tally run(const uint8_t *data, size_t len, bool is_compressed, size_t piece)
{
	struct coord_map_limits limits = {BYTES_MAX, DECODED_MAX};
	struct coord_map_stream *stream = coord_map_stream_new(&limits, is_compressed);
	struct coord_map_parser *parser = coord_map_parser_new(&limits, is_compressed);
	struct tally tally = {0};

	FUZZ_CHECK(stream && parser);
	for (size_t at = 0; at < len && tally.rc == 0; at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		tally.rc = coord_map_stream_feed(stream, data + at, n, NULL);
		FUZZ_CHECK(tally.rc <= 0);
		frames_read(stream, parser, &tally);
	}
	coord_map_parser_free(parser);
	coord_map_stream_free(stream);
	return tally;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	bool is_compressed = fuzz_byte(&input) & 1;
	size_t piece = 1 + (size_t)fuzz_byte(&input);
	struct tally whole = run(input.data, input.len, is_compressed, SIZE_MAX / 2);
	struct tally pieces = run(input.data, input.len, is_compressed, piece);

	FUZZ_CHECK(whole.n_frames == pieces.n_frames && whole.n_updates == pieces.n_updates);
	FUZZ_CHECK(whole.n_peers == pieces.n_peers && whole.rc == pieces.rc);
	return 0;
}
