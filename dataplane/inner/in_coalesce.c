/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets of a burst into runs. A packet is told by its bytes: is it of a flow, may it be part of a
 * run, does it follow the run of its flow. No state, any thread. See in_coalesce.h for the rules.
 */
#include "in_coalesce.h"

#include "base_bytes.h"
#include "in_parse.h"

#include <string.h>

#define IP4_BYTES 20
#define IP6_BYTES 40
#define TCP_BYTES 20
#define UDP_BYTES 8

/* A packet as far as it was understood. */
struct subject {
	uint8_t *data;
	uint32_t len;
	uint32_t headers_len;
	uint32_t flow_hash;
	uint8_t l4_off;
	uint8_t proto;
	bool has_flow; /* addresses and ports are known */
	bool may_join; /* nothing in it forbids a run */
};

/* Addresses and ports lie in a row: from here to four bytes into the transport header. */
static uint32_t flow_off(uint8_t l4_off)
{
	return l4_off == IP4_BYTES ? 12 : 8;
}

static uint32_t flow_hash(const struct subject *subject)
{
	uint32_t hash = subject->proto;

	for (uint32_t i = flow_off(subject->l4_off); i < subject->l4_off + 4u; i += 4)
		hash = (hash ^ base_load_le32(subject->data + i)) * 0x9e3779b1u;
	return hash;
}

static bool is_ip4_plain(const struct subject *subject)
{
	const uint8_t *ip = subject->data;

	return ip[0] == 0x45 && base_load_be16(ip + 2) == subject->len &&
		(base_load_be16(ip + 6) & 0x3fff) == 0 &&
		in_csum_finish(in_csum_add(0, ip, IP4_BYTES)) == 0;
}

static bool is_ip6_plain(const struct subject *subject)
{
	return subject->data[0] >> 4 == 6 &&
		subject->len - IP6_BYTES == base_load_be16(subject->data + 4);
}

static void read_tcp(struct subject *subject)
{
	const uint8_t *tcp = subject->data + subject->l4_off;
	uint32_t header_len;

	if (subject->len < subject->l4_off + (uint32_t)TCP_BYTES)
		return;
	header_len = (tcp[12] >> 4) * 4u;
	subject->headers_len = subject->l4_off + header_len;
	subject->has_flow = true;
	subject->may_join = header_len >= TCP_BYTES && subject->headers_len < subject->len &&
		(tcp[13] & ~(IN_TCP_PSH | IN_TCP_ECE)) == IN_TCP_ACK;
}

static void read_udp(struct subject *subject, bool has_udp)
{
	const uint8_t *udp = subject->data + subject->l4_off;

	subject->headers_len = subject->l4_off + (uint32_t)UDP_BYTES;
	if (subject->len < subject->headers_len)
		return;
	subject->has_flow = true;
	subject->may_join = has_udp && subject->headers_len < subject->len &&
		base_load_be16(udp + 4) == subject->len - subject->l4_off &&
		base_load_be16(udp + IN_UDP_CSUM_OFF) != 0;
}

static struct subject look_at(const struct in_bytes *packet, bool has_udp)
{
	struct subject subject = {.data = packet->data, .len = packet->len};

	if (subject.len > IN_LARGE_BYTES)
		return subject;
	if (subject.len >= IP4_BYTES && is_ip4_plain(&subject)) {
		subject.l4_off = IP4_BYTES;
		subject.proto = subject.data[9];
	} else if (subject.len >= IP6_BYTES && is_ip6_plain(&subject)) {
		subject.l4_off = IP6_BYTES;
		subject.proto = subject.data[6];
	}
	if (subject.proto == IN_PROTO_TCP)
		read_tcp(&subject);
	else if (subject.proto == IN_PROTO_UDP)
		read_udp(&subject, has_udp);
	if (subject.has_flow)
		subject.flow_hash = flow_hash(&subject);
	return subject;
}

static bool is_csum_right(const struct subject *subject)
{
	uint32_t l4_len = subject->len - subject->l4_off;
	uint64_t sum = in_csum_pseudo(subject->data, subject->proto, l4_len);

	return in_csum_finish(in_csum_add(sum, subject->data + subject->l4_off, l4_len)) == 0;
}

/* The newest run of this flow; older ones take nothing more. */
static struct in_run *find_run(
	struct in_coalesce *c, const struct in_bytes *pkts, const struct subject *subject)
{
	uint32_t off = flow_off(subject->l4_off);

	for (unsigned i = c->n_runs; i-- > c->first_open;) {
		struct in_run *run = &c->runs[i];
		const uint8_t *first = pkts[run->first].data;

		if (run->flow_hash != subject->flow_hash || run->l4_off != subject->l4_off)
			continue;
		if (memcmp(first + off, subject->data + off, subject->l4_off + 4u - off) == 0 &&
			first[off == 12 ? 9 : 6] == subject->proto)
			return run;
	}
	return NULL;
}

/* Everything of the IP header that both must share, addresses aside. */
static bool is_ip_equal(
	const struct in_run *run, const uint8_t *first, const struct subject *subject)
{
	const uint8_t *ip = subject->data;
	bool is_unfragmentable = (ip[6] & 0x40) != 0;

	if (subject->l4_off == IP6_BYTES) /* class, flow label, hop limit */
		return memcmp(first, ip, 4) == 0 && first[7] == ip[7];
	return first[1] == ip[1] && first[6] == ip[6] && first[8] == ip[8] &&
		(is_unfragmentable || base_load_be16(ip + 4) == run->next_id);
}

static bool is_tcp_next(
	const struct in_run *run, const uint8_t *first, const struct subject *subject)
{
	const uint8_t *tcp = subject->data + subject->l4_off, *other = first + subject->l4_off;
	uint32_t header_len = subject->headers_len - subject->l4_off;

	/* Acknowledgement, header length with reserved bits; flags but for PSH; window; the rest. */
	return base_load_be32(tcp + 4) == run->next_seq && memcmp(tcp + 8, other + 8, 5) == 0 &&
		((tcp[13] ^ other[13]) & ~IN_TCP_PSH) == 0 &&
		memcmp(tcp + 14, other + 14, 2) == 0 &&
		memcmp(tcp + 18, other + 18, header_len - 18) == 0;
}

static bool is_next(const struct in_run *run, const uint8_t *first, const struct subject *subject)
{
	uint32_t payload_len = subject->len - subject->headers_len;

	if (subject->headers_len != run->headers_len || payload_len > run->segment_payload_len ||
		payload_len > IN_LARGE_BYTES - run->len)
		return false;
	return is_ip_equal(run, first, subject) &&
		(subject->proto == IN_PROTO_UDP || is_tcp_next(run, first, subject));
}

static bool is_tcp_pushed(const struct subject *subject)
{
	return subject->proto == IN_PROTO_TCP && (subject->data[subject->l4_off + 13] & IN_TCP_PSH);
}

static void start_run(struct in_coalesce *c, const struct subject *subject, uint8_t number)
{
	struct in_run *run = &c->runs[c->n_runs++];

	*run = (struct in_run){.n_pkts = 1, .first = number, .last = number};
	/* What has no flow could be part of any: nothing later overtakes it, nor it what was before. */
	if (!subject->has_flow) {
		c->first_open = c->n_runs;
		return;
	}
	run->flow_hash = subject->flow_hash;
	run->l4_off = subject->l4_off;
	if (!subject->may_join)
		return;
	run->is_open = !is_tcp_pushed(subject);
	run->len = subject->len;
	run->headers_len = (uint16_t)subject->headers_len;
	run->segment_payload_len = (uint16_t)(subject->len - subject->headers_len);
	run->next_seq =
		base_load_be32(subject->data + subject->l4_off + 4) + run->segment_payload_len;
	run->next_id = (uint16_t)(base_load_be16(subject->data + 4) + 1);
}

static void join_run(
	struct in_coalesce *c, struct in_run *run, const struct subject *subject, uint8_t number)
{
	uint32_t payload_len = subject->len - subject->headers_len;

	c->next[run->last] = number;
	run->last = number;
	run->n_pkts++;
	run->len += payload_len;
	run->next_seq += payload_len;
	run->next_id++;
	run->is_open = payload_len == run->segment_payload_len && !is_tcp_pushed(subject);
}

static void take(struct in_coalesce *c, const struct in_bytes *pkts, uint8_t number, bool has_udp)
{
	struct subject subject = look_at(&pkts[number], has_udp), first;
	struct in_run *run = subject.has_flow ? find_run(c, pkts, &subject) : NULL;

	if (!run || !run->is_open || !subject.may_join ||
		!is_next(run, pkts[run->first].data, &subject)) {
		start_run(c, &subject, number);
		return;
	}
	/* Only now, and for each packet once: what travels alone is the kernel's to verify. */
	if (!run->is_first_right) {
		first = subject;
		first.data = pkts[run->first].data;
		first.len = pkts[run->first].len;
		run->is_first_right = is_csum_right(&first);
	}
	subject.may_join = is_csum_right(&subject);
	if (run->is_first_right && subject.may_join)
		join_run(c, run, &subject, number);
	else
		start_run(c, &subject, number);
}

/* Make the first packet's headers those of the large packet. */
static void finish_run(const struct in_bytes *pkts, struct in_run *run)
{
	uint8_t *ip = pkts[run->first].data, *l4 = ip + run->l4_off;
	bool is_ip4 = run->l4_off == IP4_BYTES;
	uint8_t proto = is_ip4 ? ip[9] : ip[6];
	uint32_t l4_len = run->len - run->l4_off;
	uint16_t csum;

	run->vnet = (struct in_vnet){.flags = IN_VNET_NEEDS_CSUM,
		.gso_type = IN_GSO_UDP,
		.hdr_len = run->headers_len,
		.gso_size = run->segment_payload_len,
		.csum_start = run->l4_off,
		.csum_offset = IN_UDP_CSUM_OFF};
	if (is_ip4) {
		base_store_be16(ip + 2, (uint16_t)run->len);
		memset(ip + 10, 0, 2);
		csum = in_csum_finish(in_csum_add(0, ip, IP4_BYTES));
		memcpy(ip + 10, &csum, sizeof(csum));
	} else {
		base_store_be16(ip + 4, (uint16_t)l4_len);
	}
	if (proto == IN_PROTO_TCP) {
		run->vnet.gso_type = is_ip4 ? IN_GSO_TCP4 : IN_GSO_TCP6;
		run->vnet.csum_offset = IN_TCP_CSUM_OFF;
		l4[13] |= pkts[run->last].data[run->l4_off + 13] & IN_TCP_PSH;
	} else {
		base_store_be16(l4 + 4, (uint16_t)l4_len);
	}
	csum = (uint16_t)~in_csum_finish(in_csum_pseudo(ip, proto, l4_len));
	memcpy(l4 + run->vnet.csum_offset, &csum, sizeof(csum));
}

void in_coalesce(
	struct in_coalesce *ret_coalesce, const struct in_bytes *pkts, unsigned n, bool has_udp)
{
	struct in_coalesce *c = ret_coalesce;

	c->n_runs = 0;
	c->first_open = 0;
	for (unsigned i = 0; i < n; i++)
		take(c, pkts, (uint8_t)i, has_udp);
	for (unsigned i = 0; i < c->n_runs; i++)
		if (c->runs[i].n_pkts > 1)
			finish_run(pkts, &c->runs[i]);
}
