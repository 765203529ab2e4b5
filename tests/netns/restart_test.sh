#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Either end goes away without a word: the peer restarts, the gateway is killed (-9) twenty times on
# an af_xdp port, whose XDP program then stays behind; a foreign program is left alone, by name.
# Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

KILLS=20

peer_comes_back() {
	wg_stop
	wg_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	ping_from peer "$GW4"
}

# The peer keeps its session with the gateway that died; the new one knows the peer's endpoint from
# its configuration, so it speaks first.
gateway_comes_back() {
	gw_kill
	gw_start || return 1
	ping_from gw "$PEER4"
}

kill_many_times() {
	local n

	for ((n = 1; n <= KILLS; n++)); do
		gateway_comes_back >"$LAB_DIR/round" 2>&1 ||
			{ echo "round $n of $KILLS:"; cat "$LAB_DIR/round"; return 1; }
	done
}

# Somebody else's XDP program on the interface is not ours to detach: an error that names it.
foreign_program_is_kept() {
	local code=0

	gw_stop
	in_gw ip link set dev under0 xdpgeneric obj "$LAB_DIR/foreign.o" sec xdp || return 1
	in_gw timeout 60 "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/gw.yaml" \
		>"$LAB_DIR/foreign.log" 2>&1 || code=$?
	cat "$LAB_DIR/foreign.log"
	((code == 1)) && grep -q foreign_pass "$LAB_DIR/foreign.log" || return 1
	in_gw ip -d link show under0 | grep -q xdp || return 1
	in_gw ip link set dev under0 xdpgeneric off
}

make_foreign_program() {
	clang -O2 -target bpf -c -x c - -o "$LAB_DIR/foreign.o" <<-'EOF'
		__attribute__((section("xdp"), used)) int foreign_pass(void *ctx)
		{
			return 2; /* XDP_PASS */
		}
		char licence[] __attribute__((section("license"), used)) = "BSD";
	EOF
}

main() {
	need_lab "restarts"
	lab_up
	wg_start
	gw_config af_xdp "endpoint: $PEER_UNDER4:$PEER_PORT"
	check "gateway starts" gw_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "tunnel is up" ping_from peer "$GW4"
	check "the peer restarts" peer_comes_back
	check "and the gateway reaches it" ping_from gw "$PEER4"
	check "kill -9 and restart, $KILLS times" kill_many_times
	check "TCP after the last" tcp_transfer gw peer "$PEER4" 10
	check "a foreign XDP program is built" make_foreign_program
	check "a foreign XDP program is named and kept" foreign_program_is_kept
	check "gateway starts when it is gone" gw_start
	exit "$FAILED"
}

main "$@"
