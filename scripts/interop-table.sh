#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What tests/interop/peers_test.sh found, as a table of peers x roles x families x port kinds: in each
# field how many of its cases passed, of how many, and below it what failed.
#
#   scripts/interop-table.sh            run the suite (root, some five minutes), then print the table
#   scripts/interop-table.sh FILE...    of TAP that the suite printed
#
# Exits 1 when a case failed.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

table() {
	awk '
		/^(not )?ok - / {
			passed = $1 == "ok"
			line = $0
			sub(/^(not )?ok - /, "", line)
			n = split(line, part, ": ")
			if (n < 3 || part[2] !~ /, (initiator|responder), IPv[46]$/)
				next
			kind = part[1]; who = part[2]
			if (!(kind in kinds)) { kinds[kind]; kind_at[++n_kinds] = kind }
			if (!(who in whos)) { whos[who]; who_at[++n_whos] = who }
			total[who, kind]++
			if (passed) good[who, kind]++
			else failed[++n_failed] = line
		}
		END {
			printf "%-22s %-10s %-5s", "peer", "role", "over"
			for (k = 1; k <= n_kinds; k++) printf " %10s", kind_at[k]
			print ""
			for (w = 1; w <= n_whos; w++) {
				split(who_at[w], part, ", ")
				printf "%-22s %-10s %-5s", part[1], part[2], part[3]
				for (k = 1; k <= n_kinds; k++)
					printf " %10s", good[who_at[w], kind_at[k]] + 0 "/" total[who_at[w], kind_at[k]] + 0
				print ""
			}
			for (f = 1; f <= n_failed; f++) print "failed: " failed[f]
			exit n_failed > 0
		}' "$@"
}

main() {
	case ${1:-} in
	-h | --help) print_help; exit 0 ;;
	"") need_root
		build_tree "${SANDD_BUILD:-$REPO/build}"
		"$REPO/tests/interop/peers_test.sh" | tee /dev/stderr | table ;;
	*) table "$@" ;;
	esac
}

main "$@"
