/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Message by message: what a device accepts, refuses, counts and answers. The cases named
 * test_trap_* are those of wireguard-practice.md; the others are the paper's.
 */
#include "wg_test_world.h"

/* Two ends on whole packets with a confirmed session; a initiated it. */
static struct world *met(void)
{
	struct world *world = world_new(0, 0);

	end_meet(&world->ends[0], true, 0);
	end_meet(&world->ends[1], false, 0);
	end_send(&world->ends[0]);
	world_run(world, S);
	assert_int_equal(world->ends[1].n_delivered, 1);
	return world;
}

/* The one datagram on its way; nothing is, afterwards. */
static struct letter take(struct world *world)
{
	assert_int_equal(world->n_flight, 1);
	return world->flight[--world->n_flight];
}

static enum wg_verdict feed_from(struct end *end, const char *from, const void *message, size_t len)
{
	struct base_endpoint endpoint = endpoint_of("192.0.2.1:40000");

	if (from)
		endpoint = endpoint_of(from);
	return wg_input(end->device, &endpoint, message, len, end->world->now_ns);
}

static enum wg_verdict feed(struct end *end, const struct letter *letter)
{
	return wg_input(end->device, &letter->from, letter->bytes, letter->len, end->world->now_ns);
}

/* Start a handshake of @end anew and take its initiation off the link. */
static struct letter initiation_of(struct end *end)
{
	end->peer->timers.initiation_ns = 0; /* as if the last one were long ago */
	wg_handshake_begin(end->peer, end->world->now_ns);
	return take(end->world);
}

/* A message under @from's current keypair with any counter and plaintext. */
static enum wg_verdict feed_sealed(struct end *from, struct end *to, uint64_t counter,
	const void *plaintext, size_t len, size_t corrupt)
{
	const struct wg_keypair *keypair = from->peer->keypairs.current;
	struct wg_data header = {WG_MESSAGE_DATA, keypair->remote_index_le32, counter};
	uint8_t message[512];

	memcpy(message, &header, sizeof(header));
	cr_aead_seal(
		message + sizeof(header), &keypair->send_key, counter, plaintext, len, NULL, 0);
	message[sizeof(header) + len] ^= corrupt;
	return wg_input(to->device, &from->address, message, WG_DATA_OVERHEAD_BYTES + len,
		to->world->now_ns);
}

static uint64_t count_of(const struct end *end, enum wg_verdict verdict)
{
	uint64_t counts[WG_VERDICT_COUNT];

	wg_device_counts(end->device, counts);
	return counts[verdict];
}

/* --- data ------------------------------------------------------------------------------------ */

/* Inner lengths are computed in more than 16 bits, and lying ones never reach the host. */
static void test_trap_inner_lengths(void **state)
{
	static const struct {
		uint8_t first;
		uint16_t stated;
		size_t len;
		enum wg_verdict verdict;
	} cases[] = {
		{0x45, 20, 20, WG_VERDICT_OK},
		{0x45, 24, 32, WG_VERDICT_OK},
		{0x45, 24, 24, WG_VERDICT_OK}, /* boringtun does not pad */
		{0x45, 24, 200, WG_VERDICT_OK},
		{0x45, 25, 24, WG_VERDICT_DATA_INNER},
		{0x45, 19, 32, WG_VERDICT_DATA_INNER},
		{0x45, 0, 32, WG_VERDICT_DATA_INNER},
		{0x45, 65535, 32, WG_VERDICT_DATA_INNER},
		{0x45, 20, 19, WG_VERDICT_DATA_INNER},
		{0x45, 20, 1, WG_VERDICT_DATA_INNER},
		{0x60, 0, 39, WG_VERDICT_DATA_INNER},
		{0x60, 1, 40, WG_VERDICT_DATA_INNER},
		{0x60, 65495, 48, WG_VERDICT_DATA_INNER},
		{0x60, 65496, 48, WG_VERDICT_DATA_INNER}, /* 40 + this wraps in 16 bits */
		{0x60, 65535, 48, WG_VERDICT_DATA_INNER},
		{0x60, 65520, 40, WG_VERDICT_DATA_INNER},
		{0x60, 0, 40, WG_VERDICT_DATA_SOURCE}, /* right, but from nobody */
		{0x00, 24, 32, WG_VERDICT_DATA_INNER},
		{0xf5, 24, 32, WG_VERDICT_DATA_INNER},
		{0x55, 24, 32, WG_VERDICT_DATA_INNER},
		{0x00, 0, 0, WG_VERDICT_OK},
	};
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];

	b->device->host.deliver = host_deliver;
	for (unsigned i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		uint8_t packet[256];

		inner_make(packet, 0, 100 + i);
		memset(packet + INNER_BYTES, 0, sizeof(packet) - INNER_BYTES);
		packet[0] = cases[i].first;
		base_store_be16(packet + (packet[0] >> 4 == 6 ? 4 : 2), cases[i].stated);
		if (cases[i].verdict == WG_VERDICT_OK && cases[i].stated == 20)
			continue; /* the world's own packets carry a number */
		if (feed_sealed(a, b, 10 + i, packet, cases[i].len, 0) != cases[i].verdict)
			fail_msg("case %u", i);
	}
	world_free(world);
}

static void test_wrong_source(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	uint8_t packet[INNER_BYTES];

	inner_make(packet, 0, 50);
	packet[15] ^= 8; /* 10.0.0.9 is not a's */
	assert_int_equal(feed_sealed(a, b, 20, packet, sizeof(packet), 0), WG_VERDICT_DATA_SOURCE);
	assert_int_equal(b->n_delivered, 1);
	packet[15] ^= 8;
	packet[19] ^= 8; /* and outwards nobody has 10.0.0.10 */
	assert_int_equal(wg_output(a->device, packet, sizeof(packet), world->now_ns),
		WG_VERDICT_OUT_NO_PEER);
	assert_int_equal(wg_output(a->device, packet, 19, world->now_ns), WG_VERDICT_OUT_MALFORMED);
	world_free(world);
}

/* Window, endpoint, confirmation and times move only after the tag has verified. */
static void test_trap_forged_data_moves_nothing(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct wg_peer before = *b->peer;
	struct wg_keypair keypair = *b->peer->keypairs.current;
	uint8_t packet[INNER_BYTES];

	inner_make(packet, 0, 50);
	a->address = endpoint_of("203.0.113.66:6");
	for (unsigned bit = 1; bit < 256; bit *= 2)
		assert_int_equal(feed_sealed(a, b, 5000, packet, sizeof(packet), bit),
			WG_VERDICT_DATA_FORGED);
	assert_memory_equal(&before, b->peer, sizeof(before));
	assert_memory_equal(&keypair, b->peer->keypairs.current, sizeof(keypair));
	assert_int_equal(feed_sealed(a, b, 5000, packet, sizeof(packet), 0), WG_VERDICT_OK);
	assert_true(base_endpoint_equal(&b->peer->endpoint, &a->address));
	world_free(world);
}

static void test_replayed_and_stale(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter;

	end_send(a);
	letter = take(world);
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	assert_int_equal(feed(b, &letter), WG_VERDICT_DATA_REPLAY);
	assert_int_equal(b->n_twice, 0);
	end_send(a);
	letter = take(world);
	world->now_ns += WG_REJECT_AFTER_NS;
	assert_int_equal(feed(b, &letter), WG_VERDICT_DATA_STALE);
	letter.bytes[4] ^= 1;
	assert_int_equal(feed(b, &letter), WG_VERDICT_DATA_UNKNOWN_INDEX);
	for (size_t len = 4; len < WG_DATA_OVERHEAD_BYTES; len++)
		assert_int_equal(feed_from(b, NULL, letter.bytes, len), WG_VERDICT_DATA_MALFORMED);
	world_free(world);
}

/* The last counter is REJECT_AFTER_MESSAGES - 1, in both directions. */
static void test_trap_counters(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	uint8_t packet[INNER_BYTES];

	inner_make(packet, 0, 60);
	assert_int_equal(feed_sealed(a, b, WG_REJECT_AFTER_MSGS, packet, sizeof(packet), 0),
		WG_VERDICT_DATA_REPLAY);
	assert_int_equal(
		feed_sealed(a, b, UINT64_MAX, packet, sizeof(packet), 0), WG_VERDICT_DATA_REPLAY);
	a->peer->keypairs.current->send_counter = WG_REJECT_AFTER_MSGS - 1;
	world->now_ns += 10 * S;
	end_send(a); /* the last, and a new handshake with it */
	assert_int_equal(world->n_flight, 2);
	world->n_flight = 0;
	inner_make(packet, 0, 61);
	assert_int_equal(
		wg_output(a->device, packet, sizeof(packet), world->now_ns), WG_VERDICT_OUT_STAGED);
	assert_int_equal(world->n_flight, 0);
	world_free(world);
}

/* Padded to 16 but not past the MTU; both accepted (test_trap_inner_lengths). */
static void test_trap_padding(void **state)
{
	static const struct {
		size_t mtu, len, padded;
	} cases[] = {{0, 24, 32}, {0, 32, 32}, {0, 33, 48}, {1420, 1409, 1420}, {1420, 1408, 1408},
		{1420, 1420, 1420}, {1420, 1430, 1430}, {1420, 100, 112}};
	struct world *world = met();
	struct end *a = &world->ends[0];

	for (unsigned i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		uint8_t packet[1500] = {0};

		wg_device_set_mtu(a->device, cases[i].mtu);
		inner_make(packet, 0, 1);
		base_store_be16(packet + 2, (uint16_t)cases[i].len);
		assert_int_equal(
			wg_output(a->device, packet, cases[i].len, world->now_ns), WG_VERDICT_OK);
		assert_int_equal(take(world).len, WG_DATA_OVERHEAD_BYTES + cases[i].padded);
	}
	world_free(world);
}

static void test_staged_is_bounded(void **state)
{
	struct world *world = world_new(0, 0);
	struct end *a = &world->ends[0];
	static uint8_t packet[30000];
	struct wg_peer_status status;

	world->is_cut = true;
	end_meet(a, true, 0);
	for (unsigned i = 0; i < 1000; i++)
		end_send(a);
	wg_peer_status(a->peer, &status);
	assert_int_equal(status.staged_pkts, WG_STAGED_PKTS_MAX);
	inner_make(packet, 0, 0);
	base_store_be16(packet + 2, sizeof(packet));
	for (unsigned i = 0; i < 100; i++)
		wg_output(a->device, packet, sizeof(packet), world->now_ns);
	wg_peer_status(a->peer, &status);
	assert_int_equal(status.staged_pkts, WG_STAGED_BYTES_MAX / sizeof(packet));
	assert_true(a->peer->staged_bytes <= WG_STAGED_BYTES_MAX);
	assert_int_equal(a->sent_by_type[WG_MESSAGE_INITIATION], 1);
	world_free(world);
}

/* --- where things come from ------------------------------------------------------------------- */

/* Source port 0: never connected to, remembered or answered. */
static void test_trap_port_zero(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct base_endpoint before = b->peer->endpoint;
	struct wg_peer_config config = {.public_key = a->public_key};
	struct letter letter = initiation_of(a);

	letter.from.port = 0;
	assert_int_equal(feed(b, &letter), WG_VERDICT_MALFORMED);
	assert_int_equal(world->n_flight, 0);
	wg_device_note_queue(b->device, 8, 8, world->now_ns);
	assert_int_equal(feed(b, &letter), WG_VERDICT_MALFORMED); /* no cookie either */
	assert_int_equal(world->n_flight, 0);
	end_send(a);
	letter = take(world);
	letter.from.port = 0;
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK); /* authentic data is data */
	assert_true(base_endpoint_equal(&b->peer->endpoint, &before));
	config.endpoint = a->address;
	config.endpoint.port = 0;
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, NULL), -EINVAL);
	world_free(world);
}

static void test_fixed_endpoint(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct base_endpoint home = a->address;
	struct letter letter;

	b->peer->endpoint_is_fixed = true;
	a->address = endpoint_of("[2001:db8::5]:5");
	end_send(a);
	letter = take(world);
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	assert_true(base_endpoint_equal(&b->peer->endpoint, &home));
	letter = initiation_of(a);
	a->address = home; /* the answer goes home */
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	assert_true(base_endpoint_equal(&b->peer->endpoint, &home));
	world_free(world);
}

/* --- handshakes ------------------------------------------------------------------------------- */

/* The reserved bytes are part of the type, and each type has its one length. */
static void test_trap_reserved_bytes(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter data, initiation;

	end_send(a);
	data = take(world);
	initiation = initiation_of(a);
	for (unsigned bit = 8; bit < 32; bit++) {
		data.bytes[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(feed(b, &data), WG_VERDICT_MALFORMED);
		data.bytes[bit / 8] ^= 1 << bit % 8;
		initiation.bytes[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(feed(b, &initiation), WG_VERDICT_MALFORMED);
		initiation.bytes[bit / 8] ^= 1 << bit % 8;
	}
	for (size_t len = 0; len < 300; len++) {
		for (unsigned type = 0; type < 8; type++) {
			uint8_t message[300] = {(uint8_t)type};
			enum wg_verdict verdict = feed_from(b, NULL, message, len);
			bool is_right = (type == 1 && len == 148) || (type == 2 && len == 92) ||
				(type == 3 && len == 64) || (type == 4 && len >= 4);

			assert_int_equal(verdict == WG_VERDICT_MALFORMED, !is_right);
		}
	}
	assert_int_equal(feed(b, &data), WG_VERDICT_OK);
	assert_int_equal(feed(b, &initiation), WG_VERDICT_OK);
	world_free(world);
}

/* Within 20 ms of the last one a second initiation is dropped without a word. */
static void test_trap_too_soon(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter first = initiation_of(a), second, third;

	world->now_ns += 17 * MS;
	second = initiation_of(a);
	world->now_ns += 17 * MS;
	third = initiation_of(a);
	world->now_ns += S;
	assert_int_equal(feed(b, &first), WG_VERDICT_OK);
	world->n_flight = 0;
	assert_int_equal(feed(b, &first), WG_VERDICT_REPLAY);
	world->now_ns += WG_INITIATION_GAP_NS - 1;
	assert_int_equal(feed(b, &second), WG_VERDICT_FLOOD);
	assert_int_equal(world->n_flight, 0);
	world->now_ns += 1;
	assert_int_equal(feed(b, &third), WG_VERDICT_OK);
	world->n_flight = 0;
	world->now_ns += S;
	assert_int_equal(feed(b, &second), WG_VERDICT_REPLAY); /* older than the newest */
	assert_int_equal(count_of(b, WG_VERDICT_FLOOD), 1);
	world_free(world);
}

/* Initiations that nobody confirms never push out the confirmed session, or pile up. */
static void test_trap_abandoned_handshakes(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	const struct wg_keypair *current = b->peer->keypairs.current;

	for (unsigned i = 0; i < 50; i++) {
		struct letter letter = initiation_of(a);

		assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
		take(world); /* the response is lost */
		world->now_ns += 100 * MS;
		assert_ptr_equal(b->peer->keypairs.current, current);
		assert_true(end_keypairs(b) <= 3);
		assert_true(wg_index_count(b->device->indices) <= 3);
		assert_true(wg_index_count(a->device->indices) <= 3);
	}
	a->n_delivered = b->n_delivered = 0;
	end_send(a);
	end_send(b);
	world_run(world, 100 * MS);
	assert_int_equal(a->n_delivered, 1);
	assert_int_equal(b->n_delivered, 1);
	world_free(world);
}

/* Receiver indices are random, and name their owner. */
static void test_trap_random_indices(void **state)
{
	struct world *world = world_new(1, 0);
	struct end *a = &world->ends[0];
	uint32_t last = 0, index;
	unsigned n_near = 0;

	end_meet(a, true, 0);
	for (unsigned i = 0; i < 200; i++) {
		struct letter letter = initiation_of(a);

		index = base_load_le32(letter.bytes + 4);
		assert_int_equal(wg_index_owner(index), 3);
		n_near += index - last < 4096;
		last = index;
		assert_int_equal(
			wg_index_count(a->device->indices), 1); /* replaces the one before */
	}
	assert_true(n_near <= 2);
	world_free(world);
}

static void test_refused_initiations(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter = initiation_of(a), forged = letter;
	struct wg_cookie_sender macs;

	forged.bytes[116] ^= 1;
	assert_int_equal(feed(b, &forged), WG_VERDICT_MAC1);
	macs = (struct wg_cookie_sender){0};
	forged = letter;
	forged.bytes[60] ^= 1;
	wg_cookie_macs_add(&macs, &b->public_key, forged.bytes, forged.len, world->now_ns);
	assert_int_equal(feed(b, &forged), WG_VERDICT_FORGED);
	forged = letter;
	forged.bytes[100] ^= 1; /* the timestamp's */
	wg_cookie_macs_add(&macs, &b->public_key, forged.bytes, forged.len, world->now_ns);
	assert_int_equal(feed(b, &forged), WG_VERDICT_FORGED);
	memset(forged.bytes + 8, 0, 32); /* a low-order ephemeral key */
	wg_cookie_macs_add(&macs, &b->public_key, forged.bytes, forged.len, world->now_ns);
	assert_int_equal(feed(b, &forged), WG_VERDICT_FORGED);
	assert_int_equal(world->n_flight, 0);
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK); /* none of this used it up */
	world->n_flight = 0;
	wg_peer_remove(b->device, b->peer);
	letter = initiation_of(a);
	assert_int_equal(feed(b, &letter), WG_VERDICT_UNKNOWN_PEER);
	world_free(world);
}

static void test_refused_responses(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter = initiation_of(a), old, forged;
	struct wg_cookie_sender macs;

	macs = (struct wg_cookie_sender){0};
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	old = take(world);
	world->now_ns += 30 * MS;
	letter = initiation_of(a); /* replaces the one that `old` answers */
	assert_int_equal(feed(a, &old), WG_VERDICT_UNKNOWN_INDEX);
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	letter = take(world);
	forged = letter;
	forged.bytes[50] ^= 1;
	wg_cookie_macs_add(&macs, &a->public_key, forged.bytes, forged.len, world->now_ns);
	assert_int_equal(feed(a, &forged), WG_VERDICT_FORGED);
	assert_int_equal(feed(a, &letter), WG_VERDICT_OK);
	assert_int_equal(feed(a, &letter), WG_VERDICT_UNKNOWN_INDEX); /* its index is a session's */
	world_free(world);
}

/* Secrets of a handshake are gone when it is over, those of a session with its keypairs. */
static void test_wiped(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter;

	assert_null(a->peer->handshake);
	assert_null(b->peer->handshake);
	letter = initiation_of(a);
	assert_non_null(a->peer->handshake);
	assert_int_equal(letter.len, sizeof(struct wg_initiation));
	a->peer->timers.attempt_ns = world->now_ns - WG_REKEY_ATTEMPT_NS; /* nobody answered */
	wg_peer_schedule(a->peer, world->now_ns);
	wg_tick(a->device, world->now_ns);
	assert_null(a->peer->handshake);
	world_run(world, WG_WIPE_AFTER_NS + 20 * S);
	end_assert_idle(a);
	end_assert_idle(b);
	world_free(world);
}

/* Real messages with bytes changed, cut or lengthened: nothing comes through, nothing piles up. */
static void test_mutations(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	uint64_t counts[WG_VERDICT_COUNT], n = 0;

	for (unsigned round = 0; round < 20000; round++) {
		struct wg_cookie_sender macs;
		struct letter letter;

		if (round % 3) {
			end_send(a);
			letter = world->flight[0];
		} else {
			letter = initiation_of(a);
		}
		world->n_flight = 0;
		for (unsigned i = test_random() % 3; i < 3; i++)
			letter.bytes[test_random() % letter.len] ^=
				(uint8_t)(1 + test_random() % 255);
		if (test_random() % 4 == 0)
			letter.len = test_random() % LETTER_BYTES_MAX;
		if (round % 3 == 0 && test_random() % 2) { /* let it pass the first gate */
			macs = (struct wg_cookie_sender){0};
			wg_cookie_macs_add(&macs, &b->public_key, letter.bytes, 148, world->now_ns);
		}
		world->now_ns += 25 * MS;
		feed(b, &letter);
		world->n_flight = 0;
		wg_tick(a->device, world->now_ns);
		world->n_flight = 0;
		assert_true(end_keypairs(b) <= 3);
		assert_int_equal(b->n_delivered, 1);
	}
	wg_device_counts(b->device, counts);
	for (unsigned i = 0; i < WG_VERDICT_COUNT; i++)
		n += counts[i];
	assert_int_equal(n, 20000 + 2); /* each counted under one reason; two made the session */
	world_free(world);
}

/* --- cookies ---------------------------------------------------------------------------------- */

/* The initiator tries again at once with its cookie: once, not for as long as cookies come. */
static void test_cookie_retry_is_single(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter = initiation_of(a), cookie;
	unsigned before = a->sent_by_type[WG_MESSAGE_INITIATION];

	wg_device_note_queue(b->device, 8, 8, world->now_ns);
	assert_int_equal(feed(b, &letter), WG_VERDICT_COOKIE_SENT);
	cookie = take(world);
	assert_int_equal(feed(a, &cookie), WG_VERDICT_OK);
	assert_int_equal(a->sent_by_type[WG_MESSAGE_INITIATION], before + 1);
	letter = take(world);
	assert_int_equal(feed(a, &cookie), WG_VERDICT_UNKNOWN_INDEX); /* a repeat */
	letter.from.port++; /* a NAT that changed its mind: the cookie does not fit */
	b->world->ends[0].address = letter.from;
	assert_int_equal(feed(b, &letter), WG_VERDICT_COOKIE_SENT);
	cookie = take(world);
	assert_int_equal(feed(a, &cookie), WG_VERDICT_OK);
	assert_int_equal(a->sent_by_type[WG_MESSAGE_INITIATION], before + 1); /* waits its 5 s */
	assert_int_equal(world->n_flight, 0);
	cookie.bytes[40] ^= 1;
	assert_int_equal(feed(a, &cookie), WG_VERDICT_COOKIE_BAD);
	world_free(world);
}

/* A response carries mac2 too, when its sender holds a cookie of the initiator. */
static void test_trap_response_carries_mac2(void **state)
{
	static const uint8_t zero[CR_MAC_BYTES];
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter = initiation_of(a), response, cookie;

	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	response = take(world);
	assert_memory_equal(response.bytes + 76, zero, sizeof(zero));
	wg_device_note_queue(a->device, 8, 8, world->now_ns);
	assert_int_equal(feed(a, &response), WG_VERDICT_COOKIE_SENT);
	cookie = take(world);
	assert_int_equal(feed(b, &cookie), WG_VERDICT_OK);
	assert_int_equal(world->n_flight, 0); /* a responder does not repeat itself */
	world->now_ns += 100 * MS;
	letter = initiation_of(a);
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	response = take(world);
	assert_memory_not_equal(response.bytes + 76, zero, sizeof(zero));
	assert_int_equal(feed(a, &response), WG_VERDICT_OK); /* still under load */
	world_free(world);
}

static void test_rate_limit_under_load(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct letter letter = initiation_of(a), cookie;
	unsigned n_limited = 0, n_replay = 0;

	wg_device_note_queue(b->device, 8, 8, world->now_ns);
	assert_int_equal(feed(b, &letter), WG_VERDICT_COOKIE_SENT);
	cookie = take(world);
	assert_int_equal(feed(a, &cookie), WG_VERDICT_OK);
	world->n_flight = 0;
	/* What is a peer's costs its source nothing: behind a NAT there may be many. */
	for (unsigned i = 0; i < 90; i++) {
		world->now_ns += 21 * MS; /* 47 a second */
		wg_device_note_queue(b->device, 1, 8, world->now_ns);
		letter = initiation_of(a);
		assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
		world->n_flight = 0;
	}
	/* What proves nothing does. */
	for (unsigned i = 0; i < 90; i++) {
		enum wg_verdict verdict;

		world->now_ns += 21 * MS;
		wg_device_note_queue(b->device, 1, 8, world->now_ns);
		verdict = feed(b, &letter);
		assert_int_equal(world->n_flight, 0);
		assert_true(verdict == WG_VERDICT_REPLAY || verdict == WG_VERDICT_RATE_LIMIT);
		n_replay += verdict == WG_VERDICT_REPLAY;
		n_limited += verdict == WG_VERDICT_RATE_LIMIT;
	}
	assert_in_range(n_replay, 2 * 18, 2 * 22 + WG_SOURCE_BURST_MSGS);
	/* Load ends a second after the queue was last long. */
	wg_device_note_queue(b->device, 0, 8, world->now_ns + S);
	world->now_ns += S;
	for (unsigned i = 0; i < 20; i++) {
		letter = initiation_of(a);
		assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
		world->n_flight = 0;
		world->now_ns += 21 * MS;
	}
	assert_int_equal(count_of(b, WG_VERDICT_RATE_LIMIT), n_limited);
	world_free(world);
}

/* --- configuration ----------------------------------------------------------------------------- */

static void test_peer_set(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct base_prefix prefix = inner_address(0);
	struct wg_peer_config config = {.public_key = a->public_key,
		.preshared_key = {{1}},
		.allowed_ips = &prefix,
		.n_allowed_ips = 1,
		.user = world};
	struct wg_peer *peer, *thief;
	struct wg_peer_status status;
	struct letter letter;

	/* A change keeps peer, session and endpoint; the preshared key waits for a handshake. */
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, &peer), 0);
	assert_ptr_equal(peer, b->peer);
	assert_ptr_equal(wg_peer_user(peer), world);
	assert_ptr_equal(wg_peer_find(b->device, &a->public_key), peer);
	assert_memory_equal(wg_peer_public_key(peer), &a->public_key, 32);
	wg_peer_status(peer, &status);
	assert_true(status.has_session);
	assert_int_equal(status.handshakes, 1);
	assert_true(base_endpoint_equal(&status.endpoint, &a->address));
	end_send(a);
	world_run(world, 100 * MS);
	assert_int_equal(b->n_delivered, 2);
	letter = initiation_of(a);
	assert_int_equal(feed(b, &letter), WG_VERDICT_OK);
	letter = take(world);
	assert_int_equal(feed(a, &letter), WG_VERDICT_FORGED);

	/* An address that another peer claims moves to it. */
	config.public_key.bytes[0] ^= 1;
	config.user = NULL;
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, &thief), 0);
	assert_ptr_not_equal(thief, peer);
	end_send(a);
	letter = take(world);
	assert_int_equal(feed(b, &letter), WG_VERDICT_DATA_SOURCE);
	wg_peer_remove(b->device, thief);

	config.public_key = b->public_key;
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, NULL), -EINVAL);
	memset(&config.public_key, 0, sizeof(config.public_key));
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, NULL), -EINVAL);
	config.public_key.bytes[0] = 9;
	config.owner = WG_INDEX_OWNERS_MAX;
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, NULL), -EINVAL);
	config.owner = 0;
	prefix.addr.bytes[0] = 1;
	prefix.bits = 3; /* host bits */
	assert_int_equal(wg_peer_set(b->device, &config, world->now_ns, NULL), -EINVAL);
	assert_null(wg_peer_find(b->device, &config.public_key));
	world_free(world);
}

static void test_private_key_changes(void **state)
{
	struct world *world = met();
	struct end *a = &world->ends[0], *b = &world->ends[1];
	struct cr_key key, public_key;

	end_send(a);
	assert_int_equal(wg_device_set_private_key(b->device, &a->private_key), -EINVAL);
	world_run(world, 100 * MS);
	assert_int_equal(b->n_delivered, 2);
	cr_x25519_generate(&key);
	assert_int_equal(wg_device_set_private_key(b->device, &key), 0);
	assert_int_equal(end_keypairs(b), 0);
	b->private_key = key;
	cr_x25519_public(&b->public_key, &key);
	wg_device_public_key(b->device, &public_key);
	assert_memory_equal(&public_key, &b->public_key, 32);
	wg_peer_remove(a->device, a->peer);
	end_meet(a, true, 0);
	end_send(a);
	world_run(world, 100 * MS);
	assert_int_equal(b->n_delivered, 3);
	world_free(world);
}

/* Ten thousand peers: found by key; those without a session or keepalive cost no deadline. */
static void test_many_peers(void **state)
{
	enum { N = 10000 };
	static struct wg_peer *peers[N];
	struct world *world = world_new(0, 0);
	struct end *a = &world->ends[0];
	struct wg_peer_config config = {.endpoint = endpoint_of("198.51.100.2:51820")};

	world->is_cut = true;
	for (unsigned i = 0; i < N; i++) {
		struct base_prefix prefix = {.bits = 32};

		base_store_be32(config.public_key.bytes, i + 2);
		config.public_key.bytes[20] = 5;
		prefix.addr.family = BASE_FAMILY_V4;
		base_store_be32(prefix.addr.bytes, 0x64400000 + i);
		config.allowed_ips = &prefix;
		config.n_allowed_ips = 1;
		config.keepalive_s = i % 10 == 0 ? 25 : 0;
		assert_int_equal(wg_peer_set(a->device, &config, world->now_ns, &peers[i]), 0);
	}
	assert_int_equal(a->device->deadlines.n, N / 10);
	assert_int_equal(wg_next_deadline_ns(a->device), world->now_ns);
	wg_tick(a->device, world->now_ns);
	assert_int_equal(a->sent_by_type[WG_MESSAGE_INITIATION], N / 10);
	assert_int_equal(wg_index_count(a->device->indices), N / 10);
	for (unsigned i = 0; i < N; i++)
		assert_ptr_equal(wg_peer_find(a->device, wg_peer_public_key(peers[i])), peers[i]);
	for (unsigned i = 0; i < N; i++)
		wg_peer_remove(a->device, peers[(i * 7919) % N]);
	end_assert_idle(a);
	assert_null(a->device->peers);
	world_free(world);
}

static unsigned n_complete(const struct wg_device *device)
{
	unsigned n = 0;

	for (const struct wg_peer *peer = device->peers; peer; peer = peer->next)
		n += wg_noise_remote_is_complete(&peer->remote);
	return n;
}

/* One after the other, whoever comes and goes meanwhile; each once, and again under another key of ours. */
static void test_prepared_ahead(void **state)
{
	enum { N = 600 };
	struct world *world = world_new(false, false);
	struct end *a = &world->ends[0];
	struct wg_peer_config config = {.owner = 0};
	static struct wg_peer *peers[N];
	struct cr_key key;
	unsigned n = 0;

	assert_false(wg_device_prepare(a->device));
	for (unsigned i = 0; i < N; i++) {
		memset(config.public_key.bytes, 9, CR_KEY_BYTES);
		base_store_le32(config.public_key.bytes, i + 2);
		assert_int_equal(wg_peer_set(a->device, &config, world->now_ns, &peers[i]), 0);
		if (i % 3 == 0)
			assert_true(wg_device_prepare(a->device));
		if (i % 5 == 4) /* the one whose turn it is, or the last */
			wg_peer_remove(a->device, i % 10 == 4 ? a->device->prepare_next : peers[i]);
	}
	assert_in_range(n_complete(a->device), 1, N / 3);
	while (wg_device_prepare(a->device))
		n++;
	assert_in_range(n, N * 4 / 5 - N / 3, N * 4 / 5);
	assert_int_equal(n_complete(a->device), N * 4 / 5);
	cr_x25519_generate(&key);
	assert_int_equal(wg_device_set_private_key(a->device, &key), 0);
	assert_int_equal(n_complete(a->device), 0);
	for (n = 0; wg_device_prepare(a->device); n++)
		;
	assert_int_equal(n, N * 4 / 5);
	assert_int_equal(n_complete(a->device), N * 4 / 5);
	world_free(world);
}

static void test_names(void **state)
{
	assert_string_equal(wg_verdict_name(WG_VERDICT_OK), "ok");
	assert_string_equal(wg_verdict_name(WG_VERDICT_OUT_MALFORMED), "out_malformed");
	assert_string_equal(wg_verdict_name(WG_VERDICT_COUNT), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_trap_inner_lengths),
		cmocka_unit_test(test_wrong_source),
		cmocka_unit_test(test_trap_forged_data_moves_nothing),
		cmocka_unit_test(test_replayed_and_stale),
		cmocka_unit_test(test_trap_counters),
		cmocka_unit_test(test_trap_padding),
		cmocka_unit_test(test_staged_is_bounded),
		cmocka_unit_test(test_trap_port_zero),
		cmocka_unit_test(test_fixed_endpoint),
		cmocka_unit_test(test_trap_reserved_bytes),
		cmocka_unit_test(test_trap_too_soon),
		cmocka_unit_test(test_trap_abandoned_handshakes),
		cmocka_unit_test(test_trap_random_indices),
		cmocka_unit_test(test_refused_initiations),
		cmocka_unit_test(test_refused_responses),
		cmocka_unit_test(test_wiped),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_cookie_retry_is_single),
		cmocka_unit_test(test_trap_response_carries_mac2),
		cmocka_unit_test(test_rate_limit_under_load),
		cmocka_unit_test(test_peer_set),
		cmocka_unit_test(test_private_key_changes),
		cmocka_unit_test(test_many_peers),
		cmocka_unit_test(test_prepared_ahead),
		cmocka_unit_test(test_names),
	};

	test_seed();
	if (cr_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("wg_device", tests, NULL, NULL);
}
