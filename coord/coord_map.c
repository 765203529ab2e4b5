/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes of a map stream to frames, frames to JSON text (section 5.3). The stream runs on the loop, the parser wherever
 * the client puts it. Next: coord_map_parse.c.
 */
#include "coord_map.h"

#include "base_bytes.h"

#include <stdlib.h>
#include <zstd.h>

#define HEAD_BYTES 4
/* A frame grows as its bytes come: four bytes of a server do not make us take megabytes. */
#define GROW_BYTES (64u << 10)
/* A keep-alive is 18 bytes, some 30 when compressed. */
#define KEEP_ALIVE_BYTES_MAX 64
#define KEEP_ALIVE "{\"KeepAlive\":true}"
/* Text that a parser keeps its buffer for. */
#define TEXT_KEPT_BYTES (256u << 10)

struct coord_map_stream {
	struct coord_map_limits limits;
	ZSTD_DCtx *zstd; /* for keep-alives; NULL: nothing is compressed */
	uint8_t head[HEAD_BYTES];
	size_t n_head;
	struct coord_map_frame *frame; /* that is being received */
	size_t frame_len, frame_have, frame_room;
	struct coord_map_frame *first, **last; /* whole ones */
	size_t waiting;
	uint8_t keep_alive[KEEP_ALIVE_BYTES_MAX]; /* as it travels */
	size_t n_keep_alive;
	bool is_over;
};

struct coord_map_parser {
	struct coord_map_limits limits;
	ZSTD_DCtx *zstd;
	char *text;
	size_t room;
};

static struct coord_map_limits limits_of(const struct coord_map_limits *limits)
{
	struct coord_map_limits known = {COORD_MAP_BYTES_MAX, COORD_MAP_DECODED_MAX};

	if (limits && limits->bytes_max)
		known.bytes_max = limits->bytes_max;
	if (limits && limits->decoded_max)
		known.decoded_max = limits->decoded_max;
	return known;
}

void coord_map_frame_free(struct coord_map_frame *frame)
{
	free(frame);
}

struct coord_map_stream *coord_map_stream_new(
	const struct coord_map_limits *limits, bool is_compressed)
{
	struct coord_map_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->limits = limits_of(limits);
	stream->last = &stream->first;
	if (is_compressed) {
		stream->zstd = ZSTD_createDCtx();
		if (!stream->zstd) {
			free(stream);
			errno = ENOMEM;
			return NULL;
		}
	}
	return stream;
}

void coord_map_stream_free(struct coord_map_stream *stream)
{
	struct coord_map_frame *frame;

	if (!stream)
		return;
	while ((frame = coord_map_stream_next(stream)))
		free(frame);
	free(stream->frame);
	ZSTD_freeDCtx(stream->zstd);
	free(stream);
}

/* The length is whole: room for the first bytes. */
static int frame_begin(struct coord_map_stream *stream, struct base_error *ret_error)
{
	stream->frame_len = base_load_le32(stream->head);
	if (stream->frame_len == 0)
		return base_error_set(ret_error, -EPROTO, "map stream: a frame of no bytes");
	if (stream->frame_len > stream->limits.bytes_max)
		return base_error_set(ret_error, -EMSGSIZE,
			"map stream: a frame of %zu bytes; map_limits permit %zu",
			stream->frame_len, stream->limits.bytes_max);
	stream->frame_room = 0;
	stream->frame_have = 0;
	return 0;
}

static int frame_grow(struct coord_map_stream *stream, size_t need, struct base_error *ret_error)
{
	size_t room = 2 * stream->frame_room;
	struct coord_map_frame *frame;

	if (need <= stream->frame_room)
		return 0;
	room = room < GROW_BYTES ? GROW_BYTES : room;
	room = room < need ? need : room;
	room = room > stream->frame_len ? stream->frame_len : room;
	frame = realloc(stream->frame, sizeof(*frame) + room);
	if (!frame)
		return base_error_set(ret_error, -ENOMEM, "map stream: out of memory");
	stream->frame = frame;
	stream->frame_room = room;
	return 0;
}

/* By its bytes: as one that was seen, else by a look inside, whose room is hardly larger than what it must be. */
static bool is_keep_alive(struct coord_map_stream *stream, const struct coord_map_frame *frame)
{
	static const char text[] = KEEP_ALIVE;
	char inside[sizeof(text)];
	size_t n;

	if (frame->len > KEEP_ALIVE_BYTES_MAX)
		return false;
	if (!stream->zstd)
		return frame->len == sizeof(text) - 1 &&
			memcmp(frame->bytes, text, sizeof(text) - 1) == 0;
	if (frame->len == stream->n_keep_alive)
		if (memcmp(frame->bytes, stream->keep_alive, frame->len) == 0)
			return true;
	n = ZSTD_decompressDCtx(stream->zstd, inside, sizeof(inside), frame->bytes, frame->len);
	if (ZSTD_isError(n) || n != sizeof(text) - 1 || memcmp(inside, text, n) != 0)
		return false;
	memcpy(stream->keep_alive, frame->bytes, frame->len);
	stream->n_keep_alive = frame->len;
	return true;
}

static void frame_end(struct coord_map_stream *stream)
{
	struct coord_map_frame *frame = stream->frame;

	frame->next = NULL;
	frame->len = (uint32_t)stream->frame_len;
	frame->is_large = frame->len >= COORD_MAP_LARGE_BYTES;
	frame->is_keep_alive = is_keep_alive(stream, frame);
	*stream->last = frame;
	stream->last = &frame->next;
	stream->waiting += frame->len;
	stream->frame = NULL;
	stream->n_head = 0;
}

/* As much of @data as the length or the frame still lacks. Returns how many bytes it took, or an error. */
static ssize_t piece_take(struct coord_map_stream *stream, const uint8_t *data, size_t len,
	struct base_error *ret_error)
{
	size_t n;
	int rc;

	if (stream->n_head < HEAD_BYTES) {
		n = HEAD_BYTES - stream->n_head < len ? HEAD_BYTES - stream->n_head : len;
		memcpy(stream->head + stream->n_head, data, n);
		stream->n_head += n;
		rc = stream->n_head == HEAD_BYTES ? frame_begin(stream, ret_error) : 0;
		return rc < 0 ? rc : (ssize_t)n;
	}
	n = stream->frame_len - stream->frame_have;
	n = n < len ? n : len;
	rc = frame_grow(stream, stream->frame_have + n, ret_error);
	if (rc < 0)
		return rc;
	memcpy(stream->frame->bytes + stream->frame_have, data, n);
	stream->frame_have += n;
	if (stream->frame_have == stream->frame_len)
		frame_end(stream);
	return (ssize_t)n;
}

int coord_map_stream_feed(
	struct coord_map_stream *stream, const void *data, size_t len, struct base_error *ret_error)
{
	const uint8_t *at = data;
	ssize_t n;

	if (stream->is_over)
		return base_error_set(ret_error, -EPIPE, "map stream: over");
	while (len > 0) {
		n = stream->waiting > 2 * stream->limits.bytes_max
			? base_error_set(ret_error, -ENOBUFS,
				  "map stream: %zu bytes wait to be read", stream->waiting)
			: piece_take(stream, at, len, ret_error);
		if (n < 0) {
			stream->is_over = true;
			return (int)n;
		}
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

struct coord_map_frame *coord_map_stream_next(struct coord_map_stream *stream)
{
	struct coord_map_frame *frame = stream->first;

	if (!frame)
		return NULL;
	stream->first = frame->next;
	if (!stream->first)
		stream->last = &stream->first;
	stream->waiting -= frame->len;
	frame->next = NULL;
	return frame;
}

size_t coord_map_stream_waiting(const struct coord_map_stream *stream)
{
	return stream->waiting;
}

/* A frame that does not tell its size may ask for a window: no more than the text may have, and 8 MiB that RFC 8878 expects. */
static int window_log_max(size_t decoded_max)
{
	int log = 23;

	while (log < 27 && ((size_t)1 << log) < decoded_max)
		log++;
	return log;
}

struct coord_map_parser *coord_map_parser_new(
	const struct coord_map_limits *limits, bool is_compressed)
{
	struct coord_map_parser *parser = calloc(1, sizeof(*parser));

	if (!parser)
		return NULL;
	parser->limits = limits_of(limits);
	if (!is_compressed)
		return parser;
	parser->zstd = ZSTD_createDCtx();
	if (!parser->zstd ||
		ZSTD_isError(ZSTD_DCtx_setParameter(parser->zstd, ZSTD_d_windowLogMax,
			window_log_max(parser->limits.decoded_max)))) {
		coord_map_parser_free(parser);
		errno = ENOMEM;
		return NULL;
	}
	return parser;
}

void coord_map_parser_free(struct coord_map_parser *parser)
{
	if (!parser)
		return;
	ZSTD_freeDCtx(parser->zstd);
	free(parser->text);
	free(parser);
}

static int text_room(struct coord_map_parser *parser, size_t need, struct base_error *ret_error)
{
	char *text;

	if (need <= parser->room)
		return 0;
	text = realloc(parser->text, need);
	if (!text)
		return base_error_set(ret_error, -ENOMEM, "map frame: out of memory");
	parser->text = text;
	parser->room = need;
	return 0;
}

static int too_large(const struct coord_map_parser *parser, struct base_error *ret_error)
{
	return base_error_set(ret_error, -EMSGSIZE,
		"map frame: more than %zu bytes when decompressed: beyond map_limits",
		parser->limits.decoded_max);
}

static int no_zstd(struct base_error *ret_error)
{
	return base_error_set(ret_error, -EBADMSG, "map frame: not a whole zstd frame");
}

/* The frame tells how long it is: one step. */
static ssize_t decompress_known(struct coord_map_parser *parser,
	const struct coord_map_frame *frame, size_t size, struct base_error *ret_error)
{
	size_t n;
	int rc = text_room(parser, size ? size : 1, ret_error);

	if (rc < 0)
		return rc;
	n = ZSTD_decompressDCtx(parser->zstd, parser->text, size, frame->bytes, frame->len);
	return ZSTD_isError(n) || n != size ? no_zstd(ret_error) : (ssize_t)n;
}

/* It does not: room is doubled up to the limit. */
static ssize_t decompress_unknown(struct coord_map_parser *parser,
	const struct coord_map_frame *frame, struct base_error *ret_error)
{
	ZSTD_inBuffer in = {frame->bytes, frame->len, 0};
	ZSTD_outBuffer out = {NULL, 0, 0};
	size_t left = 1, room;
	int rc;

	while (left > 0) {
		if (out.pos == parser->limits.decoded_max)
			return too_large(parser, ret_error);
		room = out.pos < GROW_BYTES / 2 ? GROW_BYTES : 2 * out.pos;
		if (room > parser->limits.decoded_max)
			room = parser->limits.decoded_max;
		rc = text_room(parser, room, ret_error);
		if (rc < 0)
			return rc;
		out.dst = parser->text;
		out.size = room;
		left = ZSTD_decompressStream(parser->zstd, &out, &in);
		/* it wants more bytes, and there are none */
		if (ZSTD_isError(left) || (left > 0 && in.pos == in.size && out.pos < out.size))
			return no_zstd(ret_error);
	}
	return in.pos == in.size ? (ssize_t)out.pos : no_zstd(ret_error);
}

static ssize_t decompress(struct coord_map_parser *parser, const struct coord_map_frame *frame,
	struct base_error *ret_error)
{
	unsigned long long size = ZSTD_getFrameContentSize(frame->bytes, frame->len);

	(void)ZSTD_DCtx_reset(parser->zstd, ZSTD_reset_session_only);
	if (size == ZSTD_CONTENTSIZE_ERROR)
		return no_zstd(ret_error);
	if (size == ZSTD_CONTENTSIZE_UNKNOWN)
		return decompress_unknown(parser, frame, ret_error);
	if (size > parser->limits.decoded_max)
		return too_large(parser, ret_error);
	return decompress_known(parser, frame, (size_t)size, ret_error);
}

struct coord_map_update *coord_map_parse(struct coord_map_parser *parser,
	const struct coord_map_frame *frame, struct base_error *ret_error)
{
	struct coord_map_update *update;
	ssize_t len;
	int rc;

	if (!parser->zstd)
		return coord_map_parse_text((const char *)frame->bytes, frame->len, ret_error);
	len = decompress(parser, frame, ret_error);
	update = len < 0 ? NULL : coord_map_parse_text(parser->text, (size_t)len, ret_error);
	rc = update ? 0 : len < 0 ? (int)-len : errno;
	if (parser->room > TEXT_KEPT_BYTES) {
		free(parser->text);
		parser->text = NULL;
		parser->room = 0;
	}
	errno = rc;
	return update;
}
