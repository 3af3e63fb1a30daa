# SPDX-License-Identifier: Apache-2.0
# bash completion of weft: source it, or install it as /usr/share/bash-completion/completions/weft.
# Commands and options come from the program, kinds and names from the switch, when it is there.

_weft_words()
{
	local socket=()
	[[ -n $_weft_socket ]] && socket=(-s "$_weft_socket")
	weft "${socket[@]}" complete "$@" 2>/dev/null
}

_weft()
{
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
	local command="" kind="" _weft_socket="" i
	local words=0
	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-s | --socket)
			_weft_socket=${COMP_WORDS[++i]}
			;;
		-o | --output | -f | --file | -p | --port | --owner | --if-epoch)
			((i++))
			;;
		-*) ;;
		*)
			if [[ -z $command ]]; then
				command=${COMP_WORDS[i]}
			else
				((words++ == 0)) && kind=${COMP_WORDS[i]}
			fi
			;;
		esac
	done
	case $before in
	-o | --output)
		mapfile -t COMPREPLY < <(compgen -W "table wide json" -- "$word")
		return
		;;
	-s | --socket | -f | --file)
		compopt -o filenames
		mapfile -t COMPREPLY < <(compgen -f -- "$word")
		return
		;;
	-p | --port)
		mapfile -t COMPREPLY < <(compgen -W "$(_weft_words names port)" -- "$word")
		return
		;;
	esac
	if [[ $word == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_weft_words options "$command")" -- "$word")
	elif [[ -z $command || ($command == help && $words -eq 0) ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_weft_words commands)" -- "$word")
	else
		case $command in
		get | delete | patch | schema | watch)
			if ((words == 0)) || [[ $command == watch ]]; then
				mapfile -t COMPREPLY < <(compgen -W "$(_weft_words kinds)" -- "$word")
			elif [[ $command == delete ]] || { ((words == 1)) && [[ $command != schema ]]; }; then
				mapfile -t COMPREPLY < <(compgen -W "$(_weft_words names "$kind")" -- "$word")
			fi
			;;
		esac
	fi
}

complete -F _weft weft
