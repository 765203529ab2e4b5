/* SPDX-License-Identifier: BSD-3-Clause */
/* The replay window: a table of cases, then a naive twin on random counters. */
#include "wg_replay.h"
#include "wg_test.h"

#define W WG_REPLAY_WINDOW_MSGS
#define TOP WG_REJECT_AFTER_MSGS

struct step {
	uint64_t counter;
	bool accepts;
};

static void run(const struct step *steps, size_t n)
{
	struct wg_replay replay = {0};

	for (size_t i = 0; i < n; i++) {
		if (wg_replay_accept(&replay, steps[i].counter) != steps[i].accepts)
			fail_msg("step %zu: counter %llu", i, (unsigned long long)steps[i].counter);
	}
}

#define RUN(...)                                                                                   \
	do {                                                                                       \
		const struct step steps[] = {__VA_ARGS__};                                         \
		run(steps, sizeof(steps) / sizeof(steps[0]));                                      \
	} while (0)

static void test_order(void **state)
{
	RUN({0, true}, {0, false}, {1, true}, {1, false}, {9, true}, {8, true}, {7, true},
		{7, false}, {2, true}, {63, true}, {64, true}, {65, true}, {63, false}, {64, false},
		{3, true});
}

static void test_first_is_not_zero(void **state)
{
	RUN({5, true}, {0, true}, {5, false}, {0, false});
	RUN({64, true}, {63, true}, {0, true}, {64, false});
	RUN({1000000, true}, {1000000 - W + 1, true}, {1000000 - W, false}, {0, false});
}

/* wireguard-practice.md: 8,128 behind is accepted by kernel and wireguard-go. */
static void test_width(void **state)
{
	RUN({W, true}, {0, false}, {1, true}, {2, true}, {1, false});
	RUN({W - 1, true}, {0, true}, {0, false});
	RUN({0, true}, {W - 1, true}, {0, false}, {W, true}, {1, true});
	RUN({2 * W, true}, {W + 1, true}, {W, false}, {W + 1, false}, {2 * W - 1, true});
}

static void test_far_jump_clears(void **state)
{
	RUN({3, true}, {3 + 64 * WG_REPLAY_WORDS, true}, {2 + 64 * WG_REPLAY_WORDS, true},
		{3, false}, {3 + 64 * WG_REPLAY_WORDS, false});
	RUN({0, true}, {UINT64_C(1) << 40, true}, {(UINT64_C(1) << 40) - W + 1, true},
		{(UINT64_C(1) << 40) - W, false});
}

/* wireguard-practice.md: reject at REJECT_AFTER_MESSAGES exactly. */
static void test_trap_reject_after_messages(void **state)
{
	RUN({TOP, false}, {TOP + 1, false}, {UINT64_MAX, false}, {0, true});
	RUN({TOP - 1, true}, {TOP, false}, {TOP - 1, false}, {TOP - 2, true}, {TOP - W, true},
		{TOP - W - 1, false});
}

static bool twin_accept(uint8_t *seen, uint64_t *newest, bool *any, uint64_t counter, uint64_t base)
{
	if (*any && counter + W <= *newest)
		return false;
	if (seen[counter - base])
		return false;
	seen[counter - base] = 1;
	if (!*any || counter > *newest)
		*newest = counter;
	*any = true;
	return true;
}

static void test_twin(void **state)
{
	enum { SPAN = 400000 };
	static const uint64_t bases[] = {0, (UINT64_C(1) << 32) - 1000, TOP - SPAN};
	uint8_t *seen = malloc(SPAN);

	for (unsigned b = 0; b < 3; b++) {
		struct wg_replay replay = {0};
		uint64_t newest = 0, at = bases[b];
		bool any = false;

		memset(seen, 0, SPAN);
		while (at - bases[b] < SPAN - 10000) {
			uint64_t counter = at;

			switch (test_random() % 8) {
			case 0:
				at += test_random() % 9000;
				break;
			case 1:
				at += test_random() % 130;
				break;
			case 2:
			case 3:
				counter -= test_random() % 8300;
				break;
			default:
				counter -= test_random() % 100;
				at++;
			}
			if (counter < bases[b] || counter - bases[b] >= SPAN)
				continue;
			assert_int_equal(wg_replay_accept(&replay, counter),
				twin_accept(seen, &newest, &any, counter, bases[b]));
		}
	}
	free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_first_is_not_zero),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_far_jump_clears),
		cmocka_unit_test(test_trap_reject_after_messages),
		cmocka_unit_test(test_twin),
	};

	test_seed();
	return cmocka_run_group_tests_name("wg_replay", tests, NULL, NULL);
}
