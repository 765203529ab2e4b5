/* SPDX-License-Identifier: BSD-3-Clause */
/* Open traces and captures, and their records as JSON. Loop's thread. See ctl_tap.h. */
#include "ctl_tap.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "base_log.h"

#include <stdlib.h>

BASE_LOG_CATEGORY("tap");

#define WATCH_MS 1000

struct entry {
	struct dp_tap *tap; /* NULL: free */
	enum dp_tap_kind kind;
	unsigned id;
	uint64_t read_ns; /* when it was last asked for */
	uint64_t n_records;
	char what[96]; /* for the log */
};

struct ctl_taps {
	const struct ctl_tunnel *tunnel;
	struct entry entries[DP_TAPS_MAX];
	unsigned next_id;
	uv_timer_t *watch; /* on the heap: closed later than this object */
	uint8_t data[DP_TAP_SNAPLEN_MAX];
	char hex[2 * DP_TAP_SNAPLEN_MAX + 1];
};

static const char *const kind_names[] = {
	[DP_TAP_TRACE] = "trace",
	[DP_TAP_INNER] = "inner",
	[DP_TAP_OUTER] = "outer",
};

/* ---- life ---- */

static void end(struct entry *entry, const char *why)
{
	base_log_info("audit: %s ended, %s: %llu records, %llu lost", entry->what, why,
		(unsigned long long)entry->n_records, (unsigned long long)dp_tap_lost(entry->tap));
	dp_tap_stop(entry->tap);
	entry->tap = NULL;
}

static void on_watch(uv_timer_t *timer)
{
	struct ctl_taps *taps = timer->data;
	uint64_t now_ns = base_clock_now_ns();
	unsigned n = 0;

	for (size_t i = 0; i < DP_TAPS_MAX; i++) {
		struct entry *entry = &taps->entries[i];

		if (entry->tap && now_ns - entry->read_ns > CTL_TAP_IDLE_S * BASE_NS_PER_S)
			end(entry, "nobody reads it");
		n += entry->tap != NULL;
	}
	if (n == 0)
		uv_timer_stop(timer);
}

struct ctl_taps *ctl_taps_new(uv_loop_t *loop, const struct ctl_tunnel *tunnel)
{
	struct ctl_taps *taps = calloc(1, sizeof(*taps));

	if (!taps)
		return NULL;
	taps->tunnel = tunnel;
	taps->watch = malloc(sizeof(*taps->watch));
	if (!taps->watch) {
		free(taps);
		return NULL;
	}
	uv_timer_init(loop, taps->watch);
	taps->watch->data = taps;
	return taps;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

void ctl_taps_free(struct ctl_taps *taps)
{
	if (!taps)
		return;
	for (size_t i = 0; i < DP_TAPS_MAX; i++) {
		if (taps->entries[i].tap)
			end(&taps->entries[i], "the gateway stops");
	}
	uv_close((uv_handle_t *)taps->watch, on_closed);
	base_wipe(taps, sizeof(*taps));
	free(taps);
}

/* ---- opening ---- */

/* Fill @ret_config. Returns NULL, or what is wrong with the body. */
static const char *read_config(
	const json_t *body, struct dp_tap_config *ret_config, const char **ret_peer)
{
	static const char *const known[] = {"kind", "peer", "snaplen"};
	const json_t *kind = json_object_get(body, "kind"), *peer = json_object_get(body, "peer");
	const json_t *snaplen = json_object_get(body, "snaplen");
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach ((json_t *)body, key, value) {
		for (i = 0; i < BASE_ARRAY_LEN(known) && strcmp(known[i], key) != 0; i++)
			;
		if (i == BASE_ARRAY_LEN(known))
			return "unknown key; known are kind, peer, snaplen";
	}
	for (i = 0; i < BASE_ARRAY_LEN(kind_names); i++) {
		if (json_is_string(kind) && strcmp(kind_names[i], json_string_value(kind)) == 0)
			break;
	}
	if (i == BASE_ARRAY_LEN(kind_names))
		return "kind must be \"trace\", \"inner\" or \"outer\"";
	ret_config->kind = (enum dp_tap_kind)i;
	if (peer && !json_is_string(peer))
		return "peer must be a name";
	*ret_peer = json_string_value(peer);
	if (!snaplen)
		return NULL;
	if (!json_is_integer(snaplen) || json_integer_value(snaplen) < 1 ||
		json_integer_value(snaplen) > DP_TAP_SNAPLEN_MAX)
		return "snaplen must be a number of bytes, at most 2048";
	ret_config->snaplen = (uint16_t)json_integer_value(snaplen);
	return NULL;
}
static_assert(DP_TAP_SNAPLEN_MAX == 2048, "read_config() names the limit");

/* Needs a free entry: there are as many as the dataplane has taps. */
static struct entry *add_entry(struct ctl_taps *taps, struct dp_tap *tap, enum dp_tap_kind kind)
{
	struct entry *entry = taps->entries;

	while (entry->tap)
		entry++;
	*entry = (struct entry){
		.tap = tap, .kind = kind, .id = ++taps->next_id, .read_ns = base_clock_now_ns()};
	if (!uv_is_active((uv_handle_t *)taps->watch))
		uv_timer_start(taps->watch, on_watch, WATCH_MS, WATCH_MS);
	return entry;
}

static json_t *ports_json(const struct ctl_tunnel *tunnel)
{
	const struct dp_config *config = ctl_tunnel_config(tunnel);
	json_t *list = json_array();

	for (unsigned i = 0; i < config->n_ports; i++)
		json_array_append_new(list, json_string(config->ports[i].device));
	return list;
}

json_t *ctl_taps_open(
	struct ctl_taps *taps, const json_t *body, const char *client, struct base_error *ret_error)
{
	struct dp_tap_config config = {0};
	const char *peer = NULL, *wrong = read_config(body, &config, &peer);
	struct entry *entry;
	struct dp_tap *tap;

	if (wrong) {
		errno = -base_error_set(ret_error, -EINVAL, "%s", wrong);
		return NULL;
	}
	if (!taps->tunnel) {
		errno = -base_error_set(ret_error, -ENOTSUP,
			"there is no tunnel: this gateway runs in direct mode");
		return NULL;
	}
	if (peer && !ctl_tunnel_peer_key(taps->tunnel, peer, &config.peer)) {
		errno = -base_error_set(ret_error, -ENOENT, "no peer of that name");
		return NULL;
	}
	config.has_peer = peer;
	tap = ctl_tunnel_tap(taps->tunnel, &config, ret_error);
	if (!tap)
		return NULL;
	entry = add_entry(taps, tap, config.kind);
	snprintf(entry->what, sizeof(entry->what), "%s%s of %s%.40s",
		config.kind == DP_TAP_TRACE ? "" : "capture ", kind_names[config.kind],
		peer ? "peer " : "all peers", peer ? peer : "");
	base_log_info("audit: %s begun by %s", entry->what, client);
	return json_pack("{s:i, s:o, s:s}", "id", (int)entry->id, "ports", ports_json(taps->tunnel),
		"host_device", ctl_tunnel_config(taps->tunnel)->host_device);
}

/* ---- records ---- */

static json_t *endpoint_json(const struct base_endpoint *endpoint)
{
	char text[BASE_ENDPOINT_TEXT_LEN];

	if (endpoint->addr.family == BASE_FAMILY_NONE)
		return json_null();
	return json_string(base_endpoint_print(text, endpoint));
}

static json_t *message_json(const struct dp_tap_record *record)
{
	static const char *const names[] = {NULL, "initiation", "response", "cookie", "data"};

	if (record->message_type == 0 || record->message_type >= BASE_ARRAY_LEN(names))
		return json_null();
	return json_pack("{s:s, s:I, s:I}", "type", names[record->message_type], "index",
		(json_int_t)record->message_index, "counter", (json_int_t)record->message_counter);
}

static json_t *inner_json(const struct dp_tap_record *record)
{
	char src[BASE_ADDR_TEXT_LEN], dst[BASE_ADDR_TEXT_LEN];

	if (record->inner_src.family == BASE_FAMILY_NONE)
		return json_null();
	return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:I}", "src",
		base_addr_print(src, &record->inner_src), "dst",
		base_addr_print(dst, &record->inner_dst), "proto", record->inner_proto, "src_port",
		record->inner_src_port, "dst_port", record->inner_dst_port, "icmp_type",
		record->inner_icmp_type, "tcp_flags", record->inner_tcp_flags, "bytes",
		(json_int_t)record->inner_len);
}

static json_t *peer_json(const struct ctl_taps *taps, const struct dp_tap_record *record)
{
	return record->has_peer ? json_string(ctl_tunnel_peer_name(taps->tunnel, &record->peer))
				: json_null();
}

/* @offset_ns: from monotonic time to time since 1970. */
static json_t *record_json(
	struct ctl_taps *taps, const struct dp_tap_record *record, uint64_t offset_ns)
{
	uint64_t time_ns = record->time_ns + offset_ns;
	json_t *object = json_pack("{s:I, s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:I}",
		"time_ns", (json_int_t)time_ns, "direction", record->is_out ? "out" : "in", "at",
		dp_place_name((enum dp_place)record->place), "verdict",
		dp_verdict_name(record->verdict), "dropped", dp_verdict_is_drop(record->verdict),
		"worker",
		record->worker == DP_TAP_NO_WORKER ? json_null() : json_integer(record->worker),
		"peer", peer_json(taps, record), "src", endpoint_json(&record->outer_src), "dst",
		endpoint_json(&record->outer_dst), "message", message_json(record), "inner",
		inner_json(record), "bytes", (json_int_t)record->len);

	if (record->kind == DP_TAP_TRACE)
		return object;
	base_hex_encode(taps->hex, taps->data, record->data_len);
	json_object_set_new(object, "data", json_string(taps->hex));
	if (record->kind == DP_TAP_OUTER)
		json_object_set_new(object, "port", json_integer(record->port));
	return object;
}

static struct entry *find(struct ctl_taps *taps, const char *id)
{
	char *rest;
	unsigned long number = strtoul(id, &rest, 10);

	for (size_t i = 0; i < DP_TAPS_MAX && *id >= '1' && *id <= '9' && *rest == '\0'; i++) {
		if (taps->entries[i].tap && taps->entries[i].id == number)
			return &taps->entries[i];
	}
	errno = ENOENT;
	return NULL;
}

static json_t *read_records(struct ctl_taps *taps, struct entry *entry, json_int_t max)
{
	uint64_t offset_ns = base_clock_unix_ns() - base_clock_now_ns();
	json_t *records = json_array();
	struct dp_tap_record record;

	while (max-- > 0 && dp_tap_read(entry->tap, &record, taps->data)) {
		json_array_append_new(records, record_json(taps, &record, offset_ns));
		entry->n_records++;
	}
	return records;
}

json_t *ctl_taps_read(struct ctl_taps *taps, const char *id, const json_t *body)
{
	const json_t *max = json_object_get(body, "max");
	json_int_t n = max ? json_integer_value(max) : CTL_TAP_RECORDS_DEFAULT;
	struct entry *entry = find(taps, id);
	bool is_over;

	if (!entry)
		return NULL;
	if (n < 1 || n > CTL_TAP_RECORDS_MAX) {
		errno = EINVAL;
		return NULL;
	}
	entry->read_ns = base_clock_now_ns();
	/* Before the records: what came until the end is read then, too. */
	is_over = dp_tap_is_over(entry->tap);
	return json_pack("{s:o, s:I, s:b}", "records", read_records(taps, entry, n), "lost",
		(json_int_t)dp_tap_lost(entry->tap), "over", is_over);
}

json_t *ctl_taps_close(struct ctl_taps *taps, const char *id)
{
	struct entry *entry = find(taps, id);
	json_t *document;

	if (!entry)
		return NULL;
	document = json_pack("{s:I}", "lost", (json_int_t)dp_tap_lost(entry->tap));
	end(entry, "by its operator");
	return document;
}
