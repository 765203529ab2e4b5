/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl stats: the counters since the start, or with --watch what they grew by, and what drop reasons mean. See
 * cli_command.h.
 */
#include "cli_command.h"
#include "cli_table.h"

#include <stdlib.h>
#include <time.h>

#define WATCH_S_MAX (24L * 3600)

/* Members that are states, not counters: no difference is taken. */
static bool is_state(const char *key)
{
	static const char *const keys[] = {"now", "high", "size", "lcore", "cpu", "tsc_hz",
		"keypairs", "mbufs", "mbufs_free", "outstanding", "open", "buffered_bytes"};

	for (size_t i = 0; i < BASE_ARRAY_LEN(keys); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return false;
}

static json_t *grown(const char *key, json_t *now, const json_t *before);

static json_t *grown_object(json_t *now, const json_t *before)
{
	json_t *result = json_object(), *value;
	const char *key;

	json_object_foreach (now, key, value) {
		json_object_set_new(result, key, grown(key, value, json_object_get(before, key)));
	}
	return result;
}

static json_t *grown_array(const char *key, json_t *now, const json_t *before)
{
	json_t *result = json_array(), *value;
	size_t i;

	json_array_foreach (now, i, value) {
		json_array_append_new(result, grown(key, value, json_array_get(before, i)));
	}
	return result;
}

/* What a document grew by; documents are a few levels deep. */
static json_t *grown(const char *key, json_t *now, const json_t *before)
{
	if (json_is_object(now) && json_is_object(before))
		return grown_object(now, before);
	if (json_is_array(now) && json_is_array(before))
		return grown_array(key, now, before);
	if (json_is_integer(now) && json_is_integer(before) && !is_state(key))
		return json_integer(json_integer_value(now) - json_integer_value(before));
	return json_incref(now);
}

/* ---- tables ---- */

/* A number, or with @seconds its rate. */
static void add_count(struct cli_table *table, uint64_t value, double seconds)
{
	if (seconds > 0)
		cli_table_addf(table, "%.0f", (double)value / seconds);
	else
		cli_table_addf(table, "%llu", (unsigned long long)value);
}

static void add_bytes(struct cli_table *table, uint64_t value, double seconds)
{
	char text[CLI_TEXT_LEN];

	cli_table_add(
		table, cli_bytes(text, seconds > 0 ? (uint64_t)((double)value / seconds) : value));
}

static void print_traffic(const json_t *workers, double seconds)
{
	static const char *const headings[] = {"WORKER", ">RX PKTS", ">RX", ">OPENED", ">TO HOST",
		">FROM HOST", ">SEALED", ">TX PKTS", ">TX"};
	static const char *const keys[] = {"rx_pkts", "rx_bytes", "opened_pkts", "host_tx_pkts",
		"host_rx_pkts", "sealed_pkts", "tx_pkts", "tx_bytes"};
	struct cli_table *table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	size_t n = json_array_size(workers);

	for (size_t row = 0; row < n + (n > 1); row++) {
		if (row < n)
			cli_table_addf(table, "%zu", row);
		else
			cli_table_add(table, "total");
		for (size_t k = 0; k < BASE_ARRAY_LEN(keys); k++) {
			uint64_t value = 0;

			for (size_t w = 0; w < n; w++)
				if (row == n || row == w)
					value += cli_number(json_array_get(workers, w), keys[k]);
			if (strstr(keys[k], "bytes"))
				add_bytes(table, value, seconds);
			else
				add_count(table, value, seconds);
		}
	}
	cli_table_print(table, 0);
}

static void print_stages(const json_t *worker)
{
	static const char *const headings[] = {"STAGE", ">PACKETS", ">CYCLES/PACKET"};
	struct cli_table *table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	json_t *stage;
	size_t i;

	json_array_foreach (json_object_get(worker, "stages"), i, stage) {
		uint64_t pkts = cli_number(stage, "pkts");

		cli_table_add(table, cli_text(stage, "stage"));
		cli_table_addf(table, "%llu", (unsigned long long)pkts);
		if (pkts > 0)
			cli_table_addf(
				table, "%.0f", (double)cli_number(stage, "cycles") / (double)pkts);
		else
			cli_table_add(table, NULL);
	}
	cli_table_print(table, 2);
}

/* How many of a hundred bursts were of each size. */
static void print_bursts(const json_t *worker)
{
	static const char *const headings[] = {"BURSTS", ">NUMBER", ">MEAN", ">1", ">2-3", ">4-7",
		">8-15", ">16-31", ">32-63", ">64"};
	struct cli_table *table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	json_t *burst, *size;
	const char *kind;
	size_t i;

	json_object_foreach (json_object_get(worker, "bursts"), kind, burst) {
		const json_t *sizes = json_object_get(burst, "sizes");
		double n = 0;

		json_array_foreach (sizes, i, size) {
			n += (double)json_integer_value(size);
		}
		cli_table_add(table, kind);
		cli_table_addf(table, "%.0f", n);
		cli_table_addf(table, "%.1f", n > 0 ? (double)cli_number(burst, "pkts") / n : 0);
		json_array_foreach (sizes, i, size) {
			if (json_integer_value(size))
				cli_table_addf(table, "%.1f %%",
					100 * (double)json_integer_value(size) / n);
			else
				cli_table_add(table, NULL);
		}
	}
	cli_table_print(table, 2);
}

static void print_queues(const json_t *queues)
{
	static const char *const headings[] = {"QUEUE", ">WAITING", ">MOST EVER", ">ROOM"};
	struct cli_table *table = cli_table_new(headings, BASE_ARRAY_LEN(headings));
	const char *name;
	json_t *queue;

	json_object_foreach ((json_t *)queues, name, queue) {
		cli_table_add(table, name);
		cli_table_addf(table, "%llu", (unsigned long long)cli_number(queue, "now"));
		cli_table_addf(table, "%llu", (unsigned long long)cli_number(queue, "high"));
		cli_table_addf(table, "%llu", (unsigned long long)cli_number(queue, "size"));
	}
	cli_table_print(table, 2);
}

static void print_worker(const json_t *worker, size_t number)
{
	double busy = cli_real(worker, "busy_cycles"), idle = cli_real(worker, "idle_cycles");

	printf("worker %zu, lcore %llu on CPU %llu: %.1f %% busy, %llu sleeps, %llu handed over\n",
		number, (unsigned long long)cli_number(worker, "lcore"),
		(unsigned long long)cli_number(worker, "cpu"),
		busy + idle > 0 ? 100 * busy / (busy + idle) : 0,
		(unsigned long long)cli_number(worker, "sleeps"),
		(unsigned long long)cli_number(worker, "handed_over_pkts"));
	print_stages(worker);
	print_bursts(worker);
	print_queues(json_object_get(worker, "queues"));
	putchar('\n');
}

static void print_calls(const json_t *host, const char *what, const char *calls_key,
	const char *pkts_key, const char *bytes_key)
{
	uint64_t calls = cli_number(host, calls_key), pkts = cli_number(host, pkts_key);
	char text[CLI_TEXT_LEN];

	printf("  %llu packets in %llu %s", (unsigned long long)pkts, (unsigned long long)calls,
		what);
	if (calls > 0)
		printf(", each %s and %.1f packets",
			cli_bytes(text, cli_number(host, bytes_key) / calls),
			(double)pkts / (double)calls);
	putchar('\n');
}

static void print_shared(const json_t *document)
{
	const json_t *host = json_object_get(document, "host");

	puts("host interface, handshakes, packet buffers");
	print_calls(host, "reads", "rx_reads", "rx_pkts", "rx_bytes");
	print_calls(host, "writes", "tx_writes", "tx_pkts", "tx_bytes");
	printf("  handshakes: %llu confirmed, %llu keypairs live, %llu dropped at a full queue\n",
		(unsigned long long)cli_number(document, "handshakes"),
		(unsigned long long)cli_number(document, "keypairs"),
		(unsigned long long)cli_number(document, "handshake_queue_full_pkts"));
	printf("  packet buffers: %llu free of %llu\n",
		(unsigned long long)cli_number(document, "mbufs_free"),
		(unsigned long long)cli_number(document, "mbufs"));
	print_queues(json_object_get(host, "queues"));
	putchar('\n');
}

/* ---- drops ---- */

/* Add the drops of one thread to the sums. */
static void sum_drops(json_t *sums, json_t *drops)
{
	const char *reason;
	json_t *count;

	json_object_foreach (drops, reason, count) {
		json_int_t sum = json_integer_value(json_object_get(sums, reason));

		json_object_set_new(sums, reason, json_integer(sum + json_integer_value(count)));
	}
}

static json_t *all_drops(const json_t *document)
{
	json_t *sums = json_object(), *worker;
	size_t i;

	json_array_foreach (json_object_get(document, "workers"), i, worker) {
		sum_drops(sums, json_object_get(worker, "drops"));
	}
	sum_drops(sums, json_object_get(json_object_get(document, "host"), "drops"));
	return sums;
}

static const char *meaning_of(const json_t *reasons, const char *name)
{
	json_t *reason;
	size_t i;

	json_array_foreach (json_object_get(reasons, "reasons"), i, reason) {
		if (strcmp(cli_text(reason, "reason"), name) == 0)
			return cli_text(reason, "meaning");
	}
	return NULL;
}

/*
 * Drops of all threads by reason; those that never were are told by their number, or with @reasons, the
 * document of meanings, in full.
 */
static void print_drops(const json_t *document, const json_t *reasons)
{
	static const char *const headings[] = {"DROPPED", ">PACKETS", "MEANING"};
	json_t *sums = all_drops(document), *count;
	struct cli_table *table;
	const char *reason;
	size_t n_zero = 0;

	json_object_foreach (sums, reason, count) {
		n_zero += json_integer_value(count) == 0;
	}
	if (n_zero == json_object_size(sums))
		printf("no packet was dropped, for none of %zu reasons\n", n_zero);
	if (n_zero == json_object_size(sums) && !reasons)
		goto out;
	table = cli_table_new(headings, reasons ? 3 : 2);
	json_object_foreach (sums, reason, count) {
		if (json_integer_value(count) == 0 && !reasons)
			continue;
		cli_table_add(table, reason);
		cli_table_addf(table, "%lld", (long long)json_integer_value(count));
		if (reasons)
			cli_table_add(table, meaning_of(reasons, reason));
	}
	cli_table_print(table, 0);
	if (!reasons && n_zero > 0)
		printf("and none for %zu other reasons (--explain tells them all)\n", n_zero);
out:
	json_decref(sums);
}

static void print_group(const char *name, json_t *group)
{
	const char *key, *separator = "";
	json_t *value;

	printf("%s: ", name);
	json_object_foreach (group, key, value) {
		printf("%s%s %lld", separator, key, (long long)json_integer_value(value));
		separator = ", ";
	}
	putchar('\n');
}

/* @seconds: 0 since the start; else the document is what was counted in them. */
static void print_stats(const json_t *document, const json_t *reasons, double seconds)
{
	json_t *controller = json_object_get(document, "controller");
	const json_t *workers = json_object_get(document, "workers");
	json_t *worker;
	size_t i;

	if (workers) {
		print_traffic(workers, seconds);
		putchar('\n');
		json_array_foreach (workers, i, worker) {
			print_worker(worker, i);
		}
		print_shared(document);
		print_drops(document, reasons);
		putchar('\n');
	}
	print_group("requests", json_object_get(controller, "requests"));
	print_group("connections", json_object_get(controller, "connections"));
}

/* ---- the command ---- */

struct options {
	long watch_s; /* 0: once */
	bool is_explained;
};

/* Returns -1 to go on, else an exit code. */
static int take_options(struct cli *cli, struct options *options, int argc, char **argv)
{
	int option;
	char *end;

	while ((option = cli_next_option(cli, argc, argv)) >= 0) {
		if (option == 'e') {
			options->is_explained = true;
			continue;
		}
		options->watch_s = strtol(optarg, &end, 10);
		if (*end != '\0' || options->watch_s < 1 || options->watch_s > WATCH_S_MAX)
			return cli_fail(cli, CLI_USAGE, "usage",
				"--watch %s: whole seconds, at most a day", optarg);
	}
	if (option != -1)
		return option == CLI_OPTION_HELP ? CLI_OK : CLI_USAGE;
	if (argv[optind])
		return cli_fail(cli, CLI_USAGE, "usage", "stats takes no arguments, only options");
	return -1;
}

/* What was counted in every so many seconds, until the gateway or the reader goes away. */
static int watch(struct cli *cli, const json_t *reasons, long watch_s)
{
	const struct timespec pause = {.tv_sec = watch_s};
	json_t *before = cli_get(cli, "/v1/stats"), *now, *difference;
	int exit_code = before ? CLI_OK : CLI_FAILED;

	while (exit_code == CLI_OK) {
		nanosleep(&pause, NULL);
		now = cli_get(cli, "/v1/stats");
		if (!now) {
			exit_code = CLI_FAILED;
			break;
		}
		difference = grown("", now, before);
		json_decref(before);
		before = now;
		if (cli->is_json) {
			exit_code = cli_print_json(difference);
			continue;
		}
		printf("--- in %ld s; the first table per second ---\n", watch_s);
		print_stats(difference, reasons, (double)watch_s);
		putchar('\n');
		json_decref(difference);
		exit_code = cli_flush();
	}
	json_decref(before);
	return exit_code;
}

static int show(struct cli *cli, const json_t *reasons)
{
	json_t *document = cli_get(cli, "/v1/stats");

	if (!document)
		return CLI_FAILED;
	if (cli->is_json) {
		if (reasons)
			json_object_set(document, "reasons", json_object_get(reasons, "reasons"));
		return cli_print_json(document);
	}
	print_stats(document, reasons, 0);
	json_decref(document);
	return cli_flush();
}

int cli_stats(struct cli *cli, int argc, char **argv)
{
	struct options options = {0};
	int exit_code = take_options(cli, &options, argc, argv);
	json_t *reasons = NULL;

	if (exit_code >= 0)
		return exit_code;
	if (options.is_explained && !(reasons = cli_get(cli, "/v1/reasons")))
		return CLI_FAILED;
	exit_code = options.watch_s ? watch(cli, reasons, options.watch_s) : show(cli, reasons);
	json_decref(reasons);
	return exit_code;
}
