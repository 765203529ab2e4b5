/* SPDX-License-Identifier: BSD-3-Clause */
/* Objects out of huge pages, and tables on them. */
#include "base_slab.h"

#include "base_huge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* More than two chunks of the larger size. */
#define OBJECTS 10000

static void fill(void *object, size_t bytes, unsigned mark)
{
	memset(object, (int)(mark & 255), bytes);
}

static void expect_filled(const void *object, size_t bytes, unsigned mark)
{
	const uint8_t *at = object;

	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(at[i], mark & 255);
}

/* Nothing that is out overlaps, whatever order things come and go in. */
static void objects_are_apart(size_t bytes)
{
	static void *out[OBJECTS];
	static unsigned marks[OBJECTS];
	struct base_slab slab;
	unsigned state = 1;

	memset(out, 0, sizeof(out));
	base_slab_init(&slab, bytes);
	for (unsigned i = 0; i < 5 * OBJECTS; i++) {
		unsigned at = i < OBJECTS ? i : (state = state * 1103515245u + 12345u) >> 8;

		at %= OBJECTS;
		if (out[at]) {
			expect_filled(out[at], bytes, marks[at]);
			base_slab_give(&slab, out[at]);
			out[at] = NULL;
			continue;
		}
		out[at] = base_slab_take(&slab);
		assert_non_null(out[at]);
		assert_int_equal((uintptr_t)out[at] & ((bytes & -bytes) - 1), 0);
		marks[at] = i;
		fill(out[at], bytes, i);
	}
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (!out[i])
			continue;
		expect_filled(out[i], bytes, marks[i]);
		base_slab_give(&slab, out[i]);
	}
	assert_true(slab.n_chunks <= 1);
	base_slab_fini(&slab);
	assert_int_equal(base_huge_usage(), 0);
}

static void test_objects_are_apart(void **state)
{
	(void)state;
	objects_are_apart(64);
	objects_are_apart(448);
	objects_are_apart(1216);
	objects_are_apart(4096); /* as many as fit, but for the chunk itself */
}

#if !BASE_HUGE_IS_OFF
/* A chunk at a time: what is given back is used again, and what is empty goes back but for one. */
static void test_chunks_come_and_go(void **state)
{
	enum { BYTES = 32768, N = 200 };
	struct base_slab slab;
	void *out[N];

	(void)state;
	base_slab_init(&slab, BYTES);
	for (unsigned i = 0; i < N; i++) {
		out[i] = base_slab_take(&slab);
		assert_non_null(out[i]);
		assert_int_equal((uintptr_t)out[i] % BYTES, 0);
	}
	assert_int_equal(slab.n_chunks, 4);
	assert_int_equal(base_huge_usage(), 4 * BASE_HUGE_PAGE_BYTES);
	base_slab_give(&slab, out[7]);
	assert_ptr_equal(base_slab_take(&slab), out[7]);
	for (unsigned i = 0; i < N; i++)
		base_slab_give(&slab, out[i]);
	assert_int_equal(slab.n_chunks, 1);
	assert_int_equal(slab.n_empty, 1);
	base_slab_fini(&slab);
	assert_int_equal(base_huge_usage(), 0);
}
#endif

static void test_tables_are_zero(void **state)
{
	static const size_t sizes[] = {
		1, 64, 4096, BASE_HUGE_PAGE_BYTES - 1, BASE_HUGE_PAGE_BYTES, 5000000};

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t *memory = base_huge_new(sizes[i]);

		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % 64, 0);
		expect_filled(memory, sizes[i], 0);
		fill(memory, sizes[i], 0xa5);
		base_huge_free(memory, sizes[i]);
	}
	assert_int_equal(base_huge_usage(), 0);
	assert_null(base_huge_new(SIZE_MAX));
	base_huge_free(NULL, 0);
	base_huge_free(NULL, BASE_HUGE_PAGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects_are_apart),
#if !BASE_HUGE_IS_OFF /* there, objects are malloc's, and there are no chunks */
		cmocka_unit_test(test_chunks_come_and_go),
#endif
		cmocka_unit_test(test_tables_are_zero),
	};

	return cmocka_run_group_tests_name("base_slab", tests, NULL, NULL);
}
