/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_queue.h. One owner, no lock. */
#include "ws_queue.h"

#include <stdlib.h>

struct ws_frame {
	struct ws_frame *next;
	char *buffer;
	size_t headroom, len;
};

int ws_queue_push(struct ws_queue *queue, char *buffer, size_t headroom, size_t len)
{
	struct ws_frame *frame;

	if (queue->n_frames > 0 &&
		(queue->n_frames >= queue->limits.max_frames || len > queue->limits.max_bytes ||
			queue->n_bytes > queue->limits.max_bytes - len))
		return -EAGAIN;
	frame = malloc(sizeof(*frame));
	if (!frame)
		return -ENOMEM;
	*frame = (struct ws_frame){.buffer = buffer, .headroom = headroom, .len = len};
	if (queue->last)
		queue->last->next = frame;
	else
		queue->first = frame;
	queue->last = frame;
	queue->n_frames++;
	queue->n_bytes += len;
	return 0;
}

char *ws_queue_peek(const struct ws_queue *queue, size_t *ret_len)
{
	if (!queue->first)
		return NULL;
	*ret_len = queue->first->len;
	return queue->first->buffer + queue->first->headroom;
}

void ws_queue_pop(struct ws_queue *queue)
{
	struct ws_frame *frame = queue->first;

	if (!frame)
		return;
	queue->first = frame->next;
	if (!queue->first)
		queue->last = NULL;
	queue->n_frames--;
	queue->n_bytes -= frame->len;
	free(frame->buffer);
	free(frame);
}

bool ws_queue_is_empty(const struct ws_queue *queue)
{
	return !queue->first;
}

void ws_queue_fini(struct ws_queue *queue)
{
	while (queue->first)
		ws_queue_pop(queue);
}
