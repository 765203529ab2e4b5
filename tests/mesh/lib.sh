# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the suites of tests/mesh share: the lab (scripts/mesh-lib.sh, drawn there) and TAP lines.

# shellcheck source=../netns/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../netns/lib.sh"
# shellcheck source=../../scripts/mesh-lib.sh
. "$REPO/scripts/mesh-lib.sh"

# shellcheck disable=SC2034 # mesh-lib.sh's
PINGS=$REPO/tests/netns/pings.py

# mesh_check NAME CMD...: as check, and what gateways said at the end if it failed.
mesh_check() {
	local name=$1 file

	shift
	if "$@" >"$LAB_DIR/output" 2>&1; then
		echo "ok - $name"
		return
	fi
	echo "not ok - $name"
	tail -n 15 "$LAB_DIR/output" | sed 's/^/# /'
	for file in "$LAB_DIR"/*/gw.log; do
		[[ ! -e $file ]] || { echo "# ${file#"$LAB_DIR"/}:"; tail -n 12 "$file" | sed 's/^/#   /'; }
	done
	# shellcheck disable=SC2034 # the exit code of the suite
	FAILED=1
}

need_mesh() {
	((EUID == 0)) || { skip "$1" "needs root"; exit 0; }
	[[ -c /dev/net/tun ]] || { skip "$1" "no /dev/net/tun"; exit 0; }
	[[ -x $HEADSCALE ]] || { skip "$1" "no headscale; scripts/peers.sh headscale tells why"; exit 0; }
	[[ -x $TAILSCALED ]] || { skip "$1" "no tailscaled; scripts/peers.sh tailscale tells why"; exit 0; }
}

# ping_to FROM ADDRESS: three answers, in spite of first ones that wait for a path.
ping_to() {
	mesh_in "$1" ping -q -i 0.2 -c 3 -w "${3:-30}" "$2"
}

no_ping_to() {
	! mesh_in "$1" ping -q -i 0.2 -c 4 -w 2 "$2"
}

# serve NAME ADDRESS PORT: a TCP listener that says hello; sets nothing, ends with the lab.
serve() {
	mesh_run "$1" "tcp-$3" python3 -c '
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
while True:
    try:
        with server.accept()[0] as peer:
            peer.sendall(b"hello")
    except OSError:
        pass' "$2" "$3"
	wait_for 30 serves "$1" "$3"
}

serves() {
	mesh_in "$1" ss -Hltn "sport = :$2" | grep -q .
}

# tcp_to FROM ADDRESS PORT: does it say hello?
tcp_to() {
	[[ $(mesh_in "$1" timeout 4 python3 -c '
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as peer:
    print(peer.recv(9).decode())' "$2" "$3" 2>/dev/null) == hello ]]
}

no_tcp_to() {
	! tcp_to "$@"
}

# In these names for tcp_transfer of the other labs: it calls in_NAME.
for name in gw1 gw2 w1 w2; do
	eval "in_$name() { mesh_in $name \"\$@\"; }"
done

# gw_says NAME JQ-FILTER: of its status.
gw_says() {
	mesh_ctl "$1" status --json | jq -e "$2"
}

# peer_says GATEWAY PEER JQ-FILTER
peer_says() {
	mesh_ctl "$1" peers "$2" --json | jq -e "$3"
}
