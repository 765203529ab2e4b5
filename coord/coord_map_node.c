/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes and patches of a frame (section 5.5). Thread: the parser's. See coord_map_read.h. */
#include "coord_map_read.h"

#include <stdlib.h>

#define CAPS_BYTES_MAX 2048
#define CAP_BYTES_MAX 255

/* What a node lists, as far as it is read. */
struct node_lists {
	const json_t *addresses, *allowed_ips, *endpoints, *tags;
	size_t n_addresses, n_allowed_ips, n_endpoints, n_tags;
	bool is_own_only; /* the allowed IPs are its own addresses */
};

struct node_texts {
	const char *name, *hostname, *os;
};

size_t coord_read_size(const json_t *list, size_t max, uint64_t *counts)
{
	size_t n = json_array_size(list);

	if (n <= max)
		return n;
	counts[COORD_NETMAP_CUT] += n - max;
	return max;
}

size_t coord_read_text(char *ret_text, const char *text, size_t max, bool is_name)
{
	size_t len = strlen(text);

	if (is_name && len > 0 && text[len - 1] == '.')
		len--;
	if (len > max) {
		/* not in the middle of a character */
		for (len = max; len > 0 && (text[len] & 0xc0) == 0x80;)
			len--;
	}
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20 || c == 0x7f || (is_name && c == ' '))
			c = '?';
		else if (is_name && c >= 'A' && c <= 'Z')
			c |= 0x20;
		ret_text[i] = (char)c;
	}
	ret_text[len] = '\0';
	return len;
}

int coord_read_prefix(struct base_prefix *ret_prefix, const char *text)
{
	return strchr(text, '/') ? base_prefix_parse(ret_prefix, text, true) : -EINVAL;
}

/* The text of an entry; another type refuses the frame. */
static const char *entry_text(
	struct coord_json *json, const json_t *list, size_t i, const char *name)
{
	const char *text = json_string_value(json_array_get(list, i));

	if (!text)
		coord_json_fail(json, -EBADMSG, name, "an entry is no string");
	return text;
}

static void lists_find(struct coord_json *json, uint64_t *counts, const json_t *object,
	struct node_lists *ret_lists)
{
	struct node_lists lists = {
		.addresses = coord_json_list(json, object, "Addresses"),
		.allowed_ips = coord_json_list(json, object, "AllowedIPs"),
		.endpoints = coord_json_list(json, object, "Endpoints"),
		.tags = coord_json_list(json, object, "Tags"),
	};

	lists.is_own_only = coord_json_flag(json, object, "UnsignedPeerAPIOnly");
	lists.is_own_only |= !lists.allowed_ips;
	lists.n_addresses = coord_read_size(lists.addresses, COORD_NODE_PREFIXES_MAX, counts);
	lists.n_allowed_ips = lists.is_own_only
		? lists.n_addresses
		: coord_read_size(lists.allowed_ips, COORD_NODE_PREFIXES_MAX, counts);
	lists.n_endpoints = coord_read_size(lists.endpoints, COORD_NODE_ENDPOINTS_MAX, counts);
	lists.n_tags = coord_read_size(lists.tags, COORD_NODE_TAGS_MAX, counts);
	*ret_lists = lists;
}

static void addresses_read(struct coord_json *json, uint64_t *counts,
	const struct node_lists *lists, struct base_addr *ret_addresses, struct coord_node *node)
{
	for (size_t i = 0; i < lists->n_addresses; i++) {
		const char *text = entry_text(json, lists->addresses, i, "Addresses");
		struct base_prefix prefix;

		if (!text)
			return;
		if (coord_read_prefix(&prefix, text) == 0 &&
			prefix.bits == 8 * base_family_bytes(prefix.addr.family))
			ret_addresses[node->n_addresses++] = prefix.addr;
		else
			counts[COORD_NETMAP_BAD_ENTRIES]++;
	}
	node->addresses = ret_addresses;
}

static void allowed_ips_read(struct coord_json *json, uint64_t *counts,
	const struct node_lists *lists, struct base_prefix *ret_prefixes, struct coord_node *node)
{
	node->allowed_ips = ret_prefixes;
	if (lists->is_own_only) {
		for (; node->n_allowed_ips < node->n_addresses; node->n_allowed_ips++) {
			struct base_addr addr = node->addresses[node->n_allowed_ips];

			ret_prefixes[node->n_allowed_ips] = (struct base_prefix){
				addr, (uint8_t)(8 * base_family_bytes(addr.family))};
		}
		return;
	}
	for (size_t i = 0; i < lists->n_allowed_ips; i++) {
		const char *text = entry_text(json, lists->allowed_ips, i, "AllowedIPs");

		if (!text)
			return;
		if (coord_read_prefix(&ret_prefixes[node->n_allowed_ips], text) == 0)
			node->n_allowed_ips++;
		else
			counts[COORD_NETMAP_BAD_ENTRIES]++;
	}
}

static uint16_t endpoints_read(struct coord_json *json, uint64_t *counts, const json_t *list,
	size_t n, struct base_endpoint *ret_endpoints)
{
	uint16_t n_read = 0;

	for (size_t i = 0; i < n; i++) {
		const char *text = entry_text(json, list, i, "Endpoints");

		if (!text)
			return 0;
		if (base_endpoint_parse(&ret_endpoints[n_read], text) == 0)
			n_read++;
		else
			counts[COORD_NETMAP_BAD_ENTRIES]++;
	}
	return n_read;
}

/* Tags as texts behind one another at *at. */
static void tags_read(struct coord_json *json, const struct node_lists *lists,
	const char **ret_tags, char **at, struct coord_node *node)
{
	node->tags = ret_tags;
	for (size_t i = 0; i < lists->n_tags; i++) {
		const char *text = entry_text(json, lists->tags, i, "Tags");

		if (!text)
			return;
		ret_tags[node->n_tags++] = *at;
		*at += coord_read_text(*at, text, COORD_NAME_BYTES_MAX, false) + 1;
	}
}

/* Room for a text that is cut at @max. */
static size_t text_room(const char *text, size_t max, uint64_t *counts)
{
	size_t len = text ? strlen(text) : 0;

	if (len > max) {
		counts[COORD_NETMAP_CUT]++;
		len = max;
	}
	return len + 1;
}

static size_t texts_room(
	const struct node_texts *texts, const struct node_lists *lists, uint64_t *counts)
{
	size_t room = text_room(texts->name, COORD_NAME_BYTES_MAX, counts) +
		text_room(texts->hostname, COORD_NAME_BYTES_MAX, counts) +
		text_room(texts->os, COORD_NAME_BYTES_MAX, counts);

	for (size_t i = 0; i < lists->n_tags; i++)
		room += text_room(json_string_value(json_array_get(lists->tags, i)),
			COORD_NAME_BYTES_MAX, counts);
	return room;
}

static const char *text_put(char **at, const char *text, bool is_name)
{
	const char *start = *at;

	*at += coord_read_text(*at, text ? text : "", COORD_NAME_BYTES_MAX, is_name) + 1;
	return start;
}

/* All that a node lists and says goes into one block: first what needs alignment. */
static int lists_read(struct coord_json *json, uint64_t *counts, const struct node_lists *lists,
	const struct node_texts *texts, struct coord_node_body *body)
{
	size_t tags_bytes = lists->n_tags * sizeof(char *);
	size_t endpoints_bytes = lists->n_endpoints * sizeof(struct base_endpoint);
	size_t addresses_bytes = lists->n_addresses * sizeof(struct base_addr);
	size_t allowed_bytes = lists->n_allowed_ips * sizeof(struct base_prefix);
	size_t lists_bytes = tags_bytes + endpoints_bytes + addresses_bytes + allowed_bytes;
	struct coord_node *node = &body->node;
	char *at;

	body->data = malloc(lists_bytes + texts_room(texts, lists, counts));
	if (!body->data)
		return coord_json_fail(json, -ENOMEM, "", "out of memory");
	at = body->data + tags_bytes;
	node->endpoints = (struct base_endpoint *)(void *)at;
	node->n_endpoints = endpoints_read(json, counts, lists->endpoints, lists->n_endpoints,
		(struct base_endpoint *)(void *)at);
	at += endpoints_bytes;
	addresses_read(json, counts, lists, (struct base_addr *)at, node);
	at += addresses_bytes;
	allowed_ips_read(json, counts, lists, (struct base_prefix *)at, node);
	at += allowed_bytes;
	node->name = text_put(&at, texts->name, true);
	node->hostname = text_put(&at, texts->hostname, false);
	node->os = text_put(&at, texts->os, false);
	tags_read(json, lists, (const char **)(void *)body->data, &at, node);
	return json->rc;
}

/* HomeDERP, or the older "127.3.3.40:N". */
static uint32_t home_read(struct coord_json *json, uint64_t *counts, const json_t *object)
{
	int64_t home = coord_json_int(json, object, "HomeDERP", 0);
	const char *text = coord_json_text(json, object, "DERP");
	struct base_endpoint legacy;

	if (home == 0 && text && *text) {
		if (base_endpoint_parse(&legacy, text) < 0)
			counts[COORD_NETMAP_BAD_ENTRIES]++;
		else
			home = legacy.port;
	}
	if (home < 0 || home > UINT32_MAX) {
		counts[COORD_NETMAP_BAD_ENTRIES]++;
		home = 0;
	}
	return (uint32_t)home;
}

static enum coord_online online_of(int tri)
{
	return tri < 0 ? COORD_ONLINE_UNKNOWN : tri ? COORD_ONLINE_YES : COORD_ONLINE_NO;
}

static void values_read(
	struct coord_json *json, uint64_t *counts, const json_t *object, struct coord_node *node)
{
	node->id = coord_json_int(json, object, "ID", 0);
	(void)coord_json_key(json, object, "Key", "nodekey:", &node->node_key);
	(void)coord_json_key(json, object, "Machine", "mkey:", &node->machine_key);
	(void)coord_json_key(json, object, "DiscoKey", "discokey:", &node->disco_key);
	node->user = coord_json_int(json, object, "User", 0);
	node->home_derp = home_read(json, counts, object);
	(void)coord_json_time(json, object, "KeyExpiry", &node->key_expiry_unix_s);
	(void)coord_json_time(json, object, "LastSeen", &node->last_seen_unix_s);
	node->online = online_of(coord_json_tri(json, object, "Online"));
	node->is_expired = coord_json_flag(json, object, "Expired");
	node->is_authorized = coord_json_flag(json, object, "MachineAuthorized");
	node->is_wireguard_only = coord_json_flag(json, object, "IsWireGuardOnly");
	node->is_jailed = coord_json_flag(json, object, "IsJailed");
}

char *coord_read_caps(struct coord_json *json, uint64_t *counts, const json_t *object)
{
	char text[CAPS_BYTES_MAX], *caps;
	size_t len = 0;
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
		size_t name_len = strlen(name);

		if (!json_is_null(value) && !json_is_array(value)) {
			coord_json_fail(json, -EBADMSG, "CapMap", "neither lists nor null in it");
			return NULL;
		}
		if (name_len == 0)
			continue;
		if (name_len > CAP_BYTES_MAX || len + name_len + 2 > sizeof(text)) {
			counts[COORD_NETMAP_CUT]++;
			continue;
		}
		memcpy(text + len, name, name_len + 1);
		len += name_len + 1;
	}
	if (len == 0)
		return NULL;
	text[len++] = '\0';
	caps = malloc(len);
	if (!caps)
		coord_json_fail(json, -ENOMEM, "CapMap", "out of memory");
	return caps ? memcpy(caps, text, len) : NULL;
}

int coord_read_node(struct coord_json *json, uint64_t *counts, const json_t *object,
	struct coord_node_body *ret_body)
{
	struct coord_node_body body = {0};
	struct node_lists lists;
	struct node_texts texts;
	const json_t *hostinfo;

	if (!json_is_object(object))
		return coord_json_fail(json, -EBADMSG, "", "not an object");
	hostinfo = coord_json_object(json, object, "Hostinfo");
	texts.name = coord_json_text(json, object, "Name");
	texts.hostname = coord_json_text(json, hostinfo, "Hostname");
	texts.os = coord_json_text(json, hostinfo, "OS");
	lists_find(json, counts, object, &lists);
	values_read(json, counts, object, &body.node);
	if (!json_object_get(object, "ID"))
		coord_json_fail(json, -EBADMSG, "ID", "missing");
	body.caps = coord_read_caps(json, counts, coord_json_object(json, object, "CapMap"));
	if (json->rc == 0 && lists_read(json, counts, &lists, &texts, &body) == 0) {
		*ret_body = body;
		return 0;
	}
	coord_node_body_fini(&body);
	return json->rc;
}

static int patch_endpoints_read(
	struct coord_json *json, uint64_t *counts, const json_t *object, struct coord_patch *patch)
{
	const json_t *list = coord_json_list(json, object, "Endpoints");
	size_t n = coord_read_size(list, COORD_NODE_ENDPOINTS_MAX, counts);

	if (!list)
		return json->rc;
	patch->has_endpoints = true;
	if (n == 0)
		return json->rc;
	patch->endpoints = malloc(n * sizeof(*patch->endpoints));
	if (!patch->endpoints)
		return coord_json_fail(json, -ENOMEM, "", "out of memory");
	patch->n_endpoints = endpoints_read(json, counts, list, n, patch->endpoints);
	return json->rc;
}

int coord_read_patch(struct coord_json *json, uint64_t *counts, const json_t *object,
	struct coord_patch *ret_patch)
{
	struct coord_patch patch = {0};
	const json_t *caps;
	int64_t home;
	int online;

	if (!json_is_object(object))
		return coord_json_fail(json, -EBADMSG, "", "not an object");
	patch.id = coord_json_int(json, object, "NodeID", 0);
	patch.has_key = coord_json_key(json, object, "Key", "nodekey:", &patch.key);
	if (patch.has_key && cr_key_is_zero(&patch.key)) {
		patch.has_key = false;
		counts[COORD_NETMAP_BAD_ENTRIES]++;
	}
	patch.has_disco = coord_json_key(json, object, "DiscoKey", "discokey:", &patch.disco_key);
	home = coord_json_int(json, object, "DERPRegion", 0);
	patch.has_derp = home > 0 && home <= UINT32_MAX;
	patch.home_derp = patch.has_derp ? (uint32_t)home : 0;
	online = coord_json_tri(json, object, "Online");
	patch.has_online = online >= 0;
	patch.is_online = online == 1;
	patch.has_last_seen = coord_json_time(json, object, "LastSeen", &patch.last_seen_unix_s);
	patch.has_expiry = coord_json_time(json, object, "KeyExpiry", &patch.key_expiry_unix_s);
	caps = coord_json_object(json, object, "CapMap");
	patch.has_caps = caps;
	patch.caps = coord_read_caps(json, counts, caps);
	if (json->rc == 0 && patch_endpoints_read(json, counts, object, &patch) == 0) {
		*ret_patch = patch;
		return 0;
	}
	free(patch.endpoints);
	free(patch.caps);
	return json->rc;
}
