#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two gateways and two real tailscaled nodes in one mesh of a real Headscale: every pair reaches every other, by IPv4 and
# IPv6, by TCP with checksums, by name; daemons (ours and SandD's) come through; each sees the other as it should.
# Topology in scripts/mesh-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

NODES=(gw1 gw2 w1 w2)
declare -A IP4 IP6

addresses() {
	local name

	for name in gw1 gw2; do
		IP4[$name]=$(mesh_gw_ip "$name" 4) IP6[$name]=$(mesh_gw_ip "$name" 6)
	done
	for name in w1 w2; do
		IP4[$name]=$(ts_ip "$name" 4) IP6[$name]=$(ts_ip "$name" 6)
	done
	for name in "${NODES[@]}"; do
		echo "$name ${IP4[$name]} ${IP6[$name]}"
		[[ ${IP4[$name]} == 100.64.* && ${IP6[$name]} == fd7a:* ]] || return 1
	done
}

all_pairs() {
	local from to

	for from in "${NODES[@]}"; do
		for to in "${NODES[@]}"; do
			[[ $from != "$to" && ${from%?}${to%?} != ww ]] || continue
			mesh_check "ping $from -> $to, IPv4" ping_to "$from" "${IP4[$to]}"
			mesh_check "ping $from -> $to, IPv6" ping_to "$from" "${IP6[$to]}"
		done
	done
}

transfers() {
	mesh_check "TCP w1 -> gw1" tcp_transfer w1 gw1 "${IP4[gw1]}" 10
	mesh_check "TCP gw1 -> w1, IPv6" tcp_transfer gw1 w1 "${IP6[w1]}" 10
	mesh_check "TCP gw2 -> gw1" tcp_transfer gw2 gw1 "${IP4[gw1]}" 10
	mesh_check "TCP w2 -> gw2, IPv6" tcp_transfer w2 gw2 "${IP6[gw2]}" 10
}

nodes_list() {
	hs nodes list -o json | jq -r '.[] | "\(.given_name) \(.ip_addresses | join(" ")) online=\(.online)"'
	[[ $(hs nodes list -o json | jq '[.[] | select(.online)] | length') == 4 ]]
}

# What tailscale says of the gateway, and the gateway of the worker.
directly() {
	ts w1 status --json | jq -e --arg ip "${IP4[gw1]}" \
		'.Peer[] | select(.TailscaleIPs[0] == $ip) | .CurAddr | startswith("192.0.2.1:") or startswith("[2001:db8::1]:")'
	peer_says gw1 w1 '.path == "direct4" or .path == "direct6"'
	peer_says gw1 w1 '.online == true and .owner == "ops" and .rtt_ms > 0 and .handshakes > 0'
}

operators() {
	mesh_ctl gw1 ping w1 | grep "pong from w1 via .*:41641 in" || return 1
	mesh_ctl gw1 ping gw2.mesh.lab. --count 2 || return 1
	mesh_ctl gw1 whois "${IP4[w2]}" | grep w2.mesh.lab || return 1
	[[ $(mesh_ctl gw1 ip w2 | head -n 1) == "${IP4[w2]}" ]] || return 1
	[[ $(mesh_ctl gw1 ip | head -n 1) == "${IP4[gw1]}" ]] || return 1
	! mesh_ctl gw1 ping nobody && ! mesh_ctl gw1 whois 100.64.9.9
}

# The controller listens on the mesh's addresses; names lead there.
by_name() {
	local host

	mesh_daemon_start w1 ours ws://gw1.mesh.lab:8765/ws
	wait_for 60 mesh_daemon_is_there gw1 ours || { cat "$LAB_DIR/w1/sandd-ours.log"; return 1; }
	host=$(mesh_ctl gw1 exec ours -- hostname) && [[ $host == ours ]] || return 1
	mesh_ctl gw1 daemons --json | jq -e '.daemons[] | select(.id == "ours") | .node.name == "w1.mesh.lab"'
}

by_address() {
	mesh_run w1 sandd-real "$MESH_PEERS/sandd-daemon/bin/sandd" \
		--server-url "ws://${IP4[gw1]}:8765/ws" --daemon-id real
	wait_for 60 mesh_daemon_is_there gw1 real || { cat "$LAB_DIR/w1/sandd-real.log"; return 1; }
	[[ $(mesh_ctl gw1 exec real -- echo through) == through ]]
}

# An id that a node holds is refused to another.
id_is_kept() {
	mesh_daemon_start w2 ours "ws://${IP4[gw1]}:8765/ws"
	wait_for 30 grep -q "held by node w1.mesh.lab" "$LAB_DIR/gw1/gw.log" || return 1
	mesh_ctl gw1 daemons --json | jq -e '.daemons[] | select(.id == "ours") | .node.name == "w1.mesh.lab"'
	[[ $(mesh_ctl gw1 exec ours -- echo same) == same ]]
}

healthy() {
	gw_says gw1 '.mesh.health == [] and .mesh.state == "streaming" and .mesh.nodes == 3' ||
		{ mesh_ctl gw1 status; return 1; }
	mesh_ctl gw1 status && mesh_ctl gw1 peers && mesh_ctl gw1 filter
}

events() {
	mesh_ctl gw1 events --json >"$LAB_DIR/events" &
	LAB_PIDS+=($!)
	sleep 0.5
	hs nodes rename -i "$(hs_node_id w2)" other >/dev/null
	wait_for 30 grep -q '"name":"other.mesh.lab"' "$LAB_DIR/events" || { cat "$LAB_DIR/events"; return 1; }
	wait_for 10 mesh_ctl gw1 ip other
	hs nodes rename -i "$(hs_node_id other)" w2 >/dev/null
}

# ask_name FROM RESOLVER NAME [tcp]: the IPv4 address that it says; fails without an answer.
ask_name() {
	mesh_in "$1" python3 -c '
import socket, struct, sys
resolver, name, how = sys.argv[1:4]
family = socket.AF_INET6 if ":" in resolver else socket.AF_INET
query = struct.pack("!6H", 77, 0x100, 1, 0, 0, 0)
query += b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + struct.pack("!B2H", 0, 1, 1)
if how == "tcp":
    with socket.create_connection((resolver, 53), 3) as peer:
        peer.sendall(struct.pack("!H", len(query)) + query)
        answer = peer.recv(2048)[2:]
else:
    with socket.socket(family, socket.SOCK_DGRAM) as peer:
        peer.settimeout(3)
        peer.connect((resolver, 53))
        peer.send(query)
        answer = peer.recv(2048)
number, flags, _, n_answers, *_ = struct.unpack("!6H", answer[:12])
assert number == 77 and flags & 0x8000 and n_answers >= 1, answer
print(socket.inet_ntoa(answer[-4:]))' "$2" "$3" "${4:-udp}"
}

resolver() {
	[[ $(ask_name gw1 "${IP4[gw1]}" w1.mesh.lab) == "${IP4[w1]}" ]] &&
		[[ $(ask_name gw1 "${IP6[gw1]}" w1.mesh.lab) == "${IP4[w1]}" ]] &&
		[[ $(ask_name gw1 "${IP4[gw1]}" gw2.mesh.lab tcp) == "${IP4[gw2]}" ]]
}

no_resolver() {
	! ask_name w1 "${IP4[gw1]}" w1.mesh.lab && ! ask_name w1 "${IP4[gw1]}" w1.mesh.lab tcp &&
		gw_says gw1 '.mesh.dns.refused >= 2 and .mesh.dns.answered >= 3'
}

main() {
	need_mesh "mesh pairs"
	mesh_up
	mesh_check "Headscale runs" hs_start
	mesh_check "gw1 joins" mesh_gw_join gw1 1 "dns: on"
	MESH_KIND=af_packet mesh_check "gw2 joins, on af_packet" mesh_gw_join gw2 2
	mesh_check "w1 joins" ts_join w1 21
	mesh_check "w2 joins" ts_join w2 22
	mesh_check "addresses" addresses
	mesh_check "Headscale lists four nodes" nodes_list
	all_pairs
	transfers
	mesh_check "paths are direct on both sides" directly
	mesh_check "what operators ask" operators
	mesh_check "our daemon, by the gateway's name" by_name
	mesh_check "SandD's daemon, by its address" by_address
	mesh_check "a daemon's id belongs to its node" id_is_kept
	mesh_check "a node is renamed, and events tell" events
	mesh_check "the resolver answers this machine" resolver
	mesh_check "the resolver answers nobody else" no_resolver
	mesh_check "healthy" healthy
	mesh_check "gw1 ends cleanly" mesh_end gw1 gw
	mesh_check "gw2 ends cleanly" mesh_end gw2 gw
	exit "$FAILED"
}

main "$@"
