/* SPDX-License-Identifier: BSD-3-Clause */
/* The dataplane's counters as JSON and as metrics. Loop's thread. See ctl_stats.h. */
#include "ctl_stats.h"

#include <stdlib.h>

/* Of a worker, under the same names everywhere. */
#define WORKER_COUNTER(member) #member, offsetof(struct dp_worker_stats, member)
static const struct {
	const char *name;
	size_t offset;
} worker_counters[] = {
	{WORKER_COUNTER(rx_pkts)},
	{WORKER_COUNTER(rx_bytes)},
	{WORKER_COUNTER(tx_pkts)},
	{WORKER_COUNTER(tx_bytes)},
	{WORKER_COUNTER(rx_bursts)},
	{WORKER_COUNTER(tx_bursts)},
	{WORKER_COUNTER(sealed_pkts)},
	{WORKER_COUNTER(sealed_bytes)},
	{WORKER_COUNTER(opened_pkts)},
	{WORKER_COUNTER(opened_bytes)},
	{WORKER_COUNTER(handed_over_pkts)},
	{WORKER_COUNTER(host_rx_pkts)},
	{WORKER_COUNTER(host_tx_pkts)},
	{WORKER_COUNTER(sleeps)},
	{WORKER_COUNTER(busy_cycles)},
	{WORKER_COUNTER(idle_cycles)},
};

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* ---- JSON ---- */

/* Every reason, those that never happened as well: a name that is missing was misspelt. */
static json_t *drops_json(const uint64_t drop_pkts[DP_DROPS_MAX])
{
	json_t *drops = json_object();

	for (unsigned i = 0; i < dp_drop_count(); i++)
		json_object_set_new(drops, dp_drop_name(i), number(drop_pkts[i]));
	return drops;
}

static json_t *stages_json(const struct dp_worker_stats *worker)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < DP_STAGE_COUNT; i++) {
		uint64_t pkts = worker->stage_pkts[i], cycles = worker->stage_cycles[i];

		json_array_append_new(list,
			json_pack("{s:s, s:o, s:o, s:o}", "stage", dp_stage_name((enum dp_stage)i),
				"pkts", number(pkts), "cycles", number(cycles), "cycles_per_pkt",
				pkts ? json_real((double)cycles / (double)pkts) : json_null()));
	}
	return list;
}

/* How many bursts of 1, 2-3, 4-7... packets. */
static json_t *bursts_json(const struct dp_worker_stats *worker)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < DP_BURST_KINDS; i++) {
		json_t *sizes = json_array();

		for (unsigned b = 0; b < DP_BURST_BUCKETS; b++)
			json_array_append_new(sizes, number(worker->bursts[i].bursts[b]));
		json_object_set_new(object, dp_burst_name((enum dp_burst_kind)i),
			json_pack("{s:o, s:o}", "pkts", number(worker->bursts[i].pkts), "sizes",
				sizes));
	}
	return object;
}

static json_t *queues_json(const struct dp_queue_stats queues[DP_QUEUE_COUNT])
{
	json_t *object = json_object();

	for (unsigned i = 0; i < DP_QUEUE_COUNT; i++) {
		if (queues[i].size)
			json_object_set_new(object, dp_queue_name((enum dp_queue)i),
				json_pack("{s:o, s:o, s:o}", "now", number(queues[i].now), "high",
					number(queues[i].high), "size", number(queues[i].size)));
	}
	return object;
}

static json_t *host_json(const struct dp_stats *stats)
{
	const struct dp_host_io_stats *io = &stats->host_io;

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "drops",
		drops_json(stats->host_drop_pkts), "queues", queues_json(stats->queues), "rx_pkts",
		number(io->rx_pkts), "rx_bytes", number(io->rx_bytes), "rx_reads",
		number(io->rx_reads), "tx_pkts", number(io->tx_pkts), "tx_bytes",
		number(io->tx_bytes), "tx_writes", number(io->tx_writes));
}

static json_t *worker_json(const struct dp_worker_stats *worker)
{
	json_t *object = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "lcore", number(worker->lcore),
		"cpu", number(worker->cpu), "stages", stages_json(worker), "bursts",
		bursts_json(worker), "queues", queues_json(worker->queues), "drops",
		drops_json(worker->drop_pkts));

	for (size_t i = 0; i < BASE_ARRAY_LEN(worker_counters); i++) {
		uint64_t value;

		memcpy(&value, (const char *)worker + worker_counters[i].offset, sizeof(value));
		json_object_set_new(object, worker_counters[i].name, number(value));
	}
	return object;
}

void ctl_stats_add(json_t *object, const struct dp *dp)
{
	struct dp_stats *stats = calloc(1, sizeof(*stats));
	json_t *workers = json_array();

	if (stats) {
		dp_stats_get(dp, stats);
		for (unsigned i = 0; i < stats->n_workers; i++)
			json_array_append_new(workers, worker_json(&stats->workers[i]));
		json_object_set_new(object, "tsc_hz", number(stats->tsc_hz));
		json_object_set_new(object, "handshakes", number(stats->handshakes));
		json_object_set_new(object, "handshake_queue_full_pkts",
			number(stats->handshake_queue_full_pkts));
		json_object_set_new(object, "events_lost", number(stats->events_lost));
		json_object_set_new(object, "keypairs", number(stats->keypairs));
		json_object_set_new(object, "mbufs", number(stats->mbufs));
		json_object_set_new(object, "mbufs_free", number(stats->mbufs_free));
		json_object_set_new(object, "host", host_json(stats));
	}
	json_object_set_new(object, "workers", workers);
	free(stats);
}

json_t *ctl_stats_reasons(void)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < dp_drop_count(); i++)
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s}", "reason", dp_drop_name(i), "at",
				dp_place_name(dp_drop_place(i)), "meaning", dp_drop_meaning(i)));
	return json_pack("{s:o}", "reasons", list);
}

/* ---- metrics ---- */

static void family(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# TYPE sandd_%s %s\n# HELP sandd_%s %s.\n", name, type, name, help);
}

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "gauge", help);
	fprintf(out, "sandd_%s %llu\n", name, (unsigned long long)value);
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value)
{
	family(out, name, "counter", help);
	fprintf(out, "sandd_%s_total %llu\n", name, (unsigned long long)value);
}

static void worker_metrics(FILE *out, const struct dp_stats *stats)
{
	for (size_t c = 0; c < BASE_ARRAY_LEN(worker_counters); c++) {
		char name[64];

		snprintf(name, sizeof(name), "worker_%s", worker_counters[c].name);
		family(out, name, "counter", "Of a worker, since the start");
		for (unsigned w = 0; w < stats->n_workers; w++) {
			const char *worker = (const char *)&stats->workers[w];
			uint64_t value;

			memcpy(&value, worker + worker_counters[c].offset, sizeof(value));
			fprintf(out, "sandd_%s_total{worker=\"%u\"} %llu\n", name, w,
				(unsigned long long)value);
		}
	}
}

static void stage_metrics(FILE *out, const struct dp_stats *stats)
{
	family(out, "stage_cycles", "counter", "Cycles (TSC) that a worker spent in a stage");
	for (unsigned w = 0; w < stats->n_workers; w++)
		for (unsigned i = 0; i < DP_STAGE_COUNT; i++)
			fprintf(out, "sandd_stage_cycles_total{worker=\"%u\",stage=\"%s\"} %llu\n",
				w, dp_stage_name((enum dp_stage)i),
				(unsigned long long)stats->workers[w].stage_cycles[i]);
	family(out, "stage_pkts", "counter", "Packets that a worker's stage handled");
	for (unsigned w = 0; w < stats->n_workers; w++)
		for (unsigned i = 0; i < DP_STAGE_COUNT; i++)
			fprintf(out, "sandd_stage_pkts_total{worker=\"%u\",stage=\"%s\"} %llu\n", w,
				dp_stage_name((enum dp_stage)i),
				(unsigned long long)stats->workers[w].stage_pkts[i]);
}

static void drop_metrics(FILE *out, const struct dp_stats *stats)
{
	family(out, "drop_pkts", "counter", "Packets dropped, by reason");
	for (unsigned i = 0; i < dp_drop_count(); i++) {
		for (unsigned w = 0; w < stats->n_workers; w++)
			fprintf(out, "sandd_drop_pkts_total{worker=\"%u\",reason=\"%s\"} %llu\n", w,
				dp_drop_name(i),
				(unsigned long long)stats->workers[w].drop_pkts[i]);
		fprintf(out, "sandd_drop_pkts_total{worker=\"none\",reason=\"%s\"} %llu\n",
			dp_drop_name(i), (unsigned long long)stats->host_drop_pkts[i]);
	}
}

static void burst_metrics(FILE *out, const struct dp_stats *stats)
{
	family(out, "burst_pkts", "histogram", "Packets that a worker moved at once");
	for (unsigned w = 0; w < stats->n_workers; w++) {
		for (unsigned i = 0; i < DP_BURST_KINDS; i++) {
			const struct dp_burst_stats *burst = &stats->workers[w].bursts[i];
			const char *name = dp_burst_name((enum dp_burst_kind)i);
			unsigned long long n = 0;

			for (unsigned b = 0; b + 1 < DP_BURST_BUCKETS; b++) {
				n += burst->bursts[b];
				fprintf(out,
					"sandd_burst_pkts_bucket{worker=\"%u\",kind=\"%s\",le=\"%u."
					"0\"} %llu\n",
					w, name, (2u << b) - 1, n);
			}
			n += burst->bursts[DP_BURST_BUCKETS - 1];
			fprintf(out,
				"sandd_burst_pkts_bucket{worker=\"%u\",kind=\"%s\",le=\"+Inf\"} "
				"%llu\n"
				"sandd_burst_pkts_count{worker=\"%u\",kind=\"%s\"} %llu\n"
				"sandd_burst_pkts_sum{worker=\"%u\",kind=\"%s\"} %llu\n",
				w, name, n, w, name, n, w, name, (unsigned long long)burst->pkts);
		}
	}
}

static void print_queues(FILE *out, const struct dp_queue_stats queues[DP_QUEUE_COUNT],
	const char *worker, size_t offset, const char *metric)
{
	for (unsigned i = 0; i < DP_QUEUE_COUNT; i++) {
		uint32_t value;

		memcpy(&value, (const char *)&queues[i] + offset, sizeof(value));
		if (queues[i].size)
			fprintf(out, "sandd_%s{worker=\"%s\",queue=\"%s\"} %u\n", metric, worker,
				dp_queue_name((enum dp_queue)i), value);
	}
}

static void queue_metrics(FILE *out, const struct dp_stats *stats)
{
	static const struct {
		const char *metric, *help;
		size_t offset;
	} columns[] = {
		{"queue_entries", "Entries that wait", offsetof(struct dp_queue_stats, now)},
		{"queue_high_entries", "The most that ever waited",
			offsetof(struct dp_queue_stats, high)},
		{"queue_size_entries", "Room", offsetof(struct dp_queue_stats, size)},
	};

	for (size_t c = 0; c < BASE_ARRAY_LEN(columns); c++) {
		family(out, columns[c].metric, "gauge", columns[c].help);
		for (unsigned w = 0; w < stats->n_workers; w++) {
			char worker[16];

			snprintf(worker, sizeof(worker), "%u", w);
			print_queues(out, stats->workers[w].queues, worker, columns[c].offset,
				columns[c].metric);
		}
		print_queues(out, stats->queues, "none", columns[c].offset, columns[c].metric);
	}
}

static void shared_metrics(FILE *out, const struct dp_stats *stats)
{
	const struct dp_host_io_stats *io = &stats->host_io;

	counter(out, "handshakes", "Sessions confirmed", stats->handshakes);
	counter(out, "events_lost", "Events that control was too slow for", stats->events_lost);
	gauge(out, "peers", "Peers of the tunnel", stats->n_peers);
	gauge(out, "keypairs", "Live keypairs", stats->keypairs);
	gauge(out, "mbufs", "Packet buffers", stats->mbufs);
	gauge(out, "mbufs_free", "Packet buffers that are free", stats->mbufs_free);
	counter(out, "host_rx_pkts", "Packets from the kernel", io->rx_pkts);
	counter(out, "host_rx_bytes", "Bytes from the kernel", io->rx_bytes);
	counter(out, "host_rx_reads", "System calls that brought them", io->rx_reads);
	counter(out, "host_tx_pkts", "Packets to the kernel", io->tx_pkts);
	counter(out, "host_tx_bytes", "Bytes to the kernel", io->tx_bytes);
	counter(out, "host_tx_writes", "System calls that took them", io->tx_writes);
}

char *ctl_stats_metrics(const struct dp *dp, size_t n_daemons, uint64_t uptime_s)
{
	struct dp_stats *stats = calloc(1, sizeof(*stats));
	char *text = NULL;
	size_t len;
	FILE *out = stats ? open_memstream(&text, &len) : NULL;

	if (!out) {
		free(stats);
		return NULL;
	}
	gauge(out, "uptime_seconds", "Since the start", uptime_s);
	gauge(out, "daemons", "Connected daemons", n_daemons);
	if (dp) {
		dp_stats_get(dp, stats);
		worker_metrics(out, stats);
		stage_metrics(out, stats);
		drop_metrics(out, stats);
		burst_metrics(out, stats);
		queue_metrics(out, stats);
		shared_metrics(out, stats);
	}
	fputs("# EOF\n", out);
	free(stats);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}
