#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Change while running: on one tunnel packets flow without a pause while ten thousand other peers are added,
# changed and removed, by SIGHUP and by the API. Of that tunnel nothing is lost, and its session stays.
# Times are printed, not judged. Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

MANY=${MANY:-10000}
ROUNDS=3

n_peers() {
	gwctl status --json | jq .peers
}

n_peers_is() {
	[[ $(n_peers) == "$1" ]]
}

rss_kb() {
	awk '/^VmRSS/ { print $2 }' "/proc/$GW_PID/status"
}

now_ms() {
	date +%s%3N
}

# told WHAT SINCE_MS
told() {
	printf '# %s: %d ms\n' "$1" $(($(now_ms) - $2)) >>"$LAB_DIR/times"
}

# --- traffic ---------------------------------------------------------------------------------

# No answer is missing.
pings_were_whole() {
	local code=0

	pings_end || code=1
	grep sent "$LAB_DIR/pings" | sed 's/^/# pings: /' >>"$LAB_DIR/times"
	gwctl stats --json | jq -c '[.workers[].drops, .host.drops | to_entries[] | select(.value > 0)]'
	return "$code"
}

# By itself: a queue that TCP fills loses packets of others, whatever peers do.
tcp_start() {
	(
		n=0
		while [[ ! -e $LAB_DIR/enough ]]; do
			tcp_transfer peer gw "$GW4" 20 && tcp_transfer gw peer "$PEER4" 20 || exit 1
			n=$((n + 2))
		done
		echo "$n transfers of 20 MB"
	) >"$LAB_DIR/transfers" 2>&1 &
	TCP_PID=$!
	LAB_PIDS+=("$TCP_PID")
}

# No connection broke, no checksum was another.
tcp_was_whole() {
	local code=0

	touch "$LAB_DIR/enough"
	wait "$TCP_PID" || code=1
	tail -n 2 "$LAB_DIR/transfers"
	tail -n 1 "$LAB_DIR/transfers" | sed 's/^/# TCP: /' >>"$LAB_DIR/times"
	((code == 0))
}

# --- by SIGHUP -------------------------------------------------------------------------------

# hangup LIST N WHAT: the file with this list of peers, and wait until it is applied.
hangup() {
	local since applied

	applied=$(gwctl status --json | jq '.configuration.last_reload.at // 0')
	gw_config "$GW_KIND" "endpoint: $PEER_UNDER4:$PEER_PORT"
	[[ -z $1 ]] || cat "$LAB_DIR/$1.yaml" >>"$LAB_DIR/gw.yaml"
	sleep 1.1 # the time of the last one is whole seconds
	since=$(now_ms)
	kill -HUP "$GW_PID"
	wait_for 300 was_reloaded "$applied" || return 1
	told "SIGHUP, $3" "$since"
	gwctl status
	n_peers_is "$2" && [[ $(gwctl status --json | jq .configuration.last_reload.ok) == true ]]
}

was_reloaded() {
	(($(gwctl status --json | jq '.configuration.last_reload.at // 0') > $1))
}

by_hangup() {
	hangup crowd $((MANY + 1)) "$MANY added" &&
		hangup crowd.changed $((MANY + 1)) "$MANY changed" &&
		hangup crowd.changed $((MANY + 1)) "none changed" &&
		hangup "" 1 "$MANY removed"
}

# --- by the API ------------------------------------------------------------------------------

# call LIST N WHAT
call() {
	local since

	since=$(now_ms)
	gwctl peers set --file "$LAB_DIR/$1.json" || return 1
	told "API, $3" "$since"
	n_peers_is "$2"
}

by_api() {
	call crowd $((MANY + 1)) "$MANY added" &&
		call crowd.changed $((MANY + 1)) "$MANY changed" &&
		call crowd.gone 1 "$MANY removed"
}

one_by_one() {
	local n since

	since=$(now_ms)
	for ((n = 0; n < 50; n++)); do
		gwctl peers add "one-$n" --public-key "$(wg genkey | wg pubkey)" \
			--allowed-ips "10.30.0.$n/32" --preshared-key "$LAB_DIR/psk" || return 1
		gwctl peers set "one-$n" --public-key "$(wg genkey | wg pubkey)" \
			--allowed-ips "10.30.0.$n/32,10.31.$n.0/24" || return 1
	done
	gwctl peers one-7
	for ((n = 0; n < 50; n++)); do
		gwctl peers remove "one-$n" || return 1
	done
	told "API, 50 added, changed, removed one by one (150 calls of sandctl)" "$since"
	n_peers_is 1
}

# A name of the file is the file's; what is wrong names peer and member, and nothing changes.
refusals() {
	local key

	key=$(wg genkey | wg pubkey)
	! gwctl peers remove worker-1 2>"$LAB_DIR/err" && grep -q "configuration file" "$LAB_DIR/err" ||
		return 1
	! gwctl peers remove nobody 2>"$LAB_DIR/err" && grep -q nobody "$LAB_DIR/err" || return 1
	! gwctl peers add x --public-key "$key" --allowed-ips "$PEER4" 2>"$LAB_DIR/err" &&
		grep -q "worker-1" "$LAB_DIR/err" || return 1
	! gwctl peers add x --public-key "$key" --allowed-ips 10.8.0.1 --endpoint "$GW_UNDER4:$GW_PORT" \
		2>"$LAB_DIR/err" && grep -q "our own address" "$LAB_DIR/err" || return 1
	! gwctl peers add x --public-key "$key" --allowed-ips 10.8.0.1/8 2>"$LAB_DIR/err" &&
		grep -q "allowed_ips\[0\]" "$LAB_DIR/err" || return 1
	! gwctl peers add x --public-key "$(<"$LAB_DIR/gw.pub")" --allowed-ips 10.8.0.1 \
		2>"$LAB_DIR/err" && grep -q "public_key" "$LAB_DIR/err" || return 1
	cat "$LAB_DIR/err"
	n_peers_is 1
}

# --- the rest of the file --------------------------------------------------------------------

bad_file() {
	local code=0

	echo "  - {name: broken, public_key: short}" >>"$LAB_DIR/gw.yaml"
	gwctl reload 2>"$LAB_DIR/err" || code=$?
	cat "$LAB_DIR/err"
	((code == 1)) && grep -q "gw.yaml:[0-9]*: peers\[1\].public_key" "$LAB_DIR/err" || return 1
	gwctl status | grep -q "failed.*public_key" && n_peers_is 1
}

# What can follow does, what cannot is named; exit 3.
needs_restart() {
	local code=0

	gw_config "$GW_KIND" "endpoint: $PEER_UNDER4:$PEER_PORT"
	sed -i 's/^listen_port: .*/listen_port: 51999/; s/mtu: .*/mtu: 1300/
		s/{proto/{from: 10.9.0.77, proto/' "$LAB_DIR/gw.yaml"
	gwctl reload >"$LAB_DIR/out" || code=$?
	cat "$LAB_DIR/out"
	((code == 3)) && grep -q "changed listen_port needs a restart" "$LAB_DIR/out" &&
		grep -q "changed host.mtu needs a restart" "$LAB_DIR/out" &&
		grep -q "filter changed" "$LAB_DIR/out" || return 1
	no_ping_from peer "$GW4" || return 1
	gw_config "$GW_KIND" "endpoint: $PEER_UNDER4:$PEER_PORT"
	gwctl reload && ping_from peer "$GW4"
}

# A peer made by the API stays at a reload, and is the file's once the file has it.
two_sets() {
	local key

	key=$(wg genkey | wg pubkey)
	gwctl peers add late --public-key "$key" --allowed-ips 10.40.0.1 || return 1
	gwctl reload && n_peers_is 2 || return 1
	[[ $(gwctl peers late --json | jq -r .source) == api ]] || return 1
	printf '  - {name: late, public_key: %s, allowed_ips: [10.40.0.1/32]}\n' "$key" \
		>>"$LAB_DIR/gw.yaml"
	gwctl reload && [[ $(gwctl peers late --json | jq -r .source) == file ]]
}

session_is_the_same() {
	peer_json | jq -e --arg at "$PEER_UNDER4:$PEER_PORT" '.endpoint == $at' && sessions_are_due "$1" "$2"
}

# The first round may find memory that stays for the next ones; after it there is no more.
memory_stays() {
	echo "after the first round $1 kB, after the last $2 kB"
	echo "# memory: $1 kB after the first round, $2 kB after the last" >>"$LAB_DIR/times"
	(($2 <= $1 + 4096))
}

main() {
	local round first since sessions

	need_lab "reload"
	lab_up
	"$REPO/tests/netns/reload.py" "$LAB_DIR" "$MANY"
	wg_start
	gw_start_any "endpoint: $PEER_UNDER4:$PEER_PORT"
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "tunnel is up" ping_from peer "$GW4"
	since=$SECONDS sessions=$(n_sessions)
	check "pings begin" pings_start 0.005 "$GW4" "${PEER_EXEC[@]}"
	check "by SIGHUP: $MANY added, changed, removed" by_hangup
	check "by the API: $MANY added, changed, removed" by_api
	check "not one packet of the tunnel was lost" pings_were_whole
	tcp_start
	first=$(rss_kb)
	for ((round = 2; round <= ROUNDS; round++)); do
		check "by the API, round $round" by_api
	done
	check "one by one" one_by_one
	check "TCP through the tunnel was whole" tcp_was_whole
	check "its session is the same" session_is_the_same "$since" "$sessions"
	check "memory is back" memory_stays "$first" "$(rss_kb)"
	check "what cannot be is refused by name" refusals
	check "a bad file changes nothing" bad_file
	check "what needs a restart is named, the rest follows" needs_restart
	check "peers of the file, peers of the API" two_sets
	check "the gateway ends cleanly" gw_stop
	cat "$LAB_DIR/times"
	exit "$FAILED"
}

main "$@"
