/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See coord_poll.h. Freed when its timer is closed and its frame is back from the pool, whichever is later: the pool's thread has the
 * parser and the frame while it works, and nothing else.
 */
#include "coord_poll.h"

#include "base_log.h"

#include <stdlib.h>

#define ERROR_TEXT_MAX 200           /* of the body of a refusal */
#define WAITING_BYTES_MAX (1u << 20) /* frames behind one that is parsed: then no more window */

struct coord_poll {
	struct coord_link *link;
	int32_t request;
	uv_timer_t silence;
	int status;
	struct coord_map_stream *stream;
	struct coord_map_parser *parser;
	size_t unconsumed; /* bytes of the window held back */
	char text[ERROR_TEXT_MAX];
	size_t text_len;
	bool is_over, is_freed, is_closed;
	const struct coord_poll_host *host;
	void *ctx;
	/* On the pool. */
	uv_work_t work;
	bool is_parsing;
	struct coord_map_frame *frame;
	struct coord_map_update *update;
	struct base_error work_error;
};

static void release(struct coord_poll *poll)
{
	if (!poll->is_closed || poll->is_parsing)
		return;
	coord_map_stream_free(poll->stream);
	coord_map_parser_free(poll->parser);
	free(poll);
}

static void silence_closed(uv_handle_t *handle)
{
	struct coord_poll *poll = handle->data;

	poll->is_closed = true;
	release(poll);
}

static void end(struct coord_poll *poll, int status, int rc, const char *line)
{
	if (poll->is_over)
		return;
	poll->is_over = true;
	coord_link_cancel(poll->link, poll->request);
	uv_timer_stop(&poll->silence);
	poll->host->ended(poll->ctx, status, rc, line);
}

static void on_silence(uv_timer_t *timer)
{
	end(timer->data, 0, -ETIMEDOUT, "the server said nothing for two minutes");
}

static void open_window(struct coord_poll *poll)
{
	size_t len = poll->unconsumed;

	if (len == 0 ||
		(poll->is_parsing && coord_map_stream_waiting(poll->stream) > WAITING_BYTES_MAX))
		return;
	poll->unconsumed = 0;
	coord_link_consumed(poll->link, poll->request, len);
}

static void pump(struct coord_poll *poll);

static void parse(uv_work_t *work)
{
	struct coord_poll *poll = work->data;

	poll->update = coord_map_parse(poll->parser, poll->frame, &poll->work_error);
}

/* The parsed frame, on the loop again. */
static void deliver(struct coord_poll *poll)
{
	struct coord_map_update *update = poll->update;

	coord_map_frame_free(poll->frame);
	poll->frame = NULL;
	poll->update = NULL;
	if (!update)
		end(poll, 0, -EBADMSG, poll->work_error.text);
	else if (poll->is_over)
		coord_map_update_free(update);
	else
		poll->host->update(poll->ctx, update);
}

static void on_parsed(uv_work_t *work, int rc)
{
	struct coord_poll *poll = work->data;

	poll->is_parsing = false;
	if (rc != 0)
		snprintf(poll->work_error.text, sizeof(poll->work_error.text), "%s",
			uv_strerror(rc));
	deliver(poll);
	if (!poll->is_over) {
		pump(poll);
		if (!poll->is_over)
			open_window(poll);
	}
	release(poll);
}

static void pump(struct coord_poll *poll)
{
	while (!poll->is_over && !poll->is_parsing) {
		struct coord_map_frame *frame = coord_map_stream_next(poll->stream);
		bool is_keep_alive, is_large;

		if (!frame)
			return;
		uv_timer_again(&poll->silence);
		is_keep_alive = frame->is_keep_alive;
		is_large = frame->is_large;
		poll->host->frame(poll->ctx, frame->len);
		if (is_keep_alive || poll->is_over) {
			coord_map_frame_free(frame);
			continue;
		}
		poll->frame = frame;
		poll->work.data = poll;
		if (is_large &&
			uv_queue_work(poll->silence.loop, &poll->work, parse, on_parsed) == 0) {
			poll->is_parsing = true;
			return;
		}
		parse(&poll->work);
		deliver(poll);
	}
}

static void on_status(void *user, int status)
{
	struct coord_poll *poll = user;

	poll->status = status;
}

static void keep_text(struct coord_poll *poll, const uint8_t *data, size_t len)
{
	size_t room = sizeof(poll->text) - poll->text_len;

	if (len > room)
		len = room;
	memcpy(poll->text + poll->text_len, data, len);
	poll->text_len += len;
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
	struct coord_poll *poll = user;
	struct base_error line;
	int rc;

	poll->unconsumed += len;
	if (poll->status != 200) {
		keep_text(poll, data, len);
		open_window(poll);
		return;
	}
	rc = coord_map_stream_feed(poll->stream, data, len, &line);
	if (rc != 0) {
		end(poll, 0, rc, line.text);
		return;
	}
	pump(poll);
	if (!poll->is_over)
		open_window(poll);
}

static void on_ended(void *user, int rc)
{
	struct coord_poll *poll = user;
	struct base_error line;
	char words[ERROR_TEXT_MAX * 4 + 1];
	size_t len = 0;

	while (len < poll->text_len && poll->text[len] != '\n')
		len++;
	if (poll->status != 0 && poll->status != 200) {
		base_error_set(&line, 0, "the server refuses the map: HTTP %d: %.300s",
			poll->status, base_log_text(words, sizeof(words), poll->text, len));
		end(poll, poll->status, -EPROTO, line.text);
		return;
	}
	end(poll, 0, rc ? rc : -ECONNRESET, "the server ended the map stream");
}

struct coord_poll *coord_poll_new(uv_loop_t *loop, struct coord_link *link, const void *body,
	size_t len, const struct coord_map_limits *limits, const struct coord_poll_host *host,
	void *ctx)
{
	static const struct coord_h2_answer answer = {
		.status = on_status,
		.data = on_data,
		.ended = on_ended,
	};
	struct coord_poll *poll = calloc(1, sizeof(*poll));

	if (!poll)
		return NULL;
	poll->link = link;
	poll->host = host;
	poll->ctx = ctx;
	poll->stream = coord_map_stream_new(limits, true);
	poll->parser = coord_map_parser_new(limits, true);
	if (poll->stream && poll->parser)
		poll->request =
			coord_link_request(link, "POST", "/machine/map", body, len, &answer, poll);
	else
		poll->request = -ENOMEM;
	if (poll->request < 0) {
		errno = -poll->request;
		poll->is_closed = true;
		release(poll);
		return NULL;
	}
	uv_timer_init(loop, &poll->silence); /* cannot fail */
	poll->silence.data = poll;
	uv_timer_start(&poll->silence, on_silence, COORD_POLL_SILENCE_MS, COORD_POLL_SILENCE_MS);
	return poll;
}

void coord_poll_free(struct coord_poll *poll)
{
	if (!poll || poll->is_freed)
		return;
	if (!poll->is_over)
		coord_link_cancel(poll->link, poll->request);
	poll->is_over = true;
	poll->is_freed = true;
	uv_close((uv_handle_t *)&poll->silence, silence_closed);
}
