#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# See it work, from nothing: install packages, build, make two network namespaces, start the gateway
# in one and a daemon behind wireguard-go in the other, and run commands on the daemon through the
# tunnel. Cleans up after itself. As root, on Debian 12.
#
#   scripts/quickstart.sh             show it
#   scripts/quickstart.sh --keep      and leave it running; prints how to look around
#   scripts/quickstart.sh --stop      end what --keep left running
#   scripts/quickstart.sh --json      end with one line of JSON on standard output
#   scripts/quickstart.sh --mesh      the same in a mesh: a real Headscale, a worker with a real tailscaled
#                                     (fetches them first; --json and --keep as above)
#
# The gateway's port is af_xdp, or af_packet where the kernel does not let it (it says so). A second
# run finds packages and build, and takes seconds. The topology is drawn in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lab-lib.sh"

WORKER=worker-1
IPERF_S=3
IPERF_PORT=5201

step() {
	say ""
	say "== $*"
}

prepare() {
	step "packages"
	"$REPO/scripts/setup.sh"
	step "build"
	build_tree "$SANDD_BUILD"
	[[ -c /dev/net/tun ]] || make_tun_node
}

# A container or a fresh root may lack the node of a driver that the kernel has.
make_tun_node() {
	mkdir -p /dev/net
	mknod /dev/net/tun c 10 200 2>/dev/null ||
		die "no /dev/net/tun: load the module tun, or give the container the device"
}

start_all() {
	step "two namespaces: $LAB_GW and $LAB_PEER"
	gw_start_any
	say "    sandd-gw runs, port kind $GW_KIND"
	wg_start || { tail -n 5 "$LAB_DIR/wg.log" >&2; die "wireguard-go does not start"; }
	wg_peer endpoint "$GW_UNDER4:$GW_PORT" persistent-keepalive 25
	say "    wireguard-go runs: $PEER_UNDER4 dials $GW_UNDER4:$GW_PORT, inside it is $PEER4"
	daemon_start "$WORKER"
	say "    sandd runs as $WORKER, connected to ws://$GW4:8765/ws through the tunnel"
}

# Sets EXEC_MS, and leaves the output in LAB_DIR/exec.
run_commands() {
	local before after

	step "sandctl exec $WORKER -- hostname"
	before=${EPOCHREALTIME/[.,]/}
	gwctl exec "$WORKER" -- hostname >"$LAB_DIR/exec"
	after=${EPOCHREALTIME/[.,]/}
	EXEC_MS=$(((after - before) / 1000)).$(printf %03d $(((after - before) % 1000)))
	show_file "$LAB_DIR/exec"
	say "    ($EXEC_MS ms)"
	step "sandctl exec $WORKER -- uname -sr"
	gwctl exec "$WORKER" -- uname -sr >"$LAB_DIR/exec2"
	show_file "$LAB_DIR/exec2"
}

show_file() {
	sed 's/^/    /' "$1" >&2
}

# Sets TCP_GBPS: from the worker to the gateway's mesh address.
run_iperf() {
	local server

	step "iperf3 through the tunnel, $IPERF_S s"
	"${GW_EXEC[@]}" iperf3 --server --one-off --bind "$GW4" --port "$IPERF_PORT" \
		>"$LAB_DIR/iperf.log" 2>&1 &
	server=$!
	LAB_PIDS+=("$server")
	wait_for 5 iperf_listens || die "iperf3 does not listen: $(tail -n 1 "$LAB_DIR/iperf.log")"
	in_peer iperf3 --client "$GW4" --port "$IPERF_PORT" --time "$IPERF_S" --json \
		>"$LAB_DIR/iperf.json" ||
		die "iperf3: $(jq -r '.error // "failed"' "$LAB_DIR/iperf.json")"
	wait "$server" || true
	TCP_GBPS=$(jq '.end.sum_received.bits_per_second / 1e7 | round / 100' "$LAB_DIR/iperf.json")
	say "    $TCP_GBPS Gb/s"
}

iperf_listens() {
	in_gw ss -Hltn "sport = :$IPERF_PORT" | grep -q .
}

show_state() {
	step "sandctl peers"
	gwctl peers >"$LAB_DIR/peers"
	show_file "$LAB_DIR/peers"
	step "sandctl stats"
	gwctl stats >"$LAB_DIR/stats"
	show_file "$LAB_DIR/stats"
}

print_json() {
	gwctl stats --json | jq -c --arg worker "$WORKER" --rawfile out "$LAB_DIR/exec" \
		--argjson ms "$EXEC_MS" --argjson gbps "$TCP_GBPS" --arg kind "$GW_KIND" '
		{worker: $worker, exec_stdout: $out, exec_ms: $ms, tcp_gbps: $gbps, port_kind: $kind,
		 handshakes, sealed_pkts: ([.workers[].sealed_pkts] | add),
		 opened_pkts: ([.workers[].opened_pkts] | add)}'
}

say_next() {
	cat >&2 <<-EOF

		== next
		    scripts/quickstart.sh --keep        leave it running and look around
		    scripts/lab.sh                      a shell beside a gateway and a peer
		    scripts/test.sh                     every test
		    scripts/bench.sh pipeline           what a packet costs
		    README.md                           where to look first
	EOF
}

# Nothing of this shell holds what it started: it stays until --stop.
keep() {
	trap - EXIT INT TERM HUP
	disown -a
	cat >&2 <<-EOF

		== it stays; look around:
		    export SANDD_GW_SOCKET=$LAB_DIR/api.sock PATH=$SANDD_BUILD/control:\$PATH
		    sandctl status
		    sandctl exec $WORKER -- cat /etc/os-release
		    ip netns exec $LAB_PEER wg show
		    ip netns exec $LAB_PEER ping $GW4
		    less $LAB_DIR/gw.log $LAB_DIR/gw.yaml
		== stop it:
		    scripts/quickstart.sh --stop
	EOF
}

main() {
	local keep=0 json=0 mesh=0

	while (($#)); do
		case $1 in
		--keep) keep=1 ;;
		--json) json=1 ;;
		--mesh) mesh=1 ;;
		--stop) need_root; lab_stop_kept || die "nothing is running"; exit 0 ;;
		-h | --help) print_help; exit 0 ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	need_root
	if ((keep)) && [[ -d $LAB_KEEP_DIR ]]; then
		die "one is running already; stop it first: scripts/quickstart.sh --stop"
	fi
	prepare
	if ((mesh)); then
		"$REPO/scripts/peers.sh" headscale tailscale
		. "$REPO/scripts/mesh-lib.sh"
		. "$REPO/scripts/quickstart-mesh.sh"
		quickstart_mesh "$keep" "$json"
		return
	fi
	if ((keep)); then lab_up keep; else lab_up; fi
	start_all
	run_commands
	run_iperf
	show_state
	((!json)) || print_json
	if ((keep)); then keep; else say_next; fi
}

main "$@"
