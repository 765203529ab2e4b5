/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The XDP program on hand-made frames (the kernel runs it on them, nothing is attached), and what
 * a start finds on an interface: ours left over, ours at work, a foreign one. Needs root: all of it
 * happens in a namespace of this process.
 */
#include "dp_xdp.h"

#include "base_bytes.h"
#include "dp_kern_test.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PORT 51820

struct bed {
	struct bpf_object *object;
	int prog_fd, socket_fd;
};

/* As the af_xdp driver does it: from the path, first program, map by name. */
static int load(struct bed *bed, uint16_t port)
{
	char path[DP_XDP_PATH_LEN];
	struct base_error error;
	uint32_t queue = 0;
	int fd;

	if (dp_xdp_object_open(port, path, &fd, &error) < 0)
		fail_msg("%s", error.text);
	bed->object = bpf_object__open_file(path, NULL);
	assert_non_null(bed->object);
	assert_int_equal(bpf_object__load(bed->object), 0);
	close(fd);
	bed->prog_fd = bpf_program__fd(bpf_object__next_program(bed->object, NULL));
	assert_true(bed->prog_fd >= 0);
	/* A socket that is bound to nothing is enough for the map to redirect to. */
	bed->socket_fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(bed->socket_fd >= 0);
	return bpf_map__update_elem(bpf_object__find_map_by_name(bed->object, "xsks_map"), &queue,
		sizeof(queue), &bed->socket_fd, sizeof(bed->socket_fd), 0);
}

static void unload(struct bed *bed)
{
	close(bed->socket_fd);
	bpf_object__close(bed->object);
}

static uint32_t verdict(const struct bed *bed, const uint8_t *frame, uint32_t len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bed->prog_fd, &opts), 0);
	return opts.retval;
}

/* Ethernet, IPv4 with @options bytes of options, eight bytes of UDP. */
static uint32_t make4(uint8_t *frame, uint8_t proto, uint16_t port, uint32_t options)
{
	uint8_t *ip = frame + 14, *udp = ip + 20 + options;

	memset(frame, 0, 128);
	base_store_be16(frame + 12, 0x0800);
	ip[0] = (uint8_t)(0x40 | (5 + options / 4));
	base_store_be16(ip + 2, (uint16_t)(28 + options));
	ip[8] = 64;
	ip[9] = proto;
	base_store_be16(udp, 4000);
	base_store_be16(udp + 2, port);
	base_store_be16(udp + 4, 8);
	return 14 + 28 + options;
}

static uint32_t make6(uint8_t *frame, uint8_t next, uint16_t port)
{
	uint8_t *ip = frame + 14, *udp = ip + 40;

	memset(frame, 0, 128);
	base_store_be16(frame + 12, 0x86dd);
	ip[0] = 0x60;
	base_store_be16(ip + 4, 8);
	ip[6] = next;
	base_store_be16(udp + 2, port);
	return 14 + 48;
}

static void takes_udp_to_the_port(void **state)
{
	static const uint16_t ports[] = {PORT, 1, 65535, 0x1234};
	uint8_t frame[128];
	struct bed bed;

	need_netns();
	for (unsigned i = 0; i < 4; i++) {
		uint16_t port = ports[i];

		assert_int_equal(load(&bed, port), 0);
		for (uint32_t options = 0; options <= 40; options += 4)
			assert_int_equal(verdict(&bed, frame, make4(frame, 17, port, options)),
				XDP_REDIRECT);
		assert_int_equal(verdict(&bed, frame, make6(frame, 17, port)), XDP_REDIRECT);
		/* Neighbours, and the same bytes the other way round. */
		assert_int_equal(
			verdict(&bed, frame, make4(frame, 17, (uint16_t)(port + 1), 0)), XDP_PASS);
		assert_int_equal(
			verdict(&bed, frame, make6(frame, 17, (uint16_t)(port - 1))), XDP_PASS);
		if (port != __builtin_bswap16(port))
			assert_int_equal(
				verdict(&bed, frame, make4(frame, 17, __builtin_bswap16(port), 0)),
				XDP_PASS);
		unload(&bed);
	}
}

static void leaves_the_rest_to_the_kernel(void **state)
{
	static const uint8_t protos[] = {0, 1, 2, 6, 43, 44, 47, 50, 58, 60, 132};
	static const uint16_t types[] = {0x0806, 0x8100, 0x88a8, 0x8864, 0x0000, 0xffff};
	uint8_t frame[128];
	struct bed bed;
	uint32_t len;

	need_netns();
	assert_int_equal(load(&bed, PORT), 0);
	for (unsigned i = 0; i < sizeof(protos); i++) {
		assert_int_equal(verdict(&bed, frame, make4(frame, protos[i], PORT, 0)), XDP_PASS);
		assert_int_equal(verdict(&bed, frame, make6(frame, protos[i], PORT)), XDP_PASS);
	}
	for (unsigned i = 0; i < 6; i++) {
		len = make4(frame, 17, PORT, 0);
		base_store_be16(frame + 12, types[i]);
		assert_int_equal(verdict(&bed, frame, len), XDP_PASS);
	}
	/* Source port, and versions that do not fit the frame's type. */
	len = make4(frame, 17, 1, 0);
	base_store_be16(frame + 34, PORT);
	assert_int_equal(verdict(&bed, frame, len), XDP_PASS);
	for (unsigned version = 0; version < 16; version++) {
		len = make4(frame, 17, PORT, 0);
		frame[14] = (uint8_t)(version << 4 | 5);
		assert_int_equal(verdict(&bed, frame, len), version == 4 ? XDP_REDIRECT : XDP_PASS);
		len = make6(frame, 17, PORT);
		frame[14] = (uint8_t)(version << 4);
		assert_int_equal(verdict(&bed, frame, len), version == 6 ? XDP_REDIRECT : XDP_PASS);
	}
	unload(&bed);
}

static void vlan_tagged_frames_pass(void **state)
{
	uint8_t frame[128], tagged[132];
	struct bed bed;
	uint32_t len;

	need_netns();
	assert_int_equal(load(&bed, PORT), 0);
	len = make4(frame, 17, PORT, 0);
	memcpy(tagged, frame, 12);
	base_store_be16(tagged + 12, 0x8100);
	base_store_be16(tagged + 14, 7);
	memcpy(tagged + 16, frame + 12, len - 12);
	assert_int_equal(verdict(&bed, tagged, len + 4), XDP_PASS);
	unload(&bed);
}

static void fragments_pass(void **state)
{
	static const uint16_t fields[] = {0x2000, 0x2001, 0x0001, 0x1fff, 0x00b9};
	uint8_t frame[128];
	struct bed bed;
	uint32_t len;

	need_netns();
	assert_int_equal(load(&bed, PORT), 0);
	for (unsigned i = 0; i < 5; i++) {
		len = make4(frame, 17, PORT, 0);
		base_store_be16(frame + 20, fields[i]);
		assert_int_equal(verdict(&bed, frame, len), XDP_PASS);
	}
	len = make4(frame, 17, PORT, 0);
	base_store_be16(frame + 20, 0x4000); /* don't fragment */
	assert_int_equal(verdict(&bed, frame, len), XDP_REDIRECT);
	unload(&bed);
}

/* The gateway keeps no CAP_PERFMON, under which the verifier is kinder. */
static void loads_with_few_capabilities(void **state)
{
	const uint32_t few = (1u << CAP_NET_ADMIN) | (1u << CAP_NET_RAW);
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {
		{.effective = few, .permitted = few},
		{.effective = CAP_TO_MASK(CAP_BPF), .permitted = CAP_TO_MASK(CAP_BPF)},
	};
	int status = 0;
	pid_t child;

	need_netns();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct bed bed;

		if (syscall(SYS_capset, &header, data) < 0)
			_exit(1);
		_exit(load(&bed, PORT) == 0 ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void truncated_frames_pass(void **state)
{
	uint8_t frame[128];
	struct bed bed;
	uint32_t len;

	need_netns();
	assert_int_equal(load(&bed, PORT), 0);
	/* Fourteen bytes are the least that the kernel runs a program on. */
	len = make4(frame, 17, PORT, 0);
	for (uint32_t n = 14; n <= len; n++)
		assert_int_equal(verdict(&bed, frame, n), n == len ? XDP_REDIRECT : XDP_PASS);
	len = make4(frame, 17, PORT, 40);
	for (uint32_t n = 14; n <= len; n++)
		assert_int_equal(verdict(&bed, frame, n), n == len ? XDP_REDIRECT : XDP_PASS);
	len = make6(frame, 17, PORT);
	for (uint32_t n = 14; n <= len; n++)
		assert_int_equal(verdict(&bed, frame, n), n == len ? XDP_REDIRECT : XDP_PASS);
	for (unsigned ihl = 0; ihl < 5; ihl++) {
		len = make4(frame, 17, PORT, 0);
		frame[14] = (uint8_t)(0x40 | ihl);
		assert_int_equal(verdict(&bed, frame, len), XDP_PASS);
	}
	unload(&bed);
}

static void queue_without_a_socket_passes(void **state)
{
	uint8_t frame[128];
	uint32_t queue = 0;
	struct bed bed;

	need_netns();
	assert_int_equal(load(&bed, PORT), 0);
	assert_int_equal(bpf_map__delete_elem(bpf_object__find_map_by_name(bed.object, "xsks_map"),
				 &queue, sizeof(queue), 0),
		0);
	assert_int_equal(verdict(&bed, frame, make4(frame, 17, PORT, 0)), XDP_PASS);
	unload(&bed);
}

/* --- what is attached ------------------------------------------------------------------------- */

static uint32_t attached(const char *device)
{
	uint32_t prog_id = 0;

	assert_int_equal(bpf_xdp_query_id((int)if_nametoindex(device), 0, &prog_id), 0);
	return prog_id;
}

static void add_veth(void)
{
	run("ip link add xa type veth peer name xb && ip link set xa up && ip link set xb up");
}

static void left_over_of_ours_is_detached(void **state)
{
	static const uint32_t modes[] = {0, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
	struct base_error error;

	need_netns();
	add_veth();
	assert_int_equal(dp_xdp_clear("xa", &error), 0);
	for (unsigned i = 0; i < 6; i++) {
		struct bed bed;

		assert_int_equal(load(&bed, PORT), 0);
		assert_int_equal(bpf_xdp_attach((int)if_nametoindex("xa"), bed.prog_fd,
					 modes[i % 3] | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL),
			0);
		unload(&bed); /* as a process that was killed: the interface alone holds it */
		assert_int_not_equal(attached("xa"), 0);
		if (i < 3)
			assert_int_equal(dp_xdp_clear("xa", &error), 0);
		else
			dp_xdp_detach("xa", dp_xdp_attached("xa"));
		assert_int_equal(attached("xa"), 0);
	}
	assert_int_equal(dp_xdp_attached("xa"), 0);
	dp_xdp_detach("xa", 0);
	run("ip link del xa");
}

static int load_foreign(void)
{
	const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_PASS},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "somebody", "GPL", insns, 2, NULL);
}

static void foreign_program_is_named_and_stays(void **state)
{
	struct base_error error;
	char number[16];
	uint32_t prog_id;
	int fd;

	need_netns();
	add_veth();
	fd = load_foreign();
	assert_true(fd >= 0);
	assert_int_equal(
		bpf_xdp_attach((int)if_nametoindex("xa"), fd, XDP_FLAGS_SKB_MODE, NULL), 0);
	close(fd);
	prog_id = attached("xa");
	assert_int_equal(dp_xdp_clear("xa", &error), -EBUSY);
	snprintf(number, sizeof(number), "id %u", prog_id);
	assert_non_null(strstr(error.text, "xa"));
	assert_non_null(strstr(error.text, "somebody"));
	assert_non_null(strstr(error.text, number));
	assert_non_null(strstr(error.text, "ip link set dev xa xdpgeneric off"));
	dp_xdp_detach("xa", prog_id + 1); /* ours was another */
	assert_int_equal(attached("xa"), prog_id);
	run("ip link set dev xa xdpgeneric off"); /* the line's advice works */
	assert_int_equal(dp_xdp_clear("xa", &error), 0);
	run("ip link del xa");
}

static void program_at_work_is_not_taken_for_a_left_over(void **state)
{
	struct base_error error;
	struct bed bed;
	char number[16];
	pid_t child;

	need_netns();
	add_veth();
	assert_int_equal(load(&bed, PORT), 0);
	assert_int_equal(bpf_xdp_attach((int)if_nametoindex("xa"), bed.prog_fd, 0, NULL), 0);
	child = fork(); /* another gateway: inherits what keeps the program alive */
	assert_true(child >= 0);
	if (child == 0) {
		pause();
		_exit(0);
	}
	unload(&bed);
	assert_int_equal(dp_xdp_clear("xa", &error), -EBUSY);
	snprintf(number, sizeof(number), "process %d", (int)child);
	assert_non_null(strstr(error.text, number));
	assert_int_not_equal(attached("xa"), 0);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(dp_xdp_clear("xa", &error), 0);
	assert_int_equal(attached("xa"), 0);
	run("ip link del xa");
}

static void missing_device_is_named(void **state)
{
	struct base_error error;

	assert_int_equal(dp_xdp_clear("no-such-dev", &error), -ENODEV);
	assert_non_null(strstr(error.text, "no-such-dev"));
	dp_xdp_detach("no-such-dev", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_udp_to_the_port),
		cmocka_unit_test(leaves_the_rest_to_the_kernel),
		cmocka_unit_test(vlan_tagged_frames_pass),
		cmocka_unit_test(fragments_pass),
		cmocka_unit_test(truncated_frames_pass),
		cmocka_unit_test(loads_with_few_capabilities),
		cmocka_unit_test(queue_without_a_socket_passes),
		cmocka_unit_test(left_over_of_ours_is_detached),
		cmocka_unit_test(foreign_program_is_named_and_stays),
		cmocka_unit_test(program_at_work_is_not_taken_for_a_left_over),
		cmocka_unit_test(missing_device_is_named),
	};

	return cmocka_run_group_tests(tests, enter_netns, NULL);
}
