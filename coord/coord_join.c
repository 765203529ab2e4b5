/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Becoming a node and staying one: the server's key, registration, rotation of the node key, logout. See coord_client.h;
 * what answers mean is in coord_register.h.
 *
 * Rotation: the new key is on disk before the server hears of it, the old one beside it until the server has answered. A process
 * that dies in between registers again with the new key, which the server takes if it knows it already (section 4.4); refused, it
 * goes back to the old one.
 */
#include "base_clock.h"
#include "base_log.h"
#include "cr_noise.h"
#include "coord_client.h"

#include <stdlib.h>

#include <jansson.h>

#define KEY_PREFIX "mkey:"

static bool read_server_key(struct cr_key *ret_key, const struct coord_http_answer *answer)
{
	json_t *root = json_loadb(answer->body, answer->body_len, 0, NULL);
	const char *text = json_string_value(json_object_get(root, "publicKey"));
	bool is_key = text && strncmp(text, KEY_PREFIX, sizeof(KEY_PREFIX) - 1) == 0 &&
		base_hex_decode(ret_key->bytes, CR_KEY_BYTES, text + sizeof(KEY_PREFIX) - 1) &&
		!cr_key_is_zero(ret_key);

	json_decref(root);
	return is_key;
}

static void refuse_server(
	struct coord *coord, const struct cr_key *known, const struct cr_key *seen)
{
	char known_text[2 * CR_KEY_BYTES + 1], seen_text[2 * CR_KEY_BYTES + 1];

	base_hex_encode(known_text, known->bytes, CR_KEY_BYTES);
	base_hex_encode(seen_text, seen->bytes, CR_KEY_BYTES);
	client_halt(coord, COORD_REFUSED,
		"the server's key is mkey:%s, but we know it by mkey:%.16s...; if it was made "
		"anew, set "
		"server_key to the new one",
		seen_text, known_text);
}

/* Believed at first sight, remembered from then on. */
static void take_server_key(struct coord *coord, const struct cr_key *key)
{
	struct coord_identity *identity = coord_state_identity(coord->state);
	bool is_known = !cr_key_is_zero(&identity->server_key);

	if (is_known && !cr_key_equal(&identity->server_key, key)) {
		refuse_server(coord, &identity->server_key, key);
		return;
	}
	coord->must_check_key = false;
	if (!is_known) {
		identity->server_key = *key;
		client_save(coord);
	}
	client_connect(coord);
}

static void on_key(void *ctx, const struct coord_http_answer *answer, int rc, const char *text)
{
	struct coord *coord = ctx;
	struct base_error line;
	struct cr_key key;

	coord->key_fetch = NULL;
	if (!answer) {
		client_fail(coord, text);
	} else if (answer->status == 200 && read_server_key(&key, answer)) {
		take_server_key(coord, &key);
	} else {
		coord_http_explain(answer, &coord->url, &line);
		client_fail(coord, line.text);
	}
}

void client_fetch_key(struct coord *coord)
{
	struct coord_url url = coord->url;
	struct base_error line;

	snprintf(url.path, sizeof(url.path), "/key?v=%d", COORD_CAPABILITY_VERSION);
	coord->key_fetch =
		coord_fetch_start(coord->loop, &url, "GET", coord->roots, on_key, coord, &line);
	if (!coord->key_fetch)
		client_fail(coord, line.text);
}

static bool is_rotating(const struct coord *coord)
{
	return !cr_key_is_zero(&coord_state_identity(coord->state)->old_node_private);
}

/* A new node key, on disk. False: it could not be written, and nothing has changed. */
static bool rotate(struct coord *coord)
{
	struct coord_identity *identity = coord_state_identity(coord->state);

	if (is_rotating(coord))
		return true; /* the new one is there, and waits for an answer */
	identity->old_node_private = identity->node_private;
	cr_x25519_generate(&identity->node_private);
	if (client_save(coord) == 0)
		return true;
	identity->node_private = identity->old_node_private;
	cr_key_wipe(&identity->old_node_private);
	return false;
}

static void rotate_back(struct coord *coord)
{
	struct coord_identity *identity = coord_state_identity(coord->state);

	identity->node_private = identity->old_node_private;
	cr_key_wipe(&identity->old_node_private);
	client_save(coord);
}

/* The tunnel must have the key that the server gives to our peers. */
static bool tell_identity(struct coord *coord)
{
	const struct coord_identity *identity = coord_state_identity(coord->state);
	struct cr_key node_public;
	int rc = 0;

	cr_x25519_public(&node_public, &identity->node_private);
	if (cr_key_equal(&node_public, &coord->told_node_public))
		return true;
	if (coord->host->identity)
		rc = coord->host->identity(coord->ctx, &identity->node_private);
	if (rc != 0) {
		coord->is_up = false;
		client_halt(coord, COORD_STOPPED, "the tunnel does not take the new node key: %s",
			strerror(-rc));
		return false;
	}
	coord->told_node_public = node_public;
	return true;
}

static void join_accepted(struct coord *coord)
{
	struct coord_identity *identity = coord_state_identity(coord->state);

	coord->must_register = false;
	coord->has_joined = true;
	coord->status.login_url[0] = '\0';
	if (is_rotating(coord)) {
		cr_key_wipe(&identity->old_node_private);
		client_save(coord);
	}
	if (!tell_identity(coord))
		return;
	client_stream_stop(coord);
	client_stream(coord);
}

/* A new key was not taken. The old one may still be good: for the rest of its life, or not at all. */
static void renewal_refused(struct coord *coord, const char *words)
{
	rotate_back(coord);
	coord->is_renewal_refused = true;
	snprintf(coord->renewal_words, sizeof(coord->renewal_words), "%s", words);
	coord->must_register = false;
	/* A process that began in the midst of the rotation has a tunnel with the new one. */
	if (!tell_identity(coord))
		return;
	if (coord->poll)
		client_renew(coord);
	else
		client_stream(coord);
}

static void join_failed(struct coord *coord, enum client_join kind, const char *words)
{
	if (kind == CLIENT_JOIN_FOLLOWUP) {
		coord->status.login_url[0] = '\0';
		coord->must_register = true;
		client_fail(coord, words);
	} else if (is_rotating(coord)) {
		renewal_refused(coord, words);
	} else {
		client_halt(coord, COORD_NEEDS_LOGIN, "%s", words);
	}
}

static void join_expired(struct coord *coord)
{
	if (coord->has_rotated) {
		client_halt(
			coord, COORD_EXPIRED, "the server takes no new node key: it says expired");
		return;
	}
	client_join_start(coord, CLIENT_JOIN_ROTATE);
}

static void join_login(struct coord *coord, enum client_join kind, const char *url)
{
	bool is_same = strcmp(coord->status.login_url, url) == 0;

	if (kind == CLIENT_JOIN_FOLLOWUP && is_same) {
		client_fail(coord, "the server has not taken the login yet");
		return;
	}
	snprintf(coord->status.login_url, sizeof(coord->status.login_url), "%s", url);
	client_join_start(coord, CLIENT_JOIN_FOLLOWUP);
}

static void logged_out(struct coord *coord)
{
	struct base_error line = {""};
	int rc = coord_state_wipe(coord->state, &line);

	coord->is_up = false;
	uv_timer_stop(&coord->tick);
	client_halt(coord, COORD_LOGGED_OUT, "%s", line.text);
	client_empty_map(coord);
	client_logout_answer(coord, rc, line.text);
}

/* Expired is what it is to be; an address for a login says that the server does not know us (4.6). */
static void on_logout(struct coord *coord, const struct coord_register_answer *answer)
{
	if (answer->verdict != COORD_REGISTER_FAILED &&
		answer->verdict != COORD_REGISTER_TRY_LATER) {
		logged_out(coord);
		return;
	}
	client_logout_answer(coord, -EPERM, answer->words);
	if (!coord->is_up)
		client_halt(coord, COORD_STOPPED, "%s", "");
	else if (!coord->poll)
		client_connect(coord);
}

static void on_join(void *ctx, const struct coord_ask_answer *answer, int rc)
{
	struct coord *coord = ctx;
	enum client_join kind = coord->join_kind;
	struct coord_register_answer meaning;

	coord->join = NULL;
	coord->join_kind = CLIENT_JOIN_NONE;
	if (!coord->logout_done)
		uv_timer_stop(&coord->join_timer);
	if (!answer) {
		client_fail(coord,
			rc == -EMSGSIZE ? "the answer to the registration is too long"
					: "the server gave up on the registration");
		return;
	}
	coord_register_read(&meaning, answer->status, answer->body, answer->len);
	if (kind == CLIENT_JOIN_LOGOUT) {
		on_logout(coord, &meaning);
		return;
	}
	switch (meaning.verdict) {
	case COORD_REGISTER_ACCEPTED:
		join_accepted(coord);
		break;
	case COORD_REGISTER_FAILED:
		join_failed(coord, kind, meaning.words);
		break;
	case COORD_REGISTER_EXPIRED:
		join_expired(coord);
		break;
	case COORD_REGISTER_LOGIN:
		join_login(coord, kind, meaning.login_url);
		break;
	case COORD_REGISTER_TRY_LATER:
		client_fail(coord, meaning.words);
		break;
	}
}

static void on_join_late(uv_timer_t *timer)
{
	client_fail(timer->data, "the server does not answer the registration");
}

/* The body; NULL with errno. */
static char *print_join(struct coord *coord, enum client_join kind, size_t *ret_len)
{
	const struct coord_identity *identity = coord_state_identity(coord->state);
	struct cr_key node_public, old_public;
	size_t map_len;
	char *map_request = client_map_request(coord, false, &map_len), *body;
	struct coord_register_request request = {
		.node_public = &node_public,
		.authkey = kind == CLIENT_JOIN_FOLLOWUP ? NULL : coord->authkey,
		.followup = kind == CLIENT_JOIN_FOLLOWUP ? coord->status.login_url : NULL,
		.is_logout = kind == CLIENT_JOIN_LOGOUT,
		.map_request = map_request,
	};

	if (!map_request)
		return NULL;
	cr_x25519_public(&node_public, &identity->node_private);
	if (is_rotating(coord)) {
		cr_x25519_public(&old_public, &identity->old_node_private);
		request.old_node_public = &old_public;
	}
	body = coord_register_body(&request, ret_len);
	free(map_request);
	return body;
}

static void show_join(struct coord *coord, enum client_join kind)
{
	if (kind == CLIENT_JOIN_FOLLOWUP)
		client_set_state(
			coord, COORD_NEEDS_LOGIN, "a person has to open the login address");
	else if (kind != CLIENT_JOIN_LOGOUT && !coord->poll)
		client_set_state(coord, COORD_REGISTERING, "%s", "");
}

void client_join_start(struct coord *coord, enum client_join kind)
{
	char *body;
	size_t len;

	client_join_cancel(coord);
	if (kind == CLIENT_JOIN_ROTATE) {
		coord->has_rotated = true;
		if (!rotate(coord)) {
			client_fail(
				coord, "a new node key cannot be written to the state directory");
			return;
		}
	}
	show_join(coord, kind);
	body = print_join(coord, kind, &len);
	if (!body) {
		int rc = errno;

		if (rc == EINVAL)
			join_failed(coord, kind, "the auth key has characters that no key has");
		else
			client_fail(coord, strerror(rc));
		return;
	}
	coord->join_kind = kind;
	coord->join = coord_ask_start(
		coord->link, "POST", "/machine/register", body, len, on_join, coord);
	coord_register_body_free(body);
	if (!coord->join) {
		client_fail(coord, "the connection takes no request");
		return;
	}
	/* A person takes the time that it takes; a logout has its own deadline. */
	if (kind != CLIENT_JOIN_FOLLOWUP && kind != CLIENT_JOIN_LOGOUT)
		uv_timer_start(&coord->join_timer, on_join_late, CLIENT_JOIN_MS, 0);
}

void client_join_cancel(struct coord *coord)
{
	coord_ask_cancel(coord->join);
	coord->join = NULL;
	coord->join_kind = CLIENT_JOIN_NONE;
	if (!coord->logout_done)
		uv_timer_stop(&coord->join_timer);
}

void client_gone(struct coord *coord)
{
	if (coord->has_joined) {
		client_fail(coord, "the server has registered this node, and does not know it");
	} else if (coord->on_removed == COORD_REMOVED_STOP) {
		client_halt(coord, COORD_REMOVED,
			"the server has deleted this node; log in again, or set on_removed: "
			"rejoin");
		client_empty_map(coord);
	} else {
		client_stream_stop(coord);
		coord->must_register = true;
		client_join_start(coord, CLIENT_JOIN_REGISTER);
	}
}

/* Before the end of the key's life, or a tenth of what was left of it when it was first seen: keys may live for minutes. */
static void plan_renewal(struct coord *coord, uint64_t expiry_unix_s, uint64_t now_unix_s)
{
	uint64_t ahead;

	if (coord->expiry_unix_s == expiry_unix_s)
		return;
	coord->expiry_unix_s = expiry_unix_s;
	coord->renew_at_unix_s = 0;
	if (expiry_unix_s == 0)
		return;
	ahead = expiry_unix_s > now_unix_s ? (expiry_unix_s - now_unix_s) / 10 : 0;
	if (ahead > CLIENT_RENEW_AHEAD_S)
		ahead = CLIENT_RENEW_AHEAD_S;
	coord->renew_at_unix_s = expiry_unix_s - ahead;
}

void client_renew(struct coord *coord)
{
	const struct coord_node *self = coord_netmap_self(coord->map);
	uint64_t now_ns = base_clock_now_ns(), now_unix_s = base_clock_unix_ns() / BASE_NS_PER_S;
	bool is_expired, is_due;

	if (!coord->poll || !coord->has_map || coord->join || !self)
		return;
	is_expired = coord_node_is_expired(coord->map, self, now_unix_s);
	plan_renewal(coord, self->key_expiry_unix_s, now_unix_s);
	is_due = is_expired ||
		(coord->renew_at_unix_s != 0 &&
			(int64_t)now_unix_s + coord_netmap_clock_offset_s(coord->map) >=
				(int64_t)coord->renew_at_unix_s);
	if (!is_due) {
		client_set_state(coord, COORD_STREAMING, "%s", "");
	} else if (coord->authkey && !coord->is_renewal_refused) {
		if (coord->renewed_ns != 0 &&
			now_ns - coord->renewed_ns < CLIENT_RENEW_PAUSE_S * BASE_NS_PER_S)
			return;
		coord->renewed_ns = now_ns;
		client_join_start(coord, CLIENT_JOIN_ROTATE);
	} else {
		client_set_state(coord, is_expired ? COORD_EXPIRED : COORD_STREAMING,
			"the node key %s%s%s; log in, or give a new auth key",
			is_expired ? "has expired" : "expires soon",
			coord->is_renewal_refused ? ", and the server refuses to renew it: " : "",
			coord->is_renewal_refused ? coord->renewal_words : "");
	}
}

void client_logout_answer(struct coord *coord, int rc, const char *line)
{
	void (*done)(void *user, int rc, const char *line) = coord->logout_done;

	coord->logout_done = NULL;
	uv_timer_stop(&coord->join_timer);
	if (done && !coord->is_freed)
		done(coord->logout_user, rc, line);
}

static void on_logout_late(uv_timer_t *timer)
{
	struct coord *coord = timer->data;
	struct base_error line;

	base_error_set(&line, 0, "the server does not answer%s%.200s; the keys are kept",
		coord->status.detail[0] ? ": " : "", coord->status.detail);
	client_join_cancel(coord);
	client_logout_answer(coord, -ETIMEDOUT, line.text);
	if (!coord->is_up)
		client_halt(coord, COORD_STOPPED, "%s", "");
}

void coord_logout(
	struct coord *coord, void (*done)(void *user, int rc, const char *line), void *user)
{
	if (coord->logout_done) {
		done(user, -EBUSY, "a logout is under way");
		return;
	}
	client_join_cancel(coord);
	coord->logout_done = done;
	coord->logout_user = user;
	uv_timer_start(&coord->join_timer, on_logout_late, CLIENT_LOGOUT_MS, 0);
	if (coord->is_link_ready)
		client_join_start(coord, CLIENT_JOIN_LOGOUT);
	else if (!coord->link && !coord->key_fetch)
		client_connect(coord);
}
