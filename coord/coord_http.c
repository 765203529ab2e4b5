/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_http.h. Answers by RFC 9112, read strictly: a doubtful length ends the answer instead of being guessed. */
#include "coord_http.h"

#include "base_log.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

#define CHUNK_LINE_MAX 32 /* of a chunk's size line */

enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, CHUNK_TRAILER };

static int refuse(struct base_error *ret_error, const char *what)
{
	return base_error_set(
		ret_error, -EPROTO, "the answer is not HTTP as it should be: %s", what);
}

static void copy_value(char *ret_value, size_t size, const char *value, size_t len)
{
	if (len >= size)
		len = size - 1;
	memcpy(ret_value, value, len);
	ret_value[len] = '\0';
}

static int take_length(
	struct coord_http_answer *answer, const char *value, size_t len, struct base_error *error)
{
	size_t length = 0;

	if (len == 0 || len > 9)
		return refuse(error, "Content-Length");
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)value[i]))
			return refuse(error, "Content-Length");
		length = length * 10 + (size_t)(value[i] - '0');
	}
	if (answer->has_length && answer->to_come != length)
		return refuse(error, "two lengths");
	answer->has_length = true;
	answer->to_come = length;
	return 0;
}

static int take_header(
	struct coord_http_answer *answer, const char *line, size_t len, struct base_error *error)
{
	const char *colon = memchr(line, ':', len), *value;
	size_t name_len, value_len;

	if (!colon || colon == line)
		return refuse(error, "a header without a name");
	name_len = (size_t)(colon - line);
	value = colon + 1;
	value_len = len - name_len - 1;
	while (value_len > 0 && (*value == ' ' || *value == '\t')) {
		value++;
		value_len--;
	}
	while (value_len > 0 && (value[value_len - 1] == ' ' || value[value_len - 1] == '\t'))
		value_len--;
#define IS(text) (name_len == sizeof(text) - 1 && strncasecmp(line, text, name_len) == 0)
	if (IS("Content-Length"))
		return take_length(answer, value, value_len, error);
	if (IS("Transfer-Encoding")) {
		answer->is_chunked = value_len == 7 && strncasecmp(value, "chunked", 7) == 0;
		return answer->is_chunked ? 0 : refuse(error, "Transfer-Encoding");
	}
	if (IS("Upgrade"))
		copy_value(answer->upgrade, sizeof(answer->upgrade), value, value_len);
	else if (IS("Location"))
		copy_value(answer->location, sizeof(answer->location), value, value_len);
	else if (IS("Content-Type"))
		copy_value(answer->content_type, sizeof(answer->content_type), value, value_len);
#undef IS
	return 0;
}

static int take_status(
	struct coord_http_answer *answer, const char *line, size_t len, struct base_error *error)
{
	if (len < 12 || memcmp(line, "HTTP/1.", 7) != 0 || line[8] != ' ' ||
		!isdigit((unsigned char)line[9]) || !isdigit((unsigned char)line[10]) ||
		!isdigit((unsigned char)line[11]) || (len > 12 && line[12] != ' '))
		return refuse(error, "no status line");
	answer->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
	return 0;
}

static void judge_body(struct coord_http_answer *answer)
{
	bool is_bare = answer->has_no_body || answer->status < 200 || answer->status == 204 ||
		answer->status == 304;

	if (answer->is_chunked)
		answer->has_length = false; /* RFC 9112, 6.3: the coding counts */
	if (is_bare || (answer->has_length && answer->to_come == 0))
		answer->phase = COORD_HTTP_DONE;
	else
		answer->phase = COORD_HTTP_BODY;
	answer->chunk_phase = CHUNK_SIZE;
	if (answer->is_chunked) {
		answer->to_come = 0;
		answer->head_len = 0; /* its place is for the lines between chunks now */
	}
}

/* The head is whole in answer->head, with its empty line. */
static int take_head(struct coord_http_answer *answer, struct base_error *error)
{
	const char *line = answer->head, *end = answer->head + answer->head_len - 2;
	bool is_first = true;

	while (line < end) {
		const char *eol = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		size_t len = (size_t)(eol - line);
		int rc = is_first ? take_status(answer, line, len, error)
				  : take_header(answer, line, len, error);

		if (rc != 0)
			return rc;
		is_first = false;
		line = eol + 2;
	}
	judge_body(answer);
	return 0;
}

/* Returns how many bytes were the head's. 1xx answers but 101 announce another one, and are forgotten. */
static ssize_t input_head(
	struct coord_http_answer *answer, const uint8_t *data, size_t len, struct base_error *error)
{
	size_t used = 0;

	while (used < len && answer->phase == COORD_HTTP_HEAD) {
		int rc;

		if (answer->head_len == COORD_HTTP_HEAD_BYTES_MAX)
			return base_error_set(error, -EMSGSIZE,
				"the answer's headers are longer than %d bytes",
				COORD_HTTP_HEAD_BYTES_MAX);
		answer->head[answer->head_len++] = (char)data[used++];
		if (answer->head_len < 4 ||
			memcmp(answer->head + answer->head_len - 4, "\r\n\r\n", 4) != 0)
			continue;
		rc = take_head(answer, error);
		if (rc != 0)
			return rc;
		if (answer->status < 200 && answer->status != 101)
			*answer = (struct coord_http_answer){.has_no_body = answer->has_no_body};
	}
	return (ssize_t)used;
}

static int body_add(
	struct coord_http_answer *answer, const uint8_t *data, size_t len, struct base_error *error)
{
	if (len > COORD_HTTP_BODY_BYTES_MAX - answer->body_len)
		return base_error_set(error, -EMSGSIZE, "the answer is longer than %u bytes",
			COORD_HTTP_BODY_BYTES_MAX);
	memcpy(answer->body + answer->body_len, data, len);
	answer->body_len += len;
	answer->body[answer->body_len] = '\0';
	return 0;
}

/* "1a;extension" */
static int take_chunk_size(struct coord_http_answer *answer, struct base_error *error)
{
	size_t size = 0, digits = 0;

	for (; digits < answer->head_len && isxdigit((unsigned char)answer->head[digits]);
		digits++) {
		char c = answer->head[digits];

		size = size * 16 +
			(size_t)(isdigit((unsigned char)c) ? c - '0' : (c | 0x20) - 'a' + 10);
		if (size > COORD_HTTP_BODY_BYTES_MAX)
			return base_error_set(error, -EMSGSIZE,
				"the answer is longer than %u bytes", COORD_HTTP_BODY_BYTES_MAX);
	}
	if (digits == 0)
		return refuse(error, "no size of a chunk");
	answer->to_come = size;
	answer->chunk_phase = size > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	return 0;
}

/* One line between chunks, in the place of the head, which is done with. */
static int take_chunk_line(struct coord_http_answer *answer, struct base_error *error)
{
	int rc = 0;

	switch (answer->chunk_phase) {
	case CHUNK_SIZE:
		rc = take_chunk_size(answer, error);
		break;
	case CHUNK_END:
		if (answer->head_len != 0)
			rc = refuse(error, "a chunk longer than it said");
		answer->chunk_phase = CHUNK_SIZE;
		break;
	default:
		if (answer->head_len == 0)
			answer->phase = COORD_HTTP_DONE;
		break;
	}
	answer->head_len = 0;
	return rc;
}

static ssize_t input_chunks(
	struct coord_http_answer *answer, const uint8_t *data, size_t len, struct base_error *error)
{
	size_t used = 0;
	int rc = 0;

	while (rc == 0 && used < len && answer->phase == COORD_HTTP_BODY) {
		size_t n = len - used;

		if (answer->chunk_phase == CHUNK_DATA) {
			n = n < answer->to_come ? n : answer->to_come;
			rc = body_add(answer, data + used, n, error);
			used += n;
			answer->to_come -= n;
			if (answer->to_come == 0)
				answer->chunk_phase = CHUNK_END;
		} else if (data[used] == '\n') {
			used++;
			rc = take_chunk_line(answer, error);
		} else if (data[used] == '\r') {
			used++;
		} else if (answer->head_len == CHUNK_LINE_MAX) {
			rc = refuse(error, "a line between chunks is too long");
		} else {
			answer->head[answer->head_len++] = (char)data[used++];
		}
	}
	return rc != 0 ? rc : (ssize_t)used;
}

static ssize_t input_body(
	struct coord_http_answer *answer, const uint8_t *data, size_t len, struct base_error *error)
{
	int rc;

	if (answer->is_chunked)
		return input_chunks(answer, data, len, error);
	if (answer->has_length && len > answer->to_come)
		len = answer->to_come;
	rc = body_add(answer, data, len, error);
	if (rc != 0)
		return rc;
	if (answer->has_length) {
		answer->to_come -= len;
		if (answer->to_come == 0)
			answer->phase = COORD_HTTP_DONE;
	}
	return (ssize_t)len;
}

ssize_t coord_http_input(struct coord_http_answer *answer, const uint8_t *data, size_t len,
	struct base_error *ret_error)
{
	size_t used = 0;

	while (used < len && answer->phase != COORD_HTTP_DONE) {
		ssize_t n = answer->phase == COORD_HTTP_HEAD
			? input_head(answer, data + used, len - used, ret_error)
			: input_body(answer, data + used, len - used, ret_error);

		if (n < 0)
			return n;
		used += (size_t)n;
	}
	return (ssize_t)used;
}

int coord_http_input_end(struct coord_http_answer *answer, struct base_error *ret_error)
{
	if (answer->phase == COORD_HTTP_BODY && !answer->has_length && !answer->is_chunked)
		answer->phase = COORD_HTTP_DONE;
	if (answer->phase == COORD_HTTP_DONE)
		return 0;
	return base_error_set(ret_error, -EPROTO, "the server closed the connection %s",
		answer->head_len == 0 && answer->status == 0 ? "without an answer"
							     : "in the midst of its answer");
}

int coord_http_explain(const struct coord_http_answer *answer, const struct coord_url *url,
	struct base_error *ret_error)
{
	char words[200];
	size_t len = strcspn(answer->body, "\r\n");

	if (answer->status >= 300 && answer->status < 400 && answer->location[0])
		return base_error_set(ret_error, -EPROTO,
			"%s redirects (%d) to %s: the server's address is another, or a captive "
			"portal "
			"stands in between",
			url->authority, answer->status,
			base_log_text(
				words, sizeof(words), answer->location, strlen(answer->location)));
	if (answer->status == 511 || strncasecmp(answer->content_type, "text/html", 9) == 0)
		return base_error_set(ret_error, -EPROTO,
			"%s answers with a web page (%d): a captive portal stands in between, or "
			"it is no "
			"Headscale server",
			url->authority, answer->status);
	return base_error_set(ret_error, -EPROTO, "%s answers %d%s%s", url->authority,
		answer->status, len > 0 ? ": " : "",
		base_log_text(words, sizeof(words), answer->body, len));
}
