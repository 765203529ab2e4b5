/* SPDX-License-Identifier: BSD-3-Clause */
/* One query: read, decided, answered. Thread: the map's. See coord_dns.h. */
#include "coord_dns.h"

#include "base_bytes.h"

#include <string.h>

#define HEAD_BYTES 12
#define NAME_BYTES_MAX 255
#define LABEL_BYTES_MAX 63
#define UDP_BYTES 512

/* Bits of the flags word (RFC 1035, 4.1.1; RFC 4035, 3.2). */
#define FLAG_RESPONSE 0x8000
#define FLAG_OPCODE 0x7800
#define FLAG_AUTHORITATIVE 0x0400
#define FLAG_CUT 0x0200
#define FLAG_RECURSION_DESIRED 0x0100
#define FLAG_RECURSION_AVAILABLE 0x0080
#define FLAG_CHECKING_DISABLED 0x0010

enum code {
	NO_ERROR = 0,
	FORMAT_ERROR = 1,
	SERVER_FAILURE = 2,
	NO_NAME = 3,
	NOT_IMPLEMENTED = 4,
	REFUSED = 5,
	BAD_VERSION = 16
};

enum type {
	TYPE_A = 1,
	TYPE_SOA = 6,
	TYPE_PTR = 12,
	TYPE_AAAA = 28,
	TYPE_OPT = 41,
	TYPE_ANY = 255
};

#define CLASS_IN 1
#define CLASS_ANY 255

struct query {
	const uint8_t *bytes;
	size_t len, question_len; /* of the question: name, type, class */
	char name[NAME_BYTES_MAX +
		1]; /* lower case, dots between labels; "?" for what no name of ours has */
	uint16_t flags, type, class;
	bool has_edns;
	uint8_t edns_version;
	uint16_t edns_size;
	size_t answer_max;
};

struct answer {
	uint8_t *bytes;
	size_t len, max;
	uint16_t n_answers, n_authority;
	bool is_cut;
};

/* --- reading ------------------------------------------------------------------------------------ */

/* A name's character as it is compared; a dot inside a label is none of ours. */
static char plain(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	return c > ' ' && c < 0x7f && c != '.' ? (char)c : '?';
}

/* The question's name, whose labels all stand here: a pointer has nowhere to lead. Returns what follows; 0: malformed. */
static size_t name_read(struct query *query)
{
	size_t at = HEAD_BYTES, n = 0;

	for (;;) {
		size_t label = at < query->len ? query->bytes[at] : LABEL_BYTES_MAX + 1;

		if (label > LABEL_BYTES_MAX || at + 1 + label > query->len ||
			at + 1 + label - HEAD_BYTES > NAME_BYTES_MAX)
			return 0;
		at++;
		if (label == 0)
			break;
		if (n > 0)
			query->name[n++] = '.';
		for (size_t i = 0; i < label; i++)
			query->name[n++] = plain(query->bytes[at++]);
	}
	query->name[n] = '\0';
	return at;
}

/* Behind a record's name, which may end in a pointer: it is not followed. 0: malformed. */
static size_t name_skip(const struct query *query, size_t at)
{
	while (at < query->len) {
		uint8_t label = query->bytes[at];

		if (label == 0)
			return at + 1;
		if (label >= 0xc0)
			return at + 2;
		if (label > LABEL_BYTES_MAX)
			return 0;
		at += 1 + (size_t)label;
	}
	return 0;
}

/* One more record of a query; of an OPT (RFC 6891) its values. Returns what follows; 0: malformed. */
static size_t record_read(struct query *query, size_t at, bool is_additional)
{
	size_t begin = at;
	const uint8_t *fixed;

	at = name_skip(query, at);
	if (at == 0 || query->len < 10 || at > query->len - 10)
		return 0;
	fixed = query->bytes + at;
	at += 10 + (size_t)base_load_be16(fixed + 8);
	if (at > query->len)
		return 0;
	if (base_load_be16(fixed) != TYPE_OPT)
		return at;
	/* one, in its section, of the root */
	if (query->has_edns || !is_additional || query->bytes[begin] != 0)
		return 0;
	query->has_edns = true;
	query->edns_size = base_load_be16(fixed + 2);
	query->edns_version = fixed[5];
	return at;
}

/* The head is whole. False: malformed; what could be read of the question is there. */
static bool query_read(struct query *query)
{
	size_t n_others =
		(size_t)base_load_be16(query->bytes + 6) + base_load_be16(query->bytes + 8);
	size_t n_additional = base_load_be16(query->bytes + 10), at;

	if (base_load_be16(query->bytes + 4) != 1)
		return false;
	at = name_read(query);
	if (at == 0 || at + 4 > query->len)
		return false;
	query->type = base_load_be16(query->bytes + at);
	query->class = base_load_be16(query->bytes + at + 2);
	at += 4;
	query->question_len = at - HEAD_BYTES;
	/* each record takes eleven bytes at least: these loops end with the query */
	for (; n_others > 0 && at > 0; n_others--)
		at = record_read(query, at, false);
	for (; n_additional > 0 && at > 0; n_additional--)
		at = record_read(query, at, true);
	return at > 0;
}

/* --- writing ------------------------------------------------------------------------------------ */

static void answer_begin(struct answer *answer, const struct query *query, uint8_t *out)
{
	/* an OPT of ours is kept room for */
	*answer = (struct answer){.bytes = out,
		.len = HEAD_BYTES + query->question_len,
		.max = query->answer_max - (query->has_edns ? 11 : 0)};
	memset(out, 0, HEAD_BYTES);
	memcpy(out + HEAD_BYTES, query->bytes + HEAD_BYTES, query->question_len);
}

static size_t answer_end(struct answer *answer, const struct query *query, unsigned code)
{
	uint16_t flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE;
	uint8_t *opt = answer->bytes + answer->len;

	flags |= query->flags & (FLAG_OPCODE | FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED);
	if (code == NO_ERROR || code == NO_NAME)
		flags |= FLAG_AUTHORITATIVE;
	if (answer->is_cut)
		flags |= FLAG_CUT;
	memcpy(answer->bytes, query->bytes, 2);
	base_store_be16(answer->bytes + 2, (uint16_t)(flags | (code & 15)));
	base_store_be16(answer->bytes + 4, query->question_len > 0);
	base_store_be16(answer->bytes + 6, answer->n_answers);
	base_store_be16(answer->bytes + 8, answer->n_authority);
	base_store_be16(answer->bytes + 10, query->has_edns);
	if (!query->has_edns)
		return answer->len;
	memset(opt, 0, 11);
	base_store_be16(opt + 1, TYPE_OPT);
	base_store_be16(opt + 3, COORD_DNS_ANSWER_BYTES_MAX);
	opt[5] = (uint8_t)(code >> 4);
	return answer->len + 11;
}

/* A record's head; @name: already encoded. NULL: no room for it and its data, which is then cut. */
static uint8_t *record_put(struct answer *answer, const uint8_t *name, size_t name_len,
	const uint32_t values[2], size_t data_len)
{
	uint8_t *at = answer->bytes + answer->len;

	if (answer->is_cut || name_len + 10 + data_len > answer->max - answer->len) {
		answer->is_cut = true;
		return NULL;
	}
	memcpy(at, name, name_len);
	at += name_len;
	base_store_be16(at, (uint16_t)values[0]);
	base_store_be16(at + 2, CLASS_IN);
	base_store_be32(at + 4, values[1]);
	base_store_be16(at + 8, (uint16_t)data_len);
	answer->len += name_len + 10 + data_len;
	return at + 10;
}

/* The question's own name, wherever it is written. */
static const uint8_t question_name[2] = {0xc0, HEAD_BYTES};

static void addr_put(struct answer *answer, const struct query *query, const struct base_addr *addr)
{
	bool is_v4 = addr->family == BASE_FAMILY_V4;
	enum type type = is_v4 ? TYPE_A : TYPE_AAAA;
	size_t len = base_family_bytes(addr->family);
	uint8_t *at;

	if (query->type != type && query->type != TYPE_ANY)
		return;
	at = record_put(answer, question_name, sizeof(question_name),
		(const uint32_t[]){type, COORD_DNS_TTL_S}, len);
	if (!at)
		return;
	memcpy(at, addr->bytes, len);
	answer->n_answers++;
}

/* "a.b" as labels. Returns its length; 0: it is no name. */
static size_t name_encode(uint8_t ret_bytes[NAME_BYTES_MAX], const char *name)
{
	size_t n = 0;

	while (*name) {
		size_t label = strcspn(name, ".");

		if (label == 0 || label > LABEL_BYTES_MAX || n + label + 2 > NAME_BYTES_MAX)
			return 0;
		ret_bytes[n++] = (uint8_t)label;
		memcpy(ret_bytes + n, name, label);
		n += label;
		name += label;
		if (*name == '.')
			name++;
	}
	ret_bytes[n++] = 0;
	return n;
}

static void ptr_put(struct answer *answer, const struct coord_node *node)
{
	uint8_t name[NAME_BYTES_MAX], *at;
	size_t len = *node->name ? name_encode(name, node->name) : 0;

	if (len == 0)
		return;
	at = record_put(answer, question_name, sizeof(question_name),
		(const uint32_t[]){TYPE_PTR, COORD_DNS_TTL_S}, len);
	if (!at)
		return;
	memcpy(at, name, len);
	answer->n_answers++;
}

/* Why there is no answer, for caches (RFC 2308): the zone's SOA; left out when there is no room. */
static void soa_put(struct answer *answer, const char *zone)
{
	uint8_t name[NAME_BYTES_MAX], *at;
	size_t len = *zone ? name_encode(name, zone) : 0;
	bool was_cut = answer->is_cut;

	if (len == 0)
		return;
	at = record_put(answer, name, len, (const uint32_t[]){TYPE_SOA, COORD_DNS_NEGATIVE_TTL_S},
		2 * len + 20);
	if (!at) {
		answer->is_cut = was_cut;
		return;
	}
	memcpy(at, name, len);
	memcpy(at + len, name, len);
	at += 2 * len;
	base_store_be32(at, 1);
	base_store_be32(at + 4, 3600);
	base_store_be32(at + 8, 600);
	base_store_be32(at + 12, 86400);
	base_store_be32(at + 16, COORD_DNS_NEGATIVE_TTL_S);
	answer->n_authority++;
}

/* --- deciding ----------------------------------------------------------------------------------- */

static bool is_under(const char *name, const char *suffix)
{
	size_t name_len = strlen(name), len = strlen(suffix);

	if (len == 0 || len > name_len || strcmp(name + name_len - len, suffix) != 0)
		return len == 0;
	return name_len == len || name[name_len - len - 1] == '.';
}

/* The route with the longest suffix; NULL: none fits. */
static const struct coord_dns_route *route_of(const struct coord_dns *dns, const char *name)
{
	const struct coord_dns_route *best = NULL;

	for (size_t i = 0; i < dns->n_routes; i++)
		if (is_under(name, dns->routes[i].suffix) &&
			(!best || strlen(dns->routes[i].suffix) > strlen(best->suffix)))
			best = &dns->routes[i];
	return best;
}

/* The mesh's own domain: what follows the first label of this node's name; "" without one. */
static const char *own_domain(const struct coord_netmap *map)
{
	const struct coord_node *self = coord_netmap_self(map);
	const char *dot = self ? strchr(self->name, '.') : NULL;

	return dot ? dot + 1 : "";
}

/* The zone that answers end in here; NULL: this name is others' business. */
static const char *local_zone(const struct coord_netmap *map, const char *name)
{
	const struct coord_dns *dns = coord_netmap_dns(map);
	const struct coord_dns_route *route = route_of(dns, name);
	const char *domain = own_domain(map);

	if (dns->is_magic && *domain && is_under(name, domain) &&
		(!route || strlen(route->suffix) <= strlen(domain)))
		return domain;
	return route && route->n_resolvers == 0 ? route->suffix : NULL;
}

/* Four decimal labels, the last byte first. */
static bool reverse_v4(const char *name, struct base_addr *ret_addr)
{
	struct base_addr addr = {.family = BASE_FAMILY_V4};

	for (int i = 3; i >= 0; i--) {
		unsigned value = 0;
		int n = 0;

		for (; *name >= '0' && *name <= '9' && n < 3; n++)
			value = value * 10 + (unsigned)(*name++ - '0');
		if (n == 0 || value > 255 || *name++ != '.')
			return false;
		addr.bytes[i] = (uint8_t)value;
	}
	*ret_addr = addr;
	return strcmp(name, "in-addr.arpa") == 0;
}

/* Thirty-two hexadecimal digits, the last one first. */
static bool reverse_v6(const char *name, struct base_addr *ret_addr)
{
	static const char digits[] = "0123456789abcdef";
	struct base_addr addr = {.family = BASE_FAMILY_V6};

	for (int i = 31; i >= 0; i--) {
		const char *digit = *name ? strchr(digits, *name++) : NULL;

		if (!digit || *name++ != '.')
			return false;
		addr.bytes[i / 2] |= (uint8_t)((digit - digits) << (i % 2 ? 0 : 4));
	}
	*ret_addr = addr;
	return strcmp(name, "ip6.arpa") == 0;
}

/* Everything that is known of a name. False: nothing. */
static bool name_answer(
	const struct coord_netmap *map, const struct query *query, struct answer *answer)
{
	const struct coord_dns *dns = coord_netmap_dns(map);
	const struct coord_node *node;
	struct base_addr addr;
	bool is_known = false;

	if (!dns->is_magic)
		return false;
	node = coord_netmap_by_name(map, query->name);
	for (unsigned i = 0; node && i < node->n_addresses; i++)
		addr_put(answer, query, &node->addresses[i]);
	is_known = node;
	for (size_t i = 0; i < dns->n_records; i++)
		if (strcmp(dns->records[i].name, query->name) == 0) {
			addr_put(answer, query, &dns->records[i].addr);
			is_known = true;
		}
	if (!reverse_v4(query->name, &addr) && !reverse_v6(query->name, &addr))
		return is_known;
	node = coord_netmap_by_addr(map, &addr);
	if (node && (query->type == TYPE_PTR || query->type == TYPE_ANY))
		ptr_put(answer, node);
	return is_known || node;
}

/* A name inside which others are is there, though nothing is known of it (RFC 8020). */
static bool is_inner_name(const struct coord_netmap *map, const char *name, const char *zone)
{
	const struct coord_dns *dns = coord_netmap_dns(map);
	struct base_addr addr;

	if (strcmp(name, zone) == 0)
		return true;
	for (size_t i = 0; i < dns->n_records; i++)
		if (is_under(dns->records[i].name, name))
			return true;
	/* part of a reverse name: every address has all of them */
	return (is_under(name, "in-addr.arpa") || is_under(name, "ip6.arpa")) &&
		!reverse_v4(name, &addr) && !reverse_v6(name, &addr);
}

static struct coord_dns_result forward_to(const struct coord_netmap *map, const char *name)
{
	struct coord_dns_result result = {.verdict = COORD_DNS_FORWARD};
	const struct coord_dns *dns = coord_netmap_dns(map);
	const struct coord_dns_route *route = route_of(dns, name);

	if (route) {
		result.resolvers = route->resolvers;
		result.n_resolvers = route->n_resolvers;
	} else {
		result.resolvers = dns->n_resolvers ? dns->resolvers : dns->fallbacks;
		result.n_resolvers = dns->n_resolvers ? dns->n_resolvers : dns->n_fallbacks;
	}
	return result;
}

/* What is wrong with a query that could be read; NO_ERROR: nothing. */
static unsigned query_judge(const struct query *query)
{
	if (query->has_edns && query->edns_version != 0)
		return BAD_VERSION;
	return query->class != CLASS_IN && query->class != CLASS_ANY ? REFUSED : NO_ERROR;
}

static struct coord_dns_result told(struct answer *answer, const struct query *query, unsigned code)
{
	return (struct coord_dns_result){
		.verdict = COORD_DNS_ANSWER, .len = answer_end(answer, query, code)};
}

/* The head and, if there is one, the question. False: it is no query. */
static bool query_init(struct query *query, const void *bytes, size_t len)
{
	*query = (struct query){.bytes = bytes, .len = len, .answer_max = UDP_BYTES};
	if (len < HEAD_BYTES)
		return false;
	query->flags = base_load_be16(query->bytes + 2);
	return !(query->flags & FLAG_RESPONSE);
}

struct coord_dns_result coord_dns_ask(const struct coord_netmap *map, const void *bytes, size_t len,
	bool is_stream, uint8_t out[COORD_DNS_ANSWER_BYTES_MAX])
{
	struct answer answer;
	struct query query;
	const char *zone;
	unsigned code;
	bool is_read;

	if (!query_init(&query, bytes, len))
		return (struct coord_dns_result){.verdict = COORD_DNS_DROP};
	is_read = !(query.flags & FLAG_OPCODE) && query_read(&query);
	if (!is_read)
		query.has_edns = false;
	if (is_stream || query.edns_size >= COORD_DNS_ANSWER_BYTES_MAX)
		query.answer_max = COORD_DNS_ANSWER_BYTES_MAX;
	else if (query.edns_size > UDP_BYTES)
		query.answer_max = query.edns_size;
	answer_begin(&answer, &query, out);
	code = query.flags & FLAG_OPCODE ? NOT_IMPLEMENTED
		: is_read                ? query_judge(&query)
					 : FORMAT_ERROR;
	if (code != NO_ERROR)
		return told(&answer, &query, code);
	zone = local_zone(map, query.name);
	if (!name_answer(map, &query, &answer)) {
		if (!zone)
			return forward_to(map, query.name);
		if (!is_inner_name(map, query.name, zone))
			code = NO_NAME;
	}
	if (answer.n_answers == 0 && !answer.is_cut)
		soa_put(&answer, zone ? zone : own_domain(map));
	return told(&answer, &query, code);
}

size_t coord_dns_fail(const void *bytes, size_t len, uint8_t out[COORD_DNS_ANSWER_BYTES_MAX])
{
	struct answer answer;
	struct query query;

	if (!query_init(&query, bytes, len))
		return 0;
	if (!query_read(&query))
		query.has_edns = false;
	answer_begin(&answer, &query, out);
	return answer_end(&answer, &query, SERVER_FAILURE);
}
