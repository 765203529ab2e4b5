/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host interface's large packets. First byte even: a virtio_net_hdr that may lie and a packet, cut into segments, each
 * in a buffer of exactly its size, coalesced again. Odd: any packets in a burst, coalesced; what is cut from the runs
 * must be the packets that went in.
 */
#include "fuzz.h"

#include "base_bytes.h"
#include "in_coalesce.h"
#include "in_offload.h"

#define BURST IN_COALESCE_PKTS_MAX

struct burst {
	unsigned n;
	struct in_bytes pkts[BURST], originals[BURST];
};

static void add(struct burst *burst, const uint8_t *data, uint32_t len)
{
	unsigned i = burst->n++;

	burst->pkts[i] = (struct in_bytes){malloc(len ? len : 1), len};
	burst->originals[i] = (struct in_bytes){malloc(len ? len : 1), len};
	FUZZ_CHECK(burst->pkts[i].data && burst->originals[i].data);
	memcpy(burst->pkts[i].data, data, len);
	memcpy(burst->originals[i].data, data, len);
}

static void empty(struct burst *burst)
{
	for (unsigned i = 0; i < burst->n; i++) {
		free(burst->pkts[i].data);
		free(burst->originals[i].data);
	}
}

/* What may differ: the identification under Don't Fragment, and the two forms of a checksum of zero. */
static void same_packet(uint8_t *segment, const struct in_bytes *original, uint32_t csum_off)
{
	if (segment[0] >> 4 == 4 && (segment[6] & 0x40)) {
		memcpy(segment + 4, original->data + 4, 2);
		memcpy(segment + 10, original->data + 10, 2);
	}
	if (base_load_be16(segment + csum_off) == 0xffff &&
		base_load_be16(original->data + csum_off) == 0)
		memset(segment + csum_off, 0, 2);
	FUZZ_CHECK(memcmp(segment, original->data, original->len) == 0);
}

static void check_run(
	const struct burst *burst, const struct in_coalesce *result, const struct in_run *run)
{
	static uint8_t large[IN_LARGE_BYTES], segment[IN_LARGE_BYTES];
	const struct in_bytes *first = &burst->pkts[run->first];
	struct in_segments segments;
	uint8_t number = run->first;
	uint32_t len = first->len;

	if (run->n_pkts == 1) {
		FUZZ_CHECK(memcmp(first->data, burst->originals[number].data, len) == 0);
		return;
	}
	memcpy(large, first->data, len);
	for (unsigned i = 1; i < run->n_pkts; i++) {
		const struct in_bytes *piece;
		uint32_t more;

		number = result->next[number];
		piece = &burst->pkts[number];
		more = piece->len - run->headers_len;
		FUZZ_CHECK(piece->len > run->headers_len && more <= IN_LARGE_BYTES - len);
		memcpy(large + len, piece->data + run->headers_len, more);
		len += more;
	}
	FUZZ_CHECK(in_segments_plan(&segments, &run->vnet, large, len));
	FUZZ_CHECK(segments.n == run->n_pkts);
	number = run->first;
	for (unsigned i = 0; i < run->n_pkts; i++, number = result->next[number]) {
		FUZZ_CHECK(
			in_segments_write(&segments, i, segment) == burst->originals[number].len);
		same_packet(segment, &burst->originals[number],
			(uint32_t)run->vnet.csum_start + run->vnet.csum_offset);
	}
}

static void coalesce(struct burst *burst, bool has_udp)
{
	struct in_coalesce result;
	unsigned n = 0;

	in_coalesce(&result, burst->pkts, burst->n, has_udp);
	for (unsigned i = 0; i < result.n_runs; i++) {
		check_run(burst, &result, &result.runs[i]);
		n += result.runs[i].n_pkts;
	}
	FUZZ_CHECK(n == burst->n);
}

static void segment_and_back(struct fuzz_input *input)
{
	struct in_segments segments;
	struct burst burst = {0};
	struct in_vnet vnet = {0};
	size_t len;
	uint8_t *packet, *header = fuzz_take(input, sizeof(vnet), &len);

	memcpy(&vnet, header, len);
	free(header);
	packet = fuzz_take(input, input->len, &len);
	if (vnet.flags & IN_VNET_NEEDS_CSUM)
		(void)in_csum_complete(packet, (uint32_t)len, vnet.csum_start, vnet.csum_offset);
	if (in_segments_plan(&segments, &vnet, packet, (uint32_t)len)) {
		for (uint32_t i = 0; i < segments.n && i < BURST; i++) {
			uint8_t *out = malloc(in_segments_max_len(&segments));
			uint32_t out_len;

			FUZZ_CHECK(out);
			out_len = in_segments_write(&segments, i, out);
			FUZZ_CHECK(out_len <= in_segments_max_len(&segments));
			add(&burst, out, out_len);
			free(out);
		}
		coalesce(&burst, true);
	}
	empty(&burst);
	free(packet);
}

static void any_burst(struct fuzz_input *input, bool has_udp)
{
	struct burst burst = {0};

	while (input->len && burst.n < BURST) {
		size_t len;
		uint8_t *bytes = fuzz_take(input, fuzz_byte(input), &len);

		add(&burst, bytes, (uint32_t)len);
		free(bytes);
	}
	coalesce(&burst, has_udp);
	empty(&burst);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};
	uint8_t how = fuzz_byte(&input);

	if (how & 1)
		any_burst(&input, how & 2);
	else
		segment_and_back(&input);
	return 0;
}
