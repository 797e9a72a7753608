#!/usr/bin/env bats
# watch_hammer.bats - four threads call two functions all the time while they are reloaded 200 times: no call sees one half of
# a reload and another of the next, none goes back, none crashes.
#
# Seen to fail: where pair itself does not change, so that a thread between its two calls is in nothing that does.

bats_require_minimum_version 1.5.0

load watch/helpers

# next_line: the one of $events behind those read before, in $line.
next_line() {
	local more
	line=''
	until read -r -u "$told" more; do
		line+=$more # it is being written
		kill -0 "$watcher" "$app"
		pause 0.005
	done
	line+=$more
}

hammered() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
	keep_project "$1" "$2 -g"
	with_keys
	watch --keys --mode safe-point
	renice -n 10 -p "$app" # its threads have every moment in which nobody compiles or tests
	expect hammer 4 0
	local i text line refused=0
	text=$(<src/pair.c)
	exec {told}<"$events"
	next_line
	[[ $line == *'"watching"'* ]]
	for i in {1..200}; do
		echo "${text/GENERATION 0/GENERATION $i}" >src/pair.c
		next_line
		# On a busy machine a thread may sleep in one of the functions for longer than it is waited for.
		while [[ $line == *'"outcome":"refused"'*ETIMEDOUT* ]]; do
			((++refused < 20))
			press r
			next_line
		done
		[[ $line == *'"outcome":"applied","generation":'"$i,"* ]] || {
			echo "not generation $i: $line"
			return 1
		}
	done
	for _ in {1..1000}; do # until one of them has had a moment
		[[ $(ask last 0) != 200 ]] || break
		pause 0.01
	done
	expect last 0 200
	expect hammer 0 0
	[[ $(ask calls 0) -gt 1000 ]]
	kill -0 "$app"
	(($(wc -l <"$events") == 201 + refused))
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
