/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests end exactly once, whatever comes: answers in time, late, twice, from others, or none. */
#include "ctl_request.h"

#include "base_clock.h"
#include "cr_noise.h"
#include "ctl_test.h"

#define S BASE_NS_PER_S

struct ending {
	unsigned n;
	enum ctl_outcome outcome;
	const void *answer;
};

static struct ctl_requests *requests;
static struct ctl_request_owner owner, other;

static int setup(void **state)
{
	if (cr_init() < 0)
		return -1;
	ctl_request_owner_init(&owner);
	ctl_request_owner_init(&other);
	requests = ctl_requests_new(CTL_REQUESTS_PER_OWNER_MAX + 2);
	return requests ? 0 : -1;
}

static int teardown(void **state)
{
	unsigned left = ctl_requests_stats(requests)->outstanding;

	ctl_requests_free(requests);
	return left == 0 ? 0 : -1;
}

static void on_done(void *user, enum ctl_outcome outcome, const void *answer)
{
	struct ending *ending = user;

	ending->n++;
	ending->outcome = outcome;
	ending->answer = answer;
}

static void begin(struct ending *ending, uint64_t deadline_ns, char id[CTL_REQUEST_ID_LEN])
{
	memset(ending, 0, sizeof(*ending));
	assert_int_equal(ctl_request_begin(requests, &owner, deadline_ns, on_done, ending, id), 0);
	assert_int_equal(strlen(id), CTL_REQUEST_ID_LEN - 1);
}

static void answer_completes_once(void **state)
{
	char id[CTL_REQUEST_ID_LEN];
	struct ending ending;

	begin(&ending, 10 * S, id);
	assert_int_equal(owner.n_requests, 1);
	assert_true(ctl_request_answer(requests, &owner, id, "yes"));
	assert_int_equal(ending.n, 1);
	assert_int_equal(ending.outcome, CTL_OUTCOME_ANSWERED);
	assert_string_equal(ending.answer, "yes");
	assert_int_equal(owner.n_requests, 0);

	assert_false(ctl_request_answer(requests, &owner, id, "again"));
	ctl_requests_expire(requests, 99 * S);
	ctl_request_owner_end(requests, &owner);
	assert_int_equal(ending.n, 1);
	assert_int_equal(ctl_requests_stats(requests)->late, 1);
}

/* Section 7, fault 7: after a timeout nothing is left, and the daemon is not busy. */
static void timeout_leaves_nothing_behind(void **state)
{
	char id[CTL_REQUEST_ID_LEN];
	struct ending ending;

	begin(&ending, 10 * S, id);
	ctl_requests_expire(requests, 10 * S - 1);
	assert_int_equal(ending.n, 0);
	ctl_requests_expire(requests, 10 * S);
	assert_int_equal(ending.n, 1);
	assert_int_equal(ending.outcome, CTL_OUTCOME_TIMEOUT);
	assert_int_equal(owner.n_requests, 0);
	assert_int_equal(ctl_requests_stats(requests)->outstanding, 0);
	assert_false(ctl_request_answer(requests, &owner, id, "late"));
	assert_int_equal(ending.n, 1);
	assert_int_equal(ctl_requests_stats(requests)->late, 1);
}

static void lost_owner_ends_its_own_only(void **state)
{
	char id[CTL_REQUEST_ID_LEN], other_id[CTL_REQUEST_ID_LEN];
	struct ending mine, others = {0};

	begin(&mine, 10 * S, id);
	assert_int_equal(
		ctl_request_begin(requests, &other, 10 * S, on_done, &others, other_id), 0);
	ctl_request_owner_end(requests, &owner);
	assert_int_equal(mine.n, 1);
	assert_int_equal(mine.outcome, CTL_OUTCOME_LOST);
	assert_int_equal(others.n, 0);
	assert_true(ctl_request_answer(requests, &other, other_id, "yes"));
}

/* Daemon b cannot answer for daemon a, nor can one that is not registered. */
static void answer_of_another_is_ignored(void **state)
{
	char id[CTL_REQUEST_ID_LEN];
	struct ending ending;

	begin(&ending, 10 * S, id);
	assert_false(ctl_request_answer(requests, &other, id, "forged"));
	assert_false(ctl_request_answer(requests, NULL, id, "forged"));
	assert_int_equal(ending.n, 0);
	assert_true(ctl_request_answer(requests, &owner, id, "yes"));
	assert_int_equal(ending.n, 1);
}

static void hostile_ids_find_nothing(void **state)
{
	static const char *const ids[] = {"", "x", "00000000",
		"ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-4000-8000-000000000000",
		"zzzzzzzz-0000-4000-8000-000000000000",
		"00000000-0000-4000-8000-0000000000000000000000000000"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(ids); i++)
		assert_false(ctl_request_answer(requests, &owner, ids[i], "?"));
	assert_int_equal(ctl_requests_stats(requests)->late, BASE_ARRAY_LEN(ids));
}

static void slot_is_reused_under_another_id(void **state)
{
	char first[CTL_REQUEST_ID_LEN], second[CTL_REQUEST_ID_LEN];
	struct ending one, two;

	begin(&one, 10 * S, first);
	ctl_requests_expire(requests, 10 * S);
	begin(&two, 20 * S, second);
	assert_memory_equal(first, second, 8); /* the same slot */
	assert_string_not_equal(first, second);
	assert_false(ctl_request_answer(requests, &owner, first, "late"));
	assert_int_equal(two.n, 0);
	assert_true(ctl_request_answer(requests, &owner, second, "yes"));
}

static void cancelled_request_has_no_ending(void **state)
{
	char id[CTL_REQUEST_ID_LEN];
	struct ending ending;

	begin(&ending, 10 * S, id);
	ctl_request_cancel(requests, id);
	ctl_requests_expire(requests, 99 * S);
	assert_int_equal(ending.n, 0);
	assert_int_equal(owner.n_requests, 0);
}

static void shares_are_bounded(void **state)
{
	static struct ending endings[CTL_REQUESTS_PER_OWNER_MAX];
	char id[CTL_REQUEST_ID_LEN];
	struct ending more = {0};

	for (unsigned i = 0; i < CTL_REQUESTS_PER_OWNER_MAX; i++)
		begin(&endings[i], 10 * S, id);
	assert_int_equal(ctl_request_begin(requests, &owner, S, on_done, &more, id), -EBUSY);
	assert_int_equal(ctl_request_begin(requests, &other, S, on_done, &more, id), 0);
	assert_int_equal(ctl_request_begin(requests, &other, S, on_done, &more, id), 0);
	assert_int_equal(ctl_request_begin(requests, &other, S, on_done, &more, id), -ENOSPC);
	assert_int_equal(ctl_requests_stats(requests)->refused, 2);
	ctl_request_owner_end(requests, &owner);
	ctl_request_owner_end(requests, &other);
	for (unsigned i = 0; i < CTL_REQUESTS_PER_OWNER_MAX; i++)
		assert_int_equal(endings[i].n, 1);
	assert_int_equal(more.n, 2);
}

/* A completion that ends everything else while the expiry walks the list. */
static void on_done_end_owner(void *user, enum ctl_outcome outcome, const void *answer)
{
	(*(unsigned *)user)++;
	ctl_request_owner_end(requests, &owner);
}

static void completion_may_end_others(void **state)
{
	char id[CTL_REQUEST_ID_LEN];
	unsigned n = 0;

	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(ctl_request_begin(requests, &owner, (i % 2 + 1) * S,
					 on_done_end_owner, &n, id),
			0);
	ctl_requests_expire(requests, S);
	assert_int_equal(n, 50);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(answer_completes_once),
		CASE(timeout_leaves_nothing_behind),
		CASE(lost_owner_ends_its_own_only),
		CASE(answer_of_another_is_ignored),
		CASE(hostile_ids_find_nothing),
		CASE(slot_is_reused_under_another_id),
		CASE(cancelled_request_has_no_ending),
		CASE(shares_are_bounded),
		CASE(completion_may_end_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
