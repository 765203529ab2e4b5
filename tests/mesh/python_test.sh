#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The Python package with connect="tunnel": it starts a gateway, which joins a real Headscale, and runs commands on a
# daemon beside tailscaled; then the same over a gateway that runs already. Topology in scripts/mesh-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# What a user writes, and a word after each step.
program() {
	cat <<-'EOF'
		import sys
		from sandd import Server, TunnelConfig

		with open(sys.argv[1], encoding="ascii") as key:
		    config = TunnelConfig(authkey=key.read().strip(), server=sys.argv[2])
		assert "hskey" not in repr(config)
		with Server(connect="tunnel", tunnel_config=config) as server:
		    while not server.address:
		        server.list_daemons()
		    print("address", server.address, flush=True)
		    print("name", server.name, flush=True)
		    assert server.wait_for_daemon("worker-1", timeout=60)
		    assert [daemon.id for daemon in server.list_daemons()] == ["worker-1"]
		    assert server.daemon_count() == 1
		    result = server.exec("worker-1", "hostname; echo $WORD", env={"WORD": "yes"})
		    assert result.success and result.stdout == "worker-1\nyes\n", result
		    every = server.broadcast(None, "exit 3")
		    assert every["worker-1"].exit_code == 3, every
		    print("done", flush=True)
	EOF
}

# python_begins LOG SOCKET: the program in gw1, with the gateway of this socket if there is one.
python_begins() {
	program >"$LAB_DIR/gw1/program.py"
	mesh_run gw1 "$1" env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$REPO/python" SANDD_GW_DEVICE=under0 \
		SANDD_GW="$SANDD_BUILD/control/sandd-gw" SANDD_GW_STATE="$LAB_DIR/gw1/state" SANDD_GW_SOCKET="$2" \
		python3 "$LAB_DIR/gw1/program.py" "$LAB_DIR/gw1/authkey" "$MESH_SERVER"
}

said() {
	grep -q "^$2" "$LAB_DIR/gw1/$1.log"
}

# ended LOG: well, with all said.
ended() {
	wait "${MESH_PID[gw1/$1]}" || { tail -n 5 "$LAB_DIR/gw1/$1.log"; return 1; }
	unset "MESH_PID[gw1/$1]"
	said "$1" "done"
}

starts_one() {
	local address

	mesh_gw_key gw1 "$(hs_key)"
	python_begins first "$LAB_DIR/gw1/nobody.sock"
	wait_for 60 said first name || { tail -n 5 "$LAB_DIR/gw1/first.log"; return 1; }
	address=$(sed -n 's/^address //p' "$LAB_DIR/gw1/first.log")
	mesh_daemon_start w1 worker-1 "ws://$address/ws"
	# what it started has gone with it
	ended first && ! mesh_in gw1 ip link show sandd0 >/dev/null 2>&1
}

# With its identity, at its address: the daemon comes back by itself.
uses_one() {
	mesh_gw_config gw1
	mesh_gw_start gw1 && wait_for 60 mesh_gw_is gw1 streaming || return 1
	python_begins second "$LAB_DIR/gw1/api.sock"
	ended second || return 1
	[[ $(sed -n 's/^address //p' "$LAB_DIR/gw1/first.log") == $(sed -n 's/^address //p' "$LAB_DIR/gw1/second.log") ]]
	mesh_gw_is gw1 streaming
}

main() {
	need_mesh "mesh python"
	mesh_up
	hs_start
	mesh_node gw1 1
	mesh_check "w1 joins" ts_join w1 21
	mesh_check "a gateway that it starts" starts_one
	mesh_check "a gateway that runs" uses_one
	mesh_check "no key in a log" eval '! grep -rq "$(cat "$LAB_DIR/gw1/authkey")" "$LAB_DIR"/gw1/*.log'
	mesh_check "the gateway ends cleanly" mesh_end gw1 gw
	exit "$FAILED"
}

main "$@"
