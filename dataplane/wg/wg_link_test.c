/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole stories of two ends over virtual hours, through both doors of wg.h (wg_test_world.h). Each
 * asserts that data flows and that nothing is left behind: keypairs, indices, deadlines.
 */
#include "wg_test_world.h"

/* Which door each end uses: 0 whole packets, 1 a data owner. */
static const bool doors[][2] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}};

#define FOR_EACH_DOORS(i) for (unsigned i = 0; i < BASE_ARRAY_LEN(doors); i++)

/* Both ends send about every @gap_ns for @ns. */
static void chat(struct world *world, uint64_t ns, uint64_t gap_ns)
{
	uint64_t until_ns = world->now_ns + ns;

	while (world->now_ns < until_ns) {
		end_send(&world->ends[test_random() % 2]);
		world_run(world, gap_ns / 4 + test_random() % (gap_ns / 2));
	}
}

/* A clean link: every packet arrives, once; rekeys come at 120 s; silence ends everything. */
static void test_clean_hours(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];
		uint64_t handshakes;

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		end_send(a);
		world_run(world, S);
		chat(world, 3 * 3600 * S, 400 * MS);
		world_run(world, S);
		assert_int_equal(b->n_delivered, a->n_sent);
		assert_int_equal(a->n_delivered, b->n_sent);
		assert_int_equal(a->n_twice + b->n_twice, 0);
		handshakes = a->done_calls;
		assert_int_equal(b->done_calls, handshakes);
		assert_in_range(handshakes, 3 * 30 - 2, 3 * 30 + 1); /* 120 s apart, and a little */
		assert_true(a->shortest_done_ns >= WG_REKEY_AFTER_NS);
		assert_int_equal(a->sent_by_type[1] + b->sent_by_type[1], handshakes);
		assert_true(end_keypairs(a) <= 3 && end_keypairs(b) <= 3);
		world_run(world, WG_WIPE_AFTER_NS + 20 * S);
		end_assert_idle(a);
		end_assert_idle(b);
		world_free(world);
	}
}

/* Losses, repeats, reordering, long delays: no gap in service longer than a lost retry explains. */
static void test_rough_hours(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		world->loss_percent = 8;
		world->repeat_percent = 10;
		world->delay_min_ns = 5 * MS;
		world->delay_max_ns = 900 * MS; /* more than the gap between packets */
		end_meet(a, true, 0);
		end_meet(b, true, 0);
		chat(world, 3 * 3600 * S, 400 * MS);
		assert_int_equal(a->n_twice + b->n_twice, 0); /* repeats never pass */
		assert_true(b->n_delivered > a->n_sent * 88 / 100);
		assert_true(a->n_delivered > b->n_sent * 88 / 100);
		assert_true(a->longest_gap_ns < 12 * S && b->longest_gap_ns < 12 * S);
		assert_in_range(a->sent_by_type[1] + b->sent_by_type[1], 85, 140);
		assert_true(a->shortest_initiation_ns >= WG_REKEY_TIMEOUT_NS);
		assert_true(b->shortest_initiation_ns >= WG_REKEY_TIMEOUT_NS);
		assert_true(end_keypairs(a) <= 3 && end_keypairs(b) <= 3);
		world_run(world, WG_WIPE_AFTER_NS + 100 * S);
		end_assert_idle(a);
		end_assert_idle(b);
		world_free(world);
	}
}

/* One side talks: the other answers with keepalives, and silence is never suspected. */
static void test_one_way(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		for (unsigned n = 0; n < 1800; n++) {
			end_send(a);
			world_run(world, 2 * S);
		}
		assert_int_equal(b->n_delivered, 1800);
		assert_int_equal(b->sent_by_type[1], 0);
		assert_in_range(a->sent_by_type[1], 29, 31);
		assert_in_range(b->n_keepalives, 3600 / 13, 3600 / 9);
		world_run(world, 700 * S);
		end_assert_idle(a);
		end_assert_idle(b);
		world_free(world);
	}
}

/* The responder talks alone: it does not rekey at 120 s, the receiving initiator does at 165 s. */
static void test_responder_talks(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		end_send(a);
		world_run(world, S);
		for (unsigned n = 0; n < 200; n++) {
			end_send(b);
			world_run(world, S);
		}
		assert_int_equal(a->n_delivered, 200);
		assert_int_equal(b->sent_by_type[1], 0);
		/* The passive keepalive of the initiator after 120 s rekeys already (paper 6.2). */
		assert_int_equal(a->sent_by_type[1], 2);
		world_free(world);
	}
}

/* The last answer is lost: one handshake after 15 s settles it, and then there is peace. */
static void test_last_answer_lost(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		chat(world, 5 * S, S);
		end_send(b);
		world_run(world, 20 * MS); /* nothing of a's is unanswered */
		end_send(a);
		world_run(world, 2 * S);
		world->is_cut = true; /* for the passive keepalive */
		world_run(world, 10 * S);
		world->is_cut = false;
		world_run(world, 1000 * S);
		assert_int_equal(a->sent_by_type[1] + b->sent_by_type[1], 2);
		end_assert_idle(a);
		end_assert_idle(b);
		world_free(world);
	}
}

/* Packets that wait within the device; in the dataplane none do. */
static unsigned staged_at(const struct end *end)
{
	struct wg_peer_status status;

	wg_peer_status(end->peer, &status);
	return status.staged_pkts;
}

/* The link is cut while one side talks. */
static void test_cut_and_mended(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];
		unsigned before;

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		chat(world, 30 * S, S);
		end_send(b);
		world_run(world, 20 * MS); /* nothing of a's is unanswered */
		world->is_cut = true;
		before = a->sent_by_type[1];
		end_send(a);
		world_run(world, 14 * S);
		assert_int_equal(a->sent_by_type[1], before);
		world_run(world, 2 * S); /* KEEPALIVE + REKEY_TIMEOUT, and jitter */
		assert_int_equal(a->sent_by_type[1], before + 1);
		/* Tries for 90 s, every 5 s and a little, then rests: nothing more was sent. */
		world_run(world, 400 * S);
		assert_in_range(a->sent_by_type[1], before + 17, before + 18);
		/* A talker tries for as long as it talks; what it stages is bounded. */
		for (unsigned n = 0; n < 200; n++) {
			end_send(a);
			world_run(world, S);
		}
		assert_true(staged_at(a) <= WG_STAGED_PKTS_MAX);
		assert_in_range(a->sent_by_type[1], before + 17 + 35, before + 18 + 41);
		world->is_cut = false;
		b->n_delivered = 0;
		world_run(world, 6 * S);
		assert_int_equal(b->n_delivered, WG_STAGED_PKTS_MAX); /* the newest */
		chat(world, 10 * S, S);
		world_run(world, 700 * S);
		end_assert_idle(a);
		end_assert_idle(b);
		world_free(world);
	}
}

/* Nobody answers, ever: the attempt ends and what was staged goes. */
static void test_nobody_there(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0];

		world->is_cut = true;
		end_meet(a, true, 0);
		end_send(a);
		world_run(world, 89 * S);
		assert_int_equal(staged_at(a) + a->owner.n_staged, 1);
		world_run(world, 2 * S);
		assert_in_range(a->sent_by_type[1], 17, 18);
		assert_int_equal(staged_at(a) + a->owner.n_staged, 0);
		end_assert_idle(a);
		world_free(world);
	}
}

/* wireguard-practice.md: a peer that restarts without an endpoint is found again in about 15 s. */
static void test_trap_restart(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];
		uint64_t down_ns;

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		chat(world, 60 * S, S);
		end_stop(b);
		end_start(b, doors[i][1]);
		end_meet(b, false, 0);
		down_ns = world->now_ns;
		b->last_delivery_ns = 0;
		while (!b->last_delivery_ns) {
			end_send(a);
			world_run(world, 500 * MS);
			assert_true(world->now_ns < down_ns + 17 * S);
		}
		/* Restarted with an endpoint it speaks up itself, at once. */
		chat(world, 20 * S, S);
		end_stop(b);
		end_start(b, doors[i][1]);
		end_meet(b, true, 0);
		b->last_delivery_ns = 0;
		end_send(b);
		world_run(world, 100 * MS);
		end_send(a);
		world_run(world, 100 * MS);
		assert_true(b->last_delivery_ns != 0);
		world_free(world);
	}
}

/* Persistent keepalive holds a path open for hours without data, and revives a dead one. */
static void test_persistent_keepalive(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];
		unsigned initiations;

		end_meet(a, true, 25); /* begins by itself */
		end_meet(b, false, 0);
		world_run(world, 3600 * S);
		assert_in_range(a->sent_by_type[1], 3600 / 146, 3600 / 119);
		/* One per interval, and one that confirms each session. */
		assert_in_range(a->n_keepalives, 3600 / 26, 3600 / 25 + 31);
		assert_int_equal(b->sent_by_type[1], 0);
		assert_true(wg_timers_has_session(&a->peer->timers, world->now_ns));
		b->n_delivered = 0;
		end_send(a);
		world_run(world, 20 * MS);
		assert_int_equal(b->n_delivered, 1);
		initiations = a->sent_by_type[1];
		world->is_cut = true;
		world_run(world, 3600 * S);
		assert_in_range(a->sent_by_type[1] - initiations, 300, 720);
		world->is_cut = false;
		world_run(world, 60 * S);
		assert_true(wg_timers_has_session(&a->peer->timers, world->now_ns));
		world_free(world);
	}
}

/* Both begin at the same moment. Data flows at once, and they settle on one session. */
static void test_crossed_initiations(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];
		unsigned before;

		end_meet(a, true, 0);
		end_meet(b, true, 0);
		end_send(a);
		end_send(b);
		world_run(world, 100 * MS);
		assert_int_equal(a->n_delivered, 1);
		assert_int_equal(b->n_delivered, 1);
		before = a->sent_by_type[1] + b->sent_by_type[1];
		assert_int_equal(before, 2);
		for (unsigned n = 0; n < 1200; n++) {
			end_send(a);
			end_send(b);
			world_run(world, S);
		}
		assert_int_equal(a->n_delivered, 1201);
		assert_int_equal(b->n_delivered, 1201);
		assert_in_range(a->sent_by_type[1] + b->sent_by_type[1] - before, 9, 14);
		world_run(world, 700 * S);
		end_assert_idle(a);
		end_assert_idle(b);
		world_free(world);
	}
}

/* Rekeys that cross: one side yields, one new session comes of it, and no packet is lost. */
static void test_crossed_rekeys(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		end_meet(a, true, 0);
		end_meet(b, true, 0);
		chat(world, 60 * S, 100 * MS);
		for (unsigned n = 0; n < 20; n++) {
			uint64_t before = a->done_calls;

			wg_peer_want_handshake(a->peer, world->now_ns);
			wg_peer_want_handshake(b->peer, world->now_ns);
			chat(world, 10 * S, 100 * MS);
			assert_int_equal(a->done_calls, before + 1);
			assert_int_equal(b->done_calls, a->done_calls);
		}
		world_run(world, S);
		assert_int_equal(b->n_delivered, a->n_sent);
		assert_int_equal(a->n_delivered, b->n_sent);
		world_free(world);
	}
}

/* wireguard-practice.md: roaming between IPv4 and IPv6 underlays, in both directions. */
static void test_trap_roaming_across_families(void **state)
{
	static const char *const places[] = {"[2001:db8::77]:1234", "203.0.113.9:999",
		"[2001:db8::78]:1234", "203.0.113.9:1000"};

	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		chat(world, 5 * S, S);
		for (unsigned n = 0; n < BASE_ARRAY_LEN(places); n++) {
			struct wg_peer_status status;
			uint32_t before = a->n_delivered;

			a->address = endpoint_of(places[n]);
			end_send(a);
			world_run(world, 100 * MS);
			end_send(b); /* host_send asserts where it goes */
			world_run(world, 100 * MS);
			assert_int_equal(a->n_delivered, before + 1);
			wg_peer_status(b->peer, &status);
			assert_true(base_endpoint_equal(
				b->is_owner ? &b->owner.endpoint : &status.endpoint, &a->address));
			assert_int_equal(b->sent_by_type[1], 0);
		}
		world_free(world);
	}
}

/* The wall clock of one side is set back by a day: its stamps go on rising. */
static void test_clock_set_back(void **state)
{
	struct world *world = world_new(0, 0);
	struct end *a = &world->ends[0], *b = &world->ends[1];
	uint64_t counts[WG_VERDICT_COUNT];

	end_meet(a, true, 0);
	end_meet(b, false, 0);
	chat(world, 60 * S, S);
	world->unix_shift_ns[0] = -(int64_t)(86400 * S);
	chat(world, 600 * S, S);
	wg_device_counts(b->device, counts);
	assert_int_equal(counts[WG_VERDICT_REPLAY], 0);
	assert_int_equal(b->sent_by_type[1], 0);
	world_free(world);
}

/* A responder under load costs the initiator one round trip, not five seconds. */
static void test_under_load(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		wg_device_note_queue(b->device, 1, 8, world->now_ns);
		end_send(a);
		world_run(world, 100 * MS);
		assert_int_equal(b->sent_by_type[3], 1);
		assert_int_equal(a->sent_by_type[1], 2);
		assert_int_equal(b->n_delivered, 1);
		world_free(world);
	}
}

/* An established session carries on under a flood of initiations from many ports. */
static void test_trap_flood(void **state)
{
	FOR_EACH_DOORS(i)
	{
		struct world *world = world_new(doors[i][0], doors[i][1]);
		struct end *a = &world->ends[0], *b = &world->ends[1];
		struct wg_initiation noise;
		struct base_endpoint from = a->address;
		uint64_t counts[WG_VERDICT_COUNT];

		end_meet(a, true, 0);
		end_meet(b, false, 0);
		chat(world, 5 * S, S);
		b->n_delivered = a->n_sent = 0;
		for (unsigned n = 0; n < 5000; n++) {
			struct wg_cookie_sender macs;

			cr_random(&noise, sizeof(noise));
			noise.type_le32 = WG_MESSAGE_INITIATION;
			macs = (struct wg_cookie_sender){0};
			wg_cookie_macs_add(
				&macs, &b->public_key, &noise, sizeof(noise), world->now_ns);
			from.port = (uint16_t)(1024 + n);
			wg_device_note_queue(b->device, 64, 64, world->now_ns);
			b->world->ends[0].address =
				from; /* where host_send expects replies to go */
			assert_int_equal(wg_handshake_input(b->device, &from, &noise, sizeof(noise),
						 world->now_ns),
				WG_VERDICT_COOKIE_SENT);
			a->address = endpoint_of("192.0.2.1:40000");
			world->n_flight = 0;
			if (n % 50 == 0) {
				end_send(a);
				world_run(world, 10 * MS);
			}
		}
		assert_int_equal(b->n_delivered, a->n_sent);
		wg_device_counts(b->device, counts);
		assert_int_equal(counts[WG_VERDICT_COOKIE_SENT], 5000);
		assert_true(end_keypairs(b) <= 3);
		world_free(world);
	}
}

/* A removed peer leaves nothing, whichever door, whenever. */
static void test_removal(void **state)
{
	FOR_EACH_DOORS(i)
	{
		for (unsigned when = 0; when < 4; when++) {
			struct world *world = world_new(doors[i][0], doors[i][1]);
			struct end *a = &world->ends[0], *b = &world->ends[1];

			end_meet(a, true, 25);
			end_meet(b, true, 25);
			world_run(world, when * 7 * MS);
			if (when == 3)
				chat(world, 300 * S, S);
			end_send(a);
			wg_peer_remove(a->device, a->peer);
			if (a->is_owner) { /* its last words to the device are only returns */
				struct notes *notes = &a->owner.to_device;
				unsigned n = 0;

				for (unsigned j = 0; j < notes->n; j++) {
					if (notes->items[j].errand == PUT)
						notes->items[n++] = notes->items[j];
				}
				notes->n = n;
				owner_turn(a);
				owner_turn(a);
			}
			end_assert_idle(a);
			assert_null(a->device->peers);
			assert_null(wg_peer_find(a->device, &b->public_key));
			a->owner.endpoint.addr.family = 0;
			end_stop(a);
			end_start(a, doors[i][0]);
			end_meet(a, true, 0);
			world_run(world, 10 * S);
			world_free(world);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_hours),
		cmocka_unit_test(test_rough_hours),
		cmocka_unit_test(test_one_way),
		cmocka_unit_test(test_responder_talks),
		cmocka_unit_test(test_last_answer_lost),
		cmocka_unit_test(test_cut_and_mended),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_trap_restart),
		cmocka_unit_test(test_persistent_keepalive),
		cmocka_unit_test(test_crossed_initiations),
		cmocka_unit_test(test_crossed_rekeys),
		cmocka_unit_test(test_trap_roaming_across_families),
		cmocka_unit_test(test_clock_set_back),
		cmocka_unit_test(test_under_load),
		cmocka_unit_test(test_trap_flood),
		cmocka_unit_test(test_removal),
	};

	test_seed();
	if (cr_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("wg_link", tests, NULL, NULL);
}
