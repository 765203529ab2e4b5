#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the outer packets look like on the wire, read by tshark on the peer's side, against Debian's
# wireguard-go on each port kind: never fragmented, right checksums, flow labels, congestion marks both ways,
# answers from the address that was asked; and what happens when addresses, families, MAC addresses and MTUs
# change under an established tunnel. Needs root; topology in scripts/lab-lib.sh, and besides:
#
#     under0 192.0.2.11, 203.0.113.1  -----veth-----  203.0.113.2 under0
#            2001:db8::11
#
#   underlay_test.sh [KIND...]      af_xdp and af_packet
set -euo pipefail
. "$(dirname "$0")/lib.sh"

MORE_GW=(192.0.2.11/24 203.0.113.1/24 2001:db8::11/64)
TCP_MB=4
MARK=the-end-of-this-record
# Fields of tshark: a checksum's status 0 is "bad", 1 "good", 2 "not looked at", 3 "not there", as IPv4 allows.
READ=(-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE -d "udp.port==$GW_PORT,wg")

# --- captures -----------------------------------------------------------------------------------

# recorded DEVICE FILE FILTER COMMAND... -- CMD...: run CMD while COMMAND (GW_EXEC or PEER_EXEC) records the device.
recorded() {
	local dev=$1 file=$LAB_DIR/$2 filter=$3 words=() pid rc=0

	shift 3
	while [[ $1 != -- ]]; do
		words+=("$1")
		shift
	done
	shift
	rm -f "$file" "$LAB_DIR/tcpdump.log"
	"${words[@]}" tcpdump -i "$dev" --immediate-mode -U -w "$file" "$filter" 2>"$LAB_DIR/tcpdump.log" &
	pid=$!
	wait_for 30 grep -q 'listening on' "$LAB_DIR/tcpdump.log" || rc=1
	"$@" || rc=1
	wait_for 30 mark_is_seen "$dev" "$file" "${words[@]}" || rc=1
	kill -INT "$pid"
	wait "$pid" || rc=1
	return "$rc"
}

# What tcpdump has not read when it is interrupted is not in its file: what comes last must be there.
mark_is_seen() {
	local dev=$1 file=$2

	shift 2
	"$@" bash -c "echo $MARK >/dev/udp/ff02::1%$dev/9" || return 1
	grep -q "$MARK" "$file"
}

# captured CMD...: run it while the peer's end of the underlay is recorded to $LAB_DIR/pcap.
captured() {
	recorded under0 pcap 'udp or ip6 proto 44' "${PEER_EXEC[@]}" -- "$@"
}

# show FILTER FIELD...: fields of the packets that fit, one line each.
show() {
	local filter=$1 field args=()

	shift
	for field in "$@"; do
		args+=(-e "$field")
	done
	tshark -r "$LAB_DIR/pcap" "${READ[@]}" -Y "$filter" -T fields "${args[@]}" 2>/dev/null
}

count() {
	show "$1" frame.number | wc -l
}

# none FILTER; some FILTER [AT LEAST]
none() {
	local n

	n=$(count "$1")
	echo "$n packets of: $1"
	((n == 0)) || { show "$1" frame.number ip.src ip.dst ipv6.src ipv6.dst udp.length | head; return 1; }
}

some() {
	local n

	n=$(count "$1")
	echo "$n packets of: $1"
	((n >= ${2:-1}))
}

FROM_GW4="udp.srcport == $GW_PORT && ip" FROM_GW6="udp.srcport == $GW_PORT && ipv6"

# --- headers ------------------------------------------------------------------------------------

fresh_gateway() {
	gw_stop || true
	wg_forget 2>/dev/null || true
	gw_config "$@"
	gw_start
}

traffic() {
	ping_from gw "$PEER4" && tcp_transfer gw peer "$PEER4" "$TCP_MB" &&
		tcp_transfer peer gw "$GW4" "$TCP_MB"
}

# A checksum that is not there is as good as one that is right, and one that is wrong as neither.
headers_v4() {
	captured traffic && some "$FROM_GW4" 1000 &&
		none "$FROM_GW4 && (ip.flags.df == 0 || ip.flags.mf == 1 || ip.frag_offset > 0)" &&
		none "$FROM_GW4 && !(ip.checksum.status == 1)" &&
		none "$FROM_GW4 && (udp.checksum.status == 0 || udp.checksum.status == 2)" &&
		none "$FROM_GW4 && ip.len > 1500" &&
		some "$FROM_GW4 && wg.type == 1 && ip.dsfield.dscp == 34 && ip.dsfield.ecn == 0" &&
		none "$FROM_GW4 && wg.type == 4 && ip.dsfield.dscp != 0"
}

labels() {
	show "$FROM_GW6" ipv6.flow ipv6.src ipv6.dst udp.dstport | sort -u
}

one_label() {
	labels
	(($(labels | wc -l) == 1)) && none "$FROM_GW6 && ipv6.flow == 0"
}

headers_v6() {
	captured traffic && some "$FROM_GW6" 1000 && none "$FROM_GW4" && none "ipv6.fraghdr" &&
		none "$FROM_GW6 && !(udp.checksum.status == 1)" &&
		none "$FROM_GW6 && ipv6.plen > 1460" &&
		some "$FROM_GW6 && wg.type == 1 && ipv6.tclass.dscp == 34" &&
		none "$FROM_GW6 && wg.type == 4 && ipv6.tclass.dscp != 0" && one_label
}

# Another session, another start of the handshake: the same ends, the same label.
label_stays() {
	local before

	before=$(labels)
	wg_forget
	wg_peer endpoint "[$GW_UNDER6]:$GW_PORT"
	captured ping_from peer "$GW4" && one_label && [[ $(labels) == "$before" ]]
}

# --- congestion marks ---------------------------------------------------------------------------

# ping -Q sets the whole DS field of the inner packet.
ping_marked() {
	local ecn

	for ecn in 0 1 2 3; do
		in_gw ping -q -c 2 -i 0.2 -W 10 -Q "$ecn" "$1" || return 1
	done
}

# marks_go_out FILTER FIELD: two packets of each; keepalives, which have none, are shorter.
marks_go_out() {
	local seen

	captured ping_marked "$PEER4" || return 1
	seen=$(show "$1 && wg.type == 4 && udp.length > 100" "$2" | sort | uniq -c | tr -s ' \n' ' ')
	echo "$seen"
	[[ $seen =~ ^' '2\ [0x]*0\ 2\ [0x]*1\ 2\ [0x]*2\ 2\ [0x]*3\ $ ]] || return 1
	captured ping_marked "$PEER6" || return 1
	[[ $(show "$1 && wg.type == 4 && udp.length > 100" "$2" | sort | uniq -c | tr -s ' \n' ' ') == "$seen" ]]
}

# The network between marks everything that goes to the gateway.
mark_everything() {
	in_peer nft -f - <<-END
		table inet congestion {
			chain out {
				type filter hook output priority mangle
				udp dport $GW_PORT meta nfproto ipv4 ip ecn set ce
				udp dport $GW_PORT meta nfproto ipv6 ip6 ecn set ce
			}
		}
	END
}

mark_nothing() {
	in_peer nft delete table inet congestion
}

# while_marked CMD...
while_marked() {
	local rc=0

	"$@" || rc=1
	mark_nothing
	return "$rc"
}

# inner_marks ADDRESS ECN: the marks of the inner requests as the gateway's kernel got them.
inner_marks() {
	recorded sandd0 inner "" "${GW_EXEC[@]}" -- marked_from_peer "$@" || true
	tshark -r "$LAB_DIR/inner" "${READ[@]}" -Y 'icmp.type == 8 || icmpv6.type == 128' \
		-T fields -e ip.dsfield.ecn -e ip.checksum.status -e ipv6.tclass.ecn 2>/dev/null |
		tr '\t' ' ' | sed 's/^ *//; s/ *$//' | sort -u
}

marked_from_peer() {
	in_peer ping -q -c 3 -i 0.2 -W 2 -Q "$2" "$1" >/dev/null || true
}

every_mark_comes_in() {
	mark_everything
	while_marked marks_come_in && ping_from peer "$GW4"
}

marks_come_in() {
	local ecn got before

	for ecn in 1 2 3; do
		got=$(inner_marks "$GW4" "$ecn")
		echo "v4 $ecn: $got"
		[[ $got == "3 1" ]] || return 1
		got=$(inner_marks "$GW6" "$ecn")
		echo "v6 $ecn: $got"
		[[ $got == "3" ]] || return 1
	done
	# A sender that hears losses alone gets one.
	before=$(drops ecn_ce_not_capable)
	[[ -z $(inner_marks "$GW4" 0) ]] || return 1
	drops_come_to ecn_ce_not_capable $((before + 3))
}

# TCP that negotiates it, through large packets of the host interface, sees marks and loses nothing.
tcp_sees_marks() {
	export NSTAT_HISTORY=$LAB_DIR/nstat
	# a marked SYN is dropped (it cannot carry the mark inwards), and must be tried again with ECN all the same
	in_peer sysctl -qw net.ipv4.tcp_ecn=1 net.ipv4.tcp_ecn_fallback=0
	in_peer nft -f - <<-END
		table inet congestion {
			chain out {
				type filter hook output priority mangle
				udp dport $GW_PORT numgen random mod 100 < 5 jump marking
			}
			chain marking {
				meta nfproto ipv4 ip ecn set ce
				meta nfproto ipv6 ip6 ecn set ce
			}
		}
	END
	in_gw nstat -n
	while_marked tcp_transfer peer gw "$GW4" "$TCP_MB" || return 1
	in_peer sysctl -qw net.ipv4.tcp_ecn=2
	in_gw nstat -sz IpExtInCEPkts TcpInCsumErrors | tee "$LAB_DIR/nstat.now"
	awk '/InCEPkts/ && $2 >= 10 { seen = 1 } /InCsumErrors/ && $2 > 0 { wrong = 1 }
		END { exit !seen || wrong }' "$LAB_DIR/nstat.now"
}

# --- addresses ----------------------------------------------------------------------------------

# asked ADDRESS: a fresh session, begun by the peer, with this address of the gateway.
asked() {
	local to=$1 from=$FROM_GW4 field=ip.src

	[[ $to != *:* ]] || { from=$FROM_GW6 field=ipv6.src to="[$to]"; }
	wg_forget
	wg_peer endpoint "$to:$GW_PORT"
	# of the session before a keepalive may be due
	captured ping_from peer "$GW4" && some "$from && wg.type == 2 && $field == $1" &&
		some "$from && wg.type == 4 && $field == $1" 3 &&
		none "udp.srcport == $GW_PORT && !($field == $1) && frame.number > $(first_response)" &&
		captured ping_from gw "$PEER4" && none "udp.srcport == $GW_PORT && !($field == $1)"
}

first_response() {
	show "wg.type == 2" frame.number | head -n 1
}

# The address that was asked goes: the next best speaks, and the peer follows it.
asked_address_goes() {
	asked 192.0.2.11 && in_gw ip addr del 192.0.2.11/24 dev under0 &&
		captured ping_from gw "$PEER4" && some "$FROM_GW4 && ip.src == $GW_UNDER4" &&
		none "$FROM_GW4 && ip.src == 192.0.2.11" && ping_from peer "$GW4" &&
		in_gw ip addr add 192.0.2.11/24 dev under0
}

# no_loss CMD...: a ping every 10 ms while the command runs; nothing may be lost.
no_loss() {
	local rc=0

	pings_start 0.01 "$PEER4" "${GW_EXEC[@]}" || rc=1
	"$@" || rc=1
	pings_end && return "$rc"
}

# The peer follows as well: what is still on its way from the old address may turn it back before it has
# spoken to the new one, so it is told until the gateway has heard.
set_endpoint() {
	wg_peer endpoint "$1"
	in_peer ping -q -c 1 -w 2 "$GW4" >/dev/null
	if [[ $1 == \[* ]]; then path_is direct6; else path_is direct4; fi
}

set_endpoints() {
	local endpoint

	for endpoint in "$@"; do
		wait_for 30 set_endpoint "$endpoint" || return 1
		sleep 0.2
	done
}

path_is() {
	peer_json | jq -e --arg path "$1" '.path == $path'
}

endpoint_is() {
	peer_json | jq -e --arg endpoint "$1" '.endpoint == $endpoint'
}

# IPv4, IPv6 and back, on the peer's word; the session stays.
moves_between_families() {
	local since before

	wg_forget
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	since=$SECONDS
	ping_from peer "$GW4" || return 1
	before=$(n_sessions)
	no_loss set_endpoints "[$GW_UNDER6]:$GW_PORT" 203.0.113.1:"$GW_PORT" "[2001:db8::11]:$GW_PORT" &&
		path_is direct6 &&
		no_loss set_endpoints "$GW_UNDER4:$GW_PORT" "[$GW_UNDER6]:$GW_PORT" "$GW_UNDER4:$GW_PORT" &&
		path_is direct4 && sessions_are_due "$since" "$before"
}

# peer_goes_to ADDRESS PORT FROM: with new sockets, for wireguard-go clings to the address it had.
peer_goes_to() {
	in_peer ip addr add "$1/24" dev under0
	in_peer ip addr del "$3/24" dev under0
	in_peer wg set "$LAB_WG" listen-port "$2"
	ping_from peer "$GW4" && endpoint_is "$1:$2" && ping_from gw "$PEER4"
}

peer_changes_its_address() {
	in_peer sysctl -qw net.ipv4.conf.all.promote_secondaries=1
	wait_for 30 set_endpoint "$GW_UNDER4:$GW_PORT"
	peer_goes_to 192.0.2.3 50000 "$PEER_UNDER4" &&
		peer_goes_to "$PEER_UNDER4" "$PEER_PORT" 192.0.2.3
}

# Another card at the other end; its kernel tells ours, as kernels do when they speak.
peer_changes_its_mac() {
	local mac=$1

	in_peer ip link set under0 address "$mac"
	# addresses of IPv6 came back with the link, or never went
	in_peer ping -q -c 1 -w 30 "$GW_UNDER4" >/dev/null && in_peer ping -q -c 1 -w 30 "$GW_UNDER6" >/dev/null &&
		captured ping_from gw "$PEER4" && some "udp.srcport == $GW_PORT && eth.dst == $mac" 3
}

# --- MTU ----------------------------------------------------------------------------------------

# A word to the sender at once, and nothing in pieces.
too_big_is_told() {
	local address said

	for address in "$PEER4" "$PEER6"; do
		said=$(in_gw ping -c 1 -w 10 -M "do" -s $((LAB_MTU + 1)) "$address" 2>&1 || true)
		echo "$said"
		[[ $said =~ mtu[:=]\ ?$LAB_MTU ]] || return 1
	done
	in_gw ping -q -c 1 -w 30 -M "do" -s $((LAB_MTU - 28)) "$PEER4"
}

log_says() {
	wait_for 30 grep -q "$1" "$LAB_DIR/gw.log"
}

# The port shrinks under the tunnel: what fits goes on, what does not is counted, nothing is cut.
small_port() {
	local before

	before=$(drops too_large)
	log_says 'port under0: its MTU of 1400 leaves 1320 bytes' || return 1
	captured in_gw ping -q -c 3 -i 0.2 -W 1 -s 1380 "$PEER4" || true
	drops_come_to too_large $((before + 3)) && none "$FROM_GW4 && ip.len > 1400" &&
		none "$FROM_GW4 && (ip.flags.mf == 1 || ip.frag_offset > 0)" && ping_from gw "$PEER4"
}

port_shrinks() {
	local rc=0

	in_gw ip link set under0 mtu 1400
	small_port || rc=1
	in_gw ip link set under0 mtu 1500
	in_gw ping -q -c 3 -i 0.2 -w 30 -s 1380 "$PEER4" && ((rc == 0))
}

small_from_the_start() {
	local rc=0

	in_gw ip link set under0 mtu 1450
	: >"$LAB_DIR/gw.log"
	fresh_gateway "$1" && log_says 'port under0: its MTU of 1450 leaves 1370 bytes.*host.mtu: 1370' ||
		rc=1
	in_gw ip link set under0 mtu 1500
	return "$rc"
}

# Frames of 9,000: the tunnel's own are as before, and the kernel keeps its large ones.
jumbo() {
	gw_stop || true
	in_gw ip link set under0 mtu 9000
	in_peer ip link set under0 mtu 9000
	fresh_gateway "$1" && wg_peer endpoint "$GW_UNDER4:$GW_PORT" && ping_from peer "$GW4" &&
		in_peer ping -q -c 2 -i 0.2 -w 30 -M "do" -s 8900 "$GW_UNDER4" &&
		in_gw ping -q -c 2 -i 0.2 -w 30 -M "do" -s 8900 "$PEER_UNDER6" &&
		captured traffic && none "$FROM_GW4 && (ip.flags.df == 0 || ip.frag_offset > 0)"
}

jumbo_ends() {
	gw_stop || true
	in_gw ip link set under0 mtu 1500
	in_peer ip link set under0 mtu 1500
}

# --- the lab ------------------------------------------------------------------------------------

only_v6() {
	in_gw ip -4 addr flush dev under0
	in_peer ip -4 addr flush dev under0
	fresh_gateway "$1" && wg_peer endpoint "[$GW_UNDER6]:$GW_PORT" && ping_from peer "$GW4" &&
		headers_v6_alone
}

headers_v6_alone() {
	captured traffic && none "ip" && none "$FROM_GW6 && !(udp.checksum.status == 1)" && one_label
}

# IPv4 comes to a gateway that runs.
v4_comes() {
	lab_address gw under0 "$GW_UNDER4/24" 192.0.2.11/24 203.0.113.1/24
	lab_address peer under0 "$PEER_UNDER4/24" 203.0.113.2/24
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	ping_from peer "$GW4" && path_is direct4
}

underlay() {
	local kind=$1 address

	check "$kind: gateway starts, IPv4" fresh_gateway "$kind" "endpoint: $PEER_UNDER4:$PEER_PORT"
	wg_peer
	check "$kind: IPv4: DF, no fragment, checksums, classes" headers_v4
	check "$kind: IPv4: inner marks show outside" marks_go_out "$FROM_GW4" ip.dsfield.ecn
	check "$kind: IPv4: outer marks come in, or drop" every_mark_comes_in
	check "$kind: IPv4: TCP with ECN sees marks" tcp_sees_marks
	check "$kind: packet too big is told by the host interface" too_big_is_told
	check "$kind: the port's MTU shrinks and grows" port_shrinks
	for address in 192.0.2.11 203.0.113.1 2001:db8::11 "$GW_UNDER4" "$GW_UNDER6"; do
		check "$kind: answers leave from $address" asked "$address"
	done
	check "$kind: the asked address goes" asked_address_goes
	check "$kind: moves between families lose nothing" moves_between_families
	check "$kind: the peer's address changes" peer_changes_its_address
	check "$kind: the peer's MAC changes" peer_changes_its_mac 02:00:00:00:00:77
	check "$kind: gateway starts, IPv6" fresh_gateway "$kind" "endpoint: \"[$PEER_UNDER6]:$PEER_PORT\""
	wg_peer
	check "$kind: IPv6: no fragment, checksums, label, classes" headers_v6
	check "$kind: IPv6: the label outlives the session" label_stays
	check "$kind: IPv6: inner marks show outside" marks_go_out "$FROM_GW6" ipv6.tclass.ecn
	check "$kind: IPv6: outer marks come in, or drop" every_mark_comes_in
	check "$kind: a small MTU is told at the start" small_from_the_start "$kind"
	check "$kind: jumbo frames beside the tunnel" jumbo "$kind"
	jumbo_ends
	check "$kind: IPv6 is all there is" only_v6 "$kind"
	check "$kind: IPv4 comes later" v4_comes
}

main() {
	local kinds=("$@") kind

	((${#kinds[@]})) || kinds=(af_xdp af_packet)
	need_lab "underlay"
	if ! have tshark || ! have tcpdump || ! have nft; then
		skip "underlay" "no tshark, tcpdump or nft"
		exit 0
	fi
	lab_up
	lab_address gw under0 "${MORE_GW[@]}"
	lab_address peer under0 203.0.113.2/24
	# A veth hands on whole what a NIC would cut and sum first; without its offloads the kernel does both.
	in_gw ethtool -K under0 tx off gso off tx-udp-segmentation off >/dev/null
	wg_start
	in_gw sysctl -qw net.ipv4.tcp_ecn=1
	for kind in "${kinds[@]}"; do
		underlay "$kind"
	done
	exit "$FAILED"
}

main "$@"
