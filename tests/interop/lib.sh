# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the tests of direct mode share: a folder, TAP lines, programs that end with the test. Everything is on
# 127.0.0.1; no root. Sourced by tests/interop/sandd_*_test.sh and control/direct_test.sh.

# shellcheck source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"

SANDD_BUILD=${SANDD_BUILD:-$REPO/build}
# shellcheck disable=SC2034 # used by the tests that source this file
PEERS=${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}
DIR=$(mktemp -d -t sandd-interop.XXXXXX)
FAILED=0
PIDS=()

end_all() {
	local pid

	for pid in "${PIDS[@]}"; do
		{ kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true
	done
	rm -rf "$DIR"
}
trap end_all EXIT

# check NAME CMD...: a case; what the command printed, and the programs last, is shown if it fails.
check() {
	local name=$1

	shift
	if "$@" >"$DIR/output" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		tail -n 15 "$DIR/output" "$DIR"/*.log 2>/dev/null | sed 's/^/# /'
		# shellcheck disable=SC2034 # the exit code of the test
		FAILED=1
	fi
}

skip_all() {
	echo "ok - $1 # SKIP $2"
	exit 0
}

# start NAME CMD...: in the background, its log in $DIR/NAME.log; its number in STARTED.
start() {
	local name=$1

	shift
	"$@" >>"$DIR/$name.log" 2>&1 &
	STARTED=$!
	PIDS+=("$STARTED")
}

# stop PID SIGNAL: and wait for its end; its exit code in ENDED.
stop() {
	kill "-$2" "$1"
	ENDED=0
	# shellcheck disable=SC2034 # read by who stops
	wait "$1" 2>/dev/null || ENDED=$?
}

# until_true CMD...: tried for up to two minutes: a machine may be slow.
until_true() {
	local try

	for ((try = 0; try < 1200; try++)); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	"$@"
}

# A port nobody listens on now.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
