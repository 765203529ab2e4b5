#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A gateway and a wireguard-go peer in two namespaces, and a shell beside them; everything goes when
# the shell ends. The topology is drawn in scripts/lab-lib.sh. Needs root.
#
#   scripts/lab.sh [af_xdp | af_packet]
#
# In the shell: `gw CMD` and `peer CMD` run in the namespaces, sandctl talks to the gateway.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lab-lib.sh"

write_rc() {
	cat >"$LAB_DIR/rc" <<-EOF
		[[ ! -f ~/.bashrc ]] || . ~/.bashrc
		export SANDD_GW_SOCKET=$LAB_DIR/api.sock PATH=$SANDD_BUILD/control:\$PATH
		gw() { ip netns exec $LAB_GW "\$@"; }
		peer() { ip netns exec $LAB_PEER "\$@"; }
		PS1='(lab) \w\$ '
	EOF
}

main() {
	local kind=${1:-}

	case $kind in
	-h | --help) print_help; exit 0 ;;
	"" | af_xdp | af_packet) ;;
	*) die -2 "unknown port kind '$kind': af_xdp or af_packet" ;;
	esac
	need_root
	"$REPO/scripts/setup.sh"
	build_tree "$SANDD_BUILD"
	lab_up
	if [[ $kind ]]; then
		gw_config "$kind"
		gw_start >&2 || die "sandd-gw does not start on $kind"
	else
		gw_start_any
	fi
	wg_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT" persistent-keepalive 25
	write_rc
	say "try: peer ping $GW4; sandctl peers; sandctl stats; gw ip addr; less $LAB_DIR/gw.yaml"
	bash --rcfile "$LAB_DIR/rc" -i || true
}

main "$@"
