/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The telemetry commands (dp_telemetry.h). Callbacks run on DPDK's telemetry thread and touch nothing but
 * the question; open, close and service are control's.
 */
#include "dp_telemetry.h"

#include "base_bytes.h"
#include "base_clock.h"
#include "dp_dataplane.h"

#include <pthread.h>
#include <stdlib.h>

#include <rte_telemetry.h>

#define ANSWER_WAIT_S 2

/* One at a time: DPDK has a thread per client, so they queue for @asker. The rest is under @lock. */
static struct {
	pthread_mutex_t asker, lock;
	pthread_cond_t answered;
	const struct dp *dp; /* NULL: nobody answers */
	bool is_registered;
	void (*question)(const struct dp *dp, const char *params, struct rte_tel_data *answer);
	const char *params;
	struct rte_tel_data *answer;
	bool is_answered;
} tel = {
	PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, .dp = NULL};

/* Control's side: the answers. */

#define COUNTER(member) #member, offsetof(struct dp_worker_stats, member)
static const struct {
	const char *name;
	size_t offset;
} counters[] = {
	{COUNTER(rx_pkts)},
	{COUNTER(rx_bytes)},
	{COUNTER(rx_bursts)},
	{COUNTER(tx_pkts)},
	{COUNTER(tx_bytes)},
	{COUNTER(tx_bursts)},
	{COUNTER(sealed_pkts)},
	{COUNTER(sealed_bytes)},
	{COUNTER(opened_pkts)},
	{COUNTER(opened_bytes)},
	{COUNTER(handed_over_pkts)},
	{COUNTER(host_rx_pkts)},
	{COUNTER(host_tx_pkts)},
	{COUNTER(sleeps)},
	{COUNTER(busy_cycles)},
	{COUNTER(idle_cycles)},
};

/* The worker that @params names; false: none, so all of them. */
static bool one_worker(const struct dp_stats *stats, const char *params, unsigned *ret_worker)
{
	char *end;
	unsigned long number = params ? strtoul(params, &end, 10) : stats->n_workers;

	*ret_worker = (unsigned)number;
	return params && *params && *end == '\0' && number < stats->n_workers;
}

static void add_shared(const struct dp_stats *stats, struct rte_tel_data *answer)
{
	rte_tel_data_add_dict_u64(answer, "workers", stats->n_workers);
	rte_tel_data_add_dict_u64(answer, "peers", stats->n_peers);
	rte_tel_data_add_dict_u64(answer, "keypairs", stats->keypairs);
	rte_tel_data_add_dict_u64(answer, "handshakes", stats->handshakes);
	rte_tel_data_add_dict_u64(answer, "events_lost", stats->events_lost);
	rte_tel_data_add_dict_u64(answer, "mbufs", stats->mbufs);
	rte_tel_data_add_dict_u64(answer, "mbufs_free", stats->mbufs_free);
	rte_tel_data_add_dict_u64(answer, "host_rx_reads", stats->host_io.rx_reads);
	rte_tel_data_add_dict_u64(answer, "host_tx_writes", stats->host_io.tx_writes);
	rte_tel_data_add_dict_string(answer, "crypto", stats->crypto);
}

static void answer_stats(const struct dp *dp, const char *params, struct rte_tel_data *answer)
{
	struct dp_stats *stats = malloc(sizeof(*stats));
	unsigned worker;
	bool is_one;

	if (!stats)
		return;
	dp_stats_get(dp, stats);
	is_one = one_worker(stats, params, &worker);
	for (unsigned i = 0; i < BASE_ARRAY_LEN(counters); i++) {
		uint64_t sum = 0, value;

		for (unsigned w = 0; w < stats->n_workers; w++) {
			memcpy(&value, (const char *)&stats->workers[w] + counters[i].offset,
				sizeof(value));
			sum += is_one && w != worker ? 0 : value;
		}
		rte_tel_data_add_dict_u64(answer, counters[i].name, sum);
	}
	if (!is_one)
		add_shared(stats, answer);
	free(stats);
}

static void answer_drops(const struct dp *dp, const char *params, struct rte_tel_data *answer)
{
	struct dp_stats *stats = malloc(sizeof(*stats));
	unsigned worker;
	bool is_one;

	if (!stats)
		return;
	dp_stats_get(dp, stats);
	is_one = one_worker(stats, params, &worker);
	for (unsigned i = 0; i < DP_DROP_COUNT; i++) {
		uint64_t sum = is_one ? 0 : stats->host_drop_pkts[i];

		for (unsigned w = 0; w < stats->n_workers; w++)
			sum += is_one && w != worker ? 0 : stats->workers[w].drop_pkts[i];
		rte_tel_data_add_dict_u64(answer, dp_drop_name(i), sum);
	}
	free(stats);
}

static void answer_peers(const struct dp *dp, const char *params, struct rte_tel_data *answer)
{
	char fingerprint[BASE_FINGERPRINT_LEN + 1];

	for (uint32_t i = 0, n = 0; i < dp->peers.capacity && n < RTE_TEL_MAX_ARRAY_ENTRIES; i++) {
		if (!dp->peers.by_number[i])
			continue;
		base_key_fingerprint(fingerprint, dp->peers.by_number[i]->public_key.bytes);
		rte_tel_data_add_array_string(answer, fingerprint);
		n++;
	}
}

static void add_peer(const struct dp *dp, const struct dp_peer *peer, struct rte_tel_data *answer)
{
	char endpoint[BASE_ENDPOINT_TEXT_LEN];
	struct dp_peer_status status;

	if (dp_peer_status(dp, &peer->public_key, &status) != 0)
		return;
	rte_tel_data_add_dict_string(
		answer, "endpoint", base_endpoint_print(endpoint, &status.endpoint));
	rte_tel_data_add_dict_string(answer, "path", dp_path_name(status.path));
	rte_tel_data_add_dict_u64(answer, "lcore", status.lcore);
	rte_tel_data_add_dict_u64(answer, "handshakes", status.handshakes);
	rte_tel_data_add_dict_u64(answer, "rtt_us", status.rtt_us);
	rte_tel_data_add_dict_u64(answer, "rx_pkts", status.rx_pkts);
	rte_tel_data_add_dict_u64(answer, "rx_bytes", status.rx_bytes);
	rte_tel_data_add_dict_u64(answer, "tx_pkts", status.tx_pkts);
	rte_tel_data_add_dict_u64(answer, "tx_bytes", status.tx_bytes);
}

static void answer_peer(const struct dp *dp, const char *params, struct rte_tel_data *answer)
{
	char fingerprint[BASE_FINGERPRINT_LEN + 1];

	for (uint32_t i = 0; params && i < dp->peers.capacity; i++) {
		if (!dp->peers.by_number[i])
			continue;
		base_key_fingerprint(fingerprint, dp->peers.by_number[i]->public_key.bytes);
		if (strcmp(fingerprint, params) != 0)
			continue;
		add_peer(dp, dp->peers.by_number[i], answer);
		return;
	}
}

void dp_telemetry_service(struct dp *dp)
{
	if (!dp->config.has_telemetry)
		return;
	pthread_mutex_lock(&tel.lock);
	if (tel.question && tel.dp == dp) {
		tel.question(dp, tel.params, tel.answer);
		tel.question = NULL;
		tel.is_answered = true;
		pthread_cond_signal(&tel.answered);
	}
	pthread_mutex_unlock(&tel.lock);
}

/* The telemetry thread's side. */

static int ask(void (*question)(const struct dp *, const char *, struct rte_tel_data *),
	const char *params, struct rte_tel_data *answer)
{
	struct timespec until;
	bool is_answered;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ANSWER_WAIT_S;
	pthread_mutex_lock(&tel.asker);
	pthread_mutex_lock(&tel.lock);
	tel.is_answered = false;
	if (tel.dp) {
		tel.question = question;
		tel.params = params;
		tel.answer = answer;
		dp_events_again(tel.dp->events);
	}
	while (tel.question && pthread_cond_timedwait(&tel.answered, &tel.lock, &until) == 0)
		;
	/* Too late: the answer is not ours to keep any longer. */
	tel.question = NULL;
	is_answered = tel.is_answered;
	pthread_mutex_unlock(&tel.lock);
	pthread_mutex_unlock(&tel.asker);
	return is_answered ? 0 : -1;
}

static int on_stats(const char *cmd, const char *params, struct rte_tel_data *info)
{
	rte_tel_data_start_dict(info);
	return ask(answer_stats, params, info);
}

static int on_drops(const char *cmd, const char *params, struct rte_tel_data *info)
{
	rte_tel_data_start_dict(info);
	return ask(answer_drops, params, info);
}

static int on_peers(const char *cmd, const char *params, struct rte_tel_data *info)
{
	rte_tel_data_start_array(info, RTE_TEL_STRING_VAL);
	return ask(answer_peers, params, info);
}

static int on_peer(const char *cmd, const char *params, struct rte_tel_data *info)
{
	rte_tel_data_start_dict(info);
	return ask(answer_peer, params, info);
}

/* Life. */

static int register_all(void)
{
	static const struct {
		const char *cmd, *help;
		telemetry_cb callback;
	} commands[] = {
		{"/sandd/stats", "Counters of the tunnel. Parameter: a worker, or none for all",
			on_stats},
		{"/sandd/drops", "Dropped packets by reason. Parameter: a worker, or none",
			on_drops},
		{"/sandd/peers", "Fingerprints of the peers", on_peers},
		{"/sandd/peer", "One peer. Parameter: its fingerprint", on_peer},
	};

	for (unsigned i = 0; i < BASE_ARRAY_LEN(commands); i++) {
		int error = rte_telemetry_register_cmd(
			commands[i].cmd, commands[i].callback, commands[i].help);

		if (error)
			return error;
	}
	return 0;
}

int dp_telemetry_open(struct dp *dp, struct base_error *ret_error)
{
	int error = tel.is_registered ? 0 : register_all();

	if (error)
		return base_error_set(ret_error, error, "telemetry: DPDK refuses its commands: %s",
			strerror(-error));
	tel.is_registered = true;
	pthread_mutex_lock(&tel.lock);
	tel.dp = dp;
	pthread_mutex_unlock(&tel.lock);
	return 0;
}

void dp_telemetry_close(const struct dp *dp)
{
	pthread_mutex_lock(&tel.lock);
	if (tel.dp == dp) {
		tel.dp = NULL;
		tel.question = NULL;
		pthread_cond_signal(&tel.answered);
	}
	pthread_mutex_unlock(&tel.lock);
}
