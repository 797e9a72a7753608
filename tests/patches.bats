#!/usr/bin/env bats
# patches.bats - patches in running processes: how they stack, who is in the way, and what is refused.
#
# Seen to fail: with old code not compared, with --all-or-none committing as it goes, with names left out for debuggers,
# with the truth not told of a request that was not answered, without unwind tables for debuggers (frames above new code are
# '??'), with versions not read (the stripped program gets the newer function), with
# vector registers not restored behind descriptors, with constants of several patches taken for one (the second price is the
# first's), or for the program's (the third is), and each for itself (none is the kept one), and with a table of labels that is
# not const kept (the process is gone), with the last of several functions of a name called other code (libhotpatch.so.0's), with a lost connection's process not asked again (it keeps the patch), with an agent that does not look whether who asked is
# there (the patch goes in all the same), and with signals not blocked (the first process keeps it).

load e2e/helpers

setup() {
	pids=()
}

teardown() {
	stop_all
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

# tables_object CC OPT FLAG...: tests/e2e/tables.c in $shop, as new.o, what there was as old.o: the path is what a unit is known by.
tables_object() {
	[[ ! -e $shop/new.o ]] || mv "$shop/new.o" "$shop/old.o"
	"$1" -g "-$2" -ffunction-sections -fdata-sections -fpatchable-function-entry=8,6 "${@:3}" -c "$e2e/tables.c" -o "$shop/new.o"
}

# tables_patch NAME: of what changed between the two.
tables_patch() {
	"$hotpatch" build --old "$shop/old.o" --new "$shop/new.o" -n "$1" -o "$shop/$1.hp"
}

# Two patches made from the program's sources, as watch makes them, and one from those of the second.
constants() {
	command -v "$1" >/dev/null || skip "$1 is not installed"
	shop=$BATS_TEST_TMPDIR/$1-$2
	mkdir -p "$shop"
	tables_object "$1" "$2"
	"$1" "$shop/new.o" -o "$shop/shop"
	cp "$shop/new.o" "$shop/program.o"
	local n
	for n in 1 2; do
		tables_object "$1" "$2" "-DNEW=$n"
		cp "$shop/program.o" "$shop/old.o"
		tables_patch "new$n"
	done
	tables_object "$1" "$2" -DNEW=2 -DBODY=1
	"$hotpatch" build --old "$shop/old.o" --new "$shop/new.o" -n body -o "$shop/body.hp" || return
	start
	expect price 1 50
	expect interpret 1 5
	"$hotpatch" apply "$shop/new1.hp" "$pid"
	expect price 1 100
	expect interpret 1 35
	expect keep 1 2
	expect find 0 101
	"$hotpatch" apply "$shop/new2.hp" "$pid"
	expect price 1 150
	expect interpret 1 65
	expect find 0 102
	"$hotpatch" apply "$shop/body.hp" "$pid"
	expect price 1 1500
	expect price 0 50
	"$hotpatch" revert new2 "$pid"
	expect price 1 1500
	"$hotpatch" revert body "$pid"
	expect price 1 100
	expect interpret 1 35
	"$hotpatch" revert new1 "$pid"
	expect price 1 50
	expect interpret 1 5
	# One made from sources that the program was not compiled from.
	tables_object "$1" "$2" -DNEW=1
	tables_object "$1" "$2" -DNEW=2
	tables_patch other
	run "$hotpatch" apply "$shop/other.hp" "$pid"
	[[ $status = 2 && $output == *"the code of 'find'"*" in 'the program' of process "*" is not what "*"nothing was changed"* ]] || {
		echo "$output"
		return 1
	}
}

@test "constants that change with each of several patches: gcc -O0" { whole; constants gcc O0; }
@test "constants that change with each of several patches: gcc -O2" { constants gcc O2; }
@test "constants that change with each of several patches: clang -O0" { constants clang O0; }
@test "constants that change with each of several patches: clang -O2" { whole; constants clang O2; }

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
	stays 4000
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

@test "a process that ends while it is being changed" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	stays 3000
	"$hotpatch" apply "$shop/fix.hp" "$pid" --timeout 20000 >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	local command=$! status=0
	sleep 0.5
	kill -KILL "$pid"
	wait $command || status=$?
	cat "$BATS_TEST_TMPDIR/said"
	[[ $status = 3 ]]
	grep -q "is gone; what became of it is not known" "$BATS_TEST_TMPDIR/said"
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

# start_cut N WHAT: as start, with an agent that loses the connection over the request that is no dry run.
start_cut() {
	start_with "$1" env HOTPATCH_SERVE=1 HP_CUT=2 HP_CUT_WHAT="$2" LD_PRELOAD="$BATS_TEST_TMPDIR/cut.so $runtime"
	while ! "$hotpatch" status "${pids[$1]}" >/dev/null 2>&1; do kill -0 "${pids[$1]}"; done
}

# lost WHAT TEXT: of three processes the second loses its connection; of itself it is said, in the end, TEXT.
lost() {
	build gcc O2 pie
	patch fix shop >/dev/null
	cc -shared -fPIC -o "$BATS_TEST_TMPDIR/cut.so" "$e2e/cut.c" -ldl
	start 0
	start_cut 1 "$1"
	start 2
	run "$hotpatch" apply "$shop/fix.hp" --all-or-none --json "${pids[@]}"
	echo "$output"
	[[ $status = 2 ]]
	local n
	for n in 0 1 2; do
		expect text 2 '7 several' "$n"
		run "$hotpatch" list "${pids[n]}"
		[[ $status = 0 && $output == *"nothing is changed"* ]]
	done
	"$hotpatch" apply "$shop/fix.hp" --all-or-none "${pids[0]}" "${pids[2]}"
	expect text 2 '5 a few' 2
	"$hotpatch" revert fix "${pids[0]}" "${pids[2]}"
	# In words, and with nobody to be reverted.
	stop_all
	start_cut 0 "$1"
	start 1
	run "$hotpatch" apply "$shop/fix.hp" --all-or-none "${pids[@]}"
	echo "$output"
	[[ $status = 2 && $output == *"process ${pids[0]}"*"is gone; what became of it is not known"*"process ${pids[0]}"*"$2"* ]]
	[[ $output == *"process ${pids[1]}"*"could not be applied everywhere; nothing was changed"* && $output != *"is applied"* ]]
}

@test "all or none, and a connection that is lost before the request is seen" {
	lost request "'fix' is not in force; nothing was changed"
}

@test "all or none, and a connection that is lost before the answer is sent" {
	lost answer "'fix' was reverted, because it could not be applied everywhere; everything is as before"
}

@test "all or none, and a process that is killed while the patch is applied to it" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start 0
	start 1
	start 2
	stays 6000 1
	"$hotpatch" apply "$shop/fix.hp" --all-or-none --timeout 20000 "${pids[@]}" >"$BATS_TEST_TMPDIR/said" 2>&1 3>&- &
	local command=$! status=0
	until [[ $("$hotpatch" list "${pids[0]}") == *"patch 'fix'"* ]]; do kill -0 $command; done
	kill -KILL "${pids[1]}"
	wait $command || status=$?
	cat "$BATS_TEST_TMPDIR/said"
	[[ $status = 2 ]]
	grep -q "process ${pids[1]} .*is gone; what became of it is not known" "$BATS_TEST_TMPDIR/said"
	grep -q "process ${pids[0]} .*'fix' was reverted.*everything is as before" "$BATS_TEST_TMPDIR/said"
	grep -q "process ${pids[2]} .*could not be applied everywhere; nothing was changed" "$BATS_TEST_TMPDIR/said"
	expect text 2 '7 several' 0
	expect text 2 '7 several' 2
}

# ended_by SIGNAL OPTION...: apply with these options to two processes, of which the second is in the function and is
# waited for; the signal comes then. What was said is in $said.
ended_by() {
	local signal=$1 command status=0
	shift
	build gcc O2 pie
	[[ -e $shop/fix.hp ]] || patch fix shop >/dev/null
	start 0
	start 1
	stays 5000 1
	said=$BATS_TEST_TMPDIR/said
	# Who runs the tests may ignore the signal (nohup), which would be inherited.
	env --default-signal="$signal" "$hotpatch" apply "$shop/fix.hp" --timeout 600000 "$@" "${pids[@]}" >"$said" 2>&1 3>&- &
	command=$!
	until [[ $("$hotpatch" list "${pids[0]}") == *"patch 'fix'"* ]]; do kill -0 $command; done
	kill "-$signal" $command
	wait $command || status=$?
	cat "$said"
	[[ $status = $((128 + $(kill -l "$signal"))) ]]
}

# nothing_in N: process N answers at once, has no patch, and gets none when it has left the function.
nothing_in() {
	run "$hotpatch" list "${pids[$1]}"
	[[ $status = 0 && $output == *"nothing is changed"* ]]
	if (($1)); then read -r -t 20 -u "${answers[$1]}" _; fi
	expect text 2 '7 several' "$1"
	run "$hotpatch" list "${pids[$1]}"
	[[ $status = 0 && $output == *"nothing is changed"* ]]
}

@test "who ends the command while it waits for a function in use gets no change any more" {
	ended_by TERM
	nothing_in 1
	expect text 2 '5 a few' 0
}

@test "all or none, and a signal that ends the command between two processes" {
	local signal
	for signal in TERM HUP; do
		ended_by $signal --all-or-none
		grep -q "process ${pids[0]} .*'fix' was reverted.*everything is as before" "$said"
		grep -q "process ${pids[1]} .*was waited for until a signal came" "$said"
		nothing_in 0
		nothing_in 1
		stop_all
	done
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

# told PID: what the JSON in $output says of it.
told() {
	jq -c ".processes[] | select(.pid == $1)" <<<"$output"
}

# Seen to fail: with the status alone (nothing tells that the change was made).
@test "what cannot be written is done all the same, and that is said" {
	build gcc O2 pie
	patch fix shop >/dev/null
	start
	local arguments
	for arguments in "" --json; do
		# shellcheck disable=SC2086
		run bash -c '"$@" >/dev/full' - "$hotpatch" apply "$shop/fix.hp" "$pid" $arguments
		echo "$output"
		[[ $status = 2 && $output == *"standard output cannot be written to: No space left on device; what was asked for is done all the same" ]]
		expect text 2 '5 a few'
		"$hotpatch" revert fix "$pid"
	done
}

# Seen to fail: with what the system says of the socket's folder alone.
@test "a process of another user" {
	[[ $(id -u) = 0 ]] || skip "only root can be another user"
	local nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	"${nobody[@]}" test -x "$hotpatch" || skip "nobody may not start the command in its folder"
	build gcc O2 pie
	start
	run "${nobody[@]}" "$hotpatch" list "$pid"
	echo "$output"
	[[ $status = 2 && $output == *"process $pid belongs to another user (0)"*"nothing was changed"* ]]
}

# Seen to fail: with every program called hotpatch taken for one that has an agent, such as a command that runs meanwhile.
@test "all processes: those that have an agent, those in which a patch is in force, and no other" {
	build gcc O2 pie
	patch "all-$$" shop >/dev/null # a name that no other test has
	start 0
	start 1
	"$hotpatch" apply "$shop/all-$$.hp" "${pids[1]}"
	cp "$(command -v sleep)" "$BATS_TEST_TMPDIR/hotpatch"
	"$BATS_TEST_TMPDIR/hotpatch" 600 3>&- &
	local called=$! of
	until [[ $(<"/proc/$called/comm") == hotpatch ]]; do kill -0 "$called"; done
	for of in "list --all" "list" "status --all" "status"; do
		# shellcheck disable=SC2086
		run "$hotpatch" $of --json # of other processes of this machine it may tell, too
		[[ $(told "${pids[0]}") && $(told "${pids[1]}") && ! $(told $called) ]]
	done
	run "$hotpatch" revert "all-$$" --all --json
	[[ $status = 0 && $(told "${pids[0]}" | jq -r .status) == "not in force" ]]
	[[ $(told "${pids[1]}" | jq -r .status) == "done" && ! $(told $called) ]]
	kill $called
	expect text 2 '7 several' 1
}

# flip N FILE: FILE with its byte N another one.
flip() {
	local byte
	byte=$(od -An -tu1 -j "$1" -N 1 "$2")
	head -c "$1" "$2"
	# shellcheck disable=SC2059
	printf "\\x$(printf %x $((byte ^ 255)))"
	tail -c +$(($1 + 2)) "$2"
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
	for ((n = 50; n < size; n += 211)); do
		flip "$n" "$shop/fix.hp" >"$BATS_TEST_TMPDIR/flipped.hp"
		refused 2 "flipped.hp" apply "$BATS_TEST_TMPDIR/flipped.hp" "$pid"
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

@test "a stripped program keeps the version of a function that it was linked with" {
	shop=$BATS_TEST_TMPDIR
	cd "$shop" || return 1
	local flags="-std=gnu11 -g -O2 -fPIC -fno-optimize-sibling-calls -fpatchable-function-entry=8,6 -ffunction-sections"
	echo 'V1 { global: it; local: *; };' >one.map
	echo 'V1 { global: it; local: *; }; V2 { global: it; } V1;' >two.map
	echo 'int it(int n) { return n + 100; }' >one.c
	echo 'int it_1(int n) { return n + 100; } int it_2(int n) { return n + 200; }
		__asm__(".symver it_1, it@V1"); __asm__(".symver it_2, it@@V2");' >two.c
	echo 'int it(int n); int ask(int n) { return it(n) + (NEW ? 1000 : 0); }' >ask.c
	echo '#include <stdio.h>
		int ask(int n);
		int main(void) { char line[100]; while (fgets(line, 100, stdin)) printf("%d\n", ask(1)), fflush(stdout); }' >main.c
	cc $flags -shared -Wl,--version-script=one.map one.c -o libit.so
	cc $flags -DNEW=0 -c ask.c -o old.o
	cc $flags -DNEW=1 -c ask.c -o new.o
	cc $flags -rdynamic -s main.c old.o -o shop -L. -lit -Wl,-rpath,"$shop"
	cc $flags -shared -Wl,--version-script=two.map two.c -o libit.so
	"$hotpatch" build --old old.o --new new.o -n it -o it.hp
	start
	expect ask "" 101
	"$hotpatch" apply it.hp "$pid"
	expect ask "" 1101
}

# thread_locals DIALECT: of a library that was loaded by dlopen, whose thread-locals are allocated thread by thread; other
# arguments stay in their registers meanwhile.
thread_locals() {
	shop=$BATS_TEST_TMPDIR
	cd "$shop" || return 1
	local flags="-std=gnu11 -g -O2 -fPIC -mtls-dialect=$1 -fno-optimize-sibling-calls -fpatchable-function-entry=8,6 -ffunction-sections"
	cat >late.c <<-'C'
		__thread char room[200000];
		static __thread long uses;
		__thread long total = 5;
		double late(double a, double b, double c, double d, long e, long f, long g)
		{
			room[7]++;
			uses += NEW ? 100 : 1;
			total += NEW ? 10 : 1;
			return a + 2 * b + 4 * c + 8 * d + e + f + g + 1000 * uses + 1000000 * total + 0.5 * room[7];
		}
	C
	cat >main.c <<-'C'
		#include <dlfcn.h>
		#include <pthread.h>
		#include <stdio.h>
		double (*late)(double a, double b, double c, double d, long e, long f, long g);
		static void *run(void *arg) { *(double *)arg = late(1, 1, 1, 1, 1, 1, 1); return NULL; }
		int main(void)
		{
			char line[100];
			double there;
			pthread_t thread;
			late = dlsym(dlopen("./late.so", RTLD_NOW), "late");
			while (fgets(line, 100, stdin)) {
				pthread_create(&thread, NULL, run, &there);
				pthread_join(thread, NULL);
				printf("%.1f %.1f\n", late(1, 2, 3, 4, 5, 6, 7), there), fflush(stdout);
			}
		}
	C
	cc $flags -DNEW=0 -c late.c -o old.o
	cc $flags -DNEW=1 -c late.c -o new.o
	cc $flags -shared -Wl,--build-id old.o -o late.so
	cc main.c -o shop -pthread
	"$hotpatch" build --old old.o --new new.o -n late -o late.hp
	start
	# libc's own code behind descriptors (glibc 2.36, bug 31372) loses vector registers at a thread's first call: ours must not.
	ask ask "" >/dev/null
	"$hotpatch" apply late.hp "$pid"
	expect ask "" "16101068.0 15100018.5"
	expect ask "" "26201068.5 15100018.5"
	"$hotpatch" revert late "$pid"
	[[ $(ask ask "") == "27202069.0 "* ]]
}

@test "thread-locals of a library loaded by dlopen, by __tls_get_addr" { thread_locals gnu; }
@test "thread-locals of a library loaded by dlopen, by descriptors" { thread_locals gnu2; }

# in_debugger COMMAND...: what gdb says, attached to $pid.
in_debugger() {
	local command arguments=()
	for command; do arguments+=(-ex "$command"); done
	run timeout 60 gdb -q -batch -iex "set auto-load no" -iex "set debuginfod enabled off" -p "$pid" "${arguments[@]}"
	echo "$output"
}

# lines_in CC OPT CODE: a thread in new code is shown with function, file, line and argument; lines have addresses in it.
lines_in() {
	command -v gdb >/dev/null || skip "gdb is not installed"
	build "$1" "$2" "$3"
	patch fix shop >/dev/null
	start
	"$hotpatch" apply "$shop/fix.hp" "$pid"
	local line body
	body=$("$hotpatch" list "$pid" --json | grep -A8 '"function": "shop_many"' | sed -n 's/.*"body": \([0-9]*\).*/\1/p' | head -1)
	line=$(grep -n 'static int before = 3;' "$e2e/shop.c" | cut -d: -f1)
	in_debugger "info line *$body" "info symbol $body" "break shop.c:$((line + 1))" "info breakpoints"
	[[ $output == *"Line "*" of \""*"shop.c\""*"starts at address"*"<shop_many"* ]]
	[[ $output == *"shop_many in section"* ]]
	[[ $output == *"shop.c:$((line + 1))"* || $output == *"shop.c, line $((line + 1))."* ]]
	expect many 1 902
	# It is in new code until the end.
	stays 600000
	line=$(grep -n 'usleep((useconds_t)n' "$e2e/shop.c" | cut -d: -f1)
	in_debugger "bt"
	[[ $output == *" in shop_wait (n=600000) at "*"shop.c:$line"*" in main () at "*"main.c:"* ]]
	[[ $output != *"??"* ]]
}

@test "a debugger shows new code with its lines: gcc -O0" { whole; lines_in gcc O0 pie; }
@test "a debugger shows new code with its lines: gcc -O2" { lines_in gcc O2 pie; }
@test "a debugger shows new code with its lines: clang -O0" {
	command -v clang >/dev/null || skip "clang is not installed"
	lines_in clang O0 pie
}
