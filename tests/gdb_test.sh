#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# gdb's view of the gateway's types (scripts/gdb_pprint.py), on a test program that stands still with one
# session: what is shown, and that no key is.
#
#   gdb_test.sh REPO PROGRAM    PROGRAM: pipeline_trace_test
set -euo pipefail

REPO=$1
PROGRAM=$2
OUTPUT=$(mktemp)
trap 'rm -f "$OUTPUT"' EXIT
FAILED=0

shown() {
	local name=$1 pattern=$2

	if grep -Eq "$pattern" "$OUTPUT"; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		sed 's/^/# /' "$OUTPUT" | tail -n 40
		FAILED=1
	fi
}

if ! command -v gdb >/dev/null; then
	echo "ok - gdb's view # SKIP no gdb"
	exit 0
fi
# The first lab of the program ends after a whole session: one peer, a packet each way.
if ! timeout 120 gdb -nx -batch -iex "set auto-load off" -x "$REPO/scripts/gdb_pprint.py" \
	-ex "set debuginfod enabled off" -ex "break lab_fini" -ex run -ex up -ex "sandd-peers" \
	-ex "sandd-workers lab.dp" -ex "sandd-drops" \
	-ex "print *lab.dp->peers.by_number[0]" \
	-ex "print *lab.dp->peers.by_number[0]->keypairs.current" \
	-ex "print lab.dp->peers.by_number[0]->keypairs.current->send_key" \
	-ex "print lab.dp->peers.by_number[0]->prefixes[0]" \
	-ex "print lab.peers[0].endpoint" \
	-ex "print \$fingerprint(lab.dp->peers.by_number[0]->public_key)" \
	-ex "print *(struct rte_mbuf *)((void **)(lab.host_ring + 1))[0]" \
	-ex "continue 3" -ex sandd-drops -ex kill "$PROGRAM" >"$OUTPUT" 2>&1; then
	if grep -q "ptrace: Operation not permitted" "$OUTPUT"; then
		echo "ok - gdb's view # SKIP ptrace is forbidden here"
		exit 0
	fi
	echo "not ok - gdb runs"
	sed 's/^/# /' "$OUTPUT" | tail -n 40
	exit 1
fi
KEY='[A-Za-z0-9+/]{8}'
INDEX='0x[0-9a-f]{8}'
shown "sandd-peers" "^peer 0 $KEY at 192\.0\.2\.100:40000, worker 0, current $INDEX, 0 staged$"
shown "sandd-peers: their number" '^1 peer\(s\)$'
shown "sandd-workers" '^worker 0 on CPU [0-9]+: rx [1-9][0-9]*, opened [1-9][0-9]*, sealed [1-9][0-9]*, tx [1-9]'
shown "sandd-drops" '^[0-9]+ packet\(s\) dropped$'
shown "a peer" "^\\\$1 = peer 0 $KEY at "
shown "a keypair" "^\\\$2 = keypair $INDEX, responder, [0-9]+ sent, keys <secret>$"
shown "no key" '^\$3 = <secret>$'
shown "a prefix" '^\$4 = (10\.9\.0\.2/32|fd00::2/128)$'
shown "an endpoint" '^\$5 = 192\.0\.2\.100:40000$'
shown "a fingerprint" "^\\\$6 = \"$KEY\"$"
shown "an mbuf" '^\$7 = mbuf 0x[0-9a-f]+: data at [0-9]+, 100 bytes, 1 segment\(s\), message at 42, '
# Three labs later, that of test_drops_tell_why.
shown "a reason" '^forged 1$'
shown "another" '^filter_no_rule 1$'
exit "$FAILED"
