#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What must not matter: Headscale away for 20 s and back, while packets flow. And routes both ways. Topology in
# scripts/mesh-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

AWAY_S=${AWAY_S:-20}

# Each way of the tunnel, two hundred packets a second, is whole from before the server goes until after it is back.
server_away() {
	ping_to w1 "$(mesh_gw_ip gw1 4)" || return 1
	mesh_words w1
	pings_start 0.005 "$(mesh_gw_ip gw1 4)" "${WORDS[@]}" || return 1
	hs_stop
	wait_for 20 mesh_gw_is gw1 backing_off || return 1
	sleep "$AWAY_S"
	gw_says gw1 '.mesh.health[0] | contains("no live map")' || return 1
	hs_start
	wait_for 90 mesh_gw_is gw1 streaming || return 1
	pings_end
}

tcp_over_it() {
	tcp_transfer w1 gw1 "$(mesh_gw_ip gw1 4)" 5 && tcp_transfer gw1 w1 "$(ts_ip w1 4)" 5
}

# What the gateway offers: a network behind it, approved on the server, forwarded by its kernel.
route_of_ours() {
	mesh_in gw1 ip link add lan0 type bridge
	mesh_in gw1 ip addr add 10.77.0.1/24 dev lan0
	mesh_in gw1 ip link set lan0 up
	hs nodes approve-routes -i "$(hs_node_id gw1)" -r 10.77.0.0/24 >/dev/null || return 1
	wait_for 60 ping_to w1 10.77.0.1
}

# What a tailscaled node offers: taken, because accept_routes says so.
route_of_theirs() {
	mesh_in w1 ip link add lan0 type bridge
	mesh_in w1 ip addr add 10.88.0.1/24 dev lan0
	mesh_in w1 ip link set lan0 up
	hs nodes approve-routes -i "$(hs_node_id w1)" -r 10.88.0.0/24 >/dev/null || return 1
	wait_for 60 ping_to gw1 10.88.0.1
}

main() {
	need_mesh "mesh outage"
	mesh_up
	hs_start
	mesh_check "gw1 joins" mesh_gw_join gw1 1 $'advertise_routes: [10.77.0.0/24]\naccept_routes: true'
	mesh_in gw1 sysctl -qw net.ipv4.ip_forward=1
	mesh_node w1 21
	mesh_in w1 sysctl -qw net.ipv4.ip_forward=1
	ts_start w1
	mesh_check "w1 joins" ts w1 up --authkey="$(hs_key)" --login-server="$MESH_SERVER" --hostname=w1 \
		--advertise-routes=10.88.0.0/24 --accept-routes --timeout=60s
	mesh_check "ping" ping_to w1 "$(mesh_gw_ip gw1 4)"
	mesh_check "a network behind the gateway" route_of_ours
	mesh_check "a network behind a node" route_of_theirs
	mesh_check "Headscale away for $AWAY_S s: not one packet is lost" server_away
	mesh_check "TCP" tcp_over_it
	mesh_check "the gateway ends cleanly" mesh_end gw1 gw
	exit "$FAILED"
}

main "$@"
