/* SPDX-License-Identifier: BSD-3-Clause */
/* See ctl_dns.h. Questions in, answers out; what is passed on is in ctl_dns_ask.c. */
#include "ctl_dns.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "coord_dns.h"
#include "ctl_dns_ask.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000
#define BACKLOG 16
#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

struct connection {
	uv_tcp_t tcp; /* first */
	struct ctl_dns *dns;
	struct question *question; /* one at a time */
	uint64_t active_ns;
	uint8_t in[2 + CTL_DNS_QUERY_BYTES_MAX]; /* length, query (RFC 1035, 4.2.2) */
	size_t in_len;
	struct connection *next;
};

/* One that was passed on. */
struct question {
	struct ctl_dns *dns;
	struct ctl_dns_ask *ask;
	uv_udp_t *udp; /* and where it came from; NULL: */
	struct sockaddr_storage from;
	struct connection *connection;
	uint8_t query[CTL_DNS_QUERY_BYTES_MAX];
	size_t len;
	struct question *next;
};

struct ctl_dns {
	uv_loop_t *loop;
	const struct coord_netmap *(*map)(void *ctx);
	void *ctx;
	struct base_addr addrs[CTL_DNS_ADDRS_MAX];
	uv_udp_t *udp[CTL_DNS_ADDRS_MAX];
	uv_tcp_t *tcp[CTL_DNS_ADDRS_MAX];
	size_t n_addrs;
	uint16_t port;
	struct question *questions;
	unsigned n_questions;
	struct connection *connections;
	unsigned n_connections;
	uv_timer_t *sweep;
	/* Of this system when we began: for what the map has none for. */
	struct base_endpoint system[CTL_DNS_RESOLVERS_MAX];
	size_t n_system;
	struct ctl_dns_stats stats;
	uint8_t datagram[CTL_DNS_QUERY_BYTES_MAX +
		1]; /* one byte more: what does not fit is none */
};

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

/* --- answers ------------------------------------------------------------------------------------ */

struct writing {
	uv_write_t request; /* first */
	uint8_t bytes[];
};

static void on_written(uv_write_t *request, int status)
{
	free(request);
}

static void write_stream(struct connection *connection, const uint8_t *answer, size_t len)
{
	struct writing *writing = malloc(sizeof(*writing) + 2 + len);
	uv_buf_t buf;

	if (!writing)
		return;
	base_store_be16(writing->bytes, (uint16_t)len);
	memcpy(writing->bytes + 2, answer, len);
	buf = uv_buf_init((char *)writing->bytes, (unsigned)len + 2);
	if (uv_write(&writing->request, (uv_stream_t *)&connection->tcp, &buf, 1, on_written) != 0)
		free(writing);
}

/* A datagram that cannot leave now is lost, like any. */
static void write_datagram(
	uv_udp_t *udp, const struct sockaddr *to, const uint8_t *answer, size_t len)
{
	uv_buf_t buf = uv_buf_init((char *)(uintptr_t)answer, (unsigned)len);

	uv_udp_try_send(udp, &buf, 1, to);
}

static void answer_to(struct ctl_dns *dns, uv_udp_t *udp, const struct sockaddr *to,
	struct connection *connection, const uint8_t *answer, size_t len)
{
	if (len == 0 || len > UINT16_MAX)
		dns->stats.dropped++;
	else if (connection)
		write_stream(connection, answer, len);
	else
		write_datagram(udp, to, answer, len);
}

/* --- questions ---------------------------------------------------------------------------------- */

static void question_free(struct question *question)
{
	struct question **at = &question->dns->questions;

	while (*at != question)
		at = &(*at)->next;
	*at = question->next;
	question->dns->n_questions--;
	if (question->connection)
		question->connection->question = NULL;
	free(question);
}

static void on_asked(void *user, const uint8_t *answer, size_t len)
{
	uint8_t failure[COORD_DNS_ANSWER_BYTES_MAX];
	struct question *question = user;
	struct ctl_dns *dns = question->dns;

	if (answer) {
		dns->stats.forwarded++;
	} else {
		dns->stats.failed++;
		len = coord_dns_fail(question->query, question->len, failure);
		answer = failure;
	}
	answer_to(dns, question->udp, (const struct sockaddr *)&question->from,
		question->connection, answer, len);
	question_free(question);
}

static bool pass_on(struct ctl_dns *dns, const struct coord_dns_result *result, uv_udp_t *udp,
	const struct sockaddr *from, struct connection *connection, const uint8_t *query,
	size_t len)
{
	struct question *question;

	if (dns->n_questions == CTL_DNS_WAITING_MAX)
		return false;
	question = calloc(1, sizeof(*question));
	if (!question)
		return false;
	question->dns = dns;
	question->ask = ctl_dns_ask_start(dns->loop, result->resolvers, result->n_resolvers, query,
		len, connection != NULL, on_asked, question);
	if (!question->ask) {
		free(question);
		return false;
	}
	question->udp = udp;
	question->connection = connection;
	if (from)
		memcpy(&question->from, from,
			from->sa_family == AF_INET ? sizeof(struct sockaddr_in)
						   : sizeof(struct sockaddr_in6));
	memcpy(question->query, query, len);
	question->len = len;
	question->next = dns->questions;
	dns->questions = question;
	dns->n_questions++;
	if (connection)
		connection->question = question;
	return true;
}

static bool has_addr(const struct ctl_dns *dns, const struct base_addr *addr)
{
	for (size_t i = 0; i < dns->n_addrs; i++) {
		if (base_addr_equal(&dns->addrs[i], addr))
			return true;
	}
	return false;
}

/* The system's, but for ourselves: a system that asks us would ask in a circle. */
static size_t other_resolvers(
	const struct ctl_dns *dns, struct base_endpoint ret_others[CTL_DNS_RESOLVERS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < dns->n_system; i++) {
		if (!has_addr(dns, &dns->system[i].addr))
			ret_others[n++] = dns->system[i];
	}
	return n;
}

/* By way of @udp from @from, or of @connection. */
static void take_question(struct ctl_dns *dns, uv_udp_t *udp, const struct sockaddr *from,
	struct connection *connection, const uint8_t *query, size_t len)
{
	const struct coord_netmap *map = dns->map(dns->ctx);
	uint8_t answer[COORD_DNS_ANSWER_BYTES_MAX];
	struct coord_dns_result result = {.verdict = COORD_DNS_FORWARD};
	struct base_endpoint others[CTL_DNS_RESOLVERS_MAX];

	if (map)
		result = coord_dns_ask(map, query, len, connection != NULL, answer);
	switch (result.verdict) {
	case COORD_DNS_ANSWER:
		dns->stats.answered++;
		answer_to(dns, udp, from, connection, answer, result.len);
		return;
	case COORD_DNS_DROP:
		dns->stats.dropped++;
		return;
	case COORD_DNS_FORWARD:
		break;
	}
	if (result.n_resolvers == 0) {
		result.resolvers = others;
		result.n_resolvers = other_resolvers(dns, others);
	}
	if (result.n_resolvers > 0 && pass_on(dns, &result, udp, from, connection, query, len))
		return;
	dns->stats.failed++;
	answer_to(dns, udp, from, connection, answer, coord_dns_fail(query, len, answer));
}

/* Only programs of this machine have our addresses. */
static bool is_ours(const struct ctl_dns *dns, const struct sockaddr *from)
{
	struct base_addr addr;

	if (from->sa_family == AF_INET)
		addr = base_addr_from_bytes(BASE_FAMILY_V4,
			(const uint8_t *)&((const struct sockaddr_in *)from)->sin_addr);
	else if (from->sa_family == AF_INET6)
		addr = base_addr_from_bytes(BASE_FAMILY_V6,
			(const uint8_t *)&((const struct sockaddr_in6 *)from)->sin6_addr);
	else
		return false;
	return has_addr(dns, &addr);
}

/* --- UDP ---------------------------------------------------------------------------------------- */

static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct ctl_dns *dns = handle->data;

	*buf = uv_buf_init((char *)dns->datagram, sizeof(dns->datagram));
}

static void on_datagram(
	uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *from, unsigned flags)
{
	struct ctl_dns *dns = udp->data;

	if (n <= 0 || !from)
		return;
	if (!is_ours(dns, from))
		dns->stats.refused++;
	else if (n > CTL_DNS_QUERY_BYTES_MAX || (flags & UV_UDP_PARTIAL))
		dns->stats.dropped++;
	else
		take_question(dns, udp, from, NULL, dns->datagram, (size_t)n);
}

/* --- TCP ---------------------------------------------------------------------------------------- */

static void connection_free(struct connection *connection)
{
	struct ctl_dns *dns = connection->dns;
	struct connection **at = &dns->connections;

	while (*at != connection)
		at = &(*at)->next;
	*at = connection->next;
	dns->n_connections--;
	if (connection->question) {
		ctl_dns_ask_cancel(connection->question->ask);
		question_free(connection->question);
	}
	uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void give_rest(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	struct connection *connection = (struct connection *)handle;

	*buf = uv_buf_init((char *)connection->in + connection->in_len,
		(unsigned)(sizeof(connection->in) - connection->in_len));
}

/* False: this end speaks no DNS, or says too much. */
static bool take_query(struct connection *connection)
{
	size_t len;

	if (connection->in_len < 2)
		return true;
	len = base_load_be16(connection->in);
	if (len > CTL_DNS_QUERY_BYTES_MAX)
		return false;
	if (connection->in_len < 2 + len)
		return true;
	/* The next before this one is answered: more than a stub resolver ever does. */
	if (connection->question || connection->in_len > 2 + len)
		return false;
	connection->in_len = 0;
	take_question(connection->dns, NULL, NULL, connection, connection->in + 2, len);
	return true;
}

static void on_bytes(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct connection *connection = (struct connection *)stream;

	if (n == 0)
		return;
	if (n > 0) {
		connection->active_ns = base_clock_now_ns();
		connection->in_len += (size_t)n;
	}
	if (n < 0 || !take_query(connection))
		connection_free(connection);
}

static bool accept_ours(struct ctl_dns *dns, uv_stream_t *server, struct connection *connection)
{
	struct sockaddr_storage from;
	int len = sizeof(from);

	if (uv_accept(server, (uv_stream_t *)&connection->tcp) != 0 ||
		uv_tcp_getpeername(&connection->tcp, (struct sockaddr *)&from, &len) != 0)
		return false;
	if (is_ours(dns, (const struct sockaddr *)&from) &&
		dns->n_connections < CTL_DNS_CONNECTIONS_MAX)
		return true;
	dns->stats.refused++;
	return false;
}

static void on_connection(uv_stream_t *server, int status)
{
	struct ctl_dns *dns = server->data;
	struct connection *connection = status == 0 ? calloc(1, sizeof(*connection)) : NULL;

	if (!connection)
		return;
	uv_tcp_init(dns->loop, &connection->tcp);
	if (!accept_ours(dns, server, connection)) {
		uv_close((uv_handle_t *)&connection->tcp, on_closed);
		return;
	}
	connection->dns = dns;
	connection->active_ns = base_clock_now_ns();
	connection->next = dns->connections;
	dns->connections = connection;
	dns->n_connections++;
	uv_read_start((uv_stream_t *)&connection->tcp, give_rest, on_bytes);
}

static void on_sweep(uv_timer_t *timer)
{
	struct ctl_dns *dns = timer->data;
	uint64_t now_ns = base_clock_now_ns();

	for (struct connection *connection = dns->connections, *next; connection;
		connection = next) {
		next = connection->next;
		if (!connection->question &&
			now_ns - connection->active_ns > CTL_DNS_CONNECTION_IDLE_S * BASE_NS_PER_S)
			connection_free(connection);
	}
}

/* --- listening ---------------------------------------------------------------------------------- */

static void print_sockaddr(
	struct sockaddr_storage *ret_sockaddr, const struct base_addr *addr, uint16_t port)
{
	memset(ret_sockaddr, 0, sizeof(*ret_sockaddr));
	if (addr->family == BASE_FAMILY_V4) {
		struct sockaddr_in *in4 = (struct sockaddr_in *)ret_sockaddr;

		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		memcpy(&in4->sin_addr, addr->bytes, 4);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_sockaddr;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, addr->bytes, 16);
	}
}

/* Bound also while the kernel still looks whether somebody else has the address. -Exxx: none. */
static int bound_socket(const struct base_addr *addr, uint16_t port, int type)
{
	bool is_v4 = addr->family == BASE_FAMILY_V4;
	struct sockaddr_storage where;
	int on = 1, error,
	    fd = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	print_sockaddr(&where, addr, port);
	setsockopt(fd, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_FREEBIND : IPV6_FREEBIND, &on,
		sizeof(on));
	if (type == SOCK_STREAM)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&where,
		    is_v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static int listen_udp(struct ctl_dns *dns, size_t i)
{
	int fd = bound_socket(&dns->addrs[i], dns->port, SOCK_DGRAM), rc;
	uv_udp_t *udp = fd < 0 ? NULL : calloc(1, sizeof(*udp));

	if (!udp) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	uv_udp_init(dns->loop, udp);
	udp->data = dns;
	dns->udp[i] = udp;
	rc = uv_udp_open(udp, fd);
	if (rc != 0)
		close(fd);
	return rc ? rc : uv_udp_recv_start(udp, give_room, on_datagram);
}

static int listen_tcp(struct ctl_dns *dns, size_t i)
{
	int fd = bound_socket(&dns->addrs[i], dns->port, SOCK_STREAM), rc;
	uv_tcp_t *tcp = fd < 0 ? NULL : calloc(1, sizeof(*tcp));

	if (!tcp) {
		if (fd >= 0)
			close(fd);
		return fd < 0 ? fd : -ENOMEM;
	}
	uv_tcp_init(dns->loop, tcp);
	tcp->data = dns;
	dns->tcp[i] = tcp;
	rc = uv_tcp_open(tcp, fd);
	if (rc != 0)
		close(fd);
	return rc ? rc : uv_listen((uv_stream_t *)tcp, BACKLOG, on_connection);
}

static void unlisten(struct ctl_dns *dns)
{
	while (dns->connections)
		connection_free(dns->connections);
	for (struct question *question = dns->questions, *next; question; question = next) {
		next = question->next;
		ctl_dns_ask_cancel(question->ask);
		question_free(question);
	}
	for (size_t i = 0; i < dns->n_addrs; i++) {
		if (dns->udp[i])
			uv_close((uv_handle_t *)dns->udp[i], on_closed);
		if (dns->tcp[i])
			uv_close((uv_handle_t *)dns->tcp[i], on_closed);
		dns->udp[i] = NULL;
		dns->tcp[i] = NULL;
	}
	dns->n_addrs = 0;
}

static bool is_same(
	const struct ctl_dns *dns, const struct base_addr *addrs, size_t n, uint16_t port)
{
	if (n != dns->n_addrs || port != dns->port)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!base_addr_equal(&addrs[i], &dns->addrs[i]) || !dns->udp[i] || !dns->tcp[i])
			return false;
	}
	return true;
}

int ctl_dns_listen(struct ctl_dns *dns, const struct base_addr *addrs, size_t n, uint16_t port,
	struct base_error *ret_error)
{
	char text[BASE_ADDR_TEXT_LEN];
	int first = 0;

	n = n < CTL_DNS_ADDRS_MAX ? n : CTL_DNS_ADDRS_MAX;
	if (is_same(dns, addrs, n, port))
		return 0;
	unlisten(dns);
	memcpy(dns->addrs, addrs, n * sizeof(*addrs));
	dns->n_addrs = n;
	dns->port = port;
	for (size_t i = 0; i < n; i++) {
		int rc = listen_udp(dns, i);

		if (rc == 0)
			rc = listen_tcp(dns, i);
		if (rc != 0 && first == 0)
			first = base_error_set(ret_error, rc, "no resolver at %s, port %u: %s%s",
				base_addr_print(text, &addrs[i]), port, strerror(-rc),
				rc == -EADDRINUSE ? "; another one listens on all addresses: ss "
						    "-lnp sport = :53"
						  : "");
	}
	return first;
}

/* --- life --------------------------------------------------------------------------------------- */

struct ctl_dns *ctl_dns_new(
	uv_loop_t *loop, const struct coord_netmap *(*map)(void *ctx), void *ctx)
{
	struct ctl_dns *dns = calloc(1, sizeof(*dns));

	if (!dns)
		return NULL;
	dns->loop = loop;
	dns->map = map;
	dns->ctx = ctx;
	dns->n_system = ctl_dns_system(dns->system);
	dns->sweep = calloc(1, sizeof(*dns->sweep));
	if (!dns->sweep) {
		free(dns);
		return NULL;
	}
	uv_timer_init(loop, dns->sweep);
	dns->sweep->data = dns;
	uv_timer_start(dns->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
	uv_unref((uv_handle_t *)dns->sweep);
	return dns;
}

void ctl_dns_free(struct ctl_dns *dns)
{
	if (!dns)
		return;
	unlisten(dns);
	uv_timer_stop(dns->sweep);
	uv_close((uv_handle_t *)dns->sweep, on_closed);
	free(dns);
}

struct ctl_dns_stats ctl_dns_stats_of(const struct ctl_dns *dns)
{
	return dns->stats;
}
