#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What an operator sees inside a running tunnel: traces with the verdict of good, forged and unwanted packets,
# captures of both sides as tcpdump and tshark read them, statistics with reasons explained, and what
# is refused. Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Longer than anything that is looked at takes.
LOOK_S=300

hostile() {
	in_peer "$REPO/tests/netns/hostile.py" "$@"
}

# In the background, with a number of its own: gwctl is a function, and would have that of a shell.
gwctl_start() {
	"$SANDD_BUILD/control/sandctl" --socket "$LAB_DIR/api.sock" "$@" &
}

# A busy machine takes its time to start a program: what is looked at comes after the gateway says that it looks.
count_begun() {
	grep -c "audit: .* begun by" "$LAB_DIR/gw.log" || true
}

has_begun() {
	(($(count_begun) > $1))
}

# look_at NAME OPTIONS... -- CMD...: a trace or capture that runs while the command does, and is then interrupted; what
# it printed is in $LAB_DIR/NAME. What it is to see is answered before the command ends.
look_at() {
	local name=$1 options=() pid begun

	shift
	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	begun=$(count_begun)
	gwctl_start "${options[@]}" --seconds "$LOOK_S" >"$LAB_DIR/$name" 2>"$LAB_DIR/$name.err"
	pid=$!
	wait_for 30 has_begun "$begun" || true
	"$@" || true
	kill -INT "$pid" || true
	if ! wait "$pid"; then
		cat "$LAB_DIR/$name.err"
		return 1
	fi
}

# trace_has FILE JQ: a record that fits.
trace_has() {
	jq -e "[.records[] | select($2)] | length > 0" "$LAB_DIR/$1"
}

trace_lacks() {
	jq -e "[.records[] | select($2)] | length == 0" "$LAB_DIR/$1"
}

line_has() {
	cat "$LAB_DIR/$1"
	grep -Eq "$2" "$LAB_DIR/$1"
}

# packets FILE FILTER: how many tshark finds.
packets() {
	tshark -r "$LAB_DIR/$1" -Y "$2" 2>/dev/null | wc -l
}

packets_are() {
	local n

	n=$(packets "$1" "$2")
	echo "$n, wanted $3 or more of: $2"
	((n >= $3))
}

no_packets_are() {
	[[ $(packets "$1" "$2") == 0 ]]
}

forge_and_ping() {
	hostile_start forge "$GW_UNDER4" "$GW_PORT" 3 under0
	ping_from peer "$GW4"
	wait "$HOSTILE_PID"
	ping_from peer "$GW4"
}

# What no rule of the filter allows.
unwanted() {
	in_peer bash -c "echo nobody allows this >/dev/udp/$GW4/9"
}

strangers() {
	hostile garbage "$GW_UNDER4" "$GW_PORT" 3
	hostile bad_mac "$GW_UNDER4" "$GW_PORT" 3
	unwanted
	ping_from peer "$GW4"
}

pings() {
	unwanted
	ping_from peer "$GW4"
	ping_from peer "$GW6"
}

traces() {
	check "trace runs" look_at trace trace --json -- strangers
	check "trace: the ping was delivered" trace_has trace '.verdict == "delivered" and .peer == "worker-1"
		and .at == "deliver" and .inner.src == "'"$PEER4"'" and .inner.dst == "'"$GW4"'"
		and .inner.proto == 1 and .src == "'"$PEER_UNDER4:$PEER_PORT"'" and .message.type == "data"'
	check "trace: the answer was sent" trace_has trace '.verdict == "sent" and .peer == "worker-1"
		and .direction == "out" and .inner.dst == "'"$PEER4"'" and .dst == "'"$PEER_UNDER4:$PEER_PORT"'"'
	check "trace: garbage" trace_has trace '.verdict == "unknown_type" and .dropped and .at == "rx" and .peer == null'
	check "trace: a handshake for nobody" trace_has trace '.verdict == "handshake_bad_mac1" and .message.type == "initiation"'
	check "trace: filtered" trace_has trace '.verdict == "filter_no_rule" and .inner.dst_port == 9 and .peer == "worker-1"'
	check "trace: no bytes of anybody" trace_lacks trace 'has("data")'
	check "trace of one peer runs" look_at one trace --peer worker-1 --json -- strangers
	check "trace of one peer: its packets" trace_has one '.verdict == "delivered" and .peer == "worker-1"'
	check "trace of one peer: not the strangers'" trace_lacks one '.verdict == "unknown_type"'
	check "trace as text" look_at text trace -- forge_and_ping
	check "text: a forged packet" line_has text "w0 +in +decap +DROP forged +worker-1 +from $PEER_UNDER4:[0-9]+ data #[0-9]+"
	check "text: the ping" line_has text "delivered +worker-1 .* \| $PEER4 > $GW4 icmp echo request 84 B"
	check "trace ends at its count" look_at count trace --count 2 --json -- pings
	check "trace: so many" jq -e '.records | length == 2' "$LAB_DIR/count"
}

file_mode_is() {
	stat -c %a "$LAB_DIR/$1"
	[[ $(stat -c %a "$LAB_DIR/$1") == "$2" ]]
}

captures() {
	check "inner capture runs" look_at inner.out capture --side inner -o "$LAB_DIR/inner.pcapng" -- pings
	check "inner: pings in" packets_are inner.pcapng "icmp.type == 8 && ip.src == $PEER4 && frame.packet_flags_direction == 1" 3
	check "inner: answers out" packets_are inner.pcapng "icmp.type == 0 && ip.dst == $PEER4 && frame.packet_flags_direction == 2" 3
	check "inner: IPv6 too" packets_are inner.pcapng "icmpv6.type == 128 && ipv6.src == $PEER6" 3
	check "inner: what the filter dropped, and that it did" packets_are inner.pcapng \
		'udp.dstport == 9 && frame.comment == "dropped: filter_no_rule, peer worker-1"' 1
	check "inner: nothing is malformed" no_packets_are inner.pcapng "_ws.malformed"
	check "inner: its interface is named" packets_are inner.pcapng 'frame.interface_name == "sandd0"' 3
	check "inner: tcpdump reads it" tcpdump -nr "$LAB_DIR/inner.pcapng"
	check "mode 0600" file_mode_is inner.pcapng 600
	check "an old file stays" is_refused capture --side inner --out "$LAB_DIR/inner.pcapng"
	check "outer capture runs" look_at outer.out capture --side outer --snaplen 60 --force \
		--out "$LAB_DIR/inner.pcapng" -- pings
	check "outer: UDP to us" packets_are inner.pcapng "udp.dstport == $GW_PORT && ip.src == $PEER_UNDER4 && wg.type == 4" 6
	check "outer: UDP from us" packets_are inner.pcapng "udp.srcport == $GW_PORT && ip.dst == $PEER_UNDER4" 6
	check "outer: no inner packet shows" no_packets_are inner.pcapng "icmp"
	check "outer: cut at the snaplen" no_packets_are inner.pcapng "frame.cap_len > 60"
	check "capture of one peer into a pipe" piped_capture
	check "log: who began, who ended" log_tells
}

# The reader at the other end of a pipe.
piped_capture() {
	local begun

	begun=$(count_begun)
	gwctl capture --side inner --peer worker-1 --count 2 -o - 2>"$LAB_DIR/pipe.err" |
		tcpdump -nr - >"$LAB_DIR/pipe" 2>/dev/null &
	wait_for 30 has_begun "$begun"
	ping_from peer "$GW4"
	wait "$!"
	grep -c "ICMP echo" "$LAB_DIR/pipe"
	[[ $(grep -c "ICMP echo" "$LAB_DIR/pipe") == 2 ]]
}

log_tells() {
	grep "audit: capture" "$LAB_DIR/gw.log"
	grep -Eq "audit: capture inner of all peers begun by pid [0-9]+ \(uid 0\)" "$LAB_DIR/gw.log" &&
		grep -Eq "audit: capture inner of peer worker-1 ended, by its operator: [0-9]+ records, 0 lost" \
			"$LAB_DIR/gw.log"
}

# It fails, and says so.
is_refused() {
	! gwctl "$@" 2>"$LAB_DIR/refused" && grep . "$LAB_DIR/refused"
}

refusals() {
	check "no such peer" is_refused trace --peer nobody
	check "no such side" is_refused capture --side upper --out "$LAB_DIR/x"
	check "no file" is_refused capture --side inner
	check "no such folder" is_refused capture --side inner --out "$LAB_DIR/no/x"
	check "a link is not followed" link_is_refused
	check "five at once" fifth_is_refused
}

link_is_refused() {
	ln -s "$LAB_DIR/elsewhere" "$LAB_DIR/link"
	is_refused capture --side inner --force --out "$LAB_DIR/link" && [[ ! -e $LAB_DIR/elsewhere ]]
}

fifth_is_refused() {
	local pids=() code=0 begun

	begun=$(count_begun)
	for _ in 1 2 3 4; do
		gwctl_start trace --seconds "$LOOK_S" >/dev/null 2>&1
		pids+=("$!")
	done
	wait_for 30 has_begun $((begun + 3)) && is_refused trace --seconds 1 &&
		grep -q "end one of them" "$LAB_DIR/refused" || code=1
	kill -INT "${pids[@]}"
	wait "${pids[@]}" && return "$code"
}

# Without a reader it ends by itself.
abandoned_ends() {
	curl -sf --unix-socket "$LAB_DIR/api.sock" -d '{"kind":"outer"}' http://sandd-gw/v1/taps
	wait_for 60 grep -q "audit: capture outer of all peers ended, nobody reads it" "$LAB_DIR/gw.log"
}

explained() {
	gwctl stats --explain >"$LAB_DIR/explained"
	grep -E "^filter_no_rule +[1-9][0-9]* +no rule of the filter allows this" "$LAB_DIR/explained" &&
		[[ $(grep -Ec '^(short_frame|host_write|handshake_replay) +[0-9]+ +[a-z]' "$LAB_DIR/explained") == 3 ]]
}

bursts_add_up() {
	gwctl stats --json | jq -e '.workers[0]
		| (.bursts.seal.pkts == .sealed_pkts) and ((.bursts.rx.sizes | add) == .rx_bursts)
			and .queues.inner.size > 0 and .queues.inner.high > 0 and .queues.inner.now == 0'
}

host_calls_are_counted() {
	gwctl stats --json | jq -e '.host | .rx_reads > 0 and .rx_pkts >= .rx_reads and .tx_writes > 0
		and .tx_bytes > 84 and .queues.host.high > 0 and .queues.handshakes.size > 0'
}

# What is counted from now on, not all that there was: a few pings.
watched() {
	local pid before

	before=$(gwctl stats --json | jq '.workers[0].opened_pkts')
	gwctl_start stats --watch 1 --json >"$LAB_DIR/watch"
	pid=$!
	wait_for 30 test -s "$LAB_DIR/watch"
	ping_from peer "$GW4"
	wait_for 30 watch_adds_up 3 || true
	kill "$pid"
	wait "$pid" || true
	echo "$before before"
	watch_adds_up 3 && ! watch_adds_up "$before"
}

watch_adds_up() {
	jq -s -e --argjson min "$1" 'map(.workers[0].opened_pkts) | ., add >= $min' "$LAB_DIR/watch"
}

# Every line is a comment or a sample; no metric has samples apart from its family; the end is told.
metrics_are_well_formed() {
	local file=$LAB_DIR/metrics strange

	curl -sf --unix-socket "$LAB_DIR/api.sock" http://sandd-gw/metrics >"$file"
	strange=$(grep -Ev '^(# (TYPE|HELP|EOF)|sandd_[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9]+$)' \
		"$file"; grep '^# TYPE' "$file" | sort | uniq -d)
	echo "strange: $strange"
	[[ ! $strange && $(tail -n 1 "$file") == "# EOF" ]] &&
		grep -E '^sandd_drop_pkts_total\{worker="0",reason="filter_no_rule"\} [1-9]' "$file" &&
		grep -E '^sandd_burst_pkts_bucket\{worker="0",kind="rx",le="\+Inf"\} [1-9]' "$file" &&
		grep -E '^sandd_peers 1$' "$file"
}

statistics() {
	check "stats: reasons are explained" explained
	check "stats: bursts and queues" bursts_add_up
	check "stats: system calls of the host interface" host_calls_are_counted
	check "stats: watched" watched
	check "stats as text" gwctl stats
	check "metrics" metrics_are_well_formed
}

# telemetry COMMAND: DPDK's own socket, asked as dpdk-telemetry.py does.
telemetry() {
	python3 - "$1" <<-'EOF'
		import json, socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
		s.settimeout(10)
		s.connect("/var/run/dpdk/sandd-gw/dpdk_telemetry.v2")
		size = json.loads(s.recv(1024))["max_output_len"]
		s.send(sys.argv[1].encode())
		print(json.dumps(next(iter(json.loads(s.recv(size)).values()))))
	EOF
}

telemetry_answers() {
	local peer

	gw_stop
	gw_config af_packet
	echo "telemetry: true" >>"$LAB_DIR/gw.yaml"
	wg_forget
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	gw_start && ping_from peer "$GW4" || return 1
	peer=$(telemetry /sandd/peers | jq -r '.[0]')
	telemetry /sandd/stats | tee /dev/stderr | jq -e '.opened_pkts >= 3 and .peers == 1 and .mbufs > 0' &&
		telemetry /sandd/stats,0 | jq -e '.opened_pkts >= 3 and (has("peers") | not)' &&
		telemetry /sandd/drops | jq -e '.no_peer >= 0 and .handshake_replay == 0' &&
		telemetry "/sandd/peer,$peer" | tee /dev/stderr |
		jq -e --arg at "$PEER_UNDER4:$PEER_PORT" '.endpoint == $at and .rx_pkts >= 3' &&
		[[ $(telemetry /sandd/peer,nobody) == "{}" ]] &&
		telemetry /ethdev/list | jq -e 'length == 0' # packet sockets are none of DPDK's
}

main() {
	need_lab "inside views"
	if ! have tshark || ! have tcpdump; then
		skip "inside views" "no tshark, no tcpdump"
		exit 0
	fi
	lab_up
	wg_start
	gw_config af_packet
	check "gateway starts" gw_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "tunnel is up" ping_from peer "$GW4"
	check "tunnel is up, v6" ping_from peer "$GW6"
	traces
	captures
	refusals
	statistics
	check "an abandoned capture ends" abandoned_ends
	check "the tunnel lives on" ping_from peer "$GW4"
	check "telemetry" telemetry_answers
	exit "$FAILED"
}

main "$@"
