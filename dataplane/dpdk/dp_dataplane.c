/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's ladder: up in dp_start(), down in reverse in dp_free(); and what control does
 * between (dp_service, dp_stats_get). Control thread, but for dp_from_host(), which is the host thread's.
 * Next to read: dp_worker.h.
 */
#include "dp_dataplane.h"

#include "cr_blake2s.h"
#include "cr_noise.h"
#include "dp_aead.h"
#include "dp_ports.h"
#include "dp_telemetry.h"
#include "dp_test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>

/* Events handled by one dp_service(), so that control's loop stays fair. */
#define EVENTS_PER_SERVICE 256

/* Ring and null ports have no kernel behind them: one flat network, everybody a hop away. */
static void nexthop_flat(const struct dp_underlay_view *view, const struct base_addr *dst,
	const struct base_addr *src, struct dp_nexthop *ret_nexthop)
{
	static const uint8_t our4[4] = DP_TEST_OUR_ADDR4;
	static const uint8_t our6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};

	*ret_nexthop = (struct dp_nexthop){
		.state = DP_NEXTHOP_OK,
		.mtu_bytes = DP_TEST_MTU_BYTES,
		.src_mac = {2, 0, 0, 0, 0, 1},
		.dst_mac = {2, 0, 0, 0, 0, 2},
		.gateway = *dst,
	};
	if (src)
		ret_nexthop->src_addr = *src;
	else if (dst->family == BASE_FAMILY_V4)
		ret_nexthop->src_addr = base_addr_from_bytes(BASE_FAMILY_V4, our4);
	else
		ret_nexthop->src_addr = base_addr_from_bytes(BASE_FAMILY_V6, our6);
}

bool dp_wait_a_little(struct dp *dp)
{
	/* Asleep: they may share our CPU. */
	const struct timespec pause = {.tv_nsec = 20 * 1000};

	if (dp->is_stepped) {
		dp_test_round(dp, dp->step_ns);
		return true;
	}
	nanosleep(&pause, NULL);
	dp_watchdog_look(&dp->watchdog, dp);
	return !dp->watchdog.has_found;
}

uint64_t dp_now_ns(const struct dp *dp)
{
	return dp->is_stepped ? dp->step_ns : base_clock_now_ns();
}

/* Configuration. */

static_assert(DP_HOST_MTU_MAX + 256 <= RTE_MBUF_DEFAULT_DATAROOM,
	"an inner packet, its padding, tag and outer headers fit one buffer");

static int check_config(const struct dp_config *config, struct base_error *ret_error)
{
	if (config->n_ports == 0 || config->n_ports > DP_PORTS_MAX)
		return base_error_set(ret_error, -EINVAL, "ports: 1 to %d, not %u", DP_PORTS_MAX,
			config->n_ports);
	if (config->n_workers == 0 || config->n_workers > DP_WORKERS_MAX)
		return base_error_set(ret_error, -EINVAL, "workers: 1 to %d, not %u",
			DP_WORKERS_MAX, config->n_workers);
	if (config->n_host_addrs > DP_HOST_ADDRS_MAX)
		return base_error_set(ret_error, -EINVAL, "host addresses: at most %d, not %u",
			DP_HOST_ADDRS_MAX, config->n_host_addrs);
	if (config->listen_port == 0)
		return base_error_set(ret_error, -EINVAL, "listen_port: 1 to 65535, not 0");
	if (config->host_mtu < DP_HOST_MTU_MIN || config->host_mtu > DP_HOST_MTU_MAX)
		return base_error_set(ret_error, -EINVAL, "mtu: %d to %d, not %u", DP_HOST_MTU_MIN,
			DP_HOST_MTU_MAX, config->host_mtu);
	return 0;
}

static bool has_kernel_device(const struct dp_port_config *port)
{
	return port->kind == DP_PORT_AF_XDP || port->kind == DP_PORT_AF_PACKET;
}

static bool has_any_kernel_device(const struct dp_config *config)
{
	for (unsigned i = 0; i < config->n_ports; i++) {
		if (has_kernel_device(&config->ports[i]))
			return true;
	}
	return false;
}

/* Steps of the ladder. */

int dp_clean(const struct dp_config *config, struct base_error *ret_error)
{
	for (unsigned i = 0; i < config->n_ports; i++) {
		int error = 0;

		if (config->ports[i].kind == DP_PORT_AF_XDP)
			error = dp_xdp_clear(config->ports[i].device, ret_error);
		if (error)
			return error;
	}
	return 0;
}

/* Of a port; while dp_new() runs nobody listens to events yet. */
void dp_caution(void *ctx, const char *line)
{
	struct dp *dp = ctx;

	if (dp->warn)
		dp->warn(line);
	else if (dp->callbacks.event)
		dp->callbacks.event(
			dp->ctx, &(struct dp_event){.type = DP_EVENT_PORT, .text = line});
}

static int start_ports(struct dp *dp, const struct dp_config *config, struct base_error *ret_error)
{
	for (unsigned i = 0; i < config->n_ports; i++) {
		int error = dp_port_start(&dp->ports[i], config, i, dp->pool, ret_error);

		dp->n_ports = i + 1;
		if (error)
			return error;
		dp_port_check(&dp->ports[i], config->n_workers, dp_caution, dp);
	}
	dp_relay_open(dp->relay, &dp->ports[dp->n_ports], config->n_workers);
	return 0;
}

/* Has what peers could reach us at changed? Without memory the list stays as it was. */
static void follow_addrs(struct dp *dp, const struct dp_underlay_view *view)
{
	size_t n = dp_underlay_addrs(view, NULL, 0);
	struct base_addr *addrs = calloc(n + 1, sizeof(*addrs));

	if (!addrs)
		return;
	dp_underlay_addrs(view, addrs, n);
	if (n == dp->n_local_addrs && dp->local_addrs &&
		memcmp(addrs, dp->local_addrs, n * sizeof(*addrs)) == 0) {
		free(addrs);
		return;
	}
	dp->has_new_addrs = dp->local_addrs != NULL;
	free(dp->local_addrs);
	dp->local_addrs = addrs;
	dp->n_local_addrs = n;
}

static void publish_view(void *ctx, struct dp_underlay_view *view)
{
	struct dp *dp = ctx;

	follow_addrs(dp, view);
	dp_tables_publish_view(&dp->tables, dp->rcu, view);
}

size_t dp_local_addrs(const struct dp *dp, struct base_addr *ret_addrs, size_t max)
{
	static const uint8_t flat[4] = DP_TEST_OUR_ADDR4;

	/* Without a kernel below there is the one that packets leave from. */
	if (!dp->underlay) {
		if (max)
			ret_addrs[0] = base_addr_from_bytes(BASE_FAMILY_V4, flat);
		return 1;
	}
	for (size_t i = 0; i < dp->n_local_addrs && i < max; i++)
		ret_addrs[i] = dp->local_addrs[i];
	return dp->n_local_addrs;
}

static void link_changed(void *ctx, unsigned device, bool is_up)
{
	struct dp *dp = ctx;
	char text[64];

	if (device >= dp->n_ports)
		return;
	snprintf(text, sizeof(text), "port %s is %s", dp->ports[device].device,
		is_up ? "up" : "down");
	dp_caution(dp, text);
}

static int start_underlay(
	struct dp *dp, const struct dp_config *config, struct base_error *ret_error)
{
	struct dp_underlay_config underlay = {.publish = publish_view,
		.link = link_changed,
		.inner_mtu_bytes = config->host_mtu,
		.caution = dp_caution,
		.ctx = dp};
	bool has_device = has_any_kernel_device(config);

	for (unsigned i = 0; i < config->n_ports; i++) {
		/* By position: a port without a kernel device keeps its place, empty. */
		if (has_kernel_device(&config->ports[i]))
			memcpy(underlay.devices[i], config->ports[i].device,
				sizeof(underlay.devices[i]));
	}
	underlay.n_devices = config->n_ports;
	dp->nexthop_lookup = has_device ? dp_underlay_lookup : nexthop_flat;
	if (!has_device)
		return 0;
	dp->underlay = dp_underlay_new(&underlay, ret_error);
	return dp->underlay ? 0 : -errno;
}

static void assign_queues(struct dp_worker *worker)
{
	for (unsigned port = 0; port < worker->dp->n_ports; port++) {
		for (uint16_t q = 0; q < worker->ports[port].n_queues; q++) {
			if (q % worker->n_workers == worker->id)
				worker->rx_queues[worker->n_rx_queues++] =
					(struct dp_rx_queue){.port = port, .queue = q};
		}
	}
}

/* A worker watches the sockets of its queues; where they cannot be told apart, all of them. */
int dp_watch_sockets(struct dp_worker *worker)
{
	for (unsigned i = 0; i < worker->n_rx_queues; i++) {
		const struct dp_port *port = &worker->ports[worker->rx_queues[i].port];

		for (unsigned f = 0; f < port->n_fds; f++) {
			int error = 0;

			if (port->n_fds != port->n_queues || f == worker->rx_queues[i].queue)
				error = dp_idle_add_fd(worker->idle, port->fds[f]);
			if (error && error != -EEXIST)
				return error;
		}
	}
	return 0;
}

static int start_worker(struct dp *dp, const struct dp_config *config, unsigned i,
	const struct cr_aead_ops *aead, struct base_error *ret_error)
{
	struct dp_worker *worker = &dp->workers[i];
	int error;

	worker->dp = dp;
	worker->id = i;
	worker->cpu = config->worker_cpus[i];
	worker->lcore = i + 1;
	worker->n_workers = dp->n_workers;
	worker->workers = dp->workers;
	worker->ports = dp->ports;
	worker->n_ports = dp->n_ports + 1;
	worker->listen_port = config->listen_port;
	base_store_be16(&worker->listen_port_be16, config->listen_port);
	worker->host_mtu_bytes = config->host_mtu;
	worker->tables = &dp->tables;
	worker->pool = dp->pool;
	worker->aead_ops = aead;
	worker->stranger_ring = dp_handshake_stranger_ring(dp->handshake);
	worker->expected_ring = dp_handshake_expected_ring(dp->handshake);
	worker->note_ring = dp_handshake_note_ring(dp->handshake);
	worker->handshake_idle = dp_handshake_idle(dp->handshake);
	worker->qsbr = dp_rcu_qsbr(dp->rcu);
	assign_queues(worker);
	error = dp_worker_init(worker, ret_error);
	if (error)
		return error;
	error = dp_watch_sockets(worker);
	return error ? base_error_set(ret_error, error, "worker %u: cannot watch its sockets: %s",
			       i, strerror(-error))
		     : 0;
}

static int start_workers(struct dp *dp, const struct dp_config *config,
	const struct cr_aead_ops *aead, struct base_error *ret_error)
{
	size_t bytes = config->n_workers * sizeof(*dp->workers);

	dp->workers = aligned_alloc(RTE_CACHE_LINE_SIZE, bytes);
	if (!dp->workers)
		return base_error_set(
			ret_error, -ENOMEM, "no memory for %u workers", config->n_workers);
	memset(dp->workers, 0, bytes);
	dp->n_workers = config->n_workers;
	for (unsigned i = 0; i < config->n_workers; i++) {
		int error = start_worker(dp, config, i, aead, ret_error);

		if (error)
			return error;
	}
	return 0;
}

/* Host thread. */
static void host_is_gone(void *ctx)
{
	struct dp *dp = ctx;

	/* Sequentially consistent with the exchange in dp_events_rearm(): control, woken, sees it. */
	atomic_store(&dp->host_is_gone, true);
	dp_events_again(dp->events);
}

/* Of the fullest worker: whose packet comes next is not known. */
static unsigned host_room(void *ctx)
{
	const struct dp *dp = ctx;
	unsigned room = UINT32_MAX;

	for (unsigned i = 0; i < dp->n_workers; i++)
		room = RTE_MIN(room, rte_ring_free_count(dp->workers[i].inner_ring));
	return room;
}

static int start_host(struct dp *dp, const struct dp_config *config, struct base_error *ret_error)
{
	struct dp_host_config host = {
		.n_addrs = config->n_host_addrs,
		.mtu_bytes = config->host_mtu,
		.cpu = config->control_cpu,
		.pool = dp->pool,
		.ring_size = DP_HOST_RING_PKTS,
		.from_host = dp_from_host,
		.gone = host_is_gone,
		.room = host_room,
		.ctx = dp,
	};

	if (config->host_device[0] == '\0')
		return 0;
	/* One that may sleep does so for the device as well; one that only polls is not to make system calls. */
	if (dp->n_workers == 1 && dp_worker_may_sleep(&dp->workers[0]))
		host.server = dp->workers[0].idle;
	memcpy(host.device, config->host_device, sizeof(host.device));
	memcpy(host.addrs, config->host_addrs, sizeof(host.addrs));
	dp->host = dp_host_new(&host, ret_error);
	if (!dp->host)
		return -errno;
	for (unsigned i = 0; i < dp->n_workers; i++) {
		dp->workers[i].host = dp->host;
		dp->workers[i].serves_host = host.server != NULL;
		dp->workers[i].host_ring = dp_host_ring(dp->host);
	}
	return 0;
}

static int start_threads(
	struct dp *dp, const struct dp_config *config, struct base_error *ret_error)
{
	int error = dp_handshake_start(dp->handshake, config->control_cpu);

	if (error)
		return base_error_set(ret_error, error, "handshake thread: %s", strerror(-error));
	for (unsigned i = 0; i < dp->n_workers; i++) {
		error = rte_eal_remote_launch(
			dp_worker_main, &dp->workers[i], dp->workers[i].lcore);
		if (error)
			return base_error_set(ret_error, error,
				"worker %u: its lcore does not start: %s", i, strerror(-error));
		dp->n_running = i + 1;
	}
	return 0;
}

static int watch(struct dp *dp, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	return epoll_ctl(dp->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

static int start_shared(struct dp *dp, const struct dp_config *config, struct base_error *ret_error)
{
	int error;

	dp->pool = dp_pool_new(config);
	dp->rcu = dp_rcu_new(config->n_workers + 1);
	dp->events = dp_events_new();
	dp->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	error = dp_watchdog_init(&dp->watchdog);
	if (error || !dp->pool || !dp->rcu || !dp->events || dp->epoll_fd < 0)
		return base_error_set(ret_error, -ENOMEM,
			"no memory for packets and rings; memory_mb: %u is too little",
			dp_memory_mb(config));
	cr_random(&dp->flow_seed, sizeof(dp->flow_seed));
	error = dp_tables_init(&dp->tables, dp->rcu);
	if (!error)
		error = dp_nets_init(&dp->nets, config);
	if (!error)
		error = dp_probes_init(&dp->probes);
	dp->relay = dp_relay_new();
	if (!error && !dp->relay)
		error = -ENOMEM;
	if (error)
		return base_error_set(ret_error, error, "no memory for tables");
	error = dp_filter_set(dp, config->rules, config->n_rules, ret_error);
	if (error)
		return error;
	dp->handshake = dp_handshake_new(dp, &config->private_key);
	return dp->handshake
		? 0
		: base_error_set(ret_error, -errno, "handshake thread: %s", strerror(errno));
}

static int start_all(struct dp *dp, const struct dp_config *config, void (*warn)(const char *line),
	struct base_error *ret_error)
{
	const struct cr_aead_ops *aead;
	int error = check_config(config, ret_error);

	if (error)
		return error;
	error = cr_init();
	if (error)
		return base_error_set(ret_error, error,
			"crypto: libsodium does not start, or OpenSSL has no BLAKE2s");
	aead = dp_aead_choose(config->crypto, warn, ret_error);
	if (!aead)
		return -errno;
	error = dp_eal_init(config, dp->is_stepped ? 0 : config->n_workers, warn, ret_error);
	if (!error)
		error = start_shared(dp, config, ret_error);
	/* The guard before the ports: a port number that is taken stops us before anything is attached. */
	if (!error && has_any_kernel_device(config)) {
		error = dp_guard_open(&dp->guard, config->listen_port, ret_error);
		dp->has_guard = error == 0;
	}
	if (!error)
		error = start_ports(dp, config, ret_error);
	if (!error)
		error = start_underlay(dp, config, ret_error);
	if (!error)
		error = start_workers(dp, config, aead, ret_error);
	if (!error)
		error = dp_taps_init(dp);
	/* Before the workers run, which read its ring without asking; what it puts on theirs waits. */
	if (!error)
		error = start_host(dp, config, ret_error);
	if (!error && config->has_telemetry)
		error = dp_telemetry_open(dp, ret_error);
	if (!error && !dp->is_stepped)
		error = start_threads(dp, config, ret_error);
	if (!error)
		error = watch(dp, dp_events_fd(dp->events));
	if (!error)
		error = watch(dp, dp->watchdog.fd);
	if (!error && dp->underlay)
		error = watch(dp, dp_underlay_fd(dp->underlay));
	return error;
}

/* Signals are for the thread that calls: the others are born with them blocked, but for those of their own faults. */
static void block_signals(sigset_t *ret_before)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t most;

	sigfillset(&most);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(faults); i++)
		sigdelset(&most, faults[i]);
	pthread_sigmask(SIG_SETMASK, &most, ret_before);
}

struct dp *dp_start(const struct dp_config *config, const struct dp_callbacks *callbacks, void *ctx,
	bool is_stepped, void (*warn)(const char *line), struct base_error *ret_error)
{
	struct dp *dp = aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP(sizeof(*dp)));
	sigset_t signals;
	int error;

	if (!dp) {
		base_error_set(ret_error, -ENOMEM, "no memory for the dataplane");
		return NULL;
	}
	memset(dp, 0, sizeof(*dp));
	dp->config = *config;
	cr_key_wipe(&dp->config.private_key);
	dp->config.rules = NULL;
	dp->config.n_rules = 0;
	dp->epoll_fd = -1;
	dp->watchdog.fd = -1;
	dp->is_stepped = is_stepped;
	dp->ctx = ctx;
	if (callbacks)
		dp->callbacks = *callbacks;
	block_signals(&signals);
	dp->warn = warn;
	error = start_all(dp, config, warn, ret_error);
	dp->warn = NULL;
	pthread_sigmask(SIG_SETMASK, &signals, NULL);
	if (error) {
		dp_free(dp);
		errno = -error;
		return NULL;
	}
	return dp;
}

struct dp *dp_new(const struct dp_config *config, const struct dp_callbacks *callbacks, void *ctx,
	void (*warn)(const char *line), struct base_error *ret_error)
{
	return dp_start(config, callbacks, ctx, false, warn, ret_error);
}

static void stop_workers(struct dp *dp)
{
	atomic_store(&dp->must_stop, true);
	for (unsigned i = 0; i < dp->n_running; i++)
		dp_idle_wake(dp->workers[i].idle);
	for (unsigned i = 0; i < dp->n_running; i++)
		rte_eal_wait_lcore(dp->workers[i].lcore);
	dp->n_running = 0;
}

/*
 * A thread that stands still answers nobody, so that the ladder down would wait for ever. What would
 * outlive the process is taken away; the rest ends with it.
 */
static void abandon(struct dp *dp)
{
	for (unsigned i = 0; i < dp->n_ports; i++) {
		if (dp->ports[i].kind == DP_PORT_AF_XDP)
			dp_xdp_detach(dp->ports[i].device, dp->ports[i].xdp_prog_id);
	}
}

void dp_free(struct dp *dp)
{
	if (!dp)
		return;
	dp_telemetry_close(dp);
	if (dp->watchdog.has_found) {
		abandon(dp);
		return;
	}
	/* Peers while everybody still runs, by their own ladder; then the threads, whose rings stay until
	 * the last of them has ended. */
	if (dp->handshake && dp->peers.count)
		dp_peers_fini(dp);
	if (dp->watchdog.has_found) {
		abandon(dp);
		return;
	}
	dp_handshake_stop(dp->handshake);
	stop_workers(dp);
	dp_host_free(dp->host);
	for (unsigned i = 0; i < dp->n_workers; i++)
		dp_worker_fini(&dp->workers[i]);
	dp_underlay_free(dp->underlay);
	for (unsigned i = 0; i < dp->n_ports; i++)
		dp_port_stop(&dp->ports[i]);
	if (dp->has_guard)
		dp_guard_close(&dp->guard);
	dp_taps_fini(dp);
	dp_handshake_free(dp->handshake);
	dp_tables_fini(&dp->tables);
	dp_filter_fini(&dp->filter);
	dp_nets_fini(&dp->nets);
	dp_probes_fini(&dp->probes);
	dp_relay_free(dp->relay);
	free(dp->local_addrs);
	dp_rcu_free(dp->rcu);
	dp_peers_free(&dp->peers);
	dp_events_free(dp->events);
	dp_watchdog_fini(&dp->watchdog);
	if (dp->epoll_fd >= 0)
		close(dp->epoll_fd);
	rte_mempool_free(dp->pool);
	free(dp->workers);
	free(dp);
}

/* While it runs. */

enum dp_port_state dp_port_state(const struct dp *dp, unsigned port)
{
	if (!atomic_load_explicit(&dp->ports[port].is_open, memory_order_relaxed))
		return DP_PORT_GONE;
	if (dp->underlay && has_kernel_device(&dp->config.ports[port]) &&
		!dp_underlay_is_up(dp->underlay, port))
		return DP_PORT_DOWN;
	return DP_PORT_UP;
}

const char *dp_port_state_name(enum dp_port_state state)
{
	static const char *const names[] = {"up", "down", "gone"};

	return names[state];
}

int dp_fd(const struct dp *dp)
{
	return dp->epoll_fd;
}

static void deliver_event(struct dp *dp, const struct dp_event_record *record)
{
	struct dp_event event = {.public_key = record->public_key, .endpoint = record->endpoint};

	switch (record->kind) {
	case DP_EVENT_KIND_NEIGHBOUR:
		if (dp->underlay)
			dp_underlay_want(dp->underlay, record->port, &record->endpoint.addr,
				base_clock_now_ns());
		return;
	case DP_EVENT_KIND_HANDSHAKE:
		event.type = DP_EVENT_HANDSHAKE;
		break;
	case DP_EVENT_KIND_MOVED:
		event.type = DP_EVENT_ENDPOINT_MOVED;
		break;
	case DP_EVENT_KIND_PATH_WANTED:
		event.type = DP_EVENT_PATH_WANTED;
		break;
	case DP_EVENT_KIND_HEARD:
		event.type = DP_EVENT_HEARD;
		break;
	}
	/* Behind the relay nobody has an address. */
	if (dp_relay_has(&event.endpoint.addr))
		event.endpoint = (struct base_endpoint){0};
	if (dp->callbacks.event)
		dp->callbacks.event(dp->ctx, &event);
}

static void tell_dead(struct dp *dp, const char *text)
{
	if (dp->callbacks.event)
		dp->callbacks.event(
			dp->ctx, &(struct dp_event){.type = DP_EVENT_DEAD, .text = text});
}

static void tell_addrs(struct dp *dp)
{
	if (!dp->has_new_addrs)
		return;
	dp->has_new_addrs = false;
	if (dp->callbacks.event)
		dp->callbacks.event(dp->ctx, &(struct dp_event){.type = DP_EVENT_ADDRESSES});
}

void dp_service(struct dp *dp)
{
	struct dp_event_record record;
	const char *stuck;

	dp_watchdog_look(&dp->watchdog, dp);
	stuck = dp_watchdog_tell(&dp->watchdog);
	if (stuck)
		tell_dead(dp, stuck);
	if (dp->underlay)
		dp_underlay_service(dp->underlay, base_clock_now_ns());
	dp_ports_follow(dp, base_clock_now_ns());
	dp_events_rearm(dp->events);
	if (dp->host)
		dp_ports_follow_host(dp, base_clock_now_ns());
	for (unsigned i = 0; i < EVENTS_PER_SERVICE; i++) {
		if (!dp_events_pop(dp->events, &record))
			break;
		deliver_event(dp, &record);
		if (i == EVENTS_PER_SERVICE - 1)
			dp_events_again(dp->events);
	}
	dp_probe_service(dp);
	dp_relay_service(dp);
	tell_addrs(dp);
	dp_rcu_poll(dp->rcu);
	dp_telemetry_service(dp);
}

/* Which worker owns the peer that this packet goes to? */
static unsigned owner_of(const struct dp *dp, const struct rte_mbuf *m)
{
	const uint8_t *ip = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t len = rte_pktmbuf_data_len(m), number = WG_PEER_NONE;
	const struct dp_peer *peer;

	if (len >= DP_IP4_BYTES && ip[0] >> 4 == 4)
		number = wg_allowedips_lookup4(dp->tables.allowed_ips, ip + 16);
	else if (len >= DP_IP6_BYTES && ip[0] >> 4 == 6)
		number = wg_allowedips_lookup6(dp->tables.allowed_ips, ip + 24);
	peer = number == WG_PEER_NONE ? NULL : dp_tables_peer(&dp->tables, number);
	/* Nobody's packet: any worker drops and counts it. */
	return peer ? peer->owner : 0;
}

static void to_worker(struct dp *dp, unsigned owner, struct rte_mbuf **pkts, unsigned n)
{
	struct dp_worker *worker = &dp->workers[owner];
	unsigned sent = rte_ring_enqueue_burst(worker->inner_ring, (void **)pkts, n, NULL);

	for (unsigned i = sent; i < n; i++)
		dp_drop_at(&dp->host_counters, DP_DROP_HANDOVER_FULL, DP_PLACE_HOST, pkts[i]);
	dp_idle_wake(worker->idle);
}

void dp_from_host(void *ctx, struct rte_mbuf **pkts, unsigned n)
{
	struct dp *dp = ctx;
	struct rte_rcu_qsbr *qsbr = dp_rcu_qsbr(dp->rcu);
	unsigned first = 0, owner;

	if (n == 0)
		return;
	if (dp->n_workers == 1) {
		to_worker(dp, 0, pkts, n);
		return;
	}
	dp_rcu_online(qsbr, dp->n_workers);
	owner = owner_of(dp, pkts[0]);
	/* Runs of one owner go together: a flow's packets come in a row. */
	for (unsigned i = 1; i <= n; i++) {
		unsigned next = i < n ? owner_of(dp, pkts[i]) : DP_WORKERS_MAX;

		if (next == owner)
			continue;
		to_worker(dp, owner, pkts + first, i - first);
		first = i;
		owner = next;
	}
	dp_rcu_offline(qsbr, dp->n_workers);
}

/* Drops of the threads that are no workers, and of the host interface under our names. */
static void host_drops(const struct dp *dp, uint64_t drop_pkts[DP_DROPS_MAX])
{
	const struct dp_counters *handshake = dp_handshake_counters(dp->handshake);
	struct dp_host_stats host = {0};

	for (unsigned i = 0; i < DP_DROP_COUNT; i++)
		drop_pkts[i] = dp_counter_get(&handshake->drop_pkts[i]) +
			dp_counter_get(&dp->host_counters.drop_pkts[i]) +
			dp_counter_get(&dp->control_counters.drop_pkts[i]);
	drop_pkts[DP_DROP_RELAY_FULL] += atomic_load(&dp->relay->dropped);
	if (!dp->host)
		return;
	dp_host_stats(dp->host, &host);
	drop_pkts[DP_DROP_NO_MBUF] += host.drop_no_mbuf_pkts;
	drop_pkts[DP_DROP_HOST_TOO_LARGE] += host.drop_too_large_pkts;
	drop_pkts[DP_DROP_HOST_BAD_HEADER] += host.drop_bad_header_pkts;
	drop_pkts[DP_DROP_HOST_WRITE] += host.drop_write_pkts;
}

static void worker_queues(
	const struct dp_worker *worker, struct dp_queue_stats ret_queues[DP_QUEUE_COUNT])
{
	const struct dp_counters *counters = &worker->counters;

	dp_queue_read(
		&ret_queues[DP_QUEUE_COMMANDS], worker->command_ring, counters, DP_QUEUE_COMMANDS);
	dp_queue_read(
		&ret_queues[DP_QUEUE_HANDOVER], worker->handover_ring, counters, DP_QUEUE_HANDOVER);
	dp_queue_read(&ret_queues[DP_QUEUE_INNER], worker->inner_ring, counters, DP_QUEUE_INNER);
	dp_queue_read(&ret_queues[DP_QUEUE_OUTER], worker->outer_ring, counters, DP_QUEUE_OUTER);
}

static void shared_queues(const struct dp *dp, struct dp_stats *ret_stats)
{
	const struct dp_counters *counters = dp_handshake_counters(dp->handshake);

	dp_queue_read(&ret_stats->queues[DP_QUEUE_HANDSHAKES],
		dp_handshake_stranger_ring(dp->handshake), counters, DP_QUEUE_HANDSHAKES);
	dp_queue_read(&ret_stats->queues[DP_QUEUE_EXPECTED],
		dp_handshake_expected_ring(dp->handshake), counters, DP_QUEUE_EXPECTED);
	dp_queue_read(&ret_stats->queues[DP_QUEUE_NOTES], dp_handshake_note_ring(dp->handshake),
		counters, DP_QUEUE_NOTES);
	dp_queue_read(&ret_stats->queues[DP_QUEUE_PROBES], dp->probes.strangers,
		&dp->control_counters, DP_QUEUE_PROBES);
	dp_queue_read(&ret_stats->queues[DP_QUEUE_PROBES_EXPECTED], dp->probes.expected,
		&dp->control_counters, DP_QUEUE_PROBES_EXPECTED);
	dp_queue_read(&ret_stats->queues[DP_QUEUE_RELAY], dp->relay->out, &dp->control_counters,
		DP_QUEUE_RELAY);
}

static void host_io(const struct dp *dp, struct dp_stats *ret_stats)
{
	struct dp_host_stats host;

	if (!dp->host)
		return;
	dp_host_stats(dp->host, &host);
	ret_stats->host_io = (struct dp_host_io_stats){host.rx_pkts, host.rx_bytes, host.rx_reads,
		host.tx_pkts, host.tx_bytes, host.tx_writes};
	ret_stats->queues[DP_QUEUE_HOST] = (struct dp_queue_stats){
		.now = rte_ring_count(dp_host_ring(dp->host)),
		.high = (uint32_t)host.ring_high,
		.size = rte_ring_get_capacity(dp_host_ring(dp->host)),
	};
}

void dp_stats_get(const struct dp *dp, struct dp_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	ret_stats->tsc_hz = rte_get_tsc_hz();
	ret_stats->n_workers = dp->n_workers;
	for (unsigned i = 0; i < dp->n_workers; i++) {
		const struct dp_worker *worker = &dp->workers[i];
		struct dp_worker_stats *stats = &ret_stats->workers[i];

		stats->lcore = worker->lcore;
		stats->cpu = worker->cpu;
		dp_counters_read(&worker->counters, stats);
		worker_queues(worker, stats->queues);
		ret_stats->handshake_queue_full_pkts += stats->drop_pkts[DP_DROP_HANDSHAKE_FULL];
	}
	host_drops(dp, ret_stats->host_drop_pkts);
	shared_queues(dp, ret_stats);
	host_io(dp, ret_stats);
	ret_stats->mbufs = dp->pool->size;
	ret_stats->mbufs_free = rte_mempool_avail_count(dp->pool);
	ret_stats->handshakes = dp_handshake_sessions(dp->handshake);
	ret_stats->events_lost = dp_events_lost(dp->events);
	ret_stats->n_peers = dp->peers.count;
	ret_stats->keypairs = dp_handshake_keypairs(dp->handshake);
	ret_stats->memory_bytes = dp_eal_memory_bytes();
	ret_stats->has_hugepages = dp_eal_has_hugepages();
	snprintf(ret_stats->crypto, sizeof(ret_stats->crypto), "%s", dp->workers[0].aead_ops->name);
}
