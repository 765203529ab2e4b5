#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Does each suite notice when the thing under it is broken? For every tests/faults/*.patch: apply it
# to a copy of the tree, build, run the suite that its first line names, and expect failure.
#
#   scripts/test-faults.sh             all of them
#   scripts/test-faults.sh PATTERN     those whose name contains it; may be given several times
#   scripts/test-faults.sh --list      names and suites
#
# A patch is a `git diff` after one line `# suite: NAME`. NAME is a meson test, or a program in
# tests/ without its _test.sh (netns/tunnel: needs root), and arguments for it. First the suites run on the tree as it is:
# red there proves nothing. Exits 1 when a fault was not caught, or a patch does not apply or build.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FAULTS=$REPO/tests/faults

suite_of() {
	sed -n '1s/^# suite: *//p' "$1"
}

copy_tree() {
	tar -C "$REPO" --exclude='./build*' --exclude=./.git --exclude=./.cache -cf - . |
		tar -C "$TREE" -xf -
}

build_copy() {
	ninja -C "$TREE/build" >"$SCRATCH/build.log" 2>&1
}

# Run a suite in the copy; true when it passes.
run_suite() {
	local words

	read -ra words <<<"$1"
	if [[ ${words[0]} == */* ]]; then
		SANDD_BUILD=$TREE/build timeout 300 "$TREE/tests/${words[0]}_test.sh" "${words[@]:1}"
	else
		meson test -C "$TREE/build" --no-rebuild "${words[0]}"
	fi >"$SCRATCH/suite.log" 2>&1
}

# All suites that a patch names must be green before anything is broken.
check_unbroken() {
	local suite

	for suite in "$@"; do
		run_suite "$suite" || { tail -n 30 "$SCRATCH/suite.log" >&2
			die "$suite fails on the tree as it is"; }
	done
}

# One fault: prints its verdict. Time stamps of a patched file move twice, so ninja sees both.
try_fault() {
	local patch=$1 suite=$2 verdict=caught

	if ! git -C "$TREE" apply "$patch" 2>"$SCRATCH/apply.log"; then
		echo "does not apply"
		return
	fi
	if ! build_copy; then
		verdict="does not build"
	elif run_suite "$suite"; then
		verdict="NOT CAUGHT"
	fi
	git -C "$TREE" apply --reverse "$patch"
	echo "$verdict"
}

select_patches() {
	local patch name pattern

	for patch in "$FAULTS"/*.patch; do
		[[ -e $patch ]] || continue
		name=$(basename "$patch" .patch)
		(($# > 0)) || { echo "$patch"; continue; }
		for pattern in "$@"; do
			[[ $name != *$pattern* ]] || { echo "$patch"; break; }
		done
	done
}

list_patches() {
	local patch

	while read -r patch; do
		printf '%-44s %s\n' "$(basename "$patch" .patch)" "$(suite_of "$patch")"
	done
}

main() {
	local patches=() patch suite verdict bad=0 started

	case ${1:-} in
	-h | --help) print_help; exit 0 ;;
	--list) select_patches | list_patches; exit 0 ;;
	-*) die -2 "unknown option '$1' (--help lists them)" ;;
	esac
	mapfile -t patches < <(select_patches "$@")
	((${#patches[@]})) || die "no patch of that name in tests/faults"
	SCRATCH=$(mktemp -d -t sandd-faults.XXXXXX)
	TREE=$SCRATCH/tree
	trap 'rm -rf "$SCRATCH"' EXIT
	trap 'exit 130' INT TERM
	mkdir "$TREE"
	copy_tree
	git -C "$TREE" init --quiet
	say "... building a copy of the tree"
	if ! { meson setup "$TREE/build" "$TREE" -Dbench=false >"$SCRATCH/build.log" 2>&1 &&
		build_copy; }; then
		tail -n 30 "$SCRATCH/build.log" >&2
		die "the tree does not build"
	fi
	say "... suites on the tree as it is"
	mapfile -t suites < <(for patch in "${patches[@]}"; do suite_of "$patch"; done | sort -u)
	check_unbroken "${suites[@]}"
	for patch in "${patches[@]}"; do
		started=$SECONDS
		suite=$(suite_of "$patch")
		if [[ $suite ]]; then verdict=$(try_fault "$patch" "$suite"); else verdict="names no suite"; fi
		printf '%-44s %-20s %-15s %3d s\n' "$(basename "$patch" .patch)" "$suite" "$verdict" \
			$((SECONDS - started))
		[[ $verdict == caught ]] || bad=$((bad + 1))
	done
	printf '%d faults, %d caught\n' "${#patches[@]}" $((${#patches[@]} - bad))
	((bad == 0))
}

main "$@"
