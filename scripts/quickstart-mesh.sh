# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# The quick start in a mesh, for quickstart.sh, which sources it after lab-lib.sh and mesh-lib.sh (topology there): Headscale,
# the policy that sandd-gw prints, pre-auth keys of it, a gateway, a worker with tailscaled and sandd that dials the
# gateway by its name in the mesh.

GATEWAY=gw1
WORKER_NODE=w1

start_mesh() {
	step "a mesh: Headscale"
	hs_start
	"$SANDD_BUILD/control/sandd-gw" policy --user ops >"$LAB_DIR/policy.hujson"
	say "    sandd-gw policy --user ops | headscale policy set: daemons see the gateways, and nothing else"
	hs policy set -f "$LAB_DIR/policy.hujson" >/dev/null
	step "the gateway: sandd-gw, with a key for tag:gateway"
	MESH_KEY_ARGS="--tags tag:gateway" mesh_gw_join "$GATEWAY" 1 || die "the gateway is not in the mesh"
	mesh_ctl "$GATEWAY" status >"$LAB_DIR/status"
	show_file "$LAB_DIR/status"
	step "the worker: tailscaled, with a key for tag:sandd; sandd, dialling $GATEWAY by name"
	MESH_KEY_ARGS="--tags tag:sandd" ts_join "$WORKER_NODE" 21 --accept-dns=true ||
		{ tail -n 10 "$LAB_DIR/$WORKER_NODE/tailscaled.log" >&2; die "tailscaled is not in the mesh"; }
	mesh_daemon_start "$WORKER_NODE" "$WORKER" "ws://$GATEWAY.mesh.lab:8765/ws"
	wait_for 60 mesh_daemon_is_there "$GATEWAY" "$WORKER" ||
		{ tail -n 20 "$LAB_DIR/$WORKER_NODE/sandd-$WORKER.log" "$LAB_DIR/$GATEWAY/gw.log" >&2
			die "the daemon does not come through"; }
	say "    $WORKER is connected to ws://$GATEWAY.mesh.lab:8765/ws through the mesh"
}

show_mesh() {
	step "headscale nodes list"
	hs nodes list -o json | jq -r '.[] | [.id, .given_name, (.ip_addresses | join(" ")),
		(.tags // .forced_tags // [] | join(" ")), (if .online then "online" else "offline" end)] | @tsv' \
		>"$LAB_DIR/nodes"
	show_file "$LAB_DIR/nodes"
	step "sandctl peers"
	mesh_ctl "$GATEWAY" peers >"$LAB_DIR/peers"
	show_file "$LAB_DIR/peers"
	step "sandctl ping $WORKER_NODE"
	mesh_ctl "$GATEWAY" ping "$WORKER_NODE" >"$LAB_DIR/ping"
	show_file "$LAB_DIR/ping"
	step "sandctl exec $WORKER -- hostname"
	mesh_ctl "$GATEWAY" exec "$WORKER" -- hostname >"$LAB_DIR/exec"
	show_file "$LAB_DIR/exec"
}

print_mesh_json() {
	jq -cn --arg worker "$WORKER" --arg node "$(mesh_ctl "$GATEWAY" status --json | jq -r .mesh.name)" \
		--arg ip "$(mesh_gw_ip "$GATEWAY" 4)" --rawfile out "$LAB_DIR/exec" \
		--argjson online "$(mesh_ctl "$GATEWAY" peers --json | jq '[.peers[] | select(.online)] | length')" \
		'{worker: $worker, node: $node, mesh_ip: $ip, exec_stdout: $out, peers_online: $online}'
}

keep_mesh() {
	trap - EXIT INT TERM HUP
	disown -a
	cat >&2 <<-EOF

		== it stays; look around:
		    export SANDD_GW_SOCKET=$LAB_DIR/$GATEWAY/api.sock PATH=$SANDD_BUILD/control:\$PATH
		    sandctl status; sandctl peers; sandctl filter; sandctl events
		    sandctl exec $WORKER -- cat /etc/os-release
		    $HEADSCALE -c $LAB_DIR/hs/config.yaml nodes list
		    ip netns exec sandd-$LAB_ID-$WORKER_NODE $TAILSCALE --socket=$LAB_DIR/$WORKER_NODE/ts.sock status
		== stop it:
		    scripts/quickstart.sh --stop
	EOF
}

# quickstart_mesh KEEP JSON
quickstart_mesh() {
	if (($1)); then mesh_up keep; else mesh_up; fi
	start_mesh
	show_mesh
	((!$2)) || print_mesh_json
	if (($1)); then keep_mesh; else say_next; fi
}
