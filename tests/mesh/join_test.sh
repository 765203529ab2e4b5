#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every way into the mesh, and out of it: keys reusable, single, ephemeral, tagged; keys that are wrong, used, expired,
# revoked, told apart in the server's words; a login by URL; expiry and renewal; deletion with on_removed stop and
# rejoin; logout; a second process, a damaged state, another server key. Topology in scripts/mesh-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# fresh NAME KEY [LINES]: a gateway in gw1's namespace with a state of its own, started.
fresh() {
	local name=$1

	mesh_end gw1 gw || true
	rm -rf "$LAB_DIR/gw1/state"
	: >"$LAB_DIR/gw1/gw.log"
	mesh_gw_config gw1 "${3:-}"
	sed -i "s/hostname: gw1/hostname: $name/" "$LAB_DIR/gw1/gw.yaml"
	mesh_gw_key gw1 "$2"
	[[ $2 ]] || rm -f "$LAB_DIR/gw1/authkey"
	mesh_gw_start gw1
}

is_streaming() {
	wait_for 60 mesh_gw_is gw1 streaming || { mesh_ctl gw1 status; return 1; }
}

again() {
	mesh_end gw1 gw
	mesh_gw_start gw1 && is_streaming
}

single_key() {
	local id ip

	fresh single "$(hs_key)" && is_streaming || return 1
	id=$(hs_node_id single) ip=$(mesh_gw_ip gw1 4)
	again || return 1
	[[ $(hs_node_id single) == "$id" && $(mesh_gw_ip gw1 4) == "$ip" ]]
}

reusable_key() {
	KEY=$(hs_key --reusable)
	fresh reusable "$KEY" && is_streaming && fresh reusable2 "$KEY" && is_streaming &&
		[[ $(hs_node_id reusable) && $(hs_node_id reusable2) ]]
}

tagged_key() {
	fresh tagged "$(hs_key --tags tag:gateway)" && is_streaming || return 1
	hs nodes list -o json | jq -e '.[] | select(.given_name == "tagged") | tostring | contains("tag:gateway")'
}

ephemeral_key() {
	fresh shortlived "$(hs_key --ephemeral)" && is_streaming && [[ $(hs_node_id shortlived) ]] || return 1
	mesh_ctl gw1 logout || return 1
	wait_for 30 is_not_listed shortlived
}

is_not_listed() {
	[[ -z $(hs_node_id "$1") ]]
}

# refused WORDS KEY: needs a login, for the reason that the server gave.
refused() {
	fresh refused "$2" || return 1
	wait_for 60 mesh_gw_is gw1 needs_login || { mesh_ctl gw1 status; return 1; }
	mesh_ctl gw1 status
	gw_says gw1 ".mesh.detail | contains(\"$1\")" && is_not_listed refused
}

used_key() {
	local key

	key=$(hs_key)
	fresh user "$key" && is_streaming && refused "authkey already used" "$key"
}

expired_key() {
	local key

	key=$(hs preauthkeys create -u 1 -e 1s | tail -n 1)
	sleep 1.5
	refused "authkey expired" "$key"
}

revoked_key() {
	local key id

	key=$(hs_key --reusable)
	id=$(hs preauthkeys list -o json | jq 'map(.id | tonumber) | max')
	hs preauthkeys delete --id "$id" --force >/dev/null || return 1
	refused "invalid pre auth key" "$key"
}

# A person opens a URL: it is in the log, in the status, and what sandctl login prints.
by_url() {
	local id

	fresh visitor "" && wait_for 60 mesh_gw_is gw1 needs_login || return 1
	mesh_ctl gw1 login >"$LAB_DIR/login" || return 1
	cat "$LAB_DIR/login"
	id=$(grep -o 'hskey-authreq-[A-Za-z0-9_-]*' "$LAB_DIR/login") || return 1
	gw_says gw1 ".mesh.login_url | contains(\"$id\")" || return 1
	grep -q "$id" "$LAB_DIR/gw1/gw.log" || return 1
	hs auth register --auth-id "$id" --user ops >/dev/null || return 1
	is_streaming && [[ $(hs_node_id visitor) ]]
}

# After a refusal, a good key by the operator's hand.
login_with_key() {
	refused "invalid pre auth key" hskey-auth-aaaaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ||
		refused "key" hskey-auth-aaaaaaaaaaaa-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa || return 1
	hs_key | mesh_ctl gw1 login --authkey-file - && is_streaming
}

# The administrator expires the node: with a reusable key it renews its node key and stays who it is.
expiry() {
	local id key

	fresh aging "$(hs_key --reusable)" && is_streaming || return 1
	id=$(hs_node_id aging) key=$(mesh_ctl gw1 status --json | jq -r .tunnel.public_key)
	hs nodes expire -i "$id" >/dev/null || return 1
	wait_for 60 has_another_key "$key" && is_streaming && [[ $(hs_node_id aging) == "$id" ]]
}

has_another_key() {
	[[ $(mesh_ctl gw1 status --json | jq -r .tunnel.public_key) != "$1" ]]
}

deleted_stop() {
	fresh leaver "$(hs_key --reusable)" && is_streaming || return 1
	hs nodes delete -i "$(hs_node_id leaver)" --force >/dev/null || return 1
	mesh_ctl gw1 down && mesh_ctl gw1 up || return 1
	wait_for 60 mesh_gw_is gw1 removed || { mesh_ctl gw1 status; return 1; }
	is_not_listed leaver
}

deleted_rejoin() {
	fresh returner "$(hs_key --reusable)" "on_removed: rejoin" && is_streaming || return 1
	hs nodes delete -i "$(hs_node_id returner)" --force >/dev/null || return 1
	mesh_ctl gw1 down && mesh_ctl gw1 up || return 1
	is_streaming && [[ $(hs_node_id returner) ]]
}

# While no gateway runs; the keys are others afterwards.
logout_alone() {
	local before

	fresh goer "$(hs_key)" && is_streaming || return 1
	mesh_end gw1 gw
	before=$(md5sum <"$LAB_DIR/gw1/state/state.json")
	mesh_in gw1 "$SANDD_BUILD/control/sandd-gw" logout --config "$LAB_DIR/gw1/gw.yaml" || return 1
	[[ $(md5sum <"$LAB_DIR/gw1/state/state.json") != "$before" ]] || return 1
	hs nodes list -o json | jq -e '.[] | select(.given_name == "goer") | .expiry'
}

second_process() {
	local code=0

	fresh first "$(hs_key)" && is_streaming || return 1
	mesh_in gw1 "$SANDD_BUILD/control/sandd-gw" logout --config "$LAB_DIR/gw1/gw.yaml" || code=$?
	((code == 1)) && mesh_gw_is gw1 streaming
}

# damaged SED|chmod: refused with a line that names the file, and the file is left as it is.
damaged() {
	local file=$LAB_DIR/gw1/state/state.json before code=0

	fresh damaged "$(hs_key)" && is_streaming || return 1
	mesh_end gw1 gw
	"$@" "$file"
	before=$(stat -c '%a %s' "$file") before+=$(md5sum <"$file")
	mesh_in gw1 timeout 30 "$SANDD_BUILD/control/sandd-gw" --config "$LAB_DIR/gw1/gw.yaml" \
		>"$LAB_DIR/out" 2>&1 || code=$?
	cat "$LAB_DIR/out"
	((code == 1 || code == 2)) && grep -q "state.json" "$LAB_DIR/out" || return 1
	[[ $(stat -c '%a %s' "$file")$(md5sum <"$file") == "$before" ]]
}

# The server shows up with another key: refused, loudly; no registration under it.
another_server_key() {
	fresh loyal "$(hs_key --reusable)" && is_streaming || return 1
	mesh_end gw1 gw
	hs_stop
	mv "$LAB_DIR/hs/noise.key" "$LAB_DIR/hs/noise.old"
	hs_start
	mesh_gw_start gw1 || return 1
	wait_for 60 mesh_gw_is gw1 refused || { mesh_ctl gw1 status; return 1; }
	mesh_ctl gw1 status
	mesh_end gw1 gw
	hs_stop
	mv "$LAB_DIR/hs/noise.old" "$LAB_DIR/hs/noise.key"
	hs_start
}

no_secrets() {
	! grep -rhE "hskey-auth-[A-Za-z0-9_-]{20}|privkey:" "$LAB_DIR"/gw1/*.log &&
		[[ $(stat -c %a "$LAB_DIR/gw1/state") == 700 && $(stat -c %a "$LAB_DIR/gw1/state/state.json") == 600 ]]
}

main() {
	need_mesh "mesh join"
	mesh_up
	mesh_check "Headscale runs" hs_start
	hs_policy '{"tagOwners": {"tag:gateway": ["ops@"]}, "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]}'
	mesh_node gw1 1
	mesh_check "a key for one use; a restart keeps who it is" single_key
	mesh_check "a reusable key" reusable_key
	mesh_check "a tagged key" tagged_key
	mesh_check "an ephemeral key; logout deletes the node" ephemeral_key
	mesh_check "a key that was used" used_key
	mesh_check "a key that expired" expired_key
	mesh_check "a key that was revoked" revoked_key
	mesh_check "a key that nobody made, then a good one by sandctl login" login_with_key
	mesh_check "login by URL" by_url
	mesh_check "the node expires and is renewed" expiry
	mesh_check "deleted, on_removed: stop" deleted_stop
	mesh_check "deleted, on_removed: rejoin" deleted_rejoin
	mesh_check "logout while no gateway runs" logout_alone
	mesh_check "one process to a state" second_process
	mesh_check "a damaged state is refused" damaged sed -i 's/privkey:./privkey:/'
	mesh_check "a state that others can read is refused" damaged chmod 644
	mesh_check "another server key is refused" another_server_key
	mesh_check "no secret in a log, files 0600" no_secrets
	exit "$FAILED"
}

main "$@"
