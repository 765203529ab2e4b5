/* SPDX-License-Identifier: BSD-3-Clause */
/* Registration, reconnect races, silence: by hand and by chance, on a clock of the test's own. */
#include "ctl_registry.h"

#include "ctl_holds.h"
#include "ctl_test.h"

#define S BASE_NS_PER_S

struct host {
	char log[512]; /* "left a: why; hang_up 1: why; " */
};

static void on_left(void *ctx, struct ctl_daemon *daemon, const char *why)
{
	struct host *host = ctx;
	size_t at = strlen(host->log);

	snprintf(host->log + at, sizeof(host->log) - at, "left %s: %s; ", daemon->id, why);
}

static void on_hang_up(void *ctx, void *conn, const char *why)
{
	struct host *host = ctx;
	size_t at = strlen(host->log);

	snprintf(host->log + at, sizeof(host->log) - at, "hang_up %s: %s; ", (char *)conn, why);
}

static const struct ctl_registry_host callbacks = {on_left, on_hang_up};
static struct host host;
static struct ctl_registry *registry;

static int setup(void **state)
{
	memset(&host, 0, sizeof(host));
	registry = ctl_registry_new(&callbacks, &host);
	return registry ? 0 : -1;
}

static int teardown(void **state)
{
	ctl_registry_free(registry);
	return 0;
}

static int register_as(struct ctl_session *session, const char *id, uint64_t now_ns)
{
	struct ws_pair label = {(char *)"zone", (char *)"a"};
	struct ws_register message = {.daemon_id = (char *)id,
		.hostname = (char *)"host",
		.platform = (char *)"linux",
		.arch = (char *)"x86_64",
		.version = (char *)"",
		.labels = &label,
		.n_labels = 1};
	const char *refusal;

	return ctl_session_register(session, &message, now_ns, &refusal);
}

static struct ctl_session *open_session(const char *conn, uint64_t now_ns)
{
	struct ctl_session *session = ctl_session_open(registry, (void *)(uintptr_t)conn, now_ns);

	assert_non_null(session);
	return session;
}

static void assert_log(const char *wanted)
{
	assert_string_equal(host.log, wanted);
	host.log[0] = '\0';
}

/* protocols/sandd.md, section 7, fault 1: the dying socket must not evict the new registration. */
static void late_end_of_old_connection_keeps_the_new(void **state)
{
	struct ctl_session *old = open_session("1", S);
	struct ctl_session *new = open_session("2", 2 * S);

	assert_int_equal(register_as(old, "a", S), 0);
	assert_int_equal(register_as(new, "a", 2 * S), 0);
	assert_log("left a: replaced by a newer connection; hang_up 1: replaced by a newer "
		   "connection; ");
	assert_ptr_equal(ctl_registry_find(registry, "a"), ctl_session_daemon(new));
	ctl_session_close(old);
	assert_log("");
	assert_ptr_equal(ctl_registry_find(registry, "a"), ctl_session_daemon(new));
	assert_non_null(ctl_session_daemon(new));
	ctl_session_close(new);
	assert_log("left a: connection closed; ");
	assert_int_equal(ctl_registry_count(registry), 0);
}

/* A connection that was hung up on cannot take the id back with what it still sends. */
static void replaced_connection_cannot_register_again(void **state)
{
	struct ctl_session *old = open_session("1", S);
	struct ctl_session *new = open_session("2", S);

	assert_int_equal(register_as(old, "a", S), 0);
	assert_int_equal(register_as(new, "a", S), 0);
	assert_int_equal(register_as(old, "a", S), -EPIPE);
	assert_int_equal(ctl_session_heartbeat(old, S), CTL_BEAT_FORGOTTEN);
	assert_ptr_equal(ctl_registry_find(registry, "a"), ctl_session_daemon(new));
	ctl_session_close(old);
	ctl_session_close(new);
}

/* Section 7, fault 10: a second register with another id leaves no ghost. */
static void other_id_on_one_connection_leaves_no_ghost(void **state)
{
	struct ctl_session *session = open_session("1", S);

	assert_int_equal(register_as(session, "a", S), 0);
	assert_int_equal(register_as(session, "b", S), 0);
	assert_log("left a: registered under another id; ");
	assert_int_equal(ctl_registry_count(registry), 1);
	assert_null(ctl_registry_find(registry, "a"));
	ctl_session_close(session);
	assert_int_equal(ctl_registry_count(registry), 0);
}

static void same_id_on_one_connection_updates(void **state)
{
	struct ctl_session *session = open_session("1", S);
	struct ctl_daemon *daemon;

	assert_int_equal(register_as(session, "a", S), 0);
	daemon = ctl_session_daemon(session);
	assert_int_equal(register_as(session, "a", 9 * S), 0);
	assert_ptr_equal(ctl_session_daemon(session), daemon);
	assert_int_equal(daemon->heartbeat_ns, 9 * S);
	assert_int_equal(daemon->registered_ns, S);
	assert_string_equal(daemon->labels[0].name, "zone");
	assert_log("");
	ctl_session_close(session);
}

static void silent_daemon_is_reaped_and_may_come_back(void **state)
{
	struct ctl_session *session = open_session("1", S);

	assert_int_equal(ctl_session_heartbeat(session, S), CTL_BEAT_STRANGER);
	assert_int_equal(register_as(session, "a", S), 0);
	ctl_registry_sweep(registry, 31 * S);
	assert_log("");
	assert_int_equal(ctl_session_heartbeat(session, 31 * S), CTL_BEAT_KNOWN);
	ctl_registry_sweep(registry, 61 * S);
	assert_log("");
	ctl_registry_sweep(registry, 61 * S + 1);
	assert_log("left a: no heartbeat for 30 s; ");
	assert_int_equal(ctl_session_heartbeat(session, 62 * S), CTL_BEAT_FORGOTTEN);
	assert_int_equal(register_as(session, "a", 63 * S), 0);
	assert_int_equal(ctl_session_heartbeat(session, 64 * S), CTL_BEAT_KNOWN);
	ctl_session_close(session);
}

static void session_without_registration_is_hung_up_on_once(void **state)
{
	struct ctl_session *session = open_session("1", S);

	ctl_registry_sweep(registry, 31 * S);
	assert_log("");
	ctl_registry_sweep(registry, 32 * S);
	assert_log("hang_up 1: not registered for 30 s; ");
	ctl_registry_sweep(registry, 99 * S);
	assert_log("");
	ctl_session_close(session);
}

static void bad_ids_are_refused(void **state)
{
	struct ctl_session *session = open_session("1", S);
	char id[WS_ID_BYTES_MAX + 2];

	memset(id, 'x', sizeof(id));
	id[WS_ID_BYTES_MAX + 1] = '\0';
	assert_int_equal(register_as(session, "", S), -EINVAL);
	assert_int_equal(register_as(session, id, S), -EINVAL);
	id[WS_ID_BYTES_MAX] = '\0';
	assert_int_equal(register_as(session, id, S), 0);
	ctl_session_close(session);
}

/* Operators name a daemon in a path: what cannot be named there is refused at the door. */
static void id_fits_into_a_path(void **state)
{
	static const char *const bad[] = {
		".", "..", "/", "a/b", "a/../b", "//", "a\nb", "\x1b[2J", "a\x7f"};
	static const char *const good[] = {"...", "a b", "x%2Fy", "q?z", "h#i", "\xc3\xa9", "exec"};
	struct ctl_session *session = open_session("1", S);

	for (size_t i = 0; i < BASE_ARRAY_LEN(bad); i++)
		if (register_as(session, bad[i], S) != -EINVAL)
			fail_msg("registered as \"%s\"", bad[i]);
	for (size_t i = 0; i < BASE_ARRAY_LEN(good); i++)
		if (register_as(session, good[i], S) != 0)
			fail_msg("not registered as \"%s\"", good[i]);
	ctl_session_close(session);
}

/* What a daemon says of itself cannot grow memory, and is not cut inside a character. */
static void long_metadata_is_cut(void **state)
{
	struct ctl_session *session = open_session("1", S);
	char hostname[1000];
	struct ws_register message = {.daemon_id = (char *)"a",
		.hostname = hostname,
		.platform = (char *)"",
		.arch = (char *)"",
		.version = (char *)""};
	const char *refusal;

	memset(hostname, 'h', sizeof(hostname));
	memcpy(hostname + CTL_METADATA_BYTES_MAX - 1, "\xc3\xa9", 2);
	hostname[999] = '\0';
	assert_int_equal(ctl_session_register(session, &message, S, &refusal), 0);
	assert_int_equal(strlen(ctl_session_daemon(session)->hostname), CTL_METADATA_BYTES_MAX - 1);
	ctl_session_close(session);
}

/*
 * Chance against a naive twin: per id, the session that registered it last and has not left. 8
 * connections, 5 ids, 20,000 steps.
 */
static void random_steps_agree_with_naive_twin(void **state)
{
	enum { SESSIONS = 8, IDS = 5 };
	static const char *const ids[IDS] = {"a", "b", "c", "d", "e"};
	struct ctl_session *sessions[SESSIONS] = {NULL};
	bool is_hung_up[SESSIONS] = {false};
	int holder[IDS] = {-1, -1, -1, -1, -1};
	unsigned seed = 20260101;

	print_message("seed %u\n", seed);
	srandom(seed);
	for (unsigned step = 0; step < 20000; step++) {
		int s = (int)(random() % SESSIONS), i = (int)(random() % IDS);
		bool is_close = random() % 3 == 0;

		if (!sessions[s]) {
			sessions[s] = open_session("x", S);
			is_hung_up[s] = false;
		} else if (is_close) {
			ctl_session_close(sessions[s]);
			sessions[s] = NULL;
			for (int k = 0; k < IDS; k++)
				holder[k] = holder[k] == s ? -1 : holder[k];
		} else if (!is_hung_up[s]) {
			assert_int_equal(register_as(sessions[s], ids[i], S), 0);
			for (int k = 0; k < IDS; k++)
				holder[k] = holder[k] == s && k != i ? -1 : holder[k];
			if (holder[i] >= 0 && holder[i] != s)
				is_hung_up[holder[i]] = true;
			holder[i] = s;
		}
		host.log[0] = '\0';
		for (int k = 0; k < IDS; k++) {
			struct ctl_daemon *daemon = ctl_registry_find(registry, ids[k]);

			assert_ptr_equal(daemon ? daemon->session : NULL,
				holder[k] >= 0 ? sessions[holder[k]] : NULL);
		}
	}
	for (int s = 0; s < SESSIONS; s++)
		ctl_session_close(sessions[s]);
	assert_int_equal(ctl_registry_count(registry), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* --- ids of nodes -------------------------------------------------------------------------------- */

static struct ctl_session *open_of_node(const char *conn, int64_t id, const char *name)
{
	struct ctl_session *session = open_session(conn, S);
	struct ctl_node node = {.id = id};

	strcpy(node.name, name);
	assert_int_equal(ctl_session_set_node(session, &node), 0);
	return session;
}

static void assert_refused(struct ctl_session *session, const char *id, const char *wanted)
{
	struct ws_register message = {.daemon_id = (char *)id,
		.hostname = (char *)"",
		.platform = (char *)"",
		.arch = (char *)"",
		.version = (char *)""};
	const char *refusal = NULL;

	assert_int_equal(ctl_session_register(session, &message, S, &refusal), -EINVAL);
	assert_string_equal(refusal, wanted);
	assert_null(ctl_session_daemon(session));
}

/* The first node that registers an id has it: while it is connected, and after; until it leaves the mesh. */
static void id_belongs_to_its_node(void **state)
{
	struct ctl_session *one = open_of_node("1", 11, "one.lab"), *again;
	struct ctl_session *two = open_of_node("2", 12, "two.lab"), *none = open_session("3", S);

	assert_int_equal(register_as(one, "build", S), 0);
	assert_refused(two, "build", "daemon_id is held by node one.lab of the mesh");
	assert_refused(none, "build", "daemon_id is held by node one.lab of the mesh");
	again = open_of_node("4", 11, "one.lab");
	assert_int_equal(register_as(again, "build", S), 0); /* the same node may replace itself */
	assert_log("left build: replaced by a newer connection; hang_up 1: replaced by a newer "
		   "connection; ");
	ctl_session_close(again);
	ctl_session_close(one);
	assert_log("left build: connection closed; ");
	assert_refused(two, "build", "daemon_id is held by node 11 of the mesh");
	ctl_registry_release(registry, 12);
	assert_refused(two, "build", "daemon_id is held by node 11 of the mesh");
	ctl_registry_release(registry, 11);
	assert_int_equal(register_as(two, "build", S), 0);
	ctl_session_close(two);
	ctl_session_close(none);
}

/* Who is outside of the mesh is nobody: as before among themselves, and no way in for nodes meanwhile. */
static void id_of_nobody(void **state)
{
	struct ctl_session *none = open_session("1", S), *other = open_session("2", S);
	struct ctl_session *node = open_of_node("3", 7, "seven.lab");

	assert_int_equal(register_as(none, "a", S), 0);
	assert_refused(node, "a", "daemon_id is held by a daemon outside of the mesh");
	assert_int_equal(register_as(other, "a", S), 0);
	ctl_session_close(none);
	ctl_session_close(other);
	assert_int_equal(register_as(node, "a", S), 0);
	ctl_session_close(node);
}

/* The table is bounded: the id that rests longest gives way, one in use never. */
static void holds_are_bounded(void **state)
{
	struct ctl_holds *holds = ctl_holds_new();
	char id[32];

	assert_int_equal(ctl_holds_take(holds, "in use", 1), 0);
	for (unsigned i = 0; i < CTL_HOLDS_MAX + 5; i++) {
		snprintf(id, sizeof(id), "d%u", i);
		assert_int_equal(ctl_holds_take(holds, id, 2), 0);
		ctl_holds_rest(holds, id);
	}
	assert_int_equal(ctl_holds_count(holds), CTL_HOLDS_MAX);
	assert_int_equal(ctl_holds_find(holds, "in use"), 1);
	assert_int_equal(ctl_holds_find(holds, "d5"), 0);
	assert_int_equal(ctl_holds_find(holds, "d6"), 2);
	ctl_holds_release(holds, 2);
	assert_int_equal(ctl_holds_count(holds), 1);
	ctl_holds_free(holds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(late_end_of_old_connection_keeps_the_new),
		CASE(replaced_connection_cannot_register_again),
		CASE(other_id_on_one_connection_leaves_no_ghost),
		CASE(same_id_on_one_connection_updates),
		CASE(silent_daemon_is_reaped_and_may_come_back),
		CASE(session_without_registration_is_hung_up_on_once),
		CASE(bad_ids_are_refused),
		CASE(id_fits_into_a_path),
		CASE(long_metadata_is_cut),
		CASE(random_steps_agree_with_naive_twin),
		CASE(id_belongs_to_its_node),
		CASE(id_of_nobody),
		cmocka_unit_test(holds_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
