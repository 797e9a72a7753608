#!/usr/bin/env bats
# watch_keeps.bats - what reloading must not break, and a reloader that was measured broke without a word: thread-local
# variables, constructors, the second static of a name, statics of files that are called the same, structs and arrays that
# grew, constant pointers. With gcc -O2 and clang -O0, with HP_WHOLE in the environment with gcc -O0 and clang -O2, too.
#
# Seen to fail: with units told apart by names and contents alone (b, at -O0), with the rules left out (a second constructor),
# with a constant that changed again taken for the one before (prime).

bats_require_minimum_version 1.5.0

load watch/helpers

# edit FILE SED-EXPRESSION
edit() {
	sed -i "$2" "src/$1"
}

keeps() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
	keep_project "$1" "$2 -g"
	watch

	# Thread-locals, of threads that are there.
	expect tls0 1 6
	expect tls1 10 15
	edit keep.c 's/mine += n;/mine += 2 * n;/'
	reloaded applied '.changed == ["per_thread"]'
	expect tls0 1 8
	expect tls1 10 35
	edit keep.c 's/mine += 2 \* n;/mine += 3 * n;/'
	reloaded applied
	expect tls0 1 11

	# A constructor has run, and does not run again when its unit is reloaded; another one is refused.
	expect made 0 10
	edit keep.c 's/made \* 10/made * 20/'
	reloaded applied
	expect made 0 20
	edit keep.c '$a __attribute__((constructor)) static void again(void) { made = 7; }'
	edit keep.c 's/made \* 20/made * 30/'
	reloaded refused '.error.message | contains("constructor")'
	edit keep.c '/again(void)/d'
	reloaded applied
	expect made 0 30

	# A static of a name that there is, before the one that there was.
	expect twice 1 101
	edit keep.c 's/^int twice(int n)/int more(int n)\n{\n\tstatic int calls = 7;\n\treturn calls += n;\n}\n\n&/'
	edit keep.c 's/calls += n;$/calls += n + more(0) - 7;/; s/return calls += n + more(0) - 7;/return calls += n;/'
	reloaded applied '(.changed | contains(["twice"])) and (.new | contains(["more"]))'
	expect twice 1 102
	edit keep.c 's/static int calls = 7;/&\n\tstatic int calls2 = 1;\n\tcalls2++;/'
	reloaded applied
	expect twice 1 103

	# Statics of files that are called the same.
	expect a 1 1001
	expect b 1 2001
	edit b/util.c 's/total += n;/total += 10 * n;/'
	reloaded applied '.files == ["src/b/util.c"]'
	expect b 1 2011
	expect a 1 1002
	edit a/util.c 's/total += n;/total += 100 * n;/'
	reloaded applied '.files == ["src/a/util.c"]'
	expect a 1 1102
	expect b 1 2021

	# An array that grew: its neighbours are not written to. One that has the old size again is taken.
	expect sum 1 11
	edit keep.c 's/table\[4\] = {1, 2, 3, 4}/table[8] = {1, 2, 3, 4}/; s/n & 3/n \& 7/'
	reloaded refused '.error.message | contains("table") and contains("32") and contains("16")'
	expect sum 1 12
	edit keep.c 's/table\[8\]/table[4]/; s/n & 7/n \& 3/; s/+ table\[3\]/+ table[3] + 1000/'
	reloaded applied
	expect sum 1 1013

	# A struct that grew.
	expect size 1 9
	edit keep.h 's/int width, height;/int depth, width, height;/'
	edit keep.c 's/box.width \* box.height/box.width * box.height * 1/; s/box = {2, 3}/box = {1, 2, 3}/; s/box.width += n/box.width += n * 2/'
	reloaded refused '.error.message | contains("struct box")'
	expect size 1 12
	edit keep.h 's/int depth, width, height;/int width, height;/'
	edit keep.c 's/box = {1, 2, 3}/box = {2, 3}/'
	reloaded applied
	expect size 1 18

	# A constant pointer, and what it points to.
	expect motto 0 111
	edit keep.c 's/saying = "old"/saying = "new"/'
	reloaded applied '.changed == ["motto"]'
	expect motto 0 110
	expect motto 1 101
	edit keep.c 's/saying = "new"/saying = "a longer one"/'
	reloaded applied '.changed == ["motto"]'
	expect motto 0 97
	expect motto 5 103

	# A constant array that changes with one save, and again with the next, grows, and is as it was.
	expect prime 2 5
	edit keep.c 's/{2, 3, 5, 7}/{2, 3, 50, 7}/'
	reloaded applied '.changed | contains(["prime"])'
	expect prime 2 50
	edit keep.c 's/{2, 3, 50, 7}/{2, 3, 500, 7}/'
	reloaded applied
	expect prime 2 500
	edit keep.c 's/{2, 3, 500, 7}/{2, 3, 500, 7, 11}/'
	reloaded applied
	expect prime 4 11
	edit keep.c 's/{2, 3, 500, 7, 11}/{2, 3, 5, 7}/; s/primes\[n\] \* 3/primes[n] * 6/'
	reloaded applied
	expect prime 2 10

	# And all the values are what they were.
	expect tls1 0 35
	expect tls0 0 11
	expect twice 0 103
}

# whole: one of the ways that `make test` leaves out.
whole() {
	[[ ${HP_WHOLE-} ]] || skip "only with HP_WHOLE=1"
}

@test "gcc -O0" { whole && keeps gcc -O0; }
@test "gcc -O2" { keeps gcc -O2; }
@test "clang -O0" { keeps clang -O0; }
@test "clang -O2" { whole && keeps clang -O2; }
