#!/usr/bin/env bats
# completion.bats - what bash completes of a command line of hotpatch.
#
# Seen to fail: with short options not told from long ones (--children of run), with files of any kind offered for a patch.

setup() {
	hotpatch=$HP_BUILD_ROOT/src/hotpatch
	[[ -x $hotpatch ]] || skip "built without the command"
	source "$HP_SOURCE_ROOT/packaging/hotpatch.bash"
	cd "$BATS_TEST_TMPDIR" || return 1
}

# completes WORD...: the last of them, being typed; the answers, sorted, on one line.
completes() {
	COMP_WORDS=("$hotpatch" "$@")
	COMP_CWORD=$#
	_hotpatch
	printf '%s\n' "${COMPREPLY[@]}" | sort | xargs
}

@test "commands" {
	[[ $(completes a) == "apply attach" ]]
	[[ $(completes re) == "redo revert" ]]
	[[ $(completes "" | wc -w) -eq $(($("$hotpatch" --help | grep -c '^  [a-z]') + 2)) ]]
}

@test "options, all that each command knows" {
	local command option
	for command in $("$hotpatch" --help | sed -nE 's/^  ([a-z]+) .*/\1/p'); do
		for option in $("$hotpatch" "$command" --help | grep -oE '^  (-[a-zA-Z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+'); do
			[[ " $(completes "$command" --) " == *" $option "* ]] || {
				echo "$command $option"
				return 1
			}
		done
	done
	[[ $(completes apply --al) == "--all --all-or-none" ]]
	[[ $(completes run -c) == "-c" ]]
	[[ $(completes nonsense --) == "" ]]
}

@test "what stands behind options" {
	[[ $(completes apply fix.hp 1 --mode "") == "drain force try wait" ]]
	[[ $(completes apply fix.hp 1 --mode d) == "drain" ]]
	[[ " $(completes status --name "") " == *" $(cat /proc/$$/comm) "* ]]
	[[ $(completes apply fix.hp 1 --timeout "") == "" ]]
}

@test "files and processes" {
	mkdir deep
	touch fix.hp fix.diff fix.c fix.o
	[[ $(completes show "") == "deep fix.hp" ]]
	[[ $(completes build fix) == "fix.c fix.diff" ]]
	[[ " $(completes apply fix.hp "") " == *" $$ "* && " $(completes apply "") " == *" fix.hp "* ]]
	[[ " $(completes status "") " == *" $$ "* ]]
	[[ $(completes explain HOTPATCH_ET) == "HOTPATCH_ETEXT HOTPATCH_ETIMEDOUT HOTPATCH_ETYPE" ]]
	[[ " $(completes run bas) " == *" bash "* ]]
}

@test "bash finds it by the command's name" {
	[[ $(complete -p hotpatch) == "complete -F _hotpatch hotpatch" ]]
}
