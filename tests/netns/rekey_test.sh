#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A tunnel outlives its first keys: pings run for longer than the 120 s after which the initiator of
# a session makes a new one, and not one is lost. Once with the gateway as the initiator, once with
# wireguard-go, side by side. Needs root and two and a half minutes, mostly of sleep.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

RUN_S=135
INTERVAL_S=0.2

# lives_on ROLE: prints TAP; a lab of its own.
lives_on() {
	local role=$1 first pings=$((RUN_S * 5))

	lab_up
	wg_start
	if [[ $role == initiator ]]; then
		gw_config af_xdp "endpoint: $PEER_UNDER4:$PEER_PORT"
	else
		gw_config af_xdp
	fi
	check "$role: gateway starts" gw_start
	if [[ $role == initiator ]]; then
		wg_peer
		check "$role: tunnel is up" ping_from gw "$PEER4"
	else
		wg_peer endpoint "$GW_UNDER4:$GW_PORT"
		check "$role: tunnel is up" ping_from peer "$GW4"
	fi
	first=$(wg_handshake_time)
	check "$role: $pings pings in $RUN_S s or more" pings_go_on "$role" "$pings"
	check "$role: there was a rekey" rekeyed "$first"
	check "$role: the gateway counted two sessions" two_handshakes
	exit "$FAILED"
}

pings_go_on() {
	if [[ $1 == responder ]]; then
		no_ping_is_lost peer "$INTERVAL_S" "$2" "$GW4"
	else
		no_ping_is_lost gw "$INTERVAL_S" "$2" "$PEER4"
	fi
}

rekeyed() {
	local now

	now=$(wg_handshake_time)
	echo "first handshake at $1, last at $now"
	((now - $1 >= 100))
}

two_handshakes() {
	gwctl stats --json | jq -e '.handshakes >= 2'
}

main() {
	need_lab "rekey"
	local code=0 role pids=()

	for role in initiator responder; do
		(lives_on "$role") &
		pids+=($!)
	done
	for role in "${pids[@]}"; do
		wait "$role" || code=1
	done
	exit "$code"
}

main "$@"
