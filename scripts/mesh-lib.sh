# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# A mesh in network namespaces: a real Headscale, gateways of ours, real tailscaled nodes; sourced after lab-lib.sh by
# quickstart.sh --mesh and tests/mesh. Needs root, and the peers headscale and tailscale (scripts/peers.sh).
#
#     namespace sandd-ID-hs: Headscale 192.0.2.10:8080, 2001:db8::10, and the bridge between all
#        |            |             |             |
#     sandd-ID-gw1  sandd-ID-gw2  sandd-ID-w1   sandd-ID-w2 ...   each with under0, 192.0.2.N, 2001:db8::N
#     sandd-gw      sandd-gw      tailscaled    tailscaled
#
# A node is named by its namespace: mesh_node gw1 1. Its files are in LAB_DIR/gw1. Everything goes with lab_down.

MESH_NET4=192.0.2 MESH_NET6=2001:db8:
MESH_SERVER=http://192.0.2.10:8080
MESH_PEERS=${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}
HEADSCALE=$MESH_PEERS/headscale/bin/headscale
TAILSCALED=$MESH_PEERS/tailscale/bin/tailscaled
TAILSCALE=$MESH_PEERS/tailscale/bin/tailscale
declare -A MESH_PID=()

# mesh_up [keep]: the bridge and Headscale's namespace.
mesh_up() {
	lab_begin "$@"
	# shellcheck disable=SC2153 # set by lab_begin
	ip netns add "sandd-$LAB_ID-hs"
	mesh_in hs ip link set lo up
	mesh_in hs ip link add br0 type bridge
	mesh_in hs ip link set br0 up
	mesh_in hs ip addr add "$MESH_NET4.10/24" dev br0
	mesh_in hs ip addr add "$MESH_NET6:10/64" dev br0 nodad
}

# mesh_words NAME: sets WORDS, which run a command in its namespace.
mesh_words() {
	lab_words "sandd-$LAB_ID-$1"
}

mesh_in() {
	mesh_words "$1"
	shift
	"${WORDS[@]}" "$@"
}

# mesh_node NAME NUMBER: a namespace on the bridge.
mesh_node() {
	local name=$1 number=$2

	mkdir -p "$LAB_DIR/$name"
	ip netns add "sandd-$LAB_ID-$name"
	mesh_in "$name" ip link set lo up
	mesh_in hs ip link add "v-$name" type veth peer name under0 netns "sandd-$LAB_ID-$name"
	mesh_in hs ip link set "v-$name" master br0 up
	mesh_in "$name" ip link set under0 up
	mesh_in "$name" ip addr add "$MESH_NET4.$number/24" dev under0
	mesh_in "$name" ip addr add "$MESH_NET6:$number/64" dev under0 nodad
	mesh_in "$name" ip route add default via "$MESH_NET4.10"
	# a 64 KiB segment of a peer on the same machine is no packet of a network
	mesh_in "$name" ethtool -K under0 gso off tx-udp-segmentation off >/dev/null 2>&1 || true
}

# mesh_run NAME LOG CMD...: in the background of its namespace; sets MESH_PID[LOG].
mesh_run() {
	local name=$1 log=$2

	shift 2
	mesh_words "$name"
	"${WORDS[@]}" "$@" >>"$LAB_DIR/$name/$log.log" 2>&1 &
	MESH_PID[$name/$log]=$!
	LAB_PIDS+=($!)
}

# mesh_end NAME LOG [SIGNAL]: end what mesh_run started, and wait.
mesh_end() {
	local pid=${MESH_PID[$1/$2]:-}

	[[ $pid ]] || return 0
	unset "MESH_PID[$1/$2]"
	kill "-${3:-TERM}" "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null
}

# --- Headscale ------------------------------------------------------------------------------------

hs_config() {
	mkdir -p "$LAB_DIR/hs"
	cat >"$LAB_DIR/hs/config.yaml" <<-EOF
		server_url: $MESH_SERVER
		listen_addr: 0.0.0.0:8080
		metrics_listen_addr: 127.0.0.1:9090
		grpc_listen_addr: 127.0.0.1:50443
		noise: {private_key_path: $LAB_DIR/hs/noise.key}
		prefixes: {v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential}
		derp:
		  server:
		    enabled: true
		    region_id: 999
		    region_code: lab
		    region_name: lab
		    verify_clients: true
		    stun_listen_addr: "0.0.0.0:3478"
		    private_key_path: $LAB_DIR/hs/derp.key
		    automatically_add_embedded_derp_region: true
		  urls: []
		  paths: []
		  auto_update_enabled: false
		disable_check_updates: true
		node: {ephemeral: {inactivity_timeout: 30m}}
		database: {type: sqlite, sqlite: {path: $LAB_DIR/hs/db.sqlite, write_ahead_log: true}}
		policy: {mode: database}
		dns:
		  magic_dns: true
		  base_domain: mesh.lab
		  override_local_dns: false
		  nameservers: {global: []}
		unix_socket: $LAB_DIR/hs/headscale.sock
		unix_socket_permission: "0770"
		logtail: {enabled: false}
		tuning: {batch_change_delay: 50ms, node_store_batch_timeout: 10ms}
	EOF
}

# hs_start: Headscale, and the user "ops", number 1. Again after hs_stop with the state it had.
hs_start() {
	[[ -e $LAB_DIR/hs/config.yaml ]] || hs_config
	mesh_run hs headscale "$HEADSCALE" -c "$LAB_DIR/hs/config.yaml" serve
	wait_for 60 mesh_in hs curl -fsS --max-time 2 http://127.0.0.1:8080/health ||
		{ tail -n 20 "$LAB_DIR/hs/headscale.log" >&2; die "Headscale does not start"; }
	wait_for 30 hs users list
	hs users list -o json | grep -q '"ops"' || hs users create ops >/dev/null
}

hs_stop() {
	mesh_end hs headscale || true
}

# hs ARGUMENTS: its command line.
hs() {
	"$HEADSCALE" -c "$LAB_DIR/hs/config.yaml" "$@" 2>>"$LAB_DIR/hs/cli.log"
}

# hs_key [ARGUMENTS]: make a pre-auth key of user 1 for a day and print it; --tags tag:x, --reusable, --ephemeral.
hs_key() {
	hs preauthkeys create -u 1 -e 24h "$@" | tail -n 1
}

# hs_policy TEXT
hs_policy() {
	printf '%s\n' "$1" >"$LAB_DIR/hs/policy.hujson"
	hs policy set -f "$LAB_DIR/hs/policy.hujson" >/dev/null
}

# hs_node_id NAME
hs_node_id() {
	hs nodes list -o json | jq -r --arg name "$1" '.[] | select(.given_name == $name) | .id'
}

# --- gateways -------------------------------------------------------------------------------------

# mesh_gw_config NAME [LINES]: LINES are further keys of the mesh section.
mesh_gw_config() {
	local name=$1 lines=${2:-}

	cat >"$LAB_DIR/$name/gw.yaml" <<-EOF
		listen_port: 51820
		ports:
		  - {kind: ${MESH_KIND:-af_xdp}, device: under0}
		workers: {cpus: [$(lab_worker_cpu)]}
		control_cpu: 0
		idle: adaptive
		host: {device: sandd0}
		api: {socket: $LAB_DIR/$name/api.sock}
		mesh:
		  server: $MESH_SERVER
		  hostname: $name
		  state_dir: $LAB_DIR/$name/state
		  authkey_file: $LAB_DIR/$name/authkey
	EOF
	[[ -z $lines ]] || printf '  %s\n' "${lines//$'\n'/$'\n  '}" >>"$LAB_DIR/$name/gw.yaml"
}

# mesh_gw_key NAME KEY
mesh_gw_key() {
	(umask 077 && printf '%s\n' "$2" >"$LAB_DIR/$1/authkey")
}

# mesh_gw_start NAME: until its API answers; it need not be in the mesh yet.
mesh_gw_start() {
	mesh_run "$1" gw "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/$1/gw.yaml"
	wait_for 60 mesh_gw_is_settled "$1" && mesh_ctl "$1" status >/dev/null 2>&1 && return
	tail -n 20 "$LAB_DIR/$1/gw.log" >&2
	return 1
}

mesh_gw_is_settled() {
	! kill -0 "${MESH_PID[$1/gw]}" 2>/dev/null || mesh_ctl "$1" status
}

# mesh_ctl NAME SANDCTL ARGUMENTS
mesh_ctl() {
	local name=$1

	shift
	"$SANDD_BUILD/control/sandctl" --socket "$LAB_DIR/$name/api.sock" "$@"
}

# mesh_gw_state NAME: streaming, needs_login, ...
mesh_gw_state() {
	mesh_ctl "$1" status --json | jq -r .mesh.state
}

mesh_gw_is() {
	[[ $(mesh_gw_state "$1") == "$2" ]]
}

# mesh_gw_ip NAME 4|6
mesh_gw_ip() {
	mesh_ctl "$1" status --json |
		jq -r --arg dot "$([[ $2 == 4 ]] && echo . || echo :)" '[.mesh.addresses[] | select(contains($dot))][0]'
}

# mesh_gw_join NAME NUMBER [LINES]: all of it, until the map is live.
mesh_gw_join() {
	mesh_node "$1" "$2"
	# shellcheck disable=SC2086 # a list
	mesh_gw_key "$1" "$(hs_key ${MESH_KEY_ARGS:-})"
	mesh_gw_config "$1" "${3:-}"
	mesh_gw_start "$1" || return 1
	wait_for 60 mesh_gw_is "$1" streaming && return
	tail -n 20 "$LAB_DIR/$1/gw.log" >&2
	return 1
}

# --- tailscaled -----------------------------------------------------------------------------------

# ts_start NAME: in a mount namespace with a resolv.conf of its own, which it overwrites.
ts_start() {
	local name=$1 dir=$LAB_DIR/$1

	echo "nameserver 127.0.0.1" >"$dir/resolv.conf"
	# shellcheck disable=SC2016 # for the inner shell
	mesh_run "$name" tailscaled unshare --mount sh -c '
		mount --bind "$1/resolv.conf" "$(readlink -f /etc/resolv.conf)" || exit 1
		dir=$1 && shift
		exec "$@" --no-logs-no-support --statedir="$dir/ts" --state="$dir/ts/state" \
			--socket="$dir/ts.sock" --port=41641 --tun=ts0' sh "$dir" "$TAILSCALED"
	wait_for 30 test -S "$dir/ts.sock"
}

# ts NAME ARGUMENTS: its command line.
ts() {
	local name=$1

	shift
	mesh_words "$name"
	"${WORDS[@]}" "$TAILSCALE" --socket="$LAB_DIR/$name/ts.sock" "$@"
}

# ts_join NAME NUMBER [UP ARGUMENTS]: all of it.
ts_join() {
	local name=$1

	mesh_node "$name" "$2"
	shift 2
	ts_start "$name" || { tail -n 20 "$LAB_DIR/$name/tailscaled.log" >&2; return 1; }
	# shellcheck disable=SC2086 # a list
	ts "$name" up --authkey="$(hs_key ${MESH_KEY_ARGS:-})" --login-server="$MESH_SERVER" \
		--hostname="$name" --timeout=60s "$@" >>"$LAB_DIR/$name/tailscaled.log" 2>&1
}

# ts_ip NAME 4|6
ts_ip() {
	ts "$1" ip "-$2"
}

# --- daemons --------------------------------------------------------------------------------------

# mesh_daemon_start NAME ID URL: sandd beside tailscaled, whose resolver it uses.
mesh_daemon_start() {
	# shellcheck disable=SC2016
	mesh_run "$1" "sandd-$2" nsenter --mount="/proc/$(mesh_ts_pid "$1")/ns/mnt" \
		unshare --uts sh -c 'hostname "$1" && shift && exec "$@"' sh "$2" \
		"$SANDD_BUILD/control/sandd" --server-url "$3" --daemon-id "$2" --reconnect-interval 1
}

# The process behind the words that started it.
mesh_ts_pid() {
	ip netns pids "sandd-$LAB_ID-$1" | while read -r pid; do
		[[ $(readlink "/proc/$pid/exe") != "$TAILSCALED" ]] || echo "$pid"
	done | head -n 1
}

mesh_daemon_is_there() {
	mesh_ctl "$1" daemons --json | jq -e --arg id "$2" 'any(.. | objects; .id? == $id)'
}
