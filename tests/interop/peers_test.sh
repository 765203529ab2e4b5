#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Other people's WireGuard at the other end: wireguard-go old (Debian's) and current, and boringtun, each as
# initiator and as responder, over IPv4 and over IPv6, on af_xdp and on af_packet. One gateway and twelve
# peers per port kind, both kinds at once (tests/interop/fleet.sh draws it). Needs root, and some five
# minutes, nearly all of them the protocol's own waits. Ends with the table.
#
#   peers_test.sh [--kind KIND] [SECTION...]
#
# Sections, in order: meet daemon keepalive udp move tcp_out rekey tcp_in family restart load block.
# The first is always run; what stands before rekey fits into the life of the first session.
set -euo pipefail
. "$(dirname "$0")/fleet.sh"

SECTIONS=(meet daemon keepalive udp move tcp_out rekey tcp_in family restart load block)
TCP_MB=100
# A new session is due after 120 s (paper 6.2); pings run from a little before.
REKEY_AFTER_S=120
# How long a path is blocked: longer than the 15 s after which an end begins to look for the other one.
BLOCKED_S=22
# Silence is seen after 15 s, an initiation repeated every 5 s (paper 6.4): time for several.
RECOVERS_S=45
# More than wait at once where an eighth of 1,024 is a load, which then lasts for a second.
BURST=1000 BURST_S=0.6

# --- meet: wrong keys, then the right ones ------------------------------------------------------

section_meet() {
	each "the program starts" peer_start_as "$LAB_DIR/stranger.key" "$LAB_DIR/psk"
	fleet_gw_config
	check "$KIND: gateway starts" gw_start
	each "a wrong key: no answer, no tunnel" stranger
	each "a wrong preshared key: answered, no tunnel" wrong_preshared_key
	each "preshared key: ping" right_keys
	each "the session was begun by the initiator" begun_by_initiator
	each "gateway: session, path and endpoint" gateway_sees_session
}

# peer_start_as KEY PSK
peer_start_as() {
	peer_start && peer_config "$@"
}

# Whoever begins has the wrong idea of who the other one is.
stranger() {
	local since

	since=$(mark)
	! in_initiator ping -q -c 1 -w 6 "$(inner4 responder)" || return 1
	wire_comes_to 1 "$(outer initiator)" "$(outer responder)" initiation "$since" || return 1
	! wire_has 1 "$(outer responder)" "$(outer initiator)" response "$since"
}

wrong_preshared_key() {
	local since

	since=$(mark)
	peer_config "$KEY" "$LAB_DIR/psk"
	! in_initiator ping -q -c 1 -w 7 "$(inner4 responder)" || return 1
	wire_comes_to 1 "$(outer responder)" "$(outer initiator)" response "$since"
}

right_keys() {
	mark >"$LAB_DIR/p$N.met"
	peer_config "$KEY" "$PSK"
	ping_through initiator 20 && ping_through responder 20
}

begun_by_initiator() {
	local since

	since=$(<"$LAB_DIR/p$N.met")
	wire_comes_to 1 "$(outer initiator)" "$(outer responder)" initiation "$since" || return 1
	wire_comes_to 1 "$(outer responder)" "$(outer initiator)" response "$since" || return 1
	! wire_has 1 "$(outer responder)" "$(outer initiator)" initiation "$since"
}

gateway_sees_session() {
	fleet_status | jq -e --arg path "direct${FAMILY#IPv}" --arg at "$(endpoint "$OUT" "$PORT")" \
		'. , (.last_handshake > 0 and .path == $path and .endpoint == $at)'
}

# --- daemon: SandD's own, through the tunnel ----------------------------------------------------

section_daemon() {
	if [[ ! -x $PEERS/sandd-daemon/bin/sandd ]]; then
		skip "$KIND: SandD's daemon" "it is not installed: scripts/peers.sh sandd-daemon"
		return
	fi
	each "SandD's daemon registers and runs a command" published_daemon
}

published_daemon() {
	local id=p$N daemon got code=0

	"${P_EXEC[@]}" "$PEERS/sandd-daemon/bin/sandd" --server-url "ws://$GW4:8765/ws" \
		--daemon-id "$id" --reconnect-interval 1 >"$LAB_DIR/sandd.$N" 2>&1 &
	daemon=$!
	wait_for 60 daemon_is_there "$id" || { cat "$LAB_DIR/sandd.$N"; code=1; }
	got=$(gwctl exec "$id" -- "echo from $id; ip -o -4 address show dev $WG") || code=$?
	kill "$daemon"
	wait "$daemon" 2>/dev/null || true
	echo "$got"
	[[ $code == 0 && $got == "from $id"*"$IN4/24"* ]]
}

# --- keepalive ----------------------------------------------------------------------------------

section_keepalive() {
	each "persistent keepalive from the initiator" keepalives
}

# Five, of an end that has nothing to say: the ones that answer silence come once.
keepalives() {
	local since

	since=$(mark)
	wire_comes_to 5 "$(outer initiator)" "$(outer responder)" keepalive "$since"
}

# --- udp: every size ----------------------------------------------------------------------------

section_udp() {
	each "UDP from the gateway, 0 to MTU, there and back" udp_sizes gw p "$LAB_MTU" 4
	each "UDP from the peer over inner IPv6, 0 to MTU, there and back" udp_sizes p gw "$LAB_MTU" 6
}

# udp_sizes FROM TO MTU 4|6
udp_sizes() {
	local from=$1 to=$2 mtu=$3 inner=$4 port=$((5100 + N)) address headers=28 server code=0

	[[ $inner == 4 ]] || headers=48
	if [[ $to == p ]]; then address=$IN4; else address=$GW6; fi
	rm -f "$LAB_DIR/echo.$N"
	"in_$to" "$REPO/tests/interop/udp.py" echo "$address" "$port" >"$LAB_DIR/echo.$N" &
	server=$!
	wait_for 60 grep -q ready "$LAB_DIR/echo.$N" &&
		"in_$from" "$REPO/tests/interop/udp.py" sizes "$address" "$port" $((mtu - headers)) || code=$?
	end_of_family "$server"
	return "$code"
}

# --- move: roaming ------------------------------------------------------------------------------

section_move() {
	each "the peer's address and port change" moves 0 100
	each "and back" moves 100 0
}

# moves FROM TO: what is added to addresses of both families and to the port.
moves() {
	local from=$1 to=$2 old4 old6 new4 new6 at

	old4=192.0.2.$((10 + N + from)) old6=2001:db8::$((10 + N + from))
	new4=192.0.2.$((10 + N + to)) new6=2001:db8::$((10 + N + to))
	in_p ip addr del "$old4/24" dev under0
	in_p ip addr del "$old6/64" dev under0
	lab_address p under0 "$new4/24" "$new6/64"
	in_p wg set "$WG" listen-port $((PORT + to))
	at=$new4
	[[ $FAMILY == IPv4 ]] || at=$new6
	reached_at "$(endpoint "$at" $((PORT + to)))"
}

# It speaks first, so that the gateway learns where it is; in this session: a new one, after 15 s of silence,
# would hide that the gateway does not follow.
reached_at() {
	in_p ping -q -i 0.2 -c 3 -w 14 "$GW4" || return 1
	fleet_status | jq -e --arg at "$1" '.endpoint, $at, .endpoint == $at' || return 1
	in_gw ping -q -i 0.2 -c 3 -w 20 "$IN6"
}

# --- family: from one to the other --------------------------------------------------------------

section_family() {
	each "the peer changes to the other family" changes_family other
	each "and back to its own" changes_family own
}

# A packet of the gateway that is on its way, to the old family, moves the peer back: then once more.
changes_family() {
	local gw=$GW_UNDER4 peer=$OUT4 try

	case $1-$FAMILY in
	own-IPv6 | other-IPv4) gw=$GW_UNDER6 peer=$OUT6 ;;
	esac
	for try in 1 2 3; do
		echo "try $try"
		# boringtun changes no peer that it has: it meets the gateway anew
		[[ $PROGRAM != boringtun ]] || in_p wg set "$WG" peer "$(<"$LAB_DIR/gw.pub")" remove
		peer_knows_gateway "$PSK" endpoint "$(endpoint "$gw" "$GW_PORT")"
		! reached_at "$(endpoint "$peer" "$PORT")" || return 0
	done
	return 1
}

# --- tcp: by checksum ---------------------------------------------------------------------------

section_tcp_out() {
	each_in_turn "TCP out, $TCP_MB MB" tcp_out
}

section_tcp_in() {
	each_in_turn "TCP in over inner IPv6, $TCP_MB MB" tcp_in
}

tcp_out() {
	tcp_transfer gw p "$IN4" "$TCP_MB"
}

tcp_in() {
	tcp_transfer p gw "$GW6" "$TCP_MB"
}

# --- rekey --------------------------------------------------------------------------------------

section_rekey() {
	each "a new session after $REKEY_AFTER_S s, no ping lost" rekeys
	each "the initiator began it" rekey_by_initiator
}

# Until shortly before the session is due. An end that was kept waiting for too long, on a busy machine, may have begun
# another one meanwhile: then that one counts.
wait_for_rekey() {
	local born

	for _ in 1 2 3 4; do
		born=$(wire_session_time)
		echo "$born" >"$LAB_DIR/p$N.born"
		sleep "$(awk -v born="$born" -v now="$(mark)" -v due=$((REKEY_AFTER_S - 5)) \
			'BEGIN { left = born + due - now; print (left > 0 ? left : 0) }')"
		[[ $(wire_session_time) != "$born" ]] || return 0
	done
	return 1
}

# Pings from then to shortly after.
rekeys() {
	local born

	wait_for_rekey || return 1
	born=$(<"$LAB_DIR/p$N.born")
	in_initiator "$REPO/tests/netns/pings.py" 0.2 75 "$(inner4 responder)" || return 1
	awk -v born="$born" -v now="$(wire_session_time)" 'BEGIN {
		print "sessions at " born " and " now; exit !(now > born + 60) }'
}

rekey_by_initiator() {
	local since

	since=$(<"$LAB_DIR/p$N.born")
	wire_comes_to 1 "$(outer initiator)" "$(outer responder)" initiation "$since" || return 1
	! wire_has 1 "$(outer responder)" "$(outer initiator)" initiation "$since"
}

# --- restart: of each end, without a word -------------------------------------------------------

section_restart() {
	each "the peer is killed and comes back" peer_restarts
	gw_kill
	check "$KIND: gateway is killed and comes back" gw_start
	each "the gateway is killed and comes back" ping_through initiator "$RECOVERS_S"
	each "and the peer is reached" ping_through responder "$RECOVERS_S"
}

peer_restarts() {
	peer_kill
	peer_start_as "$KEY" "$PSK"
	ping_through initiator "$RECOVERS_S"
}

# --- load: cookies both ways --------------------------------------------------------------------

# All responders are flooded, the gateway among them, by somebody who is none of the peers.
section_load() {
	start_flood
	check "$KIND: gateway is killed under load and comes back" gateway_returns
	check "$KIND: gateway asks for cookies" wait_for 60 drops_reach handshake_cookie_sent 1
	each "under load: a cookie, an initiation with it, a tunnel" cookie_exchange
	kill "${FLOOD_PIDS[@]}"
	wait "${FLOOD_PIDS[@]}" 2>/dev/null || true
}

gateway_returns() {
	sleep 1
	mark >"$LAB_DIR/load"
	gw_kill
	gw_start
}

# boringtun counts by the second and forgets: its share comes often, from a program of its own.
start_flood() {
	local often=() bursts=("$GW_UNDER4" "$GW_PORT" "$(<"$LAB_DIR/gw.pub")" "$BURST" "$BURST_S") n

	for ((n = 0; n < FLEET; n++)); do
		fleet_peer "$n"
		if [[ $ROLE == responder && $PROGRAM == boringtun ]]; then
			often+=("$OUT" "$PORT" "$(<"$PUB")" 120 0.05)
		elif [[ $ROLE == responder ]]; then
			bursts+=("$OUT" "$PORT" "$(<"$PUB")" "$BURST" "$BURST_S")
		fi
	done
	"${NET_EXEC[@]}" "$REPO/tests/interop/flood.py" "${often[@]}" &
	FLOOD_PIDS=($!)
	"${NET_EXEC[@]}" "$REPO/tests/interop/flood.py" "${bursts[@]}" &
	FLOOD_PIDS+=($!)
	LAB_PIDS+=("${FLOOD_PIDS[@]}")
}

# A gateway that restarted begins of itself; a peer begins when it meets the gateway anew. Who slips
# through in a moment without load (on a busy machine the flood comes in gusts) is made to try again: a peer
# that has forgotten all is silent, until the gateway begins.
cookie_exchange() {
	local since try

	since=$(<"$LAB_DIR/load")
	for try in 1 2 3 4 5; do
		echo "try $try"
		[[ $ROLE == responder && $try == 1 ]] || peer_config "$KEY" "$PSK"
		ping_through initiator "$RECOVERS_S" || return 1
		if wire_has 1 "$(outer responder)" "$(outer initiator)" cookie "$since" &&
			wire_has 1 "$(outer initiator)" "$(outer responder)" "initiation mac2" "$since"; then
			return 0
		fi
	done
	return 1
}

# --- block: the path is cut, and opened again ---------------------------------------------------

section_block() {
	each "the path is blocked for $BLOCKED_S s and opened: recovers" blocked
}

blocked() {
	local since

	ping_through initiator "$RECOVERS_S" || return 1
	since=$(mark)
	in_p nft -f - <<-EOF
		table inet blocked {
			chain from { type filter hook input priority 0; iifname under0 meta l4proto udp drop; }
			chain to { type filter hook output priority 0; oifname under0 meta l4proto udp drop; }
		}
	EOF
	! in_initiator ping -q -i 0.5 -c 100 -w "$BLOCKED_S" "$(inner4 responder)" || return 1
	if [[ $ROLE == responder ]]; then
		wire_comes_to 1 "$GW_OUT" "$OUT" initiation "$since" || return 1
	fi
	in_p nft delete table inet blocked
	ping_through initiator "$RECOVERS_S" && ping_through responder "$RECOVERS_S"
}

# --- all of it ----------------------------------------------------------------------------------

run_kind() {
	local kind=$1 section

	shift
	fleet_up "$kind"
	for section in "$@"; do
		echo "# $kind: $section after $((SECONDS - STARTED)) s"
		"section_$section"
	done
	exit "$FAILED"
}

end_kinds() {
	((${#KIND_PIDS[@]})) || return 0
	kill "${KIND_PIDS[@]}" 2>/dev/null || true
	wait "${KIND_PIDS[@]}" || true
}

need_peers() {
	need_lab "peers"
	have nft || { skip "peers" "no nft"; exit 0; }
	[[ -x $PEERS/wireguard-go/bin/wireguard-go ]] ||
		{ skip "peers" "not installed: scripts/peers.sh wireguard-go"; exit 0; }
	[[ -x $PEERS/boringtun/bin/boringtun-cli ]] && return
	skip "boringtun" "not installed: scripts/peers.sh boringtun"
	# it is the last of three
	FLEET=$((FLEET * 2 / 3))
}

main() {
	local kinds=(af_xdp af_packet) wanted=" meet " sections=() section kind code=0

	while (($#)); do
		case $1 in
		--kind) kinds=("$2"); shift ;;
		*) [[ " ${SECTIONS[*]} " == *" $1 "* ]] || die -2 "no section '$1': ${SECTIONS[*]}"
			wanted+="$1 " ;;
		esac
		shift
	done
	[[ $wanted != " meet " ]] || wanted=" ${SECTIONS[*]} "
	for section in "${SECTIONS[@]}"; do
		[[ $wanted != *" $section "* ]] || sections+=("$section")
	done
	need_peers
	STARTED=$SECONDS KIND_PIDS=()
	TURN_LOCK=$(mktemp -t sandd-turn.XXXXXX) TAP_FILE=$TURN_LOCK.tap
	trap 'end_kinds; rm -f "$TURN_LOCK" "$TAP_FILE"' EXIT
	trap 'exit 143' INT TERM HUP
	for kind in "${kinds[@]}"; do
		run_kind "$kind" "${sections[@]}" &
		KIND_PIDS+=($!)
	done
	for kind in "${KIND_PIDS[@]}"; do
		wait "$kind" || code=1
	done
	KIND_PIDS=()
	# its code says that a case failed, as ours does
	{ "$REPO/scripts/interop-table.sh" "$TAP_FILE" || true; } | sed 's/^/#| /'
	exit "$code"
}

main "$@"
