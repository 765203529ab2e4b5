/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The underlay as the kernel has it: this process in a namespace of its own with two ports, `ua`
 * and `ub` (their other ends in a second namespace, which answers for 192.0.2.9), and an
 * interface `other` that is no port. Needs root. Time of waits is bounded, never asserted.
 *
 *	this namespace                          child's namespace
 *	ua 192.0.2.1/24, 2001:db8::1/64   ---   192.0.2.9/24, 2001:db8::9/64
 *	ub 198.51.100.1/24                ---
 */
#include "dp_underlay.h"

#include "base_clock.h"
#include "dp_kern_test.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct bed {
	pid_t child;
	struct dp_underlay *underlay;
	struct dp_underlay_view *view;
	unsigned views;
	uint64_t generation;
	int link_events, is_up[2];
	unsigned cautions;
	char caution[512];
};

static struct bed bed;

static void take_view(void *ctx, struct dp_underlay_view *view)
{
	assert_ptr_equal(ctx, &bed);
	dp_underlay_view_free(bed.view);
	bed.view = view;
	bed.views++;
	assert_true(dp_underlay_generation(view) > bed.generation);
	bed.generation = dp_underlay_generation(view);
}

static void take_link(void *ctx, unsigned device, bool is_up)
{
	bed.link_events++;
	bed.is_up[device] = is_up;
}

static void take_caution(void *ctx, const char *line)
{
	bed.cautions++;
	snprintf(bed.caution, sizeof(bed.caution), "%s", line);
}

static struct base_addr addr(const char *text)
{
	struct base_addr a;

	assert_int_equal(base_addr_parse(&a, text), 0);
	return a;
}

static struct dp_nexthop lookup(const char *dst, const char *src)
{
	struct base_addr d = addr(dst), s = src ? addr(src) : (struct base_addr){0};
	struct dp_nexthop hop;

	dp_underlay_lookup(bed.view, &d, src ? &s : NULL, &hop);
	return hop;
}

/* Hear of everything that the kernel has said by now. */
static void settle(void)
{
	struct pollfd fd = {.fd = dp_underlay_fd(bed.underlay), .events = POLLIN};

	while (poll(&fd, 1, 50) > 0)
		dp_underlay_service(bed.underlay, base_clock_now_ns());
}

static bool is_state(const char *dst, enum dp_nexthop_state state)
{
	return lookup(dst, NULL).state == state;
}

/* For what the kernel does in its own time. */
static void wait_for_state(const char *dst, enum dp_nexthop_state state)
{
	for (unsigned i = 0; i < 200 && !is_state(dst, state); i++)
		settle();
	assert_int_equal(lookup(dst, NULL).state, state);
}

static void assert_addr(const struct base_addr *a, const char *text)
{
	char buf[BASE_ADDR_TEXT_LEN];

	assert_string_equal(base_addr_print(buf, a), text);
}

static void assert_mac(const uint8_t *mac, uint8_t last)
{
	const uint8_t expected[DP_MAC_BYTES] = {2, 0, 0, 0, 0, last};

	assert_memory_equal(mac, expected, DP_MAC_BYTES);
}

/* A child that does nothing but hold the other namespace. */
static void start_child(void)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	bed.child = fork();
	assert_true(bed.child >= 0);
	if (bed.child == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || unshare(CLONE_NEWNET) < 0 ||
			write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
}

static int set_up(void **state)
{
	struct dp_underlay_config config = {.devices = {"ua", "ub"},
		.n_devices = 2,
		.publish = take_view,
		.link = take_link,
		.inner_mtu_bytes = 1420,
		.caution = take_caution,
		.ctx = &bed};
	struct base_error error;

	memset(&bed, 0, sizeof(bed));
	if (kern_test_skip_reason)
		return 0;
	/* A fresh one for each test: what one leaves does not matter to the next. */
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	start_child();
	run("ip link set lo up && ip link add ua address 02:00:00:00:00:01 type veth peer name pa "
	    "&& "
	    "ip link add ub address 02:00:00:00:00:02 type veth peer name pb && "
	    "ip link set pa netns %d && ip link set pb netns %d && "
	    "ip link set ua up && ip link set ub up",
		(int)bed.child, (int)bed.child);
	run("nsenter -t %d -n sh -c 'ip link set pa address 02:00:00:00:00:09 up; ip link set pb "
	    "up; "
	    "ip addr add 192.0.2.9/24 dev pa; ip addr add 2001:db8::9/64 dev pa nodad'",
		(int)bed.child);
	run("ip addr add 192.0.2.1/24 dev ua && ip addr add 2001:db8::1/64 dev ua nodad && "
	    "ip addr add 198.51.100.1/24 dev ub && ip link add other type veth peer name rest && "
	    "ip link set rest up && "
	    "ip addr add 203.0.113.1/24 dev other && ip link set other up");
	bed.underlay = dp_underlay_new(&config, &error);
	if (!bed.underlay)
		fail_msg("%s", error.text);
	settle();
	return 0;
}

static int tear_down(void **state)
{
	if (kern_test_skip_reason)
		return 0;
	dp_underlay_free(bed.underlay);
	dp_underlay_view_free(bed.view);
	kill(bed.child, SIGKILL);
	waitpid(bed.child, NULL, 0);
	return 0;
}

static void on_link_destinations(void **state)
{
	struct dp_nexthop hop;

	need_netns();
	run("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev ua nud permanent && "
	    "ip neigh add 2001:db8::7 lladdr 02:00:00:00:00:17 dev ua nud permanent");
	settle();
	hop = lookup("192.0.2.7", NULL);
	assert_int_equal(hop.state, DP_NEXTHOP_OK);
	assert_int_equal(hop.port, 0);
	assert_int_equal(hop.mtu_bytes, 1500);
	assert_mac(hop.src_mac, 1);
	assert_mac(hop.dst_mac, 7);
	assert_addr(&hop.src_addr, "192.0.2.1");
	assert_addr(&hop.gateway, "192.0.2.7");
	hop = lookup("2001:db8::7", NULL);
	assert_int_equal(hop.state, DP_NEXTHOP_OK);
	assert_mac(hop.dst_mac, 0x17);
	assert_addr(&hop.src_addr, "2001:db8::1");
	hop = lookup("198.51.100.5", NULL);
	assert_int_equal(hop.state, DP_NEXTHOP_UNRESOLVED);
	assert_int_equal(hop.port, 1);
	assert_mac(hop.src_mac, 2);
	assert_addr(&hop.src_addr, "198.51.100.1");
}

static void destinations_that_are_not_ours_to_send_to(void **state)
{
	need_netns();
	assert_true(is_state("8.8.8.8", DP_NEXTHOP_NO_ROUTE));
	assert_true(is_state("2001:4860::1", DP_NEXTHOP_NO_ROUTE));
	assert_true(is_state("203.0.113.5", DP_NEXTHOP_OTHER_DEVICE));
	assert_true(is_state("192.0.2.1", DP_NEXTHOP_OTHER_DEVICE)); /* ourselves */
	assert_true(is_state("224.0.0.1", DP_NEXTHOP_NO_ROUTE));
	assert_true(is_state("255.255.255.255", DP_NEXTHOP_NO_ROUTE));
	assert_true(is_state("ff02::1", DP_NEXTHOP_NO_ROUTE));
	run("ip route add default via 192.0.2.7 && ip route add blackhole 10.0.0.0/8 && "
	    "ip route add unreachable 11.0.0.0/8");
	settle();
	assert_true(is_state("8.8.8.8", DP_NEXTHOP_UNRESOLVED));
	assert_true(is_state("10.1.2.3", DP_NEXTHOP_NO_ROUTE));
	assert_true(is_state("11.1.2.3", DP_NEXTHOP_NO_ROUTE));
}

static void longest_prefix_then_metric(void **state)
{
	struct dp_nexthop hop;

	need_netns();
	run("ip route add default via 198.51.100.254 metric 100 && "
	    "ip route add default via 192.0.2.254 metric 50 && "
	    "ip route add 10.0.0.0/8 via 198.51.100.8 && ip route add 10.1.0.0/16 via 192.0.2.16 "
	    "&& "
	    "ip route add 10.1.2.0/23 via 198.51.100.23 && ip route add 10.1.3.3/32 dev other");
	settle();
	hop = lookup("8.8.8.8", NULL);
	assert_addr(&hop.gateway, "192.0.2.254");
	hop = lookup("10.200.0.1", NULL);
	assert_addr(&hop.gateway, "198.51.100.8");
	hop = lookup("10.1.255.255", NULL);
	assert_addr(&hop.gateway, "192.0.2.16");
	hop = lookup("10.1.2.1", NULL);
	assert_addr(&hop.gateway, "198.51.100.23");
	assert_true(is_state("10.1.3.3", DP_NEXTHOP_OTHER_DEVICE));
	hop = lookup("10.1.3.4", NULL);
	assert_addr(&hop.gateway, "198.51.100.23");
	run("ip route del 10.1.2.0/23 && ip route del default metric 50");
	settle();
	hop = lookup("10.1.2.1", NULL);
	assert_addr(&hop.gateway, "192.0.2.16");
	hop = lookup("8.8.8.8", NULL);
	assert_addr(&hop.gateway, "198.51.100.254");
}

static void source_addresses(void **state)
{
	struct dp_nexthop hop;

	need_netns();
	run("ip addr add 192.0.2.2/24 dev ua && ip addr add 192.0.3.1/24 dev ua && "
	    "ip addr add 2001:db8:1::1/64 dev ua nodad && "
	    "ip addr add 2001:db8:2::1/64 dev ua nodad preferred_lft 0 && "
	    "ip route add 10.0.0.0/8 via 192.0.2.254 src 192.0.3.1 && "
	    "ip route add default via 192.0.3.254 metric 10 && "
	    "ip route add default via 198.51.100.254 metric 20 && "
	    "ip route add default via 2001:db8:1::fe dev ua");
	settle();
	hop = lookup("10.1.1.1", NULL);
	assert_addr(&hop.src_addr, "192.0.3.1"); /* the route says so */
	hop = lookup("8.8.8.8", NULL);
	assert_addr(&hop.src_addr, "192.0.3.1"); /* of the gateway's subnet */
	hop = lookup("192.0.2.77", NULL);
	assert_addr(&hop.src_addr, "192.0.2.1"); /* the first, not the secondary */
	hop = lookup("2001:db8:2::2", NULL);
	assert_true(hop.src_addr.bytes[5] != 2); /* deprecated */
	hop = lookup("2001:db8:1::2", NULL);
	assert_addr(&hop.src_addr, "2001:db8:1::1");
	/* The address that the peer asked, and the way out that belongs to it. */
	hop = lookup("8.8.8.8", "192.0.2.2");
	assert_addr(&hop.src_addr, "192.0.2.2");
	assert_addr(&hop.gateway, "192.0.3.254");
	hop = lookup("8.8.8.8", "198.51.100.1");
	assert_addr(&hop.src_addr, "198.51.100.1");
	assert_addr(&hop.gateway, "198.51.100.254");
	assert_int_equal(hop.port, 1);
	hop = lookup("8.8.8.8", "172.16.0.1"); /* not ours (any more) */
	assert_addr(&hop.src_addr, "192.0.3.1");
	/* The kernel chooses the same. */
	run("ip route get 10.1.1.1 | grep -q 'src 192.0.3.1' && "
	    "ip route get 8.8.8.8 | grep -q 'src 192.0.3.1' && "
	    "ip route get 192.0.2.77 | grep -q 'src 192.0.2.1' && "
	    "ip -6 route get 2001:db8:1::2 | grep -q 'src 2001:db8:1::1'");
}

static void mtu_of_route_and_device(void **state)
{
	need_netns();
	run("ip route add 10.0.0.0/8 via 192.0.2.254 mtu 1400 && "
	    "ip route add 11.0.0.0/8 via 192.0.2.254 mtu 9000");
	settle();
	assert_int_equal(lookup("10.0.0.1", NULL).mtu_bytes, 1400);
	assert_int_equal(lookup("11.0.0.1", NULL).mtu_bytes, 1500);
	run("ip link set ua mtu 1300");
	settle();
	assert_int_equal(lookup("10.0.0.1", NULL).mtu_bytes, 1300);
}

static void multipath_and_gateways_of_the_other_family(void **state)
{
	struct dp_nexthop hop;

	need_netns();
	run("ip route add 10.0.0.0/8 nexthop dev other via 203.0.113.9 nexthop dev ub via "
	    "198.51.100.9 && ip route add 11.0.0.0/8 via inet6 2001:db8::9 dev ua");
	settle();
	hop = lookup("10.0.0.1", NULL);
	assert_int_equal(hop.port, 1);
	assert_addr(&hop.gateway, "198.51.100.9");
	hop = lookup("11.0.0.1", NULL);
	assert_addr(&hop.gateway, "2001:db8::9");
	assert_addr(&hop.src_addr, "192.0.2.1");
}

/* Destinations 10.0.0.1 to 10.0.0.64 that leave by this gateway. */
static unsigned shared_by(const char *gateway)
{
	struct base_addr wanted = addr(gateway);
	unsigned n = 0;

	for (unsigned i = 1; i <= 64; i++) {
		char dst[BASE_ADDR_TEXT_LEN];
		struct dp_nexthop hop;

		snprintf(dst, sizeof(dst), "10.0.0.%u", i);
		hop = lookup(dst, NULL);
		n += base_addr_equal(&hop.gateway, &wanted);
	}
	return n;
}

static void equal_ways_share_and_a_dead_one_is_left(void **state)
{
	unsigned by_7, by_8;

	need_netns();
	run("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev ua nud permanent && "
	    "ip neigh add 198.51.100.8 lladdr 02:00:00:00:00:08 dev ub nud permanent && "
	    "ip route add 10.0.0.0/8 nexthop via 192.0.2.7 nexthop via 198.51.100.8");
	settle();
	by_7 = shared_by("192.0.2.7");
	by_8 = shared_by("198.51.100.8");
	assert_int_equal(by_7 + by_8, 64);
	assert_true(by_7 >= 8 && by_8 >= 8);
	assert_int_equal(shared_by("192.0.2.7"), by_7);
	/* Whoever asked an address of a port leaves by that port. */
	for (unsigned i = 1; i <= 64; i++) {
		char dst[BASE_ADDR_TEXT_LEN];

		snprintf(dst, sizeof(dst), "10.0.0.%u", i);
		assert_int_equal(lookup(dst, "192.0.2.1").port, 0);
		assert_int_equal(lookup(dst, "198.51.100.1").port, 1);
	}
	run("ip neigh del 192.0.2.7 dev ua");
	settle();
	assert_int_equal(shared_by("198.51.100.8"), 64);
	run("ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:07 dev ua nud permanent");
	settle();
	assert_int_equal(shared_by("192.0.2.7"), by_7);
	/* IPv6 as well, whose kernel lists equal routes its own way. */
	run("ip -6 neigh add 2001:db8::7 lladdr 02:00:00:00:00:07 dev ua nud permanent && "
	    "ip -6 neigh add 2001:db8::8 lladdr 02:00:00:00:00:08 dev ua nud permanent && "
	    "ip -6 route add 2001:db8:a::/48 nexthop via 2001:db8::7 dev ua nexthop via "
	    "2001:db8::8 dev ua");
	settle();
	for (unsigned i = 1, first = 0, second = 0; i <= 64; i++) {
		struct base_addr seven = addr("2001:db8::7");
		char dst[BASE_ADDR_TEXT_LEN];
		struct dp_nexthop hop;

		snprintf(dst, sizeof(dst), "2001:db8:a::%x", i);
		hop = lookup(dst, NULL);
		assert_int_equal(hop.state, DP_NEXTHOP_OK);
		*(base_addr_equal(&hop.gateway, &seven) ? &first : &second) += 1;
		if (i == 64)
			assert_true(first >= 8 && second >= 8);
	}
}

static void router_that_comes_back_is_found(void **state)
{
	need_netns();
	run("nsenter -t %d -n ip link set pa arp off && ip route add default via 192.0.2.9",
		(int)bed.child);
	settle();
	/* The kernel gives up after three seconds; nobody but us asks again. */
	run("for i in $(seq 1 60); do ip neigh show 192.0.2.9 | grep -q FAILED && exit 0; "
	    "sleep 0.1; done; exit 1");
	settle();
	assert_true(is_state("8.8.8.8", DP_NEXTHOP_UNRESOLVED));
	run("nsenter -t %d -n ip link set pa arp on", (int)bed.child);
	dp_underlay_service(bed.underlay, base_clock_now_ns() + 11 * BASE_NS_PER_S);
	wait_for_state("8.8.8.8", DP_NEXTHOP_OK);
}

static void small_mtu_is_told_once(void **state)
{
	need_netns();
	assert_int_equal(bed.cautions, 0); /* 1,500 are enough for 1,420, IPv6 and all */
	run("ip link set ub mtu 1480");    /* IPv4 alone: 1,420 and no more */
	settle();
	assert_int_equal(bed.cautions, 0);
	run("ip link set ua mtu 1499");
	settle();
	assert_int_equal(bed.cautions, 1);
	assert_non_null(strstr(bed.caution, "port ua: its MTU of 1499 leaves 1419 bytes"));
	assert_non_null(strstr(bed.caution, "IPv6"));
	run("ip addr add 192.0.2.77/24 dev ua && ip link set ub mtu 1479");
	settle();
	assert_int_equal(bed.cautions, 2);
	assert_non_null(strstr(bed.caution, "port ub: its MTU of 1479 leaves 1419 bytes"));
	assert_non_null(strstr(bed.caution, "IPv4"));
	run("ip link set ua mtu 9000 && ip link set ub mtu 1500");
	settle();
	assert_int_equal(bed.cautions, 2);
	run("ip link set ub mtu 1479");
	settle();
	assert_int_equal(bed.cautions, 3);
}

static void policy_rules_are_told(void **state)
{
	need_netns();
	run("ip rule add from 192.0.2.1 table main");
	settle();
	assert_int_equal(bed.cautions, 0);
	run("ip -6 rule add from 2001:db8::1 table 100");
	settle();
	assert_int_equal(bed.cautions, 1);
	assert_non_null(strstr(bed.caution, "ip rule"));
	run("ip rule add from 192.0.2.1 table 100");
	settle();
	assert_int_equal(bed.cautions, 1);
}

/* Another interface's address of the link is not one to speak from, nor is one that is still being tried. */
static void link_local_stays_on_its_link(void **state)
{
	struct dp_nexthop hop;

	need_netns();
	run("ip addr flush dev ua scope link && ip addr flush dev ub scope link && "
	    "ip addr add fe80::a/64 dev ua nodad && ip addr add fe80::b/64 dev ub nodad");
	settle();
	hop = lookup("fe80::9", "fe80::a");
	assert_int_equal(hop.port, 0);
	assert_addr(&hop.src_addr, "fe80::a");
	hop = lookup("fe80::9", "fe80::b");
	assert_int_equal(hop.port, 1);
	assert_addr(&hop.src_addr, "fe80::b");
	/* Nothing of the link speaks to the world. */
	run("ip -6 addr del 2001:db8::1/64 dev ua && ip -6 route add default via fe80::9 dev ua");
	settle();
	assert_true(is_state("2001:4860::1", DP_NEXTHOP_NO_ROUTE));
	/* Duplicate address detection takes a second. */
	run("ip addr add 2001:db8::2/64 dev ua");
	settle();
	assert_true(is_state("2001:4860::1", DP_NEXTHOP_NO_ROUTE));
	run("for i in $(seq 1 50); do ip -6 addr show dev ua tentative | grep -q . || exit 0; "
	    "sleep 0.1; done; exit 1");
	settle();
	hop = lookup("2001:4860::1", NULL);
	assert_addr(&hop.src_addr, "2001:db8::2");
}

static void neighbours_are_followed(void **state)
{
	uint64_t generation;

	need_netns();
	run("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev ua nud reachable");
	settle();
	assert_mac(lookup("192.0.2.7", NULL).dst_mac, 7);
	generation = bed.generation;
	/* The same MAC under another state answers nothing differently. */
	run("ip neigh change 192.0.2.7 lladdr 02:00:00:00:00:07 dev ua nud stale && "
	    "ip neigh add 203.0.113.7 lladdr 02:00:00:00:00:07 dev other nud permanent");
	settle();
	assert_int_equal(bed.generation, generation);
	run("ip neigh change 192.0.2.7 lladdr 02:00:00:00:00:08 dev ua nud reachable");
	settle();
	assert_mac(lookup("192.0.2.7", NULL).dst_mac, 8);
	assert_true(bed.generation > generation);
	run("ip neigh del 192.0.2.7 dev ua");
	settle();
	assert_true(is_state("192.0.2.7", DP_NEXTHOP_UNRESOLVED));
}

static void wanted_neighbour_is_resolved(void **state)
{
	struct base_addr v4 = addr("192.0.2.9"), v6 = addr("2001:db8::9");
	uint64_t now = base_clock_now_ns();

	need_netns();
	assert_true(is_state("192.0.2.9", DP_NEXTHOP_UNRESOLVED));
	dp_underlay_want(bed.underlay, 0, &v4, now);
	dp_underlay_want(bed.underlay, 0, &v6, now);
	wait_for_state("192.0.2.9", DP_NEXTHOP_OK);
	wait_for_state("2001:db8::9", DP_NEXTHOP_OK);
	assert_mac(lookup("192.0.2.9", NULL).dst_mac, 9);
	/* Nonsense from a worker does no harm. */
	dp_underlay_want(bed.underlay, 77, &v4, now);
	dp_underlay_want(bed.underlay, 0, &(struct base_addr){0}, now);
}

static void gateway_is_resolved_without_asking(void **state)
{
	need_netns();
	run("ip route add default via 192.0.2.9");
	settle();
	wait_for_state("8.8.8.8", DP_NEXTHOP_OK);
	assert_mac(lookup("8.8.8.8", NULL).dst_mac, 9);
	/* A gateway that is replaced, unnoticed until the entry is stale: probed, found again. */
	run("ip neigh change 192.0.2.9 lladdr 02:00:00:00:00:66 dev ua nud stale");
	for (unsigned i = 0; i < 300 && lookup("8.8.8.8", NULL).dst_mac[5] != 9; i++)
		settle();
	assert_mac(lookup("8.8.8.8", NULL).dst_mac, 9);
}

static void repeated_wants_are_merged(void **state)
{
	struct base_addr silent = addr("192.0.2.200");
	uint64_t now = base_clock_now_ns();

	need_netns();
	dp_underlay_want(bed.underlay, 0, &silent, now);
	run("ip neigh show 192.0.2.200 dev ua | grep -q .");
	run("ip neigh flush dev ua nud all");
	settle();
	dp_underlay_want(bed.underlay, 0, &silent, now + BASE_NS_PER_S / 2);
	run("! ip neigh show 192.0.2.200 dev ua | grep -q .");
	dp_underlay_want(bed.underlay, 0, &silent, now + 2 * BASE_NS_PER_S);
	run("ip neigh show 192.0.2.200 dev ua | grep -q .");
}

static void addresses_are_local_while_they_are_there(void **state)
{
	struct base_addr mine = addr("192.0.2.1"), later = addr("192.0.2.50"),
			 dummy = addr("203.0.113.1");

	need_netns();
	assert_true(dp_underlay_is_local(bed.view, 0, &mine));
	assert_true(dp_underlay_is_local(bed.view, 1, &dummy));
	assert_false(dp_underlay_is_local(bed.view, 0, &later));
	run("ip addr add 192.0.2.50/24 dev ua");
	settle();
	assert_true(dp_underlay_is_local(bed.view, 0, &later));
	run("ip addr del 192.0.2.50/24 dev ua");
	settle();
	assert_false(dp_underlay_is_local(bed.view, 0, &later));
}

static void links_go_down_come_back_and_change(void **state)
{
	struct dp_nexthop hop;

	need_netns();
	assert_int_equal(bed.link_events, 0);
	run("ip route add default via 192.0.2.9");
	settle();
	wait_for_state("8.8.8.8", DP_NEXTHOP_OK);
	run("ip link set ua down");
	settle();
	assert_true(is_state("8.8.8.8", DP_NEXTHOP_NO_ROUTE));
	assert_int_equal(bed.is_up[0], false);
	assert_true(bed.link_events > 0);
	run("ip link set ua address 02:00:00:00:00:0a up && ip route add default via 192.0.2.9");
	settle();
	wait_for_state("8.8.8.8", DP_NEXTHOP_OK);
	assert_int_equal(bed.is_up[0], true);
	assert_mac(lookup("8.8.8.8", NULL).src_mac, 0x0a);
	/* Gone, and another of the same name in its place. */
	run("ip link del ub");
	settle();
	assert_int_equal(bed.is_up[1], false);
	run("ip link add ub address 02:00:00:00:00:0b type veth peer name pc && ip link set pc up "
	    "&& "
	    "ip link set ub up && ip addr add 198.51.100.2/24 dev ub");
	settle();
	hop = lookup("198.51.100.7", NULL);
	assert_mac(hop.src_mac, 0x0b);
	assert_addr(&hop.src_addr, "198.51.100.2");
}

/* More changes than the socket holds, unheard: what follows is read anew, not pieced together. */
static void lost_messages_lead_to_a_full_read(void **state)
{
	int fd, size = 1;
	unsigned views;

	need_netns();
	fd = dp_underlay_fd(bed.underlay);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
	run("for i in $(seq 1 150); do echo route add 10.$i.0.0/16 via 192.0.2.9; "
	    "echo neigh add 192.0.2.$((i + 50)) lladdr 02:00:00:00:00:44 dev ua nud permanent; "
	    "done "
	    "| ip -batch -");
	run("ip route del 10.20.0.0/16");
	views = bed.views;
	settle();
	assert_true(bed.views > views);
	assert_true(is_state("10.20.0.1", DP_NEXTHOP_NO_ROUTE));
	for (unsigned i = 1; i <= 150; i++) {
		char text[BASE_ADDR_TEXT_LEN];

		snprintf(text, sizeof(text), "192.0.2.%u", i + 50);
		assert_mac(lookup(text, NULL).dst_mac, 0x44);
		snprintf(text, sizeof(text), "10.%u.0.1", i);
		if (i != 20)
			assert_true(lookup(text, NULL).state != DP_NEXTHOP_NO_ROUTE);
	}
}

static void missing_device_is_named(void **state)
{
	struct dp_underlay_config config = {
		.devices = {"no-such-dev"}, .n_devices = 1, .publish = take_view, .ctx = &bed};
	struct base_error error;

	assert_null(dp_underlay_new(&config, &error));
	assert_int_equal(errno, ENODEV);
	assert_non_null(strstr(error.text, "no-such-dev"));
	dp_underlay_free(NULL);
	dp_underlay_view_free(NULL);
}

#define with_bed(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bed(on_link_destinations),
		with_bed(destinations_that_are_not_ours_to_send_to),
		with_bed(longest_prefix_then_metric),
		with_bed(source_addresses),
		with_bed(mtu_of_route_and_device),
		with_bed(multipath_and_gateways_of_the_other_family),
		with_bed(equal_ways_share_and_a_dead_one_is_left),
		with_bed(router_that_comes_back_is_found),
		with_bed(small_mtu_is_told_once),
		with_bed(policy_rules_are_told),
		with_bed(link_local_stays_on_its_link),
		with_bed(neighbours_are_followed),
		with_bed(wanted_neighbour_is_resolved),
		with_bed(gateway_is_resolved_without_asking),
		with_bed(repeated_wants_are_merged),
		with_bed(addresses_are_local_while_they_are_there),
		with_bed(links_go_down_come_back_and_change),
		with_bed(lost_messages_lead_to_a_full_read),
		cmocka_unit_test(missing_device_is_named),
	};

	return cmocka_run_group_tests(tests, enter_netns, NULL);
}
