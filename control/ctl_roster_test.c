/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The set of peers as a value, against a plain list of them on random changes (the seed is printed); what cannot
 * be together; and what a reload finds that cannot follow.
 */
#include "ctl_roster.c"

#include "ctl_reload.h"
#include "ctl_test.h"

#include <time.h>

#define MANY 400

static struct ctl_peer peers[MANY];
static struct base_prefix prefixes[MANY][2];

/* Number @i: name, key and two prefixes of its own. */
static struct ctl_peer *peer_make(unsigned i)
{
	struct ctl_peer *peer = &peers[i];

	*peer = (struct ctl_peer){.source = i % 2 ? CTL_PEER_OF_API : CTL_PEER_OF_FILE};
	snprintf(peer->name, sizeof(peer->name), "peer-%u", (i * 7919) % MANY);
	memset(&peer->dp.public_key, (int)(i * 31), CR_KEY_BYTES);
	base_store_le32(peer->dp.public_key.bytes + 8, i);
	prefixes[i][0] = (struct base_prefix){{.family = BASE_FAMILY_V4}, 24};
	base_store_be32(prefixes[i][0].addr.bytes, 0x0a000000 + ((i * 6007) % MANY << 8));
	prefixes[i][1] = (struct base_prefix){{.family = BASE_FAMILY_V6}, 64};
	base_store_be32(prefixes[i][1].addr.bytes, 0xfd000000 + i);
	peer->allowed_ips = prefixes[i];
	peer->dp.allowed_ips = prefixes[i];
	peer->dp.n_allowed_ips = 2;
	return peer;
}

static struct ctl_roster roster_of(struct ctl_peer *const *list, size_t n)
{
	struct ctl_roster nobody = {0}, roster;
	struct base_error error;

	if (ctl_roster_next(&roster, &nobody, list, n, &error) < 0)
		fail_msg("%s", error.text);
	return roster;
}

static void assert_sorted(const struct ctl_roster_order *order, compare_fn compare, size_t n)
{
	assert_int_equal(order->n, n);
	for (size_t i = 1; i < n; i++)
		assert_true(compare(&order->refs[i - 1], &order->refs[i]) < 0);
}

/* Some go, some come, few or many at a time: always what a list would hold, in order, found by both values. */
static void next_is_what_a_list_holds(void **state)
{
	unsigned seed = (unsigned)time(NULL);
	struct ctl_roster now = {0}, next;
	bool is_in[MANY] = {false};
	struct base_error error;

	print_message("seed %u\n", seed);
	srand(seed);
	for (unsigned i = 0; i < MANY; i++)
		peer_make(i);
	for (unsigned round = 0; round < 200; round++) {
		static struct ctl_peer *coming[MANY];
		size_t n = 0, count = 0;
		int share = 1 + rand() % (round % 3 ? 200 : 3);

		for (unsigned i = 0; i < MANY; i++) {
			peers[i].is_leaving = is_in[i] && rand() % share == 0;
			if (!is_in[i] && rand() % share == 0)
				coming[n++] = &peers[i];
			is_in[i] = is_in[i] && !peers[i].is_leaving;
		}
		assert_int_equal(ctl_roster_next(&next, &now, coming, n, &error), 0);
		for (size_t i = 0; i < n; i++)
			is_in[coming[i] - peers] = true;
		for (unsigned i = 0; i < MANY; i++) {
			struct ctl_peer *expected = is_in[i] ? &peers[i] : NULL;

			count += is_in[i];
			assert_ptr_equal(ctl_roster_by_name(&next, peers[i].name), expected);
			assert_ptr_equal(
				ctl_roster_by_key(&next, &peers[i].dp.public_key), expected);
		}
		assert_sorted(&next.by_name, compare_names, count);
		assert_sorted(&next.by_key, compare_keys, count);
		assert_sorted(&next.by_prefix, compare_prefixes, 2 * count);
		ctl_roster_fini(&now);
		now = next;
	}
	ctl_roster_fini(&now);
}

static void expect_conflict(struct ctl_peer *a, struct ctl_peer *b, const char *member)
{
	struct ctl_roster now = roster_of(&a, 1), next;
	struct base_error error = {.text = ""};

	assert_int_equal(ctl_roster_next(&next, &now, &b, 1, &error), -EEXIST);
	if (strncmp(error.text, member, strlen(member)) != 0 || !strstr(error.text, a->name) ||
		!strstr(error.text, b->name) || !strstr(error.text, "configuration file") ||
		!strstr(error.text, "API"))
		fail_msg("%s is not told: %s", member, error.text);
	/* Unless the one goes with the same change. */
	a->is_leaving = true;
	assert_int_equal(ctl_roster_next(&next, &now, &b, 1, &error), 0);
	a->is_leaving = false;
	ctl_roster_fini(&next);
	ctl_roster_fini(&now);
}

static void both_are_named(void **state)
{
	struct ctl_peer *a = peer_make(4), *b = peer_make(5);

	strcpy(b->name, a->name);
	expect_conflict(a, b, "name");
	b = peer_make(5);
	b->dp.public_key = a->dp.public_key;
	expect_conflict(a, b, "public_key");
	b = peer_make(5);
	prefixes[5][1] = prefixes[4][1];
	expect_conflict(a, b, "allowed_ips");
	/* One inside the other, either way round. */
	prefixes[5][1].bits = 128;
	prefixes[5][1].addr.bytes[15] = 7;
	expect_conflict(a, b, "allowed_ips");
	b = peer_make(5);
	prefixes[5][0] = (struct base_prefix){{.family = BASE_FAMILY_V4}, 0};
	expect_conflict(a, b, "allowed_ips");
	/* A peer's own may lie in one another. */
	a = peer_make(4);
	prefixes[4][1] = prefixes[4][0];
	prefixes[4][1].bits = 32;
	b = peer_make(5);
	{
		struct ctl_roster roster = roster_of((struct ctl_peer *[]){a, b}, 2);

		ctl_roster_fini(&roster);
	}
}

/* Of each kind one: new, gone, changed in one thing, as it was. */
static void differences_are_minimal(void **state)
{
	struct ctl_peer *before[4], after[4], *list[4];
	struct ctl_roster now, next;
	struct ctl_roster_diff diff;

	for (unsigned i = 0; i < 4; i++) {
		before[i] = peer_make(i);
		assert_int_equal(
			base_endpoint_parse(&before[i]->dp.endpoint, "192.0.2.7:51820"), 0);
		after[i] = *before[i];
		list[i] = &after[i];
	}
	now = roster_of(before, 3);
	/* 0 goes, 1 changes, 2 is renamed, which is nothing to the dataplane, 3 comes. */
	after[1].dp.keepalive_s = 25;
	strcpy(after[2].name, "another");
	next = roster_of(list + 1, 3);
	assert_int_equal(ctl_roster_compare(&diff, &now, &next), 0);
	assert_int_equal(diff.n_added, 1);
	assert_int_equal(diff.n_changed, 1);
	assert_int_equal(diff.n_unchanged, 1);
	assert_int_equal(diff.n_removed, 1);
	assert_int_equal(diff.change.n_set, 2);
	assert_memory_equal(&diff.remove[0], &before[0]->dp.public_key, CR_KEY_BYTES);
	for (size_t i = 0; i < 2; i++) {
		bool is_new = cr_key_equal(&diff.set[i].public_key, &after[3].dp.public_key);

		/* A peer that moved stays where it is, unless the file moves it. */
		assert_int_equal(diff.set[i].endpoint.addr.family,
			is_new ? BASE_FAMILY_V4 : BASE_FAMILY_NONE);
		assert_int_equal(diff.set[i].keepalive_s, is_new ? 0 : 25);
	}
	ctl_roster_diff_fini(&diff);
	/* Each thing that a peer is made of is seen. */
	for (unsigned what = 0; what < 5; what++) {
		after[1] = *before[1];
		after[1].dp.endpoint.port += what == 0;
		after[1].dp.preshared_key.bytes[31] = what == 1;
		after[1].dp.endpoint_is_fixed = what == 2;
		after[1].dp.n_allowed_ips -= what == 3;
		ctl_roster_fini(&next);
		next = roster_of(list + 1, 3);
		assert_int_equal(ctl_roster_compare(&diff, &now, &next), 0);
		assert_int_equal(diff.n_changed, what < 4);
		for (size_t i = 0; what == 0 && i < diff.change.n_set; i++)
			assert_int_equal(diff.set[i].endpoint.addr.family, BASE_FAMILY_V4);
		ctl_roster_diff_fini(&diff);
	}
	ctl_roster_fini(&now);
	ctl_roster_fini(&next);
}

/* --- what a reload finds --------------------------------------------------------------------------- */

static const char file[] = "listen_port: 51820\n"
			   "private_key_file: %s\n"
			   "ports: [{kind: af_packet, device: eth0}]\n"
			   "idle: adaptive\n"
			   "memory_mb: 64\n"
			   "host: {device: sandd0, addresses: [10.9.0.1/24], mtu: 1280}\n"
			   "api: {socket: /run/a.sock}\n"
			   "log_level: info\n";

static struct ctl_config *load_with(const char *from, const char *to)
{
	char text[1024], changed[1200], path[128], key[128];
	struct ctl_config *config;
	struct base_error error;
	const char *at;

	test_write("key", "YPgmVVWTt1GQlnUK7tMLrL9O2Pp7o2ZQY4lOQyZnF08=\n", 45, 0600);
	test_write("other-key", "4DGEaiHmBuH5zhFYgTNqZ7L9z0zKGyv9H8MZqsKxLVQ=\n", 45, 0600);
	snprintf(text, sizeof(text), file, test_path(key, "key"));
	at = from ? strstr(text, from) : text;
	assert_non_null(at);
	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to,
		at + (from ? strlen(from) : 0));
	test_write("gw.yaml", changed, strlen(changed), 0600);
	config = ctl_config_load(test_path(path, "gw.yaml"), NULL, &error);
	if (!config)
		fail_msg("%s", error.text);
	return config;
}

static void restarts_are_named(void **state)
{
	static const struct {
		const char *from, *to, *keys;
	} cases[] = {
		{NULL, "", ""},
		{"log_level: info", "log_level: debug", ""},
		{NULL, "filter: [{proto: icmp}]\n", ""},
		{"51820", "51821", "listen_port "},
		{"/key", "/other-key", "private_key_file "},
		{"eth0", "eth1", "ports "},
		{"af_packet", "af_xdp", "ports "},
		{"adaptive", "poll", "idle "},
		{"64", "65", "memory_mb "},
		{"sandd0", "sandd1", "host.device "},
		{"1280", "1281", "host.mtu "},
		/* The controller's address and the default filter follow the first of them. */
		{"10.9.0.1/24", "10.9.0.2/24", "host.addresses controller.listen filter "},
		{"10.9.0.1/24", "10.9.0.1/24, 10.9.1.1/24", "host.addresses filter "},
		{"/run/a.sock", "/run/b.sock", "api.socket "},
		{NULL, "crypto: libsodium\n", "crypto "},
		{NULL, "controller: {direct: \"192.0.2.1:8765\"}\n", "controller.direct "},
	};

	for (size_t i = 0; i < BASE_ARRAY_LEN(cases); i++) {
		struct ctl_config *running = load_with(NULL, "");
		struct ctl_config *read = load_with(cases[i].from, cases[i].to);
		const char *keys[CTL_RELOAD_KEYS_MAX];
		unsigned n = ctl_reload_compare(running, read, keys);
		char text[256] = "";

		for (unsigned k = 0; k < n; k++) {
			strcat(text, keys[k]);
			strcat(text, " ");
		}
		assert_string_equal(text, cases[i].keys);
		ctl_config_free(running);
		ctl_config_free(read);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(next_is_what_a_list_holds),
		cmocka_unit_test(both_are_named),
		cmocka_unit_test(differences_are_minimal),
		cmocka_unit_test(restarts_are_named),
	};

	return cmocka_run_group_tests(tests, test_dir_make, test_dir_remove);
}
