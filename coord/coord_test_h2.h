/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server's half of HTTP/2 for the suites, on nghttp2: bytes in, bytes out, a handler per request. Answers may be given in pieces, and
 * need not end.
 */
#ifndef COORD_TEST_H2_H
#define COORD_TEST_H2_H

#include <nghttp2/nghttp2.h>

#include "coord_test.h"

#define TEST_H2_STREAMS 32

struct test_h2;

struct test_h2_stream {
	int32_t id; /* 0: free */
	char method[8], path[128];
	char *body; /* of the request */
	size_t body_len;
	uint8_t *out; /* of the answer, what is to be sent */
	size_t out_len;
	bool is_ended, is_answered;
};

/** A whole request. */
typedef void (*test_h2_handler)(struct test_h2 *h2, struct test_h2_stream *stream, void *user);

struct test_h2 {
	nghttp2_session *session;
	struct test_h2_stream streams[TEST_H2_STREAMS];
	test_h2_handler handler;
	void *user;
	unsigned n_requests, n_resets;
};

static inline struct test_h2_stream *test_h2_find(struct test_h2 *h2, int32_t id)
{
	for (size_t i = 0; i < TEST_H2_STREAMS; i++)
		if (h2->streams[i].id == id)
			return &h2->streams[i];
	return NULL;
}

static inline int test_h2_on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct test_h2_stream *stream = test_h2_find(user, 0);

	assert_non_null(stream);
	memset(stream, 0, sizeof(*stream));
	stream->id = frame->hd.stream_id;
	stream->body = calloc(1, 1);
	return 0;
}

static inline int test_h2_on_header(nghttp2_session *session, const nghttp2_frame *frame,
	const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
	void *user)
{
	struct test_h2_stream *stream = test_h2_find(user, frame->hd.stream_id);

	if (stream && name_len == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(stream->path, sizeof(stream->path), "%.*s", (int)value_len,
			(const char *)value);
	if (stream && name_len == 7 && memcmp(name, ":method", 7) == 0)
		snprintf(stream->method, sizeof(stream->method), "%.*s", (int)value_len,
			(const char *)value);
	return 0;
}

static inline int test_h2_on_data(nghttp2_session *session, uint8_t flags, int32_t id,
	const uint8_t *data, size_t len, void *user)
{
	struct test_h2_stream *stream = test_h2_find(user, id);

	assert_non_null(stream);
	stream->body = realloc(stream->body, stream->body_len + len + 1);
	assert_non_null(stream->body);
	memcpy(stream->body + stream->body_len, data, len);
	stream->body_len += len;
	stream->body[stream->body_len] = '\0';
	return 0;
}

static inline int test_h2_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct test_h2 *h2 = user;
	struct test_h2_stream *stream;

	if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
		!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	stream = test_h2_find(h2, frame->hd.stream_id);
	assert_non_null(stream);
	h2->n_requests++;
	if (h2->handler)
		h2->handler(h2, stream, h2->user);
	return 0;
}

static inline int test_h2_on_close(
	nghttp2_session *session, int32_t id, uint32_t error_code, void *user)
{
	struct test_h2 *h2 = user;
	struct test_h2_stream *stream = test_h2_find(h2, id);

	h2->n_resets += error_code != NGHTTP2_NO_ERROR;
	if (stream) {
		free(stream->body);
		free(stream->out);
		memset(stream, 0, sizeof(*stream));
	}
	return 0;
}

static inline ssize_t test_h2_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct test_h2_stream *stream = test_h2_find(user, id);
	size_t n = stream->out_len < size ? stream->out_len : size;

	if (n == 0 && !stream->is_ended)
		return NGHTTP2_ERR_DEFERRED;
	if (n > 0)
		memcpy(buf, stream->out, n);
	stream->out_len -= n;
	if (stream->out_len > 0)
		memmove(stream->out, stream->out + n, stream->out_len);
	if (stream->out_len == 0 && stream->is_ended)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static inline void test_h2_init(struct test_h2 *h2, test_h2_handler handler, void *user)
{
	nghttp2_session_callbacks *callbacks;

	memset(h2, 0, sizeof(*h2));
	h2->handler = handler;
	h2->user = user;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, test_h2_on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, test_h2_on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, test_h2_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, test_h2_on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, test_h2_on_close);
	assert_int_equal(nghttp2_session_server_new(&h2->session, callbacks, h2), 0);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, NULL, 0);
}

static inline void test_h2_fini(struct test_h2 *h2)
{
	nghttp2_session_del(h2->session);
	for (size_t i = 0; i < TEST_H2_STREAMS; i++) {
		free(h2->streams[i].body);
		free(h2->streams[i].out);
	}
	memset(h2, 0, sizeof(*h2));
}

/** More of an answer; the first piece has the status. */
static inline void test_h2_answer(struct test_h2 *h2, struct test_h2_stream *stream, int status,
	const void *data, size_t len, bool is_end)
{
	nghttp2_data_provider provider = {.read_callback = test_h2_read};
	char text[12];
	nghttp2_nv header = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)text, 7, 3, 0};

	stream->out = realloc(stream->out, stream->out_len + len + 1);
	assert_non_null(stream->out);
	if (len > 0)
		memcpy(stream->out + stream->out_len, data, len);
	stream->out_len += len;
	stream->is_ended = is_end;
	if (stream->is_answered) {
		nghttp2_session_resume_data(h2->session, stream->id);
		return;
	}
	stream->is_answered = true;
	snprintf(text, sizeof(text), "%03d", status);
	assert_int_equal(
		nghttp2_submit_response(h2->session, stream->id, &header, 1, &provider), 0);
}

#endif
