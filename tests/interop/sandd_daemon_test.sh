#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Our controller in direct mode, with SandD's published daemon (crate sandd 0.0.1) and with our own: the same cases for
# both, and what only ours does.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

export SANDD_GW_SOCKET=$DIR/api.sock
PORT=$(free_port)
URL=ws://127.0.0.1:$PORT/ws

[[ -x $SANDD_BUILD/control/sandd-gw ]] || skip_all "direct mode" "sandd-gw is not built"

ctl() {
	"$SANDD_BUILD/control/sandctl" "$@"
}

cat >"$DIR/gw.yaml" <<YAML
controller:
  direct: 127.0.0.1:$PORT
YAML

start_gateway() {
	start gw "$SANDD_BUILD/control/sandd-gw" --config "$DIR/gw.yaml" --log-level debug
	GW=$STARTED
}

# is_listed ID
is_listed() {
	ctl daemons --json | jq -e --arg id "$1" '[.. | objects | select(.id? == $id)] | length == 1'
}

is_gone() {
	! is_listed "$1"
}

expect_stdout() {
	local want=$1 got

	shift
	got=$(ctl exec "$@")
	[[ $got == "$want" ]] || { echo "got: $got"; return 1; }
}

# expect_code CODE ARGS...
expect_code() {
	local want=$1 code=0

	shift
	ctl exec "$@" || code=$?
	((code == want)) || { echo "exit code $code"; return 1; }
}

streams_apart() {
	ctl exec "$1" -- 'echo out; echo err >&2' >"$DIR/out" 2>"$DIR/err"
	[[ $(<"$DIR/out") == out && $(<"$DIR/err") == *err* && $(<"$DIR/out") != *err* ]]
}

health() {
	[[ $(curl -fsS "http://127.0.0.1:$PORT/health") == OK ]]
}

stats_show() {
	curl -fsS "http://127.0.0.1:$PORT/stats" | tee /dev/stderr |
		jq -e --arg id "$1" '.total_daemons == 1 and (.by_platform | add) == 1 and
			.daemons[$id].labels.zone == "lab" and
			(.daemons[$id] | has("hostname") and has("platform") and has("arch") and
			has("version") and has("is_busy") and has("connected_secs") and
			has("seconds_since_heartbeat")) and has("oldest_connection_secs")'
}

# Waiting is what takes the time: it must not stop others' commands.
side_by_side() {
	local id=$1 pid

	ctl exec "$id" -- 'while [ ! -e '"$DIR/go-$id"' ]; do sleep 0.1; done; echo first' >"$DIR/first" &
	pid=$!
	ctl exec "$id" --timeout 20 -- "touch $DIR/go-$id" || return
	wait "$pid"
	[[ $(<"$DIR/first") == first ]]
}

# cases_for KIND ID: what the published daemon and ours have in common.
cases_for() {
	local kind=$1 id=$2

	check "$kind: registers" until_true is_listed "$id"
	check "$kind: /stats shows it" stats_show "$id"
	check "$kind: stdout" expect_stdout "$(uname -s)" "$id" -- uname -s
	check "$kind: stdout and stderr apart" streams_apart "$id"
	check "$kind: exit code" expect_code 7 "$id" -- 'exit 7'
	check "$kind: killed by a signal" expect_code 255 "$id" -- 'kill -9 $$'
	check "$kind: environment" expect_stdout 'a b=c' "$id" --env 'WS_TEST=a b=c' -- 'echo "$WS_TEST"'
	check "$kind: folder" expect_stdout /usr "$id" --cwd /usr -- pwd
	check "$kind: timeout" expect_code 124 "$id" --timeout 1 -- 'sleep 30'
	check "$kind: alive after a timeout" expect_stdout ok "$id" -- 'echo ok'
	check "$kind: 1 MB of output" expect_stdout 1000000 "$id" -- \
		'head -c 1000000 /dev/zero | tr "\0" x | wc -c'
	check "$kind: bytes that are no text" expect_code 0 "$id" -- 'head -c 1000 /dev/urandom'
}

lost_on_the_way() {
	local id=$1 pid=$2 code=0 exec_pid

	ctl exec "$id" -- 'touch '"$DIR/begun-$id"'; sleep 30' &
	exec_pid=$!
	until_true test -e "$DIR/begun-$id"
	stop "$pid" KILL
	wait "$exec_pid" || code=$?
	((code == 127)) || { echo "exit code $code"; return 1; }
}

# --- cases --------------------------------------------------------------------------------------

start_gateway
check "the gateway serves /health" until_true health
check "an unknown daemon" expect_code 126 nobody -- true

if [[ -x $PEERS/sandd-daemon/bin/sandd ]]; then
	start published "$PEERS/sandd-daemon/bin/sandd" --server-url "$URL" --daemon-id published \
		--label zone=lab --reconnect-interval 1
	PUBLISHED=$STARTED
	cases_for "published daemon" published
	stop "$GW" TERM
	start_gateway
	check "published daemon: back after the gateway's restart" until_true is_listed published
	check "published daemon: works after it" expect_stdout ok published -- 'echo ok'
	check "published daemon: lost on the way" lost_on_the_way published "$PUBLISHED"
	check "published daemon: its loss is seen" until_true is_gone published
else
	echo "ok - published daemon # SKIP it is not installed: scripts/peers.sh sandd-daemon"
fi

start ours "$SANDD_BUILD/control/sandd" --server-url "$URL" --daemon-id ours --label zone=lab \
	--reconnect-interval 1
OURS=$STARTED
cases_for "our daemon" ours
check "our daemon: side by side" side_by_side ours

truncated() {
	ctl exec ours -- 'head -c 5000000 /dev/zero | tr "\0" x' |
		tail -n 1 | grep -x '\[sandd: output truncated after 2097152 bytes\]'
}
# What grows sixfold in JSON still arrives, cut shorter.
escaped() {
	ctl exec ours -- 'head -c 3000000 /dev/zero | tr "\0" "\001"' | tail -n 1 |
		grep -x '\[sandd: output truncated after 524288 bytes\]'
}
no_children_left() {
	expect_code 124 ours --timeout 1 -- "(echo \$\$ > $DIR/pids; sh -c 'echo \$\$ >> $DIR/pids; sleep 600') & wait"
	for pid in $(<"$DIR/pids"); do
		until_true test ! -d "/proc/$pid" || return
	done
}
is_small() {
	local kb

	kb=$(awk '/^VmRSS/ { print $2 }' "/proc/$OURS/status")
	echo "VmRSS $kb kB"
	((kb <= 5120))
}
restarts() {
	stop "$GW" TERM
	start_gateway
	until_true is_listed ours
}
check "our daemon: large output is cut with a mark" truncated
check "our daemon: output that does not fit a frame is cut shorter" escaped
check "our daemon: a timeout leaves no children" no_children_left
check "our daemon: idle and connected in 5 MB" until_true is_small
check "our daemon: back after the gateway's restart" restarts
stop "$GW" KILL
start_gateway
check "our daemon: back after the gateway was killed" until_true is_listed ours

# The older connection's end must not remove the newer one.
start second "$SANDD_BUILD/control/sandd" -s "$URL" -d ours -l zone=lab -r 86400
SECOND=$STARTED
until_true grep -q registered "$DIR/second.log"
stop "$OURS" KILL
check "a second connection of one id replaces the first" expect_stdout ok ours -- 'echo ok'
stop "$SECOND" TERM
check "SIGTERM: a clean end" test "$ENDED" = 0
check "SIGTERM: gone at once" until_true is_gone ours

start last "$SANDD_BUILD/control/sandd" -s "$URL" -d last -l zone=lab
LAST=$STARTED
check "our daemon: registers as another" until_true is_listed last
check "our daemon: lost on the way" lost_on_the_way last "$LAST"
exit "$FAILED"
