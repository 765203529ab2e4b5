/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of all sizes into layouts that expect others: every byte is found again, in place or gathered. */
#include "dp_scatter.h"

#include "in_offload.h"

#include "dp_kern_test.h"

#include <rte_eal.h>

#define POOL_MBUFS 511
#define HEADERS 52
#define PART 1368

static struct rte_mempool *pool;
static struct dp_scatter scatter;
static uint8_t rest[IN_LARGE_BYTES + 1], message[IN_LARGE_BYTES + 1];
static uint8_t head[10];

static int set_up(void **state)
{
	scatter = (struct dp_scatter){.n_spare = 0};
	dp_scatter_init(&scatter, pool, rest, sizeof(rest));
	memset(rest, 0, sizeof(rest));
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)(i * 7 + i / 256);
	return 0;
}

static int tear_down(void **state)
{
	dp_scatter_fini(&scatter);
	assert_int_equal(rte_mempool_avail_count(pool), POOL_MBUFS);
	return 0;
}

/* As readv() would. */
static void arrive(uint32_t len)
{
	unsigned n_iov = dp_scatter_lay(&scatter, head, sizeof(head));
	uint32_t at = 0;

	assert_ptr_equal(scatter.iov[0].iov_base, head);
	assert_int_equal(scatter.iov[0].iov_len, sizeof(head));
	for (unsigned i = 1; i < n_iov && at < len; i++) {
		uint32_t n = (uint32_t)scatter.iov[i].iov_len;

		n = n < len - at ? n : len - at;
		memcpy(scatter.iov[i].iov_base, message + at, n);
		at += n;
	}
	assert_int_equal(at, len);
}

static void parts_lie_in_their_packets(void **state)
{
	static const uint32_t payloads[] = {1, PART - 1, PART, PART + 1, 45 * PART, 45 * PART + 7};

	dp_scatter_expect(&scatter, HEADERS, PART);
	for (unsigned k = 0; k < sizeof(payloads) / sizeof(payloads[0]); k++) {
		arrive(HEADERS + payloads[k]);
		assert_int_equal(dp_scatter_row(&scatter), HEADERS + PART);
		assert_true(dp_scatter_fits(&scatter, HEADERS, PART, HEADERS + payloads[k]));
		assert_memory_equal(dp_scatter_first(&scatter), message, HEADERS);
		for (uint32_t at = 0; at < payloads[k]; at += PART) {
			struct rte_mbuf *m = dp_scatter_take(&scatter);
			uint32_t n = payloads[k] - at < PART ? payloads[k] - at : PART;

			assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *) + HEADERS,
				message + HEADERS + at, n);
			rte_pktmbuf_free(m);
		}
	}
}

static void what_comes_otherwise_is_gathered(void **state)
{
	static const uint32_t lens[] = {
		1, HEADERS + PART, HEADERS + PART + 1, 20000, 45 * PART, IN_LARGE_BYTES};

	for (unsigned k = 0; k < sizeof(lens) / sizeof(lens[0]); k++) {
		dp_scatter_expect(&scatter, HEADERS, PART);
		arrive(lens[k]);
		assert_false(dp_scatter_fits(&scatter, HEADERS + 12, PART, lens[k]));
		assert_false(dp_scatter_fits(&scatter, HEADERS, PART - 1, lens[k]));
		assert_memory_equal(dp_scatter_gather(&scatter, lens[k]), message, lens[k]);
		/* Larger than expected: parts and rest. */
		memset(rest, 0, sizeof(rest));
		dp_scatter_expect(&scatter, 28, 1100);
		arrive(lens[k]);
		assert_memory_equal(dp_scatter_gather(&scatter, lens[k]), message, lens[k]);
		memset(rest, 0, sizeof(rest));
	}
}

static void without_headers_alone_nothing_fits(void **state)
{
	dp_scatter_expect(&scatter, HEADERS, PART);
	arrive(HEADERS);
	assert_false(dp_scatter_fits(&scatter, HEADERS, PART, HEADERS));
}

static void parts_that_cannot_be_are_not_expected(void **state)
{
	static const uint32_t parts[] = {0, 1, 500, 1000, 3000, 65535};

	for (unsigned k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
		dp_scatter_expect(&scatter, HEADERS, parts[k]);
		arrive(IN_LARGE_BYTES);
		assert_int_equal(dp_scatter_row(&scatter), 0);
		assert_false(dp_scatter_fits(&scatter, HEADERS, parts[k], IN_LARGE_BYTES));
		assert_memory_equal(
			dp_scatter_gather(&scatter, IN_LARGE_BYTES), message, IN_LARGE_BYTES);
	}
}

/* With fewer mbufs than parts, with none: what is there is used, and the rest is not lost. */
static void an_empty_pool_loses_nothing(void **state)
{
	static struct rte_mbuf *held[POOL_MBUFS];
	unsigned n = 0;

	dp_scatter_expect(&scatter, HEADERS, PART);
	arrive(HEADERS);
	while (n < POOL_MBUFS && (held[n] = rte_pktmbuf_alloc(pool)))
		n++;
	for (unsigned left = scatter.n_spare; left > 0; left--) {
		assert_int_equal(scatter.n_spare, left);
		rte_pktmbuf_free(dp_scatter_take(&scatter));
		/* What was given back is not to be had again. */
		held[n] = rte_pktmbuf_alloc(pool);
		n += held[n] != NULL;
		arrive(20000);
		assert_true(dp_scatter_fits(&scatter, HEADERS, PART, 20000) ==
			(scatter.n_parts * PART + HEADERS >= 20000));
		assert_memory_equal(dp_scatter_gather(&scatter, 20000), message, 20000);
		memset(rest, 0, sizeof(rest));
	}
	assert_null(dp_scatter_take(&scatter));
	rte_pktmbuf_free_bulk(held, n);
	arrive(IN_LARGE_BYTES);
	assert_int_equal(dp_scatter_row(&scatter), HEADERS + PART);
}

#define with_scatter(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_scatter(parts_lie_in_their_packets),
		with_scatter(what_comes_otherwise_is_gathered),
		with_scatter(without_headers_alone_nothing_fits),
		with_scatter(parts_that_cannot_be_are_not_expected),
		with_scatter(an_empty_pool_loses_nothing),
	};
	static char words[][20] = {"dp_scatter_test", "--no-huge", "--no-shconf", "-m", "64",
		"--no-pci", "--log-level=error"};
	char *args[sizeof(words) / sizeof(words[0]) + 1] = {NULL};
	int rc;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		args[i] = words[i];
	if (rte_eal_init((int)(sizeof(words) / sizeof(words[0])), args) < 0)
		return 1;
	pool = rte_pktmbuf_pool_create(
		"scatter", POOL_MBUFS, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	rte_mempool_free(pool);
	rte_eal_cleanup();
	return rc;
}
