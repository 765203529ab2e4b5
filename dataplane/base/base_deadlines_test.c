/* SPDX-License-Identifier: BSD-3-Clause */
/* The heap of deadlines against a naive twin. */
#include "base_deadlines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* splitmix64 */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

#define N 300

static void test_heap_twin(void **state)
{
	static struct base_deadline items[N];
	uint64_t seed = (uint64_t)time(NULL), at[N], earliest;
	struct base_deadlines heap = {0};

	print_message("seed %llu\n", (unsigned long long)seed);
	assert_int_equal(base_deadlines_reserve(&heap, N), 0);
	assert_null(base_deadlines_first(&heap));
	for (unsigned i = 0; i < N; i++)
		at[i] = BASE_NEVER_NS;
	for (unsigned round = 0; round < 20000; round++) {
		unsigned i = next_random(&seed) % N;
		size_t n = 0;

		at[i] = next_random(&seed) % 4 == 0 ? BASE_NEVER_NS : next_random(&seed) % 1000;
		base_deadlines_set(&heap, &items[i], at[i]);
		earliest = BASE_NEVER_NS;
		for (unsigned j = 0; j < N; j++) {
			n += at[j] != BASE_NEVER_NS;
			earliest = at[j] < earliest ? at[j] : earliest;
		}
		assert_int_equal(heap.n, n);
		if (n > 0)
			assert_int_equal(base_deadlines_first(&heap)->at_ns, earliest);
		else
			assert_null(base_deadlines_first(&heap));
	}
	for (uint64_t last = 0; base_deadlines_first(&heap);) {
		struct base_deadline *first = base_deadlines_first(&heap);

		assert_true(first->at_ns >= last);
		last = first->at_ns;
		base_deadlines_set(&heap, first, BASE_NEVER_NS);
		assert_int_equal(first->place, 0);
	}
	base_deadlines_fini(&heap);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heap_twin),
	};

	return cmocka_run_group_tests_name("base_deadlines", tests, NULL, NULL);
}
