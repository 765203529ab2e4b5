/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet filter and its flow table; on the worker that owns the peer. See in_filter.h. The
 * numbers in comments are the steps of protocols/headscale-control.md, 6.2.
 */
#include "in_filter.h"

#include "base_bytes.h"
#include "base_huge.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

/* An address as two words in wire order; IPv4 in the first half of the first. */
struct words {
	uint64_t w[2];
};

struct match {
	struct words value, mask;
};

struct rule {
	struct match src, dst;
	uint16_t port_first, port_last;
	uint8_t proto;
};

/* What is asked of one family: rules and local prefixes of the other cost nothing. */
struct family_table {
	struct rule *rules;
	struct match *locals;
	size_t n_rules, n_locals;
};

struct in_filter {
	struct family_table v4, v6;
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

static bool is_match(const struct match *match, const struct words *words)
{
	return (((words->w[0] ^ match->value.w[0]) & match->mask.w[0]) |
		       ((words->w[1] ^ match->value.w[1]) & match->mask.w[1])) == 0;
}

/* Family NONE becomes a mask of zeroes: it matches all. */
static struct match match_from_prefix(const struct base_prefix *prefix)
{
	struct match match = {0};
	uint8_t mask[16] = {0};

	if (prefix->addr.family == BASE_FAMILY_NONE)
		return match;
	for (unsigned i = 0; i < prefix->bits; i++)
		mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
	match.value = load_words(prefix->addr.bytes, prefix->addr.family);
	match.mask = load_words(mask, prefix->addr.family);
	return match;
}

/* --- rules ------------------------------------------------------------------------------------ */

static bool is_prefix_valid(const struct base_prefix *prefix)
{
	switch (prefix->addr.family) {
	case BASE_FAMILY_NONE:
		return true;
	case BASE_FAMILY_V4:
		return prefix->bits <= 32;
	case BASE_FAMILY_V6:
		return prefix->bits <= 128;
	default:
		return false;
	}
}

static bool is_rule_valid(const struct in_rule *rule)
{
	uint8_t src = rule->src.addr.family, dst = rule->dst.addr.family;

	if (!is_prefix_valid(&rule->src) || !is_prefix_valid(&rule->dst))
		return false;
	if (src != BASE_FAMILY_NONE && dst != BASE_FAMILY_NONE && src != dst)
		return false;
	return rule->port_first <= rule->port_last;
}

/* The family that a rule speaks of, NONE: both. */
static uint8_t rule_family(const struct in_rule *rule)
{
	return rule->src.addr.family ? rule->src.addr.family : rule->dst.addr.family;
}

static void compile_rule(struct family_table *table, const struct in_rule *rule)
{
	table->rules[table->n_rules++] = (struct rule){
		.src = match_from_prefix(&rule->src),
		.dst = match_from_prefix(&rule->dst),
		.port_first = rule->port_first,
		.port_last = rule->port_last,
		.proto = rule->proto,
	};
}

static int table_init(struct family_table *table, size_t n_rules, size_t n_locals)
{
	/* One more, so that zero is no special case of calloc(). */
	table->rules = calloc(n_rules + 1, sizeof(*table->rules));
	table->locals = calloc(n_locals + 1, sizeof(*table->locals));
	return table->rules && table->locals ? 0 : -ENOMEM;
}

static int compile(struct in_filter *filter, const struct in_rule *rules, size_t n_rules,
	const struct base_prefix *locals, size_t n_locals)
{
	if (table_init(&filter->v4, n_rules, n_locals) < 0 ||
		table_init(&filter->v6, n_rules, n_locals) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < n_rules; i++) {
		if (!is_rule_valid(&rules[i]))
			return -EINVAL;
		if (rule_family(&rules[i]) != BASE_FAMILY_V6)
			compile_rule(&filter->v4, &rules[i]);
		if (rule_family(&rules[i]) != BASE_FAMILY_V4)
			compile_rule(&filter->v6, &rules[i]);
	}
	for (size_t i = 0; i < n_locals; i++) {
		struct family_table *table =
			locals[i].addr.family == BASE_FAMILY_V4 ? &filter->v4 : &filter->v6;

		if (locals[i].addr.family == BASE_FAMILY_NONE || !is_prefix_valid(&locals[i]))
			return -EINVAL;
		table->locals[table->n_locals++] = match_from_prefix(&locals[i]);
	}
	return 0;
}

struct in_filter *in_filter_new(const struct in_rule *rules, size_t n_rules,
	const struct base_prefix *locals, size_t n_locals)
{
	struct in_filter *filter = calloc(1, sizeof(*filter));
	int rc;

	if (!filter)
		return NULL;
	rc = compile(filter, rules, n_rules, locals, n_locals);
	if (rc < 0) {
		in_filter_free(filter);
		errno = -rc;
		return NULL;
	}
	return filter;
}

void in_filter_free(struct in_filter *filter)
{
	if (!filter)
		return;
	free(filter->v4.rules);
	free(filter->v4.locals);
	free(filter->v6.rules);
	free(filter->v6.locals);
	free(filter);
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

struct in_flows *in_flows_new(uint32_t max)
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
		.flow = is_v4 ? key->dst.w[0] << 32 | key->src.w[0] : sum,
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

static bool is_dst_refused(const uint8_t *dst, uint8_t version)
{
	if (version == BASE_FAMILY_V6)
		return dst[0] == 0xff || (dst[0] == 0xfe && (dst[1] & 0xc0) == 0x80);
	if (dst[0] == 169 && dst[1] == 254)
		return dst[2] != 169 || dst[3] != 254; /* clouds keep their metadata there */
	return dst[0] >> 4 == 14;
}

static bool is_local(const struct family_table *table, const struct words *dst)
{
	for (size_t i = 0; i < table->n_locals; i++)
		if (is_match(&table->locals[i], dst))
			return true;
	return false;
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

static bool is_rule_match(const struct rule *rule, const struct in_packet *packet)
{
	if (is_icmp(packet->proto))
		return true; /* (4): addresses alone */
	if (rule->proto != 0 ? rule->proto != packet->proto : !is_common(packet->proto))
		return false;
	if (packet->has_l4)
		return packet->dst_port >= rule->port_first && packet->dst_port <= rule->port_last;
	return rule->port_first == 0 && rule->port_last == 65535; /* (8) */
}

static enum in_verdict ask_rules(const struct family_table *table, const struct in_packet *packet,
	const struct words *src, const struct words *dst)
{
	for (size_t i = 0; i < table->n_rules; i++) {
		const struct rule *rule = &table->rules[i];

		if (is_match(&rule->src, src) && is_match(&rule->dst, dst) &&
			is_rule_match(rule, packet))
			return IN_VERDICT_ACCEPT;
	}
	return IN_VERDICT_NO_RULE;
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

enum in_verdict in_filter_inbound(const struct in_filter *filter, struct in_flows *flows,
	const struct in_packet *packet, uint64_t now_ns)
{
	const struct family_table *table =
		packet->version == BASE_FAMILY_V4 ? &filter->v4 : &filter->v6;
	struct words src = load_words(packet->src, packet->version);
	struct words dst = load_words(packet->dst, packet->version);
	struct flow_key key;

	/* (1, 3) */
	if (is_dst_refused(packet->dst, packet->version) || !is_local(table, &dst))
		return IN_VERDICT_DESTINATION;
	/* (2): nothing without its first fragment; one that would overwrite a header is refused. */
	if (packet->is_later_fragment)
		return packet->fragment_off < 80 ? IN_VERDICT_NO_HEADER : IN_VERDICT_ACCEPT;
	if (packet->proto == 0 || packet->proto == 255 ||
		(needs_header(packet->proto) && !packet->has_l4))
		return IN_VERDICT_NO_HEADER;
	if (is_icmp(packet->proto) && is_icmp_reply(packet->proto, packet->icmp_type))
		return IN_VERDICT_ACCEPT;
	/* (5): what is no opening belongs to a connection, or the host's TCP refuses it. */
	if (packet->proto == IN_PROTO_TCP &&
		(packet->tcp_flags & (IN_TCP_SYN | IN_TCP_ACK)) != IN_TCP_SYN)
		return IN_VERDICT_ACCEPT;
	if (packet->proto == IN_PROTO_TSMP) /* (7) */
		return IN_VERDICT_NO_RULE;
	if (ask_rules(table, packet, &src, &dst) == IN_VERDICT_ACCEPT)
		return IN_VERDICT_ACCEPT;
	if (!has_flows(packet->proto))
		return IN_VERDICT_NO_RULE;
	key = (struct flow_key){
		src, dst, packet->src_port, packet->dst_port, packet->proto, packet->version, 0};
	return is_reply(flows, &key, tick_of(now_ns)) ? IN_VERDICT_ACCEPT : IN_VERDICT_NO_RULE;
}
