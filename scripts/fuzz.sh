#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Feed every parser that outsiders reach with what nobody would send (libFuzzer, address and undefined sanitizers).
#
#   scripts/fuzz.sh                       each target for a minute, two at a time
#   scripts/fuzz.sh --seconds 3600        longer
#   scripts/fuzz.sh --target NAME         this one alone; may be given several times
#   scripts/fuzz.sh --keep                add inputs that reach new code to tests/fuzz/corpus
#   scripts/fuzz.sh --list                names
#
# Prints a TAP line for each target with its executions and coverage. Exits 1 on a finding, whose input is then in
# build-fuzz/findings/; build-fuzz/tests/fuzz/fuzz_NAME FILE runs it again.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

BUILD=$REPO/build-fuzz
FINDINGS=$BUILD/findings
CORPUS=$REPO/tests/fuzz/corpus
LEN_MAX=4096

targets() {
	local file

	for file in "$REPO"/tests/fuzz/fuzz_*.c; do
		file=${file##*/fuzz_}
		echo "${file%.c}"
	done
}

# Its words are in LOG: libFuzzer's last lines sum up.
run_target() {
	local name=$1 seconds=$2 log=$BUILD/fuzz_$1.log work=$BUILD/corpus/$1 words=()

	mkdir -p "$work" "$FINDINGS" "$CORPUS/$name"
	[[ ! -e $REPO/tests/fuzz/$name.dict ]] || words=(-dict="$REPO/tests/fuzz/$name.dict")
	ASAN_OPTIONS=detect_stack_use_after_return=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		"$BUILD/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -max_len="$LEN_MAX" -timeout=10 \
		-rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 -artifact_prefix="$FINDINGS/$name-" "${words[@]}" \
		"$work" "$CORPUS/$name" >"$log" 2>&1
}

tell_target() {
	local name=$1 code=$2 log=$BUILD/fuzz_$1.log runs coverage

	runs=$(awk '/^stat::number_of_executed_units/ { print $2 }' "$log")
	coverage=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1)
	if ((code == 0)) && ((${runs:-0} > 0)); then
		echo "ok - fuzz $name: $runs executions, $coverage"
	else
		echo "not ok - fuzz $name: code $code, ${runs:-no} executions; input in ${FINDINGS#"$REPO"/}"
		grep -E 'ERROR|SUMMARY|does not hold|runtime error|^    #[0-9] ' "$log" | head -n 15 | sed 's/^/# /'
		return 1
	fi
}

keep_target() {
	local name=$1

	"$BUILD/tests/fuzz/fuzz_$name" -merge=1 -max_len="$LEN_MAX" "$CORPUS/$name" "$BUILD/corpus/$name" \
		>>"$BUILD/fuzz_$name.log" 2>&1
}

main() {
	local seconds=60 keep=0 wanted=() names=() name failed=0 i

	while (($#)); do
		case $1 in
		--seconds) seconds=${2:-}; shift; [[ $seconds =~ ^[0-9]+$ ]] || die -2 "--seconds wants a number" ;;
		--target) wanted+=("${2:-}"); shift ;;
		--keep) keep=1 ;;
		--list) targets; exit 0 ;;
		-h | --help) print_help; exit 0 ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	mapfile -t names < <(targets)
	((${#wanted[@]} == 0)) || names=("${wanted[@]}")
	CC=clang build_tree "$BUILD" -Dfuzz=true -Dtests=false -Dbench=false -Db_sanitize=address,undefined
	for ((i = 0; i < ${#names[@]}; i += 2)); do
		declare -A pids=()
		for name in "${names[@]:i:2}"; do
			[[ -x $BUILD/tests/fuzz/fuzz_$name ]] || die -2 "no target '$name'; --list tells"
			run_target "$name" "$seconds" &
			pids[$name]=$!
		done
		for name in "${names[@]:i:2}"; do
			local code=0

			wait "${pids[$name]}" || code=$?
			tell_target "$name" "$code" || failed=1
			((!keep)) || keep_target "$name"
		done
	done
	return "$failed"
}

main "$@"
