/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DNS queries against a small map: an answer fits where it goes, belongs to its query, and is no query itself; what is
 * passed on goes where the map says.
 */
#include "base_bytes.h"
#include "coord_dns.h"
#include "coord_map.h"

#include "fuzz.h"

static const char frame_text[] =
	"{\"Node\":{\"ID\":1,\"Name\":\"gw.mesh.lab.\",\"Key\":\"nodekey:"
	"0101010101010101010101010101010101010101010101010101010101010101\","
	"\"Addresses\":[\"100.64.0.1/32\",\"fd7a::1/128\"]},"
	"\"Peers\":[{\"ID\":2,\"Name\":\"w.mesh.lab.\",\"Key\":\"nodekey:"
	"0202020202020202020202020202020202020202020202020202020202020202\","
	"\"Addresses\":[\"100.64.0.2/32\",\"fd7a::2/128\"]}],"
	"\"DNSConfig\":{\"Proxied\":true,\"Routes\":{\"64.100.in-addr.arpa\":[],"
	"\"corp\":[{\"Addr\":\"10.9.9.9\"}]},\"Resolvers\":[{\"Addr\":\"192.0.2.53\"}],"
	"\"ExtraRecords\":[{\"Name\":\"a.b.mesh.lab\",\"Value\":\"fd00::9\"}]}}";

static struct coord_netmap *map_of_two(void)
{
	struct coord_netmap *map = coord_netmap_new();
	struct coord_map_update *update =
		coord_map_parse_text(frame_text, sizeof(frame_text) - 1, NULL);
	const struct coord_diff *diff;

	FUZZ_CHECK(map && update);
	FUZZ_CHECK(coord_netmap_apply(map, update, true, 0, &diff) == 0);
	return map;
}

static void answer_check(const uint8_t *query, const uint8_t *out, size_t len, bool is_stream)
{
	FUZZ_CHECK(len >= 12 && len <= COORD_DNS_ANSWER_BYTES_MAX);
	FUZZ_CHECK(memcmp(query, out, 2) == 0 && (out[2] & 0x80));
	/* without additional records there was no EDNS either */
	FUZZ_CHECK(is_stream || base_load_be16(query + 10) > 0 || len <= 512);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct coord_netmap *map;
	struct fuzz_input input = {data, size};
	bool is_stream = fuzz_byte(&input) & 1;
	size_t len, n;
	uint8_t *query = fuzz_take(&input, input.len, &len);
	uint8_t *out = malloc(COORD_DNS_ANSWER_BYTES_MAX);
	struct coord_dns_result result;

	if (!map)
		map = map_of_two();
	FUZZ_CHECK(out);
	result = coord_dns_ask(map, query, len, is_stream, out);
	if (result.verdict == COORD_DNS_ANSWER)
		answer_check(query, out, result.len, is_stream);
	if (result.verdict == COORD_DNS_FORWARD)
		FUZZ_CHECK(result.n_resolvers == 1 && result.resolvers);
	n = coord_dns_fail(query, len, out);
	FUZZ_CHECK((n == 0) == (result.verdict == COORD_DNS_DROP));
	if (n > 0)
		answer_check(query, out, n, is_stream);
	free(out);
	free(query);
	return 0;
}
