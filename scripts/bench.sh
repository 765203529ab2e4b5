#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Build for speed (in build-bench) and run one benchmark. It prints ratios (`wake`: times); bench/README.md tells how
# to read and compare them. Needs no root unless said.
#
#   scripts/bench.sh cipher [--json]       the ciphers alone, ipsec-mb and libsodium
#   scripts/bench.sh pipeline [--json]     the whole worker path, against the cipher alone
#   scripts/bench.sh wake [--json]         a packet's wait for a sleeping worker, in microseconds
#   scripts/bench.sh handshake [--json]    handshakes answered against bare X25519; a storm of 100,000 peers
#   scripts/bench.sh peers [--json]        100,000 active peers against one; what an idle one of a million costs
#   scripts/bench.sh tcp [--json]          TCP through a pair of gateways, beside pairs of others (needs root)
#   scripts/bench.sh filter [--json]       opening with a thousand rules of the filter, against one
#   scripts/bench.sh lookup [--json]       allowed IPs and receiver indices, against one dependent load
#   scripts/bench.sh map [--json]          a network map of 10,000 peers and its deltas, against jansson alone
#
# Further options go to the benchmark; `scripts/bench.sh NAME --help` lists them.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

BUILD=$REPO/build-bench
declare -A PROGRAM=([cipher]=bench_aead [pipeline]=bench_pipeline [wake]=bench_wake
	[handshake]=bench_handshake [peers]=bench_peers [filter]=bench_filter [lookup]=bench_lookup [map]=bench_map)

main() {
	local name=${1:-}

	case $name in
	-h | --help) print_help; exit 0 ;;
	"") die -2 "which one? ${!PROGRAM[*]} tcp" ;;
	esac
	[[ ${PROGRAM[$name]:-} || $name == tcp ]] || die -2 "no benchmark '$name': ${!PROGRAM[*]} tcp"
	shift
	"$REPO/scripts/setup.sh"
	build_tree "$BUILD" --buildtype=release -Dtests=false
	[[ $name != tcp ]] || SANDD_BUILD=$BUILD exec "$REPO/bench/tcp.sh" "$@"
	# one thread on one core; the pipeline pins its own
	[[ $name != cipher && $name != peers && $name != lookup && $name != map ]] || exec taskset -c $(($(nproc) - 1)) "$BUILD/bench/${PROGRAM[$name]}" "$@"
	exec "$BUILD/bench/${PROGRAM[$name]}" "$@"
}

main "$@"
