#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The coordination client (coord/) with a real Headscale: joining in each way that its registration knows, staying, leaving; proxies, TLS,
# and servers that are none. coord_probe is the node: it has no tunnel. All on loopback, no root. Prints TAP lines.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

HEADSCALE=$PEERS/headscale/bin/headscale
PROBE=$SANDD_BUILD/tests/mesh/coord_probe
[[ -x $PROBE ]] || skip_all "coordination" "coord_probe is not built"
[[ -x $HEADSCALE ]] || skip_all "coordination" "no headscale; scripts/peers.sh headscale"
unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY SSL_CERT_FILE

# --- the server ---------------------------------------------------------------------------------

# hs_configure NAME http|https: its folder in $DIR/NAME, its port in PORT.
hs_configure() {
	local dir=$DIR/$1 scheme=$2

	PORT=$(free_port)
	mkdir -p "$dir"
	cat >"$dir/derp.yaml" <<-EOF
		regions:
		  900: {regionid: 900, regioncode: test, regionname: Test, nodes: [{name: 900a, regionid: 900,
		    hostname: 127.0.0.1, ipv4: 127.0.0.1, derpport: 1, stunport: -1, insecurefortests: true}]}
	EOF
	cat >"$dir/config.yaml" <<-EOF
		server_url: $scheme://127.0.0.1:$PORT
		listen_addr: 127.0.0.1:$PORT
		metrics_listen_addr: ""
		grpc_listen_addr: 127.0.0.1:$(free_port)
		noise: {private_key_path: $dir/noise.key}
		prefixes: {v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential}
		derp: {server: {enabled: false}, urls: [], paths: [$dir/derp.yaml], auto_update_enabled: false}
		database: {type: sqlite, sqlite: {path: $dir/db.sqlite}}
		dns: {magic_dns: true, base_domain: mesh.test, override_local_dns: false, nameservers: {global: []}}
		unix_socket: $dir/sock
		unix_socket_permission: "0770"
		disable_check_updates: true
		logtail: {enabled: false}
		log: {level: warn}
		tuning: {batch_change_delay: 50ms, node_store_batch_timeout: 10ms}
	EOF
	[[ $scheme == http ]] || cat >>"$dir/config.yaml" <<-EOF
		tls_cert_path: $dir/cert.pem
		tls_key_path: $dir/key.pem
	EOF
}

# hs NAME ARGS...
hs() {
	local name=$1

	shift
	"$HEADSCALE" -c "$DIR/$name/config.yaml" "$@" 2>/dev/null
}

# hs_start NAME: its process in HS_PID.
hs_start() {
	start "headscale-$1" "$HEADSCALE" -c "$DIR/$1/config.yaml" serve
	HS_PID=$STARTED
	until_true hs "$1" users list
}

# make_key NAME FILE OPTIONS...
make_key() {
	local name=$1 file=$DIR/$2

	shift 2
	hs "$name" preauthkeys create "$@" | tail -n 1 >"$file"
	[[ $(<"$file") == hskey-auth-* ]]
}

# node FILTER: of the server's list, by jq.
node() {
	hs main nodes list -o json | jq -er "$@"
}

node_id() {
	node --arg name "$1" '.[] | select(.given_name == $name) | .id'
}

# --- the node -----------------------------------------------------------------------------------

# probe NAME ARGS...: a node with its state in $DIR/NAME.state, told what to do by tell(), heard in $DIR/NAME.out.
declare -A PROBE_PID PROBE_IN
probe() {
	local name=$1 fd

	shift
	rm -f "$DIR/$name.in"
	mkfifo "$DIR/$name.in"
	exec {fd}<>"$DIR/$name.in"
	: >"$DIR/$name.out"
	"$PROBE" -s "$URL" -d "$DIR/$name.state" -n "$name" "$@" <"$DIR/$name.in" >"$DIR/$name.out" \
		2>"$DIR/$name.log" &
	PROBE_PID[$name]=$!
	PROBE_IN[$name]=$fd
	PIDS+=("$!")
}

tell() {
	local name=$1

	shift
	echo "$*" >&"${PROBE_IN[$name]}"
}

# quits NAME: by itself, with 0: nothing was left open on its loop.
quits() {
	tell "$1" quit
	wait "${PROBE_PID[$1]}"
}

# last NAME MEMBER: the newest line that has it.
last() {
	jq -c "select(type == \"object\" and has(\"$2\"))" "$DIR/$1.out" | tail -n 1 | grep .
}

# state NAME STATE [WORDS]: is that its state, with these words beside it?
state() {
	local line

	line=$(last "$1" state) && [[ $line ]] || return
	jq -e --arg state "$2" --arg words "${3:-}" \
		'.state == $state and (.detail | contains($words))' <<<"$line"
}

comes_to() {
	until_true state "$@" || { last "$1" state; return 1; }
}

self() {
	last "$1" self | jq -er ".self | $2"
}

# joins NAME ARGS...: and streams.
joins() {
	probe "$@" && comes_to "$1" streaming
}

# --- joining ------------------------------------------------------------------------------------

listed() {
	node --arg name "$1" '.[] | select(.given_name == $name) | .online' | grep -qx true
}

first_join() {
	joins n1 -k "$DIR/reusable" && until_true listed n1 && [[ $(self n1 .name) == n1.mesh.test ]]
}

private_files() {
	[[ $(stat -c %a "$DIR/n1.state") == 700 && $(stat -c %a "$DIR/n1.state/state.json") == 600 ]]
}

# Without any key: the server knows it.
same_after_restart() {
	local before after

	before=$(self n1 '[.id, .key, .addresses]|tostring')
	quits n1
	joins n1
	after=$(self n1 '[.id, .key, .addresses]|tostring')
	[[ $before == "$after" ]] && ! grep -q registering "$DIR/n1.out"
}

same_after_kill() {
	local before after try

	before=$(self n1 '[.id, .key, .addresses]|tostring')
	for try in 1 2 3; do
		kill -KILL "${PROBE_PID[n1]}"
		wait "${PROBE_PID[n1]}" || true
		joins n1 || return
	done
	after=$(self n1 '[.id, .key, .addresses]|tostring')
	[[ $before == "$after" ]]
}

one_process() {
	! "$PROBE" -s "$URL" -d "$DIR/n1.state" </dev/null 2>"$DIR/second" || return
	grep "in use by another process" "$DIR/second"
}

single_use() {
	joins once -k "$DIR/single" || return
	probe twice -k "$DIR/single"
	comes_to twice needs_login "authkey already used" || return
	quits twice
	# the node that used it may come back with it
	quits once
	joins once -k "$DIR/single"
}

# refused NAME KEY_FILE WORDS
refused() {
	probe "$1" -k "$DIR/$2"
	comes_to "$1" needs_login "$3" && quits "$1"
}

key_of_zeros() {
	printf 'hskey-auth-%s-%s\n' AAAAAAAAAAAA "$(printf 'a%.0s' {1..64})" >"$DIR/zeros"
	refused unknown zeros "invalid pre auth key"
}

wrong_secret() {
	printf '%s%s\n' "$(cut -c 1-24 "$DIR/reusable")" "$(printf 'a%.0s' {1..64})" >"$DIR/wrong"
	refused wrong wrong "handling register with auth key:"
}

revoked() {
	make_key main revoked -u 1 -e 1h
	hs main preauthkeys expire --id "$(hs main preauthkeys list -o json | jq '.[-1].id')" >/dev/null
	refused revoked revoked "authkey expired"
}

deleted_key() {
	make_key main deleted -u 1 -e 1h
	hs main preauthkeys delete --id "$(hs main preauthkeys list -o json | jq '.[-1].id')" >/dev/null
	refused deleted deleted "invalid pre auth key"
}

another_key_helps() {
	probe helped -k "$DIR/zeros"
	comes_to helped needs_login "invalid pre auth key" || return
	tell helped "login $(<"$DIR/reusable")"
	comes_to helped streaming && quits helped
}

tagged() {
	joins tagged -k "$DIR/tagged" && [[ $(node --arg name tagged '.[] | select(.given_name == $name) | .tags[0]') == tag:gw ]] &&
		quits tagged
}

login_url() {
	last "$1" state | jq -er '.login_url | select(startswith("http"))'
}

interactive() {
	probe person
	until_true login_url person
	comes_to person needs_login || return
	hs main auth register --auth-id "$(login_url person | sed 's|.*/||')" --user u
	comes_to person streaming
}

interactive_waits_for_server() {
	local first

	probe patient
	until_true login_url patient
	first=$(login_url patient)
	hs_again
	# the server has forgotten: another address
	until_true eval 'state patient needs_login && [[ $(login_url patient) != '"$first"' ]]'
	hs main auth register --auth-id "$(login_url patient | sed 's|.*/||')" --user u
	comes_to patient streaming && quits patient
}

# --- staying ------------------------------------------------------------------------------------

has_peer() {
	jq -en --arg name "$2.mesh.test" '[inputs | .nodes? // [] | .[] | .name] | index($name)' "$DIR/$1.out"
}

deltas() {
	joins n2 -k "$DIR/reusable" && until_true has_peer n1 n2
}

# What n2 tells of itself; the server's answer on n1's stream.
endpoint_told() {
	tell n2 "endpoint 192.0.2.7:41641 [2001:db8::7]:41641"
	until_true eval 'tell n1 map; jq -e ".peers[]? | select(.name == \"n2.mesh.test\") | .endpoints == [\"192.0.2.7:41641\", \"[2001:db8::7]:41641\"]" "$DIR/n1.out"'
}

# Telling the same again tells nothing: no request, so nothing comes back to n1.
same_is_not_told() {
	local before after

	sleep 1
	before=$(wc -l <"$DIR/n2.out")
	tell n2 "endpoint 192.0.2.7:41641 [2001:db8::7]:41641"
	sleep 1
	after=$(wc -l <"$DIR/n2.out")
	((before == after))
}

route_offered() {
	quits n2
	joins n2 -r 10.77.0.0/16
	until_true eval 'hs main nodes list-routes -o json | jq -e "[.. | strings | select(. == \"10.77.0.0/16\")] | length > 0"'
}

renamed() {
	hs main nodes rename -i "$(node_id n2)" renamed
	until_true eval '[[ $(self n2 .name) == renamed.mesh.test ]]'
}

hs_again() {
	stop "$HS_PID" KILL
	sleep 1
	hs_start main
}

server_restart() {
	: >"$DIR/n1.out"
	hs_again
	until_true eval 'grep -q backing_off "$DIR/n1.out"'
	comes_to n1 streaming && until_true listed n1
}

expired_key_is_renewed() {
	local key

	key=$(self n1 .key)
	quits n1
	joins n1 -k "$DIR/reusable"
	hs main nodes expire -i "$(node_id n1)"
	until_true last n1 identity || return
	until_true eval '[[ $(self n1 .key) != '"$key"' && $(self n1 .expired) == false ]]'
	[[ $(last n1 identity | jq -r .identity) == "$(self n1 .key)" ]] && comes_to n1 streaming
}

expired_without_key() {
	hs main nodes expire -i "$(node_id person)"
	comes_to person expired "log in" || return
	# an administrator may take it back
	hs main nodes expire -i "$(node_id person)" --expiry 2099-01-01T00:00:00Z
	comes_to person streaming || return
	hs main nodes expire -i "$(node_id person)"
	comes_to person expired || return
	tell person login
	until_true login_url person
	hs main auth register --auth-id "$(login_url person | sed 's|.*/||')" --user u
	comes_to person streaming
}

# A key on a running node that has expired.
expired_then_key() {
	hs main nodes expire -i "$(node_id person)"
	comes_to person expired || return
	tell person "login $(<"$DIR/reusable")"
	comes_to person streaming && [[ $(self person .expired) == false ]]
}

expiry_told_ahead() {
	hs main nodes expire -i "$(node_id n1)" --expiry 2099-01-01T00:00:00Z
	tell n1 map
	until_true eval 'tell n1 map; jq -e ".self.key_expiry_unix_s == 4070908800" "$DIR/n1.out"'
}

# A deleted node hears of it at its next request.
deleted_stops() {
	hs main nodes delete -i "$(node_id once)" --force
	tell once "endpoint 192.0.2.9:1"
	comes_to once removed "deleted this node" || return
	quits once
	probe once -k "$DIR/reusable"
	comes_to once removed || return
	tell once login
	comes_to once streaming && quits once
}

deleted_rejoins() {
	local before

	quits n1
	joins n1 -j -k "$DIR/reusable"
	before=$(self n1 .id)
	hs main nodes delete -i "$before" --force
	tell n1 "endpoint 192.0.2.9:1"
	until_true eval '(($(self n1 .id) > '"$before"'))' && comes_to n1 streaming
}

logs_out() {
	tell person logout
	comes_to person logged_out && until_true last person logout || return
	until_true eval '[[ $(last person self | jq .self) == null ]]' || return
	[[ $(last person logout | jq .logout) == 0 ]] || return
	until_true eval '! listed person' # offline after a while
}

ephemeral_logout() {
	joins brief -k "$DIR/ephemeral"
	until_true listed brief
	tell brief logout
	comes_to brief logged_out && until_true eval '! node_id brief' && quits brief
}

downs_and_ups() {
	tell n1 down
	comes_to n1 stopped && until_true eval '[[ $(last n1 self | jq .self) == null ]]' || return
	tell n1 up
	comes_to n1 streaming
}

# --- the way there ------------------------------------------------------------------------------

helper() {
	HELPER_PORT=$(free_port)
	start "$1" python3 "$REPO/tests/interop/control_server.py" "$HELPER_PORT" "$@"
	until_true bash -c "</dev/tcp/127.0.0.1/$HELPER_PORT"
}

through_proxy() {
	helper proxy
	export http_proxy=http://127.0.0.1:$HELPER_PORT
	joins proxied -k "$DIR/reusable" || return
	quits proxied
	# both /key and the upgrade
	(($(grep -c "CONNECT 127.0.0.1:${URL##*:}" "$DIR/proxy.log") >= 2)) || return
	: >"$DIR/proxy.log"
	export no_proxy=localhost,127.0.0.0/8
	joins proxied || return
	quits proxied
	[[ ! -s $DIR/proxy.log ]]
}

proxy_wants_login() {
	helper proxy me:sec%ret
	http_proxy=http://127.0.0.1:$HELPER_PORT probe asked
	comes_to asked backing_off "does not let us through" && quits asked || return
	http_proxy=http://me:sec%25ret@127.0.0.1:$HELPER_PORT joins asked -k "$DIR/reusable" || return
	! grep -q sec "$DIR/asked.log" && quits asked
}

proxy_of_another_kind() {
	all_proxy=socks5://127.0.0.1:1 probe socks
	comes_to socks backing_off "only http:// proxies" && quits socks
}

# meets KIND WORDS [ARGS...]: the server is of that kind.
meets() {
	local kind=$1 words=$2

	shift 2
	helper "$kind" "$@"
	URL=http://127.0.0.1:$HELPER_PORT probe "at-$kind"
	comes_to "at-$kind" backing_off "$words" && quits "at-$kind"
}

nobody_there() {
	URL=http://127.0.0.1:$(free_port) probe nobody
	comes_to nobody backing_off "connection refused" && quits nobody
}

no_such_name() {
	URL=http://no-such-host.invalid:8080 probe nameless
	comes_to nameless backing_off "no-such-host.invalid" && quits nameless
}

# --- TLS ----------------------------------------------------------------------------------------

tls_joins() {
	joins tls -k "$DIR/tls-key" -c "$DIR/tls/cert.pem" && quits tls
}

tls_by_environment() {
	SSL_CERT_FILE=$DIR/tls/cert.pem joins tls && quits tls
}

tls_unknown_root() {
	probe untrusting
	comes_to untrusting backing_off "not one for 127.0.0.1 that we trust" && quits untrusting
}

tls_other_name() {
	URL=${URL/127.0.0.1/localhost} probe misnamed -c "$DIR/tls/cert.pem"
	comes_to misnamed backing_off "not one for localhost" && quits misnamed
}

tls_through_proxy() {
	helper proxy
	https_proxy=http://127.0.0.1:$HELPER_PORT joins tls -c "$DIR/tls/cert.pem" && quits tls
}

tls_with_plain_server() {
	URL=${PLAIN/http/https} probe mixed -c "$DIR/tls/cert.pem"
	comes_to mixed backing_off "no TLS" && quits mixed
}

# --- the server's key ---------------------------------------------------------------------------

key_pinned() {
	joins pinned -k "$DIR/reusable" -p "$(server_key)" && quits pinned
	probe mispinned -k "$DIR/reusable" -p "mkey:$(printf '1%.0s' {1..64})"
	comes_to mispinned refused "the server's key is $(server_key)" && quits mispinned
}

server_key() {
	curl -fsS "$PLAIN/key?v=138" | jq -r .publicKey
}

# The server gets another key: nobody follows it unless the configuration says so.
key_changed() {
	stop "$HS_PID" KILL
	rm "$DIR/main/noise.key"
	hs_start main
	comes_to n1 refused "the server's key is $(server_key)" || return
	quits n1
	probe n1
	comes_to n1 refused && quits n1 || return
	joins n1 -p "$(server_key)" && quits n1 && joins n1
}

# --- cases --------------------------------------------------------------------------------------

hs_configure main http
PLAIN=http://127.0.0.1:$PORT
URL=$PLAIN
hs_start main
hs main users create u >/dev/null
make_key main reusable -u 1 --reusable -e 24h
make_key main single -u 1 -e 24h
make_key main expired -u 1 -e 1s
make_key main ephemeral -u 1 --ephemeral -e 24h
make_key main tagged --tags tag:gw -e 24h
printf 'no key at all\n' >"$DIR/malformed"

check "a reusable key: joined, named, online" first_join
check "the state is nobody else's to read" private_files
check "restart without a key: same node, no registration" same_after_restart
check "killed three times: same node" same_after_kill
check "a second process on one state is refused" one_process
check "a single-use key: once; again with the same state" single_use
check "an expired key" refused expired expired "authkey expired"
check "an unknown key" key_of_zeros
check "a key with a wrong secret" wrong_secret
check "a revoked key" revoked
check "a deleted key" deleted_key
check "a malformed key" refused malformed malformed "no key has"
check "another key on the running node" another_key_helps
check "a tagged key" tagged
check "interactive login" interactive
check "interactive login while the server restarts" interactive_waits_for_server

check "a peer arrives as a delta" deltas
check "endpoints reach the peer" endpoint_told
check "the same endpoints are not told again" same_is_not_told
check "a route is offered" route_offered
check "renamed by the administrator" renamed
check "the server killed and started again" server_restart
check "expired by the administrator: renewed with the key, the tunnel told" expired_key_is_renewed
check "expired without a key: said so, taken back, logged in again" expired_without_key
check "expired, and given a key" expired_then_key
check "key expiry known ahead" expiry_told_ahead
check "deleted, on_removed: stop" deleted_stops
check "deleted, on_removed: rejoin" deleted_rejoins
check "down and up" downs_and_ups
check "logout" logs_out
check "an ephemeral node is gone at its logout" ephemeral_logout

check "through a proxy, and around it" through_proxy
unset http_proxy no_proxy
check "a proxy that wants a login" proxy_wants_login
check "a proxy that is not HTTP" proxy_of_another_kind
check "nobody listens" nobody_there
check "no such name" no_such_name
check "a captive portal" meets portal "captive portal"
check "a redirect" meets redirect "redirects (302) to http://portal.example/login"
check "headers without end" meets endless "longer than"
check "a reset" meets reset ""
check "101 and garbage" meets garbage "frame" "$(server_key)"
check "101 and the end" meets dead "ended the handshake" "$(server_key)"
check "a server that is silent" meets silent "nothing within 10 s"

hs_main_pid=$HS_PID
hs_configure tls https
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout "$DIR/tls/key.pem" \
	-out "$DIR/tls/cert.pem" -subj /CN=hs.test -addext 'subjectAltName=DNS:hs.test,IP:127.0.0.1' 2>"$DIR/openssl.log"
URL=https://127.0.0.1:$PORT
hs_start tls
hs tls users create u >/dev/null
make_key tls tls-key -u 1 --reusable -e 24h
check "TLS with our own root" tls_joins
check "TLS with SSL_CERT_FILE" tls_by_environment
check "TLS: an unknown root" tls_unknown_root
check "TLS: another name" tls_other_name
check "TLS through a proxy" tls_through_proxy
check "TLS: the server speaks plain HTTP" tls_with_plain_server
stop "$HS_PID" KILL
HS_PID=$hs_main_pid
URL=$PLAIN

check "a pinned server key" key_pinned
check "the server's key changes" key_changed
exit $FAILED
