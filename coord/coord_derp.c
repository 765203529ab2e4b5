/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See coord_derp.h. Freed when its handles are closed: callbacks up the stack still find it, and see that its phase is CLOSED.
 */
#include "coord_derp.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "coord_derp_frame.h"
#include "coord_disco.h"
#include "coord_http.h"
#include "coord_stream.h"

#include <stdlib.h>

#include <sodium.h>

#define BATCH_BYTES (COORD_DERP_OVERHEAD_BYTES + COORD_DERP_PACKET_BYTES_MAX)
#define SLOT_BYTES 2048        /* places of packets grow by this */
#define ANSWERS_BYTES_MAX 8192 /* of pongs that a relay does not take in */

enum phase { DIALLING, UPGRADING, GREETING, LOGGING_IN, OPEN, CLOSED };

/* A whole frame that waits. Its memory stays for the next one. */
struct slot {
	uint8_t *frame;
	size_t len, size;
};

struct queue {
	struct slot slots[COORD_DERP_QUEUE_PACKETS];
	unsigned first, n;
};

enum { QUEUE_DISCO, QUEUE_REST, QUEUE_COUNT };

struct coord_derp {
	const struct coord_derp_setup *setup;
	const struct coord_derp_region *region;
	const struct coord_derp_host *host;
	void *ctx;
	enum phase phase;
	bool is_freed, is_home;
	/* Who is tried: a node by the addresses of its entry, then by its name. */
	size_t node;
	bool is_by_name;
	struct base_error
		why; /* the last one was of no use; the name's failure does not hide the addresses' */
	struct coord_stream *stream;
	struct coord_url url;
	struct coord_http_answer *answer; /* UPGRADING */
	struct coord_derp_reader reader;
	struct cr_key server;
	struct coord_derp_server_info info;
	struct queue queues[QUEUE_COUNT];
	uint8_t *batch;
	uint64_t tokens_bytes, tokens_at_ns; /* the relay's pace */
	/* One turn of the loop ends before it waits (prepare) and after it heard (check). */
	uv_prepare_t before_wait;
	uv_check_t after_wait;
	uv_timer_t watch;
	unsigned n_handles;
	uint8_t ping[COORD_DERP_PING_BYTES];
	uint64_t ping_at_ns; /* 0: none under way */
	struct base_error health;
	struct coord_derp_stats stats;
};

/* --- the end --------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
	struct coord_derp *derp = handle->data;

	if (--derp->n_handles > 0)
		return;
	for (unsigned i = 0; i < QUEUE_COUNT; i++)
		for (unsigned j = 0; j < COORD_DERP_QUEUE_PACKETS; j++)
			free(derp->queues[i].slots[j].frame);
	coord_derp_reader_fini(&derp->reader);
	free(derp->batch);
	free(derp);
}

static void shut(struct coord_derp *derp)
{
	if (derp->phase == CLOSED)
		return;
	derp->phase = CLOSED;
	coord_stream_free(derp->stream);
	derp->stream = NULL;
	free(derp->answer);
	derp->answer = NULL;
	uv_prepare_stop(&derp->before_wait);
	uv_check_stop(&derp->after_wait);
	uv_timer_stop(&derp->watch);
}

void coord_derp_free(struct coord_derp *derp)
{
	if (!derp || derp->is_freed)
		return;
	derp->is_freed = true;
	shut(derp);
	uv_close((uv_handle_t *)&derp->before_wait, handle_closed);
	uv_close((uv_handle_t *)&derp->after_wait, handle_closed);
	uv_close((uv_handle_t *)&derp->watch, handle_closed);
}

static void end(struct coord_derp *derp, int rc, const char *line)
{
	if (derp->phase == CLOSED)
		return;
	shut(derp);
	derp->host->closed(derp->ctx, rc, line);
}

/* --- out ------------------------------------------------------------------------------------- */

/* A short frame, past the queues. */
static void write_frame(
	struct coord_derp *derp, enum coord_derp_type type, const void *payload, size_t len)
{
	uint8_t frame[COORD_DERP_HEAD_BYTES + COORD_DERP_PING_BYTES];

	if (derp->phase < LOGGING_IN || derp->phase == CLOSED)
		return;
	coord_derp_head(frame, type, len);
	memcpy(frame + COORD_DERP_HEAD_BYTES, payload, len);
	coord_stream_write(derp->stream, frame, COORD_DERP_HEAD_BYTES + len);
}

static void write_preferred(struct coord_derp *derp)
{
	const uint8_t is_home = derp->is_home;

	write_frame(derp, COORD_DERP_NOTE_PREFERRED, &is_home, 1);
}

/* The relay's bucket: may @len bytes go now? */
static bool is_paid(struct coord_derp *derp, size_t len, uint64_t now_ns)
{
	uint64_t rate = derp->info.bytes_per_s,
		 most = derp->info.burst_bytes ? derp->info.burst_bytes : rate, earned;

	if (rate == 0)
		return true;
	/* Beyond a second the time has nothing to add that could overflow. */
	earned = now_ns - derp->tokens_at_ns;
	earned = earned >= 3600 * BASE_NS_PER_S ? most
						: (uint64_t)((double)earned * (double)rate / 1e9);
	if (earned > 0) {
		derp->tokens_at_ns = now_ns;
		derp->tokens_bytes =
			earned >= most - derp->tokens_bytes ? most : derp->tokens_bytes + earned;
	}
	if (derp->tokens_bytes < len) {
		derp->stats.n_paced++;
		return false;
	}
	derp->tokens_bytes -= len;
	return true;
}

/* As many frames as one write takes. Returns their bytes. */
static size_t fill_batch(struct coord_derp *derp, uint64_t now_ns)
{
	size_t len = 0;

	for (unsigned i = 0; i < QUEUE_COUNT; i++) {
		struct queue *queue = &derp->queues[i];

		while (queue->n > 0) {
			struct slot *slot = &queue->slots[queue->first];

			if (slot->len > BATCH_BYTES - len)
				return len;
			if (is_paid(derp, slot->len, now_ns)) {
				memcpy(derp->batch + len, slot->frame, slot->len);
				len += slot->len;
				derp->stats.n_sent++;
			}
			queue->first = (queue->first + 1) % COORD_DERP_QUEUE_PACKETS;
			queue->n--;
		}
	}
	return len;
}

/* What waits, unless the kernel still has the last of it: then it goes when that is done. */
static void flush(struct coord_derp *derp)
{
	uint64_t now_ns;

	uv_prepare_stop(&derp->before_wait);
	uv_check_stop(&derp->after_wait);
	if (derp->phase != LOGGING_IN && derp->phase != OPEN)
		return;
	now_ns = base_clock_now_ns();
	while (coord_stream_waiting(derp->stream) == 0) {
		size_t len = fill_batch(derp, now_ns);

		if (len == 0)
			return;
		derp->stats.n_writes++;
		if (coord_stream_write(derp->stream, derp->batch, len) != 0)
			return; /* the stream tells why */
	}
}

static void on_before_wait(uv_prepare_t *prepare)
{
	flush(prepare->data);
}

static void on_after_wait(uv_check_t *check)
{
	flush(check->data);
}

static void on_drained(void *ctx)
{
	flush(ctx);
}

static struct slot *slot_new(struct coord_derp *derp, struct queue *queue, size_t len)
{
	struct slot *slot;

	if (queue->n == COORD_DERP_QUEUE_PACKETS) {
		queue->first = (queue->first + 1) % COORD_DERP_QUEUE_PACKETS;
		queue->n--;
		derp->stats.n_dropped++;
	}
	slot = &queue->slots[(queue->first + queue->n) % COORD_DERP_QUEUE_PACKETS];
	if (len > slot->size) {
		size_t size = (len + SLOT_BYTES - 1) / SLOT_BYTES * SLOT_BYTES;
		uint8_t *frame = realloc(slot->frame, size);

		if (!frame)
			return NULL;
		slot->frame = frame;
		slot->size = size;
	}
	slot->len = len;
	queue->n++;
	return slot;
}

int coord_derp_send(
	struct coord_derp *derp, const struct cr_key *peer, const void *packet, size_t len)
{
	struct cr_key sender;
	bool is_disco = coord_disco_looks(packet, len, &sender);
	struct slot *slot;

	if (derp->phase == CLOSED)
		return -ENOTCONN;
	if (len == 0 || len > COORD_DERP_PACKET_BYTES_MAX)
		return -EMSGSIZE;
	slot = slot_new(derp, &derp->queues[is_disco ? QUEUE_DISCO : QUEUE_REST],
		COORD_DERP_OVERHEAD_BYTES + len);
	if (!slot)
		return -ENOMEM;
	coord_derp_head(slot->frame, COORD_DERP_SEND_PACKET, CR_KEY_BYTES + len);
	memcpy(slot->frame + COORD_DERP_HEAD_BYTES, peer->bytes, CR_KEY_BYTES);
	memcpy(slot->frame + COORD_DERP_OVERHEAD_BYTES, packet, len);
	uv_prepare_start(&derp->before_wait, on_before_wait);
	uv_check_start(&derp->after_wait, on_after_wait);
	return 0;
}

void coord_derp_prefer(struct coord_derp *derp, bool is_home)
{
	if (derp->is_home == is_home)
		return;
	derp->is_home = is_home;
	write_preferred(derp);
}

/* --- watching -------------------------------------------------------------------------------- */

static void on_watch(uv_timer_t *timer);

static void watch_start(struct coord_derp *derp)
{
	uint64_t now_ns = base_clock_now_ns(),
		 due_ns = derp->stats.last_frame_ns + COORD_DERP_SILENCE_MS * BASE_NS_PER_MS;

	if (derp->ping_at_ns && derp->ping_at_ns + COORD_DERP_PING_MS * BASE_NS_PER_MS < due_ns)
		due_ns = derp->ping_at_ns + COORD_DERP_PING_MS * BASE_NS_PER_MS;
	uv_timer_start(&derp->watch, on_watch,
		due_ns > now_ns ? (due_ns - now_ns) / BASE_NS_PER_MS + 1 : 0, 0);
}

static void on_watch(uv_timer_t *timer)
{
	struct coord_derp *derp = timer->data;
	uint64_t now_ns = base_clock_now_ns();

	if (derp->ping_at_ns && now_ns - derp->ping_at_ns >= COORD_DERP_PING_MS * BASE_NS_PER_MS)
		end(derp, -ETIMEDOUT, "the relay does not answer");
	else if (now_ns - derp->stats.last_frame_ns >= COORD_DERP_SILENCE_MS * BASE_NS_PER_MS)
		end(derp, -ETIMEDOUT, "the relay says nothing any more");
	else
		watch_start(derp);
}

void coord_derp_ping(struct coord_derp *derp)
{
	if (derp->phase != OPEN || derp->ping_at_ns)
		return;
	randombytes_buf(derp->ping, sizeof(derp->ping));
	derp->ping_at_ns = base_clock_now_ns();
	write_frame(derp, COORD_DERP_PING, derp->ping, sizeof(derp->ping));
	watch_start(derp);
}

static void take_pong(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	uint64_t rtt_us;

	if (!derp->ping_at_ns || frame->len < sizeof(derp->ping) ||
		memcmp(frame->payload, derp->ping, sizeof(derp->ping)) != 0)
		return;
	rtt_us = (base_clock_now_ns() - derp->ping_at_ns) / BASE_NS_PER_US;
	derp->stats.rtt_us = rtt_us > 0 ? (uint32_t)rtt_us : 1;
	derp->ping_at_ns = 0;
}

bool coord_derp_is_open(const struct coord_derp *derp)
{
	return derp->phase == OPEN;
}

static bool is_ours(const uv_interface_address_t *interface, const struct base_addr *addr)
{
	const struct sockaddr *name = (const struct sockaddr *)&interface->address;

	if (addr->family == BASE_FAMILY_V4)
		return name->sa_family == AF_INET &&
			memcmp(&interface->address.address4.sin_addr, addr->bytes, 4) == 0;
	return name->sa_family == AF_INET6 &&
		memcmp(&interface->address.address6.sin6_addr, addr->bytes, 16) == 0;
}

bool coord_derp_is_stranded(const struct coord_derp *derp)
{
	uv_interface_address_t *interfaces;
	struct base_addr addr;
	bool is_there = false;
	int n;

	if (!derp->stream || !coord_stream_local(derp->stream, &addr) ||
		(addr.family == BASE_FAMILY_V4 && addr.bytes[0] == 127) ||
		uv_interface_addresses(&interfaces, &n) != 0)
		return false;
	for (int i = 0; i < n && !is_there; i++)
		is_there = is_ours(&interfaces[i], &addr);
	uv_free_interface_addresses(interfaces, n);
	return !is_there;
}

struct coord_derp_stats coord_derp_stats(const struct coord_derp *derp)
{
	struct coord_derp_stats stats = derp->stats;

	stats.node = derp->node < derp->region->n_nodes ? derp->region->nodes[derp->node].name : "";
	stats.health = derp->health.text;
	return stats;
}

/* --- in -------------------------------------------------------------------------------------- */

static void next_node(struct coord_derp *derp, int rc, const char *text);

static int greet(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	uint8_t nonce[COORD_DERP_NONCE_BYTES], info[COORD_DERP_CLIENT_INFO_BYTES];
	int rc = coord_derp_read_server_key(frame, &derp->server);

	if (rc != 0)
		return rc;
	randombytes_buf(nonce, sizeof(nonce));
	rc = coord_derp_client_info(info, &derp->setup->node_private, &derp->server, nonce);
	if (rc != 0)
		return rc;
	derp->phase = LOGGING_IN;
	coord_stream_write(derp->stream, info, sizeof(info));
	if (derp->is_home)
		write_preferred(derp);
	flush(derp);
	return 0;
}

static int log_in(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	int rc = coord_derp_read_server_info(
		frame, &derp->setup->node_private, &derp->server, &derp->info);

	if (rc != 0)
		return rc;
	derp->tokens_at_ns = base_clock_now_ns();
	derp->tokens_bytes =
		derp->info.burst_bytes ? derp->info.burst_bytes : derp->info.bytes_per_s;
	derp->phase = OPEN;
	coord_stream_settle(derp->stream);
	watch_start(derp);
	derp->host->opened(derp->ctx);
	return 0;
}

static void take_packet(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	struct cr_key source;

	if (frame->len <= CR_KEY_BYTES)
		return;
	memcpy(source.bytes, frame->payload, CR_KEY_BYTES);
	derp->stats.n_received++;
	derp->host->packet(
		derp->ctx, &source, frame->payload + CR_KEY_BYTES, frame->len - CR_KEY_BYTES);
}

static void take_gone(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	struct cr_key peer;

	if (frame->len < CR_KEY_BYTES)
		return;
	memcpy(peer.bytes, frame->payload, CR_KEY_BYTES);
	derp->host->gone(derp->ctx, &peer);
}

/* @payload is text of the relay: line breaks and controls do not pass. */
static void take_health(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	int len = frame->len < sizeof(derp->health.text) ? (int)frame->len
							 : (int)sizeof(derp->health.text) - 1;

	base_error_set(&derp->health, 0, "%.*s", len, (const char *)frame->payload);
}

static int take_open(struct coord_derp *derp, const struct coord_derp_frame *frame)
{
	switch (frame->type) {
	case COORD_DERP_RECV_PACKET:
		take_packet(derp, frame);
		break;
	case COORD_DERP_PEER_GONE:
		take_gone(derp, frame);
		break;
	case COORD_DERP_PING:
		if (frame->len >= COORD_DERP_PING_BYTES &&
			coord_stream_waiting(derp->stream) < ANSWERS_BYTES_MAX + BATCH_BYTES)
			write_frame(derp, COORD_DERP_PONG, frame->payload, COORD_DERP_PING_BYTES);
		break;
	case COORD_DERP_PONG:
		take_pong(derp, frame);
		break;
	case COORD_DERP_HEALTH:
		take_health(derp, frame);
		break;
	case COORD_DERP_RESTARTING:
		if (frame->len >= 4)
			derp->stats.restart_after_ms = base_load_be32(frame->payload);
		break;
	case COORD_DERP_SERVER_INFO:
		return derp->phase == LOGGING_IN ? log_in(derp, frame) : 0;
	default: /* KeepAlive; a second ServerKey */
		break;
	}
	return 0;
}

static void take_frames(struct coord_derp *derp, const uint8_t *data, size_t len)
{
	struct coord_derp_frame frame;
	int rc;

	while (derp->phase != CLOSED) {
		rc = coord_derp_reader_next(&derp->reader, &data, &len, &frame);
		if (rc == 0)
			return;
		if (rc > 0)
			rc = derp->phase == GREETING ? greet(derp, &frame)
						     : take_open(derp, &frame);
		if (rc == 0)
			continue;
		next_node(derp, rc,
			rc == -EACCES             ? "the relay's answer to the login does not open"
				: rc == -EMSGSIZE ? "the relay sent a frame beyond all bounds"
						  : "what the relay sent is no DERP");
		return;
	}
}

static void on_data(void *ctx, const uint8_t *data, size_t len)
{
	struct coord_derp *derp = ctx;
	struct base_error line;
	ssize_t n = 0;

	derp->stats.last_frame_ns = base_clock_now_ns();
	if (derp->phase == UPGRADING) {
		n = coord_http_input(derp->answer, data, len, &line);
		if (n < 0) {
			next_node(derp, (int)n, line.text);
			return;
		}
		if (derp->answer->phase != COORD_HTTP_DONE)
			return;
		if (derp->answer->status != 101) {
			int rc = coord_http_explain(derp->answer, &derp->url, &line);

			next_node(derp, rc, line.text);
			return;
		}
		free(derp->answer);
		derp->answer = NULL;
		derp->phase = GREETING;
	}
	take_frames(derp, data + n, len - (size_t)n);
}

/* --- the beginning --------------------------------------------------------------------------- */

static void on_opened(void *ctx)
{
	struct coord_derp *derp = ctx;
	char request[512];
	int len = snprintf(request, sizeof(request),
		"GET /derp HTTP/1.1\r\nHost: %s\r\nUser-Agent: sandd-gw\r\nConnection: Upgrade\r\n"
		"Upgrade: DERP\r\n\r\n",
		derp->url.authority);

	derp->answer = calloc(1, sizeof(*derp->answer));
	if (!derp->answer) {
		end(derp, -ENOMEM, "out of memory");
		return;
	}
	derp->phase = UPGRADING;
	coord_stream_write(derp->stream, request, (size_t)len);
}

static void on_closed(void *ctx, int rc, const char *text)
{
	struct coord_derp *derp = ctx;

	if (derp->phase == LOGGING_IN && rc == -ECONNRESET)
		text = "the relay does not admit this node: it closed the connection at the login";
	next_node(derp, rc, text);
}

static bool has_addrs(const struct coord_derp_node *node)
{
	return (node->v4.family && !node->has_no_v4) || (node->v6.family && !node->has_no_v6);
}

static int make_url(struct coord_derp *derp, struct base_error *ret_error)
{
	const struct coord_derp_node *node = &derp->region->nodes[derp->node];
	bool is_plain = derp->setup->is_plain, is_v6 = strchr(node->host, ':') != NULL;
	char text[320];

	if ((size_t)snprintf(text, sizeof(text), "%s://%s%s%s:%u/derp", is_plain ? "http" : "https",
		    is_v6 ? "[" : "", node->host, is_v6 ? "]" : "",
		    (unsigned)node->derp_port) >= sizeof(text))
		return base_error_set(ret_error, -EINVAL, "a relay's name is too long");
	return coord_url_parse(&derp->url, text, ret_error);
}

static int dial(struct coord_derp *derp, struct base_error *ret_error)
{
	static const struct coord_stream_host host = {
		.opened = on_opened,
		.data = on_data,
		.closed = on_closed,
		.drained = on_drained,
	};
	const struct coord_derp_node *node = &derp->region->nodes[derp->node];
	struct coord_tls_trust trust;
	struct coord_dial_target target = {
		.has_no_v4 = node->has_no_v4, .has_no_v6 = node->has_no_v6};
	struct coord_stream_wish wish = {.target = &target,
		.trust = &trust,
		.connect_ms = COORD_DERP_CONNECT_MS,
		.is_watched = true};
	int rc = make_url(derp, ret_error);

	if (rc != 0)
		return rc;
	if (coord_tls_trust_parse(&trust, node->cert_name, node->is_insecure) != 0)
		return base_error_set(ret_error, -EINVAL,
			"relay %s: the map's CertName is neither a name nor a SHA-256", node->name);
	target.host = derp->url.host;
	target.port = derp->url.port;
	if (!derp->is_by_name && node->v4.family && !node->has_no_v4)
		target.addrs[target.n_addrs++] = node->v4;
	if (!derp->is_by_name && node->v6.family && !node->has_no_v6)
		target.addrs[target.n_addrs++] = node->v6;
	derp->phase = DIALLING;
	derp->stream = coord_stream_new_as(
		derp->setup->loop, &derp->url, &wish, derp->setup->roots, &host, derp);
	return derp->stream
		? 0
		: base_error_set(ret_error, -errno, "%s: %s", derp->url.authority, strerror(errno));
}

/*
 * To the next one to be tried; the same by its name only if its addresses could not be reached. False: there is none.
 */
static bool step(struct coord_derp *derp, bool is_reached)
{
	const struct coord_derp_node *node = &derp->region->nodes[derp->node];
	bool has_both =
		(node->v4.family || node->has_no_v4) && (node->v6.family || node->has_no_v6);

	if (!derp->is_by_name && !has_both && !is_reached) {
		derp->is_by_name = true;
		return true;
	}
	do
		derp->node++;
	while (derp->node < derp->region->n_nodes && derp->region->nodes[derp->node].is_stun_only);
	if (derp->node >= derp->region->n_nodes)
		return false;
	derp->is_by_name = !has_addrs(&derp->region->nodes[derp->node]);
	return true;
}

static void note_failure(struct coord_derp *derp, const char *text)
{
	if (!derp->is_by_name || !has_addrs(&derp->region->nodes[derp->node]))
		base_error_set(&derp->why, 0, "%s", text);
}

/* Once logged in there is no next. */
static void next_node(struct coord_derp *derp, int rc, const char *text)
{
	bool is_reached = derp->phase != DIALLING || rc == -EACCES || rc == -EPROTO;
	struct base_error line;

	if (derp->phase == CLOSED)
		return;
	base_error_set(&line, rc, "%s", text);
	if (derp->phase == OPEN) {
		end(derp, rc, line.text);
		return;
	}
	note_failure(derp, line.text);
	coord_stream_free(derp->stream);
	derp->stream = NULL;
	free(derp->answer);
	derp->answer = NULL;
	coord_derp_reader_fini(&derp->reader);
	while (step(derp, is_reached)) {
		rc = dial(derp, &line);
		if (rc == 0)
			return;
		note_failure(derp, line.text);
		is_reached = false;
	}
	end(derp, rc, derp->why.text);
}

static int start(struct coord_derp *derp, struct base_error *ret_error)
{
	const struct coord_derp_region *region = derp->region;

	while (derp->node < region->n_nodes && region->nodes[derp->node].is_stun_only)
		derp->node++;
	if (derp->node >= region->n_nodes)
		return base_error_set(ret_error, -ENOENT, "region %u has no relay", region->id);
	derp->is_by_name = !has_addrs(&region->nodes[derp->node]);
	for (;;) {
		int rc = dial(derp, ret_error);

		if (rc == 0 || !step(derp, false))
			return rc;
	}
}

struct coord_derp *coord_derp_new(const struct coord_derp_setup *setup,
	const struct coord_derp_region *region, const struct coord_derp_host *host, void *ctx,
	struct base_error *ret_error)
{
	struct coord_derp *derp = calloc(1, sizeof(*derp));
	int rc;

	if (derp)
		derp->batch = malloc(BATCH_BYTES);
	if (!derp || !derp->batch) {
		free(derp);
		base_error_set(ret_error, -ENOMEM, "out of memory");
		errno = ENOMEM;
		return NULL;
	}
	derp->setup = setup;
	derp->region = region;
	derp->host = host;
	derp->ctx = ctx;
	/* These three cannot fail: they only fill in the handle. */
	uv_prepare_init(setup->loop, &derp->before_wait);
	uv_check_init(setup->loop, &derp->after_wait);
	uv_timer_init(setup->loop, &derp->watch);
	derp->before_wait.data = derp->after_wait.data = derp->watch.data = derp;
	derp->n_handles = 3;
	rc = start(derp, ret_error);
	if (rc != 0) {
		coord_derp_free(derp);
		errno = -rc;
		return NULL;
	}
	return derp;
}
