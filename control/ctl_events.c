/* SPDX-License-Identifier: BSD-3-Clause */
/* A list of clients, and a timer that keeps their connections alive. Loop's thread. See ctl_events.h. */
#include "ctl_events.h"

#include <stdlib.h>
#include <sys/queue.h>

#define ALIVE_MS 15000

struct client {
	LIST_ENTRY(client) link;
	struct ctl_events *events;
	struct ws_http_req *req;
};

struct ctl_events {
	LIST_HEAD(, client) clients;
	unsigned n;
	uv_timer_t *alive; /* on the heap: closed later than this object */
};

static void client_free(struct client *client)
{
	struct ctl_events *events = client->events;

	LIST_REMOVE(client, link);
	if (--events->n == 0)
		uv_timer_stop(events->alive);
	free(client);
}

static void on_gone(void *user)
{
	client_free(user);
}

/* A client that does not read is let go: it can ask again, and then reads what is. */
static void send_all(struct ctl_events *events, const char *text, size_t len)
{
	struct client *client = LIST_FIRST(&events->clients), *next;

	for (; client; client = next) {
		next = LIST_NEXT(client, link);
		if (ws_http_stream_write(client->req, text, len) == 0)
			continue;
		ws_http_stream_end(client->req);
		client_free(client);
	}
}

static void on_alive(uv_timer_t *timer)
{
	static const char comment[] = ":\n\n";

	send_all(timer->data, comment, strlen(comment));
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

struct ctl_events *ctl_events_new(uv_loop_t *loop)
{
	struct ctl_events *events = calloc(1, sizeof(*events));

	if (!events)
		return NULL;
	events->alive = calloc(1, sizeof(*events->alive));
	if (!events->alive) {
		free(events);
		return NULL;
	}
	LIST_INIT(&events->clients);
	uv_timer_init(loop, events->alive);
	events->alive->data = events;
	return events;
}

void ctl_events_free(struct ctl_events *events)
{
	struct client *client, *next;

	if (!events)
		return;
	for (client = LIST_FIRST(&events->clients); client; client = next) {
		next = LIST_NEXT(client, link);
		ws_http_stream_end(client->req);
		client_free(client);
	}
	uv_close((uv_handle_t *)events->alive, on_closed);
	free(events);
}

bool ctl_events_is_heard(const struct ctl_events *events)
{
	return events->n > 0;
}

void ctl_events_tell(struct ctl_events *events, const char *type, json_t *data)
{
	char *text, *line = NULL;
	int len;

	if (events->n > 0 && data && (text = json_dumps(data, JSON_COMPACT))) {
		len = asprintf(&line, "event: %s\ndata: %s\n\n", type, text);
		if (len >= 0) {
			send_all(events, line, (size_t)len);
			free(line);
		}
		free(text);
	}
	json_decref(data);
}

void ctl_events_serve(struct ctl_events *events, struct ws_http_req *req)
{
	struct client *client;

	if (events->n == CTL_EVENTS_CLIENTS_MAX) {
		ws_http_reply_error(
			req, 429, "busy", "%d clients listen already", CTL_EVENTS_CLIENTS_MAX);
		return;
	}
	client = calloc(1, sizeof(*client));
	if (!client) {
		ws_http_reply_error(req, 500, "no_memory", "the gateway is out of memory");
		return;
	}
	client->events = events;
	client->req = req;
	LIST_INSERT_HEAD(&events->clients, client, link);
	if (events->n++ == 0)
		uv_timer_start(events->alive, on_alive, ALIVE_MS, ALIVE_MS);
	ws_http_on_gone(req, on_gone, client);
	ws_http_stream_begin(req, "text/event-stream");
}
