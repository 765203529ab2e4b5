/* SPDX-License-Identifier: BSD-3-Clause */
/* The network map as JSON: for operators, and to compare its parts. No secrets are in it. Thread: the map's. */
#include "base_bytes.h"
#include "coord_netmap_priv.h"

#include <jansson.h>

static json_t *key_json(const char *prefix, const struct cr_key *key)
{
	char hex[2 * CR_KEY_BYTES + 1];

	if (cr_key_is_zero(key))
		return json_null();
	base_hex_encode(hex, key->bytes, sizeof(key->bytes));
	return json_sprintf("%s%s", prefix, hex);
}

static json_t *addr_json(const struct base_addr *addr)
{
	char text[BASE_ADDR_TEXT_LEN];

	return json_string(base_addr_print(text, addr));
}

static json_t *addrs_json(const struct base_addr *addrs, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, addr_json(&addrs[i]));
	return list;
}

static json_t *prefix_json(const struct base_prefix *prefix)
{
	char text[BASE_PREFIX_TEXT_LEN];

	return json_string(base_prefix_print(text, prefix));
}

static json_t *prefixes_json(const struct base_prefix *prefixes, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, prefix_json(&prefixes[i]));
	return list;
}

static json_t *endpoints_json(const struct base_endpoint *endpoints, size_t n)
{
	char text[BASE_ENDPOINT_TEXT_LEN];
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(
			list, json_string(base_endpoint_print(text, &endpoints[i])));
	return list;
}

static json_t *texts_json(const char *const *texts, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, json_string(texts[i]));
	return list;
}

static json_t *tri_json(enum coord_online online)
{
	return online == COORD_ONLINE_UNKNOWN ? json_null()
					      : json_boolean(online == COORD_ONLINE_YES);
}

static json_t *node_json(
	const struct coord_netmap *map, const struct coord_node *node, uint64_t unix_s)
{
	const struct coord_user *user = coord_netmap_user(map, node->user);

	return json_pack("{s:I, s:s, s:s, s:s, s:o, s:o, s:o, s:I, s:s, s:o, s:o, s:o, s:o, s:o,"
			 " s:I, s:I, s:I, s:b, s:b, s:b, s:b}",
		"id", (json_int_t)node->id, "name", node->name, "hostname", node->hostname, "os",
		node->os, "node_key", key_json("nodekey:", &node->node_key), "machine_key",
		key_json("mkey:", &node->machine_key), "disco_key",
		key_json("discokey:", &node->disco_key), "user", (json_int_t)node->user, "owner",
		user ? user->login : "", "addresses",
		addrs_json(node->addresses, node->n_addresses), "allowed_ips",
		prefixes_json(node->allowed_ips, node->n_allowed_ips), "endpoints",
		endpoints_json(node->endpoints, node->n_endpoints), "tags",
		texts_json(node->tags, node->n_tags), "online", tri_json(node->online), "home_derp",
		(json_int_t)node->home_derp, "key_expiry_unix_s",
		(json_int_t)node->key_expiry_unix_s, "last_seen_unix_s",
		(json_int_t)node->last_seen_unix_s, "expired",
		coord_node_is_expired(map, node, unix_s), "authorized", node->is_authorized,
		"wireguard_only", node->is_wireguard_only, "jailed", node->is_jailed);
}

static json_t *dst_json(const struct coord_rule_dst *dst)
{
	return json_pack("{s:o, s:i, s:i}", "prefix", prefix_json(&dst->prefix), "port_first",
		dst->port_first, "port_last", dst->port_last);
}

static json_t *rule_json(const struct coord_rule *rule)
{
	json_t *dsts = json_array(), *protos = json_array();

	for (size_t i = 0; i < rule->n_dsts; i++)
		(void)json_array_append_new(dsts, dst_json(&rule->dsts[i]));
	for (size_t i = 0; i < rule->n_protos; i++)
		(void)json_array_append_new(protos, json_integer(rule->protos[i]));
	return json_pack("{s:o, s:o, s:o, s:b}", "sources", prefixes_json(rule->srcs, rule->n_srcs),
		"destinations", dsts, "protocols", protos, "no_protocol", rule->is_for_no_proto);
}

static json_t *rules_json(const struct coord_netmap *map)
{
	json_t *list = map->rules ? json_array() : json_null();

	for (size_t i = 0; map->rules && i < map->n_rules; i++)
		(void)json_array_append_new(list, rule_json(&map->rules[i]));
	return list;
}

static json_t *family_json(const struct base_addr *addr, bool is_off)
{
	return is_off ? json_false() : addr->family ? addr_json(addr) : json_null();
}

static json_t *region_json(const struct coord_derp_region *region)
{
	json_t *nodes = json_array();

	for (size_t i = 0; i < region->n_nodes; i++) {
		const struct coord_derp_node *node = &region->nodes[i];

		(void)json_array_append_new(nodes,
			json_pack("{s:s, s:s, s:s, s:o, s:o, s:i, s:i, s:b, s:b}", "name",
				node->name, "host", node->host, "cert_name", node->cert_name,
				"ipv4", family_json(&node->v4, node->has_no_v4), "ipv6",
				family_json(&node->v6, node->has_no_v6), "derp_port",
				node->derp_port, "stun_port", node->stun_port, "stun_only",
				node->is_stun_only, "insecure", node->is_insecure));
	}
	return json_pack("{s:I, s:s, s:s, s:b, s:b, s:o}", "id", (json_int_t)region->id, "code",
		region->code, "name", region->name, "avoided", region->is_avoided, "no_home",
		region->is_no_home, "nodes", nodes);
}

json_t *coord_netmap_regions_json(const struct coord_derp_region *regions, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		(void)json_array_append_new(list, region_json(&regions[i]));
	return list;
}

json_t *coord_netmap_dns_json(const struct coord_dns *dns)
{
	json_t *routes = json_array(), *records = json_array();

	for (size_t i = 0; i < dns->n_routes; i++)
		(void)json_array_append_new(routes,
			json_pack("{s:s, s:o}", "suffix", dns->routes[i].suffix, "resolvers",
				endpoints_json(
					dns->routes[i].resolvers, dns->routes[i].n_resolvers)));
	for (size_t i = 0; i < dns->n_records; i++)
		(void)json_array_append_new(records,
			json_pack("{s:s, s:o}", "name", dns->records[i].name, "address",
				addr_json(&dns->records[i].addr)));
	return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "magic", dns->is_magic, "domains",
		texts_json(dns->domains, dns->n_domains), "routes", routes, "resolvers",
		endpoints_json(dns->resolvers, dns->n_resolvers), "fallbacks",
		endpoints_json(dns->fallbacks, dns->n_fallbacks), "records", records);
}

static json_t *counters_json(const struct coord_netmap *map)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < COORD_NETMAP_COUNTER_COUNT; i++)
		(void)json_object_set_new(object, coord_netmap_counter_name(i),
			json_integer((json_int_t)map->counts[i]));
	return object;
}

char *coord_netmap_print(const struct coord_netmap *map, uint64_t unix_s)
{
	json_t *peers = json_array(), *object;
	char *text = NULL;

	for (size_t i = 0; i < map->n_peers; i++)
		(void)json_array_append_new(
			peers, node_json(map, &map->places[i].peer->body.node, unix_s));
	object = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:o}", "self",
		map->has_self ? node_json(map, &map->self.node, unix_s) : json_null(), "peers",
		peers, "rules", rules_json(map), "regions",
		coord_netmap_regions_json(map->regions, map->n_regions), "dns",
		coord_netmap_dns_json(coord_netmap_dns(map)), "health",
		texts_json(map->health, map->n_health), "domain", map->domain, "clock_offset_s",
		(json_int_t)map->clock_offset_s, "counters", counters_json(map));
	if (object)
		text = json_dumps(object, JSON_INDENT(2));
	json_decref(object);
	if (!text)
		errno = ENOMEM;
	return text;
}
