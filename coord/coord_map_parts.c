/* SPDX-License-Identifier: BSD-3-Clause */
/* Relays, names and warnings of a frame (section 5.4, 5.5, 9). Thread: the parser's. See coord_map_read.h. */
#include "coord_map_read.h"

#include <stdlib.h>

#define REGIONS_MAX 256
#define REGION_NODES_MAX 16
#define DNS_ROUTES_MAX 4096
#define DNS_RESOLVERS_MAX 16
#define DNS_DOMAINS_MAX 64
#define DNS_RECORDS_MAX 65536
#define DNS_PORT 53
#define DERP_PORT 443
#define STUN_PORT 3478

static int no_memory(struct coord_json *json)
{
	return coord_json_fail(json, -ENOMEM, "", "out of memory");
}

/* A text as a person or a name server may see it; "" for NULL; NULL: no memory. */
static const char *text_keep(struct coord_json *json, struct coord_arena *arena, const char *text,
	size_t max, bool is_name)
{
	size_t len = text ? strlen(text) : 0;
	char *copy = coord_arena_get(arena, (len < max ? len : max) + 1);

	if (!copy)
		no_memory(json);
	else
		(void)coord_read_text(copy, text ? text : "", max, is_name);
	return copy;
}

static uint16_t port_of(
	struct coord_json *json, const json_t *object, const char *name, uint16_t usual)
{
	int64_t port = coord_json_int(json, object, name, 0);

	if (port < -1 || port > UINT16_MAX)
		coord_json_fail(json, -EBADMSG, name, "not a port");
	return port <= 0 ? usual : (uint16_t)port;
}

/* "none": the family is off, which *ret_is_off says. What is no address is resolved by name. */
static struct base_addr address_of(struct coord_json *json, const json_t *object, const char *name,
	uint8_t family, uint64_t *counts, bool *ret_is_off)
{
	const char *text = coord_json_text(json, object, name);
	struct base_addr addr = {0};

	if (!text || !*text)
		return addr;
	*ret_is_off = strcmp(text, "none") == 0;
	if (!*ret_is_off && (base_addr_parse(&addr, text) < 0 || addr.family != family)) {
		counts[COORD_NETMAP_BAD_ENTRIES]++;
		addr = (struct base_addr){0};
	}
	return addr;
}

static void derp_node_read(struct coord_json *json, const json_t *object,
	struct coord_map_update *update, struct coord_derp_node *node)
{
	struct coord_arena *arena = update->regions_arena;
	int64_t stun;

	if (!json_is_object(object)) {
		coord_json_fail(json, -EBADMSG, "Nodes", "an entry is no object");
		return;
	}
	node->name = text_keep(
		json, arena, coord_json_text(json, object, "Name"), COORD_NAME_BYTES_MAX, false);
	node->host = text_keep(
		json, arena, coord_json_text(json, object, "HostName"), COORD_NAME_BYTES_MAX, true);
	node->cert_name = text_keep(json, arena, coord_json_text(json, object, "CertName"),
		COORD_NAME_BYTES_MAX, false);
	node->v4 =
		address_of(json, object, "IPv4", BASE_FAMILY_V4, update->counts, &node->has_no_v4);
	node->v6 =
		address_of(json, object, "IPv6", BASE_FAMILY_V6, update->counts, &node->has_no_v6);
	node->is_stun_only = coord_json_flag(json, object, "STUNOnly");
	node->is_insecure = coord_json_flag(json, object, "InsecureForTests");
	node->derp_port = port_of(json, object, "DERPPort", DERP_PORT);
	stun = coord_json_int(json, object, "STUNPort", 0);
	node->stun_port = stun == -1 ? -1 : port_of(json, object, "STUNPort", STUN_PORT);
}

static void region_read(struct coord_json *json, const json_t *object,
	struct coord_map_update *update, struct coord_derp_region *region)
{
	struct coord_arena *arena = update->regions_arena;
	const json_t *nodes = coord_json_list(json, object, "Nodes");
	size_t n = coord_read_size(nodes, REGION_NODES_MAX, update->counts);
	struct coord_derp_node *items = coord_arena_array(arena, n, sizeof(*items));

	if (!items) {
		no_memory(json);
		return;
	}
	region->code = text_keep(json, arena, coord_json_text(json, object, "RegionCode"),
		COORD_NAME_BYTES_MAX, false);
	region->name = text_keep(json, arena, coord_json_text(json, object, "RegionName"),
		COORD_NAME_BYTES_MAX, false);
	region->is_avoided = coord_json_flag(json, object, "Avoid");
	region->is_no_home = coord_json_flag(json, object, "NoMeasureNoHome");
	for (size_t i = 0; i < n; i++) {
		const json_t *node = json_array_get(nodes, i);

		if (!json_is_null(node))
			derp_node_read(json, node, update, &items[region->n_nodes++]);
	}
	region->nodes = items;
}

static int region_compare(const void *a, const void *b)
{
	const struct coord_derp_region *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

/* The number of a region: a map key in decimal. 0: none. */
static uint32_t region_id(const char *text)
{
	char *end;
	unsigned long id;

	if (*text < '1' || *text > '9')
		return 0;
	errno = 0;
	id = strtoul(text, &end, 10);
	return *end || errno || id > UINT32_MAX ? 0 : (uint32_t)id;
}

int coord_read_regions(
	struct coord_json *json, const json_t *object, struct coord_map_update *update)
{
	const json_t *regions = coord_json_object(json, object, "Regions");
	size_t n = json_object_size(regions);
	const char *name;
	json_t *value;

	if (!regions)
		return json->rc;
	update->regions_arena = coord_arena_new();
	if (!update->regions_arena)
		return no_memory(json);
	n = n < REGIONS_MAX ? n : REGIONS_MAX;
	update->regions = coord_arena_array(update->regions_arena, n, sizeof(*update->regions));
	if (!update->regions)
		return no_memory(json);
	json_object_foreach ((json_t *)(uintptr_t)regions, name, value) {
		uint32_t id = region_id(name);

		if (json_is_null(value))
			continue;
		if (!json_is_object(value))
			return coord_json_fail(json, -EBADMSG, "Regions", "an entry is no object");
		if (id == 0) {
			update->counts[COORD_NETMAP_BAD_ENTRIES]++;
		} else if (update->n_regions == n) {
			update->counts[COORD_NETMAP_CUT]++;
		} else {
			update->regions[update->n_regions].id = id;
			region_read(json, value, update, &update->regions[update->n_regions++]);
		}
	}
	qsort(update->regions, update->n_regions, sizeof(*update->regions), region_compare);
	return json->rc;
}

/* {Addr}: an address, or one with a port; URLs (DNS over HTTPS) are left out. */
static struct base_endpoint *resolvers_read(
	struct coord_json *json, const json_t *list, struct coord_map_update *update, size_t *ret_n)
{
	size_t size = coord_read_size(list, DNS_RESOLVERS_MAX, update->counts), n = 0;
	struct base_endpoint *items = coord_arena_array(update->dns_arena, size, sizeof(*items));

	if (!items) {
		no_memory(json);
		return NULL;
	}
	for (size_t i = 0; i < size; i++) {
		const json_t *entry = json_array_get(list, i);
		const char *text = coord_json_text(json, entry, "Addr");

		if (!json_is_object(entry))
			coord_json_fail(json, -EBADMSG, "Resolvers", "an entry is no object");
		items[n] = (struct base_endpoint){.port = DNS_PORT};
		if (text &&
			(base_addr_parse(&items[n].addr, text) == 0 ||
				base_endpoint_parse(&items[n], text) == 0))
			n++;
		else
			update->counts[COORD_NETMAP_BAD_ENTRIES]++;
	}
	*ret_n = n;
	return items;
}

static void routes_read(
	struct coord_json *json, const json_t *object, struct coord_map_update *update)
{
	size_t size = json_object_size(object);
	struct coord_dns_route *items;
	const char *name;
	json_t *value;

	size = size < DNS_ROUTES_MAX ? size : DNS_ROUTES_MAX;
	items = coord_arena_array(update->dns_arena, size, sizeof(*items));
	if (!items) {
		no_memory(json);
		return;
	}
	update->dns->routes = items;
	json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
		struct coord_dns_route *route = &items[update->dns->n_routes];

		if (!json_is_null(value) && !json_is_array(value))
			coord_json_fail(json, -EBADMSG, "Routes", "an entry is no list");
		if (update->dns->n_routes == size || strlen(name) > COORD_NAME_BYTES_MAX) {
			update->counts[COORD_NETMAP_CUT]++;
			continue;
		}
		route->suffix =
			text_keep(json, update->dns_arena, name, COORD_NAME_BYTES_MAX, true);
		route->resolvers = resolvers_read(
			json, json_is_array(value) ? value : NULL, update, &route->n_resolvers);
		/* resolvers that cannot be used here do not make a suffix local */
		if (route->n_resolvers > 0 || json_array_size(value) == 0)
			update->dns->n_routes++;
	}
}

static void domains_read(
	struct coord_json *json, const json_t *list, struct coord_map_update *update)
{
	size_t n = coord_read_size(list, DNS_DOMAINS_MAX, update->counts);
	const char **items = coord_arena_array(update->dns_arena, n, sizeof(*items));

	if (!items) {
		no_memory(json);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text)
			coord_json_fail(json, -EBADMSG, "Domains", "an entry is no string");
		items[i] = text_keep(json, update->dns_arena, text, COORD_NAME_BYTES_MAX, true);
	}
	update->dns->domains = items;
	update->dns->n_domains = n;
}

/* Records of addresses; other types are not answered here. */
static void records_read(
	struct coord_json *json, const json_t *list, struct coord_map_update *update)
{
	size_t size = coord_read_size(list, DNS_RECORDS_MAX, update->counts), n = 0;
	struct coord_dns_record *items = coord_arena_array(update->dns_arena, size, sizeof(*items));

	if (!items) {
		no_memory(json);
		return;
	}
	for (size_t i = 0; i < size && json->rc == 0; i++) {
		const json_t *entry = json_array_get(list, i);
		const char *name = coord_json_text(json, entry, "Name");
		const char *type = coord_json_text(json, entry, "Type");
		const char *value = coord_json_text(json, entry, "Value");

		if (!json_is_object(entry))
			coord_json_fail(json, -EBADMSG, "ExtraRecords", "an entry is no object");
		if (type && *type && strcmp(type, "A") != 0 && strcmp(type, "AAAA") != 0)
			continue;
		if (!name || !value || strlen(name) > COORD_NAME_BYTES_MAX ||
			base_addr_parse(&items[n].addr, value) < 0)
			update->counts[COORD_NETMAP_BAD_ENTRIES]++;
		else
			items[n++].name = text_keep(
				json, update->dns_arena, name, COORD_NAME_BYTES_MAX, true);
	}
	update->dns->records = items;
	update->dns->n_records = n;
}

int coord_read_dns(struct coord_json *json, const json_t *object, struct coord_map_update *update)
{
	update->dns_arena = coord_arena_new();
	update->dns =
		update->dns_arena ? coord_arena_get(update->dns_arena, sizeof(*update->dns)) : NULL;
	if (!update->dns)
		return no_memory(json);
	update->dns->is_magic = coord_json_flag(json, object, "Proxied");
	update->dns->resolvers = resolvers_read(json, coord_json_list(json, object, "Resolvers"),
		update, &update->dns->n_resolvers);
	update->dns->fallbacks =
		resolvers_read(json, coord_json_list(json, object, "FallbackResolvers"), update,
			&update->dns->n_fallbacks);
	routes_read(json, coord_json_object(json, object, "Routes"), update);
	domains_read(json, coord_json_list(json, object, "Domains"), update);
	records_read(json, coord_json_list(json, object, "ExtraRecords"), update);
	return json->rc;
}

int coord_read_health(struct coord_json *json, const json_t *list, struct coord_map_update *update)
{
	size_t n = coord_read_size(list, COORD_WARNINGS_MAX, update->counts);
	const char **items = coord_arena_array(update->arena, n, sizeof(*items));

	if (!items)
		return no_memory(json);
	for (size_t i = 0; i < n; i++) {
		const char *text = json_string_value(json_array_get(list, i));

		if (!text)
			coord_json_fail(json, -EBADMSG, "", "an entry is no string");
		items[i] = text_keep(json, update->arena, text, COORD_TEXT_BYTES_MAX, false);
	}
	update->has_health = true;
	update->health = items;
	update->n_health = n;
	return json->rc;
}

/* "Title: text", or what there is of it. */
static const char *message_text(
	struct coord_json *json, const json_t *object, struct coord_map_update *update)
{
	const char *title = coord_json_text(json, object, "Title");
	const char *text = coord_json_text(json, object, "Text");
	char line[COORD_TEXT_BYTES_MAX + 1];

	snprintf(line, sizeof(line), "%s%s%s", title ? title : "", title && text ? ": " : "",
		text ? text : "");
	return text_keep(json, update->arena, line, COORD_TEXT_BYTES_MAX - 1, false);
}

int coord_read_messages(
	struct coord_json *json, const json_t *object, struct coord_map_update *update)
{
	size_t size = json_object_size(object);
	struct coord_message *items;
	const char *id;
	json_t *value;

	size = size < COORD_WARNINGS_MAX ? size : COORD_WARNINGS_MAX;
	items = coord_arena_array(update->arena, size, sizeof(*items));
	if (!items)
		return no_memory(json);
	update->messages = items;
	json_object_foreach ((json_t *)(uintptr_t)object, id, value) {
		if (!json_is_null(value) && !json_is_object(value))
			return coord_json_fail(json, -EBADMSG, "", "an entry is no object");
		if (strcmp(id, "*") == 0) {
			update->has_messages_reset |= json_is_null(value);
			continue;
		}
		if (update->n_messages == size) {
			update->counts[COORD_NETMAP_CUT]++;
			continue;
		}
		items[update->n_messages].id =
			text_keep(json, update->arena, id, COORD_NAME_BYTES_MAX, false);
		items[update->n_messages++].text =
			json_is_null(value) ? NULL : message_text(json, value, update);
	}
	return json->rc;
}
