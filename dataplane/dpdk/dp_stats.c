/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of drops and stages, and the snapshot that control takes of a thread's counters.
 * Control thread.
 */
#include "dp_stats.h"

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

unsigned dp_drop_count(void)
{
	return DP_DROP_COUNT;
}

const char *dp_drop_name(unsigned reason)
{
	static const char *const names[] = {
#define DP_DROP_TEXT(name, text) [DP_DROP_##name] = text,
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
}
