# hotpatch.bash - completion of the command hotpatch for bash(1).
#
# Commands and options are those that --help of the command itself tells, so that there is no list to forget.
#
# compgen gives one word a line.
# shellcheck disable=SC2207

# The commands; the options of one.
_hotpatch_commands() {
	"$1" --help 2>/dev/null | sed -nE 's/^  ([a-z]+) .*/\1/p'
}

_hotpatch_options() {
	"$1" "$2" --help 2>/dev/null | sed -nE 's/^  (-[A-Za-z]), (--[a-z-]+).*/\1 \2/p; s/^  (--?[A-Za-z][a-z-]*).*/\1/p' | tr ' ' '\n'
}

_hotpatch_files() {
	local IFS=$'\n' pattern
	for pattern; do
		COMPREPLY+=($(compgen -f -X "!*.$pattern" -- "$current"))
	done
	COMPREPLY+=($(compgen -d -- "$current"))
	compopt -o filenames 2>/dev/null
}

# Processes, by number; all of which one may do anything with.
_hotpatch_processes() {
	local folder
	for folder in /proc/[1-9]*; do
		[[ -O $folder || $EUID -eq 0 ]] && echo "${folder#/proc/}"
	done
}

_hotpatch_names() {
	local folder name
	for folder in /proc/[1-9]*; do
		[[ -O $folder || $EUID -eq 0 ]] && { read -r name <"$folder/comm"; } 2>/dev/null && echo "$name"
	done
}

# What stands behind an option; false: anything else.
_hotpatch_argument() {
	case $1 in
	--mode) COMPREPLY=($(compgen -W "wait try drain force" -- "$current")) ;;
	--name | -n)
		[[ $command == build ]] || COMPREPLY=($(compgen -W "$(_hotpatch_names)" -- "$current"))
		;;
	-C | --root) COMPREPLY=($(compgen -d -- "$current")) ;;
	--base | --old | --new | --image | -o | --output) COMPREPLY=($(compgen -f -- "$current")) ;;
	--timeout | --stall | --reinit | --allow-layout | --requires | --replaces | --description | -d) ;;
	*) return 1 ;;
	esac
}

_hotpatch_word() {
	case $command in
	apply | check)
		_hotpatch_files hp
		COMPREPLY+=($(compgen -W "$(_hotpatch_processes)" -- "$current"))
		;;
	show) _hotpatch_files hp ;;
	build) _hotpatch_files diff patch c h ;;
	run) COMPREPLY=($(compgen -c -f -- "$current")) ;;
	explain)
		COMPREPLY=($(compgen -W "$("$program" explain 2>/dev/null | grep -oE 'HOTPATCH_E[A-Z]+' | sort -u)" -- "$current"))
		;;
	*) COMPREPLY=($(compgen -W "$(_hotpatch_processes)" -- "$current")) ;;
	esac
}

_hotpatch() {
	local program=${COMP_WORDS[0]} current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]-}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "$(_hotpatch_commands "$program") --help --version" -- "$current"))
	elif [[ $current == -* ]]; then
		COMPREPLY=($(compgen -W "$(_hotpatch_options "$program" "$command")" -- "$current"))
	elif ! _hotpatch_argument "$before"; then
		_hotpatch_word
	fi
}

complete -F _hotpatch hotpatch
