/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bodies of POST /machine/map (section 5.1). Everything is sent each time: what is left out the server takes for
 * withdrawn (routes) or zero (disco key). Thread: the loop's. See coord_map.h.
 */
#include "base_bytes.h"
#include "coord_map.h"

#include <stdlib.h>

#include <jansson.h>

static json_t *key_json(const char *prefix, const struct cr_key *key)
{
	char hex[2 * CR_KEY_BYTES + 1];

	base_hex_encode(hex, key->bytes, sizeof(key->bytes));
	return json_sprintf("%s%s", prefix, hex);
}

/* Members that say something; json_object_set_new() takes NULL for the error that it then is. */
static int text_set(json_t *object, const char *name, const char *text)
{
	return text && *text ? json_object_set_new(object, name, json_string(text)) : 0;
}

static json_t *routes_json(const struct coord_map_request *request)
{
	json_t *list = json_array();
	char text[BASE_PREFIX_TEXT_LEN];
	int rc = 0;

	for (size_t i = 0; i < request->n_routes; i++)
		rc |= json_array_append_new(
			list, json_string(base_prefix_print(text, &request->routes[i])));
	if (rc < 0) {
		json_decref(list);
		return NULL;
	}
	return list;
}

static json_t *net_info_json(const struct coord_reachability *reachability)
{
	return json_pack("{s:I, s:b, s:b}", "PreferredDERP", (json_int_t)reachability->home_derp,
		"WorkingUDP", reachability->has_udp, "WorkingIPv6", reachability->has_ipv6);
}

static json_t *host_info_json(const struct coord_map_request *request)
{
	json_t *object = json_object();
	int rc = text_set(object, "IPNVersion", request->version) |
		text_set(object, "Hostname", request->hostname) |
		text_set(object, "OS", request->os) |
		text_set(object, "OSVersion", request->os_version) |
		text_set(object, "Distro", request->distro) |
		text_set(object, "Machine", request->machine);

	if (request->n_routes > 0)
		rc |= json_object_set_new(object, "RoutableIPs", routes_json(request));
	rc |= json_object_set_new(object, "NetInfo", net_info_json(request->reachability));
	if (rc < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static int endpoints_set(json_t *object, const struct coord_reachability *reachability)
{
	json_t *endpoints = json_array(), *types = json_array();
	char text[BASE_ENDPOINT_TEXT_LEN];
	int rc = 0;

	for (unsigned i = 0; i < reachability->n_endpoints; i++) {
		rc |= json_array_append_new(endpoints,
			json_string(base_endpoint_print(text, &reachability->endpoints[i])));
		rc |= json_array_append_new(types, json_integer(reachability->types[i]));
	}
	rc |= json_object_set_new(object, "Endpoints", endpoints);
	rc |= json_object_set_new(object, "EndpointTypes", types);
	return rc;
}

static json_t *request_json(const struct coord_map_request *request)
{
	json_t *object = json_object();
	int rc = json_object_set_new(object, "Version", json_integer(COORD_CAPABILITY_VERSION));

	rc |= json_object_set_new(object, "NodeKey", key_json("nodekey:", request->node_public));
	rc |= json_object_set_new(object, "DiscoKey", key_json("discokey:", request->disco_public));
	if (request->is_stream) {
		rc |= json_object_set_new(object, "Stream", json_true());
		rc |= json_object_set_new(object, "KeepAlive", json_true());
	} else {
		rc |= json_object_set_new(object, "OmitPeers", json_true());
	}
	if (request->is_stream && request->is_compressed)
		rc |= json_object_set_new(object, "Compress", json_string("zstd"));
	rc |= json_object_set_new(object, "Hostinfo", host_info_json(request));
	rc |= endpoints_set(object, request->reachability);
	if (rc < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

char *coord_map_request(const struct coord_map_request *request, size_t *ret_len)
{
	json_t *object = request_json(request);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	if (!text) {
		errno = ENOMEM;
		return NULL;
	}
	*ret_len = strlen(text);
	return text;
}
