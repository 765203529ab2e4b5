#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# An interface with two receive queues, two workers, and several real peers: each queue has its socket, each
# worker its packets, and a peer whose packets come by the other worker's queue is served all the same.
# Needs root; topology in scripts/lab-lib.sh, with more peers in the peer's namespace.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

QUEUES=2
PEERS=4

# underlay_make QUEUES
underlay_make() {
	in_gw ip link add under0 numrxqueues "$1" numtxqueues "$1" type veth \
		peer name under0 netns "$LAB_PEER" numrxqueues "$1" numtxqueues "$1"
	lab_address gw under0 "$GW_UNDER4/24" "$GW_UNDER6/64"
	lab_address peer under0 "$PEER_UNDER4/24" "$PEER_UNDER6/64"
	in_peer ethtool -K under0 gso off tx-udp-segmentation off >/dev/null 2>&1 || true
}

# Peer N is 10.9.0.(10+N) with a table of its own for what leaves from there.
peers_config() {
	local n

	gw_config "$1"
	sed -i "s/^workers:.*/workers: {cpus: [0, $(lab_worker_cpu)]}/" "$LAB_DIR/gw.yaml"
	for ((n = 1; n <= PEERS; n++)); do
		(umask 077; wg genkey >"$LAB_DIR/peer$n.key")
		wg pubkey <"$LAB_DIR/peer$n.key" >"$LAB_DIR/peer$n.pub"
		cat >>"$LAB_DIR/gw.yaml" <<-EOF
			  - name: several-$n
			    public_key: $(<"$LAB_DIR/peer$n.pub")
			    allowed_ips: [10.9.0.$((10 + n))/32]
		EOF
	done
}

peer_knows_gateway() {
	in_peer wg set "$LAB_WG-$1" peer "$(<"$LAB_DIR/gw.pub")" allowed-ips "$GW4/32" \
		endpoint "$GW_UNDER4:$GW_PORT"
}

# A session with a gateway that has restarted is none.
peers_forget_sessions() {
	local n

	for ((n = 1; n <= PEERS; n++)); do
		in_peer wg set "$LAB_WG-$n" peer "$(<"$LAB_DIR/gw.pub")" remove
		peer_knows_gateway "$n"
	done
}

peer_start() {
	local n=$1 dev=$LAB_WG-$1

	WG_PROCESS_FOREGROUND=1 "${PEER_EXEC[@]}" wireguard-go "$dev" >>"$LAB_DIR/wg.log" 2>&1 &
	LAB_PIDS+=($!)
	wait_for 60 in_peer wg show "$dev" || return 1
	in_peer wg set "$dev" listen-port $((PEER_PORT + n)) private-key "$LAB_DIR/peer$n.key"
	peer_knows_gateway "$n"
	in_peer ip link set "$dev" mtu "$LAB_MTU" up
	in_peer ip addr add "10.9.0.$((10 + n))/32" dev "$dev"
	in_peer ip route add "$GW4/32" dev "$dev" table $((100 + n))
	in_peer ip rule add from "10.9.0.$((10 + n))" table $((100 + n))
}

peers_start() {
	local n

	for ((n = 1; n <= PEERS; n++)); do
		peer_start "$n" || return 1
	done
}

peer_pings() {
	in_peer ping -q -i 0.05 -c "${2:-5}" -w 30 -I "10.9.0.$((10 + $1))" "$GW4"
}

all_ping() {
	local n

	for ((n = 1; n <= PEERS; n++)); do
		peer_pings "$n" || { echo "peer $n"; return 1; }
	done
}

# worker_counter N FIELD
worker_counter() {
	gwctl stats --json | jq -e ".workers[$1].$2"
}

# Which worker's queue do peer N's packets come by?
worker_of_packets() {
	local before after

	before=$(worker_counter 1 rx_pkts)
	peer_pings "$1" 5 >/dev/null || return 1
	after=$(worker_counter 1 rx_pkts)
	((after - before >= 5)) && echo 1 || echo 0
}

# The sender's kernel picks a queue by the flow; another source port is another flow. Until peer 1 has
# come by both.
both_queues_are_served() {
	local try seen="" worker

	for ((try = 0; try < 24; try++)); do
		in_peer wg set "$LAB_WG-1" listen-port $((PEER_PORT + 100 + try))
		worker=$(worker_of_packets 1) || { echo "no answer from port $try"; return 1; }
		seen+=$worker
		[[ $seen != *0*1* && $seen != *1*0* ]] || { echo "queues: $seen"; return; }
	done
	echo "always the same queue: $seen"
	return 1
}

handed_over() {
	local n=$(($(worker_counter 0 handed_over_pkts) + $(worker_counter 1 handed_over_pkts)))

	echo "handed over: $n"
	((n > 0))
}

# With the lab's own peer they are five.
owners_are_spread() {
	local spread

	spread=$(gwctl peers --json | jq -c '[.peers[].lcore] | group_by(.) | map(length) | sort')
	echo "peers per worker: $spread"
	[[ $spread == "[2,3]" ]]
}

many_at_once() {
	local n pids=() code=0

	for ((n = 1; n <= PEERS; n++)); do
		no_ping_is_lost peer --from "10.9.0.$((10 + n))" 0.002 500 "$GW4" >"$LAB_DIR/ping$n" 2>&1 &
		pids+=($!)
	done
	for n in "${pids[@]}"; do
		wait "$n" || code=1
	done
	cat "$LAB_DIR"/ping[0-9]*
	return "$code"
}

queues_come_back() {
	in_gw ip link del under0
	wait_for 30 port_is gone || return 1
	underlay_make "$QUEUES"
	wait_for 30 port_is up || return 1
	all_ping
}

port_is() {
	gwctl status --json | jq -e --arg state "$1" '.tunnel.ports[0].state == $state'
}

one_queue_is_told() {
	gw_stop
	in_gw ip link del under0
	underlay_make 1
	: >"$LAB_DIR/gw.log"
	gw_start || return 1
	peers_forget_sessions
	grep "under0: 1 receive queue(s) for 2 workers" "$LAB_DIR/gw.log"
}

main() {
	need_lab "queues"
	lab_up
	in_gw ip link del under0
	underlay_make "$QUEUES"
	peers_config af_xdp
	check "gateway starts, $QUEUES queues and 2 workers" gw_start
	check "no caution of few queues" eval '! grep "receive queue" "$LAB_DIR/gw.log"'
	check "$PEERS peers start" peers_start
	check "all of them reach it" all_ping
	check "their owners are spread" owners_are_spread
	check "a peer is served by whichever queue it comes" both_queues_are_served
	check "strangers were handed over" handed_over
	check "all at once, nothing lost" many_at_once
	check "the interface deleted and made again: both queues are back" queues_come_back
	check "a peer is served by whichever queue it comes" both_queues_are_served
	check "an interface with fewer queues than workers is told of" one_queue_is_told
	check "and all of them reach it" all_ping
	exit "$FAILED"
}

main "$@"
