#!/usr/bin/env bats
# apply.bats - patches brought into running processes from outside: what is kept and what is new, however the program was
# compiled. patches.bats has how patches stack, and what is refused.
#
# Seen to fail: with units told apart by name alone, with variables packed instead of bound, with one part for two images,
# with the debug file looked for beside "shop (deleted)".

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

@test "statics, strings, tables, switches, ops, thread-locals: gcc -O0" { whole; build gcc O0 pie; everything; }
@test "statics, strings, tables, switches, ops, thread-locals: gcc -O2" { build gcc O2 pie; everything; }
@test "statics, strings, tables, switches, ops, thread-locals: gcc -Os" { whole; build gcc Os pie; everything; }
@test "statics, strings, tables, switches, ops, thread-locals: gcc -O3, not position-independent" {
	whole
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
	whole
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

@test "a stripped program's file was deleted: its debug file is found beside where it was" {
	build gcc O2 stripped
	cp -r "$shop" "$BATS_TEST_TMPDIR/copy"
	shop=$BATS_TEST_TMPDIR/copy
	patch fix shop >/dev/null
	start
	rm "$shop/shop"
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	expect text 2 '5 a few'
	"$hotpatch" revert fix "$pid"
	cp "$HP_BUILD_ROOT/src/hotpatch" "$shop/shop.debug" # another's: by its build-id and CRC it is none
	refused 2 "its debug file is not installed" apply "$shop/fix.hp" "$pid"
	expect text 2 '7 several'
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
