/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of drops and stages, and the snapshot that control takes of a thread's counters.
 * Control thread.
 */
#include "dp_stats.h"

#include <rte_ring.h>

const char *dp_port_kind_name(enum dp_port_kind kind)
{
	static const char *const names[] = {
		[DP_PORT_AF_XDP] = "af_xdp",
		[DP_PORT_AF_PACKET] = "af_packet",
		[DP_PORT_RING] = "ring",
		[DP_PORT_NULL] = "null",
	};

	return (unsigned)kind < BASE_ARRAY_LEN(names) ? names[kind] : NULL;
}

const char *dp_path_name(enum dp_path path)
{
	static const char *const names[] = {
		[DP_PATH_NONE] = "none",
		[DP_PATH_DIRECT4] = "direct4",
		[DP_PATH_DIRECT6] = "direct6",
		[DP_PATH_RELAY] = "relay",
	};

	return (unsigned)path < BASE_ARRAY_LEN(names) ? names[path] : NULL;
}

const char *dp_stage_name(enum dp_stage stage)
{
	static const char *const names[] = {
#define DP_STAGE_TEXT(name, text) [DP_STAGE_##name] = text,
		DP_STAGES(DP_STAGE_TEXT)
#undef DP_STAGE_TEXT
	};

	return (unsigned)stage < BASE_ARRAY_LEN(names) ? names[stage] : NULL;
}

const char *dp_place_name(enum dp_place place)
{
	static const char *const names[] = {
#define DP_PLACE_TEXT(name, text) [DP_PLACE_##name] = text,
		DP_PLACES(DP_PLACE_TEXT)
#undef DP_PLACE_TEXT
	};

	return (unsigned)place < BASE_ARRAY_LEN(names) ? names[place] : NULL;
}

const char *dp_burst_name(enum dp_burst_kind kind)
{
	static const char *const names[] = {
#define DP_BURST_TEXT(name, text) [DP_BURST_##name] = text,
		DP_BURSTS(DP_BURST_TEXT)
#undef DP_BURST_TEXT
	};

	return (unsigned)kind < BASE_ARRAY_LEN(names) ? names[kind] : NULL;
}

const char *dp_queue_name(enum dp_queue queue)
{
	static const char *const names[] = {
#define DP_QUEUE_TEXT(name, text) [DP_QUEUE_##name] = text,
		DP_QUEUES(DP_QUEUE_TEXT)
#undef DP_QUEUE_TEXT
	};

	return (unsigned)queue < BASE_ARRAY_LEN(names) ? names[queue] : NULL;
}

unsigned dp_drop_count(void)
{
	return DP_DROP_COUNT;
}

const char *dp_drop_name(unsigned reason)
{
	static const char *const names[] = {
#define DP_DROP_TEXT(name, text, place, meaning) [DP_DROP_##name] = text,
		DP_DROPS(DP_DROP_TEXT)
#undef DP_DROP_TEXT
	};

	if (reason < DP_DROP_HANDSHAKE_FIRST)
		return names[reason];
	if (reason < DP_DROP_COUNT)
		return wg_verdict_name((enum wg_verdict)(
			WG_VERDICT_MALFORMED + (reason - DP_DROP_HANDSHAKE_FIRST)));
	return NULL;
}

/* What wg's verdicts on handshake messages mean, for operators. */
static const char *verdict_meaning(enum wg_verdict verdict)
{
	switch (verdict) {
	case WG_VERDICT_MALFORMED:
		return "a handshake message of a wrong length";
	case WG_VERDICT_MAC1:
		return "a handshake message that was not made for our public key: a peer with a "
		       "wrong key of ours, or noise";
	case WG_VERDICT_COOKIE_SENT:
		return "under load; its sender was asked to prove its address and may come again";
	case WG_VERDICT_RATE_LIMIT:
		return "under load, and this address begins handshakes too fast";
	case WG_VERDICT_UNKNOWN_PEER:
		return "an initiation of somebody whose public key is not configured";
	case WG_VERDICT_FORGED:
		return "a handshake message that does not decrypt: another preshared key, or a "
		       "forgery";
	case WG_VERDICT_REPLAY:
		return "an initiation that is no newer than the last: a repetition, or the peer's "
		       "clock went back";
	case WG_VERDICT_FLOOD:
		return "initiations of one peer within a few milliseconds";
	case WG_VERDICT_UNKNOWN_INDEX:
		return "a response to nothing that we asked, or too late";
	case WG_VERDICT_COOKIE_BAD:
		return "a cookie that does not decrypt";
	case WG_VERDICT_NO_MEMORY:
		return "no memory for another session";
	default:
		return "another end of a handshake message";
	}
}

const char *dp_verdict_name(unsigned verdict)
{
	static const char *const names[] = {
#define DP_VERDICT_TEXT(name, text) [DP_VERDICT_##name - DP_VERDICT_SENT] = text,
		DP_VERDICTS(DP_VERDICT_TEXT)
#undef DP_VERDICT_TEXT
	};

	if (dp_verdict_is_drop(verdict))
		return dp_drop_name(verdict);
	return verdict < DP_VERDICT_COUNT ? names[verdict - DP_VERDICT_SENT] : NULL;
}

const char *dp_drop_meaning(unsigned reason)
{
	static const char *const meanings[] = {
#define DP_DROP_MEANING(name, text, place, meaning) [DP_DROP_##name] = (meaning),
		DP_DROPS(DP_DROP_MEANING)
#undef DP_DROP_MEANING
	};

	if (reason < DP_DROP_HANDSHAKE_FIRST)
		return meanings[reason];
	if (reason < DP_DROP_COUNT)
		return verdict_meaning((enum wg_verdict)(
			WG_VERDICT_MALFORMED + (reason - DP_DROP_HANDSHAKE_FIRST)));
	return NULL;
}

enum dp_place dp_drop_place(unsigned reason)
{
	static const uint8_t places[] = {
#define DP_DROP_PLACE(name, text, place, meaning) [DP_DROP_##name] = DP_PLACE_##place,
		DP_DROPS(DP_DROP_PLACE)
#undef DP_DROP_PLACE
	};

	return reason < DP_DROP_HANDSHAKE_FIRST ? (enum dp_place)places[reason]
						: DP_PLACE_HANDSHAKE;
}

void dp_counters_read(const struct dp_counters *counters, struct dp_worker_stats *ret_stats)
{
#define READ(field) ret_stats->field = dp_counter_get(&counters->field)
	READ(rx_pkts);
	READ(rx_bytes);
	READ(tx_pkts);
	READ(tx_bytes);
	READ(rx_bursts);
	READ(tx_bursts);
	READ(sealed_pkts);
	READ(sealed_bytes);
	READ(opened_pkts);
	READ(opened_bytes);
	READ(handed_over_pkts);
	READ(host_rx_pkts);
	READ(host_tx_pkts);
	READ(sleeps);
	READ(busy_cycles);
	READ(idle_cycles);
	for (unsigned i = 0; i < DP_STAGE_COUNT; i++) {
		READ(stage_pkts[i]);
		READ(stage_cycles[i]);
	}
	for (unsigned i = 0; i < DP_DROP_COUNT; i++)
		READ(drop_pkts[i]);
#undef READ
	for (unsigned i = 0; i < DP_BURST_KINDS; i++) {
		ret_stats->bursts[i].pkts = dp_counter_get(&counters->burst_pkts[i]);
		for (unsigned b = 0; b < DP_BURST_BUCKETS; b++)
			ret_stats->bursts[i].bursts[b] = dp_counter_get(&counters->bursts[i][b]);
	}
}

void dp_queue_read(struct dp_queue_stats *ret_stats, const struct rte_ring *ring,
	const struct dp_counters *counters, enum dp_queue queue)
{
	*ret_stats = (struct dp_queue_stats){
		.now = rte_ring_count(ring),
		.high = (uint32_t)dp_counter_get(&counters->queue_high[queue]),
		.size = rte_ring_get_capacity(ring),
	};
}
