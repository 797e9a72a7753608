#!/usr/bin/env bats
# later.bats - libraries that are loaded after a patch was applied are patched when they come.
#
# Seen to fail: with the number of loaded images not looked at (nothing ever comes), with the whole applied beside what was
# there instead of in its place ("in force already").

load e2e/helpers

setup() {
	pids=()
	shop=$BATS_FILE_TMPDIR/late
	[[ -e $shop/shop ]] && return
	mkdir -p "$shop"/{old,new}
	cd "$shop" || return 1
	cat >plug.c <<-'C'
		static int seen = 100;
		int plug(int n) { seen += n; return seen + (NEW ? 1000 : 0); }
	C
	sed 's/plug/more/' plug.c >more.c
	cat >main.c <<-'C'
		#include <dlfcn.h>
		#include <stdio.h>
		__attribute__((noinline)) int own(int n)
		{
		#if NEW
			static int made = 5;
			return n + ++made;
		#else
			return n;
		#endif
		}
		static int call(const char *name, int n)
		{
			int (*function)(int) = (int (*)(int))dlsym(RTLD_DEFAULT, name);
			return function ? function(n) : -1;
		}
		int ask(void)
		{
			char line[100], name[100];
			int n;
			if (!fgets(line, sizeof(line), stdin))
				return 0;
			if (sscanf(line, "load %99s", name) == 1)
				printf("%d\n", dlopen(name, RTLD_NOW | RTLD_GLOBAL) != NULL);
			else if (sscanf(line, "%99s %d", name, &n) == 2)
				printf("%d\n", name[0] == 'o' ? own(n) : call(name, n));
			fflush(stdout);
			return 1;
		}
		int main(void) { while (ask()); }
	C
	local unit age flags="-std=gnu11 -g -O2 -fPIC -fno-optimize-sibling-calls -fpatchable-function-entry=8,6"
	for unit in main plug more; do
		for age in old new; do
			# shellcheck disable=SC2086
			cc $flags -DNEW="$([[ $age = new ]]; echo $((!$?)))" -ffunction-sections -fdata-sections -c $unit.c -o $age/$unit.o
		done
		[[ $unit = main ]] || cc -shared -Wl,--build-id old/$unit.o -o lib$unit.so
	done
	cc -pie -Wl,--build-id old/main.o -o shop
	for unit in main plug more; do
		"$hotpatch" build --old old/$unit.o --new new/$unit.o -n $unit -o $unit.hp
	done
}

teardown() {
	[[ ${keeper-} ]] && kill "$keeper" 2>/dev/null
	stop_all
}

# keep PATCH: hotpatch apply --later in the background; what it says is in $said.
keep() {
	said=$BATS_TEST_TMPDIR/said
	"$hotpatch" apply "$shop/$1.hp" "$pid" --later >"$said" 2>&1 3>&- &
	keeper=$!
	says "waits for"
}

# says TEXT: within ten seconds.
says() {
	local i
	for ((i = 0; i < 500; i++)); do
		grep -q "$1" "$said" && return
		sleep 0.02
	done
	cat "$said"
	return 1
}

@test "a patch of a library that is loaded later" {
	start
	refused 2 "" apply "$shop/plug.hp" "$pid"
	keep plug
	run "$hotpatch" status "$pid"
	echo "$output"
	[[ $output == *"'plug' waits for a library with 'plug' (process $keeper applies it then)"* ]]
	[[ $output == *"0 patches in force"* ]]
	[[ $(ask load "$shop/libplug.so") = 1 ]]
	says "is applied to what was loaded: 1 function"
	expect plug 1 1101
	wait $keeper
	run "$hotpatch" status "$pid"
	[[ $output == *"patch 'plug' is in force"* && $output != *"waits"* ]]
	"$hotpatch" revert plug "$pid"
	expect plug 1 102
}

@test "a waiting command that is ended leaves nothing" {
	start
	keep plug
	kill $keeper
	wait $keeper || true
	run "$hotpatch" status "$pid"
	[[ $output != *"waits"* ]]
	[[ $(ask load "$shop/libplug.so") = 1 ]]
	expect plug 1 101
}

@test "a process that ends while it is waited for" {
	start
	keep plug
	local status=0
	stop_all
	wait $keeper || status=$?
	cat "$said"
	[[ $status = 3 ]]
}

@test "another build of the library than the patch is for" {
	"$hotpatch" build --old "$shop/old/plug.o" --new "$shop/new/plug.o" -n exact -o "$shop/exact.hp" --image "$shop/libplug.so"
	start
	keep exact
	mkdir -p "$shop/other"
	cc -shared -Wl,--build-id=0x1234567812345678 -fPIC -DNEW=0 -g -O1 "$shop/plug.c" -o "$shop/other/libplug.so"
	[[ $(ask load "$shop/other/libplug.so") = 1 ]]
	local status=0
	wait $keeper || status=$?
	cat "$said"
	[[ $status = 2 ]]
	grep -q "another build of 'libplug.so'" "$said"
	expect plug 1 101
}

@test "a patch over the program and two libraries, of which one comes after the other" {
	# One diff over three files, as a project has it.
	local work=$BATS_TEST_TMPDIR/work unit
	mkdir -p "$work"/{new,old}
	echo "[" >"$work/new/compile_commands.json"
	for unit in main plug more; do
		sed 's/\bNEW\b/0/' "$shop/$unit.c" >"$work/old/$unit.c"
		sed 's/\bNEW\b/1/' "$shop/$unit.c" >"$work/new/$unit.c"
		echo "{\"directory\": \"$work/new\", \"file\": \"$unit.c\", \"command\": \"cc -std=gnu11 -g -O2 -fPIC -fno-optimize-sibling-calls -fpatchable-function-entry=8,6 -c $unit.c\"}," >>"$work/new/compile_commands.json"
	done
	sed -i '$ s/,$/]/' "$work/new/compile_commands.json"
	"$hotpatch" build -C "$work/new" --root "$work/new" --base "$work/old" -n all -o "$shop/all.hp"
	start
	expect own 1 1
	keep all
	expect own 1 7
	expect own 1 8
	grep -q "'all' waits for libraries with 'plug' and 1 more" "$said"
	[[ $(ask load "$shop/libplug.so") = 1 ]]
	says "is applied to what was loaded: 2 functions"
	says "waits for a library with 'more'"
	expect plug 1 1101
	# The variable that came with the first part is the one it was.
	expect own 1 9
	[[ $(ask load "$shop/libmore.so") = 1 ]]
	says "is applied to what was loaded: 3 functions"
	wait $keeper
	expect more 1 1101
	expect plug 1 1102
	expect own 1 10
	run "$hotpatch" status "$pid"
	[[ $output == *"1 patch in force"* ]]
	"$hotpatch" revert all "$pid"
	expect own 1 1
	expect plug 1 103
	expect more 1 102
}
