#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A gateway that cannot go on says why and ends with 1, for its supervisor to start it again: a worker, or the host
# interface's thread, stands still. Nothing is left behind that a new start would trip over.
# Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Ends within a minute with 1, and its last words hold WHAT.
ends_saying() {
	local what=$1 pid=$GW_PID code=0

	GW_PID=""
	timeout 60 tail --pid="$pid" -f /dev/null || { kill -9 "$pid"; return 1; }
	wait "$pid" || code=$?
	tail -n 5 "$LAB_DIR/gw.log"
	((code == 1)) && tail -n 5 "$LAB_DIR/gw.log" | grep -q "$what"
}

# thread_stands_still NAME WHAT: the thread of that name (a pattern) is held, and the last words say WHAT.
thread_stands_still() {
	local tid holder

	tid=$(grep -lE "^($1)" "/proc/$GW_PID/task/"*/comm | head -n 1 | cut -d / -f 5)
	"$REPO/tests/netns/stop_thread.py" "$tid" &
	holder=$!
	ends_saying "$2.*stands still" || { kill "$holder" 2>/dev/null; return 1; }
	wait "$holder" || true
}

no_xdp() {
	! in_gw ip -d link show under0 | grep -E 'xdp'
}

main() {
	need_lab "dead"
	lab_up
	gw_config af_xdp
	check "gateway starts" gw_start
	check "a worker stands still: it says which and ends" \
		thread_stands_still "(rte|lcore)-worker" "worker 0"
	check "no XDP program is left" no_xdp
	# a worker that may sleep serves the host interface itself
	sed -i "s/^idle: .*/idle: poll/" "$LAB_DIR/gw.yaml"
	check "it starts again" gw_start
	check "the host interface's thread stands still: the same" \
		thread_stands_still sandd-host "host interface's thread"
	check "no XDP program is left" no_xdp
	check "and it starts again" gw_start
	exit "$FAILED"
}

main "$@"
