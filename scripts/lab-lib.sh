# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# A gateway and a peer in two network namespaces; sourced by quickstart.sh, lab.sh and tests/netns.
# Needs root, and a build in SANDD_BUILD (default: build/ of the checkout).
#
#     namespace sandd-ID-gw                          namespace sandd-ID-peer
#     sandd-gw  under0 192.0.2.1 -----veth----- 192.0.2.2 under0  wireguard-go
#               2001:db8::1                       2001:db8::2
#     sandd0    10.9.0.1, fd09::1  ====tunnel==== 10.9.0.2, fd09::2  wgID
#
# ID is the process's own, so labs run side by side; namespaces of processes that died are swept at
# the next start. A lab that is to stay after its script has the ID "keep". Everything is in LAB_DIR
# and goes with lab_down, which a trap calls on every exit.

SANDD_BUILD=${SANDD_BUILD:-$REPO/build}
GW_UNDER4=192.0.2.1 PEER_UNDER4=192.0.2.2 GW_UNDER6=2001:db8::1 PEER_UNDER6=2001:db8::2
GW4=10.9.0.1 PEER4=10.9.0.2 GW6=fd09::1 PEER6=fd09::2
GW_PORT=51820 PEER_PORT=51821
LAB_KEEP_DIR=/run/sandd-lab
LAB_MTU=1420

# Remove namespaces whose lab is dead, with what still runs inside. They are all named after one.
lab_sweep() {
	local id

	ip netns list | sed -nE 's/^sandd-([0-9]+)-[a-z0-9]+( .*)?$/\1/p' | sort -u | while read -r id; do
		[[ -d /proc/$id ]] || lab_remove "$id"
	done
}

# lab_remove ID: its namespaces, and what a killed peer leaves of its socket.
lab_remove() {
	local ns

	ip netns list | awk '{ print $1 }' | grep -E "^sandd-$1-[a-z0-9]+\$" | while read -r ns; do
		lab_remove_namespace "$ns"
	done || true
	rm -f "/var/run/wireguard/wg$1.sock" "/var/run/wireguard/wg$1"p*.sock
}

lab_remove_namespace() {
	local ns=$1 pids

	pids=$(ip netns pids "$ns" 2>/dev/null) || return 0
	# shellcheck disable=SC2086 # a list
	[[ -z $pids ]] || kill -9 $pids 2>/dev/null || true
	ip netns delete "$ns" 2>/dev/null || true
}

lab_names() {
	LAB_ID=$1
	LAB_GW=sandd-$LAB_ID-gw LAB_PEER=sandd-$LAB_ID-peer LAB_WG=wg$LAB_ID
	LAB_PIDS=() GW_PID="" WG_PID=""
}

# lab_begin [keep]: a folder, and the end of everything on every exit. Sets LAB_*.
lab_begin() {
	need_root
	lab_names "${1:-$BASHPID}"
	if [[ $LAB_ID == keep ]]; then
		LAB_DIR=$LAB_KEEP_DIR
		mkdir -m 700 "$LAB_DIR"
	else
		LAB_DIR=$(mktemp -d -t sandd-lab.XXXXXX)
	fi
	trap lab_down EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	lab_sweep
}

# lab_up [keep]: namespaces, the underlay between them, keys.
lab_up() {
	lab_begin "$@"
	ip netns add "$LAB_GW"
	ip netns add "$LAB_PEER"
	lab_enter
	in_gw ip link add under0 type veth peer name under0 netns "$LAB_PEER"
	# no duplicate address detection: the addresses are there at once
	lab_address gw under0 "$GW_UNDER4/24" "$GW_UNDER6/64"
	lab_address peer under0 "$PEER_UNDER4/24" "$PEER_UNDER6/64"
	# a 64 KiB segment of a peer on the same machine is no packet of a network
	in_peer ethtool -K under0 gso off tx-udp-segmentation off >/dev/null 2>&1 || true
	lab_keys
}

# lab_address WHERE DEVICE ADDRESS...: in_WHERE runs commands there.
lab_address() {
	local inside=in_$1 dev=$2 addr

	shift 2
	"$inside" ip link set lo up
	"$inside" ip link set "$dev" up
	for addr in "$@"; do
		if [[ $addr == *:* ]]; then
			"$inside" ip addr add "$addr" dev "$dev" nodad
		else
			"$inside" ip addr add "$addr" dev "$dev"
		fi
	done
}

lab_keys() {
	(
		umask 077
		local who
		for who in gw peer stranger; do
			wg genkey >"$LAB_DIR/$who.key"
			wg pubkey <"$LAB_DIR/$who.key" >"$LAB_DIR/$who.pub"
		done
		wg genpsk >"$LAB_DIR/psk"
	)
}

# Ends with the code of the shell, whatever happens in here.
lab_down() {
	local code=$? pid

	set +e
	trap - EXIT
	# not again in the middle
	trap '' INT TERM HUP
	gw_stop
	for pid in "${LAB_PIDS[@]}"; do
		kill "$pid" 2>/dev/null
	done
	# who does not heed it within some seconds is ended
	wait_for 15 lab_is_over || kill -KILL "${LAB_PIDS[@]}" 2>/dev/null
	((${#LAB_PIDS[@]} == 0)) || wait "${LAB_PIDS[@]}" 2>/dev/null
	lab_remove "$LAB_ID"
	rm -rf "$LAB_DIR"
	exit "$code"
}

lab_is_over() {
	local pid

	for pid in "${LAB_PIDS[@]}"; do
		! kill -0 "$pid" 2>/dev/null || return 1
	done
}

# Stop a lab that was kept, whatever is left of it. False when there is none.
lab_stop_kept() {
	[[ -d $LAB_KEEP_DIR ]] || return 1
	lab_names keep
	# SIGTERM first: the gateway takes its interface and program away itself
	# shellcheck disable=SC2046 # a list
	kill $(lab_pids) 2>/dev/null || true
	wait_for 5 lab_is_empty || true
	lab_remove keep
	rm -rf "$LAB_KEEP_DIR"
}

lab_is_empty() {
	[[ -z $(lab_pids) ]]
}

# Processes in all of the lab's namespaces.
lab_pids() {
	local ns

	ip netns list | awk '{ print $1 }' | grep -E "^sandd-$LAB_ID-[a-z0-9]+\$" | while read -r ns; do
		ip netns pids "$ns"
	done
}

# Sets GW_EXEC and PEER_EXEC, the words that run a command in the namespaces.
lab_enter() {
	lab_words "$LAB_GW"
	GW_EXEC=("${WORDS[@]}")
	lab_words "$LAB_PEER"
	PEER_EXEC=("${WORDS[@]}")
}

# lab_words NAMESPACE: sets WORDS. `ip netns exec` and `ip -n` want the root to be a mount point, which
# that of a chroot need not be.
lab_words() {
	WORDS=(ip netns exec "$1")
	[[ ${HAS_NETNS_EXEC:-} ]] || if "${WORDS[@]}" true 2>/dev/null; then
		HAS_NETNS_EXEC=1
	else
		HAS_NETNS_EXEC=0
	fi
	((HAS_NETNS_EXEC)) || WORDS=(nsenter "--net=/run/netns/$1" --)
}

# Foreground only: what runs behind these in the background has the number of a shell, and not its own.
in_gw() {
	"${GW_EXEC[@]}" "$@"
}

in_peer() {
	"${PEER_EXEC[@]}" "$@"
}

gwctl() {
	"$SANDD_BUILD/control/sandctl" --socket "$LAB_DIR/api.sock" "$@"
}

# wait_for SECONDS CMD...: until the command succeeds.
wait_for() {
	local deadline=$((SECONDS + $1))

	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || return 1
		sleep 0.1
	done
}

# --- gateway ------------------------------------------------------------------------------------

# The last core for the worker, the first for everything else.
lab_worker_cpu() {
	echo $(($(nproc) - 1))
}

# gw_config KIND [PEER LINES]: write the configuration. PEER LINES are further keys of the peer, as
# YAML; a known endpoint makes the gateway an initiator.
gw_config() {
	gw_config_head "$1"
	gw_config_peer worker-1 "$LAB_DIR/peer.pub" "$PEER4" "$PEER6" "${2:-}"
}

# Everything but the peers.
gw_config_head() {
	local kind=$1

	cat >"$LAB_DIR/gw.yaml" <<-EOF
		listen_port: $GW_PORT
		private_key_file: $LAB_DIR/gw.key
		ports:
		  - {kind: $kind, device: under0}
		workers: {cpus: [$(lab_worker_cpu)]}
		control_cpu: 0
		idle: adaptive
		host:
		  device: sandd0
		  addresses: [$GW4/24, "$GW6/64"]
		  mtu: $LAB_MTU
		controller: {listen: "$GW4:8765"}
		api: {socket: $LAB_DIR/api.sock}
		filter:
		  - {proto: icmp}
		  - {proto: tcp, ports: "5000-5999"}
		  - {proto: udp, ports: "5000-5999"}
		  - {proto: tcp, ports: "8765"}
		peers:
	EOF
}

# gw_config_peer NAME PUBLIC_KEY_FILE IPV4 IPV6 [LINES]
gw_config_peer() {
	local name=$1 key=$2 v4=$3 v6=$4 lines=${5:-}

	cat >>"$LAB_DIR/gw.yaml" <<-EOF
		  - name: $name
		    public_key: $(<"$key")
		    allowed_ips: [$v4/32, "$v6/128"]
	EOF
	[[ -z $lines ]] || printf '    %s\n' "${lines//$'\n'/$'\n    '}" >>"$LAB_DIR/gw.yaml"
}

# Start it and wait until it answers. Its words are in gw.log.
gw_start() {
	"${GW_EXEC[@]}" "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/gw.yaml" \
		>>"$LAB_DIR/gw.log" 2>&1 &
	GW_PID=$!
	wait_for 60 gw_is_settled && gwctl status >/dev/null 2>&1 && return
	gw_show_log
	return 1
}

# It answers, or it has given up.
gw_is_settled() {
	! kill -0 "$GW_PID" || gwctl status
}

gw_show_log() {
	[[ -e $LAB_DIR/gw.log ]] || return 0
	tail -n 20 "$LAB_DIR/gw.log" | sed 's/^/# gateway: /'
}

# SIGTERM and wait; returns its exit code.
gw_stop() {
	local pid=$GW_PID

	[[ $pid ]] || return 0
	GW_PID=""
	kill "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null
}

gw_kill() {
	local pid=$GW_PID

	GW_PID=""
	kill -9 "$pid"
	wait "$pid" 2>/dev/null || true
}

# gw_start_any [PEER LINES]: on af_xdp, or else on af_packet. Sets GW_KIND, and says why.
gw_start_any() {
	GW_KIND=af_xdp
	gw_config af_xdp "$@"
	gw_start >/dev/null && return
	say "    af_xdp does not work here, trying af_packet: $(tail -n 1 "$LAB_DIR/gw.log")"
	gw_stop || true
	# shellcheck disable=SC2034 # for the caller
	GW_KIND=af_packet
	gw_config af_packet "$@"
	gw_start || { tail -n 20 "$LAB_DIR/gw.log" >&2; die "sandd-gw does not start"; }
}

# --- peer ---------------------------------------------------------------------------------------

# The other end: wireguard-go, configured by wg.
wg_start() {
	WG_PROCESS_FOREGROUND=1 "${PEER_EXEC[@]}" wireguard-go "$LAB_WG" >>"$LAB_DIR/wg.log" 2>&1 &
	WG_PID=$!
	LAB_PIDS+=("$WG_PID")
	wait_for 60 in_peer wg show "$LAB_WG" || return 1
	in_peer wg set "$LAB_WG" listen-port "$PEER_PORT" private-key "$LAB_DIR/peer.key"
	in_peer ip link set "$LAB_WG" mtu "$LAB_MTU"
	lab_address peer "$LAB_WG" "$PEER4/24" "$PEER6/64"
}

wg_stop() {
	kill "$WG_PID" 2>/dev/null || true
	wait "$WG_PID" 2>/dev/null || true
	WG_PID=""
}

# wg_peer [WG SET ARGUMENTS]: tell it of the gateway.
wg_peer() {
	in_peer wg set "$LAB_WG" peer "$(<"$LAB_DIR/gw.pub")" \
		allowed-ips "$GW4/32,$GW6/128" "$@"
}

wg_forget() {
	in_peer wg set "$LAB_WG" peer "$(<"$LAB_DIR/gw.pub")" remove
}

# Seconds since 1970 of its last handshake; 0 for never.
wg_handshake_time() {
	in_peer wg show "$LAB_WG" latest-handshakes | awk '{ print $2 }'
}

# --- daemon -------------------------------------------------------------------------------------

# daemon_start NAME: sandd beside the peer, with a host name of its own.
daemon_start() {
	"${PEER_EXEC[@]}" unshare --uts sh -c 'hostname "$1" && shift && exec "$@"' sh "$1" \
		"$SANDD_BUILD/control/sandd" --server-url "ws://$GW4:8765/ws" --daemon-id "$1" \
		>>"$LAB_DIR/$1.log" 2>&1 &
	LAB_PIDS+=($!)
	wait_for 60 daemon_is_there "$1" ||
		{ tail -n 20 "$LAB_DIR/$1.log" >&2; die "daemon $1 does not register"; }
}

daemon_is_there() {
	gwctl daemons --json | jq -e --arg id "$1" 'any(.. | objects; .id? == $id)'
}
