#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# TCP through a pair of gateways: two namespaces, a veth of MTU 1500 between them, an inner MTU of 1420, one stream
# of iperf3. Pairs of others stand in the same place, in turns. README.md tells how to read it. Needs root.
#
#   scripts/bench.sh tcp [--json] [OPTION...]
#
#   --who NAMES       comma-separated, of sandd-gw, wireguard-go, boringtun (all of them)
#   --port KIND       what our pair's ports are: af_packet (default) or af_xdp
#   --runs N          runs of each, in turns; the median counts (3)
#   --seconds N       of one run (6)
#   --reverse         the end that answered the handshake sends
#   --plot FILE.svg   draw the result
#   --perf FILE       record our last run with perf, the whole machine; bench/tcp_cycles.py reads it
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
. "$REPO/scripts/lab-lib.sh"

PEERS=${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}
WHO=(sandd-gw wireguard-go boringtun)
PORT_KIND=af_packet RUNS=3 SECONDS_EACH=6 JSON="" PLOT="" PERF="" REVERSE=()
PAIR_PIDS=()
declare -A GBPS=() CPU_NS=()
PKT_BYTES=1368 # of payload in a full packet

# --- a pair of ours ---------------------------------------------------------------------------------

# pair_config SIDE ADDR PEER_SIDE PEER_ADDR PEER_UNDER WORKER_CPU CONTROL_CPU
pair_config() {
	cat >"$LAB_DIR/$1.yaml" <<-EOF
		listen_port: $GW_PORT
		private_key_file: $LAB_DIR/$1.key
		ports:
		  - {kind: $PORT_KIND, device: under0}
		workers: {cpus: [$6]}
		control_cpu: $7
		idle: adaptive
		host:
		  device: sandd0
		  addresses: [$2/24]
		  mtu: $LAB_MTU
		controller: {listen: "$2:8765"}
		api: {socket: $LAB_DIR/$1.sock}
		filter:
		  - {proto: icmp}
		  - {proto: tcp, ports: "5000-5999"}
		peers:
		  - name: other
		    public_key: $(<"$LAB_DIR/$3.pub")
		    allowed_ips: [$4/32]
		    endpoint: "$5:$GW_PORT"
	EOF
}

# Each end has a core for its worker, which serves the host interface as well; its other threads share that of the other
# end's worker. Programs of others run where the kernel puts them.
pair_up_sandd-gw() {
	local last=$(($(nproc) - 1)) side

	pair_config gw "$GW4" peer "$PEER4" "$PEER_UNDER4" "$last" 0
	pair_config peer "$PEER4" gw "$GW4" "$GW_UNDER4" 0 "$last"
	for side in gw peer; do
		local -n exec_words=${side^^}_EXEC
		"${exec_words[@]}" "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/$side.yaml" \
			>"$LAB_DIR/$side.log" 2>&1 &
		PAIR_PIDS+=($!)
	done
}

stats_of() {
	"$SANDD_BUILD/control/sandctl" --socket "$LAB_DIR/$1.sock" stats --json
}

# --- a pair of another's ----------------------------------------------------------------------------

# other_up SIDE ADDR PEER_SIDE PEER_ADDR PEER_UNDER CMD...
other_up() {
	local side=$1 dev=wb$LAB_ID${1:0:1}
	local -n exec_words=${side^^}_EXEC

	WG_PROCESS_FOREGROUND=1 "${exec_words[@]}" "${@:6}" "$dev" >"$LAB_DIR/$side.log" 2>&1 &
	PAIR_PIDS+=($!)
	wait_for 10 "in_$side" wg show "$dev" || die "${*:6} does not start: $(tail -n 1 "$LAB_DIR/$side.log")"
	"in_$side" wg set "$dev" listen-port "$GW_PORT" private-key "$LAB_DIR/$side.key" \
		peer "$(<"$LAB_DIR/$3.pub")" allowed-ips "$4/32" endpoint "$5:$GW_PORT"
	"in_$side" ip addr add "$2/24" dev "$dev"
	"in_$side" ip link set "$dev" mtu "$LAB_MTU" up
}

pair_up_wireguard-go() {
	other_up gw "$GW4" peer "$PEER4" "$PEER_UNDER4" "$PEERS/wireguard-go/bin/wireguard-go"
	other_up peer "$PEER4" gw "$GW4" "$GW_UNDER4" "$PEERS/wireguard-go/bin/wireguard-go"
}

pair_up_boringtun() {
	local cmd=("$PEERS/boringtun/bin/boringtun-cli" -f --disable-drop-privileges --threads 2)

	other_up gw "$GW4" peer "$PEER4" "$PEER_UNDER4" "${cmd[@]}"
	other_up peer "$PEER4" gw "$GW4" "$GW_UNDER4" "${cmd[@]}"
}

# --- measuring --------------------------------------------------------------------------------------

pair_up() {
	PAIR_PIDS=()
	"pair_up_$1"
	wait_for 10 in_gw ping -q -c 1 -W 1 "$PEER4" || die "no tunnel between a pair of $1"
}

pair_down() {
	kill "${PAIR_PIDS[@]}"
	wait "${PAIR_PIDS[@]}" 2>/dev/null || true
	PAIR_PIDS=()
}

# What the pair's processes have had of the CPUs, all threads.
pair_cpu_ns() {
	local pid

	for pid in "${PAIR_PIDS[@]}"; do
		cat "/proc/$pid/task/"*/schedstat
	done | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
}

# iperf3's client in the first namespace, which also began the handshake. Sets BITS, per second, received, and NS, of CPU time per
# full packet, of the pair and both iperf3.
one_stream() {
	local server before after rc=0

	"${PEER_EXEC[@]}" iperf3 -s -1 -B "$PEER4" -p 5201 >/dev/null 2>&1 &
	server=$!
	LAB_PIDS+=("$server")
	wait_for 5 tcp_listens
	before=$(pair_cpu_ns)
	in_gw iperf3 -c "$PEER4" -p 5201 -t "$SECONDS_EACH" -J "${REVERSE[@]}" >"$LAB_DIR/iperf.json" || rc=$?
	after=$(pair_cpu_ns)
	wait "$server" || true
	((rc == 0)) || die "iperf3: $(jq -r .error "$LAB_DIR/iperf.json")"
	BITS=$(jq .end.sum_received.bits_per_second "$LAB_DIR/iperf.json")
	NS=$(jq --argjson pair $((after - before)) --argjson pkt "$PKT_BYTES" '.end | (.sum_received.seconds * 1e7 *
		(.cpu_utilization_percent | .host_total + .remote_total) + $pair) / (.sum_received.bytes / $pkt) | round' \
		"$LAB_DIR/iperf.json")
}

tcp_listens() {
	in_peer ss -Hltn "sport = :5201" | grep -q .
}

# Two seconds out of the middle of a run.
record() {
	(
		sleep 1.5
		perf record -a -g -F 1999 -o "$PERF" -- sleep 2 >/dev/null 2>&1
	) &
	LAB_PIDS+=($!)
}

# run_of WHO: one run. Adds to GBPS.
run_of() {
	local who=$1 gbps BITS NS

	pair_up "$who"
	[[ -z $PERF || $who != sandd-gw ]] || record
	one_stream
	gbps=$(awk -v bits="$BITS" 'BEGIN { printf "%.3f", bits / 1e9 }')
	GBPS[$who]+="$gbps "
	CPU_NS[$who]+="$NS "
	if [[ $who == sandd-gw ]]; then
		stats_of gw >"$LAB_DIR/gw.stats"
		stats_of peer >"$LAB_DIR/peer.stats"
	fi
	pair_down
	say "    $who: $gbps Gb/s, $NS ns of CPU per packet"
}

median() {
	printf '%s\n' "$@" | sort -g |
		awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# What our last run did, as an object: packets that both ends sealed, or opened.
ours() {
	jq -s --arg port "$PORT_KIND" '{port: $port, sealed_pkts: ([.[].workers[].sealed_pkts] | add),
		opened_pkts: ([.[].workers[].opened_pkts] | add)}' "$LAB_DIR/gw.stats" "$LAB_DIR/peer.stats"
}

row_of() {
	local who=$1 go=null more="{}" ns

	# shellcheck disable=SC2086 # a list of numbers
	ns=$(median ${CPU_NS[$who]})
	# shellcheck disable=SC2086 # a list of numbers
	[[ -z ${GBPS[wireguard-go]:-} ]] || go=$(median ${GBPS[wireguard-go]})
	[[ $who != sandd-gw ]] || more=$(ours)
	# shellcheck disable=SC2086 # a list of numbers
	jq -cn --arg who "$who" --argjson gbps "$(median ${GBPS[$who]})" --argjson go "$go" --argjson ns "$ns" \
		--argjson more "$more" '{bench: "tcp", who: $who, gbps: $gbps, cpu_ns_per_pkt: $ns,
		ratio_to_wireguard_go: (if $go then ($gbps / $go * 1000 | round / 1000) else null end)} + $more'
}

print_rows() {
	[[ -z $JSON ]] || { cat; return; }
	jq -r '[.who + (if .port then " (" + .port + ")" else "" end), .gbps, .ratio_to_wireguard_go,
		.cpu_ns_per_pkt] | @tsv' |
		awk -F '\t' 'BEGIN { printf "%-22s %8s  %-15s  %s\n", "who", "Gb/s", "to wireguard-go", "CPU ns per packet" }
			{ printf "%-22s %8.2f  %-15s  %d\n", $1, $2, $3 == "" ? "-" : sprintf("%.2f", $3), $4 }'
}

need_programs() {
	local who names=()

	for who in iperf3 jq wg; do
		have "$who" || die "needs $who; scripts/setup.sh installs it"
	done
	for who in "${WHO[@]}"; do
		[[ $who == sandd-gw ]] || names+=("$who")
	done
	((${#names[@]} == 0)) || "$REPO/scripts/peers.sh" "${names[@]}" >&2
}

measure() {
	local run who

	need_programs
	lab_up
	# Between two of wireguard-go the kernel may carry 64 KiB at once, as it does where its users run it.
	in_peer ethtool -K under0 gso on tx-udp-segmentation on >/dev/null 2>&1 || true
	for ((run = 1; run <= RUNS; run++)); do
		for who in "${WHO[@]}"; do
			run_of "$who"
		done
	done
	for who in "${WHO[@]}"; do
		row_of "$who"
	done >"$LAB_DIR/rows"
	[[ -z $PLOT ]] || "$REPO/bench/plot.py" --title "TCP, one stream, through a pair of gateways" \
		--unit Gb/s --label who --value gbps "$PLOT" <"$LAB_DIR/rows"
	print_rows <"$LAB_DIR/rows"
}

main() {
	while (($#)); do
		case $1 in
		-h | --help) print_help; exit 0 ;;
		--json) JSON=1 ;;
		--reverse) REVERSE=(-R) ;;
		--who) IFS=, read -ra WHO <<<"${2:?}"; shift ;;
		--port) PORT_KIND=${2:?}; shift ;;
		--runs) RUNS=${2:?}; shift ;;
		--seconds) SECONDS_EACH=${2:?}; shift ;;
		--plot) PLOT=${2:?}; shift ;;
		--perf) PERF=${2:?}; shift ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	measure
}

main "$@"
