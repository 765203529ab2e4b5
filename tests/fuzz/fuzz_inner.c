/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inner packets: the quick parser against the one for everything, then the filter with rules and flows. Each packet of the
 * input comes in, or goes out and makes a flow.
 */
#include "fuzz.h"

#include "base_clock.h"
#include "in_filter.h"
#include "in_parse.h"

static struct in_filter *filter;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const uint8_t tcp = IN_PROTO_TCP, udp = IN_PROTO_UDP;
	static const struct base_prefix anybody = {0};
	static const struct in_rule_dst dsts[3] = {{.port_first = 22, .port_last = 8765},
		{.port_last = UINT16_MAX}, {.port_first = 53, .port_last = 53}};
	struct base_prefix locals[2], pair;
	const struct in_rule rules[3] = {{&anybody, &dsts[0], &tcp, 1, 1, 1},
		{&pair, &dsts[1], NULL, 1, 1, 0}, {&anybody, &dsts[2], &udp, 1, 1, 1}};

	(void)argc, (void)argv;
	FUZZ_CHECK(base_prefix_parse(&locals[0], "10.9.0.1/32", true) == 0);
	FUZZ_CHECK(base_prefix_parse(&locals[1], "fd09::1/128", true) == 0);
	FUZZ_CHECK(base_prefix_parse(&pair, "10.9.0.2/31", true) == 0);
	filter = in_filter_new(rules, 3, locals, 2, 1);
	FUZZ_CHECK(filter);
	return 0;
}

static void compare(const struct in_packet *a, const struct in_packet *b)
{
	FUZZ_CHECK(a->src == b->src && a->dst == b->dst && a->total_len == b->total_len);
	FUZZ_CHECK(a->l4_off == b->l4_off && a->src_port == b->src_port);
	FUZZ_CHECK(a->dst_port == b->dst_port && a->version == b->version && a->proto == b->proto);
	FUZZ_CHECK(a->tcp_flags == b->tcp_flags && a->has_l4 == b->has_l4);
	FUZZ_CHECK(a->is_later_fragment == b->is_later_fragment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	struct in_flows *flows = in_flows_new(64, 0);
	struct in_flow_memo memo = {0};
	struct in_rule_memo rule_memo = {0};
	uint64_t now_ns = BASE_NS_PER_S;

	FUZZ_CHECK(flows);
	while (input.len > 2) {
		uint8_t how = fuzz_byte(&input);
		size_t len;
		uint8_t *bytes =
			fuzz_take(&input, (how & 1) ? fuzz_byte(&input) : fuzz_word(&input), &len);
		struct in_packet packet, any;
		enum in_error error = in_parse(&packet, bytes, (uint32_t)len);

		FUZZ_CHECK(error == in_parse_any(&any, bytes, (uint32_t)len));
		if (error == IN_ERROR_OK) {
			compare(&packet, &any);
			FUZZ_CHECK(packet.total_len <= len && packet.l4_off <= packet.total_len);
			if (how & 2)
				in_filter_outbound(flows, &memo, &packet, now_ns);
			else
				(void)in_filter_inbound(filter, flows, &rule_memo, &packet, now_ns);
		}
		now_ns += (uint64_t)(how >> 2) * BASE_NS_PER_S;
		free(bytes);
	}
	in_flows_free(flows);
	return 0;
}
