#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What must not matter: Headscale away for 20 s and back, while packets flow; the gateway killed again and again, also
# while its peer hears nothing from the server; a peer that moves to other addresses. And routes both ways. Topology
# in scripts/mesh-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

AWAY_S=${AWAY_S:-20}
KILLS=${KILLS:-10}

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

who_is_it() {
	mesh_ctl gw1 status --json | jq -c '[.mesh.name, .mesh.addresses]'
}

again() {
	mesh_end gw1 gw KILL || true
	mesh_gw_start gw1
}

# tailscaled asks only for https for two minutes after its server went away: it hears nothing of the gateway's new start.
killed_unheard() {
	local before

	before=$(who_is_it)
	again || return 1
	wait_for 60 mesh_gw_is gw1 streaming || return 1
	ping_to w1 "$(mesh_gw_ip gw1 4)" && [[ $(who_is_it) == "$before" ]]
}

# At any moment of its start, and after it.
killed_again_and_again() {
	local before id seed=${SANDD_TEST_SEED:-$$} i

	before=$(who_is_it)
	id=$(hs_node_id gw1)
	echo "SANDD_TEST_SEED=$seed"
	RANDOM=$seed
	for ((i = 0; i < KILLS; i++)); do
		mesh_end gw1 gw KILL || true
		mesh_run gw1 gw "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/gw1/gw.yaml"
		sleep "$((RANDOM % 2)).$((RANDOM % 900 + 100))"
	done
	again || return 1
	wait_for 60 mesh_gw_is gw1 streaming || return 1
	ping_to w1 "$(mesh_gw_ip gw1 4)" || return 1
	[[ $(who_is_it) == "$before" && $(hs_node_id gw1) == "$id" ]] &&
		[[ $(hs nodes list -o json | jq length) == 2 ]]
}

# Its old addresses are gone, so the way to it is another.
moved() {
	mesh_in w1 ip addr flush dev under0 scope global
	mesh_in w1 ip addr add "$MESH_NET4.31/24" dev under0
	mesh_in w1 ip addr add "$MESH_NET6:31/64" dev under0 nodad
	mesh_in w1 ip route replace default via "$MESH_NET4.10"
	ping_to gw1 "$(ts_ip w1 4)" 60 || return 1
	peer_says gw1 w1 '.endpoint | test("192.0.2.31|2001:db8::31")'
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
	mesh_check "the gateway is killed while its peer hears nothing of it" killed_unheard
	mesh_check "the gateway is killed $KILLS times: the same node" killed_again_and_again
	mesh_check "a peer moves to other addresses" moved
	mesh_check "the gateway ends cleanly" mesh_end gw1 gw
	exit "$FAILED"
}

main "$@"
