/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See coord_dial.h.
 *
 * Lifetime: the dial holds a timer, its attempts, and perhaps a question to the resolver, and is freed when the last of them is
 * gone. A resolver cannot be called back: its request is an allocation of its own, which outlives a dial that was given up.
 */
#include "coord_dial.h"

#include "base_bytes.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Also the allocation of the connection that the caller gets: tcp comes first. */
struct attempt {
	uv_tcp_t tcp;
	uv_connect_t connect;
	struct coord_dial *dial; /* NULL: nobody wants it any more */
};

struct question {
	uv_getaddrinfo_t request;
	struct coord_dial *dial; /* NULL: nobody waits for the answer */
};

struct coord_dial {
	uv_loop_t *loop;
	uv_timer_t stagger;
	struct question *question;
	char host[256];
	uint16_t port;
	struct sockaddr_storage addrs[COORD_DIAL_ADDRS_MAX];
	unsigned n_addrs, next;
	bool has_no_v4, has_no_v6;
	struct attempt *attempts[COORD_DIAL_ADDRS_MAX]; /* under way */
	unsigned n_under_way;
	int last_rc;
	bool is_over;
	coord_dial_done done;
	void *ctx;
};

static void stagger_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void attempt_closed(uv_handle_t *handle)
{
	free(handle); /* tcp is the first member */
}

static void attempt_drop(struct attempt *attempt)
{
	attempt->dial = NULL;
	uv_close((uv_handle_t *)&attempt->tcp, attempt_closed);
}

/* Everything but the winner goes; the dial itself when its timer is closed. */
static void finish(struct coord_dial *dial)
{
	if (dial->is_over)
		return;
	dial->is_over = true;
	if (dial->question) {
		dial->question->dial = NULL;
		uv_cancel((uv_req_t *)&dial->question->request);
	}
	for (unsigned i = 0; i < dial->next; i++) {
		if (dial->attempts[i])
			attempt_drop(dial->attempts[i]);
		dial->attempts[i] = NULL;
	}
	uv_close((uv_handle_t *)&dial->stagger, stagger_closed);
}

static void fail(struct coord_dial *dial, int rc, const char *what)
{
	struct base_error line;

	base_error_set(&line, rc, "%s%s%s port %u: %s", strchr(dial->host, ':') ? "[" : "",
		dial->host, strchr(dial->host, ':') ? "]" : "", (unsigned)dial->port, what);
	finish(dial);
	dial->done(dial->ctx, NULL, rc, line.text);
}

static void try_next(struct coord_dial *dial);

static void on_connect(uv_connect_t *request, int rc)
{
	struct attempt *attempt = request->data;
	struct coord_dial *dial = attempt->dial;
	unsigned i = 0;

	if (!dial)
		return; /* dropped; its handle is being closed */
	while (dial->attempts[i] != attempt)
		i++;
	dial->attempts[i] = NULL;
	dial->n_under_way--;
	if (rc == 0) {
		attempt->dial = NULL;
		finish(dial);
		dial->done(dial->ctx, &attempt->tcp, 0, "");
		return;
	}
	attempt_drop(attempt);
	dial->last_rc = rc;
	try_next(dial);
}

static int attempt_start(struct coord_dial *dial, const struct sockaddr *addr)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));
	int rc;

	if (!attempt)
		return -ENOMEM;
	rc = uv_tcp_init(dial->loop, &attempt->tcp);
	if (rc != 0) {
		free(attempt);
		return rc;
	}
	attempt->connect.data = attempt;
	rc = uv_tcp_connect(&attempt->connect, &attempt->tcp, addr, on_connect);
	if (rc != 0) {
		attempt_drop(attempt);
		return rc;
	}
	attempt->dial = dial;
	dial->attempts[dial->next] = attempt;
	dial->n_under_way++;
	return 0;
}

static void on_stagger(uv_timer_t *timer)
{
	try_next(timer->data);
}

/* The next address, and when the one after it is due; the end if there is nothing left to hope for. */
static void try_next(struct coord_dial *dial)
{
	while (dial->next < dial->n_addrs) {
		int rc = attempt_start(dial, (struct sockaddr *)&dial->addrs[dial->next]);

		dial->next++;
		if (rc == 0) {
			uv_timer_start(&dial->stagger, on_stagger, COORD_DIAL_STAGGER_MS, 0);
			return;
		}
		dial->last_rc = rc;
	}
	uv_timer_stop(&dial->stagger);
	if (dial->n_under_way == 0)
		fail(dial, dial->last_rc, uv_strerror(dial->last_rc));
}

static bool is_left_out(const struct coord_dial *dial, const struct addrinfo *info)
{
	return info->ai_addrlen > sizeof(dial->addrs[0]) ||
		(info->ai_family == AF_INET ? dial->has_no_v4 : dial->has_no_v6);
}

/* The resolver's order (RFC 6724) within each family, families in turns, its first one first (RFC 8305, section 4). */
static void interleave(struct coord_dial *dial, const struct addrinfo *list)
{
	const struct addrinfo *at[2] = {list, list};
	int first = list ? list->ai_family : AF_INET6, wanted[2];
	unsigned turn = 0;

	wanted[0] = first;
	wanted[1] = first == AF_INET6 ? AF_INET : AF_INET6;
	while (dial->n_addrs < COORD_DIAL_ADDRS_MAX && (at[0] || at[1])) {
		const struct addrinfo *info = at[turn];

		while (info && (info->ai_family != wanted[turn] || is_left_out(dial, info)))
			info = info->ai_next;
		if (info)
			memcpy(&dial->addrs[dial->n_addrs++], info->ai_addr, info->ai_addrlen);
		at[turn] = info ? info->ai_next : NULL;
		turn = !turn;
	}
}

static void on_resolved(uv_getaddrinfo_t *request, int rc, struct addrinfo *list)
{
	struct question *question = request->data;
	struct coord_dial *dial = question->dial;

	free(question);
	if (dial) {
		dial->question = NULL;
		if (rc == 0)
			interleave(dial, list);
		if (dial->n_addrs == 0)
			fail(dial, rc ? rc : -ENOENT, rc ? uv_strerror(rc) : "no address");
		else
			try_next(dial);
	}
	uv_freeaddrinfo(list);
}

static int resolve(struct coord_dial *dial)
{
	const struct addrinfo hints = {
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV,
	};
	struct question *question = calloc(1, sizeof(*question));
	char port[8];
	int rc;

	if (!question)
		return -ENOMEM;
	snprintf(port, sizeof(port), "%u", (unsigned)dial->port);
	question->request.data = question;
	question->dial = dial;
	rc = uv_getaddrinfo(dial->loop, &question->request, on_resolved, dial->host, port, &hints);
	if (rc != 0) {
		free(question);
		return rc;
	}
	dial->question = question;
	return 0;
}

static void take_addrs(struct coord_dial *dial, const struct coord_dial_target *target)
{
	for (unsigned i = 0; i < target->n_addrs && i < BASE_ARRAY_LEN(target->addrs); i++) {
		const struct base_addr *addr = &target->addrs[i];
		struct sockaddr_in *v4 = (struct sockaddr_in *)&dial->addrs[dial->n_addrs];
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&dial->addrs[dial->n_addrs];
		uint16_t port = htons(target->port);

		if (addr->family == BASE_FAMILY_V4) {
			*v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
			memcpy(&v4->sin_addr, addr->bytes, 4);
			dial->n_addrs++;
		} else if (addr->family == BASE_FAMILY_V6) {
			*v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = port};
			memcpy(&v6->sin6_addr, addr->bytes, 16);
			dial->n_addrs++;
		}
	}
}

static bool is_address(struct coord_dial *dial)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&dial->addrs[0];
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&dial->addrs[0];

	return uv_ip4_addr(dial->host, dial->port, v4) == 0 ||
		uv_ip6_addr(dial->host, dial->port, v6) == 0;
}

int coord_dial_start_to(struct coord_dial **ret_dial, uv_loop_t *loop,
	const struct coord_dial_target *target, coord_dial_done done, void *ctx)
{
	struct coord_dial *dial = calloc(1, sizeof(*dial));
	int rc;

	if (!dial)
		return -ENOMEM;
	dial->loop = loop;
	dial->port = target->port;
	dial->has_no_v4 = target->has_no_v4;
	dial->has_no_v6 = target->has_no_v6;
	dial->done = done;
	dial->ctx = ctx;
	snprintf(dial->host, sizeof(dial->host), "%s", target->host);
	take_addrs(dial, target);
	rc = uv_timer_init(loop, &dial->stagger);
	if (rc != 0) {
		free(dial);
		return rc;
	}
	dial->stagger.data = dial;
	if (dial->n_addrs == 0 && is_address(dial))
		dial->n_addrs = 1;
	if (dial->n_addrs > 0) {
		/* From the loop, as a name's answer would come. */
		rc = uv_timer_start(&dial->stagger, on_stagger, 0, 0);
	} else {
		rc = resolve(dial);
	}
	if (rc != 0) {
		finish(dial);
		return rc;
	}
	*ret_dial = dial;
	return 0;
}

int coord_dial_start(struct coord_dial **ret_dial, uv_loop_t *loop, const char *host, uint16_t port,
	coord_dial_done done, void *ctx)
{
	const struct coord_dial_target target = {.host = host, .port = port};

	return coord_dial_start_to(ret_dial, loop, &target, done, ctx);
}

void coord_dial_cancel(struct coord_dial *dial)
{
	finish(dial);
}
