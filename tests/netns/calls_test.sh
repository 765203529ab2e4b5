#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# System calls of a worker on a real port: at most one per burst, counted by strace while TCP runs through the
# tunnel both ways. (On a ring port it makes none: tests/pipeline_calls_test.c.) Needs root; topology in
# scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TCP_MB=24
PKTS_MIN=20000
# Words to the handshake thread, which are about sessions, not packets.
CALLS_BESIDES=50

# The thread of the one worker.
worker_tid() {
	grep -lE '^(rte|lcore)-worker' "/proc/$GW_PID/task/"*/comm | head -n 1 | cut -d / -f 5
}


# calls_of NAME
calls_of() {
	awk -v name="$1" '$2 == name { n = $1 } END { print n + 0 }' "$LAB_DIR/calls"
}

# A burst to the port is sent, a burst from it may wake the host thread: one call each. To sleep takes one, to
# be woken another. To look at a packet socket is a call as well (recvmmsg, recvmsg), once a round; af_xdp needs none. A worker that may
# sleep also looks at the host interface (readv) once a round, and writes to it once per large packet; one that
# polls leaves that to the host thread. Nothing else is called.
calls_are_few() {
	local idle=$1 before after rx tx sleeps pkts writes sent woke slept others wrote strace tid

	tid=$(worker_tid)
	strace -c -U calls,name -p "$tid" -o "$LAB_DIR/calls" 2>"$LAB_DIR/strace" &
	strace=$!
	wait_for 30 grep -q attached "$LAB_DIR/strace"
	before=$(gwctl stats --json)
	tcp_transfer gw peer "$PEER4" "$TCP_MB"
	tcp_transfer peer gw "$GW4" "$TCP_MB"
	kill -INT "$strace"
	wait "$strace" || true
	after=$(gwctl stats --json)
	read -r writes < <(jq -rn --argjson a "$before" --argjson b "$after" '$b.host.tx_writes - $a.host.tx_writes')
	read -r rx tx sleeps pkts < <(jq -rn --argjson a "$before" --argjson b "$after" \
		'[$a, $b] | map(.workers[0]) | [.[1].rx_bursts - .[0].rx_bursts,
		.[1].tx_bursts - .[0].tx_bursts, .[1].sleeps - .[0].sleeps,
		.[1].rx_pkts - .[0].rx_pkts + .[1].tx_pkts - .[0].tx_pkts] | @tsv')
	cat "$LAB_DIR/calls"
	sent=$(($(calls_of sendto) + $(calls_of sendmmsg))) woke=$(calls_of write) slept=$(calls_of epoll_pwait2)
	wrote=$(calls_of writev)
	others=$(($(calls_of total) - sent - woke - slept - wrote - $(calls_of read)))
	if [[ $idle == adaptive ]]; then
		others=$((others - $(calls_of readv)))
	else
		writes=0
	fi
	[[ $kind == af_xdp ]] || others=$((others - $(calls_of recvmmsg) - $(calls_of recvmsg)))
	echo "$pkts packets, $rx + $tx bursts, $sleeps sleeps, $writes writes, $others other calls"
	((pkts >= PKTS_MIN && sent <= tx + CALLS_BESIDES && woke <= rx + CALLS_BESIDES &&
		slept <= sleeps + CALLS_BESIDES && wrote <= writes + CALLS_BESIDES && others <= CALLS_BESIDES))
}

main() {
	local kind idle

	need_lab "calls"
	have strace || { skip "calls" "no strace"; exit 0; }
	lab_up
	wg_start
	while read -r kind idle; do
		gw_config "$kind"
		sed -i "s/^idle: .*/idle: $idle/" "$LAB_DIR/gw.yaml"
		check "$kind, $idle: gateway starts" gw_start
		wg_peer endpoint "$GW_UNDER4:$GW_PORT"
		check "$kind, $idle: tunnel" ping_from peer "$GW4"
		check "$kind, $idle: at most one system call per burst" calls_are_few "$idle"
		wg_forget
		gw_stop || true
	done <<-EOF
		af_xdp adaptive
		af_packet adaptive
		af_xdp poll
	EOF
	exit "$FAILED"
}

main "$@"
