#!/usr/bin/env bats
# leftovers.bats - what stays of patches that were reverted: what something refers to, and nothing else.
#
# Seen to fail: with nothing let go (mappings grow), with the users of a region not told (the variable of the second test is
# gone, and the process with it), without the search of memory (the string of the third and the code of the fourth are).
#
# HP_CYCLES says how often the first test applies and reverts: 250 unless told, with HP_WHOLE 1,000.

load e2e/helpers

setup() {
	pids=()
	local often=250
	[[ ! ${HP_WHOLE-} ]] || often=1000
	cycles=${HP_CYCLES-$often}
}

teardown() {
	stop_all
}

# cycle NAME N: N times applied and reverted.
cycle() {
	local i
	for ((i = 0; i < $2; i++)); do
		"$hotpatch" apply "$shop/$1.hp" "$pid" >/dev/null
		"$hotpatch" revert "$1" "$pid" >/dev/null
	done
}

mappings() {
	wc -l <"/proc/$pid/maps"
}

resident() {
	awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"
}

@test "applied and reverted hundreds of times: mappings and memory do not grow" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	cycle fix 20
	local maps memory
	maps=$(mappings) memory=$(resident)
	cycle fix "$cycles"
	echo "mappings $maps, then $(mappings); resident $memory KiB, then $(resident)"
	# Seven reverted patches may not have been looked at, of four mappings each.
	(($(mappings) <= maps + 28))
	(($(resident) <= memory + 512))
	expect text 2 '7 several'
	run "$hotpatch" status "$pid"
	[[ ${#lines[@]} -le 8 ]]
}

@test "a variable that a later patch shares stays with its value, and goes with the last that does" {
	build gcc O2 pie
	patch one shop >/dev/null
	patch two shop >/dev/null
	patch other b/util >/dev/null
	start
	"$hotpatch" apply "$shop/one.hp" "$pid"
	expect statics 1 1151
	"$hotpatch" apply "$shop/two.hp" "$pid"
	"$hotpatch" revert one "$pid"
	cycle other 20
	expect statics 1 1155
	run "$hotpatch" status "$pid"
	echo "$output"
	[[ $output == *"patch 'two' is in force"*"patch 'one' is reverted; its "*" KiB are kept: the patch 'two' refers to it"* ||
		$output == *"patch 'one' is reverted; its "*" KiB are kept: the patch 'two' refers to it"*"patch 'two' is in force"* ]]
	"$hotpatch" revert two "$pid"
	cycle other 40
	run "$hotpatch" status "$pid"
	echo "$output"
	[[ $output != *"'one'"* && $output != *"'two'"* ]]
}

@test "what the program has stored is kept, and named" {
	build gcc O2 pie
	patch fix shop >/dev/null
	patch other b/util >/dev/null
	start
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	expect text 2 '5 a few'
	"$hotpatch" revert fix "$pid"
	cycle other 20
	run "$hotpatch" status "$pid" --json
	echo "$output"
	[[ $output == *'"reason": "a word that points into it lies in memory"'* ]]
	run "$hotpatch" status "$pid"
	[[ $output == *"patch 'fix' is reverted; its "*" KiB are kept: a word that points into it lies in memory (at 0x"*" in the program, to 0x"*"(fix)"* ]]
	# The program forgets it at the next call.
	ask b 1 >/dev/null
	cycle other 40
	run "$hotpatch" status "$pid"
	echo "$output"
	[[ $output != *"'fix'"* ]]
}

@test "code that a thread is in stays until it has left" {
	build gcc O2 pie
	patch fix shop >/dev/null
	patch other b/util >/dev/null
	start
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	stays 6000
	"$hotpatch" revert fix "$pid" --mode drain --timeout 100
	cycle other 10
	run "$hotpatch" status "$pid"
	echo "$output"
	[[ $output == *"patch 'fix' is reverted; its code is still run"* && $output == *"its "*" KiB are kept: "* ]]
	! grep "patch 'fix'.*not looked at yet" <<<"$output"
	read -r -t 20 -u "${answers[0]}" answer
	[[ $answer = -6000 ]]
	expect text 2 '7 several'
	cycle other 40
	run "$hotpatch" status "$pid"
	echo "$output"
	[[ $output != *"'fix'"* ]]
}
