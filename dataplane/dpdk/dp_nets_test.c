/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Addresses, routes and offers of the host interface, changed while it runs, as the kernel has them then; in a
 * namespace of the test's own. Needs root.
 */
#include "dp_test.h"

#include "dp_kern_test.h"

#define DEVICE "ntest0"

static struct dp *dp;
static char told[1024]; /* cautions, one after the other */

static void take_event(void *ctx, const struct dp_event *event)
{
	if (event->text)
		snprintf(told + strlen(told), sizeof(told) - strlen(told), "%s\n", event->text);
}

static int up(void **state)
{
	static const struct dp_callbacks callbacks = {.event = take_event};
	struct dp_config config = {.ports = {{.kind = DP_PORT_RING, .device = "nets"}},
		.n_ports = 1,
		.listen_port = 51820,
		.n_workers = 1,
		.memory_mb = 64,
		.host_device = DEVICE,
		.host_mtu = 1280};
	struct base_error error;

	if (enter_netns(state) != 0)
		return -1;
	if (kern_test_skip_reason)
		return 0;
	config.private_key.bytes[0] = 0x40;
	config.private_key.bytes[31] = 0x40;
	dp = dp_test_new(&config, &callbacks, NULL, &error);
	if (!dp)
		fprintf(stderr, "%s\n", error.text);
	return dp ? 0 : -1;
}

static int down(void **state)
{
	dp_free(dp);
	return 0;
}

static struct base_prefix ifaddr(const char *text)
{
	struct base_prefix p;

	assert_int_equal(base_ifaddr_parse(&p, text), 0);
	return p;
}

/* Lists of texts, each ended by NULL. */
static int set(const char *const *addrs, const char *const *routes, const char *const *offers)
{
	struct base_prefix all[3][8];
	const char *const *lists[3] = {addrs, routes, offers};
	size_t n[3] = {0};
	struct base_error error;

	for (unsigned l = 0; l < 3; l++)
		for (; lists[l][n[l]]; n[l]++)
			all[l][n[l]] = ifaddr(lists[l][n[l]]);
	told[0] = '\0';
	return dp_host_set(
		dp, &(struct dp_host_set){all[0], n[0], all[1], n[1], all[2], n[2]}, &error);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void peer_set(uint8_t key, const char *prefix)
{
	struct base_prefix allowed = ifaddr(prefix);
	struct dp_peer_config config = {.public_key.bytes = {key, 9},
		.is_probed = true,
		.allowed_ips = &allowed,
		.n_allowed_ips = 1};
	struct base_error error;

	if (dp_peer_set(dp, &config, &error) != 0)
		fail_msg("%s", error.text);
}

static void addresses_come_and_go(void **state)
{
	need_netns();
	run("! ip -4 addr show " DEVICE " | grep -q inet");
	assert_int_equal(set(LIST("100.64.0.5/32", "fd7a::5/128"), LIST(), LIST()), 0);
	run("ip addr show " DEVICE " | grep -q 'inet 100.64.0.5/32'");
	run("ip addr show " DEVICE " | grep -q 'inet6 fd7a::5/128'");
	run("! ip -6 addr show " DEVICE " | grep -q tentative");
	assert_int_equal(set(LIST("100.64.0.6/32", "fd7a::5/128"), LIST(), LIST()), 0);
	run("! ip addr show " DEVICE " | grep -q 'inet 100.64.0.5/32'");
	run("ip addr show " DEVICE " | grep -q 'inet 100.64.0.6/32'");
	run("ip addr show " DEVICE " | grep -q 'inet6 fd7a::5/128'");
	/* The kernel refuses one: all is as before. */
	assert_true(set(LIST("100.64.0.7/32", "ff02::1/128"), LIST(), LIST()) < 0);
	run("! ip addr show " DEVICE " | grep -q 100.64.0.7");
	run("ip addr show " DEVICE " | grep -q 'inet 100.64.0.6/32'");
	assert_int_equal(set(LIST("100.64.0.6/32", "100.64.0.6/31"), LIST(), LIST()), -EINVAL);
	assert_int_equal(set(LIST(), LIST(), LIST()), 0);
	run("! ip addr show " DEVICE " | grep -q inet");
}

/* One route for the mesh instead of one for each peer; and theirs again once it goes. */
static void routes_hold_peers(void **state)
{
	need_netns();
	peer_set(1, "100.64.0.9/32");
	peer_set(2, "10.7.0.0/16");
	run("ip route show 100.64.0.9 | grep -q 'dev " DEVICE "'");
	assert_int_equal(
		set(LIST("100.64.0.5/32"), LIST("100.64.0.0/10", "10.7.0.0/16"), LIST()), 0);
	assert_string_equal(told, "");
	run("ip route show 100.64.0.0/10 | grep -q 'dev " DEVICE "'");
	run("! ip route show 100.64.0.9 | grep -q .");
	run("ip route show 10.7.0.0/16 | grep -q 'dev " DEVICE "'");
	run("ip route get 100.64.0.9 | grep -q 'src 100.64.0.5'");
	peer_set(3, "100.64.0.10/32");
	run("! ip route show 100.64.0.10 | grep -q .");
	/* Another address: the kernel forgets the routes of the last one. */
	assert_int_equal(
		set(LIST("100.64.0.6/32"), LIST("100.64.0.0/10", "10.7.0.0/16"), LIST()), 0);
	run("ip route show 100.64.0.0/10 | grep -q 'dev " DEVICE "'");
	run("ip route get 100.64.0.9 | grep -q 'src 100.64.0.6'");
	assert_int_equal(set(LIST("100.64.0.6/32"), LIST(), LIST()), 0);
	run("! ip route show 100.64.0.0/10 | grep -q .");
	run("ip route show 100.64.0.9 | grep -q 'dev " DEVICE "'");
	run("ip route show 100.64.0.10 | grep -q 'dev " DEVICE "'");
	run("ip route show 10.7.0.0/16 | grep -q 'dev " DEVICE "'");
	assert_int_equal(set(LIST("100.64.0.6/32"), LIST("0.0.0.0/0"), LIST()), -EINVAL);
	assert_int_equal(set(LIST("100.64.0.6/32"), LIST("10.7.0.1/16"), LIST()), -EINVAL);
}

/* Somebody else's stays; it is told once, and peers have their own. */
static void foreign_routes_stay(void **state)
{
	need_netns();
	run("ip route add 100.64.0.0/10 dev lo");
	assert_int_equal(set(LIST("100.64.0.6/32"), LIST("100.64.0.0/10"), LIST()), 0);
	assert_non_null(strstr(told, "100.64.0.0/10"));
	run("ip route show 100.64.0.9 | grep -q 'dev " DEVICE "'");
	assert_int_equal(set(LIST("100.64.0.6/32"), LIST("100.64.0.0/10"), LIST()), 0);
	assert_string_equal(told, "");
	assert_int_equal(set(LIST("100.64.0.6/32"), LIST(), LIST()), 0);
	run("ip route show 100.64.0.0/10 | grep -q 'dev lo'");
	run("ip route del 100.64.0.0/10 dev lo");
}

/* Down and up, or deleted: what was set is there again. */
static void links_come_back(void **state)
{
	need_netns();
	assert_int_equal(
		set(LIST("100.64.0.6/32", "fd7a::6/128"), LIST("100.64.0.0/10"), LIST()), 0);
	run("ip link set " DEVICE " down");
	dp_service(dp);
	run("ip link set " DEVICE " up");
	dp_service(dp);
	run("ip route show 100.64.0.0/10 | grep -q 'dev " DEVICE "'");
	run("ip addr show " DEVICE " | grep -q 'inet6 fd7a::6/128'");
}

static void write_setting(const char *path, const char *value)
{
	run("echo %s >/proc/sys/net/%s", value, path);
}

static void what_forwarding_lacks_is_named(void **state)
{
	const char *const *addr = LIST("100.64.0.6/32"),
			  *const *both = LIST("10.1.0.0/16", "fd01::/64");

	need_netns();
	write_setting("ipv4/ip_forward", "0");
	write_setting("ipv6/conf/all/forwarding", "0");
	write_setting("ipv4/conf/all/rp_filter", "1");
	assert_int_equal(set(addr, LIST(), LIST("10.1.0.0/16")), 0);
	assert_non_null(strstr(told, "net.ipv4.ip_forward=1"));
	assert_non_null(strstr(told, "rp_filter"));
	assert_null(strstr(told, "ipv6"));
	assert_int_equal(set(addr, LIST(), both), 0);
	assert_null(strstr(told, "ip_forward"));
	assert_non_null(strstr(told, "net.ipv6.conf.all.forwarding=1"));
	write_setting("ipv4/ip_forward", "1");
	write_setting("ipv6/conf/all/forwarding", "1");
	write_setting("ipv4/conf/all/rp_filter", "2");
	assert_int_equal(set(addr, LIST(), both), 0);
	assert_string_equal(told, "");
	/* It went again: told again. */
	write_setting("ipv4/ip_forward", "0");
	assert_int_equal(set(addr, LIST(), both), 0);
	assert_non_null(strstr(told, "net.ipv4.ip_forward=1"));
	assert_int_equal(set(addr, LIST(), LIST("0.0.0.0/0")), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_come_and_go),
		cmocka_unit_test(routes_hold_peers),
		cmocka_unit_test(foreign_routes_stay),
		cmocka_unit_test(links_come_back),
		cmocka_unit_test(what_forwarding_lacks_is_named),
	};

	return cmocka_run_group_tests(tests, up, down);
}
