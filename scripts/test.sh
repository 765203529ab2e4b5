#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Run every test that this machine can run. The last line is the sum, in cases:
#
#   N passed, N failed, N skipped
#
#   scripts/test.sh                  everything: static checks, unit suites and the dataplane on ring
#                                    ports (gcc, clang, sanitizers), namespace labs, real peers
#   scripts/test.sh --quick          without the sanitizers, clang-tidy and the long labs
#   scripts/test.sh --only SUITE     just this one; may be given several times
#   scripts/test.sh --list           names of the suites, in order
#   scripts/test.sh --keep-logs      logs of what passed are kept too
#
# Exits 1 when a case failed. Installs what is missing first (scripts/setup.sh --tests, peers.sh),
# for which it needs root; so do the labs, and they are skipped, and counted, without it. Every suite
# is a program that prints TAP; a suite that dies in the middle counts as failed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

BUILD=$REPO/build-gcc
export SANDD_BUILD=$BUILD SANDD_BUILD_CLANG=$REPO/build-clang
LOGS=$REPO/build-logs
# Long, and mostly waiting: run beside the others.
BACKGROUND=(netns/rekey interop/peers)
NOT_QUICK=(asan tsan fuzz tidy netns/rekey interop/peers)

# --- suites -------------------------------------------------------------------------------------

suite_includes() {
	"$REPO/scripts/check-includes"
}

suite_style() {
	"$REPO/scripts/check-style" format size comments spdx words shell cppcheck
}

suite_gcc() {
	build_tree "$BUILD" -Dwerror=true
	meson_tests "$BUILD" unit kernel
}

suite_clang() {
	CC=clang build_tree "$SANDD_BUILD_CLANG" -Dwerror=true
	echo "ok - compiles with clang without a warning"
}

suite_tidy() {
	"$REPO/scripts/check-style" tidy
}

suite_asan() {
	build_tree "$REPO/build-asan" -Db_sanitize=address,undefined -Dbench=false
	meson_tests "$REPO/build-asan" unit
}

suite_fuzz() {
	"$REPO/scripts/fuzz.sh" --seconds 20
}

suite_tsan() {
	CC=clang build_tree "$REPO/build-tsan" -Db_sanitize=thread -Dbench=false
	meson_tests "$REPO/build-tsan" unit
}

# quickstart_line "ARGUMENTS" CHECK...: its line of --json is what others build on: fields, and what must be so.
quickstart_line() {
	local arguments=$1 line check

	shift
	((EUID == 0)) || { echo "ok - quickstart # SKIP needs root"; return 0; }
	# shellcheck disable=SC2086 # a list
	line=$("$REPO/scripts/quickstart.sh" $arguments --json | tail -n 1)
	echo "# $line"
	for check in "$@"; do
		if jq -e "$check" <<<"$line" >/dev/null; then
			echo "ok - quickstart $arguments: $check"
		else
			echo "not ok - quickstart $arguments: $check"
		fi
	done
}

suite_quickstart() {
	quickstart_line "" '.worker == "worker-1"' '.exec_stdout == "worker-1\n"' '.exec_ms > 0' \
		'.tcp_gbps > 0' '.port_kind == "af_xdp" or .port_kind == "af_packet"' \
		'.handshakes >= 1' '.sealed_pkts > 0' '.opened_pkts > 0'
}

suite_quickstart_mesh() {
	wait_for_peers
	quickstart_line --mesh '.worker == "worker-1"' '.exec_stdout == "worker-1\n"' \
		'.node == "gw1.mesh.lab"' '.mesh_ip | startswith("100.64.")' '.peers_online == 1'
}

suite_python() {
	PYTHONDONTWRITEBYTECODE=1 python3 "$REPO/python/tests/test_server.py"
}

# netns/x, interop/x and mesh/x are programs of that name in tests/.
run_suite_body() {
	[[ $1 != interop/* && $1 != mesh/* ]] || wait_for_peers
	case $1 in
	*/*) "$REPO/tests/$1_test.sh" ;;
	*) "suite_$1" ;;
	esac
}

all_suites() {
	local file

	printf '%s\n' includes style gcc clang
	for file in "$REPO"/tests/{netns,interop,mesh}/*_test.sh; do
		[[ ! -e $file ]] || { file=${file#"$REPO"/tests/}; echo "${file%_test.sh}"; }
	done
	printf '%s\n' quickstart quickstart_mesh python tidy asan tsan fuzz
}

# --- running and counting -----------------------------------------------------------------------

# Run the meson suites of a build, and print what each test printed. Not with detect_stack_use_after_return: gcc's frames on
# the heap are not aligned for variables of 64 bytes, as the vectors of cr_lanes.c are. cmocka speaks TAP; a test that
# says nothing, or ends badly after its last line, gets a line of its own.
meson_tests() {
	local build=$1 suites=() name

	shift
	for name in "$@"; do
		suites+=(--suite "$name")
	done
	rm -f "$build/meson-logs/testlog.json"
	CMOCKA_MESSAGE_OUTPUT=TAP \
		ASAN_OPTIONS=abort_on_error=0 \
		UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$REPO/tests/tsan.supp \
		meson test -C "$build" --no-rebuild --num-processes 2 --timeout-multiplier 5 "${suites[@]}" >&2 || true
	jq -r '(.name | sub("^.* / "; "")) as $name | (.stdout // "") as $out | (.stderr // "") as $err
		| "# --- \($name): \(.result), \(.duration | floor) s",
		$out,
		if .result == "OK" then
			(if $out | test("(^|\n)(not )?ok ") then empty else "ok - \($name)" end)
		elif .result == "SKIP" then "ok - \($name) # SKIP"
		else
			(if $out | test("(^|\n)not ok [0-9]+ - ") then empty
				else "not ok - \($name): \(.result), code \(.returncode)" end),
			($err | split("\n")[] | select(. != "") | "# " + .)
		end' "$build/meson-logs/testlog.json"
}

# Sum up a TAP log: "passed failed skipped". Cases that a plan (1..N) promised and that never came
# count as failed, and so does a suite that failed without saying which case.
tally() {
	awk -v rc="$2" '
		/^1\.\.[0-9]+/ { split($0, plan, /\.\./); promised += plan[2]; seen_before = seen }
		/^(not )?ok( |$)/ {
			seen++
			if ($0 ~ /# *SKIP/) skipped++
			else if ($1 == "ok") passed++
			else failed++
		}
		END {
			if (promised > seen) failed += promised - seen
			if (rc != 0 && !failed) failed = 1
			if (!seen && !failed) failed = 1
			print passed + 0, failed + 0, skipped + 0
		}' "$1"
}

start_suite() {
	local name=$1 log

	log=$LOGS/${name//\//-}.log
	rm -f "$log.rc"
	(
		set +e
		(set -e; run_suite_body "$name") >"$log" 2>"$log.err"
		echo "$? $SECONDS" >"$log.rc"
	)
}

finish_suite() {
	local name=$1 started=$2 log rc ended passed failed skipped

	log=$LOGS/${name//\//-}.log
	read -r rc ended <"$log.rc"
	read -r passed failed skipped < <(tally "$log" "$rc")
	PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
	printf '%-24s %4d passed %3d failed %3d skipped %5d s\n' \
		"$name" "$passed" "$failed" "$skipped" $((ended - started))
	grep -E '^ok.*# *SKIP|^not ok.*# *SKIP' "$log" | sed 's/^/    /' || true
	# a suite's own table
	sed -n 's/^#| /    /p' "$log"
	if ((failed)); then
		show_failures "$log" | head -n 80 | sed 's/^/    /'
		tail -n 25 "$log.err" | sed 's/^/    | /'
		printf '    (whole log: %s)\n' "${log#"$REPO"/}"
	elif ((!KEEP_LOGS)); then
		rm -f "$log" "$log.err"
	fi
	rm -f "$log.rc"
}

# The cases that failed, each with the remarks after it.
show_failures() {
	awk '/^(not )?ok|^# ---/ { shown = 0 }
		/^not ok/ && !/# *SKIP/ { shown = 20 }
		shown-- > 0' "$1"
}

is_in() {
	local what=$1

	shift
	[[ " $* " == *" $what "* ]]
}

# Suites in the background wait too, and they are not the parent of who installs: a file tells.
wait_for_peers() {
	until [[ -e $LOGS/peers.done ]] || ! kill -0 "$PEERS_PID" 2>/dev/null; do
		sleep 0.5
	done
}

# What could not be installed; its suites skip.
tell_missing_peers() {
	wait "$PEERS_PID" || grep 'not available' "$LOGS/peers.log" >&2 || true
}

run_suites() {
	local name started waiting=()

	declare -A pid_of started_at
	# what runs in the background needs the build, which is then up to date for the others too
	for name in "$@"; do
		is_in "$name" "${BACKGROUND[@]}" || continue
		started_at[$name]=$SECONDS
		start_suite "$name" &
		pid_of[$name]=$!
		waiting+=("$name")
	done
	for name in "$@"; do
		is_in "$name" "${BACKGROUND[@]}" && continue
		say "... $name"
		started=$SECONDS
		start_suite "$name"
		finish_suite "$name" "$started"
	done
	for name in "${waiting[@]}"; do
		say "... waiting for $name"
		wait "${pid_of[$name]}"
		finish_suite "$name" "${started_at[$name]}"
	done
}

prepare() {
	"$REPO/scripts/setup.sh" --tests
	mkdir -p "$LOGS"
	"$REPO/scripts/peers.sh" wycheproof || true
	# minutes, the first time: the suites that need them wait
	rm -f "$LOGS/peers.done"
	(
		code=0
		"$REPO/scripts/peers.sh" >"$LOGS/peers.log" 2>&1 || code=$?
		touch "$LOGS/peers.done"
		exit "$code"
	) &
	PEERS_PID=$!
	# the labs need it; where it fails, the suite gcc says so
	(build_tree "$BUILD" -Dwerror=true) || warn "$BUILD does not build"
}

main() {
	local quick=0 only=() suites=() name

	KEEP_LOGS=0 PASSED=0 FAILED=0 SKIPPED=0 PEERS_PID=""
	while (($#)); do
		case $1 in
		--quick) quick=1 ;;
		--only) [[ ${2:-} ]] || die -2 "--only wants a suite"; only+=("$2"); shift ;;
		--list) all_suites; exit 0 ;;
		--keep-logs) KEEP_LOGS=1 ;;
		-h | --help) print_help; exit 0 ;;
		*) die -2 "unknown option '$1' (--help lists them)" ;;
		esac
		shift
	done
	for name in "${only[@]}"; do
		is_in "$name" "$(all_suites | tr '\n' ' ')" || die -2 "no suite '$name': see --list"
	done
	for name in $(all_suites); do
		((${#only[@]} == 0)) || is_in "$name" "${only[@]}" || continue
		((!quick)) || ! is_in "$name" "${NOT_QUICK[@]}" || continue
		suites+=("$name")
	done
	prepare
	run_suites "${suites[@]}"
	tell_missing_peers
	say "all of it took $((SECONDS / 60)) min $((SECONDS % 60)) s"
	printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
	((FAILED == 0))
}

main "$@"
