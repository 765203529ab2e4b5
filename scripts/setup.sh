#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Install the Debian 12 packages that the project needs, by name. A second run finds them all
# and takes no time.
#
#   scripts/setup.sh                      what it takes to build and to run the quick start
#   scripts/setup.sh --tests              and what the test command needs besides
#   scripts/setup.sh --hugepages MB       reserve MB of 2 MiB pages now (no packages)
#   scripts/setup.sh --hugepages MB --every-boot    and again at every boot
#   scripts/setup.sh --list [--tests]     print the names and install nothing
#
# Needs root, unless nothing is missing. README.md says what each package is for.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

BUILD_PKGS=(
	build-essential meson ninja-build pkg-config
	clang llvm                # the XDP program is compiled for the bpf target
	libdpdk-dev libipsec-mb-dev libbpf-dev libmnl-dev
	libsodium-dev libssl-dev
	libwebsockets-dev libwebsockets-evlib-uv libuv1-dev libc-ares-dev libjansson-dev
	libnghttp2-dev libzstd-dev
	libcyaml-dev libyaml-dev libcurl4-openssl-dev libcap-dev
	libcmocka-dev
)
RUN_PKGS=(
	wireguard-go wireguard-tools
	iproute2 iputils-ping ethtool iperf3 procps jq
	netbase                   # /etc/hosts and /etc/services, which a bare root lacks
)
TEST_PKGS=(
	clang-format clang-tidy cppcheck shellcheck
	libclang-rt-14-dev        # sanitizer run time of clang
	ca-certificates curl git nftables python3-venv strace
	tcpdump tshark            # what the labs' packets look like
	gdb                       # its view of our types
	systemd mandoc bsdextrautils # the installed unit and pages
)
HUGEPAGE_MB=2
HUGEPAGE_SYSCTL=/etc/sysctl.d/60-sandd-gw-hugepages.conf

missing_packages() {
	dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		awk '$1 == "installed" { print $2 }' | sort -u |
		comm -13 - <(printf '%s\n' "$@" | sort -u)
}

# The lists of a fresh root are empty, and those of an old one name versions that are gone.
refresh_lists() {
	run_logged "$LOG" "reading package lists" apt-get update
}

can_simulate() {
	apt-get install --simulate --no-install-recommends "$@" >/dev/null 2>&1
}

# apt's own lines, cut down to one in twenty, so that a person sees that it moves.
apt_install() {
	local start=$SECONDS

	say "... installing ${#} packages and what they need: $*"
	if ! apt-get install --yes --no-install-recommends "$@" 2>&1 | tee "$LOG" |
		awk '/^Need to get/ { print "    " $0 }
			/^Setting up/ { if (++n % 20 == 0) print "    " n " set up, now " $3 }' >&2; then
		return 1
	fi
	say "    installed in $((SECONDS - start)) s"
}

install_packages() {
	local missing

	mapfile -t missing < <(missing_packages "$@")
	((${#missing[@]})) || { say "all ${#} packages are there"; return 0; }
	need_root
	have apt-get || die "no apt-get here; install by hand: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive LC_ALL=C
	LOG=$(mktemp -t sandd-setup.XXXXXX)
	can_simulate "${missing[@]}" || refresh_lists
	apt_install "${missing[@]}" || { refresh_lists; apt_install "${missing[@]}"; } ||
		{ tail -n 20 "$LOG" >&2; die "apt-get could not install them (whole log: $LOG)"; }
	rm -f "$LOG"
}

reserve_hugepages() {
	local mb=$1 every_boot=$2 pages got

	[[ $mb =~ ^[0-9]+$ ]] || die -2 "--hugepages wants a number of MB, not '$mb'"
	need_root
	pages=$(((mb + HUGEPAGE_MB - 1) / HUGEPAGE_MB))
	echo "$pages" >/proc/sys/vm/nr_hugepages || die "the kernel refuses to change vm.nr_hugepages"
	got=$(cat /proc/sys/vm/nr_hugepages)
	((got >= pages)) ||
		warn "asked for $pages pages, got $got: memory is in pieces; try at boot (--every-boot)"
	if ! grep -q ' hugetlbfs ' /proc/mounts; then
		mkdir -p /dev/hugepages
		mount -t hugetlbfs hugetlbfs /dev/hugepages
	fi
	say "$got hugepages of $HUGEPAGE_MB MB are reserved"
	((every_boot)) || return 0
	mkdir -p "${HUGEPAGE_SYSCTL%/*}"
	printf '# sandd-gw: packet memory\nvm.nr_hugepages = %s\n' "$pages" >"$HUGEPAGE_SYSCTL"
	say "and will be at every boot ($HUGEPAGE_SYSCTL)"
}

main() {
	local packages=("${BUILD_PKGS[@]}" "${RUN_PKGS[@]}") hugepages="" every_boot=0 list=0

	while (($#)); do
		case $1 in
		--tests) packages+=("${TEST_PKGS[@]}") ;;
		--hugepages) hugepages=${2:-}; shift; [[ $hugepages ]] || die -2 "--hugepages wants MB" ;;
		--every-boot) every_boot=1 ;;
		--list) list=1 ;;
		-h | --help) print_help; exit 0 ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	if ((list)); then
		printf '%s\n' "${packages[@]}"
	elif [[ $hugepages ]]; then
		reserve_hugepages "$hugepages" "$every_boot"
	elif ((every_boot)); then
		die -2 "--every-boot goes with --hugepages MB"
	else
		install_packages "${packages[@]}"
	fi
}

main "$@"
