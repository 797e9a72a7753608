#!/usr/bin/env bats
# sanitizers.bats - programs compiled with sanitizers, patched from outside with units that are compiled so too. (B32)
#
# Seen to fail: with what sanitizers say of places and types taken for variables (nothing is built), with their constructors
# compared (nothing is built, or a new constructor is refused), with the lines in what they say compared (all functions differ
# when a line is inserted), without the runtime of ASan put first (the program does not start), without the agent's writes
# announced to TSan (races with the program), and without the patch's variables announced to LSan (a leak).

load e2e/helpers

setup() {
	pids=()
	# What sanitizers have to say goes into files, and is the end.
	local options=log_path=$BATS_TEST_TMPDIR/report:abort_on_error=0:halt_on_error=1
	export ASAN_OPTIONS=$options:detect_leaks=1 UBSAN_OPTIONS=$options:print_stacktrace=1 TSAN_OPTIONS=$options
}

teardown() {
	stop_all
}

# The process begins with the agent in it, as users start one.
start_run() {
	start_with 0 "$hotpatch" run
	ask text 0 >/dev/null
}

# Nobody was told of anything.
nothing_reported() {
	! cat "$BATS_TEST_TMPDIR"/report.* 2>/dev/null
}

# shop_with CC OPT SANITIZERS
shop_with() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
	shop=$BATS_TEST_TMPDIR/shop
	HP_SANITIZE=$3 "$e2e/build.sh" "$1" "$2" pie "$shop" || skip "$1 has no runtime for -fsanitize=$3"
	everything start_run
	everything start_alone
	nothing_reported
}

@test "everything, with the agent from the start and put in: ASan and UBSan, gcc -O0" { shop_with gcc O0 address,undefined; }
@test "everything, with the agent from the start and put in: ASan and UBSan, gcc -O2" { whole; shop_with gcc O2 address,undefined; }
@test "everything, with the agent from the start and put in: ASan and UBSan, clang -O0" { whole; shop_with clang O0 address,undefined; }
@test "everything, with the agent from the start and put in: ASan and UBSan, clang -O2" { shop_with clang O2 address,undefined; }
@test "everything, with the agent from the start and put in: TSan, gcc -O0" { whole; shop_with gcc O0 thread; }
@test "everything, with the agent from the start and put in: TSan, gcc -O2" { shop_with gcc O2 thread; }
@test "everything, with the agent from the start and put in: TSan, clang -O0" { shop_with clang O0 thread; }
@test "everything, with the agent from the start and put in: TSan, clang -O2" { whole; shop_with clang O2 thread; }

# program CC FLAGS: $shop/shop and its objects, of the text on stdin: main() is of a unit of its own.
program() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
	shop=$BATS_TEST_TMPDIR/$1
	mkdir -p "$shop"/{old,new}
	cat >"$shop/ask.c"
	cat >"$shop/main.c" <<-'END'
		#include <stdio.h>
		int ask(int n);
		int main(void)
		{
			for (int n; scanf("%*s %d", &n) == 1; fflush(stdout))
				printf("%d\n", ask(n));
			return 0;
		}
	END
	local new
	for new in old new; do
		# shellcheck disable=SC2086
		"$1" -g $2 -ffunction-sections -fdata-sections -fpatchable-function-entry=8,6 \
			$([[ $new == old ]] || echo -DNEW) -c "$shop/ask.c" -o "$shop/$new/ask.o"
	done
	# shellcheck disable=SC2086
	"$1" $2 "$shop/main.c" "$shop/old/ask.o" -o "$shop/shop" || skip "$1 has no runtime for $2"
	run "$hotpatch" build --old "$shop/old/ask.o" --new "$shop/new/ask.o" -n fix -o "$shop/fix.hp"
	echo "$output"
	[[ $status = 0 ]]
}

# ends STATUS: the process ends by itself.
ends() {
	local status=0
	exec {asks[0]}>&-
	wait "$pid" || status=$?
	exec {answers[0]}<&-
	pids=()
	cat "$BATS_TEST_TMPDIR"/report.* 2>/dev/null || true
	[[ $status = "$1" ]]
}

inserted_line() {
	program "$1" "$2" <<-'END'
		int ask(int n);
		static int table[4] = {1, 2, 3, 4};
		static int pick(int n) { return table[n & 3] / (n + 1); }
		#ifdef NEW
		#line 100
		static int added[3] = {5, 6, 7};
		#endif
		static __attribute__((noinline)) int same(int n) { int all[4] = {n, 2, 3, 4}, i = n & 3; int *at = &all[i]; return *at * n + pick(n); }
		int ask(int n)
		{
		#ifdef NEW
			return same(n) + added[n % 3] + 1000;
		#else
			return same(n);
		#endif
		}
	END
	[[ $output == *"function 'ask' changed"*"1 function changed, 0 new"* ]]
	start_with 0 "$hotpatch" run
	expect ask 1 3
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	expect ask 1 1009
	"$hotpatch" revert fix "$pid"
	expect ask 1 3
	ends 0
	nothing_reported
}

@test "a line that is inserted changes nothing but the function: ASan and UBSan, gcc" { inserted_line gcc "-O0 -fsanitize=address,undefined"; }
@test "a line that is inserted changes nothing but the function: ASan and UBSan, clang" { inserted_line clang "-O0 -fsanitize=address,undefined"; }

# What a variable of the patch holds is no leak; what new code does wrong is reported.
new_code() {
	program "$1" "-O1 -fsanitize=address" <<-'END'
		#include <stdlib.h>
		int ask(int n);
		volatile int zero;
		int ask(int n)
		{
		#ifdef NEW
			static char *held;
			if (!held)
				held = malloc(100 + zero); /* or clang makes a variable of it */
			held[n + zero] = 1;
			return held[n] + 1;
		#else
			return n + zero;
		#endif
		}
	END
	start_with 0 "$hotpatch" run
	expect ask 1 1
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	expect ask 1 2
	ends 0
	nothing_reported
	start_with 0 "$hotpatch" run
	expect ask 1 1
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	echo "ask 100" >&"${asks[0]}"
	wait "$pid" || true
	cat "$BATS_TEST_TMPDIR"/report.*
	grep -q heap-buffer-overflow "$BATS_TEST_TMPDIR"/report.*
}

@test "what a patch's variable holds is no leak, and what new code does wrong is reported: ASan, gcc" { new_code gcc; }
@test "what a patch's variable holds is no leak, and what new code does wrong is reported: ASan, clang" { new_code clang; }
