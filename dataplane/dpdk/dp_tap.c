/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taps: their rings, and how control opens, reads and closes them (dp_tap.h). Control thread, but for
 * enter, leave, write and publish, which are the tapped thread's. Next to read: dp_trace.c.
 */
#include "dp_tap.h"

#include "base_bytes.h"
#include "dp_dataplane.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

/* Memory of all rings of one tap, and records of one ring. */
#define TAP_BYTES ((size_t)32 << 20)
#define SLOTS_MIN 64
#define SLOTS_MAX 8192

/* One writer, the tapped thread; one reader, control. */
struct ring {
	_Atomic uint32_t head; /* writer's; what is behind it is published */
	uint32_t written;      /* writer's alone: from head to here is not yet */
	uint32_t taken_back;   /* writer's alone: lost ones that are not yet counted */
	_Atomic uint32_t tail __rte_cache_aligned; /* reader's */
	dp_counter lost __rte_cache_aligned;
	uint8_t *slots;
} __rte_cache_aligned;

struct slot {
	struct dp_tap_record record;
	uint32_t peer_number;
	uint8_t data[];
};

struct dp_tap {
	struct dp *dp;
	struct dp_tap_config config;
	_Atomic uint32_t peer_number; /* writer: control; WG_PEER_NONE: its peer is gone */
	_Atomic uint64_t peer_end;    /* hash of the peer's endpoint; writer: control; 0: none */
	size_t slot_bytes;
	uint32_t n_slots; /* a power of two */
	unsigned n_rings;
	struct ring *rings;
};

/* The tapped thread's side. */

struct dp_tap_set *dp_tap_enter(struct dp_tap_point *point)
{
	struct dp_tap_set *set;

	/* Both sequentially consistent, against publish_set(): see dp_tap.h. */
	atomic_store(&point->is_inside, true);
	set = atomic_load(&point->set);
	if (!set)
		dp_tap_leave(point);
	return set;
}

void dp_tap_leave(struct dp_tap_point *point)
{
	/* Release: what was done inside is done before control frees it. */
	atomic_store_explicit(&point->is_inside, false, memory_order_release);
}

static uint64_t end_hash(const struct base_endpoint *endpoint)
{
	/* Whoever can choose endpoints gains nothing by a collision but to be seen. Never 0. */
	return endpoint->addr.family == BASE_FAMILY_NONE ? 0 : base_endpoint_hash(endpoint, 0) | 1;
}

static bool takes(struct dp_tap *tap, const struct dp_look *look)
{
	const struct dp_tap_record *record = &look->record;
	uint32_t number;
	uint64_t end;

	if (!(look->kinds & 1u << tap->config.kind))
		return false;
	if (!tap->config.has_peer)
		return true;
	number = atomic_load_explicit(&tap->peer_number, memory_order_relaxed);
	if (number == WG_PEER_NONE)
		return false;
	if (look->peer_number != WG_PEER_NONE)
		return look->peer_number == number;
	/* Handshakes, and frames that another worker owns, are known by their other end alone. */
	end = end_hash(record->is_out ? &record->outer_dst : &record->outer_src);
	return end && end == atomic_load_explicit(&tap->peer_end, memory_order_relaxed);
}

static struct slot *slot_at(const struct dp_tap *tap, const struct ring *ring, uint32_t position)
{
	return (struct slot *)(ring->slots + (position & (tap->n_slots - 1)) * tap->slot_bytes);
}

static void write_one(struct dp_tap *tap, struct ring *ring, const struct dp_look *look)
{
	struct slot *slot;

	/* Acquire pairs with the reader's release: it is done with the slot. */
	if (ring->written - atomic_load_explicit(&ring->tail, memory_order_acquire) ==
		tap->n_slots) {
		ring->taken_back++;
		return;
	}
	slot = slot_at(tap, ring, ring->written++);
	slot->record = look->record;
	slot->record.kind = (uint8_t)tap->config.kind;
	slot->peer_number = look->peer_number;
	slot->record.data_len = 0;
	if (tap->config.kind == DP_TAP_TRACE)
		return;
	slot->record.data_len = RTE_MIN(look->data_len, (uint32_t)tap->config.snaplen);
	memcpy(slot->data, look->data, slot->record.data_len);
}

void dp_taps_write(struct dp_tap_set *set, uint16_t ring, const struct dp_look *look)
{
	for (unsigned i = 0; i < set->n; i++) {
		if (takes(set->taps[i], look))
			write_one(set->taps[i], &set->taps[i]->rings[ring], look);
	}
}

void dp_taps_take_back(struct dp_tap_set *set, uint16_t number)
{
	for (unsigned i = 0; i < set->n; i++) {
		struct ring *ring = &set->taps[i]->rings[number];

		ring->written = atomic_load_explicit(&ring->head, memory_order_relaxed);
		ring->taken_back = 0;
	}
}

void dp_taps_publish(struct dp_tap_set *set, uint16_t number)
{
	for (unsigned i = 0; i < set->n; i++) {
		struct ring *ring = &set->taps[i]->rings[number];

		dp_counter_add(&ring->lost, ring->taken_back);
		ring->taken_back = 0;
		/* Release pairs with the reader's acquire: the slots are whole. */
		atomic_store_explicit(&ring->head, ring->written, memory_order_release);
	}
}

/* Control's side. */

static void wait_until_outside(const struct dp_taps *taps)
{
	for (unsigned i = 0; i < taps->n_points; i++) {
		while (atomic_load(&taps->points[i]->is_inside))
			sched_yield();
	}
}

/* Publish @set; NULL: nobody looks any more. The one before is control's alone when this returns. */
static void publish_set(struct dp_taps *taps, struct dp_tap_set *set)
{
	for (unsigned i = 0; i < taps->n_points; i++)
		atomic_store(&taps->points[i]->set, set);
	wait_until_outside(taps);
}

static int sealed_reserve(struct dp *dp)
{
	for (unsigned i = 0; i < dp->taps.n_points; i++) {
		struct dp_tap_point *point = dp->taps.points[i];

		if (!point->worker || point->sealed)
			continue;
		point->sealed = dp_trace_sealed_new();
		if (!point->sealed)
			return -ENOMEM;
	}
	return 0;
}

static int add_to_set(struct dp *dp, struct dp_tap *tap)
{
	struct dp_tap_set *set = calloc(1, sizeof(*set));

	if (!set)
		return -ENOMEM;
	if (dp->taps.set)
		*set = *dp->taps.set;
	set->taps[set->n++] = tap;
	publish_set(&dp->taps, set);
	free(dp->taps.set);
	dp->taps.set = set;
	return 0;
}

/* It takes no memory to end a tap: the set is changed in place while nobody looks. */
static void remove_from_set(struct dp_taps *taps, const struct dp_tap *tap)
{
	struct dp_tap_set *set = taps->set;
	unsigned n = 0;

	publish_set(taps, NULL);
	for (unsigned i = 0; i < set->n; i++) {
		if (set->taps[i] != tap)
			set->taps[n++] = set->taps[i];
	}
	set->n = n;
	if (n > 0) {
		publish_set(taps, set);
		return;
	}
	free(set);
	taps->set = NULL;
}

static int rings_new(struct dp_tap *tap)
{
	unsigned n = tap->dp->taps.n_points;

	tap->slot_bytes = RTE_ALIGN_CEIL(
		sizeof(struct slot) + (tap->config.kind == DP_TAP_TRACE ? 0u : tap->config.snaplen),
		sizeof(uint64_t));
	tap->n_slots = rte_align32prevpow2((uint32_t)(TAP_BYTES / n / tap->slot_bytes));
	tap->n_slots = RTE_MIN(RTE_MAX(tap->n_slots, (uint32_t)SLOTS_MIN), (uint32_t)SLOTS_MAX);
	tap->rings = aligned_alloc(RTE_CACHE_LINE_SIZE, n * sizeof(*tap->rings));
	if (!tap->rings)
		return -ENOMEM;
	memset(tap->rings, 0, n * sizeof(*tap->rings));
	tap->n_rings = n;
	for (unsigned i = 0; i < n; i++) {
		tap->rings[i].slots = calloc(tap->n_slots, tap->slot_bytes);
		if (!tap->rings[i].slots)
			return -ENOMEM;
	}
	return 0;
}

static void tap_free(struct dp_tap *tap)
{
	for (unsigned i = 0; i < tap->n_rings; i++) {
		/* It may have held what was said inside the tunnel. */
		if (tap->rings[i].slots)
			base_wipe(tap->rings[i].slots, tap->n_slots * tap->slot_bytes);
		free(tap->rings[i].slots);
	}
	free(tap->rings);
	free(tap);
}

/* Where the peer is now: for messages that name no session of its. */
static void refresh_end(struct dp_tap *tap)
{
	struct dp_peer_status status;

	if (tap->config.has_peer && dp_peer_status(tap->dp, &tap->config.peer, &status) == 0)
		atomic_store_explicit(
			&tap->peer_end, end_hash(&status.endpoint), memory_order_relaxed);
}

static int find_peer(struct dp_tap *tap)
{
	const struct dp_peers *peers = &tap->dp->peers;

	atomic_init(&tap->peer_number, WG_PEER_NONE);
	if (!tap->config.has_peer)
		return 0;
	for (uint32_t i = 0; i < peers->capacity; i++) {
		if (!peers->by_number[i] ||
			!cr_key_equal(&peers->by_number[i]->public_key, &tap->config.peer))
			continue;
		atomic_init(&tap->peer_number, i);
		refresh_end(tap);
		return 0;
	}
	return -ENOENT;
}

static int start(struct dp_tap *tap, struct base_error *ret_error)
{
	const struct dp_taps *taps = &tap->dp->taps;
	int error;

	if (taps->set && taps->set->n == DP_TAPS_MAX)
		return base_error_set(ret_error, -EBUSY,
			"%d traces and captures run already; end one of them", DP_TAPS_MAX);
	error = find_peer(tap);
	if (error)
		return base_error_set(ret_error, error, "no such peer in the tunnel");
	error = rings_new(tap);
	if (!error)
		error = sealed_reserve(tap->dp);
	if (!error)
		error = add_to_set(tap->dp, tap);
	return error ? base_error_set(ret_error, error, "no memory for a trace") : 0;
}

struct dp_tap *dp_tap_start(
	struct dp *dp, const struct dp_tap_config *config, struct base_error *ret_error)
{
	struct dp_tap *tap = calloc(1, sizeof(*tap));
	int error;

	if (!tap) {
		errno = -base_error_set(ret_error, -ENOMEM, "no memory for a trace");
		return NULL;
	}
	tap->dp = dp;
	tap->config = *config;
	if (config->snaplen == 0 || config->snaplen > DP_TAP_SNAPLEN_MAX)
		tap->config.snaplen = DP_TAP_SNAPLEN_MAX;
	error = start(tap, ret_error);
	if (!error)
		return tap;
	tap_free(tap);
	errno = -error;
	return NULL;
}

/* The ring whose first record is the oldest; NULL: all are empty. */
static struct ring *oldest_ring(struct dp_tap *tap)
{
	struct ring *oldest = NULL;
	uint64_t oldest_ns = UINT64_MAX;

	for (unsigned i = 0; i < tap->n_rings; i++) {
		struct ring *ring = &tap->rings[i];
		uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
		const struct slot *slot;

		/* Acquire pairs with the writer's release in dp_taps_publish(). */
		if (tail == atomic_load_explicit(&ring->head, memory_order_acquire))
			continue;
		slot = slot_at(tap, ring, tail);
		if (slot->record.time_ns < oldest_ns) {
			oldest_ns = slot->record.time_ns;
			oldest = ring;
		}
	}
	return oldest;
}

/* The peer's public key, for its number. */
static void name_peer(const struct dp *dp, uint32_t number, struct dp_tap_record *record)
{
	if (number >= dp->peers.capacity || !dp->peers.by_number[number])
		return;
	record->has_peer = true;
	record->peer = dp->peers.by_number[number]->public_key;
}

bool dp_tap_read(struct dp_tap *tap, struct dp_tap_record *ret_record, uint8_t *ret_data)
{
	struct ring *ring = oldest_ring(tap);
	const struct slot *slot;
	uint32_t tail;

	if (!ring) {
		refresh_end(tap);
		return false;
	}
	tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	slot = slot_at(tap, ring, tail);
	*ret_record = slot->record;
	if (ret_data)
		memcpy(ret_data, slot->data, slot->record.data_len);
	name_peer(tap->dp, slot->peer_number, ret_record);
	/* Release pairs with the writer's acquire in write_one(). */
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return true;
}

uint64_t dp_tap_lost(const struct dp_tap *tap)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < tap->n_rings; i++)
		n += dp_counter_get(&tap->rings[i].lost);
	return n;
}

bool dp_tap_is_over(const struct dp_tap *tap)
{
	return tap->config.has_peer &&
		atomic_load_explicit(&tap->peer_number, memory_order_relaxed) == WG_PEER_NONE;
}

void dp_tap_stop(struct dp_tap *tap)
{
	if (!tap)
		return;
	remove_from_set(&tap->dp->taps, tap);
	tap_free(tap);
}

void dp_taps_peer_gone(struct dp *dp, uint32_t number)
{
	for (unsigned i = 0; dp->taps.set && i < dp->taps.set->n; i++) {
		struct dp_tap *tap = dp->taps.set->taps[i];

		if (atomic_load_explicit(&tap->peer_number, memory_order_relaxed) == number)
			atomic_store_explicit(
				&tap->peer_number, WG_PEER_NONE, memory_order_relaxed);
	}
}

static void add_point(struct dp *dp, struct dp_tap_point *point, struct dp_worker *worker)
{
	point->worker = worker;
	point->ring = (uint16_t)dp->taps.n_points;
	dp->taps.points[dp->taps.n_points++] = point;
}

int dp_taps_init(struct dp *dp)
{
	dp->taps.points = calloc(dp->n_workers + 2, sizeof(*dp->taps.points));
	if (!dp->taps.points)
		return -ENOMEM;
	for (unsigned i = 0; i < dp->n_workers; i++)
		add_point(dp, &dp->workers[i].counters.tap, &dp->workers[i]);
	add_point(dp, dp_handshake_tap(dp->handshake), NULL);
	add_point(dp, &dp->host_counters.tap, NULL);
	return 0;
}

void dp_taps_fini(struct dp *dp)
{
	struct dp_taps *taps = &dp->taps;

	while (taps->set)
		dp_tap_stop(taps->set->taps[0]);
	for (unsigned i = 0; i < taps->n_points; i++)
		free(taps->points[i]->sealed);
	free(taps->points);
	memset(taps, 0, sizeof(*taps));
}
