/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions in a list, daemons in an array ordered by id. Loop's thread. See ctl_registry.h. */
#include "ctl_registry.h"

#include "ctl_holds.h"

#include <stdlib.h>
#include <sys/queue.h>

struct ctl_session {
	struct ctl_registry *registry;
	void *conn;
	struct ctl_daemon *daemon; /* NULL: not registered */
	bool was_registered;
	bool is_hung_up;
	struct ctl_node *node;  /* NULL: of no mesh */
	uint64_t idle_since_ns; /* without a registration since then */
	TAILQ_ENTRY(ctl_session) link;
};

struct ctl_registry {
	struct ctl_registry_host host;
	void *ctx;
	TAILQ_HEAD(, ctl_session) sessions;
	struct ctl_daemon **daemons; /* ordered by id */
	size_t n_daemons, room;
	struct ctl_holds *holds;
	char refusal[320];
};

struct ctl_registry *ctl_registry_new(const struct ctl_registry_host *host, void *ctx)
{
	struct ctl_registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return NULL;
	registry->holds = ctl_holds_new();
	if (!registry->holds) {
		free(registry);
		return NULL;
	}
	registry->host = *host;
	registry->ctx = ctx;
	TAILQ_INIT(&registry->sessions);
	return registry;
}

void ctl_registry_free(struct ctl_registry *registry)
{
	if (!registry)
		return;
	free(registry->daemons);
	ctl_holds_free(registry->holds);
	free(registry);
}

/* Where @id is, or would be put. */
static size_t position(const struct ctl_registry *registry, const char *id, bool *ret_found)
{
	size_t low = 0, high = registry->n_daemons;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(registry->daemons[middle]->id, id);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = false;
	return low;
}

struct ctl_daemon *ctl_registry_find(const struct ctl_registry *registry, const char *id)
{
	bool found;
	size_t at = position(registry, id, &found);

	return found ? registry->daemons[at] : NULL;
}

size_t ctl_registry_count(const struct ctl_registry *registry)
{
	return registry->n_daemons;
}

const struct ctl_daemon *ctl_registry_at(const struct ctl_registry *registry, size_t i)
{
	return registry->daemons[i];
}

static void labels_free(struct ws_pair *labels, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(labels[i].name);
		free(labels[i].value);
	}
	free(labels);
}

static void metadata_free(struct ctl_daemon *daemon)
{
	free(daemon->hostname);
	free(daemon->platform);
	free(daemon->arch);
	free(daemon->version);
	labels_free(daemon->labels, daemon->n_labels);
}

static void daemon_free(struct ctl_daemon *daemon)
{
	if (!daemon)
		return;
	metadata_free(daemon);
	free(daemon->id);
	free(daemon);
}

/* Copy at most CTL_METADATA_BYTES_MAX bytes, and no part of a UTF-8 character. */
static char *copy_cut(const char *text)
{
	size_t len = strnlen(text, CTL_METADATA_BYTES_MAX + 1);

	if (len > CTL_METADATA_BYTES_MAX) {
		len = CTL_METADATA_BYTES_MAX;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	return strndup(text, len);
}

static struct ws_pair *copy_labels(const struct ws_register *message, size_t *ret_n)
{
	size_t n = message->n_labels < WS_LABELS_MAX ? message->n_labels : WS_LABELS_MAX;
	struct ws_pair *labels = calloc(n + 1, sizeof(*labels));

	if (!labels)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		labels[i].name = copy_cut(message->labels[i].name);
		labels[i].value = copy_cut(message->labels[i].value);
		if (!labels[i].name || !labels[i].value) {
			labels_free(labels, i + 1);
			return NULL;
		}
	}
	*ret_n = n;
	return labels;
}

/* What a daemon says of itself; on failure nothing has changed. */
static int metadata_take(struct ctl_daemon *daemon, const struct ws_register *message)
{
	struct ctl_daemon fresh = {
		.hostname = copy_cut(message->hostname),
		.platform = copy_cut(message->platform),
		.arch = copy_cut(message->arch),
		.version = copy_cut(message->version),
	};

	fresh.labels = copy_labels(message, &fresh.n_labels);
	if (!fresh.hostname || !fresh.platform || !fresh.arch || !fresh.version || !fresh.labels) {
		metadata_free(&fresh);
		return -ENOMEM;
	}
	metadata_free(daemon);
	daemon->hostname = fresh.hostname;
	daemon->platform = fresh.platform;
	daemon->arch = fresh.arch;
	daemon->version = fresh.version;
	daemon->labels = fresh.labels;
	daemon->n_labels = fresh.n_labels;
	return 0;
}

static struct ctl_daemon *daemon_new(const struct ws_register *message)
{
	struct ctl_daemon *daemon = calloc(1, sizeof(*daemon));

	if (!daemon)
		return NULL;
	ctl_request_owner_init(&daemon->requests);
	daemon->id = strdup(message->daemon_id);
	if (!daemon->id || metadata_take(daemon, message) < 0) {
		daemon_free(daemon);
		return NULL;
	}
	return daemon;
}

/*
 * The end of a registration, in this order: out of the table and off its session, so that nobody
 * finds it any more; then the host, which fails its requests; then the memory.
 */
static void daemon_leave(struct ctl_daemon *daemon, const char *why, uint64_t now_ns)
{
	struct ctl_session *session = daemon->session;
	struct ctl_registry *registry = session->registry;
	bool found;
	size_t at = position(registry, daemon->id, &found);

	registry->n_daemons--;
	memmove(&registry->daemons[at], &registry->daemons[at + 1],
		(registry->n_daemons - at) * sizeof(*registry->daemons));
	session->daemon = NULL;
	session->idle_since_ns = now_ns;
	if (session->node)
		ctl_holds_rest(registry->holds, daemon->id);
	registry->host.left(registry->ctx, daemon, why);
	daemon_free(daemon);
}

static int make_room(struct ctl_registry *registry)
{
	size_t room = registry->room ? 2 * registry->room : 64;
	struct ctl_daemon **daemons;

	if (registry->n_daemons < registry->room)
		return 0;
	daemons = realloc(registry->daemons, room * sizeof(*daemons));
	if (!daemons)
		return -ENOMEM;
	registry->daemons = daemons;
	registry->room = room;
	return 0;
}

/* Put in place; there is room, and nobody has the id. */
static void daemon_enter(struct ctl_session *session, struct ctl_daemon *daemon, uint64_t now_ns)
{
	struct ctl_registry *registry = session->registry;
	bool found;
	size_t at = position(registry, daemon->id, &found);

	memmove(&registry->daemons[at + 1], &registry->daemons[at],
		(registry->n_daemons - at) * sizeof(*registry->daemons));
	registry->daemons[at] = daemon;
	registry->n_daemons++;
	daemon->session = session;
	daemon->registered_ns = now_ns;
	daemon->heartbeat_ns = now_ns;
	session->daemon = daemon;
	session->was_registered = true;
}

static void hang_up(struct ctl_session *session, const char *why)
{
	if (session->is_hung_up)
		return;
	session->is_hung_up = true;
	session->registry->host.hang_up(session->registry->ctx, session->conn, why);
}

struct ctl_session *ctl_session_open(struct ctl_registry *registry, void *conn, uint64_t now_ns)
{
	struct ctl_session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->registry = registry;
	session->conn = conn;
	session->idle_since_ns = now_ns;
	TAILQ_INSERT_TAIL(&registry->sessions, session, link);
	return session;
}

void ctl_session_close(struct ctl_session *session)
{
	if (!session)
		return;
	if (session->daemon)
		daemon_leave(session->daemon, "connection closed", 0);
	TAILQ_REMOVE(&session->registry->sessions, session, link);
	free(session->node);
	free(session);
}

int ctl_session_set_node(struct ctl_session *session, const struct ctl_node *node)
{
	session->node = malloc(sizeof(*session->node));
	if (!session->node)
		return -ENOMEM;
	*session->node = *node;
	return 0;
}

const struct ctl_node *ctl_session_node(const struct ctl_session *session)
{
	return session->node;
}

void ctl_registry_release(struct ctl_registry *registry, int64_t node_id)
{
	ctl_holds_release(registry->holds, node_id);
}

struct ctl_daemon *ctl_session_daemon(const struct ctl_session *session)
{
	return session->daemon;
}

void *ctl_session_conn(const struct ctl_session *session)
{
	return session->conn;
}

/* Does another node have the id? Says who, if a connection of it shows its name. */
static const char *refuse_owner(struct ctl_session *session, const char *id)
{
	struct ctl_registry *registry = session->registry;
	const struct ctl_daemon *other = ctl_registry_find(registry, id);
	const struct ctl_node *node = other ? other->session->node : NULL;
	int64_t owner = ctl_holds_find(registry->holds, id);
	int64_t ours = session->node ? session->node->id : 0;

	if (owner == 0 && !other)
		return NULL;
	if (owner == 0 && node)
		owner = node->id;
	if (owner == ours)
		return NULL;
	if (node)
		snprintf(registry->refusal, sizeof(registry->refusal),
			"daemon_id is held by node %s of the mesh", node->name);
	else if (owner != 0)
		snprintf(registry->refusal, sizeof(registry->refusal),
			"daemon_id is held by node %lld of the mesh", (long long)owner);
	else
		snprintf(registry->refusal, sizeof(registry->refusal),
			"daemon_id is held by a daemon outside of the mesh");
	return registry->refusal;
}

/* A new registration: of a session under another id than before, of an id that another session has. */
static int register_anew(
	struct ctl_session *session, const struct ws_register *message, uint64_t now_ns)
{
	struct ctl_registry *registry = session->registry;
	struct ctl_daemon *daemon = daemon_new(message), *other;

	if (!daemon || make_room(registry) < 0 ||
		(session->node &&
			ctl_holds_take(registry->holds, message->daemon_id, session->node->id) <
				0)) {
		daemon_free(daemon);
		return -ENOMEM;
	}
	if (session->daemon)
		daemon_leave(session->daemon, "registered under another id", now_ns);
	other = ctl_registry_find(registry, message->daemon_id);
	if (other) {
		struct ctl_session *old = other->session;

		daemon_leave(other, "replaced by a newer connection", now_ns);
		hang_up(old, "replaced by a newer connection");
	}
	daemon_enter(session, daemon, now_ns);
	return session->node
		? ctl_holds_take(registry->holds, message->daemon_id, session->node->id)
		: 0;
}

/* An id is a segment of the API's paths: it must stay one when HTTP has decoded and normalized it. */
static const char *refuse_id(const char *id)
{
	size_t len = strlen(id);

	if (len == 0 || len > WS_ID_BYTES_MAX)
		return "daemon_id must have 1 to 256 bytes";
	if (strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
		return "daemon_id must be more than dots";
	for (size_t i = 0; i < len; i++)
		if (id[i] == '/' || (unsigned char)id[i] < ' ' || id[i] == 0x7f)
			return "daemon_id must not hold '/' or control characters";
	return NULL;
}

int ctl_session_register(struct ctl_session *session, const struct ws_register *message,
	uint64_t now_ns, const char **ret_refusal)
{
	const char *refusal = refuse_id(message->daemon_id);
	int rc;

	if (!refusal)
		refusal = refuse_owner(session, message->daemon_id);
	if (refusal) {
		*ret_refusal = refusal;
		return -EINVAL;
	}
	if (session->is_hung_up) {
		*ret_refusal = "this connection is closing";
		return -EPIPE;
	}
	if (session->daemon && strcmp(session->daemon->id, message->daemon_id) == 0) {
		session->daemon->heartbeat_ns = now_ns;
		rc = metadata_take(session->daemon, message);
	} else {
		rc = register_anew(session, message, now_ns);
	}
	if (rc < 0)
		*ret_refusal = "the controller is out of memory";
	return rc;
}

enum ctl_beat ctl_session_heartbeat(struct ctl_session *session, uint64_t now_ns)
{
	if (session->daemon) {
		session->daemon->heartbeat_ns = now_ns;
		return CTL_BEAT_KNOWN;
	}
	return session->was_registered ? CTL_BEAT_FORGOTTEN : CTL_BEAT_STRANGER;
}

void ctl_registry_sweep(struct ctl_registry *registry, uint64_t now_ns)
{
	struct ctl_session *session;

	/* Nothing in here frees a session: they end by ctl_session_close(), later, from the loop. */
	TAILQ_FOREACH(session, &registry->sessions, link)
	{
		if (session->daemon && now_ns - session->daemon->heartbeat_ns > CTL_SILENCE_NS)
			daemon_leave(session->daemon, "no heartbeat for 30 s", now_ns);
		else if (!session->daemon && now_ns - session->idle_since_ns > CTL_SILENCE_NS)
			hang_up(session, "not registered for 30 s");
	}
}
