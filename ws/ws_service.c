/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See ws_service.h. One context with one virtual host that never listens; every callback of libwebsockets passes
 * service_callback(), which finds the socket's owner. Thread: the loop's.
 * Read next: ws_server.c for daemons, ws_http.c for operators.
 */
#include "ws_service.h"

#include "base_log.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

BASE_LOG_CATEGORY("ws");

#define BACKLOG_CONNS 1024
/* Accepted in one go before other events get their turn. */
#define ACCEPT_BURST_CONNS 64
/* Out of descriptors: leave the backlog alone for this long instead of spinning on it. */
#define ACCEPT_PAUSE_MS 200
/* Dead peers: probe after this much silence, this often, this many times. */
#define KEEPALIVE_IDLE_S 30
#define KEEPALIVE_INTERVAL_S 10
#define KEEPALIVE_PROBES 3
/* Bytes of one read; larger messages come in pieces. */
#define SERVICE_BUFFER_BYTES 16384
/* A request's header has to be complete after this. */
#define HEADER_TIMEOUT_S 15

struct ws_service {
	uv_loop_t *loop;
	struct lws_context *lws;
	LIST_HEAD(, ws_listener) listeners;
};

struct ws_listener {
	struct ws_service *service;
	const struct ws_listener_ops *ops;
	void *ctx;
	int fd;
	uint16_t port;
	unsigned max_sockets, n_sockets;
	bool is_unix;
	/* The handles outlive ws_listener_free() until libuv has let go of both. */
	uv_poll_t poll;
	uv_timer_t pause;
	unsigned n_handles;
	LIST_HEAD(, ws_socket) sockets;
	LIST_ENTRY(ws_listener) entry;
};

/* ---- the context ---- */

static void socket_free(struct ws_socket *socket)
{
	if (socket->listener) {
		socket->listener->n_sockets--;
		LIST_REMOVE(socket, entry);
	}
	free(socket);
}

static int service_callback(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct ws_socket *socket = wsi ? lws_get_opaque_user_data(wsi) : NULL;

	if (!socket)
		return 0;
	/* CONNECT would switch to raw bytes: nobody here speaks them. */
	if (reason == LWS_CALLBACK_RAW_ADOPT || reason == LWS_CALLBACK_RAW_RX)
		return -1;
	if (reason == LWS_CALLBACK_WSI_DESTROY) {
		lws_set_opaque_user_data(wsi, NULL);
		if (socket->listener)
			socket->listener->ops->event(socket, reason, in, len);
		socket_free(socket);
		return 0;
	}
	if (!socket->listener)
		return -1;
	return socket->listener->ops->event(socket, reason, in, len);
}

static const struct lws_protocols protocols[] = {
	{.name = "http", .callback = service_callback},
	{.name = WS_SUBPROTOCOL, .callback = service_callback, .rx_buffer_size = 0},
	{.name = NULL},
};

static void log_line(int level, const char *line)
{
	char text[256];

	base_log_debug("lws: %s", base_log_text(text, sizeof(text), line, strcspn(line, "\n")));
}

struct ws_service *ws_service_new(uv_loop_t *loop)
{
	struct ws_service *service = calloc(1, sizeof(*service));
	void *loops[1] = {loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_VALIDATE_UTF8,
		.foreign_loops = loops,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.pt_serv_buf_size = SERVICE_BUFFER_BYTES,
		.max_http_header_data = WS_HEADER_BYTES_MAX,
		.timeout_secs = HEADER_TIMEOUT_S,
		.timeout_secs_ah_idle = HEADER_TIMEOUT_S,
	};

	if (!service)
		return NULL;
	lws_set_log_level(LLL_ERR | LLL_WARN, log_line);
	service->loop = loop;
	service->lws = lws_create_context(&info);
	if (!service->lws) {
		free(service);
		/* The usual reason: its libuv plug-in is a package of its own (libwebsockets-evlib-uv). */
		errno = ELIBACC;
		return NULL;
	}
	return service;
}

void ws_service_free(struct ws_service *service)
{
	if (!service)
		return;
	while (!LIST_EMPTY(&service->listeners))
		ws_listener_free(LIST_FIRST(&service->listeners));
	lws_context_destroy(service->lws);
	/*
	 * On a foreign loop the context closes in two steps: its handles' close callbacks run from the
	 * loop, then the second call frees it. The bound is far above what one round of closing takes.
	 */
	for (int i = 0; i < 16; i++)
		uv_run(service->loop, UV_RUN_NOWAIT);
	lws_context_destroy(service->lws);
	for (int i = 0; i < 16; i++)
		uv_run(service->loop, UV_RUN_NOWAIT);
	free(service);
}

uv_loop_t *ws_service_loop(const struct ws_service *service)
{
	return service->loop;
}

/* ---- accepting ---- */

static void name_unix_peer(struct ws_socket *socket, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		snprintf(socket->remote, sizeof(socket->remote), "unknown");
	else
		snprintf(socket->remote, sizeof(socket->remote), "pid %d (uid %u)", (int)cred.pid,
			(unsigned)cred.uid);
}

static void name_tcp_peer(struct ws_socket *socket, const struct sockaddr_storage *from)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in *in = (const struct sockaddr_in *)from;
	struct base_endpoint endpoint;
	char text[BASE_ENDPOINT_TEXT_LEN];

	if (from->ss_family == AF_INET6) {
		endpoint.addr = base_addr_from_bytes(BASE_FAMILY_V6, &in6->sin6_addr);
		endpoint.port = ntohs(in6->sin6_port);
	} else {
		endpoint.addr = base_addr_from_bytes(BASE_FAMILY_V4, &in->sin_addr);
		endpoint.port = ntohs(in->sin_port);
	}
	snprintf(
		socket->remote, sizeof(socket->remote), "%s", base_endpoint_print(text, &endpoint));
}

/* Best effort: a socket without these still works, only later. */
static void tune_tcp(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			sizeof(options[i].value));
}

static void adopt(struct ws_listener *listener, int fd, const struct sockaddr_storage *from)
{
	struct ws_socket *socket = calloc(1, sizeof(*socket));
	struct lws_vhost *vhost = lws_get_vhost_by_name(listener->service->lws, "default");
	lws_sock_file_fd_type sock_fd = {.sockfd = fd};

	if (!socket) {
		close(fd);
		return;
	}
	if (listener->is_unix) {
		name_unix_peer(socket, fd);
	} else {
		name_tcp_peer(socket, from);
		tune_tcp(fd);
	}
	/* It closes the descriptor itself when it fails. */
	socket->wsi = lws_adopt_descriptor_vhost(
		vhost, LWS_ADOPT_HTTP | LWS_ADOPT_SOCKET, sock_fd, NULL, NULL);
	if (!socket->wsi) {
		free(socket);
		return;
	}
	lws_set_opaque_user_data(socket->wsi, socket);
	socket->listener = listener;
	listener->n_sockets++;
	LIST_INSERT_HEAD(&listener->sockets, socket, entry);
}

static void on_pause_over(uv_timer_t *timer);

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct ws_listener *listener = poll->data;
	struct sockaddr_storage from;
	socklen_t len;
	int fd;

	for (int i = 0; i < ACCEPT_BURST_CONNS; i++) {
		len = sizeof(from);
		fd = accept4(
			listener->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				errno == ENOMEM) {
				uv_poll_stop(&listener->poll);
				uv_timer_start(&listener->pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
			}
			return;
		}
		if (listener->n_sockets >= listener->max_sockets)
			close(fd);
		else
			adopt(listener, fd, &from);
	}
}

static void on_pause_over(uv_timer_t *timer)
{
	struct ws_listener *listener = timer->data;

	uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

/* ---- listening ---- */

/* True if an interface has the address, be it one that is not ready yet. */
static bool is_on_interface(const struct sockaddr *addr)
{
	struct ifaddrs *all;
	bool is_there = false;

	if (getifaddrs(&all))
		return false;
	for (struct ifaddrs *at = all; at && !is_there; at = at->ifa_next) {
		if (!at->ifa_addr || at->ifa_addr->sa_family != addr->sa_family)
			continue;
		if (addr->sa_family == AF_INET6)
			is_there = memcmp(&((struct sockaddr_in6 *)at->ifa_addr)->sin6_addr,
					   &((const struct sockaddr_in6 *)addr)->sin6_addr,
					   sizeof(struct in6_addr)) == 0;
		else if (addr->sa_family == AF_INET)
			is_there = ((struct sockaddr_in *)at->ifa_addr)->sin_addr.s_addr ==
				((const struct sockaddr_in *)addr)->sin_addr.s_addr;
	}
	freeifaddrs(all);
	return is_there;
}

/*
 * An IPv6 address that has just been set is "tentative" for a second, and the kernel refuses to bind it. Where an
 * interface does have it, binding ahead of time is right; one that nobody has stays an error.
 */
static int bind_socket(int fd, const struct sockaddr *addr, socklen_t len)
{
	int on = 1;

	if (bind(fd, addr, len) == 0)
		return 0;
	if (errno != EADDRNOTAVAIL)
		return -errno;
	if (!is_on_interface(addr))
		return -EADDRNOTAVAIL;
	if (setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on)) || bind(fd, addr, len))
		return -errno;
	return 0;
}

static int open_socket(struct ws_listener *listener, const struct ws_listener_config *config)
{
	int on = 1, ret;
	mode_t old_umask;

	listener->fd =
		socket(config->addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return -errno;
	/* A restart must not wait for the old connections' TIME_WAIT; a live listener still conflicts. */
	if (!listener->is_unix &&
		setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		return -errno;
	if (config->addr->sa_family == AF_INET6 &&
		setsockopt(listener->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		return -errno;
	old_umask = umask(config->umask);
	ret = bind_socket(listener->fd, config->addr, config->addr_len);
	umask(old_umask);
	if (!ret && listen(listener->fd, BACKLOG_CONNS))
		ret = -errno;
	return ret;
}

static uint16_t bound_port(int fd)
{
	struct sockaddr_storage bound;
	socklen_t len = sizeof(bound);

	if (getsockname(fd, (struct sockaddr *)&bound, &len))
		return 0;
	if (bound.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&bound)->sin_port);
	if (bound.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
	return 0;
}

static int explain(const char *name, int error, struct base_error *ret_error)
{
	const char *remedy = "";

	if (error == EADDRINUSE)
		remedy =
			"; another program listens there (ss -lntp shows which): stop it or choose "
			"another port";
	else if (error == EADDRNOTAVAIL)
		remedy = "; no interface has this address (ip addr shows those there are)";
	else if (error == EACCES)
		remedy = "; no permission: ports below 1024 need CAP_NET_BIND_SERVICE, a socket "
			 "file a "
			 "folder this user may write to";
	else if (error == ENOENT)
		remedy = "; the folder is missing: create it";
	return base_error_set(
		ret_error, -error, "cannot listen on %s: %s%s", name, strerror(error), remedy);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct ws_listener *listener = handle->data;

	if (--listener->n_handles == 0)
		free(listener);
}

struct ws_listener *ws_listener_new(struct ws_service *service,
	const struct ws_listener_config *config, const struct ws_listener_ops *ops, void *ctx,
	struct base_error *ret_error)
{
	struct ws_listener *listener = calloc(1, sizeof(*listener));
	int ret;

	if (!listener) {
		base_error_set(ret_error, -ENOMEM, "cannot listen on %s: no memory", config->name);
		errno = ENOMEM;
		return NULL;
	}
	listener->service = service;
	listener->ops = ops;
	listener->ctx = ctx;
	listener->max_sockets = config->max_sockets;
	listener->is_unix = config->addr->sa_family == AF_UNIX;
	ret = open_socket(listener, config);
	if (!ret)
		ret = uv_poll_init(service->loop, &listener->poll, listener->fd);
	if (ret) {
		if (listener->fd >= 0)
			close(listener->fd);
		free(listener);
		explain(config->name, -ret, ret_error);
		errno = -ret;
		return NULL;
	}
	listener->port = bound_port(listener->fd);
	uv_timer_init(service->loop, &listener->pause);
	listener->poll.data = listener->pause.data = listener;
	listener->n_handles = 2;
	uv_poll_start(&listener->poll, UV_READABLE, on_connection);
	LIST_INSERT_HEAD(&service->listeners, listener, entry);
	return listener;
}

void ws_listener_free(struct ws_listener *listener)
{
	struct ws_socket *socket;

	if (!listener)
		return;
	while ((socket = LIST_FIRST(&listener->sockets))) {
		LIST_REMOVE(socket, entry);
		listener->ops->dropped(socket);
		socket->listener = NULL;
		socket->state = NULL;
		lws_set_timeout(socket->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
	}
	LIST_REMOVE(listener, entry);
	uv_close((uv_handle_t *)&listener->poll, on_handle_closed);
	uv_close((uv_handle_t *)&listener->pause, on_handle_closed);
	close(listener->fd);
}

void *ws_listener_ctx(const struct ws_listener *listener)
{
	return listener->ctx;
}

uint16_t ws_listener_port(const struct ws_listener *listener)
{
	return listener->port;
}

/* ---- replies ---- */

static const char *status_text(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 411:
		return "Length Required";
	case 413:
		return "Content Too Large";
	case 429:
		return "Too Many Requests";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	default:
		return status < 500 ? "Error" : "Internal Server Error";
	}
}

/*
 * Header and body leave in one write: libwebsockets takes no second one while a first is partly out, and keeps a
 * copy of what the kernel did not take at once.
 */
static int write_reply(struct ws_socket *socket, const char *header, const char *body, size_t len)
{
	size_t header_len = strlen(header);
	unsigned char *buffer = malloc(LWS_PRE + header_len + len);
	int n;

	if (!buffer)
		return -1;
	memcpy(buffer + LWS_PRE, header, header_len);
	if (len)
		memcpy(buffer + LWS_PRE + header_len, body, len);
	n = lws_write(socket->wsi, buffer + LWS_PRE, header_len + len, LWS_WRITE_HTTP_HEADERS);
	free(buffer);
	return n < 0 ? -1 : 0;
}

static int write_response(struct ws_socket *socket, int status, const char *type,
	const char *connection, const char *body, size_t len)
{
	char header[256];

	snprintf(header, sizeof(header),
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", status,
		status_text(status), type, len, connection);
	return write_reply(socket, header, body, len);
}

int ws_socket_reply(
	struct ws_socket *socket, int status, const char *type, const char *body, size_t len)
{
	if (write_response(socket, status, type, "", body, len))
		return -1;
	return lws_http_transaction_completed(socket->wsi) ? -1 : 0;
}

int ws_socket_stream_begin(struct ws_socket *socket, const char *type)
{
	char header[256];

	snprintf(header, sizeof(header),
		"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nCache-Control: no-store\r\n"
		"Connection: close\r\n\r\n",
		type);
	return write_reply(socket, header, NULL, 0);
}

int ws_socket_stream_write(struct ws_socket *socket, const char *piece, size_t len)
{
	return write_reply(socket, "", piece, len);
}

int ws_socket_refuse(
	struct ws_socket *socket, int status, const char *type, const char *body, size_t len)
{
	(void)write_response(socket, status, type, "Connection: close\r\n", body, len);
	return -1;
}
