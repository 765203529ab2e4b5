#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The tunnel against Debian's wireguard-go, on each port kind that a machine without a spare NIC has:
# both roles, both families, TCP each way by checksum, preshared key, wrong key, what the kernel keeps
# of the interface, and a clean end. Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TCP_MB=20
PEER_ENDPOINT="endpoint: $PEER_UNDER4:$PEER_PORT"

# gateway_is KIND [PEER LINES]: a fresh gateway, and a peer that knows nothing of it.
fresh_gateway() {
	gw_stop || true
	wg_forget 2>/dev/null || true
	gw_config "$@"
	gw_start
}

handshake_is_seen() {
	local since

	since=$(peer_json | jq .last_handshake)
	[[ $since != null && $since != 0 ]]
}

path_is() {
	peer_json | jq -e --arg path "$1" '.path == $path'
}

# The gateway knows where the peer is, and not the other way round: it speaks first.
gateway_initiates() {
	local kind=$1

	check "$kind: gateway starts" fresh_gateway "$kind" "$PEER_ENDPOINT"
	wg_peer
	check "$kind: initiator: ping v4" ping_from gw "$PEER4"
	check "$kind: initiator: ping v6" ping_from gw "$PEER6"
	check "$kind: initiator: handshake is shown" handshake_is_seen
	check "$kind: initiator: path is direct4" path_is direct4
	check "$kind: initiator: TCP out, $TCP_MB MB" tcp_transfer gw peer "$PEER4" "$TCP_MB"
	check "$kind: initiator: TCP in, $TCP_MB MB" tcp_transfer peer gw "$GW4" "$TCP_MB"
}

peer_initiates() {
	local kind=$1

	check "$kind: gateway starts without an endpoint" fresh_gateway "$kind"
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "$kind: responder: ping v4" ping_from peer "$GW4"
	check "$kind: responder: ping v6" ping_from peer "$GW6"
	check "$kind: responder: the endpoint was learned" ping_from gw "$PEER4"
	check "$kind: responder: TCP out over v6" tcp_transfer gw peer "$PEER6" "$TCP_MB"
	check "$kind: responder: TCP in over v6" tcp_transfer peer gw "$GW6" "$TCP_MB"
	check "$kind: responder: no rule for UDP" udp_is_filtered
}

# The underlay itself is IPv6: other headers, and a checksum that must be right.
over_ipv6() {
	local kind=$1

	check "$kind: gateway starts for IPv6" fresh_gateway "$kind" \
		"endpoint: \"[$PEER_UNDER6]:$PEER_PORT\""
	wg_peer
	check "$kind: IPv6 underlay: ping" ping_from gw "$PEER4"
	check "$kind: IPv6 underlay: path is direct6" path_is direct6
	check "$kind: IPv6 underlay: TCP out" tcp_transfer gw peer "$PEER4" "$TCP_MB"
	check "$kind: IPv6 underlay: TCP in" tcp_transfer peer gw "$GW4" "$TCP_MB"
}

udp_is_filtered() {
	local before

	before=$(drops filter_no_rule)
	in_peer "$REPO/tests/netns/hostile.py" garbage "$GW4" 7000 5
	drops_come_to filter_no_rule $((before + 5))
}

preshared_key() {
	local kind=$1

	check "$kind: gateway starts with a preshared key" fresh_gateway "$kind" \
		"preshared_key_file: $LAB_DIR/psk"
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "$kind: no tunnel without the preshared key" no_ping_from peer "$GW4"
	wg_forget
	wg_peer endpoint "$GW_UNDER4:$GW_PORT" preshared-key "$LAB_DIR/psk"
	check "$kind: preshared key: ping" ping_from peer "$GW4"
}

wrong_key() {
	local kind=$1 before

	check "$kind: gateway starts for a stranger" fresh_gateway "$kind"
	before=$(gwctl stats --json | jq .handshakes)
	in_peer wg set "$LAB_WG" private-key "$LAB_DIR/stranger.key"
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "$kind: a wrong key gets no tunnel" no_ping_from peer "$GW4"
	check "$kind: it was counted" drops_come_to handshake_unknown_peer 1
	check "$kind: and no session came of it" test "$before" = \
		"$(gwctl stats --json | jq .handshakes)"
	in_peer wg set "$LAB_WG" private-key "$LAB_DIR/peer.key"
	check "$kind: the right key again" ping_from peer "$GW4"
}

# The kernel keeps the interface: its own address answers, while the tunnel works.
kernel_keeps_interface() {
	local kind=$1

	check "$kind: ping to the interface's own address" ping_from peer "$GW_UNDER4"
	check "$kind: ping to its IPv6 address" ping_from peer "$GW_UNDER6"
	check "$kind: TCP to the interface's own address" \
		tcp_transfer peer gw "$GW_UNDER4" "$TCP_MB"
	check "$kind: the tunnel lives on" ping_from peer "$GW4"
}

leaves_nothing() {
	local kind=$1 code=0

	gw_stop || code=$?
	check "$kind: SIGTERM ends with 0" test "$code" = 0
	check "$kind: no interface is left" test ! -e "/proc/sys/net/ipv4/conf/sandd0" -a \
		-z "$(in_gw ip -o link show sandd0 2>/dev/null)"
	check "$kind: no XDP program is left" no_xdp
	check "$kind: no socket of the tunnel is left" no_udp_socket
	check "$kind: no API socket is left" test ! -e "$LAB_DIR/api.sock"
}

no_xdp() {
	! in_gw ip -d link show under0 | grep -E 'xdp'
}

no_udp_socket() {
	! in_gw ss -Hlun "sport = :$GW_PORT" | grep .
}

main() {
	local kind

	need_lab "tunnel"
	lab_up
	wg_start
	for kind in af_xdp af_packet; do
		gateway_initiates "$kind"
		peer_initiates "$kind"
		kernel_keeps_interface "$kind"
		over_ipv6 "$kind"
		preshared_key "$kind"
		wrong_key "$kind"
		leaves_nothing "$kind"
	done
	exit "$FAILED"
}

main "$@"
