#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Long loads that no suite has time for, in network namespaces of their own. Needs root.
#
#   scripts/soak.sh mesh  [--kills N] [--nodes N] [--json]   (100 kills, 300 nodes: some four minutes)
#       A gateway of a Headscale mesh is killed (-9) again and again at random moments, while nodes join and
#       tailscaled keeps sending. In the end it must be the same node, know every other, and carry packets.
#   scripts/soak.sh swarm [--nodes N] [--rate N] [--json]    (2000 nodes, 20 a second)
#       That many nodes join one Headscale: what that costs the server, and a gateway that follows the map.
#
# SANDD_TEST_SEED repeats a run of kills. The last line on standard output is the result (--json: one object); exits 1
# when something was lost.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lab-lib.sh"
. "$(dirname "$0")/mesh-lib.sh"

KILLS=100 NODES="" RATE=20 JSON=0
# A server with thousands of nodes sends each of them the others: its own time bounds us.
WITHIN_S=3000

lab_of_mesh() {
	need_root
	"$REPO/scripts/setup.sh"
	"$REPO/scripts/peers.sh" headscale tailscale >&2
	build_tree "$SANDD_BUILD"
	mesh_up
	hs_start
	mesh_gw_join gw1 1 || die "the gateway does not join"
	mesh_node sw 200
	(umask 077 && hs_key --reusable >"$LAB_DIR/sw/authkey")
}

swarm_begins() {
	mesh_run sw swarm "$SANDD_BUILD/tests/mesh/mesh_swarm" --server "$MESH_SERVER" \
		--authkey-file "$LAB_DIR/sw/authkey" --dir "$LAB_DIR/sw/states" --nodes "$NODES" --rate "$RATE" \
		--prefix swarm --within "$WITHIN_S" --hold "$1" --json
}

swarm_ended() {
	! kill -0 "${MESH_PID[sw/swarm]}" 2>/dev/null
}

# cost NAME LOG: CPU seconds and megabytes of what mesh_run started.
cost() {
	local pid=${MESH_PID[$1/$2]} hz

	hz=$(getconf CLK_TCK)
	awk -v hz="$hz" '{ sub(/.*\) /, ""); printf "%.1f ", ($12 + $13) / hz }' "/proc/$pid/stat"
	awk '/^VmRSS/ { printf "%d\n", $2 / 1024 }' "/proc/$pid/status"
}

peers_known() {
	mesh_ctl gw1 peers --json | jq '.peers | length'
}

knows() {
	[[ $(peers_known) == "$1" ]]
}

# --- mesh: kills ----------------------------------------------------------------------------------

who_is_it() {
	mesh_ctl gw1 status --json | jq -c '[.mesh.name, .mesh.addresses]'
}

soak_mesh() {
	local before id i seed=${SANDD_TEST_SEED:-$RANDOM} answered=no same=no all=no

	NODES=${NODES:-300}
	lab_of_mesh
	ts_join w1 21 || die "tailscaled does not join"
	wait_for 60 mesh_in w1 ping -q -c 1 -W 1 "$(mesh_gw_ip gw1 4)" || die "no packet gets through"
	before=$(who_is_it) id=$(hs_node_id gw1)
	say "... $KILLS kills, $NODES nodes (SANDD_TEST_SEED=$seed)"
	RANDOM=$seed
	swarm_begins 5
	mesh_run w1 pings ping -q -i 0.2 "$(mesh_gw_ip gw1 4)"
	for ((i = 1; i <= KILLS; i++)); do
		mesh_end gw1 gw KILL || true
		mesh_run gw1 gw "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/gw1/gw.yaml"
		sleep "$((RANDOM % 2)).$((RANDOM % 900 + 100))"
		((i % 10)) || say "    $i kills"
	done
	wait_for 60 mesh_gw_is gw1 streaming || die "the gateway does not come back: $(tail -n 3 "$LAB_DIR/gw1/gw.log")"
	wait_for 300 swarm_ended || die "the swarm does not end"
	! wait_for 60 knows $((NODES + 1)) || all=yes
	! wait_for 60 mesh_in w1 ping -q -c 3 -i 0.2 -W 1 "$(mesh_gw_ip gw1 4)" || answered=yes
	[[ $(who_is_it) != "$before" || $(hs_node_id gw1) != "$id" ]] || same=yes
	if ((JSON)); then
		printf '{"soak":"mesh","kills":%d,"nodes":%d,"same_node":"%s","knows_all":"%s","answers":"%s"}\n' \
			"$KILLS" "$NODES" "$same" "$all" "$answered"
	else
		echo "$KILLS kills, $NODES nodes: same node: $same; knows all: $all; answers: $answered"
	fi
	[[ $same$all$answered == yesyesyes ]]
}

# --- swarm ----------------------------------------------------------------------------------------

soak_swarm() {
	local gw_before gw hs start=$SECONDS

	NODES=${NODES:-2000}
	lab_of_mesh
	gw_before=$(cost gw1 gw)
	say "... $NODES nodes, $RATE a second"
	swarm_begins 5
	while ! swarm_ended; do
		sleep 10
		say "    $((SECONDS - start)) s: the gateway knows $(peers_known)"
	done
	wait_for 60 knows "$NODES" || die "the gateway knows $(peers_known) of $NODES; $(tail -n 2 "$LAB_DIR/sw/swarm.log")"
	gw=$(cost gw1 gw) hs=$(cost hs headscale)
	if ((JSON)); then
		jq -c --arg gw "$gw" --arg before "$gw_before" --arg hs "$hs" '{soak: "swarm", nodes, live_s,
			gateway_cpu_s: (($gw | split(" ")[0] | tonumber) - ($before | split(" ")[0] | tonumber)),
			gateway_rss_mb: ($gw | split(" ")[1] | tonumber), headscale_cpu_s: ($hs | split(" ")[0] | tonumber),
			headscale_rss_mb: ($hs | split(" ")[1] | tonumber), frames, bytes}' "$LAB_DIR/sw/swarm.log"
	else
		cat "$LAB_DIR/sw/swarm.log" >&2
		echo "gateway: CPU s, MB: before $gw_before, now $gw; Headscale: $hs"
	fi
}

main() {
	local what=${1:-}

	case $what in
	-h | --help) print_help; exit 0 ;;
	mesh | swarm) shift ;;
	*) die -2 "mesh or swarm? --help tells" ;;
	esac
	while (($#)); do
		case $1 in
		-h | --help) print_help; exit 0 ;;
		--kills | --nodes | --rate)
			[[ ${2:-} =~ ^[1-9][0-9]{0,4}$ ]] || die -2 "$1: a number, not '${2:-}'"
			printf -v "$(tr '[:lower:]' '[:upper:]' <<<"${1#--}")" %s "$2"
			shift ;;
		--json) JSON=1 ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	"soak_$what"
}

main "$@"
