/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See coord_link.h. Freed from the loop, when nothing of it is on the stack any more: HTTP/2 may be in the midst of a callback
 * whose end wants to close the link.
 */
#include "coord_link.h"

#include "coord.h"
#include "coord_channel.h"
#include "coord_early.h"
#include "coord_http.h"
#include "coord_stream.h"

#include <stdbool.h>
#include <stdlib.h>

#include <sodium.h>

#define PROTOCOL "tailscale-control-protocol"
#define OUTPUT_BYTES (8 * COORD_CHANNEL_RECORD_BYTES_MAX) /* records that leave in one write */

enum phase { DIALLING, UPGRADING, SHAKING, READY, CLOSED };

struct coord_link {
	struct coord_stream *stream;
	struct coord_url url;
	enum phase phase;
	bool is_freed, is_inside; /* inside input: output waits for its end */
	uint8_t initiation[COORD_CHANNEL_INITIATION_BYTES];
	struct coord_channel channel;
	struct coord_early early;
	struct coord_h2 *h2;
	struct coord_http_answer *answer; /* of the upgrade; NULL after it */
	uv_idle_t later;                  /* its closing ends the memory */
	uint8_t output[OUTPUT_BYTES];
	size_t output_len;
	const struct coord_link_host *host;
	void *ctx;
};

static void later_closed(uv_handle_t *handle)
{
	struct coord_link *link = handle->data;

	coord_h2_free(link->h2);
	free(link->answer);
	coord_channel_fini(&link->channel);
	base_wipe(link->output, sizeof(link->output));
	free(link);
}

static void shut(struct coord_link *link)
{
	link->phase = CLOSED;
	coord_h2_stop(link->h2);
	coord_stream_free(link->stream);
	link->stream = NULL;
}

static void end(struct coord_link *link, int rc, const char *line)
{
	if (link->phase == CLOSED)
		return;
	shut(link);
	link->host->closed(link->ctx, rc, line);
}

static int flush_output(struct coord_link *link)
{
	int rc = 0;

	if (link->output_len > 0)
		rc = coord_stream_write(link->stream, link->output, link->output_len);
	link->output_len = 0;
	return rc;
}

static int seal(struct coord_link *link, const uint8_t *data, size_t len)
{
	while (len > 0) {
		size_t n =
			len < COORD_CHANNEL_PLAIN_BYTES_MAX ? len : COORD_CHANNEL_PLAIN_BYTES_MAX;
		size_t record;

		if (link->output_len + COORD_CHANNEL_RECORD_BYTES_MAX > sizeof(link->output)) {
			int rc = flush_output(link);

			if (rc != 0)
				return rc;
		}
		record = coord_channel_seal(
			&link->channel, link->output + link->output_len, data, n);
		if (record == 0)
			return -EPROTO;
		link->output_len += record;
		data += n;
		len -= n;
	}
	return 0;
}

/* What HTTP/2 has to say, into records, into the stream; a stream that takes no more ends by itself, from the loop. */
static void flush(struct coord_link *link)
{
	const uint8_t *data;
	size_t len = 1;
	int rc = 0;

	if (link->phase < SHAKING || link->phase == CLOSED || link->is_inside ||
		link->channel.phase != COORD_CHANNEL_OPEN)
		return;
	while (rc == 0 && len > 0) {
		rc = coord_h2_output(link->h2, &data, &len);
		if (rc == 0)
			rc = seal(link, data, len);
	}
	if (rc == 0)
		flush_output(link);
}

static int pass_to_h2(void *ctx, const uint8_t *data, size_t len)
{
	struct coord_link *link = ctx;
	struct base_error line;
	int rc = coord_h2_input(link->h2, data, len, &line);

	if (rc != 0 && link->phase != CLOSED)
		end(link, rc, line.text);
	return link->phase == CLOSED ? -ECANCELED : rc;
}

static int take_plain(void *ctx, const uint8_t *data, size_t len)
{
	struct coord_link *link = ctx;
	struct base_error line;
	int rc = coord_early_input(&link->early, data, len, pass_to_h2, link, &line);

	if (rc != 0 && link->phase != CLOSED)
		end(link, rc, line.text);
	return rc;
}

/* Bytes of the channel. HTTP/2 may begin as soon as the handshake is done. */
static void take_channel(struct coord_link *link, const uint8_t *data, size_t len)
{
	struct base_error line;
	int rc;

	link->is_inside = true;
	rc = coord_channel_input(&link->channel, data, len, take_plain, link, &line);
	link->is_inside = false;
	if (link->phase == CLOSED)
		return;
	if (rc != 0) {
		end(link, rc == -EBADMSG && link->phase == SHAKING ? -EKEYREJECTED : rc, line.text);
		return;
	}
	if (link->phase == SHAKING && link->channel.phase == COORD_CHANNEL_OPEN) {
		link->phase = READY;
		coord_stream_settle(link->stream);
		link->host->ready(link->ctx);
	}
	flush(link);
}

static void take_upgrade(struct coord_link *link, const uint8_t *data, size_t len)
{
	struct base_error line;
	ssize_t n = coord_http_input(link->answer, data, len, &line);

	if (n < 0) {
		end(link, (int)n, line.text);
		return;
	}
	if (link->answer->phase != COORD_HTTP_DONE)
		return;
	if (link->answer->status != 101 || strcmp(link->answer->upgrade, PROTOCOL) != 0) {
		int rc = coord_http_explain(link->answer, &link->url, &line);

		end(link, rc, line.text);
		return;
	}
	free(link->answer);
	link->answer = NULL;
	link->phase = SHAKING;
	if ((size_t)n < len)
		take_channel(link, data + n, len - (size_t)n);
}

static void on_opened(void *ctx)
{
	struct coord_link *link = ctx;
	char handshake[sodium_base64_ENCODED_LEN(
		COORD_CHANNEL_INITIATION_BYTES, sodium_base64_VARIANT_ORIGINAL)];
	char request[1024];
	int len;

	sodium_bin2base64(handshake, sizeof(handshake), link->initiation, sizeof(link->initiation),
		sodium_base64_VARIANT_ORIGINAL);
	len = snprintf(request, sizeof(request),
		"POST /ts2021 HTTP/1.1\r\nHost: %s\r\nConnection: upgrade\r\nUpgrade: " PROTOCOL
		"\r\n"
		"X-Tailscale-Handshake: %s\r\nContent-Length: 0\r\n\r\n",
		link->url.authority, handshake);
	link->phase = UPGRADING;
	coord_stream_write(link->stream, request, (size_t)len);
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct coord_link *link = ctx;

	if (link->phase == UPGRADING)
		take_upgrade(link, data, len);
	else
		take_channel(link, data, len);
}

static void on_closed(void *ctx, int rc, const char *text)
{
	struct coord_link *link = ctx;
	struct base_error line;

	if (rc != -ECONNRESET) {
		end(link, rc, text);
	} else if (link->phase == UPGRADING) {
		/* An error's body may end with the connection. */
		rc = coord_http_input_end(link->answer, &line);
		if (rc == 0)
			rc = coord_http_explain(link->answer, &link->url, &line);
		end(link, rc, line.text);
	} else if (link->phase == SHAKING) {
		end(link, -EKEYREJECTED,
			"the server ended the handshake: its key is another, or our version too "
			"old for it");
	} else {
		end(link, rc, text);
	}
}

struct coord_link *coord_link_new(uv_loop_t *loop, const struct coord_url *url,
	struct coord_tls_roots *roots, const struct cr_key *machine_private,
	const struct cr_key *server_key, const struct coord_link_host *host, void *ctx,
	struct base_error *ret_error)
{
	static const struct coord_stream_host stream_host = {
		.opened = on_opened,
		.data = on_data,
		.closed = on_closed,
	};
	struct coord_link *link = calloc(1, sizeof(*link));
	int rc = -ENOMEM;

	if (link) {
		link->answer = calloc(1, sizeof(*link->answer));
		link->h2 = coord_h2_new(url->authority);
	}
	if (!link || !link->answer || !link->h2)
		goto err;
	link->url = *url;
	link->host = host;
	link->ctx = ctx;
	rc = coord_channel_init(&link->channel, machine_private, server_key,
		COORD_CAPABILITY_VERSION, link->initiation);
	if (rc != 0)
		goto err;
	link->stream = coord_stream_new(loop, url, roots, &stream_host, link, ret_error);
	if (!link->stream) {
		rc = -errno;
		goto err_told;
	}
	uv_idle_init(loop, &link->later); /* cannot fail */
	link->later.data = link;
	return link;
err:
	base_error_set(ret_error, rc, "%s: %s", url->authority,
		rc == -EINVAL ? "the server's key is none to talk to" : strerror(-rc));
err_told:
	if (link) {
		coord_channel_fini(&link->channel);
		coord_h2_free(link->h2);
		free(link->answer);
		free(link);
	}
	errno = -rc;
	return NULL;
}

void coord_link_free(struct coord_link *link)
{
	if (!link || link->is_freed)
		return;
	link->is_freed = true;
	shut(link);
	uv_close((uv_handle_t *)&link->later, later_closed);
}

int32_t coord_link_request(struct coord_link *link, const char *method, const char *path,
	const void *body, size_t len, const struct coord_h2_answer *answer, void *user)
{
	int32_t id;

	if (link->phase != READY)
		return -ENOTCONN;
	id = coord_h2_request(link->h2, method, path, body, len, answer, user);
	flush(link);
	return id;
}

void coord_link_consumed(struct coord_link *link, int32_t request, size_t len)
{
	coord_h2_consumed(link->h2, request, len);
	flush(link);
}

void coord_link_cancel(struct coord_link *link, int32_t request)
{
	coord_h2_cancel(link->h2, request);
	flush(link);
}
