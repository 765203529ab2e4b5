/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_h2.h. */
#include "coord_h2.h"

#include "base_bytes.h"

#include <malloc.h>
#include <stdlib.h>

#include <nghttp2/nghttp2.h>

#define HEADERS_BYTES_MAX 16384

struct request {
	int32_t id; /* 0: free */
	bool is_cancelled;
	uint8_t *body; /* what is still to be sent; wiped when it is */
	size_t len, at;
	const struct coord_h2_answer *answer;
	void *user;
};

struct coord_h2 {
	nghttp2_session *session;
	struct request requests[COORD_H2_REQUESTS_MAX];
	char authority[272];
	bool has_goaway, is_stopped;
};

/* nghttp2 copies bodies into its frames: what it gives back is wiped. */
static void *mem_malloc(size_t size, void *user)
{
	return malloc(size);
}

static void mem_free(void *ptr, void *user)
{
	if (ptr)
		base_wipe(ptr, malloc_usable_size(ptr));
	free(ptr);
}

static void *mem_calloc(size_t n, size_t size, void *user)
{
	return calloc(n, size);
}

static void *mem_realloc(void *ptr, size_t size, void *user)
{
	size_t old = ptr ? malloc_usable_size(ptr) : 0;
	void *bigger = malloc(size);

	if (!bigger)
		return NULL;
	if (ptr)
		memcpy(bigger, ptr, old < size ? old : size);
	mem_free(ptr, user);
	return bigger;
}

static struct request *request_by_id(struct coord_h2 *h2, int32_t id)
{
	for (size_t i = 0; id > 0 && i < COORD_H2_REQUESTS_MAX; i++)
		if (h2->requests[i].id == id)
			return &h2->requests[i];
	return NULL;
}

static void body_free(struct request *request)
{
	if (request->body)
		base_wipe(request->body, request->len);
	free(request->body);
	request->body = NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
	struct coord_h2 *h2 = user;
	struct request *request = request_by_id(h2, frame->hd.stream_id);

	if (h2->is_stopped)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	/* nghttp2 has checked that it is three digits, and the first header. */
	if (request && !request->is_cancelled && name_len == 7 && value_len == 3 &&
		memcmp(name, ":status", 7) == 0) {
		int status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');

		if (status >= 200)
			request->answer->status(request->user, status);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *user)
{
	struct coord_h2 *h2 = user;
	struct request *request = request_by_id(h2, id);

	if (h2->is_stopped)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (request && !request->is_cancelled)
		request->answer->data(request->user, data, len);
	else
		nghttp2_session_consume(session, id, len);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user)
{
	struct coord_h2 *h2 = user;
	struct request *request = request_by_id(h2, id), old;

	if (h2->is_stopped)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!request)
		return 0;
	old = *request;
	body_free(request);
	*request = (struct request){0}; /* `ended` may ask for another */
	if (!old.is_cancelled)
		old.answer->ended(old.user, error_code == NGHTTP2_NO_ERROR ? 0 : -ECONNRESET);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct coord_h2 *h2 = user;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		h2->has_goaway = true;
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct request *request = request_by_id(user, id);
	size_t n;

	if (!request)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = request->len - request->at;
	if (n > size)
		n = size;
	memcpy(buf, request->body + request->at, n);
	request->at += n;
	if (request->at == request->len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static int session_start(struct coord_h2 *h2)
{
	static nghttp2_mem mem = {NULL, mem_malloc, mem_free, mem_calloc, mem_realloc};
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, COORD_H2_WINDOW_BYTES},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADERS_BYTES_MAX},
	};
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int rc = -1;

	if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
		goto out;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_max_send_header_block_length(option, HEADERS_BYTES_MAX);
	rc = nghttp2_session_client_new3(&h2->session, callbacks, h2, option, &mem);
	if (rc == 0)
		rc = nghttp2_submit_settings(
			h2->session, NGHTTP2_FLAG_NONE, settings, BASE_ARRAY_LEN(settings));
	if (rc == 0)
		rc = nghttp2_session_set_local_window_size(
			h2->session, NGHTTP2_FLAG_NONE, 0, COORD_H2_WINDOW_ALL_BYTES);
out:
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	return rc == 0 ? 0 : -ENOMEM;
}

struct coord_h2 *coord_h2_new(const char *authority)
{
	struct coord_h2 *h2 = calloc(1, sizeof(*h2));

	if (!h2)
		return NULL;
	snprintf(h2->authority, sizeof(h2->authority), "%s", authority);
	if (session_start(h2) != 0) {
		coord_h2_free(h2);
		errno = ENOMEM;
		return NULL;
	}
	return h2;
}

void coord_h2_stop(struct coord_h2 *h2)
{
	h2->is_stopped = true;
}

void coord_h2_free(struct coord_h2 *h2)
{
	if (!h2)
		return;
	nghttp2_session_del(h2->session);
	for (size_t i = 0; i < COORD_H2_REQUESTS_MAX; i++)
		body_free(&h2->requests[i]);
	free(h2);
}

int coord_h2_input(
	struct coord_h2 *h2, const uint8_t *data, size_t len, struct base_error *ret_error)
{
	ssize_t n = nghttp2_session_mem_recv(h2->session, data, len);

	if (n < 0)
		return base_error_set(ret_error, -EPROTO, "HTTP/2: %s", nghttp2_strerror((int)n));
	/* After a fault of the other side it wants neither: it has said GOAWAY. */
	if (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))
		return base_error_set(ret_error, -EPROTO, "HTTP/2: the session is over");
	return 0;
}

int coord_h2_output(struct coord_h2 *h2, const uint8_t **ret_data, size_t *ret_len)
{
	ssize_t n = nghttp2_session_mem_send(h2->session, ret_data);

	*ret_len = n > 0 ? (size_t)n : 0;
	return n < 0 ? -ENOMEM : 0;
}

static nghttp2_nv header(const char *name, const char *value)
{
	/* nghttp2 copies both, and takes them as not const for no reason of ours. */
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
		strlen(value), NGHTTP2_NV_FLAG_NONE};
}

int32_t coord_h2_request(struct coord_h2 *h2, const char *method, const char *path,
	const void *body, size_t len, const struct coord_h2_answer *answer, void *user)
{
	nghttp2_data_provider provider = {.read_callback = read_body};
	struct request *request = NULL;
	nghttp2_nv headers[6];
	char length[24];
	size_t n = 0;
	int32_t id;

	for (size_t i = 0; i < COORD_H2_REQUESTS_MAX && !request; i++)
		if (h2->requests[i].id == 0)
			request = &h2->requests[i];
	if (!request)
		return -EBUSY;
	if (len > COORD_H2_BODY_BYTES_MAX)
		return -EMSGSIZE;
	if (!coord_h2_is_usable(h2))
		return -ENOTCONN;
	*request = (struct request){.len = len, .answer = answer, .user = user};
	if (len > 0) {
		request->body = malloc(len);
		if (!request->body)
			return -ENOMEM;
		memcpy(request->body, body, len);
	}
	snprintf(length, sizeof(length), "%zu", len);
	headers[n++] = header(":method", method);
	headers[n++] =
		header(":scheme", "https"); /* whatever is below: the server takes it so (4.1) */
	headers[n++] = header(":authority", h2->authority);
	headers[n++] = header(":path", path);
	if (len > 0) {
		headers[n++] = header("content-type", "application/json");
		headers[n++] = header("content-length", length);
	}
	id = nghttp2_submit_request(
		h2->session, NULL, headers, n, len > 0 ? &provider : NULL, NULL);
	if (id < 0) {
		body_free(request);
		return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -ENOTCONN;
	}
	request->id = id;
	return id;
}

void coord_h2_consumed(struct coord_h2 *h2, int32_t request, size_t len)
{
	nghttp2_session_consume(h2->session, request, len);
}

void coord_h2_cancel(struct coord_h2 *h2, int32_t request)
{
	struct request *cancelled = request_by_id(h2, request);

	if (!cancelled)
		return;
	cancelled->is_cancelled = true;
	nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, request, NGHTTP2_CANCEL);
}

bool coord_h2_is_usable(const struct coord_h2 *h2)
{
	return !h2->has_goaway && nghttp2_session_check_request_allowed(h2->session);
}
