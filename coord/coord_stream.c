/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_stream.h. Freed when its timer and its connection are closed: callbacks up the stack still find it. */
#include "coord_stream.h"

#include "base_bytes.h"
#include "coord_proxy.h"

#include <netinet/tcp.h>
#include <stdlib.h>

#define READ_BYTES (64u << 10)
#define CONNECT_ANSWER_BYTES_MAX 8192 /* the head of a proxy's answer */
#define KEEPALIVE_S 30                /* of TCP, for middleboxes; liveness is the owner's */
/* A watched one: asked after 2 s of silence, and then each second; 4 s without an acknowledgement are the end. */
#define WATCH_IDLE_S 2
#define WATCH_INTERVAL_S 1
#define WATCH_DEAD_MS 4000

enum phase { DIALLING, TUNNELLING, SHAKING, OPEN, CLOSED };

struct coord_stream {
	uv_loop_t *loop;
	uv_timer_t deadline;
	struct coord_url url;
	struct coord_proxy proxy;
	struct coord_tls_roots *roots;
	struct coord_dial *dial; /* DIALLING */
	uv_tcp_t *tcp;           /* after it */
	struct coord_tls *tls;
	enum phase phase;
	bool is_freed, is_watched;
	struct coord_tls_trust trust;
	unsigned connect_ms; /* while it dials */
	int late_rc;         /* a write failed: told from the loop */
	size_t answer_len;
	char answer[CONNECT_ANSWER_BYTES_MAX];
	uint8_t input[READ_BYTES], clear[16384];
	const struct coord_stream_host *host;
	void *ctx;
};

struct write {
	uv_write_t request;
	struct coord_stream *stream;
	uint8_t data[];
};

static void tcp_closed(uv_handle_t *handle)
{
	free(handle);
}

static void deadline_closed(uv_handle_t *handle)
{
	struct coord_stream *stream = handle->data;

	coord_tls_free(stream->tls);
	free(stream);
}

/* No more input, output, or callbacks of ours. */
static void shut(struct coord_stream *stream)
{
	if (stream->phase == CLOSED)
		return;
	stream->phase = CLOSED;
	if (stream->dial)
		coord_dial_cancel(stream->dial);
	if (stream->tcp) {
		stream->tcp->data = NULL;
		uv_close((uv_handle_t *)stream->tcp, tcp_closed);
	}
	stream->dial = NULL;
	stream->tcp = NULL;
	uv_timer_stop(&stream->deadline);
	coord_proxy_wipe(&stream->proxy);
}

static void end(struct coord_stream *stream, int rc, const char *line)
{
	if (stream->phase == CLOSED)
		return;
	shut(stream);
	stream->host->closed(stream->ctx, rc, line);
}

static void on_late(uv_timer_t *timer)
{
	struct coord_stream *stream = timer->data;

	end(stream, stream->late_rc,
		stream->late_rc == -ENOBUFS
			? "the server takes nothing in: too much waits to be sent"
			: uv_strerror(stream->late_rc));
}

/* The owner is in the midst of writing: it hears of it from the loop. */
static int end_later(struct coord_stream *stream, int rc)
{
	if (stream->late_rc == 0) {
		stream->late_rc = rc;
		uv_timer_start(&stream->deadline, on_late, 0, 0);
	}
	return rc;
}

static void on_deadline(uv_timer_t *timer)
{
	static const char *const doing[] = {"looking it up and connecting", "waiting for the proxy",
		"shaking hands for TLS", "waiting for an answer"};
	struct coord_stream *stream = timer->data;
	struct base_error line;

	base_error_set(&line, 0, "%s: nothing within %g s, %s", stream->url.authority,
		(stream->phase == DIALLING ? stream->connect_ms : COORD_STREAM_DEADLINE_MS) / 1e3,
		doing[stream->phase]);
	end(stream, -ETIMEDOUT, line.text);
}

static void on_written(uv_write_t *request, int rc)
{
	struct write *write = request->data;
	struct coord_stream *stream = write->stream;

	/* A stream that was closed meanwhile may be gone; its handle then carries no stream. */
	bool is_there = request->handle->data == stream;

	free(write);
	if (!is_there || rc == UV_ECANCELED)
		return;
	if (rc != 0)
		end(stream, rc, uv_strerror(rc));
	else if (stream->phase == OPEN && stream->host->drained &&
		coord_stream_waiting(stream) == 0)
		stream->host->drained(stream->ctx);
}

size_t coord_stream_waiting(const struct coord_stream *stream)
{
	return stream->tcp ? uv_stream_get_write_queue_size((uv_stream_t *)stream->tcp) : 0;
}

/* Room for @len bytes, to be filled and then given to write_out(). NULL: @ret_rc says why. */
static struct write *write_new(struct coord_stream *stream, size_t len, int *ret_rc)
{
	struct write *write = NULL;

	if (stream->phase == CLOSED || !stream->tcp)
		*ret_rc = -ENOTCONN;
	else if (stream->late_rc != 0)
		*ret_rc = stream->late_rc;
	else if (coord_stream_waiting(stream) + len > COORD_STREAM_QUEUE_BYTES_MAX)
		*ret_rc = end_later(stream, -ENOBUFS);
	else if (!(write = malloc(sizeof(*write) + len)))
		*ret_rc = end_later(stream, -ENOMEM);
	return write;
}

static int write_out(struct coord_stream *stream, struct write *write, size_t len)
{
	uv_buf_t buf = uv_buf_init((char *)write->data, (unsigned)len);
	int rc;

	write->request.data = write;
	write->stream = stream;
	rc = uv_write(&write->request, (uv_stream_t *)stream->tcp, &buf, 1, on_written);
	if (rc != 0) {
		free(write);
		return end_later(stream, rc);
	}
	return 0;
}

static int write_raw(struct coord_stream *stream, const void *data, size_t len)
{
	int rc;
	struct write *write = write_new(stream, len, &rc);

	if (!write)
		return rc;
	memcpy(write->data, data, len);
	return write_out(stream, write, len);
}

/* All that TLS has to say, in one write. */
static int flush_tls(struct coord_stream *stream)
{
	size_t len = coord_tls_output_len(stream->tls);
	struct write *write;
	int rc;

	if (len == 0)
		return 0;
	write = write_new(stream, len, &rc);
	if (!write)
		return rc;
	return write_out(stream, write, coord_tls_output(stream->tls, write->data, len));
}

int coord_stream_write(struct coord_stream *stream, const void *data, size_t len)
{
	int rc;

	if (stream->phase != OPEN)
		return -ENOTCONN;
	if (!stream->tls)
		return write_raw(stream, data, len);
	rc = coord_tls_write(stream->tls, data, len);
	if (rc != 0)
		return end_later(stream, rc);
	return flush_tls(stream);
}

static void open_up(struct coord_stream *stream)
{
	stream->phase = OPEN;
	stream->host->opened(stream->ctx);
}

/* Handshake as far as it goes, then what is inside. */
static void step_tls(struct coord_stream *stream)
{
	struct base_error line;
	int n = 0;

	if (stream->phase == SHAKING) {
		int rc = coord_tls_shake(stream->tls, &line);

		/* An alert of ours tells the server why. */
		if (flush_tls(stream) != 0)
			return;
		if (rc == -EAGAIN)
			return;
		if (rc != 0) {
			end(stream, rc, line.text);
			return;
		}
		open_up(stream);
	}
	while (stream->phase == OPEN) {
		n = coord_tls_read(stream->tls, stream->clear, sizeof(stream->clear), &line);
		if (n <= 0)
			break;
		stream->host->data(stream->ctx, stream->clear, (size_t)n);
	}
	if (stream->phase != OPEN)
		return;
	if (n < 0)
		end(stream, n, line.text);
	else
		flush_tls(stream); /* answers of TLS itself */
}

static void begin_session(struct coord_stream *stream)
{
	if (!stream->url.is_tls) {
		open_up(stream);
		return;
	}
	stream->tls = coord_tls_new(stream->roots, stream->url.host);
	if (!stream->tls || coord_tls_trust(stream->tls, &stream->trust) != 0) {
		end(stream, -ENOMEM, "TLS: out of memory");
		return;
	}
	stream->phase = SHAKING;
	step_tls(stream);
}

/* The session's bytes, behind any proxy. */
static void take(struct coord_stream *stream, const uint8_t *data, size_t len)
{
	if (!stream->tls) {
		stream->host->data(stream->ctx, data, len);
		return;
	}
	if (coord_tls_input(stream->tls, data, len) != 0)
		end(stream, -ENOMEM, "TLS: out of memory");
	else
		step_tls(stream);
}

/* The proxy's answer: a status line that begins with HTTP/1.x 2xx, headers that say nothing to us, an empty line. */
static void take_proxy(struct coord_stream *stream, const uint8_t *data, size_t len)
{
	size_t room = sizeof(stream->answer) - stream->answer_len, n = len < room ? len : room,
	       head;
	const char *end_of_head;
	struct base_error line;

	memcpy(stream->answer + stream->answer_len, data, n);
	stream->answer_len += n;
	end_of_head = memmem(stream->answer, stream->answer_len, "\r\n\r\n", 4);
	if (!end_of_head && stream->answer_len < sizeof(stream->answer))
		return;
	if (!end_of_head || stream->answer_len < 12 || memcmp(stream->answer, "HTTP/1.", 7) != 0 ||
		stream->answer[9] != '2') {
		bool is_http = stream->answer_len >= 12 && !memcmp(stream->answer, "HTTP/1.", 7);

		base_error_set(&line, 0, "the proxy %s does not let us through to %s: %.3s",
			stream->proxy.host, stream->url.authority,
			is_http ? stream->answer + 9 : "no HTTP");
		end(stream, -ECONNREFUSED, line.text);
		return;
	}
	head = (size_t)(end_of_head + 4 - stream->answer);
	n -= stream->answer_len - head; /* of @data, what was head */
	coord_proxy_wipe(&stream->proxy);
	begin_session(stream);
	if (n < len && stream->phase != CLOSED)
		take(stream, data + n, len - n);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
	struct coord_stream *stream = handle->data;

	*ret_buf = stream ? uv_buf_init((char *)stream->input, sizeof(stream->input))
			  : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf)
{
	struct coord_stream *stream = tcp->data;

	if (!stream || n == 0)
		return;
	if (n == UV_EOF)
		end(stream, -ECONNRESET, "the server closed the connection");
	else if (n < 0)
		end(stream, (int)n, uv_strerror((int)n));
	else if (stream->phase == TUNNELLING)
		take_proxy(stream, stream->input, (size_t)n);
	else
		take(stream, stream->input, (size_t)n);
}

static void ask_proxy(struct coord_stream *stream)
{
	char request[COORD_PROXY_CONNECT_BYTES_MAX];
	size_t len = coord_proxy_connect(request, &stream->proxy, &stream->url);

	stream->phase = TUNNELLING;
	if (len == 0)
		end(stream, -EINVAL, "the proxy's credentials are too long");
	else
		write_raw(stream, request, len);
	base_wipe(request, sizeof(request));
}

/* What cannot be set is not worth a connection. */
static void watch(uv_tcp_t *tcp)
{
	const int idle_s = WATCH_IDLE_S, interval_s = WATCH_INTERVAL_S, dead_ms = WATCH_DEAD_MS;
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)tcp, &fd) != 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

static void on_dialled(void *ctx, uv_tcp_t *tcp, int rc, const char *line)
{
	struct coord_stream *stream = ctx;

	stream->dial = NULL;
	if (rc != 0) {
		struct base_error why;

		base_error_set(&why, rc, "%s%s", stream->proxy.is_used ? "proxy " : "", line);
		end(stream, rc, why.text);
		return;
	}
	stream->tcp = tcp;
	tcp->data = stream;
	uv_tcp_nodelay(tcp, 1);
	uv_tcp_keepalive(tcp, 1, KEEPALIVE_S);
	if (stream->is_watched)
		watch(tcp);
	if (stream->connect_ms < COORD_STREAM_DEADLINE_MS)
		uv_timer_start(&stream->deadline, on_deadline,
			COORD_STREAM_DEADLINE_MS - stream->connect_ms, 0);
	rc = uv_read_start((uv_stream_t *)tcp, on_alloc, on_read);
	if (rc != 0)
		end(stream, rc, uv_strerror(rc));
	else if (stream->proxy.is_used)
		ask_proxy(stream);
	else
		begin_session(stream);
}

static int start(struct coord_stream *stream, const struct coord_stream_wish *wish)
{
	struct coord_dial_target target = {.host = stream->url.host, .port = stream->url.port};

	if (stream->proxy.is_used)
		target = (struct coord_dial_target){
			.host = stream->proxy.host, .port = stream->proxy.port};
	else if (wish->target)
		target = *wish->target;
	stream->is_watched = wish->is_watched;
	stream->connect_ms = wish->connect_ms ? wish->connect_ms : COORD_STREAM_DEADLINE_MS;
	if (wish->trust)
		stream->trust = *wish->trust;
	uv_timer_start(&stream->deadline, on_deadline, stream->connect_ms, 0);
	return coord_dial_start_to(&stream->dial, stream->loop, &target, on_dialled, stream);
}

static struct coord_stream *stream_new(uv_loop_t *loop, const struct coord_url *url,
	const struct coord_stream_wish *wish, struct base_error *ret_error)
{
	struct coord_stream *stream = calloc(1, sizeof(*stream));
	int rc = -ENOMEM;

	if (!stream)
		goto err;
	stream->loop = loop;
	stream->url = *url;
	rc = coord_proxy_find(&stream->proxy, url, ret_error);
	if (rc != 0)
		goto err_told;
	rc = uv_timer_init(loop, &stream->deadline);
	if (rc != 0)
		goto err;
	stream->deadline.data = stream;
	rc = start(stream, wish);
	if (rc != 0) {
		coord_stream_free(stream);
		stream = NULL;
		goto err;
	}
	return stream;
err:
	base_error_set(ret_error, rc, "%s: %s", url->authority, uv_strerror(rc));
err_told:
	free(stream);
	errno = -rc;
	return NULL;
}

struct coord_stream *coord_stream_new(uv_loop_t *loop, const struct coord_url *url,
	struct coord_tls_roots *roots, const struct coord_stream_host *host, void *ctx,
	struct base_error *ret_error)
{
	const struct coord_stream_wish nothing = {0};
	struct coord_stream *stream = stream_new(loop, url, &nothing, ret_error);

	if (stream) {
		stream->roots = roots;
		stream->host = host;
		stream->ctx = ctx;
	}
	return stream;
}

struct coord_stream *coord_stream_new_as(uv_loop_t *loop, const struct coord_url *url,
	const struct coord_stream_wish *wish, struct coord_tls_roots *roots,
	const struct coord_stream_host *host, void *ctx)
{
	struct coord_stream *stream = stream_new(loop, url, wish, NULL);

	if (stream) {
		stream->roots = roots;
		stream->host = host;
		stream->ctx = ctx;
	}
	return stream;
}

void coord_stream_free(struct coord_stream *stream)
{
	if (!stream || stream->is_freed)
		return;
	stream->is_freed = true;
	shut(stream);
	uv_close((uv_handle_t *)&stream->deadline, deadline_closed);
}

void coord_stream_settle(struct coord_stream *stream)
{
	if (stream->phase == OPEN && stream->late_rc == 0)
		uv_timer_stop(&stream->deadline);
}

bool coord_stream_local(const struct coord_stream *stream, struct base_addr *ret_addr)
{
	struct sockaddr_storage name;
	int len = sizeof(name);

	if (!stream->tcp || uv_tcp_getsockname(stream->tcp, (struct sockaddr *)&name, &len) != 0)
		return false;
	if (name.ss_family == AF_INET)
		*ret_addr = base_addr_from_bytes(
			BASE_FAMILY_V4, &((struct sockaddr_in *)&name)->sin_addr);
	else
		*ret_addr = base_addr_from_bytes(
			BASE_FAMILY_V6, &((struct sockaddr_in6 *)&name)->sin6_addr);
	return true;
}
