/* SPDX-License-Identifier: BSD-3-Clause */
/* See ctl_dns_ask.h. A channel of c-ares per question: its sockets, and so their ports, are used for nothing else. */
#include "ctl_dns_ask.h"

#include "base_bytes.h"
#include "base_err.h"
#include "cr_noise.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <ares.h>

#define TICK_MS 100
#define QUERY_BYTES_MIN 12 /* a header (RFC 1035, 4.1.1) */

struct watch {
	uv_poll_t poll; /* first */
	ares_socket_t fd;
	struct watch *next;
};

struct ctl_dns_ask {
	ares_channel channel;
	uv_loop_t *loop;
	uv_timer_t *timer;
	struct watch *watches;
	ctl_dns_asked asked;
	void *user;
	uint16_t number; /* the query's own */
	bool is_over;    /* answered or not: ends with the next tick */
	uint8_t *answer;
	size_t answer_len;
};

static void on_watch_closed(uv_handle_t *handle)
{
	free(handle);
}

static void on_timer_closed(uv_handle_t *handle)
{
	free(handle);
}

static void watch_end(struct ctl_dns_ask *ask, struct watch *watch)
{
	struct watch **at = &ask->watches;

	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	uv_poll_stop(&watch->poll);
	uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = (struct watch *)poll;
	struct ctl_dns_ask *ask = poll->data;
	bool reads = status < 0 || (events & UV_READABLE), writes = events & UV_WRITABLE;

	ares_process_fd(ask->channel, reads ? watch->fd : ARES_SOCKET_BAD,
		writes ? watch->fd : ARES_SOCKET_BAD);
}

static struct watch *watch_new(struct ctl_dns_ask *ask, ares_socket_t fd)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	if (uv_poll_init(ask->loop, &watch->poll, fd) != 0) {
		free(watch);
		return NULL;
	}
	watch->poll.data = ask;
	watch->fd = fd;
	watch->next = ask->watches;
	ask->watches = watch;
	return watch;
}

/* Without memory the socket is not watched, and the question runs into its time limit. */
static void on_socket(void *ctx, ares_socket_t fd, int reads, int writes)
{
	struct ctl_dns_ask *ask = ctx;
	struct watch *watch = ask->watches;

	while (watch && watch->fd != fd)
		watch = watch->next;
	if (!reads && !writes) {
		if (watch)
			watch_end(ask, watch);
		return;
	}
	if (!watch)
		watch = watch_new(ask, fd);
	if (watch)
		uv_poll_start(&watch->poll, (reads ? UV_READABLE : 0) | (writes ? UV_WRITABLE : 0),
			on_ready);
}

/* From inside c-ares, which must not be ended here: the next tick does. */
static void on_answer(void *ctx, int status, int timeouts, unsigned char *bytes, int len)
{
	struct ctl_dns_ask *ask = ctx;

	if (status == ARES_EDESTRUCTION)
		return;
	ask->is_over = true;
	if (bytes && len >= QUERY_BYTES_MIN) {
		ask->answer = malloc((size_t)len);
		if (ask->answer) {
			memcpy(ask->answer, bytes, (size_t)len);
			ask->answer_len = (size_t)len;
			base_store_be16(ask->answer, ask->number);
		}
	}
	uv_timer_start(ask->timer, ask->timer->timer_cb, 0, 0);
}

static void on_tick(uv_timer_t *timer)
{
	struct ctl_dns_ask *ask = timer->data;

	if (!ask->is_over) {
		ares_process_fd(ask->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
		return;
	}
	ask->asked(ask->user, ask->answer, ask->answer_len);
	ctl_dns_ask_cancel(ask);
}

void ctl_dns_ask_cancel(struct ctl_dns_ask *ask)
{
	if (!ask)
		return;
	if (ask->channel)
		ares_destroy(ask->channel);
	while (ask->watches)
		watch_end(ask, ask->watches);
	if (ask->timer) {
		uv_timer_stop(ask->timer);
		uv_close((uv_handle_t *)ask->timer, on_timer_closed);
	}
	free(ask->answer);
	free(ask);
}

static int set_resolvers(
	struct ctl_dns_ask *ask, const struct base_endpoint *resolvers, size_t n_resolvers)
{
	struct ares_addr_port_node nodes[CTL_DNS_RESOLVERS_MAX] = {0};
	size_t n = n_resolvers < CTL_DNS_RESOLVERS_MAX ? n_resolvers : CTL_DNS_RESOLVERS_MAX;

	for (size_t i = 0; i < n; i++) {
		const struct base_endpoint *from = &resolvers[i];
		bool is_v4 = from->addr.family == BASE_FAMILY_V4;

		nodes[i].family = is_v4 ? AF_INET : AF_INET6;
		memcpy(&nodes[i].addr, from->addr.bytes, is_v4 ? 4 : 16);
		nodes[i].udp_port = nodes[i].tcp_port = from->port ? from->port : 53;
		nodes[i].next = i + 1 < n ? &nodes[i + 1] : NULL;
	}
	return ares_set_servers_ports(ask->channel, nodes) == ARES_SUCCESS ? 0 : -ENOMEM;
}

static int channel_init(struct ctl_dns_ask *ask, bool is_stream)
{
	char lookups[] = "b";
	struct ares_options options = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
			(is_stream ? ARES_FLAG_USEVC : ARES_FLAG_IGNTC),
		.timeout = CTL_DNS_ASK_MS,
		.tries = 2,
		.lookups = lookups,
		.sock_state_cb = on_socket,
		.sock_state_cb_data = ask,
	};

	return ares_init_options(&ask->channel, &options,
		       ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
			       ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE) == ARES_SUCCESS
		? 0
		: -ENOMEM;
}

static int timer_init(struct ctl_dns_ask *ask)
{
	ask->timer = calloc(1, sizeof(*ask->timer));
	if (!ask->timer)
		return -ENOMEM;
	uv_timer_init(ask->loop, ask->timer);
	ask->timer->data = ask;
	return uv_timer_start(ask->timer, on_tick, TICK_MS, TICK_MS);
}

size_t ctl_dns_system(struct base_endpoint ret_resolvers[CTL_DNS_RESOLVERS_MAX])
{
	struct ares_addr_port_node *nodes = NULL;
	ares_channel channel;
	size_t n = 0;

	if (ares_init(&channel) != ARES_SUCCESS)
		return 0;
	if (ares_get_servers_ports(channel, &nodes) != ARES_SUCCESS)
		nodes = NULL;
	for (const struct ares_addr_port_node *node = nodes; node && n < CTL_DNS_RESOLVERS_MAX;
		node = node->next) {
		ret_resolvers[n].addr = base_addr_from_bytes(
			node->family == AF_INET ? BASE_FAMILY_V4 : BASE_FAMILY_V6,
			(const uint8_t *)&node->addr);
		ret_resolvers[n++].port = (uint16_t)(node->udp_port ? node->udp_port : 53);
	}
	ares_free_data(nodes);
	ares_destroy(channel);
	return n;
}

struct ctl_dns_ask *ctl_dns_ask_start(uv_loop_t *loop, const struct base_endpoint *resolvers,
	size_t n_resolvers, const uint8_t *query, size_t len, bool is_stream, ctl_dns_asked asked,
	void *user)
{
	uint8_t copy[CTL_DNS_QUERY_BYTES_MAX];
	struct ctl_dns_ask *ask;

	if (n_resolvers == 0 || len < QUERY_BYTES_MIN || len > sizeof(copy))
		return NULL;
	ask = calloc(1, sizeof(*ask));
	if (!ask)
		return NULL;
	ask->loop = loop;
	ask->asked = asked;
	ask->user = user;
	ask->number = base_load_be16(query);
	if (timer_init(ask) != 0 || channel_init(ask, is_stream) != 0 ||
		set_resolvers(ask, resolvers, n_resolvers) != 0) {
		ctl_dns_ask_cancel(ask);
		return NULL;
	}
	memcpy(copy, query, len);
	cr_random(copy, 2);
	ares_send(ask->channel, copy, (int)len, on_answer, ask);
	return ask;
}
