#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What happens to a gateway's interfaces while it runs: taken down, deleted, made again, addresses taken away. It
# says what it sees, drops by name, and carries packets again without a restart.
# Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FAR_NET=10.77.0.0/24

# The gateway is still the process that was started, and says WHAT in its log.
says() {
	wait_for 30 says_now "$1"
	says_now "$1" || { tail -n 5 "$LAB_DIR/gw.log"; return 1; }
	kill -0 "$GW_PID"
}

says_now() {
	tail -n +"$((LOG_LINES + 1))" "$LAB_DIR/gw.log" | grep -q -- "$1"
}

# What is looked for in the log is what comes from here on.
mark_log() {
	LOG_LINES=$(wc -l <"$LAB_DIR/gw.log")
}

pings_again() {
	wait_for 60 ping_from peer "$GW4"
	ping_from peer "$GW4" && ping_from gw "$PEER4"
}

# --- the underlay -------------------------------------------------------------------------------

make_underlay() {
	in_gw ip link add under0 type veth peer name under0 netns "$LAB_PEER"
	lab_address gw under0 "$GW_UNDER4/24" "$GW_UNDER6/64"
	lab_address peer under0 "$PEER_UNDER4/24" "$PEER_UNDER6/64"
	in_peer ethtool -K under0 gso off tx-udp-segmentation off >/dev/null 2>&1 || true
}

mbufs_free() {
	gwctl status --json | jq -e .tunnel.buffers_free
}

# A packet while there is no port has a name; ping of our own side, for the peer is out of reach.
packets_are_counted() {
	in_gw ping -q -i 0.2 -c 5 -w 3 "$PEER4" || true
	local gone no_route other
	gone=$(drops port_gone) no_route=$(drops no_route) other=$(drops route_by_other_device)
	echo "port_gone $gone, no_route $no_route, route_by_other_device $other"
	((gone + no_route + other > 0))
}

underlay_is_deleted() {
	mark_log
	in_gw ip link del under0
	says "port under0: its interface is gone"
}

port_state_is() {
	gwctl status --json | jq -c .tunnel.ports
	gwctl status --json | jq -e --arg state "$1" '.tunnel.ports[0].state == $state'
}

underlay_is_back() {
	mark_log
	make_underlay
	says "port under0: its interface is back"
}

underlay_many_times() {
	local n first last

	for ((n = 0; n < 6; n++)); do
		in_gw ip link del under0
		make_underlay
		pings_again || { echo "round $n"; return 1; }
		[[ $n != 0 ]] || first=$(mbufs_free)
	done
	last=$(mbufs_free)
	echo "free packets: $first, then $last"
	((last + 500 > first))
}

underlay_down_and_up() {
	mark_log
	in_gw ip link set under0 down
	says "port under0 is down" || return 1
	in_gw ip link set under0 up
	in_gw ip addr replace "$GW_UNDER6/64" dev under0 nodad
	says "port under0 is up"
}

address_is_taken_and_given() {
	in_gw ip addr flush dev under0
	wait_for 10 no_ping_from peer "$GW4" || { echo "answers without an address"; return 1; }
	lab_address gw under0 "$GW_UNDER4/24" "$GW_UNDER6/64"
}

# --- the host interface -------------------------------------------------------------------------

host_is_down() {
	mark_log
	in_gw ip link set sandd0 down
	says "host interface sandd0 is down" || return 1
	no_ping_from peer "$GW4" || return 1
	drops_come_to host_write 1
}

host_is_up() {
	in_gw ip link set sandd0 up
}

host_is_deleted() {
	mark_log
	in_gw ip link del sandd0
	says "host interface sandd0: somebody deleted it" && says "host interface sandd0: made again"
}

# All that the gateway gave it: its addresses, and a route to what a peer holds outside of them.
host_is_whole() {
	in_gw ip -br addr show sandd0
	in_gw ip route show dev sandd0
	in_gw ip -br addr show sandd0 | grep -q "$GW4/24" &&
		in_gw ip -br addr show sandd0 | grep -q "$GW6/64" &&
		in_gw ip route show dev sandd0 | grep -q "^$FAR_NET"
}

with_kind() {
	local kind=$1

	gw_config "$kind"
	cat >>"$LAB_DIR/gw.yaml" <<-EOF
		  - name: far
		    public_key: $(<"$LAB_DIR/stranger.pub")
		    allowed_ips: [$FAR_NET]
	EOF
	check "$kind: gateway starts" gw_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "$kind: tunnel is up" pings_again
	check "$kind: underlay link down and up" underlay_down_and_up
	check "$kind: packets flow again" pings_again
	check "$kind: underlay addresses taken away and given back" address_is_taken_and_given
	check "$kind: packets flow again" pings_again
	check "$kind: underlay interface is deleted: it says so" underlay_is_deleted
	check "$kind: status says so" port_state_is gone
	check "$kind: packets without a way are counted" packets_are_counted
	check "$kind: an interface of the same name: the port is back" underlay_is_back
	check "$kind: status says so" port_state_is up
	check "$kind: packets flow again" pings_again
	check "$kind: TCP too" tcp_transfer gw peer "$PEER4" 5
	check "$kind: deleted and made again many times, no packet buffer lost" underlay_many_times
	check "$kind: host interface taken down: packets for it are counted" host_is_down
	check "$kind: and up again" host_is_up
	check "$kind: it gets back its addresses and routes" wait_for 30 host_is_whole
	check "$kind: packets flow again" pings_again
	check "$kind: host interface deleted: it is made again" host_is_deleted
	check "$kind: with its addresses and routes" wait_for 30 host_is_whole
	check "$kind: packets flow again" pings_again
	check "$kind: TCP too" tcp_transfer gw peer "$PEER4" 5
	check "$kind: ends in peace" gw_stop
	in_peer wg set "$LAB_WG" peer "$(<"$LAB_DIR/gw.pub")" remove
}

main() {
	need_lab "hardship"
	lab_up
	wg_start
	with_kind af_xdp
	with_kind af_packet
	exit "$FAILED"
}

main "$@"
