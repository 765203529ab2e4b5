/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports as they are set up: queues by workers and devices, the hash that spreads them, what a person is told.
 * On null ports; what takes an interface of the kernel's is in tests/netns.
 */
#include "dp_init.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct rte_mempool *pool;

static struct dp_config config_of(unsigned n_workers, uint16_t n_queues)
{
	return (struct dp_config){
		.ports = {{.kind = DP_PORT_NULL, .device = "null", .n_queues = n_queues}},
		.n_ports = 1,
		.listen_port = 51820,
		.n_workers = n_workers,
		.memory_mb = 128,
		.host_mtu = 1280,
	};
}

static int setup(void **state)
{
	struct dp_config config = config_of(4, 0);
	struct base_error error;

	if (dp_eal_init(&config, 0, NULL, &error) != 0)
		fail_msg("%s", error.text);
	pool = dp_pool_new(&config);
	assert_non_null(pool);
	return 0;
}

static void port_up(struct dp_port *port, const struct dp_config *config)
{
	struct base_error error;

	if (dp_port_start(port, config, 0, pool, &error) != 0)
		fail_msg("%s", error.text);
	assert_true(port->is_open);
}

static void test_queues(void **state)
{
	static const uint16_t cases[][3] = {/* workers, asked for, given */
		{1, 0, 1}, {3, 0, 3}, {16, 0, 16}, {40, 0, 16}, {4, 2, 2}, {2, 5, 5}, {2, 99, 16}};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct dp_config config = config_of(cases[i][0], cases[i][1]);

		assert_int_equal(port_queues(&config.ports[0], config.n_workers), cases[i][2]);
	}
}

/* By UDP's addresses and ports, and nothing else; one queue needs no hash. */
static void test_hash(void **state)
{
	const uint64_t udp = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
	struct dp_config config = config_of(3, 0);
	struct rte_eth_conf conf = {0};
	struct dp_port port;

	port_up(&port, &config);
	assert_int_equal(port.n_queues, 3);
	for (uint16_t q = 0; q < 3; q++) {
		assert_int_equal(port.queues[q].id, port.id);
		assert_int_equal(port.queues[q].queue, q);
	}
	spread_by_flow(port.id, 1, &conf);
	assert_int_equal(conf.rxmode.mq_mode, RTE_ETH_MQ_RX_NONE);
	spread_by_flow(port.id, 3, &conf);
	assert_int_equal(conf.rxmode.mq_mode, RTE_ETH_MQ_RX_RSS);
	assert_int_equal(conf.rx_adv_conf.rss_conf.rss_hf, udp);
	dp_port_stop(&port);
}

/* Closed and opened again: the same queues, the same number of DPDK's. */
static void test_open_again(void **state)
{
	struct dp_config config = config_of(2, 0);
	struct base_error error;
	struct dp_port port;

	port_up(&port, &config);
	for (unsigned i = 0; i < 20; i++) {
		dp_port_close(&port, pool);
		assert_false(port.is_open);
		assert_int_equal(port.n_devices, 0);
		assert_int_equal(dp_port_open(&port, &config, 0, pool, &error), 0);
		assert_true(port.is_open);
	}
	dp_port_stop(&port);
	assert_int_equal(rte_eth_dev_count_avail(), 0);
}

static char told[256];
static unsigned n_told;

static void caution(void *ctx, const char *line)
{
	snprintf(told, sizeof(told), "%s", line);
	n_told++;
}

static void test_cautions(void **state)
{
	struct dp_port port = {.kind = DP_PORT_NULL, .device = "eth7", .n_queues = 2};

	dp_port_check(&port, 2, caution, NULL);
	assert_int_equal(n_told, 0);
	dp_port_check(&port, 3, caution, NULL);
	assert_int_equal(n_told, 1);
	assert_non_null(strstr(told, "port eth7: 2 receive queue(s) for 3 workers"));
	assert_non_null(strstr(told, "ethtool -L eth7 combined 3"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_queues),
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_open_again),
		cmocka_unit_test(test_cautions),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
