#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The server's policy, enforced by the gateway on what comes out of the tunnel: a table of policies and what each lets
# two real nodes reach. w1 is of user ops, w2 is tagged; the filter changes while flows are open.
# Topology in scripts/mesh-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

TAGS='"tagOwners": {"tag:gw": ["ops@"], "tag:box": ["ops@"]}, "groups": {"group:crew": ["ops@"]}'

# policy ACLS: and wait until the gateway has it.
policy() {
	local before

	before=$(grep -c "filter: " "$LAB_DIR/gw1/gw.log")
	hs_policy "{$TAGS, $1}"
	wait_for 20 has_new_filter "$before" || echo "# the filter is the same as before" >&2
	# a rule may have come and its peers not yet
	sleep 1
}

has_new_filter() {
	(($(grep -c "filter: " "$LAB_DIR/gw1/gw.log") > $1))
}

# allows WHAT FROM: tcp 8001, tcp 8002, ping; "+" or "-" of each.
allows() {
	local from=$1 wanted=$2 got=""

	if tcp_to "$from" "$IP" 8001; then got+=+; else got+=-; fi
	if tcp_to "$from" "$IP" 8002; then got+=+; else got+=-; fi
	if ping_to "$from" "$IP" 3 >/dev/null; then got+=+; else got+=-; fi
	echo "$from: tcp 8001, tcp 8002, ping: $got, wanted $wanted"
	[[ $got == "$wanted" ]]
}

# row NAME ACLS W1 W2
row() {
	policy "$2"
	mesh_check "$1: w1 $3" allows w1 "$3"
	mesh_check "$1: w2 $4" allows w2 "$4"
	echo "#| $(printf '%-44s w1 %s  w2 %s' "$1" "$3" "$4")"
}

rule() {
	printf '"acls": [{"action": "accept", "src": [%s], "dst": [%s]%s}]' "$1" "$2" "${3:+, \"proto\": \"$3\"}"
}

# A connection that is open when the rule goes: its packets are no opening ones and pass, as with tailscale's own filter
# (headscale-control.md 6.2, step 5); a new one is refused.
open_flow() {
	policy "$(rule '"*"' '"*:*"')"
	tcp_to w1 "$IP" 8001 || return 1
	mesh_in w1 python3 -u "$REPO/tests/mesh/talk.py" "$IP" 8003 >"$LAB_DIR/talk" 2>&1 &
	LAB_PIDS+=($!)
	wait_for 10 grep -q "3 answers" "$LAB_DIR/talk" || { cat "$LAB_DIR/talk"; return 1; }
	policy "$(rule '"*"' '"tag:gw:8002"' tcp)"
	no_tcp_to w1 "$IP" 8001 || return 1
	answers=$(grep -c answers "$LAB_DIR/talk")
	wait_for 15 has_more_answers "$answers" || { tail -n 3 "$LAB_DIR/talk"; return 1; }
}

has_more_answers() {
	(($(grep -c answers "$LAB_DIR/talk") > $1 + 2))
}

# What the gateway opens is answered whatever the rules say.
replies() {
	policy "$(rule '"tag:gw"' '"*:*"')"
	ping_to gw1 "$(ts_ip w1 4)" && serve w1 "$(ts_ip w1 4)" 8010 &&
		tcp_to gw1 "$(ts_ip w1 4)" 8010 && no_tcp_to w1 "$IP" 8001
}

counted() {
	local before after

	before=$(mesh_ctl gw1 filter --json | jq .refused_pkts)
	no_tcp_to w1 "$IP" 8001 || return 1
	after=$(mesh_ctl gw1 filter --json | jq .refused_pkts)
	mesh_ctl gw1 filter
	echo "$before, then $after"
	((after > before)) && mesh_ctl gw1 stats --json | jq -e '[.workers[].drops.filter_no_rule] | add > 0'
}

main() {
	need_mesh "mesh ACL"
	mesh_up
	hs_start
	hs_policy "{$TAGS, $(rule '"*"' '"*:*"')}"
	MESH_KEY_ARGS="--tags tag:gw" mesh_check "gw1 joins" mesh_gw_join gw1 1
	mesh_check "w1 joins, of a user" ts_join w1 21
	MESH_KEY_ARGS="--tags tag:box" mesh_check "w2 joins, tagged" ts_join w2 22
	IP=$(mesh_gw_ip gw1 4)
	serve gw1 "$IP" 8001
	serve gw1 "$IP" 8002
	mesh_run gw1 echo python3 "$REPO/tests/mesh/talk.py" --serve "$IP" 8003
	row "everything" "$(rule '"*"' '"*:*"')" +++ +++
	row "nothing" '"acls": []' --- ---
	row "one port for all" "$(rule '"*"' '"tag:gw:8001"')" +-+ +-+
	row "one port for a user" "$(rule '"ops@"' '"tag:gw:8001"')" +-+ ---
	row "one port for a tag" "$(rule '"tag:box"' '"tag:gw:8002"')" --- -++
	row "a range for a group" "$(rule '"group:crew"' '"tag:gw:8001-8002"')" +++ ---
	row "ICMP only, for all" "$(rule '"*"' '"tag:gw:*"' icmp)" --+ --+
	row "TCP by protocol; ping needs a rule of any kind" "$(rule '"tag:box"' '"tag:gw:8001"' tcp)" --- +-+
	row "UDP only" "$(rule '"*"' '"tag:gw:*"' udp)" --+ --+
	mesh_check "replies to what the gateway opens pass" replies
	mesh_check "a flow outlives its rule, a new one does not begin" open_flow
	mesh_check "refusals are counted and shown" counted
	mesh_check "the gateway ends cleanly" mesh_end gw1 gw
	exit "$FAILED"
}

main "$@"
