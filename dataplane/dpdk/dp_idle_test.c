/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping: no wake-up is lost, and none is bought that is not needed. The stress sends a fixed
 * number of items from two threads to a sleeper without a time limit: a lost wake-up hangs it, which the
 * test runner's limit turns into a failure.
 */
#include "dp_idle.c"

#include "dp_kern_test.h"

#include <pthread.h>
#include <sched.h>

#define WAKERS 2
#define ITEMS 100000u

struct bed {
	struct dp_idle *idle;
	_Atomic uint32_t posted;
	uint32_t taken, sleeps;
};

static uint64_t pending(struct dp_idle *idle)
{
	uint64_t count = 0;

	return read(idle->event_fd, &count, sizeof(count)) < 0 ? 0 : count;
}

static void awake_costs_nothing(void **state)
{
	struct dp_idle *idle = dp_idle_new();

	assert_non_null(idle);
	dp_idle_wake(idle);
	assert_int_equal(pending(idle), 0);
	dp_idle_prepare(idle);
	dp_idle_cancel(idle);
	dp_idle_wake(idle);
	assert_int_equal(pending(idle), 0);
	dp_idle_free(idle);
	dp_idle_free(NULL);
}

static void one_write_for_many_wakers(void **state)
{
	struct dp_idle *idle = dp_idle_new();

	dp_idle_prepare(idle);
	for (unsigned i = 0; i < 10; i++)
		dp_idle_wake(idle);
	assert_int_equal(pending(idle), 1);
	dp_idle_free(idle);
}

static void wake_before_wait_is_kept(void **state)
{
	struct dp_idle *idle = dp_idle_new();

	dp_idle_prepare(idle);
	dp_idle_wake(idle);
	dp_idle_wait(idle, BASE_NEVER_NS); /* hangs if it was lost */
	assert_int_equal(pending(idle), 0);
	/* And is gone: the next sleep is one again, until its time is over. */
	dp_idle_prepare(idle);
	dp_idle_wait(idle, 1000);
	assert_false(atomic_load(&idle->is_asleep));
	dp_idle_free(idle);
}

static void descriptors_wake_too(void **state)
{
	struct dp_idle *idle = dp_idle_new();
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(dp_idle_add_fd(idle, ends[0]), 0);
	assert_int_equal(dp_idle_add_fd(idle, ends[0]), -EEXIST);
	assert_int_equal(write(ends[1], "x", 1), 1);
	dp_idle_prepare(idle);
	dp_idle_wait(idle, BASE_NEVER_NS);
	close(ends[0]);
	close(ends[1]);
	dp_idle_free(idle);
}

static void *post_items(void *arg)
{
	struct bed *bed = arg;
	unsigned seed = (unsigned)(uintptr_t)&seed;

	for (uint32_t i = 0; i < ITEMS; i++) {
		atomic_fetch_add_explicit(&bed->posted, 1, memory_order_release);
		dp_idle_wake(bed->idle);
		/* Pauses of many lengths, so that the two sides meet at every step. */
		for (int n = rand_r(&seed) % 64; n > 0; n--)
			__asm__ volatile("pause");
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

static void no_wake_up_is_lost(void **state)
{
	struct bed bed = {.idle = dp_idle_new()};
	pthread_t threads[WAKERS] = {0};

	assert_non_null(bed.idle);
	for (unsigned i = 0; i < WAKERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_items, &bed), 0);
	while (bed.taken < WAKERS * ITEMS) {
		uint32_t posted = atomic_load_explicit(&bed.posted, memory_order_acquire);

		if (posted != bed.taken) {
			bed.taken = posted;
			continue;
		}
		dp_idle_prepare(bed.idle);
		if (atomic_load_explicit(&bed.posted, memory_order_acquire) != bed.taken) {
			dp_idle_cancel(bed.idle);
			continue;
		}
		dp_idle_wait(bed.idle, BASE_NEVER_NS);
		bed.sleeps++;
	}
	for (unsigned i = 0; i < WAKERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(bed.taken, WAKERS * ITEMS);
	assert_true(bed.sleeps > 100); /* or it proved nothing */
	dp_idle_free(bed.idle);
}

static void sockets_are_found_by_family(void **state)
{
	int before[64] = {0}, after[64] = {0}, fds[3];
	unsigned n_before = dp_idle_find_sockets(AF_UNIX, before, 64), n_after;

	for (unsigned i = 0; i < 3; i++)
		fds[i] = socket(i == 1 ? AF_INET : AF_UNIX, SOCK_DGRAM, 0);
	n_after = dp_idle_find_sockets(AF_UNIX, after, 64);
	assert_int_equal(n_after, n_before + 2);
	for (unsigned i = 1; i < n_after; i++)
		assert_true(after[i - 1] < after[i]);
	assert_int_equal(after[n_after - 2], fds[0]);
	assert_int_equal(after[n_after - 1], fds[2]);
	assert_int_equal(dp_idle_find_sockets(AF_UNIX, after, 1), 1);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(awake_costs_nothing),
		cmocka_unit_test(one_write_for_many_wakers),
		cmocka_unit_test(wake_before_wait_is_kept),
		cmocka_unit_test(descriptors_wake_too),
		cmocka_unit_test(no_wake_up_is_lost),
		cmocka_unit_test(sockets_are_found_by_family),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
