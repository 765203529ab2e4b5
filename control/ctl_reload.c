/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGHUP and POST /v1/reload (ctl_reload.h). load_file() runs on a thread of libuv's pool and touches nothing but
 * its own struct load; everything else is the loop's.
 */
#include "ctl_reload.h"

#include "base_clock.h"
#include "base_log.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>

BASE_LOG_CATEGORY("reload");

#define WAITING_MAX 16

struct waiting {
	void (*done)(void *user, const struct ctl_reload_result *result);
	void *user;
};

struct ctl_reload {
	struct ctl_config *config;
	struct ctl_tunnel *tunnel;
	bool log_level_is_given;
	uv_loop_t *loop;
	uv_signal_t hangup;

	uv_work_t work; /* with one reading at a time */
	bool is_reading;
	struct ctl_config *read;
	struct base_error error;

	struct waiting now[WAITING_MAX]; /* for the reading that is under way */
	unsigned n_now;
	struct waiting next[WAITING_MAX]; /* came meanwhile: the file may have changed since */
	unsigned n_next;
	bool has_next;

	uint64_t loaded_unix_ns;
	struct ctl_reload_result last;
	bool has_last;
};

/* --- what cannot follow --------------------------------------------------------------------------- */

static bool texts_differ(const char *a, const char *b)
{
	return !a != !b || (a && strcmp(a, b) != 0);
}

static bool endpoints_differ(const struct base_endpoint *a, const struct base_endpoint *b)
{
	return !base_endpoint_equal(a, b);
}

static bool ports_differ(const struct dp_config *a, const struct dp_config *b)
{
	if (a->n_ports != b->n_ports)
		return true;
	for (unsigned i = 0; i < a->n_ports; i++) {
		if (a->ports[i].kind != b->ports[i].kind ||
			strcmp(a->ports[i].device, b->ports[i].device) != 0)
			return true;
	}
	return false;
}

static bool workers_differ(const struct dp_config *a, const struct dp_config *b)
{
	return a->n_workers != b->n_workers ||
		memcmp(a->worker_cpus, b->worker_cpus, a->n_workers * sizeof(a->worker_cpus[0])) !=
		0;
}

static bool addresses_differ(const struct dp_config *a, const struct dp_config *b)
{
	if (a->n_host_addrs != b->n_host_addrs)
		return true;
	for (unsigned i = 0; i < a->n_host_addrs; i++) {
		if (!base_prefix_equal(&a->host_addrs[i], &b->host_addrs[i]))
			return true;
	}
	return false;
}

static bool rules_differ(const struct ctl_config *a, const struct ctl_config *b)
{
	if (a->dp.n_rules != b->dp.n_rules)
		return true;
	for (size_t i = 0; i < a->dp.n_rules; i++) {
		const struct ctl_rule *x = &a->rules[i], *y = &b->rules[i];

		if (!base_prefix_equal(&x->src, &y->src) ||
			!base_prefix_equal(&x->dst.prefix, &y->dst.prefix) ||
			x->dst.port_first != y->dst.port_first ||
			x->dst.port_last != y->dst.port_last || x->proto != y->proto)
			return true;
	}
	return false;
}

/* The default filter follows from the addresses, which stay: then it has to stay as well. */
static bool filter_waits(const struct ctl_config *running, const struct ctl_config *read)
{
	return read->has_default_filter &&
		(addresses_differ(&running->dp, &read->dp) ||
			endpoints_differ(&running->listen, &read->listen));
}

unsigned ctl_reload_compare(const struct ctl_config *running, const struct ctl_config *read,
	const char *ret_keys[CTL_RELOAD_KEYS_MAX])
{
	const struct dp_config *a = &running->dp, *b = &read->dp;
	bool both = running->has_tunnel && read->has_tunnel;
	const struct {
		const char *key;
		bool differs;
	} keys[] = {
		{"ports", running->has_tunnel != read->has_tunnel || (both && ports_differ(a, b))},
		{"listen_port", both && a->listen_port != b->listen_port},
		{"private_key_file", both && !cr_key_equal(&a->private_key, &b->private_key)},
		{"workers", both && workers_differ(a, b)},
		{"control_cpu", both && a->control_cpu != b->control_cpu},
		{"idle", both && a->idle != b->idle},
		{"crypto", both && texts_differ(a->crypto, b->crypto)},
		{"memory_mb", both && a->memory_mb != b->memory_mb},
		{"host.device", both && strcmp(a->host_device, b->host_device) != 0},
		{"host.addresses", both && addresses_differ(a, b)},
		{"host.mtu", both && a->host_mtu != b->host_mtu},
		{"controller.listen", both && endpoints_differ(&running->listen, &read->listen)},
		{"controller.direct", endpoints_differ(&running->direct, &read->direct)},
		{"api.socket", strcmp(running->file_socket, read->file_socket) != 0},
		{"api.group", texts_differ(running->socket_group, read->socket_group)},
		{"filter", both && filter_waits(running, read) && rules_differ(running, read)},
	};
	unsigned n = 0;

	static_assert(BASE_ARRAY_LEN(keys) <= CTL_RELOAD_KEYS_MAX, "room for all");
	for (size_t i = 0; i < BASE_ARRAY_LEN(keys); i++) {
		if (keys[i].differs)
			ret_keys[n++] = keys[i].key;
	}
	return n;
}

/* --- what follows ---------------------------------------------------------------------------------- */

/* The running configuration's peers and rules are @read's now, and the other way round. */
static void swap_peers(struct ctl_config *config, struct ctl_config *read)
{
	struct ctl_peer *peers = config->peers;
	size_t n = config->n_peers;

	config->peers = read->peers;
	config->n_peers = read->n_peers;
	read->peers = peers;
	read->n_peers = n;
}

static void swap_rules(struct ctl_config *config, struct ctl_config *read)
{
	struct ctl_rule *rules = config->rules;
	struct dp_filter_rule *dp_rules = config->dp_rules;

	config->rules = read->rules;
	config->dp_rules = read->dp_rules;
	config->dp.rules = read->dp.rules;
	config->dp.n_rules = read->dp.n_rules;
	config->has_default_filter = read->has_default_filter;
	read->rules = rules;
	read->dp_rules = dp_rules;
}

/* The filter first: it can be put back, and peers that come find it. */
static int follow_tunnel(struct ctl_reload *reload, struct ctl_reload_result *result)
{
	struct ctl_config *config = reload->config, *read = reload->read;
	bool has_new_filter = !filter_waits(config, read) && rules_differ(config, read);
	int rc = 0;

	if (has_new_filter)
		rc = ctl_tunnel_set_file_rules(
			reload->tunnel, read->dp.rules, read->dp.n_rules, &result->error);
	if (rc < 0)
		return rc;
	rc = ctl_tunnel_follow_file(
		reload->tunnel, read->peers, read->n_peers, &result->peers, &result->error);
	if (rc == 0) {
		swap_peers(config, read);
		if (has_new_filter)
			swap_rules(config, read);
		result->has_new_filter = has_new_filter;
	} else if (has_new_filter) {
		struct base_error ignored;

		if (ctl_tunnel_set_file_rules(
			    reload->tunnel, config->dp.rules, config->dp.n_rules, &ignored) < 0)
			base_log_error("the filter before cannot be had back: %s", ignored.text);
	}
	return rc;
}

static void follow(struct ctl_reload *reload, struct ctl_reload_result *result)
{
	struct ctl_config *config = reload->config, *read = reload->read;

	if (!read) {
		result->error = reload->error;
		return;
	}
	result->n_needs_restart = ctl_reload_compare(config, read, result->needs_restart);
	if (reload->tunnel && read->has_tunnel && follow_tunnel(reload, result) < 0)
		return;
	if (!reload->log_level_is_given && config->log_level != read->log_level) {
		config->log_level = read->log_level;
		base_log_setup(NULL, config->log_level);
		result->has_new_log_level = true;
	}
	result->is_ok = true;
	reload->loaded_unix_ns = result->unix_ns;
}

static void tell(const struct ctl_config *config, const struct ctl_reload_result *result)
{
	if (!result->is_ok) {
		base_log_error("nothing changed: %s", result->error.text);
		return;
	}
	base_log_info("%s: peers %zu added, %zu changed, %zu removed, %zu as they were%s%s",
		config->file, result->peers.added, result->peers.changed, result->peers.removed,
		result->peers.unchanged, result->has_new_filter ? "; filter changed" : "",
		result->has_new_log_level ? "; log level changed" : "");
	for (unsigned i = 0; i < result->n_needs_restart; i++)
		base_log_warn("changed %s needs a restart", result->needs_restart[i]);
}

/* --- reading --------------------------------------------------------------------------------------- */

static void warn(const char *line)
{
	base_log_warn("%s", line);
}

static void load_file(uv_work_t *work)
{
	struct ctl_reload *reload = work->data;

	reload->read = ctl_config_load_again(reload->config, warn, &reload->error);
}

static void start_reading(struct ctl_reload *reload);

static void on_loaded(uv_work_t *work, int status)
{
	struct ctl_reload *reload = work->data;
	struct ctl_reload_result result = {.unix_ns = base_clock_unix_ns()};
	struct waiting waiting[WAITING_MAX];
	unsigned n = reload->n_now;

	follow(reload, &result);
	tell(reload->config, &result);
	ctl_config_free(reload->read);
	reload->read = NULL;
	reload->last = result;
	reload->has_last = true;
	reload->is_reading = false;
	memcpy(waiting, reload->now, sizeof(waiting));
	reload->n_now = 0;
	for (unsigned i = 0; i < n; i++)
		waiting[i].done(waiting[i].user, &result);
	if (reload->has_next)
		start_reading(reload);
}

static void start_reading(struct ctl_reload *reload)
{
	memcpy(reload->now, reload->next, sizeof(reload->now));
	reload->n_now = reload->n_next;
	reload->n_next = 0;
	reload->has_next = false;
	reload->is_reading = true;
	/* Fails for a missing callback only. */
	(void)uv_queue_work(reload->loop, &reload->work, load_file, on_loaded);
}

int ctl_reload_begin(struct ctl_reload *reload,
	void (*done)(void *user, const struct ctl_reload_result *result), void *user)
{
	if (done && reload->n_next == WAITING_MAX)
		return -EBUSY;
	if (done)
		reload->next[reload->n_next++] = (struct waiting){done, user};
	reload->has_next = true;
	if (!reload->is_reading)
		start_reading(reload);
	return 0;
}

static void forget(struct waiting *waiting, unsigned *n, const void *user)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < *n; i++) {
		if (waiting[i].user != user)
			waiting[kept++] = waiting[i];
	}
	*n = kept;
}

void ctl_reload_forget(struct ctl_reload *reload, void *user)
{
	forget(reload->now, &reload->n_now, user);
	forget(reload->next, &reload->n_next, user);
}

static void on_hangup(uv_signal_t *handle, int signum)
{
	struct ctl_reload *reload = handle->data;

	base_log_info("SIGHUP: reading %s again", reload->config->file);
	/* Nobody waits for it: it cannot be refused. */
	(void)!ctl_reload_begin(reload, NULL, NULL);
}

/* --- life ------------------------------------------------------------------------------------------ */

struct ctl_reload *ctl_reload_new(struct ctl_config *config, struct ctl_tunnel *tunnel,
	struct ctl_loop *loop, bool log_level_is_given)
{
	struct ctl_reload *reload = calloc(1, sizeof(*reload));

	if (!reload)
		return NULL;
	reload->config = config;
	reload->tunnel = tunnel;
	reload->log_level_is_given = log_level_is_given;
	reload->loop = ctl_loop_uv(loop);
	reload->work.data = reload;
	reload->loaded_unix_ns = base_clock_unix_ns();
	/* Neither can fail on a loop that runs and a signal that exists. */
	uv_signal_init(reload->loop, &reload->hangup);
	reload->hangup.data = reload;
	uv_signal_start(&reload->hangup, on_hangup, SIGHUP);
	return reload;
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void ctl_reload_free(struct ctl_reload *reload)
{
	if (!reload)
		return;
	reload->n_now = reload->n_next = 0;
	reload->has_next = false;
	/* on_loaded() comes with the loop's next turn, and has to find all that it changes. */
	while (reload->is_reading)
		uv_run(reload->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&reload->hangup, on_closed);
}

uint64_t ctl_reload_loaded_unix_ns(const struct ctl_reload *reload)
{
	return reload->loaded_unix_ns;
}

const struct ctl_reload_result *ctl_reload_last(const struct ctl_reload *reload)
{
	return reload->has_last ? &reload->last : NULL;
}
