#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Garbage of every kind, as fast as one core sends it, beside a tunnel with a counted stream: the tunnel loses nothing,
# keeps its session, and each packet that reached the gateway is dropped under its reason. While strangers
# ask for handshakes a new peer gets its session all the same, by cookie.
#
# The garbage comes by a port of its own. A veth has one queue of 256 packets in the kernel; where garbage and tunnel
# share it the kernel throws both away before any program sees them, as a full link does, and no test of the
# gateway could tell whose fault a loss is. Behind the two queues everything is shared: the worker that reads
# both, its packet pool, the handshake thread. Lines with "#|" tell what was sent.
# Needs root; topology in scripts/lab-lib.sh, and under1 198.51.100.1 -- 198.51.100.2 beside under0.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FLOOD_GW=198.51.100.1 FLOOD_PEER=198.51.100.2 FLOOD_SOURCES=198.18.0.0/15
FLOOD_MAX=1000000000000
FLOOD_SECONDS=3
# Longer than all that is done beside it: it is ended.
FLOOD_LONG_SECONDS=600
PINGS=1200 PING_INTERVAL=0.002
NEWCOMER4=10.9.0.50

flood_port_make() {
	in_gw ip link add under1 type veth peer name under1 netns "$LAB_PEER"
	lab_address gw under1 "$FLOOD_GW/24"
	lab_address peer under1 "$FLOOD_PEER/24"
	# answers to invented sources have a way
	in_gw ip route add "$FLOOD_SOURCES" via "$FLOOD_PEER"
	in_gw ping -q -c 1 -w 5 "$FLOOD_PEER" >/dev/null
	FLOOD_MAC=$(in_gw ip -j link show under1 | jq -r '.[0].address')
}

storm_config() {
	gw_config af_xdp
	sed -i '/device: under0/a\  - {kind: af_xdp, device: under1}' "$LAB_DIR/gw.yaml"
	gw_config_peer newcomer "$LAB_DIR/stranger.pub" "$NEWCOMER4" fd09::50
}

# Messages of the tunnel, kept for those who send them again: the first initiation, and data.
tunnel_is_up_and_recorded() {
	local pids=()

	wg_peer
	recorder 1 initiation || return 1
	recorder 4 data || return 1
	in_peer wg set "$LAB_WG" peer "$(<"$LAB_DIR/gw.pub")" endpoint "$GW_UNDER4:$GW_PORT"
	ping_from peer "$GW4" && wait "${pids[@]}"
}

recorder() {
	hostile_start record under0 "$GW_PORT" "$1" "$LAB_DIR/$2" || return 1
	pids+=("$HOSTILE_PID")
}

# flood KIND SECONDS [WORD]: in the background, away from the worker's core. Sets FLOOD_PID.
flood() {
	"${PEER_EXEC[@]}" taskset -c 0 "$SANDD_BUILD/tests/flood" "$1" under1 "$FLOOD_MAC" "$FLOOD_GW" \
		"$GW_PORT" "$FLOOD_MAX" "$2" ${3:+"$3"} >"$LAB_DIR/flood" &
	FLOOD_PID=$!
}

# Of all threads: {"reason": n, ...}
all_drops() {
	gwctl stats --json | jq -c '[.workers[].drops, .host.drops | to_entries[]]
		| group_by(.key) | map({key: .[0].key, value: map(.value) | add}) | from_entries'
}

# tunnel_carries_all COUNT: the stream; all must come back. Sets TUNNEL_SENT and TUNNEL_LOST.
tunnel_carries_all() {
	no_ping_is_lost peer "$PING_INTERVAL" "$1" "$GW4" >"$LAB_DIR/ping" || true
	cat "$LAB_DIR/ping"
	read -r TUNNEL_SENT TUNNEL_LOST < <(awk '$2 == "sent," { print $1, $3 }' "$LAB_DIR/ping")
	((TUNNEL_SENT == $1 && TUNNEL_LOST == 0))
}

# What was sent is on its way no more: the same for a second.
drops_settle() {
	local last="" same=0

	for _ in {1..100}; do
		AFTER=$(all_drops)
		[[ $AFTER == "$last" ]] || same=0
		((same++ < 5)) || return 0
		last=$AFTER
		sleep 0.2
	done
	return 1
}

# all_counted BEFORE REASONS: something was dropped for them, and nothing for another. Sets DROPPED.
all_counted() {
	drops_settle || return 1
	DROPPED=$(jq -rn --argjson before "$1" --argjson after "$AFTER" '$after | to_entries
		| map(.value -= ($before[.key] // 0) | select(.value > 0) | "\(.key) \(.value)") | join(", ")')
	echo "dropped: $DROPPED; wanted: $2"
	jq -en --argjson before "$1" --argjson after "$AFTER" --arg reasons "$2" '($reasons / " ") as $wanted
		| $after | to_entries | map(.value -= ($before[.key] // 0) | select(.value > 0) | .key)
		| any(.[]; . == $wanted[0]) and (. - $wanted == [])'
}

# storm KIND REASONS [WORD]: the first reason must be seen, the others may.
storm() {
	local before code=0

	before=$(all_drops)
	flood "$1" "$FLOOD_SECONDS" "${3:-}"
	tunnel_carries_all "$PINGS" || code=1
	wait "$FLOOD_PID" || code=1
	all_counted "$before" "$2" && return "$code"
}

tell() {
	local sent rate

	read -r sent rate <"$LAB_DIR/flood"
	echo "#| sent $sent packets of $1 at $rate per second; tunnel: $TUNNEL_SENT sent, $TUNNEL_LOST lost"
	echo "#|   dropped: $DROPPED"
}

check_storm() {
	TUNNEL_SENT="" TUNNEL_LOST="" DROPPED=""
	check "$1: the tunnel loses nothing, every packet is counted" storm "$@"
	tell "$1"
}

# --- a new peer in the middle -------------------------------------------------------------------

newcomer_starts() {
	local dev=${LAB_WG}p1

	LOG_LEVEL=verbose WG_PROCESS_FOREGROUND=1 "${PEER_EXEC[@]}" wireguard-go "$dev" \
		>"$LAB_DIR/newcomer.log" 2>&1 &
	LAB_PIDS+=($!)
	wait_for 60 in_peer wg show "$dev" || return 1
	in_peer wg set "$dev" listen-port $((PEER_PORT + 1)) private-key "$LAB_DIR/stranger.key"
	in_peer ip link set "$dev" mtu "$LAB_MTU" up
	in_peer ip addr add "$NEWCOMER4/32" dev "$dev"
	in_peer ip route add "$GW4/32" dev "$dev" table 101
	in_peer ip rule add from "$NEWCOMER4" table 101
}

# Under load its first message is answered with a cookie, the next one with a session. Where the machine is busy the
# flood comes in gusts: who slips through between two of them meets the gateway anew.
newcomer_meets_gateway() {
	local dev=${LAB_WG}p1 try

	for try in {1..20}; do
		echo "try $try"
		in_peer wg set "$dev" peer "$(<"$LAB_DIR/gw.pub")" remove
		in_peer wg set "$dev" peer "$(<"$LAB_DIR/gw.pub")" allowed-ips "$GW4/32" \
			endpoint "$GW_UNDER4:$GW_PORT"
		in_peer ping -q -i 0.2 -c 3 -w 30 -I "$NEWCOMER4" "$GW4" || return 1
		! grep -i cookie "$LAB_DIR/newcomer.log" || return 0
	done
	return 1
}

newcomer_gets_in() {
	local before code=0

	before=$(all_drops)
	flood stranger "$FLOOD_LONG_SECONDS" "$(<"$LAB_DIR/gw.pub")"
	wait_for 20 flood_is_felt "$before" || code=1
	newcomer_meets_gateway || code=1
	kill -0 "$FLOOD_PID" || { echo "after the flood"; return 1; }
	tunnel_carries_all "$PINGS" || code=1
	kill "$FLOOD_PID"
	wait "$FLOOD_PID" || code=1
	all_counted "$before" "handshake_cookie_sent handshake_unknown_peer handshake_queue_full tx_queue_full" &&
		return "$code"
}

# flood_is_felt BEFORE
flood_is_felt() {
	drops_reach handshake_cookie_sent $(($(jq .handshake_cookie_sent <<<"$1") + 1))
}

# --- afterwards ---------------------------------------------------------------------------------

# The newcomer has sessions too.
session_is_the_same() {
	local n

	peer_json
	n=$(peer_json | jq .handshakes)
	echo "$n sessions in $((SECONDS - $1)) s"
	((n <= 1 + (SECONDS - $1) / 120))
}

endpoint_is_unmoved() {
	peer_json | jq -e --arg at "$PEER_UNDER4:$PEER_PORT" '.endpoint == $at'
}

log_is_short() {
	(($(wc -l <"$LAB_DIR/gw.log") < 50))
}

main() {
	local since full="handshake_queue_full handshake_source_limit tx_queue_full"

	need_lab "storm"
	lab_up
	flood_port_make
	wg_start
	storm_config
	check "gateway starts, two ports" gw_start
	since=$SECONDS
	check "tunnel is up" tunnel_is_up_and_recorded
	check_storm random "unknown_type reserved_bits short_data handshake_malformed"
	check_storm bad_mac1 "handshake_bad_mac1 $full"
	check_storm stranger "handshake_cookie_sent handshake_unknown_peer $full" "$(<"$LAB_DIR/gw.pub")"
	check_storm replay "handshake_source_limit handshake_replay handshake_cookie_sent $full" "$LAB_DIR/initiation"
	check_storm unknown_index "unknown_index"
	check_storm forge "forged" "$LAB_DIR/data"
	check_storm cookie "handshake_unknown_index $full"
	check "a new peer starts" newcomer_starts
	check "strangers storm: a new peer gets its session, by cookie" newcomer_gets_in
	tell "stranger"
	check "the session is the same" session_is_the_same "$since"
	check "the endpoint did not move" endpoint_is_unmoved
	check "the log is no flood" log_is_short
	exit "$FAILED"
}

main "$@"
