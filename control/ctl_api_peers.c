/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peers that come and go through the API, and the reload of those that the file has: bodies read strictly, errors that name
 * the member and the peer. Preshared keys come in and never go out. Loop's thread. See ctl_api.h, openapi.yaml.
 */
#include "base_clock.h"
#include "ctl_api.h"
#include "ctl_peers.h"

#include <stdlib.h>

/* What a body asks for; ended by call_fini(). */
struct call {
	const struct ctl_api_sources *sources;
	struct ctl_tunnel_call tunnel;
	const char **names;
	struct base_error err;
};

static void call_fini(struct call *call)
{
	for (size_t i = 0; call->tunnel.set && i < call->tunnel.n_set; i++)
		ctl_peers_free(call->tunnel.set[i], 1);
	free(call->tunnel.set);
	free(call->names);
}

static int out_of_memory(struct call *call)
{
	return base_error_set(&call->err, -ENOMEM, "the gateway is out of memory");
}

/* --- one peer ------------------------------------------------------------------------------------- */

/* A member of a peer: what it has to be, and where it goes. */
static int take_text(json_t *value, void *ret_text)
{
	const char *text = json_string_value(value);

	/* A NUL inside would end it early for us, and not for whoever wrote it. */
	if (!text || strlen(text) != json_string_length(value))
		return -EINVAL;
	*(const char **)ret_text = text;
	return 0;
}

static int take_seconds(json_t *value, void *ret_number)
{
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < 0 || number > UINT16_MAX)
		return -EINVAL;
	*(uint16_t *)ret_number = (uint16_t)number;
	return 0;
}

static int take_bool(json_t *value, void *ret_bool)
{
	if (!json_is_boolean(value))
		return -EINVAL;
	*(bool *)ret_bool = json_is_true(value);
	return 0;
}

struct body {
	struct ctl_raw_peer raw; /* texts borrowed of the document */
	const char *preshared_key;
	const json_t *allowed_ips;
};

static int take_list(json_t *value, void *ret_list)
{
	if (!json_is_array(value))
		return -EINVAL;
	*(const json_t **)ret_list = value;
	return 0;
}

static const struct {
	const char *name;
	int (*take)(json_t *value, void *ret_member);
	size_t offset;
	const char *wanted;
} members[] = {
	{"name", take_text, offsetof(struct body, raw.name), "a text"},
	{"public_key", take_text, offsetof(struct body, raw.public_key), "a text"},
	{"preshared_key", take_text, offsetof(struct body, preshared_key), "a text"},
	{"preshared_key_file", take_text, offsetof(struct body, raw.preshared_key_file), "a text"},
	{"endpoint", take_text, offsetof(struct body, raw.endpoint), "a text"},
	{"allowed_ips", take_list, offsetof(struct body, allowed_ips), "a list of texts"},
	{"keepalive", take_seconds, offsetof(struct body, raw.keepalive),
		"a whole number of seconds from 0 to 65535"},
	{"fixed_endpoint", take_bool, offsetof(struct body, raw.fixed_endpoint), "true or false"},
};

static int wrong(struct call *call, size_t index, const char *member, const char *what)
{
	return base_error_set(&call->err, -EINVAL, "peers[%zu].%.64s: %s", index, member, what);
}

static int take_member(
	struct call *call, struct body *body, size_t index, const char *key, json_t *value)
{
	char text[128];

	for (size_t i = 0; i < BASE_ARRAY_LEN(members); i++) {
		if (strcmp(members[i].name, key) != 0)
			continue;
		/* null is as good as not there. */
		if (json_is_null(value) ||
			members[i].take(value, (char *)body + members[i].offset) == 0)
			return 0;
		snprintf(text, sizeof(text), "must be %s", members[i].wanted);
		return wrong(call, index, key, text);
	}
	return wrong(call, index, key,
		"unknown key; known are name, public_key, preshared_key, preshared_key_file, "
		"endpoint, allowed_ips, keepalive, fixed_endpoint");
}

static int take_allowed_ips(struct call *call, struct body *body, size_t index)
{
	size_t n = json_array_size(body->allowed_ips), i;
	const json_t *item;

	body->raw.allowed_ips = calloc(n + 1, sizeof(*body->raw.allowed_ips));
	if (!body->raw.allowed_ips)
		return out_of_memory(call);
	body->raw.allowed_ips_count = (uint32_t)n;
	json_array_foreach ((json_t *)body->allowed_ips, i, item) {
		if (!json_is_string(item))
			return wrong(call, index, "allowed_ips", "must be a list of texts");
		body->raw.allowed_ips[i] = (char *)json_string_value(item);
	}
	return 0;
}

/* The key's text is wiped where it stands, in the document that is ours alone. */
static int take_preshared_key(
	struct call *call, struct ctl_peer *peer, const struct body *body, size_t index)
{
	char *text = (char *)body->preshared_key;
	bool is_key;

	if (!text)
		return 0;
	is_key = strlen(text) == BASE_KEY_TEXT_LEN &&
		base_key_decode(peer->dp.preshared_key.bytes, text);
	base_wipe(text, strlen(text));
	if (body->raw.preshared_key_file)
		return wrong(call, index, "preshared_key",
			"there is a preshared_key_file too; give one of them");
	return is_key ? 0
		      : wrong(call, index, "preshared_key",
				"not base64 of 32 bytes (wg genpsk makes one)");
}

/* Read one peer and put it into the call. @name: of the path, or NULL. */
static int take_peer(struct call *call, json_t *object, size_t index, const char *name)
{
	struct body body = {0};
	struct ctl_peer *peer = NULL;
	const char *key;
	json_t *value;
	int rc = 0;

	if (!json_is_object(object))
		return base_error_set(
			&call->err, -EINVAL, "peers[%zu]: a peer is an object", index);
	json_object_foreach (object, key, value) {
		rc = take_member(call, &body, index, key, value);
		if (rc < 0)
			return rc;
	}
	if (name && body.raw.name && strcmp(name, body.raw.name) != 0)
		return wrong(call, index, "name", "is another than the path's; leave it out");
	if (name)
		body.raw.name = (char *)name;
	rc = take_allowed_ips(call, &body, index);
	if (rc == 0) {
		peer = ctl_peer_new(call->sources->config, &body.raw, (unsigned)index, &call->err);
		rc = peer ? take_preshared_key(call, peer, &body, index) : -errno;
	}
	free(body.raw.allowed_ips);
	if (peer)
		call->tunnel.set[call->tunnel.n_set++] = peer;
	return rc;
}

/* --- bodies --------------------------------------------------------------------------------------- */

static int take_set(struct call *call, json_t *list, const char *name)
{
	size_t n = json_is_array(list) ? json_array_size(list) : 1;
	int rc = 0;

	call->tunnel.set = calloc(n + 1, sizeof(struct ctl_peer *));
	if (!call->tunnel.set)
		return out_of_memory(call);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = take_peer(call, json_is_array(list) ? json_array_get(list, i) : list, i, name);
	return rc;
}

static int take_remove(struct call *call, json_t *list)
{
	json_t *item;
	size_t i;

	if (!json_is_array(list))
		return base_error_set(&call->err, -EINVAL, "remove: must be a list of names");
	call->names = calloc(json_array_size(list) + 1, sizeof(*call->names));
	if (!call->names)
		return out_of_memory(call);
	json_array_foreach (list, i, item) {
		if (!json_is_string(item))
			return base_error_set(
				&call->err, -EINVAL, "remove[%zu]: must be a name", i);
		call->names[i] = json_string_value(item);
	}
	call->tunnel.remove = call->names;
	call->tunnel.n_remove = json_array_size(list);
	return 0;
}

/* One peer, a list of them, or {"set": [...], "remove": [...]}. */
static int take_body(struct call *call, json_t *body)
{
	json_t *set = json_object_get(body, "set"), *remove = json_object_get(body, "remove");
	size_t n = (set != NULL) + (remove != NULL);
	int rc = 0;

	if (!set && !remove)
		return body ? take_set(call, body, NULL)
			    : base_error_set(&call->err, -EINVAL, "the body holds no peer");
	if (json_object_size(body) != n || (set && !json_is_array(set)))
		return base_error_set(&call->err, -EINVAL,
			"give a peer, a list of peers, or {\"set\": [peers], \"remove\": [names]}");
	if (set)
		rc = take_set(call, set, NULL);
	if (rc == 0 && remove)
		rc = take_remove(call, remove);
	return rc;
}

/* --- answers -------------------------------------------------------------------------------------- */

static void reply_error(struct ws_http_req *req, int rc, const char *text)
{
	switch (rc) {
	case -EINVAL:
		ws_http_reply_error(req, 400, "bad_request", "%s", text);
		break;
	case -ENOENT:
		ws_http_reply_error(req, 404, "unknown_peer", "%s", text);
		break;
	case -EEXIST:
		ws_http_reply_error(req, 409, "conflict", "%s", text);
		break;
	case -EPERM:
		ws_http_reply_error(req, 409, "peer_of_file", "%s", text);
		break;
	case -ENOMEM:
		ws_http_reply_error(req, 500, "no_memory", "%s", text);
		break;
	default:
		ws_http_reply_error(req, 500, "internal", "%s", text);
		break;
	}
}

static bool has_tunnel(const struct ctl_api_sources *sources, struct ws_http_req *req)
{
	if (!sources->tunnel)
		ws_http_reply_error(req, 409, "no_tunnel",
			"the gateway runs in direct mode, without a tunnel: it has no peers");
	return sources->tunnel != NULL;
}

/* Carry a call out, if it was read well (@rc), and answer. */
static void finish(struct call *call, struct ws_http_req *req, int rc)
{
	struct ctl_peers_changed changed = {0};

	call->tunnel.client = ws_http_client(req);
	if (rc == 0)
		rc = ctl_tunnel_call(call->sources->tunnel, &call->tunnel, &changed, &call->err);
	if (rc < 0) {
		reply_error(req, rc, call->err.text);
	} else {
		call->tunnel.n_set = 0; /* the tunnel's now */
		ws_http_reply(req, 200,
			json_pack("{s:I, s:I, s:I, s:I, s:I}", "added", (json_int_t)changed.added,
				"changed", (json_int_t)changed.changed, "unchanged",
				(json_int_t)(changed.unchanged), "removed",
				(json_int_t)changed.removed, "peers",
				(json_int_t)ctl_tunnel_roster(call->sources->tunnel)->by_name.n));
	}
	call_fini(call);
}

/* --- routes --------------------------------------------------------------------------------------- */

void ctl_api_on_peers_post(void *ctx, struct ws_http_req *req)
{
	struct call call = {.sources = ctx};
	const char *only_new = ws_http_query(req, "new");

	if (!has_tunnel(ctx, req))
		return;
	call.tunnel.is_new = only_new && strcmp(only_new, "true") == 0;
	finish(&call, req, take_body(&call, ws_http_body(req)));
}

void ctl_api_on_peer_put(void *ctx, struct ws_http_req *req)
{
	struct call call = {.sources = ctx};

	if (!has_tunnel(ctx, req))
		return;
	if (json_is_object(ws_http_body(req)))
		finish(&call, req, take_set(&call, ws_http_body(req), ws_http_param(req, "name")));
	else
		reply_error(req, -EINVAL, "the body must be one peer");
}

void ctl_api_on_peer_delete(void *ctx, struct ws_http_req *req)
{
	const char *name = ws_http_param(req, "name");
	struct call call = {.sources = ctx, .tunnel = {.remove = &name, .n_remove = 1}};

	if (has_tunnel(ctx, req))
		finish(&call, req, 0);
}

void ctl_api_on_peer_get(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	const char *name = ws_http_param(req, "name");
	const struct ctl_peer *peer;
	json_t *document;

	if (!has_tunnel(sources, req))
		return;
	peer = ctl_roster_by_name(ctl_tunnel_roster(sources->tunnel), name);
	if (!peer) {
		ws_http_reply_error(req, 404, "unknown_peer", "no peer is called %s", name);
		return;
	}
	document = ctl_api_peer(sources, peer, base_clock_now_ns());
	if (document)
		ws_http_reply(req, 200, document);
	else
		reply_error(req, -ENOMEM, "the gateway is out of memory");
}

/* --- reload --------------------------------------------------------------------------------------- */

/* A caller that waits for the file to be read. */
struct waiter {
	struct ws_http_req *req;
	struct ctl_reload *reload;
};

static void on_waiter_gone(void *user)
{
	struct waiter *waiter = user;

	ctl_reload_forget(waiter->reload, waiter);
	free(waiter);
}

static void on_reloaded(void *user, const struct ctl_reload_result *result)
{
	struct waiter *waiter = user;

	if (result->is_ok)
		ws_http_reply(waiter->req, 200, ctl_api_reload_result(result));
	else
		ws_http_reply_error(waiter->req, 409, "not_reloaded", "nothing changed: %.400s",
			result->error.text);
	free(waiter);
}

void ctl_api_on_reload(void *ctx, struct ws_http_req *req)
{
	const struct ctl_api_sources *sources = ctx;
	struct waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter) {
		reply_error(req, -ENOMEM, "the gateway is out of memory");
		return;
	}
	*waiter = (struct waiter){req, sources->reload};
	if (ctl_reload_begin(sources->reload, on_reloaded, waiter) < 0) {
		ws_http_reply_error(req, 429, "busy", "too many wait for a reload already");
		free(waiter);
		return;
	}
	ws_http_on_gone(req, on_waiter_gone, waiter);
}
