#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What an idle gateway with ten peers takes: memory (VmRSS and hugepages), and processor time where it
# may sleep; what a connected daemon takes. Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

GW_MB_MAX=300
DAEMON_MB_MAX=5
IDLE_S=10
IDLE_PERCENT_MAX=2

add_nine_peers() {
	local n

	for n in {2..10}; do
		printf '  - {name: worker-%d, public_key: %s, allowed_ips: [10.9.1.%d/32]}\n' \
			"$n" "$(wg genkey | wg pubkey)" "$n" >>"$LAB_DIR/gw.yaml"
	done
}

memory_is_at_most() {
	local pid=$1 max=$2 kb

	kb=$(awk '/^(VmRSS|HugetlbPages):/ { kb += $2 } END { print kb }' "/proc/$pid/status")
	echo "$kb kB, at most $((max * 1024))"
	((kb <= max * 1024))
}

# Ticks of user and system time that a process has used.
ticks_of() {
	sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'
}

# Processor time, not time on the wall: other load on the machine does not count.
idle_takes_little() {
	local before after

	before=$(ticks_of "$GW_PID")
	sleep "$IDLE_S"
	after=$(ticks_of "$GW_PID")
	echo "$((after - before)) ticks of $(getconf CLK_TCK) a second in $IDLE_S s"
	(((after - before) * 100 <= IDLE_PERCENT_MAX * IDLE_S * $(getconf CLK_TCK)))
}

daemon_pid() {
	local pid

	for pid in $(ip netns pids "$LAB_PEER"); do
		[[ $(readlink "/proc/$pid/exe") != */control/sandd ]] || echo "$pid"
	done
}

main() {
	need_lab "footprint"
	lab_up
	wg_start
	gw_config af_xdp
	add_nine_peers
	check "gateway starts with ten peers" gw_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "daemon connects" daemon_start worker-1
	check "gateway: at most $GW_MB_MAX MB" memory_is_at_most "$GW_PID" "$GW_MB_MAX"
	check "sandd: at most $DAEMON_MB_MAX MB" memory_is_at_most "$(daemon_pid)" "$DAEMON_MB_MAX"
	check "idle gateway: at most $IDLE_PERCENT_MAX % of a core" idle_takes_little
	exit "$FAILED"
}

main "$@"
