#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Does each suite notice when the thing under it is broken? For every tests/faults/*.patch: apply it
# to a copy of the tree, build what its suite needs, run the suite that its first line names, and expect failure.
#
#   scripts/test-faults.sh                     all of them
#   scripts/test-faults.sh --only PATTERN      those whose name contains it; may be given several times
#   scripts/test-faults.sh --resume            what an earlier run on the same tree has told is not tried again
#   scripts/test-faults.sh --dir DIR           the copy is there (default: build-faults/ of the checkout)
#   scripts/test-faults.sh --list              names and suites
#
# A patch is a `git diff` after one line `# suite: NAME`. NAME is a meson test, or a program in
# tests/ without its _test.sh (netns/tunnel: needs root), and arguments for it. First a suite runs on the tree as it
# is: red there proves nothing. The copy and its build stay for the next time; two runs at once need a DIR each.
# The last line is "N caught, N missed"; exits 1 when a fault was not caught, or a patch does not apply or build.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

FAULTS=$REPO/tests/faults
# A suite that takes longer hangs.
SUITE_S=1200
# What labs need of a build.
LAB_TARGETS=(control/sandd-gw control/sandctl control/sandd tests/flood)

suite_of() {
	sed -n '1s/^# suite: *//p' "$1"
}

# --- the copy -----------------------------------------------------------------------------------

list_files() {
	(cd "$1" && find . -path './build*' -prune -o -path ./.git -prune -o -path ./.cache -prune -o \
		-name __pycache__ -prune -o -type f -print | sort)
}

# Only what differs is written, so that the build has little to do: a file that an interrupted run left broken is newer
# than what was built of it, and is written again.
copy_tree() {
	local file

	mkdir -p "$TREE"
	[[ -e $TREE/.git ]] || git -C "$TREE" init --quiet
	comm -13 <(list_files "$REPO") <(list_files "$TREE") | while read -r file; do
		rm "$TREE/$file"
	done
	list_files "$REPO" | while read -r file; do
		is_same "$file" || { mkdir -p "$TREE/${file%/*}" && cp --preserve=mode "$REPO/$file" "$TREE/$file"; }
	done
	TREE_SUM=$(cd "$TREE" && list_files . | grep -v '^./tests/faults/' | xargs -d '\n' sha256sum | sha256sum)
}

is_same() {
	local mode_here mode_there

	cmp -s "$REPO/$1" "$TREE/$1" || return 1
	mode_here=$(stat -c %a "$REPO/$1") mode_there=$(stat -c %a "$TREE/$1")
	[[ $mode_here == "$mode_there" ]]
}

build_copy() {
	ninja -C "$TREE/build" "$@" >"$SCRATCH/build.log" 2>&1
}

# What ninja is to build for a suite: of a meson test the programs that it runs.
targets_of() {
	case $1 in
	netns/unit*) echo all ;;
	*/*) printf '%s\n' "${LAB_TARGETS[@]}" ;;
	*) jq -r --slurpfile targets <(meson introspect "$TREE/build" --targets) --arg dir "$TREE/build/" --arg name "$1" '
		.[] | select(.name == $name) | .depends[] as $id
		| $targets[0][] | select(.id == $id) | .filename[] | ltrimstr($dir)' \
		<(meson introspect "$TREE/build" --tests) ;;
	esac
}

# --- suites -------------------------------------------------------------------------------------

# Run a suite in the copy; true when it passes. A lab that has failed a case need not go on.
run_suite() {
	local words pid code=0

	read -ra words <<<"$1"
	if [[ ${words[0]} != */* ]]; then
		meson test -C "$TREE/build" --no-rebuild --timeout-multiplier 3 "${words[0]}" >"$SCRATCH/suite.log" 2>&1
		return
	fi
	SANDD_BUILD=$TREE/build timeout "$SUITE_S" "$TREE/tests/${words[0]}_test.sh" "${words[@]:1}" \
		>"$SCRATCH/suite.log" 2>&1 &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		! grep -q '^not ok' "$SCRATCH/suite.log" || kill "$pid" 2>/dev/null || true
		sleep 0.5
	done
	wait "$pid" || code=$?
	return "$code"
}

# --- what is known ------------------------------------------------------------------------------

# key WHAT...: of a result on this tree.
key() {
	{ echo "$TREE_SUM" "$1"; [[ $# == 1 ]] || cat "$2"; } | sha256sum | cut -d ' ' -f 1
}

# known KEY: prints the verdict of an earlier run.
known() {
	((RESUME)) && sed -n "s/^$1 //p" "$RESULTS" | tail -n 1 | grep .
}

# A suite must be green before anything is broken. True when it is.
is_green() {
	local suite=$1 verdict

	verdict=${GREEN[$suite]:-$(known "$(key "$suite")" || true)}
	if [[ ! $verdict ]]; then
		verdict=green
		if [[ $(targets_of "$suite") == "" ]]; then
			verdict="no such suite"
		elif ! build_suite "$suite"; then
			verdict="does not build"
		elif ! run_suite "$suite"; then
			verdict="red on the tree as it is"
		fi
		[[ $verdict != green ]] || echo "$(key "$suite") $verdict" >>"$RESULTS"
	fi
	GREEN[$suite]=$verdict
	[[ $verdict == green ]]
}

build_suite() {
	local targets

	mapfile -t targets < <(targets_of "$1")
	build_copy "${targets[@]}"
}

# --- faults -------------------------------------------------------------------------------------

# One fault: sets VERDICT. Time stamps of a patched file move twice, so ninja sees both.
try_fault() {
	local patch=$1 suite=$2

	if ! is_green "$suite"; then
		VERDICT="suite: ${GREEN[$suite]}"
		tail -n 30 "$SCRATCH/suite.log" "$SCRATCH/build.log" 2>/dev/null | sed 's/^/    /' >&2 || true
		return
	fi
	if ! git -C "$TREE" apply "$patch" 2>"$SCRATCH/apply.log"; then
		VERDICT="does not apply"
		return
	fi
	VERDICT=caught
	if ! build_suite "$suite"; then
		VERDICT="does not build"
	elif run_suite "$suite"; then
		VERDICT="NOT CAUGHT"
	fi
	git -C "$TREE" apply --reverse "$patch"
	echo "$(key "$suite" "$patch") $VERDICT" >>"$RESULTS"
}

# judge PATCH: prints its line; true when it is caught.
judge() {
	local patch=$1 suite name started=$SECONDS

	name=$(basename "$patch" .patch)
	suite=$(suite_of "$patch")
	VERDICT="names no suite"
	if [[ $suite ]] && ! VERDICT=$(known "$(key "$suite" "$patch")"); then
		try_fault "$patch" "$suite"
	fi
	printf '%-52s %-20s %-15s %3d s\n' "$name" "$suite" "$VERDICT" $((SECONDS - started))
	[[ $VERDICT == caught ]]
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
		printf '%-52s %s\n' "$(basename "$patch" .patch)" "$(suite_of "$patch")"
	done
}

prepare() {
	mkdir -p "$DIR"
	exec 9>"$DIR/lock"
	flock --nonblock 9 || die "another run uses $DIR: give this one a --dir of its own"
	TREE=$DIR/tree RESULTS=$DIR/results
	SCRATCH=$(mktemp -d -t sandd-faults.XXXXXX)
	trap 'rm -rf "$SCRATCH"' EXIT
	trap 'exit 130' INT TERM
	((RESUME)) || rm -f "$RESULTS"
	touch "$RESULTS"
	copy_tree
	[[ -f $TREE/build/build.ninja ]] && return
	say "... configuring $TREE/build"
	rm -rf "$TREE/build"
	meson setup "$TREE/build" "$TREE" -Dbench=false >"$SCRATCH/build.log" 2>&1 ||
		{ tail -n 30 "$SCRATCH/build.log" >&2; die "meson setup failed"; }
}

main() {
	local patches=() only=() patch missed=0 list=0

	RESUME=0 DIR=$REPO/build-faults
	while (($#)); do
		case $1 in
		--only) [[ ${2:-} ]] || die -2 "--only wants a pattern"; only+=("$2"); shift ;;
		--resume) RESUME=1 ;;
		--dir) [[ ${2:-} ]] || die -2 "--dir wants a folder"; DIR=$(realpath -m "$2"); shift ;;
		--list) list=1 ;;
		-h | --help) print_help; exit 0 ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	mapfile -t patches < <(select_patches "${only[@]}")
	((${#patches[@]})) || die "no patch of that name in tests/faults"
	if ((list)); then
		printf '%s\n' "${patches[@]}" | list_patches
		exit 0
	fi
	prepare
	declare -A GREEN=()
	for patch in "${patches[@]}"; do
		judge "$patch" || missed=$((missed + 1))
	done
	printf '%d caught, %d missed\n' $((${#patches[@]} - missed)) "$missed"
	((missed == 0))
}

main "$@"
