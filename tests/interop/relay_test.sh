#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The relay client (coord_relays.h) with a real derper over TLS: whose certificate is taken and whose is not, packets there and back, a
# stranger that is not there, a relay that dies and comes back. All on loopback, no root. Prints TAP lines.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

DERPER=$PEERS/tailscale/bin/derper
PROBE=$SANDD_BUILD/tests/mesh/relay_probe
[[ -x $PROBE ]] || skip_all "relay" "relay_probe is not built"
[[ -x $DERPER ]] || skip_all "relay" "no derper; scripts/peers.sh tailscale"
unset http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY SSL_CERT_FILE

# derper_start HOST: its port in PORT, its process in STARTED.
derper_start() {
	start derper "$DERPER" -a "127.0.0.1:$PORT" -http-port -1 -stun=false -certmode manual -certdir "$DIR" \
		-hostname "$1" -c "$DIR/key.json"
	until_true bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT"
}

# A certificate for relay.test, of a root of ours.
certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=root \
		-addext basicConstraints=critical,CA:TRUE -keyout "$DIR/ca.key" -out "$DIR/ca.pem"
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=relay.test \
		-keyout "$DIR/relay.test.key" -out "$DIR/relay.csr"
	openssl x509 -req -in "$DIR/relay.csr" -CA "$DIR/ca.pem" -CAkey "$DIR/ca.key" -CAcreateserial -days 2 \
		-extfile <(echo subjectAltName=DNS:relay.test) -out "$DIR/relay.test.crt"
}

# works ARGS...: 200 packets there and back, and a stranger that the relay calls gone.
works() {
	timeout 30 "$PROBE" "$@" >"$DIR/said" || { cat "$DIR/said"; return 1; }
	cat "$DIR/said"
	grep -q '"echoed":200,.*"gone":1}' "$DIR/said"
}

# refuses WORDS ARGS...
refuses() {
	local words=$1

	shift
	! timeout 30 "$PROBE" "$@" >"$DIR/said" || { cat "$DIR/said"; return 1; }
	cat "$DIR/said"
	grep -q "$words" "$DIR/said"
}

# One that is asked to wait: lost within 5 s of the blow, and back.
dies_and_comes_back() {
	local probe

	RELAY_PROBE_WAIT=1 timeout 60 "$PROBE" 127.0.0.1 "$PORT" "$PIN" >"$DIR/said" &
	probe=$!
	PIDS+=("$probe")
	until_true grep -q echoed "$DIR/said"
	stop "$STARTED" KILL
	until_true grep -q lost "$DIR/said"
	derper_start 127.0.0.1
	wait "$probe"
	cat "$DIR/said"
	grep -q "back after" "$DIR/said"
}

PORT=$(free_port)
derper_start 127.0.0.1
PIN=sha256-raw:$(openssl x509 -in "$DIR/127.0.0.1.crt" -outform DER | sha256sum | cut -d ' ' -f 1)
OTHER=sha256-raw:$(printf other | sha256sum | cut -d ' ' -f 1)
check "a relay's pinned certificate, derper's own beside it" works 127.0.0.1 "$PORT" "$PIN"
echo "# $(cat "$DIR/said")"
check "another pin is refused" refuses "its SHA-256 is another" 127.0.0.1 "$PORT" "$OTHER"
check "no pin, and a root that nobody has" refuses "not one for 127.0.0.1 that we trust" 127.0.0.1 "$PORT" ""
check "not checked, for tests" works 127.0.0.1 "$PORT" insecure
check "a relay that is killed is missed, and found again" dies_and_comes_back
stop "$STARTED" TERM

certificate >"$DIR/openssl.log" 2>&1
PORT=$(free_port)
derper_start relay.test
check "a name's certificate, by our root" works relay.test "$PORT" "" "$DIR/ca.pem"
check "the name that the map says" works relay.test "$PORT" relay.test "$DIR/ca.pem"
check "another name than the map says" refuses "not one for other.test" relay.test "$PORT" other.test "$DIR/ca.pem"
check "a name's certificate without our root" refuses "that we trust" relay.test "$PORT" ""
exit "$FAILED"
