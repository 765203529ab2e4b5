/* SPDX-License-Identifier: BSD-3-Clause */
/* See coord_register.h. The key never enters the JSON library, whose memory nobody wipes. */
#include "coord_register.h"

#include "base_log.h"
#include "coord.h"

#include <stdlib.h>

#include <jansson.h>

#define LOGOUT_TIME "1970-01-01T00:02:03Z" /* any time that is past (4.6) */
#define KEY_PREFIX "nodekey:"

static int set_key(json_t *root, const char *name, const struct cr_key *key)
{
	char text[sizeof(KEY_PREFIX) + 2 * CR_KEY_BYTES] = KEY_PREFIX;

	base_hex_encode(text + sizeof(KEY_PREFIX) - 1, key->bytes, CR_KEY_BYTES);
	return json_object_set_new(root, name, json_string(text));
}

static int set_host_info(json_t *root, const char *map_request)
{
	json_t *map = json_loads(map_request, 0, NULL);
	int rc = json_object_set(root, "Hostinfo", json_object_get(map, "Hostinfo"));

	json_decref(map);
	return rc;
}

/* Everything but the key; NULL: out of memory. */
static char *print_public(const struct coord_register_request *request)
{
	json_t *root = json_object();
	char *text = NULL;
	int rc = json_object_set_new(root, "Version", json_integer(COORD_CAPABILITY_VERSION));

	rc |= set_key(root, "NodeKey", request->node_public);
	if (request->old_node_public)
		rc |= set_key(root, "OldNodeKey", request->old_node_public);
	if (request->followup)
		rc |= json_object_set_new(root, "Followup", json_string(request->followup));
	if (request->is_logout)
		rc |= json_object_set_new(root, "Expiry", json_string(LOGOUT_TIME));
	rc |= set_host_info(root, request->map_request);
	if (rc == 0)
		text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

/* What a header or a string of JSON would have to escape is in no key (4.2: hskey-auth-, base64url). */
static bool is_key(const char *text)
{
	size_t len = strnlen(text, COORD_AUTHKEY_BYTES_MAX + 1);

	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] >= 0x7f || text[i] == '"' || text[i] == '\\')
			return false;
	return len > 0 && len <= COORD_AUTHKEY_BYTES_MAX;
}

char *coord_register_body(const struct coord_register_request *request, size_t *ret_len)
{
	bool has_key = request->authkey && !request->is_logout;
	char *text, *body;
	size_t size;
	int len;

	if (has_key && !is_key(request->authkey)) {
		errno = EINVAL;
		return NULL;
	}
	text = print_public(request);
	if (!text) {
		errno = ENOMEM;
		return NULL;
	}
	size = strlen(text) + COORD_AUTHKEY_BYTES_MAX + 64;
	body = malloc(size);
	if (body) {
		len = has_key ? snprintf(body, size, "{\"Auth\":{\"AuthKey\":\"%s\"},%s",
					request->authkey, text + 1)
			      : snprintf(body, size, "%s", text);
		*ret_len = (size_t)len;
	}
	free(text);
	return body;
}

void coord_register_body_free(char *body)
{
	if (body)
		base_wipe(body, strlen(body));
	free(body);
}

static void set_words(struct coord_register_answer *answer, const char *text)
{
	base_log_text(answer->words, sizeof(answer->words), text, strlen(text));
}

/* What people are told to open is an address of the web, or nothing. */
static bool set_login_url(struct coord_register_answer *answer, const char *url)
{
	size_t len = strlen(url);

	if (len >= sizeof(answer->login_url) ||
		(strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
		return false;
	for (size_t i = 0; i < len; i++)
		if (url[i] <= ' ' || url[i] >= 0x7f || strchr("\"'<>\\`", url[i]))
			return false;
	memcpy(answer->login_url, url, len + 1);
	return true;
}

static enum coord_register_verdict fail(struct coord_register_answer *answer, const char *words)
{
	set_words(answer, words);
	return COORD_REGISTER_FAILED;
}

/* The order of 4.3. Members of another type than they should be are no answer. */
static enum coord_register_verdict judge(struct coord_register_answer *answer, const json_t *root)
{
	const json_t *error = json_object_get(root, "Error");
	const json_t *expired = json_object_get(root, "NodeKeyExpired");
	const json_t *url = json_object_get(root, "AuthURL");
	const json_t *authorized = json_object_get(root, "MachineAuthorized");

	if (!json_is_object(root) || (error && !json_is_string(error)) ||
		(expired && !json_is_boolean(expired)) || (url && !json_is_string(url)) ||
		(authorized && !json_is_boolean(authorized)))
		return fail(answer, "the server's answer to the registration makes no sense");
	if (json_string_length(error) > 0)
		return fail(answer, json_string_value(error));
	if (json_is_true(expired))
		return COORD_REGISTER_EXPIRED;
	if (json_string_length(url) > 0)
		return set_login_url(answer, json_string_value(url))
			? COORD_REGISTER_LOGIN
			: fail(answer, "the server sent a login address that is none");
	if (!json_is_true(authorized))
		return fail(answer, "the server has not authorized this machine");
	return COORD_REGISTER_ACCEPTED;
}

void coord_register_read(
	struct coord_register_answer *ret_answer, int status, const char *body, size_t len)
{
	json_t *root;

	*ret_answer = (struct coord_register_answer){0};
	if (status != 200) {
		char text[COORD_WORDS_BYTES];

		snprintf(text, sizeof(text), "HTTP %d%s%.*s", status, len > 0 ? ": " : "",
			(int)(len < 200 ? strcspn(body, "\r\n") : 200), body);
		set_words(ret_answer, text);
		ret_answer->verdict = status >= 500 || status == 429 ? COORD_REGISTER_TRY_LATER
								     : COORD_REGISTER_FAILED;
		return;
	}
	root = json_loadb(body, len, JSON_DECODE_ANY, NULL);
	ret_answer->verdict = judge(ret_answer, root);
	json_decref(root);
}
