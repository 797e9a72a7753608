#!/usr/bin/env bats
# watch_generations.bats - the reloads that are in a program: undo, redo and use, by commands and by keys; modes; and
# programs that begin with them.
#
# Seen to fail: with generations reverted for good instead of set aside (nothing to redo), with new variables not looked for
# among those set aside (a count begins again), without the wait before main, with the time since a key called that since the save,
# and with a watch that ends with status 0 and no word when nobody can read it.

bats_require_minimum_version 1.5.0

load watch/helpers

# price 100 + n, 200 + n, 300 + n; generations 1 and 2.
two_generations() {
	sed -i 's/100 + n/200 + n/' src/price.c
	reloaded applied '.generation == 1'
	sed -i 's/200 + n/300 + n/' src/price.c
	reloaded applied '.generation == 2'
	expect price 1 301
}

@test "undo, redo and use, by commands" {
	local named=back$$ # other tests, and other runs of this one, have programs of other names
	project
	cp app "$named"
	watch_with -- "./$named" in out
	expect_event 'select(.event == "watching")'
	run "$hotpatch" undo "$app"
	[[ $status = 2 && $output == *"nothing to undo"*"nothing was changed"* ]]
	two_generations
	run "$hotpatch" redo "$app"
	[[ $status = 2 && $output == *"nothing to redo"*"nothing was changed"* ]]
	"$hotpatch" undo "$app"
	expect price 1 201
	"$hotpatch" undo "$app"
	expect price 1 101
	run "$hotpatch" status "$app"
	[[ $output == *"0 patches in force, 2 set aside"*"'watch.1' is set aside"*"'watch.2' is set aside"* ]]
	"$hotpatch" redo "$app"
	expect price 1 201
	"$hotpatch" use 2 "$app"
	expect price 1 301
	"$hotpatch" use 0 --name "$named"
	expect price 1 101
	run "$hotpatch" use 7 "$app"
	[[ $status = 2 && $output == *"no generation 7"* ]]
	run "$hotpatch" use 0 "$app"
	[[ $status = 2 && $output == *"in force already"* ]]
	run "$hotpatch" use x "$app"
	[[ $status = 64 ]]
	# A save behind an undo is everything, whatever is in force.
	"$hotpatch" use 1 "$app"
	sed -i 's/return n \* RATE/return 2 * n * RATE/' src/tax.c
	reloaded applied '.generation == 3 and (.changed | contains(["tax"]))'
	expect price 1 301
	expect tax 100 20
	"$hotpatch" undo "$app"
	expect price 1 301
	expect tax 100 10
}

@test "going back and forth takes microseconds" {
	project
	watch
	two_generations
	local i
	for i in {1..40}; do
		"$hotpatch" undo --json "$app"
		"$hotpatch" redo --json "$app"
	done | jq '.processes[0].us' >us
	sort -n us | sed -n 40p
	(($(wc -l <us) == 80 && $(head -1 us | cut -d. -f1) >= 0))
	expect price 1 301
}

@test "variables that came with a generation are one, before and after an undo" {
	project
	watch
	sed -i 's/^static int asked;/&\nstatic int fresh = 50;/; s/asked += n/fresh += n/; s/return asked/return fresh/' src/price.c
	reloaded applied
	expect count 1 51
	expect count 1 52
	"$hotpatch" undo "$app"
	expect count 5 5
	"$hotpatch" redo "$app"
	expect count 1 53
	"$hotpatch" undo "$app"
	sed -i 's/fresh += n/fresh += 10 * n/' src/price.c
	reloaded applied '.generation == 2'
	expect count 1 63
}

@test "keys: undo, redo, status, help, leave" {
	project
	with_keys
	watch --keys
	two_generations
	press u
	expect_event 'select(.event == "generation" and .generation == 1 and .us < 100000)'
	expect price 1 201
	press uu
	expect_event 'select(.event == "generation" and .generation == 0)'
	expect_event 'select(.event == "error" and (.text | contains("nothing to undo")))'
	expect price 1 101
	press UU
	expect_event 'select(.event == "generation" and .generation == 2)'
	expect price 1 301
	press s
	expect_event 'select(.event == "status" and .generation == 2 and .generations == [1, 2])'
	press '?'
	expect_event 'select(.event == "keys")'
	press r
	expect_event 'select(.event == "nothing")'
	press q
	expect_event 'select(.event == "left")'
	ends 0
	expect price 1 301
	kill -0 "$app"
}

@test "a process that has a reload of an earlier watch is not taken for the original" {
	project
	with_keys
	watch --keys
	two_generations
	press q
	ends 0
	run "$hotpatch" watch -p "$app"
	[[ $status = 2 && $output == *"has reload 2 of an earlier watch"*"'hotpatch use 0 $app'"* ]]
	"$hotpatch" use 0 "$app"
	cp "$BATS_TEST_DIRNAME/watch/price.c" src/price.c
	touch -d '+1 hour' src/price.c
	new_events
	"$hotpatch" watch --json -p "$app" >"$events" 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	watcher=$!
	expect_event 'select(.event == "newer" and (.text | startswith("src/price.c is newer than the program")))'
	sed -i 's/100 + n/400 + n/' src/price.c
	reloaded applied '.generation == 3'
	expect price 1 401
}

@test "keys: the end" {
	project
	with_keys
	watch --keys
	press Q
	expect_event 'select(.event == "ended")'
	ends 0
	! kill -0 "$app" 2>/dev/null
}

@test "manual: what was saved waits for a key" {
	project
	with_keys
	watch --keys --mode manual
	sed -i 's/100 + n/200 + n/' src/price.c
	expect_event 'select(.event == "waiting")'
	[[ $event == *"src/price.c is compiled: r applies it"* ]]
	sed -i 's/return n \* RATE/return 2 * n * RATE/' src/tax.c
	expect_event 'select(.event == "waiting" and (.text | contains("are compiled")))'
	quiet
	expect price 1 101
	press r
	reloaded applied '.files == ["src/price.c", "src/tax.c"]'
	expect price 1 201
	expect tax 100 20
	# From manual to safe point to auto.
	press mm
	expect_event 'select(.event == "mode" and (.text | contains("mode auto")))'
	sed -i 's/200 + n/300 + n/' src/price.c
	reloaded applied
	expect price 1 301
}

@test "manual, in words: the time is since the key; a full disk ends the watch, and it says so" {
	project
	with_keys
	mkfifo in out
	"$hotpatch" watch --keys --mode manual -- ./app in out <"$keys" >said 2>&1 3>&- &
	watcher=$!
	exec {press}>"$keys" {to}>in {from}<out
	until grep -q watching said; do kill -0 $watcher; done
	watched_in said
	sed -i 's/100 + n/200 + n/' src/price.c
	until grep -q 'r applies it' said; do kill -0 $watcher; done
	press r
	until grep -q 'reload 1' said && grep -qE ' ms since ' said; do kill -0 $watcher; done
	cat said
	grep -qxE '  [0-9]+ ms since r, compiler [0-9]+ ms' said
	press q
	wait $watcher
	watcher=''
	local status=0
	"$hotpatch" use 0 "$app"
	"$hotpatch" watch -p "$app" >/dev/full 2>said || status=$?
	cat said
	[[ $status = 2 ]]
	grep -q 'standard output cannot be written to: No space left on device; the watch has ended' said
	expect price 1 101
}

@test "safe point: the loop itself changes, in hotpatch_poll; where nobody polls it is refused, and r tries again" {
	project
	cat >src/frames.c <<-'E'
		#include <dlfcn.h>
		#include <unistd.h>
		static void (*poll_)(void);
		static void loop(void)
		{
			for (;;) {
				usleep(1000);
				if (access("polls", F_OK) == 0)
					poll_();
			}
		}
		int main(void)
		{
			poll_ = (void (*)(void))dlsym(RTLD_DEFAULT, "hotpatch_poll");
			loop();
		}
	E
	gcc -g -O0 -c src/frames.c -o frames.o && gcc -o frames frames.o
	database "gcc -g -O0" frames
	with_keys
	touch polls
	rm -f in out
	new_events
	"$hotpatch" watch --json --keys --mode safe-point -- ./frames <"$keys" >"$events" 2>"$BATS_TEST_TMPDIR/said" 3>&- &
	watcher=$!
	exec {press}>"$keys"
	expect_event 'select(.event == "watching")'
	sed -i 's/usleep(1000)/usleep(1001)/' src/frames.c
	reloaded applied '.changed == ["loop"] and .running_old == []'
	rm polls
	sed -i 's/usleep(1001)/usleep(1002)/' src/frames.c
	reloaded refused '.error.code == "HOTPATCH_ETIMEDOUT" and .running_old[0].function == "loop" and .running_old[0].line > 5'
	"$hotpatch" list "$app" | grep -q watch.1
	touch polls
	press r
	reloaded applied '.generation == 2'
}

@test "callbacks that came with a change run before and after each reload, and may refuse it" {
	project gcc "-O2 -g -I$HP_SOURCE_ROOT/include"
	watch
	sed -i '1i#include <hotpatch.h>\nint before, after, veto;\
		static int begin(struct hotpatch *p, enum hotpatch_event e, void *a) { (void)a, (void)e; before++; return veto ? hotpatch_veto(p, "not now") : 0; }\
		static int end(struct hotpatch *p, enum hotpatch_event e, void *a) { (void)a, (void)e, (void)p; after++; return 0; }\
		HOTPATCH_PRE_APPLY(begin);\nHOTPATCH_POST_APPLY(end);' src/price.c
	sed -i 's/100 + n/10 * before + after + n/' src/price.c
	reloaded applied
	expect price 0 11
	sed -i 's/10 \* before/100 * before/' src/price.c
	reloaded applied
	expect price 0 202
	sed -i 's/100 \* before/veto = 1, 1000 * before/' src/price.c
	reloaded applied
	expect price 0 3003
	sed -i 's/1000 \* before/10000 * before/' src/price.c
	reloaded refused '.error.message | contains("not now")'
	expect price 0 4003
}

@test "old generations are let go of" {
	project
	watch
	local i
	for i in {1..36}; do
		sed "s/100 + n/$((1000 * i)) + n/" "$BATS_TEST_DIRNAME/watch/price.c" >src/price.c
		reloaded applied ".generation == $i"
	done
	expect price 1 36001
	run "$hotpatch" status --json "$app"
	jq -e '.processes[0] | .live == 1 and .aside == 31' <<<"$output"
	run "$hotpatch" use 3 "$app"
	[[ $status = 2 ]]
	"$hotpatch" use 5 "$app"
	expect price 1 5001
}

@test "a program begins with the generation that was kept" {
	project
	watch -o kept.hp
	two_generations
	stop_watching
	rm -f in out
	mkfifo in out
	"$hotpatch" run --with kept.hp -- ./app in out 3>&- &
	app=$!
	exec {to}>in {from}<out
	events=/dev/null
	expect price 1 301
	"$hotpatch" list "$app" | grep -q watch.2
	exec {to}>&- {from}<&-
	wait "$app"
	# Before main: its first call is the new one already.
	printf 'int first(void);\nint main(void) { return first(); }\n' >src/main.c
	printf 'static int n = 7; int first(void) { return n * 1 + n / 3; }\n' >src/first.c
	gcc -O2 -c src/main.c -o main.o && gcc -O2 -c src/first.c -o first.o && gcc -o begin main.o first.o
	database "gcc -O2" main first
	cp src/first.c first.old
	sed -i 's/n \* 1/n * 5/' src/first.c
	"$hotpatch" build -n kept -o first.hp --old first.old src/first.c
	run ./begin
	[[ $status = 9 ]]
	local status=0
	"$hotpatch" run --with first.hp -- ./begin >said 2>&1 3>&- &
	apps+=($!)
	wait $! || status=$?
	[[ $status = 37 && ! -s said ]]
	# What does not fit does not begin.
	run "$hotpatch" run --with kept.hp -- ./begin
	[[ $status = 143 && $output == *"'./begin' was not started"* ]]
	run "$hotpatch" run --with nowhere.hp -- ./begin
	[[ $status = 2 && $output == *"nothing was started"* ]]
}
