/* SPDX-License-Identifier: BSD-3-Clause */
/* Keypairs: rotation as a table of stories, limits at their edges, the slab. */
#include "wg_keypair.h"
#include "wg_test.h"

#define T0 (1000 * BASE_NS_PER_S)

struct fixture {
	struct wg_keypairs keypairs;
	struct wg_keypair *dead[WG_KEYPAIRS_DEAD_MAX];
	struct wg_keypair a, b, c, d;
};

static struct fixture *fixture(void **state)
{
	struct fixture *f = *state;

	memset(f, 0, sizeof(*f));
	return f;
}

static int setup(void **state)
{
	*state = aligned_alloc(64, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void check(const struct fixture *f, const struct wg_keypair *current,
	const struct wg_keypair *previous, const struct wg_keypair *next)
{
	assert_ptr_equal(f->keypairs.current, current);
	assert_ptr_equal(f->keypairs.previous, previous);
	assert_ptr_equal(f->keypairs.next, next);
}

static void test_initiator(void **state)
{
	struct fixture *f = fixture(state);

	f->a.is_initiator = f->b.is_initiator = f->c.is_initiator = true;
	assert_int_equal(wg_keypairs_begin(&f->keypairs, &f->a, f->dead), 0);
	check(f, &f->a, NULL, NULL);
	assert_true(f->a.is_confirmed); /* the response proved it */
	assert_int_equal(wg_keypairs_begin(&f->keypairs, &f->b, f->dead), 0);
	check(f, &f->b, &f->a, NULL);
	assert_int_equal(wg_keypairs_begin(&f->keypairs, &f->c, f->dead), 1);
	assert_ptr_equal(f->dead[0], &f->a);
	check(f, &f->c, &f->b, NULL);
}

static void test_responder_waits_for_confirmation(void **state)
{
	struct fixture *f = fixture(state);
	bool is_first;

	wg_keypairs_begin(&f->keypairs, &f->a, f->dead);
	check(f, NULL, NULL, &f->a); /* may open, must not seal yet */
	assert_false(f->a.is_confirmed);
	assert_int_equal(wg_keypairs_confirm(&f->keypairs, &f->a, f->dead, &is_first), 0);
	assert_true(is_first);
	assert_true(f->a.is_confirmed);
	check(f, &f->a, NULL, NULL);
	wg_keypairs_confirm(&f->keypairs, &f->a, f->dead, &is_first);
	assert_false(is_first);
	wg_keypairs_begin(&f->keypairs, &f->b, f->dead);
	check(f, &f->a, NULL, &f->b);
	wg_keypairs_confirm(&f->keypairs, &f->a, f->dead, &is_first); /* still under the old one */
	assert_false(is_first);
	check(f, &f->a, NULL, &f->b);
	assert_int_equal(wg_keypairs_confirm(&f->keypairs, &f->b, f->dead, &is_first), 0);
	check(f, &f->b, &f->a, NULL);
	wg_keypairs_begin(&f->keypairs, &f->c, f->dead);
	assert_int_equal(wg_keypairs_confirm(&f->keypairs, &f->c, f->dead, &is_first), 1);
	assert_ptr_equal(f->dead[0], &f->a);
	check(f, &f->c, &f->b, NULL);
}

/* wireguard-practice.md: abandoned handshakes must not push out the confirmed session. */
static void test_trap_abandoned_handshakes(void **state)
{
	struct fixture *f = fixture(state);
	struct wg_keypair *flood[2] = {&f->c, &f->d};

	f->a.is_initiator = f->b.is_initiator = true;
	wg_keypairs_begin(&f->keypairs, &f->a, f->dead);
	wg_keypairs_begin(&f->keypairs, &f->b, f->dead);
	assert_int_equal(wg_keypairs_begin(&f->keypairs, flood[0], f->dead), 0);
	for (unsigned i = 1; i < 50; i++) {
		assert_int_equal(wg_keypairs_begin(&f->keypairs, flood[i % 2], f->dead), 1);
		assert_ptr_equal(f->dead[0], flood[(i + 1) % 2]);
		check(f, &f->b, &f->a, flood[i % 2]);
	}
}

/* Initiations crossed: during a rekey the old session stays for what is on its way under it. */
static void test_initiator_over_unconfirmed(void **state)
{
	struct fixture *f = fixture(state);
	bool is_first;

	f->a.is_initiator = f->c.is_initiator = true;
	wg_keypairs_begin(&f->keypairs, &f->a, f->dead);
	wg_keypairs_begin(&f->keypairs, &f->b, f->dead); /* responder's: next */
	check(f, &f->a, NULL, &f->b);
	assert_int_equal(wg_keypairs_begin(&f->keypairs, &f->c, f->dead), 0);
	check(f, &f->c, &f->a, &f->b);
	assert_int_equal(wg_keypairs_confirm(&f->keypairs, &f->b, f->dead, &is_first), 1);
	check(f, &f->b, &f->c, NULL); /* the peer held that one after all */
	assert_int_equal(wg_keypairs_clear(&f->keypairs, f->dead), 2);
	check(f, NULL, NULL, NULL);
	assert_int_equal(wg_keypairs_clear(&f->keypairs, f->dead), 0);
	/* At a cold start there is no old session, and the peer's becomes previous. */
	wg_keypairs_begin(&f->keypairs, &f->b, f->dead);
	assert_int_equal(wg_keypairs_begin(&f->keypairs, &f->c, f->dead), 0);
	check(f, &f->c, &f->b, NULL);
	wg_keypairs_confirm(&f->keypairs, &f->b, f->dead, &is_first);
	assert_false(is_first);
	check(f, &f->c, &f->b, NULL);
}

static void test_limits_of_age(void **state)
{
	struct fixture *f = fixture(state);
	struct wg_keypair *k = &f->a;

	k->birth_ns = T0;
	assert_true(wg_keypair_may_send(k, T0 + WG_REJECT_AFTER_NS - 1));
	assert_false(wg_keypair_may_send(k, T0 + WG_REJECT_AFTER_NS));
	assert_true(wg_keypair_may_receive(k, T0 + WG_REJECT_AFTER_NS - 1));
	assert_false(wg_keypair_may_receive(k, T0 + WG_REJECT_AFTER_NS));
	assert_false(wg_keypair_wants_rekey_on_send(k, T0 + WG_REKEY_AFTER_NS)); /* responder */
	assert_false(wg_keypair_wants_rekey_on_receive(k, T0 + 170 * BASE_NS_PER_S));
	k->is_initiator = true;
	assert_false(wg_keypair_wants_rekey_on_send(k, T0 + WG_REKEY_AFTER_NS - 1));
	assert_true(wg_keypair_wants_rekey_on_send(k, T0 + WG_REKEY_AFTER_NS));
	assert_false(wg_keypair_wants_rekey_on_receive(k, T0 + 165 * BASE_NS_PER_S - 1));
	assert_true(wg_keypair_wants_rekey_on_receive(k, T0 + 165 * BASE_NS_PER_S));
}

static void test_limits_of_messages(void **state)
{
	struct fixture *f = fixture(state);
	struct wg_keypair *k = &f->a;

	k->birth_ns = T0;
	k->send_counter = WG_REKEY_AFTER_MSGS;
	assert_false(wg_keypair_wants_rekey_on_send(k, T0));
	k->send_counter++;
	assert_true(wg_keypair_wants_rekey_on_send(k, T0));
	k->send_counter = WG_REJECT_AFTER_MSGS - 1;
	assert_true(wg_keypair_may_send(k, T0));
	k->send_counter++;
	assert_false(wg_keypair_may_send(k, T0));
}

/* A worker's round may have begun before the handshake thread stamped the keypair. */
static void test_born_after_now(void **state)
{
	struct fixture *f = fixture(state);

	f->a.birth_ns = T0 + 1;
	f->a.is_initiator = true;
	assert_true(wg_keypair_may_send(&f->a, T0));
	assert_true(wg_keypair_may_receive(&f->a, T0));
	assert_false(wg_keypair_wants_rekey_on_send(&f->a, T0));
	assert_false(wg_keypair_wants_rekey_on_receive(&f->a, T0));
}

static bool is_zero(const void *p, size_t len)
{
	const uint8_t *bytes = p;

	while (len > 0 && bytes[len - 1] == 0)
		len--;
	return len == 0;
}

static void test_slab(void **state)
{
	static struct wg_keypair *out[1000];
	struct wg_slab *slab = wg_slab_new();
	size_t keypairs, bytes, empty_bytes, n = 0;

	wg_slab_usage(slab, &keypairs, &empty_bytes);
	assert_int_equal(keypairs, 0);
	assert_true(empty_bytes < 256); /* a peer without a session has none */
	for (unsigned round = 0; round < 20000; round++) {
		if (test_random() % 2 ? n < 1000 : n == 0) {
			out[n] = wg_slab_take(slab);
			assert_non_null(out[n]);
			assert_int_equal((uintptr_t)out[n] % 64, 0);
			assert_true(is_zero(out[n], sizeof(*out[n]))); /* wiped by the one before */
			memset(out[n], 0xa5, sizeof(*out[n]));
			n++;
		} else {
			unsigned at = test_random() % n;

			wg_slab_give(slab, out[at]);
			out[at] = out[--n];
		}
		wg_slab_usage(slab, &keypairs, &bytes);
		assert_int_equal(keypairs, n);
	}
	while (n < 1000)
		out[n++] = wg_slab_take(slab);
	wg_slab_usage(slab, &keypairs, &bytes);
	assert_true(bytes / 1000 < sizeof(struct wg_keypair) + 128);
	printf("slab: %zu bytes per keypair of %zu\n", bytes / 1000, sizeof(struct wg_keypair));
	while (n > 0)
		wg_slab_give(slab, out[--n]);
	wg_slab_usage(slab, &keypairs, &bytes);
	assert_int_equal(keypairs, 0);
	assert_true(bytes < 40000); /* all chunks but one went back */
	assert_non_null(wg_slab_take(slab));
	wg_slab_free(slab); /* one still out */
	wg_slab_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_initiator, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_responder_waits_for_confirmation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trap_abandoned_handshakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_initiator_over_unconfirmed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_of_age, setup, teardown),
		cmocka_unit_test_setup_teardown(test_limits_of_messages, setup, teardown),
		cmocka_unit_test_setup_teardown(test_born_after_now, setup, teardown),
		cmocka_unit_test(test_slab),
	};

	test_seed();
	return cmocka_run_group_tests_name("wg_keypair", tests, NULL, NULL);
}
