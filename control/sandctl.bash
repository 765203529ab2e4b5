# SPDX-License-Identifier: BSD-3-Clause
# Completion of sandctl for bash: source it, or install it as
# /usr/share/bash-completion/completions/sandctl. Words are held true by cli_test.c.

_sandctl_names() {
	# DOCUMENT KEY: names out of a document of the running gateway.
	local socket=() i

	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} != --socket ]] || socket=(--socket "${COMP_WORDS[i + 1]}")
	done
	sandctl "${socket[@]}" "$1" --json 2>/dev/null |
		grep -o "\"$2\":\"[^\"\\\\]*\"" | cut -d '"' -f 4
}

_sandctl() {
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
	local commands="status peers ping ip whois login logout up down filter events reload stats trace capture daemons exec peer-config"
	local common="--json --socket --help --version"
	local command="" at=0 i words=""

	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		--socket) ((i++)) ;;
		-*) ;;
		*)
			command=${COMP_WORDS[i]} at=$i
			break
			;;
		esac
	done
	COMPREPLY=()
	case $previous in
	--socket | -o | --out | --key | --preshared-key | --file | --authkey-file)
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	--peer)
		mapfile -t COMPREPLY < <(compgen -W "$(_sandctl_names peers name)" -- "$word")
		return
		;;
	--side)
		mapfile -t COMPREPLY < <(compgen -W "inner outer" -- "$word")
		return
		;;
	--timeout | --watch | --count | --seconds | --snaplen | --env | --cwd | --endpoint | --address | \
		--public-key | --allowed-ips | --keepalive)
		return
		;;
	esac
	case $command in
	"") words="$commands $common" ;;
	status | reload | daemons | logout | up | down | filter | events) words=$common ;;
	ping) words="--count $common $(_sandctl_names peers name)" ;;
	ip | whois) words="$common $(_sandctl_names peers name)" ;;
	login) words="--authkey-file $common" ;;
	stats) words="--watch --explain $common" ;;
	peers)
		words="--public-key --allowed-ips --endpoint --keepalive --fixed-endpoint --preshared-key --file $common"
		((COMP_CWORD != at + 1)) || words="add set remove $common $(_sandctl_names peers name)"
		[[ ${COMP_WORDS[at + 1]} != remove ]] || words="$common $(_sandctl_names peers name)"
		;;
	trace) words="--peer --count --seconds $common" ;;
	capture) words="--side -o --out --peer --count --seconds --snaplen --force $common" ;;
	exec)
		words="--timeout --env --cwd -- $common"
		((COMP_CWORD != at + 1)) || words+=" $(_sandctl_names daemons id)"
		;;
	peer-config)
		words="--endpoint -o --out --address --key --preshared-key $common"
		((COMP_CWORD != at + 1)) || words+=" $(_sandctl_names peers name)"
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}

complete -F _sandctl sandctl
