#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What `meson install` puts on a machine, and the service of it: a systemd of the lab's own, process 1 of a process
# namespace whose root is an overlay, starts the unit with its user, its sandbox and its three capabilities; it is
# killed, stands still, has a wrong configuration, and ends. Needs root; topology in scripts/lab-lib.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

UNIT=sandd-gw
# Where the limit of locked memory cannot be lifted, the gateway needs a fourth one; see sandd-gw(8).
MEMLOCK_KIB=$(ulimit -H -l)
EXPOSURE_MAX=3.0
WATCHDOG_S=10

# --- what is installed --------------------------------------------------------------------------

install_tree() {
	DESTDIR=$LAB_DIR/dest meson install -C "$SANDD_BUILD" --no-rebuild >"$LAB_DIR/install.log" || return 1
	PREFIX=$(meson introspect "$SANDD_BUILD" --buildoptions |
		jq -r '.[] | select(.name == "prefix") | .value')
}

has_everything() {
	local file missing=0

	for file in sbin/sandd-gw bin/sandctl bin/sandd share/man/man8/sandd-gw.8 share/man/man8/sandd.8 \
		share/man/man5/sandd-gw.yaml.5 share/man/man1/sandctl.1 lib/systemd/system/sandd-gw.service \
		lib/sysusers.d/sandd-gw.conf lib/tmpfiles.d/sandd-gw.conf \
		share/bash-completion/completions/sandctl share/doc/sandd-gw/sandd-gw.example.yaml; do
		[[ -e $LAB_DIR/dest$PREFIX/$file ]] || { echo "no $file"; missing=1; }
	done
	((!missing))
}

pages_are_clean() {
	! mandoc -T lint -W warning "$REPO"/control/man/*.[158] | grep .
}

# words_of PROGRAM ARGUMENT...: the long options in its help.
words_of() {
	"$@" --help | grep -oE '(^|[^-[:alnum:]])--[a-z][a-z-]+' | grep -oE '[a-z][a-z-]+' | sort -u
}

page_tells() {
	local page=$1 word missing=0 text

	shift
	text=$(mandoc -T ascii "$REPO/control/man/$page" | col -b)
	for word; do
		grep -qE -- "(^|[^[:alnum:]])$word([^[:alnum:]]|\$)" <<<"$text" ||
			{ echo "$page does not tell of: $word"; missing=1; }
	done
	((!missing))
}

pages_tell_all() {
	local ctl=$SANDD_BUILD/control/sandctl commands command words

	mapfile -t commands < <("$ctl" --help |
		awk '/^usage/ { on = 1; next } /^  --/ { on = 0 } on && NF { print $1 }')
	mapfile -t words < <(for command in "${commands[@]}"; do words_of "$ctl" "$command"; done | sort -u)
	page_tells sandctl.1 "${commands[@]}" "${words[@]}" || return 1
	mapfile -t words < <(words_of "$SANDD_BUILD/control/sandd-gw")
	page_tells sandd-gw.8 clean keygen pubkey "${words[@]}" || return 1
	mapfile -t words < <(words_of "$SANDD_BUILD/control/sandd")
	page_tells sandd.8 "${words[@]}" || return 1
	mapfile -t words < <(grep -oE '^#? *-? ?\{?[a-z_]+:' "$REPO/control/sandd-gw.example.yaml" | grep -oE '[a-z_]+' | sort -u)
	page_tells sandd-gw.yaml.5 "${words[@]}"
}

# What systemd itself says of the sandbox; smaller is better.
exposure_is_small() {
	local exposure

	systemd-analyze security --offline=yes "$LAB_DIR/dest$PREFIX/lib/systemd/system/$UNIT.service" >"$LAB_DIR/security"
	exposure=$(grep -oE 'exposure level for [^ ]+: [0-9.]+' "$LAB_DIR/security" | grep -oE '[0-9.]+$')
	echo "exposure $exposure, wanted below $EXPOSURE_MAX"
	awk -v is="$exposure" -v max="$EXPOSURE_MAX" 'BEGIN { exit !(is < max) }'
}

# --- a systemd of our own -----------------------------------------------------------------------

# The script of its process 1: this machine's files below, what is written above, in memory.
write_root() {
	cat >"$LAB_DIR/root.sh" <<-EOF
		set -e
		# the root of a chroot is no mount, and cannot be told
		mount --make-rprivate / || true
		mount -t tmpfs tmpfs "$LAB_DIR/sys"
		mkdir "$LAB_DIR/sys/up" "$LAB_DIR/sys/work" "$LAB_DIR/sys/root"
		mount -t overlay overlay -o "lowerdir=/,upperdir=$LAB_DIR/sys/up,workdir=$LAB_DIR/sys/work" "$LAB_DIR/sys/root"
		cd "$LAB_DIR/sys/root"
		cp -a "$LAB_DIR/dest/." .
		mount -t proc proc proc
		mount --rbind /sys sys
		mount --rbind /dev dev
		mount -t tmpfs tmpfs run
		mkdir -p etc/systemd/system/$UNIT.service.d
		cp "$LAB_DIR/lab.target" etc/systemd/system/
		cp "$LAB_DIR/drop-in.conf" etc/systemd/system/$UNIT.service.d/
		exec chroot . env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
			/lib/systemd/systemd --system --unit=lab.target
	EOF
	printf '[Unit]\nAllowIsolate=yes\n' >"$LAB_DIR/lab.target"
	cat >"$LAB_DIR/drop-in.conf" <<-EOF
		[Service]
		StandardOutput=append:/run/gw.log
		StandardError=append:/run/gw.log
		WatchdogSec=$WATCHDOG_S
		TimeoutAbortSec=1
	EOF
	[[ $MEMLOCK_KIB == unlimited ]] ||
		printf '%s=CAP_IPC_LOCK\n' AmbientCapabilities CapabilityBoundingSet >>"$LAB_DIR/drop-in.conf"
	mkdir "$LAB_DIR/sys"
}

start_systemd() {
	write_root
	"${GW_EXEC[@]}" unshare --fork --pid --kill-child --mount --propagation unchanged --uts --ipc --cgroup \
		bash "$LAB_DIR/root.sh" >"$LAB_DIR/systemd.log" 2>&1 </dev/null &
	LAB_PIDS+=($!)
	wait_for 60 find_systemd && wait_for 60 in_unit systemctl is-system-running && return
	cat "$LAB_DIR/systemd.log"
	return 1
}

# The process that is number $1 in there, by its number out here.
pid_outside() {
	local pid

	for pid in $(ip netns pids "$LAB_GW"); do
		grep -qs "^NSpid:.*[[:space:]]$1\$" "/proc/$pid/status" && echo "$pid" && return
	done
	return 1
}

find_systemd() {
	INIT=$(pid_outside 1)
}

in_unit() {
	nsenter --target "$INIT" --mount --pid --uts --ipc --net --root --wd --cgroup -- timeout 60 "$@"
}

write_config() {
	in_unit systemd-sysusers || return 1
	in_unit systemd-tmpfiles --create "$PREFIX/lib/tmpfiles.d/$UNIT.conf" || return 1
	# the endpoint is known: who starts again speaks first
	gw_config af_xdp "endpoint: $PEER_UNDER4:$PEER_PORT"
	sed -e "s#^private_key_file:.*#private_key_file: /etc/sandd-gw/private.key#" -e '/^api:/d' \
		"$LAB_DIR/gw.yaml" | in_unit tee /etc/sandd-gw/sandd-gw.yaml >/dev/null
	in_unit install -o sandd-gw -g sandd-gw -m 600 /dev/stdin /etc/sandd-gw/private.key <"$LAB_DIR/gw.key"
}

# --- the unit -----------------------------------------------------------------------------------

unit_starts() {
	in_unit systemctl start "$UNIT" && in_unit "$PREFIX/bin/sandctl" status && return
	in_unit cat /run/gw.log
	return 1
}

unit_pid() {
	local inside

	inside=$(in_unit systemctl show -p MainPID --value "$UNIT")
	((inside > 0)) && pid_outside "$inside"
}

# Of every thread, and of what it could execute.
keeps_few_capabilities() {
	local wanted status pid

	# CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF; CAP_IPC_LOCK
	wanted=$(printf '%016x' $(((1 << 12) | (1 << 13) | (1 << 39))))
	[[ $MEMLOCK_KIB == unlimited ]] ||
		wanted=$(printf '%016x' $(((1 << 12) | (1 << 13) | (1 << 39) | (1 << 14))))
	pid=$(unit_pid)
	for status in /proc/"$pid"/task/*/status; do
		echo "$status: $(grep -E '^Cap(Prm|Eff|Bnd)' "$status" | tr '\n\t' '  '), wanted $wanted"
		[[ $(awk '/^Cap(Prm|Eff|Bnd)/ { print $2 }' "$status" | sort -u) == "$wanted" ]] || return 1
		[[ $(awk '/^Cap(Inh|Amb)/ { print $2 }' "$status" | sort -u) == 0000000000000000 ]] || return 1
		grep -qE '^NoNewPrivs:[[:space:]]+1$' "$status" || return 1
	done
}

is_no_root() {
	! grep -qE '^Uid:([[:space:]]+0){4}' "/proc/$(unit_pid)/status"
}

memory_is_locked() {
	local pid

	pid=$(unit_pid)
	grep -E '^Vm(Lck|Swap)' "/proc/$pid/status"
	awk '/^VmLck/ { exit !($2 > 0) }' "/proc/$pid/status" &&
		grep -qE '^Max core file size +0 +0 ' "/proc/$pid/limits"
}

starts_again() {
	local old=$1 now

	now=$(unit_pid) && [[ $now && $now != "$old" ]] && in_unit systemctl is-active "$UNIT"
}

# For longer than the watchdog waits; whoever says nothing to it is started again.
tells_the_watchdog() {
	sleep $((WATCHDOG_S + 3))
	in_unit systemctl show -p NRestarts -p Result "$UNIT"
	[[ $(in_unit systemctl show -p NRestarts --value "$UNIT") == 0 ]]
}

# Its XDP program stays on the interface; only with full rights can one see that nobody holds it.
comes_back_after_a_kill() {
	local old

	old=$(unit_pid)
	kill -KILL "$old"
	wait_for 60 starts_again "$old" && ping_from gw "$PEER4" && return
	in_unit systemctl status --no-pager "$UNIT"
	in_unit cat /run/gw.log
	return 1
}

comes_back_after_standing_still() {
	local old

	old=$(unit_pid)
	kill -STOP "$old"
	wait_for 60 starts_again "$old" && ping_from gw "$PEER4"
}

stops_clean() {
	in_unit systemctl stop "$UNIT" || return 1
	in_unit systemctl show -p Result -p ExecMainStatus "$UNIT"
	[[ $(in_unit systemctl show -p Result --value "$UNIT") == success ]] || return 1
	! in_gw ip link show sandd0 2>/dev/null && ! in_gw ip -d link show under0 | grep -q 'prog/xdp'
}

wrong_configuration_is_not_retried() {
	in_unit sh -c 'echo "no_such_key: 1" >>/etc/sandd-gw/sandd-gw.yaml'
	! in_unit systemctl start "$UNIT" || return 1
	sleep 3
	in_unit systemctl show -p NRestarts -p ActiveState "$UNIT"
	[[ $(in_unit systemctl show -p ActiveState --value "$UNIT") == failed ]]
}

# --- by hand, as root ---------------------------------------------------------------------------

root_gives_up_its_rights() {
	local status

	gw_config af_xdp
	gw_start || return 1
	for status in /proc/"$GW_PID"/task/*/status; do
		grep -H CapEff "$status"
		[[ $(awk '/^CapEff/ { print $2 }' "$status") == 000000[0-9a-f]00000[37]000 ]] || return 1
	done
	gw_stop
}

main() {
	need_lab "the installed unit"
	have systemctl || { skip "the installed unit" "no systemd: scripts/setup.sh --tests"; exit 0; }
	echo "1..17"
	lab_up
	check "meson install" install_tree
	check "programs, pages, completion, example, unit are there" has_everything
	check "pages are well-formed" pages_are_clean
	check "pages tell of every command, option and key" pages_tell_all
	check "systemd rates the sandbox: exposure below $EXPOSURE_MAX" exposure_is_small
	check "by hand: root gives up its capabilities in every thread" root_gives_up_its_rights
	check "a systemd starts" start_systemd
	check "user, folder, key and configuration" write_config
	check "the unit starts" unit_starts
	check "three capabilities in every thread, none to gain" keeps_few_capabilities
	check "not root; memory locked, no core file" eval 'is_no_root && memory_is_locked'
	wg_start
	wg_peer endpoint "$GW_UNDER4:$GW_PORT"
	check "carries packets" ping_from peer "$GW4"
	check "tells the watchdog that it lives" tells_the_watchdog
	check "killed: comes back, and takes away what it left" comes_back_after_a_kill
	check "stands still: the watchdog has it start again" comes_back_after_standing_still
	check "stops, and leaves nothing" stops_clean
	check "a wrong configuration is not tried again" wrong_configuration_is_not_retried
	return "$FAILED"
}

main "$@"
