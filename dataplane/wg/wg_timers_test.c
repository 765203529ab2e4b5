/* SPDX-License-Identifier: BSD-3-Clause */
/* Each timer of the table in wg_timers.c at its edges. */
#include "wg_test.h"
#include "wg_timers.h"

#define S BASE_NS_PER_S
#define T0 (1000 * S)

struct fixture {
	struct wg_timers timers;
	struct wg_activity activity;
};

/* A session born at T0, and nothing since. */
static struct fixture with_session(void)
{
	return (struct fixture){
		.timers = {.session_ns = T0, .confirmed_ns = T0, .has_endpoint = true}};
}

static unsigned due(const struct fixture *f, uint64_t at_ns)
{
	return wg_timers_due(&f->timers, &f->activity, at_ns);
}

/* @action comes exactly at @at_ns, alone, and the next deadline said so a moment before. */
static void assert_due_at(const struct fixture *f, unsigned action, uint64_t at_ns)
{
	assert_int_equal(due(f, at_ns - 1), 0);
	assert_int_equal(due(f, at_ns), action);
	assert_int_equal(wg_timers_next_ns(&f->timers, &f->activity, at_ns - 1), at_ns);
}

static void test_nothing(void **state)
{
	struct fixture f = {0};

	assert_int_equal(due(&f, UINT64_MAX - 1), 0);
	assert_int_equal(wg_timers_next_ns(&f.timers, &f.activity, T0), BASE_NEVER_NS);
	/* Activity without a session asks for nothing. */
	wg_activity_sent(&f.activity, T0, true);
	wg_activity_received(&f.activity, T0, true);
	assert_int_equal(wg_timers_next_ns(&f.timers, &f.activity, T0), BASE_NEVER_NS);
}

static void test_attempt(void **state)
{
	struct fixture f = {
		.timers = {.attempt_ns = T0, .retry_ns = T0 + 5 * S, .has_endpoint = true}};

	assert_due_at(&f, WG_TIMERS_INITIATE, T0 + 5 * S);
	f.timers.retry_ns = T0 + 95 * S;
	assert_due_at(&f, WG_TIMERS_GIVE_UP, T0 + WG_REKEY_ATTEMPT_NS);
	f.timers.attempt_ns = T0 + 30 * S; /* a packet wanted it again */
	assert_due_at(&f, WG_TIMERS_INITIATE, T0 + 95 * S);
	f.timers.attempt_ns = 0;
	assert_int_equal(wg_timers_next_ns(&f.timers, &f.activity, T0), BASE_NEVER_NS);
}

static void test_silence(void **state)
{
	struct fixture f = with_session();

	f.timers.silence_jitter_ns = 7;
	wg_activity_sent(&f.activity, T0 + 20 * S, false); /* keepalives do not wait for answers */
	assert_int_equal(due(&f, T0 + 60 * S), 0);
	wg_activity_sent(&f.activity, T0 + 20 * S, true);
	wg_activity_sent(&f.activity, T0 + 30 * S, true); /* the first counts */
	assert_int_equal(due(&f, T0 + 35 * S + 6), 0);
	assert_int_equal(due(&f, T0 + 35 * S + 7), WG_TIMERS_BEGIN);
	f.timers.heard_ns = T0 + 25 * S; /* a handshake message counts as an answer */
	assert_int_equal(due(&f, T0 + 40 * S + 6), 0);
	assert_int_equal(due(&f, T0 + 40 * S + 7), WG_TIMERS_BEGIN);
	f.timers.silence_handled_ns =
		T0 + 40 * S; /* acted on: only what is sent later asks again */
	assert_int_equal(due(&f, T0 + 100 * S), 0);
	wg_activity_sent(&f.activity, T0 + 50 * S, true);
	assert_int_equal(due(&f, T0 + 55 * S + 6), 0);
	assert_int_equal(due(&f, T0 + 55 * S + 7), WG_TIMERS_BEGIN);
	f.timers.attempt_ns = f.timers.retry_ns = T0 + 200 * S; /* it is on already */
	assert_int_equal(due(&f, T0 + 60 * S), 0);
	f.timers.attempt_ns = 0;
	wg_activity_received(&f.activity, T0 + 51 * S, false);
	assert_int_equal(due(&f, T0 + 100 * S), 0);
	/* A handshake is an answer: the keepalive that confirms it is not data. */
	wg_activity_sent(&f.activity, T0 + 60 * S, true);
	wg_activity_session(&f.activity);
	wg_activity_sent(&f.activity, T0 + 76 * S, false);
	assert_int_equal(due(&f, T0 + 170 * S), 0);
}

static void test_passive_keepalive(void **state)
{
	struct fixture f = with_session();

	wg_activity_received(&f.activity, T0 + 20 * S, false); /* a keepalive is not answered */
	assert_int_equal(due(&f, T0 + 60 * S), 0);
	wg_activity_received(&f.activity, T0 + 20 * S, true);
	wg_activity_received(&f.activity, T0 + 25 * S, true);
	assert_int_equal(due(&f, T0 + 30 * S - 1), 0);
	assert_int_equal(due(&f, T0 + 30 * S), WG_TIMERS_KEEPALIVE);
	f.timers.keepalive_ns = T0 + 30 * S; /* asked for, the owner has not got to it yet */
	assert_int_equal(due(&f, T0 + 40 * S - 1), 0);
	wg_activity_sent(&f.activity, T0 + 31 * S, false);
	assert_int_equal(due(&f, T0 + 100 * S), 0);
	/* Past the session's age nothing could be sealed. */
	wg_activity_received(&f.activity, T0 + 175 * S, true);
	assert_int_equal(due(&f, T0 + 190 * S), 0);
}

static void test_persistent(void **state)
{
	struct fixture f = with_session();

	f.timers.interval_ns = 5 * S;
	wg_activity_sent(&f.activity, T0 + 1 * S, true);
	wg_activity_received(&f.activity, T0 + 2 * S, false);
	assert_due_at(&f, WG_TIMERS_PERSISTENT, T0 + 7 * S);
	f.timers.handshake_traffic_ns = T0 + 3 * S;
	assert_due_at(&f, WG_TIMERS_PERSISTENT, T0 + 8 * S);
	f.timers.keepalive_ns = T0 + 8 * S;
	assert_due_at(&f, WG_TIMERS_PERSISTENT, T0 + 13 * S);
	f.timers.has_endpoint = false;
	assert_int_equal(due(&f, T0 + 100 * S), 0);
	f.timers.has_endpoint = true;
	f.timers.session_ns = f.timers.confirmed_ns =
		0; /* old traffic does not put a handshake off */
	wg_activity_sent(&f.activity, T0 + 12 * S, true);
	assert_due_at(&f, WG_TIMERS_PERSISTENT, T0 + 13 * S);
}

static void test_wipe_and_look(void **state)
{
	struct fixture f = with_session();

	/* Looked at every ten seconds while it may carry data, then left alone until the end. */
	assert_int_equal(wg_timers_next_ns(&f.timers, &f.activity, T0), T0 + 10 * S);
	assert_int_equal(wg_timers_next_ns(&f.timers, &f.activity, T0 + 179 * S), T0 + 189 * S);
	assert_int_equal(wg_timers_next_ns(&f.timers, &f.activity, T0 + WG_REJECT_AFTER_NS),
		T0 + WG_WIPE_AFTER_NS);
	assert_int_equal(due(&f, T0 + 540 * S - 1), 0);
	assert_int_equal(due(&f, T0 + 540 * S), WG_TIMERS_WIPE);
	assert_true(wg_timers_has_session(&f.timers, T0 + 180 * S - 1));
	assert_false(wg_timers_has_session(&f.timers, T0 + 180 * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_attempt),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_passive_keepalive),
		cmocka_unit_test(test_persistent),
		cmocka_unit_test(test_wipe_and_look),
	};

	test_seed();
	return cmocka_run_group_tests_name("wg_timers", tests, NULL, NULL);
}
