# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# What the scripts share; sourced, never run. Sets REPO (the checkout) and gives a few words to
# talk to the user. Everything a person reads goes to standard error, so that standard output
# stays free for results (`--json`).

# shellcheck disable=SC2034 # used by the scripts that source this file
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() {
	printf '%s\n' "$*" >&2
}

warn() {
	printf '%s: warning: %s\n' "${0##*/}" "$*" >&2
}

# die [-CODE] MESSAGE...: one line, and out (1 unless told).
die() {
	local code=1

	if [[ $1 =~ ^-[0-9]+$ ]]; then
		code=${1#-}
		shift
	fi
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit "$code"
}

# The header comment of a script is its help: print it without the marks.
print_help() {
	awk 'NR <= 2 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
}

need_root() {
	((EUID == 0)) || die "needs root: run it with sudo, or as root"
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# run_logged LOG WHAT CMD...: run quietly with a progress line; show the end of the log if it fails.
run_logged() {
	local log=$1 what=$2 start=$SECONDS

	shift 2
	say "... $what"
	if ! "$@" >"$log" 2>&1; then
		tail -n 40 "$log" >&2
		die "$what failed (whole log: $log)"
	fi
	say "    $what: $((SECONDS - start)) s"
}

# build_tree DIR [MESON OPTION...]: configure once, then compile what changed. Progress on stderr.
build_tree() {
	local dir=$1 start=$SECONDS

	shift
	[[ -f $dir/build.ninja ]] || configure_tree "$dir" "$@"
	show_ninja "$dir"
	say "    ${dir#"$REPO"/} is up to date ($((SECONDS - start)) s)"
}

configure_tree() {
	local dir=$1 log

	log=$(mktemp -t sandd-meson.XXXXXX)
	say "... configuring ${dir#"$REPO"/}"
	meson setup "$dir" "$REPO" "${@:2}" >"$log" 2>&1 ||
		{ tail -n 30 "$log" >&2; die "meson setup failed (whole log: $log)"; }
	rm -f "$log"
}

# Ninja's own counter on a terminal; elsewhere a line every ten percent, and the end if it fails.
show_ninja() {
	local dir=$1 log=$1/build.log

	if [[ -t 2 ]]; then
		ninja -C "$dir" >&2 || die "the build in $dir failed"
		return
	fi
	NINJA_STATUS='@ %p ' ninja -C "$dir" 2>&1 | tee "$log" | awk '
		/^@ +[0-9]+%/ && int($2 / 10) > last { last = int($2 / 10); print "    " $2 }' >&2 ||
		{ grep -vE '^@ ' "$log" | tail -n 40 >&2; die "the build in $dir failed"; }
}
