#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Thirty nodes come and go (mesh_swarm) while the gateway forwards for another: it loses nothing, knows them all, and
# forgets them. Topology in scripts/mesh-lib.sh; the swarm is in namespace sw.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

NODES=${NODES:-30}
SWARM=$SANDD_BUILD/tests/mesh/mesh_swarm

# peers_of_swarm: how many of them the gateway knows.
peers_of_swarm() {
	mesh_ctl gw1 peers --json | jq '[.peers[] | select(.name | startswith("swarm-"))] | length'
}

knows_all() {
	[[ $(peers_of_swarm) == "$NODES" ]]
}

knows_none() {
	[[ $(peers_of_swarm) == 0 ]]
}

swarm_begins() {
	(umask 077 && hs_key --reusable >"$LAB_DIR/sw/authkey")
	mesh_run sw swarm "$SWARM" --server "$MESH_SERVER" --authkey-file "$LAB_DIR/sw/authkey" \
		--dir "$LAB_DIR/sw/states" --nodes "$NODES" --rate 10 --prefix swarm --hold 8 --leave --json
}

# Two hundred packets a second from before the first joins until after the last has left.
while_it_forwards() {
	ping_to w1 "$(mesh_gw_ip gw1 4)" || return 1
	mesh_words w1
	pings_start 0.005 "$(mesh_gw_ip gw1 4)" "${WORDS[@]}" || return 1
	swarm_begins
	wait_for 60 knows_all || return 1
	tcp_transfer w1 gw1 "$(mesh_gw_ip gw1 4)" 20 || return 1
	wait "${MESH_PID[sw/swarm]}" || { cat "$LAB_DIR/sw/swarm.log"; return 1; }
	unset 'MESH_PID[sw/swarm]'
	pings_end
}

# The swarm's own report: each of them saw all others, the gateway and w1.
all_saw_all() {
	jq -e --argjson n "$NODES" '.live == $n and .peers_least == $n + 1' "$LAB_DIR/sw/swarm.log"
}

# Logged out, they have expired: no peers of a tunnel any more, until the server deletes them.
they_are_gone() {
	hs nodes list -o json | jq -r '.[] | select(.given_name | startswith("swarm-")) | .id' |
		while read -r id; do hs nodes delete -i "$id" --force >/dev/null || return 1; done
	wait_for 30 knows_none
}

main() {
	need_mesh "mesh swarm"
	mesh_up
	hs_start
	mesh_check "gw1 joins" mesh_gw_join gw1 1
	mesh_check "w1 joins" ts_join w1 21
	mesh_node sw 31
	mesh_check "$NODES nodes come and go, and not one packet is lost" while_it_forwards
	mesh_check "each of them saw all" all_saw_all
	mesh_check "they are gone" they_are_gone
	mesh_check "the gateway ends cleanly" mesh_end gw1 gw
	exit "$FAILED"
}

main "$@"
