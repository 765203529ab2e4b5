/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A world of two ends for the suites: a link in memory that loses, repeats, reorders and delays,
 * and a clock that moves only when the test says so.
 *
 * Each end enters through one of wg.h's doors. Behind the dataplane's door stands a data owner
 * as a worker lcore would be one: it has keypairs, index table, staged packets and endpoint of its
 * own, seals and opens, and talks with the device through two queues that are emptied in turns, so
 * that nothing between the two happens at once.
 */
#ifndef WG_TEST_WORLD_H
#define WG_TEST_WORLD_H

#include "wg_peer.h"
#include "wg_test.h"

#include "cr_aead.h"
#include "cr_noise.h"

#define S BASE_NS_PER_S
#define MS BASE_NS_PER_MS
#define UNIX_AT_START (UINT64_C(1750000000) * S)

#define IN_FLIGHT_MAX 4096
#define LETTER_BYTES_MAX                                                                           \
	256 /* all that the ends send each other; of a longer one the length stays */
#define SEQUENCES_MAX 200000
#define OWNER_STAGED_MAX 128

/* A datagram on its way. */
struct letter {
	uint64_t due_ns;
	unsigned to;
	struct base_endpoint from;
	size_t len;
	uint8_t bytes[LETTER_BYTES_MAX];
};

/* What a device tells the owner of a peer's data, and back. */
enum errand {
	KEYPAIR_BEGIN,
	KEYPAIRS_CLEAR,
	STAGED_CLEAR,
	KEEPALIVE,
	ENDPOINT_SEEN,
	PUT,
	WANT,
	CONFIRMED,
	HAS_ENDPOINT
};

struct note {
	enum errand errand;
	struct wg_keypair *keypair;
	struct base_endpoint endpoint;
};

struct notes {
	struct note items[1024];
	unsigned n;
};

struct owner {
	struct wg_index_table *indices;
	struct wg_keypairs keypairs;
	struct base_endpoint endpoint;
	struct wg_activity activity;
	uint32_t staged[OWNER_STAGED_MAX]; /* sequence numbers */
	unsigned n_staged;
	struct notes to_owner, to_device;
};

struct world;

struct end {
	struct world *world;
	unsigned id;
	bool is_owner; /* behind the dataplane's door */
	struct cr_key private_key, public_key;
	struct base_endpoint address; /* what the other side sees */
	struct wg_device *device;
	struct wg_peer *peer; /* the other end */
	struct owner owner;
	uint32_t n_sent, n_delivered, n_twice;
	uint64_t last_delivery_ns, longest_gap_ns;
	uint8_t seen[SEQUENCES_MAX];
	uint64_t done_calls, last_done_ns, shortest_done_ns;
	unsigned sent_by_type[5], n_keepalives;
	uint64_t last_initiation_ns, shortest_initiation_ns;
};

struct world {
	uint64_t now_ns;
	int64_t unix_shift_ns[2];
	struct end ends[2];
	unsigned loss_percent, repeat_percent;
	uint64_t delay_min_ns, delay_max_ns;
	bool is_cut;
	struct letter *flight;
	unsigned n_flight;
};

static void world_post(struct world *world, unsigned from, const void *message, size_t len)
{
	unsigned copies = test_random() % 100 < world->repeat_percent ? 2 : 1;

	if (world->is_cut || test_random() % 100 < world->loss_percent)
		return;
	while (copies-- > 0) {
		struct letter *letter = &world->flight[world->n_flight++];

		assert(world->n_flight < IN_FLIGHT_MAX);
		letter->due_ns = world->now_ns + world->delay_min_ns;
		if (world->delay_max_ns > world->delay_min_ns)
			letter->due_ns +=
				test_random() % (world->delay_max_ns - world->delay_min_ns);
		letter->to = !from;
		letter->from = world->ends[from].address;
		letter->len = len;
		memcpy(letter->bytes, message, len < LETTER_BYTES_MAX ? len : LETTER_BYTES_MAX);
	}
}

static void end_post(struct end *end, const void *message, size_t len)
{
	const uint8_t *bytes = message;

	end->sent_by_type[bytes[0]]++;
	end->n_keepalives += bytes[0] == WG_MESSAGE_DATA && len == WG_DATA_OVERHEAD_BYTES;
	if (bytes[0] == WG_MESSAGE_INITIATION) {
		uint64_t gap_ns = end->world->now_ns - end->last_initiation_ns;

		if (end->last_initiation_ns && gap_ns < end->shortest_initiation_ns)
			end->shortest_initiation_ns = gap_ns;
		end->last_initiation_ns = end->world->now_ns;
	}
	world_post(end->world, end->id, message, len);
}

/* --- inner packets: IPv4, a sequence number as payload ---------------------------------------- */

#define INNER_BYTES 24

static void inner_make(uint8_t packet[INNER_BYTES], unsigned from, uint32_t sequence)
{
	memset(packet, 0, INNER_BYTES);
	packet[0] = 0x45;
	base_store_be16(packet + 2, INNER_BYTES);
	base_store_be32(packet + 12, 0x0a000001 + from);
	base_store_be32(packet + 16, 0x0a000001 + !from);
	base_store_be32(packet + 20, sequence);
}

static void end_deliver(struct end *end, const uint8_t *packet, size_t len)
{
	uint32_t sequence = base_load_be32(packet + 20);
	uint64_t gap_ns = end->world->now_ns - end->last_delivery_ns;

	assert_int_equal(len, INNER_BYTES);
	assert_int_equal(base_load_be32(packet + 16), 0x0a000001 + end->id);
	assert_true(sequence < SEQUENCES_MAX);
	end->n_twice += end->seen[sequence];
	end->seen[sequence] = 1;
	end->n_delivered++;
	if (end->last_delivery_ns && gap_ns > end->longest_gap_ns)
		end->longest_gap_ns = gap_ns;
	end->last_delivery_ns = end->world->now_ns;
}

/* --- the data owner ------------------------------------------------------------------------- */

static void note_push(struct notes *notes, struct note note)
{
	assert(notes->n < BASE_ARRAY_LEN(notes->items));
	notes->items[notes->n++] = note;
}

static void owner_bury(struct owner *owner, struct wg_keypair *const dead[], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		wg_index_release(owner->indices, dead[i]->local_index);
		note_push(&owner->to_device, (struct note){PUT, .keypair = dead[i]});
	}
}

static bool owner_may_send(const struct end *end)
{
	const struct owner *owner = &end->owner;

	return owner->keypairs.current && owner->endpoint.addr.family &&
		wg_keypair_may_send(owner->keypairs.current, end->world->now_ns);
}

static void owner_seal(struct end *end, const void *packet, size_t len)
{
	struct wg_keypair *keypair = end->owner.keypairs.current;
	uint8_t message[256] = {0};
	size_t padded = (len + 15) / 16 * 16;
	struct wg_data header = {
		WG_MESSAGE_DATA, keypair->remote_index_le32, keypair->send_counter++};

	memcpy(message, &header, sizeof(header));
	if (len > 0)
		memcpy(message + sizeof(header), packet, len);
	cr_aead_seal(message + sizeof(header), &keypair->send_key, header.counter_le64,
		message + sizeof(header), padded, NULL, 0);
	wg_activity_sent(&end->owner.activity, end->world->now_ns, len > 0);
	end_post(end, message, WG_DATA_OVERHEAD_BYTES + padded);
	if (wg_keypair_wants_rekey_on_send(keypair, end->world->now_ns))
		note_push(&end->owner.to_device, (struct note){WANT});
}

static void owner_output(struct end *end, uint32_t sequence)
{
	struct owner *owner = &end->owner;
	uint8_t packet[INNER_BYTES];

	if (owner_may_send(end)) {
		inner_make(packet, end->id, sequence);
		owner_seal(end, packet, sizeof(packet));
		return;
	}
	if (owner->n_staged == OWNER_STAGED_MAX)
		memmove(owner->staged, owner->staged + 1, --owner->n_staged * sizeof(uint32_t));
	owner->staged[owner->n_staged++] = sequence;
	note_push(&owner->to_device, (struct note){WANT});
}

static void owner_staged_send(struct end *end)
{
	struct owner *owner = &end->owner;
	unsigned n = owner->n_staged;

	owner->n_staged = 0;
	for (unsigned i = 0; i < n; i++)
		owner_output(end, owner->staged[i]);
}

static void owner_keepalive(struct end *end)
{
	if (owner_may_send(end))
		owner_seal(end, NULL, 0);
	else
		note_push(&end->owner.to_device, (struct note){WANT});
}

static void owner_input(struct end *end, const struct letter *letter)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX], *keypair;
	struct owner *owner = &end->owner;
	size_t len = letter->len - WG_DATA_OVERHEAD_BYTES;
	uint8_t packet[LETTER_BYTES_MAX];
	struct wg_data header;
	unsigned n_dead;
	bool is_first;

	memcpy(&header, letter->bytes, sizeof(header));
	keypair = wg_index_lookup(owner->indices, header.receiver_index_le32);
	if (!keypair || !wg_keypair_may_receive(keypair, end->world->now_ns) ||
		!cr_aead_open(packet, &keypair->recv_key, header.counter_le64,
			letter->bytes + sizeof(header), len + CR_TAG_BYTES, NULL, 0) ||
		!wg_replay_accept(&keypair->replay, header.counter_le64))
		return;
	n_dead = wg_keypairs_confirm(&owner->keypairs, keypair, dead, &is_first);
	owner_bury(owner, dead, n_dead);
	if (!owner->endpoint.addr.family)
		note_push(&owner->to_device, (struct note){HAS_ENDPOINT});
	owner->endpoint = letter->from;
	wg_activity_received(&owner->activity, end->world->now_ns, len > 0);
	if (is_first) {
		note_push(&owner->to_device, (struct note){CONFIRMED});
		owner_staged_send(end);
	}
	if (keypair == owner->keypairs.current &&
		wg_keypair_wants_rekey_on_receive(keypair, end->world->now_ns))
		note_push(&owner->to_device, (struct note){WANT});
	if (len > 0)
		end_deliver(end, packet, INNER_BYTES);
}

static void owner_keypair_begin(struct end *end, struct wg_keypair *keypair)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	struct owner *owner = &end->owner;
	unsigned n_dead;

	assert_int_equal(wg_index_put(owner->indices, keypair->local_index, keypair), 0);
	n_dead = wg_keypairs_begin(&owner->keypairs, keypair, dead);
	owner_bury(owner, dead, n_dead);
	wg_activity_session(&owner->activity);
	if (!keypair->is_initiator)
		return;
	if (owner->n_staged > 0)
		owner_staged_send(end);
	else
		owner_keepalive(end);
}

static void owner_clear(struct owner *owner)
{
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	unsigned n_dead = wg_keypairs_clear(&owner->keypairs, dead);

	owner_bury(owner, dead, n_dead);
}

/* The worker's turn, then the device's. */
static void owner_turn(struct end *end)
{
	struct owner *owner = &end->owner;
	static struct notes notes;

	notes = owner->to_owner;
	owner->to_owner.n = 0;
	for (unsigned i = 0; i < notes.n; i++) {
		const struct note *note = &notes.items[i];

		if (note->errand == KEYPAIR_BEGIN)
			owner_keypair_begin(end, note->keypair);
		else if (note->errand == KEYPAIRS_CLEAR)
			owner_clear(owner);
		else if (note->errand == KEEPALIVE)
			owner_keepalive(end);
		else if (note->errand == ENDPOINT_SEEN)
			owner->endpoint = note->endpoint;
		else if (note->errand == STAGED_CLEAR)
			owner->n_staged = 0;
	}
	notes = owner->to_device;
	owner->to_device.n = 0;
	for (unsigned i = 0; i < notes.n; i++) {
		const struct note *note = &notes.items[i];

		if (note->errand == PUT)
			wg_keypair_put(end->device, note->keypair);
		else if (note->errand == WANT)
			wg_peer_want_handshake(end->peer, end->world->now_ns);
		else if (note->errand == CONFIRMED)
			wg_peer_confirmed(end->peer, end->world->now_ns);
		else if (note->errand == HAS_ENDPOINT)
			wg_peer_set_has_endpoint(end->peer, true);
	}
}

/* --- the device's host ---------------------------------------------------------------------- */

static void host_send(void *ctx, struct wg_peer *peer, const struct base_endpoint *to,
	const void *message, size_t len)
{
	struct end *end = ctx;

	assert_true(peer || to);
	if (to)
		assert_true(base_endpoint_equal(to, &end->world->ends[!end->id].address));
	end_post(end, message, len);
}

static uint64_t host_unix_ns(void *ctx)
{
	struct end *end = ctx;

	return UNIX_AT_START + end->world->now_ns + (uint64_t)end->world->unix_shift_ns[end->id];
}

static void host_deliver(void *ctx, struct wg_peer *peer, const void *packet, size_t len)
{
	end_deliver(ctx, packet, len);
}

static void host_keypair_begin(void *ctx, struct wg_peer *peer, struct wg_keypair *keypair)
{
	struct end *end = ctx;

	note_push(&end->owner.to_owner, (struct note){KEYPAIR_BEGIN, .keypair = keypair});
}

static void host_keypairs_clear(void *ctx, struct wg_peer *peer)
{
	struct end *end = ctx;

	note_push(&end->owner.to_owner, (struct note){KEYPAIRS_CLEAR});
}

static void host_staged_clear(void *ctx, struct wg_peer *peer)
{
	struct end *end = ctx;

	note_push(&end->owner.to_owner, (struct note){STAGED_CLEAR});
}

static void host_keepalive(void *ctx, struct wg_peer *peer)
{
	struct end *end = ctx;

	note_push(&end->owner.to_owner, (struct note){KEEPALIVE});
}

static void host_endpoint_seen(void *ctx, struct wg_peer *peer, const struct base_endpoint *from)
{
	struct end *end = ctx;

	note_push(&end->owner.to_owner, (struct note){ENDPOINT_SEEN, .endpoint = *from});
}

static void host_handshake_done(void *ctx, struct wg_peer *peer, uint64_t now_ns)
{
	struct end *end = ctx;

	assert_int_equal(now_ns, end->world->now_ns);
	if (end->done_calls++ && now_ns - end->last_done_ns < end->shortest_done_ns)
		end->shortest_done_ns = now_ns - end->last_done_ns;
	end->last_done_ns = now_ns;
}

static const struct wg_host host_whole = {.send = host_send,
	.unix_ns = host_unix_ns,
	.deliver = host_deliver,
	.handshake_done = host_handshake_done};
static const struct wg_host host_owner = {.send = host_send,
	.unix_ns = host_unix_ns,
	.keypair_begin = host_keypair_begin,
	.keypairs_clear = host_keypairs_clear,
	.staged_clear = host_staged_clear,
	.keepalive = host_keepalive,
	.endpoint_seen = host_endpoint_seen,
	.handshake_done = host_handshake_done};

/* --- the world's life ------------------------------------------------------------------------ */

static struct base_endpoint endpoint_of(const char *text)
{
	struct base_endpoint endpoint;

	assert_int_equal(base_endpoint_parse(&endpoint, text), 0);
	return endpoint;
}

static struct base_prefix inner_address(unsigned id)
{
	uint8_t bytes[4];

	base_store_be32(bytes, 0x0a000001 + id);
	return (struct base_prefix){base_addr_from_bytes(BASE_FAMILY_V4, bytes), 32};
}

/* Tell @end of the other one. */
static void end_meet(struct end *end, bool knows_endpoint, uint16_t keepalive_s)
{
	const struct end *other = &end->world->ends[!end->id];
	struct base_prefix prefix = inner_address(other->id);
	struct wg_peer_config config = {.public_key = other->public_key,
		.keepalive_s = keepalive_s,
		.owner = end->is_owner ? 3 : 0,
		.activity = end->is_owner ? &end->owner.activity : NULL,
		.allowed_ips = &prefix,
		.n_allowed_ips = 1};

	if (knows_endpoint)
		config.endpoint = end->owner.endpoint = other->address;
	memset(config.preshared_key.bytes, 0x5a, CR_KEY_BYTES);
	assert_int_equal(wg_peer_set(end->device, &config, end->world->now_ns, &end->peer), 0);
}

/* Start @end, or start it again with nothing but its key. */
static void end_start(struct end *end, bool is_owner)
{
	end->is_owner = is_owner;
	memset(&end->owner, 0, sizeof(end->owner));
	if (is_owner)
		end->owner.indices = wg_index_table_new(4);
	end->device = wg_device_new(&end->private_key, is_owner ? &host_owner : &host_whole, end);
	assert_non_null(end->device);
}

static void end_stop(struct end *end)
{
	wg_device_free(end->device);
	wg_index_table_free(end->owner.indices);
	end->device = NULL;
	end->peer = NULL;
}

static struct world *world_new(bool owner_a, bool owner_b)
{
	struct world *world = calloc(1, sizeof(*world));

	world->now_ns = 1000 * S;
	world->delay_min_ns = world->delay_max_ns = 10 * MS;
	world->flight = calloc(IN_FLIGHT_MAX, sizeof(struct letter));
	for (unsigned id = 0; id < 2; id++) {
		struct end *end = &world->ends[id];

		end->world = world;
		end->id = id;
		end->shortest_done_ns = end->shortest_initiation_ns = BASE_NEVER_NS;
		cr_x25519_generate(&end->private_key);
		cr_x25519_public(&end->public_key, &end->private_key);
		end->address = endpoint_of(id ? "198.51.100.2:51820" : "192.0.2.1:40000");
		end_start(end, id ? owner_b : owner_a);
	}
	return world;
}

static void world_free(struct world *world)
{
	end_stop(&world->ends[0]);
	end_stop(&world->ends[1]);
	free(world->flight);
	free(world);
}

static void world_arrive(struct world *world, const struct letter *letter)
{
	struct end *end = &world->ends[letter->to];

	assert_true(letter->len <= LETTER_BYTES_MAX);
	if (!end->device)
		return;
	if (end->is_owner && letter->bytes[0] == WG_MESSAGE_DATA)
		owner_input(end, letter);
	else if (end->is_owner)
		wg_handshake_input(
			end->device, &letter->from, letter->bytes, letter->len, world->now_ns);
	else
		wg_input(end->device, &letter->from, letter->bytes, letter->len, world->now_ns);
}

/* When something happens next, but not after @until_ns. */
static uint64_t world_next_ns(const struct world *world, uint64_t until_ns)
{
	uint64_t next_ns = until_ns;

	for (unsigned i = 0; i < world->n_flight; i++) {
		if (world->flight[i].due_ns < next_ns)
			next_ns = world->flight[i].due_ns;
	}
	for (unsigned id = 0; id < 2; id++) {
		uint64_t at_ns = world->ends[id].device
			? wg_next_deadline_ns(world->ends[id].device)
			: BASE_NEVER_NS;

		if (at_ns < next_ns)
			next_ns = at_ns;
	}
	return next_ns > world->now_ns ? next_ns : world->now_ns;
}

/* All that is due now. */
static void world_step(struct world *world)
{
	for (unsigned id = 0; id < 2; id++) {
		if (world->ends[id].device)
			wg_tick(world->ends[id].device, world->now_ns);
	}
	for (unsigned i = 0; i < world->n_flight;) {
		static struct letter letter;

		if (world->flight[i].due_ns > world->now_ns) {
			i++;
			continue;
		}
		letter = world->flight[i];
		world->flight[i] = world->flight[--world->n_flight];
		world_arrive(world, &letter);
	}
	for (unsigned id = 0; id < 2; id++) {
		struct end *end = &world->ends[id];

		while (end->device && end->is_owner &&
			end->owner.to_owner.n + end->owner.to_device.n > 0)
			owner_turn(end);
	}
}

/* Let @ns pass. */
static void world_run(struct world *world, uint64_t ns)
{
	uint64_t until_ns = world->now_ns + ns;

	while (world->now_ns < until_ns) {
		world->now_ns = world_next_ns(world, until_ns);
		world_step(world);
	}
}

static void end_send(struct end *end)
{
	uint8_t packet[INNER_BYTES];
	uint32_t sequence = end->n_sent++;

	if (end->is_owner) {
		owner_output(end, sequence);
		world_step(end->world);
	} else {
		inner_make(packet, end->id, sequence);
		wg_output(end->device, packet, sizeof(packet), end->world->now_ns);
	}
}

static size_t end_keypairs(const struct end *end)
{
	size_t keypairs, bytes;

	wg_device_usage(end->device, &keypairs, &bytes);
	return keypairs;
}

/* Nothing left of any session, and nothing waits. */
static void end_assert_idle(const struct end *end)
{
	assert_int_equal(end_keypairs(end), 0);
	assert_int_equal(wg_index_count(end->device->indices), 0);
	assert_int_equal(wg_next_deadline_ns(end->device), BASE_NEVER_NS);
	if (end->is_owner)
		assert_int_equal(wg_index_count(end->owner.indices), 0);
}

#endif
