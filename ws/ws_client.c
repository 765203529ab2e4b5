/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ws_client.h. One state, one timer:
 *
 *	state        entered by                     the timer then means          left by
 *	WAITING      start, any loss                dial now                      timer
 *	RESOLVING    timer, host is a name          -                             answer
 *	DIALLING     address known                  -  (libwebsockets has its own)  upgrade, refusal, timeout
 *	REGISTERING  upgrade; register was sent     no answer: give up            register_ack
 *	REGISTERED   register_ack                   next heartbeat                loss
 *	STOPPED      ws_client_stop()               -                             -
 *
 * Pauses between attempts grow from an eighth of --reconnect-interval to the whole, each shortened at random by up
 * to half: after a controller's restart its daemons are back within one interval, and not in the same instant.
 * Thread: the one that runs the ws_loop.
 */
#include "ws_client.h"

#include "base_log.h"
#include "ws_codec.h"
#include "ws_queue.h"
#include "ws_rx.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/random.h>
#include <libwebsockets.h>
#include <uv.h>

BASE_LOG_CATEGORY("client");

#define REGISTER_TIMEOUT_MS 10000
/* First pause: this part of the interval. */
#define RETRY_FIRST_SHIFT 3
/* A session this long was a good one: the pauses start small again. Shorter, two daemons of one id would
 * take turns at full speed. */
#define GOOD_SESSION_MS 30000
/* A controller that acknowledges heartbeats and then misses this many is dead. */
#define ACKS_MISSED_MAX 3
#define ACK_PATIENCE_MS_MIN 15000
/* Unacknowledged bytes for this long: the link is dead, whatever the controller's version. */
#define TCP_USER_TIMEOUT_MS 30000
/* Results are bounded where they are made (ws_exec.h); these bound what a controller that stops reading can pile up. */
#define QUEUE_BYTES_MAX ((size_t)64 << 20)
#define QUEUE_FRAMES_MAX 4096

enum state { WAITING, RESOLVING, DIALLING, REGISTERING, REGISTERED, STOPPED };

struct ws_client {
	struct ws_loop *loop;
	struct ws_client_config config;
	const struct ws_client_host *host;
	void *ctx;
	enum state state;
	struct lws *wsi; /* NULL without a connection or an attempt */
	uv_timer_t timer;
	uv_getaddrinfo_t resolver;
	char address[INET6_ADDRSTRLEN];
	unsigned next_address; /* of those a name has; the next attempt takes the next */
	unsigned n_failures;
	uint64_t n_sessions;
	uint64_t registered_ms, acked_ms; /* acked_ms 0: this controller never acknowledged */
	struct ws_queue tx;
	struct ws_rx rx;
	bool is_rx_skipped;
	bool is_hanging_up;
	enum lws_close_status close_status;
	bool is_resolving;        /* libuv's pool holds @resolver: on_resolved() will come */
	bool is_freed, is_closed; /* by ws_client_free(); the timer */
	char close_reason[124];   /* with its NUL, what a Close frame takes */
	struct ws_client_stats stats;
};

static void dial(struct ws_client *client);

static uint64_t now_ms(const struct ws_client *client)
{
	return uv_now(ws_loop_uv(client->loop));
}

/* ---- losing ---- */

static uint64_t pick_pause_ms(const struct ws_client *client)
{
	unsigned shift =
		client->n_failures < RETRY_FIRST_SHIFT ? RETRY_FIRST_SHIFT - client->n_failures : 0;
	uint64_t pause_ms = client->config.reconnect_ms >> shift;
	uint64_t random = 0;

	/* Jitter needs no secret: without entropy it is no jitter. */
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return pause_ms - random % (pause_ms / 2 + 1);
}

static void on_timer(uv_timer_t *timer);

/* The connection, or the attempt at one, is over. */
static void on_lost(struct ws_client *client, const char *why)
{
	uint64_t pause_ms;

	client->wsi = NULL;
	ws_queue_fini(&client->tx);
	ws_rx_fini(&client->rx);
	if (client->is_freed)
		return;
	if (client->state == STOPPED) {
		client->host->stopped(client->ctx);
		return;
	}
	if (client->state == REGISTERED &&
		now_ms(client) - client->registered_ms >= GOOD_SESSION_MS)
		client->n_failures = 0;
	client->state = WAITING;
	client->stats.losses++;
	pause_ms = pick_pause_ms(client);
	client->n_failures++;
	client->next_address++;
	uv_timer_start(&client->timer, on_timer, pause_ms, 0);
	client->host->lost(client->ctx, why, pause_ms);
}

/*
 * Close with a reason: on_writable() does it, on_lost() follows. Never by the return value of the callback that
 * receives: libwebsockets 4.1 goes on to gather bytes behind its buffer then.
 */
static void hang_up(struct ws_client *client, enum lws_close_status status, const char *why)
{
	client->is_hanging_up = true;
	client->close_status = status;
	snprintf(client->close_reason, sizeof(client->close_reason), "%s", why);
	lws_callback_on_writable(client->wsi);
}

/* At once, without a Close frame: the other end does not listen. */
static void drop(struct ws_client *client, const char *why)
{
	snprintf(client->close_reason, sizeof(client->close_reason), "%s", why);
	lws_set_timeout(client->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

/* ---- out ---- */

static int push(struct ws_client *client, const struct ws_msg *msg)
{
	size_t len;
	char *buffer = ws_msg_encode_at(msg, LWS_PRE, &len);
	int ret;

	if (!buffer)
		return -errno;
	ret = ws_queue_push(&client->tx, buffer, LWS_PRE, len);
	if (ret) {
		free(buffer);
		return ret;
	}
	lws_callback_on_writable(client->wsi);
	return 0;
}

int ws_client_send(struct ws_client *client, const struct ws_msg *msg)
{
	return client->state == REGISTERED ? push(client, msg) : -EPIPE;
}

static int send_register(struct ws_client *client)
{
	struct ws_msg msg = {.type = WS_REGISTER, .reg = client->config.identity};

	return push(client, &msg);
}

/* A heartbeat that finds the queue full is not needed: what fills it shows life as well. */
static void send_heartbeat(struct ws_client *client)
{
	struct ws_msg msg = {.type = WS_HEARTBEAT};

	if (push(client, &msg))
		base_log_debug("heartbeat skipped");
}

static int close_now(struct ws_client *client)
{
	lws_close_reason(client->wsi, client->close_status, (unsigned char *)client->close_reason,
		strlen(client->close_reason));
	return -1;
}

static int on_writable(struct ws_client *client)
{
	size_t len;
	char *text = ws_queue_peek(&client->tx, &len);
	int n;

	if (client->is_hanging_up)
		return close_now(client);
	if (!text)
		return 0;
	n = lws_write(client->wsi, (unsigned char *)text, len, LWS_WRITE_TEXT);
	ws_queue_pop(&client->tx);
	if (n < 0)
		return -1;
	client->stats.tx_msgs++;
	lws_callback_on_writable(client->wsi);
	return 0;
}

/* ---- in ---- */

static void on_register_ack(struct ws_client *client, const struct ws_ack *ack)
{
	bool again = client->state == REGISTERED;
	char text[124], shown[100];

	if (!ack->success) {
		snprintf(text, sizeof(text), "registration refused: %s",
			base_log_text(shown, sizeof(shown), ack->text, strlen(ack->text)));
		/* Not a matter of seconds: no quick retries. */
		client->n_failures = RETRY_FIRST_SHIFT;
		hang_up(client, LWS_CLOSE_STATUS_NORMAL, text);
		return;
	}
	client->stats.registrations++;
	if (!again) {
		client->state = REGISTERED;
		client->n_sessions++;
		client->registered_ms = now_ms(client);
		client->acked_ms = 0;
		send_heartbeat(client);
		uv_timer_start(&client->timer, on_timer, client->config.heartbeat_ms,
			client->config.heartbeat_ms);
	}
	client->host->registered(client->ctx, again);
}

static void on_message(struct ws_client *client, const struct ws_msg *msg)
{
	switch (msg->type) {
	case WS_REGISTER_ACK:
		on_register_ack(client, &msg->ack);
		break;
	case WS_HEARTBEAT_ACK:
		client->acked_ms = now_ms(client);
		if (!msg->ack.success && client->state == REGISTERED && send_register(client))
			hang_up(client, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "out of memory");
		break;
	case WS_EXECUTE_COMMAND:
		if (client->state == REGISTERED)
			client->host->execute(client->ctx, &msg->exec);
		break;
	default:
		break;
	}
}

static void deliver(struct ws_client *client, const char *text, size_t len)
{
	struct base_error why;
	struct ws_msg msg;
	int ret = ws_msg_decode(&msg, text, len, &why);

	if (ret == -EBADMSG || ret == -ENOMEM) {
		client->stats.rx_malformed_msgs++;
		base_log_debug("message skipped: %s", ret == -ENOMEM ? "no memory" : why.text);
		return;
	}
	if (ret || !ws_type_is_from_controller(msg.type)) {
		client->stats.rx_unknown_msgs++;
		if (!ret)
			ws_msg_fini(&msg);
		return;
	}
	client->stats.rx_msgs++;
	on_message(client, &msg);
	ws_msg_fini(&msg);
}

static void on_receive(struct ws_client *client, const char *piece, size_t len)
{
	size_t left = lws_remaining_packet_payload(client->wsi);
	int ret;

	if (client->is_hanging_up)
		return;
	lws_validity_confirmed(client->wsi);
	if (lws_is_first_fragment(client->wsi))
		client->is_rx_skipped = lws_frame_is_binary(client->wsi);
	if (client->is_rx_skipped)
		return;
	ret = ws_rx_add(&client->rx, piece, len, left);
	if (ret == -EMSGSIZE) {
		hang_up(client, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, "message larger than 8 MiB");
	} else if (ret) {
		hang_up(client, LWS_CLOSE_STATUS_UNEXPECTED_CONDITION, "out of memory");
	} else if (left == 0 && lws_is_final_fragment(client->wsi)) {
		deliver(client, client->rx.bytes, client->rx.len);
		ws_rx_reset(&client->rx);
	}
}

/* ---- dialling ---- */

static void dial_address(struct ws_client *client)
{
	char host[300];
	bool is_v6 = strchr(client->config.url.host, ':') != NULL;
	struct lws_client_connect_info info = {
		.context = ws_loop_lws(client->loop),
		.address = client->address,
		.port = client->config.url.port,
		.path = client->config.url.path,
		.host = host,
		.protocol = WS_SUBPROTOCOL,
		.local_protocol_name = WS_SUBPROTOCOL,
		.ietf_version_or_minus_one = -1,
		.opaque_user_data = client,
		.pwsi = &client->wsi,
	};

	snprintf(host, sizeof(host), is_v6 ? "[%s]:%u" : "%s:%u", client->config.url.host,
		client->config.url.port);
	client->state = DIALLING;
	/* It may fail inside the call: then its callback has told, unless it did not come that far. */
	if (!lws_client_connect_via_info(&info) && client->state == DIALLING)
		on_lost(client, "cannot begin to connect");
}

static void on_resolved(uv_getaddrinfo_t *resolver, int status, struct addrinfo *all)
{
	struct ws_client *client = resolver->data;
	unsigned n = 0, wanted;
	struct addrinfo *at;
	const void *bytes;
	char why[300];

	client->is_resolving = false;
	if (client->is_freed) {
		uv_freeaddrinfo(all);
		if (client->is_closed)
			free(client);
		return;
	}
	if (client->state != RESOLVING) {
		uv_freeaddrinfo(all);
		return;
	}
	for (at = all; at; at = at->ai_next)
		n++;
	if (status || n == 0) {
		uv_freeaddrinfo(all);
		snprintf(why, sizeof(why), "cannot resolve %s: %s", client->config.url.host,
			status ? uv_strerror(status) : "no address");
		on_lost(client, why);
		return;
	}
	wanted = client->next_address % n;
	for (at = all; wanted > 0; wanted--)
		at = at->ai_next;
	bytes = at->ai_family == AF_INET6
		? (const void *)&((struct sockaddr_in6 *)at->ai_addr)->sin6_addr
		: (const void *)&((struct sockaddr_in *)at->ai_addr)->sin_addr;
	inet_ntop(at->ai_family, bytes, client->address, sizeof(client->address));
	uv_freeaddrinfo(all);
	dial_address(client);
}

/* A name is resolved on libuv's pool: libwebsockets would block the loop for it. */
static void dial(struct ws_client *client)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	const char *host = client->config.url.host;
	uint8_t bytes[sizeof(struct in6_addr)];
	int ret;

	client->stats.dials++;
	client->close_reason[0] = '\0';
	client->is_hanging_up = false;
	if (inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1) {
		snprintf(client->address, sizeof(client->address), "%.45s", host);
		dial_address(client);
		return;
	}
	client->state = RESOLVING;
	client->resolver.data = client;
	ret = uv_getaddrinfo(
		ws_loop_uv(client->loop), &client->resolver, on_resolved, host, NULL, &hints);
	client->is_resolving = !ret;
	if (ret)
		on_lost(client, uv_strerror(ret));
}

/* Best effort, as on the controller's side. */
static void tune_tcp(struct lws *wsi)
{
	int fd = lws_get_socket_fd(wsi), on = 1, timeout_ms = TCP_USER_TIMEOUT_MS;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}

static int on_established(struct ws_client *client)
{
	tune_tcp(client->wsi);
	client->state = REGISTERING;
	uv_timer_start(&client->timer, on_timer, REGISTER_TIMEOUT_MS, 0);
	return send_register(client) ? -1 : 0;
}

static void on_heartbeat_due(struct ws_client *client)
{
	uint64_t patience_ms = client->config.heartbeat_ms * ACKS_MISSED_MAX;

	if (patience_ms < ACK_PATIENCE_MS_MIN)
		patience_ms = ACK_PATIENCE_MS_MIN;
	if (client->acked_ms && now_ms(client) - client->acked_ms > patience_ms) {
		uv_timer_stop(&client->timer);
		drop(client, "the controller acknowledges no heartbeats any more");
		return;
	}
	send_heartbeat(client);
}

static void on_timer(uv_timer_t *timer)
{
	struct ws_client *client = timer->data;

	switch (client->state) {
	case WAITING:
		dial(client);
		break;
	case REGISTERING:
		drop(client, "the controller does not answer the registration");
		break;
	case REGISTERED:
		on_heartbeat_due(client);
		break;
	case RESOLVING:
	case DIALLING:
	case STOPPED:
		break;
	}
}

/* ---- joining ---- */

/* The controller's Close frame: its reason says more than that it closed (RFC 6455, 5.5.1: status, then text). */
static void note_close(struct ws_client *client, const char *payload, size_t len)
{
	char text[100];

	if (len <= 2)
		return;
	snprintf(client->close_reason, sizeof(client->close_reason), "closed by the controller: %s",
		base_log_text(text, sizeof(text), payload + 2, len - 2));
}

/* libwebsockets' words for a dial that failed, in ours. */
static const char *explain_dial(const char *why)
{
	static const struct {
		const char *theirs, *ours;
	} known[] = {
		{"Unable to connect", "nobody accepts connections there, or there is no way to it"},
		{"HS: ws upgrade response not 101",
			"what answers there is no controller, or not on this path (/ws is usual)"},
		{"HS: disconnected", "what answers there hung up during the handshake"},
	};

	if (!why)
		return "cannot connect";
	for (size_t i = 0; i < BASE_ARRAY_LEN(known); i++)
		if (strcmp(why, known[i].theirs) == 0)
			return known[i].ours;
	return why;
}

static int on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct ws_client *client = wsi ? lws_get_opaque_user_data(wsi) : NULL;

	if (!client)
		return 0;
	uv_update_time(ws_loop_uv(client->loop));
	switch (reason) {
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		client->wsi = wsi;
		return client->state == DIALLING ? on_established(client) : -1;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		on_receive(client, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return on_writable(client);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		note_close(client, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		lws_set_opaque_user_data(wsi, NULL);
		on_lost(client, explain_dial(in));
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		lws_set_opaque_user_data(wsi, NULL);
		on_lost(client, client->close_reason[0] ? client->close_reason : "connection lost");
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{.name = WS_SUBPROTOCOL, .callback = on_event},
	{.name = NULL},
};

const struct lws_protocols *const ws_client_protocols = protocols;

struct ws_client *ws_client_new(struct ws_loop *loop, const struct ws_client_config *config,
	const struct ws_client_host *host, void *ctx)
{
	struct ws_client *client = calloc(1, sizeof(*client));
	int ret;

	if (!client)
		return NULL;
	client->loop = loop;
	client->config = *config;
	client->host = host;
	client->ctx = ctx;
	client->tx.limits = (struct ws_queue_limits){QUEUE_BYTES_MAX, QUEUE_FRAMES_MAX};
	ret = uv_timer_init(ws_loop_uv(loop), &client->timer);
	if (ret) {
		free(client);
		errno = -ret;
		return NULL;
	}
	client->timer.data = client;
	uv_timer_start(&client->timer, on_timer, 0, 0);
	return client;
}

void ws_client_stop(struct ws_client *client)
{
	enum state old = client->state;

	client->state = STOPPED;
	uv_timer_stop(&client->timer);
	if (old == REGISTERING || old == REGISTERED)
		hang_up(client, LWS_CLOSE_STATUS_GOINGAWAY, "the daemon stops");
	else if (old == DIALLING)
		drop(client, "");
	else
		client->host->stopped(client->ctx);
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct ws_client *client = handle->data;

	/* A name that is being looked up holds on: then on_resolved() frees. It may also have come before this. */
	client->is_closed = true;
	if (client->is_resolving)
		(void)uv_cancel((uv_req_t *)&client->resolver);
	else
		free(client);
}

void ws_client_free(struct ws_client *client)
{
	if (!client)
		return;
	client->is_freed = true;
	if (client->wsi)
		lws_set_opaque_user_data(client->wsi, NULL);
	ws_queue_fini(&client->tx);
	ws_rx_fini(&client->rx);
	uv_close((uv_handle_t *)&client->timer, on_timer_closed);
}

uint64_t ws_client_session(const struct ws_client *client)
{
	return client->state == REGISTERED ? client->n_sessions : 0;
}

size_t ws_client_queued_bytes(const struct ws_client *client)
{
	return client->tx.n_bytes;
}

void ws_client_stats(const struct ws_client *client, struct ws_client_stats *ret_stats)
{
	*ret_stats = client->stats;
}
