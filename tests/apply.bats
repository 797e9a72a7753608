#!/usr/bin/env bats
# apply.bats - patches brought into running processes from outside: what is kept, what is new, what is refused.
#
# Every test is seen to fail by breaking what it is about: the matching of units, the hash of old code, the sharing of
# variables, --all-or-none, the names told to debuggers.

load e2e/helpers

setup() {
	pids=()
}

teardown() {
	stop_all
}

compilers() {
	local cc
	for cc in gcc clang; do
		if command -v $cc >/dev/null; then echo $cc; fi
	done
}

# All of shop.c changes: statics of files and functions, strings, tables, a switch, an ops struct, thread-locals.
everything() {
	patch fix shop >/dev/null
	start
	expect statics 1 149
	expect many 1 900
	expect many 0 501
	expect threads 1 2001
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	expect statics 1 1153
	expect statics 1 1157
	expect many 1 902
	expect many 0 503
	expect text 2 '5 a few'
	expect text 5 '12 a great many'
	expect text 0 '4 none'
	expect choose 0 45
	expect choose 1 11
	expect choose 2 21
	expect choose 3 66
	expect choose 4 9
	expect choose 5 55
	expect choose 6 -6
	expect choose 8 88
	expect ops 3 '19 square'
	expect threads 1 3011
	"$hotpatch" revert fix "$pid"
	expect statics 1 157
	expect many 0 503
	expect text 2 '7 several'
	expect choose 3 65
	expect choose 8 -1
	expect ops 3 '10 next'
	expect threads 1 2012
	stop_all
}

@test "statics, strings, tables, switches, ops, thread-locals: gcc -O0" { build gcc O0 pie; everything; }
@test "statics, strings, tables, switches, ops, thread-locals: gcc -O2" { build gcc O2 pie; everything; }
@test "statics, strings, tables, switches, ops, thread-locals: gcc -Os" { build gcc Os pie; everything; }
@test "statics, strings, tables, switches, ops, thread-locals: gcc -O3, not position-independent" {
	build gcc O3 nopie
	everything
}
@test "statics, strings, tables, switches, ops, thread-locals: gcc -O0, not position-independent" {
	build gcc O0 nopie
	everything
}
@test "statics, strings, tables, switches, ops, thread-locals: gcc -O2, stripped, with a debug file" {
	build gcc O2 stripped
	everything
}
@test "statics, strings, tables, switches, ops, thread-locals: clang -O0" {
	command -v clang >/dev/null || skip "clang is not installed"
	build clang O0 pie
	everything
}
@test "statics, strings, tables, switches, ops, thread-locals: clang -O2" {
	command -v clang >/dev/null || skip "clang is not installed"
	build clang O2 pie
	everything
}
@test "statics, strings, tables, switches, ops, thread-locals: clang -O2, not position-independent" {
	command -v clang >/dev/null || skip "clang is not installed"
	build clang O2 nopie
	everything
}

@test "a program that knows nothing of hotpatch, and has no agent" {
	local cc answer
	for cc in $(compilers); do
		build $cc O2 plain
		patch fix shop >/dev/null
		start_alone
		expect statics 1 149
		run "$hotpatch" apply "$shop/fix.hp" "$pid"
		echo "$output"
		[[ $status = 0 && $output == *"has an agent now"*"'fix' is applied"* ]]
		expect statics 1 1153
		expect text 5 '12 a great many'
		expect ops 3 '19 square'
		"$hotpatch" revert fix "$pid"
		expect statics 1 154
		stop_all
		rm -f "$BATS_TEST_TMPDIR"/{in,out}0
	done
}

@test "a patch over the program and its library" {
	build gcc O2 pie
	local copy=$BATS_TEST_TMPDIR/tree unit
	cp -r "$e2e" "$copy"
	cd "$copy"
	{
		echo '['
		for unit in shop libshop b/util; do
			echo "{\"directory\": \"$copy\", \"file\": \"$unit.c\", \"command\": \"gcc -std=gnu11 -g -O2 -w" \
				"-fno-optimize-sibling-calls -fpatchable-function-entry=${HP_PREPARE_ENTRY:-8,6}" \
				"$([[ $unit == libshop ]] && echo -fPIC || echo -fPIE) -c $unit.c -o $unit.o\"},"
		done | sed '$ s/,$//'
		echo ']'
	} >compile_commands.json
	mkdir base
	cp shop.c shop.h libshop.c base
	sed -i 's/^#define NEW 0/#define NEW 1/' shop.c
	sed -i '1i #define NEW' libshop.c
	"$hotpatch" build shop.c libshop.c --base base --root . -n both -o both.hp
	start
	expect rate 3 15
	"$hotpatch" apply both.hp "$pid"
	expect rate 3 1015
	expect calls 2 41
	expect text 5 '12 a great many'
	expect statics 1 1151
	"$hotpatch" revert both "$pid"
	expect rate 3 18
	expect text 5 '4 many'
}

@test "two files of one name in different folders" {
	local cc opt
	for cc in $(compilers); do
		for opt in O0 O2; do
			build $cc $opt pie
			patch fix-b b/util >/dev/null
			start
			expect a 1 1002
			expect b 1 2002
			"$hotpatch" apply "$shop/fix-b.hp" "$pid"
			expect a 1 1004
			expect b 1 2005
			"$hotpatch" revert fix-b "$pid"
			expect b 1 2007
			stop_all
			rm -f "$BATS_TEST_TMPDIR"/{in,out}0
		done
	done
}

@test "functions of a shared object" {
	local cc opt
	for cc in $(compilers); do
		for opt in O0 O2; do
			build $cc $opt pie
			patch fix-lib libshop >/dev/null
			start
			expect rate 3 15
			expect calls 2 21
			"$hotpatch" apply "$shop/fix-lib.hp" "$pid"
			expect calls 2 62
			expect rate 3 1018
			"$hotpatch" revert fix-lib "$pid"
			expect rate 3 18
			expect calls 2 83
			stop_all
			rm -f "$BATS_TEST_TMPDIR"/{in,out}0
		done
	done
}

@test "the program's file and the library's were deleted, and others put in their place" {
	build gcc O2 pie
	cp -r "$shop" "$BATS_TEST_TMPDIR/copy"
	shop=$BATS_TEST_TMPDIR/copy
	patch fix shop >/dev/null
	patch fix-lib libshop >/dev/null
	start
	rm "$shop/shop" "$shop/libshop.so"
	cp /bin/true "$shop/shop"
	cp /bin/true "$shop/libshop.so"
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	expect text 2 '5 a few'
	[[ $(id -u) = 0 ]] || skip "map_files is open to root only"
	"$hotpatch" apply "$shop/fix-lib.hp" "$pid"
	expect rate 3 1015
}

@test "patches stack, are listed, and are reverted in any order" {
	build gcc O2 pie
	patch one shop >/dev/null
	patch two shop >/dev/null
	start
	"$hotpatch" apply "$shop/one.hp" "$pid"
	expect statics 1 1151
	"$hotpatch" apply "$shop/two.hp" "$pid"
	# `asked` is new in both: there is one.
	expect statics 1 1155
	run "$hotpatch" list "$pid"
	[[ $output == *"patch 'one'"*"patch 'two'"* && $output == *"shop_ops"*"covered by a later one"* ]]
	"$hotpatch" revert one "$pid"
	expect text 2 '5 a few'
	"$hotpatch" revert "$shop/two.hp" "$pid"
	expect text 2 '7 several'
	run "$hotpatch" list "$pid"
	[[ $output == *"nothing is changed"* ]]
	refused 2 "no patch 'two' is in force" revert two "$pid"
}

@test "a patch that requires another, and one that replaces it" {
	build gcc O2 pie
	patch base b/util >/dev/null
	patch more shop --requires base >/dev/null
	patch instead shop --replaces more >/dev/null
	patch all libshop --replaces '*' >/dev/null
	start
	refused 2 "'more' requires the patch 'base', which is not in force" apply "$shop/more.hp" "$pid"
	"$hotpatch" apply "$shop/base.hp" "$pid"
	"$hotpatch" apply "$shop/more.hp" "$pid"
	refused 2 "the patch 'more' requires 'base'" revert base "$pid"
	refused 2 "in force" apply "$shop/more.hp" "$pid"
	"$hotpatch" apply "$shop/instead.hp" "$pid"
	run "$hotpatch" list "$pid"
	[[ $output == *"'instead'"* && $output != *"'more'"* ]]
	"$hotpatch" apply "$shop/all.hp" "$pid"
	run "$hotpatch" list "$pid"
	[[ $output == *"'all'"* && $output != *"'instead'"* && $output != *"'base'"* ]]
	expect text 2 '7 several'
	expect b 1 2002
	expect rate 3 1015
}

@test "a function in use: try is busy, wait times out, drain is in progress, and each names the thread" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	echo "wait 4000" >&"${asks[0]}"
	sleep 0.2
	refused 2 "shop_wait" apply "$shop/fix.hp" "$pid" --mode try
	[[ $output == *"thread $pid"* ]]
	refused 2 "shop_wait" apply "$shop/fix.hp" "$pid" --timeout 300
	run "$hotpatch" apply "$shop/fix.hp" "$pid" --mode drain --timeout 300
	[[ $status = 0 && $output == *"is applied"*"still run the old code"*"shop_wait"* ]]
	run "$hotpatch" status "$pid"
	[[ $output == *"what it replaced is still run"* ]]
	read -r -t 20 -u "${answers[0]}" answer
	[[ $answer = 4000 ]]
	expect wait 1 -1
	run "$hotpatch" status "$pid"
	[[ $output != *"still run"* ]]
}

@test "code in memory that is not what the patch was made from" {
	build gcc O2 pie
	patch fix shop >/dev/null
	local patches=$shop
	# The same program, compiled otherwise.
	"$e2e/build.sh" gcc O1 pie "$BATS_TEST_TMPDIR/other"
	shop=$BATS_TEST_TMPDIR/other
	start
	refused 2 "is not what '$patches/fix.hp' was made from" check "$patches/fix.hp" "$pid"
	refused 2 "is not what '$patches/fix.hp' was made from" apply "$patches/fix.hp" "$pid"
	expect text 2 '7 several'
	run "$hotpatch" list "$pid"
	[[ $output == *"nothing is changed"* ]]
}

# code LOW HIGH: a hash of what lies there in $pid.
code() {
	dd if="/proc/$pid/mem" bs=4096 skip=$((16#$1 / 4096)) count=$(((16#$2 - 16#$1) / 4096)) 2>/dev/null | sha256sum
}

@test "check says what apply would do, and writes nothing" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	local low high before
	read -r low high < <(sed -nE '/\/shop$/ s/^([0-9a-f]+)-([0-9a-f]+) r-xp.*/\1 \2/p' "/proc/$pid/maps")
	before=$(code "$low" "$high")
	[[ -n $before ]]
	run "$hotpatch" check "$shop/fix.hp" "$pid"
	[[ $status = 0 && $output == *"can be applied"* ]]
	[[ $(code "$low" "$high") = "$before" ]]
	expect text 2 '7 several'
	run "$hotpatch" list "$pid"
	[[ $output == *"nothing is changed"* ]]
}

@test "several processes: the result is per process, and all or none" {
	build gcc O2 pie
	patch fix shop >/dev/null
	local patches=$shop
	start 0
	start 1
	"$e2e/build.sh" gcc O1 pie "$BATS_TEST_TMPDIR/other"
	shop=$BATS_TEST_TMPDIR/other
	start 2
	refused 2 "process ${pids[2]}" apply "$patches/fix.hp" --all-or-none "${pids[@]}"
	[[ $output != *"is applied"* && $output == *"could not be applied everywhere"* ]]
	expect text 2 '7 several' 0
	expect text 2 '7 several' 1
	run "$hotpatch" apply "$patches/fix.hp" --json "${pids[@]}"
	[[ $status = 2 ]]
	python3 - "${pids[@]}" <<<"$output" 2>/dev/null || echo "$output" | grep -c '"status": "done"' | grep -qx 2
	[[ $(grep -c '"status": "done"' <<<"$output") = 2 && $(grep -c '"status": "refused"' <<<"$output") = 2 ]]
	expect text 2 '5 a few' 0
	expect text 2 '5 a few' 1
	expect text 2 '7 several' 2
	run "$hotpatch" revert fix "${pids[0]}" "${pids[1]}"
	[[ $status = 0 && $output == *"${pids[0]}: 'fix' is reverted"*"${pids[1]}: 'fix' is reverted"* ]]
	run "$hotpatch" apply "$patches/fix.hp" --all-or-none "${pids[0]}" "${pids[1]}"
	[[ $status = 0 ]]
	expect text 2 '5 a few' 1
}

@test "no such process, no agent, no file, no patch file, and wrong usage" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	refused 3 "there is no such process" apply "$shop/fix.hp" 999999999
	sleep 60 3>&- &
	local sleeper=$!
	refused 2 "no agent" apply "$shop/fix.hp" --no-attach $sleeper
	kill $sleeper
	refused 2 "nowhere.hp" apply "$shop/nowhere.hp" "$pid"
	refused 2 "shop.o" apply "$shop/shop.o" "$pid"
	refused 2 "" apply /bin/true "$pid"
	for arguments in "" "fix.hp" "fix.hp x" "fix.hp 1 --all" "fix.hp 1 --mode never" "fix.hp 1 --timeout -5" "--nonsense"; do
		# shellcheck disable=SC2086
		run "$hotpatch" apply $arguments
		[[ $status = 64 || $arguments == fix.hp* && $status = 2 ]]
	done
	run "$hotpatch" apply "$shop/fix.hp" "$pid" --all
	[[ $status = 64 ]]
	run "$hotpatch" apply "$shop/fix.hp"
	[[ $status = 64 ]]
}

@test "processes are found by name and by build-id" {
	build gcc O2 pie
	cp -r "$shop" "$BATS_TEST_TMPDIR/copy"
	shop=$BATS_TEST_TMPDIR/copy
	mv "$shop/shop" "$shop/shop-$$"
	ln -s "shop-$$" "$shop/shop"
	patch fix shop >/dev/null
	start
	run "$hotpatch" apply "$shop/fix.hp" --name "shop-$$"
	[[ $status = 0 && $output == *"$pid: 'fix' is applied"* ]]
	run "$hotpatch" revert fix --name "shop-$$"
	[[ $status = 0 ]]
	refused 3 "nobody-is-called-so" apply "$shop/fix.hp" --name nobody-is-called-so
}

@test "a patch file that is cut short or damaged changes nothing" {
	build gcc O2 pie
	patch fix b/util >/dev/null
	start
	local size n
	size=$(stat -c %s "$shop/fix.hp")
	for ((n = 0; n < size; n += 97)); do
		head -c "$n" "$shop/fix.hp" >"$BATS_TEST_TMPDIR/cut.hp"
		refused 2 "" apply "$BATS_TEST_TMPDIR/cut.hp" "$pid"
	done
	expect b 1 2002
	run "$hotpatch" list "$pid"
	[[ $output == *"nothing is changed"* ]]
}

@test "a debugger and perf know the new code by name" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	grep -q ' shop_ops$' "/tmp/perf-$pid.map"
	command -v gdb >/dev/null || skip "gdb is not installed"
	local body
	body=$("$hotpatch" list "$pid" --json | grep -A8 '"function": "shop_ops"' | sed -n 's/.*"body": \([0-9]*\).*/\1/p' | head -1)
	run gdb -q -batch -p "$pid" -ex "info symbol $body"
	[[ $output == *"shop_ops in section"* ]]
	expect ops 3 '19 square'
}
