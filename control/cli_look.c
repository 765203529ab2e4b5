/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sandctl trace, capture: begin a look at packets, fetch what it sees until enough is seen, end it. See
 * cli_command.h; cli_pcapng.h writes files.
 */
#include "base_bytes.h"
#include "base_clock.h"
#include "cli_command.h"
#include "cli_pcapng.h"
#include "cli_table.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDS_PER_CALL 512
/* Between two questions that found little. */
#define PAUSE_NS (50 * BASE_NS_PER_MS)
#define COUNT_MAX 100000000L
#define SECONDS_MAX (24L * 3600)

/* What was asked for. */
struct look {
	const char *kind, *peer, *path;
	long count, seconds, snaplen;
	bool is_forced;
	FILE *file;      /* captures */
	json_t *records; /* traces with --json */
	uint64_t n_seen, n_lost;
};

/* Each record; false when it cannot be written. */
typedef bool (*record_sink)(struct look *look, const json_t *record);

static volatile sig_atomic_t is_interrupted;

static void on_signal(int number)
{
	is_interrupted = 1;
}

/* ---- records as lines ---- */

static const char *clock_text(char buf[CLI_TEXT_LEN], uint64_t unix_ns)
{
	time_t seconds = (time_t)(unix_ns / BASE_NS_PER_S);
	struct tm tm;

	localtime_r(&seconds, &tm);
	snprintf(buf, CLI_TEXT_LEN, "%02d:%02d:%02d.%06u", tm.tm_hour, tm.tm_min, tm.tm_sec,
		(unsigned)(unix_ns % BASE_NS_PER_S / BASE_NS_PER_US));
	return buf;
}

static const char *icmp_text(unsigned proto, unsigned type)
{
	if ((proto == 1 && type == 8) || (proto == 58 && type == 128))
		return "echo request";
	if ((proto == 1 && type == 0) || (proto == 58 && type == 129))
		return "echo reply";
	if (proto == 1 && type == 3)
		return "unreachable";
	if (proto == 58 && type == 2)
		return "too big";
	return "message";
}

/* "S", "SA", "F", as tcpdump has them; "." is a bare acknowledgement. */
static const char *tcp_text(char buf[8], unsigned flags)
{
	static const char letters[] = "FSRP";
	size_t n = 0;

	for (unsigned i = 0; i < 4; i++)
		if (flags & 1u << i)
			buf[n++] = letters[i];
	if (flags & 0x10)
		buf[n++] = '.';
	buf[n] = '\0';
	return buf;
}

static void print_inner(const json_t *inner)
{
	unsigned proto = (unsigned)cli_number(inner, "proto");
	unsigned long long src_port = cli_number(inner, "src_port"),
			   dst_port = cli_number(inner, "dst_port");
	char flags[8];

	if (proto == 6 || proto == 17)
		printf("%s:%llu > %s:%llu", cli_text(inner, "src"), src_port,
			cli_text(inner, "dst"), dst_port);
	else
		printf("%s > %s", cli_text(inner, "src"), cli_text(inner, "dst"));
	if (proto == 6)
		printf(" tcp [%s]", tcp_text(flags, (unsigned)cli_number(inner, "tcp_flags")));
	else if (proto == 17)
		printf(" udp");
	else if (proto == 1 || proto == 58)
		printf(" icmp%s %s", proto == 58 ? "6" : "",
			icmp_text(proto, (unsigned)cli_number(inner, "icmp_type")));
	else
		printf(" proto %u", proto);
	printf(" %llu B", (unsigned long long)cli_number(inner, "bytes"));
}

static void print_outer(const json_t *record)
{
	const json_t *message = json_object_get(record, "message");
	bool is_out = strcmp(cli_text(record, "direction"), "out") == 0;
	const char *end = cli_text(record, is_out ? "dst" : "src");

	printf("%s %s", is_out ? "to" : "from", *end ? end : "-");
	if (json_is_object(message)) {
		printf(" %s", cli_text(message, "type"));
		if (strcmp(cli_text(message, "type"), "data") == 0)
			printf(" #%llu", (unsigned long long)cli_number(message, "counter"));
	}
	printf(" %llu B", (unsigned long long)cli_number(record, "bytes"));
}

static bool print_record(struct look *look, const json_t *record)
{
	const json_t *worker = json_object_get(record, "worker");
	const json_t *inner = json_object_get(record, "inner");
	bool is_dropped = json_is_true(json_object_get(record, "dropped"));
	const char *peer = cli_text(record, "peer");
	char time[CLI_TEXT_LEN], thread[CLI_TEXT_LEN] = "--", verdict[64];

	if (json_is_integer(worker))
		snprintf(thread, sizeof(thread), "w%lld", (long long)json_integer_value(worker));
	snprintf(verdict, sizeof(verdict), "%s%s", is_dropped ? "DROP " : "",
		cli_text(record, "verdict"));
	printf("%s %-3s %-3s %-7s %-24s %-12s ", clock_text(time, cli_number(record, "time_ns")),
		thread, cli_text(record, "direction"), cli_text(record, "at"), verdict,
		*peer ? peer : "-");
	if (*cli_text(record, "src") || !json_is_object(inner))
		print_outer(record);
	if (json_is_object(inner)) {
		printf("%s", *cli_text(record, "src") ? " | " : "");
		print_inner(inner);
	}
	putchar('\n');
	return !ferror(stdout);
}

static bool keep_record(struct look *look, const json_t *record)
{
	return json_array_append(look->records, (json_t *)record) == 0;
}

/* ---- records as packets ---- */

static bool write_record(struct look *look, const json_t *record)
{
	const char *hex = cli_text(record, "data"), *peer = cli_text(record, "peer");
	const json_t *inner = json_object_get(record, "inner");
	bool is_inner = strcmp(look->kind, "inner") == 0;
	uint8_t data[CLI_PCAPNG_BYTES_MAX];
	size_t len = strlen(hex) / 2;
	char comment[CLI_PCAPNG_TEXT_MAX];

	if (len > sizeof(data) || !base_hex_decode(data, len, hex))
		return false;
	snprintf(comment, sizeof(comment), "%s%s%s%s",
		json_is_true(json_object_get(record, "dropped")) ? "dropped: " : "",
		cli_text(record, "verdict"), *peer ? ", peer " : "", peer);
	return cli_pcapng_packet(look->file,
		&(struct cli_pcapng_packet){
			.interface = is_inner ? 0 : (unsigned)cli_number(record, "port"),
			.unix_ns = cli_number(record, "time_ns"),
			.is_out = strcmp(cli_text(record, "direction"), "out") == 0,
			.data = data,
			.data_len = (uint32_t)len,
			.packet_len = (uint32_t)(is_inner && json_is_object(inner)
					? cli_number(inner, "bytes")
					: cli_number(record, "bytes")),
			.comment = comment,
		});
}

/* ---- fetching ---- */

/* Returns 1 to go on, 0 when there is enough, -1 when it failed and was told. */
static int take_reply(struct cli *cli, struct look *look, const json_t *reply, record_sink sink)
{
	json_t *record;
	size_t i;

	look->n_lost = cli_number(reply, "lost");
	json_array_foreach (json_object_get(reply, "records"), i, record) {
		if (look->n_seen == (uint64_t)look->count)
			return 0;
		if (!sink(look, record)) {
			cli_fail(cli, 0, "write", "%s cannot be written: %s",
				look->path ? look->path : "standard output", strerror(errno));
			return -1;
		}
		look->n_seen++;
	}
	/* Whoever reads the other end of a pipe wants to see it now. */
	fflush(look->file ? look->file : stdout);
	if (json_is_true(json_object_get(reply, "over"))) {
		fprintf(stderr, "sandctl: the peer was removed\n");
		return 0;
	}
	return look->n_seen < (uint64_t)look->count;
}

static int fetch_all(struct cli *cli, struct look *look, const char *path, record_sink sink)
{
	uint64_t end_ns = base_clock_now_ns() + (uint64_t)look->seconds * BASE_NS_PER_S;
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	bool is_last = false;
	int more = 1;

	while (more == 1 && !is_last) {
		json_t *reply;
		size_t n;

		/* After the end once more: for what came until then. */
		is_last = is_interrupted || base_clock_now_ns() >= end_ns;
		reply = cli_post(cli, path, json_pack("{s:i}", "max", RECORDS_PER_CALL));
		if (!reply)
			return -1;
		n = json_array_size(json_object_get(reply, "records"));
		more = take_reply(cli, look, reply, sink);
		json_decref(reply);
		if (more == 1 && !is_last && n < RECORDS_PER_CALL)
			nanosleep(&pause, NULL);
	}
	return more < 0 ? -1 : 0;
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

static json_t *begin(struct cli *cli, const struct look *look)
{
	json_t *body = json_pack("{s:s}", "kind", look->kind);

	if (look->peer)
		json_object_set_new(body, "peer", json_string(look->peer));
	if (look->snaplen)
		json_object_set_new(body, "snaplen", json_integer(look->snaplen));
	return cli_post(cli, "/v1/taps", body);
}

static int fetch(struct cli *cli, struct look *look, uint64_t id, record_sink sink)
{
	char path[64];
	json_t *reply;
	int result;

	snprintf(path, sizeof(path), "/v1/taps/%llu/read", (unsigned long long)id);
	result = fetch_all(cli, look, path, sink);
	*strrchr(path, '/') = '\0';
	reply = cli_delete(cli, path);
	json_decref(reply);
	return result == 0 && reply ? CLI_OK : CLI_FAILED;
}

/* ---- options ---- */

static bool take_number(long *ret_value, const char *text, long max)
{
	char *end;

	errno = 0;
	*ret_value = strtol(text, &end, 10);
	return errno == 0 && *end == '\0' && *ret_value >= 1 && *ret_value <= max;
}

/* Returns -1 to go on, else an exit code. */
static int take_options(struct cli *cli, struct look *look, int argc, char **argv)
{
	const char *wrong = NULL;
	int option;

	while ((option = cli_next_option(cli, argc, argv)) >= 0) {
		switch (option) {
		case 'p':
			look->peer = optarg;
			break;
		case 'n':
			wrong = take_number(&look->count, optarg, COUNT_MAX) ? wrong : "--count";
			break;
		case 's':
			wrong = take_number(&look->seconds, optarg, SECONDS_MAX) ? wrong
										 : "--seconds";
			break;
		case 'l':
			wrong = take_number(&look->snaplen, optarg, CLI_PCAPNG_BYTES_MAX)
				? wrong
				: "--snaplen";
			break;
		case 'i':
			look->kind = optarg;
			break;
		case 'o':
			look->path = optarg;
			break;
		case 'f':
			look->is_forced = true;
			break;
		default:
			break;
		}
	}
	if (option != -1)
		return option == CLI_OPTION_HELP ? CLI_OK : CLI_USAGE;
	if (wrong)
		return cli_fail(cli, CLI_USAGE, "usage", "%s: a whole number; %s --help tells more",
			wrong, cli->command->name);
	if (argv[optind])
		return cli_fail(cli, CLI_USAGE, "usage", "%s takes no arguments, only options",
			cli->command->name);
	return -1;
}

/* ---- trace ---- */

int cli_trace(struct cli *cli, int argc, char **argv)
{
	struct look look = {.kind = "trace", .count = 1000, .seconds = 60};
	int exit_code = take_options(cli, &look, argc, argv);
	json_t *tap;

	if (exit_code >= 0)
		return exit_code;
	catch_signals();
	tap = begin(cli, &look);
	if (!tap)
		return CLI_FAILED;
	if (cli->is_json)
		look.records = json_array();
	exit_code =
		fetch(cli, &look, cli_number(tap, "id"), cli->is_json ? keep_record : print_record);
	json_decref(tap);
	if (cli->is_json && exit_code == CLI_OK)
		return cli_print_json(json_pack(
			"{s:o, s:I}", "records", look.records, "lost", (json_int_t)look.n_lost));
	json_decref(look.records);
	if (exit_code == CLI_OK && (look.n_lost > 0 || look.n_seen == 0))
		fprintf(stderr, "sandctl: %llu packets seen; %llu more came too fast to be shown\n",
			(unsigned long long)look.n_seen, (unsigned long long)look.n_lost);
	return exit_code == CLI_OK ? cli_flush() : exit_code;
}

/* ---- capture ---- */

/* New, or with --force an old one that is emptied; never through a link that somebody laid. */
static FILE *open_file(struct cli *cli, const struct look *look)
{
	int flags =
		O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (look->is_forced ? O_TRUNC : O_EXCL);
	int fd = open(look->path, flags, 0600);
	FILE *file = NULL;

	if (fd >= 0 && fchmod(fd, 0600) == 0)
		file = fdopen(fd, "w");
	if (file)
		return file;
	if (fd < 0 && errno == EEXIST)
		cli_fail(cli, 0, "exists", "%s exists; --force overwrites it", look->path);
	else
		cli_fail(cli, 0, "write", "%s: %s", look->path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return NULL;
}

static bool begin_file(const struct look *look, const json_t *tap)
{
	const json_t *ports = json_object_get(tap, "ports");
	const char *names[16] = {cli_text(tap, "host_device")};
	bool is_inner = strcmp(look->kind, "inner") == 0;
	uint32_t snaplen = look->snaplen ? (uint32_t)look->snaplen : CLI_PCAPNG_BYTES_MAX;
	unsigned n = 1;

	if (is_inner)
		return cli_pcapng_begin(look->file, CLI_LINKTYPE_RAW, snaplen, names, n);
	for (n = 0; n < json_array_size(ports) && n < BASE_ARRAY_LEN(names); n++)
		names[n] = json_string_value(json_array_get(ports, n));
	return cli_pcapng_begin(look->file, CLI_LINKTYPE_ETHERNET, snaplen, names, n);
}

static int capture(struct cli *cli, struct look *look)
{
	json_t *tap = begin(cli, look);
	int exit_code;

	if (!tap)
		return CLI_FAILED;
	begin_file(look, tap);
	exit_code = fetch(cli, look, cli_number(tap, "id"), write_record);
	json_decref(tap);
	if (!cli_pcapng_end(look->file, base_clock_unix_ns(), look->n_lost) && exit_code == CLI_OK)
		return cli_fail(cli, CLI_FAILED, "write", "%s cannot be written: %s", look->path,
			strerror(errno));
	return exit_code;
}

int cli_capture(struct cli *cli, int argc, char **argv)
{
	struct look look = {.count = 10000, .seconds = 60};
	int exit_code = take_options(cli, &look, argc, argv);
	bool is_stdout;

	if (exit_code >= 0)
		return exit_code;
	if (!look.kind || (strcmp(look.kind, "inner") != 0 && strcmp(look.kind, "outer") != 0))
		return cli_fail(cli, CLI_USAGE, "usage", "--side: inner or outer");
	if (!look.path)
		return cli_fail(cli, CLI_USAGE, "usage", "--out: a file, or - for standard output");
	is_stdout = strcmp(look.path, "-") == 0;
	if (is_stdout && cli->is_json)
		return cli_fail(cli, CLI_USAGE, "usage", "--json and --out - use the same output");
	catch_signals();
	look.file = is_stdout ? stdout : open_file(cli, &look);
	if (!look.file)
		return CLI_FAILED;
	exit_code = capture(cli, &look);
	if (!is_stdout && fclose(look.file) != 0 && exit_code == CLI_OK)
		exit_code = cli_fail(cli, CLI_FAILED, "write", "%s cannot be written: %s",
			look.path, strerror(errno));
	if (exit_code != CLI_OK)
		return exit_code;
	if (cli->is_json)
		return cli_print_json(json_pack("{s:s, s:I, s:I}", "file", look.path, "packets",
			(json_int_t)look.n_seen, "lost", (json_int_t)look.n_lost));
	fprintf(stderr, "sandctl: %llu packets captured, %llu lost\n",
		(unsigned long long)look.n_seen, (unsigned long long)look.n_lost);
	return CLI_OK;
}
