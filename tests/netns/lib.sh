# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the labs of tests/netns share: the two namespaces (scripts/lab-lib.sh, drawn there), TAP
# lines, and the things that a lab does again and again.

# shellcheck source=../../scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
# shellcheck source=../../scripts/lab-lib.sh
. "$REPO/scripts/lab-lib.sh"

FAILED=0

# check NAME CMD...: a case; its output is shown if it fails. No subshell: the command may start and
# stop programs, and what it remembers of them stays.
check() {
	local name=$1

	shift
	if "$@" >"$LAB_DIR/output" 2>&1; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		tail -n 15 "$LAB_DIR/output" | sed 's/^/# /'
		gw_show_log
		# shellcheck disable=SC2034 # the exit code of the lab
		FAILED=1
	fi
}

skip() {
	echo "ok - $1 # SKIP $2"
}

# Labs need root and a TUN device: without, one skipped case says so.
need_lab() {
	((EUID == 0)) || { skip "$1" "needs root"; exit 0; }
	[[ -c /dev/net/tun ]] || { skip "$1" "no /dev/net/tun"; exit 0; }
	have wireguard-go || { skip "$1" "no wireguard-go"; exit 0; }
}

# ping_from gw|peer ADDRESS: three answers, in spite of a first one that waits for a handshake.
ping_from() {
	"in_$1" ping -q -i 0.2 -c 3 -w 30 "$2"
}

# no_ping_is_lost FROM INTERVAL_S COUNT ADDRESS: however long an answer takes; --from ADDRESS goes before. See there.
no_ping_is_lost() {
	local from=in_$1

	shift
	"$from" "$REPO/tests/netns/pings.py" "$@"
}

# pings_start INTERVAL_S ADDRESS COMMAND...: the same until pings_end, begun by COMMAND (GW_EXEC or PEER_EXEC).
pings_start() {
	local interval=$1 address=$2

	shift 2
	"$@" "$REPO/tests/netns/pings.py" "$interval" 0 "$address" >"$LAB_DIR/pings" 2>&1 &
	PINGS_PID=$!
	LAB_PIDS+=("$PINGS_PID")
	wait_for 30 grep -q begun "$LAB_DIR/pings"
}

pings_end() {
	local code=0

	kill -INT "$PINGS_PID"
	wait "$PINGS_PID" || code=1
	cat "$LAB_DIR/pings"
	return "$code"
}

no_ping_from() {
	! "in_$1" ping -q -i 0.2 -c 3 -w 2 "$2"
}

# tcp_transfer FROM TO ADDRESS MB: both ends must tell the same checksum.
tcp_transfer() {
	local from=$1 to=$2 address=$3 mb=$4 port=$((5000 + RANDOM % 900)) sent got server

	"in_$to" "$REPO/tests/netns/tcp.py" serve "$address" "$port" >"$LAB_DIR/tcp.$port" 2>&1 &
	server=$!
	wait_for 60 tcp_listens "$to" "$port" || { kill "$server"; return 1; }
	sent=$("in_$from" "$REPO/tests/netns/tcp.py" send "$address" "$port" "$mb") ||
		{ kill "$server" 2>/dev/null; return 1; }
	wait "$server"
	got=$(<"$LAB_DIR/tcp.$port")
	echo "sent $sent, got $got"
	[[ $sent == "$got" ]]
}

tcp_listens() {
	"in_$1" ss -Hltn "sport = :$2" | grep -q .
}

# drops REASON: packets that the gateway dropped for it, over all threads. It lists every reason, so
# one that is not there is misspelt here.
drops() {
	gwctl stats --json | jq -e --arg reason "$1" \
		'[(.workers[].drops, .host.drops)[$reason]] | if all then add else error("no such") end'
}

drops_reach() {
	local now

	now=$(drops "$1")
	echo "$1: $now, wanted $2"
	((now >= $2))
}

# More than one call decides: as long as the machine needs.
drops_come_to() {
	wait_for 30 drops_reach "$@" || drops_reach "$@"
}

# sessions_are_due SINCE BEFORE: since then (in SECONDS) the gateway counted no more sessions than the protocol makes:
# one after each 120 s. However slow the machine is.
sessions_are_due() {
	local n most=$(($2 + (SECONDS - $1) / 120))

	n=$(n_sessions)
	echo "$n sessions, $2 of them $((SECONDS - $1)) s ago; wanted at most $most"
	((n <= most))
}

n_sessions() {
	gwctl stats --json | jq .handshakes
}

# hostile.py in the background, as soon as it listens; its number in HOSTILE_PID.
hostile_start() {
	local out

	out=$(mktemp -p "$LAB_DIR")
	"${PEER_EXEC[@]}" "$REPO/tests/netns/hostile.py" "$@" >"$out" 2>&1 &
	# shellcheck disable=SC2034 # for the caller
	HOSTILE_PID=$!
	wait_for 30 grep -q ready "$out" || { cat "$out"; return 1; }
}

# The gateway's own view of its one peer, or a field of it.
peer_json() {
	gwctl peers --json | jq '.peers[] | select(.name == "worker-1")'
}
