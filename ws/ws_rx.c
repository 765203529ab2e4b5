/* SPDX-License-Identifier: BSD-3-Clause */
/* See ws_rx.h. One owner, no lock. */
#include "ws_rx.h"

#include "ws_messages.h"

#include <stdlib.h>

/* Kept between messages. */
#define KEEP_BYTES 4096

int ws_rx_add(struct ws_rx *rx, const char *piece, size_t len, size_t left)
{
	size_t size = rx->size ? rx->size : KEEP_BYTES;
	char *bytes;

	if (left > WS_FRAME_BYTES_MAX || rx->len + len + left > WS_FRAME_BYTES_MAX) {
		ws_rx_fini(rx);
		return -EMSGSIZE;
	}
	while (size < rx->len + len)
		size *= 2;
	if (size != rx->size) {
		bytes = realloc(rx->bytes, size);
		if (!bytes)
			return -ENOMEM;
		rx->bytes = bytes;
		rx->size = size;
	}
	memcpy(rx->bytes + rx->len, piece, len);
	rx->len += len;
	return 0;
}

void ws_rx_reset(struct ws_rx *rx)
{
	rx->len = 0;
	if (rx->size > KEEP_BYTES)
		ws_rx_fini(rx);
}

void ws_rx_fini(struct ws_rx *rx)
{
	free(rx->bytes);
	*rx = (struct ws_rx){0};
}
