#!/usr/bin/env bats
# signature.bats - a global function gets another type: with all that call it, and refused where one is left.
#
# Seen to fail: with the linked program not looked at (each refusal is a patch), with slots of the table of offsets not
# followed, with only calls of other units counted.

load e2e/helpers

setup() {
	pids=()
	work=$BATS_TEST_TMPDIR/src
	mkdir -p "$work"/{src,out}
	cat >"$work/src/price.h" <<-'C'
		int price(int n);
		int cart(int n), stock(int n);
	C
	cat >"$work/src/price.c" <<-'C'
		#include "price.h"
		__attribute__((noinline)) int price(int n) { return 10 * n; }
	C
	cat >"$work/src/cart.c" <<-'C'
		#include "price.h"
		static __attribute__((noinline)) int twice(int n) { return 2 * price(n); }
		__attribute__((noinline)) int cart(int n) { return twice(n) + 1; }
	C
	cat >"$work/src/stock.c" <<-'C'
		int printf(const char *, ...);
		__attribute__((noinline)) int stock(int n) { return n; }
	C
	cat >"$work/src/main.c" <<-'C'
		#include <stdio.h>
		int cart(int n), stock(int n);
		int main(void)
		{
			char line[100];
			int n;
			while (fgets(line, sizeof(line), stdin))
				if (sscanf(line, "cart %d", &n) == 1)
					printf("%d\n", cart(n)), fflush(stdout);
				else
					puts("?"), fflush(stdout);
			return stock(0);
		}
	C
	flags="-std=gnu11 -g -O2 -fno-optimize-sibling-calls -fpatchable-function-entry=8,6"
	link=
	units="price cart stock main"
}

teardown() {
	stop_all
}

# program: $work/out/shop from the sources, with their commands.
program() {
	local unit
	shop=$work/out
	cd "$work/out" || return 1
	echo "[" >compile_commands.json
	for unit in $units; do
		local object=${unit//\//_}.o
		# shellcheck disable=SC2086
		cc $flags -c "../src/$unit.c" -o "$object"
		echo "{\"directory\": \"$work/out\", \"file\": \"../src/$unit.c\", \"command\": \"cc $flags -c ../src/$unit.c -o $object\"}," \
			>>compile_commands.json
	done
	sed -i '$ s/,$/]/' compile_commands.json
	# shellcheck disable=SC2086
	cc $flags $link -Wl,--build-id ./*.o -o shop
	cp -r "$work/src" "$work/old"
}

# change: price takes two numbers, and cart gives them.
change() {
	sed -i 's/int price(int n)/int price(int n, int off)/; s/return 10 \* n/return 10 * n - off/' "$work"/src/price.[ch]
	sed -i 's/price(n)/price(n, 3)/' "$work/src/cart.c"
}

build_patch() {
	run "$hotpatch" build -C "$work/out" --root "$work/src" --base "$work/old" -n fix -o "$work/fix.hp" "$@"
	echo "$output"
}

all_in_the_patch() {
	program
	change
	build_patch
	[[ $status = 2 && $output == *"its callers can be looked for only in the linked program, which --image gives"* ]]
	build_patch --image shop
	[[ $status = 0 && $output == *"the type of 'price' changed"*"all that refer to it were compiled anew"* ]]
	start
	expect cart 2 41
	"$hotpatch" apply "$work/fix.hp" "$pid"
	expect cart 2 35
	"$hotpatch" revert fix "$pid"
	expect cart 2 41
}

# left TEXT: refused, saying so.
left() {
	program
	change
	build_patch --image shop
	[[ $status = 2 && $output == *"the type of 'price' in "*" changed"*"$1"*"change all that call it together"* ]]
}

@test "all callers are in the patch" { all_in_the_patch; }

@test "all callers are in the patch, not position-independent" {
	flags+=" -fno-pie" link=-no-pie
	all_in_the_patch
}

@test "all callers are in the patch, and call through the table of offsets" {
	flags+=" -fPIC -fno-plt -Wa,-mrelax-relocations=no" link=-pie
	all_in_the_patch
}

@test "a caller in a file of its own" {
	echo 'int price(int n); __attribute__((noinline)) int more(int n) { return price(n); }
		int stock(int n) { return more(n); }' >"$work/src/stock.c"
	left "'more' refers to it in 'shop' and is not in the patch"
}

@test "a caller in a file of its own, through the table of offsets" {
	echo 'int price(int n); __attribute__((noinline)) int more(int n) { return price(n); }
		int stock(int n) { return more(n); }' >"$work/src/stock.c"
	flags+=" -fPIC -fno-plt -Wa,-mrelax-relocations=no" link=-pie
	left "'more' refers to it in 'shop' and is not in the patch"
}

@test "two files of one name with a static of one name, of which one is compiled anew" {
	mkdir "$work/src/b"
	echo 'int price(int n); static __attribute__((noinline)) int twice(int n) { return price(n); }
		int stock(int n) { return twice(n); }' >"$work/src/b/cart.c"
	units="price cart b/cart main"
	program
	change
	build_patch --image shop
	[[ $status = 2 && $output == *"'twice' of 'cart.c' refers to it in 'shop' and is not in the patch"* ]]
}

@test "a table that holds its address" {
	echo 'int price(int n); int (*prices[])(int) = {price}; int stock(int n) { return prices[n](n); }' >"$work/src/stock.c"
	left "data in '.data' of 'shop' holds its address"
}

@test "the same, with packed relocations" {
	echo 'int price(int n); int (*prices[])(int) = {price}; int stock(int n) { return prices[n](n); }' >"$work/src/stock.c"
	link="-Wl,-z,pack-relative-relocs"
	left "holds its address"
}

@test "the same, not position-independent" {
	echo 'int price(int n); int (*const prices[])(int) = {price}; int (*get(int n))(int) { return prices[n]; }
		int stock(int n) { return get(n)(n); }' >"$work/src/stock.c"
	flags+=" -fno-pie -fno-inline" link=-no-pie
	left ""
	[[ $output == *"holds its address"* || $output == *"takes its address"* ]]
}

@test "code that takes its address, also where it is compiled anew" {
	echo 'int (*last)(int);
		#include "price.h"
		void take(void) { last = (int (*)(int))price; }' >>"$work/src/cart.c"
	left "'take' takes its address in 'shop'"
}

@test "a program that exports it" {
	link=-rdynamic
	left "'shop' exports it, so that other images may refer to it"
}

@test "a stripped program" {
	link=-s
	left "'shop' is stripped, and without its debug file callers cannot be told"
}
