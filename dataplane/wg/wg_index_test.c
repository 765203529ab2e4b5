/* SPDX-License-Identifier: BSD-3-Clause */
/* Receiver indices against a naive list, on random operations; no clock, one thread. */
#include "wg_index.h"
#include "wg_test.h"

#include "cr_blake2s.h"

#define N_MAX 600

struct twin {
	uint32_t index;
	void *value;
};

static void *value_of(unsigned n)
{
	return (void *)(uintptr_t)(8 * (n + 1));
}

static void check_against(const struct wg_index_table *table, const struct twin *twins, unsigned n)
{
	assert_int_equal(wg_index_count(table), n);
	for (unsigned i = 0; i < n; i++)
		assert_ptr_equal(wg_index_lookup(table, twins[i].index), twins[i].value);
}

/* Few distinct homes, so that runs of probes collide, wrap and are shifted back. */
static void test_twin(void **state)
{
	struct wg_index_table *table = wg_index_table_new(0);
	static struct twin twins[N_MAX]; /* larger than a stack frame should be */
	unsigned n = 0;

	assert_non_null(table);
	for (unsigned round = 0; round < 30000; round++) {
		uint32_t index = (test_random() % 64 << 26) | (test_random() % 64 << 6) |
			(test_random() % 4);
		unsigned at = 0;
		/* Tides of growth and of shrinking. */
		bool adds = test_random() % 8 < (round / 3000 % 2 ? 2u : 6u);

		if (adds && n < N_MAX) {
			while (at < n && twins[at].index != index)
				at++;
			assert_int_equal(
				wg_index_put(table, index, value_of(round)), at < n ? -EEXIST : 0);
			if (at == n)
				twins[n++] = (struct twin){index, value_of(round)};
		} else if (n > 0) {
			at = test_random() % n;
			index = twins[at].index;
			wg_index_release(table, index);
			assert_null(wg_index_lookup(table, index));
			wg_index_release(table, index);
			twins[at] = twins[--n];
		}
		if (round % 64 == 0)
			check_against(table, twins, n);
	}
	check_against(table, twins, n);
	while (n > 0)
		wg_index_release(table, twins[--n].index);
	assert_int_equal(wg_index_count(table), 0);
	assert_int_equal(table->mask, table->first_mask);
	wg_index_table_free(table);
}

static void test_take_gives_unique_indices_of_the_owner(void **state)
{
	struct wg_index_table *table = wg_index_table_new(100);
	uint32_t index, n_distinct_high = 0, last = 0;

	for (unsigned i = 0; i < 5000; i++) {
		assert_int_equal(wg_index_take(table, i % 64, value_of(i), &index), 0);
		assert_int_equal(wg_index_owner(index), i % 64);
		assert_ptr_equal(wg_index_lookup(table, index), value_of(i));
		wg_index_prefetch(table, index);
		n_distinct_high += index >> 6 != last >> 6 && index >> 6 != (last >> 6) + 1;
		last = index;
	}
	assert_int_equal(wg_index_count(table), 5000);
	/* wireguard-practice.md: receiver indices are random, not counted. */
	assert_true(n_distinct_high > 4990);
	assert_int_equal(wg_index_take(table, 64, value_of(0), &index), -EINVAL);
	wg_index_table_free(table);
}

static void test_replace(void **state)
{
	struct wg_index_table *table = wg_index_table_new(1);

	assert_false(wg_index_replace(table, 77, value_of(1)));
	assert_int_equal(wg_index_put(table, 77, value_of(1)), 0);
	assert_true(wg_index_replace(table, 77, value_of(2)));
	assert_ptr_equal(wg_index_lookup(table, 77), value_of(2));
	assert_int_equal(wg_index_count(table), 1);
	wg_index_table_free(table);
	wg_index_table_free(NULL);
}

static void test_room_for_what_is_expected(void **state)
{
	struct wg_index_table *table = wg_index_table_new(1000);
	const struct wg_index_slot *slots = table->slots;

	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(wg_index_put(table, i << 6, value_of(i)), 0);
	assert_ptr_equal(table->slots, slots); /* nothing moved */
	wg_index_table_free(table);
	assert_null(wg_index_table_new(UINT32_MAX));
}

/*
 * What a worker does: entries come, go and are asked for while they move to a larger table, a few slots at a time; no
 * put, release or move allocates or frees.
 */
static void test_move(void **state)
{
	for (unsigned round = 0; round < 200; round++) {
		struct wg_index_table *small = wg_index_table_new(200),
				      *large = wg_index_table_new(N_MAX);
		const struct wg_index_slot *larger = large->slots;
		static struct twin twins[N_MAX];
		unsigned n = 0, n_steps = 0;

		wg_index_populate(large);
		while (n < test_random() % 200) {
			uint32_t index = test_random() % 64 << 26 | n << 6;

			assert_int_equal(wg_index_put(small, index, value_of(n)), 0);
			twins[n] = (struct twin){index, value_of(n)};
			n++;
		}
		wg_index_move_begin(large, small);
		check_against(large, twins, n);
		while (wg_index_move_some(large, test_random() % 8)) {
			uint32_t index = test_random() % 64 << 26 | (500 + n_steps++) << 6;
			unsigned at = test_random() % (n + 1);

			if (at < n) {
				assert_int_equal(
					wg_index_put(large, twins[at].index, value_of(0)), -EEXIST);
				assert_true(wg_index_replace(large, twins[at].index, value_of(at)));
				twins[at].value = value_of(at);
			}
			if (at < n && n_steps % 2) {
				wg_index_release(large, twins[at].index);
				assert_null(wg_index_lookup(large, twins[at].index));
				wg_index_release(large, twins[at].index);
				twins[at] = twins[--n];
			} else if (n < N_MAX) {
				assert_int_equal(wg_index_put(large, index, value_of(n_steps)), 0);
				twins[n++] = (struct twin){index, value_of(n_steps)};
			}
			check_against(large, twins, n);
		}
		assert_false(wg_index_is_moving(large));
		wg_index_table_free(small);
		check_against(large, twins, n);
		while (n > 0)
			wg_index_release(large, twins[--n].index);
		assert_int_equal(wg_index_count(large), 0);
		assert_ptr_equal(large->slots, larger);
		wg_index_table_free(large);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_twin),
		cmocka_unit_test(test_take_gives_unique_indices_of_the_owner),
		cmocka_unit_test(test_replace),
		cmocka_unit_test(test_room_for_what_is_expected),
		cmocka_unit_test(test_move),
	};

	test_seed();
	assert(cr_init() == 0);
	return cmocka_run_group_tests_name("wg_index", tests, NULL, NULL);
}
