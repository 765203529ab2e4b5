/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet filter and its flow table; on the worker that owns the peer. See in_filter.h. The
 * numbers in comments are the steps of protocols/headscale-control.md, 6.2.
 */
#include "in_filter.h"

#include "base_bytes.h"
#include "base_huge.h"
#include "in_axis.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

/* An address as two words in wire order; IPv4 in the first half of the first. */
struct words {
	uint64_t w[2];
};

struct in_filter {
	uint64_t number; /* no other filter of this process has it */
	struct in_rules *rules;
	struct in_sets local_sets;
	struct in_axis local4, local6;
	uint32_t n_rules;
	unsigned n_readers;
	size_t n_counters;      /* of each reader: rules, and one for misses; whole cache lines */
	_Atomic uint64_t *hits; /* each written by its reader alone */
};

const char *in_verdict_name(enum in_verdict verdict)
{
	static const char *const names[] = {
#define IN_VERDICT_NAME(name, text) [IN_VERDICT_##name] = text,
		IN_VERDICTS(IN_VERDICT_NAME)
#undef IN_VERDICT_NAME
	};

	return verdict < IN_VERDICT_COUNT ? names[verdict] : "unknown";
}

static struct words load_words(const uint8_t *bytes, uint8_t version)
{
	struct words words = {0};

	if (version == BASE_FAMILY_V4)
		words.w[0] = base_load_le32(bytes);
	else
		memcpy(words.w, bytes, sizeof(words.w));
	return words;
}

/* --- life of a filter ------------------------------------------------------------------------ */

#define CACHE_LINE 64u

static int count_init(struct in_filter *filter, size_t n_rules, unsigned n_readers)
{
	size_t line = CACHE_LINE / sizeof(*filter->hits), bytes;

	filter->n_rules = (uint32_t)n_rules;
	filter->n_readers = n_readers;
	filter->n_counters = (n_rules + line) / line * line;
	bytes = n_readers * filter->n_counters * sizeof(*filter->hits);
	filter->hits = aligned_alloc(CACHE_LINE, bytes);
	if (!filter->hits)
		return -ENOMEM;
	memset((void *)filter->hits, 0, bytes);
	return 0;
}

static int local_axis(struct in_filter *filter, struct in_axis *axis, uint8_t version,
	const struct base_prefix *locals, size_t n_locals)
{
	struct in_range *ranges = calloc(n_locals + 1, sizeof(*ranges));
	uint64_t bits = 0;
	size_t n = 0;
	int rc;

	if (!ranges)
		return -ENOMEM;
	for (size_t i = 0; i < n_locals; i++) {
		if (locals[i].addr.family == version)
			ranges[n++] = in_range_of(&locals[i], version, 0);
	}
	rc = in_axis_init(axis, &filter->local_sets, in_point_max(version), ranges, n, &bits, 1);
	free(ranges);
	return rc;
}

static int locals_init(struct in_filter *filter, const struct base_prefix *locals, size_t n_locals)
{
	int rc = in_sets_init(&filter->local_sets);

	for (size_t i = 0; i < n_locals; i++) {
		if (locals[i].addr.family == BASE_FAMILY_NONE || !in_prefix_is_valid(&locals[i]))
			return -EINVAL;
	}
	if (rc == 0)
		rc = local_axis(filter, &filter->local4, BASE_FAMILY_V4, locals, n_locals);
	if (rc == 0)
		rc = local_axis(filter, &filter->local6, BASE_FAMILY_V6, locals, n_locals);
	return rc;
}

struct in_filter *in_filter_new(const struct in_rule *rules, size_t n_rules,
	const struct base_prefix *locals, size_t n_locals, unsigned n_readers)
{
	/* Any thread may build one; relaxed, for only its being unique counts. */
	static _Atomic uint64_t last_number;
	struct in_filter *filter = calloc(1, sizeof(*filter));
	int rc;

	if (!filter)
		return NULL;
	filter->number = atomic_fetch_add_explicit(&last_number, 1, memory_order_relaxed) + 1;
	rc = count_init(filter, n_rules, n_readers);
	if (rc == 0)
		rc = locals_init(filter, locals, n_locals);
	if (rc == 0) {
		filter->rules = in_rules_new(rules, n_rules);
		rc = filter->rules ? 0 : -errno;
	}
	if (rc == 0)
		return filter;
	in_filter_free(filter);
	errno = -rc;
	return NULL;
}

void in_filter_free(struct in_filter *filter)
{
	if (!filter)
		return;
	in_rules_free(filter->rules);
	in_axis_fini(&filter->local4);
	in_axis_fini(&filter->local6);
	in_sets_fini(&filter->local_sets);
	free((void *)filter->hits);
	free(filter);
}

size_t in_filter_n_rules(const struct in_filter *filter)
{
	return filter->n_rules;
}

uint64_t in_filter_hits(const struct in_filter *filter, uint32_t rule)
{
	size_t at = rule == IN_RULE_NONE ? filter->n_rules : rule;
	uint64_t sum = 0;

	for (unsigned i = 0; i < filter->n_readers; i++)
		sum += atomic_load_explicit(
			&filter->hits[i * filter->n_counters + at], memory_order_relaxed);
	return sum;
}

/* --- flows ------------------------------------------------------------------------------------ */

/*
 * A set-associative table. A flow has one bucket, chosen by a hash under a secret key; a bucket
 * keeps the marks and ages of its flows in one cache line, so that a miss costs one line.
 */
#define BUCKET_FLOWS 8u
/*
 * Ages count in units of 2^32 ns, some four seconds: a shift instead of a division, and a memo holds for as long as
 * a tick, so that peers with a few packets a second do not go to the table with each.
 */
#define TICK_SHIFT 32
#define IDLE_TICKS ((uint32_t)(IN_FLOW_IDLE_S * UINT64_C(1000000000) >> TICK_SHIFT) + 1)
#define EPOCH_NUMBER_ONE (UINT64_C(1) << 32)

/* A packet as it looks when it comes in; the same bytes for the same flow, no holes. */
struct flow_key {
	struct words src, dst;
	uint16_t src_port, dst_port;
	uint8_t proto, version;
	uint16_t zero;
};

_Static_assert(sizeof(struct flow_key) == 40, "no holes, ten words");
#define KEY_WORDS (sizeof(struct flow_key) / sizeof(uint32_t))

struct bucket {
	uint32_t marks[BUCKET_FLOWS]; /* hash of the key */
	uint32_t ticks[BUCKET_FLOWS]; /* last packet; 0: free */
	struct flow_key keys[BUCKET_FLOWS];
} __attribute__((aligned(64)));

struct in_flows {
	struct in_flows_epoch epoch; /* first, see there */
	uint32_t bucket_mask;
	unsigned reader;
	uint64_t secret[KEY_WORDS + 1];
	/* Written by the owner, read by whoever counts: relaxed, nothing hangs on them. */
	_Atomic uint32_t live;
	_Atomic uint64_t evicted;
	struct bucket *buckets;
};

/*
 * Multilinear hashing (Lemire and Kaser, "Strongly universal string hashing is fast", 2014): two
 * keys that differ collide with probability 2^-32 over the choice of the secret, whatever they
 * are. Words that are zero add nothing: an IPv4 key has four that are not.
 *
 * The hash is the upper half of this sum. The whole is the fingerprint in a memo of IPv6: for two keys to share
 * it, the secret itself must be such that a multiple of one of its words is zero.
 */
static inline uint64_t sum_key(const struct in_flows *flows, const struct flow_key *key)
{
	const uint64_t *secret = flows->secret;
	uint64_t sum = secret[KEY_WORDS];

	sum += secret[0] * (uint32_t)key->src.w[0];
	sum += secret[4] * (uint32_t)key->dst.w[0];
	sum += secret[8] * ((uint32_t)key->src_port << 16 | key->dst_port);
	sum += secret[9] * ((uint32_t)key->proto << 8 | key->version);
	if (key->version == BASE_FAMILY_V6) {
		sum += secret[1] * (key->src.w[0] >> 32);
		sum += secret[2] * (uint32_t)key->src.w[1];
		sum += secret[3] * (key->src.w[1] >> 32);
		sum += secret[5] * (key->dst.w[0] >> 32);
		sum += secret[6] * (uint32_t)key->dst.w[1];
		sum += secret[7] * (key->dst.w[1] >> 32);
	}
	return sum;
}

static uint32_t hash_key(const struct in_flows *flows, const struct flow_key *key)
{
	return (uint32_t)(sum_key(flows, key) >> 32);
}

/* All bits of the hash are the mark, the low ones also choose the bucket. */
static struct bucket *find_bucket(
	const struct in_flows *flows, const struct flow_key *key, uint32_t *ret_mark)
{
	*ret_mark = hash_key(flows, key);
	return &flows->buckets[*ret_mark & flows->bucket_mask];
}

struct in_flows *in_flows_new(uint32_t max, unsigned reader)
{
	struct in_flows *flows;
	uint32_t n_buckets = 1;

	if (max > UINT32_C(1) << 24) {
		errno = EINVAL;
		return NULL;
	}
	while (n_buckets * BUCKET_FLOWS < max)
		n_buckets *= 2;
	flows = calloc(1, sizeof(*flows));
	if (!flows)
		return NULL;
	flows->bucket_mask = n_buckets - 1;
	flows->reader = reader;
	flows->epoch.number = EPOCH_NUMBER_ONE;
	flows->buckets = base_huge_new(n_buckets * sizeof(struct bucket));
	if (!flows->buckets) {
		in_flows_free(flows);
		errno = ENOMEM;
		return NULL;
	}
	if (getrandom(flows->secret, sizeof(flows->secret), 0) != sizeof(flows->secret)) {
		in_flows_free(flows);
		errno = EIO;
		return NULL;
	}
	return flows;
}

void in_flows_free(struct in_flows *flows)
{
	if (!flows)
		return;
	base_huge_free(flows->buckets, ((size_t)flows->bucket_mask + 1) * sizeof(struct bucket));
	free(flows);
}

void in_flows_usage(const struct in_flows *flows, uint32_t *ret_live, uint64_t *ret_evicted)
{
	*ret_live = atomic_load_explicit(&flows->live, memory_order_relaxed);
	*ret_evicted = atomic_load_explicit(&flows->evicted, memory_order_relaxed);
}

static uint32_t tick_of(uint64_t now_ns)
{
	return (uint32_t)(now_ns >> TICK_SHIFT) + 1;
}

/* Of a place that is taken. */
static bool is_alive(const struct bucket *bucket, unsigned i, uint32_t tick)
{
	return tick - bucket->ticks[i] <= IDLE_TICKS;
}

static bool is_key_equal(const struct flow_key *a, const struct flow_key *b)
{
	uint64_t x[5], y[5], diff = 0;

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	for (unsigned i = 0; i < 5; i++)
		diff |= x[i] ^ y[i];
	return diff == 0;
}

/* Places with this mark, a bit each; without branches, which would be mispredicted half of the time. */
static uint32_t find_marks(const struct bucket *bucket, uint32_t mark)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < BUCKET_FLOWS; i++)
		bits |= (uint32_t)(bucket->marks[i] == mark) << i;
	return bits;
}

/* The place of a flow, aged or not, or -1. */
static int find_flow(const struct bucket *bucket, const struct flow_key *key, uint32_t mark)
{
	for (uint32_t bits = find_marks(bucket, mark); bits != 0; bits &= bits - 1) {
		int i = __builtin_ctz(bits);

		if (is_key_equal(&bucket->keys[i], key) && bucket->ticks[i] != 0)
			return i;
	}
	return -1;
}

/* A free place, else an aged one, else the one that has been quiet for longest. */
static unsigned find_place(const struct bucket *bucket, uint32_t tick)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < BUCKET_FLOWS; i++) {
		if (bucket->ticks[i] == 0)
			return i;
		if (tick - bucket->ticks[i] > tick - bucket->ticks[oldest])
			oldest = i;
	}
	return oldest;
}

static void add_one32(_Atomic uint32_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

static void add_one64(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

static uint16_t group_of(const struct in_flows *flows, uint32_t mark)
{
	return (uint16_t)(mark & flows->bucket_mask & (IN_FLOW_GROUPS - 1));
}

/* Bring the flow in, or up to date. */
static void remember(struct in_flows *flows, const struct flow_key *key, uint32_t tick)
{
	uint32_t mark;
	struct bucket *bucket = find_bucket(flows, key, &mark);
	int known = find_flow(bucket, key, mark);
	unsigned place;

	if (known >= 0) {
		bucket->ticks[known] = tick;
		return;
	}
	place = find_place(bucket, tick);
	if (bucket->ticks[place] == 0) {
		add_one32(&flows->live);
	} else if (is_alive(bucket, place, tick)) {
		add_one64(&flows->evicted);
		/* Its memo is void, wherever that is. No 2^32 of them fit into one epoch's time. */
		flows->epoch.has_evicted = true;
		flows->epoch.evictions[group_of(flows, mark)]++;
	}
	bucket->marks[place] = mark;
	bucket->ticks[place] = tick;
	bucket->keys[place] = *key;
}

static uint64_t epoch_of(const struct in_flows *flows, uint16_t group)
{
	return flows->epoch.number | flows->epoch.evictions[group];
}

static struct in_flow_memo memo_of(const struct in_flows *flows, const struct flow_key *key)
{
	bool is_v4 = key->version == BASE_FAMILY_V4;
	uint64_t sum = sum_key(flows, key);
	uint16_t group = group_of(flows, (uint32_t)(sum >> 32));

	/* A key is what comes back: its source is where the packet goes. */
	return (struct in_flow_memo){
		.flow = is_v4 ? key->src.w[0] << 32 | key->dst.w[0] : sum,
		.epoch = epoch_of(flows, group),
		.ports = (uint32_t)key->dst_port << 16 | key->src_port,
		.group = group,
		.proto = key->proto,
		.version = key->version,
	};
}

static bool is_memo_equal(const struct in_flow_memo *a, const struct in_flow_memo *b)
{
	return a->flow == b->flow && a->epoch == b->epoch && a->ports == b->ports &&
		a->proto == b->proto && a->version == b->version;
}

void in_flows_prefetch(const struct in_flows *flows, const struct in_packet *packet)
{
	struct flow_key key = {load_words(packet->dst, packet->version),
		load_words(packet->src, packet->version), packet->dst_port, packet->src_port,
		packet->proto, packet->version, 0};
	uint32_t mark;

	__builtin_prefetch(find_bucket(flows, &key, &mark));
}

void in_flows_note(struct in_flows *flows, struct in_flow_memo *memo,
	const struct in_packet *packet, uint64_t now_ns)
{
	struct flow_key key = {load_words(packet->dst, packet->version),
		load_words(packet->src, packet->version), packet->dst_port, packet->src_port,
		packet->proto, packet->version, 0};
	uint32_t tick = tick_of(now_ns);
	struct in_flow_memo fresh;

	if (now_ns >= flows->epoch.end_ns) {
		flows->epoch.end_ns = (uint64_t)tick << TICK_SHIFT;
		flows->epoch.number += EPOCH_NUMBER_ONE;
	}
	fresh = memo_of(flows, &key);
	if (is_memo_equal(memo, &fresh))
		return;
	remember(flows, &key, tick);
	/* Remembering it may have ended the epoch. */
	fresh.epoch = epoch_of(flows, fresh.group);
	*memo = fresh;
}

/* Packets of either side keep a flow young. */
static bool is_reply(struct in_flows *flows, const struct flow_key *key, uint32_t tick)
{
	uint32_t mark;
	struct bucket *bucket = find_bucket(flows, key, &mark);
	int known = find_flow(bucket, key, mark);

	if (known < 0 || !is_alive(bucket, (unsigned)known, tick))
		return false;
	bucket->ticks[known] = tick;
	return true;
}

/* --- verdicts --------------------------------------------------------------------------------- */

static bool is_local(const struct in_filter *filter, const struct in_packet *packet)
{
	/* Set 0 is the empty one: nobody's. */
	if (packet->version == BASE_FAMILY_V4)
		return in_axis_find32(&filter->local4, base_load_be32(packet->dst)) != 0;
	return in_axis_find128(&filter->local6, in_point_of(packet->dst, BASE_FAMILY_V6)) != 0;
}

/* (4) */
static bool is_icmp_reply(uint8_t proto, uint8_t type)
{
	if (proto == IN_PROTO_ICMP4)
		return type == 0 || type == 3 || type == 11 || type == 12;
	return type == 129 || (type >= 1 && type <= 4);
}

static bool is_icmp(uint8_t proto)
{
	return proto == IN_PROTO_ICMP4 || proto == IN_PROTO_ICMP6;
}

/* Protocols that a rule without one means. */
static bool is_common(uint8_t proto)
{
	return proto == IN_PROTO_TCP || proto == IN_PROTO_UDP || is_icmp(proto);
}

static bool has_flows(uint8_t proto)
{
	return proto == IN_PROTO_UDP || proto == IN_PROTO_SCTP;
}

/* Protocols whose header must be seen before they are judged. */
static bool needs_header(uint8_t proto)
{
	return is_common(proto) || proto == IN_PROTO_SCTP;
}

/* This reader's, of a rule, or, for IN_RULE_NONE, of none. */
static _Atomic uint64_t *counter_of(
	const struct in_filter *filter, const struct in_flows *flows, uint32_t rule)
{
	size_t at = rule == IN_RULE_NONE ? filter->n_rules : rule;

	return &filter->hits[flows->reader * filter->n_counters + at];
}

static void count(const struct in_filter *filter, const struct in_flows *flows, uint32_t rule)
{
	add_one64(counter_of(filter, flows, rule));
}

static bool is_memo_of(const struct in_rule_memo *memo, const struct in_filter *filter,
	const struct in_packet *packet)
{
	uint32_t ports = (uint32_t)packet->src_port << 16 | packet->dst_port;

	if (memo->filter != filter->number || memo->ports != ports ||
		memo->proto != packet->proto || memo->version != packet->version)
		return false;
	if (packet->version == BASE_FAMILY_V4)
		return memcmp(memo->src, packet->src, 4) == 0 &&
			memcmp(memo->dst, packet->dst, 4) == 0;
	return memcmp(memo->src, packet->src, 16) == 0 && memcmp(memo->dst, packet->dst, 16) == 0;
}

static void memo_set(struct in_rule_memo *memo, const struct in_filter *filter,
	const struct in_packet *packet, uint32_t rule)
{
	size_t len = base_family_bytes((enum base_family)packet->version);

	*memo = (struct in_rule_memo){
		.filter = filter->number,
		.ports = (uint32_t)packet->src_port << 16 | packet->dst_port,
		.rule = rule,
		.proto = packet->proto,
		.version = packet->version,
	};
	memcpy(memo->src, packet->src, len);
	memcpy(memo->dst, packet->dst, len);
}

/* (6): a datagram with ports, which may answer a flow of ours. */
static enum in_verdict judge_datagram(const struct in_filter *filter, struct in_flows *flows,
	uint32_t rule, const struct in_packet *packet, uint64_t now_ns)
{
	struct flow_key key;

	if (rule == IN_RULE_NONE) {
		key = (struct flow_key){load_words(packet->src, packet->version),
			load_words(packet->dst, packet->version), packet->src_port,
			packet->dst_port, packet->proto, packet->version, 0};
		if (is_reply(flows, &key, tick_of(now_ns)))
			return IN_VERDICT_ACCEPT;
	}
	count(filter, flows, rule);
	return rule == IN_RULE_NONE ? IN_VERDICT_NO_RULE : IN_VERDICT_ACCEPT;
}

/* (2): nothing without its first fragment; one that would overwrite a header is refused. */
static bool is_rest_of_fragmented(const struct in_packet *packet)
{
	return packet->is_later_fragment && !packet->has_extension;
}

/* (1, 2, 3): what the header alone tells. ACCEPT: so far. */
static enum in_verdict check_header(
	const struct in_filter *filter, const struct in_packet *packet, uint8_t proto)
{
	if (in_dst_is_refused(packet->dst, packet->version) || !is_local(filter, packet))
		return IN_VERDICT_DESTINATION;
	if (proto == IN_PROTO_TSMP) /* (7) */
		return IN_VERDICT_TSMP;
	if (is_rest_of_fragmented(packet))
		return packet->fragment_off < 80 ? IN_VERDICT_NO_HEADER : IN_VERDICT_ACCEPT;
	if (proto == 0 || proto == 255 || (needs_header(proto) && !packet->has_l4))
		return IN_VERDICT_NO_HEADER;
	return IN_VERDICT_ACCEPT;
}

enum in_verdict in_filter_inbound(const struct in_filter *filter, struct in_flows *flows,
	struct in_rule_memo *memo, const struct in_packet *packet, uint64_t now_ns)
{
	/* (1): of IPv6 headers in front of the transport's only a fragment's is known. */
	uint8_t proto = packet->has_extension ? packet->extension : packet->proto;
	enum in_verdict verdict;
	uint32_t rule;

	/* What was asked before; only datagrams with ports that passed the checks below are remembered. */
	if (packet->has_l4 && !packet->has_extension && is_memo_of(memo, filter, packet))
		return judge_datagram(filter, flows, memo->rule, packet, now_ns);
	verdict = check_header(filter, packet, proto);
	if (verdict != IN_VERDICT_ACCEPT)
		return verdict;
	if (is_rest_of_fragmented(packet))
		return IN_VERDICT_ACCEPT;
	if (is_icmp(proto) && is_icmp_reply(proto, packet->icmp_type))
		return IN_VERDICT_ACCEPT;
	/* (5): what is no opening belongs to a connection, or the host's TCP refuses it. */
	if (proto == IN_PROTO_TCP && (packet->tcp_flags & (IN_TCP_SYN | IN_TCP_ACK)) != IN_TCP_SYN)
		return IN_VERDICT_ACCEPT;
	rule = in_rules_match(filter->rules, packet, proto);
	if (has_flows(proto)) {
		memo_set(memo, filter, packet, rule);
		return judge_datagram(filter, flows, rule, packet, now_ns);
	}
	count(filter, flows, rule);
	return rule == IN_RULE_NONE ? IN_VERDICT_NO_RULE : IN_VERDICT_ACCEPT;
}

struct in_pass in_pass_now(const struct in_filter *filter, uint32_t epoch)
{
	return (struct in_pass){.filter = filter, .number = filter->number, .epoch = epoch};
}

void in_pass_note4(struct in_pass_memo *memo, const struct in_pass *pass,
	const struct in_rule_memo *rule, const struct in_flows *flows, const uint8_t *ip)
{
	_Atomic uint64_t *hits = NULL;

	if (ip[9] == IN_PROTO_UDP) {
		/* The rule of this packet: in_filter_inbound() remembers each datagram's. */
		if (rule->rule == IN_RULE_NONE)
			return;
		hits = counter_of(pass->filter, flows, rule->rule);
	} else if (in_pass_is_opening(ip)) {
		return;
	}
	*memo = (struct in_pass_memo){
		.filter = pass->number,
		.addrs = base_load_le64(ip + 12),
		.hits = hits,
		.ports = base_load_be32(ip + 20),
		.epoch = pass->epoch,
		.proto = ip[9],
	};
}
