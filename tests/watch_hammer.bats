#!/usr/bin/env bats
# watch_hammer.bats - four threads call two functions all the time while they are reloaded 200 times: no call sees one half of
# a reload and another of the next, none goes back, none crashes.
#
# Seen to fail: where pair itself does not change, so that a thread between its two calls is in nothing that does.

bats_require_minimum_version 1.5.0

load watch/helpers

hammered() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
	keep_project "$1" "$2 -g"
	with_keys
	watch --keys --mode safe-point
	expect hammer 4 0
	local i refused=0
	for i in {1..200}; do
		sed "s/GENERATION 0/GENERATION $i/" "$BATS_TEST_DIRNAME/watch/keep/pair.c" >src/pair.c
		until (($(grep -c '"outcome":"applied"' "$events") == i)); do
			kill -0 "$watcher" "$app"
			if grep -E '"outcome":"nothing"|"event":"(error|failed)"' "$events"; then return 1; fi
			# On a busy machine a thread may sleep in one of the functions for longer than it is waited for.
			if (($(grep -c '"outcome":"refused".*ETIMEDOUT' "$events") > refused)); then
				((++refused < 20))
				press r
			fi
			sleep 0.01
		done
	done
	[[ $(ask last 0) = 200 ]]
	expect hammer 0 0
	[[ $(ask calls 0) -gt 1000 ]]
	kill -0 "$app"
}

@test "200 reloads: gcc -O2" { hammered gcc -O2; }
@test "200 reloads: clang -O0" {
	[[ ${HP_WHOLE-} ]] || skip "only with HP_WHOLE=1"
	hammered clang -O0
}
@test "200 reloads: gcc -O0" {
	[[ ${HP_WHOLE-} ]] || skip "only with HP_WHOLE=1"
	hammered gcc -O0
}
@test "200 reloads: clang -O2" {
	[[ ${HP_WHOLE-} ]] || skip "only with HP_WHOLE=1"
	hammered clang -O2
}
