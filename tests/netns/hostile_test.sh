#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a stranger, or a peer gone bad, may send: each kind is dropped and counted under its reason,
# the tunnel lives on, its endpoint does not move. Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

COUNT=50

hostile() {
	in_peer "$REPO/tests/netns/hostile.py" "$@"
}

# is_counted KIND REASON ADDRESS: all of them, under this reason.
is_counted() {
	local kind=$1 reason=$2 address=$3 before

	before=$(drops "$reason")
	hostile "$kind" "$address" "$GW_PORT" "$COUNT"
	drops_come_to "$reason" $((before + COUNT))
}

# A real message of the peer, again (the first one was taken) or with another counter.
real_message_again() {
	local kind=$1 reason=$2 before

	before=$(drops "$reason")
	hostile_start "$kind" "$GW_UNDER4" "$GW_PORT" "$COUNT" under0 || return 1
	ping_from peer "$GW4"
	wait "$HOSTILE_PID"
	drops_come_to "$reason" $((before + COUNT))
}

lying_inner_length() {
	local before

	before=$(drops bad_inner)
	hostile bad_inner "$GW4" 0 "$COUNT" "$LAB_WG"
	drops_come_to bad_inner $((before + COUNT))
}

wrong_inner_source() {
	local before

	before=$(drops wrong_source)
	in_peer ip addr add 10.9.0.77/32 dev "$LAB_WG"
	in_peer ping -q -I 10.9.0.77 -i 0.2 -c 5 -W 1 "$GW4" || true
	in_peer ip addr del 10.9.0.77/32 dev "$LAB_WG"
	drops_come_to wrong_source $((before + 5))
}

endpoint_is_unmoved() {
	peer_json | jq -e --arg at "$PEER_UNDER4:$PEER_PORT" '.endpoint == $at'
}

log_is_short() {
	local lines

	lines=$(wc -l <"$LAB_DIR/gw.log")
	echo "$lines lines"
	((lines < 50))
}

main() {
	local address

	need_lab "hostile packets"
	lab_up
	wg_start
	gw_config af_xdp
	check "gateway starts" gw_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "tunnel is up" ping_from peer "$GW4"
	for address in "$GW_UNDER4" "$GW_UNDER6"; do
		check "$address: empty datagrams" is_counted empty unknown_type "$address"
		check "$address: garbage" is_counted garbage unknown_type "$address"
		check "$address: reserved bits" is_counted reserved reserved_bits "$address"
		check "$address: truncated data" is_counted short_data short_data "$address"
		check "$address: truncated initiation" is_counted short_initiation handshake_malformed "$address"
		check "$address: unknown index" is_counted unknown_index unknown_index "$address"
		check "$address: mac1 wrong" is_counted bad_mac handshake_bad_mac1 "$address"
	done
	check "replayed data" real_message_again replay replay
	check "forged data" real_message_again forge forged
	check "lying inner length" lying_inner_length
	check "inner source of another" wrong_inner_source
	check "the endpoint did not move" endpoint_is_unmoved
	check "the tunnel lives on" ping_from peer "$GW4"
	check "the log is no flood" log_is_short
	exit "$FAILED"
}

main "$@"
