/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of the mesh: queries made by hand against a small map, answers read record by record. */
#include "base_bytes.h"
#include "coord_dns.h"
#include "coord_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define A 1
#define MX 15
#define PTR 12
#define AAAA 28
#define ANY 255

static struct coord_netmap *map;

static const char frame_text[] =
	"{\"Node\":{\"ID\":1,\"Name\":\"gw1.mesh.lab.\",\"Key\":\"nodekey:"
	"0101010101010101010101010101010101010101010101010101010101010101\","
	"\"Addresses\":[\"100.64.0.1/32\",\"fd7a:115c:a1e0::1/128\"]},"
	"\"Peers\":[{\"ID\":2,\"Name\":\"worker-1.mesh.lab.\",\"Key\":\"nodekey:"
	"0202020202020202020202020202020202020202020202020202020202020202\","
	"\"Addresses\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\"]},"
	"{\"ID\":3,\"Name\":\"old.mesh.lab.\",\"Key\":\"nodekey:"
	"0303030303030303030303030303030303030303030303030303030303030303\","
	"\"Addresses\":[\"100.64.0.3/32\"]}],"
	"\"DNSConfig\":{\"Proxied\":true,\"Domains\":[\"mesh.lab\"],\"Routes\":{"
	"\"64.100.in-addr.arpa\":[],\"0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa\":null,"
	"\"corp.lab\":[{\"Addr\":\"10.9.9.9\"}],\"deep.corp.lab\":[{\"Addr\":\"10.8.8.8:5353\"}],"
	"\"doh.lab\":[{\"Addr\":\"https://dns.example/q\"}]},"
	"\"Resolvers\":[{\"Addr\":\"192.0.2.53\"},{\"Addr\":\"2001:db8::53\"}],"
	"\"FallbackResolvers\":[{\"Addr\":\"192.0.2.99\"}],\"ExtraRecords\":["
	"{\"Name\":\"grafana.mesh.lab\",\"Type\":\"A\",\"Value\":\"100.64.0.77\"},"
	"{\"Name\":\"grafana.mesh.lab.\",\"Value\":\"100.64.0.78\"},"
	"{\"Name\":\"a.b.mesh.lab\",\"Type\":\"AAAA\",\"Value\":\"fd00::9\"},"
	"{\"Name\":\"t.mesh.lab\",\"Type\":\"TXT\",\"Value\":\"x\"}]}}";

static int set_up(void **state)
{
	struct coord_map_update *update =
		coord_map_parse_text(frame_text, sizeof(frame_text) - 1, NULL);
	const struct coord_diff *diff;

	(void)state;
	map = coord_netmap_new();
	assert_true(map && update);
	assert_int_equal(coord_netmap_apply(map, update, true, 0, &diff), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	coord_netmap_free(map);
	return 0;
}

/* --- queries and answers ------------------------------------------------------------------------ */

struct ask {
	uint8_t query[600], out[COORD_DNS_ANSWER_BYTES_MAX];
	size_t len;
	struct coord_dns_result result;
};

static struct ask now; /* of the case that runs */

static void query_write(struct ask *ask, const char *name, unsigned type, int edns_size)
{
	uint8_t *q = ask->query;
	size_t n = 12;

	memset(ask, 0, sizeof(*ask));
	base_store_be16(q, 0x1234);
	base_store_be16(q + 2, 0x0100);
	base_store_be16(q + 4, 1);
	while (*name) {
		size_t label = strcspn(name, ".");

		q[n++] = (uint8_t)label;
		memcpy(q + n, name, label);
		n += label;
		name += label + (name[label] == '.');
	}
	q[n++] = 0;
	base_store_be16(q + n, (uint16_t)type);
	base_store_be16(q + n + 2, 1);
	n += 4;
	if (edns_size != 0) {
		base_store_be16(q + 10, 1);
		base_store_be16(q + n + 1, 41);
		base_store_be16(q + n + 3, (uint16_t)edns_size);
		n += 11;
	}
	ask->len = n;
}

static unsigned code_of(const struct ask *ask)
{
	return ask->out[3] & 15;
}

static unsigned answers_of(const struct ask *ask)
{
	return base_load_be16(ask->out + 6);
}

/* Out of an allocation of its exact size, so that a sanitizer sees what is read behind it. */
static void ask_now(struct ask *ask)
{
	uint8_t *copy = malloc(ask->len ? ask->len : 1);

	assert_non_null(copy);
	memcpy(copy, ask->query, ask->len);
	ask->result = coord_dns_ask(map, copy, ask->len, false, ask->out);
	free(copy);
	if (ask->result.verdict != COORD_DNS_ANSWER)
		return;
	assert_in_range(ask->result.len, 12, sizeof(ask->out));
	assert_int_equal(base_load_be16(ask->out), 0x1234);
	assert_true(ask->out[2] & 0x80);
}

/* Into now. */
static void asked(const char *name, unsigned type)
{
	query_write(&now, name, type, 0);
	ask_now(&now);
}

/* The data of answer @i, all of which point to the question's name. */
static const uint8_t *data_of(const struct ask *ask, unsigned i, unsigned *ret_type)
{
	size_t at = 12;

	while (ask->out[at])
		at += 1 + (size_t)ask->out[at];
	at += 5;
	for (;; i--) {
		assert_int_equal(base_load_be16(ask->out + at), 0xc00c);
		*ret_type = base_load_be16(ask->out + at + 2);
		if (i == 0)
			return ask->out + at + 12;
		at += 12 + (size_t)base_load_be16(ask->out + at + 10);
	}
}

/* --- cases -------------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	static const char *const names[] = {"worker-1.mesh.lab", "WORKER-1.Mesh.LAB", "worker-1"};
	static const uint8_t v4[] = {100, 64, 0, 2};
	unsigned type;

	(void)state;
	for (size_t i = 0; i < BASE_ARRAY_LEN(names); i++) {
		asked(names[i], A);

		assert_int_equal(now.result.verdict, COORD_DNS_ANSWER);
		assert_int_equal(code_of(&now), 0);
		assert_int_equal(answers_of(&now), 1);
		assert_memory_equal(data_of(&now, 0, &type), v4, 4);
		assert_int_equal(type, A);
		/* the question as it was asked, RD kept, RA and AA set */
		assert_memory_equal(now.out + 12, now.query + 12, now.len - 12);
		assert_int_equal(base_load_be16(now.out + 2), 0x8580);
		asked(names[i], AAAA);
		assert_int_equal(answers_of(&now), 1);
		assert_int_equal(data_of(&now, 0, &type)[15], 2);
		asked(names[i], ANY);
		assert_int_equal(answers_of(&now), 2);
	}
	asked("gw1", A);
	assert_int_equal(data_of(&now, 0, &type)[3], 1);
}

static void test_no_data_and_no_name(void **state)
{
	(void)state;
	asked("old.mesh.lab", AAAA);
	/* there, but no such record: with the zone's SOA */
	assert_int_equal(code_of(&now), 0);
	assert_int_equal(answers_of(&now), 0);
	assert_int_equal(base_load_be16(now.out + 8), 1);
	asked("worker-1.mesh.lab", MX);
	assert_int_equal(code_of(&now), 0);
	assert_int_equal(answers_of(&now), 0);
	/* the domain, and what lies between it and a name */
	asked("mesh.lab", A);
	assert_int_equal(code_of(&now), 0);
	asked("b.mesh.lab", A);
	assert_int_equal(code_of(&now), 0);
	asked("nobody.mesh.lab", A);
	assert_int_equal(now.result.verdict, COORD_DNS_ANSWER);
	assert_int_equal(code_of(&now), 3);
	assert_int_equal(base_load_be16(now.out + 8), 1);
	asked("x.worker-1.mesh.lab", A);
	assert_int_equal(code_of(&now), 3);
	/* ends alike, but not at a label */
	asked("xmesh.lab", A);
	assert_int_equal(now.result.verdict, COORD_DNS_FORWARD);
}

static void test_extra_records(void **state)
{
	unsigned type;

	(void)state;
	asked("grafana.mesh.lab", A);
	assert_int_equal(answers_of(&now), 2);
	assert_int_equal(data_of(&now, 0, &type)[3], 77);
	assert_int_equal(data_of(&now, 1, &type)[3], 78);
	asked("a.b.mesh.lab", AAAA);
	assert_int_equal(answers_of(&now), 1);
}

static void test_reverse(void **state)
{
	static const uint8_t name[] = "\x08worker-1\x04mesh\x03lab";
	unsigned type;

	(void)state;
	asked("2.0.64.100.in-addr.arpa", PTR);
	assert_int_equal(answers_of(&now), 1);
	assert_memory_equal(data_of(&now, 0, &type), name, sizeof(name));
	assert_int_equal(type, PTR);
	asked("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.E.1.a.c.5.1.1.a.7.d.f.ip6.arpa", PTR);
	assert_int_equal(answers_of(&now), 1);
	asked("9.0.64.100.in-addr.arpa", PTR);
	assert_int_equal(code_of(&now), 3);
	/* on the way there is no address yet */
	asked("0.64.100.in-addr.arpa", PTR);
	assert_int_equal(code_of(&now), 0);
	asked("300.0.64.100.in-addr.arpa", PTR);
	assert_int_not_equal(now.result.verdict, COORD_DNS_DROP);
	asked("1.2.0.192.in-addr.arpa", PTR);
	assert_int_equal(now.result.verdict, COORD_DNS_FORWARD);
}

static void test_forwards(void **state)
{
	char text[BASE_ENDPOINT_TEXT_LEN];

	(void)state;
	asked("example.org", A);
	assert_int_equal(now.result.verdict, COORD_DNS_FORWARD);
	assert_int_equal(now.result.n_resolvers, 2);
	assert_string_equal(base_endpoint_print(text, &now.result.resolvers[0]), "192.0.2.53:53");
	asked("git.corp.lab", A);
	assert_int_equal(now.result.n_resolvers, 1);
	assert_string_equal(base_endpoint_print(text, &now.result.resolvers[0]), "10.9.9.9:53");
	asked("x.Deep.corp.lab", A);
	assert_string_equal(base_endpoint_print(text, &now.result.resolvers[0]), "10.8.8.8:5353");
	/* resolvers that cannot be used do not make a suffix local */
	asked("x.doh.lab", A);
	assert_int_equal(now.result.verdict, COORD_DNS_FORWARD);
	assert_int_equal(now.result.n_resolvers, 2);
}

static void test_edns(void **state)
{
	uint8_t *opt;

	(void)state;
	query_write(&now, "worker-1.mesh.lab", A, 4096);
	ask_now(&now);
	assert_int_equal(base_load_be16(now.out + 10), 1);
	opt = now.out + now.result.len - 11;
	assert_int_equal(base_load_be16(opt + 1), 41);
	assert_int_equal(base_load_be16(opt + 3), COORD_DNS_ANSWER_BYTES_MAX);
	/* a version that does not exist yet */
	now.query[now.len - 5] = 1;
	ask_now(&now);
	assert_int_equal(code_of(&now), 0);
	assert_int_equal(now.out[now.result.len - 6], 1);
	assert_int_equal(answers_of(&now), 0);
	/* two of them */
	query_write(&now, "worker-1.mesh.lab", A, 4096);
	memcpy(now.query + now.len, now.query + now.len - 11, 11);
	now.len += 11;
	base_store_be16(now.query + 10, 2);
	ask_now(&now);
	assert_int_equal(code_of(&now), 1);
}

static void test_what_is_no_query(void **state)
{
	(void)state;
	query_write(&now, "worker-1.mesh.lab", A, 0);
	now.query[2] |= 0x80;
	ask_now(&now);
	assert_int_equal(now.result.verdict, COORD_DNS_DROP);
	assert_int_equal(coord_dns_fail(now.query, now.len, now.out), 0);
	query_write(&now, "worker-1.mesh.lab", A, 0);
	now.query[2] |= 0x28; /* an update */
	ask_now(&now);
	assert_int_equal(code_of(&now), 4);
	query_write(&now, "worker-1.mesh.lab", A, 0);
	now.query[now.len - 1] = 3; /* chaos */
	ask_now(&now);
	assert_int_equal(code_of(&now), 5);
	/* a pointer in the question, to itself */
	query_write(&now, "worker-1.mesh.lab", A, 0);
	now.query[12] = 0xc0;
	now.query[13] = 12;
	ask_now(&now);
	assert_int_equal(code_of(&now), 1);
	/* two questions, none */
	for (unsigned n = 0; n <= 2; n += 2) {
		query_write(&now, "worker-1.mesh.lab", A, 0);
		now.query[5] = (uint8_t)n;
		ask_now(&now);
		assert_int_equal(code_of(&now), 1);
	}
	/* cut anywhere */
	query_write(&now, "worker-1.mesh.lab", A, 1232);
	for (size_t len = now.len; len-- > 0;) {
		now.len = len;
		ask_now(&now);
		assert_int_equal(now.result.verdict, len < 12 ? COORD_DNS_DROP : COORD_DNS_ANSWER);
		assert_true(len < 12 || code_of(&now) == 1);
	}
}

static void test_long_names(void **state)
{
	char name[300];

	(void)state;
	/* 255 bytes on the wire: 63 labels of 3 and one of 1 */
	for (size_t i = 0; i < 63; i++)
		memcpy(name + 4 * i, "abc.", 4);
	strcpy(name + 252, "a");
	asked(name, A);
	assert_int_equal(now.result.verdict, COORD_DNS_FORWARD);
	strcpy(name + 252, "ab");
	asked(name, A);
	assert_int_equal(now.result.verdict, COORD_DNS_ANSWER);
	assert_int_equal(code_of(&now), 1);
	/* bytes that no name of ours has */
	asked("wor\nker-1.mesh.lab", A);
	assert_int_equal(code_of(&now), 3);
}

/* More records than 512 bytes hold. */
static void test_cut(void **state)
{
	static char text[8192];
	size_t len = (size_t)snprintf(
		text, sizeof(text), "{\"DNSConfig\":{\"Proxied\":true,\"ExtraRecords\":[");
	struct coord_map_update *update;
	const struct coord_diff *diff;

	(void)state;
	for (unsigned i = 0; i < 70; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			"%s{\"Name\":\"many.mesh.lab\",\"Value\":\"100.64.1.%u\"}", i ? "," : "",
			i);
	snprintf(text + len, sizeof(text) - len, "]}}");
	update = coord_map_parse_text(text, strlen(text), NULL);
	assert_non_null(update);
	assert_int_equal(coord_netmap_apply(map, update, false, 0, &diff), 0);
	asked("many.mesh.lab", A);
	assert_true(now.out[2] & 2);
	assert_in_range(now.result.len, 480, 512);
	query_write(&now, "many.mesh.lab", A, 1000);
	ask_now(&now);
	assert_true(now.out[2] & 2);
	assert_in_range(now.result.len, 980, 1000);
	query_write(&now, "many.mesh.lab", A, 65535);
	ask_now(&now);
	assert_false(now.out[2] & 2);
	assert_int_equal(answers_of(&now), 70);
	query_write(&now, "many.mesh.lab", A, 0);
	now.result = coord_dns_ask(map, now.query, now.len, true, now.out);
	assert_int_equal(answers_of(&now), 70);
}

static void test_failure(void **state)
{
	(void)state;
	query_write(&now, "example.org", A, 1232);
	now.result.len = coord_dns_fail(now.query, now.len, now.out);
	assert_int_equal(now.result.len, now.len);
	assert_int_equal(code_of(&now), 2);
	assert_int_equal(coord_dns_fail(now.query, 11, now.out), 0);
}

/* Without MagicDNS names are others' business, but for local suffixes. */
static void test_magic_off(void **state)
{
	static const char text[] = "{\"DNSConfig\":{\"Routes\":{\"64.100.in-addr.arpa\":[]},"
				   "\"FallbackResolvers\":[{\"Addr\":\"192.0.2.99\"}]}}";
	struct coord_map_update *update = coord_map_parse_text(text, sizeof(text) - 1, NULL);
	const struct coord_diff *diff;

	(void)state;
	assert_int_equal(coord_netmap_apply(map, update, false, 0, &diff), 0);
	asked("worker-1.mesh.lab", A);
	assert_int_equal(now.result.verdict, COORD_DNS_FORWARD);
	assert_int_equal(now.result.n_resolvers, 1);
	asked("9.0.64.100.in-addr.arpa", PTR);
	assert_int_equal(code_of(&now), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_data_and_no_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_extra_records, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_reverse, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_forwards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_edns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_query, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_failure, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_magic_off, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
