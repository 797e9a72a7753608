#!/usr/bin/env bats
# watch_part.bats - a large file: what changed is compiled alone and applied first, and the whole, compiled behind it, is
# compared with it. At -O0 with gcc and clang; at -O2, where functions depend on each other, the whole alone is compiled.
#
# Seen to fail: with hp_diff_limit that limits nothing (all functions are changed), with clang without "used" (a changed
# static that only stubs call is not there), and the cases of optimisation, of what is put into callers, of the whole that
# differs and of callers that depend each with the check left out that it is about.

bats_require_minimum_version 1.5.0

load watch/helpers

setup() {
	hotpatch=$HP_BUILD_ROOT/src/hotpatch
	[[ -x $hotpatch ]] || skip "built without the command"
	command -v jq >/dev/null || skip "jq is not installed"
	watcher='' app='' keys=''
}

teardown() {
	stop_watching
}

# large CC FLAGS [FIRST]: the project with 400 functions in price.c, half of them static, behind the lines FIRST.
large() {
	local i k
	project "$1" "$2"
	{
		echo '#include <stdio.h>'
		echo '#include <string.h>'
		echo '#include <stdlib.h>'
		echo '#include "shop.h"'
		echo "${3-}"
		echo 'static int asked;'
		for i in {0..199}; do
			echo "static int step_$i(int n)"
			echo '{'
			echo '	static int calls;'
			echo '	char text[64];'
			echo "	snprintf(text, sizeof(text), \"{%d}\", n);"
			for ((k = 0; k < ${lines-40}; k++)); do
				echo "	if (n == $((k * 1000 + 100000)) && strcmp(text, \"$i $k\") == 0) { n += $k; asked += calls; }"
			done
			echo "	calls += n; /* of $i */"
			echo "	return calls + $i;"
			echo '}'
			echo "int part_$i(int n)"
			echo '{'
			echo "	return n ? step_$i(n) : 0;"
			echo '}'
		done
		echo 'int price(int n) { return part_7(n) + part_8(n) * 1000; }'
		echo 'int count(int n) { asked += n; return asked; }'
	} >src/price.c
	$1 "$2" -c src/price.c -o price.o
	$1 -o app "${project_files[@]/%/.o}"
}

# first_save: what the first save costs is not known before; then it is a large file.
first_save() {
	sed -i 's/calls + 100;/calls + 1100;/' src/price.c
	reloaded applied '.changed == ["step_100"] and .part == false'
	expect price 1 $((8 + 9000))
	sleep 1 # its text is learned behind it, while nobody waits
}

part_of() {
	large "$1" -O0
	watch
	first_save
	sed -i 's/calls + 7;/calls + 7007;/' src/price.c
	reloaded applied '.changed == ["step_7"] and .part and (.corrected | not) and .removed == []'
	jq -c '[.ms, .timings]' <<<"$event"
	expect price 1 $((7009 + 10000)) # the static variable is what it was, and step_8 what it is
	expect_event 'select(.event == "compared")'
	sed -i 's/return n ? step_8(n) : 0;/return n ? step_8(n) + 1 : 0;/' src/price.c
	reloaded applied '.changed == ["part_8"] and .part'
	expect price 1 $((7010 + 12000))
	expect_event 'select(.event == "compared")'
	sed -i 's/calls + 7007;/calls + 7;/' src/price.c
	reloaded applied '.changed == ["step_7"] and .part'
	expect price 1 $((11 + 13000))
	expect_event 'select(.event == "compared")'
	sed -i 's/^static int asked;/static int asked, more;/' src/price.c
	reloaded nothing '.part == false and .whole == "more than the bodies of functions changed"'
	quiet
}

@test "one function of 400, with gcc -O0" {
	part_of gcc
}

@test "one function of 400, with clang -O0" {
	command -v clang >/dev/null || skip "clang is not installed"
	part_of clang
}

@test "with optimisation the whole is compiled, and it is said why" {
	lines=2
	large gcc -O2
	watch
	sed -i 's/calls + 100;/calls + 1100;/' src/price.c
	expect_event 'select(.event == "reload")' 120
	sed -i 's/calls + 7;/calls + 7007;/' src/price.c
	expect_event 'select(.event == "reload")' 120
	jq -e '.outcome == "applied" and (.changed | index("step_7") or index("part_7")) and .part == false and
		(.whole | test("optimisation"))' <<<"$event"
	expect price 1 $((7008 + 9000))
}

@test "with --whole the whole is compiled" {
	large gcc -O0
	watch --whole
	first_save
	sed -i 's/calls + 7;/calls + 7007;/' src/price.c
	reloaded applied '.changed == ["step_7"] and .part == false'
	quiet
}

@test "what does not compile is not applied in part" {
	large gcc -O0
	watch
	first_save
	sed -i 's/calls + 7;/calls + seven;/' src/price.c
	expect_event 'select(.event == "failed" or .event == "reload")'
	jq -e '.event == "failed"' <<<"$event"
	expect price 1 $((9 + 10000))
	sed -i 's/calls + seven;/calls + 7007;/' src/price.c
	reloaded applied '.changed == ["step_7"]'
	expect price 1 $((7010 + 11000))
}

@test "what is put into its callers, and has to be, is compiled with them" {
	large gcc -O0 'static inline __attribute__((always_inline)) int twice(int n) { return 2 * n; }
		int both(int n) { return twice(n); }'
	watch
	first_save
	sed -i 's/2 \* n/3 * n/' src/price.c
	reloaded applied '.changed == ["both"] and .part == false and (.whole | test("more than the bodies"))'
	quiet
}

# gcc gives a call no more of the stack than it has seen the callee to need. A part has not seen it, and gives all.
@test "where the whole gives other code, it is applied behind the part, and it is said" {
	large gcc -O0 'static int first(int n) { return n; }
		static int second(int n) { return first(n) + 1; }
		int third(int n) { return second(n); }'
	watch
	first_save
	sed -i 's/return second(n);/return second(n) + 5;/' src/price.c
	reloaded applied '.changed == ["third"] and .part and (.corrected | not)'
	reloaded applied '.changed == ["third"] and (.part | not) and .corrected'
	quiet
}

# The program was made with callers that know how little a function needed of the stack.
@test "callers that depend on what changed are compiled with it" {
	large gcc -O0 'static int first(int n) { return n; }
		int second(int n) { return first(n) + 1; }'
	sed -i 's/price(int n) { return /price(int n) { return second(0) - 1 + /' src/price.c
	gcc -O0 -c src/price.c -o price.o
	gcc -o app "${project_files[@]/%/.o}"
	watch
	first_save
	sed -i 's/first(int n) { return n; }/first(int n) { char text[32]; snprintf(text, sizeof(text), "%d", n); return atoi(text) + 40; }/' src/price.c
	reloaded applied '.part and (.changed | index("first")) and (.changed | index("second"))'
	expect price 1 $((40 + 9 + 10000))
}
