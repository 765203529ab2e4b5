/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The map bench: what a Headscale server's frames cost this node. A whole map of --peers peers (10,000), the same one
 * again as after a reconnect, a delta of one peer, a patch, a frame that only tells the time, a keep-alive: each from
 * the bytes that travel (zstd) to the applied map, in CPU time of one thread. Peers look as Headscale 0.29 sends them,
 * host information and all.
 *
 * The yardstick is jansson alone on the same text, which is there already decompressed; `bare` is the quotient. Memory is what
 * the process holds more after the map than before it. README.md has the method.
 */
#include "base_bytes.h"
#include "coord_map.h"

#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>
#include <zstd.h>

#define PEERS 10000u
#define MAP_ROUNDS 5u
#define SMALL_ROUNDS 15u
#define SMALL_FRAMES 200u
#define ROUNDS_MAX 15u
#define PEER_BYTES_MAX 2048u
#define NOW 1790000000u

/* A frame as text and as it travels. */
struct sample {
	char *text;
	size_t len;
	uint8_t *wire; /* length, zstd */
	size_t wire_len;
};

struct bench {
	bool as_json;
	unsigned n_peers;
	struct coord_map_stream *stream;
	struct coord_map_parser *parser;
	struct coord_netmap *map;
};

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "bench_map: %s\n", what);
	exit(1);
}

static void *must(void *p)
{
	if (!p)
		die("no memory");
	return p;
}

static double cpu_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

/* 64 hexadecimal digits that do not compress, as keys do not. */
static const char *hex_of(unsigned seed)
{
	static char texts[4][65];
	static unsigned next;
	char *text = texts[next++ % 4];
	uint64_t z = seed;

	for (unsigned i = 0; i < 4; i++) {
		uint64_t x = z += UINT64_C(0x9e3779b97f4a7c15);

		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
		x ^= x >> 31;
		snprintf(text + 16 * (size_t)i, 17, "%016llx", (unsigned long long)x);
	}
	return text;
}

/* @home: of a relay, so that a delta can differ from what was there. */
static size_t node_write(char *text, size_t room, unsigned id, unsigned home)
{
	int len = snprintf(text, room,
		"{\"ID\":%u,\"StableID\":\"%u\",\"Name\":\"worker-%u.mesh.lab.\",\"User\":1,"
		"\"Key\":\"nodekey:%s\",\"KeyExpiry\":\"0001-01-01T00:00:00Z\",\"Machine\":\"mkey:%"
		"s\","
		"\"DiscoKey\":\"discokey:%s\",\"Addresses\":[\"100.%u.%u.%u/32\","
		"\"fd7a:115c:a1e0::%x/128\"],\"AllowedIPs\":[\"100.%u.%u.%u/32\","
		"\"fd7a:115c:a1e0::%x/"
		"128\"],\"Endpoints\":[\"192.0.2.%u:41641\",\"10.%u.%u.2:41641\","
		"\"172.17.0.1:41641\"],\"HomeDERP\":%u,\"Hostinfo\":{\"IPNVersion\":\"1.98.10\","
		"\"BackendLogID\":\"%s\",\"OS\":\"linux\",\"OSVersion\":\"6.1.0-40-amd64\","
		"\"Container\":true,"
		"\"Distro\":\"debian\",\"DistroVersion\":\"12\",\"DistroCodeName\":\"bookworm\","
		"\"Desktop\":false,\"Hostname\":\"worker-%u\",\"Machine\":\"x86_64\",\"GoArch\":"
		"\"amd64\","
		"\"GoArchVar\":\"v1\",\"GoVersion\":\"go1.26.5\",\"Services\":[{\"Proto\":"
		"\"peerapi4\","
		"\"Port\":%u},{\"Proto\":\"peerapi6\",\"Port\":%u}],\"NetInfo\":{"
		"\"MappingVariesByDestIP\":"
		"false,\"WorkingIPv6\":false,\"OSHasIPv6\":true,\"WorkingUDP\":true,\"UPnP\":false,"
		"\"PMP\":false,\"PCP\":false,\"PreferredDERP\":%u,\"FirewallMode\":\"nft-default\"}"
		","
		"\"Userspace\":false,\"UserspaceRouter\":false,\"AppConnector\":false,"
		"\"StateEncrypted\":false},"
		"\"Created\":\"2026-07-01T10:00:00.123456789Z\",\"Cap\":138,\"Tags\":[\"tag:"
		"worker\"],"
		"\"Online\":%s,\"MachineAuthorized\":true}",
		id, id, id, hex_of(3 * id), hex_of(3 * id + 1), hex_of(3 * id + 2), 64 + (id >> 16),
		id >> 8 & 0xff, id & 0xff, id, 64 + (id >> 16), id >> 8 & 0xff, id & 0xff, id,
		id & 0xff, id >> 8 & 0xff, id & 0xff, home, hex_of(5 * id), id, 20000 + id % 40000,
		20000 + id % 40000, home, id % 7 ? "true" : "false");

	return len > 0 && (size_t)len < room ? (size_t)len : 0;
}

static struct sample sample_of(char *text, size_t len)
{
	struct sample sample = {.text = text, .len = len};
	size_t bound = ZSTD_compressBound(len), n;

	sample.wire = must(malloc(4 + bound));
	n = ZSTD_compress(sample.wire + 4, bound, text, len, 1);
	if (ZSTD_isError(n))
		die("zstd");
	base_store_le32(sample.wire, (uint32_t)n);
	sample.wire_len = 4 + n;
	return sample;
}

static void sample_fini(struct sample *sample)
{
	free(sample->text);
	free(sample->wire);
}

static struct sample sample_text(const char *text)
{
	return sample_of(must(strdup(text)), strlen(text));
}

static struct sample whole_map(unsigned n_peers)
{
	size_t room = (n_peers + 3) * (size_t)PEER_BYTES_MAX, len;
	char *text = must(malloc(room));

	len = (size_t)snprintf(text, room, "{\"Node\":");
	len += node_write(text + len, PEER_BYTES_MAX, n_peers + 1, 900);
	len += (size_t)snprintf(text + len, room - len, ",\"Peers\":[");
	for (unsigned i = 1; i <= n_peers; i++) {
		if (i > 1)
			text[len++] = ',';
		len += node_write(text + len, PEER_BYTES_MAX, i, 900);
	}
	len += (size_t)snprintf(text + len, room - len,
		"],\"DNSConfig\":{\"Routes\":{\"64.100.in-addr.arpa\":[]},\"Domains\":[\"mesh."
		"lab\"],"
		"\"Proxied\":true},\"Domain\":\"headscale\",\"PacketFilters\":{\"base\":[{"
		"\"SrcIPs\":"
		"[\"100.64.0.0-100.115.91.255\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":"
		"8765,"
		"\"Last\":8765}}]}]},\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"fleet\"}],"
		"\"ControlTime\":\"2026-09-21T14:13:20Z\"}");
	return sample_of(text, len);
}

static struct sample one_peer(unsigned id, unsigned home)
{
	char *text = must(malloc(2 * (size_t)PEER_BYTES_MAX));
	size_t len = (size_t)snprintf(text, PEER_BYTES_MAX, "{\"PeersChanged\":[");

	len += node_write(text + len, PEER_BYTES_MAX, id, home);
	len += (size_t)snprintf(text + len, PEER_BYTES_MAX,
		"],\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"fleet\"}],"
		"\"ControlTime\":\"2026-09-21T14:13:20Z\"}");
	return sample_of(text, len);
}

/* From the bytes of the stream to the applied map. */
static void run(struct bench *bench, const struct sample *sample, bool is_first)
{
	const struct coord_diff *diff;
	struct coord_map_update *update;
	struct coord_map_frame *frame;
	struct base_error why = {""};

	if (coord_map_stream_feed(bench->stream, sample->wire, sample->wire_len, &why) < 0)
		die(why.text);
	while ((frame = coord_map_stream_next(bench->stream))) {
		if (!frame->is_keep_alive) {
			update = coord_map_parse(bench->parser, frame, &why);
			if (!update)
				die(why.text);
			if (coord_netmap_apply(bench->map, update, is_first, NOW, &diff) < 0)
				die("not applied");
			coord_netmap_settle(bench->map);
		}
		coord_map_frame_free(frame);
	}
}

/* jansson alone on texts in turn. */
static double bare_us(const struct sample *samples, unsigned n)
{
	double begin = cpu_us();

	for (unsigned i = 0; i < n; i++)
		json_decref(must(json_loadb(samples[i % 2].text, samples[i % 2].len, 0, NULL)));
	return (cpu_us() - begin) / n;
}

static void row(const struct bench *bench, const char *what, const struct sample *sample, double us,
	double bare, double quotient)
{
	printf(bench->as_json
			? "{\"bench\":\"map\",\"frame\":\"%s\",\"peers\":%u,\"wire_bytes\":%zu,"
			  "\"text_bytes\":%zu,\"us\":%.1f,\"bare_us\":%.1f,\"bare\":%.2f}\n"
			: "%-10s %6u peers %9zu bytes %9zu of text %11.1f us, jansson %11.1f us, "
			  "%.2f\n",
		what, bench->n_peers, sample->wire_len, sample->len, us, bare, quotient);
	fflush(stdout);
}

/* @samples: two, applied in turn, so that each is a change. */
static void measure_small(struct bench *bench, const char *what, const struct sample *samples)
{
	double us[ROUNDS_MAX], bare[ROUNDS_MAX], quotients[ROUNDS_MAX], begin;

	for (unsigned i = 0; i < SMALL_ROUNDS; i++) {
		bare[i] = bare_us(samples, SMALL_FRAMES);
		begin = cpu_us();
		for (unsigned j = 0; j < SMALL_FRAMES; j++)
			run(bench, &samples[j % 2], false);
		us[i] = (cpu_us() - begin) / SMALL_FRAMES;
		quotients[i] = us[i] / bare[i];
	}
	row(bench, what, samples, median(us, SMALL_ROUNDS), median(bare, SMALL_ROUNDS),
		median(quotients, SMALL_ROUNDS));
}

static void measure_two(struct bench *bench, const char *what, struct sample a, struct sample b)
{
	struct sample samples[] = {a, b};

	measure_small(bench, what, samples);
	sample_fini(&samples[0]);
	sample_fini(&samples[1]);
}

static void measure_map(struct bench *bench)
{
	double us[2][ROUNDS_MAX], bare[ROUNDS_MAX], quotients[2][ROUNDS_MAX], begin;
	struct sample samples[2] = {whole_map(bench->n_peers)};

	samples[1] = samples[0];
	for (unsigned i = 0; i < MAP_ROUNDS; i++) {
		bare[i] = bare_us(samples, 1);
		for (unsigned again = 0; again < 2; again++) {
			if (!again) {
				coord_netmap_free(bench->map);
				bench->map = must(coord_netmap_new());
			}
			begin = cpu_us();
			run(bench, &samples[0], true);
			us[again][i] = cpu_us() - begin;
			quotients[again][i] = us[again][i] / bare[i];
		}
	}
	row(bench, "whole", samples, median(us[0], MAP_ROUNDS), median(bare, MAP_ROUNDS),
		median(quotients[0], MAP_ROUNDS));
	row(bench, "again", samples, median(us[1], MAP_ROUNDS), median(bare, MAP_ROUNDS),
		median(quotients[1], MAP_ROUNDS));
	sample_fini(&samples[0]);
}

static void measure_memory(struct bench *bench)
{
	struct sample sample = whole_map(bench->n_peers);
	size_t before, after;

	coord_netmap_free(bench->map);
	bench->map = must(coord_netmap_new());
	malloc_trim(0);
	before = mallinfo2().uordblks + mallinfo2().hblkhd;
	run(bench, &sample, true);
	after = mallinfo2().uordblks + mallinfo2().hblkhd;
	printf(bench->as_json
			? "{\"bench\":\"map\",\"memory\":\"peer\",\"peers\":%u,\"bytes\":%.0f}\n"
			: "memory     %6u peers %9.0f bytes each\n",
		bench->n_peers, (double)(after - before) / bench->n_peers);
	sample_fini(&sample);
}

static void measure_all(struct bench *bench)
{
	measure_map(bench);
	measure_memory(bench);
	measure_two(bench, "peer", one_peer(bench->n_peers / 2, 901),
		one_peer(bench->n_peers / 2, 902));
	measure_two(bench, "patch",
		sample_text("{\"PeersChangedPatch\":[{\"NodeID\":7,\"Online\":true}],"
			    "\"ControlTime\":\"2026-09-21T14:13:20Z\"}"),
		sample_text("{\"PeersChangedPatch\":[{\"NodeID\":7,\"Online\":false,"
			    "\"LastSeen\":\"2026-09-21T14:13:20Z\"}],"
			    "\"ControlTime\":\"2026-09-21T14:13:20Z\"}"));
	measure_two(bench, "empty",
		sample_text("{\"ControlTime\":\"2026-09-21T14:13:20.123456789+02:00\"}"),
		sample_text("{\"ControlTime\":\"2026-09-21T14:13:20Z\"}"));
	measure_two(bench, "keep-alive", sample_text("{\"KeepAlive\":true}"),
		sample_text("{\"KeepAlive\":true}"));
}

static unsigned number_of(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < 10 || n > COORD_PEERS_MAX - 1)
		die("--peers wants 10 to 65535");
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"json", no_argument, NULL, 'j'},
		{"peers", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct coord_map_limits limits = {.bytes_max = 256u << 20, .decoded_max = 512u << 20};
	struct bench bench = {.n_peers = PEERS};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p') {
			bench.n_peers = number_of(optarg);
		} else if (c == 'j') {
			bench.as_json = true;
		} else {
			fprintf(c == 'h' ? stdout : stderr,
				"usage: bench_map [--json] [--peers N]\n"
				"Frames of the network map, decoded and applied, against jansson "
				"alone.\n");
			return c == 'h' ? 0 : 2;
		}
	}
	bench.stream = must(coord_map_stream_new(&limits, true));
	bench.parser = must(coord_map_parser_new(&limits, true));
	bench.map = must(coord_netmap_new());
	measure_all(&bench);
	coord_netmap_free(bench.map);
	coord_map_parser_free(bench.parser);
	coord_map_stream_free(bench.stream);
	return 0;
}
