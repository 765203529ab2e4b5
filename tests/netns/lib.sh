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
	"in_$1" ping -q -i 0.2 -c 3 -w 12 "$2"
}

no_ping_from() {
	! "in_$1" ping -q -i 0.2 -c 3 -w 2 "$2"
}

# tcp_transfer FROM TO ADDRESS MB: both ends must tell the same checksum.
tcp_transfer() {
	local from=$1 to=$2 address=$3 mb=$4 port=$((5000 + RANDOM % 900)) sent got server

	"in_$to" "$REPO/tests/netns/tcp.py" serve "$address" "$port" >"$LAB_DIR/tcp.$port" 2>&1 &
	server=$!
	wait_for 10 tcp_listens "$to" "$port" || { kill "$server"; return 1; }
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

# The gateway's own view of its one peer, or a field of it.
peer_json() {
	gwctl peers --json | jq '.peers[] | select(.name == "worker-1")'
}
