# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# One gateway and twelve peers: three programs, each in both roles, over both families. Sourced by
# tests/interop/peers_test.sh; needs root. What happens to the peers happens to all of them side by
# side, so the long waits of the protocol are waited for once.
#
#      namespace gw                 namespace net                    namespaces p0 .. p11
#   under0 192.0.2.1 ----veth---- gw0  bridge br0  n0 .. n11 ----veth---- under0 192.0.2.10 .. 21
#          2001:db8::1            10: watched by wire.py                  2001:db8::10 .. 21
#   sandd0 10.9.0.1, fd09::1  =============tunnels=============  wgIDpN  10.9.0.10, fd09::10 ..
#
# A case runs in a subshell per peer; who it is about stands in the variables that fleet_peer() sets. Who
# sources this sets TURN_LOCK and TAP_FILE, which fleets share: the lock of each_in_turn(), and all cases.

# shellcheck source=../netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.sh"

PEERS=${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}
FLEET=12
NET4=192.0.2.2 NET6=2001:db8::2
KEEPALIVE_S=2
# A case that takes longer hangs.
CASE_S=600

# --- who is who ---------------------------------------------------------------------------------

# fleet_peer N: program, role and family of the underlay; addresses, files.
# shellcheck disable=SC2034 # for the cases
fleet_peer() {
	local programs=("wireguard-go old" "wireguard-go current" boringtun)
	local roles=(initiator responder) families=(IPv4 IPv6)

	N=$1
	PROGRAM=${programs[N / 4]} ROLE=${roles[N / 2 % 2]} FAMILY=${families[N % 2]}
	TITLE="$PROGRAM, $ROLE, $FAMILY"
	WG=wg${LAB_ID}p$N
	IN4=10.9.0.$((10 + N)) IN6=fd09::$((10 + N))
	OUT4=192.0.2.$((10 + N)) OUT6=2001:db8::$((10 + N))
	PORT=$PEER_PORT
	OUT=$OUT4 GW_OUT=$GW_UNDER4
	if [[ $FAMILY == IPv6 ]]; then OUT=$OUT6 GW_OUT=$GW_UNDER6; fi
	KEY=$LAB_DIR/p$N.key PUB=$LAB_DIR/p$N.pub PSK=$LAB_DIR/p$N.psk PID_FILE=$LAB_DIR/p$N.pid
	lab_words "sandd-$LAB_ID-p$N"
	P_EXEC=("${WORDS[@]}")
}

in_p() {
	"${P_EXEC[@]}" "$@"
}

in_net() {
	"${NET_EXEC[@]}" "$@"
}

# Who begins a session, and who answers: where, and the address that the other one has there.
in_initiator() {
	if [[ $ROLE == initiator ]]; then in_p "$@"; else in_gw "$@"; fi
}

in_responder() {
	if [[ $ROLE == initiator ]]; then in_gw "$@"; else in_p "$@"; fi
}

# inner4 initiator|responder, inner6, outer: addresses of the one or the other.
inner4() {
	if [[ $1 == "$ROLE" ]]; then echo "$IN4"; else echo "$GW4"; fi
}

inner6() {
	if [[ $1 == "$ROLE" ]]; then echo "$IN6"; else echo "$GW6"; fi
}

outer() {
	if [[ $1 == "$ROLE" ]]; then echo "$OUT"; else echo "$GW_OUT"; fi
}

endpoint() {
	if [[ $1 == *:* ]]; then echo "[$1]:$2"; else echo "$1:$2"; fi
}

# --- cases --------------------------------------------------------------------------------------

# each CASE CMD...: a case for every peer, side by side. each_in_turn: one after the other, and not
# while another fleet does so: what takes the whole machine.
each() {
	local name=$1 n watch

	shift
	for ((n = 0; n < FLEET; n++)); do
		(fleet_peer "$n" && "$@") >"$LAB_DIR/case.$n" 2>&1 &
		CASE_PIDS[n]=$!
	done
	(sleep "$CASE_S"; kill "${CASE_PIDS[@]}") 2>/dev/null &
	watch=$!
	for ((n = 0; n < FLEET; n++)); do
		case_ends "$name" "$n"
	done
	end_of_family "$watch"
}

each_in_turn() {
	local name=$1 n

	shift
	for ((n = 0; n < FLEET; n++)); do
		(flock 9; fleet_peer "$n" && "$@" 9>&-) 9>"$TURN_LOCK" >"$LAB_DIR/case.$n" 2>&1 &
		CASE_PIDS[n]=$!
		case_ends "$name" "$n"
	done
}

case_ends() {
	local name=$1 n=$2 code=0

	wait "${CASE_PIDS[n]}" || code=$?
	unset "CASE_PIDS[n]"
	tell "$name" "$n" "$code"
}

# Of a shell that waits for a program: the program too.
end_of_family() {
	pkill -P "$1" || true
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

# Each in one piece: another fleet prints too.
tell() {
	local name=$1 n=$2 code=$3 line

	fleet_peer "$n"
	line="ok - $KIND: $TITLE: $name"
	((code == 0)) || line="not $line"
	echo "$line" >>"$TAP_FILE"
	if ((code == 0)); then
		echo "$line"
		return
	fi
	printf '%s\n' "$line
$(tail -n 15 "$LAB_DIR/case.$n" | sed 's/^/# /')"
	# shellcheck disable=SC2034 # the exit code of the lab
	FAILED=1
}

# --- up and down --------------------------------------------------------------------------------

# fleet_up KIND: wires and programs, not yet configured; the gateway is not started.
fleet_up() {
	KIND=$1 CASE_PIDS=()
	lab_begin
	trap fleet_down EXIT
	ip netns add "$LAB_GW"
	ip netns add "sandd-$LAB_ID-net"
	lab_words "$LAB_GW"
	GW_EXEC=("${WORDS[@]}")
	lab_words "sandd-$LAB_ID-net"
	NET_EXEC=("${WORDS[@]}")
	in_net ip link add br0 type bridge
	fleet_wire gw0 "$LAB_GW"
	lab_address gw under0 "$GW_UNDER4/24" "$GW_UNDER6/64"
	lab_address net br0 "$NET4/24" "$NET6/64"
	lab_keys
	for ((n = 0; n < FLEET; n++)); do
		ip netns add "sandd-$LAB_ID-p$n"
		fleet_peer "$n"
		fleet_wire "n$n" "sandd-$LAB_ID-p$n"
		lab_address p under0 "$OUT4/24" "$OUT6/64"
		fleet_keys
	done
	"${NET_EXEC[@]}" "$REPO/tests/interop/wire.py" gw0 >"$LAB_DIR/wire.log" 2>&1 &
	LAB_PIDS+=($!)
}

# Cases that still run go first.
fleet_down() {
	local code=$? pid

	set +e
	trap '' INT TERM HUP
	for pid in "${CASE_PIDS[@]}"; do
		end_of_family "$pid"
	done
	(exit "$code")
	lab_down
}

# fleet_wire PORT NAMESPACE: a port of the bridge, its other end there. Segments of 64 KiB are no
# packets of a network.
fleet_wire() {
	in_net ip link add "$1" type veth peer name under0 netns "$2"
	in_net ip link set "$1" master br0 up
	in_net ethtool -K "$1" gso off tx-udp-segmentation off >/dev/null 2>&1 || true
	lab_words "$2"
	"${WORDS[@]}" ethtool -K under0 gso off tx-udp-segmentation off >/dev/null 2>&1 || true
}

fleet_keys() (
	umask 077
	wg genkey >"$KEY"
	wg pubkey <"$KEY" >"$PUB"
	wg genpsk >"$PSK"
)

# The gateway begins where the peer responds: it alone knows an endpoint then.
fleet_gw_config() {
	local n lines

	gw_config_head "$KIND"
	for ((n = 0; n < FLEET; n++)); do
		fleet_peer "$n"
		lines="preshared_key_file: $PSK"
		[[ $ROLE == initiator ]] ||
			lines+=$'\n'"endpoint: \"$(endpoint "$OUT" "$PORT")\""$'\n'"keepalive: $KEEPALIVE_S"
		gw_config_peer "p$n" "$PUB" "$IN4" "$IN6" "$lines"
	done
}

# --- a peer -------------------------------------------------------------------------------------

program_words() {
	case $PROGRAM in
	"wireguard-go old") WORDS=(wireguard-go "$WG") ;;
	"wireguard-go current") WORDS=("$PEERS/wireguard-go/bin/wireguard-go" "$WG") ;;
	boringtun) WORDS=("$PEERS/boringtun/bin/boringtun-cli" -f --disable-drop-privileges --threads 2 "$WG") ;;
	esac
}

peer_start() {
	program_words
	WG_PROCESS_FOREGROUND=1 "${P_EXEC[@]}" "${WORDS[@]}" >>"$LAB_DIR/p$N.log" 2>&1 &
	echo $! >"$PID_FILE"
	wait_for 60 in_p wg show "$WG" || { tail -n 5 "$LAB_DIR/p$N.log"; return 1; }
	in_p ip link set "$WG" mtu "$LAB_MTU"
	lab_address p "$WG" "$IN4/24" "$IN6/64"
}

# peer_config KEY PSK: everything, from nothing.
peer_config() {
	in_p wg set "$WG" listen-port "$PORT" private-key "$1"
	in_p wg set "$WG" peer "$(<"$LAB_DIR/gw.pub")" remove
	peer_knows_gateway "$2"
}

# peer_knows_gateway PSK [WG SET ARGUMENTS]: what an initiator needs besides, or as told.
peer_knows_gateway() {
	local psk=$1

	shift
	if (($# == 0)) && [[ $ROLE == initiator ]]; then
		set -- endpoint "$(endpoint "$GW_OUT" "$GW_PORT")" persistent-keepalive "$KEEPALIVE_S"
	fi
	in_p wg set "$WG" peer "$(<"$LAB_DIR/gw.pub")" preshared-key "$psk" \
		allowed-ips "$GW4/32,$GW6/128" "$@"
}

# Without a word to anybody.
peer_kill() {
	local pid

	pid=$(<"$PID_FILE")
	kill -9 "$pid"
	wait_for 10 test ! -d "/proc/$pid"
	wait_for 10 test ! -e "/proc/$pid/exe"
	rm -f "/var/run/wireguard/$WG.sock"
	wait_for 10 peer_has_no_device
}

peer_has_no_device() {
	! in_p ip link show "$WG"
}

# ping_through initiator|responder SECONDS: three answers from the other one, begun by this one. The first
# may have to wait for a handshake.
ping_through() {
	local from=$1 seconds=$2 to=responder

	[[ $from == initiator ]] || to=initiator
	"in_$from" ping -q -i 0.2 -c 3 -w "$seconds" "$(inner4 "$to")" &&
		"in_$from" ping -q -i 0.2 -c 3 -w "$seconds" "$(inner6 "$to")"
}

# --- what the wire saw --------------------------------------------------------------------------

# Of one moment, for the calls below.
mark() {
	date +%s.%N
}

# wire_count FROM TO KIND SINCE: messages of a kind (initiation, response, cookie, keepalive), or of
# "initiation mac2".
wire_count() {
	awk -v from="$1" -v to="$2" -v kind="$3" -v since="$4" '
		$1 >= since && $2 == from && $4 == to && ($6 == kind || $6 " " $7 == kind) { n++ }
		END { print n + 0 }' "$LAB_DIR/wire.log"
}

# wire_has COUNT FROM TO KIND SINCE
wire_has() {
	local wanted=$1 got

	shift
	got=$(wire_count "$@")
	echo "$1 to $2: $got of $3, wanted $wanted"
	((got >= wanted))
}

# What watches the wire may be late.
wire_comes_to() {
	wait_for 60 wire_has "$@" || wire_has "$@"
}

# When this peer's last session came to be.
wire_session_time() {
	awk -v a="$OUT" -v b="$GW_OUT" '
		$6 == "response" && (($2 == a && $4 == b) || ($2 == b && $4 == a)) { time = $1 }
		END { printf "%.6f\n", time }' "$LAB_DIR/wire.log"
}

# The gateway's view of this peer.
fleet_status() {
	gwctl peers --json | jq --arg name "p$N" '.peers[] | select(.name == $name)'
}
