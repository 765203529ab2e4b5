/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of the packet filter (protocols/headscale-control.md, 6.1), compiled: which is the first that accepts this
 * packet? A thousand rules, or ten thousand sources in one, cost no more to ask than a few binary searches and an
 * intersection of bit sets; nothing an outsider sends makes it dearer.
 *
 * A rule is split into entries, one for each of its port ranges. An entry is a bit. Three axes (in_axis.h) tell the
 * entries that hold for the source, for the destination, and for protocol and port; the first bit that all three
 * have is the answer. Each family has its own.
 *
 * Immutable: built by control, shared by all workers. Next to read: in_filter.h, which asks.
 */
#ifndef IN_RULES_H
#define IN_RULES_H

#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "in_parse.h"

/** Destinations and ports; without ports in the protocol only 0-65535 matches. */
struct in_rule_dst {
	struct base_prefix prefix; /* family NONE: any, of both */
	uint16_t port_first, port_last;
};

/**
 * Accept packets from one of @srcs to one of @dsts by one of @protos. An empty list of sources or destinations matches
 * nothing: what was left out for being unreadable must not open anything.
 */
struct in_rule {
	const struct base_prefix *srcs; /* family NONE: any, of both */
	const struct in_rule_dst *dsts;
	const uint8_t *protos; /* none: TCP, UDP, ICMP of both families */
	size_t n_srcs, n_dsts, n_protos;
};

struct in_rules;

/** Entries of one family. */
#define IN_RULES_ENTRIES_MAX 65536u

/**
 * Compile; @rules are borrowed until it returns. NULL with errno: ENOMEM; EINVAL, a prefix that is none, ports in the wrong
 * order; E2BIG, more than IN_RULES_ENTRIES_MAX or IN_SETS_WORDS_MAX.
 */
struct in_rules *in_rules_new(const struct in_rule *rules, size_t n_rules);
void in_rules_free(struct in_rules *rules);

#define IN_RULE_NONE UINT32_MAX
/**
 * The number of the first rule that accepts @packet taken as one of @proto, or IN_RULE_NONE (steps 4 to 8 of 6.2). ICMP is
 * a matter of addresses alone.
 */
uint32_t in_rules_match(
	const struct in_rules *rules, const struct in_packet *packet, uint8_t proto);

#endif
