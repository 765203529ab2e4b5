/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet filter on decrypted packets, before delivery: default deny; what rules accept; and
 * replies of flows that this side opened, remembered in a bounded table
 * (protocols/headscale-control.md, section 6).
 *
 * struct in_filter is an immutable value, built by control and shared by all workers under a grace
 * period. struct in_flows is mutable and belongs to one worker: the owner of a peer sees both
 * directions of its flows. No I/O; time is an argument.
 */
#ifndef IN_FILTER_H
#define IN_FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base_addr.h"
#include "base_err.h"
#include "in_parse.h"
#include "in_rules.h"

struct in_filter;

/**
 * Compile rules (borrowed until it returns).
 * @locals: where packets may go at all: this host's mesh addresses and the prefixes it offers.
 * Without this check a rule for "any" would let a peer use the host's own forwarding.
 * @n_readers: threads that ask; each counts for itself.
 * Returns NULL with errno (ENOMEM; EINVAL: a prefix that is none, an empty port range; E2BIG: in_rules_new()).
 */
struct in_filter *in_filter_new(const struct in_rule *rules, size_t n_rules,
	const struct base_prefix *locals, size_t n_locals, unsigned n_readers);
void in_filter_free(struct in_filter *filter);

/** Packets that this rule accepted; or, of number IN_RULE_NONE, that no rule and no flow did. Any thread, relaxed. */
uint64_t in_filter_hits(const struct in_filter *filter, uint32_t rule);
size_t in_filter_n_rules(const struct in_filter *filter);

struct in_flows;

/** A flow without packets either way is forgotten after this and at most five seconds (RFC 4787, REQ-5). */
#define IN_FLOW_IDLE_S 300

/**
 * A table for at least @max flows; memory is taken at once (about 50 bytes a flow). A new flow that finds no
 * room takes the place of the one that has been quiet for longest among those it shares a place with. Places follow
 * from a secret drawn here, so that nobody outside can aim at one. @reader: whose it is, below the filters' n_readers.
 * NULL with errno.
 */
struct in_flows *in_flows_new(uint32_t max, unsigned reader);
void in_flows_free(struct in_flows *flows);

/** Why a packet was refused: one list for enum and text. */
#define IN_VERDICTS(X)                                                                             \
	X(ACCEPT, "accept")                                                                        \
	X(NO_RULE, "filter_no_rule")                                                               \
	X(NO_HEADER, "filter_no_header")     /* a transport header that cannot be seen */          \
	X(DESTINATION, "filter_destination") /* not for this host; multicast; link-local */        \
	X(TSMP, "tsmp")                      /* the mesh's own: never for a host */

enum in_verdict {
#define IN_VERDICT_ENUM(name, text) IN_VERDICT_##name,
	IN_VERDICTS(IN_VERDICT_ENUM)
#undef IN_VERDICT_ENUM
		IN_VERDICT_COUNT,
};

/**
 * What the rules said of one peer's last datagram, kept by the caller beside the peer: the next one of that flow is not
 * looked for in the rules again. Zeroed: nothing.
 */
struct in_rule_memo {
	uint64_t filter; /* number of the one that was asked; each has its own, never 0 */
	uint8_t src[16], dst[16];
	uint32_t ports;
	uint32_t rule; /* or IN_RULE_NONE */
	uint8_t proto, version;
};

/** A decrypted packet towards this host: may it pass? Owner's thread; @memo is the sender's. */
enum in_verdict in_filter_inbound(const struct in_filter *filter, struct in_flows *flows,
	struct in_rule_memo *memo, const struct in_packet *packet, uint64_t now_ns);

/** (1): never, either way: multicast, and the link's own addresses but the one where clouds keep their metadata. */
static inline bool in_dst_is_refused(const uint8_t *dst, uint8_t version)
{
	if (version == BASE_FAMILY_V4)
		return dst[0] >> 4 == 14 ||
			(dst[0] == 169 && dst[1] == 254 && (dst[2] != 169 || dst[3] != 254));
	return dst[0] == 0xff || (dst[0] == 0xfe && (dst[1] & 0xc0) == 0x80);
}

/** A packet of this host on its way out that no peer may get, whoever holds its destination (1, 7). */
static inline bool in_filter_keeps_home(const struct in_packet *packet)
{
	if (packet->proto != IN_PROTO_TCP && packet->proto != IN_PROTO_UDP &&
		(packet->proto == IN_PROTO_TSMP || packet->proto == 0 || packet->proto == 255))
		return true;
	return in_dst_is_refused(packet->dst, packet->version);
}

/**
 * The last flow that was noted for one peer, kept by the caller beside what it touches for each packet anyway:
 * the next packet of that flow ends with a few comparisons and leaves the table alone. One per
 * peer and table; zeroed: none.
 */
struct in_flow_memo {
	uint64_t
		flow; /* IPv4: both addresses as in the header; IPv6: fingerprint of all that makes the flow */
	uint64_t epoch; /* of its group when it was noted */
	uint32_t ports;
	uint16_t group;
	uint8_t proto, version;
};

#define IN_FLOW_GROUPS 4096u

/**
 * The first member of struct in_flows. A flow noted in this epoch of its group is in the table, and its age is right. An
 * epoch ends for all groups with the table's tick, and for one group when a flow of it is pushed out before its time.
 * Were that the end for all, one crowded place among thousands would send every peer's next packet to the table.
 */
struct in_flows_epoch {
	uint64_t number; /* in the upper half, never 0 there; the lower one is the group's */
	uint64_t end_ns;
	bool has_evicted; /* ever; else there is no need to look into these: */
	uint32_t evictions[IN_FLOW_GROUPS];
};

/** Was this flow the last one, and in this epoch? Exact for IPv4; false for IPv6. */
static inline bool in_flow_is_noted4(const struct in_flows_epoch *epoch,
	const struct in_flow_memo *memo, const struct in_packet *packet, uint64_t now_ns)
{
	return packet->version == BASE_FAMILY_V4 && memo->version == BASE_FAMILY_V4 &&
		memo->proto == packet->proto &&
		memo->epoch == (epoch->number | epoch->evictions[memo->group]) &&
		now_ns < epoch->end_ns &&
		memo->ports == ((uint32_t)packet->src_port << 16 | packet->dst_port) &&
		memo->flow ==
		((uint64_t)base_load_le32(packet->dst) << 32 | base_load_le32(packet->src));
}

/** What a burst has to know of the flows to ask for the memos of its packets. */
struct in_flows_now {
	uint64_t number;           /* of the epoch; 0: it is over, no memo holds */
	const uint32_t *evictions; /* NULL: there were none */
};

static inline struct in_flows_now in_flows_now(const struct in_flows *flows, uint64_t now_ns)
{
	const struct in_flows_epoch *epoch = (const struct in_flows_epoch *)flows;

	return (struct in_flows_now){
		.number = now_ns < epoch->end_ns ? epoch->number : 0,
		.evictions = epoch->has_evicted ? epoch->evictions : NULL,
	};
}

/** in_flow_is_noted4() of a packet of UDP that in_plain4_len() knows, at its header. */
static inline bool in_flow_is_noted_udp4(
	const struct in_flows_now *flows, const struct in_flow_memo *memo, const uint8_t *ip)
{
	uint64_t number = flows->number;

	if (__builtin_expect(flows->evictions != NULL, 0))
		number |= flows->evictions[memo->group];
	return memo->epoch == number && memo->flow == base_load_le64(ip + 12) &&
		memo->ports == base_load_be32(ip + 20) && memo->proto == IN_PROTO_UDP &&
		memo->version == BASE_FAMILY_V4;
}

/** Remember what the replies of an outbound packet will look like. */
void in_flows_note(struct in_flows *flows, struct in_flow_memo *memo,
	const struct in_packet *packet, uint64_t now_ns);

/**
 * A packet of this host on its way out: must it be noted, so that its replies are known? Only UDP and SCTP need it, and
 * the flow that was noted last does not. A burst asks for all of its packets, fetches ahead, and
 * then calls in_flows_note() for those.
 */
static inline bool in_flow_is_new(const struct in_flows *flows, const struct in_flow_memo *memo,
	const struct in_packet *packet, uint64_t now_ns)
{
	if ((packet->proto != IN_PROTO_UDP && packet->proto != IN_PROTO_SCTP) || !packet->has_l4)
		return false;
	return !in_flow_is_noted4((const struct in_flows_epoch *)flows, memo, packet, now_ns);
}

/** Both at once. Owner's thread. */
static inline void in_filter_outbound(struct in_flows *flows, struct in_flow_memo *memo,
	const struct in_packet *packet, uint64_t now_ns)
{
	if (in_flow_is_new(flows, memo, packet, now_ns))
		in_flows_note(flows, memo, packet, now_ns);
}

/**
 * The last inbound flow of one peer that passed in_filter_inbound() by a rule or as a part of a TCP connection: the
 * next packet of that flow is asked nothing and counted where this one was, as long as nothing that was asked has
 * changed. Only for packets that in_plain4_len() knows, at their header. Zeroed: none.
 */
struct in_pass_memo {
	uint64_t filter;        /* its number */
	uint64_t addrs;         /* as in the header */
	_Atomic uint64_t *hits; /* of the rule; NULL: nothing is counted */
	uint32_t ports;
	uint32_t epoch;
	uint8_t proto;
};

/** What a burst asks, read before anything is asked of it; @epoch: the caller's, of what else it asks. */
struct in_pass {
	const struct in_filter *filter;
	uint64_t number;
	uint32_t epoch;
};

struct in_pass in_pass_now(const struct in_filter *filter, uint32_t epoch);

/* A TCP packet that opens a connection is judged apart from all others of its flow. */
static inline bool in_pass_is_opening(const uint8_t *ip)
{
	return ip[9] == IN_PROTO_TCP && (ip[33] & (IN_TCP_SYN | IN_TCP_ACK)) == IN_TCP_SYN;
}

/** Does this packet pass like the last one? Owner's thread. */
static inline bool in_pass_is_known4(
	const struct in_pass_memo *memo, const struct in_pass *pass, const uint8_t *ip)
{
	if (memo->filter != pass->number || memo->epoch != pass->epoch ||
		memo->addrs != base_load_le64(ip + 12) || memo->ports != base_load_be32(ip + 20) ||
		memo->proto != ip[9] || in_pass_is_opening(ip))
		return false;
	/* Relaxed: one writer, and nothing hangs on it. */
	if (memo->hits)
		atomic_store_explicit(memo->hits,
			atomic_load_explicit(memo->hits, memory_order_relaxed) + 1,
			memory_order_relaxed);
	return true;
}

/**
 * This packet was accepted just now, @rule being its peer's memo then. Not every one is remembered: a reply has to be
 * seen by its flow.
 */
void in_pass_note4(struct in_pass_memo *memo, const struct in_pass *pass,
	const struct in_rule_memo *rule, const struct in_flows *flows, const uint8_t *ip);

/** Bring the place of a flow that will be noted into the cache. */
void in_flows_prefetch(const struct in_flows *flows, const struct in_packet *packet);

const char *in_verdict_name(enum in_verdict verdict);

/** Flows remembered (aged ones stay until their room is needed), flows pushed out. Any thread, relaxed. */
void in_flows_usage(const struct in_flows *flows, uint32_t *ret_live, uint64_t *ret_evicted);

#endif
