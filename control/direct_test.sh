#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The whole of direct mode with our own programs: sandd-gw, sandd and sandctl on the loopback address,
# without root, DPDK or a tunnel. Prints TAP lines.
#
#   direct_test.sh FOLDER_OF_THE_PROGRAMS
set -euo pipefail

# shellcheck source=../tests/interop/lib.sh
. "$(dirname "$0")/../tests/interop/lib.sh"

BIN=$1
unset SANDD_GW_SOCKET

ctl() {
	"$BIN/sandctl" --socket "$DIR/api.sock" "$@"
}

ctl_full() {
	ctl "$@" >/dev/full
}

# code WANTED CMD...: it must end with this exit code.
code() {
	local wanted=$1 got=0

	shift
	"$@" || got=$?
	echo "exit code $got, wanted $wanted"
	((got == wanted))
}

# A port that nobody has: the first of some random ones on which the gateway starts.
gw_start() {
	local tries

	for ((tries = 0; tries < 5; tries++)); do
		PORT=${1:-$((20000 + RANDOM % 20000))}
		cat >"$DIR/gw.yaml" <<-EOF
			controller: {direct: "127.0.0.1:$PORT"}
			api: {socket: $DIR/api.sock}
		EOF
		start gw "$BIN/sandd-gw" --config "$DIR/gw.yaml"
		GW=$STARTED
		until_true gw_is_decided
		! kill -0 "$GW" 2>/dev/null || return 0
	done
	return 1
}

gw_is_decided() {
	ctl status || ! kill -0 "$GW"
}

# gw_stop SIGNAL: ends cleanly, and its socket is gone.
gw_stop() {
	kill "-$1" "$GW"
	code 0 wait "$GW" && [[ ! -e $DIR/api.sock ]]
}

# daemon_start ID [OPTIONS]: sets DAEMON.
daemon_start() {
	local id=$1

	shift
	start "$id" "$BIN/sandd" --server-url "ws://127.0.0.1:$PORT/ws" --daemon-id "$id" \
		--reconnect-interval 1 "$@"
	DAEMON=$STARTED
	until_true daemon_is_there "$id"
}

daemon_is_there() {
	ctl daemons --json | grep -q "\"id\":\"$1\""
}

daemon_is_gone() {
	! daemon_is_there "$1"
}

# prints WANTED CMD...: its standard output, exactly.
prints() {
	local wanted=$1 got

	shift
	got=$("$@" && echo .) || return 1
	echo "got: $got"
	[[ $got == "$wanted"$'\n'. ]]
}

outputs_are_apart() {
	ctl exec w1 -- 'echo out; echo err >&2' >"$DIR/out" 2>"$DIR/err" &&
		[[ $(<"$DIR/out") == out && $(<"$DIR/err") == err ]]
}

is_idle() {
	ctl daemons --json | grep -q '"is_busy":false'
}

is_busy() {
	ctl daemons --json | grep -q '"is_busy":true'
}

# The daemon dies under a command: the caller hears of it at once, not after the time limit.
lost_on_the_way() {
	local caller got=0 began=$SECONDS

	daemon_start w2 || return 1
	ctl exec w2 --timeout 60 -- sleep 60 &
	caller=$!
	until_true is_busy || return 1
	kill -9 "$DAEMON"
	wait "$caller" || got=$?
	echo "exit code $got after $((SECONDS - began)) s"
	((got == 127 && SECONDS - began < 30)) && until_true daemon_is_gone w2
}

# The same id from a second place: the newer one has it, and the end of the older changes nothing.
newer_replaces_older() {
	local older

	daemon_start w3 --label place=older || return 1
	older=$DAEMON
	kill -STOP "$older"
	daemon_start w3 --label place=newer
	until_true label_is w3 newer || return 1
	kill -9 "$older"
	sleep 0.3
	label_is w3 newer && prints yes ctl exec w3 -- echo yes
}

label_is() {
	ctl daemons --json | grep -q "\"id\":\"$1\".*\"place\":\"$2\""
}

# Twenty at a time on one daemon: they run side by side.
side_by_side() {
	local i callers=()

	for ((i = 0; i < 20; i++)); do
		ctl exec w1 -- "sleep 0.2; echo $i" >"$DIR/side.$i" &
		callers+=($!)
	done
	wait "${callers[@]}" || return 1
	for ((i = 0; i < 20; i++)); do
		[[ $(<"$DIR/side.$i") == "$i" ]] || return 1
	done
}

daemon_comes_back() {
	gw_stop TERM && gw_start "$PORT" && until_true daemon_is_there w1
}

# The caller goes away: the command goes on, its end is in the audit log, nothing is left.
caller_goes_away() {
	local caller

	ctl exec w1 -- "sleep 0.5; : for nobody" &
	caller=$!
	until_true is_busy || return 1
	kill -9 "$caller"
	until_true grep -q 'exit code 0.*: for nobody' "$DIR/gw.log" && until_true is_idle
}

audit_is_safe() {
	ctl exec w1 -- $'true \x1b[31m\nfake line' || true
	grep -q 'audit: exec by pid [0-9]* (uid [0-9]*) on w1: exit code .* true .x1b\[31m.x0afake line$' \
		"$DIR/gw.log"
}

error_names_remedy() {
	! ctl --socket "$DIR/none.sock" status 2>"$DIR/err" && grep -q "is sandd-gw running" "$DIR/err"
}

main() {
	check "gateway starts" gw_start
	check "daemon registers" daemon_start w1 --label place=here
	check "exec prints standard output" prints hello ctl exec w1 -- echo hello
	check "standard output and error stay apart" outputs_are_apart
	check "exit code is the command's" code 7 ctl exec w1 -- 'exit 7'
	check "killed by a signal is 255" code 255 ctl exec w1 -- 'kill -9 $$'
	check "time limit is 124" code 124 ctl exec w1 --timeout 1 -- sleep 30
	check "nothing is left after it" until_true is_idle
	check "unknown daemon is 126" code 126 ctl exec nobody -- true
	check "usage is 125" code 125 ctl exec w1
	check "no gateway is 125" code 125 ctl --socket "$DIR/none.sock" exec w1 -- true
	check "error names the remedy" error_names_remedy
	check "lost on the way is 127, at once" lost_on_the_way
	check "environment" prints 'x y' ctl exec w1 --env 'A=x y' -- 'echo "$A"'
	check "directory" prints / ctl exec w1 --cwd / -- pwd
	check "words stay whole" prints "a b|*|it's|" ctl exec w1 -- printf '%s|\n' "a b|*|it's"
	check "a word that is no UTF-8 is refused, not left out" \
		code 125 ctl exec w1 -- printf '%s|' a $'\xff' b
	check "so is a daemon that no path can name" code 126 ctl exec a/b -- true
	check "a full disk is told" code 1 ctl_full daemons
	check "commands run side by side" side_by_side
	check "caller goes away" caller_goes_away
	check "audit log cannot be forged" audit_is_safe
	check "a newer registration stays" newer_replaces_older
	check "daemon comes back after a restart of the gateway" daemon_comes_back
	check "SIGINT ends cleanly" gw_stop INT
	exit "$FAILED"
}

main
