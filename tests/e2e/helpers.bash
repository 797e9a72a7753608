# helpers - a running shop, and patches for it. Loaded by the bats files.

hotpatch=${HP_BUILD_ROOT:?}/src/hotpatch
runtime=$(echo "$HP_LIBS"/libhotpatch.so.?)
e2e=${HP_SOURCE_ROOT:?}/tests/e2e
source "$HP_SOURCE_ROOT/tests/ended.bash"
started=() # all processes, also those that no longer are in pids
shopt -s extglob

# whole: one of the ways that `make test` leaves out.
whole() {
	[[ ${HP_WHOLE-} ]] || skip "only with HP_WHOLE=1"
}

# build CC OPT CODE: the program, once; $shop is its folder.
build() {
	shop=$BATS_FILE_TMPDIR/$1-$2-$3
	[[ -e $shop/built ]] && return
	"$e2e/build.sh" "$1" "$2" "$3" "$shop"
	touch "$shop/built"
}

# patch NAME UNIT [OPTION...]: $shop/NAME.hp from the old and the new object of a unit.
patch() {
	local name=$1 unit=$2
	shift 2
	"$hotpatch" build --old "$shop/old/$unit.o" --new "$shop/new/$unit.o" -n "$name" -o "$shop/$name.hp" "$@"
}

# start [N]: a process of $shop with an agent; ask N talks to it, $pid (or ${pids[N]}) is its id.
start() {
	start_with "${1-0}" env HOTPATCH_SERVE=1 LD_PRELOAD="$runtime"
	while ! "$hotpatch" status "${pids[${1-0}]}" >/dev/null 2>&1; do
		kill -0 "${pids[${1-0}]}"
	done
}

# The same without an agent.
start_alone() {
	start_with "${1-0}"
	ask text 0 "${1-0}" >/dev/null
}

start_with() {
	local n=$1 in out to from
	shift
	in=$BATS_TEST_TMPDIR/in$n out=$BATS_TEST_TMPDIR/out$n
	rm -f "$in" "$out"
	mkfifo "$in" "$out"
	"$@" "$shop/shop" "${arguments[@]}" <"$in" >"$out" 3>&- &
	pids[n]=$!
	started+=($!)
	pid=${pids[0]}
	exec {to}>"$in" {from}<"$out"
	asks[n]=$to answers[n]=$from
}

# stays MILLISECONDS [N]: process N is asleep in shop_wait (clock_nanosleep), for so long.
stays() {
	local of=${pids[${2-0}]}
	echo "wait $1" >&"${asks[${2-0}]}"
	while [[ $(awk '{ print $1 }' "/proc/$of/syscall") != 230 ]]; do kill -0 "$of"; done
}

# ask NAME NUMBER [N]: the answer of process N.
ask() {
	local answer
	echo "$1 $2" >&"${asks[${3-0}]}"
	read -r -t 20 -u "${answers[${3-0}]}" answer
	echo "$answer"
}

# expect NAME NUMBER ANSWER [N]
expect() {
	local answer
	answer=$(ask "$1" "$2" "${4-0}")
	if [[ $answer != "$3" ]]; then
		echo "$1 $2: '$answer', not '$3'"
		return 1
	fi
}

# refused STATUS PATTERN COMMAND...: it fails with that status, and says so, ending with the truth.
refused() {
	local expected=$1 pattern=$2
	shift 2
	run "$hotpatch" "$@"
	if [[ $status != "$expected" || $output != *"$pattern"* || $output != *"nothing was changed"* ]]; then
		echo "status $status: $output"
		return 1
	fi
}

stop_all() {
	local n
	for n in "${!pids[@]}"; do
		exec {asks[n]}>&- {answers[n]}<&-
		kill "${pids[n]}" 2>/dev/null || true
		wait "${pids[n]}" 2>/dev/null || true
	done
	ended "${started[@]}"
	pids=() started=()
}

# everything [START]: all of shop.c changes: statics of files and functions, strings, tables, a switch, an ops struct,
# thread-locals. START is how the process is started.
everything() {
	patch fix shop >/dev/null
	"${1-start}"
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
